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
# # Data
#
# Whether defocus is evidence of manipulation can be tested only where the true blur and
# the manipulated region are known. No collection of deepfakes has either. Therefore
# this run renders its own scenes: a controlled experiment with known truth, not
# deepfakes. {doc}`../data` says how a scene is made and where the likeness to real
# manipulations ends. This page shows the photographs, the lens and some of the scenes.
#
# A scene is a stack of textured shapes at known depths, seen through one thin lens
# (equations {eq}`eq-coc` and {eq}`eq-render`). Each manipulation changes one region of
# it. Photographs, not images, are split into training, validation and test, because a
# detector would otherwise be tested on textures that it has learned.\
# **Reads** `data_manifest.yaml` and the photographs that it lists, which ship inside
# installed packages.\
# **Writes** `records.parquet`, one row per image, and the images; `truth.npz` with true
# blur and manipulated regions; `sweep_records.parquet`, the records of the training
# sweeps in notebooks 11 and 14.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
train_scenes: int = 800
val_scenes: int = 100
test_scenes: int = 150
size: int = 128
manipulations: str = "resynthesis, splice, reenactment, texture"
training_manipulation: str = "resynthesis"
sweep_scenes: int = 400
seed: int = 0

# %% tags=["hide-input"]
import ipywidgets
import numpy as np
from myst_nb import glue

from defocus_lib.data import collection, manifest
from defocus_lib.data.photographs import load_photograph, photograph_table
from defocus_lib.figures import data as figures
from defocus_lib.run.artifacts import About, Folder, write_arrays
from defocus_lib.run.widgets import explore
from defocus_lib.scenes import optics, rendered

about = About(
    "scenes",
    "controlled scenes",
    "scene",
    has=("pairs", "regions", "depth", *(["transfer"] if "," in manipulations else [])),
    size=size,
    test_groups=test_scenes,
)
folder = Folder.create(profile, artifacts, about)
names = [name.strip() for name in manipulations.split(",")]

# %% [markdown]
# ## The photographs
#
# Each photograph lends its texture to the scenes of one split only. `depth` is the
# motorcycle scene, on which the maps are measured and nothing is trained. The SHA-256
# of every file is compared with the manifest when it is read.

# %%
sources = manifest.load_manifest()
textures = {
    split: [load_photograph(entry) for entry in sources.photographs_of(split)]
    for split in rendered.SPLITS
}
columns = ["name", "split", "author", "licence", "package"]
listed = photograph_table(sources.photographs)[columns]
listed.style.hide(axis="index").set_table_attributes('class="dataframe"')

# %% [markdown]
# ## The lens
#
# Blur depends on depth through the aperture and the distance in focus, by equations
# {eq}`eq-coc` and {eq}`eq-sigma`. The figure shows three of the lenses that scenes draw
# from, before a sensor that is 36 mm wide.

# %% mystnb={"figure": {"caption": "Blur against distance for a lens of 85 mm at three settings. Each curve is zero at the distance in focus and grows before and behind it. It grows faster for the wider aperture.", "name": "fig-lens"}, "image": {"alt": "Three curves of sigma in pixels over distance from one to nine metres. Each falls to zero at its focus distance, then rises and levels off."}}
distance = np.linspace(1.0, 9.0, 400)
lenses = {
    f"f/{f_number}, focused at {focus / 1000} m": optics.ThinLens(
        85, f_number, focus, rendered.SENSOR_WIDTH / size
    )
    for f_number, focus in ((1.4, 1500), (2.8, 1500), (1.4, 3000))
}
figures.lens_curves(
    distance, {name: lens.sigma(1000 * distance) for name, lens in lenses.items()}
)

# %% [markdown]
# ## The scenes
#
# Every scene is photographed once, which gives the real image. Each training and
# validation scene also has one manipulated image, by the training manipulation. Each
# test scene has one by every manipulation, and so do the first `sweep_scenes` of the
# other splits, from which notebooks 11 and 14 train small detectors.

# %%
table = rendered.records(
    {"train": train_scenes, "val": val_scenes, "test": test_scenes},
    training_manipulation,
    names,
    by_all=sweep_scenes,
)
arrays = rendered.photograph_all(table, textures, seed, size, progress=True)
images, files = arrays.pop("images"), arrays.pop("files")
sweep_records = rendered.store_images(folder.path, table, files, size)
records = collection.for_training_on(sweep_records, training_manipulation)
collection.save(folder, records)
collection.save_sweep_records(folder, sweep_records)
write_arrays(
    folder.path / "truth.npz",
    arrays,
    meta={"profile": profile, "seed": seed, "size": size},
)
kept_rows = sweep_records["id"].isin(records["id"]).to_numpy()
images, regions = images[kept_rows], arrays["regions"][kept_rows]
records.pivot_table(
    index="manipulation", columns="split", values="id", aggfunc="count", sort=False
).fillna(0).astype(int)

# %% tags=["remove-input"]
true_sigma = arrays["sigma"]
coverage = 100 * regions[records["label"].to_numpy() == 1].mean((1, 2))
glue("data_images", len(records), display=False)
glue("data_scenes", len(true_sigma), display=False)
glue("data_size", size, display=False)
glue("data_training_manipulation", training_manipulation, display=False)
glue("data_sigma_low", float(np.percentile(true_sigma, 5)), display=False)
glue("data_sigma_high", float(np.percentile(true_sigma, 95)), display=False)
glue("data_region_low", float(np.percentile(coverage, 5)), display=False)
glue("data_region_high", float(np.percentile(coverage, 95)), display=False)
collection.write_summary(folder)

# %% [markdown]
# The run has {glue:text}`data_images` images of {glue:text}`data_scenes` scenes, each
# {glue:text}`data_size` px wide and high. The training manipulation is
# {glue:text}`data_training_manipulation`. The central 90 % of pixels have a true blur
# between {glue:text}`data_sigma_low:.1f` and {glue:text}`data_sigma_high:.1f` px, and
# the central 90 % of manipulated regions cover between {glue:text}`data_region_low:.0f`
# % and {glue:text}`data_region_high:.0f` % of their image.


# %% tags=["hide-input"]
def gallery(first: int):
    rows = (
        records.query("split == 'test'")
        .groupby("group", sort=False)
        .head(len(names) + 1)
    )
    scenes = rows["group"].unique()[first : first + 3]
    picks = np.stack([rows.index[rows["group"] == scene] for scene in scenes])
    sigma = true_sigma[np.isin(arrays["scenes"], scenes)]
    return figures.scene_gallery(
        images[picks], regions[picks], sigma, scenes, ["real", *names]
    )


# %% mystnb={"figure": {"caption": "Three test scenes. Left: the true blur, dark where the image is sharp. Then the real image and one image per manipulation; the outline is the manipulated region. Look for a region whose sharpness does not fit its surroundings: some manipulations show it plainly, others do not.", "name": "fig-scenes"}, "image": {"alt": "Three rows of overlapping textured shapes. Each row shows a map of true blur, the real image and manipulated versions with an outlined region on the nearest shape."}} tags=["shows-images"]
gallery(0)

# %% [markdown]
# ## Limits
#
# The scenes have known truth because they are simple: flat shapes, Gaussian blur, one
# lens, no faces. A result on them says what a method can do where defocus is the
# evidence. Whether it holds for deepfakes must be tested on deepfakes, for which the
# same notebooks read a data set on disk ({doc}`../own_data`).
#
# ## Exercises
#
# 1. Run the notebook with `size=64`. Which quantities in the sentence above change with
#    the size of the image, and why do the others stay?
# 2. Set `training_manipulation` to `texture`. Before you run notebook 03: on which
#    manipulations do you expect the detector to transfer?
#
# ```{admonition} Answer to 1
# :class: dropdown
# Blur is measured in pixels of the image, so it shrinks with the image. The share of
# the image that a region covers does not.
# ```
#
# ## Try it
#
# In JupyterLab the slider shows other test scenes.

# %% tags=["remove-output"]
explore(gallery, first=ipywidgets.IntSlider(0, 0, max(0, test_scenes - 3)))
