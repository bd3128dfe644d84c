import numpy as np
import pytest
from scipy import ndimage

from defocus_lib.maps.kernels.filters import (
    _energy,
    box_means,
    gradient,
    gradient_energy,
    half_grid,
    padded,
)
from tests.reference import defocus as literal


def plane(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize("reflect", [False, True])
def test_padding_is_numpys(reflect):
    expected = np.pad(plane(9, 12), 5, mode="reflect" if reflect else "constant")
    np.testing.assert_array_equal(padded(plane(9, 12), 5, reflect), expected)


@pytest.mark.parametrize("scale", [1.5, 2.0, 2.5])
def test_gradients_are_the_literal_ones(scale):
    grey = plane(35, 47)
    result = gradient_energy(padded(grey, 7, False), 7, scale, 5)
    np.testing.assert_allclose(
        np.sqrt(result), literal.magnitude(grey.astype(float), scale), atol=1e-6
    )


@pytest.mark.parametrize("scale", [1.0, 2.25])
def test_gradients_of_long_kernels_are_scipys(scale):
    grey = plane(40, 33)
    kernels = {"sigma": scale, "mode": "mirror", "radius": round(4 * scale)}
    slopes = [
        ndimage.gaussian_filter(grey.astype(float), order=order, **kernels)
        for order in ((0, 1), (1, 0))
    ]
    result = gradient_energy(padded(grey, 9, True), 9, scale, round(4 * scale))
    np.testing.assert_allclose(np.sqrt(result), np.hypot(*slopes), rtol=2e-3, atol=1e-4)


def test_gradients_are_scipys_and_their_squares_the_energy():
    grey = plane(40, 33)
    around = padded(grey, 6, True)
    result = gradient(around, 6, 1.5, 6)
    np.testing.assert_array_equal(result.energy, gradient_energy(around, 6, 1.5, 6))
    np.testing.assert_allclose(result.gy**2 + result.gx**2, result.energy, rtol=1e-5)
    for slope, order in ((result.gy, (1, 0)), (result.gx, (0, 1))):
        expected = ndimage.gaussian_filter(
            grey.astype(float), 1.5, order=order, mode="mirror", radius=6
        )
        np.testing.assert_allclose(slope, expected, rtol=2e-3, atol=1e-4)


def test_kernels_of_different_radius_have_different_names():
    assert _energy(4).py_func.__qualname__ != _energy(5).py_func.__qualname__


@pytest.mark.parametrize("radius", [1, 3, 7, 20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_box_means_are_the_literal_ones(radius, dtype):
    planes = np.stack([plane(35, 41, seed=seed) for seed in (1, 2)]).astype(dtype)
    result = box_means(planes, radius)
    assert result.dtype == dtype
    for mean, single in zip(result, planes.astype(float), strict=True):
        np.testing.assert_allclose(
            mean, literal.box_mean(single, radius), atol=1e-6 if dtype == np.float32 else 1e-12
        )


def test_box_means_by_hand():
    planes = np.array([[[0.0, 3.0, 6.0], [9.0, 12.0, 15.0]]])
    np.testing.assert_allclose(box_means(planes, 1), [[[6, 7.5, 9], [6, 7.5, 9]]])


# The half grid


def grid(grey, scale=1.5, half_margin=4):
    margin = 2 * half_margin + 9
    return half_grid(padded(grey, margin, True), margin, scale, 6, half_margin)


def test_on_odd_sides_the_half_grid_is_every_second_pixel():
    grey = plane(61, 75)
    result = grid(grey)
    assert result.shape == (33 + 8, 40 + 8)
    # Differences of neighbours are slopes per px: the plane is halved.
    expected = (
        ndimage.gaussian_filter(grey.astype(float), 1.5, mode="mirror", radius=6)[::2, ::2] / 2
    )
    np.testing.assert_allclose(result[5:-5, 5:-5], expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(60, 75), (61, 74), (60, 60)])
def test_a_flipped_plane_has_the_flipped_half_grid(shape):
    grey = plane(*shape)
    before, after = grid(grey), grid(grey[::-1, ::-1].copy())
    np.testing.assert_allclose(after[::-1, ::-1], before, atol=1e-6)


@pytest.mark.parametrize("shape", [(61, 75), (60, 74)])
def test_coarse_gradients_on_the_half_grid_are_those_of_the_plane(shape):
    grey = ndimage.gaussian_filter(plane(*shape), 1.5)
    scale = np.sqrt(1.5**2 + 4 * 2.0**2)
    coarse = gradient_energy(grid(grey, half_margin=9), 9, 2.0, 8)[1:-1, 1:-1]
    full = gradient_energy(padded(grey, 18, True), 18, scale, 18)
    if shape[0] % 2:
        full = full[::2, ::2]
    else:  # midway between four pixels
        full = (full[::2, ::2] + full[1::2, ::2] + full[::2, 1::2] + full[1::2, 1::2]) / 4
    np.testing.assert_allclose(coarse, full, atol=0.05 * full.max())
