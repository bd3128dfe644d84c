"""Shapley values of a detector, as expected gradients (Erion et al. 2021).

For an input ``x``, backgrounds ``b`` and ``t`` uniform in [0, 1], the value of a pixel is the expectation of
``(x - b) * df/dx`` at ``b + t (x - b)``. All values of an image add up to ``f(x) - E f(b)`` (completeness).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from defocus_lib.explain import quadrature
from defocus_lib.explain.quadrature import Rule
from defocus_lib.precision import fitting

METHODS = (*quadrature.METHODS, "shap")


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
    method : {"stratified", "midpoint", "random", "interpolated", "shap"}
        ``stratified``: one ``t`` in each of ``samples`` equal strata, backgrounds used equally often; ``midpoint``: the
        same with ``t`` in the middle of its stratum; ``random``: independent draws; ``interpolated``: gradients are
        interpolated between all points, and the interpolant is integrated; ``shap``: shap.GradientExplainer, which
        draws as ``random``.
    batch_size : int
        Gradients a pass, of several inputs where one input has fewer; 0 takes what
        :func:`defocus_lib.precision.fitting` says.
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
            rules = [
                quadrature.rule(
                    method,
                    samples,
                    len(background),
                    np.random.default_rng([seed, key]),
                    partial(_gram, x, background),
                )
                for x, key in zip(inputs, keys, strict=True)
            ]
            values = _expected_gradients(
                detector, inputs, background, rules, batch_size, precision, progress
            )
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
    inputs: torch.Tensor,
    background: torch.Tensor,
    samples: int,
    batch_size: int,
    method: str,
    keys: Sequence[int],
) -> None:
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; one of {', '.join(METHODS)} wanted")
    if inputs.ndim != 4 or len(inputs) == 0:
        raise ValueError(
            f"inputs has shape {tuple(inputs.shape)}; (N, C, H, W) with N of at least 1 wanted"
        )
    if background.shape[1:] != inputs.shape[1:] or len(background) == 0:
        raise ValueError(
            f"background has shape {tuple(background.shape)}; (K, {', '.join(map(str, inputs.shape[1:]))}) wanted"
        )
    if samples < 1:
        raise ValueError(f"samples is {samples}; at least 1 wanted")
    if batch_size < 0:
        raise ValueError(f"batch_size is {batch_size}; at least 1, or 0 for as many as fit, wanted")
    if len(keys) != len(inputs):
        raise ValueError(
            f"keys has length {len(keys)}; one for each of {len(inputs)} inputs wanted"
        )


def _gram(x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    """Inner products ``(K, K)`` of the backgrounds less the input."""
    ways = (background - x).flatten(1)
    return (ways @ ways.T).double().cpu().numpy()


def _expected_gradients(
    detector: Callable,
    inputs: torch.Tensor,
    background: torch.Tensor,
    rules: list[Rule],
    batch_size: int,
    precision: torch.dtype,
    progress: bool,
) -> torch.Tensor:
    """Sum of ``(x - b) * gradient`` over the points of each input and their shares: ``(N, C, H, W)``."""
    owner = torch.arange(len(inputs), device=inputs.device).repeat_interleave(len(rules[0].rows))
    rows, t, shares = (
        torch.from_numpy(np.concatenate(part)).to(inputs.device)
        for part in zip(*rules, strict=True)
    )
    each = (owner, rows, t.to(inputs.dtype), shares.to(inputs.dtype))
    parts = list(zip(*(part.split(batch_size) for part in each), strict=True))
    total = torch.zeros_like(inputs)
    for of, row, step, share in tqdm(
        parts, desc="Shapley values", unit="batch", disable=not progress
    ):
        points = background[row] + step.view(-1, 1, 1, 1) * (inputs[of] - background[row])
        ways = share.sum(1).view(-1, 1, 1, 1) * inputs[of] - torch.tensordot(share, background, 1)
        terms = ways * _gradient(detector, points, precision)
        for image in of.unique():  # not index_add_, whose order of summation is free on a GPU
            total[image] += terms[of == image].sum(0)
    return total


def _gradient(detector: Callable, points: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    """Gradient of the logit at each point: ``(B, C, H, W)``."""
    points = points.contiguous(memory_format=torch.channels_last).requires_grad_(True)
    with (
        torch.enable_grad(),
        torch.autocast(points.device.type, precision, enabled=precision != torch.float32),
    ):
        logits = detector(points)
    return torch.autograd.grad(logits.float().sum(), points)[0]


def _by_shap(
    detector: Callable, inputs: torch.Tensor, background: torch.Tensor, samples: int, seed: int
) -> torch.Tensor:
    import shap

    explainer = shap.GradientExplainer(detector, background)
    values = explainer.shap_values(inputs, nsamples=samples, rseed=seed)
    return torch.from_numpy(np.asarray(values, dtype=np.float32)[..., 0])
