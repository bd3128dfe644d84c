"""What a run leaves behind: an artefact folder per profile, and how files are written into it.

Everything is written beside its final name and renamed, so that a file that exists is complete.
Arrays are plain (numbers and fixed-width strings) and load with ``allow_pickle=False``; what
describes them travels inside, as JSON.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from dataclasses import field as field_of
from pathlib import Path
from types import ModuleType

import numpy as np

MANIFEST = "data_manifest.yaml"
PROVENANCE = "provenance.json"
AT_WORK = 3600  # s; what another process was at so recently is left alone


@dataclass(frozen=True)
class About:
    """What the images of a profile are: written by notebook 01, read by all others.

    Attributes
    ----------
    dataset, title : str
        Name in ``data_manifest.yaml``, and the name that a reader sees.
    unit : str
        What was sampled independently: "scene", "video" or "image".
    has : tuple of str
        Of "pairs" (manipulated images have a paired real image), "regions" (the manipulated pixels
        are known), "depth" (the true blur is known) and "transfer" (there are several
        manipulations).
    root : str
        Folder that the paths of the records start from; "" is the artefact folder.
    size : int
        Side of the images in px as they are used; 0 leaves them as they are.
    fit : {"stretch", "crop"}
        How an image that is no square becomes one.
    max_pixels : int
        Larger images are refused.
    equalise : dict
        Size and quality that all images are brought to before anything reads them; empty for none.
    file_facts_auc : float
        AUC of facts about the files alone, where they give the label away; 0 where they do not.
    test_groups : int
        Independent test images of the rarest class, or scenes or videos; 0 where it is not known.
    """

    dataset: str = "own"
    title: str = "own images"
    unit: str = "image"
    has: tuple[str, ...] = ("pairs", "regions")
    root: str = ""
    size: int = 0
    fit: str = "stretch"
    max_pixels: int = 64_000_000
    equalise: dict[str, int] = field_of(default_factory=dict)
    file_facts_auc: float = 0.0
    test_groups: int = 0

    @property
    def caution(self) -> str:
        """What every claim about these images has to carry; "" for nothing."""
        auc = f"{float(self.file_facts_auc):.2f}"
        return f"the files give the label away (AUC {auc})" if self.file_facts_auc else ""


class MissingArtifact(FileNotFoundError):
    """A file that an earlier notebook writes is not there; the message names that notebook."""


def project_root(start: Path | None = None) -> Path:
    """The folder that holds ``data_manifest.yaml``: the working directory, the nearest one above
    it, or the checkout of this package. Raises ``FileNotFoundError`` if none of them does.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if (folder / MANIFEST).is_file():
            return folder
    raise FileNotFoundError(f"no {MANIFEST} in {here} or above it: start from inside the project")


def write_beside(path: Path, write: Callable[[Path], object]) -> Path:
    """Call ``write`` on a temporary name beside ``path``, then rename: never half a file.

    Raises ``OSError`` if the disk is full; the message names the file and the free space.
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
        advice = "make room and run again; complete files are kept"
        message = f"no space to write {path} ({free:,.0f} MiB free): {advice}"
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
    """Temporary files of :func:`write_beside`, which only a killed process leaves behind."""
    return [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if LEFTOVER.fullmatch(name)
    ]


def remove_leftovers(folder: Path, age: float = AT_WORK) -> dict[Path, int]:
    """Remove the leftovers that are older than ``age`` seconds; their paths, and bytes of each.

    Younger ones may be of a process at work.
    """
    removed = {}
    for path in leftovers(folder):
        with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile
            stat = path.stat()
            if time.time() - stat.st_mtime > age:
                path.unlink()
                removed[path] = stat.st_size
    return removed


LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.\w+")


def write_json(path: Path, content: object) -> Path:
    """Write ``content`` as sorted, indented JSON."""
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    return write_beside(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def write_text(path: Path, text: str) -> Path:
    """Write ``text`` as UTF-8, with line ends of one character on every system."""
    return write_beside(path, lambda beside: beside.write_bytes(text.encode()))


def write_arrays(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    meta: Mapping | None = None,
    compress: bool = True,
) -> Path:
    """Write plain arrays, and ``meta`` as JSON under the name ``meta``: same arrays, same bytes.

    Raises ``TypeError`` if an array would need pickling.
    """
    arrays = {name: np.asarray(values) for name, values in arrays.items()}
    for name, values in arrays.items():
        if values.dtype.hasobject:
            dtype = f"{path.name}: array {name!r} has dtype {values.dtype}"
            raise TypeError(f"{dtype}; numbers or fixed-width strings wanted")
    if meta is not None:
        arrays["meta"] = np.array(json.dumps(meta, sort_keys=True))
    save = np.savez_compressed if compress else np.savez
    return write_beside(path, lambda beside: save(beside, **arrays))  # type: ignore[arg-type]


def read_arrays(
    path: Path, names: Iterable[str], optional: Iterable[str] = ()
) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays ``names``, those of ``optional`` that exist, and the ``meta`` of a file written by
    :func:`write_arrays`. The rest of the file is not read.

    Raises ``ValueError`` if the file is damaged, holds pickles or lacks an array; the message names
    the file and the reason.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = sorted({*names, "meta"} - set(file.files))
            if missing:
                held = ", ".join(file.files) or "nothing"
                raise ValueError(f"no array {', '.join(missing)}; it holds {held}")
            chosen = sorted({*names, *optional} & set(file.files))
            return {name: file[name] for name in chosen}, json.loads(str(file["meta"]))
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        raise ValueError(f"{path}: not a readable set of arrays ({error})") from error


DAMAGED = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Folder:
    """The artefact folder of one profile, ``artifacts/<profile>``."""

    path: Path
    profile: str

    @classmethod
    def create(cls, profile: str, path: str | Path = "", about: About | None = None) -> Folder:
        """Make the folder, or take it over if it belongs to this profile.

        ``about`` replaces what it recorded of its data. Raises ``ValueError`` if the folder belongs
        to another profile.
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

        Raises :class:`MissingArtifact` if there is none yet, ``ValueError`` if it belongs to
        another profile.
        """
        folder = cls(Path(path) if path else project_root() / "artifacts" / profile, profile)
        folder.require(PROVENANCE, made_by="01_data")
        folder._check_profile()
        return folder

    @property
    def about(self) -> About:
        """What the images are; the defaults where the folder was written by hand without it."""
        data = self._provenance().get("data", {})
        return About(**{**data, "has": tuple(data.get("has", About.has))})

    def _provenance(self) -> dict:
        path = self.path / PROVENANCE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return {**content, "profile": content["profile"]}
        except (ValueError, TypeError, KeyError) as error:
            advice = "delete the folder and run 01_data"
            raise ValueError(f"{path} is damaged ({error}): {advice}") from error

    def _check_profile(self) -> None:
        owner = self._provenance()["profile"]
        if owner != self.profile:
            belongs = f"{self.path} belongs to profile {owner!r}"
            raise ValueError(f"{belongs}, not to {self.profile!r}: name its own folder")

    def require(self, name: str, made_by: str) -> Path:
        """The path of artefact ``name``; raises :class:`MissingArtifact`, which says to run the
        notebook ``made_by`` first, if it is not there.
        """
        path = self.path / name
        if not path.exists():
            advice = f"run notebook {made_by} with profile {self.profile!r} first"
            raise MissingArtifact(f"{path} is missing: {advice}")
        return path
