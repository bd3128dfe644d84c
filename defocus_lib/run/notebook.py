"""Run one notebook: read the py:percent source, check its parameters, execute it, leave the same bytes every time.

:mod:`papermill` executes and :mod:`jupytext` reads; this module adds what they leave open. Papermill only warns about
an unknown parameter, writes times and paths into the notebook, and knows ``.ipynb`` alone. The order of the notebooks
is not its concern: that is ``dodo.py``.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import jupytext
import nbformat
import papermill
import psutil
import yaml
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from defocus_lib.run.artifacts import PROVENANCE, Folder, write_beside, write_json
from defocus_lib.run.cluster import FREED_MEMORY_KEPT
from defocus_lib.run.profiling import peak_memory

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
SCALARS = {"int": int, "float": float, "str": str, "bool": bool}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
TRACEBACK_LINES = 20
NEEDS = {
    "pairs": "pairs of a real and a manipulated image",
    "regions": "the regions that were manipulated",
    "depth": "the true blur",
}
"""What a section can ask for by the tag ``needs-<name>`` of its heading, in words for the reader."""
# YAML 1.1 reads 1e-3 as a string: it wants a dot in the mantissa and a sign in the exponent.
EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


class _Client(PapermillNotebookClient):
    """The client of papermill, without its imitation of a browser for widgets.

    That imitation answers the kernel on the channel on which it waits for the end of the cell, and now and then misses
    the end: one run in thirty of a cell with ``interact`` never returned (github.com/jupyter/nbclient/issues/312).
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.comm_open_handlers = {"jupyter.widget": lambda message: None}


class _Engine(Engine):
    """Hands a notebook to :class:`_Client`, its output to the terminal, and silences the kernel about itself."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: object, kernel_name: str, **kwargs: object) -> None:
        _Client(
            nb_man,
            kernel_name=kernel_name,
            store_widget_state=False,
            iopub_timeout=60,
            stdout_file=sys.stderr,
            stderr_file=sys.stderr,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        ).execute()


papermill_engines.register(__name__, _Engine)


class ParameterError(ValueError):
    """A profile, notebook or parameter that does not exist, or a value of the wrong type; the message names it."""


class NotebookFailed(RuntimeError):
    """A cell raised; the message holds the end of its traceback and where the unfinished notebook lies."""


@dataclass(frozen=True)
class Run:
    """What is worth remembering of one execution. It lies beside the notebook, because it differs from run to run.

    Attributes
    ----------
    notebook : str
    seconds : float
        Wall-clock time, kernel start included.
    peak_mb : float
        Largest resident memory of the kernel and its children, in MiB, sampled ten times a second.
    parameters : dict
        Every declared parameter with the value that was in force.
    """

    notebook: str
    seconds: float
    peak_mb: float
    parameters: dict


def read_notebook(source: Path) -> NotebookNode:
    """The py:percent file ``source`` as a notebook, with cell ids that depend on the position only."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata["kernelspec"] = dict(KERNEL)
    return _number_cells(notebook)


def declared_parameters(notebook: NotebookNode, name: str) -> dict[str, object]:
    """The parameters that the cell tagged ``parameters`` declares, with their defaults.

    Python's own parser reads them: papermill's regular expression passes over lines that it cannot read.

    Raises
    ------
    ParameterError
        If there is no such cell, or a line of it is not a plain ``name: type = value`` of int, float, str or bool.
    """
    cell = next(
        (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])), None
    )
    if cell is None:
        raise ParameterError(f"{name}: no cell is tagged 'parameters'")
    defaults = {}
    for line in ast.parse(cell.source).body:
        text = ast.unparse(line)
        match line:
            case ast.AnnAssign(ast.Name(parameter), ast.Name(kind), value) if (
                kind in SCALARS and value is not None
            ):
                defaults[parameter] = _typed(
                    name, parameter, SCALARS[kind], _literal(name, text, value)
                )
            case _:
                raise ParameterError(
                    f"{name}: {text!r} in the parameters cell; 'name: type = value' wanted, "
                    f"of type {', '.join(SCALARS)}"
                )
    return defaults


def _literal(notebook: str, text: str, value: ast.expr) -> object:
    try:
        return ast.literal_eval(value)
    except ValueError as error:
        raise ParameterError(
            f"{notebook}: {text!r} in the parameters cell; a plain value wanted"
        ) from error


def check_parameters(
    name: str, declared: Mapping[str, object], given: Mapping[str, object]
) -> dict[str, object]:
    """All parameters of notebook ``name`` with the values in force: the ``given`` ones over the ``declared`` defaults.

    An int is welcome where a float is declared; a bool is not an int.

    Raises
    ------
    ParameterError
        If a given parameter is not declared, or is of another type.
    """
    for parameter in given:
        if parameter not in declared:
            raise ParameterError(
                f"{name}: unknown parameter {parameter!r}; it has {', '.join(declared)}"
            )
    changed = {key: _typed(name, key, type(declared[key]), value) for key, value in given.items()}
    return {**declared, **changed}


def _typed(notebook: str, parameter: str, wanted: type, value: object) -> object:
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is float and isinstance(value, str) and EXPONENT.fullmatch(value):
        return float(value)
    if type(value) is not wanted:
        raise ParameterError(
            f"{notebook}: parameter {parameter!r} is {value!r} ({type(value).__name__}); {wanted.__name__} wanted"
        )
    return value


def read_profile(folder: Path, profile: str) -> dict[str, dict[str, object]]:
    """The parameters that ``folder/<profile>.yaml`` sets: notebook name -> parameter -> value.

    Raises
    ------
    ParameterError
        If there is no such profile, or the file is not such a mapping.
    """
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if profile not in known:
        raise ParameterError(f"unknown profile {profile!r}; there are {', '.join(known) or 'none'}")
    try:
        content = yaml.safe_load((folder / f"{profile}.yaml").read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ParameterError(f"{profile}.yaml is not YAML: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(values, dict | None) for values in content.values()
    ):
        raise ParameterError(f"{profile}.yaml: a mapping 'notebook: {{parameter: value}}' wanted")
    return {notebook: values or {} for notebook, values in content.items()}


def parse_settings(text: str) -> dict[str, dict[str, object]]:
    """Read ``"05_binary_mask.threshold=0.2 07_tsne.seed=1"``: values are YAML, quotes protect spaces.

    Raises
    ------
    ParameterError
        If the text has another form; the message repeats it.
    """
    settings: dict[str, dict[str, object]] = {}
    try:
        for part in shlex.split(text):
            where, value = part.split("=", 1)
            notebook, parameter = where.split(".")
            settings.setdefault(notebook, {})[parameter] = yaml.safe_load(value)
    except (ValueError, yaml.YAMLError) as error:
        raise ParameterError(
            f"cannot read {text!r}; 'notebook.parameter=value ...' wanted"
        ) from error
    return settings


def run_notebook(
    source: Path, folder: Path, parameters: Mapping[str, object], root: Path, name: str = ""
) -> Run:
    """Execute ``source`` with the working directory ``root`` and write what came of it into ``folder``.

    ``folder/notebooks/<name>.ipynb`` is the executed notebook, ``folder/runs/<name>.json`` its :class:`Run`; the name
    is that of ``source`` unless another is given. Cells that need what the data lack are left out. Only
    parameters that differ from the notebook's own defaults are injected, so the page shows its parameters cell and,
    right below, what this run changed: nothing is said twice, and nothing hidden.

    Raises
    ------
    ParameterError
        If a parameter is unknown or of the wrong type. Nothing has been executed then.
    NotebookFailed
        If a cell raises. What ran until then is in ``folder/failed/<name>.ipynb``.
    """
    name = name or source.stem
    notebook = leave_out(read_notebook(source), folder)
    declared = declared_parameters(notebook, name)
    in_force = check_parameters(name, declared, parameters)
    injected = {key: value for key, value in in_force.items() if value != declared[key]}
    failed = folder / "failed" / f"{name}.ipynb"
    failed.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with (
        _kernel_environment(),
        peak_memory(lambda: psutil.Process().children(recursive=True)) as memory,
    ):
        executed = _execute(notebook, failed, name, injected, root)
    failed.unlink()
    run = Run(
        name, round(time.monotonic() - started, 1), round(memory["peak"] / 2**20, 1), in_force
    )
    text = nbformat.writes(tidy(executed)) + "\n"
    write_beside(
        folder / "notebooks" / f"{name}.ipynb",
        lambda beside: beside.write_text(text, encoding="utf-8"),
    )
    write_json(folder / "runs" / f"{name}.json", asdict(run))
    return run


def leave_out(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """``notebook`` without the sections that need what the data of ``folder`` lack: a note takes their place.

    A heading with a tag ``needs-...`` of :data:`NEEDS` speaks for its section, the first heading for the whole
    notebook. The heading stays, and so does the parameters cell.
    """
    if not (folder / PROVENANCE).exists():  # nothing is known of the data yet
        return notebook
    about = Folder.open(
        json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["profile"], folder
    ).about
    lacking = {f"needs-{need}": words for need, words in NEEDS.items() if need not in about.has}
    cells, below = [], 0  # the level of the heading whose section is being left out, or 0
    for cell in notebook.cells:
        tags, level = cell.metadata.get("tags", []), _heading_level(cell)
        missing = next((lacking[tag] for tag in tags if tag in lacking), "")
        below = 0 if 0 < level <= below else below
        if missing and level and not below:
            below = level
            text = cell.source if level == 1 else cell.source.splitlines()[0]
            note = f"*Left out: this needs {missing}, and the data ({about.title}) have none.*"
            cells.append(nbformat.v4.new_markdown_cell(f"{text}\n\n{note}"))
        elif not below or "parameters" in tags:
            cells.append(cell)
    return NotebookNode({**notebook, "cells": cells})


def _heading_level(cell: NotebookNode) -> int:
    """1 for a cell that begins with ``# ``, 2 for ``## ``, 0 for one without a heading."""
    heading = re.match(r"(#+) ", cell.source) if cell.cell_type == "markdown" else None
    return len(heading[1]) if heading else 0


def _execute(
    notebook: NotebookNode, failed: Path, name: str, parameters: dict, root: Path
) -> NotebookNode:
    try:
        return papermill.execute_notebook(
            notebook,
            failed,
            parameters,
            engine_name=__name__,
            kernel_name=KERNEL["name"],
            language=KERNEL["language"],
            cwd=root,
            request_save_on_cell_execute=False,
            progress_bar={"desc": name, "file": sys.stderr},
        )
    except PapermillExecutionError as error:
        raise NotebookFailed(failure_text(name, error, failed)) from None
    except DeadKernelError:
        raise NotebookFailed(
            f"{name}: the kernel died, most likely because the machine ran out of memory"
        ) from None


def failure_text(name: str, error: PapermillExecutionError, failed: Path) -> str:
    """The end of the traceback, headed by the cell it comes from: short enough to be read."""
    traceback = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback)).splitlines() or [
        f"{error.ename}: {error.evalue}"
    ]
    cut = ["    ..."] if len(traceback) > TRACEBACK_LINES else []
    first = next((line for line in error.source.splitlines() if line.strip()), "")
    return "\n".join(
        [
            f"{name}: cell In [{error.exec_count}] failed; it begins with: {first}",
            *cut,
            *traceback[-TRACEBACK_LINES:],
            f"The notebook as far as it got: {failed}",
        ]
    )


@contextmanager
def _kernel_environment() -> Iterator[None]:
    """What the kernel inherits: a fixed hash seed, memory that is kept when freed, and progress bars as text.

    In a kernel, ``tqdm.auto`` (which Lightning uses) draws widgets, which nobody sees in a terminal. It falls back to
    text when a variable begins with SPYDER, its only switch. In a log file, a line every ten seconds is enough.
    """
    wanted = {"PYTHONHASHSEED": "0", "SPYDER_TEXT_PROGRESS": "1", **FREED_MEMORY_KEPT}
    if not sys.stderr.isatty():
        wanted["TQDM_MININTERVAL"] = "10"
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def tidy(notebook: NotebookNode) -> NotebookNode:
    """A copy without what differs between two equal runs: times, paths, progress bars, widgets, addresses, random ids.

    The pairing of the source goes too: JupyterLab must not write a ``.py`` beside an executed notebook.
    """
    clean = nbformat.from_dict(notebook)
    clean.metadata = NotebookNode(
        {
            key: clean.metadata[key]
            for key in ("kernelspec", "language_info")
            if key in clean.metadata
        }
    )
    for cell in clean.cells:
        cell.metadata = NotebookNode(
            {
                key: cell.metadata[key]
                for key in cell.metadata
                if key not in ("papermill", "execution")
            }
        )
        if cell.cell_type == "code":
            cell.outputs = _tidy_outputs(cell.outputs)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = cell.source.replace(
                "# Parameters", "# Set for this run; the rest keeps the values above", 1
            )
    return _number_styles(_number_cells(clean))


def _tidy_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Standard error was shown in the terminal, and a widget is dead without its kernel: neither is kept."""
    passing = [
        output
        for output in outputs
        if output.get("name") == "stderr" or WIDGET_VIEW in output.get("data", {})
    ]
    kept = _merge_streams([output for output in outputs if output not in passing])
    for output in kept:
        if output.output_type == "stream":
            output.text = _without_progress(output.text)
        elif "text/plain" in output.get("data", {}):
            output.data["text/plain"] = re.sub(r" at 0x[0-9a-fA-F]+", "", output.data["text/plain"])
    return [output for output in kept if output.output_type != "stream" or output.text]


def _merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Neighbouring pieces of standard output as one: where the kernel cut them is chance."""
    merged: list[NotebookNode] = []
    for output in outputs:
        if merged and output.output_type == merged[-1].output_type == "stream":
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def _without_progress(text: str) -> str:
    """``text`` without the lines that were redrawn with a carriage return: they are progress, not a result."""
    return "".join(
        line for line in re.split(r"(?<=\n)", text.replace("\r\n", "\n")) if "\r" not in line
    )


def _number_cells(notebook: NotebookNode) -> NotebookNode:
    """Ids by position: jupytext draws random ones."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
    return notebook


def _number_styles(notebook: NotebookNode) -> NotebookNode:
    """Number the styled tables of pandas: it draws a random id for each."""
    tables = [
        output.data
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    for number, data in enumerate(tables):
        for uuid in set(re.findall(r'id="(T_[0-9a-f]{5})"', data["text/html"])):
            data["text/html"] = data["text/html"].replace(uuid, f"T_{number}")
    return notebook


def package_versions(names: list[str]) -> dict[str, str]:
    """The installed version of each distribution in ``names``."""
    return {name: version(name) for name in names}


def machine() -> dict[str, str]:
    """What the run had to work with: no host name, no path."""
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "cores": str(
            len(psutil.Process().cpu_affinity())
            if hasattr(psutil.Process, "cpu_affinity")
            else psutil.cpu_count()
        ),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }


def commit(root: Path) -> str:
    """The commit that ``root`` is checked out at, ``-dirty`` if a tracked file differs from it."""
    command = [
        "git",
        "--no-optional-locks",
        "-C",
        str(root),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=10",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"


def read_runs(folder: Path, without: str = "") -> list[Run]:
    """What is known of the runs in ``folder``, by notebook name; the notebook ``without`` is left out."""
    paths = [path for path in sorted(folder.glob("runs/*.json")) if path.stem != without]
    return [Run(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]
