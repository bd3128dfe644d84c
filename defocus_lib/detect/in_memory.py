"""Training of small detectors on images in memory, each on one device and without any file.

Batches, flips, random numbers, schedule and the choice of the best epoch are those of
:func:`defocus_lib.detect.training.fit`. Its launcher, loaders, checkpoints and logs, which take as
long as the passes of a small detector, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from defocus_lib.detect.plan import Plan
from defocus_lib.precision import MIXED

HISTORY = ["epoch", "train_loss", "val_loss", "val_auc", "val_accuracy"]
PRECISIONS = {name: getattr(torch, kind) for kind, name in MIXED.items()}
CHUNK = 64  # images per pass without gradients: more are no faster, and take memory
CHANNELS_LAST: Any = torch.channels_last


@dataclass(frozen=True)
class Examples:
    """``N`` images and their labels.

    ``parts`` are arrays ``(M, C, H, W)``, uint8 or features as floats, in memory or on disk, whose
    channels are put together; ``rows`` ``(N,)`` are the images among the ``M`` of each; ``labels``
    ``(N,)`` float32 are 1 for fake.
    """

    parts: tuple[np.ndarray, ...]
    rows: tuple[np.ndarray, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, chosen: np.ndarray | slice) -> torch.Tensor:
        """Inputs ``(B, C, H, W)`` float32, channels last, of those chosen of ``N``; of uint8 in
        [0, 1]."""
        pairs = zip(self.parts, self.rows, strict=True)
        stored = np.concatenate([part[rows[chosen]] for part, rows in pairs], axis=1)
        images = torch.from_numpy(stored).contiguous(memory_format=CHANNELS_LAST)
        return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def fit(detector: nn.Module, train: Examples, val: Examples, plan: Plan) -> pd.DataFrame:
    """Train ``detector`` in place, keep the weights of the best epoch, and return the history.

    The history is that of :func:`defocus_lib.detect.training.fit`. Of the plan, one device is used,
    and a precision of :data:`PRECISIONS`. The caller's random state, and the detector's train or
    eval mode, are left as they were; the detector comes back on the CPU. Raises ValueError if there
    is nothing to train, the plan has another precision, or it monitors ``val_auc`` and val holds
    one class.
    """
    _check(train, val, plan)
    mode, device, history = detector.training, plan.device(), []
    best, best_score, best_epoch = detector.state_dict(), -np.inf, -1
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(plan.seed)
        detector.to(device).to(memory_format=CHANNELS_LAST)
        try:
            step = _Steps(detector, len(train), plan)
            for epoch in range(plan.epochs):
                loss = _train_epoch(detector, train, plan, epoch, step)
                with _autocast(plan):
                    scores = validation(logits(detector, val), torch.from_numpy(val.labels))
                history.append({"epoch": epoch, "train_loss": loss, **scores})
                if best_epoch < 0 or scores[plan.monitor] > best_score:
                    best = {name: value.clone() for name, value in detector.state_dict().items()}
                    best_score, best_epoch = np.nan_to_num(scores[plan.monitor], nan=-np.inf), epoch
                if plan.patience and epoch - best_epoch >= plan.patience:
                    break
            detector.load_state_dict(best)
        finally:
            detector.to("cpu").to(memory_format=torch.contiguous_format).train(mode)
    return pd.DataFrame(history, columns=HISTORY)


def logits(detector: nn.Module, examples: Examples) -> torch.Tensor:
    """Logits ``(N,)`` float32 on the CPU, computed in eval mode on the detector's device."""
    mode, device = detector.training, next(detector.parameters()).device
    detector.eval().to(memory_format=CHANNELS_LAST)
    firsts = range(0, len(examples), CHUNK)
    try:
        with torch.no_grad():
            parts = [
                detector(examples.images(slice(first, first + CHUNK)).to(device))
                for first in firsts
            ]
    finally:
        detector.train(mode)
    return torch.cat(parts)[:, 0].float().cpu()


def validation(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Loss, AUC (NaN where one class is absent) and accuracy at a probability of 0.5."""
    has_auc = len(labels.unique()) == 2 and bool(torch.isfinite(logits).all())
    auc = roc_auc_score(labels.numpy(), logits.numpy()) if has_auc else np.nan
    return {
        "val_loss": float(F.binary_cross_entropy_with_logits(logits, labels)),
        "val_auc": float(auc),
        "val_accuracy": float(((logits > 0) == (labels > 0.5)).double().mean()),
    }


class _Steps:
    """Adam and the schedule of the plan, one step at a time."""

    def __init__(self, detector: nn.Module, images: int, plan: Plan):
        self.optimizer = torch.optim.Adam(detector.parameters(), plan.learning_rate, fused=True)
        # float16 loses small gradients, which are scaled up meanwhile.
        kind, short = plan.device().type, PRECISIONS[plan.precision] == torch.float16
        self.scaler = torch.amp.GradScaler(kind, enabled=short)
        self.schedule = None
        if plan.schedule == "one_cycle":
            total = plan.epochs * len(list(_batches(np.arange(images), plan.batch_size)))
            self.schedule = torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer, max_lr=plan.learning_rate, total_steps=total
            )

    def __call__(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.schedule:
            self.schedule.step()


def _train_epoch(
    detector: nn.Module, train: Examples, plan: Plan, epoch: int, step: _Steps
) -> float:
    """Mean loss of the images of one epoch, after a step of each batch."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(plan.seed + epoch))
    torch.manual_seed(int(_rng(plan, epoch).integers(2**63)))
    device, total, seen = next(detector.parameters()).device, 0.0, 0
    detector.train()
    for index, chosen in enumerate(_batches(order.numpy(), plan.batch_size)):
        inputs = train.images(chosen)
        if plan.horizontal_flip:
            flipped = torch.from_numpy(_rng(plan, epoch, index).random(len(inputs)) < 0.5)
            inputs[flipped] = inputs[flipped].flip(3)
        with _autocast(plan):
            outputs = detector(inputs.to(device))[:, 0].float()
        labels = torch.from_numpy(train.labels[chosen]).to(device)
        loss = F.binary_cross_entropy_with_logits(outputs, labels)
        step(loss)
        total, seen = total + float(loss.detach()) * len(chosen), seen + len(chosen)
    return total / seen


def _batches(order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    # Batch normalisation fails on a last batch of one image.
    end = len(order) - (len(order) > 1 and len(order) % batch_size == 1)
    for first in range(0, end, batch_size):
        yield order[first : first + batch_size]


def _rng(plan: Plan, epoch: int, *more: int) -> np.random.Generator:
    return np.random.default_rng((plan.seed, epoch, 0, *more))


def _autocast(plan: Plan) -> torch.autocast:
    kind = PRECISIONS[plan.precision]
    return torch.autocast(plan.device().type, kind, enabled=kind != torch.float32)


def _check(train: Examples, val: Examples, plan: Plan) -> None:
    if plan.epochs == 0:
        raise ValueError("epochs is 0: there is nothing to train; 1 or more wanted")
    if plan.precision not in PRECISIONS:
        raise ValueError(
            f"precision is {plan.precision!r}; {' or '.join(PRECISIONS)} wanted for a sweep"
        )
    for name, examples in (("train", train), ("val", val)):
        if len(examples) == 0:
            raise ValueError(f"{name} holds no image; at least one wanted")
    if plan.monitor == "val_auc" and len(np.unique(val.labels)) < 2:
        raise ValueError("val holds one class, which has no AUC; both, or another monitor, wanted")
