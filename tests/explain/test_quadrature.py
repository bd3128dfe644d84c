import copy

import numpy as np
import pytest
import torch

from defocus_lib.explain import expected_gradients, quadrature
from defocus_lib.run import cluster
from tests.explain.test_expected_gradients import small_net
from tests.reference import shapley as literal


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """For nets so small, handing work to threads takes longer than the work."""
    with cluster.one_thread():
        yield


def gram_of(backgrounds, seed=0, size=30):
    differences = np.random.default_rng(seed).normal(size=(backgrounds, size))
    return differences @ differences.T


def rule(method, samples, backgrounds=4, seed=0):
    return quadrature.rule(
        method, samples, backgrounds, np.random.default_rng(seed), lambda: gram_of(backgrounds)
    )


def interpolated(samples, gram):
    return quadrature.rule(
        "interpolated", samples, len(gram), np.random.default_rng(0), lambda: gram
    )


# Points


@pytest.mark.parametrize("method", ["stratified", "midpoint", "interpolated"])
@pytest.mark.parametrize(("samples", "backgrounds"), [(50, 10), (7, 3), (3, 10), (1, 1), (64, 64)])
def test_backgrounds_and_strata_are_used_evenly(method, samples, backgrounds):
    rows, t, _ = rule(method, samples, backgrounds)
    u = (
        1.4 * t - 0.4 * t**2 if method == "interpolated" else t
    )  # how many points are nearer to the background
    used = np.bincount(rows, minlength=backgrounds)
    assert len(rows) == len(t) == samples and np.ptp(used) <= 1 and used.sum() == samples
    assert np.floor(u * samples).tolist() == list(range(samples))


def test_points_of_each_background_cover_the_whole_path():
    rows, t, _ = rule("stratified", 200, 10)
    for k in range(10):
        assert float(t[rows == k].mean()) == pytest.approx(0.5, abs=0.05)
        assert float(t[rows == k].min()) < 0.1 and float(t[rows == k].max()) > 0.9


def test_random_samples_are_independent():
    rows, t, _ = rule("random", 2000)
    assert np.bincount(rows, minlength=4).std() > 1
    assert np.abs(np.corrcoef(rows, t)[0, 1]) < 0.1 and float(t.mean()) == pytest.approx(
        0.5, abs=0.03
    )


def test_midpoints_lie_in_the_middle():
    rows, t, _ = rule("midpoint", 8)
    assert (
        t.tolist() == [(2 * n + 1) / 16 for n in range(8)] and np.bincount(rows).tolist() == [2] * 4
    )


# Shares


@pytest.mark.parametrize("method", ["stratified", "midpoint", "random"])
def test_a_sampled_point_counts_for_its_own_path(method):
    rows, _, shares = rule(method, 12)
    assert shares[np.arange(12), rows].tolist() == [1 / 12] * 12 and shares.sum() == pytest.approx(
        1
    )


@pytest.mark.parametrize("samples", [1, 2, 5, 40])
def test_interpolated_points_count_alike_for_every_path_together(samples):
    shares = rule("interpolated", samples).shares
    np.testing.assert_allclose(shares.sum(0), 1 / 4, atol=1e-9)


@pytest.mark.parametrize("samples", [1, 2, 3, 8])
def test_on_a_single_path_the_interpolant_is_linear_between_points(samples):
    _, t, shares = rule("interpolated", samples, backgrounds=1)
    fine = (np.arange(20_000) + 0.5) / 20_000
    expected = [np.interp(fine, t, one).mean() for one in np.eye(samples)]
    np.testing.assert_allclose(
        shares[:, 0], expected, atol=5e-4
    )  # 64 steps of a path instead of 20,000


def test_paths_far_apart_share_less_than_paths_that_run_together():
    apart = np.eye(2)
    together = np.array([[1, 0.99], [0.99, 1]])
    other = []
    for gram in (apart, together):
        rows, _, shares = interpolated(8, gram)
        other.append(shares[np.arange(8), 1 - rows].sum())
    assert other[0] < 0.1 < 0.25 < other[1]


def test_points_in_one_place_share_what_they_count():
    differences = np.random.default_rng(0).normal(size=(2, 30))
    same = np.stack(
        [differences[0], differences[1], differences[0], 0 * differences[0]]
    )  # the third is the first, the last is the input itself
    rows, _, shares = interpolated(12, same @ same.T)
    np.testing.assert_allclose(shares.sum(0), 1 / 4, atol=1e-9)
    np.testing.assert_allclose(shares[:, 0], shares[:, 2], atol=1e-6)
    assert shares[rows == 3].std(0).max() < 1e-6
    nowhere = interpolated(5, np.zeros((2, 2)))
    np.testing.assert_allclose(nowhere.shares, 1 / 10)


# Values


@pytest.fixture(scope="module")
def problem():
    rng = torch.Generator().manual_seed(1)
    x, b = (torch.rand(n, 2, 6, 6, generator=rng) for n in (1, 3))
    return small_net(), x, b


def test_values_are_those_of_the_interpolant_written_out(problem):
    net, x, b = problem
    found = expected_gradients.shapley_values(
        net, x, b, n_samples=7, method="interpolated", seed=2
    ).values[0]
    gram = ((b - x).flatten(1) @ (b - x).flatten(1).T).numpy()
    rows, t, _ = quadrature.rule("interpolated", 7, 3, np.random.default_rng([2, 0]), lambda: gram)
    exact = copy.deepcopy(net).double()
    expected = literal.interpolated(
        exact, x[0].double(), b.double(), rows, t, quadrature.STEPS
    ).sum(0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found).max() > 0.01


def test_a_constant_gradient_is_integrated_exactly(problem):
    _, x, b = problem
    weights = torch.linspace(-1, 1, 72).view(2, 6, 6)
    found = expected_gradients.shapley_values(
        lambda batch: (batch * weights).sum((1, 2, 3))[:, None],
        x,
        b,
        n_samples=5,
        method="interpolated",
    )
    np.testing.assert_allclose(found.values[0], (weights * (x[0] - b.mean(0))).sum(0), atol=1e-5)
    np.testing.assert_allclose(found.completeness_errors, 0, atol=1e-5)


def test_interpolated_gradients_come_nearer_than_as_many_stratified_ones(problem):
    net, x, b = problem
    truth = (
        literal.expected_gradients(copy.deepcopy(net).double(), x[0].double(), b.double(), 60)
        .sum(0)
        .numpy()
    )
    for samples in (8, 16):
        errors = {
            method: np.mean(
                [
                    np.linalg.norm(
                        expected_gradients.shapley_values(
                            net, x, b, n_samples=samples, seed=s, method=method
                        ).values[0]
                        - truth
                    )
                    for s in range(8)
                ]
            )
            for method in ("stratified", "interpolated")
        }
        assert errors["interpolated"] < 0.8 * errors["stratified"]
