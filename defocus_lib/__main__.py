"""The command line: ``python -m defocus_lib``.

Each command imports what it needs, so that the help appears at once.
"""

from __future__ import annotations

if __name__ == "__main__":
    from defocus_lib.run.interrupts import end_at_once

    end_at_once()

import json
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from defocus_lib.analysis.inspection_settings import Settings
from defocus_lib.detect.plan import BOOK, Plan, Request
from defocus_lib.maps.budget import Budget
from defocus_lib.run.interrupts import CODE as INTERRUPTED
from defocus_lib.run.interrupts import is_verbose
from defocus_lib.run.threads import limit_threads

if TYPE_CHECKING:
    from defocus_lib.data.dataset import Dataset
    from defocus_lib.data.index import Index

PROBLEMS, USAGE = 1, 2  # exit codes, beside INTERRUPTED
# Where the option is not called like the field.
OPTION_NAMES = {"reads": ["--input"], "n_threads": ["--threads", "--n-threads"]}

LEFT_OUT = {
    "unreadable": "images that can't be read",
    "odd": "odd files and folders",
    "foreign": "other files",
}


class Verbs(TyperGroup):
    """The commands; Ctrl-C in any of them is told in one word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if is_verbose():
                traceback.print_exc()
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Verbs,
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
    no_args_is_help=True, help="Saved Shapley values: check them, import those of the authors."
)
app.add_typer(saved, name="store")

maps = typer.Typer(
    no_args_is_help=True,
    help="The stored maps, which all runs share: how many there are, remove those of no use.",
)
app.add_typer(maps, name="cache")

bundles = typer.Typer(
    no_args_is_help=True, help="A finished run as one file: make it, verify it, open it."
)
app.add_typer(bundles, name="bundle")

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
    int,
    typer.Option("--threads", "--n-workers", help="That read images; -1 takes every core."),
]
Threads = Annotated[int, typer.Option("--threads", min=0, help="That compute; 0 takes every core.")]
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
            | {"root": entry.where(), "split": entry.split_description, "licence": entry.licence}
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
    """Read every image that the manifest selects, list what is wrong, and index the rest.

    Exit code: 0 nothing is wrong, 1 something is, 2 the data set can't be read.
    """
    from defocus_lib.data.audit import verify

    with one_line_errors():
        report = verify(_entry(name, manifest), n_workers, progress=is_watched(), keep=True)
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


@data.command("extract")
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


@saved.command("verify")
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


@saved.command("import")
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


@maps.command("show")
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


@maps.command("prune")
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


@maps.command("verify")
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


BundlePath = Annotated[
    Path, typer.Argument(metavar="FILE", help="A bundle, or the folder that it was unpacked into.")
]


@bundles.command("make")
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


@bundles.command("verify")
def verify_bundle(file: BundlePath) -> None:
    """Read a bundle to its end, and list its content; nothing is written.

    Exit code: 0 it is whole and harmless, 2 it is refused."""
    from defocus_lib.run.artifacts import project_root
    from defocus_lib.run.bundle import verify

    with one_line_errors():
        typer.echo("\n".join(verify.summary_of(verify.verify(file, project_root()))))


@bundles.command("open")
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


def is_watched() -> bool:
    """Whether progress is drawn: a file gets no bars."""
    return sys.stderr.isatty()


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


@contextmanager
def one_line_errors(unreadable: int = PROBLEMS) -> Iterator[None]:
    """End the program with one line, without a traceback, for an error that a user can correct."""
    try:
        yield
    except (ValueError, KeyError, OSError) as error:
        from defocus_lib.data.images import UnreadableImage

        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(unreadable if isinstance(error, UnreadableImage) else USAGE) from None


def options_of(
    *settings: type, defaults: Mapping[str, object] = MappingProxyType({})
) -> Callable[[Callable], Callable]:
    """Give a command the fields of some dataclasses as options, which it gets as ``**options``.

    A field's annotation is ``Annotated[type, help]``; ``defaults`` take the place of its own.
    """
    parameters = []
    for kind in settings:
        hints = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            annotation, text = get_args(hints[field.name])
            default = defaults.get(field.name, field.default)
            option = typer.Option(*OPTION_NAMES.get(field.name, _flag(field, default)), help=text)
            default = Parameter.empty if default is MISSING else default
            parameters.append(
                Parameter(
                    field.name,
                    Parameter.KEYWORD_ONLY,
                    default=default,
                    annotation=Annotated[annotation, option],
                )
            )

    def decorate(command: Callable) -> Callable:
        own = list(signature(command, eval_str=True).parameters.values())[:-1]
        command.__signature__ = Signature(own + parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def _flag(field: Field, default: object) -> list[str]:
    """Names of the option of a field that is a switch; of others typer makes them."""
    name = field.name.replace("_", "-")
    off = f"/--no-{name}" if default else ""
    return [f"--{name}{off}"] if isinstance(default, bool) else []


def _of_authors(context: typer.Context) -> dict[str, Any]:
    """Settings of Jeon & Woo (2025), which the dataclasses have, in place of the book's, where the
    user gave none."""
    own = {field.name: field.default for kind in (Request, Plan) for field in fields(kind)}
    sources = {name: context.get_parameter_source(name) for name in BOOK}
    return {name: own[name] for name, source in sources.items() if source.name == "DEFAULT"}  # type: ignore[union-attr]


@app.command("train")
@options_of(Request, Plan, defaults=BOOK)
def train(
    context: typer.Context,
    authors: Annotated[
        bool,
        typer.Option(
            "--authors",
            help="Settings of Jeon & Woo (2025) where no option is given: preset released, "
            "learning rate 0.0001, constant, 32-true, val_accuracy, no flips.",
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
    from defocus_lib.figures import detection

    def announce(setup: experiment.Setup, missing_maps: int) -> None:
        if training.is_first_process():
            typer.echo(training_time.sentence(setup, missing_maps), err=True)

    def log(line: str) -> None:
        typer.echo(line, err=True)

    with one_line_errors(unreadable=USAGE):
        plan = Plan(**{field.name: options[field.name] for field in fields(Plan)})
        request = Request(**{field.name: options[field.name] for field in fields(Request)})
        progress = training.is_first_process() and (is_watched() or log)
        draw = detection.preview if request.previews else None
        report = experiment.perform(request, plan, draw, progress, announce)
        typer.echo(report.text())
        typer.echo(f"Weights, tables and logs: {report.folder}")


@app.command("train-estimator")
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


@app.command("run", cls=NameAndValue)
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


@app.command("inspect")
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


@app.command("plan")
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


if __name__ == "__main__":
    program = typer.main.get_command(app)
    end_at_once(importing_only=True)  # a command goes on to import what it needs
    program(prog_name="python -m defocus_lib")
