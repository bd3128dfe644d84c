"""Where the time of the book goes: shares and ratios by hand, on a run that is made up."""

import json
import math

import pandas as pd
import pytest

from benchmarks import book
from defocus_lib.analysis import rates, workload
from defocus_lib.analysis.rates import Rate
from defocus_lib.run.artifacts import write_json
from defocus_lib.run.provenance import Run, read_runs

PASSES = pd.DataFrame(
    {"images": [100], "seconds": [4.0], "cpu_seconds": [5.0]}, index=["03_train_detector"]
)


def runs(cpu_seconds: float) -> list[Run]:
    return [
        Run("03_train_detector", 12.0, 1.0, {}, cpu_seconds, 1),
        Run("05_binary_mask", 4.0, 1.0, {}, cpu_seconds and 10.0, 1),
    ]


def test_ratios_are_of_processor_time_where_it_was_recorded():
    table = book.table(runs(30.0), PASSES, "with half precision").set_index("notebook")
    assert table["share"].tolist() == [0.75, 0.25]
    assert table["ratio"].iat[0] == 6.0 and math.isnan(table["ratio"].iat[1])
    assert table["passes"].tolist() == [100, 0]


@pytest.mark.parametrize(("cpu_seconds", "kind"), [(0.0, "with half precision"), (30.0, "card")])
def test_ratios_are_of_the_clock_elsewhere(cpu_seconds, kind):
    of_kind = book.kind("cuda") if kind == "card" else kind
    table = book.table(runs(cpu_seconds), PASSES, of_kind)
    assert table["share"].tolist() == [0.75, 0.25] and table["ratio"].iat[0] == 3.0


def test_the_other_kind_of_processor_is_kept(tmp_path):
    path = tmp_path / "book.csv"
    for kind in ("without half precision", "with half precision", "without half precision"):
        book.keep(book.table(runs(30.0), PASSES, kind), path)
    kept = pd.read_csv(path)
    assert list(kept) == book.COLUMNS
    assert kept["kind"].value_counts().to_dict() == {
        "with half precision": 2,
        "without half precision": 2,
    }


def test_bare_passes_are_counted_from_the_parameters_of_the_run(tmp_path, monkeypatch):
    """Records of an earlier version, without processor time, are read too."""
    monkeypatch.setattr(
        rates, "measure", lambda works, *_, **__: {each: Rate(0.5, 1.0) for each in works}
    )
    parameters = {
        "02_defocus_map": {"preset": "physical", "propagation": ""},
        "05_binary_mask": {},
    }
    for name, own in parameters.items():
        record = {"notebook": name, "seconds": 60.0, "peak_mb": 1.0, "parameters": own}
        write_json(tmp_path / "runs" / f"{name}.json", record)
    assert "cpu_seconds" not in json.loads((tmp_path / "runs/02_defocus_map.json").read_text())
    records = pd.DataFrame({"path": ["a", "b", "b"]})
    images = workload.Images(records, records, 64)
    passes = book.bare(read_runs(tmp_path), images, None)
    assert passes.loc["02_defocus_map"].tolist() == [2, 1.0, 2.0]
