"""The thin lens: how blurred a point at some depth is, and the image that a camera records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.fft import dctn, idctn
from scipy.special import j1

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: the one channel that JPEG keeps at full size


@dataclass(frozen=True)
class ThinLens:
    """A camera with one thin lens. ValueError if a value is not positive, or the focus too near."""

    focal_length: float
    """In mm."""
    f_number: float
    """Focal length over the diameter of the aperture."""
    focus_distance: float
    """Distance in mm at which a point is sharp; more than the focal length."""
    pixel_pitch: float
    """Distance between pixel centres in mm."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} is {value}; a positive number wanted")
        if self.focus_distance <= self.focal_length:
            raise ValueError(
                f"focus_distance is {self.focus_distance} mm; "
                f"more than the focal length {self.focal_length} mm wanted"
            )

    def circle_of_confusion(self, distance: np.ndarray | float) -> np.ndarray:
        """Diameter in mm of the image of a point at ``distance`` (mm), see Pentland (1987)."""
        distance = np.asarray(distance, dtype=float)
        if not (distance > 0).all():
            raise ValueError("distance holds values that are not positive; mm wanted")
        aperture = self.focal_length / self.f_number
        magnification = self.focal_length / (self.focus_distance - self.focal_length)
        return aperture * magnification * np.abs(distance - self.focus_distance) / distance

    def sigma(self, distance: np.ndarray | float) -> np.ndarray:
        """Blur in px at ``distance`` (mm): the standard deviation of that disc, per axis."""
        return self.circle_of_confusion(distance) / (4 * self.pixel_pitch)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """``(H, W)`` or ``(H, W, C)`` after Gaussian blur by ``sigma`` px, borders reflected."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0)[: image.ndim], mode="reflect")


PSFS = ("gaussian", "disc")


def transfer(sigma: float, frequency: np.ndarray, psf: str = "gaussian") -> np.ndarray:
    """Transfer function of one of :data:`PSFS` at `frequency` (cycles per px), in [-1, 1].

    `sigma` is the standard deviation per axis in px; a uniform disc of radius r has r / 2.
    ValueError if the function is another one.
    """
    if psf not in PSFS:
        raise ValueError(f"unknown psf {psf!r}; one of {', '.join(PSFS)} wanted")
    if psf == "gaussian":
        return np.exp(-2 * (np.pi * sigma * frequency) ** 2)
    angle = np.maximum(4 * np.pi * sigma * frequency, 1e-6)
    return 2 * j1(angle) / angle


def blur_field(
    planes: np.ndarray, sigma: np.ndarray, psf: str = "gaussian", ratio: float = 1.25
) -> np.ndarray:
    """`planes` (C, H, W), each pixel blurred by its own `sigma` (H, W) in px, borders reflected.

    An even function convolves a reflected image by multiplying its cosine transform (Martucci
    1994). The blurs that are computed differ by at most the factor `ratio`; between two, the
    variance is interpolated. ValueError if a sigma is not positive, or the point-spread function
    unknown.
    """
    low, high = float(sigma.min()), float(sigma.max())
    if not low > 0:
        raise ValueError(f"sigma goes down to {low:g} px; positive values wanted")
    levels = np.geomspace(low, high, 1 + math.ceil(math.log(high / low) / math.log(ratio)))
    waves, frequency = dctn(planes, axes=(1, 2)), frequencies(planes.shape[1:]).astype(planes.dtype)
    if len(levels) == 1:
        return idctn(waves * transfer(low, frequency, psf), axes=(1, 2))
    position = np.interp(sigma**2, levels**2, np.arange(len(levels))).astype(planes.dtype)
    result = np.zeros_like(planes)
    for number, level in enumerate(levels):
        share = np.clip(1 - np.abs(position - number), 0, 1)
        result += share * idctn(waves * transfer(float(level), frequency, psf), axes=(1, 2))
    return result


@lru_cache(maxsize=8)
def frequencies(shape: tuple[int, ...]) -> np.ndarray:
    """``(H, W)`` frequency of each wave of a cosine transform of ``shape``, in cycles per px."""
    rows, columns = (np.arange(length) / (2 * length) for length in shape)
    return np.hypot(rows[:, None], columns)


def render_fields(
    textures: list[np.ndarray],
    masks: list[np.ndarray],
    sigmas: list[np.ndarray],
    psf: str = "gaussian",
) -> np.ndarray:
    """``(H, W)`` :func:`render` of surfaces whose blur differs from pixel to pixel.

    Light, cover and blur in px of each surface, (H, W) each, farthest first.
    """
    light, cover = np.zeros_like(textures[0]), np.zeros_like(masks[0])
    for texture, mask, sigma in zip(textures, masks, sigmas, strict=True):
        if (mask == 1).all():  # a surface that covers everything still does when blurred
            light, cover = blur_field(texture[None], sigma, psf)[0], np.ones_like(mask)
        else:
            colour, alpha = blur_field(np.stack([texture * mask, mask]), sigma, psf)
            light, cover = colour + (1 - alpha) * light, alpha + (1 - alpha) * cover
    return np.clip(light / np.maximum(cover, 1e-6), 0, 1)


def render(colours: list[np.ndarray], masks: list[np.ndarray], sigmas: list[float]) -> np.ndarray:
    """``(H, W, 3)`` photograph in [0, 1] of flat layers, each blurred by its own sigma in px.

    Layers, farthest first, are given by their colours in focus (H, W, 3) and masks (H, W), both in
    [0, 1]; together they cover the plane. A nearer layer's blur spreads over those behind it; a
    farther one's never over those before it. ValueError if the lists differ in length.
    """
    counts = len(colours), len(masks), len(sigmas)
    if not counts[0] == counts[1] == counts[2] > 0:
        given = "{} colours, {} masks, {} sigmas".format(*counts)
        raise ValueError(f"{given}; equally many, at least 1, wanted")
    image, cover = np.zeros_like(colours[0], dtype=float), np.zeros(masks[0].shape)
    for colour, mask, sigma in zip(colours, masks, sigmas, strict=True):
        alpha = blur(mask.astype(float), sigma)
        image = blur(colour * mask[..., None], sigma) + (1 - alpha[..., None]) * image
        cover = alpha + (1 - alpha) * cover
    # Where two cut-out layers meet, both are half transparent; what is missing is not darkness.
    return np.clip(image / np.maximum(cover, 1e-6)[..., None], 0, 1)


def visible_sigma(masks: list[np.ndarray], sigmas: Sequence[float | np.ndarray]) -> np.ndarray:
    """``(H, W)`` blur in px of the nearest layer whose mask covers at least half of each pixel."""
    seen = np.zeros(masks[0].shape)
    for mask, sigma in zip(masks, sigmas, strict=True):
        seen = np.where(mask >= 0.5, sigma, seen)
    return seen


def render_depth(
    image: np.ndarray, sigma: np.ndarray, distance: np.ndarray, layers: int = 24
) -> np.ndarray:
    """``(H, W, 3)`` all-in-focus image blurred by `sigma` (H, W) in px, as a stack of layers.

    The layers, of equally many pixels each, are ordered by `distance` (H, W), any measure that
    grows with distance from the camera.
    """
    limits = np.quantile(distance, np.linspace(0, 1, layers + 1)[1:-1])
    number = np.digitize(distance, np.unique(limits))
    masks = [(number == k).astype(float) for k in np.unique(number)[::-1]]
    sigmas = [float(sigma[mask > 0].mean()) for mask in masks]
    return render([image] * len(masks), masks, sigmas)
