import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from defocus_lib.explain import attribution_set, shards
from defocus_lib.explain.attribution_set import AttributionSet
from defocus_lib.explain.shards import ARRAYS
from defocus_lib.run import artifacts
from tests import artefacts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Seven images per set, in shards of five and two."""
    return artefacts.build(tmp_path_factory.mktemp("made"), scenes=7, size=32)


@pytest.fixture
def folder(made, tmp_path):
    """The same, to be disturbed."""
    shutil.copytree(made.path, tmp_path / "run")
    return artifacts.Folder.open("smoke", tmp_path / "run")


@pytest.fixture(scope="module")
def splice(made):
    return artefacts.load(made, "splice")


def root_of(folder):
    return folder.path / shards.ROOT


# One file


def test_round_trip(splice, tmp_path):
    again = AttributionSet.load(splice.save(tmp_path / "set.npz"))
    for name in ARRAYS:
        before, after = getattr(splice, name), getattr(again, name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    assert again.meta == splice.meta and len(again) == 7


def test_same_content_same_bytes(splice, tmp_path):
    first, second = (splice.save(tmp_path / name).read_bytes() for name in ("a.npz", "b.npz"))
    assert first == second


def test_plain_numpy_reads_it_without_pickle(made):
    with np.load(root_of(made) / "splice" / "shard-00000.npz", allow_pickle=False) as file:
        assert {"ids", "dmaps", "defocus_shaps", "rgb_shaps", "meta"} <= set(file.files)
        assert all(file[name].dtype.kind in "Uufb" for name in file.files)
        assert json.loads(str(file["meta"]))["profile"] == "smoke"


def test_half_precision_loses_no_more_than_it_says(splice, tmp_path):
    """Also where a few large values stand among many tiny ones, and in an image without any."""
    values = np.random.default_rng(0).normal(size=splice.dmaps.shape).astype(np.float32) ** 9 * 1e-6
    values[3] = 0
    half = replace(splice, defocus_shaps=values).save(tmp_path / "half.npz", "float16")
    full = replace(splice, defocus_shaps=values).save(tmp_path / "full.npz")
    found = AttributionSet.load(half)
    assert found.defocus_shaps.dtype == found.dmaps.dtype == np.float32
    error, largest = np.abs(found.defocus_shaps - values), np.abs(values).max((1, 2), keepdims=True)
    assert error.max() > 0 and (error <= 1.001 * 2.0**-12 * largest).all()
    visible = np.abs(values) > 6.2e-5 * largest
    assert (
        error[visible] <= 1.001 * 2.0**-11 * np.abs(values[visible])
    ).all() and visible.sum() > 100
    assert np.abs(found.dmaps - splice.dmaps).max() <= 2.0**-12 and not found.defocus_shaps[3].any()
    assert half.stat().st_size < 0.7 * full.stat().st_size
    assert shards.verified_meta(half) == splice.meta
    only = AttributionSet.load(half, "rgb_shaps")
    np.testing.assert_array_equal(only.rgb_shaps, found.rgb_shaps)
    assert only.dmaps is None


def damaged(content):
    return lambda path: path.write_bytes(content(path.read_bytes()))


def foreign(path):
    np.savez(path, dmaps=np.zeros(3))


def pickled(path):
    np.savez(path, ids=np.array([{}], dtype=object), meta=np.array("{}"))


def single_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def bad_meta(path):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **(arrays | {"meta": np.array("not JSON")}))


SPOILT = {
    "empty": damaged(lambda content: b""),
    "truncated": damaged(lambda content: content[: len(content) // 2]),
    "overwritten": damaged(lambda content: content[:2000] + bytes(64) + content[2064:]),
    "not zip": damaged(lambda content: b"GIF89a" + content),
    "foreign": foreign,
    "pickled": pickled,
    "npy": single_array,
    "meta": bad_meta,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_file_that_is_no_set_is_named(splice, tmp_path, spoil):
    path = splice.save(tmp_path / "spoilt.npz")
    spoil(path)
    with pytest.raises(ValueError, match=r"spoilt\.npz"):
        AttributionSet.load(path)


def test_a_file_with_inconsistent_arrays_is_named(splice, tmp_path):
    arrays = {name: getattr(splice, name) for name in ARRAYS} | {
        "edges": np.zeros((1, 32, 32), bool)
    }
    path = artifacts.write_arrays(tmp_path / "odd.npz", arrays, {})
    with pytest.raises(ValueError, match=r"odd\.npz: edges has shape"):
        AttributionSet.load(path)


def test_arrays_that_are_not_those_that_were_written_are_found(splice, tmp_path):
    with np.load(splice.save(tmp_path / "set.npz")) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["dmaps"][2, 5, 5] += 1e-6
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(ValueError, match="its arrays are not those that were written"):
        shards.verified_meta(tmp_path / "set.npz")


@pytest.mark.parametrize(
    ("change", "storage", "message"),
    [
        ({"edges": None}, "float32", "the set lacks edges"),
        ({}, "float8", "unknown storage 'float8'"),
    ],
)
def test_what_can_not_be_saved_is_refused(splice, tmp_path, change, storage, message):
    with pytest.raises(ValueError, match=message):
        replace(splice, **change).save(tmp_path / "set.npz", storage)
    assert not list(tmp_path.iterdir())


# The index


def test_the_index_has_one_row_per_image(made):
    index = pd.read_parquet(root_of(made) / "index.parquet")
    assert list(index.columns) == shards.COLUMNS
    assert len(index) == 35 and index["id"].is_unique and index["content"].is_unique
    assert index["checksum"].nunique() == 10
    row = index.set_index("id").loc["test-00006/splice"]
    assert (row["label"], row["manipulation"], row["video"], row["shard"], row["row"]) == (
        1,
        "splice",
        "test-00006",
        1,
        1,
    )
    assert (
        row["defocus_completeness_error"]
        == artefacts.load(made, "splice").defocus_completeness_errors[6]
    )
    assert (index.query("manipulation == 'real'")["label"] == 0).all()


def test_a_content_hash_speaks_for_its_image_alone(made, splice, tmp_path):
    """The same image has the same hash in any shard; another value, id or storage gives another."""
    index = shards.read_index(root_of(made)).set_index("id")["content"]

    def contents(values, storage="float32"):
        with np.load(values.save(tmp_path / "one.npz", storage)) as file:
            return file["contents"].tolist()

    rows = [6, 1]
    assert contents(splice.take(rows)) == index[splice.ids[rows]].tolist()
    changed = splice.take([1])
    changed.rgb_shaps[0, 0, 0] += 1
    renamed = replace(splice.take([1]), ids=np.array(["other"]))
    assert len({contents(part)[0] for part in (splice.take([1]), changed, renamed)}) == 3
    assert contents(splice.take([1]), "float16") != contents(splice.take([1]))


def test_a_damaged_index_is_named(folder):
    (root_of(folder) / "index.parquet").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"index\.parquet: not an index of shards"):
        attribution_set.open_set(folder, "splice")


# Damage


def remove(path):
    path.unlink()


@pytest.mark.parametrize("spoil", [*SPOILT.values(), remove], ids=[*SPOILT, "missing"])
def test_a_damaged_shard_is_named_before_it_is_used(folder, spoil):
    path = root_of(folder) / "splice" / "shard-00001.npz"
    spoil(path)
    stored = attribution_set.open_set(folder, "splice")
    assert len(stored.take(np.array([0, 4]))) == 2, "the other shard is whole"
    with pytest.raises(
        attribution_set.DamagedShard,
        match=r"splice/shard-00001\.npz is damaged: .* Run notebook 04_save_shapley",
    ):
        list(stored.shards("dmaps"))
    with pytest.raises(attribution_set.DamagedShard, match=r"shard-00001\.npz"):
        stored.take(np.array([5]))
    assert shards.damaged(root_of(folder)) == [path]
    report = shards.verify(root_of(folder)).set_index("file")["problem"]
    assert report["splice/shard-00001.npz"] and (report.drop("splice/shard-00001.npz") == "").all()


def test_one_changed_bit_is_damage(folder):
    path = root_of(folder) / "real" / "shard-00000.npz"
    content = bytearray(path.read_bytes())
    content[10] ^= 1  # a time stamp of the archive: no array is touched
    path.write_bytes(content)
    assert shards.damaged(root_of(folder)) == [path]


def test_verify_tells_what_is_there(made, folder):
    report = shards.verify(root_of(made))
    assert len(report) == 10 and report["images"].sum() == 35 and (report["problem"] == "").all()
    assert not shards.damaged(root_of(made))
    (root_of(folder) / "index.parquet").unlink()
    report = shards.verify(root_of(folder))
    assert set(report["problem"]) == {shards.UNLISTED} and report["images"].sum() == 35
    with pytest.raises(FileNotFoundError, match="no set of Shapley values here"):
        shards.verify(folder.path / "elsewhere")


def test_small_folder_is_the_same_every_time(made, tmp_path):
    folder = artefacts.build(tmp_path, scenes=7, size=32)
    paths = [path for path in sorted(made.path.rglob("*")) if path.suffix in (".npz", ".parquet")]
    assert len(paths) == 12
    for path in paths:
        assert path.read_bytes() == (folder.path / path.relative_to(made.path)).read_bytes(), (
            path.name
        )


# One writer


HOLD = """
import sys, time
from pathlib import Path
from defocus_lib.explain import shards
with shards.only_writer(Path(sys.argv[1])):
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_turned_away_until_the_first_one_is_gone(tmp_path):
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout.readline() == "writing\n"
        left = tmp_path / "real" / ".shard-00003.0123456789ab.npz"
        left.parent.mkdir()
        left.touch()
        with (
            pytest.raises(shards.StoreBusy, match="another run is writing here"),
            shards.only_writer(tmp_path),
        ):
            pass
        assert left.exists()
    finally:
        first.kill()  # as hard as it gets: the lock goes with the process
        first.wait()
    with shards.only_writer(tmp_path):
        assert not left.exists()


def test_an_own_set_needs_no_map_arrays_that_nobody_asks_for():
    """Keys are enough to match images; a set that is to be saved needs all arrays."""
    assert len(AttributionSet(ids=np.array(["a"]), pairs=np.array(["a"]))) == 1
