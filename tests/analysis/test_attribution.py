import warnings

import numpy as np
import pandas as pd
import pytest

from defocus_lib.analysis import attribution
from defocus_lib.explain.attribution_set import AttributionSet


@pytest.fixture
def shaps():
    return np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)


def set_of(shaps, **arrays):
    """Images in groups of their own, with the same values of both detectors."""
    ids = np.array([f"{number}/splice" for number in range(len(shaps))])
    return AttributionSet(ids, ids, defocus_shaps=shaps, rgb_shaps=shaps, **arrays)


def test_region_share_by_hand():
    shaps = np.array([[[1.0, -2.0], [3.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    regions = np.array([[[1, 1], [0, 0]], [[1, 0], [0, 0]]], dtype=bool)
    shares = attribution.region_share(shaps, regions)
    assert shares[0] == 0.5 and np.isnan(shares[1])
    table = attribution.share_table([set_of(shaps, regions=regions)])
    assert table["group"].tolist() == ["0", "1"]
    assert table[["defocus", "rgb", "uniform"]].mean().to_dict() == {
        "defocus": 0.5,
        "rgb": 0.5,
        "uniform": 0.375,
    }
    with pytest.raises(ValueError, match="regions"):
        attribution.region_share(shaps, regions[:1])


def test_an_unknown_region_has_no_share(shaps):
    """All warnings are errors: a table of nothing must not warn on the page."""
    nowhere = np.zeros(shaps.shape, dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = attribution.share_table([set_of(shaps, regions=nowhere)])
        means = table.drop(columns="group").mean()
    assert np.isnan(attribution.region_share(shaps, nowhere)).all()
    assert list(means.index) == ["defocus", "rgb", "uniform"] and means.isna().all()


def test_images_with_an_unknown_region_do_not_dilute_the_others(shaps):
    regions = np.zeros(shaps.shape, dtype=bool)
    regions[1, :2] = True
    means = attribution.share_table([set_of(shaps, regions=regions)]).drop(columns="group").mean()
    assert means["rgb"] == pytest.approx(np.abs(shaps[1, :2]).sum() / np.abs(shaps[1]).sum())
    assert means["uniform"] == 0.5


def test_completeness_by_hand():
    shaps = np.array([2.0, -1.0, 3.0], np.float32)[:, None, None] * np.full((1, 2, 2), 0.25)
    errors = np.array([0.5, -0.1, 0.2], np.float32)
    named = {f"{detector}_completeness_errors": errors for detector in ("defocus", "rgb")}
    part = set_of(shaps, **named)
    table = attribution.completeness_table([part.take([0]), part.take([1, 2])])
    rgb = table[table["detector"] == "rgb"]
    assert rgb["sum"].tolist() == [2, -1, 3] and rgb["group"].tolist() == ["0", "1", "2"]
    medians = rgb[["error", "explained"]].abs().median()
    assert medians.to_dict() == pytest.approx({"error": 0.2, "explained": 2.5})
    share = attribution.error_share(rgb, n_bootstrap=20)
    assert share.value == pytest.approx(0.8 / (2.5 + 1.1 + 3.2)) and share.low < share.high


@pytest.mark.parametrize(
    ("errors", "explained", "groups", "expected"),
    [
        ([1.0, -1.0], [10.0, -5.0], ["a", "a"], (2 / 15, np.nan, np.nan)),
        ([1.0, 1.0, 1.0], [10.0, 10.0, 10.0], ["a", "b", "c"], (0.1, 0.1, 0.1)),
    ],
)
def test_the_error_as_a_share_of_all_that_is_explained(errors, explained, groups, expected):
    table = pd.DataFrame({"group": groups, "error": errors, "explained": explained})
    found = attribution.error_share(table, n_bootstrap=20).scalars
    assert found == pytest.approx(expected, nan_ok=True)
    table.loc[0, "error"] = np.nan
    with pytest.raises(ValueError, match="error holds 1 NaN"):
        attribution.error_share(table)
