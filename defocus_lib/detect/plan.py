"""The settings of an experiment. Each has its help text, from which the command line is made.

This module imports nothing heavy, so that the help of the command line appears at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    import torch

SCHEDULES = ("constant", "one_cycle")
MONITORS = ("val_accuracy", "val_auc")
BACKBONE, PRESET = "legacy_xception", "released"  # those of Jeon & Woo (2025)
DEFAULT_INITIALISATION = 1.0  # residual_scale that leaves timm's first weights as they are


@dataclass(frozen=True)
class Plan:
    """How to train. The defaults are those of Jeon & Woo (2025) where they name them.

    They name no augmentation. One cycle (Smith & Topin 2019) needs fewer epochs than their constant
    rate. Of equally good epochs the earliest is kept. Precision "auto" becomes the faster one of
    the device, see :mod:`defocus_lib.precision`; the residual scale is explained at
    :class:`defocus_lib.detect.model.Detector` and unused where training starts from weights.

    Raises ValueError for a value out of range.
    """

    epochs: Annotated[int, "0 evaluates given weights."] = 10
    batch_size: Annotated[int, "Images per step and process."] = 64
    learning_rate: Annotated[float, "Of Adam, at its peak."] = 1e-4
    schedule: Annotated[str, "Of the learning rate: constant or one_cycle."] = "constant"
    precision: Annotated[str, "Lightning's: 32-true, bf16-mixed ..., or auto."] = "32-true"
    seed: Annotated[int, "Of first weights, batch order, flips and dropout."] = 42
    monitor: Annotated[str, "The best epoch has the highest val_accuracy or val_auc."] = (
        "val_accuracy"
    )
    patience: Annotated[int, "Stop after so many epochs without a better one; 0 never."] = 0
    horizontal_flip: Annotated[bool, "Flip half of the training images."] = False
    n_workers: Annotated[int, "Processes that load images; 0 for the training process itself."] = 0
    accelerator: Annotated[str, "Lightning's: auto, cpu, gpu, mps ..."] = "auto"
    devices: Annotated[str, "How many (2), which ones (0,3) or auto."] = "1"
    nodes: Annotated[int, "Number of machines."] = 1
    strategy: Annotated[str, "Lightning's: auto, ddp ..."] = "auto"
    residual_scale: Annotated[float, "Initial scale of the residual branches of an Xception."] = (
        DEFAULT_INITIALISATION
    )

    def __post_init__(self) -> None:
        for name, known in (("schedule", SCHEDULES), ("monitor", MONITORS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; {' or '.join(known)} wanted"
                )
        for name in ("batch_size", "learning_rate", "nodes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; a positive number wanted")
        for name in ("epochs", "seed", "patience", "n_workers", "residual_scale"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; 0 or more wanted")
        from defocus_lib.precision import for_training

        # Resolved here, so that the precision that was trained in is written down.
        object.__setattr__(self, "precision", for_training(self.precision, self.device()))

    def device(self) -> torch.device:
        """Where a single process of this plan computes."""
        import torch

        for kind, backend in (("cuda", torch.cuda), ("mps", torch.backends.mps)):
            if self.accelerator in ("auto", "gpu", kind) and backend.is_available():
                return torch.device(kind)
        return torch.device("cpu")


@dataclass(frozen=True)
class Request:
    """An experiment on a data set of the manifest. The defaults are those of Jeon & Woo (2025).

    Raises ValueError for a value out of range.
    """

    dataset: Annotated[str, "Name in data_manifest.yaml."]
    fake_type: Annotated[str, "The manipulation to tell from real images; all by default."] = ""
    reads: Annotated[str, "Input of the detector: defocus, rgb or fusion."] = "defocus"
    backbone: Annotated[str, f"A timm model; by default that of the weights, or {BACKBONE}."] = ""
    preset: Annotated[str, "Of the maps: released, published, physical or learned."] = PRESET
    size: Annotated[int, "Height and width in px that images are brought to."] = 299
    input_size: Annotated[
        int | None, "Average inputs to this size in px; 0 keeps theirs. Default: as the weights."
    ] = None
    weights: Annotated[Path | None, "Ours, or released ones; training starts from them."] = None
    resume: Annotated[bool, "Continue after the last finished epoch."] = False
    groups: Annotated[int, "At most so many videos (groups) per split; 0 takes all."] = 0
    output: Annotated[Path | None, "Folder of the results; by default below artifacts/."] = None
    manifest: Annotated[Path | None, "Another file than data_manifest.yaml."] = None
    n_bootstrap: Annotated[int, "Bootstrap samples for the 95 % intervals."] = 1000

    def __post_init__(self) -> None:
        for name, least in (("size", 0), ("groups", 0), ("n_bootstrap", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; {least} or more wanted")
