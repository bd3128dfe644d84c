"""Face crops from videos, which the tests encode: where the face is, is known."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from defocus_lib.data import extract as extraction
from defocus_lib.data import faces, videos
from defocus_lib.data.audit import verify
from defocus_lib.data.extract import ENDED, RECORDS, extract
from defocus_lib.data.faces import NoFace, Square
from defocus_lib.data.index import build_index
from defocus_lib.data.records import counts, leakage, missing_pairs
from tests import clips
from tests.entries import entry

FORGERIES = ("Deepfakes", "FaceSwap")
REAL = "original_sequences/youtube/c23"


def ffpp(root, frames=3, manipulations=FORGERIES, **extraction):
    options = {"compression": "c23", "manipulations": manipulations, "frames": frames}
    return entry("faceforensics", root, options=options, extract=extraction)


def folders(root, subfolder="video", pairs="by_name", **extraction):
    options = {"subfolder": subfolder, "pairs": pairs}
    return entry("folders", root, options=options, extract={"frames": 2, **extraction})


def content(root):
    """Bytes of the files that are there: path -> bytes."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".mp4" and path.name != ".lock"
    }


def record(root, crops):
    return json.loads((root / RECORDS / f"{crops}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory):
    """Two videos and a fake of each by two manipulations; not to be changed."""
    root = tmp_path_factory.mktemp("downloaded")
    return clips.faceforensics(root, FORGERIES, frames=8)


@pytest.fixture
def root(downloaded, tmp_path):
    """A folder of links to the videos, for crops beside them."""
    for path in downloaded.rglob("*.mp4"):
        link = tmp_path / "ffpp" / path.relative_to(downloaded)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return tmp_path / "ffpp"


def test_the_crops_show_the_face_where_it_is(root):
    report = extract(ffpp(root), n_workers=1)
    assert report.ok and report.table["crops"].tolist() == [3] * 6
    for name, (left, top, side) in record(root, f"{REAL}/v1faces/000")["squares"].items():
        known = clips.face(int(name))
        box = np.array([left, top, left + side, top + side])
        assert (box[:2] <= known[:2] + 4).all() and (box[2:] >= known[2:] - 4).all()
        assert side < 1.5 * max(known[2:] - known[:2])
        crop = np.asarray(Image.open(root / REAL / "v1faces" / "000" / f"{name}.png"))
        truth = Square(left, top, side).cut(clips.frame(int(name)))
        assert crop.shape == (side, side, 3)
        assert np.abs(crop.astype(float) - truth).mean() < 4  # what the compression changed


def test_fakes_show_the_same_piece_as_their_target(root):
    extract(ffpp(root), n_workers=1)
    fake = root / "manipulated_sequences" / "Deepfakes" / "c23" / "v1faces" / "001_000"
    photograph = clips.altered(clips.person(1))
    for path in sorted(fake.iterdir()):
        left, top, side = record(root, f"{REAL}/v1faces/001")["squares"][path.stem]
        crop, frame = (
            np.asarray(Image.open(path)).astype(float),
            clips.frame(int(path.stem), photograph),
        )
        assert np.abs(crop - Square(left, top, side).cut(frame)).mean() < 4
        assert np.abs(crop - Square(left + 4, top, side).cut(frame)).mean() > 5


def test_the_layout_reads_what_was_extracted(root):
    dataset = ffpp(root)
    extract(dataset, n_workers=1)
    report = verify(dataset, n_workers=1)
    assert report.images == 18 and report.groups == 2 and not report.foreign
    problems = {key for key, table in report.problems.items() if len(table)}
    assert not problems & {"odd", "unreadable", "missing_pairs", "missing_fakes", "duplicates"}


def test_names_of_deepfakedetection(tmp_path):
    """Its targets are videos of actors; an actor is one identity, in whatever scene."""
    target, fake = "01__talking_against_wall", "01_02__talking_against_wall__A8B4EXG0"
    actors = tmp_path / "original_sequences" / "actors" / "c23" / "videos"
    fakes = tmp_path / "manipulated_sequences" / "DeepFakeDetection" / "c23" / "videos"
    for video, name in enumerate((target, "01__exit_phone_room")):
        clips.encode(actors / f"{name}.mp4", clips.moving(2, clips.person(video)))
    clips.encode(fakes / f"{fake}.mp4", clips.moving(2, clips.altered(clips.person(0))))
    dataset = ffpp(tmp_path, frames=2, manipulations=["DeepFakeDetection"])
    assert extract(dataset, n_workers=1).ok
    folder = "manipulated_sequences/DeepFakeDetection/c23/v1faces"
    squares = record(tmp_path, f"original_sequences/actors/c23/v1faces/{target}")["squares"]
    assert record(tmp_path, f"{folder}/{fake}")["squares"] == squares
    found = build_index(dataset).records
    assert counts(found).sum(axis=1).to_dict() == {"real": 4, "DeepFakeDetection": 2}
    forged = found[found["label"] == 1]
    assert forged["pair"].tolist() == [f"{target}/00000{index}/real" for index in (0, 1)]
    assert forged["group"].unique().tolist() == [target] and set(forged["source"]) == {"02"}
    assert missing_pairs(found).empty
    real = found["label"] == 0
    apart = found.assign(split=np.where(real & (found["group"] != target), "train", "test"))
    assert leakage(apart)["identities"].tolist() == [1]


def test_evenly_spread_frames(root):
    extract(ffpp(root, take="evenly", frames=3, manipulations=FORGERIES[:1]), n_workers=1)
    crops = root / REAL / "v1faces" / "000"
    assert sorted(path.name for path in crops.iterdir()) == [
        *("000001.png", "000004.png", "000006.png")  # 8 frames: 1.33, 4, 6.67
    ]


def test_a_face_is_followed_between_the_frames_that_are_taken(tmp_path):
    """It moves by more than its width from one of these to the next; a larger one stands still."""
    face = Image.fromarray(data.astronaut()).crop((160, 40, 290, 200))
    frames = []
    for index in range(40):
        frame = Image.new("RGB", (700, 400), (90, 120, 90))
        frame.paste(face.resize((156, 192)), (10 + 12 * index, 0))
        if index:
            frame.paste(face.resize((168, 207)), (430, 190))
        frames.append(np.asarray(frame))
    clips.encode(tmp_path / "real" / "a.mp4", frames)
    extract(folders(tmp_path, take="evenly", frames=4), n_workers=1)
    squares = record(tmp_path, "real/a")["squares"]
    assert list(squares) == ["000005", "000015", "000025", "000035"]
    for name, (left, top, side) in squares.items():
        known = 10 + 12 * int(name) + np.array([20, 106]) * 1.2  # as clips.FACE in the photograph
        assert left + side / 2 == pytest.approx(known.mean(), abs=15) and top < 40


def test_a_fake_that_ends_before_its_target(root):
    report = extract(ffpp(root, frames=32), n_workers=1)
    rows = report.table.set_index("folder")
    assert rows.loc[f"{REAL}/v1faces/000", ["crops", "left_out"]].tolist() == [8, 24]
    fake = rows.loc["manipulated_sequences/FaceSwap/c23/v1faces/000_001"]
    assert (fake["crops"], fake["frames_left_out"]) == (7, f"{ENDED}: 000007")
    assert report.ok and pd.read_csv(report.path)["crops"].sum() == 16 + 4 * 7


def test_again_gives_the_same_bytes_and_does_nothing_that_is_done(root, monkeypatch):
    dataset = ffpp(root)
    first = extract(dataset, n_workers=1)
    before = content(root)
    (root / REAL / "v1faces" / "000" / "000001.png").unlink()
    again = extract(dataset, n_workers=1)
    assert content(root) == before and again.table.equals(first.table)
    monkeypatch.setattr(videos, "read_frames", None)
    assert extract(dataset, n_workers=1).table.equals(first.table)
    monkeypatch.undo()
    extract(dataset, n_workers=1, fresh=True)
    assert content(root) == before


def test_another_margin_replaces_the_crops(root):
    extract(ffpp(root, margin=0.0), n_workers=1)
    small = record(root, f"{REAL}/v1faces/000")["squares"]["000000"][2]
    extract(ffpp(root, margin=0.5), n_workers=1)
    crop = Image.open(root / REAL / "v1faces" / "000" / "000000.png")
    assert crop.width == pytest.approx(1.5 * small, abs=1.5)


def test_crops_of_somebody_else_are_left_alone(root):
    own = root / REAL / "v1faces" / "000" / "0000.png"
    own.parent.mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(own)
    before = own.read_bytes()
    table = extract(ffpp(root), n_workers=1, fresh=True).table.set_index("folder")
    assert "not made here" in table.loc[f"{REAL}/v1faces/000", "problem"]
    assert os.listdir(own.parent) == ["0000.png"] and own.read_bytes() == before
    assert table.loc[f"{REAL}/v1faces/001", "problem"] == ""


def test_what_fails_is_named_and_stops_nothing(root):
    place = root / REAL / "videos"
    whole = (place / "000.mp4").read_bytes()
    clips.encode(place / "coffee.mp4", clips.without_face(3))
    clips.encode(place / "late.mp4", [*clips.without_face(1), *clips.moving(2)])
    (place / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (place / "empty.mp4").write_bytes(b"")
    lonely = root / "manipulated_sequences" / "FaceSwap" / "c23" / "videos" / "777_778.mp4"
    clips.encode(lonely, clips.moving(1))
    (lonely.parent / "coffee_000.mp4").symlink_to(place / "coffee.mp4")
    clips.encode(lonely.parent / "late_000.mp4", [f[:120] for f in clips.moving(3)])
    report = extract(ffpp(root), n_workers=1)
    rows = report.table.set_index(report.table["video"].map(lambda name: Path(name).stem))
    problems = rows["problem"]
    assert not report.ok and (problems[["000", "001", "000_001", "001_000"]] == "").all()
    assert problems["coffee"] == "no crop: no face in it"
    assert rows.loc["late", ["crops", "frames_left_out", "problem"]].tolist() == [
        *(2, "no face in it: 000000", "")
    ]
    assert "can't be decoded" in problems["cut"] and "can't be decoded" in problems["empty"]
    assert "no video of its target" in problems["777_778"]
    assert problems["coffee_000"] == "its target has no crops"
    assert "240 x 120 px, where its target has 240 x 240" in problems["late_000"]
    assert not (root / REAL / "v1faces" / "coffee").exists()
    assert "coffee.mp4: no crop: no face in it" in report.text()


def test_frames_are_spread_over_those_of_a_truncated_video_that_can_be_decoded(tmp_path):
    whole = clips.encode(tmp_path / "whole.mp4", clips.moving(12))
    cut = tmp_path / "real" / "cut.mp4"
    cut.parent.mkdir()
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    assert videos.frames_in(whole) == (12, "")
    reader, known = cv2.VideoCapture(str(cut)), 0
    while reader.read()[0]:
        known += 1
    length, lacks = videos.frames_in(cut)
    assert 2 < length < 12 and abs(length - known) <= 1
    assert lacks == f"{length} of its 12 frames can be decoded"
    report = extract(folders(tmp_path, take="evenly"), n_workers=1)
    assert not report.ok and f"real/cut.mp4: {lacks}" in report.text()
    assert report.table[["crops", "left_out"]].to_numpy().tolist() == [[2, 0]]
    names = [f"{(2 * part + 1) * length // 4:06d}" for part in (0, 1)]
    assert list(record(tmp_path, "real/cut")["squares"]) == names


def test_a_video_of_which_no_frame_can_be_decoded(tmp_path):
    path = clips.encode(tmp_path / "a.mp4", clips.moving(4))
    content, start = path.read_bytes(), path.read_bytes().index(b"mdat") + 4
    path.write_bytes(content[:start])
    with pytest.raises(videos.UnreadableVideo, match="can't be decoded"):
        videos.frames_in(path)


@pytest.mark.slow
def test_a_video_that_ends_its_process_is_named_and_the_others_are_done(root, monkeypatch):
    crop, deadly = extraction._crop, ("FaceSwap/c23/videos/001_000", "youtube/c23/videos/666")
    (root / REAL / "videos" / "666.mp4").symlink_to(root / REAL / "videos" / "000.mp4")

    # Nested functions, which reach the other processes by value.
    def crop_or_die(task, clip, target):
        if any(name in clip.video for name in deadly):
            folder = task.root / RECORDS / "unfinished" / clip.crops
            folder.mkdir(parents=True, exist_ok=True)
            os._exit(1)
        return crop(task, clip, target)

    def perform(job):
        target = crop_or_die(job.task, job.clip, None)
        return [target, *(crop_or_die(job.task, fake, target) for fake in job.fakes)]

    monkeypatch.setattr(extraction, "_crop", crop_or_die)
    monkeypatch.setattr(extraction, "perform", perform)
    table = extract(ffpp(root), n_workers=2).table.set_index("video")
    died = table.index[table["problem"] == extraction.DIED].tolist()
    assert sorted(died) == [
        "manipulated_sequences/FaceSwap/c23/videos/001_000.mp4",
        "original_sequences/youtube/c23/videos/666.mp4",
    ]
    others = table.drop(died)
    assert len(others) == 5 and (others["crops"] == 3).all() and (others["problem"] == "").all()


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(root, tmp_path):
    """The kill comes when the first record is there; its workers are still at work then."""
    once, again = tmp_path / "once", tmp_path / "again"
    extract(ffpp(once, videos=str(root)), n_workers=1)
    code = (
        "import sys\nfrom tests.data.test_extract import ffpp, extract\n"
        "extract(ffpp(sys.argv[1], videos=sys.argv[2]), n_workers=2)"
    )
    command = [sys.executable, "-c", code, str(again), str(root)]
    killed = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    while killed.poll() is None and not list(again.rglob("*.json")):
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert len(list(again.rglob("*.json"))) < 6
    extract(ffpp(again, videos=str(root)), n_workers=1)
    assert content(again) == content(once)


def test_folders_of_videos(tmp_path):
    root = tmp_path / "own"
    clips.encode(root / "real" / "a.MP4".lower(), clips.moving(2))
    clips.encode(root / "real" / "b.mov", clips.moving(2))
    clips.encode(root / "fake" / "blend" / "a.mp4", clips.moving(2, clips.altered(clips.person(0))))
    dataset = folders(root, "manipulation/video")
    assert extract(dataset, n_workers=1).ok
    squares = record(root, "fake/blend/a")["squares"]
    assert squares == record(root, "real/a")["squares"] and len(squares) == 2
    report = verify(dataset, n_workers=1)
    assert report.images == 6 and report.problems["missing_pairs"].empty
    plain = folders(root, "manipulation/video", pairs="none", videos=str(root))
    assert [clip.target for clip in videos.clips_of(plain, root)] == ["", "", ""]


def test_what_cannot_be_extracted(tmp_path):
    with pytest.raises(ValueError, match="subfolder is none; video or manipulation/video wanted"):
        extract(folders(tmp_path, "none"), n_workers=1)
    with pytest.raises(ValueError, match="layout coco; faceforensics or folders"):
        extract(entry("coco", tmp_path), n_workers=1)
    with pytest.raises(FileNotFoundError, match="no folder"):
        extract(ffpp(tmp_path / "nowhere"), n_workers=1)
    with pytest.raises(FileNotFoundError, match=r"no videos in .*youtube.*no such folder"):
        extract(ffpp(tmp_path), n_workers=1)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(FileNotFoundError, match=r"no videos in .*real: .* holds a.mp4"):
        videos.clips_of(folders(tmp_path), tmp_path)
    (tmp_path / "fake" / "blend").mkdir(parents=True)
    (tmp_path / "real").mkdir()
    (tmp_path / "a.mp4").rename(tmp_path / "real" / "a.mp4")
    with pytest.raises(FileNotFoundError, match=r"fake: it holds blend \(.* subfolder video"):
        videos.clips_of(folders(tmp_path), tmp_path)


def test_two_videos_of_one_name(tmp_path):
    (tmp_path / "real").mkdir()
    for name in ("a.mp4", "a.avi"):
        (tmp_path / "real" / name).touch()
    with pytest.raises(ValueError, match=r"real/a.avi and real/a.mp4 .* rename one"):
        videos.clips_of(folders(tmp_path), tmp_path)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_rotation_that_the_camera_noted_is_applied(tmp_path, turns):
    """The matrix of the track, in the file format; OpenCV is the other reader that applies it."""
    path = clips.encode(tmp_path / "a.mp4", [clips.frame(0)[:180]])
    one, file = 0x10000, bytearray(path.read_bytes())
    matrix = [(one, 0, 0, one), (0, one, -one, 0), (-one, 0, 0, -one), (0, -one, one, 0)][turns]
    at = file.index(b"tkhd") + 44  # a b u c d v
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        file[at + place : at + place + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(file)
    ((_, pixels),) = videos.read_frames(path, [0])
    truth = np.rot90(clips.frame(0)[:180], -turns)  # a positive turn is clockwise
    assert pixels.shape == truth.shape and np.abs(pixels.astype(float) - truth).mean() < 4
    whole, other = cv2.VideoCapture(str(path)).read()
    assert whole and np.abs(pixels.astype(float) - other[..., ::-1]).mean() < 4


# ------------------------------------------------------------------------------------------------
# The face.


def test_the_largest_face_is_followed_and_then_the_one_that_overlaps_most():
    small, large = np.array([0, 0, 10, 10.0]), np.array([50, 50, 80, 80.0])
    assert faces.follow(np.stack([small, large]), None).tolist() == large.tolist()
    with pytest.raises(NoFace, match="another is"):
        faces.follow(large[None] + 26, large)  # 4 x 4 of 30 x 30 px in common
    moved = np.array([55, 52, 84, 82.0])
    assert faces.follow(np.stack([moved, 3 * large]), large).tolist() == moved.tolist()
    with pytest.raises(NoFace, match="another is"):
        faces.follow(small[None], large)
    with pytest.raises(NoFace, match="no face"):
        faces.follow(np.empty((0, 4)), large)


def test_a_frame_on_which_the_detector_fails_is_named(tmp_path, monkeypatch):
    """As it does where a box has no pixel in the frame: masks and boxes then differ in number."""
    clips.encode(tmp_path / "real" / "a.mp4", clips.moving(3))
    network, calls = faces._network(), []

    def detect(pixels):
        calls.append(pixels)
        if len(calls) == 2:
            raise IndexError("the shape of the mask")
        return type(network).detect(network, pixels)

    monkeypatch.setattr(network, "detect", detect)
    report = extract(folders(tmp_path, frames=3), n_workers=1)
    assert report.table["frames_left_out"].item() == (
        "the detector failed: the shape of the mask: 000001"
    )
    assert report.ok and report.table["crops"].item() == 2


def test_overlaps_by_hand():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 4, 4], [0, 0, 0, 0.0]])
    assert faces.overlaps(boxes[0], boxes).tolist() == [1, 1 / 7, 0, 0]


@pytest.mark.parametrize(
    ("box", "margin", "square"),
    [
        ((40, 40, 60, 50), 0.0, (40, 35, 20)),
        ((40, 40, 60, 50), 0.5, (35, 30, 30)),
        ((0, 0, 20, 20), 0.5, (0, 0, 30)),
        ((90, 70, 110, 95), 0.2, (70, 50, 30)),
        ((-10, -10, 200, 200), 0.3, (20, 0, 80)),
    ],
)
def test_squares_by_hand(box, margin, square):
    assert faces.square_around(np.array(box, float), margin, height=80, width=100) == square


def test_the_generator_and_the_threads_are_left_alone(generators_left_alone, two_threads, tmp_path):
    import torch

    faces._network.cache_clear()
    with generators_left_alone():
        assert len(faces.find_faces(data.astronaut())) == 1
        assert len(faces.find_faces(np.zeros((12, 40, 3), np.uint8))) == 0
    clips.encode(tmp_path / "real" / "a.mp4", clips.moving(1))
    extract(folders(tmp_path), n_workers=1)
    assert torch.get_num_threads() == two_threads
