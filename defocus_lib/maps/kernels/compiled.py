"""Two ways to compile a loop over pixels.

Both compile when first called and keep the result beside the source. Neither starts threads: an
image keeps to one, so that its map depends on no other, and releases Python's lock, so that many
images use many cores.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable)
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


def exact(kernel: Kernel) -> Kernel:
    """Compile a kernel; each operation is rounded as written."""
    return njit(**OPTIONS)(kernel)


def reordered(kernel: Kernel) -> Kernel:
    """Compile a kernel; sums may be reordered, and multiplied and added in one rounding."""
    return njit(**OPTIONS, fastmath=True)(kernel)


def for_radius(radius: int) -> Callable[[Kernel], Kernel]:
    """Name a kernel that is compiled once for each radius after its radius.

    Kernels of two radii that two processes have compiled and kept could otherwise carry the same
    symbol; a third process that loads both must not take one for the other.
    """

    def named(kernel: Kernel) -> Kernel:
        kernel.__qualname__ += f"_{radius}"
        return kernel

    return named
