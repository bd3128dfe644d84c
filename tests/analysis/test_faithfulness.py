"""How exact Shapley values are: measured on detectors whose values are known."""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import pearsonr, rankdata

from defocus_lib.analysis import faithfulness
from defocus_lib.data import collection
from defocus_lib.explain.expected_gradients import Compute
from tests import artefacts, runs


class Linear(torch.nn.Module):
    """``w x``: the values are ``w (x - mean b)`` if every background is drawn equally often."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.from_numpy(weights), requires_grad=False)

    def forward(self, inputs):
        return (inputs * self.weights).sum((1, 2, 3))[:, None]


class Square(torch.nn.Module):
    """``sum x^2``: the values are the mean of ``x^2 - b^2``; a sample is off by its ``t``."""

    def forward(self, inputs):
        return inputs.square().sum((1, 2, 3))[:, None]


def explainer_of(detector, images=2, side=8, backgrounds=2):
    rng = np.random.default_rng(5)
    inputs, behind = (
        rng.random((n, 1, side, side), dtype=np.float32) for n in (images, backgrounds)
    )
    return faithfulness.Explainer(
        detector, torch.from_numpy(inputs), torch.from_numpy(behind), Compute(32)
    )


@pytest.fixture
def square():
    return explainer_of(Square())


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
    """Signal and noise of variance 1: measurements correlate by 1/2, the means of two by 2/3."""
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
    explainer = explainer_of(
        Linear(np.random.default_rng(2).normal(size=(1, 8, 8)).astype(np.float32))
    )
    errors = faithfulness.error_table(explainer, (4, 8), 16, side=4).query("method != 'random'")
    assert (errors[["pixels", "blocks", "completeness error"]] < 1e-4).all(axis=None)


def test_errors_of_a_square_follow_theory(square, monkeypatch):
    """One background: a sample is ``2 w (b + t w)``; random ones err by ``2 w^2 / sqrt(12 n)``."""
    monkeypatch.setattr(faithfulness, "METHODS", ("random", "stratified"))
    one = replace(square, background=square.background[:1])
    errors = faithfulness.error_table(one, (4, 16), 400, repetitions=30, side=4)
    means = (
        errors.groupby(["method", "n_samples", "image"])["pixels"].apply(
            lambda e: np.sqrt((e**2).mean())
        )
    ).unstack()
    path = (one.inputs - one.background).numpy()[:, 0]
    size = np.abs(one.inputs.numpy() ** 2 - one.background.numpy() ** 2)[:, 0]
    expected = np.sqrt((4 * path**4 / 12).mean((1, 2)) / (size**2).mean((1, 2)))
    for n in (4, 16):
        random, stratified = means.loc[("random", n)], means.loc[("stratified", n)]
        np.testing.assert_allclose(random, expected / n**0.5, rtol=0.25)
        np.testing.assert_allclose(stratified, expected / n**1.5, rtol=0.25)


def test_summary_divides_all_completeness_errors_by_all_that_is_explained():
    setting = {"detector": "rgb", "method": "random", "n_samples": 4, "repetition": 0}
    errors = {"image": [0, 1], "pixels": [0.2, 0.4], "blocks": [0.1, 0.1]}
    logits = {"completeness error": [1.0, 0.0], "explained": [1.0, 9.0]}
    table = pd.DataFrame(setting | errors | logits)
    found = faithfulness.error_summary(table).loc[("rgb", "random", 4)].to_dict()
    assert found == pytest.approx({"pixels": 0.3, "blocks": 0.1, "completeness error": 0.1})


def test_fewest_samples_by_hand():
    methods = {"random": [0.5, 0.3, 0.2], "stratified": [0.4, 0.1, 0.05]}
    errors = {
        "rgb": methods | {"interpolated": [0.9, 0.8, 0.7]},
        "defocus": methods | {"interpolated": [0.9, 0.8, 0.2]},
    }
    rows = [
        (detector, method, n_samples, error)
        for detector, by_method in errors.items()
        for method, values in by_method.items()
        for n_samples, error in zip((10, 50, 200), values, strict=True)
    ]
    names = ["detector", "method", "n_samples", "blocks"]
    found = faithfulness.fewest_samples(pd.DataFrame(rows, columns=names).set_index(names[:3]))
    assert list(found) == ["random", "stratified", "interpolated"]
    assert found.loc["defocus"].tolist() == [200, 50, 200]
    assert found.loc["rgb"].tolist() == [200, 50, pd.NA]


def test_two_seeds_agree_more_with_more_samples(square):
    few, many = (
        faithfulness.repeat_table(square, n_samples, "random", side=4) for n_samples in (3, 300)
    )
    assert (many["values"] > few["values"]).all() and (many["values"] > 0.95).all()
    assert list(many) == ["values", "magnitudes", "blocks"]


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


@pytest.mark.slow
def test_explains_what_notebook_04_explained(tmp_path):
    """The same detectors, inputs and backgrounds: the samples of the plan give its values."""
    path = runs.prepare(tmp_path)
    plan, parts = runs.planned(path, tmp_path / "target", n_samples=4)
    explained = plan.explain(parts[0].records)
    meta = {"background": 2, "batch_size": 16, "precision": "float32", "preset": "physical"}
    run = collection.load(plan.folder.open("tiny", path / "run"))
    ids = explained.ids.tolist()[::-1]
    explainers = faithfulness.load_explainers(run, runs.cache_of(path), plan.detectors, ids, meta)
    for model, explainer in explainers.items():
        keys = [
            int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") for name in ids
        ]  # as the plan does
        found = faithfulness.shapley_values(
            explainer.detector,
            explainer.inputs,
            explainer.background,
            4,
            0,
            keys=keys,
            compute=explainer.compute,
        )
        np.testing.assert_allclose(
            found.values[::-1], getattr(explained, f"{model}_shaps"), rtol=1e-3, atol=1e-6
        )
    with pytest.raises(ValueError, match="preset"):
        faithfulness.load_explainers(
            run, runs.cache_of(path), plan.detectors, ids, meta | {"preset": "released"}
        )
