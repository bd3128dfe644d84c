"""The command line: its exit code and its two streams."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from defocus_lib.__main__ import app
from defocus_lib.data import manifest as m
from tests import artefacts, clips, trees

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "pandas", "numpy", "pydantic", "PIL", "pyarrow")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a manifest of a good data set and of one with an unreadable image."""
    folder = tmp_path_factory.mktemp("project")
    trees.folders(folder / "good", clips=10, size=32)
    trees.folders(folder / "bad pictures", clips=10, size=32)
    trees.truncate(folder / "bad pictures" / "fake" / "photo-003.png")
    about = {"access": "a", "licence": "CC0", "layout": "folders", "options": {"pairs": "by_name"}}
    datasets = [
        {"name": "good", "title": "Good ones", "root": "${GOOD_ROOT}", **about},
        {"name": "bad", "title": "Bad ones", "root": "bad pictures", **about},
        {"name": "scenes", "title": "Scenes", "access": "a", "licence": "MIT", "layout": "scenes"},
    ]
    photographs = [m.load_manifest().photographs[0].model_dump()]
    content = {"version": 1, "photographs": photographs, "datasets": datasets}
    (folder / "data_manifest.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def run(project: Path, *words: str, **variables: str) -> SimpleNamespace:
    """The command in ``project``, without the start of another Python."""
    with contextlib.chdir(project):
        done = CliRunner().invoke(app, words, env={"GOOD_ROOT": None, **variables})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return SimpleNamespace(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr)


def process(project: Path, *words: str) -> subprocess.CompletedProcess:
    """Another Python in ``project``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command, pipes = [sys.executable, *words], {"capture_output": True, "text": True}
    return subprocess.run(command, cwd=project, env=environment, check=False, **pipes)


def test_a_process_ends_with_the_exit_code_and_one_line(project):
    done = process(project, "-m", "defocus_lib", "data", "verify", "dog")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == "error: no data set 'dog' in the manifest; it lists good, bad, scenes\n"


def test_help_imports_nothing_heavy(project):
    code = f"""
import sys, runpy
sys.argv[1:] = ["--help"]
try:
    runpy.run_module("defocus_lib", run_name="__main__")
except SystemExit as end:
    print(end.code, [name for name in {HEAVY} if name in sys.modules])
"""
    done = process(project, "-c", code)
    assert "data" in done.stdout and done.stdout.splitlines()[-1] == "0 []"


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


def test_store_verify_names_what_is_damaged(tmp_path):
    folder = artefacts.build(tmp_path / "run", scenes=3, size=32)
    done = run(tmp_path, "store", "verify", str(folder.path))
    assert (done.returncode, done.stdout) == (0, "5 files, 15 images; damaged: 0\n")
    path = folder.path / "shapley" / "splice" / "shard-00000.npz"
    path.write_bytes(path.read_bytes()[:-1])
    done = run(tmp_path, "store", "verify", str(folder.path / "shapley"))
    assert done.returncode == 1 and f"{path}: another checksum than in the index" in done.stdout
    listed = json.loads(run(tmp_path, "store", "verify", str(folder.path), "--json").stdout)
    assert [row["file"] for row in listed if row["problem"]] == ["splice/shard-00000.npz"]
    done = run(tmp_path, "store", "verify", str(tmp_path / "none"))
    assert done.returncode == 2 and "no set of Shapley values here" in done.stderr


def test_store_import(project, tmp_path):
    images = np.empty(2, dtype=object)
    images[:] = list(np.random.default_rng(0).random((2, 8, 8)))
    np.savez(tmp_path / "theirs.npz", dmaps=images, defocus_shaps=images, rgb_shaps=images)
    command = [
        "store",
        "import",
        str(tmp_path / "theirs.npz"),
        "--profile",
        "theirs",
        "--set",
        "real",
    ]
    done = run(project, *command)
    assert done.returncode == 0 and done.stdout.startswith("2 images:"), done.stderr
    assert (project / "artifacts" / "theirs" / "shapley" / "real" / "shard-00000.npz").exists()
    images[0] = {"no": "array"}
    np.savez(tmp_path / "theirs.npz", dmaps=images, defocus_shaps=images, rgb_shaps=images)
    done = run(project, *command)
    assert (
        done.returncode == 2
        and "error: " in done.stderr
        and "arrays of numbers wanted" in done.stderr
    )


def test_the_cache_is_shown_and_pruned(project, tmp_path, monkeypatch):
    folder = tmp_path / "artifacts" / ".maps"
    monkeypatch.setattr("defocus_lib.maps.cache.project_root", lambda: tmp_path)
    monkeypatch.setattr("defocus_lib.run.artifacts.project_root", lambda: tmp_path)
    monkeypatch.setattr("defocus_lib.maps.cache.present_versions", lambda: {"physical": "1" * 12})
    ages = {"1" * 12: [1, 3, 2], "2" * 12: [1]}  # days, by version
    for version, days in ages.items():
        for number, day in enumerate(days):
            name = f"physical/{version}/gaussian-128-stretch/00/{number:064x}.safetensors.gz"
            aged_file(folder / name, 500_000, day)
    temporary = aged_file(tmp_path / "artifacts/demo/.last.0123456789ab.ckpt", 2_000_000, 1)
    done = run(project, "cache", "show")
    assert done.stdout.splitlines()[:3] == [
        "physical 111111111111 gaussian-128-stretch: 3 maps, 1.5 MB",
        "physical 222222222222 gaussian-128-stretch: 1 maps, 0.5 MB; outdated",
        f"{folder}: 4 maps, 2.0 MB",
    ]
    shown = json.loads(run(project, "cache", "show", "--json").stdout)
    assert [(row["maps"], row["bytes"], row["current"]) for row in shown] == [
        (3, 1_500_000, True),
        (1, 500_000, False),
    ]
    done = run(project, "cache", "prune", "--limit", "0.0011")
    assert done.stdout.splitlines() == [
        "temporary files: 1 removed, 2.0 MB",
        "outdated maps: 1 removed, 0.5 MB",
        "least recently used: 1 removed, 0.5 MB",
    ]
    assert not temporary.exists() and not done.stderr
    assert sorted(path.name[63] for path in folder.rglob("*.gz")) == ["0", "2"]
    done = run(project, "cache", "show", DEFOCUS_MAPS_GB="x")
    assert done.returncode == 2 and done.stderr.startswith("error: DEFOCUS_MAPS_GB is 'x'")


def aged_file(path: Path, size: int, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - days * 86400,) * 2)
    return path


def test_inspect_writes_what_it_is_asked_for(project):
    folder = trees.folders(project / "pictures", clips=4, size=40) / "fake"
    trees.truncate(folder / "photo-003.png")
    outputs = {name: project / f"out.{name}" for name in ("html", "json", "csv")}
    words = [part for name, path in outputs.items() for part in (f"--{name}", str(path))]
    done = run(project, "inspect", str(folder), *words)
    assert done.returncode == 1 and "photo-003.png: " in done.stderr
    said = json.loads(outputs["json"].read_text())
    names = [Path(row["file"]).name for row in said["pictures"]]
    assert len(names) == 3 and "photo-003.png" not in names and len(said["unreadable"]) == 1
    assert len(outputs["csv"].read_text().splitlines()) == len(names) + 1
    assert outputs["html"].read_text().count("<article") == len(names)
    assert all(name in done.stdout for name in names)
    piped = run(project, "inspect", str(folder / names[0]), "--json", "-")
    assert piped.returncode == 0 and json.loads(piped.stdout)["pictures"][0] == said["pictures"][0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.jpg",), "error: nowhere.jpg is not there; a picture or a folder of them wanted"),
        (("good", "--weights", "none.pth"), "error: no weights at none.pth"),
        (("good", "--preset", "sharp"), "error: unknown preset 'sharp'"),
        (("good", "--html", "."), "Invalid value for '--html': file '.' is a directory"),
    ],
)
def test_what_can_not_be_inspected(project, words, message):
    done = run(project, "inspect", *words)
    assert done.returncode == 2 and not done.stdout
    assert message in done.stderr and "Traceback" not in done.stderr
