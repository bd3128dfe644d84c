"""Shapley values of a run: complete, resumed after a kill, on a full disk, and on a cluster."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from defocus_lib.data import collection
from defocus_lib.detect.control_inputs import Batch
from defocus_lib.detect.model import load_detector
from defocus_lib.explain import jobs, shards
from defocus_lib.explain.attribution_set import AttributionSet
from defocus_lib.maps import cache as maps
from defocus_lib.maps.storage import SUFFIX
from defocus_lib.run import artifacts, cluster
from tests import runs

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """For a detector so small, handing work to threads takes longer than the work."""
    with cluster.one_thread():
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return runs.prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """The shards of a run that nothing interrupted."""
    plan, parts = runs.planned(prepared, tmp_path_factory.mktemp("whole"))
    assert jobs.save(plan, parts).to_dict() == {"computed": 12, "found": 0}
    return plan


def content(plan):
    """Every file of the store, as bytes."""
    root = plan.folder.path / shards.ROOT
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def written(folder):
    return sorted(folder.glob("shapley/*/shard-*.npz"))


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


# What is saved


def test_shards_hold_what_was_explained_and_it_adds_up(prepared, whole):
    assert sorted(name for name in content(whole) if name.endswith("npz")) == [
        f"{name}/shard-0000{number}.npz"
        for name in ("Deepfakes", "FaceSwap", "real")
        for number in (0, 1)
    ]
    _, parts = runs.planned(prepared, whole.folder.path)
    part = next(part for part in parts if part.name == "FaceSwap")
    made = AttributionSet.load(whole.path(part))
    assert (
        made.ids.tolist() == part.records["id"].tolist()
        and made.pairs.tolist() == part.records["pair"].tolist()
    )
    assert not made.regions.any() and made.dmaps.min() == 0 and made.dmaps.max() == 1
    np.testing.assert_array_equal(made.images, whole.reader.stack(part.records))
    assert made.meta["manipulation"] == "FaceSwap" and made.meta["profile"] == "tiny"
    for reads in ("defocus", "rgb"):
        detector, _ = load_detector(whole.detectors[reads])
        inputs, base = (
            jobs.inputs_of(detector, Batch(rows, whole.reader, whole.cache))
            for rows in (part.records, whole.background)
        )
        with torch.no_grad():
            gain = (detector(inputs)[:, 0] - detector(base).mean()).numpy()
        sums = getattr(made, f"{reads}_shaps").sum((1, 2)) + getattr(
            made, f"{reads}_completeness_errors"
        )
        np.testing.assert_allclose(sums, gain, atol=1e-4)


def test_an_image_is_explained_the_same_in_another_shard(prepared, whole, tmp_path):
    plan, parts = runs.planned(prepared, tmp_path)
    records = parts[-1].records
    alone, together = plan.explain(records.iloc[1:]), plan.explain(records)
    np.testing.assert_allclose(alone.rgb_shaps[0], together.rgb_shaps[1], atol=1e-6)
    np.testing.assert_allclose(alone.defocus_shaps[0], together.defocus_shaps[1], atol=1e-6)


def test_a_second_run_computes_nothing(prepared, whole):
    before = content(whole)
    plan, parts = runs.planned(prepared, whole.folder.path)
    assert jobs.save(plan, parts).to_dict() == {"computed": 0, "found": 12}
    assert content(whole) == before


def test_another_plan_replaces_what_is_there(prepared, whole, tmp_path):
    plan, parts = runs.planned(prepared, tmp_path)
    jobs.save(plan, parts)
    before = content(plan)
    other, _ = runs.planned(prepared, tmp_path, n_samples=9)
    assert jobs.save(other, parts)["computed"] == 12
    assert content(other).keys() == before.keys() and content(other) != before
    fewer = [part for part in parts if part.name != "FaceSwap"]
    assert jobs.save(other, fewer).to_dict() == {"computed": 0, "found": 8}
    assert not list(tmp_path.glob("shapley/FaceSwap/*"))
    assert set(shards.read_index(tmp_path / "shapley")["manipulation"]) == {"real", "Deepfakes"}


def test_half_precision_is_stored_as_asked(prepared, whole, tmp_path):
    plan, parts = runs.planned(prepared, tmp_path, storage="float16")
    jobs.save(plan, parts)
    half, full = (AttributionSet.load(one.path(parts[0])) for one in (plan, whole))
    largest = np.abs(full.rgb_shaps).max((1, 2), keepdims=True)
    assert 0 < (np.abs(half.rgb_shaps - full.rgb_shaps) / largest).max() <= 2.0**-12 * 1.001


@pytest.mark.parametrize("images", [0, 257])
def test_shards_of_an_impossible_size_are_refused(prepared, tmp_path, images):
    _, parts = runs.planned(prepared, tmp_path)
    with pytest.raises(ValueError, match=f"shard_images is {images}; 1 to 256 wanted"):
        jobs.cut(parts[0].records, images)


# Damage and interruption


@pytest.mark.parametrize("index", ["with its index", "without index"])
def test_a_damaged_shard_is_named_and_made_again(prepared, whole, tmp_path, index):
    plan, parts = runs.planned(prepared, tmp_path)
    jobs.save(plan, parts)
    path = plan.path(parts[3])
    path.write_bytes(path.read_bytes()[:-100])
    if index == "without index":
        (tmp_path / "shapley" / "index.parquet").unlink()
    with pytest.warns(
        UserWarning,
        match=rf"damaged, computed again: .*{parts[3].name}/shard-0000{parts[3].number}\.npz",
    ):
        assert jobs.save(plan, parts).to_dict() == {"computed": 2, "found": 10}
    assert content(plan) == content(whole)


CHILD = """
import sys
from pathlib import Path
from defocus_lib.explain import jobs
from tests import runs
plan, parts = runs.planned(Path(sys.argv[1]), Path(sys.argv[2]), n_samples=80)
jobs.save(plan, parts)
"""


@pytest.fixture
def child(prepared):
    """Start the same run in a process of its own; killed at the end if it still lives."""
    started = []

    def start(target):
        command = [sys.executable, "-c", CHILD, str(prepared), str(target)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(prepared, child, tmp_path):
    plan, parts = runs.planned(prepared, tmp_path / "killed", n_samples=80)
    process = child(tmp_path / "killed")
    wait_for(lambda: len(written(tmp_path / "killed")) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in written(tmp_path / "killed")}
    assert (
        2 <= len(kept) < len(parts)
        and not (tmp_path / "killed" / "shapley" / "index.parquet").exists()
    )
    done = jobs.save(plan, parts)
    assert done["found"] == 2 * len(kept) and done["found"] + done["computed"] == 12
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items()), (
        "finished shards are kept"
    )
    uninterrupted, _ = runs.planned(prepared, tmp_path / "whole", n_samples=80)
    jobs.save(uninterrupted, parts)
    assert content(plan) == content(uninterrupted)


def test_a_second_run_on_one_folder_says_so_and_stops(prepared, child, tmp_path):
    plan, parts = runs.planned(prepared, tmp_path, n_samples=80)
    child(tmp_path)
    wait_for(lambda: written(tmp_path))
    with pytest.raises(shards.StoreBusy, match=r"shapley: another run is writing here"):
        jobs.save(plan, parts)


def test_on_a_full_disk_what_is_complete_stays_and_the_next_run_goes_on(prepared, whole, tmp_path):
    size = whole.path(runs.planned(prepared, tmp_path / "none")[1][0]).stat().st_size
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={int(2.5 * size)}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        plan, parts = runs.planned(prepared, disk)
        with pytest.raises(OSError, match=r"no space to write .*shard-0000\d\.npz"):
            jobs.save(plan, parts)
        kept = written(disk)
        assert 0 < len(kept) < len(parts) and not (disk / "shapley" / "index.parquet").exists()
        for path in kept:
            shards.verified_meta(path)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert jobs.save(plan, parts)["found"] == 2 * len(kept)
        assert content(plan) == content(whole)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# On a cluster


@pytest.fixture(scope="module")
def client():
    with cluster.workers(2) as found:
        yield found


def kill_a_worker_when(condition, client):
    """A thread that kills one of the worker processes as soon as something has happened."""
    victim = sorted(client.run(os.getpid).values())[0]

    def watch():
        wait_for(condition)
        os.kill(victim, signal.SIGKILL)

    watcher = threading.Thread(target=watch)
    watcher.start()
    return watcher, victim


def test_a_cluster_writes_the_same_bytes_also_when_a_worker_dies(prepared, client, tmp_path):
    plan, parts = runs.planned(prepared, tmp_path / "cluster", n_samples=80)
    watcher, victim = kill_a_worker_when(lambda: written(tmp_path / "cluster"), client)
    done = jobs.save(plan, parts, client)
    watcher.join()
    # A worker may have died between writing a shard and reporting it: another one then finds it.
    assert done["computed"] >= 12 - cluster.AHEAD * len(parts[0])
    assert not Path(f"/proc/{victim}").exists() or sys.platform != "linux", "the worker was killed"
    alone, _ = runs.planned(prepared, tmp_path / "alone", n_samples=80)
    jobs.save(alone, parts)
    assert content(plan) == content(alone)


def test_maps_come_out_the_same_on_a_cluster_also_when_a_worker_dies(
    prepared, client, tmp_path, monkeypatch
):
    monkeypatch.setattr(maps, "PART", 2)
    run, cache = (
        collection.load(artifacts.Folder.open("tiny", prepared / "run")),
        runs.cache_of(prepared),
    )
    fresh = runs.cache_of(tmp_path)
    watcher, _ = kill_a_worker_when(lambda: list((tmp_path / "maps").rglob(f"*{SUFFIX}")), client)
    done = fresh.fill(run.records, run.reader, client=client)
    watcher.join()
    assert done["computed"] + done["found"] == run.records["digest"].nunique()
    for digest in run.records["digest"]:
        assert fresh.path(digest).read_bytes() == cache.path(digest).read_bytes()
