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
# # Defocus map
#
# Manipulated regions may be blurred differently from their surroundings. To see that,
# we need the blur of every pixel of a photograph, the *defocus map*, as
# {cite:t}`jeon2025seeing` compute it before they train a detector on it. If the map
# does not measure blur, a detector that reads it may be right for another reason. Here
# we compute one map step by step, and compare maps with images whose blur is known.
#
# **Reads** the images and their records (notebook 01), and the motorcycle scene with
# its measured depth.\
# **Writes** the map of every image into the cache that all runs share, and `maps.json`,
# which states the maps of this run.
#
# Blur is the standard deviation $\sigma$ of the point spread in pixels. A step edge
# blurred by $\sigma$ and filtered by the derivative of a Gaussian of scale $s$ has a
# gradient of variance $\sigma^2 + s^2$ across the edge, from which $\sigma$ follows;
# {doc}`../method` derives it. A map is better the smaller its mean absolute error in
# pixels, and the larger its rank correlation with the true blur. A constant map at the
# true mean is the baseline: a map with a larger error does not measure it in pixels.

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

# %% tags=["hide-input"]
import ipywidgets
import numpy as np
import pandas as pd
import torch
from myst_nb import glue

from defocus_lib.analysis import map_accuracy
from defocus_lib.data import collection, manifest
from defocus_lib.data.photographs import load_disparity, load_photograph
from defocus_lib.figures import defocus_map as figures
from defocus_lib.maps.cache import map_cache, save_maps
from defocus_lib.maps.estimate import defocus_maps
from defocus_lib.run import cluster, headline, profiling
from defocus_lib.run.artifacts import Folder
from defocus_lib.run.widgets import explore
from defocus_lib.scenes import optics, rendered
from defocus_lib.stats import claims

folder = Folder.open(profile, artifacts)
run = collection.load(folder)


def maps_of(image: np.ndarray):
    """Maps of one image (H, W, 3) uint8, as arrays (H, W)."""
    batch = torch.from_numpy(image[None]).permute(0, 3, 1, 2).float() / 255
    maps = defocus_maps(batch, preset, propagation or None)._asdict()
    return {name: part[0, 0].numpy() for name, part in maps.items() if part is not None}


# %% [markdown]
# ## From edges to a map
#
# Blur can be measured only where a sharp image would have detail: at edges. We measure
# it at each edge pixel and interpolate the measurements. Edges where blur cannot be
# measured are left out, because counting them as sharp would bias the map.

# %%
real = run.records.query("split == 'test' and label == 0")
shown = real.iloc[example]
image, truth = run.reader(shown), rendered.true_sigma(folder, shown["group"])
stages = maps_of(image)

# %% mystnb={"figure": {"caption": "The stages of one map: the photograph; its edges; the edges where blur could not be measured; the blur measured at the others; the dense map; and the true blur, where it is known. Compare the dense map with the photograph, or with the true blur: the broad layout is there, crisp outlines are not.", "name": "fig-map-stages"}, "image": {"alt": "Panels: a photograph, its edges, the edges that gave no measurement, coloured dots of blur at edges, a smooth map of blur, and, where it is known, the true blur with crisp outlines."}} tags=["shows-images"]
figures.map_stages(image, stages, truth)

# %% tags=["remove-input"]
edges, valid = stages["edges"], stages["valid"]
glue("map_edges", float(edges.mean()), display=False)
glue("map_valid", float(valid.sum() / max(1, edges.sum())), display=False)

# %% [markdown]
# In this image {glue:text}`map_edges:.1%` of the pixels are edges, and at
# {glue:text}`map_valid:.0%` of those blur could be measured.

# %% [markdown]
# ## A step of known blur
#
# The simplest test is a straight step between two greys, blurred by a known $\sigma$.
# The presets `released` and `published` are the settings of Jeon & Woo's code and of
# their published maps. For these, an edge without a measurement counts as 0 px, as it
# does in their code.

# %% mystnb={"figure": {"caption": "Median sigma that each preset reads at a blurred step, without noise and with noise of standard deviation 0.02 of the range. On the grey line the reading is right. The kernels of `released` and `published` are cut off too early, so they read strong blur as weak. They also look for edges in the upper half of the range only, which puts the edges of this step beside its ridge: weak blur then reads as stronger with `released`.", "name": "fig-step-edges"}, "image": {"alt": "Two panels with one line per preset. The line of the physical preset follows the diagonal; those of released and published stay far below it."}}
sigmas = [0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0]
readings = {
    f"noise {noise}": map_accuracy.step_edge_table(sigmas, noise, seed)
    for noise in (0.0, 0.02)
}
figures.step_edge_readings(readings)

# %%
pd.concat(readings, axis=1).round(2)

# %% [markdown]
# The step is one pattern; its readings vary little from seed to seed, so the table has
# no intervals. It tests the measurement at edges alone, without the interpolation.

# %% [markdown]
# ## A scene of measured depth
#
# The motorcycle of the Middlebury stereo data {cite}`scharstein2014high`, with its
# measured disparity, is photographed through one lens at five focus distances. Its
# surfaces are slanted and curved. No estimator was tuned or trained on it; `learned` is
# the only one that was trained at all ({ref}`sec-learned`).

# %%
motorcycle = manifest.load_manifest().photographs_of("depth")[0]
photograph = load_photograph(motorcycle)
disparity = load_disparity(motorcycle)


def focused(on_disparity: float) -> tuple[str, tuple]:
    """Focus distance as text, and image, true sigma and where it is known."""
    distance = float(rendered.motorcycle_distance(on_disparity))
    pitch = rendered.SENSOR_WIDTH / motorcycle_size
    lens = optics.ThinLens(135, 2.2, distance, pitch)
    scene = rendered.motorcycle(photograph, disparity, lens, motorcycle_size)
    return f"{distance / 1000:.1f} m", scene


def draw(planes: dict):
    """Photograph, true blur and estimate of each focal plane."""
    estimates = {title: maps_of(scene[0])["dense"] for title, scene in planes.items()}
    scenes = {title: scene[:2] for title, scene in planes.items()}
    return figures.focal_planes(scenes, estimates)


planes = dict(focused(plane) for plane in (12, 20, 30, 40, 55))

# %% mystnb={"figure": {"caption": "The motorcycle focused at five distances: photograph, true blur, and the map of the preset of this run. Follow the dark band of sharpness as the focus comes nearer, and look how far the estimate moves with it.", "name": "fig-motorcycle"}, "image": {"alt": "Five columns, one per focus distance. The top row shows the motorcycle, the middle row its true blur, the bottom row a smoother estimate of it."}} tags=["shows-images"]
draw(planes)

# %%
map_accuracy.score_table(planes)[["error (px)", "Spearman"]].round(2)

# %% [markdown]
# The table gives the mean over the five planes. Closed-form matting starts from the
# same edges as `physical`, at many times its cost. The last row is the baseline, a map
# that is constant at the true mean. A map with a larger error than this row does not
# measure blur in pixels; its rank correlation may still order the surfaces. The five
# planes are one scene, so they support no claim about others. More scenes are tested by
# {doc}`10_known_blur` and, where the true blur of the run is known, at the end of this
# page.

# %% [markdown]
# ## All maps
#
# We compute the map of every image of the run, in pixels of $\sigma$ and half
# precision; the detectors read them min-max normalised. A map is computed once and kept
# under a key made of the bytes of the image, its size, the values of the preset and the
# code that computes it, so that another run or another epoch finds it there. One
# process uses all cores; with `n_workers` or `scheduler` a Dask cluster computes them
# ({doc}`../cluster`).

# %% tags=["remove-output"]
cache = map_cache(run.reader, preset, propagation)
profile_of = profiling.Stages()
with profile_of("maps") as stage, cluster.workers(n_workers, scheduler) as client:
    counts = cache.fill(run.records, run.reader, progress=True, client=client)
    stage["images"] = int(counts["computed"])
profiling.save(folder.path / "stages" / "02_defocus_map.csv", {"": profile_of})
save_maps(folder, cache, run.records).name

# %% [markdown] tags=["needs-depth"]
# ## Error against the true blur
#
# The true blur of the run's images is known, and we compare the maps of its real test
# images with it. The claims are about the means over scenes; intervals are 95 %
# percentile intervals over resampled scenes.

# %%
truths = rendered.true_maps(folder, real["id"].tolist())
dense, _ = cache.stack(real)
errors = pd.DataFrame(
    map_accuracy.map_errors(estimate, sigma, sigma > 0)
    for estimate, sigma in zip(dense, truths, strict=True)
)
constant = np.abs(truths - truths.mean((1, 2), keepdims=True)).mean((1, 2))
page_claims = [
    map_accuracy.mean_claim(
        "Error of the map less that of a constant map at the true mean (px)",
        errors["error (px)"] - constant,
        seed=seed,
        relation="below",
    ),
    map_accuracy.mean_claim(
        "Rank correlation of the map with the true blur",
        errors["Spearman"].fillna(0),
        seed=seed,
    ),
]
claims.table(page_claims, folder.about.caution)

# %% tags=["remove-cell"]
_ = headline.save(folder, "02_defocus_map", page_claims)

# %% [markdown]
# If the error is below that of the constant map, the map carries information about the
# blur in pixels; the correlation asks for the order of blurs alone, which is all that a
# min-max normalised map keeps.

# %% [markdown]
# ## Limits
#
# The scenes of the embedded data consist of flat surfaces under one lens
# model, and share it with the truth. Real lenses add aberrations, and no photograph of
# a face comes with its true blur. Where nothing is sharp by nature (a wall, a sky),
# every map interpolates.

# %% [markdown]
# ## Exercises
#
# 1. Set `preset` to `published`. Which stages of the map change, and does the rank
#    correlation with the true blur?
# 2. Set `propagation` to `guided`. Which outlines of the photograph appear in the map
#    that are not in the true blur?
#
# ```{admonition} Answer to 2
# :class: dropdown
# The guided filter fits a line between grey value and blur in each window, so texture
# and painted lines within one surface show in the map, although the surface has one
# blur.
# ```
#
# ## Try it
#
# Move the focus of the lens, and watch the sharp band and the estimate move through the
# scene.


# %%
def refocus(on_disparity: float):
    return draw(dict([focused(on_disparity)]))


# %% mystnb={"figure": {"caption": "The motorcycle with the focus at one distance: photograph, true blur, estimate.", "name": "fig-map-try"}, "image": {"alt": "The motorcycle photograph, its true blur and the estimated blur, one below the other."}} tags=["shows-images"]
refocus(45.0)

# %% tags=["remove-output"]
explore(refocus, on_disparity=ipywidgets.FloatSlider(45.0, min=10, max=60, step=1))
