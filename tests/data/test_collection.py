"""The images of a run: which are trained on, explained and shown, and where their maps are."""

import numpy as np
import pandas as pd
import pytest

from defocus_lib.data import collection
from defocus_lib.maps import cache
from defocus_lib.maps.cache import load_maps, map_cache, save_maps
from defocus_lib.run import artifacts
from tests import runs


def rows(*ids: str, split: str = "test", paired: bool = True) -> pd.DataFrame:
    """Records for ids ``<video>/<frame>/<manipulation>``."""
    made = []
    for name in ids:
        video, frame, manipulation = name.split("/")
        target = video.split("_")[0]
        pair = f"{target}/{frame}/real" if paired or manipulation == "real" else ""
        made.append(
            (
                name,
                f"{name}.png",
                int(manipulation != "real"),
                manipulation,
                video,
                frame,
                target,
                split,
                pair,
            )
        )
    columns = ["id", "path", "label", "manipulation", "video", "frame", "group", "split", "pair"]
    return pd.DataFrame(made, columns=columns)


REAL = ("1/a/real", "1/b/real", "1/c/real", "2/a/real", "3/a/real", "3/b/real")


def test_spread_takes_the_first_of_each_group_before_the_second_of_any():
    table = rows(*REAL)
    assert collection.spread(table, 3)["id"].tolist() == ["1/a/real", "2/a/real", "3/a/real"]
    assert collection.spread(table, 5)["id"].tolist() == [
        "1/a/real",
        "1/b/real",
        "2/a/real",
        "3/a/real",
        "3/b/real",
    ]
    assert collection.spread(table, 99)["id"].tolist() == list(REAL)


def test_what_is_explained_are_pairs_by_key_and_those_of_every_manipulation_first():
    fakes = (
        "1_9/b/swap",
        "1_9/a/swap",
        "2_9/b/swap",
        "3_9/a/swap",
        "3_9/a/face",
        "1_9/c/face",
    )  # 2 has no frame b
    chosen = collection.to_explain(rows(*REAL, *fakes), 2)
    assert chosen["id"].tolist() == [
        "1/b/real", "1/c/real", "3/a/real", "3_9/a/swap", "1_9/b/swap", "3_9/a/face", "1_9/c/face"
    ]  # fmt: skip
    assert set(chosen["pair"]) <= set(chosen["id"])


def test_a_manipulation_without_pairs_beside_others_with_pairs_is_refused(run):
    _, entry = run
    table = pd.concat(
        [rows("1/a/real", "1_2/a/swap", split=split) for split in ("train", "val", "test")]
    )
    assert collection.about(entry, table, 64).has == ("pairs",)
    other = rows("7_8/a/zoom", paired=False)
    with pytest.raises(ValueError, match=r"zoom has no pair .* leave it out of `manipulations`"):
        collection.about(entry, pd.concat([table, other]), 64)
    assert collection.about(entry, pd.concat([table.query("label == 0"), other, *[
        other.assign(split=split) for split in ("train", "val")
    ]]), 64).has == ()  # fmt: skip
    few = "val has no fake image; found 1 real and 1 fake videos, wanted at least 3 of each"
    with pytest.raises(ValueError, match=few):
        collection.about(entry, table.query("label == 0 or split != 'val'"), 64)


def test_without_pairs_as_many_fakes_are_explained():
    fakes = [f"f{n}/a/fake" for n in range(5)]
    chosen = collection.to_explain(rows(*REAL, *fakes, paired=False), 3)
    assert chosen["manipulation"].value_counts().to_dict() == {"real": 3, "fake": 3}


def test_only_one_manipulation_is_trained_on_and_all_are_tested():
    ids = ("1/a/real", "1_2/a/swap", "1_2/a/face")
    table = pd.concat([rows(*ids, split=split) for split in ("train", "val", "test")])
    chosen = collection.for_training_on(table, "swap")
    assert chosen.groupby("split")["manipulation"].unique().map(list).to_dict() == {
        "train": ["real", "swap"],
        "val": ["real", "swap"],
        "test": ["real", "swap", "face"],
    }
    with pytest.raises(ValueError, match=r"training_manipulation is 'zoom'; .* found: swap, face"):
        collection.for_training_on(table, "zoom")


def test_a_manipulation_that_may_be_absent_is_left_out():
    table = rows("1/a/real", "1_2/a/swap", "1_2/a/face", split="train")
    names = ["zoom", "face", "swap"]
    chosen, learned = collection.choose_present(table, names, "zoom", ["zoom", "other"])
    assert set(chosen["manipulation"]) == {"real", "face", "swap"} and learned == "face"
    assert collection.choose_present(table, names, "swap", ["zoom"])[1] == "swap"
    with pytest.raises(ValueError, match="no image of manipulation 'zoom'; there are: swap, face"):
        collection.choose_present(table, names, "swap", [])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a small tree, as notebook 01 leaves it."""
    return runs.begin(tmp_path_factory.mktemp("tiny"))


def test_a_run_is_found_again(run):
    folder, entry = run
    found = collection.load(folder)
    assert found.about == artifacts.About(
        "faceforensics",
        entry.title,
        "video",
        ("pairs", "transfer"),
        entry.root,
        40,
        entry.fit,
        test_groups=2,
    )
    assert found.manipulations == ["Deepfakes", "FaceSwap"]
    assert found.reader.stack(found.records.head(2)).shape == (2, 40, 40, 3)
    text = collection.write_summary(folder).read_text()
    assert (
        "90 images of 30 videos in 10 groups (a real video with" in text
        and "Deepfakes, FaceSwap" in text
        and "`tiny`" in text
    )


def test_the_gallery_shows_versions_of_one_image(run):
    found = collection.load(run[0])
    pictures, names, columns = collection.gallery(found.records, found.reader, first=0, rows=1)
    assert columns == ["real", "Deepfakes", "FaceSwap"]
    (shown,) = pictures
    test = found.records.query("split == 'test'").set_index("id")
    for picture, column in zip(shown, columns, strict=True):
        match = test[(test["pair"] == f"{names[0]}/0000/real") & (test["manipulation"] == column)]
        np.testing.assert_array_equal(picture, found.reader(match.iloc[0]))
    alone = found.records[found.records["manipulation"] != "FaceSwap"]
    without = pd.concat(
        [alone, found.records.query("manipulation == 'FaceSwap'").assign(pair="nobody")]
    )
    assert collection.gallery(without, found.reader, 0, 1)[0][0][2] is None


def test_maps_of_another_method_are_refused(run, monkeypatch):
    folder, _ = run
    found = collection.load(folder)
    with pytest.raises(artifacts.MissingArtifact, match="02_defocus_map"):
        load_maps(folder, found.reader)
    save_maps(folder, map_cache(found.reader, "physical", ""), found.records)
    assert load_maps(folder, found.reader)[1]["preset"] == "physical"
    monkeypatch.setattr(cache, "version", lambda *_: "other")
    with pytest.raises(ValueError, match="the method has changed"):
        load_maps(folder, found.reader)
