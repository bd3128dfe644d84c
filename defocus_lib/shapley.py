"""Shapley values of a detector, as expected gradients (Erion et al. 2021).

For an input ``x``, backgrounds ``b`` and ``t`` uniform in [0, 1], the value of a pixel is the expectation of
``(x - b) * df/dx`` at ``b + t (x - b)``. All values of an image add up to ``f(x) - E f(b)`` (completeness).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

METHODS = ("stratified", "random", "shap")


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
    batch_size: int = 64,
    precision: torch.dtype = torch.float32,
    progress: bool = False,
) -> Attributions:
    """Explain a detector's logit for each input.

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
    method : {"stratified", "random", "shap"}
        ``stratified``: one ``t`` in each of ``samples`` equal strata, backgrounds used equally often; ``random``:
        independent draws; ``shap``: shap.GradientExplainer, which draws so too.
    batch_size : int
        Gradients a pass.
    precision : torch.dtype
        float32, or bfloat16 for autocast.
    progress : bool
        Show a bar over the inputs.

    Raises
    ------
    ValueError
        If shapes do not fit, nothing is to be explained, or the method is unknown.
    """
    _check(inputs, background, samples, method)
    mode = getattr(detector, "training", None)
    if mode is not None:
        detector.eval()
    try:
        if method == "shap":
            values = _by_shap(detector, inputs, background, samples, seed)
        else:
            bar = tqdm(inputs, desc="Shapley values", unit="image", disable=not progress)
            draws = [
                _draw(method, samples, len(background), np.random.default_rng([seed, row]))
                for row in range(len(inputs))
            ]
            values = torch.stack(
                [
                    _expected_gradients(detector, x, background[k], t.to(inputs), batch_size, precision)
                    for x, (k, t) in zip(bar, draws, strict=True)
                ]
            )
        with torch.no_grad():
            logits = torch.cat([detector(part)[:, 0] for part in inputs.split(batch_size)])
            base = torch.cat([detector(part)[:, 0] for part in background.split(batch_size)]).mean()
    finally:
        if mode:
            detector.train()
    values = values.sum(1)
    gaps = logits - base - values.sum((1, 2))
    return Attributions(*(array.float().cpu().numpy() for array in (values, gaps, logits)))


def _check(inputs: torch.Tensor, background: torch.Tensor, samples: int, method: str) -> None:
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


def _draw(method: str, samples: int, backgrounds: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """``samples`` pairs of a background's row and a point ``t`` on the way from it to the input."""
    if method == "random":
        return torch.from_numpy(rng.integers(backgrounds, size=samples)), torch.from_numpy(rng.random(samples))
    # Rounds of all backgrounds in random order along ascending strata: each background is used equally often (to within
    # one) and sees the whole way.
    rounds = -(-samples // backgrounds)
    rows = np.concatenate([rng.permutation(backgrounds) for _ in range(rounds)])[:samples]
    return torch.from_numpy(rows), torch.from_numpy((np.arange(samples) + rng.random(samples)) / samples)


def _expected_gradients(
    detector: Callable,
    x: torch.Tensor,
    background: torch.Tensor,
    t: torch.Tensor,
    batch_size: int,
    precision: torch.dtype,
) -> torch.Tensor:
    """Mean of ``(x - b) * gradient`` over the samples: ``(C, H, W)``."""
    total = torch.zeros_like(x)
    for b, step in zip(background.split(batch_size), t.view(-1, 1, 1, 1).split(batch_size), strict=True):
        points = torch.lerp(b, x.expand_as(b), step.to(x.dtype)).contiguous(memory_format=torch.channels_last)
        points.requires_grad_(True)
        with torch.enable_grad(), torch.autocast(x.device.type, precision, enabled=precision != torch.float32):
            logits = detector(points)
        (gradient,) = torch.autograd.grad(logits.float().sum(), points)
        total += ((x - b) * gradient).sum(0)
    return total / len(t)


def _by_shap(
    detector: Callable, inputs: torch.Tensor, background: torch.Tensor, samples: int, seed: int
) -> torch.Tensor:
    import shap

    explainer = shap.GradientExplainer(detector, background)
    values = explainer.shap_values(inputs, nsamples=samples, rseed=seed)
    return torch.from_numpy(np.asarray(values, dtype=np.float32)[..., 0])
