"""Weights from a file: safetensors of this project, or a checkpoint of Jeon & Woo (2025) or others.

A released file is a pickle. It is read with ``weights_only=True``, which builds tensors and plain
values and runs no code of the file.
"""

from __future__ import annotations

from pathlib import Path

from defocus_lib.detect.inputs import kind_of
from defocus_lib.detect.model import Detector, load_detector
from defocus_lib.detect.normalisation import MIN_MAX
from defocus_lib.detect.plan import BACKBONE, PRESET
from defocus_lib.detect.pretrained import UNKNOWN
from defocus_lib.detect.state_dicts import (
    check_fit,
    head_of,
    is_safetensors,
    named_as_in,
    state_dict_of,
    unpickle,
    without_prefixes,
)


def read_weights(
    path: str | Path,
    reads: str,
    preset: str,
    backbone: str = "",
    input_size: int | None = None,
    normalisation: str | None = None,
) -> tuple[Detector, dict]:
    """A detector in eval mode and the facts in its file, which is ours or one that was released.

    Parameters
    ----------
    path : str or Path
        Safetensors of :func:`defocus_lib.detect.model.save_detector`, or a pickle of torch that
        holds a state dict, bare or wrapped (:mod:`defocus_lib.detect.state_dicts`), as Lightning's
        files do. Names may share a prefix such as ``backbone.``.
    reads, preset : str
        Input of the detector, and preset of the maps that it will read (irrelevant to ``rgb``).
    backbone : str
        A ``timm`` model; "" is that of our file, and ``legacy_xception`` for a released one.
    input_size : int, optional
        As in :class:`Detector`; by default that of our file, and 0 for a released one.
    normalisation : str, optional
        Of the maps; by default that of our file, and min-max for a released one.

    Returns
    -------
    detector : Detector
    about : dict
        kind, backbone, reads, input_size; preset and normalisation ("" where no map is read);
        scaling of the input in words; epoch and best_val_acc of a released file that holds them;
        the whole header of one of ours.

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
    if is_safetensors(path):
        required = {"backbone": backbone or None, "input_size": input_size, "reads": reads}
        required["preset"] = preset if kind.map else None
        required["normalisation"] = normalisation if kind.map else None
        detector, about = load_detector(
            path, **{name: value for name, value in required.items() if value is not None}
        )
        about |= {"kind": "a detector of this project"}
    elif kind.map and normalisation not in (None, MIN_MAX):
        raise ValueError(
            f"{path}: released weights read {MIN_MAX} normalised maps; {normalisation} given"
        )
    else:
        detector, about = _read_released(path, reads, preset, backbone or BACKBONE, input_size or 0)
        about |= {"backbone": detector.backbone, "reads": reads, "input_size": detector.input_size}
        about |= {"preset": PRESET, "normalisation": MIN_MAX if kind.map else ""}
    about |= {"scaling": kind.scaling(detector.normalisation, detector.scaling)}
    return detector.eval(), about | ({} if kind.map else {"preset": ""})


def open_weights(path: str | Path, reads: str = "", backbone: str = "") -> tuple[Detector, dict]:
    """A detector in eval mode as its own file describes it, and the facts in the file.

    One of ours says everything in its header. Of any other file ``reads`` is told by the authors'
    file name or keys, if it is not given, and the rest is as in :func:`read_weights`: there is no
    threshold, no size, and no word on what it was trained on.

    Raises as :func:`read_weights` does; ValueError also if nothing tells what the detector reads.
    """
    path = Path(path)
    if path.is_file() and is_safetensors(path):
        detector, about = load_detector(path)
        for name, given in (("reads", reads), ("backbone", backbone)):
            if given and given != about[name]:
                raise ValueError(f"{path}: weights are for {name} {about[name]!r}; {given!r} given")
        return detector, about | {"kind": "a detector of this project"}
    if not reads and path.is_file():
        _, wrapped = without_prefixes(state_dict_of(path, unpickle(path))[0])
        reads, _ = _input_of(path, wrapped)
        if not reads:
            raise ValueError(
                f"{path}: nothing tells what this detector reads; --input defocus or rgb wanted"
            )
    return read_weights(path, reads or "rgb", PRESET, backbone)


def _read_released(
    path: Path, reads: str, preset: str, backbone: str, input_size: int
) -> tuple[Detector, dict]:
    """A detector from a pickle, and its kind, epoch and accuracy."""
    if reads not in ("defocus", "rgb"):
        raise ValueError(
            f"{path}: no safetensors. A {reads} detector is read from safetensors written by this "
            "project"
        )
    weights, about = state_dict_of(path, unpickle(path))
    weights, wrapped = without_prefixes(weights)
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
    detector.pretrained = UNKNOWN
    network = detector.classifier
    weights, head = named_as_in(network, weights), head_of(network)
    outputs = weights.get(f"{head}.weight")
    if outputs is not None and outputs.ndim == 2 and len(outputs) != 1:
        raise ValueError(
            f"{path}: a classifier with {len(outputs)} outputs; a detector with one logit wanted"
        )
    check_fit(path, weights, network.state_dict(), backbone, head)
    network.load_state_dict(weights)
    return detector, about


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
