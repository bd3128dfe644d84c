"""Figures of map accuracy on images whose blur is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, NullFormatter, ScalarFormatter

from defocus_lib.analysis.map_accuracy import ERROR, SPEARMAN
from defocus_lib.figures.style import PALETTE, SIGMA_COLORS, WIDTH, figure, row_label, show_image
from defocus_lib.maps.presets import PRESETS

ESTIMATOR_LOOKS: dict[str, dict[str, Any]] = {
    "released": {"color": PALETTE[0], "marker": "o", "linestyle": ":"},
    "published": {"color": PALETTE[1], "marker": "s", "linestyle": "--"},
    "physical": {"color": PALETTE[2], "marker": "^", "linestyle": "-"},
    "learned": {"color": PALETTE[5], "marker": "P", "linestyle": "-"},
    "physical, guided": {"color": PALETTE[4], "marker": "D", "linestyle": "-."},
    "physical, closed form": {"color": PALETTE[3], "marker": "v", "linestyle": "-"},
    "constant mean": {"color": "0.6", "linestyle": "-", "linewidth": 1, "markersize": 0},
}
OTHER_LOOK: dict[str, Any] = {"color": "0.3", "marker": "X", "linestyle": "-."}
ERROR_SCALE: dict[str, Any] = {"cmap": "PuOr", "vmin": -3.0, "vmax": 3.0}  # px
TOP = 5.0  # px, of the scale that maps of several images share


@figure
def step_readings(table: pd.DataFrame) -> Figure:
    """Sigma read at steps over the true one: a panel per noise, a line per preset, bands of 80 %.

    ``table`` is that of :func:`map_accuracy.step_reading_table`; only its presets are drawn.
    """
    panels = list(table.groupby("noise", sort=False))
    size = (WIDTH, 2.6)
    fig, axes = plt.subplots(1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, (noise, part) in zip(axes[0], panels, strict=True):
        ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        for name in PRESETS:
            line = part[part["estimator"] == name]
            look = ESTIMATOR_LOOKS.get(name, OTHER_LOOK)
            band = (line["sigma"], line["low"], line["high"])
            ax.fill_between(*band, color=look["color"], alpha=0.2, linewidth=0)
            ax.plot(line["sigma"], line["median"], markersize=3.5, label=name, **look)
        ax.set(title=f"noise {noise:g}", xlabel="true sigma (px)", xticks=(0, 2, 4, 6, 8))
        ax.set(xlim=(0, None), ylim=(-0.2, None))
    axes[0, 0].set_ylabel("sigma read (px)")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig


@figure
def error_maps(rows: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """One row per scene: photograph, true sigma, estimate, and estimate less truth.

    ``rows`` have an image (H, W, 3) uint8, sigma (H, W) px, known (H, W) bool and an estimate (H,
    W) px by name. Where sigma is not known, its map and the error are left white.
    """
    fig = plt.figure(figsize=(WIDTH, 1.85 * len(rows) + 0.9))
    grid = fig.add_gridspec(len(rows) + 1, 4, height_ratios=[1] * len(rows) + [0.05])
    top = float(np.ceil(max(sigma.max() for _, sigma, *_ in rows.values())))
    sigmas: dict[str, Any] = {"cmap": SIGMA_COLORS, "vmin": 0, "vmax": top}
    titles = ["photograph", "true sigma", "estimate", "estimate less truth"]
    for place, (name, (image, sigma, known, estimate)) in enumerate(rows.items()):
        axes = [fig.add_subplot(grid[place, column]) for column in range(4)]
        show_image(axes[0], image)
        show_image(axes[1], np.where(known, sigma, np.nan), **sigmas)
        blur = show_image(axes[2], estimate, **sigmas)
        error = show_image(axes[3], np.where(known, estimate - sigma, np.nan), **ERROR_SCALE)
        row_label(axes[0], name)
        for ax, title in zip(axes, titles if place == 0 else [], strict=False):
            ax.set_title(title)
    for label, drawn, cell in (
        ("sigma (px)", blur, grid[-1, 1:3]),
        ("error (px)", error, grid[-1, 3]),
    ):
        extend = "both" if drawn is error else "neither"
        ax = fig.add_subplot(cell)
        fig.colorbar(drawn, cax=ax, orientation="horizontal", extend=extend, label=label)
    return fig


@figure
def border_profiles(profiles: pd.DataFrame) -> Figure:
    """Mean absolute error (px) over the distance from the border (px, the index)."""
    fig, ax = plt.subplots(figsize=(WIDTH, 2.8))
    for name, errors in profiles.items():
        look = ESTIMATOR_LOOKS.get(str(name), OTHER_LOOK) | {"marker": None}
        ax.plot(profiles.index, errors, label=name, **look)
    ax.axvspan(0, 5, color="0.92", zorder=0, label="outer 5 px")
    ax.set(xlabel="distance from the border (px)", ylabel="mean absolute error (px)")
    ax.set(xlim=(0, None), ylim=(0, None))
    ax.xaxis.set_major_locator(MultipleLocator(5))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


@figure
def influences(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Error (px) and rank correlation over an influence: one column per axis label of ``tables``.

    Each table is one of :func:`map_error_sources.table_by_level`: its first column is the level.
    The axis of factors is logarithmic.
    """
    size = (WIDTH, 4.4)
    fig, axes = plt.subplots(
        2, len(tables), figsize=size, sharex="col", sharey="row", squeeze=False
    )
    for column, (label, table) in zip(axes.T, tables.items(), strict=True):
        level = table.columns[0]
        for ax, measure in zip(column, (ERROR, SPEARMAN), strict=True):
            for name, line in table.groupby("estimator", sort=False):
                look = {"markersize": 4} | ESTIMATOR_LOOKS.get(str(name), OTHER_LOOK)
                ax.plot(line[level], line[measure], label=name, **look)
        if level == "factor":
            column[1].set_xscale("log", base=2)
            column[1].xaxis.set_major_formatter(ScalarFormatter())
            column[1].xaxis.set_minor_formatter(NullFormatter())
            column[1].set_xticks(sorted(table[level].unique()))
        column[1].set_xlabel(label)
        column[1].axhline(0, color="0.6", linewidth=1, zorder=0)
    axes[0, 0].set(ylabel="mean absolute error (px)", ylim=(0, None))
    axes[1, 0].set(ylabel="rank correlation with the truth")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig


@figure
def uncertainty_check(coverage: pd.DataFrame, kept: pd.DataFrame) -> Figure:
    """Observed over nominal coverage of intervals; error of the surest pixels over their share.

    From :func:`learned_accuracy.coverage_table` and :func:`learned_accuracy.surest_first`.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3))
    left.axline((50, 50), slope=1, color="0.6", linewidth=1, zorder=0)
    for (name, row), color, marker in zip(coverage.iterrows(), PALETTE, "osD^v", strict=False):
        left.plot(coverage.columns, row, color=color, marker=marker, markersize=4, label=name)
    left.set(xlabel="nominal coverage (%)", ylabel="observed coverage (%)")
    left.legend()
    for name, style in zip(kept, ("-", ":"), strict=True):
        right.plot(100 * kept.index, kept[name], style, color=PALETTE[2], label=name)
    right.set(xlabel="pixels kept, the surest first (%)", ylabel="mean absolute error (px)")
    right.set(ylim=(0, None))
    right.legend()
    return fig


@figure
def map_rows(rows: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]]) -> Figure:
    """One row per image: the photograph (H, W, 3) uint8, then its maps (H, W) px by title.

    All maps share one scale. Images may differ in shape; all have the same titles.
    """
    titles = ["photograph", *next(iter(rows.values()))[1]]
    heights = [WIDTH / len(titles) * image.shape[0] / image.shape[1] for image, _ in rows.values()]
    size = (WIDTH, sum(heights) + 0.9)
    shape = (len(rows), len(titles))
    fig, axes = plt.subplots(*shape, figsize=size, height_ratios=heights, squeeze=False)
    for row, (name, (image, maps)) in zip(axes, rows.items(), strict=True):
        show_image(row[0], image)
        row_label(row[0], name)
        for ax, values in zip(row[1:], maps.values(), strict=True):
            drawn = show_image(ax, values, cmap=SIGMA_COLORS, vmin=0, vmax=TOP)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)
    bar: dict[str, Any] = {"orientation": "horizontal", "aspect": 50, "pad": 0.03, "extend": "max"}
    fig.colorbar(drawn, ax=axes, label="sigma (px)", **bar)
    return fig
