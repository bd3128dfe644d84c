"""One experiment: a detector trained, or read from a file, and what it says about images it has not seen.

Shared by the command line and notebook 03.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from defocus_lib.data.images import Reader
from defocus_lib.data.index import records_of
from defocus_lib.data.manifest import Dataset, load_manifest
from defocus_lib.data.records import choose, counts, one_sided_splits, sample
from defocus_lib.data.splits import SPLITS
from defocus_lib.detect.checkpoints import BACKBONE, PRESET, read_weights
from defocus_lib.detect.inputs import KINDS, Inputs
from defocus_lib.detect.model import Detector, save_detector
from defocus_lib.detect.training import Plan, fit, predict
from defocus_lib.maps.cache import MapCache, map_cache, version
from defocus_lib.maps.estimate import normalize_per_sample
from defocus_lib.maps.presets import PRESETS
from defocus_lib.run.artifacts import project_root, write_beside
from defocus_lib.run.profiling import Stages
from defocus_lib.run.provenance import commit
from defocus_lib.stats import classification

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DETECTOR = "detector.safetensors"
IDENTITY = ["id", "video", "frame", "group", "manipulation", "label", "split"]


@dataclass(frozen=True)
class Outcome:
    """What came of an experiment.

    Attributes
    ----------
    detector : Detector
        On the CPU, in fp32 and eval mode.
    history : DataFrame or None
        One row an epoch, see :func:`defocus_lib.detect.training.fit`; None if nothing was trained.
    predictions : DataFrame
        One row an image of the validation and test splits: id, video, frame, group, manipulation, label, split, logit,
        and probability, its sigmoid.
    features : (N, D) float32
        Pooled features of the test images, in the order of their rows in ``predictions``.
    threshold : float
        Probability from which an image is called fake, chosen on validation.
    about : dict
        Plain values for the header of the weights: preset, propagation, size, fit, normalisation, validation (loss,
        auc, accuracy at 0.5), threshold; plan and epoch (the best one) if trained, weights if read from a file.
    """

    detector: Detector
    history: pd.DataFrame | None
    predictions: pd.DataFrame
    features: np.ndarray
    threshold: float
    about: dict

    @property
    def test(self) -> pd.DataFrame:
        """The predictions for the test images."""
        return self.predictions[self.predictions["split"] == "test"].reset_index(drop=True)


def run(
    records: pd.DataFrame,
    reads: str,
    reader: Reader,
    cache: MapCache | None,
    plan: Plan,
    backbone: str,
    input_size: int | None,
    weights: str | Path | None = None,
    folder: Path | None = None,
    resume: bool = False,
    draw: Callable[..., Figure] | None = None,
    stages: Stages | None = None,
    progress: bool = True,
) -> Outcome:
    """Train a detector, or evaluate weights, and predict the validation and test images.

    Parameters
    ----------
    records : DataFrame
        One row an image; real and fake images in every split that is used.
    reads : {"defocus", "rgb", "fusion"}
    reader : Reader
    cache : MapCache or None
        Holds the maps of all records; None for ``rgb``.
    plan : Plan
        With 0 epochs, ``weights`` are evaluated, and the training split may be empty.
    backbone : str
        Name of a ``timm`` model; "" with weights takes theirs.
    input_size : int or None
        Side in px that inputs are averaged to, 0 for none; None takes that of the weights, or 0.
    weights : path, optional
        Training starts from these; see :func:`defocus_lib.detect.checkpoints.read_weights`.
    folder, resume, progress
        See :func:`defocus_lib.detect.training.fit`.
    draw : callable, optional
        Draws validation images after each epoch, see :func:`preview_grid`; needs ``folder`` and ``cache``.
    stages : Stages, optional
        Gets the stages ``training`` and ``prediction``.

    Raises
    ------
    ValueError
        If a split lacks real or fake images, there is nothing to train and nothing to evaluate, or the weights are for
        something else.
    """
    needed = SPLITS if plan.epochs else SPLITS[1:]
    _check_splits(records, needed)
    parts = {split: records[records["split"] == split] for split in needed}
    inputs = {split: Inputs(part, reads, reader, cache) for split, part in parts.items()}
    detector, origin = _begin(reads, cache, plan, backbone, input_size, weights)
    stages, history = Stages() if stages is None else stages, None
    if plan.epochs:
        data = _fingerprint(pd.concat([parts["train"], parts["val"]]), reads, reader, cache)
        drawn = draw is not None and folder is not None and cache is not None
        preview = (
            preview_grid(folder, reader, cache, parts["val"], reads, draw, resume)
            if drawn
            else None
        )
        with stages("training") as stage:
            history = fit(
                detector,
                inputs["train"],
                inputs["val"],
                plan,
                folder,
                resume,
                preview,
                progress,
                data,
            )
            stage["images"] = 0 if resume else len(history) * len(parts["train"])
    seen = pd.concat([parts["val"], parts["test"]])
    with stages("prediction", images=len(seen)):
        answers = {
            split: _answer(detector, inputs[split], plan, progress) for split in ("val", "test")
        }
    logits = np.concatenate([answers[split][0] for split in ("val", "test")])
    predictions = _predictions(seen, logits)
    val = predictions[predictions["split"] == "val"]
    threshold = classification.choose_threshold(val["label"], val["probability"])
    about = _about(reads, reader, cache, plan, history, origin) | {
        "validation": _measure(val),
        "threshold": threshold,
    }
    return Outcome(detector.eval(), history, predictions, answers["test"][1], threshold, about)


def untrained_features(
    outcome: Outcome,
    records: pd.DataFrame,
    reader: Reader,
    cache: MapCache | None,
    plan: Plan,
    progress: bool = True,
) -> np.ndarray:
    """Pooled features of images from the same backbone with random weights: those that ``plan.seed`` starts from.

    They are as training finds them, in eval mode: batch normalisation has seen nothing and leaves values as they are,
    and in many backbones the last one of each residual branch starts at 0 or little more, which mutes the branch.

    Parameters
    ----------
    outcome : Outcome
        Of the detector whose backbone, input and input_size are taken.
    records : DataFrame
        One row an image.
    reader, cache, plan
        As :func:`run`.

    Returns
    -------
    (N, D) float32
    """
    trained = outcome.detector
    first = Detector(
        trained.backbone, trained.reads, trained.input_size, plan.seed, plan.residual_scale
    )
    return _answer(first, Inputs(records, trained.reads, reader, cache), plan, progress)[1]


def what_was_learned(outcome: Outcome, trained_on: str) -> str:
    """``trained_on`` if this run trained the detector, else what the file of its weights says; "" if it does not."""
    return (
        trained_on
        if outcome.history is not None
        else outcome.about.get("weights", {}).get("learned", "")
    )


def _check_splits(records: pd.DataFrame, needed: tuple[str, ...]) -> None:
    if missing := one_sided_splits(records, needed):
        raise ValueError(
            f"{'; '.join(missing)}: real and fake images wanted in {', '.join(needed)}"
        )


def _begin(
    reads: str,
    cache: MapCache | None,
    plan: Plan,
    backbone: str,
    input_size: int | None,
    weights: str | Path | None,
) -> tuple[Detector, dict]:
    """The detector before training, and where its weights come from."""
    if weights is None:
        if plan.epochs == 0:
            raise ValueError(
                "epochs is 0 and no weights are named: a file of weights to evaluate, or epochs, wanted"
            )
        return Detector(backbone, reads, input_size or 0, plan.seed, plan.residual_scale), {}
    detector, origin = read_weights(
        weights, reads, cache.preset if cache else "", backbone, input_size
    )
    if reads != "rgb" and "propagation" in origin:
        trained_on = origin["propagation"] or PRESETS[origin["preset"]].propagation
        if trained_on != _propagation(cache):
            raise ValueError(
                f"{weights}: weights are for maps of propagation {trained_on!r}; {_propagation(cache)!r} given"
            )
    kept = (
        "kind",
        "preset",
        "normalisation",
        "epoch",
        "best_val_acc",
        "commit",
        "data",
        "learned",
        "plan",
    )
    return detector, {"file": Path(weights).name} | {
        name: origin[name] for name in kept if name in origin
    }


def _propagation(cache: MapCache | None) -> str:
    """What makes the maps dense, by name."""
    return (cache.propagation or PRESETS[cache.preset].propagation) if cache else ""


def _fingerprint(records: pd.DataFrame, reads: str, reader: Reader, cache: MapCache | None) -> str:
    """12 hexadecimal digits that stand for the inputs and labels of these records."""
    how = [reads, reader.size, reader.fit]
    if reads != "rgb":
        how += [cache.preset, _propagation(cache), version(cache.preset)]
    rows = records[["id", "digest", "label", "split"]].to_numpy().tolist()
    return hashlib.sha256(json.dumps([how, rows]).encode()).hexdigest()[:12]


def _answer(
    detector: Detector, inputs: Inputs, plan: Plan, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    try:
        answers = predict(
            detector.to(plan.device()), inputs, plan.batch_size, plan.n_workers, progress
        )
    finally:
        detector.to("cpu")
    return tuple(values.numpy() for values in answers)


def _predictions(records: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:
    if not np.isfinite(logits).all():
        name = records["id"].iat[int(np.flatnonzero(~np.isfinite(logits))[0])]
        raise ValueError(
            f"{name}: the detector's logit is no finite number; a lower learning rate, or fp32, may help"
        )
    wide = logits.astype(np.float64)  # in fp32 the sigmoid of 17 is 1 already
    return records[IDENTITY].reset_index(drop=True).assign(logit=wide, probability=expit(wide))


def _measure(predictions: pd.DataFrame) -> dict[str, float]:
    labels, logits = predictions["label"].to_numpy(), predictions["logit"].to_numpy()
    return {
        "loss": float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean()),
        "auc": float(roc_auc_score(labels, logits)),
        "accuracy": float(((logits > 0) == (labels == 1)).mean()),
    }


def _about(
    reads: str,
    reader: Reader,
    cache: MapCache | None,
    plan: Plan,
    history: pd.DataFrame | None,
    origin: dict,
) -> dict:
    about = {"size": reader.size, "fit": reader.fit, "normalisation": KINDS[reads].normalisation}
    reads_maps = reads != "rgb"
    about |= {
        "preset": cache.preset if reads_maps else "",
        "propagation": _propagation(cache) if reads_maps else "",
    }
    if history is not None:
        about |= {
            "plan": asdict(plan),
            "epoch": int(history["epoch"][history[plan.monitor].idxmax()]),
        }
    return about | ({"weights": origin} if origin else {})


def parse_inputs(text: str) -> list[str]:
    """The detectors of a book: ``"defocus, rgb"``, the two that are explained and compared, or with ``fusion`` too.

    Raises
    ------
    ValueError
        If it is another list.
    """
    found = [name.strip() for name in text.split(",")]
    if sorted(found) not in (["defocus", "rgb"], ["defocus", "fusion", "rgb"]):
        raise ValueError(
            f"inputs is {text!r}; 'defocus, rgb' or 'defocus, rgb, fusion' wanted. "
            "`python -m defocus_lib train` trains one alone"
        )
    return found


def save(path: Path, outcome: Outcome, about: dict) -> Path:
    """Write the detector as safetensors; the header tells what is known of it, and ``about``, what the data are."""
    if (
        outcome.history is None
    ):  # evaluated: what the weights learned is what their own file says, if it does
        origin = outcome.about.get("weights", {})
        learned = {
            name: origin[name]
            for name in ("data", "learned", "plan", "epoch", "commit")
            if name in origin
        }
        about = learned | {"evaluated on": about}
    return save_detector(path, outcome.detector, {**outcome.about, **about})


def write(
    folder: Path, outcome: Outcome, measured: pd.DataFrame, stages: Stages, about: dict
) -> None:
    """Write what is kept of an experiment: the detector, metrics, predictions for the test images, stages.

    Parameters
    ----------
    folder : Path
        Gets ``detector.safetensors``, ``metrics.csv``, ``predictions.csv`` and ``stages.csv``.
    outcome : Outcome
    measured : DataFrame
        As :func:`defocus_lib.stats.classification.evaluate` returns it.
    stages : Stages
    about : dict
        More for the header of the weights: what the data are.
    """
    save(folder / DETECTOR, outcome, about)
    tables = {"metrics": measured, "predictions": outcome.test, "stages": stages.table()}
    for name, table in tables.items():
        write_beside(
            folder / f"{name}.csv", lambda path, table=table: table.to_csv(path, index=False)
        )


def side_by_side(predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The predictions of several detectors for the same images: one row an image, ``<reads>_logit`` and
    ``<reads>_probability`` for each detector."""
    answers = ["logit", "probability"]
    named = [
        table.set_index(IDENTITY)[answers].add_prefix(f"{reads}_")
        for reads, table in predictions.items()
    ]
    return pd.concat(named, axis=1).reset_index()


def preview_grid(
    folder: Path,
    reader: Reader,
    cache: MapCache,
    records: pd.DataFrame,
    reads: str,
    draw: Callable[..., Figure],
    resume: bool = False,
) -> Callable[[int, Detector], None]:
    """Make what :func:`defocus_lib.detect.training.fit` calls after each epoch: pictures of images, maps and probabilities.

    Parameters
    ----------
    folder : Path
        Gets ``previews/<reads>-epoch-000.png`` and so on.
    reader : Reader
    cache : MapCache
        Maps that are missing are computed.
    records : DataFrame
        The validation images. Two real and two fake ones are shown, of different groups, the same after each epoch.
    reads : {"defocus", "rgb", "fusion"}
    draw : callable
        Of photographs ``(N, H, W, 3)`` uint8, normalised maps ``(N, H, W)``, labels and probabilities ``(N,)``, to a
        figure.
    resume : bool
        Keep the pictures of earlier epochs; otherwise they are those of another run, and deleted.

    Returns
    -------
    callable
        Of the epoch and the detector.
    """
    ordered = records.sort_values("id").drop_duplicates(["label", "group"])
    chosen = ordered.groupby("label", sort=True).head(2).sort_values("label", kind="stable")
    cache.fill(chosen, reader, n_workers=1)
    photographs, labels = reader.stack(chosen), chosen["label"].to_numpy()
    dense = normalize_per_sample(cache.stack(chosen)[0][:, None]).numpy()[:, 0]
    inputs, drawings = Inputs(chosen, reads, reader, cache), folder / "previews"
    for old in () if resume else drawings.glob(f"{reads}-epoch-*.png"):
        old.unlink()

    def show(epoch: int, detector: Detector) -> None:
        probabilities = expit(predict(detector, inputs)[0].numpy())
        figure = draw(photographs, dense, labels, probabilities)
        write_beside(drawings / f"{reads}-epoch-{epoch:03d}.png", figure.savefig)

    return show


# ---------------------------------------------------------------------------------------------------------------------
# From the manifest to a folder of results.


@dataclass(frozen=True)
class Request:
    """An experiment on a data set of the manifest. The defaults are the reference's (Jeon & Woo 2025).

    Attributes
    ----------
    dataset : str
        Name in the manifest.
    fake_type : str
        The one manipulation that is told from the real images; "" takes all.
    reads : {"defocus", "rgb", "fusion"}
    backbone : str
        "" is that of the weights, or ``legacy_xception``.
    preset : str
        Of the maps.
    size : int
        Side in px that images are brought to.
    input_size : int or None
        Side in px that inputs are averaged to, 0 for none; None is that of the weights, or 0.
    weights : Path or None
        To start from, or to evaluate.
    resume : bool
    groups : int
        At most so many videos (groups) a split; 0 takes all.
    output : Path or None
        Folder of the results; None is one below ``artifacts/train`` (``artifacts/evaluate`` with 0 epochs).
    manifest : Path or None
        None is the project's own.
    n_bootstrap : int
        Bootstrap resamples for the intervals.
    """

    dataset: str
    fake_type: str = ""
    reads: str = "defocus"
    backbone: str = ""
    preset: str = PRESET
    size: int = 299
    input_size: int | None = None
    weights: Path | None = None
    resume: bool = False
    groups: int = 0
    output: Path | None = None
    manifest: Path | None = None
    n_bootstrap: int = 1000

    def __post_init__(self) -> None:
        for name, least in (("size", 0), ("groups", 0), ("n_bootstrap", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; {least} or more wanted")


class Report(NamedTuple):
    """What a request led to: the folder of the results, the outcome, its metrics on the test images, and the data.

    ``images`` counts the manipulations by split; ``unreadable`` images were left out.
    """

    folder: Path
    outcome: Outcome
    measured: pd.DataFrame
    images: pd.DataFrame
    unreadable: int


def perform(
    request: Request, plan: Plan, draw: Callable[..., Figure] | None = None, progress: bool = True
) -> Report:
    """Do all of an experiment: find the images, fill the cache of maps, train or evaluate, measure, write.

    Raises
    ------
    KeyError
        If the manifest does not list the data set.
    FileNotFoundError, ValueError
        If something is missing, unreadable, or does not fit; the message names it.
    """
    entry = load_manifest(request.manifest).dataset(request.dataset)
    stages, folder = Stages(), _output(request, plan)
    with stages("index") as stage:
        index = records_of(entry, progress=progress)
        stage["images"] = len(index.records)
    records = _chosen(index.records, request, plan)
    reader = Reader(entry.folder(), request.size, entry.fit, int(entry.max_megapixels * 1_000_000))
    cache = map_cache(reader, request.preset, "")
    backbone = request.backbone or ("" if request.weights else BACKBONE)
    # What is wrong with the weights is said now: the maps may take hours.
    _begin(request.reads, cache, plan, backbone, request.input_size, request.weights)
    if request.reads != "rgb":
        with stages("maps", images=len(records)):
            cache.fill(records, reader, progress=progress)
    outcome = run(
        records,
        request.reads,
        reader,
        cache,
        plan,
        backbone,
        request.input_size,
        weights=request.weights,
        folder=folder,
        resume=request.resume,
        draw=draw,
        stages=stages,
        progress=progress,
    )
    with stages("metrics", images=len(outcome.test)):
        measured = classification.evaluate(
            outcome.test, outcome.threshold, request.n_bootstrap, plan.seed
        )
    write(folder, outcome, measured, stages, _identity(entry, records))
    return Report(folder, outcome, measured, counts(records), len(index.unreadable))


def _output(request: Request, plan: Plan) -> Path:
    """The folder of the results. Evaluated weights do not take the place of trained ones."""
    if request.output is not None:
        return Path(request.output)
    detector = request.backbone or BACKBONE
    if request.weights is not None:
        path = Path(request.weights).resolve()
        detector = path.parent.name if path.name == DETECTOR else path.stem
    maps_of = [request.preset] if request.reads != "rgb" else []
    name = "-".join(
        [
            request.dataset,
            request.fake_type or "all",
            request.reads,
            *maps_of,
            f"{request.size}px",
            detector,
        ]
    )
    return project_root() / "artifacts" / ("train" if plan.epochs else "evaluate") / name


def _chosen(records: pd.DataFrame, request: Request, plan: Plan) -> pd.DataFrame:
    """The records that are asked for, of the splits that are used."""
    if request.fake_type:
        records = choose(records, [request.fake_type])
    if request.groups:
        records = sample(records, request.groups, plan.seed)
    needed = SPLITS if plan.epochs else SPLITS[1:]
    _check_splits(records, needed)
    return records[records["split"].isin(needed)].reset_index(drop=True)


def _identity(entry: Dataset, records: pd.DataFrame) -> dict:
    """What the header of the weights says of the data and the code."""
    learned = ", ".join(records.loc[records["label"] == 1, "manipulation"].unique())
    return {"data": entry.name, "learned": learned, "commit": commit(Path(__file__).parent)}


def told(report: Report, request: Request) -> str:
    """The outcome in words and tables, for a terminal."""
    outcome, lines = report.outcome, [report.images.to_string(), ""]
    if report.unreadable:
        lines.insert(1, f"{report.unreadable} unreadable images were left out.")
    if (origin := outcome.about.get("weights")) is not None:
        lines += [_told_of(origin), ""]
    for name in report.measured["manipulation"].unique():
        table = report.measured[report.measured["manipulation"] == name]
        levels = {
            level: classification.wide(table, level, classification.METRICS).loc[name]
            for level in classification.LEVELS
        }
        lines += [f"{request.reads} detector on {name}, test images, with 95 % intervals:"]
        lines += [pd.DataFrame(levels).to_string(), ""]
    lines.append(f"Threshold {outcome.threshold:.4f}, chosen on validation.")
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _told_of(origin: dict) -> str:
    """What weights are and what they expect, in a sentence."""
    preset = f", of preset {origin['preset']!r}" if origin.get("preset") else ""
    known = [
        f"{name} {origin[name]}" for name in ("epoch", "best_val_acc", "commit") if name in origin
    ]
    about = f" ({', '.join(known)})" if known else ""
    return f"Weights from {origin['file']}: {origin['kind']}{about}. They expect {origin['normalisation']}{preset}."
