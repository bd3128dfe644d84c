"""Fitting a detector and applying it. Loop, checkpoints, mixed precision, launcher and progress bar are Lightning's.

The order of the batches, the mirroring and the random numbers of the model depend on the seed and the epoch alone, so a
run that was killed and resumed reaches the weights of one that was not.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset
from tqdm import tqdm

from defocus_lib.detect.model import Detector
from defocus_lib.precision import fitting, for_training
from defocus_lib.run.artifacts import write_beside
from defocus_lib.run.lightning import CheckpointFiles, ProgressBar, generators_kept, quietly

SCHEDULES = ("constant", "one_cycle")
MONITORS = ("val_accuracy", "val_auc")
HISTORY = ["epoch", "train_loss", "val_loss", "val_auc", "val_accuracy"]
# What a resumed run may change: it decides how fast the weights are reached, not which.
FREE = ("epochs", "n_workers", "accelerator", "devices", "nodes", "strategy")
NOTES = "defocus_lib"
WRITTEN, HALF_WRITTEN = ("best.ckpt", "last.ckpt"), (".best.*.ckpt", ".last.*.ckpt")


@dataclass(frozen=True)
class Plan:
    """How to train. The defaults are the paper's (Jeon & Woo 2025) where it names them.

    Attributes
    ----------
    epochs : int
        0 is nothing to train: weights that are there are evaluated.
    batch_size : int
        Of each process.
    learning_rate : float
        Of Adam, at its peak.
    schedule : {"constant", "one_cycle"}
        The paper's constant rate, or one cycle (Smith & Topin 2019), which needs fewer epochs.
    precision : str
        Lightning's name, such as "32-true" or "bf16-mixed"; "auto" becomes what the device computes in, see
        :mod:`defocus_lib.precision`.
    seed : int
        Of batch order, augmentation and dropout.
    monitor : {"val_accuracy", "val_auc"}
        What the best epoch is best by: accuracy at a probability of 0.5, or the AUC. Of equals, the earliest.
    patience : int
        Epochs without a better one after which training stops early; 0 goes on to the end.
    horizontal_flip : bool
        Mirror half of the training images, drawn anew in each epoch. The paper names no augmentation.
    n_workers : int
        Processes that load images; 0 loads them in the training process.
    residual_scale : float
        See :class:`defocus_lib.detect.model.Detector`; it matters where no weights are given to start from.
    accelerator, devices, nodes, strategy
        Of Lightning's ``Trainer``: "cpu" or "gpu", how many or which, on how many machines, "ddp" or another.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-4
    schedule: str = "constant"
    precision: str = "32-true"
    seed: int = 42
    monitor: str = "val_accuracy"
    patience: int = 0
    horizontal_flip: bool = False
    n_workers: int = 0
    accelerator: str = "auto"
    devices: str = "1"
    nodes: int = 1
    strategy: str = "auto"
    residual_scale: float = 1.0

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
        # Said in full from here on: what was trained with is written down.
        object.__setattr__(self, "precision", for_training(self.precision, self.device()))

    def device(self) -> torch.device:
        """Where a single process of this plan computes."""
        for kind, backend in (("cuda", torch.cuda), ("mps", torch.backends.mps)):
            if self.accelerator in ("auto", "gpu", kind) and backend.is_available():
                return torch.device(kind)
        return torch.device("cpu")


class _Task(pl.LightningModule):
    """Binary cross-entropy on logits; images mirrored at random; loss, AUC and accuracy on the whole validation set."""

    def __init__(
        self, detector: Detector, plan: Plan, train: Dataset, val: Dataset, made_with: dict
    ):
        super().__init__()
        self.detector, self.plan, self.made_with = detector, plan, made_with
        self.examples = {"train": train, "val": val}
        self.history: list[dict] = []
        self.answers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", self.plan.seed)

    def val_dataloader(self) -> DataLoader:
        return self._loader("val")

    def _loader(self, split: str, seed: int | None = None) -> DataLoader:
        dataset, n_workers = self.examples[split], self.plan.n_workers
        world, rank = self.trainer.world_size, self.trainer.global_rank
        sampler = DistributedSampler(dataset, world, rank, shuffle=seed is not None, seed=seed or 0)
        # Lightning says which epoch it is before each of them but, where workers load ahead, too late for the first.
        sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)
        return DataLoader(
            dataset,
            self.plan.batch_size,
            sampler=sampler,
            # Batch normalisation can't learn from one image: a last batch of one waits for another epoch's order.
            drop_last=seed is not None
            and len(sampler) > 1
            and len(sampler) % self.plan.batch_size == 1,
            num_workers=n_workers,
            persistent_workers=n_workers > 0,
            pin_memory=self.device.type == "cuda",
            # Without one of its own it draws from the model's, and not equally often in a resumed run.
            generator=torch.Generator(),
        )

    def _rng(self, *more: int) -> np.random.Generator:
        return np.random.default_rng((self.plan.seed, self.current_epoch, self.global_rank, *more))

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(int(self._rng().integers(2**63)))

    def training_step(self, batch, index):
        inputs, labels = batch
        if self.plan.horizontal_flip:
            mirrored = (
                torch.from_numpy(self._rng(index).random(len(inputs)) < 0.5)
                .to(inputs.device)
                .view(-1, 1, 1, 1)
            )
            inputs = torch.where(mirrored, inputs.flip(3), inputs)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        loss = F.binary_cross_entropy_with_logits(
            self.detector(inputs)[:, 0].float(), labels.float()
        )
        self.log(
            "train_loss",
            loss,
            prog_bar=True,
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(inputs),
        )
        return loss

    def validation_step(self, batch, _index):
        inputs, labels = batch
        logits = self.detector(inputs.contiguous(memory_format=torch.channels_last))[:, 0].float()
        self.answers.append((logits, labels.float()))

    def on_validation_epoch_end(self) -> None:
        logits, labels = (
            self._of_every_process(torch.cat(parts)) for parts in zip(*self.answers, strict=True)
        )
        self.answers.clear()
        if self.plan.monitor == "val_auc" and len(labels.unique()) < 2:
            raise ValueError(
                "val holds one class, which has no AUC; both, or another monitor, wanted"
            )
        self.log_dict(_validation(logits, labels), prog_bar=True)

    def _of_every_process(self, values: torch.Tensor) -> torch.Tensor:
        """Values in the order of the data set. Processes take turns, and the last ones get images again to be even."""
        everywhere = self.all_gather(values).reshape(self.trainer.world_size, -1)
        return everywhere.T.flatten()[: len(self.examples["val"])].cpu()

    def on_train_epoch_end(self) -> None:
        known = self.trainer.callback_metrics
        self.history.append(
            {"epoch": self.current_epoch} | {name: float(known[name]) for name in HISTORY[1:]}
        )

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint[NOTES] = {"history": self.history, "made_with": self.made_with}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.history = checkpoint[NOTES]["history"]

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.plan.learning_rate)
        if self.plan.schedule == "constant":
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self.plan.learning_rate, total_steps=steps
        )
        return [optimizer], [{"scheduler": cycle, "interval": "step"}]


def _validation(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Loss, AUC (NaN where one class is absent) and accuracy at a probability of 0.5 of all images ``(N,)``."""
    both = len(labels.unique()) == 2 and bool(torch.isfinite(logits).all())
    return {
        "val_loss": float(F.binary_cross_entropy_with_logits(logits, labels)),
        "val_auc": float(roc_auc_score(labels.numpy(), logits.numpy())) if both else float("nan"),
        "val_accuracy": float(((logits > 0) == (labels > 0.5)).double().mean()),
    }


class _Best(ModelCheckpoint):
    """The best epoch so far, in one file of a fixed name; its score is kept when the folder was moved meanwhile."""

    def load_state_dict(self, state_dict: dict) -> None:
        path, score = str(Path(self.dirpath) / "best.ckpt"), state_dict["best_model_score"]
        here = {"dirpath": self.dirpath, "best_model_path": path, "kth_best_model_path": path}
        super().load_state_dict({**state_dict, **here, "best_k_models": {path: score}})


class _Patience(EarlyStopping):
    """Stops at once when a run is resumed that had stopped."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class _Preview(pl.Callback):
    """Calls a function with the epoch and the detector after each validation, in the first process."""

    def __init__(self, show: Callable[[int, Detector], None]):
        self.show = show

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self.show(trainer.current_epoch, pl_module.detector)


def fit(
    detector: Detector,
    train: Dataset,
    val: Dataset,
    plan: Plan,
    folder: Path | None = None,
    resume: bool = False,
    preview: Callable[[int, Detector], None] | None = None,
    progress: bool = True,
    data: str = "",
) -> pd.DataFrame:
    """Train ``detector`` in place and keep the weights of the epoch that is best on validation.

    The caller's random state, and the detector's train or eval mode, are left as they were; it comes back on the CPU in
    fp32. Where Lightning starts several processes, the others end here (``SystemExit``): the first goes on alone.

    Parameters
    ----------
    detector : Detector
    train, val : Dataset
        Of pairs: an input ``(C, H, W)`` in [0, 1], and its label, 1 = fake.
    plan : Plan
    folder : Path, optional
        Gets ``checkpoints/last.ckpt`` and ``best.ckpt`` after each epoch, ``logs/``, and ``history.csv`` at the end.
        Without it, nothing is left.
    resume : bool
        Go on from ``last.ckpt`` if there is one. Otherwise the checkpoints of an earlier run are deleted.
    preview : callable, optional
        Called as ``preview(epoch, detector)`` after each validation, in eval mode without gradients.
    progress : bool
        Show a progress bar.
    data : str
        Identity of the data. A run is not resumed with other data.

    Returns
    -------
    DataFrame
        One row an epoch: epoch (from 0), train_loss, val_loss, val_auc (NaN where val holds one class), val_accuracy.

    Raises
    ------
    ValueError
        If there is nothing to train, the machine lacks what the plan asks for, a checkpoint was made with another plan,
        detector or data, or ``val_auc`` is to choose among epochs and val holds one class.
    """
    _check_examples(plan, train, val)
    mode = detector.training
    with generators_kept(), tempfile.TemporaryDirectory() as scratch, quietly():
        torch.manual_seed(plan.seed)
        folder = Path(folder or scratch)
        trainer = _trainer(plan, folder, preview, progress)
        made_with = _facts(detector, train, val, plan, trainer.world_size, data)
        start = _start(folder / "checkpoints", resume, made_with, plan.epochs)
        if trainer.is_global_zero:
            _clear(folder / "checkpoints", HALF_WRITTEN if start else (*HALF_WRITTEN, *WRITTEN))
        try:
            task = _Task(
                detector.to(memory_format=torch.channels_last), plan, train, val, made_with
            ).train()
            with (
                _errors_of_workers(),
                redirect_stdout(sys.stderr),
            ):  # where progress belongs: Lightning draws its bars on standard output
                trainer.fit(task, ckpt_path=start, weights_only=True)
            _leave_group(trainer)
            history = _load_best(task, folder / "checkpoints")
        finally:
            detector.to("cpu", torch.float32, memory_format=torch.contiguous_format).train(mode)
        write_beside(folder / "history.csv", lambda beside: history.to_csv(beside, index=False))
    return history


def is_first_process() -> bool:
    """Whether this is the process that writes and speaks, among those that Lightning's launcher started."""
    return rank_zero_only.rank == 0


def _check_examples(plan: Plan, train: Dataset, val: Dataset) -> None:
    if plan.epochs == 0:
        raise ValueError(
            "epochs is 0: there is nothing to train; 1 or more wanted, or weights to evaluate"
        )
    for name, dataset in (("train", train), ("val", val)):
        if len(dataset) == 0:
            raise ValueError(f"{name} holds no image; at least one wanted")


@contextmanager
def _errors_of_workers() -> Iterator[None]:
    """An image that can't be read says the same from a worker process: torch would add the traceback to the message."""
    try:
        yield
    except (ValueError, OSError) as error:
        if "Original Traceback" not in str(error):
            raise
        last = str(error).rstrip().splitlines()[-1]
        raise type(error)(last.partition(f"{type(error).__name__}: ")[2] or last) from error


def _trainer(plan: Plan, folder: Path, preview: Callable | None, progress: bool) -> pl.Trainer:
    files = {
        "dirpath": folder / "checkpoints",
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    callbacks = [
        _Best(filename="best", monitor=plan.monitor, mode="max", save_weights_only=True, **files),
        # Last, so that it holds the state of all others.
        ModelCheckpoint(filename="last", **files),
    ]
    if plan.patience:
        stop = _Patience(
            plan.monitor, patience=plan.patience, mode="max", check_on_train_epoch_end=True
        )
        callbacks.insert(0, stop)
    if preview:
        callbacks.insert(0, _Preview(preview))
    if progress:
        callbacks.insert(0, ProgressBar(refresh_rate=5))
    try:
        return pl.Trainer(
            max_epochs=plan.epochs,
            precision=plan.precision,
            accelerator=plan.accelerator,
            devices=plan.devices,
            num_nodes=plan.nodes,
            strategy=plan.strategy,
            default_root_dir=folder,
            logger=CSVLogger(folder, name="logs"),
            plugins=[CheckpointFiles()],
            callbacks=callbacks,
            use_distributed_sampler=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
    except (MisconfigurationException, ModuleNotFoundError) as error:
        raise ValueError(f"the plan does not fit this machine: {error}") from error


def _facts(
    detector: Detector, train: Dataset, val: Dataset, plan: Plan, processes: int, data: str
) -> dict:
    """All that decides which weights a run reaches, as plain values."""
    facts = {name: value for name, value in asdict(plan).items() if name not in FREE}
    if plan.schedule == "one_cycle":
        facts["epochs"] = plan.epochs  # the cycle spans them
    facts |= {name: getattr(detector, name) for name in ("backbone", "reads", "input_size")}
    return facts | {
        "processes": processes,
        "training images": len(train),
        "validation images": len(val),
        "data": data,
    }


def _start(checkpoints: Path, resume: bool, made_with: dict, epochs: int) -> Path | None:
    """The checkpoint to go on from, if there is one and it belongs to this run."""
    last = checkpoints / "last.ckpt"
    if not (resume and last.is_file()):
        return None
    notes = _notes(last)
    told = [
        f"{name} {notes['made_with'].get(name)!r} (now {value!r})"
        for name, value in made_with.items()
        if notes["made_with"].get(name) != value
    ]
    if told:
        raise ValueError(
            f"{last} was made with {', '.join(told)}; resume with the same, or start again without resume"
        )
    if len(notes["history"]) > epochs:
        raise ValueError(
            f"{last} has {len(notes['history'])} epochs already; at least as many wanted, not {epochs}"
        )
    if not (checkpoints / "best.ckpt").is_file():
        raise FileNotFoundError(
            f"no best.ckpt beside {last}; both wanted to resume, or start again without resume"
        )
    return last


def _notes(path: Path) -> dict:
    """What :class:`_Task` wrote into a checkpoint about the run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)[NOTES]
    except Exception as error:  # torch names no common one for what a damaged file may raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: not readable as a checkpoint of a run ({reason})") from error


def _clear(checkpoints: Path, patterns: tuple[str, ...]) -> None:
    """Delete what an earlier run has left, and nothing else."""
    for pattern in patterns:
        for path in checkpoints.glob(pattern):
            path.unlink()


def _leave_group(trainer: pl.Trainer) -> None:
    """Part from the other processes, which end here."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if not trainer.is_global_zero:
        raise SystemExit(0)


def _load_best(task: _Task, checkpoints: Path) -> pd.DataFrame:
    # From the files: a launcher that forks has trained copies of the task.
    task.load_state_dict(
        torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    )
    return pd.DataFrame(_notes(checkpoints / "last.ckpt")["history"], columns=HISTORY)


def predict(
    detector: Detector,
    dataset: Dataset | torch.Tensor,
    batch_size: int = 64,
    n_workers: int = 0,
    progress: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and pooled features of images, in eval mode on the device that the detector is on.

    Parameters
    ----------
    detector : Detector
    dataset : Dataset or (N, C, H, W) tensor
        Inputs in [0, 1]; labels beside them are not looked at.
    batch_size, n_workers : int
        How images are loaded; the network takes :func:`defocus_lib.precision.fitting` of them at once.
    progress : bool
        Show a progress bar.

    Returns
    -------
    (N,) float32, (N, D) float32
        On the CPU.

    Raises
    ------
    ValueError
        If there is no image.
    """
    if len(dataset) == 0:
        raise ValueError("dataset holds no image; at least one wanted")
    examples = TensorDataset(dataset) if isinstance(dataset, torch.Tensor) else dataset
    # With a generator of its own, which only names the worker processes, the loader leaves the caller's alone.
    loader = DataLoader(examples, batch_size, num_workers=n_workers, generator=torch.Generator())
    mode, weights = detector.training, next(detector.parameters())
    detector.eval()
    try:
        with _errors_of_workers(), torch.no_grad():
            bar = tqdm(loader, "Predicting", disable=not progress, leave=False)
            loaded = (inputs.to(weights.device, weights.dtype) for inputs, *_ in bar)
            answers = [
                detector.logits_and_features(part)
                for inputs in loaded
                for part in inputs.split(fitting(inputs))
            ]
            logits, features = zip(
                *[(one.float().cpu(), more.float().cpu()) for one, more in answers], strict=True
            )
    finally:
        detector.train(mode)
    return torch.cat(logits)[:, 0], torch.cat(features)
