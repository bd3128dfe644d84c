"""Local variance of the maps, and whether its mean per image differs between real and manipulated images.

The test of the reference (Jeon & Woo 2025) is a two-sample Kolmogorov-Smirnov test on one number an image. It assumes
that the images are independent of each other. Frames of one video are not, so a p-value over frames means little. Here
the unit is the group (the target video, the scene, the picture): images of one group are averaged first. Where each
group has a real and a manipulated side, the two samples are paired. Next to the KS test then stands a paired one, which
asks the question that the pairs can answer: does the manipulation shift the mean variance of a group? The test of the
reference stays beside them under the name *naive*; :func:`false_alarms` simulates what each of the three is worth.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import ndimage, stats

from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.stats.bootstrap import check_groups
from defocus_lib.stats.effects import Sides, holm, intraclass_correlation

WINDOW = 15
"""Side of the published window in pixels."""
CORRELATIONS = (0.0, 0.2, 0.5, 0.8)
"""Of images of one group, in the simulations."""


def local_variance(maps: ArrayLike, window: int = WINDOW) -> np.ndarray:
    """``E[x^2] - E[x]^2`` in a square window around each pixel.

    Stride 1; outside the image the map counts as 0, and those zeros count in the means, as in the reference. A map
    that is not 0 at the border therefore has a variance there that is not of its own making: see the ``border`` option
    of
    :func:`mean_variance`.

    Parameters
    ----------
    maps : (N, H, W) array_like
        Normalised maps in [0, 1].
    window : int
        Side of the window in pixels; odd.

    Returns
    -------
    (N, H, W) float64 array, in squared units of the map.

    Raises
    ------
    ValueError
        If the stack is empty or holds NaN, or the window is even or not positive.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window is {window}; an odd number of pixels, at least 1, wanted")
    x = check_maps("maps", maps).astype(np.float64)
    mean = ndimage.uniform_filter(x, window, mode="constant", axes=(1, 2))
    mean_square = ndimage.uniform_filter(x * x, window, mode="constant", axes=(1, 2))
    return np.maximum(mean_square - mean**2, 0)  # rounding alone can make it negative


def mean_variance(maps: ArrayLike, window: int = WINDOW, border: bool = True) -> np.ndarray:
    """Mean local variance of each image, as ``(N,)`` float64.

    With ``border=False`` only windows that lie within the image count.

    Raises
    ------
    ValueError
        As :func:`local_variance`; and without the border, if no window fits into the image.
    """
    return _image_means(local_variance(maps, window), window, border)


def both_means(maps: ArrayLike, window: int = WINDOW) -> np.ndarray:
    """:func:`mean_variance` with the border and without it, for the price of one: ``(N, 2)`` float64.

    Raises
    ------
    ValueError
        As :func:`mean_variance` without the border.
    """
    variance = local_variance(maps, window)
    return np.stack([_image_means(variance, window, border) for border in (True, False)], axis=1)


def _image_means(variance: np.ndarray, window: int, border: bool) -> np.ndarray:
    if not border:
        if min(variance.shape[1:]) < window:
            raise ValueError(
                f"maps of {variance.shape[1:]} pixels are smaller than the window of {window}"
            )
        margin = window // 2
        variance = variance[
            :, margin : variance.shape[1] - margin, margin : variance.shape[2] - margin
        ]
    return variance.mean(axis=(1, 2))


def group_means(name: str, values: ArrayLike, groups: ArrayLike) -> pd.Series:
    """Mean of the values of each group, in the order of the groups' names.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    values : (N,) array_like
    groups : (N,) str array_like

    Raises
    ------
    ValueError
        If the lengths differ, or ``values`` is empty or holds NaN.
    """
    values = check_maps(name, values, ndim=1)
    return pd.Series(values).groupby(check_groups(name, values, groups)).mean()


def _units(
    real: ArrayLike, fake: ArrayLike, groups: Sides | None, paired: bool
) -> tuple[np.ndarray, np.ndarray]:
    """What the tests take as independent: images, or the means of groups; row by row the same ones if paired."""
    if groups is None:
        real, fake = check_maps("real", real, ndim=1), check_maps("fake", fake, ndim=1)
        if paired:
            check_same_shape(real=real, fake=fake)
        return real, fake
    means = [
        group_means(*part) for part in zip(("real", "fake"), (real, fake), groups, strict=True)
    ]
    alone = means[0].index.symmetric_difference(means[1].index)
    if paired and len(alone):
        raise ValueError(
            f"groups: {alone[0]!r} is not on both sides; the same groups wanted for a paired test"
        )
    return means[0].to_numpy(), means[1].to_numpy()


def compare(
    real: ArrayLike,
    fake: ArrayLike,
    seed: int = 42,
    n_bootstrap: int = 9999,
    groups: Sides | None = None,
    paired: bool = True,
) -> dict[str, float]:
    """Tests of one number an image, real against fake.

    Parameters
    ----------
    real, fake : (N,) and (M,) array_like
        If paired and without groups, row ``i`` of both belongs together, and ``M`` is ``N``.
    seed, n_bootstrap : int
        Of the permutation test.
    groups : ((N,), (M,)) str array_like, optional
        Sides of the real and of the fake images. A group is the independent unit: its images are averaged first. If
        not given, every image is one.
    paired : bool
        Whether real and fake come in pairs, or groups have both. Otherwise there is the KS test only.

    Returns
    -------
    dict
        ``real``, ``fake``: means over the units. ``KS D``, ``KS p``: two-sample Kolmogorov-Smirnov test, which does not
        know of the pairs. ``naive KS p``, with groups: the same test with every image as a unit, wrong where a group
        has several. ``paired p``: sign-flip permutation test of the mean difference within pairs, two-sided; NaN for a
        single one. ``ICC of pairs``: intraclass correlation of the two sides of a pair; the more of the variance is
        shared by a pair, the more a test gains that knows of it.

    Raises
    ------
    ValueError
        If an array is empty or holds NaN, lengths do not fit, or a group of paired data is on one side only.
    """
    units = _units(real, fake, groups, paired)
    ks = stats.ks_2samp(*units)
    found = {
        "real": units[0].mean(),
        "fake": units[1].mean(),
        "KS D": ks.statistic,
        "KS p": ks.pvalue,
    }
    if groups is not None:
        found["naive KS p"] = stats.ks_2samp(real, fake).pvalue
    if paired:
        alike = intraclass_correlation(np.concatenate(units), np.tile(np.arange(len(units[0])), 2))
        found |= {
            "paired p": _sign_flip(units[1] - units[0], seed, n_bootstrap),
            "ICC of pairs": alike,
        }
    return found


def _sign_flip(differences: np.ndarray, seed: int, n_bootstrap: int) -> float:
    if len(differences) < 2:
        return np.nan
    flipped = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=n_bootstrap,
        batch=1000,  # bounds the memory for thousands of pairs
        vectorized=True,
        rng=seed,
    )
    return flipped.pvalue


def ks_pvalue(distance: float, n: int, m: int) -> float:
    """Asymptotic p-value of a two-sample KS distance for samples of ``n`` and ``m`` independent units.

    What a published distance is worth, if the number of independent units is not the number of images.
    """
    if not 0 <= distance <= 1 or min(n, m) < 1:
        raise ValueError(
            f"distance {distance}, n {n}, m {m}; a distance in [0, 1] and at least 1 unit each wanted"
        )
    return float(stats.kstwobign.sf(distance * np.sqrt(n * m / (n + m))))


def comparison_table(
    pairs: Mapping[str, tuple[ArrayLike, ArrayLike]],
    seed: int = 42,
    groups: Mapping[str, Sides] | None = None,
    paired: bool = True,
) -> pd.DataFrame:
    """:func:`compare` for each manipulation.

    Parameters
    ----------
    pairs : mapping of str to ((N,), (M,))
        Manipulation -> (real, fake) mean variance of each image.
    groups : mapping of str to ((N,), (M,)), optional
        Manipulation -> groups of those images.
    paired : bool

    Returns
    -------
    DataFrame
        One row a manipulation: number of ``groups`` (independent units; without groups the pairs, or the images of
        both kinds), of ``real images`` and ``fake images`` where they can differ from it, and the columns of
        :func:`compare`. After ``KS p`` and ``paired p`` stands the same corrected for the number of manipulations by
        Holm's method, as ``KS p, Holm`` and ``paired p, Holm``.
    """
    rows = {}
    for name, (real, fake) in pairs.items():
        given = None if groups is None else groups[name]
        counts = _counts(len(real), len(fake), given, paired)
        rows[name] = counts | compare(real, fake, seed, groups=given, paired=paired)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("manipulation")
    for name in {"KS p", "paired p"}.intersection(table):
        table.insert(table.columns.get_loc(name) + 1, f"{name}, Holm", holm(table[name]))
    return table


def _counts(real: int, fake: int, groups: Sides | None, paired: bool) -> dict[str, int]:
    if groups is None and paired:
        return {"groups": real}
    units = real + fake if groups is None else len(np.union1d(*groups))
    return {"groups": units, "real images": real, "fake images": fake}


def _below(tests: pd.DataFrame, column: str, level: float) -> str:
    names = tests.index[tests[column] < level]
    return f"{len(names)} of {len(tests)}" + (f" ({', '.join(names)})" if len(names) else "")


def paired_sentence(tests: pd.DataFrame, level: float = 0.05) -> str:
    """Say for how many manipulations the paired test is below a level; ``tests`` is a :func:`comparison_table`."""
    if "paired p" not in tests:
        return "There are no pairs, so there is no paired test."
    corrected = _below(tests, "paired p, Holm", level)
    return f"Corrected for the number of manipulations, the paired test is below {level:g} for {corrected}."


def naive_sentence(tests: pd.DataFrame, unit: str, level: float = 0.05) -> str:
    """Say what the naive test makes of the same numbers; ``unit`` is what the groups are called.

    ``tests`` is a :func:`comparison_table` with groups.
    """
    counted = f"The naive test is below {level:g} for {_below(tests, 'naive KS p', level)}"
    if np.allclose(tests["naive KS p"], tests["KS p"], rtol=1e-6, atol=0):
        return f"{counted}. It is the KS test here, since no {unit} has two images of a kind."
    return (
        f"{counted}, and with {unit}s as units the KS test is for {_below(tests, 'KS p', level)}."
    )


def alike_sentence(tests: pd.DataFrame, unit: str) -> str:
    """Say what the pairs have in common and what follows; ``tests`` is a :func:`comparison_table`."""
    if "ICC of pairs" not in tests:
        return "There are no pairs that could have something in common."
    known = tests["ICC of pairs"].dropna()
    if known.empty:
        return f"A single {unit} does not say what the two sides of a pair have in common."
    low, high = known.min(), known.max()
    between = f"between {low:.2f} and {high:.2f}" if high - low >= 0.005 else f"of {low:.2f}"
    opening = f"The real and the manipulated side of a {unit} have a correlation {between}."
    if low > 0.5:
        return (
            f"{opening} Most of the variance is one between {unit}s: the KS test takes it for noise, so its p-value is"
            " too large, and the paired test removes it."
        )
    if high < 0.5:
        return f"{opening} Most of the variance is not shared, so the paired test gains little."
    return f"{opening} The paired test gains most where the correlation is high."


def _null_images(
    rng: np.random.Generator, correlation: float, shared: float, units: int, images: int
) -> np.ndarray:
    """Values ``(2, units, images)`` of real and fake images without a difference; each has variance 1."""
    sides = np.sqrt(shared) * rng.normal(size=units) + np.sqrt(1 - shared) * rng.normal(
        size=(2, units)
    )
    own = rng.normal(size=(2, units, images))
    return np.sqrt(correlation) * sides[..., None] + np.sqrt(1 - correlation) * own


def false_alarms(
    correlations: tuple[float, ...] = CORRELATIONS,
    shared: float = 0.0,
    units: int = 20,
    images: int = 16,
    simulations: int = 200,
    seed: int = 0,
    level: float = 0.05,
) -> pd.DataFrame:
    """How often each test of :func:`compare` rejects where there is no difference: as often as its level, if sound.

    Normal values; images of one kind of a group have the given intraclass correlation.

    Parameters
    ----------
    correlations : tuple of float in [0, 1]
        Intraclass correlations to simulate, in rising order.
    shared : float in [0, 1]
        What part of a group's own variance its real and its manipulated side have in common.
    units, images : int
        Groups, and images of each kind in a group.
    simulations, seed : int
    level : float

    Returns
    -------
    DataFrame
        One row a correlation; the share of the simulations in which ``naive KS p``, ``KS p`` and ``paired p`` are
        at or below the level.
    """
    rng, columns, rows = np.random.default_rng(seed), ["naive KS p", "KS p", "paired p"], []
    for correlation in correlations:
        found = []
        for _ in range(simulations):
            values = _null_images(rng, correlation, shared, units, images)
            by_group = compare(*values.mean(axis=2), seed=int(rng.integers(2**31)), n_bootstrap=199)
            found.append(
                by_group
                | {"naive KS p": stats.ks_2samp(*values.reshape(2, -1), method="asymp").pvalue}
            )
        # Of 199 resamples and the data, 5 % are 10: a p-value can be 0.05, and counts.
        rows.append((pd.DataFrame(found)[columns] <= level).mean())
    return pd.DataFrame(rows, index=pd.Index(correlations, name="correlation"))


def distance_pvalues(
    distance: float,
    units: int,
    images: int,
    correlations: tuple[float, ...] = CORRELATIONS[1:],
    shared: float = 0.0,
    simulations: int = 200,
    seed: int = 0,
) -> pd.Series:
    """What a KS distance between all images is worth, if images of a group resemble each other: simulated p-values.

    Between the two p-values of :func:`ks_pvalue` that take all images, or none but one a group, as independent.
    Parameters as for :func:`false_alarms`.

    Returns
    -------
    Series
        Index correlation. Share of the simulations without a difference whose distance is at least this one, the data
        themselves counted as one more: at least ``1 / (simulations + 1)``.
    """
    rng, found = np.random.default_rng(seed), {}
    for correlation in correlations:
        drawn = (
            _null_images(rng, correlation, shared, units, images).reshape(2, -1)
            for _ in range(simulations)
        )
        reached = sum(stats.ks_2samp(*pair, method="asymp").statistic >= distance for pair in drawn)
        found[correlation] = (1 + reached) / (1 + simulations)
    return pd.Series(found).rename_axis("correlation")


def alarm_sentence(table: pd.DataFrame, simulations: int, level: float = 0.05) -> str:
    """Say which tests keep their level at the highest correlation of :func:`false_alarms`; a binomial test decides."""

    def verdict(rate: float) -> str:
        chance = stats.binomtest(round(rate * simulations), simulations, level).pvalue
        return "like" if chance >= 0.01 else "above" if rate > level else "below"

    told = (
        f"{name[:-2]} {100 * rate:.0f} % ({verdict(rate)} the level)"
        for name, rate in table.iloc[-1].items()
    )
    return ", ".join(told)


def long_table(
    pairs: Mapping[str, tuple[ArrayLike, ArrayLike]], groups: Mapping[str, Sides] | None = None
) -> pd.DataFrame:
    """The same numbers, one row an image: ``manipulation``, ``kind`` (``real`` or ``fake``), ``variance``.

    With ``groups``, as for :func:`comparison_table`, one row a group: what the tests compare.
    """
    parts = []
    for name, pair in pairs.items():
        given = (None, None) if groups is None else groups[name]
        for kind, values, names in zip(("real", "fake"), pair, given, strict=True):
            values = (
                np.asarray(values) if names is None else group_means(kind, values, names).to_numpy()
            )
            parts.append(pd.DataFrame({"manipulation": name, "kind": kind, "variance": values}))
    return pd.concat(parts, ignore_index=True)
