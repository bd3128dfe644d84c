"""From trees on disk to records: layouts, splits, the stored index, and what is asked of the table."""

import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

from defocus_lib import manifest as m
from defocus_lib import records as r
from defocus_lib.images import Reader, UnreadableImage
from tests import trees

ABOUT = {"title": "t", "access": "a", "licence": "l"}
FORGERIES = ("Deepfakes", "FaceSwap")
REAL = "original_sequences/youtube/c23/v1faces"


def fake(name: str) -> str:
    return f"manipulated_sequences/{name}/c23/v1faces"


def entry(layout: str, root: Path, name: str = "mine", **others) -> m.Files:
    """A data set as the manifest would give it."""
    content = {"name": name, "layout": layout, "root": str(root), **ABOUT, **others}
    photograph = m.load_manifest().photographs[0].model_dump()
    return m.Manifest(version=1, photographs=[photograph], datasets=[content]).dataset(name)


def ffpp(root: Path, split: dict | None = None, frames: int = 32, **others) -> m.FaceForensics:
    options = {"compression": "c23", "manipulations": FORGERIES, "frames": frames}
    return entry("faceforensics", root, options=options, split=split or {"scheme": "sequential"}, **others)


def picture(path: Path, shade: int = 0) -> Path:
    """A file of its own content: a small grey square."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2), (shade % 256, shade // 256, 7)).save(path)
    return path


@pytest.fixture(scope="module")
def stored_tree(tmp_path_factory):
    return trees.faceforensics(tmp_path_factory.mktemp("ffpp"), frames=3, size=16, manipulations=FORGERIES)


@pytest.fixture
def tree(stored_tree, tmp_path):
    """A FaceForensics++ tree of ten videos and two manipulations, three frames each, to be disturbed."""
    return Path(shutil.copytree(stored_tree, tmp_path / "ffpp"))


def rows_by_hand(root: Path) -> dict[str, tuple]:
    """The rows of a FaceForensics++ tree without faults, told path by path."""
    rows = {}
    for path in sorted(root.rglob("*.png")):
        *_, video, _ = path.parts
        target, _, source = video.partition("_")
        name = path.parts[-5] if source else "real"
        pair = f"{target}/{path.stem}/real"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        place = path.relative_to(root).as_posix()
        rows[f"{video}/{path.stem}/{name}"] = (
            place, int(name != "real"), name, video, path.stem, target, pair, source, digest, 16, 16
        )  # fmt: skip
    return rows


def test_faceforensics_row_by_row(tree):
    found = r.build_index(ffpp(tree)).records
    assert found.columns.tolist() == r.COLUMNS
    wanted = rows_by_hand(tree)
    rows = found.drop(columns="split").set_index("id")
    assert len(wanted) == 90
    assert {name: tuple(row) for name, row in zip(rows.index, rows.itertuples(index=False), strict=True)} == wanted
    assert found["label"].dtype == found["width"].dtype == np.int64


def test_every_record_is_what_a_reader_reads(tree):
    entry = ffpp(tree)
    found = r.build_index(entry).records
    assert Reader(entry.folder(), 16).stack(found).shape == (90, 16, 16, 3)


def test_the_group_stands_before_the_first_slash(tree):
    found = r.build_index(ffpp(tree)).records
    assert (found["pair"].str.partition("/")[0] == found["group"]).all()


def test_a_missing_frame_moves_no_pair(tree):
    (tree / REAL / "002" / "0000.png").unlink()
    found = r.build_index(ffpp(tree)).records.set_index("id")
    fakes = found[(found["video"] == "002_003") & (found["manipulation"] == "FaceSwap")]
    assert fakes["pair"].tolist() == ["", "002/0001/real", "002/0002/real"]
    assert r.missing_pairs(found.reset_index())["id"].tolist() == ["002_003/0000/Deepfakes", "002_003/0000/FaceSwap"]
    assert found.loc["002_003/0000/FaceSwap", "group"] == "002"


def test_the_first_frames_by_name_are_used(tree):
    for video in (REAL + "/000", fake("FaceSwap") + "/000_001"):
        (tree / video / "0001.png").rename(tree / video / "0010.png")
        (tree / video / "0002.png").rename(tree / video / "0002.PNG")
    found = r.build_index(ffpp(tree, frames=2)).records
    frames = found.groupby(["video", "manipulation"])["frame"].agg(list)
    assert frames["000", "real"] == frames["000_001", "FaceSwap"] == ["0000", "0002"]
    assert frames["000_001", "Deepfakes"] == frames["001", "real"] == ["0000", "0001"]
    assert len(found) == 60


def test_another_face_folder_and_a_linked_root(tree, tmp_path):
    for folder in (REAL, *map(fake, FORGERIES)):
        (tree / folder).rename((tree / folder).parent / "my faces")
    (tmp_path / "link").symlink_to(tree, target_is_directory=True)
    options = {"compression": "c23", "faces": "my faces", "manipulations": ["FaceSwap"]}
    found = r.build_index(entry("faceforensics", tmp_path / "link", options=options)).records
    assert r.counts(found).sum(axis=1).to_dict() == {"real": 30, "FaceSwap": 30}


def test_linked_videos_are_read(tree, tmp_path):
    outside = (tree / REAL / "004").rename(tmp_path / "elsewhere")
    (tree / REAL / "004").symlink_to(outside, target_is_directory=True)
    assert len(r.build_index(ffpp(tree)).records) == 90


# ---------------------------------------------------------------------------------------------------------------------
# Trees with faults.


def broken(tree: Path) -> list[str]:
    """Spoil three frames, each in another way; their paths."""
    paths = [f"{REAL}/001/0000.png", f"{fake('Deepfakes')}/004_005/0001.png", f"{fake('FaceSwap')}/009_008/0002.png"]
    for spoil, path in zip((trees.truncate, trees.empty, trees.not_an_image), paths, strict=True):
        spoil(tree / path)
    return paths


def test_an_unreadable_image_stops_the_run_by_name(tree):
    paths = broken(tree)
    with pytest.raises(UnreadableImage) as caught:
        r.build_index(ffpp(tree))
    message = str(caught.value)
    assert message.startswith(f"{tree / paths[0]}: ") and "2 more can't be read" in message
    assert "data verify mine" in message and "on_unreadable: skip" in message


def test_or_it_is_left_out_and_counted(tree):
    before = r.build_index(ffpp(tree)).records.set_index("id")
    paths = broken(tree)
    index = r.build_index(ffpp(tree, on_unreadable="skip"))
    assert index.unreadable["path"].tolist() == paths
    assert index.unreadable["reason"].str.contains("damaged|empty|not an image").all()
    after = index.records.set_index("id")
    assert set(before.index) - set(after.index) == {"001/0000/real", "004_005/0001/Deepfakes", "009_008/0002/FaceSwap"}
    assert after["split"].equals(before.loc[after.index, "split"])
    assert r.missing_pairs(index.records)["id"].tolist() == ["001_000/0000/Deepfakes", "001_000/0000/FaceSwap"]


def test_a_dangling_link_is_an_unreadable_image(tree):
    (tree / REAL / "000" / "0001.png").unlink()
    (tree / REAL / "000" / "0001.png").symlink_to(tree / "nowhere.png")
    index = r.build_index(ffpp(tree, on_unreadable="skip"))
    assert index.unreadable["reason"].tolist() == ["can't be opened (No such file or directory)"]


def test_a_huge_image_is_unreadable(tree):
    Image.new("L", (20, 51)).save(tree / REAL / "003" / "0002.png")
    index = r.build_index(ffpp(tree, on_unreadable="skip", max_megapixels=0.001))
    assert index.unreadable["path"].tolist() == [f"{REAL}/003/0002.png"]
    assert "20x51" in index.unreadable["reason"].iloc[0] and "1,000" in index.unreadable["reason"].iloc[0]


def test_foreign_files_are_ignored_and_counted(tree):
    folders = [tree / REAL, tree / REAL / "000", tree / fake("FaceSwap") / "000_001"]
    left = [path for folder in folders for path in trees.foreign_files(folder)]
    index = r.build_index(ffpp(tree))
    assert sorted(index.foreign) == sorted(path.relative_to(tree).as_posix() for path in left)
    assert len(index.records) == 90 and index.odd.empty and index.unreadable.empty


def test_odd_folders_are_left_out_by_name(tree):
    trees.odd_folders(tree / fake("Deepfakes"), tree / REAL / "000" / "0000.png")
    index = r.build_index(ffpp(tree))
    odd = {f"{fake('Deepfakes')}/{name}" for name in trees.ODD_NAMES if not name.startswith(".")}
    assert set(index.odd["path"]) == odd and (index.odd["reason"].str.contains("<target>_<source> wanted")).all()
    assert index.foreign == [f"{fake('Deepfakes')}/.hidden/"]
    assert len(index.records) == 90


def test_what_lies_in_the_wrong_place_is_odd(tree):
    (tree / REAL / "empty").mkdir()
    (tree / REAL / "000 (copy)").mkdir()
    picture(tree / REAL / "stray.png")
    picture(tree / REAL / "000" / "nested" / "0000.png")
    picture(tree / REAL / "000" / "0000.jpg")
    found = dict(r.build_index(ffpp(tree)).odd.itertuples(index=False))
    assert found == {
        f"{REAL}/empty": "no image in it",
        f"{REAL}/000 (copy)": "an odd name; an id of letters, digits and hyphens wanted",
        f"{REAL}/stray.png": "an image outside of a video folder",
        f"{REAL}/000/nested": "a folder inside a video folder",
        f"{REAL}/000/0000.png": "0000.jpg has the same name",
    }


def test_a_manipulation_that_is_not_there_is_reported(tree):
    shutil.rmtree(tree / "manipulated_sequences" / "FaceSwap")
    index = r.build_index(ffpp(tree))
    assert index.odd["path"].tolist() == [fake("FaceSwap")] and "FaceSwap is one of" in index.odd["reason"].iloc[0]
    assert len(index.records) == 60


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_a_name_that_is_no_text_is_odd(tree):
    os.mkdir(os.fsencode(tree / REAL) + b"/\xff")
    index = r.build_index(ffpp(tree))
    assert index.odd["path"].tolist() == [f"{REAL}/\\xff"] and "UTF-8" in index.odd["reason"].iloc[0]
    assert len(index.records) == 90


@pytest.mark.parametrize(
    ("faces", "there"), [("raw/v1faces", "youtube holds c23"), ("c23/my_faces", "youtube/c23 holds v1faces")]
)
def test_a_layout_that_finds_nothing_says_what_is_there(tree, faces, there):
    options = dict(zip(("compression", "faces"), faces.split("/"), strict=True))
    with pytest.raises(FileNotFoundError) as caught:
        r.build_index(entry("faceforensics", tree, options=options))
    message = str(caught.value)
    youtube = tree / "original_sequences" / "youtube"
    assert message.startswith(f"no images in {youtube / faces}: there is no such folder; {tree}")
    assert there in message and "compression {compression}, faces {faces}".format(**options) in message


def test_other_layouts_that_find_nothing(tree, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no images in .*train/REAL: there is no such folder; .*ffpp holds manip"
    ):
        r.build_index(entry("cifake", tree))
    with pytest.raises(FileNotFoundError, match=r"no images in .*ffpp: it holds manipulated_sequences, original_seq"):
        r.build_index(entry("diffusiondb", tree))
    with pytest.raises(FileNotFoundError, match=r"no images in .*/nothing: it holds nothing"):
        (tmp_path / "nothing").mkdir()
        r.build_index(entry("coco", tmp_path / "nothing"))
    trees.folders(tmp_path / "flat", clips=2, size=16)
    with pytest.raises(FileNotFoundError, match=r"no images in .*real: it holds photo-000.png.*subfolder video\)"):
        r.build_index(entry("folders", tmp_path / "flat", options={"subfolder": "video"}))


# ---------------------------------------------------------------------------------------------------------------------
# The other layouts.


def test_cifake(tmp_path):
    index = r.build_index(entry("cifake", trees.cifake(tmp_path, train=20, test=4, size=8)))
    found = index.records
    assert r.counts(found).to_dict("index") == {
        "real": {"train": 18, "val": 2, "test": 4}, "fake": {"train": 18, "val": 2, "test": 4}
    }  # fmt: skip
    assert not r.has_pairs(found) and r.missing_pairs(found).empty and r.leakage(found).empty
    assert found["group"].nunique() == found["id"].nunique() == 48
    row = found.set_index("path").loc["test/FAKE/0000 (2).jpg"]
    assert (row["id"], row["label"], row["pair"]) == ("test:FAKE:0000 (2)/fake", 1, "")
    assert row["group"] == row["video"] == "test:FAKE:0000 (2)" and row["frame"] == ""


def test_the_validation_images_of_cifake_are_those_that_scikit_learn_draws(tmp_path):
    trees.cifake(tmp_path, train=20, test=4, size=8)
    names = [
        f"train/{kind}/{p.name}" for kind in ("REAL", "FAKE") for p in sorted((tmp_path / "train" / kind).iterdir())
    ]
    labels = [int("FAKE" in name) for name in names]
    _, wanted = train_test_split(names, test_size=0.1, stratify=labels, random_state=42)
    found = r.build_index(entry("cifake", tmp_path)).records
    assert set(found.loc[found["split"] == "val", "path"]) == set(wanted)


def test_diffusiondb_is_flat_and_all_fake(tmp_path):
    trees.diffusiondb(tmp_path, images=10, size=8)
    (tmp_path / "part-1").mkdir()
    picture(tmp_path / "part-1" / "a.png")
    (tmp_path / "part-1.json").write_text("{}")
    index = r.build_index(entry("diffusiondb", tmp_path, name="ddb"))
    assert index.odd.to_dict("list") == {"path": ["part-1"], "reason": ["a folder; the layout is flat"]}
    assert index.foreign == ["part-1.json"]
    assert r.counts(index.records).to_dict("index") == {"ddb": {"train": 7, "val": 1, "test": 2}}


def test_coco_is_nested_and_all_real(tmp_path):
    trees.coco(tmp_path, images=10, size=8)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances.json").write_text("{}")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    picture(tmp_path / ".cache" / "a.png")
    index = r.build_index(entry("coco", tmp_path))
    found = index.records
    assert set(found["path"]) == {p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("*2017/*.jpg")}
    assert index.foreign == [".cache/", "annotations/instances.json"] and index.odd["path"].tolist() == ["loop"]
    assert r.counts(found).to_dict("index") == {"real": {"train": 7, "val": 1, "test": 2}}
    assert (found["pair"] == found["id"]).all()
    assert "val2017:000000000009/real" in set(found["id"])


def test_a_limit_draws_from_sorted_names():
    names = [f"{number:03d}.png" for number in range(100)]
    options = m.SampleOptions(limit=30, seed=7)
    chosen = r.drawn(names, options)
    assert len(set(chosen)) == 30 and chosen == sorted(chosen)
    assert r.drawn(names[::-1], options) == chosen != r.drawn(names, m.SampleOptions(limit=30, seed=8))
    assert r.drawn(names[::-1], m.SampleOptions(limit=100)) == names
    times = Counter(name for seed in range(300) for name in r.drawn(names, m.SampleOptions(limit=30, seed=seed)))
    assert len(times) == 100 and max(times.values()) < 140  # 90 expected, 8 the standard deviation


def test_folders_of_single_pictures(tmp_path):
    for kind, suffix in (("real", "jpg"), ("fake", "PNG")):
        for number, name in enumerate(("a", "b c", "sub/a", "Übung/ñ")):
            picture(tmp_path / kind / f"{name}.{suffix}", number)
    picture(tmp_path / "fake" / "only.png", 9)
    found = r.build_index(entry("folders", tmp_path, options={"pairs": "by_name"})).records.set_index("id")
    assert found.loc["Übung:ñ/fake", "pair"] == "Übung:ñ/real" and found.loc["sub:a/fake", "path"] == "fake/sub/a.PNG"
    assert found.loc["only/fake", "pair"] == "" and found.loc["only/fake", "group"] == "only"
    assert r.missing_pairs(found.reset_index())["id"].tolist() == ["only/fake"]
    assert (found.groupby("group")["split"].nunique() == 1).all()

    unpaired = r.build_index(entry("folders", tmp_path)).records
    assert not r.has_pairs(unpaired) and len(unpaired) == 9 and set(unpaired["frame"]) == {""}


def test_folders_of_videos(tmp_path):
    trees.folders(tmp_path, grouped=True, clips=10, size=16)
    (tmp_path / "fake" / "clip 99").mkdir()
    picture(tmp_path / "real" / "stray.png")
    index = r.build_index(entry("folders", tmp_path, options={"subfolder": "video", "pairs": "by_name"}))
    found = index.records.set_index("id")
    assert dict(index.odd.itertuples(index=False)) == {
        "fake/clip 99": "no image in it", "real/stray.png": "an image outside of a video folder"
    }  # fmt: skip
    row = found.loc["clip 3/0001/fake"]
    assert (row["video"], row["frame"], row["group"], row["pair"]) == ("clip 3", "0001", "clip 3", "clip 3/0001/real")
    assert len(found) == 40 and r.has_pairs(found.reset_index())


def test_folders_of_manipulations(tmp_path):
    for number, name in enumerate(
        ("real/a.png", "real/x/b.png", "fake/swap/a.png", "fake/gan/x/b.png", "fake/loose.png")
    ):
        picture(tmp_path / name, number)
    picture(tmp_path / "fake" / "real" / "c.png", 77)
    index = r.build_index(entry("folders", tmp_path, options={"subfolder": "manipulation", "pairs": "by_name"}))
    pairs = dict(zip(index.records["id"], index.records["pair"], strict=True))
    assert pairs == {"a/real": "a/real", "x:b/real": "x:b/real", "a/swap": "a/real", "x:b/gan": "x:b/real"}
    assert dict(index.odd.itertuples(index=False)) == {
        "fake/loose.png": "an image outside of a manipulation folder",
        "fake/real/c.png": "a manipulation can't be called real",
    }


def test_folders_of_manipulations_of_videos(tmp_path):
    for number, name in enumerate(("real/v1/0.png", "fake/swap/v1/0.png", "fake/swap/v1/1.png", "fake/swap/0.png")):
        picture(tmp_path / name, number)
    options = {"subfolder": "manipulation/video", "pairs": "by_name"}
    index = r.build_index(entry("folders", tmp_path, options=options))
    pairs = dict(zip(index.records["id"], index.records["pair"], strict=True))
    assert pairs == {"v1/0/real": "v1/0/real", "v1/0/swap": "v1/0/real", "v1/1/swap": ""}
    assert index.odd["path"].tolist() == ["fake/swap/0.png"] and set(index.records["group"]) == {"v1"}


def test_two_files_that_would_have_one_id(tmp_path):
    for name in ("real/a/b.png", "real/a:b.png", "fake/c.png"):
        picture(tmp_path / name)
    with pytest.raises(ValueError, match=r"real/a/b\.png and real/a:b\.png would both have the id a:b/real"):
        r.build_index(entry("folders", tmp_path))


def union(coco: Path, ddb: Path, **others) -> m.Union:
    parts = [
        {"name": "coco", "layout": "coco", "root": str(coco)},
        {"name": "ddb", "layout": "diffusiondb", "root": str(ddb)},
    ]
    both = {"name": "both", "layout": "union", "options": {"parts": ["coco", "ddb"]}, **others}
    datasets = [ABOUT | part for part in (*parts, both)]
    photograph = m.load_manifest().photographs[0].model_dump()
    return m.Manifest(version=1, photographs=[photograph], datasets=datasets).dataset("both")


def test_a_union_reads_as_one(tmp_path):
    both = union(trees.coco(tmp_path / "a" / "coco", images=10, size=8), trees.diffusiondb(tmp_path / "ddb", 10, 8))
    found = r.build_index(both).records
    assert both.folder() == tmp_path
    assert r.counts(found).to_dict("index") == {
        "real": {"train": 7, "val": 1, "test": 2}, "ddb": {"train": 7, "val": 1, "test": 2}
    }  # fmt: skip
    assert Reader(tmp_path, 8).stack(found).shape == (20, 8, 8, 3)
    assert found["id"].is_unique and found["id"].iloc[0] == "coco:train2017:000000000016/real"
    assert found["group"].iloc[0] == "coco:train2017:000000000016" and found["pair"].iloc[-1] == ""


def test_a_union_decides_what_stops_it(tmp_path):
    coco, ddb = trees.coco(tmp_path / "coco", images=10, size=8), trees.diffusiondb(tmp_path / "ddb", 10, 8)
    first = trees.empty(sorted(ddb.iterdir())[0])
    with pytest.raises(UnreadableImage, match=str(first)):
        r.records_of(union(coco, ddb), tmp_path / "index")
    index = r.records_of(union(coco, ddb, on_unreadable="skip"), tmp_path / "index")
    assert index.unreadable["path"].tolist() == [f"ddb/{first.name}"]
    files = r.index_files(union(coco, ddb), tmp_path / "index")
    assert [path.name.split("-")[0] for path in files] == ["coco", "ddb"]
    assert sorted(files) == sorted((tmp_path / "index").iterdir())


def test_scenes_have_no_index():
    with pytest.raises(ValueError, match="'scenes' is rendered in the run; one with files on disk wanted"):
        r.build_index(m.load_manifest().dataset("scenes"))


# ---------------------------------------------------------------------------------------------------------------------
# Splits.


def splits_of(records: pd.DataFrame, column: str = "video") -> dict[str, str]:
    assert (records.groupby([column, "manipulation"])["split"].nunique() == 1).all()
    return dict(zip(records[column], records["split"], strict=True))


def test_cut_is_that_of_the_reference():
    assert [32 * part for part in r.cut(1000, (7, 1, 2))] == [22400, 3200, 6400]
    for number in range(60):
        borders = number * 7 // 10, number * 8 // 10
        assert r.cut(number, (0.7, 0.1, 0.2)) == [borders[0], borders[1] - borders[0], number - borders[1]]


def test_sequential_split_cuts_sorted_folders_apart(tree):
    shutil.rmtree(tree / fake("FaceSwap") / "000_001")
    shutil.rmtree(tree / fake("FaceSwap") / "001_000")
    found = r.build_index(ffpp(tree)).records
    wanted = {f"{number:03d}": "train" if number < 7 else "val" if number == 7 else "test" for number in range(10)}
    assert splits_of(found[found["label"] == 0]) == wanted
    swapped = found[found["manipulation"] == "FaceSwap"]
    assert {target[:3]: split for target, split in splits_of(swapped).items()} == {
        "002": "train", "003": "train", "004": "train", "005": "train", "006": "train", "007": "val", "008": "test",
        "009": "test",
    }  # fmt: skip


LISTS = {"train": [["000", "001"], ["004", "005"]], "val": [["003", "002"]], "test": [["006", "007"]]}


def write_lists(folder: Path, lists: dict) -> Path:
    folder.mkdir(exist_ok=True)
    for name, pairs in lists.items():
        (folder / f"{name}.json").write_text(json.dumps(pairs), encoding="utf-8")
    return folder


def test_official_split_is_that_of_the_lists(tree):
    write_lists(tree / "lists", LISTS)
    index = r.build_index(ffpp(tree, {"scheme": "official", "lists": "lists"}))
    found = splits_of(index.records)
    assert found == {
        "000": "train", "001": "train", "004": "train", "005": "train", "002": "val", "003": "val", "006": "test",
        "007": "test", "000_001": "train", "001_000": "train", "004_005": "train", "005_004": "train",
        "002_003": "val", "003_002": "val", "006_007": "test", "007_006": "test",
    }  # fmt: skip
    left = [f"{REAL}/008", f"{REAL}/009", *(f"{fake(n)}/{v}" for n in FORGERIES for v in ("008_009", "009_008"))]
    assert index.odd["path"].tolist() == left and set(index.odd["reason"]) == {"in no list of the split"}
    assert r.leakage(index.records).empty


def test_an_unreadable_image_in_no_split_stops_nothing(tree):
    write_lists(tree / "lists", LISTS)
    trees.empty(tree / REAL / "009" / "0000.png")
    assert r.build_index(ffpp(tree, {"scheme": "official", "lists": "lists"})).unreadable.empty


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (LISTS | {"val": [["001", "002"]]}, "001 is in the lists of train and of val"),
        (LISTS | {"val": [[1, 2]]}, r"val\.json: \[1, 2\] found; a list of pairs of ids"),
        (LISTS | {"test": {"a": 1}}, r"test\.json: .* found; a list of pairs of ids"),
        ({"train": []}, r"no list .*val\.json; the official split wants train\.json, val\.json, test\.json"),
    ],
)
def test_wrong_lists_are_refused(tree, lists, message):
    write_lists(tree / "lists", lists)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        r.build_index(ffpp(tree, {"scheme": "official", "lists": "lists"}))


def test_a_random_split_parts_no_group_and_has_both_kinds(tmp_path):
    number = 0
    for name in [f"both {i}" for i in range(20)]:
        for kind in ("real", "fake"):
            picture(tmp_path / kind / f"{name}.png", number := number + 1)
    for name in [f"alone {i}" for i in range(10)]:
        picture(tmp_path / "fake" / f"{name}.png", number := number + 1)
    found = r.build_index(entry("folders", tmp_path, options={"pairs": "by_name"})).records
    assert (found.groupby("group")["split"].nunique() == 1).all()
    assert r.counts(found).to_dict("index") == {
        "real": {"train": 14, "val": 2, "test": 4}, "fake": {"train": 21, "val": 3, "test": 6}
    }  # fmt: skip
    other = r.build_index(entry("folders", tmp_path, split={"scheme": "random", "seed": 1})).records
    assert splits_of(other, "group") != splits_of(found, "group")


@pytest.mark.parametrize("layout", ["faceforensics", "coco", "folders"])
def test_nothing_depends_on_the_order_in_which_files_were_made(tmp_path, stored_tree, layout):
    others = {
        "faceforensics": {"options": {"compression": "c23", "manipulations": FORGERIES, "frames": 2}},
        "coco": {"options": {"limit": 20}},
        "folders": {"options": {"subfolder": "manipulation", "pairs": "by_name"}},
    }[layout]
    source = stored_tree
    if layout == "folders":
        source = tmp_path / "source"
        for number, (kind, name) in enumerate(product(("real", "fake/a", "fake/b"), range(12))):
            picture(source / kind / f"{name}.png", number)
    files = [path.relative_to(source) for path in source.rglob("*.png")]
    tables = []
    for seed in range(3):
        root = tmp_path / str(seed) / "tree"
        for row in np.random.default_rng(seed).permutation(len(files)):
            (root / files[row]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / files[row], root / files[row])
        tables.append(r.build_index(entry(layout, root, **others), workers=seed + 1).records)
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


# ---------------------------------------------------------------------------------------------------------------------
# The stored index. That a tree is not walked again is seen by taking its images away.


def remove_images(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.unlink()


def assert_same(one: r.Index, other: r.Index) -> None:
    for name in ("records", "unreadable", "odd"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.foreign == other.foreign


def test_a_tree_is_walked_once(tree, tmp_path):
    broken(tree)
    trees.foreign_files(tree / REAL)
    trees.odd_folders(tree / fake("FaceSwap"), tree / REAL / "000" / "0000.png")
    entry = ffpp(tree, on_unreadable="skip")
    first = r.records_of(entry, tmp_path / "index")
    assert_same(first, r.build_index(entry))
    for path in tree.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert_same(first, r.records_of(entry, tmp_path / "index"))
    remove_images(tree)
    assert_same(first, r.records_of(entry, tmp_path / "index"))
    assert len(first.unreadable) == 3 and len(first.odd) == 5 and len(first.foreign) == 4


def test_another_split_title_or_rule_needs_no_walk(tree, tmp_path):
    write_lists(tree / "lists", LISTS)
    first = r.records_of(ffpp(tree), tmp_path).records
    remove_images(tree)
    shares = r.records_of(ffpp(tree, {"scheme": "sequential", "shares": [0, 0, 1]}), tmp_path).records
    assert set(shares["split"]) == {"test"} and shares.drop(columns="split").equals(first.drop(columns="split"))
    official = r.records_of(ffpp(tree, {"scheme": "official", "lists": "lists"}, fit="crop", note="n"), tmp_path)
    assert r.counts(official.records).sum().to_dict() == {"train": 36, "val": 18, "test": 18}


@pytest.mark.parametrize(
    "changed", [{"frames": 2}, {"max_megapixels": 1}, {"root": "moved"}, {"refresh": True}, {"damage": b"PAR1"}]
)
def test_another_entry_walks_again(tree, tmp_path, changed):
    r.records_of(ffpp(tree), tmp_path / "index")
    (tree / REAL / "000" / "0000.png").unlink()
    if "root" in changed:
        tree = tree.rename(tmp_path / changed["root"])
    if "damage" in changed:
        (file,) = r.index_files(ffpp(tree), tmp_path / "index")
        file.write_bytes(changed["damage"])
    others = {key: value for key, value in changed.items() if key in ("frames", "max_megapixels")}
    index = r.records_of(ffpp(tree, **others), tmp_path / "index", refresh=changed.get("refresh", False))
    assert "000/0000/real" not in set(index.records["id"])


def test_a_repaired_image_is_noticed(tree, tmp_path):
    path = tree / REAL / "000" / "0000.png"
    content = path.read_bytes()
    trees.truncate(path)
    for _ in range(2):
        with pytest.raises(UnreadableImage, match=str(path)):
            r.records_of(ffpp(tree), tmp_path)
    path.write_bytes(content)
    assert len(r.records_of(ffpp(tree), tmp_path).records) == 90


def test_the_index_is_plain_parquet_without_splits(tree, tmp_path):
    r.records_of(ffpp(tree), tmp_path)
    (file,) = r.index_files(ffpp(tree), tmp_path)
    assert set(os.listdir(tmp_path)) == {"ffpp", file.name}
    table = pd.read_parquet(file)
    assert len(table) == 90 and "split" not in table.columns


def test_two_roots_do_not_overwrite_each_other(tree, tmp_path):
    """Else a run on a small tree would cost the index of a large one."""
    first = r.records_of(ffpp(tree), tmp_path / "index").records
    small = trees.faceforensics(tmp_path / "small", videos=2, frames=1, size=8, manipulations=FORGERIES)
    assert len(r.records_of(ffpp(small), tmp_path / "index").records) == 6
    remove_images(tree)
    assert r.records_of(ffpp(tree), tmp_path / "index").records.equals(first)


# ---------------------------------------------------------------------------------------------------------------------
# Questions to a table.


def test_leakage_against_a_count_by_hand(tree):
    # Trained on 000 to 006, validated on 007, tested on 008 and 009. Fakes go in pairs: 006_007 shows 007 in training,
    # 007_006 shows 006 in validation. Two manipulations of three frames: 4 videos, 12 images. 008 and 009 are together.
    found = r.leakage(r.build_index(ffpp(tree)).records)
    assert found.to_dict("records") == [
        {"split": "train", "other_split": "val", "identities": 2, "fake_videos": 4, "fake_images": 12}
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
    assert r.leakage(table).to_numpy().tolist() == [["train", "val", 1, 1, 1], ["val", "test", 1, 3, 3]]  # a; b


def test_duplicates_are_found_by_content(tree):
    shutil.copy(tree / REAL / "000" / "0000.png", tree / REAL / "009" / "0002.png")
    shutil.copy(tree / REAL / "000" / "0001.png", tree / REAL / "001" / "0001.png")
    shutil.copy(tree / REAL / "002" / "0001.png", tree / fake("FaceSwap") / "002_003" / "0001.png")
    found = r.duplicates(r.build_index(ffpp(tree)).records)
    assert found[["id", "across_splits", "across_labels"]].to_numpy().tolist() == [
        ["000/0000/real", True, False],
        ["009/0002/real", True, False],
        ["000/0001/real", False, False],
        ["001/0001/real", False, False],
        ["002/0001/real", False, True],
        ["002_003/0001/FaceSwap", False, True],
    ]
    assert found["digest"].iloc[0] == hashlib.sha256((tree / REAL / "000" / "0000.png").read_bytes()).hexdigest()


@pytest.fixture
def found(stored_tree):
    return r.build_index(ffpp(stored_tree)).records


def test_no_duplicates(found):
    assert r.duplicates(found).empty and "across_splits" in r.duplicates(found).columns


def test_choose(found):
    chosen = r.choose(found, ["FaceSwap"])
    assert r.counts(chosen).sum(axis=1).to_dict() == {"real": 30, "FaceSwap": 30}
    with pytest.raises(ValueError, match="no image of manipulation 'Faceswap'; there are: Deepfakes, FaceSwap"):
        r.choose(found, ["Deepfakes", "Faceswap"])
    with pytest.raises(ValueError, match="no manipulation named"):
        r.choose(found, [])


def test_sample_takes_whole_groups(found):
    drawn = r.sample(found, 2, seed=0)
    assert drawn.groupby("split")["group"].nunique().to_dict() == {"test": 2, "train": 2, "val": 1}
    assert (drawn.groupby("group").size() == 9).all()
    assert drawn["id"].tolist() == [name for name in found["id"] if name in set(drawn["id"])]
    shuffled = found.sample(frac=1, random_state=0)
    assert set(r.sample(shuffled, 2, seed=0)["id"]) == set(drawn["id"])
    assert {frozenset(r.sample(found, 2, seed)["group"]) for seed in range(9)} != {frozenset(drawn["group"])}
    assert len(r.sample(found, 100, seed=0)) == 90
    with pytest.raises(ValueError, match="groups is 0; 1 or more wanted"):
        r.sample(found, 0, seed=0)


def test_sample_of_unpaired_images_has_both_kinds(tmp_path):
    found = r.build_index(entry("cifake", trees.cifake(tmp_path, train=20, test=10, size=8))).records
    for seed in range(5):
        drawn = r.sample(found, 4, seed)
        assert r.counts(drawn)["test"].to_dict() == r.counts(drawn)["train"].to_dict() == {"real": 2, "fake": 2}


def test_pairs_that_no_manipulation_has_are_not_missing(found):
    assert r.has_pairs(found) and not r.has_pairs(found.assign(pair=""))
    generated = found[found["manipulation"] == "FaceSwap"].assign(pair="", source="", manipulation="generated")
    assert r.missing_pairs(pd.concat([found, generated])).empty
    assert len(r.missing_pairs(found.assign(pair=""))) == 60  # they name their sources: counterparts should be there
