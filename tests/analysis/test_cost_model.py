"""The plan of a run: sums by hand, and rates that are measured."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from defocus_lib.analysis import cost_model, rates, workload
from defocus_lib.analysis.rates import Rate
from defocus_lib.analysis.workload import Operation, Work
from defocus_lib.commands import app

TRAINING = Operation("training", 64, "test_resnet", "rgb", alone=True)
MAP = Operation("map", 64, preset="physical")
MEASURED = {TRAINING: Rate(0.002, 0.002), MAP: Rate(0.01, 0.02, 1000.0)}


def test_stages_by_hand():
    works = [
        Work("03", "training", TRAINING, 1000, processes=4),
        Work("02", "maps", MAP, 50),
        Work("12", "maps", MAP, 50, kept=False),
    ]
    table = cost_model.stages(works, MEASURED, cores=2).set_index(["notebook", "stage"])
    assert table["images"].tolist() == [1000, 50, 50]
    assert table["seconds"].tolist() == pytest.approx([1.0, 0.5, 0.5])  # two cores, not four
    assert table["cpu_seconds"].tolist() == pytest.approx([2.0, 1.0, 1.0])
    assert table["bytes"].tolist() == [0, 50_000, 0]


def test_what_is_read_and_written_is_time_but_no_image():
    reading = Operation("input", 64, reads="rgb")
    works = [Work("03", "training", TRAINING, 10), Work("03", "training", reading, 10)]
    table = cost_model.stages(works, MEASURED | {reading: Rate(0.1, 0.1)})
    assert table["images"].tolist() == [10] and table["seconds"].iat[0] == pytest.approx(1.02)


@pytest.mark.slow
def test_each_operation_gets_a_rate_and_leaves_nothing_behind():
    about = {"backbone": "test_resnet", "reads": "rgb", "batch_size": 16, "precision": "32-true"}
    small, large = (Operation("prediction", size, **about) for size in (32, 160))
    trained = Operation("training", 160, **about)
    kept = Operation("map", 64, preset="physical")
    with rates.bench() as at:
        found = rates.measure([small, large, trained, kept], at)
        assert list(at.scratch.rglob("*.png"))
    assert not at.scratch.exists()
    assert list(found) == [small, large, trained, kept]
    assert found[kept].bytes > 64 * 64 and found[trained].bytes == 0
    times = [time for rate in found.values() for time in (rate.seconds, rate.cpu_seconds)]
    assert np.isfinite(times).all() and min(times) > 0


@pytest.fixture
def instant(monkeypatch):
    """Each operation takes a second per image: nothing is measured."""
    monkeypatch.setattr(
        rates, "measure", lambda works, *_, **__: {each: Rate(1.0, 1.0, 1.0) for each in works}
    )
    monkeypatch.setattr(workload, "_trust_passes", lambda *_: {"gradient": 1, "prediction": 1})
    monkeypatch.setattr(cost_model, "_earlier", lambda _: {"05_binary_mask": (9.0, 0.0, "run x")})


def test_the_command_says_what_a_run_takes(instant):
    done = CliRunner().invoke(app, ["plan", "smoke", "--json"])
    plan = json.loads(done.stdout)
    table = pd.DataFrame(plan["stages"]).set_index("notebook")
    assert table.loc["02_defocus_map", "images"] == 12 * 2 + 6 * 2 + 8 * 5
    assert table.loc["05_binary_mask", ["seconds", "rate"]].tolist() == [9.0, "run x"]
    assert any("07_tsne" in line for line in plan["assumptions"])
    shown = CliRunner().invoke(app, ["plan", "smoke"]).stdout
    assert "02_defocus_map" in shown and "total: " in shown and "Assumed:" in shown
    assert CliRunner().invoke(app, ["plan", "smoke", "--above", "1000000"]).stdout == ""


def test_what_it_refuses(instant, monkeypatch):
    monkeypatch.delenv("FOLDERS_ROOT", raising=False)
    for words, message in (
        (["plan", "nothing"], "unknown profile 'nothing'"),
        (["plan", "folders"], "`published`, wanted"),
        (["plan", "smoke", "--set", "05_binary_mask.x=1"], "unknown parameter 'x'"),
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2 and message in done.stderr
