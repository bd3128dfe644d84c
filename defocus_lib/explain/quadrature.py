"""At which points gradients are taken, and what each counts for in an integral over the ways to an input.

The ways lead from ``K`` backgrounds ``b`` straight to an input ``x``: ``b + t (x - b)`` with ``t`` from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.interpolate import RBFInterpolator

METHODS = ("stratified", "midpoint", "random", "interpolated")
STEPS = 64  # of a way, where interpolated gradients are added up
NEAR, FAR = 0.6, 1.4  # density of interpolated points at the input and at a background
APART = 1e-6  # of the longest way: points nearer than about this share what they count


class Rule(NamedTuple):
    """``S`` points, and their shares.

    Attributes
    ----------
    rows : (S,) int
        The background whose way a point is on.
    t : (S,) float
        Where on it, from 0 (the background) to 1 (the input).
    shares : (S, K) float
        What the gradient at a point counts for on each of the ways. All of them add up to 1.
    """

    rows: np.ndarray
    t: np.ndarray
    shares: np.ndarray


def rule(
    method: str,
    samples: int,
    backgrounds: int,
    rng: np.random.Generator,
    gram: Callable[[], np.ndarray],
) -> Rule:
    """Points and shares of one input.

    Parameters
    ----------
    method : {"stratified", "midpoint", "random", "interpolated"}
        See :func:`defocus_lib.explain.expected_gradients.shapley_values`.
    samples, backgrounds : int
    rng : numpy.random.Generator
    gram : callable
        Returns the inner products ``(K, K)`` of ``b - x``; called by ``interpolated`` alone.
    """
    if method == "interpolated":
        rows, u = _spread(samples, backgrounds, rng, 0.5)
        t = _denser_at_the_background(u)
        return Rule(rows, t, _interpolated(rows, t, gram()))
    if method == "random":
        rows, t = rng.integers(backgrounds, size=samples), rng.random(samples)
    else:
        rows, t = _spread(samples, backgrounds, rng, 0.5 if method == "midpoint" else None)
    return Rule(rows, t, np.eye(backgrounds)[rows] / samples)


def _spread(
    samples: int, backgrounds: int, rng: np.random.Generator, within: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """A background's row and a position for each stratum; None draws where in its stratum the position is."""
    # Rounds of all backgrounds in random order along ascending strata: each background is used equally often (to within
    # one) and sees the whole way.
    rounds = -(-samples // backgrounds)
    rows = np.concatenate([rng.permutation(backgrounds) for _ in range(rounds)])[:samples]
    within = rng.random(samples) if within is None else within
    return rows, (np.arange(samples) + within) / samples


def _denser_at_the_background(u: np.ndarray) -> np.ndarray:
    """Positions whose density falls evenly from FAR at 0 to NEAR at 1: where ways meet, one point tells of several."""
    return (FAR - np.sqrt(FAR**2 - 2 * (FAR - NEAR) * u)) / (FAR - NEAR)


def _interpolated(rows: np.ndarray, t: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """Shares ``(S, K)`` that integrate, along every way, what is interpolated between the points of all of them.

    The interpolant is the polyharmonic one of lowest order, ``-|p - q|`` and a constant: on a single way it is linear
    between points and constant beyond. It has no length to be tuned.
    """
    corners = _placed(gram)
    middles = 1 - (np.arange(STEPS) + 0.5) / STEPS
    points, ways = (1 - t)[:, None] * corners[rows], middles[:, None, None] * corners
    smoothing = APART * np.sqrt(gram.diagonal().max()) or APART
    each = RBFInterpolator(points, np.eye(len(t)), kernel="linear", degree=0, smoothing=smoothing)
    return each(ways.reshape(-1, len(gram))).reshape(STEPS, len(gram), -1).mean(0).T / len(gram)


def _placed(gram: np.ndarray) -> np.ndarray:
    """Backgrounds ``(K, K)`` around the input at the origin, as far from it and from one another as the images are."""
    values, vectors = np.linalg.eigh(gram)
    return vectors * np.sqrt(np.maximum(values, 0))
