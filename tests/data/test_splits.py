"""Which split an image is in: official lists, given splits, in order, at random."""

import hashlib
import shutil
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from defocus_lib.data.index import build_index
from defocus_lib.data.records import counts, leakage
from defocus_lib.data.splits import GivenSplit, RandomSplit, SequentialSplit, cut, cut_all
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
    trees.cifake(tmp_path, train=20, test=4, size=48)
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


# ------------------------------------------------------------------------------------------------
# Few groups.


def sizes(splits: pd.Series) -> list[int]:
    return [int((splits == name).sum()) for name in ("train", "val", "test")]


def assigned(split, rows: list[tuple[str, int]]) -> pd.DataFrame:
    """Groups and labels with the split of each."""
    table = pd.DataFrame(rows, columns=["group", "label"]).assign(manipulation="x")
    table["video"] = table["group"]
    return table.assign(split=split.assign(table, lambda path: path))


def test_three_are_enough_for_a_part_of_each_and_parts_grow():
    assert [cut_all(number, (7, 1, 2)) for number in range(3, 11)] == [
        [1, 1, 1], [2, 1, 1], [3, 1, 1], [3, 1, 2], [4, 1, 2], [5, 1, 2], [6, 1, 2], [7, 1, 2]
    ]  # fmt: skip
    assert cut_all(2, (7, 1, 2)) == [1, 0, 1] and cut_all(5, (0, 0, 1)) == [0, 0, 5]
    assert all(cut_all(number, (7, 1, 2)) == cut(number, (7, 1, 2)) for number in range(7, 3000))


def test_sequential_and_random_splits_of_few():
    for number in range(3, 30):
        videos = [(f"{video}", 1) for video in range(number)]
        found = assigned(SequentialSplit(), videos)["split"]
        assert sizes(found) == cut_all(number, (7, 1, 2))
        assert found.tolist() == sorted(found, key=["train", "val", "test"].index)
        alone = [(f"r{n}", 0) for n in range(number)] + [(f"f{n}", 1) for n in range(number)]
        table = assigned(RandomSplit(), alone)
        for label in (0, 1):
            assert sizes(table.loc[table["label"] == label, "split"]) == cut_all(number, (7, 1, 2))


def test_no_split_lacks_a_class_that_has_three_groups():
    for both, real, fake_alone in product(range(6), repeat=3):
        if both + real < 3 or both + fake_alone < 3:
            continue
        rows = [(f"b{n}", label) for n in range(both) for label in (0, 1)]
        rows += [(f"r{n}", 0) for n in range(real)] + [(f"f{n}", 1) for n in range(fake_alone)]
        for seed in range(3):
            table = assigned(RandomSplit(seed=seed), rows)
            assert (table.groupby("group")["split"].nunique() == 1).all()
            assert len(table[["split", "label"]].drop_duplicates()) == 6, (both, real, fake_alone)


def rank(group: str) -> str:
    return hashlib.sha256(f"42/{group}".encode()).hexdigest()


def test_splits_that_had_both_classes_everywhere_stay():
    """The rule of version 0.3: groups with and without a real image, by rank, cut by shares."""
    rng = np.random.default_rng(0)
    for number in (40, 97, 200):
        kinds = rng.choice(3, number)  # real, fake, both
        rows = [(f"g{n}", y) for n in range(number) for y in ((0,), (1,), (0, 1))[kinds[n]]]
        table = assigned(RandomSplit(), rows)
        with_real = set(table.loc[table["label"] == 0, "group"])
        wanted: dict[str, str] = {}
        ranked = sorted(set(table["group"]), key=rank)
        for kind in (True, False):
            names = [group for group in ranked if (group in with_real) == kind]
            borders = len(names) * 7 // 10, len(names) * 8 // 10
            wanted |= {
                name: "train" if place < borders[0] else "val" if place < borders[1] else "test"
                for place, name in enumerate(names)
            }
        assert dict(zip(table["group"], table["split"], strict=True)) == wanted


def test_a_few_training_images_of_given_folders_give_one_of_each_for_validation():
    for number in range(2, 20):
        names = [f"train/{kind}/{n}" for kind in ("REAL", "FAKE") for n in range(number)]
        table = pd.DataFrame({"path": names, "label": [int("FAKE" in name) for name in names]})
        found = table.assign(split=GivenSplit().assign(table, lambda path: path))
        counts = found.groupby(["split", "label"]).size()
        assert counts["val", 0] >= 1 and counts["val", 1] >= 1 and counts["train"].min() >= 1
    with pytest.raises(ValueError, match="1 of the rarer kind; 2 of each wanted"):
        GivenSplit().assign(table.drop(index=range(1, 19)), lambda path: path)
