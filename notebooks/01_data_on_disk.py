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
# A result is worth as much as the data behind it. A file that cannot be read, the same
# image in two splits, a face that appears in training and in test, or real images that
# are stored in another way than fake ones can each make a detector look better than it
# is. This page lists what the data set holds, what was left out and why, which
# identities two splits share, and whether the files give the label away.
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

from defocus_lib.data import collection, records, shortcuts
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
described["copies in several splits"] = entry.on_duplicates
described["equalised"] = (
    f"{entry.equalise.size} px, JPEG of quality {entry.equalise.quality}"
    if entry.equalise
    else "no"
)
entry_table = pd.Series(described, name=dataset).to_frame().style
entry_table.format(escape="html").set_table_attributes('class="dataframe"')

# %% [markdown]
# ## The images
#
# Training and validation images show one manipulation, which the detectors learn. The
# test images show every manipulation of the run: with several, transfer can be
# measured.

# %%
index = load_index(entry, progress=True)
names = [name.strip() for name in manipulations.split(",")]
asked_for, learned = collection.choose_present(
    index.records, names, training_manipulation, index.absent
)
unshared = records.resolve_copies(asked_for, entry.on_duplicates, dataset)
sweep_records = records.sample(unshared, groups, seed) if groups else unshared
chosen = collection.for_training_on(sweep_records, learned)
used = index.records["id"].isin(sweep_records["id"])
by_files = shortcuts.file_shortcuts(index.records[used], index.facts[used], seed)
auc_of_files = shortcuts.giveaway_auc(by_files)
about = collection.about(entry, chosen, size, auc_of_files)
folder = Folder.create(profile, artifacts, about)
collection.save(folder, chosen)
collection.save_sweep_records(folder, sweep_records)
collection.write_summary(folder)
records.counts(chosen)

# %% tags=["remove-input"]
glue("data_title", about.title, display=False)
glue("data_images", collection.counted(chosen, about.unit), display=False)
glue("data_size", size, display=False)
glue("data_training_manipulation", learned, display=False)
for name in ("BOUND", "LEAST_LOW", "BOUND_OF_BYTES", "LEAST_LOW_OF_BYTES", "BY_CHANCE"):
    glue(f"data_{name.lower()}", getattr(shortcuts, name), display=False)
glue("data_indexed", len(index.records), display=False)

# %% [markdown]
# The run uses {glue:text}`data_images`, from {glue:text}`data_indexed` images that can
# be read. Each is brought to {glue:text}`data_size` px. The training manipulation is
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
# image files below the root that are not used, by reason, and videos that have fewer
# frames than the manifest asks for, where there are any.
#
# A manipulated image may equal its real counterpart pixel by pixel, as where only the
# sound of a video was forged. It keeps its label, but no comparison of pairs counts it.
#
# The same file in two splits stops the run, too, unless the manifest says
# `on_duplicates: skip`. Then the test keeps its copy, and training loses its own.

# %%
unused = index.unused_by_reason()
if len(index.short):
    unused["videos with fewer frames than the manifest asks for"] = len(index.short)
unused.rename("count").rename_axis("reason").to_frame() if len(unused) else Markdown(
    "Every image file below the root is used."
)

# %%
identical = index.identical[index.identical["id"].isin(chosen["id"])]
without_pair = records.missing_pairs(chosen)
pd.Series(
    {
        "images that cannot be read": len(index.unreadable),
        "files and folders without a place in the layout, or lacking images": len(
            index.odd
        ),
        "files that are no images": len(index.foreign),
        "manipulated images without a real counterpart": int(
            (~without_pair["id"].isin(identical["id"])).sum()
        ),
        "manipulated images that equal their real counterpart": len(identical),
        "copies of images of a later split": len(asked_for) - len(unshared),
        "images that `equalise` enlarges, which adds blur": (
            entry.equalise.enlarged(chosen) if entry.equalise else 0
        ),
        "images whose content occurs more than once": len(records.duplicates(chosen)),
    },
    name="count",
).to_frame()

# %%
left_out = pd.concat([index.unreadable, index.odd])
rows = left_out.style.hide(axis="index").format(escape="html")
rows.set_table_attributes('class="dataframe"') if len(left_out) else Markdown(
    "Nothing was left out."
)

# %% [markdown]
# ## Identities across splits
#
# Where one face replaces another, a manipulated video has two identities: that of the
# target and that of the source. If an identity is in the training set and in the test
# set, a detector may recognise the person instead of the manipulation. Each row is a
# pair of splits that share identities. Where no name tells whom an image shows, nobody
# knows whether there are any.

# %%
shared = records.leakage(chosen)
NO_LEAK = {
    True: "No identity is in more than one split.",
    False: "**Identities not known.** No name tells whom an image shows.",
}
shared if len(shared) else Markdown(NO_LEAK[records.identities_known(chosen)])

# %% [markdown]
# ## Does the file give the label away?
#
# If real images are JPEG files and fake ones PNG, or if the two differ in size, a
# detector can tell them apart without any evidence of manipulation (shortcut learning
# {cite}`geirhos2020shortcut`). Common data sets of generated images are of this kind
# {cite}`grommelt2024fake`. We therefore try to tell real from fake by facts about the
# files alone: format, colour mode, size, aspect ratio, quantisation tables with the
# JPEG quality that they amount to, chroma subsampling, colour profile, metadata, bytes
# per pixel, and the width of a constant border at each side.
#
# A random forest reads these facts and nothing else. It is cross-validated, and no
# group is in training and test. The table shows its AUC with a 95 % interval over
# groups, and the fact that tells most by itself, with its most frequent value or median
# in real and in fake files. An AUC of 0.5 is chance.
#
# Bytes per pixel depend on the picture, too: a manipulation that smooths an image makes
# its file smaller, though all files were stored alike. Therefore the files **give the
# label away** if, without bytes per pixel, the AUC is at least
# {glue:text}`data_bound` and its interval lies above {glue:text}`data_least_low`, or
# if, with them, the AUC is at least {glue:text}`data_bound_of_bytes` and its interval
# lies above {glue:text}`data_least_low_of_bytes`. In both cases the AUC must be more
# than {glue:text}`data_by_chance` standard errors above chance. Such files are a fault
# of the data, and every claim of the book carries a caution.

# %%
shortcuts.described(by_files)

# %% tags=["hide-input"]
GIVEN_AWAY = """
**The files of these data give the label away.** No result of this run shows what a
detector of defocus can do. Collect both classes alike, or set `equalise` in the
manifest.
"""
NOT_GIVEN_AWAY = "The files do not give the label away, as far as these facts can tell."
Markdown(GIVEN_AWAY if auc_of_files else NOT_GIVEN_AWAY)

# %% [markdown]
# `equalise: {size: 256, quality: 90}` in the manifest makes every image a square of 256
# px and then a JPEG of quality 90 without metadata, before anything reads it. The table
# above then describes these files. What the first compression did to the pixels stays
# in them: blocks of 8 x 8 px and detail that was lost. Resizing changes sharpness, too:
# if real images were larger than fake ones, they are sharper afterwards, and a defocus
# map shows this. `equalise` cannot remove such traces, and no re-encoding can. The
# remedy is to store both classes in one way from the start.

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
