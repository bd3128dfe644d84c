"""Canny's edges (Canny 1986), bit for bit those of scikit-image, for single precision grey.

Smoothing, slopes, thinning and hysteresis, one compiled sweep each. Precision and order of every sum are
scikit-image's and SciPy's: between two ways to round, a threshold or a tie could fall differently.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from scipy import ndimage

from defocus_lib.maps.kernels.compiled import exact, for_radius


def edges(grey: np.ndarray, sigma: float, low: float, high: float) -> np.ndarray:
    """Edge pixels: what ``skimage.feature.canny(grey, sigma, low, high)`` finds.

    Parameters
    ----------
    grey : (H, W) float32 in [0, 1]
    sigma : float
        Smoothing before the slopes are taken, in px.
    low, high : float, above 0
        Thresholds of hysteresis, in units of the Sobel sum, which is eight times a slope a pixel.

    Returns
    -------
    (H, W) bool
        The outermost pixels are never marked.
    """
    kernel = _bell(sigma)
    smoothed = _smoothing(len(kernel) - 1)(grey, kernel, _bleed_over(grey.shape, sigma))
    return _link(_thin(*_slopes(smoothed), np.float32(low), np.float32(high), np.float64(1)))


def crests(
    down: np.ndarray, across: np.ndarray, steepness: np.ndarray, low: float, high: float
) -> np.ndarray:
    """Edge pixels of slopes that are known already: thinned to their crests, which hysteresis then links.

    Parameters
    ----------
    down, across : (H, W) float32
        Slopes along the two axes.
    steepness : (H, W) float32
        Their magnitude, or what grows with it.
    low, high : float
        Thresholds of hysteresis, in units of the steepness.

    Returns
    -------
    (H, W) bool
        The outermost pixels are never marked.
    """
    return _link(_thin(down, across, steepness, np.float32(low), np.float32(high), np.float32(1)))


@lru_cache
def _bell(sigma: float) -> np.ndarray:
    """Half of SciPy's Gaussian kernel, from its centre to a radius of 4 sigma: float64."""
    bell = np.exp(-0.5 / sigma**2 * np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1) ** 2)
    return (bell / bell.sum())[len(bell) // 2 :]


@lru_cache(maxsize=8)
def _bleed_over(shape: tuple[int, int], sigma: float) -> np.ndarray:
    """The share of the kernel inside the image, ``(H, W)`` float32: the smoothed image is divided by it."""
    ones = np.ones(shape, np.float32)
    kernel = _bell(sigma)
    inside = _smoothing(len(kernel) - 1)(ones, kernel, ones)[1:-1, 1:-1]
    return inside + np.finfo(np.float32).eps


@cache
def _smoothing(radius: int):
    """The smoothing sweep for kernels of one radius: known when compiled, it is unrolled."""

    @exact
    @for_radius(radius)
    def smooth(grey, kernel, share):
        """Down the columns, along the rows; zeros outside. A border of one pixel, repeated, is left for the slopes."""
        height, width = grey.shape
        padded = np.zeros((height + 2 * radius, width), np.float32)
        for y in range(height):
            for x in range(width):
                padded[y + radius, x] = grey[y, x]
        row = np.zeros(width + 2 * radius, np.float32)
        smoothed = np.empty((height + 2, width + 2), np.float32)
        for y in range(height):
            for x in range(width):
                total = padded[y + radius, x] * kernel[0]
                for j in range(radius, 0, -1):
                    total += (
                        np.float64(padded[y + radius - j, x]) + padded[y + radius + j, x]
                    ) * kernel[j]
                row[x + radius] = total
            for x in range(width):
                total = row[x + radius] * kernel[0]
                for j in range(radius, 0, -1):
                    total += (np.float64(row[x + radius - j]) + row[x + radius + j]) * kernel[j]
                smoothed[y + 1, x + 1] = np.float32(total) / share[y, x]
        for y in range(1, height + 1):
            smoothed[y, 0], smoothed[y, width + 1] = smoothed[y, 1], smoothed[y, width]
        for x in range(width + 2):
            smoothed[0, x], smoothed[height + 1, x] = smoothed[1, x], smoothed[height, x]
        return smoothed

    return smooth


@exact
def _slopes(smoothed):
    """Sobel's slopes down and across, and their magnitude, of a plane with a border of one pixel."""
    height, width = smoothed.shape[0] - 2, smoothed.shape[1] - 2
    down = np.empty((height, width), np.float32)
    across, steepness = np.empty_like(down), np.empty_like(down)
    for y in range(height):
        above, here, below = smoothed[y], smoothed[y + 1], smoothed[y + 2]
        for x in range(width):
            left, middle, right = (
                below[x] - above[x],
                below[x + 1] - above[x + 1],
                below[x + 2] - above[x + 2],
            )
            down[y, x] = 2.0 * middle + (np.float64(left) + right)
        for x in range(width):
            upper, middle, lower = (
                above[x + 2] - above[x],
                here[x + 2] - here[x],
                below[x + 2] - below[x],
            )
            across[y, x] = 2.0 * middle + (np.float64(upper) + lower)
        for x in range(width):
            steepness[y, x] = np.sqrt(down[y, x] * down[y, x] + across[y, x] * across[y, x])
    return down, across, steepness


@exact
def _thin(down, across, steepness, low, high, one):
    """Crests of steepness: 2 where above ``high``, 1 where above ``low``, 0 elsewhere and at the border.

    On a crest neither point one pixel up or down the slope is steeper; each is a mix of the two pixels nearest to it.
    The precision of ``one`` is that of the mix: scikit-image's is double, which takes twice the time.
    """
    height, width = steepness.shape
    crests = np.zeros((height, width), np.uint8)
    for y in range(1, height - 1):
        above, here, below = steepness[y - 1], steepness[y], steepness[y + 1]
        for x in range(1, width - 1):
            # Choices between values already read, not branches: so the compiler takes many pixels at a time.
            v, u = abs(down[y, x]), abs(across[y, x])
            n, s, e, w = above[x], below[x], here[x + 1], here[x - 1]
            ne, nw, se, sw = above[x + 1], above[x - 1], below[x + 1], below[x - 1]
            falling = (down[y, x] > 0) == (across[y, x] > 0)
            lean = min(u, v) / max(u, v)
            straight = (s if falling else n) if v > u else e
            opposite = (n if falling else s) if v > u else w
            ahead = (se if falling else ne) * lean + straight * (one - lean)
            behind = (nw if falling else sw) * lean + opposite * (one - lean)
            crest = (here[x] >= low) & (ahead <= here[x]) & (behind <= here[x])
            crests[y, x] = crest * (1 + (here[x] >= high))
    return crests


@exact
def _link(crests):
    """High crests, and the low ones that a chain of eight-connected neighbours links to one."""
    shape, width = crests.shape, crests.shape[1]
    crests = crests.ravel()
    found = crests == 2
    reached = np.empty(crests.size, np.intp)
    for pixel in range(crests.size):
        if crests[pixel] == 1 and not found[pixel] and _touches(found, pixel, width):
            found[pixel] = True
            reached[0] = pixel
            count = 1
            while count:
                count -= 1
                start = reached[count] - width - 1
                for row in range(start, start + 2 * width + 1, width):
                    for neighbour in range(row, row + 3):
                        if crests[neighbour] == 1 and not found[neighbour]:
                            found[neighbour] = True
                            reached[count] = neighbour
                            count += 1
    return found.reshape(shape)


@exact
def _touches(found, pixel, width):
    touched = False
    for row in range(pixel - width, pixel + width + 1, width):
        touched |= found[row - 1] | found[row] | found[row + 1]
    return touched


DENSITY_SPREAD = 0.04  # of the shorter side, as the propagation of the map


def edge_density(edges: np.ndarray) -> np.ndarray:
    """Share of edge pixels around each pixel, weighed by the Gaussian that also spreads the blur: ``(N, H, W)``.

    Parameters
    ----------
    edges : (N, H, W) bool
    """
    spread = DENSITY_SPREAD * min(edges.shape[1:])
    return ndimage.gaussian_filter(edges.astype(np.float32), (0, spread, spread), mode="constant")
