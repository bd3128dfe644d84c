"""The presets ``released`` and ``published`` (Jeon & Woo 2025), window by window."""

import math

import numpy as np
from skimage.feature import canny

SCALES = {"released": (1.5, 2.0), "published": (2.0, 2.5)}


def maps(image, preset):
    """Edges, sparse and dense map, each ``(H, W)``, of one image ``(3, H, W)`` in [0, 1]."""
    fine, coarse = SCALES[preset]
    # Single precision: a threshold of the edge detector must not fall between two roundings.
    grey = (image.astype(np.float32) * 2 - 1).mean(axis=0, dtype=np.float32)
    edges = canny(np.clip(grey, 0, 1), sigma=1.5)
    grey = grey.astype(np.float64)
    with np.errstate(invalid="ignore"):
        ratio = magnitude(grey, fine) / (magnitude(grey, coarse) + 1e-8) * edges
        variance = (ratio**2 * fine**2 - coarse**2) / (1 - ratio**2 + 1e-8)
        sparse = np.minimum(np.nan_to_num(np.sqrt(np.maximum(variance, 0)), nan=0.0), 5)
    return edges, sparse, guided(grey, sparse, radius=7, eps=1e-2)


def magnitude(grey, scale):
    """Gradient magnitude by two dense 11x11 kernels, zeros outside the image."""
    y, x = np.mgrid[-5:6, -5:6].astype(np.float64)
    gaussian = np.exp(-(x**2 + y**2) / (2 * scale**2)) / (2 * math.pi * scale**4)
    return np.hypot(correlate(grey, -x * gaussian), correlate(grey, -y * gaussian))


def correlate(image, kernel):
    """Sum of the kernel's elements times the zero-padded image under them."""
    height, width = image.shape
    padded = np.pad(image, [(side // 2, side // 2) for side in kernel.shape])
    total = np.zeros((height, width))
    for (top, left), weight in np.ndenumerate(kernel):
        total += weight * padded[top : top + height, left : left + width]
    return total


def box_mean(image, radius):
    """Mean over the part of each window that lies inside the image."""
    kernel = np.ones((2 * radius + 1, 2 * radius + 1))
    return correlate(image, kernel) / correlate(np.ones_like(image), kernel)


def guided(guide, values, radius, eps):
    """Guided filter: a line ``a guide + b`` per window, and per pixel the mean of its lines."""
    guide_mean, value_mean = box_mean(guide, radius), box_mean(values, radius)
    covariance = box_mean(guide * values, radius) - guide_mean * value_mean
    slope = covariance / (box_mean(guide * guide, radius) - guide_mean**2 + eps)
    offset = value_mean - slope * guide_mean
    return box_mean(slope, radius) * guide + box_mean(offset, radius)
