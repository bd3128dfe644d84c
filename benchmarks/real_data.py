"""How well manipulated images are told from real ones: ``python -m benchmarks.real_data NAME...``.

Each NAME is a data set of the manifest that is on disk. All get one protocol: at most
:data:`PAIRS` pairs per split, drawn by seed; small detectors from scratch with one budget, and
one that learned ImageNet; and, without any training of a network, the facts of the files, the
contrast of blur and eight statistics of the map, cross-validated by group on the test images. Each
row of ``benchmarks/results/real_data.csv`` is an AUC on the test images of one manipulation, with
its 95 % interval by group; rows of other data sets are kept. Pictures are read, never written.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks import machine
from defocus_lib.analysis import blur_statistics, contrast_detector, yardstick
from defocus_lib.analysis.blur_statistics import Part
from defocus_lib.analysis.contrast_detector import CONTRAST, EIGHT
from defocus_lib.data import shortcuts
from defocus_lib.data.collection import reader_of
from defocus_lib.data.images import Reader
from defocus_lib.data.index import load_index
from defocus_lib.data.manifest import load_manifest
from defocus_lib.data.records import REAL, has_pairs, resolve_copies, sample
from defocus_lib.detect import sweep
from defocus_lib.detect.plan import Plan
from defocus_lib.detect.sweep import Run, Sweep
from defocus_lib.maps.cache import MapCache, map_cache
from defocus_lib.run.artifacts import project_root, write_beside
from defocus_lib.run.provenance import commit
from defocus_lib.stats import auc
from defocus_lib.stats.auc import Predictions, predictions_of

RESULTS = Path(__file__).parent / "results" / "real_data.csv"
PAIRS = 2000  # of each split, or as many images of each kind
LARGEST = 128  # px, side of the images; those of smaller files keep their own
SEEDS, N_BOOTSTRAP = (0, 1, 2), 1000
BACKBONE, INPUT_SIZE = "test_resnet", 64  # px; as in the sweeps of the demo, but for the size
PLAN = Plan(
    epochs=6,
    batch_size=64,
    learning_rate=0.003,
    schedule="one_cycle",
    monitor="val_auc",
    horizontal_flip=True,
)
CENTRE = Part("ellipse", 0.5)
# What is trained on the maps of each preset, by normalisation. Photograph and edges depend on none.
INPUTS = {
    "published": {"min-max": ("defocus",)},
    "physical": {
        "min-max": ("defocus", "edges", "rgb"),
        "px": ("defocus",),
        "min-max+edges": ("defocus",),
        "px+edges": ("defocus",),
    },
    "learned": {
        "min-max": ("defocus", "fusion"),
        "px": ("defocus",),
        "px+uncertainty": ("defocus",),
    },
}
ON_MAPS = ("defocus", "fusion")
PRETRAINED, FIRST_BLOCKS = ("tf_efficientnet_lite0", "packaged"), 5
TUNING = replace(PLAN, epochs=2, batch_size=32, learning_rate=0.001)
FILES = "facts about the files"
INTERVAL = ["value", "low", "high"]
COLUMNS = [
    *("data", "manipulation", "method", "map", "normalisation", "less", *INTERVAL),
    *("images", "groups", "size", "seeds", "commit"),
]


class Method(NamedTuple):
    """How images are told apart, and, if by a map, its preset and normalisation."""

    method: str
    map: str = ""
    normalisation: str = ""


DEFOCUS, RGB = Method("defocus, from scratch", "physical", "min-max"), Method("rgb, from scratch")
EDGES = Method("edges, from scratch")
DIFFERENCES = [
    (DEFOCUS, RGB),
    (DEFOCUS, EDGES),
    (DEFOCUS._replace(normalisation="px"), DEFOCUS),
    (DEFOCUS._replace(normalisation="px+edges"), EDGES),
    (Method("fusion, from scratch", "learned", "min-max"), RGB),
    (Method("defocus, pretrained", "physical", "min-max"), Method("rgb, pretrained")),
    (Method("fusion, pretrained", "physical", "min-max"), Method("rgb, pretrained")),
]


def records_of(name: str) -> tuple[pd.DataFrame, pd.DataFrame, Reader]:
    """The records of a data set that are used, facts about their files, and their reader."""
    entry = load_manifest().dataset(name)
    index = load_index(entry, progress=True)
    records = resolve_copies(index.records, entry.on_duplicates, name)  # type: ignore[union-attr]
    chosen = sample(records, PAIRS if has_pairs(records) else 2 * PAIRS, 0)
    facts = index.facts.set_index(index.records["id"]).loc[chosen["id"]].reset_index(drop=True)
    sides = facts[["width", "height"]].min(axis=1)
    size = min(LARGEST, int(sides.median()))
    return chosen, facts, reader_of(entry, size)  # type: ignore[arg-type]  # not of scenes


def of_files(records: pd.DataFrame, facts: pd.DataFrame) -> Iterator[dict]:
    """AUC of a model that reads facts about the files of one manipulation alone."""
    for _, row in shortcuts.file_shortcuts(records, facts).iterrows():
        yield {"method": FILES, "value": row["auc"], "low": row["low"], "high": row["high"]}


def without_training(
    test: pd.DataFrame, caches: Mapping[str, MapCache], manipulation: str
) -> dict[Method, Predictions]:
    """The contrast, and the eight statistics cross-validated by group, of each map in px."""
    measured = {name: blur_statistics.measure(test, caches[name], CENTRE) for name in caches}
    predicted = contrast_detector.predicted(measured, manipulation)
    named = {tuple(key.split("|")): each for key, each in predicted.items()}
    return {
        Method(score, preset, "px"): named[preset, "px", score]
        for preset in caches
        for score in (CONTRAST, EIGHT)
        if (preset, "px", score) in named
    }


def from_scratch(
    records: pd.DataFrame,
    reader: Reader,
    caches: Mapping[str, MapCache],
    manipulation: str,
    folder: Path,
) -> dict[Method, Predictions]:
    """Detectors of each seed, trained and tested on one manipulation."""
    common = Sweep(
        records, reader, caches["physical"], BACKBONE, min(INPUT_SIZE, reader.size), PLAN
    )
    sweeps = [
        (
            replace(common, cache=caches[preset], normalisation=normalisation),
            [Run(each, manipulation, seed) for each in inputs for seed in SEEDS],
        )
        for preset, by_normalisation in INPUTS.items()
        for normalisation, inputs in by_normalisation.items()
    ]
    predictions = sweep.train_and_test(sweeps, folder=folder, progress=True)
    own = predictions[predictions["manipulation"].isin([REAL, manipulation])]
    return {
        Method(f"{kind}, from scratch", *(of_map if kind in ON_MAPS else ())): predictions_of(rows)
        for (kind, *of_map), rows in own.groupby(["input", "preset", "normalisation"])
    }


def pretrained(
    records: pd.DataFrame, reader: Reader, cache: MapCache, manipulation: str
) -> dict[Method, Predictions]:
    """Detectors that have learned ImageNet; the last stages are trained, with each seed."""
    images = yardstick.Images(records, reader, cache)
    labels = images.test["label"].to_numpy()
    groups = images.test["group"].to_numpy(dtype=str)
    logits: dict[str, list[np.ndarray]] = {}
    for seed in SEEDS:
        tuned = yardstick.fine_tuned(
            images, PRETRAINED, LARGEST, FIRST_BLOCKS, replace(TUNING, seed=seed), progress=True
        )
        for kind, result in tuned.items():
            logits.setdefault(kind, []).append(result.logits)
    order = np.argsort(images.test["id"].to_numpy(dtype=str), kind="stable")
    return {
        Method(f"{kind}, pretrained", *((cache.preset, "min-max") if kind in ON_MAPS else ())): (
            Predictions(labels[order], groups[order], np.stack(of_seeds)[:, order])
        )
        for kind, of_seeds in logits.items()
    }


def compared(methods: Mapping[Method, Predictions]) -> Iterator[dict]:
    """AUC of each method, and the differences of :data:`DIFFERENCES`, on shared resamples."""
    named = {str(method): each for method, each in methods.items()}
    resamples = auc.resampled(named, N_BOOTSTRAP, 0)
    summary = auc.summary(named, resamples)
    for method in methods:
        yield method._asdict() | summary.loc[str(method), INTERVAL].to_dict()
    for first, second in DIFFERENCES:
        if {first, second} <= set(methods):
            row = auc.differences(named, resamples, str(first), [str(second)]).iloc[0]
            less = ", ".join(filter(None, second))
            yield first._asdict() | {"less": less} | row[INTERVAL].to_dict()


def rows_of(name: str, folder: Path) -> Iterator[dict]:
    """All rows of one data set."""
    records, facts, reader = records_of(name)
    caches = {preset: map_cache(reader, preset, "") for preset in INPUTS}
    for cache in caches.values():
        cache.fill(records, reader, progress=True)
    test = records[records["split"] == "test"].reset_index(drop=True)
    about = {"data": name, "size": reader.size, "seeds": len(SEEDS)}
    for manipulation in sweep.training_manipulations(records):
        kinds = records["manipulation"].isin([REAL, manipulation])
        of_kind = test[test["manipulation"].isin([REAL, manipulation])]
        counts = {"images": len(of_kind), "groups": of_kind["group"].nunique()}
        methods = without_training(of_kind, caches, manipulation)
        methods |= pretrained(records[kinds], reader, caches["physical"], manipulation)
        methods |= from_scratch(records[kinds], reader, caches, manipulation, folder)
        for row in (*of_files(records[kinds], facts[kinds]), *compared(methods)):
            yield about | counts | {"manipulation": manipulation} | row


def keep(rows: pd.DataFrame, path: Path = RESULTS) -> pd.DataFrame:
    """Replace the rows of these data sets in a table on disk, and leave the others."""
    known = pd.read_csv(path) if path.exists() else rows.head(0)
    others = known[~known["data"].isin(rows["data"])]
    every = pd.concat([others, rows]) if len(others) else rows
    every = every.reindex(columns=COLUMNS).round(4)
    write_beside(path, lambda beside: every.to_csv(beside, index=False))
    return every


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="data set of the manifest")
    folder = project_root() / "artifacts" / "real_data"
    for name in parser.parse_args().names:
        rows = pd.DataFrame(rows_of(name, folder / name))
        table = keep(rows.assign(commit=commit(project_root())))
        machine.note("real_data")
        print(table[table["data"] == name].to_string(index=False))


if __name__ == "__main__":
    main()
