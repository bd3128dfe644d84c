"""What a device computes fastest with: half precision where it is native, how many images in one
pass, and how many processes that load them.

Where bfloat16 is not native it is emulated, and takes several times as long as single precision: a
processor with AVX2 alone needs nine times as long for a convolution. Graphics cards with tensor
cores but without bfloat16 (V100, T4) compute in float16 instead. On a processor, more images in
one pass are not faster: activations that are too large for the caches and the allocator are
requested from the system anew in each pass, page by page (``python -m benchmarks.shapley`` measures
the cost).
"""

from __future__ import annotations

import os

import torch

AUTO = "auto"
NATIVE = ("amx_bf16", "avx512_bf16", "bf16")  # what x86 and ARM call it
# Lightning's names of the types that autocast computes in.
MIXED = {"bfloat16": "bf16-mixed", "float16": "16-mixed", "float32": "32-true"}
TENSOR_CORES = (7, 0)  # compute capability from which float16 is faster than float32


def is_native(device: torch.device | str) -> bool:
    """Whether a device computes in bfloat16 itself."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities() if kind == "cpu" else {}
    return any(able.get(name, False) for name in NATIVE)


def fastest(device: torch.device | str) -> str:
    """The type that a device is fastest with, by torch's name: bfloat16, float16 or float32."""
    if is_native(device):
        return "bfloat16"
    is_card = torch.device(device).type == "cuda"
    if is_card and torch.cuda.get_device_capability(device) >= TENSOR_CORES:
        return "float16"
    return "float32"


def here() -> str:
    """Where a process computes that was not told: on a card if there is one.

    ``CUDA_VISIBLE_DEVICES`` says which there are. Of several processes that a launcher started on
    this machine each takes its own.
    """
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{local_rank() % max(1, torch.cuda.device_count())}" if launched() else "cuda"


def launched() -> bool:
    """Whether torchrun, Lightning or SLURM started this process as one of several."""
    return "LOCAL_RANK" in os.environ or "SLURM_LOCALID" in os.environ


def local_rank() -> int:
    """The number of this process among those that a launcher started on this machine; else 0."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))


def for_training(precision: str, device: torch.device | str) -> str:
    """Lightning's name of a precision: "auto" is "bf16-mixed" where that is native, "16-mixed" on
    other cards with tensor cores, and else "32-true"."""
    return MIXED[fastest(device)] if precision == AUTO else precision


def for_gradients(precision: str, device: torch.device | str) -> str:
    """Torch's name of a type: "auto" is that of :func:`fastest`."""
    return fastest(device) if precision == AUTO else precision


def for_prediction(precision: str, device: torch.device | str) -> torch.dtype:
    """The type of autocast for a detector that was trained in ``precision``, by Lightning's name.

    float32 on a processor, where the time of a prediction is hardly that of its passes.
    """
    if torch.device(device).type == "cpu":
        return torch.float32
    names = {mixed: name for name, mixed in MIXED.items()}
    return getattr(torch, names.get(for_training(precision, device), "float32"))


PIXELS = 360_000  # on a processor: 4 images of 299 px, 21 of 128 px
CARD_PIXELS = 64 * 299 * 299  # on a card, whose memory bounds them; not measured yet
CARD_IMAGES = 1024


def fitting(images: torch.Tensor) -> int:
    """How many of the images ``(N, C, H, W)`` their device is fastest with, a pass; at least 1."""
    pixels = images.shape[-2] * images.shape[-1]
    if images.device.type != "cpu":
        return max(1, min(CARD_IMAGES, CARD_PIXELS // pixels))
    return max(1, PIXELS // pixels)


LOADERS = 8  # more are seldom busy


def loaders(n_workers: int, device: torch.device | str, processes: int = 1) -> int:
    """How many processes load images for one that computes on a device.

    -1 stands for all cores but one, shared by the ``processes`` of this machine that compute, at
    most 8, where the device is a card. A processor computes itself what they would compete for: 0.
    """
    if n_workers >= 0:
        return n_workers
    if torch.device(device).type == "cpu":
        return 0
    return max(1, min(LOADERS, cores() // processes - 1))


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
