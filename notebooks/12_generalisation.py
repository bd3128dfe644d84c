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
# # Generalisation
#
# **You will see** what a detector knows about manipulations that it never saw, and how much damage to the picture it
# bears.\
# **Reads** `sweep.parquet` (notebook 11), the detectors (notebook 03), the images and their maps.\
# **Writes** `robustness.csv`, and a line for the front page.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
groups: int = 75
n_bootstrap: int = 2000
scene: int = 7
seed: int = 0

# %%
import ipywidgets
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue

from defocus_lib.analysis import transfer
from defocus_lib.data import collection, records
from defocus_lib.detect.control_inputs import INPUTS
from defocus_lib.detect.model import load_detector
from defocus_lib.figures.controls import (
    corrupted_pair,
    robustness_curves,
    transfer_matrix,
)
from defocus_lib.maps.cache import load_maps
from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder, write_beside
from defocus_lib.run.widgets import explore
from defocus_lib.scenes import corruptions

folder = Folder.open(profile, artifacts)
run = collection.load(folder)
cache, _ = load_maps(folder, run.reader)
answers = pd.read_parquet(folder.require("sweep.parquet", made_by="11_controls"))

# %% [markdown]
# ## From one manipulation to another
#
# Small detectors, equal but for what they read, each trained on one manipulation and tested on all, beside the same real
# images. They are those of the {doc}`page before <11_controls>`.

# %%
names = {name: INPUTS[name].title for name in ("defocus", "rgb", "fusion")}
taught = answers.loc[answers["input"] == "fusion", "training_manipulation"].unique()
learned = answers[
    answers["input"].isin(list(names))
    & answers["training_manipulation"].isin(taught)
    & (answers["seed"] == 0)
]
matrix = transfer.matrix(learned, "frame", n_bootstrap, seed)

# %% mystnb={"figure": {"caption": "AUC by what a detector learned (rows) and what it was asked about (columns). The diagonal is what most tables in the field show; the rest is what counts when the next manipulation comes. Red is better than guessing, blue is worse.", "name": "fig-matrix"}, "image": {"alt": "Three square tables of AUC values, one an input, with rows of manipulations learned and columns of manipulations tested."}}
transfer_matrix(matrix, names)

# %% [markdown]
# With intervals (95 %, by {glue:text}`transfer_unit`):

# %%
transfer.wide(matrix, names)

# %% [markdown]
# The same by video, whose logit is the mean of its frames':

# %%
alone = Markdown("Every image of this run stands alone: it is the same.")
videos = run.about.unit == "video"
transfer.wide(
    transfer.matrix(learned, "video", n_bootstrap, seed), names
) if videos else alone

# %% tags=["remove-input"]
glue("transfer_unit", run.about.unit, display=False)
for name in names:
    glue(f"transfer_{name}", transfer.carries_over(matrix, name), display=False)
page_claims = [
    transfer.claim(matrix, "defocus", learned["group"].nunique(), run.about.unit)
]
_ = headline.save(folder, "12_generalisation", page_claims)

# %% [markdown]
# On the manipulations that it did not learn, the mean AUC of the detector on maps is {glue:text}`transfer_defocus`; of
# that on photographs, {glue:text}`transfer_rgb`; of that on both, {glue:text}`transfer_fusion`. Each was trained with a
# single seed, so the intervals count which images were tested and not how training went; how far seeds differ is on the
# page before.

# %% [markdown]
# ## Damage
#
# Four things that happen to pictures on their way. Each corruption is first measured, on a test picture that shows it,
# by a number that its definition fixes.

# %%
verified = corruptions.verification(seed=seed)
verified.round(3).style.hide(axis="index").format(precision=3).set_table_attributes(
    'class="dataframe"'
)

# %% tags=["remove-input"]
glue("damage_off", float(100 * verified["off"].abs().max()), display=False)

# %% [markdown]
# They are what they say, within {glue:text}`damage_off:.1f` %. Now the detectors of notebook 03 look at test images
# after each of them. The maps are computed anew, from the damaged images; nothing was trained on any damage.

# %%
training_manipulation = run.training_manipulation.split(", ")[0]
test = records.choose(
    run.records[run.records["split"] == "test"], [training_manipulation]
)
test = records.sample(test, groups, seed) if groups else test
detectors = {
    name: load_detector(folder.path / f"detector_{name}.safetensors")[0]
    for name in ("defocus", "rgb")
}
curves = transfer.robustness(
    test, run.reader, cache, detectors, n_bootstrap=n_bootstrap, seed=seed
)
_ = write_beside(
    folder.path / "robustness.csv", lambda path: curves.to_csv(path, index=False)
)


# %% mystnb={"figure": {"caption": "AUC on damaged test images, with 95 % intervals. At the left end of each panel the images are as they were stored. Look where a curve leaves its band, and which detector falls first.", "name": "fig-robustness"}, "image": {"alt": "Four panels over JPEG quality, factor of resizing, blur and noise, with a line and a band for each detector and a dotted line at one half."}}
labels = {
    name: f"{one.title} ({one.unit})" if one.unit else one.title
    for name, one in corruptions.CORRUPTIONS.items()
}
robustness_curves(curves, labels)

# %%
transfer.wide_curves(curves, "frame")

# %% [markdown]
# By video:

# %%
transfer.wide_curves(curves, "video") if videos else alone

# %% tags=["remove-input"]
glue("damage_groups", int(test["group"].nunique()), display=False)
glue("damage_units", f"{run.about.unit}s", display=False)
glue("damage_learned", training_manipulation, display=False)
for name in detectors:
    glue(f"damage_{name}", transfer.breaks_at(curves, name), display=False)

# %% [markdown]
# Over {glue:text}`damage_groups` {glue:text}`damage_units`, on {glue:text}`damage_learned`, the level from which a detector
# is surely worse than on the stored images (the interval of the change lies below zero): the defocus detector,
# {glue:text}`damage_defocus`; the RGB detector, {glue:text}`damage_rgb`.
#
# Blur and resizing change the very thing that a defocus map measures: a map of a blurred picture is a true map of a
# blurrier picture. A detector on maps is expected to suffer there.

# %% [markdown]
# ## Try it
#
# Choose a damage and its strength, and see what it does to a pair and to its maps.


# %%
def damaged(kind: str, step: int):
    one = corruptions.CORRUPTIONS[kind]
    level = one.levels[min(step, len(one.levels) - 1)]
    kinds = test.drop_duplicates(["label", "group"]).groupby("label")
    rows = kinds.nth(min(scene, int(kinds.size().min()) - 1))
    images, dense = transfer.damaged(rows, run.reader, cache, one, level)
    return corrupted_pair(
        images, dense, rows["manipulation"].tolist(), f"{kind} {level:g}"
    )


# %% mystnb={"figure": {"caption": "A real and a manipulated image at the last but one level of JPEG, and their defocus maps.", "name": "fig-damage-try"}, "image": {"alt": "Two photographs with visible block artefacts, and their defocus maps in colour."}}
damaged("JPEG", 3)

# %% tags=["remove-output"]
explore(
    damaged,
    kind=ipywidgets.Dropdown(options=list(corruptions.CORRUPTIONS)),
    step=ipywidgets.IntSlider(1, 0, 4),
)
