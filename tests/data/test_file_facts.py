"""Facts about files, against what Pillow was told to write and a literal search for borders."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from defocus_lib.data.file_facts import (
    EVEN,
    NAMES,
    Facts,
    header_facts,
    jpeg_quality,
    luminance_tables,
    with_borders,
)
from defocus_lib.data.images import load_image
from tests import trees


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    pixels = trees.still(np.random.default_rng(5), 48)[:40]
    return Image.fromarray(np.rint(255 * pixels).astype(np.uint8))


def facts_of(picture: Image.Image, kind: str, **options) -> Facts:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return header_facts(load_image(file.getvalue(), "a picture"), len(file.getvalue()))


def test_every_fact_has_a_name_for_readers() -> None:
    assert tuple(NAMES) == Facts._fields


@pytest.mark.parametrize("quality", range(1, 101))
def test_the_quality_is_the_one_that_pillow_was_given(picture: Image.Image, quality: int) -> None:
    assert facts_of(picture, "JPEG", quality=quality).quality == quality


def test_tables_are_those_of_the_standard() -> None:
    first_row = np.array([16, 11, 10, 16, 24, 40, 51, 61])  # of table K.1 of ITU-T T.81
    np.testing.assert_array_equal(luminance_tables()[50 - 1, :8], first_row)
    np.testing.assert_array_equal(luminance_tables()[75 - 1, :8], (first_row + 1) // 2)


def test_tables_of_another_program_have_the_nearest_quality() -> None:
    assert jpeg_quality([1] * 64) == 100 and jpeg_quality([255] * 64) == 1


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_the_subsampling_is_the_one_that_pillow_was_given(
    picture: Image.Image, subsampling: str
) -> None:
    assert facts_of(picture, "JPEG", subsampling=subsampling).subsampling == subsampling


def test_formats_modes_and_sizes(picture: Image.Image) -> None:
    grey = facts_of(picture.convert("L"), "PNG")
    assert (grey.format, grey.mode, grey.width, grey.height) == ("PNG", "L", 48, 40)
    assert grey.aspect == 1.2 and grey.tables == grey.subsampling == "" and np.isnan(grey.quality)
    file = io.BytesIO()
    picture.save(file, "WEBP")
    webp = facts_of(picture, "WEBP")
    assert webp.format == "WEBP" and webp.bytes_per_pixel == len(file.getvalue()) / (48 * 40)
    assert facts_of(picture, "JPEG", progressive=True).interlaced and not webp.interlaced


def test_metadata(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[271], exif[272] = "Maker", "Model 7"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {"exif": exif, "icc_profile": profile, "comment": b"twelve bytes"}
    full, bare = (facts_of(picture, "JPEG", **each) for each in (options, {}))
    assert full.device == "Maker Model 7" and full.comment == 12
    assert full.exif == len(exif.tobytes())
    assert full.profile == hashlib.sha256(profile).hexdigest()[:8]
    assert full.segments == "APP0 JFIF, APP1 Exif, APP2 ICC_, COM" and bare.segments == "APP0 JFIF"
    assert (bare.device, bare.exif, bare.xmp, bare.comment, bare.profile) == ("", 0, 0, 0, "")
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "a generator")
    assert facts_of(picture, "PNG", pnginfo=text).device == "a generator"
    assert facts_of(picture, "JPEG", xmp=b"<x/>").xmp == 4


def literal_borders(pixels: np.ndarray) -> list[int]:
    """Left, top, right and bottom, pixel by pixel."""
    widths = []
    for turns in (3, 0, 1, 2):  # turned so that the side is on top
        turned = np.rot90(pixels, turns) if turns else pixels
        corner = {3: pixels[0, 0], 0: pixels[0, 0], 1: pixels[0, -1], 2: pixels[-1, 0]}[turns]
        width = 0
        for row in turned:
            for pixel in row:
                if any(abs(int(a) - int(b)) > EVEN for a, b in zip(pixel, corner, strict=True)):
                    break
            else:
                width += 1
                continue
            break
        widths.append(width)
    return widths


@pytest.mark.parametrize("framed", [(0, 0, 0, 0), (3, 0, 0, 5), (1, 2, 3, 4), (0, 7, 0, 0)])
def test_borders_against_a_search_pixel_by_pixel(framed: tuple[int, ...]) -> None:
    left, top, right, bottom = framed
    rng = np.random.default_rng(sum(framed))
    pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
    pixels[:top], pixels[len(pixels) - bottom :] = 40, 200
    pixels[:, :left], pixels[:, 24 - right :] = 40, 200
    pixels = np.clip(pixels + rng.integers(-3, 4, pixels.shape), 0, 255).astype(np.uint8)
    facts = with_borders(Facts(), pixels)
    measured = [getattr(facts, f"border_{side}") for side in ("left", "top", "right", "bottom")]
    assert measured == literal_borders(pixels)
    if framed == (0, 7, 0, 0):
        assert measured == [0, 7, 0, 0]


def test_an_image_of_one_colour_is_all_border() -> None:
    facts = with_borders(Facts(), np.full((5, 8, 3), 9, np.uint8))
    assert (facts.border_left, facts.border_top, facts.border_bottom) == (8, 5, 5)
