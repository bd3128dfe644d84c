"""Which split an image is in: official lists, given splits, in order, at random."""

import shutil

import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from defocus_lib.data.index import build_index
from defocus_lib.data.records import counts, leakage
from defocus_lib.data.splits import cut
from tests import trees
from tests.entries import FORGERIES, LISTS, REAL, entry, fake, ffpp, picture, write_lists


def splits_of(records: pd.DataFrame, column: str = "video") -> dict[str, str]:
    assert (records.groupby([column, "manipulation"])["split"].nunique() == 1).all()
    return dict(zip(records[column], records["split"], strict=True))


def test_cut_is_that_of_the_authors_code():
    assert [32 * part for part in cut(1000, (7, 1, 2))] == [22400, 3200, 6400]
    for number in range(60):
        borders = number * 7 // 10, number * 8 // 10
        assert cut(number, (0.7, 0.1, 0.2)) == [
            borders[0],
            borders[1] - borders[0],
            number - borders[1],
        ]


def test_sequential_split_cuts_sorted_folders_apart(tree):
    shutil.rmtree(tree / fake("FaceSwap") / "000_001")
    shutil.rmtree(tree / fake("FaceSwap") / "001_000")
    found = build_index(ffpp(tree)).records
    wanted = {
        f"{number:03d}": "train" if number < 7 else "val" if number == 7 else "test"
        for number in range(10)
    }
    assert splits_of(found[found["label"] == 0]) == wanted
    swapped = found[found["manipulation"] == "FaceSwap"]
    assert {target[:3]: split for target, split in splits_of(swapped).items()} == {
        "002": "train", "003": "train", "004": "train", "005": "train", "006": "train",
        "007": "val", "008": "test", "009": "test",
    }  # fmt: skip


def test_the_validation_images_of_cifake_are_those_that_scikit_learn_draws(tmp_path):
    trees.cifake(tmp_path, train=20, test=4, size=8)
    names = [
        f"train/{kind}/{p.name}"
        for kind in ("REAL", "FAKE")
        for p in sorted((tmp_path / "train" / kind).iterdir())
    ]
    labels = [int("FAKE" in name) for name in names]
    _, wanted = train_test_split(names, test_size=0.1, stratify=labels, random_state=42)
    found = build_index(entry("cifake", tmp_path)).records
    assert set(found.loc[found["split"] == "val", "path"]) == set(wanted)


def test_official_split_is_that_of_the_lists(tree):
    write_lists(tree / "lists", LISTS)
    index = build_index(ffpp(tree, {"scheme": "official", "lists": "lists"}))
    found = splits_of(index.records)
    assert found == {
        "000": "train", "001": "train", "004": "train", "005": "train",
        "002": "val", "003": "val", "006": "test", "007": "test",
        "000_001": "train", "001_000": "train", "004_005": "train", "005_004": "train",
        "002_003": "val", "003_002": "val", "006_007": "test", "007_006": "test",
    }  # fmt: skip
    left = [
        f"{REAL}/008",
        f"{REAL}/009",
        *(f"{fake(n)}/{v}" for n in FORGERIES for v in ("008_009", "009_008")),
    ]
    assert index.odd["path"].tolist() == left and set(index.odd["reason"]) == {
        "in no list of the split"
    }
    assert leakage(index.records).empty


def test_an_unreadable_image_in_no_split_stops_nothing(tree):
    write_lists(tree / "lists", LISTS)
    trees.empty(tree / REAL / "009" / "0000.png")
    assert build_index(ffpp(tree, {"scheme": "official", "lists": "lists"})).unreadable.empty


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (LISTS | {"val": [["001", "002"]]}, "001 is in the lists of train and of val"),
        (LISTS | {"val": [[1, 2]]}, r"val\.json: \[1, 2\] found; a list of pairs of ids"),
        (LISTS | {"test": {"a": 1}}, r"test\.json: .* found; a list of pairs of ids"),
        (
            {"train": []},
            r"no list .*val\.json; the official split wants train\.json, val\.json, test\.json",
        ),
    ],
)
def test_wrong_lists_are_refused(tree, lists, message):
    write_lists(tree / "lists", lists)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build_index(ffpp(tree, {"scheme": "official", "lists": "lists"}))


def test_a_random_split_parts_no_group_and_has_both_kinds(tmp_path):
    number = 0
    for name in [f"both {i}" for i in range(20)]:
        for kind in ("real", "fake"):
            picture(tmp_path / kind / f"{name}.png", number := number + 1)
    for name in [f"alone {i}" for i in range(10)]:
        picture(tmp_path / "fake" / f"{name}.png", number := number + 1)
    found = build_index(entry("folders", tmp_path, options={"pairs": "by_name"})).records
    assert (found.groupby("group")["split"].nunique() == 1).all()
    assert counts(found).to_dict("index") == {
        "real": {"train": 14, "val": 2, "test": 4}, "fake": {"train": 21, "val": 3, "test": 6}
    }  # fmt: skip
    other = build_index(entry("folders", tmp_path, split={"scheme": "random", "seed": 1})).records
    assert splits_of(other, "group") != splits_of(found, "group")
