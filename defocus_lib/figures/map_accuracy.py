"""Figures of how good a map is where the blur is known. In the style of :mod:`defocus_lib.figures.style`."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, NullFormatter, ScalarFormatter

from defocus_lib.figures.style import PALETTE, SIGMA_COLORS, WIDTH, figure, row_label, show_image
from defocus_lib.maps.presets import PRESETS

ESTIMATOR_LOOKS = {
    "released": {"color": PALETTE[0], "marker": "o", "linestyle": ":"},
    "published": {"color": PALETTE[1], "marker": "s", "linestyle": "--"},
    "physical": {"color": PALETTE[2], "marker": "^", "linestyle": "-"},
    "learned": {"color": PALETTE[5], "marker": "P", "linestyle": "-"},
    "physical, guided": {"color": PALETTE[4], "marker": "D", "linestyle": "-."},
    "physical, closed form": {"color": PALETTE[3], "marker": "v", "linestyle": "-"},
    "constant mean": {"color": "0.6", "linestyle": "-", "linewidth": 1, "markersize": 0},
}
ERROR_COLORS = "PuOr"
ERROR_LIMIT = 3.0  # px


@figure
def step_readings(table: pd.DataFrame) -> Figure:
    """Sigma read at blurred steps against the true one: one panel a noise level, one line a preset, bands of 80 %.

    Parameters
    ----------
    table : DataFrame
        As :func:`known_blur.step_reading_table` returns it; only its presets are drawn.
    """
    noises = table["noise"].unique()
    fig, axes = plt.subplots(
        1, len(noises), figsize=(WIDTH, 2.6), sharex=True, sharey=True, squeeze=False
    )
    for ax, (noise, part) in zip(axes[0], table.groupby("noise", sort=False), strict=True):
        ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        for name in PRESETS:
            line = part[part["estimator"] == name]
            look = ESTIMATOR_LOOKS[name]
            ax.fill_between(
                line["sigma"],
                line["low"],
                line["high"],
                color=look["color"],
                alpha=0.2,
                linewidth=0,
            )
            ax.plot(line["sigma"], line["median"], markersize=3.5, label=name, **look)
        ax.set(
            title=f"noise {noise:g}",
            xlabel="true sigma (px)",
            xlim=(0, None),
            ylim=(-0.2, None),
            xticks=(0, 2, 4, 6, 8),
        )
    axes[0, 0].set_ylabel("sigma read (px)")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig


@figure
def error_maps(rows: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """One row a scene: photograph, true sigma, estimate, and estimate less truth.

    Parameters
    ----------
    rows : mapping of a name to (image (H, W, 3) uint8, sigma (H, W) px, known (H, W) bool, estimate (H, W) px)
        Where sigma is not known, its map and the error are left white.
    """
    fig = plt.figure(figsize=(WIDTH, 1.85 * len(rows) + 0.9))
    grid = fig.add_gridspec(len(rows) + 1, 4, height_ratios=[1] * len(rows) + [0.05])
    axes = [[fig.add_subplot(grid[row, column]) for column in range(4)] for row in range(len(rows))]
    top = float(np.ceil(max(sigma.max() for _, sigma, *_ in rows.values())))
    sigmas, errors = {"cmap": SIGMA_COLORS, "vmin": 0, "vmax": top}, {"cmap": ERROR_COLORS}
    errors |= {"vmin": -ERROR_LIMIT, "vmax": ERROR_LIMIT}
    titles = ("photograph", "true sigma", "estimate", "estimate less truth")
    for row, (name, (image, sigma, known, estimate)) in zip(axes, rows.items(), strict=True):
        shown = titles if row is axes[0] else [""] * 4
        show_image(row[0], image, shown[0])
        show_image(row[1], np.where(known, sigma, np.nan), shown[1], **sigmas)
        blur = show_image(row[2], estimate, shown[2], **sigmas)
        error = show_image(row[3], np.where(known, estimate - sigma, np.nan), shown[3], **errors)
        row_label(row[0], name)
    bars = {
        "sigma (px)": (blur, grid[-1, 1:3], "neither"),
        "error (px)": (error, grid[-1, 3], "both"),
    }
    for label, (drawn, place, extend) in bars.items():
        fig.colorbar(
            drawn, cax=fig.add_subplot(place), orientation="horizontal", extend=extend
        ).set_label(label)
    return fig


@figure
def border_profiles(profiles: pd.DataFrame) -> Figure:
    """Mean absolute error over the distance from the image's border.

    Parameters
    ----------
    profiles : DataFrame
        One row a distance in px, one column an estimator, px.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 2.8))
    for name in profiles:
        ax.plot(
            profiles.index, profiles[name], label=name, **ESTIMATOR_LOOKS[name] | {"marker": None}
        )
    ax.axvspan(0, 5, color="0.92", zorder=0, label="outer 5 px")
    ax.set(
        xlabel="distance from the border (px)",
        ylabel="mean absolute error (px)",
        xlim=(0, None),
        ylim=(0, None),
    )
    ax.xaxis.set_major_locator(MultipleLocator(5))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


@figure
def influences(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Error (px) and rank correlation of the presets over what is changed: one column a change.

    Parameters
    ----------
    tables : mapping of an axis label to a table
        As :func:`map_quality.jpeg_table` and :func:`map_quality.resize_table` return them: the first column is what is
        changed. The axis of factors is logarithmic.
    """
    fig, axes = plt.subplots(
        2, len(tables), figsize=(WIDTH, 4.4), sharex="col", sharey="row", squeeze=False
    )
    for column, (label, table) in zip(axes.T, tables.items(), strict=True):
        what = table.columns[0]
        for ax, measure in zip(column, ("error (px)", "Spearman"), strict=True):
            for name, line in table.groupby("estimator", sort=False):
                ax.plot(
                    line[what],
                    line[measure],
                    label=name,
                    **{"markersize": 4} | ESTIMATOR_LOOKS[name],
                )
        if what == "factor":
            column[1].set_xscale("log", base=2)
            column[1].xaxis.set_major_formatter(ScalarFormatter())
            column[1].xaxis.set_minor_formatter(NullFormatter())
            column[1].set_xticks(sorted(table[what].unique()))
        column[1].set_xlabel(label)
        column[1].axhline(0, color="0.6", linewidth=1, zorder=0)
    axes[0, 0].set(ylabel="mean absolute error (px)", ylim=(0, None))
    axes[1, 0].set(ylabel="rank correlation with the truth")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig


@figure
def uncertainty_check(coverage: pd.DataFrame, kept: pd.DataFrame) -> Figure:
    """Left: the share of the truth that intervals hold, against what they are to hold. Right: the error of the surest.

    Parameters
    ----------
    coverage : DataFrame
        As :func:`learned_quality.coverage_table` returns it.
    kept : DataFrame
        As :func:`learned_quality.surest_first` returns it.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3))
    left.axline((50, 50), slope=1, color="0.6", linewidth=1, zorder=0)
    for (name, row), color, marker in zip(coverage.iterrows(), PALETTE, "osD^v", strict=False):
        left.plot(coverage.columns, row, color=color, marker=marker, markersize=4, label=name)
    left.set(xlabel="nominal share in the interval (%)", ylabel="truth in the interval (%)")
    left.legend()
    for name, style in zip(kept, ("-", ":"), strict=True):
        right.plot(100 * kept.index, kept[name], style, color=PALETTE[2], label=name)
    right.set(
        xlabel="pixels kept, the surest first (%)",
        ylabel="mean absolute error (px)",
        ylim=(0, None),
    )
    right.legend()
    return fig


@figure
def map_rows(rows: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]]) -> Figure:
    """One row an image: the photograph, then maps in px on one scale. Images may differ in shape.

    Parameters
    ----------
    rows : mapping of a name to (image (H, W, 3) uint8, maps)
        Maps: mapping of a title to (H, W) float in px; the same titles in each row.
    """
    titles = list(next(iter(rows.values()))[1])
    columns, shapes = (
        1 + len(titles),
        [image.shape[0] / image.shape[1] for image, _ in rows.values()],
    )
    heights = [WIDTH / columns * shape for shape in shapes]
    fig, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(WIDTH, sum(heights) + 0.9),
        height_ratios=heights,
        squeeze=False,
    )
    for row, (name, (image, maps)) in zip(axes, rows.items(), strict=True):
        shown = ["photograph", *titles] if name == next(iter(rows)) else [""] * columns
        show_image(row[0], image, shown[0])
        row_label(row[0], name)
        for ax, title, values in zip(row[1:], shown[1:], maps.values(), strict=True):
            drawn = show_image(ax, values, title, cmap=SIGMA_COLORS, vmin=0, vmax=TOP)
    fig.colorbar(
        drawn, ax=axes, orientation="horizontal", aspect=50, pad=0.03, extend="max"
    ).set_label("px")
    return fig


TOP = 5.0  # px, of the scale that maps of several images share
