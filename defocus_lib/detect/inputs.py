"""The inputs of a detector: photographs, their defocus maps, or both, read from disk when they are requested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from defocus_lib.data.images import Reader, Row, as_planes
from defocus_lib.maps.cache import MapCache
from defocus_lib.maps.estimate import normalize_per_sample


@dataclass(frozen=True)
class Kind:
    """A kind of input: the photograph (3 channels), the map (1 channel), or the photograph and then the map."""

    photograph: bool
    map: bool

    @property
    def channels(self) -> int:
        return 3 * self.photograph + self.map

    @property
    def normalisation(self) -> str:
        """How a detector scales this input before its backbone."""
        photograph = "photographs with mean 0.5 and standard deviation 0.5 per channel"
        of_map = "maps min-max normalised each to [0, 1] and repeated to 3 channels"
        return ", and ".join([photograph] * self.photograph + [of_map] * self.map)


KINDS = {
    "defocus": Kind(photograph=False, map=True),
    "rgb": Kind(photograph=True, map=False),
    "fusion": Kind(photograph=True, map=True),
}


def kind_of(reads: str) -> Kind:
    """The kind of input called ``reads``; raises ValueError if there is none of that name."""
    if reads not in KINDS:
        raise ValueError(f"unknown input {reads!r}; one of {', '.join(KINDS)} wanted")
    return KINDS[reads]


class Inputs(torch.utils.data.Dataset):
    """Pairs of an input, ``(C, H, W)`` float32 in [0, 1], and its label, a float32 scalar (1 = fake), in record order.

    ``records`` has the columns ``path``, ``digest`` and ``label``; ``cache`` holds the maps of all of them and is not
    needed for photographs alone. Raises ValueError if ``reads`` is unknown, the cache is needed and missing, or its
    images have another size or fit than those of ``reader``.
    """

    def __init__(
        self, records: pd.DataFrame, reads: str, reader: Reader, cache: MapCache | None = None
    ):
        self.reads, self.kind, self.reader = reads, kind_of(reads), reader
        if self.kind.map:
            if cache is None:
                raise ValueError(
                    f"cache is None; a detector that reads {reads} needs a cache of maps"
                )
            cache.check_reader(reader)
        self.cache = cache
        # Fixed-width arrays, no Python objects: forked processes would copy each object that they touch.
        self._paths = records["path"].to_numpy(dtype=str)
        self._digests = records["digest"].to_numpy(dtype=str)
        self._labels = records["label"].to_numpy(dtype=np.float32)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        row = Row(str(self._paths[index]), str(self._digests[index]))
        pixels = self.reader(row) if self.kind.photograph else None
        dense = self.cache.load(row.digest).dense if self.kind.map and self.cache else None
        return as_input(self.reads, pixels, dense), torch.tensor(self._labels[index])


def as_input(reads: str, pixels: np.ndarray | None, dense: np.ndarray | None) -> torch.Tensor:
    """The input ``(C, H, W)`` float32 in [0, 1] of a detector on ``reads``, from one image and its map.

    ``pixels`` (H, W, 3) uint8 and ``dense`` (H, W) float32 in px may be None where the detector does not read them.
    """
    kind = KINDS[reads]
    planes = []
    if kind.photograph:
        planes.append(torch.from_numpy(as_planes(pixels)))
    if kind.map:
        planes.append(normalize_per_sample(torch.from_numpy(dense)[None, None])[0])
    return torch.cat(planes)
