"""Made-up maps and predictions whose outcome is known."""

import numpy as np
import pandas as pd
import pytest

from defocus_lib.analysis import detector_by_map, map_accuracy
from defocus_lib.analysis.detector_by_map import ERROR, SPEARMAN, TRUE
from defocus_lib.data import collection
from defocus_lib.detect.sweep import Sweep
from defocus_lib.detect.training import Plan
from defocus_lib.run import artifacts
from defocus_lib.scenes import rendered
from defocus_lib.stats import auc
from tests import runs

KINDS = ("splice", "texture")


class Made:
    """Maps that are the truth with an error of so many px, up or down by turns."""

    def __init__(self, truth, error, preset="made"):
        self.truth, self.error, self.preset = truth, error, preset

    def stack(self, records):
        sigma, edges = self.truth.stack(records)
        sign = np.where(np.arange(sigma.shape[2]) % 2, 1, -1)
        return (sigma + self.error * sign).astype(np.float32), edges


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three test scenes with a splice each, and what is true of them."""
    path, rng = tmp_path_factory.mktemp("better"), np.random.default_rng(0)
    table = rendered.records({"train": 0, "val": 0, "test": 3}, "splice", ("splice",))
    regions = np.zeros((6, 32, 32), bool)
    regions[1::2, 8:16, 8:16] = True
    truth = {
        "ids": table["id"].to_numpy(dtype=str),
        "regions": regions,
        "region_sigma": np.arange(6.0) + 4,
    }
    truth |= {
        "scenes": np.unique(table["group"].to_numpy(dtype=str)),
        "sigma": rng.uniform(1, 3, (3, 32, 32)),
    }
    made = artifacts.Folder.create(
        "p", path, artifacts.About("scenes", has=("pairs", "regions", "depth"))
    )
    artifacts.write_arrays(path / rendered.TRUTH, truth, {})
    return made, table, truth


def test_true_maps_stand_where_a_cache_is_wanted(folder):
    made, table, truth = folder
    dense, edges = detector_by_map.TrueMaps(made).stack(table.iloc[[3, 2]])
    assert dense.shape == edges.shape == (2, 32, 32) and not edges.any()
    assert (dense[0, 8:16, 8:16] == 7).all()
    np.testing.assert_array_equal(dense[1], truth["sigma"][1])


def test_errors_of_images_are_those_of_their_maps(folder):
    made, table, _ = folder
    truth = detector_by_map.TrueMaps(made)
    real = table[table["label"] == 0]
    maps = {"near": Made(truth, 0.1), "far": Made(truth, 0.7)}
    images = detector_by_map.errors_of_images(real, maps, truth)
    assert images["map"].tolist() == ["near"] * 3 + ["far"] * 3
    np.testing.assert_allclose(images[ERROR], [0.1] * 3 + [0.7] * 3, rtol=1e-5)
    sigma, estimate = truth.stack(real)[0][1], maps["far"].stack(real)[0][1]
    known = map_accuracy.map_errors(estimate, sigma, np.ones_like(sigma, bool))
    assert images[SPEARMAN][4] == known[SPEARMAN] < images[SPEARMAN][1]

    table = detector_by_map.error_table(images, n_bootstrap=50)
    assert table.index.tolist() == ["near", "far"]
    assert table.loc["far", (ERROR, "value")] == pytest.approx(0.7, rel=1e-5)
    nearer = detector_by_map.error_difference(images, "near", "far", 50)
    assert (nearer.value, nearer.low, nearer.high) == pytest.approx((-0.6,) * 3, rel=1e-5)
    assert "0.70\N{NO-BREAK SPACE}[0.70," in detector_by_map.errors_shown(table).loc["far", ERROR]


def test_changes_in_the_region_are_those_from_the_paired_real_image(folder):
    made, table, truth = folder
    maps = {TRUE: detector_by_map.TrueMaps(made), "blind": Made(detector_by_map.TrueMaps(made), 0)}
    maps["blind"].stack = lambda records: (np.ones((len(records), 32, 32), np.float32), None)
    changes = detector_by_map.region_changes(table, maps, made)
    expected = [5 + 2 * i - truth["sigma"][i, 8:16, 8:16].mean() for i in range(3)]
    np.testing.assert_allclose(
        changes.loc[0, ["mean", "spread"]].astype(float), [np.mean(expected), np.std(expected)]
    )
    assert (
        changes["map"].tolist() == [TRUE, "blind"]
        and changes.loc[1, "mean"] == changes.loc[1, "spread"] == 0
    )
    assert detector_by_map.changes_shown(changes).loc["blind", "splice"].startswith("+0.00")
    alone = table.assign(pair="")
    assert detector_by_map.region_changes(alone, maps, made).empty


def test_a_constant_map_orders_nothing(folder):
    made, table, _ = folder
    truth = detector_by_map.TrueMaps(made)

    class Flat(Made):
        def stack(self, records):
            return np.ones((len(records), 32, 32), np.float32), None

    images = detector_by_map.errors_of_images(table.head(2), {"flat": Flat(truth, 0)}, truth)
    assert images[SPEARMAN].tolist() == [0, 0]


@pytest.mark.slow
def test_detectors_learn_each_map_and_manipulation(tmp_path):
    path = runs.prepare(tmp_path)
    run = collection.load(artifacts.Folder.open("tiny", path / "run"))
    plan = Plan(epochs=1, batch_size=16, learning_rate=0.003, monitor="val_accuracy")
    cache = runs.cache_of(path)

    class Sure:
        preset = "sure"

        def stack(self, records):
            return cache.stack(records)

        def uncertainty(self, records):
            return 0.1 + 0 * cache.stack(records)[0]

    common = Sweep(run.records, run.reader, cache, "test_resnet", 32, plan)
    table = detector_by_map.run(
        common, {"physical": cache, "sure": Sure()}, [0], uncertain=["sure"]
    )
    sure = detector_by_map.WITH_UNCERTAINTY.format("sure")
    assert set(table["map"]) == {"physical", "sure", sure}
    assert (
        table.groupby("training_manipulation")["manipulation"].agg(set).map(sorted)
    ).tolist() == [
        ["Deepfakes", "real"],
        ["FaceSwap", "real"],
    ]
    predictions = detector_by_map.by_map(table, ["sure", "physical"], ["FaceSwap", "Deepfakes"])
    assert list(predictions) == [
        "sure|FaceSwap",
        "sure|Deepfakes",
        "physical|FaceSwap",
        "physical|Deepfakes",
    ]
    np.testing.assert_array_equal(
        predictions["sure|FaceSwap"].scores, predictions["physical|FaceSwap"].scores
    )
    rows = table[table["map"] == sure]
    assert set(rows["training_manipulation"]) == {"Deepfakes"}, "the first one"
    assert (auc.predictions_of(rows).scores != predictions["sure|Deepfakes"].scores).any()


def test_maps_that_no_claim_rests_on_have_one_seed():
    records = pd.DataFrame({"split": "train", "label": [0, 1, 1], "manipulation": ["real", *"xy"]})
    common = Sweep(records, None, None, "test_resnet", 32, Plan())
    sources = dict.fromkeys(("released", "learned"))
    parts = detector_by_map.trainings(common, sources, (0, 1, 2), ["learned"])
    found = [(each.normalisation, len(of), of[0].training_manipulation) for each, of in parts]
    assert found == [
        ("min-max", 1, "x"),
        ("min-max", 3, "x"),
        ("min-max+uncertainty", 3, "x"),
        ("min-max", 1, "y"),
        ("min-max", 3, "y"),
    ]


# Made-up predictions: for each map and manipulation a gap between real and manipulated images.


def predictions_with(gaps, groups=60, seeds=3):
    labels, names = np.tile([0, 1], groups), np.repeat([f"g{i:02d}" for i in range(groups)], 2)
    noise = np.random.default_rng(0).normal(size=(seeds, 2 * groups))
    return {key: auc.Predictions(labels, names, noise + gap * labels) for key, gap in gaps.items()}


def outcome(**gaps):
    """Of ``map=(gap on splice, gap on texture)``."""
    pairs = {
        name.replace("_", " "): dict(zip(KINDS, pair, strict=True)) for name, pair in gaps.items()
    }
    predictions = predictions_with(
        {f"{name}|{kind}": gap for name, pair in pairs.items() for kind, gap in pair.items()}
    )
    resamples = auc.resampled(predictions, 200)
    return predictions, resamples, detector_by_map.auc_table(predictions, resamples)


def test_gains_are_differences_of_auc_by_manipulation():
    predictions, resamples, table = outcome(learned=(3, 1), physical=(1, 1))
    gain = detector_by_map.gains(predictions, resamples, "learned", "physical")
    wide = table.pivot(index="manipulation", columns="map", values="value")
    assert gain.index.tolist() == list(KINDS)
    np.testing.assert_allclose(
        gain["value"], (wide["learned"] - wide["physical"])[list(KINDS)], atol=1e-12
    )
    assert (
        gain.loc["texture"].tolist() == [0, 0, 0]
        or gain["low"]["texture"] <= 0 <= gain["high"]["texture"]
    )
    text = detector_by_map.gains_shown({"learned minus physical": gain})
    assert text.loc["splice"].item().startswith("+0.") and text.index.tolist() == list(KINDS)


def test_auc_rises_with_accuracy_or_does_not():
    errors = pd.Series({"released": 1.0, "physical": 0.5, "learned": 0.2})
    *_, table = outcome(released=(0, 3), physical=(1, 2), learned=(2, 1), true_sigma=(0, 9))
    assert detector_by_map.accuracy_correlation(table, errors).to_dict() == {
        "splice": 1.0,
        "texture": -1.0,
    }
    *_, flat = outcome(released=(1, 1), physical=(1, 1), learned=(1, 1))
    assert detector_by_map.accuracy_correlation(flat, errors).tolist() == [0, 0], "nothing rises"


def test_each_gain_is_a_claim_with_its_seeds_and_epochs():
    predictions, resamples, _ = outcome(learned=(3, 1), physical=(1, 1))
    gain = detector_by_map.gains(predictions, resamples, "learned", "physical")
    claims = detector_by_map.gain_claims(gain, "Gain on {}", groups=60, seeds=3, epochs=6)
    assert [claim.statement for claim in claims] == ["Gain on splice", "Gain on texture"]
    assert [claim.value for claim in claims] == gain["value"].tolist()
    assert [claim.verdict for claim in claims] == ["supported", "undecided"]
    (short,) = detector_by_map.gain_claims(gain.head(1), "{}", groups=60, seeds=1, epochs=6)
    assert short.verdict == "not enough data"


def test_tables_keep_the_order_of_maps_and_manipulations():
    *_, table = outcome(released=(0, 0), physical=(1, 2), learned=(2, 2))
    shown = detector_by_map.auc_shown(table)
    assert shown.index.tolist() == [
        "released",
        "physical",
        "learned",
    ] and shown.columns.tolist() == list(KINDS)
