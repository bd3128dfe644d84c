"""Images that are resized and compressed alike before anything reads them."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from defocus_lib.data.audit import verify
from defocus_lib.data.collection import reader_of
from defocus_lib.data.equalise import Equalise
from defocus_lib.data.images import fit_square
from defocus_lib.data.index import build_index, index_files
from defocus_lib.maps.cache import MapCache
from tests import trees
from tests.entries import entry, union


def with_pillow(path, size: int, quality: int) -> np.ndarray:
    """The same by Pillow alone: central square, resized, stored, read."""
    image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    square = square.resize((size, size), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    square.save(file, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(file))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return trees.coco(tmp_path_factory.mktemp("coco"), images=10, size=64)


def test_the_reader_equalises_before_anything_else(tree):
    mine = entry("coco", tree, fit="crop", equalise={"size": 40, "quality": 60})
    index = build_index(mine)
    assert (index.facts["format"] == "JPEG").all() and (index.facts["quality"] == 60).all()
    assert index.facts["width"].eq(40).all() and index.facts["height"].eq(40).all()
    assert set(index.records["width"]) == {48, 64}  # of the file
    for row in index.records.itertuples():
        expected = with_pillow(tree / row.path, 40, 60)
        np.testing.assert_array_equal(reader_of(mine, 0)(row), expected)
        np.testing.assert_array_equal(reader_of(mine, 32)(row), fit_square(expected, 32, "crop"))


def test_no_two_settings_share_an_index_or_a_map(tree, tmp_path):
    settings = (None, {"size": 40}, {"size": 40, "quality": 60})
    mine = [entry("coco", tree, equalise=setting) for setting in settings]
    assert len({path for each in mine for path in index_files(each, tmp_path)}) == 3
    readers = [reader_of(each, 32) for each in mine]
    assert [reader.label for reader in readers] == ["", "40q90", "40q60"]
    caches = [MapCache(tmp_path, "physical", "", 32, "stretch", each.label) for each in readers]
    assert len({cache.home for cache in caches}) == 3
    caches[1].check_reader(readers[1])
    with pytest.raises(ValueError, match=r"equalised to 40q60; the maps are of .* to 40q90"):
        caches[1].check_reader(readers[2])


def test_a_union_equalises_all_of_its_parts(tmp_path):
    coco = trees.coco(tmp_path / "coco", images=10, size=64)
    ddb = trees.diffusiondb(tmp_path / "ddb", images=10, size=48)
    as_stored, equalised = union(coco, ddb), union(coco, ddb, equalise={"size": 48})
    assert set(build_index(as_stored).facts["format"]) == {"JPEG", "PNG"}
    facts = build_index(equalised).facts
    same = [name for name in facts if not name.startswith(("bytes", "border"))]
    assert len(facts[same].drop_duplicates()) == 1 and len(facts) == 20
    assert as_stored.fingerprint() != equalised.fingerprint()


def test_images_that_are_enlarged_are_counted(tmp_path, tree):
    report = verify(entry("coco", tree, equalise={"size": 60}))  # all are 64 x 48 or 48 x 64 px
    assert report.enlarged == 10 and "10 images are smaller than `equalise` says" in report.text()
    assert verify(entry("coco", tree, equalise={"size": 48})).enlarged == 0


@pytest.mark.parametrize("setting", [{"size": 31}, {"quality": 0}, {"quality": 96}])
def test_impossible_settings_are_refused(tree, setting):
    with pytest.raises(ValueError):
        entry("coco", tree, equalise=setting)


def test_same_pixels_same_file():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    assert Equalise().encode(pixels, "crop") == Equalise().encode(pixels.copy(), "crop")
    assert isinstance(hash(Equalise()), int) and pd.Series([Equalise()]).nunique() == 1
