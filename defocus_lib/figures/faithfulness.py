"""Figures of the error, the sanity checks and the baselines of Shapley values (page 13)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from defocus_lib.analysis.alignment import BASELINES, LEFT_OUT
from defocus_lib.analysis.sanity_checks import ORDERS
from defocus_lib.figures.style import (
    MODEL_COLORS,
    MODEL_MARKERS,
    MODEL_NAMES,
    PALETTE,
    WIDTH,
    figure,
    show_image,
    symmetric_limit,
)

METHOD_LOOKS = {
    "random": {"color": PALETTE[1], "marker": "^", "linestyle": "--"},
    "stratified": {"color": PALETTE[0], "marker": "o", "linestyle": "-"},
    "interpolated": {"color": PALETTE[2], "marker": "s", "linestyle": "-."},
}
ERRORS = {
    "pixels": "relative error, pixels",
    "blocks": "relative error, blocks",
    "completeness error": "completeness error",
}
ORDER_LOOKS = {
    "own": {"color": PALETTE[0], "linestyle": "-"},
    "other": {"color": PALETTE[1], "linestyle": "--"},
    "random": {"color": PALETTE[7], "linestyle": ":"},
}


@figure
def sampling_errors(summary: pd.DataFrame, n_samples: int) -> Figure:
    """Errors over the number of samples, one line per method and one row per detector.

    ``summary`` is what :func:`faithfulness.error_summary` returns; a vertical line marks the
    ``n_samples`` of the saved values.
    """
    detectors = summary.index.unique("detector")
    size = (WIDTH, 2.2 * len(detectors) + 0.5)
    fig, axes = plt.subplots(len(detectors), len(ERRORS), figsize=size, sharex=True, squeeze=False)
    saved = {"color": "0.5", "linewidth": 1, "linestyle": ":"}
    for row, detector in zip(axes, detectors, strict=True):
        for ax, (column, title) in zip(row, ERRORS.items(), strict=True):
            for method, look in METHOD_LOOKS.items():
                line = summary.loc[(detector, method), column]
                ax.plot(line.index, line, markersize=4, label=method, **look)
            ax.axvline(n_samples, label=f"saved values ({n_samples} samples)", **saved)
            ax.set(xscale="log", yscale="log", title=title if ax in axes[0] else "")
            _plain_ticks(ax, line.index)
        row[0].set_ylabel(f"{MODEL_NAMES.get(detector, detector)}\nshare (no unit)")
    for ax in axes[-1]:
        ax.set_xlabel("samples per image")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


def _plain_ticks(ax: Axes, counts: pd.Index) -> None:
    """Ticks where something was measured, and errors without powers of ten."""
    ax.set_xticks(counts, [str(count) for count in counts])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.minorticks_off()
    low, high = ax.get_ylim()
    marks = [mark for mark in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3) if low <= mark <= high]
    if len(marks) > 1:
        ax.set_yticks(marks)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


@figure
def two_seeds(first: np.ndarray, second: np.ndarray, correlation: float, title: str = "") -> Figure:
    """Shapley values (H, W) of one image from two seeds, and one against the other pixel by pixel.

    ``correlation`` is Spearman's between the two, ``title`` names the image and the number of
    samples.
    """
    fig, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.5))
    limit, exponent = symmetric_limit(np.stack([first, second]))
    scaled = [values / 10.0**exponent for values in (first, second)]
    for ax, values, name in zip(axes, scaled, ("one seed", "another seed"), strict=False):
        shown = show_image(ax, values, name, cmap="seismic", vmin=-limit, vmax=limit)
    unit = f"$10^{{{exponent}}}$ logits per pixel"
    fig.colorbar(shown, ax=axes[:2], shrink=0.75, aspect=16, extend="both").set_label(unit)
    axes[2].axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
    dots = {"color": PALETTE[0], "alpha": 0.25, "linewidths": 0, "rasterized": True}
    axes[2].scatter(*scaled, s=2, **dots)
    axes[2].set(xlim=(-limit, limit), ylim=(-limit, limit), box_aspect=1)
    axes[2].set(xlabel=f"one seed ({unit})", ylabel="another seed")
    axes[2].set(title=f"rank correlation {correlation:.2f}")
    fig.suptitle(title, fontsize=9)
    return fig


@figure
def randomisation_curves(
    tables: Mapping[str, pd.DataFrame], repeats: Mapping[str, pd.DataFrame]
) -> Figure:
    """Correlation with the trained detector's values while weights become random, by detector.

    ``tables`` are :func:`sanity_checks.randomisation`, ``repeats`` are
    :func:`faithfulness.repeat_table` of two seeds, drawn as dotted lines, each by detector.
    """
    fig, axes = plt.subplots(1, len(tables), figsize=(WIDTH, 3.0), sharey=True, squeeze=False)
    looks = {"values": ("-", "o", PALETTE[0]), "magnitudes": ("--", "s", PALETTE[1])}
    for ax, (detector, table) in zip(axes[0], tables.items(), strict=True):
        for column, (line, marker, color) in looks.items():
            for _, image in table.groupby("image"):
                ax.plot(image["randomised"], image[column], color=color, linewidth=0.6, alpha=0.4)
            mean = table.groupby("randomised")[column].mean()
            look = {"marker": marker, "markersize": 4, "color": color, "label": column}
            ax.plot(mean.index, mean, line, **look)
            dotted = {"color": color, "linewidth": 1, "linestyle": ":"}
            level = repeats[detector][column].mean()
            ax.axhline(level, label=f"another seed, {column}", **dotted)
        ax.axhline(0, color="0.6", linewidth=1, zorder=0)
        ax.set_title(MODEL_NAMES.get(detector, detector))
        ax.set_xlabel("layers with random weights, from the output")
        ax.xaxis.set_major_formatter(PercentFormatter(1))
    axes[0, 0].set_ylabel("rank correlation (no unit)")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


@figure
def removal_curves(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Mean logit while blocks are replaced, of each detector's :func:`sanity_checks.removal_table`.

    One row per detector, deletion on the left, insertion on the right.
    """
    size = (WIDTH, 2.3 * len(tables) + 0.5)
    fig, axes = plt.subplots(len(tables), 2, figsize=size, sharex=True, sharey="row", squeeze=False)
    titles = {
        "deletion": "background in place of the image",
        "insertion": "image in place of the background",
    }
    for row, (detector, table) in zip(axes, tables.items(), strict=True):
        for ax, (curve, title) in zip(row, titles.items(), strict=True):
            part = table[table["curve"] == curve]
            for order, look in ORDER_LOOKS.items():
                mean = part[part["order"] == order].groupby("share")["logit"].mean()
                ax.plot(mean.index, mean, label=ORDERS[order], **look)
            ax.set_title(f"{curve}: {title}" if ax in axes[0] else "")
            ax.xaxis.set_major_formatter(PercentFormatter(1))
        row[0].set_ylabel(f"{MODEL_NAMES.get(detector, detector)}\nmean logit")
    for ax in axes[-1]:
        ax.set_xlabel("part replaced, the highest values first")
    legend = {"loc": "outside lower center", "ncols": 3, "title": "order of the blocks"}
    fig.legend(*axes[0, 0].get_legend_handles_labels(), **legend)
    return fig


@figure
def baseline_differences(compared: pd.DataFrame) -> Figure:
    """Alignment score less that of each baseline, with its interval, one panel per choice of bins.

    ``compared`` is what :func:`alignment.compare_with_baselines` returns.
    """
    models = compared["model"].unique().tolist()
    fig, axes = plt.subplots(1, len(LEFT_OUT), figsize=(WIDTH, 2.7), sharex=True, sharey=True)
    for ax, (left_out, title) in zip(axes, LEFT_OUT.items(), strict=True):
        for number, model in enumerate(models):
            rows = compared[(compared["left out"] == left_out) & (compared["model"] == model)]
            shift = 0.26 * (number - (len(models) - 1) / 2)
            place = rows["baseline"].map(BASELINES.index) + shift
            color = MODEL_COLORS.get(model, PALETTE[3])
            ax.hlines(place, rows["low"], rows["high"], color=color)
            look = {"color": color, "markersize": 5, "label": MODEL_NAMES.get(model, model)}
            ax.plot(rows["difference"], place, MODEL_MARKERS.get(model, "v"), **look)
        ax.axvline(0, color="0.5", linewidth=1, linestyle=":", zorder=0)
        ax.set(title=title, yticks=range(len(BASELINES)), yticklabels=BASELINES)
        ax.set_ylim(len(BASELINES) - 0.5, -0.5)
    axes[0].set_ylabel("baseline")
    fig.supxlabel("score less that of the baseline, with 95 % interval (no unit)", fontsize=9)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(models))
    sns.despine(fig)
    return fig
