"""Figures of one map, step by step, and maps of known blur (page 02)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defocus_lib.figures.style import PALETTE, SIGMA_COLORS, WIDTH, figure, row_label, show_image


@figure
def map_stages(
    image: np.ndarray, stages: Mapping[str, np.ndarray], sigma: np.ndarray | None = None
) -> Figure:
    """The stages of the map of `image` (H, W, 3) uint8, beside the true `sigma` in px if known.

    `stages` holds ``edges`` and ``valid`` (H, W) bool, ``sparse`` and ``dense`` (H, W) in px.
    """
    known = {"dense": stages["dense"]} | ({} if sigma is None else {"true blur": sigma})
    largest = 0.5 if sigma is None else sigma.max()
    top = float(np.ceil(max(np.percentile(stages["dense"], 99), largest)))
    fig, axes = plt.subplots(2, 3, figsize=(WIDTH, 5.6))
    show_image(axes[0, 0], image, "photograph")
    # Fewer edge pixels than ink: drawn dark on white.
    show_image(axes[0, 1], stages["edges"], "edges", cmap="gray_r", vmin=0, vmax=1)
    invalid = stages["edges"] & ~stages["valid"]
    show_image(axes[0, 2], invalid, "edges without a measurement", cmap="gray_r", vmin=0, vmax=1)
    options = {"cmap": SIGMA_COLORS, "vmin": 0, "vmax": top}
    _show_sparse(axes[1, 0], stages["sparse"], stages["valid"], **options)
    for ax, (title, values) in zip(axes[1, 1:], known.items(), strict=False):
        shown = show_image(ax, values, title, **options)
    if sigma is None:
        axes[1, 2].set_axis_off()
        bar = fig.colorbar(shown, ax=axes[1, 2], location="left", shrink=0.8, aspect=20)
    else:
        bar = fig.colorbar(shown, ax=axes[1], location="bottom", shrink=0.5, aspect=40, pad=0.02)
    bar.set_label("sigma (px)")
    return fig


def _show_sparse(ax: Axes, sparse: np.ndarray, valid: np.ndarray, **options) -> None:
    """Dots on dark ground, about as large as their pixels, and large enough to see."""
    show_image(ax, np.full(valid.shape, 0.12), "sparse", cmap="gray", vmin=0, vmax=1)
    rows, columns = np.nonzero(valid)
    side = 72 * WIDTH / 3.3 / valid.shape[1]  # of a pixel, in points
    options |= {"c": sparse[valid], "s": max(1.0, side**2), "marker": "s", "linewidths": 0}
    ax.scatter(columns, rows, **options)


@figure
def step_edge_readings(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Median sigma read at blurred steps: a panel per noise, a line per preset."""
    fig, axes = plt.subplots(1, len(tables), figsize=(WIDTH, 3), sharey=True, squeeze=False)
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        for name, color, marker in zip(table, cycle(PALETTE), cycle("os^PDv"), strict=False):
            ax.plot(table.index, table[name], marker + "-", color=color, markersize=4, label=name)
        ax.set(xlabel="true sigma (px)", title=title, xlim=(0, None), ylim=(-0.2, None))
    axes[0, 0].set_ylabel("median sigma read (px)")
    axes[0, 0].legend(title="preset")
    return fig


@figure
def focal_planes(
    scenes: Mapping[str, tuple[np.ndarray, np.ndarray]], estimates: Mapping[str, np.ndarray]
) -> Figure:
    """One column per focal plane: photograph, true sigma, estimated sigma.

    `scenes` maps a title to an image (H, W, 3) uint8 and its sigma (H, W) in px, `estimates` the
    same title to (H, W) in px.
    """
    size = (WIDTH, WIDTH / len(scenes) * 3 + 0.6)
    fig, axes = plt.subplots(3, len(scenes), figsize=size, squeeze=False)
    top = float(np.ceil(max(sigma.max() for _, sigma in scenes.values())))
    for column, (title, (image, sigma)) in zip(axes.T, scenes.items(), strict=True):
        show_image(column[0], image, title)
        show_image(column[1], sigma, cmap=SIGMA_COLORS, vmin=0, vmax=top)
        shown = show_image(column[2], estimates[title], cmap=SIGMA_COLORS, vmin=0, vmax=top)
    for ax, text in zip(axes[:, 0], ("photograph", "true blur", "estimate"), strict=True):
        row_label(ax, text)
    bar = fig.colorbar(shown, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.01)
    bar.set_label("sigma (px)")
    return fig
