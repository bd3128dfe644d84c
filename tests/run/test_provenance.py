"""The record of where a number comes from."""

import platform
import subprocess
from pathlib import Path

import numpy

from defocus_lib.run import provenance


def test_the_commit_is_told_with_its_changes(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert provenance.commit(tmp_path) == "not a git checkout"
    git("init", "--quiet")
    file = tmp_path / "file"
    file.write_text("one")
    git("add", "file")
    git("commit", "--quiet", "--message=one")
    head = git("rev-parse", "HEAD")[:10]
    assert provenance.commit(tmp_path) == head
    file.write_text("two")
    assert provenance.commit(tmp_path) == f"{head}-dirty"


def test_what_the_status_page_tells() -> None:
    assert provenance.package_versions(["numpy"]) == {"numpy": numpy.__version__}
    machine = provenance.machine()
    assert int(machine["cores"]) >= 1 and machine["memory"].endswith(" GiB")
    assert platform.node() not in machine.values()
