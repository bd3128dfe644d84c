"""What happens to pictures on their way: JPEG, a smaller size, blur, noise. And a measurement of each, to be sure.

A robustness curve is worth what its corruptions are worth, so each is checked by a number that its definition fixes and
that is measured without looking at how it was made.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from defocus_lib.scenes.optics import blur


@dataclass(frozen=True)
class Corruption:
    """One kind of damage.

    Attributes
    ----------
    title, unit : str
        For an axis; the unit is that of the level.
    levels : tuple of float
        From none to strong; the first one leaves the image as it is.
    apply : callable
        ``(H, W, 3)`` uint8, level, generator -> ``(H, W, 3)`` uint8.
    measure : callable
        The level, found again by applying it to a test picture: level, generator -> float.
    """

    title: str
    unit: str
    levels: tuple[float, ...]
    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    measure: Callable[[float, np.random.Generator], float]

    def __call__(self, image: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
        """The image at a level; at the first level the image itself."""
        return image if level == self.levels[0] else self.apply(image, level, rng)


def _stored(image: np.ndarray, quality: float) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality), subsampling=0)
    return buffer.getvalue()


def jpeg(image: np.ndarray, quality: float, _rng: np.random.Generator) -> np.ndarray:
    """Store as JPEG of this quality, without subsampling of colour, and read again."""
    return np.asarray(Image.open(io.BytesIO(_stored(image, quality))).convert("RGB"))


def smaller(image: np.ndarray, factor: float, _rng: np.random.Generator) -> np.ndarray:
    """Shrink by a factor (area), and enlarge to the old size again (bicubic)."""
    height, width = image.shape[:2]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    shrunk = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.asarray(shrunk.resize((width, height), Image.Resampling.BICUBIC))


def blurred(image: np.ndarray, sigma: float, _rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur by ``sigma`` px."""
    return _rounded(blur(image.astype(np.float64), sigma))


def noisy(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """White Gaussian noise on each channel; ``deviation`` as a share of the range."""
    return _rounded(image + rng.normal(0, 255 * deviation, image.shape))


def _rounded(image: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------------------
# Each measured on a picture that shows it.

# Luminance at quality 50 (ITU-T T.81, table K.1), of which libjpeg's other qualities are multiples; sorted, since files
# store it in zigzag.
QUALITY_50 = np.sort([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
])  # fmt: skip


def _speckled(rng: np.random.Generator, height: int = 256, width: int = 256) -> np.ndarray:
    """Independent greys, every channel the same: ``(height, width, 3)`` uint8."""
    return np.repeat(rng.integers(64, 192, (height, width, 1), dtype=np.uint8), 3, axis=2)


def _quality_found(quality: float, rng: np.random.Generator) -> float:
    """The quality whose table is nearest to the one in the file."""
    file = Image.open(io.BytesIO(_stored(_speckled(rng, 16, 16), quality)))
    qualities = np.arange(1, 101)
    scales = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    tables = np.clip((QUALITY_50 * scales[:, None] + 50) // 100, 1, 255)
    return float(qualities[np.abs(tables - np.sort(file.quantization[0])).sum(1).argmin()])


def _factor_found(factor: float, rng: np.random.Generator) -> float:
    """Rows enlarged from ``n`` rows are mixes of these: as a matrix, the picture has the rank ``n``."""
    picture = smaller(_speckled(rng, 96, 384), factor, rng)[..., 0].astype(np.float64)
    strength = np.linalg.svd(picture - picture.mean(), compute_uv=False)
    rank = 1 + int(np.argmax(strength[:-1] / strength[1:]))  # what follows is rounding to 8 bit
    return len(picture) / rank


def _sigma_found(sigma: float, rng: np.random.Generator) -> float:
    """A Gaussian of ``sigma`` leaves ``1 / (4 pi sigma^2)`` of the variance of independent greys."""
    picture = _speckled(rng, 512, 512)
    after = blurred(picture, sigma, rng)[..., 0].var() - 1 / 12  # of rounding
    return float(np.sqrt(picture[..., 0].var() / (4 * np.pi * after)))


def _deviation_found(deviation: float, rng: np.random.Generator) -> float:
    """What noise adds to a flat grey, far from where it would be clipped."""
    return float(
        np.sqrt(noisy(np.full((256, 256, 3), 128, np.uint8), deviation, rng).var() - 1 / 12) / 255
    )


CORRUPTIONS = {
    "JPEG": Corruption("JPEG quality", "", (100, 90, 70, 50, 30), jpeg, _quality_found),
    "resize": Corruption("smaller by", "times", (1, 1.33, 2, 4), smaller, _factor_found),
    "blur": Corruption("blur, sigma", "px", (0, 1, 2, 3), blurred, _sigma_found),
    "noise": Corruption("noise", "share of range", (0, 0.01, 0.03, 0.06), noisy, _deviation_found),
}
"""At the first level of each the picture is as it was stored."""


def verification(
    corruptions: Mapping[str, Corruption] = CORRUPTIONS, seed: int = 0
) -> pd.DataFrame:
    """Each level of each corruption, as asked for and as measured.

    Returns
    -------
    DataFrame
        Columns corruption, level, measured, off (relative difference).
    """
    rows = []
    for one in corruptions.values():
        for level in one.levels[1:]:
            found = one.measure(level, np.random.default_rng(seed))
            rows.append(
                {
                    "corruption": f"{one.title} ({one.unit})" if one.unit else one.title,
                    "level": level,
                }
            )
            rows[-1] |= {"measured": found, "off": found / level - 1}
    return pd.DataFrame(rows)
