"""One notebook by itself: what it refuses, where its result lies, and that the run stays."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from typer.testing import CliRunner

from defocus_lib.commands import app
from defocus_lib.run import single
from defocus_lib.run.artifacts import About, Folder, write_json
from tests.sources import PARAMETERS, write

PAGE = """
artifacts: str = ""

# %%
from pathlib import Path

from defocus_lib.run.artifacts import write_json

folder = Path(artifacts)
_ = write_json(folder / "claims" / "page.json", [threshold])
print((folder / "kept.txt").read_text(), threshold, steps)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one notebook, a profile, and a run of it."""
    (tmp_path / "data_manifest.yaml").touch()
    write(tmp_path / "notebooks" / "05_page.py", PARAMETERS + PAGE.lstrip("\n"))
    write(tmp_path / "notebooks" / "profiles" / "demo.yaml", "05_page: {steps: 7}\n")
    run = tmp_path / "artifacts" / "demo"
    Folder.create("demo", run, About())
    write(run / "kept.txt", "of the run")
    write(run / ".lock", "")
    write_json(run / "claims" / "page.json", [0.1])
    write(run / "notebooks" / "05_page.ipynb", "the page of the book")
    return tmp_path


def command(project: Path, *words: str) -> SimpleNamespace:
    with contextlib.chdir(project):
        done = CliRunner().invoke(app, ["run", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return SimpleNamespace(code=done.exit_code, out=done.stdout, err=done.stderr)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["05_page", "-p", "treshold", "0.2"], "'treshold'; did you mean 'threshold'? There are"),
        (
            ["05_page", "-p", "steps", "0.5"],
            "05_page: parameter 'steps' is 0.5 (float); int wanted",
        ),
        (["05_pages"], "unknown notebook '05_pages'; did you mean '05_page'?"),
        (["05_page", "--profile", "dmo"], "unknown profile 'dmo'; did you mean 'demo'?"),
        (["05_page", "-p", "threshold"], "parameter 'threshold' is None (NoneType); float wanted"),
        (["05_page", "-p", "threshold", "--profile", "demo"], "'threshold' is None (NoneType);"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(project, words, message):
    done = command(project, *words)
    assert done.code == 2 and message in done.err and not done.out
    assert not (project / "artifacts" / "single").exists()


def test_a_profile_that_has_not_run_is_named(project):
    write(project / "notebooks" / "profiles" / "other.yaml", "")
    done = command(project, "05_page", "--profile", "other")
    assert done.code == 2 and "`make book PROFILE=other` makes what" in done.err


def test_text_stays_text_and_the_rest_is_yaml():
    declared = {"perplexities": "5", "threshold": 0.1, "quick": False}
    given = ["perplexities=3, 5", "threshold=1e-3", "quick=true", "perplexities=7"]
    values = single._values(given, declared)
    assert values == {"perplexities": "7", "threshold": "1e-3", "quick": True}


def test_a_copy_of_a_run_takes_what_is_written_and_the_run_stays(project):
    run = project / "artifacts" / "demo"
    folder = single.link_run(run, project / "artifacts" / "single" / "demo" / "05_page")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    assert names == ["claims", "claims/page.json", "kept.txt", "provenance.json"]
    write_json(folder / "claims" / "page.json", [2])
    assert (run / "claims" / "page.json").read_text() != (folder / "claims/page.json").read_text()


@pytest.mark.slow
def test_a_page_that_the_data_leave_out_says_what_it_needs(project):
    page = project / "notebooks" / "05_page.py"
    text = page.read_text().replace("[markdown]", '[markdown] tags=["needs-2-test-groups"]', 1)
    write(page, text)
    run = project / "artifacts" / "demo"
    (run / "provenance.json").unlink()
    Folder.create("demo", run, About(title="two pictures", test_groups=1))
    done = command(project, "05_page")
    assert done.code == 0
    assert "this needs 2 test images of each class, and the data (two pictures)" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("parameter", [["-p", "threshold", "0.2"], ["-p", "threshold=0.2"]])
def test_the_result_lies_where_the_command_says(project, parameter):
    done = command(project, "05_page", *parameter)
    path = project / "artifacts" / "single" / "demo" / "05_page" / "notebooks" / "05_page.ipynb"
    assert done.code == 0 and str(path) in done.out
    cells = nbformat.read(path, as_version=4).cells
    assert cells[-1].outputs[0].text == "of the run 0.2 7\n"
    assert "Left out" not in done.err
    run = project / "artifacts" / "demo"
    assert (run / "claims" / "page.json").read_text().split() == ["[", "0.1", "]"]
    assert (run / "notebooks" / "05_page.ipynb").read_text() == "the page of the book"
