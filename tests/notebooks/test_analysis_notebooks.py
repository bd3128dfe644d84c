"""Notebooks 05 to 09 run on a small folder made without training, and say what to run first where
there is none."""

import jupytext
import nbformat
import papermill
import pytest

from defocus_lib.run import artifacts
from tests import artefacts

ROOT = artifacts.project_root(artifacts.Path(__file__).parent)
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


@pytest.mark.parametrize("name", SMALL)
def test_runs_on_saved_artefacts(name, folder, tmp_path):
    nbformat.write(read(name), tmp_path / "in.ipynb")
    parameters = {"profile": "smoke", "artifacts": str(folder.path)} | SMALL[name]
    done = papermill.execute_notebook(
        tmp_path / "in.ipynb",
        tmp_path / "out.ipynb",
        parameters,
        kernel_name="python3",
        cwd=ROOT,
        progress_bar=False,
        execution_timeout=120,
    )
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == FIGURES[name]
    assert not [output.text for output in outputs if output.output_type == "stream"]
    glued = [
        output.metadata["scrapbook"]["name"]
        for output in outputs
        if "scrapbook" in output.get("metadata", {})
    ]
    assert len(glued) == len(set(glued))
    prose = "".join(cell.source for cell in done.cells if cell.cell_type == "markdown")
    wanted = {part.split("`")[0].split(":")[0] for part in prose.split("{glue:text}`")[1:]}
    assert wanted == set(glued)


def run_code(name, parameters):
    """Run the code cells in this process, as far as they get; the parameters follow their cell."""
    space = {}
    for cell in read(name).cells:
        if cell.cell_type == "code":
            exec(cell.source, space)
            if "parameters" in cell.metadata.get("tags", []):
                assert not set(parameters) - set(space)
                space |= parameters


@pytest.mark.parametrize("name", SMALL)
def test_names_the_notebook_to_run_first(name, tmp_path):
    with pytest.raises(
        artifacts.MissingArtifact, match="run notebook 01_data with profile 'smoke' first"
    ):
        run_code(name, {"profile": "smoke", "artifacts": str(tmp_path / "none")})
    begun = artifacts.Folder.create("smoke", tmp_path / "begun")
    first = "03_train_detector" if name == "07_tsne" else "04_save_shapley"
    with pytest.raises(
        artifacts.MissingArtifact, match=f"run notebook {first} with profile 'smoke' first"
    ):
        run_code(name, {"profile": "smoke", "artifacts": str(begun.path)})


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
