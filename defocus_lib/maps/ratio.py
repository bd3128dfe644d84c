"""Blur at edges from the ratio of two scales, as Jeon & Woo (2025) compute it.

A step edge blurred by a Gaussian of ``sigma`` and filtered by the derivative of a Gaussian of
scale ``s`` has a gradient of variance ``sigma^2 + s^2`` across the edge. On its ridge the
gradients of two scales ``s1 < s2`` have the ratio ``R = sqrt((sigma^2 + s2^2) / (sigma^2 +
s1^2))`` (Zhuo & Sim 2011).
"""

from __future__ import annotations

import math

import numpy as np

from defocus_lib.maps.edges import SKIMAGE_THRESHOLD, EdgeBlur, canny
from defocus_lib.maps.kernels.compiled import exact
from defocus_lib.maps.kernels.filters import gradient_energy, padded
from defocus_lib.maps.presets import Preset

# The kernels of the authors' code end here, in px, whatever their scale.
RADIUS = 5


def blur_at_edges(grey: np.ndarray, preset: Preset) -> EdgeBlur:
    """Blur at the edges of ``grey`` (H, W) float32; where it has no solution it is 0 px."""
    clipped = np.clip(grey, 0, 1)  # as the authors' code does, so the darker half has no edges
    edges = canny(clipped, preset.canny_sigma, SKIMAGE_THRESHOLD / 2, SKIMAGE_THRESHOLD)
    around = padded(grey, RADIUS, False)
    fine, coarse = preset.scales
    energy_fine = gradient_energy(around, RADIUS, fine, RADIUS)
    energy_coarse = gradient_energy(around, RADIUS, coarse, RADIUS)
    pixels = np.flatnonzero(edges)
    sparse, valid = _read(pixels, energy_fine, energy_coarse, fine, coarse, preset.max_sigma)
    return EdgeBlur(edges, sparse, valid)


@exact
def _read(pixels, energy_fine, energy_coarse, fine, coarse, max_sigma):
    sparse = np.zeros(energy_fine.size, np.float32)
    valid = np.zeros(energy_fine.size, np.bool_)
    energies_fine, energies_coarse = energy_fine.ravel(), energy_coarse.ravel()
    for pixel in pixels:
        ratio = math.sqrt(energies_fine[pixel]) / (math.sqrt(energies_coarse[pixel]) + 1e-8)
        sparse[pixel] = min(_sigma(ratio**2, fine, coarse), max_sigma)
        valid[pixel] = 1 < ratio < coarse / fine
    return sparse.reshape(energy_fine.shape), valid.reshape(energy_fine.shape)


@exact
def _sigma(squared, fine, coarse):
    """Sigma in px from ``R^2``; the small constant is that of the authors' code."""
    variance = (squared * fine**2 - coarse**2) / (1 - squared + 1e-8)
    return math.sqrt(variance) if variance > 0 else 0.0
