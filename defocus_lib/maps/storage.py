"""How a map lies on disk: in half precision, compressed.

A file is a safetensors file within gzip, which any program opens that knows both. Sigma is rounded
to half precision, so it is off by at most 2^-11 of itself (and 2^-25 px): 0.002 px at 4 to 8 px.
Neighbours in a map are nearly equal. Therefore the bits of a half are stored as differences along
both axes, of alternating sign so that small ones are small numbers, and their high bytes before
their low bytes, as in TIFF (Adobe Photoshop TIFF technical note 3, 2005); that compresses to a
third of the half-precision map.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from defocus_lib.maps.kernels.compiled import exact
from defocus_lib.run.artifacts import write_beside

SUFFIX, ABOUT = ".safetensors.gz", "about"
UNREAD = "unread_edges"  # edge pixels at which blur could not be measured
LEVEL = 1  # of deflate: higher ones take twice as long and save a twentieth
HALVES = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)  # by their bits


def half_precision(plane: np.ndarray) -> np.ndarray:
    """``plane`` float32, rounded to what is stored of it; what is rounded already stays."""
    return plane.astype(np.float16).astype(np.float32)


def write_map(
    path: Path,
    planes: Mapping[str, np.ndarray],
    edges: np.ndarray,
    about: Mapping,
    valid: np.ndarray | None = None,
) -> Path:
    """Write planes ``(H, W)`` float32, edges ``(H, W)`` bool, those of them at which blur was
    ``valid``, by default all, and what they are: same map, same bytes.

    Raises ``ValueError`` if a plane holds NaN, or more than half precision can hold (65,504).
    """
    # Most edges are valid, so the others take least room.
    unread = np.zeros_like(edges) if valid is None else edges & ~valid
    arrays = {"edges": np.packbits(edges, axis=1), UNREAD: np.packbits(unread, axis=1)}
    for name, plane in planes.items():
        with np.errstate(over="ignore"):
            halves = plane.astype(np.float16)
        if not np.isfinite(halves).all():
            raise ValueError(f"{path}: {name} is not finite in half precision")
        arrays[name] = _differences(halves.view(np.uint16))
    # As one text: safetensors writes several in any order.
    content = save(arrays, {ABOUT: json.dumps(about, sort_keys=True)})
    packed = gzip.compress(content, LEVEL, mtime=0)
    return write_beside(path, lambda beside: beside.write_bytes(packed))


def read_map(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The planes ``names`` of a map ``(H, W)`` float32, and its ``edges`` and ``valid`` edges
    (H, W) bool if named.

    Raises ``FileNotFoundError`` if there is no file; ``ValueError`` if it is damaged or lacks a
    plane. The message names the file, the reason and what to do.
    """
    try:
        arrays = load(gzip.decompress(path.read_bytes()))
        return {name: _restored(name, arrays) for name in names}
    except FileNotFoundError:
        raise
    except (OSError, EOFError, zlib.error, SafetensorError, KeyError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error or type(error).__name__
        raise ValueError(f"{path}: not a readable map ({reason}); {ADVICE}") from error


ADVICE = "delete it and run again, or `python -m defocus_lib cache verify PROFILE` computes it anew"


def about_map(path: Path) -> dict:
    """What the map of a file is of, as :func:`write_map` was told."""
    content = gzip.decompress(path.read_bytes())
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    return json.loads(json.loads(header)["__metadata__"][ABOUT])


def _differences(bits: np.ndarray) -> np.ndarray:
    """``(2, H, W)`` uint8, the high and low bytes of the differences of ``bits`` (H, W) uint16."""
    steps = bits.copy()  # which wrap around, as the sums do that undo them
    steps[:, 1:] -= bits[:, :-1]
    steps[1:] -= steps[:-1].copy()
    signed = steps.view(np.int16)
    alternating = ((signed << 1) ^ (signed >> 15)).view(np.uint16)  # 0, -1, 1, -2: 0, 1, 2, 3
    return np.stack([alternating >> 8, alternating & 255]).astype(np.uint8)


def _restored(name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    bits, (_, height, width) = arrays["edges"], arrays["dense"].shape
    stored = arrays[UNREAD if name == "valid" else name]
    if bits.shape != (height, -(-width // 8)) or stored.dtype != np.uint8:
        raise ValueError(f"edges {bits.shape} do not fit dense {(height, width)}")
    if name == "valid":
        bits = bits & ~arrays[UNREAD]
    if name in ("edges", "valid"):
        return np.unpackbits(bits, axis=1, count=width).astype(bool)
    plane = np.empty((height, width), np.float32)
    if arrays[name].shape != (2, height, width):
        raise ValueError(f"{name} has shape {arrays[name].shape}; (2, {height}, {width}) wanted")
    _sum_up(arrays[name], HALVES, np.zeros(width, np.uint16), plane)
    return plane


@exact
def _sum_up(differences, halves, above, plane):
    """Undo :func:`_differences`; ``above`` holds the bits of the row before."""
    for y in range(plane.shape[0]):
        row = np.uint16(0)
        for x in range(plane.shape[1]):
            number = np.uint16(differences[0, y, x] << 8 | differences[1, y, x])
            row = np.uint16(row + np.uint16((number >> 1) ^ (0 - (number & 1))))
            above[x] = np.uint16(above[x] + row)
            plane[y, x] = halves[above[x]]
