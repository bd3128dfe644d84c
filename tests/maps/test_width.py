import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import canny as skimage_canny

from defocus_lib import defocus_maps
from defocus_lib.maps import width


def test_the_curvature_of_a_step_by_its_definition():
    sigma, turn, away = 2.0, np.radians(30), np.indices((9, 9)) - 4
    across, along = (
        np.cos(turn) * away[1] + np.sin(turn) * away[0] - 0.3,
        -np.sin(turn) * away[1] + np.cos(turn) * away[0],
    )
    energy = np.exp(-(across**2) / sigma**2 - along**2 / 50).astype(np.float32)
    gy, gx = np.sin(turn) * np.sqrt(energy), np.cos(turn) * np.sqrt(energy)
    point = np.array([4 * 9 + 4])
    curvatures, energy_there = width._curvatures(point, np.log(energy), gy, gx, energy)
    # The ridge lies 0.3 px away: there the slope across is 0.6 / sigma^2.
    np.testing.assert_allclose(
        curvatures[:, 0], [-2 / sigma**2, -2 / 50, (0.6 / sigma**2) ** 2], rtol=1e-4
    )
    assert energy_there[0] == energy[4, 4]


@pytest.mark.parametrize(("scale", "step"), [(0.7, 1), (1.4, 1), (2.8, 2)])
def test_the_error_that_noise_makes_is_that_of_a_simulation(scale, step):
    # A ramp of slope 1 has no curvature: all of it comes from the noise. The pixel grid is coarse
    # for a scale of 0.7.
    noise, rng, margin = 0.01, np.random.default_rng(0), 12
    plane = np.arange(224.0) + rng.normal(0, noise, (224, 224))
    slope = ndimage.gaussian_filter(plane, scale, order=(0, 1))[margin:-margin, margin:-margin]
    heights = np.log(slope**2)
    curvature = heights[:, 2 * step :] + heights[:, : -2 * step] - 2 * heights[:, step:-step]
    assert curvature.std() == pytest.approx(
        width.curvature_error(noise, scale, step), rel=0.2 if scale < 1 else 0.05
    )


def blank(size):
    return width.Readings(
        np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, bool)
    )


def test_sigma_and_its_error_by_their_definition():
    sigmas, scale, offset = np.array([0.3, 1.0, 2.0, 4.0]), 1.4, 0.3
    energies = np.full(4, 0.02**2, np.float32)
    curvatures = np.zeros((3, 4), np.float32)
    curvatures[0] = -2 / (sigmas**2 + scale**2)
    moved = np.sqrt(-2 / (curvatures[0] + 1e-5) - scale**2)
    errors = (moved - np.sqrt(-2 / curvatures[0].astype(float) - scale**2)) / 1e-5 / 0.02
    for limit, count in ((errors[:3].max() * 1.02, 3), (np.inf, 4)):
        readings = sparse, weights, valid = blank(5)
        left_open = width._read(
            np.arange(4),
            curvatures,
            energies,
            width.Scale(scale, 1, limit),
            width.Weighting(3.5, offset, True),
            readings,
        )
        assert valid.tolist() == [True] * count + [False] * (5 - count)
        assert left_open.tolist() == np.flatnonzero(~valid[:4]).tolist()
        np.testing.assert_allclose(sparse[:count], np.minimum(sigmas, 3.5)[:count], rtol=1e-4)
        np.testing.assert_allclose(weights[:count], np.hypot(sparse[:count], offset), rtol=1e-4)


def read_three(curvatures, scale, offset):
    readings, rows = blank(3), np.array(curvatures, np.float32)
    settings = width.Scale(scale, 1, np.inf), width.Weighting(6.0, offset, True)
    return readings, width._read(np.arange(3), rows, np.ones(3, np.float32), *settings, readings)


def test_what_is_narrower_than_the_scale_is_closed_and_what_has_no_ridge_stays_open():
    curvatures = [[-2.0, 0.1, 0.0], [0, 0, 0], [0, 0, 0]]
    readings, left_open = read_three(curvatures, 1.4, 1.4)
    assert left_open.tolist() == [1, 2] and not any(plane.any() for plane in readings)


def test_curved_edges_and_pixels_beside_the_ridge_count_less():
    curvatures = [[-0.5] * 3, [0, 0.25, 0], [0, 0, 0.5 / 16]]
    readings, _ = read_three(curvatures, 1.0, 0.0)
    np.testing.assert_allclose(readings.weights, [1, 0.5, 0.5])


def test_edges_of_the_physical_preset_are_about_those_of_canny(photograph):
    for name in ("coffee", "chelsea", "motorcycle"):
        image = photograph(name, 160)
        expected = skimage_canny(image.mean(axis=0), 1.0, 0.04, 0.08)
        edges = defocus_maps(image[None]).edges[0, 0].numpy()
        assert edges.sum() == pytest.approx(expected.sum(), rel=0.2)
        near = ndimage.binary_dilation(expected, np.ones((3, 3)))
        assert near[edges].mean() > 0.9


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.05])
def test_the_noise_level_is_that_of_the_noise(noise):
    ramp = np.linspace(0.2, 0.8, 128) + np.random.default_rng(3).normal(0, noise, (128, 128))
    assert width.noise_level(ramp.astype(np.float32)) == pytest.approx(noise, rel=0.05)


def test_logarithms_are_numpys():
    values = np.geomspace(1e-24, 1e4, 1000, dtype=np.float32).reshape(10, 100)
    np.testing.assert_allclose(width._logarithms(values), np.log(values.astype(float)), atol=4e-6)
