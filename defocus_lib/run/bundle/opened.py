"""Unpack a verified bundle as an artefact folder, and what the book and JupyterLab do with it."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image, ImageDraw

from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder, write_beside
from defocus_lib.run.bundle.description import (
    DESCRIPTION,
    NOTE_NO_SHAPLEY,
    NOTE_PICTURES,
    OVERVIEW,
    SUMMARY,
    Description,
)
from defocus_lib.run.bundle.source import Refused
from defocus_lib.run.bundle.verify import Bundle, own_notebook
from defocus_lib.run.notebook import tidy
from defocus_lib.run.parameters import ParameterError

RUN_AGAIN = (
    "05_binary_mask",
    "06_local_variance",
    "07_tsne",
    "08_shapley_view",
    "09_alignment_score",
)
"""The notebooks that read nothing but what a bundle holds."""


def unpack(bundle: Bundle, target: Path) -> Path:
    """Write the bundle as the artefact folder ``target``, whole or not at all.

    A folder of this name that a bundle was unpacked into is replaced; raises :class:`Refused` if
    it is another one, or the disk has no room.
    """
    if target.exists() and not (target / DESCRIPTION).exists():
        raise Refused(f"{target} is there and no bundle; move it away")
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < bundle.size * 1.1:
        raise Refused(f"no space: {bundle.size:,} bytes wanted, {free:,} free in {target.parent}")
    beside = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        for name, expected in bundle.checksums.items():
            content = bundle.source.read(name)
            if hashlib.sha256(content).hexdigest() != expected:
                raise Refused(f"{name} has changed since it was verified")
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _complete(bundle, beside)
        if target.exists():
            shutil.rmtree(target)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def _complete(bundle: Bundle, folder: Path) -> None:
    """Add what is made here: pages with our prose, the front page, a note instead of its figure."""
    for name, notebook in bundle.pages.items():
        text = nbformat.writes(notebook) + "\n"
        (folder / "notebooks" / f"{name}.ipynb").write_text(text, encoding="utf-8")
    if not (folder / OVERVIEW).exists():
        placeholder(NOTE_PICTURES).save(folder / OVERVIEW)
    front_page(folder, bundle.description, {})


def placeholder(note: str) -> Image.Image:
    """A grey picture of 760 x 120 px that says ``note``."""
    picture = Image.new("RGB", (760, 120), (217, 217, 217))
    ImageDraw.Draw(picture).text((380, 60), note, fill="black", anchor="mm", font_size=15)
    return picture


def opened(folder: Path) -> Description:
    """The description of a bundle that was unpacked into ``folder``.

    Raises ValueError if no bundle was.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ValueError(
            f"{folder}: no opened bundle; `python -m defocus_lib bundle open` opens one"
        )
    return Description.model_validate_json(path.read_text(encoding="utf-8"))


def is_opened(path: Path, root: Path) -> bool:
    """Whether ``path`` is a folder that :func:`unpack` wrote into the checkout ``root``."""
    place = path.resolve()
    is_ours = place.parent == (root / "artifacts").resolve() and place.name.startswith("bundle-")
    return is_ours and (place / DESCRIPTION).is_file()


def run_again(
    description: Description, changes: Mapping[str, Mapping[str, object]]
) -> dict[str, dict[str, object]]:
    """The parameters of the notebooks that can run again, with ``changes``, by notebook.

    Raises ParameterError if a change is of another notebook, or the bundle has no Shapley values.
    """
    for name in changes:
        if name not in RUN_AGAIN:
            can = f"of a bundle, {', '.join(RUN_AGAIN)} can"
            raise ParameterError(f"{name!r} cannot run again: {can}")
    if changes and description.images_per_set == 0:
        raise ParameterError(NOTE_NO_SHAPLEY)
    given = {
        name: {**description.parameters.get(name, {}), **changes.get(name, {})}
        for name in RUN_AGAIN
    }
    for values in given.values():
        values.pop("artifacts", None)
    return given


def front_page(
    folder: Path, description: Description, changed: Mapping[str, Mapping[str, object]]
) -> None:
    """Write what the front page says: which run, what was left out, what was run again, claims."""
    made = f"Rendered from the bundle `{description.name}`, commit `{description.commit}`"
    again = [
        f"{page} ({', '.join(f'{key} = {value}' for key, value in values.items())})"
        for page, values in changed.items()
    ]
    rerun = f"Run again here: {', '.join(again)}." if again else "Nothing was computed here."
    notes = [f"{made}. {rerun}", *description.left_out]
    text = description.summary + "\n\n" + " ".join(notes) + "\n"
    write_beside(folder / SUMMARY, lambda path: path.write_text(text, encoding="utf-8"))
    headline.compose(Folder.open(description.profile, folder))


def write_lab(folder: Path, root: Path) -> Path:
    """Write the notebooks that can run again on the opened bundle, with its parameters set.

    They are those of the checkout ``root``, never the code of the bundle.
    """
    description = opened(folder)
    about = Folder.open(description.profile, folder).about
    for page in RUN_AGAIN:
        notebook = own_notebook(root, page, about)
        values = {**description.parameters.get(page, {}), "artifacts": str(folder.resolve())}
        source = "".join(f"{name} = {value!r}\n" for name, value in values.items()).rstrip()
        place = next(
            n
            for n, cell in enumerate(notebook.cells)
            if "parameters" in cell.metadata.get("tags", [])
        )
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(source))
        path = folder / "lab" / f"{page}.ipynb"
        write_beside(path, partial(_write_notebook, notebook))
    return folder / "lab"


def _write_notebook(notebook: NotebookNode, path: Path) -> None:
    path.write_text(nbformat.writes(tidy(notebook)) + "\n", encoding="utf-8")
