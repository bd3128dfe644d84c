"""One picture of the reader's own, its map and what a detector rests on (appendix)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from defocus_lib.analysis.inspection import Inspection
from defocus_lib.figures.style import SIGMA_COLORS, WIDTH, figure, show_image


@figure
def picture_planes(inspection: Inspection) -> Figure:
    """The picture, its blur, the uncertainty and the Shapley values, as far as there are any.

    The colours end at the 99.5th percentile of each plane, so that single pixels do not set them.
    """
    height, width = inspection.sigma.shape
    uncertainty, verdict = inspection.uncertainty, inspection.verdict
    shapley = None if verdict is None else verdict.shapley
    count = 2 + (uncertainty is not None) + (shapley is not None)
    panel = WIDTH / count * height / width
    size = (WIDTH, panel + 0.8)
    fig, axes = plt.subplots(2, count, figsize=size, height_ratios=(panel, 0.08))
    show_image(axes[0, 0], inspection.pixels, "picture")
    axes[1, 0].set_axis_off()
    _in_px(axes[:, 1], inspection.sigma, "blur", SIGMA_COLORS)
    if uncertainty is not None:
        _in_px(axes[:, 2], uncertainty, "uncertainty", "cividis")
    if shapley is not None:
        limit = float(np.percentile(np.abs(shapley), 99.5)) or 1e-12
        options = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
        shown = show_image(axes[0, -1], shapley, "Shapley values", **options)
        fig.colorbar(shown, cax=axes[1, -1], orientation="horizontal", label="logits")
    return fig


def _in_px(axes: np.ndarray, plane: np.ndarray, title: str, colors: str) -> None:
    top = max(0.5, float(np.percentile(plane, 99.5)))
    shown = show_image(axes[0], plane, title, cmap=colors, vmin=0, vmax=top)
    axes[0].figure.colorbar(shown, cax=axes[1], orientation="horizontal", label="px")
