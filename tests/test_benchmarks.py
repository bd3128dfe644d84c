"""The baseline that speed is measured against is the literal method; the measurements that the book shows are whole."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import machine, maps
from defocus_lib.maps.presets import PRESETS
from tests.reference import defocus as literal

RESULTS = Path(maps.RESULTS).parent


@pytest.mark.parametrize("preset", ["released", "published"])
def test_the_baseline_computes_what_the_slow_implementation_does(photograph, preset):
    image = photograph("chelsea", 96)
    edges, dense = maps.literal(image, PRESETS[preset].scales)
    wanted_edges, _, wanted_dense = literal.maps(image, preset)
    np.testing.assert_array_equal(edges, wanted_edges)
    np.testing.assert_allclose(dense, wanted_dense, atol=1e-3)


def test_the_measured_maps_are_those_of_the_reference():
    measured = pd.read_csv(RESULTS / "maps.csv")
    ours = measured[
        (measured["what"] == "defocus_maps") & measured["preset"].isin(["released", "published"])
    ]
    assert len(ours) == 4 and ours["edges_identical"].astype(bool).all()
    assert ours["largest_dense_difference"].max() < 1e-4


def test_shapley_values_were_measured_beside_those_of_shap():
    measured = pd.read_csv(RESULTS / "shapley.csv", index_col="what")
    assert measured.index.str.startswith("shap").sum() == 1 and len(measured) == 6
    assert (measured > 0).all(axis=None)


def test_the_same_settings_were_measured_on_a_detector_with_default_initialisation():
    quiet = pd.read_csv(RESULTS / "shapley.csv", index_col="what").index
    full = pd.read_csv(RESULTS / "default_initialisation.csv", index_col="what")["value"]
    measured = {
        name.removeprefix("relative error, ")
        for name in full.index
        if name.startswith("relative error")
    }
    assert measured == {name for name in quiet if not name.endswith("fp32")} and (full > 0).all()


def test_memory_was_measured_for_every_analysis_on_both_stores():
    measured = pd.read_csv(RESULTS / "store.csv").pivot(
        index="notebook", columns="images", values="peak_mib"
    )
    assert measured.shape == (5, 2) and measured.notna().all(axis=None)


def test_a_benchmark_leaves_what_is_said_of_the_others(tmp_path):
    for name in ("maps", "store", "maps"):
        machine.note(name, tmp_path / "machine.csv")
    found = pd.read_csv(tmp_path / "machine.csv", index_col="what", dtype="str")
    assert list(found) == ["maps", "store"] and (found["maps"] == found["store"]).all()
    assert int(found.loc["cores", "maps"]) >= 1
