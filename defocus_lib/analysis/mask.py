"""Binary mask: the pixels at which a manipulated map differs from that of its real counterpart.

Jeon & Woo (2025) count the active pixels. Where the manipulated region is known, the mask can also
be scored as a detector of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.stats.bootstrap import N_BOOTSTRAP, bootstrap_mean

THRESHOLDS = (0.1, 0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001)
"""Thresholds of the sweep of Jeon & Woo (2025)."""


def absolute_difference(fake: ArrayLike, real: ArrayLike) -> np.ndarray:
    """``|fake - real|`` of two stacks of maps, (N, H, W) float64.

    Raises ValueError if a stack is empty, of another shape, or holds NaN.
    """
    fake, real = check_maps("fake", fake), check_maps("real", real)
    check_same_shape(fake=fake, real=real)
    return np.abs(np.subtract(fake, real, dtype=np.float64))


def active_mask(fake: ArrayLike, real: ArrayLike, threshold: float = 0.1) -> np.ndarray:
    """Pixels with ``|fake - real| > threshold``, (N, H, W) bool.

    Row ``i`` of ``real`` is the counterpart of row ``i`` of ``fake``; both are normalised maps in
    [0, 1], and the threshold is in their unit. Raises ValueError as :func:`absolute_difference`,
    and if the threshold is negative.
    """
    if not threshold >= 0:
        raise ValueError(f"threshold is {threshold}; at least 0 wanted")
    return absolute_difference(fake, real) > threshold


def active_counts(masks: ArrayLike) -> np.ndarray:
    """Active pixels of each mask (N, H, W), as (N,) integers."""
    return np.count_nonzero(check_maps("masks", masks), axis=(1, 2))


def count_table(counts: Mapping[str, ArrayLike], pixels: int) -> pd.DataFrame:
    """Statistics of the active pixels (N,) of each manipulation; ``pixels`` are those of an image.

    One row per manipulation: ``average``, ``max``, ``min``, ``median`` in pixels, and ``share %``,
    the average in percent of the image.
    """
    columns = {name: pd.Series(check_maps(name, each, ndim=1)) for name, each in counts.items()}
    table = pd.DataFrame(columns).agg(["mean", "max", "min", "median"]).T
    table = table.rename(columns={"mean": "average"}).rename_axis("manipulation")
    return table.assign(**{"share %": 100 * table["average"] / pixels})


def count_intervals(
    counts: Mapping[str, ArrayLike],
    groups: Mapping[str, ArrayLike],
    pixels: int,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> pd.DataFrame:
    """95 % intervals of the averages of :func:`count_table`, by group.

    ``counts`` and ``groups`` map the manipulation to (N,) active pixels and groups of its pairs.
    One row per manipulation: number of ``pairs`` and ``groups``; ``average``, ``low``, ``high`` in
    pixels; ``share %``, ``low %``, ``high %`` in percent of the image. The bounds are NaN for a
    single group. Raises ValueError if counts are missing or NaN, or a pair has no group.
    """
    rows = {}
    for name, values in counts.items():
        mean = bootstrap_mean(values, groups[name], n_bootstrap, seed)
        sizes = (np.size(values), len(np.unique(groups[name])))
        rows[name] = (*sizes, *mean.scalars, *(100 * bound / pixels for bound in mean.scalars))
    columns = ["pairs", "groups", "average", "low", "high", "share %", "low %", "high %"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.rename_axis("manipulation")


def pair_table(
    parts: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike]],
    threshold: float = 0.1,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> pd.DataFrame:
    """:func:`localisation` and counts of many pairs, of which no more than one part is in memory.

    A part holds the normalised maps of manipulated images and of their counterparts, both
    (N, H, W), and the manipulated regions, (N, H, W) bool. One row per pair: the columns of
    :func:`localisation` at ``threshold``, and for each of ``thresholds`` a column of that name, the
    active pixels there. Raises ValueError as :func:`active_mask`, and if there is no part.
    """
    tables = []
    for fake, real, regions in parts:
        table = localisation(active_mask(fake, real, threshold), regions)
        difference = absolute_difference(fake, real)
        sweep = {each: np.count_nonzero(difference > each, axis=(1, 2)) for each in thresholds}
        tables.append(table.join(pd.DataFrame(sweep, index=table.index)))
    if not tables:
        raise ValueError("no pair of images; at least one wanted")
    return pd.concat(tables, ignore_index=True).rename_axis("pair")


def threshold_sweep(
    tables: Mapping[str, pd.DataFrame],
    groups: Mapping[str, ArrayLike],
    thresholds: tuple[float, ...] = THRESHOLDS,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Mean active pixels at each threshold, and the bounds of their 95 % intervals by group.

    ``tables`` maps the manipulation to its :func:`pair_table`. Each of the three tables (value,
    low, high) has one row per threshold and one column per manipulation; low and high are NaN for a
    single group.
    """
    means = {
        name: bootstrap_mean(pairs[list(thresholds)].to_numpy(), groups[name], n_bootstrap, seed)
        for name, pairs in tables.items()
    }
    index = pd.Index(thresholds, name="threshold")
    value, low, high = (
        pd.DataFrame({name: getattr(mean, part) for name, mean in means.items()}, index)
        for part in ("value", "low", "high")
    )
    return value, low, high


def localisation(masks: ArrayLike, regions: ArrayLike) -> pd.DataFrame:
    """How well each mask finds the region that was manipulated; both are (N, H, W) bool.

    One row per pair: ``active`` and ``hits`` (active pixels, and those inside the region),
    ``precision`` (hits / active; NaN without an active pixel), ``recall`` (hits / region) and
    ``region`` (share of the image that the region covers, which is the precision of a random mask).
    A region without a pixel is an unknown one: all but ``active`` are then NaN.
    """
    masks = check_maps("masks", masks).astype(bool)
    regions = check_maps("regions", regions).astype(bool)
    check_same_shape(masks=masks, regions=regions)
    active, area = active_counts(masks), active_counts(regions)
    area = np.where(area > 0, area, np.nan)
    hits = np.where(area > 0, active_counts(masks & regions), np.nan)
    precision = np.divide(hits, active, out=np.full(len(hits), np.nan), where=active > 0)
    table = {"active": active, "hits": hits, "precision": precision, "recall": hits / area}
    return pd.DataFrame(table | {"region": area / regions[0].size}).rename_axis("pair")


def localisation_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Summary of the :func:`localisation` of each manipulation.

    One row per manipulation: number of ``pairs`` and of ``empty`` masks; ``inside`` (share of the
    active pixels of all pairs that lie inside the region); ``precision`` and ``recall`` (mean over
    the pairs in which they are defined); and ``by chance`` (mean share of the image that the region
    covers). Where no region is known, the last four are NaN.
    """
    rows = {}
    for name, table in tables.items():
        active = table.loc[table["hits"].notna(), "active"].sum()
        rows[name] = {
            "pairs": len(table),
            "empty": int((table["active"] == 0).sum()),
            "inside": table["hits"].sum() / active if active else np.nan,
            "precision": table["precision"].mean(),
            "recall": table["recall"].mean(),
            "by chance": table["region"].mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("manipulation")


def above_chance(
    tables: Mapping[str, pd.DataFrame],
    groups: Mapping[str, ArrayLike],
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> pd.DataFrame:
    """Precision of the masks less that of random ones, with 95 % intervals by group.

    ``tables`` maps the manipulation to its :func:`localisation`, ``groups`` to (N,) groups of its
    pairs. One row per manipulation: ``above chance`` (mean over the pairs that have a precision),
    ``low``, ``high`` (all NaN where no pair has one), and the ``groups`` of those pairs.
    """
    rows = {}
    for name, table in tables.items():
        excess = (table["precision"] - table["region"]).to_numpy()
        known = np.isfinite(excess)
        known_groups = np.asarray(groups[name])[known]
        scalars = (
            bootstrap_mean(excess[known], known_groups, n_bootstrap, seed).scalars
            if known.any()
            else 3 * (np.nan,)
        )
        rows[name] = (*scalars, len(np.unique(known_groups)))
    columns = ["above chance", "low", "high", "groups"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.rename_axis("manipulation")
