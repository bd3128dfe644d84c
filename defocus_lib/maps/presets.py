"""The defocus map of one image: edges, blur at the edges, blur everywhere.

A step edge blurred by a Gaussian of ``sigma`` and filtered by the derivative of a Gaussian of scale ``s`` answers with
a gradient that is a Gaussian of variance ``sigma^2 + s^2`` across the edge. The reference reads sigma from the ratio of
two scales ``s1 < s2`` at the crest, ``R = sqrt((sigma^2 + s2^2) / (sigma^2 + s1^2))`` (Zhuo & Sim 2011); ours from the
width of the crest at one scale. Propagation carries the blur at edges into the plane. The preset ``learned`` reads blur
everywhere instead, with a trained network (:mod:`defocus_lib.maps.learned`).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from joblib import effective_n_jobs

from defocus_lib.maps import edges as canny
from defocus_lib.maps import learned
from defocus_lib.maps import propagation as dense_by
from defocus_lib.maps.kernels.compiled import exact
from defocus_lib.maps.kernels.filters import Gradient, gradient, gradient_energy, half_grid, padded

SMALLEST_SIDE = 32
PROPAGATIONS = ("gaussian", "guided", "closed_form")
NETWORK = "network"  # in the place of a propagation: there is none


@dataclass(frozen=True)
class Preset:
    """How a map is computed.

    Attributes
    ----------
    input_range : (float, float)
        Range that images in [0, 1] are scaled to first.
    scales : tuple of float
        Standard deviations of the Gaussian derivatives in px, ascending: the pair of which the ratio is read, or three
        of which one is read at each edge pixel.
    canny_sigma : float, optional
        Smoothing before edge detection, in px; None to look for edges in the slopes of the two finest scales.
    max_sigma : float
        Estimates are capped here, in px.
    propagation : {"gaussian", "guided", "closed_form", "network"}
        What makes the map dense unless the caller says otherwise; a network's map is dense from the start.
    literal : bool
        Compute as the reference does: kernels of radius 5, zero padding, no estimate counted as sharp. What follows is
        for maps that are not.
    max_error : float
        An edge is read at the finest scale at which noise moves the estimate by at most this (one standard deviation,
        px); infinity for the finest of all.
    faintest : float
        Where the noise allows it, edges are looked for down to this share of scikit-image's threshold.
    even : bool
        Whether an edge counts in proportion to its width, because blurred surfaces carry fewer edges.
    trust : bool
        Whether an edge counts less if it is not straight, or its pixel not on the crest.
    """

    input_range: tuple[float, float]
    scales: tuple[float, ...]
    canny_sigma: float | None
    max_sigma: float
    propagation: str
    literal: bool
    max_error: float = 0.25
    faintest: float = 0.4
    even: bool = True
    trust: bool = True


PRESETS = {
    # What the released code of Jeon & Woo (2025) computes, and so what their released weights expect.
    "released": Preset((-1.0, 1.0), (1.5, 2.0), 1.5, 5.0, "guided", literal=True),
    # What the maps published with that code were computed with.
    "published": Preset((-1.0, 1.0), (2.0, 2.5), 1.5, 5.0, "guided", literal=True),
    # Ours: closest to known blur. Doubled scales, from the finest that a pixel grid carries to one for strong noise.
    "physical": Preset((0.0, 1.0), (0.7, 1.4, 2.8), None, 6.0, "gaussian", literal=False),
    # A network that was trained on simulated blur; its edges are those of `physical`.
    "learned": Preset((0.0, 1.0), (0.7, 1.4, 2.8), None, 6.0, NETWORK, literal=False),
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
    uncertainty : float32, optional
        One standard deviation of the error of ``dense``, in px; of the preset ``learned`` alone.
    """

    edges: torch.Tensor
    sparse: torch.Tensor
    valid: torch.Tensor
    dense: torch.Tensor
    uncertainty: torch.Tensor | None = None


def defocus_maps(
    images: torch.Tensor | np.ndarray,
    preset: str | Preset = "physical",
    propagation: str | None = None,
    n_workers: int = 1,
) -> DefocusMaps:
    """Estimate defocus maps. Each image is treated alone: its maps do not depend on the rest of the batch.

    Computed on the CPU, wherever the images are: a map of 299x299 px takes a core about 2 ms. The first call in a new
    installation compiles, once, for some seconds. The network of ``learned`` runs where the images are, and takes a CPU
    ten times as long.

    Parameters
    ----------
    images : (B, 3, H, W) float in [0, 1], H and W at least 32
    preset : {"physical", "learned", "released", "published"} or Preset
        ``physical`` and ``learned`` estimate sigma in px, the latter with its uncertainty; the other two compute what
        Jeon & Woo (2025) released and published.
    propagation : {"gaussian", "guided", "closed_form"}, optional
        How the map is made dense; by default as the preset says. Not for ``learned``.
    n_workers : int
        Threads, each with an image of its own; -1 takes every core.

    Returns
    -------
    DefocusMaps
        A constant image gives maps of zeros with no valid pixel; of ``learned``, a guess with large uncertainty.

    Raises
    ------
    TypeError, ValueError
        If the images have another type, shape or range, hold NaN, or a name is unknown.
    """
    chosen = _preset(preset)
    method = _method(chosen, propagation)
    images = check_images(images)
    maps = _by_edges(images, chosen, method, n_workers)
    return _by_network(images, maps, chosen.max_sigma) if method == NETWORK else maps


def _method(preset: Preset, propagation: str | None) -> str:
    """What makes the map dense, if the preset can be made so."""
    known = (NETWORK,) if preset.propagation == NETWORK else PROPAGATIONS
    method = preset.propagation if propagation is None else propagation
    if method not in known:
        of = " by a preset of a network" if NETWORK in known else ""
        raise ValueError(f"unknown propagation {method!r}; one of {', '.join(known)} wanted{of}")
    return method


def _by_network(images: torch.Tensor, maps: DefocusMaps, cap: float) -> DefocusMaps:
    """The maps of the same edges, as the network reads them."""
    sigma, uncertainty = learned.estimate(images)
    dense = sigma.clamp(max=cap)
    return DefocusMaps(maps.edges, dense * maps.edges, maps.edges, dense, uncertainty)


def _by_edges(images: torch.Tensor, chosen: Preset, method: str, n_workers: int) -> DefocusMaps:
    planes = np.ascontiguousarray(images.cpu().numpy())
    maps = [
        np.empty((len(planes), *planes.shape[2:]), dtype)
        for dtype in (bool, np.float32, bool, np.float32)
    ]

    def fill(index: int) -> None:
        for whole, one in zip(maps, _one(planes[index], chosen, method), strict=True):
            whole[index] = one

    _keep_freed_memory()
    count = effective_n_jobs(n_workers)
    with ThreadPoolExecutor(count) as threads:
        # A thread alone would only take turns with this one, which waits for it.
        list((threads.map if count > 1 else map)(fill, range(len(planes))))
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
        raise TypeError(
            f"images is a {type(images).__name__}; a torch tensor or numpy array (B, 3, H, W) wanted"
        )
    tensor = torch.as_tensor(images).detach()
    if not tensor.is_floating_point():
        raise TypeError(
            f"images has dtype {images.dtype}; float in [0, 1] wanted (divide 8-bit values by 255)"
        )
    if tensor.ndim != 4 or tensor.shape[1] != 3 or len(tensor) == 0:
        raise ValueError(
            f"images has shape {tuple(tensor.shape)}; (B, 3, H, W) with B of at least 1 wanted"
        )
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


def _preset(name: str | Preset) -> Preset:
    if isinstance(name, Preset):
        return name
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
    if preset.literal:
        clipped = np.clip(grey, 0, 1)  # as the reference clips before it looks for edges
        edges = canny.edges(clipped, preset.canny_sigma, SKIMAGE_THRESHOLD / 2, SKIMAGE_THRESHOLD)
        sparse, valid = _sparse_literal(grey, edges, preset)
        weights = places = None
    else:
        edges, sparse, weights, valid, places = _measured(grey, _noise(grey), preset)
    return edges, sparse, valid, _dense(image, grey, sparse, weights, places, method)


@exact
def _grey(image, low, high):
    """Mean of the channels, scaled to a range, in single precision: rounded as the reference rounds."""
    span, low, channels = np.float32(high - low), np.float32(low), np.float32(3)
    grey = np.empty(image.shape[1:], np.float32)
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            red, green, blue = image[0, y, x], image[1, y, x], image[2, y, x]
            grey[y, x] = (
                (red * span + low) + (green * span + low) + (blue * span + low)
            ) / channels
    return grey


@exact
def _sigma(squared, fine, coarse):
    """Sigma in px from ``R^2 = (m1 / m2)^2``; the small constant is the reference's."""
    variance = (squared * fine**2 - coarse**2) / (1 - squared + 1e-8)
    return math.sqrt(variance) if variance > 0 else 0.0


# The reference's kernels end here, in px, whatever their scale.
LITERAL_RADIUS = 5


def _sparse_literal(
    grey: np.ndarray, edges: np.ndarray, preset: Preset
) -> tuple[np.ndarray, np.ndarray]:
    """Blur at edges as Jeon & Woo (2025) compute it: what can't be measured becomes 0."""
    around = padded(grey, LITERAL_RADIUS, False)
    energies = (
        gradient_energy(around, LITERAL_RADIUS, scale, LITERAL_RADIUS) for scale in preset.scales
    )
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


def _measured(grey: np.ndarray, noise: float, preset: Preset) -> tuple[np.ndarray, ...]:
    """Edges, the blur at them, its weight, and where it is valid: each ``(H, W)``; and the edges' positions.

    Each edge pixel is read at the finest scale that the image's noise allows: fine scales keep neighbouring edges
    apart, coarse ones average noise away. Slopes of the coarsest change little from pixel to pixel: they are read on a
    grid of every second one.
    """
    first, second, third = preset.scales
    # What is to be smoothed by the third scale, and is by the second, lacks this; in steps of 2 px.
    lacking = math.sqrt(third**2 - second**2) / 2
    half_margin, radius = _radius(lacking), _radius(second)
    margin = 2 * half_margin + radius + 3
    around = padded(grey, margin, True)
    fine, middle = (gradient(around, margin, scale, _radius(scale)) for scale in (first, second))
    edges = _edges(fine.energy, middle, noise, preset.faintest)
    pixels = places = np.flatnonzero(edges)
    sparse, weights, valid = (
        np.zeros(grey.shape, dtype) for dtype in (np.float32, np.float32, np.bool_)
    )
    found = (sparse, weights, valid, preset.max_sigma, preset.even * second, preset.trust)

    for slopes, scale in ((fine, first), (middle, second)):
        bends, energies = _bends(pixels, _logarithms(slopes.energy), *slopes)
        limit = preset.max_error / _error_of_noise(noise, scale, 1)
        pixels = _read(pixels, bends, energies, scale, 1, limit, *found)
    slopes = gradient(
        half_grid(around, margin, second, radius, half_margin), half_margin, lacking, half_margin
    )
    points = _nearest_on_grid(
        pixels, *(_nearest(size) for size in grey.shape), slopes.energy.shape[1]
    )
    _read(pixels, *_bends(points, _logarithms(slopes.energy), *slopes), third, 2, math.inf, *found)
    return edges, sparse, weights, valid, places


# Noise above this, as a share of the range, makes crests of its own at the finest scale.
NOISE_OF_FINEST_CRESTS = 1 / 120


def _edges(fine: np.ndarray, middle: Gradient, noise: float, faintest: float) -> np.ndarray:
    """Canny's edges in slopes that are known already, those of the second scale.

    Their steepness is the sum of the energies at both scales: one scale alone would merge neighbouring edges, the other
    follow the noise, and so counts less in a noisy image.
    """
    # A strong blur leaves faint edges: look for them with a threshold that falls with the noise.
    high = SKIMAGE_THRESHOLD / 8 * min(max(noise / NOISE_OF_FULL_THRESHOLD, faintest), 1.0)
    share = min(1.0, (NOISE_OF_FINEST_CRESTS / noise) ** 2)
    steepness = _sum(middle.energy, fine, np.float32(share))
    return canny.crests(
        middle.down, middle.across, steepness, (1 + share) * (high / 2) ** 2, (1 + share) * high**2
    )


@exact
def _sum(plane, other, share):
    """``plane + share * other``, without a plane between."""
    total = np.empty_like(plane)
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            total[y, x] = plane[y, x] + share * other[y, x]
    return total


def _radius(scale: float) -> int:
    """Where a Gaussian of this scale ends."""
    return math.ceil(3.5 * scale)


@exact
def _nearest_on_grid(pixels, rows, columns, width):
    """The points of a half grid ``width`` points wide that are nearest to pixels; both as positions read row by row."""
    places = np.empty_like(pixels)
    for i in range(len(pixels)):
        row = pixels[i] // len(columns)
        places[i] = rows[row] * width + columns[pixels[i] - row * len(columns)]
    return places


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
            bits = np.int32(
                np.float32(max(energies[y, x], np.float32(1e-24))).view(np.int32) - 0x3F3504F3
            )
            mantissa = np.int32((bits & 0x7FFFFF) + 0x3F3504F3).view(np.float32)
            z = (mantissa - np.float32(1)) / (mantissa + np.float32(1))
            q = z * z
            series = np.float32(2) + q * (
                np.float32(2 / 3) + q * (np.float32(2 / 5) + q * np.float32(2 / 7))
            )
            exponent = np.float32(np.int32(bits >> 23))
            logarithms[y, x] = z * series + exponent * np.float32(0.6931471805599453)
    return logarithms


@exact
def _bends(places, logarithms, down, across, energies):
    """How the logarithm of the energy bends at each place, and the energy there.

    Across a blurred step it is a parabola, along it constant. From three by three neighbours, in steps of their grid:
    its second derivative across the edge, that along it, and the square of its slope across, which is 0 on the crest.
    """
    width, bends = logarithms.shape[1], np.empty((3, len(places)), np.float32)
    heights, energies, down, across = (
        logarithms.ravel(),
        energies.ravel(),
        down.ravel(),
        across.ravel(),
    )
    half, two = (
        np.float32(0.5),
        np.float32(2),
    )  # a plain number would double the precision, and the time
    there = np.empty(len(places), np.float32)
    for i in range(len(places)):
        place = places[i]
        n, s, w, e = (
            heights[place - width],
            heights[place + width],
            heights[place - 1],
            heights[place + 1],
        )
        nw, ne = heights[place - width - 1], heights[place - width + 1]
        sw, se = heights[place + width - 1], heights[place + width + 1]
        here, v, u, energy = heights[place], down[place], across[place], energies[place]
        yy, xx, xy = n + s - two * here, w + e - two * here, (se + nw - ne - sw) * half
        slope = (v * (s - n) + u * (e - w)) * half
        bends[0, i] = (v * v * yy + u * u * xx + v * u * xy) / energy
        bends[1, i] = yy + xx - bends[0, i]
        bends[2, i] = slope * slope / energy
        there[i] = energy
    return bends, there


def _error_of_noise(noise: float, scale: float, step: int) -> float:
    """What image noise adds to a bend, times the root of the energy there: one standard deviation, per squared step.

    White noise of ``noise`` leaves ``noise / (sqrt(8 pi) s^2)`` in a Gaussian derivative of scale s, and between points
    x apart along the derivative it has the correlation ``(1 - x^2 / (2 s^2)) exp(-x^2 / (4 s^2))``. The bend of the
    logarithm of the energy is twice the second difference of the derivative, over the derivative.
    """
    near, far = (
        (1 - x**2 / (2 * scale**2)) * math.exp(-(x**2) / (4 * scale**2)) for x in (step, 2 * step)
    )
    return 2 * math.sqrt(6 - 8 * near + 2 * far) * noise / (math.sqrt(8 * math.pi) * scale**2)


# An estimate counts half where the bend along an edge is this share of that across,
STRAIGHT = 0.5
# and where the crest lies this far away, in widths of the edge as it is seen.
ON_CREST = 0.25


@exact
def _read(
    pixels, bends, energies, scale, step, limit, sparse, weights, valid, cap, evenness, trust
):
    """Write sigma and weight where this scale can tell them, and zeros elsewhere. The pixels that remain open.

    Across a step of blur ``sigma`` the energy falls like ``exp(-x^2 / (sigma^2 + s^2))``: its logarithm bends by ``-2 /
    (sigma^2 + s^2)``. Sigma is written if noise moves it by little (one standard deviation, to first order).
    """
    sparse, weights, valid = sparse.ravel(), weights.ravel(), valid.ravel()
    count, one, zero = len(pixels), np.float32(1), np.float32(0)
    sigmas, trusts = np.empty(count, np.float32), np.empty(count, np.float32)
    told, left_open = np.empty(count, np.bool_), np.empty(count, np.bool_)
    widest, own, even = np.float32(-2 * step**2), np.float32(scale**2), np.float32(evenness**2)
    most, surest = np.float32(cap**2), np.float32(16 * (limit * step**2) ** 2)
    along, off = np.float32(trust / STRAIGHT**2), np.float32(trust / ON_CREST**2)
    # Without a branch: the compiler takes many pixels at a time, and the processor need not guess.
    for i in range(count):
        # Where the energy does not fall to both sides, there is no crest at this scale.
        inverse = one / min(bends[0, i], np.float32(-1e-12))
        width = widest * inverse
        variance = width - own
        # d(sigma) / d(bend) = (sigma^2 + s^2)^2 / (4 sigma), in squared steps; both sides of the limit squared
        squared = width * width
        told[i] = (
            (variance > zero)
            & (bends[0, i] < zero)
            & (squared * squared <= variance * energies[i] * surest)
        )
        # Narrower than this scale alone makes it: sharper than can be seen, and no other scale sees it either.
        left_open[i] = (variance > zero) & ~told[i]
        variance = min(max(variance, zero), most)
        sigmas[i] = math.sqrt(variance) if told[i] else zero
        # Blurred surfaces carry fewer edges an area than sharp ones; the width of the edges evens out their say.
        weight = math.sqrt(variance + even) if evenness > 0 else one
        bent = bends[1, i] * inverse
        trust_here = weight / (one + bent * bent * along - bends[2, i] * inverse * off)
        trusts[i] = trust_here if told[i] else zero
    remain, count = np.empty_like(pixels), 0
    for i in range(len(pixels)):
        pixel = pixels[i]
        sparse[pixel], weights[pixel], valid[pixel] = sigmas[i], trusts[i], told[i]
        remain[count] = pixel
        count += left_open[i]
    return remain[:count]


def noise_level(grey: torch.Tensor) -> torch.Tensor:
    """Standard deviation of white noise, from the median response to a difference of Laplacians (Immerkaer 1996).

    Parameters
    ----------
    grey : (1, 1, H, W) float in [0, 1]

    Returns
    -------
    0-d float
        At least the rounding error of 8 bits.
    """
    return torch.tensor(
        _noise(grey[0, 0].contiguous().cpu().numpy()), dtype=grey.dtype, device=grey.device
    )


def _noise(grey: np.ndarray) -> float:
    responses = _responses(grey)
    lower_median = (len(responses) - 1) // 2
    # The kernel's norm is 6; 0.6745 is the median of |N(0, 1)|.
    return max(
        float(np.partition(responses, lower_median)[lower_median]) / (6 * 0.6745),
        1 / 255 / math.sqrt(12),
    )


@exact
def _responses(grey):
    """Magnitudes of the response at every second row and column: enough for a median."""
    height, width = (grey.shape[0] - 1) // 2, (grey.shape[1] - 1) // 2
    responses = np.empty((height, width), np.float32)
    bends, two = np.empty(grey.shape[1], np.float32), np.float32(2)
    for y in range(height):
        above, here, below = grey[2 * y], grey[2 * y + 1], grey[2 * y + 2]
        for x in range(len(bends)):
            bends[x] = above[x] - two * here[x] + below[x]
        for x in range(width):
            responses[y, x] = abs(bends[2 * x] - two * bends[2 * x + 1] + bends[2 * x + 2])
    return responses.ravel()


def _dense(
    image: np.ndarray,
    grey: np.ndarray,
    sparse: np.ndarray,
    weights: np.ndarray | None,
    places: np.ndarray | None,
    method: str,
) -> np.ndarray:
    """The dense map; ``weights`` is None where, as in the reference, zeros count as data.

    ``places`` are the positions of the edges, where they are known already.
    """
    if method == NETWORK:
        return sparse  # which the network's own map replaces
    if method == "guided":
        return dense_by.guided_plane(grey, sparse, weights)
    weights = np.ones_like(sparse) if weights is None else weights
    if method == "gaussian":
        return dense_by.gaussian_plane(sparse, weights, places=places)
    planes = (np.moveaxis(image, 0, 2), sparse, weights)
    return dense_by.closed_form(*(np.ascontiguousarray(plane, np.float64) for plane in planes))
