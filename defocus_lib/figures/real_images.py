"""Figures of the page on real images."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from defocus_lib.analysis.real_images import SOURCES, methods
from defocus_lib.figures.style import MODEL_COLORS, PALETTE, WIDTH, figure

COLORS = {
    "files": PALETTE[7],
    "map": MODEL_COLORS["defocus"],
    "edges": PALETTE[1],
    "photograph": MODEL_COLORS["rgb"],
    "both": MODEL_COLORS["fusion"],
}
MARKERS = {"files": "x", "map": "o", "edges": "^", "photograph": "s", "both": "D"}


@figure
def auc_of_methods(measured: pd.DataFrame) -> Figure:
    """AUC with its interval: one panel per data set, one row per method.

    ``measured`` is a table of ``benchmarks.real_data``.
    """
    rows = methods(measured)
    panels = list(rows.groupby("on", sort=False))
    titles = rows["title"].drop_duplicates().tolist()
    fig, axes = plt.subplots(
        1,
        len(panels),
        figsize=(WIDTH, 1.2 + 0.22 * len(titles)),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for ax, (name, of_data) in zip(axes[0], panels, strict=True):
        for source, of_source in of_data.groupby("source", sort=False):
            place, look = of_source["title"].map(titles.index), COLORS[str(source)]
            ax.hlines(place, of_source["low"], of_source["high"], color=look)
            marker = MARKERS[str(source)]
            ax.plot(of_source["value"], place, marker, color=look, label=SOURCES[str(source)])
        ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":")
        ax.set(title=name, xlabel="AUC with 95 % interval")
    axes[0, 0].set(yticks=range(len(titles)), yticklabels=titles, ylabel="method")
    axes[0, 0].set_ylim(len(titles) - 0.5, -0.5)
    axes[0, -1].legend(title="it reads", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
