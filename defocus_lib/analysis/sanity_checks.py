"""Do Shapley values depend on what the detector learned, and do the pixels that they name move its answer?

Both tests are those of Quantus (Hedström et al. 2023). *Parameter randomisation* (MPRT, Adebayo et al. 2018, arXiv
1810.03292): the more weights are random, the less the values should resemble those of the trained detector.
*Deletion and insertion* (pixel flipping, Bach et al. 2015, doi 10.1371/journal.pone.0130140): replacing the pixels with
the largest values first should lower the logit fastest.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from torch import nn

from defocus_lib.analysis.faithfulness import Question, blocks, rank_correlation
from defocus_lib.checks import check_maps
from defocus_lib.explain.expected_gradients import shapley_values
from defocus_lib.stats.bootstrap import bootstrap_mean

ORDERS = {
    "own": "its own values",
    "other": "those of another image",
    "random": "random order",
}


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Leave the global random generators as they are found: Quantus seeds that of torch."""
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002 (the state that others rely on)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)


class _Part(nn.Module):
    """Layers that are randomised together. It holds them out of sight of torch, so that none is found twice."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = tuple(layers)

    def reset_parameters(self) -> None:
        for layer in self.layers:
            layer.reset_parameters()


class _InParts(nn.Module):
    """A detector whose layers with weights are cut into ``parts``, for Quantus, which randomises what it finds."""

    def __init__(self, detector: nn.Module, parts: int) -> None:
        super().__init__()
        layers = [layer for layer in detector.modules() if hasattr(layer, "reset_parameters")]
        cuts = np.array_split(np.arange(len(layers)), min(parts, len(layers)))
        self.parts = nn.ModuleList(_Part([layers[row] for row in rows]) for rows in cuts)
        self.hidden = (detector,)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.hidden[0](inputs)


def _both_correlations(first: np.ndarray, second: np.ndarray, batched: bool = True) -> np.ndarray:
    """Spearman's correlation of the values and of their sizes: ``(N, D)`` twice to ``(N, 2)``."""
    first, second = first[:, None], second[:, None]
    pair = rank_correlation(first, second), rank_correlation(np.abs(first), np.abs(second))
    return np.stack(pair, axis=1)


def randomisation(question: Question, samples: int, parts: int = 8, seed: int = 0) -> pd.DataFrame:
    """How much the values resemble those of the same detector with ever more random weights (cascading MPRT).

    The draws are the same ones every time, so all that changes are the weights.

    Parameters
    ----------
    question : Question
        Its detector is a module with layers that can be reset; it is left as it is.
    samples : int
        Gradients an image, for each step.
    parts : int
        Steps from the output to the input: layers with weights are randomised in so many parts of about equal number.
    seed : int
        Of the draws and of the random weights.

    Returns
    -------
    DataFrame
        One row a step and image: ``randomised`` (share of the layers, from 0), ``image``, and Spearman's correlation
        with the values of the trained detector, of the ``values`` and of their ``sizes``.
    """
    from quantus import MPRT

    def explain(
        model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object
    ) -> np.ndarray:
        found = shapley_values(
            model,
            torch.from_numpy(inputs),
            question.background,
            samples,
            seed,
            compute=question.compute,
        )
        return found.values[:, None]

    model = _InParts(question.detector, parts).eval()
    metric = MPRT(
        similarity_func=_both_correlations,
        layer_order="top_down",
        seed=seed,
        abs=False,
        normalise=False,
        disable_warnings=True,
        display_progressbar=False,
    )
    inputs = question.inputs.numpy()
    whom = np.zeros(len(inputs), dtype=int)
    with _generators_kept():
        steps = metric(
            model, inputs, whom, channel_first=True, explain_func=explain, batch_size=len(inputs)
        )
    shares = _shares(model)
    return pd.concat(
        pd.DataFrame(found, columns=["values", "sizes"]).assign(
            randomised=share, image=np.arange(len(inputs))
        )
        for share, found in zip(shares, steps.values(), strict=True)
    ).reset_index(drop=True)


def _shares(model: _InParts) -> np.ndarray:
    """Share of the layers that is random before the first step and after each."""
    sizes = [0, *(len(part.layers) for part in reversed(model.parts))]
    return np.cumsum(sizes) / sum(sizes)


class _Composed(nn.Module):
    """A detector that reads masks: where the mask is 1 the input stands, elsewhere a background, each in turn.

    Quantus flips entries of the mask. So all channels of a pixel go together, the curve starts at ``f(x)`` and ends at
    ``E f(background)``: what completeness is about.
    """

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.question = question

    def forward(self, masks: torch.Tensor) -> torch.Tensor:
        """Masks ``(N, 1, H, W)`` to the mean logit over the backgrounds, ``(N, 1)``."""
        of = self.question
        logits = [of.detector(masks * of.inputs + (1 - masks) * behind) for behind in of.background]
        return torch.stack(logits).mean(0)


def _pixels_a_step(pixels: int, steps: int) -> int:
    """The largest divisor of ``pixels`` that makes at least so many steps; Quantus wants steps of equal size."""
    return next(size for size in range(max(1, pixels // steps), 0, -1) if pixels % size == 0)


def deletion(question: Question, scores: ArrayLike, steps: int = 16) -> np.ndarray:
    """Logit while pixels are replaced by those of the backgrounds, the highest scores first.

    Parameters
    ----------
    question : Question
    scores : (N, H, W) array_like
        They order the pixels of each input.
    steps : int
        Or more, if the number of pixels is not divisible by it.

    Returns
    -------
    (N, steps + 1) float64 array
        From nothing replaced to everything, in equal steps; in logits.

    Raises
    ------
    ValueError
        If the scores do not fit the inputs, or hold NaN.
    """
    from quantus import PixelFlipping

    scores = check_maps("scores", scores)
    wanted = (len(question.inputs), *question.inputs.shape[2:])
    if scores.shape != wanted:
        raise ValueError(f"scores has shape {scores.shape}; {wanted} wanted, as the inputs have")
    model = _Composed(question).eval()
    masks, whom = (
        np.ones((len(scores), 1, *scores.shape[1:]), np.float32),
        np.zeros(len(scores), dtype=int),
    )
    metric = PixelFlipping(
        features_in_step=_pixels_a_step(scores[0].size, steps),
        perturb_baseline=0.0,
        abs=False,
        normalise=False,
        disable_warnings=True,
        display_progressbar=False,
    )
    # As ranks: Quantus refuses scores that are all negative, or all equal.
    ranks = (
        rankdata(scores.reshape(len(scores), -1), method="ordinal", axis=1)
        .reshape(masks.shape)
        .astype(np.float64)
    )
    with _generators_kept():
        curves = metric(
            model, masks, whom, ranks, channel_first=True, softmax=False, batch_size=len(scores)
        )
    with torch.no_grad():
        start = model(torch.from_numpy(masks))
    return np.concatenate([start.numpy(), np.asarray(curves)], axis=1).astype(np.float64)


def insertion(question: Question, scores: ArrayLike, steps: int = 16) -> np.ndarray:
    """Logit while pixels of the input replace those of the backgrounds, the highest scores first.

    It is the deletion of the lowest scores first, read backwards. Arguments and result as :func:`deletion`.
    """
    return deletion(question, -check_maps("scores", scores), steps)[:, ::-1]


def block_scores(values: ArrayLike, side: int) -> np.ndarray:
    """Mean of the block that each pixel lies in, so that blocks are replaced whole: ``(N, H, W)``.

    Mosaics of single pixels are unlike any photograph, and a detector may answer to their seams alone. What is left at
    the lower and right border goes with the last blocks. Arguments and errors as :func:`defocus_lib.analysis.faithfulness.blocks`.
    """
    means = blocks(values, side)
    whole = means.repeat(side, axis=1).repeat(side, axis=2)
    rest = [(0, long - short) for long, short in zip(np.shape(values), whole.shape, strict=True)]
    return np.pad(whole, rest, mode="edge")


def removal_table(
    question: Question, values: ArrayLike, steps: int = 16, side: int = 16, seed: int = 0
) -> pd.DataFrame:
    """Deletion and insertion in the order of the values, and in two orders that know nothing of the input.

    Parameters
    ----------
    question : Question
    values : (N, H, W) array_like
        Shapley values of its inputs. ``other``: those of the next input serve as scores, an order as smooth as the
        right one.
    steps : int
        See :func:`deletion`.
    side : int
        Of the blocks that are replaced together, in px.
    seed : int
        Of the random order.

    Returns
    -------
    DataFrame
        One row an ``order`` (a key of :data:`ORDERS`), ``curve`` ("deletion" or "insertion"), ``image`` (row) and
        ``share`` of the pixels replaced: its ``logit``.

    Raises
    ------
    ValueError
        As :func:`deletion` and :func:`block_scores`.
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
            curves = curve_of(question, block_scores(scores, side), steps)
            image, step = np.indices(curves.shape).reshape(2, -1)
            about = {
                "order": order,
                "curve": name,
                "image": image,
                "share": step / (curves.shape[1] - 1),
            }
            parts.append(pd.DataFrame(about | {"logit": curves.ravel()}))
    return pd.concat(parts, ignore_index=True)


def removal_areas(table: pd.DataFrame) -> pd.DataFrame:
    """Area between the insertion and the deletion curve of each image, in logits.

    An order that knows nothing of the detector has 0 on average.

    Parameters
    ----------
    table : DataFrame
        As :func:`removal_table` returns it.

    Returns
    -------
    DataFrame
        One row an image, one column an order.
    """
    curves = table.set_index(["order", "image", "curve", "share"])["logit"].unstack("share")
    means = pd.Series(
        np.trapezoid(curves.to_numpy(), curves.columns.to_numpy(), axis=1), curves.index
    ).unstack("curve")
    return (means["insertion"] - means["deletion"]).unstack("order")[list(ORDERS)]


def removal_summary(
    areas: Mapping[str, pd.DataFrame], groups: ArrayLike, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Mean area of each detector and order, and the excess of its own order over the better of the other two.

    Parameters
    ----------
    areas : mapping of str to DataFrame
        Detector -> its :func:`removal_areas`.
    groups : (N,) str array_like
        Of the images.
    n_bootstrap, seed : int
        Of the interval.

    Returns
    -------
    DataFrame
        One row a detector: the orders, and ``excess`` with ``low`` and ``high``, a 95 % interval over the groups.
    """
    rows = {}
    for detector, table in areas.items():
        best = table[["other", "random"]].mean().idxmax()
        excess = table["own"] - table[best]
        found = bootstrap_mean(excess, groups, n_bootstrap, seed)
        interval = {"low": float(found.low), "high": float(found.high)}
        rows[detector] = {**table.mean(), "excess": excess.mean(), **interval}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("detector")


def bend(table: pd.DataFrame) -> tuple[float, float]:
    """How far the mean deletion curve of the random order departs from a straight line.

    If blocks added up, each replaced one would take its share on average. What departs from that is the answer to a
    mosaic of two images.

    Parameters
    ----------
    table : DataFrame
        As :func:`removal_table` returns it.

    Returns
    -------
    departs, between : float
        The largest distance from the line between the ends of the curve, and the distance of its ends; in logits.
    """
    curves = table[(table["order"] == "random") & (table["curve"] == "deletion")]
    mean = curves.groupby("share")["logit"].mean()
    line = np.interp(mean.index, [0, 1], mean.iloc[[0, -1]])
    return float(np.abs(mean - line).max()), float(abs(mean.iloc[0] - mean.iloc[-1]))


def bend_sentence(departs: float, between: float) -> str:
    """Say what it means: see :func:`bend`."""
    if departs <= between / 4:
        return "it stays near the line"
    return "it departs from the line, so the detector answers to the mosaic too"


def removal_sentence(value: float, low: float, high: float) -> str:
    """Say whether the values find the pixels that move the answer better than the other orders do.

    Parameters
    ----------
    value, low, high : float
        Excess over the better of the other orders, in logits, with its interval.
    """
    if np.isnan(low):
        return "images of a single group give no interval, so nothing is said"
    if low > 0:
        return "the blocks that the values name move the answer more than those of the other orders"
    if high < 0:
        return "another order finds blocks that move the answer more"
    return "what the values name moves the answer no more, as far as this can tell, than what another order does"


def randomisation_sentence(remaining: float, repeat: float) -> str:
    """Say what is left of the values once all weights are random.

    Parameters
    ----------
    remaining : float
        Mean correlation with the values of the trained detector, all weights random.
    repeat : float
        The same between two seeds of the trained detector: what sampling alone leaves.
    """
    if remaining < repeat / 4:
        return "little is left once all weights are random: they depend on what was learned"
    if remaining < repeat / 2:
        return "a part is left once all weights are random: it comes from the images alone"
    return "most is left even with random weights: they say more of the images than of the detector"
