from dataclasses import replace

import numpy as np
import pytest

from defocus_lib.explain import attribution_set, shards
from defocus_lib.explain.shards import ARRAYS
from defocus_lib.run import artifacts
from tests import artefacts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Seven images per set, in shards of five and two."""
    return artefacts.build(tmp_path_factory.mktemp("made"), scenes=7, size=32)


@pytest.fixture(scope="module")
def sets(made):
    """The first three images of three sets, in memory."""
    names = ("real", "splice", "texture")
    return {name: attribution_set.open_set(made, name).take([0, 1, 2]) for name in names}


@pytest.fixture(scope="module")
def splice(made):
    return artefacts.load(made, "splice")


# In memory


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rgb_shaps": np.zeros((3, 32, 31), np.float32)},
            r"rgb_shaps has shape \(3, 32, 31\); \(3, 32, 32\) wanted",
        ),
        (
            {"images": np.zeros((3, 32, 32), np.uint8)},
            r"images has shape \(3, 32, 32\); \(3, 32, 32, 3\) wanted",
        ),
        ({"ids": np.array(["a", "b"])}, r"pairs has shape \(3,\); \(2,\) wanted"),
        ({"pairs": np.array(["a", "b"])}, r"pairs has shape \(2,\); \(3,\) wanted"),
        ({"dmaps": np.full((3, 32, 32), np.nan, np.float32)}, "dmaps holds NaN"),
        (
            {"defocus_completeness_errors": np.zeros((3, 1), np.float32)},
            "defocus_completeness_errors has shape",
        ),
    ],
)
def test_a_set_checks_its_arrays(sets, change, message):
    with pytest.raises(ValueError, match=message):
        replace(sets["splice"], **change)


def test_rows_and_arrays_are_taken(sets):
    splice = sets["splice"]
    some = splice.take(np.array([2, 0]), "dmaps")
    assert some.ids.tolist() == ["test-00002/splice", "test-00000/splice"]
    np.testing.assert_array_equal(some.dmaps, splice.dmaps[[2, 0]])
    assert some.images is None and some.rgb_completeness_errors is None and some.meta == splice.meta
    assert splice.take([1]).images.shape == (1, 32, 32, 3)


def test_groups_are_those_of_the_pairs(sets):
    assert sets["splice"].groups.tolist() == ["test-00000", "test-00001", "test-00002"]


def test_pairs_are_matched_by_key(sets):
    real = sets["real"].take(np.array([2, 0, 1]))
    counterparts = sets["splice"].take(np.array([1, 2])).paired_real(real)
    assert counterparts.ids.tolist() == ["test-00001/real", "test-00002/real"]


def test_a_missing_pair_is_named(sets):
    with pytest.raises(ValueError, match=r"test-00002/splice \(needs test-00002/real\)"):
        sets["splice"].paired_real(sets["real"].take(np.array([0, 1])))


def test_sets_are_concatenated(sets):
    some = {name: sets[name] for name in ("splice", "texture")}
    both = attribution_set.concatenate(some.values())
    assert both.ids[[0, 3]].tolist() == ["test-00000/splice", "test-00000/texture"]
    assert len(both) == 6 and both.dmaps.shape == (6, 32, 32)
    with pytest.raises(ValueError, match="at least one set"):
        attribution_set.concatenate([])
    with pytest.raises(ValueError, match="images of these sets has sizes"):
        attribution_set.concatenate([both, both.take([0], "dmaps")])


def test_versions_of_an_image_are_found_by_its_pair_and_not_by_position(sets):
    found = {
        "real": sets["real"],
        "splice": sets["splice"].take(np.array([2, 1])),
        "texture": sets["texture"].take(np.array([1, 0])),
    }
    assert attribution_set.complete_pairs(found) == ["test-00001/real"]
    chosen = attribution_set.versions(found, "test-00001/real")
    assert chosen.ids.tolist() == ["test-00001/real", "test-00001/splice", "test-00001/texture"]
    with pytest.raises(ValueError, match="set 'splice' has no image of pair 'test-00000/real'"):
        attribution_set.versions(found, "test-00000/real")
    alone = {
        name: sets[name].take(np.array([row])) for row, name in enumerate(("splice", "texture"))
    }
    with pytest.raises(
        ValueError, match="no real image has a version in every set of splice, texture"
    ):
        attribution_set.complete_pairs(alone)


# On disk


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


def test_pairs_are_found_across_shards_that_are_cut_elsewhere(made, tmp_path):
    folder = artifacts.Folder.create("smoke", tmp_path)
    sets = {name: artefacts.load(made, name) for name in ("real", "splice")}
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


def test_a_missing_set_names_the_notebook(made):
    with pytest.raises(
        artifacts.MissingArtifact, match=r"shapley/none is missing .*: run notebook 04_save_shapley"
    ):
        attribution_set.open_set(made, "none")


def test_a_set_of_another_profile_is_refused(splice, tmp_path):
    folder = artifacts.Folder.create("demo", tmp_path)
    splice.save(tmp_path / "shapley/splice.npz")
    with pytest.raises(ValueError, match=r"splice\.npz belongs to profile 'smoke', not to 'demo'"):
        attribution_set.open_set(folder, "splice")
