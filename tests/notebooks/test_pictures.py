"""Every cell that draws a picture pixel by pixel says so by its tag, so that a bundle can leave it
out."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from defocus_lib.run.bundle.description import SHOWS_IMAGES
from defocus_lib.run.notebook import read_notebook
from tests.pages import ROOT

SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
NOT_SHOWN = {"remove-output", "remove-cell"}  # a bundle without images has no output of these


def functions(tree: ast.AST) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def names_in(nodes: list[ast.AST]) -> set[str]:
    """The names and attributes that some code refers to."""
    everything = [node for part in nodes for node in ast.walk(part)]
    attributes = {node.attr for node in everything if isinstance(node, ast.Attribute)}
    return attributes | {node.id for node in everything if isinstance(node, ast.Name)}


def reaching(known: dict[str, set[str]], goals: set[str]) -> set[str]:
    """``goals``, and the functions that refer to one of them, directly or through others."""
    while more := {name for name, used in known.items() if used & goals} - goals:
        goals = goals | more
    return goals


def drawing_pixels() -> set[str]:
    """The functions of ``defocus_lib.figures`` that draw pixels."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "defocus_lib/figures").glob("*.py")]
    known = {name: names_in(node.body) for tree in trees for name, node in functions(tree).items()}
    return reaching(known, {"imshow"})


def untagged(source: Path) -> Iterator[str]:
    """The first line of each cell of a notebook that shows a picture without the tag."""
    cells = [cell for cell in read_notebook(source).cells if cell.cell_type == "code"]
    trees = [ast.parse(cell.source) for cell in cells]
    known = {name: names_in(node.body) for tree in trees for name, node in functions(tree).items()}
    drawing = reaching(known, drawing_pixels() | {"Image"})  # IPython shows a file by Image
    for cell, tree in zip(cells, trees, strict=True):
        tags = set(cell.metadata.get("tags", []))
        plain = (ast.FunctionDef, ast.Import, ast.ImportFrom)
        top = [node for node in tree.body if not isinstance(node, plain)]
        if names_in(top) & drawing and not tags & {SHOWS_IMAGES, *NOT_SHOWN}:
            yield cell.source.splitlines()[0]


def test_the_functions_that_draw_pixels_are_recognised() -> None:
    drawing = drawing_pixels()
    assert {"mask_triptychs", "variance_pairs", "shapley_views", "scene_gallery"} <= drawing
    assert not {"mask_sweep", "roc_curves", "transfer_matrix", "embeddings"} & drawing


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_cell_that_draws_pixels_has_the_tag(source: Path) -> None:
    assert list(untagged(source)) == []


def test_a_cell_without_the_tag_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.py"
    text = "# %%\ndef view(n):\n    return figures.shapley_views(n)\n\n# %%\nview(1)\n"
    page.write_text(text)
    assert list(untagged(page)) == ["view(1)"]
    page.write_text(text.replace("# %%\nview", f'# %% tags=["{SHOWS_IMAGES}"]\nview'))
    assert list(untagged(page)) == []
