"""Two ways to compile a loop over pixels.

Both compile when first called and keep the result beside the source. Neither starts threads: an image keeps to one, so
that its map depends on no other, and lets go of Python's lock, so that many images take many cores.
"""

from collections.abc import Callable

from numba import njit

# Each operation is rounded as written.
exact = njit(cache=True, nogil=True, error_model="numpy")
# Sums may be reordered, and multiplied and added in one rounding.
reordered = njit(cache=True, nogil=True, error_model="numpy", fastmath=True)


def for_radius(radius: int) -> Callable[[Callable], Callable]:
    """Give a kernel that is compiled once for each radius a name for each.

    Without it, kernels of two radii that two processes have compiled and kept can carry the same symbol; loaded into a
    third, none must be taken for the other.
    """

    def named(kernel: Callable) -> Callable:
        kernel.__qualname__ += f"_{radius}"
        return kernel

    return named
