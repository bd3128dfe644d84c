"""A cache of defocus maps on disk: computed once per image, whatever they are used for."""

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
from joblib import Parallel, delayed, effective_n_jobs
from tqdm.auto import tqdm

from defocus_lib.data.images import FITS, Reader, Row, as_planes, rows_of
from defocus_lib.maps import edges as edge_detection
from defocus_lib.maps import estimate, learned, propagation, ratio, width
from defocus_lib.maps.kernels import compiled, filters
from defocus_lib.maps.presets import NETWORK, PRESETS, PROPAGATIONS
from defocus_lib.run import cluster
from defocus_lib.run.artifacts import (
    Folder,
    MissingArtifact,
    project_root,
    read_arrays,
    source_digest,
    write_arrays,
    write_json,
)
from defocus_lib.scenes import optics

if TYPE_CHECKING:
    from distributed import Client


MAPS = "maps.json"  # in the folder of a run: which maps are its own
UNCERTAINTY = "uncertainty"  # the array that a file has as well where the preset estimates it


class CachedMap(NamedTuple):
    """The map of one image."""

    dense: np.ndarray
    """(H, W) float32, sigma in px, not normalised."""
    edges: np.ndarray
    """(H, W) bool; on disk eight pixels per byte, as ``numpy.packbits`` packs rows."""


@once
def version(preset: str = "physical") -> str:
    """Version of a preset's method: 12 hex digits of its values and the code that it runs.

    Presets of a network have 12 more, of the network's weights.
    """
    settings = PRESETS[preset]
    by_network = settings.propagation == NETWORK
    modules = [estimate, edge_detection, ratio if settings.literal else width, compiled, filters]
    modules += [learned, optics] if by_network else [propagation]
    method = json.dumps([source_digest(*modules), asdict(settings)])
    digest = hashlib.sha256(method.encode()).hexdigest()[:12]
    return f"{digest}-{learned.card()['sha256'][:12]}" if by_network else digest


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

    def key(self, digest: str) -> str:
        """The key of the map of the image with this SHA-256: 64 hexadecimal digits."""
        ingredients = json.dumps(self._ingredients(digest), sort_keys=True)
        return hashlib.sha256(ingredients.encode()).hexdigest()

    def path(self, digest: str) -> Path:
        """Where the map of the image with this SHA-256 lies, or would."""
        key = self.key(digest)
        return Path(self.folder) / key[:2] / f"{key}.npz"

    def fill(
        self,
        records: pd.DataFrame,
        reader: Reader,
        n_workers: int = -1,
        progress: bool = False,
        client: Client | None = None,
    ) -> pd.Series:
        """Compute the maps that are missing or damaged; what is done stays done if interrupted.

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

        Returns
        -------
        Series
            Number of maps ``computed`` now, and ``found`` whole.

        Raises
        ------
        UnreadableImage, ValueError
            If an image can't be read or has changed, or the reader gives images of another size.
        """
        self.check_reader(reader)
        records = records.drop_duplicates("digest")
        options = {"desc": "defocus maps", "unit": "image", "disable": not progress}
        with tqdm(total=len(records), **options) as bar:
            if client is None:
                with cluster.one_thread():  # the workers are as many as there are cores already
                    computed = self._fill_here(rows_of(records), reader, n_workers, bar)
            else:
                computed = self._fill_by(client, records, reader, bar)
        return pd.Series({"computed": computed, "found": len(records) - computed})

    def _fill_by(self, client: Client, records: pd.DataFrame, reader: Reader, bar: tqdm) -> int:
        columns = records[["path", "digest"]]
        parts = (columns.iloc[first : first + PART] for first in range(0, len(records), PART))
        provide, computed = partial(self._provide_all, reader), 0
        for handled, new in cluster.as_they_finish(provide, parts, client):
            computed += new
            bar.update(handled)
        return computed

    def _provide_all(self, reader: Reader, records: pd.DataFrame) -> tuple[int, int]:
        """How many images were handled, and how many maps had to be computed."""
        return len(records), sum(self._provide(row, reader) for row in rows_of(records))

    def _fill_here(self, rows: list[Row], reader: Reader, n_workers: int, bar: tqdm) -> int:
        failures: list[Exception] = []
        computed, backend = 0, _backend(n_workers, len(rows))
        # Handed out as workers become free. After a failure no more are, and those begun are waited
        # for: no worker still writes once this has returned.
        jobs = (delayed(self._attempt)(row, reader) for row in rows if not failures)
        run = Parallel(n_jobs=n_workers, prefer=backend, return_as="generator_unordered")
        for outcome in run(jobs):
            bar.update()
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
        path = self._computed(digest)
        arrays, _ = read_arrays(path, set(CachedMap._fields))
        dense = arrays["dense"]
        cached = CachedMap(dense, _unpacked(arrays["edges"], dense.shape))
        self._check(path, cached)
        return cached

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
        paths = [self._computed(digest) for digest in records["digest"]]
        return np.stack([read_arrays(path, {UNCERTAINTY})[0][UNCERTAINTY] for path in paths])

    def check_reader(self, reader: Reader) -> None:
        """Raise ``ValueError`` unless ``reader`` gives the images that these maps are of."""
        own, given = (f"size {images.size}, fit {images.fit}" for images in (self, reader))
        if own != given:
            raise ValueError(f"the reader gives images of {given}; the maps are of {own}")

    def _computed(self, digest: str) -> Path:
        path = self.path(digest)
        if not path.is_file():
            raise MissingArtifact(
                f"{path} is missing, the {self.preset} map of image {digest[:12]}...: "
                "run notebook 02_defocus_map first"
            )
        return path

    def _ingredients(self, digest: str) -> dict[str, str | int]:
        return {
            "image": digest,
            "size": self.size,
            "fit": self.fit,
            "preset": self.preset,
            "propagation": self.propagation or PRESETS[self.preset].propagation,
            "version": version(self.preset),
        }

    def _check(self, path: Path, cached: CachedMap) -> None:
        dense, edges = cached
        shape = (self.size, self.size) if self.size else dense.shape
        whole = dense.shape == edges.shape == shape and len(shape) == 2 and np.isfinite(dense).all()
        if not whole or (dense.dtype, edges.dtype) != (np.float32, np.bool_):
            raise ValueError(
                f"{path}: dense {dense.shape} {dense.dtype} and edges {edges.shape} {edges.dtype} "
                f"found; finite float32 and bool of shape {shape if self.size else '(H, W)'} wanted"
            )

    def _holds(self, digest: str) -> bool:
        """Whether the map of an image is there, and whole."""
        try:
            self.load(digest)
        except (MissingArtifact, ValueError):
            return False
        return True

    def _attempt(self, row: Row, reader: Reader) -> bool | Exception:
        try:
            return self._provide(row, reader)
        except Exception as error:
            return error

    def _provide(self, row: Row, reader: Reader) -> bool:
        """Whether the map of an image had to be computed; afterwards it is there."""
        if self._holds(row.digest):
            return False
        planes = as_planes(reader(row))[None]
        maps = estimate.defocus_maps(planes, self.preset, self.propagation or None)
        # Not compressed: that would take several times as long as the map, and save an eighth.
        arrays = {
            "dense": maps.dense[0, 0].numpy(),
            "edges": np.packbits(maps.edges[0, 0].numpy(), axis=1),
        }
        if maps.uncertainty is not None:
            arrays[UNCERTAINTY] = maps.uncertainty[0, 0].numpy()
        write_arrays(self.path(row.digest), arrays, self._ingredients(row.digest), compress=False)
        return True


def _unpacked(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``(H, W)`` bool of eight pixels per byte; the bytes as they are if they do not fit."""
    packed = bits.dtype == np.uint8 and len(shape) == 2
    fits = packed and bits.shape == (shape[0], -(-shape[1] // 8))
    return np.unpackbits(bits, axis=1, count=shape[1]).astype(bool) if fits else bits


# Images that a worker of a cluster gets at once.
PART = 32
# From so many images on, processes are worth their start: each imports torch, which takes seconds.
MANY_IMAGES = 1000
# Up to so many workers threads are as quick as processes: compiled sweeps release Python's lock.
FEW_WORKERS = 4


def _backend(n_workers: int, images: int) -> str:
    many = effective_n_jobs(n_workers) > FEW_WORKERS and images >= MANY_IMAGES
    return "processes" if many else "threads"


def map_cache(reader: Reader, preset: str, propagation: str) -> MapCache:
    """The cache that holds the maps of what ``reader`` reads; all runs share its folder."""
    folder = project_root() / "artifacts" / ".maps"
    return MapCache(folder, preset, propagation, reader.size, reader.fit)


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
