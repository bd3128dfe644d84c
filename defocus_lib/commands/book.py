"""``run`` and ``plan``: one notebook alone, and what a run will take."""

from __future__ import annotations

import json
from collections import deque
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from defocus_lib.commands.options import (
    PROBLEMS,
    Json,
    Threads,
    is_watched,
    one_line_errors,
)
from defocus_lib.run.threads import limit_threads


class NameAndValue(TyperCommand):
    """A command whose option ``-p`` takes two words, a name and a value, or ``name=value``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words, joined = deque(args), []
        while words:
            joined.append(word := words.popleft())
            if word in ("-p", "--parameter") and words:
                name = words.popleft()
                has_value = words and not words[0].startswith("--")  # that is the next option
                value = words.popleft() if "=" not in name and has_value else ""
                joined.append(name if "=" in name else f"{name}={value}")
        return super().parse_args(ctx, joined)


def run_notebook_alone(
    notebook: Annotated[
        str, typer.Argument(metavar="NOTEBOOK", help="Such as 05_binary_mask.", show_default=False)
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--parameter", metavar="NAME VALUE", help="A parameter; can be repeated."
        ),
    ] = None,
    profile: Annotated[str, typer.Option(help="The run in artifacts/PROFILE.")] = "demo",
    threads: Threads = 0,
) -> None:
    """Run one notebook on the artefacts of a run, such as `run 05_binary_mask -p threshold 0.2`.

    The run and its book stay as they are. A parameter that the notebook does not have is refused.
    Exit code: 0 done, 1 a cell failed, 2 nothing was run."""
    from defocus_lib.run.artifacts import project_root
    from defocus_lib.run.notebook import NotebookFailed, left_out_of
    from defocus_lib.run.single import run_single

    with one_line_errors():
        try:
            path = run_single(notebook, profile, parameters or [], project_root(), threads)
        except NotebookFailed as failure:
            typer.echo(f"error: {failure}", err=True)
            raise typer.Exit(PROBLEMS) from None
    for sentence in left_out_of(path):
        typer.echo(sentence, err=True)
    typer.echo(f"{path}: open it in JupyterLab (`make lab`). What it wrote lies beside it.")


def plan_run(
    profile: Annotated[
        str, typer.Argument(metavar="PROFILE", help="A profile of notebooks/profiles.")
    ],
    settings: Annotated[
        str, typer.Option("--set", help="Changed parameters: 'notebook.parameter=value ...'.")
    ] = "",
    above: Annotated[float, typer.Option(help="Say nothing of runs of fewer minutes.")] = 0,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Say what a run will compute: images, hours and disk by stage.

    Image passes and maps are counted, and measured on this machine, on a graphics card if there is
    one. It takes some seconds and computes nothing of the run itself."""
    limit_threads(threads)
    from defocus_lib.analysis import cost_model

    with one_line_errors():
        plan = cost_model.plan(profile, settings, progress=is_watched() and not as_json)
    if plan.seconds < 60 * above:
        return
    if as_json:
        stages = json.loads(plan.table.to_json(orient="records"))
        typer.echo(json.dumps({"stages": stages, "assumptions": plan.assumptions}, indent=2))
    else:
        typer.echo(plan.text())
