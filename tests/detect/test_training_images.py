import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from defocus_lib.data.images import Reader, decode_image
from defocus_lib.detect import training_images
from defocus_lib.maps.estimate import defocus_maps


def encoded(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def pixels(photograph):
    return (255 * np.moveaxis(photograph("coffee", 64), 0, 2)).round().astype(np.uint8)


def test_statistics_of_a_file(pixels):
    content = encoded(pixels[:48], "JPEG", quality=90)
    decoded = decode_image(content, "a.jpg")
    square = np.asarray(Image.fromarray(decoded[:, 8:56]).resize((40, 40), Image.BILINEAR))
    found = training_images.statistics(content, decoded, square)
    assert (found["format"], found["width"], found["height"]) == ("JPEG", 64, 48)
    assert found["bytes_per_pixel"] == len(content) / (64 * 48)
    maps = defocus_maps(np.moveaxis(square, 2, 0)[None].astype(np.float32) / 255, "physical")
    assert found["edges"] == pytest.approx(100 * float(maps.edges.float().mean()))
    median = float(np.median(maps.sparse[maps.valid]))
    assert found["blur_50"] == pytest.approx(median)


def test_what_can_not_be_measured_is_left_out(pixels):
    white = np.full((64, 64, 3), 255, np.uint8)
    found = training_images.statistics(encoded(white), white, white)
    assert found["edges"] == 0 and not {"blur_10", "blur_50", "blur_90"} & found.keys()
    small = pixels[:20, :20]
    assert "edges" not in training_images.statistics(encoded(small), small, small)


@pytest.fixture(scope="module")
def training(pixels, tmp_path_factory):
    """Eleven files of 40 to 60 px: 10 PNG and a JPEG."""
    root = tmp_path_factory.mktemp("images")
    for number in range(11):
        part = pixels[: 40 + 2 * number, :48]
        kind = "JPEG" if number == 5 else "PNG"
        (root / f"{number}.dat").write_bytes(encoded(part, kind))
    records = pd.DataFrame({"path": [f"{number}.dat" for number in range(11)], "label": 0})
    return training_images.describe(records, Reader(root, 32), 0)


def test_the_description_holds_quantiles(training):
    assert training["images"] == training["described"] == 11
    assert training["formats"] == {"JPEG": 1 / 11, "PNG": 10 / 11}
    heights = dict(zip(training["levels"], training["quantiles"]["height"], strict=True))
    assert (heights[0.0], heights[0.5], heights[1.0]) == (40, 50, 60)
    assert heights[0.25] == 44  # the third of eleven, as 2.75 is rounded up
    assert set(training["quantiles"]["width"]) == {48.0}


def test_a_sample_stands_for_many(training, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(training_images, "SAMPLE", 3)
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(encoded(pixels))
    records = pd.DataFrame({"path": [f"{number}.png" for number in range(5)], "label": 0})
    found = training_images.describe(records, Reader(tmp_path, 32), 0)
    assert (found["images"], found["described"]) == (5, 3)


def test_where_a_picture_lies_outside(training):
    middle = {name: values[4] for name, values in training["quantiles"].items()}
    rows = training_images.compare({"format": "PNG", **middle}, training)
    assert len(rows) == 8 and not any(row["outside"] for row in rows)
    strange = {"format": "TIFF", **middle, "height": 900.0, "width": 48.0}
    outside = [row for row in training_images.compare(strange, training) if row["outside"]]
    assert [row["statistic"] for row in outside] == [
        "format of the file",
        "height of the file (px)",
    ]
    assert outside[0]["training"] == "JPEG 9 %, PNG 91 %"
    assert outside[1]["value"] == 900 and outside[1]["high"] == 60
    del strange["blur_50"]
    assert len(training_images.compare(strange, training)) == 7


def test_the_mean_input_is_that_of_real_images_in_blocks():
    rng = np.random.default_rng(0)
    inputs = torch.from_numpy(rng.random((4, 1, 32, 48), np.float32))
    pairs = [(values, torch.tensor(0.0)) for values in inputs]
    mean = training_images.mean_input(pairs, np.array([0, 1, 0, 1]), 0)
    blocks = inputs[[0, 2]].numpy().mean(0).reshape(1, 16, 2, 16, 3).mean((2, 4))
    np.testing.assert_allclose(np.array(mean) / 255, blocks, atol=0.5 / 255 + 1e-6)
    background = training_images.background_of(mean, (32, 48))
    assert background.shape == (1, 1, 32, 48)
    assert float(background.mean()) == pytest.approx(blocks.mean(), abs=0.01)
