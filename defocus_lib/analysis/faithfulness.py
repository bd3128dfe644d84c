"""How exact Shapley values are: error by number of samples, agreement of seeds, completeness.

The values are averages over random samples (see :mod:`defocus_lib.explain.expected_gradients`), so
that their error falls with the number of samples. It is measured against values from many samples,
pixel by pixel and after averaging over blocks: the gradient of a network of rectifiers jumps from
pixel to pixel, and part of that averages out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.data.collection import Collection
from defocus_lib.detect.control_inputs import Batch
from defocus_lib.detect.model import load_detector
from defocus_lib.explain.attribution_set import ImageSet
from defocus_lib.explain.expected_gradients import Attributions, Compute, shapley_values
from defocus_lib.explain.jobs import inputs_of
from defocus_lib.maps.cache import MapCache

BLOCK = 8
"""Side in px of the blocks that values are averaged over."""
METHODS = ("random", "stratified", "interpolated")


@dataclass(frozen=True)
class Explainer:
    """A detector, the inputs that are explained, and the backgrounds that they are compared with.

    ``detector`` maps (B, C, H, W) to logits (B, 1); ``inputs`` (N, C, H, W) and ``background``
    (K, C, H, W) are float tensors in [0, 1].
    """

    detector: nn.Module
    inputs: torch.Tensor
    background: torch.Tensor
    compute: Compute = field(default_factory=Compute)

    def take(self, rows: slice) -> Explainer:
        """The same for some of the inputs."""
        return replace(self, inputs=self.inputs[rows])

    def values(self, n_samples: int, method: str = "stratified", seed: int = 0) -> Attributions:
        """Shapley values of all inputs."""
        return shapley_values(
            self.detector, self.inputs, self.background, n_samples, seed, method, self.compute
        )


def load_explainers(
    run: Collection,
    cache: MapCache,
    detectors: Mapping[str, Path],
    ids: Sequence[str],
    meta: Mapping,
) -> dict[str, Explainer]:
    """What notebook 04 explained of the images ``ids``, by detector.

    ``detectors`` are the weights of "defocus" and "rgb"; ``meta`` is what the shards say:
    ``background`` (a number of images), ``batch_size``, ``precision``, ``preset``. Raises KeyError
    if an id is not among the records, ValueError if the weights of the defocus detector are for
    other maps.
    """
    chosen = run.records.set_index("id", drop=False).loc[list(ids)].reset_index(drop=True)
    compared = run.records.query("split == 'train' and label == 0").head(meta["background"])
    read, background = (Batch(rows, run.reader, cache) for rows in (chosen, compared))
    compute = Compute(meta["batch_size"], getattr(torch, meta["precision"]))
    explainers = {}
    for reads, path in detectors.items():
        preset = {"preset": meta["preset"]} if reads == "defocus" else {}
        detector = load_detector(path, reads=reads, **preset)[0].requires_grad_(False)
        explainers[reads] = Explainer(
            detector.to(memory_format=torch.channels_last),
            inputs_of(detector, read),
            inputs_of(detector, background),
            compute,
        )
    return explainers


def round_robin(sets: Mapping[str, ImageSet], images: int) -> list[str]:
    """Ids of at most ``images`` images: one of each set in turn, each further on in its set."""
    kinds = list(sets.values())
    places = (kinds[number % len(kinds)].ids[number:] for number in range(images))
    return [str(rest[0]) for rest in places if len(rest)]


def saved_values(sets: Mapping[str, ImageSet], ids: Sequence[str], detector: str) -> np.ndarray:
    """The saved Shapley values of these images, whatever set each is in: (N, H, W), in logits."""
    owners = {name: images for images in sets.values() for name in images.ids.tolist()}
    array = f"{detector}_shaps"
    parts = [owners[name].take(np.flatnonzero(owners[name].ids == name), array) for name in ids]
    return np.concatenate([getattr(part, array) for part in parts])


def blocks(maps: ArrayLike, side: int = BLOCK) -> np.ndarray:
    """Means over squares of ``side`` px, (N, H // side, W // side); the rest is dropped.

    Raises ValueError if the stack is empty or holds NaN, or no square fits into it.
    """
    maps = check_maps("maps", maps)
    if not 1 <= side <= min(maps.shape[1:]):
        raise ValueError(f"side is {side}; 1 to {min(maps.shape[1:])} px wanted")
    return F.avg_pool2d(torch.from_numpy(maps.astype(np.float64)), side).numpy()


def relative_error(values: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """Root mean square of ``values - reference`` over that of ``reference``, per image: (N,).

    NaN where ``reference`` is 0 everywhere. Raises ValueError if the shapes differ, or a stack is
    empty or holds NaN.
    """
    values, reference = check_maps("values", values), check_maps("reference", reference)
    check_same_shape(values=values, reference=reference)
    size = np.sqrt((reference.astype(np.float64) ** 2).mean((1, 2)))
    error = np.sqrt((np.subtract(values, reference, dtype=np.float64) ** 2).mean((1, 2)))
    return np.divide(error, size, out=np.full(len(size), np.nan), where=size > 0)


def rank_correlation(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Spearman's correlation over the pixels of each image: (N,); NaN where a map is constant.

    Raises ValueError if the shapes differ, or a stack is empty or holds NaN.
    """
    first, second = check_maps("first", first), check_maps("second", second)
    check_same_shape(first=first, second=second)
    constant = (np.ptp(first, axis=(1, 2)) == 0) | (np.ptp(second, axis=(1, 2)) == 0)
    correlations = [
        np.nan if undefined else spearmanr(before.ravel(), after.ravel()).statistic
        for undefined, before, after in zip(constant, first, second, strict=True)
    ]
    return np.array(correlations)


def spearman_brown(reliability: float) -> float:
    """Reliability of the mean of two such measurements (Spearman 1910; Brown 1910)."""
    return 2 * reliability / (1 + reliability)


def parse_counts(text: str) -> tuple[int, ...]:
    """``"200, 8"`` -> ``(8, 200)``, ascending; ValueError if an item is no positive integer."""
    items = text.replace(",", " ").split()
    if not items or not all(item.isdecimal() and int(item) > 0 for item in items):
        raise ValueError(f"counts is {text!r}; positive whole numbers separated by commas wanted")
    return tuple(sorted(map(int, items)))


def error_table(
    explainer: Explainer,
    counts: Sequence[int],
    reference: int,
    repetitions: int = 1,
    seed: int = 0,
    side: int = BLOCK,
) -> pd.DataFrame:
    """Error of the values against the number of samples, for each of METHODS.

    The values are compared with stratified ones of ``reference`` samples and of ``seed``, whose own
    error adds to what is measured; the repetitions take the seeds that follow. One row per method,
    number of samples, repetition and image: ``method``, ``n_samples``, ``repetition``, ``image``
    (row), ``pixels`` and ``blocks`` of ``side`` px (relative errors), ``completeness error`` and
    ``explained`` (absolute values, in logits).
    """
    truth = explainer.values(reference, seed=seed).values
    parts = []
    for method, n_samples, repetition in product(METHODS, counts, range(repetitions)):
        attributions = explainer.values(n_samples, method, seed + 1 + repetition)
        setting = {"method": method, "n_samples": n_samples, "repetition": repetition}
        measured = {
            "image": np.arange(len(truth)),
            "pixels": relative_error(attributions.values, truth),
            "blocks": relative_error(blocks(attributions.values, side), blocks(truth, side)),
            "completeness error": np.abs(attributions.completeness_errors),
            "explained": np.abs(attributions.completeness_errors + attributions.values.sum((1, 2))),
        }
        parts.append(pd.DataFrame(setting | measured))
    return pd.concat(parts, ignore_index=True)


def error_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over images and repetitions of :func:`error_table`, with a column ``detector`` added.

    Index ``detector``, ``method``, ``n_samples``; columns ``pixels``, ``blocks`` (mean relative
    errors) and ``completeness error``: that of all images together over what they should explain.
    """
    columns = ["pixels", "blocks", "completeness error", "explained"]
    means = table.groupby(["detector", "method", "n_samples"], sort=False)[columns].mean()
    means["completeness error"] /= means["explained"]
    return means.drop(columns="explained")


def fewest_samples(summary: pd.DataFrame, column: str = "blocks") -> pd.DataFrame:
    """The smallest number of samples as exact as the largest number of random ones.

    One row per detector, one column per method. ``summary`` is what :func:`error_summary`
    returns; <NA> where no number that was tried is as exact.
    """
    errors = summary[column].unstack("method", sort=False)
    random = errors["random"].groupby("detector", sort=False).transform("last")
    n_samples = errors.index.get_level_values("n_samples").to_series(errors.index)
    enough = pd.DataFrame({name: n_samples.where(errors[name] <= random) for name in errors})
    return enough.groupby("detector", sort=False).min().astype("Int64")


def repeat_table(
    explainer: Explainer, n_samples: int, method: str, seed: int = 0, side: int = BLOCK
) -> pd.DataFrame:
    """Spearman's correlation between the values of ``seed`` and of the next seed.

    One row per image; columns ``values`` and ``magnitudes`` (absolute values) over the pixels, and
    ``blocks`` of ``side`` px.
    """
    first, second = (
        explainer.values(n_samples, method, number).values for number in (seed, seed + 1)
    )
    return pd.DataFrame(
        {
            "values": rank_correlation(first, second),
            "magnitudes": rank_correlation(np.abs(first), np.abs(second)),
            "blocks": rank_correlation(blocks(first, side), blocks(second, side)),
        }
    )
