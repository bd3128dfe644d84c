"""The settings of an experiment. Each has its help text, from which the command line is made.

This module imports nothing heavy, so that the help of the command line appears at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    import torch

SCHEDULES = ("constant", "one_cycle")
MONITORS = ("val_accuracy", "val_auc")
BACKBONE, PRESET = "legacy_xception", "released"  # those of Jeon & Woo (2025)
# What the command line takes instead, as the profile `ffpp` of the book does. `--authors` does not.
BOOK: dict[str, object] = {
    "preset": "physical",
    "learning_rate": 5e-4,
    "schedule": "one_cycle",
    "precision": "auto",
    "monitor": "val_auc",
    "horizontal_flip": True,
    "n_workers": -1,
}
# What Jeon & Woo (2025) set beside the defaults below; it wants a network.
AUTHORS: dict[str, object] = {"pretrained": "timm"}
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
    n_workers: Annotated[
        int,
        "Processes that load images; 0 for the training process itself; -1 for up to 8 on a card, "
        "0 on a processor.",
    ] = 0
    n_threads: Annotated[
        int, "Threads of a processor; with another number the last digits differ. 0 for all."
    ] = 0
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
        for name in ("epochs", "seed", "patience", "n_threads", "residual_scale"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; 0 or more wanted")
        if self.n_workers < -1:
            raise ValueError(f"n_workers is {self.n_workers}; 0 or more, or -1, wanted")
        from defocus_lib.precision import for_training, loaders

        # Resolved here, so that the precision that was trained in is written down.
        device = self.device()
        object.__setattr__(self, "precision", for_training(self.precision, device))
        workers = loaders(self.n_workers, device, self.processes())
        object.__setattr__(self, "n_workers", workers)

    def device(self) -> torch.device:
        """Where this process computes by itself: the first of the ``devices``, or its own of them
        where a launcher started several processes."""
        import torch

        from defocus_lib.precision import local_rank

        if self.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            cards = self._cards() or [0]
            return torch.device("cuda", cards[local_rank() % len(cards)])
        if self.accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")

    def _cards(self) -> list[int]:
        """The numbers of the cards on this machine that ``devices`` names, as Lightning reads it.

        ValueError if it is no number, list of numbers, or auto.
        """
        import torch

        available = list(range(torch.cuda.device_count()))
        text = self.devices.strip()
        if text in ("auto", "-1"):
            return available
        try:
            if "," in text:
                return [int(part) for part in text.split(",") if part.strip()]
            return available[: int(text)]
        except ValueError as error:
            raise ValueError(
                f"devices is {self.devices!r}; a number (2), a list (0,3 or 3,) or auto wanted"
            ) from error

    def processes(self) -> int:
        """How many processes of this plan share the cores that this one sees."""
        if "SLURM_PROCID" in os.environ and "LOCAL_WORLD_SIZE" not in os.environ:
            return 1  # SLURM gives each task cores of its own
        if "LOCAL_WORLD_SIZE" in os.environ:
            return int(os.environ["LOCAL_WORLD_SIZE"])
        return max(1, len(self._cards())) if self.device().type == "cuda" else 1


@dataclass(frozen=True)
class Request:
    """An experiment on a data set of the manifest. The defaults are those of Jeon & Woo (2025).

    Raises ValueError for a value out of range.
    """

    dataset: Annotated[str, "Name in data_manifest.yaml."]
    fake_type: Annotated[str, "The manipulation to tell from real images; all by default."] = ""
    reads: Annotated[
        str,
        "Input of the detector: defocus, rgb or fusion; or a control: edges, edge-density or "
        "permuted-blur, which keep the edges of the map without its blur, or shuffled (labels).",
    ] = "defocus"
    backbone: Annotated[str, f"A timm model; by default that of the weights, or {BACKBONE}."] = ""
    preset: Annotated[str, "Of the maps: released, published, physical or learned."] = PRESET
    normalisation: Annotated[
        str,
        "Of the maps: min-max (per image) or px (sigma over 8 px), each also +validity, "
        "+uncertainty (of learned maps) or +edges as a second channel. Default: as the weights, "
        "else px, or min-max with --authors.",
    ] = ""
    size: Annotated[int, "Height and width in px that images are brought to."] = 299
    input_size: Annotated[
        int | None, "Average inputs to this size in px; 0 keeps theirs. Default: as the weights."
    ] = None
    weights: Annotated[Path | None, "Ours, or released ones; training starts from them."] = None
    pretrained: Annotated[
        str,
        "First weights of the backbone: timm (its hub), packaged (tf_efficientnet_lite0), or a "
        "file. By default random ones.",
    ] = ""
    fresh: Annotated[bool, "Begin at the first epoch, also where a killed run could go on."] = False
    groups: Annotated[int, "At most so many videos (groups) per split; 0 takes all."] = 0
    output: Annotated[Path | None, "Folder of the results; by default below artifacts/."] = None
    manifest: Annotated[Path | None, "Another file than data_manifest.yaml."] = None
    n_bootstrap: Annotated[int, "Bootstrap samples for the 95 % intervals."] = 1000
    previews: Annotated[
        bool, "Write validation images with their maps and predictions after each epoch."
    ] = False

    def __post_init__(self) -> None:
        for name, least in (("size", 0), ("groups", 0), ("n_bootstrap", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; {least} or more wanted")
