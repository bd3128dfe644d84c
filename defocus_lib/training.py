"""Fitting a detector and applying it. The loop, checkpoints, mixed precision and progress bar are Lightning's."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryAUROC

from defocus_lib.detector import Detector


@dataclass(frozen=True)
class Plan:
    """How to train. The defaults are the paper's (Jeon & Woo 2025) where it names them.

    Attributes
    ----------
    epochs : int
    batch_size : int
    learning_rate : float
        Of Adam, at its peak.
    schedule : {"constant", "one_cycle"}
        The paper's constant rate, or one cycle (Smith & Topin 2019), which needs fewer epochs.
    precision : str
        Lightning's name, such as "32-true" or "bf16-mixed".
    seed : int
        Of batch order and augmentation.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-4
    schedule: str = "constant"
    precision: str = "32-true"
    seed: int = 42

    def __post_init__(self) -> None:
        if self.schedule not in ("constant", "one_cycle"):
            raise ValueError(f"unknown schedule {self.schedule!r}; constant or one_cycle wanted")
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; a positive number wanted")


class _Task(pl.LightningModule):
    """Binary cross-entropy on logits; images mirrored at random; AUC on validation."""

    def __init__(self, detector: Detector, plan: Plan, generator: torch.Generator):
        super().__init__()
        self.detector, self.plan, self.generator = detector, plan, generator
        self.auc = BinaryAUROC()

    def training_step(self, batch, _index):
        inputs, labels = batch
        mirrored = torch.rand(len(inputs), 1, 1, 1, generator=self.generator).to(inputs) < 0.5
        inputs = torch.where(mirrored, inputs.flip(3), inputs).contiguous(memory_format=torch.channels_last)
        loss = F.binary_cross_entropy_with_logits(self.detector(inputs)[:, 0].float(), labels)
        self.log("train_loss", loss, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _index):
        inputs, labels = batch
        logits = self.detector(inputs.contiguous(memory_format=torch.channels_last))[:, 0].float()
        self.auc.update(logits, labels.int())
        self.log("val_auc", self.auc, prog_bar=True)
        self.log("val_loss", F.binary_cross_entropy_with_logits(logits, labels))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.plan.learning_rate)
        if self.plan.schedule == "constant":
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.plan.learning_rate, total_steps=steps)
        return [optimizer], [{"scheduler": cycle, "interval": "step"}]


def fit(
    detector: Detector,
    train: tuple[torch.Tensor, torch.Tensor],
    val: tuple[torch.Tensor, torch.Tensor],
    plan: Plan,
    progress: bool = True,
) -> pd.DataFrame:
    """Train ``detector`` in place and keep the weights of the epoch with the best validation AUC.

    The caller's random state, and the detector's train or eval mode, are left as they were.

    Parameters
    ----------
    detector : Detector
    train, val : (inputs, labels)
        Inputs ``(N, C, H, W)`` in [0, 1] and labels ``(N,)``, 1 = fake.

    Returns
    -------
    DataFrame
        One row an epoch: train_loss, val_loss, val_auc.
    """
    mode = detector.training
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(plan.seed)
        generator = torch.Generator().manual_seed(plan.seed)
        best = ModelCheckpoint(Path(scratch) / "best", monitor="val_auc", mode="max", save_weights_only=True)
        logger = CSVLogger(scratch, name="", version="log")
        trainer = pl.Trainer(
            max_epochs=plan.epochs,
            precision=plan.precision,
            accelerator="auto",
            devices=1,
            logger=logger,
            callbacks=[best, *([TQDMProgressBar(refresh_rate=5)] if progress else [])],
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
        task = _Task(detector.to(memory_format=torch.channels_last), plan, generator).train()
        with warnings.catch_warnings():
            # The tensors lie in memory: worker processes would only copy them.
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            trainer.fit(task, _loader(train, plan, generator), _loader(val, plan))
        task.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
        history = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    detector.to("cpu", memory_format=torch.contiguous_format).train(mode)
    return history.groupby("epoch")[["train_loss", "val_loss", "val_auc"]].first().reset_index()


def _loader(
    data: tuple[torch.Tensor, torch.Tensor], plan: Plan, generator: torch.Generator | None = None
) -> DataLoader:
    dataset = TensorDataset(data[0], data[1].float())
    return DataLoader(dataset, plan.batch_size, shuffle=generator is not None, generator=generator)


def predict(detector: Detector, inputs: torch.Tensor, batch_size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``(N,)`` and pooled features ``(N, D)`` of inputs ``(N, C, H, W)`` in [0, 1], in fp32, in eval mode."""
    mode = detector.training
    detector.eval()
    with torch.no_grad():
        parts = [detector.answer(batch) for batch in inputs.split(batch_size)]
    detector.train(mode)
    logits, features = zip(*parts, strict=True)
    return torch.cat(logits)[:, 0], torch.cat(features)
