"""The book on data sets that lie on disk, with the notebooks in this process."""

import json
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup

from defocus_lib.explain import attribution_set
from defocus_lib.run import artifacts, headline
from defocus_lib.stats.claims import Claim
from tests import trees
from tests.pages import ROOT, copy_book, run_graph

UNTRAINED = (
    *("Error of", "Rank correlation of", "Share of the error", "Maps of", "Manipulated maps"),
    *("The mask of", "Local variance of", "Coverage of", "Contrast of blur"),
)  # how claims begin that are about maps and pictures, not about a detector


def claims_of(folder: Path) -> list[Claim]:
    """The claims about the data of the run."""
    paths = sorted((folder / "run" / headline.ROOT).glob("*.json"))
    paths = [path for path in paths if path.stem not in headline.BY_HAND]
    return [Claim(**each) for path in paths for each in json.loads(path.read_text("utf-8"))]


def text_of(folder: Path, name: str) -> str:
    notebook = nbformat.read(folder / "run" / "notebooks" / f"{name}.ipynb", as_version=4)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


@pytest.mark.slow
def test_the_smoke_book_of_faceforensics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """All notebooks and the rendered pages, on a tree with a missing frame, foreign files and an
    odd folder."""
    root = trees.faceforensics(
        tmp_path / "ffpp", videos=30, frames=3, size=72, compression="c23", faces="faces"
    )
    (root / "manipulated_sequences/FaceSwap/c23/faces/024_025/0001.png").unlink()
    (root / "original_sequences/youtube/c23/faces/026/0000.png").unlink()
    trees.foreign_files(root / "original_sequences/youtube/c23/faces/000")
    trees.odd_folders(root / "manipulated_sequences/Deepfakes/c23/faces", next(root.rglob("*.png")))
    for name, value in {"ROOT": str(root), "COMPRESSION": "c23", "FACES": "faces"}.items():
        monkeypatch.setenv(f"FFPP_{name}", value)
    book = copy_book(tmp_path)
    settings = {"profile": "ffpp-smoke", "book": str(book)}
    report = run_graph(tmp_path, **settings)
    assert "WARNING" not in report + "".join(capfd.readouterr())
    assert [line for line in run_graph(tmp_path, **settings).splitlines() if line[:2] == ". "] == []

    records = pd.read_parquet(tmp_path / "run" / "records.parquet").set_index("id")
    # One frame on, not slipped.
    assert records.loc["024_025/0002/FaceSwap", "pair"] == "024/0002/real"
    assert records.loc["026_027/0000/Deepfakes", "pair"] == ""
    for name in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"):
        folder = artifacts.Folder.open("ffpp-smoke", tmp_path / "run")
        explained = attribution_set.open_set(folder, name)
        pairs = [(id.split("_")[0], id.split("/")[1]) for id in explained.ids.tolist()]
        assert pairs == [tuple(id.split("/")[:2]) for id in explained.pairs.tolist()] and pairs
    assert "Left out: this needs the regions" in text_of(tmp_path, "05_binary_mask")
    page = BeautifulSoup(
        (book / "_build/html/executed/01_data.html").read_text(encoding="utf-8"), "html.parser"
    )
    rows = [row for row in page.select("table tr") if row.th and row.td]
    counts = {row.th.get_text(): row.td.get_text() for row in rows}
    assert int(counts["files and folders without a place in the layout, or lacking images"]) > 0
    assert int(counts["files that are no images"]) > 0
    assert int(counts["manipulated images without a real counterpart"]) > 0
    # One epoch and one seed show nothing about a detector, however many videos there are.
    for claim in claims_of(tmp_path):
        plenty = replace(claim, groups=10_000, low=claim.value, high=claim.value)
        about_detectors = not claim.statement.startswith(UNTRAINED)
        about_detectors &= "linear detector" not in claim.statement  # it has no epochs and no seed
        assert plenty.enough != about_detectors, claim.statement
    front = (book / "_build/html/intro.html").read_text(encoding="utf-8")
    assert "These pages show the run" in front and "FaceForensics++" in front


@pytest.mark.slow
def test_a_book_without_pairs_skips_what_needs_them_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIFAKE_ROOT", str(trees.cifake(tmp_path / "cifake", train=40, test=20)))
    smoke = yaml.safe_load((ROOT / "notebooks/profiles/smoke.yaml").read_text(encoding="utf-8"))
    smoke["07_tsne"] |= {"perplexity": 2.0, "neighbors": 3}
    smoke["03_train_detector"]["inputs"] = "defocus, rgb"
    small = " ".join(
        f"{name}.{key}={json.dumps(value)!r}"
        for name, values in smoke.items()
        for key, value in values.items()
        if name != "01_data"
    )
    # Page 10 and the speed page know nothing of the data set; the status page lists the claims.
    names = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
    wanted = names - {"01_data_on_disk", "10_known_blur", "speed", "status"}
    run_graph(
        tmp_path, *(f"notebook:{name}" for name in sorted(wanted)), profile="cifake", set=small
    )
    pairs = "Left out: this needs pairs of a real and a manipulated image"
    for name in ("05_binary_mask", "06_local_variance", "08_shapley_view", "09_alignment_score"):
        assert pairs in text_of(tmp_path, name), name
    assert pairs not in text_of(tmp_path, "07_tsne")
    assert "## Real against manipulated" in text_of(tmp_path, "06_local_variance")
    folder = artifacts.Folder.open("cifake", tmp_path / "run")
    assert headline.compose(folder).read_text(encoding="utf-8").startswith("| ")
    assert len(attribution_set.open_set(folder, "fake")) == smoke["04_save_shapley"]["images"]
