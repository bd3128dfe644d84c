"""Helpers of every training with Lightning: checkpoints that survive a kill, and a quiet log."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import TQDMProgressBar

from defocus_lib.run.artifacts import write_beside


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoints written beside and renamed, so that a kill leaves the one before."""

    def save_checkpoint(
        self, checkpoint: dict, path: str | Path, storage_options: Any = None
    ) -> None:
        write_beside(Path(path), lambda beside: torch.save(checkpoint, beside))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict:
        return torch.load(path, map_location=map_location, weights_only=True)


class ProgressBar(TQDMProgressBar):
    """A bar that ends its line when training fails, so that the error has one of its own."""

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        if self._train_progress_bar is not None:
            self._train_progress_bar.close()


@contextmanager
def generators_kept() -> Iterator[None]:
    """Leave the caller's random generators of torch as they were."""
    # Asking for the generators of CUDA would start it, so where it was not used they are left out.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def quietly() -> Iterator[None]:
    """Mute Lightning's log below warnings, and its warnings about intended settings."""
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for meant in (
                "does not have many workers",  # maps are cached: workers seldom pay
                "sync_dist=True",  # every process logs the same number
                "exists and is not empty",
                "The dirpath has changed",
                "all_gather is deprecated",  # Lightning 2.6 with torch 2.14
                "isinstance.treespec, LeafSpec",  # likewise
            ):
                warnings.filterwarnings("ignore", f".*{meant}.*")
            yield
    finally:
        logger.setLevel(before)
