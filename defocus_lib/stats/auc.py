"""Area under the ROC curve of several detectors on the same groups, their differences, and intervals of both.

Two things were drawn by chance: the groups that a detector was tested on (scenes, videos, pictures), and the seeds that
it was trained with. The variance of the mean over the seeds is that of resampled groups plus that of the seeds by their
number; the few seeds enter the interval through Student's t, with the degrees of freedom of Welch and Satterthwaite.
All detectors share one resample of the groups, so a difference between two of them is not blurred by which groups were
drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import roc_auc_score

from defocus_lib.stats.classification import strata

LEVEL = 0.95
CHUNK = 100  # resamples at once: bounds the memory


@dataclass(frozen=True)
class Predictions:
    """What the detectors of one kind, trained with ``S`` seeds, say about ``N`` images.

    Attributes
    ----------
    labels : (N,) int
        1 = fake.
    groups : (N,) str
        What was sampled independently.
    scores : (S, N) float
        Higher = rather fake.

    Raises
    ------
    ValueError
        If the lengths differ, a class is missing, or a score is not finite.
    """

    labels: np.ndarray
    groups: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        images = len(self.labels)
        if self.scores.ndim != 2 or self.scores.shape[1] != images or len(self.groups) != images:
            raise ValueError(
                f"labels, groups and scores have shapes {np.shape(self.labels)}, {np.shape(self.groups)} and "
                f"{self.scores.shape}; (N,), (N,) and (S, N) wanted"
            )
        if set(np.unique(self.labels).tolist()) != {0, 1}:
            raise ValueError(
                f"labels hold {sorted(set(self.labels.tolist()))}; both 0 and 1 wanted"
            )
        if not np.isfinite(self.scores).all():
            raise ValueError("scores hold NaN or infinity")

    def by_seed(self) -> np.ndarray:
        """AUC of each seed: ``(S,)`` float64."""
        return np.array([roc_auc_score(self.labels, one) for one in self.scores])


def predictions_of(predictions: pd.DataFrame, score: str = "logit") -> Predictions:
    """The answers in a table with one row an image and seed: ``id``, ``label``, ``group``, ``seed`` and the score."""
    wide = predictions.pivot(index="id", columns="seed", values=score)
    about = predictions.drop_duplicates("id").set_index("id").loc[wide.index]
    return Predictions(
        about["label"].to_numpy(), about["group"].to_numpy(dtype=str), wide.to_numpy(np.float64).T
    )


def weighted(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC when each image counts as often as its weight says: the share of (fake, real) couples in order, ties half.

    scikit-learn's takes one set of weights at a time and sorts anew for each.

    Parameters
    ----------
    labels, scores : (N,)
    weights : (B, N)

    Returns
    -------
    (B,) float64
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    weights, fake = weights[:, order], labels[order] == 1
    fakes, reals = (np.add.reduceat(weights * kind, starts, axis=1) for kind in (fake, ~fake))
    below = np.cumsum(reals, axis=1) - reals / 2
    return (fakes * below).sum(1) / (fakes.sum(1) * reals.sum(1))


def resampled(
    answers: Mapping[str, Predictions], n_bootstrap: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """AUC of each entry, the mean over its seeds, in resamples of the groups that all entries share.

    Groups with real images only, with fakes only, and with both are resampled apart.

    Parameters
    ----------
    answers : mapping of str to Predictions
        Their groups may differ; those of one name are the same.
    n_bootstrap, seed : int

    Returns
    -------
    DataFrame
        One row a resample, one column an entry.

    Raises
    ------
    ValueError
        If there are not two groups of a kind: then nothing can be resampled.
    """
    names, weights = _draw_groups(answers.values(), n_bootstrap, np.random.default_rng(seed))
    columns = {name: np.empty(n_bootstrap) for name in answers}
    for name, one in answers.items():
        codes = np.searchsorted(names, one.groups)
        for first in range(0, n_bootstrap, CHUNK):
            part = slice(first, first + CHUNK)
            by_seed = [
                weighted(one.labels, scores, weights[part][:, codes]) for scores in one.scores
            ]
            columns[name][part] = np.mean(by_seed, axis=0)
    return pd.DataFrame(columns)


def _draw_groups(
    answers: Iterable[Predictions], n_bootstrap: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The names of all groups, sorted, ``(G,)``, and how often each counts in each resample, ``(B, G)``."""
    every = [(one.labels, one.groups) for one in answers]
    labels, groups = (np.concatenate(parts) for parts in zip(*every, strict=True))
    names, codes = np.unique(groups, return_inverse=True)
    weights = np.zeros((n_bootstrap, len(names)))
    kinds = strata(labels, codes)
    if max(map(len, kinds)) < 2:
        raise ValueError(f"groups are {', '.join(names)}; two of a kind wanted to resample")
    for kind in kinds:
        weights[:, kind] = rng.multinomial(
            len(kind), np.full(len(kind), 1 / len(kind)), n_bootstrap
        )
    return names, weights


def summary(answers: Mapping[str, Predictions], draws: pd.DataFrame) -> pd.DataFrame:
    """Mean AUC over the seeds of each entry, its 95 % interval, and the extreme seeds.

    Parameters
    ----------
    answers : mapping of str to Predictions
    draws : DataFrame
        As :func:`resampled` makes them.

    Returns
    -------
    DataFrame
        One row an entry: value, low, high, seeds (their number), lowest and highest (of a single seed).
    """
    rows = {}
    for name, one in answers.items():
        by_seed = one.by_seed()
        low, high = _interval(by_seed.mean(), draws[name], [by_seed])
        rows[name] = {
            "value": by_seed.mean(),
            "low": max(low, 0.0),
            "high": min(high, 1.0),
            "seeds": len(by_seed),
        }
        rows[name] |= {"lowest": by_seed.min(), "highest": by_seed.max()}
    return pd.DataFrame.from_dict(rows, orient="index")


def differences(
    answers: Mapping[str, Predictions], draws: pd.DataFrame, one: str, others: Iterable[str]
) -> pd.DataFrame:
    """Mean AUC of one entry minus that of others, with the 95 % interval over the shared resamples.

    Returns
    -------
    DataFrame
        One row an entry of ``others``: value, low, high.
    """
    rows, ours = {}, answers[one].by_seed()
    for name in others:
        theirs = answers[name].by_seed()
        value = ours.mean() - theirs.mean()
        low, high = _interval(value, draws[one] - draws[name], [ours, theirs])
        rows[name] = {"value": value, "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index")


def _interval(value: float, draws: pd.Series, by_seed: Sequence[np.ndarray]) -> tuple[float, float]:
    """``value`` with Student's t: variances of the groups and of each kind's seeds, added (Satterthwaite 1946)."""
    several = [seeds for seeds in by_seed if len(seeds) > 1]
    parts = [(float(seeds.var(ddof=1)) / len(seeds), len(seeds) - 1) for seeds in several]
    variance = float(draws.var()) + sum(part for part, _ in parts)
    uncertain = sum(part**2 / freedom for part, freedom in parts)
    freedom = variance**2 / uncertain if uncertain else np.inf
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(variance)
    return float(value - half), float(value + half)


def words(row: pd.Series) -> str:
    """A value with its interval, for a page: ``0.88 [0.85, 0.91]``."""
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]".replace(
        " ", "\N{NO-BREAK SPACE}"
    )
