"""Figures of local variance (page 06)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from defocus_lib.figures.style import (
    KIND_COLORS,
    KIND_NAMES,
    PALETTE,
    WIDTH,
    figure,
    legend_below,
    manipulation_colors,
    outline,
    row_label,
    show_image,
    show_photograph,
)


@figure
def variance_pairs(
    images: np.ndarray | None,
    real: np.ndarray,
    fake: np.ndarray,
    regions: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Local variance of the real and the manipulated map on one scale: one row per pair.

    ``images`` (K, H, W, 3) uint8 are the manipulated ones, None in a bundle without pictures;
    ``real`` and ``fake`` (K, H, W) the variances in squared units of the map; ``regions``
    (K, H, W) bool are drawn as an outline; ``names`` label the rows.
    """
    rows = len(real)
    fig, axes = plt.subplots(rows, 3, figsize=(WIDTH * 0.86, 2.05 * rows + 0.3), squeeze=False)
    titles = ("manipulated image", "variance of the real map", "of the manipulated map")
    for row, name in enumerate(names):
        image_title, *heat_titles = titles if row == 0 else ("",) * 3
        show_photograph(axes[row, 0], images, row, real[row].shape, image_title)
        outline(axes[row, 0], regions[row])
        heat = (real[row], fake[row])
        top = max(values.max() for values in heat) or 1.0
        for ax, values, title in zip(axes[row, 1:], heat, heat_titles, strict=True):
            shown = show_image(ax, values, title, cmap="hot", vmin=0, vmax=top)
            ax.set_xlabel(f"mean {values.mean():.4f}")
        fig.colorbar(shown, ax=axes[row, 1:], shrink=0.85, aspect=14, label="local variance")
        row_label(axes[row, 0], name)
    return fig


def _largest_gap(real: np.ndarray, fake: np.ndarray) -> tuple[float, float, float]:
    """Where two empirical distribution functions lie furthest apart: position, both heights."""
    at = np.sort(np.concatenate([real, fake]))
    heights = [
        np.searchsorted(np.sort(values), at, side="right") / len(values) for values in (real, fake)
    ]
    widest = np.argmax(np.abs(heights[0] - heights[1]))
    return at[widest], heights[0][widest], heights[1][widest]


@figure
def variance_distributions(long: pd.DataFrame, tests: pd.DataFrame, unit: str = "image") -> Figure:
    """Histogram and distribution function of the mean local variance, one column per manipulation.

    Real and manipulated images may differ in number: both are shown as shares of their own kind.
    ``long`` is a :func:`variance.long_table` whose rows are of a ``unit`` ("video" for means of
    videos); D and p of ``tests``, a :func:`variance.comparison_table`, stand in the panels.
    """
    names = list(tests.index)
    fig, axes = plt.subplots(
        2,
        len(names),
        figsize=(WIDTH, 3.9),
        sharex=True,
        sharey="row",
        squeeze=False,
        height_ratios=[1, 1.3],
    )
    bins = np.histogram_bin_edges(long["variance"], bins=16)
    for (top, bottom), name in zip(axes.T, names, strict=True):
        _distribution(top, bottom, long[long["manipulation"] == name], bins)
        test = tests.loc[name]
        gap = ", " if len(names) < 4 else "\n"
        bottom.set_title(f"KS D = {test['KS D']:.2f}{gap}p = {test['KS p']:.2g}", fontsize=8)
        top.set(title=name, xlabel="", ylabel=f"{unit}s (%)")
        bottom.set(xlabel="", ylabel=f"share of {unit}s\nat or below")
        bottom.locator_params(axis="x", nbins=4 if len(names) < 5 else 3)
    label = f"mean local variance of the {unit} (squared units of the normalised map)"
    fig.supxlabel(label, fontsize=9)
    axes[1, 0].set_ylim(0, 1.03)
    handles = [
        Line2D([], [], color=color, label=KIND_NAMES[kind]) for kind, color in KIND_COLORS.items()
    ]
    fig.legend(handles=handles, loc="outside upper right", ncols=2)
    return fig


def _distribution(top: Axes, bottom: Axes, rows: pd.DataFrame, bins: np.ndarray) -> None:
    shared = {
        "x": "variance",
        "hue": "kind",
        "palette": KIND_COLORS,
        "hue_order": ["real", "fake"],
        "legend": False,
    }
    share = {"stat": "percent", "common_norm": False}
    sns.histplot(rows, ax=top, bins=bins, element="step", fill=True, alpha=0.25, **share, **shared)
    sns.ecdfplot(rows, ax=bottom, **shared)
    values = [rows.loc[rows["kind"] == kind, "variance"].to_numpy() for kind in ("real", "fake")]
    bottom.vlines(*_largest_gap(*values), color="black", linewidth=1.2)


@figure
def effect_intervals(table: pd.DataFrame, unit: str = "") -> Figure:
    """An :func:`effects.effect_table`: one panel per effect, dotted where there is none.

    ``unit`` is that of the Wasserstein distance.
    """
    effects, names = table["effect"].unique().tolist(), table["manipulation"].unique().tolist()
    size = (WIDTH, max(1.8, 1.1 + 0.26 * len(names)))
    fig, axes = plt.subplots(1, len(effects), figsize=size, sharey=True, squeeze=False)
    for ax, effect in zip(axes[0], effects, strict=True):
        rows = table[table["effect"] == effect].set_index("manipulation")
        for place, (name, color) in enumerate(manipulation_colors(names).items()):
            value, low, high = rows.loc[name, ["value", "low", "high"]]
            ax.hlines(place, low, high, color=color, linewidth=1.6)
            ax.plot(value, place, "o", color=color, markersize=5)
        ax.axvline(0, color="0.6", linewidth=1, linestyle=":", zorder=0)
        has_unit = effect == "Wasserstein" and unit
        ax.set_xlabel(f"{effect}\n({unit if has_unit else 'no unit'})")
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3), useMathText=True)
        ax.locator_params(axis="x", nbins=5)
        ax.margins(x=0.08)
    ticks = {"yticks": range(len(names)), "yticklabels": names}
    axes[0, 0].set(ylabel="manipulation", ylim=(len(names) - 0.5, -0.5), **ticks)
    return fig


TESTS = {
    "naive KS p": ("KS, naive", PALETTE[1], "^-"),
    "KS p": ("KS, by group", PALETTE[0], "s-"),
    "paired p": ("paired, by group", PALETTE[2], "o-"),
}
"""Test -> its label, colour and marker."""


@figure
def false_alarm_rates(tables: Mapping[str, pd.DataFrame], level: float = 0.05) -> Figure:
    """False alarms over the correlation of images of a group; one panel per title and table.

    The tables are those of :func:`variance.false_alarms`; ``level`` is the nominal rate, dotted.
    """
    fig, axes = plt.subplots(1, len(tables), figsize=(WIDTH, 3.0), sharey=True, squeeze=False)
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        nominal = f"nominal, {level:.0%}"
        ax.axhline(level, color="0.4", linewidth=1, linestyle=":", label=nominal, zorder=0)
        for name, rates in table.items():
            label, color, marker = TESTS[name]
            ax.plot(rates.index, rates, marker, color=color, markersize=4, label=label)
        ax.set(xlabel="correlation of images of a group", title=title, ylim=(-0.02, 1))
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    axes[0, 0].set_ylabel("false alarms")
    legend_below(fig, axes[0, :1])
    return fig
