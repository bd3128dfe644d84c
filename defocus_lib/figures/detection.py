"""Figures of training and test of the detectors (page 03)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from defocus_lib.figures.style import (
    KIND_COLORS,
    KIND_NAMES,
    MAP_COLORS,
    MODEL_COLORS,
    MODEL_MARKERS,
    MODEL_NAMES,
    PALETTE,
    TICKS,
    WIDTH,
    fakes_in,
    figure,
    legend_below,
    manipulation_colors,
    show_image,
)

SCORES = {
    "val_auc": ("AUC", "-"),
    "val_accuracy": ("accuracy", ":"),
}  # on validation: their names and lines


@figure
def preview(
    images: np.ndarray, maps: np.ndarray, labels: np.ndarray, probabilities: np.ndarray
) -> Figure:
    """Photograph and map side by side, with what the image is and what the detector says.

    Parameters
    ----------
    images : (N, H, W, 3) uint8
    maps : (N, H, W), normalised maps in [0, 1]
    labels : (N,)
        1 = fake.
    probabilities : (N,)
        Of being fake, in [0, 1].
    """
    pairs = min(2, len(images))
    rows = -(-len(images) // pairs)
    fig, axes = plt.subplots(rows, 2 * pairs, figsize=(1.9 * 2 * pairs, 2.15 * rows), squeeze=False)
    places = axes.reshape(-1, 2)
    for ax in places[len(images) :].flat:
        ax.set_visible(False)
    for (left, right), image, values, label, probability in zip(
        places, images, maps, labels, probabilities, strict=False
    ):
        show_image(left, image)
        show_image(right, values, cmap=MAP_COLORS, vmin=0, vmax=1)
        left.set_title(f"{'fake' if label else 'real'}, p(fake) = {probability:.2f}", loc="left")
    return fig


@figure
def training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Loss, and AUC and accuracy on validation, of each detector by epoch.

    Parameters
    ----------
    histories : mapping of a detector to a table
        With epoch (from 0), and any of train_loss, val_loss, val_auc, val_accuracy; what is NaN or lacking is left out.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.6))
    shown = [
        score for score in SCORES if any(score in history for history in histories.values())
    ] or ["val_auc"]
    for name, history in histories.items():
        color = MODEL_COLORS.get(name, PALETTE[3])
        _draw_history(left, history, "train_loss", color, "-", f"{name}, training")
        _draw_history(left, history, "val_loss", color, "--", f"{name}, validation")
        for score in shown:
            said, line = SCORES[score]
            _draw_history(
                right, history, score, color, line, name if len(shown) == 1 else f"{name}, {said}"
            )
    left.set(xlabel="epoch", ylabel="cross-entropy (nats)")
    lowest = min([0.5, *(line.get_ydata().min() for line in right.lines)])
    right.set(
        xlabel="epoch",
        ylabel=f"validation {SCORES[shown[0]][0]}" if len(shown) == 1 else "score on validation",
    )
    right.set_ylim(lowest - 0.05, 1.01)
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        if ax.lines:
            ax.legend()
    return fig


def _draw_history(
    ax: Axes, history: pd.DataFrame, column: str, color: str, line: str, label: str
) -> None:
    if column in history and history[column].notna().any():
        known = history.dropna(subset=[column])
        ax.plot(
            known["epoch"] + 1,
            known[column],
            line,
            marker="o",
            color=color,
            markersize=3,
            label=label,
        )


@figure
def roc_curves(predictions: Mapping[str, pd.DataFrame]) -> Figure:
    """Receiver operating characteristic of each detector; one line a manipulation.

    Parameters
    ----------
    predictions : mapping of a detector to a table with manipulation, label, probability
    """
    fig, axes = plt.subplots(
        1, len(predictions), figsize=_panels(len(predictions)), sharey=True, squeeze=False
    )
    for ax, (model, table) in zip(axes[0], predictions.items(), strict=True):
        ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        for name, color in manipulation_colors(fakes_in(table)).items():
            both = table[table["manipulation"].isin(["real", name])]
            false, true, _ = roc_curve(both["label"], both["probability"])
            ax.plot(false, true, color=color, label=name)
        title = MODEL_NAMES.get(model, model)
        ax.set(xlabel="false positive rate", title=title, xlim=(0, 1), ylim=(0, 1), box_aspect=1)
        ax.set(xticks=TICKS, yticks=TICKS)
    axes[0, 0].set_ylabel("true positive rate")
    legend_below(fig, axes[0])
    return fig


def _panels(number: int) -> tuple[float, float]:
    """Size of a figure with about square panels in a row, their labels, and a legend of two rows below."""
    width = WIDTH * (0.55 if number == 1 else 1)
    return width, width / number + 0.9


@figure
def reliability(predictions: Mapping[str, pd.DataFrame], bins: int = 10) -> Figure:
    """Share of fakes against the mean predicted probability, above the histogram of the predictions.

    On the diagonal a detector means what it says. As for the metrics, each manipulation is taken with all real images:
    how high its line lies also depends on how many images there are of either kind.

    Parameters
    ----------
    predictions : mapping of a detector to a table with manipulation, label, probability
    bins : int
        Of equal width on [0, 1].
    """
    width, height = _panels(len(predictions))
    fig, axes = plt.subplots(
        2,
        len(predictions),
        figsize=(width, height + 1.0),
        sharex=True,
        sharey="row",
        squeeze=False,
        height_ratios=[3, 1],
    )
    for (top, bottom), (model, table) in zip(axes.T, predictions.items(), strict=True):
        top.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        for name, color in manipulation_colors(fakes_in(table)).items():
            both = table[table["manipulation"].isin(["real", name])]
            share, mean = calibration_curve(both["label"], both["probability"], n_bins=bins)
            top.plot(mean, share, "o-", color=color, markersize=4, label=name)
        top.set(title=MODEL_NAMES.get(model, model), xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        top.set(xticks=TICKS, yticks=TICKS)
        for kind, rows in table.groupby(np.where(table["label"] == 1, "fake", "real")):
            weights = np.full(len(rows), 100 / len(rows))
            look = {
                "histtype": "stepfilled",
                "alpha": 0.35,
                "color": KIND_COLORS[kind],
                "label": KIND_NAMES[kind],
            }
            bottom.hist(rows["probability"], bins=bins, range=(0, 1), weights=weights, **look)
        bottom.set(xlabel="probability of being fake")
    axes[0, 0].set_ylabel("share of fakes")
    axes[1, 0].set_ylabel("images (%)")
    legend_below(fig, axes.flat)
    return fig


@figure
def auc_intervals(metrics: pd.DataFrame, level: str = "frame") -> Figure:
    """AUC with its interval; one row a manipulation, one mark a detector.

    Parameters
    ----------
    metrics : DataFrame
        As :func:`metrics.evaluate` returns it, with a column ``detector``.
    level : {"frame", "video"}
    """
    rows = metrics[(metrics["metric"] == "auc") & (metrics["level"] == level)]
    names, models = rows["manipulation"].unique().tolist(), rows["detector"].unique().tolist()
    fig, ax = plt.subplots(
        figsize=(WIDTH * 0.8, max(1.7, 0.8 + 0.14 * len(names) * (1 + len(models))))
    )
    for number, model in enumerate(models):
        table = rows[rows["detector"] == model]
        place = table["manipulation"].map(names.index) + 0.24 * (number - (len(models) - 1) / 2)
        color, marker = MODEL_COLORS.get(model, PALETTE[3]), MODEL_MARKERS.get(model, "v")
        ax.hlines(place, table["low"], table["high"], color=color)
        ax.plot(
            table["value"],
            place,
            marker,
            color=color,
            markersize=5,
            label=MODEL_NAMES.get(model, model),
        )
    ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":")
    lowest = np.nanmin(rows[["value", "low"]], initial=0.4)
    ax.set(xlabel="AUC with 95 % interval (dotted: chance)", xlim=(lowest - 0.03, 1.01))
    ax.set(
        ylabel="manipulation",
        yticks=range(len(names)),
        yticklabels=names,
        ylim=(len(names) - 0.5, -0.5),
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
