"""Inputs of small detectors, averaged and stored once for all that read them, one byte per value.

An array on disk is mapped into the memory of each process that trains, so that all share one copy
and the system keeps of it what it has room for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.lib.format import open_memmap
from torch.nn import functional as F
from tqdm.auto import tqdm

from defocus_lib.data.images import Reader
from defocus_lib.detect.control_inputs import Batch, Maps, Part
from defocus_lib.detect.normalisation import MIN_MAX
from defocus_lib.run import cluster

if TYPE_CHECKING:
    from distributed import Client

CHUNK = 64  # images of full size in memory


class Source(NamedTuple):
    """Where inputs come from, the side in px to which they are averaged, and how maps are
    normalised."""

    reader: Reader
    cache: Maps
    size: int
    normalisation: str = MIN_MAX


class Wanted(NamedTuple):
    """A part of inputs, and the records that need it."""

    source: Source
    part: Part
    records: pd.DataFrame

    @property
    def key(self) -> Hashable:
        return self.source, self.part


@dataclass
class Stored:
    """The inputs ``(N, C, size, size)`` uint8 of a file, in the order of the records ``(N,)``."""

    path: Path
    ids: pd.Index
    array: np.memmap | None = field(default=None, repr=False)

    def rows(self, records: pd.DataFrame) -> np.ndarray:
        """Positions ``(len(records),)`` of records in the file."""
        return self.ids.get_indexer(records["id"])

    def write(self, records: pd.DataFrame, values: np.ndarray) -> None:
        """Put values ``(B, C, size, size)`` uint8 where the records belong."""
        if self.array is None:
            shape = (len(self.ids), *values.shape[1:])
            self.array = open_memmap(self.path, "w+", np.uint8, shape)
        self.array[self.rows(records)] = values

    def close(self) -> None:
        """Leave everything to the disk."""
        if self.array is not None:
            self.array.flush()
            self.array = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, once it is closed."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def store(
    wanted: Sequence[Wanted], folder: Path, client: Client | None = None, progress: bool = False
) -> dict[Hashable, Stored]:
    """Write the inputs of all records, each once, and return their files by :attr:`Wanted.key`.

    Records of one ``id`` are the same image. The ``client`` computes, see
    :func:`defocus_lib.run.cluster.workers`; without one this process does.
    """
    by_key: dict[Hashable, list[Wanted]] = {}
    for each in wanted:
        by_key.setdefault(each.key, []).append(each)
    once = [_joined(entries) for entries in by_key.values()]
    stored = {
        each.key: Stored(folder / f"{number}.npy", pd.Index(each.records["id"]))
        for number, each in enumerate(once)
    }
    jobs = list(_jobs(once))
    made = cluster.as_they_finish(_averaged, list(enumerate(jobs)), client)
    options = {"desc": "inputs", "unit": "part", "total": len(jobs), "disable": not progress}
    for number, values in tqdm(made, **options):
        for key, array in zip(jobs[number].parts, values, strict=True):
            stored[key].write(jobs[number].records, array)
    for file in stored.values():
        file.close()
    return stored


def averaged(values: torch.Tensor, size: int) -> torch.Tensor:
    """Inputs ``(N, C, H, W)`` float in [0, 1] averaged to ``size`` px, as uint8."""
    small = F.interpolate(values, size=(size, size), mode="area")
    return (255 * small).round().to(torch.uint8)


class _Job(NamedTuple):
    """Parts of some images, each with the source that says its size and normalisation."""

    parts: tuple[tuple[Source, Part], ...]
    records: pd.DataFrame


def _joined(entries: list[Wanted]) -> Wanted:
    records = pd.concat([each.records for each in entries]).drop_duplicates("id")
    return entries[0]._replace(records=records)


def _jobs(wanted: Sequence[Wanted]) -> Iterator[_Job]:
    """All parts of an image in one job, which reads it once; few images in each job."""
    places = [(each.source.reader, each.source.cache) for each in wanted]
    for place in dict.fromkeys(places):
        there = [each for each, other in zip(wanted, places, strict=True) if other == place]
        records = pd.concat([each.records for each in there]).drop_duplicates("id")
        needs = np.stack([records["id"].isin(each.records["id"]) for each in there], axis=1)
        for pattern in np.unique(needs, axis=0):
            parts = [(e.source, e.part) for e, need in zip(there, pattern, strict=True) if need]
            rows = records[(needs == pattern).all(axis=1)]
            for first in range(0, len(rows), CHUNK):
                yield _Job(tuple(parts), rows.iloc[first : first + CHUNK])


def _averaged(numbered: tuple[int, _Job]) -> tuple[int, list[np.ndarray]]:
    number, (parts, records) = numbered
    with cluster.one_thread():
        batch = Batch(records, parts[0][0].reader, parts[0][0].cache)
        made = [averaged(part(batch, of.normalisation), of.size).numpy() for of, part in parts]
        return number, made
