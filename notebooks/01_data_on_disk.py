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
# A result is worth as much as the data behind it. A file that cannot be read, the same
# image in two splits, or a face that appears in training and in test can each make a
# detector look better than it is. This page lists what the data set holds, what was
# left out and why, and which identities two splits share.
#
# Every file is read once: its SHA-256 is taken and the image is decoded. The layout in
# the manifest tells what an image shows by its path, and the split by names and seeds
# alone ({doc}`../own_data`).\
# **Reads** `data_manifest.yaml` and the files below the root that it names.\
# **Writes** `records.parquet`, one row per image, and `sweep_records.parquet`, the
# records of the training sweeps in notebooks 11 and 14.

# %% tags=["parameters"]
profile: str = "ffpp"
artifacts: str = ""
manifest: str = ""
dataset: str = "faceforensics"
manipulations: str = "Deepfakes, Face2Face, FaceSwap, NeuralTextures"
training_manipulation: str = "Deepfakes"
size: int = 299
groups: int = 0
seed: int = 0

# %% tags=["hide-input"]
import ipywidgets
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue

from defocus_lib.data import collection, records
from defocus_lib.data.index import load_index
from defocus_lib.data.manifest import load_manifest
from defocus_lib.figures import data as figures
from defocus_lib.run.artifacts import Folder
from defocus_lib.run.widgets import explore

entry = load_manifest(manifest or None).dataset(dataset)

# %% [markdown]
# ## The data set
#
# The entry of the manifest. The folder is not shown here, because it is the reader's
# own.

# %%
keys = ("title", "homepage", "access", "licence", "layout")
described = {key: getattr(entry, key) for key in keys}
described["split"] = entry.split_description
described["images that cannot be read"] = entry.on_unreadable
pd.Series(described, name=dataset).to_frame().style.set_table_attributes(
    'class="dataframe"'
)

# %% [markdown]
# ## The images
#
# Training and validation images show one manipulation, which the detectors learn. The
# test images show all manipulations, so that transfer can be measured.

# %%
index = load_index(entry, progress=True)
names = [name.strip() for name in manipulations.split(",")]
sweep_records, learned = collection.choose_present(
    index.records, names, training_manipulation, index.absent
)
if groups:
    sweep_records = records.sample(sweep_records, groups, seed)
chosen = collection.for_training_on(sweep_records, learned)
about = collection.about(entry, chosen, size)
folder = Folder.create(profile, artifacts, about)
collection.save(folder, chosen)
collection.save_sweep_records(folder, sweep_records)
collection.write_summary(folder)
records.counts(chosen)

# %% tags=["remove-input"]
glue("data_title", about.title, display=False)
glue("data_images", len(chosen), display=False)
glue("data_groups", int(chosen["group"].nunique()), display=False)
glue("data_units", f"{about.unit}s", display=False)
glue("data_size", size, display=False)
glue("data_training_manipulation", learned, display=False)
glue("data_indexed", len(index.records), display=False)

# %% [markdown]
# The run uses {glue:text}`data_images` images of {glue:text}`data_groups`
# {glue:text}`data_units`, from {glue:text}`data_indexed` that can be read. Each is
# brought to {glue:text}`data_size` px. The training manipulation is
# {glue:text}`data_training_manipulation`.

# %% tags=["hide-input"]
absent = [name for name in names if name in index.absent]
Markdown(
    f"**Not on disk, and therefore not on these pages:** {', '.join(absent)}."
    if absent
    else "Every manipulation of this profile is on disk."
)

# %% [markdown]
# ## What was left out
#
# An image that cannot be read stops the run, unless the manifest says
# `on_unreadable: skip`. A pair is found by the name of the target and of the frame,
# never by position. A manipulated image without its real counterpart is used for
# training and testing, but not where pairs are compared. The first table counts the
# image files below the root that are not used, by reason; the last row counts videos
# that have fewer frames than the manifest asks for.

# %%
unused = index.unused_by_reason()
unused["videos with fewer frames than the manifest asks for"] = len(index.short)
unused.rename("count").rename_axis("not used because").to_frame()

# %%
pd.Series(
    {
        "images that cannot be read": len(index.unreadable),
        "files and folders without a place in the layout, or lacking images": len(
            index.odd
        ),
        "files that are no images": len(index.foreign),
        "manipulated images without a real counterpart": len(
            records.missing_pairs(chosen)
        ),
        "images whose content occurs more than once": len(records.duplicates(chosen)),
    },
    name="count",
).to_frame()

# %%
left_out = pd.concat([index.unreadable, index.odd])
left_out.style.hide(axis="index").set_table_attributes('class="dataframe"') if len(
    left_out
) else Markdown("Nothing was left out.")

# %% [markdown]
# ## Identities across splits
#
# Where one face replaces another, a manipulated video has two identities: that of the
# target and that of the source. If an identity is in the training set and in the test
# set, a detector may recognise the person instead of the manipulation. Each row is a
# pair of splits that share identities.

# %%
shared = records.leakage(chosen)
shared if len(shared) else Markdown("No identity is in more than one split.")

# %% [markdown]
# ## Examples


# %% tags=["hide-input"]
def examples(first: int):
    reader = collection.load(folder).reader
    return figures.image_gallery(*collection.gallery(chosen, reader, first))


# %% mystnb={"figure": {"caption": "Test images. Left: real images. Then a version by each manipulation: of the same frame where the data have pairs, else of any. Judge by eye which are manipulated before you compare detectors.", "name": "fig-examples"}, "image": {"alt": "A grid of small photographs, real ones in the first column and manipulated ones in the others."}} tags=["shows-images"]
examples(0)

# %% [markdown]
# ## Limits
#
# Duplicates are found byte for byte. The same picture in another size or compression is
# not noticed. Identities are those that the names of folders state: two videos of one
# person under two numbers count as two identities.
#
# ## Exercises
#
# 1. Choose another split in the manifest and run the notebook again. How does the table
#    of shared identities change, and which pages compare training with test images?
# 2. Set `groups` to a small number. The counts shrink, but every split keeps both
#    classes. How does the sample achieve that? Read `records.sample`.
#
# ```{admonition} Answer to 2
# :class: dropdown
# Groups are drawn within each split. Where real and manipulated images are in different
# groups, both kinds are drawn in proportion to their number.
# ```
#
# ## Try it
#
# In JupyterLab the slider shows other test images.

# %% tags=["remove-output"]
last = max(0, collection.real_test_groups(chosen) - 3)
explore(examples, first=ipywidgets.IntSlider(0, 0, last))
