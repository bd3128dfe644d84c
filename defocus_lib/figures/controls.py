"""Figures of notebooks 11 and 12: the controls, the matrix of manipulations, and the robustness curves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

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


@figure
def control_inputs(image: np.ndarray, inputs: Mapping[str, np.ndarray]) -> Figure:
    """One image and what detectors read of it.

    Parameters
    ----------
    image : (H, W, 3) uint8
    inputs : mapping of title to (H, W) in [0, 1], or (H, W, 3)
    """
    fig, axes = plt.subplots(1, 1 + len(inputs), figsize=(WIDTH * 1.1, 1.9))
    show_image(axes[0], image, "photograph")
    for ax, (title, values) in zip(axes[1:], inputs.items(), strict=True):
        show_image(ax, values, "\n".join(textwrap.wrap(title, 16)), cmap=MAP_COLORS, vmin=0, vmax=1)
    return fig


@figure
def control_auc(table: pd.DataFrame, by_seed: Mapping[str, np.ndarray], highlighted: str) -> Figure:
    """AUC of each control with its interval, and of each of its seeds.

    Parameters
    ----------
    table : DataFrame
        Index title; value, low, high, from top to bottom.
    by_seed : mapping of title to (S,)
    highlighted : str
        The title in another colour.
    """
    fig, ax = plt.subplots(figsize=(WIDTH * 0.85, 0.9 + 0.3 * len(table)))
    for place, (title, row) in enumerate(table.iterrows()):
        color = PALETTE[2] if title == highlighted else PALETTE[7]
        ax.hlines(place, row["low"], row["high"], color=color, linewidth=2)
        ax.plot(row["value"], place, "o", color=color, markersize=6)
        ax.plot(
            by_seed[title],
            np.full(len(by_seed[title]), place + 0.22),
            "|",
            color="0.35",
            markersize=5,
        )
    ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":")
    ax.set(xlabel="AUC: mean over seeds with 95 % interval (dotted: chance; ticks: single seeds)")
    ax.set(ylabel="input of the detector", yticks=range(len(table)), yticklabels=table.index)
    ax.set(ylim=(len(table) - 0.4, -0.6))
    return fig


@figure
def density_effects(table: pd.DataFrame) -> Figure:
    """Effect of manipulation on mean local variance, as it is and with edge density taken out.

    Parameters
    ----------
    table : DataFrame
        Index manipulation; columns ``(alone or adjusted, value, low or high)``, as shares of the mean.
    """
    fig, ax = plt.subplots(figsize=(WIDTH * 0.75, 0.9 + 0.45 * len(table)))
    looks = {
        "alone": (PALETTE[7], "s", "as it is"),
        "adjusted": (PALETTE[0], "o", "edge density taken out"),
    }
    for shift, (name, (color, marker, label)) in zip((-0.14, 0.14), looks.items(), strict=True):
        place = np.arange(len(table)) + shift
        ax.hlines(place, 100 * table[name, "low"], 100 * table[name, "high"], color=color)
        ax.plot(100 * table[name, "value"], place, marker, color=color, markersize=5, label=label)
    ax.axvline(0, color="0.6", linewidth=1, linestyle=":")
    ax.set(xlabel="manipulated minus real mean local variance (% of the mean), 95 % interval")
    ax.set(
        ylabel="manipulation",
        yticks=range(len(table)),
        yticklabels=table.index,
        ylim=(len(table) - 0.5, -0.5),
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


@figure
def transfer_matrix(matrix: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """AUC by what was learned and what was tested; one panel an input.

    Parameters
    ----------
    matrix : DataFrame
        As :func:`generalisation.matrix` returns it.
    titles : mapping
        Control -> title of its panel, in order.
    """
    cells = matrix[matrix["training_manipulation"] != "each"]
    names = cells["test_manipulation"].drop_duplicates().tolist()
    fig, axes = plt.subplots(
        1, len(titles), figsize=(WIDTH * 1.1, 1.1 + 0.42 * len(names)), sharey=True, squeeze=False
    )
    for ax, (control, title) in zip(axes[0], titles.items(), strict=True):
        rows = cells[cells["input"] == control]
        wide = rows.pivot(
            index="training_manipulation", columns="test_manipulation", values="value"
        ).reindex(index=names, columns=names)
        sns.heatmap(
            wide, ax=ax, annot=True, fmt=".2f", cmap="vlag", vmin=0, vmax=1, cbar=False, square=True
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
    """AUC over the strength of each corruption; one line a detector, with its 95 % interval as a band.

    Parameters
    ----------
    curves : DataFrame
        As :func:`generalisation.robustness` returns it.
    axes_of : mapping
        Corruption -> label of its axis.
    by : {"frame", "video"}
    """
    rows = curves[curves["by"] == by]
    fig, axes = plt.subplots(
        1, len(axes_of), figsize=(WIDTH * 1.15, 2.4), sharey=True, squeeze=False
    )
    for ax, (name, label) in zip(axes[0], axes_of.items(), strict=True):
        for detector, table in rows[rows["corruption"] == name].groupby("detector", sort=False):
            _curve(ax, table, detector)
        ax.axhline(0.5, color="0.6", linewidth=1, linestyle=":")
        ax.set(xlabel=label, ylabel="AUC" if ax is axes[0, 0] else "")
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="lower center",
        bbox_to_anchor=(0.5, 0.98),
        ncols=3,
    )
    return fig


@figure
def corrupted_pair(
    images: np.ndarray, dense: np.ndarray, names: Sequence[str], title: str
) -> Figure:
    """Images side by side, and below them their maps, all on one scale.

    Parameters
    ----------
    images : (N, H, W, 3) uint8
    dense : (N, H, W) float
        In px.
    names : sequence of N str
    title : str
    """
    fig, axes = plt.subplots(2, len(images), figsize=(1.9 * len(images) + 0.6, 4.1), squeeze=False)
    for ax, image, name in zip(axes[0], images, names, strict=True):
        show_image(ax, image, name)
    for ax, values in zip(axes[1], dense, strict=True):
        shown = show_image(ax, values, cmap=SIGMA_COLORS, vmin=0, vmax=max(1.0, float(dense.max())))
    fig.colorbar(shown, ax=axes, label="sigma (px)", shrink=0.5)
    fig.suptitle(title, x=0.45)
    return fig


def _curve(ax: Axes, table: pd.DataFrame, detector: str) -> None:
    """Levels stand side by side, evenly: their numbers are their names."""
    color, place = MODEL_COLORS.get(detector, PALETTE[3]), np.arange(len(table))
    ax.fill_between(place, table["low"], table["high"], color=color, alpha=0.2, linewidth=0)
    marker = MODEL_MARKERS.get(detector, "v")
    ax.plot(
        place,
        table["value"],
        marker=marker,
        color=color,
        markersize=4,
        label=MODEL_NAMES.get(detector, detector),
    )
    ax.set(xticks=place, xticklabels=[f"{level:g}" for level in table["level"]])
