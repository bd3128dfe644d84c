import numpy as np
import pandas as pd
import pytest
from scipy import stats

from defocus_lib.analysis import paper_values, variance
from defocus_lib.stats.effects import intraclass_correlation
from tests.reference import variance as literal


@pytest.fixture
def maps():
    return np.random.default_rng(5).random((2, 21, 18), dtype=np.float32)


@pytest.mark.parametrize("window", [1, 3, 15])
def test_agrees_with_the_literal_windows(maps, window):
    expected = np.stack([literal.local_variance(image, window) for image in maps])
    np.testing.assert_allclose(variance.local_variance(maps, window), expected, atol=1e-12)


def test_agrees_with_average_pooling(maps):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = torch.from_numpy(maps).double()[:, None]

    def mean(values):
        return functional.avg_pool2d(values, 15, stride=1, padding=7, count_include_pad=True)

    np.testing.assert_allclose(
        variance.local_variance(maps), (mean(x * x) - mean(x) ** 2)[:, 0].numpy(), atol=1e-12
    )


def test_a_constant_map_varies_only_where_the_zeros_outside_are_seen():
    heat = variance.local_variance(np.ones((1, 9, 9)), 3)[0]
    np.testing.assert_allclose(heat[1:-1, 1:-1], 0, atol=1e-15)
    assert heat[0, 4] == pytest.approx(6 / 9 - (6 / 9) ** 2) and heat[0, 0] == pytest.approx(
        4 / 9 - (4 / 9) ** 2
    )
    assert variance.both_means(np.ones((1, 9, 9)), 3)[0, 1] == pytest.approx(0, abs=1e-15)
    assert (variance.local_variance(np.zeros((1, 9, 9))) == 0).all()


def test_means_are_those_of_the_heatmaps(maps):
    heat = variance.local_variance(maps, 5)
    np.testing.assert_allclose(variance.mean_variance(maps, 5), heat.mean(axis=(1, 2)))
    inner = heat[:, 2:-2, 2:-2].mean(axis=(1, 2))
    whole = variance.mean_variance(maps, 5)
    np.testing.assert_allclose(variance.both_means(maps, 5), np.stack([whole, inner], axis=1))


def test_tests_agree_with_exhaustive_counting():
    rng = np.random.default_rng(0)
    real = rng.normal(size=9)
    fake = real + rng.normal(0.4, 0.5, size=9)
    result = variance.compare(real, fake)
    assert result["KS D"] == pytest.approx(literal.ks_distance(real, fake))
    assert result["paired p"] == pytest.approx(literal.sign_flip_pvalue(fake - real))


def test_equal_samples_are_not_told_apart():
    values = np.linspace(0, 1, 12)
    result = variance.compare(values, values)
    assert (result["KS D"], result["KS p"], result["paired p"]) == (0, 1, 1)


def test_the_paired_test_sees_a_small_common_shift():
    values = np.random.default_rng(1).normal(size=40)
    result = variance.compare(values, values + 0.01)
    assert result["KS p"] > 0.5 and result["paired p"] < 0.001


def paired_groups(samples):
    """Row ``i`` of the real and of the manipulated values is a group of its own."""
    return {
        name: (np.arange(len(real)), np.arange(len(real))) for name, (real, _) in samples.items()
    }


def test_same_seed_same_table():
    samples = {"splice": np.random.default_rng(1).normal(size=(2, 30))}
    groups = paired_groups(samples)
    first, second = (variance.comparison_table(samples, groups, seed=4) for _ in range(2))
    assert first.equals(second) and first.loc["splice", "groups"] == 30
    assert tuple(first.columns) == variance.COLUMNS


def test_unpaired_images_differ_in_number_and_have_no_paired_test():
    rng = np.random.default_rng(3)
    real, fake = rng.normal(size=25), rng.normal(0.3, 1, size=40)
    groups = {"fake": (np.arange(25), np.arange(25, 65))}
    table = variance.comparison_table({"fake": (real, fake)}, groups, paired=False)
    row = table.loc["fake"]
    assert tuple(table.columns) == variance.COLUMNS[:9]
    assert (row["groups"], row["real images"], row["fake images"]) == (65, 25, 40)
    assert row["KS D"] == pytest.approx(literal.ks_distance(real, fake))
    assert row["KS p"] == pytest.approx(stats.ks_2samp(real, fake).pvalue)


def frames(videos=9, per_video=6):
    """Real and fake values of videos with several frames, shuffled, with the videos they belong
    to."""
    rng = np.random.default_rng(4)
    groups = np.repeat([f"{video:03d}" for video in range(videos)], per_video)
    level = rng.normal(size=videos)
    real, fake = (
        np.repeat(level + shift, per_video) + rng.normal(0, 0.05, len(groups))
        for shift in (0, rng.normal(0, 0.3, videos))
    )
    order = rng.permutation(len(groups))
    return real, fake[order], (groups, groups[order])


def test_groups_are_averaged_before_both_tests():
    real, fake, groups = frames()
    means = [
        np.array([np.mean(values[names == name]) for name in sorted(set(names))])
        for values, names in zip((real, fake), groups, strict=True)
    ]
    table = variance.comparison_table({"Deepfakes": (real, fake)}, groups={"Deepfakes": groups})
    result = table.loc["Deepfakes"]
    assert (result["groups"], result["real images"], result["fake images"]) == (9, 54, 54)
    assert (result["real"], result["fake"]) == pytest.approx([values.mean() for values in means])
    assert result["KS D"] == pytest.approx(literal.ks_distance(*means))
    assert result["paired p"] == pytest.approx(literal.sign_flip_pvalue(means[1] - means[0]))


def test_frames_taken_as_independent_would_see_what_is_not_there():
    real, fake, groups = frames(videos=12, per_video=40)
    assert variance.compare(real, fake, paired=False)["KS p"] < 0.01
    by_video = variance.comparison_table({"Deepfakes": (real, fake)}, {"Deepfakes": groups})
    assert by_video.loc["Deepfakes", "KS p"] > 0.05


def test_a_video_with_fewer_frames_still_counts_once():
    real, fake, (names, others) = frames(videos=3, per_video=2)
    keep = [0, *range(2, len(real))]  # the first video has one frame left on the real side
    samples, groups = {"x": (real[keep], fake)}, {"x": (names[keep], others)}
    result = variance.comparison_table(samples, groups).loc["x"]
    assert result["real"] == pytest.approx(np.mean([real[0], real[2:4].mean(), real[4:].mean()]))


def test_unpaired_groups_need_not_be_on_both_sides():
    result = variance.comparison_table(
        {"fake": ([1.0, 3.0, 5.0], [2.0, 4.0])},
        groups={"fake": (["a", "a", "b"], ["a", "c"])},
        paired=False,
    ).loc["fake"]
    assert (result["groups"], result["real"], result["fake"]) == (3, 3.5, 3.0)


def test_a_single_unit_has_no_paired_test():
    samples, groups = {"x": ([1.0, 2.0], [3.0, 5.0])}, {"x": (["a", "a"], ["a", "a"])}
    result = variance.comparison_table(samples, groups).loc["x"]
    assert result[["real", "fake", "KS D", "KS p"]].tolist() == [1.5, 4, 1, 1]
    assert np.isnan(result["paired p"])


def test_thousands_of_pairs_fit_into_memory():
    values = np.random.default_rng(5).normal(size=(2, 6400))
    assert 0 < variance.compare(*values, n_permutations=1999)["paired p"] <= 1


def test_the_naive_test_is_the_one_of_all_images():
    real, fake, groups = frames(videos=12, per_video=40)
    table = variance.comparison_table({"Deepfakes": (real, fake)}, groups={"Deepfakes": groups})
    result = table.loc["Deepfakes"]
    assert (
        result["naive KS p"] == pytest.approx(stats.ks_2samp(real, fake).pvalue)
        and result["naive KS p"] < 0.01
    )
    assert result["KS p"] > 0.05


def test_with_one_image_a_group_the_naive_test_is_no_other():
    values = np.random.default_rng(1).normal(size=(2, 30))
    names = [f"{scene:02d}" for scene in range(30)]
    table = variance.comparison_table({"splice": values}, groups={"splice": (names, names)})
    assert table.loc["splice", "naive KS p"] == table.loc["splice", "KS p"]


def test_p_values_of_several_manipulations_are_corrected():
    rng = np.random.default_rng(2)
    real = rng.normal(size=40)
    values = {str(shift): (real, real + rng.normal(shift, 1, 40)) for shift in (0.0, 0.25, 1.0)}
    table = variance.comparison_table(values, paired_groups(values))
    for name in ("KS p", "paired p"):
        factor = table[name].rank(ascending=False)  # 3 for the smallest
        expected = (
            (table[name] * factor).sort_index(ascending=False).cummax().clip(upper=1)
        )  # smallest first: the shifts
        assert table[name].is_monotonic_decreasing
        pd.testing.assert_series_equal(
            table[f"{name}, Holm"].sort_index(ascending=False), expected, check_names=False
        )


def test_what_pairs_have_in_common():
    values = np.random.default_rng(1).normal(size=(3, 200))
    alike = {
        "same": (values[0], values[0] + 0.1 * values[1]),
        "half": (values[0], values[0] + 0.3 * values[2]),
    }
    table = variance.comparison_table(alike, paired_groups(alike))
    assert table.loc["same", "ICC of pairs"] == pytest.approx(
        np.corrcoef(*alike["same"])[0, 1], abs=0.02
    )


def test_the_paired_difference_is_one_mean_in_percent_of_the_real_one():
    samples = {
        "splice": (np.array([1.0, 3.0]), np.array([1.0, 2.0])),
        "warp": (np.array([1.0, 3.0]), np.array([2.0, 2.0])),
    }
    names = np.array(["a", "b"])
    groups = {name: (names, names) for name in samples}
    # Of a mean of 2, "a" differs by 0 and 50 %, "b" by -50 and -50 %.
    result = variance.paired_difference(samples, groups, n_bootstrap=200)
    assert result.scalars == (-12.5, -50, 25)


@pytest.mark.slow
def test_the_size_of_each_test_where_nothing_differs():
    """Of 300 simulations, a share of 5 % comes out at 2 to 9 % but once in 300 runs."""
    apart, together = (
        variance.false_alarms((0.0, 0.6), shared, simulations=300, seed=1) for shared in (0.0, 0.75)
    )
    sound = [
        apart["paired p"],
        together["paired p"],
        apart["KS p"],
        apart.loc[0.0],
        together.loc[0.0, ["naive KS p"]],
    ]
    assert pd.concat(sound).between(0.015, 0.09).all()
    assert apart.loc[0.6, "naive KS p"] > 0.4 and together.loc[0.6, "naive KS p"] > 0.15
    assert together.loc[0.6, "KS p"] < 0.015  # it takes what the sides share for noise


def test_simulated_values_resemble_each_other_as_asked():
    values = variance._null_images(np.random.default_rng(3), 0.4, 0.5, 4000, 4)
    groups = np.repeat(np.arange(4000), 4)
    assert values.var() == pytest.approx(1, abs=0.03)
    assert intraclass_correlation(values[0].ravel(), groups) == pytest.approx(0.4, abs=0.03)
    assert np.corrcoef(values[0, :, 0], values[1, :, 0])[0, 1] == pytest.approx(0.2, abs=0.05)


def test_simulated_p_values_lie_between_those_of_images_and_of_groups():
    result = variance.distance_pvalues(0.11, 40, 20, (0.0, 0.5, 1.0), simulations=400, seed=2)
    by_image = variance.ks_pvalue(0.11, 800, 800)
    by_group = stats.ks_2samp(
        np.arange(40), np.arange(40) + 5
    ).pvalue  # its D, 0.125, is the next one of 40 values
    assert result[0.0] <= 1 / 401 + 3 * np.sqrt(by_image / 400)
    assert result[1.0] == pytest.approx(by_group, abs=0.04)
    assert result.is_monotonic_increasing and result[0.0] < 0.02 < result[0.5] < 0.9
    assert variance.distance_pvalues(0.5, 10, 4, (0.2,), simulations=9)[0.2] == 0.1


def test_published_distance_by_frames_and_by_videos():
    row = paper_values.local_variance().loc["Deepfakes"]
    by_frames = variance.ks_pvalue(row["KS D"], row["images"], row["images"])
    assert by_frames == pytest.approx(row["KS p"], rel=0.05)
    assert variance.ks_pvalue(row["KS D"], row["videos"], row["videos"]) == pytest.approx(
        0.94, abs=0.01
    )


def test_ks_pvalue_is_scipys_asymptotic_one():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=4000), rng.normal(0.05, 1, size=3000)
    result = stats.ks_2samp(x, y, method="asymp")
    assert variance.ks_pvalue(result.statistic, 4000, 3000) == pytest.approx(
        result.pvalue, rel=0.05
    )


def test_long_table_of_groups_holds_what_the_tests_compare():
    real, fake, groups = frames()
    table = variance.long_table({"Deepfakes": (real, fake)}, {"Deepfakes": groups})
    parts = [table.loc[table["kind"] == kind, "variance"].to_numpy() for kind in ("real", "fake")]
    assert len(parts[0]) == len(parts[1]) == 9
    tests = variance.comparison_table({"Deepfakes": (real, fake)}, {"Deepfakes": groups})
    assert literal.ks_distance(*parts) == pytest.approx(tests.loc["Deepfakes", "KS D"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variance.local_variance(np.zeros((1, 5, 5)), 4), "window is 4; an odd"),
        (lambda: variance.local_variance(np.zeros((1, 5, 5)), 0), "window is 0"),
        (lambda: variance.local_variance(np.zeros((5, 5))), r"maps has shape \(5, 5\)"),
        (
            lambda: variance.local_variance(np.full((1, 5, 5), np.inf)),
            "maps holds 25 NaN or infinite",
        ),
        (
            lambda: variance.both_means(np.zeros((1, 5, 5)), 7),
            "smaller than the window",
        ),
        (lambda: variance.compare(np.zeros(3), np.zeros(4)), r"real \(3,\), fake \(4,\)"),
        (lambda: variance.compare(np.zeros(0), np.zeros(0)), "real is empty"),
        (
            lambda: variance.comparison_table({"x": ([1.0], [2.0])}, {"x": (["a"], ["b"])}),
            "'a' is of one kind only",
        ),
        (
            lambda: variance.comparison_table({"x": ([1.0], [2.0, 3.0])}, {"x": (["a"], ["a"])}),
            "fake and its groups have lengths 2 and 1",
        ),
        (lambda: variance.ks_pvalue(1.5, 10, 10), "distance 1.5"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
