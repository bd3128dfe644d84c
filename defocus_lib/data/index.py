"""What a data set on disk holds. Its tree is walked once, and every file read once: SHA-256 taken, image decoded.

What was found is stored as parquet, without splits; those are applied when it is read, so that another split needs no
other walk.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from defocus_lib.data.images import UnreadableImage, decode_image
from defocus_lib.data.layouts import list_pictures
from defocus_lib.data.manifest import Dataset, Files, Union
from defocus_lib.data.records import COLUMNS, with_valid_pairs
from defocus_lib.data.splits import assign_splits
from defocus_lib.run.artifacts import project_root, write_beside

PROBLEM = ["path", "reason"]  # columns of every table of what is wrong with files
FORMAT = 1  # of the stored walk: another number, and all trees are walked again
META = b"defocus_lib"


@dataclass(frozen=True)
class Index:
    """What a data set holds.

    Attributes
    ----------
    records : DataFrame
        One row an image that can be read and is in a split; columns :data:`defocus_lib.data.records.COLUMNS`.
    unreadable : DataFrame
        Images that can't be read: path, reason. They are in no record.
    foreign : list of str
        Paths of what is no image and of what is hidden; a folder ends in "/".
    odd : DataFrame
        What lies where the layout has no place for it, lacks images, or is in no split: path, reason. Left out.
    """

    records: pd.DataFrame
    unreadable: pd.DataFrame
    foreign: list[str]
    odd: pd.DataFrame


@dataclass(frozen=True)
class Walk:
    """A tree as it was found: the images with ``reason`` ("" if readable) and no split, and what is not used."""

    table: pd.DataFrame
    odd: list[tuple[str, str]]
    foreign: list[str]


# ---------------------------------------------------------------------------------------------------------------------
# Reading: each file once.


def _walk(dataset: Files, n_workers: int, progress: bool) -> Walk:
    """Find the images of a data set and read them all."""
    table, tree = list_pictures(dataset)
    read = _read_all(
        tree.root, table["path"].tolist(), _max_pixels(dataset), n_workers, progress, dataset.name
    )
    return Walk(table.assign(**read), tree.odd, tree.foreign)


def _max_pixels(dataset: Files) -> int:
    return int(dataset.max_megapixels * 1_000_000)


class Read(NamedTuple):
    """What the content of a file says: SHA-256, size in px, and why it is no image ("" if it is one)."""

    digest: str
    width: int
    height: int
    reason: str


def _read(path: Path, max_pixels: int) -> Read:
    digest = ""
    try:
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        height, width, _ = decode_image(content, path.name, max_pixels).shape
        return Read(digest, width, height, "")
    except UnreadableImage as error:
        return Read(digest, 0, 0, str(error).removeprefix(f"{path.name}: "))
    except OSError as error:
        return Read(digest, 0, 0, f"can't be opened ({error.strerror or error})")


def _read_all(
    root: Path, paths: list[str], max_pixels: int, n_workers: int, progress: bool, name: str
) -> dict[str, list]:
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    # Threads: decoding and hashing let go of the interpreter's lock, and nothing has to be sent between processes.
    read = Parallel(n_jobs=n_workers, prefer="threads", return_as="generator")(
        delayed(_read)(root / path, max_pixels) for path in paths
    )
    found = list(
        tqdm(read, total=len(paths), desc=f"reading {name}", unit="image", disable=not progress)
    )
    return {key: [getattr(one, key) for one in found] for key in Read._fields}


# ---------------------------------------------------------------------------------------------------------------------
# The index.


def build_index(dataset: Dataset, n_workers: int = -1, progress: bool = False) -> Index:
    """Walk a data set, read every image, and store nothing.

    Parameters
    ----------
    n_workers : int
        Threads that read; -1 takes every core.
    progress : bool
        Show a bar.

    Raises
    ------
    UnreadableImage
        If an image can't be read and the manifest says ``on_unreadable: stop``; names the first and counts the others.
    FileNotFoundError
        If there is no root, or no image where the layout looks for them; says what lies there instead.
    ValueError
        If the data set has no files, two images would have the same id, or the lists of a split are no such lists.
    """
    return _compose(dataset, lambda part: _walk(part, n_workers, progress))


def records_of(
    dataset: Dataset,
    folder: str | Path | None = None,
    refresh: bool = False,
    n_workers: int = -1,
    progress: bool = False,
) -> Index:
    """The index of a data set, from the file of an earlier walk if the manifest still says the same.

    Files that came, went or changed since are not noticed here; :class:`defocus_lib.data.images.Reader` refuses an image
    whose content is another one.

    Parameters
    ----------
    folder : path or None
        Where indexes are kept; ``artifacts/.index`` if None.
    refresh : bool
        Walk again in any case.
    n_workers, progress
        As in :func:`build_index`, which says what is raised, too.
    """
    return _compose(dataset, lambda part: _stored_walk(part, folder, refresh, n_workers, progress))


def index_files(dataset: Dataset, folder: str | Path | None = None) -> list[Path]:
    """Where the index of a data set is kept; one file for each part of a union.

    The name has a digest of what was walked: the indexes of two roots, or of two sets of options, stand side by side.
    """
    folder = project_root() / "artifacts" / ".index" if folder is None else Path(folder)
    return [folder / f"{part.name}-{_walk_key(part)[:8]}.parquet" for part in _parts(dataset)]


def _parts(dataset: Dataset) -> tuple[Files, ...]:
    if isinstance(dataset, Union):
        return dataset.parts
    if isinstance(dataset, Files):
        return (dataset,)
    raise ValueError(
        f"data set {dataset.name!r} is {dataset.where()}; one with files on disk wanted"
    )


def _stored_walk(
    dataset: Files, folder: str | Path | None, refresh: bool, n_workers: int, progress: bool
) -> Walk:
    (path,) = index_files(dataset, folder)
    key = _walk_key(dataset)
    walk = None if refresh else _load(path, key)
    if walk is None or not _still_unreadable(dataset, walk):
        walk = _walk(dataset, n_workers, progress)
        _save(path, key, walk)
    return walk


def _still_unreadable(dataset: Files, walk: Walk) -> bool:
    """Whether a run that unreadable images stop would be stopped by the same ones: they may have been repaired."""
    if dataset.on_unreadable == "skip":
        return True
    broken = walk.table[walk.table["reason"] != ""]
    again = [_read(dataset.folder() / path, _max_pixels(dataset)) for path in broken["path"]]
    return [(one.digest, one.reason) for one in again] == list(
        zip(broken["digest"], broken["reason"], strict=True)
    )


def _walk_key(dataset: Files) -> str:
    """Digest of what a walk depends on. Split, terms and titles are not among it."""
    entry = dataset.model_dump(mode="json", include={"name", "layout", "options", "max_megapixels"})
    text = json.dumps([FORMAT, str(dataset.folder()), entry], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _save(path: Path, key: str, walk: Walk) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    said = json.dumps({"key": key, "odd": walk.odd, "foreign": walk.foreign}).encode()
    table = pa.Table.from_pandas(walk.table, preserve_index=False)
    table = table.replace_schema_metadata({**table.schema.metadata, META: said})
    write_beside(path, lambda beside: parquet.write_table(table, beside))


def _load(path: Path, key: str) -> Walk | None:
    """The stored walk, None if there is none, it is damaged, or was made for something else."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        said = json.loads(parquet.read_schema(path).metadata[META])
        if said["key"] != key:
            return None
        table = parquet.read_table(path).to_pandas()
        return Walk(table, [tuple(odd) for odd in said["odd"]], said["foreign"])
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError):
        return None


def _compose(dataset: Dataset, walk: Callable[[Files], Walk]) -> Index:
    parts = _parts(dataset)
    indexes = [_finish(part, walk(part)) for part in parts]
    if not isinstance(dataset, Union):
        return indexes[0]
    moved = [_moved(dataset, part, index) for part, index in zip(parts, indexes, strict=True)]
    return Index(
        pd.concat([index.records for index in moved], ignore_index=True),
        pd.concat([index.unreadable for index in moved], ignore_index=True),
        [path for index in moved for path in index.foreign],
        pd.concat([index.odd for index in moved], ignore_index=True),
    )


def _finish(dataset: Files, walk: Walk) -> Index:
    """Apply the split, take out what can't be read, and keep those pairs whose real image is left."""
    table = walk.table.assign(split=assign_splits(dataset, walk.table).astype("str"))
    unlisted = table[table["split"] == ""]
    used = table[table["split"] != ""]
    unreadable = used.loc[used["reason"] != "", PROBLEM].reset_index(drop=True)
    if len(unreadable) and dataset.on_unreadable == "stop":
        raise UnreadableImage(_stopped(dataset, unreadable))
    records = with_valid_pairs(used[used["reason"] == ""])[COLUMNS].reset_index(drop=True)
    odd = walk.odd + [
        (folder, "in no list of the split") for folder in unlisted["path"].map(_parent).unique()
    ]
    return Index(
        records, unreadable, list(walk.foreign), pd.DataFrame(odd, columns=PROBLEM, dtype="str")
    )


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _stopped(dataset: Files, unreadable: pd.DataFrame) -> str:
    path, reason = unreadable.iloc[0]
    more = f"; {len(unreadable) - 1} more can't be read" if len(unreadable) > 1 else ""
    return (
        f"{dataset.folder() / path}: {reason}{more}. `python -m defocus_lib data verify {dataset.name}` lists all; "
        "`on_unreadable: skip` in the manifest leaves them out"
    )


def _moved(union: Union, part: Files, index: Index) -> Index:
    """The index of a part with paths from the folder of the union, and ids that no other part can have."""
    below = os.path.relpath(part.folder(), union.folder()).replace(os.sep, "/")

    def path(name: str) -> str:
        return name if below == "." else f"{below}/{name}"

    named = {
        key: _named(part.name, index.records[key])
        for key in ("id", "video", "group", "pair", "source")
    }
    records = index.records.assign(path=index.records["path"].map(path), **named)
    problems = [
        table.assign(path=table["path"].map(path)) for table in (index.unreadable, index.odd)
    ]
    return Index(records, problems[0], [path(name) for name in index.foreign], problems[1])


def _named(part: str, values: pd.Series) -> pd.Series:
    return (f"{part}:" + values).where(values != "", "")
