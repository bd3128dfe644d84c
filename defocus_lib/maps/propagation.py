"""From blur known at edges to blur everywhere: three ways to make a sparse map dense.

Each takes values with weights (0 = nothing known here) and fills the plane. Where no known value is near, the map tends
to the weighted mean of the known ones; where nothing is known at all, it is zero.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from defocus_lib.maps.kernels.compiled import reordered
from defocus_lib.maps.kernels.filters import box_means

# Weight of the mean value at every pixel: decides only where known values are farther away than the filter reaches.
PRIOR_WEIGHT = 1e-4
# A Gaussian this wide (px) is, in single precision, computed at every second pixel: a cubic between them errs by 1e-4.
SPREAD_OF_HALF_GRID = 10


def normalized_gaussian(
    values: torch.Tensor, weights: torch.Tensor, spread: float | None = None
) -> torch.Tensor:
    """Normalised convolution ``G(w s) / G(w)`` (Knutsson & Westin 1993).

    Parameters
    ----------
    values, weights : (1, 1, H, W) float
        Known blur in px, and how far to trust it (0 = unknown).
    spread : float, optional
        Standard deviation of the Gaussian in px; by default 4 % of the shorter side (12 px at 299).

    Returns
    -------
    (1, 1, H, W) float
    """
    return _as_tensor(gaussian_plane(_as_plane(values), _as_plane(weights), spread), values)


def guided_filter(
    guide: torch.Tensor,
    values: torch.Tensor,
    weights: torch.Tensor | None = None,
    radius: int = 7,
    eps: float = 1e-2,
) -> torch.Tensor:
    """Guided filter (He, Sun & Tang 2013), optionally weighted: a linear fit ``values = a guide + b`` in each window.

    Parameters
    ----------
    guide, values : (1, 1, H, W) float
    weights : (1, 1, H, W) float, optional
        Trust in each value. ``None`` counts every pixel alike, as the reference does, zeros included.
    radius : int
        Half the window's side in px; the window is cut at the image's border.
    eps : float
        Ridge on ``a``, in squared units of the guide.

    Returns
    -------
    (1, 1, H, W) float
    """
    trust = None if weights is None else _as_plane(weights)
    return _as_tensor(guided_plane(_as_plane(guide), _as_plane(values), trust, radius, eps), values)


def _as_plane(tensor: torch.Tensor) -> np.ndarray:
    return tensor[0, 0].detach().contiguous().cpu().numpy()


def _as_tensor(plane: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(plane).to(like)[None, None]


def gaussian_plane(
    values: np.ndarray,
    weights: np.ndarray,
    spread: float | None = None,
    places: np.ndarray | None = None,
) -> np.ndarray:
    """:func:`normalized_gaussian` of planes ``(H, W)`` of one float type.

    Who knows where there may be weights says so with ``places``, which need not be looked for then: positions read row
    by row, in ascending order.
    """
    if not weights.any():
        return np.zeros_like(values)
    places = np.flatnonzero(weights) if places is None else places
    spread = 0.04 * min(values.shape) if spread is None else spread
    halved = values.dtype == np.float32 and spread >= SPREAD_OF_HALF_GRID
    (down, _), (_, back) = (_bells(size, spread, values.dtype, False) for size in values.shape)
    (_, up), (across, _) = (_bells(size, spread, values.dtype, halved) for size in values.shape)
    points = _product(down, _on_points(values, weights, places, back))
    wide = _product(points.reshape(-1, len(across)), across)
    dense = _quotient(_product(up, wide.reshape(len(down), -1)))
    return _between(dense, *values.shape) if halved else dense


@lru_cache(maxsize=16)
def _bells(
    size: int, spread: float, dtype: np.dtype, halved: bool
) -> tuple[np.ndarray, np.ndarray]:
    """One axis of a wide Gaussian in two narrower steps, over points c that lie about half its spread s apart.

    The sum of ``exp(-(x - c)^2 / s^2) exp(-(c - y)^2 / s^2)`` over all c is ``exp(-(x - y)^2 / (2 s^2))`` times a
    constant that a quotient loses: the trapezoid rule, whose relative error is ``2 exp(-2 pi^2 (s / 2)^2 / step^2)``.
    The points reach beyond the image until what is left out is as small. Each term is positive: nothing cancels.

    Returns
    -------
    (points, pixels) and (pixels, points)
        The bells at each pixel, or at every second from 2 px before the first; and their transpose. Zero where a bell
        is below a rounding of its top.
    """
    step, reach = (0.4, 4.2) if dtype == np.float64 else (0.64, 2.5)
    # A multiple of 16 fills the registers.
    count = 16 * math.ceil(((size - 1) / spread + 2 * reach) / step / 16)
    points = np.linspace(-reach * spread, size - 1 + reach * spread, count)
    pixels = np.arange(-2, size + 3, 2) if halved else np.arange(size)
    bells = np.exp(-(((points[:, None] - pixels) / spread) ** 2))
    bells = np.where(bells > np.finfo(dtype).eps, bells, 0).astype(dtype)
    return bells, np.ascontiguousarray(bells.T)


@reordered
def _on_points(values, weights, places, beside):
    """Each row's ``w s`` beside its ``w``, both gathered on the points across: ``(H, 2 points)``.

    A pixel without a value has the weighted mean; all have a weight more that is too small to matter where a value is
    near.
    """
    (height, width), count = values.shape, beside.shape[1]
    values, weights = values.ravel(), weights.ravel()
    mean, prior = _background(values, weights, places)
    result = _without_values(height, mean, prior, beside)
    columns, found = np.empty(width + 3, np.intp), np.empty((2, width + 3), values.dtype)
    blurs, trusts, i = found[0], found[1], 0
    for y in range(height):
        known, end = 0, (y + 1) * width
        while i < len(places) and places[i] < end:
            trust, value = weights[places[i]], values[places[i]]
            columns[known] = places[i] - y * width
            blurs[known], trusts[known] = trust * value + prior * (value - mean), trust
            known += trust != 0
            i += 1
        columns[known : known + 3], blurs[known : known + 3], trusts[known : known + 3] = 0, 0, 0
        _add(result[y, :count], result[y, count:], columns, blurs, trusts, known, beside)
    return result


@reordered
def _add(sums_of_blur, sums_of_trust, columns, blurs, trusts, known, beside):
    """The bells of a row's known pixels, four at a time: so a sum is loaded and stored once for four."""
    for k in range(0, known, 4):
        a, b, c, d = (
            beside[columns[k]],
            beside[columns[k + 1]],
            beside[columns[k + 2]],
            beside[columns[k + 3]],
        )
        blur_a, blur_b, blur_c, blur_d = blurs[k], blurs[k + 1], blurs[k + 2], blurs[k + 3]
        trust_a, trust_b, trust_c, trust_d = trusts[k], trusts[k + 1], trusts[k + 2], trusts[k + 3]
        for x in range(beside.shape[1]):
            sums_of_blur[x] += blur_a * a[x] + blur_b * b[x] + blur_c * c[x] + blur_d * d[x]
            sums_of_trust[x] += trust_a * a[x] + trust_b * b[x] + trust_c * c[x] + trust_d * d[x]


@reordered
def _background(values, weights, places):
    """The weighted mean, and the small weight that it has everywhere."""
    total, weighted, top = 0.0, 0.0, 0.0
    for place in places:
        total += weights[place]
        weighted += weights[place] * values[place]
        top = max(top, weights[place])
    precise = values.dtype.type
    return precise(weighted / total), precise(PRIOR_WEIGHT * top)


@reordered
def _without_values(height, mean, prior, beside):
    """What :func:`_on_points` would be if every pixel had but the mean."""
    count = beside.shape[1]
    row = np.zeros(2 * count, beside.dtype)
    for bells in beside:
        for x in range(count):
            row[x] += prior * mean * bells[x]
            row[x + count] += prior * bells[x]
    result = np.empty((height, 2 * count), beside.dtype)
    for y in range(height):
        for x in range(2 * count):
            result[y, x] = row[x]
    return result


@reordered
def _product(left, right):
    """Matrix product; what is zero at the two ends of a row on the left is passed over."""
    result = np.zeros((len(left), right.shape[1]), right.dtype)
    for row in range(len(left)):
        factors, total = left[row], result[row]
        first, last = 0, len(factors)
        while first < last and factors[first] == 0:
            first += 1
        while first < last and factors[last - 1] == 0:
            last -= 1
        factors, rows = factors[first:last], right[first:last]
        for i in range(0, len(factors) - 3, 4):
            a, b, c, d = factors[i], factors[i + 1], factors[i + 2], factors[i + 3]
            row_a, row_b, row_c, row_d = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
            for x in range(len(total)):
                total[x] += a * row_a[x] + b * row_b[x] + c * row_c[x] + d * row_d[x]
        for i in range(len(factors) // 4 * 4, len(factors)):
            factor, one = factors[i], rows[i]
            for x in range(len(total)):
                total[x] += factor * one[x]
    return result


@reordered
def _quotient(rows):
    """The left half over the right one."""
    result = np.empty((rows.shape[0], rows.shape[1] // 2), rows.dtype)
    for y in range(result.shape[0]):
        for x in range(result.shape[1]):
            result[y, x] = rows[y, x] / rows[y, x + result.shape[1]]
    return result


@reordered
def _between(grid, height, width):
    """A plane from every second of its pixels, one more before and two after: cubics through the nearest four."""
    near, far = np.float32(9 / 16), np.float32(1 / 16)
    rows = np.empty((len(grid), width), grid.dtype)
    for y in range(len(grid)):
        for x in range((width + 1) // 2):
            rows[y, 2 * x] = grid[y, x + 1]
        for x in range(width // 2):
            rows[y, 2 * x + 1] = near * (grid[y, x + 1] + grid[y, x + 2]) - far * (
                grid[y, x] + grid[y, x + 3]
            )
    plane = np.empty((height, width), grid.dtype)
    for y in range((height + 1) // 2):
        for x in range(width):
            plane[2 * y, x] = rows[y + 1, x]
    for y in range(height // 2):
        for x in range(width):
            plane[2 * y + 1, x] = near * (rows[y + 1, x] + rows[y + 2, x]) - far * (
                rows[y, x] + rows[y + 3, x]
            )
    return plane


def guided_plane(
    guide: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray | None = None,
    radius: int = 7,
    eps: float = 1e-2,
) -> np.ndarray:
    """:func:`guided_filter` of planes ``(H, W)`` of one float type."""
    if weights is None:
        fits = _fits(box_means(_moments(guide, values), radius), eps)
        return _at_pixels(guide, box_means(fits, radius))
    if not weights.any():
        return np.zeros_like(values)
    known = weights > 0
    filled = np.where(known, values, (values * weights).sum() / weights.sum()).astype(values.dtype)
    weights = (weights + PRIOR_WEIGHT * weights.max()).astype(values.dtype)
    total = box_means(weights[None], radius)
    fits = _fits(box_means(weights * _moments(guide, filled), radius) / total, eps)
    # Windows vote for a pixel in proportion to what they know.
    return _at_pixels(guide, box_means(total * fits, radius) / box_means(total, radius))


@reordered
def _moments(guide, values):
    """Guide, values, their product and the guide's square: ``(4, H, W)``."""
    moments = np.empty((4, *guide.shape), guide.dtype)
    for y in range(guide.shape[0]):
        for x in range(guide.shape[1]):
            moments[0, y, x], moments[1, y, x] = guide[y, x], values[y, x]
            moments[2, y, x], moments[3, y, x] = (
                guide[y, x] * values[y, x],
                guide[y, x] * guide[y, x],
            )
    return moments


@reordered
def _fits(means, eps):
    """Slope and offset of each window's line, from the means of the moments: ``(2, H, W)``."""
    ridge = means.dtype.type(eps)
    fits = np.empty_like(means[:2])
    for y in range(means.shape[1]):
        for x in range(means.shape[2]):
            guide, value = means[0, y, x], means[1, y, x]
            slope = (means[2, y, x] - guide * value) / (means[3, y, x] - guide * guide + ridge)
            fits[0, y, x], fits[1, y, x] = slope, value - slope * guide
    return fits


@reordered
def _at_pixels(guide, fits):
    result = np.empty_like(guide)
    for y in range(guide.shape[0]):
        for x in range(guide.shape[1]):
            result[y, x] = fits[0, y, x] * guide[y, x] + fits[1, y, x]
    return result


def closed_form(
    image: np.ndarray, values: np.ndarray, weights: np.ndarray, trust: float = 0.1
) -> np.ndarray:
    """Closed-form matting (Levin, Lischinski & Weiss 2008): solve ``(L + trust D) x = trust D s``.

    ``L`` is the matting Laplacian of the image and ``D`` the diagonal of the weights; pymatting builds and solves it.

    Parameters
    ----------
    image : (H, W, 3) float64 in [0, 1]
    values, weights : (H, W) float64
        Known blur in px, and how far to trust it (0 = unknown).
    trust : float
        Pull of the known values against smoothness along the image.

    Returns
    -------
    (H, W) float64
        Blur in px, kept within the range of the known values.
    """
    known = weights > 0
    if not values[
        known
    ].any():  # nothing known, or zero everywhere: the solver finds no direction to start in
        return np.zeros_like(values)
    from pymatting import cf_laplacian, cg, ichol
    from scipy import sparse

    pull = trust * weights.ravel()
    # The ridge, far below the pull, keeps the system definite where nothing is known. The Laplacian's epsilon is the
    # variance of colour that counts as flat: sensor noise must not fence a surface in.
    system = cf_laplacian(image, epsilon=1e-4) + sparse.diags(pull + 1e-6)
    solution = cg(system, pull * values.ravel(), M=ichol(system), rtol=1e-6, maxiter=2000)
    return np.clip(solution.reshape(values.shape), values[known].min(), values[known].max())
