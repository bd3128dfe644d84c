import numpy as np
import pytest

from defocus_lib.explain import attribution_set, shards
from defocus_lib.explain.shards import ARRAYS
from defocus_lib.run import artifacts
from tests import artefacts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Seven images a set, in shards of five and two."""
    return artefacts.build(tmp_path_factory.mktemp("made"), scenes=7, size=32)


@pytest.fixture
def splice(made):
    return artefacts.load(made, "splice")


def test_shards_come_one_after_the_other(made, splice):
    stored = attribution_set.open_set(made, "splice")
    parts = list(stored.shards("dmaps"))
    assert [len(part) for part in parts] == [5, 2] and len(stored) == 7
    np.testing.assert_array_equal(np.concatenate([part.dmaps for part in parts]), splice.dmaps)
    assert parts[0].images is None and stored.ids.tolist() == splice.ids.tolist()
    assert stored.meta["manipulation"] == "splice"
    assert [len(part) for part in stored.head(6).shards()] == [5, 1]


@pytest.mark.parametrize("rows", [[0], [6, 0, 5, 1], [4, 4]])
def test_images_are_fetched_by_row_in_any_order(made, splice, rows):
    taken = attribution_set.open_set(made, "splice").take(np.array(rows))
    assert taken.ids.tolist() == splice.ids[rows].tolist()
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(taken, name), getattr(splice, name)[rows])


def test_pairs_come_shard_by_shard(made):
    real, fakes = attribution_set.open_sets(made)
    assert list(fakes) == list(artefacts.MANIPULATIONS)
    for fake, counterparts in fakes["texture"].paired_shards(real, "dmaps"):
        assert (
            counterparts.ids.tolist() == fake.pairs.tolist()
            and counterparts.dmaps.shape == fake.dmaps.shape
        )


def test_pairs_are_found_across_shards_that_are_cut_elsewhere(tmp_path):
    folder = artefacts.build(tmp_path, scenes=7, size=32)
    sets = {name: artefacts.load(folder, name) for name in ("real", "splice")}
    sets["real"] = sets["real"].take(np.array([3, 6, 0, 5, 1, 4, 2]))
    artefacts.save_shards(folder.path / shards.ROOT, sets, images=3)
    real, fake = (attribution_set.open_set(folder, name) for name in sets)
    pairs = [
        (f.pairs.tolist(), r.ids.tolist(), r.dmaps) for f, r in fake.paired_shards(real, "dmaps")
    ]
    assert all(wanted == found for wanted, found, _ in pairs) and len(pairs) == 3
    order = [sets["real"].ids.tolist().index(name) for name in sets["splice"].pairs]
    np.testing.assert_array_equal(
        np.concatenate([maps for *_, maps in pairs]), sets["real"].dmaps[order]
    )


def test_a_single_file_is_read_like_shards(made, splice, tmp_path):
    folder = artifacts.Folder.create("smoke", tmp_path)
    arrays = {name: getattr(splice, name) for name in ARRAYS}
    artifacts.write_arrays(
        tmp_path / "shapley" / "splice.npz", arrays, splice.meta
    )  # as they were before there were shards
    single, sharded = (attribution_set.open_set(one, "splice") for one in (folder, made))
    assert (
        single.ids.tolist() == sharded.ids.tolist()
        and single.groups.tolist() == sharded.groups.tolist()
    )
    np.testing.assert_array_equal(single.take(np.array([6, 0])).rgb_shaps, splice.rgb_shaps[[6, 0]])
    assert [len(part) for part in single.shards()] == [7]
    for path in (tmp_path / "shapley", tmp_path / "shapley" / "splice.npz"):
        assert shards.verify(path).to_dict("records") == [
            {"file": "splice.npz", "images": 7, "problem": ""}
        ]


def test_a_missing_set_names_the_notebook(made, tmp_path):
    with pytest.raises(
        artifacts.MissingArtifact, match=r"shapley/none is missing .*: run notebook 04_save_shapley"
    ):
        attribution_set.open_set(made, "none")


def test_a_set_of_another_profile_is_refused(splice, tmp_path):
    folder = artifacts.Folder.create("demo", tmp_path)
    splice.save(tmp_path / "shapley/splice.npz")
    with pytest.raises(ValueError, match=r"splice\.npz belongs to profile 'smoke', not to 'demo'"):
        attribution_set.open_set(folder, "splice")
