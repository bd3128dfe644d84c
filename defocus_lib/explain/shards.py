"""Shards of attribution sets as files: ``.npz`` archives of at most 256 images, and one index.

``shapley/<set>/shard-00000.npz`` and so on hold the arrays, ``shapley/index.parquet`` has one row
per image. A set may also be one file, ``shapley/<set>.npz``, without an index.
:mod:`defocus_lib.explain.attribution_set` reads either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout
from numpy.typing import ArrayLike
from pyarrow import parquet

from defocus_lib.checks import check_same_shape
from defocus_lib.run.artifacts import leftovers, read_arrays, write_arrays, write_beside

ROOT = "shapley"
INDEX = "index.parquet"
MAX_IMAGES = 256  # of a shard
STORAGE = ("float32", "float16")

KEYS = ("ids", "pairs")
FLOAT_MAPS = ("dmaps", "defocus_shaps", "rgb_shaps")
MAPS = ("edges", "regions", *FLOAT_MAPS)
ERRORS = ("defocus_completeness_errors", "rgb_completeness_errors")
ARRAYS = (*KEYS, "images", *MAPS, *ERRORS)
OPTIONAL = ("images",)  # photographs do not travel with every bundle
SCALES = {name: f"{name}_scale" for name in FLOAT_MAPS}
COLUMNS = [
    "id", "pair", "label", "manipulation", "video", "shard", "row",
    "defocus_completeness_error", "rgb_completeness_error", "content", "checksum",
]  # fmt: skip


class StoreBusy(BlockingIOError):
    """Another run is writing into the same folder."""


# --------------------------------------------------------------------------------------------------
# One file


def write_shard(
    path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping, storage: str = "float32"
) -> Path:
    """Write all arrays of a set, or of a shard of it, to one ``.npz``; same arrays, same bytes.

    ``float16`` halves maps and Shapley values. Those of each image are divided by the largest of
    them first, so no value is off by more than 2^-12 of that largest one, and none above 6e-5 of it
    by more than 2^-11 of itself. Raises ValueError if an array but the images is missing, or the
    storage unknown.
    """
    missing = [name for name in ARRAYS if name not in arrays and name not in OPTIONAL]
    if missing or storage not in STORAGE:
        wrong = f"the set lacks {', '.join(missing)}" if missing else f"unknown storage {storage!r}"
        raise ValueError(f"{path}: {wrong}; all arrays, and one of {', '.join(STORAGE)}, wanted")
    stored = {name: arrays[name] for name in ARRAYS if name in arrays}
    if storage == "float16":
        for name in FLOAT_MAPS:
            stored |= _halved(name, stored[name])
    return write_arrays(path, stored | {"contents": content_digests(stored)}, meta)


def read_shard(path: Path, names: Collection[str] = ()) -> tuple[dict[str, np.ndarray], dict]:
    """Keys, the arrays ``names`` (or all) and ``meta`` of a file of :func:`write_shard`.

    Images are left out where the file has none. Raises ValueError if the file is damaged or was
    not written by :func:`write_shard`.
    """
    chosen = {*KEYS, *names} if names else set(ARRAYS)
    optional = {*SCALES.values(), *(chosen & set(OPTIONAL))}
    arrays, meta = read_arrays(path, chosen - set(OPTIONAL), optional)
    for name, scale in SCALES.items():
        if name in arrays and arrays[name].dtype == np.float16:
            arrays[name] = arrays[name].astype(np.float32) * arrays[scale][:, None, None]
        arrays.pop(scale, None)
    return arrays, meta


def _halved(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """float16 of ``(N, H, W)`` values, each image divided by its largest magnitude, and these."""
    largest = np.abs(values).max(axis=(1, 2))
    scale = np.where(largest > 0, largest, 1).astype(np.float32)
    return {name: (values / scale[:, None, None]).astype(np.float16), SCALES[name]: scale}


def content_digests(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """SHA-256 of what is stored of each image: ``(N,)`` hexadecimal."""
    digests = [hashlib.sha256() for _ in arrays["ids"]]
    for name in sorted(arrays):
        is_text = arrays[name].dtype.kind == "U"
        for digest, value in zip(digests, arrays[name], strict=True):
            content = str(value).encode() if is_text else np.ascontiguousarray(value).tobytes()
            digest.update(name.encode() + b"\0" + content)
    return np.array([digest.hexdigest() for digest in digests])


def checksum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def problem_of(path: Path, expected_checksum: str = "") -> tuple[str, str]:
    """The problem of an existing shard ("" for none), and the digest of the work behind it.

    Without an ``expected_checksum`` only the contents are verified.
    """
    if expected_checksum and checksum(path) != expected_checksum:
        return "another checksum than in the index", ""
    try:
        return "", str(verified_meta(path).get("work", ""))
    except ValueError as error:
        return str(error).removeprefix(f"{path}: "), ""


def verified_meta(path: Path) -> dict:
    """The ``meta`` of a shard, after reading it to its end.

    Raises FileNotFoundError if it is not there, ValueError if it is damaged or its arrays are not
    those that were written.
    """
    optional = {*SCALES.values(), *OPTIONAL, "contents"}
    arrays, meta = read_arrays(path, set(ARRAYS) - set(OPTIONAL), optional)
    written = arrays.pop("contents", None)  # sets written before there were shards have none
    if written is not None and not np.array_equal(content_digests(arrays), written):
        raise ValueError(f"{path}: its arrays are not those that were written")
    return meta


# --------------------------------------------------------------------------------------------------
# The index


def groups_of(ids: ArrayLike, pairs: ArrayLike | None = None) -> np.ndarray:
    """The group of each image, (N,) str: the text before the first ``/`` of its pair, or of its id.

    Images of one group resemble each other: the frames of a video, a scene and its manipulations.
    The pair counts unless it is "". A fake video ``800_840`` is of the group ``800``. Raises
    ValueError if the lengths differ.
    """
    ids = np.asarray(ids, dtype=str)
    pairs = ids if pairs is None else np.asarray(pairs, dtype=str)
    check_same_shape(ids=ids, pairs=pairs)
    return np.strings.partition(np.where(pairs == "", ids, pairs), "/")[0]


def shard_path(root: Path, name: str, number: int) -> Path:
    """Where shard ``number`` of the set ``name`` lies."""
    return root / name / f"shard-{number:05d}.npz"


def write_index(root: Path, files: Mapping[tuple[str, int], str]) -> Path:
    """Write the index of ``files``: set and number of each shard, in order -> its checksum.

    No more than one shard is held in memory.
    """

    def write(beside: Path) -> None:
        with ExitStack() as stack:
            writer = None
            for (name, number), sha in files.items():
                arrays, _ = read_arrays(
                    shard_path(root, name, number), {*KEYS, *ERRORS, "contents"}
                )
                rows = index_rows(arrays, name, number)
                rows = rows.assign(content=arrays["contents"], checksum=sha)[COLUMNS]
                table = pa.Table.from_pandas(rows, preserve_index=False)
                writer = writer or stack.enter_context(parquet.ParquetWriter(beside, table.schema))
                writer.write_table(table)

    return write_beside(root / INDEX, write)


def write_index_of_all(root: Path) -> Path:
    """Write the index of the shards that are there, real images first."""
    paths = sorted(
        root.glob("*/shard-*.npz"),
        key=lambda path: (path.parent.name != "real", path.parent.name, path.name),
    )
    files = {(path.parent.name, int(path.stem[6:])): checksum(path) for path in paths}
    return write_index(root, files)


def index_rows(arrays: Mapping[str, np.ndarray], name: str, number: int) -> pd.DataFrame:
    """The rows of the index for one file, with empty hashes."""
    return pd.DataFrame(
        {
            "id": arrays["ids"],
            "pair": arrays["pairs"],
            "label": int(name != "real"),
            "manipulation": name,
            "video": groups_of(arrays["ids"], arrays["pairs"]),
            "shard": number,
            "row": range(len(arrays["ids"])),
            **{array.removesuffix("s"): arrays[array] for array in ERRORS},
            "content": "",
            "checksum": "",
        }
    )


def read_index(root: Path, columns: list[str] = COLUMNS) -> pd.DataFrame:
    """The index of the shards below ``root``, one row per image; empty where there is none.

    Columns: ``id``, ``pair``, ``label`` (1 = fake), ``manipulation`` (the set), ``video`` (the
    group), ``shard`` and ``row`` in it, ``defocus_completeness_error`` and
    ``rgb_completeness_error`` (logits), ``content`` (SHA-256 of what is stored of the image),
    ``checksum`` (SHA-256 of the shard's file). Raises ValueError if it can't be read.
    """
    path = root / INDEX
    if not path.exists():
        return pd.DataFrame(columns=columns)
    try:
        return pd.read_parquet(path, columns=columns)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: not an index of shards ({error})") from error


def checksums(root: Path) -> dict[tuple[str, int], str]:
    """The checksum of each shard in the index, by set and number; nothing if there is no index."""
    shards = read_index(root, ["manipulation", "shard", "checksum"]).drop_duplicates()
    keys = zip(shards["manipulation"], shards["shard"], strict=True)
    return dict(zip(keys, shards["checksum"], strict=True))


# --------------------------------------------------------------------------------------------------
# Verifying and writing


def damaged(root: Path) -> list[Path]:
    """The shards of the index that are missing or have another checksum."""
    files = {shard_path(root, *key): sha for key, sha in checksums(root).items()}
    return [path for path, sha in files.items() if not path.exists() or checksum(path) != sha]


UNLISTED = "not in the index: the run that wrote it has not ended"


def verify(root: Path) -> pd.DataFrame:
    """The problems of all files below ``root``, or of the file ``root``, which are read to the end.

    One row per file: ``file`` (relative to ``root``), ``images``, ``problem`` ("" if none). Raises
    FileNotFoundError if there is no file, ValueError if the index can't be read.
    """
    base = root.parent if root.is_file() else root
    listed = {
        shard_path(root, str(name), int(number)): rows
        for (name, number), rows in read_index(root).groupby(["manipulation", "shard"])
    }
    on_disk = [path for path in root.rglob("*.npz") if not path.name.startswith(".")]
    paths = [root] if root.is_file() else sorted({*on_disk, *listed})
    if not paths:
        raise FileNotFoundError(f"{root}: no set of Shapley values here")
    rows = [
        (path.relative_to(base).as_posix(), *_verified(path, listed.get(path), path.parent == base))
        for path in paths
    ]
    return pd.DataFrame(rows, columns=["file", "images", "problem"])


def _verified(path: Path, rows: pd.DataFrame | None, is_single: bool) -> tuple[int, str]:
    """Number of images of a file, by the index or else by itself, and its problem."""
    if not path.exists():
        return 0 if rows is None else len(rows), "missing"
    problem, _ = problem_of(path, "" if rows is None else rows["checksum"].iloc[0])
    if rows is not None:
        return len(rows), problem
    images = 0 if problem else len(read_shard(path, KEYS)[0]["ids"])
    return images, problem or ("" if is_single else UNLISTED)


def remove_others(root: Path, kept: set[Path]) -> None:
    """Remove the shards that are not among ``kept``."""
    for path in root.glob("*/shard-*.npz"):
        if path not in kept:
            path.unlink()


@contextmanager
def only_writer(root: Path) -> Iterator[None]:
    """Keep other runs from writing below ``root``, and remove what a killed one left half-written.

    Raises StoreBusy if another run is writing there.
    """
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        message = "another run is writing here; wait for its end, or give this one its own folder"
        raise StoreBusy(f"{root}: {message}") from None
    try:
        for path in leftovers(root):
            path.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
