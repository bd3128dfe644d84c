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
# # Local variance
#
# **You will see** how much the defocus maps vary from place to place, in real and in manipulated images.\
# **Reads** the maps that notebook 04 saved (`shapley/`), a shard at a time.\
# **Writes** one line for the front page; tables and figures are on this page.
#
# The variance of the map in a small window, $E[x^2] - E[x]^2$, is low where blur is even and high where it changes.
# The reference takes a window of 15 pixels, fills the outside of the image with zeros, counts them, and compares the
# mean of each image between real and manipulated ones with a Kolmogorov-Smirnov (KS) test.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
window: int = 15
scene: int = 0
seed: int = 42
n_bootstrap: int = 2000
simulations: int = 200

# %%
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
from defocus_lib.stats import effects
from defocus_lib.stats.claims import Claim

folder = Folder.open(profile, artifacts)
real, fakes = attribution_set.open_sets(folder)
about = folder.about
has_pairs = "pairs" in about.has

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


# %% mystnb={"figure": {"caption": "Local variance of the real and of the manipulated map, one image, each pair on one scale. Look for differences, inside the outline where the region is known, and at the frame along the border of every map.", "name": "fig-variance-pairs"}, "image": {"alt": "One row a manipulation: a photograph and two heatmaps in black, red, yellow and white that look much alike."}}
heatmaps(scene, window)

# %% [markdown]
# The frame along the border is not a property of the picture. The zeros outside the image meet a map that is not
# zero, and that step counts as variance. So the mean of an image mixes two things: how much the map varies, and how
# bright it is along its border.

# %% [markdown]
# ## Real against manipulated
#
# One number an image: the mean of its heatmap. The independent unit is the {glue:text}`variance_unit`; images of the
# same one are averaged first. *KS* treats the two samples as independent. *Paired*, where there are pairs, is a
# sign-flip permutation test on the difference within each unit, which is the question that pairs can answer. *Holm*
# stands for the same p-value corrected for the number of manipulations. *Naive* is the KS test as it was published: every
# image counts as independent.


# %%
def means_of(images: attribution_set.StoredSet) -> pd.DataFrame:
    """The mean of each heatmap, with the border and without it, by id."""
    parts = [variance.both_means(part.dmaps, window) for part in images.shards("dmaps")]
    return pd.DataFrame(np.concatenate(parts), images.ids, ["whole", "inner"])


by_id = {name: means_of(images) for name, images in {"real": real, **fakes}.items()}
twins = {
    name: fake.paired_real(real, "ids").ids if has_pairs else real.ids
    for name, fake in fakes.items()
}
groups = {
    name: (fake.groups if has_pairs else real.groups, fake.groups)
    for name, fake in fakes.items()
}


def sides(column: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each manipulation: the means of the real images that it is compared with, and of its own."""
    return {
        name: (
            by_id["real"].loc[twins[name], column].to_numpy(),
            by_id[name][column].to_numpy(),
        )
        for name in fakes
    }


means = sides("whole")
tests = variance.comparison_table(means, seed, groups=groups, paired=has_pairs)
glue("variance_unit", about.unit, display=False)
glue("variance_plural", f"{about.unit}s", display=False)
tests.T.map("{:.4g}".format)

# %% [markdown]
# The published test, on FaceForensics++:

# %%
paper_values.local_variance().map("{:.4g}".format)

# %% mystnb={"figure": {"caption": "Mean local variance of each image (of each video, where there are videos), real and manipulated. Above: what share of them has which value. Below: the share at or below a value; the black bar marks the largest distance between the two curves, which is the KS statistic D.", "name": "fig-variance-distributions"}, "image": {"alt": "One column a manipulation. The upper panels show two overlapping histograms, the lower ones two rising curves that lie close to each other."}}
figures.variance_distributions(variance.long_table(means, groups), tests, about.unit)

# %% tags=["remove-input"]
theirs = paper_values.local_variance().loc["Deepfakes"]
glue("variance_units", int(tests["groups"].min()), display=False)
glue("variance_manipulations", len(tests), display=False)
glue("variance_ks_below", int((tests["KS p"] < 0.05).sum()), display=False)
glue("variance_paired", variance.paired_sentence(tests), display=False)
glue("variance_naive", variance.naive_sentence(tests, about.unit), display=False)
glue("variance_alike", variance.alike_sentence(tests, about.unit), display=False)
glue("variance_real_larger", int((tests["real"] > tests["fake"]).sum()), display=False)
glue("variance_d_max", float(tests["KS D"].max()), display=False)
glue("variance_d_max_name", tests["KS D"].idxmax(), display=False)
glue("variance_published_real", float(theirs["real"]), display=False)
glue("variance_published_fake", float(theirs["fake"]), display=False)
glue("variance_published_d", float(theirs["KS D"]), display=False)
glue("variance_published_p", float(theirs["KS p"]), display=False)
glue("variance_published_images", int(theirs["images"]), display=False)
glue("variance_published_videos", int(theirs["videos"]), display=False)
by_video = variance.ks_pvalue(theirs["KS D"], theirs["videos"], theirs["videos"])
glue("variance_published_p_video", float(by_video), display=False)

# %% [markdown]
# Over {glue:text}`variance_units` {glue:text}`variance_plural`, the KS test is below 0.05 for
# {glue:text}`variance_ks_below` of {glue:text}`variance_manipulations` manipulations; with that many tests at 0.05, a
# stray one is no discovery. {glue:text}`variance_paired` {glue:text}`variance_alike` {glue:text}`variance_naive` The
# largest distance is D = {glue:text}`variance_d_max:.2f` ({glue:text}`variance_d_max_name`). The real mean is the larger
# one for {glue:text}`variance_real_larger` of {glue:text}`variance_manipulations`.
#
# The reference (Deepfakes of FaceForensics++) reports {glue:text}`variance_published_real:.6f` for real
# and {glue:text}`variance_published_fake:.6f` for fake, D = {glue:text}`variance_published_d:.4f`, p =
# {glue:text}`variance_published_p:.1e`. That p-value takes {glue:text}`variance_published_images:,d` frames on each
# side as independent, but they come from {glue:text}`variance_published_videos` videos, and frames of one video are
# nearly equal. If they were equal, the videos would be the units, and the same D would have p =
# {glue:text}`variance_published_p_video:.2f`. What lies between is simulated below.

# %% [markdown]
# ## How large the difference is
#
# A small p-value says that there is a difference, not that it is large. Three effect sizes of single images, with 95 %
# intervals that resample each {glue:text}`variance_drawn` as a whole. *D* is the KS statistic. *Cliff's delta* is the
# probability that a manipulated image has the larger value, less the probability that a real one has. The *Wasserstein*
# distance is the area between the two curves of the figure above.

# %%
sizes = effects.effect_table(means, groups, n_bootstrap, seed)
effects.effect_text(sizes)

# %% mystnb={"figure": {"caption": "Effect sizes with their 95 % intervals. At the dotted line there is no effect. Look at Cliff's delta, the only one of the three that has a sign: an interval on both sides of the line leaves open whether manipulated images vary more or less.", "name": "fig-variance-effects"}, "image": {"alt": "Three panels side by side. In each, one dot with a horizontal bar for each manipulation, and a vertical dotted line at zero."}}
figures.effect_intervals(sizes, "squared units of the map")

# %% [markdown]
# {glue:text}`variance_delta` The largest in size is {glue:text}`variance_delta_most:.2f`
# ({glue:text}`variance_delta_name`): 0 is a coin toss, 1 or -1 would tell every pair of images apart.
#
# Noise adds to a distance: *D* and the Wasserstein distance of two equal samples are not 0, and those of a resample are
# larger still. So their intervals are reversed, as far below the value as the resamples lie above it, and cut at 0. They
# stay rough and cover the true value less often than 95 %. Whether there is an effect at all is a question for the paired
# test and the interval of Cliff's delta.
#
# How much is a further image of the same {glue:text}`variance_drawn` worth? The intraclass correlation (*ICC*) is the
# share of the variance that lies between groups. A group of $m$ images of correlation $\rho$ multiplies the variance of
# a mean by the *design effect* $1 + (m - 1) \rho$.

# %%
by_kind = {
    name: (by_id[name]["whole"], each.groups)
    for name, each in {"real": real, **fakes}.items()
}
clusters = effects.cluster_table(by_kind)
clusters.round(2)

# %% tags=["remove-input"]
delta = sizes[sizes["effect"] == "Cliff's delta"].set_index("manipulation")["value"]
glue("variance_drawn", about.unit, display=False)
glue("variance_delta", effects.delta_sentence(sizes), display=False)
glue("variance_delta_most", float(delta[delta.abs().idxmax()]), display=False)
glue("variance_delta_name", delta.abs().idxmax(), display=False)
glue("variance_clusters", effects.cluster_sentence(clusters, about.unit), display=False)
page_claims = [
    Claim(
        f"Local variance of {row.manipulation} exceeds that of real images (Cliff's delta)",
        row.value,
        row.low,
        row.high,
        row.groups,
        unit=about.unit,
    )
    for row in sizes[sizes["effect"] == "Cliff's delta"].itertuples()
]
_ = headline.save(folder, "06_local_variance", page_claims)

# %% [markdown]
# {glue:text}`variance_clusters`

# %% [markdown]
# ## What each test is worth where nothing differs
#
# A test at 0.05 should raise a false alarm in 5 % of the cases. Here real and manipulated values are simulated without
# any difference: {glue:text}`variance_sim_units` groups with {glue:text}`variance_sim_images` images of each kind, which
# resemble each other more and more. On the left the groups of the two kinds are unrelated. On the right they are the
# same, as for fakes made from real videos: {glue:text}`variance_sim_shared:.0f` % of what a group has of its own is common
# to its real and its manipulated images.

# %%
units, images, shared = 20, 16, 0.75
relations = {"unrelated groups": 0.0, "real and manipulated of one group": shared}
design = {"simulations": simulations, "seed": seed}
alarms = {
    name: variance.false_alarms(shared=part, units=units, images=images, **design)
    for name, part in relations.items()
}

# %% mystnb={"figure": {"caption": "Share of simulated data sets without a difference in which each test is below 0.05. A sound test stays near the dotted line. Above it a test finds what is not there; far below it, it will miss what is.", "name": "fig-variance-alarms"}, "image": {"alt": "Two line plots over the correlation from 0 to 0.8. The line of the naive test rises in both, more steeply on the left; the other two stay near or below the dotted line at five percent."}}
figures.false_alarm_rates(alarms)

# %% [markdown]
# The published distance, simulated the same way with as many videos and frames as it comes from: the p-values that it
# would have.

# %%
frames = int(theirs["images"] // theirs["videos"])
worth = pd.DataFrame(
    {
        name: variance.distance_pvalues(
            theirs["KS D"], int(theirs["videos"]), frames, shared=part, **design
        )
        for name, part in relations.items()
    }
)
worth.round(2)

# %% tags=["remove-input"]
alike = worth.loc[0.5:]
glue("variance_sim_units", units, display=False)
glue("variance_sim_images", images, display=False)
glue("variance_sim_shared", 100 * shared, display=False)
glue("variance_sim_runs", simulations, display=False)
glue("variance_sim_correlation", float(worth.index[-1]), display=False)
for name, relation in zip(("unrelated", "related"), relations, strict=True):
    glue(
        f"variance_sim_{name}",
        variance.alarm_sentence(alarms[relation], simulations),
        display=False,
    )
    glue(f"variance_worth_{name}_low", float(alike[relation].min()), display=False)
    glue(f"variance_worth_{name}_high", float(alike[relation].max()), display=False)
glue("variance_worth_from", float(alike.index[0]), display=False)
glue("variance_worth_smallest", 1 / (simulations + 1), display=False)

# %% [markdown]
# At a correlation of {glue:text}`variance_sim_correlation:g`, over {glue:text}`variance_sim_runs` simulations, the false
# alarms among unrelated groups are: {glue:text}`variance_sim_unrelated`. Where both kinds are of the same groups they
# are: {glue:text}`variance_sim_related`.
#
# For correlations from {glue:text}`variance_worth_from:g` on, the published distance has a p-value between
# {glue:text}`variance_worth_unrelated_low:.2g` and {glue:text}`variance_worth_unrelated_high:.2g` if real and fake videos
# are unrelated, and between {glue:text}`variance_worth_related_low:.2g` and {glue:text}`variance_worth_related_high:.2g` if
# they have so much in common; the smallest that so many simulations can give is
# {glue:text}`variance_worth_smallest:.2g`. Which of them is true cannot be told from a published D: it takes the frames,
# and a test that knows of their videos. The simulated values are normal, and all groups alike; real ones are neither.

# %% [markdown]
# ## Without the border
#
# The same comparison with only those windows that lie within the image.

# %%
inner = sides("inner")
inner_tests = variance.comparison_table(inner, seed, groups=groups, paired=has_pairs)
inner_sizes = effects.effect_table(inner, groups, n_bootstrap, seed)
inner_tests.T.map("{:.4g}".format)

# %% tags=["remove-input"]
glue(
    "variance_border_share",
    float(1 - (inner_tests["real"] / tests["real"]).iloc[0]),
    display=False,
)
glue("variance_inner_ks_below", int((inner_tests["KS p"] < 0.05).sum()), display=False)
glue("variance_inner_paired", variance.paired_sentence(inner_tests), display=False)
glue("variance_inner_delta", effects.delta_sentence(inner_sizes), display=False)
glue(
    "variance_inner_real_larger",
    int((inner_tests["real"] > inner_tests["fake"]).sum()),
    display=False,
)

# %% [markdown]
# Without the border, the mean of the real images changes by {glue:text}`variance_border_share:.0%` of its value. The
# KS test is then below 0.05 for {glue:text}`variance_inner_ks_below` of {glue:text}`variance_manipulations`
# manipulations. {glue:text}`variance_inner_paired` {glue:text}`variance_inner_delta` The real mean is the larger one for
# {glue:text}`variance_inner_real_larger`. A conclusion that depends on the frame is one about the frame.

# %% [markdown] tags=["needs-pairs"]
# ## Try it
#
# Choose an image and a window. The picture shows a small window; in JupyterLab the sliders draw others.

# %% mystnb={"figure": {"caption": "The same image with a window of 5 pixels: finer lines, and a narrower frame.", "name": "fig-variance-try"}, "image": {"alt": "Rows of a photograph and two heatmaps with thinner bright lines than before."}}
heatmaps(scene, 5)

# %% tags=["remove-output"]
explore(
    heatmaps,
    scene=ipywidgets.IntSlider(scene, 0, len(shown) - 1),
    window=ipywidgets.IntSlider(window, 3, 31, step=2),
)
