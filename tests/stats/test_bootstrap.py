import numpy as np
import pytest
from scipy import stats

from defocus_lib.stats.bootstrap import bootstrap, bootstrap_ratio, formatted, strata


def test_a_mean_has_the_interval_of_scipy_when_every_image_is_a_group():
    values = np.random.default_rng(3).normal(size=40)
    estimate = bootstrap(lambda w: w @ values / w.sum(), np.zeros(40, int), np.arange(40), 500, 7)
    expected = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=500,
        method="percentile",
        rng=np.random.default_rng(7),
        batch=100,
    )
    np.testing.assert_allclose(estimate.value, values.mean())
    np.testing.assert_allclose([estimate.low, estimate.high], expected.confidence_interval)


def test_images_of_a_group_stay_together():
    groups = np.repeat(np.arange(10), 50)
    values = np.repeat(np.random.default_rng(0).normal(size=10), 50)
    estimate = bootstrap(lambda w: w @ values / w.sum(), np.zeros(500, int), groups, 2000, 1)
    standard_error = np.repeat(values[::50], 1).std(ddof=1) / np.sqrt(10)
    assert estimate.distribution.std() == pytest.approx(standard_error, rel=0.15)


def test_every_resample_has_both_classes_and_a_single_group_is_always_there():
    labels, groups = np.array([0, 0, 1]), np.array(["a", "b", "c"])
    estimate = bootstrap(lambda w: [w[:2].sum(), w[2]], labels, groups, 100, 0)
    assert (estimate.distribution == [[2.0], [1.0]]).all()


def test_nothing_to_resample_gives_no_interval():
    estimate = bootstrap(lambda w: [w.sum(), 1.0], np.array([0, 1]), np.array(["a", "a"]), 100, 0)
    assert (
        estimate.value.tolist() == [2.0, 1.0]
        and np.isnan(estimate.low).all()
        and np.isnan(estimate.high).all()
    )


def test_strata_are_groups_of_one_class_or_of_both():
    labels, codes = np.array([0, 1, 0, 1, 1]), np.array([0, 0, 1, 2, 2])
    assert [part.tolist() for part in strata(labels, codes)] == [[1], [2], [0]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0.876, 0.85, 0.91), "0.88 [0.85, 0.91]"),
        ((0.876,), "0.88"),
        ((12345.0, 1.0, 2.0, ",.0f"), "12,345 [1, 2]"),
    ],
)
def test_an_estimate_is_formatted_on_one_line(arguments, text):
    assert formatted(*arguments).replace("\N{NO-BREAK SPACE}", " ") == text
    assert " " not in formatted(*arguments)


def test_a_ratio_of_means_and_its_interval_by_hand():
    rng = np.random.default_rng(3)
    ones, values = np.ones(400), rng.normal(2, 1, 400)
    mean = bootstrap_ratio(values, ones, np.arange(400), 2000)
    half = 1.96 * values.std() / 20
    expected = (values.mean(), values.mean() - half, values.mean() + half)
    assert (mean.value, mean.low, mean.high) == pytest.approx(expected, abs=0.02)
    with pytest.raises(ValueError, match=r"denominator \(399,\)"):
        bootstrap_ratio(values, ones[1:], np.arange(400))
