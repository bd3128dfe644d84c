"""Videos of a known face: a window that moves over scikit-image's photograph of an astronaut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image
from skimage import data

FACE = (180, 62, 266, 174)  # of Eileen Collins in the photograph: left, top, right, bottom
SIDE = 240  # of a frame


def window(index: int) -> tuple[int, int, int]:
    """Left, top and side, in the photograph, of frame ``index``: it moves, and comes closer."""
    return 60 + 3 * index, 2 * index, 300 - 4 * index


def frame(index: int, photograph: np.ndarray | None = None) -> np.ndarray:
    """(240, 240, 3) uint8."""
    left, top, side = window(index)
    image = Image.fromarray(data.astronaut() if photograph is None else photograph)
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box))


def face(index: int) -> np.ndarray:
    """Left, top, right and bottom of the face in frame ``index``."""
    left, top, side = window(index)
    return (np.array(FACE) - (left, top, left, top)) * SIDE / side


def person(video: int) -> np.ndarray:
    """The photograph in the light of video 0 or 1."""
    return data.astronaut() if video == 0 else data.astronaut() // 2 + 40


def altered(photograph: np.ndarray, turn: int = 1) -> np.ndarray:
    """A photograph with another colour in the face: red, green and blue in another order."""
    photograph = photograph.copy()
    left, top, right, bottom = FACE
    inner = photograph[top + 30 : bottom - 20, left + 20 : right - 20]
    inner[...] = np.roll(inner, turn, axis=2)
    return photograph


def moving(frames: int, photograph: np.ndarray | None = None) -> list[np.ndarray]:
    """The first frames of a video."""
    return [frame(index, photograph) for index in range(frames)]


def without_face(frames: int) -> list[np.ndarray]:
    """A cup of coffee."""
    picture = Image.fromarray(data.coffee()).resize((SIDE, SIDE))
    return [np.asarray(picture)] * frames


def encode(path: Path, frames: Sequence[np.ndarray]) -> Path:
    """Write H.264, one key frame at the start, its index in front (as videos for the web are)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "threads": "1"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def faceforensics(root: Path, manipulations: Sequence[str], frames: int) -> Path:
    """FaceForensics++ as it is downloaded: two targets and their fakes, one frame shorter."""
    for video, pair in enumerate(("000_001", "001_000")):
        place = root / "original_sequences/youtube/c23/videos"
        encode(place / f"{pair[:3]}.mp4", moving(frames, person(video)))
        for turn, name in enumerate(manipulations, 1):
            place = root / f"manipulated_sequences/{name}/c23/videos"
            encode(place / f"{pair}.mp4", moving(frames - 1, altered(person(video), turn)))
    return root
