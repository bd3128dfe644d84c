import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from defocus_lib.analysis import detection
from defocus_lib.detect.model import Detector
from defocus_lib.detect.pretrained import UNKNOWN
from defocus_lib.stats import classification

STARTS = ("from scratch", "pretrained, timm")


def predictions(shift, seed=0, scenes=24):
    """A real image and two fakes per scene; the logits of fakes lie ``shift`` higher."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "id": f"{scene}/{name}",
            "video": f"{scene}",
            "group": f"{scene}",
            "manipulation": name,
            "label": int(name != "real"),
            "probability": 1 / (1 + np.exp(-rng.normal() - shift.get(name, 0))),
        }
        for scene in range(scenes)
        for name in ("real", "splice", "texture")
    ]
    return pd.DataFrame(rows)


def test_the_difference_is_that_of_the_two_areas_and_paired():
    first, second = predictions({"splice": 3.0}), predictions({"splice": 1.0}, seed=1)
    found = detection.auc_difference(first, second, "splice", 200, 0)
    areas = [
        roc_auc_score(rows["label"], rows["probability"])
        for rows in (table[table["manipulation"] != "texture"] for table in (first, second))
    ]
    assert found.value == pytest.approx(areas[0] - areas[1])
    assert found.low < found.value < found.high
    # A detector minus itself does not vary, since both see the same resamples.
    same = detection.auc_difference(first, first, "splice", 200, 0)
    assert same.value == same.low == same.high == 0


def test_other_images_have_no_difference():
    table = predictions({})
    with pytest.raises(ValueError, match="the detectors predicted different images"):
        detection.auc_difference(table, table.iloc[::-1], "splice", 10, 0)


def test_claims_compare_training_with_the_aim_and_the_rest_with_chance():
    measured = classification.evaluate(predictions({"splice": 9.0}), 0.5, n_bootstrap=50)
    trained, unseen = detection.auc_claims(measured, ["splice"], "scene", epochs=6)
    assert "splice, its training manipulation" in trained.statement
    assert "texture, absent from training" in unseen.statement
    assert (trained.compared_with, unseen.compared_with) == (0.85, 0.5)
    assert (trained.verdict, trained.groups) == ("supported", 24)
    assert unseen.verdict != "supported"
    # One epoch is too few for a verdict; of given weights the epochs are not known.
    verdicts = [
        detection.auc_claims(measured, ["splice"], "scene", epochs=epochs)[0].verdict
        for epochs in (1, None)
    ]
    assert verdicts == ["not enough data", "supported"]


def test_the_difference_is_claimed_to_be_positive():
    first, second = predictions({"splice": 9.0}), predictions({}, seed=1)
    claim = detection.difference_claim((first, second), STARTS, "splice", "scene", 6, 50, 0)
    assert (claim.verdict, claim.groups, claim.compared_with) == ("supported", 24, 0)
    assert claim.statement == (
        "AUC of this defocus detector (from scratch) minus that of this RGB detector "
        "(pretrained, timm) on splice"
    )


def test_a_claim_says_where_weights_began():
    detector = Detector("test_resnet", "rgb")
    named = {}
    for pretrained in ("", "packaged", "mine.pth", UNKNOWN):
        detector.pretrained = pretrained
        named[pretrained] = detection.start_of(detector)
    assert list(named.values()) == [
        "from scratch",
        "pretrained, packaged",
        "pretrained, mine.pth",
        "weights as released",
    ]
