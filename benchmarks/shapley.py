"""Time and error of Shapley values: ``python -m benchmarks.shapley``, after the profile ``speed`` to notebook 02.

An Xception, trained here on scenes of 299 px, against ``shap.GradientExplainer`` with its 200 samples: both explain
the same images, in turn, in one run. Errors are against an integral of 2,000 nodes in single precision. Takes half an
hour on two cores.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from benchmarks import machine
from benchmarks.maps import medians
from defocus_lib import collection, experiment, explanation, shapley, store
from defocus_lib.batches import fitting
from defocus_lib.detector import Detector, load_detector
from defocus_lib.training import Plan

RESULTS = Path(__file__).parent / "results" / "shapley.csv"
ROUNDS, BACKGROUND, NODES, JUDGED = 5, 10, 200, 2  # nodes a background; images that the errors are means over
STEPS = (1, 5, 20)  # nodes between two gradients that are compared
MANY = 64  # images a pass, to show what that costs
THEIRS = "shap, 200 random samples"
OURS = {
    "50 stratified samples": {"samples": 50},
    "50 midpoint samples": {"samples": 50, "method": "midpoint"},
    "100 stratified samples": {"samples": 100},
    "150 stratified samples": {"samples": 150},
    "200 stratified samples": {"samples": 200},
}
HALF = {"precision": torch.bfloat16}
STAGES = ((96, 12), (0, 1))  # side in px, epochs: small images first, since full ones take long


def trained(folder: store.Folder, run: collection.Collection) -> Path:
    """The weights of an Xception that reads photographs; trained unless they are there."""
    path, weights = folder.path / "detector_rgb.safetensors", None
    for side, epochs in () if path.exists() else STAGES:
        plan = Plan(epochs, 16, 0.0005, "one_cycle", "bf16-mixed", monitor="val_auc", mirror=True)
        outcome = experiment.run(run.records, "rgb", run.reader, None, plan, "legacy_xception", side, weights)
        outcome.detector.side = 0  # it goes on with larger images
        weights = experiment.save(path, outcome, {"data": run.about.dataset})
    return path


def problem() -> tuple[Detector, torch.Tensor, torch.Tensor, float]:
    """The detector, manipulated test images, real training images, and its validation AUC."""
    folder = store.Folder.open("speed")
    run = collection.load(folder)
    detector, about = load_detector(trained(folder, run), reads="rgb")
    images = run.records.query(f"split == 'test' and manipulation == '{run.trained_on}'").head(ROUNDS)
    background = run.records.query("split == 'train' and label == 0").head(BACKGROUND)
    inputs, base = (
        explanation.stack("rgb", run.reader.stack(rows), [None] * len(rows)) for rows in (images, background)
    )
    detector = detector.requires_grad_(False).to(memory_format=torch.channels_last)
    return detector, inputs, base, about["validation"]["auc"]


class Integral(NamedTuple):
    """The midpoint rule with every background at every node, in single precision.

    Attributes
    ----------
    values : (H, W)
    alike : dict
        How two terms on one way correlate, less the mean of their way, by the nodes between them.
    """

    values: np.ndarray
    alike: dict[int, float]


def integral(detector: Detector, x: torch.Tensor, background: torch.Tensor) -> Integral:
    """The values of one image, and how fast its gradient changes along the way."""
    t = ((torch.arange(NODES) + 0.5) / NODES).view(-1, 1, 1, 1)
    ways, alike = [], []
    for b in tqdm(background, desc="integral of 2,000 nodes", unit="background"):
        points = (b + t * (x - b)).split(fitting(x[None]))
        terms = torch.cat([(x - b) * shapley._gradient(detector, part, torch.float32) for part in points]).sum(1)
        ways.append(terms.mean(0))
        terms -= ways[-1]
        alike.append([float((terms[:-step] * terms[step:]).mean() / terms.square().mean()) for step in STEPS])
    return Integral(torch.stack(ways).mean(0).numpy(), dict(zip(STEPS, np.mean(alike, axis=0), strict=True)))


def timed(explain: Callable, inputs: torch.Tensor) -> tuple[list[float], list[shapley.Attributions]]:
    """Seconds and values of each image, explained alone."""
    seconds, found = [], []
    for x in inputs:
        start = perf_counter()
        found.append(explain(inputs=x[None]))
        seconds.append(perf_counter() - start)
    return seconds, found


def bare(detector: Detector, shape: tuple[int, ...], gradients: int, batch: int) -> None:
    """Nothing but the forward and backward passes of so many gradients."""
    points = torch.rand(batch, *shape).to(memory_format=torch.channels_last)
    for _ in range(gradients // batch):
        here = points.clone().requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16):
            logits = detector(here)
        torch.autograd.grad(logits.float().sum(), here)


def overhead(detector: Detector, inputs: torch.Tensor, background: torch.Tensor, samples: int, batch: int) -> float:
    """Time of the values of all inputs together, in that of the bare forward and backward passes."""
    options = {"samples": samples, "batch_size": batch, "precision": torch.bfloat16}
    contestants = {
        "whole": partial(shapley.shapley_values, detector, inputs, background, **options),
        "bare": partial(bare, detector, inputs.shape[1:], len(inputs) * samples, batch),
    }
    seconds = medians(contestants, ROUNDS)
    return seconds["whole"] / seconds["bare"]


def crowding(detector: Detector, x: torch.Tensor) -> float:
    """Time of a gradient with many images a pass, in that with as many as fit."""
    few = fitting(x)
    batches = {"many": MANY, "few": few}
    seconds = medians({name: partial(bare, detector, x.shape[1:], MANY, size) for name, size in batches.items()}, 3)
    return seconds["many"] / seconds["few"]


def gflop(detector: Detector, x: torch.Tensor) -> float:
    """Operations of one gradient, forward and backward, in 10^9."""
    with FlopCounterMode(display=False) as counter:
        detector(x.clone().requires_grad_(True)).sum().backward()
    return counter.get_total_flops() / 1e9


def measured(detector: Detector, inputs: torch.Tensor, background: torch.Tensor) -> dict[str, float]:
    """What one gradient takes, and what everything around the gradients adds."""
    small = Detector("resnet10t", "rgb").eval().requires_grad_(False).to(memory_format=torch.channels_last)
    tiny, few = torch.rand(64, 3, 64, 64), fitting(inputs)
    return {
        "GFLOP a gradient": gflop(detector, inputs[:1]),
        "times the bare passes, legacy_xception at 299 px": overhead(detector, inputs[:2], background, 48, few),
        "times the bare passes, resnet10t at 64 px, 8 images a batch": overhead(small, tiny, tiny[:BACKGROUND], 8, 64),
        "images a pass": few,
        "times as long with 64 images a pass": crowding(detector, inputs[:1]),
    }


def main() -> None:
    detector, inputs, background, auc = problem()
    explain = partial(shapley.shapley_values, detector, background=background)
    ours = {f"{name}, bf16": partial(explain, **options, **HALF) for name, options in OURS.items()}
    single = {"50 stratified samples, fp32": partial(explain, samples=50)}
    contestants = {THEIRS: partial(explain, samples=200, method="shap"), **ours, **single}
    runs = {name: ([], []) for name in contestants}
    for x in tqdm(inputs, desc="images", unit="image"):  # in turn: a slow minute of the machine slows all of them
        for name, run in contestants.items():
            for kept, new in zip(runs[name], timed(run, x[None]), strict=True):
                kept.extend(new)
    facts = measured(detector, inputs, background) | {"validation AUC of the detector": auc}
    truth = [integral(detector, x, background) for x in inputs[:JUDGED]]
    facts |= {f"correlation {step / NODES} of the way apart": truth[0].alike[step] for step in STEPS}
    rows = [
        {
            "what": name,
            "seconds_per_image": round(float(np.median(seconds)), 2),
            "times_faster_than_shap": round(float(np.median(np.divide(runs[THEIRS][0], seconds))), 1),
            "relative_error": round(error(found, truth), 4),
            "completeness_gap": round(float(np.median([abs(one.gaps[0]) for one in found])), 4),
        }
        for name, (seconds, found) in runs.items()
    ]
    halves, singles = (runs[name][1] for name in ("50 stratified samples, bf16", *single))
    alike = [np.corrcoef(h.values.ravel(), s.values.ravel())[0, 1] for h, s in zip(halves, singles, strict=True)]
    facts["lowest correlation of bf16 with fp32"] = min(alike)
    RESULTS.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(RESULTS, index=False)
    pd.Series(facts, name="value").round(5).rename_axis("what").to_csv(RESULTS.with_name("shapley_facts.csv"))
    machine.note("shapley")
    print(pd.DataFrame(rows).to_string(index=False), *facts.items(), sep="\n")


def error(found: list[shapley.Attributions], truth: list[Integral]) -> float:
    """Root mean square error relative to the root mean square of the integral; mean over its images."""
    pairs = zip(found, truth, strict=False)
    return float(
        np.mean([np.linalg.norm(one.values[0] - true.values) / np.linalg.norm(true.values) for one, true in pairs])
    )


if __name__ == "__main__":
    main()
