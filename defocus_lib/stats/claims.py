"""Claims of the book: an estimate held against a comparison value, and one rule for the verdict.

A page lists its claims in a table; the front page collects those of all pages. Prose stays true
whatever the numbers are, because what depends on the numbers is a row of this table.
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
CAUTION = "caution"  # the column of what is wrong with the data of every claim
COLUMNS = ["claim", "estimate [95 % CI]", "compared with", "n", "verdict"]


@dataclass(frozen=True)
class Claim:
    """One statement that an interval can support or refute.

    Attributes
    ----------
    statement : str
        What is claimed, in words that hold for any number.
    value, low, high : float
        The estimate and its 95 % interval; NaN bounds where there is none.
    groups : int
        Independent units behind the estimate: scenes, videos or pictures.
    compared_with : float
        The value that the interval is held against.
    relation : {"above", "below", "within"}
        On which side of ``compared_with`` the estimate is claimed to lie, or that it lies within
        ``margin`` of it; ValueError for another relation, or "within" without a margin.
    unit : str
        What a group is called.
    seeds, epochs : int, optional
        Trainings that the interval covers, and the epochs of each; None where nothing was trained,
        or where the claim is about given weights.
    style : str
        Format of the estimate.
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
            raise ValueError(f"margin is {self.margin}; more than 0 wanted for 'within'")

    @property
    def enough(self) -> bool:
        """Whether there is an interval, and groups, seeds and epochs reach their minimum."""
        counts = {name: getattr(self, name) for name in MINIMUM}
        reached = all(count is None or count >= MINIMUM[name] for name, count in counts.items())
        return reached and not math.isnan(self.low)

    @property
    def verdict(self) -> str:
        """The rule: the interval lies in the claimed range, outside of it, or across its end."""
        if not self.enough:
            return NOT_ENOUGH
        least, most = self.claimed
        if least < self.low and self.high < most:
            return SUPPORTED
        return NOT_SUPPORTED if self.high <= least or self.low >= most else UNDECIDED

    @property
    def claimed(self) -> tuple[float, float]:
        """The open range that the estimate is claimed to lie in."""
        at, margin = self.compared_with, self.margin
        ranges = {"above": (at, math.inf), "below": (-math.inf, at)}
        return ranges.get(self.relation, (at - margin, at + margin))


def table(claims: Iterable[Claim], caution: str = "") -> pd.DataFrame:
    """The claims of a page, one row each: estimate [95 % CI], compared with, n, verdict.

    A ``caution`` about the data, see :attr:`defocus_lib.run.artifacts.About.caution`, stands beside
    every verdict, in a column of its own.
    """
    rows = pd.DataFrame([_row(claim) for claim in claims], columns=COLUMNS).set_index("claim")
    return rows.assign(**{CAUTION: caution}) if caution else rows


def _row(claim: Claim) -> list[str]:
    # Too few seeds or groups do not make an interval: it is not shown.
    low, high = (claim.low, claim.high) if claim.enough else (math.nan, math.nan)
    counts = {claim.unit: claim.groups, "seed": claim.seeds, "epoch": claim.epochs}
    words = [
        f"{n:,}{NO_BREAK}{name}{'s' * (n != 1)}" for name, n in counts.items() if n is not None
    ]
    scale, percent = (100, "%") if claim.style.endswith("%") else (1, "")
    numbers = [f"{scale * each:g}{percent}" for each in (claim.compared_with, *claim.claimed)]
    return [
        claim.statement,
        formatted(claim.value, low, high, claim.style),
        RELATIONS[claim.relation].format(*numbers).replace(" ", NO_BREAK),
        ", ".join(words),
        claim.verdict,
    ]
