"""Videos: which there are, which is the target of which, and their frames as arrays.

What the names mean is that of the layouts: FaceForensics++ as its download script leaves it, and
folders ``real/`` and ``fake/`` of videos.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from defocus_lib.data.dataset import Dataset
from defocus_lib.data.layouts import FaceForensics, Folders, Originals
from defocus_lib.data.tree import Tree, stem

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")


FRAMES = 32  # of a video, where the layout takes all


class UnreadableVideo(ValueError):
    """A file that is no video, or a damaged one; the message is the reason."""


class Clip(NamedTuple):
    """A video and the folder of its crops, as relative paths.

    ``target`` is the folder of the crops of the video that it was made from, "" if there is none.
    """

    video: str
    crops: str
    target: str = ""


def with_videos(dataset: Dataset) -> FaceForensics | Folders:
    """A data set whose images can come from videos; raises ValueError if its layout has none."""
    if isinstance(dataset, FaceForensics | Folders):
        return dataset
    raise ValueError(
        f"data set {dataset.name!r} has layout {dataset.layout}; faceforensics or folders, whose "
        "images can come from videos, wanted"
    )


def frames_of(dataset: FaceForensics | Folders) -> int:
    """How many frames of each video are taken."""
    read = dataset.options.frames if isinstance(dataset, FaceForensics) else FRAMES
    return dataset.extract.frames or read


def clips_of(dataset: FaceForensics | Folders, folder: Path) -> list[Clip]:
    """The videos of a data set below ``folder``, by name.

    Raises FileNotFoundError if there is none where the layout looks for them; ValueError if two
    would have the same crops, or if the options leave no place for crops.
    """
    if isinstance(dataset, FaceForensics):
        clips = list(_faceforensics(dataset, folder))
    else:
        clips = list(_folders(dataset, folder))
    first: dict[str, str] = {}
    for clip in clips:
        if first.setdefault(clip.crops, clip.video) != clip.video:
            both = f"{first[clip.crops]} and {clip.video}"
            raise ValueError(f"{both} would both have their crops in {clip.crops}; rename one")
    return clips


def _faceforensics(dataset: FaceForensics, folder: Path) -> Iterator[Clip]:
    compression, faces = dataset.options.compression, dataset.options.faces
    if faces == "videos":
        raise ValueError(f"data set {dataset.name!r}: faces is videos; another folder wanted")
    for originals, manipulations in dataset.options.by_originals().items():
        place = f"{originals.folder}/{compression}"
        crops = f"{place}/{faces}"
        for name in _videos_in(folder, f"{place}/videos", required=True):
            yield Clip(f"{place}/videos/{name}", f"{crops}/{stem(name)}")
        for manipulation in manipulations:
            place = f"manipulated_sequences/{manipulation}/{compression}"
            for name in _videos_in(folder, f"{place}/videos"):
                target = f"{crops}/{_target(stem(name), originals)}"
                yield Clip(f"{place}/videos/{name}", f"{place}/{faces}/{stem(name)}", target)


def _target(name: str, originals: Originals) -> str:
    """The target of a fake; for an odd name the name itself, which is that of no real video."""
    match = originals.fake[0].fullmatch(name)
    return originals.target_of(match) if match else name


def _folders(dataset: Folders, folder: Path) -> Iterator[Clip]:
    """``real/<video>``, and ``fake/<video>`` or ``fake/<manipulation>/<video>``."""
    subfolder = dataset.options.subfolder
    if not subfolder.endswith("video"):
        raise ValueError(
            f"data set {dataset.name!r}: subfolder is {subfolder}; video or manipulation/video "
            "wanted (FOLDERS_SUBFOLDER), because the crops of a video get a folder of their own"
        )
    places = ["fake"]
    if subfolder == "manipulation/video" and (folder / "fake").is_dir():
        places = sorted(f"fake/{name}" for name in os.listdir(folder / "fake"))
    fakes = [f"{place}/{name}" for place in places for name in _videos_in(folder, place)]
    # Pictures may stand for one side, but a folder of videos in another form is a mistake.
    reals = [f"real/{name}" for name in _videos_in(folder, "real", required=not fakes)]
    if not fakes and (folder / "fake").is_dir():
        hint = f" (the manifest says subfolder {subfolder})"
        raise Tree(folder).nothing_in("fake", hint, what="videos")
    targets = {stem(video) for video in reals} if dataset.expects_pairs else set()
    yield from (Clip(video, stem(video)) for video in reals)
    for video in fakes:
        name = f"real/{stem(os.path.basename(video))}"
        yield Clip(video, stem(video), name if name in targets else "")


def _videos_in(folder: Path, place: str, required: bool = False) -> list[str]:
    """Names of the videos in a folder, sorted; hidden files are left out."""
    path = folder / place
    names = sorted(os.listdir(path)) if path.is_dir() else []
    videos = [n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
    if required and not videos:
        raise Tree(folder).nothing_in(place, what="videos")
    return videos


def chosen_frames(take: str, number: int, length: int = 0) -> list[int]:
    """Indices of ``number`` frames: the first, or "evenly", the middles of as many equal parts of
    ``length`` frames."""
    if take == "first":
        return list(range(number))
    return sorted({(2 * part + 1) * length // (2 * number) for part in range(number)})


def frames_in(path: Path) -> tuple[int, str]:
    """How many frames of a video can be read, and "" or that the file promises more.

    They are counted without decoding, unless some are missing. Raises UnreadableVideo if no frame
    can be read.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        promised = stream.frames
        length = sum(1 for packet in container.demux(stream) if packet.size)
        if 0 < promised <= length:
            return length, ""
    decoded = _decodable(path)
    if not decoded:
        raise UnreadableVideo("can't be decoded (no frame of it)")
    promised = max(promised, length)
    lacks = f"{decoded} of its {promised} frames can be decoded" if decoded < promised else ""
    return decoded, lacks


def _decodable(path: Path) -> int:
    """How many frames come before the first that can't be decoded."""
    number = 0
    with suppress(UnreadableVideo), _opened(path) as container:
        for _ in container.decode(container.streams.video[0]):
            number += 1
    return number


def read_frames(path: Path, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of a video at sorted ``indices``: the index, and (H, W, 3) uint8, upright.

    It ends early where the video does. Raises UnreadableVideo where it can't be decoded.
    """
    chosen = set(indices)
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # the other cores have videos of their own
        for index, frame in enumerate(container.decode(stream)):
            if index in chosen:
                pixels = frame.to_ndarray(format="rgb24")
                yield index, np.rot90(pixels, frame.rotation // 90)
            if index >= indices[-1]:
                return


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    """A video file that has a picture; errors of FFmpeg become UnreadableVideo."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UnreadableVideo("no picture in it")
            yield container
    except UnreadableVideo:
        raise
    except (av.FFmpegError, ValueError) as error:  # the latter for odd formats of pixels
        reason = getattr(error, "strerror", None) or error
        raise UnreadableVideo(f"can't be decoded ({reason})") from error
