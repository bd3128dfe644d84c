"""How long each stage of a run takes and how much memory it needs, measured from outside of what is
measured."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import psutil

from defocus_lib.run.artifacts import write_beside

COLUMNS = ["stage", "seconds", "images", "images_per_second", "peak_mib", "peak_gpu_mib"]


class Stages:
    """Wall-clock time and peak memory by stage: ``with stages("maps", images=3): ...``"""

    def __init__(self, interval: float = 0.05) -> None:
        self.interval = interval
        self._rows: list[dict] = []

    @contextmanager
    def __call__(self, stage: str, images: int = 0) -> Iterator[dict]:
        """Measure the block as ``stage``; it is recorded also if it fails.

        A block that learns the number of its images on the way sets it in the dict it is given.
        """
        memory: dict[str, float] = {"peak": 0}
        started, row = time.perf_counter(), {"stage": stage, "images": images}
        _reset_gpu_peak()
        try:
            with peak_memory(_this_process_and_below, self.interval) as memory:
                yield row
        finally:
            row |= {"seconds": time.perf_counter() - started, "peak_mib": memory["peak"] / 2**20}
            self._rows.append(row | {"peak_gpu_mib": _gpu_peak() / 2**20})

    def table(self) -> pd.DataFrame:
        """One row per stage, in the order of their ends; columns :data:`COLUMNS`.

        ``peak_mib`` is the largest resident memory of the process and those it started, sampled;
        ``peak_gpu_mib`` the largest that torch had allocated on one GPU (NaN where there is none).
        """
        table = pd.DataFrame(self._rows, columns=COLUMNS)
        return table.assign(
            images_per_second=(table["images"] / table["seconds"]).where(table["images"] > 0)
        )


def save(path: Path, stages: Mapping[str, Stages]) -> Path:
    """Write the tables of several detectors as one CSV; the name of each goes before its stages."""
    named = {name: part.table() for name, part in stages.items()}
    table = pd.concat(
        rows.assign(stage=f"{name} ".lstrip() + rows["stage"]) for name, rows in named.items()
    )
    return write_beside(path, lambda beside: table.to_csv(beside, index=False))


def read_all(folder: Path) -> pd.DataFrame:
    """What :func:`save` wrote into a folder: index (notebook, stage), in the order of the files'
    names."""
    tables = {
        path.stem: pd.read_csv(path).set_index("stage") for path in sorted(folder.glob("*.csv"))
    }
    return pd.concat(tables, names=["notebook"]).rename(
        columns=lambda name: name.replace("_", " ").replace("mib", "MiB")
    )


@contextmanager
def peak_memory(
    processes: Callable[[], Iterable[psutil.Process]], interval: float = 0.1
) -> Iterator[dict[str, float]]:
    """Watch the resident memory of ``processes()``, sampled every ``interval`` seconds, at the
    beginning and at the end of a block; ``peak`` of the dict is the largest sum so far in bytes,
    ``cpu_seconds`` the largest sum of their processor times.
    """
    memory: dict[str, float] = {"peak": 0, "cpu_seconds": 0.0}
    done = threading.Event()

    def sample() -> None:
        watched = list(processes())
        memory["peak"] = max(memory["peak"], sum(map(_resident, watched)))
        memory["cpu_seconds"] = max(memory["cpu_seconds"], sum(map(_cpu_seconds, watched)))

    def watch() -> None:
        while not done.wait(interval):
            sample()

    watcher = threading.Thread(target=watch, daemon=True)
    sample()
    watcher.start()
    try:
        yield memory
    finally:
        done.set()
        watcher.join()
        sample()


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # it ended meanwhile
        return 0


def _cpu_seconds(process: psutil.Process) -> float:
    """Of all threads, and of the children that have ended."""
    try:
        times = process.cpu_times()
    except psutil.Error:  # it ended meanwhile
        return 0.0
    ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return times.user + times.system + ended


def _this_process_and_below() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def _gpus() -> range:
    """The GPUs that torch is using. Looking does not import it, nor start CUDA."""
    torch = sys.modules.get("torch")
    return range(torch.cuda.device_count()) if torch and torch.cuda.is_initialized() else range(0)


def _reset_gpu_peak() -> None:
    for gpu in _gpus():
        sys.modules["torch"].cuda.reset_peak_memory_stats(gpu)


def _gpu_peak() -> float:
    """The largest allocation on one GPU in bytes."""
    peaks = [sys.modules["torch"].cuda.max_memory_allocated(gpu) for gpu in _gpus()]
    return max(peaks, default=float("nan"))
