"""The detector: a ``timm`` backbone with one logit on the map, the photograph, or both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from timm.models.xception import Block
from torch import nn
from torch.nn import functional as F

from defocus_lib.detect.inputs import kind_of
from defocus_lib.detect.normalisation import MIN_MAX, of_header
from defocus_lib.detect.plan import DEFAULT_INITIALISATION
from defocus_lib.detect.pretrained import (
    FROM_SCRATCH,
    HEADER,
    HUB,
    PACKAGED,
    Scaling,
    backbone_network,
)
from defocus_lib.run.artifacts import write_beside

EARLIER = {"side": "input_size", "learned": "training_manipulation"}  # names in older files


class Detector(nn.Module):
    """A ``timm`` backbone on one kind of input, or two backbones that are fused.

    The first convolution computes in the precision of its weights, also under autocast. A fusion
    detector has the backbones ``rgb_branch`` and ``defocus_branch``: their last feature maps are
    multiplied, pooled as the backbone pools, and read by one linear layer, ``head``.

    Parameters
    ----------
    backbone : str
        Name of a ``timm`` model.
    reads : {"defocus", "rgb", "fusion"}
        Maps ``(B, K, H, W)`` in [0, 1], repeated to three channels (Jeon & Woo 2025); images
        ``(B, 3, H, W)`` in [0, 1], scaled to [-1, 1] or as pretrained weights want; or
        ``(B, 3 + K, H, W)``, image and then map.
    input_size : int
        Inputs are averaged to this height and width in px first; 0 takes them as they are.
    seed : int
        Seed of the first weights. The caller's generator is left as it was.
    pretrained : str
        Where the first weights of the backbone come from, see
        :func:`defocus_lib.detect.pretrained.backbone_network`; "" for random ones. Both branches of
        a fusion detector have them. Inputs are then scaled as the weights want, photographs and
        maps alike. A map that is repeated to three channels meets the same first layer as timm
        makes for one channel, which has the sum of its kernels.
    residual_scale : float
        Initial scale of the residual branches of ``legacy_xception``: 1 is the default
        initialisation, 0.1 that of Szegedy et al. (2017), after which gradients are smoother.
    normalisation : str
        Of the maps, a name in :data:`defocus_lib.detect.normalisation.NORMALISATIONS`, which fixes
        ``K``: the second of two channels is repeated.

    Raises
    ------
    ValueError
        If backbone or input are unknown, branches of another backbone are to be scaled, or the
        pretrained weights are not those of the backbone.
    OSError
        If there are no such pretrained weights, or their hub does not answer.
    """

    # timm's networks: their methods are not those of nn.Module.
    classifier: Any
    rgb_branch: Any
    defocus_branch: Any
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        backbone: str,
        reads: str,
        input_size: int = 0,
        seed: int = 0,
        residual_scale: float = DEFAULT_INITIALISATION,
        pretrained: str = "",
        normalisation: str = MIN_MAX,
    ):
        super().__init__()
        self.kind = kind_of(reads)
        if not timm.is_model(backbone):
            near = ", ".join(timm.list_models(f"*{backbone[:6]}*")[:5]) or "see timm.list_models()"
            raise ValueError(
                f"unknown backbone {backbone!r}; a timm model wanted (similar: {near})"
            )
        self.backbone, self.reads, self.input_size = backbone, reads, input_size
        self.normalisation, self.channels = normalisation, self.kind.channels(normalisation)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.fused:
                # No heads: distributed training hangs on weights that the loss does not reach.
                self.rgb_branch, scaling = backbone_network(backbone, pretrained, 0)
                self.defocus_branch, _ = backbone_network(backbone, pretrained, 0)
                self.head = nn.Linear(self.defocus_branch.head_hidden_size, 1)
            else:
                self.classifier, scaling = backbone_network(backbone, pretrained, 1)
        self.scale_as(scaling)
        # Of a file its name: a path says more about a machine than about weights.
        named = pretrained in ("", HUB, PACKAGED)
        self.pretrained = pretrained if named else Path(pretrained).name
        _read_in_full_precision(self)
        if residual_scale != DEFAULT_INITIALISATION:
            _scale_residual_branches(self, residual_scale)

    def scale_as(self, scaling: Scaling) -> None:
        """Scale inputs so from now on."""
        self.scaling = scaling
        for name in ("mean", "std"):
            # Not among the weights, whose names are those of the authors.
            values = torch.tensor(getattr(scaling, name)).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    @property
    def fused(self) -> bool:
        """Whether a branch on the photograph and one on the map are multiplied."""
        return self.kind.photograph and self.kind.map

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, 1)`` of inputs ``(B, C, H, W)`` in [0, 1]."""
        if self.fused:
            return self.head(self._fused_features(inputs))
        return self.classifier(self.scaled(inputs))

    def logits_and_features(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits ``(B, 1)``, and the pooled backbone features ``(B, D)`` before the last layer."""
        if self.fused:
            features = self._fused_features(inputs)
            return self.head(features), features
        maps = self.classifier.forward_features(self.scaled(inputs))
        features = self.classifier.forward_head(maps, pre_logits=True)
        return self.classifier.forward_head(maps), features

    def _fused_features(self, inputs: torch.Tensor) -> torch.Tensor:
        photographs, maps = self.averaged(inputs).tensor_split([3], dim=1)
        product = self.rgb_branch.forward_features(self._standardised(photographs))
        product = product * self.defocus_branch.forward_features(self._scaled_maps(maps))
        return self.defocus_branch.forward_head(product, pre_logits=True)

    def scaled(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the backbone of a detector on one input reads: averaged, scaled, three channels."""
        inputs = self.averaged(inputs)
        return self._standardised(inputs) if self.kind.photograph else self._scaled_maps(inputs)

    def _scaled_maps(self, maps: torch.Tensor) -> torch.Tensor:
        planes = _three_channels(maps)
        return self._standardised(planes) if self.scaling.maps else planes

    def _standardised(self, planes: torch.Tensor) -> torch.Tensor:
        return (planes - self.mean) / self.std

    def averaged(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs ``(B, C, H, W)`` averaged to ``input_size``; those of this size as they are."""
        channels = self.channels
        if inputs.ndim != 4 or inputs.shape[1] != channels:
            raise ValueError(
                f"inputs has shape {tuple(inputs.shape)}; (B, {channels}, H, W) wanted by a "
                f"detector on {self.reads}" + f", {self.normalisation}" * self.kind.map
            )
        if self.input_size in (0, *inputs.shape[2:]):
            return inputs
        return F.interpolate(inputs, size=(self.input_size, self.input_size), mode="area")


def _three_channels(maps: torch.Tensor) -> torch.Tensor:
    """Maps ``(B, K, H, W)`` of one or two channels, the last repeated up to three."""
    last = maps[:, -1:].expand(-1, 4 - maps.shape[1], -1, -1)
    return last if maps.shape[1] == 1 else torch.cat([maps[:, :-1], last], dim=1)


class _FullPrecisionConv2d(nn.Conv2d):
    """A convolution in the precision of its weights, also where autocast takes another one."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.to(self.weight.dtype))


def _read_in_full_precision(detector: Detector) -> None:
    """Exempt first convolutions from autocast: bfloat16 rounds pixels by 1/4 of a grey level."""
    for network in detector.children():
        convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
        first = next(convolutions, None)
        if type(first) is nn.Conv2d:
            first.__class__ = _FullPrecisionConv2d  # the same weights under the same names


def _scale_residual_branches(detector: Detector, scale: float) -> None:
    """Set the first weight of the batch normalisation that ends each residual branch."""
    blocks = [module for module in detector.modules() if isinstance(module, Block)]
    if not blocks:
        raise ValueError(
            f"residual_scale is {scale} for {detector.backbone}; legacy_xception, or a scale of 1, "
            "wanted"
        )
    for block in blocks:
        last = [layer for layer in block.rep if isinstance(layer, nn.BatchNorm2d)][-1]
        nn.init.constant_(last.weight, scale)


def save_detector(path: Path, detector: Detector, about: dict) -> Path:
    """Write weights as safetensors, with ``about`` and what rebuilds the detector in the header."""
    names = ("backbone", "reads", "input_size", "pretrained")
    header = about | {name: getattr(detector, name) for name in names}
    header["input_scaling"] = detector.scaling._asdict()
    header["normalisation"] = detector.normalisation if detector.kind.map else ""
    # Contiguous, whatever layout training used: the same weights make the same bytes.
    weights = {
        name: value.contiguous(memory_format=torch.contiguous_format)
        for name, value in detector.state_dict().items()
    }
    text = {HEADER: json.dumps(header, sort_keys=True)}
    return write_beside(path, lambda beside: save_file(weights, beside, text))


def load_detector(path: Path, **required: object) -> tuple[Detector, dict]:
    """A detector in eval mode, and its header, whose entries match ``required`` (``reads="rgb"``).

    Raises FileNotFoundError if there is no file; ValueError if it is no detector of this project,
    its weights do not fit its backbone, or a header entry differs from the one required.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"no weights at {path}: train with epochs of at least 1, or name a file that is there"
        )
    try:
        header, weights = _read(path)
        settings = header["backbone"], header["reads"], header["input_size"]
        detector = Detector(*settings, normalisation=header["normalisation"] or MIN_MAX)
        detector.load_state_dict(weights)
        # Older files say neither, and their detectors were trained from scratch.
        detector.scale_as(Scaling.named(header.get("input_scaling", FROM_SCRATCH._asdict())))
        detector.pretrained = header.get("pretrained", "")
    except KeyError as error:
        raise ValueError(
            f"{path}: no detector written by defocus_lib (no {error} in its header)"
        ) from error
    except (SafetensorError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: not readable as a detector ({str(error).splitlines()[0]})"
        ) from error
    for name, value in required.items():
        if header.get(name) != value:
            raise ValueError(
                f"{path}: weights are for {name} {header.get(name)!r}; {value!r} wanted"
            )
    return detector.eval(), header


def _read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """Header and weights of a file."""
    with safe_open(path, framework="pt") as file:
        header = json.loads((file.metadata() or {})[HEADER])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = {EARLIER.get(name, name): value for name, value in header.items()}
    of_map = of_header(header) if kind_of(header["reads"]).map else ""
    return header | {"normalisation": of_map}, weights
