"""Fine-tuning of the last stages of a backbone, on features of the first stages that are kept.

The first stages stay as they are, so each image passes them once, whatever the number of epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from defocus_lib.detect.in_memory import CHANNELS_LAST
from defocus_lib.detect.model import Detector

BATCH = 32  # images per pass through the first stages


class LastStages(nn.Module):
    """A detector that reads features of the first stages of its backbone, and trains the others.

    Training it trains ``detector``, which reads images as before. ``first`` is how many blocks are
    passed already. Raises ValueError for a backbone that is no EfficientNet of ``timm``.
    """

    def __init__(self, detector: Detector, first: int):
        super().__init__()
        check_first(detector, first)
        self.detector, self.first = detector, first

    def forward(self, kept: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, 1)`` of features ``(B, C, H, W)``; of a fusion detector, those of the
        photograph and then of the map, ``(B, 2 C, H, W)``."""
        networks = branches(self.detector)
        maps = [
            _last_maps(network, part, self.first)
            for network, part in zip(networks, kept.chunk(len(networks), dim=1), strict=True)
        ]
        if not self.detector.fused:
            return networks[0].forward_head(maps[0])
        fused = self.detector.defocus_branch.forward_head(maps[0] * maps[1], pre_logits=True)
        return self.detector.head(fused)


def branches(detector: Detector) -> list[Any]:
    """The backbones of a detector: that of the photograph first, where there are two."""
    if detector.fused:
        return [detector.rgb_branch, detector.defocus_branch]
    return [detector.classifier]


def first_features(
    detector: Detector, inputs: Dataset, first: int, progress: bool = False
) -> np.ndarray:
    """Features ``(N, C, H, W)`` float16 of all ``inputs`` after the ``first`` blocks, in eval mode.

    ``detector`` has one backbone. Its features are those of the same branch of a fusion detector,
    if both are pretrained alike.
    """
    check_first(detector, first)
    (network,) = branches(detector)
    examples: Any = inputs
    detector.eval().to(memory_format=CHANNELS_LAST)
    parts, starts = [], range(0, len(examples), BATCH)
    with torch.no_grad():
        for start in tqdm(starts, "features", disable=not progress):
            rows = range(start, min(start + BATCH, len(examples)))
            batch = torch.stack([examples[row][0] for row in rows])
            maps = network.bn1(network.conv_stem(detector.scaled(batch)))
            parts.append(network.blocks[:first](maps).half().numpy())
    return np.concatenate(parts)


def check_first(detector: Detector, first: int) -> None:
    """Raise ValueError unless the backbone has ``first`` blocks, and more after them."""
    network = branches(detector)[0]
    stages: Sequence = getattr(network, "blocks", ())
    if not all(hasattr(network, name) for name in ("conv_stem", "bn1", "conv_head", "bn2")):
        raise ValueError(
            f"the stages of backbone {detector.backbone!r} are not known; an EfficientNet of timm "
            "wanted"
        )
    if not 0 < first < len(stages):
        raise ValueError(
            f"first is {first}; 1 to {len(stages) - 1} blocks of {detector.backbone} wanted"
        )


def _last_maps(network: Any, maps: torch.Tensor, first: int) -> torch.Tensor:
    return network.bn2(network.conv_head(network.blocks[first:](maps)))
