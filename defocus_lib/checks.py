"""The validators of array arguments: one place for the question, one style for the answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def check_maps(name: str, maps: ArrayLike, ndim: int = 3) -> np.ndarray:
    """Return ``maps`` as an array, if it is a stack of finite numbers that an analysis can use.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    maps : array_like
        ``(N, H, W)`` for ``ndim=3``, ``(N, D)`` for ``ndim=2``, ``(N,)`` for ``ndim=1``; numbers or
        booleans.
    ndim : int
        Number of axes wanted.

    Raises
    ------
    ValueError
        If the number of axes is another one, an axis is empty, the values are no real numbers, or
        one is NaN or infinite.
    """
    array = np.asarray(maps)
    if array.ndim != ndim:
        raise ValueError(f"{name} has shape {array.shape}; {ndim} axes wanted, found {array.ndim}")
    if array.size == 0:
        raise ValueError(f"{name} is empty: shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {array.dtype}; real numbers or booleans wanted")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"{name} holds {int((~np.isfinite(array)).sum())} NaN or infinite value(s)"
        )
    return array


def check_same_shape(**arrays: np.ndarray) -> None:
    """Raise ``ValueError`` naming the arguments, unless all ``arrays`` have one shape."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            "one shape wanted, found "
            + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        )


def check_unit_range(name: str, maps: np.ndarray) -> None:
    """Raise ``ValueError`` naming the argument, unless all values lie in [0, 1]."""
    low, high = maps.min(), maps.max()
    if low < 0 or high > 1:
        raise ValueError(f"{name} spans [{low:.3g}, {high:.3g}]; values in [0, 1] wanted")
