from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from defocus_lib.analysis import yardstick
from defocus_lib.analysis.yardstick import PRETRAINED, SCRATCH, Trained

GROUPS = 30


@pytest.fixture
def test_records():
    rows = [
        {"id": f"{group}/{name}", "group": f"g{group}", "manipulation": name, "label": label}
        for group in range(GROUPS)
        for name, label in (("real", 0), ("splice", 1), ("texture", 1))
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def trained(test_records):
    """Detectors whose logits are noise around a signal: RGB is ahead where it is pretrained."""
    rng, label = np.random.default_rng(0), test_records["label"].to_numpy()
    signals = {
        ("defocus", SCRATCH): 2.0,
        ("rgb", SCRATCH): 0.5,
        ("defocus", PRETRAINED): 1.0,
        ("rgb", PRETRAINED): 4.0,
        ("fusion", PRETRAINED): 4.0,
    }
    return {
        key: Trained(signal * label + rng.normal(size=len(label)), "net", 64, 1600, 8, 12.0)
        for key, signal in signals.items()
    }


def test_areas_and_differences_are_those_of_scikit_learn(test_records, trained):
    areas, differences = yardstick.compare(test_records, trained, 50, 0)
    rows = test_records["manipulation"].isin(["real", "texture"]).to_numpy()
    expected = {
        key: roc_auc_score(test_records["label"][rows], entry.logits[rows])
        for key, entry in trained.items()
    }
    texture = areas[areas["manipulation"] == "texture"].set_index(["reads", "start"])
    assert texture["value"].to_dict() == pytest.approx(expected)
    assert len(areas) == 10 and (areas["low"] <= areas["value"]).all()
    # Fusion has no partner from scratch.
    found = differences[differences["manipulation"] == "texture"]
    assert found[["reads", "start"]].to_numpy().tolist() == [
        ["defocus", SCRATCH],
        ["defocus", PRETRAINED],
        ["fusion", PRETRAINED],
    ]
    assert found["value"].iloc[0] == pytest.approx(
        expected["defocus", SCRATCH] - expected["rgb", SCRATCH]
    )


def test_each_claim_names_its_yardstick(test_records, trained):
    _, differences = yardstick.compare(test_records, trained, 200, 0)
    claims = yardstick.claims(differences, trained, "splice", GROUPS, "scene")
    assert [(claim.statement, claim.verdict) for claim in claims[:2]] == [
        (
            "AUC of this defocus detector minus that of this RGB detector, both from scratch, on "
            "splice",
            "supported",
        ),
        (
            "AUC of this defocus detector minus that of this RGB detector, both pretrained, on "
            "splice",
            "not supported",
        ),
    ]


def test_a_claim_needs_five_epochs_from_scratch_and_a_thousand_images_pretrained(
    test_records, trained
):
    _, differences = yardstick.compare(test_records, trained, 200, 0)
    few = {key: replace(entry, epochs=1, images=999) for key, entry in trained.items()}
    for given, verdicts in (
        (few, {"not enough data"}),
        ({key: replace(entry, images=1000) for key, entry in few.items()}, None),
    ):
        claims = yardstick.claims(differences, given, "splice", GROUPS, "scene")
        found = [claim.verdict for claim in claims]
        assert (set(found) == verdicts) if verdicts else found[0] == "not enough data"
    assert claims[1].enough


def test_tables_have_a_row_per_detector_and_a_column_per_manipulation(test_records, trained):
    areas, differences = yardstick.compare(test_records, trained, 20, 0)
    assert yardstick.wide(areas).columns.tolist() == ["splice", "texture"]
    assert yardstick.wide(areas).index[0] == "defocus, from scratch"
    assert yardstick.wide_differences(differences).index[-1] == "fusion less RGB, pretrained"
    costs = yardstick.costs(trained)
    assert costs.loc["RGB, pretrained"].tolist() == ["net", 64, 1600, 8, 12.0]


def test_a_detector_of_page_03_is_read_by_the_names_of_its_images(test_records):
    shuffled = test_records.sample(frac=1, random_state=1)
    shuffled = shuffled.assign(rgb_logit=np.arange(len(shuffled), dtype=float))
    stages = pd.DataFrame({"stage": ["rgb training", "rgb prediction"], "seconds": [60.0, 3.0]})
    header = {"backbone": "net", "input_size": 0, "size": 128, "plan": {"epochs": 8}}
    header["training_images"] = {"images": 1600}
    found = yardstick.of_page_03(test_records, shuffled, stages, "rgb", header)
    by_name = dict(zip(shuffled["id"], shuffled["rgb_logit"], strict=True))
    assert found.logits.tolist() == [by_name[name] for name in test_records["id"]]
    assert (found.input_size, found.images, found.epochs, found.seconds) == (128, 1600, 8, 60.0)
