"""A set of maps with their Shapley values on disk, read a shard at a time.

Analyses go through a set shard by shard, or fetch images by row or by id, so memory does not grow with the number of
images. What the files are is :mod:`defocus_lib.explain.shards`' concern.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from defocus_lib.explain.attribution_set import KEYS, ShapleySet, concatenate, paired
from defocus_lib.explain.shards import (
    INDEX,
    ROOT,
    checksum,
    index_rows,
    load_set,
    read_index,
    shard_path,
)
from defocus_lib.run.artifacts import Folder, MissingArtifact, read_arrays


class DamagedShard(ValueError):
    """A shard that is not what the index says; the message names it and what to do."""


class StoredSet:
    """A set on disk. Its ids are known at once; arrays are read when asked for, and checksums before that.

    Parameters
    ----------
    files : sequence of Path
        The shards, by number.
    rows : DataFrame
        Rows of the index; of one set.

    Attributes
    ----------
    ids, pairs, groups : (N,) str
    """

    def __init__(self, files: Sequence[Path], rows: pd.DataFrame) -> None:
        self.files, self.rows = files, rows
        self.ids, self.pairs, self.groups = (
            rows[name].to_numpy(dtype=str) for name in ("id", "pair", "video")
        )
        self._verified: set[int] = set()
        self._load = self._read

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def meta(self) -> dict:
        """What the first shard says of the run."""
        return self._read(int(self.rows["shard"].iloc[0]), ("ids",)).meta

    def head(self, images: int) -> StoredSet:
        """The first ``images`` of them."""
        return StoredSet(self.files, self.rows.head(images))

    def shards(self, *names: str) -> Iterator[ShapleySet]:
        """One shard after the other, with the arrays ``names``, or with all if none is named.

        Raises
        ------
        DamagedShard
            If a shard is not what the index says.
        """
        for number, part in self.rows.groupby("shard", sort=False):
            yield self._images(int(number), part["row"].to_numpy(), names)

    def take(self, rows: np.ndarray, *names: str) -> ShapleySet:
        """The images at ``rows``, in that order, with the arrays ``names``, or with all. Each shard is read once.

        Raises
        ------
        DamagedShard
            If a shard is not what the index says.
        """
        chosen = self.rows.iloc[rows].assign(place=np.arange(len(rows)))
        parts = [
            (self._images(int(number), part["row"].to_numpy(), names), part["place"])
            for number, part in chosen.groupby("shard")
        ]
        places = np.concatenate([place for _, place in parts])
        return concatenate(part for part, _ in parts).take(np.argsort(places), *names)

    def fetch(self, ids: Sequence[str], *names: str) -> ShapleySet:
        """The images of these ids, in that order, as :meth:`take`.

        Raises
        ------
        KeyError
            If there is no image of an id; the message names it.
        DamagedShard
            If a shard is not what the index says.
        """
        rows = pd.Index(self.ids).get_indexer(list(ids))
        unknown = [name for name, row in zip(ids, rows, strict=True) if row < 0]
        if unknown:
            raise KeyError(
                f"no image {unknown[0]!r} among the {len(self)} of {self.rows['manipulation'].iloc[0]!r}"
            )
        return self.take(rows, *names)

    def remembering(self, shards: int) -> StoredSet:
        """The same set, that keeps the shards it read last: for images that are asked for in nearly their order."""
        same = StoredSet(self.files, self.rows)
        same._load = lru_cache(maxsize=shards)(same._read)
        return same

    def _images(self, number: int, rows: np.ndarray, names: tuple[str, ...]) -> ShapleySet:
        part = self._load(number, names)
        everything = np.array_equal(rows, np.arange(len(part)))  # as a rule: no need to copy it
        return part if everything else part.take(rows, *names)

    def _read(self, number: int, names: tuple[str, ...]) -> ShapleySet:
        path = self.files[number]
        if number not in self._verified:
            self._verify(path, self.rows.loc[self.rows["shard"] == number, "checksum"].iloc[0])
            self._verified.add(number)
        return load_set(path, *names)

    def _verify(self, path: Path, wanted: str) -> None:
        problem = "it is missing" if not path.exists() else ""
        if not problem and wanted and checksum(path) != wanted:
            problem = "its checksum is not the one in the index"
        if problem:
            raise DamagedShard(
                f"{path} is damaged: {problem}. Run notebook 04_save_shapley again: it makes this shard anew"
            )


def open_set(folder: Folder, name: str) -> StoredSet:
    """The set ``name`` ("real" or a manipulation) of a run.

    Raises
    ------
    MissingArtifact
        If notebook 04 has not written it.
    ValueError
        If it is damaged or belongs to another profile.
    """
    root = folder.path / ROOT
    index = read_index(root) if (root / INDEX).exists() else None
    if index is not None and name in set(index["manipulation"]):
        rows = index[index["manipulation"] == name].reset_index(drop=True)
        files = [shard_path(root, name, number) for number in range(int(rows["shard"].max()) + 1)]
    else:
        files = [root / f"{name}.npz"]
        if not files[0].exists():
            where = f"{root / name} is missing or not complete"
            raise MissingArtifact(
                f"{where}: run notebook 04_save_shapley with profile {folder.profile!r} first"
            )
        rows = index_rows(read_arrays(files[0], {*KEYS, "defocus_gaps", "rgb_gaps"})[0], name, 0)
    stored = StoredSet(files, rows)
    if stored.meta.get("profile") != folder.profile:
        theirs = stored.meta.get("profile")
        raise ValueError(f"{files[0]} belongs to profile {theirs!r}, not to {folder.profile!r}")
    return stored


def open_sets(folder: Folder) -> tuple[StoredSet, dict[str, StoredSet]]:
    """The real images of a run, and the fakes of each manipulation.

    Raises
    ------
    MissingArtifact, ValueError
        As :func:`open_set`.
    """
    real, root = open_set(folder, "real"), folder.path / ROOT
    index = (
        list(read_index(root)["manipulation"].unique())
        if (root / INDEX).exists()
        else real.meta["manipulations"]
    )
    return real, {name: open_set(folder, name) for name in index if name != "real"}


def in_pairs(
    fake: StoredSet, real: StoredSet, *names: str
) -> Iterator[tuple[ShapleySet, ShapleySet]]:
    """Shards of manipulated images, each with the real images that they are compared with, row by row.

    Raises
    ------
    ValueError
        If a fake has no real counterpart, or a shard is damaged.
    """
    real = real.remembering(2)  # the counterparts of a shard lie in one or two shards, as a rule
    for part in fake.shards(*names):
        yield part, paired(part, real, *names)
