"""``data_manifest.yaml``: the photographs and data sets the project speaks of, and how a photograph becomes an array.

The photographs arrive inside the wheels of the lock file. Each is read from there, after its SHA-256 has been compared
with the manifest. The package that carries it is located, not imported.

The data sets lie where their ``root`` says. Which files of theirs are which is the matter of ``layouts``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, get_args

import numpy as np
import yaml
from PIL import Image, UnidentifiedImageError
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from defocus_lib.run.artifacts import MANIFEST, project_root

if TYPE_CHECKING:
    import pandas as pd

Split = Literal["train", "val", "test", "depth"]
Location = tuple[str | int, ...]


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return not (parts.is_absolute() or ".." in parts.parts or "\\" in path)


def _inside_package(path: str) -> str:
    if not _is_inside(path):
        raise ValueError("a path inside the package wanted, relative, with forward slashes")
    return path


def _folder_name(name: str) -> str:
    if not _is_inside(name):
        raise ValueError("a folder below the others wanted, relative, with forward slashes")
    return _expanded(name)


def _expanded(text: str) -> str:
    if unset := _unset(text):
        raise ValueError(f"variable {unset} is not set; set it, or write ${{{unset}:-default}}")
    return text


def _proportions(shares: tuple[float, float, float]) -> tuple[float, float, float]:
    if not sum(shares) > 0:
        raise ValueError("three numbers that are not all zero wanted, for train, val and test")
    return shares


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names) or not names:
        raise ValueError("at least one name, and none twice, wanted")
    return names


Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_+-]*$")]
Url = Annotated[str, Field(pattern=r"^https?://\S+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PackagePath = Annotated[str, Field(min_length=1), AfterValidator(_inside_package)]
FolderName = Annotated[str, Field(min_length=1), AfterValidator(_folder_name)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Shares = Annotated[tuple[Share, Share, Share], AfterValidator(_proportions)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1)]
Manipulation = Literal["Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures"]

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def _expand(value: object) -> object:
    """``${NAME}`` and ``${NAME:-default}`` replaced in every string below ``value``.

    As in a shell, an empty variable counts as not set. ``${NAME}`` stays as it is where NAME is not set.
    """
    if isinstance(value, str):
        return VARIABLE.sub(_value_of, value)
    if isinstance(value, dict):
        return {key: _expand(inner) for key, inner in value.items()}
    return [_expand(inner) for inner in value] if isinstance(value, list) else value


def _value_of(found: re.Match) -> str:
    name, default = found.groups()
    return os.environ.get(name) or (found[0] if default is None else default)


def _unset(text: str) -> str:
    """The first variable that ``text`` still names, "" if there is none."""
    found = VARIABLE.search(text)
    return found[1] if found else ""


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


class SequentialSplit(_Entry):
    """Folders in sorted order, cut by shares; real videos and each manipulation apart, as the reference does it."""

    scheme: Literal["sequential"] = "sequential"
    shares: Shares = (7, 1, 2)

    @property
    def words(self) -> str:
        return f"sequential: sorted videos, cut {_ratio(self.shares)}, each manipulation apart"


class OfficialSplit(_Entry):
    """The published lists of id pairs: ``train.json``, ``val.json`` and ``test.json`` in the folder ``lists``."""

    scheme: Literal["official"]
    lists: Text

    @property
    def words(self) -> str:
        return "official: the published lists of id pairs"


class RandomSplit(_Entry):
    """Groups in an order drawn by ``seed``, cut by shares. A real image and its fakes are one group."""

    scheme: Literal["random"] = "random"
    shares: Shares = (7, 1, 2)
    seed: Seed = 42

    @property
    def words(self) -> str:
        return f"random: {_ratio(self.shares)} by group, seed {self.seed}"


class GivenSplit(_Entry):
    """Training and test images lie in folders of their own; a share of the training images is for validation."""

    scheme: Literal["folders"] = "folders"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: Seed = 42

    @property
    def words(self) -> str:
        return f"as its folders say; {self.validation:.0%} of train is validation, stratified, seed {self.seed}"


def _ratio(shares: tuple[float, ...]) -> str:
    return ":".join(f"{share:g}" for share in shares)


class FaceForensicsOptions(_Entry):
    """Which videos of FaceForensics++ and how many frames of each; ``faces`` is the folder with the cropped faces."""

    compression: Literal["raw", "c23", "c40"] = "raw"
    faces: FolderName = "v1faces"
    manipulations: Annotated[tuple[Manipulation, ...], AfterValidator(_unique)] = get_args(
        Manipulation
    )
    frames: Count = 32


class SampleOptions(_Entry):
    """At most ``limit`` images, drawn by ``seed`` from their sorted names."""

    limit: Count = 100_000
    seed: Seed = 42


class FoldersOptions(_Entry):
    """What the subfolders of ``real/`` and ``fake/`` are, and whether the same name means the same picture.

    Attributes
    ----------
    subfolder : {"none", "video", "manipulation", "manipulation/video"}
        "video": ``real/<video>/`` and ``fake/<video>/``; "manipulation": ``fake/<manipulation>/``, and real images lie
        in ``real/`` itself; "manipulation/video": ``real/<video>/`` and ``fake/<manipulation>/<video>/``.
    pairs : {"none", "by_name"}
        "by_name": a fake is compared with the real image of the same path, whatever the suffix.
    """

    subfolder: Literal["none", "video", "manipulation", "manipulation/video"] = "none"
    pairs: Literal["none", "by_name"] = "none"


class UnionOptions(_Entry):
    """Names of the data sets that are put together."""

    parts: Annotated[tuple[Name, ...], AfterValidator(_unique)]


class Dataset(_Entry):
    """What all data sets have. The other keys depend on ``layout``; each layout has a model of its own below.

    Any string may name an environment variable, as ``${NAME}`` or ``${NAME:-default}``.

    Attributes
    ----------
    name, title : str
    homepage : str or None
    access, licence : str
        How to get it, and under which terms.
    citation : str or None
        Key in ``book/references.bib``.
    layout : str
        How its files lie.
    """

    name: Name
    title: Text
    homepage: Url | None = None
    access: Text
    licence: Text
    citation: Text | None = None
    layout: str
    note: str = ""

    @property
    def split_words(self) -> str:
        """How it is split, in a few words."""
        raise NotImplementedError

    def folder(self) -> Path:
        """The folder that the paths of its records start from.

        Raises
        ------
        FileNotFoundError
            If there is no such folder, or its root names a variable that is not set.
        ValueError
            If its files lie in no folder.
        """
        raise ValueError(
            f"data set {self.name!r} is rendered in the run (notebook 01); it has no folder"
        )

    def where(self) -> str:
        """Where it lies, or why it can't be said; for reading."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Digest of all that its records follow from, the files themselves apart: 64 hexadecimal digits."""
        return _digest(_expand(self.model_dump(mode="json")))


class Scenes(Dataset):
    """The scenes that this project renders."""

    layout: Literal["scenes"]

    @property
    def split_words(self) -> str:
        return "by photograph"

    def where(self) -> str:
        return "rendered in the run"


class Files(Dataset):
    """A data set on disk.

    Attributes
    ----------
    root : str
        Its folder; ``~`` is the home folder, and what is relative is so to the manifest's folder.
    on_unreadable : {"stop", "skip"}
        What an image that can't be read does to a run: end it, or be left out and counted.
    max_megapixels : float
        Larger images are refused before they are decoded.
    fit : {"stretch", "crop"}
        How an image that is no square becomes one.
    checksums : str or None
        A file in the format of ``sha256sum``; a relative path is so to the root.
    """

    root: Text
    on_unreadable: Literal["stop", "skip"] = "stop"
    max_megapixels: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 64
    fit: Literal["stretch", "crop"] = "stretch"
    checksums: Text | None = None
    _base: Path = PrivateAttr(default_factory=Path)

    @model_validator(mode="after")
    def _remember_where(self, info: ValidationInfo) -> Files:
        self._base = (info.context or {}).get("folder", Path())
        return self

    @property
    def split_words(self) -> str:
        return self.split.words

    def folder(self) -> Path:
        path = self._path(self.root, "root", self._base)
        if not path.is_dir():
            raise FileNotFoundError(
                f"data set {self.name!r}: no folder {path} (root in the manifest is {self.root})"
            )
        return path

    def file(self, path: str, key: str) -> Path:
        """The file or folder that key ``key`` names; a relative path starts from the root."""
        return self._path(path, key, self.folder())

    def where(self) -> str:
        if unset := _unset(str(_expand(self.root))):
            return f"{unset} is not set"
        path = self._path(self.root, "root", self._base)
        return str(path) if path.is_dir() else f"{path} (no such folder)"

    def fingerprint(self) -> str:
        lists = []
        if isinstance(self.split, OfficialSplit) and not _unset(str(_expand(self.root))):
            found = self._path(
                self.split.lists, "split.lists", self._path(self.root, "root", self._base)
            )
            lists = [
                hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(found.glob("*.json"))
            ]
        return _digest([super().fingerprint(), str(self._base), lists])

    def _path(self, text: str, key: str, start: Path) -> Path:
        text = str(_expand(text))
        if unset := _unset(text):
            raise FileNotFoundError(
                f"data set {self.name!r}: variable {unset}, which its {key} names, is not set; "
                f"`export {unset}=/path`, `make book {unset}=/path`, or write the path into the manifest"
            )
        # abspath, not resolve: a symbolic link keeps the name that its owner knows
        return Path(os.path.abspath(start / os.path.expanduser(text)))


class FaceForensics(Files):
    """``original_sequences/youtube/<compression>/<faces>/<video>/<frame>.png`` and
    ``manipulated_sequences/<manipulation>/<compression>/<faces>/<target>_<source>/<frame>.png``."""

    layout: Literal["faceforensics"]
    options: FaceForensicsOptions = FaceForensicsOptions()
    split: Annotated[SequentialSplit | OfficialSplit, Field(discriminator="scheme")] = (
        SequentialSplit()
    )


class Cifake(Files):
    """``{train,test}/{REAL,FAKE}/*``."""

    layout: Literal["cifake"]
    split: GivenSplit = GivenSplit()


class DiffusionDB(Files):
    """A flat folder of generated images."""

    layout: Literal["diffusiondb"]
    options: SampleOptions = SampleOptions()
    split: RandomSplit = RandomSplit()


class Coco(Files):
    """Real images, in folders of any depth."""

    layout: Literal["coco"]
    options: SampleOptions = SampleOptions()
    split: RandomSplit = RandomSplit()


class Folders(Files):
    """``real/`` and ``fake/``."""

    layout: Literal["folders"]
    options: FoldersOptions = FoldersOptions()
    split: RandomSplit = RandomSplit()


class Union(Dataset):
    """Several data sets on disk as one. Each part keeps its own root, options and split.

    Attributes
    ----------
    on_unreadable, fit : str
        As in :class:`Files`; they hold for all parts.
    """

    layout: Literal["union"]
    options: UnionOptions
    on_unreadable: Literal["stop", "skip"] = "stop"
    fit: Literal["stretch", "crop"] = "stretch"
    _parts: tuple[Files, ...] = PrivateAttr(default=())

    @property
    def parts(self) -> tuple[Files, ...]:
        """The data sets that are put together, with ``on_unreadable`` of the union."""
        return tuple(
            part.model_copy(update={"on_unreadable": self.on_unreadable}) for part in self._parts
        )

    @property
    def max_megapixels(self) -> float:
        """The largest limit of its parts; each was read under its own."""
        return max(part.max_megapixels for part in self.parts)

    @property
    def split_words(self) -> str:
        return "; ".join(f"{part.name} {part.split_words}" for part in self.parts)

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
        return _digest([super().fingerprint(), *(part.fingerprint() for part in self.parts)])


AnyDataset = Annotated[
    Scenes | FaceForensics | Cifake | DiffusionDB | Coco | Folders | Union,
    Field(discriminator="layout"),
]


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _find_parts(datasets: tuple[Dataset, ...]) -> None:
    """Give every union the data sets that it names."""
    there = {dataset.name: dataset for dataset in datasets if isinstance(dataset, Files)}
    for index, union in enumerate(datasets):
        for place, name in enumerate(union.options.parts if isinstance(union, Union) else ()):
            if name not in there:
                message = "no data set on disk is called {name}; there are {there}"
                details = {"name": repr(name), "there": ", ".join(there) or "none"}
                raise PydanticCustomError(
                    "part", message, details | {"at": (index, "options", "parts", place)}
                )
        if isinstance(union, Union):
            union._parts = tuple(there[name] for name in union.options.parts)


def _require_unique(entries: tuple[_Entry, ...], key: str) -> None:
    first: dict[str, int] = {}
    for index, entry in enumerate(entries):
        value = getattr(entry, key)
        if value in first:
            message = "{key} {value} is that of entry {first} too; each may occur once"
            details = {"key": key, "value": repr(value), "first": first[value], "at": (index, key)}
            raise PydanticCustomError("duplicate", message, details)
        first[value] = index


_Named = TypeVar("_Named", Photograph, Dataset)


class Manifest(_Entry):
    """The content of ``data_manifest.yaml``. No name and no file occurs twice, so no photograph is in two splits."""

    version: Literal[1]
    photographs: tuple[Photograph, ...]
    datasets: tuple[AnyDataset, ...]

    @field_validator("datasets", mode="before")
    @classmethod
    def _variables(cls, datasets: object) -> object:
        return _expand(datasets)

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
        _find_parts(datasets)
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
        return _called(name, self.photographs, "photograph")

    def dataset(self, name: str) -> Dataset:
        """The data set called ``name``.

        Raises
        ------
        KeyError
            If the manifest lists none; the message names those that it lists.
        """
        return _called(name, self.datasets, "data set")


def _called(name: str, entries: Sequence[_Named], what: str) -> _Named:
    found = {entry.name: entry for entry in entries}
    if name not in found:
        raise KeyError(f"no {what} {name!r} in the manifest; it lists {', '.join(found) or 'none'}")
    return found[name]


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
        return Manifest.model_validate(content, context={"folder": path.resolve().parent})
    except ValidationError as error:
        faults = [_describe(fault, lines) for fault in error.errors()]
        raise ValueError("\n".join(f"{path.name}, {fault}" for fault in faults)) from error


def _parse(path: Path) -> tuple[object, dict[Location, int]]:
    """The content of a YAML file, and the line on which each key and list item stands."""
    try:
        loader = yaml.SafeLoader(path.read_bytes())
        node = loader.get_single_node()
        if node is None:
            raise ValueError(
                f"{path.name} is empty; keys {', '.join(Manifest.model_fields)} wanted"
            )
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
                raise ValueError(
                    f"{file}, line {line}: {_dotted(below)} stands on line {lines[below]} already"
                )
            lines |= _lines(value, file, below) | {below: line}
    return lines


Kind = type[_Entry] | dict[str, type[_Entry]] | None


def _describe(fault: Mapping, lines: Mapping[Location, int]) -> str:
    """One fault found by pydantic as ``line N: key: what is wrong; what is allowed``."""
    context = fault.get("ctx", {})
    at = (*fault["loc"], *context.get("at", ()))
    shown, _ = _resolve(at)
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = f"unknown key; allowed are {', '.join(_model_of(at[:-1]).model_fields)}"
    elif fault["type"] == "missing":
        message = "is missing"
    elif fault["type"].startswith("union_tag"):
        kinds = _resolve(at)[1]
        shown = (*shown, context["discriminator"].strip("'"))
        message = (
            f"{'is missing' if 'tag' not in context else 'unknown'}; allowed are {', '.join(kinds)}"
        )
        message += f"; found {context['tag']!r}" if "tag" in context else ""
    elif isinstance(fault["input"], str | int | float):
        message += f"; found {fault['input']!r}"
        unset = _unset(str(fault["input"]))
        message += f": variable {unset} is not set" if unset and "is not set" not in message else ""
    nearest = shown
    while nearest not in lines:  # a missing key has no line of its own: its parent's
        nearest = nearest[:-1]
    return f"line {lines[nearest]}: {_dotted(shown) or 'top level'}: {message}"


def _dotted(at: Location) -> str:
    return "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in at
    ).removeprefix(".")


def _model_of(at: Location) -> type[_Entry]:
    """The model that describes the mapping at a location as pydantic gives it."""
    kind = _resolve(at)[1]
    assert isinstance(kind, type)
    return kind


def _resolve(at: Location) -> tuple[Location, Kind]:
    """A location as pydantic gives it without the tags that it puts after a union, and the kind of entry there."""
    shown: Location = ()
    kind: Kind = Manifest
    for step in at:
        if isinstance(kind, dict) and step in kind:
            kind = kind[step]
            continue
        shown = (*shown, step)
        if isinstance(step, str):
            kind = _kind(kind.model_fields[step].annotation) if _has(kind, step) else None
    return shown, kind


def _has(kind: Kind, key: str) -> bool:
    return isinstance(kind, type) and key in kind.model_fields


def _kind(annotation: object) -> Kind:
    """The model inside an annotation; of a union of several, those by their tag."""
    models = _models(annotation)
    if len(models) < 2:
        return models[0] if models else None
    key = "layout" if "layout" in models[0].model_fields else "scheme"
    return {tag: model for model in models for tag in get_args(model.model_fields[key].annotation)}


def _models(annotation: object) -> list[type[_Entry]]:
    if isinstance(annotation, type) and issubclass(annotation, _Entry):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def photograph_table(manifest: Manifest) -> pd.DataFrame:
    """The photographs as a table, one row each: name, split, title, author, licence, package, source, SHA-256."""
    import pandas as pd

    columns = [
        "name",
        "split",
        "title",
        "author",
        "licence",
        "package",
        "path",
        "source",
        "sha256",
        "note",
    ]
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
                raise ValueError(
                    f"photograph {photograph.name!r}: mode {image.mode} found; 8-bit grey or RGB wanted"
                )
            return np.array(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(
            f"photograph {photograph.name!r}: {photograph.path} is no readable image ({error})"
        ) from error


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
        raise ValueError(
            f"photograph {photograph.name!r} has no disparity; one of split 'depth' wanted"
        )
    content = _read_checked(photograph, entry.path, entry.sha256)
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        if entry.array not in file.files or file[entry.array].ndim != 2:
            shapes = {name: file[name].shape for name in file.files}
            raise ValueError(
                f"{entry.path} holds {shapes}; a two-dimensional {entry.array!r} wanted"
            )
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
