"""Local variance of the maps, and whether its mean per image differs between real and manipulated images.

The test of the reference (Jeon & Woo 2025) is a two-sample Kolmogorov-Smirnov test on one number an image. It assumes
that the images are independent of each other. Frames of one video are not, so a p-value over frames means little. Here
the unit is the scene: one real image and one of each manipulation, so that images within a sample are of different
scenes. The two samples, however, are paired. Next to the KS test stands a paired one, which asks the question that the
pairs can answer: does the manipulation shift the mean variance of a scene?
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
    variance = local_variance(maps, window)
    if not border:
        if min(variance.shape[1:]) < window:
            raise ValueError(f"maps of {variance.shape[1:]} pixels are smaller than the window of {window}")
        margin = window // 2
        variance = variance[:, margin : variance.shape[1] - margin, margin : variance.shape[2] - margin]
    return variance.mean(axis=(1, 2))


def compare(real: ArrayLike, fake: ArrayLike, seed: int = 42, resamples: int = 9999) -> dict[str, float]:
    """Two tests of one number an image, real against fake.

    Parameters
    ----------
    real, fake : (N,) array_like
        Row ``i`` of both belongs to scene ``i``; scenes are the independent units.
    seed, resamples : int
        Of the permutation test.

    Returns
    -------
    dict
        ``real``, ``fake``: means. ``KS D``, ``KS p``: two-sample Kolmogorov-Smirnov test, which does not know of the
        pairs. ``paired p``: sign-flip permutation test of the mean difference within pairs, two-sided.
    """
    real, fake = check_maps("real", real, ndim=1), check_maps("fake", fake, ndim=1)
    check_same_shape(real=real, fake=fake)
    ks = stats.ks_2samp(real, fake)
    paired = stats.permutation_test(
        (fake - real,), np.mean, permutation_type="samples", n_resamples=resamples, vectorized=True, rng=seed
    )
    return {
        "real": real.mean(),
        "fake": fake.mean(),
        "KS D": ks.statistic,
        "KS p": ks.pvalue,
        "paired p": paired.pvalue,
    }


def ks_pvalue(distance: float, n: int, m: int) -> float:
    """Asymptotic p-value of a two-sample KS distance for samples of ``n`` and ``m`` independent units.

    What a published distance is worth, if the number of independent units is not the number of images.
    """
    if not 0 <= distance <= 1 or min(n, m) < 1:
        raise ValueError(f"distance {distance}, n {n}, m {m}; a distance in [0, 1] and at least 1 unit each wanted")
    return float(stats.kstwobign.sf(distance * np.sqrt(n * m / (n + m))))


def comparison_table(pairs: Mapping[str, tuple[ArrayLike, ArrayLike]], seed: int = 42) -> pd.DataFrame:
    """:func:`compare` for each manipulation.

    Parameters
    ----------
    pairs : mapping of str to ((N,), (N,))
        Manipulation -> (real, fake) mean variance of each image.

    Returns
    -------
    DataFrame
        One row a manipulation: number of ``scenes``, and the columns of :func:`compare`.
    """
    rows = {name: {"scenes": len(real)} | compare(real, fake, seed) for name, (real, fake) in pairs.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("manipulation")


def long_table(pairs: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> pd.DataFrame:
    """The same numbers, one row an image: ``manipulation``, ``kind`` (``real`` or ``fake``), ``variance``."""
    return pd.concat(
        pd.DataFrame({"manipulation": name, "kind": kind, "variance": np.asarray(values)})
        for name, pair in pairs.items()
        for kind, values in zip(("real", "fake"), pair, strict=True)
    ).reset_index(drop=True)
