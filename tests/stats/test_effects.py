import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import mixedlm

from defocus_lib.stats import effects
from defocus_lib.stats.bootstrap import bootstrap_mean, formatted


def clustered(rng, videos=30, frames=6, shift=0.0, within=0.5):
    """Real and fake values of videos; a video has an effect of its own, and one on each side."""
    shared, own = rng.normal(0, 0.6, videos), rng.normal(0, 0.8, (2, videos))
    values = (shared + own)[..., None] + rng.normal(0, within, (2, videos, frames))
    values[1] += shift
    names = np.repeat([f"{video:03d}" for video in range(videos)], frames)
    return tuple(values.reshape(2, -1)), (names, names)


def effect_sizes(real, fake):
    """All images count once: effect -> value."""
    values = effects.effect_sizes(real, fake)(np.ones(len(real) + len(fake)))
    return dict(zip(effects.EFFECTS, values, strict=True))


def scipy_effect_sizes(real, fake):
    larger = stats.mannwhitneyu(fake, real).statistic / (len(real) * len(fake))
    distance = stats.wasserstein_distance(real, fake)
    return [stats.ks_2samp(real, fake).statistic, 2 * larger - 1, distance]


def test_effect_sizes_by_hand():
    # Of six pairs the manipulated image is the larger in four, the smaller in one. The distribution
    # functions differ by
    # 1/3 from 1 to 2, by 1/6 from 2 to 3, and by 1/2 from 3 to 4.
    result = effect_sizes([1, 2, 3], [2, 4])
    assert result == pytest.approx(
        {"KS D": 1 / 2, "Cliff's delta": 3 / 6, "Wasserstein": 1 / 3 + 1 / 6 + 1 / 2}
    )
    assert effect_sizes([2, 4], [1, 2, 3])["Cliff's delta"] == pytest.approx(-1 / 2)


def test_equal_and_separate_samples():
    assert list(effect_sizes([1.0, 1.0], [1.0]).values()) == [0, 0, 0]
    assert list(effect_sizes([0.0, 1.0], [5.0, 6.0]).values()) == [1, 1, 5]


@pytest.mark.parametrize("ties", [False, True])
def test_weights_count_as_images_written_out(ties):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=23), rng.normal(0.4, 1, size=31)
    if ties:
        real, fake = real.round(), fake.round()
    statistic = effects.effect_sizes(real, fake)
    np.testing.assert_allclose(statistic(np.ones(54)), scipy_effect_sizes(real, fake), atol=1e-12)
    times = rng.integers(0, 4, 54)
    written = scipy_effect_sizes(np.repeat(real, times[:23]), np.repeat(fake, times[23:]))
    np.testing.assert_allclose(statistic(times.astype(float)), written, atol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_interval_of_cliffs_delta_covers_the_truth(shift):
    """100 data sets of normal values. Two images of different videos differ with twice the variance
    of one."""
    rng, covered = np.random.default_rng(6), 0
    truth = 2 * stats.norm.cdf(shift / np.sqrt(2 * (0.6**2 + 0.8**2 + 0.5**2))) - 1
    for seed in range(100):
        values, groups = clustered(rng, shift=shift)
        table = effects.effect_table({"fake": values}, {"fake": groups}, n_bootstrap=100, seed=seed)
        covered += table.loc[1, "low"] <= truth <= table.loc[1, "high"]
    # Of 100 intervals that cover in 93 %, fewer than 86 do once in 150 runs, and all 100 do once in
    # 1,400.
    assert 86 <= covered < 100


def test_an_interval_that_takes_frames_as_independent_is_too_short():
    rng, covered = np.random.default_rng(6), 0
    names = tuple(np.char.add(f"{side} ", np.arange(180).astype(str)) for side in ("real", "fake"))
    for seed in range(50):
        values, _ = clustered(rng)
        table = effects.effect_table({"fake": values}, {"fake": names}, n_bootstrap=60, seed=seed)
        covered += table.loc[1, "low"] <= 0 <= table.loc[1, "high"]
    assert covered < 38


@pytest.mark.parametrize(("shift", "least"), [(0.0, 0.65), (1.0, 0.75)])
def test_the_intervals_of_the_distances_are_rough(shift, least):
    """They cover the truth of a large sample less often than 95 %, but mostly, and 0 where nothing
    differs."""
    rng, covered = np.random.default_rng(3), np.zeros(2)
    large, _ = clustered(np.random.default_rng(0), videos=40_000, frames=2, shift=shift)
    truth = effect_sizes(*large) if shift else dict.fromkeys(effects.EFFECTS, 0.0)
    for seed in range(40):
        values, groups = clustered(rng, shift=shift)
        table = effects.effect_table({"fake": values}, {"fake": groups}, 100, seed).set_index(
            "effect"
        )
        for place, name in enumerate(("KS D", "Wasserstein")):
            covered[place] += table.loc[name, "low"] <= truth[name] <= table.loc[name, "high"]
        assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
        assert (table.loc[["KS D", "Wasserstein"], "low"] >= 0).all()
    assert (covered / 40 >= least).all()


def test_the_interval_of_a_distance_is_that_of_scipy():
    """One image of each kind a group: rows drawn with replacement."""
    real, fake = np.random.default_rng(13).normal((0, 1), size=(20, 2)).T
    names = [f"{scene:02d}" for scene in range(20)]
    table = effects.effect_table({"fake": (real, fake)}, {"fake": (names, names)}, 4000).set_index(
        "effect"
    )
    expected = stats.bootstrap(
        (real, fake),
        stats.wasserstein_distance,
        paired=True,
        method="basic",
        n_resamples=4000,
        vectorized=False,
        rng=1,
    ).confidence_interval
    result = table.loc["Wasserstein", ["low", "high"]].tolist()
    assert result == pytest.approx([max(expected.low, 0), expected.high], abs=0.06)


def test_the_table_has_one_row_a_manipulation_and_effect():
    rng = np.random.default_rng(2)
    pairs = {name: clustered(rng, shift=shift) for name, shift in (("same", 0.0), ("other", 2.0))}
    values, groups = ({name: pair[side] for name, pair in pairs.items()} for side in (0, 1))
    first, again, other = (effects.effect_table(values, groups, 100, seed) for seed in (1, 1, 2))
    assert first.equals(again) and not first["low"].equals(other["low"])
    assert first["manipulation"].tolist() == ["same"] * 3 + ["other"] * 3 and set(
        first["groups"]
    ) == {30}
    text = effects.effect_text(first)
    assert text.index.tolist() == ["same", "other"] and list(text.columns) == list(effects.EFFECTS)
    row = first.iloc[4]
    assert text.loc["other", "Cliff's delta"] == formatted(row["value"], row["low"], row["high"])


def test_groups_may_hold_one_kind_only():
    real, fake = np.random.default_rng(3).normal(size=(2, 12))
    names = np.repeat(["a", "b", "c"], 4)
    table = effects.effect_table(
        {"fake": (real, fake)}, {"fake": (names, np.char.add(names, "x"))}, 100
    )
    assert set(table["groups"]) == {6} and (table["high"] > table["low"]).all()


def test_a_single_group_has_no_interval():
    table = effects.effect_table(
        {"fake": ([1.0, 2.0], [2.0, 3.0])}, {"fake": (["a", "a"], ["a", "a"])}, 20
    )
    assert table[["low", "high"]].isna().all(axis=None) and table["value"].notna().all()
    assert effects.effect_text(table).loc["fake", "KS D"] == "0.50"


def test_correlation_of_images_of_a_group_by_hand():
    # Means 2 and 6: 2 * (4 + 4) / 1 between, 4 * 1 / 2 within, two images each: (16 - 2) / (16 +
    # 2).
    assert effects.intraclass_correlation([1, 3, 5, 7], list("aabb")) == pytest.approx(14 / 18)
    assert effects.intraclass_correlation([1, 3, 1, 3], list("aabb")) == -1
    assert effects.intraclass_correlation([1, 1, 3, 3], list("aabb")) == 1


@pytest.mark.parametrize("names", ["abcd", "aaaa", "aabb"])
def test_without_two_images_two_groups_or_a_variance_there_is_no_correlation(names):
    values = [2.0] * 4 if names == "aabb" else [1.0, 2.0, 3.0, 4.0]
    assert np.isnan(effects.intraclass_correlation(values, list(names)))


def test_correlation_is_that_of_a_mixed_model():
    """For groups of one size, restricted maximum likelihood is the analysis of variance."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(12), 5)
    values = rng.normal(0, 1.0, 12)[groups] + rng.normal(0, 0.8, 60)
    fit = mixedlm("value ~ 1", pd.DataFrame({"value": values}), groups=groups).fit(reml=True)
    between, within = float(fit.cov_re.iloc[0, 0]), fit.scale
    result = effects.intraclass_correlation(rng.permuted(values), groups)
    assert abs(result) < 0.3
    assert effects.intraclass_correlation(values, groups) == pytest.approx(
        between / (between + within), abs=1e-4
    )


def test_correlation_of_groups_of_several_sizes_is_that_of_scipys_f():
    rng = np.random.default_rng(5)
    sizes = np.array([1, 2, 7, 4, 3])
    groups = np.repeat(np.arange(5), sizes)
    values = rng.normal(size=5)[groups] + rng.normal(size=17)
    f = stats.f_oneway(*(values[groups == group] for group in range(5))).statistic
    typical = (17 - (sizes**2).sum() / 17) / 4
    assert effects.intraclass_correlation(values, groups) == pytest.approx(
        (f - 1) / (f + typical - 1)
    )


def test_simulated_correlation_and_variance_of_the_mean_are_found_again():
    """Variances 0.3 between and 0.7 within, 40 videos of 8 frames: the mean varies as that of 320 /
    3.1 images."""
    rng = np.random.default_rng(7)
    names = np.repeat([f"{video:02d}" for video in range(40)], 8)
    values = rng.normal(0, 0.3**0.5, (300, 40)).repeat(8, axis=1) + rng.normal(
        0, 0.7**0.5, (300, 320)
    )
    tables = [effects.cluster_table({"real": (row, names)}).loc["real"] for row in values]
    assert np.mean([table["ICC"] for table in tables]) == pytest.approx(0.3, abs=0.015)
    assert np.mean([table["design effect"] for table in tables]) == pytest.approx(
        1 + 7 * 0.3, abs=0.1
    )
    effective = np.mean([table["effective images"] for table in tables])
    assert 1 / values.mean(axis=1).var() == pytest.approx(
        effective, rel=0.25
    )  # three standard errors of a variance


def test_cluster_table_by_hand():
    samples = {
        "real": ([1, 3, 5, 7], list("aabb")),
        "splice": ([1.0, 2.0], ["a", "b"]),
        "odd": ([1, 3, 1, 3], list("aabb")),
    }
    table = effects.cluster_table(samples)
    assert table.loc["real", ["images", "groups", "images per group"]].tolist() == [4, 2, 2]
    assert table["design effect"].tolist() == pytest.approx(
        [1 + 14 / 18, 1, 1]
    )  # a negative correlation counts as 0
    assert table["effective images"].tolist() == pytest.approx([4 / (1 + 14 / 18), 2, 4])
    assert np.isnan(table.loc["splice", "ICC"])


def test_an_image_of_a_large_group_counts_for_its_size():
    table = effects.cluster_table({"real": ([0.0, 0.1, 0.2, 9.0], list("aaab"))})
    assert table.loc["real", "design effect"] == pytest.approx(
        1 + ((9 + 1) / 4 - 1) * table.loc["real", "ICC"]
    )


def test_the_interval_of_a_mean_covers_the_truth():
    rng = np.random.default_rng(9)
    covered = {"videos": 0, "frames": 0}
    for seed in range(150):
        (values, _), (names, _) = clustered(rng)
        for name, units in (("videos", names), ("frames", np.arange(180))):
            mean = bootstrap_mean(values, units, n_bootstrap=150, seed=seed)
            covered[name] += mean.low <= 0 <= mean.high
    assert 133 <= covered["videos"] < 150 and covered["frames"] < 110


def test_the_interval_of_a_mean_is_scipys_where_images_are_independent():
    values = np.random.default_rng(10).normal(size=(25, 3))
    mean = bootstrap_mean(values, np.arange(25), n_bootstrap=4000)
    expected = stats.bootstrap(
        (values,), np.mean, axis=0, method="percentile", n_resamples=4000, rng=1
    )
    np.testing.assert_allclose(mean.low, expected.confidence_interval.low, atol=0.03)
    np.testing.assert_allclose(mean.high, expected.confidence_interval.high, atol=0.03)
    alone = bootstrap_mean(values[:, 1], np.arange(25), n_bootstrap=4000)
    np.testing.assert_allclose(alone.scalars, (mean.value[1], mean.low[1], mean.high[1]))


def test_groups_of_several_sizes_are_drawn_whole():
    values, names = np.array([0.0, 0.0, 0.0, 1.0]), np.array(["a", "a", "a", "b"])
    mean = bootstrap_mean(values, names, n_bootstrap=500)
    assert mean.scalars == (
        0.25,
        0,
        1,
    )  # both times the one or the other; else three zeros and a one
    assert np.isnan(bootstrap_mean(values, ["one"] * 4).scalars[1:]).all()


def test_holm_by_hand():
    # Times 3, 2 and 1 in rising order, and never below the one before.
    np.testing.assert_allclose(effects.holm([0.01, 0.04, np.nan, 0.03]), [0.03, 0.06, np.nan, 0.06])
    assert effects.holm([0.02]).tolist() == [0.02] and np.isnan(effects.holm([np.nan])).all()


def test_holm_rejects_step_by_step():
    """The smallest p-value at a level of a / K, the next at a / (K - 1), and so on until one stays
    above its level."""
    for pvalues in np.random.default_rng(11).random((3, 6)) * 0.1:
        left = sorted(pvalues.tolist())
        while left and left[0] <= 0.05 / len(left):
            left.pop(0)
        np.testing.assert_array_equal(effects.holm(pvalues) <= 0.05, ~np.isin(pvalues, left))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effects.effect_sizes([], [1.0]), "real is empty"),
        (lambda: effects.effect_sizes([1.0], [np.nan]), "fake holds 1 NaN"),
        (
            lambda: effects.effect_table({"x": (np.ones(1), np.ones(2))}, {"x": (["a"], ["a"])}),
            "fake and its groups have lengths 2 and 1",
        ),
        (
            lambda: effects.intraclass_correlation([1.0, 2.0], ["a"]),
            "values and its groups have lengths 2 and 1",
        ),
        (
            lambda: effects.cluster_table({"real": ([1.0, 2.0], ["a"])}),
            "real and its groups have lengths 2 and 1",
        ),
        (lambda: bootstrap_mean([1.0, np.inf], ["a", "b"]), "values holds 1 NaN"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
