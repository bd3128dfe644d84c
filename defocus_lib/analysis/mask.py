"""Binary mask: the pixels at which a manipulated map differs from the map of its real counterpart (Jeon & Woo 2025).

The reference counts active pixels. Where the manipulated region is known, the mask can also be scored as a detector of
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.stats.bootstrap import N_BOOTSTRAP, bootstrap_mean
from defocus_lib.stats.effects import listed

THRESHOLDS = (0.1, 0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001)
"""Thresholds of the published sweep."""


def absolute_difference(fake: ArrayLike, real: ArrayLike) -> np.ndarray:
    """``|fake - real|`` of two ``(N, H, W)`` stacks of maps, row by row.

    Raises
    ------
    ValueError
        If a stack is empty, of another shape, or holds NaN.
    """
    fake, real = check_maps("fake", fake), check_maps("real", real)
    check_same_shape(fake=fake, real=real)
    return np.abs(np.subtract(fake, real, dtype=np.float64))


def active_mask(fake: ArrayLike, real: ArrayLike, threshold: float = 0.1) -> np.ndarray:
    """Pixels with ``|fake - real| > threshold``.

    Parameters
    ----------
    fake, real : (N, H, W) array_like
        Normalised maps in [0, 1]; row ``i`` of ``real`` is the counterpart of row ``i`` of ``fake``.
    threshold : float
        At least 0, in units of the normalised map. The inequality is strict.

    Returns
    -------
    (N, H, W) bool array

    Raises
    ------
    ValueError
        If the stacks differ in shape, are empty or hold NaN, or the threshold is negative.
    """
    if not threshold >= 0:
        raise ValueError(f"threshold is {threshold}; at least 0 wanted")
    return absolute_difference(fake, real) > threshold


def active_counts(masks: ArrayLike) -> np.ndarray:
    """Active pixels of each ``(N, H, W)`` mask, as ``(N,)`` integers."""
    return np.count_nonzero(check_maps("masks", masks), axis=(1, 2))


def count_table(counts: Mapping[str, ArrayLike], pixels: int) -> pd.DataFrame:
    """Average, maximum, minimum and median of the active pixels, and the average as a share of the image.

    Parameters
    ----------
    counts : mapping of str to (N,) array_like
        Manipulation -> active pixels of each pair.
    pixels : int
        Pixels of one image.

    Returns
    -------
    DataFrame
        One row a manipulation; columns ``average``, ``max``, ``min``, ``median`` in pixels, ``share %`` in percent.
    """
    frame = pd.DataFrame(
        {name: pd.Series(check_maps(name, values, ndim=1)) for name, values in counts.items()}
    )
    table = frame.agg(["mean", "max", "min", "median"]).T.set_axis(
        ["average", "max", "min", "median"], axis=1
    )
    table["share %"] = 100 * table["average"] / pixels
    return table.rename_axis("manipulation")


def count_intervals(
    counts: Mapping[str, ArrayLike],
    groups: Mapping[str, ArrayLike],
    pixels: int,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> pd.DataFrame:
    """How sure the averages of :func:`count_table` are: 95 % intervals that resample the pairs.

    Pairs of one group (frames of a video) are drawn together.

    Parameters
    ----------
    counts : mapping of str to (N,) array_like
        Manipulation -> active pixels of each pair.
    groups : mapping of str to (N,) str array_like
        Manipulation -> groups of those pairs.
    pixels : int
        Pixels of one image.
    n_bootstrap, seed : int
        Of the bootstrap, see :func:`metrics.interval`.

    Returns
    -------
    DataFrame
        One row a manipulation: number of ``pairs`` and ``groups``; ``average``, ``low``, ``high`` in pixels; ``share
        %``, ``low %``, ``high %`` in percent of the image. Without an interval (a single group) the bounds are NaN.

    Raises
    ------
    ValueError
        If counts are missing or NaN, or a pair has no group.
    """
    rows = {}
    for name, values in counts.items():
        mean = bootstrap_mean(values, groups[name], n_bootstrap, seed)
        bounds = {"average": mean.value, "low": mean.low, "high": mean.high}
        rows[name] = {"pairs": len(values), "groups": len(np.unique(groups[name]))} | bounds
    table = pd.DataFrame.from_dict(rows, orient="index", dtype=np.float64).astype(
        {"pairs": int, "groups": int}
    )
    shares = (
        100
        * table[["average", "low", "high"]].set_axis(["share %", "low %", "high %"], axis=1)
        / pixels
    )
    return table.join(shares).rename_axis("manipulation")


def drawn(table: pd.DataFrame, unit: str) -> str:
    """Say what the intervals of a :func:`count_intervals` resample; ``unit`` is what the groups are called."""
    if (table["pairs"] == table["groups"]).all():
        return f"each of which is of a {unit} of its own"
    return f"all pairs of a {unit} together: its images resemble each other"


def interval_text(row: pd.Series) -> str:
    """The interval of one row of :func:`count_intervals`, in percent of the image, for prose."""
    if np.isnan(row["low %"]):
        return "without an interval"
    return f"95 % interval {row['low %']:.1f} to {row['high %']:.1f} %"


def pair_table(
    parts: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike]],
    threshold: float = 0.1,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> pd.DataFrame:
    """What the masks of many pairs say, a part of them at a time: no more than one part is held in memory.

    Parameters
    ----------
    parts : iterable of ((N, H, W), (N, H, W), (N, H, W) bool)
        Normalised maps of manipulated images and of their counterparts, and the manipulated regions.
    threshold : float
    thresholds : tuple of float

    Returns
    -------
    DataFrame
        One row a pair: the columns of :func:`localisation` at ``threshold``, and for each of ``thresholds`` a column of
        that name, the active pixels there.

    Raises
    ------
    ValueError
        As :func:`active_mask`; and if there is no part.
    """
    tables = []
    for fake, real, regions in parts:
        found = localisation(active_mask(fake, real, threshold), regions)
        difference = absolute_difference(fake, real)
        sweep = {each: np.count_nonzero(difference > each, axis=(1, 2)) for each in thresholds}
        tables.append(found.join(pd.DataFrame(sweep, index=found.index)))
    if not tables:
        raise ValueError("no pair of images; at least one wanted")
    return pd.concat(tables, ignore_index=True).rename_axis("pair")


def threshold_sweep(
    tables: Mapping[str, pd.DataFrame], thresholds: tuple[float, ...] = THRESHOLDS
) -> pd.DataFrame:
    """Mean active pixels at each threshold.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Manipulation -> :func:`pair_table`.

    Returns
    -------
    DataFrame
        One row a threshold, one column a manipulation; pixels.
    """
    index = pd.Index(thresholds, name="threshold")
    table = {name: pairs[list(thresholds)].mean() for name, pairs in tables.items()}
    return pd.DataFrame(table).set_axis(index).rename_axis(columns="manipulation")


def sweep_intervals(
    tables: Mapping[str, pd.DataFrame],
    groups: Mapping[str, ArrayLike],
    thresholds: tuple[float, ...] = THRESHOLDS,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lower and upper bounds of :func:`threshold_sweep`: 95 % intervals that resample the pairs, by their groups.

    Returns
    -------
    low, high : DataFrame
        One row a threshold, one column a manipulation; pixels. NaN for a single group.
    """
    means = {
        name: bootstrap_mean(pairs[list(thresholds)].to_numpy(), groups[name], n_bootstrap, seed)
        for name, pairs in tables.items()
    }
    index = pd.Index(thresholds, name="threshold")
    bounds = (
        {name: getattr(mean, bound) for name, mean in means.items()} for bound in ("low", "high")
    )
    low, high = (pd.DataFrame(each, index).rename_axis(columns="manipulation") for each in bounds)
    return low, high


def localisation(masks: ArrayLike, regions: ArrayLike) -> pd.DataFrame:
    """How well each mask finds the region that was really manipulated.

    Parameters
    ----------
    masks, regions : (N, H, W) bool array_like

    Returns
    -------
    DataFrame
        One row a pair: ``active`` and ``hits`` (active pixels, and those inside the region, in pixels), ``precision``
        (hits / active; NaN without an active pixel), ``recall`` (hits / region) and ``region`` (share of the image
        that the region covers, which is the precision of a mask drawn at random). A region without a pixel is one
        that nobody knows: all but ``active`` are then NaN.
    """
    masks, regions = (
        check_maps("masks", masks).astype(bool),
        check_maps("regions", regions).astype(bool),
    )
    check_same_shape(masks=masks, regions=regions)
    active, area = active_counts(masks), active_counts(regions)
    area = np.where(area > 0, area, np.nan)
    hits = np.where(area > 0, active_counts(masks & regions), np.nan)
    precision = np.divide(hits, active, out=np.full(len(hits), np.nan), where=active > 0)
    table = {"active": active, "hits": hits, "precision": precision, "recall": hits / area}
    return pd.DataFrame(table | {"region": area / regions[0].size}).rename_axis("pair")


def localisation_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Summary of :func:`localisation` per manipulation.

    Returns
    -------
    DataFrame
        One row a manipulation: number of ``pairs`` and of ``empty`` masks; ``inside`` (share of all active pixels,
        over all pairs, that lie inside the region); ``precision`` and ``recall`` (mean over the pairs in which they
        are defined); and ``by chance`` (mean share of the image that the region covers). Where no region is known,
        the last four are NaN.
    """

    def row(table: pd.DataFrame) -> dict:
        active = table.loc[table["hits"].notna(), "active"].sum()
        return {
            "pairs": len(table),
            "empty": int((table["active"] == 0).sum()),
            "inside": table["hits"].sum() / active if active else np.nan,
            "precision": table["precision"].mean(),
            "recall": table["recall"].mean(),
            "by chance": table["region"].mean(),
        }

    return pd.DataFrame.from_dict(
        {name: row(table) for name, table in tables.items()}, orient="index"
    ).rename_axis("manipulation")


def above_chance(
    tables: Mapping[str, pd.DataFrame],
    groups: Mapping[str, ArrayLike],
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> pd.DataFrame:
    """By how much the precision of a mask exceeds that of a mask drawn at random, with 95 % intervals by pair.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Manipulation -> :func:`localisation`.
    groups : mapping of str to (N,) str array_like
        Manipulation -> groups of those pairs.
    n_bootstrap, seed : int

    Returns
    -------
    DataFrame
        One row a manipulation: ``above chance`` (mean over the pairs that have a precision), ``low``, ``high``. All are
        NaN where no pair has one.
    """
    rows = {}
    for name, table in tables.items():
        excess = (table["precision"] - table["region"]).to_numpy()
        known = np.isfinite(excess)
        if not known.any():
            rows[name] = dict.fromkeys(("above chance", "low", "high"), np.nan)
            continue
        mean = bootstrap_mean(excess[known], np.asarray(groups[name])[known], n_bootstrap, seed)
        rows[name] = {"above chance": mean.value, "low": mean.low, "high": mean.high}
    return pd.DataFrame.from_dict(rows, orient="index", dtype=np.float64).rename_axis(
        "manipulation"
    )


def chance_sentence(table: pd.DataFrame) -> str:
    """Say for which manipulations the mask is better than chance by its interval; ``table`` is :func:`above_chance`."""
    sides = {"above": table["low"] > 0, "below": table["high"] < 0}
    sides["not told from"] = (
        table[["low", "high"]].notna().all(axis=1) & ~sides["above"] & ~sides["below"]
    )
    said = [
        f"{side} chance for {listed(table.index, found)}"
        for side, found in sides.items()
        if found.any()
    ]
    return (
        f"By its interval, the precision is {'; '.join(said)}."
        if said
        else "There is no interval of the precision."
    )
