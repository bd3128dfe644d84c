"""Images of known blur without layers: each pixel has the Gaussian blur of its own sigma."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage, special

FOCAL_PLANES = (12, 20, 30, 40, 55)


def step(sigma, size, angle=0.0, contrast=0.6):
    """``(3, size, size)`` float32: an edge through the centre, turned by ``angle`` degrees."""
    turn = math.radians(angle)
    y, x = np.indices((size, size)) - (size - 1) / 2
    away = math.cos(turn) * x + math.sin(turn) * y
    profile = 0.5 + contrast / 2 * special.erf(away / (sigma * math.sqrt(2)))
    return np.repeat(profile[None], 3, axis=0).astype(np.float32)


def blur_each_pixel(image, sigmas, spacing=0.1):
    """``image`` (H, W, 3) once for each map of ``sigmas`` (F, H, W): no occlusion.

    The image is blurred at multiples of ``spacing`` px; a pixel between two of them is mixed from
    both.
    """
    result = np.zeros((len(sigmas), *image.shape))
    for level in range(math.floor(sigmas.min() / spacing), math.ceil(sigmas.max() / spacing) + 1):
        blurred = ndimage.gaussian_filter(
            image, (level * spacing, level * spacing, 0), mode="reflect"
        )
        result += np.maximum(0, 1 - np.abs(sigmas / spacing - level))[..., None] * blurred
    return result


class Motorcycle(NamedTuple):
    """``sharp`` (H, W, 3); ``images`` (F, H, W, 3) uint8 focused at each plane; ``sigmas``."""

    sharp: np.ndarray
    disparity: np.ndarray
    images: np.ndarray
    sigmas: np.ndarray
    known: np.ndarray


def motorcycle(image, disparity, size=299):
    """The centre square of a photograph with disparity, focused at :data:`FOCAL_PLANES`."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    image, disparity = (a[top : top + side, left : left + side] for a in (image, disparity))
    sharp = np.asarray(
        Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS), dtype=float
    )
    disparity = np.asarray(
        Image.fromarray(disparity).resize((size, size), Image.Resampling.NEAREST)
    )
    known = np.isfinite(disparity)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    disparity = disparity[tuple(nearest)]
    sigmas = np.stack(
        [np.clip(0.12 * np.abs(disparity - plane), 0.3, 4.5) for plane in FOCAL_PLANES]
    )
    return Motorcycle(
        sharp, disparity, np.rint(blur_each_pixel(sharp, sigmas)).astype(np.uint8), sigmas, known
    )
