"""The parameters of a notebook: what it declares, and what a profile or the command line sets.

Papermill only warns about an unknown parameter, and infers types by a regular expression that
passes over lines which it cannot read. Here both are errors, raised before anything is executed.
"""

from __future__ import annotations

import ast
import difflib
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from nbformat import NotebookNode

SCALARS = {"int": int, "float": float, "str": str, "bool": bool}
# YAML 1.1 reads 1e-3 as a string, because its mantissa lacks a dot and its exponent a sign.
EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


class ParameterError(ValueError):
    """A profile, notebook or parameter does not exist, or a value is of the wrong type; the message
    names it."""


def declared_parameters(notebook: NotebookNode, name: str) -> dict[str, object]:
    """The parameters that the cell tagged ``parameters`` declares, with their defaults.

    Raises
    ------
    ParameterError
        If there is no such cell, or a line of it is not a plain ``name: type = value`` of int,
        float, str or bool.
    """
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if not cells:
        raise ParameterError(f"{name}: no cell is tagged 'parameters'")
    return dict(_declared(name, line) for line in ast.parse(cells[0].source).body)


def _declared(notebook: str, line: ast.stmt) -> tuple[str, object]:
    text = f"{notebook}: {ast.unparse(line)!r} in the parameters cell"
    match line:
        case ast.AnnAssign(ast.Name(name), ast.Name(kind), ast.expr() as value) if kind in SCALARS:
            try:
                default = ast.literal_eval(value)
            except ValueError as error:
                raise ParameterError(f"{text}; a plain value wanted") from error
            return name, _typed(notebook, name, SCALARS[kind], default)
    raise ParameterError(f"{text}; 'name: type = value' wanted, of type {', '.join(SCALARS)}")


def check_parameters(
    name: str, declared: Mapping[str, object], given: Mapping[str, object]
) -> dict[str, object]:
    """All parameters of notebook ``name``, the ``given`` values over the ``declared`` defaults.

    An int may be given where a float is declared; a bool is not an int. Raises
    :class:`ParameterError` if a parameter is not declared or has another type.
    """
    for parameter in given:
        if parameter not in declared:
            raise ParameterError(
                f"{name}: unknown parameter {parameter!r}{nearest(parameter, declared)}"
            )
    changed = {key: _typed(name, key, type(declared[key]), given[key]) for key in given}
    return {**declared, **changed}


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown ``name``: the nearest of those that are known, and
    all."""
    known = list(known)
    match = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {match[0]!r}? There are" if match else "; there are"
    return f"{meant} {', '.join(known) or 'none'}"


def _typed(notebook: str, parameter: str, kind: type, value: object) -> object:
    if kind is float and type(value) is int:
        return float(value)
    if kind is float and isinstance(value, str) and EXPONENT.fullmatch(value):
        return float(value)
    if type(value) is not kind:
        given = f"{notebook}: parameter {parameter!r} is {value!r} ({type(value).__name__})"
        raise ParameterError(f"{given}; {kind.__name__} wanted")
    return value


def read_profile(folder: Path, profile: str) -> dict[str, dict[str, object]]:
    """The parameters that ``folder/<profile>.yaml`` sets, by notebook.

    Raises :class:`ParameterError` if there is no such profile, or the file is not such a mapping.
    """
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if profile not in known:
        raise ParameterError(f"unknown profile {profile!r}{nearest(profile, known)}")
    try:
        content = yaml.safe_load((folder / f"{profile}.yaml").read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ParameterError(f"{profile}.yaml is not YAML: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(values, dict | None) for values in content.values()
    ):
        raise ParameterError(f"{profile}.yaml: a mapping 'notebook: {{parameter: value}}' wanted")
    return {notebook: values or {} for notebook, values in content.items()}


def parse_settings(text: str) -> dict[str, dict[str, object]]:
    """Read ``"05_binary_mask.threshold=0.2 07_tsne.seed=1"``: values are YAML, quotes protect
    spaces.

    Raises :class:`ParameterError`, which repeats the text, if it has another form.
    """
    settings: dict[str, dict[str, object]] = {}
    try:
        for part in shlex.split(text):
            path, value = part.split("=", 1)
            notebook, parameter = path.split(".")
            settings.setdefault(notebook, {})[parameter] = yaml.safe_load(value)
    except (ValueError, yaml.YAMLError) as error:
        raise ParameterError(
            f"cannot read {text!r}; 'notebook.parameter=value ...' wanted"
        ) from error
    return settings
