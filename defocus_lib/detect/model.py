"""The detector: a ``timm`` backbone with one logit, on the defocus map, on the photograph, or on both; 1 means fake."""

from __future__ import annotations

import json
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from timm.models.xception import Block
from torch import nn
from torch.nn import functional as F

from defocus_lib.run.artifacts import write_beside

CHANNELS = {"defocus": 1, "rgb": 3, "fusion": 4}
HEADER = "defocus_lib"
QUIET = 0.1  # scale of a residual branch at first


class Detector(nn.Module):
    """A ``timm`` backbone that reads one kind of input, or two of them that read both.

    The first convolution reads in the precision of its weights, also under autocast.

    A detector on both has the backbones ``rgb_branch`` and ``defocus_branch``. The last feature maps of the two are
    multiplied, pooled as the backbone pools, and read by one linear layer, ``head``.

    Parameters
    ----------
    backbone : str
        Name of a ``timm`` model.
    reads : {"defocus", "rgb", "fusion"}
        ``defocus``: maps ``(B, 1, H, W)`` in [0, 1], repeated to three channels (Jeon & Woo 2025). ``rgb``: images
        ``(B, 3, H, W)`` in [0, 1], scaled to [-1, 1]. ``fusion``: ``(B, 4, H, W)``, the image and then the map.
    side : int
        Side in px that inputs are averaged down (or up) to first; 0 takes them as they are.
    seed : int
        Of the random first weights. The caller's generator is left as it was.
    quiet_start : bool
        Scale the residual branches of ``legacy_xception`` by 0.1 at first (Szegedy et al. 2017), as ``timm`` does those
        of its ResNets by 0. Their gradients are smoother after training.

    Raises
    ------
    ValueError
        If the backbone or the input is unknown, or a quiet start is wanted of another backbone.
    """

    def __init__(
        self, backbone: str, reads: str, side: int = 0, seed: int = 0, quiet_start: bool = False
    ):
        super().__init__()
        if reads not in CHANNELS:
            raise ValueError(f"unknown input {reads!r}; one of {', '.join(CHANNELS)} wanted")
        if not timm.is_model(backbone):
            near = ", ".join(timm.list_models(f"*{backbone[:6]}*")[:5]) or "see timm.list_models()"
            raise ValueError(
                f"unknown backbone {backbone!r}; a timm model wanted (similar: {near})"
            )
        self.backbone, self.reads, self.side = backbone, reads, side
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if reads == "fusion":
                # Without heads of their own: weights that no loss reaches would stop several processes in step.
                self.rgb_branch = timm.create_model(backbone, pretrained=False, num_classes=0)
                self.defocus_branch = timm.create_model(backbone, pretrained=False, num_classes=0)
                self.head = nn.Linear(self.defocus_branch.head_hidden_size, 1)
            else:
                self.classifier = timm.create_model(backbone, pretrained=False, num_classes=1)
        _read_in_full(self)
        if quiet_start:
            _quieten(self)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, 1)`` of inputs ``(B, C, H, W)`` in [0, 1]."""
        if self.reads == "fusion":
            return self.head(self._fused(inputs))
        return self.classifier(self._prepare(inputs))

    def answer(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits ``(B, 1)``, and the pooled backbone features ``(B, D)`` before the last layer."""
        if self.reads == "fusion":
            features = self._fused(inputs)
            return self.head(features), features
        maps = self.classifier.forward_features(self._prepare(inputs))
        return self.classifier.forward_head(maps), self.classifier.forward_head(
            maps, pre_logits=True
        )

    def _fused(self, inputs: torch.Tensor) -> torch.Tensor:
        photographs, maps = self._check(inputs).split([3, 1], dim=1)
        both = self.rgb_branch.forward_features(photographs * 2 - 1)
        both = both * self.defocus_branch.forward_features(maps.expand(-1, 3, -1, -1))
        return self.defocus_branch.forward_head(both, pre_logits=True)

    def _prepare(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = self._check(inputs)
        return inputs.expand(-1, 3, -1, -1) if self.reads == "defocus" else inputs * 2 - 1

    def _check(self, inputs: torch.Tensor) -> torch.Tensor:
        """The inputs at the side that the backbone reads, if their shape is right."""
        if inputs.ndim != 4 or inputs.shape[1] != CHANNELS[self.reads]:
            wanted = f"(B, {CHANNELS[self.reads]}, H, W)"
            raise ValueError(
                f"inputs has shape {tuple(inputs.shape)}; {wanted} wanted by a detector on {self.reads}"
            )
        return (
            F.interpolate(inputs, size=(self.side, self.side), mode="area") if self.side else inputs
        )


class _Reader(nn.Conv2d):
    """A convolution in the precision of its weights, also where autocast takes another one."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.to(self.weight.dtype))


def _read_in_full(detector: Detector) -> None:
    """Let first convolutions read in single precision: bfloat16 rounds pixels by a quarter of a grey level."""
    for network in detector.children():
        first = next(
            (module for module in network.modules() if isinstance(module, nn.Conv2d)), None
        )
        if type(first) is nn.Conv2d:
            first.__class__ = _Reader  # the same weights under the same names


def _quieten(detector: Detector) -> None:
    """Scale residual branches by what the batch normalisation at their end begins with."""
    blocks = [module for module in detector.modules() if isinstance(module, Block)]
    if not blocks:
        raise ValueError(
            f"{detector.backbone}: no quiet start is known for it; legacy_xception, or none, wanted"
        )
    for block in blocks:
        last = [layer for layer in block.rep if isinstance(layer, nn.BatchNorm2d)][-1]
        nn.init.constant_(last.weight, QUIET)


def save_detector(path: Path, detector: Detector, about: dict) -> Path:
    """Write weights as safetensors; what builds the detector again, and ``about``, travel in a JSON header."""
    header = {
        **about,
        "backbone": detector.backbone,
        "reads": detector.reads,
        "side": detector.side,
    }
    # Strided the ordinary way, whatever layout training used: the same weights make the same bytes.
    weights = {
        name: value.contiguous(memory_format=torch.contiguous_format)
        for name, value in detector.state_dict().items()
    }
    return write_beside(
        path,
        lambda beside: save_file(weights, beside, {HEADER: json.dumps(header, sort_keys=True)}),
    )


def load_detector(path: Path, **wanted: str) -> tuple[Detector, dict]:
    """Read a detector and what its header says.

    Parameters
    ----------
    path : Path
    **wanted : str
        Header entries that the caller relies on, such as ``reads="rgb"`` or ``preset="physical"``.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If it is no detector of ours, its weights do not fit its backbone, or an entry differs from the one wanted.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"no weights at {path}: train with epochs of at least 1, or name a file that is there"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        detector = Detector(header["backbone"], header["reads"], header["side"])
        detector.load_state_dict(weights)
    except KeyError as error:
        raise ValueError(
            f"{path}: no detector written by defocus_lib (no {error} in its header)"
        ) from error
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: not readable as a detector ({str(error).splitlines()[0]})"
        ) from error
    for name, value in wanted.items():
        if header.get(name) != value:
            raise ValueError(
                f"{path}: weights are for {name} {header.get(name)!r}; {value!r} wanted"
            )
    return detector.eval(), header
