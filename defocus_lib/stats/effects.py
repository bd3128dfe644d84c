"""How large a difference between real and manipulated images is, how sure that is, and how many images it rests on.

A p-value answers whether there is a difference; with enough images it is small for any. An effect size answers how
large it is, and comes with an interval. Images of one group (the target video, the scene, the picture) resemble each
other, so the intervals resample groups, and the intraclass correlation says what a further image of a group is worth.

Sources: Cliff (1993), doi 10.1037/0033-2909.114.3.494, for delta; Shrout & Fleiss (1979), doi
10.1037/0033-2909.86.2.420, for the intraclass correlation; Kish (1965), *Survey Sampling*, for the design effect; Holm
(1979), Scandinavian Journal of Statistics 6, for the correction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.multitest import multipletests

from defocus_lib.checks import check_maps
from defocus_lib.stats.bootstrap import N_BOOTSTRAP, bootstrap, check_groups, formatted

EFFECTS = ("KS D", "Cliff's delta", "Wasserstein")
"""What :func:`effect_sizes` returns, in this order."""

Sides = tuple[ArrayLike, ArrayLike]
"""Of the real and of the manipulated images: their values, or the names of their groups."""


def effect_sizes(real: ArrayLike, fake: ArrayLike) -> dict[str, float]:
    """How far two samples lie apart, by three measures.

    Parameters
    ----------
    real, fake : (N,) and (M,) array_like

    Returns
    -------
    dict
        ``KS D``: largest distance between the two distribution functions, in [0, 1]. ``Cliff's delta``: the
        probability that a manipulated image has the larger value, less the probability that a real one has, in
        [-1, 1]; the only one of the three with a sign. ``Wasserstein``: the area between the distribution functions,
        in the unit of the values.

    Raises
    ------
    ValueError
        If a sample is empty or holds NaN.
    """
    real, fake = check_maps("real", real, ndim=1), check_maps("fake", fake, ndim=1)
    larger = stats.mannwhitneyu(fake, real, method="asymptotic").statistic / (len(real) * len(fake))
    return {
        "KS D": float(stats.ks_2samp(real, fake, method="asymp").statistic),
        "Cliff's delta": float(2 * larger - 1),
        "Wasserstein": float(stats.wasserstein_distance(real, fake)),
    }


def weighted_effects(real: np.ndarray, fake: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """:func:`effect_sizes` of images that count several times, for many resamples of the same images.

    SciPy has weights for one of the three only. All follow from the two distribution functions, so the values are
    sorted once.

    Parameters
    ----------
    real, fake : (N,) and (M,)

    Returns
    -------
    callable
        Weights ``(N + M,)`` float, first of the real images, to the three :data:`EFFECTS`, ``(3,)`` float64.
    """
    at, place = np.unique(np.concatenate([real, fake]), return_inverse=True)
    steps, first = np.diff(at), len(real)

    def effects(weights: np.ndarray) -> np.ndarray:
        mass_real = np.bincount(place[:first], weights[:first], len(at)) / weights[:first].sum()
        mass_fake = np.bincount(place[first:], weights[first:], len(at)) / weights[first:].sum()
        gap = np.cumsum(mass_real - mass_fake)
        # A value ties with half of its own mass: F(x) + F(x-) is twice the mid-distribution function.
        delta = mass_fake @ (2 * np.cumsum(mass_real) - mass_real) - 1
        return np.array([np.abs(gap).max(), delta, np.abs(gap[:-1]) @ steps])

    return effects


def effect_table(
    pairs: Mapping[str, Sides],
    groups: Mapping[str, Sides],
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> pd.DataFrame:
    """:func:`effect_sizes` of each manipulation, with 95 % intervals that resample groups.

    A group that holds real and manipulated images is drawn with both. That of Cliff's delta is a percentile interval.
    D and the Wasserstein distance are distances: noise adds to them, in a resample once more than in the data.
    Percentiles would lie too high and never reach 0, so theirs are reversed around the value (*basic* intervals) and
    cut at 0. They stay rough. On simulated data of 30 to 150 groups the interval of delta covered the truth in about
    93 % of the cases, those of the distances in 70 to 95 %, fewest where each group has one image of a kind.

    Parameters
    ----------
    pairs : mapping of str to ((N,), (M,))
        Manipulation -> values of the real images and of its own.
    groups : mapping of str to ((N,), (M,)) str
        Manipulation -> groups of those images.
    n_bootstrap, seed : int
        Of the bootstrap, see :func:`defocus_lib.stats.bootstrap.bootstrap`.

    Returns
    -------
    DataFrame
        One row a manipulation and effect: ``manipulation``, ``effect``, ``value``, ``low``, ``high`` (NaN for a single
        group), ``groups``.

    Raises
    ------
    ValueError
        As :func:`effect_sizes`; and if an image has no group.
    """
    parts = []
    for name, (real, fake) in pairs.items():
        values = effect_sizes(real, fake)
        names = [
            check_groups(*each)
            for each in zip(("real", "fake"), (real, fake), groups[name], strict=True)
        ]
        labels, joined = np.repeat([0, 1], [len(real), len(fake)]), np.concatenate(names)
        statistic = weighted_effects(np.asarray(real), np.asarray(fake))
        found = bootstrap(statistic, labels, joined, n_bootstrap, seed)
        columns = {
            "manipulation": name,
            "effect": EFFECTS,
            "value": list(values.values()),
            "low": found.low,
            "high": found.high,
        }
        parts.append(_reversed(pd.DataFrame(columns | {"groups": len(np.unique(joined))})))
    return pd.concat(parts, ignore_index=True)


def _reversed(table: pd.DataFrame) -> pd.DataFrame:
    """The percentile intervals of the distances turned into basic ones, which hold the value and are not below 0."""
    low, high = 2 * table["value"] - table["high"], 2 * table["value"] - table["low"]
    has_sign = table["effect"] == "Cliff's delta"
    turned = {
        "low": low.clip(lower=0),
        "high": np.maximum(high, table["value"].where(high.notna())),
    }
    return table.assign(
        **{name: table[name].where(has_sign, bound) for name, bound in turned.items()}
    )


def effect_text(table: pd.DataFrame) -> pd.DataFrame:
    """An :func:`effect_table` for a page: one row a manipulation, ``0.12 [-0.03, 0.27]`` in each cell."""

    styles = table["effect"].map({"Wasserstein": ".2g"}).fillna(".2f")  # the others are shares
    rows = zip(table["value"], table["low"], table["high"], styles, strict=True)
    text = table.assign(cell=[formatted(*row) for row in rows])
    wide = text.pivot(index="manipulation", columns="effect", values="cell")
    return wide.loc[table["manipulation"].unique(), list(EFFECTS)].rename_axis(columns=None)


def listed(names: pd.Index | pd.Series, chosen: ArrayLike) -> str:
    """The names at which ``chosen`` is true, or that all are: ``all 4 manipulations``."""
    chosen = np.asarray(chosen)
    return (
        f"all {len(names)} manipulations"
        if chosen.all() and len(names) > 1
        else ", ".join(names[chosen])
    )


def delta_sentence(table: pd.DataFrame) -> str:
    """Say on which side of 0 the interval of Cliff's delta lies; ``table`` is an :func:`effect_table`."""
    rows = table[table["effect"] == "Cliff's delta"]
    sides = {
        "above 0 (manipulated images vary more)": rows["low"] > 0,
        "below 0 (manipulated images vary less)": rows["high"] < 0,
        "on both sides of 0": (rows["low"] <= 0) & (rows["high"] >= 0),
    }
    said = [
        f"{side} for {listed(rows['manipulation'], found)}"
        for side, found in sides.items()
        if found.any()
    ]
    if not said:
        return "A single group gives Cliff's delta no interval."
    return f"The interval of Cliff's delta lies {'; '.join(said)}."


def intraclass_correlation(values: ArrayLike, groups: ArrayLike) -> float:
    """ICC(1): the share of the variance that lies between groups, from a one-way analysis of variance.

    It is the expected correlation of two images of one group. The estimate can be negative.

    Parameters
    ----------
    values : (N,) array_like
    groups : (N,) array_like
        Groups may differ in size.

    Returns
    -------
    float
        At most 1; NaN where no group has two images, where there is one group only, or nothing varies.

    Raises
    ------
    ValueError
        If ``values`` is empty or holds NaN, or the lengths differ.
    """
    values = check_maps("values", values, ndim=1).astype(np.float64)
    names, rows = np.unique(check_groups("values", values, groups), return_inverse=True)
    count, images = len(names), len(values)
    if count < 2 or count == images:
        return np.nan
    sizes = np.bincount(rows)
    means = np.bincount(rows, values) / sizes
    between = (sizes * (means - values.mean()) ** 2).sum() / (count - 1)
    within = ((values - means[rows]) ** 2).sum() / (images - count)
    typical = (images - (sizes**2).sum() / images) / (count - 1)  # the size, if all groups have one
    total = between + (typical - 1) * within
    return float((between - within) / total) if total > 0 else np.nan


def cluster_table(samples: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> pd.DataFrame:
    """What images of a group are worth, for each kind of image.

    Parameters
    ----------
    samples : mapping of str to ((N,), (N,) str)
        Kind, such as "real" or a manipulation -> values and groups of its images.

    Returns
    -------
    DataFrame
        One row a kind: ``images``, ``groups``, ``images a group`` (mean), ``ICC`` of images of one group
        (:func:`intraclass_correlation`; NaN where each group has one image), ``design effect`` ``1 + (m - 1) ICC`` and
        ``effective images``, their number divided by it: so many independent images have a mean as sure as this one.
        ``m`` is the size of the group of an average image; a negative ICC counts as 0.
    """
    rows = {}
    for name, (values, groups) in samples.items():
        sizes = np.unique(check_groups(name, values, groups), return_counts=True)[1]
        found = intraclass_correlation(values, groups)
        effect = 1 + ((sizes**2).sum() / sizes.sum() - 1) * max(np.nan_to_num(found), 0)
        rows[name] = {
            "images": sizes.sum(),
            "groups": len(sizes),
            "images a group": sizes.mean(),
            "ICC": found,
        }
        rows[name] |= {"design effect": effect, "effective images": sizes.sum() / effect}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("kind")
    return table.astype({"images": int, "groups": int})


def cluster_sentence(table: pd.DataFrame, unit: str) -> str:
    """Say what a :func:`cluster_table` implies; ``unit`` is what the groups are called."""
    if (table["images"] == table["groups"]).all():
        return (
            f"There is one image of a kind for each {unit}, so no two images of a sample resemble each other for that"
            " reason: the correlation is not defined, and every image counts in full."
        )
    known = table["ICC"].dropna()
    if known.empty:
        return f"The values of images of one {unit} do not say how much they resemble each other."
    row = table.loc[(table["images"] / table["effective images"]).idxmax()]
    return (
        f"Images of one {unit} have a correlation between {known.min():.2f} and {known.max():.2f}. At worst"
        f" {int(row['images']):,} images are worth {row['effective images']:,.0f} independent ones."
    )


def holm(pvalues: ArrayLike) -> np.ndarray:
    """p-values corrected for their number by Holm's method; those that are NaN stay NaN and do not count.

    Below a level ``a`` after the correction: the chance that one of them is there by chance alone is at most ``a``.

    Parameters
    ----------
    pvalues : (K,) array_like

    Returns
    -------
    (K,) float64 array
    """
    corrected = np.array(pvalues, dtype=np.float64)
    known = ~np.isnan(corrected)
    if known.any():
        corrected[known] = multipletests(corrected[known], method="holm")[1]
    return corrected
