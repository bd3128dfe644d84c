"""What becomes of stored maps: how much there is, which are removed, and when.

Removed are maps of versions that no present preset computes, temporary files of killed processes
and, above a limit, the maps that were used least recently. What is recent is left alone, because
another process may be at work with it. Nothing but files named as maps is ever removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from defocus_lib.run.artifacts import AT_WORK

LIMIT = "DEFOCUS_MAPS_GB"  # environment variable: the limit in GB
DEFAULT_LIMIT = 20.0  # GB: both profiles of FaceForensics++, or eighty demos
A_RUN = 24 * 3600  # s; maps used since then may belong to a run that goes on
MARKED_EVERY = 600  # s; a use is not marked again sooner

MAP = re.compile(
    r"(?P<preset>\w+)/(?P<version>[0-9a-f]{12}(-[0-9a-f]{12})?)/(?P<kind>\w+-\d+-\w+(-\w+)?)"
    r"/[0-9a-f]{2}/[0-9a-f]{64}\.safetensors\.gz"
)
EARLIER = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}\.npz")  # of version 0.2.0: one folder for all
COLUMNS = ["preset", "version", "kind", "path", "bytes", "used"]


class Pruned(NamedTuple):
    """Files that were removed, and their bytes."""

    files: int
    bytes: int


def mark_used(path: Path) -> bool:
    """Whether a map lies at ``path``; if so, it counts as used now.

    The time of access says so, which many systems do not keep up to date by themselves.
    """
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return False
    if time.time() - stat.st_atime > MARKED_EVERY:
        with contextlib.suppress(OSError):  # of a folder that can be read alone
            os.utime(path, ns=(time.time_ns(), stat.st_mtime_ns))
    return stat.st_size > 0


def stored_maps(folder: Path) -> pd.DataFrame:
    """One row per stored map: preset, version, kind, path, bytes, used (s since the epoch).

    A kind is "method-size-fit", and "-equalised" where images were. The first three are "" for maps
    of version 0.2.0.
    """
    return pd.DataFrame(list(_maps(Path(folder))), columns=COLUMNS)


def summary(folder: Path, present: Mapping[str, str]) -> pd.DataFrame:
    """Number and bytes of the maps of each preset, version and kind, whether the present code reads
    them, and when one of them was last used. ``present`` holds the version of each preset.
    """
    maps = stored_maps(folder)
    sets = maps.groupby(COLUMNS[:3], as_index=False).agg(
        maps=("path", "size"), bytes=("bytes", "sum"), used=("used", "max")
    )
    return sets.assign(current=_is_current(sets, present))


def limit_bytes() -> float:
    """The limit of the folder of maps in bytes: ``DEFOCUS_MAPS_GB``, by default 20 GB.

    Raises ``ValueError`` if the variable holds no such number.
    """
    given = os.environ.get(LIMIT, "") or str(DEFAULT_LIMIT)
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = -1.0
    if not gigabytes >= 0:
        raise ValueError(f"{LIMIT} is {given!r}; a number of GB, 0 or more, wanted")
    return gigabytes * 1e9


def remove_outdated(folder: Path, present: Mapping[str, str]) -> Pruned:
    """Remove maps of versions other than the present ones, unless used within the hour."""
    maps = stored_maps(folder)
    outdated = maps[~_is_current(maps, present) & (maps["used"] < time.time() - AT_WORK)]
    removed = _remove(outdated)
    within = {above for path in outdated["path"] for above in path.parents} - {*folder.parents}
    for parent in sorted(within - {folder}, reverse=True):  # the innermost first
        with contextlib.suppress(OSError):  # it holds something else
            parent.rmdir()
    return removed


def keep_limit(folder: Path, limit: float | None = None, spared: float = A_RUN) -> Pruned:
    """Remove the maps that were used least recently until the folder is within ``limit`` bytes.

    The limit is :func:`limit_bytes` unless given. Maps used within the last ``spared`` seconds
    stay; a warning says so if they exceed the limit.
    """
    limit = limit_bytes() if limit is None else limit
    maps = stored_maps(folder).sort_values("used", kind="stable")
    excess = maps["bytes"].sum() - limit
    if excess <= 0:
        return Pruned(0, 0)
    before = maps["bytes"].cumsum() - maps["bytes"]
    removed = _remove(maps[(before < excess) & (maps["used"] < time.time() - spared)])
    if removed.bytes < excess:
        held = (maps["bytes"].sum() - removed.bytes) / 1e9
        warnings.warn(
            f"{folder} holds {held:.3g} GB, above the limit of {limit / 1e9:.3g} GB ({LIMIT}): "
            f"the maps were used within the last {spared / 3600:.0f} h",
            stacklevel=2,
        )
    return removed


def prune(
    folder: Path, present: Mapping[str, str], limit: float | None = None, spared: float = A_RUN
) -> tuple[Pruned, Pruned]:
    """Remove outdated maps, then those above the limit: what was removed of both."""
    return remove_outdated(folder, present), keep_limit(folder, limit, spared)


def _maps(folder: Path) -> Iterator[tuple]:
    for place, _, names in os.walk(folder):
        within = Path(place).relative_to(folder).as_posix()
        for name in names:
            match = MAP.fullmatch(f"{within}/{name}")
            if not match and not EARLIER.fullmatch(f"{within}/{name}"):
                continue
            kind = match.group("preset", "version", "kind") if match else ("", "", "")
            with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile
                stat = os.stat(path := Path(place, name))
                yield (*kind, path, stat.st_size, max(stat.st_atime, stat.st_mtime))


def _is_current(maps: pd.DataFrame, present: Mapping[str, str]) -> pd.Series:
    return (maps["version"] != "") & (maps["version"] == maps["preset"].map(present))


def _remove(maps: pd.DataFrame) -> Pruned:
    for path in maps["path"]:
        path.unlink(missing_ok=True)
    return Pruned(len(maps), int(maps["bytes"].sum()))
