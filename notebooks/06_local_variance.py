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
# # Local variance
#
# Does a manipulation make the blur of an image more even, or less?
# {cite:t}`jeon2025seeing` measure the variance of the defocus map in a small window
# around each pixel, average it over the image, and compare real with manipulated images
# by a Kolmogorov-Smirnov (KS) test. They report a smaller mean for Deepfakes, with a
# very small p-value. This page repeats the test and asks two questions that the p-value
# leaves open: how large the difference is, and what the p-value is worth if frames of
# one video count as independent.
#
# The variance of the map in a window, $E[x^2] - E[x]^2$ ({eq}`eq-variance`), is low
# where blur is even and high where it changes. As in the authors' code, the outside of
# the image counts as zeros.\
# **Reads** the maps that notebook 04 saved (`shapley/`), a shard at a time.\
# **Writes** the claims of this page.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
window: int = 15
scene: int = 0
seed: int = 42
n_bootstrap: int = 2000
simulations: int = 200

# %% tags=["hide-input"]
import ipywidgets
import numpy as np
import pandas as pd
from myst_nb import glue

from defocus_lib.analysis import paper_values, variance
from defocus_lib.explain import attribution_set
from defocus_lib.figures import variance as figures
from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder
from defocus_lib.run.widgets import explore
from defocus_lib.stats import claims, effects
from defocus_lib.stats.claims import Claim

folder = Folder.open(profile, artifacts)
real, fakes = attribution_set.open_sets(folder)
unit = folder.about.unit
has_pairs = "pairs" in folder.about.has
glue("variance_unit", unit, display=False)

# %% [markdown] tags=["needs-pairs"]
# ## Where the map varies


# %%
shown = attribution_set.complete_pairs(fakes)


def heatmaps(scene: int, window: int):
    examples = attribution_set.versions(fakes, shown[scene])
    heat = [
        variance.local_variance(maps, window)
        for maps in (examples.paired_real(real).dmaps, examples.dmaps)
    ]
    return figures.variance_pairs(examples.images, *heat, examples.regions, list(fakes))


# %% mystnb={"figure": {"caption": "Local variance of the real and of the manipulated map, one image, each pair on one scale. Look for differences, inside the outline where the region is known, and at the frame along the border of every map.", "name": "fig-variance-pairs"}, "image": {"alt": "One row per manipulation: a photograph and two heatmaps in black, red, yellow and white that look much alike."}} tags=["shows-images"]
heatmaps(scene, window)

# %% [markdown]
# The frame along the border is not a property of the picture. The zeros outside the
# image meet a map that is not zero, and that step counts as variance. Therefore the
# mean of an image mixes two things: how much the map varies, and how bright it is along
# its border. The last section repeats the comparison without the border.

# %% [markdown]
# ## Real against manipulated
#
# Each image gives one number, the mean of its heatmap. The independent unit is the
# {glue:text}`variance_unit`; where it has several images of a kind, these are averaged
# first.
#
# - *KS* treats the two samples as independent of each other ({eq}`eq-ks`).
# - *Paired*, where there are pairs, is a sign-flip permutation test of the mean
#   difference within each unit, which is the question that pairs can answer.
# - *Holm* is the same p-value corrected for the number of manipulations.
# - *Naive* is the KS test of the paper, in which every image counts as independent.


# %%
def means_of(images: attribution_set.StoredSet) -> pd.DataFrame:
    """The mean of each heatmap, with the border and without it, by id."""
    parts = [variance.both_means(part.dmaps, window) for part in images.shards("dmaps")]
    return pd.DataFrame(np.concatenate(parts), images.ids, ["whole", "inner"])


by_id = {name: means_of(images) for name, images in {"real": real, **fakes}.items()}
compared, groups = {}, {}
for name, fake in fakes.items():
    compared[name] = fake.paired_real(real, "ids").ids if has_pairs else real.ids
    groups[name] = (fake.groups if has_pairs else real.groups, fake.groups)


def samples(column: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Means of the real images that each manipulation is compared with, and its own."""
    return {
        name: (
            by_id["real"].loc[compared[name], column].to_numpy(),
            by_id[name][column].to_numpy(),
        )
        for name in fakes
    }


means = samples("whole")
tests = variance.comparison_table(means, groups, seed, has_pairs)
tests.T.map("{:.4g}".format)

# %% [markdown]
# The test that Jeon & Woo report, on FaceForensics++:

# %%
reported = paper_values.local_variance()
reported.map("{:.4g}".format)

# %% mystnb={"figure": {"caption": "Mean local variance of each image (of each video, where there are videos), real and manipulated. Above: what share of them has which value. Below: the share at or below a value; the black bar marks the largest distance between the two curves, which is the KS statistic D.", "name": "fig-variance-distributions"}, "image": {"alt": "One column per manipulation. The upper panels show two overlapping histograms, the lower ones two rising curves that lie close to each other."}}
figures.variance_distributions(variance.long_table(means, groups), tests, unit)

# %% tags=["remove-input"]
reported = reported.loc["Deepfakes"]
by_video = variance.ks_pvalue(reported["KS D"], reported["videos"], reported["videos"])
glue("variance_reported_p", float(reported["KS p"]), display=False)
glue("variance_reported_p_video", float(by_video), display=False)

# %% [markdown]
# The reported p-value, {glue:text}`variance_reported_p:.1e`, takes each frame as
# independent, but the frames come from few videos, and frames of one video are nearly
# equal. If they were equal, the videos would be the units, and the same D would have a
# p-value of {glue:text}`variance_reported_p_video:.2f`. The truth lies between the two
# and is simulated below. The *naive* p-values of this run share the fault wherever a
# scene, video or picture has several images of a kind.
#
# The KS test by group has another weakness. It ignores the pairs and takes the variance
# that the real and the manipulated images of a group share for noise. The higher the
# *ICC of pairs*, the larger its p-value becomes, and the more the paired test gains.

# %% [markdown]
# ## How large the difference is
#
# A small p-value says that there is a difference, not that it is large. Three effect
# sizes of single images have 95 % intervals that resample each
# {glue:text}`variance_unit` as a whole. *D* is the KS statistic. *Cliff's delta* is the
# probability that a manipulated image has the larger value, less the probability that a
# real one has: 0 is a coin toss, 1 or -1 would tell every two images apart. The
# *Wasserstein* distance is the area between the two curves of the figure above.

# %%
sizes = effects.effect_table(means, groups, n_bootstrap, seed)
effects.effect_text(sizes)

# %% mystnb={"figure": {"caption": "Effect sizes with their 95 % intervals by group. At the dotted line there is no effect. Look at Cliff's delta, the only one of the three that has a sign: an interval on both sides of the line leaves open whether manipulated images vary more or less.", "name": "fig-variance-effects"}, "image": {"alt": "Three panels side by side. In each, one dot with a horizontal bar for each manipulation, and a vertical dotted line at zero."}}
figures.effect_intervals(sizes, "squared units of the map")

# %% [markdown]
# Noise adds to a distance: *D* and the Wasserstein distance of two equal samples are
# not 0, and those of a resample are larger still. Their intervals are therefore
# reversed around the value and cut at 0, and they cover the true value less often than
# 95 %. Whether there is an effect at all is a question for the paired test and for the
# interval of Cliff's delta.
#
# How much is a further image of the same scene, video or picture worth? The
# intraclass correlation (*ICC*) is the share of the variance that lies between groups.
# A group of $m$ images of correlation $\rho$ multiplies the variance of a mean by the
# *design effect* $1 + (m - 1) \rho$. Where each group has one image of a kind, the
# correlation is not defined, and every image counts in full.

# %%
sets = {"real": real, **fakes}
clusters = effects.cluster_table(
    {name: (by_id[name]["whole"], images.groups) for name, images in sets.items()}
)
clusters.round(2)

# %% [markdown]
# ## What each test is worth where nothing differs
#
# A test at a level of 5 % should raise a false alarm in 5 % of the cases. Here real and
# manipulated values are simulated without any difference, in groups with several images
# of each kind, whose correlation rises from left to right. In the left panel the groups
# of the two kinds are unrelated. In the right panel they are the same, as for fakes
# made from real videos: three quarters of what a group has of its own is common to its
# real and its manipulated images.

# %%
design = {"simulations": simulations, "seed": seed}
relations = {"unrelated groups": 0.0, "real and manipulated of one group": 0.75}
alarms = {
    title: variance.false_alarms(shared=shared, units=20, images=16, **design)
    for title, shared in relations.items()
}

# %% mystnb={"figure": {"caption": "Share of simulated data sets without a difference (20 groups, 16 images of each kind per group) in which each test is at or below 0.05. A sound test stays near the dotted line. Above it a test finds what is not there; far below it, it will miss what is.", "name": "fig-variance-alarms"}, "image": {"alt": "Two line plots over the correlation from 0 to 0.8. The line of the naive test rises in both, more steeply on the left; the other two stay near or below the dotted line at five percent."}}
figures.false_alarm_rates(alarms)

# %% [markdown]
# The naive test takes a common level of the frames of a group for a difference between
# the kinds, so its rate rises with the correlation. The KS test by group keeps its
# level among unrelated groups and becomes too careful where real and manipulated images
# share theirs. Only the paired test is sound in both cases.
#
# The distance that Jeon & Woo report can be simulated the same way, with as many videos
# and frames as it comes from. The table gives the p-values that it would have.

# %%
videos, frames = int(reported["videos"]), int(reported["images"] // reported["videos"])
pvalues = pd.DataFrame(
    {
        title: variance.distance_pvalues(
            reported["KS D"], videos, frames, shared=shared, **design
        )
        for title, shared in relations.items()
    }
)
pvalues.round(2)

# %% [markdown]
# The smallest p-value that $n$ simulations can give is $1 / (n + 1)$. Which column is
# true, and for which correlation, can't be told from a reported D. It takes the frames,
# and a test that knows of their videos. The simulated values are normal, and all groups
# are alike; real ones are neither.

# %% [markdown]
# ## Without the border
#
# The same comparison, with only those windows that lie within the image.

# %%
inner = samples("inner")
inner_tests = variance.comparison_table(inner, groups, seed, has_pairs)
inner_tests.T.map("{:.4g}".format)

# %%
effects.effect_text(effects.effect_table(inner, groups, n_bootstrap, seed))

# %% [markdown]
# If an effect is present with the border only, it is an effect of the brightness of the
# map along the frame.

# %% [markdown]
# ## What it means
#
# Jeon & Woo report that manipulated images vary less. Each claim states this direction,
# first for each manipulation by itself, then for the difference from the paired real
# image over all manipulations, where there are pairs. A claim is *supported* if its
# whole interval lies below 0, and *not supported* if it lies above.

# %%
deltas = sizes[sizes["effect"] == effects.DELTA]
page_claims = [
    Claim(
        f"Maps of {row.manipulation} vary less than real ones (Cliff's delta)",
        row.value,
        row.low,
        row.high,
        row.groups,
        relation="below",
        unit=unit,
    )
    for row in deltas.itertuples()
]
if has_pairs:
    page_claims += [
        Claim(
            f"Manipulated maps vary less than their paired real maps, {windows}",
            *variance.paired_difference(pair, groups, n_bootstrap, seed).scalars,
            int(deltas["groups"].max()),
            relation="below",
            unit=unit,
            style="+.1f",
        )
        for windows, pair in (
            ("whole image, %", means),
            ("without the border, %", inner),
        )
    ]
claims.table(page_claims, folder.about.caution)

# %% tags=["remove-input"]
_ = headline.save(folder, "06_local_variance", page_claims)

# %% [markdown]
# Cliff's delta compares images of different scenes, whose variance differs for many
# reasons. The paired difference removes these reasons, and can therefore be certain
# where Cliff's delta is undecided. Even then the difference is useful only if it is
# large: a detector that sees one image has no paired real image to compare it with.
#
# **Limits.** One number per image says nothing about where the variance changed. The
# mean local variance also follows the density of edges, which a manipulation may change
# without touching the blur; {doc}`11_controls` adjusts for it.
#
# ## Exercises
#
# 1. Set `window` to 5. Does the share of the variance that the border contributes rise
#    or fall, and does any claim change its verdict?
# 2. A data set has 100 videos of 32 frames each, whose correlation is 0.9. How many
#    independent frames is it worth?
#
# ```{admonition} Answer to 2
# :class: dropdown
# The design effect is $1 + 31 \cdot 0.9 = 28.9$, so the 3,200 frames are worth about
# 111 independent ones, hardly more than one per video.
# ```

# %% [markdown] tags=["needs-pairs"]
# ## Try it
#
# Choose an image and a window. In JupyterLab the sliders draw the heatmaps anew.

# %% mystnb={"figure": {"caption": "The same image with a window of 5 pixels: finer lines, and a narrower frame.", "name": "fig-variance-try"}, "image": {"alt": "Rows of a photograph and two heatmaps with thinner bright lines than before."}} tags=["shows-images"]
heatmaps(scene, 5)

# %% tags=["remove-output"]
explore(
    heatmaps,
    scene=ipywidgets.IntSlider(scene, 0, len(shown) - 1),
    window=ipywidgets.IntSlider(window, 3, 31, step=2),
)
