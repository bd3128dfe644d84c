"""What a detector is trained and evaluated on: images, their maps, or both, read from disk when they are asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from defocus_lib.defocus import normalize_per_sample
from defocus_lib.images import Reader, Row, as_planes
from defocus_lib.maps import MapCache

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

    def __init__(self, records: pd.DataFrame, reads: str, reader: Reader, cache: MapCache | None = None):
        if reads not in READS:
            raise ValueError(f"unknown input {reads!r}; one of {', '.join(READS)} wanted")
        if reads != "rgb":
            if cache is None:
                raise ValueError(f"cache is None; a detector that reads {reads} needs a cache of maps")
            cache.check_reader(reader)
        self.reads, self.reader, self.cache = reads, reader, cache
        # Fixed-width arrays, no Python objects: processes that share them by forking would copy each object they touch.
        self._paths, self._digests = (records[name].to_numpy(dtype=str) for name in ("path", "digest"))
        self._labels = records["label"].to_numpy(dtype=np.float32)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs ``(C, H, W)`` float32 in [0, 1], and the label, a float32 scalar: 1 = fake."""
        row = Row(str(self._paths[index]), str(self._digests[index]))
        parts = []
        if self.reads != "defocus":
            parts.append(torch.from_numpy(as_planes(self.reader(row))))
        if self.reads != "rgb":
            dense = torch.from_numpy(self.cache.load(row.digest).dense)
            parts.append(normalize_per_sample(dense[None, None])[0])
        return torch.cat(parts), torch.tensor(self._labels[index])
