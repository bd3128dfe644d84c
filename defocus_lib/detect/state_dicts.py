"""State dicts of a network from files: safetensors, or pickles of torch in many wrappings.

A pickle is read with ``weights_only=True``, which builds tensors and plain values and runs no code
of the file.
"""

from __future__ import annotations

import contextlib
import pickle
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

# What a state dict lies under: as the authors save it, Lightning, timm and many scripts.
WRAPPERS = ("model_state_dict", "state_dict", "model", "net", "network", "weights")
# Of names: of DataParallel, the authors' detector, torch.compile, and what others call theirs.
PREFIXES = (
    *("module.", "classifier.", "_orig_mod."),
    *("backbone.", "model.", "net.", "network.", "encoder.", "detector."),
)
NOT_OF_THE_NETWORK = re.compile(r"(\w*loss\w*|\w*criterion|\w*metrics?)\.")  # beside it in a module
# An accuracy that was computed with numpy is stored as a numpy scalar, under the name of its time.
_scalar = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
]
WANTED = "safetensors or a state dict of torch wanted"


def is_safetensors(path: Path) -> bool:
    """Whether a file is safetensors, by its name or its first bytes."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def unpickle(path: Path) -> object:
    """The content of a pickle of torch: tensors and plain values.

    Raises ValueError if it is more than these, or can't be read.
    """
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The message of torch goes on to say how to run such code; that is no advice to pass on.
        code = re.search(r"\bGLOBAL (\S+)", str(error))
        if code is None:
            raise ValueError(f"{path}: not readable as weights; {WANTED}") from None
        raise ValueError(
            f"{path}: refused, since it is more than tensors and plain values: it names "
            f"{code[1]}, and could run code when read. A file with the state dict alone wanted"
        ) from None
    except Exception as error:  # torch names no common one for what a corrupt file may raise
        reason = (str(error).splitlines() or ["it is empty"])[0]
        reason = "no file of torch" if isinstance(error, KeyError) else reason  # of a byte's number
        raise ValueError(f"{path}: not readable as weights ({reason}); {WANTED}") from None


def state_dict_of(path: Path, content: Any) -> tuple[dict[str, torch.Tensor], dict]:
    """The state dict of either shape of file, and the kind, epoch and accuracy of the file."""
    about: dict = {"kind": "a released state dict"}
    while wrapper := _wrapper_of(content):
        about["kind"] = "a released checkpoint"
        if wrapper != WRAPPERS[0]:
            about["kind"] = f"a checkpoint that holds its weights under {wrapper!r}"
        for name, number in (("epoch", int), ("best_val_acc", float)):
            with contextlib.suppress(KeyError, TypeError, ValueError, RuntimeError):
                about[name] = number(content[name])
        content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"{path}: holds a {type(content).__name__} of no weights; a state dict wanted"
        )
    for name, value in content.items():
        strided = isinstance(value, torch.Tensor) and value.layout == torch.strided
        if not (isinstance(name, str) and strided):
            raise ValueError(
                f"{path}: entry {name!r} is a {type(value).__name__}; "
                "a state dict of tensors wanted"
            )
    return dict(content), about


def _wrapper_of(content: Any) -> str:
    """The name that the weights lie under; "" if they do not. A tensor of that name is a weight."""
    if not isinstance(content, Mapping):
        return ""
    names = (name for name in WRAPPERS if name in content)
    return next((name for name in names if not isinstance(content[name], torch.Tensor)), "")


def without_prefixes(weights: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], bool]:
    """The weights under timm's names, and whether the names began with ``classifier.``.

    A prefix is one that all names share: the last layer of some backbones is called ``classifier``
    too. Weights of a loss or a metric, which a Lightning module holds beside its network, are left
    out.
    """
    wrapped = False
    weights = {name: value for name, value in weights.items() if not NOT_OF_THE_NETWORK.match(name)}
    while weights and (
        shared := [p for p in PREFIXES if all(name.startswith(p) for name in weights)]
    ):
        wrapped = wrapped or shared[0] == "classifier."
        weights = {name.removeprefix(shared[0]): value for name, value in weights.items()}
    return weights, wrapped


def head_of(network: nn.Module) -> str:
    """The name of the last layer of a ``timm`` network."""
    config: Any = network.default_cfg
    return config.get("classifier") or "fc"


def named_as_in(network: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under the names and in the shapes of a ``timm`` network.

    Old files call the last layer ``last_linear`` and store 1x1 kernels as matrices.
    """
    target, head = network.state_dict(), head_of(network)
    weights = {
        re.sub(r"^last_linear\.(1\.)?", f"{head}.", name): value for name, value in weights.items()
    }
    for name, value in weights.items():
        if name in target and (*value.shape, 1, 1) == tuple(target[name].shape):
            weights[name] = value[..., None, None]
    return weights


def check_fit(path: Path, weights: Mapping, target: Mapping, backbone: str, head: str) -> None:
    """Raise if the weights are not those of the backbone. Counts of batches may be missing."""
    required = [name for name in target if not name.endswith("num_batches_tracked")]
    common = {name: value for name, value in weights.items() if name in target}
    faults = {
        "missing": [name for name in required if name not in weights],
        "unexpected": [name for name in weights if name not in target],
        "of another shape": [
            f"{name} {tuple(value.shape)} for {tuple(target[name].shape)}"
            for name, value in common.items()
            if value.shape != target[name].shape
        ],
        "not finite": [name for name, value in weights.items() if not torch.isfinite(value).all()],
    }
    messages = [
        f"{len(names)} {fault} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for fault, names in faults.items()
        if names
    ]
    if messages:
        faults_found = "; ".join(messages) + _advice(weights, target, head)
        raise ValueError(f"{path}: no weights of backbone {backbone!r}: {faults_found}")


def _advice(weights: Mapping, target: Mapping, head: str) -> str:
    """How to rename weights most of which are the backbone's behind a prefix; "" if none are.

    So it is where a backbone and a last layer are two modules of another class.
    """
    parts = [name.partition(".") for name in weights]
    prefixes = Counter(f"{prefix}." for prefix, _, name in parts if name in target)
    prefix, number = prefixes.most_common(1)[0] if prefixes else ("", 0)
    if number < len(weights) / 2:
        return ""
    others = [name for name in weights if not name.startswith(prefix)]
    last = [name for name in target if name.startswith(f"{head}.")]
    renamed = f", and {', '.join(others[:3])} named as the last layer, {', '.join(last)}"
    return (
        f". Behind {prefix!r} the names are those of the backbone: a state dict without this "
        f"prefix{renamed if others else ''} wanted"
    )
