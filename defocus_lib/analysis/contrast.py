"""Contrast of blur: sigma in a region less sigma in its surroundings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from defocus_lib.checks import check_maps, check_same_shape


class Contrast(NamedTuple):
    """Blur of a region against its surroundings: means of sigma and their difference, in px.

    Where the uncertainty of the map is known, pixels are weighed by the inverse of their variance.
    """

    region: float
    surroundings: float
    difference: float
    uncertainty: float | None
    """Standard deviation of the error of the difference; None where that of the map is unknown."""
    in_uncertainties: float | None
    """The difference in units of its uncertainty."""


def contrast(
    sigma: np.ndarray,
    region: np.ndarray,
    uncertainty: np.ndarray | None = None,
    surroundings: np.ndarray | None = None,
) -> Contrast:
    """Mean blur of a region less that of its surroundings.

    Pixels are weighed by the inverse of their variance, where that is known. Errors of the pixels
    of one region are taken as fully correlated, because they come from the same few edges; those of
    the two regions as independent.

    Parameters
    ----------
    sigma : (H, W) float
        In px.
    region : (H, W) bool
    uncertainty : (H, W) float, optional
        Standard deviation of the error of ``sigma`` in px, above 0.
    surroundings : (H, W) bool, optional
        By default every other pixel.

    Raises ValueError if shapes differ, values are not finite, or either part has no pixel.
    """
    sigma = check_maps("sigma", sigma, ndim=2)
    region = np.asarray(region, bool)
    surroundings = ~region if surroundings is None else np.asarray(surroundings, bool)
    check_same_shape(sigma=sigma, region=region, surroundings=surroundings)
    if uncertainty is not None:
        uncertainty = check_maps("uncertainty", uncertainty, ndim=2)
        check_same_shape(sigma=sigma, uncertainty=uncertainty)
        if not (uncertainty > 0).all():
            raise ValueError(f"uncertainty has minimum {uncertainty.min():g}; above 0 wanted")
    (inside, of_inside), (outside, of_outside) = (
        _mean(name, sigma, part, uncertainty)
        for name, part in (("region", region), ("surroundings", surroundings))
    )
    difference = inside - outside
    if of_inside is None or of_outside is None:
        return Contrast(inside, outside, difference, None, None)
    error = float(np.hypot(of_inside, of_outside))
    return Contrast(inside, outside, difference, error, difference / error)


def _mean(
    name: str, sigma: np.ndarray, part: np.ndarray, uncertainty: np.ndarray | None
) -> tuple[float, float | None]:
    """Weighted mean over a part of a map, and the uncertainty of this mean."""
    if not part.any():
        raise ValueError(f"{name} has no pixel; at least one wanted")
    values = sigma[part].astype(np.float64)
    if uncertainty is None:
        return float(values.mean()), None
    errors = uncertainty[part].astype(np.float64)
    weights = errors**-2.0 / (errors**-2.0).sum()
    return float(weights @ values), float(weights @ errors)


def centre(shape: tuple[int, int], share: float = 0.5) -> np.ndarray:
    """``(H, W)`` bool: the middle of a map, ``share`` of its height and width."""
    rows, columns = (np.abs(offset) <= share for offset in _offsets(shape))
    return rows & columns


def ellipse(shape: tuple[int, int], share: float = 0.5) -> np.ndarray:
    """``(H, W)`` bool: an ellipse in the middle, its axes ``share`` of height and width."""
    rows, columns = _offsets(shape)
    return rows**2 + columns**2 <= share**2


def _offsets(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Of the centre of each row (H, 1) and column (1, W) from the middle; the border is at 1."""
    rows, columns = ((2 * np.arange(length) + 1 - length) / length for length in shape)
    return rows[:, None], columns[None, :]
