"""``cache``: the stored maps, which all runs share."""

from __future__ import annotations

import json
import warnings
from typing import Annotated

import typer

from defocus_lib.commands.options import (
    Json,
    Threads,
    is_watched,
    one_line_errors,
)
from defocus_lib.run.threads import limit_threads

app = typer.Typer(
    no_args_is_help=True,
    help="The stored maps, which all runs share: how many there are, remove those of no use.",
)


@app.command("show")
def show_cache(as_json: Json = False) -> None:
    """List the stored maps by preset, version, method, size and fit."""
    from defocus_lib.maps import cache, upkeep

    with one_line_errors():
        folder, limit = cache.maps_folder(), upkeep.limit_bytes()
        table = upkeep.summary(folder, cache.present_versions())
    if as_json:
        return typer.echo(json.dumps(table.to_dict("records"), indent=2))
    for row in table.itertuples():
        name = f"{row.preset} {row.version} {row.kind}" if row.preset else "of version 0.2.0"
        state = "" if row.current else "; outdated"
        typer.echo(f"{name}: {row.maps:,} maps, {row.bytes / 1e6:,.1f} MB{state}")
    number, size = table["maps"].sum(), table["bytes"].sum() / 1e6
    typer.echo(f"{folder}: {number:,} maps, {size:,.1f} MB")
    typer.echo(f"Limit: {limit / 1e9:g} GB; the environment variable {upkeep.LIMIT} changes it.")


@app.command("prune")
def prune_cache(
    limit: Annotated[
        float | None,
        typer.Option(min=0, help="In GB, instead of DEFOCUS_MAPS_GB.", show_default=False),
    ] = None,
) -> None:
    """Remove maps that the present code does not read, temporary files of killed processes, and
    then the maps that were used least recently until the rest is within the limit.

    What was used or written within the last hour stays, because a run may be at work with it."""
    from defocus_lib.maps import cache, upkeep
    from defocus_lib.run.artifacts import AT_WORK, project_root, remove_leftovers

    with one_line_errors(), warnings.catch_warnings(record=True, category=UserWarning) as warned:
        temporary = remove_leftovers(project_root() / "artifacts")
        number = None if limit is None else limit * 1e9
        outdated, rest = upkeep.prune(
            cache.maps_folder(), cache.present_versions(), number, AT_WORK
        )
    files = upkeep.Pruned(len(temporary), sum(temporary.values()))
    removed = {"temporary files": files, "outdated maps": outdated, "least recently used": rest}
    for what, part in removed.items():
        typer.echo(f"{what}: {part.files:,} removed, {part.bytes / 1e6:,.1f} MB")
    for warning in warned:
        typer.echo(str(warning.message), err=True)


@app.command("verify")
def verify_cache(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="A run: artifacts/PROFILE.")],
    threads: Threads = 0,
) -> None:
    """Read every map of a run, and compute those again that are damaged or missing."""
    limit_threads(threads)
    import pandas as pd

    from defocus_lib.data import collection
    from defocus_lib.maps.cache import load_maps
    from defocus_lib.run.artifacts import Folder

    with one_line_errors():
        folder = Folder.open(profile)
        run = collection.load(folder)
        cache, _ = load_maps(folder, run.reader)
        records = pd.concat([run.records, collection.load_sweep_records(folder)])
        counts = cache.fill(records, run.reader, progress=is_watched(), verify=True)
    typer.echo(f"{counts['found']:,} maps are whole; {counts['computed']:,} were computed anew.")
