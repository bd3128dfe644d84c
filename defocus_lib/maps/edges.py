"""Canny's edges (Canny 1986), bit for bit those of scikit-image, for single precision grey.

Smoothing, gradient, non-maximum suppression and hysteresis, one compiled sweep each. Precision and
order of every sum are scikit-image's and SciPy's: between two ways to round, a threshold or a tie
could fall differently.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from defocus_lib.maps.kernels.compiled import exact, for_radius

# scikit-image's upper threshold, in units of its Sobel sum: eight times a gradient per pixel.
SKIMAGE_THRESHOLD = 0.2


class EdgeBlur(NamedTuple):
    """Blur read at the edges of one image: each ``(H, W)``, and zero where no edge is.

    ``weights`` is None where, as in the authors' code, unread pixels count as 0 px of blur.
    ``positions`` (K,) are those of the edges, read row by row, if they are known already.
    """

    edges: np.ndarray  # bool
    sparse: np.ndarray  # float32, sigma in px
    valid: np.ndarray  # bool, edges whose blur could be read
    weights: np.ndarray | None = None  # float32
    positions: np.ndarray | None = None


def canny(grey: np.ndarray, sigma: float, low: float, high: float) -> np.ndarray:
    """``(H, W)`` bool edge pixels, those of ``skimage.feature.canny(grey, sigma, low, high)``.

    `grey` (H, W) float32 in [0, 1]; `sigma` of the smoothing in px; thresholds of the hysteresis
    above 0, in units of the Sobel sum. The outermost pixels are never marked.
    """
    kernel = _half_gaussian(sigma)
    smoothed = _smoothing(len(kernel) - 1)(grey, kernel, _kernel_share(grey.shape, sigma))
    gy, gx, magnitude = _sobel(smoothed)
    limits = np.float32(low), np.float32(high)
    return _hysteresis(_suppress_non_maxima(gy, gx, magnitude, *limits, np.float64(1)))


def ridges(
    gy: np.ndarray, gx: np.ndarray, magnitude: np.ndarray, low: float, high: float
) -> np.ndarray:
    """``(H, W)`` bool edge pixels of a gradient: its ridges, linked by hysteresis.

    `gy`, `gx` (H, W) float32; `magnitude` (H, W) float32, or what grows with it, in units of which
    the thresholds are. The outermost pixels are never marked.
    """
    limits = np.float32(low), np.float32(high)
    return _hysteresis(_suppress_non_maxima(gy, gx, magnitude, *limits, np.float32(1)))


@lru_cache
def _half_gaussian(sigma: float) -> np.ndarray:
    """Half of SciPy's Gaussian kernel, from its centre to a radius of 4 sigma: float64."""
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    return (kernel / kernel.sum())[len(kernel) // 2 :]


@lru_cache(maxsize=8)
def _kernel_share(shape: tuple[int, int], sigma: float) -> np.ndarray:
    """``(H, W)`` float32 share of the kernel inside the image, by which the result is divided."""
    ones = np.ones(shape, np.float32)
    kernel = _half_gaussian(sigma)
    inside = _smoothing(len(kernel) - 1)(ones, kernel, ones)[1:-1, 1:-1]
    return inside + np.finfo(np.float32).eps


@cache
def _smoothing(radius: int):
    """The smoothing sweep for kernels of one radius: known when compiled, it is unrolled."""

    @exact
    @for_radius(radius)
    def smooth(grey, kernel, share):
        """Along the columns, then the rows; zeros outside, and a repeated border of 1 px around."""
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
                    before, after = padded[y + radius - j, x], padded[y + radius + j, x]
                    total += (np.float64(before) + after) * kernel[j]
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
def _sobel(smoothed):
    """Sobel's gy, gx and gradient magnitude of a plane with a border of one pixel."""
    height, width = smoothed.shape[0] - 2, smoothed.shape[1] - 2
    gy = np.empty((height, width), np.float32)
    gx, magnitude = np.empty_like(gy), np.empty_like(gy)
    for y in range(height):
        above, here, below = smoothed[y], smoothed[y + 1], smoothed[y + 2]
        for x in range(width):
            left, right = below[x] - above[x], below[x + 2] - above[x + 2]
            middle = below[x + 1] - above[x + 1]
            gy[y, x] = 2.0 * middle + (np.float64(left) + right)
        for x in range(width):
            upper, lower = above[x + 2] - above[x], below[x + 2] - below[x]
            middle = here[x + 2] - here[x]
            gx[y, x] = 2.0 * middle + (np.float64(upper) + lower)
        for x in range(width):
            magnitude[y, x] = np.sqrt(gy[y, x] * gy[y, x] + gx[y, x] * gx[y, x])
    return gy, gx, magnitude


@exact
def _suppress_non_maxima(gy, gx, magnitude, low, high, one):
    """``(H, W)`` ridges: 2 where above ``high``, 1 where above ``low``, 0 elsewhere.

    On a ridge neither point one pixel up or down the gradient is larger; each is a mix of the two
    nearest pixels, in the precision of ``one``. scikit-image's is double, which takes twice as
    long.
    """
    height, width = magnitude.shape
    ridges = np.zeros((height, width), np.uint8)
    for y in range(1, height - 1):
        above, here, below = magnitude[y - 1], magnitude[y], magnitude[y + 1]
        for x in range(1, width - 1):
            # Choices between values already read, not branches: so they are vectorised.
            v, u = abs(gy[y, x]), abs(gx[y, x])
            n, s, e, w = above[x], below[x], here[x + 1], here[x - 1]
            ne, nw, se, sw = above[x + 1], above[x - 1], below[x + 1], below[x - 1]
            same_sign = (gy[y, x] > 0) == (gx[y, x] > 0)
            slant = min(u, v) / max(u, v)
            straight = (s if same_sign else n) if v > u else e
            opposite = (n if same_sign else s) if v > u else w
            ahead = (se if same_sign else ne) * slant + straight * (one - slant)
            behind = (nw if same_sign else sw) * slant + opposite * (one - slant)
            ridge = (here[x] >= low) & (ahead <= here[x]) & (behind <= here[x])
            ridges[y, x] = ridge * (1 + (here[x] >= high))
    return ridges


@exact
def _hysteresis(ridges):
    """High ridges, and the low ones that a chain of eight-connected neighbours links to one."""
    shape, width = ridges.shape, ridges.shape[1]
    ridges = ridges.ravel()
    edges = ridges == 2
    reached = np.empty(ridges.size, np.intp)
    for pixel in range(ridges.size):
        if ridges[pixel] == 1 and not edges[pixel] and _touches(edges, pixel, width):
            edges[pixel] = True
            reached[0] = pixel
            count = 1
            while count:
                count -= 1
                start = reached[count] - width - 1
                for row in range(start, start + 2 * width + 1, width):
                    for neighbour in range(row, row + 3):
                        if ridges[neighbour] == 1 and not edges[neighbour]:
                            edges[neighbour] = True
                            reached[count] = neighbour
                            count += 1
    return edges.reshape(shape)


@exact
def _touches(edges, pixel, width):
    touched = False
    for row in range(pixel - width, pixel + width + 1, width):
        touched |= edges[row - 1] | edges[row] | edges[row + 1]
    return touched
