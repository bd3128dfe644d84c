"""What a data set on disk holds: its tree is walked once, and every image read once.

The walk is stored as parquet, without splits. Splits are applied when it is loaded, so that another
split needs no other walk.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from defocus_lib.data.dataset import Dataset, Files, digest
from defocus_lib.data.equalise import Equalise
from defocus_lib.data.file_facts import NAMES, Facts, header_facts, with_borders
from defocus_lib.data.images import (
    LEAST_SIDE,
    UnreadableImage,
    in_threads,
    load_image,
    read_bytes,
    upright_pixels,
)
from defocus_lib.data.layouts import list_pictures
from defocus_lib.data.manifest import Union
from defocus_lib.data.records import COLUMNS, equals_pair, with_valid_pairs
from defocus_lib.data.tree import Problem, Short, Tree, Unused
from defocus_lib.run.artifacts import project_root, write_beside

PROBLEM = ["path", "reason"]  # columns of every table of what is wrong with files
UNUSED = list(Unused._fields)
SHORT = list(Short._fields)
LISTS = ("odd", "foreign", "unused", "short", "absent")  # of a Walk, beside its table
UNLISTED = "in no list of the split"
TABLES = ("unreadable", "odd", "unused", "short", "identical")  # of an Index, each with a path
FORMAT = 4  # of the stored walk: another number, and all trees are walked again
META = b"defocus_lib"
IDENTICAL = ["id", "path", "manipulation", "split", "pair"]
FACT = "fact "  # what the columns of facts begin with in a stored walk


@dataclass(frozen=True)
class Index:
    """What a data set holds.

    ``records`` has one row per image that can be read and is in a split, with the columns
    :data:`defocus_lib.data.records.COLUMNS`. ``unreadable`` (path, reason) are the other images.
    ``foreign`` are paths of what is no image or is hidden; a folder ends in "/". ``odd`` (path,
    reason) lies where the layout has no place for it, lacks images, or is in no split. ``unused``
    counts the images that can be read but are not used, by folder and reason; ``short`` (path,
    frames, asked) are videos that have fewer frames than the manifest asks for; ``absent`` are
    manipulations that the layout knows, but neither the manifest nor the tree. The last three are
    no faults.

    ``identical`` (:data:`IDENTICAL`) are the manipulated images whose pixels are those of their
    real image; in the records they have no pair, so that no comparison of pairs counts them.
    ``facts`` has one row per record: the columns of :data:`defocus_lib.data.file_facts.NAMES`.
    """

    records: pd.DataFrame
    unreadable: pd.DataFrame
    foreign: list[str]
    odd: pd.DataFrame
    unused: pd.DataFrame
    short: pd.DataFrame
    absent: list[str]
    identical: pd.DataFrame
    facts: pd.DataFrame

    def unused_by_reason(self) -> pd.Series:
        """The number of image files that are not used, by reason; unreadable ones are a reason."""
        number = self.unused.groupby("reason", sort=False)["images"].sum()
        if len(self.unreadable):
            number["can't be read"] = len(self.unreadable)
        return number.astype("int64")


def build_index(dataset: Dataset, n_workers: int = -1, progress: bool = False) -> Index:
    """Walk a data set, read every image in ``n_workers`` threads (-1: one per core), store nothing.

    Raises UnreadableImage, which names the first and counts the others, if an image cannot be read
    and the manifest says ``on_unreadable: stop``; FileNotFoundError, which says what lies there, if
    there is no root or no image where the layout looks for them; ValueError if the data set has no
    files, two images would have the same id, or the lists of a split are unreadable.
    """
    return _compose(dataset, lambda part: Walk.take(part, n_workers, progress))


def list_index(dataset: Dataset) -> Index:
    """The index as names alone tell it: no image is read, so that none is unreadable.

    Digests are empty and sizes 0. Raises as :func:`build_index` does, UnreadableImage aside.
    """
    return _compose(dataset, Walk.by_name)


def load_index(
    dataset: Dataset,
    folder: str | Path | None = None,
    refresh: bool = False,
    n_workers: int = -1,
    progress: bool = False,
) -> Index:
    """The index of a data set, from the stored walk if the manifest still says the same.

    Walks are stored in ``folder`` (``artifacts/.index``); ``refresh`` walks in any case. Files that
    came, went or changed since are not noticed here, but :class:`defocus_lib.data.images.Reader`
    refuses an image whose content is another one. Raises as :func:`build_index` does.
    """

    def walk(part: Files) -> Walk:
        (path,) = index_files(part, folder)
        stored = None if refresh else Walk.load(path, _walk_key(part))
        if stored is not None and stored.is_current(part):
            return stored
        taken = Walk.take(part, n_workers, progress)
        taken.save(path, _walk_key(part))
        return taken

    return _compose(dataset, walk)


def index_files(dataset: Dataset, folder: str | Path | None = None) -> list[Path]:
    """Where the index of a data set is stored: one file for each part of a union.

    The name holds a digest of what was walked: two roots, or two sets of options, have two files.
    """
    folder = project_root() / "artifacts" / ".index" if folder is None else Path(folder)
    return [folder / f"{part.name}-{_walk_key(part)[:8]}.parquet" for part in dataset.parts]


def _walk_key(dataset: Files) -> str:
    """Digest of what a walk depends on; split, terms and titles are not among it."""
    entry = dataset.model_dump(mode="json", include={"name", "layout", "options", "max_megapixels"})
    if dataset.equalise:  # facts are those of the images as they are read
        entry |= dataset.model_dump(mode="json", include={"equalise", "fit"})
    return digest([FORMAT, str(dataset.folder()), entry])


class Content(NamedTuple):
    """What a file holds: its SHA-256, its size in px, why it is no usable image ("" if it is one),
    a checksum of its pixels and the facts about it, both as they are read (``equalise``)."""

    digest: str
    width: int
    height: int
    reason: str
    pixels: str = ""
    facts: Facts = Facts()


def read_content(
    path: Path, max_pixels: int, equalise: Equalise | None = None, fit: str = "stretch"
) -> Content:
    """Read and decode an image file; one that cannot be used has a reason and no size."""
    sha256 = ""
    try:
        content = read_bytes(path)
        sha256 = hashlib.sha256(content).hexdigest()
        facts, pixels = _looked_at(content, str(path), max_pixels)
        height, width, _ = pixels.shape
        if min(height, width) < LEAST_SIDE:
            least = f"at least {LEAST_SIDE} px wide and high wanted"
            raise UnreadableImage(f"{path}: {width}x{height} px; {least}")
        if equalise:
            facts, pixels = _looked_at(equalise.encode(pixels, fit), str(path), max_pixels)
        return Content(sha256, width, height, "", _pixel_checksum(pixels), facts)
    except UnreadableImage as error:
        return Content(sha256, 0, 0, str(error).removeprefix(f"{path}: "))


def _looked_at(content: bytes, name: str, max_pixels: int) -> tuple[Facts, np.ndarray]:
    """The facts about a file and its pixels, decoded once."""
    image = load_image(content, name, max_pixels)
    facts = header_facts(image, len(content))
    pixels = upright_pixels(image, name)
    return with_borders(facts, pixels), pixels


def _pixel_checksum(pixels: np.ndarray) -> str:
    """Of size and content. An image is compared with its own real image alone, where 32 bit do."""
    height, width, _ = pixels.shape
    return f"{width}x{height} {zlib.crc32(np.ascontiguousarray(pixels).data):08x}"


@dataclass(frozen=True)
class Walk:
    """A tree as it was found: its images without splits but with :class:`Content`, and the rest."""

    table: pd.DataFrame
    odd: list[Problem]
    foreign: list[str]
    unused: list[Unused]
    short: list[Short]
    absent: list[str]

    @classmethod
    def take(cls, dataset: Files, n_workers: int, progress: bool) -> Walk:
        """Find the images of a data set and read them all."""
        table, tree = list_pictures(dataset)
        read = cls._reading(dataset)
        paths = [tree.root / path for path in table["path"]]
        title = f"reading {dataset.name}" if progress else ""
        return cls._found(table, tree, list(in_threads(read, paths, n_workers, title)))

    @classmethod
    def _found(cls, table: pd.DataFrame, tree: Tree, contents: list[Content]) -> Walk:
        columns = pd.DataFrame(contents, columns=Content._fields).drop(columns="facts")
        facts = pd.DataFrame([content.facts for content in contents], columns=Facts._fields)
        parts = [table, columns, facts.add_prefix(FACT)]
        lists = {name: getattr(tree, name) for name in LISTS}
        return cls(pd.concat(parts, axis="columns"), **lists)

    @staticmethod
    def _reading(dataset: Files) -> Callable[[Path], Content]:
        return partial(
            read_content,
            max_pixels=dataset.max_pixels,
            equalise=dataset.equalise,
            fit=dataset.fit,
        )

    @classmethod
    def by_name(cls, dataset: Files) -> Walk:
        """Find the images of a data set, and read none."""
        table, tree = list_pictures(dataset)
        return cls._found(table, tree, [Content("", 0, 0, "")] * len(table))

    def is_current(self, dataset: Files) -> bool:
        """Whether images that stop a run still cannot be read; they may have been repaired."""
        if dataset.on_unreadable == "skip":
            return True
        stored = self.table[self.table["reason"] != ""]
        read = self._reading(dataset)
        return all(
            read(dataset.folder() / row.path)[:4] == (row.digest, row.width, row.height, row.reason)
            for row in stored.itertuples()
        )

    def save(self, path: Path, key: str) -> None:
        """Store the walk as parquet, with ``key`` and what is no image in its metadata."""
        import pyarrow as pa
        from pyarrow import parquet

        lists = {name: getattr(self, name) for name in LISTS}
        meta = json.dumps({"key": key, **lists}).encode()
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        table = table.replace_schema_metadata({**table.schema.metadata, META: meta})
        write_beside(path, lambda beside: parquet.write_table(table, beside))

    @classmethod
    def load(cls, path: Path, key: str) -> Walk | None:
        """The stored walk, None if there is none, it is damaged, or has another key."""
        import pyarrow as pa
        from pyarrow import parquet

        try:
            meta = json.loads(parquet.read_schema(path).metadata[META])
            if meta["key"] != key:
                return None
            odd = [(odd_path, reason) for odd_path, reason in meta["odd"]]
            unused = [Unused(*row) for row in meta["unused"]]
            short = [Short(*row) for row in meta["short"]]
            table = parquet.read_table(path).to_pandas()
            return cls(table, odd, meta["foreign"], unused, short, meta["absent"])
        except (OSError, pa.ArrowException, ValueError, TypeError, KeyError):
            return None


def _compose(dataset: Dataset, walk: Callable[[Files], Walk]) -> Index:
    indexes = [_finish(part, walk(part)) for part in dataset.parts]
    if not isinstance(dataset, Union):
        return indexes[0]
    moved = [_moved(dataset, *pair) for pair in zip(dataset.parts, indexes, strict=True)]
    tables = {
        name: pd.concat([getattr(index, name) for index in moved], ignore_index=True)
        for name in ("records", "facts", *TABLES)
    }
    foreign, absent = (
        [each for index in moved for each in getattr(index, name)] for name in ("foreign", "absent")
    )
    return Index(foreign=foreign, absent=absent, **tables)


def _finish(dataset: Files, walk: Walk) -> Index:
    """Apply the split, leave out what cannot be read, and keep pairs whose real image is left."""
    table = walk.table.assign(split=dataset.assign_splits(walk.table).astype("str"))
    in_split = table[table["split"] != ""]
    unreadable = in_split.loc[in_split["reason"] != "", PROBLEM].reset_index(drop=True)
    if len(unreadable) and dataset.on_unreadable == "stop":
        raise UnreadableImage(_stop_message(dataset, unreadable))
    usable = with_valid_pairs(in_split[in_split["reason"] == ""]).reset_index(drop=True)
    same = equals_pair(usable)
    unlisted = _unlisted(table.loc[table["split"] == "", "path"])
    odd = [*walk.odd, *((row.path, row.reason) for row in unlisted)]
    return Index(
        records=usable.assign(pair=usable["pair"].mask(same, ""))[COLUMNS],
        unreadable=unreadable,
        foreign=walk.foreign,
        odd=pd.DataFrame(odd, columns=PROBLEM, dtype="str"),
        unused=pd.DataFrame([*walk.unused, *unlisted], columns=UNUSED),
        short=pd.DataFrame(walk.short, columns=SHORT),
        absent=walk.absent,
        identical=usable.loc[same, IDENTICAL].reset_index(drop=True),
        facts=usable[[FACT + name for name in NAMES]].set_axis(list(NAMES), axis="columns"),
    )


def _unlisted(paths: pd.Series) -> list[Unused]:
    """Images that no list of the split names, by folder."""
    names: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        names.setdefault(folder, []).append(name)
    return [Unused(key, UNLISTED, len(of), of[0], of[-1]) for key, of in names.items()]


def _stop_message(dataset: Files, unreadable: pd.DataFrame) -> str:
    path, reason = unreadable.iloc[0]
    others = f"; {len(unreadable) - 1} more can't be read" if len(unreadable) > 1 else ""
    return (
        f"{dataset.folder() / path}: {reason}{others}. `python -m defocus_lib data verify "
        f"{dataset.name}` lists all; `on_unreadable: skip` in the manifest leaves them out"
    )


def _moved(union: Union, part: Files, index: Index) -> Index:
    """The index of a part with paths from the folder of the union, and ids of no other part."""
    below = os.path.relpath(part.folder(), union.folder()).replace(os.sep, "/")
    prefix = "" if below == "." else f"{below}/"
    names = {
        key: (f"{part.name}:" + index.records[key]).where(index.records[key] != "", "")
        for key in ("id", "video", "group", "pair", "source")
    }
    tables = {name: getattr(index, name) for name in TABLES}
    of_part = {key: f"{part.name}:" + index.identical[key] for key in ("id", "pair")}
    tables["identical"] = index.identical.assign(**of_part)
    return Index(
        records=index.records.assign(path=prefix + index.records["path"], **names),
        foreign=[prefix + path for path in index.foreign],
        absent=index.absent,
        facts=index.facts,
        **{name: table.assign(path=prefix + table["path"]) for name, table in tables.items()},
    )
