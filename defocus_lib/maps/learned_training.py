"""Training of the learned estimator on simulated photographs, each rendered when due and used once.

Loop, checkpoints, mixed precision and progress bar are Lightning's. The order of scenes depends
on the seed alone. Where the steps of the budget end first, two runs reach the same weights, also
if one of them was killed and resumed. Where the minutes do, the number of steps depends on the
machine; the card states it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, Timer
from pytorch_lightning.loggers import CSVLogger
from scipy.special import ndtri
from timm.optim import create_optimizer_v2
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from defocus_lib.data.manifest import load_manifest
from defocus_lib.data.photographs import load_photograph
from defocus_lib.maps.budget import Budget
from defocus_lib.maps.learned import Estimator, save_estimator
from defocus_lib.run.artifacts import project_root
from defocus_lib.run.lightning import CheckpointFiles, ProgressBar, generators_kept, quietly
from defocus_lib.run.provenance import commit
from defocus_lib.scenes.simulated import expose, source

WARM_UP = 0.03  # share of the budget after which the learning rate is at its peak
SETTLED = 0.25  # share of the budget after which batch normalisation no longer follows the batch
# timm's name of AdaMuon: steps along orthogonal matrices, scaled by the second moment. After 1,500
# steps of a network half as large the error on validation scenes was .43 px, with AdamW .54.
OPTIMIZER = "nadamuon"
COVERED = 0.9  # share of the truth that an interval is to hold
LAST = "last.ckpt"


def rate(used: float) -> float:
    """Learning rate at a share of the budget, over its peak: linear warm-up, then a cosine."""
    return min(1.0, used / WARM_UP) * (1 + math.cos(math.pi * used)) / 2


def loss(sigma: torch.Tensor, scale: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean absolute error, and the negative log-likelihood of a Laplace distribution.

    The second term fits the scale to the error, and has no gradient with respect to the estimate.
    All (B, 1, H, W) float in px.
    """
    error = (sigma - truth).abs()
    return error.mean() + 0.2 * (torch.log(scale) + error.detach() / scale).mean()


def calibrated(error: np.ndarray, deviation: np.ndarray) -> float:
    """Factor of the uncertainty at which 90 % of the errors lie within normal 90 % intervals.

    `error` and `deviation` (N,) are the absolute error and the network's standard deviation in px.
    """
    half_width = ndtri((1 + COVERED) / 2)
    return float(np.quantile(error / (half_width * deviation), COVERED))


class Scenes(Dataset):
    """Simulated photographs, each by its number: luma and sigma, ``(1, H, W)`` float32.

    A scene depends on the seed and its number alone. Textures are cut from `photographs`, (h, w)
    uint8 each, see :func:`defocus_lib.scenes.simulated.source`.
    """

    def __init__(
        self, photographs: Sequence[np.ndarray], seed: Sequence[int], count: int, side: int
    ):
        self.photographs, self.seed, self.count, self.side = photographs, tuple(seed), count, side

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        exposure = expose(self.photographs, np.random.default_rng([*self.seed, number]), self.side)
        grey = torch.from_numpy(exposure.grey.astype(np.float32) / 255)
        return grey[None], torch.from_numpy(exposure.sigma)[None]


class _Consecutive(Sampler[int]):
    """The numbers of an epoch, which follow those of the epoch before, also in a resumed run."""

    def __init__(self, length: int, first: Callable[[], int]):
        self.length, self.first = length, first

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        first = self.first()
        return iter(range(first, first + self.length))


class _Task(pl.LightningModule):
    """Loss, learning rate and validation; an epoch lies between two checkpoints."""

    def __init__(
        self, estimator: Estimator, train: Scenes, val: Scenes, budget: Budget, timer: Timer
    ):
        super().__init__()
        self.estimator, self.budget, self.timer = estimator, budget, timer
        self.train_scenes, self.val_scenes = train, val

    def train_dataloader(self) -> DataLoader:
        size = self.budget.batch_size
        sampler = _Consecutive(self.budget.every * size, lambda: self.global_step * size)
        return DataLoader(
            self.train_scenes,
            size,
            sampler=sampler,
            num_workers=self.budget.n_workers,
            persistent_workers=self.budget.n_workers > 0,
            worker_init_fn=_one_thread,
            generator=torch.Generator(),
        )

    def val_dataloader(self) -> DataLoader:
        # Rendered once and kept: they are the same each time.
        scenes = [self.val_scenes[number] for number in range(len(self.val_scenes))]
        return DataLoader(scenes, self.budget.batch_size)  # type: ignore[arg-type]

    def on_train_batch_start(self, _batch, _index) -> int | None:
        used = self.budget.used(self.global_step, self.timer.time_elapsed("train"))
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self.budget.learning_rate * rate(used)
        if used >= SETTLED:
            _settle(self.estimator)
        if used >= 1:
            self.trainer.should_stop = True
            return -1
        return None

    def training_step(self, batch, _index):
        grey, truth = batch
        sigma, scale = self.estimator(grey.contiguous(memory_format=torch.channels_last))
        error = (sigma.detach() - truth).abs().mean()
        self.log("train_error", error, on_step=False, on_epoch=True, prog_bar=True)
        return loss(sigma, scale, truth)

    def validation_step(self, batch, _index):
        grey, truth = batch
        sigma, _ = self.estimator(grey.contiguous(memory_format=torch.channels_last))
        self.log("val_error", (sigma - truth).abs().mean(), prog_bar=True)

    def configure_optimizers(self):
        rate = self.budget.learning_rate
        return create_optimizer_v2(self.estimator, OPTIMIZER, lr=rate, weight_decay=1e-4)


def _settle(estimator: Estimator) -> None:
    """Normalise by the means of all batches so far, as after training.

    The statistics of a batch of few scenes are noisy, and with them an estimate in px.
    """
    for module in estimator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def train_and_save(
    budget: Budget, folder: Path | None = None, resume: bool = False
) -> tuple[Path, dict]:
    """Train on the packaged photographs of the split `train`, and calibrate on those of `val`.

    Returns the path of the weights in `folder`, by default ``artifacts/estimator-SEED``, and their
    card: that of :func:`train`, the photographs, and the commit.
    """
    folder = folder or project_root() / "artifacts" / f"estimator-{budget.seed}"
    manifest = load_manifest()
    entries = {split: manifest.photographs_of(split) for split in ("train", "val")}
    sources = {
        split: [source(load_photograph(entry)) for entry in listed]
        for split, listed in entries.items()
    }
    estimator, card = train(sources["train"], sources["val"], budget, folder, resume)
    card |= {
        "photographs": {split: [entry.name for entry in entries[split]] for split in entries},
        "parameters": sum(p.numel() for p in estimator.parameters()),
        "commit": commit(Path(__file__).parent),
    }
    return save_estimator(folder / f"estimator-{budget.seed}.safetensors", estimator, card), card


def train(
    photographs: Sequence[np.ndarray],
    validation: Sequence[np.ndarray],
    budget: Budget,
    folder: Path,
    resume: bool = False,
    progress: bool = True,
) -> tuple[Estimator, dict]:
    """Train an estimator and calibrate its uncertainty; the caller's random state is kept.

    Parameters
    ----------
    photographs, validation : sequences of (h, w) uint8
        What textures are cut from, see :func:`defocus_lib.scenes.simulated.source`.
    folder : Path
        Gets ``last.ckpt`` and ``logs/``.
    resume : bool
        Go on from ``last.ckpt`` if there is one.

    Returns
    -------
    Estimator
        In eval mode.
    dict
        The budget, the steps and scenes that it allowed, and of the validation scenes: mean
        absolute error in px, calibration, and the share (%) that 90 % intervals hold after it.
    """
    with generators_kept(), quietly(), _cores_left_for(budget.n_workers):
        torch.manual_seed(budget.seed)
        estimator = Estimator().to(memory_format=torch.channels_last)
        scenes = Scenes(photographs, (budget.seed, 0), sys.maxsize, budget.side)
        # The same for all seeds, so that they can be compared.
        held_out = Scenes(validation, (2**31, 1), budget.validation, budget.side)
        timer = Timer(timedelta(minutes=budget.minutes) if budget.minutes else None)
        trainer = _trainer(budget, folder, timer, progress)
        task = _Task(estimator, scenes, held_out, budget, timer)
        last = folder / LAST if resume and (folder / LAST).is_file() else None
        with redirect_stdout(sys.stderr):
            trainer.fit(task, ckpt_path=last, weights_only=True)
        estimator = estimator.cpu().eval()
        errors = _calibrate(estimator, held_out)
    steps = trainer.global_step
    results = {"steps": steps, "scenes": steps * budget.batch_size, "validation": errors}
    return estimator, asdict(budget) | results


@contextmanager
def _cores_left_for(n_workers: int) -> Iterator[None]:
    """Leave cores to the rendering: both at once on one core would slow each other down."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before - n_workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _trainer(budget: Budget, folder: Path, timer: Timer, progress: bool) -> pl.Trainer:
    last = ModelCheckpoint(
        dirpath=folder,
        filename=Path(LAST).stem,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    return pl.Trainer(
        max_epochs=-1,
        max_steps=budget.steps or -1,
        precision=budget.precision,  # type: ignore[arg-type]
        gradient_clip_val=1.0,
        accelerator="auto",
        devices=1,
        default_root_dir=folder,
        logger=CSVLogger(folder, name="logs"),
        plugins=[CheckpointFiles()],
        callbacks=[timer, *([ProgressBar(refresh_rate=5)] if progress else []), last],
        use_distributed_sampler=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )


def _calibrate(estimator: Estimator, scenes: Scenes) -> dict:
    """Set the calibration from scenes, and return the estimator's error on them."""
    errors, deviations = [], []
    with torch.inference_mode():
        for number in range(len(scenes)):
            grey, truth = scenes[number]
            sigma, scale = estimator(grey[None])
            errors.append((sigma[0] - truth).abs().numpy().ravel())
            deviations.append(math.sqrt(2) * scale.numpy().ravel())
    error, deviation = np.concatenate(errors), np.concatenate(deviations)
    factor = calibrated(error, deviation)
    estimator.calibration.fill_(factor)
    held = np.mean(error <= ndtri((1 + COVERED) / 2) * factor * deviation)
    return {
        "error (px)": round(float(error.mean()), 4),
        "calibration": round(factor, 4),
        "held (%)": round(100 * float(held), 2),
    }
