"""The comparison of two runs finds what differs, and only that."""

import numpy as np
import pandas as pd
import pytest

from defocus_lib.maps.storage import SUFFIX, write_map
from defocus_lib.run.artifacts import write_arrays
from tests import compare_runs


@pytest.fixture
def runs(tmp_path):
    """Two equal runs, the first under the old names."""
    for name, table in (("old", "trials.parquet"), ("new", "sweep.parquet")):
        folder = tmp_path / name
        write_arrays(folder / "shapley" / "shard.npz", {"dmaps": np.linspace(0, 1, 50)})
        pd.DataFrame({"id": ["a", "b"], "logit": [0.5, -2.0]}).to_parquet(folder / table)
        (folder / "runs").mkdir()
        (folder / "runs" / "times.csv").write_text(name)
    return tmp_path / "old", tmp_path / "new"


def test_equal_runs_are_equal_under_other_names(runs, capsys):
    assert compare_runs.main([str(folder) for folder in runs]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == ["  shapley/shard.npz: identical", "  sweep.parquet: identical"]


def test_renamed_columns_and_values_are_matched():
    old = {"control": np.array(["random sigma", "rgb"]), "id": np.array(["a/change of light", "a"])}
    new = {"input": ["permuted blur", "rgb"], "id": ["a/illumination change", "a"]}
    renamed = compare_runs.renamed(old)
    assert {name: values.tolist() for name, values in renamed.items()} == new


@pytest.mark.parametrize(("shift", "code"), [(1e-9, 0), (1e-3, 1)])
def test_a_difference_is_measured_against_the_tolerance(runs, capsys, shift, code):
    write_arrays(runs[1] / "shapley" / "shard.npz", {"dmaps": np.linspace(0, 1, 50) + shift})
    assert compare_runs.main([str(folder) for folder in runs]) == code
    assert f"largest relative difference {shift:.2g} (dmaps)" in capsys.readouterr().out


def test_a_missing_file_a_missing_column_and_another_text_are_differences(runs, capsys):
    pd.DataFrame({"id": ["a", "c"], "logit": [0.5, -2.0]}).to_parquet(runs[1] / "sweep.parquet")
    assert compare_runs.main([str(folder) for folder in runs]) == 1
    assert "! sweep.parquet: largest relative difference inf (id)" in capsys.readouterr().out
    pd.DataFrame({"id": ["a", "b"]}).to_parquet(runs[1] / "sweep.parquet")
    assert compare_runs.main([str(folder) for folder in runs]) == 1
    assert "only in one of them: logit" in capsys.readouterr().out
    (runs[1] / "sweep.parquet").unlink()
    assert compare_runs.main([str(folder) for folder in runs]) == 1
    assert "! sweep.parquet: only in the first" in capsys.readouterr().out


def test_maps_are_matched_by_what_they_are_of(tmp_path, runs):
    about = {"image": "0" * 64, "preset": "physical", "propagation": "", "size": 8, "fit": "crop"}
    ones = np.ones((8, 8), np.float32)
    old = {"dense": ones, "edges": np.packbits(ones > 0, axis=1)}  # until version 0.2.0
    write_arrays(tmp_path / "one" / "0a.npz", old, about)
    new = tmp_path / "two" / f"0b{SUFFIX}"
    write_map(new, {"dense": ones}, ones > 0, about)
    maps = ["--maps", str(tmp_path / "one"), str(tmp_path / "two")]
    assert compare_runs.main([*(str(folder) for folder in runs), *maps]) == 0
    write_map(new, {"dense": 2 * ones}, ones > 0, about)
    assert compare_runs.main([*(str(folder) for folder in runs), *maps]) == 1


def test_nothing_to_compare_is_no_success(tmp_path):
    assert compare_runs.main([str(tmp_path), str(tmp_path)]) == 1
