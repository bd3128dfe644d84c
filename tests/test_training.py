import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from defocus_lib.detector import Detector
from defocus_lib.training import Plan, fit, predict

QUICK = {"batch_size": 16, "learning_rate": 3e-3}


def make(seed=0):
    return Detector("test_resnet", "defocus", seed=seed)


def problem(number, seed, contrast=0.25):
    """Noise maps ``(N, 1, 32, 32)``; those labelled 1 have a brighter middle."""
    rng = torch.Generator().manual_seed(seed)
    inputs = 0.5 * torch.rand(number, 1, 32, 32, generator=rng)
    labels = torch.arange(number) % 2
    inputs[labels == 1, :, 8:24, 8:24] += contrast
    return inputs, labels


def weights_of(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


@pytest.fixture(scope="module")
def learned(generators_left_alone):
    model, plan = make().eval(), Plan(epochs=3, schedule="one_cycle", **QUICK)
    with generators_left_alone():
        history = fit(model, problem(64, 1), problem(32, 2), plan, progress=False)
    return model, history


def test_a_separable_problem_is_learned(learned):
    model, history = learned
    inputs, labels = problem(40, 3)
    logits, _ = predict(model, inputs)
    assert roc_auc_score(labels, logits) > 0.99
    assert history.columns.tolist() == ["epoch", "train_loss", "val_loss", "val_auc"]
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["train_loss"].iloc[-1] < 0.7 * history["train_loss"].iloc[0]


def test_the_detector_comes_back_as_it_was(learned):
    model, _ = learned
    assert not model.training and next(model.parameters()).device.type == "cpu"
    assert all(p.is_contiguous() for p in model.parameters())
    assert torch.is_grad_enabled()


def test_same_seed_same_weights():
    # Whatever the caller has drawn before.
    torch.rand(7)
    plan = Plan(epochs=1, **QUICK)
    models = []
    for seed in (42, 42, 43):
        model = make()
        fit(model, problem(32, 1), problem(16, 2), Plan(**{**vars(plan), "seed": seed}), progress=False)
        assert model.training, "a detector in train mode comes back in train mode"
        models.append(weights_of(model))
    assert torch.equal(models[0], models[1]) and not torch.equal(models[0], models[2])


def test_the_best_epochs_weights_are_kept():
    # Labels of noise, and a rate that is too high: validation goes up and down.
    train, (inputs, labels) = problem(32, 4, contrast=0.02), problem(24, 5, contrast=0.02)
    model = make()
    history = fit(model, train, (inputs, labels), Plan(epochs=5, batch_size=8, learning_rate=2e-2), progress=False)
    assert history["val_auc"].idxmax() != history.index[-1], "or this test shows nothing"
    logits, _ = predict(model, inputs)
    assert roc_auc_score(labels, logits) == pytest.approx(history["val_auc"].max(), abs=1e-6)


def test_history_is_that_of_the_model():
    model, val = make(), problem(24, 5)
    history = fit(model, problem(32, 4), val, Plan(epochs=1, **QUICK), progress=False)
    logits, _ = predict(model, val[0])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, val[1].float())
    assert history["val_loss"].tolist() == pytest.approx([float(loss)], abs=1e-5)


def test_half_precision_trains_weights_in_full():
    model = make()
    history = fit(
        model, problem(32, 1), problem(16, 2), Plan(epochs=1, precision="bf16-mixed", **QUICK), progress=False
    )
    assert np.isfinite(history.to_numpy()).all()
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_nothing_is_left_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(make(), problem(16, 1), problem(16, 2), Plan(epochs=1, **QUICK), progress=False)
    assert not list(tmp_path.iterdir())


def test_the_defaults_are_those_of_the_paper():
    assert Plan() == Plan(10, 64, 1e-4, "constant", "32-true", 42)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "cosine"}, "unknown schedule 'cosine'; constant or one_cycle wanted"),
        ({"epochs": 0}, "epochs is 0; a positive number wanted"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
    ],
)
def test_impossible_plans_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Plan(**change)


def test_prediction_is_in_eval_mode_whatever_the_batch():
    model, (inputs, _) = make().train(), problem(10, 1)
    before = weights_of(model)
    logits, features = predict(model, inputs)
    assert model.training and torch.equal(weights_of(model), before)
    assert logits.shape == (10,) and features.shape == (10, model.classifier.num_features)
    assert not logits.requires_grad and not features.requires_grad
    small = predict(model, inputs, batch_size=3)
    torch.testing.assert_close(small, (logits, features))
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(inputs)[:, 0], logits)
