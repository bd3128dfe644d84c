"""``data_manifest.yaml``: the photographs and data sets the project speaks of, and how a photograph becomes an array.

The photographs arrive inside the wheels of the lock file. Each is read from there, after its SHA-256 has been compared
with the manifest. The package that carries it is located, not imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import numpy as np
import yaml
from PIL import Image, UnidentifiedImageError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from defocus_lib.store import MANIFEST, project_root

if TYPE_CHECKING:
    import pandas as pd

Split = Literal["train", "val", "test", "depth"]
Location = tuple[str | int, ...]


def _inside_package(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path:
        raise ValueError("a path inside the package wanted, relative, with forward slashes")
    return path


Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_+-]*$")]
Url = Annotated[str, Field(pattern=r"^https?://\S+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PackagePath = Annotated[str, Field(min_length=1), AfterValidator(_inside_package)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Disparity(_Entry):
    """A measured disparity map in the same package as its photograph: one array of an ``.npz``."""

    path: PackagePath
    array: Text
    sha256: Sha256
    note: str = ""


class Photograph(_Entry):
    """A photograph that ships in an installed package.

    Attributes
    ----------
    name : str
        The name it goes by in this project; unique.
    package, path : str
        Top-level package, and the file's path inside it.
    title, author, licence : str
        As the package states them, "not stated in the package" where it does not.
    source : str or None
        Address that the package gives for the original.
    sha256 : str
        Of the file, 64 hexadecimal digits.
    split : {"train", "val", "test", "depth"}
        The one split whose scenes may use it; "depth" has a measured disparity and is used for evaluation.
    disparity : Disparity or None
    note : str
    """

    name: Name
    package: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]
    path: PackagePath
    title: Text
    author: Text
    licence: Text
    source: Url | None = None
    sha256: Sha256
    split: Split
    disparity: Disparity | None = None
    note: str = ""

    @model_validator(mode="after")
    def _depth_means_disparity(self) -> Photograph:
        if (self.split == "depth") != (self.disparity is not None):
            raise ValueError("a photograph of split 'depth', and no other, wants a disparity")
        return self


class Dataset(_Entry):
    """A data set: made by this project ("built-in"), or described and not loaded by this version ("described").

    Attributes
    ----------
    citation : str or None
        Key in ``book/references.bib``.
    layout : str
        How its files lie, with ``<root>`` for the folder that holds them.
    """

    name: Name
    title: Text
    status: Literal["built-in", "described"]
    homepage: Url | None = None
    access: Text
    licence: Text
    citation: Text | None = None
    layout: Text
    note: str = ""


def _require_unique(entries: tuple[_Entry, ...], key: str) -> None:
    first: dict[str, int] = {}
    for index, entry in enumerate(entries):
        value = getattr(entry, key)
        if value in first:
            message = "{key} {value} is that of entry {first} too; each may occur once"
            details = {"key": key, "value": repr(value), "first": first[value], "at": (index, key)}
            raise PydanticCustomError("duplicate", message, details)
        first[value] = index


class Manifest(_Entry):
    """The content of ``data_manifest.yaml``. No name and no file occurs twice, so no photograph is in two splits."""

    version: Literal[1]
    photographs: tuple[Photograph, ...]
    datasets: tuple[Dataset, ...]

    @field_validator("photographs")
    @classmethod
    def _photographs_are_unique(cls, photographs: tuple[Photograph, ...]) -> tuple[Photograph, ...]:
        if not photographs:
            raise ValueError("is empty; at least one photograph wanted")
        _require_unique(photographs, "name")
        _require_unique(photographs, "sha256")
        return photographs

    @field_validator("datasets")
    @classmethod
    def _datasets_are_unique(cls, datasets: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
        _require_unique(datasets, "name")
        return datasets

    def photographs_of(self, split: Split) -> tuple[Photograph, ...]:
        """The photographs of one split, in the order of the file.

        Raises
        ------
        ValueError
            If there is no such split.
        """
        if split not in get_args(Split):
            raise ValueError(f"split {split!r} is unknown; {', '.join(get_args(Split))} wanted")
        return tuple(photograph for photograph in self.photographs if photograph.split == split)

    def photograph(self, name: str) -> Photograph:
        """The photograph called ``name``.

        Raises
        ------
        KeyError
            If the manifest lists none; the message names those that it lists.
        """
        for photograph in self.photographs:
            if photograph.name == name:
                return photograph
        known = ", ".join(photograph.name for photograph in self.photographs)
        raise KeyError(f"no photograph {name!r} in the manifest; it lists {known}")


def load_manifest(path: str | Path | None = None) -> Manifest:
    """Read and validate a manifest; without a path, the project's own.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If it is not YAML, or not a manifest. One line a fault: the line in the file, the key, and what is allowed.
    """
    path = Path(path) if path is not None else project_root() / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"no manifest at {path}; a file like {MANIFEST} wanted")
    content, lines = _parse(path)
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        faults = [_describe(fault, lines) for fault in error.errors()]
        raise ValueError("\n".join(f"{path.name}, {fault}" for fault in faults)) from error


def _parse(path: Path) -> tuple[object, dict[Location, int]]:
    """The content of a YAML file, and the line on which each key and list item stands."""
    try:
        loader = yaml.SafeLoader(path.read_bytes())
        node = loader.get_single_node()
        if node is None:
            raise ValueError(f"{path.name} is empty; keys {', '.join(Manifest.model_fields)} wanted")
        return loader.construct_document(node), _lines(node, path.name)
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not readable YAML: {error}") from error


def _lines(node: yaml.Node, file: str, at: Location = ()) -> dict[Location, int]:
    """Line numbers (from 1) by location below ``node``; a repeated key, which YAML lets pass, is an error."""
    lines = {at: node.start_mark.line + 1}
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines |= _lines(item, file, (*at, index))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below, line = (*at, key.value), key.start_mark.line + 1
            if below in lines:
                raise ValueError(f"{file}, line {line}: {_dotted(below)} stands on line {lines[below]} already")
            lines |= _lines(value, file, below) | {below: line}
    return lines


def _describe(fault: Mapping, lines: Mapping[Location, int]) -> str:
    """One fault found by pydantic as ``line N: key: what is wrong; what is allowed``."""
    at: Location = (*fault["loc"], *fault.get("ctx", {}).get("at", ()))
    nearest = at
    while nearest not in lines:  # a missing key has no line of its own: its parent's
        nearest = nearest[:-1]
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = f"unknown key; allowed are {', '.join(_model_of(at[:-1]).model_fields)}"
    elif fault["type"] == "missing":
        message = "is missing"
    elif isinstance(fault["input"], str | int | float):
        message += f"; found {fault['input']!r}"
    return f"line {lines[nearest]}: {_dotted(at) or 'top level'}: {message}"


def _dotted(at: Location) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in at).removeprefix(".")


def _model_of(at: Location) -> type[_Entry]:
    """The model that describes the mapping at a location of the manifest."""
    model: type[_Entry] = Manifest
    for step in at:
        if isinstance(step, str):
            inside = get_args(model.model_fields[step].annotation)
            model = next(inner for inner in inside if isinstance(inner, type) and issubclass(inner, _Entry))
    return model


def photograph_table(manifest: Manifest) -> pd.DataFrame:
    """The photographs as a table, one row each: name, split, title, author, licence, package, source, SHA-256."""
    import pandas as pd

    columns = ["name", "split", "title", "author", "licence", "package", "path", "source", "sha256", "note"]
    return pd.DataFrame([photograph.model_dump() for photograph in manifest.photographs])[columns]


def load_photograph(photograph: Photograph) -> np.ndarray:
    """Read a photograph from the package that carries it.

    Returns
    -------
    (H, W, 3) uint8
        A grey photograph has three equal channels.

    Raises
    ------
    FileNotFoundError
        If the package is not installed or has no such file.
    ValueError
        If the SHA-256 differs from the manifest, or the file is not an 8-bit grey or RGB image.
    """
    content = _read_checked(photograph, photograph.path, photograph.sha256)
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in ("L", "RGB"):
                raise ValueError(f"photograph {photograph.name!r}: mode {image.mode} found; 8-bit grey or RGB wanted")
            return np.array(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"photograph {photograph.name!r}: {photograph.path} is no readable image ({error})") from error


def load_disparity(photograph: Photograph) -> np.ndarray:
    """Read the measured disparity of a photograph.

    Returns
    -------
    (H, W) float32
        Disparity in px, NaN where it was not measured. Larger is nearer.

    Raises
    ------
    FileNotFoundError
        If the package is not installed or has no such file.
    ValueError
        If the photograph has no disparity, its SHA-256 differs, or the file holds no such two-dimensional array.
    """
    entry = photograph.disparity
    if entry is None:
        raise ValueError(f"photograph {photograph.name!r} has no disparity; one of split 'depth' wanted")
    content = _read_checked(photograph, entry.path, entry.sha256)
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        if entry.array not in file.files or file[entry.array].ndim != 2:
            shapes = {name: file[name].shape for name in file.files}
            raise ValueError(f"{entry.path} holds {shapes}; a two-dimensional {entry.array!r} wanted")
        disparity = file[entry.array].astype(np.float32)
    return np.where(np.isfinite(disparity), disparity, np.float32(np.nan))


def _read_checked(photograph: Photograph, path: str, wanted: str) -> bytes:
    """The bytes of a packaged file, if they are those that the manifest means."""
    file = _package_folder(photograph) / path
    if not file.is_file():
        raise FileNotFoundError(
            f"photograph {photograph.name!r}: package {photograph.package} has no file {path}; "
            "install the versions of requirements.lock"
        )
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise ValueError(
            f"photograph {photograph.name!r}: {photograph.package}/{path} has SHA-256 {found}; {wanted} wanted. "
            "The package was changed: install the versions of requirements.lock"
        )
    return content


def _package_folder(photograph: Photograph) -> Path:
    # find_spec locates a top-level package without importing it: scikit-learn alone would cost a second.
    spec = importlib.util.find_spec(photograph.package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"photograph {photograph.name!r}: package {photograph.package} is not installed; "
            "install the versions of requirements.lock"
        )
    return Path(next(iter(spec.submodule_search_locations)))
