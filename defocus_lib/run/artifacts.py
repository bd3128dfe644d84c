"""What a run leaves behind: an artefact folder per profile, and how files are written into it.

Everything is written beside its final name and renamed, so that a file that exists is complete.
Arrays are plain (numbers and fixed-width strings) and load with ``allow_pickle=False``; what
describes them travels inside, as JSON.
"""

from __future__ import annotations

import ast
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

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
        Of "pairs" (manipulated images have a real counterpart), "regions" (the manipulated pixels
        are known) and "depth" (the true blur is known). A section of a notebook that needs one of
        them is left out where it is absent.
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
    """The folder that holds ``data_manifest.yaml``: the working directory, the nearest one above
    it, or the checkout that this package lies in. The notebooks find their files from wherever they
    are started.

    Raises
    ------
    FileNotFoundError
        If neither holds a manifest.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if (folder / MANIFEST).is_file():
            return folder
    raise FileNotFoundError(f"no {MANIFEST} in {here} or above it: start from inside the project")


def write_beside(path: Path, write: Callable[[Path], object]) -> Path:
    """Call ``write`` on a temporary name beside ``path``, then rename: ``path`` is the old file or
    the new one.

    Raises
    ------
    OSError
        If the disk is full; the message names the file and what is free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{secrets.token_hex(6)}{path.suffix}")
    try:
        write(beside)
        os.replace(beside, path)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        free = shutil.disk_usage(path.parent).free / 2**20
        message = f"no space to write {path} ({free:,.0f} MiB free): make room and run again; complete files are kept"
        raise OSError(error.errno, message) from error
    finally:
        beside.unlink(missing_ok=True)
    return path


# A full disk, a full quota, a file above the limit of the process.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def code_digest(path: Path) -> str:
    """SHA-256 of the syntax tree of a Python file, without comments, docstrings and positions."""
    tree = ast.parse(path.read_bytes(), str(path))
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, field, None), list):
                setattr(node, field, [line for line in statements if not _is_text(line)])
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a string that nothing uses: a docstring, of an attribute too."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def source_digest(*modules: ModuleType) -> str:
    """Digest of the code that computes a result, in any order of its modules: 12 hex digits."""
    digests = sorted(code_digest(Path(str(module.__file__))) for module in modules)
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:12]


def leftovers(folder: Path) -> list[Path]:
    """Temporary files of :func:`write_beside` below ``folder``, which only a killed process leaves
    behind."""
    return [path for path in folder.rglob(".*") if LEFTOVER.fullmatch(path.name)]


LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.\w+")


def write_json(path: Path, content: object) -> Path:
    """Write ``content`` as sorted, indented JSON."""
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    return write_beside(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def write_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping | None = None, compress: bool = True
) -> Path:
    """Write plain arrays, and ``meta`` as a JSON string under the name ``meta``. Same arrays in,
    same bytes out.

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
    save = np.savez_compressed if compress else np.savez
    return write_beside(path, lambda beside: save(beside, **arrays))


def read_arrays(
    path: Path, wanted: Iterable[str], where_present: Iterable[str] = ()
) -> tuple[dict[str, np.ndarray], dict]:
    """Read the arrays ``wanted``, those ``where_present`` that are there, and the ``meta`` of a
    file made by :func:`write_arrays`. The rest of the file is not read.

    Raises
    ------
    ValueError
        If the file is damaged, holds pickles, or lacks one of the arrays; the message names the
        file and the reason.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = sorted({*wanted, "meta"} - set(file.files))
            if missing:
                raise ValueError(
                    f"no array {', '.join(missing)}; it holds {', '.join(file.files) or 'nothing'}"
                )
            names = {*wanted, *where_present} & set(file.files)
            return {name: file[name] for name in sorted(names)}, json.loads(str(file["meta"]))
    except (
        ValueError,
        TypeError,
        OSError,
        EOFError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: not a readable set of arrays ({error})") from error


@dataclass(frozen=True)
class Folder:
    """The artefact folder of one profile, ``artifacts/<profile>``."""

    path: Path
    profile: str

    @classmethod
    def create(cls, profile: str, path: str | Path = "", about: About | None = None) -> Folder:
        """Make the folder, or take it over if it belongs to this profile; ``about`` replaces what
        it said of its data.

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
            raise ValueError(
                f"{path} is damaged ({error}): delete the folder and run 01_data"
            ) from error

    def _check_profile(self) -> None:
        found = self._provenance()["profile"]
        if found != self.profile:
            raise ValueError(
                f"{self.path} belongs to profile {found!r}, not to {self.profile!r}: name its own folder"
            )

    def require(self, name: str, made_by: str) -> Path:
        """The path of artefact ``name``.

        Raises
        ------
        MissingArtifact
            If it is not there; the message says to run ``made_by`` first.
        """
        path = self.path / name
        if not path.exists():
            raise MissingArtifact(
                f"{path} is missing: run notebook {made_by} with profile {self.profile!r} first"
            )
        return path
