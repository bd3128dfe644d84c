"""From a data set on disk to the one table that everything else reads: one row an image.

A tree is walked once. Every file is read once: its SHA-256 is taken and the image decoded. What was found is stored as
parquet, without splits; those are applied when it is read, so that another split needs no other walk.

Order, sampling and splits follow from names and seeds alone, never from the order in which a file system lists files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from defocus_lib.images import SUFFIXES, UnreadableImage, decode_image
from defocus_lib.manifest import (
    Cifake,
    Coco,
    Dataset,
    DiffusionDB,
    FaceForensics,
    Files,
    Folders,
    GivenSplit,
    OfficialSplit,
    RandomSplit,
    SampleOptions,
    Union,
)
from defocus_lib.store import project_root, write_beside

COLUMNS = [
    "id", "path", "label", "manipulation", "video", "frame", "group", "split", "pair", "source", "digest", "width",
    "height",
]  # fmt: skip
SPLITS = ("train", "val", "test")
REAL = "real"
PROBLEM = ["path", "reason"]
FORMAT = 1  # of the stored walk: another number, and all trees are walked again
META = b"defocus_lib"


@dataclass(frozen=True)
class Index:
    """What a data set holds.

    Attributes
    ----------
    records : DataFrame
        One row an image that can be read and is in a split; columns :data:`COLUMNS`.
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
# Layouts: which file is what. Nothing is opened here.


class Picture(NamedTuple):
    """An image file in its place in a layout."""

    path: str
    manipulation: str
    video: str
    frame: str = ""
    group: str = ""  # the video, unless it has another
    pair: str = ""
    source: str = ""

    @property
    def id(self) -> str:
        return _id(self.video, self.frame, self.manipulation)


def _id(video: str, frame: str, manipulation: str) -> str:
    return "/".join(filter(None, (video, frame, manipulation)))


@dataclass
class Tree:
    """The folders below ``root``; remembers what it came across that is no image, or lies in the wrong place."""

    root: Path
    odd: list[tuple[str, str]] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def look(self, folder: str) -> tuple[list[str], list[str]]:
        """The names of the folders and of the images in a folder, in plain string order; none if it is not there."""
        folders: list[str] = []
        images: list[str] = []
        if not (self.root / folder).is_dir():
            return folders, images
        with os.scandir(self.root / folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                kind = self._kind(entry, folder)
                if kind is not None:
                    (folders if kind == "folder" else images).append(entry.name)
        return folders, self._distinct(folder, images)

    def _kind(self, entry: os.DirEntry, folder: str) -> str | None:
        path = _join(folder, entry.name)
        if not _is_text(entry.name):
            self.odd.append((os.fsencode(path).decode("ascii", "backslashreplace"), "the name is not valid UTF-8"))
        elif entry.name.startswith("."):
            self.foreign.append(f"{path}/" if entry.is_dir() else path)
        elif entry.is_dir():
            return "folder"
        elif entry.name.lower().endswith(SUFFIXES) and (entry.is_file() or entry.is_symlink()):
            return "image"
        else:
            self.foreign.append(path)
        return None

    def _distinct(self, folder: str, images: list[str]) -> list[str]:
        """Without those that differ from one before by their suffix alone: ids and pairs go by the name without it."""
        first: dict[str, str] = {}
        for name in images:
            if first.setdefault(_stem(name), name) != name:
                self.odd.append((_join(folder, name), f"{first[_stem(name)]} has the same name"))
        return list(first.values())

    def below(self, folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
        """Paths from the root of all images at any depth; a link back to a folder above is not followed."""
        above = (*above, os.path.realpath(self.root / folder))
        folders, images = self.look(folder)
        if not folders and not images:
            self.empty.append(folder)
        yield from (_join(folder, name) for name in images)
        for name in folders:
            if os.path.realpath(self.root / folder / name) in above:
                self.odd.append((_join(folder, name), "a link to a folder above it"))
            else:
                yield from self.below(_join(folder, name), above)

    def clips(self, folder: str, name: re.Pattern, wanted: str) -> Iterator[tuple[str, list[str]]]:
        """The video folders whose names match, and the images in each."""
        videos, strays = self.look(folder)
        self.odd += [(_join(folder, stray), "an image outside of a video folder") for stray in strays]
        for video in videos:
            if not name.fullmatch(video):
                self.odd.append((_join(folder, video), f"an odd name; {wanted} wanted"))
                continue
            nested, images = self.look(_join(folder, video))
            self.odd += [(_join(folder, video, inner), "a folder inside a video folder") for inner in nested]
            if not images:
                self.odd.append((_join(folder, video), "no image in it"))
            yield video, images

    def nothing(self, folder: str, hint: str = "") -> FileNotFoundError:
        """The error that says that ``folder`` has no images, and what lies there instead."""
        there = self.root / folder
        nearest = next(path for path in (there, *there.parents) if path.is_dir())
        names = sorted(os.listdir(nearest))
        holds = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        where = "it" if nearest == there else f"there is no such folder; {nearest}"
        return FileNotFoundError(f"no images in {there}: {where} holds {holds or 'nothing'}{hint}")


def _join(*parts: str) -> str:
    return "/".join(filter(None, parts))


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


IDENTITY = re.compile(r"[0-9A-Za-z-]+")
TARGET_SOURCE = re.compile(r"([0-9A-Za-z-]+)_([0-9A-Za-z-]+)")


def _faceforensics(dataset: FaceForensics, tree: Tree) -> list[Picture]:
    options = dataset.options
    faces = f"{options.compression}/{options.faces}"
    hint = f" (the manifest says compression {options.compression}, faces {options.faces})"
    folder = f"original_sequences/youtube/{faces}"
    pictures = []
    for video, names in tree.clips(folder, IDENTITY, "an id of letters, digits and hyphens"):
        for name in names[: options.frames]:
            frame = _stem(name)
            pictures.append(Picture(_join(folder, video, name), REAL, video, frame, video, _id(video, frame, REAL)))
    if not pictures:
        raise tree.nothing(folder, hint)
    fakes = [_forged(dataset, tree, name, f"manipulated_sequences/{name}/{faces}") for name in options.manipulations]
    if not any(fakes):
        raise tree.nothing(f"manipulated_sequences/{options.manipulations[0]}/{faces}", hint)
    return pictures + [picture for found in fakes for picture in found]


def _forged(dataset: FaceForensics, tree: Tree, manipulation: str, folder: str) -> list[Picture]:
    """The fakes of one manipulation. They are compared with the frame of the same name of their target."""
    if not (tree.root / folder).is_dir():
        tree.odd.append((folder, f"no such folder, but {manipulation} is one of the manipulations in the manifest"))
    found = []
    for video, names in tree.clips(folder, TARGET_SOURCE, "<target>_<source>"):
        target, source = TARGET_SOURCE.fullmatch(video).groups()
        for name in names[: dataset.options.frames]:
            pair = _id(target, _stem(name), REAL)
            path = _join(folder, video, name)
            found.append(Picture(path, manipulation, video, _stem(name), target, pair, source))
    return found


def _cifake(dataset: Cifake, tree: Tree) -> list[Picture]:
    pictures = []
    for split in ("train", "test"):
        for kind, manipulation in (("REAL", REAL), ("FAKE", "fake")):
            folders, images = tree.look(f"{split}/{kind}")
            if not images:
                raise tree.nothing(f"{split}/{kind}")
            tree.odd += [(f"{split}/{kind}/{name}", "a folder among the images") for name in folders]
            # Real and generated images share their names, but nothing else.
            pictures += [_single(f"{split}/{kind}/{name}", f"{split}:{kind}:{name}", manipulation) for name in images]
    return pictures


def _single(path: str, name: str, manipulation: str) -> Picture:
    """An image that belongs to no video; ids know no "/" in names, so folders end in ":"."""
    name = _stem(name).replace("/", ":")
    return Picture(path, manipulation, name, pair=_id(name, "", REAL) if manipulation == REAL else "")


def _diffusiondb(dataset: DiffusionDB, tree: Tree) -> list[Picture]:
    folders, images = tree.look("")
    if not images:
        raise tree.nothing("")
    tree.odd += [(name, "a folder; the layout is flat") for name in folders]
    return [_single(name, name, dataset.name) for name in drawn(images, dataset.options)]


def _coco(dataset: Coco, tree: Tree) -> list[Picture]:
    images = list(tree.below(""))
    if not images:
        raise tree.nothing("")
    return [_single(path, path, REAL) for path in drawn(images, dataset.options)]


def drawn(names: Sequence[str], options: SampleOptions) -> list[str]:
    """At most ``limit`` names, drawn by ``seed`` from their sorted order, in that order."""
    names = sorted(names)
    if len(names) <= options.limit:
        return names
    rows = np.random.default_rng(options.seed).choice(len(names), options.limit, replace=False)
    return [names[row] for row in np.sort(rows)]


def _folders(dataset: Folders, tree: Tree) -> list[Picture]:
    pictures = []
    for kind in ("real", "fake"):
        images = sorted(tree.below(kind))
        if not images:
            raise tree.nothing(kind)
        placed = [picture for picture in (_place(dataset, tree, path) for path in images) if picture is not None]
        if not placed:
            raise tree.nothing(kind, f" (the manifest says subfolder {dataset.options.subfolder})")
        pictures += placed
    if dataset.options.subfolder.endswith("video"):
        tree.odd += [(folder, "no image in it") for folder in tree.empty]
    return pictures


def _place(dataset: Folders, tree: Tree, path: str) -> Picture | None:
    """What an image below ``real/`` or ``fake/`` is, told by its path."""
    manipulation, *rest = path.split("/")
    by_manipulation = dataset.options.subfolder.startswith("manipulation") and manipulation == "fake"
    by_video = dataset.options.subfolder.endswith("video")
    if by_manipulation:
        manipulation, *rest = rest
    if len(rest) < 1 + by_video:
        wanted = "manipulation" if by_manipulation and not rest else "video"
        tree.odd.append((path, f"an image outside of a {wanted} folder"))
        return None
    if by_manipulation and manipulation == REAL:
        tree.odd.append((path, "a manipulation can't be called real"))
        return None
    names = [*rest[:-1], _stem(rest[-1])]
    video, frame = (names[0], ":".join(names[1:])) if by_video else (":".join(names), "")
    paired = manipulation == REAL or dataset.options.pairs == "by_name"
    # What has the same name stays in one group and one split, whether or not it is compared.
    return Picture(path, manipulation, video, frame, pair=_id(video, frame, REAL) if paired else "")


LAYOUTS: dict[str, Callable[..., list[Picture]]] = {
    "faceforensics": _faceforensics,
    "cifake": _cifake,
    "diffusiondb": _diffusiondb,
    "coco": _coco,
    "folders": _folders,
}

# ---------------------------------------------------------------------------------------------------------------------
# Reading: each file once.


def _walk(dataset: Files, workers: int, progress: bool) -> Walk:
    """Find the images of a data set and read them all."""
    tree = Tree(dataset.folder())
    pictures = LAYOUTS[dataset.layout](dataset, tree)
    table = pd.DataFrame(
        {
            "id": [picture.id for picture in pictures],
            **{name: [getattr(picture, name) for picture in pictures] for name in Picture._fields},
        },
        dtype="str",
    )
    table["group"] = table["group"].where(table["group"] != "", table["video"])
    table["label"] = (table["manipulation"] != REAL).astype("int64")
    _require_unique_ids(table)
    read = _read_all(tree.root, table["path"].tolist(), _max_pixels(dataset), workers, progress, dataset.name)
    return Walk(table.assign(**read), tree.odd, tree.foreign)


def _max_pixels(dataset: Files) -> int:
    return int(dataset.max_megapixels * 1_000_000)


def _require_unique_ids(table: pd.DataFrame) -> None:
    twice = table[table["id"].duplicated(keep=False)].sort_values("id", kind="stable")
    if len(twice):
        first, second = twice["path"].iloc[:2]
        raise ValueError(f"{first} and {second} would both have the id {twice['id'].iloc[0]}; rename one")


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
    root: Path, paths: list[str], max_pixels: int, workers: int, progress: bool, name: str
) -> dict[str, list]:
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    # Threads: decoding and hashing let go of the interpreter's lock, and nothing has to be sent between processes.
    read = Parallel(n_jobs=workers, prefer="threads", return_as="generator")(
        delayed(_read)(root / path, max_pixels) for path in paths
    )
    found = list(tqdm(read, total=len(paths), desc=f"reading {name}", unit="image", disable=not progress))
    return {key: [getattr(one, key) for one in found] for key in Read._fields}


# ---------------------------------------------------------------------------------------------------------------------
# Splits: from names and seeds, over all images that were found, so that one that can't be read moves no other.


def _splits(dataset: Files, table: pd.DataFrame) -> pd.Series:
    """The split of every row; "" if it is in none."""
    split = dataset.split
    if isinstance(split, OfficialSplit):
        listed = _official(dataset.file(split.lists, "split.lists"))
        return table["video"].map(listed).fillna("")
    if isinstance(split, GivenSplit):
        return _given(table, split)
    if isinstance(split, RandomSplit):
        return table["group"].map(_random(table, split))
    parts = []
    for _, rows in table.groupby("manipulation", sort=False):
        parts.append(rows["video"].map(_in_order(sorted(set(rows["video"])), split.shares)))
    return pd.concat(parts).reindex(table.index)


def cut(number: int, shares: Sequence[float]) -> list[int]:
    """``number`` things in parts of these shares, the borders rounded down.

    Examples
    --------
    >>> cut(1000, (7, 1, 2))
    [700, 100, 200]
    >>> cut(12, (0.7, 0.1, 0.2))
    [8, 1, 3]
    """
    exact = [Fraction(str(share)) for share in shares]
    borders = [int(number * part / sum(exact)) for part in accumulate(exact)]
    return [after - before for before, after in zip([0, *borders], borders, strict=False)]


def _in_order(names: Sequence[str], shares: Sequence[float]) -> dict[str, str]:
    train, val, test = cut(len(names), shares)
    return dict(zip(names, ["train"] * train + ["val"] * val + ["test"] * test, strict=True))


def _random(table: pd.DataFrame, split: RandomSplit) -> dict[str, str]:
    """The split of every group. Groups with and without a real image are cut apart, so that each split has both."""
    with_real = set(table.loc[table["label"] == 0, "group"])
    groups = sorted(set(table["group"]), key=lambda group: _lot(split.seed, group))
    kinds = [group for group in groups if group in with_real], [group for group in groups if group not in with_real]
    return {group: name for kind in kinds for group, name in _in_order(kind, split.shares).items()}


def _lot(seed: int, name: str) -> str:
    """A number drawn for a name: nothing but the two decide, whatever else there is."""
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _given(table: pd.DataFrame, split: GivenSplit) -> pd.Series:
    from sklearn.model_selection import train_test_split

    splits = table["path"].str.partition("/")[0]
    train = table.index[splits == "train"].to_numpy()
    _, held_out = train_test_split(
        train, test_size=split.validation, stratify=table.loc[train, "label"], random_state=split.seed
    )
    splits[held_out] = "val"
    return splits


def _official(folder: Path) -> dict[str, str]:
    """Video folder -> split: for a pair of ids a, b in a list, the real videos a and b and the fakes a_b and b_a."""
    listed: dict[str, str] = {}
    for split in SPLITS:
        for first, second in _read_pairs(folder / f"{split}.json"):
            for video in (first, second, f"{first}_{second}", f"{second}_{first}"):
                if listed.setdefault(video, split) != split:
                    raise ValueError(f"{folder}: {video} is in the lists of {listed[video]} and of {split}")
    return listed


def _read_pairs(path: Path) -> list[list[str]]:
    if not path.is_file():
        raise FileNotFoundError(f"no list {path}; the official split wants {', '.join(f'{s}.json' for s in SPLITS)}")
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON ({error})") from error
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)):
            raise ValueError(f'{path}: {pair!r} found; a list of pairs of ids such as [["071", "054"]] wanted')
    return pairs


# ---------------------------------------------------------------------------------------------------------------------
# The index.


def build_index(dataset: Dataset, workers: int = -1, progress: bool = False) -> Index:
    """Walk a data set, read every image, and store nothing.

    Parameters
    ----------
    workers : int
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
    return _compose(dataset, lambda part: _walk(part, workers, progress))


def records_of(
    dataset: Dataset,
    folder: str | Path | None = None,
    refresh: bool = False,
    workers: int = -1,
    progress: bool = False,
) -> Index:
    """The index of a data set, from the file of an earlier walk if the manifest still says the same.

    Files that came, went or changed since are not noticed here; :class:`defocus_lib.images.Reader` refuses an image
    whose content is another one.

    Parameters
    ----------
    folder : path or None
        Where indexes are kept; ``artifacts/.index`` if None.
    refresh : bool
        Walk again in any case.
    workers, progress
        As in :func:`build_index`, which says what is raised, too.
    """
    return _compose(dataset, lambda part: _stored_walk(part, folder, refresh, workers, progress))


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
    raise ValueError(f"data set {dataset.name!r} is {dataset.where()}; one with files on disk wanted")


def _stored_walk(dataset: Files, folder: str | Path | None, refresh: bool, workers: int, progress: bool) -> Walk:
    (path,) = index_files(dataset, folder)
    key = _walk_key(dataset)
    walk = None if refresh else _load(path, key)
    if walk is None or not _still_unreadable(dataset, walk):
        walk = _walk(dataset, workers, progress)
        _save(path, key, walk)
    return walk


def _still_unreadable(dataset: Files, walk: Walk) -> bool:
    """Whether a run that unreadable images stop would be stopped by the same ones: they may have been repaired."""
    if dataset.on_unreadable == "skip":
        return True
    broken = walk.table[walk.table["reason"] != ""]
    again = [_read(dataset.folder() / path, _max_pixels(dataset)) for path in broken["path"]]
    return [(one.digest, one.reason) for one in again] == list(zip(broken["digest"], broken["reason"], strict=True))


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
    table = walk.table.assign(split=_splits(dataset, walk.table).astype("str"))
    unlisted = table[table["split"] == ""]
    used = table[table["split"] != ""]
    unreadable = used.loc[used["reason"] != "", PROBLEM].reset_index(drop=True)
    if len(unreadable) and dataset.on_unreadable == "stop":
        raise UnreadableImage(_stopped(dataset, unreadable))
    records = used[used["reason"] == ""]
    pair = records["pair"].where(records["pair"].isin(set(records["id"])), "")
    records = records.assign(pair=pair)[COLUMNS].reset_index(drop=True)
    odd = walk.odd + [(folder, "in no list of the split") for folder in unlisted["path"].map(_parent).unique()]
    return Index(records, unreadable, list(walk.foreign), pd.DataFrame(odd, columns=PROBLEM, dtype="str"))


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

    named = {key: _named(part.name, index.records[key]) for key in ("id", "video", "group", "pair", "source")}
    records = index.records.assign(path=index.records["path"].map(path), **named)
    problems = [table.assign(path=table["path"].map(path)) for table in (index.unreadable, index.odd)]
    return Index(records, problems[0], [path(name) for name in index.foreign], problems[1])


def _named(part: str, values: pd.Series) -> pd.Series:
    return (f"{part}:" + values).where(values != "", "")


# ---------------------------------------------------------------------------------------------------------------------
# What can be asked of a table of records.


def counts(records: pd.DataFrame) -> pd.DataFrame:
    """Number of images, manipulation by split; in the order of the records, real first."""
    table = pd.crosstab(records["manipulation"], records["split"])
    names = records.sort_values("label", kind="stable")["manipulation"].unique()
    table = table.reindex(index=names, columns=list(SPLITS), fill_value=0)
    return table.rename_axis(index="manipulation", columns="split")


def has_pairs(records: pd.DataFrame) -> bool:
    """Whether any manipulated image has a real counterpart."""
    return bool(((records["label"] == 1) & (records["pair"] != "")).any())


def choose(records: pd.DataFrame, manipulations: Sequence[str]) -> pd.DataFrame:
    """The real images and those of the named manipulations.

    Raises
    ------
    ValueError
        If a manipulation is not there, or none is named; the message names those that are.
    """
    there = records.loc[records["label"] == 1, "manipulation"].unique().tolist()
    unknown = [name for name in manipulations if name not in there]
    if unknown or not len(manipulations):
        found = f"no image of manipulation {unknown[0]!r}" if unknown else "no manipulation named"
        raise ValueError(f"{found}; there are: {', '.join(there) or 'none'}")
    return records[records["manipulation"].isin([REAL, *manipulations])].reset_index(drop=True)


def sample(records: pd.DataFrame, groups: int, seed: int) -> pd.DataFrame:
    """The records of at most ``groups`` groups a split, drawn by ``seed`` from the sorted names; in their order.

    Where real and manipulated images are in groups of their own, both are drawn, in proportion.

    Raises
    ------
    ValueError
        If ``groups`` is less than 1.
    """
    if groups < 1:
        raise ValueError(f"groups is {groups}; 1 or more wanted")
    chosen = pd.Series(False, index=records.index)
    for number, split in enumerate(SPLITS):
        rows = records[records["split"] == split]
        names = _draw(rows, groups, np.random.default_rng([seed, number]))
        chosen |= (records["split"] == split) & records["group"].isin(names)
    return records[chosen].reset_index(drop=True)


def _draw(rows: pd.DataFrame, groups: int, rng: np.random.Generator) -> list[str]:
    labels = rows.groupby("group")["label"].agg(["min", "max"])  # sorted by name; (0, 1) has real and manipulated
    kinds = [kind.index.tolist() for _, kind in labels.groupby(["min", "max"])]
    sizes = [len(kind) for kind in kinds]
    quotas = cut(min(groups, sum(sizes)), sizes) if kinds else []
    return [name for kind, quota in zip(kinds, quotas, strict=True) for name in rng.permutation(kind)[:quota]]


def missing_pairs(records: pd.DataFrame) -> pd.DataFrame:
    """The manipulated images without their real counterpart: rows of ``records``.

    One should be there if the image names a source video, or if others of its manipulation have theirs.
    """
    fakes = records[records["label"] == 1]
    paired = fakes.loc[fakes["pair"] != "", "manipulation"].unique()
    return fakes[(fakes["pair"] == "") & ((fakes["source"] != "") | fakes["manipulation"].isin(paired))]


def duplicates(records: pd.DataFrame) -> pd.DataFrame:
    """The images whose content occurs more than once, byte for byte.

    Returns
    -------
    DataFrame
        One row an image, the same content together: digest, id, path, split; across_splits and across_labels, whether
        copies are in several splits, or called real here and manipulated there.
    """
    twice = records[records["digest"].duplicated(keep=False)]
    same = twice.groupby("digest", sort=False)
    across = {f"across_{key}s": same[key].transform("nunique") > 1 for key in ("split", "label")}
    table = twice[["digest", "id", "path", "split"]].assign(**across)
    return table.iloc[same.ngroup().argsort(kind="stable")].reset_index(drop=True)


def leakage(records: pd.DataFrame) -> pd.DataFrame:
    """The identities that two splits share. A fake shows two: its target and its source.

    Returns
    -------
    DataFrame
        One row a pair of splits that share any: split, other_split; identities, the number that they share;
        fake_videos and fake_images, the fakes of both splits that show one of these.
    """
    fakes = records[records["label"] == 1]
    shown = {name: set(rows["group"]) | set(rows["source"]) - {""} for name, rows in records.groupby("split")}
    found = []
    for one, other in combinations([name for name in SPLITS if name in shown], 2):
        shared = shown[one] & shown[other]
        concerned = fakes[fakes["split"].isin([one, other])]
        concerned = concerned[concerned["group"].isin(shared) | concerned["source"].isin(shared)]
        videos = len(concerned[["manipulation", "video"]].drop_duplicates())
        found += [(one, other, len(shared), videos, len(concerned))] if shared else []
    return pd.DataFrame(found, columns=["split", "other_split", "identities", "fake_videos", "fake_images"])
