"""Which file of a data set is what: one class per layout.

A layout tells by its path alone what an image shows. Order and sampling follow from names and
seeds. A new layout is a subclass of :class:`Files` with its options, its split and its
``pictures``, and a name in :data:`LAYOUTS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, get_args

import numpy as np
from pydantic import Field

from defocus_lib.data.dataset import Files
from defocus_lib.data.entry import Count, Entry, RelativePath, Seed, Unique, one_of
from defocus_lib.data.splits import GivenSplit, OfficialSplit, RandomSplit, SequentialSplit
from defocus_lib.data.tree import REAL, Picture, Short, Tree, image_id, join, natural, stem

if TYPE_CHECKING:
    import pandas as pd

FiveManipulations = Literal["Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures"]
Manipulation = Literal[FiveManipulations, "DeepFakeDetection"]


class Originals(NamedTuple):
    """Real videos of FaceForensics++: their folder, how they are called, how their fakes are.

    Both names are patterns and what they mean to a reader. That of a fake has the groups target,
    source and, where it is a part of the name of the target, scene.
    """

    folder: str
    name: tuple[re.Pattern, str]
    fake: tuple[re.Pattern, str]

    @staticmethod
    def target_of(fake: re.Match) -> str:
        """The name of the real video that a fake was made from."""
        scene = fake.groupdict().get("scene")
        return f"{fake['target']}__{scene}" if scene else fake["target"]


YOUTUBE = Originals(
    "original_sequences/youtube",
    (re.compile(r"[0-9A-Za-z-]+"), "an id of letters, digits and hyphens"),
    (re.compile(r"(?P<target>[0-9A-Za-z-]+)_(?P<source>[0-9A-Za-z-]+)"), "<target>_<source>"),
)
ACTORS = Originals(
    "original_sequences/actors",
    (re.compile(r"[0-9]+__[0-9A-Za-z_-]+"), "<actor>__<scene>"),
    (
        re.compile(
            r"(?P<target>[0-9]+)_(?P<source>[0-9]+)__(?P<scene>[0-9A-Za-z_-]+)__[0-9A-Za-z]+"
        ),
        "<target>_<source>__<scene>__<code>",
    ),
)


class Extraction(Entry):
    """How the images are made from videos, where the data come as such.

    The videos lie below ``videos``, by default the root. Of each video ``frames`` frames are taken,
    by default as many as the layout reads (32 where it reads all): the first, or evenly spread
    ones. ``margin`` is how much larger the square of a crop is than the face, as a share.
    """

    videos: str = ""
    frames: Count | None = None
    take: Literal["first", "evenly"] = "first"
    margin: Annotated[float, Field(ge=0, le=4)] = 0.3


class FaceForensicsOptions(Entry):
    """Which videos of FaceForensics++ and how many frames of each.

    ``faces`` is the folder with the cropped faces. Manipulations that are named must be there;
    without names, those that are there are used.
    """

    compression: Literal["raw", "c23", "c40"] = "raw"
    faces: RelativePath = "v1faces"
    manipulations: Annotated[tuple[Manipulation, ...], Unique] | None = None
    frames: Count = 32

    @property
    def wanted(self) -> tuple[str, ...]:
        """The manipulations that are looked for."""
        named = self.manipulations
        return get_args(FiveManipulations) if named is None else named

    def by_originals(self) -> dict[Originals, list[str]]:
        """The manipulations that are looked for, by the real videos that they were made from."""
        names: dict[Originals, list[str]] = {}
        for name in self.wanted:
            names.setdefault(ACTORS if name == "DeepFakeDetection" else YOUTUBE, []).append(name)
        return names


class FaceForensics(Files):
    """``original_sequences/youtube/<compression>/<faces>/<video>/<frame>.png`` and
    ``manipulated_sequences/<manipulation>/<compression>/<faces>/<target>_<source>/<frame>.png``.

    The real videos of DeepFakeDetection are those of ``original_sequences/actors``.
    """

    layout: Literal["faceforensics"]
    options: FaceForensicsOptions = FaceForensicsOptions()
    extract: Extraction = Extraction()
    split: Annotated[
        SequentialSplit | OfficialSplit, one_of("scheme", SequentialSplit, OfficialSplit)
    ] = SequentialSplit()

    def pictures(self, tree: Tree) -> list[Picture]:
        faces = f"{self.options.compression}/{self.options.faces}"
        hint = (
            f" (the manifest says compression {self.options.compression}, "
            f"faces {self.options.faces}; `python -m defocus_lib data extract {self.name}` "
            "makes them from videos)"
        )
        pictures, fakes = [], []
        for originals, manipulations in self.options.by_originals().items():
            folder = f"{originals.folder}/{faces}"
            on_disk: dict[str, list[str]] = {}  # video -> frames
            real = list(self._real(tree, folder, originals, on_disk))
            if not real:
                raise tree.nothing_in(folder, hint)
            pictures += real
            for name in manipulations:
                below = f"manipulated_sequences/{name}/{faces}"
                fakes_of_one = list(self._fakes(tree, name, below, originals, on_disk))
                if not fakes_of_one:
                    self._note_absent(tree, name, below)
                fakes += fakes_of_one
        if not fakes:
            first = self.options.wanted[0]
            raise tree.nothing_in(f"manipulated_sequences/{first}/{faces}", hint)
        return pictures + fakes

    def _real(
        self, tree: Tree, folder: str, originals: Originals, on_disk: dict[str, list[str]]
    ) -> Iterator[Picture]:
        """The frames that are used of the real videos; ``on_disk`` gets all of each."""
        for match, names in tree.videos(folder, *originals.name):
            video = match[0]
            on_disk[video] = [stem(name) for name in names]
            for name in self._first(tree, join(folder, video), names):
                frame, path = stem(name), join(folder, video, name)
                yield Picture(path, REAL, video, frame, video, image_id(video, frame, REAL))

    def _note_absent(self, tree: Tree, manipulation: str, folder: str) -> None:
        """A fault where the manifest names the manipulation, else a fact."""
        if self.options.manipulations is None:
            tree.absent.append(manipulation)
            return
        lacking = "no image in it" if (tree.root / folder).is_dir() else "no such folder"
        reason = f"{lacking}, but {manipulation} is one of the manipulations in the manifest"
        tree.odd.append((folder, reason))

    def _first(self, tree: Tree, folder: str, names: list[str]) -> list[str]:
        """The first images of a video; the rest, and what is lacking, is counted."""
        number = self.options.frames
        if 0 < len(names) < number:
            tree.short.append(Short(folder, len(names), number))
        tree.skip(folder, names[number:], self._beyond)
        return names[:number]

    def _paired(self, tree: Tree, folder: str, names: list[str], target: list[str]) -> list[str]:
        """The images of a fake whose target has the frames ``target``; the rest is counted.

        The counterparts of the frames that are used come first. No frame is taken that comes after
        the last one of these, so that no later one takes the place of one that is missing.
        """
        if not target:
            return self._first(tree, folder, names)
        number = self.options.frames
        if 0 < len(names) < number:
            tree.short.append(Short(folder, len(names), number))
        used, (last, end) = set(target[:number]), (target[:number][-1], target[-1])
        before = [name for name in names if _position(stem(name)) <= _position(last)]
        alone = [name for name in before if stem(name) not in used]
        room = max(0, number - (len(before) - len(alone)))
        tree.skip(folder, alone[room:], "its target lacks the frame, but enough others")
        after = names[len(before) :]
        longer = [name for name in after if _position(stem(name)) > _position(end)]
        tree.skip(folder, after[: len(after) - len(longer)], self._beyond)
        tree.skip(folder, longer, "after the last frame of its target")
        return [name for name in before if name not in alone[room:]]

    @property
    def _beyond(self) -> str:
        return f"after the first {self.options.frames} frames of a video"

    def _fakes(
        self,
        tree: Tree,
        manipulation: str,
        folder: str,
        originals: Originals,
        on_disk: dict[str, list[str]],
    ) -> Iterator[Picture]:
        """The fakes of one manipulation, each paired with the frame of the same name of its target.

        ``on_disk`` are the frames of the real videos.
        """
        for match, names in tree.videos(folder, *originals.fake):
            target, source = originals.target_of(match), match["source"]
            place = join(folder, match[0])
            for name in self._paired(tree, place, names, on_disk.get(target, [])):
                frame, path = stem(name), join(place, name)
                pair = image_id(target, frame, REAL)
                yield Picture(path, manipulation, match[0], frame, target, pair, source)


def _position(frame: str) -> list[str | int]:
    """Where a frame comes in its video, whatever its leading zeros."""
    return natural(frame)[0]


def _single(path: str, name: str, manipulation: str) -> Picture:
    """An image that belongs to no video; ids know no "/" in names, so folders end in ":"."""
    name = stem(name).replace("/", ":")
    pair = image_id(name, "", REAL) if manipulation == REAL else ""
    return Picture(path, manipulation, name, pair=pair)


class Cifake(Files):
    """``{train,test}/{REAL,FAKE}/*``."""

    layout: Literal["cifake"]
    split: GivenSplit = GivenSplit()

    def pictures(self, tree: Tree) -> list[Picture]:
        pictures = []
        for split in ("train", "test"):
            for kind, manipulation in (("REAL", REAL), ("FAKE", "fake")):
                folders, images = tree.look(f"{split}/{kind}")
                if not images:
                    raise tree.nothing_in(f"{split}/{kind}")
                for name in folders:
                    tree.misplace(f"{split}/{kind}/{name}", "a folder among the images")
                # Real and generated images share their names, but nothing else.
                pictures += [
                    _single(f"{split}/{kind}/{name}", f"{split}:{kind}:{name}", manipulation)
                    for name in images
                ]
        return pictures


class SampleOptions(Entry):
    """At most ``limit`` images, drawn by ``seed`` from their sorted names."""

    limit: Count = 100_000
    seed: Seed = 42

    def draw(self, names: Sequence[str]) -> list[str]:
        """The chosen names, sorted."""
        names = sorted(names)
        if len(names) <= self.limit:
            return names
        rows = np.random.default_rng(self.seed).choice(len(names), self.limit, replace=False)
        return [names[row] for row in np.sort(rows)]

    def draw_from(self, tree: Tree, names: Sequence[str]) -> list[str]:
        """The chosen names; the others are counted."""
        drawn = self.draw(names)
        left = sorted(set(names) - set(drawn))
        tree.skip("", left, f"not among the {self.limit:,} drawn by seed {self.seed}")
        return drawn


class DiffusionDB(Files):
    """A flat folder of generated images."""

    layout: Literal["diffusiondb"]
    options: SampleOptions = SampleOptions()
    split: RandomSplit = RandomSplit()

    def pictures(self, tree: Tree) -> list[Picture]:
        folders, images = tree.look("")
        if not images:
            raise tree.nothing_in("")
        for name in folders:
            tree.misplace(name, "a folder; the layout is flat")
        return [_single(name, name, self.name) for name in self.options.draw_from(tree, images)]


class Coco(Files):
    """Real images, in folders of any depth."""

    layout: Literal["coco"]
    options: SampleOptions = SampleOptions()
    split: RandomSplit = RandomSplit()

    def pictures(self, tree: Tree) -> list[Picture]:
        images = list(tree.below(""))
        if not images:
            raise tree.nothing_in("")
        return [_single(path, path, REAL) for path in self.options.draw_from(tree, images)]


class FoldersOptions(Entry):
    """What the subfolders of ``real/`` and ``fake/`` are, and whether equal names are pairs.

    ``subfolder`` "video": ``real/<video>/`` and ``fake/<video>/``; "manipulation":
    ``fake/<manipulation>/``, and real images lie in ``real/`` itself; "manipulation/video":
    ``real/<video>/`` and ``fake/<manipulation>/<video>/``. ``pairs`` "by_name": a fake is compared
    with the real image of the same path, whatever the suffix.
    """

    subfolder: Literal["none", "video", "manipulation", "manipulation/video"] = "none"
    pairs: Literal["none", "by_name"] = "none"


class Folders(Files):
    """``real/`` and ``fake/``."""

    layout: Literal["folders"]
    options: FoldersOptions = FoldersOptions()
    extract: Extraction = Extraction()
    split: RandomSplit = RandomSplit()

    @property
    def expects_pairs(self) -> bool:
        return self.options.pairs == "by_name"

    def pictures(self, tree: Tree) -> list[Picture]:
        pictures = []
        for kind in ("real", "fake"):
            images = sorted(tree.below(kind), key=natural)
            placed = [picture for path in images if (picture := self._place(tree, path))]
            if not placed:
                hint = f" (the manifest says subfolder {self.options.subfolder})" if images else ""
                raise tree.nothing_in(kind, hint)
            pictures += placed
        if self.options.subfolder.endswith("video"):
            tree.odd += [(folder, "no image in it") for folder in tree.empty]
        return pictures

    def _place(self, tree: Tree, path: str) -> Picture | None:
        """What an image below ``real/`` or ``fake/`` is, told by its path."""
        manipulation, *rest = path.split("/")
        by_manipulation = (
            self.options.subfolder.startswith("manipulation") and manipulation == "fake"
        )
        by_video = self.options.subfolder.endswith("video")
        if by_manipulation:
            manipulation, *rest = rest
        if len(rest) < 1 + by_video:
            missing = "manipulation" if by_manipulation and not rest else "video"
            tree.misplace(path, f"an image outside of a {missing} folder")
            return None
        if by_manipulation and manipulation == REAL:
            tree.misplace(path, "a manipulation can't be called real")
            return None
        names = [*rest[:-1], stem(rest[-1])]
        video, frame = (names[0], ":".join(names[1:])) if by_video else (":".join(names), "")
        # Without pairs, too, images of the same name are one group and stay in one split.
        paired = manipulation == REAL or self.expects_pairs
        pair = image_id(video, frame, REAL) if paired else ""
        return Picture(path, manipulation, video, frame, pair=pair)


LAYOUTS: tuple[type[Files], ...] = (FaceForensics, Cifake, DiffusionDB, Coco, Folders)


def list_pictures(dataset: Files) -> tuple[pd.DataFrame, Tree]:
    """The images of a data set, and what else the walk found.

    The table has one row per image: ``id``, the fields of :class:`Picture`, and ``label`` (0 real,
    1 fake). Raises FileNotFoundError if there is no root, or no image where the layout looks for
    them; ValueError if two images would have the same id.
    """
    tree = Tree(dataset.folder())
    table = records_of(dataset.pictures(tree))
    repeated = table[table["id"].duplicated(keep=False)].sort_values("id", kind="stable")
    if len(repeated):
        first, second = repeated["path"].iloc[:2]
        raise ValueError(
            f"{first} and {second} would both have the id {repeated['id'].iloc[0]}; rename one"
        )
    return table, tree


def records_of(pictures: Sequence[Picture]) -> pd.DataFrame:
    """Pictures as a table: ``id``, the fields of :class:`Picture`, and ``label``."""
    import pandas as pd  # the command line lists data sets without it

    table = pd.DataFrame(pictures, columns=list(Picture._fields), dtype="str")
    table.insert(0, "id", pd.Series([picture.id for picture in pictures], dtype="str"))
    table["group"] = table["group"].where(table["group"] != "", table["video"])
    table["label"] = (table["manipulation"] != REAL).astype("int64")
    return table
