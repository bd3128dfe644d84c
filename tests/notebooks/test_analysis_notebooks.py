"""Notebooks 05 to 09 run on a small folder made without training, and say what to run first where
there is none."""

import jupytext
import pytest

from defocus_lib.run import artifacts
from tests import artefacts
from tests.pages import ROOT, run_page

SMALL = {
    "05_binary_mask": {"threshold": 0.2, "scene": 1, "n_bootstrap": 50},
    "06_local_variance": {"window": 7, "n_bootstrap": 50, "simulations": 5},
    "07_tsne": {"perplexities": "2, 3, 4, 5", "perplexity": 4.0, "neighbors": 5, "components": 10}
    | {"seeds": 2, "n_bootstrap": 20},
    "08_shapley_view": {"images": 2, "manipulation": "splice"},
    "09_alignment_score": {"pairs": 6, "pair": 2},
}
FIGURES = {
    "05_binary_mask": 4,
    "06_local_variance": 5,
    "07_tsne": 6,
    "08_shapley_view": 4,
    "09_alignment_score": 3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return artefacts.build(tmp_path_factory.mktemp("artifacts"))


def read(name):
    return jupytext.read(ROOT / "notebooks" / f"{name}.py")


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_runs_on_saved_artefacts(name, folder):
    page = run_page(name, folder.path, {"profile": "smoke"} | SMALL[name])
    assert page.figures == FIGURES[name]
    assert page.printed == ""
    assert len(page.glued) == len(set(page.glued))
    assert page.wanted == set(page.glued)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_names_the_notebook_to_run_first(name, tmp_path):
    first_of_all = "run notebook 01_data with profile 'smoke' first"
    with pytest.raises(artifacts.MissingArtifact, match=first_of_all):
        run_page(name, tmp_path / "none", {"profile": "smoke"})
    begun = artifacts.Folder.create("smoke", tmp_path / "begun")
    first = "03_train_detector" if name == "07_tsne" else "04_save_shapley"
    with pytest.raises(
        artifacts.MissingArtifact, match=f"run notebook {first} with profile 'smoke' first"
    ):
        run_page(name, begun.path, {"profile": "smoke"})


@pytest.mark.parametrize("name", SMALL)
def test_every_figure_has_a_caption_and_a_description(name):
    shown = [cell.metadata["mystnb"] for cell in read(name).cells if "mystnb" in cell.metadata]
    assert len(shown) == FIGURES[name]
    assert all(cell["figure"]["caption"].endswith(".") and cell["image"]["alt"] for cell in shown)


def test_names_of_figures_and_numbers_are_unique():
    figures = [
        cell.metadata["mystnb"]["figure"]["name"]
        for name in SMALL
        for cell in read(name).cells
        if "mystnb" in cell.metadata
    ]
    assert len(figures) == len(set(figures))
