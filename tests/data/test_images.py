import hashlib
import pickle
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from defocus_lib.data import images
from defocus_lib.data.images import (
    MAX_PIXELS,
    SUFFIXES,
    Reader,
    Row,
    UnreadableImage,
    as_planes,
    decode_image,
    fit_square,
    read_bytes,
)
from tests import trees

BIT_DEPTHS = {np.dtype("uint8"): 8, np.dtype("uint16"): 16}
PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # by number of channels


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(values: np.ndarray, size: tuple[int, int] | None = None, extra: bytes = b"") -> bytes:
    """A PNG written by hand: (H, W, channels) uint8 or uint16; its header claims ``size``."""
    height, width, channels = values.shape
    width, height = size or (width, height)
    header = struct.pack(
        ">IIBBBBB", width, height, BIT_DEPTHS[values.dtype], PNG_COLOUR[channels], 0, 0, 0
    )
    rows = b"".join(b"\0" + row.astype(values.dtype.newbyteorder(">")).tobytes() for row in values)
    parts = chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    return decode_image(read_bytes(path), str(path), max_pixels)


def grey_of(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3, axis=2).astype(np.uint8)


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


@pytest.fixture
def colour():
    """``(5, 7, 3)`` uint8, no two rows or columns alike."""
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def ramp():
    """``(4, 16)`` uint8, 64 levels from 0 to 252."""
    return np.arange(0, 256, 4, dtype=np.uint8).reshape(4, 16)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".webp", ".PNG", ".Tiff"])
def test_lossless_formats_come_back_as_they_were(tmp_path, colour, suffix):
    read = read_image(save(tmp_path / f"a{suffix}", Image.fromarray(colour), lossless=True))
    assert read.dtype == np.uint8 and read.flags.writeable and suffix.lower() in SUFFIXES
    np.testing.assert_array_equal(read, colour)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(tmp_path, photograph, progressive):
    pixels = np.rint(255 * photograph("coffee", 64).transpose(1, 2, 0)).astype(np.uint8)
    path = save(
        tmp_path / "a.JPG",
        Image.fromarray(pixels),
        quality=95,
        subsampling=0,
        progressive=progressive,
    )
    assert (b"\xff\xc2" in path.read_bytes()) == progressive  # the marker of a progressive frame
    assert np.abs(read_image(path).astype(int) - pixels).mean() < 3


def test_the_format_is_told_by_the_content(tmp_path, colour):
    path = save(tmp_path / "a.bmp", Image.fromarray(colour)).rename(tmp_path / "a.jpeg")
    np.testing.assert_array_equal(read_image(path), colour)


def test_grey_and_bilevel(tmp_path, ramp):
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "l.png", Image.fromarray(ramp))), grey_of(ramp)
    )
    bits = ramp % 8 == 0
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "1.png", Image.fromarray(bits))), grey_of(255 * bits)
    )


def test_palette(tmp_path, ramp):
    table = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    image = Image.fromarray(ramp, "L")
    image.putpalette(table.tobytes())
    assert image.mode == "P"
    np.testing.assert_array_equal(read_image(save(tmp_path / "p.png", image)), table[ramp])
    # One level clear, one half clear, as a PNG's tRNS chunk lists them.
    alpha = np.full(256, 255, np.uint8)
    alpha[[8, 40]] = 0, 128
    read = read_image(save(tmp_path / "clear.png", image, transparency=alpha.tobytes()))
    np.testing.assert_allclose(read, over_white(table[ramp], alpha[ramp]), atol=0.75)
    assert (read[ramp == 8] == 255).all()


def test_alpha_is_laid_over_white(tmp_path, colour, ramp):
    alpha = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7
    read = read_image(write(tmp_path / "rgba.png", png(np.dstack([colour, alpha]))))
    np.testing.assert_allclose(read, over_white(colour, alpha), atol=0.75)
    read = read_image(write(tmp_path / "la.png", png(np.dstack([ramp, ramp[::-1]]))))
    np.testing.assert_allclose(read, over_white(grey_of(ramp), ramp[::-1]), atol=0.75)
    half = np.zeros((2, 2, 4), np.uint8)
    half[..., 3] = 128
    assert (read_image(write(tmp_path / "half.png", png(half))) == 127).all()


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    wanted = grey_of(np.rint(values / 65535 * 255))
    np.testing.assert_array_equal(
        read_image(write(tmp_path / "a.png", png(values[..., None]))), wanted
    )
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "a.tif", Image.fromarray(values))), wanted
    )
    big_endian = b"MM\0*" + struct.pack(">I", 8 + values.nbytes) + values.astype(">u2").tobytes()
    entries = [
        (256, 8),
        (257, 8),
        (258, 16),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 8),
        (279, values.nbytes),
    ]
    table = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in entries)
    path = write(
        tmp_path / "b.tif", big_endian + struct.pack(">H", len(entries)) + table + bytes(4)
    )
    np.testing.assert_array_equal(read_image(path), wanted)


def test_16_bit_colour_and_grey_with_alpha(tmp_path, colour):
    deep = colour.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", png(deep))), colour)
    read = read_image(write(tmp_path / "b.png", png(deep[..., :2])))
    np.testing.assert_allclose(read, over_white(grey_of(colour[..., 0]), colour[..., 1]), atol=0.75)


def test_the_clear_level_of_16_bit_grey(tmp_path):
    values = np.array([[[0], [1000]], [[30000], [65535]]], np.uint16)
    path = write(tmp_path / "a.png", png(values, extra=chunk(b"tRNS", struct.pack(">H", 1000))))
    np.testing.assert_array_equal(read_image(path)[..., 0], [[0, 255], [117, 255]])


def test_cmyk(tmp_path):
    inks = np.random.default_rng(2).integers(0, 256, (4, 4, 4), dtype=np.uint8)
    paper = 255 * (1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255)
    read = read_image(save(tmp_path / "a.tif", Image.fromarray(inks, "CMYK")))
    np.testing.assert_allclose(read, paper, atol=1)


TURNED_BACK = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNED_BACK)
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg"])
def test_exif_orientation(tmp_path, colour, orientation, suffix):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a{suffix}"
    if suffix == ".jpg":  # flat blocks of 8 px survive JPEG
        colour = colour.repeat(8, 0).repeat(8, 1)
    save(path, Image.fromarray(colour), exif=exif, lossless=True, quality=100, subsampling=0)
    wanted = TURNED_BACK[orientation](colour)
    np.testing.assert_allclose(
        read_image(path).astype(int), wanted, atol=12 if suffix == ".jpg" else 0
    )


def test_of_several_frames_the_first_is_read(tmp_path, colour):
    frames = [Image.fromarray(colour), Image.fromarray(255 - colour)]
    path = save(tmp_path / "a.tif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(path), colour)


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [("F", np.float32), ("I", np.int32), ("LAB", np.uint8)],
    ids=["float", "32 bit", "Lab"],
)
def test_other_modes_are_refused_by_name(tmp_path, mode, dtype):
    shape = (4, 4, 3) if mode == "LAB" else (4, 4)
    path = save(tmp_path / "a.tif", Image.fromarray(np.ones(shape, dtype), mode))
    with pytest.raises(UnreadableImage, match=rf"a\.tif: pixels of mode '{mode}' found"):
        read_image(path)


FORMATS = {
    "a.png": {},
    "a.jpg": {},
    "progressive.jpg": {"progressive": True},
    "a.bmp": {},
    "a.webp": {},
    "a.tif": {},
    "packed.tif": {"compression": "tiff_lzw"},
}


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore:(Corrupt EXIF|Truncated File)")
def test_a_truncated_file_is_refused(tmp_path, photograph, name, share):
    pixels = np.rint(255 * photograph("coffee", 64).transpose(1, 2, 0)).astype(np.uint8)
    path = save(tmp_path / name, Image.fromarray(pixels), **FORMATS[name])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UnreadableImage) as refused:
        read_image(path)
    assert str(refused.value).startswith(f"{path}: damaged or truncated")


def test_what_is_no_image_is_refused_with_its_path(tmp_path, colour):
    def spoilt(name, spoil):
        return spoil(save(tmp_path / name, Image.fromarray(colour)))

    postscript = tmp_path / "a.eps"
    Image.fromarray(colour).save(postscript)
    folder = tmp_path / "folder.png"
    folder.mkdir()
    reasons = {
        spoilt("empty.png", trees.empty): "empty (0 bytes)",
        spoilt("text.png", trees.not_an_image): "not an image",
        postscript.rename(tmp_path / "eps.png"): "not an image",
        write(tmp_path / "sound.webp", b"RIFF\x24\0\0\0WAVEfmt " + bytes(24)): "damaged",
        write(tmp_path / "header.png", png(np.zeros((1, 1, 3), np.uint8))[:20]): "damaged",
        folder: "can't be opened",
        tmp_path / "none.png": "No such file",
    }
    for path, reason in reasons.items():
        with pytest.raises(UnreadableImage) as refused:
            read_image(path)
        assert str(refused.value).startswith(f"{path}: ") and reason in str(refused.value)


@pytest.mark.parametrize(
    "side", [100_000, 10_000]
)  # Pillow itself would refuse the first, and warn of the second
def test_a_huge_image_is_refused_by_its_header(tmp_path, side):
    path = write(tmp_path / "bomb.png", png(np.zeros((1, 1, 3), np.uint8), size=(side, side)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            UnreadableImage, match=rf"bomb\.png: the header claims {side}x{side} px; at most 64,000"
        ):
            read_image(path)
        with pytest.raises(
            UnreadableImage, match="damaged"
        ):  # allowed by size, it is found to hold one pixel
            read_image(
                write(path, png(np.zeros((1, 1, 3), np.uint8), size=(9500, 9500))),
                max_pixels=9500**2,
            )


def test_the_limit_is_the_number_of_pixels(tmp_path, colour):
    path = save(tmp_path / "a.png", Image.fromarray(colour))
    assert read_image(path, max_pixels=35).shape == (5, 7, 3)
    with pytest.raises(UnreadableImage, match="7x5 px; at most 34 px"):
        read_image(path, max_pixels=34)
    assert MAX_PIXELS == 64_000_000


@pytest.mark.parametrize("size", [24, 90])
def test_stretch_is_antialiased_bilinear(photograph, size):
    image = photograph("coffee", 64)[:, :, :48]
    pixels = np.rint(255 * image.transpose(1, 2, 0)).astype(np.uint8)
    wanted = F.interpolate(
        torch.from_numpy(image)[None], (size, size), mode="bilinear", antialias=True
    )[0]
    resized = fit_square(pixels, size, "stretch")
    assert resized.shape == (size, size, 3) and resized.dtype == np.uint8
    np.testing.assert_allclose(as_planes(resized), wanted.clamp(0, 1), atol=1.5 / 255)


def test_crop_takes_the_centre(colour):
    np.testing.assert_array_equal(fit_square(colour, 5, "crop"), colour[:, 1:6])
    np.testing.assert_array_equal(
        fit_square(colour.transpose(1, 0, 2), 5, "crop"), colour.transpose(1, 0, 2)[1:6]
    )
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (fit_square(wide, 4, "crop") == 200).all() and fit_square(wide, 4, "stretch").min() < 10


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_an_image_of_the_size_is_left_alone(colour, fit):
    assert fit_square(colour[:, :5], 5, fit).tobytes() == colour[:, :5].tobytes()


@pytest.mark.parametrize(
    ("pixels", "size", "fit", "message"),
    [
        (np.zeros((4, 4), np.uint8), 4, "crop", r"shape \(4, 4\)"),
        (np.zeros((4, 4, 3)), 4, "crop", "float64"),
        (np.zeros((0, 4, 3), np.uint8), 4, "crop", r"\(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), 0, "crop", "size is 0"),
        (np.zeros((4, 4, 3), np.uint8), 4, "pad", "unknown fit 'pad'; one of stretch, crop"),
    ],
)
def test_fit_square_checks_its_arguments(pixels, size, fit, message):
    with pytest.raises(ValueError, match=message):
        fit_square(pixels, size, fit)


@pytest.fixture
def shelf(tmp_path):
    """A root with six pictures of two sizes, and their records."""
    trees.coco(tmp_path / "coco", images=6, size=48)
    paths = sorted((tmp_path / "coco").rglob("*.jpg"))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return tmp_path, pd.DataFrame(
        {"path": [p.relative_to(tmp_path).as_posix() for p in paths], "digest": digests}
    )


def test_a_reader_reads_records_in_order(shelf):
    root, records = shelf
    records = records.iloc[::-1]
    wanted = [fit_square(read_image(root / path), 32, "crop") for path in records["path"]]
    reader = pickle.loads(pickle.dumps(Reader(root, 32, "crop")))
    for n_workers in (1, 3):
        np.testing.assert_array_equal(reader.stack(records, n_workers=n_workers), wanted)
    np.testing.assert_array_equal(reader(records.iloc[2]), wanted[2])
    np.testing.assert_array_equal(reader(next(records.itertuples())), wanted[0])


def test_size_0_leaves_images_as_stored(shelf):
    root, records = shelf
    shapes = [Reader(root)(row).shape for row in records.itertuples()]
    assert set(shapes) == {(36, 48, 3), (48, 36, 3)}
    wide = records[[shape[1] == 48 for shape in shapes]]
    assert Reader(root).stack(wide).shape == (len(wide), 36, 48, 3)
    with pytest.raises(ValueError, match=r"\.jpg: \(H, W, 3\) is .*one size wanted"):
        Reader(root).stack(records, n_workers=2)
    with pytest.raises(ValueError, match="records has no row"):
        Reader(root).stack(records[:0])


def test_a_file_that_changed_is_refused(shelf):
    root, records = shelf
    path = root / records["path"][3]
    save(path, Image.new("RGB", (48, 48)))
    with pytest.raises(ValueError, match="changed since it was indexed") as refused:
        Reader(root, 32).stack(records, n_workers=2)
    assert str(refused.value).startswith(f"{path}: ")
    assert "run `python -m defocus_lib data index NAME --refresh`" in str(refused.value)


def test_a_reader_passes_its_limit_on(shelf):
    root, records = shelf
    with pytest.raises(UnreadableImage, match="at most 100 px"):
        Reader(root, 32, max_pixels=100)(records.iloc[0])
    with pytest.raises(UnreadableImage, match="No such file"):
        Reader(root)(Row("none.png", records["digest"][0]))


@pytest.mark.parametrize(
    ("options", "message"), [({"size": -1}, "size is -1"), ({"fit": "pad"}, "unknown fit")]
)
def test_a_reader_checks_its_settings(options, message):
    with pytest.raises(ValueError, match=message):
        Reader(Path(), **options)


@pytest.mark.parametrize("photometric", [0, 1], ids=["white is zero", "black is zero"])
def test_tiff_grey_of_either_sign(tmp_path, photometric):
    """Written byte by byte: one strip of 16-bit grey, little-endian."""
    values = np.array([[0, 257, 40000, 65535]], dtype="<u2")
    tags = [
        (256, 3, 4),
        (257, 3, 1),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
    ]
    tags += [(278, 3, 1), (279, 4, values.nbytes)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    start = 8 + values.nbytes
    content = (
        struct.pack("<2sHI", b"II", 42, start)
        + values.tobytes()
        + struct.pack("<H", len(tags))
        + entries
    )
    (tmp_path / "grey.tif").write_bytes(content + b"\0\0\0\0")
    wanted = np.array([0, 1, 156, 255])
    wanted = 255 - wanted if photometric == 0 else wanted
    np.testing.assert_array_equal(read_image(tmp_path / "grey.tif")[0, :, 0], wanted)


def test_one_call_opens_a_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    rotated = Image.Exif()
    rotated[0x0112] = 6  # the camera was turned: shown a quarter to the right
    save(tmp_path / "photo.tiff", Image.fromarray(pixels), exif=rotated)
    planes = images.read_image(tmp_path / "photo.tiff")
    assert planes.shape == (1, 3, 60, 40) and planes.dtype == np.float32
    np.testing.assert_array_equal(
        planes[0], np.moveaxis(np.rot90(pixels, -1), 2, 0).astype(np.float32) / 255
    )
    small = images.read_image(tmp_path / "photo.tiff", longest_side=30)
    assert small.shape == (1, 3, 30, 20)
    assert images.read_image(str(tmp_path / "photo.tiff"), 500).shape == planes.shape
    with pytest.raises(UnreadableImage, match=r"none.png: can't be opened"):
        images.read_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="longest_side is -1; 0 or more wanted"):
        images.read_image(tmp_path / "photo.tiff", -1)


def test_pictures_are_found_in_folders(tmp_path):
    for name in ("b/z.JPG", "b/a.png", "b/notes.txt", "b/.hidden/c.png", "b/.d.png", "e.odd"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = images.find_pictures([tmp_path / "e.odd", tmp_path / "b", tmp_path / "b" / "a.png"])
    names = [path.relative_to(tmp_path).as_posix() for path in found]
    assert names == ["e.odd", "b/a.png", "b/z.JPG"]
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        images.find_pictures([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no picture"):
        images.find_pictures([tmp_path / "b", tmp_path / "empty"])


def test_what_is_passed_over_in_folders_is_counted(tmp_path):
    names = ("b/a.png", "b/1.HEIC", "b/c/2.heic", "b/notes", "b/.hidden/c.txt", "b/.d", "e.odd")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = images.passed_over([tmp_path / "e.odd", tmp_path / "b", tmp_path / "b" / "c"])
    assert found == {".heic": 2, "without suffix": 1}


def test_the_first_bytes_name_the_format(tmp_path):
    picture = Image.new("RGB", (4, 4))
    for suffix, kind in ((".png", "PNG"), (".jpg", "JPEG"), (".webp", "WEBP"), (".tif", "TIFF")):
        path = save(tmp_path / f"a{suffix}", picture)
        assert images.format_of(path.rename(tmp_path / "any.dat").read_bytes()) == kind
    assert images.format_of(b"GIF89a") == ""


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"GIF89a", "a GIF file"),
        (b"\0\0\0\x18ftypheic", "a HEIC file"),
        (b"\0\0\0\x18ftypmp42", "a video"),
        (b"plain", "not an image"),
    ],
)
def test_files_of_other_kinds_are_named(start, what):
    with pytest.raises(UnreadableImage, match=f"a.jpg: {what}.*; PNG, JPEG, BMP, WebP or TIFF"):
        decode_image(start + b"\0" * 50, "a.jpg")
