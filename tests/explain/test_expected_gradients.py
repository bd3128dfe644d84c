import copy

import numpy as np
import pytest
import torch
from torch import nn

from defocus_lib.detect.model import Detector
from defocus_lib.explain import expected_gradients
from defocus_lib.explain.expected_gradients import Compute, shapley_values
from defocus_lib.run import cluster
from tests.reference import shapley as literal


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """For nets so small, handing work to threads takes longer than the work."""
    with cluster.one_thread():
        yield


def small_net(channels=2):
    """A smooth net: convolutions, SiLU, tanh, a sum."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (
            nn.Conv2d(channels, 6, 3),
            nn.SiLU(),
            nn.Conv2d(6, 4, 2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(36, 1),
        )
    net = nn.Sequential(*layers).eval()
    for parameter in net.parameters():
        parameter.data *= 2.5
    return net


@pytest.fixture(scope="module")
def problem():
    rng = torch.Generator().manual_seed(1)
    x, b = (torch.rand(n, 2, 6, 6, generator=rng) for n in (2, 5))
    return small_net(), x, b


@pytest.fixture(scope="module")
def truth(problem):
    net, x, b = problem
    net = copy.deepcopy(net).double()
    return np.stack(
        [literal.expected_gradients(net, one, b.double(), nodes=60).sum(0) for one in x.double()]
    )


def relative_error(values, truth):
    return float(np.linalg.norm(values - truth) / np.linalg.norm(truth))


# Exact cases


def test_a_linear_detector_by_hand():
    weights = torch.tensor([[[1.0, 0], [0, 2]], [[0, 3], [0, -1]]])
    x = torch.tensor([[[[0.5, 1], [1, 1]], [[1, 0.5], [0, 1]]]])
    b = torch.stack([torch.zeros(2, 2, 2), torch.ones(2, 2, 2)])

    def detector(batch):
        return (batch * weights).sum((1, 2, 3))[:, None] + 7

    # The mean background is 0.5 everywhere: w (x - 0.5), summed over the two channels.
    found = expected_gradients.shapley_values(detector, x, b, n_samples=4)
    np.testing.assert_allclose(found.values, [[[0, 0], [0, 1 - 0.5]]], atol=1e-6)
    assert found.logits.tolist() == pytest.approx([0.5 + 2 + 1.5 - 1 + 7])
    np.testing.assert_allclose(found.completeness_errors, 0, atol=1e-6)


def test_a_quadratic_detector_by_hand():
    # One pixel, background 0: the integral of 2 t x over t, times x, is x squared.
    x, b = torch.full((1, 1, 1, 1), 3.0), torch.zeros(1, 1, 1, 1)
    found = expected_gradients.shapley_values(
        lambda batch: (batch**2).sum((1, 2, 3))[:, None], x, b, n_samples=400
    )
    assert float(found.values[0, 0, 0]) == pytest.approx(9, abs=0.01)


def test_an_input_that_is_its_background_has_no_values(problem):
    net, x, _ = problem
    found = expected_gradients.shapley_values(net, x[:1], x[:1], n_samples=8)
    assert not found.values.any() and found.completeness_errors == pytest.approx(0, abs=1e-6)


# Against the quadrature


@pytest.mark.slow
def test_all_methods_come_close_to_the_quadrature(problem, truth):
    net, x, b = problem
    bounds = {
        "stratified": (40, 0.15, 400, 0.02),
        "interpolated": (40, 0.1, 400, 0.01),
        "random": (40, 0.8, 2000, 0.12),
        "shap": (40, 0.8, 1000, 0.18),
    }
    for method, (few, loose, many, tight) in bounds.items():
        errors = [
            relative_error(
                expected_gradients.shapley_values(
                    net, x, b, n_samples=n, method=method, compute=Compute(batch_size=500)
                ).values,
                truth,
            )
            for n in (few, many)
        ]
        assert errors[0] < loose and errors[1] < tight and errors[1] < errors[0], method


def test_strata_need_fewer_samples_than_random_ones(problem, truth):
    net, x, b = problem
    errors = {
        method: np.mean(
            [
                relative_error(
                    expected_gradients.shapley_values(
                        net, x, b, n_samples=n, seed=seed, method=method
                    ).values,
                    truth,
                )
                for seed in range(5)
            ]
        )
        for method, n in (("stratified", 50), ("random", 200))
    }
    assert errors["stratified"] < errors["random"]


def test_values_add_up_to_the_difference_of_logits(problem):
    net, x, b = problem
    found = expected_gradients.shapley_values(net, x, b, n_samples=500)
    with torch.no_grad():
        logits, base = net(x)[:, 0].numpy(), float(net(b).mean())
    np.testing.assert_allclose(found.logits, logits, rtol=1e-5)
    np.testing.assert_allclose(
        found.completeness_errors, logits - base - found.values.sum((1, 2)), atol=1e-5
    )
    assert np.abs(found.completeness_errors).max() < 0.02 * np.abs(logits - base).max()
    loose = expected_gradients.shapley_values(net, x, b, n_samples=5, method="random")
    assert np.abs(found.completeness_errors).max() < np.abs(loose.completeness_errors).max()


# Sampling


@pytest.mark.parametrize("method", expected_gradients.METHODS)
def test_same_seed_same_values(problem, method):
    first, again, other = (
        expected_gradients.shapley_values(*problem, n_samples=6, seed=seed, method=method).values
        for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


@pytest.mark.parametrize("method", expected_gradients.METHODS)
def test_an_input_does_not_depend_on_those_explained_with_it(problem, method):
    net, x, b = problem
    together = expected_gradients.shapley_values(net, x, b, n_samples=6, method=method)
    changed = torch.stack([x[0], 1 - x[1]])
    other = expected_gradients.shapley_values(net, changed, b, n_samples=6, method=method)
    alone = expected_gradients.shapley_values(net, x[:1], b, n_samples=6, method=method)
    for found in (other, alone):
        np.testing.assert_allclose(found.values[0], together.values[0], atol=1e-5)
        assert found.completeness_errors[0] == pytest.approx(
            together.completeness_errors[0], abs=1e-5
        )
    assert np.abs(other.values[1] - together.values[1]).max() > 1e-4


@pytest.mark.parametrize("method", ["stratified", "random", "interpolated"])
def test_values_do_not_depend_on_the_batch_size(problem, method):
    found = [
        expected_gradients.shapley_values(
            *problem, n_samples=7, method=method, compute=Compute(batch_size=size)
        ).values
        for size in (1, 3, 64)
    ]
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], atol=1e-5)


@pytest.mark.parametrize(("batch_size", "passes"), [(32, 1), (8, 4), (12, 3), (0, 1)])
def test_several_inputs_share_a_pass_where_they_fit(problem, batch_size, passes):
    net, x, b = problem
    sizes = []

    def counted(batch):
        if torch.is_grad_enabled():
            sizes.append(len(batch))
        return net(batch)

    inputs = torch.cat([x, 1 - x])
    found = expected_gradients.shapley_values(
        counted, inputs, b, n_samples=8, compute=Compute(batch_size=batch_size)
    )
    assert len(sizes) == passes and sum(sizes) == 32 and max(sizes) <= (batch_size or 32)
    np.testing.assert_allclose(
        found.values,
        expected_gradients.shapley_values(net, inputs, b, n_samples=8).values,
        atol=1e-5,
    )


def test_midpoints_come_closer(problem, truth):
    net, x, b = problem
    errors = {
        method: np.mean(
            [
                relative_error(
                    expected_gradients.shapley_values(
                        net, x, b, n_samples=50, seed=s, method=method
                    ).values,
                    truth,
                )
                for s in range(5)
            ]
        )
        for method in ("midpoint", "stratified")
    }
    assert errors["midpoint"] < errors["stratified"]


def test_a_key_gives_an_input_its_samples_wherever_it_stands(problem):
    net, x, b = problem
    options = {"n_samples": 6, "method": "random"}
    here = expected_gradients.shapley_values(net, x, b, keys=[7, 3], **options).values
    there = expected_gradients.shapley_values(net, x.flip(0), b, keys=[3, 7], **options).values
    np.testing.assert_allclose(there[::-1], here, atol=1e-6)
    assert (
        np.abs(
            expected_gradients.shapley_values(net, x, b, keys=[8, 3], **options).values[0] - here[0]
        ).max()
        > 1e-4
    )
    with pytest.raises(ValueError, match="keys has length 1; one for each of 2 inputs wanted"):
        expected_gradients.shapley_values(net, x, b, keys=[1], **options)


def test_two_inputs_get_different_samples(problem):
    net, x, b = problem
    found = expected_gradients.shapley_values(
        net, torch.stack([x[0], x[0]]), b, n_samples=3, method="random"
    ).values
    assert np.abs(found[0] - found[1]).max() > 1e-4


# What it leaves alone, and what it takes


@pytest.mark.parametrize("method", expected_gradients.METHODS)
def test_the_callers_state_is_left_as_it_was(problem, method, generators_left_alone):
    net, x, b = problem
    net = nn.Sequential(nn.BatchNorm2d(2), net).train()
    net(x)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with generators_left_alone():
        found = expected_gradients.shapley_values(net, x, b, n_samples=6, method=method)
    assert net.training and all(
        torch.equal(before[name], value) for name, value in net.state_dict().items()
    )
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not x.requires_grad and not b.requires_grad
    # Explained as it will be applied, in eval mode.
    net.eval()
    np.testing.assert_allclose(
        expected_gradients.shapley_values(net, x, b, n_samples=6, method=method).values,
        found.values,
    )
    assert not net.training


@pytest.mark.parametrize("method", expected_gradients.METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_types(method, channels):
    net = small_net(channels)
    x, b = torch.rand(3, channels, 6, 6), torch.rand(2, channels, 6, 6)
    found = expected_gradients.shapley_values(net, x, b, n_samples=3, method=method)
    assert [part.shape for part in found] == [(3, 6, 6), (3,), (3,)]
    assert all(part.dtype == np.float32 and np.isfinite(part).all() for part in found)


def test_half_precision_is_close(problem):
    full, half = (
        expected_gradients.shapley_values(
            *problem, n_samples=20, compute=Compute(precision=precision)
        ).values
        for precision in (torch.float32, torch.bfloat16)
    )
    assert 0 < relative_error(half, full) < 0.05


GOOD = torch.zeros(2, 1, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"method": "kernel"},
            "unknown method 'kernel'; one of .*, random, interpolated, shap wanted",
        ),
        ({"inputs": GOOD[0]}, r"inputs has shape \(1, 4, 4\)"),
        ({"inputs": GOOD[:0]}, r"inputs has shape \(0, 1, 4, 4\); .* N of at least 1"),
        (
            {"background": GOOD[..., :3]},
            r"background has shape \(2, 1, 4, 3\); \(K, 1, 4, 4\) wanted",
        ),
        ({"background": GOOD[:0]}, r"background has shape \(0, 1, 4, 4\)"),
        ({"n_samples": 0}, "n_samples is 0; at least 1 wanted"),
    ],
)
def test_bad_input_names_the_argument(arguments, message):
    arguments = {"inputs": GOOD, "background": GOOD, **arguments}
    with pytest.raises(ValueError, match=message):
        expected_gradients.shapley_values(lambda batch: batch.sum((1, 2, 3))[:, None], **arguments)


# Half precision of cards without bfloat16


def faint(factor):
    """A detector with gradients of about ``factor**2``, through two layers of float16."""
    net = small_net()
    net[0].weight.data *= factor
    net[2].weight.data *= factor
    return net


def test_float16_keeps_gradients_that_are_smaller_than_its_numbers(problem, monkeypatch):
    _, x, b = problem
    net = faint(3e-4)
    options = {"n_samples": 8}
    single = expected_gradients.shapley_values(net, x, b, **options).values
    half = Compute(precision=torch.float16)
    scaled = expected_gradients.shapley_values(net, x, b, **options, compute=half).values
    assert np.abs(single).max() < 1e-6 and relative_error(scaled, single) < 0.01
    monkeypatch.setattr(expected_gradients, "SCALE", 1.0)
    plain = expected_gradients.shapley_values(net, x, b, **options, compute=half).values
    assert relative_error(plain, single) > 0.05, "or there is nothing to keep"


def test_float16_that_overflows_is_replaced_by_float32(problem):
    _, x, b = problem

    def steep(batch):
        return torch.nn.functional.conv2d(batch, torch.full((1, 2, 6, 6), 3e4))[:, :, 0, 0]

    half = expected_gradients.shapley_values(
        steep, x, b, n_samples=4, compute=Compute(precision=torch.float16)
    ).values
    assert np.isfinite(half).all()
    single = expected_gradients.shapley_values(steep, x, b, n_samples=4).values
    np.testing.assert_array_equal(half, single)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7, 64])
def test_the_sums_of_a_batch_go_to_their_images(batch_size):
    points = np.repeat(np.arange(5), 4)
    for first in range(0, 20, batch_size):
        batch = points[first : first + batch_size]
        parts = list(expected_gradients._of_each_image(first, len(batch), 4))
        assert [number for number, _ in parts] == sorted(set(batch))
        for number, part in parts:
            assert (batch[part] == number).all() and len(batch[part]) == (batch == number).sum()


@pytest.mark.parametrize("input_size", [16, 20])  # of 32 px: a whole factor, and none
@pytest.mark.parametrize("method", ["stratified", "interpolated"])
def test_averaged_points_give_the_values_of_whole_ones(input_size, method):
    detector = Detector("test_resnet", "rgb", input_size).requires_grad_(False)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((7, 3, 32, 32), dtype=np.float32))
    inputs, background = images.split([3, 4])
    settings = {"n_samples": 9, "method": method, "compute": Compute(5)}
    averaged = shapley_values(detector, inputs, background, **settings)
    whole = shapley_values(lambda x: detector.eval()(x), inputs, background, **settings)
    scale = np.abs(whole.values).max()
    assert scale > 0
    # Rounding moves a few points across the kink of a ReLU.
    error = np.sqrt(np.mean((averaged.values - whole.values) ** 2))
    assert error < 1e-3 * scale
    np.testing.assert_allclose(averaged.logits, whole.logits, atol=1e-5)
