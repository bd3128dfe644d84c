"""Run the notebooks of the book in this process: a kernel and its imports for each would take most
of the time.

The real way, through papermill, is tested on the smoke profile and in ``tests/run``. Here the cells
run one after another in one IPython shell, with the outputs that a kernel would send: figures,
tables, glued values.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
from doit import doit_cmd
from doit.cmd_base import ModuleTaskLoader
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import select_figure_formats
from IPython.utils.capture import RichOutput, capture_output
from nbformat import NotebookNode

from defocus_lib.run import notebook as execution
from defocus_lib.run.artifacts import project_root, write_json
from defocus_lib.run.parameters import check_parameters, declared_parameters

ROOT = project_root(Path(__file__).parent)
plt.switch_backend("agg")


@dataclass(frozen=True)
class Page:
    """An executed notebook, the names that its cells left, and what it printed."""

    notebook: NotebookNode
    names: dict[str, object]
    printed: str

    @property
    def outputs(self) -> list[NotebookNode]:
        return [output for cell in self.notebook.cells for output in cell.get("outputs", [])]

    @property
    def figures(self) -> int:
        return sum("image/png" in output.data for output in self.outputs)

    @property
    def glued(self) -> list[str]:
        tags = (output.metadata.get("scrapbook", {}) for output in self.outputs)
        return [tag["name"] for tag in tags if "name" in tag]

    @property
    def prose(self) -> str:
        cells = (cell.source for cell in self.notebook.cells if cell.cell_type == "markdown")
        return "\n".join(cells)

    @property
    def wanted(self) -> set[str]:
        """The glued values that the prose asks for."""
        parts = self.prose.split("{glue:text}`")[1:]
        return {part.split("`")[0].split(":")[0] for part in parts}


def copy_book(folder: Path) -> Path:
    """The prose in a folder of its own: a test must not touch the book that a reader has open."""
    made = shutil.ignore_patterns("_build", "executed")
    return Path(shutil.copytree(ROOT / "book", folder / "book", ignore=made))


def run_page(name: str, folder: Path, parameters: Mapping[str, object]) -> Page:
    """Run ``notebooks/<name>.py`` on the artefacts in ``folder``; a cell that raises ends it."""
    given = {"artifacts": str(folder), **parameters}
    return run_source(ROOT / "notebooks" / f"{name}.py", folder, given)


def run_source(source: Path, folder: Path, given: Mapping[str, object]) -> Page:
    """Run a notebook as :func:`execution.run_notebook` does, without a kernel."""
    notebook = execution.leave_out(execution.read_notebook(source), folder)
    in_force = check_parameters(source.stem, declared_parameters(notebook, source.stem), given)
    printed = []
    with _shell() as shell:
        for cell in notebook.cells:
            if cell.cell_type != "code":
                continue
            # Within its trap, a shell leaves the display hook alone, so that the value of a cell is
            # captured.
            with shell.display_trap, capture_output() as captured:
                result = shell.run_cell(cell.source)
            result.raise_error()
            printed += [captured.stdout, captured.stderr]
            cell.outputs = [_output(output) for output in captured.outputs]
            cell.execution_count = shell.execution_count - 1
            if "parameters" in cell.metadata.get("tags", []):
                shell.user_ns.update(in_force)
        names = dict(shell.user_ns)
    plt.close("all")
    return Page(notebook, names, "".join(printed))


@contextmanager
def _shell() -> Iterator[InteractiveShell]:
    before = Path.cwd()
    shell = InteractiveShell.instance(user_ns={}, colors="nocolor")
    shell.history_manager.enabled = False
    select_figure_formats(shell, {"png"})
    os.chdir(ROOT)
    try:
        yield shell
    finally:
        os.chdir(before)
        InteractiveShell.clear_instance()


def _output(output: RichOutput) -> NotebookNode:
    return nbformat.v4.new_output("display_data", data=output.data, metadata=output.metadata or {})


def run_notebook(
    source: Path,
    folder: Path,
    parameters: Mapping[str, object],
    root: Path,
    name: str,
    *how: object,
) -> None:
    """Takes the place of :func:`execution.run_notebook`: the same files, from this process."""
    started = time.monotonic()
    page = run_source(source, folder, parameters)
    seconds = time.monotonic() - started
    path = folder / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(execution.tidy(page.notebook), path)
    record = {"notebook": name, "seconds": seconds, "peak_mb": 0.0, "parameters": dict(parameters)}
    write_json(folder / "runs" / f"{name}.json", record)


def load_dodo(root: Path, **settings: str) -> dict:
    """The names of ``root/dodo.py``, loaded as doit would after ``doit key=value ...``."""
    doit_cmd.reset_vars()
    for key, value in settings.items():
        doit_cmd.set_var(key, value)
    spec = importlib.util.spec_from_file_location("dodo_under_test", root / "dodo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def run_graph(folder: Path, *tasks: str, **settings: str) -> str:
    """Run tasks of the real graph with notebooks in this process, on artefacts in ``folder/run``.

    Returns the report of doit; fails if a task does.
    """
    report, kept = folder / "report.txt", execution.run_notebook
    execution.run_notebook = run_notebook  # dodo.py takes it from there when it is loaded
    try:
        # One at a time: they share this process, its shell and its figures.
        graph = load_dodo(ROOT, artifacts=str(folder / "run"), jobs="1", **settings)
    finally:
        execution.run_notebook = kept
    command = ["run", "--output-file", str(report), *tasks]
    code = doit_cmd.DoitMain(ModuleTaskLoader(graph)).run(command)
    text = report.read_text(encoding="utf-8")
    assert code == 0, text[-3000:]
    return text
