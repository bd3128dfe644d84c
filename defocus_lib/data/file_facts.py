"""Facts about an image file that have nothing to do with what the picture shows.

Where real and fake images come from different sources, such facts may tell them apart, and a
detector may learn them instead of the manipulation (:mod:`defocus_lib.data.shortcuts`).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, JpegImagePlugin

EVEN = 8  # of 255: how far a line of a border may be from its first pixel, for JPEG blurs borders
NAMES = {
    "format": "format",
    "mode": "colour mode",
    "interlaced": "progressive or interlaced storage",
    "width": "width",
    "height": "height",
    "aspect": "aspect ratio",
    "tables": "quantisation tables",
    "quality": "JPEG quality",
    "subsampling": "chroma subsampling",
    "profile": "colour profile",
    "segments": "kinds of metadata",
    "exif": "size of the EXIF data",
    "xmp": "size of the XMP data",
    "comment": "size of comments",
    "device": "camera or software",
    "bytes_per_pixel": "bytes per pixel",
    "border_left": "constant border at the left",
    "border_top": "constant border at the top",
    "border_right": "constant border at the right",
    "border_bottom": "constant border at the bottom",
}
"""Fact -> what a reader calls it; the columns of every table of facts, in this order."""


class Facts(NamedTuple):
    """What is known of one file. Texts are "" and sizes 0 where the file has no such thing.

    ``tables`` and ``profile`` are 8 hexadecimal digits of a digest, ``quality`` is that of
    :func:`jpeg_quality` (NaN without tables), sizes of metadata are in bytes, borders in px.
    """

    format: str = ""
    mode: str = ""
    interlaced: bool = False
    width: int = 0
    height: int = 0
    aspect: float = 0.0
    tables: str = ""
    quality: float = np.nan
    subsampling: str = ""
    profile: str = ""
    segments: str = ""
    exif: int = 0
    xmp: int = 0
    comment: int = 0
    device: str = ""
    bytes_per_pixel: float = 0.0
    border_left: int = 0
    border_top: int = 0
    border_right: int = 0
    border_bottom: int = 0


def header_facts(image: Image.Image, size: int) -> Facts:
    """The facts of a file of ``size`` bytes that :func:`images.load_image` loaded; no borders."""
    width, height = image.size
    info = image.info
    return Facts(
        format=image.format or "",
        mode=image.mode,
        interlaced=bool(info.get("progressive") or info.get("interlace")),
        width=width,
        height=height,
        aspect=width / height,
        profile=_digest(info.get("icc_profile")),
        exif=len(_bytes(info.get("exif"))),
        xmp=len(_bytes(info.get("xmp"))),
        device=_device(image),
        bytes_per_pixel=size / (width * height),
        **_compression(image),
        **_metadata(image),
    )


def _compression(image: Image.Image) -> dict:
    """Tables, quality and subsampling of a JPEG file."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return {}
    tables = [image.quantization[number] for number in sorted(image.quantization)]
    subsampling = JpegImagePlugin.get_sampling(image)
    return {
        "tables": _digest(str(tables).encode()),
        "quality": jpeg_quality(tables[0]) if tables else np.nan,
        "subsampling": {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}.get(subsampling, "other"),
    }


def _metadata(image: Image.Image) -> dict:
    """Which segments or text chunks there are, and the bytes of comments."""
    segments = {
        name + (f" {content[:4].decode('ascii', 'replace')}" if name != "COM" else "")
        for name, content in getattr(image, "applist", [])
    }
    text = getattr(image, "text", {})
    comment = _bytes(image.info.get("comment"))
    written = "".join(f"{key}{value}" for key, value in text.items()).encode()
    extra = {name for name in ("dpi", "gamma", "icc_profile", "exif", "xmp") if name in image.info}
    return {
        "segments": ", ".join(sorted(segments or {*text, *extra})),
        "comment": len(comment) + len(written),
    }


MAKE, MODEL, SOFTWARE = 271, 272, 305  # tags of EXIF


def _device(image: Image.Image) -> str:
    """What made the file, as its metadata say."""
    try:
        tags = image.getexif()
    except Exception:  # of damaged EXIF data, which whoever turns the image upright reports
        return ""
    words = [str(tags.get(tag, "")).strip("\0 ") for tag in (MAKE, MODEL, SOFTWARE)]
    words.append(str(image.info.get("Software", "")))
    return " ".join(filter(None, words))[:80]


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value or "").encode()


def _digest(value: object) -> str:
    content = _bytes(value)
    return hashlib.sha256(content).hexdigest()[:8] if content else ""


@cache
def luminance_tables() -> np.ndarray:
    """(100, 64) the luminance tables that the library of the Independent JPEG Group, which Pillow
    encodes with, has for the qualities 1 to 100."""
    tables = []
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        file.seek(0)
        tables.append(JpegImagePlugin.JpegImageFile(file).quantization[0])
    return np.array(tables)


def jpeg_quality(table: Iterable[int]) -> float:
    """The quality from 1 to 100 whose luminance table is nearest to ``table`` (64 values, by rows).

    Programs that have tables of their own get the nearest one, too.
    """
    distance = np.abs(luminance_tables() - np.array(list(table), int)).sum(axis=1)
    return float(np.argmin(distance) + 1)


def with_borders(facts: Facts, pixels: np.ndarray) -> Facts:
    """The facts with the width in px of the constant border at each side of (H, W, 3) uint8.

    A line belongs to it if no value of it is more than :data:`EVEN` from the first pixel of the
    outermost line. An image of one colour is border in all directions.
    """
    columns = pixels.transpose(1, 0, 2)
    return facts._replace(
        border_left=_constant(columns),
        border_top=_constant(pixels),
        border_right=_constant(columns[::-1]),
        border_bottom=_constant(pixels[::-1]),
    )


def _constant(lines: np.ndarray) -> int:
    first = lines[0, 0].astype(int)
    for number, line in enumerate(lines):
        if np.abs(line - first).max() > EVEN:
            return number
    return len(lines)
