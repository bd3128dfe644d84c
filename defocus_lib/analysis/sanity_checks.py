"""Do Shapley values depend on the detector's weights, and do their highest pixels move its logit?

Both tests are those of Quantus (Hedström et al. 2023). *Parameter randomisation* (MPRT, Adebayo et
al. 2018, arXiv 1810.03292): the more weights are random, the less the values should resemble those
of the trained detector. *Deletion and insertion* (pixel flipping, Bach et al. 2015, doi
10.1371/journal.pone.0130140): replacing the pixels with the largest values first should lower the
logit fastest.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from torch import nn

from defocus_lib.analysis.faithfulness import Explainer, blocks, rank_correlation
from defocus_lib.checks import check_maps
from defocus_lib.detect.model import Detector
from defocus_lib.explain.expected_gradients import Averages
from defocus_lib.stats.bootstrap import Estimate, bootstrap_mean, bootstrap_ratio

ORDERS = {
    "own": "its own values",
    "other": "those of another image",
    "random": "random order",
}
QUANTUS: dict[str, Any] = {
    "abs": False,
    "normalise": False,
    "disable_warnings": True,
    "display_progressbar": False,
}


@contextmanager
def _global_generators_restored() -> Iterator[None]:
    """Quantus seeds the generator of torch, and draws from those of numpy and Python."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


class _Part(nn.Module):
    """Layers that are randomised together; a tuple hides them, so that torch finds none twice."""

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__()
        self.layers = tuple(layers)

    def reset_parameters(self) -> None:
        for layer in self.layers:
            layer.reset_parameters()


class _InParts(nn.Module):
    """A detector whose layers with weights are cut into parts, each of which Quantus randomises."""

    def __init__(self, detector: nn.Module, parts: int) -> None:
        super().__init__()
        layers = [layer for layer in detector.modules() if hasattr(layer, "reset_parameters")]
        cuts = np.array_split(np.arange(len(layers)), min(parts, len(layers)))
        self.parts = nn.ModuleList(_Part([layers[row] for row in rows]) for rows in cuts)
        self.sizes = [len(rows) for rows in cuts]
        self.hidden = (detector,)
        if isinstance(detector, Averages):
            self.averaged = detector.averaged

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.hidden[0](inputs)

    def shares(self) -> np.ndarray:
        """Share of the layers that is random before the first step and after each."""
        return np.cumsum([0, *reversed(self.sizes)]) / sum(self.sizes)


def _both_correlations(first: np.ndarray, second: np.ndarray, batched: bool = True) -> np.ndarray:
    """Spearman's correlation of the values and of their magnitudes: (N, D) twice to (N, 2)."""
    first, second = first[:, None], second[:, None]
    pair = rank_correlation(first, second), rank_correlation(np.abs(first), np.abs(second))
    return np.stack(pair, axis=1)


def randomisation(
    explainer: Explainer, n_samples: int, parts: int = 8, seed: int = 0
) -> pd.DataFrame:
    """Rank correlation with the trained detector's values while weights become random (MPRT).

    Layers with weights are randomised from the output to the input in ``parts`` of about equal
    number; the detector itself is left as it is. Every step takes the same samples, so that only
    the weights change. One row per step and image: ``randomised`` (share of the layers, from 0),
    ``image``, and Spearman's correlation of the ``values`` and of their ``magnitudes``.
    """
    from quantus import MPRT

    def explain(
        model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object
    ) -> np.ndarray:
        step = replace(explainer, detector=model, inputs=torch.from_numpy(inputs))
        return step.values(n_samples, seed=seed).values[:, None]

    model = _InParts(explainer.detector, parts).eval()
    metric: Any = MPRT(
        similarity_func=_both_correlations, layer_order="top_down", seed=seed, **QUANTUS
    )
    inputs = explainer.inputs.numpy()
    targets = np.zeros(len(inputs), dtype=int)
    options = {"channel_first": True, "explain_func": explain, "batch_size": len(inputs)}
    with _global_generators_restored():
        steps = metric(model, inputs, targets, **options)
    tables = [
        pd.DataFrame(correlations, columns=["values", "magnitudes"]).assign(
            randomised=share, image=np.arange(len(inputs))
        )
        for share, correlations in zip(model.shares(), steps.values(), strict=True)
    ]
    return pd.concat(tables, ignore_index=True)


def share_left(
    randomised: ArrayLike,
    repeated: ArrayLike,
    groups: ArrayLike,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Mean correlation (N,) left by random weights over that between two seeds, by group.

    Images with an undefined correlation, those of a constant map, do not count.
    """
    table = pd.DataFrame(
        {"left": np.asarray(randomised), "repeated": np.asarray(repeated), "group": groups}
    ).dropna()
    return bootstrap_ratio(table["left"], table["repeated"], table["group"], n_bootstrap, seed)


def untrained_values(
    explainer: Explainer, n_samples: int, networks: int = 4, seed: int = 0
) -> np.ndarray:
    """Shapley values (N, H, W) of the same network with random weights.

    They depend on images and backgrounds alone. The images take turns with so many ``networks``;
    ``seed`` is that of the first one, and the others count on.
    """
    trained, images = cast(Detector, explainer.detector), len(explainer.inputs)
    values = np.empty((images, *explainer.inputs.shape[2:]), np.float32)
    for turn in range(min(networks, images)):
        settings = trained.backbone, trained.reads, trained.input_size, seed + turn
        network = Detector(*settings, normalisation=trained.normalisation)
        network.scale_as(trained.scaling)
        network = network.requires_grad_(False).to(memory_format=torch.channels_last)
        rows = slice(turn, None, networks)
        part = replace(explainer.take(rows), detector=network)
        values[rows] = part.values(n_samples, seed=seed).values
    return values


class _Composed(nn.Module):
    """A detector that reads masks: 1 shows the input, 0 a background, each in turn.

    Quantus flips entries of the mask. So all channels of a pixel go together, and the curve runs
    from ``f(x)`` to ``E f(background)``, the two ends of completeness.
    """

    def __init__(self, explainer: Explainer) -> None:
        super().__init__()
        self.explainer = explainer

    def forward(self, masks: torch.Tensor) -> torch.Tensor:
        """Masks (N, 1, H, W) to the mean logit over the backgrounds, (N, 1)."""
        detector, inputs = self.explainer.detector, self.explainer.inputs
        logits = [
            detector(masks * inputs + (1 - masks) * background)
            for background in self.explainer.background
        ]
        return torch.stack(logits).mean(0)


def _pixels_per_step(pixels: int, steps: int) -> int:
    """The largest divisor of ``pixels`` that makes enough steps; Quantus wants equal ones."""
    return next(size for size in range(max(1, pixels // steps), 0, -1) if pixels % size == 0)


def deletion(explainer: Explainer, scores: ArrayLike, steps: int = 16) -> np.ndarray:
    """Logit while pixels are replaced by the backgrounds, the highest (N, H, W) ``scores`` first.

    (N, steps + 1) float64 in logits, from nothing replaced to everything in equal steps; more steps
    if the number of pixels is not divisible by ``steps``. Raises ValueError if the scores do not
    fit the inputs, or hold NaN.
    """
    from quantus import PixelFlipping

    scores = check_maps("scores", scores)
    shape = (len(explainer.inputs), *explainer.inputs.shape[2:])
    if scores.shape != shape:
        raise ValueError(f"scores has shape {scores.shape}; {shape} wanted, as the inputs have")
    model = _Composed(explainer).eval()
    masks = np.ones((len(scores), 1, *scores.shape[1:]), np.float32)
    targets = np.zeros(len(scores), dtype=int)
    pixels = _pixels_per_step(scores[0].size, steps)
    options = QUANTUS | {"features_in_step": pixels, "perturb_baseline": 0.0}
    metric: Any = PixelFlipping(**options)
    # As ranks: Quantus refuses scores that are all negative, or all equal.
    ranks = rankdata(scores.reshape(len(scores), -1), method="ordinal", axis=1)
    ranks = ranks.reshape(masks.shape).astype(np.float64)
    call = {"channel_first": True, "softmax": False, "batch_size": len(scores)}
    with _global_generators_restored():
        curves = metric(model, masks, targets, ranks, **call)
    with torch.no_grad():
        start = model(torch.from_numpy(masks))
    return np.concatenate([start.numpy(), np.asarray(curves)], axis=1).astype(np.float64)


def insertion(explainer: Explainer, scores: ArrayLike, steps: int = 16) -> np.ndarray:
    """Logit while pixels of the input replace those of the backgrounds, the highest scores first.

    It is the deletion of the lowest scores first, read backwards. Arguments and result as
    :func:`deletion`.
    """
    return deletion(explainer, -check_maps("scores", scores), steps)[:, ::-1]


def block_scores(values: ArrayLike, side: int) -> np.ndarray:
    """Mean of the block of ``side`` px that each pixel lies in: (N, H, W).

    Ordered by it, blocks are replaced whole. Mosaics of single pixels are unlike any
    photograph, and a detector may react to their seams alone. What is left at the lower and right
    border goes with the last blocks.
    """
    means = blocks(values, side)
    whole = means.repeat(side, axis=1).repeat(side, axis=2)
    rest = [(0, long - short) for long, short in zip(np.shape(values), whole.shape, strict=True)]
    return np.pad(whole, rest, mode="edge")


def removal_table(
    explainer: Explainer, values: ArrayLike, steps: int = 16, side: int = 16, seed: int = 0
) -> pd.DataFrame:
    """Deletion and insertion of blocks, in the order of the (N, H, W) values and in two others.

    ``other`` takes the values of the next input, an order as smooth as the right one; ``random`` is
    seeded. One row per ``order`` (a key of :data:`ORDERS`), ``curve`` ("deletion" or "insertion"),
    ``image`` (row) and ``share`` of the pixels replaced: its ``logit``.
    """
    values = check_maps("values", values)
    orders = {
        "own": values,
        "other": np.roll(values, 1, axis=0),
        "random": np.random.default_rng(seed).random(values.shape),
    }
    parts = []
    for order, scores in orders.items():
        for name, curve_of in (("deletion", deletion), ("insertion", insertion)):
            curves = curve_of(explainer, block_scores(scores, side), steps)
            image, step = np.indices(curves.shape).reshape(2, -1)
            share = step / (curves.shape[1] - 1)
            about = {"order": order, "curve": name, "image": image, "share": share}
            parts.append(pd.DataFrame(about | {"logit": curves.ravel()}))
    return pd.concat(parts, ignore_index=True)


def removal_areas(table: pd.DataFrame) -> pd.DataFrame:
    """Area between the two curves of :func:`removal_table`, in logits: (images, orders).

    An order that does not depend on the detector has 0 on average.
    """
    curves = table.set_index(["order", "image", "curve", "share"])["logit"].unstack("share")
    means = np.trapezoid(curves.to_numpy(), curves.columns.to_numpy(), axis=1)
    areas = pd.Series(means, curves.index).unstack("curve")
    return (areas["insertion"] - areas["deletion"]).unstack("order")[list(ORDERS)]


def removal_summary(
    areas: Mapping[str, pd.DataFrame], groups: ArrayLike, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Mean :func:`removal_areas` of each detector and order, in logits, one row per detector.

    ``excess`` is the mean of its own order less that of the better of the other two, ``low`` and
    ``high`` its 95 % interval over the groups of the images.
    """
    rows = {}
    for detector, table in areas.items():
        best = table[["other", "random"]].mean().idxmax()
        excess = bootstrap_mean(table["own"] - table[best], groups, n_bootstrap, seed)
        interval = zip(("excess", "low", "high"), excess.scalars, strict=True)
        rows[detector] = {**table.mean(), **dict(interval)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("detector")


def nonlinearity(table: pd.DataFrame) -> tuple[float, float]:
    """Distance of the mean random-order deletion curve from a line, and of its ends, in logits.

    The first is the largest distance from the line between the ends. If blocks added up, each
    replaced one would take its share on average. The rest is the reaction to a mosaic of two
    images.
    """
    curves = table[(table["order"] == "random") & (table["curve"] == "deletion")]
    mean = curves.groupby("share")["logit"].mean()
    line = np.interp(mean.index, [0, 1], mean.iloc[[0, -1]])
    return float(np.abs(mean - line).max()), float(abs(mean.iloc[0] - mean.iloc[-1]))
