"""``inspect``: what it writes and refuses."""

import json
from pathlib import Path

import pytest

from tests import trees
from tests.verbs import run


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
