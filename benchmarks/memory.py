"""Memory of a training by the number of images: ``python -m benchmarks.memory``.

A tiny detector trains for one epoch on made photographs of 32 px, with two loader processes. The
table has the largest proportional set size (what is shared counts once) of all processes together.
"""

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from PIL import Image

from benchmarks import machine

RESULTS = Path(__file__).parent / "results" / "memory.csv"
COUNTS, SIDE, LOADERS = (1000, 8000, 64000), 32, 2


def made_images(folder: Path, count: int) -> pd.DataFrame:
    """Photographs of noise in files, and their records."""
    rng, rows = np.random.default_rng(0), []
    for number in range(count):
        buffer = io.BytesIO()
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=50)
        path = folder / f"{number % 256:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(buffer.getvalue())
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        name = path.relative_to(folder).as_posix()
        rows.append({"path": name, "digest": digest, "label": number % 2})
    return pd.DataFrame(rows)


class Meter(threading.Thread):
    """Watches the memory of this process and its children, in MiB."""

    def __init__(self, every: float = 0.5):
        super().__init__(daemon=True)
        self.every, self.peak, self.ended = every, 0.0, threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            self.peak = max(self.peak, together())
            self.ended.wait(self.every)


def together() -> float:
    """Proportional set size of this process and its children, in MiB."""
    this, total = psutil.Process(), 0
    for process in (this, *this.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it has ended
            continue
    return total / 2**20


def train(folder: Path) -> None:
    """Train on the images of a folder, and print the peak of the memory and the seconds."""
    from defocus_lib.data.images import Reader
    from defocus_lib.detect.inputs import Inputs
    from defocus_lib.detect.model import Detector
    from defocus_lib.detect.training import Plan, fit

    records = pd.read_parquet(folder / "records.parquet")
    reader = Reader(folder)
    examples = [Inputs(rows, "rgb", reader) for rows in (records, records.head(100))]
    plan = Plan(1, 256, accelerator="cpu", n_workers=LOADERS)
    meter, start = Meter(), time.process_time()
    meter.start()
    fit(Detector("test_resnet", "rgb"), *examples, plan, progress=False)
    meter.ended.set()
    print(round(meter.peak), round(time.process_time() - start, 1))


def measured(counts: tuple[int, ...]) -> pd.DataFrame:
    """The largest memory of a training on so many images each, every one in a new process."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        records = made_images(Path(scratch), max(counts))
        for count in counts:
            records.head(count).to_parquet(Path(scratch) / "records.parquet")
            command = [sys.executable, "-m", "benchmarks.memory", "--train", scratch]
            # Two threads that wait for each other take ten times as long where others compute too.
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=True, env=environment
            )
            print(done.stdout, end="", flush=True)
            peak, seconds = map(float, done.stdout.split()[-2:])
            rows.append({"images": count, "peak_mib": peak, "cpu_seconds": seconds})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, help="what the processes of this one do")
    options = parser.parse_args()
    if options.train:
        return train(options.train)
    table = measured(COUNTS)
    table.to_csv(RESULTS, index=False)
    machine.note("memory")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
