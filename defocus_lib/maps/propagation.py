"""From blur known at edges to blur everywhere: three ways to make a sparse map dense.

Each takes values (H, W) in px with weights (H, W), 0 where nothing is known, and fills the plane.
Where no known value is near, the map tends to the weighted mean of the known ones; where nothing is
known at all, it is zero.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from defocus_lib.maps.kernels.compiled import reordered
from defocus_lib.maps.kernels.filters import box_means

# Weight of the mean value at every pixel: decides only where known values are out of reach.
PRIOR_WEIGHT = 1e-4
# A Gaussian this wide (px) is, in single precision, computed at every second pixel: a cubic between
# them errs by 1e-4.
SPREAD_OF_HALF_GRID = 10


def normalized_gaussian(
    values: np.ndarray,
    weights: np.ndarray,
    spread: float | None = None,
    positions: np.ndarray | None = None,
) -> np.ndarray:
    """``(H, W)`` normalised convolution ``G(w s) / G(w)`` (Knutsson & Westin 1993).

    `values` and `weights` are of one float type. The Gaussian's standard deviation `spread` is in
    px, by default 4 % of the shorter side (12 px at 299). `positions`, read row by row and
    ascending, hold all pixels with a weight, if they are known already.
    """
    if not weights.any():
        return np.zeros_like(values)
    positions = np.flatnonzero(weights) if positions is None else positions
    spread = 0.04 * min(values.shape) if spread is None else spread
    halved = values.dtype == np.float32 and spread >= SPREAD_OF_HALF_GRID
    whole = [_gaussian_basis(size, spread, values.dtype, False) for size in values.shape]
    sampled = [_gaussian_basis(size, spread, values.dtype, halved) for size in values.shape]
    (to_row_points, _), (_, to_column_points) = whole
    (_, from_row_points), (from_column_points, _) = sampled
    points = _product(to_row_points, _on_points(values, weights, positions, to_column_points))
    rows = _product(points.reshape(-1, len(from_column_points)), from_column_points)
    dense = _quotient(_product(from_row_points, rows.reshape(len(to_row_points), -1)))
    return _interpolated(dense, *values.shape) if halved else dense


@lru_cache(maxsize=16)
def _gaussian_basis(
    size: int, spread: float, dtype: np.dtype, halved: bool
) -> tuple[np.ndarray, np.ndarray]:
    """One axis of a wide Gaussian in two narrower steps, over points c half its spread s apart.

    The sum of ``exp(-(x - c)^2 / s^2) exp(-(c - y)^2 / s^2)`` over all c is ``exp(-(x - y)^2 / (2
    s^2))`` times a constant that a quotient loses: the trapezoid rule, whose relative error is
    ``2 exp(-2 pi^2 (s / 2)^2 / step^2)``. The points reach beyond the image until what is left
    out is as small. Each term is positive: nothing cancels.

    Returns the basis functions (points, pixels) at each pixel, or at every second from 2 px before
    the first, and their transpose. They are zero where below a rounding of their maximum.
    """
    step, reach = (0.4, 4.2) if dtype == np.float64 else (0.64, 2.5)
    # A multiple of 16 fills the registers.
    count = 16 * math.ceil(((size - 1) / spread + 2 * reach) / step / 16)
    points = np.linspace(-reach * spread, size - 1 + reach * spread, count)
    pixels = np.arange(-2, size + 3, 2) if halved else np.arange(size)
    basis = np.exp(-(((points[:, None] - pixels) / spread) ** 2))
    basis = np.where(basis > np.finfo(dtype).eps, basis, 0).astype(dtype)
    return basis, np.ascontiguousarray(basis.T)


@reordered
def _on_points(values, weights, positions, basis):
    """``(H, 2 points)``: each row's ``w s`` beside its ``w``, both gathered on the points along x.

    A pixel without a value has the weighted mean; all have a weight more that is too small to
    matter where a value is near.
    """
    (height, width), count = values.shape, basis.shape[1]
    values, weights = values.ravel(), weights.ravel()
    mean, prior = _background(values, weights, positions)
    result = _without_values(height, mean, prior, basis)
    columns, known_pixels = np.empty(width + 3, np.intp), np.empty((2, width + 3), values.dtype)
    blurs, trusts, i = known_pixels[0], known_pixels[1], 0
    for y in range(height):
        known, end = 0, (y + 1) * width
        while i < len(positions) and positions[i] < end:
            trust, value = weights[positions[i]], values[positions[i]]
            columns[known] = positions[i] - y * width
            blurs[known], trusts[known] = trust * value + prior * (value - mean), trust
            known += trust != 0
            i += 1
        columns[known : known + 3], blurs[known : known + 3], trusts[known : known + 3] = 0, 0, 0
        _add(result[y, :count], result[y, count:], columns, blurs, trusts, known, basis)
    return result


@reordered
def _add(sums_of_blur, sums_of_trust, columns, blurs, trusts, known, basis):
    """Add a row's known pixels, four at a time: so a sum is loaded and stored once for four."""
    for k in range(0, known, 4):
        a, b = basis[columns[k]], basis[columns[k + 1]]
        c, d = basis[columns[k + 2]], basis[columns[k + 3]]
        blur_a, blur_b, blur_c, blur_d = blurs[k], blurs[k + 1], blurs[k + 2], blurs[k + 3]
        trust_a, trust_b, trust_c, trust_d = trusts[k], trusts[k + 1], trusts[k + 2], trusts[k + 3]
        for x in range(basis.shape[1]):
            sums_of_blur[x] += blur_a * a[x] + blur_b * b[x] + blur_c * c[x] + blur_d * d[x]
            sums_of_trust[x] += trust_a * a[x] + trust_b * b[x] + trust_c * c[x] + trust_d * d[x]


@reordered
def _background(values, weights, positions):
    """The weighted mean, and the small weight that it has everywhere."""
    total, weighted, top = 0.0, 0.0, 0.0
    for position in positions:
        total += weights[position]
        weighted += weights[position] * values[position]
        top = max(top, weights[position])
    precise = values.dtype.type
    return precise(weighted / total), precise(PRIOR_WEIGHT * top)


@reordered
def _without_values(height, mean, prior, basis):
    """:func:`_on_points` if no pixel had a value."""
    count = basis.shape[1]
    row = np.zeros(2 * count, basis.dtype)
    for functions in basis:
        for x in range(count):
            row[x] += prior * mean * functions[x]
            row[x + count] += prior * functions[x]
    result = np.empty((height, 2 * count), basis.dtype)
    for y in range(height):
        for x in range(2 * count):
            result[y, x] = row[x]
    return result


@reordered
def _product(left, right):
    """Matrix product that skips the zeros at the two ends of each row on the left."""
    result = np.zeros((len(left), right.shape[1]), right.dtype)
    for y in range(len(left)):
        factors, total = left[y], result[y]
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
            factor, row = factors[i], rows[i]
            for x in range(len(total)):
                total[x] += factor * row[x]
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
def _interpolated(grid, height, width):
    """A plane from every second of its pixels, one before and two after: cubics through four."""
    near, far = np.float32(9 / 16), np.float32(1 / 16)
    rows = np.empty((len(grid), width), grid.dtype)
    for y in range(len(grid)):
        for x in range((width + 1) // 2):
            rows[y, 2 * x] = grid[y, x + 1]
        for x in range(width // 2):
            inner, outer = grid[y, x + 1] + grid[y, x + 2], grid[y, x] + grid[y, x + 3]
            rows[y, 2 * x + 1] = near * inner - far * outer
    plane = np.empty((height, width), grid.dtype)
    for y in range((height + 1) // 2):
        for x in range(width):
            plane[2 * y, x] = rows[y + 1, x]
    for y in range(height // 2):
        for x in range(width):
            inner, outer = rows[y + 1, x] + rows[y + 2, x], rows[y, x] + rows[y + 3, x]
            plane[2 * y + 1, x] = near * inner - far * outer
    return plane


def guided_filter(
    guide: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray | None = None,
    radius: int = 7,
    eps: float = 1e-2,
) -> np.ndarray:
    """``(H, W)`` guided filter (He, Sun & Tang 2013): a fit ``values = a guide + b`` per window.

    `guide` and `values` (H, W) are of one float type. Without `weights` every pixel counts alike,
    as in the authors' code, zeros included. Windows reach `radius` px to each side and are cut at
    the border; `eps` is the ridge on ``a``, in squared units of the guide.
    """
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
    # Windows contribute to a pixel in proportion to their weights.
    return _at_pixels(guide, box_means(total * fits, radius) / box_means(total, radius))


@reordered
def _moments(guide, values):
    """Guide, values, their product and the guide's square: ``(4, H, W)``."""
    moments = np.empty((4, *guide.shape), guide.dtype)
    for y in range(guide.shape[0]):
        for x in range(guide.shape[1]):
            moments[0, y, x], moments[1, y, x] = guide[y, x], values[y, x]
            moments[2, y, x] = guide[y, x] * values[y, x]
            moments[3, y, x] = guide[y, x] * guide[y, x]
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
    """``(H, W)`` float64 by closed-form matting (Levin, Lischinski & Weiss 2008), in px.

    Solves ``(L + trust D) x = trust D s`` for the matting Laplacian ``L`` of `image` (H, W, 3)
    float64 in [0, 1] and the diagonal ``D`` of `weights`; pymatting builds and solves it. The
    result is kept within the range of the known values.
    """
    known = weights > 0
    if not values[known].any():  # nothing known, or only zeros: the solver has no start
        return np.zeros_like(values)
    from pymatting import cf_laplacian, cg, ichol
    from scipy import sparse

    pull = trust * weights.ravel()
    # The ridge, far below the pull, keeps the system definite where nothing is known. The
    # Laplacian's epsilon is the variance of colour that counts as flat: more than that of sensor
    # noise.
    system = cf_laplacian(image, epsilon=1e-4) + sparse.diags(pull + 1e-6)
    solution = cg(system, pull * values.ravel(), M=ichol(system), rtol=1e-6, maxiter=2000)
    return np.clip(solution.reshape(values.shape), values[known].min(), values[known].max())
