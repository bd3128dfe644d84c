"""From image files to arrays: an image of any common format becomes 8-bit RGB, or is refused."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
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

    from defocus_lib.data.equalise import Equalise

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
MAX_PIXELS = 64_000_000
LEAST_SIDE = 32  # px, the smallest that a defocus map is computed of
FITS = ("stretch", "crop")
Item = TypeVar("Item")
Result = TypeVar("Result")


class UnreadableImage(ValueError):
    """A file that is no image, or a damaged one; the message starts with its path."""


class Row(NamedTuple):
    """What a reader needs of a record; a row of the whole table serves as well."""

    path: str
    digest: str


def read_bytes(path: str | Path) -> bytes:
    """The content of a file; raises UnreadableImage if it cannot be opened."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{path}: can't be opened ({error.strerror or error})") from error


def decode_image(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a PNG, JPEG, BMP, WebP or TIFF file: its first frame, upright, as (H, W, 3) uint8.

    The content tells the format; ``name`` is for messages. EXIF orientation is applied. 16-bit grey
    is scaled to 8 bit, 16-bit colour keeps its high byte. Transparent pixels are laid over white.
    CMYK is converted without a colour profile.

    Raises UnreadableImage if the content is empty, in another format, damaged, by its header larger
    than ``max_pixels``, or of a mode without a known range (float, 32-bit integer, Lab).
    """
    return upright_pixels(load_image(content, name, max_pixels), name)


def load_image(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame of a file, decoded, as it is stored and with what its header says.

    Raises UnreadableImage as :func:`decode_image` does.
    """
    if not content:
        raise UnreadableImage(f"{name}: the file is empty (0 bytes)")
    opener = _opener(content)
    if opener is None:
        what = next((what for at, what in OTHERS.items() if content[at[0] :].startswith(at[1])), "")
        raise UnreadableImage(
            f"{name}: {what or 'not an image'}; PNG, JPEG, BMP, WebP or TIFF wanted"
        )
    with _damage_of(name):
        image = opener(io.BytesIO(content))
        _check_header(image, name, max_pixels)
        image.load()
        return image


def upright_pixels(image: Image.Image, name: str) -> np.ndarray:
    """The pixels of :func:`load_image` as :func:`decode_image` returns them.

    The image is turned in place. Raises UnreadableImage if its EXIF data are damaged.
    """
    with _damage_of(name):
        # Where a TIFF says that white is zero, Pillow inverts 8-bit grey, but not 16-bit grey.
        inverted = image.mode.startswith("I;16") and getattr(image, "tag_v2", {}).get(262) == 0
        ImageOps.exif_transpose(image, in_place=True)
        pixels = _to_rgb(image)
        return 255 - pixels if inverted else pixels


@contextmanager
def _damage_of(name: str) -> Iterator[None]:
    """Raise UnreadableImage that starts with ``name`` for whatever a damaged file leads to."""
    try:
        yield
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # on damaged files Pillow's parsers raise nearly anything
        reason = error or type(error).__name__
        raise UnreadableImage(f"{name}: damaged or truncated ({reason})") from error


def format_of(content: bytes) -> str:
    """The format that the first bytes of a file tell: PNG, JPEG, BMP, WEBP, TIFF, or "" for none of
    these."""
    opener = _opener(content)
    # Pillow opens a JPEG by a function, which has no format.
    return getattr(opener, "format", "JPEG") if opener else ""


def read_image(path: str | Path, longest_side: int = 0) -> np.ndarray:
    """A picture file as ``(1, 3, H, W)`` float32 in [0, 1], as :func:`defocus_maps` takes it.

    See :func:`defocus_lib.data.images.decode_image`: a rotation that the camera noted is applied,
    transparent pixels lie on white. A picture with a side above ``longest_side`` px is reduced to
    it; 0 leaves every picture as stored.

    Raises UnreadableImage, which names the file and what is wrong, if it is no PNG, JPEG, BMP, WebP
    or TIFF file, or has more than 64 million pixels; ValueError if ``longest_side`` is negative.
    """
    pixels = decode_image(read_bytes(path), str(path))
    return as_planes(reduced(pixels, longest_side))[None]


def reduced(pixels: np.ndarray, longest_side: int) -> np.ndarray:
    """(H, W, 3) uint8 with no side above ``longest_side`` px, antialiased and bilinear; 0 for any.

    A smaller picture is returned unchanged. Raises ValueError if ``longest_side`` is negative.
    """
    if longest_side < 0:
        raise ValueError(f"longest_side is {longest_side}; 0 or more wanted")
    height, width = pixels.shape[:2]
    factor = longest_side / max(height, width)
    if factor == 0 or factor >= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def find_pictures(paths: Sequence[str | Path]) -> list[Path]:
    """The files among ``paths``, and all pictures in the folders among them, by suffix, sorted.

    Hidden files and folders are passed over. Raises FileNotFoundError for a path that is not there,
    and for a folder without a picture.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path} is not there; a picture or a folder of them wanted")
        inside = [path] if not path.is_dir() else sorted(filter(_is_picture, _files_below(path)))
        if not inside:
            raise FileNotFoundError(f"{path} holds no picture; {', '.join(SUFFIXES)} wanted")
        files += inside
    return list(dict.fromkeys(files))


def passed_over(paths: Sequence[str | Path]) -> Counter[str]:
    """How many files of each suffix lie in the folders among ``paths`` that :func:`find_pictures`
    passes over; hidden ones are not counted."""
    folders = [path for path in map(Path, paths) if path.is_dir()]
    others = {file for path in folders for file in _files_below(path) if not _is_picture(file)}
    return Counter(file.suffix.lower() or "without suffix" for file in sorted(others))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _files_below(folder: Path) -> Iterator[Path]:
    """The files in a folder at any depth that are not hidden."""
    for path in folder.rglob("*"):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not is_hidden and path.is_file():
            yield path


def fit_square(pixels: np.ndarray, size: int, fit: str) -> np.ndarray:
    """Resize (H, W, 3) uint8 to ``size`` x ``size`` px, antialiased and bilinear.

    ``fit`` "stretch" uses the whole image, "crop" the largest central square. An image of this size
    is returned unchanged. Raises ValueError for another shape, dtype, size or fit.
    """
    _check_fit(size, fit, smallest=1)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(
            f"pixels has shape {pixels.shape} and dtype {pixels.dtype}; (H, W, 3) uint8 wanted"
        )
    if fit == "crop":
        length = min(pixels.shape[:2])
        top, left = ((whole - length) // 2 for whole in pixels.shape[:2])
        pixels = pixels[top : top + length, left : left + length]
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def rows_of(records: pd.DataFrame) -> list[Row]:
    """Paths and digests of a table of records, in its order."""
    return [Row(*pair) for pair in zip(records["path"], records["digest"], strict=True)]


def as_planes(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 as (3, H, W) float32 in [0, 1], the input of maps and detectors."""
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0), dtype=np.float32) / np.float32(255)


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], n_workers: int, title: str = ""
) -> Iterator[Result]:
    """The results for all items, in their order as they come; with a bar if it has a title."""
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    # Threads: decoding and hashing release the interpreter's lock, and nothing has to be pickled.
    results = Parallel(n_jobs=n_workers, prefer="threads", return_as="generator")(
        delayed(function)(item) for item in items
    )
    shown = title and items
    yield from tqdm(results, total=len(items), desc=title, unit="file", disable=not shown)


@dataclass(frozen=True)
class Reader:
    """Reads the images of a table of records, if they still are what was indexed.

    Paths of records start from ``root``. Images are brought to ``size`` px by ``fit``, see
    :func:`fit_square`; 0 leaves them as stored. Images above ``max_pixels`` are refused. With
    ``equalise``, each is first resized and compressed like all others.
    """

    root: Path
    size: int = 0
    fit: str = "stretch"
    max_pixels: int = MAX_PIXELS
    equalise: Equalise | None = None

    def __post_init__(self) -> None:
        _check_fit(self.size, self.fit, smallest=0)

    @property
    def label(self) -> str:
        """How all images are equalised, for names and tables; "" if they are not."""
        return self.equalise.label if self.equalise else ""

    def __call__(self, record: Row) -> np.ndarray:
        """The image of one record: (size, size, 3) uint8, or (H, W, 3) as stored.

        Raises UnreadableImage if it cannot be read, ValueError if it is not what was indexed.
        """
        path = Path(self.root) / record.path
        content = read_bytes(path)
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != record.digest:
            raise ValueError(
                f"{path}: changed since it was indexed (SHA-256 {sha256[:12]}..., "
                f"{record.digest[:12]}... wanted); run `python -m defocus_lib data index NAME "
                "--refresh`"
            )
        return self.prepare(self.decode(content, str(path)))

    def decode(self, content: bytes, name: str) -> np.ndarray:
        """A picture file as (H, W, 3) uint8 as stored; raises as :func:`decode_image` does."""
        return decode_image(content, name, self.max_pixels)

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """Decoded pixels (H, W, 3) uint8 as they are used: equalised, and of this size."""
        if self.equalise:
            pixels = decode_image(self.equalise.encode(pixels, self.fit), "an equalised image")
        return fit_square(pixels, self.size, self.fit) if self.size else pixels

    def stack(
        self, records: pd.DataFrame, n_workers: int = 1, progress: bool = False
    ) -> np.ndarray:
        """The images of all records in the order of the rows: (N, size, size, 3) uint8.

        ``n_workers`` are threads, -1 for one per core. Raises as for one record, and ValueError if
        there is no record or images as stored differ in size.
        """
        if len(records) == 0:
            raise ValueError("records has no row; at least one image wanted")
        rows = rows_of(records)
        title = "reading images" if progress else ""
        for index, pixels in enumerate(in_threads(self, rows, n_workers, title)):
            if index == 0:
                stacked = np.empty((len(rows), *pixels.shape), np.uint8)
            if pixels.shape != stacked.shape[1:]:
                raise ValueError(
                    f"{rows[index].path}: (H, W, 3) is {pixels.shape}, of the first image "
                    f"{stacked.shape[1:]}; one size wanted: give the reader one"
                )
            stacked[index] = pixels
        return stacked


def _check_fit(size: int, fit: str, smallest: int) -> None:
    if size < smallest:
        raise ValueError(f"size is {size}; {smallest} or more wanted")
    if fit not in FITS:
        raise ValueError(f"unknown fit {fit!r}; one of {', '.join(FITS)} wanted")


# Opened by class: Image.open warns of large images before their size can be asked, and would hand a
# file to any of Pillow's formats, PostScript among them.
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


# What is met beside them: where and with which bytes it begins.
OTHERS = {
    (0, b"GIF8"): "a GIF file",
    (4, b"ftyphe"): "a HEIC file, as phones write it",
    (4, b"ftypmif"): "a HEIC file, as phones write it",
    (4, b"ftypavif"): "an AVIF file",
    (4, b"ftyp"): "a video",
    (0, b"%PDF"): "a PDF file",
    (0, b"<svg"): "an SVG file",
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
            f"{name}: pixels of mode {image.mode!r} found; colour of 8 or 16 bit, or grey of 1 to "
            "16 bit, wanted"
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
