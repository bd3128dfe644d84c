"""``train`` and ``train-estimator``."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from defocus_lib.commands.options import (
    USAGE,
    Threads,
    is_watched,
    one_line_errors,
    options_of,
)
from defocus_lib.detect.plan import AUTHORS, BOOK, Plan, Request
from defocus_lib.maps.budget import Budget
from defocus_lib.run.threads import limit_threads


def _of_authors(context: typer.Context) -> dict[str, Any]:
    """Settings of Jeon & Woo (2025), which the dataclasses have, in place of the book's, where the
    user gave none."""
    own = {field.name: field.default for kind in (Request, Plan) for field in fields(kind)}
    own |= AUTHORS
    sources = {name: context.get_parameter_source(name) for name in (*BOOK, *AUTHORS)}
    return {name: own[name] for name, source in sources.items() if source.name == "DEFAULT"}  # type: ignore[union-attr]


@options_of(Request, Plan, defaults=BOOK)
def train(
    context: typer.Context,
    authors: Annotated[
        bool,
        typer.Option(
            "--authors",
            help="Settings of Jeon & Woo (2025) where no option is given: preset released, "
            "maps min-max normalised, learning rate 0.0001, constant, 32-true, val_accuracy, "
            "no flips, pretrained timm.",
        ),
    ] = False,
    **options: Any,
) -> None:
    """Train a detector and evaluate it on the test split; with --epochs 0, evaluate --weights.

    It computes on a graphics card if there is one. The defaults are those of the book, see its
    profile ffpp. Before it starts it measures how long it will take; an output that goes to a file
    has lines instead of progress bars."""
    options |= _of_authors(context) if authors else {}
    limit_threads(max(0, options["n_threads"]))
    from defocus_lib.analysis import training_time
    from defocus_lib.detect import experiment, training
    from defocus_lib.detect.inputs import kind_of
    from defocus_lib.detect.normalisation import PX
    from defocus_lib.figures import detection

    def announce(setup: experiment.Setup, missing_maps: int) -> None:
        if training.is_first_process():
            typer.echo(training_time.sentence(setup, missing_maps), err=True)

    def log(line: str) -> None:
        typer.echo(line, err=True)

    with one_line_errors(unreadable=USAGE):
        plan = Plan(**{field.name: options[field.name] for field in fields(Plan)})
        request = Request(**{field.name: options[field.name] for field in fields(Request)})
        kind = kind_of(request.reads)
        if kind.map and not (kind.control or authors or request.weights or request.normalisation):
            request = replace(request, normalisation=PX)
        progress = training.is_first_process() and (is_watched() or log)
        draw = detection.preview if request.previews else None
        report = experiment.perform(request, plan, draw, progress, announce)
        typer.echo(report.text())
        typer.echo(f"Weights, tables and logs: {report.folder}")


@options_of(Budget)
def train_estimator(
    output: Annotated[
        Path | None, typer.Option(help="Folder; by default artifacts/estimator-SEED.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue after the last checkpoint.")
    ] = False,
    threads: Threads = 0,
    **options: Any,
) -> None:
    """Train the network of the preset `learned` on simulated blur.

    The default steps are those of the packaged weights: a machine that takes less than the minutes
    for them reaches the same weights. With --steps 0 all minutes are used."""
    limit_threads(threads)
    from defocus_lib.maps import learned_training

    with one_line_errors():
        path, card = learned_training.train_and_save(Budget(**options), output, resume)
    error, coverage = card["validation"]["error (px)"], card["validation"]["held (%)"]
    typer.echo(
        f"{path}: {card['steps']:,} steps, {card['scenes']:,} scenes. On scenes of other "
        f"photographs the mean error is {error:.3f} px, and the 90 % intervals hold "
        f"{coverage:.0f} % of the truth."
    )
    typer.echo(
        f"To use it as preset `learned`, copy it and its card, {path.stem}.json, to "
        "defocus_lib/maps/weights, and name its seed first in maps.learned.SEEDS."
    )
