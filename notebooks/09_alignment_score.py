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

# %% [markdown] tags=["needs-pairs"]
# # Shapley alignment score
#
# **You will see** whether the detectors look at those values of the map that the manipulation changed, next to a null.\
# **Reads** the maps and Shapley values that notebook 04 saved (`shapley/`).\
# **Writes** nothing: tables and figures are on this page.
#
# The pixels of a manipulated map are sorted into bins by the map's own value. One histogram weighs them by
# $|\mathrm{fake} - \mathrm{real}|$, the other by $|\mathrm{Shapley\ value}|$; both sum to 1. The score is their
# overlap, the sum of the bin-wise minima. The Kullback-Leibler divergence (KL) of the second from the first stands
# beside it.
#
# The score has a weakness. It forgets places, and most pixels share a few values, so a detector that looks *anywhere*
# can score well. The *uniform attribution*, the same weight for every pixel, knows nothing of any detector. What it
# scores is the null here: only the excess over it can speak for a detector.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
manipulation: str = ""
bins: int = 20
pairs: int = 50
pair: int = 0

# %%
import ipywidgets
import numpy as np
import pandas as pd
from myst_nb import glue

from defocus_lib.analysis import alignment
from defocus_lib.explain import attribution_set
from defocus_lib.figures import alignment as figures
from defocus_lib.run.artifacts import Folder
from defocus_lib.run.widgets import explore

folder = Folder.open(profile, artifacts)
real, fakes = attribution_set.open_sets(folder)
wanted = ("dmaps", "defocus_shaps", "rgb_shaps")
fakes = {
    name: fake.take(np.arange(min(pairs, len(fake))), *wanted)
    for name, fake in fakes.items()
}
manipulation = manipulation or next(iter(fakes))

# %% [markdown]
# ## One pair


# %%
def histograms(
    fake: attribution_set.AttributionSet, bins: int
) -> dict[str, alignment.Histograms]:
    shaps = {"defocus": fake.defocus_shaps, "rgb": fake.rgb_shaps}
    return alignment.pair_histograms(
        fake.dmaps, fake.paired_real(real, "dmaps").dmaps, shaps, bins
    )


def bars(manipulation: str, pair: int, bins: int):
    one = fakes[manipulation].take(np.array([min(pair, len(fakes[manipulation]) - 1)]))
    by_name = histograms(one, bins)
    scores = alignment.alignment_table(by_name).set_index("model")
    weights = {name: histogram.weights[0] for name, histogram in by_name.items()}
    return figures.alignment_bars(
        by_name["difference"].edges, weights, scores, one.ids[0]
    )


# %% mystnb={"figure": {"caption": "One pair: where the maps differ (grey) and where each detector looks (colour), by the value of the manipulated map. The dotted line is the uniform attribution, which only counts pixels. Look for coloured bars that follow the grey ones more closely than the dotted line does.", "name": "fig-alignment-pair"}, "image": {"alt": "Two bar charts over map values from 0 to 1, one a detector, each with grey and coloured bars and a dotted step line."}}
bars(manipulation, pair, bins)

# %% [markdown]
# ## All pairs

# %%
table = pd.concat(
    alignment.alignment_table(histograms(fake, bins)).assign(manipulation=name)
    for name, fake in fakes.items()
)
summary = alignment.summary(table, ("manipulation", "model"))
summary.round(3)

# %% mystnb={"figure": {"caption": "Alignment score of every pair, for both detectors and for the uniform attribution. Diamonds and bars are mean and standard deviation. Look at the distance from the grey column, not from zero.", "name": "fig-alignment-scores"}, "image": {"alt": "Columns of dots for each manipulation and model, with a diamond and an error bar on each column."}}
figures.alignment_scores(table)

# %% tags=["remove-input"]
wide = summary.pivot_table("score mean", "manipulation", "model", sort=False)
glue("alignment_pairs", int(summary["pairs"].min()), display=False)
glue("alignment_bins", bins, display=False)
glue("alignment_manipulations", len(wide), display=False)
glue("alignment_manipulation", manipulation, display=False)
for model in ("defocus", "rgb", "uniform"):
    one = summary.loc[(manipulation, model)]
    glue(f"alignment_{model}_mean", float(one["score mean"]), display=False)
    glue(f"alignment_{model}_std", float(one["score std"]), display=False)
    glue(f"alignment_{model}_kl", float(one["KL mean"]), display=False)
for model in ("defocus", "rgb"):
    glue(
        f"alignment_{model}_above",
        float(summary.loc[(manipulation, model), "above uniform"]),
        display=False,
    )
    glue(
        f"alignment_{model}_wins",
        int((wide[model] > wide["uniform"]).sum()),
        display=False,
    )

# %% [markdown]
# On {glue:text}`alignment_manipulation`, over {glue:text}`alignment_pairs` pairs and {glue:text}`alignment_bins` bins:
#
# | attribution | score, mean ± spread | KL, mean | pairs above uniform |
# |---|---|---|---|
# | defocus detector | {glue:text}`alignment_defocus_mean:.3f` ± {glue:text}`alignment_defocus_std:.3f` | {glue:text}`alignment_defocus_kl:.3f` | {glue:text}`alignment_defocus_above:.0%` |
# | RGB detector | {glue:text}`alignment_rgb_mean:.3f` ± {glue:text}`alignment_rgb_std:.3f` | {glue:text}`alignment_rgb_kl:.3f` | {glue:text}`alignment_rgb_above:.0%` |
# | uniform (null) | {glue:text}`alignment_uniform_mean:.3f` ± {glue:text}`alignment_uniform_std:.3f` | {glue:text}`alignment_uniform_kl:.3f` | |
#
# Over the {glue:text}`alignment_manipulations` manipulations, the mean score of the defocus detector exceeds that of
# the uniform attribution {glue:text}`alignment_defocus_wins` times, that of the RGB detector
# {glue:text}`alignment_rgb_wins` times. The reference shows the bar chart of a pair and the mean and spread over 50
# pairs (FaceForensics++), without a null.
#
# What this score cannot say: whether the *place* is right, for which see the table of shares in notebook 08; and
# whether the detector uses the difference, since strong values of the map may draw both histograms to the same bins.
# {doc}`13_trust_in_shapley` asks more of it: permuted pixels, untrained weights and mismatched pairs as nulls, with
# intervals.

# %% [markdown]
# ## Try it
#
# Choose a pair and the number of bins. In JupyterLab the controls draw them. With one bin every
# attribution scores 1.

# %% mystnb={"figure": {"caption": "The same pair with 5 bins. Merging bins can only raise an overlap, whatever the detector does.", "name": "fig-alignment-try"}, "image": {"alt": "Two bar charts with five groups of bars each and a dotted step line."}}
bars(manipulation, pair, 5)

# %% tags=["remove-output"]
explore(
    bars,
    manipulation=ipywidgets.Dropdown(options=list(fakes)),
    pair=ipywidgets.IntSlider(pair, 0, min(map(len, fakes.values())) - 1),
    bins=ipywidgets.IntSlider(bins, 1, 50),
)
