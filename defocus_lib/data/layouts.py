"""Which file of a data set is what: the images below a root, and what each shows, told by its path alone.

Folders are looked into, no file is opened. Order and sampling follow from names and seeds alone, never from the order
in which a file system lists files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from defocus_lib.data.images import SUFFIXES
from defocus_lib.data.manifest import (
    Cifake,
    Coco,
    DiffusionDB,
    FaceForensics,
    Files,
    Folders,
    SampleOptions,
)
from defocus_lib.data.records import REAL


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
        try:
            entry.is_dir()
        except OSError as error:  # such as a link to itself
            self.odd.append((path, error.strerror or str(error)))
            return None
        if not _is_text(entry.name):
            self.odd.append(
                (
                    os.fsencode(path).decode("ascii", "backslashreplace"),
                    "the name is not valid UTF-8",
                )
            )
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
        self.odd += [
            (_join(folder, stray), "an image outside of a video folder") for stray in strays
        ]
        for video in videos:
            if not name.fullmatch(video):
                self.odd.append((_join(folder, video), f"an odd name; {wanted} wanted"))
                continue
            nested, images = self.look(_join(folder, video))
            self.odd += [
                (_join(folder, video, inner), "a folder inside a video folder") for inner in nested
            ]
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
            pictures.append(
                Picture(
                    _join(folder, video, name), REAL, video, frame, video, _id(video, frame, REAL)
                )
            )
    if not pictures:
        raise tree.nothing(folder, hint)
    used = _frames_of(pictures)
    fakes = [
        _forged(dataset, tree, name, f"manipulated_sequences/{name}/{faces}", used)
        for name in options.manipulations
    ]
    if not any(fakes):
        raise tree.nothing(f"manipulated_sequences/{options.manipulations[0]}/{faces}", hint)
    return pictures + [picture for found in fakes for picture in found]


def _frames_of(pictures: list[Picture]) -> dict[str, set[str]]:
    """The frames that are used of each video."""
    frames: dict[str, set[str]] = {}
    for picture in pictures:
        frames.setdefault(picture.video, set()).add(picture.frame)
    return frames


def _forged(
    dataset: FaceForensics, tree: Tree, manipulation: str, folder: str, used: dict[str, set[str]]
) -> list[Picture]:
    """The fakes of one manipulation. They are compared with the frame of the same name of their target.

    Of a fake, no frame is taken that comes after the last one of its target: where one is missing, no later one slips
    in without a counterpart.
    """
    if not (tree.root / folder).is_dir():
        tree.odd.append(
            (
                folder,
                f"no such folder, but {manipulation} is one of the manipulations in the manifest",
            )
        )
    found = []
    for video, names in tree.clips(folder, TARGET_SOURCE, "<target>_<source>"):
        target, source = TARGET_SOURCE.fullmatch(video).groups()
        wanted = [name for name in names if target not in used or _stem(name) <= max(used[target])]
        for name in wanted[: dataset.options.frames]:
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
            tree.odd += [
                (f"{split}/{kind}/{name}", "a folder among the images") for name in folders
            ]
            # Real and generated images share their names, but nothing else.
            pictures += [
                _single(f"{split}/{kind}/{name}", f"{split}:{kind}:{name}", manipulation)
                for name in images
            ]
    return pictures


def _single(path: str, name: str, manipulation: str) -> Picture:
    """An image that belongs to no video; ids know no "/" in names, so folders end in ":"."""
    name = _stem(name).replace("/", ":")
    return Picture(
        path, manipulation, name, pair=_id(name, "", REAL) if manipulation == REAL else ""
    )


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
        placed = [
            picture
            for picture in (_place(dataset, tree, path) for path in images)
            if picture is not None
        ]
        if not placed:
            raise tree.nothing(kind, f" (the manifest says subfolder {dataset.options.subfolder})")
        pictures += placed
    if dataset.options.subfolder.endswith("video"):
        tree.odd += [(folder, "no image in it") for folder in tree.empty]
    return pictures


def _place(dataset: Folders, tree: Tree, path: str) -> Picture | None:
    """What an image below ``real/`` or ``fake/`` is, told by its path."""
    manipulation, *rest = path.split("/")
    by_manipulation = (
        dataset.options.subfolder.startswith("manipulation") and manipulation == "fake"
    )
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


def list_pictures(dataset: Files) -> tuple[pd.DataFrame, Tree]:
    """The images of a data set.

    Returns
    -------
    table : DataFrame
        One row an image: id, the fields of :class:`Picture`, label (0 real, 1 fake).
    tree : Tree
        What else was found.

    Raises
    ------
    FileNotFoundError
        If there is no root, or no image where the layout looks for them; says what lies there instead.
    ValueError
        If two images would have the same id.
    """
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
    return table, tree


def _require_unique_ids(table: pd.DataFrame) -> None:
    twice = table[table["id"].duplicated(keep=False)].sort_values("id", kind="stable")
    if len(twice):
        first, second = twice["path"].iloc[:2]
        raise ValueError(
            f"{first} and {second} would both have the id {twice['id'].iloc[0]}; rename one"
        )
