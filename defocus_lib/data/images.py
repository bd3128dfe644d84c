"""From image files to arrays: whatever a folder of pictures holds becomes 8-bit RGB, or is refused by name."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from PIL import (
    BmpImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
MAX_PIXELS = 64_000_000
FITS = ("stretch", "crop")


class UnreadableImage(ValueError):
    """A file that is no image, or none that can be trusted; the message starts with its path."""


class Row(NamedTuple):
    """What a reader needs of a record. A row of the whole table serves as well."""

    path: str
    digest: str


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file as 8-bit RGB.

    See :func:`decode_image` for what becomes of other modes.

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    UnreadableImage
        If there is no such file, it can't be opened, or it is refused by :func:`decode_image`.
    """
    return decode_image(_read_bytes(path), str(path), max_pixels)


def decode_image(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode the bytes of a PNG, JPEG, BMP, WebP or TIFF file: the first frame, upright, as 8-bit RGB.

    The format is told by the content. EXIF orientation is applied. 16-bit grey is scaled to 8 bit; 16-bit colour keeps
    its high byte. Transparent pixels are laid over white. CMYK is converted without a colour profile.

    Parameters
    ----------
    content : bytes
    name : str
        The path, for messages.
    max_pixels : int
        More than this is refused, as the header says and before anything is decoded.

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    UnreadableImage
        If the content is empty, in another format, damaged, too large, or of a mode without a range that is known
        (float, 32-bit integer, Lab).
    """
    if not content:
        raise UnreadableImage(f"{name}: the file is empty (0 bytes)")
    opener = _opener(content)
    if opener is None:
        raise UnreadableImage(f"{name}: not an image; PNG, JPEG, BMP, WebP or TIFF wanted")
    try:
        image = opener(io.BytesIO(content))
        _check_header(image, name, max_pixels)
        # Pillow turns 8-bit grey round where a TIFF says that white is zero, and leaves 16-bit grey as it is.
        inverted = image.mode.startswith("I;16") and getattr(image, "tag_v2", {}).get(262) == 0
        ImageOps.exif_transpose(image, in_place=True)  # decodes
        pixels = _to_rgb(image)
        return 255 - pixels if inverted else pixels
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # on damaged files Pillow's parsers raise nearly anything
        raise UnreadableImage(
            f"{name}: damaged or truncated ({error or type(error).__name__})"
        ) from error


def fit_square(pixels: np.ndarray, size: int, fit: str) -> np.ndarray:
    """Bring an image to ``size`` x ``size`` by antialiased bilinear resizing.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
    size : int
        Side in px. An image of this size is returned as it is.
    fit : {"stretch", "crop"}
        Stretch the whole image, or take the square in its centre first.

    Returns
    -------
    (size, size, 3) uint8

    Raises
    ------
    ValueError
        If shape, dtype, size or fit is another one.
    """
    _check_fit(size, fit, smallest=1)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(
            f"pixels has shape {pixels.shape} and dtype {pixels.dtype}; (H, W, 3) uint8 wanted"
        )
    if fit == "crop":
        side = min(pixels.shape[:2])
        top, left = ((length - side) // 2 for length in pixels.shape[:2])
        pixels = pixels[top : top + side, left : left + side]
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def rows_of(records: pd.DataFrame) -> list[Row]:
    """Paths and digests of a table of records, in its order."""
    return [
        Row(path, digest) for path, digest in zip(records["path"], records["digest"], strict=True)
    ]


def as_planes(pixels: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` uint8 as ``(3, H, W)`` float32 in [0, 1]: what maps and detectors take."""
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0), dtype=np.float32) / np.float32(255)


@dataclass(frozen=True)
class Reader:
    """Reads the images of a table of records, if they still are what was indexed.

    Attributes
    ----------
    root : Path
        The records' paths are relative to it.
    size : int
        Side in px that every image is brought to; 0 leaves them as stored.
    fit : {"stretch", "crop"}
        See :func:`fit_square`.
    max_pixels : int
        See :func:`decode_image`.
    """

    root: Path
    size: int = 0
    fit: str = "stretch"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        _check_fit(self.size, self.fit, smallest=0)

    def __call__(self, record: Row) -> np.ndarray:
        """The image of one record, ``(size, size, 3)`` uint8, or ``(H, W, 3)`` as stored.

        Raises
        ------
        UnreadableImage
            If it can't be read.
        ValueError
            If the file is not the one that was indexed.
        """
        path = Path(self.root) / record.path
        content = _read_bytes(path)
        found = hashlib.sha256(content).hexdigest()
        if found != record.digest:
            raise ValueError(
                f"{path}: changed since it was indexed (SHA-256 {found[:12]}..., {record.digest[:12]}... wanted); "
                "run `python -m defocus_lib data index NAME --refresh`"
            )
        pixels = decode_image(content, str(path), self.max_pixels)
        return fit_square(pixels, self.size, self.fit) if self.size else pixels

    def stack(
        self, records: pd.DataFrame, n_workers: int = 1, progress: bool = False
    ) -> np.ndarray:
        """The images of all records in the order of the rows, ``(N, size, size, 3)`` uint8.

        Parameters
        ----------
        records : DataFrame
            Columns ``path`` and ``digest``.
        n_workers : int
            Threads; -1 takes every core.
        progress : bool
            Show a progress bar.

        Raises
        ------
        UnreadableImage, ValueError
            As for one record; also if there is no record, or images as stored differ in size.
        """
        from tqdm.auto import tqdm

        if len(records) == 0:
            raise ValueError("records has no row; at least one image wanted")
        rows = rows_of(records)
        read = Parallel(n_jobs=n_workers, prefer="threads", return_as="generator")(
            delayed(self)(row) for row in rows
        )
        bar = tqdm(read, total=len(rows), desc="reading images", unit="image", disable=not progress)
        stacked = None
        for index, pixels in enumerate(bar):
            stacked = np.empty((len(rows), *pixels.shape), np.uint8) if stacked is None else stacked
            if pixels.shape != stacked.shape[1:]:
                raise ValueError(
                    f"{rows[index].path}: (H, W, 3) is {pixels.shape}, of the first image {stacked.shape[1:]}; "
                    "one size wanted: give the reader one"
                )
            stacked[index] = pixels
        return stacked


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{path}: can't be opened ({error.strerror or error})") from error


def _check_fit(size: int, fit: str, smallest: int) -> None:
    if size < smallest:
        raise ValueError(f"size is {size}; {smallest} or more wanted")
    if fit not in FITS:
        raise ValueError(f"unknown fit {fit!r}; one of {', '.join(FITS)} wanted")


# Opened by class, not by Image.open: that warns of large images before their size can be asked, and would hand a file
# to any of Pillow's formats, PostScript among them.
OPENERS: dict[bytes, Callable[[io.BytesIO], Image.Image]] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.jpeg_factory,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"II*\x00": TiffImagePlugin.TiffImageFile,
    b"MM\x00*": TiffImagePlugin.TiffImageFile,
    b"II+\x00": TiffImagePlugin.TiffImageFile,  # BigTIFF
    b"MM\x00+": TiffImagePlugin.TiffImageFile,
}


def _opener(content: bytes) -> Callable[[io.BytesIO], Image.Image] | None:
    return next((opener for start, opener in OPENERS.items() if content.startswith(start)), None)


# Modes whose pixels have one known meaning in 8 bit.
PLAIN_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LA", "PA", "RGBA", "RGBa")


def _check_header(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise UnreadableImage(
            f"{name}: the header claims {width}x{height} px; at most {max_pixels:,} px wanted"
        )
    if image.mode not in PLAIN_MODES and not image.mode.startswith("I;16"):
        raise UnreadableImage(
            f"{name}: pixels of mode {image.mode!r} found; colour of 8 or 16 bit, or grey of 1 to 16 bit, wanted"
        )


def _to_rgb(image: Image.Image) -> np.ndarray:
    """A decoded image as ``(H, W, 3)`` uint8."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint32)
        grey[grey == image.info.get("transparency", -1)] = 65535
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))
