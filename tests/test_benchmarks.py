"""The baseline of the speed measurements is the literal method; the tables are complete."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import gpu, machine, maps, memory
from defocus_lib.data.images import Reader
from defocus_lib.maps.presets import PRESETS
from defocus_lib.run.notebook import read_notebook
from tests.reference import defocus as literal

RESULTS = Path(maps.RESULTS).parent
ROOT = RESULTS.parents[1]


@pytest.mark.parametrize("preset", ["released", "published"])
def test_the_baseline_computes_what_the_slow_implementation_does(photograph, preset):
    image = photograph("chelsea", 96)
    edges, dense = maps.literal(image, PRESETS[preset].scales)
    wanted_edges, _, wanted_dense = literal.maps(image, preset)
    np.testing.assert_array_equal(edges, wanted_edges)
    np.testing.assert_allclose(dense, wanted_dense, atol=1e-3)


def test_the_measured_maps_are_those_of_the_authors_code():
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
    scaled = pd.read_csv(RESULTS / "shapley.csv", index_col="what").index
    default = pd.read_csv(RESULTS / "default_initialisation.csv", index_col="what")["value"]
    measured = {
        name.removeprefix("relative error, ")
        for name in default.index
        if name.startswith("relative error")
    }
    assert (
        measured == {name for name in scaled if not name.endswith("fp32")} and (default > 0).all()
    )


def test_memory_was_measured_for_every_analysis_on_both_stores():
    measured = pd.read_csv(RESULTS / "store.csv").pivot(
        index="notebook", columns="images", values="peak_mib"
    )
    assert measured.shape == (5, 2) and measured.notna().all(axis=None)


def test_memory_of_a_training_is_flat_from_1000_to_64000_images():
    peaks = pd.read_csv(RESULTS / "memory.csv", index_col="images")["peak_mib"]
    assert peaks.index.tolist() == list(memory.COUNTS) and peaks.max() < 1.1 * peaks.min()


def test_a_benchmark_leaves_the_machines_of_the_others(tmp_path):
    for name in ("maps", "store", "maps"):
        machine.note(name, tmp_path / "machine.csv")
    found = pd.read_csv(tmp_path / "machine.csv", index_col="what", dtype="str")
    assert list(found) == ["maps", "store"] and (found["maps"] == found["store"]).all()
    assert int(found.loc["cores", "maps"]) >= 1


@pytest.mark.slow
def test_the_benchmark_of_a_card_runs_with_a_processor_in_its_place(tmp_path):
    gpu.main(["--device", "cpu", "--small", "--output", str(tmp_path / "gpu.csv")])
    table = pd.read_csv(tmp_path / "gpu.csv")
    assert set(table["what"]) == {
        "maps",
        "training",
        "Shapley values, gradients",
        "largest difference of logits",
        "lowest correlation of Shapley values",
    }
    assert (table["images_per_second"].dropna() > 0).all()
    assert (table["device"] == "cpu").all() and table["agrees"].dropna().astype(bool).all()


def test_a_card_is_wanted_for_its_measurement(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--device", "cpu"])
    assert "--small runs in miniature" in capsys.readouterr().err


def test_made_images_differ_and_are_their_records(tmp_path):
    records = memory.made_images(tmp_path, 5)
    assert records["digest"].nunique() == 5
    pixels = Reader(tmp_path).stack(records)
    assert pixels.shape == (5, memory.SIDE, memory.SIDE, 3)


def test_the_plan_on_the_page_by_hand(monkeypatch):
    """With 3.6 million images and 100 TFLOP/s, hours equal measured milliseconds and GFLOP."""
    monkeypatch.setattr("myst_nb.glue", lambda *_, **__: None)
    space = {}
    for cell in read_notebook(ROOT / "notebooks" / "speed.py").cells:
        if cell.cell_type == "code":
            exec(cell.source, space)
            if "parameters" in cell.metadata.get("tags", []):
                space |= {"images": 3_600_000, "gpu_tflops": 100.0, "core_hour": 0.05}
    values, facts, plan = space["values"], space["facts"], space["plan"]
    seconds = values.loc["50 stratified samples, bf16", "seconds_per_image"]
    map_ms = space["of_library"].loc[("physical", 1), "ms_per_image"]
    assert plan["amount"].to_dict() == pytest.approx(
        {
            "shards, float32": 3.6e-6 * facts["bytes per image, float32"],
            "maps": 3.6e-6 * facts["bytes per image, map"],
            "index": 3.6e-6 * facts["bytes per image, index"],
            "defocus maps, on CPUs": map_ms,
            "Shapley values, on CPUs": 2 * seconds * 2 * 1000,
            "Shapley values, on GPUs instead": facts["GFLOP per gradient"],
        }
    )
    cost = plan["cost (USD)"]
    assert cost["defocus maps, on CPUs"] == pytest.approx(0.05 * map_ms)
    assert cost["Shapley values, on GPUs instead"] == pytest.approx(2 * facts["GFLOP per gradient"])
    assert cost["maps"] == pytest.approx(20 * plan.loc["maps", "amount"])
