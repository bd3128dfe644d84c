"""Edge density: how many edges lie around each pixel."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SPREAD = 0.04  # of the shorter side, as in the propagation of a map


def edge_density(edges: np.ndarray) -> np.ndarray:
    """``(N, H, W)`` float32 share of edge pixels, under the Gaussian that also spreads the blur.

    `edges` (N, H, W) bool.
    """
    spread = SPREAD * min(edges.shape[1:])
    return ndimage.gaussian_filter(edges.astype(np.float32), (0, spread, spread), mode="constant")
