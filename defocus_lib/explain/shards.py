"""Sets of maps with their Shapley values as files: shards of ``.npz`` and one index; how they are written and verified.

``shapley/<set>/shard-00000.npz`` holds at most 256 images, ``shapley/index.parquet`` has one row an image. A set may
also be one file, ``shapley/<set>.npz``, without an index. :mod:`defocus_lib.explain.stored_set` reads either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout
from pyarrow import parquet

from defocus_lib.explain.attribution_set import FLOAT_MAPS, KEYS, SET_ARRAYS, ShapleySet, groups_of
from defocus_lib.run.artifacts import leftovers, read_arrays, write_arrays, write_beside

ROOT = "shapley"
INDEX = "index.parquet"
MOST_IMAGES = 256
STORAGE = ("float32", "float16")
SCALES = {name: f"{name}_scale" for name in FLOAT_MAPS}
COLUMNS = [
    "id", "pair", "label", "manipulation", "video", "shard", "row", "defocus_gap", "rgb_gap", "content", "checksum",
]  # fmt: skip


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
    arrays, meta = read_arrays(path, wanted, optional=SCALES.values())
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
            value = (
                str(one).encode()
                if arrays[name].dtype.kind == "U"
                else np.ascontiguousarray(one).tobytes()
            )
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
    arrays, meta = read_arrays(path, SET_ARRAYS, optional={*SCALES.values(), "contents"})
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
                table = pa.Table.from_pandas(
                    _index_of(root, name, number, sha), preserve_index=False
                )
                writer = writer or stack.enter_context(parquet.ParquetWriter(beside, table.schema))
                writer.write_table(table)

    return write_beside(root / INDEX, write)


def checksums(root: Path) -> dict[tuple[str, int], str]:
    """The checksum of each shard, as the index has them; nothing if there is no index."""
    if not (root / INDEX).exists():
        return {}
    index = read_index(root).drop_duplicates(["manipulation", "shard"])
    return dict(
        zip(zip(index["manipulation"], index["shard"], strict=True), index["checksum"], strict=True)
    )


def replace_set(root: Path, name: str, values: ShapleySet, images: int) -> Path:
    """Write a whole set as shards of so many images, in the place of one of that name, and the index of all sets."""
    (root / INDEX).unlink(missing_ok=True)
    for path in (root / name).glob("shard-*.npz"):
        path.unlink()
    for number, first in enumerate(range(0, len(values), images)):
        save_set(
            shard_path(root, name, number),
            values.take(np.arange(first, min(first + images, len(values)))),
        )
    return index_all(root)


def index_all(root: Path) -> Path:
    """Write the index of whatever shards are there, real images first."""
    paths = sorted(
        root.glob("*/shard-*.npz"),
        key=lambda path: (path.parent.name != "real", path.parent.name, path.name),
    )
    return write_index(
        root, {(path.parent.name, int(path.stem[6:])): checksum(path) for path in paths}
    )


def remove_others(root: Path, kept: set[Path]) -> None:
    """Remove the shards that are not among ``kept``."""
    for path in root.glob("*/shard-*.npz"):
        if path not in kept:
            path.unlink()


def _index_of(root: Path, name: str, number: int, sha: str) -> pd.DataFrame:
    arrays, _ = read_arrays(
        shard_path(root, name, number), {*KEYS, "defocus_gaps", "rgb_gaps", "contents"}
    )
    return index_rows(arrays, name, number).assign(content=arrays["contents"], checksum=sha)[
        COLUMNS
    ]


def index_rows(arrays: Mapping[str, np.ndarray], name: str, number: int) -> pd.DataFrame:
    """The rows of the index for one file, from its ids, pairs and gaps; hashes are left empty."""
    columns = {
        "id": arrays["ids"],
        "pair": arrays["pairs"],
        "label": int(name != "real"),
        "manipulation": name,
    }
    columns |= {
        "video": groups_of(arrays["ids"], arrays["pairs"]),
        "shard": number,
        "row": range(len(arrays["ids"])),
    }
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
        return pd.DataFrame(
            {"file": [root.name], "images": [_images(root, None, problem)], "problem": [problem]}
        )
    index = read_index(root) if (root / INDEX).exists() else pd.DataFrame(columns=COLUMNS)
    listed = {
        shard_path(root, name, number): part
        for (name, number), part in index.groupby(["manipulation", "shard"])
    }
    found = [path for path in sorted(root.glob("**/*.npz")) if not path.name.startswith(".")]
    if not found and not listed:
        raise FileNotFoundError(f"{root}: no set of Shapley values here")
    rows = []
    for path in sorted({*found, *listed}):
        problem = _problem(path, listed.get(path))
        rows.append(
            (path.relative_to(root).as_posix(), _images(path, listed.get(path), problem), problem)
        )
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
