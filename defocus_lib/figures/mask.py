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
    show_photograph,
)


@figure
def mask_triptychs(
    images: np.ndarray | None,
    fake: np.ndarray,
    real: np.ndarray,
    masks: np.ndarray,
    regions: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Manipulated image, its map, the real map, and the mask with its count: one row per pair.

    ``images`` are (K, H, W, 3) uint8, None in a bundle without pictures; the maps ``fake`` and
    ``real`` (K, H, W) in [0, 1]; ``masks`` and ``regions`` (drawn as an outline) are (K, H, W)
    bool; ``names`` label the rows.
    """
    rows, pixels = len(fake), fake[0].size
    fig, axes = plt.subplots(rows, 4, figsize=(WIDTH, 1.9 * rows + 0.9), squeeze=False)
    titles = ("manipulated image", "its map", "map of the real image", "binary mask")
    for row, name in enumerate(names):
        image_title, *map_titles, mask_title = titles if row == 0 else ("",) * 4
        show_photograph(axes[row, 0], images, row, fake[row].shape, image_title)
        for ax, values, title in zip(axes[row, 1:3], (fake, real), map_titles, strict=True):
            shown = show_image(ax, values[row], title, cmap=MAP_COLORS, vmin=0, vmax=1)
        show_image(axes[row, 3], masks[row], mask_title, cmap="gray", vmin=0, vmax=1)
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
    shares: pd.DataFrame,
    reported: pd.DataFrame,
    counterpart: Mapping[str, str],
    source: str,
    intervals: tuple[pd.DataFrame, pd.DataFrame] | None = None,
) -> Figure:
    """Share of active pixels over the threshold, of this run and as reported by ``source``.

    The tables hold percent of the image, one row per threshold and one column per manipulation;
    ``intervals`` are the bounds of ``shares``, drawn as a band. ``counterpart`` names the reported
    column that is drawn in the colour of a manipulation.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.8))
    lines, reported_lines = [], []
    for name, color in manipulation_colors(shares.columns).items():
        lines += ax.plot(shares.index, shares[name], "o-", color=color, markersize=4, label=name)
        if intervals is not None:
            bounds = [bound[name] for bound in intervals]
            ax.fill_between(shares.index, *bounds, color=color, alpha=0.15, linewidth=0)
        if (other := counterpart.get(name)) in reported:
            values = reported[other]
            reported_lines += ax.plot(
                reported.index, values, "--", color=color, linewidth=1.2, alpha=0.9, label=other
            )
    ax.set(
        xscale="log",
        xlabel="threshold on |fake - real| (normalised map)",
        ylabel="mean active pixels (% of image)",
    )
    ax.set_ylim(bottom=0)
    ax.invert_xaxis()  # from strict to lenient, as in the table of the paper
    fig.legend(handles=lines, title="this run", alignment="left", loc="outside right upper")
    if reported_lines:
        title = textwrap.fill(source, 20)
        fig.legend(handles=reported_lines, title=title, alignment="left", loc="outside right lower")
    return fig


@figure
def localisation_bars(table: pd.DataFrame) -> Figure:
    """Precision and recall of a :func:`mask.localisation_table`, and the precision by chance."""
    fig, ax = plt.subplots(figsize=(WIDTH * (0.75 if len(table) < 5 else 1), 3.0))
    long = table.reset_index().melt("manipulation", ["precision", "recall"], var_name="measure")
    palette = [PALETTE[0], PALETTE[1]]
    sns.barplot(long, x="manipulation", y="value", hue="measure", palette=palette, ax=ax, gap=0.1)
    at, chance = np.arange(len(table)), table["by chance"]
    label = "precision by chance"
    ax.hlines(chance, at - 0.42, at + 0.42, color="black", linestyle=":", label=label)
    ax.set(xlabel="manipulation", ylabel="mean over the pairs", ylim=(0, 1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(title="", loc="upper left", bbox_to_anchor=(1.01, 1))
    return fig
