"""Sets of maps with their Shapley values on disk: shards of ``.npz`` and one index, read a shard at a time.

``shapley/<set>/shard-00000.npz`` holds at most 256 images, ``shapley/index.parquet`` has one row an image. Analyses go
through a set shard by shard, or fetch images by row, so memory does not grow with the number of images. A set may also
be one file, ``shapley/<set>.npz``, without an index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout
from pyarrow import parquet

from defocus_lib.shapley_set import FLOAT_MAPS, KEYS, SET_ARRAYS, ShapleySet, concatenate, groups_of, paired
from defocus_lib.store import Folder, MissingArtifact, leftovers, read_arrays, write_arrays, write_beside

ROOT = "shapley"
INDEX = "index.parquet"
MOST_IMAGES = 256
STORAGE = ("float32", "float16")
SCALES = {name: f"{name}_scale" for name in FLOAT_MAPS}
COLUMNS = [
    "id", "pair", "label", "manipulation", "video", "shard", "row", "defocus_gap", "rgb_gap", "content", "checksum",
]  # fmt: skip


class DamagedShard(ValueError):
    """A shard that is not what the index says; the message names it and what to do."""


class StoreBusy(BlockingIOError):
    """Another run is writing into the same folder."""


# ---------------------------------------------------------------------------------------------------------------------
# One file


def save_set(path: Path, values: ShapleySet, storage: str = "float32") -> Path:
    """Write a whole set, or a shard of one, to one ``.npz``. Same set in, same bytes out.

    Parameters
    ----------
    path : Path
    values : ShapleySet
        With all its arrays.
    storage : {"float32", "float16"}
        ``float16`` halves maps and Shapley values. Those of each image are divided by the largest of them first, so no
        value is off by more than 2^-12 of that largest one, and none above 6e-5 of it by more than 2^-11 of itself.

    Raises
    ------
    ValueError
        If an array is missing, or the storage unknown.
    """
    missing = [name for name in SET_ARRAYS if getattr(values, name) is None]
    if missing or storage not in STORAGE:
        wrong = f"the set lacks {', '.join(missing)}" if missing else f"unknown storage {storage!r}"
        raise ValueError(f"{path}: {wrong}; all arrays, and one of {', '.join(STORAGE)}, wanted")
    arrays = {name: getattr(values, name) for name in SET_ARRAYS}
    if storage == "float16":
        for name in FLOAT_MAPS:
            arrays |= _halved(name, arrays[name])
    return write_arrays(path, arrays | {"contents": _contents(arrays)}, values.meta)


def load_set(path: Path, *names: str) -> ShapleySet:
    """Read a file of :func:`save_set`: the arrays ``names`` (``ids`` and ``pairs`` always), or all if none is named.

    Raises
    ------
    ValueError
        If the file is damaged or was not written by :func:`save_set`.
    """
    wanted = {*KEYS, *names} if names else set(SET_ARRAYS)
    arrays, meta = read_arrays(path, wanted, where_present=SCALES.values())
    for name, scale in SCALES.items():
        if name in arrays and arrays[name].dtype == np.float16:
            arrays[name] = arrays[name].astype(np.float32) * arrays[scale][:, None, None]
        arrays.pop(scale, None)
    try:
        return ShapleySet(**arrays, meta=meta)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _halved(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """float16 of ``(N, H, W)`` values, each image divided by its largest magnitude, which is kept beside."""
    largest = np.abs(values).max(axis=(1, 2))
    scale = np.where(largest > 0, largest, 1).astype(np.float32)
    return {name: (values / scale[:, None, None]).astype(np.float16), SCALES[name]: scale}


def _contents(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """SHA-256 of what is stored of each image: ``(N,)`` hexadecimal."""
    digests = [hashlib.sha256() for _ in arrays["ids"]]
    for name in sorted(arrays):
        for digest, one in zip(digests, arrays[name], strict=True):
            value = str(one).encode() if arrays[name].dtype.kind == "U" else np.ascontiguousarray(one).tobytes()
            digest.update(name.encode() + b"\0" + value)
    return np.array([digest.hexdigest() for digest in digests])


def checksum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def problem_of(path: Path, wanted: str = "") -> tuple[str, str]:
    """What is wrong with a shard that is there, "" if nothing; and what it says that it was computed from.

    Parameters
    ----------
    path : Path
    wanted : str
        Its checksum; "" if none is on record.
    """
    if wanted and checksum(path) != wanted:
        return "another checksum than in the index", ""
    try:
        return "", str(whole(path).get("work", ""))
    except ValueError as error:
        return str(error).removeprefix(f"{path}: "), ""


def whole(path: Path) -> dict:
    """The ``meta`` of a shard that can be read to its end and holds what it held when it was written.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If it is damaged.
    """
    arrays, meta = read_arrays(path, SET_ARRAYS, where_present={*SCALES.values(), "contents"})
    written = arrays.pop("contents", None)  # sets written before there were shards have none
    if written is not None and not np.array_equal(_contents(arrays), written):
        raise ValueError(f"{path}: its arrays are not those that were written")
    return meta


# ---------------------------------------------------------------------------------------------------------------------
# The index


def shard_path(root: Path, name: str, number: int) -> Path:
    """Where shard ``number`` of the set ``name`` lies."""
    return root / name / f"shard-{number:05d}.npz"


def write_index(root: Path, files: Mapping[tuple[str, int], str]) -> Path:
    """Write the index of all shards, one after the other: no more than one is held in memory.

    Parameters
    ----------
    root : Path
        ``artifacts/<profile>/shapley``.
    files : mapping of (str, int) to str
        Set and number of each shard, in the order of the index -> its checksum.
    """

    def write(beside: Path) -> None:
        with ExitStack() as stack:
            writer = None
            for (name, number), sha in files.items():
                table = pa.Table.from_pandas(_index_of(root, name, number, sha), preserve_index=False)
                writer = writer or stack.enter_context(parquet.ParquetWriter(beside, table.schema))
                writer.write_table(table)

    return write_beside(root / INDEX, write)


def checksums(root: Path) -> dict[tuple[str, int], str]:
    """The checksum of each shard, as the index has them; nothing if there is no index."""
    if not (root / INDEX).exists():
        return {}
    index = read_index(root).drop_duplicates(["manipulation", "shard"])
    return dict(zip(zip(index["manipulation"], index["shard"], strict=True), index["checksum"], strict=True))


def replace_set(root: Path, name: str, values: ShapleySet, images: int) -> Path:
    """Write a whole set as shards of so many images, in the place of one of that name, and the index of all sets."""
    (root / INDEX).unlink(missing_ok=True)
    for path in (root / name).glob("shard-*.npz"):
        path.unlink()
    for number, first in enumerate(range(0, len(values), images)):
        save_set(shard_path(root, name, number), values.take(np.arange(first, min(first + images, len(values)))))
    return index_all(root)


def index_all(root: Path) -> Path:
    """Write the index of whatever shards are there, real images first."""
    paths = sorted(
        root.glob("*/shard-*.npz"), key=lambda path: (path.parent.name != "real", path.parent.name, path.name)
    )
    return write_index(root, {(path.parent.name, int(path.stem[6:])): checksum(path) for path in paths})


def remove_others(root: Path, kept: set[Path]) -> None:
    """Remove the shards that are not among ``kept``."""
    for path in root.glob("*/shard-*.npz"):
        if path not in kept:
            path.unlink()


def _index_of(root: Path, name: str, number: int, sha: str) -> pd.DataFrame:
    arrays, _ = read_arrays(shard_path(root, name, number), {*KEYS, "defocus_gaps", "rgb_gaps", "contents"})
    return _table(arrays, name, number).assign(content=arrays["contents"], checksum=sha)[COLUMNS]


def _table(arrays: Mapping[str, np.ndarray], name: str, number: int) -> pd.DataFrame:
    columns = {"id": arrays["ids"], "pair": arrays["pairs"], "label": int(name != "real"), "manipulation": name}
    columns |= {"video": groups_of(arrays["ids"], arrays["pairs"]), "shard": number, "row": range(len(arrays["ids"]))}
    gaps = {f"{model}_gap": arrays[f"{model}_gaps"] for model in ("defocus", "rgb")}
    return pd.DataFrame(columns | gaps).assign(content="", checksum="")


def read_index(root: Path) -> pd.DataFrame:
    """The index of the shards below ``root``.

    Returns
    -------
    DataFrame
        One row an image: ``id``, ``pair``, ``label`` (1 = fake), ``manipulation`` (the set), ``video`` (the group),
        ``shard`` and ``row`` in it, ``defocus_gap``, ``rgb_gap`` (logits), ``content`` (SHA-256 of what is stored of
        the image), ``checksum`` (SHA-256 of the shard's file).

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it can't be read.
    """
    path = root / INDEX
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    try:
        return pd.read_parquet(path, columns=COLUMNS)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: not an index of shards ({error})") from error


# ---------------------------------------------------------------------------------------------------------------------
# Reading


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
        self.ids, self.pairs, self.groups = (rows[name].to_numpy(dtype=str) for name in ("id", "pair", "video"))
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
            raise KeyError(f"no image {unknown[0]!r} among the {len(self)} of {self.rows['manipulation'].iloc[0]!r}")
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
            raise MissingArtifact(f"{where}: run notebook 04_save_shapley with profile {folder.profile!r} first")
        rows = _table(read_arrays(files[0], {*KEYS, "defocus_gaps", "rgb_gaps"})[0], name, 0)
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
    index = list(read_index(root)["manipulation"].unique()) if (root / INDEX).exists() else real.meta["manipulations"]
    return real, {name: open_set(folder, name) for name in index if name != "real"}


def in_pairs(fake: StoredSet, real: StoredSet, *names: str) -> Iterator[tuple[ShapleySet, ShapleySet]]:
    """Shards of manipulated images, each with the real images that they are compared with, row by row.

    Raises
    ------
    ValueError
        If a fake has no real counterpart, or a shard is damaged.
    """
    real = real.remembering(2)  # the counterparts of a shard lie in one or two shards, as a rule
    for part in fake.shards(*names):
        yield part, paired(part, real, *names)


# ---------------------------------------------------------------------------------------------------------------------
# Verifying and writing


def damaged(root: Path) -> list[Path]:
    """The shards of the index that are missing or have another checksum. Nothing is decompressed."""
    files = {shard_path(root, *key): sha for key, sha in checksums(root).items()}
    return [path for path, sha in files.items() if not path.exists() or checksum(path) != sha]


def verify(root: Path) -> pd.DataFrame:
    """Read everything below ``root``, and say what is wrong with it.

    Parameters
    ----------
    root : Path
        ``artifacts/<profile>/shapley``, or one file.

    Returns
    -------
    DataFrame
        One row a file: ``file`` (relative to ``root``), ``images``, ``problem`` ("" if whole).

    Raises
    ------
    FileNotFoundError
        If there is neither a shard nor a set.
    ValueError
        If the index can't be read.
    """
    if root.is_file():
        problem, _ = problem_of(root)
        return pd.DataFrame({"file": [root.name], "images": [_images(root, None, problem)], "problem": [problem]})
    index = read_index(root) if (root / INDEX).exists() else pd.DataFrame(columns=COLUMNS)
    listed = {shard_path(root, name, number): part for (name, number), part in index.groupby(["manipulation", "shard"])}
    found = [path for path in sorted(root.glob("**/*.npz")) if not path.name.startswith(".")]
    if not found and not listed:
        raise FileNotFoundError(f"{root}: no set of Shapley values here")
    rows = []
    for path in sorted({*found, *listed}):
        problem = _problem(path, listed.get(path))
        rows.append((path.relative_to(root).as_posix(), _images(path, listed.get(path), problem), problem))
    return pd.DataFrame(rows, columns=["file", "images", "problem"])


def _images(path: Path, rows: pd.DataFrame | None, problem: str) -> int:
    """How many images a file holds: by the index, else by itself, if it can be read."""
    if rows is None and path.exists() and (not problem or problem == UNLISTED):
        return len(load_set(path, "ids"))
    return 0 if rows is None else len(rows)


UNLISTED = "not in the index: the run that wrote it has not ended"


def _problem(path: Path, rows: pd.DataFrame | None) -> str:
    """What is wrong with one file; "" if nothing is."""
    if not path.exists():
        return "missing"
    problem, _ = problem_of(path, "" if rows is None else rows["checksum"].iloc[0])
    alone = rows is None and path.parent.name != ROOT
    return problem or (UNLISTED if alone else "")


@contextmanager
def only_writer(root: Path) -> Iterator[None]:
    """Keep every other run from writing below ``root`` meanwhile, and remove what a killed one left half-written.

    Raises
    ------
    StoreBusy
        If another run is writing there.
    """
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise StoreBusy(
            f"{root}: another run is writing here; wait for its end, or give this one its own folder"
        ) from None
    try:
        for path in leftovers(root):
            path.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
