"""How exact Shapley values are: error against samples, completeness, and whether another seed says the same.

The values are averages over random draws (see :mod:`defocus_lib.explain.expected_gradients`). More draws make them more exact; how many
are enough is measured here against a reference of many draws, pixel by pixel and after averaging over blocks: the
gradient of a network of rectifiers jumps from pixel to pixel, and some of that averages out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.stats import spearmanr
from torch.nn import functional as F

from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.data.collection import Collection
from defocus_lib.detect.model import Detector, load_detector
from defocus_lib.explain.attribution_set import ImageSet
from defocus_lib.explain.expected_gradients import Attributions, Compute, shapley_values
from defocus_lib.explain.jobs import stack
from defocus_lib.maps.cache import MapCache

BLOCK = 8
"""Side in px of the blocks that values are averaged over."""
METHODS = ("random", "stratified", "interpolated")


@dataclass(frozen=True)
class Question:
    """What is explained, of one detector.

    Attributes
    ----------
    detector : callable
        ``(B, C, H, W)`` to logits ``(B, 1)``.
    inputs : (N, C, H, W) float tensor in [0, 1]
    background : (K, C, H, W) float tensor in [0, 1]
    compute : Compute
    """

    detector: Detector
    inputs: torch.Tensor
    background: torch.Tensor
    compute: Compute = field(default_factory=Compute)

    def head(self, images: int) -> Question:
        """The same for the first ``images`` inputs."""
        return Question(self.detector, self.inputs[:images], self.background, self.compute)

    def only(self, image: int) -> Question:
        """The same for one input."""
        return Question(
            self.detector, self.inputs[image : image + 1], self.background, self.compute
        )

    def values(self, samples: int, method: str = "stratified", seed: int = 0) -> Attributions:
        """Its Shapley values."""
        return shapley_values(
            self.detector,
            self.inputs,
            self.background,
            samples,
            seed,
            method,
            self.compute,
        )


def round_robin(sets: Mapping[str, ImageSet], images: int) -> list[str]:
    """Ids of at most ``images`` images: one of each set in turn, each from a later place of its set than the last.

    Parameters
    ----------
    sets : mapping of str to set
    images : int
    """
    kinds = list(sets.values())
    places = (kinds[number % len(kinds)].ids[number:] for number in range(images))
    return [str(left[0]) for left in places if len(left)]


def saved_values(sets: Mapping[str, ImageSet], ids: Sequence[str], detector: str) -> np.ndarray:
    """The saved Shapley values of these images, from whatever set each is in: ``(N, H, W)``, in logits."""
    of = {name: images for images in sets.values() for name in images.ids.tolist()}
    name = f"{detector}_shaps"
    return np.concatenate(
        [getattr(of[one].take(np.flatnonzero(of[one].ids == one), name), name) for one in ids]
    )


def questions(
    run: Collection,
    cache: MapCache,
    detectors: Mapping[str, Path],
    ids: Sequence[str],
    meta: Mapping,
) -> dict[str, Question]:
    """What notebook 04 explained of these images, by detector.

    Parameters
    ----------
    run : Collection
    cache : MapCache
        Holds the maps of its images.
    detectors : mapping of {"defocus", "rgb"} to Path
        The weights.
    ids : sequence of str
    meta : mapping
        What the shards say: ``background`` (a number of images), ``batch_size``, ``precision``, ``preset``.

    Raises
    ------
    KeyError
        If an id is not among the records.
    ValueError
        If the weights of the defocus detector are for other maps.
    """
    chosen = run.records.set_index("id", drop=False).loc[list(ids)].reset_index(drop=True)
    compared = run.records.query("split == 'train' and label == 0").head(meta["background"])
    (images, maps), (behind, behind_maps) = (
        (run.reader.stack(records), cache.stack(records)[0]) for records in (chosen, compared)
    )
    compute = Compute(meta["batch_size"], getattr(torch, meta["precision"]))
    found = {}
    for reads, path in detectors.items():
        wanted = {"preset": meta["preset"]} if reads == "defocus" else {}
        model = load_detector(path, reads=reads, **wanted)[0].requires_grad_(False)
        model = model.to(memory_format=torch.channels_last)
        found[reads] = Question(
            model, stack(reads, images, maps), stack(reads, behind, behind_maps), compute
        )
    return found


def untrained_values(
    question: Question, samples: int, networks: int = 4, seed: int = 0
) -> np.ndarray:
    """Shapley values of the same network with random weights: what the images and backgrounds alone would give.

    Parameters
    ----------
    question : Question
        Of a :class:`defocus_lib.detect.model.Detector`.
    samples : int
        Gradients an image.
    networks : int
        How many networks there are; the images take turns.
    seed : int
        Of the first network; the others count on.

    Returns
    -------
    (N, H, W) float32 array
    """
    trained, count = question.detector, len(question.inputs)
    values = np.empty((count, *question.inputs.shape[2:]), np.float32)
    for turn in range(min(networks, count)):
        network = Detector(
            trained.backbone, trained.reads, trained.input_size, seed + turn
        ).requires_grad_(False)
        network = network.to(memory_format=torch.channels_last)
        rows = slice(turn, None, networks)
        part = Question(network, question.inputs[rows], question.background, question.compute)
        values[rows] = part.values(samples, seed=seed).values
    return values


def blocks(maps: ArrayLike, side: int = BLOCK) -> np.ndarray:
    """Means over squares of ``side`` px: ``(N, H // side, W // side)``; what is left at the border is dropped.

    Raises
    ------
    ValueError
        If the stack is empty or holds NaN, or no square fits into it.
    """
    maps = check_maps("maps", maps)
    if not 1 <= side <= min(maps.shape[1:]):
        raise ValueError(f"side is {side}; 1 to {min(maps.shape[1:])} px wanted")
    return F.avg_pool2d(torch.from_numpy(maps.astype(np.float64)), side).numpy()


def relative_error(values: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """Root mean square of ``values - reference`` over that of the reference, image by image.

    Parameters
    ----------
    values, reference : (N, H, W) array_like

    Returns
    -------
    (N,) float64 array; NaN where the reference is 0 everywhere.

    Raises
    ------
    ValueError
        If the shapes differ, or a stack is empty or holds NaN.
    """
    values, reference = check_maps("values", values), check_maps("reference", reference)
    check_same_shape(values=values, reference=reference)
    size = np.sqrt((reference.astype(np.float64) ** 2).mean((1, 2)))
    wrong = np.sqrt((np.subtract(values, reference, dtype=np.float64) ** 2).mean((1, 2)))
    return np.divide(wrong, size, out=np.full(len(size), np.nan), where=size > 0)


def rank_correlation(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Spearman's correlation over the pixels, image by image: ``(N,)``; NaN where a map is constant.

    Raises
    ------
    ValueError
        If the shapes differ, or a stack is empty or holds NaN.
    """
    first, second = check_maps("first", first), check_maps("second", second)
    check_same_shape(first=first, second=second)
    flat = zip(first.reshape(len(first), -1), second.reshape(len(second), -1), strict=True)
    constant = (np.ptp(first, axis=(1, 2)) == 0) | (np.ptp(second, axis=(1, 2)) == 0)
    return np.array(
        [
            np.nan if c else spearmanr(*pair).statistic
            for c, pair in zip(constant, flat, strict=True)
        ]
    )


def spearman_brown(reliability: ArrayLike) -> np.ndarray:
    """Reliability of the mean of two measurements that correlate by ``reliability`` (Spearman 1910; Brown 1910)."""
    reliability = np.asarray(reliability, dtype=np.float64)
    return 2 * reliability / (1 + reliability)


def parse_counts(text: str) -> tuple[int, ...]:
    """``"8, 48, 200"`` -> ``(8, 48, 200)``, in ascending order.

    Raises
    ------
    ValueError
        If an item is no positive whole number, or there is none.
    """
    items = text.replace(",", " ").split()
    if not items or not all(item.isdecimal() and int(item) > 0 for item in items):
        raise ValueError(f"counts is {text!r}; positive whole numbers separated by commas wanted")
    return tuple(sorted(map(int, items)))


def error_table(
    question: Question,
    counts: Sequence[int],
    reference: int,
    seeds: int = 1,
    seed: int = 0,
    side: int = BLOCK,
) -> pd.DataFrame:
    """Error of the values against the number of samples, for each of METHODS.

    Parameters
    ----------
    question : Question
    counts : sequence of int
        Samples an image.
    reference : int
        Samples of the stratified values that the others are compared with; their own error adds to what is measured.
    seeds : int
        Repetitions.
    seed : int
        Of the reference; the repetitions take the following ones.
    side : int
        Of the blocks, in px.

    Returns
    -------
    DataFrame
        One row a method, number of samples, repetition and image: ``method``, ``samples``, ``seed``, ``image`` (row),
        ``pixels`` and ``blocks`` (relative errors), ``gap`` and ``explained`` (sizes, in logits).
    """
    truth = question.values(reference, seed=seed).values
    parts = []
    for method, samples, number in _settings(counts, seeds):
        found = question.values(samples, method, seed + 1 + number)
        measured = {
            "pixels": relative_error(found.values, truth),
            "blocks": relative_error(blocks(found.values, side), blocks(truth, side)),
            "gap": np.abs(found.completeness_errors),
            "explained": np.abs(found.completeness_errors + found.values.sum((1, 2))),
        }
        about = {
            "method": method,
            "samples": samples,
            "seed": number,
            "image": np.arange(len(truth)),
        }
        parts.append(pd.DataFrame(about | measured))
    return pd.concat(parts, ignore_index=True)


def _settings(counts: Sequence[int], seeds: int) -> Iterator[tuple[str, int, int]]:
    return (
        (method, samples, number)
        for method in METHODS
        for samples in counts
        for number in range(seeds)
    )


def error_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over images and repetitions.

    Parameters
    ----------
    table : DataFrame
        As :func:`error_table` returns it, with a column ``detector``.

    Returns
    -------
    DataFrame
        Index ``detector``, ``method``, ``samples``; columns ``pixels``, ``blocks`` (mean relative errors) and ``gap``:
        the gaps of all images together over what they should explain.
    """
    means = table.groupby(["detector", "method", "samples"], sort=False)[
        ["pixels", "blocks", "gap", "explained"]
    ].mean()
    return means.assign(gap=means["gap"] / means["explained"]).drop(columns="explained")


def fewest(summary: pd.DataFrame, detector: str, method: str, column: str = "blocks") -> int:
    """The smallest number of samples that is as exact as the largest number of random ones; 0 if there is none.

    Parameters
    ----------
    summary : DataFrame
        As :func:`error_summary` returns it.
    detector : str
    method : str
        One of METHODS.
    column : {"pixels", "blocks", "gap"}
    """
    errors = summary[column].unstack("method").loc[detector]
    enough = errors.index[errors[method] <= errors["random"].iloc[-1]]
    return int(enough.min()) if len(enough) else 0


def samples_sentence(summary: pd.DataFrame, detector: str, column: str = "blocks") -> str:
    """Say what :func:`fewest` found."""
    random = summary.index.get_level_values("samples").max()
    found = {method: fewest(summary, detector, method, column) for method in METHODS[1:]}
    enough = [f"{number} {method} samples" for method, number in found.items() if number]
    if not enough:
        return (
            f"no number of {' or '.join(found)} samples tried is as exact as {random} random ones"
        )
    return f"{' or '.join(enough)} are at least as exact as {random} random ones"


def repeat_table(
    question: Question, samples: int, method: str, seed: int = 0, side: int = BLOCK
) -> pd.DataFrame:
    """Do two seeds say the same?

    Parameters
    ----------
    question : Question
    samples : int
        Gradients an image, for each of the two.
    method : str
        See :func:`defocus_lib.explain.expected_gradients.shapley_values`.
    seed : int
        The first; the second is the next.
    side : int
        Of the blocks, in px.

    Returns
    -------
    DataFrame
        One row an image; Spearman's correlation between the two over its ``pixels``, over their ``sizes`` (absolute
        values) and over its ``blocks``.
    """
    first, second = (question.values(samples, method, number).values for number in (seed, seed + 1))
    return pd.DataFrame(
        {
            "pixels": rank_correlation(first, second),
            "sizes": rank_correlation(np.abs(first), np.abs(second)),
            "blocks": rank_correlation(blocks(first, side), blocks(second, side)),
        }
    )


def repeat_sentence(pixels: float, blocks: float, enough: float = 0.8) -> str:
    """Say what may be read off a picture of Shapley values, from the mean seed-to-seed correlations.

    Parameters
    ----------
    pixels, blocks : float
        Of single pixels, and of blocks.
    enough : float
        From here on a ranking counts as repeatable; 0.8 is a usual mark for reliability.
    """
    if pixels >= enough:
        return "Another seed ranks even single pixels alike: chance is no reason to distrust one."
    if blocks >= enough:
        return "Another seed ranks blocks alike, but not single pixels: only regions may be read."
    return "Another seed ranks not even blocks alike: with so few draws, much of the pictures is chance."
