"""Figures of the contrast of blur (page 06b)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from defocus_lib.analysis.blur_statistics import SCALES, STATISTICS
from defocus_lib.data.records import REAL
from defocus_lib.figures.style import (
    PALETTE,
    SIGMA_COLORS,
    WIDTH,
    figure,
    legend_below,
    manipulation_colors,
    outline,
    row_label,
    show_image,
)

REAL_COLOR = PALETTE[7]
SCALE_LOOKS = {"px": {"marker": "o"}, "min-max": {"marker": "s", "markerfacecolor": "white"}}
FORM_LOOKS = {"rectangle": {"marker": "s"}, "ellipse": {"marker": "o", "linestyle": "--"}}


@figure
def regions_on_maps(
    images: np.ndarray, maps: Mapping[str, np.ndarray], regions: np.ndarray, names: Sequence[str]
) -> Figure:
    """A real image, a manipulated one below it, and their maps with the region outlined.

    ``images`` (2, H, W, 3) uint8; ``maps`` (2, H, W) in px by preset; ``regions`` (2, H, W) bool;
    ``names`` of the two rows. Below each map stands its contrast.
    """
    fig, axes = plt.subplots(2, 1 + len(maps), figsize=(WIDTH * 1.15, 3.4), squeeze=False)
    top = max(1.0, *(float(values.max()) for values in maps.values()))
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        show_image(axes[row, 0], image)
        row_label(axes[row, 0], name)
        for ax, values in zip(axes[row, 1:], maps.values(), strict=True):
            shown = show_image(ax, values[row], cmap=SIGMA_COLORS, vmin=0, vmax=top)
            inside = regions[row]
            ax.set_xlabel(f"{values[row][inside].mean() - values[row][~inside].mean():+.2f} px")
        for ax in axes[row]:
            outline(ax, regions[row], PALETTE[9])
    for ax, title in zip(axes[0], ["photograph", *maps], strict=True):
        ax.set_title(title)
    fig.colorbar(shown, ax=axes, label="sigma (px)", shrink=0.7)
    return fig


@figure
def distributions(measured: Mapping[str, pd.DataFrame]) -> Figure:
    """Contrast in px of the images of each kind: one panel per preset, the real ones at the top.

    ``measured`` has, by preset, what :func:`blur_statistics.measure` returns.
    """
    kinds = next(iter(measured.values()))["manipulation"].unique()
    names = [REAL, *(name for name in kinds if name != REAL)]
    colors = {REAL: REAL_COLOR, **manipulation_colors(names[1:])}
    size = (WIDTH, 1.1 + 0.42 * len(names))
    fig, axes = plt.subplots(1, len(measured), figsize=size, sharey=True, squeeze=False)
    for ax, (preset, table) in zip(axes[0], measured.items(), strict=True):
        rows = table[table["scale"] == "px"]
        keys = {"x": "contrast", "y": "manipulation", "hue": "manipulation"}
        order = {"order": names, "hue_order": names, "palette": colors, "legend": False}
        look = {"inner": "quart", "cut": 0, "density_norm": "width", "linewidth": 0.9}
        sns.violinplot(rows, ax=ax, **keys, **order, **look)
        ax.axvline(0, color="0.6", linewidth=1, linestyle=":", zorder=0)
        ax.set(title=preset, xlabel="", ylabel="")
        ax.locator_params(axis="x", nbins=4)
    fig.supxlabel("contrast: sigma in the region less that in its surroundings (px)", fontsize=9)
    return fig


@figure
def auc_by_preset(table: pd.DataFrame) -> Figure:
    """AUC of one score on maps in px and on min-max normalised ones: a panel per manipulation.

    ``table`` are rows of :func:`contrast_detector.auc_table`.
    """
    panels = list(table.groupby("manipulation", sort=False))
    presets = table["preset"].unique().tolist()
    size = (max(WIDTH, 1.5 * len(panels)), 1.2 + 0.34 * len(presets))
    fig, axes = plt.subplots(1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, (name, rows) in zip(axes[0], panels, strict=True):
        for shift, scale in zip((-0.14, 0.14), SCALES, strict=True):
            own = rows[rows["scale"] == scale].set_index("preset").loc[presets]
            heights = np.arange(len(presets)) + shift
            look = {"color": PALETTE[0 if scale == "px" else 1], "linewidth": 1.4}
            ax.hlines(heights, own["low"], own["high"], **look)
            ax.plot(own["value"], heights, linestyle="none", label=scale, **SCALE_LOOKS[scale])
            ax.lines[-1].set(color=look["color"], markersize=5)
        ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":", zorder=0)
        ax.set(title=name, xlabel="AUC")
        ax.locator_params(axis="x", nbins=4)
    ticks = {"yticks": range(len(presets)), "yticklabels": presets}
    axes[0, 0].set(ylabel="map", ylim=(len(presets) - 0.5, -0.5), **ticks)
    legend_below(fig, axes[0, :1])
    return fig


@figure
def share_sensitivity(table: pd.DataFrame, known: Mapping[str, float] | None = None) -> Figure:
    """AUC of the contrast over the size of the central part: one panel per manipulation.

    ``table`` is that of :func:`contrast_detector.sensitivity`; ``known`` the AUC with the known
    region, by manipulation.
    """
    panels = list(table.groupby("manipulation", sort=False))
    size = (max(WIDTH, 1.5 * len(panels)), 2.6)
    fig, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for ax, (name, rows) in zip(axes[0], panels, strict=True):
        for color, (form, own) in zip(PALETTE, rows.groupby("form", sort=False), strict=False):
            look = {"color": color, "markersize": 4, "label": f"central {form}"}
            ax.plot(100 * own["share"], own["AUC"], **look, **FORM_LOOKS[str(form)])
        if known:
            look = {"color": "black", "linewidth": 1, "linestyle": "-."}
            ax.axhline(known[str(name)], label="known region", **look)
        ax.axhline(0.5, color="0.6", linewidth=1, linestyle=":", zorder=0)
        ax.set(title=name, xlabel="share of each side (%)")
    axes[0, 0].set_ylabel("AUC of the contrast in px")
    legend_below(fig, axes[0, :1])
    return fig


@figure
def model_coefficients(table: pd.DataFrame) -> Figure:
    """Coefficients of the eight statistics: mean over the folds, and their range; a panel per
    manipulation. From :func:`contrast_detector.coefficients`."""
    panels = list(table.groupby("manipulation", sort=False))
    colors = manipulation_colors(str(name) for name, _ in panels)
    size = (max(WIDTH, 1.5 * len(panels)), 2.8)
    fig, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for ax, (name, rows) in zip(axes[0], panels, strict=True):
        ordered = rows.set_index("statistic").loc[list(STATISTICS)]
        heights = np.arange(len(ordered))
        ax.hlines(heights, ordered["lowest"], ordered["highest"], color=colors[name], linewidth=1.6)
        ax.plot(ordered["mean"], heights, "o", color=colors[name], markersize=5)
        ax.axvline(0, color="0.6", linewidth=1, linestyle=":", zorder=0)
        ax.set(title=name)
        ax.locator_params(axis="x", nbins=4)
    labels = [name.replace("_", " ") for name in STATISTICS]
    ticks = {"yticks": range(len(labels)), "yticklabels": labels}
    axes[0, 0].set(ylim=(len(labels) - 0.5, -0.5), **ticks)
    fig.supxlabel("coefficient (log odds per standard deviation)", fontsize=9)
    return fig
