"""Detectors on the map, the photograph and both, from scratch and pretrained (page 03b).

Within each of the two starts, the three inputs have one backbone, one plan, and the same images.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from defocus_lib.data.images import Reader
from defocus_lib.data.records import REAL
from defocus_lib.detect import in_memory
from defocus_lib.detect.in_memory import Examples
from defocus_lib.detect.inputs import Inputs, kind_of
from defocus_lib.detect.last_stages import LastStages, first_features
from defocus_lib.detect.model import Detector
from defocus_lib.detect.normalisation import MIN_MAX
from defocus_lib.detect.plan import Plan
from defocus_lib.maps.cache import MapCache
from defocus_lib.stats import auc
from defocus_lib.stats.auc import Predictions
from defocus_lib.stats.bootstrap import formatted_rows
from defocus_lib.stats.claims import Claim

READS = ("defocus", "rgb", "fusion")
TITLES = {"defocus": "defocus", "rgb": "RGB", "fusion": "fusion"}
SCRATCH, PRETRAINED = "from scratch", "pretrained"
ENOUGH_PASSES = 1000  # training images times epochs, of a detector that begins pretrained
PAIRS = (("defocus", "rgb"), ("fusion", "rgb"))  # of which differences are claimed


@dataclass(frozen=True)
class Trained:
    """Test logits ``(N,)`` of a detector, in the order of the test records, and what they cost."""

    logits: np.ndarray
    network: str
    input_size: int
    images: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Images:
    """The images that all detectors share: records of three splits, what reads them, and how maps
    are normalised."""

    records: pd.DataFrame
    reader: Reader
    cache: MapCache
    normalisation: str = MIN_MAX

    @property
    def training(self) -> int:
        """The number of training images."""
        return int((self.records["split"] == "train").sum())

    @property
    def test(self) -> pd.DataFrame:
        """The records of the test images."""
        return self.records[self.records["split"] == "test"].reset_index(drop=True)

    def inputs(self, reads: str) -> Inputs:
        """The inputs of all records, in their order."""
        return Inputs(self.records, reads, self.reader, self.cache, self.of(reads))

    def of(self, reads: str) -> str:
        """The normalisation of an input, if it has a map."""
        return self.normalisation if kind_of(reads).map else MIN_MAX

    def examples(self, parts: tuple[np.ndarray, ...]) -> dict[str, Examples]:
        """What :func:`in_memory.fit` takes, by split, of ``parts`` with one entry per record."""
        labels = self.records["label"].to_numpy(np.float32)
        rows = {
            split: np.flatnonzero(self.records["split"] == split)
            for split in ("train", "val", "test")
        }
        return {
            split: Examples(parts, (chosen,) * len(parts), labels[chosen])
            for split, chosen in rows.items()
        }


def fine_tuned(
    images: Images,
    start: tuple[str, str],
    input_size: int,
    first: int,
    plan: Plan,
    progress: bool = False,
) -> dict[str, Trained]:
    """Detectors by input, whose backbones are pretrained, and trained after their first blocks.

    ``start`` are the backbone and where its weights come from, see
    :func:`defocus_lib.detect.pretrained.backbone_network`. The first ``first`` blocks stay as they
    are. Seconds are those of this process on the processor, features of the first blocks included;
    the fusion detector has those of both.
    """
    features, costs = {}, {}
    for reads in ("rgb", "defocus"):
        began = time.process_time()
        frozen = _detector(images, reads, start, input_size, plan)
        features[reads] = first_features(frozen, images.inputs(reads), first, progress)
        costs[reads] = time.process_time() - began
    results = {}
    for reads in READS:
        names = ("rgb", "defocus") if reads == "fusion" else (reads,)
        began = time.process_time()
        detector = _detector(images, reads, start, input_size, plan)
        examples = images.examples(tuple(features[name] for name in names))
        logits = _fit(LastStages(detector, first), examples, plan)
        seconds = time.process_time() - began + sum(costs[name] for name in names)
        about = start[0], input_size, images.training, plan.epochs
        results[reads] = Trained(logits, *about, seconds)
    return results


def _detector(
    images: Images, reads: str, start: tuple[str, str], input_size: int, plan: Plan
) -> Detector:
    backbone, pretrained = start
    of_maps = images.of(reads)
    return Detector(
        backbone, reads, input_size, plan.seed, pretrained=pretrained, normalisation=of_maps
    )


def of_page_03(
    test: pd.DataFrame, predictions: pd.DataFrame, stages: pd.DataFrame, reads: str, header: Mapping
) -> Trained:
    """A detector of notebook 03, from its predictions, its stages, and its weight file's header.

    Its cost is by the clock, NaN where it was not trained there. ``predictions`` hold all images of
    ``test``, and maybe more.
    """
    logits = predictions.set_index("id").loc[test["id"], f"{reads}_logit"].to_numpy(np.float64)
    took = stages.loc[stages["stage"] == f"{reads} training", "seconds"]
    return Trained(
        logits,
        header["backbone"],
        header["input_size"] or header["size"],
        header.get("training_images", {}).get("images", 0),
        header.get("plan", {}).get("epochs", 0),
        float(took.sum()) if len(took) else np.nan,
    )


def fusion_from_scratch(images: Images, input_size: int, epochs: int, header: Mapping) -> Trained:
    """A fusion detector of random weights, of the backbone and plan in the ``header`` of another.

    Its images are averaged to ``input_size`` before, and rounded to 8 bit.
    """
    backbone, plan = header["backbone"], replace(Plan(**header["plan"]), epochs=epochs)
    began = time.process_time()
    detector = _detector(images, "fusion", (backbone, ""), input_size, plan)
    stored = [
        (detector.averaged(planes[None])[0] * 255).round().byte().numpy()
        for planes, _ in map(images.inputs("fusion").__getitem__, range(len(images.records)))
    ]
    logits = _fit(detector, images.examples((np.stack(stored),)), plan)
    seconds = time.process_time() - began
    return Trained(logits, backbone, input_size, images.training, epochs, seconds)


def _fit(
    network: Detector | LastStages, examples: Mapping[str, Examples], plan: Plan
) -> np.ndarray:
    in_memory.fit(network, examples["train"], examples["val"], plan)
    return in_memory.logits(network, examples["test"]).double().numpy()


def title_of(reads: str, start: str) -> str:
    """What a detector is called in tables, figures and claims."""
    return f"{TITLES[reads]}, {start}"


def compare(
    test: pd.DataFrame,
    trained: Mapping[tuple[str, str], Trained],
    n_bootstrap: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """AUC of each detector on each manipulation, and paired differences, with 95 % intervals.

    ``test`` are the test records; ``trained`` the detectors by input and start. All detectors of a
    manipulation share the resamples of the groups.

    Returns
    -------
    areas : DataFrame
        One row per detector and manipulation: detector, reads, start, manipulation, value, low,
        high.
    differences : DataFrame
        One row per manipulation, start and pair of :data:`PAIRS` that are both there:
        manipulation, reads, start, value, low, high.
    """
    areas, differences = [], []
    keys = pd.DataFrame(list(trained), columns=["reads", "start"])
    for manipulation in test.loc[test["label"] == 1, "manipulation"].unique():
        rows = test["manipulation"].isin([REAL, manipulation]).to_numpy()
        labels = test.loc[rows, "label"].to_numpy()
        groups = test.loc[rows, "group"].to_numpy(dtype=str)
        predictions = {
            title_of(*key): Predictions(labels, groups, entry.logits[None, rows])
            for key, entry in trained.items()
        }
        resamples = auc.resampled(predictions, n_bootstrap, seed)
        summary = auc.summary(predictions, resamples)[["value", "low", "high"]]
        table = pd.concat([keys, summary.rename_axis("detector").reset_index()], axis=1)
        areas.append(table.assign(manipulation=manipulation))
        for start in keys["start"].unique():
            for reads, other in PAIRS:
                if {(reads, start), (other, start)} <= set(trained):
                    names = title_of(reads, start), title_of(other, start)
                    row = auc.differences(predictions, resamples, names[0], names[1:]).iloc[0]
                    about = {"manipulation": manipulation, "reads": reads, "start": start}
                    differences.append(about | row.to_dict())
    return pd.concat(areas, ignore_index=True), pd.DataFrame(differences)


def claims(
    differences: pd.DataFrame,
    trained: Mapping[tuple[str, str], Trained],
    learned: str,
    groups: int,
    unit: str,
) -> list[Claim]:
    """That defocus, and fusion, exceed RGB of the same start on the manipulation ``learned``."""
    rows = differences[differences["manipulation"] == learned]
    return [
        Claim(
            f"AUC of this {row.reads} detector minus that of this RGB detector, both {row.start}, "
            f"on {learned}",
            row.value,
            row.low,
            row.high,
            groups,
            unit=unit,
            epochs=_epochs(trained, row.reads, row.start),
        )
        for row in rows.itertuples()
    ]


def _epochs(trained: Mapping[tuple[str, str], Trained], reads: str, start: str) -> int | None:
    """The epochs of the detector of two that had fewer; None where no claim depends on them.

    Weights that know photographs need few: one epoch of enough images is no small training.
    """
    pair = [trained[name, start] for name in (reads, "rgb")]
    fewest = min(entry.epochs for entry in pair)
    passes = min(entry.epochs * entry.images for entry in pair)
    given = fewest == 0 or (start == PRETRAINED and passes >= ENOUGH_PASSES)
    return None if given else fewest


def costs(trained: Mapping[tuple[str, str], Trained]) -> pd.DataFrame:
    """What each detector is and took: one row per detector."""
    rows = {
        title_of(*key): {
            "network": entry.network,
            "input (px)": entry.input_size,
            "training images": entry.images,
            "epochs": entry.epochs,
            "seconds": entry.seconds,
        }
        for key, entry in trained.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("detector")


def wide(areas: pd.DataFrame) -> pd.DataFrame:
    """AUC with its interval as text: one row per detector, one column per manipulation."""
    return _pivoted(areas, "detector", ".2f")


def wide_differences(differences: pd.DataFrame) -> pd.DataFrame:
    """Differences with their intervals as text: one column per manipulation."""
    names = differences["reads"].map(TITLES) + " less RGB, " + differences["start"]
    return _pivoted(differences.assign(difference=names), "difference", "+.3f")


def _pivoted(table: pd.DataFrame, index: str, style: str) -> pd.DataFrame:
    cells = table.assign(cell=formatted_rows(table, style))
    wide = cells.pivot(index=index, columns="manipulation", values="cell")
    order = table[index].drop_duplicates(), table["manipulation"].drop_duplicates()
    return wide.loc[list(order[0]), list(order[1])].rename_axis(columns=None)
