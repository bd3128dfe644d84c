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
# # Trust in Shapley values
#
# **You will see** how exact the saved Shapley values are, whether they depend on what
# the detector learned, and what the alignment score is worth next to four baselines.\
# **Reads** the Shapley values of notebook 04 (`shapley/`), the two detectors, and the
# images with their maps.\
# **Writes** `trust.csv`, the main numbers of this page, and its claims for the front
# page.
#
# Jeon & Woo (2025) show Shapley values as evidence that a detector looks at the right
# pixels. A picture of Shapley values persuades whether it is right or not, and the
# right answer is unknown. Four questions can be asked without knowing it:
#
# 1. Does another set of samples give the same values?
# 2. Do the values change if the weights of the detector are made random?
# 3. Do the pixels with the highest values move the detector's logit?
# 4. Does the alignment score exceed that of attributions that cannot know what the
#    detector does?
#
# A *no* to one of them means that a picture of these values is no evidence.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
images: int = 3
counts: str = "10, 20, 50, 100, 200"
reference: int = 400
repetitions: int = 1
block: int = 8
randomised_samples: int = 16
randomised_parts: int = 8
removal_images: int = 8
removal_steps: int = 16
removal_backgrounds: int = 2
removal_block: int = 16
pairs: int = 30
untrained_samples: int = 10
bins: int = 20
n_bootstrap: int = 1000
seed: int = 0

# %% tags=["hide-input"]
from dataclasses import replace

import ipywidgets
import numpy as np
import pandas as pd
from myst_nb import glue

from defocus_lib.analysis import alignment, attribution, faithfulness, sanity_checks
from defocus_lib.data import collection
from defocus_lib.explain import attribution_set
from defocus_lib.figures import faithfulness as figures
from defocus_lib.maps.cache import load_maps
from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder, write_beside
from defocus_lib.run.widgets import explore
from defocus_lib.stats import claims
from defocus_lib.stats.bootstrap import bootstrap_ratio
from defocus_lib.stats.claims import Claim

folder = Folder.open(profile, artifacts)
real, fakes = attribution_set.open_sets(folder)
sets = {"real": real, **fakes}
run = collection.load(folder)
cache, _ = load_maps(folder, run.reader)
detectors = {
    model: folder.require(f"detector_{model}.safetensors", made_by="03_train_detector")
    for model in ("defocus", "rgb")
}
meta = real.meta
shown = faithfulness.round_robin(sets, max(images, removal_images))
owners = attribution_set.groups_of(shown)
explainers = faithfulness.load_explainers(run, cache, detectors, shown, meta)
few = {model: explainer.take(slice(images)) for model, explainer in explainers.items()}
few_owners = owners[:images]
numbers: dict[str, dict[str, float]] = {}
page_claims: list[Claim] = []
epochs = meta.get("epochs", {})  # of the detectors, where they are known


def add_claim(statement: str, value, low, high, groups, **about) -> None:
    interval = map(float, (value, low, high))
    n = len(set(groups))
    page_claims.append(
        Claim(statement, *interval, groups=n, unit=folder.about.unit, **about)
    )


glue("trust_reference", reference, display=False)
glue("trust_images", len(few_owners), display=False)
glue("trust_block", block, display=False)
glue("trust_samples", meta["n_samples"], display=False)
glue("trust_method", meta["method"], display=False)
glue("trust_removal_images", len(shown), display=False)
glue("trust_removal_block", removal_block, display=False)

# %% [markdown]
# ## How many samples are enough?
#
# The values are averages of gradients at sample points between backgrounds and the
# image. *Random* samples are independent, as those of `shap.GradientExplainer`.
# *Stratified* samples are spread evenly. *Interpolated* ones are spread evenly too, and
# the gradient between them is interpolated ({doc}`../method`).
#
# All are compared with {glue:text}`trust_reference` stratified samples, for
# {glue:text}`trust_images` images. The *relative error* is the root mean square of the
# difference over that of these values, for single pixels and for means over blocks of
# {glue:text}`trust_block` px. The *completeness error* is the difference between the
# sum of the values of an image and the change in logit that they should explain, as a
# share of that change.

# %%
errors = pd.concat(
    faithfulness.error_table(
        explainer,
        faithfulness.parse_counts(counts),
        reference,
        repetitions,
        seed,
        block,
    ).assign(detector=model)
    for model, explainer in few.items()
)
summary = faithfulness.error_summary(errors)
summary.unstack("method").round(3)

# %% mystnb={"figure": {"caption": "Error of the Shapley values over the number of samples, for random, stratified and interpolated samples. Both axes are logarithmic. Look for the number at which another line reaches the end of the dashed one.", "name": "fig-trust-errors"}, "image": {"alt": "Six panels, one row for each detector, each with a dashed, a solid and a dash-dotted falling line and a vertical dotted line."}}
figures.sampling_errors(summary, meta["n_samples"])

# %% [markdown]
# The smallest number of samples whose error of blocks is no larger than that of the
# largest number of random ones (`<NA>` if no number that was tried suffices):

# %%
faithfulness.fewest_samples(summary)

# %% [markdown]
# The saved values have {glue:text}`trust_samples` {glue:text}`trust_method` samples.
# Over all explained images, their completeness errors add up to this share of what they
# should explain:

# %%
completeness = pd.concat(
    attribution.completeness_table(images.shards(*attribution.COMPLETENESS_ARRAYS))
    for images in sets.values()
)
for model, rows in completeness.groupby("detector", sort=False):
    share = attribution.error_share(rows, n_bootstrap, seed)
    interval = zip(("value", "low", "high"), share.scalars, strict=True)
    numbers[f"completeness_error_{model}"] = dict(interval)
pd.DataFrame(numbers).T.map("{:.1%}".format)

# %% tags=["remove-input"]
most = errors["n_samples"].max()
errors_at_most = errors[errors["n_samples"] == most].pivot_table(
    "blocks", "image", "method"
)
ratio = bootstrap_ratio(
    errors_at_most["stratified"],
    errors_at_most["random"],
    few_owners,
    n_bootstrap,
    seed,
)
add_claim(
    f"{most} stratified samples err less than as many random ones (ratio of the errors"
    " of blocks)",
    *ratio.scalars,
    few_owners,
    compared_with=1.0,
    relation="below",
    epochs=epochs.get("defocus"),
    style=".2f",
)

# %% [markdown]
# ## Do two seeds agree?
#
# The same images are explained twice from two seeds, with as many samples as the saved
# values have. The table holds Spearman's rank correlation over the pixels of an image,
# averaged over the images. *Magnitudes* are absolute values. *Two averaged* is what the
# means of two such explanations would reach, by the formula of Spearman and Brown.

# %%
repeats = {
    model: faithfulness.repeat_table(
        explainer, meta["n_samples"], meta["method"], seed + 1, block
    )
    for model, explainer in few.items()
}
agreement = pd.DataFrame({model: table.mean() for model, table in repeats.items()}).T
agreement["two averaged"] = faithfulness.spearman_brown(agreement["values"])
agreement.rename_axis("detector").round(3)


# %% tags=["hide-input"]
def two_seeds(detector: str, image: int, n_samples: int):
    explainer = explainers[detector].take(slice(image, image + 1))
    first, second = (
        explainer.values(n_samples, meta["method"], seed + number).values
        for number in (1, 2)
    )
    correlation = float(faithfulness.rank_correlation(first, second)[0])
    title = f"{shown[image]}, {detector}, {n_samples} samples"
    return figures.two_seeds(first[0], second[0], correlation, title)


# %% mystnb={"figure": {"caption": "Shapley values of one image from two seeds, with as many samples as the saved values have. Look for patterns that are in both maps; what is in one only is due to chance.", "name": "fig-trust-seeds"}, "image": {"alt": "Two maps in red and blue, and a scatter plot of one against the other with a diagonal line."}} tags=["shows-images"]
two_seeds("defocus", len(few_owners) - 1, meta["n_samples"])

# %% [markdown]
# A correlation of 0.8 is a usual bound for reliability. If pixels stay below it but
# blocks do not, only regions of a picture may be interpreted. If blocks stay below it
# too, much of the picture is due to chance.

# %% tags=["remove-cell"]
for model, table in repeats.items():
    for column in ("values", "blocks"):
        numbers[f"seed_to_seed_{column}_{model}"] = {"value": table[column].mean()}

# %% [markdown]
# ## Do the values depend on what the detector learned?
#
# The layers' weights are made random from the output towards the input, a part at a
# time, and the images are explained anew with the same samples (*model parameter
# randomisation*, [Adebayo et al. 2018](https://arxiv.org/abs/1810.03292), by Quantus).
# Attributions that survive this do not depend on what the detector learned. The
# magnitudes may keep a part, because every value is a gradient times the difference
# between image and background, and that difference depends on no detector.

# %%
cascades = {
    model: sanity_checks.randomisation(
        explainer, randomised_samples, randomised_parts, seed
    )
    for model, explainer in few.items()
}
pd.concat(
    {
        model: table.groupby("randomised")[["values", "magnitudes"]].mean()
        for model, table in cascades.items()
    },
    axis=1,
).round(3)

# %% mystnb={"figure": {"caption": "Rank correlation with the values of the trained detector while its layers become random, of the values and of their magnitudes. Thin lines are single images; dotted lines are the correlation between two seeds of the trained detector. Look at the right end: what is left there comes from the images, not from the detector.", "name": "fig-trust-randomised"}, "image": {"alt": "Two panels, one for each detector. Lines start at 1 and change as more layers are random; horizontal dotted lines mark two levels."}}
figures.randomisation_curves(cascades, repeats)

# %% [markdown]
# The correlation with random weights has to be compared with that between two seeds,
# because sampling alone lowers it. We say that the values depend on the weights if less
# than half of the correlation between two seeds is left. The alignment score below uses
# the magnitudes.

# %% tags=["remove-input"]
for model, table in cascades.items():
    randomised = table[table["randomised"] == 1].set_index("image")["values"]
    left = sanity_checks.share_left(
        randomised, repeats[model]["values"], few_owners, n_bootstrap, seed
    )
    numbers[f"random_weights_correlation_{model}"] = {"value": randomised.mean()}
    add_claim(
        f"Values of the {figures.MODEL_NAMES[model]} depend on its weights (share of"
        " the correlation between seeds that random weights leave)",
        *left.scalars,
        few_owners,
        compared_with=0.5,
        relation="below",
        epochs=epochs.get(model),
        style=".2f",
    )

# %% [markdown]
# ## Do the highest values move the logit?
#
# *Deletion* replaces an image by a background, in blocks of
# {glue:text}`trust_removal_block` px, those with the highest saved values first.
# *Insertion* goes the other way
# ([Bach et al. 2015](https://doi.org/10.1371/journal.pone.0130140), by Quantus). Good
# values make the logit fall early in one and rise early in the other. The area between
# the two curves is 0 on average for an order that does not depend on the detector. The
# values of another image are the stricter comparison, because they lie where the
# detector looks in any image.

# %%
removed = {
    model: sanity_checks.removal_table(
        replace(explainer, background=explainer.background[:removal_backgrounds]),
        faithfulness.saved_values(sets, shown, model),
        removal_steps,
        removal_block,
        seed,
    )
    for model, explainer in explainers.items()
}
areas = {model: sanity_checks.removal_areas(table) for model, table in removed.items()}
gained = sanity_checks.removal_summary(areas, owners, n_bootstrap, seed)
gained.round(3)

# %% [markdown]
# The table holds the areas of {glue:text}`trust_removal_images` images in logits. The
# *excess* is that of an image's own values over the better of the other two orders,
# with its 95 % interval.

# %% mystnb={"figure": {"caption": "Mean logit while blocks of pixels are replaced, by three orders. Look for a solid line that falls faster than the others on the left, and rises faster on the right.", "name": "fig-trust-removal"}, "image": {"alt": "Four panels, one row for each detector, each with a solid, a dashed and a dotted line over the part replaced."}}
figures.removal_curves(removed)

# %% [markdown]
# Half of one image and half of another make a mosaic, not a photograph. If the blocks
# added up, the curve of the random order would be a straight line on average. The next
# table says by how much the curve departs from the line, and how far apart its ends
# are. If the first number is not small beside the second, the detector reacts to the
# mosaic too. Therefore the comparison with other orders counts, not a curve by itself.

# %%
pd.DataFrame(
    {model: sanity_checks.nonlinearity(table) for model, table in removed.items()},
    ["largest distance from the line (logits)", "distance of the ends (logits)"],
).round(2)

# %% tags=["remove-input"]
for row in gained.itertuples():
    excess = {"value": row.excess, "low": row.low, "high": row.high}
    numbers[f"removal_excess_logits_{row.Index}"] = excess
    add_claim(
        f"Blocks with high values of the {figures.MODEL_NAMES[row.Index]} move its"
        " logit more than those of other orders (excess area in logits)",
        **excess,
        groups=owners,
        epochs=epochs.get(row.Index),
    )

# %% [markdown] tags=["needs-pairs"]
# ## What is the alignment score worth?
#
# {doc}`09_alignment_score` compares the values of the map where a detector looks with
# those where the manipulation changed it. Here its score is compared with that of four
# baselines:
#
# - *uniform*: every pixel has the same weight;
# - *permuted*: the detector's own values, on other pixels of the image;
# - *untrained*: the values of the same network with random weights
#   ({glue:text}`trust_untrained` samples);
# - *mismatched*: the detector's own values against the difference of another pair.
#
# If shuffling the pixels of an attribution does not lower its score, the score does not
# measure where the detector looks. All comparisons are repeated without the bin that a
# background may fill: that of the lowest values of the map, or, for each pair, the one
# that holds the most pixels.

# %%
scores = []
for name, fake in fakes.items():
    part = fake.take(
        np.arange(min(pairs, len(fake))), "dmaps", "defocus_shaps", "rgb_shaps"
    )
    of_part = faithfulness.load_explainers(
        run, cache, detectors, part.ids.tolist(), meta
    )
    weights = {
        model: (
            getattr(part, f"{model}_shaps"),
            sanity_checks.untrained_values(explainer, untrained_samples, seed=seed),
        )
        for model, explainer in of_part.items()
    }
    paired_maps = part.paired_real(real, "dmaps").dmaps
    table = alignment.baseline_scores(
        part.dmaps, paired_maps, weights, part.groups, bins, seed
    )
    scores.append(table.assign(manipulation=name))
scores = pd.concat(scores)
compared = alignment.compare_with_baselines(scores, n_bootstrap=n_bootstrap, seed=seed)
alignment.comparison_text(compared)

# %% [markdown]
# The table holds the score less that of each baseline, with its 95 % interval over
# groups, for {glue:text}`trust_pairs` pairs. What the uniform attribution scores, and
# the share of the pixels in the bin that is left out:

# %%
compared.query("baseline == 'uniform'").groupby("left out", sort=False)[
    ["baseline score", "pixels left out"]
].first().round(3)

# %% mystnb={"figure": {"caption": "Alignment score less that of each baseline, all manipulations together, with all bins and with one left out. Bars are 95 % intervals over groups. Right of the dotted line the detector scores higher than the baseline. Look for a baseline that no interval exceeds.", "name": "fig-trust-baselines"}, "image": {"alt": "Three panels with four rows, one for each baseline; in each row a mark with an interval for each detector, and a vertical dotted line at 0."}}
figures.baseline_differences(compared)

# %% [markdown]
# The same differences by manipulation, with all bins:

# %%
by = ("manipulation", "model")
all_bins = scores[scores["left out"] == "none"]
alignment.comparison_text(
    alignment.compare_with_baselines(all_bins, by, n_bootstrap, seed), by
)

# %% tags=["remove-input"]
for row in compared[compared["left out"] == "none"].itertuples():
    excess = {"value": row.difference, "low": row.low, "high": row.high}
    numbers[f"alignment_above_{row.baseline}_{row.model}"] = excess
    if row.baseline == "permuted":
        add_claim(
            f"Alignment score of the {figures.MODEL_NAMES[row.model]} exceeds that of"
            " its permuted pixels",
            **excess,
            groups=scores["group"],
            epochs=epochs.get(row.model),
            style="+.3f",
        )
glue("trust_pairs", int(compared["pairs"].max()), display=False)
glue("trust_untrained", untrained_samples, display=False)

# %% [markdown]
# Mismatched pairs are a weak baseline where images differ in how the values of their
# maps spread, because any attribution of an image fits the histogram of that image
# better than that of another. If a detector exceeds a baseline only while all bins
# count, the bin that is left out carries the whole difference.

# %% [markdown]
# ## What it means

# %%
headline.save(folder, "13_trust_in_shapley", page_claims)
claims.table(page_claims, folder.about.caution)

# %% [markdown]
# Each claim is a condition for reading the pictures of this book as evidence. If the
# values of a detector do not depend on its weights, or if their order does not move its
# logit, its pictures show properties of the images. If the alignment score does not
# exceed that of permuted pixels, it says nothing about where the detector looks.
#
# ## Limits
#
# - The first three questions are asked of few images, because each costs thousands of
#   gradients. With few groups the verdict is *not enough data*.
# - The reference values have an error of their own, which adds to the measured one.
# - Intervals are not corrected for the number of comparisons, so that a few of many
#   miss 0 by chance.
#
# ## Exercises
#
# 1. Set `images` to 20 and `counts` to `"50, 200"`. Which verdicts change?
# 2. Set `removal_block` to 1. Do the curves of the three orders come closer, and why?
#
# :::{admonition} Answer to the second exercise
# :class: dropdown
# They tend to: mosaics of single pixels are unlike any photograph, and a detector may
# react to their seams whatever the order. Single pixels are also less reliable than
# blocks, as the table of two seeds shows.
# :::
#
# ## Try it
#
# Choose an image, a detector and a number of samples: how many does it take until two
# seeds agree? The picture shows few; in JupyterLab the controls draw others.

# %% mystnb={"figure": {"caption": "The same image with eight samples only. Compare with the figure of the two seeds above.", "name": "fig-trust-try"}, "image": {"alt": "Two maps in red and blue, and a scatter plot of one against the other."}} tags=["shows-images"]
two_seeds("defocus", len(few_owners) - 1, 8)

# %% tags=["remove-output"]
explore(
    two_seeds,
    detector=ipywidgets.Dropdown(options=list(explainers)),
    image=ipywidgets.IntSlider(0, 0, len(shown) - 1),
    n_samples=ipywidgets.IntSlider(8, 2, 200),
)

# %% tags=["remove-cell"]
table = pd.DataFrame(numbers).T.rename_axis("name").reset_index()
write_beside(
    folder.path / "trust.csv", lambda path: table.to_csv(path, index=False)
).name
