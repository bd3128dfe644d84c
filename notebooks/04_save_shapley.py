# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Save Shapley values
#
# A detector's score says that an image was manipulated, but not which pixels the score
# rests on. This notebook computes the Shapley value of every pixel for the RGB detector
# and for the defocus-map detector, as {cite:t}`jeon2025seeing` do. All later analyses
# start from these values, so we also measure how exact they are.
#
# **Reads** the images, their maps and the two detectors (notebooks 01 to 03).\
# **Writes** `shapley/<set>/shard-00000.npz` and so on, where the set is `real` or a
# manipulation: maps and Shapley values, with `shapley/index.parquet`, one row per
# image.
#
# ## How
#
# The values are expected gradients {cite}`erion2021improving`: the gradient of the
# logit, averaged along straight integration paths from background images to the
# explained image ({eq}`eq-expected-gradients`). The authors' code places `n_samples`
# points on these paths at random (`method = "random"`). Stratified points need fewer
# gradients for the same error: {doc}`13_trust_in_shapley` measures it for the detectors
# of this run, and {doc}`speed` for a large one, also with `method = "interpolated"`.
#
# The values of an image should sum to its logit $f(x)$ minus the mean logit of the
# background ({eq}`eq-completeness`). A finite sample misses this sum by the
# *completeness error*, in logits. It needs no ground truth, so it is saved with every
# map. We call the values complete if the error stays below a tenth of what they
# explain.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
images: int = 30
n_samples: int = 48
background: int = 10
method: str = "stratified"
batch_size: int = 0
precision: str = "auto"
storage: str = "float32"
shard_images: int = 64
n_workers: int = 1
scheduler: str = ""
seed: int = 0

# %% tags=["hide-input"]
import pandas as pd
from myst_nb import glue

from defocus_lib.analysis import attribution
from defocus_lib.data import collection
from defocus_lib.detect.model import load_detector
from defocus_lib.explain import attribution_set, jobs
from defocus_lib.figures import shapley as figures
from defocus_lib.figures.style import MODEL_NAMES
from defocus_lib.maps.cache import load_maps
from defocus_lib.precision import for_gradients, here
from defocus_lib.run import cluster, headline, profiling
from defocus_lib.run.artifacts import Folder
from defocus_lib.stats import claims
from defocus_lib.stats.claims import Claim

folder = Folder.open(profile, artifacts)
run = collection.load(folder)
cache, about_maps = load_maps(folder, run.reader)
detectors = {
    model: folder.require(f"detector_{model}.safetensors", made_by="03_train_detector")
    for model in ("defocus", "rgb")
}
# Fails early if the detector was trained on other maps.
required = {"defocus": {"preset": about_maps["preset"]}, "rgb": {}}
headers = {
    model: load_detector(path, reads=model, **required[model])[1]
    for model, path in detectors.items()
}
# None for weights that were given. Claims need trained detectors.
epochs = {
    model: header.get("plan", {}).get("epochs") for model, header in headers.items()
}

# %% [markdown]
# ## What is explained, against what
#
# We explain test images, real and manipulated, from as many groups as possible; a group
# holds the images of one scene, video or picture. Where the data set has pairs, both
# images of a pair are explained. The background is the first real training images, as
# in the authors' code, so a value says how a pixel moves the logit away from that of an
# ordinary real image.
#
# The maps are saved min-max normalised, for the analyses of the paper, whatever
# normalisation the detector reads. Where an input has several channels, the value of a
# pixel is their sum.

# %%
chosen = collection.to_explain(run.records, images)
compared = run.records.query("split == 'train' and label == 0").head(background)
options = {
    "n_samples": n_samples,
    "seed": seed,
    "method": method,
    "batch_size": batch_size,
    # The same for all workers, so that their shards are alike.
    "precision": for_gradients(precision, here()),
}
meta = {
    "profile": profile,
    "manipulations": run.manipulations,
    "background": background,
    "epochs": epochs,
    **options,
    **about_maps,
}
plan = jobs.Explanation(
    folder, run.reader, cache, detectors, compared, options, meta, storage
)
chosen.groupby("manipulation", sort=False)[["id", "group"]].nunique().set_axis(
    ["images", "groups"], axis=1
)

# %% [markdown]
# ## Shard by shard
#
# A file holds at most `shard_images` images. A run that is killed loses only the shards
# in work, because the next start keeps every finished one. `n_workers` processes share
# the shards, or those of the Dask cluster at `scheduler` ({doc}`../cluster`).

# %% tags=["remove-output"]
stages = profiling.Stages()
with stages("Shapley values") as stage, cluster.workers(n_workers, scheduler) as client:
    done = jobs.save(plan, jobs.cut(chosen, shard_images), client, progress=True)
    stage["images"] = int(done["computed"])
profiling.save(folder.path / "stages" / "04_save_shapley.csv", {"": stages}).name

# %% [markdown]
# ## Are the values complete?
#
# The table gives medians over images of the size of the completeness error and of $f(x)
# - E f(x')$, which the values explain.

# %%
real, fakes = attribution_set.open_sets(folder)
completeness = pd.concat(
    {
        name: attribution.completeness_table(
            images.shards(*attribution.COMPLETENESS_ARRAYS)
        )
        for name, images in {"real": real, **fakes}.items()
    },
    names=["manipulation"],
)
sizes = completeness.set_index("detector", append=True)[["error", "explained"]].abs()
medians = sizes.groupby(["manipulation", "detector"], sort=False).median()
medians.unstack("detector").swaplevel(axis=1).sort_index(axis=1).round(3)

# %% mystnb={"figure": {"caption": "Sum of the Shapley values of each image against what they should sum to; one point per image, all sets together. Points on the line are complete, and their vertical distance from it is the completeness error. Look for points far from the line.", "name": "fig-completeness"}, "image": {"alt": "Two scatter plots, one per detector, of the sum of the values over the difference of logits, with a diagonal line."}}
figures.completeness(completeness)

# %%
page_claims = []
for detector, rows in completeness.groupby("detector", sort=False):
    share = attribution.error_share(rows, seed=seed)
    page_claims.append(
        Claim(
            f"Completeness error of the {MODEL_NAMES[detector]}, relative to its sum",
            *share.scalars,
            groups=rows["group"].nunique(),
            compared_with=0.1,
            relation="below",
            unit=run.about.unit,
            epochs=epochs[detector],
            style=".1%",
        )
    )
claims.table(page_claims, folder.about.caution)

# %% tags=["remove-input"]
_ = headline.save(folder, "04_save_shapley", page_claims)
glue("shapley_samples", n_samples, display=False)
glue("shapley_images", len(chosen), display=False)

# %% [markdown]
# Each of the {glue:text}`shapley_images` images was explained with
# {glue:text}`shapley_samples` gradients per detector. The authors' code samples 200
# random points per image and does not report the completeness error. If a claim above
# is not supported, the sums of {doc}`08_shapley_view` are off by that share, and so are
# means over regions. Single pixels carry a larger error than their sum:
# {doc}`13_trust_in_shapley` measures it.
#
# **Limits.** Completeness is necessary, not sufficient, since errors of opposite sign
# cancel in the sum. The values also depend on the background: other real images would
# give another zero point.
#
# ## Exercises
#
# 1. Set `n_samples = 12`. Does the completeness error double when the number of
#    gradients falls to a quarter?
# 2. Set `method = "random"` with the same `n_samples`, and compare the figure.
#
# ```{admonition} Answer to 1
# :class: dropdown
# The error of random samples falls with the square root of their number, so it
# doubles. That of stratified samples falls faster where the gradient is smooth, so it
# grows by more than a factor of two.
# ```
