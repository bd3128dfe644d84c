import numpy as np
import pytest
from pymatting import cf_laplacian
from scipy import ndimage

from defocus_lib.maps import propagation
from tests.reference import defocus as literal

RNG = np.random.default_rng


@pytest.fixture
def sparse():
    """A smooth image, known values at a tenth of its pixels, and their weights."""
    rng = RNG(0)
    image = ndimage.gaussian_filter(rng.random((32, 32, 3)), (2, 2, 0))
    image = (image - image.min()) / np.ptp(image)
    weights = (rng.random((32, 32)) < 0.1) * rng.uniform(0.2, 2, (32, 32))
    return image, np.where(weights > 0, rng.uniform(0.5, 4, (32, 32)), 0), weights


# Normalised Gaussian


def test_gaussian_by_hand():
    # One row: 1 px known on the left, 3 px on the right, twice as trusted; the prior is their
    # weighted mean, 7/3.
    values, weights = np.array([[1.0, 0.0, 3.0]]), np.array([[1.0, 0.0, 2.0]])
    near, far = np.exp(-1 / 2), np.exp(-4 / 2)
    p = 2 * propagation.PRIOR_WEIGHT
    w, v = np.array([1 + p, p, 2 + p]), np.array([1, 7 / 3, 3])
    g = np.array([[1, near, far], [near, 1, near], [far, near, 1]])
    dense = propagation.normalized_gaussian(values, weights, spread=1.0)[0]
    np.testing.assert_allclose(dense, (g @ (w * v)) / (g @ w), rtol=1e-12)


def test_gaussian_is_the_quotient_of_two_of_scipys(sparse):
    _, values, weights = sparse
    dense = propagation.normalized_gaussian(values, weights, spread=3.0)
    blur = {"sigma": 3.0, "mode": "constant", "truncate": 20}
    expected = ndimage.gaussian_filter(values * weights, **blur) / ndimage.gaussian_filter(
        weights, **blur
    )
    np.testing.assert_allclose(dense, expected, atol=0.01)


def test_gaussian_takes_its_width_from_the_shorter_side(sparse):
    _, values, weights = sparse
    values, weights = values[:, :25], weights[:, :25]
    default = propagation.normalized_gaussian(values, weights)
    expected = propagation.normalized_gaussian(values, weights, spread=1.0)
    np.testing.assert_array_equal(default, expected)


def test_far_from_all_that_is_known_the_map_is_the_weighted_mean():
    values, weights = np.zeros((64, 64)), np.zeros((64, 64))
    values[0, :2], weights[0, :2] = (1, 4), (2, 1)
    dense = propagation.normalized_gaussian(values, weights, spread=2.0)
    assert dense[-1, -1] == pytest.approx(2.0)
    guided = propagation.guided_filter(np.zeros_like(values), values, weights)
    assert guided[-1, -1] == pytest.approx(2.0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 1e-4)])
@pytest.mark.parametrize("spread", [1.5, 6.0, 30.0])
def test_gaussian_in_two_steps_is_that_in_one(sparse, spread, dtype, tolerance):
    _, values, weights = sparse
    values, weights = values[:, :25], weights[:, :25]
    mean = (values * weights).sum() / weights.sum()
    trust = weights + propagation.PRIOR_WEIGHT * weights.max()
    down, across = (
        np.exp(-(np.subtract.outer(np.arange(n), np.arange(n)) ** 2) / (2 * spread**2))
        for n in (32, 25)
    )
    expected = (down @ (trust * np.where(weights > 0, values, mean)) @ across) / (
        down @ trust @ across
    )
    planes = values.astype(dtype), weights.astype(dtype)
    dense = propagation.normalized_gaussian(*planes, spread)
    assert dense.dtype == dtype
    np.testing.assert_allclose(dense, expected, atol=tolerance)


@pytest.mark.parametrize("shape", [(90, 101), (91, 100)])
def test_a_wide_gaussian_at_every_second_pixel_is_that_at_every_one(shape):
    rng = RNG(2)
    weights = (rng.random(shape) < 0.05) * rng.uniform(0.5, 2, shape)
    values = np.where(weights > 0, 2 + np.indices(shape)[1] / 50 + rng.uniform(-0.5, 0.5, shape), 0)
    spread = propagation.SPREAD_OF_HALF_GRID
    exact = propagation.normalized_gaussian(values, weights, spread)
    dense = propagation.normalized_gaussian(
        values.astype(np.float32), weights.astype(np.float32), spread
    )
    assert dense.shape == shape and dense.dtype == np.float32
    np.testing.assert_allclose(dense, exact, atol=5e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("every", [1, 7])
def test_positions_without_a_weight_change_nothing(dtype, every):
    rng = RNG(3)
    weights = ((rng.random((60, 70)) < 0.1) * rng.uniform(0.5, 2, (60, 70))).astype(dtype)
    values = rng.uniform(1, 3, weights.shape).astype(dtype)
    positions = np.union1d(np.flatnonzero(weights), np.arange(0, weights.size, every))
    expected = propagation.normalized_gaussian(values, weights)
    dense = propagation.normalized_gaussian(values, weights, positions=positions)
    np.testing.assert_allclose(dense, expected, rtol=20 * np.finfo(dtype).eps)
    assert not propagation.normalized_gaussian(values, 0 * weights, positions=positions).any()


# Guided filter


@pytest.mark.parametrize("weights", [None, "ones"])
def test_guided_filter_is_the_literal_one(weights):
    rng = RNG(1)
    guide, values = rng.uniform(-1, 1, (35, 41)), rng.random((35, 41))
    weights = None if weights is None else np.ones_like(guide)
    dense = propagation.guided_filter(guide, values, weights)
    np.testing.assert_allclose(dense, literal.guided(guide, values, 7, 1e-2), atol=1e-10)


def test_guided_filter_by_hand_under_a_flat_guide():
    # A flat guide has no slope: the mean over windows of the window means. Three px in a row,
    # radius 1.
    guide, values = np.zeros((1, 3)), np.array([[0.0, 0.0, 6.0]])
    dense = propagation.guided_filter(guide, values, radius=1)[0]
    means = np.array([0.0, 2.0, 3.0])
    np.testing.assert_allclose(dense, [means[:2].mean(), means.mean(), means[1:].mean()])


def test_a_weighted_guided_filter_ignores_what_is_not_known(sparse):
    image, values, weights = sparse
    garbage = np.where(weights > 0, values, 1e3)
    first, second = (
        propagation.guided_filter(image.mean(2), given, weights) for given in (values, garbage)
    )
    np.testing.assert_array_equal(first, second)


def test_guided_filter_follows_the_guide():
    # Blur differs on the two sides of an edge in the guide; both filters know it at one pixel in
    # nine.
    guide = np.zeros((45, 45))
    guide[:, 22:] = 1
    weights = np.zeros((45, 45))
    weights[1::3, 1::3] = 1
    values = 1 + 3 * guide
    guided = propagation.guided_filter(guide, values * weights, weights)
    gaussian = propagation.normalized_gaussian(values * weights, weights, spread=4.0)
    assert np.abs(guided - values).max() < 0.5 < 1 < np.abs(gaussian - values).max()


# Closed form


def test_closed_form_is_the_solution_of_the_dense_system(sparse):
    image, values, weights = sparse
    system = cf_laplacian(image, epsilon=1e-4).toarray() + np.diag(0.1 * weights.ravel() + 1e-6)
    expected = np.linalg.solve(system, 0.1 * (weights * values).ravel()).reshape(32, 32)
    expected = expected.clip(values[weights > 0].min(), values[weights > 0].max())
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(propagation.closed_form(image, values, weights), expected, atol=1e-4)


def test_closed_form_stops_at_a_colour_edge():
    image = np.full((32, 40, 3), 0.2)
    image[:, 20:] = 0.8
    weights = np.zeros((32, 40))
    weights[16, 5] = weights[16, 35] = 1
    values = weights * np.where(np.arange(40) < 20, 1.0, 4.0)
    dense = propagation.closed_form(image, values, weights)
    assert np.abs(dense[:, :18] - 1).max() < 0.2 and np.abs(dense[:, 22:] - 4).max() < 0.2


# All three


def propagate(method, image, values, weights):
    if method == "closed_form":
        return propagation.closed_form(image, values, weights)
    if method == "guided":
        return propagation.guided_filter(image.mean(2), values, weights)
    return propagation.normalized_gaussian(values, weights)


METHODS = ("gaussian", "guided", "closed_form")


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_stays_constant(sparse, method):
    image, _, weights = sparse
    dense = propagate(method, image, np.where(weights > 0, 2.5, 0), weights)
    np.testing.assert_allclose(dense, 2.5, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_the_map_scales_with_its_values_not_with_its_weights(sparse, method):
    image, values, weights = sparse
    dense = propagate(method, image, values, weights)
    np.testing.assert_allclose(propagate(method, image, 2 * values, weights), 2 * dense, atol=1e-3)
    if method != "closed_form":  # there, weights stand against smoothness
        np.testing.assert_allclose(propagate(method, image, values, 3 * weights), dense, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_known_gives_zero(sparse, method):
    image, values, weights = sparse
    assert not propagate(method, image, np.zeros_like(values), np.zeros_like(weights)).any()


def test_zeros_everywhere_known_give_zero(sparse):
    image, values, _ = sparse
    assert not propagation.closed_form(image, np.zeros_like(values), np.ones_like(values)).any()
