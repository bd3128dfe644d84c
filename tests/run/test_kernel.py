"""Kernels: of this interpreter, and copies of one process that has imported the packages."""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest

from defocus_lib.run import kernel
from defocus_lib.run import notebook as execution
from tests.sources import PARAMETERS, write

TELL = """
# %%
import os, sys

mine = ["OMP_NUM_THREADS", "PYTHONHASHSEED"]
print(sys.executable, os.getcwd(), os.getsid(0) == os.getpid(), os.getppid())
print([os.environ.get(name) for name in mine], hash("text"), "timm" in sys.modules)
left = globals().get("left", 0) + 1
os.environ["LEFT"] = "behind"
print(left)
"""


def told(folder: Path) -> list[str]:
    notebook = nbformat.read(folder / "notebooks" / "page.ipynb", as_version=4)
    return notebook.cells[2].outputs[0].text.splitlines()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "page.py", PARAMETERS + TELL)


@pytest.mark.slow
@pytest.mark.skipif(not kernel.CAN_FORK, reason="copies are made on Linux alone")
def test_copies_are_like_kernels_of_their_own(source: Path, tmp_path: Path) -> None:
    before, forks = dict(os.environ), kernel.Forks(execution.kernel_environment(1))
    for name in ("ordinary", "copy", "another"):
        run = execution.run_notebook(source, tmp_path / name, {}, tmp_path, "page", 1, forks)
        assert run.cpu_seconds < (os.cpu_count() or 1) * run.seconds  # its own, not of this process
    assert dict(os.environ) == before
    ordinary, copy, another = (told(tmp_path / name) for name in ("ordinary", "copy", "another"))
    parents = [int(lines[0].split()[-1]) for lines in (ordinary, copy, another)]
    assert parents[0] == os.getpid() and parents[1] == parents[2] != os.getpid()
    for lines in (ordinary, copy, another):
        assert lines[0].split()[:-1] == [sys.executable, str(tmp_path), "True"]
    assert [lines[1].split()[-1] for lines in (ordinary, copy)] == ["False", "True"]
    assert ordinary[1].split()[:-1] == copy[1].split()[:-1]  # variables, and the hash of a text
    assert copy[1:] == another[1:]  # the copy left nothing behind


DRAW = """
# %%
import matplotlib.pyplot as plt

from defocus_lib.figures.style import figure


@figure
def line():
    fig, ax = plt.subplots()
    ax.plot([0, 1])
    return fig


line()
"""


@pytest.mark.slow
@pytest.mark.skipif(not kernel.CAN_FORK, reason="copies are made on Linux alone")
def test_a_copy_shows_the_same_figures(tmp_path: Path) -> None:
    source, forks = write(tmp_path / "page.py", PARAMETERS + DRAW), kernel.Forks({})
    pictures = []
    for name in ("ordinary", "copy"):
        execution.run_notebook(source, tmp_path / name, {}, tmp_path, "page", 1, forks)
        notebook = nbformat.read(tmp_path / name / "notebooks" / "page.ipynb", as_version=4)
        (output,) = notebook.cells[2].outputs
        pictures.append(output.data["image/png"])
    assert pictures[0] == pictures[1]


@pytest.mark.slow
@pytest.mark.skipif(not kernel.CAN_FORK, reason="copies are made on Linux alone")
def test_a_copy_that_dies_is_told_and_another_serves(source: Path, tmp_path: Path) -> None:
    forks = kernel.Forks(execution.kernel_environment(1))
    dies = write(tmp_path / "dies" / "page.py", PARAMETERS + "\n# %%\nimport os\n\nos._exit(1)\n")
    assert not forks.serve(execution.kernel_environment(1))
    with pytest.raises(execution.NotebookFailed, match="page: the kernel died"):
        execution.run_notebook(dies, tmp_path / "a", {}, tmp_path, "page", 1, forks)
    execution.run_notebook(source, tmp_path / "b", {}, tmp_path, "page", 1, forks)
    assert told(tmp_path / "b")[-1] == "1"


def test_another_number_of_threads_gets_a_kernel_of_its_own(monkeypatch) -> None:
    forks = kernel.Forks({"OMP_NUM_THREADS": "1"})
    monkeypatch.setattr(forks, "_begin", lambda: setattr(forks, "_context", "begun"))
    assert not forks.serve({"OMP_NUM_THREADS": "1"})  # nothing has begun
    assert forks.serve({"OMP_NUM_THREADS": "1", "MORE": ""}) == kernel.CAN_FORK
    assert not forks.serve({"OMP_NUM_THREADS": "2"})


@pytest.mark.slow
def test_another_kernel_of_this_name_is_not_taken(source, tmp_path, monkeypatch) -> None:
    other = {"argv": ["no-such-program"], "display_name": "Another", "language": "python"}
    write(tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json", json.dumps(other))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    execution.run_notebook(source, tmp_path / "run", {}, tmp_path, "page")
    assert told(tmp_path / "run")[0].startswith(sys.executable)
