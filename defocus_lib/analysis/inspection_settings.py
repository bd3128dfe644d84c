"""The settings of an inspection. Each has its help text, from which the command line is made.

This module imports nothing heavy, so that the help of the command line appears at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated


@dataclass(frozen=True)
class Settings:
    """How pictures are inspected. Weights bring their own preset, size and fit.

    Raises ValueError for a value out of range, FileNotFoundError if there are no such weights.
    """

    weights: Annotated[Path | None, "Ours, or released ones: adds their verdict."] = None
    preset: Annotated[str, "Of the map: learned, or that of the weights."] = ""
    longest_side: Annotated[
        int, "Larger pictures are reduced to this side in px; 0 for none. Not with weights."
    ] = 1024
    reads: Annotated[str, "Of weights whose file does not tell: defocus or rgb."] = ""
    backbone: Annotated[str, "Of weights whose file does not tell: a timm model."] = ""
    n_samples: Annotated[
        int, "Gradients for the Shapley map of a picture; 0 leaves it out, and is quick."
    ] = 32
    rendered: Annotated[
        bool, "The pictures are rendered scenes: weights trained on such give their verdict."
    ] = False

    def __post_init__(self) -> None:
        for name in ("longest_side", "n_samples"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; 0 or more wanted")
        if self.weights is not None and not self.weights.is_file():
            raise FileNotFoundError(f"no weights at {self.weights}; a file that is there wanted")
