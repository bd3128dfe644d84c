"""``inspect``: the blur of pictures, and what a detector says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from defocus_lib.analysis.inspection_settings import Settings
from defocus_lib.commands.options import (
    PROBLEMS,
    one_line_errors,
    options_of,
)
from defocus_lib.run.interrupts import CODE as INTERRUPTED


@options_of(Settings)
def inspect_pictures(
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE...", help="Picture files, or folders of them.")
    ],
    html: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write a report to look at.")
    ] = None,
    json_path: Annotated[
        Path | None,
        typer.Option(
            "--json",
            dir_okay=False,
            allow_dash=True,
            help="Write all numbers; - for standard output.",
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write one row per picture.")
    ] = None,
    **options: Any,
) -> None:
    """Estimate the blur of pictures and, with --weights, whether they were manipulated.

    Exit code: 0 all were read, 1 some could not be, 2 no picture is there or an option is wrong."""
    from defocus_lib.data.images import find_pictures, passed_over

    with one_line_errors():  # before detectors are imported, which takes seconds
        settings = Settings(**options)
        paths, others = find_pictures(pictures), passed_over(pictures)
        if others:
            listed = ", ".join(f"{number:,} {suffix}" for suffix, number in others.items())
            typer.echo(f"passed over, by their names: {listed}", err=True)

    from defocus_lib.analysis import inspection, inspection_report
    from defocus_lib.figures import report
    from defocus_lib.run.artifacts import write_text

    to_screen = json_path == Path("-")
    with one_line_errors():
        inspector = inspection.Inspector.of(settings)
        result = inspection_report.collect(
            inspector, paths, report.section if html else None, not to_screen
        )
        texts = {
            html: lambda: report.page(result),
            json_path: lambda: json.dumps(result.document(), indent=2) + "\n",
            csv: result.csv,
        }
        for path, text in texts.items():
            if path == Path("-"):
                typer.echo(text(), nl=False)
            elif path is not None:
                write_text(path, text())
                typer.echo(f"Written: {path}", err=to_screen)
    raise typer.Exit(INTERRUPTED if result.interrupted else PROBLEMS if result.unreadable else 0)
