import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import ndtr
from sklearn.metrics import roc_auc_score

from defocus_lib.stats import auc
from defocus_lib.stats.auc import Predictions


def drawn(rng, groups=20, frames=3, shift=1.0, seeds=2, spread=1.0):
    """Real and fake frames of groups; each group has an offset of its own, which both kinds
    share."""
    names = np.repeat([f"g{i:03d}" for i in range(groups)], 2 * frames)
    labels = np.tile(np.repeat([0, 1], frames), groups)
    offsets = np.repeat(rng.normal(0, spread, groups), 2 * frames)
    return Predictions(
        labels, names, offsets + shift * labels + rng.normal(size=(seeds, len(labels)))
    )


def test_three_couples_of_four_by_hand():
    labels, scores = np.array([0, 1, 0, 1]), np.array([1.0, 2.0, 2.0, 0.0])
    area = auc.weighted_auc(labels, scores)
    assert area(np.array([1, 1, 1, 1])) == 0.375 and area(np.array([1, 2, 0, 1])) == 2 / 3
    assert Predictions(labels, np.array(["a", "a", "b", "b"]), scores[None]).by_seed().tolist() == [
        0.375
    ]


def test_weights_count_as_they_do_in_scikit_learn():
    rng = np.random.default_rng(0)
    predictions = drawn(rng)
    scores, weights = (
        np.round(predictions.scores[0], 1),
        rng.integers(0, 4, (5, len(predictions.labels))).astype(float),
    )  # with ties
    expected = [roc_auc_score(predictions.labels, scores, sample_weight=row) for row in weights]
    area = auc.weighted_auc(predictions.labels, scores)
    np.testing.assert_allclose([area(row) for row in weights], expected, rtol=1e-12)


@pytest.mark.slow
def test_intervals_cover_the_true_value_about_as_often_as_they_say():
    """200 experiments of 30 groups with common offsets: 95 %, give or take 1.5 %, should cover
    it."""
    truth, rng, covered = ndtr(1 / np.sqrt(2 * (1 + 0.5**2))), np.random.default_rng(1), 0
    for number in range(200):
        predictions = {"x": drawn(rng, groups=30, frames=2, seeds=1, spread=0.5)}
        row = auc.summary(predictions, auc.resampled(predictions, 100, number)).loc["x"]
        covered += row["low"] <= truth <= row["high"]
    assert 0.90 <= covered / 200 <= 0.98


@pytest.mark.slow
def test_they_cover_it_also_when_it_is_the_seeds_that_differ():
    """Three seeds, each with a shift of its own around 1; the mean over all seeds is what is asked
    for."""
    rng, covered = np.random.default_rng(5), 0
    shifts = rng.normal(1, 0.4, 100_000)
    truth = ndtr(shifts / np.sqrt(2)).mean()
    for number in range(200):
        predictions = drawn(rng, groups=60, frames=2, seeds=3, spread=0.0, shift=0.0)
        predictions = Predictions(
            predictions.labels,
            predictions.groups,
            predictions.scores + predictions.labels * rng.normal(1, 0.4, (3, 1)),
        )
        row = auc.summary({"x": predictions}, auc.resampled({"x": predictions}, 50, number)).loc[
            "x"
        ]
        covered += row["low"] <= truth <= row["high"]
    assert 0.91 <= covered / 200 <= 0.99


def test_a_difference_is_as_certain_as_the_shared_groups_make_it():
    rng = np.random.default_rng(2)
    predictions = drawn(rng, groups=40, spread=2.0, seeds=1)
    nearly = Predictions(
        predictions.labels,
        predictions.groups,
        predictions.scores + rng.normal(0, 0.05, predictions.scores.shape),
    )
    answers = {"one": predictions, "nearly": nearly}
    draws = auc.resampled(answers, 500)
    apart = auc.differences(answers, draws, "one", ["nearly"]).loc["nearly"]
    alone = auc.summary(answers, draws).loc["one"]
    assert apart["low"] <= 0 <= apart["high"]
    assert apart["high"] - apart["low"] < (alone["high"] - alone["low"]) / 4


def test_seeds_that_disagree_widen_the_interval_as_student_says():
    rng = np.random.default_rng(3)
    predictions = drawn(rng, groups=60, frames=4, seeds=3, shift=2.0)
    torn = Predictions(
        predictions.labels,
        predictions.groups,
        predictions.scores + predictions.labels * np.array([[-1.0], [0.0], [3.0]]),
    )
    nothing = pd.DataFrame({"x": np.full(10, 0.5)})  # as if the groups were all there are
    row = auc.summary({"x": torn}, nothing).loc["x"]
    seeds = torn.by_seed()
    expected = stats.t.interval(0.95, 2, seeds.mean(), stats.sem(seeds))
    assert (row["low"], row["high"]) == pytest.approx((expected[0], min(1, expected[1])))
    assert (row["lowest"], row["highest"]) == (seeds.min(), seeds.max())


def test_the_same_seed_gives_the_same_draws_and_groups_may_hold_one_kind():
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], 10)
    apart = {
        "x": Predictions(labels, np.array([f"{k}" for k in range(20)]), rng.normal(size=(1, 20)))
    }
    pd.testing.assert_frame_equal(auc.resampled(apart, 50, 7), auc.resampled(apart, 50, 7))
    assert auc.resampled(apart, 50, 7).notna().all(axis=None)


def test_reads_a_table_of_predictions():
    rows = [
        (name, name[0], int(name[1]), seed, seed + k)
        for seed in (1, 2)
        for k, name in enumerate(("a0", "a1", "b1"))
    ]
    predictions = auc.predictions_of(
        pd.DataFrame(rows, columns=["id", "group", "label", "seed", "logit"])
    )
    assert predictions.labels.tolist() == [0, 1, 1]
    assert predictions.groups.tolist() == ["a", "a", "b"]
    assert predictions.scores.tolist() == [[1, 2, 3], [2, 3, 4]]


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0], [[1, 2]], "both 0 and 1"),
        ([0, 1], [[1, np.nan]], "NaN"),
        ([0, 1], [[1, 2, 3]], r"\(S, N\) wanted"),
    ],
)
def test_what_is_no_answer_is_refused(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        Predictions(np.array(labels), np.array(["a", "b"]), np.array(scores, dtype=float))


def test_a_single_group_has_no_interval():
    alone = {"x": Predictions(np.array([0, 1]), np.array(["a", "a"]), np.array([[0.0, 1.0]] * 2))}
    row = auc.summary(alone, auc.resampled(alone)).loc["x"]
    assert row["value"] == 1 and np.isnan([row["low"], row["high"]]).all()
