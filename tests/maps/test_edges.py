import numpy as np
import pytest
from skimage.feature import canny as skimage_canny

from defocus_lib.data import manifest
from defocus_lib.maps.edges import canny, ridges

SIGMAS = (1.0, 1.5)
# scikit-image's, the lowest that the physical preset asks for, and one between.
THRESHOLDS = (0.2, 0.1, 0.137)


def assert_identical(grey):
    for sigma in SIGMAS:
        for high in THRESHOLDS:
            expected = skimage_canny(grey, sigma, high / 2, high)
            np.testing.assert_array_equal(canny(grey, sigma, high / 2, high), expected)


@pytest.mark.parametrize("name", [entry.name for entry in manifest.load_manifest().photographs])
def test_edges_of_photographs_are_those_of_scikit_image(photograph, name):
    grey = photograph(name, 299).mean(axis=0)
    assert_identical(grey)
    assert_identical(np.clip(2 * grey - 1, 0, 1))


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (64, 35), (101, 40)])
def test_edges_of_noise_are_those_of_scikit_image(shape):
    rng = np.random.default_rng(shape[1])
    for contrast in (1.0, 0.3):
        assert_identical(0.2 + np.float32(contrast * 0.8) * rng.random(shape, dtype=np.float32))


@pytest.mark.parametrize("size", [32, 41])
def test_ties_fall_as_in_scikit_image(size):
    y, x = np.indices((size, size))
    for side in (
        x,
        y,
        x + y - size // 2,
        x - y + size // 2,
        np.abs(x - size // 2) + 9,
        np.maximum(x, y),
    ):
        for grey in (side > size // 2, side % 7 / 6, (side // 4) % 2):
            assert_identical(grey.astype(np.float32) * np.float32(0.6) + np.float32(0.2))


@pytest.mark.parametrize("value", [0.0, 0.3333, 1.0])
def test_a_constant_has_no_edges(value):
    grey = np.full((40, 33), value, dtype=np.float32)
    assert_identical(grey)
    assert not canny(grey, 1.5, 0.1, 0.2)[2:-2, 2:-2].any()


@pytest.mark.parametrize("angle", [0, 30, 45, 90])
def test_ridges_of_a_known_gradient_lie_on_the_edge(angle):
    turn = np.radians(angle)
    y, x = np.indices((41, 41), dtype=np.float32) - 20
    away = np.cos(turn) * x + np.sin(turn) * y
    magnitude = np.exp(-(away**2) / 8).astype(np.float32)
    gradient = [(part * magnitude).astype(np.float32) for part in (np.sin(turn), np.cos(turn))]
    ridge_pixels = ridges(*gradient, magnitude, 0.5, 0.9)
    assert ridge_pixels[1:-1, 1:-1].sum() >= 39 and np.abs(away[ridge_pixels]).max() <= 0.75
    assert not ridge_pixels[[0, -1]].any() and not ridge_pixels[:, [0, -1]].any()
    assert not ridges(*gradient, magnitude, 0.5, 1.1).any()


def test_a_faint_edge_counts_where_a_strong_one_continues_it():
    grey = np.full((60, 60), 0.4, dtype=np.float32)
    grey[:, 30:] += np.linspace(0.3, 0.1, 60, dtype=np.float32)[:, None]
    assert canny(grey, 1.0, 0.2, 0.4)[5:55].any(axis=1).all()
    assert not canny(grey[48:], 1.0, 0.2, 0.4).any()
