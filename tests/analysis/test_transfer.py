import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from defocus_lib.analysis import transfer
from defocus_lib.data import collection
from defocus_lib.detect.inputs import Inputs
from defocus_lib.detect.model import load_detector
from defocus_lib.detect.training import predict
from defocus_lib.figures import controls
from defocus_lib.run import artifacts
from defocus_lib.scenes import corruptions
from defocus_lib.scenes.corruptions import CORRUPTIONS
from tests import runs

NAMES = ("a", "b")


def table(rng, trained, shifts, control="defocus", videos=20, frames=3):
    """Predictions of a detector on real frames and on those of manipulations, which it finds more or less fake."""
    rows = [
        (
            f"v{v:02d}/{f}/{name}",
            f"v{v:02d}",
            f"v{v:02d}",
            name,
            int(name != "real"),
            shift + rng.normal(),
        )
        for v in range(videos)
        for f in range(frames)
        for name, shift in shifts.items()
    ]
    made = pd.DataFrame(rows, columns=["id", "video", "group", "manipulation", "label", "logit"])
    return made.assign(input=control, training_manipulation=trained, seed=0)


@pytest.fixture(scope="module")
def trials():
    rng = np.random.default_rng(0)
    return pd.concat(
        [
            table(rng, "a", {"real": 0, "a": 2.0, "b": 0.0}),
            table(rng, "b", {"real": 0, "a": -1.5, "b": 3.0}),
        ]
    )


def test_each_cell_compares_one_manipulation_with_the_real_images(trials):
    matrix = transfer.matrix(trials, n_bootstrap=100)
    cell = matrix.query("training_manipulation == 'b' and test_manipulation == 'a'").iloc[0]
    rows = trials[
        (trials["training_manipulation"] == "b") & trials["manipulation"].isin(["real", "a"])
    ]
    assert cell["value"] == pytest.approx(roc_auc_score(rows["label"], rows["logit"]))
    assert cell["low"] < cell["value"] < cell["high"]
    off = matrix.query("training_manipulation == 'each'").iloc[0]
    two = matrix.query(
        "training_manipulation != test_manipulation and training_manipulation != 'each'"
    )["value"]
    assert len(two) == 2
    assert off["value"] == pytest.approx(two.mean())
    assert off["low"] < off["value"] < off["high"]


def test_by_video_frames_are_averaged_first(trials):
    videos = transfer.at_level(trials[trials["training_manipulation"] == "a"], "video")
    assert len(videos) == 20 * 3
    one = trials.query("training_manipulation == 'a' and video == 'v03' and manipulation == 'b'")[
        "logit"
    ].mean()
    assert videos.query("id == 'v03/b'")["logit"].item() == pytest.approx(one)
    frames, video = (
        transfer.matrix(trials, level, 20).iloc[0]["value"] for level in ("frame", "video")
    )
    assert video > frames, "the mean of three is less noisy"
    with pytest.raises(ValueError, match="frame or video wanted"):
        transfer.at_level(trials, "pixel")


def test_the_interval_chooses_the_words(trials):
    matrix = transfer.matrix(trials, n_bootstrap=200)
    assert "worse than guessing" in transfer.carries_over(matrix, "defocus")
    better = trials.assign(logit=trials["logit"].where(trials["label"] == 0, trials["logit"] + 4))
    assert "better than guessing" in transfer.carries_over(
        transfer.matrix(better, n_bootstrap=50), "defocus"
    )
    alone = transfer.matrix(
        trials[(trials["training_manipulation"] == "a") & (trials["manipulation"] != "b")],
        n_bootstrap=50,
    )
    assert "there is none" in transfer.carries_over(alone, "defocus")
    assert len(controls.transfer_matrix(alone, {"defocus": "map"}).axes) == 1
    assert transfer.wide(alone, {"defocus": "map"}).shape == (1, 1)
    text, value, low, high = transfer.finding(matrix, "defocus")
    assert "did not learn" in text
    assert low < value < high
    text, value, *_ = transfer.finding(alone, "defocus")
    assert "did not learn" not in text
    assert value > 0.8


def test_a_page_shows_cells_with_their_intervals(trials):
    wide = transfer.wide(transfer.matrix(trials, n_bootstrap=20), {"defocus": "defocus map"})
    assert wide.index.tolist() == [("defocus map", "a"), ("defocus map", "b")]
    assert wide.columns.tolist() == ["a", "b"]
    assert wide.loc[("defocus map", "a"), "a"].startswith("0.9")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = runs.prepare(tmp_path_factory.mktemp("damage"))
    found = collection.load(artifacts.Folder.open("tiny", path / "run"))
    detectors = {
        name: load_detector(path / "run" / f"detector_{name}.safetensors")[0]
        for name in ("defocus", "rgb")
    }
    return found.records.query("split != 'train'"), found.reader, runs.cache_of(path), detectors


def test_without_damage_the_answers_are_those_to_the_stored_images(run, monkeypatch):
    monkeypatch.setattr(transfer, "CHUNK", 5)
    records, reader, cache, detectors = run
    answers = transfer.corrupted_answers(*run, CORRUPTIONS["noise"], 0)
    for name, detector in detectors.items():
        theirs = predict(detector, Inputs(records, name, reader, cache))[0].numpy()
        rows = answers[answers["detector"] == name]
        assert rows["id"].tolist() == records["id"].tolist()
        np.testing.assert_allclose(rows["logit"], theirs, atol=1e-5)


def test_damage_reaches_the_image_and_its_map(run):
    records, reader, cache, _ = run
    images, dense = transfer.damaged(records.head(2), reader, cache, CORRUPTIONS["blur"], 2)
    stored = reader.stack(records.head(2))
    assert np.array_equal(images[1], corruptions.blurred(stored[1], 2, np.random.default_rng(0)))
    assert np.abs(dense - cache.stack(records.head(2))[0]).max() > 0.1


def test_curves_start_at_no_change_and_have_both_levels(run):
    chosen = {"noise": CORRUPTIONS["noise"]}
    curves = transfer.robustness(*run, chosen, n_bootstrap=20)
    assert len(curves) == 2 * 2 * len(CORRUPTIONS["noise"].levels)
    first = curves[curves["level"] == 0]
    assert (first[["change", "change_low", "change_high"]].abs() < 1e-12).all(axis=None)
    assert (curves["change_low"] <= curves["change_high"]).all()
    assert transfer.wide_curves(curves, "video").shape == (4, 2)


def test_where_a_curve_breaks_is_where_its_interval_leaves_no_doubt():
    levels = {"level": [1, 2, 3], "detector": "rgb", "by": "frame"}
    curves = pd.concat([
        pd.DataFrame({**levels, "corruption": "blur", "change_high": [0, 0.01, -0.02]}),
        pd.DataFrame({**levels, "corruption": "noise", "change_high": [0, 0.01, 0.0]}),
    ])  # fmt: skip
    assert transfer.breaks_at(curves, "rgb") == "blur from 3 on, noise nowhere"
