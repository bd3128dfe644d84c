"""Shapley values of the images of a run, for both detectors: computed and saved shard by shard.

A shard is the unit of work. It is computed from its images alone, so it comes out the same whether
one process does all shards or a cluster, and whether the run was killed in between.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from tqdm.auto import tqdm

from defocus_lib import precision
from defocus_lib.data.images import Reader
from defocus_lib.detect import inputs as dataset
from defocus_lib.detect import model as detector
from defocus_lib.detect import normalisation
from defocus_lib.detect.control_inputs import Batch
from defocus_lib.detect.model import Detector, load_detector
from defocus_lib.explain import expected_gradients, quadrature, shards
from defocus_lib.explain.attribution_set import AttributionSet
from defocus_lib.explain.expected_gradients import Attributions, Compute, shapley_values
from defocus_lib.maps.cache import MapCache
from defocus_lib.maps.estimate import normalize_per_sample
from defocus_lib.run import cluster
from defocus_lib.run.artifacts import Folder, source_digest
from defocus_lib.scenes import rendered

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Shard:
    """Some images of one set: the unit of work."""

    name: str
    number: int
    records: pd.DataFrame
    checksum: str = ""  # that of the index, where there is one

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True)
class Done:
    """A shard that is there now, and the ``problem`` of the file that it replaced."""

    shard: Shard
    checksum: str
    computed: bool
    problem: str = ""


def cut(records: pd.DataFrame, images: int) -> list[Shard]:
    """Records as shards of at most ``images``: of each manipulation in turn, in their order.

    Raises ValueError if ``images`` is not between 1 and 256.
    """
    if not 1 <= images <= shards.MAX_IMAGES:
        raise ValueError(f"shard_images is {images}; 1 to {shards.MAX_IMAGES} wanted")
    return [
        Shard(str(name), number, rows.iloc[first : first + images])
        for name, rows in records.groupby("manipulation", sort=False)
        for number, first in enumerate(range(0, len(rows), images))
    ]


@dataclass(frozen=True)
class Explanation:
    """What all shards of a run have in common; picklable, for processes that see its paths.

    Attributes
    ----------
    cache : MapCache
        Holds the maps of all images.
    detectors : mapping of {"defocus", "rgb"} to Path
        The weights of both detectors.
    background : DataFrame
        Records of the images that the explained ones are compared with.
    options : mapping
        ``n_samples``, ``seed``, ``method``, ``batch_size`` and ``precision`` ("float32" or
        "bfloat16"), see :func:`defocus_lib.explain.expected_gradients.shapley_values`.
    meta : mapping
        Written into each shard.
    storage : {"float32", "float16"}
        See :func:`defocus_lib.explain.shards.write_shard`.
    """

    folder: Folder
    reader: Reader
    cache: MapCache
    detectors: Mapping[str, Path]
    background: pd.DataFrame
    options: Mapping
    meta: Mapping
    storage: str = "float32"

    def explain(self, records: pd.DataFrame) -> AttributionSet:
        """The images ``records`` with their maps, regions and Shapley values; each is read once."""
        read, background = (
            Batch(rows, self.reader, self.cache) for rows in (records, self.background)
        )
        keys = [_key(name) for name in records["id"]]
        values = {reads: self._values(reads, read, background, keys) for reads in self.detectors}
        images, (dense, edges) = read.images, read.maps
        return AttributionSet(
            ids=records["id"].to_numpy(dtype=str),
            pairs=records["pair"].to_numpy(dtype=str),
            images=images,
            edges=edges,
            regions=rendered.true_regions(self.folder, records["id"].tolist(), dense.shape[-1]),
            # Of the paper's analyses, whatever normalisation the detector reads.
            dmaps=normalize_per_sample(torch.from_numpy(dense)[:, None])[:, 0].numpy(),
            defocus_shaps=values["defocus"].values,
            rgb_shaps=values["rgb"].values,
            defocus_completeness_errors=values["defocus"].completeness_errors,
            rgb_completeness_errors=values["rgb"].completeness_errors,
            meta=dict(self.meta),
        )

    def _values(self, reads: str, read: Batch, background: Batch, keys: list[int]) -> Attributions:
        """Shapley values of one detector, for the images that were read."""
        device, path = precision.here(), self.detectors[reads]
        options = dict(self.options)
        compute = Compute(options.pop("batch_size"), getattr(torch, options.pop("precision")))
        model = _ready(path, _digest(path), reads, device)
        inputs, base = (inputs_of(model, batch).to(device) for batch in (read, background))
        return shapley_values(model, inputs, base, **options, compute=compute, keys=keys)

    def provide(self, shard: Shard) -> Done:
        """Compute a shard and write it, unless it is there, whole, and of this plan."""
        path, work, problem = self.path(shard), self.work(shard), ""
        if path.exists():
            problem, existing_work = shards.problem_of(path, shard.checksum)
            if not problem and existing_work == work:
                return Done(shard, shards.checksum(path), computed=False)
        values = self.explain(shard.records)
        values.meta.update(manipulation=shard.name, work=work)
        values.save(path, self.storage)
        return Done(shard, shards.checksum(path), computed=True, problem=problem)

    def path(self, shard: Shard) -> Path:
        """Where a shard goes."""
        return shards.shard_path(self.folder.path / shards.ROOT, shard.name, shard.number)

    def work(self, shard: Shard) -> str:
        """A digest of all that decides what a shard holds: images, detectors, options, method."""
        content = {
            "images": shard.records[["id", "pair", "digest"]].to_numpy().tolist(),
            "background": self.background["digest"].tolist(),
            "detectors": {reads: _digest(path) for reads, path in self.detectors.items()},
            "method": source_digest(
                *(precision, quadrature, expected_gradients, detector, dataset, normalisation),
                shards,
            ),
            "storage": self.storage,
            **self.meta,
            **self.options,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _key(name: str) -> int:
    """The seed of an image, by its id."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def inputs_of(model: Detector, batch: Batch) -> torch.Tensor:
    """Inputs ``(N, C, H, W)`` of a detector, as in its training, of stored images."""
    name = model.normalisation
    planes = batch.planes_by(name) if model.kind.map else [None] * len(batch.images)
    pairs = zip(batch.images, planes, strict=True)
    return torch.stack([dataset.as_input(model.reads, *pair, name) for pair in pairs])


def save(
    plan: Explanation, parts: Sequence[Shard], client: Client | None = None, progress: bool = False
) -> pd.Series:
    """Compute the shards that are missing, damaged or of another plan, and write the index.

    A run that was killed is continued: at most the shards in work are lost. Files of shards that
    the plan does not know are removed. ``parts`` are those of :func:`cut`, ``client`` that of
    :func:`defocus_lib.run.cluster.workers`; ``progress`` shows a bar over the images. Returns the
    number of images ``computed`` now and ``found``; raises StoreBusy if another run is writing
    there.
    """
    root, images = plan.folder.path / shards.ROOT, sum(map(len, parts))
    done: dict[tuple[str, int], Done] = {}
    with shards.only_writer(root):
        known = shards.checksums(root)
        jobs = [replace(part, checksum=known.get((part.name, part.number), "")) for part in parts]
        # The index is there when, and only when, all shards are.
        (root / shards.INDEX).unlink(missing_ok=True)
        with tqdm(total=images, desc="Shapley values", unit="image", disable=not progress) as bar:
            for result in cluster.as_they_finish(plan.provide, jobs, client):
                if result.problem:
                    path = plan.path(result.shard)
                    warnings.warn(
                        f"damaged, computed again: {path}: {result.problem}", stacklevel=2
                    )
                done[result.shard.name, result.shard.number] = result
                bar.update(len(result.shard))
        shards.remove_others(root, {plan.path(part) for part in parts})
        keys = [(part.name, part.number) for part in parts]
        shards.write_index(root, {key: done[key].checksum for key in keys})
    computed = sum(len(result.shard) for result in done.values() if result.computed)
    return pd.Series({"computed": computed, "found": images - computed})


def _digest(path: Path) -> str:
    state = Path(path).stat()
    return _digest_of(Path(path), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _digest_of(path: Path, *_: int) -> str:
    return shards.checksum(path)


@lru_cache(maxsize=4)
def _ready(path: Path, digest: str, reads: str, device: str) -> Detector:
    """A detector without gradients of its weights, in the memory layout of convolutions.

    ``digest`` is that of the file, so that a long-lived worker does not take old weights for new
    ones.
    """
    model, _ = load_detector(path, reads=reads)
    return model.requires_grad_(False).to(device).to(memory_format=torch.channels_last)
