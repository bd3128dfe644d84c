import pytest
import torch

from defocus_lib import half
from defocus_lib.training import Plan


@pytest.mark.parametrize(
    ("able", "native"),
    [({"avx2": True, "avx512_bf16": False}, False), ({"avx512_bf16": True}, True), ({"bf16": True}, True), ({}, False)],
)
def test_half_precision_where_the_processor_computes_in_it(monkeypatch, able, native):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert half.is_native("cpu") == native
    assert half.for_training("auto", "cpu") == ("bf16-mixed" if native else "32-true")
    assert half.for_gradients("auto", "cpu") == ("bfloat16" if native else "float32")
    # A plan names what it means, so that what is written down with the weights is what they were trained with.
    assert Plan(precision="auto", accelerator="cpu").precision == half.for_training("auto", "cpu")


def test_what_is_asked_for_is_done(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert half.for_training("bf16-mixed", "cpu") == Plan(precision="bf16-mixed").precision == "bf16-mixed"
    assert half.for_gradients("bfloat16", "cpu") == "bfloat16"


def test_a_processor_that_onednn_calls_able_has_one_of_the_names():
    # oneDNN asks for AVX-512 at least; what has bfloat16 of its own is a part of that.
    assert torch.ops.mkldnn._is_mkldnn_bf16_supported() or not half.is_native("cpu")
