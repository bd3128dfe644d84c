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
# **You will see** what the data set holds, what was left out and why, and examples of it.\
# **Reads** `data_manifest.yaml` and the files below the root that it names.\
# **Writes** `records.parquet`, one row an image, and `sweep_records.parquet`, those that notebooks 11 and 14
# learn from.

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

# %%
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
# What the manifest says of it. The folder itself is not named here: it is the reader's own.

# %%
described = {
    name: getattr(entry, name)
    for name in ("title", "homepage", "access", "licence", "layout")
}
described |= {
    "split": entry.split_description,
    "images that cannot be read": entry.on_unreadable,
}
pd.Series(described, name=dataset).to_frame().style.set_table_attributes(
    'class="dataframe"'
)

# %% [markdown]
# ## The images
#
# Every file was read once: its SHA-256 taken, and the image decoded. The table counts what is used. Training and
# validation images show one manipulation, which the detectors learn; the test images show all.

# %%
index = load_index(entry, progress=True)
found = records.choose(
    index.records, [name.strip() for name in manipulations.split(",")]
)
every = records.sample(found, groups, seed) if groups else found
chosen = collection.for_training_on(every, training_manipulation)
about = collection.about(entry, chosen, size)
folder = Folder.create(profile, artifacts, about)
collection.save(folder, chosen)
collection.save_sweep_records(folder, every)
collection.write_summary(folder)
records.counts(chosen)

# %% tags=["remove-input"]
glue("data_title", about.title, display=False)
glue("data_images", len(chosen), display=False)
glue("data_groups", int(chosen["group"].nunique()), display=False)
glue("data_units", f"{about.unit}s", display=False)
glue("data_size", size, display=False)
glue("data_train_on", training_manipulation, display=False)
glue("data_indexed", len(index.records), display=False)

# %% [markdown]
# Of {glue:text}`data_indexed` readable images, {glue:text}`data_images` of {glue:text}`data_groups`
# {glue:text}`data_units` are used, as squares of {glue:text}`data_size` px. The detectors learn
# {glue:text}`data_train_on`.

# %% [markdown]
# ## What was left out, and what to know
#
# An image that cannot be read is left out only where the manifest says so (`on_unreadable`), else it stops the run. A
# pair is found by the name of the target and of the frame, never by position; a manipulated image without its real
# counterpart is used for training and testing, not in the comparisons of pairs.

# %%
missing, twice = records.missing_pairs(chosen), records.duplicates(chosen)
pd.Series(
    {
        "images that could not be read": len(index.unreadable),
        "files and folders without a place in the layout, or lacking images": len(
            index.odd
        ),
        "files that are no images": len(index.foreign),
        "manipulated images without a real counterpart": len(missing),
        "images whose content occurs more than once": len(twice),
    },
    name="count",
).to_frame()

# %%
left_out = pd.concat([index.unreadable, index.odd])
left_out.style.hide(axis="index").set_table_attributes('class="dataframe"') if len(
    left_out
) else Markdown("Nothing.")

# %% [markdown]
# ## Identities across splits
#
# Where a face was put on another, a manipulated video has two identities, that of the target and that of the source. If an identity is in the training
# set and in the test set, a detector may recognise the person instead of the manipulation. Each row is a pair of splits
# that share identities.

# %%
leaks = records.leakage(chosen)
leaks if len(leaks) else Markdown("No identity is in more than one split.")

# %% [markdown]
# ## Examples


# %%
def examples(first: int):
    pictures, rows, columns = collection.gallery(
        chosen, collection.load(folder).reader, first
    )
    return figures.image_gallery(pictures, rows, columns)


# %% mystnb={"figure": {"caption": "Test images: the real one on the left, then what each manipulation made of it, where the data have pairs; else any of each kind. Judge by eye first, then read how the detectors do.", "name": "fig-examples"}, "image": {"alt": "A grid of small photographs, real ones in the first column and manipulated ones in the others."}}
examples(0)

# %% [markdown]
# ## Try it
#
# In JupyterLab the slider shows other test images.

# %% tags=["remove-output"]
explore(
    examples,
    first=ipywidgets.IntSlider(0, 0, max(0, collection.real_test_groups(chosen) - 3)),
)
