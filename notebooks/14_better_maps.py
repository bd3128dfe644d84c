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
# # Better maps
#
# **You will see** whether a better defocus map makes a better detector.\
# **Reads** the records, the images and, where it is known, their true blur (notebook 01).\
# **Writes** `better_maps.parquet`, what every detector of this page says about the test images, and a line for the front
# page.
#
# If a detector lives on blur, then the nearer a map is to the true blur, the more its detector should find. Here the
# same small network learns from maps of four kinds, with the same budget and seeds. Where the scenes are rendered, it
# also learns from the true blur: no map can give it more.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
groups: int = 300
seeds: int = 3
backbone: str = "test_resnet"
input_size: int = 32
epochs: int = 6
batch_size: int = 64
learning_rate: float = 0.003
schedule: str = "one_cycle"
precision: str = "auto"
monitor: str = "val_auc"
horizontal_flip: bool = True
n_bootstrap: int = 2000
n_workers: int = 2
scheduler: str = ""
example: int = 7
seed: int = 0

# %%
import ipywidgets
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue

from defocus_lib.analysis import detector_by_map
from defocus_lib.analysis.detector_by_map import TRUE
from defocus_lib.data import collection, records
from defocus_lib.detect import sweep
from defocus_lib.detect.training import Plan
from defocus_lib.figures import detector_by_map as figures
from defocus_lib.maps.cache import map_cache
from defocus_lib.run import cluster, headline
from defocus_lib.run.artifacts import Folder, write_beside
from defocus_lib.run.widgets import explore
from defocus_lib.stats import auc
from defocus_lib.stats.claims import Claim

folder = Folder.open(profile, artifacts)
run = collection.load(folder)
chosen = sweep.complete(collection.load_sweep_records(folder))
chosen = records.sample(chosen, groups, seed) if groups else chosen
caches = {name: map_cache(run.reader, name, "") for name in detector_by_map.PRESETS}
truth = {TRUE: detector_by_map.TrueMaps(folder)} if "depth" in run.about.has else {}
sources = caches | truth

# %% [markdown]
# ## One training run
#
# `released` is what the reference's code computes, `published` what its published maps were computed with. `physical`
# reads the width of edges and spreads it; {doc}`../method` has the formulas. `learned` is a small network that has seen
# rendered scenes made of other photographs; it also says how sure it is of each pixel.
#
# The detectors are one {glue:text}`better_backbone` for each manipulation, seed and kind of map, at
# {glue:text}`better_input_size` px, for {glue:text}`better_epochs` epochs over the images of at most
# {glue:text}`better_groups` {glue:text}`better_units` a split; {glue:text}`better_seeds` seeds. Each learns one
# manipulation and is asked about that one, on test images.

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
series = sweep.Sweep(chosen, run.reader, caches["physical"], backbone, input_size, plan)
with cluster.workers(n_workers, scheduler) as client:
    for cache in caches.values():
        cache.fill(chosen, run.reader, progress=True, client=client)
    answers = detector_by_map.run(
        series, sources, range(seeds), ["learned"], client, progress=True
    )
_ = write_beside(
    folder.path / "better_maps.parquet",
    lambda path: answers.to_parquet(path, index=False),
)

# %% [markdown]
# ## The maps

# %%
test = chosen[chosen["split"] == "test"]
real = test[test["label"] == 0]
names = sweep.training_manipulations(chosen)


def pair_of(image: int, manipulation: str):
    first, fakes = (
        real.drop_duplicates("group"),
        test[test["manipulation"] == manipulation],
    )
    first = first.iloc[[min(image, len(first) - 1)]]
    twins = fakes[fakes["pair"].isin(first["id"])]
    rows = pd.concat([first, (twins if len(twins) else fakes).head(1)])
    maps = {name: source.stack(rows)[0] for name, source in sources.items()}
    return figures.maps_of_pair(
        run.reader.stack(rows), maps, rows["manipulation"].tolist()
    )


# %% mystnb={"figure": {"caption": "A real test image, a manipulated one, and their maps, all on one scale. Look for the region in the lower row whose blur does not fit its surroundings, and for the maps that show it. Where the true sigma is known, it stands on the right.", "name": "fig-better-pair"}, "image": {"alt": "Two rows, real and manipulated, of a photograph and its maps: released, published, physical, learned and, where it is known, the true sigma."}}
pair_of(example, names[0])

# %% [markdown] tags=["needs-depth"]
# ## How good they are
#
# Mean absolute error and rank correlation with the true blur, over the real test images, with 95 % intervals by
# {glue:text}`better_unit`.

# %%
images = detector_by_map.errors_of_images(real, caches, truth[TRUE])
errors = detector_by_map.error_table(images, n_bootstrap, seed)
detector_by_map.errors_shown(errors)

# %% [markdown]
# ## The same detector on each
#
# AUC on unseen test images: the mean over the seeds, with a 95 % interval that counts both which
# {glue:text}`better_units` were tested and how far the seeds differ.

# %%
sure = detector_by_map.WITH_UNCERTAINTY.format("learned")
by_map = detector_by_map.by_map(answers, [*sources, sure], names)
draws = auc.resampled(by_map, n_bootstrap, seed)
table = detector_by_map.auc_table(by_map, draws)
plain = table[table["map"] != sure]
detector_by_map.auc_shown(plain)

# %% mystnb={"figure": {"caption": "AUC of the same detector on each kind of map, with 95 % intervals. Where the true blur is known, the axis is the error of the map, and the star at 0 is the true blur itself: if a better map makes a better detector, markers rise to the left. The dotted line is chance.", "name": "fig-better-auc"}, "image": {"alt": "One panel a manipulation, each with a marker and an error bar for every kind of map over the error of the map in px."}}
figures.auc_against_error(plain, errors if truth else None)

# %% tags=["remove-input"]
gain = detector_by_map.gains(by_map, draws, "learned", "physical")
nearer = (
    detector_by_map.nearer(images, "learned", "physical", n_bootstrap, seed)
    if truth
    else None
)
ranks = (
    detector_by_map.order(plain, errors[detector_by_map.ERROR, "value"])
    if truth
    else None
)
glue(
    "better_verdict",
    Markdown(detector_by_map.verdict(plain, gain, nearer, ranks)),
    display=False,
)
glue("better_unit", run.about.unit, display=False)
glue("better_units", f"{run.about.unit}s", display=False)
glue("better_backbone", backbone, display=False)
glue("better_input_size", input_size, display=False)
glue("better_epochs", epochs, display=False)
glue("better_seeds", seeds, display=False)
glue(
    "better_groups",
    int(chosen.groupby("split")["group"].nunique().max()),
    display=False,
)
page_claims = [
    Claim(
        f"Gain in AUC on {name} of a detector on the learned map over one on the physical map",
        *map(float, gain.iloc[number][["value", "low", "high"]]),
        int(test["group"].nunique()),
        unit=run.about.unit,
        seeds=seeds,
        epochs=epochs,
    )
    for number, name in enumerate(names)
]
_ = headline.save(folder, "14_better_maps", page_claims)

# %% [markdown]
# ```{glue:md} better_verdict
# :format: myst
# ```
#
# The differences behind this, in AUC:

# %%
left = (
    {f"{TRUE} minus learned": detector_by_map.gains(by_map, draws, TRUE, "learned")}
    if truth
    else {}
)
detector_by_map.gains_shown({"learned minus physical": gain, **left})

# %% [markdown] tags=["needs-depth"]
# ## What a perfect map would give
#
# The true blur of a manipulated image is that of its scene, and in the region what the manipulation leaves there: a
# splice brings its own; decoding from a low resolution adds that of the pixels it came from; a warp adds that of its
# interpolation, about 0.4 px in quadrature; smoothed texture keeps the blur of the subject, because its edges stay as
# wide as they were.

# %% tags=["remove-input"]
glue("better_ceiling", detector_by_map.ceiling(plain, *left.values()), display=False)

# %% [markdown]
# {glue:text}`better_ceiling` The true blur has no error at all, so a detector on it also finds a difference that would
# drown in the error of any estimate: it bounds what is possible, and does not promise it.

# %% [markdown] tags=["needs-regions"]
# ## What a map makes of a manipulation
#
# The error is that of real images, over all of their pixels. A detector needs something else: that the map changes where
# the image was manipulated, and by more than maps vary anyway. This is the change of each map, in px, from the real image
# to its manipulated twin, over the region: its mean, and how far single images are from it.

# %%
changes = detector_by_map.region_changes(test, sources, folder)
detector_by_map.changes_shown(changes)

# %% tags=["remove-input"]
glue("better_stands_out", detector_by_map.stands_out(changes, names[0]), display=False)

# %% [markdown]
# {glue:text}`better_stands_out`

# %% [markdown]
# ## Does it help to know how sure the map is?
#
# The estimator of `learned` gives each pixel a standard deviation. The same network reads it beside the map, both in
# units of the range of the map.

# %%
helped = detector_by_map.gains(by_map, draws, sure, "learned")
detector_by_map.auc_shown(table[table["map"].isin(["learned", sure])])

# %% tags=["remove-input"]
glue("better_sure", detector_by_map.second_channel(helped), display=False)

# %%
detector_by_map.gains_shown({"with uncertainty minus without": helped})

# %% [markdown]
# {glue:text}`better_sure`
#
# What this page cannot say: a larger detector, or more data, may make up for a worse map. The photographs of the test
# images have trained neither the detectors nor the estimator.

# %% [markdown]
# ## Try it
#
# Other test images, and other manipulations.

# %% tags=["remove-output"]
explore(
    pair_of,
    image=ipywidgets.IntSlider(example, 0, real["group"].nunique() - 1),
    manipulation=ipywidgets.Dropdown(options=names),
)
