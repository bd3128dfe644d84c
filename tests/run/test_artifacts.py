import errno
import json
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from defocus_lib.run import artifacts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return artifacts.Folder.create("smoke", tmp_path_factory.mktemp("made"))


CODE = '"""A docstring."""\n\nSTEP = 2\n\ndef double(x):\n    return STEP * x\n'
SAME_CODE = {
    "docstring": CODE.replace("A docstring.", "Another."),
    "no docstring": CODE.split("\n", 1)[1],
    "comment": CODE.replace("STEP = 2", "STEP = 2  # px"),
    "attribute docstring": CODE.replace("STEP = 2", 'STEP = 2\n"""In px."""'),
    "function docstring": CODE.replace("return", '"""Twice x."""\n    return'),
    "formatting": CODE.replace("STEP * x", "(\n        STEP\n        * x)"),
    "line endings": CODE.replace("\n", "\r\n"),
}
OTHER_CODE = {
    "constant": CODE.replace("STEP = 2", "STEP = 3"),
    "name": CODE.replace("double", "triple"),
    "order": CODE.replace("STEP * x", "x * STEP"),
    "used string": CODE.replace("STEP * x", '"A docstring."'),
}


@pytest.mark.parametrize(
    ("text", "same"),
    [(text, True) for text in SAME_CODE.values()] + [(text, False) for text in OTHER_CODE.values()],
    ids=[*SAME_CODE, *OTHER_CODE],
)
def test_a_digest_of_code_depends_on_what_computes_alone(tmp_path, text, same):
    before, after = tmp_path / "before.py", tmp_path / "after.py"
    before.write_bytes(CODE.encode())
    after.write_bytes(text.encode())
    assert (artifacts.code_digest(before) == artifacts.code_digest(after)) == same


def test_a_digest_of_modules_does_not_depend_on_their_order(tmp_path):
    (tmp_path / "a.py").write_text("A = 1")
    (tmp_path / "b.py").write_text("B = 2")
    a, b = (SimpleNamespace(__file__=str(tmp_path / name)) for name in ("a.py", "b.py"))
    assert artifacts.source_digest(a, b) == artifacts.source_digest(b, a)
    assert len({artifacts.source_digest(*modules) for modules in ([a], [b], [a, b])}) == 3


def test_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="array 'ids' has dtype object"):
        artifacts.write_arrays(tmp_path / "a.npz", {"ids": np.array(["a", None], dtype=object)})
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.json"
    artifacts.write_json(path, {"version": 1})

    def fail(beside):
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artifacts.write_beside(path, fail)
    assert json.loads(path.read_text()) == {"version": 1} and list(tmp_path.iterdir()) == [path]


def test_a_folder_says_what_its_images_are(tmp_path):
    about = artifacts.About(
        "faceforensics", "FaceForensics++", "video", ("pairs",), "/data", 299, "crop", 10
    )
    assert artifacts.Folder.create("ffpp", tmp_path, about).about == about
    assert artifacts.Folder.open("ffpp", tmp_path).about == about
    assert (
        artifacts.Folder.create("ffpp", tmp_path).about == about
    )  # opening it again changes nothing
    (tmp_path / artifacts.PROVENANCE).write_text('{"profile": "ffpp"}')  # written by hand
    assert artifacts.Folder.open("ffpp", tmp_path).about == artifacts.About()


def test_a_missing_artefact_names_the_notebook(made, tmp_path):
    with pytest.raises(
        artifacts.MissingArtifact, match=r"provenance\.json is missing: run notebook 01_data"
    ):
        artifacts.Folder.open("smoke", tmp_path / "none")
    with pytest.raises(
        artifacts.MissingArtifact, match="run notebook 03_train_detector with profile 'smoke' first"
    ):
        made.require("metrics.csv", made_by="03_train_detector")


def test_the_folder_of_another_profile_is_refused(made):
    for door in (artifacts.Folder.open, artifacts.Folder.create):
        with pytest.raises(ValueError, match="belongs to profile 'smoke', not to 'demo'"):
            door("demo", made.path)


def test_damaged_provenance_is_named(tmp_path):
    (tmp_path / artifacts.PROVENANCE).write_text("{")
    with pytest.raises(ValueError, match=r"provenance\.json"):
        artifacts.Folder.open("smoke", tmp_path)


def test_a_folder_can_be_made_again(tmp_path):
    assert artifacts.Folder.create("demo", tmp_path / "new") == artifacts.Folder.create(
        "demo", tmp_path / "new"
    )


def test_project_root_is_found_from_below(tmp_path):
    (tmp_path / artifacts.MANIFEST).touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert artifacts.project_root(below) == tmp_path.resolve()


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KiB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_is_said_and_nothing_half_written_stays(tiny_disk):
    kept = artifacts.write_arrays(tiny_disk / "small.npz", {"a": np.arange(3)}, {})
    noise = {"a": np.random.default_rng(0).random(40_000)}
    with pytest.raises(
        OSError, match=r"no space to write .*large\.npz \(0 MiB free\): make room and run again"
    ):
        artifacts.write_arrays(tiny_disk / "large.npz", noise, {})
    assert list(tiny_disk.iterdir()) == [kept]
    assert artifacts.read_arrays(kept, {"a"})[0]["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_quota_keeps_the_old_file(tmp_path, code):
    path = artifacts.write_json(tmp_path / "table.json", 1)

    def fail(beside):
        beside.write_text("half")
        raise OSError(code, "no room")

    with pytest.raises(OSError, match=r"no space to write .*table\.json") as error:
        artifacts.write_beside(path, fail)
    assert (
        error.value.errno == code
        and path.read_text() == "1\n"
        and list(tmp_path.iterdir()) == [path]
    )


def test_only_what_a_killed_process_left_is_a_leftover(tmp_path):
    for name in (".lock", ".hidden.npz", "shard-00000.npz"):
        (tmp_path / name).touch()
    kept = []
    with pytest.raises(KeyboardInterrupt):
        artifacts.write_beside(
            tmp_path / "a" / "b.npz",
            lambda beside: kept.append(beside) or exec("raise KeyboardInterrupt"),
        )
    kept[0].touch()  # as if nobody had cleaned up
    assert artifacts.leftovers(tmp_path) == kept


def test_only_what_is_asked_for_is_read(tmp_path):
    path = artifacts.write_arrays(
        tmp_path / "a.npz", {"a": np.arange(3), "b": np.zeros(2)}, {"x": 1}
    )
    arrays, meta = artifacts.read_arrays(path, {"a"}, optional={"c"})
    assert set(arrays) == {"a"} and meta == {"x": 1}
    assert set(artifacts.read_arrays(path, {"a"}, optional={"b", "c"})[0]) == {"a", "b"}
