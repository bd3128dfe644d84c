"""Figures of speed (page Speed)."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from defocus_lib.figures.style import PALETTE, WIDTH, figure


@figure
def time_bars(milliseconds: pd.Series, highlighted: Iterable[str] = ()) -> Figure:
    """Milliseconds per image of each implementation, on a logarithmic axis."""
    fig, ax = plt.subplots(figsize=(WIDTH, 0.6 + 0.28 * len(milliseconds)), layout="constrained")
    colors = [PALETTE[0] if name in set(highlighted) else PALETTE[7] for name in milliseconds.index]
    bars = ax.barh(milliseconds.index.astype(str), milliseconds, color=colors)
    ax.bar_label(bars, fmt="%.3g", padding=3)
    limits = (milliseconds.min() / 2, milliseconds.max() * 2)
    ax.set(xscale="log", xlabel="time per image (ms)", xlim=limits)
    ax.invert_yaxis()
    return fig


@figure
def share_bars(shares: pd.Series) -> Figure:
    """Share of each notebook in the time of a run, in per cent: one bar per row."""
    fig, ax = plt.subplots(figsize=(WIDTH, 0.6 + 0.24 * len(shares)), layout="constrained")
    bars = ax.barh(shares.index.astype(str), 100 * shares, color=PALETTE[0])
    ax.bar_label(bars, fmt="%.0f", padding=3)
    ax.set(xlabel="share of the time of the run (%)", xlim=(0, 110 * shares.max()))
    ax.invert_yaxis()
    return fig


@figure
def error_against_time(table: pd.DataFrame) -> Figure:
    """``relative_error`` over ``seconds_per_image``: one mark per row, named in the legend."""
    fig, ax = plt.subplots(figsize=(WIDTH, 2.8), layout="constrained")
    colors = PALETTE[1:2] + PALETTE[:1] + PALETTE[2:]
    seconds, errors = table["seconds_per_image"], table["relative_error"]
    for name, marker, color in zip(table.index, "sov^DPX", colors, strict=False):
        ax.plot(seconds[name], errors[name], marker, color=color, markersize=8, label=str(name))
    ax.set(xscale="log", xlim=(seconds.min() / 2, seconds.max() * 2), ylim=(0, 1.1 * errors.max()))
    ax.set(xlabel="time per image (s)", ylabel="relative error")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
