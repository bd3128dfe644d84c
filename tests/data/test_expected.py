"""Records that are expected before the data are there, against those of a tree that is."""

import pandas as pd
import pytest

from defocus_lib.data.expected import expected_records
from defocus_lib.data.index import load_index
from defocus_lib.data.manifest import load_manifest
from defocus_lib.data.records import COLUMNS, counts
from defocus_lib.data.splits import OfficialSplit
from tests import trees


def dataset(name: str, **changes):
    return load_manifest().dataset(name).model_copy(update=changes)


def test_a_tree_as_published_has_the_records_that_were_expected(tmp_path):
    kinds = ("Deepfakes", "FaceSwap")
    entry = dataset("faceforensics", published=10)
    options = entry.options.model_copy(
        update={"compression": "c23", "manipulations": kinds, "frames": 3}
    )
    entry = entry.model_copy(update={"options": options})
    tree = trees.faceforensics(tmp_path / "ffpp", videos=10, frames=3, size=32)
    found = load_index(entry.model_copy(update={"root": str(tree)}), tmp_path / "index").records
    expected = expected_records(entry)
    pd.testing.assert_frame_equal(counts(expected), counts(found))
    for records in (expected, found):
        assert list(records) == COLUMNS and records["id"].is_unique
        fakes = records[records["label"] == 1]
        assert fakes["pair"].isin(records.loc[records["label"] == 0, "id"]).all()
        assert records["group"].nunique() == 10


def test_the_lists_of_an_official_split_lie_with_the_data():
    split = OfficialSplit(scheme="official", lists="splits")
    records = expected_records(dataset("faceforensics", published=20, split=split))
    assert counts(records).loc["real"].tolist() == [14 * 32, 2 * 32, 4 * 32]


def test_collections_without_videos():
    cifake = counts(expected_records(dataset("cifake", published=600)))
    assert (
        cifake.sum().tolist() == [900, 100, 200]
        and (cifake.loc["real"] == cifake.loc["fake"]).all()
    )
    coco = dataset("coco")
    few = coco.options.model_copy(update={"limit": 50})
    assert counts(expected_records(dataset("coco", options=few))).loc["real"].sum() == 50


def test_a_folder_of_pictures_has_to_be_there(monkeypatch):
    monkeypatch.delenv("FOLDERS_ROOT", raising=False)
    with pytest.raises(ValueError, match=r"FOLDERS_ROOT is not set.*`published`, wanted"):
        expected_records(dataset("folders"))
