"""How many images a network takes at once.

On a processor more is not faster. Activations that are too large for the caches and for the allocator to keep are asked
of the system anew in each pass, page by page. ``python -m benchmarks.shapley`` measures what that costs.
"""

from __future__ import annotations

import torch

PIXELS = 360_000  # on a processor: 4 images of 299 px, 21 of 128 px
IMAGES = 64  # on a GPU


def fitting(images: torch.Tensor) -> int:
    """How many of the images ``(N, C, H, W)`` their device is fastest with, a pass; at least 1."""
    if images.device.type != "cpu":
        return IMAGES
    return max(1, PIXELS // (images.shape[-2] * images.shape[-1]))
