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
# # Defocus map
#
# **You will see** how one photograph becomes a map of blur, and how far that map is from the truth.\
# **Reads** the images and their records (notebook 01), and the motorcycle scene with its measured depth.\
# **Writes** the map of every image into the cache that all runs share, and `maps.json`, which maps they are.
#
# {doc}`../method` derives the method. Here it is at work, step by step, and then on images whose blur is known.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
preset: str = "physical"
propagation: str = ""
example: int = 0
motorcycle_size: int = 299
n_workers: int = 1
scheduler: str = ""
seed: int = 0

# %%
import ipywidgets
import numpy as np
import torch
from myst_nb import glue

from defocus_lib.analysis import map_accuracy
from defocus_lib.data import collection, manifest
from defocus_lib.data.photographs import load_disparity, load_photograph
from defocus_lib.figures import defocus_map as figures
from defocus_lib.maps.cache import map_cache, save_maps
from defocus_lib.maps.estimate import defocus_maps
from defocus_lib.run import cluster, profiling
from defocus_lib.run.artifacts import Folder
from defocus_lib.run.widgets import explore
from defocus_lib.scenes import optics, rendered

folder = Folder.open(profile, artifacts)
run = collection.load(folder)

# %% [markdown]
# ## From edges to a map
#
# Blur can be read only where something would be sharp: at edges. At each edge pixel the blur is measured, the result is
# spread into the plane, and what could not be measured is left out rather than called sharp.


# %%
def as_batch(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


real = run.records.query("split == 'test' and label == 0").iloc[example]
image, truth = run.reader(real), rendered.true_sigma(folder, real["group"])
maps = defocus_maps(as_batch(image[None]), preset, propagation or None)
stages = {
    name: values[0, 0].numpy()
    for name, values in maps._asdict().items()
    if values is not None
}

# %% mystnb={"figure": {"caption": "The stages of one map. Edges; those of them where blur could not be measured; the blur that was read at the others; the dense map; and the truth, where it is known. Compare the dense map with the photograph, or with the true blur: the broad layout is there, crisp outlines are not.", "name": "fig-map-stages"}, "image": {"alt": "Panels: a photograph, its edges, the edges that gave no measurement, coloured dots of blur at edges, a smooth map of blur, and, where it is known, the true blur with crisp outlines."}}
figures.map_stages(image, stages, truth)

# %% tags=["remove-input"]
glue("map_edges", float(100 * stages["edges"].mean()), display=False)
glue(
    "map_valid",
    float(100 * stages["valid"].sum() / max(1, stages["edges"].sum())),
    display=False,
)
map_error = "unknown"
if truth is not None:
    known = np.ones_like(truth, dtype=bool)
    error = map_accuracy.map_errors(stages["dense"], truth, known)["error (px)"]
    map_error = f"{error:.2f} px"
glue("map_error", map_error, display=False)

# %% [markdown]
# In this image {glue:text}`map_edges:.1f` % of the pixels are edges, and {glue:text}`map_valid:.0f` % of those could be
# measured. The mean absolute error of the dense map is {glue:text}`map_error`.

# %% [markdown]
# ## A step of known blur
#
# The simplest test: a straight step between two greys, blurred by a known sigma. `released` and `published` are the
# settings of the reference; they are read as the reference uses them, with what can't be measured counted as 0.

# %% mystnb={"figure": {"caption": "Median sigma that each preset reads at a blurred step, without noise and with noise of standard deviation 0.02. On the grey line the reading is right. The kernels of the two reference presets are cut off too early, so they read strong blur as weak. They also look for edges in the upper half of the range only, which puts the edges of this step beside its crest: weak blur then reads as stronger with `released`.", "name": "fig-step-edges"}, "image": {"alt": "Two panels with three lines each. The line of the physical preset follows the diagonal; those of released and published stay far below it."}}
sigmas = [0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0]
readings = {
    f"noise {noise}": map_accuracy.step_edge_table(sigmas, noise, seed)
    for noise in (0.0, 0.02)
}
figures.step_edge_readings(readings)

# %%
readings["noise 0.0"].round(2)

# %% tags=["remove-input"]
clean, noisy = (table.loc[0.75:] for table in readings.values())
glue(
    "map_step_error",
    float(clean["physical"].sub(clean.index).abs().max()),
    display=False,
)
glue(
    "map_step_error_noisy",
    float(noisy["physical"].sub(noisy.index).abs().max()),
    display=False,
)
glue("map_step_released", float(clean["released"].iloc[-1]), display=False)
glue("map_step_published", float(clean["published"].iloc[-1]), display=False)
glue("map_step_true", float(clean.index[-1]), display=False)

# %% [markdown]
# From 0.75 to {glue:text}`map_step_true:.0f` px, `physical` is wrong by at most {glue:text}`map_step_error:.2f` px without
# noise and {glue:text}`map_step_error_noisy:.2f` px with it. A true {glue:text}`map_step_true:.0f` px is read as
# {glue:text}`map_step_released:.2f` px by `released` and {glue:text}`map_step_published:.2f` px by `published`.

# %% [markdown]
# ## A scene of measured depth
#
# The motorcycle of the Middlebury stereo data, with the disparity that was measured, photographed through one lens at
# five focus distances. Surfaces are slanted and curved here. None of the estimators has seen it; `learned` is the only
# one that was trained at all ({ref}`sec-learned`).

# %%
motorcycle = manifest.load_manifest().photographs_of("depth")[0]
picture, disparity = (
    load_photograph(motorcycle),
    load_disparity(motorcycle),
)


def focused(on_disparity: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pitch = rendered.SENSOR_WIDTH / motorcycle_size
    lens = optics.ThinLens(
        135, 2.2, float(rendered.motorcycle_distance(on_disparity)), pitch
    )
    return rendered.motorcycle(picture, disparity, lens, motorcycle_size)


planes = {
    f"{rendered.motorcycle_distance(d) / 1000:.1f} m": focused(d)
    for d in (12, 20, 30, 40, 55)
}

# %% mystnb={"figure": {"caption": "The motorcycle focused at five distances: photograph, true blur, and the map of the preset of this run. Follow the dark band of sharpness as the focus comes nearer, and look how far the estimate moves with it.", "name": "fig-motorcycle"}, "image": {"alt": "Five columns, one a focus distance. The top row shows the motorcycle, the middle row its true blur, the bottom row a smoother estimate of it."}}
figures.focal_planes(
    {title: (image, sigma) for title, (image, sigma, _) in planes.items()},
    {
        t: defocus_maps(as_batch(p[0][None]), preset, propagation or None)
        .dense[0, 0]
        .numpy()
        for t, p in planes.items()
    },
)

# %%
summary = map_accuracy.score_table(planes)[["error (px)", "Spearman"]]
summary.round(2)

# %% tags=["remove-input"]
for name, key in (
    ("physical", "physical"),
    ("physical, closed form", "closed"),
    ("published", "published"),
):
    glue(
        f"map_motorcycle_{key}_error",
        float(summary.loc[name, "error (px)"]),
        display=False,
    )
    glue(
        f"map_motorcycle_{key}_spearman",
        float(summary.loc[name, "Spearman"]),
        display=False,
    )
glue(
    "map_motorcycle_constant",
    float(summary.loc["constant mean", "error (px)"]),
    display=False,
)

# %% [markdown]
# The table gives the mean over the five planes. `physical` is off by {glue:text}`map_motorcycle_physical_error:.2f` px, with
# a rank correlation of {glue:text}`map_motorcycle_physical_spearman:.2f`; propagating the same edges by closed-form
# matting gives {glue:text}`map_motorcycle_closed_error:.2f` px and {glue:text}`map_motorcycle_closed_spearman:.2f`, at many
# times the cost. The maps of `published` are off by {glue:text}`map_motorcycle_published_error:.2f` px with a correlation of
# {glue:text}`map_motorcycle_published_spearman:.2f`; a map that says the mean everywhere is off by
# {glue:text}`map_motorcycle_constant:.2f` px. A map that is worse than the mean does not measure blur, whatever else it
# may show.

# %% [markdown]
# ## All maps
#
# Every image of the run, in pixels of sigma; the detectors read them min-max normalised. A map is computed once and kept
# under a key made of the image's bytes, its size, the preset and the method itself, so another run, or another epoch,
# finds it there. One process uses all cores; with `n_workers` or `scheduler` a Dask cluster computes them ({doc}`../cluster`).

# %% tags=["remove-output"]
cache = map_cache(run.reader, preset, propagation)
stages = profiling.Stages()
with stages("maps") as stage, cluster.workers(n_workers, scheduler) as client:
    stage["images"] = int(
        cache.fill(run.records, run.reader, progress=True, client=client)["computed"]
    )
profiling.save(folder.path / "stages" / "02_defocus_map.csv", {"": stages})
save_maps(folder, cache, run.records).name

# %% [markdown]
# ## Try it
#
# Move the focus of the lens and watch the sharp band, and the estimate, move through the scene.


# %%
def refocus(on_disparity: float):
    image, sigma, _ = focused(on_disparity)
    title = f"{rendered.motorcycle_distance(on_disparity) / 1000:.1f} m"
    dense = (
        defocus_maps(as_batch(image[None]), preset, propagation or None)
        .dense[0, 0]
        .numpy()
    )
    return figures.focal_planes({title: (image, sigma)}, {title: dense})


# %% mystnb={"figure": {"caption": "The motorcycle with the focus at one distance: photograph, true blur, estimate.", "name": "fig-map-try"}, "image": {"alt": "The motorcycle photograph, its true blur and the estimated blur, one below the other."}}
refocus(45.0)

# %% tags=["remove-output"]
explore(refocus, on_disparity=ipywidgets.FloatSlider(45.0, min=10, max=60, step=1))
