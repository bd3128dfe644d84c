"""Weights from a file: our own safetensors, and the checkpoints that Jeon & Woo (2025) released.

A released file is a pickle. It is read with ``weights_only=True``, which builds tensors and plain values and runs no
code of the file.
"""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from defocus_lib.detect.model import CHANNELS, Detector, load_detector

BACKBONE = "legacy_xception"
PRESET = "released"
PREFIXES = ("module.", "classifier.")
OF_MAPS = "maps min-max normalised each to [0, 1] and repeated to 3 channels"
OF_PHOTOGRAPHS = "photographs with mean 0.5 and standard deviation 0.5 a channel"
NORMALISATION = {
    "defocus": OF_MAPS,
    "rgb": OF_PHOTOGRAPHS,
    "fusion": f"{OF_PHOTOGRAPHS}, and {OF_MAPS}",
}
# An accuracy that was computed with numpy is stored as a numpy scalar, under the name of its time.
_scalar = np.float64(0).__reduce__()[0]
NUMPY_SCALARS = [
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
]


def read_weights(
    path: str | Path, reads: str, preset: str, backbone: str = "", side: int | None = None
) -> tuple[Detector, dict]:
    """A detector in eval mode, from a file of ours or one that the authors released.

    Parameters
    ----------
    path : str or Path
        Safetensors written by :func:`defocus_lib.detect.model.save_detector`; or a pickle of torch that holds a state
        dict, bare or under ``model_state_dict``.
    reads : {"defocus", "rgb", "fusion"}
    preset : str
        Of the maps that the detector will read. It does not matter to a detector on photographs.
    backbone : str
        Name of a ``timm`` model; "" is what our file says, and ``legacy_xception`` for a released one.
    side : int, optional
        Side in px that inputs are averaged to, 0 for none; by default what our file says, and 0 for a released one.

    Returns
    -------
    Detector
    dict
        kind, backbone, reads, side, preset ("" where no map is read), normalisation; epoch and best_val_acc of a
        released file that names them; the whole header of one of ours.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If it is no such file, could run code when read, or its weights are for another input, preset or backbone.
    """
    path = Path(path)
    if reads not in CHANNELS:
        raise ValueError(f"unknown input {reads!r}; one of {', '.join(CHANNELS)} wanted")
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; a file that is there wanted")
    if _is_safetensors(path):
        return _read_own(path, reads, preset, backbone, side)
    return _read_released(path, reads, preset, backbone or BACKBONE, side or 0)


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _read_own(
    path: Path, reads: str, preset: str, backbone: str, side: int | None
) -> tuple[Detector, dict]:
    wanted = {
        "reads": reads,
        "preset": None if reads == "rgb" else preset,
        "backbone": backbone or None,
        "side": side,
    }
    detector, header = load_detector(
        path, **{name: value for name, value in wanted.items() if value is not None}
    )
    about = {**header, "kind": "a detector of this project", "normalisation": NORMALISATION[reads]}
    return detector, about | ({"preset": ""} if reads == "rgb" else {})


def _read_released(
    path: Path, reads: str, preset: str, backbone: str, side: int
) -> tuple[Detector, dict]:
    if reads == "fusion":
        raise ValueError(
            f"{path}: no safetensors. A fusion detector is read from safetensors written by this project"
        )
    weights, about = _unwrap(path, _unpickle(path))
    weights, prefixed = _without_prefixes(weights)
    found, sign = _what_it_reads(path, prefixed)
    if found and found != reads:
        raise ValueError(f"{path}: a released detector on {found} ({sign}); one on {reads} wanted")
    if not found and reads == "defocus":
        about["kind"] += (
            ", its keys those of an RGB detector or of an unwrapped one on defocus, taken for the latter"
        )
    if reads == "defocus" and preset != PRESET:
        raise ValueError(
            f"{path}: released weights read maps of preset {PRESET!r}; maps of preset {preset!r} given"
        )
    detector = Detector(backbone, reads, side)
    detector.classifier.load_state_dict(_fitted(path, weights, detector))
    about |= {
        "backbone": backbone,
        "reads": reads,
        "side": side,
        "preset": PRESET if reads == "defocus" else "",
    }
    return detector.eval(), about | {"normalisation": NORMALISATION[reads]}


def _unpickle(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The message of torch goes on to say how to read the file all the same; that is no advice to pass on.
        code = re.search(r"\bGLOBAL (\S+)", str(error))
        if code is None:
            raise ValueError(
                f"{path}: not readable as weights; safetensors or a state dict of torch wanted"
            ) from None
        raise ValueError(
            f"{path}: refused, since it is more than tensors and plain values: it names {code[1]}, and could run code "
            "when read. A file with the state dict alone wanted"
        ) from None
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        IndexError,
    ) as error:
        reason = (str(error).splitlines() or ["nothing in it"])[0]
        raise ValueError(
            f"{path}: not readable as weights ({reason}); safetensors or a state dict of torch wanted"
        ) from None


def _unwrap(path: Path, content: object) -> tuple[dict[str, torch.Tensor], dict]:
    """The state dict in either shape of file, and what the file says beside it."""
    about: dict = {"kind": "a released state dict"}
    if isinstance(content, Mapping) and "model_state_dict" in content:
        about["kind"] = "a released checkpoint"
        about |= _told(content)
        content = content["model_state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"{path}: holds a {type(content).__name__} of no weights; a state dict wanted"
        )
    for name, value in content.items():
        if (
            not isinstance(name, str)
            or not isinstance(value, torch.Tensor)
            or value.layout != torch.strided
        ):
            raise ValueError(
                f"{path}: entry {name!r} is a {type(value).__name__}; a state dict of tensors wanted"
            )
    return dict(content), about


def _told(content: Mapping) -> dict:
    """Epoch and accuracy, where a file tells them as numbers."""
    about = {}
    for name, kind in (("epoch", int), ("best_val_acc", float)):
        with contextlib.suppress(KeyError, TypeError, ValueError, RuntimeError):
            about[name] = kind(content[name])
    return about


def _without_prefixes(weights: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], bool]:
    """Names as ``timm`` has them, and whether they began with ``classifier.``.

    Only a prefix of every name is one: the last layer of some backbones is called ``classifier`` too.
    """
    prefixed = False
    while prefix := next(
        (p for p in PREFIXES if all(name.startswith(p) for name in weights)), None
    ):
        prefixed = prefixed or prefix == "classifier."
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights, prefixed


def _what_it_reads(path: Path, prefixed: bool) -> tuple[str, str]:
    """What a released detector reads, and by what sign; "" if nothing tells.

    The authors' file names begin with it. So do, with ``classifier.``, the keys of a defocus detector as they saved it;
    keys without it are those of an RGB detector, or of a defocus detector that somebody unwrapped.
    """
    for name in ("defocus", "rgb"):
        if path.name.startswith(f"{name}_"):
            return name, f"its name begins with '{name}_'"
    return ("defocus", "its keys begin with 'classifier.'") if prefixed else ("", "")


def _fitted(
    path: Path, weights: dict[str, torch.Tensor], detector: Detector
) -> dict[str, torch.Tensor]:
    """The weights under the names and in the shapes of the detector's backbone.

    Old files call the last layer ``last_linear`` and store 1x1 kernels as matrices.
    """
    target, head = (
        detector.classifier.state_dict(),
        detector.classifier.default_cfg.get("classifier", "fc"),
    )
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
    _check_fit(path, weights, target, detector.backbone)
    return weights


def _check_fit(path: Path, weights: Mapping, target: Mapping, backbone: str) -> None:
    """Raise if the weights are not those of the backbone. Old files do not count batches; torch adds the counts."""
    faults = {
        "missing": [
            name
            for name in target
            if name not in weights and not name.endswith("num_batches_tracked")
        ],
        "unexpected": [name for name in weights if name not in target],
        "of another shape": [
            f"{name} {tuple(value.shape)} for {tuple(target[name].shape)}"
            for name, value in weights.items()
            if name in target and value.shape != target[name].shape
        ],
        "not finite": [name for name, value in weights.items() if not torch.isfinite(value).all()],
    }
    told = [
        f"{len(names)} {fault} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for fault, names in faults.items()
        if names
    ]
    if told:
        raise ValueError(f"{path}: no weights of backbone {backbone!r}: {'; '.join(told)}")
