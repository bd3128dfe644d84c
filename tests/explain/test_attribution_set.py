from dataclasses import replace

import numpy as np
import pytest

from defocus_lib.explain import attribution_set
from tests import artefacts


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    made = artefacts.build(tmp_path_factory.mktemp("made"), scenes=3, size=32)
    return {name: artefacts.load(made, name) for name in ("real", "splice", "texture")}


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
