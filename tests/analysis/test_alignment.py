import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from defocus_lib.analysis import alignment
from tests.reference import alignment as literal

GROUPS = ["a", "a", "b", "c", "c", "d"]


@pytest.fixture
def stack():
    """Fake and real maps of six pairs, some values on the borders of bins, and two attributions."""
    rng = np.random.default_rng(11)
    fake, real = rng.random((2, 6, 8, 9), dtype=np.float32)
    fake[0, 0, :5] = [0, 1, 0.5, 0.25, 0.75]
    own, untrained = rng.normal(size=(2, 6, 8, 9)).astype(np.float32)
    return fake, real, own, untrained


def scored(fake, real, attributions, bins=20):
    """The table of pairs that are groups of their own."""
    by_name = alignment.pair_histograms(fake, real, attributions, bins)
    return alignment.alignment_table(by_name, np.arange(len(fake)))


@pytest.mark.parametrize("bins", [1, 4, 20])
def test_agrees_with_the_literal_loop(stack, bins):
    fake, real, own, _ = stack
    table = scored(fake, real, {"defocus": own}, bins)
    for model, values in (("defocus", own), ("uniform", np.ones_like(own))):
        rows = table[table["model"] == model]
        for row, found in enumerate(rows.itertuples()):
            difference = fake[row].astype(float) - real[row]
            overlap, kl = literal.score(fake[row], difference, values[row], bins)
            assert found.score == pytest.approx(overlap, abs=1e-9)
            np.testing.assert_allclose(found.KL, kl, atol=1e-6)


def test_by_hand():
    fake = np.array([[[0.0, 0.2], [0.8, 1.0]]])
    real = np.array([[[0.0, 0.5], [0.7, 1.0]]])
    shaps = np.array([[[1.0, -1.0], [2.0, 0.0]]])
    by_name = alignment.pair_histograms(fake, real, {"defocus": shaps}, bins=2)
    np.testing.assert_allclose(by_name["difference"].weights, [[0.75, 0.25]], atol=1e-7)
    np.testing.assert_allclose(by_name["defocus"].weights, [[0.5, 0.5]], atol=1e-7)
    row = alignment.alignment_table(by_name, ["a"]).set_index("model").loc["defocus"]
    assert row["score"] == pytest.approx(0.75, abs=1e-6) and row["group"] == "a"
    kl = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert row["KL"] == pytest.approx(kl, abs=1e-6)


def test_borders_of_the_bins():
    values = np.array([[[0.0, 0.25, 0.75, 1.0]]])
    weights = alignment.histograms(values, np.ones_like(values), bins=4).weights[0]
    np.testing.assert_allclose(weights, [0.25, 0.25, 0, 0.5], atol=1e-7)


def test_an_attribution_equal_to_the_difference_scores_one(stack):
    fake, real, _, _ = stack
    table = scored(fake, real, {"defocus": 7 * (real - fake)})
    best = table[table["model"] == "defocus"]
    np.testing.assert_allclose(best["score"], 1, atol=1e-6)
    np.testing.assert_allclose(best["KL"], 0, atol=1e-6)


def test_the_score_forgets_places():
    """What the documentation says: pixels of one value may be exchanged without changing it."""
    fake = np.repeat([[[0.1, 0.9]]], 4, axis=1)
    real = fake.copy()
    real[0, 0] += [0.1, 0]
    right, wrong = np.zeros((2, 1, 4, 2))
    right[0, 0, 0], wrong[0, 3, 0] = 1, 1
    scores = scored(fake, real, {"right": right, "wrong": wrong}).set_index("model")["score"]
    assert scores["right"] == pytest.approx(1)
    assert scores["wrong"] == scores["right"]


def test_divergence_is_scipys_entropy():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(20), size=(2, 5))
    np.testing.assert_allclose(alignment.divergence(p, q), entropy(p, q, axis=1), atol=1e-5)


def test_equal_maps_score_zero_and_stay_finite():
    fake = np.full((1, 4, 4), 0.5)
    table = scored(fake, fake, {"defocus": np.zeros((1, 4, 4))})
    assert (table["score"] == 0).all() and np.isfinite(table["KL"]).all()


def test_summary_by_hand():
    fake = np.array([[[0.0, 1.0]], [[0.0, 1.0]]])
    real = np.array([[[0.5, 1.0]], [[0.0, 0.5]]])
    shaps = np.array([[[1.0, 0.0]], [[1.0, 0.0]]])  # right in the first pair, wrong in the second
    summary = alignment.summary(scored(fake, real, {"defocus": shaps}, bins=2))
    row = summary.loc["defocus"]
    assert row["pairs"] == 2 and row["above uniform"] == 0.5
    assert row["score mean"] == pytest.approx(0.5) and row["score std"] == pytest.approx(0.5**0.5)
    assert np.isnan(summary.loc["uniform", "above uniform"])


def test_summary_of_several_manipulations_compares_within_each(stack):
    fake, real, own, _ = stack
    table = scored(fake, real, {"defocus": own})
    halved = table.assign(manipulation="texture", score=table["score"] / 2)
    both = pd.concat([table.assign(manipulation="splice"), halved])
    summary = alignment.summary(both, ("manipulation", "model"))
    alone = alignment.summary(table).loc["defocus"]
    assert summary.loc[("splice", "defocus")].equals(alone.rename(("splice", "defocus")))
    assert summary.loc[("texture", "defocus"), "above uniform"] == alone["above uniform"]


def test_the_excess_over_uniform_is_the_mean_difference_of_pairs_by_group(stack):
    fake, real, own, _ = stack
    by_name = alignment.pair_histograms(fake, real, {"defocus": own})
    table = alignment.alignment_table(by_name, GROUPS)
    scores = table.pivot(index="pair", columns="model", values="score")
    difference = scores["defocus"] - scores["uniform"]
    found = alignment.excess_over_uniform(table, 200)
    assert list(found) == ["defocus"]
    assert found["defocus"].value == pytest.approx(difference.mean())
    assert found["defocus"].low < difference.mean() < found["defocus"].high
    one_group = alignment.excess_over_uniform(table.assign(group="a"), 200)
    assert np.isnan(one_group["defocus"].low)


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


def test_permuted_pixels_are_the_same_pixels(stack):
    own = stack[2]
    moved = alignment.permuted(own, seed=1)
    assert not np.array_equal(moved, own)
    np.testing.assert_array_equal(np.sort(moved.reshape(6, -1)), np.sort(own.reshape(6, -1)))
    np.testing.assert_array_equal(moved, alignment.permuted(own, seed=1))


def test_permuted_pixels_score_like_the_uniform_attribution_on_average(stack):
    fake, real, own, _ = stack
    moved = {str(seed): alignment.permuted(own, seed) for seed in range(200)}
    by_name = alignment.pair_histograms(fake, real, moved, 4)
    mean = np.mean([by_name[name].weights for name in moved], axis=0)
    np.testing.assert_allclose(mean, by_name["uniform"].weights, atol=0.02)


def test_a_bin_is_left_out_by_hand():
    fake = np.array([[[0.1, 0.6, 0.7, 0.9]]])
    weights = {"own": np.array([[[1.0, 1.0, 1.0, 2.0]]])}
    all_bins = alignment.pair_histograms(fake, fake - 0.1, weights, bins=4)
    np.testing.assert_allclose(all_bins["own"].weights, [[0.2, 0, 0.4, 0.4]], atol=1e-6)
    lowest = alignment.without_bin(all_bins, "lowest")["own"].weights
    np.testing.assert_allclose(lowest, [[0, 0, 0.5, 0.5]], atol=1e-6)
    fullest = alignment.without_bin(all_bins, "fullest")  # that of 0.6 and 0.7
    np.testing.assert_allclose(fullest["own"].weights, [[1 / 3, 0, 0, 2 / 3]], atol=1e-6)
    np.testing.assert_allclose(fullest["uniform"].weights, [[0.5, 0, 0, 0.5]], atol=1e-6)
    none = alignment.without_bin(all_bins, "none")["own"].weights
    np.testing.assert_allclose(none, all_bins["own"].weights)
    with pytest.raises(ValueError, match="left out is 'first'; one of none, lowest, fullest"):
        alignment.without_bin(all_bins, "first")


def test_mismatched_is_the_mean_over_pairs_of_other_groups(stack):
    fake, real, own, _ = stack
    by_name = alignment.pair_histograms(fake, real, {"own": own}, 5)
    first, second = by_name["own"].weights, by_name["difference"].weights
    found = alignment.mismatched(first, second, GROUPS)
    for row in range(6):
        others = [j for j in range(6) if GROUPS[j] != GROUPS[row]]
        overlaps = [np.minimum(first[row], second[j]).sum() for j in others]
        assert found[row] == pytest.approx(np.mean(overlaps))
    assert np.isnan(alignment.mismatched(first, second, ["a"] * 6)).all()


def test_baselines_agree_with_the_literal_loop(stack):
    fake, real, own, untrained = stack
    table = alignment.baseline_scores(fake, real, {"rgb": (own, untrained)}, GROUPS, 5, seed=2)
    rows = table[table["left out"] == "none"]
    assert len(table) == 18 and rows["group"].tolist() == GROUPS
    assert (rows["pixels left out"] < 1e-6).all()
    weights = {"score": own, "untrained": untrained, "uniform": np.ones_like(own)}
    weights["permuted"] = alignment.permuted(own, 2)
    for name, values in weights.items():
        expected = [
            literal.score(fake[i], fake[i].astype(float) - real[i], values[i], 5)[0]
            for i in range(6)
        ]
        np.testing.assert_allclose(rows[name], expected, atol=1e-6)


def test_pixels_left_out_are_those_of_the_bin(stack):
    fake, real, own, untrained = stack
    table = alignment.baseline_scores(fake, real, {"rgb": (own, untrained)}, GROUPS, bins=5)
    lowest = table.loc[table["left out"] == "lowest", "pixels left out"]
    np.testing.assert_allclose(lowest, (fake < 0.2).mean((1, 2)), atol=1e-6)


def simulated(shift, groups=40, seed=0):
    """Scores ``shift`` above every baseline on average; the three pairs of a group are alike."""
    rng = np.random.default_rng(seed)
    luck = np.repeat(rng.normal(size=groups), 3) + 0.1 * rng.normal(size=3 * groups)
    names = np.repeat(np.arange(groups), 3).astype(str)
    table = pd.DataFrame({"group": names, "score": 0.7 + shift + 0.1 * luck, "model": "rgb"})
    about = {"left out": "none", "pixels left out": 0.0}
    return table.assign(**about, **dict.fromkeys(alignment.BASELINES, 0.7))


def test_intervals_know_that_pairs_of_a_group_are_alike():
    """As wide as those of 40 independent scores: the standard error is that of group means."""
    table = simulated(0.02)
    row = alignment.compare_with_baselines(table, n_bootstrap=2000).iloc[0]
    means = table.groupby("group")["score"].mean()
    assert row["difference"] == pytest.approx(means.mean() - 0.7)
    assert (row["pairs"], row["groups"]) == (120, 40)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * means.std() / 40**0.5, rel=0.12)


def test_no_difference_is_seldom_called_one():
    intervals = [
        alignment.compare_with_baselines(simulated(0.0, seed=seed), n_bootstrap=100).iloc[0]
        for seed in range(100)
    ]
    assert sum(row["low"] > 0 or row["high"] < 0 for row in intervals) <= 12


def test_a_single_group_has_no_interval_and_no_mismatched_pair(stack):
    fake, real, own, untrained = stack
    table = alignment.baseline_scores(fake, real, {"rgb": (own, untrained)}, ["a"] * 6, bins=5)
    compared = alignment.compare_with_baselines(table)
    assert compared[["low", "high"]].isna().all(axis=None)
    mismatched = compared["baseline"] == "mismatched"
    assert compared["difference"].isna().equals(mismatched)


def test_the_text_keeps_the_order():
    tables = [
        simulated(0.1).assign(manipulation="splice"),
        simulated(0.0).assign(manipulation="blur"),
    ]
    by = ("manipulation", "model")
    text = alignment.comparison_text(
        alignment.compare_with_baselines(pd.concat(tables), by, 50), by
    )
    assert text.index.tolist() == [("splice", "rgb"), ("blur", "rgb")]
    assert tuple(text) == alignment.BASELINES
    assert text.iloc[0, 0].startswith("+0.") and "[" in text.iloc[0, 0]
