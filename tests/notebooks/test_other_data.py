"""Notebooks 05 and 06 on data of other shapes: videos of several frames, and images without
counterparts."""

from dataclasses import replace

import numpy as np
import pytest

from defocus_lib.run import artifacts
from defocus_lib.run.notebook import read_notebook
from defocus_lib.run.parameters import declared_parameters
from tests import artefacts
from tests.pages import ROOT, run_page

VIDEOS = artifacts.About("own", "own videos", "video", ("pairs",))
UNPAIRED = artifacts.About("own", "own images", "image", ())
SMALL = {"threshold": 0.2, "window": 7, "n_bootstrap": 30, "simulations": 3}


def fill(folder, ids, pairs, seed=0):
    """Save a real and a manipulated set of these ids with noise for maps; a real image names itself
    as its pair."""
    rng, sets = np.random.default_rng(seed), {}
    for name in ("real", "Deepfakes"):
        images = rng.random((len(ids[name]), 24, 24, 3))
        nowhere = np.zeros(images.shape[:3], dtype=bool)
        meta = {"profile": "smoke", "manipulations": ["Deepfakes"], "manipulation": name}
        made = artefacts.images_with_values(ids[name], images, nowhere, meta, seed)
        sets[name] = replace(made, pairs=np.array(pairs[name]))
    artefacts.save_shards(folder.path / artefacts.shards.ROOT, sets, images=5)


def videos(path):
    folder = artifacts.Folder.create("smoke", path, VIDEOS)
    frames = [(video, frame) for video in range(6) for frame in range(1 + video % 3, 5)]
    ids = {"real": [f"{video:03d}/{frame:04d}/real" for video, frame in frames]}
    ids["Deepfakes"] = [
        f"{video:03d}_{video + 1:03d}/{frame:04d}/Deepfakes" for video, frame in frames
    ]
    fill(folder, ids, {"real": ids["real"], "Deepfakes": ids["real"]})
    return folder


def unpaired(path):
    folder = artifacts.Folder.create("smoke", path, UNPAIRED)
    ids = {
        "real": [f"{number:03d}/real" for number in range(9)],
        "Deepfakes": [f"x{number}/Deepfakes" for number in range(7)],
    }
    fill(folder, ids, {"real": ids["real"], "Deepfakes": [""] * 7})
    return folder


def run(name, folder):
    """The executed page; only parameters that it has are set."""
    declared = declared_parameters(read_notebook(ROOT / "notebooks" / f"{name}.py"), name)
    small = {key: value for key, value in SMALL.items() if key in declared}
    return run_page(name, folder.path, {"profile": "smoke"} | small)


@pytest.mark.slow
def test_variance_of_videos_is_tested_by_video(tmp_path):
    names = run("06_local_variance", videos(tmp_path)).names
    row = names["tests"].loc["Deepfakes"]
    assert row["groups"] == 6 < row["real images"] and row["naive KS p"] != row["KS p"]
    clusters = names["clusters"]
    assert clusters["groups"].tolist() == [6, 6] and clusters["ICC"].notna().all()


@pytest.mark.slow
def test_masks_of_videos_have_intervals_by_video(tmp_path):
    names = run("05_binary_mask", videos(tmp_path)).names
    row = names["intervals"].loc["Deepfakes"]
    assert row["groups"] == 6 < row["pairs"] and "excess" not in names


@pytest.mark.slow
def test_claims_about_files_that_give_the_label_away_carry_a_caution(tmp_path):
    folder = videos(tmp_path)
    artifacts.Folder.create("smoke", tmp_path, replace(VIDEOS, file_facts_auc=0.91))
    page = run("06_local_variance", folder)
    tables = [output.data["text/html"] for output in page.outputs if "text/html" in output.data]
    marked = [table for table in tables if "the files give the label away (AUC 0.91)" in table]
    assert len(marked) == 1 and "<th>verdict</th>" in marked[0]
    assert marked[0].count("give the label away") == len(page.names["page_claims"]) > 0


@pytest.mark.slow
def test_variance_without_pairs_has_no_paired_test(tmp_path):
    names = run("06_local_variance", unpaired(tmp_path)).names
    assert len(names["page_claims"]) == 1
    assert "paired p" not in names["tests"] and names["tests"].loc["Deepfakes", "groups"] == 16
    assert names["sizes"]["low"].notna().all()
