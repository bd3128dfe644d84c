"""How exact Shapley values are: measured on detectors whose values are known."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import pearsonr, rankdata

from defocus_lib.analysis import faithfulness
from defocus_lib.data import collection
from defocus_lib.detect.model import Detector
from defocus_lib.explain.expected_gradients import Compute
from tests import artefacts, runs


class Linear(torch.nn.Module):
    """``w x``: the values are ``w (x - mean b)``, whatever the draws, once every background is drawn equally often."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.from_numpy(weights), requires_grad=False)

    def forward(self, inputs):
        return (inputs * self.weights).sum((1, 2, 3))[:, None]


class Square(torch.nn.Module):
    """``sum x^2``: the values are the mean of ``x^2 - b^2`` over the backgrounds; any one draw is off by its ``t``."""

    def forward(self, inputs):
        return inputs.square().sum((1, 2, 3))[:, None]


def ask(detector, images=2, side=8, backgrounds=2):
    rng = np.random.default_rng(5)
    inputs, behind = (
        rng.random((n, 1, side, side), dtype=np.float32) for n in (images, backgrounds)
    )
    compute = Compute(batch_size=32)
    return faithfulness.Question(
        detector, torch.from_numpy(inputs), torch.from_numpy(behind), compute
    )


@pytest.fixture
def square():
    return ask(Square())


def test_relative_error_by_hand():
    reference = np.array([[[3.0, 4.0]], [[0.0, 0.0]]])
    values = np.array([[[6.0, 8.0]], [[1.0, 1.0]]])
    error = faithfulness.relative_error(values, reference)
    assert error[0] == pytest.approx(1) and np.isnan(error[1])


def test_blocks_are_means_and_drop_the_rest():
    maps = np.arange(30.0).reshape(1, 5, 6)
    literal = [
        [[maps[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(3)] for i in range(2)]
    ]
    np.testing.assert_allclose(faithfulness.blocks(maps, 2), literal)
    with pytest.raises(ValueError, match="side is 6; 1 to 5 px wanted"):
        faithfulness.blocks(maps, 6)


def test_rank_correlation_is_pearsons_of_the_ranks():
    first, second = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    second[2] = 1
    found = faithfulness.rank_correlation(first, second)
    for row in range(2):
        ranks = rankdata(first[row]), rankdata(second[row])
        assert found[row] == pytest.approx(pearsonr(*map(np.ravel, ranks)).statistic)
    assert np.isnan(found[2])


def test_spearman_brown_predicts_the_mean_of_two():
    """Simulated: a signal of variance 1 and noise of variance 1 correlate by 1/2, the means of two by 2/3."""
    rng = np.random.default_rng(1)
    measured = rng.normal(size=200_000) + rng.normal(size=(4, 200_000))
    one = np.corrcoef(measured[:2])[0, 1]
    two = np.corrcoef(measured[:2].mean(0), measured[2:].mean(0))[0, 1]
    assert faithfulness.spearman_brown(one) == pytest.approx(two, abs=0.01)


def test_counts_are_read_in_order():
    assert faithfulness.parse_counts("200, 8 48") == (8, 48, 200)
    for text in ("", "8, x", "0", "2.5"):
        with pytest.raises(ValueError, match="positive whole numbers"):
            faithfulness.parse_counts(text)


def test_a_linear_detector_has_no_error():
    question = ask(Linear(np.random.default_rng(2).normal(size=(1, 8, 8)).astype(np.float32)))
    errors = faithfulness.error_table(question, (4, 8), 16, side=4).query("method != 'random'")
    assert (errors[["pixels", "blocks", "gap"]] < 1e-4).all(axis=None)


def test_errors_of_a_square_follow_theory(square):
    """With one background the value of a draw is ``2 w (b + t w)``: random draws err by ``2 w^2 / sqrt(12 n)``."""
    one = faithfulness.Question(
        square.detector, square.inputs, square.background[:1], square.compute
    )
    errors = faithfulness.error_table(one, (4, 16), 400, seeds=60, side=4)
    means = (
        errors.groupby(["method", "samples", "image"])["pixels"].apply(
            lambda e: np.sqrt((e**2).mean())
        )
    ).unstack()
    way = (one.inputs - one.background).numpy()[:, 0]
    size = np.abs(one.inputs.numpy() ** 2 - one.background.numpy() ** 2)[:, 0]
    expected = np.sqrt((4 * way**4 / 12).mean((1, 2)) / (size**2).mean((1, 2)))
    for samples in (4, 16):
        np.testing.assert_allclose(
            means.loc[("random", samples)], expected / samples**0.5, rtol=0.25
        )
        np.testing.assert_allclose(
            means.loc[("stratified", samples)], expected / samples**1.5, rtol=0.25
        )


def test_summary_divides_all_gaps_by_all_that_is_explained():
    rows = {
        "method": "random",
        "samples": 4,
        "seed": 0,
        "image": [0, 1],
        "pixels": [0.2, 0.4],
        "blocks": [0.1, 0.1],
    }
    table = pd.DataFrame({"detector": "rgb", **rows, "gap": [1.0, 0.0], "explained": [1.0, 9.0]})
    found = faithfulness.error_summary(table).loc[("rgb", "random", 4)]
    assert found.to_dict() == pytest.approx({"pixels": 0.3, "blocks": 0.1, "gap": 0.1})


def summary_of(*errors):
    index = pd.MultiIndex.from_product(
        [["rgb"], faithfulness.METHODS, [10, 50, 200]], names=["detector", "method", "samples"]
    )
    return pd.DataFrame({"blocks": np.concatenate(errors)}, index)


def test_fewest_samples_and_what_is_said_of_them():
    random, better, worse = [0.5, 0.3, 0.2], [0.4, 0.1, 0.05], [0.9, 0.8, 0.7]
    both, one, none = (
        summary_of(random, *pair) for pair in ((better, random), (worse, better), (worse, worse))
    )
    assert [faithfulness.fewest(table, "rgb", "stratified") for table in (both, one, none)] == [
        50,
        0,
        0,
    ]
    assert [faithfulness.fewest(table, "rgb", "interpolated") for table in (both, one, none)] == [
        200,
        50,
        0,
    ]
    end = "are at least as exact as 200 random ones"
    assert (
        faithfulness.samples_sentence(both, "rgb")
        == f"50 stratified samples or 200 interpolated samples {end}"
    )
    assert faithfulness.samples_sentence(one, "rgb") == f"50 interpolated samples {end}"
    assert faithfulness.samples_sentence(none, "rgb").startswith(
        "no number of stratified or interpolated samples tried"
    )


def test_two_seeds_agree_more_with_more_draws(square):
    few, many = (
        faithfulness.repeat_table(square, samples, "random", side=4) for samples in (3, 300)
    )
    assert (many["pixels"] > few["pixels"]).all() and (many["pixels"] > 0.95).all()
    assert list(many) == ["pixels", "sizes", "blocks"]


@pytest.mark.parametrize(
    ("pixels", "blocks", "words"),
    [(0.9, 0.95, "even single pixels"), (0.5, 0.9, "only regions"), (0.2, 0.5, "is chance")],
)
def test_what_is_said_of_two_seeds(pixels, blocks, words):
    assert words in faithfulness.repeat_sentence(pixels, blocks)


def test_images_are_taken_from_each_set_in_turn(tmp_path):
    folder = artefacts.build(tmp_path, scenes=3)
    sets = {name: artefacts.load(folder, name) for name in ("real", "splice", "texture")}
    ids = faithfulness.round_robin(sets, 5)
    assert ids == [
        "test-00000/real",
        "test-00001/splice",
        "test-00002/texture",
    ]  # the sets have three images each
    saved = faithfulness.saved_values(sets, ids[::-1], "rgb")
    np.testing.assert_array_equal(saved[0], sets["texture"].rgb_shaps[2])
    np.testing.assert_array_equal(saved[2], sets["real"].rgb_shaps[0])


def test_untrained_networks_take_turns():
    question = ask(Detector("test_resnet", "defocus", seed=9), images=3, side=32)
    values = faithfulness.untrained_values(question, 2, networks=2, seed=4)
    for rows, seed in ((slice(None, None, 2), 4), (slice(1, None, 2), 5)):
        network = Detector("test_resnet", "defocus", seed=seed).eval()
        alone = faithfulness.Question(
            network, question.inputs[rows], question.background, question.compute
        )
        np.testing.assert_allclose(
            values[rows], alone.values(2, seed=4).values, rtol=1e-3, atol=1e-6
        )


def test_asks_what_notebook_04_asked(tmp_path):
    """The same detectors, inputs and backgrounds: with the draws of the plan, its values come out again."""
    path = runs.prepare(tmp_path)
    plan, parts = runs.planned(path, tmp_path / "target", n_samples=4)
    explained = plan.explain(parts[0].records)
    meta = {"background": 2, "batch_size": 16, "precision": "float32", "preset": "physical"}
    run = collection.load(plan.folder.open("tiny", path / "run"))
    ids = explained.ids.tolist()[::-1]
    asked = faithfulness.questions(run, runs.cache_of(path), plan.detectors, ids, meta)
    for model, question in asked.items():
        keys = [
            int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") for name in ids
        ]  # as the plan does
        found = faithfulness.shapley_values(
            question.detector,
            question.inputs,
            question.background,
            4,
            0,
            keys=keys,
            compute=question.compute,
        )
        np.testing.assert_allclose(
            found.values[::-1], getattr(explained, f"{model}_shaps"), rtol=1e-3, atol=1e-6
        )
    with pytest.raises(ValueError, match="preset"):
        faithfulness.questions(
            run, runs.cache_of(path), plan.detectors, ids, meta | {"preset": "released"}
        )
