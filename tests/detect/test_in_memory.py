"""The loop in memory, compared with the one of Lightning."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

from defocus_lib.detect import in_memory, training
from defocus_lib.detect.in_memory import Examples, fit, logits
from defocus_lib.detect.model import Detector
from defocus_lib.detect.plan import Plan
from defocus_lib.run import cluster

PLAN = Plan(
    epochs=3,
    batch_size=8,
    learning_rate=0.003,
    schedule="one_cycle",
    monitor="val_auc",
    horizontal_flip=True,
    seed=3,
)


def examples(images, seed):
    """Noise, darker on the left of fake images; stored behind an image that is not theirs."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(images) % 2).astype(np.float32)
    stored = rng.integers(0, 200, (images + 1, 1, 32, 32), dtype=np.uint8)
    stored[1:][labels == 1, :, :, :12] //= 2
    return Examples((stored,), (np.arange(1, images + 1),), labels)


def dataset(chosen):
    inputs = torch.from_numpy(chosen.parts[0][chosen.rows[0]]).float() / 255
    return TensorDataset(inputs, torch.from_numpy(chosen.labels))


def detector(seed=0):
    return Detector("test_resnet", "defocus", seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},  # 25 images: the last batch would have one
        {"schedule": "constant", "monitor": "val_accuracy", "horizontal_flip": False},
        {"epochs": 6, "learning_rate": 0.03, "patience": 1},
        {"precision": "bf16-mixed", "epochs": 1},
    ],
)
def test_it_trains_as_fit_does(changes, generators_left_alone):
    plan, train, val = replace(PLAN, **changes), examples(25, 0), examples(14, 1)
    found, expected = detector(), detector().eval()
    found.eval()
    with generators_left_alone(), cluster.one_thread():
        history = fit(found, train, val, plan)
    with cluster.one_thread():
        reference = training.fit(expected, dataset(train), dataset(val), plan, progress=False)
    # Both sum in their own order, and Adam divides by small numbers.
    pd.testing.assert_frame_equal(history, reference, rtol=0.02, atol=0.005)
    assert not found.training
    outputs = logits(found, val).numpy()
    same = training.predict(expected, dataset(val))[0].numpy()
    np.testing.assert_allclose(outputs, same, atol=0.03 * np.ptp(same))


@pytest.mark.slow
def test_the_best_epoch_is_kept_and_the_earliest_of_equals(monkeypatch):
    scores = iter([0.6, 0.8, 0.8, 0.7])
    weights = []

    def made_up(outputs, labels):
        weights.append({name: value.clone() for name, value in trained.state_dict().items()})
        return {"val_loss": 0.0, "val_auc": next(scores), "val_accuracy": 0.0}

    monkeypatch.setattr(in_memory, "validation", made_up)
    trained = detector()
    history = fit(trained, examples(16, 0), examples(6, 1), replace(PLAN, epochs=4))
    assert history["val_auc"].tolist() == [0.6, 0.8, 0.8, 0.7]
    for name, value in trained.state_dict().items():
        assert torch.equal(value, weights[1][name])


def test_inputs_are_put_together_from_their_parts():
    rng = np.random.default_rng(0)
    three, one = (rng.integers(0, 256, (5, c, 4, 4), dtype=np.uint8) for c in (3, 1))
    both = Examples((three, one), (np.array([4, 0]), np.array([1, 1])), np.zeros(2, np.float32))
    inputs = both.images(np.array([1, 0]))
    assert inputs.shape == (2, 4, 4, 4) and inputs.dtype == torch.float32
    assert torch.equal(inputs[:, :3], torch.from_numpy(three[[0, 4]]) / 255)
    assert torch.equal(inputs[:, 3:], torch.from_numpy(one[[1, 1]]) / 255)


def test_logits_do_not_depend_on_the_number_of_images_in_a_pass(monkeypatch):
    chosen, trained = examples(7, 0), detector()
    whole = logits(trained, chosen)
    assert trained.training and whole.shape == (7,)
    monkeypatch.setattr(in_memory, "CHUNK", 3)
    torch.testing.assert_close(logits(trained, chosen), whole, rtol=0, atol=1e-5)
    expected = trained.eval()(dataset(chosen).tensors[0])[:, 0]
    torch.testing.assert_close(whole, expected.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("plan", "images", "message"),
    [
        ({"epochs": 0}, (4, 4), "epochs is 0"),
        ({"precision": "64-true"}, (4, 4), "precision is '64-true'; bf16-mixed or 16-mixed or 32"),
        ({}, (0, 4), "train holds no image"),
        ({}, (4, 0), "val holds no image"),
        ({}, (4, 1), "val holds one class"),
    ],
)
def test_what_cannot_be_trained_is_refused(plan, images, message):
    with pytest.raises(ValueError, match=message):
        fit(detector(), examples(images[0], 0), examples(images[1], 1), replace(PLAN, **plan))
