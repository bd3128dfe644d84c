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
# # t-SNE, UMAP, and what they show
#
# **You will see** the feature space of the defocus detector, and edge maps, in two dimensions, each with a score.\
# **Reads** the features that notebook 03 saved (`features.npz`) and the edges that notebook 04 saved (`shapley/`).\
# **Writes** nothing: tables and figures are on this page.
#
# A picture of clusters persuades more than it proves. t-SNE keeps neighbourhoods, but neither distances between
# groups nor their sizes, and another perplexity or seed gives another picture. So each picture carries two numbers.
# The *silhouette* is 0 where real and manipulated images lie in one cloud and 1 for two tight, distant groups. The
# *kNN accuracy* asks the five nearest images for their vote, those of the same scene, video or picture left out; chance is
# one half where there are as many real as manipulated images.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
manipulation: str = ""
images: int = 1000
perplexities: str = "5, 10, 20, 40"
perplexity: float = 20.0
neighbors: int = 15
components: int = 100
seed: int = 42

# %%
import ipywidgets
import numpy as np
from myst_nb import glue

from defocus_lib import embedding, figures, store, stored_set
from defocus_lib.explore import explore

folder = store.Folder.open(profile, artifacts)
stored, _ = store.read_arrays(
    folder.require("features.npz", made_by="03_train_detector"), {"ids", "groups", "manipulations", "features"}
)
stored = embedding.at_most(images, stored)
kinds, owners = stored["manipulations"], stored["groups"]
real, fakes = stored_set.open_sets(folder)
manipulation = manipulation or next(iter(fakes))
rows, fake, groups = embedding.real_and(manipulation, kinds, owners)
features = stored["features"][rows]
asked = embedding.parse_perplexities(perplexities)
drawn = embedding.fitting_perplexities(asked, len(features))
(perplexity,) = embedding.fitting_perplexities((perplexity,), len(features))
neighbors = min(neighbors, len(features) - 1)

# %% [markdown]
# ## t-SNE of the detector's features

# %%
tsne = {f"perplexity {p:g}": embedding.tsne(features, p, seed) for p in drawn}
scores = embedding.separation_table({"features": features} | tsne, fake, groups)
scores.round(3)

# %% mystnb={"figure": {"caption": "t-SNE of the pooled features of real images and one manipulation, at several perplexities. Look for regions of one colour, then at the scores in the titles: the same features can look separate at one perplexity and mixed at another.", "name": "fig-tsne"}, "image": {"alt": "Scatter plots of blue circles for real and orange triangles for manipulated images, with silhouette and accuracy in each title."}}
figures.embeddings(tsne, fake, scores, manipulation)

# %% tags=["remove-input"]
pictures = scores.drop(index="features")
glue("tsne_images", len(features), display=False)
glue("tsne_drawn", ", ".join(f"{p:g}" for p in drawn), display=False)
glue("tsne_dimensions", features.shape[1], display=False)
glue("tsne_manipulation", manipulation, display=False)
glue("tsne_perplexity", perplexity, display=False)
glue("tsne_silhouette_low", float(pictures["silhouette"].min()), display=False)
glue("tsne_silhouette_high", float(pictures["silhouette"].max()), display=False)
glue("tsne_knn_low", float(pictures["kNN accuracy"].min()), display=False)
glue("tsne_knn_high", float(pictures["kNN accuracy"].max()), display=False)
glue("tsne_features_silhouette", float(scores.loc["features", "silhouette"]), display=False)
glue("tsne_features_knn", float(scores.loc["features", "kNN accuracy"]), display=False)

# %% [markdown]
# The pictures show {glue:text}`tsne_images` images, real and {glue:text}`tsne_manipulation`, at a perplexity of
# {glue:text}`tsne_drawn` (it must be below the number of images; larger ones that were asked for are not drawn). From perplexity to
# perplexity the silhouette lies between {glue:text}`tsne_silhouette_low:.3f` and
# {glue:text}`tsne_silhouette_high:.3f`, the kNN accuracy between {glue:text}`tsne_knn_low:.2f` and
# {glue:text}`tsne_knn_high:.2f`. In the {glue:text}`tsne_dimensions` dimensions that the pictures were made from they
# are {glue:text}`tsne_features_silhouette:.3f` and {glue:text}`tsne_features_knn:.2f`. A picture cannot know more
# than the features; where one scores higher, the drawing made the difference. The reference shows four such
# pictures (FaceForensics++) without a score.

# %% [markdown]
# ## The other manipulations
#
# The same detector, one t-SNE for each manipulation at perplexity {glue:text}`tsne_perplexity:g`. The detector learned
# one of them ({doc}`03_train_detector` says which), so the others ask what it carries over.

# %%
across = embedding.separation_by_manipulation(stored["features"], kinds, owners, list(fakes), perplexity, seed)
across.round(3)

# %% tags=["remove-input"]
knn = across["features", "kNN accuracy"]
glue("tsne_across_low", float(knn.min()), display=False)
glue("tsne_across_low_name", knn.idxmin(), display=False)
glue("tsne_across_high", float(knn.max()), display=False)
glue("tsne_across_high_name", knn.idxmax(), display=False)

# %% [markdown]
# In the features themselves, neighbours vote best on {glue:text}`tsne_across_high_name`
# ({glue:text}`tsne_across_high:.2f`) and worst on {glue:text}`tsne_across_low_name` ({glue:text}`tsne_across_low:.2f`).

# %% [markdown]
# ## UMAP

# %%
by_umap = {f"UMAP, {neighbors} neighbours": embedding.umap(features, neighbors, seed)}
umap_scores = embedding.separation_table(by_umap, fake, groups)

# %% mystnb={"figure": {"caption": "UMAP of the same features. Compare with the t-SNE pictures: groups that only one of the two shows are a property of the picture.", "name": "fig-tsne-umap"}, "image": {"alt": "Scatter plot of blue circles and orange triangles with scores in the title."}}
figures.embeddings(by_umap, fake, umap_scores, manipulation)

# %% [markdown]
# ## Edge maps
#
# The control: no detector, not even a blur estimate, only where the edges are. The flattened edge maps are reduced to
# their principal components, then shown by t-SNE.

# %%
examples = [real.head(images), fakes[manipulation].head(images)]
edges = embedding.flat_edges(part.edges for kind in examples for part in kind.shards("edges"))
edge_fake = np.repeat([False, True], [len(kind) for kind in examples])
used = min(components, len(edge_fake) - 1)  # so many hold all the variance
by_edges = {f"edges, PCA({used}), t-SNE": embedding.pca_tsne(edges, used, perplexity, seed)}
edge_scores = embedding.separation_table(by_edges, edge_fake, np.concatenate([kind.groups for kind in examples]))

# %% mystnb={"figure": {"caption": "Edge maps of real and manipulated images, by principal components and t-SNE. Where the data have pairs, look whether circles and triangles lie in pairs: then the content places an image, not the manipulation.", "name": "fig-tsne-edges"}, "image": {"alt": "Scatter plot of blue circles and orange triangles with scores in the title."}}
figures.embeddings(by_edges, edge_fake, edge_scores, manipulation)

# %% tags=["remove-input"]
glue("tsne_umap_silhouette", float(umap_scores["silhouette"].iloc[0]), display=False)
glue("tsne_umap_knn", float(umap_scores["kNN accuracy"].iloc[0]), display=False)
glue("tsne_edges_silhouette", float(edge_scores["silhouette"].iloc[0]), display=False)
glue("tsne_edges_knn", float(edge_scores["kNN accuracy"].iloc[0]), display=False)
glue("tsne_edges_images", len(edge_fake), display=False)

# %% [markdown]
# UMAP scores {glue:text}`tsne_umap_silhouette:.3f` and {glue:text}`tsne_umap_knn:.2f`. The edge maps of
# {glue:text}`tsne_edges_images` images score {glue:text}`tsne_edges_silhouette:.3f` and
# {glue:text}`tsne_edges_knn:.2f`. A real image and its manipulated version, where there is one, share the edges outside the
# region, which draws them together. What the edges alone achieve is what a detector must exceed before *defocus* deserves the
# credit.

# %% [markdown]
# ## Try it
#
# Change the perplexity and the seed, and watch which groups survive. In JupyterLab the sliders draw
# the picture again.


# %%
def one_picture(perplexity: float, seed: int):
    picture = {f"perplexity {perplexity:g}, seed {seed}": embedding.tsne(features, perplexity, seed)}
    return figures.embeddings(picture, fake, embedding.separation_table(picture, fake, groups), manipulation)


# %% mystnb={"figure": {"caption": "The same features at another seed.", "name": "fig-tsne-try"}, "image": {"alt": "Scatter plot of blue circles and orange triangles with scores in the title."}}
one_picture(perplexity, seed + 1)

# %% tags=["remove-output"]
explore(
    one_picture,
    perplexity=ipywidgets.FloatSlider(perplexity, min=2, max=min(100, len(features) - 1), step=1),
    seed=ipywidgets.IntSlider(seed, 0, 100),
)
