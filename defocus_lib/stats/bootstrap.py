"""The one bootstrap of the book, which resamples whole groups, and the text of an interval.

Frames of a video, and a real video and its fakes, resemble each other. What was sampled
independently is the group (the target video, the scene, the picture), so every interval resamples
groups (Efron & Tibshirani 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from defocus_lib.checks import check_maps, check_same_shape

CONFIDENCE = 0.95
N_BOOTSTRAP = 2000
BATCH = 100  # resamples in memory at once
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % percentile interval.

    Attributes
    ----------
    value, low, high : () or (M,) float64
        ``low`` and ``high`` are NaN where nothing could be resampled.
    distribution : (n_bootstrap,) or (M, n_bootstrap) float64
        The statistic of every resample; empty where nothing could be resampled.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    distribution: np.ndarray

    @property
    def scalars(self) -> tuple[float, float, float]:
        """Value, low and high of a single statistic, as numbers."""
        return float(self.value), float(self.low), float(self.high)


def bootstrap(
    statistic: Callable[[np.ndarray], ArrayLike],
    labels: np.ndarray,
    groups: np.ndarray,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> Estimate:
    """A statistic of images, and its interval over resampled groups.

    Groups with only real images, only fake ones, and both are resampled apart, so that every
    resample has both classes. A stratum of a single group contributes that group every time.

    Parameters
    ----------
    statistic : callable
        Weights ``(N,)`` float64, which say how often each image counts, to a value or to ``(M,)``
        values.
    labels : (N,) int
        1 = fake. All 0 where the classes do not matter.
    groups : (N,)
        What was sampled independently.
    """
    codes, names = pd.factorize(np.asarray(groups), sort=True)
    kinds = strata(np.asarray(labels), codes)
    drawn = [kind for kind in kinds if len(kind) > 1]
    fixed = [kind for kind in kinds if len(kind) == 1]

    def resampled(*chosen: np.ndarray) -> ArrayLike:
        counts = np.bincount(np.concatenate([*chosen, *fixed]), minlength=len(names))
        return statistic(counts[codes].astype(np.float64))

    value = np.asarray(statistic(np.ones(len(codes))), dtype=np.float64)
    if not drawn:
        nothing = np.full(value.shape, np.nan)
        return Estimate(value, nothing, nothing, np.empty((*value.shape, 0)))
    result = stats.bootstrap(
        drawn,
        resampled,
        vectorized=False,
        n_resamples=n_bootstrap,
        batch=BATCH,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = map(np.asarray, result.confidence_interval)
    return Estimate(value, low, high, result.bootstrap_distribution)


def strata(labels: np.ndarray, codes: np.ndarray) -> list[np.ndarray]:
    """Codes of the groups with real images only, fake ones only, and both; no array is empty.

    ``labels`` (N,) are 1 for fakes; ``codes`` (N,) number the group of each image from 0 on.
    """
    fakes, images = np.bincount(codes, weights=labels), np.bincount(codes)
    parts = (fakes == 0, fakes == images, (fakes > 0) & (fakes < images))
    return [np.flatnonzero(part) for part in parts if part.any()]


def bootstrap_mean(
    values: ArrayLike, groups: ArrayLike, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0
) -> Estimate:
    """Mean over images of one number each, (N,), or of several that share the resamples, (N, M).

    Raises ValueError if ``values`` is empty or holds NaN, or the lengths differ.
    """
    values = check_maps("values", values, ndim=np.ndim(values)).astype(np.float64)
    by_group = pd.DataFrame(values).groupby(check_groups("values", values, groups))
    sums = by_group.sum().to_numpy().reshape(-1, *values.shape[1:])
    sizes = by_group.size().to_numpy()

    def mean(weights: np.ndarray) -> np.ndarray:
        return weights @ sums / (weights @ sizes)

    return bootstrap(mean, np.zeros(len(sizes)), np.arange(len(sizes)), n_bootstrap, seed)


def bootstrap_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    groups: ArrayLike,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> Estimate:
    """Mean over images of one number each, `numerator` (N,), over that of another, `denominator`.

    Raises ValueError if an array is empty or holds NaN, or the lengths differ.
    """
    numerator = check_maps("numerator", numerator, ndim=1).astype(np.float64)
    denominator = check_maps("denominator", denominator, ndim=1).astype(np.float64)
    check_same_shape(numerator=numerator, denominator=denominator)
    groups = check_groups("numerator", numerator, groups)

    def ratio(weights: np.ndarray) -> np.ndarray:
        return weights @ numerator / (weights @ denominator)

    return bootstrap(ratio, np.zeros(len(groups)), groups, n_bootstrap, seed)


def check_groups(name: str, values: Sized, groups: ArrayLike) -> np.ndarray:
    """The groups as (N,) str; raises ValueError naming the argument if lengths differ."""
    names = np.asarray(groups, dtype=str)
    if len(values) != len(names):
        raise ValueError(
            f"{name} and its groups have lengths {len(values)} and {len(names)}; one wanted"
        )
    return names


def formatted(value: float, low: float = np.nan, high: float = np.nan, style: str = ".2f") -> str:
    """A value with its interval, ``0.88 [0.85, 0.91]``; without one where ``low`` is NaN."""
    bounds = "" if np.isnan(low) else f" [{low:{style}}, {high:{style}}]"
    return f"{value:{style}}{bounds}".replace(" ", NO_BREAK)


def formatted_rows(table: pd.DataFrame, style: str = ".2f") -> pd.Series:
    """The columns value, low and high of each row as text, with the index of the table."""
    cells = map(formatted, table["value"], table["low"], table["high"], repeat(style))
    return pd.Series(list(cells), table.index, dtype=object)
