"""Memory and disk of many images: ``python -m benchmarks.store``.

Run ``doit profile=speed notebook:02_defocus_map`` first. Stores of 1,000 and of 10,000 images of
299 px are written, five sets each, and notebooks 05 to 09 run on both; measured is the largest
resident memory of each. Photographs, maps and edges are those of the profile ``speed``, repeated.
The Shapley values are stand-ins that compress fast; sizes on disk are measured with noise, which
compresses as badly as real ones. Takes a quarter of an hour on two cores and 10 GB of disk, given
back at the end.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from benchmarks import machine
from defocus_lib.data import collection
from defocus_lib.explain import shards
from defocus_lib.explain.attribution_set import AttributionSet
from defocus_lib.maps.cache import load_maps
from defocus_lib.maps.estimate import normalize_per_sample
from defocus_lib.run import artifacts, notebook
from defocus_lib.scenes import rendered

RESULTS = Path(__file__).parent / "results" / "store.csv"
NOTEBOOKS = (
    "05_binary_mask",
    "06_local_variance",
    "07_tsne",
    "08_shapley_view",
    "09_alignment_score",
)
IMAGES, SHARD, PROFILE, FEATURES = (1_000, 10_000), 64, "store-benchmark", 512


def shelf() -> dict[str, AttributionSet]:
    """Images of the profile ``speed`` with their maps; sets by name."""
    folder = artifacts.Folder.open("speed")
    run = collection.load(folder)
    cache, _ = load_maps(folder, run.reader)
    sets = {}
    for name, rows in run.records.query("split == 'test'").groupby("manipulation", sort=False):
        dense, edges = cache.stack(rows)
        regions = rendered.true_regions(folder, rows["id"].tolist(), dense.shape[-1])
        normal = np.stack(
            [normalize_per_sample(one[None, None])[0, 0].numpy() for one in map(_tensor, dense)]
        )
        values = {
            "images": run.reader.stack(rows),
            "edges": edges,
            "regions": regions,
            "dmaps": normal,
        }
        keys = {"ids": rows["id"].to_numpy(str), "pairs": rows["pair"].to_numpy(str)}
        sets[str(name)] = AttributionSet(**keys, **values)
    return sets


def _tensor(array: np.ndarray):
    import torch

    return torch.from_numpy(array)


def shard_of(
    kept: AttributionSet, name: str, first: int, last: int, meta: dict, noise: bool = False
) -> AttributionSet:
    """Images ``first`` to ``last`` of a set, repeated from ``kept``, with stand-ins for values."""
    numbers = np.arange(first, last)
    part = kept.take(numbers % len(kept), "images", "edges", "regions", "dmaps")
    rng = np.random.default_rng([first, len(name)])
    shaps = np.where(part.dmaps > 0.5, 1e-4, -1e-4) * rng.random(2)[:, None, None, None]
    shaps = (rng.normal(scale=1e-4, size=shaps.shape) if noise else shaps).astype(np.float32)
    return AttributionSet(
        ids=np.array([f"picture-{number:06d}/{name}" for number in numbers]),
        pairs=np.array([f"picture-{number:06d}/real" for number in numbers]),
        images=part.images,
        edges=part.edges,
        regions=part.regions,
        dmaps=part.dmaps,
        defocus_shaps=shaps[0],
        rgb_shaps=shaps[1],
        defocus_completeness_errors=shaps[0].sum((1, 2)) / 10,
        rgb_completeness_errors=shaps[1].sum((1, 2)) / 10,
        meta=meta | {"manipulation": name},
    )


def build(path: Path, images: int, kept: dict[str, AttributionSet]) -> artifacts.Folder:
    """Write a store of so many images, all sets together, and the features of as many."""
    folder = artifacts.Folder.create(PROFILE, path)
    root, each = path / shards.ROOT, images // len(kept)
    meta = {"profile": PROFILE, "manipulations": [name for name in kept if name != "real"]}
    firsts = [
        (name, number, first) for name in kept for number, first in enumerate(range(0, each, SHARD))
    ]

    def write(name: str, number: int, first: int) -> None:
        values = shard_of(kept[name], name, first, min(first + SHARD, each), meta)
        values.save(shards.shard_path(root, name, number))

    jobs = (delayed(write)(*one) for one in firsts)
    for _ in tqdm(
        Parallel(-1, return_as="generator_unordered", prefer="threads")(jobs),
        total=len(firsts),
        unit="shard",
    ):
        pass
    shards.write_index_of_all(root)
    names, groups = (
        np.repeat(list(kept), each),
        np.tile([f"picture-{n:06d}" for n in range(each)], len(kept)),
    )
    features = np.random.default_rng(0).normal(size=(len(names), FEATURES)).astype(np.float32)
    arrays = {
        "ids": np.strings.add(groups, names),
        "groups": groups,
        "manipulations": names,
        "features": features,
    }
    artifacts.write_arrays(path / "features.npz", arrays, {"profile": PROFILE}, compress=False)
    return folder


def measure(folder: artifacts.Folder, images: int) -> list[dict]:
    """Run the notebooks on a store: peak memory of each."""
    root = artifacts.project_root()
    given = {"profile": PROFILE, "artifacts": str(folder.path)}
    execute = partial(notebook.run_notebook, folder=folder.path, parameters=given, root=root)
    done = [execute(root / "notebooks" / f"{name}.py") for name in NOTEBOOKS]
    return [{"notebook": run.notebook, "images": images, "peak_mib": run.peak_mb} for run in done]


def sizes(folder: artifacts.Folder, kept: dict[str, AttributionSet]) -> dict[str, float]:
    """Bytes per image in each storage, in the index, and as a map on disk."""
    name = next(iter(kept))
    values = shard_of(kept[name], name, 0, SHARD, {"profile": PROFILE}, noise=True)
    scratch = folder.path / "scratch.npz"
    stored = {
        f"bytes per image, {storage}": values.save(scratch, storage).stat().st_size / SHARD
        for storage in shards.STORAGE
    }
    index = folder.path / shards.ROOT / shards.INDEX
    dense = {"dense": values.dmaps[0], "edges": np.packbits(values.edges[0], axis=1)}
    return stored | {
        "bytes per image, index": index.stat().st_size / len(shards.read_index(index.parent)),
        "bytes per image, map": artifacts.write_arrays(scratch, dense, {}, compress=False)
        .stat()
        .st_size,
    }


def main() -> None:
    kept, rows = shelf(), []
    with tempfile.TemporaryDirectory(dir=artifacts.project_root() / "artifacts") as scratch:
        for images in IMAGES:
            folder = build(Path(scratch) / str(images), images, kept)
            rows += measure(folder, images)
        facts = sizes(folder, kept)
    RESULTS.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(RESULTS, index=False)
    pd.Series(facts, name="value").round(1).rename_axis("what").to_csv(
        RESULTS.with_name("store_facts.csv")
    )
    machine.note("store")
    print(pd.DataFrame(rows).to_string(index=False), *facts.items(), sep="\n")


if __name__ == "__main__":
    main()
