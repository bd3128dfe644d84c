"""Shapley alignment score (Jeon & Woo 2025), and the baselines that it must exceed.

The pixels of a manipulated map are sorted into bins by the map's own value. One histogram weighs
them by the difference from the real map, another by the absolute Shapley value. The score is the
overlap of the two histograms.

The score does not show whether a detector looks at the right *place*, because bins forget places.
Most pixels share a few values, so the bins that hold the background can raise the score of any
attribution. The published score has no baseline. Here it is compared with the score of

- *uniform*: the same weight for every pixel, which depends on no detector;
- *permuted*: the detector's own values on other pixels of the image;
- *untrained*: the values of the same network with random weights (Adebayo et al. 2018, arXiv
  1810.03292);
- *mismatched*: the detector's own values against the difference of another pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import rel_entr

from defocus_lib.checks import check_maps, check_same_shape, check_unit_range
from defocus_lib.stats.bootstrap import Estimate, bootstrap, bootstrap_mean, formatted

BINS = 20
EPS = 1e-8
BASELINES = ("uniform", "permuted", "untrained", "mismatched")
LEFT_OUT = {
    "none": "all bins",
    "lowest": "without the lowest bin",
    "fullest": "without the fullest bin",
}
"""The bin that is left out: that of the lowest values, or the one with most pixels per image."""


@dataclass(frozen=True)
class Histograms:
    """Weight in each bin of the map's value, for N pairs.

    ``edges`` (bins + 1,) are the borders of the bins in [0, 1]. Each row of ``weights`` (N, bins)
    sums to 1, or to 0 if the pair has no weight at all.
    """

    edges: np.ndarray
    weights: np.ndarray


def histograms(values: ArrayLike, weights: ArrayLike, bins: int = BINS) -> Histograms:
    """L1-normalised histograms of the map's value, weighted by ``|weights|``.

    ``values`` (N, H, W) are normalised maps in [0, 1], ``weights`` (N, H, W) differences or
    attributions. A bin holds its lower border, the last bin also its upper one. Raises ValueError
    if the shapes differ, a stack is empty or holds NaN, a value lies outside [0, 1], or ``bins`` is
    below 1.
    """
    values, weights = check_maps("values", values), check_maps("weights", weights)
    check_same_shape(values=values, weights=weights)
    check_unit_range("values", values)
    if bins < 1:
        raise ValueError(f"bins is {bins}; at least 1 wanted")
    pairs = zip(values.astype(np.float64), np.abs(weights.astype(np.float64)), strict=True)
    sums = np.stack(
        [np.histogram(value, bins=bins, range=(0, 1), weights=weight)[0] for value, weight in pairs]
    )
    return Histograms(np.linspace(0, 1, bins + 1), _normalised(sums))


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / (weights.sum(axis=1, keepdims=True) + EPS)


def overlap(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Sum of the bin-wise minima of two (N, bins) histograms: (N,) in [0, 1], 1 if equal."""
    return np.minimum(*_two_histograms(first, second)).sum(axis=1)


def divergence(attribution: ArrayLike, difference: ArrayLike) -> np.ndarray:
    """``KL(attribution || difference)`` in nats of two (N, bins) histograms, each bin plus 1e-8."""
    attribution, difference = _two_histograms(attribution, difference)
    return rel_entr(attribution + EPS, difference + EPS).sum(axis=1)


def mismatched(attribution: ArrayLike, difference: ArrayLike, groups: ArrayLike) -> np.ndarray:
    """Mean overlap of each (N, bins) attribution with the differences of all other groups: (N,).

    Pairs of one group, such as frames of one video, are no mismatch. NaN where there is no other
    group.
    """
    attribution, difference = _two_histograms(attribution, difference)
    names = np.asarray(groups, dtype=str)
    other = np.not_equal.outer(names, names)
    overlaps = np.stack([np.minimum(row, difference).sum(axis=1) for row in attribution])
    undefined = np.full(len(overlaps), np.nan)
    return np.divide((overlaps * other).sum(1), other.sum(1), out=undefined, where=other.any(1))


def _two_histograms(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = check_maps("first", first, ndim=2), check_maps("second", second, ndim=2)
    check_same_shape(first=first, second=second)
    return first, second


def pair_histograms(
    fake: ArrayLike, real: ArrayLike, attributions: Mapping[str, ArrayLike], bins: int = BINS
) -> dict[str, Histograms]:
    """The histograms of each pair: ``"difference"``, the attributions, and ``"uniform"``.

    ``fake`` and ``real`` (N, H, W) are normalised maps in [0, 1], paired row by row;
    ``attributions`` are the (N, H, W) Shapley values of each model for the manipulated images.
    Raises ValueError as :func:`histograms`.
    """
    fake, real = check_maps("fake", fake), check_maps("real", real)
    check_same_shape(fake=fake, real=real)
    weights = {"difference": np.subtract(fake, real, dtype=np.float64), **attributions}
    weights["uniform"] = np.ones(fake.shape)
    return {name: histograms(fake, weight, bins) for name, weight in weights.items()}


def alignment_table(by_name: Mapping[str, Histograms], groups: ArrayLike) -> pd.DataFrame:
    """Score and KL of every pair and model, from what :func:`pair_histograms` returns.

    One row per model (the attributions, then ``uniform``) and pair: ``pair`` (row number),
    ``group``, ``model``, ``score``, ``KL``. A pair whose two maps are equal has score 0.
    """
    difference = by_name["difference"].weights
    pair = {"pair": np.arange(len(difference)), "group": np.asarray(groups, dtype=str)}
    parts = [
        pd.DataFrame(pair).assign(
            model=name,
            score=overlap(histogram.weights, difference),
            KL=divergence(histogram.weights, difference),
        )
        for name, histogram in by_name.items()
        if name != "difference"
    ]
    return pd.concat(parts, ignore_index=True)


def summary(table: pd.DataFrame, by: Sequence[str] = ("model",)) -> pd.DataFrame:
    """Mean and sample standard deviation over the pairs of :func:`alignment_table`.

    One row per value of ``by``. Tables with a further column such as ``manipulation`` may be
    concatenated. ``above uniform`` is the share of pairs in which the score is larger than that of
    the uniform attribution (NaN for that one itself).
    """
    above = (table["score"] > _uniform_scores(table)).astype(float)
    table = table.assign(above=above.where(table["model"] != "uniform"))
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


def excess_over_uniform(
    table: pd.DataFrame, n_bootstrap: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Mean score of each model less that of the uniform attribution, with its interval by group."""
    excess = table.assign(excess=table["score"] - _uniform_scores(table))
    return {
        model: bootstrap_mean(part["excess"], part["group"], n_bootstrap, seed)
        for model, part in excess.groupby("model", sort=False)
        if model != "uniform"
    }


def _uniform_scores(table: pd.DataFrame) -> pd.Series:
    """The score of the uniform attribution for the pair of each row."""
    keys = [name for name in table.columns if name not in ("model", "score", "KL")]
    uniform = table[table["model"] == "uniform"].set_index(keys)["score"].rename("uniform")
    return table.join(uniform, on=keys)["uniform"]


def permuted(attributions: ArrayLike, seed: int = 0) -> np.ndarray:
    """The pixels of each (N, H, W) attribution in random order."""
    values = check_maps("attributions", attributions)
    flat = np.random.default_rng(seed).permuted(values.reshape(len(values), -1), axis=1)
    return flat.reshape(values.shape)


def without_bin(by_name: Mapping[str, Histograms], left_out: str) -> dict[str, Histograms]:
    """Histograms of :func:`pair_histograms` without one bin, the rest scaled to sum to 1 again.

    ``left_out`` is a key of :data:`LEFT_OUT`; ValueError if it is another.
    """
    if left_out not in LEFT_OUT:
        raise ValueError(f"left out is {left_out!r}; one of {', '.join(LEFT_OUT)} wanted")
    pixels = by_name["uniform"].weights
    kept = np.ones(pixels.shape)
    if left_out != "none":
        kept[np.arange(len(pixels)), 0 if left_out == "lowest" else pixels.argmax(axis=1)] = 0
    return {
        name: Histograms(histogram.edges, _normalised(histogram.weights * kept))
        for name, histogram in by_name.items()
    }


def baseline_scores(
    fake: ArrayLike,
    real: ArrayLike,
    attributions: Mapping[str, tuple[ArrayLike, ArrayLike]],
    groups: ArrayLike,
    bins: int = BINS,
    seed: int = 0,
) -> pd.DataFrame:
    """Score of every pair and model beside those of its baselines, with all bins or one left out.

    ``attributions`` holds of each model the (N, H, W) Shapley values for the manipulated images,
    and those of the same network with random weights; the other arguments are as in
    :func:`pair_histograms`. One row per model, choice of bins and pair: ``pair``, ``group``,
    ``model``, ``left out`` (a key of :data:`LEFT_OUT`), ``pixels left out`` (their share),
    ``score``, and one column per baseline of :data:`BASELINES`.
    """
    parts = []
    for model, (own, untrained) in attributions.items():
        weights = {"own": own, "permuted": permuted(own, seed), "untrained": untrained}
        all_bins = pair_histograms(fake, real, weights, bins)
        for left_out in LEFT_OUT:
            kept = without_bin(all_bins, left_out)
            pixels = overlap(all_bins["uniform"].weights, kept["uniform"].weights)
            about = {"model": model, "left out": left_out, "pixels left out": 1 - pixels}
            parts.append(_score_and_baselines(kept, groups).assign(**about))
    return pd.concat(parts, ignore_index=True)


def _score_and_baselines(by_name: Mapping[str, Histograms], groups: ArrayLike) -> pd.DataFrame:
    difference = by_name["difference"].weights
    table = pd.DataFrame(
        {"pair": np.arange(len(difference)), "group": np.asarray(groups, dtype=str)}
    )
    for column, name in {"score": "own", **{name: name for name in BASELINES[:-1]}}.items():
        table[column] = overlap(by_name[name].weights, difference)
    return table.assign(mismatched=mismatched(by_name["own"].weights, difference, groups))


def compare_with_baselines(
    table: pd.DataFrame,
    by: Sequence[str] = ("left out", "model"),
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean score less that of each baseline, with a 95 % interval over the groups.

    ``table`` is what :func:`baseline_scores` returns; those of several manipulations may be
    concatenated. One row per value of ``by`` and ``baseline``: mean ``score`` and ``baseline
    score``, their ``difference`` with ``low`` and ``high``, mean share of the ``pixels left out``,
    ``pairs`` and ``groups``. With a single group the difference from the mismatched pairs and all
    intervals are NaN.
    """
    rows = []
    for values, part in table.groupby(list(by), sort=False):
        differences = part["score"].to_numpy()[:, None] - part[list(BASELINES)].to_numpy()
        estimate = _mean_by_group(differences, part["group"], n_bootstrap, seed)
        comparison = {
            "baseline": BASELINES,
            "score": part["score"].mean(),
            "baseline score": part[list(BASELINES)].mean().to_numpy(),
            "difference": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "pixels left out": part["pixels left out"].mean(),
            "pairs": len(part),
            "groups": part["group"].nunique(),
        }
        rows.append(pd.DataFrame(dict(zip(by, values, strict=True)) | comparison))
    return pd.concat(rows, ignore_index=True)


def _mean_by_group(
    differences: np.ndarray, groups: ArrayLike, n_bootstrap: int, seed: int
) -> Estimate:
    """As bootstrap_mean, but a difference from mismatched pairs may be NaN."""

    def mean(weights: np.ndarray) -> np.ndarray:
        return weights @ differences / weights.sum()

    return bootstrap(mean, np.zeros(len(differences)), np.asarray(groups), n_bootstrap, seed)


def comparison_text(
    compared: pd.DataFrame, by: Sequence[str] = ("left out", "model")
) -> pd.DataFrame:
    """The differences of :func:`compare_with_baselines` as text, one column per baseline."""
    rows = compared.replace({"left out": LEFT_OUT})
    texts = [
        formatted(row.difference, row.low, row.high, style="+.3f") for row in rows.itertuples()
    ]
    wide = rows.assign(text=texts).pivot(index=list(by), columns="baseline", values="text")
    order = pd.MultiIndex.from_frame(rows[list(by)].drop_duplicates())
    return wide[list(BASELINES)].rename_axis(columns=None).reindex(order)
