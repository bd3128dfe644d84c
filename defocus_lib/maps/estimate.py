"""The defocus map of one image: edges, blur at the edges, blur everywhere.

Presets differ in how blur is read at edges: from the ratio of two scales
(:mod:`defocus_lib.maps.ratio`), or the width of the ridge at one (:mod:`defocus_lib.maps.width`).
:mod:`defocus_lib.maps.propagation` carries it into the plane. The preset ``learned`` reads blur
everywhere instead, with a trained network (:mod:`defocus_lib.maps.learned`).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from joblib import effective_n_jobs

from defocus_lib.maps import learned, ratio, width
from defocus_lib.maps import propagation as propagations
from defocus_lib.maps.edges import EdgeBlur
from defocus_lib.maps.kernels.compiled import exact
from defocus_lib.maps.presets import NETWORK, Preset, preset_named

SMALLEST_SIDE = 32  # px


class DefocusMaps(NamedTuple):
    """Maps of ``B`` images, each ``(B, 1, H, W)`` on the device of the images."""

    edges: torch.Tensor
    """Edge pixels, bool."""
    sparse: torch.Tensor
    """Sigma in px at edge pixels, 0 elsewhere and where nothing could be measured, float32."""
    valid: torch.Tensor
    """Edge pixels at which blur could be measured, bool: separates unknown from sharp."""
    dense: torch.Tensor
    """Sigma in px everywhere, not normalised, float32."""
    uncertainty: torch.Tensor | None = None
    """Standard deviation of the error of ``dense`` in px, float32; of ``learned`` alone."""


def defocus_maps(
    images: torch.Tensor | np.ndarray,
    preset: str | Preset = "physical",
    propagation: str | None = None,
    n_workers: int = 1,
) -> DefocusMaps:
    """Estimate defocus maps. The maps of an image do not depend on the rest of the batch.

    Computed on the CPU, wherever the images are: a map of 299x299 px takes a core about 2 ms. The
    first call in a new installation compiles, once, for some seconds. The network of ``learned``
    runs where the images are, and takes a CPU ten times as long.

    Parameters
    ----------
    images : (B, 3, H, W) float in [0, 1], H and W at least 32
    preset : a name in :data:`defocus_lib.maps.presets.PRESETS`, or a Preset
        ``physical`` and ``learned`` estimate sigma in px, the latter with its uncertainty;
        ``released`` and ``published`` compute what Jeon & Woo (2025) did.
    propagation : {"gaussian", "guided", "closed_form"}, optional
        How the map is made dense; by default as the preset says. Not for ``learned``.
    n_workers : int
        Threads, each with an image of its own; -1 takes every core.

    Returns
    -------
    DefocusMaps
        An image at whose edges no blur can be measured, such as a white one, gives zeros with no
        valid pixel; the uncertainty is then the largest blur that the preset reads, everywhere.

    Raises
    ------
    TypeError, ValueError
        If the images have another type, shape or range, hold NaN, or a name is unknown.
    """
    preset = preset_named(preset)
    method = preset.method(propagation)
    images = check_images(images)
    maps = _from_edges(images, preset, method, n_workers)
    return _by_network(images, maps, preset.max_sigma) if method == NETWORK else maps


def _by_network(images: torch.Tensor, maps: DefocusMaps, max_sigma: float) -> DefocusMaps:
    """The maps of the same edges, as the network reads them; empty where nothing was measured.

    The network sees energies of the gradient in units of a rounding error, so without an edge it
    guesses what is typical of such places in photographs.
    """
    sigma, uncertainty = learned.estimate(images)
    empty = ~maps.valid.flatten(1).any(1).view(-1, 1, 1, 1)
    dense = sigma.clamp(max=max_sigma).masked_fill(empty, 0)
    uncertainty = uncertainty.masked_fill(empty, max_sigma)
    return DefocusMaps(maps.edges, dense * maps.edges, maps.edges & ~empty, dense, uncertainty)


def _from_edges(images: torch.Tensor, preset: Preset, method: str, n_workers: int) -> DefocusMaps:
    planes = np.ascontiguousarray(images.cpu().numpy())
    shape = (len(planes), *planes.shape[2:])
    stacks = [np.empty(shape, dtype) for dtype in (bool, np.float32, bool, np.float32)]

    def fill(index: int) -> None:
        for stack, plane in zip(stacks, _one(planes[index], preset, method), strict=True):
            stack[index] = plane

    _keep_freed_memory()
    count = effective_n_jobs(n_workers)
    with ThreadPoolExecutor(count) as threads:
        # A single thread would only take turns with this one, which waits for it.
        list((threads.map if count > 1 else map)(fill, range(len(planes))))
    return DefocusMaps(*(torch.from_numpy(stack)[:, None].to(images.device) for stack in stacks))


def normalize_per_sample(maps: torch.Tensor) -> torch.Tensor:
    """``(B, 1, H, W)`` maps stretched to [0, 1], each by its own minimum and maximum.

    A constant map becomes zero; ValueError if the shape is another, or a value not finite.
    """
    maps = torch.as_tensor(maps)
    if maps.ndim != 4 or maps.shape[1] != 1:
        raise ValueError(f"maps has shape {tuple(maps.shape)}; (B, 1, H, W) wanted")
    if not torch.isfinite(maps).all():
        raise ValueError("maps holds NaN or infinity")
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, torch.ones_like(high))


def check_images(images: torch.Tensor | np.ndarray) -> torch.Tensor:
    """The images as float32 (B, 3, H, W).

    TypeError if they are no float array; ValueError if shape, size or range is wrong.
    """
    if not isinstance(images, torch.Tensor | np.ndarray):
        kind = type(images).__name__
        raise TypeError(f"images is a {kind}; a torch tensor or numpy array (B, 3, H, W) wanted")
    tensor = torch.as_tensor(images).detach()
    if not tensor.is_floating_point():
        raise TypeError(
            f"images has dtype {images.dtype}; float in [0, 1] wanted (divide 8-bit values by 255)"
        )
    shape = tuple(tensor.shape)
    if tensor.ndim != 4 or shape[1] != 3 or shape[0] == 0:
        raise ValueError(f"images has shape {shape}; (B, 3, H, W) with B of at least 1 wanted")
    if min(shape[2:]) < SMALLEST_SIDE:
        smallest = f"{SMALLEST_SIDE}x{SMALLEST_SIDE}"
        raise ValueError(f"images are {shape[2]}x{shape[3]} px; at least {smallest} wanted")
    tensor = tensor.to(torch.float32)
    # By numpy, which lets a NaN through and starts no threads: torch's would still spin later.
    low, high = (float(extreme(tensor.cpu().numpy())) for extreme in (np.min, np.max))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("images holds NaN or infinity; finite values in [0, 1] wanted")
    if low < -1e-6 or high > 1 + 1e-6:
        raise ValueError(f"images ranges from {low:.4g} to {high:.4g}; [0, 1] wanted")
    return tensor


@lru_cache
def _keep_freed_memory() -> None:
    """Let glibc reuse freed planes instead of returning them to the system, which clears each anew.

    It does so for blocks below the largest one freed so far, 32 MB at most (see mallopt(3),
    M_MMAP_THRESHOLD).
    """
    np.empty(31 << 20, np.uint8)


def _one(image: np.ndarray, preset: Preset, method: str) -> tuple[np.ndarray, ...]:
    """Edges, sparse, valid and dense, each ``(H, W)``, of one image ``(3, H, W)``."""
    grey = _grey(image, *preset.input_range)
    blur = (ratio if preset.literal else width).blur_at_edges(grey, preset)
    return blur.edges, blur.sparse, blur.valid, _dense(image, grey, blur, method)


@exact
def _grey(image, low, high):
    """Mean of the channels, scaled to a range, rounded as the authors' code rounds."""
    span, low, channels = np.float32(high - low), np.float32(low), np.float32(3)
    grey = np.empty(image.shape[1:], np.float32)
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            red, green, blue = image[0, y, x], image[1, y, x], image[2, y, x]
            total = (red * span + low) + (green * span + low) + (blue * span + low)
            grey[y, x] = total / channels
    return grey


def _dense(image: np.ndarray, grey: np.ndarray, blur: EdgeBlur, method: str) -> np.ndarray:
    """Sigma in px everywhere, ``(H, W)``."""
    if method == NETWORK:
        return blur.sparse  # which the network's own map replaces
    if method == "guided":
        return propagations.guided_filter(grey, blur.sparse, blur.weights)
    weights = np.ones_like(blur.sparse) if blur.weights is None else blur.weights
    if method == "gaussian":
        return propagations.normalized_gaussian(blur.sparse, weights, positions=blur.positions)
    colours, sparse, weights = (
        np.ascontiguousarray(plane, np.float64)
        for plane in (np.moveaxis(image, 0, 2), blur.sparse, weights)
    )
    return propagations.closed_form(colours, sparse, weights)
