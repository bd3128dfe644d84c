"""AUC of several detectors on the same groups, their differences, and intervals of both.

Two things were drawn by chance: the groups that a detector was tested on (scenes, videos,
pictures), and the seeds that it was trained with. The variance of the mean over the seeds is that
of resampled groups plus that of the seeds by their number; the few seeds enter the interval through
Student's t, with the degrees of freedom of Welch and Satterthwaite. All detectors share the
resamples of the groups, so a difference between two of them is not blurred by which groups were
drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import roc_auc_score

from defocus_lib.stats.bootstrap import CONFIDENCE, N_BOOTSTRAP, bootstrap


@dataclass(frozen=True)
class Predictions:
    """Predictions for ``N`` images by the detectors of one kind, trained with ``S`` seeds.

    Attributes
    ----------
    labels : (N,) int
        1 = fake; both classes.
    groups : (N,) str
        What was sampled independently.
    scores : (S, N) float
        Higher = rather fake; finite.
    """

    labels: np.ndarray
    groups: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        images = len(self.labels)
        if self.scores.ndim != 2 or self.scores.shape[1] != images or len(self.groups) != images:
            shapes = [np.shape(part) for part in (self.labels, self.groups, self.scores)]
            raise ValueError(
                f"labels, groups and scores have shapes {', '.join(map(str, shapes))}; "
                "(N,), (N,) and (S, N) wanted"
            )
        if set(np.unique(self.labels).tolist()) != {0, 1}:
            raise ValueError(
                f"labels hold {sorted(set(self.labels.tolist()))}; both 0 and 1 wanted"
            )
        if not np.isfinite(self.scores).all():
            raise ValueError("scores hold NaN or infinity")

    def by_seed(self) -> np.ndarray:
        """AUC of each seed: ``(S,)`` float64."""
        return np.array([roc_auc_score(self.labels, scores) for scores in self.scores])


def predictions_of(table: pd.DataFrame) -> Predictions:
    """Read a table with one row per image and seed: id, label, group, seed and logit."""
    wide = table.pivot(index="id", columns="seed", values="logit")
    images = table.drop_duplicates("id").set_index("id").loc[wide.index]
    groups = images["group"].to_numpy(dtype=str)
    return Predictions(images["label"].to_numpy(), groups, wide.to_numpy(np.float64).T)


def weighted_auc(labels: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], float]:
    """AUC as a function of how often each image counts, weights (N,); a tie counts half.

    scikit-learn's sorts the scores anew for each set of weights; here they are sorted once.
    """
    distinct, ranks = np.unique(scores, return_inverse=True)
    fake = labels == 1

    def area(weights: np.ndarray) -> float:
        fakes = np.bincount(ranks, weights * fake, len(distinct))
        reals = np.bincount(ranks, weights * ~fake, len(distinct))
        return fakes @ (np.cumsum(reals) - reals / 2) / (fakes.sum() * reals.sum())

    return area


def resampled(
    predictions: Mapping[str, Predictions], n_bootstrap: int = N_BOOTSTRAP, seed: int = 0
) -> pd.DataFrame:
    """Mean AUC over the seeds of each entry in resamples of the groups that all entries share.

    Entries may have different groups; those of one name are the same. One row per resample, one
    column per entry; no row where no stratum of groups has two of them (see
    :func:`defocus_lib.stats.bootstrap.bootstrap`).
    """
    entries = predictions.values()
    labels = np.concatenate([entry.labels for entry in entries])
    groups = np.concatenate([entry.groups for entry in entries])
    ends = np.cumsum([len(entry.labels) for entry in entries])[:-1]
    areas = [[weighted_auc(entry.labels, each) for each in entry.scores] for entry in entries]

    def mean_over_seeds(weights: np.ndarray) -> list[float]:
        parts = zip(areas, np.split(weights, ends), strict=True)
        return [sum(area(part) for area in by_seed) / len(by_seed) for by_seed, part in parts]

    estimate = bootstrap(mean_over_seeds, labels, groups, n_bootstrap, seed)
    return pd.DataFrame(estimate.distribution.T, columns=list(predictions))


def summary(predictions: Mapping[str, Predictions], resamples: pd.DataFrame) -> pd.DataFrame:
    """Mean AUC over the seeds of each entry with its 95 % interval over groups and seeds.

    ``resamples`` are those of :func:`resampled`. One row per entry: value, low, high, seeds (their
    number), lowest and highest (of a single seed).
    """
    rows = {}
    for name, entry in predictions.items():
        by_seed = entry.by_seed()
        low, high = _interval(by_seed.mean(), resamples[name], [by_seed])
        rows[name] = {
            "value": by_seed.mean(),
            "low": max(low, 0.0),
            "high": min(high, 1.0),
            "seeds": len(by_seed),
            "lowest": by_seed.min(),
            "highest": by_seed.max(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def differences(
    predictions: Mapping[str, Predictions],
    resamples: pd.DataFrame,
    name: str,
    others: Iterable[str],
) -> pd.DataFrame:
    """Mean AUC of one entry minus that of others, with 95 % intervals over groups and seeds.

    One row per entry of ``others``: value, low, high.
    """
    rows, minuend = {}, predictions[name].by_seed()
    for other in others:
        subtrahend = predictions[other].by_seed()
        value = minuend.mean() - subtrahend.mean()
        low, high = _interval(value, resamples[name] - resamples[other], [minuend, subtrahend])
        rows[other] = {"value": value, "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index")


def _interval(
    value: float, resamples: pd.Series, by_seed: Sequence[np.ndarray]
) -> tuple[float, float]:
    """Student's t with the variances of groups and seeds added (Satterthwaite 1946)."""
    several = [areas for areas in by_seed if len(areas) > 1]
    parts = [(float(areas.var(ddof=1)) / len(areas), len(areas) - 1) for areas in several]
    variance = float(resamples.var()) + sum(part for part, _ in parts)
    uncertain = sum(part**2 / freedom for part, freedom in parts)
    freedom = variance**2 / uncertain if uncertain else np.inf
    half = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(variance)
    return float(value - half), float(value + half)
