"""Randomised weights, deletion and insertion: on detectors for which the answer is known."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from defocus_lib.analysis import faithfulness, sanity_checks
from defocus_lib.analysis.faithfulness import Explainer
from defocus_lib.detect.model import Detector
from tests.analysis.test_faithfulness import Linear, explainer_of


def linear(images=3, side=8, backgrounds=2, seed=0):
    """A explainer about a linear detector, and its exact values."""
    weights = np.random.default_rng(seed).normal(size=(1, side, side)).astype(np.float32)
    explainer = explainer_of(Linear(weights), images, side, backgrounds)
    return explainer, (weights * (explainer.inputs - explainer.background.mean(0)).numpy())[:, 0]


def test_deletion_of_a_linear_detector_is_a_running_sum():
    explainer, values = linear()
    curves = sanity_checks.deletion(explainer, values, steps=16)
    logits = explainer.detector(explainer.inputs).numpy()
    taken = np.sort(values.reshape(3, -1))[:, ::-1].reshape(3, 16, 4).sum(2).cumsum(1)
    np.testing.assert_allclose(curves, np.concatenate([logits, logits - taken], axis=1), atol=1e-5)


def test_insertion_of_a_linear_detector_is_a_running_sum():
    explainer, values = linear()
    base = explainer.detector(explainer.background).mean().item()
    given = np.sort(values.reshape(3, -1))[:, ::-1].reshape(3, 16, 4).sum(2).cumsum(1)
    curves = sanity_checks.insertion(explainer, values, steps=16)
    np.testing.assert_allclose(curves, base + np.pad(given, ((0, 0), (1, 0))), atol=1e-5)


def test_no_order_deletes_faster_than_the_exact_values():
    explainer, values = linear()
    areas = sanity_checks.removal_areas(sanity_checks.removal_table(explainer, values, side=1))
    assert (areas["own"] > areas["other"]).all() and (areas["own"] > areas["random"]).all()


def test_a_random_order_has_no_area_on_average():
    explainer, values = linear(images=1)
    areas = [
        sanity_checks.removal_areas(sanity_checks.removal_table(explainer, values, 8, 1, seed))
        for seed in range(10)
    ]
    found = pd.concat(areas)["random"]
    assert abs(found.mean()) < 3 * found.std() / len(found) ** 0.5
    assert found.std() < areas[0]["own"].iloc[0]


def test_areas_by_hand():
    shares = [0.0, 0.5, 1.0]
    logits = {("own", "deletion"): [4, 0, 0], ("own", "insertion"): [0, 4, 4]}
    logits |= {
        (order, curve): [0, 2, 4]
        for order in ("other", "random")
        for curve in ("deletion", "insertion")
    }
    table = pd.DataFrame(
        [
            (*key, 0, share, value)
            for key, values in logits.items()
            for share, value in zip(shares, values, strict=True)
        ],
        columns=["order", "curve", "image", "share", "logit"],
    )
    assert sanity_checks.removal_areas(table).loc[0].to_dict() == {
        "own": 2.0,
        "other": 0.0,
        "random": 0.0,
    }


def test_summary_compares_with_the_better_of_the_other_orders():
    areas = pd.DataFrame({"own": [3.0, 3.0], "other": [1.0, 2.0], "random": [0.0, 0.0]})
    row = sanity_checks.removal_summary({"rgb": areas}, ["a", "b"], 100).loc["rgb"]
    assert (
        row["excess"] == pytest.approx(1.5)
        and row["low"] == pytest.approx(1)
        and row["high"] == pytest.approx(2)
    )
    assert np.isnan(
        sanity_checks.removal_summary({"rgb": areas}, ["a", "a"], 100).loc["rgb", "low"]
    )


def test_blocks_are_replaced_whole():
    scores = sanity_checks.block_scores(np.arange(30.0).reshape(1, 5, 6), 2)[0]
    assert scores.shape == (5, 6) and (scores[:2, :2] == 3.5).all()  # the mean of 0, 1, 6 and 7
    np.testing.assert_array_equal(scores[4], scores[3])  # the rest goes with the last blocks
    explainer, values = linear()
    curves = sanity_checks.deletion(explainer, sanity_checks.block_scores(values, 4), steps=4)
    taken = np.sort(faithfulness.blocks(values, 4).reshape(3, -1) * 16)[:, ::-1].cumsum(1)
    np.testing.assert_allclose(curves[:, :1] - curves[:, 1:], taken, atol=1e-5)


def test_nonlinearity_by_hand():
    rows = [
        ("random", "deletion", 0, share, logit)
        for share, logit in ((0, 3.0), (0.5, -2.0), (1, 1.0))
    ]
    rows += [("own", "deletion", 0, share, 9.0) for share in (0, 0.5, 1)]
    table = pd.DataFrame(rows, columns=["order", "curve", "image", "share", "logit"])
    assert sanity_checks.nonlinearity(table) == (4.0, 2.0)  # -2 in place of 2


def test_a_linear_detector_is_linear_on_average():
    explainer, values = linear(images=64)
    departs, _ = sanity_checks.nonlinearity(sanity_checks.removal_table(explainer, values, side=1))
    one, _ = sanity_checks.nonlinearity(
        sanity_checks.removal_table(explainer.take(slice(1)), values[:1], side=1)
    )
    assert departs < 0.4 * one


@pytest.mark.parametrize(
    ("pixels", "steps", "size"), [(128 * 128, 32, 512), (299 * 299, 32, 529), (7, 3, 1), (4, 9, 1)]
)
def test_steps_are_of_equal_size(pixels, steps, size):
    assert sanity_checks._pixels_per_step(pixels, steps) == size


def test_scores_of_another_shape_are_refused():
    explainer, values = linear()
    with pytest.raises(ValueError, match=r"scores has shape \(2, 8, 8\); \(3, 8, 8\) wanted"):
        sanity_checks.deletion(explainer, values[:2])


def test_scores_that_are_all_equal_or_negative_are_an_order_too():
    explainer, values = linear()
    curves = sanity_checks.deletion(explainer, np.full_like(values, -1))
    np.testing.assert_allclose(
        curves[:, -1], explainer.detector(explainer.background).mean().item(), atol=1e-5
    )


class Deep(torch.nn.Module):
    """Two layers with weights that can be reset, and a rectifier between them."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.last = torch.nn.Linear(8, 1)
        with torch.no_grad():
            self.first.weight.copy_(torch.linspace(-1, 1, 72).reshape(8, 1, 3, 3))
            self.first.bias.fill_(0.1)
            self.last.weight.copy_(torch.linspace(-1, 2, 8)[None])

    def forward(self, inputs):
        return self.last(torch.nn.functional.relu(self.first(inputs)).mean((2, 3)))


class Idle(torch.nn.Module):
    """A linear detector with a layer that does nothing: no weight that matters can be reset."""

    def __init__(self):
        super().__init__()
        self.idle, self.linear = torch.nn.Linear(2, 2), Linear(np.ones((1, 16, 16), np.float32))

    def forward(self, inputs):
        return self.linear(inputs.square())


def test_values_that_do_not_depend_on_the_weights_stay():
    table = sanity_checks.randomisation(
        explainer_of(Idle().eval().requires_grad_(False), side=16), 4
    )
    assert table["randomised"].unique().tolist() == [0, 1]
    np.testing.assert_allclose(table[["values", "magnitudes"]], 1)


def test_values_that_are_all_weights_go():
    """A weight for each pixel: with random ones 256 values correlate by about 1 / 16."""
    flat = (
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 1))
        .eval()
        .requires_grad_(False)
    )
    flat[1].weight.copy_(torch.from_numpy(np.random.default_rng(1).normal(size=(1, 256))))
    table = sanity_checks.randomisation(explainer_of(flat, images=4, side=16), 4, seed=3)
    assert (table.loc[table["randomised"] == 1, "values"].abs() < 0.2).all()
    assert table["image"].unique().tolist() == [0, 1, 2, 3]


def test_random_weights_are_those_that_the_layers_start_from():
    """What Quantus does, by hand: reset from the output on, explain anew, correlate."""
    explainer = explainer_of(Deep().eval().requires_grad_(False), images=2, side=16)
    table = sanity_checks.randomisation(explainer, 4, parts=2, seed=3)
    truth, model = explainer.values(4, seed=3).values, Deep().eval().requires_grad_(False)
    for layer, share in ((model.last, 0.5), (model.first, 1.0)):
        with torch.random.fork_rng():
            torch.manual_seed(3 + 1)
            layer.reset_parameters()
        again = replace(explainer, detector=model).values(4, seed=3).values
        found = table[table["randomised"] == share]
        np.testing.assert_allclose(
            found["values"], faithfulness.rank_correlation(truth, again), atol=1e-6
        )
        np.testing.assert_allclose(
            found["magnitudes"], faithfulness.rank_correlation(abs(truth), abs(again)), atol=1e-6
        )


@pytest.mark.slow
def test_detector_generators_and_terminal_are_left_alone(generators_left_alone, capfd):
    detector = Deep().requires_grad_(False).eval()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    explainer = explainer_of(detector, side=16)
    with generators_left_alone(), warnings.catch_warnings():
        warnings.simplefilter("error")
        sanity_checks.randomisation(explainer, 2)
        sanity_checks.removal_table(explainer, explainer.values(2).values, side=4)
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())
    assert not detector.training
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_untrained_networks_take_turns():
    explainer = explainer_of(Detector("test_resnet", "defocus", seed=9), images=3, side=32)
    values = sanity_checks.untrained_values(explainer, 2, networks=2, seed=4)
    for rows, seed in ((slice(None, None, 2), 4), (slice(1, None, 2), 5)):
        network = Detector("test_resnet", "defocus", seed=seed).eval()
        alone = replace(explainer.take(rows), detector=network).values(2, seed=4).values
        np.testing.assert_allclose(values[rows], alone, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_untrained_networks_read_what_the_trained_one_reads():
    detector = Detector("test_resnet", "defocus", seed=9, normalisation="px+edges")
    inputs, background = torch.rand(2, 2, 2, 32, 32)
    values = sanity_checks.untrained_values(Explainer(detector, inputs, background), 2)
    assert values.shape == (2, 32, 32) and values.any()
