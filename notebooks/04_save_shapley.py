# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Save Shapley values
#
# **You will see** which pixels each detector's answer comes from, and how exactly the values add up to it.\
# **Reads** the images, their maps and the two detectors (notebooks 01 to 03).\
# **Writes** `shapley/<set>/shard-00000.npz` and so on, the set being `real` or a manipulation: maps and Shapley values, with
# `shapley/index.parquet`, one row an image. Every later analysis starts from them.
#
# The values are expected gradients: the detector's gradient, averaged along straight ways from background images to the
# explained one. The reference draws points on these ways at random (`method = "random"`). Of evenly spread ones fewer may
# do: {doc}`13_trust_in_shapley` measures it for the detectors of this run, {doc}`speed` for a large one, which is also
# explained with `method = "interpolated"` and fewer still.

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

# %%
from myst_nb import glue

from defocus_lib.analysis import attribution
from defocus_lib.data import collection
from defocus_lib.detect.model import load_detector
from defocus_lib.explain import attribution_set, jobs
from defocus_lib.figures import shapley as figures
from defocus_lib.maps.cache import load_maps
from defocus_lib.precision import for_gradients, here
from defocus_lib.run import cluster, profiling
from defocus_lib.run.artifacts import Folder

folder = Folder.open(profile, artifacts)
run = collection.load(folder)
cache, about_maps = load_maps(folder, run.reader)
detectors = {
    model: folder.require(f"detector_{model}.safetensors", made_by="03_train_detector")
    for model in ("defocus", "rgb")
}
# Whose maps it was trained on is checked now: other maps would be explained without a complaint.
_ = load_detector(detectors["defocus"], reads="defocus", preset=about_maps["preset"])

# %% [markdown]
# ## What is explained, against what
#
# Test images, real ones and manipulated ones (their counterparts, where there are pairs), from as many {glue:text}`shapley_units` as possible. The
# background is the first real training images, as in the reference: a value says how a pixel moves the logit away from
# what the detector says of those.

# %%
chosen = collection.to_explain(run.records, images)
compared = run.records.query("split == 'train' and label == 0").head(background)
options = {
    "n_samples": n_samples,
    "seed": seed,
    "method": method,
    "batch_size": batch_size,
}
options["precision"] = for_gradients(
    precision, here()
)  # of all workers, so that their shards are alike
meta = {
    "profile": profile,
    "manipulations": run.manipulations,
    "background": background,
    **options,
    **about_maps,
}
plan = jobs.Explanation(
    folder, run.reader, cache, detectors, compared, options, meta, storage
)
glue("shapley_units", f"{run.about.unit}s", display=False)
chosen.groupby("manipulation", sort=False)[["id", "group"]].nunique().set_axis(
    ["images", f"{run.about.unit}s"], axis=1
)

# %% [markdown]
# ## Shard by shard
#
# At most `shard_images` images a file. A run that is killed loses the shards in work and goes on with the next one when it
# is started again. `n_workers` processes share the shards, or those of the Dask cluster at `scheduler`; {doc}`../cluster` says how.

# %% tags=["remove-output"]
stages = profiling.Stages()
with stages("Shapley values") as stage, cluster.workers(n_workers, scheduler) as client:
    done = jobs.save(plan, jobs.cut(chosen, shard_images), client, progress=True)
    stage["images"] = int(done["computed"])
profiling.save(folder.path / "stages" / "04_save_shapley.csv", {"": stages}).name

# %% [markdown]
# ## Do they add up?
#
# The values of an image should sum to its logit less the mean logit of the background. What is missing is the
# completeness gap; it is saved with every map.

# %%
SUMMED = (
    "defocus_shaps",
    "rgb_shaps",
    "defocus_completeness_errors",
    "rgb_completeness_errors",
)
real, fakes = attribution_set.open_sets(folder)
sums = {
    name: attribution.sums_and_errors(images.shards(*SUMMED))
    for name, images in {"real": real, **fakes}.items()
}
attribution.completeness_table(sums).round(3)

# %% mystnb={"figure": {"caption": "What the values of each image sum to, against what they should explain. Points on the line add up; their distance from it is the completeness gap.", "name": "fig-completeness"}, "image": {"alt": "Two scatter plots, one a detector, of the sum of the values over the difference of logits, with a diagonal line."}}
together = attribution.all_images(sums)
figures.completeness(together)

# %% tags=["remove-input"]
for model, (total_of_each, gaps) in together.items():
    total = attribution.completeness(total_of_each, gaps)
    glue(f"shapley_{model}_gap", total["|gap|"], display=False)
    glue(f"shapley_{model}_explained", total["|explained|"], display=False)
glue("shapley_samples", n_samples, display=False)
glue("shapley_images", len(chosen), display=False)

# %% [markdown]
# Over {glue:text}`shapley_images` images, with {glue:text}`shapley_samples` gradients each, the median gap is
# {glue:text}`shapley_defocus_gap:.3f` logits for the defocus detector, which has {glue:text}`shapley_defocus_explained:.2f`
# to explain, and {glue:text}`shapley_rgb_gap:.3f` of {glue:text}`shapley_rgb_explained:.2f` for the RGB detector. The
# reference draws 200 random points an image and does not report the gap.
