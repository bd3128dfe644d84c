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

# %% [markdown] tags=["needs-2-test-groups"]
# # t-SNE, UMAP, and what they show
#
# **You will see** the feature space of the defocus detector in two dimensions, with
# scores, beside that of the same backbone before training, and edge maps.\
# **Reads** the features of notebook 03 (`features.npz`) and the edges of notebook 04
# (`shapley/`).\
# **Writes** its claims for the front page.
#
# Jeon & Woo (2025) show four t-SNE pictures of the detector's features, in which real
# and manipulated images form groups. Such a picture persuades more than it proves,
# because t-SNE keeps neighbourhoods, but neither distances between groups nor their
# sizes. Another perplexity or seed gives another picture. This page therefore asks two
# questions of each picture: how far do real and manipulated images lie apart, and does
# the picture keep the neighbourhoods of the features?
#
# ## Scores
#
# Two scores measure separation. The *silhouette* is 0 where real and manipulated images
# lie in one cloud, and 1 for two tight, distant groups. The *kNN accuracy* is the share
# of images for which most of the five nearest images are of their own class. Images of
# the same scene, video or picture do not count as neighbours. Chance is one half where
# there are as many real as manipulated images.
#
# Two scores measure whether a picture can be believed
# ([Venna & Kaski 2001](https://doi.org/10.1007/3-540-44668-0_68)). *Trustworthiness* is
# 1 if all neighbours in the picture are neighbours in the features. *Continuity* is 1
# if all neighbours in the features are still neighbours in the picture.
#
# The baseline is the same backbone before training. Features that separate no better
# than those of the baseline would not show that the detector learned anything.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
manipulation: str = ""
images: int = 1000
perplexities: str = "5, 10, 20, 40"
perplexity: float = 20.0
neighbors: int = 15
components: int = 100
seeds: int = 5
n_bootstrap: int = 1000
seed: int = 42

# %% tags=["hide-input"]
import ipywidgets
import numpy as np
from myst_nb import glue

from defocus_lib.analysis import embedding
from defocus_lib.explain import attribution_set
from defocus_lib.figures import embedding as figures
from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder, read_arrays
from defocus_lib.run.widgets import explore
from defocus_lib.stats import claims
from defocus_lib.stats.claims import Claim

folder = Folder.open(profile, artifacts)
stored, about = read_arrays(
    folder.require("features.npz", made_by="03_train_detector"),
    {"ids", "groups", "manipulations", "features"},
    optional={"features_untrained"},
)
stored = embedding.at_most(images, stored)
manipulations, owners = stored["manipulations"], stored["groups"]
real, fakes = attribution_set.open_sets(folder)
manipulation = manipulation or next(iter(fakes))
rows, fake, groups = embedding.real_and(manipulation, manipulations, owners)
spaces = {
    kind: stored[name] for kind, name in embedding.SPACES.items() if name in stored
}
features = stored["features"][rows]
fitting = embedding.fitting_perplexities(
    embedding.parse_perplexities(perplexities), len(features)
)
(perplexity,) = embedding.fitting_perplexities((perplexity,), len(features))
neighbors = min(neighbors, len(features) - 1)
glue("tsne_images", len(features), display=False)
glue("tsne_manipulation", manipulation, display=False)
glue("tsne_dimensions", features.shape[1], display=False)
glue("tsne_perplexities", ", ".join(f"{p:g}" for p in fitting), display=False)
glue("tsne_perplexity", perplexity, display=False)
glue("tsne_seeds", seeds, display=False)

# %% [markdown]
# ## t-SNE of the detector's features
#
# The pictures show {glue:text}`tsne_images` images, real and
# {glue:text}`tsne_manipulation`, at perplexities of {glue:text}`tsne_perplexities`. A
# perplexity must lie below the number of images, so that larger ones are left out.

# %%
tsne = {f"perplexity {p:g}": embedding.tsne(features, p, seed) for p in fitting}
scores = embedding.separation_table(
    {"features": features} | tsne, fake, groups, features
)
scores.round(3)

# %% mystnb={"figure": {"caption": "t-SNE of the pooled features of real images and one manipulation, at several perplexities. Look for regions of one colour, then at the scores in the titles: the same features can look separate at one perplexity and mixed at another.", "name": "fig-tsne"}, "image": {"alt": "Scatter plots of blue circles for real and orange triangles for manipulated images, with silhouette and accuracy in each title."}}
figures.embeddings(tsne, fake, scores, manipulation)

# %% [markdown]
# The first row of the table holds the scores of the {glue:text}`tsne_dimensions`
# dimensions that the pictures were made from. A picture holds no more information than
# these features. Where it scores higher, the layout separates what the features do not.

# %% [markdown]
# ## What training adds
#
# The untrained backbone has the same architecture, reads the same maps, and keeps the
# random weights that training starts from. Its batch normalisation has seen no data and
# therefore passes values on as they are. Where the residual branches start at zero,
# they contribute nothing. What separates here is due to the maps and the architecture.

# %%
both = {
    kind: embedding.tsne(part[rows], perplexity, seed) for kind, part in spaces.items()
}
both_scores = embedding.separation_table(both, fake, groups)

# %% mystnb={"figure": {"caption": "t-SNE of the same images after and before training, at one perplexity. Look whether the colours of the untrained features lie in any order: if they do, training did not create that order.", "name": "fig-tsne-untrained"}, "image": {"alt": "Scatter plots of blue circles for real and orange triangles for manipulated images, one for the trained and one for the untrained backbone, with scores in the titles."}}
figures.embeddings(both, fake, both_scores, manipulation)

# %% [markdown]
# The next table compares each manipulation with the real images in the features
# themselves. Intervals (95 %) resample whole groups, the same ones for both backbones,
# so that the difference has an interval of its own.

# %%
accuracies = embedding.knn_by_manipulation(
    spaces, manipulations, owners, list(fakes), n_bootstrap, seed
)
accuracies.round(3)

# %% [markdown]
# The pictures above start from the principal components, where the seed changes only
# the last digits. In the next table {glue:text}`tsne_seeds` seeds place the points at
# random instead, at a perplexity of {glue:text}`tsne_perplexity:g`. It holds the mean
# over the seeds and, in brackets, the lowest and the highest score.

# %%
by_seed = embedding.over_seeds(
    spaces, manipulations, owners, list(fakes), perplexity, range(seed, seed + seeds)
)
embedding.ranges(by_seed)

# %% mystnb={"figure": {"caption": "kNN accuracy of each manipulation against real images, with the trained and with the untrained backbone. Circles: in the features, with 95 % intervals over groups. Diamonds: in their t-SNE pictures, mean and extremes over the seeds. Look whether green lies to the right of grey. Where a diamond lies right of its circle, the layout separates more than the features do.", "name": "fig-tsne-baseline"}, "image": {"alt": "For each manipulation two green and two grey marks with horizontal bars, for trained and untrained features and their pictures, on an axis of kNN accuracy with a dotted line at one half."}}
figures.knn_against_untrained(
    accuracies, by_seed, about.get("training_manipulation", "")
)

# %% [markdown]
# If trustworthiness exceeds continuity, a picture loses more by tearing neighbours
# apart than by placing distant images side by side. If the ranges of the trained and of
# the untrained features overlap, a single picture of each is no evidence for training.

# %% [markdown]
# ## UMAP
#
# UMAP ([McInnes et al. 2018](https://arxiv.org/abs/1802.03426)) is a second way to lay
# out the same features. Groups that only one of the two methods shows are a property of
# the method.

# %%
by_umap = {f"UMAP, {neighbors} neighbours": embedding.umap(features, neighbors, seed)}
umap_scores = embedding.separation_table(by_umap, fake, groups, features)
umap_scores.round(3)

# %% mystnb={"figure": {"caption": "UMAP of the same features. Compare with the t-SNE pictures: groups that only one of the two shows are a property of the picture.", "name": "fig-tsne-umap"}, "image": {"alt": "Scatter plot of blue circles and orange triangles with scores in the title."}}
figures.embeddings(by_umap, fake, umap_scores, manipulation)

# %% [markdown]
# ## Edge maps
#
# The control uses neither a detector nor a blur estimate, only the positions of the
# edges. The flattened edge maps are reduced to their principal components, then shown
# by t-SNE.

# %%
examples = [real.head(images), fakes[manipulation].head(images)]
edges = embedding.flat_edges(
    part.edges for kind in examples for part in kind.shards("edges")
)
edge_fake = np.repeat([False, True], [len(kind) for kind in examples])
used = min(components, len(edge_fake) - 1)  # so many hold all the variance
reduced = embedding.edge_components(edges, used, seed)
by_edges = {f"edges, PCA({used}), t-SNE": embedding.tsne(reduced, perplexity, seed)}
edge_groups = np.concatenate([kind.groups for kind in examples])
edge_scores = embedding.separation_table(
    {"components": reduced} | by_edges, edge_fake, edge_groups, reduced
)
edge_scores.round(3)

# %% mystnb={"figure": {"caption": "Edge maps of real and manipulated images, by principal components and t-SNE. Where the data have pairs, look whether circles and triangles lie in pairs: then the content places an image, not the manipulation.", "name": "fig-tsne-edges"}, "image": {"alt": "Scatter plot of blue circles and orange triangles with scores in the title."}}
figures.embeddings(by_edges, edge_fake, edge_scores, manipulation)

# %% [markdown]
# A real image and its manipulated version, where there is one, share the edges outside
# the manipulated region, and therefore lie close together. A detector must exceed the
# kNN accuracy of the edges before its separation can be attributed to defocus.

# %% [markdown]
# ## What it means
#
# Training counts as useful for a manipulation if the kNN accuracy in the trained
# features exceeds that in the untrained ones. The pictures count as faithful if their
# trustworthiness, averaged over the random starts, exceeds 0.9. That bound is ours;
# points in random positions score about 0.5. The verdict compares the 95 % interval
# with the comparison value: over groups for the gain, and over seeds (Student's t) for
# the trustworthiness.

# %%
gains = (
    accuracies.rename(columns={embedding.ACCURACY: "value"})
    .query("features == @embedding.DIFFERENCE")
    .reset_index()
)
page_claims = [
    Claim(
        f"Training helps to separate {row.manipulation} (gain in kNN accuracy)",
        row.value,
        row.low,
        row.high,
        row.groups,
        unit=folder.about.unit,
        epochs=about.get("epochs"),
    )
    for row in gains.itertuples()
]
starts = by_seed.xs((manipulation, "trained"), level=["manipulation", "features"])
page_claims.append(
    Claim(
        f"t-SNE keeps the neighbours of {manipulation} (trustworthiness)",
        *embedding.mean_over_seeds(starts["trustworthiness"]),
        groups=len(set(groups)),
        compared_with=0.9,
        unit=folder.about.unit,
        seeds=seeds,
        style=".2f",
    )
)
headline.save(folder, "07_tsne", page_claims)
claims.table(page_claims, folder.about.caution)

# %% [markdown]
# A gain on the manipulation that the detector was trained on shows that it learned that
# manipulation. A gain on another one shows that what it learned carries over.
#
# ## Limits
#
# - The intervals hold for these weights. They say nothing about other random weights or
#   another training.
# - The intervals are not corrected for the number of manipulations, so that with many
#   of them an interval may miss 0 by chance.
# - Without features of an untrained backbone in `features.npz`, which notebook 03
#   writes, there is no baseline and the gains are missing from the table.
#
# ## Exercises
#
# 1. Set `perplexity` to 5 and to 40. Which of the four scores changes most, and why?
# 2. Set `images` to 40. Do the intervals still separate the two backbones?
#
# :::{admonition} Answer to the first exercise
# :class: dropdown
# The silhouette, because it measures distances in the picture, which t-SNE does not
# keep. The kNN accuracy changes less, because it depends on neighbours only.
# :::
#
# ## Try it
#
# Change the perplexity and the seed, and watch which groups survive. In JupyterLab the
# sliders draw the picture again.


# %%
def one_picture(perplexity: float, seed: int):
    title = f"perplexity {perplexity:g}, seed {seed}"
    picture = {title: embedding.tsne(features, perplexity, seed)}
    scores = embedding.separation_table(picture, fake, groups)
    return figures.embeddings(picture, fake, scores, manipulation)


# %% mystnb={"figure": {"caption": "The same features at another seed.", "name": "fig-tsne-try"}, "image": {"alt": "Scatter plot of blue circles and orange triangles with scores in the title."}}
one_picture(perplexity, seed + 1)

# %% tags=["remove-output"]
explore(
    one_picture,
    perplexity=ipywidgets.FloatSlider(
        perplexity, min=2, max=min(100, len(features) - 1), step=1
    ),
    seed=ipywidgets.IntSlider(seed, 0, 100),
)
