"""Notebook 06b on videos with pairs, and on images without."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from defocus_lib.data import collection
from defocus_lib.maps import cache
from defocus_lib.run import artifacts
from tests import runs
from tests.pages import run_page

SMALL = {"profile": "tiny", "n_bootstrap": 20, "shares": "0.4, 0.6"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run on ten videos, two of them for the test, with its maps."""
    monkeypatch.setattr(cache, "maps_folder", lambda: tmp_path / "maps")
    begun, _ = runs.begin(tmp_path)
    cache.save_maps(begun, runs.cache_of(tmp_path), collection.load(begun).records)
    return begun


@pytest.mark.slow
def test_videos_have_pairs_and_intervals_by_video(folder):
    page = run_page("06b_contrast_of_blur", folder.path, SMALL)
    claims = json.loads((folder.path / "claims" / "06b_contrast_of_blur.json").read_text())
    assert {claim["groups"] for claim in claims} == {2} and claims[0]["unit"] == "video"
    assert "central rectangle" in claims[0]["statement"]
    assert not any("oracle" in claim["statement"] for claim in claims)
    measured, table = page.names["measured"]["learned"], page.names["table"]
    rows = measured[(measured["scale"] == "px") & (measured["manipulation"] != "FaceSwap")]
    row = table.query("preset == 'learned' and scale == 'px' and manipulation == 'Deepfakes'")
    expected = roc_auc_score(rows["label"], rows["contrast"])
    assert row["value"].iloc[0] == claims[0]["value"] == pytest.approx(expected)
    assert page.names["differences"]["pairs"].tolist() == [6] * 8
    assert "Left out: this needs 3 test videos" in page.prose and page.figures == 4


@pytest.mark.slow
def test_single_images_without_pairs_have_their_auc_and_no_interval(folder):
    path = folder.path / collection.RECORDS
    records = pd.read_parquet(path)
    test = records[records["split"] == "test"].groupby("manipulation").head(1)
    alone = pd.concat([records[records["split"] != "test"], test])
    alone.assign(pair="", group=alone["id"]).to_parquet(path)
    about = replace(folder.about, has=("transfer",), unit="image", test_groups=1)
    artifacts.Folder.create("tiny", folder.path, about)
    page = run_page("06b_contrast_of_blur", folder.path, SMALL)
    assert (
        page.names["table"]["low"].isna().all()
        and page.names["table"]["value"].isin([0, 0.5, 1]).all()
    )
    assert {claim.verdict for claim in page.names["page_claims"]} == {"not enough data"}
    assert "pairs of a real and a manipulated image" in page.prose
