"""A cache of defocus maps on disk: computed once an image, however often it is trained on, explained or drawn."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache as once
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from tqdm.auto import tqdm

from defocus_lib.data.images import FITS, Reader, Row, as_planes, rows_of
from defocus_lib.maps import edges as canny
from defocus_lib.maps import learned as estimator
from defocus_lib.maps import presets, propagation
from defocus_lib.maps.kernels import compiled, filters
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

if TYPE_CHECKING:
    from distributed import Client


MAPS = "maps.json"  # in the folder of a run: which maps are its own
UNCERTAINTY = "uncertainty"  # the array that a file has more where the preset tells it


class CachedMap(NamedTuple):
    """The map of one image.

    Attributes
    ----------
    dense : (H, W) float32
        Sigma in px, not normalised.
    edges : (H, W) bool
        On disk eight pixels a byte, as ``numpy.packbits`` packs rows.
    """

    dense: np.ndarray
    edges: np.ndarray


@once
def version(preset: str = "physical") -> str:
    """What stands for the method: a digest of the sources that compute a map, 12 hexadecimal digits; with ``learned``
    also one of the network and its weights."""
    by_edges = source_digest(canny, compiled, presets, filters, propagation)
    learned = presets.PRESETS[preset].propagation == presets.NETWORK
    return (
        f"{by_edges}-{source_digest(estimator)}-{estimator.card()['sha256'][:12]}"
        if learned
        else by_edges
    )


@dataclass(frozen=True)
class MapCache:
    """The maps of images of one size, by one preset. A map is found by what it was computed from, not by a path.

    Attributes
    ----------
    folder : Path
        Maps of any number of data sets and presets share it.
    preset : {"physical", "learned", "released", "published"}
    propagation : {"", "gaussian", "guided", "closed_form"}
        "" is the preset's own.
    size : int
        Side of the images in px; 0 for images as stored.
    fit : {"stretch", "crop"}
        How they became square.
    """

    folder: Path
    preset: str
    propagation: str
    size: int
    fit: str

    def __post_init__(self) -> None:
        methods = ("", *presets.PROPAGATIONS, presets.NETWORK)
        wanted = {"preset": tuple(presets.PRESETS), "propagation": methods, "fit": FITS}
        for name, known in wanted.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; one of {', '.join(map(repr, known))} wanted"
                )
        if self.size != 0 and self.size < presets.SMALLEST_SIDE:
            raise ValueError(
                f"size is {self.size}; 0 (as stored) or at least {presets.SMALLEST_SIDE} wanted"
            )

    def key(self, digest: str) -> str:
        """What the map of the image with this SHA-256 goes by: 64 hexadecimal digits."""
        return hashlib.sha256(
            json.dumps(self._ingredients(digest), sort_keys=True).encode()
        ).hexdigest()

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
        """Compute the maps that are missing, or damaged. What is done stays done if this is interrupted.

        Parameters
        ----------
        records : DataFrame
            Columns ``path`` and ``digest``; images of the same content count once.
        reader : Reader
            Of the cache's size and fit.
        n_workers : int
            Each reads, computes and writes an image of its own; -1 takes every core.
        progress : bool
            Show a progress bar.
        client : Client, optional
            Who computes instead of this process, see :func:`defocus_lib.run.cluster.workers`.

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
        with tqdm(
            total=len(records), desc="defocus maps", unit="image", disable=not progress
        ) as bar:
            if client is None:
                with cluster.one_thread():  # the workers are as many as there are cores already
                    computed = self._fill_here(rows_of(records), reader, n_workers, bar)
            else:
                computed = self._fill_by(client, records, reader, bar)
        return pd.Series({"computed": computed, "found": len(records) - computed})

    def _fill_by(self, client: Client, records: pd.DataFrame, reader: Reader, bar: tqdm) -> int:
        parts = (
            records[["path", "digest"]].iloc[first : first + PART]
            for first in range(0, len(records), PART)
        )
        computed = 0
        for handled, new in cluster.as_they_finish(
            partial(self._provide_all, reader), parts, client
        ):
            computed += new
            bar.update(handled)
        return computed

    def _provide_all(self, reader: Reader, records: pd.DataFrame) -> tuple[int, int]:
        """How many images were handled, and how many maps had to be computed."""
        return len(records), sum(self._provide(row, reader) for row in rows_of(records))

    def _fill_here(self, rows: list[Row], reader: Reader, n_workers: int, bar: tqdm) -> int:
        computed, failures = 0, []
        # Handed out as workers become free. After a failure no more are, and those begun are waited for: no worker
        # still writes once this has returned.
        jobs = (delayed(self._attempt)(row, reader) for row in rows if not failures)
        parallel = Parallel(
            n_jobs=n_workers, prefer=_backend(n_workers, len(rows)), return_as="generator_unordered"
        )
        for outcome in parallel(jobs):
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

        Raises
        ------
        MissingArtifact
            If it has not been computed.
        ValueError
            If the file is damaged.
        """
        path = self._computed(digest)
        arrays, _ = read_arrays(path, set(CachedMap._fields))
        found = CachedMap(arrays["dense"], _unpacked(arrays["edges"], arrays["dense"].shape))
        self._check(path, found)
        return found

    def stack(self, records: pd.DataFrame, n_workers: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The maps of all records in the order of the rows.

        Parameters
        ----------
        records : DataFrame
            Column ``digest``.
        n_workers : int
            Threads; -1 takes every core.

        Returns
        -------
        dense : (N, H, W) float32
        edges : (N, H, W) bool

        Raises
        ------
        MissingArtifact, ValueError
            As for one map; also if there is no record, or the maps differ in size.
        """
        if len(records) == 0:
            raise ValueError("records has no row; at least one wanted")
        digests = records["digest"].tolist()
        loaded = Parallel(n_jobs=n_workers, prefer="threads", return_as="generator")(
            map(delayed(self.load), digests)
        )
        dense = edges = None
        for index, one in enumerate(loaded):
            if dense is None:
                dense = np.empty((len(digests), *one.dense.shape), np.float32)
                edges = np.empty(dense.shape, bool)
            if one.dense.shape != dense.shape[1:]:
                raise ValueError(
                    f"map {index} is {one.dense.shape}, the first {dense.shape[1:]}; one size wanted"
                )
            dense[index], edges[index] = one
        return dense, edges

    def uncertainty(self, records: pd.DataFrame) -> np.ndarray:
        """One standard deviation of the error of the maps of all records ``(N, H, W)`` float32, in px.

        Raises
        ------
        MissingArtifact, ValueError
            If a map has not been computed, its file is damaged, or the preset tells no uncertainty.
        """
        if presets.PRESETS[self.preset].propagation != presets.NETWORK:
            raise ValueError(
                f"maps of preset {self.preset!r} come without uncertainty; preset 'learned' wanted"
            )
        files = (
            read_arrays(self._computed(digest), {UNCERTAINTY})[0] for digest in records["digest"]
        )
        return np.stack([arrays[UNCERTAINTY] for arrays in files])

    def check_reader(self, reader: Reader) -> None:
        """Raise ``ValueError`` unless ``reader`` gives the images that these maps are of."""
        ours, theirs = (f"size {one.size}, fit {one.fit}" for one in (self, reader))
        if ours != theirs:
            raise ValueError(f"the reader gives images of {theirs}; the maps are of {ours}")

    def _computed(self, digest: str) -> Path:
        path = self.path(digest)
        if not path.is_file():
            raise MissingArtifact(
                f"{path} is missing, the {self.preset} map of image {digest[:12]}...: run notebook 02_defocus_map first"
            )
        return path

    def _ingredients(self, digest: str) -> dict[str, str | int]:
        in_force = self.propagation or presets.PRESETS[self.preset].propagation
        image = {"image": digest, "size": self.size, "fit": self.fit}
        return image | {
            "preset": self.preset,
            "propagation": in_force,
            "version": version(self.preset),
        }

    def _check(self, path: Path, found: CachedMap) -> None:
        dense, edges = found
        shape = (self.size, self.size) if self.size else dense.shape
        whole = dense.shape == edges.shape == shape and len(shape) == 2 and np.isfinite(dense).all()
        if not whole or (dense.dtype, edges.dtype) != (np.float32, np.bool_):
            raise ValueError(
                f"{path}: dense {dense.shape} {dense.dtype} and edges {edges.shape} {edges.dtype} found; "
                f"finite float32 and bool of shape {shape if self.size else '(H, W)'} wanted"
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
        maps = presets.defocus_maps(
            as_planes(reader(row))[None], self.preset, self.propagation or None
        )
        # Not compressed: that would take several times as long as the map itself, and save an eighth of the space.
        arrays = {
            "dense": maps.dense[0, 0].numpy(),
            "edges": np.packbits(maps.edges[0, 0].numpy(), axis=1),
        }
        if maps.uncertainty is not None:
            arrays[UNCERTAINTY] = maps.uncertainty[0, 0].numpy()
        write_arrays(self.path(row.digest), arrays, self._ingredients(row.digest), compress=False)
        return True


def _unpacked(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``(H, W)`` bool of eight pixels a byte; the bits themselves if they do not fit, for the check that follows."""
    fits = (
        bits.dtype == np.uint8 and len(shape) == 2 and bits.shape == (shape[0], -(-shape[1] // 8))
    )
    return np.unpackbits(bits, axis=1, count=shape[1]).astype(bool) if fits else bits


# Images that a worker of a cluster gets at once.
PART = 32
# From so many images on, processes have paid for their start: each imports torch, which takes seconds.
MANY_IMAGES = 1000
# Up to so many workers threads are as quick as processes: the compiled sweeps let go of Python's lock.
FEW_WORKERS = 4


def _backend(n_workers: int, images: int) -> str:
    return (
        "processes"
        if effective_n_jobs(n_workers) > FEW_WORKERS and images >= MANY_IMAGES
        else "threads"
    )


def map_cache(reader: Reader, preset: str, propagation: str) -> MapCache:
    """The cache that holds the maps of what ``reader`` reads; all runs share its folder."""
    return MapCache(
        project_root() / "artifacts" / ".maps", preset, propagation, reader.size, reader.fit
    )


def save_maps(folder: Folder, cache: MapCache, records: pd.DataFrame) -> Path:
    """Write down which maps belong to the run, once they are all in the cache."""
    about = {
        "preset": cache.preset,
        "propagation": cache.propagation,
        "version": version(cache.preset),
    }
    return write_json(folder.path / MAPS, about | {"images": len(records)})


def load_maps(folder: Folder, reader: Reader) -> tuple[MapCache, dict[str, str]]:
    """The cache with the maps of a run, and what they are: preset, propagation, version.

    Raises
    ------
    MissingArtifact
        If notebook 02 has not computed them.
    ValueError
        If the method has changed since: its maps are others now.
    """
    path = folder.require(MAPS, made_by="02_defocus_map")
    said = json.loads(path.read_text(encoding="utf-8"))
    if said["version"] != version(said["preset"]):
        raise ValueError(
            f"{path}: the method has changed since these maps were computed; run notebook 02 again"
        )
    about = {name: said[name] for name in ("preset", "propagation", "version")}
    return map_cache(reader, about["preset"], about["propagation"]), about
