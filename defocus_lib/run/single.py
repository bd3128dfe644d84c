"""One notebook of the book by itself, on the artefacts of a run, which it leaves as they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from defocus_lib.run.artifacts import PROVENANCE
from defocus_lib.run.notebook import read_notebook, run_notebook
from defocus_lib.run.parameters import (
    ParameterError,
    check_parameters,
    declared_parameters,
    nearest,
    read_profile,
)

OWN = ("notebooks", "runs", "failed", "training")  # folders of a run that a single one has anew


def run_single(name: str, profile: str, given: Sequence[str], root: Path, threads: int = 0) -> Path:
    """Execute notebook ``name`` on a copy of ``artifacts/<profile>``; the executed notebook.

    ``given`` are parameters as ``name=value``, over those of the profile. The copy is
    ``artifacts/single/<profile>/<name>``, of links where the disk has them, so that the book of the
    profile stays as it is. Raises ParameterError for an unknown notebook or parameter, or a value
    of another type; FileNotFoundError if there is no such run; NotebookFailed if a cell raises.
    """
    set_by_profile = _profile(root, profile)
    source = _source(name, root / "notebooks", set_by_profile)
    declared = declared_parameters(read_notebook(source), name)
    parameters = {"profile": profile, **set_by_profile.get(name, {}), **_values(given, declared)}
    check_parameters(name, declared, parameters)
    run = root / "artifacts" / profile
    if not (run / PROVENANCE).exists():
        raise FileNotFoundError(
            f"no run in {run}: `make book PROFILE={profile}` makes what the notebooks read"
        )
    folder = link_run(run, root / "artifacts" / "single" / profile / name)
    run_notebook(source, folder, {**parameters, "artifacts": str(folder)}, root, name, threads)
    return folder / "notebooks" / f"{name}.ipynb"


def link_run(run: Path, folder: Path) -> Path:
    """Make ``folder`` hold the files of a run as hard links, or copies where the disk has none.

    What is written beside and renamed, as all artefacts are, takes the place of a link and leaves
    the run as it is.
    """

    def left_out(place: str, names: list[str]) -> list[str]:
        return [each for each in names if each.startswith(".") or Path(place, each) in own]

    own = [run / each for each in OWN]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, folder, ignore=left_out, copy_function=_link)
    return folder


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _profile(root: Path, profile: str) -> dict[str, dict[str, object]]:
    """The parameters of a profile; none for a run of artefacts that somebody else wrote."""
    try:
        return read_profile(root / "notebooks" / "profiles", profile)
    except ParameterError:
        if (root / "artifacts" / profile / PROVENANCE).exists():
            return {}
        raise


def _source(name: str, folder: Path, by_profile: Mapping[str, Mapping[str, object]]) -> Path:
    known = sorted(path.stem for path in folder.glob("*.py"))
    if name not in known:
        raise ParameterError(f"unknown notebook {name!r}{nearest(name, known)}")
    on_disk = by_profile.get("01_data", {}).get("dataset", "scenes") != "scenes"
    return folder / ("01_data_on_disk.py" if name == "01_data" and on_disk else f"{name}.py")


def _values(given: Sequence[str], declared: Mapping[str, object]) -> dict[str, object]:
    """``name=value`` as parameters: what is declared as text stays text, the rest is YAML."""
    values: dict[str, object] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"cannot read {text!r}; a name and a value wanted")
        is_text = isinstance(declared.get(name), str)
        values[name] = value if is_text else yaml.safe_load(value)
    return values
