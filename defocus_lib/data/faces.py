"""Where the face is: the faces of a frame, one of them followed through a video, its square."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from facenet_pytorch import MTCNN

DETECTOR = "facenet-pytorch MTCNN"
THRESHOLDS = [0.6, 0.7, 0.9]  # of the three networks; the last keeps 90 % sure faces only
SMALLEST, SMALLEST_PX = 1 / 16, 20  # of a face: share of the shorter side of the frame, in px
LEAST_OVERLAP = 0.1  # of a face with itself in the next frame; it moved by 4/5 of its width then


class NoFace(ValueError):
    """A frame in which there is no face to crop; the message is the reason."""


class Square(NamedTuple):
    """A piece of a frame: its corner and its side in px."""

    left: int
    top: int
    side: int

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """The piece of (H, W, 3): (side, side, 3), a view."""
        return pixels[self.top : self.top + self.side, self.left : self.left + self.side]


@cache
def _network() -> MTCNN:
    """The three networks of Zhang et al. (2016), whose weights lie in the package."""
    import torch
    from facenet_pytorch import MTCNN

    with torch.random.fork_rng(devices=[]):  # the weights are drawn before they are loaded
        return MTCNN(keep_all=True, thresholds=THRESHOLDS)


def find_faces(pixels: np.ndarray) -> np.ndarray:
    """The faces of (H, W, 3) uint8, by a multi-task cascade (Zhang et al. 2016, MTCNN).

    Returns (N, 4) float64: left, top, right, bottom in px. Raises NoFace if the detector fails,
    which it does on boxes at the border of some frames.
    """
    shorter = min(pixels.shape[:2])
    if shorter < SMALLEST_PX:
        return np.empty((0, 4))
    network = _network()
    network.min_face_size = max(SMALLEST_PX, SMALLEST * shorter)
    try:
        boxes, _ = network.detect(np.ascontiguousarray(pixels))
    except (RuntimeError, IndexError) as error:
        raise NoFace(f"the detector failed: {error}") from error
    return np.empty((0, 4)) if boxes is None else np.asarray(boxes, dtype=np.float64)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of (N, 4) boxes in px: (N,); 0 where a side would be negative."""
    return np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of (N, 4): (N,) in [0, 1]."""
    corners = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = areas(np.concatenate(corners, axis=1))
    union = areas(box[None]) + areas(boxes) - common
    return common / np.where(union > 0, union, 1)


def follow(boxes: np.ndarray, last: np.ndarray | None) -> np.ndarray:
    """The box, of (N, 4), of the face that is followed, where ``last`` is its last box.

    It is the largest to begin with, later the one with the largest overlap. Raises NoFace.
    """
    if len(boxes) == 0:
        raise NoFace("no face in it")
    if last is None:
        return boxes[np.argmax(areas(boxes))]
    shared = overlaps(last, boxes)
    if shared.max() < LEAST_OVERLAP:
        raise NoFace("the face that is followed is not in it, another is")
    return boxes[np.argmax(shared)]


def square_around(box: np.ndarray, margin: float, height: int, width: int) -> Square:
    """The square around a box, larger by the share ``margin``, moved into the frame.

    A square that is larger than the frame gets its shorter side.
    """
    left, top, right, bottom = box
    side = min(round((1 + margin) * max(right - left, bottom - top)), height, width)
    corner = (
        int(np.clip(round((low + high - side) / 2), 0, whole - side))
        for low, high, whole in ((left, right, width), (top, bottom, height))
    )
    return Square._make([*corner, side])


class Follower:
    """The square of the one face that is followed, frame after frame."""

    def __init__(self, margin: float) -> None:
        self.margin = margin
        self.last: np.ndarray | None = None

    def __call__(self, _: str, pixels: np.ndarray) -> Square:
        """The square in the next frame, (H, W, 3) uint8; raises NoFace."""
        self.last = follow(find_faces(pixels), self.last)
        return square_around(self.last, self.margin, *pixels.shape[:2])
