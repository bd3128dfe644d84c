"""A small network that reads blur everywhere in a picture, and says how sure it is.

Where nothing can be read (a flat wall, a sky), a method that looks at edges has to spread what it knows from elsewhere.
A network that has seen many scenes with known blur can weigh everything in reach at once. It is a U-Net (Ronneberger
et al. 2015): four levels, each half as large as the one before, so that a pixel's estimate sees some 150 px to
each side.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval
from torchvision.ops import Conv2dNormActivation

from defocus_lib.run.artifacts import write_beside, write_json
from defocus_lib.scenes.optics import LUMA

WEIGHTS = Path(__file__).parent / "weights"  # in the package
SEEDS = (0, 1, 2)  # of the packaged weights; the preset `learned` uses the first
SCALES = (
    0.7,
    1.4,
    2.8,
)  # px, of the gradients that the network is given, those of the preset `physical`
FAINT = 1e-5  # added to their energies before the logarithm: what rounding to 8 bits leaves
WIDTHS = (16, 32, 80, 128)  # channels at a half, a quarter, an eighth and a sixteenth of the side
STRIDE = 16  # px: sides are multiples of it inside
CENTRE, SPREAD = 0.45, 0.25  # of luma, roughly


class Estimator(nn.Module):
    """Luma in, sigma and the scale of its error out; fully convolutional."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        # Four neighbouring pixels become four channels: as much is known, and everything costs a quarter.
        self.fold = nn.PixelUnshuffle(2)
        self.down = nn.ModuleList(
            nn.Sequential(
                _layer(before, width, 5 if level == 0 else 3, stride=1 if level == 0 else 2),
                _layer(width, width),
            )
            for level, (before, width) in enumerate(
                zip((4 * (1 + len(SCALES)), *widths[:-1]), widths, strict=True)
            )
        )
        self.far = nn.Sequential(_Far(widths[-1]), _Far(widths[-1]))
        self.up = nn.ModuleList(
            nn.Sequential(_layer(deep + width, width), _layer(width, width))
            for width, deep in pairwise(widths)
        )
        self.head = nn.Conv2d(widths[0], 2, 1)
        # By which the scale is multiplied so that 90 % intervals hold 90 % of the truth (on validation scenes).
        self.register_buffer("calibration", torch.ones(()))
        for number, scale in enumerate(SCALES):
            self.register_buffer(f"kernel{number}", _gaussian(scale), persistent=False)

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sigma and the scale of a Laplace distribution around it, both in px and positive.

        Parameters
        ----------
        grey : (B, 1, H, W) float in [0, 1], H and W multiples of :data:`STRIDE`

        Returns
        -------
        (B, 1, H, W), (B, 1, H, W) float
        """
        given = torch.cat([(grey - CENTRE) / SPREAD, self._energies(grey)], 1)
        features, seen = self.fold(given).contiguous(memory_format=torch.channels_last), []
        for down in self.down:
            features = down(features)
            seen.append(features)
        features = self.far(features)
        for up, beside in zip(reversed(self.up), reversed(seen[:-1]), strict=True):
            larger = F.interpolate(features, scale_factor=2, mode="nearest")
            features = up(torch.cat([larger, beside], 1))
        # Smoothly back to every pixel: were each of the four a channel of its own, their grid would show.
        whole = F.interpolate(self.head(features).float(), scale_factor=2, mode="bilinear")
        sigma, scale = F.softplus(whole).split(1, dim=1)
        return sigma, scale + 0.01

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def _energies(self, grey: torch.Tensor) -> torch.Tensor:
        """Logarithm of the gradient energy at each scale, (B, 3, H, W): a factor of contrast only adds to all of them,
        and what two of them differ by is the ratio that tells the blur of an edge."""
        parts = []
        for number in range(len(SCALES)):
            kernel = getattr(self, f"kernel{number}")
            reach = kernel.shape[-1] // 2
            smooth = F.conv2d(F.pad(grey, (reach + 1,) * 4, mode="reflect"), kernel)
            smooth = F.conv2d(smooth, kernel.transpose(2, 3))
            down = (smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]) / 2
            across = (smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2]) / 2
            parts.append(torch.log(down**2 + across**2 + FAINT) / 4 + 2)
        return torch.cat(parts, 1)


class _Far(nn.Module):
    """What lies within 32 px, by a kernel for each channel, added to what is there: flat parts learn from afar."""

    def __init__(self, width: int):
        super().__init__()
        self.look = Conv2dNormActivation(width, width, 5, groups=width)
        self.mix = _layer(width, width, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.mix(self.look(features))


def _gaussian(scale: float) -> torch.Tensor:
    """(1, 1, 1, K) weights."""
    position = torch.arange(-math.ceil(3 * scale), math.ceil(3 * scale) + 1)
    weights = torch.exp(-(position**2) / (2 * scale**2))
    return (weights / weights.sum()).view(1, 1, 1, -1)


def _layer(before: int, after: int, side: int = 3, stride: int = 1) -> nn.Module:
    return Conv2dNormActivation(before, after, side, stride)


def estimate(
    images: torch.Tensor, estimator: Estimator | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sigma and its uncertainty everywhere, each image alone.

    Parameters
    ----------
    images : (B, 3, H, W) float in [0, 1], H and W at least 32
    estimator : Estimator, optional
        In eval mode; by default the packaged one.

    Returns
    -------
    sigma : (B, 1, H, W) float32
        In px, on the device of the images.
    uncertainty : (B, 1, H, W) float32
        One standard deviation of the error that the network expects, in px.
    """
    estimator = (estimator or packaged()).to(images.device)
    height, width = images.shape[2:]
    red, green, blue = images.split(1, dim=1)
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    whole = F.pad(luma, (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")
    with torch.inference_mode():
        parts = [
            estimator(one.contiguous(memory_format=torch.channels_last)) for one in whole.split(1)
        ]
    sigma, scale = (torch.cat(part)[..., :height, :width] for part in zip(*parts, strict=True))
    # The standard deviation of a Laplace distribution is the root of 2 times its scale.
    return sigma.clone(), math.sqrt(2) * estimator.calibration * scale


@lru_cache
def packaged(seed: int = SEEDS[0]) -> Estimator:
    """The trained network that comes with the package, in eval mode.

    Parameters
    ----------
    seed : int
        Which of the :data:`SEEDS` it was trained with.
    """
    return fused(load_estimator(WEIGHTS / f"estimator-{seed}.safetensors")[0])


def fused(estimator: Estimator) -> Estimator:
    """The same network, its batch normalisation made part of the convolutions: a fifth faster."""
    for layer in [
        module for module in estimator.modules() if isinstance(module, Conv2dNormActivation)
    ]:
        layer[0], layer[1] = fuse_conv_bn_eval(layer[0], layer[1]), nn.Identity()
    return estimator.to(memory_format=torch.channels_last)


def save_estimator(path: Path, estimator: Estimator, card: dict) -> Path:
    """Write the weights in half precision, and beside them a card that says how they were made, and their digest.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``; the card has the same name and ends in ``.json``.
    card : dict
        Plain values.
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
    """Weights that :func:`save_estimator` wrote, in eval mode, and their card.

    Raises
    ------
    FileNotFoundError
        If the file or its card is missing.
    ValueError
        If the weights are not those of the card, or fit no estimator.
    """
    said = _card(path)
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != said.get("sha256"):
        raise ValueError(
            f"{path}: its SHA-256 is {found}; {said.get('sha256')} wanted, as its card says"
        )
    estimator = Estimator()
    try:
        estimator.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"{path}: no weights of an estimator ({str(error).splitlines()[0]})"
        ) from error
    return estimator.eval(), said


def card(seed: int = SEEDS[0]) -> dict:
    """What the card of packaged weights says: how they were made, how good they are, and their SHA-256."""
    return _card(WEIGHTS / f"estimator-{seed}.safetensors")


def _card(path: Path) -> dict:
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
