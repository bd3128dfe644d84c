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
# # Better maps
#
# **You will see** whether a better defocus map makes a better detector.\
# **Reads** the records, the images and, where it is known, their true blur (notebook
# 01).\
# **Writes** `better_maps.parquet`, the predictions of every detector of this page on
# the test images, and its claims for the front page.
#
# {cite:t}`jeon2025seeing` argue that defocus blur is evidence of manipulation. If a
# detector uses blur, then a map that is nearer to the true blur should serve it better;
# if it uses something else in the map, such as the density of edges, accuracy should
# not matter. We therefore train the same small network on maps of four presets, with
# the same budget and seeds. Where the scenes are rendered, it is also trained on the
# true blur, which no map can surpass in accuracy.
#
# The hypothesis predicts that the AUC (area under the ROC curve) rises from the least
# to the most accurate map. We test it on `learned` and `physical`, because
# {doc}`10_known_blur` compares their errors.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
groups: int = 300
seeds: int = 3
backbone: str = "test_resnet"
input_size: int = 32
epochs: int = 5
batch_size: int = 32
learning_rate: float = 0.003
schedule: str = "one_cycle"
precision: str = "auto"
monitor: str = "val_auc"
horizontal_flip: bool = True
n_bootstrap: int = 2000
n_workers: int = 0
scheduler: str = ""
example: int = 7
seed: int = 0

# %% tags=["hide-input"]
import ipywidgets
import pandas as pd
from myst_nb import glue

from defocus_lib.analysis import detector_by_map
from defocus_lib.analysis.detector_by_map import ERROR, TRUE
from defocus_lib.data import collection, records
from defocus_lib.detect import sweep
from defocus_lib.detect.plan import Plan
from defocus_lib.figures import detector_by_map as figures
from defocus_lib.maps.cache import ComputedMaps, map_cache
from defocus_lib.run import cluster, headline
from defocus_lib.run.artifacts import Folder, write_beside
from defocus_lib.run.widgets import explore
from defocus_lib.stats import auc, claims
from defocus_lib.stats.claims import Claim

folder = Folder.open(profile, artifacts)
run = collection.load(folder)
chosen = sweep.complete(collection.load_sweep_records(folder))
chosen = records.sample(chosen, groups, seed) if groups else chosen
test = chosen[chosen["split"] == "test"]
real = test[test["label"] == 0]
manipulations = sweep.training_manipulations(chosen)
# The others take milliseconds, and no other page reads them: not worth their disk.
caches = {name: map_cache(run.reader, name, "") for name in ("physical", "learned")}
estimates = {
    name: caches.get(name) or ComputedMaps(run.reader, name)
    for name in detector_by_map.PRESETS
}
truth = {TRUE: detector_by_map.TrueMaps(folder)} if "depth" in run.about.has else {}
sources = estimates | truth

# %% tags=["remove-input"]
glue("better_unit", run.about.unit, display=False)
glue("better_backbone", backbone, display=False)
glue("better_input_size", input_size, display=False)
glue("better_epochs", epochs, display=False)
glue("better_seeds", seeds, display=False)
n_groups = int(chosen.groupby("split")["group"].nunique().max())
glue("better_groups", n_groups, display=False)

# %% [markdown]
# ## One training run
#
# The maps of `released` are computed as in the authors' code, those of `published` as
# in their published maps. `physical` reads the width of edges and spreads it;
# {doc}`../method` has the formulas. `learned` is a small network that was trained on
# simulated scenes of other photographs; it also estimates its own uncertainty.
#
# For each manipulation, seed and kind of map we train one {glue:text}`better_backbone`
# at {glue:text}`better_input_size` px. Seeds: {glue:text}`better_seeds`, but one for
# `released` and `published`, on which no claim rests. Epochs:
# {glue:text}`better_epochs`. Groups in a split: {glue:text}`better_groups` at most,
# where a group is one {glue:text}`better_unit`. Each detector is tested on its own
# manipulation.

# %% tags=["remove-output"]
plan = Plan(
    epochs=epochs,
    batch_size=batch_size,
    learning_rate=learning_rate,
    schedule=schedule,
    precision=precision,
    monitor=monitor,
    horizontal_flip=horizontal_flip,
)
common = sweep.Sweep(chosen, run.reader, caches["physical"], backbone, input_size, plan)
with cluster.workers(n_workers, scheduler) as client:
    for cache in caches.values():
        cache.fill(chosen, run.reader, progress=True, client=client)
    predictions = detector_by_map.run(
        common,
        sources,
        range(seeds),
        ["learned"],
        client,
        folder.path / ".14_better_maps",
        progress=True,
    )
_ = write_beside(
    folder.path / "better_maps.parquet",
    lambda path: predictions.to_parquet(path, index=False),
)

# %% [markdown]
# ## The maps


# %% tags=["hide-input"]
def pair_of(image: int, manipulation: str):
    first = real.drop_duplicates("group")
    first = first.iloc[[min(image, len(first) - 1)]]
    fakes = test[test["manipulation"] == manipulation]
    paired = fakes[fakes["pair"].isin(first["id"])]
    rows = pd.concat([first, (paired if len(paired) else fakes).head(1)])
    maps = {name: source.stack(rows)[0] for name, source in sources.items()}
    titles = rows["manipulation"].tolist()
    return figures.maps_of_pair(run.reader.stack(rows), maps, titles)


# %% mystnb={"figure": {"caption": "A real test image, a manipulated one, and their maps, all on one scale. Look for the region in the lower row whose blur does not fit its surroundings, and for the maps that show it. Where the true sigma is known, it stands on the right.", "name": "fig-better-pair"}, "image": {"alt": "Two rows, real and manipulated, of a photograph and its maps: released, published, physical, learned and, where it is known, the true sigma."}} tags=["shows-images"]
pair_of(example, manipulations[0])

# %% [markdown] tags=["needs-depth"]
# ## How accurate they are
#
# Mean absolute error and rank correlation with the true blur, over the real test
# images. Intervals on this page are at 95 % and count which groups were tested; those
# of AUC also count how far the seeds differ.

# %%
images = detector_by_map.errors_of_images(real, estimates, truth[TRUE])
errors = detector_by_map.error_table(images, n_bootstrap, seed)
detector_by_map.errors_shown(errors)

# %% [markdown]
# ## The same detector on each
#
# AUC on unseen test images, the mean over the seeds, with its 95 % interval.

# %%
with_uncertainty = detector_by_map.WITH_UNCERTAINTY.format("learned")
by_map = detector_by_map.by_map(predictions, sources, manipulations)
by_map |= detector_by_map.by_map(predictions, [with_uncertainty], manipulations[:1])
resamples = auc.resampled(by_map, n_bootstrap, seed)
table = detector_by_map.auc_table(by_map, resamples)
maps_alone = table[table["map"] != with_uncertainty]
detector_by_map.auc_shown(maps_alone)

# %% mystnb={"figure": {"caption": "AUC of the same detector on each kind of map, with 95 % intervals over groups and seeds. Where the true blur is known, the axis is the error of the map, and the star at 0 is the true blur itself: if a better map makes a better detector, markers rise to the left. The dotted line is chance.", "name": "fig-better-auc"}, "image": {"alt": "One panel per manipulation, each with a marker and an error bar for every kind of map."}}
figures.auc_against_error(maps_alone, errors if truth else None)

# %% [markdown]
# Gains in AUC, over the same resamples of the groups:

# %%
gain = detector_by_map.gains(by_map, resamples, "learned", "physical")
gains = {"learned minus physical": gain}
if truth:
    gains[f"{TRUE} minus learned"] = detector_by_map.gains(
        by_map, resamples, TRUE, "learned"
    )
detector_by_map.gains_shown(gains)

# %% [markdown] tags=["needs-depth"]
# ## What a perfect map would give
#
# The true blur of a manipulated image is that of its scene, and in the region what the
# manipulation leaves there: a splice brings its own; decoding from a low resolution
# adds that of the pixels it came from; a warp adds that of its interpolation, about 0.4
# px in quadrature; smoothed texture keeps the blur of the subject, because its edges
# stay as wide as they were. The true blur has no error at all, so a detector on it also
# finds differences that would drown in the error of any estimate. It is an upper bound
# for evidence from blur, not a promise. Where `learned` exceeds it, the map shows
# something else than blur.
#
# The rank correlation over the presets of AUC with accuracy is 1 where each more
# accurate map makes a better detector, and -1 where each makes a worse one:

# %%
accuracy = detector_by_map.accuracy_correlation(maps_alone, errors[ERROR, "value"])
accuracy.to_frame("rank correlation of AUC with accuracy").round(2)

# %% [markdown] tags=["needs-regions"]
# ## What a map makes of a manipulation
#
# The error is that of real images, over all of their pixels. A detector needs something
# else: the map has to change where the image was manipulated, and by more than maps
# vary anyway. The table shows the change of each map (px), from the real image to the
# manipulated image paired with it, over the region: mean and standard deviation over
# images. A manipulation stands out where the mean is large against the deviation.

# %%
changes = detector_by_map.region_changes(test, sources, folder)
detector_by_map.changes_shown(changes)

# %% [markdown]
# ## Does it help to know how sure the map is?
#
# The preset `learned` gives each pixel a standard deviation. The same network reads it
# as a second channel, both in units of the range of the map. We ask this of the first
# manipulation alone.

# %%
first = table[table["manipulation"] == manipulations[0]]
detector_by_map.auc_shown(first[first["map"].isin(["learned", with_uncertainty])])

# %%
helped = detector_by_map.gains(by_map, resamples, with_uncertainty, "learned")
detector_by_map.gains_shown({"with uncertainty minus without": helped})

# %% [markdown]
# ## What follows

# %%
counts = {
    "groups": int(test["group"].nunique()),
    "unit": run.about.unit,
    "seeds": seeds,
    "epochs": epochs,
}
page_claims = [
    *detector_by_map.gain_claims(
        gain, "Gain in AUC on {}: `learned` over `physical`", **counts
    ),
    *detector_by_map.gain_claims(
        helped, "Gain in AUC on {}: uncertainty as a second channel", **counts
    ),
]
if truth:
    nearer = detector_by_map.error_difference(
        images, "learned", "physical", n_bootstrap, seed
    )
    page_claims.insert(
        0,
        Claim(
            "Error of `learned` less that of `physical`, real test images (px)",
            *map(float, (nearer.value, nearer.low, nearer.high)),
            real["group"].nunique(),
            relation="below",
            unit=run.about.unit,
        ),
    )
claims.table(page_claims, folder.about.caution)

# %% tags=["remove-cell"]
_ = headline.save(folder, "14_better_maps", page_claims)

# %% [markdown]
# If `learned` is nearer to the truth and its detector gains on a manipulation, accuracy
# of the map limits what this detector finds. If it is nearer and its detector gains
# nothing, accuracy is not the limit: either this manipulation leaves no blur, or the
# detector uses another property of the map. A gain without known truth says only which
# map is the better input.
#
# **Limits.** A larger detector, or more data, may make up for a worse map. The
# photographs of the test images have trained neither the detectors nor the estimator.
#
# ## Exercises
#
# 1. Set `groups` to 75. Which gains in AUC keep an interval above 0?
# 2. Set `input_size` to 64. Does the order of the maps change?
#
# ```{admonition} Answer to 1
# :class: dropdown
# The width of an interval falls with the square root of the number of test groups, so
# fewer groups widen it; with fewer training groups the gain itself may also change.
# ```

# %% [markdown]
# ## Try it
#
# Other test images, and other manipulations.

# %% tags=["remove-output"]
explore(
    pair_of,
    image=ipywidgets.IntSlider(example, 0, real["group"].nunique() - 1),
    manipulation=ipywidgets.Dropdown(options=manipulations),
)
