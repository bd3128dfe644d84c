"""Shapley alignment score: does a detector look where the map was changed? (Jeon & Woo 2025)

The pixels of a manipulated map are sorted into bins by the map's own value. One histogram weighs them by how much they
differ from the real map, another by the size of their Shapley value. The score is the overlap of the two histograms.

What the score does not show. Bins forget places: a detector that looks at the right *values* in the wrong *place*
scores as well. Most pixels share a few values, so the bins that hold the background can dominate both histograms and
lift the score of any attribution. And the published score has no null. So the score of a *uniform* attribution, which
gives each pixel the same weight and knows nothing of the detector, stands beside it here: only what exceeds it can
speak for the detector.

Stricter nulls are in :mod:`defocus_lib.analysis.alignment_baselines`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import rel_entr

from defocus_lib.checks import check_maps, check_same_shape, check_unit_range

BINS = 20
EPS = 1e-8


@dataclass(frozen=True)
class Histograms:
    """Weight in each bin of the map's value, for ``N`` pairs.

    Attributes
    ----------
    edges : (bins + 1,) float64
        Borders of the bins in [0, 1].
    weights : (N, bins) float64
        Each row sums to 1, or to 0 if the pair has no weight at all.
    """

    edges: np.ndarray
    weights: np.ndarray


def histograms(values: ArrayLike, weights: ArrayLike, bins: int = BINS) -> Histograms:
    """Histograms of the map's value, weighted by ``|weights|`` and L1-normalised.

    Parameters
    ----------
    values : (N, H, W) array_like
        Normalised maps in [0, 1]. A bin holds its lower border, the last bin also its upper one.
    weights : (N, H, W) array_like
        A difference of maps or an attribution; its sign does not count.
    bins : int

    Raises
    ------
    ValueError
        If the shapes differ, a stack is empty or holds NaN, a value lies outside [0, 1], or ``bins`` is below 1.
    """
    values, weights = check_maps("values", values), check_maps("weights", weights)
    check_same_shape(values=values, weights=weights)
    check_unit_range("values", values)
    if bins < 1:
        raise ValueError(f"bins is {bins}; at least 1 wanted")
    edges = np.linspace(0, 1, bins + 1)
    pairs = zip(values.astype(np.float64), np.abs(weights.astype(np.float64)), strict=True)
    sums = np.stack(
        [np.histogram(value, bins=bins, range=(0, 1), weights=weight)[0] for value, weight in pairs]
    )
    return Histograms(edges, sums / (sums.sum(axis=1, keepdims=True) + EPS))


def overlap(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Sum of the bin-wise minima of two ``(N, bins)`` histograms: ``(N,)`` in [0, 1], 1 if they are equal."""
    first, second = check_maps("first", first, ndim=2), check_maps("second", second, ndim=2)
    check_same_shape(first=first, second=second)
    return np.minimum(first, second).sum(axis=1)


def divergence(attribution: ArrayLike, difference: ArrayLike) -> np.ndarray:
    """``KL(attribution || difference)`` in nats of two ``(N, bins)`` histograms, 1e-8 added to each bin: ``(N,)``."""
    attribution = check_maps("attribution", attribution, ndim=2)
    difference = check_maps("difference", difference, ndim=2)
    check_same_shape(attribution=attribution, difference=difference)
    return rel_entr(attribution + EPS, difference + EPS).sum(axis=1)


def pair_histograms(
    fake: ArrayLike, real: ArrayLike, attributions: Mapping[str, ArrayLike], bins: int = BINS
) -> dict[str, Histograms]:
    """The histograms of each pair: ``"difference"``, one for each attribution, and ``"uniform"``, the null.

    Parameters
    ----------
    fake, real : (N, H, W) array_like
        Normalised maps in [0, 1]; row ``i`` of ``real`` is the counterpart of row ``i`` of ``fake``.
    attributions : mapping of str to (N, H, W) array_like
        Model -> its Shapley values for the manipulated images.

    Raises
    ------
    ValueError
        As :func:`histograms`.
    """
    fake, real = check_maps("fake", fake), check_maps("real", real)
    check_same_shape(fake=fake, real=real)
    weights = {"difference": np.subtract(fake, real, dtype=np.float64)} | dict(attributions)
    return {
        name: histograms(fake, weight, bins)
        for name, weight in (weights | {"uniform": np.ones(fake.shape)}).items()
    }


def alignment_table(by_name: Mapping[str, Histograms]) -> pd.DataFrame:
    """Score and KL of every pair and model.

    Parameters
    ----------
    by_name : mapping
        As :func:`pair_histograms` returns it.

    Returns
    -------
    DataFrame
        One row a pair and model: ``pair`` (row number), ``model`` (the attributions, then ``uniform``), ``score``,
        ``KL``. A pair whose two maps are equal has score 0.
    """
    difference = by_name["difference"].weights
    parts = [
        pd.DataFrame(
            {
                "pair": np.arange(len(difference)),
                "model": name,
                "score": overlap(histogram.weights, difference),
                "KL": divergence(histogram.weights, difference),
            }
        )
        for name, histogram in by_name.items()
        if name != "difference"
    ]
    return pd.concat(parts, ignore_index=True)


def summary(table: pd.DataFrame, by: tuple[str, ...] = ("model",)) -> pd.DataFrame:
    """Mean and spread over the pairs.

    Parameters
    ----------
    table : DataFrame
        As :func:`alignment_table` returns it; several with a further column such as ``manipulation`` may be
        concatenated.
    by : tuple of str
        Columns that make a row of the summary.

    Returns
    -------
    DataFrame
        ``pairs``, ``score mean``, ``score std``, ``KL mean``, ``KL std`` (sample standard deviation), and ``above
        uniform``: the share of pairs in which the score is larger than that of the uniform attribution (NaN for that
        one itself).
    """
    keys = [name for name in table.columns if name not in ("model", "score", "KL")]
    null = table[table["model"] == "uniform"].set_index(keys)["score"].rename("null")
    table = table.join(null, on=keys)
    above = (table["score"] > table["null"]).astype(float).where(table["model"] != "uniform")
    table = table.assign(above=above)
    return table.groupby(list(by), sort=False).agg(
        **{
            "pairs": ("score", "size"),
            "score mean": ("score", "mean"),
            "score std": ("score", "std"),
            "KL mean": ("KL", "mean"),
            "KL std": ("KL", "std"),
            "above uniform": ("above", "mean"),
        }
    )
