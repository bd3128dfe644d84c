"""Maps, training and Shapley values on a graphics card: ``python -m benchmarks.gpu``.

Images per second of each, beside the bare passes of the card on tensors that lie there already, and
whether card and processor agree. The images are made. ``--device cpu --small`` runs the same code
in miniature where there is no card. At most 8 minutes on one card.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader

from defocus_lib import precision
from defocus_lib.data.images import Reader
from defocus_lib.detect.inputs import Inputs
from defocus_lib.detect.model import Detector
from defocus_lib.detect.training import Plan, fit, predict
from defocus_lib.explain.expected_gradients import Compute, shapley_values
from defocus_lib.maps import learned
from defocus_lib.maps.cache import MapCache
from defocus_lib.run.provenance import commit

RESULTS = Path(__file__).parent / "results" / "gpu.csv"
LOGITS, CORRELATION = 1e-3, 0.999  # how far a card may be from a processor, in fp32


class Size(NamedTuple):
    """How much is measured."""

    side: int
    images: int  # files
    seconds: float  # of each measurement of bare passes, and of an epoch
    explained: int
    samples: int
    backbones: tuple[str, ...]
    agreeing: int  # images that card and processor are compared with


FULL = Size(299, 2048, 10.0, 128, 50, ("legacy_xception", "resnet50"), 8)
SMALL = Size(64, 24, 0.2, 2, 4, ("test_resnet",), 2)


def made_images(folder: Path, size: Size) -> pd.DataFrame:
    """Smooth noise as PNG files, and their records; every second one counts as fake."""
    rng, rows = np.random.default_rng(0), []
    for number in range(size.images):
        coarse = rng.integers(0, 256, (size.side // 8, size.side // 8, 3), dtype=np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(coarse).resize((size.side, size.side)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append({"path": path.name, "digest": digest, "label": number % 2})
    return pd.DataFrame(rows)


def finished(device: torch.device) -> None:
    """Wait for the card, whose work goes on when a call has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(step: Callable[[], object], images: int, seconds: float, device: torch.device) -> float:
    """Images per second of a step that takes ``images``, repeated for so many seconds."""
    step()
    finished(device)
    start, steps = perf_counter(), 0
    while perf_counter() - start < seconds:
        step()
        finished(device)
        steps += 1
    return images * steps / (perf_counter() - start)


def once(step: Callable[[], object], images: int, device: torch.device) -> float:
    """Images per second of a step that is done once."""
    start = perf_counter()
    step()
    finished(device)
    return images / (perf_counter() - start)


# --------------------------------------------------------------------------------------------------


def measure_maps(
    records: pd.DataFrame, folder: Path, size: Size, device: torch.device, n_workers: int
) -> list[dict]:
    """Maps of edges as the processes of a loader compute them, and those of the network."""
    reader = Reader(folder, size.side)
    edges = MapCache(folder / "maps", "physical", "", size.side, "stretch")
    edges.fill(records.head(1), reader, n_workers=1)  # compiles
    loader = DataLoader(Inputs(records, "defocus", reader, edges), 64, num_workers=n_workers)
    by_loader = once(lambda: [None for _ in loader], len(records), device)
    network = MapCache(folder / "maps", "learned", "", size.side, "stretch")
    network.fill(records.head(1), reader, n_workers=1, device=str(device))
    filled = once(
        lambda: network.fill(records, reader, device=str(device)), len(records) - 1, device
    )
    images = torch.rand(precision_batch(size, device), 3, size.side, size.side, device=device)
    bare = rate(lambda: learned.estimate(images), len(images), size.seconds, device)
    return [
        row("maps", f"physical, {n_workers} loader processes", by_loader),
        row("maps", "learned", filled, bare),
    ]


def precision_batch(size: Size, device: torch.device) -> int:
    """Images per pass."""
    return precision.fitting(torch.empty(1, 1, size.side, size.side, device=device))


def bare_training(detector: Detector, size: Size, device: torch.device, half: torch.dtype) -> float:
    """Images per second of nothing but forward and backward passes and steps of Adam."""
    images = torch.rand(64, 1, size.side, size.side, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    detector = detector.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(detector.parameters())

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, half, enabled=half != torch.float32):
            loss = detector(images).float().square().mean()
        loss.backward()
        optimizer.step()

    return rate(step, len(images), size.seconds, device)


def measure_training(
    backbone: str, records: pd.DataFrame, folder: Path, size: Size, device: torch.device
) -> dict:
    """Images per second of the second epoch, validation of a few images included."""
    half = getattr(torch, precision.fastest(device))
    bare = bare_training(Detector(backbone, "defocus"), size, device, half)
    repeats = max(1, round(bare * size.seconds / len(records)))
    maps = MapCache(folder / "maps", "physical", "", size.side, "stretch")
    reader = Reader(folder, size.side)
    train = Inputs(pd.concat([records] * repeats), "defocus", reader, maps)
    val = Inputs(records.head(16), "defocus", reader, maps)
    plan = Plan(2, precision="auto", n_workers=-1, accelerator=accelerator(device))
    ends: list[float] = []
    note = lambda *_: ends.append(perf_counter())  # noqa: E731
    fit(Detector(backbone, "defocus"), train, val, plan, preview=note, progress=False)
    images = len(train) + len(val)
    name = f"{backbone}, {plan.precision}, {plan.n_workers} loader processes"
    return row("training", name, images / (ends[1] - ends[0]), bare)


def accelerator(device: torch.device) -> str:
    return "cpu" if device.type == "cpu" else "gpu"


def measure_explanation(backbone: str, size: Size, device: torch.device) -> dict:
    """Gradients per second of Shapley values, beside bare forward and backward passes."""
    half = getattr(torch, precision.fastest(device))
    detector = Detector(backbone, "defocus").eval().requires_grad_(False).to(device)
    detector = detector.to(memory_format=torch.channels_last)
    shape = (1, size.side, size.side)
    inputs, background = (torch.rand(n, *shape, device=device) for n in (size.explained, 10))
    compute = Compute(precision=half)
    explain = lambda n=size.samples: shapley_values(  # noqa: E731
        detector, inputs, background, n, compute=compute
    )
    explain(1)
    found = once(explain, size.explained * size.samples, device)
    points = torch.rand(precision_batch(size, device), *shape, device=device)

    def passes() -> None:
        here = points.detach().requires_grad_(True)
        with torch.autocast(device.type, half, enabled=half != torch.float32):
            logits = detector(here)
        torch.autograd.grad(logits.float().sum(), here)

    bare = rate(passes, len(points), size.seconds, device)
    return row("Shapley values, gradients", f"{backbone}, {str(half)[6:]}", found, bare)


def row(what: str, setting: str, images: float, bare: float = np.nan) -> dict:
    return {
        "what": what,
        "setting": setting,
        "images_per_second": round(images, 1),
        "bare_passes_per_second": round(bare, 1),
        "share_of_bare_passes": round(images / bare, 3),
    }


# --------------------------------------------------------------------------------------------------


@contextmanager
def exact_products():
    """No TF32, which rounds the factors of float32 products to 10 bits."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def agreement(backbone: str, size: Size, device: torch.device) -> list[dict]:
    """Largest difference of logits and lowest correlation of Shapley values, card and processor."""
    rng = torch.Generator().manual_seed(0)
    inputs = torch.rand(size.agreeing, 1, size.side, size.side, generator=rng)
    background = torch.rand(2, 1, size.side, size.side, generator=rng)
    found = {}
    for place in (torch.device("cpu"), device):
        detector = Detector(backbone, "defocus", seed=1).eval().to(place)
        images, base = inputs.to(place), background.to(place)
        with exact_products():
            logits = predict(detector, images, precision="32-true")[0].numpy()
            values = shapley_values(detector, images, base, n_samples=4).values
        found[str(place)] = logits, values
    (logits, values), (others, theirs) = found["cpu"], found[str(device)]
    pairs = zip(values, theirs, strict=True)
    correlation = min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs)
    difference = float(np.abs(logits - others).max())
    return [
        {"what": "largest difference of logits", "setting": backbone, "value": difference,
         "agrees": difference <= LOGITS},
        {"what": "lowest correlation of Shapley values", "setting": backbone,
         "value": float(correlation), "agrees": bool(correlation >= CORRELATION)},
    ]  # fmt: skip


def measured(device: torch.device, size: Size) -> pd.DataFrame:
    """All rates and comparisons, with the card's name and the commit."""
    n_workers = max(1, precision.loaders(-1, device))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        records = made_images(folder, size)
        rows = measure_maps(records, folder, size, device, n_workers)
        for name in size.backbones:
            rows.append(measure_training(name, records, folder, size, device))
            rows.append(measure_explanation(name, size, device))
            rows += agreement(name, size, device)
    about = {"side": size.side, "device": name_of(device), "commit": commit(Path(__file__).parent)}
    return pd.DataFrame(rows).assign(**about)


def name_of(device: torch.device) -> str:
    """The name of a card, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default=precision.here(), help="torch's name, such as cuda:0")
    parser.add_argument("--small", action="store_true", help="in miniature; writes no results")
    parser.add_argument("--output", type=Path, help="another file than benchmarks/results/gpu.csv")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cpu" and not options.small:
        parser.error("no card here: --device cpu --small runs in miniature, a card measures")
    table = measured(device, SMALL if options.small else FULL)
    output = options.output or (None if options.small else RESULTS)
    if output:
        table.to_csv(output, index=False)
    print(table.to_string(index=False))
    if not table["agrees"].dropna().astype(bool).all():
        raise SystemExit("card and processor do not agree")
    return table


if __name__ == "__main__":
    main()
