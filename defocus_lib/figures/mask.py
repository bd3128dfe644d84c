"""Figures of the binary mask (page 05)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from defocus_lib.figures.style import (
    MAP_COLORS,
    PALETTE,
    WIDTH,
    figure,
    manipulation_colors,
    outline,
    row_label,
    show_image,
)


@figure
def mask_triptychs(
    images: np.ndarray,
    fake: np.ndarray,
    real: np.ndarray,
    masks: np.ndarray,
    regions: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Manipulated image, its map, the real map, and the mask between them with its count: one row a pair.

    Parameters
    ----------
    images : (K, H, W, 3) uint8
    fake, real : (K, H, W), normalised maps in [0, 1]
    masks, regions : (K, H, W) bool
        Active pixels; manipulated pixels, drawn as an outline.
    names : K str
        Row labels.
    """
    rows, pixels = len(fake), fake[0].size
    fig, axes = plt.subplots(rows, 4, figsize=(WIDTH, 1.9 * rows + 0.9), squeeze=False)
    for ax, title in zip(
        axes[0],
        ("manipulated image", "its map", "map of the real image", "binary mask"),
        strict=True,
    ):
        ax.set_title(title)
    for row, name in enumerate(names):
        show_image(axes[row, 0], images[row], axes[row, 0].get_title())
        for ax, values in zip(axes[row, 1:3], (fake, real), strict=True):
            shown = show_image(ax, values[row], ax.get_title(), cmap=MAP_COLORS, vmin=0, vmax=1)
        show_image(axes[row, 3], masks[row], axes[row, 3].get_title(), cmap="gray", vmin=0, vmax=1)
        for ax in axes[row, [0, 3]]:
            outline(ax, regions[row])
        count = int(masks[row].sum())
        axes[row, 3].set_xlabel(f"{count:,} px ({100 * count / pixels:.1f} %)")
        row_label(axes[row, 0], name)
    bar = fig.colorbar(shown, ax=axes[:, 1:3], location="bottom", shrink=0.6, aspect=40, pad=0.01)
    bar.set_label("normalised defocus map")
    return fig


@figure
def mask_sweep(
    ours: pd.DataFrame,
    published: pd.DataFrame,
    counterpart: Mapping[str, str],
    source: str,
    intervals: tuple[pd.DataFrame, pd.DataFrame] | None = None,
) -> Figure:
    """Share of active pixels over the threshold, ours and the published one.

    Parameters
    ----------
    ours, published : DataFrame
        One row a threshold, one column a manipulation, in percent of the image.
    counterpart : mapping of str to str
        Manipulation -> the published column drawn in its colour. Others have none. Where a manipulation is its own
        counterpart, the data are the same and the legend does not call them other data.
    source : str
        Name of the published data, for the legend.
    intervals : (DataFrame, DataFrame), optional
        Lower and upper bounds of ``ours``, drawn as a band.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.8))
    lines, other_lines = [], []
    for name, color in manipulation_colors(ours.columns).items():
        lines += ax.plot(ours.index, ours[name], "o-", color=color, markersize=4, label=name)
        if intervals is not None:
            ax.fill_between(
                ours.index,
                *(side[name] for side in intervals),
                color=color,
                alpha=0.15,
                linewidth=0,
            )
        if (other := counterpart.get(name)) in published:
            look = {"color": color, "linewidth": 1.2, "alpha": 0.9}
            other_lines += ax.plot(published.index, published[other], "--", **look, label=other)
    ax.set(
        xscale="log",
        xlabel="threshold on |fake - real| (normalised map)",
        ylabel="mean active pixels (% of image)",
    )
    ax.set_ylim(bottom=0)
    ax.invert_xaxis()  # from strict to lenient, as the published table is ordered
    fig.legend(handles=lines, title="this run", alignment="left", loc="outside right upper")
    if other_lines:
        same = any(name == other for name, other in counterpart.items())
        title = textwrap.fill(f"{'published' if same else 'other data'}: {source}", 20)
        fig.legend(handles=other_lines, title=title, alignment="left", loc="outside right lower")
    return fig


@figure
def localisation_bars(table: pd.DataFrame) -> Figure:
    """Precision and recall of the mask against the manipulated region, and the precision of a random mask.

    Parameters
    ----------
    table : DataFrame
        As :func:`mask.localisation_table` returns it.
    """
    fig, ax = plt.subplots(figsize=(WIDTH * (0.75 if len(table) < 5 else 1), 3.0))
    long = table.reset_index().melt("manipulation", ["precision", "recall"], var_name="measure")
    sns.barplot(
        long,
        x="manipulation",
        y="value",
        hue="measure",
        palette=[PALETTE[0], PALETTE[1]],
        ax=ax,
        gap=0.1,
    )
    places = np.arange(len(table))
    ax.hlines(
        table["by chance"],
        places - 0.42,
        places + 0.42,
        color="black",
        linestyle=":",
        label="precision by chance",
    )
    ax.set(xlabel="manipulation", ylabel="mean over the pairs", ylim=(0, 1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(title="", loc="upper left", bbox_to_anchor=(1.01, 1))
    return fig
