"""The page *Data* of a data set on disk: what it says of files that give the label away, of
identical pairs, of copies in several splits, and of identities that nobody knows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from defocus_lib.data import manifest as m
from defocus_lib.data.index import load_index
from defocus_lib.run import artifacts
from tests import trees
from tests.pages import ROOT, Page, run_source

CLIPS = 20


def data_set(folder: Path, **others) -> Path:
    """Pairs, real images as JPEG and fake ones as PNG, and their manifest; one fake equals its real
    image."""
    pictures = trees.folders(folder / "pictures", clips=CLIPS, size=48)
    for path in sorted((pictures / "real").iterdir()):
        pixels = Image.open(path)
        path.unlink()
        pixels.save(path.with_suffix(".jpg"), quality=92)
    first = sorted((pictures / "real").iterdir())[0]
    Image.open(first).save(pictures / "fake" / f"{first.stem}.png")
    return write_manifest(folder, **others)


def write_manifest(folder: Path, **others) -> Path:
    about = {"title": "t", "access": "a", "licence": "l", "layout": "folders"}
    dataset = {"name": "mine", "root": "pictures", "options": {"pairs": "by_name"}, **others}
    photographs = [m.load_manifest().photographs[0].model_dump()]
    content = {"version": 1, "photographs": photographs, "datasets": [about | dataset]}
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def run(folder: Path, path: Path) -> tuple[Page, str]:
    """The executed page, and what its cells show as text."""
    given = {"profile": "tiny", "artifacts": str(folder / "run"), "manifest": str(path)}
    given |= {"dataset": "mine", "manipulations": "fake", "training_manipulation": "fake"}
    source = ROOT / "notebooks" / "01_data_on_disk.py"
    page = run_source(source, folder / "run", {**given, "size": 48})
    shown = [output.data for output in page.outputs if "data" in output]
    return page, "\n".join(data.get("text/markdown", data.get("text/plain", "")) for data in shown)


@pytest.mark.slow
def test_files_that_give_the_label_away_mark_the_run(tmp_path):
    page, text = run(tmp_path, data_set(tmp_path))
    assert "**The files of these data give the label away.**" in text
    assert "**Identities not known.**" in text and "No identity is in more" not in text
    assert page.names["by_files"]["auc"].tolist() == [1.0]
    counts = dict(zip(*np.array(page.names["index"].identical[["id", "pair"]]).T, strict=True))
    assert counts == {"photo-000/fake": "photo-000/real"}
    stored = pd.read_parquet(tmp_path / "run" / "records.parquet").set_index("id")["pair"]
    assert stored["photo-000/fake"] == "" and stored["photo-001/fake"] == "photo-001/real"
    folder = artifacts.Folder.open("tiny", tmp_path / "run")
    assert folder.about.caution == "the files give the label away (AUC 1.00)"
    assert "give the label away" in (tmp_path / "run" / "this_run.md").read_text()


@pytest.mark.slow
def test_names_on_disk_are_no_markup(tmp_path):
    data_set(tmp_path)
    pictures = tmp_path / "pictures" / "real"
    (pictures / "<b>photo.png").write_bytes(b"no picture")
    page, _ = run(tmp_path, write_manifest(tmp_path, on_unreadable="skip"))
    shown = "".join(output.data.get("text/html", "") for output in page.outputs if "data" in output)
    assert "real/&lt;b&gt;photo.png" in shown and "<b>photo" not in shown


@pytest.mark.slow
def test_equalised_images_leave_no_mark(tmp_path):
    _, text = run(tmp_path, data_set(tmp_path, equalise={"size": 48, "quality": 95}))
    assert "The files do not give the label away" in text
    folder = artifacts.Folder.open("tiny", tmp_path / "run")
    assert folder.about.caution == "" and folder.about.equalise == {"size": 48, "quality": 95}
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["data"]["equalise"]


@pytest.mark.slow
def test_copies_in_two_splits_stop_the_page_or_are_left_out(tmp_path):
    path = data_set(tmp_path)
    splits = run(tmp_path, path)[0].names["index"].records.set_index("id")["split"]
    pictures = tmp_path / "pictures" / "real"
    train, test = (splits[splits == split].index for split in ("train", "test"))
    first, second = (
        next(name for name in names if name.endswith("/real")) for names in (train, test)
    )
    shutil.copy(pictures / f"{first[:9]}.jpg", pictures / f"{second[:9]}.jpg")
    load_index(m.load_manifest(path).dataset("mine"), refresh=True)
    with pytest.raises(
        ValueError, match=r"are the same file; images that are in a later split too: 1\."
    ):
        run(tmp_path, path)
    page, _ = run(tmp_path, write_manifest(tmp_path, on_duplicates="skip"))
    kept = pd.read_parquet(tmp_path / "run" / "records.parquet")["id"]
    assert second in set(kept) and first not in set(kept)
    assert len(page.names["asked_for"]) - len(page.names["unshared"]) == 1
