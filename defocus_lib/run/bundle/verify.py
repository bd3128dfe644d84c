"""Verify a bundle: all of it is read, nothing is written, nothing in it is run.

A bundle may come from anybody, by any way. Of its pages only outputs are used, see
:mod:`defocus_lib.run.bundle.outputs`. Checksums prove that a bundle is whole, not who made it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from nbformat import NotebookNode
from pydantic import ValidationError

from defocus_lib.run.artifacts import PROVENANCE, About
from defocus_lib.run.bundle.content import check_content, named, notebook_of, parsed_json, text_of
from defocus_lib.run.bundle.description import (
    CHECKSUMS,
    CRATE,
    DESCRIPTION,
    FORMAT,
    OVERVIEW,
    SHAPLEY,
    SHOWS_IMAGES,
    Description,
    pages_of,
)
from defocus_lib.run.bundle.outputs import adopt_outputs, check_prose
from defocus_lib.run.bundle.source import Refused, Source, check_sizes, open_source
from defocus_lib.run.bundle.write import leave_out_pictures
from defocus_lib.run.notebook import leave_out_sections, read_notebook, tidy
from defocus_lib.run.parameters import declared_parameters


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes
    ----------
    pages : dict of NotebookNode
        The pages of the book by name: prose and code of this checkout, outputs of the bundle.
    checksums : dict of str
        SHA-256 by file.
    """

    source: Source
    description: Description
    about: About
    pages: dict[str, NotebookNode]
    checksums: dict[str, str]
    size: int


def verify(path: Path, root: Path) -> Bundle:
    """Read the bundle ``path`` to its end and hold it against the checkout ``root``.

    Raises :class:`Refused`, whose message names the bundle, the file and the fault. Nothing is
    written.
    """
    try:
        return _verified(open_source(path), root)
    except Refused as error:
        raise Refused(f"{path.name}: {error}") from None


def _verified(source: Source, root: Path) -> Bundle:
    sizes = source.sizes()
    check_sizes(sizes)
    description = _description(source, sizes)
    checksums = _checksums(source, sizes)
    for name, expected in checksums.items():
        content = source.read(name)
        if hashlib.sha256(content).hexdigest() != expected:
            raise Refused(f"{name} is damaged: its checksum is another one")
        check_content(name, content)
    about = _about(source, sizes, description)
    _check_pictures(sizes, description)
    names = pages_of(root)
    if lacking := sorted(set(names) - set(description.parameters)):
        raise Refused(f"{DESCRIPTION}: no parameters of {lacking[0]}")
    for name in sizes:
        folder, _, file = name.rpartition("/")
        if folder in ("claims", "runs", "notebooks") and Path(file).stem not in names:
            raise Refused(f"{name} belongs to no page of this checkout's book")
    pages = {name: _page(source, sizes, name, root, description, about) for name in names}
    return Bundle(source, description, about, pages, checksums, sum(sizes.values()))


def _description(source: Source, sizes: Mapping[str, int]) -> Description:
    content = parsed_json(DESCRIPTION, _required(source, sizes, DESCRIPTION))
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT:
        newer = f"a bundle of format {version}, and this checkout reads up to {FORMAT}"
        raise Refused(f"{newer}: update it")
    try:
        description = Description.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise Refused(f"{DESCRIPTION}: {where}: {first['msg']}") from None
    if version != FORMAT:
        raise Refused(f"a bundle of the unknown format {version}")
    for text in (description.summary, description.commit, description.library):
        named(DESCRIPTION, check_prose, text)
    return description


def _checksums(source: Source, sizes: Mapping[str, int]) -> dict[str, str]:
    lines = text_of(CHECKSUMS, _required(source, sizes, CHECKSUMS)).splitlines()
    listed: dict[str, str] = {}
    for line in lines:
        sha, separator, name = line.partition("  ")
        if not separator or not re.fullmatch(r"[0-9a-f]{64}", sha) or name in listed:
            raise Refused(f"{CHECKSUMS}: {line[:80]!r} is no checksum and name")
        listed[name] = sha
    if missing := sorted(set(listed) - set(sizes)):
        raise Refused(f"{missing[0]} is missing")
    if unlisted := sorted(set(sizes) - set(listed) - {CHECKSUMS}):
        raise Refused(f"{unlisted[0]} has no checksum")
    if CRATE not in listed:
        raise Refused(f"{CRATE} is missing")
    return listed


def _required(source: Source, sizes: Mapping[str, int], name: str) -> bytes:
    if name not in sizes:
        raise Refused(f"{name} is missing: no bundle of this project, or not whole")
    return source.read(name)


def _about(source: Source, sizes: Mapping[str, int], description: Description) -> About:
    content = parsed_json(PROVENANCE, _required(source, sizes, PROVENANCE))
    content = content if isinstance(content, dict) else {}
    data = content.get("data")
    known = {field.name for field in fields(About)}
    if not isinstance(data, dict) or not set(data) <= known or "has" not in data:
        raise Refused(f"{PROVENANCE} does not describe the data of a run")
    if content.get("profile") != description.profile:
        raise Refused(f"{PROVENANCE} does not describe the data of {description.profile!r}")
    texts = [data.get(key) for key in ("dataset", "title", "unit")] + list(data["has"])
    if data.get("root") or not all(isinstance(text, str) for text in texts):
        raise Refused(f"{PROVENANCE} names a folder, or is no description of data")
    if not isinstance(data.get("file_facts_auc", 0), int | float):
        raise Refused(f"{PROVENANCE} has an AUC that is no number")
    for key in ("dataset", "title", "unit"):
        named(PROVENANCE, check_prose, data[key])
    if not isinstance(data.get("test_groups", 0), int):
        raise Refused(f"{PROVENANCE}: test_groups is no whole number")
    return About(**{**data, "has": tuple(data["has"])})


def _check_pictures(sizes: Mapping[str, int], description: Description) -> None:
    if not description.pictures and OVERVIEW in sizes:
        raise Refused(f"{OVERVIEW} is a picture, and {DESCRIPTION} says that there are none")
    if description.images_per_set == 0 and any(name.startswith(f"{SHAPLEY}/") for name in sizes):
        raise Refused(f"there are Shapley values, and {DESCRIPTION} says that there are none")


def _page(
    source: Source,
    sizes: Mapping[str, int],
    page: str,
    root: Path,
    description: Description,
    about: About,
) -> NotebookNode:
    """A page: this checkout's notebook with the outputs of the bundle."""
    name = f"notebooks/{page}.ipynb"
    executed = notebook_of(name, _required(source, sizes, name))
    own = own_notebook(root, page, about)
    try:
        adopted = adopt_outputs(own, executed, declared_parameters(own, page))
    except Refused as error:
        commit = description.commit.removesuffix("-dirty")
        advice = f"; `git checkout {commit}` has it" if "other code" in str(error) else ""
        raise Refused(f"{name}: {error}{advice}") from None
    if not description.pictures:
        for cell in adopted.cells:
            leave_out_pictures(cell)
            if SHOWS_IMAGES in cell.metadata.get("tags", []) and "mystnb" in cell.metadata:
                cell.metadata["mystnb"].pop("image", None)  # the text that tells what it showed
    return tidy(adopted)


def own_notebook(root: Path, page: str, about: About) -> NotebookNode:
    """The notebook of this checkout behind a page, without the sections that the data lack."""
    is_on_disk = page == "01_data" and about.dataset != "scenes"
    source = root / "notebooks" / f"{page}{'_on_disk' if is_on_disk else ''}.py"
    if not source.exists():
        raise Refused(f"there is no notebook {page} in this checkout")
    return leave_out_sections(read_notebook(source), about)


def summary_of(bundle: Bundle) -> Iterable[str]:
    """What a verified bundle is, line by line, for a terminal."""
    description, n_files = bundle.description, len(bundle.checksums) + 1
    size = f"{n_files:,} files, {bundle.size / 2**20:,.1f} MiB unpacked"
    yield f"{bundle.source.path.name}: whole, {size}"
    yield description.summary.replace("*", "")
    yield f"Made by defocus-lib {description.library}, commit {description.commit}."
    yield from description.left_out
