"""Many small detectors, one training run: the same network and budget on several inputs, manipulations and seeds.

A trial is independent of the others and trains on one thread, so the same comes out whether one process does all of
them or a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from tqdm.auto import tqdm

from defocus_lib import cluster
from defocus_lib.controls import CONTROLS, RELIT, Batch, generator, relight, relit_twins
from defocus_lib.defocus import defocus_maps
from defocus_lib.detector import Detector
from defocus_lib.images import Reader
from defocus_lib.maps import MapCache
from defocus_lib.records import REAL
from defocus_lib.training import Plan, fit, predict

if TYPE_CHECKING:
    from distributed import Client

CHUNK = 256  # images in memory at full size
IDENTITY = ["id", "video", "group", "manipulation", "label"]


@dataclass(frozen=True, order=True)
class Trial:
    """One detector: what it reads (a name of :data:`defocus_lib.controls.CONTROLS`), what it learns, its seed."""

    control: str
    trained_on: str
    seed: int


@dataclass(frozen=True)
class Trials:
    """What all trials have in common.

    Attributes
    ----------
    records : DataFrame
        Training and validation images of every manipulation that is learned, and the test images.
    reader : Reader
    cache : MapCache
        Holds the maps of all records.
    backbone : str
        Name of a ``timm`` model.
    side : int
        Side in px that inputs are averaged to.
    plan : Plan
        Its seed is replaced by that of the trial.
    """

    records: pd.DataFrame
    reader: Reader
    cache: MapCache
    backbone: str
    side: int
    plan: Plan

    def answer(self, trial: Trial) -> pd.DataFrame:
        """Train one detector and ask it about the test images.

        Returns
        -------
        DataFrame
            One row a test image, real or of any manipulation: control, trained_on, seed, id, video, group,
            manipulation, label, logit.

        Raises
        ------
        ValueError
            If there are no training images of what it is to learn.
        """
        control, plan = CONTROLS[trial.control], replace(self.plan, seed=trial.seed)
        parts = {split: self._rows(split, trial.trained_on) for split in ("train", "val", "test")}
        if not parts["train"]["label"].any():
            raise ValueError(f"records have no training image of {trial.trained_on!r}")
        labels = {split: _labels(rows, control.shuffled, trial.seed) for split, rows in parts.items()}
        with _one_thread():
            inputs = {split: self.inputs(trial.control, rows) for split, rows in parts.items()}
            detector = Detector(self.backbone, control.reads, seed=trial.seed)
            train, val = (TensorDataset(inputs[split], labels[split]) for split in ("train", "val"))
            fit(detector, train, val, plan, progress=False)
            logits, _ = predict(detector, inputs["test"], plan.batch_size)
        about = {"control": trial.control, "trained_on": trial.trained_on, "seed": trial.seed}
        return parts["test"][IDENTITY].reset_index(drop=True).assign(**about, logit=logits.double().numpy())

    def _rows(self, split: str, trained_on: str) -> pd.DataFrame:
        """Real images, and of the manipulated ones those to learn; in the test split all."""
        rows = self.records[self.records["split"] == split]
        if trained_on == RELIT:
            return relit_twins(rows)
        return rows if split == "test" else rows[rows["manipulation"].isin([REAL, trained_on])]

    def inputs(self, control: str, records: pd.DataFrame) -> torch.Tensor:
        """What a detector reads of these images: ``(N, C, side, side)`` float32 in [0, 1]."""
        parts = []
        for first in range(0, len(records), CHUNK):
            whole = CONTROLS[control].inputs(batch_of(records.iloc[first : first + CHUNK], self.reader, self.cache))
            parts.append(F.interpolate(whole, size=(self.side, self.side), mode="area"))
        return torch.cat(parts)


def batch_of(records: pd.DataFrame, reader: Reader, cache: MapCache) -> Batch:
    """Images, maps and edges of some records; where :func:`defocus_lib.controls.relight` is due, it is done now."""
    images, (dense, edges) = reader.stack(records), cache.stack(records)
    digests = records["digest"].to_numpy(dtype=str)
    for row in np.flatnonzero(records["manipulation"] == RELIT):
        images[row] = relight(images[row], generator(digests[row]))
        planes = torch.from_numpy(images[row : row + 1]).permute(0, 3, 1, 2).float() / 255
        maps = defocus_maps(planes, cache.preset, cache.propagation or None)
        dense[row], edges[row] = maps.dense[0, 0].numpy(), maps.edges[0, 0].numpy()
    return Batch(images, dense, edges, digests, cache.preset)


def _labels(records: pd.DataFrame, shuffled: bool, seed: int) -> torch.Tensor:
    """Labels to learn from, ``(N,)`` float32; those of the test split are never asked for."""
    labels = records["label"].to_numpy(dtype=np.float32)
    return torch.from_numpy(np.random.default_rng(seed).permutation(labels) if shuffled else labels)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums come out the same on every machine, and trials side by side do not fight for cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def for_controls(trained_on: str, seeds: Sequence[int]) -> list[Trial]:
    """Every input on the manipulation that the book's detectors learn, and map and photograph on a change of light."""
    inputs = [name for name in CONTROLS if name != "fusion"]
    return [
        *(Trial(control, trained_on, seed) for seed in seeds for control in inputs),
        *(Trial(control, RELIT, seed) for seed in seeds for control in ("defocus", "rgb")),
    ]


def for_matrix(manipulations: Sequence[str], seed: int) -> list[Trial]:
    """Map, photograph and both, on each manipulation in turn."""
    return [Trial(control, name, seed) for name in manipulations for control in ("defocus", "rgb", "fusion")]


def run(trials: Trials, wanted: Sequence[Trial], client: Client | None = None, progress: bool = False) -> pd.DataFrame:
    """The answers of all wanted trials, each done once.

    Parameters
    ----------
    trials : Trials
    wanted : sequence of Trial
    client : Client, optional
        Who trains, see :func:`defocus_lib.cluster.workers`; by default this process.
    progress : bool
        Show a bar over the trials.

    Returns
    -------
    DataFrame
        As :meth:`Trials.answer`, in the order of the trials' names.
    """
    jobs = sorted(set(wanted))
    answers = cluster.as_they_finish(trials.answer, jobs, client)
    parts = list(tqdm(answers, total=len(jobs), desc="detectors", unit="detector", disable=not progress))
    every = pd.concat(parts, ignore_index=True)
    return every.sort_values(["control", "trained_on", "seed"], kind="stable", ignore_index=True)


def taught(records: pd.DataFrame) -> list[str]:
    """The manipulations that training images show, in the order of the records."""
    train = records[(records["split"] == "train") & (records["label"] == 1)]
    return train["manipulation"].drop_duplicates().tolist()
