"""From blur known at edges to blur everywhere: three ways to make a sparse map dense.

Each takes values with weights (0 = nothing known here) and fills the plane. Where no known value is near, the map tends
to the weighted mean of the known ones; where nothing is known at all, it is zero.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

# Weight of the mean value at every pixel: decides only where known values are farther away than the filter reaches.
PRIOR_WEIGHT = 1e-4


def _gaussian_matrix(size: int, spread: float, like: torch.Tensor) -> torch.Tensor:
    """``(size, size)`` Gaussian weights between the positions of one axis; zero outside the image."""
    position = torch.arange(size, dtype=like.dtype, device=like.device)
    return torch.exp(-((position[:, None] - position) ** 2) / (2 * spread**2))


def _box_mean(maps: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over the part of the ``(2 radius + 1)``-square window that lies inside the image."""
    size = 2 * radius + 1
    rows = F.avg_pool2d(maps, (1, size), stride=1, padding=(0, radius), count_include_pad=False)
    return F.avg_pool2d(rows, (size, 1), stride=1, padding=(radius, 0), count_include_pad=False)


def _with_prior(values: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give each pixel without a value the weighted mean, at a weight too small to matter where a value is near."""
    mean = (values * weights).sum() / weights.sum()
    return torch.where(weights > 0, values, mean), weights + PRIOR_WEIGHT * weights.max()


def normalized_gaussian(values: torch.Tensor, weights: torch.Tensor, spread: float | None = None) -> torch.Tensor:
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
    if not weights.any():
        return torch.zeros_like(values)
    values, weights = _with_prior(values, weights)
    spread = 0.04 * min(values.shape[2:]) if spread is None else spread
    # As a matrix product: for a filter this wide, several times faster than a convolution.
    down, across = (_gaussian_matrix(size, spread, values) for size in values.shape[2:])
    return (down @ (values * weights) @ across) / (down @ weights @ across)


def guided_filter(
    guide: torch.Tensor, values: torch.Tensor, weights: torch.Tensor | None = None, radius: int = 7, eps: float = 1e-2
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
    if weights is None:
        weights = torch.ones_like(values)
    elif not weights.any():
        return torch.zeros_like(values)
    else:
        values, weights = _with_prior(values, weights)
    total = _box_mean(weights, radius)

    def mean(maps: torch.Tensor) -> torch.Tensor:
        return _box_mean(weights * maps, radius) / total

    guide_mean, value_mean = mean(guide), mean(values)
    slope = (mean(guide * values) - guide_mean * value_mean) / (mean(guide * guide) - guide_mean**2 + eps)
    offset = value_mean - slope * guide_mean
    # Windows vote for a pixel in proportion to what they know.
    share = _box_mean(total, radius)
    return (_box_mean(total * slope, radius) * guide + _box_mean(total * offset, radius)) / share


def closed_form(image: np.ndarray, values: np.ndarray, weights: np.ndarray, trust: float = 0.1) -> np.ndarray:
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
    if not values[known].any():  # nothing known, or zero everywhere: the solver finds no direction to start in
        return np.zeros_like(values)
    from pymatting import cf_laplacian, cg, ichol
    from scipy import sparse

    pull = trust * weights.ravel()
    # The ridge, far below the pull, keeps the system definite where nothing is known. The Laplacian's epsilon is the
    # variance of colour that counts as flat: sensor noise must not fence a surface in.
    system = cf_laplacian(image, epsilon=1e-4) + sparse.diags(pull + 1e-6)
    solution = cg(system, pull * values.ravel(), M=ichol(system), rtol=1e-6, maxiter=2000)
    return np.clip(solution.reshape(values.shape), values[known].min(), values[known].max())
