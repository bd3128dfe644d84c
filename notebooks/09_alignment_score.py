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

# %% [markdown] tags=["needs-pairs"]
# # Shapley alignment score
#
# **You will see** whether the detectors look at those values of the map that the
# manipulation changed, next to a baseline.\
# **Reads** the maps and Shapley values of notebook 04 (`shapley/`).\
# **Writes** its claims for the front page.
#
# If the defocus map is the evidence that a detector uses, then its Shapley values
# should be large where the manipulation changed the map. Jeon & Woo (2025) measure this
# by a score over the values of the map, averaged over 50 pairs of FaceForensics++. They
# report no baseline, so that a reader cannot tell a good score from one that any
# attribution would reach. This page repeats the score and adds such a baseline.
#
# ## Score and baseline
#
# The pixels of a manipulated map are sorted into bins by the map's own value. One
# histogram weighs them by $|\mathrm{fake} - \mathrm{real}|$, the other by
# $|\mathrm{Shapley\ value}|$; both sum to 1. With $d_k$ and $h_k$ the weights in bin
# $k$, the score is their overlap $\sum_k \min(d_k, h_k)$, between 0 and 1. The
# Kullback-Leibler divergence (KL) of the second histogram from the first stands beside
# it ({doc}`../method` has the equations).
#
# The score forgets places, and most pixels share a few values. Therefore a detector
# that looks *anywhere* can score well. The *uniform attribution* gives the same weight
# to every pixel and depends on no detector. Only a score above that of the uniform
# attribution can say something about a detector.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
manipulation: str = ""
bins: int = 20
pairs: int = 50
pair: int = 0

# %% tags=["hide-input"]
import ipywidgets
import numpy as np
import pandas as pd
from myst_nb import glue

from defocus_lib.analysis import alignment
from defocus_lib.explain import attribution_set
from defocus_lib.explain.attribution_set import AttributionSet
from defocus_lib.figures import alignment as figures
from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder
from defocus_lib.run.widgets import explore
from defocus_lib.stats import claims
from defocus_lib.stats.claims import Claim

folder = Folder.open(profile, artifacts)
real, fakes = attribution_set.open_sets(folder)
fakes = {
    name: fake.take(
        np.arange(min(pairs, len(fake))), "dmaps", "defocus_shaps", "rgb_shaps"
    )
    for name, fake in fakes.items()
}
manipulation = manipulation or next(iter(fakes))

# %% [markdown]
# ## One pair


# %%
def histograms(fake: AttributionSet, bins: int) -> dict[str, alignment.Histograms]:
    shaps = {"defocus": fake.defocus_shaps, "rgb": fake.rgb_shaps}
    paired_maps = fake.paired_real(real, "dmaps").dmaps
    return alignment.pair_histograms(fake.dmaps, paired_maps, shaps, bins)


def bars(manipulation: str, pair: int, bins: int):
    fake = fakes[manipulation].take(np.array([min(pair, len(fakes[manipulation]) - 1)]))
    by_name = histograms(fake, bins)
    scores = alignment.alignment_table(by_name, fake.groups).set_index("model")
    weights = {name: histogram.weights[0] for name, histogram in by_name.items()}
    edges = by_name["difference"].edges
    return figures.alignment_bars(edges, weights, scores, fake.ids[0])


# %% mystnb={"figure": {"caption": "One pair: where the maps differ (grey) and where each detector looks (colour), by the value of the manipulated map. The dotted line is the uniform attribution, which only counts pixels. Look for coloured bars that follow the grey ones more closely than the dotted line does.", "name": "fig-alignment-pair"}, "image": {"alt": "Two bar charts over map values from 0 to 1, one for each detector, each with grey and coloured bars and a dotted step line."}}
bars(manipulation, pair, bins)

# %% [markdown]
# ## All pairs
#
# The table holds mean and standard deviation over {glue:text}`alignment_pairs` pairs of
# each manipulation, at {glue:text}`alignment_bins` bins. *Above uniform* is the share
# of pairs in which a detector scores higher than the uniform attribution.

# %%
table = pd.concat(
    alignment.alignment_table(histograms(fake, bins), fake.groups).assign(
        manipulation=name
    )
    for name, fake in fakes.items()
)
summary = alignment.summary(table, ("manipulation", "model"))
summary.round(3)

# %% mystnb={"figure": {"caption": "Alignment score of every pair, for both detectors and for the uniform attribution. Diamonds and bars are mean and standard deviation. Look at the distance from the grey column, not from zero.", "name": "fig-alignment-scores"}, "image": {"alt": "Columns of dots for each manipulation and model, with a diamond and an error bar on each column."}}
figures.alignment_scores(table)

# %% tags=["remove-input"]
glue("alignment_pairs", int(summary["pairs"].min()), display=False)
glue("alignment_bins", bins, display=False)

# %% [markdown]
# ## What it means
#
# The claims compare the mean score of a detector with that of the uniform attribution,
# over the pairs of all manipulations. Their 95 % intervals resample whole groups,
# because the manipulations of one original resemble each other.

# %%
epochs = real.meta.get("epochs", {})  # of the detectors, where they are known
page_claims = [
    Claim(
        f"Alignment score of the {figures.MODEL_NAMES[model]} exceeds that of the"
        " uniform attribution",
        *excess.scalars,
        groups=table["group"].nunique(),
        unit=folder.about.unit,
        epochs=epochs.get(model),
        style="+.3f",
    )
    for model, excess in alignment.excess_over_uniform(table).items()
]
headline.save(folder, "09_alignment_score", page_claims)
claims.table(page_claims, folder.about.caution)

# %% [markdown]
# An excess above 0 shows that a detector gives more weight to the values that differ
# than an equal weight for all pixels does. It does not show that the detector uses the
# difference, because large values of the map may draw both histograms to the same bins.
# {doc}`13_trust_in_shapley` therefore adds stricter baselines: permuted pixels,
# untrained weights and mismatched pairs.
#
# ## Limits
#
# - The score does not say whether the *place* is right. The table of shares in
#   {doc}`08_shapley_view` does.
# - The sign of a Shapley value is dropped, so that evidence for *real* counts like
#   evidence for *fake*.
# - The score depends on the number of bins. With one bin, every attribution scores 1.

# %% [markdown]
# ## Exercises
#
# 1. Set `bins` to 5 and to 50. How do the scores change, and how does their distance
#    from the uniform attribution?
# 2. Choose another `pair`. In which bins does the uniform attribution have its weight?
#
# :::{admonition} Answer to the first exercise
# :class: dropdown
# Merging bins can only raise an overlap, so that all scores rise with fewer bins, that
# of the uniform attribution too. Only the distance from the baseline can be compared
# between numbers of bins.
# :::
#
# ## Try it
#
# Choose a pair and the number of bins. In JupyterLab the controls draw them.

# %% mystnb={"figure": {"caption": "The same pair with 5 bins. Merging bins can only raise an overlap, whatever the detector does.", "name": "fig-alignment-try"}, "image": {"alt": "Two bar charts with five groups of bars each and a dotted step line."}}
bars(manipulation, pair, 5)

# %% tags=["remove-output"]
explore(
    bars,
    manipulation=ipywidgets.Dropdown(options=list(fakes)),
    pair=ipywidgets.IntSlider(pair, 0, min(map(len, fakes.values())) - 1),
    bins=ipywidgets.IntSlider(bins, 1, 50),
)
