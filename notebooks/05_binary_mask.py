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
# # Binary mask
#
# **You will see** where, and by how much, the defocus map of a manipulated image differs from the map of its real twin.\
# **Reads** the maps that notebook 04 saved (`shapley/`), a shard at a time.\
# **Writes** nothing: tables and figures are on this page.
#
# The reference calls a pixel *active* if the two maps differ by more than a threshold, and counts the active pixels
# of each pair. Both maps are min-max normalised, each by its own extremes. Where the manipulated region is known, the
# mask can also be held against the truth.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
threshold: float = 0.1
scene: int = 0
n_bootstrap: int = 2000
seed: int = 42

# %%
import ipywidgets
from myst_nb import glue

from defocus_lib.analysis import mask, paper_values
from defocus_lib.explain import attribution_set
from defocus_lib.figures import mask as figures
from defocus_lib.run.artifacts import Folder
from defocus_lib.run.widgets import explore

folder = Folder.open(profile, artifacts)
real, fakes = attribution_set.open_sets(folder)
groups = {name: fake.groups for name, fake in fakes.items()}
shown = attribution_set.complete_pairs(fakes)

# %% [markdown]
# ## How many pixels are active
#
# A row describes the pairs of one manipulation. Published rows, where there are any, stand below. They may differ from
# this run in data and in the size of the images: compare the shares of the image, not the counts.


# %%
def of_pairs(fake: attribution_set.StoredSet):
    parts = fake.paired_shards(real, "dmaps", "regions")
    return mask.pair_table(
        ((one.dmaps, twin.dmaps, one.regions) for one, twin in parts), threshold
    )


tables = {name: of_pairs(fake) for name, fake in fakes.items()}
pixels = real.take([0], "dmaps").dmaps[0].size
counts = mask.count_table(
    {name: table["active"] for name, table in tables.items()}, pixels
)
paper_values.beside(counts, paper_values.mask_counts())[
    ["share %", "average", "max", "min", "median"]
].round(1)

# %% [markdown]
# How sure are these averages? The interval of 95 % below resamples the pairs, {glue:text}`mask_drawn`.

# %%
active = {name: table["active"] for name, table in tables.items()}
sure = mask.count_intervals(active, groups, pixels, n_bootstrap, seed)
sure.round({"average": 0, "low": 0, "high": 0, "share %": 2, "low %": 2, "high %": 2})

# %% tags=["remove-input"]
theirs = paper_values.mask_counts()
glue("mask_threshold", threshold, display=False)
glue("mask_pairs", sum(map(len, fakes.values())), display=False)
glue(
    "mask_published",
    paper_values.relation(list(fakes)) or f"other data: {paper_values.SOURCE}",
    display=False,
)
glue("mask_pixels", pixels, display=False)
glue("mask_share_low", float(counts["share %"].min()), display=False)
glue("mask_share_high", float(counts["share %"].max()), display=False)
most, least = counts["share %"].idxmax(), counts["share %"].idxmin()
glue("mask_most", most, display=False)
glue("mask_least", least, display=False)
glue("mask_drawn", mask.drawn(sure, folder.about.unit), display=False)
glue("mask_low_interval", mask.interval_text(sure.loc[least]), display=False)
glue("mask_high_interval", mask.interval_text(sure.loc[most]), display=False)
glue("mask_published_low", float(theirs["share %"].min()), display=False)
glue("mask_published_high", float(theirs["share %"].max()), display=False)
glue(
    "mask_published_max",
    float(100 * theirs["max"].max() / paper_values.PIXELS),
    display=False,
)
glue("mask_max", float(100 * counts["max"].max() / pixels), display=False)

# %% [markdown]
# At threshold {glue:text}`mask_threshold`, between {glue:text}`mask_share_low:.1f` % ({glue:text}`mask_least`,
# {glue:text}`mask_low_interval`) and {glue:text}`mask_share_high:.1f` % ({glue:text}`mask_most`,
# {glue:text}`mask_high_interval`) of the image is active on average, over {glue:text}`mask_pairs` pairs of
# {glue:text}`mask_pixels` pixels each. The published averages ({glue:text}`mask_published`) lie between
# {glue:text}`mask_published_low:.1f` % and {glue:text}`mask_published_high:.1f` %; they came without an interval.
#
# Read the maximum with care. In the fullest mask of this run {glue:text}`mask_max:.0f` % of the image is active, in
# the published table {glue:text}`mask_published_max:.0f` %. When a manipulation moves the smallest or largest value
# of a map, the min-max normalisation moves every other pixel with it, and the mask can fill far from any change.

# %% [markdown]
# ## One image and its manipulated versions


# %%
def triptychs(scene: int, threshold: float):
    examples = attribution_set.versions(fakes, shown[scene])
    twins = examples.paired_real(real)
    active = mask.active_mask(examples.dmaps, twins.dmaps, threshold)
    return figures.mask_triptychs(
        examples.images,
        examples.dmaps,
        twins.dmaps,
        active,
        examples.regions,
        list(fakes),
    )


# %% mystnb={"figure": {"caption": "One image under each manipulation: the manipulated image, its defocus map, the map of the real image, and the mask of pixels that differ by more than the threshold. The outline, where the region is known, is what was really changed; look for active pixels on both sides of it.", "name": "fig-mask-triptychs"}, "image": {"alt": "One row a manipulation. Each shows a photograph, two similar defocus maps, and a black and white mask with its count of active pixels."}}
triptychs(scene, threshold)

# %% [markdown]
# The maps are dense: they spread what was measured at edges over their surroundings. So a change in one place can
# activate pixels around it, and a region without edges can change without leaving a trace.

# %% [markdown]
# ## The threshold decides
#
# The same average at the seven published thresholds.

# %%
sweep = mask.threshold_sweep(tables)
bounds = mask.sweep_intervals(tables, groups, n_bootstrap=n_bootstrap, seed=seed)
(100 * sweep / pixels).round(1).rename_axis(columns="share of the image, %")

# %% mystnb={"figure": {"caption": "Mean share of active pixels against the threshold, strict on the left, lenient on the right. Solid: this run, with 95 % intervals as bands. Dashed: the published curves (FaceForensics++), where they have a counterpart here, in its colour. Look for lines that cross: there the threshold decides which manipulation looks stronger.", "name": "fig-mask-sweep"}, "image": {"alt": "Line plot with a logarithmic threshold axis. Solid lines with markers and pale bands, and dashed lines, rise from left to right."}}
figures.mask_sweep(
    100 * sweep / pixels,
    100 * paper_values.threshold_sweep() / paper_values.PIXELS,
    paper_values.counterpart(list(fakes)),
    paper_values.SOURCE,
    [100 * side / pixels for side in bounds],
)

# %% tags=["remove-input"]
strictest, loosest = sweep.iloc[0], sweep.iloc[-1]
published_sweep = paper_values.threshold_sweep()
glue(
    "mask_order_strict",
    ", ".join(strictest.sort_values(ascending=False).index),
    display=False,
)
glue(
    "mask_order_loose",
    ", ".join(loosest.sort_values(ascending=False).index),
    display=False,
)
glue(
    "mask_order_strict_published",
    ", ".join(published_sweep.iloc[0].sort_values(ascending=False).index),
    display=False,
)
glue(
    "mask_order_loose_published",
    ", ".join(published_sweep.iloc[-1].sort_values(ascending=False).index),
    display=False,
)
glue("mask_strictest", float(sweep.index[0]), display=False)
glue("mask_loosest", float(sweep.index[-1]), display=False)

# %% [markdown]
# From most to fewest active pixels, the order at threshold {glue:text}`mask_strictest` is
# {glue:text}`mask_order_strict`; at {glue:text}`mask_loosest` it is {glue:text}`mask_order_loose`. In the published
# sweep (FaceForensics++) the order goes from {glue:text}`mask_order_strict_published` to
# {glue:text}`mask_order_loose_published`. A small threshold counts rounding and the long tails of the propagation;
# only a large one speaks of blur that changed. A band is the interval of one line. The lines of a run are of the same
# images, so where their bands overlap their order can still be sure.
#
# The mask needs the real twin, so it describes a manipulation and detects none. It also does not tell defocus from
# any other cause of a changed map: new edges are enough.

# %% [markdown] tags=["needs-regions"]
# ## Does the mask find the manipulated region?
#
# *Inside* pools all active pixels of all pairs; *precision* and *recall* are means over pairs. A mask drawn at random
# has the precision *by chance*, which is the share of the image that the region covers. *Above chance* is the mean of the
# differences between the two, with its 95 % interval by pair.

# %%
found = mask.localisation_table(tables)
excess = mask.above_chance(tables, groups, n_bootstrap, seed)
found.join(excess).round(3)

# %% mystnb={"figure": {"caption": "Precision and recall of the mask against the region that was really changed, mean over the pairs. Compare each precision with the dotted line, the precision of a mask drawn at random.", "name": "fig-mask-localisation"}, "image": {"alt": "Bar chart with two bars, precision and recall, for each manipulation, and a dotted line for the precision by chance."}}
figures.localisation_bars(found)

# %% tags=["remove-input"]
glue("mask_precision_low", float(found["precision"].min()), display=False)
glue("mask_precision_high", float(found["precision"].max()), display=False)
glue("mask_recall_low", float(found["recall"].min()), display=False)
glue("mask_recall_high", float(found["recall"].max()), display=False)
glue("mask_chance", float(found["by chance"].mean()), display=False)
glue("mask_empty", int(found["empty"].sum()), display=False)
glue(
    "mask_above_chance",
    int((found["precision"] > found["by chance"]).sum()),
    display=False,
)
glue("mask_chance_interval", mask.chance_sentence(excess), display=False)
glue("mask_manipulations", len(found), display=False)

# %% [markdown]
# Precision lies between {glue:text}`mask_precision_low:.2f` and {glue:text}`mask_precision_high:.2f`, where a random
# mask has {glue:text}`mask_chance:.2f`; it exceeds that for {glue:text}`mask_above_chance` of
# {glue:text}`mask_manipulations` manipulations. {glue:text}`mask_chance_interval` Recall lies between {glue:text}`mask_recall_low:.2f` and
# {glue:text}`mask_recall_high:.2f`. {glue:text}`mask_empty` masks are empty and count in the recall only.

# %% [markdown]
# ## Try it
#
# Choose an image and a threshold. The picture shows one choice; in JupyterLab the sliders draw others.

# %% mystnb={"figure": {"caption": "The same image at half of the threshold.", "name": "fig-mask-try"}, "image": {"alt": "Rows of image, two maps and mask, with at least as many active pixels as before."}}
triptychs(scene, threshold / 2)

# %% tags=["remove-output"]
explore(
    triptychs,
    scene=ipywidgets.IntSlider(scene, 0, len(shown) - 1),
    threshold=ipywidgets.FloatLogSlider(
        threshold, min=-4, max=0, step=0.1, readout_format=".4f"
    ),
)
