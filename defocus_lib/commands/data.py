"""``data``: list, verify, index and extract the data sets of the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defocus_lib.commands.options import (
    PROBLEMS,
    Json,
    ManifestPath,
    Name,
    Workers,
    is_watched,
    one_line_errors,
)

if TYPE_CHECKING:
    from defocus_lib.data.dataset import Dataset
    from defocus_lib.data.index import Index


app = typer.Typer(
    no_args_is_help=True,
    help="The data sets of data_manifest.yaml: list them, check them, index them.",
)


LEFT_OUT = {
    "unreadable": "images that can't be read",
    "odd": "odd files and folders",
    "foreign": "other files",
}


Refresh = Annotated[
    bool, typer.Option("--refresh", help="Walk the tree again, also if it is indexed already.")
]


@app.command("list")
def list_data(manifest: ManifestPath = None, as_json: Json = False) -> None:
    """Name the data sets of the manifest, and say where they lie."""
    from defocus_lib.data.manifest import load_manifest

    with one_line_errors():
        entries = [
            {key: getattr(entry, key) for key in ("name", "title", "layout")}
            | {"root": entry.where(), "split": entry.split_description, "licence": entry.licence}
            for entry in load_manifest(manifest).datasets
        ]
    if as_json:
        return typer.echo(json.dumps(entries, indent=2))
    for entry in entries:
        typer.echo(f"{entry.pop('name')}")
        for key, value in entry.items():
            typer.echo(f"    {key:8}{value}")


@app.command("verify")
def verify_data(
    name: Name, manifest: ManifestPath = None, as_json: Json = False, n_workers: Workers = -1
) -> None:
    """Read every image that the manifest selects, list what is wrong, and index the rest.

    Exit code: 0 nothing is wrong, 1 something is, 2 the data set can't be read.
    """
    from defocus_lib.data.audit import verify

    with one_line_errors():
        report = verify(_entry(name, manifest), n_workers, progress=is_watched(), keep=True)
    typer.echo(json.dumps(report.as_json(), indent=2) if as_json else report.text())
    raise typer.Exit(0 if report.ok else PROBLEMS)


@app.command("index")
def index_data(
    name: Name,
    manifest: ManifestPath = None,
    as_json: Json = False,
    n_workers: Workers = -1,
    refresh: Refresh = False,
) -> None:
    """Write the table of records that everything else reads, unless it exists.

    Exit code: 0 it exists, 1 an image can't be read and the manifest says to stop, 2 there is
    nothing to index.
    """
    from defocus_lib.data.index import index_files, load_index

    with one_line_errors():
        entry = _entry(name, manifest)
        index = load_index(entry, refresh=refresh, n_workers=n_workers, progress=is_watched())
        summary = _summary(entry, index) | {"files": [str(path) for path in index_files(entry)]}
    if as_json:
        return typer.echo(json.dumps(summary, indent=2))
    left_out = ", ".join(f"{summary[key]:,} {what}" for key, what in LEFT_OUT.items())
    typer.echo(
        f"{summary['images']:,} images of {summary['groups']:,} groups; left out: {left_out}"
    )
    for reason, images in summary["unused"].items():
        typer.echo(f"    {images:,} images not used: {reason}")
    typer.echo("\n".join(summary["files"]))
    typer.echo("Files that changed since are read again by --refresh, or by `data verify`.")


@app.command("extract")
def extract_data(
    name: Name,
    manifest: ManifestPath = None,
    as_json: Json = False,
    n_workers: Annotated[
        int, typer.Option("--threads", "--n-workers", help="Processes; -1 takes every core.")
    ] = -1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do again what is done already.")] = False,
) -> None:
    """Crop the faces out of videos, into the folders that the layout reads.

    Exit code: 0 every video has crops, 1 some have not, or not all; 2 there are no videos."""
    from defocus_lib.data.extract import extract

    with one_line_errors():
        report = extract(_entry(name, manifest), n_workers, progress=True, fresh=fresh)
    if as_json:
        typer.echo(report.table.to_json(orient="records", indent=2))
    else:
        typer.echo(f"{report.text()}\nNext: python -m defocus_lib data verify {name}")
    raise typer.Exit(0 if report.ok else PROBLEMS)


def _entry(name: str, manifest: Path | None) -> Dataset:
    from defocus_lib.data.manifest import load_manifest

    return load_manifest(manifest).dataset(name)


def _summary(entry: Dataset, index: Index) -> dict:
    from defocus_lib.data.records import counts

    numbers = {"images": len(index.records), "groups": int(index.records["group"].nunique())}
    left_out = {key: len(getattr(index, key)) for key in LEFT_OUT}
    by_split = {"counts": counts(index.records).to_dict(orient="index")}
    unused = {"unused": index.unused_by_reason().to_dict()}
    return {"name": entry.name} | numbers | left_out | unused | by_split
