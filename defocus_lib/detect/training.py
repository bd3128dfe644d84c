"""Fitting a detector and applying it. Loop, checkpoints and launcher are Lightning's.

The order of the batches, the flips and the random numbers of the model depend on the seed and the
epoch alone, so a run that was killed and resumed reaches the same weights as one that was not.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import timm
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset
from tqdm import tqdm

from defocus_lib import precision
from defocus_lib.detect import in_memory, model, pretrained
from defocus_lib.detect.in_memory import HISTORY, validation
from defocus_lib.detect.model import Detector
from defocus_lib.detect.plan import Plan
from defocus_lib.precision import AUTO, fitting, for_prediction
from defocus_lib.run import lightning
from defocus_lib.run.artifacts import source_digest, write_beside
from defocus_lib.run.cluster import threads
from defocus_lib.run.lightning import CheckpointFiles, ProgressBar, generators_kept, quietly
from defocus_lib.run.terminal import say

# What a run that goes on may change: it decides how fast the weights are reached, not which.
Progress = bool | Callable[[str], None]
FREE = ("epochs", "n_workers", "accelerator", "devices", "nodes", "strategy")
NOTES = "defocus_lib"
WRITTEN, HALF_WRITTEN = ("best.ckpt", "last.ckpt"), (".best.*.ckpt", ".last.*.ckpt")
CHANNELS_LAST: Any = torch.channels_last  # several times faster on a processor


def fit(
    detector: Detector,
    train: Dataset,
    val: Dataset,
    plan: Plan,
    folder: Path | None = None,
    fresh: bool = False,
    preview: Callable[[int, Detector], None] | None = None,
    progress: Progress = True,
) -> pd.DataFrame:
    """Train ``detector`` in place, keep the weights of the best epoch, and return the history.

    The caller's random state, and the detector's train or eval mode, are left as they were; the
    detector comes back on the CPU in fp32. Where Lightning starts several processes, all but the
    first end here (``SystemExit``).

    Parameters
    ----------
    train, val : Dataset
        Pairs of an input ``(C, H, W)`` in [0, 1] and its label, 1 = fake. A run does not go on with
        data whose attribute ``fingerprint`` (str, optional) differs.
    folder : Path, optional
        Gets ``checkpoints/last.ckpt`` and ``best.ckpt`` after each epoch, ``logs/``, and
        ``history.csv`` at the end. By default nothing is kept. A run that was killed goes on after
        its last epoch: where the checkpoints are of the same data, plan, first weights and code.
        Others are deleted.
    fresh : bool
        Delete them in any case, and begin at the first epoch.
    progress : bool or callable
        Bars on standard error, or nothing; a function gets a line of text per epoch instead.
    preview : callable, optional
        Called as ``preview(epoch, detector)`` after each validation, without gradients.

    Returns
    -------
    DataFrame
        One row per epoch: epoch (from 0), train_loss, val_loss, val_auc (NaN where val holds one
        class), val_accuracy. ``attrs["earlier"]`` is the number of epochs that were there before.

    Raises
    ------
    ValueError
        If there is nothing to train, the machine lacks what the plan needs, or the plan monitors
        ``val_auc`` and val holds one class.
    """
    _check_examples(plan, train, val)
    mode = detector.training
    scratch = tempfile.TemporaryDirectory()
    with generators_kept(), scratch as unkept, threads(plan.n_threads), quietly():
        torch.manual_seed(plan.seed)
        folder = Path(folder or unkept)
        trainer = _trainer(plan, folder, preview, progress)
        made_with = _facts(detector, train, val, plan, trainer.world_size)
        start, earlier = (None, 0) if fresh else _begun(folder / "checkpoints", made_with, plan)
        if trainer.is_global_zero:
            _clear(folder / "checkpoints", HALF_WRITTEN if start else (*HALF_WRITTEN, *WRITTEN))
        try:
            detector.to(memory_format=CHANNELS_LAST)
            task = _Task(detector, plan, train, val, made_with).train()
            # Lightning draws its progress bars on standard output.
            with _plain_worker_errors(), redirect_stdout(sys.stderr):
                trainer.fit(task, ckpt_path=start, weights_only=True)
            _end_other_processes(trainer)
            history = _load_best(task, folder / "checkpoints")
        finally:
            detector.to("cpu", torch.float32).to(memory_format=torch.contiguous_format)
            detector.train(mode)
        history.attrs["earlier"] = earlier
        write_beside(folder / "history.csv", lambda beside: history.to_csv(beside, index=False))
    return history


def predict(
    detector: Detector,
    dataset: Dataset | torch.Tensor,
    batch_size: int = 64,
    n_workers: int = 0,
    progress: bool = False,
    precision: str = AUTO,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``(N,)`` and pooled features ``(N, D)`` of images, float32 on the CPU.

    Computed in eval mode on the detector's device, as many images per pass as
    :func:`defocus_lib.precision.fitting` allows. ``dataset`` holds inputs in [0, 1], as a tensor
    ``(N, C, H, W)`` or with labels, which are ignored. ``precision`` is that of the training, by
    Lightning's name: a card predicts in half precision where it was trained in it, and the logits
    are those of fp32 within 2 % of the largest; a processor always predicts in fp32.
    Raises ValueError if ``dataset`` is empty.
    """
    examples: Any = TensorDataset(dataset) if isinstance(dataset, torch.Tensor) else dataset
    if len(examples) == 0:
        raise ValueError("dataset holds no image; at least one wanted")
    mode, weights = detector.training, next(detector.parameters())
    loader = DataLoader(
        examples,
        batch_size,
        num_workers=n_workers,
        pin_memory=weights.device.type == "cuda",
        # A generator of its own, which only names the worker processes, leaves the caller's alone.
        generator=torch.Generator(),
    )
    kind, dtype = weights.device.type, for_prediction(precision, weights.device)
    half = torch.autocast(kind, dtype, enabled=dtype != torch.float32)
    detector.eval()
    logits, features = [], []
    try:
        with _plain_worker_errors(), torch.no_grad(), half:
            for batch, *_ in tqdm(loader, "Predicting", disable=not progress, leave=False):
                inputs = _ready(batch.to(weights.device, weights.dtype, non_blocking=True))
                inputs = detector.averaged(inputs)
                for part in inputs.split(fitting(inputs)):
                    outputs = detector.logits_and_features(part)
                    # They stay on the device until the end: a card then never waits for us.
                    logits.append(outputs[0].float())
                    features.append(outputs[1].float())
    finally:
        detector.train(mode)
    return torch.cat(logits)[:, 0].cpu(), torch.cat(features).cpu()


def _ready(inputs: torch.Tensor) -> torch.Tensor:
    """Inputs in the memory layout that a card is fastest with; as they are on a processor, whose
    results the layout would change in their last digits."""
    on_card = inputs.device.type == "cuda"
    return inputs.contiguous(memory_format=CHANNELS_LAST) if on_card else inputs


def is_first_process() -> bool:
    """Whether this is the process that writes and prints, among those of Lightning's launcher."""
    return getattr(rank_zero_only, "rank", 0) == 0


class _Task(pl.LightningModule):
    """Binary cross-entropy on logits, with random flips; metrics on all of ``val``."""

    def __init__(
        self, detector: Detector, plan: Plan, train: Dataset, val: Dataset, made_with: dict
    ):
        super().__init__()
        self.detector, self.plan, self.made_with = detector, plan, made_with
        self.examples: dict[str, Any] = {"train": train, "val": val}
        self.history: list[dict] = []
        self.validated: list[tuple[torch.Tensor, torch.Tensor]] = []

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", self.plan.seed)

    def val_dataloader(self) -> DataLoader:
        return self._loader("val")

    def _loader(self, split: str, seed: int | None = None) -> DataLoader:
        dataset, batch_size = self.examples[split], self.plan.batch_size
        world, rank = self.trainer.world_size, self.trainer.global_rank
        sampler: DistributedSampler = DistributedSampler(
            dataset, world, rank, shuffle=seed is not None, seed=seed or 0
        )
        # Lightning sets the epoch too late for the first one where workers load ahead.
        progress: Any = self.trainer.fit_loop.epoch_progress.current
        sampler.set_epoch(progress.processed)
        return DataLoader(
            dataset,
            batch_size,
            sampler=sampler,
            # Batch normalisation fails on a last batch of one image.
            drop_last=seed is not None and len(sampler) > 1 and len(sampler) % batch_size == 1,
            num_workers=self.plan.n_workers,
            persistent_workers=self.plan.n_workers > 0,
            pin_memory=self.device.type == "cuda",
            # Without its own generator it draws from the model's, unevenly in a run that goes on.
            generator=torch.Generator(),
        )

    def _rng(self, *more: int) -> np.random.Generator:
        return np.random.default_rng((self.plan.seed, self.current_epoch, self.global_rank, *more))

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(int(self._rng().integers(2**63)))

    def training_step(self, batch, index):
        inputs, labels = batch
        if self.plan.horizontal_flip:
            flipped = torch.from_numpy(self._rng(index).random(len(inputs)) < 0.5)
            flipped = flipped.to(inputs.device, non_blocking=True).view(-1, 1, 1, 1)
            inputs = torch.where(flipped, inputs.flip(3), inputs)
        loss = F.binary_cross_entropy_with_logits(self._logits(inputs), labels.float())
        when = {"on_step": False, "on_epoch": True, "sync_dist": True, "batch_size": len(inputs)}
        self.log("train_loss", loss, prog_bar=True, **when)
        return loss

    def validation_step(self, batch, _index):
        inputs, labels = batch
        self.validated.append((self._logits(inputs), labels.float()))

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.detector(inputs.contiguous(memory_format=CHANNELS_LAST))[:, 0].float()

    def on_validation_epoch_end(self) -> None:
        logits, labels = (
            self._of_every_process(torch.cat(parts)) for parts in zip(*self.validated, strict=True)
        )
        self.validated.clear()
        if self.plan.monitor == "val_auc" and len(labels.unique()) < 2:
            raise ValueError(
                "val holds one class, which has no AUC; both, or another monitor, wanted"
            )
        self.log_dict(validation(logits, labels), prog_bar=True)

    def _of_every_process(self, values: torch.Tensor) -> torch.Tensor:
        """Values in the order of the data set: processes take turns, the last repeat images."""
        everywhere: Any = self.all_gather(values)
        everywhere = everywhere.reshape(self.trainer.world_size, -1)
        return everywhere.T.flatten()[: len(self.examples["val"])].cpu()

    def on_train_epoch_end(self) -> None:
        logged = self.trainer.callback_metrics
        row = {name: float(logged[name]) for name in HISTORY[1:]}
        self.history.append({"epoch": self.current_epoch} | row)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint[NOTES] = {"history": self.history, "made_with": self.made_with}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.history = checkpoint[NOTES]["history"]

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.plan.learning_rate)
        if self.plan.schedule == "constant":
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self.plan.learning_rate, total_steps=steps
        )
        return [optimizer], [{"scheduler": cycle, "interval": "step"}]


class _Best(ModelCheckpoint):
    """The best epoch so far, in one file; its score survives a move of the folder."""

    def load_state_dict(self, state_dict: dict) -> None:
        path, score = str(Path(str(self.dirpath)) / "best.ckpt"), state_dict["best_model_score"]
        here = {"dirpath": self.dirpath, "best_model_path": path, "kth_best_model_path": path}
        super().load_state_dict({**state_dict, **here, "best_k_models": {path: score}})


class _Patience(EarlyStopping):
    """Stops at once when a run goes on that had stopped."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class _Lines(pl.Callback):
    """Says what an epoch has reached, in a line."""

    def __init__(self, say: Callable[[str], None], epochs: int):
        self.say, self.epochs = say, epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            logged = trainer.callback_metrics
            numbers = ", ".join(f"{name} {float(logged[name]):.3f}" for name in HISTORY[1:])
            self.say(f"epoch {trainer.current_epoch + 1} of {self.epochs}: {numbers}")


class _Preview(pl.Callback):
    """Calls a function with the epoch and the detector after each validation."""

    def __init__(self, show: Callable[[int, Detector], None]):
        self.show = show

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and isinstance(pl_module, _Task):
            self.show(trainer.current_epoch, pl_module.detector)


def _trainer(plan: Plan, folder: Path, preview: Callable | None, progress: Progress) -> pl.Trainer:
    options = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    files: Any = options | {"dirpath": folder / "checkpoints"}
    best = _Best(filename="best", monitor=plan.monitor, mode="max", save_weights_only=True, **files)
    callbacks: list[pl.Callback] = []
    if callable(progress):
        callbacks.append(_Lines(progress, plan.epochs))
    elif progress:
        callbacks.append(ProgressBar(refresh_rate=5))
    if preview:
        callbacks.append(_Preview(preview))
    if plan.patience:
        stopping: Any = {"patience": plan.patience, "mode": "max", "check_on_train_epoch_end": True}
        callbacks.append(_Patience(plan.monitor, **stopping))
    # Last, so that it holds the state of all others.
    callbacks += [best, ModelCheckpoint(filename="last", **files)]
    try:
        return pl.Trainer(
            max_epochs=plan.epochs,
            precision=plan.precision,  # type: ignore[arg-type]  # Lightning checks the name
            accelerator=plan.accelerator,
            devices=plan.devices,
            num_nodes=plan.nodes,
            strategy=plan.strategy,
            default_root_dir=folder,
            logger=CSVLogger(folder, name="logs"),
            plugins=[CheckpointFiles()],
            callbacks=callbacks,
            use_distributed_sampler=False,
            enable_progress_bar=progress is True,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
    except (MisconfigurationException, ModuleNotFoundError) as error:
        raise ValueError(f"the plan does not fit this machine: {error}") from error


def _check_examples(plan: Plan, train: Any, val: Any) -> None:
    if plan.epochs == 0:
        raise ValueError(
            "epochs is 0: there is nothing to train; 1 or more wanted, or weights to evaluate"
        )
    for name, dataset in (("train", train), ("val", val)):
        if len(dataset) == 0:
            raise ValueError(f"{name} holds no image; at least one wanted")


@contextmanager
def _plain_worker_errors() -> Iterator[None]:
    """Remove the traceback that torch adds to the message of an error in a worker process."""
    try:
        yield
    except (ValueError, OSError) as error:
        if "Original Traceback" not in str(error):
            raise
        last = str(error).rstrip().splitlines()[-1]
        raise type(error)(last.partition(f"{type(error).__name__}: ")[2] or last) from error


def _facts(detector: Detector, train: Any, val: Any, plan: Plan, processes: int) -> dict:
    """All that decides which weights a run reaches, as plain values."""
    facts = {name: value for name, value in asdict(plan).items() if name not in FREE}
    if plan.schedule == "one_cycle":
        facts["epochs"] = plan.epochs  # the cycle spans them
    facts |= {name: getattr(detector, name) for name in ("backbone", "reads", "input_size")}
    facts["scaling"] = str(detector.scaling)
    facts |= {"processes": processes, "training images": len(train), "validation images": len(val)}
    facts["data"] = " ".join(getattr(part, "fingerprint", "") for part in (train, val))
    first = hashlib.sha256()
    for values in detector.state_dict().values():
        first.update(values.cpu().numpy().tobytes())
    code = source_digest(sys.modules[__name__], in_memory, model, pretrained, precision, lightning)
    versions = [torch.__version__, timm.__version__]
    return facts | {"first weights": first.hexdigest(), "code": " ".join([code, *versions])}


def _begun(checkpoints: Path, made_with: dict, plan: Plan) -> tuple[Path | None, int]:
    """The last checkpoint of this very run and its number of epochs; None and 0 if there is none.

    A damaged one is as good as none: it is what a machine leaves that lost its power.
    """
    last, best = checkpoints / "last.ckpt", checkpoints / "best.ckpt"
    try:
        notes = _notes(last)
        torch.load(best, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    except Exception:  # torch names no common one for what a corrupt file may raise
        return None, 0
    epochs, before = len(notes["history"]), notes["made_with"]
    changed = [name for name, value in made_with.items() if before.get(name) != value]
    changed += ["epochs"] if epochs > plan.epochs else []
    if changed:
        say(f"{last} was made with other {', '.join(changed)}: training begins at the first epoch")
        return None, 0
    say(f"{last} holds epochs of this very training: it goes on after {epochs} of {plan.epochs}")
    return last, epochs


def _notes(path: Path) -> dict:
    """The history and the facts that :class:`_Task` wrote into a checkpoint."""
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)[NOTES]


def delete_checkpoints(folder: Path) -> None:
    """Free the disk once the weights of a run are saved elsewhere; its logs and history stay."""
    _clear(folder / "checkpoints", (*HALF_WRITTEN, *WRITTEN))


def _clear(checkpoints: Path, patterns: tuple[str, ...]) -> None:
    """Delete the files of an earlier run, and nothing else."""
    for pattern in patterns:
        for path in checkpoints.glob(pattern):
            path.unlink()


def _end_other_processes(trainer: pl.Trainer) -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if not trainer.is_global_zero:
        raise SystemExit(0)


def _load_best(task: _Task, checkpoints: Path) -> pd.DataFrame:
    # From the files: a launcher that forks has trained copies of the task.
    best = torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=True)
    task.load_state_dict(best["state_dict"])
    return pd.DataFrame(_notes(checkpoints / "last.ckpt")["history"], columns=HISTORY)
