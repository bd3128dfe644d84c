import warnings

import numpy as np
import pytest

from defocus_lib.analysis import attribution


@pytest.fixture
def shaps():
    return np.random.default_rng(0).normal(size=(3, 4, 4))


def test_an_unknown_region_has_no_share(shaps):
    """All warnings are errors: a table of nothing must not say so on the page."""
    nowhere = np.zeros(shaps.shape, dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = attribution.region_table(
            {"Deepfakes": attribution.share_table([({"RGB": shaps}, nowhere)])}
        )
    assert np.isnan(attribution.region_share(shaps, nowhere)).all()
    assert list(table.columns) == ["RGB", "uniform"] and table.isna().all(axis=None)


def test_images_with_an_unknown_region_do_not_dilute_the_others(shaps):
    regions = np.zeros(shaps.shape, dtype=bool)
    regions[1, :2] = True
    row = attribution.region_table(
        {"splice": attribution.share_table([({"RGB": shaps}, regions)])}
    ).loc["splice"]
    assert (
        row["RGB"] == pytest.approx(np.abs(shaps[1, :2]).sum() / np.abs(shaps[1]).sum())
        and row["uniform"] == 0.5
    )
