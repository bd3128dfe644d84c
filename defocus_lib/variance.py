"""Local variance of the maps, and whether its mean per image differs between real and manipulated images.

The test of the reference (Jeon & Woo 2025) is a two-sample Kolmogorov-Smirnov test on one number an image. It assumes
that the images are independent of each other. Frames of one video are not, so a p-value over frames means little. Here
the unit is the group (the target video, the scene, the picture): images of one group are averaged first. Where each
group has a real and a manipulated side, the two samples are paired. Next to the KS test then stands a paired one, which
asks the question that the pairs can answer: does the manipulation shift the mean variance of a group?
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import ndimage, stats

from defocus_lib.checks import check_maps, check_same_shape

WINDOW = 15
"""Side of the published window in pixels."""


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
            raise ValueError(f"maps of {variance.shape[1:]} pixels are smaller than the window of {window}")
        margin = window // 2
        variance = variance[:, margin : variance.shape[1] - margin, margin : variance.shape[2] - margin]
    return variance.mean(axis=(1, 2))


Groups = tuple[ArrayLike, ArrayLike]
"""Names of the groups of the real and of the fake images."""


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
    values, groups = check_maps(name, values, ndim=1), np.asarray(groups, dtype=str)
    if len(values) != len(groups):
        raise ValueError(f"{name} and its groups have lengths {len(values)} and {len(groups)}; one wanted")
    return pd.Series(values).groupby(groups).mean()


def _units(real: ArrayLike, fake: ArrayLike, groups: Groups | None, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    """What the tests take as independent: images, or the means of groups; row by row the same ones if paired."""
    if groups is None:
        real, fake = check_maps("real", real, ndim=1), check_maps("fake", fake, ndim=1)
        if paired:
            check_same_shape(real=real, fake=fake)
        return real, fake
    means = [group_means(*part) for part in zip(("real", "fake"), (real, fake), groups, strict=True)]
    alone = means[0].index.symmetric_difference(means[1].index)
    if paired and len(alone):
        raise ValueError(f"groups: {alone[0]!r} is not on both sides; the same groups wanted for a paired test")
    return means[0].to_numpy(), means[1].to_numpy()


def compare(
    real: ArrayLike,
    fake: ArrayLike,
    seed: int = 42,
    resamples: int = 9999,
    groups: Groups | None = None,
    paired: bool = True,
) -> dict[str, float]:
    """Two tests of one number an image, real against fake.

    Parameters
    ----------
    real, fake : (N,) and (M,) array_like
        If paired and without groups, row ``i`` of both belongs together, and ``M`` is ``N``.
    seed, resamples : int
        Of the permutation test.
    groups : ((N,), (M,)) str array_like, optional
        Groups of the real and of the fake images. A group is the independent unit: its images are averaged first. If
        not given, every image is one.
    paired : bool
        Whether real and fake come in pairs, or groups have both. Otherwise there is the KS test only.

    Returns
    -------
    dict
        ``real``, ``fake``: means over the units. ``KS D``, ``KS p``: two-sample Kolmogorov-Smirnov test, which does not
        know of the pairs. ``paired p``: sign-flip permutation test of the mean difference within pairs, two-sided; NaN
        for a single one.

    Raises
    ------
    ValueError
        If an array is empty or holds NaN, lengths do not fit, or a group of paired data is on one side only.
    """
    real, fake = _units(real, fake, groups, paired)
    ks = stats.ks_2samp(real, fake)
    found = {"real": real.mean(), "fake": fake.mean(), "KS D": ks.statistic, "KS p": ks.pvalue}
    if not paired:
        return found
    if len(real) < 2:
        return found | {"paired p": np.nan}
    flipped = stats.permutation_test(
        (fake - real,),
        np.mean,
        permutation_type="samples",
        n_resamples=resamples,
        batch=1000,  # bounds the memory for thousands of pairs
        vectorized=True,
        rng=seed,
    )
    return found | {"paired p": flipped.pvalue}


def ks_pvalue(distance: float, n: int, m: int) -> float:
    """Asymptotic p-value of a two-sample KS distance for samples of ``n`` and ``m`` independent units.

    What a published distance is worth, if the number of independent units is not the number of images.
    """
    if not 0 <= distance <= 1 or min(n, m) < 1:
        raise ValueError(f"distance {distance}, n {n}, m {m}; a distance in [0, 1] and at least 1 unit each wanted")
    return float(stats.kstwobign.sf(distance * np.sqrt(n * m / (n + m))))


def comparison_table(
    pairs: Mapping[str, tuple[ArrayLike, ArrayLike]],
    seed: int = 42,
    groups: Mapping[str, Groups] | None = None,
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
        :func:`compare`.
    """
    rows = {}
    for name, (real, fake) in pairs.items():
        given = None if groups is None else groups[name]
        counts = _counts(len(real), len(fake), given, paired)
        rows[name] = counts | compare(real, fake, seed, groups=given, paired=paired)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("manipulation")


def _counts(real: int, fake: int, groups: Groups | None, paired: bool) -> dict[str, int]:
    if groups is None and paired:
        return {"groups": real}
    units = real + fake if groups is None else len(np.union1d(*groups))
    return {"groups": units, "real images": real, "fake images": fake}


def paired_sentence(tests: pd.DataFrame, level: float = 0.05) -> str:
    """Say for how many manipulations the paired test is below a level; ``tests`` is a :func:`comparison_table`."""
    if "paired p" not in tests:
        return "There are no pairs, so there is no paired test."
    return f"The paired test is below {level:g} for {int((tests['paired p'] < level).sum())} of {len(tests)}."


def long_table(
    pairs: Mapping[str, tuple[ArrayLike, ArrayLike]], groups: Mapping[str, Groups] | None = None
) -> pd.DataFrame:
    """The same numbers, one row an image: ``manipulation``, ``kind`` (``real`` or ``fake``), ``variance``.

    With ``groups``, as for :func:`comparison_table`, one row a group: what the tests compare.
    """
    parts = []
    for name, pair in pairs.items():
        given = (None, None) if groups is None else groups[name]
        for kind, values, names in zip(("real", "fake"), pair, given, strict=True):
            values = np.asarray(values) if names is None else group_means(kind, values, names).to_numpy()
            parts.append(pd.DataFrame({"manipulation": name, "kind": kind, "variance": values}))
    return pd.concat(parts, ignore_index=True)
