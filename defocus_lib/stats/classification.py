"""How well a detector tells fake from real, by frame and by video, with intervals by group.

One resample of the groups serves all metrics (see :mod:`defocus_lib.stats.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import auc, roc_curve

from defocus_lib.stats.bootstrap import bootstrap, formatted

COUNTS = ("tn", "fp", "fn", "tp")
NAMES = {
    "auc": "AUC",
    "average_precision": "AP",
    "eer": "EER",
    "eer_threshold": "eer threshold",
    "accuracy": "accuracy",
    "balanced_accuracy": "bal. acc.",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    **{name: name.upper() for name in COUNTS},
    "calibration_error": "calibration",
}
"""Metric -> its short name for the columns of a page."""

METRICS = tuple(NAMES)
"""What :func:`measure` returns, in this order."""

REAL = "real"
LEVELS = ("frame", "video")
BINS = 15
"""Bins of the calibration error."""


def choose_threshold(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The threshold with the highest balanced accuracy, to be chosen on validation data.

    It lies halfway between two neighbouring probabilities; of several equally good ones it is the
    one nearest to 0.5. An image at or above it is called fake. ``labels`` (N,) are 1 for fakes;
    raises ValueError if a class is missing.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if len(set(labels.tolist())) < 2:
        raise ValueError(
            f"labels are all {labels[0] if len(labels) else 'missing'}; real and fake images wanted"
        )
    false, true, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    # The first point, "nothing is fake" at an infinite threshold, is worth as much as the last.
    gain, thresholds = (true - false)[1:], thresholds[1:]
    cuts = (thresholds + np.append(thresholds[1:], thresholds[-1])) / 2
    best = cuts[np.isclose(gain, gain.max())]
    return float(best[np.argmin(np.abs(best - 0.5))])


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> float:
    """Expected calibration error in [0, 1], with the L1 norm.

    It is the mean distance of the probability from the share of fakes, bin by bin. The bins have
    equal width; a probability of 1 belongs to the last one. torchmetrics' has no weights; with
    weights of 1 the two agree.
    """
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    excess = weights * (probabilities - labels)
    by_bin = np.bincount(np.digitize(probabilities, inner), excess, minlength=BINS)
    return float(np.abs(by_bin).sum() / weights.sum())


def equal_error(false: np.ndarray, true: np.ndarray, thresholds: np.ndarray) -> tuple[float, float]:
    """The equal error rate and its threshold, from the points of an ROC curve, the strictest first.

    The curve begins at (0, 0), to which the first threshold belongs too. Between two points the
    crossing is interpolated linearly.
    """
    # Strictly increasing, because each point has more images called fake than the one before.
    excess = np.append(-1.0, false - (1 - true))
    rate = np.interp(0, excess, np.append(0.0, false))
    return float(rate), float(np.interp(0, excess, np.append(thresholds[0], thresholds)))


def measure(
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: float,
    weights: np.ndarray | None = None,
) -> dict[str, float]:
    """All :data:`METRICS` of one set of images, of which each counts as often as its weight says.

    ``labels`` (N,) are 1 for fakes, and both classes have a positive weight; an image whose
    probability is at or above the threshold is called fake. Precision, and with it F1, is 0 where
    nothing is called fake.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    return measures(labels, probabilities, threshold)(weights)


def measures(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float
) -> Callable[[np.ndarray], dict[str, float]]:
    """:func:`measure` as a function of the weights alone.

    scikit-learn's metrics sort the probabilities and check their arguments anew for each set of
    weights; here this is done once, so that a thousand resamples take a tenth of the time.
    """
    distinct, ranks = np.unique(-probabilities, return_inverse=True)
    called_fake = probabilities >= threshold

    def of(weights: np.ndarray) -> dict[str, float]:
        fakes, reals = (
            np.bincount(ranks, weights * (labels == kind), len(distinct)) for kind in (1, 0)
        )
        kept = fakes + reals > 0
        recalled, alarms = np.cumsum(fakes[kept]), np.cumsum(reals[kept])
        true, false = recalled / recalled[-1], alarms / alarms[-1]
        eer, eer_threshold = equal_error(false, true, -distinct[kept])
        return {
            "auc": float(auc(np.append(0, false), np.append(0, true))),
            "average_precision": float(np.diff(true, prepend=0) @ (recalled / (recalled + alarms))),
            "eer": eer,
            "eer_threshold": eer_threshold,
            **_at_threshold(labels, called_fake, weights),
            "calibration_error": calibration_error(labels, probabilities, weights),
        }

    return of


def _at_threshold(
    labels: np.ndarray, called_fake: np.ndarray, weights: np.ndarray
) -> dict[str, float]:
    cells = np.bincount(2 * labels + called_fake, weights, minlength=4)
    tn, fp, fn, tp = cells.tolist()
    return {
        "accuracy": (tn + tp) / (tn + fp + fn + tp),
        "balanced_accuracy": (tn / (tn + fp) + tp / (tp + fn)) / 2,
        "precision": tp / (tp + fp) if tp else 0.0,
        "recall": tp / (tp + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
        **{"tn": tn, "fp": fp, "fn": fn, "tp": tp},
    }


def by_video(predictions: pd.DataFrame) -> pd.DataFrame:
    """The mean probability of the frames of each video and manipulation, in their order.

    Columns video, manipulation, group, label, probability and frames (their number). Raises
    ValueError if the frames of a video and manipulation have several groups or labels.
    """
    frames = predictions.groupby(["video", "manipulation"], sort=False)
    mixed = (frames[["group", "label"]].nunique() > 1).any(axis=1)
    if mixed.any():
        name = " / ".join(mixed.index[mixed][0])
        raise ValueError(f"the frames of {name} have several groups or labels; one wanted")
    return frames.agg(
        group=("group", "first"),
        label=("label", "first"),
        probability=("probability", "mean"),
        frames=("label", "size"),
    ).reset_index()


def _check_predictions(predictions: pd.DataFrame) -> None:
    columns = ("id", "video", "group", "manipulation", "label", "probability")
    if missing := [name for name in columns if name not in predictions]:
        raise ValueError(
            f"predictions lacks {', '.join(missing)}; found {', '.join(predictions.columns)}"
        )
    wrong = {
        "is there more than once; one row per image wanted": predictions["id"].duplicated(),
        "probability is {probability}; a number in [0, 1] wanted": ~predictions[
            "probability"
        ].between(0, 1),
        "label is {label} for {manipulation!r}; 0 = real, 1 = fake": predictions["label"]
        != (predictions["manipulation"] != REAL),
    }
    for message, rows in wrong.items():
        if rows.any():
            row = predictions[rows].iloc[0]
            raise ValueError(f"predictions: {row['id']}: {message.format(**row)}")
    if set(predictions["label"]) != {0, 1}:
        names = ", ".join(predictions["manipulation"].unique()) or "no image"
        raise ValueError(f"predictions has {names} only; real and manipulated images wanted")


def evaluate(
    predictions: pd.DataFrame, threshold: float, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """All metrics of each manipulation against all real images of the table, by frame and by video.

    The interval of the calibration error lies too high: it is a mean of distances, and a resample
    adds noise to each of them.

    Parameters
    ----------
    predictions : DataFrame
        One row per image: id, video, group, manipulation ("real" or a name), label (1 = fake),
        probability of being fake in [0, 1]. Where each image is a video of its own, both levels say
        the same.
    threshold : float
        Probability from which an image, or the mean over a video, is called fake.

    Returns
    -------
    DataFrame
        One row per manipulation, level ("frame" or "video") and metric: manipulation, level,
        metric, value, low, high, images (frames or videos compared), groups, threshold.

    Raises
    ------
    ValueError
        If a column is missing, an image comes twice, a probability or label is no such thing, or
        there is no real or no fake image.
    """
    _check_predictions(predictions)
    videos = by_video(predictions)
    # Single pictures are not measured twice.
    tables = {"frame": predictions} | ({"video": videos} if len(videos) < len(predictions) else {})
    parts = []
    for name in predictions["manipulation"].unique():
        if name != REAL:
            measured = {
                level: _evaluate_one(table, name, threshold, n_bootstrap, seed)
                for level, table in tables.items()
            }
            parts += [
                measured.get(level, measured["frame"]).assign(level=level) for level in LEVELS
            ]
    columns = ["manipulation", "level", "metric", "value", "low", "high"]
    return pd.concat(parts, ignore_index=True)[[*columns, "images", "groups", "threshold"]]


def _evaluate_one(
    table: pd.DataFrame, name: str, threshold: float, n_bootstrap: int, seed: int
) -> pd.DataFrame:
    both = table[table["manipulation"].isin([REAL, name])]
    labels, groups = both["label"].to_numpy(), both["group"].to_numpy()
    probabilities = both["probability"].to_numpy(dtype=np.float64)

    of_weights = measures(labels, probabilities, threshold)

    def statistic(weights: np.ndarray) -> list[float]:
        return list(of_weights(weights).values())

    estimate = bootstrap(statistic, labels, groups, n_bootstrap, seed)
    return pd.DataFrame(
        {
            "manipulation": name,
            "metric": METRICS,
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "images": len(both),
            "groups": both["group"].nunique(),
            "threshold": threshold,
        }
    )


def wide(
    table: pd.DataFrame,
    level: str,
    metrics: Sequence[str] = ("auc",),
    intervals: bool = True,
    style: str = ".2f",
) -> pd.DataFrame:
    """Values with their intervals as text, for a page: ``0.88 [0.85, 0.91]``.

    ``table`` is that of :func:`evaluate`, to which a column ``detector`` may be added. One row per
    manipulation, or per detector and manipulation; the columns are the ``metrics`` in their order,
    called as in :data:`NAMES`. ``style`` is the format of what is no count. Raises ValueError if
    the level or a metric is not in the table.
    """
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}; {' or '.join(LEVELS)} wanted")
    rows = table[(table["level"] == level) & table["metric"].isin(metrics)]
    if missing := sorted(set(metrics) - set(rows["metric"])):
        raise ValueError(f"metrics names {', '.join(missing)}; known are {', '.join(METRICS)}")
    index = [name for name in ("detector", "manipulation") if name in table]
    styles = np.where(rows["metric"].isin(COUNTS), ",.0f", style)
    bounds = [rows[name] if intervals else rows[name] * np.nan for name in ("low", "high")]
    cells = rows.assign(cell=list(map(formatted, rows["value"], *bounds, styles)))
    text = cells.pivot(index=index, columns="metric", values="cell")[list(metrics)]
    order = pd.MultiIndex.from_frame(rows[index].drop_duplicates())
    text = text.reindex(order if len(index) > 1 else order.get_level_values(0))
    return text.rename_axis(columns=None).rename(columns=NAMES)
