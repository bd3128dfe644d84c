"""A small run on a FaceForensics++ tree, as notebooks 01 to 03 leave it; nothing is trained."""

from __future__ import annotations

from pathlib import Path

from defocus_lib.data import collection
from defocus_lib.data.index import load_index
from defocus_lib.data.manifest import Dataset, load_manifest
from defocus_lib.detect.model import Detector, save_detector
from defocus_lib.explain import jobs
from defocus_lib.explain.jobs import Explanation, Shard
from defocus_lib.maps import cache
from defocus_lib.run import artifacts
from tests import trees

SIZE = 40


def begin(path: Path) -> tuple[artifacts.Folder, Dataset]:
    """Write a tree of ten videos and two manipulations, and begin a run on it in ``path/run``."""
    tree = trees.faceforensics(path / "ffpp", videos=10, frames=3, size=48)
    entry = load_manifest().dataset("faceforensics")
    options = entry.options.model_copy(
        update={"compression": "c23", "manipulations": ("Deepfakes", "FaceSwap")}
    )
    entry = entry.model_copy(update={"root": str(tree), "options": options})
    records = load_index(entry, path / "index").records
    folder = artifacts.Folder.create("tiny", path / "run", collection.about(entry, records, SIZE))
    collection.save(folder, records)
    return folder, entry


def cache_of(path: Path) -> cache.MapCache:
    return cache.MapCache(path / "maps", "physical", "", SIZE, "stretch")


def prepare(path: Path) -> Path:
    """The same with maps and detectors: all that Shapley values need."""
    folder, _ = begin(path)
    run = collection.load(folder)
    cache_of(path).fill(run.records, run.reader, n_workers=1)
    for reads in ("defocus", "rgb"):
        detector = Detector("test_resnet", reads, seed=1)
        save_detector(
            folder.path / f"detector_{reads}.safetensors", detector, {"preset": "physical"}
        )
    return path


def planned(
    path: Path, target: Path, n_samples: int = 4, **changes
) -> tuple[Explanation, list[Shard]]:
    """The explanation of a prepared run, in shards of two images that go to ``target``."""
    run = collection.load(artifacts.Folder.open("tiny", path / "run"))
    folder = artifacts.Folder.create("tiny", target, run.about)
    background = run.records.query("split == 'train' and label == 0").head(2)
    detectors = {
        reads: path / "run" / f"detector_{reads}.safetensors" for reads in ("defocus", "rgb")
    }
    options = {
        "n_samples": n_samples,
        "seed": 0,
        "method": "stratified",
        "batch_size": 16,
        "precision": "float32",
    }
    meta = {"profile": "tiny", "manipulations": run.manipulations}
    plan = Explanation(folder, run.reader, cache_of(path), detectors, background, options, meta)
    chosen = collection.to_explain(run.records, 4)
    return Explanation(**{**vars(plan), **changes}), jobs.cut(chosen, 2)
