"""The parameters of a whole run: what all notebooks declare, with what a profile changes."""

from __future__ import annotations

from pathlib import Path

from defocus_lib.run.notebook import read_notebook
from defocus_lib.run.parameters import (
    ParameterError,
    check_parameters,
    declared_parameters,
    parse_settings,
    read_profile,
)

ON_DISK = "01_data_on_disk"  # the first notebook, where the data are not rendered


def in_force(root: Path, profile: str, settings: str = "") -> dict[str, dict[str, object]]:
    """Parameters by notebook, in their order: ``settings`` over the profile over the defaults.

    ``root`` is the folder of the project. Raises
    :class:`defocus_lib.run.parameters.ParameterError` if a profile, notebook or parameter does not
    exist, or a value is of the wrong type.
    """
    sources = root / "notebooks"
    of_profile, changed = read_profile(sources / "profiles", profile), parse_settings(settings)
    given = {
        name: {**of_profile.get(name, {}), **changed.get(name, {})}
        for name in {**of_profile, **changed}
    }
    rendered = given.get("01_data", {}).get("dataset", "scenes") == "scenes"
    checked = {}
    for source in sorted(sources.glob("*.py")):
        if source.stem == ON_DISK:
            continue
        name, by_disk = source.stem, source.stem == "01_data" and not rendered
        path = source.with_stem(ON_DISK) if by_disk else source
        declared = declared_parameters(read_notebook(path), name)
        checked[name] = check_parameters(name, declared, given.pop(name, {}))
    for name in given:
        raise ParameterError(f"unknown notebook {name!r}; there are {', '.join(checked)}")
    return checked
