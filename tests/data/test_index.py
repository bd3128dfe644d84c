"""From trees on disk to records: images that can't be read, unions, and the stored index."""

import hashlib
import os
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from defocus_lib.data import manifest as m
from defocus_lib.data.images import Reader, UnreadableImage
from defocus_lib.data.index import Index, build_index, index_files, list_index, load_index
from defocus_lib.data.records import COLUMNS, counts, missing_pairs
from tests import trees
from tests.entries import (
    FORGERIES,
    LISTS,
    REAL,
    broken,
    entry,
    fake,
    ffpp,
    picture,
    union,
    write_lists,
)


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
            place, int(name != "real"), name, video, path.stem, target, pair, source, digest, 32, 32
        )  # fmt: skip
    return rows


def test_faceforensics_row_by_row(tree):
    found = build_index(ffpp(tree)).records
    assert found.columns.tolist() == COLUMNS
    wanted = rows_by_hand(tree)
    rows = found.drop(columns="split").set_index("id")
    assert len(wanted) == 90
    assert {
        name: tuple(row) for name, row in zip(rows.index, rows.itertuples(index=False), strict=True)
    } == wanted
    assert found["label"].dtype == found["width"].dtype == np.int64


def test_names_alone_give_the_same_records_without_their_content(tree):
    broken(tree)
    listed, read = list_index(ffpp(tree)), build_index(ffpp(tree, on_unreadable="skip"))
    columns = [name for name in COLUMNS if name not in ("digest", "width", "height", "pair")]
    of_read = listed.records[listed.records["id"].isin(read.records["id"])]
    assert of_read[columns].equals(read.records[columns].set_axis(of_read.index))
    assert len(listed.records) == len(read.records) + 3 and listed.unreadable.empty
    assert set(listed.records["digest"]) == {""}


def test_every_record_is_what_a_reader_reads(tree):
    entry = ffpp(tree)
    found = build_index(entry).records
    assert Reader(entry.folder(), 32).stack(found).shape == (90, 32, 32, 3)


@pytest.mark.parametrize("layout", ["faceforensics", "coco", "folders"])
def test_nothing_depends_on_the_order_in_which_files_were_made(tmp_path, stored_tree, layout):
    others = {
        "faceforensics": {
            "options": {"compression": "c23", "manipulations": FORGERIES, "frames": 2}
        },
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
        tables.append(build_index(entry(layout, root, **others), n_workers=seed + 1).records)
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


# ------------------------------------------------------------------------------------------------
# Images that can't be read.


def test_an_unreadable_image_stops_the_run_by_name(tree):
    paths = broken(tree)
    with pytest.raises(UnreadableImage) as caught:
        build_index(ffpp(tree))
    message = str(caught.value)
    assert message.startswith(f"{tree / paths[0]}: ") and "2 more can't be read" in message
    assert "data verify mine" in message and "on_unreadable: skip" in message


def test_or_it_is_left_out_and_counted(tree):
    before = build_index(ffpp(tree)).records.set_index("id")
    paths = broken(tree)
    index = build_index(ffpp(tree, on_unreadable="skip"))
    assert index.unreadable["path"].tolist() == paths
    assert index.unreadable["reason"].str.contains("damaged|empty|not an image").all()
    after = index.records.set_index("id")
    assert set(before.index) - set(after.index) == {
        "001/0000/real",
        "004_005/0001/Deepfakes",
        "009_008/0002/FaceSwap",
    }
    assert after["split"].equals(before.loc[after.index, "split"])
    assert missing_pairs(index.records)["id"].tolist() == [
        "001_000/0000/Deepfakes",
        "001_000/0000/FaceSwap",
    ]


def test_a_dangling_link_is_an_unreadable_image(tree):
    (tree / REAL / "000" / "0001.png").unlink()
    (tree / REAL / "000" / "0001.png").symlink_to(tree / "nowhere.png")
    index = build_index(ffpp(tree, on_unreadable="skip"))
    assert index.unreadable["reason"].tolist() == ["can't be opened (No such file or directory)"]


def test_a_huge_image_is_unreadable(tree):
    Image.new("L", (40, 51)).save(tree / REAL / "003" / "0002.png")
    index = build_index(ffpp(tree, on_unreadable="skip", max_megapixels=0.002))
    assert index.unreadable["path"].tolist() == [f"{REAL}/003/0002.png"]
    assert (
        "40x51" in index.unreadable["reason"].iloc[0]
        and "2,000" in index.unreadable["reason"].iloc[0]
    )


# ------------------------------------------------------------------------------------------------
# Unions.


def test_a_union_reads_as_one(tmp_path):
    both = union(
        trees.coco(tmp_path / "a" / "coco", images=10, size=48),
        trees.diffusiondb(tmp_path / "ddb", 10, 48),
    )
    found = build_index(both).records
    assert both.folder() == tmp_path
    assert counts(found).to_dict("index") == {
        "real": {"train": 7, "val": 1, "test": 2}, "ddb": {"train": 7, "val": 1, "test": 2}
    }  # fmt: skip
    assert Reader(tmp_path, 8).stack(found).shape == (20, 8, 8, 3)
    assert found["id"].is_unique and found["id"].iloc[0] == "coco:train2017:000000000016/real"
    assert found["group"].iloc[0] == "coco:train2017:000000000016" and found["pair"].iloc[-1] == ""


def test_a_union_decides_what_stops_it(tmp_path):
    coco, ddb = (
        trees.coco(tmp_path / "coco", images=10, size=48),
        trees.diffusiondb(tmp_path / "ddb", 10, 48),
    )
    first = trees.empty(sorted(ddb.iterdir())[0])
    with pytest.raises(UnreadableImage, match=str(first)):
        load_index(union(coco, ddb), tmp_path / "index")
    index = load_index(union(coco, ddb, on_unreadable="skip"), tmp_path / "index")
    assert index.unreadable["path"].tolist() == [f"ddb/{first.name}"]
    files = index_files(union(coco, ddb), tmp_path / "index")
    assert [path.name.split("-")[0] for path in files] == ["coco", "ddb"]
    assert sorted(files) == sorted((tmp_path / "index").iterdir())


def test_scenes_have_no_index():
    with pytest.raises(
        ValueError, match="'scenes' is rendered in the run; one with files on disk wanted"
    ):
        build_index(m.load_manifest().dataset("scenes"))


# ------------------------------------------------------------------------------------------------
# The stored index. That a tree is not walked again is seen by taking its images away.


def remove_images(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.unlink()


def assert_same(one: Index, other: Index) -> None:
    for name in ("records", "unreadable", "odd"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.foreign == other.foreign


def test_a_tree_is_walked_once(tree, tmp_path):
    broken(tree)
    trees.foreign_files(tree / REAL)
    trees.odd_folders(tree / fake("FaceSwap"), tree / REAL / "000" / "0000.png")
    entry = ffpp(tree, on_unreadable="skip")
    first = load_index(entry, tmp_path / "index")
    assert_same(first, build_index(entry))
    for path in tree.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert_same(first, load_index(entry, tmp_path / "index"))
    remove_images(tree)
    assert_same(first, load_index(entry, tmp_path / "index"))
    assert len(first.unreadable) == 3 and len(first.odd) == 5 and len(first.foreign) == 4


def test_another_split_title_or_rule_needs_no_walk(tree, tmp_path):
    write_lists(tree / "lists", LISTS)
    first = load_index(ffpp(tree), tmp_path).records
    remove_images(tree)
    shares = load_index(ffpp(tree, {"scheme": "sequential", "shares": [0, 0, 1]}), tmp_path).records
    assert set(shares["split"]) == {"test"} and shares.drop(columns="split").equals(
        first.drop(columns="split")
    )
    official = load_index(
        ffpp(tree, {"scheme": "official", "lists": "lists"}, fit="crop", note="n"), tmp_path
    )
    assert counts(official.records).sum().to_dict() == {"train": 36, "val": 18, "test": 18}


@pytest.mark.parametrize(
    "changed",
    [
        {"frames": 2},
        {"max_megapixels": 1},
        {"root": "moved"},
        {"refresh": True},
        {"content": b"PAR1"},
    ],
)
def test_another_entry_walks_again(tree, tmp_path, changed):
    load_index(ffpp(tree), tmp_path / "index")
    (tree / REAL / "000" / "0000.png").unlink()
    if "root" in changed:
        tree = tree.rename(tmp_path / changed["root"])
    if "content" in changed:
        (file,) = index_files(ffpp(tree), tmp_path / "index")
        file.write_bytes(changed["content"])
    others = {key: value for key, value in changed.items() if key in ("frames", "max_megapixels")}
    index = load_index(
        ffpp(tree, **others), tmp_path / "index", refresh=changed.get("refresh", False)
    )
    assert "000/0000/real" not in set(index.records["id"])


def test_a_repaired_image_is_noticed(tree, tmp_path):
    path = tree / REAL / "000" / "0000.png"
    content = path.read_bytes()
    trees.truncate(path)
    for _ in range(2):
        with pytest.raises(UnreadableImage, match=str(path)):
            load_index(ffpp(tree), tmp_path)
    path.write_bytes(content)
    assert len(load_index(ffpp(tree), tmp_path).records) == 90


def test_the_index_is_plain_parquet_without_splits(tree, tmp_path):
    load_index(ffpp(tree), tmp_path)
    (file,) = index_files(ffpp(tree), tmp_path)
    assert set(os.listdir(tmp_path)) == {"ffpp", file.name}
    table = pd.read_parquet(file)
    assert len(table) == 90 and "split" not in table.columns


def test_two_roots_do_not_overwrite_each_other(tree, tmp_path):
    """Else a run on a small tree would cost the index of a large one."""
    first = load_index(ffpp(tree), tmp_path / "index").records
    small = trees.faceforensics(
        tmp_path / "small", videos=2, frames=1, size=32, manipulations=FORGERIES
    )
    assert len(load_index(ffpp(small), tmp_path / "index").records) == 6
    remove_images(tree)
    assert load_index(ffpp(tree), tmp_path / "index").records.equals(first)
