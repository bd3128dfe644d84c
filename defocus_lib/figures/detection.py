"""Figures of training and test of the detectors (page 03).

``predictions`` maps the name of a detector to a table with manipulation, label (1 = fake) and
probability, one row per image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

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

SCORES = {"val_auc": ("AUC", "-"), "val_accuracy": ("accuracy", ":")}  # column: name, line


@figure
def preview(
    images: np.ndarray, maps: np.ndarray, labels: np.ndarray, probabilities: np.ndarray
) -> Figure:
    """Photographs (N, H, W, 3) uint8 beside maps (N, H, W) in [0, 1], with label and prediction."""
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

    A history has epoch (from 0) and any of train_loss, val_loss, val_auc, val_accuracy; columns
    that are missing or NaN are left out.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.6))
    shown = [score for score in SCORES if any(score in table for table in histories.values())]
    shown = shown or ["val_auc"]
    for name, history in histories.items():
        color = MODEL_COLORS.get(name, PALETTE[3])
        for column, line, split in (
            ("train_loss", "-", "training"),
            ("val_loss", "--", "validation"),
        ):
            _draw_history(left, history, column, line, color=color, label=f"{name}, {split}")
        for score in shown:
            label = name if len(shown) == 1 else f"{name}, {SCORES[score][0]}"
            _draw_history(right, history, score, SCORES[score][1], color=color, label=label)
    left.set(xlabel="epoch", ylabel="cross-entropy (nats)")
    score_name = f"validation {SCORES[shown[0]][0]}" if len(shown) == 1 else "score on validation"
    lowest = min([0.5, *(line.get_ydata().min() for line in right.lines)])
    right.set(xlabel="epoch", ylabel=score_name, ylim=(lowest - 0.05, 1.01))
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        if ax.lines:
            ax.legend()
    return fig


def _draw_history(ax: Axes, history: pd.DataFrame, column: str, line: str, **look: Any) -> None:
    if column in history and history[column].notna().any():
        known = history.dropna(subset=[column])
        ax.plot(known["epoch"] + 1, known[column], line, marker="o", markersize=3, **look)


@figure
def roc_curves(predictions: Mapping[str, pd.DataFrame]) -> Figure:
    """Receiver operating characteristic of each detector; one line per manipulation."""
    size = _panels(len(predictions))
    fig, axes = plt.subplots(1, len(predictions), figsize=size, sharey=True, squeeze=False)
    for ax, (model, table) in zip(axes[0], predictions.items(), strict=True):
        ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        for name, color, rows in _by_manipulation(table):
            false, true, _ = roc_curve(rows["label"], rows["probability"])
            ax.plot(false, true, color=color, label=name)
        title = MODEL_NAMES.get(model, model)
        ax.set(xlabel="false positive rate", title=title, xlim=(0, 1), ylim=(0, 1), box_aspect=1)
        ax.set(xticks=TICKS, yticks=TICKS)
    axes[0, 0].set_ylabel("true positive rate")
    legend_below(fig, axes[0])
    return fig


def _by_manipulation(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Name, colour, and rows of each manipulation with all real images."""
    for name, color in manipulation_colors(fakes_in(table)).items():
        yield name, color, table[table["manipulation"].isin(["real", name])]


def _panels(number: int) -> tuple[float, float]:
    """Size of a figure of square panels in a row, with labels and a legend of two rows below."""
    width = WIDTH * (0.55 if number == 1 else 1)
    return width, width / number + 0.9


@figure
def reliability(predictions: Mapping[str, pd.DataFrame], bins: int = 10) -> Figure:
    """Share of fakes against the mean predicted probability, above the histogram of predictions.

    A calibrated detector lies on the diagonal. Each manipulation is taken with all real images, so
    the height of its line also depends on the numbers of images of either kind.
    """
    width, height = _panels(len(predictions))
    grid: Any = {"sharex": True, "sharey": "row", "squeeze": False, "height_ratios": [3, 1]}
    fig, axes = plt.subplots(2, len(predictions), figsize=(width, height + 1.0), **grid)
    for (top, bottom), (model, table) in zip(axes.T, predictions.items(), strict=True):
        top.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        for name, color, rows in _by_manipulation(table):
            share, mean = calibration_curve(rows["label"], rows["probability"], n_bins=bins)
            top.plot(mean, share, "o-", color=color, markersize=4, label=name)
        top.set(title=MODEL_NAMES.get(model, model), xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        top.set(xticks=TICKS, yticks=TICKS)
        for kind, rows in table.groupby(np.where(table["label"] == 1, "fake", "real")):
            weights = np.full(len(rows), 100 / len(rows))
            look = {"histtype": "stepfilled", "alpha": 0.35, "color": KIND_COLORS[kind]}
            look |= {"label": KIND_NAMES[kind], "weights": weights}
            bottom.hist(rows["probability"], bins=bins, range=(0, 1), **look)
        bottom.set(xlabel="probability of being fake")
    axes[0, 0].set_ylabel("share of fakes")
    axes[1, 0].set_ylabel("images (%)")
    legend_below(fig, axes.flat)
    return fig


@figure
def auc_intervals(metrics: pd.DataFrame, level: str = "frame") -> Figure:
    """AUC with its interval; one row per manipulation, one mark per detector.

    ``metrics`` is a table of :func:`defocus_lib.stats.classification.evaluate` with a column
    ``detector``; ``level`` is "frame" or "video".
    """
    rows = metrics[(metrics["metric"] == "auc") & (metrics["level"] == level)]
    names, models = rows["manipulation"].unique().tolist(), rows["detector"].unique().tolist()
    height = max(1.7, 0.8 + 0.14 * len(names) * (1 + len(models)))
    fig, ax = plt.subplots(figsize=(WIDTH * 0.8, height))
    for number, model in enumerate(models):
        table = rows[rows["detector"] == model]
        place = table["manipulation"].map(names.index) + 0.24 * (number - (len(models) - 1) / 2)
        color, marker = MODEL_COLORS.get(model, PALETTE[3]), MODEL_MARKERS.get(model, "v")
        label = MODEL_NAMES.get(model, model)
        ax.hlines(place, table["low"], table["high"], color=color)
        ax.plot(table["value"], place, marker, color=color, markersize=5, label=label)
    ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":")
    lowest = np.nanmin(rows[["value", "low"]], initial=0.4)
    ax.set(xlabel="AUC with 95 % interval (dotted: chance)", xlim=(lowest - 0.03, 1.01))
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    ax.set_ylabel("manipulation")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
