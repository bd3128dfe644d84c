"""Which file is what: the layouts, and trees that have faults."""

import os
import shutil
import sys
from collections import Counter

import pytest

from defocus_lib.data.index import build_index
from defocus_lib.data.layouts import SampleOptions, list_pictures
from defocus_lib.data.records import counts, has_pairs, leakage, missing_fakes, missing_pairs
from defocus_lib.data.tree import natural
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
    assert frames["000_001", "Deepfakes"] == ["0000", "0002"]  # those that its target has
    assert frames["001", "real"] == frames["001_000", "Deepfakes"] == ["0000", "0001"]
    assert len(found) == 60 and missing_pairs(found).empty


# ------------------------------------------------------------------------------------------------
# Names with numbers, and frames that are not used.


def clips(root, lengths: dict[str, int | list[int]], style="{}.png"):
    """A FaceForensics++ tree of videos, by name: how many frames, or which."""
    for number, (video, frames) in enumerate(lengths.items()):
        folder = fake("Deepfakes") if "_" in video else REAL
        (root / folder / video).mkdir(parents=True, exist_ok=True)
        for frame in range(frames) if isinstance(frames, int) else frames:
            picture(root / folder / video / style.format(frame), 64 * number + frame)
    return ffpp_of(root)


def ffpp_of(root, frames=32, manipulations=("Deepfakes",)):
    options = {"compression": "c23", "frames": frames}
    named = {} if manipulations is None else {"manipulations": manipulations}
    return entry("faceforensics", root, options=options | named)


def frames_of(records, video):
    return records.loc[records["video"] == video, "frame"].tolist()


def unused(index):
    """Rows of what is not used: folder, reason, images, first, last."""
    return {(row.path.rpartition("/")[2], *row[1:]) for row in index.unused.itertuples(index=False)}


def test_natural_order_is_that_of_numbers():
    names = ["2.png", "10.png", "1.png", "a10b2", "a9b30", "a9b4", "007", "7", "", "Ü", "x-1_2"]
    wanted = ["", "1.png", "2.png", "007", "7", "10.png", "a9b4", "a9b30", "a10b2", "x-1_2", "Ü"]
    assert sorted(names, key=natural) == wanted
    padded = [f"{number:04d}_{number:03d}.png" for number in range(200)]
    assert sorted(padded, key=natural) == sorted(padded)


def test_frames_without_leading_zeros_are_in_order_and_in_pairs(tmp_path):
    index = build_index(clips(tmp_path, {"000": 41, "001": 41, "000_001": 41, "001_000": 41}))
    wanted = [str(frame) for frame in range(32)]
    for video in ("000", "001", "000_001", "001_000"):
        assert frames_of(index.records, video) == wanted
    assert missing_pairs(index.records).empty and missing_fakes(index.records).empty
    reason = "after the first 32 frames of a video"
    assert unused(index) == {
        (video, reason, 9, "32.png", "40.png") for video in ("000", "001", "000_001", "001_000")
    }
    assert index.unused_by_reason().to_dict() == {reason: 36} and index.short.empty


def test_a_frame_that_a_target_lacks_is_named_and_moves_no_other(tmp_path):
    frames = [frame for frame in range(41) if frame != 7]
    index = build_index(clips(tmp_path, {"000": frames, "000_001": 41, "001": 41, "001_000": 41}))
    used = [str(frame) for frame in frames[:32]]
    assert frames_of(index.records, "000") == frames_of(index.records, "000_001") == used
    assert missing_pairs(index.records).empty and missing_fakes(index.records).empty
    lacking = "its target lacks the frame, but enough others"
    assert ("000_001", lacking, 1, "7.png", "7.png") in unused(index)
    assert index.unused_by_reason()[lacking] == 1


def test_videos_of_other_lengths_keep_their_pairs_and_every_frame_is_counted(tmp_path):
    lengths = {"000": 7, "000_001": 32, "001": 40, "001_000": 5, "002": 0, "002_003": 3, "003": 2}
    index = build_index(clips(tmp_path, lengths))
    found = index.records
    assert frames_of(found, "000_001") == frames_of(found, "000") == list("0123456")
    assert frames_of(found, "001_000") == list("01234")
    assert missing_pairs(found)["id"].tolist() == [f"002_003/{n}/Deepfakes" for n in range(3)]
    assert unused(index) == {
        ("000_001", "after the last frame of its target", 25, "7.png", "31.png"),
        ("001", "after the first 32 frames of a video", 8, "32.png", "39.png"),
    }
    assert dict(index.odd.itertuples(index=False)) == {f"{REAL}/002": "no image in it"}
    short = {row.path.rpartition("/")[2]: row.frames for row in index.short.itertuples()}
    assert short == {"000": 7, "001_000": 5, "002_003": 3, "003": 2}
    assert set(index.short["asked"]) == {32}
    on_disk = sum(1 for _ in tmp_path.rglob("*.png"))
    assert on_disk == len(found) + index.unused_by_reason().sum()


def test_every_image_is_used_or_counted_in_every_layout(tmp_path, tree):
    trees.odd_folders(tree / fake("Deepfakes"), tree / REAL / "000" / "0000.png")
    shutil.rmtree(tree / fake("Deepfakes") / ".hidden")
    picture(tree / REAL / "stray.png", 1)
    picture(tree / REAL / "000" / "nested" / "deep" / "0000.png", 2)
    picture(tree / REAL / "000" / "0000.jpg", 3)
    trees.empty(picture(tree / REAL / "000" / "9.png"))
    trees.diffusiondb(tmp_path / "ddb", images=10, size=32)
    picture(tmp_path / "ddb" / "part-1" / "a.png")
    trees.folders(tmp_path / "own", grouped=True, clips=4, size=32)
    picture(tmp_path / "own" / "real" / "stray.png")
    entries = [
        ffpp(tree, on_unreadable="skip"),
        entry("diffusiondb", tmp_path / "ddb", options={"limit": 4}),
        entry("coco", tmp_path / "ddb", options={"limit": 7}),
        entry("folders", tmp_path / "own", options={"subfolder": "video"}),
    ]
    for dataset in entries:
        index = build_index(dataset)
        images = [p for p in dataset.folder().rglob("*") if p.suffix in (".png", ".jpg")]
        of_others = [p for p in images if "FaceShifter" in p.parts or "Face2Face" in p.parts]
        counted = len(index.records) + index.unused_by_reason().sum()
        assert counted == len(images) - len(of_others) and not of_others


def test_videos_of_folders_are_in_order_of_their_numbers(tmp_path):
    for number in range(12):
        for kind in ("real", "fake"):
            picture(tmp_path / kind / "v" / f"{number}.png", number)
    found = build_index(entry("folders", tmp_path, options={"subfolder": "video"})).records
    assert found["frame"].tolist() == 2 * [str(number) for number in range(12)]


# ------------------------------------------------------------------------------------------------
# Manipulations that are not there.


def test_what_nobody_named_may_be_absent(tree):
    for name in FORGERIES[1:]:
        shutil.rmtree(tree / "manipulated_sequences" / name)
    (tree / fake("NeuralTextures")).mkdir(parents=True)
    index = build_index(ffpp_of(tree, manipulations=None))
    absent = ["Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures"]
    assert index.absent == absent and index.odd.empty
    assert set(index.records["manipulation"]) == {"real", "Deepfakes"}
    named = build_index(ffpp_of(tree, manipulations=("Deepfakes", "FaceSwap", "NeuralTextures")))
    assert named.absent == [] and dict(named.odd.itertuples(index=False)) == {
        fake(
            "FaceSwap"
        ): "no such folder, but FaceSwap is one of the manipulations in the manifest",
        fake("NeuralTextures"): "no image in it, but NeuralTextures is one of the manipulations in"
        " the manifest",
    }


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
    trees.folders(tmp_path / "flat", clips=2, size=32)
    with pytest.raises(
        FileNotFoundError, match=r"no images in .*real: it holds photo-000.png.*subfolder video\)"
    ):
        build_index(entry("folders", tmp_path / "flat", options={"subfolder": "video"}))


# ------------------------------------------------------------------------------------------------
# The other layouts.


def test_cifake(tmp_path):
    index = build_index(entry("cifake", trees.cifake(tmp_path, train=20, test=4, size=48)))
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
    trees.diffusiondb(tmp_path, images=10, size=48)
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
    trees.coco(tmp_path, images=10, size=48)
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
            picture(tmp_path / kind / f"{name}.{suffix}", number + 20 * (kind == "fake"))
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
    trees.folders(tmp_path, grouped=True, clips=10, size=32)
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
