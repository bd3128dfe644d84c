from functools import cache

import numpy as np
import pytest
from PIL import Image

from defocus_lib import manifest


@pytest.fixture(scope="session")
def photograph():
    """Packaged photograph ``name``, its left square as ``(3, size, size)`` float32 in [0, 1] with 8-bit values."""
    listed = manifest.load_manifest()

    @cache
    def load(name: str, size: int) -> np.ndarray:
        pixels = manifest.load_photograph(listed.photograph(name))
        side = min(pixels.shape[:2])
        square = Image.fromarray(pixels[:side, :side]).resize((size, size), Image.Resampling.BOX)
        return np.moveaxis(np.asarray(square, dtype=np.float32) / 255, 2, 0).copy()

    return load
