"""What a detector is trained and evaluated on: images, their maps, or both, read from disk when they are asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from defocus_lib.data.images import Reader, Row, as_planes
from defocus_lib.maps.cache import MapCache
from defocus_lib.maps.presets import normalize_per_sample

READS = ("defocus", "rgb", "fusion")


class Inputs(torch.utils.data.Dataset):
    """The inputs and labels of a table of records, in the order of its rows.

    Parameters
    ----------
    records : DataFrame
        Columns ``path``, ``digest`` and ``label`` (0 real, 1 fake).
    reads : {"defocus", "rgb", "fusion"}
        The min-max normalised map (one channel), the photograph (three), or the photograph and then the map (four).
    reader : Reader
        Reads photographs; its size and fit are the cache's.
    cache : MapCache, optional
        Holds the maps of all records. Not needed for ``rgb``.

    Raises
    ------
    ValueError
        If ``reads`` is unknown, maps are needed and there is no cache, or cache and reader differ in size or fit.
    """

    def __init__(
        self, records: pd.DataFrame, reads: str, reader: Reader, cache: MapCache | None = None
    ):
        if reads not in READS:
            raise ValueError(f"unknown input {reads!r}; one of {', '.join(READS)} wanted")
        if reads != "rgb":
            if cache is None:
                raise ValueError(
                    f"cache is None; a detector that reads {reads} needs a cache of maps"
                )
            cache.check_reader(reader)
        self.reads, self.reader, self.cache = reads, reader, cache
        # Fixed-width arrays, no Python objects: processes that share them by forking would copy each object they touch.
        self._paths, self._digests = (
            records[name].to_numpy(dtype=str) for name in ("path", "digest")
        )
        self._labels = records["label"].to_numpy(dtype=np.float32)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs ``(C, H, W)`` float32 in [0, 1], and the label, a float32 scalar: 1 = fake."""
        row = Row(str(self._paths[index]), str(self._digests[index]))
        pixels = None if self.reads == "defocus" else self.reader(row)
        dense = None if self.reads == "rgb" else self.cache.load(row.digest).dense
        return as_input(self.reads, pixels, dense), torch.tensor(self._labels[index])


def as_input(reads: str, pixels: np.ndarray | None, dense: np.ndarray | None) -> torch.Tensor:
    """What a detector that ``reads`` this gets of one image.

    Parameters
    ----------
    reads : {"defocus", "rgb", "fusion"}
    pixels : (H, W, 3) uint8
        Not needed for ``defocus``.
    dense : (H, W) float32
        Its map, in px. Not needed for ``rgb``.

    Returns
    -------
    (C, H, W) float32 in [0, 1]
    """
    photograph = [] if reads == "defocus" else [torch.from_numpy(as_planes(pixels))]
    maps = [] if reads == "rgb" else [normalize_per_sample(torch.from_numpy(dense)[None, None])[0]]
    return torch.cat(photograph + maps)
