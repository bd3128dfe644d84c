"""``store``: what it names and refuses."""

import json

import numpy as np

from tests import artefacts
from tests.verbs import run


def test_store_verify_names_what_is_damaged(tmp_path):
    folder = artefacts.build(tmp_path / "run", scenes=3, size=32)
    done = run(tmp_path, "store", "verify", str(folder.path))
    assert (done.returncode, done.stdout) == (0, "5 files, 15 images; damaged: 0\n")
    path = folder.path / "shapley" / "splice" / "shard-00000.npz"
    path.write_bytes(path.read_bytes()[:-1])
    done = run(tmp_path, "store", "verify", str(folder.path / "shapley"))
    assert done.returncode == 1 and f"{path}: another checksum than in the index" in done.stdout
    listed = json.loads(run(tmp_path, "store", "verify", str(folder.path), "--json").stdout)
    assert [row["file"] for row in listed if row["problem"]] == ["splice/shard-00000.npz"]
    done = run(tmp_path, "store", "verify", str(tmp_path / "none"))
    assert done.returncode == 2 and "no set of Shapley values here" in done.stderr


def test_store_import(project, tmp_path):
    images = np.empty(2, dtype=object)
    images[:] = list(np.random.default_rng(0).random((2, 8, 8)))
    np.savez(tmp_path / "theirs.npz", dmaps=images, defocus_shaps=images, rgb_shaps=images)
    command = [
        "store",
        "import",
        str(tmp_path / "theirs.npz"),
        "--profile",
        "theirs",
        "--set",
        "real",
    ]
    done = run(project, *command)
    assert done.returncode == 0 and done.stdout.startswith("2 images:"), done.stderr
    assert (project / "artifacts" / "theirs" / "shapley" / "real" / "shard-00000.npz").exists()
    images[0] = {"no": "array"}
    np.savez(tmp_path / "theirs.npz", dmaps=images, defocus_shaps=images, rgb_shaps=images)
    done = run(project, *command)
    assert (
        done.returncode == 2
        and "error: " in done.stderr
        and "arrays of numbers wanted" in done.stderr
    )
