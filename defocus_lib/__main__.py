"""The command line: ``python -m defocus_lib``. Each command imports what it needs, so that help is there at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from defocus_lib.data.index import Index
    from defocus_lib.data.manifest import Dataset

PROBLEMS, USAGE = 1, 2  # exit codes

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data = typer.Typer(
    no_args_is_help=True,
    help="The data sets of data_manifest.yaml: list them, check them, index them.",
)
app.add_typer(data, name="data")
saved = typer.Typer(
    no_args_is_help=True, help="Saved Shapley values: check them, import those of the reference."
)
app.add_typer(saved, name="store")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name of the data set in the manifest.", show_default=False
    ),
]
ManifestPath = Annotated[
    Path | None, typer.Option("--manifest", help="Another file than data_manifest.yaml.")
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output, and nothing else.")
]
Workers = Annotated[
    int, typer.Option("--n-workers", help="Threads that read images; -1 takes every core.")
]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Walk the tree again, also if it is indexed already.")
]


@app.callback()
def main() -> None:
    """Defocus blur as evidence of image manipulation."""


@data.command("list")
def list_data(manifest: ManifestPath = None, as_json: Json = False) -> None:
    """Name the data sets of the manifest, and say where they lie."""
    from defocus_lib.data.manifest import load_manifest

    with one_line_errors():
        entries = [
            {key: getattr(entry, key) for key in ("name", "title", "layout")}
            | {"root": entry.where(), "split": entry.split_words, "licence": entry.licence}
            for entry in load_manifest(manifest).datasets
        ]
    if as_json:
        return typer.echo(json.dumps(entries, indent=2))
    for entry in entries:
        typer.echo(f"{entry.pop('name')}")
        for key, value in entry.items():
            typer.echo(f"    {key:8}{value}")


@data.command("verify")
def verify_data(
    name: Name, manifest: ManifestPath = None, as_json: Json = False, n_workers: Workers = -1
) -> None:
    """Walk a data set, read every image that the manifest selects, list what is wrong, and index the rest.

    Exit code: 0 nothing is wrong, 1 something is, 2 it can't be looked at.
    """
    from defocus_lib.data.audit import verify

    with one_line_errors():
        report = verify(_entry(name, manifest), n_workers, progress=True, keep=True)
    typer.echo(json.dumps(report.as_json(), indent=2) if as_json else report.text())
    raise typer.Exit(0 if report.ok else PROBLEMS)


@data.command("index")
def index_data(
    name: Name,
    manifest: ManifestPath = None,
    as_json: Json = False,
    n_workers: Workers = -1,
    refresh: Refresh = False,
) -> None:
    """Write the table of records that everything else reads, unless it is there.

    Exit code: 0 it is there, 1 an image can't be read and the manifest says to stop, 2 there is nothing to index.
    """
    from defocus_lib.data.index import index_files, records_of

    with one_line_errors():
        entry = _entry(name, manifest)
        index = records_of(entry, refresh=refresh, n_workers=n_workers, progress=True)
        said = _summary(entry, index) | {"files": [str(path) for path in index_files(entry)]}
    if as_json:
        return typer.echo(json.dumps(said, indent=2))
    typer.echo(
        f"{said['images']:,} images of {said['groups']:,} groups; left out: {_left_out(said)}"
    )
    typer.echo("\n".join(said["files"]))
    typer.echo(
        "If files have changed since they were indexed: --refresh, or `data verify`, reads them again."
    )


@saved.command("verify")
def verify_store(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="An artefact folder, its folder `shapley`, or a file."),
    ],
    as_json: Json = False,
) -> None:
    """Read every shard, compare it with the index, and list what is wrong.

    Exit code: 0 nothing is wrong, 1 something is, 2 there is nothing to look at.
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
        typer.echo(
            f"{len(report):,} files, {report['images'].sum():,} images; damaged: {len(damaged):,}"
        )
        if len(damaged):
            typer.echo(
                "Run notebook 04_save_shapley, or `make book`, again: what is damaged is computed anew."
            )
    raise typer.Exit(PROBLEMS if len(damaged) else 0)


@saved.command("import")
def import_store(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An .npz of the reference.")],
    profile: Annotated[
        str, typer.Option(help="The artefact folder is artifacts/PROFILE.")
    ] = "imported",
    name: Annotated[
        str,
        typer.Option(
            "--set",
            help="What it holds: real, or the name of a manipulation; else the file's name.",
        ),
    ] = "",
) -> None:
    """Turn a file of the reference's pickled arrays into shards of ours. Anything but arrays of numbers is refused."""
    from defocus_lib.explain import reference_import

    with one_line_errors():
        folder = reference_import.begin(profile)
        images = reference_import.import_set(file, folder, name or file.stem)
    typer.echo(f"{images:,} images: {folder.path / 'shapley' / (name or file.stem)}")
    typer.echo(
        "They are named by position and paired with the real image of the same position, as in the reference."
    )


def _entry(name: str, manifest: Path | None) -> Dataset:
    from defocus_lib.data.manifest import load_manifest

    return load_manifest(manifest).dataset(name)


def _summary(entry: Dataset, index: Index) -> dict:
    from defocus_lib.data.records import counts

    numbers = {"images": len(index.records), "groups": int(index.records["group"].nunique())}
    left_out = {key: len(getattr(index, key)) for key in ("unreadable", "odd", "foreign")}
    return {
        "name": entry.name,
        **numbers,
        **left_out,
        "counts": counts(index.records).to_dict(orient="index"),
    }


def _left_out(said: dict) -> str:
    words = {
        "unreadable": "images that can't be read",
        "odd": "odd files and folders",
        "foreign": "other files",
    }
    return ", ".join(f"{said[key]:,} {word}" for key, word in words.items())


@contextmanager
def one_line_errors(unreadable: int = PROBLEMS) -> Iterator[None]:
    """What a user can put right ends the program with a message, without a traceback."""
    try:
        yield
    except (ValueError, KeyError, OSError) as error:
        from defocus_lib.data.images import UnreadableImage

        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(unreadable if isinstance(error, UnreadableImage) else USAGE) from None


@app.command("train")
def train(
    dataset: Annotated[str, typer.Option(help="Name in data_manifest.yaml.")],
    fake_type: Annotated[
        str, typer.Option(help="The manipulation to tell from real images; all if not given.")
    ] = "",
    backbone: Annotated[
        str,
        typer.Option(help="A timm model; if not given legacy_xception, or that of the weights."),
    ] = "",
    reads: Annotated[
        Literal["defocus", "rgb", "fusion"], typer.Option("--input", help="What it sees.")
    ] = "defocus",
    epochs: Annotated[int, typer.Option(help="0 evaluates the weights.")] = 10,
    weights: Annotated[
        Path | None, typer.Option(help="Ours, or released ones; training starts from them.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last finished epoch.")
    ] = False,
    preset: Annotated[
        Literal["released", "published", "physical", "learned"], typer.Option(help="Of the maps.")
    ] = "released",
    size: Annotated[int, typer.Option(help="Side in px that images are brought to.")] = 299,
    input_size: Annotated[
        int | None,
        typer.Option(help="Average inputs to this size in px, 0 for none; that of the weights."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step and process.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Of Adam, at its peak.")] = 1e-4,
    schedule: Annotated[
        Literal["constant", "one_cycle"], typer.Option(help="Of the learning rate.")
    ] = "constant",
    precision: Annotated[
        str, typer.Option(help="Lightning's: 32-true, bf16-mixed ..., or auto.")
    ] = "32-true",
    monitor: Annotated[
        Literal["val_accuracy", "val_auc"], typer.Option(help="Best epoch by.")
    ] = "val_accuracy",
    patience: Annotated[
        int, typer.Option(help="Stop after so many epochs without a better one; 0 never.")
    ] = 0,
    horizontal_flip: Annotated[
        bool, typer.Option("--horizontal-flip", help="Mirror half of the training images.")
    ] = False,
    residual_scale: Annotated[
        float, typer.Option(help="Initial scale of the residual branches of legacy_xception.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Of first weights, order and mirroring.")] = 42,
    n_workers: Annotated[int, typer.Option(help="Processes that load images.")] = 0,
    accelerator: Annotated[str, typer.Option(help="Lightning's: auto, cpu, gpu, mps ...")] = "auto",
    devices: Annotated[str, typer.Option(help="How many (2), which ones (0,3) or auto.")] = "1",
    nodes: Annotated[int, typer.Option(help="Machines.")] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning's: auto, ddp ...")] = "auto",
    groups: Annotated[int, typer.Option(help="At most so many videos a split; 0 takes all.")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Folder; one below artifacts/ if not given.")
    ] = None,
    manifest: ManifestPath = None,
    n_bootstrap: Annotated[int, typer.Option(help="For the 95 % intervals.")] = 1000,
) -> None:
    """Train a detector and evaluate it on the test split; with --epochs 0, evaluate --weights. The defaults are those
    of the reference (Jeon & Woo 2025)."""
    options = locals().copy()  # named as the fields that they fill
    from dataclasses import fields

    from defocus_lib.detect import experiment, training
    from defocus_lib.figures import detection

    with one_line_errors(unreadable=USAGE):
        plan, request = (
            kind(**{field.name: options[field.name] for field in fields(kind)})
            for kind in (training.Plan, experiment.Request)
        )
        report = experiment.perform(
            request, plan, detection.preview, progress=training.is_first_process()
        )
        typer.echo(experiment.told(report, request))
        typer.echo(f"Weights, tables and logs: {report.folder}")


@app.command("train-estimator")
def train_estimator(
    minutes: Annotated[
        float, typer.Option(help="Training ends after so many; 0 for no limit.")
    ] = 60,
    steps: Annotated[
        int, typer.Option(help="Training ends after so many; 0 for no limit.")
    ] = 16000,
    seed: Annotated[int, typer.Option(help="Of first weights and scenes.")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Folder; artifacts/estimator-SEED if not given.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Scenes a step.")] = 8,
    side: Annotated[int, typer.Option(help="Side of a scene in px, a multiple of 16.")] = 160,
    learning_rate: Annotated[float, typer.Option(help="At its peak.")] = 2e-3,
    every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 500,
    validation: Annotated[int, typer.Option(help="Scenes that calibrate the uncertainty.")] = 512,
    n_workers: Annotated[int, typer.Option(help="Processes that render scenes.")] = 1,
    precision: Annotated[
        str, typer.Option(help="Lightning's: 32-true, bf16-mixed ..., or auto.")
    ] = "auto",
) -> None:
    """Train the network of the preset `learned` on simulated blur.

    The steps given are those of the packaged weights: on a machine that takes less than the minutes for them, the same
    weights come out. With --steps 0 all minutes are used."""
    options = locals().copy()
    from dataclasses import fields

    from defocus_lib.maps import learned_training

    with one_line_errors():
        budget = learned_training.Budget(
            **{field.name: options[field.name] for field in fields(learned_training.Budget)}
        )
        path, card = learned_training.perform(budget, output, resume)
    found = card["validation"]
    typer.echo(
        f"{path}: {card['steps']:,} steps, {card['scenes']:,} scenes; on scenes of other photographs off by "
        f"{found['error (px)']:.3f} px on average, and {found['held (%)']:.0f} % of them within the 90 % intervals."
    )
    typer.echo(
        f"To use it as preset `learned`, copy it and its card, {path.stem}.json, to defocus_lib/weights, "
        "and name its seed first in estimator.SEEDS."
    )


if __name__ == "__main__":
    app(prog_name="python -m defocus_lib")
