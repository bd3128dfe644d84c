import gc
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
import torch

from defocus_lib.run.profiling import COLUMNS, Stages, peak_memory, read_all, save

MIB = 2**20


def test_stages_are_timed_and_counted_in_order():
    stages, started = Stages(), time.perf_counter()
    with stages("maps", images=6):
        time.sleep(0.1)
    with stages("training"):
        pass
    passed, table = time.perf_counter() - started, stages.table()
    assert table.columns.tolist() == COLUMNS
    assert table["stage"].tolist() == ["maps", "training"]
    assert 0.1 <= table["seconds"].sum() <= passed
    first, second = table.to_dict("records")
    assert first["images_per_second"] == pytest.approx(6 / first["seconds"])
    assert np.isnan(second["images_per_second"])


def test_the_number_of_images_may_be_known_at_the_end():
    stages = Stages()
    with stages("search") as stage:
        stage["images"] = 7
    assert stages.table()["images"].tolist() == [7]


def test_no_stage_is_an_empty_table():
    assert Stages().table().columns.tolist() == COLUMNS and Stages().table().empty


def test_tables_are_saved_and_read_together(tmp_path):
    first, second = Stages(), Stages()
    for stages, names in ((first, ["training", "prediction"]), (second, ["training"])):
        for name in names:
            with stages(name, images=4):
                pass
    save(tmp_path / "03_train.csv", {"defocus": first, "rgb": second})
    save(tmp_path / "02_maps.csv", {"": second})
    found = read_all(tmp_path)
    assert found.index.tolist() == [
        ("02_maps", "training"),
        ("03_train", "defocus training"),
        ("03_train", "defocus prediction"),
        ("03_train", "rgb training"),
    ]
    assert (found["images"] == 4).all() and "peak MiB" in found.columns


def test_memory_that_was_freed_again_is_seen():
    gc.collect()
    me = psutil.Process()  # alone: other tests may have left worker processes that come and go
    before = me.memory_info().rss / MIB
    with peak_memory(lambda: [me], interval=0.01) as little:
        pass
    with peak_memory(lambda: [me], interval=0.01) as much:
        held = np.ones(200 * MIB, dtype=np.uint8)
        time.sleep(0.1)
        del held
    assert before / 2 < little["peak"] / MIB < before + 100
    assert 190 < (much["peak"] - little["peak"]) / MIB < 300


def test_memory_of_child_processes_counts():
    stages = Stages(interval=0.01)
    hold = "import sys; held = b'x' * (150 << 20); print(1, flush=True); sys.stdin.read()"
    with stages("alone"):
        pass
    with stages("with child"):
        child = subprocess.Popen(
            [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        child.stdout.readline()
        time.sleep(0.1)
        child.communicate()
    alone, both = stages.table()["peak_mib"]
    assert both - alone > 140


def test_a_stage_that_fails_is_recorded_and_its_error_passes():
    stages, threads = Stages(), threading.active_count()
    with pytest.raises(ZeroDivisionError), stages("division", images=2):
        1 / 0  # noqa: B018
    row = stages.table().iloc[0]
    assert row["stage"] == "division" and row["peak_mib"] > 1
    assert threading.active_count() == threads, "the watcher has ended"


def test_stages_may_lie_in_each_other():
    stages = Stages()
    with stages("outer"), stages("inner"):
        pass
    table = stages.table().set_index("stage")
    assert (
        table.index.tolist() == ["inner", "outer"]
        and table.loc["inner", "seconds"] <= table.loc["outer", "seconds"]
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is measured without a GPU")
def test_without_a_gpu_its_memory_is_unknown():
    stages = Stages()
    with stages("any"):
        pass
    assert stages.table()["peak_gpu_mib"].isna().all()


def test_the_processes_to_watch_are_asked_for_anew_and_may_have_ended():
    ended = psutil.Popen([sys.executable, "-c", ""])
    ended.wait()
    asked = []

    def processes():
        asked.append(1)
        return [ended]

    with peak_memory(processes, interval=0.01) as memory:
        time.sleep(0.1)
    assert memory["peak"] == 0 and len(asked) > 2


def test_measuring_does_not_import_torch():
    code = """
import sys
from defocus_lib.run.profiling import COLUMNS, Stages, peak_memory, read_all, save
stages = Stages()
with stages("any"): pass
assert "torch" not in sys.modules and stages.table()["peak_gpu_mib"].isna().all()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
