"""Execute one notebook: read the py:percent source, leave out what the data lack, leave the same
bytes every time.

:mod:`papermill` executes and :mod:`jupytext` reads. Papermill writes times and paths into the
notebook and knows ``.ipynb`` alone; this module closes these gaps. The order of the notebooks is in
``dodo.py``.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
import psutil
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from defocus_lib.run.artifacts import (
    PROVENANCE,
    About,
    Folder,
    remove_leftovers,
    write_beside,
    write_json,
)
from defocus_lib.run.cluster import FREED_MEMORY_KEPT
from defocus_lib.run.kernel import Forks, KernelManager
from defocus_lib.run.parameters import check_parameters, declared_parameters
from defocus_lib.run.profiling import peak_memory
from defocus_lib.run.provenance import Run
from defocus_lib.run.terminal import Lines
from defocus_lib.run.threads import VARIABLES

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
TRACEBACK_LINES = 20
BAR = "{desc}: cell {n} of {total}, {elapsed}{postfix}"
LEFT_OUT = "Left out: this needs"  # how the note begins that takes the place of a section
NEEDS = {
    "pairs": "pairs of a real and a manipulated image",
    "regions": "the regions that were manipulated",
    "depth": "the true blur",
    "transfer": "more than one manipulation",
    "videos": "videos of several frames",
}
"""What a section can require by the tag ``needs-<name>`` of its heading, in words for the reader.
"""
NEEDS_GROUPS = re.compile(r"needs-(\d+)-test-groups")
"""The tag of a section that needs so many independent test images of each class."""


class _Client(PapermillNotebookClient):
    """The client of papermill without its imitation of a browser for widgets.

    That imitation answers the kernel on the channel on which it waits for the end of the cell, and
    can miss the end: one run in thirty of a cell with ``interact`` never returned
    (github.com/jupyter/nbclient/issues/312).
    """

    def __init__(self, *args: object, forks: Forks | None = None, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.forks = forks
        self.comm_open_handlers = {"jupyter.widget": lambda message: None}

    def create_kernel_manager(self) -> KernelManager:
        self.km: Any = KernelManager(self.forks)
        return self.km

    def processes(self) -> list[psutil.Process]:
        """The kernel and what it has started; nothing before it starts and after it ends."""
        number = getattr(self.km and self.km.provisioner, "pid", None)
        if number is None:  # psutil would take it for this process, with all other kernels
            return []
        try:
            kernel = psutil.Process(number)
            return [kernel, *kernel.children(recursive=True)]
        except psutil.Error:
            return []


class _Engine(Engine):
    """Hands a notebook to :class:`_Client`, its output to the terminal, and silences the log of the
    kernel."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> None:
        lines = Lines(kwargs["name"], nb_man.pbar)
        client = _Client(
            nb_man,
            kernel_name=kernel_name,
            store_widget_state=False,
            iopub_timeout=60,
            stdout_file=lines,
            stderr_file=lines,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            forks=kwargs["forks"],
        )
        with peak_memory(client.processes) as memory:
            client.execute(env=kernel_environment(kwargs["threads"]), cwd=kwargs["directory"])
        kwargs["memory"].update(memory)


papermill_engines.register(__name__, _Engine)


class NotebookFailed(RuntimeError):
    """A cell raised; the message is one sentence with the path of the unfinished notebook.

    ``traceback`` is the end of that of the cell, "" if there is none.
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


def read_notebook(source: Path) -> NotebookNode:
    """The py:percent file ``source`` as a notebook, with cell ids by position."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata["kernelspec"] = dict(KERNEL)
    return _number_cells(notebook)


def run_notebook(
    source: Path,
    folder: Path,
    parameters: Mapping[str, object],
    root: Path,
    name: str = "",
    threads: int = 0,
    forks: Forks | None = None,
) -> Run:
    """Execute ``source`` in the working directory ``root`` and write the result into ``folder``.

    ``folder/notebooks/<name>.ipynb`` is the executed notebook, ``folder/runs/<name>.json`` its
    :class:`Run`; without a name, that of ``source`` is used. The kernel computes on ``threads``
    threads, 0 for those of its environment; where it can, it is a copy of ``forks``. Several
    threads may call this at once. Only parameters that differ from the declared defaults are
    injected, so that the page shows its parameters cell and, right below, what this run changed.

    Raises
    ------
    ParameterError
        If a parameter is unknown or of the wrong type. Nothing has been executed then.
    NotebookFailed
        If a cell raises. The notebook until then is ``folder/failed/<name>.ipynb``.
    """
    name = name or source.stem
    remove_leftovers(folder)
    notebook = leave_out(read_notebook(source), folder)
    declared = declared_parameters(notebook, name)
    in_force = check_parameters(name, declared, parameters)
    injected = {key: value for key, value in in_force.items() if value != declared[key]}
    failed = folder / "failed" / f"{name}.ipynb"
    failed.parent.mkdir(parents=True, exist_ok=True)
    memory = {"peak": 0.0, "cpu_seconds": 0.0}
    started = time.monotonic()
    how = {"name": name, "threads": threads, "directory": str(root), "memory": memory}
    executed = _execute(notebook, failed, injected, how | {"forks": forks})
    failed.unlink()
    seconds, peak = time.monotonic() - started, memory["peak"] / 2**20
    cpu_seconds = round(memory["cpu_seconds"], 1)
    run = Run(name, round(seconds, 1), round(peak, 1), in_force, cpu_seconds, threads)
    text = nbformat.writes(tidy(executed)) + "\n"
    write_beside(
        folder / "notebooks" / f"{name}.ipynb",
        lambda beside: beside.write_text(text, encoding="utf-8"),
    )
    write_json(folder / "runs" / f"{name}.json", asdict(run))
    return run


def leave_out(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """``notebook`` without the sections that need what the data of ``folder`` lack; a note takes
    their place.

    A heading with a tag ``needs-...`` of :data:`NEEDS` speaks for its section, the first heading
    for the whole notebook. The heading stays, and so does the parameters cell.
    """
    if not (folder / PROVENANCE).exists():  # nothing is known of the data yet
        return notebook
    profile = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["profile"]
    return leave_out_sections(notebook, Folder.open(profile, folder).about)


def leave_out_sections(notebook: NotebookNode, about: About) -> NotebookNode:
    """:func:`leave_out` for data of which ``about`` is known."""
    cells, below = [], 0  # the level of the heading whose section is left out, or 0
    for cell in notebook.cells:
        tags, level = cell.metadata.get("tags", []), _heading_level(cell)
        missing = next(filter(None, (_lack(tag, about) for tag in tags)), "")
        below = 0 if 0 < level <= below else below
        if missing and level and not below:
            below = level
            text = cell.source if level == 1 else cell.source.splitlines()[0]
            cells.append(nbformat.v4.new_markdown_cell(f"{text}\n\n*{LEFT_OUT} {missing}.*"))
        elif not below or "parameters" in tags:
            cells.append(cell)
    return NotebookNode({**notebook, "cells": cells})


def _lack(tag: str, about: About) -> str:
    """What the data lack of what a tag asks for, in words; "" if nothing."""
    need = tag.removeprefix("needs-")
    has = {*about.has, *(["videos"] if about.unit == "video" else [])}
    if tag != need and need in NEEDS and need not in has:
        number = "one" if need == "transfer" else "none"
        return f"{NEEDS[need]}, and the data ({about.title}) have {number}"
    least = NEEDS_GROUPS.fullmatch(tag)
    if least and 0 < about.test_groups < int(least[1]):
        kind = f"test {about.unit}s of each class"
        return f"{least[1]} {kind}, and the data ({about.title}) have {about.test_groups}"
    return ""


def left_out_of(executed: Path) -> list[str]:
    """What :func:`leave_out` left out of a notebook on disk, and why: one sentence per section."""
    note = re.compile(rf"#+ (.+)\n[\s\S]*\*({LEFT_OUT} .*)\.\*")
    cells = nbformat.read(executed, as_version=4).cells
    matches = (note.fullmatch(cell.source) for cell in cells)
    return [f"{match[1]!r}: {match[2]}" for match in matches if match]


def least_test_groups(notebook: NotebookNode) -> list[tuple[int, str]]:
    """The sections that need a number of independent test images of each class: that number, and
    the heading."""
    return [
        (int(least[1]), cell.source.splitlines()[0].lstrip("# "))
        for cell in notebook.cells
        for tag in cell.metadata.get("tags", [])
        if (least := NEEDS_GROUPS.fullmatch(tag))
    ]


def _heading_level(cell: NotebookNode) -> int:
    """1 for a cell that begins with ``# ``, 2 for ``## ``, 0 for one without a heading."""
    heading = re.match(r"(#+) ", cell.source) if cell.cell_type == "markdown" else None
    return len(heading[1]) if heading else 0


def _execute(
    notebook: NotebookNode, failed: Path, parameters: Mapping[str, object], how: dict
) -> NotebookNode:
    """``how`` are the arguments of :class:`_Engine`."""
    shown = {"desc": failed.stem, "bar_format": BAR, "leave": False, "dynamic_ncols": True}
    try:
        return papermill.execute_notebook(
            notebook,
            str(failed).replace("{", "{{").replace("}", "}}"),  # papermill puts parameters in
            parameters,
            engine_name=__name__,
            kernel_name=KERNEL["name"],
            language=KERNEL["language"],
            request_save_on_cell_execute=False,
            # None is tqdm's word for no bar where standard error is no terminal.
            progress_bar={**shown, "file": sys.stderr, "disable": None},
            **how,
        )
    except PapermillExecutionError as error:
        raise _failure(error, failed) from None
    except DeadKernelError:
        raise NotebookFailed(
            f"{failed.stem}: the kernel died, most likely because the machine ran out of memory"
        ) from None


def _failure(error: PapermillExecutionError, failed: Path) -> NotebookFailed:
    """What a cell raised, with the end of its traceback."""
    lines = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback)).splitlines()
    raised = f"{error.ename}: {error.evalue}" if error.evalue else error.ename
    cell = f"cell In [{error.exec_count}] of {failed}"
    return NotebookFailed(
        f"{failed.stem} failed: {raised} ({cell})", "\n".join(lines[-TRACEBACK_LINES:])
    )


def kernel_environment(threads: int) -> dict[str, str]:
    """The variables of a kernel: its share of the cores, a fixed hash seed, memory that is kept
    when freed, and progress bars as text.

    In a kernel, ``tqdm.auto`` (which Lightning uses) draws widgets, which nobody sees in a
    terminal. It falls back to text when a variable begins with SPYDER, its only switch.
    """
    shares = dict.fromkeys(VARIABLES, str(threads)) if threads else {}
    bars = {"SPYDER_TEXT_PROGRESS": "1"}
    return {**os.environ, "PYTHONHASHSEED": "0", **bars, **FREED_MEMORY_KEPT, **shares}


def tidy(notebook: NotebookNode) -> NotebookNode:
    """A copy without what differs between two equal runs: times, paths, progress bars, widgets,
    random ids.

    The pairing of the source goes too, so that JupyterLab writes no ``.py`` beside an executed
    notebook.
    """
    clean = nbformat.from_dict(notebook)
    for key in set(clean.metadata) - {"kernelspec", "language_info"}:
        del clean.metadata[key]
    for cell in clean.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = _tidy_outputs(cell.outputs)
        if "injected-parameters" in cell.metadata.get("tags", []):
            comment = "# Set for this run; the rest keeps the values above"
            cell.source = cell.source.replace("# Parameters", comment, 1)
    return _number_styles(_number_cells(clean))


def _tidy_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Without standard error, which the terminal showed, and widgets, which are dead without their
    kernel."""
    lasting = [
        output
        for output in outputs
        if output.get("name") != "stderr" and WIDGET_VIEW not in output.get("data", {})
    ]
    merged = _merge_streams(lasting)
    for output in merged:
        if output.output_type == "stream":
            output.text = _without_progress(output.text)
        elif "text/plain" in output.get("data", {}):
            output.data["text/plain"] = re.sub(r" at 0x[0-9a-fA-F]+", "", output.data["text/plain"])
    return [output for output in merged if output.output_type != "stream" or output.text]


def _merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Neighbouring pieces of standard output as one: where the kernel cuts them is chance."""
    merged: list[NotebookNode] = []
    for output in outputs:
        if merged and output.output_type == merged[-1].output_type == "stream":
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def _without_progress(text: str) -> str:
    """``text`` without lines that were redrawn with a carriage return: they are progress, not a
    result."""
    lines = re.split(r"(?<=\n)", text.replace("\r\n", "\n"))
    return "".join(line for line in lines if "\r" not in line)


def _number_cells(notebook: NotebookNode) -> NotebookNode:
    """Ids by position: jupytext draws random ones."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
    return notebook


def _number_styles(notebook: NotebookNode) -> NotebookNode:
    """Styled tables numbered in order: pandas draws a random id for each."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    tables = [output.data for output in outputs if "text/html" in output.get("data", {})]
    for number, data in enumerate(tables):
        for uuid in set(re.findall(r'id="(T_[0-9a-f]{5})"', data["text/html"])):
            data["text/html"] = data["text/html"].replace(uuid, f"T_{number}")
    return notebook
