"""How long an experiment takes: what is counted, and that a measurement becomes a sentence."""

from dataclasses import replace

import pandas as pd
import pytest

from defocus_lib.analysis import rates, training_time
from defocus_lib.data.images import Reader
from defocus_lib.detect.experiment import Setup
from defocus_lib.detect.plan import Plan

PLAN = Plan(epochs=3, batch_size=8, accelerator="cpu")


@pytest.fixture
def setup(tmp_path):
    """Seven images to train on, two to validate and four to test."""
    splits = ["train"] * 7 + ["val"] * 2 + ["test"] * 4
    records = pd.DataFrame({"split": splits, "digest": [str(n) for n in range(13)]})
    return Setup(records, "rgb", Reader(tmp_path, 40), None, PLAN, "test_resnet", 20)


def numbers_of(setup, missing=0):
    return {key.kind: n for key, n in training_time.operations(setup, missing).items()}


def test_passes_are_counted_by_hand(setup):
    # Images are kept after they are read once: 7 + 2, and 2 + 4 again for the predictions.
    assert numbers_of(setup) == {"training": 21, "prediction": 3 * 2 + 2 + 4, "input": 9 + 6}
    assert numbers_of(setup, 5)["map"] == 5
    (training,) = (key for key in training_time.operations(setup, 0) if key.kind == "training")
    assert (training.size, training.input_size, training.batch_size) == (40, 20, 2)


@pytest.mark.parametrize(
    ("backbone", "size", "input_size", "measured"),
    [
        ("test_resnet", 298, 0, (149, 4)),
        ("test_resnet", 200, 0, (200, 1)),
        ("test_resnet", 298, 100, (298, 1)),
        ("test_vit", 298, 0, (298, 1)),  # takes images of one size only
    ],
)
def test_large_images_are_measured_at_half_their_side(setup, backbone, size, input_size, measured):
    reader = replace(setup.reader, size=size)
    large = replace(setup, reader=reader, backbone=backbone, input_size=input_size)
    numbers = training_time.operations(large, 0)
    (training,) = (key for key in numbers if key.kind == "training")
    assert (training.size, numbers[training] / 21) == measured
    (read,) = (key for key in numbers if key.kind == "input")
    assert (read.size, numbers[read]) == (size, 15)


def test_seconds_are_rates_times_numbers_and_processes_share_them(setup, monkeypatch):
    monkeypatch.setattr(rates, "measure", lambda each, at: dict.fromkeys(each, rates.Rate(2.0, 0)))
    assert training_time.seconds(setup, 5) == {
        "map": 10.0, "training": 42.0, "prediction": 24.0, "input": 30.0
    }  # fmt: skip
    sentence = training_time.sentence(setup, 500)
    assert sentence.startswith("About 18 min on this machine (maps 17 min, training 42 s, ")
    two = replace(setup, plan=replace(PLAN, nodes=2))
    assert training_time.seconds(two, 0)["training"] == 21.0
