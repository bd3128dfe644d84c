"""Time and error of Shapley values: ``python -m benchmarks.shapley``, after notebooks 01 and 02
of the profile ``speed``.

An Xception, trained here on scenes of 299 px with residual branches scaled by 0.1, is explained
in turn by ``shap.GradientExplainer`` with its 200 samples and by this project. In each round shap
explains one image; this project explains all of them in one call, as notebook 04 does. Errors are
against an integral of 2,000 nodes in single precision. Takes half an hour on two cores.
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
from defocus_lib.data import collection
from defocus_lib.detect import experiment
from defocus_lib.detect.control_inputs import Batch
from defocus_lib.detect.model import Detector, load_detector
from defocus_lib.detect.training import Plan
from defocus_lib.explain import expected_gradients, jobs
from defocus_lib.explain.expected_gradients import Compute
from defocus_lib.precision import fitting
from defocus_lib.run import artifacts

RESULTS = Path(__file__).parent / "results" / "shapley.csv"
ROUNDS, BACKGROUND = 5, 10
NODES = 200  # of the integral, per background
JUDGED = 2  # images that the errors are means over
STEPS = (1, 5, 20)  # nodes between two gradients that are compared
MANY = 64  # images per pass, to show what that costs
THEIRS = "shap, 200 random samples"
OURS = {
    "25 interpolated samples": {"n_samples": 25, "method": "interpolated"},
    "50 interpolated samples": {"n_samples": 50, "method": "interpolated"},
    "50 stratified samples": {"n_samples": 50},
    "100 stratified samples": {"n_samples": 100},
}
HALF = {"compute": Compute(precision=torch.bfloat16)}
PLAN = Plan(
    12,
    16,
    0.002,
    "one_cycle",
    "bf16-mixed",
    monitor="val_auc",
    horizontal_flip=True,
    residual_scale=0.1,
)


def trained(folder: artifacts.Folder, run: collection.Collection, plan: Plan) -> Path:
    """The weights of an Xception that reads photographs; trained unless they are there."""
    path = folder.path / f"detector_residual_{plan.residual_scale:g}.safetensors"
    if not path.exists():
        setup = experiment.Setup(run.records, "rgb", run.reader, None, plan, "legacy_xception")
        outcome = experiment.run(setup)
        experiment.save(path, outcome, {"data": run.about.dataset})
    return path


def problem(plan: Plan) -> tuple[Detector, torch.Tensor, torch.Tensor, float]:
    """The detector, manipulated test images, real training images, and its validation AUC."""
    folder = artifacts.Folder.open("speed")
    run = collection.load(folder)
    detector, about = load_detector(trained(folder, run, plan), reads="rgb")
    images = run.records.query(
        f"split == 'test' and manipulation == '{run.training_manipulation}'"
    ).head(ROUNDS)
    background = run.records.query("split == 'train' and label == 0").head(BACKGROUND)
    inputs, base = (
        jobs.inputs_of(detector, Batch(rows, run.reader, None)) for rows in (images, background)
    )
    detector = detector.requires_grad_(False).to(memory_format=torch.channels_last)
    return detector, inputs, base, about["validation"]["auc"]


class Integral(NamedTuple):
    """The midpoint rule with every background at every node, in single precision.

    Attributes
    ----------
    values : (H, W)
    correlations : dict
        Of two terms on one path, less the mean of their path, by the nodes between them.
    """

    values: np.ndarray
    correlations: dict[int, float]


def integral(detector: Detector, x: torch.Tensor, background: torch.Tensor) -> Integral:
    """The values of one image, and how fast its gradient changes along the path."""
    t = ((torch.arange(NODES) + 0.5) / NODES).view(-1, 1, 1, 1)
    paths, correlations = [], []
    for b in tqdm(background, desc="integral of 2,000 nodes", unit="background"):
        points = (b + t * (x - b)).split(fitting(x[None]))
        terms = torch.cat(
            [
                (x - b) * expected_gradients._gradient(detector, part, torch.float32)
                for part in points
            ]
        ).sum(1)
        paths.append(terms.mean(0))
        terms -= paths[-1]
        correlations.append(
            [float((terms[:-step] * terms[step:]).mean() / terms.square().mean()) for step in STEPS]
        )
    by_step = dict(zip(STEPS, np.mean(correlations, axis=0), strict=True))
    return Integral(torch.stack(paths).mean(0).numpy(), by_step)


def timed(explain: Callable, inputs: torch.Tensor) -> tuple[float, expected_gradients.Attributions]:
    """Seconds per image, and the values."""
    start = perf_counter()
    found = explain(inputs=inputs)
    return (perf_counter() - start) / len(inputs), found


def lowest_correlation(half: np.ndarray, single: np.ndarray) -> float:
    """Of values in half precision with those in single precision, over the images."""
    return min(np.corrcoef(h.ravel(), s.ravel())[0, 1] for h, s in zip(half, single, strict=True))


def bare(detector: Detector, shape: tuple[int, ...], gradients: int, batch: int) -> None:
    """Nothing but the forward and backward passes of so many gradients."""
    points = torch.rand(batch, *shape).to(memory_format=torch.channels_last)
    for _ in range(gradients // batch):
        here = points.clone().requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16):
            logits = detector(here)
        torch.autograd.grad(logits.float().sum(), here)


def overhead(
    detector: Detector, inputs: torch.Tensor, background: torch.Tensor, samples: int, batch: int
) -> float:
    """Time of the values of all inputs, in multiples of the bare forward and backward passes."""
    options = {"n_samples": samples, "compute": Compute(batch, torch.bfloat16)}
    contestants = {
        "whole": partial(
            expected_gradients.shapley_values, detector, inputs, background, **options
        ),
        "bare": partial(bare, detector, inputs.shape[1:], len(inputs) * samples, batch),
    }
    seconds = medians(contestants, ROUNDS)
    return seconds["whole"] / seconds["bare"]


def crowding(detector: Detector, x: torch.Tensor) -> float:
    """Time of a gradient with many images per pass, in multiples of that with as many as fit."""
    few = fitting(x)
    batches = {"many": MANY, "few": few}
    seconds = medians(
        {name: partial(bare, detector, x.shape[1:], MANY, size) for name, size in batches.items()},
        3,
    )
    return seconds["many"] / seconds["few"]


def gflop(detector: Detector, x: torch.Tensor) -> float:
    """Operations of one gradient, forward and backward, in 10^9."""
    with FlopCounterMode(display=False) as counter:
        detector(x.clone().requires_grad_(True)).sum().backward()
    return counter.get_total_flops() / 1e9


def measured(
    detector: Detector, inputs: torch.Tensor, background: torch.Tensor
) -> dict[str, float]:
    """What one gradient takes, and what everything around the gradients adds."""
    small = (
        Detector("resnet10t", "rgb")
        .eval()
        .requires_grad_(False)
        .to(memory_format=torch.channels_last)
    )
    tiny, few = torch.rand(64, 3, 64, 64), fitting(inputs)
    return {
        "GFLOP per gradient": gflop(detector, inputs[:1]),
        "times the bare passes, legacy_xception at 299 px": overhead(
            detector, inputs[:2], background, 48, few
        ),
        "times the bare passes, resnet10t at 64 px, 8 images per batch": overhead(
            small, tiny, tiny[:BACKGROUND], 8, 64
        ),
        "images per pass": few,
        "times as long with 64 images per pass": crowding(detector, inputs[:1]),
    }


def main() -> None:
    detector, inputs, background, auc = problem(PLAN)
    explain = partial(expected_gradients.shapley_values, detector, background=background)
    ours = {f"{name}, bf16": partial(explain, **options, **HALF) for name, options in OURS.items()}
    single = "50 stratified samples, fp32"
    contestants = {
        THEIRS: partial(explain, n_samples=200, method="shap"),
        **ours,
        single: partial(explain, n_samples=50),
    }
    seconds, values, errors = ({name: [] for name in contestants} for _ in range(3))
    for n in tqdm(
        range(ROUNDS), unit="round"
    ):  # in turn: a slow minute of the machine slows all of them
        for name, run in contestants.items():
            took, found = timed(run, inputs[[n]] if name == THEIRS else inputs)
            seconds[name].append(took)
            if name == THEIRS or n == 0:  # ours are the same in all rounds
                values[name].extend(found.values)
                errors[name].extend(found.completeness_errors)
    truth = [integral(detector, x, background) for x in inputs[:JUDGED]]
    rows = [
        {
            "what": name,
            "seconds_per_image": round(float(np.median(seconds[name])), 2),
            "times_faster_than_shap": round(
                float(np.median(np.divide(seconds[THEIRS], seconds[name]))), 1
            ),
            "relative_error": round(error(values[name], truth), 4),
            "completeness_error": round(float(np.median(np.abs(errors[name]))), 4),
        }
        for name in contestants
    ]
    facts = {
        **measured(detector, inputs, background),
        "validation AUC": auc,
        **{
            f"correlation {step / NODES} of the path apart": truth[0].correlations[step]
            for step in STEPS
        },
        "lowest correlation of bf16 with fp32": lowest_correlation(
            values["50 stratified samples, bf16"], values[single]
        ),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(RESULTS, index=False)
    pd.Series(facts, name="value").round(5).rename_axis("what").to_csv(
        RESULTS.with_name("shapley_facts.csv")
    )
    machine.note("shapley")
    print(pd.DataFrame(rows).to_string(index=False), *facts.items(), sep="\n")


def error(found: list[np.ndarray], truth: list[Integral]) -> float:
    """Root mean square error relative to that of the integral; mean over its images."""
    pairs = zip(found, truth, strict=False)
    return float(
        np.mean(
            [np.linalg.norm(one - true.values) / np.linalg.norm(true.values) for one, true in pairs]
        )
    )


if __name__ == "__main__":
    main()
