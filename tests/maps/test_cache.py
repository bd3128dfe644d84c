import gzip
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.numpy import load, save

from defocus_lib.data import images
from defocus_lib.data.images import Reader, UnreadableImage
from defocus_lib.maps import cache as map_cache
from defocus_lib.maps import edges, estimate, propagation, ratio, storage, width
from defocus_lib.maps.cache import MapCache, version
from defocus_lib.maps.storage import about_map
from defocus_lib.run import artifacts
from tests import trees

SIZE = 48


def records_of(root: Path) -> pd.DataFrame:
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return pd.DataFrame(
        {"path": [p.relative_to(root).as_posix() for p in paths], "digest": digests}
    )


def counts(filled: pd.Series) -> tuple[int, int]:
    return filled["computed"], filled["found"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return trees.folders(tmp_path_factory.mktemp("pictures"), clips=4, size=SIZE)


@pytest.fixture(scope="module")
def records(root):
    return records_of(root)


@pytest.fixture
def reader(root):
    return Reader(root, SIZE)


@pytest.fixture
def cache(tmp_path):
    return MapCache(tmp_path / "maps", "physical", "", SIZE, "stretch")


@pytest.fixture(scope="module")
def filled_once(root, records, tmp_path_factory):
    cache = MapCache(tmp_path_factory.mktemp("filled"), "physical", "", SIZE, "stretch")
    assert counts(cache.fill(records, Reader(root, SIZE), n_workers=2)) == (8, 0)
    return cache


@pytest.fixture
def filled(filled_once, cache):
    """A full cache that a test may spoil."""
    shutil.copytree(filled_once.folder, cache.folder)
    return cache


@pytest.mark.parametrize(
    ("preset", "method", "size", "fit"),
    [
        ("physical", "", SIZE, "stretch"),
        ("released", "", 32, "crop"),
        ("published", "gaussian", 0, "stretch"),
    ],
)
def test_a_cached_map_is_the_map(root, records, tmp_path, preset, method, size, fit):
    cache = MapCache(tmp_path, preset, method, size, fit)
    assert counts(cache.fill(records, Reader(root, size, fit), n_workers=1)) == (8, 0)
    pixels = [
        images.fit_square(np.asarray(Image.open(root / path)), size or SIZE, fit)
        for path in records["path"]
    ]
    floats = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255
    expected = estimate.defocus_maps(floats, preset, method or None)
    dense, edges = cache.stack(records)
    assert dense.dtype == np.float32 and edges.dtype == bool and edges.any()
    np.testing.assert_array_equal(dense, expected.dense[:, 0].numpy().astype(np.float16))
    as_cached = map_cache.maps_as_cached(floats, preset, method).dense[:, 0]
    np.testing.assert_array_equal(dense, as_cached)
    np.testing.assert_array_equal(edges, expected.edges[:, 0])


def test_maps_without_a_cache_are_those_of_one(filled, records, reader):
    turned = records.iloc[::-1]
    computed = map_cache.ComputedMaps(reader, "physical").stack(turned)
    for values, stored in zip(computed, filled.stack(turned), strict=True):
        assert values.dtype == stored.dtype
        np.testing.assert_array_equal(values, stored)
    with pytest.raises(ValueError, match="records has no row"):
        map_cache.ComputedMaps(reader, "physical").stack(records[:0])


def test_rows_come_back_in_their_order(filled, records):
    turned = records.iloc[::-1]
    for n_workers in (1, 2):
        stacks = filled.stack(turned, n_workers), filled.stack(records)
        for turned_stack, stack in zip(*stacks, strict=True):
            np.testing.assert_array_equal(turned_stack, stack[::-1])


def test_a_map_says_what_it_is_of(filled, records):
    path = filled.path(records["digest"][0])
    assert about_map(path) == {
        "image": records["digest"][0],
        "size": SIZE,
        "fit": "stretch",
        "preset": "physical",
        "propagation": "gaussian",
        "version": version(),
    }
    parts = ["physical", version(), f"gaussian-{SIZE}-stretch", path.name[:2], path.name]
    assert path == filled.folder.joinpath(*parts)


@pytest.mark.parametrize(
    "change", [{"preset": "released"}, {"propagation": "guided"}, {"size": 64}, {"fit": "crop"}]
)
def test_each_setting_has_maps_of_its_own(cache, change):
    assert replace(cache, **change).path("0" * 64) != cache.path("0" * 64)


def test_a_path_tells_images_apart_and_nothing_else(cache):
    assert cache.path("0" * 64) != cache.path("1" * 64)
    spelt_out = replace(cache, propagation="gaussian")  # the preset's own
    assert spelt_out.path("0" * 64) == cache.path("0" * 64)


@pytest.fixture
def versions_anew():
    """Versions are computed again while this is used, and afterwards."""
    version.cache_clear()
    yield version.cache_clear
    version.cache_clear()


LISTED = {"physical", "learned", "released", "published"}
ON_THE_PATH_OF = {
    edges: LISTED,
    width: {"physical", "learned"},
    ratio: {"released", "published"},
    propagation: {"physical", "released", "published"},
    map_cache.learned: {"learned"},
    storage: LISTED,
}


@pytest.mark.parametrize("module", ON_THE_PATH_OF)
@pytest.mark.parametrize(
    ("addition", "computes"), [(b"CHANGED = True\n", True), (b"# a comment\n", False)]
)
def test_a_version_follows_the_code_on_its_path(
    monkeypatch, tmp_path, versions_anew, module, addition, computes
):
    before = {preset: version(preset) for preset in LISTED}
    assert all(len(text) == 12 or preset == "learned" for preset, text in before.items())
    edited = tmp_path / "edited.py"
    edited.write_bytes(Path(module.__file__).read_bytes() + addition)
    versions_anew()
    monkeypatch.setattr(module, "__file__", str(edited))
    changed = {preset for preset in LISTED if version(preset) != before[preset]}
    assert changed == (ON_THE_PATH_OF[module] if computes else set())


def test_a_changed_value_renews_the_maps_of_its_preset_alone(cache, monkeypatch, versions_anew):
    before, path = map_cache.present_versions(), cache.path("0" * 64)
    versions_anew()
    physical = map_cache.PRESETS["physical"]
    monkeypatch.setitem(map_cache.PRESETS, "physical", replace(physical, max_sigma=7.0))
    assert {preset for preset in before if version(preset) != before[preset]} == {"physical"}
    assert cache.path("0" * 64) != path


def test_path_and_order_do_not_matter(filled, root, records, tmp_path):
    other = tmp_path / "other" / "place"
    for index, path in enumerate(records["path"][::-1]):
        other.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / path, other / f"{index}.png")
    moved = records_of(other.parent).sample(frac=1, random_state=0)
    assert counts(filled.fill(moved, Reader(other.parent, SIZE))) == (0, 8)


def test_images_of_the_same_content_count_once(cache, root, records, tmp_path):
    shutil.copytree(root, tmp_path / "twice" / "a")
    shutil.copytree(root, tmp_path / "twice" / "b")
    both = records_of(tmp_path / "twice")
    assert counts(cache.fill(both, Reader(tmp_path / "twice", SIZE), n_workers=2)) == (8, 0)
    dense, _ = cache.stack(both)
    np.testing.assert_array_equal(dense[:8], dense[8:])
    assert len(list(cache.folder.rglob("*.gz"))) == 8


def state(folder: Path) -> dict[str, tuple]:
    return {
        path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*.gz")
    }


def test_only_what_is_missing_is_computed(filled, filled_once, records, reader):
    gone = records["digest"][[1, 4, 6]]
    for digest in gone:
        filled.path(digest).unlink()
    before = state(filled.folder)
    assert counts(filled.fill(records, reader, n_workers=2)) == (3, 5)
    after = state(filled.folder)
    assert {name: after[name] for name in before} == before and len(after) == 8
    for digest in gone:
        assert filled.path(digest).read_bytes() == filled_once.path(digest).read_bytes()


def rewritten(**change):
    def spoil(path):
        content = load(gzip.decompress(path.read_bytes())) | change
        path.write_bytes(gzip.compress(save(content)))

    return spoil


def without_edges(path):
    content = load(gzip.decompress(path.read_bytes()))
    path.write_bytes(gzip.compress(save({"dense": content["dense"]})))


def overwritten(path):
    content = path.read_bytes()
    path.write_bytes(content[:500] + bytes(64) + content[564:])


SPOIL = {
    "truncated": trees.truncate,
    "text": trees.not_an_image,
    "overwritten": overwritten,
    "not compressed": lambda path: path.write_bytes(gzip.decompress(path.read_bytes())),
    "other size": rewritten(
        dense=np.zeros((2, 40, 40), np.uint8), edges=np.zeros((40, 5), np.uint8)
    ),
    "other type": rewritten(dense=np.zeros((2, SIZE, SIZE))),
    "one plane": rewritten(dense=np.zeros((SIZE, SIZE), np.uint8)),
    "other edges": rewritten(edges=np.zeros((SIZE, SIZE), np.float32)),
    "no edges": without_edges,
}


@pytest.mark.parametrize("spoil", SPOIL.values(), ids=SPOIL)
def test_a_damaged_map_is_named_and_computed_again(filled, filled_once, records, reader, spoil):
    digest = records["digest"][2]
    path = filled.path(digest)
    spoil(path)
    with pytest.raises(ValueError) as refused:
        filled.load(digest)
    message = str(refused.value)
    assert message.startswith(f"{path}: ") and "cache verify PROFILE` computes it anew" in message
    assert counts(filled.fill(records, reader, n_workers=1)) == (0, 8)  # it reads none of them
    assert counts(filled.fill(records, reader, n_workers=1, verify=True)) == (1, 7)
    assert path.read_bytes() == filled_once.path(digest).read_bytes()


def test_an_empty_file_is_no_map(filled, filled_once, records, reader):
    path = trees.empty(filled.path(records["digest"][2]))
    assert counts(filled.fill(records, reader, n_workers=1)) == (1, 7)
    assert path.read_bytes() == filled_once.path(records["digest"][2]).read_bytes()


def test_whole_maps_are_not_read_again(filled, records, reader, monkeypatch):
    monkeypatch.setattr(storage, "read_map", None)  # calling it would raise
    assert counts(filled.fill(records, reader)) == (0, 8)


def test_a_missing_map_names_the_notebook(cache, records):
    with pytest.raises(
        artifacts.MissingArtifact,
        match=r"the physical map of image .*: run notebook 02_defocus_map first",
    ):
        cache.load(records["digest"][0])
    with pytest.raises(artifacts.MissingArtifact):
        cache.stack(records)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_what_was_done_before_a_failure_stays(cache, root, tmp_path, n_workers):
    broken = tmp_path / "broken"
    shutil.copytree(root, broken)
    path = trees.truncate(broken / "fake" / "photo-001.png")
    records = records_of(broken)  # the second of eight
    with pytest.raises(UnreadableImage, match=r"photo-001\.png: damaged or truncated"):
        cache.fill(records, Reader(broken, SIZE), n_workers=n_workers)
    files = [file for file in cache.folder.rglob("*") if file.is_file()]
    done = records[[cache.path(digest) in files for digest in records["digest"]]]
    assert len(done) == len(files) == len(cache.stack(done)[0])
    assert len(files) == 1 if n_workers == 1 else 1 <= len(files) <= 7
    rest = records[records["path"] != path.relative_to(broken).as_posix()]
    assert counts(cache.fill(rest, Reader(broken, SIZE))) == (7 - len(files), len(files))


KILLED = """
import sys
import pandas as pd
from pathlib import Path
from defocus_lib.data.images import Reader
from defocus_lib.maps.cache import MapCache
folder, root, table = map(Path, sys.argv[1:])
cache = MapCache(folder, "physical", "", 64, "stretch")
cache.fill(pd.read_json(table), Reader(root, 64), n_workers=2)
"""


@pytest.mark.slow
def test_a_killed_run_is_taken_up(tmp_path):
    root, table, folder = (
        trees.folders(tmp_path / "many", clips=120),
        tmp_path / "table.json",
        tmp_path / "maps",
    )
    records = records_of(root)
    records.to_json(table)
    checkout = {**os.environ, "PYTHONPATH": str(artifacts.project_root())}
    run = subprocess.Popen([sys.executable, "-c", KILLED, folder, root, table], env=checkout)
    while run.poll() is None and len(list(folder.rglob("[0-9a-f]*.gz"))) < 5:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, "it ended before it could be killed"
    cache = MapCache(folder, "physical", "", 64, "stretch")
    done = records[[cache.path(digest).exists() for digest in records["digest"]]]
    assert 5 <= len(done) < len(records)
    cache.stack(done)  # whole, each of them
    assert counts(cache.fill(records, Reader(root, 64), n_workers=2)) == (
        len(records) - len(done),
        len(done),
    )


def test_a_fill_removes_what_nothing_needs(filled, records, reader, monkeypatch):
    """Of a killed process, of another version, above the limit; never maps of its own."""
    ago = time.time() - 2 * 24 * 3600
    whole, own = filled.path(records["digest"][0]), filled.path("f" * 64)
    killed = [whole.with_name(f".{whole.stem}.{token * 6}.gz") for token in ("ab", "cd")]
    version_before = filled.folder / "physical" / ("0" * 12) / own.relative_to(filled.home.parent)
    for path in (own, version_before, *killed):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole, path)
    for path in (own, version_before, killed[0], *map(filled.path, records["digest"])):
        os.utime(path, (ago, ago))
    assert counts(filled.fill(records, reader)) == (0, 8)
    assert not killed[0].exists() and killed[1].exists()  # the other process may be at work
    assert own.exists() and version_before.exists()  # nothing was added
    whole.unlink()
    monkeypatch.setenv("DEFOCUS_MAPS_GB", "0")
    with pytest.warns(UserWarning, match="above the limit"):
        assert counts(filled.fill(records, reader)) == (1, 7)
    assert not own.exists() and not version_before.exists()
    filled.stack(records)


def test_a_limit_that_is_no_number_is_said_before_anything_is_computed(
    cache, records, reader, monkeypatch
):
    monkeypatch.setenv("DEFOCUS_MAPS_GB", "a lot")
    with pytest.raises(ValueError, match="DEFOCUS_MAPS_GB is 'a lot'"):
        cache.fill(records, reader)
    assert not cache.folder.exists()


@pytest.mark.slow
def test_processes_at_once_do_not_hurt_one_another(tmp_path):
    root, table, folder = (
        trees.folders(tmp_path / "many", clips=25),
        tmp_path / "table.json",
        tmp_path / "maps",
    )
    records = records_of(root)
    records.to_json(table)
    checkout = {**os.environ, "PYTHONPATH": str(artifacts.project_root()), "DEFOCUS_MAPS_GB": "0"}
    command = [sys.executable, "-W", "ignore", "-c", KILLED, folder, root, table]
    runs = [subprocess.Popen(command, env=checkout) for _ in range(2)]
    while any(run.poll() is None for run in runs):
        map_cache.upkeep.prune(folder, {}, float("inf"))  # as if by other code
        time.sleep(0.1)
    assert [run.wait() for run in runs] == [0, 0]
    cache = MapCache(folder, "physical", "", 64, "stretch")
    assert cache.stack(records)[0].shape == (len(records), 64, 64)
    assert not artifacts.leftovers(folder)


@pytest.mark.slow
def test_processes_compute_what_threads_do(cache, filled_once, records, reader):
    with joblib.parallel_config(backend="loky"):
        assert counts(cache.fill(records, reader, n_workers=2)) == (8, 0)
    for digest in records["digest"]:
        assert cache.path(digest).read_bytes() == filled_once.path(digest).read_bytes()


def test_the_caller_is_left_alone(cache, records, reader, generators_left_alone, two_threads):
    with generators_left_alone():
        cache.fill(records, reader, n_workers=2)
    assert torch.get_num_threads() == two_threads


def test_a_progress_bar_where_it_is_wanted(filled, records, reader, capsys):
    filled.fill(records, reader, progress=True)
    shown = capsys.readouterr().err
    assert "defocus maps: 100%" in shown and "8/8" in shown and "image/s" in shown
    filled.fill(records, reader)
    assert not capsys.readouterr().err


def test_no_records(cache, records, reader):
    assert counts(cache.fill(records[:0], reader)) == (0, 0)
    with pytest.raises(ValueError, match="records has no row"):
        cache.stack(records[:0])


def test_maps_of_several_sizes_do_not_stack(tmp_path):
    root = trees.coco(tmp_path / "coco", images=2, size=48)
    records, cache = records_of(root), MapCache(tmp_path / "maps", "physical", "", 0, "stretch")
    cache.fill(records, Reader(root))
    with pytest.raises(ValueError, match=r"map 1 is \(.*\), the first \(.*\); one size wanted"):
        cache.stack(records)


@pytest.mark.parametrize("change", [{"size": 32}, {"fit": "crop"}])
def test_a_reader_of_other_images_is_refused(cache, records, reader, change):
    with pytest.raises(
        ValueError,
        match=r"the reader gives images of size .*; the maps are of size 48, fit stretch",
    ):
        cache.fill(records, replace(reader, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"preset": "fast"},
            f"unknown preset 'fast'; one of {', '.join(map(repr, map_cache.PRESETS))} wanted",
        ),
        ({"propagation": "matting"}, "unknown propagation 'matting'; one of '', 'gaussian'"),
        ({"fit": "pad"}, "unknown fit 'pad'"),
        ({"size": 16}, "size is 16; 0 .as stored. or at least 32 wanted"),
    ],
)
def test_a_cache_checks_its_settings(cache, change, message):
    with pytest.raises(ValueError, match=message):
        replace(cache, **change)


@pytest.mark.slow
def test_a_card_gets_images_of_one_size_in_batches(tmp_path, monkeypatch):
    """`cpu:0` stands in for a card: its maps are those of the processor."""
    path = tmp_path / "images"
    path.mkdir()
    rng, shapes = np.random.default_rng(0), [(40, 48), (40, 48), (33, 32), (40, 48)]
    for number, shape in enumerate(shapes):
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(path / f"{number}.png")
    names = [f"{number}.png" for number in range(len(shapes))]
    digests = [hashlib.sha256((path / name).read_bytes()).hexdigest() for name in names]
    table = pd.DataFrame({"path": names, "digest": digests})
    one, many = (MapCache(tmp_path / name, "learned", "", 0, "stretch") for name in ("one", "many"))
    one.fill(table, Reader(path), n_workers=1, device="cpu")
    seen, whole = [], map_cache.maps_as_cached
    watched = lambda images, *rest: seen.append(tuple(images.shape)) or whole(images, *rest)  # noqa: E731
    monkeypatch.setattr(map_cache, "maps_as_cached", watched)
    counts = many.fill(table, Reader(path), n_workers=2, device="cpu:0")
    assert sorted(seen) == [(1, 3, 33, 32), (3, 3, 40, 48)] and counts["computed"] == 4
    for digest in digests:
        for found, expected in zip(many.load(digest), one.load(digest), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert many._provide_part(Reader(path), "cpu:0", map_cache.rows_of(table)) == (4, 0)


def test_maps_of_edges_stay_on_the_processor(cache, monkeypatch):
    monkeypatch.setattr(map_cache, "here", lambda: "cuda:1")
    assert cache._device("auto") == cache._device("cuda") == "cpu"
    learned_maps = replace(cache, preset="learned")
    assert learned_maps._device("auto") == "cuda:1" and learned_maps._device("cpu") == "cpu"
