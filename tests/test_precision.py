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


def test_another_device_takes_as_many_of_any_size():
    small, large = (torch.zeros(1, 3, side, side, device="meta") for side in (64, 299))
    assert fitting(small) == fitting(large) == 64


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
