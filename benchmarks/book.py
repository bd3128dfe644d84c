"""Where the time of the book goes: ``python -m benchmarks.book [PROFILE]``.

Run the book first. Each notebook of ``artifacts/PROFILE`` (``demo``) is set beside the bare cost of
its image passes: nothing but forward and backward through its detectors, and its maps, as many as
its parameters say, measured now on the threads that its notebooks had. Rows of processors of the
other kind (with or without half precision) are kept. Takes a minute; the machine should be idle.
"""

import sys
from pathlib import Path

import pandas as pd
import torch

from benchmarks import machine
from defocus_lib.analysis import cost_model, rates, workload
from defocus_lib.precision import cores, here, is_native
from defocus_lib.run import provenance
from defocus_lib.run.artifacts import Folder, project_root
from defocus_lib.run.provenance import Run

RESULTS = Path(__file__).parent / "results" / "book.csv"
BARE = ("training", "prediction", "gradient", "map")  # the operations that count as image passes
COLUMNS = [
    *("kind", "notebook", "seconds", "cpu_seconds", "share", "passes", "bare_seconds"),
    *("bare_cpu_seconds", "ratio"),
]


def kind(device: str = "cpu") -> str:
    """The kind of processor, as the page Speed calls it."""
    if device != "cpu":
        return "graphics card"
    return "with half precision" if is_native(device) else "without half precision"


def bare(runs: list[Run], images: workload.Images, at: rates.Bench) -> pd.DataFrame:
    """Passes, and what they take bare, by notebook: images, seconds and cpu_seconds."""
    parameters = {run.notebook: run.parameters for run in runs}
    works = [work for work in workload.of_run(parameters, images) if work.operation.kind in BARE]
    measured = rates.measure((work.operation for work in works), at, progress=True)
    stages = cost_model.stages(works, measured, cores())
    return stages.groupby("notebook")[["images", "seconds", "cpu_seconds"]].sum()


def table(runs: list[Run], passes: pd.DataFrame, of_kind: str) -> pd.DataFrame:
    """One row per notebook with :data:`COLUMNS`.

    ``share`` and ``ratio`` are of processor time where every notebook recorded it and a processor
    computed, else of the clock.
    """
    rows = pd.DataFrame(
        [(run.notebook, run.seconds, run.cpu_seconds or float("nan")) for run in runs],
        columns=["notebook", "seconds", "cpu_seconds"],
    ).set_index("notebook")
    by_clock = of_kind == kind("cuda") or rows["cpu_seconds"].isna().any()
    unit = "seconds" if by_clock else "cpu_seconds"
    passes = passes.reindex(rows.index).fillna(0)
    rows = rows.assign(
        share=rows[unit] / rows[unit].sum(),
        passes=passes["images"].astype(int),
        bare_seconds=passes["seconds"],
        bare_cpu_seconds=passes["cpu_seconds"],
        ratio=(rows[unit] / passes[unit]).where(passes[unit] > 0),
        kind=of_kind,
    )
    return rows.reset_index()[COLUMNS]


def keep(rows: pd.DataFrame, path: Path = RESULTS) -> pd.DataFrame:
    """Replace the rows of this kind of processor in a table on disk, and leave the others."""
    known = pd.read_csv(path) if path.exists() else rows.head(0)
    others = known[~known["kind"].isin(rows["kind"])]
    every = pd.concat([others, rows]) if len(others) else rows
    every = every.sort_values("kind", kind="stable").round(4)
    path.parent.mkdir(exist_ok=True)
    every.to_csv(path, index=False)
    return every


def main(profile: str = "demo", path: Path = RESULTS) -> None:
    folder = Folder(project_root() / "artifacts" / profile, profile)
    runs = provenance.read_runs(folder.path)
    if not runs:
        raise SystemExit(f"no runs in {folder.path}: run `make book PROFILE={profile}` first")
    torch.set_num_threads(min((run.threads for run in runs if run.threads), default=cores()))
    device = here()
    with rates.bench() as at:
        passes = bare(runs, workload.images_of(folder), at)
    every = keep(table(runs, passes, kind(device)), path)
    machine.note(f"book, {kind(device)}", path.with_name("machine.csv"))
    print(every.to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:2])
