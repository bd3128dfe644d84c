"""Shapley values of a detector, as expected gradients (Erion et al. 2021).

For an input ``x``, backgrounds ``b`` and ``t`` uniform in [0, 1], the value of a pixel is the
expectation of ``(x - b) * df/dx`` at ``b + t (x - b)``. All values of an image add up to ``f(x) -
E f(b)`` (completeness).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from defocus_lib.explain import quadrature
from defocus_lib.explain.quadrature import Rule
from defocus_lib.precision import fitting

METHODS = (*quadrature.METHODS, "shap")
# Of float16, which holds no number below 6e-8 and, from 6e-5 on, fewer digits the smaller it is.
# Gradients of a logit are smaller than that in many layers (at 128 px 95 % of those of an untrained
# Xception become 0), and far below the largest, 65504. A power of two changes no digit.
SCALE = 2.0**12


@runtime_checkable
class Averages(Protocol):
    """A detector that averages its inputs to a smaller size first, and takes averaged ones."""

    def averaged(self, inputs: torch.Tensor) -> torch.Tensor: ...


class Attributions(NamedTuple):
    """Shapley values of ``N`` inputs.

    Attributes
    ----------
    values : (N, H, W) float32
        In logits, summed over the channels.
    completeness_errors : (N,) float32
        ``f(x) - E f(b)`` minus the sum of the values, in logits.
    logits : (N,) float32
        ``f(x)``.
    """

    values: np.ndarray
    completeness_errors: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True)
class Compute:
    """How gradients are computed.

    Attributes
    ----------
    batch_size : int
        Gradients per pass, of several inputs where one input has fewer; 0 takes as many as
        :func:`defocus_lib.precision.fitting` allows.
    precision : torch.dtype
        float32, or bfloat16 or float16 for autocast. Gradients in float16 are multiplied by
        :data:`SCALE` on their way back, so that small ones are not lost; where large ones overflow,
        the inputs are explained again in float32.
    """

    batch_size: int = 0
    precision: torch.dtype = torch.float32


def shapley_values(
    detector: Callable[[torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
    background: torch.Tensor,
    n_samples: int = 50,
    seed: int = 0,
    method: str = "stratified",
    compute: Compute = Compute(),
    keys: Sequence[int] | None = None,
) -> Attributions:
    """Explain a detector's logit for each input. Inputs, background and detector are on one device.

    The same seed gives the same values, and an input's do not depend on the other inputs.

    Parameters
    ----------
    detector : callable
        ``(B, C, H, W)`` to logits ``(B, 1)``. A module is put in eval mode, and back.
    inputs : (N, C, H, W) float
    background : (K, C, H, W) float
        What an input is compared with, such as real training images.
    n_samples : int
        Gradients per input.
    method : {"stratified", "midpoint", "random", "interpolated", "shap"}
        ``stratified``: one ``t`` in each of ``n_samples`` equal strata, backgrounds used equally
        often; ``midpoint``: the same with ``t`` in the middle of its stratum; ``random``:
        independent samples; ``interpolated``: gradients are interpolated between all points, and
        the interpolant is integrated; ``shap``: shap.GradientExplainer, which samples as
        ``random``.
    keys : sequence of N int, optional
        Seeds of the samples of each input, beside ``seed``; by default its row. With a key of its
        own an input gets the same samples wherever it stands.

    Raises ValueError if shapes do not fit, nothing is to be explained, ``batch_size`` is
    negative, or the method is unknown.
    """
    keys = range(len(inputs)) if keys is None else keys
    _check_shapes(inputs, background, keys)
    _check_options(n_samples, method, compute.batch_size)
    images, base = _averaged(detector, inputs), _averaged(detector, background)
    compute = Compute(compute.batch_size or fitting(images), compute.precision)
    with _eval_mode(detector):
        if method == "shap":
            values = _by_shap(detector, inputs, background, n_samples, seed)
        else:
            rules = [
                quadrature.rule(
                    method,
                    n_samples,
                    len(background),
                    np.random.default_rng([seed, key]),
                    partial(_gram, x, background),
                )
                for x, key in zip(inputs, keys, strict=True)
            ]
            values = _expected_gradients(detector, inputs, background, rules, compute)
            if compute.precision == torch.float16 and not values.isfinite().all():
                single = Compute(compute.batch_size)
                values = _expected_gradients(detector, inputs, background, rules, single)
        logits, of_base = (_logits(detector, part, compute.batch_size) for part in (images, base))
    values = values.sum(1)
    errors = logits - of_base.mean() - values.sum((1, 2))
    return Attributions(*(array.float().cpu().numpy() for array in (values, errors, logits)))


@torch.no_grad()
def _logits(detector: Callable, images: torch.Tensor, batch_size: int) -> torch.Tensor:
    return torch.cat([detector(part)[:, 0] for part in images.split(batch_size)])


@contextmanager
def _eval_mode(detector: Callable) -> Iterator[None]:
    module = detector if isinstance(detector, nn.Module) else nn.Identity()
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def _check_shapes(inputs: torch.Tensor, background: torch.Tensor, keys: Sequence[int]) -> None:
    if inputs.ndim != 4 or len(inputs) == 0:
        raise ValueError(
            f"inputs has shape {tuple(inputs.shape)}; (N, C, H, W) with N of at least 1 wanted"
        )
    if background.shape[1:] != inputs.shape[1:] or len(background) == 0:
        size = ", ".join(map(str, inputs.shape[1:]))
        raise ValueError(f"background has shape {tuple(background.shape)}; (K, {size}) wanted")
    if len(keys) != len(inputs):
        raise ValueError(
            f"keys has length {len(keys)}; one for each of {len(inputs)} inputs wanted"
        )


def _check_options(n_samples: int, method: str, batch_size: int) -> None:
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; one of {', '.join(METHODS)} wanted")
    if n_samples < 1:
        raise ValueError(f"n_samples is {n_samples}; at least 1 wanted")
    if batch_size < 0:
        raise ValueError(f"batch_size is {batch_size}; at least 1, or 0 for as many as fit, wanted")


def _gram(x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    """Inner products ``(K, K)`` of the backgrounds less the input."""
    differences = (background - x).flatten(1)
    return (differences @ differences.T).double().cpu().numpy()


def _expected_gradients(
    detector: Callable,
    inputs: torch.Tensor,
    background: torch.Tensor,
    rules: list[Rule],
    compute: Compute,
) -> torch.Tensor:
    """Sum of ``(x - b) * gradient`` over points and shares of each input: ``(N, C, H, W)``.

    A detector that averages its inputs first gets averaged points: the gradients with respect to
    these are added up for each background, and spread over the pixels at the end.
    """
    x, b = _averaged(detector, inputs), _averaged(detector, background)
    count = len(rules[0].rows)
    images = torch.arange(len(x), device=x.device).repeat_interleave(count)
    rows, t, shares = (
        torch.from_numpy(np.concatenate(part)).to(x.device) for part in zip(*rules, strict=True)
    )
    points_of_all = (images, rows, t.to(x.dtype), shares.to(x.dtype))
    batches = zip(*(part.split(compute.batch_size) for part in points_of_all), strict=True)
    total, sums, first = torch.zeros_like(inputs), torch.zeros_like(b), 0
    for image, row, step, share in batches:
        points = b[row] + step.view(-1, 1, 1, 1) * (x[image] - b[row])
        gradients = _gradient(detector, points, compute.precision)
        # Not index_add_, whose order of summation is free on a card, and by numbers that this
        # process knows: asking the card for them would let it wait in each step.
        for number, part in _of_each_image(first, len(image), count):
            sums += torch.tensordot(share[part].T, gradients[part], 1)
            if first + part.stop == (number + 1) * count:
                differences = inputs[number] - background
                total[number] = (differences * _spread(detector, sums, background)).sum(0)
                sums.zero_()
        first += len(image)
    return total


def _averaged(detector: Callable, images: torch.Tensor) -> torch.Tensor:
    """Images as the backbone reads them, where the detector averages them first."""
    return detector.averaged(images) if isinstance(detector, Averages) else images


def _spread(detector: Callable, gradients: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Gradients with respect to averaged images as those with respect to ``images``."""
    if gradients.shape == images.shape:
        return gradients
    with torch.enable_grad():
        full = torch.zeros_like(images, requires_grad=True)
        return torch.autograd.grad(_averaged(detector, full), full, gradients)[0]


def _of_each_image(first: int, size: int, count: int) -> Iterator[tuple[int, slice]]:
    """The images of a batch, each with its part of it; the batch begins at point ``first`` of all,
    of which every image has ``count``."""
    for number in range(first // count, -(-(first + size) // count)):
        start, end = number * count - first, (number + 1) * count - first
        yield number, slice(max(0, start), min(size, end))


def _gradient(detector: Callable, points: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    """Gradient of the logit at each point: ``(B, C, H, W)``."""
    points = points.contiguous(memory_format=torch.channels_last).requires_grad_(True)
    with (
        torch.enable_grad(),
        torch.autocast(points.device.type, precision, enabled=precision != torch.float32),
    ):
        logits = detector(points)
    scale = SCALE if precision == torch.float16 else 1.0
    return torch.autograd.grad(logits.float().sum() * scale, points)[0] / scale


def _by_shap(
    detector: Callable, inputs: torch.Tensor, background: torch.Tensor, n_samples: int, seed: int
) -> torch.Tensor:
    import shap

    explainer = shap.GradientExplainer(detector, background)
    values = explainer.shap_values(inputs, nsamples=n_samples, rseed=seed)
    return torch.from_numpy(np.asarray(values, dtype=np.float32)[..., 0])
