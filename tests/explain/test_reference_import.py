"""Files of the authors' code: object arrays, as NumPy of any age writes them; and forgeries."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from defocus_lib.explain import attribution_set, reference_import, shards
from defocus_lib.run.artifacts import Folder

NAMES = ("dmaps", "defocus_shaps", "rgb_shaps")


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(3, 8, 6)).astype(np.float32) for name in NAMES}


def objects(array):
    """A one-dimensional object array of one array per image."""
    made = np.empty(len(array), dtype=object)
    made[:] = list(array)
    return made


def write(path, arrays):
    np.savez(path, **arrays)
    return path


def with_pickle(path, arrays, content):
    """A set whose ``rgb_shaps`` is this pickle, with the header of an object array."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (3,)}
    )
    with zipfile.ZipFile(write(path, {name: arrays[name] for name in NAMES[:2]}), "a") as archive:
        archive.writestr("rgb_shaps.npy", header.getvalue() + content)
    return path


FORMS = {
    "plain numbers": lambda array: array,
    "one array per image": objects,
    "numbers as objects": lambda array: array.astype(object),
    "doubles": lambda array: objects(array.astype(np.float64)),
    "big-endian": lambda array: objects(array.astype(">f4")),
    "a channel of its own": lambda array: objects(array[:, None]),
    "in columns": lambda array: objects([np.asfortranarray(one) for one in array]),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_arrays_come_out_as_they_went_in(arrays, tmp_path, form):
    path = write(tmp_path / "set.npz", {name: form(array) for name, array in arrays.items()})
    found = reference_import.read_reference(path)
    for name, array in arrays.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_protocol_is_read(arrays, tmp_path, protocol):
    content = pickle.dumps(objects(arrays["rgb_shaps"]), protocol)
    path = with_pickle(tmp_path / "set.npz", arrays, content)
    if protocol == 2:  # writes bytes as text, with a codec by name
        with pytest.raises(reference_import.RefusedFile, match=r"it wants _codecs\.encode"):
            reference_import.read_reference(path)
    else:
        np.testing.assert_array_equal(
            reference_import.read_reference(path)["rgb_shaps"], arrays["rgb_shaps"]
        )


def test_files_of_numpy_1_are_read(arrays, tmp_path):
    """NumPy 2 renamed the module that pickles name."""
    content = pickle.dumps(objects(arrays["rgb_shaps"]), 3).replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy.core.multiarray" in content
    found = reference_import.read_reference(with_pickle(tmp_path / "set.npz", arrays, content))
    np.testing.assert_array_equal(found["rgb_shaps"], arrays["rgb_shaps"])


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_in_a_file_is_refused_and_does_not_run(arrays, tmp_path):
    bad = np.empty(3, dtype=object)
    bad[:] = [arrays["rgb_shaps"][0], Malicious(tmp_path / "ran"), arrays["rgb_shaps"][2]]
    path = write(tmp_path / "set.npz", arrays | {"rgb_shaps": bad})
    with pytest.raises(
        reference_import.RefusedFile,
        match=r"set\.npz: it wants _?io.open; nothing but arrays of numbers",
    ):
        reference_import.import_set(path, Folder.create("theirs", tmp_path / "run"), "real")
    assert not (tmp_path / "ran").exists() and not list((tmp_path / "run").rglob("*.npz"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda a: a | {"rgb_shaps": objects([{"a": 1}] * 3)},
            "a dict found; arrays of numbers wanted",
        ),
        (
            lambda a: a | {"rgb_shaps": objects(["text"] * 3)},
            "a str found; arrays of numbers wanted",
        ),
        (
            lambda a: a | {"rgb_shaps": objects([np.array(["x"])] * 3)},
            "values of type 'U1' found; numbers wanted",
        ),
        (
            lambda a: a | {"rgb_shaps": a["rgb_shaps"][:, :5]},
            r"shapes .* found; one shape \(N, H, W\) wanted",
        ),
        (
            lambda a: a | {"rgb_shaps": objects([*a["rgb_shaps"][:2], np.zeros((2, 2))])},
            "not a set of the authors' code",
        ),
        (lambda a: a | {"rgb_shaps": np.full((3, 8, 6), np.nan)}, "NaN or infinity found"),
        (lambda a: {"dmaps": a["dmaps"]}, "no array defocus_shaps; it holds dmaps"),
    ],
    ids=["dict", "text", "text array", "shape", "sizes", "NaN", "missing"],
)
def test_what_is_no_set_is_refused_by_name(arrays, tmp_path, spoil, message):
    path = write(tmp_path / "set.npz", spoil(arrays))
    with pytest.raises(reference_import.RefusedFile, match=rf"set\.npz: .*{message}"):
        reference_import.read_reference(path)


def test_truncated_and_foreign_files_are_refused(arrays, tmp_path):
    path = write(tmp_path / "set.npz", {name: objects(array) for name, array in arrays.items()})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(
        reference_import.RefusedFile, match=r"set\.npz: not a set of the authors' code"
    ):
        reference_import.read_reference(path)
    whole = pickle.dumps(objects(arrays["rgb_shaps"]), 4)
    for content in (whole[: len(whole) // 2], b"", b"\x80\x04."):
        with pytest.raises(reference_import.RefusedFile, match="not a set of the authors' code"):
            reference_import.read_reference(with_pickle(tmp_path / "cut.npz", arrays, content))
    with pytest.raises(FileNotFoundError, match="no file"):
        reference_import.read_reference(tmp_path / "none.npz")


def test_imported_sets_are_paired_by_position_and_replaced(arrays, tmp_path):
    folder = Folder.create("theirs", tmp_path / "run")
    real = write(tmp_path / "real.npz", {name: objects(array) for name, array in arrays.items()})
    fake = write(tmp_path / "fake.npz", {name: objects(-array) for name, array in arrays.items()})
    assert (
        reference_import.import_set(fake, folder, "Deepfakes")
        == reference_import.import_set(real, folder, "real")
        == 3
    )
    assert reference_import.import_set(fake, folder, "Deepfakes") == 3  # again
    found, fakes = attribution_set.open_sets(folder)
    assert list(fakes) == ["Deepfakes"] and fakes["Deepfakes"].ids[1] == "00001/Deepfakes"
    ((part, counterparts),) = fakes["Deepfakes"].paired_shards(found)
    assert counterparts.ids.tolist() == part.pairs.tolist()
    np.testing.assert_array_equal(part.rgb_shaps, -arrays["rgb_shaps"])
    low, high = (getattr(arrays["dmaps"], end)((1, 2), keepdims=True) for end in ("min", "max"))
    np.testing.assert_allclose(
        counterparts.dmaps, (arrays["dmaps"] - low) / (high - low), atol=1e-6
    )
    assert np.isnan(part.rgb_completeness_errors).all() and not part.edges.any()
    assert (shards.verify(tmp_path / "run" / "shapley")["problem"] == "").all()
