import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from defocus_lib.analysis import alignment
from tests.reference import alignment as literal


@pytest.fixture
def stack():
    """Fake and real maps, and an attribution; some values lie on the borders of bins."""
    rng = np.random.default_rng(11)
    fake, real = rng.random((2, 3, 8, 9), dtype=np.float32)
    fake[0, 0, :5] = [0, 1, 0.5, 0.25, 0.75]
    return fake, real, rng.normal(size=(3, 8, 9)).astype(np.float32)


@pytest.mark.parametrize("bins", [1, 4, 20])
def test_agrees_with_the_literal_loop(stack, bins):
    fake, real, shaps = stack
    table = alignment.alignment_table(
        alignment.pair_histograms(fake, real, {"defocus": shaps}, bins)
    )
    for model, values in (("defocus", shaps), ("uniform", np.ones_like(shaps))):
        rows = table[table["model"] == model]
        for row, found in enumerate(rows.itertuples()):
            overlap, kl = literal.score(
                fake[row], fake[row].astype(float) - real[row], values[row], bins
            )
            assert found.score == pytest.approx(overlap, abs=1e-9)
            np.testing.assert_allclose(found.KL, kl, atol=1e-6)


def test_by_hand():
    fake = np.array([[[0.0, 0.2], [0.8, 1.0]]])
    real = np.array([[[0.0, 0.5], [0.7, 1.0]]])
    shaps = np.array([[[1.0, -1.0], [2.0, 0.0]]])
    by_name = alignment.pair_histograms(fake, real, {"defocus": shaps}, bins=2)
    np.testing.assert_allclose(by_name["difference"].weights, [[0.75, 0.25]], atol=1e-7)
    np.testing.assert_allclose(by_name["defocus"].weights, [[0.5, 0.5]], atol=1e-7)
    table = alignment.alignment_table(by_name).set_index("model")
    assert table.loc["defocus", "score"] == pytest.approx(0.75, abs=1e-6)
    assert table.loc["defocus", "KL"] == pytest.approx(
        0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25), abs=1e-6
    )


def test_borders_of_the_bins():
    values = np.array([[[0.0, 0.25, 0.75, 1.0]]])
    weights = alignment.histograms(values, np.ones_like(values), bins=4).weights[0]
    np.testing.assert_allclose(weights, [0.25, 0.25, 0, 0.5], atol=1e-7)


def test_an_attribution_equal_to_the_difference_scores_one(stack):
    fake, real, _ = stack
    table = alignment.alignment_table(
        alignment.pair_histograms(fake, real, {"defocus": 7 * (real - fake)})
    )
    best = table[table["model"] == "defocus"]
    np.testing.assert_allclose(best["score"], 1, atol=1e-6)
    np.testing.assert_allclose(best["KL"], 0, atol=1e-6)


def test_the_score_forgets_places():
    """What the documentation says: pixels of one value may be exchanged without changing the score."""
    fake = np.repeat([[[0.1, 0.9]]], 4, axis=1)
    real = fake.copy()
    real[0, 0] += [0.1, 0]
    right, wrong = np.zeros((2, 1, 4, 2))
    right[0, 0, 0], wrong[0, 3, 0] = 1, 1
    table = alignment.alignment_table(
        alignment.pair_histograms(fake, real, {"right": right, "wrong": wrong})
    )
    scores = table.set_index("model")["score"]
    assert scores["right"] == pytest.approx(1)
    assert scores["wrong"] == scores["right"]


def test_divergence_is_scipys_entropy():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(20), size=(2, 5))
    np.testing.assert_allclose(alignment.divergence(p, q), entropy(p, q, axis=1), atol=1e-5)


def test_equal_maps_score_zero_and_stay_finite():
    fake = np.full((1, 4, 4), 0.5)
    table = alignment.alignment_table(
        alignment.pair_histograms(fake, fake, {"defocus": np.zeros((1, 4, 4))})
    )
    assert (table["score"] == 0).all() and np.isfinite(table["KL"]).all()


def test_summary_by_hand():
    fake = np.array([[[0.0, 1.0]], [[0.0, 1.0]]])
    real = np.array([[[0.5, 1.0]], [[0.0, 0.5]]])
    shaps = np.array([[[1.0, 0.0]], [[1.0, 0.0]]])  # right in the first pair, wrong in the second
    table = alignment.alignment_table(
        alignment.pair_histograms(fake, real, {"defocus": shaps}, bins=2)
    )
    row = alignment.summary(table).loc["defocus"]
    assert (
        row["pairs"] == 2
        and row["score mean"] == pytest.approx(0.5)
        and row["score std"] == pytest.approx(0.5**0.5)
    )
    assert row["above uniform"] == 0.5 and np.isnan(
        alignment.summary(table).loc["uniform", "above uniform"]
    )


def test_summary_of_several_manipulations_compares_within_each(stack):
    fake, real, shaps = stack
    table = alignment.alignment_table(alignment.pair_histograms(fake, real, {"defocus": shaps}))
    both = [
        table.assign(manipulation="splice"),
        table.assign(manipulation="texture", score=table["score"] / 2),
    ]
    summary = alignment.summary(pd.concat(both), ("manipulation", "model"))
    alone = alignment.summary(table)
    assert summary.loc[("splice", "defocus")].equals(
        alone.loc["defocus"].rename(("splice", "defocus"))
    )
    assert (
        summary.loc[("texture", "defocus"), "above uniform"]
        == alone.loc["defocus", "above uniform"]
    )


@pytest.mark.parametrize(
    ("values", "weights", "bins", "message"),
    [
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), 20, r"values \(1, 2, 2\), weights \(1, 2, 3\)"),
        (np.full((1, 2, 2), 1.5), np.zeros((1, 2, 2)), 20, r"values spans \[1.5, 1.5\]"),
        (np.zeros((1, 2, 2)), np.full((1, 2, 2), np.nan), 20, "weights holds 4 NaN"),
        (np.zeros((0, 2, 2)), np.zeros((0, 2, 2)), 20, "values is empty"),
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), 0, "bins is 0"),
    ],
)
def test_bad_input_names_the_argument(values, weights, bins, message):
    with pytest.raises(ValueError, match=message):
        alignment.histograms(values, weights, bins)
