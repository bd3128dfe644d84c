"""Notebook 10 in miniature: its figures, glued values and captions."""

import pytest

from tests import artefacts
from tests.pages import run_page

SMALL = {
    "size": 64,
    "planes": 2,
    "scenes": 2,
    "scene_size": 48,
    "simulated": 2,
    "step_size": 33,
    "noises": "0",
}


@pytest.mark.slow
def test_it_runs_in_miniature(tmp_path):
    folder = artefacts.build(tmp_path / "run").path
    page = run_page("10_known_blur", folder, {"profile": "smoke"} | SMALL)
    assert page.figures == 9 and page.printed == ""
    assert page.wanted == set(page.glued) and len(page.glued) == len(set(page.glued))
    assert all(name.startswith("known_") for name in page.glued)
    shown = [cell.metadata["mystnb"] for cell in page.notebook.cells if "mystnb" in cell.metadata]
    assert len(shown) == 9
    assert all(cell["figure"]["caption"].endswith(".") and cell["image"]["alt"] for cell in shown)
