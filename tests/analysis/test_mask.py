import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from defocus_lib.analysis import mask
from tests.reference import mask as literal


@pytest.fixture
def pairs():
    rng = np.random.default_rng(3)
    return rng.random((4, 9, 7), dtype=np.float32), rng.random((4, 9, 7), dtype=np.float32)


def test_counts_agree_with_the_literal_loop(pairs):
    for threshold in (0.0, 0.1, 0.5):
        counts = mask.active_counts(mask.active_mask(*pairs, threshold))
        assert counts.tolist() == [
            literal.active_pixels(a, b, threshold) for a, b in zip(*pairs, strict=True)
        ]


def test_threshold_is_strict():
    fake, real = np.array([[[0.5, 0.75], [0.0, 1.0]]]), np.array([[[0.25, 0.25], [0.0, 0.0]]])
    assert mask.active_mask(fake, real, 0.25).tolist() == [[[False, True], [False, True]]]
    assert mask.active_mask(fake, real, 0.0).sum() == 3


def test_count_table_by_hand():
    table = mask.count_table({"splice": [0, 10, 40, 50]}, pixels=200)
    assert table.loc["splice"].to_dict() == {
        "average": 25,
        "max": 50,
        "min": 0,
        "median": 25,
        "share %": 12.5,
    }


def test_count_table_allows_unequal_numbers_of_pairs():
    table = mask.count_table({"splice": [1, 2, 3], "texture": [4]}, pixels=10)
    assert table["average"].tolist() == [2, 4]


def test_intervals_of_the_counts_resample_the_pairs():
    counts = np.random.default_rng(4).integers(0, 60, 40)
    table = mask.count_intervals(
        {"splice": counts}, {"splice": np.arange(40)}, pixels=200, n_bootstrap=4000
    )
    row = table.loc["splice"]
    expected = stats.bootstrap(
        (counts,), np.mean, method="percentile", n_resamples=4000, rng=1
    ).confidence_interval
    assert (row["pairs"], row["groups"], row["average"]) == (40, 40, counts.mean())
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=0.6)
    for name, other in (("share %", "average"), ("low %", "low"), ("high %", "high")):
        assert row[name] == pytest.approx(100 * row[other] / 200)


def test_pairs_of_one_video_are_drawn_together():
    counts, videos = np.repeat([10, 30, 20, 40], 25), np.repeat(list("abcd"), 25)
    by_video, by_pair = (
        mask.count_intervals({"Deepfakes": counts}, {"Deepfakes": names}, 100).loc["Deepfakes"]
        for names in (videos, np.arange(100))
    )
    assert by_video["high"] - by_video["low"] > 3 * (by_pair["high"] - by_pair["low"])
    assert by_video["groups"] == 4 and by_video["pairs"] == 100


def test_a_single_group_has_no_interval():
    table = mask.count_intervals({"splice": [1, 2]}, {"splice": ["a", "a"]}, pixels=10)
    assert table[["low", "high"]].isna().all(axis=None) and table.loc["splice", "share %"] == 15


def test_the_sweep_has_the_interval_of_each_count():
    rng = np.random.default_rng(5)
    tables = {"splice": pd.DataFrame({each: rng.integers(0, 50, 12) for each in mask.THRESHOLDS})}
    groups = {"splice": np.repeat(list("abcdef"), 2)}
    sweep, low, high = mask.threshold_sweep(tables, groups, seed=3)
    assert tuple(low.index) == mask.THRESHOLDS and (low < sweep).all(axis=None)
    for threshold in (0.1, 0.001):
        row = mask.count_intervals(
            {"splice": tables["splice"][threshold]}, groups, 100, seed=3
        ).loc["splice"]
        assert (low.loc[threshold, "splice"], high.loc[threshold, "splice"]) == (
            row["low"],
            row["high"],
        )


def test_precision_above_chance_by_its_interval():
    rng = np.random.default_rng(6)
    region = np.full(30, 0.2)
    better, equal, worse = (region + gain + rng.normal(0, 0.05, 30) for gain in (0.3, 0.0, -0.1))
    better[:3] = np.nan  # empty masks have no precision
    tables = {
        name: pd.DataFrame({"precision": precision, "region": region})
        for name, precision in (
            ("better", better),
            ("equal", equal - np.mean(equal - region)),
            ("worse", worse),
        )
    }
    tables["unknown"] = pd.DataFrame({"precision": [np.nan], "region": [np.nan]})
    result = mask.above_chance(
        tables, {name: np.arange(len(table)) for name, table in tables.items()}
    )
    assert result.loc["better", "above chance"] == pytest.approx(np.nanmean(better) - 0.2)
    assert result.loc["unknown", ["above chance", "low", "high"]].isna().all()
    assert result["groups"].to_dict() == {"better": 27, "equal": 30, "worse": 30, "unknown": 0}
    assert result.loc["better", "low"] > 0 > result.loc["worse", "high"]
    assert result.loc["equal", "low"] < 0 < result.loc["equal", "high"]


def test_sweep_is_the_mean_count_at_each_threshold(pairs):
    table = mask.pair_table([(*pairs, np.zeros(pairs[0].shape, bool))])
    sweep, *_ = mask.threshold_sweep({"splice": table}, {"splice": list("abcd")}, n_bootstrap=9)
    assert tuple(sweep.index) == (0.1, 0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001)
    for threshold, value in sweep["splice"].items():
        assert value == np.mean(
            [literal.active_pixels(a, b, threshold) for a, b in zip(*pairs, strict=True)]
        )
    assert sweep["splice"].is_monotonic_increasing


def test_localisation_by_hand_and_by_loop():
    masks = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 1]]], dtype=bool)
    regions = np.array([[[1, 0], [1, 1]], [[1, 0], [0, 0]], [[0, 1], [0, 0]]], dtype=bool)
    table = mask.localisation(masks, regions)
    assert table["precision"].iloc[0] == 0.5 and table["recall"].iloc[0] == pytest.approx(1 / 3)
    assert table["region"].tolist() == [0.75, 0.25, 0.25]
    for row, (one_mask, region) in enumerate(zip(masks, regions, strict=True)):
        for name, value in zip(
            ("precision", "recall"), literal.precision_recall(one_mask, region), strict=True
        ):
            result = table[name].iloc[row]
            assert np.isnan(result) if value is None else result == pytest.approx(value)


def test_an_unknown_region_is_no_miss():
    """All warnings are errors: a table of nothing must not say so on the page."""
    masks, nowhere = np.ones((2, 3, 3), dtype=bool), np.zeros((2, 3, 3), dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = mask.localisation(masks, nowhere)
        row = mask.localisation_table({"Deepfakes": table}).loc["Deepfakes"]
    assert table["active"].tolist() == [9, 9]
    assert table[["hits", "precision", "recall", "region"]].isna().all(axis=None)
    assert (row["pairs"], row["empty"]) == (2, 0)
    assert row[["inside", "precision", "recall", "by chance"]].isna().all()


def test_pairs_with_an_unknown_region_do_not_dilute_the_others():
    masks, regions = (
        np.ones((2, 2, 2), dtype=bool),
        np.array([[[1, 0], [0, 0]], [[0, 0], [0, 0]]], dtype=bool),
    )
    row = mask.localisation_table({"splice": mask.localisation(masks, regions)}).loc["splice"]
    assert (row["inside"], row["precision"], row["recall"], row["by chance"]) == (
        0.25,
        0.25,
        1,
        0.25,
    )


def test_localisation_table_pools_and_averages():
    frame = pd.DataFrame(
        {
            "active": [10, 30, 0],
            "hits": [10, 0, 0],
            "precision": [1.0, 0.0, np.nan],
            "recall": [0.5, 0.0, 0.0],
            "region": [0.2, 0.2, 0.2],
        }
    )
    row = mask.localisation_table({"splice": frame}).loc["splice"]
    assert (row["pairs"], row["empty"], row["inside"], row["precision"]) == (3, 1, 0.25, 0.5)
    assert row["recall"] == pytest.approx(1 / 6) and row["by chance"] == pytest.approx(0.2)


def test_equal_maps_give_an_empty_mask():
    maps = np.zeros((2, 4, 4))
    masks = mask.active_mask(maps, maps, 0.0)
    assert not masks.any()
    table = mask.localisation_table({"splice": mask.localisation(masks, np.ones_like(masks))})
    assert np.isnan(table.loc["splice", "inside"]) and table.loc["splice", "recall"] == 0


@pytest.mark.parametrize(
    ("fake", "real", "threshold", "message"),
    [
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), 0.1, r"fake \(1, 2, 2\), real \(1, 2, 3\)"),
        (np.zeros((2, 2)), np.zeros((2, 2)), 0.1, r"fake has shape \(2, 2\); 3 axes"),
        (np.zeros((0, 2, 2)), np.zeros((0, 2, 2)), 0.1, "fake is empty"),
        (np.zeros((1, 2, 2)), np.full((1, 2, 2), np.nan), 0.1, "real holds 4 NaN"),
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), -0.1, "threshold is -0.1"),
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), np.nan, "threshold is nan"),
        (np.zeros((1, 2, 2)), np.full((1, 2, 2), "a"), 0.1, "real has dtype"),
    ],
)
def test_bad_input_names_the_argument(fake, real, threshold, message):
    with pytest.raises(ValueError, match=message):
        mask.active_mask(fake, real, threshold)
