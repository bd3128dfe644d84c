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
# # On real images
#
# The pages before this one measure on scenes that we rendered, because only there the
# true blur is known. Do their answers hold for photographs, lenses and manipulations
# that nobody rendered? {cite:t}`jeon2025seeing` report that detectors on defocus maps
# reach a high accuracy on FaceForensics++ and CIFAKE. This page asks what such a figure
# is worth: whether other detectors, which see no blur at all, reach it as well.
#
# **Reads** `benchmarks/results/real_data.csv` and `real_lenses.csv`. Both are measured
# by hand, by the commands below, wherever the pictures lie; this page shows the last
# such measurement, whatever data the rest of the book was made from. No picture is in
# the book.\
# **Writes** the claims of this page.
#
# ## How
#
# `python -m benchmarks.real_data NAME ...` gives each data set of the manifest that is
# on disk the same protocol. Each split has at most 2,000 pairs of a real and a
# manipulated image, or as many of each kind where they are no pairs, drawn by seed. All
# AUC are those of the test images, with 95 % intervals over groups (videos, scenes or
# pictures) and seeds. From the least to the most that a method may use, we compare
#
# - facts about the files: format, size, compression, metadata, no pixel;
# - the contrast of blur, and eight statistics of the map, as on
#   {doc}`06b_contrast_of_blur`; the region is the central ellipse of half the height
#   and width;
# - small detectors from scratch on the edges alone, on maps of each preset, on maps in
#   px and with a second channel, on the photograph, and on both;
# - a larger network that has learned ImageNet before, on map, photograph and both.
#
# The claim of the paper holds on such data if a detector on maps exceeds one on edges
# alone, because then it uses blur. It is useful if it exceeds one on the photograph, or
# adds something to it.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""

# %% tags=["hide-input"]
from defocus_lib.analysis import real_images
from defocus_lib.figures import real_images as figures
from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder, project_root
from defocus_lib.stats import claims

folder = Folder.open(profile, artifacts)
results = project_root() / "benchmarks" / "results"
measured = real_images.read_results(results / "real_data.csv")
lenses = real_images.read_results(results / "real_lenses.csv")

# %% [markdown]
# ## The data
#
# CIFAKE {cite}`bird2024cifake` has photographs of CIFAR-10 and images of the same ten
# classes by Stable Diffusion 1.4, all 32 px wide and high. They are whole images that
# were generated, not manipulated regions, so there is no surrounding that a region
# could differ from; and at 32 px a blur of 1 px is large. Of the published set, 4,000
# images of each kind to train on and 1,000 to test on were at hand.

# %%
real_images.data_table(measured)

# %% [markdown]
# ## Real against manipulated

# %% mystnb={"figure": {"caption": "AUC on the test images of each data set, with 95 % intervals over groups and seeds. Colours say what a method may read: no picture, the map of blur, its edges, the photograph. Look first at the rows that see no blur: only what lies to the right of them can be due to defocus. The dotted line is chance.", "name": "fig-real-auc"}, "image": {"alt": "One row per method, grouped by what it reads, each with a mark and a bar on an axis of AUC with a dotted line at one half."}}
figures.auc_of_methods(measured)

# %%
real_images.auc_shown(measured)

# %% [markdown]
# ## What it means

# %%
page_claims = real_images.claims(measured)
_ = headline.save(folder, "15_real_images", page_claims)
claims.table(page_claims)

# %% [markdown]
# A high AUC on maps shows that the map carries a trace of the generator. If edges alone
# reach the same, the trace need not be blur, because a map shows where edges are; if
# the photograph reaches more, nobody needs the map to detect these images, however well
# it may explain them. Where the contrast lies below 0.5, its sign is the opposite of
# the hypothesis: the generated images are sharper in their middle.
#
# ## Real lenses
#
# Blur that a lens made is known only where somebody measured it. A focal stack comes
# near: the focus moves through one scene, photograph by photograph, so the blur of each
# part falls until it is in focus, and rises again in proportion to the distance from
# it. `python -m benchmarks.real_lenses FOLDER` finds the sharpest photograph of each
# textured patch of 32 px by its gradients, in which no map has a part. A patch is
# *ranked* if the median blur of the map has a rank correlation of at least 0.8 with the
# distance from focus. It is *straight* if two lines that meet, a V, explain 90 % of the
# variance of that blur. The two stacks show circuit boards, in ten and in seven
# photographs (PetteriAimonen/focus-stack, MIT licence), reduced to 1,024 px.

# %%
real_images.lenses_shown(lenses)

# %% [markdown]
# A map that reads blur ranks and straightens every patch. One that reads the density of
# edges may rank them, because blurred edges vanish; it has no reason to be straight.
#
# ## Limits
#
# - One protocol for all data favours none: each data set has detectors that do better
#   with its own settings and all of its images. The differences are between methods
#   that had the same budget.
# - Pictures of FaceForensics++ and DFDC may not be passed on, and are not among these
#   rows. Whoever has them adds rows by the same command.
# - A generator of whole images, such as that of CIFAKE, is not what the paper's
#   argument is about. It is in this table because the paper reports it.
#
# ## Exercises
#
# 1. Add your own data to `data_manifest.yaml` ({doc}`../own_data`) and run
#    `python -m benchmarks.real_data NAME`. Does the map exceed its edges there?
# 2. Why must a claim that a detector uses blur be held against edges, and not against
#    0.5?
#
# ```{admonition} Answer to 2
# :class: dropdown
# A defocus map is computed at edges, and shows where they are. A detector on maps can
# therefore reach any AUC that edges allow without reading blur, as
# {doc}`11_controls` shows on scenes. Only the excess needs blur for its explanation.
# ```
