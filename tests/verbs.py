"""Run a command of the library in a project."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from typer.testing import CliRunner

from defocus_lib.commands import app

ROOT = Path(__file__).resolve().parent.parent


def run(project: Path, *words: str, **variables: str) -> SimpleNamespace:
    """The command in ``project``, without the start of another Python."""
    with contextlib.chdir(project):
        done = CliRunner().invoke(app, words, env={"GOOD_ROOT": None, **variables})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return SimpleNamespace(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr)


def process(project: Path, *words: str) -> subprocess.CompletedProcess:
    """Another Python in ``project``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command, pipes = [sys.executable, *words], {"capture_output": True, "text": True}
    return subprocess.run(command, cwd=project, env=environment, check=False, **pipes)
