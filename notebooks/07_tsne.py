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
# **You will see** the feature space of the defocus detector in two dimensions, with scores, beside that of the same
# backbone before training, and edge maps.\
# **Reads** the features that notebook 03 saved (`features.npz`) and the edges that notebook 04 saved (`shapley/`).\
# **Writes** nothing: tables and figures are on this page.
#
# A picture of clusters persuades more than it proves. t-SNE keeps neighbourhoods, but neither distances between
# groups nor their sizes, and another perplexity or seed gives another picture. So each picture carries numbers.
# Two ask how far real and manipulated images lie apart. The *silhouette* is 0 where they lie in one cloud and 1 for two
# tight, distant groups. The *kNN accuracy* asks the five nearest images for their vote, those of the same scene, video
# or picture left out; chance is one half where there are as many real as manipulated images. Both are computed in the
# features too. Two more ask whether the picture can be believed
# ([Venna & Kaski 2001](https://doi.org/10.1007/3-540-44668-0_68)). *Trustworthiness* is 1 if all neighbours in the
# picture are neighbours in the features, *continuity* if all neighbours in the features are still neighbours in the
# picture.

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

# %%
import ipywidgets
import numpy as np
from myst_nb import glue

from defocus_lib.analysis import embedding
from defocus_lib.explain import attribution_set
from defocus_lib.figures import embedding as figures
from defocus_lib.run.artifacts import Folder, read_arrays
from defocus_lib.run.widgets import explore

folder = Folder.open(profile, artifacts)
stored, about = read_arrays(
    folder.require("features.npz", made_by="03_train_detector"),
    {"ids", "groups", "manipulations", "features"},
    optional={"features_untrained"},
)
stored = embedding.at_most(images, stored)
kinds, owners = stored["manipulations"], stored["groups"]
real, fakes = attribution_set.open_sets(folder)
manipulation = manipulation or next(iter(fakes))
rows, fake, groups = embedding.real_and(manipulation, kinds, owners)
spaces = {
    kind: stored[name] for kind, name in embedding.SPACES.items() if name in stored
}
learned = about.get("learned", "")
features = stored["features"][rows]
asked = embedding.parse_perplexities(perplexities)
drawn = embedding.fitting_perplexities(asked, len(features))
(perplexity,) = embedding.fitting_perplexities((perplexity,), len(features))
neighbors = min(neighbors, len(features) - 1)

# %% [markdown]
# ## t-SNE of the detector's features

# %%
tsne = {f"perplexity {p:g}": embedding.tsne(features, p, seed) for p in drawn}
scores = embedding.separation_table(
    {"features": features} | tsne, fake, groups, features
)
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
glue(
    "tsne_features_silhouette",
    float(scores.loc["features", "silhouette"]),
    display=False,
)
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
# ## What training adds
#
# The null is the same backbone before training: the same architecture, reading the same maps, with the random weights
# that training starts from. They are used as they are. Batch normalisation has seen no data and leaves values as they
# are, and where the backbone starts its residual branches at zero, those are mute. What separates there, the
# maps and the architecture separate alone.

# %%
both = {
    kind: embedding.tsne(part[rows], perplexity, seed) for kind, part in spaces.items()
}
both_scores = embedding.separation_table(both, fake, groups)

# %% mystnb={"figure": {"caption": "t-SNE of the same images before and after training, at one perplexity. Look whether the colours of the untrained features lie in any order; where they do, the order of the trained ones is no merit of training.", "name": "fig-tsne-untrained"}, "image": {"alt": "Scatter plots of blue circles for real and orange triangles for manipulated images, one for the trained and one for the untrained backbone, with scores in the titles."}}
figures.embeddings(both, fake, both_scores, manipulation)

# %% [markdown]
# In the features, each manipulation against the real images. Intervals (95 %) resample whole groups, the same ones for
# both backbones, so that the difference has an interval of its own. They say nothing about other random weights or another training.

# %%
votes = embedding.votes_by_manipulation(
    spaces, kinds, owners, list(fakes), n_bootstrap, seed
)
votes.round(3)

# %% [markdown]
# In their t-SNE pictures, the mean over {glue:text}`tsne_seeds` seeds, and in brackets the lowest and the highest. Above,
# the points start from the principal components, where the seed changes only the last digits; here each seed scatters them at
# random.

# %%
by_seed = embedding.over_seeds(
    spaces, kinds, owners, list(fakes), perplexity, range(seed, seed + seeds)
)
embedding.ranges(by_seed)

# %% mystnb={"figure": {"caption": "How well neighbours tell each manipulation from real images, with the trained and with the untrained backbone. Circles: in the features, with 95 % intervals over groups. Diamonds: in their t-SNE pictures, mean and extremes over the seeds. Look whether green lies to the right of grey, and whether a diamond lies right of its circle: then the drawing separates more than the features do.", "name": "fig-tsne-null"}, "image": {"alt": "For each manipulation two green and two grey marks with horizontal bars, for trained and untrained features and their pictures, on an axis of kNN accuracy with a dotted line at one half."}}
figures.votes_against_untrained(votes, by_seed, learned)

# %% tags=["remove-input"]
of_one = by_seed.loc[manipulation]
spread = embedding.ranges(by_seed).loc[(manipulation, "trained")]
glue("tsne_seeds", seeds, display=False)
glue("tsne_seeds_knn", spread["kNN accuracy"], display=False)
glue("tsne_seeds_silhouette", spread["silhouette"], display=False)
glue("tsne_trustworthiness", spread["trustworthiness"], display=False)
glue("tsne_continuity", spread["continuity"], display=False)
glue("tsne_drawing", embedding.drawing_verdict(of_one.loc["trained"]), display=False)
glue("tsne_pictures", embedding.pictures_verdict(of_one), display=False)
for kind in embedding.SPACES:
    glue(
        f"tsne_{kind}_knn", embedding.said_of(votes, manipulation, kind), display=False
    )
glue("tsne_training", embedding.training_verdict(votes, learned), display=False)

# %% [markdown]
# On {glue:text}`tsne_manipulation`, neighbours vote right for {glue:text}`tsne_trained_knn` of the images in the trained
# features; in the untrained ones, {glue:text}`tsne_untrained_knn`. The differences, trained minus untrained, have intervals
# that are not corrected for the number of manipulations. {glue:text}`tsne_training`
#
# Over {glue:text}`tsne_seeds` pictures of the trained features at perplexity {glue:text}`tsne_perplexity:g`, the kNN
# accuracy is {glue:text}`tsne_seeds_knn` and the silhouette {glue:text}`tsne_seeds_silhouette`.
# {glue:text}`tsne_pictures` The trustworthiness of the pictures is {glue:text}`tsne_trustworthiness`, their continuity
# {glue:text}`tsne_continuity`: {glue:text}`tsne_drawing`.

# %% [markdown]
# ## UMAP

# %%
by_umap = {f"UMAP, {neighbors} neighbours": embedding.umap(features, neighbors, seed)}
umap_scores = embedding.separation_table(by_umap, fake, groups, features)

# %% mystnb={"figure": {"caption": "UMAP of the same features. Compare with the t-SNE pictures: groups that only one of the two shows are a property of the picture.", "name": "fig-tsne-umap"}, "image": {"alt": "Scatter plot of blue circles and orange triangles with scores in the title."}}
figures.embeddings(by_umap, fake, umap_scores, manipulation)

# %% [markdown]
# ## Edge maps
#
# The control: no detector, not even a blur estimate, only where the edges are. The flattened edge maps are reduced to
# their principal components, then shown by t-SNE.

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

# %% tags=["remove-input"]
glue("tsne_umap_silhouette", float(umap_scores["silhouette"].iloc[0]), display=False)
glue("tsne_umap_knn", float(umap_scores["kNN accuracy"].iloc[0]), display=False)
glue(
    "tsne_umap_trustworthiness",
    float(umap_scores["trustworthiness"].iloc[0]),
    display=False,
)
glue("tsne_umap_continuity", float(umap_scores["continuity"].iloc[0]), display=False)
glue("tsne_edges_silhouette", float(edge_scores["silhouette"].iloc[1]), display=False)
glue("tsne_edges_knn", float(edge_scores["kNN accuracy"].iloc[1]), display=False)
glue(
    "tsne_edges_components_knn",
    float(edge_scores["kNN accuracy"].iloc[0]),
    display=False,
)
glue("tsne_edges_components", used, display=False)
glue("tsne_edges_images", len(edge_fake), display=False)

# %% [markdown]
# UMAP scores {glue:text}`tsne_umap_silhouette:.3f` and {glue:text}`tsne_umap_knn:.2f`, at a trustworthiness of
# {glue:text}`tsne_umap_trustworthiness:.2f` and a continuity of {glue:text}`tsne_umap_continuity:.2f`. The edge maps of
# {glue:text}`tsne_edges_images` images score {glue:text}`tsne_edges_silhouette:.3f` and
# {glue:text}`tsne_edges_knn:.2f`; in their {glue:text}`tsne_edges_components` principal components the kNN accuracy is
# {glue:text}`tsne_edges_components_knn:.2f`. A real image and its manipulated version, where there is one, share the edges
# outside the region, which draws them together. What the edges alone achieve is what a detector must exceed before *defocus*
# deserves the credit.

# %% [markdown]
# ## Try it
#
# Change the perplexity and the seed, and watch which groups survive. In JupyterLab the sliders draw
# the picture again.


# %%
def one_picture(perplexity: float, seed: int):
    picture = {
        f"perplexity {perplexity:g}, seed {seed}": embedding.tsne(
            features, perplexity, seed
        )
    }
    return figures.embeddings(
        picture, fake, embedding.separation_table(picture, fake, groups), manipulation
    )


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
