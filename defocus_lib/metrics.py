"""How well logits tell fake from real, with intervals that respect what was sampled: scenes, not images."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import bootstrap
from sklearn.metrics import balanced_accuracy_score, roc_auc_score


def evaluate(predictions: pd.DataFrame, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """AUC and accuracy of each manipulation against the real images of the same scenes.

    Parameters
    ----------
    predictions : DataFrame
        One row an image: scene, manipulation ("real" or a name), label (1 = fake), logit.
    resamples : int
        Bootstrap resamples of scenes; a scene's real and fake image stay together.
    seed : int

    Returns
    -------
    DataFrame
        One row a manipulation: manipulation, scenes, auc, auc_low, auc_high (95 % percentile interval),
        balanced_accuracy (at a logit of 0).

    Raises
    ------
    ValueError
        If a scene lacks its real image, or an image comes twice.
    """
    names = [name for name in predictions["manipulation"].unique() if name != "real"]
    return pd.DataFrame([_evaluate_one(predictions, name, resamples, seed) for name in names])


def _evaluate_one(predictions: pd.DataFrame, name: str, resamples: int, seed: int) -> dict:
    both = predictions[predictions["manipulation"].isin(["real", name])]
    logits = both.pivot(index="scene", columns="manipulation", values="logit").dropna(subset=[name])
    if logits["real"].isna().any():
        raise ValueError(f"scene {logits.index[logits['real'].isna()][0]!r} has {name} but no real image")
    real, fake = logits["real"].to_numpy(), logits[name].to_numpy()
    low, high = auc_interval(real, fake, resamples, seed)
    labels, scores = _stack(real, fake)
    return {
        "manipulation": name,
        "scenes": len(logits),
        "auc": roc_auc_score(labels, scores),
        "auc_low": low,
        "auc_high": high,
        "balanced_accuracy": balanced_accuracy_score(labels, scores > 0),
    }


def auc_interval(real: np.ndarray, fake: np.ndarray, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the AUC, resampling scenes.

    Parameters
    ----------
    real, fake : (N,) float
        Scores of the real and of the fake image of each scene.
    """
    result = bootstrap(
        (real, fake),
        lambda real, fake: roc_auc_score(*_stack(real, fake)),
        paired=True,
        vectorized=False,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _stack(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat([0, 1], [len(real), len(fake)]), np.concatenate([real, fake])


def aim_verdict(auc: float, low: float, high: float, aim: float = 0.85) -> str:
    """Say whether an AUC with its 95 % interval meets an aim, and if not, what stands in the way."""
    opening = f"The aim set for the defocus detector was {aim:.2f}: it is"
    if low >= aim:
        return f"{opening} met, interval included."
    if auc >= aim:
        return f"{opening} met, though the interval does not rule out less."
    missed = "missed, though the interval does not rule it out" if high >= aim else "missed"
    return (
        f"{opening} {missed}. Two likely reasons: the map is read at edges, so a region with few of them changes it"
        " little; and the training textures are few."
    )


def carries_over(metrics: pd.DataFrame, trained_on: str) -> str:
    """Each other manipulation with its AUC, and where its interval lies; ``metrics`` has the rows of one detector."""

    def side(low: float, high: float) -> str:
        return "above chance" if low > 0.5 else "below chance" if high < 0.5 else "like chance"

    others = metrics[metrics["manipulation"] != trained_on]
    return ", ".join(
        f"{row.manipulation} {row.auc:.2f} ({side(row.auc_low, row.auc_high)})" for row in others.itertuples()
    )
