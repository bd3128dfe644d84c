"""Images with their defocus maps and Shapley values, in memory and on disk: the input of analyses.

Images are matched by key, never by position. Analyses go through a set on disk shard by shard, or
take images by row, so memory does not grow with the number of images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from defocus_lib.explain import shards
from defocus_lib.explain.shards import ARRAYS, FLOAT_MAPS, KEYS, MAPS, groups_of
from defocus_lib.run.artifacts import Folder, MissingArtifact, read_arrays

Rows = Sequence[int] | np.ndarray


class ImageSet(ABC):
    """Images of one manipulation, or real ones, whose arrays can be taken by row.

    Attributes
    ----------
    ids : (N,) str
        One id per image, ``<video>/<frame>/<manipulation>`` or ``<scene>/<manipulation>``.
    pairs : (N,) str
        The id of the real image that each is compared with; a real image names itself; "" for none.
    """

    ids: np.ndarray
    pairs: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def take(self, rows: Rows, *names: str) -> AttributionSet:
        """The images at ``rows``, in that order, with the arrays ``names``, or with all."""

    @property
    def groups(self) -> np.ndarray:
        """The group of each image, see :func:`defocus_lib.explain.shards.groups_of`."""
        return groups_of(self.ids, self.pairs)

    def paired_real(self, real: ImageSet, *names: str) -> AttributionSet:
        """The images of ``real`` that these are compared with, row by row, with arrays ``names``.

        Raises ValueError that names the images without a real counterpart.
        """
        rows = pd.Index(real.ids).get_indexer(self.pairs)
        missing = [f"{self.ids[n]} (needs {self.pairs[n]})" for n in np.flatnonzero(rows < 0)]
        if missing:
            examples = ", ".join(missing[:5])
            raise ValueError(
                f"{len(missing)} manipulated image(s) without their real counterpart: {examples}"
            )
        return real.take(rows, *names)


@dataclass(frozen=True)
class AttributionSet(ImageSet):
    """The maps and Shapley values of ``N`` images.

    Arrays that were not asked for are ``None``, and so are the images of a bundle without pictures.

    Attributes
    ----------
    ids, pairs : (N,) str
        See :class:`ImageSet`.
    images : (N, H, W, 3) uint8
    edges, regions : (N, H, W) bool
        Edge pixels of the map, and the pixels that were manipulated (none in a real image).
    dmaps : (N, H, W) float32
        Dense defocus maps, min-max normalised per image to [0, 1].
    defocus_shaps, rgb_shaps : (N, H, W) float32
        Shapley values in logits; those of the RGB detector are summed over the channels.
    defocus_completeness_errors, rgb_completeness_errors : (N,) float32
        ``f(x) - E f(background)`` minus the sum of the values, in logits; NaN where unknown.
    meta : dict
        Profile, manipulation, seed, parameters and versions.
    """

    ids: np.ndarray
    pairs: np.ndarray
    images: np.ndarray | None = None
    edges: np.ndarray | None = None
    regions: np.ndarray | None = None
    dmaps: np.ndarray | None = None
    defocus_shaps: np.ndarray | None = None
    rgb_shaps: np.ndarray | None = None
    defocus_completeness_errors: np.ndarray | None = None
    rgb_completeness_errors: np.ndarray | None = None
    meta: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        arrays = self.arrays()
        sizes = (arrays[name].shape[1:3] for name in (*MAPS, "images") if name in arrays)
        size = next(sizes, ())
        for name, array in arrays.items():
            shape = (len(self), *(size if name in (*MAPS, "images") else ()))
            shape += (3,) if name == "images" else ()
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}; {shape} wanted")
            if name in FLOAT_MAPS and not np.isfinite(array).all():
                raise ValueError(f"{name} holds NaN or infinity")

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are there, by name."""
        named = {name: getattr(self, name) for name in ARRAYS}
        return {name: array for name, array in named.items() if array is not None}

    def take(self, rows: Rows, *names: str) -> AttributionSet:
        """The images at ``rows``, in that order, with the arrays ``names``, or with all."""
        kept = {*KEYS, *(names or ARRAYS)}
        arrays = {name: array[rows] for name, array in self.arrays().items() if name in kept}
        return AttributionSet(**arrays, meta=self.meta)

    def save(self, path: Path, storage: str = "float32") -> Path:
        """Write all arrays to one file, see :func:`defocus_lib.explain.shards.write_shard`."""
        return shards.write_shard(path, self.arrays(), self.meta, storage)

    @classmethod
    def load(cls, path: Path, *names: str) -> AttributionSet:
        """Read the keys and the arrays ``names``, or all, of a file of :meth:`save`.

        Raises ValueError if the file is damaged or was not written by :meth:`save`.
        """
        arrays, meta = shards.read_shard(path, names)
        try:
            return cls(**arrays, meta=meta)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def concatenate(sets: Iterable[AttributionSet]) -> AttributionSet:
    """The images of several sets, one set after the other, with the ``meta`` of the first.

    Raises ValueError if there is no set, or they differ in image size or in their arrays.
    """
    parts = list(sets)
    if not parts:
        raise ValueError("no set of images; at least one set wanted")
    arrays = {}
    for name in ARRAYS:
        values = [part.arrays()[name] for part in parts if name in part.arrays()]
        sizes = {str(array.shape[1:]) for array in values}
        sizes |= {"None"} if len(values) < len(parts) else set()
        if len(sizes) != 1:
            sizes_found = ", ".join(sorted(sizes))
            raise ValueError(f"{name} of these sets has sizes {sizes_found}; one size wanted")
        if values:
            arrays[name] = np.concatenate(values)
    return AttributionSet(**arrays, meta=parts[0].meta)


def complete_pairs(sets: Mapping[str, ImageSet]) -> list[str]:
    """The ids of the real images that every set has a version of, in the order of the first set.

    Raises ValueError if there is none.
    """
    everywhere = set.intersection(*(set(images.pairs.tolist()) for images in sets.values())) - {""}
    first = next(iter(sets.values()))
    complete = [pair for pair in dict.fromkeys(first.pairs.tolist()) if pair in everywhere]
    if not complete:
        raise ValueError(f"no real image has a version in every set of {', '.join(sets)}")
    return complete


def versions(sets: Mapping[str, ImageSet], pair: str) -> AttributionSet:
    """The image of every set that belongs to the real image ``pair``, one after the other.

    Raises ValueError if a set has none.
    """
    for name, images in sets.items():
        if pair not in images.pairs:
            raise ValueError(f"set {name!r} has no image of pair {pair!r}")
    return concatenate(
        images.take(np.flatnonzero(images.pairs == pair)[:1]) for images in sets.values()
    )


# --------------------------------------------------------------------------------------------------
# On disk


class DamagedShard(ValueError):
    """A shard that differs from what the index says; the message names it and the remedy."""


class StoredSet(ImageSet):
    """A set on disk. Its keys are known at once; arrays are read when asked for.

    ``files`` are the shards by number, ``rows`` those of the index of one set. ``kept_shards`` of
    those that were read last stay in memory. The checksum of a shard is verified before its first
    use; whatever reads a shard raises DamagedShard if it is another one than the index says.
    """

    def __init__(self, files: Sequence[Path], rows: pd.DataFrame, kept_shards: int = 0) -> None:
        self.files, self.rows = files, rows
        self.ids, self.pairs = (rows[name].to_numpy(dtype=str) for name in ("id", "pair"))
        self._verified: set[int] = set()
        self._load = lru_cache(maxsize=kept_shards)(self._read)

    @cached_property
    def meta(self) -> dict:
        """The description of the run in the first shard."""
        return self._read(int(self.rows["shard"].iloc[0]), KEYS).meta

    def head(self, images: int) -> StoredSet:
        """The first ``images`` of them."""
        return StoredSet(self.files, self.rows.head(images))

    def shards(self, *names: str) -> Iterator[AttributionSet]:
        """One shard after the other, with the arrays ``names``, or with all."""
        for number, part in self.rows.groupby("shard", sort=False):
            yield self._images(int(number), part["row"].to_numpy(), names)

    def take(self, rows: Rows, *names: str) -> AttributionSet:
        """The images at ``rows``, in that order, as in memory; each shard is read once."""
        chosen = self.rows.iloc[rows].assign(place=np.arange(len(rows)))
        parts = [
            (self._images(int(number), part["row"].to_numpy(), names), part["place"])
            for number, part in chosen.groupby("shard")
        ]
        places = np.concatenate([place for _, place in parts])
        return concatenate(part for part, _ in parts).take(np.argsort(places), *names)

    def paired_shards(
        self, real: StoredSet, *names: str
    ) -> Iterator[tuple[AttributionSet, AttributionSet]]:
        """Shard by shard, with the real images that they are compared with, row by row.

        Raises ValueError if an image has no real counterpart.
        """
        # The counterparts of a shard lie in one or two shards, as a rule.
        real = StoredSet(real.files, real.rows, kept_shards=2)
        for part in self.shards(*names):
            yield part, part.paired_real(real, *names)

    def _images(self, number: int, rows: np.ndarray, names: tuple[str, ...]) -> AttributionSet:
        part = self._load(number, names)
        is_whole = np.array_equal(rows, np.arange(len(part)))  # as a rule: no need to copy it
        return part if is_whole else part.take(rows, *names)

    def _read(self, number: int, names: tuple[str, ...]) -> AttributionSet:
        path = self.files[number]
        if number not in self._verified:
            self._verify(path, self.rows.loc[self.rows["shard"] == number, "checksum"].iloc[0])
            self._verified.add(number)
        return AttributionSet.load(path, *names)

    def _verify(self, path: Path, expected_checksum: str) -> None:
        problem = "" if path.exists() else "it is missing"
        if not problem and expected_checksum and shards.checksum(path) != expected_checksum:
            problem = "its checksum is not the one in the index"
        if problem:
            remedy = "Run notebook 04_save_shapley again: it makes this shard anew"
            raise DamagedShard(f"{path} is damaged: {problem}. {remedy}")


def open_set(folder: Folder, name: str) -> StoredSet:
    """The set ``name`` ("real" or a manipulation) of a run.

    Raises MissingArtifact if notebook 04 has not written it, ValueError if it is damaged or belongs
    to another profile.
    """
    root = folder.path / shards.ROOT
    index = shards.read_index(root)
    rows = index[index["manipulation"] == name].reset_index(drop=True)
    if len(rows):
        numbers = range(int(rows["shard"].max()) + 1)
        files = [shards.shard_path(root, name, number) for number in numbers]
    else:
        files = [root / f"{name}.npz"]
        if not files[0].exists():
            raise MissingArtifact(
                f"{root / name} is missing or not complete: "
                f"run notebook 04_save_shapley with profile {folder.profile!r} first"
            )
        rows = shards.index_rows(read_arrays(files[0], {*KEYS, *shards.ERRORS})[0], name, 0)
    stored = StoredSet(files, rows)
    profile = stored.meta.get("profile")
    if profile != folder.profile:
        raise ValueError(f"{files[0]} belongs to profile {profile!r}, not to {folder.profile!r}")
    return stored


def open_sets(folder: Folder) -> tuple[StoredSet, dict[str, StoredSet]]:
    """The real images of a run, and the fakes of each manipulation. Raises as :func:`open_set`."""
    real = open_set(folder, "real")
    listed = shards.read_index(folder.path / shards.ROOT, ["manipulation"])["manipulation"].unique()
    names = list(listed) or real.meta["manipulations"]
    return real, {name: open_set(folder, name) for name in names if name != "real"}
