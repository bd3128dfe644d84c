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
from defocus_lib.detect import normalisation as normalisation_code
from defocus_lib.detect.control_inputs import INPUTS, WITHOUT_BLUR, Batch
from defocus_lib.detect.normalisation import (
    MIN_MAX,
    normalisation_named,
    normalised,
    stored_planes,
)
from defocus_lib.detect.pretrained import FROM_SCRATCH, Scaling
from defocus_lib.maps.cache import MapCache, version
from defocus_lib.maps.presets import PRESETS
from defocus_lib.run.artifacts import source_digest


@dataclass(frozen=True)
class Kind:
    """The photograph (3 channels), the map (1 or 2 channels), or the photograph and then the map.

    ``control`` names the entry of :data:`defocus_lib.detect.control_inputs.INPUTS` that takes the
    place of the map; if ``shuffled``, the labels to learn from are permuted.
    """

    photograph: bool
    map: bool
    control: str = ""
    shuffled: bool = False

    def channels(self, name: str = MIN_MAX) -> int:
        """Channels of the input, its map normalised as named."""
        return 3 * self.photograph + self.map * normalisation_named(name).channels

    def scaling(self, name: str = MIN_MAX, given: Scaling = FROM_SCRATCH) -> str:
        """How a detector scales this input before its backbone, in words."""
        # Three equal numbers are one.
        mean, std = (", ".join(f"{v:g}" for v in dict.fromkeys(part)) for part in given[:2])
        photograph = f"photographs with mean {mean} and standard deviation {std} per channel"
        maps = INPUTS[self.control].title if self.control else "maps"
        of_map = f"{maps} {normalisation_named(name).title}, repeated to 3 channels"
        of_map += f", with mean {mean} and standard deviation {std}" * given.maps
        return ", and ".join([photograph] * self.photograph + [of_map] * self.map)

    def check(self, reads: str, name: str, preset: str) -> None:
        """Raise ValueError unless this input, called ``reads``, can be normalised as named, from
        maps of the preset."""
        normalisation_named(name).check(preset if self.map else "")
        if (self.control or not self.map) and name != MIN_MAX:
            raise ValueError(
                f"normalisation {name} for input {reads}: it is that of a defocus map, which this "
                f"input is without; {MIN_MAX} wanted"
            )


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
    compute maps while a card trains. ``normalisation`` is a name of
    :data:`defocus_lib.detect.normalisation.NORMALISATIONS`. Raises ValueError if ``reads`` is
    unknown, the cache is needed and missing, its images have another size or fit than those of
    ``reader``, or the normalisation is not for such an input.
    """

    def __init__(
        self,
        records: pd.DataFrame,
        reads: str,
        reader: Reader,
        cache: MapCache | None = None,
        normalisation: str = MIN_MAX,
    ):
        self.reads, self.kind, self.reader = reads, kind_of(reads), reader
        self.normalisation = normalisation
        self.kind.check(reads, normalisation, cache.preset if cache else "")
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
        values = as_input(self.reads, *parts, self.normalisation)
        return values, torch.tensor(self._labels[index])

    def _read(self, index: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The pixels and the planes of the map of an image, as far as they are read."""
        row = Row(str(self._paths[index]), str(self._digests[index]))
        pixels = self.reader(row) if self.kind.photograph else None
        planes = self._map(row) if self.kind.map else None
        size = sum(part.nbytes for part in (pixels, planes) if part is not None)
        if size <= self._room and torch.utils.data.get_worker_info() is None:
            self._kept[index] = pixels, planes
            self._room -= size
        return pixels, planes

    def _map(self, row: Row) -> np.ndarray | None:
        if self.cache is None:
            return None
        cached = self.cache.provide(row, self.reader)
        record = pd.DataFrame([{**row._asdict(), "manipulation": ""}])
        if self.kind.control:
            inputs = INPUTS[self.kind.control].inputs(Batch(record, self.reader, self.cache))
            return inputs[0].numpy()
        stored = cached.dense[None], cached.edges[None]
        return stored_planes(self.cache, record, *stored, self.normalisation)[0]

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits of the images, how they are read, and their labels."""
        code = source_digest(sys.modules[__name__], images, control_inputs, normalisation_code)
        how = [self.reads, self.reader.size, self.reader.fit, self.reader.label, code]
        if self.kind.map and self.cache:
            preset = self.cache.preset
            how += [preset, propagation_of(self.cache), version(preset), self.normalisation]
        content = [self._digests.tolist(), self._labels.tolist()]
        return hashlib.sha256(json.dumps([how, content]).encode()).hexdigest()[:12]


def propagation_of(cache: MapCache) -> str:
    """The name of the propagation that makes the maps of a cache dense."""
    return PRESETS[cache.preset].method(cache.propagation or None)


def as_input(
    reads: str,
    pixels: np.ndarray | None,
    planes: np.ndarray | None,
    normalisation: str = MIN_MAX,
) -> torch.Tensor:
    """The input ``(C, H, W)`` float32 in [0, 1] of a detector, from one image and its map.

    ``pixels`` (H, W, 3) uint8 and ``planes`` (K, H, W) float32, the map in px and its second
    channel (:func:`defocus_lib.detect.normalisation.normalised`), may be None where the detector
    does not read them.
    """
    parts = []
    if KINDS[reads].photograph:
        parts.append(torch.from_numpy(as_planes(np.asarray(pixels))))
    if KINDS[reads].map:
        parts.append(normalised(torch.from_numpy(planes)[None], normalisation)[0])
    return torch.cat(parts)
