from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from defocus_lib.analysis import transfer
from defocus_lib.data import collection
from defocus_lib.detect.inputs import Inputs
from defocus_lib.detect.model import load_detector
from defocus_lib.detect.training import predict
from defocus_lib.run import artifacts
from defocus_lib.scenes import corruptions
from defocus_lib.scenes.corruptions import CORRUPTIONS
from tests import runs


def table(rng, learned, shifts, videos=20, frames=3):
    """Predictions on frames; ``shifts`` are the mean logits by manipulation."""
    rows = [
        (f"v{v:02d}/{f}/{name}", f"v{v:02d}", name, int(name != "real"), shift + rng.normal())
        for v in range(videos)
        for f in range(frames)
        for name, shift in shifts.items()
    ]
    made = pd.DataFrame(rows, columns=["id", "video", "manipulation", "label", "logit"])
    return made.assign(group=made["video"], input="defocus", training_manipulation=learned, seed=0)


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    on_a = table(rng, "a", {"real": 0, "a": 2.0, "b": 0.0})
    return pd.concat([on_a, table(rng, "b", {"real": 0, "a": -1.5, "b": 3.0})])


def test_each_cell_compares_one_manipulation_with_the_real_images(predictions):
    cells, means = transfer.matrix(predictions, n_bootstrap=100)
    cell = cells.query("training_manipulation == 'b' and test_manipulation == 'a'").iloc[0]
    rows = predictions.query("training_manipulation == 'b' and manipulation in ['real', 'a']")
    assert cell["value"] == pytest.approx(roc_auc_score(rows["label"], rows["logit"]))
    assert cell["low"] < cell["value"] < cell["high"]
    assert len(cells) == 4
    off_diagonal = cells.query("training_manipulation != test_manipulation")["value"]
    assert means.loc["defocus", "value"] == pytest.approx(off_diagonal.mean())
    assert (
        means.loc["defocus", "low"] < means.loc["defocus", "value"] < means.loc["defocus", "high"]
    )


def test_by_video_frames_are_averaged_first(predictions):
    trained = predictions.query("training_manipulation == 'a'")
    videos = transfer.at_level(trained, "video")
    assert len(videos) == 20 * 3
    frames = trained.query("video == 'v03' and manipulation == 'b'")["logit"]
    assert videos.query("id == 'v03/b'")["logit"].item() == pytest.approx(frames.mean())
    frame, video = (
        transfer.matrix(predictions, level, 20)[0].loc[0, "value"] for level in ("frame", "video")
    )
    assert video > frame, "the mean of three is less noisy"
    with pytest.raises(ValueError, match="frame or video wanted"):
        transfer.at_level(trained, "pixel")


def test_claims_are_about_manipulations_that_were_not_learned(predictions):
    (claim,) = transfer.claims(*transfer.matrix(predictions, n_bootstrap=100), 20, "video")
    assert "did not learn" in claim.statement
    assert claim.low < claim.value < claim.high < 0.5
    assert claim.verdict == "not enough data", "a single seed"


def test_a_single_manipulation_has_no_other_to_transfer_to(predictions):
    alone = predictions.query("training_manipulation == 'a' and manipulation != 'b'")
    cells, means = transfer.matrix(alone, n_bootstrap=50)
    assert means.empty
    assert transfer.matrix_table(cells, {"defocus": "map"}).shape == (1, 1)
    (claim,) = transfer.claims(cells, means, 20, "video")
    assert "did not learn" not in claim.statement
    assert claim.value > 0.8


def test_a_page_shows_cells_with_their_intervals(predictions):
    cells, _ = transfer.matrix(predictions, n_bootstrap=20)
    shown = transfer.matrix_table(cells, {"defocus": "defocus map"})
    assert shown.index.tolist() == [("defocus map", "a"), ("defocus map", "b")]
    assert shown.columns.tolist() == ["a", "b"]
    assert shown.loc[("defocus map", "a"), "a"].startswith("0.9")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = runs.prepare(tmp_path_factory.mktemp("corrupted"))
    loaded = collection.load(artifacts.Folder.open("tiny", path / "run"))
    detectors = {
        name: load_detector(path / "run" / f"detector_{name}.safetensors")[0]
        for name in ("defocus", "rgb")
    }
    return loaded.records.query("split != 'train'"), loaded.reader, runs.cache_of(path), detectors


@pytest.mark.slow
def test_at_the_first_level_predictions_are_those_of_the_stored_images(run, monkeypatch):
    monkeypatch.setattr(transfer, "CHUNK", 5)
    records, reader, cache, detectors = run
    predictions = transfer.corrupted_predictions(*run, CORRUPTIONS["noise"], 0)
    for name, detector in detectors.items():
        stored = predict(detector, Inputs(records, name, reader, cache))[0].numpy()
        rows = predictions[predictions["detector"] == name]
        assert rows["id"].tolist() == records["id"].tolist()
        np.testing.assert_allclose(rows["logit"], stored, atol=1e-5)


def test_a_corruption_changes_the_image_and_its_map(run):
    records, reader, cache, _ = run
    images, maps = transfer.corrupted(records.head(2), reader, cache, CORRUPTIONS["blur"], 2)
    dense = maps.dense[:, 0].numpy()
    stored = reader.stack(records.head(2))
    assert np.array_equal(images[1], corruptions.blurred(stored[1], 2, np.random.default_rng(0)))
    assert np.abs(dense - cache.stack(records.head(2))[0]).max() > 0.1


def test_curves_start_at_no_change_and_have_both_levels(run):
    chosen = {"noise": replace(CORRUPTIONS["noise"], levels=(0, 0.03))}
    curves = transfer.robustness(*run, chosen, n_bootstrap=20)
    assert len(curves) == 2 * 2 * 2
    first = curves[curves["level"] == 0]
    assert (first[["change", "change_low", "change_high"]].abs() < 1e-12).all(axis=None)
    assert (curves["change_low"] <= curves["change_high"]).all()
    assert transfer.curve_table(curves, "video").shape == (2, 2)


def test_the_first_drop_is_where_the_interval_lies_below_zero():
    levels = {"level": [1, 2, 3], "detector": "rgb", "by": "frame"}
    high = {"noise": [0, 0.01, 0.0], "blur": [0, -0.01, -0.02]}
    curves = pd.concat(
        pd.DataFrame({**levels, "corruption": name, "change_high": values})
        for name, values in high.items()
    )
    drops = transfer.first_drops(curves)
    assert drops["rgb"].to_dict() == {"noise": "none", "blur": "2"}
    assert drops.index.tolist() == ["noise", "blur"], "in the order of the curves"
