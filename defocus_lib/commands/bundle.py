"""``bundle``: a finished run as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defocus_lib.commands.options import (
    one_line_errors,
)

app = typer.Typer(
    no_args_is_help=True, help="A finished run as one file: make it, verify it, open it."
)


BundlePath = Annotated[
    Path, typer.Argument(metavar="FILE", help="A bundle, or the folder that it was unpacked into.")
]


@app.command("make")
def make_bundle(
    profile: Annotated[
        str, typer.Argument(metavar="PROFILE", help="The run in artifacts/PROFILE.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="The zip; by default artifacts/NAME.zip.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="Shapley values of at most so many images of each set.")
    ] = None,
    no_images: Annotated[
        bool,
        typer.Option("--no-images", help="Leave out pictures, and figures of pictures and maps."),
    ] = False,
    artifacts: Annotated[str, typer.Option(help="Another folder than artifacts/PROFILE.")] = "",
) -> None:
    """Write one zip that renders the book of a finished run, and that 05 to 09 can run on again.

    Maps and Shapley values stay, as numbers, with --no-images; --images 0 leaves them out too."""
    from tempfile import TemporaryDirectory

    from defocus_lib.data.manifest import load_manifest
    from defocus_lib.explain import sample, shards
    from defocus_lib.run.artifacts import Folder, project_root
    from defocus_lib.run.bundle import description, verify, write

    with one_line_errors(), TemporaryDirectory() as beside:
        root, folder = project_root(), Folder.open(profile, artifacts)
        described = write.describe(folder, root, images, not no_images)
        stored: Path | None = folder.path / shards.ROOT
        if images == 0:
            stored = None
        elif images is not None or no_images:
            stored = sample.write_sample(
                folder.path / shards.ROOT, Path(beside) / shards.ROOT, images, not no_images
            ).parent
        pages = description.pages_of(root)
        files = dict(write.contents(folder, described, pages, stored))
        path = output or root / "artifacts" / f"{described.name}.zip"
        licence = load_manifest().dataset(described.dataset).licence
        write.write_bundle(path, described, files, licence)
        made = verify.verify(path, root)
    typer.echo("\n".join(verify.summary_of(made)))
    typer.echo(f"{path}: {path.stat().st_size / 2**20:,.1f} MiB, SHA-256 {shards.checksum(path)}")


@app.command("verify")
def verify_bundle(file: BundlePath) -> None:
    """Read a bundle to its end, and list its content; nothing is written.

    Exit code: 0 it is whole and harmless, 2 it is refused."""
    from defocus_lib.run.artifacts import project_root
    from defocus_lib.run.bundle import verify

    with one_line_errors():
        typer.echo("\n".join(verify.summary_of(verify.verify(file, project_root()))))


@app.command("open")
def open_bundle(
    file: BundlePath,
    lab: Annotated[
        bool, typer.Option("--lab", help="Write notebooks 05 to 09 with its parameters, too.")
    ] = False,
) -> None:
    """Verify a bundle and unpack it into artifacts/bundle-NAME; print that folder.

    `python -m doit bundle=FOLDER` renders it. What a bundle of that name left there is replaced."""
    from defocus_lib.run.artifacts import project_root
    from defocus_lib.run.bundle import opened, verify

    with one_line_errors():
        root = project_root()
        if opened.is_opened(file, root):
            folder = file
        else:
            made = verify.verify(file, root)
            typer.echo("\n".join(verify.summary_of(made)), err=True)
            folder = opened.unpack(made, root / "artifacts" / f"bundle-{made.description.name}")
        folder = opened.write_lab(folder, root) if lab else folder
    typer.echo(folder)
