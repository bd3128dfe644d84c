"""The plan of a run: images, hours and disk by stage, before it begins.

What computes image passes is counted (:mod:`defocus_lib.analysis.workload`) and multiplied by rates
that are measured on this machine (:mod:`defocus_lib.analysis.rates`). Pages that work on saved
values are taken from an earlier run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from defocus_lib import precision
from defocus_lib.analysis import rates, workload
from defocus_lib.analysis.rates import Rate
from defocus_lib.analysis.workload import Images, Operation, Parameters, Work
from defocus_lib.data import collection
from defocus_lib.data.expected import expected_records
from defocus_lib.data.images import Reader
from defocus_lib.data.index import index_files, list_index, load_index
from defocus_lib.data.manifest import Files, Union, load_manifest
from defocus_lib.run import provenance
from defocus_lib.run.artifacts import Folder, project_root
from defocus_lib.run.profile import in_force

COLUMNS = ["notebook", "stage", "images", "seconds", "cpu_seconds", "bytes", "rate"]
PASSES = ("training", "prediction", "gradient", "map", "scene", "index")  # what counts as an image
# Pages that go through the saved Shapley values: their time grows with the pixels explained.
ON_VALUES = ("05", "06", "07", "08", "09")
MEASURED = "measured now"
BUSY = 1.5  # times the processor time by all cores: other programs compete for them


@dataclass(frozen=True)
class Plan:
    """A plan, one row per stage with :data:`COLUMNS`, and what it assumes, one sentence each."""

    profile: str
    table: pd.DataFrame
    assumptions: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return float(self.table["seconds"].sum())

    def text(self) -> str:
        """The table with a sum, and the assumptions, for a terminal."""
        shown = _shown(self.table)
        total = f"total: {_time(self.seconds)}, {_disk(self.table['bytes'].sum())} of disk"
        assumed = "\n".join(f"- {line}" for line in self.assumptions)
        return f"Plan of the run {self.profile}\n\n{shown}\n\n{total}\n\nAssumed:\n{assumed}"


def plan(profile: str, settings: str = "", progress: bool = False) -> Plan:
    """Count what a profile computes, and measure what that takes here: some seconds.

    ``settings`` are those of ``make book SET=``. Raises ValueError if the profile or a parameter
    does not exist, or the number of images is neither found nor stated in the manifest.
    """
    root = project_root()
    parameters = in_force(root, profile, settings)
    images, on_disk, origin = _images(parameters["01_data"], profile)
    works = workload.of_run(parameters, images)
    with rates.bench(on_disk) as at:
        measured = rates.measure((work.operation for work in works), at, progress)
    counted = stages(works, measured, precision.cores())
    rest = _from_earlier(parameters, images, profile)
    table = pd.concat([counted, rest], ignore_index=True).sort_values("notebook", kind="stable")
    notes = [origin, *_assumptions(at.device, on_disk is None), *_unmeasured(rest)]
    if at.device == "cpu":
        notes += _competition(counted, precision.cores())
    return Plan(profile, table.reset_index(drop=True), tuple(notes))


def stages(
    works: Iterable[Work], measured: Mapping[Operation, Rate], cores: int = 1
) -> pd.DataFrame:
    """One row per notebook and stage with :data:`COLUMNS`, in the order of the works."""
    rows = []
    for work in works:
        operation, rate = work.operation, measured[work.operation]
        side_by_side = min(work.processes, cores) if operation.alone else 1
        seconds = work.images * rate.seconds / side_by_side
        counted = work.images if operation.kind in PASSES else 0
        size = work.images * rate.bytes if work.kept else 0.0
        costs = (seconds, work.images * rate.cpu_seconds, size)
        rows.append((work.notebook, work.stage, counted, *costs, MEASURED))
    table = pd.DataFrame(rows, columns=COLUMNS)
    sums = table.groupby(["notebook", "stage", "rate"], sort=False, as_index=False).sum()
    return sums[COLUMNS]


# ------------------------------------------------------------------------------------------------
# Which images, and where that is known from.


def _images(
    own: Mapping[str, Any], profile: str
) -> tuple[Images, tuple[Reader, pd.DataFrame] | None, str]:
    """The images of the run, a reader and records of those that are found, and a sentence."""
    name = own.get("dataset", "scenes")
    if name == "scenes":
        images = workload.chosen_images(own, None)
        return images, None, f"{len(images.sweep_records):,} images are rendered."
    entry: Any = load_manifest(own.get("manifest") or None).dataset(name)
    if _is_indexed(entry):
        index = load_index(entry)
        records = index.records
        reader = collection.reader_of(entry, own["size"])
        images = workload.chosen_images(own, records, index.absent)
        return images, (reader, images.records), f"Images: {len(records):,} in the index of {name}."
    if entry.has_folder():
        index = list_index(entry)
        images = workload.chosen_images(own, index.records, index.absent)
        return images, None, f"Images: {images.indexed:,} by the names of the files of {name}."
    images = workload.chosen_images(own, expected_records(entry))
    origin = f"Images: {images.indexed:,}, as the manifest states; {name} is not indexed yet."
    return images, None, origin


def _is_indexed(entry: Files | Union) -> bool:
    try:
        return all(path.exists() for path in index_files(entry))
    except (FileNotFoundError, ValueError):  # the root is not set, or not there
        return False


# ------------------------------------------------------------------------------------------------
# Pages without image passes.


def _from_earlier(parameters: Parameters, images: Images, profile: str) -> pd.DataFrame:
    """Rows of the pages that make no image passes, by the seconds of an earlier run."""
    runs = _earlier(profile)
    starting = min((seconds for seconds, _, _ in runs.values()), default=0.0)
    rows = []
    for name in parameters:
        if name in workload.PAGES:
            continue
        seconds, pixels, origin = runs.get(name, (float("nan"), 0.0, "not measured"))
        if name.startswith(ON_VALUES) and pixels:
            factor = _explained_pixels(parameters, images) / pixels
            seconds = starting + max(0.0, seconds - starting) * factor
        rows.append((name, "whole page", 0, seconds, float("nan"), 0.0, origin))
    return pd.DataFrame(rows, columns=COLUMNS)


def _explained_pixels(parameters: Parameters, images: Images) -> float:
    explained = collection.to_explain(images.records, parameters["04_save_shapley"]["images"])
    return len(explained) * images.size**2


def _earlier(profile: str) -> dict[str, tuple[float, float, str]]:
    """Seconds, explained pixels and origin of each notebook: of this profile, or the newest run."""
    root = project_root() / "artifacts"
    folders = sorted({path.parent.parent for path in root.glob("*/runs/*.json")}, key=_age)
    folders.sort(key=lambda folder: folder.name != profile)
    earlier: dict[str, tuple[float, float, str]] = {}
    for path in folders:
        runs = {run.notebook: run for run in provenance.read_runs(path)}
        try:
            images = workload.images_of(Folder.open(path.name, path))
            pixels = _explained_pixels({name: run.parameters for name, run in runs.items()}, images)
        except (KeyError, OSError, ValueError):
            pixels = 0.0
        for name, run in runs.items():
            earlier.setdefault(name, (run.seconds, pixels, f"run {path.name}"))
    return earlier


def _age(folder: Path) -> float:
    return -max(path.stat().st_mtime for path in folder.glob("runs/*.json"))


# ------------------------------------------------------------------------------------------------
# In words.


def _assumptions(device: str, stand_in: bool) -> Iterable[str]:
    where = "the graphics card" if device != "cpu" else "the processor"
    yield f"Rates are bare passes, measured now on {where}; nothing is cached, all epochs are used."
    if stand_in:
        yield "Photographs of the manifest stand in for the images while rates are measured."
    yield "Statistics and figures of pages with image passes, and the rendering, come on top."
    if device != "cpu":
        yield "Reading is added to the passes, though workers read ahead: an upper bound."


def _competition(counted: pd.DataFrame, cores: int) -> Iterable[str]:
    """A sentence if other programs made the measurement slower than the processor is."""
    alone = counted["cpu_seconds"].sum() / cores
    if counted["seconds"].sum() > BUSY * alone:
        yield (
            "Other programs kept the cores busy while rates were measured. Without them the "
            f"measured stages take about {_time(alone)}."
        )


def _unmeasured(rest: pd.DataFrame) -> Iterable[str]:
    names = rest.loc[rest["seconds"].isna(), "notebook"]
    if len(names):
        yield f"Left out, because no earlier run says how long they take: {', '.join(names)}."


def _shown(table: pd.DataFrame) -> str:
    per_image = (1000 * table["seconds"] / table["images"]).where(table["images"] > 0)
    columns = {
        "notebook": table["notebook"],
        "stage": table["stage"],
        "images": table["images"].map(lambda n: f"{n:,}" if n else ""),
        "ms per image": per_image.map("{:.3g}".format, na_action="ignore").fillna(""),
        "time": table["seconds"].map(_time, na_action="ignore").fillna("?"),
        "disk": table["bytes"].map(lambda n: _disk(n) if n else ""),
        "rate": table["rate"],
    }
    return pd.DataFrame(columns).to_string(index=False)


def _time(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _disk(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
