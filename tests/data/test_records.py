"""What is asked of a table of records: counts, choices, samples, copies, leaks."""

import hashlib
import shutil

import pandas as pd
import pytest

from defocus_lib.data.index import build_index
from defocus_lib.data.records import (
    choose,
    counts,
    duplicates,
    has_pairs,
    leakage,
    missing_pairs,
    resolve_copies,
    sample,
)
from tests import trees
from tests.entries import REAL, entry, fake, ffpp


def test_leakage_against_a_count_by_hand(tree):
    # Training 000 to 006, validation 007, test 008 and 009. Fakes go in pairs: 006_007 shows 007 in
    # training, 007_006 shows 006 in validation. Two manipulations of three frames: 4 videos, 12
    # images. 008 and 009 are both in the test.
    found = leakage(build_index(ffpp(tree)).records)
    assert found.to_dict("records") == [
        {
            "split": "train",
            "other_split": "val",
            "identities": 2,
            "fake_videos": 4,
            "fake_images": 12,
        }
    ]


def test_leakage_by_target_and_of_three_splits():
    table = pd.DataFrame(
        [
            ("a", "", 0, "train"),
            ("a", "b", 1, "val"),
            ("b", "c", 1, "test"),
            ("c", "b", 1, "test"),
            ("d", "e", 1, "test"),
        ],
        columns=["group", "source", "label", "split"],
    ).assign(manipulation="x", video=lambda rows: rows["group"] + "_" + rows["source"])
    assert leakage(table).to_numpy().tolist() == [
        ["train", "val", 1, 1, 1],
        ["val", "test", 1, 3, 3],
    ]  # a; b


def test_duplicates_are_found_by_content(tree):
    shutil.copy(tree / REAL / "000" / "0000.png", tree / REAL / "009" / "0002.png")
    shutil.copy(tree / REAL / "000" / "0001.png", tree / REAL / "001" / "0001.png")
    shutil.copy(tree / REAL / "002" / "0001.png", tree / fake("FaceSwap") / "002_003" / "0001.png")
    found = duplicates(build_index(ffpp(tree)).records)
    assert found[["id", "across_splits", "across_labels"]].to_numpy().tolist() == [
        ["000/0000/real", True, False],
        ["009/0002/real", True, False],
        ["000/0001/real", False, False],
        ["001/0001/real", False, False],
        ["002/0001/real", False, True],
        ["002_003/0001/FaceSwap", False, True],
    ]
    assert (
        found["digest"].iloc[0]
        == hashlib.sha256((tree / REAL / "000" / "0000.png").read_bytes()).hexdigest()
    )


@pytest.fixture
def found(stored_tree):
    return build_index(ffpp(stored_tree)).records


def test_no_duplicates(found):
    assert duplicates(found).empty and "across_splits" in duplicates(found).columns


def test_choose(found):
    chosen = choose(found, ["FaceSwap"])
    assert counts(chosen).sum(axis=1).to_dict() == {"real": 30, "FaceSwap": 30}
    with pytest.raises(
        ValueError, match="no image of manipulation 'Faceswap'; there are: Deepfakes, FaceSwap"
    ):
        choose(found, ["Deepfakes", "Faceswap"])
    with pytest.raises(ValueError, match="no manipulation named"):
        choose(found, [])


def test_sample_takes_whole_groups(found):
    drawn = sample(found, 2, seed=0)
    assert drawn.groupby("split")["group"].nunique().to_dict() == {"test": 2, "train": 2, "val": 1}
    assert (drawn.groupby("group").size() == 9).all()
    assert drawn["id"].tolist() == [name for name in found["id"] if name in set(drawn["id"])]
    shuffled = found.sample(frac=1, random_state=0)
    assert set(sample(shuffled, 2, seed=0)["id"]) == set(drawn["id"])
    assert {frozenset(sample(found, 2, seed)["group"]) for seed in range(9)} != {
        frozenset(drawn["group"])
    }
    assert len(sample(found, 100, seed=0)) == 90
    with pytest.raises(ValueError, match="groups is 0; 1 or more wanted"):
        sample(found, 0, seed=0)


def test_sample_of_unpaired_images_has_both_kinds(tmp_path):
    found = build_index(entry("cifake", trees.cifake(tmp_path, train=20, test=10, size=48))).records
    for seed in range(5):
        drawn = sample(found, 4, seed)
        assert (
            counts(drawn)["test"].to_dict()
            == counts(drawn)["train"].to_dict()
            == {"real": 2, "fake": 2}
        )


def test_pairs_that_no_manipulation_has_are_not_missing(found):
    assert has_pairs(found) and not has_pairs(found.assign(pair=""))
    generated = found[found["manipulation"] == "FaceSwap"].assign(
        pair="", source="", manipulation="generated"
    )
    assert missing_pairs(pd.concat([found, generated])).empty
    assert (
        len(missing_pairs(found.assign(pair=""))) == 60
    )  # they name their sources: counterparts should be there


def copies() -> pd.DataFrame:
    """Contents a and b are in several splits, c twice in one."""
    rows = [
        ("train", "a"),
        ("val", "a"),
        ("train", "b"),
        ("test", "b"),
        ("test", "c"),
        ("test", "c"),
    ]
    table = pd.DataFrame(rows, columns=["split", "digest"])
    table["id"] = table["path"] = [f"{number}.png" for number in range(len(rows))]
    return table.assign(pair=["", "0.png", "", "", "", "5.png"])


def test_copies_in_several_splits_stop_a_run_by_name():
    with pytest.raises(
        ValueError, match=r"'mine': 0\.png \(train\) and 1\.png \(val\) are the same"
    ):
        resolve_copies(copies(), "stop", "mine")
    alone = copies().drop_duplicates("digest")
    assert resolve_copies(alone, "stop", "mine") is alone
    assert len(resolve_copies(copies().tail(2), "stop", "mine")) == 2


def test_or_the_later_split_keeps_its_copy():
    kept = resolve_copies(copies(), "skip", "mine")
    assert kept["id"].tolist() == ["1.png", "3.png", "4.png", "5.png"]
    assert kept["pair"].tolist() == ["", "", "", "5.png"]  # the real image of 1.png is left out
