"""Where numbers come from: the commit, the machine, the versions of packages, and the record of
every notebook's run."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Run:
    """The record of one execution. It lies beside the notebook, because it differs from run to run.

    Attributes
    ----------
    seconds : float
        Wall-clock time with the start of the kernel.
    peak_mb : float
        Largest resident memory of the kernel and its children in MiB, sampled ten times a second.
    parameters : dict
        Every declared parameter with the value in force.
    cpu_seconds : float
        Processor time of the kernel and its children, sampled alike; 0 where it was not recorded.
    threads : int
        That each computation may use; 0 for as many as there are cores.
    """

    notebook: str
    seconds: float
    peak_mb: float
    parameters: dict
    cpu_seconds: float = 0.0
    threads: int = 0


def read_runs(folder: Path, without: str = "") -> list[Run]:
    """The records in ``folder``, by notebook name; the notebook ``without`` is left out."""
    paths = [path for path in sorted(folder.glob("runs/*.json")) if path.stem != without]
    return [Run(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def package_versions(names: list[str]) -> dict[str, str]:
    """The installed version of each distribution in ``names``."""
    return {name: version(name) for name in names}


def machine() -> dict[str, str]:
    """Platform, Python, cores and memory; no host name, no path."""
    process = psutil.Process()
    cores = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count()
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "cores": str(cores),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }


def commit(root: Path) -> str:
    """The commit that ``root`` is checked out at, with ``-dirty`` if a tracked file differs from
    it."""
    git = ["git", "--no-optional-locks", "-C", str(root)]
    describe = ["describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        done = subprocess.run([*git, *describe], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
    return done.stdout.strip()


def commit_date(root: Path) -> str:
    """The day of the commit that ``root`` is checked out at; 1970-01-01 where there is none."""
    git = ["git", "--no-optional-locks", "-C", str(root), "show", "-s", "--format=%cs"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "1970-01-01"
