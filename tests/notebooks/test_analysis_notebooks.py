"""Notebooks 05 to 09 say what to run first where there is nothing yet; they and 10 name their
figures."""

import jupytext
import pytest

from defocus_lib.run import artifacts
from tests.pages import ROOT, run_page

FIGURES = {
    "03b_yardstick": 1,
    "05_binary_mask": 4,
    "06_local_variance": 5,
    "06b_contrast_of_blur": 5,
    "07_tsne": 6,
    "08_shapley_view": 4,
    "09_alignment_score": 3,
    "10_known_blur": 9,
}
FIRST = {
    "03b_yardstick": "01_data",
    "06b_contrast_of_blur": "01_data",
    "07_tsne": "03_train_detector",
}


def read(name):
    return jupytext.read(ROOT / "notebooks" / f"{name}.py")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FIGURES if name < "10"])
def test_names_the_notebook_to_run_first(name, tmp_path):
    first_of_all = "run notebook 01_data with profile 'smoke' first"
    with pytest.raises(artifacts.MissingArtifact, match=first_of_all):
        run_page(name, tmp_path / "none", {"profile": "smoke"})
    begun = artifacts.Folder.create("smoke", tmp_path / "begun")
    first = FIRST.get(name, "04_save_shapley")
    with pytest.raises(
        artifacts.MissingArtifact, match=f"run notebook {first} with profile 'smoke' first"
    ):
        run_page(name, begun.path, {"profile": "smoke"})


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_caption_and_a_description(name):
    shown = [cell.metadata["mystnb"] for cell in read(name).cells if "mystnb" in cell.metadata]
    assert len(shown) == FIGURES[name]
    assert all(cell["figure"]["caption"].endswith(".") and cell["image"]["alt"] for cell in shown)


def test_names_of_figures_and_numbers_are_unique():
    figures = [
        cell.metadata["mystnb"]["figure"]["name"]
        for name in FIGURES
        for cell in read(name).cells
        if "mystnb" in cell.metadata
    ]
    assert len(figures) == len(set(figures))
