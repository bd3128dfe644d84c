"""Notebook 13 on a run of ten videos, with detectors that nobody trained; with pairs, and where
there are none."""

from dataclasses import replace

import jupytext
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from defocus_lib.data import collection
from defocus_lib.explain import jobs
from defocus_lib.maps.cache import save_maps
from defocus_lib.run import artifacts
from defocus_lib.run.notebook import leave_out, read_notebook
from tests import runs

NAME = "13_trust_in_shapley"
ROOT = artifacts.project_root(artifacts.Path(__file__).parent)
SMALL = {
    "images": 2,
    "counts": "2, 4",
    "reference": 8,
    "randomised_samples": 2,
    "randomised_parts": 2,
    "removal_images": 2,
    "removal_steps": 4,
    "removal_backgrounds": 1,
    "removal_block": 8,
    "pairs": 4,
    "untrained_samples": 2,
    "n_bootstrap": 9,
}
plt.switch_backend("agg")


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """The run with its Shapley values, and the cache of its maps."""
    path = runs.prepare(tmp_path_factory.mktemp("trust"))
    meta = {
        "profile": "tiny",
        "background": 2,
        "n_samples": 4,
        "method": "stratified",
        "batch_size": 16,
    }
    meta |= {"precision": "float32", "preset": "physical"}
    plan, parts = runs.planned(path, path / "run", n_samples=4, meta=meta)
    jobs.save(plan, parts)
    save_maps(plan.folder, plan.cache, collection.load(plan.folder).records)
    return plan


def run_cells(notebook, parameters, monkeypatch, cache):
    """Run the code cells in this process; the parameters follow their cell. What is glued, by name.
    """
    glued, space = {}, {}
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: glued.__setitem__(name, value))
    monkeypatch.setattr(collection, "map_cache", lambda *_: cache)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, space)
            if "parameters" in cell.metadata.get("tags", []):
                assert not set(parameters) - set(space)
                space |= parameters
    return glued


def wanted(notebook):
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return {part.split("`")[0].split(":")[0] for part in prose.split("{glue:text}`")[1:]}


@pytest.mark.parametrize("has", [("pairs",), ()])
def test_runs_with_pairs_and_without(has, explained, monkeypatch, capfd):
    folder, cache = explained.folder, explained.cache
    artifacts.Folder.create("tiny", folder.path, replace(folder.about, has=has))
    notebook = leave_out(read_notebook(ROOT / "notebooks" / f"{NAME}.py"), folder.path)
    parameters = {"profile": "tiny", "artifacts": str(folder.path)} | SMALL
    glued = run_cells(notebook, parameters, monkeypatch, cache)
    assert set(glued) == wanted(notebook)
    assert capfd.readouterr() == ("", "")
    found = pd.read_csv(folder.path / "trust.csv")
    assert list(found) == ["name", "value", "low", "high"] and found["name"].is_unique
    assert found["name"].str.startswith("alignment").any() == bool(has)
    assert found["value"].notna().all()


def test_names_the_notebook_to_run_first(tmp_path, monkeypatch):
    notebook = jupytext.read(ROOT / "notebooks" / f"{NAME}.py")
    begun = artifacts.Folder.create("smoke", tmp_path)
    with pytest.raises(
        artifacts.MissingArtifact, match="run notebook 04_save_shapley with profile 'smoke' first"
    ):
        run_cells(notebook, {"profile": "smoke", "artifacts": str(begun.path)}, monkeypatch, None)


def test_every_figure_has_a_caption_and_a_description():
    notebook = jupytext.read(ROOT / "notebooks" / f"{NAME}.py")
    shown = [cell.metadata["mystnb"] for cell in notebook.cells if "mystnb" in cell.metadata]
    assert len(shown) == 6 == len({cell["figure"]["name"] for cell in shown})
    assert all(
        cell["figure"]["caption"].endswith(".") and cell["image"]["alt"].endswith(".")
        for cell in shown
    )
