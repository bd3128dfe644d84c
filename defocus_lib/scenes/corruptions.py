"""Image corruptions, each with a measurement that verifies its level.

A robustness curve is as good as its corruptions. Each is therefore checked by a number that its
definition fixes, which is measured on a test picture without reference to the code that made it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image, JpegImagePlugin

from defocus_lib.scenes.optics import blur


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption of ``(H, W, 3)`` uint8 images.

    The ``levels``, in ``unit``, go from none to strong; the first leaves an image unchanged.
    ``measure`` applies a level to a test picture and returns the level that it measures there.
    """

    title: str
    unit: str
    levels: tuple[float, ...]
    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    measure: Callable[[float, np.random.Generator], float]

    @property
    def label(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def __call__(self, image: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
        """The image at a level; at the first level the image itself."""
        return image if level == self.levels[0] else self.apply(image, level, rng)


def _encoded(image: np.ndarray, quality: float) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality), subsampling=0)
    return buffer.getvalue()


def jpeg(image: np.ndarray, quality: float, _rng: np.random.Generator) -> np.ndarray:
    """JPEG of this quality, without chroma subsampling."""
    return np.asarray(Image.open(io.BytesIO(_encoded(image, quality))).convert("RGB"))


def resized(image: np.ndarray, factor: float, _rng: np.random.Generator) -> np.ndarray:
    """Shrunk by a factor (area), and enlarged to the old size again (bicubic)."""
    height, width = image.shape[:2]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    shrunk = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.asarray(shrunk.resize((width, height), Image.Resampling.BICUBIC))


def blurred(image: np.ndarray, sigma: float, _rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur by ``sigma`` px."""
    return _rounded(blur(image.astype(np.float64), sigma))


def noisy(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """White Gaussian noise on each channel; ``deviation`` is a share of the range."""
    return _rounded(image + rng.normal(0, 255 * deviation, image.shape))


def _rounded(image: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


# Luminance at quality 50 (ITU-T T.81, table K.1), of which libjpeg's other qualities are multiples;
# sorted, since files store it in zigzag.
QUALITY_50 = np.sort([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69,
    56, 14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81,
    104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
])  # fmt: skip


def _random_greys(rng: np.random.Generator, height: int = 256, width: int = 256) -> np.ndarray:
    """Independent greys, equal in all channels: ``(height, width, 3)`` uint8."""
    return np.repeat(rng.integers(64, 192, (height, width, 1), dtype=np.uint8), 3, axis=2)


def _measured_quality(quality: float, rng: np.random.Generator) -> float:
    """The quality whose quantisation table is nearest to the one in the file."""
    file = JpegImagePlugin.JpegImageFile(io.BytesIO(_encoded(_random_greys(rng, 16, 16), quality)))
    qualities = np.arange(1, 101)
    scales = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    tables = np.clip((QUALITY_50 * scales[:, None] + 50) // 100, 1, 255)
    return float(qualities[np.abs(tables - np.sort(file.quantization[0])).sum(1).argmin()])


def _measured_factor(factor: float, rng: np.random.Generator) -> float:
    """Rows enlarged from ``n`` rows are mixtures of these, so the picture has rank ``n``."""
    picture = resized(_random_greys(rng, 96, 384), factor, rng)[..., 0].astype(np.float64)
    singular = np.linalg.svd(picture - picture.mean(), compute_uv=False)
    rank = 1 + int(np.argmax(singular[:-1] / singular[1:]))  # the rest is rounding to 8 bit
    return len(picture) / rank


def _measured_sigma(sigma: float, rng: np.random.Generator) -> float:
    """A Gaussian of ``sigma`` leaves ``1 / (4 pi sigma^2)`` of the variance of random greys."""
    picture = _random_greys(rng, 512, 512)
    after = blurred(picture, sigma, rng)[..., 0].var() - 1 / 12  # of rounding
    return float(np.sqrt(picture[..., 0].var() / (4 * np.pi * after)))


def _measured_deviation(deviation: float, rng: np.random.Generator) -> float:
    """The standard deviation of a flat grey with noise, far from where it would be clipped."""
    noise = noisy(np.full((256, 256, 3), 128, np.uint8), deviation, rng)
    return float(np.sqrt(noise.var() - 1 / 12) / 255)


CORRUPTIONS = {
    "JPEG": Corruption("JPEG quality", "", (100, 90, 70, 50, 30), jpeg, _measured_quality),
    "resize": Corruption("size divided by", "", (1, 1.33, 2, 4), resized, _measured_factor),
    "blur": Corruption("blur, sigma", "px", (0, 1, 2, 3), blurred, _measured_sigma),
    "noise": Corruption(
        "noise",
        "share of range",
        (0, 0.01, 0.03, 0.06),
        noisy,
        _measured_deviation,
    ),
}


def verification(
    corruptions: Mapping[str, Corruption] = CORRUPTIONS, seed: int = 0
) -> pd.DataFrame:
    """Each level of each corruption, nominal and as measured.

    Columns: corruption, level, measured, relative error.
    """
    rows = []
    for corruption in corruptions.values():
        for level in corruption.levels[1:]:
            measured = corruption.measure(level, np.random.default_rng(seed))
            rows.append((corruption.label, level, measured, measured / level - 1))
    return pd.DataFrame(rows, columns=["corruption", "level", "measured", "relative error"])
