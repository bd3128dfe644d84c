import os

import pytest
import torch

from defocus_lib import precision
from defocus_lib.detect.model import Detector
from defocus_lib.detect.training import Plan, predict
from defocus_lib.explain import expected_gradients
from defocus_lib.explain.expected_gradients import Compute
from defocus_lib.precision import fitting


@pytest.mark.parametrize(
    ("able", "native"),
    [
        ({"avx2": True, "avx512_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"bf16": True}, True),
        ({}, False),
    ],
)
def test_half_precision_where_the_processor_computes_in_it(monkeypatch, able, native):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert precision.is_native("cpu") == native
    assert precision.for_training("auto", "cpu") == ("bf16-mixed" if native else "32-true")
    assert precision.for_gradients("auto", "cpu") == ("bfloat16" if native else "float32")
    # A plan names what it means, so that what is written down with the weights is what they were
    # trained with.
    assert Plan(precision="auto", accelerator="cpu").precision == precision.for_training(
        "auto", "cpu"
    )


@pytest.fixture
def cards(monkeypatch):
    """Pretend that this machine has so many cards of a kind; torch itself goes on without."""

    def pretend(count: int, bf16: bool = True, capability: tuple[int, int] = (9, 0)) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: bf16 or including_emulation,
        )
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _=None: capability)

    for name in ("LOCAL_RANK", "SLURM_LOCALID", "SLURM_PROCID", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return pretend


@pytest.mark.parametrize(
    ("bf16", "capability", "training", "gradients"),
    [
        (True, (9, 0), "bf16-mixed", "bfloat16"),  # H100
        (False, (7, 0), "16-mixed", "float16"),  # V100
        (False, (7, 5), "16-mixed", "float16"),  # T4
        (False, (6, 1), "32-true", "float32"),  # GTX 1080: float16 takes 64 times as long
    ],
)
def test_a_card_computes_in_the_half_precision_that_it_has(
    cards, bf16, capability, training, gradients
):
    cards(1, bf16, capability)
    assert precision.for_training("auto", "cuda:0") == training == Plan(precision="auto").precision
    assert precision.for_gradients("auto", "cuda:0") == gradients
    dtype = getattr(torch, gradients)
    assert precision.for_prediction("auto", "cuda:0") == dtype
    assert precision.for_prediction(training, "cuda:0") == dtype
    assert precision.for_prediction("32-true", "cuda:0") == torch.float32


def test_a_processor_predicts_in_single_precision(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    for name in ("auto", "bf16-mixed", "32-true"):
        assert precision.for_prediction(name, "cpu") == torch.float32


def test_a_process_takes_the_card_that_its_launcher_gave_it(cards, monkeypatch):
    assert precision.here() == "cpu" or torch.cuda.is_available()
    cards(2)
    assert precision.here() == "cuda"
    monkeypatch.setenv("SLURM_LOCALID", "1")
    assert precision.here() == "cuda:1"
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert precision.here() == "cuda:0"
    cards(1)  # SLURM shows each task one card, which is then number 0
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert precision.here() == "cuda:0"


@pytest.mark.parametrize(
    ("devices", "rank", "card"),
    [
        ("1", None, 0),
        ("2", None, 0),
        ("auto", None, 0),
        ("-1", None, 0),
        ("3,", None, 3),
        ("2,3", None, 2),
        ("2,3", "1", 3),
        ("auto", "3", 3),
        ("2", "1", 1),
    ],
)
def test_a_plan_computes_on_the_cards_that_it_names(cards, monkeypatch, devices, rank, card):
    cards(4)
    if rank:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert Plan(devices=devices).device() == torch.device("cuda", card)
    assert Plan(devices=devices, accelerator="gpu").device() == torch.device("cuda", card)
    assert Plan(devices=devices, accelerator="cpu").device() == torch.device("cpu")


def test_devices_that_are_no_numbers_are_refused(cards):
    cards(2)
    with pytest.raises(ValueError, match=r"devices is 'first'; a number \(2\), a list"):
        Plan(devices="first")


@pytest.mark.parametrize(
    ("n_cards", "devices", "processors", "expected"),
    [
        (1, "1", 16, 8),  # more are seldom busy
        (1, "1", 4, 3),  # one is left for the training process
        (1, "1", 1, 1),
        (4, "4", 16, 3),  # four trainings share them
        (4, "auto", 64, 8),
        (0, "1", 16, 0),
    ],
)
def test_loading_leaves_a_core_for_each_training(
    cards, monkeypatch, n_cards, devices, processors, expected
):
    cards(n_cards)
    monkeypatch.setattr(precision, "cores", lambda: processors)
    assert Plan(n_workers=-1, devices=devices).n_workers == expected
    assert Plan(n_workers=5, devices=devices).n_workers == 5


def test_processes_of_torchrun_share_the_cores_and_those_of_slurm_have_their_own(
    cards, monkeypatch
):
    cards(4)
    monkeypatch.setattr(precision, "cores", lambda: 16)
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert Plan(n_workers=-1, devices="4").n_workers == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Plan(n_workers=-1, devices="4").n_workers == 7


def test_what_is_asked_for_is_done(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert (
        precision.for_training("bf16-mixed", "cpu")
        == Plan(precision="bf16-mixed").precision
        == "bf16-mixed"
    )
    assert precision.for_gradients("bfloat16", "cpu") == "bfloat16"


def test_the_names_are_torchs():
    assert set(precision.NATIVE) & set(torch.cpu.get_capabilities())


@pytest.mark.skipif("ONEDNN_MAX_CPU_ISA" in os.environ, reason="oneDNN is told to do with less")
def test_a_processor_that_onednn_calls_able_has_one_of_the_names():
    # oneDNN asks for AVX-512 at least; what has bfloat16 of its own is a part of that.
    assert torch.ops.mkldnn._is_mkldnn_bf16_supported() or not precision.is_native("cpu")


@pytest.mark.parametrize(("side", "images"), [(64, 87), (128, 21), (299, 4), (600, 1), (4000, 1)])
def test_a_processor_takes_fewer_of_larger_images(side, images):
    assert fitting(torch.zeros(1, 1, side, side)) == images


@pytest.mark.parametrize(("side", "images"), [(32, 1024), (64, 1024), (299, 64), (9000, 1)])
def test_a_card_takes_as_many_pixels_of_any_size(side, images):
    assert fitting(torch.zeros(1, 1, side, side, device="meta")) == images


def test_large_images_are_explained_a_few_at_a_time():
    sizes = []

    def counted(batch):
        sizes.append(len(batch))
        return batch.mean((1, 2, 3))[:, None]

    expected_gradients.shapley_values(
        counted, torch.rand(1, 1, 299, 299), torch.rand(3, 1, 299, 299), n_samples=10
    )
    assert sizes[:3] == [4, 4, 2]


def test_large_images_are_predicted_a_few_at_a_time_and_in_their_order(monkeypatch):
    model, sizes = Detector("test_resnet", "defocus"), []
    inputs = torch.rand(6, 1, 299, 299, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.eval().logits_and_features(inputs)
    whole = model.logits_and_features
    counted = lambda part: sizes.append(len(part)) or whole(part)  # noqa: E731
    monkeypatch.setattr(model, "logits_and_features", counted)
    logits, features = predict(model, inputs)
    assert sizes == [4, 2]
    torch.testing.assert_close((logits[:, None], features), expected)


def test_a_negative_batch_is_refused():
    with pytest.raises(ValueError, match="batch_size is -1"):
        expected_gradients.shapley_values(
            torch.nn.Identity(),
            torch.rand(1, 1, 8, 8),
            torch.rand(1, 1, 8, 8),
            compute=Compute(batch_size=-1),
        )
