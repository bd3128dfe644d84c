"""``cache``: what it counts and removes."""

import json
import os
import time
from pathlib import Path

from tests.verbs import run


def test_the_cache_is_shown_and_pruned(project, tmp_path, monkeypatch):
    folder = tmp_path / "artifacts" / ".maps"
    monkeypatch.setattr("defocus_lib.maps.cache.project_root", lambda: tmp_path)
    monkeypatch.setattr("defocus_lib.run.artifacts.project_root", lambda: tmp_path)
    monkeypatch.setattr("defocus_lib.maps.cache.present_versions", lambda: {"physical": "1" * 12})
    ages = {"1" * 12: [1, 3, 2], "2" * 12: [1]}  # days, by version
    for version, days in ages.items():
        for number, day in enumerate(days):
            name = f"physical/{version}/gaussian-128-stretch/00/{number:064x}.safetensors.gz"
            aged_file(folder / name, 500_000, day)
    temporary = aged_file(tmp_path / "artifacts/demo/.last.0123456789ab.ckpt", 2_000_000, 1)
    done = run(project, "cache", "show")
    assert done.stdout.splitlines()[:3] == [
        "physical 111111111111 gaussian-128-stretch: 3 maps, 1.5 MB",
        "physical 222222222222 gaussian-128-stretch: 1 maps, 0.5 MB; outdated",
        f"{folder}: 4 maps, 2.0 MB",
    ]
    shown = json.loads(run(project, "cache", "show", "--json").stdout)
    assert [(row["maps"], row["bytes"], row["current"]) for row in shown] == [
        (3, 1_500_000, True),
        (1, 500_000, False),
    ]
    done = run(project, "cache", "prune", "--limit", "0.0011")
    assert done.stdout.splitlines() == [
        "temporary files: 1 removed, 2.0 MB",
        "outdated maps: 1 removed, 0.5 MB",
        "least recently used: 1 removed, 0.5 MB",
    ]
    assert not temporary.exists() and not done.stderr
    assert sorted(path.name[63] for path in folder.rglob("*.gz")) == ["0", "2"]
    done = run(project, "cache", "show", DEFOCUS_MAPS_GB="x")
    assert done.returncode == 2 and done.stderr.startswith("error: DEFOCUS_MAPS_GB is 'x'")


def aged_file(path: Path, size: int, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - days * 86400,) * 2)
    return path
