"""Pictures of a feature space in two dimensions, and a score for what they seem to show.

A t-SNE picture keeps neighbourhoods, not distances between clusters or their sizes, and it depends on perplexity and
seed (van der Maaten & Hinton 2008; Wattenberg et al. 2016, doi 10.23915/distill.00002). So each picture carries two
numbers, and the same two are computed in the space that the picture was made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse

from defocus_lib.checks import check_maps, check_same_shape

PERPLEXITIES = (5, 10, 20, 40)
"""Perplexities of the reference."""


def parse_perplexities(text: str) -> tuple[float, ...]:
    """``"5, 10, 20, 40"`` -> ``(5.0, 10.0, 20.0, 40.0)``; a notebook parameter is a scalar, so the list comes as text.

    Raises
    ------
    ValueError
        If an item is no positive number, or there is none.
    """
    try:
        values = tuple(float(item) for item in text.replace(",", " ").split())
    except ValueError as error:
        raise ValueError(f"perplexities is {text!r}; numbers separated by commas wanted") from error
    if not values or not all(0 < value < np.inf for value in values):
        raise ValueError(f"perplexities is {text!r}; positive numbers separated by commas wanted")
    return values


def fitting_perplexities(perplexities: Iterable[float], images: int) -> tuple[float, ...]:
    """Those that so many images allow: t-SNE wants a perplexity below their number. If none does, a third of it."""
    found = tuple(value for value in perplexities if value < images)
    return found or (max(1.0, images / 3),)


def real_and(
    manipulation: str, manipulations: ArrayLike, groups: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choose the real images and those of one manipulation.

    Parameters
    ----------
    manipulation : str
    manipulations, groups : (N,) str array_like
        The manipulation (or ``"real"``) and the group of each image, see :func:`defocus_lib.shapley_set.groups_of`.

    Returns
    -------
    rows : (M,) int array
        Their rows, in order.
    fake : (M,) bool array
    groups : (M,) str array
        Those of the chosen rows.

    Raises
    ------
    ValueError
        If there are no images of the manipulation, or no real ones, or the lengths differ.
    """
    manipulations, groups = np.asarray(manipulations, dtype=str), np.asarray(groups, dtype=str)
    check_same_shape(manipulations=manipulations, groups=groups)
    found = sorted(set(manipulations.tolist()))
    for wanted in ("real", manipulation):
        if wanted not in found:
            raise ValueError(f"manipulations has no {wanted!r}; found {', '.join(found) or 'nothing'}")
    rows = np.flatnonzero(np.isin(manipulations, ["real", manipulation]))
    return rows, manipulations[rows] != "real", groups[rows]


def at_most(images: int, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """At most so many images of each manipulation, from as many groups as possible: the first of each, then the second.

    Parameters
    ----------
    images : int
    arrays : mapping of str to (N, ...) array
        ``groups`` and ``manipulations``, and whatever goes with them.

    Returns
    -------
    dict
        The same arrays, fewer rows, in their order.
    """
    table = pd.DataFrame({"manipulation": arrays["manipulations"], "group": arrays["groups"]})
    turns = table.groupby(["manipulation", "group"]).cumcount().sort_values(kind="stable")
    rows = table.loc[turns.index].groupby("manipulation").head(images).index.sort_values()
    return {name: values[rows] for name, values in arrays.items()}


def _check_features(features: ArrayLike) -> np.ndarray:
    features = check_maps("features", features, ndim=2)
    if len(features) < 4 or features.shape[1] < 2:
        raise ValueError(f"features has shape {features.shape}; at least 4 images and 2 values each wanted")
    if (features == features[0]).all():
        raise ValueError(f"features of the {len(features)} images are all equal: there is nothing to embed")
    return features.astype(np.float32)


def tsne(features: ArrayLike, perplexity: float = 20, seed: int = 42) -> np.ndarray:
    """t-SNE with scikit-learn, started from the first two principal components.

    Parameters
    ----------
    features : (N, D) array_like
    perplexity : float
        About the number of neighbours that count; below ``N``.

    Returns
    -------
    (N, 2) float32 array

    Raises
    ------
    ValueError
        If the perplexity is not positive or not below ``N``, or the features are too few, equal, or hold NaN.
    """
    from sklearn.manifold import TSNE

    features = _check_features(features)
    if not 0 < perplexity < len(features):
        raise ValueError(
            f"perplexity is {perplexity:g}; above 0 and below the number of images, {len(features)}, wanted"
        )
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)


def umap(features: ArrayLike, neighbors: int = 15, seed: int = 42) -> np.ndarray:
    """UMAP (McInnes et al. 2018, arXiv 1802.03426) on one thread, which is what makes it repeatable.

    Parameters
    ----------
    features : (N, D) array_like
    neighbors : int
        At least 2 and below ``N``.

    Returns
    -------
    (N, 2) float32 array

    Raises
    ------
    ValueError
        If the number of neighbours does not fit, or the features are too few, equal, or hold NaN.
    """
    from umap import UMAP

    features = _check_features(features)
    if not 2 <= neighbors < len(features):
        raise ValueError(
            f"neighbors is {neighbors}; at least 2 and below the number of images, {len(features)}, wanted"
        )
    # The same start as t-SNE; the spectral one needs an eigen-solver that gives up on few points.
    return UMAP(n_neighbors=neighbors, random_state=seed, n_jobs=1, init="pca").fit_transform(features)


def flat_edges(parts: Iterable[ArrayLike]) -> sparse.csr_array:
    """Edge maps, flattened, as a sparse matrix: few pixels are edges.

    Parameters
    ----------
    parts : iterable of (N, H, W) bool array_like
        A part of the images at a time.

    Returns
    -------
    (sum of N, H * W) float32 sparse matrix
    """
    maps = (check_maps("edges", part) for part in parts)
    return sparse.vstack([sparse.csr_array(part.reshape(len(part), -1), dtype=np.float32) for part in maps], "csr")


def pca_tsne(
    edges: ArrayLike | sparse.csr_array, components: int = 100, perplexity: float = 20, seed: int = 42
) -> np.ndarray:
    """Principal components of the flattened edge maps, then t-SNE.

    Parameters
    ----------
    edges : (N, H, W) bool array_like, or what :func:`flat_edges` makes of it in parts
    components : int
        At least 2; ``N - 1``, which hold all the variance, are never exceeded, nor ``D - 1``.

    Returns
    -------
    (N, 2) float32 array

    Raises
    ------
    ValueError
        As :func:`tsne`; and if ``components`` is below 2, or all edge maps are equal.
    """
    from sklearn.decomposition import PCA

    if components < 2:
        raise ValueError(f"components is {components}; at least 2 wanted")
    flat = edges if sparse.issparse(edges) else flat_edges([edges])
    if np.isin(flat.sum(0), [0, flat.shape[0]]).all():
        raise ValueError(f"edges of the {flat.shape[0]} images are all equal: there is nothing to embed")
    # This solver needs the matrix only as a factor: it stays sparse.
    reduced = PCA(min(components, min(flat.shape) - 1), svd_solver="arpack", random_state=seed).fit_transform(flat)
    return tsne(reduced, perplexity, seed)


def separation(points: ArrayLike, fake: ArrayLike, groups: ArrayLike, neighbors: int = 5) -> dict[str, float]:
    """How far real and manipulated images lie apart.

    Parameters
    ----------
    points : (N, D) array_like
        An embedding, or the features themselves.
    fake : (N,) bool array_like
    groups : (N,) str array_like
        Images of one group, such as the frames of a video and of its fakes, never vote on each other.
    neighbors : int
        Neighbours that vote.

    Returns
    -------
    dict
        ``silhouette`` in [-1, 1] (Rousseeuw 1987): 0 where real and manipulated lie in one cloud, 1 for two tight
        clusters. ``kNN accuracy`` in [0, 1]: five-fold, whole groups left out; 0.5 is chance when there are as many
        real as manipulated images.

    Raises
    ------
    ValueError
        If the lengths differ, one kind is missing, or there are fewer than 2 groups.
    """
    from sklearn.metrics import silhouette_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    points, fake, groups = check_maps("points", points, ndim=2), np.asarray(fake, dtype=bool), np.asarray(groups)
    if not len(points) == len(fake) == len(groups):
        raise ValueError(
            f"points, fake and groups have lengths {len(points)}, {len(fake)} and {len(groups)}; one wanted"
        )
    if fake.all() or not fake.any():
        raise ValueError(f"fake is {'True' if fake.all() else 'False'} for every image; both kinds wanted")
    units = len(np.unique(groups))
    if units < 2:
        raise ValueError(f"groups has {units} group; at least 2 wanted")
    folds = GroupKFold(min(5, units))
    smallest = min(len(train) for train, _ in folds.split(points, fake, groups))
    model = KNeighborsClassifier(min(neighbors, smallest))
    votes = cross_val_predict(model, points, fake, groups=groups, cv=folds)
    return {"silhouette": float(silhouette_score(points, fake)), "kNN accuracy": float((votes == fake).mean())}


def separation_table(spaces: Mapping[str, ArrayLike], fake: ArrayLike, groups: ArrayLike) -> pd.DataFrame:
    """:func:`separation` of several pictures of the same images: one row a picture."""
    rows = {name: separation(points, fake, groups) for name, points in spaces.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("space")


def separation_by_manipulation(
    features: ArrayLike,
    manipulations: ArrayLike,
    groups: ArrayLike,
    names: Iterable[str],
    perplexity: float = 20,
    seed: int = 42,
) -> pd.DataFrame:
    """:func:`separation` of the features, and of their t-SNE picture, real images against each manipulation in turn.

    Parameters
    ----------
    features : (N, D) array_like
    manipulations, groups : (N,) str array_like
        As :func:`real_and`.
    names : iterable of str
        Manipulations, in the order of the rows.

    Returns
    -------
    DataFrame
        One row a manipulation; columns ``(space, score)`` with the spaces ``features`` and ``t-SNE``.
    """
    features = check_maps("features", features, ndim=2)
    tables = {}
    for name in names:
        rows, fake, chosen = real_and(name, manipulations, groups)
        spaces = {"features": features[rows], "t-SNE": tsne(features[rows], perplexity, seed)}
        scores = separation_table(spaces, fake, chosen)
        tables[name] = {(space, score): scores.loc[space, score] for space in scores.index for score in scores.columns}
    return pd.DataFrame.from_dict(tables, orient="index").rename_axis("manipulation")
