"""Figures of local variance (page 06)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
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
)


@figure
def variance_pairs(
    images: np.ndarray,
    real: np.ndarray,
    fake: np.ndarray,
    regions: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Heatmaps of local variance, real and manipulated on one scale: one row a pair.

    Parameters
    ----------
    images : (K, H, W, 3) uint8
        The manipulated images.
    real, fake : (K, H, W)
        Local variance, in squared units of the normalised map.
    regions : (K, H, W) bool
        Manipulated pixels, drawn as an outline.
    names : K str
        Row labels.
    """
    rows = len(real)
    fig, axes = plt.subplots(rows, 3, figsize=(WIDTH * 0.86, 2.05 * rows + 0.3), squeeze=False)
    for row, name in enumerate(names):
        top = max(real[row].max(), fake[row].max()) or 1.0
        titles = (
            ("manipulated image", "variance of the real map", "of the manipulated map")
            if row == 0
            else ("", "", "")
        )
        show_image(axes[row, 0], images[row], titles[0])
        outline(axes[row, 0], regions[row])
        for ax, values, title in zip(
            axes[row, 1:], (real[row], fake[row]), titles[1:], strict=True
        ):
            shown = show_image(ax, values, title, cmap="hot", vmin=0, vmax=top)
            ax.set_xlabel(f"mean {values.mean():.4f}")
        fig.colorbar(shown, ax=axes[row, 1:], shrink=0.85, aspect=14, label="local variance")
        row_label(axes[row, 0], name)
    return fig


def _largest_gap(real: np.ndarray, fake: np.ndarray) -> tuple[float, float, float]:
    """Where the two empirical distribution functions lie furthest apart: position and both heights."""
    at = np.sort(np.concatenate([real, fake]))
    heights = [
        np.searchsorted(np.sort(values), at, side="right") / len(values) for values in (real, fake)
    ]
    widest = np.argmax(np.abs(heights[0] - heights[1]))
    return at[widest], heights[0][widest], heights[1][widest]


@figure
def variance_distributions(long: pd.DataFrame, tests: pd.DataFrame, unit: str = "image") -> Figure:
    """Distribution of the mean local variance of each image: histogram above, empirical distribution function below.

    Real and manipulated images may differ in number: both are shown as shares of their own kind.

    Parameters
    ----------
    long : DataFrame
        As :func:`variance.long_table` returns it.
    tests : DataFrame
        As :func:`variance.comparison_table` returns it; D and p stand in the panels.
    unit : str
        What a row of ``long`` is, for the labels; "video" if it holds the means of videos.
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
        rows = long[long["manipulation"] == name]
        shared = {
            "x": "variance",
            "hue": "kind",
            "palette": KIND_COLORS,
            "hue_order": ["real", "fake"],
            "legend": False,
        }
        share = {"stat": "percent", "common_norm": False}
        sns.histplot(
            rows, ax=top, bins=bins, element="step", fill=True, alpha=0.25, **share, **shared
        )
        sns.ecdfplot(rows, ax=bottom, **shared)
        x, low, high = _largest_gap(
            *(rows.loc[rows["kind"] == kind, "variance"].to_numpy() for kind in ("real", "fake"))
        )
        bottom.vlines(x, low, high, color="black", linewidth=1.2)
        test = tests.loc[name]
        gap = ", " if len(names) < 4 else "\n"
        bottom.set_title(f"KS D = {test['KS D']:.2f}{gap}p = {test['KS p']:.2g}", fontsize=8)
        top.set(title=name, xlabel="", ylabel=f"{unit}s (%)")
        bottom.set(xlabel="", ylabel=f"share of {unit}s\nat or below")
        bottom.locator_params(axis="x", nbins=4 if len(names) < 5 else 3)
    fig.supxlabel(
        f"mean local variance of the {unit} (squared units of the normalised map)", fontsize=9
    )
    axes[1, 0].set_ylim(0, 1.03)
    handles = [
        Line2D([], [], color=color, label=KIND_NAMES[kind]) for kind, color in KIND_COLORS.items()
    ]
    fig.legend(handles=handles, loc="outside upper right", ncols=2)
    return fig


@figure
def effect_intervals(table: pd.DataFrame, unit: str = "") -> Figure:
    """Effect sizes with their intervals: one panel an effect, one row a manipulation; dotted where there is no effect.

    Parameters
    ----------
    table : DataFrame
        As :func:`effects.effect_table` returns it.
    unit : str
        Of the Wasserstein distance, for its label.
    """
    effects, names = table["effect"].unique().tolist(), table["manipulation"].unique().tolist()
    size = (WIDTH, max(1.8, 1.1 + 0.26 * len(names)))
    fig, axes = plt.subplots(1, len(effects), figsize=size, sharey=True, squeeze=False)
    for ax, effect in zip(axes[0], effects, strict=True):
        rows = table[table["effect"] == effect].set_index("manipulation")
        for place, (name, color) in enumerate(manipulation_colors(names).items()):
            ax.hlines(
                place, rows.loc[name, "low"], rows.loc[name, "high"], color=color, linewidth=1.6
            )
            ax.plot(rows.loc[name, "value"], place, "o", color=color, markersize=5)
        ax.axvline(0, color="0.6", linewidth=1, linestyle=":", zorder=0)
        ax.set_xlabel(
            f"{effect}\n({unit})" if effect == "Wasserstein" and unit else f"{effect}\n(no unit)"
        )
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3), useMathText=True)
        ax.locator_params(axis="x", nbins=5)
        ax.margins(x=0.08)
    axes[0, 0].set(
        ylabel="manipulation",
        yticks=range(len(names)),
        yticklabels=names,
        ylim=(len(names) - 0.5, -0.5),
    )
    return fig


TEST_NAMES = {"naive KS p": "KS, naive", "KS p": "KS, by group", "paired p": "paired, by group"}


@figure
def false_alarm_rates(tables: Mapping[str, pd.DataFrame], level: float = 0.05) -> Figure:
    """False alarms of each test over the correlation of images of a group; one panel a table.

    Parameters
    ----------
    tables : mapping of a title to DataFrame
        As :func:`variance.false_alarms` returns it.
    level : float
        Nominal share of false alarms, dotted.
    """
    fig, axes = plt.subplots(1, len(tables), figsize=(WIDTH, 3.0), sharey=True, squeeze=False)
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        ax.axhline(
            level, color="0.4", linewidth=1, linestyle=":", label=f"nominal, {level:.0%}", zorder=0
        )
        for name, color, marker in zip(
            table, (PALETTE[1], PALETTE[0], PALETTE[2]), "^so", strict=True
        ):
            ax.plot(
                table.index,
                table[name],
                marker + "-",
                color=color,
                markersize=4,
                label=TEST_NAMES[name],
            )
        ax.set(xlabel="correlation of images of a group", title=title, ylim=(-0.02, 1))
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    axes[0, 0].set_ylabel("false alarms")
    legend_below(fig, axes[0, :1])
    return fig
