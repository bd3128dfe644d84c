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
# # A fair yardstick
#
# Is defocus ahead of RGB? {doc}`03_train_detector` holds the defocus detector against
# an RGB detector whose weights begin at random. {cite:t}`jeon2025seeing` fine-tune
# weights that have learned ImageNet. A photograph is what such weights know, so an RGB
# detector from scratch may be a handicapped yardstick. This page compares the three
# inputs twice: from scratch, and pretrained.
#
# **Reads** the images and their records (notebook 01), their maps (notebook 02), and
# the detectors and predictions of notebook 03.\
# **Writes** `yardstick.csv`, the AUC of every detector, and the claims of this page.
#
# ## Protocol
#
# All detectors learn from the same images, choose their epoch on the same validation
# images, and are tested on the same test images. Budgets are equal within a start:
#
# - *From scratch*: the detectors of {doc}`03_train_detector`. Where that page trained
#   no fusion detector, this page trains one with the plan of its RGB detector.
# - *Pretrained*: an EfficientNet-Lite0 {cite:p}`tan2019efficientnet` in the version of
#   timm {cite:p}`wightman2019timm`, whose weights come with a package, so that nothing
#   is downloaded by the run. Its first blocks stay as they are, and their features are
#   kept; the blocks after them are trained. Every input has the same network, blocks,
#   size and epochs.
#
# Photographs are scaled as the pretrained weights want. A map is read as a grey
# photograph: its three equal channels meet the same first layer as a single channel
# with the sum of its kernels, which is how timm adapts weights to one channel. Both
# branches of the fusion detector are pretrained.
#
# *Yes, defocus is ahead* would be a difference in AUC whose interval lies above 0 for
# both starts. A difference that holds from scratch alone speaks about the start, not
# about the inputs. A fusion detector ahead of RGB would show that the map adds what the
# network does not find in the photograph by itself.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
backbone: str = "tf_efficientnet_lite0"
pretrained: str = "packaged"
input_size: int = 128
first_blocks: int = 5
epochs: int = 1
batch_size: int = 32
learning_rate: float = 0.001
schedule: str = "one_cycle"
precision: str = "auto"
monitor: str = "val_auc"
fusion_epochs: int = 0
fusion_input_size: int = 64
groups: int = 400
n_bootstrap: int = 1000
seed: int = 42

# %% tags=["hide-input"]
import pandas as pd

from defocus_lib.analysis import detection, yardstick
from defocus_lib.data import collection, records
from defocus_lib.detect.experiment import write_table
from defocus_lib.detect.model import load_detector
from defocus_lib.detect.plan import Plan
from defocus_lib.figures import yardstick as figures
from defocus_lib.maps.cache import load_maps
from defocus_lib.run import cluster, headline
from defocus_lib.run.artifacts import Folder
from defocus_lib.stats import claims

folder = Folder.open(profile, artifacts)
run = collection.load(folder)
cache, _ = load_maps(folder, run.reader)
chosen = records.sample(run.records, groups, seed) if groups else run.records
made_by = {"made_by": "03_train_detector"}
predictions = pd.read_csv(folder.require("predictions.csv", **made_by))
stages = pd.read_csv(folder.require("stages/03_train_detector.csv", **made_by))
loaded = {
    reads: load_detector(folder.require(f"detector_{reads}.safetensors", **made_by))
    for reads in yardstick.READS
    if f"{reads}_logit" in predictions
}
# All maps are normalised as those of notebook 03.
of_maps = loaded["defocus"][0].normalisation
images = yardstick.Images(chosen, run.reader, cache, of_maps)

# %% [markdown]
# ## Training
#
# Adam follows the learning rate of `schedule` over `epochs` passes. The blocks before
# `first_blocks` stay as they are.

# %% tags=["remove-output"]
plan = Plan(
    epochs=epochs,
    batch_size=batch_size,
    learning_rate=learning_rate,
    schedule=schedule,
    precision=precision,
    monitor=monitor,
    seed=seed,
)
start = backbone, pretrained
trained = {
    (reads, detection.start_of(detector)): yardstick.of_page_03(
        images.test, predictions, stages, reads, header
    )
    for reads, (detector, header) in loaded.items()
}
with cluster.one_thread():
    if fusion_epochs and "fusion" not in loaded and "plan" in loaded["rgb"][1]:
        trained["fusion", yardstick.SCRATCH] = yardstick.fusion_from_scratch(
            images, fusion_input_size, fusion_epochs, loaded["rgb"][1]
        )
    tuned = yardstick.fine_tuned(
        images, start, input_size, first_blocks, plan, progress=True
    )
trained |= {(reads, yardstick.PRETRAINED): each for reads, each in tuned.items()}

# %% [markdown]
# ## Result
#
# Seconds are those of a processor thread. They include the features of the first
# blocks, which the three pretrained detectors could share. {doc}`03_train_detector`
# measured its own by the clock.

# %%
yardstick.costs(trained).round(0)

# %%
areas, differences = yardstick.compare(images.test, trained, n_bootstrap, seed)
yardstick.wide(areas)

# %% mystnb={"figure": {"caption": "AUC of each detector on each manipulation, with 95 % intervals over resampled groups. Open marks are detectors from scratch, filled ones are pretrained. Compare marks of one fill: they have equal budgets. The dotted line is chance.", "name": "fig-yardstick"}, "image": {"alt": "One panel per manipulation, with rows of marks with error bars for the inputs defocus, RGB and fusion, open from scratch and filled if pretrained, on an axis of AUC."}}
figures.areas(areas)

# %% [markdown]
# The differences are paired: both detectors of a difference are tested on the same
# resampled images.

# %%
yardstick.wide_differences(differences)

# %% [markdown]
# ## What it means

# %% tags=["hide-input"]
learned = run.training_manipulation.split(", ")[0]
page_claims = yardstick.claims(
    differences,
    trained,
    learned,
    int(images.test["group"].nunique()),
    run.about.unit,
)
_ = headline.save(folder, "03b_yardstick", page_claims)
claims.table(page_claims, folder.about.caution)

# %% [markdown]
# Each claim names its yardstick. If the claim about defocus holds from scratch and
# fails pretrained, then the map is the easier input for a network that must learn
# everything from these images, and the photograph holds at least as much for one that
# knows photographs. That is no argument against the map as *evidence*: a map shows
# where and how blur differs, and an RGB detector does not say what it has found.
#
# ## Limits
#
# - Each detector is trained once. The intervals hold for these detectors, not for
#   others of another seed.
# - The two starts differ in network, size and epochs, so a difference between an open
#   and a filled mark is that of two recipes. Inputs are compared within a start.
# - From scratch, the defocus detector of the demo reads 64 px, its RGB detector 128 px,
#   and the fusion detector 64 px, because both at 128 px would take three minutes.
# - ImageNet holds photographs, so pretraining favours RGB. This is no flaw of the
#   comparison: such weights are what a user would begin with.
# - The first blocks are those of photographs. A map might gain from other ones, which
#   the parameter `first_blocks` frees.
#
# ## Exercises
#
# 1. Set `first_blocks` to 3. Which input gains most, and what does it cost?
# 2. Set `epochs` to 3. Do the differences between inputs grow or shrink?
#
# ```{admonition} Answer to 1
# :class: dropdown
# RGB: the traces of a manipulation in a photograph are fine, and earlier blocks see
# finer structure than ImageNet wanted of them. Training takes nearly twice as long,
# because these blocks work on more pixels.
# ```

# %% tags=["remove-cell"]
_ = write_table(folder.path / "yardstick.csv", areas)
