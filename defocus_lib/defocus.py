"""The defocus map of one image: edges, blur at the edges, blur everywhere.

A step edge blurred by a Gaussian of ``sigma`` and filtered by Gaussian derivatives of two scales ``s1 < s2`` answers
with gradient magnitudes whose ratio is ``R = sqrt((sigma^2 + s2^2) / (sigma^2 + s1^2))`` (Zhuo & Sim 2011). Solving for
sigma gives the blur at edges; propagation carries it into the plane.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from joblib import effective_n_jobs

from defocus_lib import canny
from defocus_lib import propagation as dense_by
from defocus_lib.compiled import exact
from defocus_lib.filters import gradient_energy, half_grid, padded

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

    Computed on the CPU, wherever the images are: a map of 299x299 px takes a core about 2 ms. The first call in a new
    installation compiles, once, for some seconds.

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
    planes = np.ascontiguousarray(images.cpu().numpy())
    maps = [np.empty((len(planes), *planes.shape[2:]), dtype) for dtype in (bool, np.float32, bool, np.float32)]

    def fill(index: int) -> None:
        for whole, one in zip(maps, _one(planes[index], chosen, method), strict=True):
            whole[index] = one

    _keep_freed_memory()
    with ThreadPoolExecutor(effective_n_jobs(workers)) as threads:
        list(threads.map(fill, range(len(planes))))
    return DefocusMaps(*(torch.from_numpy(part)[:, None].to(images.device) for part in maps))


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
    tensor = tensor.to(torch.float32)
    # By numpy, which lets a NaN come through and starts no threads: torch's would still be spinning when ours begin.
    low, high = (float(extreme(tensor.cpu().numpy())) for extreme in (np.min, np.max))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("images holds NaN or infinity; finite values in [0, 1] wanted")
    if low < -1e-6 or high > 1 + 1e-6:
        raise ValueError(f"images ranges from {low:.4g} to {high:.4g}; [0, 1] wanted")
    return tensor


@lru_cache
def _keep_freed_memory() -> None:
    """Let glibc hand out freed planes again instead of returning them to the system, which clears each anew.

    It does so for blocks below the largest one freed so far, 32 MB at most (see mallopt(3), M_MMAP_THRESHOLD).
    """
    np.empty(31 << 20, np.uint8)


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; one of {', '.join(PRESETS)} wanted")
    return PRESETS[name]


# Canny's upper threshold in scikit-image, in units of its Sobel sum, which is eight times a slope a pixel.
SKIMAGE_THRESHOLD = 0.2
# From this noise on the whole of it is needed: after smoothing by 1 px, noise n makes slopes of about 0.2 n.
NOISE_OF_FULL_THRESHOLD = 1 / 60


def _one(image: np.ndarray, preset: Preset, method: str) -> tuple[np.ndarray, ...]:
    """Edges, sparse, valid and dense, each ``(H, W)``, of one image ``(3, H, W)``."""
    grey = _grey(image, *preset.input_range)
    clipped = np.clip(grey, 0, 1)  # as the reference clips before it looks for edges
    if preset.literal:
        edges = canny.edges(clipped, preset.canny_sigma, SKIMAGE_THRESHOLD / 2, SKIMAGE_THRESHOLD)
        sparse, valid = _sparse_literal(grey, edges, preset)
        weights = None
    else:
        noise = _noise(grey)
        # A strong blur leaves faint edges: where noise allows it, look for them at down to half the threshold.
        threshold = SKIMAGE_THRESHOLD * min(max(noise / NOISE_OF_FULL_THRESHOLD, 0.5), 1.0)
        edges = canny.edges(clipped, preset.canny_sigma, threshold / 2, threshold)
        sparse, valid = _sparse_adaptive(grey, edges, noise, preset)
        # Blurred surfaces carry fewer edges an area than sharp ones; the root evens out their say.
        weights = np.sqrt(sparse)
    return edges, sparse, valid, _dense(image, grey, sparse, weights, method)


@exact
def _grey(image, low, high):
    """Mean of the channels, scaled to a range, in single precision: rounded as the reference rounds."""
    span, low, channels = np.float32(high - low), np.float32(low), np.float32(3)
    grey = np.empty(image.shape[1:], np.float32)
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            red, green, blue = image[0, y, x], image[1, y, x], image[2, y, x]
            grey[y, x] = ((red * span + low) + (green * span + low) + (blue * span + low)) / channels
    return grey


@exact
def _sigma(squared, fine, coarse):
    """Sigma in px from ``R^2 = (m1 / m2)^2``; the small constant is the reference's."""
    variance = (squared * fine**2 - coarse**2) / (1 - squared + 1e-8)
    return math.sqrt(variance) if variance > 0 else 0.0


# The reference's kernels end here, in px, whatever their scale.
LITERAL_RADIUS = 5


def _sparse_literal(grey: np.ndarray, edges: np.ndarray, preset: Preset) -> tuple[np.ndarray, np.ndarray]:
    """Blur at edges as Jeon & Woo (2025) compute it: what can't be measured becomes 0."""
    around = padded(grey, LITERAL_RADIUS, False)
    energies = (gradient_energy(around, LITERAL_RADIUS, scale, LITERAL_RADIUS) for scale in preset.scales)
    return _read_literally(np.flatnonzero(edges), *energies, *preset.scales, preset.max_sigma)


@exact
def _read_literally(pixels, energy_fine, energy_coarse, fine, coarse, cap):
    sparse = np.zeros(energy_fine.size, np.float32)
    valid = np.zeros(energy_fine.size, np.bool_)
    energies_fine, energies_coarse = energy_fine.ravel(), energy_coarse.ravel()
    for pixel in pixels:
        ratio = math.sqrt(energies_fine[pixel]) / (math.sqrt(energies_coarse[pixel]) + 1e-8)
        sparse[pixel] = min(_sigma(ratio**2, fine, coarse), cap)
        valid[pixel] = 1 < ratio < coarse / fine
    return sparse.reshape(energy_fine.shape), valid.reshape(energy_fine.shape)


def _sparse_adaptive(
    grey: np.ndarray, edges: np.ndarray, noise: float, preset: Preset
) -> tuple[np.ndarray, np.ndarray]:
    """Blur at edges, each read at the finest pair of scales that the image's noise allows.

    Fine scales keep neighbouring edges apart; coarse ones average noise away. The largest pair reads what is left.
    Beyond the finest pair slopes change little from pixel to pixel: they are read on a grid of every second one.
    """
    first, second, *coarser = preset.scales
    # What is to be smoothed by s, and is by the second scale, lacks the root of the difference; in steps of 2 px.
    lacking = [math.sqrt(scale**2 - second**2) / 2 for scale in coarser]
    half_margin, radius = _radius(lacking[-1]), _radius(second)
    margin = 2 * half_margin + radius + 3
    around = padded(grey, margin, True)
    sparse, valid = np.zeros(grey.shape, np.float32), np.zeros(grey.shape, np.bool_)
    found = (sparse, valid, noise, preset.max_sigma)

    on_pixels = [_logarithms(gradient_energy(around, margin, scale, _radius(scale))) for scale in (first, second)]
    pixels = np.flatnonzero(edges)
    open_ = _read(pixels, _ratios_at_crests(pixels, *on_pixels, REACH), first, second, True, False, *found)
    pixels = pixels[open_]

    halved = half_grid(around, margin, second, radius, half_margin)
    energies = (gradient_energy(halved.smooth, half_margin, scale, _radius(scale)) for scale in lacking)
    on_grid = [_logarithms(energy) for energy in (halved.energy, *energies)]
    points = _nearest_on_grid(pixels, grey.shape, halved.energy.shape)
    for (fine, coarse), planes in zip(pairwise(preset.scales[1:]), pairwise(on_grid), strict=True):
        last = coarse == preset.scales[-1]
        open_ = _read(pixels, _ratios_at_crests(points, *planes, REACH / 2), fine, coarse, False, last, *found)
        pixels, points = pixels[open_], points[open_]
    return sparse, valid


def _radius(scale: float) -> int:
    """Where a Gaussian of this scale ends."""
    return math.ceil(4 * scale)


def _nearest_on_grid(pixels: np.ndarray, shape: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """The points of the half grid nearest to pixels of the image, both as positions read row by row."""
    rows, columns = (_nearest(size) for size in shape)
    return rows[pixels // shape[1]] * grid[1] + columns[pixels % shape[1]]


@lru_cache
def _nearest(size: int) -> np.ndarray:
    """Along one axis; what lies midway goes to the image's middle."""
    position = np.arange(size)
    outwards = (position < (size - 1) / 2) & (size % 2 == 1)
    return (position + outwards) // 2 + 1


@exact
def _logarithms(energies):
    """Natural logarithms to single precision, without calls: so the compiler takes many pixels at a time."""
    logarithms = np.empty(energies.shape, np.float32)
    for y in range(energies.shape[0]):
        for x in range(energies.shape[1]):
            # Counted from the root of a half, so that the mantissa lies around 1.
            bits = np.int32(np.float32(max(energies[y, x], 1e-24)).view(np.int32) - 0x3F3504F3)
            mantissa = np.int32((bits & 0x7FFFFF) + 0x3F3504F3).view(np.float32)
            z = (mantissa - np.float32(1)) / (mantissa + np.float32(1))
            q = z * z
            series = np.float32(2) + q * (np.float32(2 / 3) + q * (np.float32(2 / 5) + q * np.float32(2 / 7)))
            exponent = np.float32(np.int32(bits >> 23))
            logarithms[y, x] = z * series + exponent * np.float32(0.6931471805599453)
    return logarithms


# An edge pixel lies at most this far (px) from the crest of its edge; farther, the parabola below is not believed.
REACH = 3.0


@exact
def _ratios_at_crests(places, fine, coarse, reach):
    """Logarithms of ``R^2``, read where the fine gradient is largest: between pixels, as a rule; and of its energy.

    Across a blurred step, along rows as along columns, the logarithm of the magnitude is a parabola. It is followed
    from each pixel to its top, along the axis that bends more. Half a pixel beside the crest, a sigma of 0.75 px would
    read 0.92.
    """
    width, fine, coarse = fine.shape[1], fine.ravel(), coarse.ravel()
    ratios, energies = np.empty(len(places), np.float32), np.empty(len(places), np.float32)
    for i in range(len(places)):
        place = places[i]
        energies[i] = fine[place]
        here = fine[place] - coarse[place]
        bend, at_crest = _followed(fine, coarse, place, width, here, reach)
        other_bend, at_other_crest = _followed(fine, coarse, place, 1, here, reach)
        ratios[i] = at_other_crest if other_bend < bend else at_crest
    return ratios, energies


@exact
def _followed(fine, coarse, place, step, here, reach):
    """How the parabola along one axis bends, and the ratio at its top; 0 and the ratio here if that is out of reach."""
    before, after = fine[place - step], fine[place + step]
    slope, bend = (after - before) / 2, after + before - 2 * fine[place]
    offset = -slope / bend
    before -= coarse[place - step]
    after -= coarse[place + step]
    there = here + (after - before) / 2 * offset + (after + before - 2 * here) * offset * offset / 2
    near = (bend < 0) & (abs(offset) <= reach)
    return (bend if near else np.float32(0)), (there if near else here)


# An estimate is read at a pair of scales if noise moves it by at most this much (one standard deviation, px).
MAX_STANDARD_ERROR = 0.25


@exact
def _read(pixels, crests, fine, coarse, first, last, sparse, valid, noise, cap):
    """Write sigma where this pair of scales can tell it. Which of the pixels remain open: ``(N,)`` bool."""
    (ratios, energies), sparse, valid = crests, sparse.ravel(), valid.ravel()
    sharpest = 2 * math.log(coarse / fine)
    # Sharper than the finest pair can see: no other sees it either.
    open_ = ratios < (sharpest if first else np.inf)
    for i in range(len(pixels)):
        # A single blurred step gives ratios between 1, which is endless blur (or texture), and this, which is none.
        if 0 < ratios[i] < sharpest:
            squared = math.exp(ratios[i])
            sigma = _sigma(squared, fine, coarse)
            error = _standard_error(squared, sigma, math.exp(energies[i] / 2), noise, fine, coarse)
            if sigma > 0 and (last or error <= MAX_STANDARD_ERROR):
                sparse[pixels[i]], valid[pixels[i]], open_[i] = min(sigma, cap), True, False
    return open_


@exact
def _standard_error(squared, sigma, gradient, noise, fine, coarse):
    """First-order error of sigma (px) from image noise, which the fine gradient carries almost alone.

    White noise of ``noise`` leaves ``noise / (sqrt(8 pi) s^2)`` in a Gaussian derivative of scale s; the rest is the
    derivative of the inversion, ``d(sigma^2)/d(R^2) = (s2^2 - s1^2) / (R^2 - 1)^2`` in magnitude.
    """
    relative = noise / (math.sqrt(8 * math.pi) * fine**2 * gradient)
    return (coarse**2 - fine**2) * squared * relative / (sigma * (squared - 1) ** 2)


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
    return torch.tensor(_noise(grey[0, 0].contiguous().cpu().numpy()), dtype=grey.dtype, device=grey.device)


def _noise(grey: np.ndarray) -> float:
    # The kernel's norm is 6; 0.6745 is the median of |N(0, 1)|.
    return max(_median(_responses(grey)) / (6 * 0.6745), 1 / 255 / 6)


@exact
def _responses(grey):
    """Magnitudes of the response at every second row and column: enough for a median."""
    height, width = (grey.shape[0] - 1) // 2, (grey.shape[1] - 1) // 2
    responses = np.empty((height, width), np.float32)
    for y in range(height):
        above, here, below = grey[2 * y], grey[2 * y + 1], grey[2 * y + 2]
        for x in range(width):
            corners = above[2 * x] + above[2 * x + 2] + below[2 * x] + below[2 * x + 2]
            sides = above[2 * x + 1] + here[2 * x] + here[2 * x + 2] + below[2 * x + 1]
            responses[y, x] = abs(corners - 2 * sides + 4 * here[2 * x + 1])
    return responses.ravel()


@exact
def _median(values):
    """The lower median of positive float32: bits of such numbers have their order, and are found eleven at a time."""
    bits, found, rank = values.view(np.int32), 0, (values.size - 1) // 2
    for shift in (22, 11, 0):
        counts = np.zeros(2048, np.int64)
        for bit in bits:
            if bit >> (shift + 11) == found:
                counts[bit >> shift & 2047] += 1
        digit = 0
        while rank >= counts[digit]:
            rank -= counts[digit]
            digit += 1
        found = found << 11 | digit
    return np.int32(found).view(np.float32)


def _dense(
    image: np.ndarray, grey: np.ndarray, sparse: np.ndarray, weights: np.ndarray | None, method: str
) -> np.ndarray:
    """The dense map; ``weights`` is None where, as in the reference, zeros count as data."""
    if method == "guided":
        return dense_by.guided_plane(grey, sparse, weights)
    weights = np.ones_like(sparse) if weights is None else weights
    if method == "gaussian":
        return dense_by.gaussian_plane(sparse, weights)
    planes = (np.moveaxis(image, 0, 2), sparse, weights)
    return dense_by.closed_form(*(np.ascontiguousarray(plane, np.float64) for plane in planes))
