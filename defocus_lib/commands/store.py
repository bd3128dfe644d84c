"""``store``: check saved Shapley values, and import those of the authors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from defocus_lib.commands.options import (
    PROBLEMS,
    Json,
    one_line_errors,
)

app = typer.Typer(
    no_args_is_help=True, help="Saved Shapley values: check them, import those of the authors."
)


@app.command("verify")
def verify_store(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="An artefact folder, its folder `shapley`, or a file."),
    ],
    as_json: Json = False,
) -> None:
    """Read every shard, compare it with the index, and list what is wrong.

    Exit code: 0 nothing is wrong, 1 something is, 2 there is no set.
    """
    from defocus_lib.explain import shards

    root = path if path.name == shards.ROOT or path.is_file() else path / shards.ROOT
    with one_line_errors():
        report = shards.verify(root)
    damaged = report[report["problem"] != ""]
    if as_json:
        typer.echo(json.dumps(report.to_dict("records"), indent=2))
    else:
        for row in damaged.itertuples():
            typer.echo(f"{root if root.is_file() else root / row.file}: {row.problem}")
        images = report["images"].sum()
        typer.echo(f"{len(report):,} files, {images:,} images; damaged: {len(damaged):,}")
        if len(damaged):
            typer.echo("Notebook 04_save_shapley, or `make book`, computes damaged files anew.")
    raise typer.Exit(PROBLEMS if len(damaged) else 0)


@app.command("import")
def import_store(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An .npz of the authors' code.")],
    profile: Annotated[
        str, typer.Option(help="The artefact folder is artifacts/PROFILE.")
    ] = "imported",
    name: Annotated[
        str, typer.Option("--set", help="Real, or the manipulation; by default the file's name.")
    ] = "",
) -> None:
    """Turn pickled arrays of the authors' code into shards. Anything but numbers is refused."""
    from defocus_lib.explain import reference_import

    with one_line_errors():
        folder = reference_import.begin(profile)
        images = reference_import.import_set(file, folder, name or file.stem)
    typer.echo(f"{images:,} images: {folder.path / 'shapley' / (name or file.stem)}")
    typer.echo("Images are named by position and paired with the real image of the same position.")
