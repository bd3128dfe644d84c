import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from defocus_lib.commands import app
from defocus_lib.maps import learned, learned_training
from defocus_lib.maps.budget import Budget
from defocus_lib.maps.learned_training import calibrated, loss, rate, train

SMALL = Budget(
    minutes=0,
    steps=4,
    batch_size=2,
    side=32,
    every=2,
    validation=1,
    n_workers=0,
    precision="32-true",
)


@pytest.fixture(scope="module")
def photographs():
    return [
        np.random.default_rng(number).integers(0, 256, (64, 64), dtype=np.uint8)
        for number in range(2)
    ]


def bytes_of(network):
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values())


@pytest.mark.slow
def test_the_same_steps_give_the_same_weights(photographs, tmp_path):
    before = torch.random.get_rng_state()
    first, card = train(photographs, photographs, SMALL, tmp_path / "one", progress=False)
    again, _ = train(photographs, photographs, SMALL, tmp_path / "two", progress=False)
    assert bytes_of(first) == bytes_of(again) and not first.training
    assert (card["steps"], card["scenes"]) == (4, 8)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.slow
def test_another_seed_gives_others(photographs, tmp_path):
    first, second = (
        train(
            photographs,
            photographs,
            Budget(**{**vars(SMALL), "seed": seed}),
            tmp_path / str(seed),
            progress=False,
        )[0]
        for seed in (0, 1)
    )
    assert bytes_of(first) != bytes_of(second)


@pytest.mark.slow
def test_an_interrupted_run_reaches_the_same_weights(photographs, tmp_path, monkeypatch):
    whole, _ = train(photographs, photographs, SMALL, tmp_path / "whole", progress=False)
    seen = []

    def interrupted(sigma, scale, truth):
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return loss(sigma, scale, truth)

    with monkeypatch.context() as patched:
        patched.setattr(learned_training, "loss", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(photographs, photographs, SMALL, tmp_path / "killed", progress=False)
    resumed, card = train(
        photographs, photographs, SMALL, tmp_path / "killed", resume=True, progress=False
    )
    assert card["steps"] == 4 and bytes_of(resumed) == bytes_of(whole)


@pytest.mark.slow
def test_training_learns(photographs, tmp_path):
    budget = Budget(**{**vars(SMALL), "steps": 100, "every": 50, "batch_size": 4, "validation": 32})
    torch.manual_seed(budget.seed)
    untrained = learned.Estimator().eval()
    scenes = learned_training.Scenes(photographs, (2**31, 1), 32, 32)
    before = learned_training._calibrate(untrained, scenes)["error (px)"]
    after = train(photographs, photographs, budget, tmp_path, progress=False)[1]["validation"][
        "error (px)"
    ]
    assert after < 0.8 * before


@pytest.mark.slow
def test_batch_normalisation_follows_the_batch_for_a_quarter_of_the_steps(photographs, tmp_path):
    trained, card = train(photographs, photographs, SMALL, tmp_path, progress=False)
    seen = {
        int(module.num_batches_tracked)
        for module in trained.modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    }
    assert seen == {card["steps"] // 4}


def test_a_scene_depends_on_its_number_alone(photographs):
    scenes = learned_training.Scenes(photographs, (5, 0), 100, 32)
    for plane, again in zip(scenes[7], scenes[7], strict=True):
        assert torch.equal(plane, again)
    grey, sigma = scenes[8]
    assert grey.shape == sigma.shape == (1, 32, 32) and not torch.equal(grey, scenes[7][0])
    assert grey.min() >= 0 and grey.max() <= 1


def test_no_scene_comes_twice():
    done = []
    sampler = learned_training._Consecutive(5, lambda: len(done))
    done += list(sampler)
    done += list(sampler)
    assert done == list(range(10)) and len(sampler) == 5


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    used = np.linspace(0, 1, 201)
    rates = np.array([rate(share) for share in used])
    assert (
        rates[0] == 0
        and rates.max() == pytest.approx(1, abs=0.01)
        and rates[-1] == pytest.approx(0)
    )
    assert (np.diff(rates[used >= learned_training.WARM_UP]) < 0).all()


def test_the_budget_is_used_by_steps_or_minutes_whichever_is_first():
    both = Budget(minutes=2, steps=100)
    assert both.used(50, 0) == 0.5 and both.used(200, 0) == both.used(0, 120) == 1
    assert both.used(0, 63) == pytest.approx(0.5) and both.used(60, 63) == 0.6
    assert Budget(minutes=0, steps=10).used(0, 1e9) == 0
    assert (
        Budget(minutes=1, steps=0).used(10**9, 0) == 0
        and Budget(minutes=1, steps=0).used(0, 30) == 0.5
    )


@pytest.mark.parametrize("start", [0, 30, 170])
def test_minutes_that_suffice_for_the_steps_change_nothing(start):
    """A start of 0 to 170 s, and a pace that needs 58 of 60 minutes for the steps."""
    timed, endless = Budget(minutes=60, steps=100), Budget(minutes=0, steps=100)
    for steps in range(1, 101):
        seconds = start + steps / 100 * (58 * 60 - start)
        assert timed.used(steps, seconds) == endless.used(steps, seconds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minutes": 0, "steps": 0}, "minutes and steps are both 0"),
        ({"side": 40}, "side is 40 px; a multiple of 16 wanted"),
        ({"batch_size": 0}, "batch_size is 0; a positive number wanted"),
        ({"n_workers": -1}, "n_workers is -1; 0 or more wanted"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Budget(**change)


def test_the_loss_is_least_at_the_truth_and_at_the_size_of_the_error():
    truth = torch.full((1, 1, 4, 4), 2.0)
    sigma, scale = (
        torch.full_like(truth, 2.5, requires_grad=True),
        torch.full_like(truth, 0.5, requires_grad=True),
    )
    loss(sigma, scale, truth).backward()
    assert (sigma.grad > 0).all(), "towards the truth"
    torch.testing.assert_close(
        scale.grad, torch.zeros_like(scale)
    )  # the scale of a Laplace distribution is its error
    assert loss(sigma, scale, truth).item() == pytest.approx(0.5 + 0.2 * (np.log(0.5) + 1))


@pytest.mark.parametrize("unit", [0.1, 1.0, 3.0])
def test_calibration_finds_the_unit_of_the_error(unit):
    deviation = np.random.default_rng(0).uniform(0.5, 2, 20_000)
    error = np.abs(np.random.default_rng(1).normal(0, unit * deviation))
    assert calibrated(error, deviation) == pytest.approx(unit, rel=0.03)


@pytest.mark.slow
def test_the_command_writes_weights_that_can_be_read(tmp_path):
    options = (
        "--minutes 0 --steps 1 --every 1 --batch-size 2 --side 32 --validation 2 --n-workers 0 "
        f"--precision 32-true --seed 7 --output {tmp_path}"
    )
    result = CliRunner().invoke(app, ["train-estimator", *options.split()])
    assert result.exit_code == 0, result.output
    network, card = learned.load_estimator(tmp_path / "estimator-7.safetensors")
    assert card["seed"] == 7 and card["steps"] == 1 and not network.training
    assert (
        card["photographs"]["val"] == ["coffee", "gravel"]
        and "estimator-7.safetensors: 1 steps" in result.output
    )


def test_the_command_refuses_a_training_without_end():
    result = CliRunner().invoke(app, ["train-estimator", "--minutes", "0", "--steps", "0"])
    assert result.exit_code == 2 and "minutes and steps are both 0" in result.output


def test_the_budget_is_that_of_the_packaged_weights():
    for seed in learned.SEEDS:
        card = learned.card(seed)
        for name in ("steps", "batch_size", "side", "learning_rate"):
            assert card[name] == getattr(Budget(), name), f"{name} of seed {seed}"
