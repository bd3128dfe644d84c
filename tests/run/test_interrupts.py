"""Ctrl-C before anything is begun, which a module sends that is imported on the way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from defocus_lib.commands import app
from tests.pages import ROOT

SENDS = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"
COMMANDS = {
    "make book": (["-m", "defocus_lib.run.interrupts", "doit", "list"], "doit"),
    "doit": (["-m", "doit", "list"], "import_deps"),
    "the command line": (["-m", "defocus_lib", "--help"], "typer"),
    "a command": (["-m", "defocus_lib", "inspect", "book/_static/overview.png"], "torch"),
}


@pytest.mark.skipif(os.name == "nt", reason="signals are those of Unix")
@pytest.mark.parametrize(("command", "module"), COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("verbose", ["", "1"])
def test_while_a_module_is_imported(tmp_path: Path, command, module, verbose) -> None:
    (tmp_path / f"{module}.py").write_text(SENDS)
    variables = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "VERBOSE": verbose}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if verbose:
        assert "Traceback" in done.stderr and "KeyboardInterrupt" in done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("verbose", ["", "1"])
def test_while_a_command_computes(monkeypatch, verbose) -> None:
    monkeypatch.setenv("VERBOSE", verbose)
    monkeypatch.setattr(
        "defocus_lib.data.images.find_pictures", lambda _: signal.raise_signal(signal.SIGINT)
    )
    done = CliRunner().invoke(app, ["inspect", "a.png"])
    assert done.exit_code == 130 and done.stderr.endswith("interrupted\n")
    assert ("Traceback" in done.stderr) == bool(verbose)
