"""Figures of speed (page Speed)."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from defocus_lib.figures.style import PALETTE, WIDTH, figure


@figure
def time_bars(milliseconds: pd.Series, highlighted: Iterable[str] = ()) -> Figure:
    """Milliseconds an image of each contestant, on a logarithmic axis; those of ours are ``highlighted``."""
    fig, ax = plt.subplots(figsize=(WIDTH, 0.6 + 0.28 * len(milliseconds)), layout="constrained")
    colors = [PALETTE[0] if name in set(highlighted) else PALETTE[7] for name in milliseconds.index]
    bars = ax.barh(milliseconds.index.astype(str), milliseconds, color=colors)
    ax.bar_label(bars, fmt="%.3g", padding=3)
    ax.set(
        xscale="log",
        xlabel="time an image (ms)",
        xlim=(milliseconds.min() / 2, milliseconds.max() * 2),
    )
    ax.invert_yaxis()
    return fig


@figure
def error_against_time(table: pd.DataFrame) -> Figure:
    """Relative error of Shapley values over seconds an image: ``table`` has both, by contestant."""
    fig, ax = plt.subplots(figsize=(WIDTH, 2.8), layout="constrained")
    for (name, row), marker, color in zip(
        table.iterrows(), "sov^DPX", PALETTE[1:2] + PALETTE[:1] + PALETTE[2:], strict=False
    ):
        ax.plot(
            row["seconds_per_image"],
            row["relative_error"],
            marker,
            color=color,
            markersize=8,
            label=str(name),
        )
    low, high = table["seconds_per_image"].min(), table["seconds_per_image"].max()
    ax.set(xscale="log", xlim=(low / 2, high * 2), ylim=(0, 1.1 * table["relative_error"].max()))
    ax.set(xlabel="time an image (s)", ylabel="relative error")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
