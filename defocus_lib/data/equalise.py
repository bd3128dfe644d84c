"""A remedy for files that give the label away: all images are resized and compressed alike.

Format, size, compression and metadata are then the same for every image. What the first
compression and the resizing did to the pixels stays in them.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from defocus_lib.data.entry import Entry
from defocus_lib.data.images import LEAST_SIDE, fit_square

if TYPE_CHECKING:
    import pandas as pd


class Equalise(Entry):
    """Each image becomes a square of ``size`` px, by the ``fit`` of its data set, and then a JPEG
    of ``quality`` with 4:2:0 subsampling and without metadata."""

    size: Annotated[int, Field(ge=LEAST_SIDE)] = 256
    quality: Annotated[int, Field(ge=1, le=95)] = 90

    @property
    def label(self) -> str:
        """A name for folders and tables, such as ``256q90``."""
        return f"{self.size}q{self.quality}"

    def enlarged(self, records: pd.DataFrame) -> int:
        """How many images are smaller than that, so that enlarging adds blur to them."""
        return int((records[["width", "height"]].min(axis="columns") < self.size).sum())

    def encode(self, pixels: np.ndarray, fit: str) -> bytes:
        """The file that (H, W, 3) uint8 become."""
        file = io.BytesIO()
        square = Image.fromarray(fit_square(pixels, self.size, fit))
        square.save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        return file.getvalue()
