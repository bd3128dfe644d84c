"""``data``: its exit codes and its two streams."""

import json
import shutil

import pandas as pd
import pytest

from tests import clips
from tests.verbs import ROOT, run


def test_list(project):
    done = run(project, "data", "list", GOOD_ROOT="")
    assert done.returncode == 0 and not done.stderr
    assert "GOOD_ROOT is not set" in done.stdout and str(project / "bad pictures") in done.stdout
    listed = json.loads(
        run(project, "data", "list", "--json", GOOD_ROOT=str(project / "nowhere")).stdout
    )
    assert [entry["name"] for entry in listed] == ["good", "bad", "scenes"]
    assert (
        listed[0]["root"] == f"{project / 'nowhere'} (no such folder)"
        and listed[0]["licence"] == "CC0"
    )


def test_verify_nothing_wrong(project):
    done = run(project, "data", "verify", "good", GOOD_ROOT="good")
    assert done.returncode == 0 and "nothing is wrong" in done.stdout
    assert not done.stderr  # a file gets no progress bar


def test_verify_something_wrong(project):
    done = run(project, "data", "verify", "bad", "--json", "--n-workers", "1")
    said = json.loads(done.stdout)
    assert done.returncode == 1 and not said["ok"] and said["images"] == 19
    assert [row["path"] for row in said["problems"]["unreadable"]] == ["fake/photo-003.png"]
    assert "fake/photo-003.png: " in run(project, "data", "verify", "bad").stdout


def test_extract(tmp_path):
    """Videos of one's own, in a folder that the manifest names; one of them is none."""
    for kind, frames in (("real", clips.moving(2)), ("fake", clips.without_face(2))):
        clips.encode(tmp_path / "films" / kind / "a.mp4", frames)
    (tmp_path / "films" / "real" / "b.mp4").write_bytes(b"no video")
    (tmp_path / "data_manifest.yaml").write_bytes((ROOT / "data_manifest.yaml").read_bytes())
    roots = {"FOLDERS_ROOT": str(tmp_path / "crops"), "FOLDERS_VIDEOS": str(tmp_path / "films")}
    forms = {"FOLDERS_SUBFOLDER": "video", "FOLDERS_PAIRS": "by_name"}
    words = ("data", "extract", "folders", "--n-workers", "1")
    done = run(tmp_path, *words, **roots, **forms)
    assert done.returncode == 1 and not done.stderr
    assert "real/b.mp4: can't be decoded (Invalid data" in done.stdout
    assert "videos: 3; crops: 4; frames without one: 30; failed videos: 1" in done.stdout
    rows = json.loads(run(tmp_path, *words, "--json", **roots, **forms).stdout)
    assert [row["crops"] for row in rows] == [2, 2, 0]
    assert run(tmp_path, *words, **roots).returncode == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("verify", "good"),
            "error: data set 'good': variable GOOD_ROOT, which its root names, is not set",
        ),
        (("verify", "dog"), "error: no data set 'dog' in the manifest; it lists good, bad, scenes"),
        (("index", "scenes"), "error: data set 'scenes' is rendered in the run"),
        (("list", "--manifest", "nowhere.yaml"), "error: no manifest at nowhere.yaml"),
        (("verify", "bad", "--manifest", "wrong.yaml"), "error: wrong.yaml, line 1: version: "),
    ],
)
def test_what_can_not_be_looked_at(project, words, message):
    (project / "wrong.yaml").write_text("version: 2\nphotographs: []\ndatasets: []\n")
    done = run(project, "data", *words, GOOD_ROOT="")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith(message) and "Traceback" not in done.stderr


def test_wrong_use(project):
    for words in (("data", "verify"), ("data", "verify", "good", "--n-workers", "many"), ("dta",)):
        done = run(project, *words)
        assert done.returncode == 2 and "Traceback" not in done.stderr and not done.stdout


def test_index_is_written_once(project):
    words = ("data", "index", "good", "--json")
    first = run(project, *words, "--refresh", GOOD_ROOT=str(project / "good"))
    said = json.loads(first.stdout)
    assert first.returncode == 0 and not first.stderr
    (file,) = (project / "artifacts" / ".index").glob("good-*.parquet")
    assert said["files"] == [str(file)]
    assert said["counts"]["fake"] == {"train": 7, "val": 1, "test": 2}
    assert len(pd.read_parquet(said["files"][0])) == said["images"] == 20
    second = run(project, *words, GOOD_ROOT=str(project / "good"))
    assert second.stdout == first.stdout and not second.stderr


def test_what_was_verified_is_indexed(project, tmp_path):
    """Else who verifies, repairs and verifies again would train on what was there before."""
    copy = shutil.copytree(project / "good", tmp_path / "good")
    words = ("data", "index", "good", "--json")
    before = json.loads(run(project, *words, GOOD_ROOT=str(copy)).stdout)
    (copy / "fake" / "photo-003.png").unlink()
    assert json.loads(run(project, *words, GOOD_ROOT=str(copy)).stdout) == before
    run(project, "data", "verify", "good", GOOD_ROOT=str(copy))
    assert json.loads(run(project, *words, GOOD_ROOT=str(copy)).stdout)["images"] == 19


def test_index_stops_at_an_unreadable_image(project):
    done = run(project, "data", "index", "bad")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.splitlines()[-1].startswith(
        f"error: {project / 'bad pictures' / 'fake' / 'photo-003.png'}: "
    )
