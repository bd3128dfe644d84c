"""Figures of one map, step by step, and maps of known blur (page 02)."""

from __future__ import annotations

from collections.abc import Mapping

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
    """The stages of one map, beside the truth if it is known.

    Parameters
    ----------
    image : (H, W, 3) uint8
    stages : mapping with ``edges`` (H, W) bool, ``sparse`` (H, W) px, ``valid`` (H, W) bool, ``dense`` (H, W) px
    sigma : (H, W), optional
        True blur in px.
    """
    known = {"dense": stages["dense"]} | ({} if sigma is None else {"true blur": sigma})
    top = float(
        np.ceil(max(np.percentile(stages["dense"], 99), 0.5 if sigma is None else sigma.max()))
    )
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
    """Coloured dots on dark ground, each about as large as its pixel, and large enough to be seen."""
    show_image(ax, np.full(valid.shape, 0.12), "sparse", cmap="gray", vmin=0, vmax=1)
    rows, columns = np.nonzero(valid)
    points = 72 * WIDTH / 3.3 / valid.shape[1]  # the side of a pixel
    ax.scatter(
        columns, rows, c=sparse[valid], s=max(1.0, points**2), marker="s", linewidths=0, **options
    )


@figure
def step_edge_readings(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Median sigma read at blurred steps against the true one; one panel a noise level, one line a preset."""
    fig, axes = plt.subplots(1, len(tables), figsize=(WIDTH, 3), sharey=True, squeeze=False)
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        for name, color, marker in zip(table, PALETTE, "os^P", strict=False):
            ax.plot(table.index, table[name], marker + "-", color=color, markersize=4, label=name)
        ax.set(xlabel="true sigma (px)", title=title, xlim=(0, None), ylim=(-0.2, None))
    axes[0, 0].set_ylabel("median sigma read (px)")
    axes[0, 0].legend(title="preset")
    return fig


@figure
def focal_planes(
    scenes: Mapping[str, tuple[np.ndarray, np.ndarray]], estimates: Mapping[str, np.ndarray]
) -> Figure:
    """One column a focal plane: photograph, true sigma, estimated sigma.

    Parameters
    ----------
    scenes : mapping of a title to (image (H, W, 3) uint8, sigma (H, W) px)
    estimates : mapping of the same titles to (H, W) px
    """
    fig, axes = plt.subplots(
        3, len(scenes), figsize=(WIDTH, WIDTH / len(scenes) * 3 + 0.6), squeeze=False
    )
    top = float(np.ceil(max(sigma.max() for _, sigma in scenes.values())))
    for column, (title, (image, sigma)) in zip(axes.T, scenes.items(), strict=True):
        show_image(column[0], image, title)
        show_image(column[1], sigma, cmap=SIGMA_COLORS, vmin=0, vmax=top)
        shown = show_image(column[2], estimates[title], cmap=SIGMA_COLORS, vmin=0, vmax=top)
    for ax, text in zip(axes[:, 0], ("photograph", "true blur", "estimate"), strict=True):
        row_label(ax, text)
    fig.colorbar(shown, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.01).set_label(
        "sigma (px)"
    )
    return fig
