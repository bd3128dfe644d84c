"""Embeddings of a feature space in two dimensions, and scores for what they seem to show.

A t-SNE embedding keeps neighbourhoods, not distances between clusters or their sizes, and it
depends on perplexity and seed (van der Maaten & Hinton 2008; Wattenberg et al. 2016, doi
10.23915/distill.00002). So each embedding carries numbers: how far real and manipulated images lie
apart, there and in the space that it was made from, and how many neighbours it kept. The baseline
is the same backbone before training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse, stats

from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.stats.bootstrap import CONFIDENCE, Estimate, bootstrap, formatted

NEIGHBORS = 5
"""Nearest images of the kNN predictions, and those that an embedding should keep."""

SPACES = {"trained": "features", "untrained": "features_untrained"}
"""Kinds of features, and the arrays of ``features.npz`` that hold them."""

ACCURACY = "kNN accuracy"
DIFFERENCE = "difference"


def parse_perplexities(text: str) -> tuple[float, ...]:
    """``"5, 10, 20"`` -> ``(5.0, 10.0, 20.0)``; ValueError if an item is no positive number."""
    try:
        values = tuple(float(item) for item in text.replace(",", " ").split())
    except ValueError as error:
        raise ValueError(f"perplexities is {text!r}; numbers separated by commas wanted") from error
    if not values or not all(0 < value < np.inf for value in values):
        raise ValueError(f"perplexities is {text!r}; positive numbers separated by commas wanted")
    return values


def fitting_perplexities(perplexities: Iterable[float], images: int) -> tuple[float, ...]:
    """Those below the number of images, as t-SNE requires; a third of it if there is none."""
    fitting = tuple(value for value in perplexities if value < images)
    return fitting or (max(1.0, images / 3),)


def real_and(
    manipulation: str, manipulations: ArrayLike, groups: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (M,) of the real images and of one manipulation, whether each is fake, and its group.

    ``manipulations`` (N,) holds the manipulation of each image, or "real". Raises ValueError if
    there are no images of the manipulation, or no real ones, or the lengths differ.
    """
    manipulations, groups = np.asarray(manipulations, dtype=str), np.asarray(groups, dtype=str)
    check_same_shape(manipulations=manipulations, groups=groups)
    names = sorted(set(manipulations.tolist()))
    for name in ("real", manipulation):
        if name not in names:
            raise ValueError(
                f"manipulations has no {name!r}; found {', '.join(names) or 'nothing'}"
            )
    rows = np.flatnonzero(np.isin(manipulations, ["real", manipulation]))
    return rows, manipulations[rows] != "real", groups[rows]


def at_most(images: int, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """At most so many images of each manipulation, from as many groups as possible.

    The first image of each group is taken before a second one. ``arrays`` (N, ...) hold
    ``groups``, ``manipulations``, and whatever goes with them; their order is kept.
    """
    table = pd.DataFrame({"manipulation": arrays["manipulations"], "group": arrays["groups"]})
    turns = table.groupby(["manipulation", "group"]).cumcount().sort_values(kind="stable")
    rows = table.loc[turns.index].groupby("manipulation").head(images).index.sort_values()
    return {name: values[rows] for name, values in arrays.items()}


def _check_features(features: ArrayLike) -> np.ndarray:
    features = check_maps("features", features, ndim=2)
    if len(features) < 4 or features.shape[1] < 2:
        raise ValueError(
            f"features has shape {features.shape}; at least 4 images and 2 values each wanted"
        )
    if (features == features[0]).all():
        raise ValueError(
            f"features of the {len(features)} images are all equal: there is nothing to embed"
        )
    return features.astype(np.float32)


def tsne(
    features: ArrayLike, perplexity: float = 20, seed: int = 42, start: str = "pca"
) -> np.ndarray:
    """t-SNE embedding (N, 2) float32 of (N, D) features.

    ``start`` is "pca", the first two principal components, or "random". The seed changes the last
    digits of the first, and the whole of the second; what follows is deterministic, but amplifies
    small differences. Raises ValueError if the perplexity is not positive or not below N, or the
    features are too few, equal, or hold NaN.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    features = _check_features(features)
    if not 0 < perplexity < len(features):
        raise ValueError(
            f"perplexity is {perplexity:g}; above 0 and below the number of images, "
            f"{len(features)}, wanted"
        )
    with threadpool_limits(1):  # for some hundred images, more threads mostly wait for one another
        return TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(features)


def umap(features: ArrayLike, neighbors: int = 15, seed: int = 42) -> np.ndarray:
    """UMAP embedding (N, 2) float32 of (N, D) features (McInnes et al. 2018, arXiv 1802.03426).

    Raises ValueError if ``neighbors`` is below 2 or not below N, or the features are too few,
    equal, or hold NaN.
    """
    features = _check_features(features)
    if not 2 <= neighbors < len(features):
        raise ValueError(
            f"neighbors is {neighbors}; at least 2 and below the number of images, "
            f"{len(features)}, wanted"
        )
    from umap import UMAP  # it compiles when imported, for seconds: what is wrong is said before

    # One thread makes it repeatable. The eigen-solver of the spectral start gives up on few points.
    model = UMAP(n_neighbors=neighbors, random_state=seed, n_jobs=1, init="pca")
    return model.fit_transform(features)


def flat_edges(parts: Iterable[ArrayLike]) -> sparse.csr_array:
    """Edge maps, in parts of (N, H, W) bool, as one sparse (sum of N, H * W) float32 matrix."""
    maps = (check_maps("edges", part) for part in parts)
    return sparse.vstack(
        [sparse.csr_array(part.reshape(len(part), -1), dtype=np.float32) for part in maps], "csr"
    )


def edge_components(
    edges: ArrayLike | sparse.csr_array, components: int = 100, seed: int = 42
) -> np.ndarray:
    """Principal components (N, components) float32 of edge maps.

    ``edges`` is (N, H, W) bool, or what :func:`flat_edges` returns. ``N - 1`` components, which
    hold all the variance, are never exceeded. Raises ValueError if ``components`` is below 2, or
    all edge maps are equal.
    """
    from sklearn.decomposition import PCA

    if components < 2:
        raise ValueError(f"components is {components}; at least 2 wanted")
    flat = edges if isinstance(edges, sparse.csr_array) else flat_edges([edges])
    if np.isin(flat.sum(0), [0, flat.shape[0]]).all():
        raise ValueError(
            f"edges of the {flat.shape[0]} images are all equal: there is nothing to embed"
        )
    components = min(components, min(flat.shape) - 1)
    # This solver needs the matrix only as a factor: it stays sparse.
    return PCA(components, svd_solver="arpack", random_state=seed).fit_transform(flat)


def knn_correct(
    points: ArrayLike, fake: ArrayLike, groups: ArrayLike, neighbors: int = NEIGHBORS
) -> np.ndarray:
    """Whether most of the nearest images of other groups are of an image's own class: (N,) bool.

    ``points`` (N, D) are an embedding or features. Five-fold, whole groups left out: images of one
    group, such as the frames of a video and of its fakes, never count as neighbours. All images
    count where there are fewer than ``neighbors``. Raises ValueError if the lengths differ, one
    class is missing, or there are fewer than 2 groups.
    """
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    points = check_maps("points", points, ndim=2)
    fake, groups = np.asarray(fake, dtype=bool), np.asarray(groups)
    if not len(points) == len(fake) == len(groups):
        raise ValueError(
            f"points, fake and groups have lengths {len(points)}, {len(fake)} and {len(groups)}; "
            "one wanted"
        )
    if fake.all() or not fake.any():
        raise ValueError(f"fake is {fake.all()} for every image; both kinds wanted")
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise ValueError(f"groups has {n_groups} group; at least 2 wanted")
    folds = GroupKFold(min(5, n_groups))
    smallest = min(len(train) for train, _ in folds.split(points, fake, groups))
    model = KNeighborsClassifier(min(neighbors, smallest))
    return cross_val_predict(model, points, fake, groups=groups, cv=folds) == fake


def separation(
    points: ArrayLike, fake: ArrayLike, groups: ArrayLike, neighbors: int = NEIGHBORS
) -> dict[str, float]:
    """How far real and manipulated images lie apart; arguments and errors as :func:`knn_correct`.

    ``silhouette`` in [-1, 1] (Rousseeuw 1987) is 0 where they lie in one cloud, 1 for two tight
    clusters. ``kNN accuracy`` in [0, 1] is the share of :func:`knn_correct`; 0.5 is chance where
    there are as many real as manipulated images.
    """
    from sklearn.metrics import silhouette_score

    correct = knn_correct(points, fake, groups, neighbors)
    return {"silhouette": float(silhouette_score(points, fake)), ACCURACY: float(correct.mean())}


def preservation(
    space: ArrayLike, picture: ArrayLike, neighbors: int = NEIGHBORS
) -> dict[str, float]:
    """Which neighbours of an (N, D) space its (N, 2) picture kept.

    Source: Venna & Kaski 2001, doi 10.1007/3-540-44668-0_68. ``trustworthiness`` in [0, 1] is 1
    where all neighbours in the picture are neighbours in the space; each false one costs as much as
    it is far away there. ``continuity`` is the same with the two exchanged. ``neighbors`` is
    reduced where it is not less than half of N. Raises ValueError if the numbers of images differ,
    or there are fewer than 3.
    """
    from sklearn.manifold import trustworthiness

    space, picture = check_maps("space", space, ndim=2), check_maps("picture", picture, ndim=2)
    if len(space) != len(picture) or len(space) < 3:
        raise ValueError(
            f"space and picture have lengths {len(space)} and {len(picture)}; "
            "one, of 3 or more, wanted"
        )
    near = min(neighbors, (len(space) - 1) // 2)
    pairs = {"trustworthiness": (space, picture), "continuity": (picture, space)}
    return {name: float(trustworthiness(*pair, n_neighbors=near)) for name, pair in pairs.items()}


def separation_table(
    spaces: Mapping[Any, ArrayLike],
    fake: ArrayLike,
    groups: ArrayLike,
    origin: ArrayLike | None = None,
) -> pd.DataFrame:
    """:func:`separation` of several pictures of the same images, one row per picture.

    With ``origin``, the (N, D) space that they were made from, :func:`preservation` of each stands
    beside.
    """
    rows = {
        name: separation(points, fake, groups)
        | ({} if origin is None else preservation(origin, points))
        for name, points in spaces.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("space")


def knn_by_manipulation(
    spaces: Mapping[str, ArrayLike],
    manipulations: ArrayLike,
    groups: ArrayLike,
    names: Iterable[str],
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """:func:`separation` of real images from each manipulation, with intervals over groups.

    ``spaces`` are (N, D) features of the same images, such as ``trained`` and ``untrained``, which
    share the resamples. Resampled are the images that are predicted; their neighbours stay. Index
    (manipulation, features); of two spaces there is also ``difference``, the first minus the
    second. Columns ``kNN accuracy``, ``low``, ``high`` (95 % interval), ``groups`` and
    ``silhouette``.
    """
    from sklearn.metrics import silhouette_score

    tables = {}
    for name in names:
        rows, fake, chosen = real_and(name, manipulations, groups)
        parts = {space: np.asarray(features)[rows] for space, features in spaces.items()}
        correct = {
            space: knn_correct(points, fake, chosen).astype(float)
            for space, points in parts.items()
        }
        if len(correct) == 2:
            first, second = correct.values()
            correct[DIFFERENCE] = first - second
        accuracy = _accuracies(np.stack(list(correct.values())), fake, chosen, n_bootstrap, seed)
        columns = {ACCURACY: accuracy.value, "low": accuracy.low, "high": accuracy.high}
        table = pd.DataFrame(columns, list(correct)).assign(groups=len(np.unique(chosen)))
        silhouettes = {space: silhouette_score(points, fake) for space, points in parts.items()}
        tables[name] = table.assign(silhouette=pd.Series(silhouettes, dtype=float))
    return pd.concat(tables, names=["manipulation", "features"])


def _accuracies(
    correct: np.ndarray, fake: np.ndarray, groups: np.ndarray, n_bootstrap: int, seed: int
) -> Estimate:
    def mean(weights: np.ndarray) -> np.ndarray:
        return correct @ weights / weights.sum()

    return bootstrap(mean, fake, groups, n_bootstrap, seed)


def over_seeds(
    spaces: Mapping[str, ArrayLike],
    manipulations: ArrayLike,
    groups: ArrayLike,
    names: Iterable[str],
    perplexity: float,
    seeds: Iterable[int],
) -> pd.DataFrame:
    """:func:`separation` and :func:`preservation` of t-SNE from one random start per seed.

    The other arguments are as in :func:`knn_by_manipulation`. Index (manipulation, features, seed);
    columns silhouette, kNN accuracy, trustworthiness, continuity. Raises ValueError if there is no
    seed.
    """
    seeds = list(seeds)
    if not seeds:
        raise ValueError("seeds is empty; at least one wanted")
    tables = {}
    for name in names:
        rows, fake, chosen = real_and(name, manipulations, groups)
        for space, features in spaces.items():
            points = np.asarray(features)[rows]
            pictures = {seed: tsne(points, perplexity, seed, "random") for seed in seeds}
            tables[name, space] = separation_table(pictures, fake, chosen, points)
    return pd.concat(tables, names=["manipulation", "features", "seed"])


def ranges(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest of :func:`over_seeds` as text, by manipulation and features."""
    rows = table.groupby(level=["manipulation", "features"], sort=False)
    styles = {column: "z.3f" if column == "silhouette" else "z.2f" for column in table}
    return rows.agg(
        lambda values: formatted(values.mean(), values.min(), values.max(), styles[values.name])
    )


def mean_over_seeds(values: ArrayLike) -> tuple[float, float, float]:
    """Mean of (S,) scores with its 95 % t interval over the seeds; NaN bounds for a single seed."""
    values = check_maps("values", values, ndim=1)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, np.nan, np.nan
    half = stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return mean, mean - half, mean + half
