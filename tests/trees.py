"""Small data sets on disk, in the layout of the real ones, from photographs of scikit-image.

A video is a crop that moves over a photograph, sharp in a central oval, blurred around it. A fake
is the real frame with the oval altered. Each manipulation is another operation that leaves a trace,
so that a detector can learn something. No photograph shows a face. Same arguments, same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import data

FORGERIES = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
FOREIGN = {
    ".DS_Store": b"\x00\x00\x00\x01Bud1",
    "Thumbs.db": b"\xd0\xcf\x11\xe0",
    "notes.txt": b"to do\n",
}
ODD_NAMES = ("000 (copy)", "__MACOSX", ".hidden", "1", "000_001_002", "täst_übung")


def faceforensics(
    root: Path,
    videos: int = 10,
    frames: int = 3,
    size: int = 64,
    manipulations: Sequence[str] = FORGERIES,
    compression: str = "c23",
    faces: str = "v1faces",
    seed: int = 0,
) -> Path:
    """FaceForensics++: an even number of videos, as many fakes per manipulation, split lists."""
    folders = {"real": root / "original_sequences" / "youtube" / compression / faces}
    folders |= {
        name: root / "manipulated_sequences" / name / compression / faces for name in manipulations
    }
    clips = [
        clip(np.random.default_rng([seed, video]), video, frames, size) for video in range(videos)
    ]
    for target, source in [ids for pair in _pairs(videos) for ids in (pair, pair[::-1])]:
        real = clips[int(target)]
        _write_clip(folders["real"] / target, real)
        for name in manipulations:
            fake = [forge(name, *both) for both in zip(real, clips[int(source)], strict=True)]
            _write_clip(folders[name] / f"{target}_{source}", fake)
    official_splits(root, videos)
    return root


def official_splits(root: Path, videos: int, seed: int = 0) -> Path:
    """Write ``splits/{train,val,test}.json``, about 72:14:14, each pair of ids once; the folder."""
    pairs = np.random.default_rng(seed).permutation(_pairs(videos)).tolist()
    held_out = max(1, round(0.14 * len(pairs)))
    parts = {
        "val": pairs[:held_out],
        "test": pairs[held_out : 2 * held_out],
        "train": pairs[2 * held_out :],
    }
    (root / "splits").mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        (root / "splits" / f"{name}.json").write_text(json.dumps(part), encoding="utf-8")
    return root / "splits"


def cifake(root: Path, train: int = 20, test: int = 10, size: int = 32, seed: int = 0) -> Path:
    """CIFAKE. Real and fake images share file names, as in the original, and no content."""
    for split, number in (("train", train), ("test", test)):
        for index in range(number):
            rng = np.random.default_rng([seed, split == "test", index])
            name = f"{index // 2:04d}{' (2)' * (index % 2)}.jpg"
            real, other = (still(rng, size) for _ in range(2))
            _write(root / split / "REAL" / name, real)
            _write(root / split / "FAKE" / name, forge("Deepfakes", other, real))
    return root


def diffusiondb(root: Path, images: int = 12, size: int = 64, seed: int = 0) -> Path:
    """DiffusionDB: a flat folder of generated PNG."""
    for index in range(images):
        rng = np.random.default_rng([seed, 1, index])
        _write(
            root / f"{rng.bytes(8).hex()}.png",
            forge("Deepfakes", still(rng, size), still(rng, size)),
        )
    return root


def coco(root: Path, images: int = 12, size: int = 64, seed: int = 0) -> Path:
    """COCO: real JPEG in nested folders, no square among them."""
    for index in range(images):
        rng = np.random.default_rng([seed, 2, index])
        pixels = still(rng, size)[: size * 3 // 4]
        pixels = pixels if index % 2 else pixels.transpose(1, 0, 2)
        _write(
            root / ("train2017", "val2017")[index % 3 == 0] / f"{7 * index + 9:012d}.jpg", pixels
        )
    return root


def folders(
    root: Path,
    grouped: bool = False,
    clips: int = 10,
    frames: int = 2,
    size: int = 64,
    seed: int = 0,
) -> Path:
    """``real/`` and ``fake/`` with the same file names; ``grouped``: with a subfolder per clip."""
    for index in range(clips):
        real = clip(np.random.default_rng([seed, 3, index]), index, frames if grouped else 1, size)
        fake = [forge("NeuralTextures", frame, frame) for frame in real]
        for kind, pictures in (("real", real), ("fake", fake)):
            if grouped:
                _write_clip(root / kind / f"clip {index}", pictures)
            else:
                _write(root / kind / f"photo-{index:03d}.png", pictures[0])
    return root


def truncate(path: Path) -> Path:
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def empty(path: Path) -> Path:
    """Leave nothing of a file but its name."""
    path.write_bytes(b"")
    return path


def not_an_image(path: Path) -> Path:
    """Put text where an image was."""
    path.write_text("this is a text\n" * 20)
    return path


def foreign_files(folder: Path) -> list[Path]:
    """Put in a folder what file managers and people leave there."""
    for name, content in FOREIGN.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in FOREIGN]


def odd_folders(parent: Path, picture: Path) -> list[Path]:
    """Make folders with names that no layout has, a copy of ``picture`` in each."""
    for name in ODD_NAMES:
        (parent / name).mkdir()
        shutil.copy(picture, parent / name)
    return [parent / name for name in ODD_NAMES]


@cache
def photographs() -> list[np.ndarray]:
    """``(H, W, 3)`` uint8 each."""
    shelf = (
        data.chelsea,
        data.coffee,
        data.brick,
        data.coins,
        data.gravel,
        data.rocket,
        data.grass,
    )
    return [np.array(Image.fromarray(load()).convert("RGB")) for load in shelf]


def still(rng: np.random.Generator, size: int) -> np.ndarray:
    """A square of any photograph, ``(size, size, 3)`` float in [0, 1]."""
    return clip(rng, int(rng.integers(len(photographs()))), 1, size)[0]


def clip(rng: np.random.Generator, number: int, frames: int, size: int) -> list[np.ndarray]:
    """The frames of a clip, (size, size, 3) float in [0, 1] each, from photograph ``number``."""
    photograph = photographs()[number % len(photographs())]
    start, side = _window(photograph, rng, size, room=2 * frames)
    spread, oval, flipped = rng.uniform(1.2, 2.2) * size / 64, _oval(size), rng.random() < 0.5
    made = []
    for index in range(frames):
        top, left = start[0] + index, start[1] + 2 * index
        square = photograph[top : top + side, left : left + side][:, :: -1 if flipped else 1]
        sharp = np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BOX)) / 255
        frame = oval * sharp + (1 - oval) * ndimage.gaussian_filter(sharp, (spread, spread, 0))
        made.append(np.clip(frame + rng.normal(0, 0.004, frame.shape), 0, 1))
    return made


def _window(
    photograph: np.ndarray, rng: np.random.Generator, size: int, room: int
) -> tuple[tuple[int, int], int]:
    """Corner and width of a square with contrast (no night sky) and with room to move."""
    short = min(photograph.shape[:2]) - room
    for _ in range(20):
        side = int(rng.integers(min(2 * size, short * 2 // 3), short * 4 // 5))
        top, left = (
            int(rng.integers(0, length - side - room + 1)) for length in photograph.shape[:2]
        )
        if photograph[top : top + side, left : left + side].std() > 25:
            break
    return (top, left), side


def _oval(size: int) -> np.ndarray:
    """``(size, size, 1)`` in [0, 1]: the place of a face, with a soft outline."""
    y, x = (np.indices((size, size)) + 0.5) / size - 0.5
    inside = (x / 0.3) ** 2 + (y / 0.38) ** 2 < 1
    return ndimage.gaussian_filter(inside.astype(float), size / 64)[..., None]


def forge(name: str, real: np.ndarray, source: np.ndarray) -> np.ndarray:
    """``real`` with its oval altered, (size, size, 3) float in [0, 1]."""
    oval = _oval(len(real))
    return np.clip(real + oval * (OPERATIONS[name](real, source) - real), 0, 1)


def _decoded(real: np.ndarray, _source: np.ndarray) -> np.ndarray:
    low = real[::3, ::3]
    return np.stack(
        [ndimage.zoom(c, len(real) / len(low), order=1) for c in low.transpose(2, 0, 1)], 2
    )


def _moved(real: np.ndarray, _source: np.ndarray) -> np.ndarray:
    return ndimage.shift(real, (1.5, 2.5, 0), order=1, mode="nearest")


def _pasted(real: np.ndarray, source: np.ndarray) -> np.ndarray:
    return source - source.mean((0, 1)) + real.mean((0, 1))


def _textured(real: np.ndarray, _source: np.ndarray) -> np.ndarray:
    grid = np.indices(real.shape[:2]).sum(0)[..., None] % 2
    return ndimage.uniform_filter(real, (3, 3, 1)) + 0.04 * (grid - 0.5)


def _mixed(real: np.ndarray, source: np.ndarray) -> np.ndarray:
    return 0.5 * real + 0.5 * ndimage.gaussian_filter(_pasted(real, source), (1, 1, 0))


OPERATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "Deepfakes": _decoded,
    "Face2Face": _moved,
    "FaceShifter": _mixed,
    "FaceSwap": _pasted,
    "NeuralTextures": _textured,
}


def _pairs(videos: int) -> list[tuple[str, str]]:
    """Ids that are each other's source, ("000", "001") and so on."""
    if videos % 2:
        raise ValueError(f"videos is {videos}; an even number wanted, they come in pairs")
    return [(f"{first:03d}", f"{first + 1:03d}") for first in range(0, videos, 2)]


def _write_clip(folder: Path, frames: Sequence[np.ndarray]) -> None:
    for index, frame in enumerate(frames):
        _write(folder / f"{index:04d}.png", frame)


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 92} if path.suffix == ".jpg" else {"compress_level": 1}
    Image.fromarray(np.rint(255 * pixels).astype(np.uint8)).save(path, **options)
