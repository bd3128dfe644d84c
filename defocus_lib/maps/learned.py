"""A small network that estimates blur everywhere in a photograph, and its own error.

Where nothing can be read (a flat wall, a sky), a method that uses edges has to spread blur from
elsewhere. A network that was trained on many scenes of known blur can weigh everything in reach at
once. It is a U-Net (Ronneberger et al. 2015): four levels, each half as large as the one before, so
that the receptive field of a pixel reaches some 150 px to each side.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from defocus_lib.precision import fastest, fitting
from defocus_lib.run.artifacts import write_beside, write_json
from defocus_lib.scenes.optics import LUMA

WEIGHTS = Path(__file__).parent / "weights"  # in the package
SEEDS = (0, 1, 2)  # of the packaged weights; the preset `learned` uses the first
SCALES = (0.7, 1.4, 2.8)  # px, of the gradients that it is given, as in the preset `physical`
FAINT = 1e-5  # added to their energies before the logarithm: what rounding to 8 bits leaves
WIDTHS = (16, 32, 80, 128)  # channels at a half, a quarter, an eighth and a sixteenth of the side
STRIDE = 16  # px: sides are multiples of it inside
HALF = torch.float16  # on a card: of its values none is large, and bfloat16 rounds 8 times as much
CENTRE, SPREAD = 0.45, 0.25  # of luma, roughly


class Estimator(nn.Module):
    """Luma in, sigma and the scale of its error out; fully convolutional."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        # Four neighbouring pixels become four channels: the same input at a quarter of the cost.
        self.fold = nn.PixelUnshuffle(2)
        self.down = nn.ModuleList(
            nn.Sequential(
                _Layer(before, width, 5 if level == 0 else 3, stride=1 if level == 0 else 2),
                _Layer(width, width),
            )
            for level, (before, width) in enumerate(
                zip((4 * (1 + len(SCALES)), *widths[:-1]), widths, strict=True)
            )
        )
        self.far = nn.Sequential(_Far(widths[-1]), _Far(widths[-1]))
        self.up = nn.ModuleList(
            nn.Sequential(_Layer(deep + width, width), _Layer(width, width))
            for width, deep in pairwise(widths)
        )
        self.head = nn.Conv2d(widths[0], 2, 1)
        # Factor of the scale at which 90 % intervals hold 90 % of the truth (on validation scenes).
        self.calibration: torch.Tensor
        self.register_buffer("calibration", torch.ones(()))
        for number, scale in enumerate(SCALES):
            self.register_buffer(f"kernel{number}", _gaussian(scale), persistent=False)

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sigma and the scale of a Laplace distribution around it in px, (B, 1, H, W) each.

        `grey` (B, 1, H, W) float in [0, 1], H and W multiples of :data:`STRIDE`.
        """
        inputs = torch.cat([(grey - CENTRE) / SPREAD, self._energies(grey)], 1)
        features = self.fold(inputs).contiguous(memory_format=torch.channels_last)
        levels = []
        for down in self.down:
            features = down(features)
            levels.append(features)
        features = self.far(features)
        for up, skipped in zip(reversed(self.up), reversed(levels[:-1]), strict=True):
            larger = F.interpolate(features, scale_factor=2, mode="nearest")
            features = up(torch.cat([larger, skipped], 1))
        # Smoothly back to every pixel: were each of the four a channel of its own, their grid
        # would show.
        whole = F.interpolate(self.head(features).float(), scale_factor=2, mode="bilinear")
        sigma, scale = F.softplus(whole).split(1, dim=1)
        return sigma, scale + 0.01

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def _energies(self, grey: torch.Tensor) -> torch.Tensor:
        """Logarithm of the gradient energy at each scale, (B, 3, H, W).

        A factor of contrast adds a constant to all; differences are ratios, which give the blur.
        """
        energies = []
        for number in range(len(SCALES)):
            kernel = getattr(self, f"kernel{number}")
            reach = kernel.shape[-1] // 2
            smooth = F.conv2d(F.pad(grey, (reach + 1,) * 4, mode="reflect"), kernel)
            smooth = F.conv2d(smooth, kernel.transpose(2, 3))
            gy = (smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]) / 2
            gx = (smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2]) / 2
            energies.append(torch.log(gy**2 + gx**2 + FAINT) / 4 + 2)
        return torch.cat(energies, 1)


class _Far(nn.Module):
    """A residual depthwise convolution that reaches 32 px: flat parts take blur from afar."""

    def __init__(self, width: int):
        super().__init__()
        self.look = _Layer(width, width, 5, groups=width)
        self.mix = _Layer(width, width, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.mix(self.look(features))


def _gaussian(scale: float) -> torch.Tensor:
    """(1, 1, 1, K) weights."""
    position = torch.arange(-math.ceil(3 * scale), math.ceil(3 * scale) + 1)
    weights = torch.exp(-(position**2) / (2 * scale**2))
    return (weights / weights.sum()).view(1, 1, 1, -1)


class _Layer(nn.Sequential):
    """Convolution, batch normalisation, ReLU. That of torchvision takes two seconds to import."""

    def __init__(self, before: int, after: int, kernel: int = 3, stride: int = 1, groups: int = 1):
        padding = kernel // 2
        convolution = nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def estimate(
    images: torch.Tensor, estimator: Estimator | None = None, dtype: torch.dtype | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sigma, and the standard deviation of its error that the network expects, each image alone.

    Both (B, 1, H, W) float32 in px, on the device of `images` (B, 3, H, W) float in [0, 1], H and
    W at least 32. The estimator, in eval mode, is by default the packaged one. A processor takes
    one image per pass; a card takes many, by default in float16, within 0.01 px of what float32
    gives. `dtype` is another type of autocast, or float32 for none.
    """
    device, (height, width) = images.device, images.shape[2:]
    estimator = packaged_on(str(device)) if estimator is None else estimator.to(device)
    size, fastest_type = _pass(images)
    dtype = dtype or fastest_type
    red, green, blue = images.split(1, dim=1)
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    whole = F.pad(luma, (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")
    half = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    with torch.inference_mode(), half:
        estimates = [
            estimator(grey.contiguous(memory_format=torch.channels_last))
            for grey in whole.split(size)
        ]
    planes = (torch.cat(part).float() for part in zip(*estimates, strict=True))
    sigma, scale = (plane[..., :height, :width] for plane in planes)
    # The standard deviation of a Laplace distribution is the root of 2 times its scale.
    return sigma.clone(), math.sqrt(2) * estimator.calibration * scale


def _pass(images: torch.Tensor) -> tuple[int, torch.dtype]:
    """How many of the images a pass takes on their device, and in which type."""
    if images.device.type == "cpu":
        return 1, torch.float32
    return fitting(images), HALF if fastest(images.device) != "float32" else torch.float32


@lru_cache
def packaged_on(device: str) -> Estimator:
    """A copy of the packaged network on a device, so that others on the processor keep theirs."""
    return packaged() if device == "cpu" else copy.deepcopy(packaged()).to(device)


@lru_cache
def packaged(seed: int = SEEDS[0]) -> Estimator:
    """The trained network of one of the :data:`SEEDS` that come with the package, in eval mode."""
    return fused(load_estimator(WEIGHTS / f"estimator-{seed}.safetensors")[0])


def fused(estimator: Estimator) -> Estimator:
    """The same network, its batch normalisation made part of the convolutions: a fifth faster."""
    layers: list[Any] = [part for part in estimator.modules() if isinstance(part, _Layer)]
    for layer in layers:
        layer[0], layer[1] = fuse_conv_bn_eval(layer[0], layer[1]), nn.Identity()
    return estimator.to(memory_format=torch.channels_last)


def save_estimator(path: Path, estimator: Estimator, card: dict) -> Path:
    """Write the weights in half precision to a ``.safetensors`` file, and their card beside it.

    The card, a ``.json`` of plain values, says how they were made, and their SHA-256.
    """
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in estimator.state_dict().items()
    }
    content = save(weights)
    write_beside(path, lambda beside: beside.write_bytes(content))
    write_json(path.with_suffix(".json"), card | {"sha256": hashlib.sha256(content).hexdigest()})
    return path


def load_estimator(path: Path) -> tuple[Estimator, dict]:
    """The estimator that :func:`save_estimator` wrote, in eval mode, and its card.

    FileNotFoundError if the file or its card is missing; ValueError if the weights are not those of
    the card, or fit no estimator.
    """
    card = _card(path)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.get("sha256"):
        expected = card.get("sha256")
        raise ValueError(f"{path}: its SHA-256 is {digest}; {expected} wanted, as its card says")
    estimator = Estimator()
    try:
        estimator.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: no weights of an estimator ({reason})") from error
    return estimator.eval(), card


def card(seed: int = SEEDS[0]) -> dict:
    """The card of packaged weights: how they were made, how good they are, and their SHA-256."""
    return _card(WEIGHTS / f"estimator-{seed}.safetensors")


def _card(path: Path) -> dict:
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
