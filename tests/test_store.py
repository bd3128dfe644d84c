import json
from dataclasses import replace

import numpy as np
import pytest

from defocus_lib import store
from tests import artefacts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return artefacts.build(tmp_path_factory.mktemp("made"), scenes=3, size=32)


@pytest.fixture
def splice(made):
    return made.load_set("splice")


def test_round_trip(splice, tmp_path):
    again = store.load_set(store.save_set(tmp_path / "set.npz", splice))
    for name in store.SET_ARRAYS:
        before, after = getattr(splice, name), getattr(again, name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    assert again.meta == splice.meta and len(again) == 3


def test_same_content_same_bytes(splice, tmp_path):
    first, second = (store.save_set(tmp_path / name, splice).read_bytes() for name in ("a.npz", "b.npz"))
    assert first == second


def test_plain_numpy_reads_it_without_pickle(made):
    with np.load(made.path / "shapley/splice.npz", allow_pickle=False) as file:
        assert {"ids", "dmaps", "defocus_shaps", "rgb_shaps", "meta"} <= set(file.files)
        assert all(file[name].dtype.kind in "Uufb" for name in file.files)
        assert json.loads(str(file["meta"]))["profile"] == "smoke"


def test_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="array 'ids' has dtype object"):
        store.write_arrays(tmp_path / "a.npz", {"ids": np.array(["a", None], dtype=object)})
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.json"
    store.write_json(path, {"version": 1})

    def fail(beside):
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write_beside(path, fail)
    assert json.loads(path.read_text()) == {"version": 1} and list(tmp_path.iterdir()) == [path]


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


@pytest.mark.parametrize(
    "spoil",
    [
        damaged(lambda content: b""),
        damaged(lambda content: content[: len(content) // 2]),
        damaged(lambda content: content[:2000] + bytes(64) + content[2064:]),
        damaged(lambda content: b"GIF89a" + content),
        foreign,
        pickled,
        single_array,
        bad_meta,
    ],
    ids=["empty", "truncated", "overwritten", "not zip", "foreign", "pickled", "npy", "meta"],
)
def test_a_file_that_is_no_set_is_named(splice, tmp_path, spoil):
    path = store.save_set(tmp_path / "spoilt.npz", splice)
    spoil(path)
    with pytest.raises(ValueError, match=r"spoilt\.npz"):
        store.load_set(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rgb_shaps": np.zeros((3, 32, 31), np.float32)}, r"rgb_shaps has shape \(3, 32, 31\); \(3, 32, 32\) wanted"),
        ({"ids": np.array(["a", "b"])}, r"\(2, 32, 32\) wanted"),
        ({"dmaps": np.full((3, 32, 32), np.nan, np.float32)}, "dmaps holds NaN"),
        ({"defocus_gaps": np.zeros((3, 1), np.float32)}, "defocus_gaps has shape"),
    ],
)
def test_a_set_checks_its_arrays(splice, change, message):
    with pytest.raises(ValueError, match=message):
        replace(splice, **change)


def test_a_file_with_inconsistent_arrays_is_named(splice, tmp_path):
    arrays = {name: getattr(splice, name) for name in store.SET_ARRAYS} | {"edges": np.zeros((1, 32, 32), bool)}
    path = store.write_arrays(tmp_path / "odd.npz", arrays, {})
    with pytest.raises(ValueError, match=r"odd\.npz: edges has shape"):
        store.load_set(path)


def test_pairs_are_matched_by_key(made, splice):
    real = made.load_set("real").take(np.array([2, 0, 1]))
    twins = store.paired(splice.take(np.array([1, 2])), real)
    assert twins.ids.tolist() == ["test-00001/real", "test-00002/real"]


def test_a_missing_pair_is_named(made, splice):
    with pytest.raises(ValueError, match=r"test-00002/splice \(needs test-00002/real\)"):
        store.paired(splice, made.load_set("real").take(np.array([0, 1])))


def test_firsts_and_concatenate(made):
    sets = {name: made.load_set(name) for name in ("splice", "texture")}
    assert store.firsts(sets).ids.tolist() == ["test-00000/splice", "test-00000/texture"]
    assert len(store.concatenate(sets.values())) == 6
    with pytest.raises(ValueError, match="at least one set"):
        store.concatenate([])


def test_versions_of_an_image_are_found_by_its_pair_and_not_by_position(made):
    real, splice, texture = (made.load_set(name) for name in ("real", "splice", "texture"))
    sets = {"real": real, "splice": splice.take(np.array([2, 1])), "texture": texture.take(np.array([1, 0]))}
    assert store.complete_pairs(sets) == ["test-00001/real"]
    found = store.versions(sets, "test-00001/real")
    assert found.ids.tolist() == ["test-00001/real", "test-00001/splice", "test-00001/texture"]
    with pytest.raises(ValueError, match="set 'splice' has no image of pair 'test-00000/real'"):
        store.versions(sets, "test-00000/real")
    alone = {"splice": splice.take(np.array([0])), "texture": texture.take(np.array([1]))}
    with pytest.raises(ValueError, match="no real image has a version in every set of splice, texture"):
        store.complete_pairs(alone)


def test_a_folder_says_what_its_images_are(tmp_path):
    about = store.About("faceforensics", "FaceForensics++", "video", ("pairs",), "/data", 299, "crop", 10)
    assert store.Folder.create("ffpp", tmp_path, about).about == about
    assert store.Folder.open("ffpp", tmp_path).about == about
    assert store.Folder.create("ffpp", tmp_path).about == about  # opening it again changes nothing
    (tmp_path / store.PROVENANCE).write_text('{"profile": "ffpp"}')  # written by hand
    assert store.Folder.open("ffpp", tmp_path).about == store.About()


def test_a_missing_artefact_names_the_notebook(made, tmp_path):
    with pytest.raises(store.MissingArtifact, match=r"provenance\.json is missing: run notebook 01_data"):
        store.Folder.open("smoke", tmp_path / "none")
    with pytest.raises(store.MissingArtifact, match=r"shapley/none\.npz is missing: run notebook 04_save_shapley"):
        made.load_set("none")
    with pytest.raises(store.MissingArtifact, match="run notebook 03_train_detector with profile 'smoke' first"):
        made.require("metrics.csv", made_by="03_train_detector")


def test_the_folder_of_another_profile_is_refused(made):
    for door in (store.Folder.open, store.Folder.create):
        with pytest.raises(ValueError, match="belongs to profile 'smoke', not to 'demo'"):
            door("demo", made.path)


def test_a_set_of_another_profile_is_refused(splice, tmp_path):
    folder = store.Folder.create("demo", tmp_path)
    store.save_set(tmp_path / "shapley/splice.npz", splice)
    with pytest.raises(ValueError, match=r"splice\.npz belongs to profile 'smoke', not to 'demo'"):
        folder.load_set("splice")


def test_damaged_provenance_is_named(tmp_path):
    (tmp_path / store.PROVENANCE).write_text("{")
    with pytest.raises(ValueError, match=r"provenance\.json"):
        store.Folder.open("smoke", tmp_path)


def test_a_folder_can_be_made_again(tmp_path):
    assert store.Folder.create("demo", tmp_path / "new") == store.Folder.create("demo", tmp_path / "new")


def test_project_root_is_found_from_below(tmp_path):
    (tmp_path / store.MANIFEST).touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert store.project_root(below) == tmp_path.resolve()


def test_small_folder_is_the_same_every_time(made, tmp_path):
    again = artefacts.build(tmp_path, scenes=3, size=32)
    for path in sorted(made.path.rglob("*.npz")):
        assert path.read_bytes() == (again.path / path.relative_to(made.path)).read_bytes(), path.name
