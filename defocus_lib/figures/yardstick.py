"""The figure of page 03b: detectors from scratch and pretrained."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from defocus_lib.figures.style import MODEL_COLORS, MODEL_MARKERS, WIDTH, figure


@figure
def areas(table: pd.DataFrame) -> Figure:
    """AUC with its interval, one panel per manipulation and one row per detector.

    ``table`` has manipulation, detector, reads, start, value, low, high. Detectors that begin from
    scratch have open marks.
    """
    names, detectors = table["manipulation"].unique(), table["detector"].unique().tolist()
    fig, axes = plt.subplots(
        1, len(names), figsize=(WIDTH, 0.9 + 0.28 * len(detectors)), sharey=True, squeeze=False
    )
    for ax, name in zip(axes[0], names, strict=True):
        for row in table[table["manipulation"] == name].itertuples():
            color, place = MODEL_COLORS[row.reads], detectors.index(row.detector)
            fill = "white" if row.start == "from scratch" else color
            ax.hlines(place, row.low, row.high, color=color)
            marker = MODEL_MARKERS[row.reads]
            ax.plot(row.value, place, marker, color=color, markerfacecolor=fill, markersize=5)
        ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":")
        ax.set_title(name, loc="left")
        ax.set(xlim=(np.nanmin(table[["value", "low"]], initial=0.45) - 0.03, 1.01))
    axes[0, 0].set(yticks=range(len(detectors)), yticklabels=detectors)
    axes[0, 0].set(ylim=(len(detectors) - 0.5, -0.5), ylabel="detector")
    fig.supxlabel("AUC with 95 % interval (dotted: chance)", fontsize="medium")
    return fig
