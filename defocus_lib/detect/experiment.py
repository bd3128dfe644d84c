"""One experiment: a detector is trained, or read from a file, and predicts held-out images.

Shared by the command line and notebook 03.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from defocus_lib.data import shortcuts
from defocus_lib.data.collection import reader_of
from defocus_lib.data.images import Reader
from defocus_lib.data.index import Index, load_index
from defocus_lib.data.manifest import Dataset, load_manifest
from defocus_lib.data.records import choose, counts, one_sided_splits, resolve_copies, sample
from defocus_lib.data.splits import SPLITS
from defocus_lib.detect import training_images
from defocus_lib.detect.checkpoints import read_weights
from defocus_lib.detect.inputs import KINDS, Inputs, kind_of, propagation_of
from defocus_lib.detect.model import Detector, save_detector
from defocus_lib.detect.normalisation import MIN_MAX
from defocus_lib.detect.plan import BACKBONE, Plan, Request
from defocus_lib.detect.training import Progress, fit, predict
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
# Entries of a weight file that describe how its weights were trained, and what came of it.
TRAINING = (
    *("data", "rendered", "training_manipulation", "plan", "epoch", "commit"),
    *("test", "file_facts_auc", "training_images", "background", "pretrained"),
)


@dataclass(frozen=True)
class Setup:
    """A detector and its images.

    ``records`` has one row per image, real and fake ones in every split that is used: with 0 epochs
    no training split is needed, and ``weights`` are evaluated. Otherwise training starts from them,
    or from pretrained or random ones. ``reads`` is a name of
    :data:`defocus_lib.detect.inputs.KINDS`; ``cache`` holds the maps of all records and may be None
    for ``rgb``. ``backbone`` is a ``timm`` model, or
    "" for that of the weights. ``input_size`` is the size in px that inputs are averaged to, 0 for
    none, or None for that of the weights. ``pretrained`` is that of :class:`Detector`; where
    there are ``weights`` it counts for nothing. ``normalisation`` of maps is a name of
    :data:`defocus_lib.detect.normalisation.NORMALISATIONS`; "" is that of the weights, else
    min-max. Raises ValueError if it is not for such inputs or maps.
    """

    records: pd.DataFrame
    reads: str
    reader: Reader
    cache: MapCache | None
    plan: Plan
    backbone: str
    input_size: int | None = 0
    weights: str | Path | None = None
    pretrained: str = ""
    normalisation: str = ""

    def __post_init__(self) -> None:
        preset = self.cache.preset if self.cache else ""
        kind_of(self.reads).check(self.reads, self.normalisation or MIN_MAX, preset)

    @cached_property
    def of_maps(self) -> str:
        """The normalisation of the maps: as given, else that of the weights, else min-max."""
        if self.normalisation or self.weights is None:
            return self.normalisation or MIN_MAX
        return self.detector()[0].normalisation

    def rows(self, split: str) -> pd.DataFrame:
        """The records of a split."""
        return self.records[self.records["split"] == split]

    def inputs(self, split: str) -> Inputs:
        """The inputs of a split; their labels are permuted where a control learns from such."""
        rows = self.rows(split)
        if kind_of(self.reads).shuffled and split != "test":
            rng = np.random.default_rng([self.plan.seed, SPLITS.index(split)])
            rows = rows.assign(label=rng.permutation(rows["label"].to_numpy()))
        return Inputs(rows, self.reads, self.reader, self.cache, self.of_maps)

    def detector(self) -> tuple[Detector, dict]:
        """The detector before training, and where its weights come from ({} if they are random).

        Raises ValueError if the weights are for something else, or nothing is to be trained and
        there are none.
        """
        plan, kind = self.plan, kind_of(self.reads)
        if self.weights is None:
            if plan.epochs == 0:
                raise ValueError(
                    "epochs is 0 and no weights are named: a file of weights to evaluate, or "
                    "epochs, wanted"
                )
            return self.first(self.backbone, self.input_size or 0), {}
        preset = self.cache.preset if self.cache else ""
        settings = self.backbone, self.input_size, self.normalisation or None
        detector, about = read_weights(self.weights, self.reads, preset, *settings)
        if self.cache and kind.map and "propagation" in about:
            trained = PRESETS[about["preset"]].method(about["propagation"] or None)
            if trained != (given := propagation_of(self.cache)):
                raise ValueError(
                    f"{self.weights}: weights are for maps of propagation {trained!r}; "
                    f"{given!r} given"
                )
        kept = ("kind", "preset", "normalisation", "scaling", "best_val_acc", *TRAINING)
        origin = {name: about[name] for name in kept if name in about}
        return detector, {"file": Path(self.weights).name} | origin

    def first(self, backbone: str, input_size: int) -> Detector:
        """A detector with the weights that training starts from: pretrained, or random ones."""
        pretrained = "" if self.weights is not None else self.pretrained
        seed, scale = self.plan.seed, self.plan.residual_scale
        options = {"pretrained": pretrained, "normalisation": self.of_maps}
        return Detector(backbone, self.reads, input_size, seed, scale, **options)

    def about(self) -> dict:
        """Facts about the images and maps, for the header of the weights."""
        kind, cache = KINDS[self.reads], self.cache if KINDS[self.reads].map else None
        return {
            "size": self.reader.size,
            "fit": self.reader.fit,
            "equalise": self.reader.equalise.model_dump() if self.reader.equalise else {},
            "max_pixels": self.reader.max_pixels,
            "normalisation": self.of_maps if kind.map else "",
            "scaling": kind.scaling(self.of_maps),
            "preset": cache.preset if cache else "",
            "propagation": propagation_of(cache) if cache else "",
            "map_version": version(cache.preset) if cache else "",
        }

    def about_training(self, inputs: Inputs) -> dict:
        """Statistics of the training images, and their mean real input, for the same header."""
        rows, seed = self.rows("train"), self.plan.seed
        mean = training_images.mean_input(inputs, rows["label"].to_numpy(), seed)
        described = training_images.describe(rows, self.reader, seed)
        return {"training_images": described, "background": mean}


@dataclass(frozen=True)
class Outcome:
    """The result of an experiment.

    Attributes
    ----------
    detector : Detector
        On the CPU, in fp32 and eval mode.
    history : DataFrame or None
        See :func:`defocus_lib.detect.training.fit`; None if nothing was trained.
    predictions : DataFrame
        One row per image of the validation and test splits: the columns ``IDENTITY``, logit, and
        probability, its sigmoid.
    features : (N, D) float32
        Pooled features of the test images, in the order of their rows in ``predictions``.
    threshold : float
        Probability from which an image is classified as fake, chosen on validation.
    about : dict
        Plain values for the header of the weights: facts of the images, metrics on validation,
        threshold; plan, best epoch, statistics and mean real input of the training images if
        trained, weights if read from a file.
    """

    setup: Setup
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

    def training_manipulation(self, of_run: str) -> str:
        """``of_run`` if this run trained the detector, else that of its weight file, or ""."""
        if self.history is not None:
            return of_run
        return self.about.get("weights", {}).get("training_manipulation", "")


def run(
    setup: Setup,
    folder: Path | None = None,
    fresh: bool = False,
    draw: Callable[..., Figure] | None = None,
    stages: Stages | None = None,
    progress: Progress = True,
) -> Outcome:
    """Train a detector, or evaluate weights, and predict the validation and test images.

    ``folder``, ``fresh`` and ``progress`` are those of :func:`defocus_lib.detect.training.fit`.
    ``draw`` draws validation images after each epoch, see :func:`preview_grid`; it needs ``folder``
    and maps. ``stages`` gets the stages ``training`` and ``prediction``.

    Raises ValueError if a split lacks real or fake images, there is nothing to train and nothing to
    evaluate, or the weights are for something else.
    """
    plan, stages, history = setup.plan, stages or Stages(), None
    _check_splits(setup.records, plan)
    inputs = {split: setup.inputs(split) for split in _splits(plan)}
    detector, origin = setup.detector()
    if plan.epochs:
        preview = None
        if draw and folder and setup.cache:
            preview = preview_grid(setup, setup.cache, folder, draw)
        with stages("training") as stage:
            history = fit(
                detector, inputs["train"], inputs["val"], plan, folder, fresh, preview, progress
            )
            epochs = len(history) - history.attrs["earlier"]
            stage["images"] = epochs * len(inputs["train"])
    bars = progress is True
    with stages("prediction", images=len(inputs["val"]) + len(inputs["test"])):
        val_logits, _ = _predict(detector, inputs["val"], plan, bars)
        test_logits, features = _predict(detector, inputs["test"], plan, bars)
    records = pd.concat([setup.rows("val"), setup.rows("test")])
    predictions = _predictions(records, np.concatenate([val_logits, test_logits]))
    val = predictions[predictions["split"] == "val"]
    threshold = classification.choose_threshold(val["label"], val["probability"])
    about = setup.about() | {"validation": _validation(val), "threshold": threshold}
    about["scaling"] = kind_of(setup.reads).scaling(detector.normalisation, detector.scaling)
    if history is not None:
        best = int(history["epoch"][history[plan.monitor].idxmax()])
        about |= {"plan": asdict(plan), "epoch": best} | setup.about_training(inputs["train"])
    about |= {"weights": origin} if origin else {}
    return Outcome(setup, detector.eval(), history, predictions, features, threshold, about)


def untrained_features(outcome: Outcome, progress: bool = True) -> np.ndarray:
    """Pooled features ``(N, D)`` float32 of the test images from the weights that training starts
    from: random or pretrained ones.

    Eval mode: of random weights, batch normalisation has no statistics yet and leaves values as
    they are, and in many backbones the last one of each residual branch starts near 0, which mutes
    the branch.
    """
    setup, trained = outcome.setup, outcome.detector
    initial = setup.first(trained.backbone, trained.input_size)
    return _predict(initial, setup.inputs("test"), setup.plan, progress)[1]


def _splits(plan: Plan) -> tuple[str, ...]:
    return SPLITS if plan.epochs else SPLITS[1:]


def _check_splits(records: pd.DataFrame, plan: Plan) -> None:
    if lacking := one_sided_splits(records, _splits(plan)):
        needed = ", ".join(_splits(plan))
        raise ValueError(f"{'; '.join(lacking)}: real and fake images wanted in {needed}")


def _predict(
    detector: Detector, inputs: Inputs, plan: Plan, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N,) and features (N, D), computed on the device of the plan."""
    try:
        detector.to(plan.device())
        logits, features = predict(
            detector, inputs, plan.batch_size, plan.n_workers, progress, plan.precision
        )
    finally:
        detector.to("cpu")
    return logits.numpy(), features.numpy()


def _predictions(records: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:
    if not np.isfinite(logits).all():
        name = records["id"].iat[int(np.flatnonzero(~np.isfinite(logits))[0])]
        raise ValueError(
            f"{name}: the detector's logit is no finite number; a lower learning rate, or fp32, "
            "may help"
        )
    wide = logits.astype(np.float64)  # in fp32 the sigmoid of 17 is 1 already
    return records[IDENTITY].reset_index(drop=True).assign(logit=wide, probability=expit(wide))


def _validation(predictions: pd.DataFrame) -> dict[str, float]:
    labels, logits = predictions["label"].to_numpy(), predictions["logit"].to_numpy()
    return {
        "loss": float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean()),
        "auc": float(roc_auc_score(labels, logits)),
        "accuracy": float(((logits > 0) == (labels == 1)).mean()),
    }


def parse_inputs(text: str) -> list[str]:
    """The detectors of a book: ``"defocus, rgb"``, which are explained, or with ``fusion`` too.

    Raises ValueError for any other list.
    """
    names = [name.strip() for name in text.split(",")]
    if sorted(names) not in (["defocus", "rgb"], ["defocus", "fusion", "rgb"]):
        raise ValueError(
            f"inputs is {text!r}; 'defocus, rgb' or 'defocus, rgb, fusion' wanted. "
            "`python -m defocus_lib train` trains one alone"
        )
    return names


def save(path: Path, outcome: Outcome, about: dict) -> Path:
    """Write the detector as safetensors, with the facts of the outcome and ``about``: the data, the
    AUC on their test images (:func:`auc_facts`)."""
    if outcome.history is None:  # only the weights' own file knows what they were trained on
        origin = outcome.about.get("weights", {})
        trained = {name: origin[name] for name in TRAINING if name in origin}
        about = trained | {"evaluated on": about}
    return save_detector(path, outcome.detector, outcome.about | about)


def auc_facts(measured: pd.DataFrame) -> dict[str, dict[str, float]]:
    """AUC on single test images by manipulation, as plain values for the header of the weights.

    ``measured`` as :func:`defocus_lib.stats.classification.evaluate` returns it, of one detector.
    Where nothing could be resampled, there are no ``low`` and ``high``.
    """
    rows = measured.query("level == 'frame' and metric == 'auc'").set_index("manipulation")
    columns = {"value": "auc", "low": "low", "high": "high", "images": "images"}
    facts = rows[list(columns)].rename(columns=columns).astype(float)
    return {name: row.dropna().to_dict() for name, row in facts.iterrows()}


def write(
    folder: Path, outcome: Outcome, measured: pd.DataFrame, stages: Stages, about: dict
) -> None:
    """Write ``detector.safetensors`` (see :func:`save`), ``metrics.csv`` (``measured``),
    ``predictions.csv`` of the test images, and ``stages.csv``."""
    save(folder / DETECTOR, outcome, about | {"test": auc_facts(measured)})
    tables = {"metrics": measured, "predictions": outcome.test, "stages": stages.table()}
    for name, table in tables.items():
        write_table(folder / f"{name}.csv", table)


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as CSV, without its index."""
    return write_beside(path, lambda beside: table.to_csv(beside, index=False))


def side_by_side(predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The predictions of several detectors for the same images: one row per image, with the columns
    ``<reads>_logit`` and ``<reads>_probability`` of each detector."""
    named = [
        table.set_index(IDENTITY)[["logit", "probability"]].add_prefix(f"{reads}_")
        for reads, table in predictions.items()
    ]
    return pd.concat(named, axis=1).reset_index()


def preview_grid(
    setup: Setup, cache: MapCache, folder: Path, draw: Callable[..., Figure]
) -> Callable[[int, Detector], None]:
    """The ``preview`` of :func:`defocus_lib.detect.training.fit`: pictures of validation images.

    Two real and two fake images are shown, of different groups, the same after each epoch; their
    maps are computed if ``cache`` lacks them. ``folder`` gets ``previews/<reads>-epoch-000.png``
    and so on; the first epoch deletes those of an earlier run. ``draw`` turns photographs
    (N, H, W, 3) uint8, normalised maps (N, H, W), labels and probabilities (N,) into a figure.
    """
    groups = setup.rows("val").sort_values("id").drop_duplicates(["label", "group"])
    shown = groups.groupby("label", sort=True).head(2).sort_values("label", kind="stable")
    cache.fill(shown, setup.reader, n_workers=1)
    photographs, labels = setup.reader.stack(shown), shown["label"].to_numpy()
    dense = torch.from_numpy(cache.stack(shown)[0])
    maps = normalize_per_sample(dense[:, None]).numpy()[:, 0]
    inputs = Inputs(shown, setup.reads, setup.reader, cache, setup.of_maps)
    pictures = folder / "previews"

    def preview(epoch: int, detector: Detector) -> None:
        for earlier in pictures.glob(f"{setup.reads}-epoch-*.png") if epoch == 0 else ():
            earlier.unlink()
        probabilities = expit(predict(detector, inputs)[0].numpy())
        figure = draw(photographs, maps, labels, probabilities)
        write_beside(pictures / f"{setup.reads}-epoch-{epoch:03d}.png", figure.savefig)

    return preview


# ------------------------------------------------------------------------------------------------
# From the manifest to a folder of results.


@dataclass(frozen=True)
class Report:
    """The result of a request: its folder, outcome, metrics on the test images, the number of
    images by manipulation and split, how many unreadable ones were left out, and the AUC of facts
    about the files where these give the label away, else 0."""

    folder: Path
    outcome: Outcome
    measured: pd.DataFrame
    images: pd.DataFrame
    unreadable: int
    file_facts_auc: float = 0.0

    def text(self) -> str:
        """The result as text for a terminal."""
        lines = [self.images.to_string()]
        if self.unreadable:
            lines.append(f"{self.unreadable} unreadable images were left out.")
        if self.file_facts_auc:
            lines.append(
                "CAUTION: the files give the label away. Facts about them alone, without their "
                f"pixels, reach an AUC of {self.file_facts_auc:.2f} (`data verify` lists them)."
            )
        if origin := self.outcome.about.get("weights"):
            facts = ("epoch", "best_val_acc", "commit", "preset")
            known = [
                f"{name} {origin[name]}" for name in facts if origin.get(name) not in ("", None)
            ]
            about = f" ({', '.join(known)})" if known else ""
            lines.append(
                f"Weights from {origin['file']}: {origin['kind']}{about}. "
                f"They expect {origin['scaling']}."
            )
        test = self.outcome.test
        has_videos = len(classification.by_video(test)) < len(test)
        shown = classification.LEVELS if has_videos else classification.LEVELS[:1]
        for name, table in self.measured.groupby("manipulation", sort=False):
            wide = partial(classification.wide, table, metrics=classification.METRICS, style=".3f")
            levels = {level if has_videos else "": wide(level=level).loc[name] for level in shown}
            reads = self.outcome.setup.reads
            lines.append(f"{reads} detector on {name}, test images, with 95 % intervals:")
            lines.append(pd.DataFrame(levels).to_string())
        lines.append(f"Threshold {self.outcome.threshold:.4f}, chosen on validation.")
        return "\n\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def perform(
    request: Request,
    plan: Plan,
    draw: Callable[..., Figure] | None = None,
    progress: Progress = True,
    announce: Callable[[Setup, int], None] | None = None,
) -> Report:
    """Do all of an experiment: index, fill the cache of maps, train or evaluate, measure, write.

    ``announce`` is called with the experiment and the number of maps that are missing, before
    anything that takes long; ``progress`` is that of :func:`defocus_lib.detect.training.fit`.
    Raises KeyError if the manifest does not list the data set; FileNotFoundError or ValueError that
    names what is missing, unreadable, or does not fit.
    """
    entry = load_manifest(request.manifest).dataset(request.dataset)
    reader = reader_of(entry, request.size)  # type: ignore[arg-type]  # not of scenes
    cache = map_cache(reader, request.preset, "")
    stages, folder = Stages(), _output(request, plan)
    bars = progress is True
    with stages("index") as stage:
        index = load_index(entry, progress=bars)
        stage["images"] = len(index.records)
    records = _chosen(index.records, request, plan, entry)
    auc = _file_facts_auc(index, records)
    backbone = request.backbone or ("" if request.weights else BACKBONE)
    options = request.input_size, request.weights, request.pretrained, request.normalisation
    setup = Setup(records, request.reads, reader, cache, plan, backbone, *options)
    setup.detector()  # raises before the maps, which may take hours
    lacking = cache.missing(records) if kind_of(request.reads).map else records.head(0)
    if announce:
        announce(setup, len(lacking))
    if KINDS[request.reads].map:
        # The processes that load images compute the maps that are missing, if there are any. One
        # map before they start compiles the kernels for all of them.
        by_loaders = plan.n_workers > 0 and not cache.by_network
        missing = records.head(1) if by_loaders else records
        with stages("maps", images=len(missing)):
            cache.fill(missing, reader, progress=bars and not by_loaders)
    outcome = run(setup, folder, request.fresh, draw, stages, progress)
    test, threshold = outcome.test, outcome.threshold
    with stages("metrics", images=len(test)):
        measured = classification.evaluate(test, threshold, request.n_bootstrap, plan.seed)
    about = _identity(entry, records) | {"file_facts_auc": auc}
    write(folder, outcome, measured, stages, about)
    return Report(folder, outcome, measured, counts(records), len(index.unreadable), auc)


def _output(request: Request, plan: Plan) -> Path:
    """The folder of the results. Evaluated weights do not take the place of trained ones."""
    if request.output is not None:
        return Path(request.output)
    detector = request.backbone or BACKBONE
    if request.weights is not None:
        path = Path(request.weights).resolve()
        detector = path.parent.name if path.name == DETECTOR else path.stem
    preset = [request.preset] if kind_of(request.reads).map else []
    parts = [request.dataset, request.fake_type or "all", request.reads, *preset]
    kind = "train" if plan.epochs else "evaluate"
    return project_root() / "artifacts" / kind / "-".join([*parts, f"{request.size}px", detector])


def _file_facts_auc(index: Index, records: pd.DataFrame) -> float:
    """AUC of facts about the files of the records where they give the label away, else 0."""
    used = index.records["id"].isin(records["id"])
    table = shortcuts.file_shortcuts(index.records[used], index.facts[used])
    return shortcuts.giveaway_auc(table)


def _chosen(records: pd.DataFrame, request: Request, plan: Plan, entry: Dataset) -> pd.DataFrame:
    """The requested records of the splits that are used."""
    if request.fake_type:
        records = choose(records, [request.fake_type])
    records = resolve_copies(records, entry.on_duplicates, entry.name)  # type: ignore[attr-defined]
    if request.groups:
        records = sample(records, request.groups, plan.seed)
    _check_splits(records, plan)
    return records[records["split"].isin(_splits(plan))].reset_index(drop=True)


def _identity(entry: Dataset, records: pd.DataFrame) -> dict:
    """The data and the code, for the header of the weights."""
    trained = ", ".join(records.loc[records["label"] == 1, "manipulation"].unique())
    code = commit(Path(__file__).parent)
    about = {"data": entry.name, "training_manipulation": trained, "commit": code}
    return about | {"rendered": False}  # scenes are made by notebook 01, for the book alone
