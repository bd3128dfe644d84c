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
# # Data
#
# **You will see** the photographs, the lens, and the scenes on which everything else in this book is measured.\
# **Reads** `data_manifest.yaml` and the photographs that it lists, which ship inside installed packages.\
# **Writes** `records.parquet`, one row an image, the images, and `truth.npz`, what is true of them; and
# `sweep_records.parquet`, those that notebooks 11 and 14 learn from.
#
# The scenes are a controlled experiment with known truth, not deepfakes: {doc}`../data` says what they are, and where
# the likeness to real manipulations ends.

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

# %%
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
    "scenes", "controlled scenes", "scene", has=("pairs", "regions", "depth"), size=size
)
folder = Folder.create(profile, artifacts, about)
names = [name.strip() for name in manipulations.split(",")]

# %% [markdown]
# ## The photographs
#
# Each lends its texture to the scenes of one split only, so a detector is tested on textures that it has never seen.
# `depth` is the motorcycle scene, which measures the maps and trains nothing. Every file is compared with its SHA-256
# when it is read.

# %%
sources = manifest.load_manifest()
photographs = {
    split: [load_photograph(photograph) for photograph in sources.photographs_of(split)]
    for split in rendered.SPLITS
}
listed = photograph_table(sources.photographs)[
    ["name", "split", "author", "licence", "package"]
]
listed.style.hide(axis="index").set_table_attributes('class="dataframe"')

# %% [markdown]
# ## The lens
#
# Blur depends on depth through the aperture and the distance in focus. These are lenses that the scenes draw from, on a
# sensor 36 mm wide. A point in focus has a blur of zero; before and behind it the disc grows.

# %% mystnb={"figure": {"caption": "Blur against distance for a lens of 85 mm at three settings. Look at the zero of each curve: only that distance is sharp, and the wider aperture leaves it faster.", "name": "fig-lens"}, "image": {"alt": "Three curves of sigma in pixels over distance from one to nine metres. Each falls to zero at its focus distance, then rises and levels off."}}
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
# Every scene is photographed once; that is the real image. The training and validation scenes have one twin each, of the
# manipulation that the detectors learn. The test scenes have all of them. Notebooks 11 and 14 train small detectors on
# every manipulation: for them the first `sweep_scenes` of both splits have all twins, too.

# %%
table = rendered.records(
    {"train": train_scenes, "val": val_scenes, "test": test_scenes},
    training_manipulation,
    names,
    by_all=sweep_scenes,
)
arrays = rendered.photograph_all(table, photographs, seed, size, progress=True)
images = arrays.pop("images")
every = rendered.store_images(folder.path, table, images)
records = collection.for_training_on(every, training_manipulation)
collection.save(folder, records)
collection.save_sweep_records(folder, every)
write_arrays(
    folder.path / "truth.npz",
    arrays,
    meta={"profile": profile, "seed": seed, "size": size},
)
kept = every["id"].isin(records["id"]).to_numpy()
images, regions = images[kept], arrays["regions"][kept]
records.pivot_table(
    index="manipulation", columns="split", values="id", aggfunc="count", sort=False
).fillna(0).astype(int)

# %% tags=["remove-input"]
true_sigma = arrays["sigma"]
covered = regions[records["label"].to_numpy() == 1].mean((1, 2))
glue("data_images", len(records), display=False)
glue("data_scenes", len(true_sigma), display=False)
glue("data_size", size, display=False)
glue("data_train_on", training_manipulation, display=False)
glue("data_sigma_low", float(np.percentile(true_sigma, 5)), display=False)
glue("data_sigma_high", float(np.percentile(true_sigma, 95)), display=False)
glue("data_region_low", float(100 * np.percentile(covered, 5)), display=False)
glue("data_region_high", float(100 * np.percentile(covered, 95)), display=False)
collection.write_summary(folder)

# %% [markdown]
# The run has {glue:text}`data_images` images of {glue:text}`data_scenes` scenes, {glue:text}`data_size` px on a side;
# the detectors learn on {glue:text}`data_train_on`. Nine in ten pixels have a true blur between
# {glue:text}`data_sigma_low:.1f` and {glue:text}`data_sigma_high:.1f` px, and nine in ten manipulated regions cover
# between {glue:text}`data_region_low:.0f` % and {glue:text}`data_region_high:.0f` % of their image.


# %%
def gallery(first: int):
    rows = (
        records.query("split == 'test'")
        .groupby("group", sort=False)
        .head(len(names) + 1)
    )
    chosen = rows["group"].unique()[first : first + 3]
    picks = np.stack([rows.index[rows["group"] == scene] for scene in chosen])
    sigma = true_sigma[np.isin(arrays["scenes"], chosen)]
    return figures.scene_gallery(
        images[picks], regions[picks], sigma, chosen, ["real", *names]
    )


# %% mystnb={"figure": {"caption": "Three test scenes. Left: the true blur, dark where the image is sharp. Then the real photograph and its manipulated twins; the outline is the region that was manipulated. Some manipulations are plain to the eye, others are not: look for a region whose sharpness does not fit its surroundings.", "name": "fig-scenes"}, "image": {"alt": "Three rows of overlapping textured shapes. Each row shows a map of true blur, the real photograph and manipulated versions with an outlined region on the nearest shape."}}
gallery(0)

# %% [markdown]
# ## Try it
#
# In JupyterLab the slider shows other test scenes.

# %% tags=["remove-output"]
explore(gallery, first=ipywidgets.IntSlider(0, 0, max(0, test_scenes - 3)))
