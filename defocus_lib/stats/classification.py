"""How well a detector tells fake from real, by frame and by video, with intervals that respect what was sampled.

Frames of a video, and a real video and its fakes, resemble each other. What was drawn independently is the group (the
target video, the scene, the picture), so the intervals resample groups, and one resample serves all metrics.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import auc, average_precision_score, confusion_matrix, roc_curve

from defocus_lib.stats.bootstrap import bootstrap, formatted

RATIOS = (
    "auc",
    "average_precision",
    "eer",
    "eer_threshold",
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
)
COUNTS = ("tn", "fp", "fn", "tp")
METRICS = (*RATIOS, *COUNTS, "calibration_error")
"""What :func:`measure` returns, in this order."""

NAMES = (
    {name: name.replace("_", " ") for name in METRICS}
    | {
        "auc": "AUC",
        "average_precision": "AP",
        "eer": "EER",
        "balanced_accuracy": "bal. acc.",
        "f1": "F1",
        "calibration_error": "calibration",
    }
    | {name: name.upper() for name in COUNTS}
)
"""Short names for the columns of a page."""

LEVELS = ("frame", "video")
BINS = 15
"""Bins of the calibration error."""


def choose_threshold(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The threshold with the highest balanced accuracy; choose it on validation data, never on test data.

    It lies halfway between two neighbouring probabilities. Of several equally good ones it is the one nearest to 0.5.

    Parameters
    ----------
    labels : (N,) array_like
        1 = fake; both classes.
    probabilities : (N,) array_like
        Of being fake, in [0, 1]. An image at or above the threshold is called fake.

    Raises
    ------
    ValueError
        If a class is missing.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if len(set(labels.tolist())) < 2:
        raise ValueError(
            f"labels are all {labels[0] if len(labels) else 'missing'}; real and fake images wanted"
        )
    false, true, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    # Its first point is "nothing is fake", at an infinite threshold; the last one, "all are", is worth the same.
    gain, thresholds = (true - false)[1:], thresholds[1:]
    cuts = (thresholds + np.append(thresholds[1:], thresholds[-1])) / 2
    best = cuts[np.isclose(gain, gain.max())]
    return float(best[np.argmin(np.abs(best - 0.5))])


def calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, bins: int = BINS
) -> float:
    """Expected calibration error: mean distance (L1) of the probability from the share of fakes, bin by bin.

    The bins have equal width; a probability of 1 belongs to the last one. Written out because the one of torchmetrics
    knows no weights; with weights of 1 the two agree.

    Parameters
    ----------
    labels, probabilities, weights : (N,)
    bins : int

    Returns
    -------
    float in [0, 1]
    """
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    gaps = np.bincount(
        np.digitize(probabilities, inner), weights * (probabilities - labels), minlength=bins
    )
    return float(np.abs(gaps).sum() / weights.sum())


def equal_error(false: np.ndarray, true: np.ndarray, thresholds: np.ndarray) -> tuple[float, float]:
    """Where as many reals are called fake as fakes are called real: the rate, and the threshold.

    Parameters
    ----------
    false, true, thresholds : (K,)
        As scikit-learn's ``roc_curve`` with ``drop_intermediate=False`` returns them. Between two points of the curve
        the crossing is interpolated linearly; the first, infinite threshold counts as the highest probability.
    """
    finite = np.append(thresholds[1], thresholds[1:])
    excess = false - (
        1 - true
    )  # strictly increasing: each point has more images called fake than the one before
    return float(np.interp(0, excess, false)), float(np.interp(0, excess, finite))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def measure(
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: float,
    weights: np.ndarray | None = None,
) -> dict[str, float]:
    """All :data:`METRICS` of one set of images.

    Parameters
    ----------
    labels : (N,) int
        1 = fake; both classes have a positive weight.
    probabilities : (N,) float in [0, 1]
    threshold : float
        An image at or above it is called fake. Decides accuracy, precision, recall, F1 and the counts.
    weights : (N,) float, optional
        How often each image counts; 1 if not given.

    Returns
    -------
    dict
        ``eer`` and ``eer_threshold`` as :func:`equal_error`, ``calibration_error`` as :func:`calibration_error`.
        Precision, and with it F1, is 0 where nothing is called fake.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    false, true, thresholds = roc_curve(
        labels, probabilities, sample_weight=weights, drop_intermediate=False
    )
    eer, eer_threshold = equal_error(false, true, thresholds)
    called = (probabilities >= threshold).astype(int)
    tn, fp, fn, tp = (
        confusion_matrix(labels, called, labels=[0, 1], sample_weight=weights).ravel().tolist()
    )
    values = {
        "auc": float(auc(false, true)),
        "average_precision": float(
            average_precision_score(labels, probabilities, sample_weight=weights)
        ),
        "eer": eer,
        "eer_threshold": eer_threshold,
        "accuracy": (tn + tp) / (tn + fp + fn + tp),
        "balanced_accuracy": (tn / (tn + fp) + tp / (tp + fn)) / 2,
        "precision": _ratio(tp, tp + fp),
        "recall": tp / (tp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
    }
    counts = {"tn": tn, "fp": fp, "fn": fn, "tp": tp}
    return (
        values | counts | {"calibration_error": calibration_error(labels, probabilities, weights)}
    )


def by_video(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row a video and manipulation; its probability is the mean over its frames.

    Parameters
    ----------
    predictions : DataFrame
        One row a frame: video, manipulation, group, label, probability.

    Returns
    -------
    DataFrame
        video, manipulation, group, label, probability, frames (their number), in order of first appearance.

    Raises
    ------
    ValueError
        If the frames of a video and manipulation have several groups or labels.
    """
    frames = predictions.groupby(["video", "manipulation"], sort=False)
    mixed = (frames[["group", "label"]].nunique() > 1).any(axis=1)
    if mixed.any():
        raise ValueError(
            f"the frames of {' / '.join(mixed.index[mixed][0])} have several groups or labels; one wanted"
        )
    return frames.agg(
        group=("group", "first"),
        label=("label", "first"),
        probability=("probability", "mean"),
        frames=("label", "size"),
    ).reset_index()


def _check_predictions(predictions: pd.DataFrame) -> None:
    wanted = ("id", "video", "group", "manipulation", "label", "probability")
    if missing := [name for name in wanted if name not in predictions]:
        raise ValueError(
            f"predictions lacks {', '.join(missing)}; found {', '.join(predictions.columns)}"
        )
    twice = predictions["id"][predictions["id"].duplicated()]
    if len(twice):
        raise ValueError(
            f"predictions has {twice.iat[0]!r} more than once; one row an image wanted"
        )
    outside = ~predictions["probability"].between(0, 1)
    if outside.any():
        row = predictions[outside].iloc[0]
        raise ValueError(
            f"{row['id']}: probability is {row['probability']}; a number in [0, 1] wanted"
        )
    wrong = predictions["label"] != (predictions["manipulation"] != "real")
    if wrong.any():
        row = predictions[wrong].iloc[0]
        raise ValueError(
            f"{row['id']}: label is {row['label']} for {row['manipulation']!r}; 0 = real, 1 = fake"
        )
    names = predictions["manipulation"].unique()
    if "real" not in names:
        raise ValueError(
            f"predictions has no real image to compare {', '.join(names) or 'anything'} with"
        )
    if len(names) < 2:
        raise ValueError("predictions has real images only; at least one manipulation wanted")


def evaluate(
    predictions: pd.DataFrame, threshold: float, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """All metrics of each manipulation against all real images of the table, by frame and by video.

    Parameters
    ----------
    predictions : DataFrame
        One row an image: id, video, group, manipulation ("real" or a name), label (1 = fake), probability of being
        fake in [0, 1]. Where each image is a video of its own, both levels say the same.
    threshold : float
        Probability from which an image, or the mean over a video, is called fake.
    n_bootstrap : int
        Bootstrap resamples of groups. The same ones serve all metrics.
    seed : int

    Returns
    -------
    DataFrame
        One row a manipulation, level ("frame" or "video") and metric: manipulation, level, metric, value, low, high
        (95 % percentile interval, see :func:`defocus_lib.stats.bootstrap.bootstrap`), images (rows compared: frames or videos), groups, threshold.
        The interval of the calibration error lies too high: it is a mean of distances, and a resample adds noise to
        each of them.

    Raises
    ------
    ValueError
        If a column is missing, an image comes twice, a probability or label is no such thing, or there is no real or
        no fake image.
    """
    _check_predictions(predictions)
    videos = by_video(predictions)
    single = len(videos) == len(predictions)
    parts = []
    for name in predictions["manipulation"].unique():
        if name == "real":
            continue
        frame = _evaluate_one(predictions, name, threshold, n_bootstrap, seed)
        video = frame if single else _evaluate_one(videos, name, threshold, n_bootstrap, seed)
        parts += [
            table.assign(level=level) for level, table in zip(LEVELS, (frame, video), strict=True)
        ]
    columns = [
        "manipulation",
        "level",
        "metric",
        "value",
        "low",
        "high",
        "images",
        "groups",
        "threshold",
    ]
    return pd.concat(parts, ignore_index=True)[columns]


def _evaluate_one(
    table: pd.DataFrame, name: str, threshold: float, n_bootstrap: int, seed: int
) -> pd.DataFrame:
    both = table[table["manipulation"].isin(["real", name])]
    labels, groups = both["label"].to_numpy(), both["group"].to_numpy()
    probabilities = both["probability"].to_numpy(dtype=np.float64)

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.array(list(measure(labels, probabilities, threshold, weights).values()))

    found = bootstrap(statistic, labels, groups, n_bootstrap, seed)
    values = {"metric": METRICS, "value": found.value, "low": found.low, "high": found.high}
    about = {
        "manipulation": name,
        "images": len(both),
        "groups": both["group"].nunique(),
        "threshold": threshold,
    }
    return pd.DataFrame(values).assign(**about)


def wide(
    table: pd.DataFrame, level: str, metrics: Sequence[str] = ("auc",), intervals: bool = True
) -> pd.DataFrame:
    """Values with their intervals as text, for a page: ``0.88 [0.85, 0.91]``.

    Parameters
    ----------
    table : DataFrame
        As :func:`evaluate` returns it; a column ``detector`` may be added.
    level : {"frame", "video"}
    metrics : sequence of str
        Of :data:`METRICS`; the columns, in this order.
    intervals : bool
        Whether the intervals stand beside the values.

    Returns
    -------
    DataFrame of str
        Index ``manipulation``, or ``(detector, manipulation)``, columns called as in :data:`NAMES`; a value without an
        interval stands alone.

    Raises
    ------
    ValueError
        If the level or a metric is not in the table.
    """
    rows = table[_at(table, level) & table["metric"].isin(metrics)]
    if missing := sorted(set(metrics) - set(rows["metric"])):
        raise ValueError(f"metrics names {', '.join(missing)}; known are {', '.join(METRICS)}")
    index = [name for name in ("detector", "manipulation") if name in table]
    styles = np.where(rows["metric"].isin(COUNTS), ",.0f", ".2f")
    bounds = (rows["low"], rows["high"]) if intervals else 2 * [np.full(len(rows), np.nan)]
    texts = map(formatted, rows["value"], *bounds, styles)
    cells = rows.assign(cell=list(texts))
    order = pd.MultiIndex.from_frame(rows[index].drop_duplicates())
    text = cells.pivot(index=index, columns="metric", values="cell")[list(metrics)].rename_axis(
        columns=None
    )
    return text.reindex(order if len(index) > 1 else order.get_level_values(0)).rename(
        columns=NAMES
    )


def _at(table: pd.DataFrame, level: str) -> pd.Series:
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}; {' or '.join(LEVELS)} wanted")
    return table["level"] == level


def _auc_rows(table: pd.DataFrame, level: str) -> pd.DataFrame:
    return table[_at(table, level) & (table["metric"] == "auc")]


def aim_verdict(
    table: pd.DataFrame, trained_on: str, level: str = "frame", aim: float = 0.85
) -> str:
    """Say whether the AUC on what was learned meets an aim, and if not, what stands in the way.

    Parameters
    ----------
    table : DataFrame
        The rows of one detector, as :func:`evaluate` returns them.
    """
    rows = _auc_rows(table, level).set_index("manipulation")
    value, low, high = rows.loc[trained_on, ["value", "low", "high"]]
    opening = f"The aim set for the defocus detector was {aim:.2f}: it is"
    if np.isnan(low):
        return f"{opening} {'met' if value >= aim else 'missed'}; a single group gives no interval."
    if value >= aim:
        return f"{opening} met, {'interval included' if low >= aim else 'though the interval does not rule out less'}."
    missed = "missed, though the interval does not rule it out" if high >= aim else "missed"
    return (
        f"{opening} {missed}. Two likely reasons: the map is read at edges, so a region with few of them changes it"
        " little; and the training textures are few."
    )


def carries_over(table: pd.DataFrame, trained_on: str, level: str = "frame") -> str:
    """Each other manipulation with its AUC, and where its interval lies; ``none in this run`` if there is no other.

    Parameters
    ----------
    table : DataFrame
        The rows of one detector, as :func:`evaluate` returns them.
    """

    def side(low: float, high: float) -> str:
        if np.isnan(low):
            return "no interval"
        return "above chance" if low > 0.5 else "below chance" if high < 0.5 else "like chance"

    rows = _auc_rows(table, level)
    others = rows[rows["manipulation"] != trained_on]
    said = (
        f"{row.manipulation} {row.value:.2f} ({side(row.low, row.high)})"
        for row in others.itertuples()
    )
    return ", ".join(said) or "none in this run"
