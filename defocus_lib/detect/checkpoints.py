"""Weights from a file: safetensors of this project, or a checkpoint of Jeon & Woo (2025) or others.

A released file is a pickle. It is read with ``weights_only=True``, which builds tensors and plain
values and runs no code of the file.
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

from defocus_lib.detect.inputs import kind_of
from defocus_lib.detect.model import Detector, load_detector
from defocus_lib.detect.plan import BACKBONE, PRESET

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


def read_weights(
    path: str | Path, reads: str, preset: str, backbone: str = "", input_size: int | None = None
) -> tuple[Detector, dict]:
    """A detector in eval mode and the facts in its file, which is ours or one that was released.

    Parameters
    ----------
    path : str or Path
        Safetensors of :func:`defocus_lib.detect.model.save_detector`, or a pickle of torch that
        holds a state dict, bare or under a name of :data:`WRAPPERS`, as Lightning's files do. Names
        may share :data:`PREFIXES` such as ``backbone.``.
    reads, preset : str
        Input of the detector, and preset of the maps that it will read (irrelevant to ``rgb``).
    backbone : str
        A ``timm`` model; "" is that of our file, and ``legacy_xception`` for a released one.
    input_size : int, optional
        As in :class:`Detector`; by default that of our file, and 0 for a released one.

    Returns
    -------
    detector : Detector
    about : dict
        kind, backbone, reads, input_size, preset ("" where no map is read), normalisation; epoch
        and best_val_acc of a released file that holds them; the whole header of one of ours.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If it holds no weights, could run code when read, or its weights are for something else.
    """
    path, kind = Path(path), kind_of(reads)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; a file that is there wanted")
    if _is_safetensors(path):
        required = {"backbone": backbone or None, "input_size": input_size, "reads": reads}
        required["preset"] = preset if kind.map else None
        detector, about = load_detector(
            path, **{name: value for name, value in required.items() if value is not None}
        )
        about |= {"kind": "a detector of this project"}
    else:
        detector, about = _read_released(path, reads, preset, backbone or BACKBONE, input_size or 0)
        about |= {"backbone": detector.backbone, "reads": reads, "input_size": detector.input_size}
        about |= {"preset": PRESET}
    about |= {"normalisation": kind.normalisation}
    return detector.eval(), about | ({} if kind.map else {"preset": ""})


def open_weights(path: str | Path, reads: str = "", backbone: str = "") -> tuple[Detector, dict]:
    """A detector in eval mode as its own file describes it, and the facts in the file.

    One of ours says everything in its header. Of any other file ``reads`` is told by the authors'
    file name or keys, if it is not given, and the rest is as in :func:`read_weights`: there is no
    threshold, no size, and no word on what it was trained on.

    Raises as :func:`read_weights` does; ValueError also if nothing tells what the detector reads.
    """
    path = Path(path)
    if path.is_file() and _is_safetensors(path):
        detector, about = load_detector(path)
        for name, given in (("reads", reads), ("backbone", backbone)):
            if given and given != about[name]:
                raise ValueError(f"{path}: weights are for {name} {about[name]!r}; {given!r} given")
        return detector, about | {"kind": "a detector of this project"}
    if not reads and path.is_file():
        _, wrapped = _without_prefixes(_state_dict(path, _unpickle(path))[0])
        reads, _ = _input_of(path, wrapped)
        if not reads:
            raise ValueError(
                f"{path}: nothing tells what this detector reads; --input defocus or rgb wanted"
            )
    return read_weights(path, reads or "rgb", PRESET, backbone)


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _read_released(
    path: Path, reads: str, preset: str, backbone: str, input_size: int
) -> tuple[Detector, dict]:
    """A detector from a pickle, and its kind, epoch and accuracy."""
    if reads not in ("defocus", "rgb"):
        raise ValueError(
            f"{path}: no safetensors. A {reads} detector is read from safetensors written by this "
            "project"
        )
    weights, about = _state_dict(path, _unpickle(path))
    weights, wrapped = _without_prefixes(weights)
    named, sign = _input_of(path, wrapped)
    if named and named != reads:
        raise ValueError(f"{path}: a released detector on {named} ({sign}); one on {reads} wanted")
    if not named and reads == "defocus":
        about["kind"] += (
            ", its keys those of an RGB detector or of an unwrapped one on defocus, "
            "taken for the latter"
        )
    if reads == "defocus" and preset != PRESET:
        raise ValueError(
            f"{path}: released weights read maps of preset {PRESET!r}; "
            f"maps of preset {preset!r} given"
        )
    detector = Detector(backbone, reads, input_size)
    detector.classifier.load_state_dict(_fitted(path, weights, detector))
    return detector, about


def _unpickle(path: Path) -> object:
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


def _state_dict(path: Path, content: Any) -> tuple[dict[str, torch.Tensor], dict]:
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


def _without_prefixes(weights: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], bool]:
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


def _input_of(path: Path, wrapped: bool) -> tuple[str, str]:
    """What a released detector reads, and the sign of it; "" if there is none.

    The authors' file names begin with it. Their defocus detectors have keys that begin with
    ``classifier.``; keys without it are those of an RGB detector, or of a defocus detector that was
    unwrapped later.
    """
    for name in ("defocus", "rgb"):
        if path.name.startswith(f"{name}_"):
            return name, f"its name begins with '{name}_'"
    return ("defocus", "its keys begin with 'classifier.'") if wrapped else ("", "")


def _fitted(
    path: Path, weights: dict[str, torch.Tensor], detector: Detector
) -> dict[str, torch.Tensor]:
    """The weights under the names and in the shapes of the detector's backbone.

    Old files call the last layer ``last_linear`` and store 1x1 kernels as matrices.
    """
    target = detector.classifier.state_dict()
    head = detector.classifier.default_cfg.get("classifier", "fc")
    weights = {
        re.sub(r"^last_linear\.(1\.)?", f"{head}.", name): value for name, value in weights.items()
    }
    outputs = weights.get(f"{head}.weight")
    if outputs is not None and outputs.ndim == 2 and len(outputs) != 1:
        raise ValueError(
            f"{path}: a classifier with {len(outputs)} outputs; a detector with one logit wanted"
        )
    for name, value in weights.items():
        if name in target and (*value.shape, 1, 1) == tuple(target[name].shape):
            weights[name] = value[..., None, None]
    _check_fit(path, weights, target, detector.backbone, head)
    return weights


def _check_fit(path: Path, weights: Mapping, target: Mapping, backbone: str, head: str) -> None:
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
