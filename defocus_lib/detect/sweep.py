"""Sweeps of small detectors: one network and budget, several inputs, manipulations and seeds.

Each run trains on one thread and depends on no other, so one process and a cluster give equal
predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from tqdm.auto import tqdm

from defocus_lib.data.images import Reader
from defocus_lib.data.records import REAL
from defocus_lib.detect.control_inputs import (
    ILLUMINATION,
    INPUTS,
    WITHOUT_BLUR,
    Batch,
    Maps,
    with_illumination_change,
)
from defocus_lib.detect.model import Detector
from defocus_lib.detect.training import Plan, fit, predict
from defocus_lib.run import cluster

if TYPE_CHECKING:
    from distributed import Client

CHUNK = 256  # images in memory at full size
IDENTITY = ["id", "video", "group", "manipulation", "label"]
ORDER = ["preset", "input", "training_manipulation", "seed"]


@dataclass(frozen=True, order=True)
class Run:
    """One training: its input (a key of :data:`INPUTS`), the manipulation to learn, its seed."""

    input: str
    training_manipulation: str
    seed: int


@dataclass(frozen=True)
class Sweep:
    """What all runs of a sweep share.

    ``records`` are training and validation images of every training manipulation, and test images;
    ``cache`` holds their maps. ``backbone`` is a ``timm`` model. Inputs are averaged to a side of
    ``input_size`` px. The seed of a run replaces that of the ``plan``.
    """

    records: pd.DataFrame
    reader: Reader
    cache: Maps
    backbone: str
    input_size: int
    plan: Plan

    def predictions(
        self, input_name: str, training_manipulation: str, seeds: Sequence[int]
    ) -> pd.DataFrame:
        """Train detectors that differ in their seed alone, and apply each to the test images.

        One row per test image, real or of any manipulation, and seed: preset (of the maps), input,
        training_manipulation, seed, id, video, group, manipulation, label, logit. Raises ValueError
        if the records have no training image of the manipulation.
        """
        parts = {
            split: self.records_of(split, training_manipulation)
            for split in ("train", "val", "test")
        }
        if not parts["train"]["label"].any():
            raise ValueError(f"records have no training image of {training_manipulation!r}")
        test = parts["test"][IDENTITY].reset_index(drop=True)
        test = test.assign(
            preset=self.cache.preset, input=input_name, training_manipulation=training_manipulation
        )
        with cluster.one_thread():
            inputs = {split: self.inputs(input_name, rows) for split, rows in parts.items()}
            by_seed = [
                test.assign(seed=seed, logit=self._test_logits(input_name, seed, parts, inputs))
                for seed in seeds
            ]
        return pd.concat(by_seed, ignore_index=True)

    def _test_logits(
        self,
        input_name: str,
        seed: int,
        parts: dict[str, pd.DataFrame],
        inputs: dict[str, torch.Tensor],
    ) -> np.ndarray:
        """Logits ``(N,)`` float64 of the test images by a newly trained detector."""
        kind, plan = INPUTS[input_name], replace(self.plan, seed=seed)
        labels = {split: _labels(rows, kind.shuffled, seed) for split, rows in parts.items()}
        detector = Detector(self.backbone, kind.reads, seed=seed)
        train, val = (TensorDataset(inputs[split], labels[split]) for split in ("train", "val"))
        fit(detector, train, val, plan, progress=False)
        return predict(detector, inputs["test"], plan.batch_size)[0].double().numpy()

    def records_of(self, split: str, training_manipulation: str) -> pd.DataFrame:
        """Real images and those of the training manipulation; in the test split those of all."""
        rows = self.records[self.records["split"] == split]
        if training_manipulation == ILLUMINATION:
            return with_illumination_change(rows)
        kinds = [REAL, training_manipulation]
        return rows if split == "test" else rows[rows["manipulation"].isin(kinds)]

    def inputs(self, input_name: str, records: pd.DataFrame) -> torch.Tensor:
        """Inputs ``(N, C, input_size, input_size)`` float32 in [0, 1] of the detectors."""
        kind, parts = INPUTS[input_name], []
        for first in range(0, len(records), CHUNK):
            rows = records.iloc[first : first + CHUNK]
            full_size = kind.inputs(Batch(rows, self.reader, self.cache))
            parts.append(F.interpolate(full_size, size=2 * (self.input_size,), mode="area"))
        return torch.cat(parts)


def _labels(records: pd.DataFrame, shuffled: bool, seed: int) -> torch.Tensor:
    """Labels ``(N,)`` float32 to learn from."""
    labels = records["label"].to_numpy(dtype=np.float32)
    return torch.from_numpy(np.random.default_rng(seed).permutation(labels) if shuffled else labels)


def control_runs(training_manipulation: str, seeds: Sequence[int]) -> list[Run]:
    """Map, photograph and controls on a manipulation, and both on an illumination change."""
    names = ("defocus", "rgb", *WITHOUT_BLUR, "shuffled")
    return [
        *(Run(name, training_manipulation, seed) for seed in seeds for name in names),
        *(Run(name, ILLUMINATION, seed) for seed in seeds for name in ("defocus", "rgb")),
    ]


def transfer_runs(manipulations: Sequence[str], seed: int) -> list[Run]:
    """Map, photograph and both, on each manipulation in turn."""
    names = ("defocus", "rgb", "fusion")
    return [Run(name, manipulation, seed) for manipulation in manipulations for name in names]


def train_and_test(
    sweeps: Sequence[tuple[Sweep, Sequence[Run]]],
    client: Client | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Test predictions of all runs of all sweeps, each run done once.

    The ``client`` trains, see :func:`defocus_lib.run.cluster.workers`; without one this process
    does. Rows as of :meth:`Sweep.predictions`, ordered by preset, input, manipulation and seed.
    """
    # Inputs are made once for all seeds of a job. Long jobs come first, so that no worker is left
    # with one at the end.
    jobs = [(sweep, *job) for sweep, runs in sweeps for job in _by_seeds(runs)]
    jobs.sort(key=lambda job: len(job[-1]), reverse=True)
    total, parts = sum(len(job[-1]) for job in jobs), []
    with tqdm(total=total, desc="detectors", unit="detector", disable=not progress) as bar:
        for part in cluster.as_they_finish(_predictions, jobs, client):
            parts.append(part)
            bar.update(part["seed"].nunique())
    return pd.concat(parts, ignore_index=True).sort_values(ORDER, kind="stable", ignore_index=True)


def _by_seeds(runs: Sequence[Run]) -> list[tuple[str, str, list[int]]]:
    """Each pair of input and training manipulation, with its seeds."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for run in sorted(set(runs)):
        seeds.setdefault((run.input, run.training_manipulation), []).append(run.seed)
    return [(*pair, some) for pair, some in seeds.items()]


def _predictions(job: tuple[Sweep, str, str, list[int]]) -> pd.DataFrame:
    sweep, input_name, training_manipulation, seeds = job
    return sweep.predictions(input_name, training_manipulation, seeds)


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
