"""The inputs of a detector: photographs, their defocus maps, or both, read from disk on demand."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from defocus_lib.data import images
from defocus_lib.data.images import Reader, Row, as_planes
from defocus_lib.detect import control_inputs
from defocus_lib.detect.control_inputs import INPUTS, WITHOUT_BLUR, Batch
from defocus_lib.maps.cache import MapCache, version
from defocus_lib.maps.estimate import normalize_per_sample
from defocus_lib.maps.presets import PRESETS
from defocus_lib.run.artifacts import source_digest


@dataclass(frozen=True)
class Kind:
    """The photograph (3 channels), the map (1 channel), or the photograph and then the map.

    ``control`` names the entry of :data:`defocus_lib.detect.control_inputs.INPUTS` that takes the
    place of the map; if ``shuffled``, the labels to learn from are permuted.
    """

    photograph: bool
    map: bool
    control: str = ""
    shuffled: bool = False

    @property
    def channels(self) -> int:
        return 3 * self.photograph + self.map

    @property
    def normalisation(self) -> str:
        """How a detector scales this input before its backbone."""
        photograph = "photographs with mean 0.5 and standard deviation 0.5 per channel"
        of_map = "maps min-max normalised each to [0, 1] and repeated to 3 channels"
        if self.control:
            of_map = of_map.replace("maps", INPUTS[self.control].title)
        return ", and ".join([photograph] * self.photograph + [of_map] * self.map)


KINDS = {
    "defocus": Kind(photograph=False, map=True),
    "rgb": Kind(photograph=True, map=False),
    "fusion": Kind(photograph=True, map=True),
    **{
        name.replace(" ", "-"): Kind(photograph=False, map=True, control=name)
        for name in WITHOUT_BLUR
    },
    "shuffled": Kind(photograph=False, map=True, shuffled=True),
}
KEPT = 1 << 28  # bytes: what is read stays in memory up to this size, beyond it is read each time


def kind_of(reads: str) -> Kind:
    """The kind of input called ``reads``; raises ValueError if there is none of that name."""
    if reads not in KINDS:
        raise ValueError(f"unknown input {reads!r}; one of {', '.join(KINDS)} wanted")
    return KINDS[reads]


class Inputs(torch.utils.data.Dataset):
    """Inputs ``(C, H, W)`` float32 in [0, 1] with their labels (1 = fake), in the order of records.

    Photographs and maps are decoded once and kept, up to ``KEPT`` bytes. A process of a loader
    keeps nothing, because each would keep its own.

    ``records`` has the columns ``path``, ``digest`` and ``label``; ``cache`` holds their maps, gets
    those that it lacks, and is not needed for photographs alone. So the processes of a loader
    compute maps while a card trains. Raises ValueError if ``reads`` is unknown, the
    cache is needed and missing, or its images have another size or fit than those of ``reader``.
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
        # Fixed-width arrays: forked processes would copy each Python object that they touch.
        self._paths = records["path"].to_numpy(dtype=str)
        self._digests = records["digest"].to_numpy(dtype=str)
        self._labels = records["label"].to_numpy(dtype=np.float32)
        self._kept: dict[int, tuple[np.ndarray | None, np.ndarray | None]] = {}
        self._room = KEPT

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        parts = self._kept.get(index) or self._read(index)
        return as_input(self.reads, *parts), torch.tensor(self._labels[index])

    def _read(self, index: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The pixels and the map of an image, as far as they are read."""
        row = Row(str(self._paths[index]), str(self._digests[index]))
        pixels = self.reader(row) if self.kind.photograph else None
        dense = self._map(row) if self.kind.map else None
        size = sum(part.nbytes for part in (pixels, dense) if part is not None)
        if size <= self._room and torch.utils.data.get_worker_info() is None:
            self._kept[index] = pixels, dense
            self._room -= size
        return pixels, dense

    def _map(self, row: Row) -> np.ndarray | None:
        if self.cache is None:
            return None
        dense = self.cache.provide(row, self.reader).dense
        if not self.kind.control:
            return dense
        record = pd.DataFrame([{**row._asdict(), "manipulation": ""}])
        inputs = INPUTS[self.kind.control].inputs(Batch(record, self.reader, self.cache))
        return inputs[0, 0].numpy()

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits of the images, how they are read, and their labels."""
        code = source_digest(sys.modules[__name__], images, control_inputs)
        how = [self.reads, self.reader.size, self.reader.fit, self.reader.label, code]
        if self.kind.map and self.cache:
            preset = self.cache.preset
            how += [preset, propagation_of(self.cache), version(preset)]
        content = [self._digests.tolist(), self._labels.tolist()]
        return hashlib.sha256(json.dumps([how, content]).encode()).hexdigest()[:12]


def propagation_of(cache: MapCache) -> str:
    """The name of the propagation that makes the maps of a cache dense."""
    return PRESETS[cache.preset].method(cache.propagation or None)


def as_input(reads: str, pixels: np.ndarray | None, dense: np.ndarray | None) -> torch.Tensor:
    """The input ``(C, H, W)`` float32 in [0, 1] of a detector, from one image and its map.

    ``pixels`` (H, W, 3) uint8 and ``dense`` (H, W) float32 in px may be None where the detector
    does not read them.
    """
    planes = []
    if KINDS[reads].photograph:
        planes.append(torch.from_numpy(as_planes(np.asarray(pixels))))
    if KINDS[reads].map:
        planes.append(normalize_per_sample(torch.from_numpy(dense)[None, None])[0])
    return torch.cat(planes)
