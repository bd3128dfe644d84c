"""What one operation of a run takes on this machine, measured in a second or two.

The passes are bare: nothing but forward and backward through a detector with random weights, in the
precision, the batch and the number of threads that the run uses. On a graphics card they run there.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.nn import functional as F
from tqdm.auto import tqdm

from defocus_lib.analysis.workload import Operation
from defocus_lib.data.images import Reader, fit_square
from defocus_lib.data.manifest import load_manifest
from defocus_lib.data.photographs import load_photograph
from defocus_lib.detect.inputs import KINDS, Inputs
from defocus_lib.detect.model import Detector, save_detector
from defocus_lib.explain.attribution_set import AttributionSet
from defocus_lib.maps.cache import MapCache
from defocus_lib.maps.presets import PRESETS
from defocus_lib.precision import fitting, here
from defocus_lib.run import cluster
from defocus_lib.scenes import rendered

PICTURES = 8  # read and mapped per measurement
MOST_PIXELS = 400_000  # per step on a processor: 4 images of 299 px, so that a step takes a second
LEAST = 0.3  # s, repetitions go on until so much is measured
MOST_RUNS = 50
HALF = {
    "bf16-mixed": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "16-mixed": torch.float16,
    "float16": torch.float16,
}
# Copies of the weights in the files of a training: the detector, the best epoch, and the last one
# with the two moments of Adam.
COPIES = 5


class Rate(NamedTuple):
    """What one image takes.

    Attributes
    ----------
    seconds, cpu_seconds : float
        Of the clock, and of all threads of this process together: where other programs compete for
        the cores, only the second one repeats.
    bytes : float
        That stay on disk.
    """

    seconds: float
    cpu_seconds: float
    bytes: float = 0.0


@dataclass(frozen=True)
class Bench:
    """Where is measured: a folder for scratch files, a device, and what is read.

    ``on_disk`` are a reader and records of images; without them, crops of the photographs of
    the manifest stand in.
    """

    scratch: Path
    device: str
    on_disk: tuple[Reader, pd.DataFrame] | None = None

    @cached_property
    def photographs(self) -> dict[str, list[np.ndarray]]:
        """The photographs ``(h, w, 3)`` uint8 of each split."""
        listed: Any = load_manifest()
        return {
            split: [load_photograph(entry) for entry in listed.photographs_of(split)]
            for split in rendered.SPLITS
        }

    def pictures(self, size: int) -> tuple[Reader, pd.DataFrame]:
        """A reader at ``size`` px, and records of some images."""
        if self.on_disk and self.on_disk[0].size == size:
            return self.on_disk
        sources = [image for images in self.photographs.values() for image in images]
        crops = [_as_png(fit_square(image, size, "crop")) for image in sources[:PICTURES]]
        rows = np.arange(len(crops))
        table = pd.DataFrame({"path": [f"{size}/{row}.png" for row in rows], "label": rows % 2})
        records = rendered.store_images(self.scratch, table, crops, size)
        return Reader(self.scratch, size, "crop"), records


def _as_png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def bench(on_disk: tuple[Reader, pd.DataFrame] | None = None) -> Iterator[Bench]:
    """A bench on the device that a run would use; its scratch files are removed afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        if on_disk:
            reader, records = on_disk
            on_disk = reader, records.drop_duplicates("digest").head(PICTURES)
        yield Bench(Path(scratch), here(), on_disk)


def measure(
    operations: Iterable[Operation], at: Bench, progress: bool = False
) -> dict[Operation, Rate]:
    """The rate of each operation, measured once."""
    different = list(dict.fromkeys(operations))
    measured = {}
    for operation in tqdm(different, "measuring", disable=not progress, leave=False):
        alone = operation.alone and at.device == "cpu"
        with cluster.one_thread() if alone else nullcontext():
            measured[operation] = MEASURED[operation.kind](operation, at)
    return measured


def _rate(run: Callable[[], object], images: int, kept: Callable[[], float] | None = None) -> Rate:
    """Medians per image, after a first run that chooses kernels and requests memory.

    ``kept`` says how many bytes stay on disk.
    """
    run()
    took: list[tuple[float, float]] = []
    while sum(seconds for seconds, _ in took) < LEAST and len(took) < MOST_RUNS:
        start, cpu = perf_counter(), process_time()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took.append((perf_counter() - start, process_time() - cpu))
    seconds, cpu_seconds = (median(each) / images for each in zip(*took, strict=True))
    return Rate(seconds, cpu_seconds, kept() / images if kept else 0.0)


# ------------------------------------------------------------------------------------------------
# Passes.


def _ready(operation: Operation, at: Bench) -> tuple[Detector, torch.Tensor]:
    """A detector with random weights, and the inputs of one pass."""
    detector = Detector(operation.backbone, operation.reads, operation.input_size)
    channels, side = KINDS[operation.reads].channels(), operation.size
    image = torch.empty(1, channels, side, side, device=at.device)
    batch = operation.batch_size or fitting(image)
    if operation.kind == "prediction":
        batch = min(batch, fitting(image))
    if at.device == "cpu":
        batch = min(batch, max(2, MOST_PIXELS // (operation.input_size or side) ** 2))
    images = torch.from_numpy(
        np.random.default_rng(0).random((batch, *image.shape[1:]), dtype=np.float32)
    )
    layout = torch.channels_last
    return (
        detector.to(at.device).to(memory_format=layout),
        images.to(at.device).to(memory_format=layout),
    )


def _autocast(operation: Operation, at: Bench) -> torch.autocast:
    half = HALF.get(operation.precision)
    kind = torch.device(at.device).type
    return torch.autocast(kind, half or torch.bfloat16, enabled=half is not None)


def _training(operation: Operation, at: Bench) -> Rate:
    detector, images = _ready(operation, at)
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-5)
    labels = (torch.arange(len(images), device=at.device) % 2).float()

    def step() -> None:
        with _autocast(operation, at):
            logits = detector(images)[:, 0]
        F.binary_cross_entropy_with_logits(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return _rate(step, len(images))


def _prediction(operation: Operation, at: Bench) -> Rate:
    detector, images = _ready(operation, at)
    detector.eval()

    def step() -> None:
        with torch.no_grad(), _autocast(operation, at):
            detector(images)

    return _rate(step, len(images))


def _gradient(operation: Operation, at: Bench) -> Rate:
    detector, images = _ready(operation, at)
    detector.eval().requires_grad_(False)

    def step() -> None:
        points = images.clone().requires_grad_(True)
        with _autocast(operation, at):
            logits = detector(points)
        torch.autograd.grad(logits.float().sum(), points)

    return _rate(step, len(images))


# ------------------------------------------------------------------------------------------------
# Maps and files.


def _cache(operation: Operation, at: Bench, reader: Reader, name: str = "maps") -> MapCache:
    preset = operation.preset or next(iter(PRESETS))
    kind = (reader.size, reader.fit, reader.label)
    return MapCache(at.scratch / name, preset, operation.propagation, *kind)


def _map(operation: Operation, at: Bench) -> Rate:
    """A map is read, computed and written, on all cores."""
    reader, records = at.pictures(operation.size)
    cache = _cache(operation, at, reader, "new maps")

    def fill() -> None:
        shutil.rmtree(cache.folder, ignore_errors=True)
        cache.fill(records, reader)

    return _rate(fill, len(records), lambda: _bytes(cache.folder))


def _input(operation: Operation, at: Bench) -> Rate:
    reader, records = at.pictures(operation.size)
    cache = _cache(operation, at, reader)
    if KINDS[operation.reads].map:
        cache.fill(records, reader)

    def read() -> None:
        inputs = Inputs(records, operation.reads, reader, cache)  # a new one has kept nothing
        for row in range(len(inputs)):
            inputs[row]

    return _rate(read, len(records))


def _index(operation: Operation, at: Bench) -> Rate:
    reader, records = at.pictures(operation.size)
    return _rate(partial(reader.stack, records, n_workers=-1), len(records))


def _scene(operation: Operation, at: Bench) -> Rate:
    counts = {"train": 2, "val": 1, "test": 1}
    names = list(rendered.MANIPULATIONS)
    table = rendered.records(counts, names[0], names, by_all=1)
    folder = at.scratch / "scenes"

    def render() -> None:
        arrays = rendered.photograph_all(table, at.photographs, 0, operation.size)
        rendered.store_images(folder, table, arrays["files"].tolist(), operation.size)

    return _rate(render, len(table), lambda: _bytes(folder))


def _shapley_file(operation: Operation, at: Bench) -> Rate:
    """Values are noise, which compresses as badly as real ones."""
    reader, records = at.pictures(operation.size)
    images, rng = reader.stack(records), np.random.default_rng(0)
    number, side = len(records), images.shape[1]
    maps = rng.random((number, side, side), dtype=np.float32)
    values = AttributionSet(
        ids=np.array([f"{row}/real" for row in range(number)]),
        pairs=np.array([f"{row}/real" for row in range(number)]),
        images=images,
        edges=maps > 0.9,
        regions=np.zeros(maps.shape, dtype=bool),
        dmaps=maps,
        defocus_shaps=maps,
        rgb_shaps=maps,
        defocus_completeness_errors=maps[:, 0, 0],
        rgb_completeness_errors=maps[:, 0, 0],
        meta={"manipulation": "real"},
    )
    path = at.scratch / "shard.npz"
    save = partial(values.save, path, operation.storage)
    return _rate(save, number, lambda: path.stat().st_size)


def _weights(operation: Operation, at: Bench) -> Rate:
    detector = Detector(operation.backbone, operation.reads, operation.input_size)
    path = save_detector(at.scratch / "weights.safetensors", detector, {})
    return Rate(0.0, 0.0, COPIES * path.stat().st_size)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


MEASURED: dict[str, Callable[[Operation, Bench], Rate]] = {
    "training": _training,
    "prediction": _prediction,
    "gradient": _gradient,
    "map": _map,
    "input": _input,
    "index": _index,
    "scene": _scene,
    "shapley file": _shapley_file,
    "weights": _weights,
}
