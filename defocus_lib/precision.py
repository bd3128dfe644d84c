"""What a device computes fastest with: half precision where it is native, and how many images in
one pass.

Where bfloat16 is not native it is emulated, and takes several times as long as single precision: a
processor with AVX2 alone needs nine times as long for a convolution. On a processor, more images in
one pass are not faster: activations that are too large for the caches and the allocator are
requested from the system anew in each pass, page by page (``python -m benchmarks.shapley`` measures
the cost).
"""

from __future__ import annotations

import torch

AUTO = "auto"
NATIVE = ("amx_bf16", "avx512_bf16", "bf16")  # what x86 and ARM call it


def is_native(device: torch.device | str) -> bool:
    """Whether a device computes in bfloat16 itself."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities() if kind == "cpu" else {}
    return any(able.get(name, False) for name in NATIVE)


def here() -> str:
    """Where a process computes that was not told: a GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def for_training(precision: str, device: torch.device | str) -> str:
    """Lightning's name of a precision: "auto" is "bf16-mixed" or, where that is not native,
    "32-true"."""
    return ("bf16-mixed" if is_native(device) else "32-true") if precision == AUTO else precision


def for_gradients(precision: str, device: torch.device | str) -> str:
    """Torch's name of a type: "auto" is "bfloat16" or, where that is not native, "float32"."""
    return ("bfloat16" if is_native(device) else "float32") if precision == AUTO else precision


PIXELS = 360_000  # on a processor: 4 images of 299 px, 21 of 128 px
IMAGES = 64  # on a GPU


def fitting(images: torch.Tensor) -> int:
    """How many of the images ``(N, C, H, W)`` their device is fastest with, a pass; at least 1."""
    if images.device.type != "cpu":
        return IMAGES
    return max(1, PIXELS // (images.shape[-2] * images.shape[-1]))
