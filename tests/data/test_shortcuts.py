"""Data whose files give the label away are caught, others are not."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from defocus_lib.data import shortcuts
from defocus_lib.data.audit import verify
from defocus_lib.data.file_facts import NAMES, Facts
from defocus_lib.data.index import build_index
from tests import trees
from tests.entries import entry

IMAGES = 14  # of each class


def save(pixels: np.ndarray, path: Path, size: int = 64, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.rint(255 * pixels).astype(np.uint8)).resize((size, size))
    image.save(path, **options)


def photographs(root: Path, real: dict, fake: dict) -> Path:
    """Crops of the same photographs in both classes, stored as the options of each class say."""
    for number in range(IMAGES):
        for kind, options in (("real", real), ("fake", fake)):
            rng = np.random.default_rng([number, kind == "fake"])
            chosen = {key: of(rng) if callable(of) else of for key, of in options.items()}
            suffix = chosen.pop("suffix", "jpg")
            save(trees.still(rng, 96), root / kind / f"{kind} {number:02d}.{suffix}", **chosen)
    return root


def exif(software: str) -> Image.Exif:
    tags = Image.Exif()
    tags[305] = software
    return tags


ANY_SIZE = {"size": lambda rng: int(rng.integers(60, 90))}
TWO_KINDS = {"suffix": lambda rng: str(rng.choice(["jpg", "png"]))}
GIVEAWAYS = {
    "format": ({"suffix": "jpg"}, {"suffix": "png"}),
    "size": ({"size": 80}, {"size": 64}),
    "JPEG quality": ({"quality": 95}, {"quality": 75}),
    "metadata": ({"exif": exif("camera")}, {}),
    "software alone": ({"exif": exif("camera A")}, {"exif": exif("camera B")}),
    "subsampling": ({"subsampling": 0}, {"subsampling": 2}),
}
ALIKE = {
    "one way for all": ({}, {}),
    "all sizes in both": (ANY_SIZE, ANY_SIZE),
    "both formats in both": (TWO_KINDS, TWO_KINDS),
}
NAMED = {
    "format": {"format", "colour mode", "quantisation tables", "JPEG quality"},
    "size": {"width", "height"},
    "JPEG quality": {"JPEG quality"},  # not the tables, which tell as much, in digits of a digest
    "metadata": {"kinds of metadata", "size of the EXIF data", "camera or software"},
    "software alone": {"camera or software"},
    "subsampling": {"chroma subsampling"},
}


@pytest.mark.parametrize("how", GIVEAWAYS)
def test_files_that_give_the_label_away_are_a_fault_and_the_fact_is_named(tmp_path, how):
    mine = entry("folders", photographs(tmp_path, *GIVEAWAYS[how]))
    report = verify(mine)
    (row,) = report.problems["shortcuts"].to_dict("records")
    assert not report.ok and row["auc"] == 1 and row["fact_auc"] == 1
    if how != "format":  # many facts follow from it
        assert row["fact"] in NAMED[how]
    assert "1 manipulation whose files give the label away" in report.text()
    assert "`equalise` in the manifest" in report.text()


@pytest.mark.parametrize("how", ALIKE)
def test_files_that_are_stored_alike_are_not(tmp_path, how):
    report = verify(entry("folders", photographs(tmp_path, *ALIKE[how])))
    assert report.problems["shortcuts"].empty and "away: no\n" in report.text()


@pytest.mark.parametrize("how", GIVEAWAYS)
def test_equalised_files_no_longer_separate(tmp_path, how):
    root = photographs(tmp_path, *GIVEAWAYS[how])
    report = verify(entry("folders", root, equalise={"size": 64}))
    assert report.problems["shortcuts"].empty
    assert report.shortcuts["stored_auc"].iloc[0] < 0.7


def test_the_same_pictures_in_both_classes_are_not(tmp_path):
    root = photographs(tmp_path, TWO_KINDS | ANY_SIZE, {})
    shutil.rmtree(root / "fake")
    shutil.copytree(root / "real", root / "fake")
    for path in (root / "fake").iterdir():
        path.rename(path.with_name(f"copy of {path.name}"))
    report = verify(entry("folders", root))
    assert report.problems["shortcuts"].empty and len(report.problems["duplicates"]) == 2 * IMAGES


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Files of many kinds, whose labels the tests draw."""
    root = photographs(tmp_path_factory.mktemp("mixed"), TWO_KINDS | ANY_SIZE, ANY_SIZE)
    return build_index(entry("folders", root))


@pytest.mark.slow
def test_random_labels_raise_no_alarm(mixed):
    alarms = 0
    for seed in range(12):
        labels = np.random.default_rng(seed).permutation(np.arange(2 * IMAGES) % 2)
        kinds = np.where(labels, "fake", "real")
        drawn = mixed.records.assign(label=labels, manipulation=kinds)
        alarms += int(shortcuts.gives_away(shortcuts.file_shortcuts(drawn, mixed.facts)).iloc[0])
    assert alarms == 0


def table(facts: list[Facts], labels: list[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = range(len(labels))
    records = pd.DataFrame({"label": labels, "group": [f"g{row}" for row in rows]})
    kinds = records["label"].map({0: "real", 1: "fake"})
    return records.assign(manipulation=kinds), pd.DataFrame(facts, columns=Facts._fields)


def test_the_auc_of_one_binary_fact_is_that_by_hand():
    # 80 of 100 real files have EXIF data, 20 of 100 fake ones: (1 + 0.8 - 0.2) / 2.
    has = [number % 10 < 8 for number in range(100)] + [number % 10 < 2 for number in range(100)]
    facts = [Facts(format="JPEG", exif=500 * each) for each in has]
    (row,) = shortcuts.file_shortcuts(*table(facts, [0] * 100 + [1] * 100)).to_dict("records")
    assert row["fact"] == "exif" and abs(row["fact_auc"] - 0.8) < 0.02
    assert row["fact_low"] < 0.8 < row["fact_high"] and row["images"] == row["groups"] == 200
    assert abs(row["stored_auc"] - row["auc"]) < 0.02


def test_a_digest_is_named_where_it_tells_more():
    assert shortcuts._most_telling({"tables": 0.96, "quality": 0.955, "width": 0.94}) == "quality"
    assert shortcuts._most_telling({"tables": 0.96, "quality": 0.9}) == "tables"
    assert shortcuts._most_telling({}) == ""


def test_bytes_alone_count_from_a_higher_bound():
    rng = np.random.default_rng(0)
    for shift, alarm in ((1.2, False), (4.0, True)):  # AUC by the normal distribution: .80 and 1
        sizes = [*rng.normal(10, 1, 60), *rng.normal(10 - shift, 1, 60)]
        facts = [Facts(format="PNG", bytes_per_pixel=size) for size in sizes]
        found = shortcuts.file_shortcuts(*table(facts, [0] * 60 + [1] * 60))
        assert shortcuts.gives_away(found).tolist() == [alarm]
        assert found["stored_auc"].iloc[0] == 0.5
        assert (shortcuts.giveaway_auc(found) > 0.9) == alarm


def test_files_without_a_difference_and_too_few_of_them():
    same = shortcuts.file_shortcuts(*table([Facts()] * 20, [0, 1] * 10))
    assert same["auc"].tolist() == [0.5] and same["fact"].tolist() == [""]
    assert shortcuts.described(same).loc["fake", "most telling fact"] == "none"
    widths = np.random.default_rng(0).integers(50, 90, 60)
    chance = shortcuts.file_shortcuts(*table([Facts(width=w) for w in widths], [0, 1] * 30))
    assert chance["fact"].tolist() == ["width"] and chance["fact_low"].iloc[0] < 0.5
    assert shortcuts.described(chance).loc["fake", ["most telling fact", "its AUC"]].tolist() == [
        *("none", "")
    ]
    few = shortcuts.file_shortcuts(*table([Facts(width=1)] * 4 + [Facts()] * 4, [0] * 4 + [1] * 4))
    assert few["auc"].isna().all() and not shortcuts.gives_away(few).any()
    assert shortcuts.described(few).loc["fake", "gives the label away"] == "not known"
    none = shortcuts.file_shortcuts(*table([Facts()] * 9, [0] * 9))
    assert none.empty and shortcuts.described(none).empty and shortcuts.giveaway_auc(none) == 0


def test_five_of_each_class_are_enough_for_a_perfect_difference():
    facts = [Facts(format="JPEG")] * 5 + [Facts(format="PNG")] * 5
    found = shortcuts.file_shortcuts(*table(facts, [0] * 5 + [1] * 5))
    assert found["auc"].tolist() == [1.0] and shortcuts.gives_away(found).all()
    assert found[["in_real", "in_fake"]].iloc[0].tolist() == ["JPEG", "PNG"]
    # Above the 99.5th percentile of the AUC of chance, by all 252 orders of five and five.
    ranks = [sum(chosen) - 10 for chosen in itertools.combinations(range(10), 5)]
    share = np.mean(np.array(ranks) / 25 >= found["by_chance"].iloc[0])
    assert 0 < share < 0.005


def test_unique_texts_tell_nothing_whatever_the_order_of_rows():
    facts = [Facts(device=f"camera {number:03d}") for number in range(60)]
    numbers = shortcuts.as_numbers(pd.DataFrame(facts, columns=Facts._fields))
    assert numbers.columns.tolist() == ["device"] and numbers["device"].nunique() == 1


def test_every_manipulation_is_told_apart_by_itself():
    kinds = ["real", "a", "b"] * 30
    facts = [Facts(width=64 if kind == "b" else 80) for kind in kinds]
    records, known = table(facts, [int(kind != "real") for kind in kinds])
    found = shortcuts.file_shortcuts(records.assign(manipulation=kinds), known)
    assert found["manipulation"].tolist() == ["a", "b"]
    assert found["auc"].tolist() == [0.5, 1.0] and shortcuts.giveaway_auc(found) == 1.0
    assert NAMES[found["fact"].iloc[1]] == "width"
    assert found[["in_real", "in_fake"]].iloc[1].tolist() == ["80", "64"]
