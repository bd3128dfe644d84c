"""Figures of page 01: the lens, the scenes and the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from defocus_lib.figures.style import (
    PALETTE,
    SIGMA_COLORS,
    WIDTH,
    figure,
    outline,
    row_label,
    show_image,
)


@figure
def scene_gallery(
    images: np.ndarray,
    regions: np.ndarray,
    sigma: np.ndarray,
    scenes: Sequence[str],
    names: Sequence[str],
) -> Figure:
    """One row per scene: the true blur, then the images with the manipulated region outlined.

    ``images`` (S, K, H, W, 3) uint8, ``regions`` (S, K, H, W) bool, ``sigma`` (S, H, W) in px.
    ``scenes`` label the rows, ``names`` the columns of images.
    """
    rows, columns = images.shape[:2]
    fig, axes = plt.subplots(
        rows, columns + 1, figsize=(WIDTH, WIDTH / (columns + 1) * rows + 0.9), squeeze=False
    )
    for row in range(rows):
        shown = show_image(
            axes[row, 0],
            sigma[row],
            "true blur" if row == 0 else "",
            cmap=SIGMA_COLORS,
            vmin=0,
            vmax=np.ceil(sigma.max()),
        )
        row_label(axes[row, 0], scenes[row])
        for column, name in enumerate(names):
            show_image(axes[row, column + 1], images[row, column], name if row == 0 else "")
            outline(axes[row, column + 1], regions[row, column], color="white")
    fig.colorbar(shown, ax=axes, location="bottom", shrink=0.4, aspect=40, pad=0.01).set_label(
        r"true blur $\sigma$ (px)"
    )
    return fig


@figure
def image_gallery(
    images: Sequence[Sequence[np.ndarray | None]],
    row_names: Sequence[str],
    column_names: Sequence[str],
) -> Figure:
    """A grid of images: one row per group, one column for the real images and each manipulation.

    ``images`` are R rows of C (H, W, 3) uint8; None leaves a place blank.
    """
    rows, columns = len(row_names), len(column_names)
    width = min(WIDTH / columns, 2.4)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, width * rows + 0.3), squeeze=False)
    for ax, name in zip(axes[0], column_names, strict=True):
        ax.set_title(name)
    for row, name, places in zip(images, row_names, axes, strict=True):
        for ax, image in zip(places, row, strict=True):
            if image is None:
                ax.set(xticks=[], yticks=[], facecolor="none", box_aspect=1)
                sns.despine(ax=ax, left=True, bottom=True)
            else:
                show_image(ax, image, ax.get_title())
        row_label(places[0], name, room=int(13 * width))
    return fig


@figure
def lens_curves(distance: np.ndarray, sigmas: Mapping[str, np.ndarray]) -> Figure:
    """Blur against distance for several lenses: ``distance`` (D,) in m, each curve (D,) in px."""
    fig, ax = plt.subplots(figsize=(WIDTH * 0.7, 2.6))
    for (name, sigma), color, dash in zip(
        sigmas.items(), PALETTE, ("-", "--", ":", "-."), strict=False
    ):
        ax.plot(distance, sigma, dash, color=color, label=name)
    ax.set(xlabel="distance (m)", ylabel=r"blur $\sigma$ (px)", ylim=(0, None))
    ax.legend()
    return fig
