"""What ``verify`` reports about a tree; lists of checksums come from ``sha256sum``."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from defocus_lib.data import manifest as m
from defocus_lib.data.audit import HEADINGS, read_checksums, verify
from defocus_lib.data.images import UnreadableImage
from defocus_lib.data.index import build_index
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

needs_sha256sum = pytest.mark.skipif(
    shutil.which("sha256sum") is None, reason="no sha256sum on this machine"
)
OFFICIAL = {"scheme": "official", "lists": "splits"}


@pytest.fixture(scope="module")
def stored_tree(tmp_path_factory):
    root = trees.faceforensics(
        tmp_path_factory.mktemp("ffpp"), frames=3, size=32, manipulations=FORGERIES
    )
    write_lists(root / "splits", LISTS | {"val": [["003", "002"], ["009", "008"]]})
    return root


@pytest.fixture
def tree(stored_tree, tmp_path):
    """A FaceForensics++ tree with nothing wrong, by the official split."""
    return Path(shutil.copytree(stored_tree, tmp_path / "ffpp"))


def problems(dataset: m.Dataset) -> dict[str, list[dict]]:
    """The problems that there are, as JSON gives them."""
    report = verify(dataset, n_workers=2)
    said = json.loads(json.dumps(report.as_json()))["problems"]
    assert set(said) == set(HEADINGS)
    assert report.ok == (not any(said.values()))
    return {key: found for key, found in said.items() if found}


def test_a_tree_with_nothing_wrong(tree):
    trees.foreign_files(tree / REAL)
    report = verify(ffpp(tree, OFFICIAL))
    assert report.ok and len(report.foreign) == 3
    assert (report.images, report.groups, report.root) == (90, 10, str(tree))
    assert report.as_json()["counts"]["FaceSwap"] == {"train": 12, "val": 12, "test": 6}
    assert "nothing is wrong" in report.text() and "no list of checksums" in report.text()


def test_every_unreadable_file_is_named(tree):
    paths = broken(tree)
    found = problems(ffpp(tree, OFFICIAL))
    assert [row["path"] for row in found["unreadable"]] == paths
    assert [row["id"] for row in found["missing_pairs"]] == [
        "001_000/0000/Deepfakes",
        "001_000/0000/FaceSwap",
    ]
    for path in sorted((tree / REAL).rglob("*.png")):
        trees.not_an_image(path)
    text = verify(ffpp(tree, OFFICIAL)).text()
    assert all(
        f"{REAL}/00{video}/000{frame}.png: " in text for video in range(10) for frame in range(3)
    )


def test_missing_frames_odd_names_and_copies(tree):
    (tree / REAL / "002" / "0001.png").unlink()
    (tree / fake("FaceSwap") / "000 (copy)").mkdir()
    shutil.copy(tree / REAL / "000" / "0000.png", tree / REAL / "009" / "0002.png")
    found = problems(ffpp(tree, OFFICIAL))
    assert set(found) == {"missing_pairs", "odd", "duplicates"}
    assert [row["id"] for row in found["missing_pairs"]] == [
        "002_003/0001/Deepfakes",
        "002_003/0001/FaceSwap",
    ]
    assert [row["path"] for row in found["odd"]] == [f"{fake('FaceSwap')}/000 (copy)"]
    assert [(row["id"], row["across_splits"]) for row in found["duplicates"]] == [
        ("000/0000/real", True),
        ("009/0002/real", True),
    ]


def test_what_is_not_used_and_what_is_short_are_facts_by_reason(tree):
    (tree / fake("FaceSwap") / "000_001" / "0002.png").unlink()
    shutil.rmtree(tree / REAL / "009")
    for number in range(4):
        picture(tree / REAL / "009" / f"{number}.png", 100 + number)
    report = verify(ffpp(tree, OFFICIAL, frames=3))
    said = json.loads(json.dumps(report.as_json()))
    reason = "after the first 3 frames of a video"
    assert said["unused_by_reason"] == {reason: 1}
    (row,) = said["unused"]
    place = f"{REAL}/009"
    assert row == {"path": place, "reason": reason, "images": 1, "first": "3.png", "last": "3.png"}
    place = f"{fake('FaceSwap')}/000_001"
    assert said["short"] == [{"path": place, "frames": 2, "asked": 3}]
    text = report.text()
    assert f"1 image that is not used\n    {reason}: 1\n" in text
    assert "1 video has fewer than 3 frames, at least 2" in text


def test_what_the_manifest_does_not_name_may_be_absent(tree):
    options = {"compression": "c23"}
    shutil.rmtree(tree / "manipulated_sequences" / "FaceSwap")
    report = verify(entry("faceforensics", tree, options=options, split=OFFICIAL))
    absent = ["Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures"]
    assert report.ok and report.as_json()["absent"] == absent
    assert f"not there, and not named in the manifest: {', '.join(absent)}" in report.text()
    named = {"manipulations": ["Deepfakes", "FaceSwap"]}
    found = problems(entry("faceforensics", tree, options=options | named, split=OFFICIAL))
    assert [row["path"] for row in found["odd"]] == [fake("FaceSwap")]


def test_the_leak_of_the_sequential_split_is_a_problem(tree):
    found = problems(ffpp(tree))
    assert found == {
        "leakage": [
            {
                "split": "train",
                "other_split": "val",
                "identities": 2,
                "fake_videos": 4,
                "fake_images": 12,
            }
        ]
    }


def test_videos_in_no_list_are_a_problem(tree):
    write_lists(tree / "splits", LISTS)
    assert [row["reason"] for row in problems(ffpp(tree, OFFICIAL))["odd"]] == [
        "in no list of the split"
    ] * 6


def test_pairs_by_name_that_nobody_has_are_missing(tmp_path):
    for number, name in enumerate(("real/a", "real/b", "fake/c", "fake/d")):
        picture(tmp_path / f"{name}.png", number)
    assert set(problems(entry("folders", tmp_path))) == {
        "one_sided"
    }  # two and two can't be cut in three
    found = problems(entry("folders", tmp_path, options={"pairs": "by_name"}))
    assert [row["id"] for row in found["missing_pairs"]] == ["c/fake", "d/fake"]


def test_identities_that_nobody_knows_are_not_denied(tmp_path, tree):
    unknown = verify(entry("folders", trees.folders(tmp_path / "own", clips=10, size=32)))
    assert not unknown.as_json()["identities_known"] and unknown.problems["leakage"].empty
    assert "identities not known" in unknown.text() and "share identities" not in unknown.text()
    known = verify(ffpp(tree, OFFICIAL))
    assert known.as_json()["identities_known"] and "identities not known" not in known.text()
    assert "0 pairs of splits that share identities" in known.text()


def test_fakes_that_equal_their_real_image_are_named_and_have_no_pair(tree):
    same = tree / fake("Deepfakes") / "000_001"
    shutil.copy(tree / REAL / "000" / "0001.png", same / "0001.png")  # the same bytes
    image = Image.open(tree / REAL / "000" / "0002.png")
    image.save(same / "0002.png", compress_level=9)  # the same pixels in another file
    assert (same / "0002.png").read_bytes() != (tree / REAL / "000" / "0002.png").read_bytes()
    found = problems(ffpp(tree, OFFICIAL))
    names = ["000_001/0001/Deepfakes", "000_001/0002/Deepfakes"]
    assert [row["id"] for row in found["identical"]] == names
    assert set(found) == {"identical", "duplicates"}  # no pair is missing
    assert "2 manipulated images that equal their real images" in verify(ffpp(tree)).text()
    pairs = build_index(ffpp(tree, OFFICIAL)).records.set_index("id")["pair"]
    assert (pairs[names] == "").all() and pairs["000_001/0000/Deepfakes"] == "000/0000/real"
    assert (pairs == "").sum() == 2


@pytest.mark.parametrize("size", [(3, 3), (31, 64), (400, 1)])
def test_a_picture_below_the_least_size_is_named(tmp_path, size):
    picture(tmp_path / "a.png")
    Image.new("RGB", size).save(tmp_path / "b.png")
    (row,) = problems(entry("coco", tmp_path))["unreadable"]
    width, height = size
    assert row["path"] == "b.png"
    assert row["reason"] == f"{width}x{height} px; at least 32 px wide and high wanted"
    with pytest.raises(UnreadableImage, match=rf"b\.png: {width}x{height} px"):
        build_index(entry("coco", tmp_path))


def test_copies_that_the_manifest_says_to_skip_are_counted_and_no_fault(tmp_path):
    """An image in training and test, one twice in the test; then a real one that is called fake."""
    root = trees.cifake(tmp_path, train=2, test=2)  # few, so that no forest grows
    train, test = root / "train" / "REAL", root / "test" / "REAL"
    shutil.copy(test / "0000.jpg", train / "of the test.jpg")
    shutil.copy(test / "0000 (2).jpg", test / "again.jpg")
    split = {"scheme": "folders", "validation": 0.5, "seed": 0}
    assert len(problems(entry("cifake", root, split=split))["duplicates"]) == 4
    skip = entry("cifake", root, split=split, on_duplicates="skip")
    report = verify(skip)
    assert report.ok and (report.copies, report.copies_left_out) == (4, 1)
    line = "4 images whose content occurs more than once; `on_duplicates: skip` leaves 1 of them"
    assert line in report.text() and report.as_json()["copies_left_out"] == 1
    shutil.copy(train / "0000 (2).jpg", root / "test" / "FAKE" / "real.jpg")
    found = problems(skip)["duplicates"]
    assert [row["path"] for row in found] == ["train/REAL/0000 (2).jpg", "test/FAKE/real.jpg"]
    assert "real here and manipulated there: 2" in verify(skip).text()


def test_too_few_files_say_nothing_about_the_label(tmp_path):
    for number in range(6):
        picture(tmp_path / ("real", "fake")[number % 2] / f"{number}.png", number)
    mine = entry("folders", tmp_path)
    line = "fake told from real by facts about the files alone: not known, too few images"
    assert line in verify(mine).text()
    (row,) = json.loads(json.dumps(verify(mine).as_json(), allow_nan=False))["shortcuts"]
    assert row["auc"] is None and row["images"] == 6


def test_a_tree_without_a_readable_image(tmp_path):
    trees.empty(picture(tmp_path / "a.png"))
    report = verify(entry("coco", tmp_path))
    assert not report.ok and report.images == 0 and "a.png: the file is empty" in report.text()


def test_one_is_not_several(tmp_path):
    picture(tmp_path / "a.png")
    one = verify(entry("coco", tmp_path)).text()
    assert (
        "1 image, 1 group (" in one
        and "0 images that can't be read" in one
        and "0 files that are no images" in one
    )
    trees.empty(picture(tmp_path / "b.png"))
    (tmp_path / "notes.txt").touch()
    two = verify(entry("coco", tmp_path)).text()
    assert (
        "1 image that can't be read\n    b.png: " in two
        and "1 file that is no image: notes.txt" in two
    )


def test_long_lists_are_shortened_in_the_text_alone(tmp_path):
    for number in range(30):
        (tmp_path / f"part-{number}").mkdir()
    picture(tmp_path / "a.png")
    report = verify(entry("diffusiondb", tmp_path))
    assert "and 10 more (--json lists all)" in report.text()
    assert len(report.as_json()["problems"]["odd"]) == 30


# ------------------------------------------------------------------------------------------------
# Checksums.


def write_checksums(root: Path, *options: str) -> None:
    """What ``sha256sum`` says of all files below ``root``."""
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    made = subprocess.run(
        ["sha256sum", *options, *files], cwd=root, capture_output=True, check=True
    )
    (root / "SHA256SUMS").write_bytes(made.stdout)


@needs_sha256sum
@pytest.mark.parametrize("options", [(), ("--binary",)])
def test_good_checksums(tree, options):
    write_checksums(tree, *options)
    report = verify(ffpp(tree, OFFICIAL, checksums="SHA256SUMS"))
    assert report.ok and report.has_checksums and "0 differences" in report.text()


@needs_sha256sum
def test_bad_checksums(tree):
    write_checksums(tree)
    picture(tree / REAL / "000" / "0000.png", 5)  # another image
    trees.empty(tree / REAL / "001" / "0000.png")  # unreadable too
    (tree / fake("FaceSwap") / "000_001" / "0002.png").unlink()
    picture(tree / REAL / "003" / "0003.png", 6)
    (tree / "splits" / "train.json").write_text(
        json.dumps(LISTS["train"]) + "\n"
    )  # no image, but in the list
    found = problems(ffpp(tree, OFFICIAL, checksums="SHA256SUMS"))["checksums"]
    reasons = {row["path"]: row["reason"] for row in found}
    assert reasons.pop(f"{REAL}/003/0003.png") == "not in the list of checksums"
    assert (
        reasons.pop(f"{fake('FaceSwap')}/000_001/0002.png")
        == "in the list of checksums, not on disk"
    )
    assert set(reasons) == {f"{REAL}/000/0000.png", f"{REAL}/001/0000.png", "splits/train.json"}
    assert all(reason.startswith("SHA-256 is ") for reason in reasons.values())


@needs_sha256sum
def test_checksums_of_a_part(tmp_path):
    coco, ddb = (
        trees.coco(tmp_path / "coco", images=4, size=48),
        trees.diffusiondb(tmp_path / "ddb", 4, 48),
    )
    write_checksums(coco)
    both = union(coco, ddb)
    both._parts = (both._parts[0].model_copy(update={"checksums": "SHA256SUMS"}), both._parts[1])
    assert problems(both) == {}
    spoilt = next(coco.glob("*/*.jpg"))
    picture(spoilt.with_suffix(".png")).rename(spoilt)
    assert [row["path"] for row in problems(both)["checksums"]] == [
        f"coco/{spoilt.relative_to(coco).as_posix()}"
    ]


@needs_sha256sum
def test_names_in_a_list_of_checksums(tmp_path):
    names = ["a b", "übung", "back\\slash", "line\nbreak", "sub/ two", "#"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    write_checksums(tmp_path)
    assert sorted(name for name, _ in read_checksums(tmp_path / "SHA256SUMS")) == sorted(names)


def test_other_forms_of_a_list(tmp_path):
    path = tmp_path / "sums"
    path.write_bytes(f"{'A' * 64}  ./a.png\r\n\r\n{'b' * 64} *b.png".encode())
    assert list(read_checksums(path)) == [("a.png", "a" * 64), ("b.png", "b" * 64)]
    path.write_text(f"{'a' * 64}  a.png\nMD5 (b.png) = 0\n")
    with pytest.raises(
        ValueError, match=r"sums, line 2: 'MD5 \(b\.png\) = 0' found; '<SHA-256>  <path>' wanted"
    ):
        list(read_checksums(path))
    with pytest.raises(FileNotFoundError, match=r"no file of checksums at .*nowhere"):
        list(read_checksums(tmp_path / "nowhere"))
