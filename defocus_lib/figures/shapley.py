"""Figures of Shapley values (pages 04 and 08)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from defocus_lib.figures.style import (
    MAP_COLORS,
    MODEL_COLORS,
    MODEL_NAMES,
    WIDTH,
    figure,
    outline,
    row_label,
    show_image,
    symmetric_limit,
)


@figure
def shapley_views(
    images: np.ndarray,
    rgb: np.ndarray,
    defocus: np.ndarray,
    regions: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Original | Shapley values of the RGB detector | of the defocus detector: one row an image.

    Each image and model has its own symmetric scale, cut at the 99.5th percentile of the absolute values. The sum is
    the share of the detector's answer that these pixels explain.

    Parameters
    ----------
    images : (K, H, W, 3) uint8
    rgb, defocus : (K, H, W)
        Shapley values in logits.
    regions : (K, H, W) bool
        Manipulated pixels, drawn as an outline.
    names : K str
        Row labels.
    """
    rows = len(images)
    fig, axes = plt.subplots(rows, 3, figsize=(WIDTH, 2.2 * rows + 0.2), squeeze=False)
    titles = ("original", "RGB Shapley values", "defocus Shapley values")
    for row, name in enumerate(names):
        show_image(axes[row, 0], images[row], titles[0] if row == 0 else "")
        outline(axes[row, 0], regions[row])
        row_label(axes[row, 0], name)
        for ax, values, title in zip(
            axes[row, 1:], (rgb[row], defocus[row]), titles[1:], strict=True
        ):
            limit, exponent = symmetric_limit(values)
            scaled = values / 10.0**exponent
            shown = show_image(
                ax, scaled, title if row == 0 else "", cmap="seismic", vmin=-limit, vmax=limit
            )
            outline(ax, regions[row], color="black")
            ax.set_xlabel(f"sum {values.sum():+.2f} logits")
            bar = fig.colorbar(shown, ax=ax, shrink=0.85, aspect=14, extend="both")
            bar.set_label(f"$10^{{{exponent}}}$ logits per pixel")
    return fig


@figure
def completeness(sums: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Sum of the Shapley values of each image against what they should add up to; one panel a detector.

    Parameters
    ----------
    sums : mapping of a detector to (sum of the values (N,), completeness gap (N,)), in logits
    """
    fig, axes = plt.subplots(1, len(sums), figsize=(WIDTH, 3.2), squeeze=False)
    for ax, (model, (total, gap)) in zip(axes[0], sums.items(), strict=True):
        ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        ax.scatter(total + gap, total, s=10, color=MODEL_COLORS[model], alpha=0.7, linewidths=0)
        ax.set(xlabel="f(x) - E f(background) (logits)", title=MODEL_NAMES.get(model, model))
    axes[0, 0].set_ylabel("sum of the values (logits)")
    return fig


@figure
def evidence_chain(
    images: np.ndarray,
    dmaps: np.ndarray,
    shaps: np.ndarray,
    regions: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Photograph, defocus map, Shapley values: one row an image, one scale for all values.

    Parameters
    ----------
    images : (K, H, W, 3) uint8
    dmaps : (K, H, W), normalised maps in [0, 1]
    shaps : (K, H, W)
        Shapley values of the defocus detector in logits.
    regions : (K, H, W) bool
        Manipulated pixels, drawn as an outline.
    names : K str
        Row labels.
    """
    fig, axes = plt.subplots(
        len(images), 3, figsize=(WIDTH, 2.35 * len(images) + 0.5), squeeze=False
    )
    limit, exponent = symmetric_limit(shaps)
    for row, name in enumerate(names):
        show_image(axes[row, 0], images[row], "photograph" if row == 0 else "")
        dense = show_image(
            axes[row, 1],
            dmaps[row],
            "defocus map" if row == 0 else "",
            cmap=MAP_COLORS,
            vmin=0,
            vmax=1,
        )
        options = {"cmap": "seismic", "vmin": -limit, "vmax": limit}
        values = show_image(
            axes[row, 2],
            shaps[row] / 10.0**exponent,
            "Shapley values" if row == 0 else "",
            **options,
        )
        row_label(axes[row, 0], name)
        for ax, color in zip(axes[row], ("white", "white", "black"), strict=True):
            outline(ax, regions[row], color=color)
    below = {"location": "bottom", "shrink": 0.8, "aspect": 25, "pad": 0.02}
    fig.colorbar(dense, ax=axes[:, 1], **below).set_label("blur, normalised")
    fig.colorbar(values, ax=axes[:, 2], extend="both", **below).set_label(
        f"$10^{{{exponent}}}$ logits per pixel"
    )
    return fig
