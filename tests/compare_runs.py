"""Do two runs hold the same results? ``python -m tests.compare_runs A B [--maps A.maps B.maps]
[--tolerance 1e-6]``

``A`` and ``B`` are artefact folders of one profile, made on one machine. Records, images, maps,
weights, predictions, metrics, Shapley arrays and tables are compared: to the byte, else number by
number. Each line names a file and says ``identical``, ``equal`` (with the largest difference,
relative to the largest value of the column or array) or what differs. The exit code is 1 if a file
differs by more than the tolerance or is missing, unless its difference is intended
(:data:`INTENDED`). What depends on the run alone (times, memory, commit, logs, executed pages) is
left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import safe_open

from defocus_lib.maps.storage import SUFFIX, about_map, read_map

LEFT_OUT = (
    "notebooks/",
    "runs/",
    "stages/",
    "failed/",
    "training/",
    "findings",
    "claims",
    ".doit.db",
)
SUFFIXES = {".parquet", ".csv", ".npz", ".safetensors", ".png", ".jpg"}

RENAMED_FILES = {
    "trials.parquet": "sweep.parquet",
    "trial_records.parquet": "sweep_records.parquet",
}
"""Names of files in version 0.1.0 -> now."""

MODELS = ("defocus", "rgb")
RENAMED_NAMES: dict[str, str] = {
    "control": "input",
    "trained_on": "training_manipulation",
    "random sigma": "permuted blur",
    "change of light": "illumination change",
    **{f"{model}_gap{s}": f"{model}_completeness_error{s}" for model in MODELS for s in ("", "s")},
    **{f"completeness_gap_{model}": f"completeness_error_{model}" for model in MODELS},
    **{f"seed_to_seed_pixels_{model}": f"seed_to_seed_values_{model}" for model in MODELS},
}
"""Columns, arrays and values of text columns (also the last part of an id) in 0.1.0 -> now."""

INTENDED: dict[str, str] = {
    "robustness.csv": "bounds: one bootstrap resamples the groups, values are the same",
}
"""Files whose content differs from that of version 0.1.0 on purpose -> why."""

MEANINGLESS = {"checksum", "content", "contents", "meta", "version"}
"""Columns and arrays that are digests of code or of files: they differ whenever a name does."""


def tables_of(path: Path) -> dict[str, np.ndarray]:
    """The numbers and texts in a file, by name of column, array or weight."""
    if path.suffix == ".parquet":
        return _columns(pd.read_parquet(path))
    if path.suffix == ".csv":
        return _columns(pd.read_csv(path))
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if path.name.endswith(SUFFIX):
        planes = read_map(path, ["dense", "edges"])
        return planes | {"edges": np.packbits(planes["edges"], axis=1)}
    return {"bytes": np.frombuffer(path.read_bytes(), np.uint8)}


def _columns(table: pd.DataFrame) -> dict[str, np.ndarray]:
    return {
        str(name): column.to_numpy()
        if column.dtype.kind in "biuf"
        else column.fillna("").astype(str).to_numpy(dtype=str)
        for name, column in table.items()
    }


def renamed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of an old file under their present names, renamed words in text columns too."""
    present = {}
    for name, values in arrays.items():
        if values.dtype.kind == "U":
            for old, new in RENAMED_NAMES.items():
                values = np.where(values == old, new, values)
                in_id = np.char.endswith(values, f"/{old}")
                values = np.where(in_id, np.char.replace(values, f"/{old}", f"/{new}"), values)
        present[RENAMED_NAMES.get(name, name)] = values
    return present


def largest_difference(old: np.ndarray, new: np.ndarray) -> float:
    """0 for equal arrays; else the largest difference over the largest value; infinity if they
    can't be compared."""
    if old.shape != new.shape or (old.dtype.kind == "U") != (new.dtype.kind == "U"):
        return np.inf
    if old.dtype.kind == "U":
        return 0.0 if (old == new).all() else np.inf
    if not old.size:
        return 0.0
    old, new = old.astype(np.float64), new.astype(np.float64)
    if (np.isnan(old) != np.isnan(new)).any():
        return np.inf
    scale = np.nanmax(np.abs(old), initial=0.0)
    difference = np.nanmax(np.abs(old - new), initial=0.0)
    return float(difference / scale) if difference and scale else float(difference and np.inf)


def compare(old: Path, new: Path) -> tuple[float, str]:
    """The largest difference between two files, and what to say of it."""
    if old.read_bytes() == new.read_bytes():
        return 0.0, "identical"
    before, after = renamed(tables_of(old)), tables_of(new)
    if unmatched := sorted((set(before) ^ set(after)) - MEANINGLESS):
        return np.inf, f"only in one of them: {', '.join(unmatched)}"
    differences = {
        name: largest_difference(before[name], after[name])
        for name in before
        if name not in MEANINGLESS
    }
    worst = max(differences, key=differences.__getitem__)
    if not differences[worst]:
        return 0.0, "equal, in another file layout or under other names"
    return differences[worst], f"largest relative difference {differences[worst]:.2g} ({worst})"


def pairs(old: Path, new: Path) -> Iterator[tuple[str, Path, Path]]:
    """The files of both runs, by their present name."""
    before = {RENAMED_FILES.get(name, name): old / name for name in _names(old)}
    for name in sorted({*before, *_names(new)}):
        yield name, before.get(name, old / name), new / name


def _names(folder: Path) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [n for n in names if Path(n).suffix in SUFFIXES and not n.startswith(LEFT_OUT)]


def maps_of(folder: Path) -> dict[str, Path]:
    """The maps in a cache, by what they are of: image, preset, propagation, size and fit."""
    found = {}
    for path in sorted(folder.rglob("[0-9a-f]*.*z")):
        if path.suffix == ".npz":  # until version 0.2.0
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(str(file["meta"]))
        else:
            about = about_map(path)
        found[
            " ".join(str(about[key]) for key in ("image", "preset", "propagation", "size", "fit"))
        ] = path
    return found


def report(name: str, old: Path, new: Path, tolerance: float) -> bool:
    """Print one line on a file; whether it is as it should be."""
    if not (old.exists() and new.exists()):
        difference, words = np.inf, f"only in {'the first' if old.exists() else 'the second'}"
    else:
        difference, words = compare(old, new)
    fine = difference <= tolerance or name in INTENDED
    reason = f" (intended: {INTENDED[name]})" if difference > tolerance and name in INTENDED else ""
    print(f"{'  ' if fine else '! '}{name}: {words}{reason}")
    return fine


def compare_maps(old: Path, new: Path, tolerance: float) -> bool:
    """Print how the maps that both caches hold differ; whether all are within the tolerance."""
    before, after = maps_of(old), maps_of(new)
    common = sorted(set(before) & set(after))
    differences = [compare(before[key], after[key])[0] for key in common]
    worst = max(differences, default=np.inf)
    print(f"  {len(common)} maps in both caches: largest relative difference {worst:.2g}")
    return worst <= tolerance


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--maps", type=Path, nargs=2, help="the map caches of both")
    parser.add_argument("--tolerance", type=float, default=1e-6)
    given = parser.parse_args(arguments)
    print(f"tolerance: {given.tolerance:g} of the largest value of each column or array")
    fine = [report(*pair, given.tolerance) for pair in pairs(given.old, given.new)]
    if given.maps:
        fine.append(compare_maps(*given.maps, given.tolerance))
    return 0 if fine and all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
