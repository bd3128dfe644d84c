"""Many small detectors, one training run: the same network and budget on several inputs, manipulations and seeds.

A trial is independent of the others and trains on one thread, so the same comes out whether one process does all of
them or a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

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
    Batch,
    change_illumination,
    generator,
    with_illumination_change,
)
from defocus_lib.detect.model import Detector
from defocus_lib.detect.training import Plan, fit, predict
from defocus_lib.maps.cache import MapCache
from defocus_lib.maps.estimate import defocus_maps
from defocus_lib.run import cluster

if TYPE_CHECKING:
    from distributed import Client

CHUNK = 256  # images in memory at full size
IDENTITY = ["id", "video", "group", "manipulation", "label"]


@dataclass(frozen=True, order=True)
class Run:
    """One detector: what it reads (a name of :data:`defocus_lib.detect.control_inputs.INPUTS`), what it learns, its seed."""

    input: str
    training_manipulation: str
    seed: int


class Maps(Protocol):
    """Where the maps of images come from: a :class:`defocus_lib.maps.cache.MapCache`, or what answers like one."""

    preset: str

    def stack(self, records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Dense maps ``(N, H, W)`` float32 in px, and their edges ``(N, H, W)`` bool."""


@dataclass(frozen=True)
class Sweep:
    """What all trials have in common.

    Attributes
    ----------
    records : DataFrame
        Training and validation images of every manipulation that is learned, and the test images.
    reader : Reader
    cache : MapCache, or other :class:`Maps`
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
    cache: MapCache | Maps
    backbone: str
    input_size: int
    plan: Plan

    def answer(self, trial: Run) -> pd.DataFrame:
        """Train one detector and ask it about the test images: :meth:`answers` with a single seed."""
        return self.predictions(trial.input, trial.training_manipulation, [trial.seed])

    def predictions(
        self, input_name: str, training_manipulation: str, seeds: Sequence[int]
    ) -> pd.DataFrame:
        """Train detectors that differ in their seed alone, and ask each about the test images.

        Returns
        -------
        DataFrame
            One row a test image, real or of any manipulation, and seed: preset (of the maps), input_name, training_manipulation,
            seed, id, video, group, manipulation, label, logit.

        Raises
        ------
        ValueError
            If there are no training images of what is to be learned.
        """
        parts = {
            split: self._rows(split, training_manipulation) for split in ("train", "val", "test")
        }
        if not parts["train"]["label"].any():
            raise ValueError(f"records have no training image of {training_manipulation!r}")
        about = {
            "preset": self.cache.preset,
            "input": input_name,
            "training_manipulation": training_manipulation,
        }
        asked = parts["test"][IDENTITY].reset_index(drop=True).assign(**about)
        with cluster.one_thread():
            inputs = {split: self.inputs(input_name, rows) for split, rows in parts.items()}
            logits = {seed: self._logits(input_name, seed, parts, inputs) for seed in seeds}
        return pd.concat(
            [asked.assign(seed=seed, logit=one) for seed, one in logits.items()], ignore_index=True
        )

    def _logits(
        self,
        input_name: str,
        seed: int,
        parts: dict[str, pd.DataFrame],
        inputs: dict[str, torch.Tensor],
    ) -> np.ndarray:
        """What a detector says about the test images, ``(N,)`` float64, once it has learned the others."""
        kind, plan = INPUTS[input_name], replace(self.plan, seed=seed)
        labels = {split: _labels(rows, kind.shuffled, seed) for split, rows in parts.items()}
        detector = Detector(self.backbone, kind.reads, seed=seed)
        train, val = (TensorDataset(inputs[split], labels[split]) for split in ("train", "val"))
        fit(detector, train, val, plan, progress=False)
        return predict(detector, inputs["test"], plan.batch_size)[0].double().numpy()

    def _rows(self, split: str, training_manipulation: str) -> pd.DataFrame:
        """Real images, and of the manipulated ones those to learn; in the test split all."""
        rows = self.records[self.records["split"] == split]
        if training_manipulation == ILLUMINATION:
            return with_illumination_change(rows)
        return (
            rows
            if split == "test"
            else rows[rows["manipulation"].isin([REAL, training_manipulation])]
        )

    def inputs(self, input_name: str, records: pd.DataFrame) -> torch.Tensor:
        """What a detector reads of these images: ``(N, C, side, side)`` float32 in [0, 1]."""
        kind, parts = INPUTS[input_name], []
        for first in range(0, len(records), CHUNK):
            rows = records.iloc[first : first + CHUNK]
            whole = kind.inputs(
                batch_of(rows, self.reader, self.cache, kind.uncertain, not kind.from_maps)
            )
            parts.append(F.interpolate(whole, size=(self.input_size, self.input_size), mode="area"))
        return torch.cat(parts)


def batch_of(
    records: pd.DataFrame,
    reader: Reader,
    cache: MapCache | Maps,
    uncertain: bool = False,
    images_too: bool = True,
) -> Batch:
    """Images, maps and edges of some records; where :func:`defocus_lib.detect.control_inputs.change_illumination` is due, it is done now.

    With ``uncertain`` also how sure the maps are, which relit images do not tell. Without ``images_too`` the images are
    read only if some are to be relit.
    """
    relit = np.flatnonzero(records["manipulation"] == ILLUMINATION)
    images = reader.stack(records) if images_too or len(relit) else None
    dense, edges = cache.stack(records)
    digests = records["digest"].to_numpy(dtype=str)
    for row in relit:
        images[row] = change_illumination(images[row], generator(digests[row]))
        planes = torch.from_numpy(images[row : row + 1]).permute(0, 3, 1, 2).float() / 255
        maps = defocus_maps(planes, cache.preset, cache.propagation or None)
        dense[row], edges[row] = maps.dense[0, 0].numpy(), maps.edges[0, 0].numpy()
    return Batch(
        images,
        dense,
        edges,
        digests,
        cache.preset,
        cache.uncertainty(records) if uncertain else None,
    )


def _labels(records: pd.DataFrame, shuffled: bool, seed: int) -> torch.Tensor:
    """Labels to learn from, ``(N,)`` float32; those of the test split are never asked for."""
    labels = records["label"].to_numpy(dtype=np.float32)
    return torch.from_numpy(np.random.default_rng(seed).permutation(labels) if shuffled else labels)


def for_controls(training_manipulation: str, seeds: Sequence[int]) -> list[Run]:
    """Every input on the manipulation that the book's detectors learn, and map and photograph on an illumination change."""
    inputs = [name for name, one in INPUTS.items() if name != "fusion" and not one.uncertain]
    return [
        *(Run(input_name, training_manipulation, seed) for seed in seeds for input_name in inputs),
        *(
            Run(input_name, ILLUMINATION, seed)
            for seed in seeds
            for input_name in ("defocus", "rgb")
        ),
    ]


def for_matrix(manipulations: Sequence[str], seed: int) -> list[Run]:
    """Map, photograph and both, on each manipulation in turn."""
    return [
        Run(input_name, name, seed)
        for name in manipulations
        for input_name in ("defocus", "rgb", "fusion")
    ]


def run(
    trials: Sweep, wanted: Sequence[Run], client: Client | None = None, progress: bool = False
) -> pd.DataFrame:
    """The answers of all wanted trials, each done once.

    Parameters
    ----------
    trials : Sweep
    wanted : sequence of Run
    client : Client, optional
        Who trains, see :func:`defocus_lib.run.cluster.workers`; by default this process.
    progress : bool
        Show a bar over the trials.

    Returns
    -------
    DataFrame
        As :meth:`Sweep.answers`, in the order of the trials' names.
    """
    return run_all([(trials, wanted)], client, progress)


def run_all(
    wanted: Sequence[tuple[Sweep, Sequence[Run]]],
    client: Client | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """:func:`run` of several series, such as the same trials on other maps; all share the workers.

    What detectors read is made once for all seeds, so a worker gets these together.
    """
    jobs = [(series, *lesson) for series, some in wanted for lesson in _lessons(some)]
    jobs.sort(
        key=lambda job: len(job[-1]), reverse=True
    )  # long ones first: no worker is left with one at the end
    parts = []
    with tqdm(
        total=sum(len(job[-1]) for job in jobs),
        desc="detectors",
        unit="detector",
        disable=not progress,
    ) as bar:
        for part in cluster.as_they_finish(_answers, jobs, client):
            parts.append(part)
            bar.update(part["seed"].nunique())
    every = pd.concat(parts, ignore_index=True)
    return every.sort_values(
        ["preset", "input", "training_manipulation", "seed"], kind="stable", ignore_index=True
    )


def _lessons(wanted: Sequence[Run]) -> list[tuple[str, str, list[int]]]:
    """Each input_name and what it learns, with its seeds."""
    lessons: dict[tuple[str, str], list[int]] = {}
    for trial in sorted(set(wanted)):
        lessons.setdefault((trial.input, trial.training_manipulation), []).append(trial.seed)
    return [(*what, seeds) for what, seeds in lessons.items()]


def _answers(job: tuple[Sweep, str, str, list[int]]) -> pd.DataFrame:
    trials, input_name, training_manipulation, seeds = job
    return trials.predictions(input_name, training_manipulation, seeds)


def training_manipulations(records: pd.DataFrame) -> list[str]:
    """The manipulations that training images show, in the order of the records."""
    train = records[(records["split"] == "train") & (records["label"] == 1)]
    return train["manipulation"].drop_duplicates().tolist()


def complete(records: pd.DataFrame) -> pd.DataFrame:
    """The records without training and validation groups that show some manipulations and not all.

    Detectors then learn from the same groups, whatever the manipulation. Test groups stay, and so do groups of real
    images alone; where no group shows all, nothing is left out.
    """
    every = training_manipulations(records)
    kinds = records["manipulation"].where(records["manipulation"].isin(every))
    shown = kinds.groupby([records["split"], records["group"]]).transform("nunique")
    if not (shown == len(every)).any():
        return records
    return records[(records["split"] == "test") | shown.isin([0, len(every)])].reset_index(
        drop=True
    )
