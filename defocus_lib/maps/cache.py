"""A cache of defocus maps on disk: computed once per image, whatever they are used for.

``artifacts/.maps/<preset>/<version>/<method>-<size>-<fit>/`` holds the maps of one kind, named by
the SHA-256 of their image, in half precision (:mod:`defocus_lib.maps.storage`). Files are written
beside and renamed, so a file that exists is whole; :mod:`defocus_lib.maps.upkeep` removes what
nothing needs any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache as once
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed, effective_n_jobs
from tqdm.auto import tqdm

from defocus_lib.data.images import FITS, Reader, Row, as_planes, rows_of
from defocus_lib.maps import edges as edge_detection
from defocus_lib.maps import estimate, learned, propagation, ratio, storage, upkeep, width
from defocus_lib.maps.kernels import compiled, filters
from defocus_lib.maps.presets import NETWORK, PRESETS, PROPAGATIONS
from defocus_lib.precision import AUTO, here
from defocus_lib.run import cluster
from defocus_lib.run.artifacts import (
    Folder,
    MissingArtifact,
    project_root,
    remove_leftovers,
    source_digest,
    write_json,
)
from defocus_lib.scenes import optics

if TYPE_CHECKING:
    from distributed import Client


MAPS = "maps.json"  # in the folder of a run: which maps are its own
UNCERTAINTY = "uncertainty"  # the plane that a file has as well where the preset estimates it


class CachedMap(NamedTuple):
    """The map of one image."""

    dense: np.ndarray
    """(H, W) float32, sigma in px to half precision, not normalised."""
    edges: np.ndarray
    """(H, W) bool."""


def maps_as_cached(
    images: torch.Tensor | np.ndarray, preset: str, propagation: str = "", n_workers: int = 1
) -> estimate.DefocusMaps:
    """The maps of images as the cache keeps them: dense maps and uncertainty to half precision.

    Use it for images whose maps are compared with those of a cache; the arguments are those of
    :func:`defocus_lib.maps.estimate.defocus_maps`.
    """
    maps = estimate.defocus_maps(images, preset, propagation or None, n_workers)
    rounded = None if maps.uncertainty is None else maps.uncertainty.half().float()
    return maps._replace(dense=maps.dense.half().float(), uncertainty=rounded)


@once
def version(preset: str = "physical") -> str:
    """Version of a preset's method: 12 hex digits of its values and the code that it runs.

    Presets of a network have 12 more, of the network's weights.
    """
    settings = PRESETS[preset]
    by_network = settings.propagation == NETWORK
    modules = [estimate, edge_detection, ratio if settings.literal else width, compiled, filters]
    modules += [storage]
    modules += [learned, optics] if by_network else [propagation]
    method = json.dumps([source_digest(*modules), asdict(settings)])
    digest = hashlib.sha256(method.encode()).hexdigest()[:12]
    return f"{digest}-{learned.card()['sha256'][:12]}" if by_network else digest


def present_versions() -> dict[str, str]:
    """The version of each preset."""
    return {preset: version(preset) for preset in PRESETS}


@dataclass(frozen=True)
class MapCache:
    """The maps of images of one size, by one preset.

    A map is found by what it was computed from, not by a path. ValueError if a setting is unknown.
    """

    folder: Path
    """Maps of any number of data sets and presets share it."""
    preset: str
    """A name in :data:`defocus_lib.maps.presets.PRESETS`."""
    propagation: str
    """"gaussian", "guided", "closed_form", or "" for the preset's own."""
    size: int
    """Side of the images in px; 0 for images as stored."""
    fit: str
    """How they became square: "stretch" or "crop"."""
    equalise: str = ""
    """How all were resized and compressed before, as :attr:`Equalise.label`; "" for not."""

    def __post_init__(self) -> None:
        methods = ("", *PROPAGATIONS, NETWORK)
        known_values = {"preset": tuple(PRESETS), "propagation": methods, "fit": FITS}
        for name, known in known_values.items():
            if getattr(self, name) not in known:
                listed = ", ".join(map(repr, known))
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; one of {listed} wanted")
        smallest = estimate.SMALLEST_SIDE
        if self.size != 0 and self.size < smallest:
            raise ValueError(f"size is {self.size}; 0 (as stored) or at least {smallest} wanted")

    @property
    def home(self) -> Path:
        """The folder of the maps of this preset, version, method, size and fit."""
        method = self.propagation or PRESETS[self.preset].propagation
        kind = "-".join(filter(None, (method, str(self.size), self.fit, self.equalise)))
        return Path(self.folder) / self.preset / version(self.preset) / kind

    def path(self, digest: str) -> Path:
        """Where the map of the image with this SHA-256 lies, or would."""
        return self.home / digest[:2] / f"{digest}{storage.SUFFIX}"

    def fill(
        self,
        records: pd.DataFrame,
        reader: Reader,
        n_workers: int = -1,
        progress: bool = False,
        client: Client | None = None,
        verify: bool = False,
        device: str = AUTO,
    ) -> pd.Series:
        """Compute the maps that are missing; what is done stays done if interrupted.

        A map whose file exists is taken to be whole, and marked as used now. Afterwards the folder
        is pruned, see :func:`defocus_lib.maps.upkeep.prune`.

        Parameters
        ----------
        records : DataFrame
            Columns ``path`` and ``digest``; images of the same content count once.
        reader : Reader
            Of the cache's size and fit.
        n_workers : int
            Each reads, computes and writes an image of its own; -1 takes every core.
        client : Client, optional
            Computes instead of this process, see :func:`defocus_lib.run.cluster.workers`.
        verify : bool
            Read every map that exists, and compute damaged ones again.
        device : str
            Where the network of ``learned`` computes: torch's name, by default a card if there is
            one. Other presets and everything around the network take the processor. Maps of a card
            lie within 0.02 px of those of a processor, and count as the same.

        Returns
        -------
        Series
            Number of maps ``computed`` now, and ``found``.

        Raises
        ------
        UnreadableImage, ValueError
            If an image can't be read or has changed, the reader gives images of another size, or
            the limit of the folder is no number.
        """
        self.check_reader(reader)
        limit = upkeep.limit_bytes()
        remove_leftovers(self.home)
        records = records.drop_duplicates("digest")
        missing = self.missing(records, verify)
        options = {"desc": "defocus maps", "unit": "image", "disable": not progress}
        with tqdm(total=len(records), initial=len(records) - len(missing), **options) as bar:
            if client is None:
                with cluster.one_thread():  # the workers are as many as there are cores already
                    where = self._device(device)
                    computed = self._fill_here(rows_of(missing), reader, n_workers, bar, where)
            else:
                computed = self._fill_by(client, missing, reader, bar, device)
        if computed:
            upkeep.prune(Path(self.folder), present_versions(), limit)
        return pd.Series({"computed": computed, "found": len(records) - computed})

    def missing(self, records: pd.DataFrame, verify: bool = False) -> pd.DataFrame:
        """The records whose maps are not there, each content once; ``verify`` reads each map."""
        records = records.drop_duplicates("digest")
        is_there = self._whole if verify else self._is_there
        return records[~np.array([is_there(digest) for digest in records["digest"]], bool)]

    def provide(self, row: Row, reader: Reader) -> CachedMap:
        """The map of an image; computed on the processor and kept, if it is not there yet."""
        try:
            return self.load(row.digest)
        except MissingArtifact:
            self._provide([row], reader)
            return self.load(row.digest)

    def _fill_by(
        self, client: Client, records: pd.DataFrame, reader: Reader, bar: tqdm, device: str
    ) -> int:
        parts, computed = _parts(rows_of(records), PART), 0
        provide = partial(self._provide_part, reader, device)
        for handled, new in cluster.as_they_finish(provide, parts, client):
            computed += new
            bar.update(handled)
        return computed

    def _provide_part(self, reader: Reader, device: str, rows: list[Row]) -> tuple[int, int]:
        """How many images a worker handled, and how many maps had to be computed."""
        where = self._device(device)
        size = 1 if where == "cpu" else PART
        return len(rows), sum(self._provide(part, reader, where) for part in _parts(rows, size))

    def _fill_here(
        self, rows: list[Row], reader: Reader, n_workers: int, bar: tqdm, device: str
    ) -> int:
        failures: list[Exception] = []
        on_card = device != "cpu"
        # Threads share a card: while it computes the maps of some, others read, find edges, write.
        parts = _parts(rows, PART if on_card else 1)
        computed, backend = 0, "threads" if on_card else _backend(n_workers, len(rows))
        # Handed out as workers become free. After a failure no more are, and those begun are waited
        # for: no worker still writes once this has returned.
        jobs = (delayed(self._attempt)(part, reader, device) for part in parts if not failures)
        run = Parallel(n_jobs=n_workers, prefer=backend, return_as="generator_unordered")
        for handled, outcome in run(jobs):
            bar.update(handled)
            if isinstance(outcome, Exception):
                failures.append(outcome)
            else:
                computed += outcome
        if failures:
            raise failures[0]
        return computed

    def load(self, digest: str) -> CachedMap:
        """The map of the image with this SHA-256.

        MissingArtifact if it has not been computed; ValueError if the file is damaged.
        """
        return CachedMap(**self._read(digest, *CachedMap._fields))

    def stack(self, records: pd.DataFrame, n_workers: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The maps of all records in order: dense (N, H, W) float32 and edges (N, H, W) bool.

        Raises as for one map; ValueError also if there is no record, or the maps differ in size.
        """
        if len(records) == 0:
            raise ValueError("records has no row; at least one wanted")
        digests = records["digest"].tolist()
        threads = Parallel(n_jobs=n_workers, prefer="threads", return_as="generator")
        maps: Iterator[CachedMap] = threads(map(delayed(self.load), digests))
        first = next(maps)
        dense = np.empty((len(digests), *first.dense.shape), np.float32)
        edges = np.empty(dense.shape, bool)
        dense[0], edges[0] = first
        for index, cached in enumerate(maps, start=1):
            if cached.dense.shape != dense.shape[1:]:
                shapes = f"{cached.dense.shape}, the first {dense.shape[1:]}"
                raise ValueError(f"map {index} is {shapes}; one size wanted")
            dense[index], edges[index] = cached
        return dense, edges

    def uncertainty(self, records: pd.DataFrame) -> np.ndarray:
        """(N, H, W) float32 standard deviation of the error of the maps of all records, in px.

        MissingArtifact or ValueError if a map is missing, damaged, or the preset estimates none.
        """
        if PRESETS[self.preset].propagation != NETWORK:
            raise ValueError(
                f"maps of preset {self.preset!r} come without uncertainty; preset 'learned' wanted"
            )
        planes = (self._read(digest, UNCERTAINTY) for digest in records["digest"])
        return np.stack([plane[UNCERTAINTY] for plane in planes])

    def validity(self, records: pd.DataFrame) -> np.ndarray:
        """(N, H, W) bool: the edges of the maps of all records at which blur was measured.

        MissingArtifact or ValueError if a map is missing or damaged.
        """
        return np.stack([self._read(digest, "valid")["valid"] for digest in records["digest"]])

    def check_reader(self, reader: Reader) -> None:
        """Raise ``ValueError`` unless ``reader`` gives the images that these maps are of."""
        own, given = (
            f"size {images.size}, fit {images.fit}{label and f', equalised to {label}'}"
            for images, label in ((self, self.equalise), (reader, reader.label))
        )
        if own != given:
            raise ValueError(f"the reader gives images of {given}; the maps are of {own}")

    def _read(self, digest: str, *names: str) -> dict[str, np.ndarray]:
        path = self.path(digest)
        upkeep.mark_used(path)
        try:
            planes = storage.read_map(path, names)
        except FileNotFoundError:
            raise MissingArtifact(
                f"{path} is missing, the {self.preset} map of image {digest[:12]}...: "
                "run notebook 02_defocus_map first"
            ) from None
        shape, square = next(iter(planes.values())).shape, (self.size, self.size)
        if self.size and shape != square:
            raise ValueError(f"{path}: shape {shape} found; {square} wanted; {storage.ADVICE}")
        return planes

    def _is_there(self, digest: str) -> bool:
        """Whether the map of an image is there; if so, it counts as used now."""
        return upkeep.mark_used(self.path(digest))

    def _whole(self, digest: str) -> bool:
        """Whether the map of an image is there and can be read; if it can't be, it is removed."""
        try:
            self.load(digest)
        except MissingArtifact:
            return False
        except ValueError:
            self.path(digest).unlink(missing_ok=True)
            return False
        return self._is_there(digest)

    def _about(self, digest: str) -> dict[str, str | int]:
        return {
            "image": digest,
            "size": self.size,
            "fit": self.fit,
            "preset": self.preset,
            "propagation": self.propagation or PRESETS[self.preset].propagation,
            "version": version(self.preset),
            **({"equalise": self.equalise} if self.equalise else {}),
        }

    @property
    def by_network(self) -> bool:
        """Whether a network computes the maps, which a card does faster than a processor."""
        return (self.propagation or PRESETS[self.preset].propagation) == NETWORK

    def _device(self, device: str) -> str:
        """Where the maps are computed: those of edges on the processor, whatever is asked for."""
        if not self.by_network:
            return "cpu"
        return here() if device == AUTO else device

    def _attempt(self, rows: list[Row], reader: Reader, device: str) -> tuple[int, int | Exception]:
        try:
            return len(rows), self._provide(rows, reader, device)
        except Exception as error:
            return len(rows), error

    def _provide(self, rows: list[Row], reader: Reader, device: str = "cpu") -> int:
        """How many of the maps of images had to be computed; afterwards all are there."""
        # Another process may have been quicker.
        missing = [row for row in rows if not self._is_there(row.digest)]
        images = [as_planes(reader(row)) for row in missing]
        for shape in {image.shape for image in images}:
            chosen = [number for number, image in enumerate(images) if image.shape == shape]
            batch = torch.from_numpy(np.stack([images[number] for number in chosen])).to(device)
            maps = maps_as_cached(batch, self.preset, self.propagation)
            self._write([missing[number].digest for number in chosen], maps)
        return len(missing)

    def _write(self, digests: list[str], maps: estimate.DefocusMaps) -> None:
        """Keep the maps of a batch of images."""
        planes = {"dense": maps.dense, UNCERTAINTY: maps.uncertainty}
        arrays = {n: plane[:, 0].cpu().numpy() for n, plane in planes.items() if plane is not None}
        edges, valid = (plane[:, 0].cpu().numpy() for plane in (maps.edges, maps.valid))
        for number, digest in enumerate(digests):
            of_image = {name: values[number] for name, values in arrays.items()}
            about = self._about(digest)
            storage.write_map(self.path(digest), of_image, edges[number], about, valid[number])


@dataclass(frozen=True)
class ComputedMaps:
    """Maps that are computed whenever they are asked for: those of a cache, without its disk.

    For maps that are read once or twice, of presets that take milliseconds.
    """

    reader: Reader
    preset: str
    propagation: str = ""

    def stack(self, records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """The maps of all records, as :meth:`MapCache.stack` returns them.

        Raises as the reader does; ValueError also if there is no record.
        """
        if len(records) == 0:
            raise ValueError("records has no row; at least one wanted")
        images = (as_planes(self.reader(row))[None] for row in rows_of(records))
        maps = [maps_as_cached(image, self.preset, self.propagation) for image in images]
        dense = np.concatenate([each.dense[:, 0] for each in maps])
        return dense, np.concatenate([each.edges[:, 0] for each in maps])


def _parts(rows: list[Row], size: int) -> Iterator[list[Row]]:
    return (rows[first : first + size] for first in range(0, len(rows), size))


# Images that a worker of a cluster, or a card, gets at once.
PART = 32
# From so many images on, processes are worth their start: each imports torch, which takes seconds.
MANY_IMAGES = 1000
# Up to so many workers threads are as quick as processes: compiled sweeps release Python's lock.
FEW_WORKERS = 4


def _backend(n_workers: int, images: int) -> str:
    many = effective_n_jobs(n_workers) > FEW_WORKERS and images >= MANY_IMAGES
    return "processes" if many else "threads"


def maps_folder() -> Path:
    """The folder of maps that all runs share."""
    return project_root() / "artifacts" / ".maps"


def map_cache(reader: Reader, preset: str, propagation: str) -> MapCache:
    """The cache that holds the maps of what ``reader`` reads; all runs share its folder."""
    return MapCache(maps_folder(), preset, propagation, reader.size, reader.fit, reader.label)


def save_maps(folder: Folder, cache: MapCache, records: pd.DataFrame) -> Path:
    """Write down which maps belong to the run, once they are all in the cache."""
    settings = {"preset": cache.preset, "propagation": cache.propagation}
    method = {"version": version(cache.preset)}
    return write_json(folder.path / MAPS, settings | method | {"images": len(records)})


def load_maps(folder: Folder, reader: Reader) -> tuple[MapCache, dict[str, str]]:
    """The cache with the maps of a run, and their preset, propagation and version.

    MissingArtifact if notebook 02 has not computed them; ValueError if the method has changed
    since.
    """
    path = folder.require(MAPS, made_by="02_defocus_map")
    saved = json.loads(path.read_text(encoding="utf-8"))
    if saved["version"] != version(saved["preset"]):
        raise ValueError(
            f"{path}: the method has changed since these maps were computed; run notebook 02 again"
        )
    about = {name: saved[name] for name in ("preset", "propagation", "version")}
    return map_cache(reader, about["preset"], about["propagation"]), about
