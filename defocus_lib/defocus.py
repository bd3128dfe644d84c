"""The defocus map of one image: edges, blur at the edges, blur everywhere.

A step edge blurred by a Gaussian of ``sigma`` and filtered by Gaussian derivatives of two scales ``s1 < s2`` answers
with gradient magnitudes whose ratio is ``R = sqrt((sigma^2 + s2^2) / (sigma^2 + s1^2))`` (Zhuo & Sim 2011). Solving for
sigma gives the blur at edges; propagation carries it into the plane.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from skimage.feature import canny
from torch.nn import functional as F

from defocus_lib import propagation as dense_by

SMALLEST_SIDE = 32
PROPAGATIONS = ("gaussian", "guided", "closed_form")


@dataclass(frozen=True)
class Preset:
    """How a map is computed.

    Attributes
    ----------
    input_range : (float, float)
        Range that images in [0, 1] are scaled to first.
    scales : tuple of float
        Standard deviations of the Gaussian derivatives in px, ascending; each neighbouring pair can measure blur.
    canny_sigma : float
        Smoothing before edge detection, in px.
    max_sigma : float
        Estimates are capped here, in px.
    propagation : {"gaussian", "guided", "closed_form"}
        What makes the map dense unless the caller says otherwise.
    literal : bool
        Compute as the reference does: kernels of radius 5, zero padding, no estimate counted as sharp.
    """

    input_range: tuple[float, float]
    scales: tuple[float, ...]
    canny_sigma: float
    max_sigma: float
    propagation: str
    literal: bool


PRESETS = {
    # What the released code of Jeon & Woo (2025) computes, and so what their released weights expect.
    "released": Preset((-1.0, 1.0), (1.5, 2.0), 1.5, 5.0, "guided", literal=True),
    # What the maps published with that code were computed with.
    "published": Preset((-1.0, 1.0), (2.0, 2.5), 1.5, 5.0, "guided", literal=True),
    # Ours: closest to known blur. Steps of 1.5 from the finest scale that a pixel grid carries to one that reads 6 px.
    "physical": Preset((0.0, 1.0), (1.0, 1.5, 2.25, 3.375, 5.0625), 1.0, 6.0, "gaussian", literal=False),
}


class DefocusMaps(NamedTuple):
    """Maps of ``B`` images, each ``(B, 1, H, W)`` on the device of the images.

    Attributes
    ----------
    edges : bool
        Canny edge pixels.
    sparse : float32
        Sigma in px at edge pixels, 0 elsewhere and where nothing could be measured.
    valid : bool
        Edge pixels at which blur could be measured: tells ``sparse == 0`` (nothing known) from sharp.
    dense : float32
        Sigma in px everywhere, not normalised.
    """

    edges: torch.Tensor
    sparse: torch.Tensor
    valid: torch.Tensor
    dense: torch.Tensor


def defocus_maps(
    images: torch.Tensor | np.ndarray, preset: str = "physical", propagation: str | None = None, workers: int = 1
) -> DefocusMaps:
    """Estimate defocus maps. Each image is treated alone: its maps do not depend on the rest of the batch.

    Parameters
    ----------
    images : (B, 3, H, W) float in [0, 1], H and W at least 32
    preset : {"physical", "released", "published"}
        ``physical`` estimates sigma in px; the other two compute what Jeon & Woo (2025) released and published.
    propagation : {"gaussian", "guided", "closed_form"}, optional
        How the map is made dense; by default as the preset says.
    workers : int
        Threads, each with an image of its own; -1 takes every core.

    Returns
    -------
    DefocusMaps
        A constant image gives maps of zeros with no valid pixel.

    Raises
    ------
    TypeError, ValueError
        If the images have another type, shape or range, hold NaN, or a name is unknown.
    """
    chosen = _preset(preset)
    method = chosen.propagation if propagation is None else propagation
    if method not in PROPAGATIONS:
        raise ValueError(f"unknown propagation {method!r}; one of {', '.join(PROPAGATIONS)} wanted")
    images = check_images(images)
    jobs = (delayed(_one)(image[None], chosen, method) for image in images)
    maps = Parallel(n_jobs=min(workers, len(images)), prefer="threads")(jobs)
    return DefocusMaps(*(torch.cat(parts) for parts in zip(*maps, strict=True)))


def normalize_per_sample(maps: torch.Tensor) -> torch.Tensor:
    """Stretch each map to [0, 1] by its own minimum and maximum; a constant map becomes zero.

    Parameters
    ----------
    maps : (B, 1, H, W) float

    Returns
    -------
    (B, 1, H, W) float in [0, 1]
    """
    maps = torch.as_tensor(maps)
    if maps.ndim != 4 or maps.shape[1] != 1:
        raise ValueError(f"maps has shape {tuple(maps.shape)}; (B, 1, H, W) wanted")
    if not torch.isfinite(maps).all():
        raise ValueError("maps holds NaN or infinity")
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, torch.ones_like(high))


def check_images(images: torch.Tensor | np.ndarray) -> torch.Tensor:
    """The images as a float32 tensor ``(B, 3, H, W)``, or an error that says what is wrong with them.

    Raises
    ------
    TypeError
        If they are no float array.
    ValueError
        If shape, size or range is wrong, or a value is not finite.
    """
    if not isinstance(images, (torch.Tensor, np.ndarray)):
        raise TypeError(f"images is a {type(images).__name__}; a torch tensor or numpy array (B, 3, H, W) wanted")
    tensor = torch.as_tensor(images).detach()
    if not tensor.is_floating_point():
        raise TypeError(f"images has dtype {images.dtype}; float in [0, 1] wanted (divide 8-bit values by 255)")
    if tensor.ndim != 4 or tensor.shape[1] != 3 or len(tensor) == 0:
        raise ValueError(f"images has shape {tuple(tensor.shape)}; (B, 3, H, W) with B of at least 1 wanted")
    if min(tensor.shape[2:]) < SMALLEST_SIDE:
        raise ValueError(
            f"images are {tensor.shape[2]}x{tensor.shape[3]} px; at least {SMALLEST_SIDE}x{SMALLEST_SIDE} wanted"
        )
    if not torch.isfinite(tensor).all():
        raise ValueError("images holds NaN or infinity; finite values in [0, 1] wanted")
    low, high = float(tensor.min()), float(tensor.max())
    if low < -1e-6 or high > 1 + 1e-6:
        raise ValueError(f"images ranges from {low:.4g} to {high:.4g}; [0, 1] wanted")
    return tensor.to(torch.float32)


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; one of {', '.join(PRESETS)} wanted")
    return PRESETS[name]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch from splitting an image's small operations over the cores: handing out the parts costs more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
@_one_thread()
def _one(image: torch.Tensor, preset: Preset, method: str) -> tuple[torch.Tensor, ...]:
    low, high = preset.input_range
    grey = (image * (high - low) + low).mean(1, keepdim=True)
    if preset.literal:
        edges = _edges(grey, preset.canny_sigma, SKIMAGE_THRESHOLD)
        sparse, valid = _sparse_literal(grey, edges, preset)
        weights = None
    else:
        noise = noise_level(grey)
        # A strong blur leaves faint edges: where noise allows it, look for them at down to half the threshold.
        edges = _edges(grey, preset.canny_sigma, SKIMAGE_THRESHOLD * (noise / NOISE_OF_FULL_THRESHOLD).clamp(0.5, 1))
        sparse, valid = _sparse_adaptive(grey, edges, noise, preset)
        # Blurred surfaces carry fewer edges an area than sharp ones; the root evens out their say.
        weights = valid * sparse.sqrt()
    return edges, sparse, valid, _dense(image, grey, sparse, weights, method)


def _edges(grey: torch.Tensor, sigma: float, threshold: float) -> torch.Tensor:
    """Canny's edges of grey ``(1, 1, H, W)``, clipped to [0, 1] as the reference clips; the lower threshold is half."""
    plane = grey[0, 0].clamp(0, 1).cpu().numpy()
    found = canny(plane, sigma=sigma, low_threshold=float(threshold) / 2, high_threshold=float(threshold))
    return torch.from_numpy(found).to(grey.device)[None, None]


# Canny's upper threshold in scikit-image, in units of its Sobel sum, which is eight times a slope a pixel.
SKIMAGE_THRESHOLD = 0.2
# From this noise on the whole of it is needed: after smoothing by 1 px, noise n makes slopes of about 0.2 n.
NOISE_OF_FULL_THRESHOLD = 1 / 60


@lru_cache
def _gaussian_kernels(scale: float, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors of ``-x / (2 pi s^4) exp(-(x^2 + y^2) / (2 s^2))``: along the derivative, and across it."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    bell = torch.exp(-(offsets**2) / (2 * scale**2))
    return (-offsets / (2 * math.pi * scale**4) * bell).float(), bell.float()


def _gradient(grey: torch.Tensor, scale: float, literal: bool) -> torch.Tensor:
    """Gradient magnitude of ``(1, 1, H, W)`` at one scale (px), per px."""
    radius = 5 if literal else math.ceil(4 * scale)
    padded = F.pad(grey, [radius] * 4, mode="constant" if literal else "reflect")
    along, across = (kernel.to(grey.device) for kernel in _gaussian_kernels(scale, radius))
    gx = F.conv2d(F.conv2d(padded, along.view(1, 1, 1, -1)), across.view(1, 1, -1, 1))
    gy = F.conv2d(F.conv2d(padded, along.view(1, 1, -1, 1)), across.view(1, 1, 1, -1))
    return torch.sqrt(gx**2 + gy**2)


def _sigma_from_ratio(ratio: torch.Tensor, fine: float, coarse: float) -> torch.Tensor:
    """Sigma in px from ``R = m1 / m2``; the small constant is the reference's."""
    squared = ratio**2
    variance = (squared * fine**2 - coarse**2) / (1 - squared + 1e-8)
    return variance.clamp(min=0).sqrt().nan_to_num(nan=0.0)


def _measurable(ratio: torch.Tensor, fine: float, coarse: float) -> torch.Tensor:
    """Ratios that a single blurred step can give: 1 means endless blur (or texture), ``coarse / fine`` none."""
    return (ratio > 1) & (ratio < coarse / fine)


def _sparse_literal(grey: torch.Tensor, edges: torch.Tensor, preset: Preset) -> tuple[torch.Tensor, torch.Tensor]:
    """Blur at edges as Jeon & Woo (2025) compute it: what can't be measured becomes 0."""
    fine, coarse = preset.scales
    ratio = _gradient(grey, fine, literal=True) / (_gradient(grey, coarse, literal=True) + 1e-8) * edges
    sparse = _sigma_from_ratio(ratio, fine, coarse).clamp(max=preset.max_sigma)
    return sparse, edges & _measurable(ratio, fine, coarse)


def _sparse_adaptive(
    grey: torch.Tensor, edges: torch.Tensor, noise: torch.Tensor, preset: Preset
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blur at edges, each read at the finest pair of scales that the image's noise allows.

    Fine scales keep neighbouring edges apart; coarse ones average noise away. The largest pair reads what is left.
    """
    gradients = [_gradient(grey, scale, literal=False) for scale in preset.scales]
    sparse, valid, open_ = torch.zeros_like(grey), torch.zeros_like(edges), edges.clone()
    pairs = list(zip(preset.scales[:-1], preset.scales[1:], gradients[:-1], gradients[1:], strict=True))
    for fine, coarse, gradient_fine, gradient_coarse in pairs:
        ratio = _ratio_at_crest(gradient_fine, gradient_coarse)
        sigma = _sigma_from_ratio(ratio, fine, coarse)
        sure = _standard_error(ratio, sigma, gradient_fine, noise, fine, coarse) <= MAX_STANDARD_ERROR
        if (fine, coarse) == preset.scales[-2:]:
            sure = torch.ones_like(sure)
        taken = open_ & _measurable(ratio, fine, coarse) & sure
        sparse, valid = torch.where(taken, sigma, sparse), valid | taken
        open_ = open_ & ~taken
        if fine == preset.scales[0]:
            open_ = open_ & (ratio < coarse / fine)  # sharper than the finest pair can see: no other sees it either
    return sparse.clamp(max=preset.max_sigma), valid


# An edge pixel lies at most this far (px) from the crest of its edge; farther, the parabola below is not believed.
REACH = 3.0


def _ratio_at_crest(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    """Ratio of two gradient magnitudes ``(1, 1, H, W)``, read where the fine one is largest: between pixels, as a rule.

    Across a blurred step, along rows as along columns, the logarithm of the magnitude is a parabola. It is followed
    from each pixel to its top, along the axis that bends more. Half a pixel beside the crest, a sigma of 0.75 px would
    read 0.92.
    """
    height = fine.clamp(min=1e-12).log()
    here = height - coarse.clamp(min=1e-12).log()
    at_crest, bend_taken = here, torch.zeros_like(here)
    for axis in (2, 3):
        slope, bend = _parabola(height, axis)
        offset = -slope / bend
        near = (bend < bend_taken) & (offset.abs() <= REACH)
        ratio_slope, ratio_bend = _parabola(here, axis)
        there = here + ratio_slope * offset + ratio_bend * offset**2 / 2
        at_crest, bend_taken = torch.where(near, there, at_crest), torch.where(near, bend, bend_taken)
    return at_crest.exp()


def _parabola(values: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """First and second derivative of the parabola through each pixel and its two neighbours along ``axis``."""
    # Rolling wraps around at the border, where Canny marks no edge.
    after, before = values.roll(-1, axis), values.roll(1, axis)
    return (after - before) / 2, after + before - 2 * values


# An estimate is read at a pair of scales if noise moves it by at most this much (one standard deviation, px).
MAX_STANDARD_ERROR = 0.25


def _standard_error(
    ratio: torch.Tensor, sigma: torch.Tensor, gradient: torch.Tensor, noise: torch.Tensor, fine: float, coarse: float
) -> torch.Tensor:
    """First-order error of sigma (px) from image noise, which the fine gradient carries almost alone.

    White noise of ``noise`` leaves ``noise / (sqrt(8 pi) s^2)`` in a Gaussian derivative of scale s; the rest is the
    derivative of the inversion, ``d(sigma^2)/d(R^2) = (s2^2 - s1^2) / (R^2 - 1)^2`` in magnitude.
    """
    relative = noise / (math.sqrt(8 * math.pi) * fine**2 * gradient)
    return (coarse**2 - fine**2) * ratio**2 * relative / (sigma * (ratio**2 - 1) ** 2)


def noise_level(grey: torch.Tensor) -> torch.Tensor:
    """Standard deviation of white noise, from the median response to a difference of Laplacians (Immerkaer 1996).

    Parameters
    ----------
    grey : (1, 1, H, W) float in [0, 1]

    Returns
    -------
    0-d float
        At least the rounding error of a mean of three 8-bit channels.
    """
    kernel = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], device=grey.device)
    response = F.conv2d(grey, kernel[None, None]).abs().median()
    # The kernel's norm is 6; 0.6745 is the median of |N(0, 1)|.
    return (response / (6 * 0.6745)).clamp(min=1 / 255 / 6)


def _dense(
    image: torch.Tensor, grey: torch.Tensor, sparse: torch.Tensor, weights: torch.Tensor | None, method: str
) -> torch.Tensor:
    """The dense map; ``weights`` is None where, as in the reference, zeros count as data."""
    if method == "guided":
        return dense_by.guided_filter(grey, sparse, weights)
    weights = torch.ones_like(sparse) if weights is None else weights
    if method == "gaussian":
        return dense_by.normalized_gaussian(sparse, weights)
    planes = (image[0].permute(1, 2, 0), sparse[0, 0], weights[0, 0])
    dense = dense_by.closed_form(*(plane.double().cpu().numpy() for plane in planes))
    return torch.from_numpy(dense).to(sparse)[None, None]
