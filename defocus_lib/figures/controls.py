"""Figures of notebooks 11 and 12: controls, transfer, and robustness to corruptions."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defocus_lib.figures.style import (
    MAP_COLORS,
    MODEL_COLORS,
    MODEL_MARKERS,
    MODEL_NAMES,
    PALETTE,
    SIGMA_COLORS,
    WIDTH,
    figure,
    show_image,
)

REFERENCE_LINE: dict[str, Any] = {"color": "0.6", "linewidth": 1, "linestyle": ":"}


@figure
def control_inputs(image: np.ndarray, inputs: Mapping[str, np.ndarray]) -> Figure:
    """A uint8 image ``(H, W, 3)`` and inputs by title, ``(H, W)`` in [0, 1] or images."""
    fig, axes = plt.subplots(1, 1 + len(inputs), figsize=(WIDTH * 1.1, 1.9))
    show_image(axes[0], image, "photograph")
    for ax, (title, values) in zip(axes[1:], inputs.items(), strict=True):
        show_image(ax, values, "\n".join(textwrap.wrap(title, 16)), cmap=MAP_COLORS, vmin=0, vmax=1)
    return fig


@figure
def control_auc(table: pd.DataFrame, by_seed: Mapping[str, np.ndarray], highlighted: str) -> Figure:
    """AUC of each input with its interval, and of each seed.

    ``table`` has value, low and high by title, from top to bottom; ``by_seed`` the ``(S,)`` AUC of
    its seeds. The highlighted title has a colour of its own.
    """
    fig, ax = plt.subplots(figsize=(WIDTH * 0.85, 0.9 + 0.3 * len(table)))
    for row, (title, value, low, high) in enumerate(
        table[["value", "low", "high"]].itertuples(name=None)
    ):
        color, seeds = PALETTE[2] if title == highlighted else PALETTE[7], by_seed[title]
        ax.hlines(row, low, high, color=color, linewidth=2)
        ax.plot(value, row, "o", color=color, markersize=6)
        ax.plot(seeds, np.full(len(seeds), row + 0.22), "|", color="0.35", markersize=5)
    ax.axvline(0.5, **REFERENCE_LINE)
    ax.set(xlabel="AUC (mean over seeds, 95 % interval)")
    ax.set(ylabel="input of the detector", yticks=range(len(table)), yticklabels=table.index)
    ax.set(ylim=(len(table) - 0.4, -0.6))
    return fig


@figure
def density_effects(table: pd.DataFrame) -> Figure:
    """Effect of manipulation on mean local variance, unadjusted and at equal edge density.

    ``table`` is that of :func:`defocus_lib.analysis.edge_density.effect_table`.
    """
    fig, ax = plt.subplots(figsize=(WIDTH * 0.75, 0.9 + 0.45 * len(table)))
    styles = {
        "alone": (-0.14, PALETTE[7], "s", "unadjusted"),
        "adjusted": (0.14, PALETTE[0], "o", "adjusted for edge density"),
    }
    for name, (shift, color, marker, label) in styles.items():
        rows, percent = np.arange(len(table)) + shift, 100 * table[name]
        ax.hlines(rows, percent["low"], percent["high"], color=color)
        ax.plot(percent["value"], rows, marker, color=color, markersize=5, label=label)
    ax.axvline(0, **REFERENCE_LINE)
    ax.set(xlabel="difference in local variance (% of the mean), 95 % interval")
    ax.set(ylabel="manipulation", yticks=range(len(table)), yticklabels=table.index)
    ax.set(ylim=(len(table) - 0.5, -0.5))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


@figure
def transfer_matrix(cells: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """AUC by training and test manipulation, as of :func:`defocus_lib.analysis.transfer.matrix`.

    One panel per input, in the order of the ``titles`` by input.
    """
    names = cells["test_manipulation"].drop_duplicates().tolist()
    size = (WIDTH * 1.1, 1.1 + 0.42 * len(names))
    fig, axes = plt.subplots(1, len(titles), figsize=size, sharey=True, squeeze=False)
    for ax, (name, title) in zip(axes[0], titles.items(), strict=True):
        square = cells[cells["input"] == name].pivot(
            index="training_manipulation", columns="test_manipulation", values="value"
        )
        colors = {"cmap": "vlag", "vmin": 0, "vmax": 1, "cbar": False}
        sns.heatmap(
            square.reindex(names)[names], ax=ax, annot=True, fmt=".2f", square=True, **colors
        )
        ax.set(title=title, xlabel="tested on", ylabel="trained on" if ax is axes[0, 0] else "")
        ax.tick_params(axis="x", rotation=40)
        plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
        ax.tick_params(axis="y", rotation=0)
    return fig


@figure
def robustness_curves(
    curves: pd.DataFrame, axes_of: Mapping[str, str], by: str = "frame"
) -> Figure:
    """AUC over the level of each corruption, with a 95 % band; one line per detector.

    ``curves`` are those of :func:`defocus_lib.analysis.transfer.robustness`; ``axes_of`` maps each
    corruption to the label of its axis; ``by`` is "frame" or "video".
    """
    rows, size = curves[curves["by"] == by], (WIDTH * 1.15, 2.4)
    fig, axes = plt.subplots(1, len(axes_of), figsize=size, sharey=True, squeeze=False)
    for ax, (name, label) in zip(axes[0], axes_of.items(), strict=True):
        for detector, table in rows[rows["corruption"] == name].groupby("detector", sort=False):
            _curve(ax, table, str(detector))
        ax.axhline(0.5, **REFERENCE_LINE)
        ax.set(xlabel=label, ylabel="AUC" if ax is axes[0, 0] else "")
    handles = axes[0, 0].get_legend_handles_labels()
    fig.legend(*handles, loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3)
    return fig


def _curve(ax: Axes, table: pd.DataFrame, detector: str) -> None:
    """Levels are spaced evenly, whatever their numbers."""
    color, place = MODEL_COLORS.get(detector, PALETTE[3]), np.arange(len(table))
    look = {"color": color, "marker": MODEL_MARKERS.get(detector, "v"), "markersize": 4}
    ax.fill_between(place, table["low"], table["high"], color=color, alpha=0.2, linewidth=0)
    ax.plot(place, table["value"], label=MODEL_NAMES.get(detector, detector), **look)
    ax.set(xticks=place, xticklabels=[f"{level:g}" for level in table["level"]])


@figure
def corrupted_pair(
    images: np.ndarray, dense: np.ndarray, names: Sequence[str], title: str
) -> Figure:
    """Named images ``(N, H, W, 3)`` uint8, each above its map ``(N, H, W)`` in px."""
    fig, axes = plt.subplots(2, len(images), figsize=(1.9 * len(images) + 0.6, 4.1), squeeze=False)
    scale: dict[str, Any] = {"cmap": SIGMA_COLORS, "vmin": 0, "vmax": max(1.0, float(dense.max()))}
    for column, image, values, name in zip(axes.T, images, dense, names, strict=True):
        show_image(column[0], image, name)
        shown = show_image(column[1], values, **scale)
    fig.colorbar(shown, ax=axes, label="sigma (px)", shrink=0.5)
    fig.suptitle(title, x=0.45)
    return fig
