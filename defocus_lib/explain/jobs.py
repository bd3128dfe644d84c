"""Shapley values of the images of a run, for each of its detectors: computed and saved shard by shard.

A shard is the unit of work. It is computed from its images alone, so it comes out the same whether one process does all
shards or a cluster, and whether the run was killed in between.
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

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from defocus_lib import precision
from defocus_lib.data.images import Reader
from defocus_lib.detect import inputs as dataset
from defocus_lib.detect import model as detector
from defocus_lib.detect.model import Detector, load_detector
from defocus_lib.explain import expected_gradients, quadrature, shards
from defocus_lib.explain.attribution_set import ShapleySet
from defocus_lib.explain.expected_gradients import Attributions, shapley_values
from defocus_lib.maps.cache import MapCache
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
    """A shard that is there now: computed, or found. ``problem`` says what was wrong with the file that was there."""

    shard: Shard
    checksum: str
    computed: bool
    problem: str = ""


def cut(records: pd.DataFrame, images: int) -> list[Shard]:
    """Records as shards of at most ``images``: of each manipulation in turn, in their order.

    Raises
    ------
    ValueError
        If ``images`` is not between 1 and 256.
    """
    if not 1 <= images <= shards.MOST_IMAGES:
        raise ValueError(f"shard_images is {images}; 1 to {shards.MOST_IMAGES} wanted")
    return [
        Shard(str(name), number, rows.iloc[first : first + images])
        for name, rows in records.groupby("manipulation", sort=False)
        for number, first in enumerate(range(0, len(rows), images))
    ]


@dataclass(frozen=True)
class Explanation:
    """What all shards of a run have in common. It can be sent to other processes, and to machines that see its paths.

    Attributes
    ----------
    folder : Folder
    reader : Reader
    cache : MapCache
        Holds the maps of all images.
    detectors : mapping of {"defocus", "rgb"} to Path
        The weights of both detectors.
    background : DataFrame
        Records of the images that the explained ones are compared with.
    options : mapping
        ``samples``, ``seed``, ``method``, ``batch_size`` of :func:`defocus_lib.explain.expected_gradients.shapley_values`, and
        ``precision``, "float32" or "bfloat16".
    meta : mapping
        Written into each shard.
    storage : {"float32", "float16"}
        See :func:`defocus_lib.explain.shards.save_set`.
    device : str
        "cpu", "cuda" ..., or "auto": a GPU where the worker has one. Shards from different devices are alike, but not
        to the byte.
    """

    folder: Folder
    reader: Reader
    cache: MapCache
    detectors: Mapping[str, Path]
    background: pd.DataFrame
    options: Mapping
    meta: Mapping
    storage: str = "float32"
    device: str = "auto"

    def explain(self, records: pd.DataFrame) -> ShapleySet:
        """The images ``records`` with their maps, regions and Shapley values. Each is read once, for both detectors."""
        images, (dense, edges) = self.reader.stack(records), self.cache.stack(records)
        behind, (behind_dense, _) = (
            self.reader.stack(self.background),
            self.cache.stack(self.background),
        )
        keys = [
            int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
            for name in records["id"]
        ]
        found: dict[str, Attributions] = {}
        inputs: dict[str, torch.Tensor] = {}
        for reads, path in self.detectors.items():
            model = _ready(path, _digest(path), reads, self._device())
            inputs[reads], base = stack(reads, images, dense), stack(reads, behind, behind_dense)
            options = {
                **self.options,
                "precision": getattr(torch, self.options["precision"]),
                "keys": keys,
            }
            found[reads] = shapley_values(
                model, inputs[reads].to(self._device()), base.to(self._device()), **options
            )
        return ShapleySet(
            ids=records["id"].to_numpy(dtype=str),
            pairs=records["pair"].to_numpy(dtype=str),
            images=images,
            edges=edges,
            regions=rendered.true_regions(self.folder, records["id"].tolist(), dense.shape[-1]),
            dmaps=inputs["defocus"][:, 0].numpy(),
            defocus_shaps=found["defocus"].values,
            rgb_shaps=found["rgb"].values,
            defocus_gaps=found["defocus"].gaps,
            rgb_gaps=found["rgb"].gaps,
            meta=dict(self.meta),
        )

    def provide(self, shard: Shard) -> Done:
        """Compute a shard and write it, unless it is there, whole, and of this plan."""
        path, work, problem = self.path(shard), self.work(shard), ""
        if path.exists():
            problem, theirs = shards.problem_of(path, shard.checksum)
            if not problem and theirs == work:
                return Done(shard, shards.checksum(path), computed=False)
        values = self.explain(shard.records)
        values.meta.update(manipulation=shard.name, work=work)
        shards.save_set(path, values, self.storage)
        return Done(shard, shards.checksum(path), computed=True, problem=problem)

    def path(self, shard: Shard) -> Path:
        """Where a shard goes."""
        return shards.shard_path(self.folder.path / shards.ROOT, shard.name, shard.number)

    def work(self, shard: Shard) -> str:
        """A digest of all that decides what a shard holds: its images, the detectors, the options, the method."""
        said = {
            "images": shard.records[["id", "pair", "digest"]].to_numpy().tolist(),
            "background": self.background["digest"].tolist(),
            "detectors": {reads: _digest(path) for reads, path in self.detectors.items()},
            "method": source_digest(
                precision, quadrature, expected_gradients, detector, dataset, shards
            ),
            "storage": self.storage,
            **self.meta,
            **self.options,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def _device(self) -> str:
        return precision.here() if self.device == "auto" else self.device


def stack(reads: str, images: np.ndarray, dense: np.ndarray) -> torch.Tensor:
    """What a detector reads of ``N`` images ``(N, H, W, 3)`` and their maps ``(N, H, W)``: ``(N, C, H, W)``."""
    return torch.stack([dataset.as_input(reads, *one) for one in zip(images, dense, strict=True)])


def save(
    plan: Explanation, parts: Sequence[Shard], client: Client | None = None, progress: bool = False
) -> pd.Series:
    """Compute the shards that are missing, damaged or of another plan, and write the index.

    A run that was killed is continued: at most the shards in work are lost. Who would compute a shard checks it first,
    if it is there already. Files of shards that the plan does not know are removed.

    Parameters
    ----------
    plan : Explanation
    parts : sequence of Shard
        As :func:`cut` makes them.
    client : Client, optional
        Who computes, see :func:`defocus_lib.run.cluster.workers`; by default this process.
    progress : bool
        Show a bar over the images.

    Returns
    -------
    Series
        Number of images ``computed`` now and ``found``.

    Raises
    ------
    StoreBusy
        If another run is writing there.
    """
    root = plan.folder.path / shards.ROOT
    done: list[Done] = []
    with shards.only_writer(root):
        known = shards.checksums(root)
        jobs = [replace(part, checksum=known.get((part.name, part.number), "")) for part in parts]
        (root / shards.INDEX).unlink(
            missing_ok=True
        )  # it is there when, and only when, all shards are
        with tqdm(
            total=sum(map(len, parts)), desc="Shapley values", unit="image", disable=not progress
        ) as bar:
            for one in cluster.as_they_finish(plan.provide, jobs, client):
                if one.problem:
                    warnings.warn(
                        f"damaged, computed again: {plan.path(one.shard)}: {one.problem}",
                        stacklevel=2,
                    )
                done.append(one)
                bar.update(len(one.shard))
        shards.remove_others(root, {plan.path(part) for part in parts})
        found = {(one.shard.name, one.shard.number): one.checksum for one in done}
        shards.write_index(
            root, {(part.name, part.number): found[part.name, part.number] for part in parts}
        )
    computed = sum(len(one.shard) for one in done if one.computed)
    return pd.Series({"computed": computed, "found": sum(map(len, parts)) - computed})


def _digest(path: Path) -> str:
    now = Path(path).stat()
    return _digest_of(Path(path), now.st_mtime_ns, now.st_size)


@lru_cache(maxsize=8)
def _digest_of(path: Path, *_: int) -> str:
    return shards.checksum(path)


@lru_cache(maxsize=4)
def _ready(path: Path, digest: str, reads: str, device: str) -> Detector:
    """A detector that will only be explained: no gradients of its weights, laid out as convolutions like it best.

    ``digest`` is that of the file: a worker that lives on must not take old weights for new ones.
    """
    model, _ = load_detector(path, reads=reads)
    return model.requires_grad_(False).to(device=device, memory_format=torch.channels_last)
