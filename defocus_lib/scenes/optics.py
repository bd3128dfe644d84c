"""The thin lens: how far out of focus a depth is, and what a camera records of it."""

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
    """A camera with one thin lens.

    Attributes
    ----------
    focal_length : float
        In mm.
    f_number : float
        Focal length over the diameter of the aperture.
    focus_distance : float
        Distance in mm at which a point is sharp; more than the focal length.
    pixel_pitch : float
        Distance between pixel centres in mm.
    """

    focal_length: float
    f_number: float
    focus_distance: float
    pixel_pitch: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} is {value}; a positive number wanted")
        if self.focus_distance <= self.focal_length:
            raise ValueError(
                f"focus_distance is {self.focus_distance} mm; more than the focal length {self.focal_length} mm wanted"
            )

    def circle_of_confusion(self, distance: np.ndarray | float) -> np.ndarray:
        """Diameter in mm of the disc that a point at ``distance`` (mm) makes on the sensor (Pentland 1987)."""
        distance = np.asarray(distance, dtype=float)
        if not (distance > 0).all():
            raise ValueError(
                "distance holds values that are not positive; mm in front of the lens wanted"
            )
        aperture = self.focal_length / self.f_number
        magnification = self.focal_length / (self.focus_distance - self.focal_length)
        return aperture * magnification * np.abs(distance - self.focus_distance) / distance

    def sigma(self, distance: np.ndarray | float) -> np.ndarray:
        """Blur in px at ``distance`` (mm): the standard deviation along one axis of a uniform disc of that diameter."""
        return self.circle_of_confusion(distance) / (4 * self.pixel_pitch)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur by ``sigma`` px of ``(H, W)`` or ``(H, W, C)``, each channel alone, borders reflected."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0)[: image.ndim], mode="reflect")


PSFS = ("gaussian", "disc")


def transfer(sigma: float, frequency: np.ndarray, psf: str = "gaussian") -> np.ndarray:
    """What a point-spread function leaves of a wave: its Fourier transform, which is real as the function is even.

    Parameters
    ----------
    sigma : float
        Standard deviation along one axis, in px. A uniform disc of radius r has r / 2.
    frequency : float array
        In cycles a px, at least 0.
    psf : {"gaussian", "disc"}

    Returns
    -------
    float array like ``frequency``, in [-1, 1]

    Raises
    ------
    ValueError
        If the function is another one.
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
    """Take each pixel from the blur by its own sigma, borders reflected.

    An even function convolves a mirrored image by multiplying its cosine transform (Martucci 1994).

    Parameters
    ----------
    planes : (C, H, W) float
    sigma : (H, W) float
        In px, positive.
    psf : {"gaussian", "disc"}
    ratio : float
        The blurs that are computed differ by at most this factor; between two, the variance is mixed from both.

    Returns
    -------
    (C, H, W) float

    Raises
    ------
    ValueError
        If a sigma is not positive, or the function unknown.
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
    """``(H, W)`` frequency of each wave of a cosine transform of ``shape``, in cycles a px."""
    rows, columns = (np.arange(length) / (2 * length) for length in shape)
    return np.hypot(rows[:, None], columns)


def render_fields(
    textures: list[np.ndarray],
    masks: list[np.ndarray],
    sigmas: list[np.ndarray],
    psf: str = "gaussian",
) -> np.ndarray:
    """:func:`render` of surfaces whose blur differs from pixel to pixel.

    Parameters
    ----------
    textures, masks, sigmas : lists of (H, W) float
        Light, cover and blur in px of each surface, farthest first.
    psf : {"gaussian", "disc"}

    Returns
    -------
    (H, W) float
    """
    light, cover = np.zeros_like(textures[0]), np.zeros_like(masks[0])
    for texture, mask, sigma in zip(textures, masks, sigmas, strict=True):
        if (mask == 1).all():  # what covers everything still does when it is blurred
            light, cover = blur_field(texture[None], sigma, psf)[0], np.ones_like(mask)
        else:
            colour, alpha = blur_field(np.stack([texture * mask, mask]), sigma, psf)
            light, cover = colour + (1 - alpha) * light, alpha + (1 - alpha) * cover
    return np.clip(light / np.maximum(cover, 1e-6), 0, 1)


def render(colours: list[np.ndarray], masks: list[np.ndarray], sigmas: list[float]) -> np.ndarray:
    """Photograph a stack of flat layers, each out of focus by its own sigma.

    Layers are composited from the farthest to the nearest. A nearer layer's blur spreads over what lies behind it; a
    farther one's never over what lies before it.

    Parameters
    ----------
    colours : list of (H, W, 3) float in [0, 1]
        What each layer would look like in focus, farthest first.
    masks : list of (H, W) float in [0, 1]
        Where each layer is; together they cover the plane.
    sigmas : list of float
        Blur of each layer in px.

    Returns
    -------
    (H, W, 3) float in [0, 1]
    """
    if not len(colours) == len(masks) == len(sigmas) > 0:
        raise ValueError(
            f"{len(colours)} colours, {len(masks)} masks, {len(sigmas)} sigmas; equally many, at least 1, wanted"
        )
    image, cover = np.zeros_like(colours[0], dtype=float), np.zeros(masks[0].shape)
    for colour, mask, sigma in zip(colours, masks, sigmas, strict=True):
        alpha = blur(mask.astype(float), sigma)
        image = blur(colour * mask[..., None], sigma) + (1 - alpha[..., None]) * image
        cover = alpha + (1 - alpha) * cover
    # Where two cut-out layers meet, both are half transparent; what is missing is not darkness.
    return np.clip(image / np.maximum(cover, 1e-6)[..., None], 0, 1)


def visible_sigma(masks: list[np.ndarray], sigmas: Sequence[float | np.ndarray]) -> np.ndarray:
    """``(H, W)`` blur in px of the layer seen at each pixel: the nearest whose mask covers at least half of it."""
    seen = np.zeros(masks[0].shape)
    for mask, sigma in zip(masks, sigmas, strict=True):
        seen = np.where(mask >= 0.5, sigma, seen)
    return seen


def render_depth(
    image: np.ndarray, sigma: np.ndarray, distance: np.ndarray, layers: int = 24
) -> np.ndarray:
    """Photograph an all-in-focus image with a blur for each pixel, as a stack of layers by distance.

    Parameters
    ----------
    image : (H, W, 3) float in [0, 1]
    sigma : (H, W) float
        Blur in px.
    distance : (H, W) float
        Any measure that grows with distance from the camera; it orders the layers.
    layers : int
        Number of layers, of equally many pixels each.

    Returns
    -------
    (H, W, 3) float in [0, 1]
    """
    limits = np.quantile(distance, np.linspace(0, 1, layers + 1)[1:-1])
    number = np.digitize(distance, np.unique(limits))
    masks = [(number == k).astype(float) for k in np.unique(number)[::-1]]
    sigmas = [float(sigma[mask > 0].mean()) for mask in masks]
    return render([image] * len(masks), masks, sigmas)
