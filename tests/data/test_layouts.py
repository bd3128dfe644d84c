"""Which file is what: the layouts, and trees that have faults."""

import os
import shutil
import sys
from collections import Counter

import pytest

from defocus_lib.data.index import build_index
from defocus_lib.data.layouts import SampleOptions, list_pictures
from defocus_lib.data.records import counts, has_pairs, leakage, missing_fakes, missing_pairs
from tests import trees
from tests.entries import FORGERIES, REAL, entry, fake, ffpp, picture


def test_no_file_is_opened(tree):
    for path in tree.rglob("*.png"):
        path.unlink()
        path.symlink_to(tree / "nowhere.png")
    table, found = list_pictures(ffpp(tree))
    assert table["label"].value_counts().to_dict() == {0: 30, 1: 60}
    assert not found.odd and not found.foreign


def test_the_group_stands_before_the_first_slash(tree):
    found = build_index(ffpp(tree)).records
    assert (found["pair"].str.partition("/")[0] == found["group"]).all()


def test_a_missing_frame_moves_no_pair(tree):
    (tree / REAL / "002" / "0000.png").unlink()
    found = build_index(ffpp(tree)).records.set_index("id")
    fakes = found[(found["video"] == "002_003") & (found["manipulation"] == "FaceSwap")]
    assert fakes["pair"].tolist() == ["", "002/0001/real", "002/0002/real"]
    assert missing_pairs(found.reset_index())["id"].tolist() == [
        "002_003/0000/Deepfakes",
        "002_003/0000/FaceSwap",
    ]
    assert found.loc["002_003/0000/FaceSwap", "group"] == "002"


def test_a_frame_that_a_fake_lacks_lets_no_later_one_slip_in(tree):
    (tree / fake("FaceSwap") / "002_003" / "0000.png").unlink()
    found = build_index(ffpp(tree, frames=2)).records
    fakes = found[(found["video"] == "002_003") & (found["manipulation"] == "FaceSwap")]
    assert fakes["frame"].tolist() == ["0001"] and missing_pairs(found).empty
    assert missing_fakes(found).to_numpy().tolist() == [["002/0000/real", "FaceSwap", "002_003"]]


def test_a_link_to_itself_is_odd_and_stops_nothing(tree):
    (tree / REAL / "000" / "loop.png").symlink_to(tree / REAL / "000" / "loop.png")
    found = build_index(ffpp(tree))
    assert len(found.records) == 90 and f"{REAL}/000/loop.png" in [
        *found.odd["path"],
        *found.unreadable["path"],
    ]


def test_the_first_frames_by_name_are_used(tree):
    for video in (REAL + "/000", fake("FaceSwap") + "/000_001"):
        (tree / video / "0001.png").rename(tree / video / "0010.png")
        (tree / video / "0002.png").rename(tree / video / "0002.PNG")
    found = build_index(ffpp(tree, frames=2)).records
    frames = found.groupby(["video", "manipulation"])["frame"].agg(list)
    assert frames["000", "real"] == frames["000_001", "FaceSwap"] == ["0000", "0002"]
    assert frames["000_001", "Deepfakes"] == frames["001", "real"] == ["0000", "0001"]
    assert len(found) == 60


def test_another_face_folder_and_a_linked_root(tree, tmp_path):
    for folder in (REAL, *map(fake, FORGERIES)):
        (tree / folder).rename((tree / folder).parent / "my faces")
    (tmp_path / "link").symlink_to(tree, target_is_directory=True)
    options = {"compression": "c23", "faces": "my faces", "manipulations": ["FaceSwap"]}
    found = build_index(entry("faceforensics", tmp_path / "link", options=options)).records
    assert counts(found).sum(axis=1).to_dict() == {"real": 30, "FaceSwap": 30}


def test_linked_videos_are_read(tree, tmp_path):
    outside = (tree / REAL / "004").rename(tmp_path / "elsewhere")
    (tree / REAL / "004").symlink_to(outside, target_is_directory=True)
    assert len(build_index(ffpp(tree)).records) == 90


# ------------------------------------------------------------------------------------------------
# Trees with faults.


def test_foreign_files_are_ignored_and_counted(tree):
    folders = [tree / REAL, tree / REAL / "000", tree / fake("FaceSwap") / "000_001"]
    left = [path for folder in folders for path in trees.foreign_files(folder)]
    index = build_index(ffpp(tree))
    assert sorted(index.foreign) == sorted(path.relative_to(tree).as_posix() for path in left)
    assert len(index.records) == 90 and index.odd.empty and index.unreadable.empty


def test_odd_folders_are_left_out_by_name(tree):
    trees.odd_folders(tree / fake("Deepfakes"), tree / REAL / "000" / "0000.png")
    index = build_index(ffpp(tree))
    odd = {f"{fake('Deepfakes')}/{name}" for name in trees.ODD_NAMES if not name.startswith(".")}
    assert (
        set(index.odd["path"]) == odd
        and (index.odd["reason"].str.contains("<target>_<source> wanted")).all()
    )
    assert index.foreign == [f"{fake('Deepfakes')}/.hidden/"]
    assert len(index.records) == 90


def test_what_lies_in_the_wrong_place_is_odd(tree):
    (tree / REAL / "empty").mkdir()
    (tree / REAL / "000 (copy)").mkdir()
    picture(tree / REAL / "stray.png")
    picture(tree / REAL / "000" / "nested" / "0000.png")
    picture(tree / REAL / "000" / "0000.jpg")
    found = dict(build_index(ffpp(tree)).odd.itertuples(index=False))
    assert found == {
        f"{REAL}/empty": "no image in it",
        f"{REAL}/000 (copy)": "an odd name; an id of letters, digits and hyphens wanted",
        f"{REAL}/stray.png": "an image outside of a video folder",
        f"{REAL}/000/nested": "a folder inside a video folder",
        f"{REAL}/000/0000.png": "0000.jpg has the same name",
    }


def test_a_manipulation_that_is_not_there_is_reported(tree):
    shutil.rmtree(tree / "manipulated_sequences" / "FaceSwap")
    index = build_index(ffpp(tree))
    assert (
        index.odd["path"].tolist() == [fake("FaceSwap")]
        and "FaceSwap is one of" in index.odd["reason"].iloc[0]
    )
    assert len(index.records) == 60


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_a_name_that_is_no_text_is_odd(tree):
    os.mkdir(os.fsencode(tree / REAL) + b"/\xff")
    index = build_index(ffpp(tree))
    assert (
        index.odd["path"].tolist() == [f"{REAL}/\\xff"] and "UTF-8" in index.odd["reason"].iloc[0]
    )
    assert len(index.records) == 90


@pytest.mark.parametrize(
    ("faces", "there"),
    [("raw/v1faces", "youtube holds c23"), ("c23/my_faces", "youtube/c23 holds v1faces")],
)
def test_a_layout_that_finds_nothing_says_what_is_there(tree, faces, there):
    options = dict(zip(("compression", "faces"), faces.split("/"), strict=True))
    with pytest.raises(FileNotFoundError) as caught:
        build_index(entry("faceforensics", tree, options=options))
    message = str(caught.value)
    youtube = tree / "original_sequences" / "youtube"
    assert message.startswith(f"no images in {youtube / faces}: there is no such folder; {tree}")
    assert (
        there in message and "compression {compression}, faces {faces}".format(**options) in message
    )


def test_other_layouts_that_find_nothing(tree, tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"no images in .*train/REAL: there is no such folder; .*ffpp holds manip",
    ):
        build_index(entry("cifake", tree))
    with pytest.raises(
        FileNotFoundError,
        match=r"no images in .*ffpp: it holds manipulated_sequences, original_seq",
    ):
        build_index(entry("diffusiondb", tree))
    with pytest.raises(FileNotFoundError, match=r"no images in .*/nothing: it holds nothing"):
        (tmp_path / "nothing").mkdir()
        build_index(entry("coco", tmp_path / "nothing"))
    trees.folders(tmp_path / "flat", clips=2, size=16)
    with pytest.raises(
        FileNotFoundError, match=r"no images in .*real: it holds photo-000.png.*subfolder video\)"
    ):
        build_index(entry("folders", tmp_path / "flat", options={"subfolder": "video"}))


# ------------------------------------------------------------------------------------------------
# The other layouts.


def test_cifake(tmp_path):
    index = build_index(entry("cifake", trees.cifake(tmp_path, train=20, test=4, size=8)))
    found = index.records
    assert counts(found).to_dict("index") == {
        "real": {"train": 18, "val": 2, "test": 4}, "fake": {"train": 18, "val": 2, "test": 4}
    }  # fmt: skip
    assert not has_pairs(found) and missing_pairs(found).empty and leakage(found).empty
    assert found["group"].nunique() == found["id"].nunique() == 48
    row = found.set_index("path").loc["test/FAKE/0000 (2).jpg"]
    assert (row["id"], row["label"], row["pair"]) == ("test:FAKE:0000 (2)/fake", 1, "")
    assert row["group"] == row["video"] == "test:FAKE:0000 (2)" and row["frame"] == ""


def test_diffusiondb_is_flat_and_all_fake(tmp_path):
    trees.diffusiondb(tmp_path, images=10, size=8)
    (tmp_path / "part-1").mkdir()
    picture(tmp_path / "part-1" / "a.png")
    (tmp_path / "part-1.json").write_text("{}")
    index = build_index(entry("diffusiondb", tmp_path, name="ddb"))
    assert index.odd.to_dict("list") == {
        "path": ["part-1"],
        "reason": ["a folder; the layout is flat"],
    }
    assert index.foreign == ["part-1.json"]
    assert counts(index.records).to_dict("index") == {"ddb": {"train": 7, "val": 1, "test": 2}}


def test_coco_is_nested_and_all_real(tmp_path):
    trees.coco(tmp_path, images=10, size=8)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances.json").write_text("{}")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    picture(tmp_path / ".cache" / "a.png")
    index = build_index(entry("coco", tmp_path))
    found = index.records
    assert set(found["path"]) == {
        p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("*2017/*.jpg")
    }
    assert index.foreign == [".cache/", "annotations/instances.json"] and index.odd[
        "path"
    ].tolist() == ["loop"]
    assert counts(found).to_dict("index") == {"real": {"train": 7, "val": 1, "test": 2}}
    assert (found["pair"] == found["id"]).all()
    assert "val2017:000000000009/real" in set(found["id"])


def test_a_limit_draws_from_sorted_names():
    names = [f"{number:03d}.png" for number in range(100)]
    options = SampleOptions(limit=30, seed=7)
    chosen = options.draw(names)
    assert len(set(chosen)) == 30 and chosen == sorted(chosen)
    assert options.draw(names[::-1]) == chosen != SampleOptions(limit=30, seed=8).draw(names)
    assert SampleOptions(limit=100).draw(names[::-1]) == names
    times = Counter(
        name for seed in range(300) for name in SampleOptions(limit=30, seed=seed).draw(names)
    )
    assert len(times) == 100 and max(times.values()) < 140  # 90 expected, 8 the standard deviation


def test_folders_of_single_pictures(tmp_path):
    for kind, suffix in (("real", "jpg"), ("fake", "PNG")):
        for number, name in enumerate(("a", "b c", "sub/a", "Übung/ñ")):
            picture(tmp_path / kind / f"{name}.{suffix}", number)
    picture(tmp_path / "fake" / "only.png", 9)
    found = build_index(entry("folders", tmp_path, options={"pairs": "by_name"})).records.set_index(
        "id"
    )
    assert (
        found.loc["Übung:ñ/fake", "pair"] == "Übung:ñ/real"
        and found.loc["sub:a/fake", "path"] == "fake/sub/a.PNG"
    )
    assert found.loc["only/fake", "pair"] == "" and found.loc["only/fake", "group"] == "only"
    assert missing_pairs(found.reset_index())["id"].tolist() == ["only/fake"]
    assert (found.groupby("group")["split"].nunique() == 1).all()

    unpaired = build_index(entry("folders", tmp_path)).records
    assert not has_pairs(unpaired) and len(unpaired) == 9 and set(unpaired["frame"]) == {""}


def test_folders_of_videos(tmp_path):
    trees.folders(tmp_path, grouped=True, clips=10, size=16)
    (tmp_path / "fake" / "clip 99").mkdir()
    picture(tmp_path / "real" / "stray.png")
    index = build_index(
        entry("folders", tmp_path, options={"subfolder": "video", "pairs": "by_name"})
    )
    found = index.records.set_index("id")
    assert dict(index.odd.itertuples(index=False)) == {
        "fake/clip 99": "no image in it", "real/stray.png": "an image outside of a video folder"
    }  # fmt: skip
    row = found.loc["clip 3/0001/fake"]
    assert (row["video"], row["frame"], row["group"], row["pair"]) == (
        "clip 3",
        "0001",
        "clip 3",
        "clip 3/0001/real",
    )
    assert len(found) == 40 and has_pairs(found.reset_index())


def test_folders_of_manipulations(tmp_path):
    for number, name in enumerate(
        ("real/a.png", "real/x/b.png", "fake/swap/a.png", "fake/gan/x/b.png", "fake/loose.png")
    ):
        picture(tmp_path / name, number)
    picture(tmp_path / "fake" / "real" / "c.png", 77)
    index = build_index(
        entry("folders", tmp_path, options={"subfolder": "manipulation", "pairs": "by_name"})
    )
    pairs = dict(zip(index.records["id"], index.records["pair"], strict=True))
    assert pairs == {
        "a/real": "a/real",
        "x:b/real": "x:b/real",
        "a/swap": "a/real",
        "x:b/gan": "x:b/real",
    }
    assert dict(index.odd.itertuples(index=False)) == {
        "fake/loose.png": "an image outside of a manipulation folder",
        "fake/real/c.png": "a manipulation can't be called real",
    }


def test_folders_of_manipulations_of_videos(tmp_path):
    for number, name in enumerate(
        ("real/v1/0.png", "fake/swap/v1/0.png", "fake/swap/v1/1.png", "fake/swap/0.png")
    ):
        picture(tmp_path / name, number)
    options = {"subfolder": "manipulation/video", "pairs": "by_name"}
    index = build_index(entry("folders", tmp_path, options=options))
    pairs = dict(zip(index.records["id"], index.records["pair"], strict=True))
    assert pairs == {"v1/0/real": "v1/0/real", "v1/0/swap": "v1/0/real", "v1/1/swap": ""}
    assert index.odd["path"].tolist() == ["fake/swap/0.png"] and set(index.records["group"]) == {
        "v1"
    }


def test_two_files_that_would_have_one_id(tmp_path):
    for name in ("real/a/b.png", "real/a:b.png", "fake/c.png"):
        picture(tmp_path / name)
    with pytest.raises(
        ValueError, match=r"real/a/b\.png and real/a:b\.png would both have the id a:b/real"
    ):
        build_index(entry("folders", tmp_path))
