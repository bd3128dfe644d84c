import pytest

from defocus_lib.detect.plan import Plan, Request


def test_the_defaults_are_those_of_the_paper():
    assert Plan() == Plan(10, 64, 1e-4, "constant", "32-true", 42, "val_accuracy", patience=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "cosine"}, "unknown schedule 'cosine'; constant or one_cycle wanted"),
        ({"monitor": "loss"}, "unknown monitor 'loss'; val_accuracy or val_auc wanted"),
        ({"epochs": -1}, "epochs is -1; 0 or more wanted"),
        ({"seed": -1}, "seed is -1"),
        ({"patience": -2}, "patience is -2"),
        ({"n_workers": -2}, "n_workers is -2; 0 or more, or -1, wanted"),
        ({"batch_size": -1}, "batch_size is -1; a positive number wanted"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"residual_scale": -0.1}, "residual_scale is -0.1"),
    ],
)
def test_impossible_plans_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Plan(**change)


@pytest.mark.parametrize("change", [{"n_bootstrap": 0}, {"groups": -1}, {"size": -1}])
def test_a_request_is_checked_before_anything_is_done(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} is"):
        Request("clips", **change)
