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
# # Controls: is it defocus?
#
# **You will see** whether detectors on defocus maps use the blur, or the edges at which
# the blur is measured.\
# **Reads** the records and images (notebook 01) and their maps (notebook 02).\
# **Writes** `sweep.parquet`, the test predictions of every small detector of this page
# and the next, and its claims.
#
# A defocus map is computed at edges. If a manipulation changes edges, a detector on
# maps can find it without any blur, and its AUC is no evidence for defocus. This page
# adds controls to the analyses of {cite:t}`jeon2025seeing`: the same network, with the
# same budget, learns from inputs that keep the edges and lose the blur, from shuffled
# labels, and from a change that leaves all blur as it was.
#
# Defocus is the explanation if three things hold: the map gives a higher AUC than each
# input without blur, shuffled labels give an AUC of 0.5, and so does the illumination
# change. The page also compares what a detector can be given of a map: its values
# stretched to $[0, 1]$ image by image, as in the paper, or in px, each with or without
# a second channel.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
groups: int = 400
seeds: int = 3
backbone: str = "test_resnet"
input_size: int = 64
normalisation: str = "min-max"
networks: str = "px, px+edges"
linear: str = "min-max, px, px+validity, px+uncertainty, px+edges"
cells: int = 16
epochs: int = 5
batch_size: int = 32
learning_rate: float = 0.003
schedule: str = "one_cycle"
precision: str = "auto"
monitor: str = "val_auc"
horizontal_flip: bool = True
window: int = 15
n_bootstrap: int = 2000
n_workers: int = 0
scheduler: str = ""
example: int = 7
seed: int = 0

# %% tags=["hide-input"]
from dataclasses import replace

import ipywidgets
from myst_nb import glue

from defocus_lib.analysis import controls, detector_by_map, edge_density
from defocus_lib.data import collection, records
from defocus_lib.data.records import REAL
from defocus_lib.detect import sweep
from defocus_lib.detect.control_inputs import (
    ILLUMINATION,
    INPUTS,
    WITHOUT_BLUR,
    Batch,
    change_illumination,
    generator,
)
from defocus_lib.detect.linear import LINEAR
from defocus_lib.detect.plan import Plan
from defocus_lib.figures import controls as figures
from defocus_lib.maps.cache import load_maps
from defocus_lib.run import cluster, headline
from defocus_lib.run.artifacts import Folder, write_beside
from defocus_lib.run.widgets import explore
from defocus_lib.stats import auc, claims

folder = Folder.open(profile, artifacts)
run = collection.load(folder)
cache, _ = load_maps(folder, run.reader)
learned = run.training_manipulation.split(", ")[0]
chosen = sweep.complete(collection.load_sweep_records(folder))
chosen = records.sample(chosen, groups, seed) if groups else chosen
test = chosen[chosen["split"] == "test"]

# %% [markdown]
# ## The inputs
#
# *Edges only* is the binary mask of edge pixels, and *edge density* its Gaussian mean
# around each pixel. For *blur readings permuted among edges*, the readings at the edges
# of an image are permuted at random before the map is interpolated from them. The
# *illumination change* darkens a smooth spot of the photograph, so every pixel keeps
# its blur.

# %% tags=["hide-input"]
real = test[test["label"] == 0].drop_duplicates("group")


def inputs_of(image: int):
    rows = real.iloc[[min(image, len(real) - 1)]]
    batch = Batch(rows, run.reader, cache)
    inputs = {
        INPUTS[name].title: INPUTS[name].inputs(batch, normalisation)[0, 0].numpy()
        for name in ("defocus", *WITHOUT_BLUR)
    }
    changed = change_illumination(batch.images[0], generator(batch.digests[0]))
    return figures.control_inputs(batch.images[0], {**inputs, ILLUMINATION: changed})


# %% mystnb={"figure": {"caption": "A real test image and the inputs of the detectors. The three panels after the defocus map keep its edges and lose its blur, so a detector that succeeds on them needs no defocus. The last panel is the image after an illumination change.", "name": "fig-control-inputs"}, "image": {"alt": "A photograph, its defocus map, its edge mask, a smooth edge density, a blotchy map of permuted blur readings, and the photograph with a darker spot."}} tags=["shows-images"]
inputs_of(example)

# %% [markdown]
# ## Training
#
# All detectors are alike: {glue:text}`controls_backbone` at
# {glue:text}`controls_input_size` px, trained for {glue:text}`controls_epochs` epochs
# on at most {glue:text}`controls_groups` {glue:text}`controls_units` per split. Every
# input learns {glue:text}`controls_learned`; seeds: {glue:text}`controls_seeds`. Maps
# are normalised as {glue:text}`controls_normalisation`, where nothing else is said. One
# seed shows that photographs reveal the illumination change. For the
# {doc}`next page <12_generalisation>`, the defocus map, the photograph and both
# together learn each manipulation once. Training groups that lack one of the
# manipulations are left out, so that all detectors learn from the same
# {glue:text}`controls_units`.

# %% tags=["remove-output"]
plan = Plan(
    epochs=epochs,
    batch_size=batch_size,
    learning_rate=learning_rate,
    schedule=schedule,
    precision=precision,
    monitor=monitor,
    horizontal_flip=horizontal_flip,
)
detectors = sweep.Sweep(
    chosen, run.reader, cache, backbone, input_size, plan, normalisation
)
manipulations = sweep.training_manipulations(chosen)
runs = [
    *sweep.control_runs(learned, range(seeds)),
    *sweep.transfer_runs(manipulations, 0),
]
of_map = [sweep.Run("defocus", learned, number) for number in range(seeds)]
other_networks = sweep.normalisation_runs(detectors, networks, of_map)
# And the same for a linear detector, which has no seed.
averaged = replace(detectors, backbone=LINEAR, input_size=cells)
without_map = [
    sweep.Run(given, name, 0) for name in manipulations for given in ("rgb", "edges")
]
of_each = [sweep.Run("defocus", name, 0) for name in manipulations]
linear_detectors = sweep.normalisation_runs(averaged, linear, of_each)
with cluster.workers(n_workers, scheduler) as client:
    cache.fill(chosen, run.reader)
    everything = sweep.train_and_test(
        [
            (detectors, runs),
            *other_networks,
            (averaged, without_map),
            *linear_detectors,
        ],
        client,
        folder.path / ".11_controls",
        progress=True,
    )
of_cells = everything[everything["backbone"] == LINEAR]
of_networks = everything[everything["backbone"] == backbone]
predictions = of_networks[of_networks["normalisation"] == normalisation]
_ = write_beside(
    folder.path / "sweep.parquet",
    lambda path: predictions.to_parquet(path, index=False),
)

# %% tags=["remove-input"]
shown = {
    "backbone": backbone,
    "input_size": input_size,
    "epochs": epochs,
    "groups": int(chosen.groupby("split")["group"].nunique().max()),
    "units": f"{run.about.unit}s",
    "learned": learned,
    "seeds": seeds,
    "normalisation": normalisation,
    "cells": cells,
}
for name, value in shown.items():
    glue(f"controls_{name}", value, display=False)

# %% [markdown]
# ## AUC of the controls
#
# The table has the AUC on unseen test images: the mean over the seeds, its 95 %
# interval, and the lowest and the highest seed. The interval covers both sources of
# chance: the {glue:text}`controls_units` that were tested and, with more than one seed,
# the training.

# %%
by_title = controls.predictions_by_title(predictions, learned)
resamples = auc.resampled(by_title, n_bootstrap, seed)
summary = auc.summary(by_title, resamples)
summary.rename_axis("input")[["value", "low", "high", "lowest", "highest"]].round(2)

# %% mystnb={"figure": {"caption": "AUC of each input: mean over seeds (dots), 95 % interval over groups and seeds (bars), and single seeds (ticks). Compare the defocus map (green) with the three inputs without blur. Shuffled labels, and the defocus map on an illumination change, should lie at chance (dotted line).", "name": "fig-controls"}, "image": {"alt": "Rows of dots with error bars over an axis of AUC, one row per input, with a dotted line at one half."}}
defocus = INPUTS["defocus"].title
by_seed = {title: entry.by_seed() for title, entry in by_title.items()}
figures.control_auc(summary, by_seed, defocus)

# %% [markdown]
# ## What a detector is given
#
# Min-max normalisation loses the unit of a map ({doc}`../method`): a manipulation that
# blurs the whole image leaves it as it was. We therefore compare it with $\sigma$ in px
# over a fixed scale of 8 px, alone and with a second channel: the pixels at which blur
# was measured (*validity*), the uncertainty of the estimate, where the preset has one,
# or the edges. Edges alone are the comparison: an input that has them must do better.
#
# Two detectors are compared. The first is the network above, with the same seeds, on
# {glue:text}`controls_learned`. The second is a logistic regression on the means of
# {glue:text}`controls_cells` by {glue:text}`controls_cells` cells. It is linear in the
# pixels, has no seed, and trains in a second, so that every manipulation can have one.

# %%
by_network = controls.with_names(of_networks)
by_network = by_network[by_network["training_manipulation"] == learned]
by_network = by_network[by_network["manipulation"].isin([REAL, learned])]
maps = by_network.loc[by_network["input"].isin(["defocus", "edges"]), "map"].unique()
of_network = detector_by_map.by_map(by_network, maps, [learned])
network_resamples = auc.resampled(of_network, n_bootstrap, seed)
network_table = detector_by_map.auc_table(of_network, network_resamples)
detector_by_map.auc_shown(network_table)

# %% [markdown]
# The same of the logistic regression, on each manipulation:

# %%
by_linear = controls.with_names(of_cells)
own = by_linear["manipulation"] == by_linear["training_manipulation"]
by_linear = by_linear[own | (by_linear["manipulation"] == REAL)]
of_linear = detector_by_map.by_map(by_linear, by_linear["map"].unique(), manipulations)
linear_resamples = auc.resampled(of_linear, n_bootstrap, seed)
linear_table = detector_by_map.auc_table(of_linear, linear_resamples)
detector_by_map.auc_shown(linear_table)

# %% [markdown]
# Gains in AUC over the same resamples of the {glue:text}`controls_units`:

# %%
EDGES = INPUTS["edges"].title
pairs = controls.comparisons(by_linear["map"].unique(), EDGES)
linear_gains = {
    f"{name}, less {other}": detector_by_map.gains(
        of_linear, linear_resamples, name, other
    )
    for name, other in pairs
}
detector_by_map.gains_shown(linear_gains).T

# %% tags=["remove-cell"]
of_density = []  # the claim of the next section, if there is one

# %% [markdown] tags=["needs-3-test-groups"]
# ## Local variance at equal edge density
#
# {doc}`06_local_variance` compares the mean local variance $v$ of maps between real and
# manipulated images. A difference may be due to edges alone, because a map with more
# edges varies more. We therefore fit, over all test images,
#
# $$
# v / \bar v = \alpha + \beta f + \gamma d,
# $$
#
# where $f$ is 1 for manipulated and 0 for real images and $d$ is the standardised share
# of edge pixels. The table has $\beta$ without $d$ (*alone*) and with it (*adjusted*),
# and $\gamma$ (*density*), all in % of the mean. Standard errors are robust to several
# images of one scene, video or picture.

# %%
test_images = run.records[run.records["split"] == "test"]
measured = edge_density.measure(test_images, cache, window)
effects = edge_density.effect_table(measured)
(100 * effects).round(1)

# %% mystnb={"figure": {"caption": "Difference in mean local variance between manipulated and real maps, in % of the mean, with 95 % intervals robust to groups: unadjusted (squares) and adjusted for edge density (dots). An interval across the dotted line is compatible with no difference. If a dot returns to the line, the difference was one of edges.", "name": "fig-density-effects"}, "image": {"alt": "For each manipulation a square and a dot with horizontal error bars, on an axis of per cent with a dotted line at zero."}}
figures.density_effects(effects)

# %% tags=["remove-input"]
glue(
    "controls_correlation",
    float(measured["variance"].corr(measured["density"], method="spearman")),
    display=False,
)

# %% [markdown]
# Over all test images, local variance and edge density have a rank correlation of
# {glue:text}`controls_correlation:.2f`. On the maps that {cite:t}`jeon2025seeing`
# published, we measured 0.39.

# %% tags=["remove-cell"]
n_groups = test_images["group"].nunique()
of_density = [edge_density.claim(effects, learned, n_groups, run.about.unit)]

# %% [markdown]
# ## Claims
#
# A claim is supported if its 95 % interval lies on the claimed side of the comparison
# value, and not supported if it lies on the other side. An AUC within 0.05 of 0.5
# counts as chance.

# %% tags=["hide-input"]
counts = {"groups": int(test["group"].nunique()), "unit": run.about.unit}
gains = auc.differences(
    by_title, resamples, defocus, [INPUTS[name].title for name in WITHOUT_BLUR]
)
trained = counts | {"seeds": seeds, "epochs": epochs}
page_claims = [
    *controls.claims(summary, gains, **trained),
    *controls.normalisation_claims(of_network, network_resamples, "network", **trained),
    *controls.normalisation_claims(of_linear, linear_resamples, "linear", **counts),
    *of_density,
]
_ = headline.save(folder, "11_controls", page_claims)
claims.table(page_claims, folder.about.caution)

# %% [markdown]
# The claims depend on each other. If shuffled labels give an AUC other than 0.5,
# something besides the labels leads from training to test images, and the other rows
# prove nothing. If the defocus map is at chance, there is no signal to explain. A gain
# over each input without blur is the contribution of blur. An illumination change that
# the detector notices shows that the map also depends on contrast, because contrast
# decides which edges are found. A gain of the map in px over min-max shows that the
# unit carries evidence, which the paper's normalisation throws away; a gain of map and
# edges over edges alone shows that it is more than where the edges are.
#
# ## Limits
#
# - The photograph is read from scratch, like all other inputs. {doc}`03b_yardstick` has
#   detectors that begin with weights of ImageNet, on the photograph, the map and both.
# - The detectors are small. A larger network, or more data, may find blur in the map
#   that these miss.
# - All inputs are averaged to {glue:text}`controls_input_size` px, alike, and rounded
#   to 8 bit. A map is smooth and loses little by it; photographs and edges lose detail,
#   so a smaller input would make the gain of the map larger than it is.
# - Few seeds make wide intervals, because the variance between seeds is itself poorly
#   known.
# - The regression is linear in edge density, and density is one property of edges among
#   many.
#
# ## Exercises
#
# 1. Set `11_controls.seeds=5` and run the page again. Which intervals become narrower,
#    and which do not?
# 2. Set `11_controls.input_size=32`. Which input loses most, and why would edges suffer
#    more than blur?
#
# ```{dropdown} Answer to exercise 1
# The intervals of inputs whose ticks lie far apart in the figure of AUC become
# narrower. The variance over the tested groups stays the same, so no interval falls
# below its share.
# ```

# %% [markdown]
# ## Try it
#
# Choose another test image, and see its inputs with and without blur.

# %% tags=["remove-output"]
explore(inputs_of, image=ipywidgets.IntSlider(example, 0, len(real) - 1))
