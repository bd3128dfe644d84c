"""How long an experiment of the command line will take on this machine, measured before it starts.

Each operation is measured for a second, as for the plan of a run. Passes of a processor over large
images are measured at half their side and scaled by the pixels, which is right to a fifth or so.
"""

from __future__ import annotations

from typing import Any

from defocus_lib.analysis import rates, workload
from defocus_lib.analysis.workload import Operation
from defocus_lib.data.splits import SPLITS
from defocus_lib.detect.experiment import Setup
from defocus_lib.detect.inputs import KINDS
from defocus_lib.detect.model import Detector

LARGE = 200  # px; a step of larger images could take ten seconds on an old machine
FEW = 2  # images per measured step of a processor; batch normalisation needs two


def operations(setup: Setup, missing_maps: int) -> dict[Operation, int]:
    """The operations of an experiment, and on how many images each is done.

    Where passes are measured on smaller images, they are as many of these as have the same pixels.
    """
    plan, size, reads = setup.plan, setup.reader.size, setup.reads
    detector, _ = setup.detector()
    train, val, test = (len(setup.rows(split)) for split in SPLITS)
    on_processor = plan.device().type == "cpu"
    preset = setup.cache.preset if setup.cache and KINDS[reads].map else ""
    propagation = setup.cache.propagation if setup.cache and preset else ""
    side = _measured_side(detector, size) if on_processor else 0
    scale = (size / side) ** 2 if side else 1.0
    passes: dict[str, Any] = {
        "size": side or size,
        "backbone": detector.backbone,
        "reads": reads,
        "input_size": detector.input_size,
        # A step of few images says as much about a processor, and takes a second instead of ten.
        "batch_size": min(plan.batch_size, FEW) if on_processor else plan.batch_size,
        "precision": plan.precision,
    }
    loaders = plan.n_workers
    read = [workload.images_read(n, plan.epochs, size, reads, loaders) for n in (train, val)]
    numbers = {
        Operation("map", size, preset=preset, propagation=propagation): missing_maps,
        Operation("training", **passes): round(scale * plan.epochs * train),
        Operation("prediction", **passes): round(scale * (plan.epochs * val + val + test)),
        Operation("input", size, reads=reads, preset=preset, alone=True): (
            (sum(read) + val + test) // max(1, loaders)
        ),
    }
    return {operation: number for operation, number in numbers.items() if number}


def _measured_side(detector: Detector, size: int) -> int:
    """Half the side of large images; 0 where they are small, reduced, or of the one size that a
    network takes."""
    config = getattr(detector.classifier, "default_cfg", {})
    if size <= LARGE or detector.input_size or config.get("fixed_input_size"):
        return 0
    return size // 2


def seconds(setup: Setup, missing_maps: int) -> dict[str, float]:
    """Seconds by kind of operation; with several processes each trains on its share."""
    numbers = operations(setup, missing_maps)
    with rates.bench((setup.reader, setup.records)) as at:
        measured = rates.measure(numbers, at)
    processes = setup.plan.processes() * setup.plan.nodes
    shared = {"training": processes, "prediction": 1, "input": processes}
    return {
        each.kind: measured[each].seconds * number / shared.get(each.kind, 1)
        for each, number in numbers.items()
    }


def sentence(setup: Setup, missing_maps: int) -> str:
    """What :func:`seconds` adds up to, for a terminal."""
    by_kind = seconds(setup, missing_maps)
    parts = [f"{KIND[kind]} {_time(value)}" for kind, value in by_kind.items() if value >= 1]
    whole = f"About {_time(sum(by_kind.values()))} on this machine"
    return f"{whole} ({', '.join(parts)})." if len(parts) > 1 else f"{whole}."


KIND = {
    "map": "maps",
    "training": "training",
    "prediction": "predictions",
    "input": "reading images",
}


def _time(seconds: float) -> str:
    """
    >>> [_time(number) for number in (3.2, 200, 9000)]
    ['3 s', '3 min', '2.5 h']
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
