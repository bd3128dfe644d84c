import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.utils.data import Dataset, TensorDataset

from defocus_lib.detect import training
from defocus_lib.detect.model import Detector
from defocus_lib.detect.training import HISTORY, Plan, fit, predict

QUICK = {"batch_size": 16, "learning_rate": 3e-3, "accelerator": "cpu"}


def make(seed=0):
    return Detector("test_resnet", "defocus", seed=seed)


def problem(number, seed, contrast=0.25):
    """Noise maps ``(N, 1, 32, 32)``; those labelled 1 have a brighter middle."""
    rng = torch.Generator().manual_seed(seed)
    inputs = 0.5 * torch.rand(number, 1, 32, 32, generator=rng)
    labels = torch.arange(number) % 2
    inputs[labels == 1, :, 8:24, 8:24] += contrast
    return TensorDataset(inputs, labels)


def weights_of(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


@pytest.fixture(scope="module")
def learned(generators_left_alone):
    model, plan = make().eval(), Plan(epochs=3, schedule="one_cycle", **QUICK)
    with generators_left_alone():
        history = fit(model, problem(64, 1), problem(32, 2), plan, progress=False)
    return model, history


@pytest.mark.slow
def test_a_separable_problem_is_learned(learned):
    model, history = learned
    inputs, labels = problem(40, 3).tensors
    logits, _ = predict(model, inputs)
    assert roc_auc_score(labels, logits) > 0.99
    assert history.columns.tolist() == HISTORY
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["train_loss"].iloc[-1] < 0.7 * history["train_loss"].iloc[0]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_prediction_in_half_precision_agrees_with_single_precision(learned, monkeypatch, dtype):
    """The tolerance that `predict` states, with the types of cards on this processor."""
    model, inputs = learned[0], problem(64, 3).tensors[0]
    expected, _ = predict(model, inputs)
    monkeypatch.setattr("defocus_lib.detect.training.for_prediction", lambda *_: dtype)
    logits, features = predict(model, inputs)
    assert logits.dtype == features.dtype == torch.float32
    assert 0 < (logits - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.slow
def test_the_detector_comes_back_as_it_was(learned):
    model, _ = learned
    assert not model.training and next(model.parameters()).device.type == "cpu"
    assert all(p.is_contiguous() for p in model.parameters())
    assert torch.is_grad_enabled()


@pytest.mark.slow
def test_same_seed_same_weights():
    # Whatever the caller has drawn before.
    torch.rand(7)
    plan = Plan(epochs=1, **QUICK)
    models = []
    for seed in (42, 42, 43):
        model = make()
        fit(model, problem(32, 1), problem(16, 2), replace(plan, seed=seed), progress=False)
        assert model.training, "a detector in train mode comes back in train mode"
        models.append(weights_of(model))
    assert torch.equal(models[0], models[1]) and not torch.equal(models[0], models[2])


def contradicting(number, seed):
    """A problem with labels the wrong way round: what learns the right ones gets worse at it."""
    inputs, labels = problem(number, seed).tensors
    return TensorDataset(inputs, 1 - labels)


@pytest.mark.slow
@pytest.mark.parametrize("monitor", ["val_auc", "val_accuracy"])
def test_the_best_epochs_weights_are_kept(monitor):
    train, val, model = problem(64, 4), contradicting(24, 5), make()
    history = fit(model, train, val, Plan(epochs=4, monitor=monitor, **QUICK), progress=False)
    best = history[monitor].idxmax()
    assert best != history.index[-1], "or this test shows nothing"
    inputs, labels = val.tensors
    logits, _ = predict(model, inputs)
    assert roc_auc_score(labels, logits) == pytest.approx(history["val_auc"][best], abs=1e-6)
    assert ((logits > 0) == labels).float().mean() == pytest.approx(
        history["val_accuracy"][best], abs=1e-6
    )


@pytest.mark.slow
def test_of_equally_good_epochs_the_earliest_is_kept():
    val = problem(24, 5)
    model = make()
    # So slow that nothing changes but the statistics of the batch norm.
    history = fit(
        model,
        problem(32, 4),
        val,
        Plan(epochs=3, batch_size=16, learning_rate=1e-12),
        progress=False,
    )
    assert history["val_accuracy"].nunique() == 1 and history["val_loss"].nunique() == 3, (
        "or this test shows nothing"
    )
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        predict(model, val)[0], val.tensors[1].float()
    )
    assert history["val_loss"][0] == pytest.approx(float(loss), abs=1e-5)


def test_history_is_that_of_the_model():
    model, val = make(), problem(23, 5)
    history = fit(model, problem(32, 4), val, Plan(epochs=1, **QUICK), progress=False)
    logits, _ = predict(model, val)
    labels = val.tensors[1]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    assert history["val_loss"].tolist() == pytest.approx([float(loss)], abs=1e-5)
    assert history["val_accuracy"].tolist() == pytest.approx(
        [float(((logits > 0) == labels).float().mean())]
    )
    assert history["val_auc"].tolist() == pytest.approx([roc_auc_score(labels, logits)])


@pytest.mark.slow
def test_half_precision_trains_weights_in_full():
    for precision in ("bf16-mixed", "bf16-true"):
        model = make()
        plan = Plan(epochs=1, precision=precision, **QUICK)
        history = fit(model, problem(32, 1), problem(16, 2), plan, progress=False)
        assert np.isfinite(history.to_numpy()).all()
        assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.slow
def test_nothing_is_left_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(make(), problem(16, 1), problem(16, 2), Plan(epochs=1, **QUICK), progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_leaves_checkpoints_logs_and_history(tmp_path):
    history = fit(
        make(), problem(16, 1), problem(16, 2), Plan(epochs=2, **QUICK), tmp_path, progress=False
    )
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert left == {
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "history.csv",
        "logs/version_0/metrics.csv",
    }
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "history.csv"), history)


@pytest.mark.slow
def test_the_progress_bar_is_shown_only_if_wanted(capfd):
    plan = Plan(epochs=1, **QUICK)
    fit(make(), problem(16, 1), problem(16, 2), plan, progress=False)
    assert capfd.readouterr() == ("", "")
    fit(make(), problem(16, 1), problem(16, 2), plan)
    printed, progress = capfd.readouterr()
    assert printed == "" and "Epoch 0: 100%" in progress


@pytest.mark.slow
def test_a_file_gets_a_line_per_epoch_instead_of_a_bar(capfd):
    lines = []
    history = fit(
        make(), problem(16, 1), problem(8, 2), Plan(epochs=2, **QUICK), progress=lines.append
    )
    assert lines == [
        f"epoch {row.epoch + 1} of 2: train_loss {row.train_loss:.3f}, "
        f"val_loss {row.val_loss:.3f}, val_auc {row.val_auc:.3f}, "
        f"val_accuracy {row.val_accuracy:.3f}"
        for row in history.itertuples()
    ]
    printed = capfd.readouterr()
    assert not printed.out and "\r" not in printed.err


@pytest.mark.slow
def test_one_class_in_validation_has_no_auc():
    inputs, labels = problem(16, 2).tensors
    real = TensorDataset(inputs[labels == 0], labels[labels == 0])
    history = fit(make(), problem(16, 1), real, Plan(epochs=1, **QUICK), progress=False)
    assert history["val_auc"].isna().all() and history["val_accuracy"].between(0, 1).all()
    model = make()
    with pytest.raises(ValueError, match="val holds one class, which has no AUC"):
        fit(model, problem(16, 1), real, Plan(epochs=1, monitor="val_auc", **QUICK), progress=False)
    assert all(p.is_contiguous() for p in model.parameters())


@pytest.mark.slow
def test_the_preview_sees_each_epochs_detector_in_eval_mode_without_gradients():
    seen, val = [], problem(16, 2)

    def preview(epoch, detector):
        seen.append((epoch, detector.training, torch.is_grad_enabled(), predict(detector, val)[0]))

    plain, watched, plan = make(), make(), Plan(epochs=3, **QUICK)
    fit(plain, problem(32, 1), val, plan, progress=False)
    fit(watched, problem(32, 1), val, plan, preview=preview, progress=False)
    assert [row[:3] for row in seen] == [(0, False, False), (1, False, False), (2, False, False)]
    assert not torch.equal(seen[0][3], seen[1][3])
    assert torch.equal(weights_of(plain), weights_of(watched)), "watching changes nothing"


class Listed(Dataset):
    """A problem that writes down which image was asked for, in a file a process."""

    def __init__(self, dataset, folder):
        self.dataset, self.folder = dataset, Path(folder)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        with (self.folder / f"rank{os.environ.get('LOCAL_RANK', 0)}").open("a") as file:
            file.write(f"{index} ")
        return self.dataset[index]


def orders(path, length):
    """The indices in a file of :class:`Listed`, a row an epoch."""
    return np.array(path.read_text().split(), dtype=int).reshape(-1, length)


@pytest.mark.slow
def test_every_epoch_sees_every_image_in_an_order_of_its_own(tmp_path):
    fit(
        make(),
        Listed(problem(32, 1), tmp_path),
        problem(16, 2),
        Plan(epochs=3, **QUICK),
        progress=False,
    )
    found = orders(tmp_path / "rank0", 32)
    assert [sorted(row) for row in found.tolist()] == [list(range(32))] * 3
    assert len({tuple(row) for row in found.tolist()}) == 3 and list(found[0]) != sorted(found[0])


# Early stopping


@pytest.mark.slow
def test_patience_ends_a_run_that_gets_no_better_and_one_that_goes_on_too(tmp_path):
    # Accuracy stays where it is: the first epoch is the best, and two more are waited for.
    plan = Plan(epochs=9, patience=2, batch_size=16, learning_rate=1e-12, accelerator="cpu")
    first, again = make(), make()
    history = fit(first, problem(32, 4), problem(24, 5), plan, tmp_path, progress=False)
    assert history["epoch"].tolist() == [0, 1, 2]
    resumed = fit(again, problem(32, 4), problem(24, 5), plan, tmp_path, progress=False)
    pd.testing.assert_frame_equal(resumed, history)
    assert torch.equal(weights_of(again), weights_of(first))


# Resuming

DATA = (problem(48, 1, contrast=0.05), problem(24, 2, contrast=0.05))


def with_dropout():
    model = make()
    model.classifier.drop_rate = 0.3
    return model


@pytest.fixture(scope="module")
def uninterrupted():
    model = with_dropout()
    return model, fit(model, *DATA, Plan(epochs=4, **QUICK), progress=False)


def check_same(model, history, uninterrupted):
    pd.testing.assert_frame_equal(history, uninterrupted[1], check_exact=True)
    assert torch.equal(weights_of(model), weights_of(uninterrupted[0]))


# Stops in the middle of writing the third `last.ckpt`, and waits to be killed.
KILLED = """
import sys, time
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_training import DATA, QUICK, Plan, fit, with_dropout

save, times = torch.save, []

def stuck(content, path):
    save(content, path)
    times.append(path) if ".last." in str(path) else None
    if len(times) == 3:
        Path(path).write_bytes(Path(path).read_bytes()[:9999])
        Path({mark!r}).touch()
        time.sleep(600)

torch.save = stuck
fit(with_dropout(), *DATA, Plan(epochs=4, **QUICK), {folder!r}, progress=False)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights_and_history(tmp_path, uninterrupted, capsys):
    mark = tmp_path / "half-written"
    names = {"tests": str(Path(__file__).parent), "mark": str(mark), "folder": str(tmp_path)}
    child = subprocess.Popen([sys.executable, "-c", KILLED.format(**names)])
    try:
        while not mark.exists():
            assert child.poll() is None, "the child ended by itself"
            time.sleep(0.05)
    finally:
        child.kill()
    assert child.wait() == -signal.SIGKILL
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1
    model = with_dropout()
    history = fit(model, *DATA, Plan(epochs=4, **QUICK), tmp_path, progress=False)
    assert "it goes on after 2 of 4" in capsys.readouterr().err
    # The first two epochs ran in another process, whose sums may run in another order. To the byte
    # the same weights are asked for by the tests below, which stay in one process.
    pd.testing.assert_frame_equal(history, uninterrupted[1], rtol=0.02, atol=1e-3)
    difference = weights_of(model) - weights_of(uninterrupted[0])
    assert difference.norm() < 0.1 * weights_of(model).norm()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "history.csv"), history)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
    }


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_run_may_be_given_more_epochs(tmp_path, uninterrupted, n_workers):
    fit(
        with_dropout(),
        *DATA,
        Plan(epochs=2, n_workers=n_workers, **QUICK),
        tmp_path / "a",
        progress=False,
    )
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    model = with_dropout()
    plan = Plan(epochs=4, n_workers=n_workers, **QUICK)
    history = fit(model, *DATA, plan, tmp_path / "elsewhere", progress=False)
    check_same(model, history, uninterrupted)


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(tmp_path, uninterrupted):
    plan = Plan(epochs=4, **QUICK)
    fit(with_dropout(), *DATA, plan, tmp_path, progress=False)
    model = with_dropout()
    history = fit(model, *DATA, plan, tmp_path, preview=lambda *_: pytest.fail(), progress=False)
    check_same(model, history, uninterrupted)


@pytest.mark.slow
def test_the_best_epoch_survives_a_resumption_that_finds_no_better_one(tmp_path):
    train, val = problem(64, 4), contradicting(24, 5)
    plan = Plan(epochs=4, monitor="val_auc", **QUICK)
    whole, model = make(), make()
    history = fit(whole, train, val, plan, progress=False)
    best = int(history["val_auc"].idxmax())
    assert best < 3, "or this test shows nothing"
    fit(make(), train, val, replace(plan, epochs=best + 1), tmp_path, progress=False)
    fit(model, train, val, plan, tmp_path, progress=False)
    assert torch.equal(weights_of(model), weights_of(whole))


@pytest.mark.slow
def test_without_a_checkpoint_a_run_begins_at_the_first_epoch(tmp_path, uninterrupted):
    model = with_dropout()
    history = fit(model, *DATA, Plan(epochs=4, **QUICK), tmp_path, progress=False)
    check_same(model, history, uninterrupted)


@pytest.mark.slow
def test_unreadable_checkpoints_are_cleared_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("best.ckpt", "last.ckpt", ".last.77.ckpt", "notes.txt", "other.ckpt"):
        (tmp_path / "checkpoints" / name).write_text("old")
    model = make()
    history = fit(model, *DATA, Plan(epochs=1, **QUICK), tmp_path, progress=False)
    assert len(history) == 1
    found = {path.name: path.read_bytes()[:3] for path in (tmp_path / "checkpoints").iterdir()}
    assert found.keys() == {"best.ckpt", "last.ckpt", "notes.txt", "other.ckpt"}
    assert found["last.ckpt"] != b"old" and found["best.ckpt"] != b"old"


def fingerprinted(text):
    sets = [TensorDataset(*part.tensors) for part in DATA]
    sets[0].fingerprint = text
    return sets


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun")
    fit(make(), *fingerprinted("abc"), Plan(epochs=2, **QUICK), folder, progress=False)
    return folder


OTHER = {
    "rate and batches": (
        {"learning_rate": 1e-3, "batch_size": 8},
        {},
        "batch_size, learning_rate",
    ),
    "monitor": ({"monitor": "val_auc"}, {}, "monitor"),
    "schedule": ({"schedule": "one_cycle"}, {}, "schedule, epochs"),
    "fewer epochs": ({"epochs": 1}, {}, "epochs"),
    "threads": ({"n_threads": 2}, {}, "n_threads"),
    "backbone": (
        {},
        {"detector": Detector("test_efficientnet", "defocus")},
        "backbone, first weights",
    ),
    "input_size": ({}, {"detector": Detector("test_resnet", "defocus", 16)}, "input_size"),
    "first weights": (
        {},
        {"detector": make(seed=9)},
        "first weights",
    ),
    "data": ({}, {"train": fingerprinted("xyz")[0]}, "data"),
    "images": ({}, {"train": problem(40, 1)}, "training images, data"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("plan", "given", "changed"), OTHER.values(), ids=OTHER)
def test_another_run_begins_at_the_first_epoch(begun, tmp_path, capsys, plan, given, changed):
    shutil.copytree(begun / "checkpoints", tmp_path / "checkpoints")
    train, val = fingerprinted("abc")
    given = {"detector": make(), "train": train, "val": val} | given
    plan = Plan(**({"epochs": 2} | QUICK | plan))
    history = fit(plan=plan, folder=tmp_path, progress=False, **given)
    assert history.attrs["earlier"] == 0 and len(history) == plan.epochs
    assert f"last.ckpt was made with other {changed}: training begins" in capsys.readouterr().err


@pytest.mark.slow
def test_changed_code_begins_at_the_first_epoch(begun, tmp_path, capsys, monkeypatch):
    shutil.copytree(begun / "checkpoints", tmp_path / "checkpoints")
    monkeypatch.setattr(training, "source_digest", lambda *modules: "another")
    fit(make(), *fingerprinted("abc"), Plan(epochs=2, **QUICK), tmp_path, progress=False)
    assert "made with other code: training begins" in capsys.readouterr().err


@pytest.mark.slow
def test_a_cycle_cannot_be_drawn_out(tmp_path):
    plan = Plan(epochs=1, schedule="one_cycle", **QUICK)
    fit(make(), *DATA, plan, tmp_path, progress=False)
    history = fit(make(), *DATA, replace(plan, epochs=2), tmp_path, progress=False)
    assert history.attrs["earlier"] == 0


@pytest.mark.slow
def test_a_fresh_run_begins_at_the_first_epoch(begun, tmp_path):
    shutil.copytree(begun / "checkpoints", tmp_path / "checkpoints")
    train, val = fingerprinted("abc")
    plan = Plan(epochs=2, **QUICK)
    history = fit(make(), train, val, plan, tmp_path, fresh=True, progress=False)
    assert history.attrs["earlier"] == 0
    assert fit(make(), train, val, plan, tmp_path, progress=False).attrs["earlier"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"no checkpoint", None], ids=["empty", "text", "foreign"])
@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_damaged_checkpoint_is_as_good_as_none(begun, tmp_path, name, content):
    shutil.copytree(begun / "checkpoints", tmp_path / "checkpoints")
    path = tmp_path / "checkpoints" / name
    torch.save([1], path) if content is None else path.write_bytes(content)
    given = fingerprinted("abc")
    history = fit(make(), *given, Plan(epochs=2, **QUICK), tmp_path, progress=False)
    assert history.attrs["earlier"] == 0 and len(history) == 2


@pytest.mark.slow
def test_training_does_not_depend_on_the_threads_of_the_machine(begun):
    """With another number of them sums run in another order: the last digits differ."""
    weights, before = [], torch.get_num_threads()
    for available in (1, 2):
        torch.set_num_threads(available)
        detector = make()
        fit(detector, *DATA, Plan(epochs=1, n_threads=1, **QUICK), progress=False)
        assert torch.get_num_threads() == available
        weights.append(weights_of(detector))
    torch.set_num_threads(before)
    assert torch.equal(*weights)


# Several processes

DISTRIBUTED = """
import sys
sys.path.insert(0, {tests!r})
from test_training import Listed, Plan, fit, make, predict, problem, torch

val = problem(23, 2)
two = dict(accelerator="cpu", devices="2", strategy="ddp")
plan = Plan(epochs=2, batch_size=8, learning_rate=3e-3, **two)
model = make()
history = fit(model, Listed(problem(32, 1), {folder!r}), val, plan, {folder!r}, progress=False)
torch.save(predict(model, val)[0], {folder!r} + "/logits.pt")
print("one process goes on")
"""


@pytest.mark.slow
def test_two_processes_share_the_images_and_one_writes(tmp_path):
    code = tmp_path / "script.py"
    code.write_text(DISTRIBUTED.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, code],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split("\n").count("one process goes on") == 1
    parts = [orders(tmp_path / f"rank{rank}", 16) for rank in (0, 1)]
    together = np.sort(np.concatenate(parts, axis=1))
    assert (together == np.arange(32)).all(), "each epoch, every image is seen once, by one process"
    history, labels = pd.read_csv(tmp_path / "history.csv"), problem(23, 2).tensors[1]
    logits = torch.load(tmp_path / "logits.pt", weights_only=True)
    best = history.loc[history["val_accuracy"].idxmax()]
    # 23 images do not divide by 2: the one that fills up must not count.
    assert best["val_accuracy"] == pytest.approx(
        float(((logits > 0) == labels).float().mean()), abs=1e-6
    )
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    assert best["val_loss"] == pytest.approx(float(loss), abs=1e-5)


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0: there is nothing to train"),
        ({"accelerator": "tpu"}, "the plan does not fit this machine: .*torch_xla"),
        ({"accelerator": "abacus"}, "abacus"),
        ({"precision": "3-bit"}, "3-bit"),
        ({"strategy": "none_such"}, "none_such"),
    ],
)
def test_what_cannot_be_done_here_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        fit(make(), *DATA, Plan(**(QUICK | change)), progress=False)


@pytest.mark.parametrize("name", ["train", "val"])
def test_an_empty_split_is_refused(name):
    sets = {"train": DATA[0], "val": DATA[1]} | {
        name: TensorDataset(torch.zeros(0, 1, 32, 32), torch.zeros(0))
    }
    with pytest.raises(ValueError, match=f"{name} holds no image"):
        fit(make(), plan=Plan(**QUICK), progress=False, **sets)


# Prediction


def test_prediction_is_in_eval_mode_whatever_the_batch(generators_left_alone):
    model, inputs = make().train(), problem(10, 1).tensors[0]
    before = weights_of(model)
    with generators_left_alone():
        logits, features = predict(model, inputs)
    assert model.training and torch.equal(weights_of(model), before)
    assert logits.shape == (10,) and features.shape == (10, model.classifier.num_features)
    assert not logits.requires_grad and not features.requires_grad
    small = predict(model, inputs, batch_size=3)
    torch.testing.assert_close(small, (logits, features))
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(inputs)[:, 0], logits)


def test_prediction_of_a_data_set_is_that_of_its_inputs():
    model, dataset = make(), problem(10, 1)
    expected = predict(model, dataset.tensors[0])
    torch.testing.assert_close(predict(model, dataset), expected)
    torch.testing.assert_close(predict(model, dataset, batch_size=3, n_workers=1), expected)


def test_a_detector_in_half_precision_answers_in_full():
    logits, features = predict(make().to(torch.bfloat16), problem(4, 1))
    assert logits.dtype == features.dtype == torch.float32


class Broken(TensorDataset):
    def __getitem__(self, index):
        if index == 3:
            raise ValueError("clip/0003.png: damaged")
        return super().__getitem__(index)


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named_whoever_reads_it(n_workers):
    broken = Broken(*problem(16, 1).tensors)
    with pytest.raises(ValueError, match=r"^clip/0003.png: damaged$"):
        predict(make(), broken, n_workers=n_workers)
    with pytest.raises(ValueError, match=r"^clip/0003.png: damaged$"):
        fit(make(), broken, DATA[1], Plan(epochs=1, n_workers=n_workers, **QUICK), progress=False)


def test_predicting_nothing_is_refused():
    with pytest.raises(ValueError, match="dataset holds no image"):
        predict(make(), torch.zeros(0, 1, 32, 32))


@pytest.mark.slow
def test_images_are_mirrored_only_where_asked():
    """Without it images are seen as they are, so the same weights come out."""

    def trained(horizontal_flip, flip):
        data = problem(32, 1)
        data.tensors[0][:, :, :, :4] += 0.3  # something on one side
        model, plan = make(), Plan(epochs=1, horizontal_flip=horizontal_flip, **QUICK)
        inputs = data.tensors[0].flip(3) if flip else data.tensors[0]
        fit(model, TensorDataset(inputs, data.tensors[1]), problem(16, 2), plan, progress=False)
        return weights_of(model)

    plain = trained(horizontal_flip=False, flip=False)
    assert torch.equal(plain, trained(horizontal_flip=False, flip=False))
    assert not torch.equal(plain, trained(horizontal_flip=True, flip=False))
    assert not torch.equal(
        trained(horizontal_flip=True, flip=False), trained(horizontal_flip=True, flip=True)
    )


@pytest.mark.slow
def test_a_last_batch_of_one_image_is_left_for_another_epoch():
    """Batch normalisation of a single 1x1 feature map would fail."""
    model, plan = make(), Plan(epochs=2, **QUICK)
    history = fit(model, problem(33, 1), problem(16, 2), plan, progress=False)
    assert len(history) == 2 and history["train_loss"].notna().all()
