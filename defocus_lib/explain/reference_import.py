"""Import of the authors' ``.npz`` files (Jeon & Woo 2025), which hold pickled object arrays.

A pickle can run any code, so these files are read here alone, on explicit request, and by a reader
that knows no class but the parts of an array: not even NumPy's own unpickling runs. Whatever else a
file names is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from defocus_lib.explain import shards
from defocus_lib.explain.attribution_set import AttributionSet
from defocus_lib.maps.estimate import normalize_per_sample
from defocus_lib.run.artifacts import About, Folder

KINDS = "biuf"  # NumPy's letters of plain numbers
SHARD_IMAGES = 64


class RefusedFile(ValueError):
    """A file that is no set of the authors' code, or holds more than arrays of numbers."""


def begin(profile: str) -> Folder:
    """The artefact folder that imported sets go to."""
    about = About("imported", "imported Shapley values", "image", ("pairs",))
    return Folder.create(profile, about=about)


def import_set(path: Path, folder: Folder, name: str) -> int:
    """Write a file's set into an artefact folder, as shards with an index, and count its images.

    The files hold neither names nor photographs. Images are named by their position,
    ``00012/<name>``, and compared with the real image of the same position, as the authors' code
    compares them. The map stands in for the photograph; edges and regions are empty, completeness
    errors NaN. Maps are stretched to [0, 1], image by image. ``name`` is "real" or a
    manipulation; a set of this name is replaced. Raises FileNotFoundError or RefusedFile, and
    writes nothing then.
    """
    meta = {"profile": folder.profile, "imported": Path(path).name, "manipulation": name}
    values = as_set(read_reference(path), name, meta)
    root = folder.path / shards.ROOT
    with shards.only_writer(root):
        (root / shards.INDEX).unlink(missing_ok=True)
        for shard in (root / name).glob("shard-*.npz"):
            shard.unlink()
        for number, first in enumerate(range(0, len(values), SHARD_IMAGES)):
            part = values.take(np.arange(first, min(first + SHARD_IMAGES, len(values))))
            part.save(shards.shard_path(root, name, number))
        shards.write_index_of_all(root)
    return len(values)


def as_set(arrays: dict[str, np.ndarray], name: str, meta: dict) -> AttributionSet:
    """The arrays of :func:`read_reference` as a set, see :func:`import_set`."""
    dmaps = normalize_per_sample(torch.from_numpy(arrays["dmaps"])[:, None])[:, 0].numpy()
    empty, unknown = np.zeros(dmaps.shape, bool), np.full(len(dmaps), np.nan, np.float32)
    return AttributionSet(
        ids=np.array([f"{row:05d}/{name}" for row in range(len(dmaps))]),
        pairs=np.array([f"{row:05d}/real" for row in range(len(dmaps))]),
        images=np.repeat(np.rint(255 * dmaps).astype(np.uint8)[..., None], 3, axis=3),
        edges=empty,
        regions=empty,
        dmaps=dmaps,
        defocus_shaps=arrays["defocus_shaps"],
        rgb_shaps=arrays["rgb_shaps"],
        defocus_completeness_errors=unknown,
        rgb_completeness_errors=unknown,
        meta=meta,
    )


def read_reference(path: Path) -> dict[str, np.ndarray]:
    """The arrays ``dmaps``, ``defocus_shaps``, ``rgb_shaps`` of a file, each (N, H, W) float32.

    Raises FileNotFoundError, or RefusedFile if the file is damaged, lacks one of the arrays, they
    do not fit together, or anything but arrays of numbers is in it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name: _read_member(archive, name) for name in shards.FLOAT_MAPS}
    except RefusedFile as error:
        raise RefusedFile(f"{path}: {error}") from None
    # What an unpickler raises on a damaged file can be nearly anything.
    except Exception as error:
        reason = error or type(error).__name__
        raise RefusedFile(f"{path}: not a set of the authors' code ({reason})") from error
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or len(shapes["dmaps"]) != 3 or 0 in shapes["dmaps"]:
        raise RefusedFile(f"{path}: shapes {shapes} found; one shape (N, H, W) wanted")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise RefusedFile(f"{path}: NaN or infinity found; finite values wanted")
    return arrays


HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    if f"{name}.npy" not in archive.namelist():
        names = ", ".join(part.removesuffix(".npy") for part in archive.namelist()) or "nothing"
        raise RefusedFile(f"no array {name}; it holds {names}")
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise RefusedFile(f"array {name} is of version {version}; (1, 0) or (2, 0) wanted")
        _, _, dtype = HEADERS[version](file)
        if dtype.hasobject:
            items = _ArraysOnly(file).load()
        else:
            file.seek(0)
            items = np.lib.format.read_array(file, allow_pickle=False)
    return _squeezed(np.asarray(_plain(items), dtype=np.float32))


def _squeezed(array: np.ndarray) -> np.ndarray:
    """``(N, H, W)`` of what may have further axes of length 1."""
    axes = tuple(axis for axis in range(1, array.ndim) if array.shape[axis] == 1)
    return array.squeeze(axes) if array.ndim > 3 else array


def _plain(items: object) -> object:
    """Numbers and arrays of numbers, taken out of what the unpickler made."""
    if isinstance(items, _Array):
        return items.value
    if isinstance(items, np.ndarray | float | int):
        return items
    raise RefusedFile(f"a {type(items).__name__} found; arrays of numbers wanted")


class _Dtype:
    """Stands for ``numpy.dtype`` in a pickle: a plain kind of number, or object."""

    def __init__(self, spec: str, *_: object) -> None:
        self.objects, self.dtype = spec in ("O", "O8"), np.dtype(float)
        if not self.objects:
            self.dtype = np.dtype(str(spec))
            if self.dtype.kind not in KINDS:
                raise RefusedFile(f"values of type {spec!r} found; numbers wanted")

    def __setstate__(self, state: tuple) -> None:
        if not self.objects and state[1] in "<>":
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for ``numpy.ndarray`` in a pickle: filled from bytes, or from a list."""

    value: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        if dtype.objects:
            values = np.stack([np.asarray(_plain(item), dtype=np.float32) for item in data])
            self.value = values.reshape(*shape, *values.shape[1:])
        else:
            self.value = np.frombuffer(data, dtype.dtype).reshape(
                shape, order="F" if fortran else "C"
            )


@dataclass(frozen=True)
class _Name:
    """A class that may be named, and nothing else."""

    name: str


def _reconstruct(subtype: object, *_: object) -> _Array:
    if subtype != _Name("ndarray"):
        raise RefusedFile(f"a {subtype} found; arrays of numbers wanted")
    return _Array()


def _frombuffer(data: bytes, dtype: _Dtype, shape: tuple, order: Literal["C", "F"]) -> np.ndarray:
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _scalar(dtype: _Dtype, data: bytes) -> float:
    return float(np.frombuffer(data, dtype.dtype)[0])


# The module of these was renamed with NumPy 2.
KNOWN = {("numpy", "dtype"): _Dtype, ("numpy", "ndarray"): _Name("ndarray")}
for _module in ("numpy.core", "numpy._core"):
    KNOWN |= {
        (f"{_module}.multiarray", "_reconstruct"): _reconstruct,
        (f"{_module}.multiarray", "scalar"): _scalar,
    }
    KNOWN |= {(f"{_module}.numeric", "_frombuffer"): _frombuffer}


class _ArraysOnly(pickle.Unpickler):
    """Knows the parts of arrays; no other name is ever looked up."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in KNOWN:
            message = f"it wants {module}.{name}; nothing but arrays of numbers is unpickled"
            raise RefusedFile(message)
        return KNOWN[module, name]
