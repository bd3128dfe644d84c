"""Sweeps of small detectors: one network and budget, several inputs, manipulations and seeds.

Each run trains on one thread and depends on no other, so one process and a cluster give equal
predictions. Their inputs are made once and shared, see :mod:`defocus_lib.detect.stored_inputs`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import timm
import torch
from tqdm.auto import tqdm

from defocus_lib import precision
from defocus_lib.data.images import Reader
from defocus_lib.data.records import REAL
from defocus_lib.detect import in_memory, linear, model, pretrained
from defocus_lib.detect.control_inputs import (
    ILLUMINATION,
    INPUTS,
    WITHOUT_BLUR,
    Input,
    Maps,
    with_illumination_change,
)
from defocus_lib.detect.in_memory import Examples
from defocus_lib.detect.linear import LINEAR
from defocus_lib.detect.model import Detector
from defocus_lib.detect.normalisation import MIN_MAX, normalisation_named
from defocus_lib.detect.plan import Plan
from defocus_lib.detect.stored_inputs import Source, Stored, Wanted, store
from defocus_lib.run import cluster
from defocus_lib.run.artifacts import source_digest
from defocus_lib.run.kept import kept, kept_until_done

if TYPE_CHECKING:
    from distributed import Client

SPLITS = ("train", "val", "test")
IDENTITY = ["id", "video", "group", "manipulation", "label"]
ORDER = ["backbone", "preset", "normalisation", "input", "training_manipulation", "seed"]


@dataclass(frozen=True, order=True)
class Run:
    """One training: its input (a key of :data:`INPUTS`), the manipulation to learn, its seed."""

    input: str
    training_manipulation: str
    seed: int

    @property
    def kind(self) -> Input:
        return INPUTS[self.input]


@dataclass(frozen=True)
class Sweep:
    """What all runs of a sweep share.

    ``records`` are training and validation images of every training manipulation, and test images;
    ``cache`` holds their maps. ``backbone`` is a ``timm`` model, or "linear" for
    :mod:`defocus_lib.detect.linear`, which of the plan uses nothing. Inputs are averaged to a side
    of ``input_size`` px and rounded to 8 bit. The seed of a run replaces that of the ``plan``.
    ``normalisation`` is that of inputs with a map. Raises ValueError if its second channel is one
    that the preset lacks.
    """

    records: pd.DataFrame
    reader: Reader
    cache: Maps
    backbone: str
    input_size: int
    plan: Plan
    normalisation: str = MIN_MAX

    def __post_init__(self) -> None:
        normalisation_named(self.normalisation).check(getattr(self.cache, "preset", ""))

    @property
    def source(self) -> Source:
        return Source(self.reader, self.cache, self.input_size, self.normalisation)

    def records_of(self, split: str, training_manipulation: str) -> pd.DataFrame:
        """Real images and those of the training manipulation; in the test split those of all."""
        rows = self.records[self.records["split"] == split]
        if training_manipulation == ILLUMINATION:
            return with_illumination_change(rows)
        kinds = [REAL, training_manipulation]
        return rows if split == "test" else rows[rows["manipulation"].isin(kinds)]


class _Training(NamedTuple):
    """A run with the records of each split."""

    sweep: Sweep
    run: Run
    records: dict[str, pd.DataFrame]


class _Job(NamedTuple):
    """A run as a worker needs it: files of inputs, by split their rows and the labels, and the file
    that keeps its result until the sweep is whole."""

    number: int
    backbone: str
    reads: str
    normalisation: str
    plan: Plan
    files: tuple[Path, ...]
    examples: dict[str, tuple[tuple[np.ndarray, ...], np.ndarray]]
    result: Path


def control_runs(training_manipulation: str, seeds: Sequence[int]) -> list[Run]:
    """Map, photograph and controls on a manipulation, and both on an illumination change.

    That the change can be seen in photographs is shown by one seed: no claim rests on it.
    """
    names = ("defocus", "rgb", *WITHOUT_BLUR, "shuffled")
    return [
        *(Run(name, training_manipulation, seed) for seed in seeds for name in names),
        *(Run("defocus", ILLUMINATION, seed) for seed in seeds),
        *(Run("rgb", ILLUMINATION, seed) for seed in seeds[:1]),
    ]


def normalisation_runs(
    common: Sweep, normalisations: str, runs: Sequence[Run], preset: str = ""
) -> list[tuple[Sweep, Sequence[Run]]]:
    """The same runs for maps of each normalisation that the preset of the maps can give.

    ``normalisations`` are names separated by commas; ValueError if one is unknown. The preset is
    that of the cache of the sweep, if it has one.
    """
    names = dict.fromkeys(name.strip() for name in normalisations.split(",") if name.strip())
    preset = getattr(common.cache, "preset", preset)
    able = [name for name in names if normalisation_named(name).fits(preset)]
    return [(replace(common, normalisation=name), runs) for name in able]


def transfer_runs(manipulations: Sequence[str], seed: int) -> list[Run]:
    """Map, photograph and both, on each manipulation in turn."""
    names = ("defocus", "rgb", "fusion")
    return [Run(name, manipulation, seed) for manipulation in manipulations for name in names]


def train_and_test(
    sweeps: Sequence[tuple[Sweep, Sequence[Run]]],
    client: Client | None = None,
    folder: Path | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train the detectors of all runs of all sweeps, each once, and apply them to the test images.

    Parameters
    ----------
    client : Client, optional
        Trains, see :func:`defocus_lib.run.cluster.workers`; without one this process does.
    folder : Path, optional
        Of this sweep alone, where the workers see it. It holds the inputs and the results so far;
        a sweep that was interrupted goes on from them. When the sweep is whole, it is removed. By
        default a temporary folder of this machine.

    Returns
    -------
    DataFrame
        One row per test image, real or of any manipulation, and run: backbone, preset (of the
        maps), normalisation (of the sweep), input, training_manipulation, seed, id, video, group,
        manipulation, label, logit. Ordered by the first six.

    Raises
    ------
    ValueError
        If records have no training image of a manipulation, or :func:`in_memory.fit` can't train.
    """
    trainings = [
        _Training(sweep, run, _parts(sweep, run))
        for sweep, runs in sweeps
        for run in sorted(set(runs))
    ]
    with (
        kept_until_done(folder) as place,
        tempfile.TemporaryDirectory(prefix=".inputs-", dir=place) as scratch,
    ):
        needed = [part for training in trainings for part in _wanted(training)]
        stored = store(needed, Path(scratch), client, progress)
        jobs = [_job(number, each, stored, place) for number, each in enumerate(trainings)]
        # Long jobs come first, so that no worker is left with one at the end.
        jobs.sort(key=lambda job: job.reads != "fusion")
        logits: dict[int, np.ndarray] = {}
        finished = cluster.as_they_finish(_test_logits, jobs, client)
        options = {"desc": "detectors", "unit": "detector", "disable": not progress}
        for number, values in tqdm(finished, total=len(jobs), **options):
            logits[number] = values
    parts = [_predictions(each, logits[number]) for number, each in enumerate(trainings)]
    return pd.concat(parts, ignore_index=True).sort_values(ORDER, kind="stable", ignore_index=True)


def _parts(sweep: Sweep, run: Run) -> dict[str, pd.DataFrame]:
    parts = {split: sweep.records_of(split, run.training_manipulation) for split in SPLITS}
    if not parts["train"]["label"].any():
        raise ValueError(f"records have no training image of {run.training_manipulation!r}")
    return parts


def _wanted(training: _Training) -> list[Wanted]:
    records = pd.concat(training.records.values())
    parts = dict.fromkeys(training.run.kind.parts)
    return [Wanted(training.sweep.source, part, records) for part in parts]


def _job(number: int, training: _Training, stored: Mapping[Hashable, Stored], place: Path) -> _Job:
    sweep, run, records = training
    files = [stored[sweep.source, part] for part in run.kind.parts]
    examples = {
        split: (
            tuple(file.rows(rows) for file in files),
            _labels(rows, run.kind.shuffled, run.seed),
        )
        for split, rows in records.items()
    }
    plan, paths = replace(sweep.plan, seed=run.seed), tuple(file.path for file in files)
    of_map = sweep.normalisation if run.kind.has_map else MIN_MAX
    job = _Job(number, sweep.backbone, run.kind.reads, of_map, plan, paths, examples, place)
    return job._replace(result=place / f"{_digest(job, files)}.npy")


def _digest(job: _Job, files: Sequence[Stored]) -> str:
    """20 hexadecimal digits of all that a result depends on, from the inputs to the code."""
    how = [job.backbone, job.reads, job.normalisation, asdict(job.plan), str(job.plan.device())]
    how += _code()
    digest = hashlib.sha256(json.dumps([how, [file.digest for file in files]]).encode())
    for rows, labels in job.examples.values():
        for values in (*rows, labels):
            digest.update(values.tobytes())
    return digest.hexdigest()[:20]


@cache
def _code() -> list[str]:
    code = source_digest(sys.modules[__name__], in_memory, linear, model, pretrained, precision)
    return [code, torch.__version__, timm.__version__]


def _labels(records: pd.DataFrame, shuffled: bool, seed: int) -> np.ndarray:
    """Labels ``(N,)`` float32 to learn from."""
    labels = records["label"].to_numpy(dtype=np.float32)
    return np.random.default_rng(seed).permutation(labels) if shuffled else labels


def _test_logits(job: _Job) -> tuple[int, np.ndarray]:
    """The number of a job, and logits ``(N,)`` float64 of its test images."""
    return job.number, kept(job.result, lambda: _train(job))


def _train(job: _Job) -> np.ndarray:
    arrays = tuple(np.load(path, mmap_mode="r") for path in job.files)
    train, val, test = (Examples(arrays, *job.examples[split]) for split in SPLITS)
    if job.backbone == LINEAR:
        with cluster.one_thread():
            return linear.logits(train, val, test)
    of_map = job.normalisation
    detector = Detector(job.backbone, job.reads, seed=job.plan.seed, normalisation=of_map)
    with cluster.one_thread():
        in_memory.fit(detector, train, val, job.plan)
        return in_memory.logits(detector, test).double().numpy()


def _predictions(training: _Training, logits: np.ndarray) -> pd.DataFrame:
    sweep, run, records = training
    return (
        records["test"][IDENTITY]
        .reset_index(drop=True)
        .assign(
            backbone=sweep.backbone,
            preset=sweep.cache.preset,
            normalisation=sweep.normalisation,
            input=run.input,
            training_manipulation=run.training_manipulation,
            seed=run.seed,
            logit=logits,
        )
    )


def training_manipulations(records: pd.DataFrame) -> list[str]:
    """The manipulations of the training images, in the order of the records."""
    train = records[(records["split"] == "train") & (records["label"] == 1)]
    return train["manipulation"].drop_duplicates().tolist()


def complete(records: pd.DataFrame) -> pd.DataFrame:
    """Records without the training and validation groups that lack some of the manipulations.

    Detectors then learn from the same groups, whatever the manipulation. Test groups stay, and so
    do groups of real images alone. Where no group has all manipulations, all records stay.
    """
    learned = training_manipulations(records)
    kinds = records["manipulation"].where(records["manipulation"].isin(learned))
    present = kinds.groupby([records["split"], records["group"]]).transform("nunique")
    if not (present == len(learned)).any():
        return records
    kept_rows = (records["split"] == "test") | present.isin([0, len(learned)])
    return records[kept_rows].reset_index(drop=True)
