import numpy as np
import pandas as pd
import pytest

from defocus_lib.analysis import alignment, alignment_baselines
from tests.reference import alignment as literal


@pytest.fixture
def stack():
    """Fake and real maps of six pairs, and two attributions of each."""
    rng = np.random.default_rng(11)
    fake, real = rng.random((2, 6, 8, 9))
    own, untrained = rng.normal(size=(2, 6, 8, 9))
    return fake, real, own, untrained


GROUPS = ["a", "a", "b", "c", "c", "d"]


def test_permuted_pixels_are_the_same_pixels(stack):
    own = stack[2]
    moved = alignment_baselines.permuted(own, seed=1)
    assert not np.array_equal(moved, own)
    np.testing.assert_array_equal(np.sort(moved.reshape(6, -1)), np.sort(own.reshape(6, -1)))
    np.testing.assert_array_equal(moved, alignment_baselines.permuted(own, seed=1))


def test_permuted_pixels_score_like_the_uniform_attribution_on_average(stack):
    fake, real, own, _ = stack
    moved = {str(seed): alignment_baselines.permuted(own, seed) for seed in range(200)}
    by_name = alignment.pair_histograms(fake, real, moved, 4)
    mean = np.mean([by_name[name].weights for name in moved], axis=0)
    np.testing.assert_allclose(mean, by_name["uniform"].weights, atol=0.02)


def test_a_bin_is_left_out_by_hand():
    fake = np.array([[[0.1, 0.6, 0.7, 0.9]]])
    weights = {"own": np.array([[[1.0, 1.0, 1.0, 2.0]]])}
    whole = alignment.pair_histograms(fake, fake - 0.1, weights, bins=4)
    np.testing.assert_allclose(whole["own"].weights, [[0.2, 0, 0.4, 0.4]], atol=1e-6)
    lowest = alignment_baselines.without_bin(whole, "lowest")["own"].weights
    np.testing.assert_allclose(lowest, [[0, 0, 0.5, 0.5]], atol=1e-6)
    fullest = alignment_baselines.without_bin(whole, "fullest")  # that of 0.6 and 0.7
    np.testing.assert_allclose(fullest["own"].weights, [[1 / 3, 0, 0, 2 / 3]], atol=1e-6)
    np.testing.assert_allclose(fullest["uniform"].weights, [[0.5, 0, 0, 0.5]], atol=1e-6)
    np.testing.assert_allclose(
        alignment_baselines.without_bin(whole, "none")["own"].weights, whole["own"].weights
    )
    with pytest.raises(
        ValueError, match="left out is 'first'; one of none, lowest, fullest wanted"
    ):
        alignment_baselines.without_bin(whole, "first")


def test_mismatched_is_the_mean_over_pairs_of_other_groups(stack):
    fake, real, own, _ = stack
    by_name = alignment.pair_histograms(fake, real, {"own": own}, 5)
    first, second = by_name["own"].weights, by_name["difference"].weights
    found = alignment_baselines.mismatched(first, second, GROUPS)
    for row in range(6):
        others = [
            np.minimum(first[row], second[j]).sum() for j in range(6) if GROUPS[j] != GROUPS[row]
        ]
        assert found[row] == pytest.approx(np.mean(others))
    assert np.isnan(alignment_baselines.mismatched(first, second, ["a"] * 6)).all()


def test_scores_agree_with_the_literal_loop(stack):
    fake, real, own, untrained = stack
    table = alignment_baselines.null_scores(
        fake, real, {"rgb": (own, untrained)}, GROUPS, bins=5, seed=2
    )
    rows = table[table["left out"] == "none"]
    assert (
        len(table) == 18
        and rows["group"].tolist() == GROUPS
        and (rows["pixels left out"] < 1e-6).all()
    )
    moved = alignment_baselines.permuted(own, 2)
    weights = {
        "score": own,
        "permuted": moved,
        "untrained": untrained,
        "uniform": np.ones_like(own),
    }
    for name, values in weights.items():
        wanted = [literal.score(fake[i], fake[i] - real[i], values[i], 5)[0] for i in range(6)]
        np.testing.assert_allclose(rows[name], wanted, atol=1e-6)


def test_pixels_left_out_are_those_of_the_bin(stack):
    fake, real, own, untrained = stack
    table = alignment_baselines.null_scores(fake, real, {"rgb": (own, untrained)}, GROUPS, bins=5)
    lowest = table.loc[table["left out"] == "lowest", "pixels left out"]
    np.testing.assert_allclose(lowest, (fake < 0.2).mean((1, 2)), atol=1e-6)


def simulated(shift, groups=40, seed=0):
    """Scores that lie ``shift`` above every null on average; the three pairs of a group share most of their luck."""
    rng = np.random.default_rng(seed)
    luck = np.repeat(rng.normal(size=groups), 3) + 0.1 * rng.normal(size=3 * groups)
    table = pd.DataFrame(
        {"group": np.repeat(np.arange(groups), 3).astype(str), "score": 0.7 + shift + 0.1 * luck}
    )
    return table.assign(
        model="rgb",
        **{"left out": "none", "pixels left out": 0.0},
        **dict.fromkeys(alignment_baselines.NULLS, 0.7),
    )


def test_intervals_know_that_pairs_of_a_group_are_alike():
    """As wide as those of 40 independent scores: the standard error is that of the groups' means."""
    table = simulated(0.02)
    row = alignment_baselines.against_nulls(table, 2000).iloc[0]
    means = table.groupby("group")["score"].mean()
    assert row["difference"] == pytest.approx(means.mean() - 0.7) and (
        row["pairs"],
        row["groups"],
    ) == (120, 40)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * means.std() / 40**0.5, rel=0.12)


def test_no_difference_is_seldom_called_one():
    tables = [
        alignment_baselines.against_nulls(simulated(0.0, seed=seed), 200).iloc[0]
        for seed in range(100)
    ]
    assert sum(row["low"] > 0 or row["high"] < 0 for row in tables) <= 12


def compared(**intervals):
    """A comparison of one model by hand; the same whatever bin is left out, unless ``fullest`` says so."""
    fullest = intervals.pop("fullest", {})
    rows = [
        {
            "model": "rgb",
            "left out": which,
            "null": null,
            "difference": 0.0,
            "low": low,
            "high": high,
        }
        for which in alignment_baselines.LEFT_OUT
        for null, (low, high) in (intervals | (fullest if which == "fullest" else {})).items()
    ]
    return pd.DataFrame(rows)


ABOVE, BELOW, NEAR = (0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1)


def test_what_is_said_of_the_nulls():
    mixed = compared(uniform=NEAR, permuted=BELOW, untrained=ABOVE, mismatched=ABOVE)
    said = alignment_baselines.null_sentence(mixed, "rgb")
    assert said == (
        "lies above untrained weights and mismatched pairs, cannot be told from the uniform attribution and lies below"
        " permuted pixels"
    )
    lacking = compared(uniform=NEAR, permuted=NEAR, untrained=NEAR, mismatched=(np.nan, np.nan))
    assert "mismatched" not in alignment_baselines.null_sentence(lacking, "rgb")
    nothing = compared(**dict.fromkeys(alignment_baselines.NULLS, (np.nan, np.nan)))
    assert "no interval" in alignment_baselines.null_sentence(nothing, "rgb")
    assert "so few groups" in alignment_baselines.nulls_verdict(nothing, "rgb")


def test_what_is_said_of_the_bins():
    every = dict.fromkeys(alignment_baselines.NULLS, ABOVE)
    assert (
        alignment_baselines.bins_sentence(compared(**every), "rgb")
        == "leaving a bin out changes none of this"
    )
    said = alignment_baselines.bins_sentence(compared(**every, fullest={"uniform": NEAR}), "rgb")
    assert (
        said.startswith("without the fullest bin it lies above permuted pixels")
        and "lowest" not in said
    )


def test_the_verdict_wants_every_null_exceeded():
    every = dict.fromkeys(alignment_baselines.NULLS, ABOVE)
    assert "speaks for this detector" in alignment_baselines.nulls_verdict(compared(**every), "rgb")
    one_bin = compared(**every, fullest={"uniform": NEAR})
    assert "one bin carries it" in alignment_baselines.nulls_verdict(one_bin, "rgb")
    assert "does not speak" in alignment_baselines.nulls_verdict(
        compared(**every | {"permuted": NEAR}), "rgb"
    )


def test_the_table_to_be_read_keeps_the_order():
    shifts = {"splice": 0.1, "blur": 0.0}
    found = alignment_baselines.by_manipulation(
        {name: simulated(shift) for name, shift in shifts.items()}, 50
    )
    text = alignment_baselines.wide(found, ("manipulation", "model"))
    assert text.index.tolist() == [("splice", "rgb"), ("blur", "rgb")] and list(text) == list(
        alignment_baselines.NULLS
    )
    assert text.iloc[0, 0].startswith("+0.") and "[" in text.iloc[0, 0]
