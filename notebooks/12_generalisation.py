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
# # Generalisation
#
# **You will see** whether detectors find manipulations that they did not learn, and how
# much image corruption they tolerate.\
# **Reads** `sweep.parquet` (notebook 11), the detectors (notebook 03), the images and
# their maps.\
# **Writes** `robustness.csv`, and the claims of this page.
#
# A detector in use meets manipulations that nobody trained it for, in images that were
# compressed and resized on their way. An AUC on the training manipulation alone is
# therefore an upper bound. This page extends the analyses of {cite:t}`jeon2025seeing`:
# it tests each detector on every manipulation of the run, and on test images after four
# corruptions.
#
# A detector generalises if its AUC on manipulations that it did not learn exceeds 0.5.
# It is robust to a corruption up to the level at which its AUC falls below that on the
# stored images.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
groups: int = 75
n_bootstrap: int = 2000
scene: int = 7
seed: int = 0

# %% tags=["hide-input"]
import ipywidgets
import pandas as pd
from myst_nb import glue

from defocus_lib.analysis import transfer
from defocus_lib.data import collection, records
from defocus_lib.detect.control_inputs import INPUTS
from defocus_lib.detect.model import load_detector
from defocus_lib.figures import controls as figures
from defocus_lib.maps.cache import load_maps
from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder, write_beside
from defocus_lib.run.widgets import explore
from defocus_lib.scenes.corruptions import CORRUPTIONS, verification
from defocus_lib.stats import claims

folder = Folder.open(profile, artifacts)
run = collection.load(folder)
cache, _ = load_maps(folder, run.reader)
sweep_table = folder.require("sweep.parquet", made_by="11_controls")
predictions = pd.read_parquet(sweep_table)
titles = {name: INPUTS[name].title for name in ("defocus", "rgb", "fusion")}
glue("transfer_units", f"{run.about.unit}s", display=False)

# %% [markdown] tags=["needs-transfer"]
# ## From one manipulation to another
#
# The small detectors of the {doc}`page before <11_controls>` differ in their input
# alone. Each is trained on one manipulation and tested on all of them, against the same
# real images.

# %% tags=["hide-input"]
fusion = predictions[predictions["input"] == "fusion"]
predictions = predictions[
    predictions["input"].isin(list(titles))
    & predictions["training_manipulation"].isin(fusion["training_manipulation"])
    & (predictions["seed"] == 0)
]

# %%
cells, means = transfer.matrix(predictions, "frame", n_bootstrap, seed)

# %% mystnb={"figure": {"caption": "AUC by training manipulation (rows) and test manipulation (columns), one panel per input; one seed each. Most tables in the field show the diagonal. The other cells tell what a detector is worth on a new manipulation: red is better than chance, blue is worse.", "name": "fig-matrix"}, "image": {"alt": "Three square tables of AUC values, one per input, with rows of training manipulations and columns of test manipulations."}}
figures.transfer_matrix(cells, titles)

# %% [markdown]
# The same with 95 % intervals over resampled {glue:text}`transfer_units`:

# %%
transfer.matrix_table(cells, titles)

# %% [markdown] tags=["needs-videos"]
# ### By video
#
# The logit of a video is the mean over its frames.

# %% tags=["hide-input"]
by_video, _ = transfer.matrix(predictions, "video", n_bootstrap, seed)
transfer.matrix_table(by_video, titles)

# %% [markdown] tags=["needs-transfer"]
# ## Claims
#
# A claim is supported if its 95 % interval lies above the comparison value, and not
# supported if it lies below. The estimate is the mean AUC over the manipulations that a
# detector did not learn. Each detector was trained with one seed, so there is no
# interval that covers training, and the verdict says so. {doc}`11_controls` shows how
# far seeds differ.

# %% tags=["hide-input"]
page_claims = transfer.claims(
    cells, means, predictions["group"].nunique(), run.about.unit
)
_ = headline.save(folder, "12_generalisation", page_claims)
claims.table(page_claims, folder.about.caution)

# %% [markdown]
# ## Corruptions
#
# Four corruptions happen to images on their way: JPEG, resizing, blur and noise. A
# robustness curve is as good as its corruptions, so we first measure each level on a
# test picture by a number that its definition fixes: the quantisation table of a JPEG
# file, the rank of an enlarged picture, the variance that blur leaves of random greys,
# and the standard deviation of noise on a flat grey.

# %%
verified = verification(seed=seed)
verified.round(3).style.hide(axis="index").format(precision=3).set_table_attributes(
    'class="dataframe"'
)

# %% [markdown]
# The detectors of notebook 03 are now tested on real images and on
# {glue:text}`robustness_learned` ({glue:text}`robustness_groups`
# {glue:text}`transfer_units`) after each corruption. Their maps are computed anew from
# the corrupted images. No detector was trained on a corruption.

# %% tags=["hide-input"]
learned = run.training_manipulation.split(", ")[0]
test = records.choose(run.records[run.records["split"] == "test"], [learned])
test = records.sample(test, groups, seed) if groups else test
detectors = {
    name: load_detector(folder.path / f"detector_{name}.safetensors")[0]
    for name in ("defocus", "rgb")
}
glue("robustness_groups", int(test["group"].nunique()), display=False)
glue("robustness_learned", learned, display=False)

# %%
curves = transfer.robustness(
    test, run.reader, cache, detectors, n_bootstrap=n_bootstrap, seed=seed
)
_ = write_beside(
    folder.path / "robustness.csv", lambda path: curves.to_csv(path, index=False)
)

# %% mystnb={"figure": {"caption": "AUC on corrupted test images by the level of corruption, with 95 % intervals over groups (bands). The left end of each panel is the stored image. Look at which detector falls first, and whether a curve leaves the band of its left end.", "name": "fig-robustness"}, "image": {"alt": "Four panels over JPEG quality, factor of resizing, blur and noise, with a line and a band for each detector and a dotted line at one half."}}
labels = {name: corruption.label for name, corruption in CORRUPTIONS.items()}
figures.robustness_curves(curves, labels)

# %% [markdown]
# The weakest level at which the AUC of a detector is lower than on the stored images,
# that is, at which the 95 % interval of the change lies below zero:

# %%
transfer.first_drops(curves)

# %% [markdown]
# All levels, by frame:

# %%
transfer.curve_table(curves, "frame")

# %% [markdown]
# Blur and resizing change the quantity that a defocus map measures: the map of a
# blurred image is a correct map of a blurrier image. We therefore expect a detector on
# maps to lose AUC there. JPEG and noise change the edges at which the map is computed.

# %% [markdown] tags=["needs-videos"]
# ### All levels, by video

# %%
transfer.curve_table(curves, "video")

# %% [markdown]
# ## Limits
#
# - One seed per detector: a difference between two detectors may be one of training.
# - The interval of a level is not corrected for the number of levels.

# %% [markdown] tags=["needs-transfer"]
# ### Limits of the matrix
#
# The manipulations of a run are few, so their mean is no estimate for manipulations in
# general.

# %% [markdown]
# ## Exercises
#
# 1. Under *Try it*, increase the blur. At which level does the region of the
#    manipulation disappear from the map?
# 2. Set `12_generalisation.groups=20`. Which bands become wider, and does a level at
#    which the AUC falls move?
#
# ```{dropdown} Answer to exercise 1
# As soon as the added blur is larger than the difference in blur between the region and
# its surroundings, because variances of blur add: $\sqrt{\sigma^2 + \sigma_0^2}$
# flattens differences in $\sigma$ that are small against $\sigma_0$.
# ```

# %% [markdown] tags=["needs-transfer"]
# ### An exercise on the matrix
#
# Which row of the matrix generalises best? Is it the same for all inputs?

# %% [markdown]
# ## Try it
#
# Choose a corruption and its level, and see a pair of images with their maps.


# %% tags=["hide-input"]
def corrupted(kind: str, step: int):
    corruption = CORRUPTIONS[kind]
    level = corruption.levels[min(step, len(corruption.levels) - 1)]
    kinds = test.drop_duplicates(["label", "group"]).groupby("label")
    rows = kinds.nth(min(scene, int(kinds.size().min()) - 1))
    images, maps = transfer.corrupted(rows, run.reader, cache, corruption, level)
    dense = maps.dense[:, 0].numpy()
    names = rows["manipulation"].tolist()
    return figures.corrupted_pair(images, dense, names, f"{corruption.label} {level:g}")


# %% mystnb={"figure": {"caption": "A real and a manipulated image at the last but one level of JPEG, and their defocus maps in px.", "name": "fig-corrupted-pair"}, "image": {"alt": "Two photographs with visible block artefacts, and their defocus maps in colour."}} tags=["shows-images"]
corrupted("JPEG", 3)

# %% tags=["remove-output"]
explore(
    corrupted,
    kind=ipywidgets.Dropdown(options=list(CORRUPTIONS)),
    step=ipywidgets.IntSlider(1, 0, 4),
)
