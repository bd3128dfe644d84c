"""``data_manifest.yaml``: the photographs and data sets of the project, validated.

How a photograph becomes an array is in ``photographs``, how files of a data set lie in ``layouts``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import PrivateAttr, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError, RoundTripConstructor, SafeConstructor
from ruamel.yaml.error import YAMLError

from defocus_lib.data.dataset import Dataset, Files, digest
from defocus_lib.data.entry import Entry, Name, Unique, expand, one_of
from defocus_lib.data.equalise import Equalise
from defocus_lib.data.layouts import LAYOUTS
from defocus_lib.data.photographs import Photograph, PhotographSplit
from defocus_lib.run.artifacts import MANIFEST, project_root


class Scenes(Dataset):
    """The scenes that this project renders."""

    layout: Literal["scenes"]

    @property
    def split_description(self) -> str:
        return "by photograph"

    def where(self) -> str:
        return "rendered in the run"


class UnionOptions(Entry):
    """Names of the data sets that are put together."""

    parts: Annotated[tuple[Name, ...], Unique]


class Union(Dataset):
    """Several data sets on disk as one. Each part keeps its own root, options and split.

    ``on_unreadable``, ``on_duplicates``, ``fit`` and ``equalise`` hold for all parts; see
    :class:`defocus_lib.data.dataset.Files`.
    """

    layout: Literal["union"]
    options: UnionOptions
    on_unreadable: Literal["stop", "skip"] = "stop"
    on_duplicates: Literal["stop", "skip"] = "stop"
    fit: Literal["stretch", "crop"] = "stretch"
    equalise: Equalise | None = None
    _parts: tuple[Files, ...] = PrivateAttr(default=())

    @property
    def parts(self) -> tuple[Files, ...]:
        keys = ("on_unreadable", "on_duplicates", "fit", "equalise")
        rule = {key: getattr(self, key) for key in keys}
        return tuple(part.model_copy(update=rule) for part in self._parts)

    @property
    def max_pixels(self) -> int:
        """The largest limit of its parts; each was read under its own."""
        return max(part.max_pixels for part in self.parts)

    @property
    def split_description(self) -> str:
        return "; ".join(f"{part.name} {part.split_description}" for part in self.parts)

    def folder(self) -> Path:
        folders = [part.folder() for part in self.parts]
        try:
            return Path(os.path.commonpath(folders))
        except ValueError as error:
            raise ValueError(
                f"data set {self.name!r}: its parts lie on different drives, {folders}"
            ) from error

    def where(self) -> str:
        return "; ".join(f"{part.name}: {part.where()}" for part in self.parts)

    def fingerprint(self) -> str:
        return digest([super().fingerprint(), *(part.fingerprint() for part in self.parts)])


AnyDataset = Annotated[Dataset, one_of("layout", Scenes, *LAYOUTS, Union)]
_Named = TypeVar("_Named", Photograph, Dataset)


class Manifest(Entry):
    """The content of ``data_manifest.yaml``.

    No name and no file occurs twice, so no photograph is in two splits.
    """

    version: Literal[1]
    photographs: tuple[Photograph, ...]
    datasets: tuple[AnyDataset, ...]

    @field_validator("datasets", mode="before")
    @classmethod
    def _expand_variables(cls, datasets: object) -> object:
        return expand(datasets)

    @field_validator("photographs")
    @classmethod
    def _check_photographs(cls, photographs: tuple[Photograph, ...]) -> tuple[Photograph, ...]:
        if not photographs:
            raise ValueError("is empty; at least one photograph wanted")
        _require_unique(photographs, "name")
        _require_unique(photographs, "sha256")
        return photographs

    @field_validator("datasets")
    @classmethod
    def _check_datasets(cls, datasets: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
        _require_unique(datasets, "name")
        for index, dataset in enumerate(datasets):
            if isinstance(dataset, Union):
                _find_parts(dataset, index, datasets)
        return datasets

    def photographs_of(self, split: PhotographSplit) -> tuple[Photograph, ...]:
        """The photographs of one split; raises ValueError if there is no such split."""
        if split not in get_args(PhotographSplit):
            allowed = ", ".join(get_args(PhotographSplit))
            raise ValueError(f"split {split!r} is unknown; {allowed} wanted")
        return tuple(photograph for photograph in self.photographs if photograph.split == split)

    def photograph(self, name: str) -> Photograph:
        """The photograph called ``name``; KeyError, which names those listed, if there is none."""
        return _called(name, self.photographs, "photograph")

    def dataset(self, name: str) -> Dataset:
        """The data set called ``name``; KeyError, which names those listed, if there is none."""
        return _called(name, self.datasets, "data set")


def _require_unique(entries: Sequence[Entry], key: str) -> None:
    first: dict[str, int] = {}
    for index, entry in enumerate(entries):
        value = getattr(entry, key)
        if first.setdefault(value, index) != index:
            context = {"key": key, "value": repr(value), "first": first[value], "at": (index, key)}
            raise PydanticCustomError(
                "duplicate",
                "{key} {value} is that of entry {first} too; each may occur once",
                context,
            )


def _find_parts(union: Union, index: int, datasets: Sequence[Dataset]) -> None:
    """Give a union, entry ``index`` of the list, the data sets that it names."""
    on_disk = {dataset.name: dataset for dataset in datasets if isinstance(dataset, Files)}
    for place, name in enumerate(union.options.parts):
        if name not in on_disk:
            context: dict[str, Any] = {"name": repr(name), "there": ", ".join(on_disk) or "none"}
            context["at"] = (index, "options", "parts", place)
            raise PydanticCustomError(
                "part", "no data set on disk is called {name}; there are {there}", context
            )
    union._parts = tuple(on_disk[name] for name in union.options.parts)


def _called(name: str, entries: Sequence[_Named], kind: str) -> _Named:
    by_name = {entry.name: entry for entry in entries}
    if name not in by_name:
        listed = ", ".join(by_name) or "none"
        raise KeyError(f"no {kind} {name!r} in the manifest; it lists {listed}")
    return by_name[name]


def load_manifest(path: str | Path | None = None) -> Manifest:
    """Read and validate a manifest; without a path, the project's own.

    Raises FileNotFoundError if there is none; ValueError if it is not YAML, or not a manifest, with
    one line per fault: the line in the file, the key, and what is allowed.
    """
    path = Path(path) if path is not None else project_root() / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"no manifest at {path}; a file like {MANIFEST} wanted")
    content = _parse(path)
    try:
        return Manifest.model_validate(content, context={"folder": path.resolve().parent})
    except ValidationError as error:
        faults = [
            f"{path.name}, line {_line(content, at)}: {_dotted(at)}: {message}"
            for at, message in ((fault["loc"], fault["msg"]) for fault in error.errors())
        ]
        raise ValueError("\n".join(faults)) from error


class _Constructor(RoundTripConstructor):
    """Keeps line numbers, and refuses tags, which would otherwise pass unread."""


_Constructor.add_constructor(None, SafeConstructor.construct_undefined)


def _parse(path: Path) -> Any:
    """The content of a YAML file; its mappings and lists know their lines."""
    parser = YAML()
    parser.Constructor = _Constructor
    try:
        content = parser.load(path.read_bytes())
    except DuplicateKeyError as error:
        raise ValueError(
            f"{path.name}, line {error.problem_mark.line + 1}: {error.problem}"
        ) from error
    except (YAMLError, ValueError) as error:
        raise ValueError(f"{path.name} is not readable YAML: {error}") from error
    if content is None:
        keys = ", ".join(Manifest.model_fields)
        raise ValueError(f"{path.name} is empty; keys {keys} wanted")
    return content


def _line(content: Any, location: Sequence[str | int]) -> int:
    """The line, from 1, of a location, or of what is nearest above it if it is missing."""
    line = content.lc.line if isinstance(content, CommentedMap | CommentedSeq) else 0
    for step in location:
        try:
            position = content.lc.key if isinstance(content, CommentedMap) else content.lc.item
            line = position(step)[0]
            content = content[step]
        except (AttributeError, LookupError, TypeError):
            break
    return line + 1


def _dotted(location: Sequence[str | int]) -> str:
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in location]
    return "".join(steps).removeprefix(".") or "top level"
