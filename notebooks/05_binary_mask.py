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
# # Binary mask
#
# How much of a defocus map does a manipulation change, and does it change the map where
# it changed the picture? {cite:t}`jeon2025seeing` answer the first question with a
# binary mask: a pixel is *active* if the map of a manipulated image and the map of its
# paired real image differ by more than a threshold $\tau$ ({eq}`eq-mask`). They report
# statistics of the count of active pixels, and how the mean changes with $\tau$. This
# page repeats both. Where the manipulated region is known, it also answers the second
# question, which a count can't: it scores the mask as a detector of the region.
#
# Both maps are min-max normalised, each by its own extremes, so $\tau$ is a share of
# the range of a map.\
# **Reads** the maps that notebook 04 saved (`shapley/`), a shard at a time.\
# **Writes** the claims of this page.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
threshold: float = 0.1
scene: int = 0
n_bootstrap: int = 2000
seed: int = 42

# %% tags=["hide-input"]
import ipywidgets
import pandas as pd
from myst_nb import glue

from defocus_lib.analysis import mask, paper_values
from defocus_lib.explain import attribution_set
from defocus_lib.figures import mask as figures
from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder
from defocus_lib.run.widgets import explore
from defocus_lib.stats import claims
from defocus_lib.stats.claims import Claim

folder = Folder.open(profile, artifacts)
real, fakes = attribution_set.open_sets(folder)
groups = {name: fake.groups for name, fake in fakes.items()}
shown = attribution_set.complete_pairs(fakes)
pixels = real.take([0], "dmaps").dmaps[0].size
unit = folder.about.unit
glue("mask_threshold", threshold, display=False)
glue("mask_pixels", pixels, display=False)
glue("mask_unit", unit, display=False)

# %% [markdown]
# ## Active pixels
#
# Each row describes the pairs of one manipulation. The rows that Jeon & Woo report for
# the corresponding manipulations of FaceForensics++ stand below, where there are any.
# Because a count grows with the number of pixels of an image, only the shares of the
# image can be compared between data sets.


# %%
def pair_table(fake: attribution_set.StoredSet) -> pd.DataFrame:
    parts = fake.paired_shards(real, "dmaps", "regions")
    return mask.pair_table(
        ((own.dmaps, other.dmaps, own.regions) for own, other in parts), threshold
    )


tables = {name: pair_table(fake) for name, fake in fakes.items()}
active = {name: table["active"] for name, table in tables.items()}
counts = mask.count_table(active, pixels)
columns = ["share %", "average", "max", "min", "median"]
paper_values.beside(counts, paper_values.mask_counts())[columns].round(1)

# %% [markdown]
# The averages of this run have 95 % intervals. They resample each
# {glue:text}`mask_unit` with all of its pairs, because these resemble each other. The
# paper gives no intervals.

# %%
intervals = mask.count_intervals(active, groups, pixels, n_bootstrap, seed)
intervals.round(
    {"average": 0, "low": 0, "high": 0, "share %": 2, "low %": 2, "high %": 2}
)

# %% [markdown]
# All counts are taken at a threshold of {glue:text}`mask_threshold`, in images of
# {glue:text}`mask_pixels` pixels. Two intervals that do not overlap mean that one
# manipulation changes more of the map than the other.
#
# Maxima must be read with care. If a manipulation moves the smallest or largest value
# of a map, the min-max normalisation moves every other pixel with it. The mask can then
# fill the image, far from any change of the picture.

# %% [markdown]
# ## One image and its manipulated versions


# %%
def triptychs(scene: int, threshold: float):
    examples = attribution_set.versions(fakes, shown[scene])
    real_maps = examples.paired_real(real).dmaps
    active = mask.active_mask(examples.dmaps, real_maps, threshold)
    return figures.mask_triptychs(
        examples.images,
        examples.dmaps,
        real_maps,
        active,
        examples.regions,
        list(fakes),
    )


# %% mystnb={"figure": {"caption": "One image under each manipulation: the manipulated image, its defocus map, the map of the real image, and the mask of pixels that differ by more than the threshold. The outline is the manipulated region, where it is known. Look for active pixels on both sides of it.", "name": "fig-mask-triptychs"}, "image": {"alt": "One row per manipulation. Each shows a photograph, two similar defocus maps, and a black and white mask with its count of active pixels."}} tags=["shows-images"]
triptychs(scene, threshold)

# %% [markdown]
# A map is measured at edges and then propagated to the pixels between them. Therefore a
# change in one place can activate pixels around it, and a region without edges can
# change without an active pixel.

# %% [markdown]
# ## The threshold decides
#
# The table repeats the mean share of active pixels at the seven thresholds of the
# paper, in percent of the image.

# %%
sweep = mask.threshold_sweep(tables, groups, n_bootstrap=n_bootstrap, seed=seed)
share, low, high = (100 * part / pixels for part in sweep)
share.round(1).rename_axis(columns="share of the image, %")

# %% mystnb={"figure": {"caption": "Mean share of active pixels against the threshold, strict on the left, lenient on the right. Solid: this run, with 95 % intervals by group as bands. Dashed: the values that Jeon & Woo report for FaceForensics++, in the colour of their counterpart. Look for lines that cross: there the threshold decides which manipulation looks stronger.", "name": "fig-mask-sweep"}, "image": {"alt": "Line plot with a logarithmic threshold axis. Solid lines with markers and pale bands, and dashed lines, rise from left to right."}}
figures.mask_sweep(
    share,
    100 * paper_values.threshold_sweep() / paper_values.PIXELS,
    paper_values.counterpart(list(fakes)),
    paper_values.SOURCE,
    (low, high),
)

# %% [markdown]
# On FaceForensics++ the lines cross: NeuralTextures has the fewest active pixels at the
# strictest threshold and the most at the most lenient one. An order of manipulations is
# therefore a statement about one threshold. A small threshold counts rounding and the
# long tails of the propagation, whereas a large one counts blur that changed. A band is
# the interval of one line. Since the lines of one run may come from the same real
# images, an order can be certain although bands overlap.

# %% [markdown] tags=["needs-regions"]
# ## Does the mask find the manipulated region?
#
# *Precision* is the share of the active pixels that lie in the manipulated region, and
# *recall* the share of the region that is active; both are means over pairs. *Inside*
# is the precision of all pairs taken together. A mask that is drawn at random has a
# precision equal to the share of the image that the region covers (*by chance*). *Above
# chance* is the mean difference of the two, with its 95 % interval by
# {glue:text}`mask_unit`. Empty masks have no precision and count in the recall only.

# %%
localisation = mask.localisation_table(tables)
excess = mask.above_chance(tables, groups, n_bootstrap, seed)
localisation.join(excess).round(3)

# %% mystnb={"figure": {"caption": "Precision and recall of the mask against the manipulated region, mean over the pairs. Compare each precision with the dotted line, the precision of a mask drawn at random.", "name": "fig-mask-localisation"}, "image": {"alt": "Bar chart with two bars, precision and recall, for each manipulation, and a dotted line for the precision by chance."}}
figures.localisation_bars(localisation)

# %% [markdown]
# A claim is *supported* if its whole interval lies on the claimed side of the value
# that it is compared with, and *not supported* if it lies on the other side. Few groups
# give *not enough data*.

# %%
page_claims = [
    Claim(
        f"The mask of {name} finds the region better than chance (excess precision)",
        *map(float, row[["above chance", "low", "high"]]),
        groups=int(row["groups"]),
        unit=unit,
        style="+.1%",
    )
    for name, row in excess.iterrows()
]
claims.table(page_claims, folder.about.caution)

# %% tags=["remove-input"]
_ = headline.save(folder, "05_binary_mask", page_claims)

# %% [markdown]
# Where a claim is supported, active pixels gather in the region, so that the mask shows
# where a picture was changed. The size of the excess says how well: a mask with a
# precision of one half still marks as many untouched pixels as manipulated ones. A low
# recall is expected, because only the part of a region near an edge changes its blur by
# more than the threshold.

# %% [markdown]
# ## Limits
#
# The mask needs the paired real image. It describes a manipulation and can't detect
# one. It also responds to any cause of a changed map: new edges are enough, without any
# change of defocus. Whether a detector can use the change is measured on
# {doc}`11_controls`.
#
# ## Exercises
#
# 1. Set `threshold` to 0.01. Which claims change their verdict, and why does the recall
#    rise in any case?
# 2. A mask with a random half of all pixels is active on average in one half of the
#    region. What are its precision and its recall?
#
# ```{admonition} Answer to 2
# :class: dropdown
# Its recall is 0.5. Its precision is the share of the image that the region covers,
# which is why that share is the baseline of the precision.
# ```

# %% [markdown]
# ## Try it
#
# Choose an image and a threshold. In JupyterLab the sliders draw the masks anew.

# %% mystnb={"figure": {"caption": "The same image at half of the threshold.", "name": "fig-mask-try"}, "image": {"alt": "Rows of image, two maps and mask, with at least as many active pixels as before."}} tags=["shows-images"]
triptychs(scene, threshold / 2)

# %% tags=["remove-output"]
explore(
    triptychs,
    scene=ipywidgets.IntSlider(scene, 0, len(shown) - 1),
    threshold=ipywidgets.FloatLogSlider(
        threshold, min=-4, max=0, step=0.1, readout_format=".4f"
    ),
)
