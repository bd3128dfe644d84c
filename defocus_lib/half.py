"""Half precision (bfloat16) where the machine computes in it.

Elsewhere it is imitated, and takes several times as long as single precision: a processor with AVX2 alone needs nine
times as long for a convolution.
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
    """Lightning's name of a precision: "auto" is "bf16-mixed" or, where that is not native, "32-true"."""
    return ("bf16-mixed" if is_native(device) else "32-true") if precision == AUTO else precision


def for_gradients(precision: str, device: torch.device | str) -> str:
    """Torch's name of a type: "auto" is "bfloat16" or, where that is not native, "float32"."""
    return ("bfloat16" if is_native(device) else "float32") if precision == AUTO else precision
