"""What every data set of the manifest has, whatever its layout, and where it lies."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from defocus_lib.data.entry import Entry, Name, Text, Url, expand, unset_variable
from defocus_lib.data.equalise import Equalise
from defocus_lib.data.splits import OfficialSplit, Split
from defocus_lib.data.tree import Picture, Tree

if TYPE_CHECKING:
    import pandas as pd


class Dataset(Entry):
    """A data set. The other keys depend on ``layout``, that is, on how its files lie.

    ``access`` and ``licence`` say how to get it and under which terms, ``citation`` is a key of
    ``book/references.bib``. Any string may name an environment variable, as ``${NAME}`` or
    ``${NAME:-default}``.
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
    def split_description(self) -> str:
        """How it is split, in a few words."""
        raise NotImplementedError

    @property
    def parts(self) -> tuple[Files, ...]:
        """The data sets on disk that it consists of; raises ValueError if its files lie nowhere."""
        raise ValueError(f"data set {self.name!r} is {self.where()}; one with files on disk wanted")

    def folder(self) -> Path:
        """The folder that the paths of its records start from.

        Raises FileNotFoundError if there is no such folder, or its root names a variable that is
        not set; ValueError if its files lie in no folder.
        """
        raise ValueError(
            f"data set {self.name!r} is rendered in the run (notebook 01); it has no folder"
        )

    def has_folder(self) -> bool:
        """Whether its files can be looked for."""
        try:
            return all(part.folder().is_dir() for part in self.parts)
        except (FileNotFoundError, ValueError):
            return False

    def where(self) -> str:
        """Where it lies, or why that cannot be said, for a reader."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """SHA-256 of all that its records follow from, except the files themselves."""
        # How the images were made from videos is of no matter where they are there.
        return digest(expand(self.model_dump(mode="json", exclude={"extract"})))


class Files(Dataset):
    """A data set on disk; each layout is a subclass in :mod:`defocus_lib.data.layouts`.

    A relative ``root`` starts from the folder of the manifest, ``~`` is the home folder.
    ``on_unreadable`` says whether an image that cannot be read ends a run or is left out and
    counted, ``on_duplicates`` the same of images whose content is in a later split too. Images
    above ``max_megapixels`` are refused before they are decoded. ``fit`` makes an image a square,
    ``equalise`` resizes and compresses all alike. ``checksums`` is a file in the format of
    ``sha256sum``, relative to the root. ``published`` is how many videos, or images without videos,
    of each kind its authors state: what a plan counts before the data are there.
    """

    root: Text
    on_unreadable: Literal["stop", "skip"] = "stop"
    on_duplicates: Literal["stop", "skip"] = "stop"
    max_megapixels: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 64
    fit: Literal["stretch", "crop"] = "stretch"
    equalise: Equalise | None = None
    checksums: Text | None = None
    published: Annotated[int, Field(gt=0)] | None = None
    split: Split
    _base: Path = PrivateAttr(default_factory=Path)

    @model_validator(mode="after")
    def _remember_base(self, info: ValidationInfo) -> Files:
        self._base = (info.context or {}).get("folder", Path())
        return self

    def pictures(self, tree: Tree) -> list[Picture]:
        """The images of the tree, told by their paths alone.

        Raises FileNotFoundError if there is none where the layout looks for them.
        """
        raise NotImplementedError

    @property
    def expects_pairs(self) -> bool:
        """Whether every fake should have its real counterpart, even if no fake has one."""
        return False

    @property
    def parts(self) -> tuple[Files, ...]:
        return (self,)

    @property
    def max_pixels(self) -> int:
        return int(self.max_megapixels * 1_000_000)

    @property
    def split_description(self) -> str:
        return self.split.description

    def assign_splits(self, table: pd.DataFrame) -> pd.Series:
        """The split of each image, "" if it is in none; see :meth:`Split.assign` for errors."""
        return self.split.assign(table, lambda path: self.file(path, "split.lists"))

    def folder(self, make: bool = False) -> Path:
        """The root, which ``make`` makes if it is not there; raises as in :class:`Dataset`."""
        path = self._path(self.root, "root", self._base)
        if make:
            path.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            raise FileNotFoundError(
                f"data set {self.name!r}: no folder {path} (root in the manifest is {self.root})"
            )
        return path

    def file(self, path: str, key: str) -> Path:
        """The file or folder that key ``key`` names; a relative path starts from the root."""
        return self._path(path, key, self.folder())

    def where(self) -> str:
        if unset := unset_variable(expand(self.root)):
            return f"{unset} is not set"
        path = self._path(self.root, "root", self._base)
        return str(path) if path.is_dir() else f"{path} (no such folder)"

    def fingerprint(self) -> str:
        lists = []
        if isinstance(self.split, OfficialSplit) and not unset_variable(expand(self.root)):
            root = self._path(self.root, "root", self._base)
            folder = self._path(self.split.lists, "split.lists", root)
            lists = [
                hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.json"))
            ]
        return digest([super().fingerprint(), str(self._base), lists])

    def _path(self, text: str, key: str, start: Path) -> Path:
        text = expand(text)
        if unset := unset_variable(text):
            raise FileNotFoundError(
                f"data set {self.name!r}: variable {unset}, which its {key} names, is not set; "
                f"`export {unset}=/path`, `make book {unset}=/path`, or write the path into the "
                "manifest"
            )
        # abspath, not resolve: a symbolic link keeps the name that its owner knows
        return Path(os.path.abspath(start / os.path.expanduser(text)))


def digest(content: object) -> str:
    """SHA-256 of ``content`` as sorted JSON: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
