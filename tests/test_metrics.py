import numpy as np
import pandas as pd
import pytest
from scipy import stats

from defocus_lib import metrics


def table(real, **fakes):
    """Predictions of scenes s0, s1, ... with their logits."""
    rows = [(f"s{i}", "real", 0, logit) for i, logit in enumerate(real)]
    for name, logits in fakes.items():
        rows += [(f"s{i}", name, 1, logit) for i, logit in enumerate(logits)]
    return pd.DataFrame(rows, columns=["scene", "manipulation", "label", "logit"])


def test_auc_with_ties_by_hand():
    # Of the nine pairs, fake wins 6, ties 2 (half each), loses 1: (6 + 1) / 9.
    found = metrics.evaluate(table([-1.0, 0.0, 2.0], splice=[0.0, 2.0, 3.0]), resamples=20).iloc[0]
    assert found["auc"] == pytest.approx(7 / 9)
    assert found["scenes"] == 3 and found["manipulation"] == "splice"
    # At a logit of 0: two of three fakes are above it, two of three reals are not.
    assert found["balanced_accuracy"] == pytest.approx(2 / 3)


def test_auc_is_the_rank_statistic():
    rng = np.random.default_rng(0)
    real, fake = np.round(rng.normal(0, 1, 40), 1), np.round(rng.normal(0.7, 1, 40), 1)
    found = metrics.evaluate(table(real, splice=fake), resamples=20).iloc[0]
    assert found["auc"] == pytest.approx(stats.mannwhitneyu(fake, real).statistic / 1600)
    assert found["auc_low"] < found["auc"] < found["auc_high"]


def test_each_manipulation_is_compared_with_the_real_images_of_its_own_scenes():
    predictions = table([0.0, 0.0, 5.0], splice=[1.0, 1.0], texture=[-1.0, -1.0, -1.0])
    found = metrics.evaluate(predictions.sample(frac=1, random_state=0), resamples=20).set_index("manipulation")
    assert found.loc["splice", ["auc", "scenes"]].tolist() == [1.0, 2]
    assert found.loc["texture", ["auc", "scenes"]].tolist() == [0.0, 3]


def test_scenes_are_resampled_with_their_pair():
    # Scenes differ wildly, but within each the fake is higher: unpaired resampling would know no such thing.
    level = np.random.default_rng(1).normal(0, 3, 60)
    low, high = metrics.auc_interval(level, level + 2.0, resamples=300)
    rng = np.random.default_rng(2)
    loose = []
    for _ in range(300):
        a, b = rng.choice(level, 60), rng.choice(level + 2.0, 60)
        loose.append((b[:, None] > a).mean())
    assert high - low < 0.6 * np.ptp(np.quantile(loose, [0.025, 0.975]))


def test_the_interval_covers_the_truth():
    truth = stats.norm.cdf(1 / np.sqrt(2))
    rng = np.random.default_rng(3)
    covered = []
    for seed in range(20):
        low, high = metrics.auc_interval(rng.normal(0, 1, 40), rng.normal(1, 1, 40), resamples=80, seed=seed)
        covered.append(low <= truth <= high)
    # Of 20 intervals that cover in 90 % of the cases, fewer than 15 do once in 90 runs; of 50 %, 49 times in 50.
    assert sum(covered) >= 15


def test_more_scenes_make_a_narrower_interval():
    rng = np.random.default_rng(4)
    widths = [np.ptp(metrics.auc_interval(rng.normal(0, 1, n), rng.normal(1, 1, n), resamples=120)) for n in (20, 320)]
    assert 2 < widths[0] / widths[1] < 8  # a factor of four is expected


def test_same_seed_same_interval():
    rng = np.random.default_rng(5)
    scores = rng.normal(0, 1, 30), rng.normal(1, 1, 30)
    first, again, other = (metrics.auc_interval(*scores, resamples=50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_missing_pair_is_refused_by_name():
    predictions = table([0.0, 1.0, 2.0], splice=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="scene 's1' has splice but no real image"):
        metrics.evaluate(predictions.drop(index=1))


def test_a_repeated_image_is_refused():
    predictions = table([0.0, 1.0], splice=[1.0, 2.0])
    with pytest.raises(ValueError, match="duplicate"):
        metrics.evaluate(pd.concat([predictions, predictions.iloc[:1]]))


@pytest.mark.parametrize(
    ("auc", "low", "high", "said"),
    [
        (0.9, 0.87, 0.93, "it is met, interval included"),
        (0.9, 0.80, 0.95, "it is met, though the interval does not rule out less"),
        (0.8, 0.75, 0.86, "it is missed, though the interval does not rule it out"),
        (0.7, 0.65, 0.75, "it is missed. Two likely reasons"),
    ],
)
def test_the_verdict_follows_the_interval(auc, low, high, said):
    assert said in metrics.aim_verdict(auc, low, high, aim=0.85)


def test_what_carries_over_is_said_by_the_interval_and_leaves_out_what_was_learned():
    rows = [("splice", 0.9, 0.8, 0.95), ("warp", 0.55, 0.45, 0.6), ("odd", 0.3, 0.2, 0.4), ("learned", 0.9, 0.8, 1.0)]
    table = pd.DataFrame(rows, columns=["manipulation", "auc", "auc_low", "auc_high"])
    said = metrics.carries_over(table, "learned")
    assert said == "splice 0.90 (above chance), warp 0.55 (like chance), odd 0.30 (below chance)"
