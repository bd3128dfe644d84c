"""The settings of the training of the learned estimator, with their help texts.

This module imports nothing heavy, so that the help of the command line appears at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

# Share of the minutes before they count where there are steps too: a slow start changes no rate.
SLACK = 0.05


@dataclass(frozen=True)
class Budget:
    """How to train. ValueError if there is no limit, or a number is out of range.

    Minutes before an interruption count. The learning rate falls to 0 along a cosine as the budget
    is used up. Validation scenes measure the error and calibrate the uncertainty, and choose
    nothing else.
    """

    minutes: Annotated[float, "Training ends after so many; 0 for no limit."] = 60
    steps: Annotated[int, "Training ends after so many; 0 for no limit."] = 16000
    seed: Annotated[int, "Of first weights and scenes."] = 0
    batch_size: Annotated[int, "Scenes per step."] = 8
    side: Annotated[int, "Height and width of a scene in px, a multiple of 16."] = 160
    learning_rate: Annotated[float, "At its peak."] = 2e-3
    every: Annotated[int, "Steps between checkpoints; an interruption loses at most these."] = 500
    validation: Annotated[int, "Scenes that calibrate the uncertainty."] = 512
    n_workers: Annotated[int, "Processes that render; 0 for the training process itself."] = 1
    precision: Annotated[str, "Lightning's: 32-true, bf16-mixed ..., or auto."] = "auto"

    def __post_init__(self) -> None:
        from defocus_lib.precision import for_training, here

        object.__setattr__(self, "precision", for_training(self.precision, here()))
        for name in ("batch_size", "side", "learning_rate", "every", "validation"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; a positive number wanted")
        for name in ("minutes", "steps", "seed", "n_workers"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; 0 or more wanted")
        if self.side % 16:
            raise ValueError(f"side is {self.side} px; a multiple of 16 wanted")
        if not (self.minutes or self.steps):
            raise ValueError("minutes and steps are both 0: training would never end; one wanted")

    def used(self, steps: int, seconds: float) -> float:
        """The share of the budget that is used up, in [0, 1]."""
        by_steps = steps / self.steps if self.steps else 0.0
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        if self.steps:
            by_time = (by_time - SLACK) / (1 - SLACK)
        return min(1.0, max(by_steps, by_time))
