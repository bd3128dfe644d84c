"""Figures of Shapley values (pages 04 and 08)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from defocus_lib.figures.style import (
    MAP_COLORS,
    MODEL_COLORS,
    MODEL_NAMES,
    WIDTH,
    figure,
    outline,
    row_label,
    show_image,
    show_photograph,
    symmetric_limit,
)


def _show_values(ax: Axes, values: np.ndarray, scale: tuple[float, int], title: str) -> AxesImage:
    """A map of Shapley values on a symmetric scale (limit, power of ten)."""
    limit, exponent = scale
    scaled = values / 10.0**exponent
    return show_image(ax, scaled, title, cmap="seismic", vmin=-limit, vmax=limit)


def _unit(scale: tuple[float, int]) -> str:
    return f"$10^{{{scale[1]}}}$ logits per pixel"


@figure
def shapley_views(
    images: np.ndarray | None,
    rgb: np.ndarray,
    defocus: np.ndarray,
    regions: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Photograph, Shapley values of the RGB and of the defocus detector: one row per image.

    Each map has its own symmetric scale, cut at the 99.5th percentile of its absolute values, and
    its sum below it. ``images`` (K, H, W, 3) uint8, None in a bundle without pictures;
    ``rgb`` and ``defocus`` (K, H, W) in logits; ``regions`` (K, H, W) bool, drawn as outlines;
    ``names`` K row labels.
    """
    rows = len(rgb)
    fig, axes = plt.subplots(rows, 3, figsize=(WIDTH, 2.2 * rows + 0.2), squeeze=False)
    titles = ("original", "RGB Shapley values", "defocus Shapley values")
    for row, name in enumerate(names):
        original, rgb_title, defocus_title = titles if row == 0 else ("", "", "")
        show_photograph(axes[row, 0], images, row, rgb[row].shape, original)
        outline(axes[row, 0], regions[row])
        row_label(axes[row, 0], name)
        maps = ((axes[row, 1], rgb[row], rgb_title), (axes[row, 2], defocus[row], defocus_title))
        for ax, values, title in maps:
            scale = symmetric_limit(values)
            shown = _show_values(ax, values, scale, title)
            outline(ax, regions[row], color="black")
            ax.set_xlabel(f"sum {values.sum():+.2f} logits")
            bar = fig.colorbar(shown, ax=ax, shrink=0.85, aspect=14, extend="both")
            bar.set_label(_unit(scale))
    return fig


@figure
def completeness(table: pd.DataFrame) -> Figure:
    """Sum of the values of each image against what it should be; one panel per detector.

    ``table`` as :func:`defocus_lib.analysis.attribution.completeness_table` returns it.
    """
    detectors = table.groupby("detector", sort=False)
    fig, axes = plt.subplots(1, len(detectors), figsize=(WIDTH, 3.2), squeeze=False)
    for ax, (detector, rows) in zip(axes[0], detectors, strict=True):
        color = MODEL_COLORS[detector]
        ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        ax.scatter(rows["explained"], rows["sum"], s=10, color=color, alpha=0.7, linewidths=0)
        ax.set(xlabel="f(x) - E f(background) (logits)", title=MODEL_NAMES[detector])
    axes[0, 0].set_ylabel("sum of the values (logits)")
    return fig


@figure
def evidence_chain(
    images: np.ndarray | None,
    dmaps: np.ndarray,
    shaps: np.ndarray,
    regions: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Photograph, defocus map, Shapley values: one row per image, one scale for all values.

    ``images`` (K, H, W, 3) uint8, None in a bundle without pictures; ``dmaps`` (K, H, W) in [0, 1];
    ``shaps`` (K, H, W) in logits; ``regions`` (K, H, W) bool, drawn as outlines; ``names`` K row
    labels.
    """
    rows, scale = len(shaps), symmetric_limit(shaps)
    fig, axes = plt.subplots(rows, 3, figsize=(WIDTH, 2.35 * rows + 0.5), squeeze=False)
    titles = ("photograph", "defocus map", "Shapley values")
    for row, name in enumerate(names):
        photograph, defocus_map, values_title = titles if row == 0 else ("", "", "")
        show_photograph(axes[row, 0], images, row, dmaps[row].shape, photograph)
        blur = {"cmap": MAP_COLORS, "vmin": 0, "vmax": 1}
        dense = show_image(axes[row, 1], dmaps[row], defocus_map, **blur)
        values = _show_values(axes[row, 2], shaps[row], scale, values_title)
        row_label(axes[row, 0], name)
        for ax, color in zip(axes[row], ("white", "white", "black"), strict=True):
            outline(ax, regions[row], color=color)
    for column, shown, label in ((1, dense, "blur, normalised"), (2, values, _unit(scale))):
        bar = fig.colorbar(
            shown,
            ax=axes[:, column],
            location="bottom",
            shrink=0.8,
            aspect=25,
            pad=0.02,
            extend="both" if column == 2 else "neither",
        )
        bar.set_label(label)
    return fig
