"""Blur at edges from the width of their ridges at one scale.

Across a step edge blurred by a Gaussian of ``sigma``, the energy of the gradient at scale ``s``
falls like ``exp(-x^2 / (sigma^2 + s^2))``. The curvature of its logarithm is ``-2 / (sigma^2 +
s^2)``, from which sigma follows. Noise decides which of three scales is read.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from defocus_lib.maps.edges import SKIMAGE_THRESHOLD, EdgeBlur, ridges
from defocus_lib.maps.kernels.compiled import exact
from defocus_lib.maps.kernels.filters import Gradient, gradient, half_grid, padded
from defocus_lib.maps.presets import Preset

# From this noise on scikit-image's whole threshold is needed: after smoothing by 1 px, noise n has
# gradients of about 0.2 n.
NOISE_OF_FULL_THRESHOLD = 1 / 60
# Noise above this, as a share of the range, makes ridges of its own at the finest scale.
NOISE_OF_FINEST_RIDGES = 1 / 120
# An edge counts half where the curvature along it is this share of that across it,
STRAIGHT = 0.5
# and where the ridge lies this far away, in widths of the edge as it is seen.
ON_RIDGE = 0.25


class Scale(NamedTuple):
    """What sigma is read from: a scale in px, the step of its grid in px, and a limit.

    An edge is read if ``d sigma / d curvature`` is at most ``limit * sqrt(energy)``, in squared px.
    """

    scale: float
    step: int
    limit: float


class Weighting(NamedTuple):
    """How an edge counts: the cap of sigma and an offset of the width in px, and the shape or not.

    An offset of 0 counts edges of every width alike.
    """

    max_sigma: float
    offset: float
    by_shape: bool


class Readings(NamedTuple):
    """Planes ``(H, W)`` that the scales write into, each where it reads an edge."""

    sparse: np.ndarray
    weights: np.ndarray
    valid: np.ndarray


def blur_at_edges(grey: np.ndarray, preset: Preset) -> EdgeBlur:
    """Blur at the edges of ``grey`` (H, W) float32, left out where it cannot be read.

    Each edge pixel is read at the finest scale that the noise allows: fine scales keep neighbouring
    edges apart, coarse ones average noise away. Gradients of the coarsest change little from pixel
    to pixel, so they are read on a grid of every second one.
    """
    noise = noise_level(grey)
    first, second, third = preset.scales
    # Smoothing by this, in steps of 2 px, turns the second scale into the third.
    lacking = math.sqrt(third**2 - second**2) / 2
    half_margin, radius = _radius(lacking), _radius(second)
    margin = 2 * half_margin + radius + 3
    around = padded(grey, margin, True)
    fine, middle = (gradient(around, margin, scale, _radius(scale)) for scale in (first, second))
    edges = _edges(fine.energy, middle, noise, preset.lowest_threshold)
    pixels = positions = np.flatnonzero(edges)
    readings = Readings(*(np.zeros(grey.shape, t) for t in (np.float32, np.float32, np.bool_)))
    weighting = Weighting(preset.max_sigma, preset.weigh_by_width * second, preset.weigh_by_shape)

    for slopes, size in ((fine, first), (middle, second)):
        curvatures, energies = _curvatures(pixels, _logarithms(slopes.energy), *slopes)
        limit = preset.max_error / curvature_error(noise, size, 1)
        scale = Scale(size, 1, limit)
        pixels = _read(pixels, curvatures, energies, scale, weighting, readings)
    halved = half_grid(around, margin, second, radius, half_margin)
    slopes = gradient(halved, half_margin, lacking, half_margin)
    nearest_rows, nearest_columns = (_nearest(length) for length in grey.shape)
    points = _on_grid(pixels, nearest_rows, nearest_columns, slopes.energy.shape[1])
    curvatures, energies = _curvatures(points, _logarithms(slopes.energy), *slopes)
    _read(pixels, curvatures, energies, Scale(third, 2, math.inf), weighting, readings)
    return EdgeBlur(edges, readings.sparse, readings.valid, readings.weights, positions)


def _edges(fine: np.ndarray, middle: Gradient, noise: float, lowest_threshold: float) -> np.ndarray:
    """Ridges of the gradient at the second scale.

    Their magnitude is the sum of the energies at both scales: one scale alone would merge
    neighbouring edges, the other follow the noise, and so counts less in a noisy image.
    """
    # A strong blur leaves faint edges: look for them with a threshold that falls with the noise.
    share = min(max(noise / NOISE_OF_FULL_THRESHOLD, lowest_threshold), 1.0)
    high = SKIMAGE_THRESHOLD / 8 * share
    share = min(1.0, (NOISE_OF_FINEST_RIDGES / noise) ** 2)
    energy = _sum(middle.energy, fine, np.float32(share))
    low, high = (1 + share) * (high / 2) ** 2, (1 + share) * high**2
    return ridges(middle.gy, middle.gx, energy, low, high)


@exact
def _sum(plane, other, share):
    """``plane + share * other``, without a plane between."""
    total = np.empty_like(plane)
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            total[y, x] = plane[y, x] + share * other[y, x]
    return total


def _radius(scale: float) -> int:
    """Where a Gaussian of this scale ends."""
    return math.ceil(3.5 * scale)


@exact
def _on_grid(pixels, rows, columns, width):
    """The points of a half grid ``width`` points wide nearest to pixels; both read row by row."""
    points = np.empty_like(pixels)
    for i in range(len(pixels)):
        row = pixels[i] // len(columns)
        points[i] = rows[row] * width + columns[pixels[i] - row * len(columns)]
    return points


@lru_cache
def _nearest(size: int) -> np.ndarray:
    """Nearest points along one axis; what lies midway goes towards the image's middle."""
    position = np.arange(size)
    outwards = (position < (size - 1) / 2) & (size % 2 == 1)
    return (position + outwards) // 2 + 1


@exact
def _logarithms(energies):
    """Natural logarithms in single precision, without calls, so that they are vectorised."""
    logarithms = np.empty(energies.shape, np.float32)
    for y in range(energies.shape[0]):
        for x in range(energies.shape[1]):
            # Counted from the root of a half, so that the mantissa lies around 1.
            energy = np.float32(max(energies[y, x], np.float32(1e-24)))
            bits = np.int32(energy.view(np.int32) - 0x3F3504F3)
            mantissa = np.int32((bits & 0x7FFFFF) + 0x3F3504F3).view(np.float32)
            z = (mantissa - np.float32(1)) / (mantissa + np.float32(1))
            q = z * z
            series = np.float32(2 / 5) + q * np.float32(2 / 7)
            series = np.float32(2) + q * (np.float32(2 / 3) + q * series)
            exponent = np.float32(np.int32(bits >> 23))
            logarithms[y, x] = z * series + exponent * np.float32(0.6931471805599453)
    return logarithms


@exact
def _curvatures(points, logarithms, gy, gx, energies):
    """Curvature of the logarithm of the energy at each point (3, K), and the energy there (K,).

    Across a blurred step it is a parabola, along it constant. From three by three neighbours, in
    steps of their grid: the second derivative across the edge, that along it, and the square of the
    first derivative across it, which is 0 on the ridge.
    """
    width, curvatures = logarithms.shape[1], np.empty((3, len(points)), np.float32)
    heights, energies = logarithms.ravel(), energies.ravel()
    gy, gx = gy.ravel(), gx.ravel()
    # A plain number would double the precision, and the time.
    half, two = np.float32(0.5), np.float32(2)
    energies_there = np.empty(len(points), np.float32)
    for i in range(len(points)):
        point = points[i]
        n, s = heights[point - width], heights[point + width]
        w, e = heights[point - 1], heights[point + 1]
        nw, ne = heights[point - width - 1], heights[point - width + 1]
        sw, se = heights[point + width - 1], heights[point + width + 1]
        here, v, u, energy = heights[point], gy[point], gx[point], energies[point]
        yy, xx, xy = n + s - two * here, w + e - two * here, (se + nw - ne - sw) * half
        slope = (v * (s - n) + u * (e - w)) * half
        curvatures[0, i] = (v * v * yy + u * u * xx + v * u * xy) / energy
        curvatures[1, i] = yy + xx - curvatures[0, i]
        curvatures[2, i] = slope * slope / energy
        energies_there[i] = energy
    return curvatures, energies_there


def curvature_error(noise: float, scale: float, step: int) -> float:
    """Standard deviation that image noise adds to a curvature, times the root of the energy there.

    White noise of ``noise`` leaves ``noise / (sqrt(8 pi) s^2)`` in a Gaussian derivative of scale
    s; between points x apart along the derivative it has the correlation ``(1 - x^2 / (2 s^2))
    exp(-x^2 / (4 s^2))``. The curvature of the logarithm of the energy is twice the second
    difference of the derivative, over the derivative. Per squared step of the grid.
    """
    near, far = (
        (1 - x**2 / (2 * scale**2)) * math.exp(-(x**2) / (4 * scale**2)) for x in (step, 2 * step)
    )
    return 2 * math.sqrt(6 - 8 * near + 2 * far) * noise / (math.sqrt(8 * math.pi) * scale**2)


@exact
def _read(pixels, curvatures, energies, scale, weighting, readings):
    """Write sigma and weight where this scale can read them; returns the pixels left open.

    Sigma is written if noise moves it by little (one standard deviation, to first order).
    """
    count, unit, zero = len(pixels), np.float32(1), np.float32(0)
    sigmas, weights = np.empty(count, np.float32), np.empty(count, np.float32)
    is_read, is_open = np.empty(count, np.bool_), np.empty(count, np.bool_)
    widest, own = np.float32(-2 * scale.step**2), np.float32(scale.scale**2)
    offset, most = np.float32(weighting.offset**2), np.float32(weighting.max_sigma**2)
    surest = np.float32(16 * (scale.limit * scale.step**2) ** 2)
    along = np.float32(weighting.by_shape / STRAIGHT**2)
    off = np.float32(weighting.by_shape / ON_RIDGE**2)
    # Without a branch: the loop is vectorised, and the processor need not guess.
    for i in range(count):
        # Where the energy does not fall to both sides, there is no ridge at this scale.
        inverse = unit / min(curvatures[0, i], np.float32(-1e-12))
        width = widest * inverse
        variance = width - own
        # d sigma / d curvature = (sigma^2 + s^2)^2 / (4 sigma), both sides of the limit squared
        squared = width * width
        certain = squared * squared <= variance * energies[i] * surest
        is_read[i] = (variance > zero) & (curvatures[0, i] < zero) & certain
        # Narrower than this scale alone makes it: sharper than any scale can see.
        is_open[i] = (variance > zero) & ~is_read[i]
        variance = min(max(variance, zero), most)
        sigmas[i] = math.sqrt(variance) if is_read[i] else zero
        # Blurred surfaces carry fewer edges per area than sharp ones; their width evens that out.
        weight = math.sqrt(variance + offset) if weighting.offset > 0 else unit
        bent = curvatures[1, i] * inverse
        weight = weight / (unit + bent * bent * along - curvatures[2, i] * inverse * off)
        weights[i] = weight if is_read[i] else zero
    return _written(pixels, (sigmas, weights, is_read), is_open, readings)


@exact
def _written(pixels, values, is_open, readings):
    sigmas, weights, is_read = values
    sparse, plane, valid = readings.sparse.ravel(), readings.weights.ravel(), readings.valid.ravel()
    open_pixels, count = np.empty_like(pixels), 0
    for i in range(len(pixels)):
        pixel = pixels[i]
        sparse[pixel], plane[pixel], valid[pixel] = sigmas[i], weights[i], is_read[i]
        open_pixels[count] = pixel
        count += is_open[i]
    return open_pixels[:count]


def noise_level(grey: np.ndarray) -> float:
    """Standard deviation of white noise in ``grey`` (H, W) float32 in [0, 1] (Immerkaer 1996).

    It is the median response to a difference of Laplacians, and at least the rounding error of 8
    bits.
    """
    responses = _responses(grey)
    lower_median = (len(responses) - 1) // 2
    # The kernel's norm is 6; 0.6745 is the median of |N(0, 1)|.
    level = float(np.partition(responses, lower_median)[lower_median]) / (6 * 0.6745)
    return max(level, 1 / 255 / math.sqrt(12))


@exact
def _responses(grey):
    """Magnitudes of the response at every second row and column: enough for a median."""
    height, width = (grey.shape[0] - 1) // 2, (grey.shape[1] - 1) // 2
    responses = np.empty((height, width), np.float32)
    curvatures, two = np.empty(grey.shape[1], np.float32), np.float32(2)
    for y in range(height):
        above, here, below = grey[2 * y], grey[2 * y + 1], grey[2 * y + 2]
        for x in range(len(curvatures)):
            curvatures[x] = above[x] - two * here[x] + below[x]
        for x in range(width):
            left, middle, right = curvatures[2 * x], curvatures[2 * x + 1], curvatures[2 * x + 2]
            responses[y, x] = abs(left - two * middle + right)
    return responses.ravel()
