"""What a run leaves behind: an artefact folder per profile, and sets of maps with their Shapley values as ``.npz``.

Everything is written beside its final name and renamed, so that a file that exists is complete. Arrays are plain
(numbers and fixed-width strings) and load with ``allow_pickle=False``; what describes them travels inside, as JSON.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

MANIFEST = "data_manifest.yaml"
PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class About:
    """What the images of a profile are: written by notebook 01, read by all others.

    Attributes
    ----------
    dataset, title : str
        Name in ``data_manifest.yaml``, and how a reader calls it.
    unit : str
        What is independent of each other: "scene", "video" or "image".
    has : tuple of str
        Of "pairs" (manipulated images have a real counterpart), "regions" (the manipulated pixels are known) and
        "depth" (the true blur is known). A section of a notebook that needs one of them is left out where it is absent.
    root : str
        Folder that the paths of the records start from; "" is the artefact folder.
    size : int
        Side of the images in px as they are used; 0 leaves them as they are.
    fit : {"stretch", "crop"}
        How an image that is no square becomes one.
    max_pixels : int
        Larger images are refused.
    """

    dataset: str = "own"
    title: str = "own images"
    unit: str = "image"
    has: tuple[str, ...] = ("pairs", "regions")
    root: str = ""
    size: int = 0
    fit: str = "stretch"
    max_pixels: int = 64_000_000


class MissingArtifact(FileNotFoundError):
    """A file that an earlier notebook writes is not there; the message names that notebook."""


def project_root(start: Path | None = None) -> Path:
    """The folder that holds ``data_manifest.yaml``: the working directory, the nearest one above it, or the checkout
    that this package lies in. The notebooks find their files from wherever they are started.

    Raises
    ------
    FileNotFoundError
        If neither holds a manifest.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parent.parent):
        if (folder / MANIFEST).is_file():
            return folder
    raise FileNotFoundError(f"no {MANIFEST} in {here} or above it: start from inside the project")


def write_beside(path: Path, write: Callable[[Path], object]) -> Path:
    """Call ``write`` on a temporary name beside ``path``, then rename: ``path`` is the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def write_json(path: Path, content: object) -> Path:
    """Write ``content`` as sorted, indented JSON."""
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    return write_beside(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping | None = None) -> Path:
    """Write plain arrays, and ``meta`` as a JSON string under the name ``meta``. Same arrays in, same bytes out.

    Raises
    ------
    TypeError
        If an array would need pickling.
    """
    arrays = {name: np.asarray(values) for name, values in arrays.items()}
    for name, values in arrays.items():
        if values.dtype.hasobject:
            raise TypeError(
                f"{path.name}: array {name!r} has dtype {values.dtype}; numbers or fixed-width strings wanted"
            )
    if meta is not None:
        arrays["meta"] = np.array(json.dumps(meta, sort_keys=True))
    return write_beside(path, lambda beside: np.savez_compressed(beside, **arrays))


def read_arrays(path: Path, wanted: set[str]) -> tuple[dict[str, np.ndarray], dict]:
    """Read the arrays ``wanted`` and the ``meta`` of a file made by :func:`write_arrays`.

    Raises
    ------
    ValueError
        If the file is damaged, holds pickles, or lacks one of the arrays; the message names the file and the reason.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = sorted((wanted | {"meta"}) - set(file.files))
            if missing:
                raise ValueError(f"no array {', '.join(missing)}; it holds {', '.join(file.files) or 'nothing'}")
            return {name: file[name] for name in wanted}, json.loads(str(file["meta"]))
    except (ValueError, TypeError, OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: not a readable set of arrays ({error})") from error


@dataclass(frozen=True)
class ShapleySet:
    """The maps and Shapley values of ``N`` images that share a manipulation (or are real).

    Attributes
    ----------
    ids : (N,) str
        One id an image, ``<scene>/<manipulation>``.
    pairs : (N,) str
        The id of the real image that each one is compared with; a real image names itself.
    images : (N, H, W, 3) uint8
    edges, regions : (N, H, W) bool
        Edge pixels of the map, and the pixels that were manipulated (none in a real image).
    dmaps : (N, H, W) float32
        Dense defocus maps, min-max normalised per image to [0, 1].
    defocus_shaps, rgb_shaps : (N, H, W) float32
        Shapley values in logits; those of the RGB detector are summed over the channels.
    defocus_gaps, rgb_gaps : (N,) float32
        Completeness gap in logits: ``f(x) - E f(background)`` minus the sum of the values.
    meta : dict
        Profile, manipulation, seed, parameters and versions.
    """

    ids: np.ndarray
    pairs: np.ndarray
    images: np.ndarray
    edges: np.ndarray
    regions: np.ndarray
    dmaps: np.ndarray
    defocus_shaps: np.ndarray
    rgb_shaps: np.ndarray
    defocus_gaps: np.ndarray
    rgb_gaps: np.ndarray
    meta: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        height_width = self.dmaps.shape[1:]
        wanted = {name: (len(self.ids), *height_width) for name in MAP_ARRAYS}
        wanted |= {name: (len(self.ids),) for name in ("ids", "pairs", "defocus_gaps", "rgb_gaps")}
        wanted["images"] = (len(self.ids), *height_width, 3)
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}; {shape} wanted")
        for name in ("dmaps", "defocus_shaps", "rgb_shaps"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} holds NaN or infinity")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> ShapleySet:
        """The images at ``rows``, in that order."""
        return ShapleySet(**{name: getattr(self, name)[rows] for name in SET_ARRAYS}, meta=self.meta)


MAP_ARRAYS = ("edges", "regions", "dmaps", "defocus_shaps", "rgb_shaps")
SET_ARRAYS = tuple(f.name for f in fields(ShapleySet) if f.name != "meta")


def save_set(path: Path, values: ShapleySet) -> Path:
    """Write a :class:`ShapleySet` to one ``.npz``."""
    return write_arrays(path, {name: getattr(values, name) for name in SET_ARRAYS}, values.meta)


def load_set(path: Path) -> ShapleySet:
    """Read a :class:`ShapleySet`.

    Raises
    ------
    ValueError
        If the file is damaged or was not written by :func:`save_set`.
    """
    arrays, meta = read_arrays(path, set(SET_ARRAYS))
    try:
        return ShapleySet(**arrays, meta=meta)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def paired(fake: ShapleySet, real: ShapleySet) -> ShapleySet:
    """The real images that ``fake`` is compared with, row by row: matched by key, never by position.

    Raises
    ------
    ValueError
        If a fake has no real counterpart; the message names it.
    """
    row = {name: index for index, name in enumerate(real.ids.tolist())}
    missing = [f"{name} (needs {pair})" for name, pair in zip(fake.ids, fake.pairs, strict=True) if pair not in row]
    if missing:
        raise ValueError(
            f"{len(missing)} manipulated image(s) without their real counterpart: {', '.join(missing[:5])}"
        )
    return real.take(np.array([row[pair] for pair in fake.pairs.tolist()], dtype=int))


def concatenate(sets: Iterable[ShapleySet]) -> ShapleySet:
    """The images of several sets, one set after the other, with the ``meta`` of the first.

    Raises
    ------
    ValueError
        If there is no set, or their images differ in size.
    """
    parts = list(sets)
    sizes = sorted({part.dmaps.shape[1:] for part in parts})
    if len(sizes) != 1:
        raise ValueError(f"sets have image sizes {sizes}; at least one set, and one size, wanted")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in SET_ARRAYS}
    return ShapleySet(**arrays, meta=parts[0].meta)


def complete_pairs(sets: Mapping[str, ShapleySet]) -> list[str]:
    """The ids of the real images that every set has a version of, in the order of the first set.

    Raises
    ------
    ValueError
        If there is none.
    """
    everywhere = set.intersection(*(set(values.pairs.tolist()) for values in sets.values())) - {""}
    found = [name for name in dict.fromkeys(next(iter(sets.values())).pairs.tolist()) if name in everywhere]
    if not found:
        raise ValueError(f"no real image has a version in every set of {', '.join(sets)}")
    return found


def versions(sets: Mapping[str, ShapleySet], pair: str) -> ShapleySet:
    """The image of every set that belongs to the real image ``pair``, one after the other: examples for a figure.

    Raises
    ------
    ValueError
        If a set has none.
    """
    for name, values in sets.items():
        if pair not in values.pairs:
            raise ValueError(f"set {name!r} has no image of pair {pair!r}")
    return concatenate(values.take(np.flatnonzero(values.pairs == pair)[:1]) for values in sets.values())


def firsts(sets: Mapping[str, ShapleySet]) -> ShapleySet:
    """The first image of every set, one after the other: examples where images have no counterparts."""
    return concatenate(values.take(np.array([0])) for values in sets.values())


@dataclass(frozen=True)
class Folder:
    """The artefact folder of one profile, ``artifacts/<profile>``."""

    path: Path
    profile: str

    @classmethod
    def create(cls, profile: str, path: str | Path = "", about: About | None = None) -> Folder:
        """Make the folder, or take it over if it belongs to this profile; ``about`` replaces what it said of its data.

        Raises
        ------
        ValueError
            If the folder belongs to another profile.
        """
        folder = cls(Path(path) if path else project_root() / "artifacts" / profile, profile)
        if (folder.path / PROVENANCE).exists():
            folder._check_profile()
        elif about is None:
            about = About()
        if about is not None:
            write_json(folder.path / PROVENANCE, {"profile": profile, "data": asdict(about)})
        return folder

    @classmethod
    def open(cls, profile: str, path: str | Path = "") -> Folder:
        """The folder of a run that has begun.

        Raises
        ------
        MissingArtifact
            If there is none yet.
        ValueError
            If the folder belongs to another profile.
        """
        folder = cls(Path(path) if path else project_root() / "artifacts" / profile, profile)
        folder.require(PROVENANCE, made_by="01_data")
        folder._check_profile()
        return folder

    @property
    def about(self) -> About:
        """What the images are; the defaults where the folder was written by hand and does not say."""
        said = self._provenance().get("data", {})
        return About(**{**said, "has": tuple(said.get("has", About.has))})

    def _provenance(self) -> dict:
        path = self.path / PROVENANCE
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            return {**said, "profile": said["profile"]}
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} is damaged ({error}): delete the folder and run 01_data") from error

    def _check_profile(self) -> None:
        found = self._provenance()["profile"]
        if found != self.profile:
            raise ValueError(f"{self.path} belongs to profile {found!r}, not to {self.profile!r}: name its own folder")

    def require(self, name: str, made_by: str) -> Path:
        """The path of artefact ``name``.

        Raises
        ------
        MissingArtifact
            If it is not there; the message says to run ``made_by`` first.
        """
        path = self.path / name
        if not path.exists():
            raise MissingArtifact(f"{path} is missing: run notebook {made_by} with profile {self.profile!r} first")
        return path

    def load_set(self, name: str) -> ShapleySet:
        """The Shapley set ``name`` ("real" or a manipulation) of this profile.

        Raises
        ------
        MissingArtifact
            If notebook 04 has not written it.
        ValueError
            If it is damaged or belongs to another profile.
        """
        path = self.require(f"shapley/{name}.npz", made_by="04_save_shapley")
        values = load_set(path)
        if values.meta.get("profile") != self.profile:
            raise ValueError(f"{path} belongs to profile {values.meta.get('profile')!r}, not to {self.profile!r}")
        return values
