"""Notebook 13 on a run of ten videos, with detectors that nobody trained; with pairs, and where
there are none."""

from dataclasses import replace

import jupytext
import pandas as pd
import pytest

from defocus_lib.data import collection
from defocus_lib.explain import jobs
from defocus_lib.maps.cache import save_maps
from defocus_lib.run import artifacts
from tests import runs
from tests.pages import ROOT, run_page

NAME = "13_trust_in_shapley"
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


@pytest.mark.slow
@pytest.mark.parametrize("has", [("pairs",), ()])
def test_runs_with_pairs_and_without(has, explained, monkeypatch):
    folder = explained.folder
    artifacts.Folder.create("tiny", folder.path, replace(folder.about, has=has))
    monkeypatch.setattr("defocus_lib.maps.cache.map_cache", lambda *_: explained.cache)
    page = run_page(NAME, folder.path, {"profile": "tiny"} | SMALL)
    assert set(page.glued) == page.wanted
    assert page.printed == ""
    table = pd.read_csv(folder.path / "trust.csv")
    assert list(table) == ["name", "value", "low", "high"] and table["name"].is_unique
    assert table["name"].str.startswith("alignment").any() == bool(has)
    assert table["value"].notna().all()


def test_names_the_notebook_to_run_first(tmp_path):
    begun = artifacts.Folder.create("smoke", tmp_path)
    with pytest.raises(
        artifacts.MissingArtifact, match="run notebook 04_save_shapley with profile 'smoke' first"
    ):
        run_page(NAME, begun.path, {"profile": "smoke"})


def test_every_figure_has_a_caption_and_a_description():
    notebook = jupytext.read(ROOT / "notebooks" / f"{NAME}.py")
    shown = [cell.metadata["mystnb"] for cell in notebook.cells if "mystnb" in cell.metadata]
    assert len(shown) == 6 == len({cell["figure"]["name"] for cell in shown})
    assert all(
        cell["figure"]["caption"].endswith(".") and cell["image"]["alt"].endswith(".")
        for cell in shown
    )
