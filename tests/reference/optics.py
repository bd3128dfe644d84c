"""Images whose blur is known, made without layers: each pixel is taken from the Gaussian blur of its own sigma."""

import math

import numpy as np
from PIL import Image
from scipy import ndimage

FOCAL_PLANES = (12, 20, 30, 40, 55)


def step(sigma, size, angle=0.0, contrast=0.6):
    """``(3, size, size)`` float32: a straight edge through the centre, turned by ``angle`` degrees, blurred by ``sigma``."""
    turn = math.radians(angle)
    profile = np.empty((size, size))
    for y in range(size):
        for x in range(size):
            away = math.cos(turn) * (x - (size - 1) / 2) + math.sin(turn) * (y - (size - 1) / 2)
            profile[y, x] = 0.5 + contrast / 2 * math.erf(away / (sigma * math.sqrt(2)))
    return np.repeat(profile[None], 3, axis=0).astype(np.float32)


def blur_each_pixel(image, sigmas, step=0.05):
    """``image`` (H, W, 3) once for each map of ``sigmas`` (F, H, W): no occlusion.

    The image is blurred at multiples of ``step`` px; a pixel between two of them is mixed from both.
    """
    result = np.zeros((len(sigmas), *image.shape))
    for level in range(math.floor(sigmas.min() / step), math.ceil(sigmas.max() / step) + 1):
        blurred = ndimage.gaussian_filter(image, (level * step, level * step, 0), mode="reflect")
        result += np.maximum(0, 1 - np.abs(sigmas / step - level))[..., None] * blurred
    return result


def motorcycle(image, disparity, size=299):
    """8-bit images (F, size, size, 3) focused at :data:`FOCAL_PLANES`, their sigma, and where disparity was measured."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    image, disparity = (a[top : top + side, left : left + side] for a in (image, disparity))
    sharp = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS), dtype=float)
    disparity = np.asarray(Image.fromarray(disparity).resize((size, size), Image.Resampling.NEAREST))
    known = np.isfinite(disparity)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    disparity = disparity[tuple(nearest)]
    sigmas = np.stack([np.clip(0.12 * np.abs(disparity - plane), 0.3, 4.5) for plane in FOCAL_PLANES])
    return np.rint(blur_each_pixel(sharp, sigmas)).astype(np.uint8), sigmas, known
