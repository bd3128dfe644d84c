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
# # Trust in Shapley values
#
# **You will see** how exact the saved Shapley values are, whether they depend on what the detector learned, and what the
# alignment score is worth next to four nulls.\
# **Reads** the Shapley values of notebook 04 (`shapley/`), the two detectors, and the images with their maps.\
# **Writes** `trust.csv`, the main numbers of this page, and a line for the front page.
#
# A picture of Shapley values persuades whether it is right or not. Four questions can be asked of it without knowing the
# right answer. Would another draw give the same picture? Would a detector that learned nothing? Do the places that it names
# move the detector's answer? Does a score made of it say more than it would of an attribution that knows nothing?

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

# %%
from dataclasses import replace

import ipywidgets
import numpy as np
import pandas as pd
from myst_nb import glue

from defocus_lib.analysis import (
    alignment_baselines,
    attribution,
    faithfulness,
    sanity_checks,
)
from defocus_lib.data import collection
from defocus_lib.explain import attribution_set
from defocus_lib.figures import faithfulness as figures
from defocus_lib.maps.cache import load_maps
from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder, write_beside
from defocus_lib.run.widgets import explore

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
asked = faithfulness.questions(run, cache, detectors, shown, meta)
few = {model: question.head(images) for model, question in asked.items()}
headlines: dict[str, dict[str, float]] = {}

# %% [markdown]
# ## How many draws are enough?
#
# The values are averages of gradients at random points between backgrounds and the image. *Random* draws are
# independent, as those of `shap.GradientExplainer`; *stratified* ones are spread evenly; *interpolated* ones too, and what
# lies between them is interpolated ({doc}`../method`). All are compared with {glue:text}`trust_reference` stratified
# draws, for {glue:text}`trust_images` images: the error is the root mean square of what differs, over that of the
# reference. It is measured on single pixels and on means of blocks of {glue:text}`trust_block` px. The *completeness gap*
# is what the values of an image lack to sum to what they should explain, as a share of it.

# %%
errors = pd.concat(
    faithfulness.error_table(
        question, faithfulness.parse_counts(counts), reference, repetitions, seed, block
    ).assign(detector=model)
    for model, question in few.items()
)
summary = faithfulness.error_summary(errors)
summary.unstack("method").round(3)

# %% mystnb={"figure": {"caption": "Error of the Shapley values over the number of gradients, for random, stratified and interpolated draws. Both axes are logarithmic. Look for the number at which another line reaches the end of the dashed one.", "name": "fig-trust-errors"}, "image": {"alt": "Six panels, a row for each detector, each with a dashed, a solid and a dash-dotted falling line and a vertical dotted line."}}
figures.sampling_errors(summary, meta["n_samples"])

# %% tags=["remove-input"]
completeness = pd.concat(
    attribution.completeness_table(images.shards(*attribution.COMPLETENESS_ARRAYS))
    for images in sets.values()
)
for model in few:
    rows = completeness[completeness["detector"] == model]
    share = attribution.error_share(rows, n_bootstrap, seed)
    missing = dict(zip(("value", "low", "high"), share.scalars, strict=True))
    headlines[f"completeness_gap_{model}"] = missing
    for key, value in missing.items():
        glue(f"trust_{model}_gap_{key}", value, display=False)
    glue(
        f"trust_{model}_enough",
        faithfulness.samples_sentence(summary, model),
        display=False,
    )
    last = summary.loc[(model, "stratified")].iloc[-1]
    glue(f"trust_{model}_pixels", float(last["pixels"]), display=False)
    glue(f"trust_{model}_blocks", float(last["blocks"]), display=False)
glue("trust_most", max(faithfulness.parse_counts(counts)), display=False)
glue("trust_reference", reference, display=False)
glue("trust_images", len(few["rgb"].inputs), display=False)
glue("trust_block", block, display=False)
glue("trust_explained", sum(map(len, sets.values())), display=False)
glue("trust_samples", meta["n_samples"], display=False)
glue("trust_method", meta["method"], display=False)

# %% [markdown]
# By the error of blocks, {glue:text}`trust_defocus_enough` for the defocus detector; {glue:text}`trust_rgb_enough` for
# the RGB detector. With {glue:text}`trust_most` stratified draws the error of single pixels is
# {glue:text}`trust_defocus_pixels:.1%` and {glue:text}`trust_rgb_pixels:.1%`, that of blocks
# {glue:text}`trust_defocus_blocks:.1%` and {glue:text}`trust_rgb_blocks:.1%`.
#
# The saved values have {glue:text}`trust_samples` {glue:text}`trust_method` draws. Over all
# {glue:text}`trust_explained` explained images their gaps add up to {glue:text}`trust_defocus_gap_value:.1%` of what
# should be explained (95 % interval {glue:text}`trust_defocus_gap_low:.1%` to
# {glue:text}`trust_defocus_gap_high:.1%`) for the defocus detector, and to {glue:text}`trust_rgb_gap_value:.1%`
# ({glue:text}`trust_rgb_gap_low:.1%` to {glue:text}`trust_rgb_gap_high:.1%`) for the RGB detector.

# %% [markdown]
# ## Would another seed say the same?
#
# The same images, explained twice with as many draws as the saved values have, from two seeds. The correlation is
# Spearman's, over the pixels of an image: it asks only for the order. *Sizes* are absolute values.

# %%
repeats = {
    model: faithfulness.repeat_table(
        question, meta["n_samples"], meta["method"], seed + 1, block
    )
    for model, question in few.items()
}
agreement = pd.DataFrame(
    {model: table.mean() for model, table in repeats.items()}
).T.rename_axis("detector")
agreement.round(3)


# %%
def two_seeds(detector: str, image: int, samples: int):
    one = asked[detector].only(image)
    first, second = (
        one.values(samples, meta["method"], seed + number).values for number in (1, 2)
    )
    correlation = float(faithfulness.rank_correlation(first, second)[0])
    return figures.two_draws(
        first[0], second[0], correlation, f"{shown[image]}, {detector}, {samples} draws"
    )


# %% mystnb={"figure": {"caption": "Shapley values of one image from two seeds, with as many draws as the saved values have. Look for patterns that are in both maps; what is in one only is chance.", "name": "fig-trust-seeds"}, "image": {"alt": "Two maps in red and blue, and a scatter plot of one against the other with a diagonal line."}}
two_seeds("defocus", len(few["defocus"].inputs) - 1, meta["n_samples"])

# %% tags=["remove-input"]
for model, table in repeats.items():
    for column in ("pixels", "blocks"):
        headlines[f"seed_to_seed_{column}_{model}"] = {"value": table[column].mean()}
        glue(
            f"trust_{model}_repeat_{column}", float(table[column].mean()), display=False
        )
    doubled = float(faithfulness.spearman_brown(agreement.loc[model, "pixels"]))
    glue(f"trust_{model}_doubled", doubled, display=False)
    glue(
        f"trust_{model}_repeat",
        faithfulness.repeat_sentence(*agreement.loc[model, ["pixels", "blocks"]]),
        display=False,
    )

# %% [markdown]
# Defocus detector: {glue:text}`trust_defocus_repeat_pixels:.2f` for pixels,
# {glue:text}`trust_defocus_repeat_blocks:.2f` for blocks. {glue:text}`trust_defocus_repeat` RGB detector:
# {glue:text}`trust_rgb_repeat_pixels:.2f` and {glue:text}`trust_rgb_repeat_blocks:.2f`.
# {glue:text}`trust_rgb_repeat` By the formula of Spearman and Brown, the means of two such draws would correlate by
# {glue:text}`trust_defocus_doubled:.2f` and {glue:text}`trust_rgb_doubled:.2f`.

# %% [markdown]
# ## Would an untrained detector say the same?
#
# The layers' weights are made random from the output towards the input, a part at a time, and the images are explained
# anew with the same draws (*model parameter randomisation*, Quantus). Values that hardly change were never about what
# the detector learned. The sizes may keep a part: every value is a gradient times the difference between image and
# background, and that difference needs no detector.

# %%
cascades = {
    model: sanity_checks.randomisation(
        question, randomised_samples, randomised_parts, seed
    )
    for model, question in few.items()
}
pd.concat(
    {
        m: t.groupby("randomised")[["values", "sizes"]].mean()
        for m, t in cascades.items()
    },
    axis=1,
).round(3)

# %% mystnb={"figure": {"caption": "Rank correlation with the values of the trained detector while its layers become random, of the values and of their sizes. Thin lines are single images; dotted lines are the correlation between two seeds of the trained detector. Look at the right end: what is left there comes from the images, not from the detector.", "name": "fig-trust-randomised"}, "image": {"alt": "Two panels, one a detector. Lines start at 1 and fall as more layers are random; horizontal dotted lines mark two levels."}}
figures.randomisation_curves(cascades, repeats)

# %% tags=["remove-input"]
for model, table in cascades.items():
    last = table[table["randomised"] == 1]
    left = float(last["values"].mean())
    headlines[f"random_weights_correlation_{model}"] = {"value": left}
    glue(f"trust_{model}_left", left, display=False)
    glue(f"trust_{model}_left_sizes", float(last["sizes"].mean()), display=False)
    sentence = sanity_checks.randomisation_sentence(
        left, float(agreement.loc[model, "pixels"])
    )
    glue(f"trust_{model}_learned", sentence, display=False)
    sizes = sanity_checks.randomisation_sentence(
        float(last["sizes"].mean()), float(agreement.loc[model, "sizes"])
    )
    glue(f"trust_{model}_learned_sizes", sizes, display=False)

# %% [markdown]
# Of the values of the defocus detector, {glue:text}`trust_defocus_learned` (correlation
# {glue:text}`trust_defocus_left:.2f`); of their sizes, {glue:text}`trust_defocus_learned_sizes`
# ({glue:text}`trust_defocus_left_sizes:.2f`). Of the values of the RGB detector, {glue:text}`trust_rgb_learned`
# ({glue:text}`trust_rgb_left:.2f`); of their sizes, {glue:text}`trust_rgb_learned_sizes`
# ({glue:text}`trust_rgb_left_sizes:.2f`). The alignment score below uses the sizes.

# %% [markdown]
# ## Do the places that it names move the answer?
#
# *Deletion* replaces an image by a background, block by block of {glue:text}`trust_removal_block` px, those with the
# highest saved values first; *insertion* goes the other way (pixel flipping, Quantus). Good values make the logit fall
# early in one and rise early in the other. The area between the two curves is 0 on average for an order that knows
# nothing of the detector. The values of another image are the stricter comparison: they lie where the detector looks in
# any image.

# %%
removed = {
    model: sanity_checks.removal_table(
        replace(question, background=question.background[:removal_backgrounds]),
        faithfulness.saved_values(sets, shown, model),
        removal_steps,
        removal_block,
        seed,
    )
    for model, question in asked.items()
}
areas = {model: sanity_checks.removal_areas(table) for model, table in removed.items()}
gained = sanity_checks.removal_summary(
    areas, attribution_set.groups_of(shown), n_bootstrap, seed
)
gained.round(3)

# %% mystnb={"figure": {"caption": "Mean logit while blocks of pixels are replaced, by three orders. Look for a solid line that falls faster than the others on the left, and rises faster on the right.", "name": "fig-trust-removal"}, "image": {"alt": "Four panels, a row for each detector, each with a solid, a dashed and a dotted line over the part replaced."}}
figures.removal_curves(removed)

# %% tags=["remove-input"]
for model, row in gained.iterrows():
    found = {"value": row["excess"], "low": row["low"], "high": row["high"]}
    headlines[f"removal_excess_logits_{model}"] = found
    for key, value in found.items():
        glue(f"trust_{model}_removal_{key}", float(value), display=False)
    glue(f"trust_{model}_removal_own", float(row["own"]), display=False)
    glue(
        f"trust_{model}_removal", sanity_checks.removal_sentence(**found), display=False
    )
    departs, between = sanity_checks.bend(removed[model])
    glue(f"trust_{model}_departs", departs, display=False)
    glue(
        f"trust_{model}_mosaic",
        sanity_checks.bend_sentence(departs, between),
        display=False,
    )
glue("trust_removal_images", len(shown), display=False)
glue("trust_removal_block", removal_block, display=False)

# %% [markdown]
# Over {glue:text}`trust_removal_images` images, the area is {glue:text}`trust_defocus_removal_own:.2f` logits for the
# defocus detector, {glue:text}`trust_defocus_removal_value:.2f` more than for the better of the other orders (95 % interval
# {glue:text}`trust_defocus_removal_low:.2f` to {glue:text}`trust_defocus_removal_high:.2f`):
# {glue:text}`trust_defocus_removal`. For the RGB detector it is {glue:text}`trust_rgb_removal_own:.2f`, that is
# {glue:text}`trust_rgb_removal_value:.2f` more ({glue:text}`trust_rgb_removal_low:.2f` to
# {glue:text}`trust_rgb_removal_high:.2f`): {glue:text}`trust_rgb_removal`.
#
# The curves have a weakness: half of one image and half of another make a mosaic, not a photograph. If blocks added up,
# the curve of the random order would be a straight line on average. With the defocus detector
# {glue:text}`trust_defocus_mosaic` (by {glue:text}`trust_defocus_departs:.1f` logits at most); with the RGB detector
# {glue:text}`trust_rgb_mosaic` (by {glue:text}`trust_rgb_departs:.1f`). So what counts is the comparison with other
# orders, not a curve by itself.

# %% [markdown] tags=["needs-pairs"]
# ## What is the alignment score worth?
#
# Notebook {doc}`09_alignment_score` compares the values of the map where a detector looks with those where the
# manipulation changed it. Here its score stands beside four nulls:
#
# - *uniform*: every pixel has the same weight;
# - *permuted*: the detector's own values, on other pixels of the image;
# - *untrained*: the values that the same network gives with random weights ({glue:text}`trust_untrained` draws);
# - *mismatched*: the detector's own values, scored against the difference of another pair.
#
# All of it again without the bin that a background may fill: that of the lowest values of the map, or, for each pair, the
# one that holds the most pixels. Here the first holds {glue:text}`trust_lowest_bin:.0%` of the pixels, the second
# {glue:text}`trust_fullest_bin:.0%`. Intervals resample the {glue:text}`trust_units`.

# %%
scores = {}
for name, fake in fakes.items():
    part = fake.take(
        np.arange(min(pairs, len(fake))), "dmaps", "defocus_shaps", "rgb_shaps"
    )
    asked_here = faithfulness.questions(run, cache, detectors, part.ids.tolist(), meta)
    untrained = {
        model: faithfulness.untrained_values(one, untrained_samples, seed=seed)
        for model, one in asked_here.items()
    }
    weights = {
        model: (getattr(part, f"{model}_shaps"), untrained[model])
        for model in asked_here
    }
    twins = part.paired_real(real, "dmaps").dmaps
    scores[name] = alignment_baselines.null_scores(
        part.dmaps, twins, weights, part.groups, bins, seed
    )
compared = alignment_baselines.against_nulls(
    pd.concat(scores.values()), n_bootstrap, seed
)
alignment_baselines.wide(compared)

# %% mystnb={"figure": {"caption": "Alignment score less that of each null, all manipulations together, with all bins and with one left out. Right of the dotted line the detector scores higher than the null. Look for a null that no interval clears.", "name": "fig-trust-nulls"}, "image": {"alt": "Three panels with four rows, one a null; in each row a mark with an interval for each detector, and a vertical dotted line at 0."}}
figures.null_differences(compared)

# %% [markdown]
# The table above has the same differences with their intervals, the next one has them by manipulation, with all bins.
# Of so many intervals, a few miss 0 by chance.

# %%
alignment_baselines.wide(
    alignment_baselines.by_manipulation(scores, n_bootstrap, seed),
    ("manipulation", "model"),
)

# %% tags=["remove-input"]
for model in asked:
    rows = compared[
        (compared["model"] == model) & (compared["left out"] == "none")
    ].set_index("null")
    for null in alignment_baselines.NULLS:
        found = (
            rows.loc[null, ["difference", "low", "high"]]
            .astype(float)
            .set_axis(["value", "low", "high"])
        )
        headlines[f"alignment_above_{null}_{model}"] = found.to_dict()
    glue(f"trust_{model}_score", float(rows["score"].iloc[0]), display=False)
    glue(
        f"trust_{model}_nulls",
        alignment_baselines.null_sentence(compared, model),
        display=False,
    )
    glue(
        f"trust_{model}_bins",
        alignment_baselines.bins_sentence(compared, model),
        display=False,
    )
    glue(
        f"trust_{model}_verdict",
        alignment_baselines.nulls_verdict(compared, model),
        display=False,
    )
text = "What the defocus detector's alignment score is above that of its own values, pixels permuted: {number}."
_ = headline.save(
    folder,
    "13_trust_in_shapley",
    text,
    **headlines["alignment_above_permuted_defocus"],
    style="+.3f",
)
uniform = (
    compared[compared["null"] == "uniform"]
    .drop_duplicates("left out")
    .set_index("left out")
)
glue("trust_uniform_score", float(uniform.loc["none", "null score"]), display=False)
glue("trust_lowest_bin", float(uniform.loc["lowest", "pixels left out"]), display=False)
glue(
    "trust_fullest_bin", float(uniform.loc["fullest", "pixels left out"]), display=False
)
glue("trust_pairs", int(compared["pairs"].max()), display=False)
glue("trust_untrained", untrained_samples, display=False)
glue("trust_units", f"{folder.about.unit}s", display=False)

# %% [markdown]
# Over {glue:text}`trust_pairs` pairs the uniform attribution scores {glue:text}`trust_uniform_score:.3f`. The score of
# the defocus detector, {glue:text}`trust_defocus_score:.3f`, {glue:text}`trust_defocus_nulls`;
# {glue:text}`trust_defocus_bins`. {glue:text}`trust_defocus_verdict` The score of the RGB detector,
# {glue:text}`trust_rgb_score:.3f`, {glue:text}`trust_rgb_nulls`; {glue:text}`trust_rgb_bins`.
# {glue:text}`trust_rgb_verdict`
#
# Mismatched pairs are an easy null where images differ in how the values of their maps spread: any attribution of an
# image fits the histogram of that image better than that of another. Where a score cannot be told from permuted pixels,
# nothing shows that it owes anything to where the detector looks.

# %% [markdown]
# ## Try it
#
# Choose an image, a detector and a number of draws: how many does it take until two seeds agree? The picture shows
# few; in JupyterLab the controls draw others.

# %% mystnb={"figure": {"caption": "The same image with eight draws only. Compare with the figure of the two seeds above.", "name": "fig-trust-try"}, "image": {"alt": "Two maps in red and blue, and a scatter plot of one against the other."}}
two_seeds("defocus", len(few["defocus"].inputs) - 1, 8)

# %% tags=["remove-output"]
explore(
    two_seeds,
    detector=ipywidgets.Dropdown(options=list(asked)),
    image=ipywidgets.IntSlider(0, 0, len(shown) - 1),
    samples=ipywidgets.IntSlider(8, 2, 200),
)

# %% tags=["remove-cell"]
table = pd.DataFrame(headlines).T.rename_axis("name").reset_index()
write_beside(
    folder.path / "trust.csv", lambda path: table.to_csv(path, index=False)
).name
