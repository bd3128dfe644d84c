"""Pictures of a feature space in two dimensions, and scores for what they seem to show.

A t-SNE picture keeps neighbourhoods, not distances between clusters or their sizes, and it depends on perplexity and
seed (van der Maaten & Hinton 2008; Wattenberg et al. 2016, doi 10.23915/distill.00002). So each picture carries
numbers: how far real and manipulated images lie apart, there and in the space that it was made from, and how many
neighbours it kept. The null is the same backbone before training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse

from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.stats.bootstrap import bootstrap

PERPLEXITIES = (5, 10, 20, 40)
"""Perplexities of the reference."""

NEIGHBORS = 5
"""Nearest images that vote, and that a picture should keep."""

SPACES = {"trained": "features", "untrained": "features_untrained"}
"""Kinds of features, and the arrays of ``features.npz`` that hold them."""

ACCURACY = "kNN accuracy"
DIFFERENCE = "difference"


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
        The manipulation (or ``"real"``) and the group of each image, see :func:`defocus_lib.explain.attribution_set.groups_of`.

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
            raise ValueError(
                f"manipulations has no {wanted!r}; found {', '.join(found) or 'nothing'}"
            )
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
    """t-SNE with scikit-learn, on one thread: for some hundred images, more threads mostly wait for one another.

    Parameters
    ----------
    features : (N, D) array_like
    perplexity : float
        About the number of neighbours that count; below ``N``.
    seed : int
        From the principal components it changes the last digits of the start; at random, the whole start. What
        follows is free of chance, but amplifies small differences.
    start : {"pca", "random"}
        Where the points begin: at their first two principal components, or anywhere.

    Returns
    -------
    (N, 2) float32 array

    Raises
    ------
    ValueError
        If the perplexity is not positive or not below ``N``, or the features are too few, equal, or hold NaN.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    features = _check_features(features)
    if not 0 < perplexity < len(features):
        raise ValueError(
            f"perplexity is {perplexity:g}; above 0 and below the number of images, {len(features)}, wanted"
        )
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(features)


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
    return UMAP(n_neighbors=neighbors, random_state=seed, n_jobs=1, init="pca").fit_transform(
        features
    )


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
    return sparse.vstack(
        [sparse.csr_array(part.reshape(len(part), -1), dtype=np.float32) for part in maps], "csr"
    )


def edge_components(
    edges: ArrayLike | sparse.csr_array, components: int = 100, seed: int = 42
) -> np.ndarray:
    """Principal components of the flattened edge maps.

    Parameters
    ----------
    edges : (N, H, W) bool array_like, or what :func:`flat_edges` makes of it in parts
    components : int
        At least 2; ``N - 1``, which hold all the variance, are never exceeded, nor ``D - 1``.

    Returns
    -------
    (N, components) float32 array

    Raises
    ------
    ValueError
        If ``components`` is below 2, or all edge maps are equal.
    """
    from sklearn.decomposition import PCA

    if components < 2:
        raise ValueError(f"components is {components}; at least 2 wanted")
    flat = edges if sparse.issparse(edges) else flat_edges([edges])
    if np.isin(flat.sum(0), [0, flat.shape[0]]).all():
        raise ValueError(
            f"edges of the {flat.shape[0]} images are all equal: there is nothing to embed"
        )
    # This solver needs the matrix only as a factor: it stays sparse.
    return PCA(
        min(components, min(flat.shape) - 1), svd_solver="arpack", random_state=seed
    ).fit_transform(flat)


def right_votes(
    points: ArrayLike, fake: ArrayLike, groups: ArrayLike, neighbors: int = NEIGHBORS
) -> np.ndarray:
    """Whether the nearest images of other groups vote for what an image is: five-fold, whole groups left out.

    Parameters
    ----------
    points : (N, D) array_like
        An embedding, or the features themselves.
    fake : (N,) bool array_like
    groups : (N,) str array_like
        Images of one group, such as the frames of a video and of its fakes, never vote on each other.
    neighbors : int
        Neighbours that vote; all there are, if there are fewer.

    Returns
    -------
    (N,) bool array

    Raises
    ------
    ValueError
        If the lengths differ, one kind is missing, or there are fewer than 2 groups.
    """
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    points, fake, groups = (
        check_maps("points", points, ndim=2),
        np.asarray(fake, dtype=bool),
        np.asarray(groups),
    )
    if not len(points) == len(fake) == len(groups):
        raise ValueError(
            f"points, fake and groups have lengths {len(points)}, {len(fake)} and {len(groups)}; one wanted"
        )
    if fake.all() or not fake.any():
        raise ValueError(
            f"fake is {'True' if fake.all() else 'False'} for every image; both kinds wanted"
        )
    units = len(np.unique(groups))
    if units < 2:
        raise ValueError(f"groups has {units} group; at least 2 wanted")
    folds = GroupKFold(min(5, units))
    smallest = min(len(train) for train, _ in folds.split(points, fake, groups))
    model = KNeighborsClassifier(min(neighbors, smallest))
    return cross_val_predict(model, points, fake, groups=groups, cv=folds) == fake


def separation(
    points: ArrayLike, fake: ArrayLike, groups: ArrayLike, neighbors: int = NEIGHBORS
) -> dict[str, float]:
    """How far real and manipulated images lie apart.

    Parameters
    ----------
    points, fake, groups, neighbors
        As :func:`right_votes`.

    Returns
    -------
    dict
        ``silhouette`` in [-1, 1] (Rousseeuw 1987): 0 where real and manipulated lie in one cloud, 1 for two tight
        clusters. ``kNN accuracy`` in [0, 1]: the share of :func:`right_votes`; 0.5 is chance when there are as many
        real as manipulated images.

    Raises
    ------
    ValueError
        As :func:`right_votes`.
    """
    from sklearn.metrics import silhouette_score

    votes = right_votes(points, fake, groups, neighbors)
    return {"silhouette": float(silhouette_score(points, fake)), ACCURACY: float(votes.mean())}


def preservation(
    space: ArrayLike, picture: ArrayLike, neighbors: int = NEIGHBORS
) -> dict[str, float]:
    """Which neighbours a picture kept (Venna & Kaski 2001, doi 10.1007/3-540-44668-0_68).

    Parameters
    ----------
    space : (N, D) array_like
        What the picture was made from.
    picture : (N, 2) array_like
    neighbors : int
        Nearest images that are looked at; fewer if they are not less than half of all.

    Returns
    -------
    dict
        ``trustworthiness`` in [0, 1]: 1 where all neighbours in the picture are neighbours in the space; each false one
        costs as much as it is far away there. ``continuity``: the same with the two exchanged, 1 where all neighbours
        in the space are still neighbours in the picture.

    Raises
    ------
    ValueError
        If the numbers of images differ, or there are fewer than 3.
    """
    from sklearn.manifold import trustworthiness

    space, picture = check_maps("space", space, ndim=2), check_maps("picture", picture, ndim=2)
    if len(space) != len(picture) or len(space) < 3:
        raise ValueError(
            f"space and picture have lengths {len(space)} and {len(picture)}; one, of 3 or more, wanted"
        )
    near = min(neighbors, (len(space) - 1) // 2)
    pairs = {"trustworthiness": (space, picture), "continuity": (picture, space)}
    return {name: float(trustworthiness(*pair, n_neighbors=near)) for name, pair in pairs.items()}


def separation_table(
    spaces: Mapping[str, ArrayLike],
    fake: ArrayLike,
    groups: ArrayLike,
    origin: ArrayLike | None = None,
) -> pd.DataFrame:
    """:func:`separation` of several pictures of the same images: one row a picture.

    With an ``origin``, the (N, D) space that they were made from, :func:`preservation` of each stands beside.
    """
    rows = {
        name: separation(points, fake, groups)
        | ({} if origin is None else preservation(origin, points))
        for name, points in spaces.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("space")


def votes_by_manipulation(
    spaces: Mapping[str, ArrayLike],
    manipulations: ArrayLike,
    groups: ArrayLike,
    names: Iterable[str],
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """:func:`separation` of the features, real images against each manipulation in turn, with intervals over groups.

    Parameters
    ----------
    spaces : mapping of str to (N, D) array_like
        Features of the same images, such as ``trained`` and ``untrained``. They share the resamples.
    manipulations, groups : (N,) str array_like
        As :func:`real_and`.
    names : iterable of str
        Manipulations, in the order of the rows.
    n_bootstrap, seed : int
        As :func:`defocus_lib.stats.bootstrap.bootstrap`. Resampled is who is asked; the neighbours that vote stay.

    Returns
    -------
    DataFrame
        Index (manipulation, features), the features those of ``spaces``, and of two spaces also ``difference``, the
        first minus the second. Columns ``kNN accuracy``, ``low``, ``high`` (95 % interval), ``silhouette``.
    """
    tables = {}
    for name in names:
        rows, fake, chosen = real_and(name, manipulations, groups)
        parts = {space: np.asarray(features)[rows] for space, features in spaces.items()}
        votes = {
            space: right_votes(points, fake, chosen).astype(float)
            for space, points in parts.items()
        }
        if len(votes) == 2:
            first, second = votes.values()
            votes[DIFFERENCE] = first - second
        right = np.stack(list(votes.values()))
        found = bootstrap(
            lambda w, right=right: right @ w / w.sum(), fake, chosen, n_bootstrap, seed
        )
        table = pd.DataFrame(
            {ACCURACY: right.mean(1), "low": found.low, "high": found.high}, index=list(votes)
        )
        tables[name] = table.assign(silhouette=separation_table(parts, fake, chosen)["silhouette"])
    return pd.concat(tables, names=["manipulation", "features"])


def over_seeds(
    spaces: Mapping[str, ArrayLike],
    manipulations: ArrayLike,
    groups: ArrayLike,
    names: Iterable[str],
    perplexity: float,
    seeds: Iterable[int],
) -> pd.DataFrame:
    """:func:`separation` and :func:`preservation` of t-SNE pictures that start at random, once for each seed.

    Parameters
    ----------
    spaces, manipulations, groups, names
        As :func:`votes_by_manipulation`.
    perplexity : float
    seeds : iterable of int

    Returns
    -------
    DataFrame
        Index (manipulation, features, seed); columns silhouette, kNN accuracy, trustworthiness, continuity.

    Raises
    ------
    ValueError
        As :func:`tsne` and :func:`right_votes`; and if there is no seed.
    """
    seeds = list(seeds)
    if not seeds:
        raise ValueError("seeds is empty; at least one wanted")
    tables = {}
    for name in names:
        rows, fake, chosen = real_and(name, manipulations, groups)
        for space, features in spaces.items():
            points = np.asarray(features)[rows]
            drawn = {seed: tsne(points, perplexity, seed, "random") for seed in seeds}
            tables[name, space] = separation_table(drawn, fake, chosen, points)
    return pd.concat(tables, names=["manipulation", "features", "seed"])


def ranges(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest over the seeds as text, for a page: ``0.71 [0.68, 0.74]``.

    Parameters
    ----------
    table : DataFrame
        As :func:`over_seeds` returns it.

    Returns
    -------
    DataFrame of str
        One row a manipulation and kind of features, the same columns.
    """
    rows = table.groupby(level=["manipulation", "features"], sort=False)
    styles = {column: "z.3f" if column == "silhouette" else "z.2f" for column in table}
    return rows.agg(
        lambda values: words(values.mean(), values.min(), values.max(), styles[values.name])
    )


def words(value: float, low: float, high: float, style: str = "z.2f") -> str:
    """A value and what it lies between, for a page; the value alone where that is not known."""
    value, low, high = (f"{one:{style}}" for one in (value, low, high))
    # Spaces that do not break: they stay on one line.
    return value if low == "nan" else f"{value} [{low}, {high}]".replace(" ", "\N{NO-BREAK SPACE}")


def said_of(votes: pd.DataFrame, manipulation: str, kind: str) -> str:
    """The kNN accuracy of a row of :func:`votes_by_manipulation` with its interval; "not known" if there is no row."""
    row = (manipulation, kind)
    return words(*votes.loc[row, [ACCURACY, "low", "high"]]) if row in votes.index else "not known"


NO_NULL = (
    "There is no null in this run: `features.npz` holds no features of an untrained backbone (`features_untrained`), "
    "which notebook 03 writes."
)


def training_verdict(votes: pd.DataFrame, learned: str = "") -> str:
    """Say on which manipulations training separates more than the architecture alone.

    Parameters
    ----------
    votes : DataFrame
        As :func:`votes_by_manipulation` returns it for ``trained`` and ``untrained`` features.
    learned : str
        What the detector was trained on, names separated by commas; "" if that is not known.
    """
    if DIFFERENCE not in votes.index.get_level_values("features"):
        return NO_NULL
    gains = votes.xs(DIFFERENCE, level="features")[[ACCURACY, "low", "high"]]
    known = gains.index.isin([name.strip() for name in learned.split(",")])
    parts = [
        ("Of what the detector learned", gains[known]),
        ("Of what it never saw", gains[~known]),
    ]
    if not known.any():
        parts = [("What the detector learned is not recorded here. Of the manipulations", gains)]
    return " ".join(
        f"{opening}: {'; '.join(map(_gain, part.itertuples()))}."
        for opening, part in parts
        if len(part)
    )


def _gain(row: tuple) -> str:
    name, value, low, high = row
    if np.isnan(low):
        said = "a single group gives no interval"
    elif low > 0:
        said = "training separates more than the architecture alone"
    elif high < 0:
        said = "training separates less than the architecture alone"
    else:
        said = "no difference that the interval would show"
    return f"{name} {words(value, low, high, '+z.2f')}, {said}"


def pictures_verdict(seeds: pd.DataFrame) -> str:
    """Say whether the pictures of trained features separate more than those of untrained ones, whatever the seed.

    Parameters
    ----------
    seeds : DataFrame
        As :func:`over_seeds` returns it for one manipulation, at least for the ``trained`` features.
    """
    kinds = {kind: part[ACCURACY] for kind, part in seeds.groupby(level="features")}
    if "untrained" not in kinds:
        return "Pictures of an untrained backbone, to compare them with, could not be drawn."
    if kinds["trained"].min() > kinds["untrained"].max():
        return "Every picture of the trained features scores above every picture of the untrained ones."
    if kinds["trained"].max() < kinds["untrained"].min():
        return "Every picture of the trained features scores below every picture of the untrained ones."
    return "The scores of the two overlap: a single picture of each could tell either story."


def drawing_verdict(seeds: pd.DataFrame) -> str:
    """Say by which error the pictures lose more: false neighbours, or lost ones.

    Parameters
    ----------
    seeds : DataFrame
        One row a seed, with trustworthiness and continuity.
    """
    excess = seeds["trustworthiness"] - seeds["continuity"]
    if (excess > 0).all():
        return "they lose more by tearing neighbours apart than by putting strangers together"
    if (excess < 0).all():
        return "they lose more by putting strangers together than by tearing neighbours apart"
    return "they lose about as much by tearing neighbours apart as by putting strangers together"
