"""Shapley values of a detector, as expected gradients (Erion et al. 2021).

For an input ``x``, backgrounds ``b`` and ``t`` uniform in [0, 1], the value of a pixel is the expectation of
``(x - b) * df/dx`` at ``b + t (x - b)``. All values of an image add up to ``f(x) - E f(b)`` (completeness).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from defocus_lib.batches import fitting

METHODS = ("stratified", "midpoint", "random", "shap")


class Attributions(NamedTuple):
    """Shapley values of ``N`` inputs.

    Attributes
    ----------
    values : (N, H, W) float32
        In logits, summed over the channels.
    gaps : (N,) float32
        ``f(x) - E f(b)`` minus the sum of the values, in logits.
    logits : (N,) float32
        ``f(x)``.
    """

    values: np.ndarray
    gaps: np.ndarray
    logits: np.ndarray


def shapley_values(
    detector: Callable[[torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
    background: torch.Tensor,
    samples: int = 50,
    seed: int = 0,
    method: str = "stratified",
    batch_size: int = 0,
    precision: torch.dtype = torch.float32,
    progress: bool = False,
    keys: Sequence[int] | None = None,
) -> Attributions:
    """Explain a detector's logit for each input. Inputs, background and detector are on one device.

    Parameters
    ----------
    detector : callable
        ``(B, C, H, W)`` to logits ``(B, 1)``. A module is put in eval mode, and back.
    inputs : (N, C, H, W) float
    background : (K, C, H, W) float
        What an input is compared with, such as real training images.
    samples : int
        Gradients an input.
    seed : int
        The same seed gives the same values, and an input's do not depend on the others.
    method : {"stratified", "midpoint", "random", "shap"}
        ``stratified``: one ``t`` in each of ``samples`` equal strata, backgrounds used equally often; ``midpoint``: the
        same with ``t`` in the middle of its stratum; ``random``: independent draws; ``shap``: shap.GradientExplainer,
        which draws so too.
    batch_size : int
        Gradients a pass, of several inputs where one input has fewer; 0 takes what
        :func:`defocus_lib.batches.fitting` says.
    precision : torch.dtype
        float32, or bfloat16 for autocast.
    progress : bool
        Show a bar over the gradients.
    keys : sequence of N int, optional
        What the draws of each input are seeded with, beside ``seed``; by default its row. With a key of its own an
        input gets the same draws wherever it stands.

    Raises
    ------
    ValueError
        If shapes do not fit, nothing is to be explained, ``batch_size`` is negative, or the method is unknown.
    """
    keys = range(len(inputs)) if keys is None else keys
    _check(inputs, background, samples, batch_size, method, keys)
    batch_size = batch_size or fitting(inputs)
    with _eval_mode(detector):
        if method == "shap":
            values = _by_shap(detector, inputs, background, samples, seed)
        else:
            draws = [_draw(method, samples, len(background), np.random.default_rng([seed, key])) for key in keys]
            values = _expected_gradients(detector, inputs, background, draws, batch_size, precision, progress)
        with torch.no_grad():
            logits = torch.cat([detector(part)[:, 0] for part in inputs.split(batch_size)])
            base = torch.cat([detector(part)[:, 0] for part in background.split(batch_size)]).mean()
    values = values.sum(1)
    gaps = logits - base - values.sum((1, 2))
    return Attributions(*(array.float().cpu().numpy() for array in (values, gaps, logits)))


@contextmanager
def _eval_mode(detector: Callable) -> Iterator[None]:
    mode = getattr(detector, "training", None)
    if mode is not None:
        detector.eval()
    try:
        yield
    finally:
        if mode:
            detector.train()


def _check(
    inputs: torch.Tensor, background: torch.Tensor, samples: int, batch_size: int, method: str, keys: Sequence[int]
) -> None:
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; one of {', '.join(METHODS)} wanted")
    if inputs.ndim != 4 or len(inputs) == 0:
        raise ValueError(f"inputs has shape {tuple(inputs.shape)}; (N, C, H, W) with N of at least 1 wanted")
    if background.shape[1:] != inputs.shape[1:] or len(background) == 0:
        raise ValueError(
            f"background has shape {tuple(background.shape)}; (K, {', '.join(map(str, inputs.shape[1:]))}) wanted"
        )
    if samples < 1:
        raise ValueError(f"samples is {samples}; at least 1 wanted")
    if batch_size < 0:
        raise ValueError(f"batch_size is {batch_size}; at least 1, or 0 for as many as fit, wanted")
    if len(keys) != len(inputs):
        raise ValueError(f"keys has length {len(keys)}; one for each of {len(inputs)} inputs wanted")


def _draw(method: str, samples: int, backgrounds: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``samples`` pairs of a background's row and a point ``t`` on the way from it to the input."""
    if method == "random":
        return rng.integers(backgrounds, size=samples), rng.random(samples)
    # Rounds of all backgrounds in random order along ascending strata: each background is used equally often (to within
    # one) and sees the whole way.
    rounds = -(-samples // backgrounds)
    rows = np.concatenate([rng.permutation(backgrounds) for _ in range(rounds)])[:samples]
    within = 0.5 if method == "midpoint" else rng.random(samples)
    return rows, (np.arange(samples) + within) / samples


def _expected_gradients(
    detector: Callable,
    inputs: torch.Tensor,
    background: torch.Tensor,
    draws: list[tuple[np.ndarray, np.ndarray]],
    batch_size: int,
    precision: torch.dtype,
    progress: bool,
) -> torch.Tensor:
    """Mean of ``(x - b) * gradient`` over the draws of each input: ``(N, C, H, W)``."""
    samples = len(draws[0][0])
    owner = torch.arange(len(inputs), device=inputs.device).repeat_interleave(samples)
    rows, t = (torch.from_numpy(np.concatenate(part)).to(inputs.device) for part in zip(*draws, strict=True))
    parts = list(zip(*(part.split(batch_size) for part in (owner, rows, t.to(inputs.dtype))), strict=True))
    total = torch.zeros_like(inputs)
    for of, row, step in tqdm(parts, desc="Shapley values", unit="batch", disable=not progress):
        way = inputs[of] - background[row]
        points = background[row] + step.view(-1, 1, 1, 1) * way
        terms = way * _gradient(detector, points, precision)
        for image in of.unique():  # not index_add_, whose order of summation is free on a GPU
            total[image] += terms[of == image].sum(0)
    return total / samples


def _gradient(detector: Callable, points: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    """Gradient of the logit at each point: ``(B, C, H, W)``."""
    points = points.contiguous(memory_format=torch.channels_last).requires_grad_(True)
    with torch.enable_grad(), torch.autocast(points.device.type, precision, enabled=precision != torch.float32):
        logits = detector(points)
    return torch.autograd.grad(logits.float().sum(), points)[0]


def _by_shap(
    detector: Callable, inputs: torch.Tensor, background: torch.Tensor, samples: int, seed: int
) -> torch.Tensor:
    import shap

    explainer = shap.GradientExplainer(detector, background)
    values = explainer.shap_values(inputs, nsamples=samples, rseed=seed)
    return torch.from_numpy(np.asarray(values, dtype=np.float32)[..., 0])
