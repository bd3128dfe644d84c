"""The walk of a tree: its images, and what lies there that is none or has no place.

Folders are listed, no file is opened. Names are sorted, their numbers as numbers, so that nothing
depends on the order in which a file system lists files, and ``10.png`` comes after ``9.png``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from defocus_lib.data.images import SUFFIXES

REAL = "real"
Problem = tuple[str, str]  # a path, and what is wrong with it


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
        return image_id(self.video, self.frame, self.manipulation)


def image_id(video: str, frame: str, manipulation: str) -> str:
    """``<video>/<frame>/<manipulation>``, without what is empty."""
    return "/".join(filter(None, (video, frame, manipulation)))


def natural(name: str) -> tuple[list[str | int], str]:
    """A key to sort and compare names by, in which numbers count as numbers.

    Names that differ by leading zeros alone are in the order of their characters.

    Examples
    --------
    >>> sorted(["10", "9", "v2/1", "v10/1"], key=natural)
    ['9', '10', 'v2/1', 'v10/1']
    """
    parts = re.split(r"([0-9]+)", name)  # every second part is a number, so keys are comparable
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


class Unused(NamedTuple):
    """Images of one place that are not used for one reason; ``first`` and ``last`` are names."""

    path: str
    reason: str
    images: int
    first: str
    last: str


class Short(NamedTuple):
    """A video that has fewer frames than the manifest asks for."""

    path: str
    frames: int
    asked: int


@dataclass
class Tree:
    """The folders below ``root``, and what was found there that is no image or is not used.

    ``odd`` lies where the layout has no place for it, or lacks images; ``unused`` counts images by
    place and reason, and ``short`` are videos with few frames. ``absent`` are manipulations that
    the layout knows, the manifest does not name, and the tree does not have.
    """

    root: Path
    odd: list[Problem] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    unused: list[Unused] = field(default_factory=list)
    short: list[Short] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def skip(self, folder: str, names: Sequence[str], reason: str) -> None:
        """Count images of a folder that are not used; none is no fault."""
        if names:
            self.unused.append(Unused(folder, reason, len(names), names[0], names[-1]))

    def misplace(self, path: str, reason: str, counted_as: str = "") -> None:
        """Note what lies where the layout has no place for it, and count its images."""
        self.odd.append((path, reason))
        if not (self.root / path).is_dir():
            folder, _, name = path.rpartition("/")
            return self.skip(folder, [name], counted_as or reason)
        below = list(Tree(self.root).below(path))
        return self.skip(path, [name[len(path) + 1 :] for name in below], counted_as or reason)

    def look(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the images in a folder, sorted; none if it is not there."""
        folders: list[str] = []
        images: list[str] = []
        if not (self.root / folder).is_dir():
            return folders, images
        with os.scandir(self.root / folder) as entries:
            for entry in sorted(entries, key=lambda entry: natural(entry.name)):
                kind = self._kind(entry, folder)
                if kind is not None:
                    (folders if kind == "folder" else images).append(entry.name)
        return folders, self._distinct(folder, images)

    def _kind(self, entry: os.DirEntry, folder: str) -> str | None:
        path = join(folder, entry.name)
        try:
            entry.is_dir()
        except OSError as error:  # such as a link to itself
            self.odd.append((path, error.strerror or str(error)))
            return None
        if not _is_text(entry.name):
            shown = os.fsencode(path).decode("ascii", "backslashreplace")
            self.odd.append((shown, "the name is not valid UTF-8"))
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
        """Without those that differ from an earlier one by suffix alone: they share its id."""
        first: dict[str, str] = {}
        for name in images:
            if first.setdefault(stem(name), name) != name:
                reason = f"{first[stem(name)]} has the same name"
                self.misplace(join(folder, name), reason, "another image has the same name")
        return list(first.values())

    def below(self, folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
        """Paths of all images at any depth; a link back to a folder above is not followed."""
        above = (*above, os.path.realpath(self.root / folder))
        folders, images = self.look(folder)
        if not folders and not images:
            self.empty.append(folder)
        yield from (join(folder, name) for name in images)
        for name in folders:
            if os.path.realpath(self.root / folder / name) in above:
                self.odd.append((join(folder, name), "a link to a folder above it"))
            else:
                yield from self.below(join(folder, name), above)

    def videos(
        self, folder: str, name: re.Pattern, meaning: str
    ) -> Iterator[tuple[re.Match, list[str]]]:
        """The video folders whose names match, and the images in each."""
        videos, strays = self.look(folder)
        for stray in strays:
            self.misplace(join(folder, stray), "an image outside of a video folder")
        for video in videos:
            match = name.fullmatch(video)
            if match is None:
                self.misplace(join(folder, video), f"an odd name; {meaning} wanted")
                continue
            nested, images = self.look(join(folder, video))
            for inner in nested:
                self.misplace(join(folder, video, inner), "a folder inside a video folder")
            if not images:
                self.odd.append((join(folder, video), "no image in it"))
            yield match, images

    def nothing_in(self, folder: str, hint: str = "", what: str = "images") -> FileNotFoundError:
        """The error that says that ``folder`` has no images, and what lies there instead."""
        path = self.root / folder
        nearest = next(parent for parent in (path, *path.parents) if parent.is_dir())
        names = sorted(os.listdir(nearest), key=natural)
        held = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        where = "it" if nearest == path else f"there is no such folder; {nearest}"
        return FileNotFoundError(f"no {what} in {path}: {where} holds {held or 'nothing'}{hint}")


def join(*parts: str) -> str:
    """A path with forward slashes; empty parts are left out."""
    return "/".join(filter(None, parts))


def stem(name: str) -> str:
    """A file name without its suffix."""
    return os.path.splitext(name)[0]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
