"""What holds the project together: pins, the conda door, the table of contents, the notebooks, the
verbs of make."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from doit import doit_cmd
from ipykernel.kernelspec import get_kernel_dict
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from papermill.translators import PythonTranslator

import defocus_lib
from defocus_lib.run.headline import BY_HAND
from defocus_lib.run.notebook import read_notebook, tidy
from defocus_lib.run.parameters import check_parameters, declared_parameters, read_profile

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
JUPYTEXT = [sys.executable, "-m", "jupytext", "--quiet", "--sync"]
PYTHONS = ["3.11", "3.12", "3.13"]
MACHINES = {
    "linux": {
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": "x86_64",
    },
    "macos": {
        "sys_platform": "darwin",
        "platform_system": "Darwin",
        "os_name": "posix",
        "platform_machine": "arm64",
    },
    "windows": {
        "sys_platform": "win32",
        "platform_system": "Windows",
        "os_name": "nt",
        "platform_machine": "AMD64",
    },
}


@cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def direct() -> list[Requirement]:
    return [
        Requirement(line)
        for line in (*project()["dependencies"], *project()["optional-dependencies"]["dev"])
    ]


def pins(python: str, machine: dict[str, str]) -> dict[str, str]:
    """What the lock installs on ``machine``: name -> version."""
    interpreter = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "implementation_name": "cpython",
    }
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    found: dict[str, str] = {}
    for wanted in map(Requirement, lines):
        if wanted.marker is None or wanted.marker.evaluate(
            {**default_environment(), **interpreter, **machine}
        ):
            (pin,) = wanted.specifier
            name = canonicalize_name(wanted.name)
            assert pin.operator == "==" and not pin.version.endswith("*"), f"{wanted} is not exact"
            assert name not in found, f"{name} is pinned twice"
            found[name] = pin.version
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_the_lock_pins_every_direct_dependency_on_every_platform(
    machine: dict[str, str], python: str
) -> None:
    locked = pins(python, machine)
    for wanted in direct():
        assert canonicalize_name(wanted.name) in locked, f"{wanted.name}: run `make lock`"
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), wanted


def test_what_is_installed_is_what_is_locked() -> None:
    locked = pins(f"{sys.version_info[0]}.{sys.version_info[1]}", {})
    installed = {wanted.name: version(wanted.name) for wanted in direct()}
    assert installed == {name: locked[canonicalize_name(name)] for name in installed}


def test_the_conda_door_opens_on_the_same_environment() -> None:
    wanted = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    python = next(item for item in wanted if isinstance(item, str) and item.startswith("python="))
    (pip,) = [item["pip"] for item in wanted if isinstance(item, dict)]
    assert pip == ["-r requirements.lock", "--editable ."]
    accepted = SpecifierSet(project()["requires-python"])
    series = python.removeprefix("python=")
    assert accepted.contains(f"{series}.0") and accepted.contains(f"{series}.99")
    assert len(wanted) == 3, "a version belongs in requirements.lock"


def dry_run(*words: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess:
    command = ["make", "--dry-run", "--always-make", *words, "lint"]
    return subprocess.run(
        command, cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(os.name == "nt", reason="make and sh are those of Unix")
def test_make_takes_the_newest_interpreter_that_fits(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("awk", "bash", "grep", "make"):
        (folder / name).symlink_to(shutil.which(name))
    wanted = "Python 3.11, 3.12 or 3.13 wanted"
    nothing = dry_run(path=str(folder)).stdout
    assert wanted in nothing and f"{folder}/python" not in nothing
    for name, fits in (("python3", 1), ("python3.11", 0), ("python3.12", 0), ("python3.13", 1)):
        (folder / name).write_text(f"#!/bin/bash\nexit {fits}\n")
        (folder / name).chmod(0o755)
    assert f"{folder}/python3.12 -m venv .venv" in dry_run(path=str(folder)).stdout
    assert "/else/python -m venv .venv" in dry_run("PYTHON=/else/python").stdout


@pytest.mark.skipif(os.name == "nt", reason="make and sh are those of Unix")
def test_without_a_card_no_package_of_cuda_is_installed() -> None:
    lines = [
        line
        for line in dry_run("CPU=1", "PYTHON=python3").stdout.splitlines()
        if " --no-deps " in line
    ]
    pattern = re.search(r"grep -vE '([^']+)' requirements.lock", lines[0])[1]
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    left = [line for line in locked if not re.match(pattern, line)]
    assert "https://download.pytorch.org/whl/cpu" in lines[0]
    assert not [line for line in left if re.search("cuda|nvidia|triton", line)]
    assert len(locked) - len(left) > 10
    assert "grep" not in dry_run("PYTHON=python3").stdout


def chapters() -> list[str]:
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    return [
        contents["root"],
        *(chapter["file"] for part in contents["parts"] for chapter in part["chapters"]),
    ]


def table() -> dict[str, tuple[list[str], list[str]]]:
    """The table of reads and writes in dodo.py."""
    doit_cmd.reset_vars()
    doit_cmd.set_var("profile", "smoke")
    namespace: dict = {"__file__": str(ROOT / "dodo.py"), "__name__": "dodo_under_test"}
    exec(compile((ROOT / "dodo.py").read_text(encoding="utf-8"), "dodo.py", "exec"), namespace)
    return namespace["NOTEBOOKS"]


def test_every_notebook_is_in_the_book_and_in_the_graph() -> None:
    names = [
        path.stem for path in SOURCES if path.stem != "01_data_on_disk"
    ]  # stands for 01_data where it is used
    assert sorted(table()) == names
    assert (
        sorted(chapter.removeprefix("executed/") for chapter in chapters() if "/" in chapter)
        == names
    )


def test_every_page_of_prose_is_in_the_book() -> None:
    prose = sorted(path.stem for path in (ROOT / "book").glob("*.md"))
    assert sorted(chapter for chapter in chapters() if "/" not in chapter) == prose


def test_a_notebook_reads_only_what_an_earlier_one_writes() -> None:
    written: set[str] = set()
    for name, (reads, writes) in table().items():
        assert set(reads) <= written, f"{name} comes before what it reads"
        written |= {*writes, f"runs/{name}.json"}


@pytest.mark.parametrize(
    "profile", sorted(path.stem for path in (ROOT / "notebooks" / "profiles").glob("*.yaml"))
)
def test_every_profile_sets_existing_parameters_to_values_of_their_type(profile: str) -> None:
    for name, values in read_profile(ROOT / "notebooks" / "profiles", profile).items():
        on_disk = name == "01_data" and "dataset" in values
        notebook = read_notebook(ROOT / "notebooks" / f"{name}{'_on_disk' if on_disk else ''}.py")
        check_parameters(name, declared_parameters(notebook, name), values)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_notebook_follows_the_form(source: Path) -> None:
    notebook = jupytext.read(source, fmt="py:percent")
    assert notebook.metadata.jupytext.formats == "ipynb,py:percent"
    # JupyterLab writes the name that ipykernel gives its kernel, and would change the source.
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.kernelspec.display_name == get_kernel_dict()["display_name"]
    opening, *_ = notebook.cells
    assert opening.cell_type == "markdown" and opening.source.startswith("# ")
    declared = declared_parameters(notebook, source.stem)
    assert list(declared)[:2] == ["profile", "artifacts"]
    assert declared["profile"] == ("ffpp" if source.stem == "01_data_on_disk" else "demo")
    assert declared["artifacts"] == ""
    # papermill reads the same cell by regular expression: a second "=" in a line, even in a
    # comment, hides it.
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert [found.name for found in PythonTranslator.inspect(cell)] == list(declared)


def test_every_table_of_claims_carries_the_caution_about_the_data() -> None:
    texts = [path.read_text(encoding="utf-8") for path in SOURCES if path.stem not in BY_HAND]
    calls = [call for text in texts for call in re.findall(r"claims\.table\(.*\)", text)]
    assert len(calls) > 10 and set(calls) == {"claims.table(page_claims, folder.about.caution)"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_widget_is_shown_in_jupyterlab_only(source: Path) -> None:
    for cell in jupytext.read(source, fmt="py:percent").cells:
        if cell.cell_type == "code" and re.search(r"\binteract(ive)?\(", cell.source):
            assert "remove-output" in cell.metadata.get("tags", []), cell.source


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder with the sources and the settings of jupytext, every source paired as `make lab`
    does it."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "notebooks",
        tmp_path / "notebooks",
        ignore=shutil.ignore_patterns("*.ipynb", "profiles"),
    )
    subprocess.run([*JUPYTEXT, *sorted(tmp_path.glob("notebooks/*.py"))], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.slow
def test_opening_and_saving_in_jupyterlab_leaves_a_source_as_it_is(pairs: Path) -> None:
    """Else a look at a notebook would make it count as changed, and the book run again."""
    saved = sorted(pairs.glob("notebooks/*.ipynb"))
    for path in saved:
        nbformat.write(
            nbformat.read(path, as_version=4), path
        )  # as JupyterLab does: newer than its .py
    subprocess.run([*JUPYTEXT, *saved], cwd=pairs, check=True)
    changed = [
        path.name
        for path in SOURCES
        if path.read_text() != (pairs / "notebooks" / path.name).read_text()
    ]
    assert changed == [], "run `make lab`, save them, and commit what changed"


@pytest.mark.slow
def test_an_executed_notebook_is_not_paired(pairs: Path) -> None:
    executed = pairs / "book" / "executed" / "status.ipynb"
    executed.parent.mkdir(parents=True)
    nbformat.write(
        tidy(nbformat.read(pairs / "notebooks" / "status.ipynb", as_version=4)), executed
    )
    subprocess.run([*JUPYTEXT, executed], cwd=pairs, check=False)
    assert not executed.with_suffix(".py").exists()


def test_no_notebook_with_outputs_is_tracked() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.ipynb"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert listed.stdout == ""


def functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of the library, with its place."""
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}", node)
        for path in sorted((ROOT / "defocus_lib").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_no_function_takes_more_than_eight_arguments() -> None:
    counts = {
        place: len([*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs])
        - any(argument.arg in ("self", "cls") for argument in f.args.args[:1])
        for place, f in functions()
        if not any("command" in ast.unparse(decorator) for decorator in f.decorator_list)
    }
    assert not [place for place, count in counts.items() if count > 8]


def test_no_function_is_longer_than_forty_lines_without_its_docstring() -> None:
    bodies = {place: f.body[ast.get_docstring(f) is not None :] for place, f in functions()}
    lengths = {
        place: body[-1].end_lineno - body[0].lineno + 1 for place, body in bodies.items() if body
    }
    assert not [place for place, length in lengths.items() if length > 40]


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "book").glob("*.md"))], ids=str)
def test_lines_of_notebooks_and_pages_fit_their_column(path: Path) -> None:
    """Tables, formulas and the metadata of a cell cannot be broken."""
    lines = path.read_text(encoding="utf-8").splitlines()
    kept_whole = r"\s*(# %%|# \||\||\$|.*\\frac|.*\\bigl|.*\\sum|.*\\operatorname)"
    long = [line for line in lines if len(line) > 88 and not re.match(kept_whole, line)]
    assert not long, "\n".join(long)


def test_every_public_name_of_the_library_is_on_the_page_api() -> None:
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    described = re.findall(r"^\.\. auto\w+:: defocus_lib\.(\w+)$", page, re.MULTILINE)
    assert sorted(described) == sorted(defocus_lib.__all__)
    for name in described:
        assert len(getattr(defocus_lib, name).__doc__.split()) >= 15, f"{name} is hardly described"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_depends_on_the_modules_that_it_names(source: Path) -> None:
    """The face of the package stands for many modules: a change to any of them would run the
    notebook again."""
    assert not re.search(r"^(from|import) defocus_lib(?!\.)", source.read_text(), re.MULTILINE)


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project()["version"]
    assert citation["preferred-citation"]["doi"] == "10.1145/3746252.3761260"
    assert citation["license"] == project()["license"] == "MIT"


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=False)


@needs_make
def test_make_alone_lists_every_verb() -> None:
    done = make()
    verbs = re.search(
        r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert done.returncode == 0
    assert re.findall(r"^  ([\w-]+) ", done.stdout, re.MULTILINE) == verbs[1].split()


@needs_make
@pytest.mark.parametrize("verb", ["book", "clean"])
@pytest.mark.parametrize("profile", ["nope", "..", "../.."])
def test_make_refuses_an_unknown_profile(verb: str, profile: str) -> None:
    done = make("--dry-run", verb, f"PROFILE={profile}")
    assert done.returncode != 0
    assert f"unknown profile '{profile}'; there are: " in done.stderr
