"""Claims of the book: an estimate held against a comparison value, and one rule for the verdict.

A page lists its claims in a table; the front page collects those of all pages. Prose stays true whatever the numbers
are, because what depends on the numbers is a row of this table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from defocus_lib.stats.bootstrap import NO_BREAK, formatted

MINIMUM = {"groups": 20, "seeds": 3, "epochs": 5}
"""Below one of these, an interval says more about the run than about the question."""

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
NOT_ENOUGH = "not enough data"
RELATIONS = {"above": "> {0}", "below": "< {0}", "within": "{1} to {2}"}


@dataclass(frozen=True)
class Claim:
    """One statement that an interval can support or refute.

    Attributes
    ----------
    statement : str
        What is claimed, in words that hold for any number: "Gain in AUC over an edges-only detector".
    value, low, high : float
        The estimate and its 95 % interval; NaN bounds where there is none.
    compared_with : float
        The value that the interval is held against.
    relation : {"above", "below", "within"}
        On which side of ``compared_with`` the estimate is claimed to lie, or that it lies within ``margin`` of it.
    margin : float
        Half the width of the range of "within".
    groups : int
        Independent units behind the estimate: scenes, videos or pictures.
    unit : str
        What a group is called.
    seeds, epochs : int, optional
        Trainings that the interval covers, and the epochs of each; None where nothing was trained, or where the claim
        is about given weights.
    style : str
        Format of the numbers.

    Raises
    ------
    ValueError
        If the relation is unknown, or "within" has no margin.
    """

    statement: str
    value: float
    low: float
    high: float
    groups: int
    compared_with: float = 0.0
    relation: str = "above"
    margin: float = 0.0
    unit: str = "scene"
    seeds: int | None = None
    epochs: int | None = None
    style: str = "+.2f"

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ValueError(f"relation is {self.relation!r}; one of {', '.join(RELATIONS)} wanted")
        if self.relation == "within" and self.margin <= 0:
            raise ValueError(
                f"margin is {self.margin}; more than 0 wanted for the relation 'within'"
            )

    @property
    def enough(self) -> bool:
        """Whether there is an interval, and groups, seeds and epochs reach their minimum."""
        counts = {name: getattr(self, name) for name in MINIMUM}
        reached = all(count is None or count >= MINIMUM[name] for name, count in counts.items())
        return reached and not math.isnan(self.low)

    @property
    def verdict(self) -> str:
        """The rule: the interval lies on the claimed side, on the other side, or on both."""
        if not self.enough:
            return NOT_ENOUGH
        least, most = self.claimed
        if least < self.low and self.high < most:
            return SUPPORTED
        return NOT_SUPPORTED if self.high <= least or self.low >= most else UNDECIDED

    @property
    def claimed(self) -> tuple[float, float]:
        """The open range that the estimate is claimed to lie in."""
        at = self.compared_with
        return {
            "above": (at, math.inf),
            "below": (-math.inf, at),
            "within": (at - self.margin, at + self.margin),
        }[self.relation]


def table(claims: Iterable[Claim]) -> pd.DataFrame:
    """The claims of a page, one row per claim: claim, estimate [95 % CI], compared with, n, verdict."""
    return pd.DataFrame([_row(claim) for claim in claims]).set_index("claim")


def _row(claim: Claim) -> dict[str, str]:
    # Too few seeds or groups do not make an interval: it is not shown.
    bounds = (claim.low, claim.high) if claim.enough else ()
    numbers = (f"{number:{claim.style}}" for number in (claim.compared_with, *claim.claimed))
    return {
        "claim": claim.statement,
        "estimate [95 % CI]": formatted(claim.value, *bounds, style=claim.style),
        "compared with": RELATIONS[claim.relation].format(*numbers).replace(" ", NO_BREAK),
        "n": _counts(claim),
        "verdict": claim.verdict,
    }


def _counts(claim: Claim) -> str:
    counts = {claim.unit: claim.groups, "seed": claim.seeds, "epoch": claim.epochs}
    words = (f"{n:,} {name}{'s' * (n != 1)}" for name, n in counts.items() if n is not None)
    return ", ".join(words).replace(" ", NO_BREAK).replace(f",{NO_BREAK}", ", ")
