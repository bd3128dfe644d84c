"""Quadrature rules for expected gradients: points at which gradients are taken, and weights.

The integration paths lead from ``K`` backgrounds ``b`` straight to an input ``x``: ``b + t (x -
b)``, ``t`` in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.interpolate import RBFInterpolator

METHODS = ("stratified", "midpoint", "random", "interpolated")
STEPS = 64  # of a path, where interpolated gradients are added up
NEAR, FAR = 0.6, 1.4  # density of interpolated points at the input and at a background
SMOOTHING = 1e-6  # of the longest path: points nearer than about this share their weight


class Rule(NamedTuple):
    """``S`` points, and their shares.

    Attributes
    ----------
    rows : (S,) int
        The background whose path a point is on.
    t : (S,) float
        The distance along the path, from 0 (the background) to 1 (the input).
    shares : (S, K) float
        Weight of the gradient at a point in the integral over each path. All of them add up to 1.
    """

    rows: np.ndarray
    t: np.ndarray
    shares: np.ndarray


def rule(
    method: str,
    n_samples: int,
    backgrounds: int,
    rng: np.random.Generator,
    gram: Callable[[], np.ndarray],
) -> Rule:
    """Points and shares of one input.

    ``method`` is one of METHODS, see
    :func:`defocus_lib.explain.expected_gradients.shapley_values`. ``gram`` returns the inner
    products ``(K, K)`` of ``b - x``; ``interpolated`` alone calls it.
    """
    if method == "interpolated":
        rows, u = _spread(n_samples, backgrounds, rng, 0.5)
        t = _denser_at_the_background(u)
        return Rule(rows, t, _interpolated(rows, t, gram()))
    if method == "random":
        rows, t = rng.integers(backgrounds, size=n_samples), rng.random(n_samples)
    else:
        rows, t = _spread(n_samples, backgrounds, rng, 0.5 if method == "midpoint" else None)
    return Rule(rows, t, np.eye(backgrounds)[rows] / n_samples)


def _spread(
    n_samples: int, backgrounds: int, rng: np.random.Generator, within: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """A background's row and a position for each stratum, random ``within`` it for None."""
    # Rounds of all backgrounds in random order along ascending strata: each background is used
    # equally often (to within one), and its points cover the whole path.
    rounds = -(-n_samples // backgrounds)
    rows = np.concatenate([rng.permutation(backgrounds) for _ in range(rounds)])[:n_samples]
    offsets = rng.random(n_samples) if within is None else within
    return rows, (np.arange(n_samples) + offsets) / n_samples


def _denser_at_the_background(u: np.ndarray) -> np.ndarray:
    """Positions whose density falls evenly from FAR at 0 to NEAR at 1, where the paths meet."""
    return (FAR - np.sqrt(FAR**2 - 2 * (FAR - NEAR) * u)) / (FAR - NEAR)


def _interpolated(rows: np.ndarray, t: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """Shares ``(S, K)`` that integrate the interpolant between all points, along every path.

    The interpolant is the polyharmonic one of lowest order, ``-|p - q|`` and a constant: on a
    single path it is linear between points and constant beyond. It has no length scale to be
    tuned.
    """
    corners = _placed(gram)
    middles = 1 - (np.arange(STEPS) + 0.5) / STEPS
    points, nodes = (1 - t)[:, None] * corners[rows], middles[:, None, None] * corners
    smoothing = SMOOTHING * np.sqrt(gram.diagonal().max()) or SMOOTHING
    interpolant = RBFInterpolator(
        points, np.eye(len(t)), kernel="linear", degree=0, smoothing=smoothing
    )
    weights = interpolant(nodes.reshape(-1, len(gram)))
    return weights.reshape(STEPS, len(gram), -1).mean(0).T / len(gram)


def _placed(gram: np.ndarray) -> np.ndarray:
    """Coordinates ``(K, K)`` of the backgrounds around the input, which keep all distances."""
    values, vectors = np.linalg.eigh(gram)
    return vectors * np.sqrt(np.maximum(values, 0))
