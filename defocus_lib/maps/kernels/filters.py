"""Separable filters of one plane: Gaussian derivatives, and means over square windows."""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from defocus_lib.maps.kernels.compiled import for_radius, reordered


@lru_cache
def gaussian_factors(
    scale: float, radius: int, phase: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Factors of the Gaussian derivative ``-x / (2 pi s^4) exp(-(x^2 + y^2) / (2 s^2))``.

    Two (radius + 1,) float32, along x and along y, at 0 to `radius` px plus `phase` from the
    centre.
    """
    offsets = np.arange(radius + 1) + phase
    gaussian = np.exp(-(offsets**2) / (2 * scale**2))
    derivative = -offsets / (2 * math.pi * scale**4) * gaussian
    return derivative.astype(np.float32), gaussian.astype(np.float32)


@reordered
def padded(plane, margin, reflect):
    """A plane with ``margin`` more px on each side: reflected at the outermost pixels, or 0."""
    height, width = plane.shape
    shape = (height + 2 * margin, width + 2 * margin)
    result = np.empty(shape, plane.dtype) if reflect else np.zeros(shape, plane.dtype)
    for y in range(height):
        inside = result[y + margin, margin:]
        for x in range(width):
            inside[x] = plane[y, x]
    if reflect:
        first, last = margin, margin + width - 1
        for y in range(margin, margin + height):
            for i in range(1, margin + 1):
                result[y, first - i] = result[y, first + i]
                result[y, last + i] = result[y, last - i]
        first, last = margin, margin + height - 1
        for i in range(1, margin + 1):
            for x in range(width + 2 * margin):
                result[first - i, x] = result[first + i, x]
                result[last + i, x] = result[last - i, x]
    return result


def gradient_energy(plane: np.ndarray, margin: int, scale: float, radius: int) -> np.ndarray:
    """``(H, W)`` float32 squared gradient magnitude of a padded plane at one scale, per px squared.

    `plane` (H + 2 margin, W + 2 margin) float32 with `margin` of at least `radius`; `scale` of the
    Gaussian derivative and `radius` of its kernel in px.
    """
    return _energy(radius)(plane, margin, *gaussian_factors(scale, radius), None)


class Gradient(NamedTuple):
    """Gradient of a plane per px, and its energy ``gx^2 + gy^2``: each ``(H, W)`` float32."""

    gy: np.ndarray
    gx: np.ndarray
    energy: np.ndarray


def gradient(plane: np.ndarray, margin: int, scale: float, radius: int) -> Gradient:
    """:func:`gradient_energy`, and the gradient that it is made of."""
    height, width = (length - 2 * margin for length in plane.shape)
    parts = np.empty((2, height, width), np.float32)
    energy = _energy(radius)(plane, margin, *gaussian_factors(scale, radius), parts)
    return Gradient(parts[0], parts[1], energy)


@cache
def _energy(radius: int):
    """The sweep for kernels of one radius: known when compiled, it is unrolled."""

    @reordered
    @for_radius(radius)
    def energy(plane, margin, derivative, gaussian, parts):
        height, width = plane.shape[0] - 2 * margin, plane.shape[1] - 2 * margin
        derived = np.empty((height + 2 * radius, width), np.float32)
        smoothed = np.empty_like(derived)
        for y in range(height + 2 * radius):
            row = plane[y + margin - radius, margin - radius :]
            for x in range(width):
                difference, total = np.float32(0), gaussian[0] * row[x + radius]
                for j in range(1, radius + 1):
                    difference += derivative[j] * (row[x + radius - j] - row[x + radius + j])
                    total += gaussian[j] * (row[x + radius - j] + row[x + radius + j])
                derived[y, x], smoothed[y, x] = difference, total
        result = np.empty((height, width), np.float32)
        for y in range(height):
            for x in range(width):
                gx = gaussian[0] * derived[y + radius, x]
                for j in range(1, radius + 1):
                    gx += gaussian[j] * (derived[y + radius - j, x] + derived[y + radius + j, x])
                result[y, x] = gx * gx
                if parts is not None:
                    parts[1, y, x] = gx
        for y in range(height):
            for x in range(width):
                gy = np.float32(0)
                for j in range(1, radius + 1):
                    gy += derivative[j] * (
                        smoothed[y + radius - j, x] - smoothed[y + radius + j, x]
                    )
                result[y, x] += gy * gy
                if parts is not None:
                    parts[0, y, x] = gy
        return result

    return energy


def half_grid(
    plane: np.ndarray, margin: int, scale: float, radius: int, half_margin: int
) -> np.ndarray:
    """A padded plane, smoothed by a Gaussian, at every second point of both axes and one beyond.

    The points lie symmetrically: on pixels where a side is odd, midway between two where it is
    even, so a flipped plane has the flipped grid.

    `plane` (H + 2 margin, W + 2 margin) float32 with `margin` of at least ``2 half_margin +
    radius + 3``; `scale` and `radius` of the Gaussian in px. Returns (h + 2 half_margin, w + 2
    half_margin) float32, scaled so that differences of neighbours are gradients per px.
    """
    shifts = tuple(1 - (length - 2 * margin) % 2 for length in plane.shape)
    over_rows, over_columns = (_paired_factors(scale, radius, shift) for shift in shifts)
    return _half_grid(radius)(plane, margin, half_margin + 1, shifts, over_rows, over_columns)


@lru_cache
def _paired_factors(scale: float, radius: int, shift: int) -> np.ndarray:
    """Factors for pairs of pixels; a grid point on a pixel pairs that pixel with itself."""
    _, gaussian = gaussian_factors(scale, radius, shift / 2)
    pairs = gaussian * np.where(np.arange(radius + 1) + shift > 0, 1, 0.5)
    # The Gaussian's sum, and for each axis the root of a step of 2 px.
    return (pairs / (2 * math.sqrt(math.pi) * scale)).astype(np.float32)


@cache
def _half_grid(radius: int):
    @reordered
    @for_radius(radius)
    def half_grid(plane, margin, border, shifts, over_rows, over_columns):
        (shift_rows, shift_columns), start = shifts, margin - 2 * border - radius
        rows = (plane.shape[0] - 2 * margin + 1) // 2 + 2 * border
        columns = (plane.shape[1] - 2 * margin + 1) // 2 + 2 * border
        level = np.empty((2 * rows + 2 * radius + 1, columns), np.float32)
        # Even and odd columns apart: the values that one factor multiplies then lie side by side.
        parts = np.empty((4, columns + radius + 1), np.float32)
        even, odd, even_after, odd_after = parts[0], parts[1], parts[2], parts[3]
        for y in range(len(level)):
            before, after = plane[y + start, start:], plane[y + start, start + shift_columns :]
            for x in range(columns + radius):
                even[x], odd[x] = before[2 * x], before[2 * x + 1]
                even_after[x], odd_after[x] = after[2 * x], after[2 * x + 1]
            for x in range(columns):
                total = np.float32(0)
                for j in range(radius + 1):
                    first, last = radius - j, radius + j
                    left = odd[x + (first >> 1)] if first & 1 else even[x + (first >> 1)]
                    other = odd_after[x + (last >> 1)] if last & 1 else even_after[x + (last >> 1)]
                    total += over_columns[j] * (left + other)
                level[y, x] = total
        smooth = np.empty((rows, columns), np.float32)
        for y in range(rows):
            before, after = 2 * y + radius, 2 * y + radius + shift_rows
            for x in range(columns):
                total = np.float32(0)
                for j in range(radius + 1):
                    total += over_rows[j] * (level[before - j, x] + level[after + j, x])
                smooth[y, x] = total
        return smooth

    return half_grid


def box_means(planes: np.ndarray, radius: int) -> np.ndarray:
    """``(K, H, W)`` means of `planes` over the part of each window that lies inside the plane.

    The window is a square of ``2 radius + 1`` px; the type is that of the planes.
    """
    shares = (1 / _window_sides(size, radius) for size in planes.shape[1:])
    return _box_means(radius)(planes, *(share.astype(planes.dtype) for share in shares))


def _window_sides(size: int, radius: int) -> np.ndarray:
    """How many pixels of the window around each position of one axis lie inside the plane."""
    position = np.arange(size)
    return np.minimum(position + radius, size - 1) - np.maximum(position - radius, 0) + 1


@cache
def _box_means(radius: int):
    """Running sums along the columns; along the rows the whole window, unrolled."""

    @reordered
    @for_radius(radius)
    def box_means(planes, row_shares, column_shares):
        count, height, width = planes.shape
        means = np.empty_like(planes)
        columns = np.empty(width, np.float64)
        row = np.zeros(width + 2 * radius, planes.dtype)
        for k in range(count):
            columns[:] = 0
            for below in range(height + radius):
                if below < height:
                    entering = planes[k, below]
                    for x in range(width):
                        columns[x] += entering[x]
                if below > 2 * radius:
                    leaving = planes[k, below - 2 * radius - 1]
                    for x in range(width):
                        columns[x] -= leaving[x]
                if below >= radius:
                    share, mean = row_shares[below - radius], means[k, below - radius]
                    for x in range(width):
                        row[x + radius] = columns[x]
                    for x in range(width):
                        total = row[x]
                        for j in range(1, 2 * radius + 1):
                            total += row[x + j]
                        mean[x] = total * share * column_shares[x]
        return means

    return box_means
