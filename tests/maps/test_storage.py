import gzip
import io

import numpy as np
import pytest
from safetensors.numpy import load

from defocus_lib.maps.storage import SUFFIX, about_map, half_precision, read_map, write_map


@pytest.fixture
def random_map():
    """Sigma of all magnitudes in px, an odd number of columns, and its edges."""
    rng = np.random.default_rng(0)
    dense = (10 ** rng.uniform(-9, 1.5, (24, 37)) * rng.choice([-1, 1], (24, 37))).astype("f4")
    dense[0, :4] = 0, 6, 4.001, 65504
    return dense, rng.random((24, 37)) < 0.3


def test_what_is_read_is_half_precision(random_map, tmp_path):
    dense, edges = random_map
    path = write_map(tmp_path / f"map{SUFFIX}", {"dense": dense}, edges, {})
    stored = read_map(path, ["dense", "edges"])
    assert stored["dense"].dtype == np.float32 and stored["edges"].dtype == bool
    np.testing.assert_array_equal(stored["edges"], edges)
    np.testing.assert_array_equal(stored["dense"], dense.astype(np.float16))
    error = np.abs(stored["dense"].astype(float) - dense)
    assert (error <= np.maximum(2.0**-11 * np.abs(dense), 2.0**-25)).all()
    assert error[np.abs(dense) < 8].max() <= 0.002
    np.testing.assert_array_equal(half_precision(stored["dense"]), stored["dense"])


def test_planes_by_hand(tmp_path):
    """Pixels whose halves have the bits 3C00, 3C01 (1 and the next), and below 0 and 4000 (2)."""
    dense = np.array([[1, 1 + 2**-10], [0, 2]], np.float32)
    edges = np.array([[True, False], [False, True]])
    path = write_map(tmp_path / "map", {"dense": dense}, edges, {"size": 2})
    arrays = load(gzip.decompress(path.read_bytes()))
    # Along a row: 3C00 0001, 0000 4000; from row to row: C400 (-3C00), 3FFF; then 2n, or -2n - 1.
    expected = np.array([[0x7800, 0x0002], [0x77FF, 0x7FFE]])
    high, low = arrays["dense"].astype(int)
    np.testing.assert_array_equal(256 * high + low, expected)
    np.testing.assert_array_equal(arrays["edges"], [[0b10000000], [0b01000000]])
    np.testing.assert_array_equal(read_map(path, ["dense"])["dense"], dense)
    assert about_map(path) == {"size": 2}


def test_valid_edges_are_kept(random_map, tmp_path):
    dense, edges = random_map
    valid = edges & (dense > 1)
    assert 0 < valid.sum() < edges.sum()
    path = write_map(tmp_path / "map", {"dense": dense}, edges, {}, valid)
    stored = read_map(path, ["edges", "valid"])
    np.testing.assert_array_equal(stored["valid"], valid)
    np.testing.assert_array_equal(stored["edges"], edges)
    path = write_map(tmp_path / "all", {"dense": dense}, edges, {})
    np.testing.assert_array_equal(read_map(path, ["valid"])["valid"], edges)


def test_a_smooth_map_takes_a_fifth(tmp_path):
    y, x = np.mgrid[:128, :128] / 128
    dense = (2 + np.sin(3 * x) * np.cos(5 * y)).astype(np.float32)
    path = write_map(tmp_path / "map", {"dense": dense}, np.zeros((128, 128), bool), {})
    plain = io.BytesIO()
    np.savez_compressed(plain, dense=dense)
    assert path.stat().st_size < len(plain.getvalue()) / 5


def test_same_map_same_bytes(random_map, tmp_path):
    about = {"preset": "physical", "size": 0, "fit": "stretch", "image": "0" * 64}
    written = [
        write_map(
            tmp_path / name, {"dense": random_map[0], "more": random_map[0]}, random_map[1], how
        )
        for name, how in {"a": about, "b": dict(reversed(about.items()))}.items()
    ]
    assert written[0].read_bytes() == written[1].read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, 65520])
def test_what_no_half_can_hold_is_refused(random_map, tmp_path, value):
    dense, edges = random_map
    dense[3, 5] = value
    with pytest.raises(ValueError, match="map: dense is not finite in half precision"):
        write_map(tmp_path / "map", {"dense": dense}, edges, {})
    assert not list(tmp_path.iterdir())


def test_a_plane_that_is_not_there(random_map, tmp_path):
    path = write_map(tmp_path / "map", {"dense": random_map[0]}, random_map[1], {})
    with pytest.raises(
        ValueError, match=r"map: not a readable map \(no 'uncertainty'\); delete it"
    ):
        read_map(path, ["uncertainty"])
    with pytest.raises(FileNotFoundError):
        read_map(tmp_path / "none", ["dense"])
