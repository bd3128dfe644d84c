"""One function a figure. They take arrays and tables, return a matplotlib ``Figure`` and save
nothing.

Each public function is wrapped by :func:`figure`, which sets the style for that figure only and
closes it, so that a notebook shows what the cell returns once.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

WIDTH = 7.6  # inches: the text column of the book
PALETTE = sns.color_palette("colorblind").as_hex()
KIND_COLORS = {"real": PALETTE[0], "fake": PALETTE[1]}
KIND_NAMES = {"real": "real", "fake": "manipulated"}
KIND_MARKERS = {"real": "o", "fake": "^"}
MANIPULATION_COLORS = {
    "resynthesis": PALETTE[0],
    "splice": PALETTE[1],
    "reenactment": PALETTE[2],
    "texture": PALETTE[4],
    # Those of FaceForensics++ share the colour of the one that imitates them.
    "Deepfakes": PALETTE[0],
    "FaceSwap": PALETTE[1],
    "Face2Face": PALETTE[2],
    "NeuralTextures": PALETTE[4],
    "FaceShifter": PALETTE[9],
}
MODEL_COLORS = {
    "defocus": PALETTE[2],
    "rgb": PALETTE[4],
    "fusion": PALETTE[0],
    "uniform": PALETTE[7],
}
MODEL_NAMES = {
    "defocus": "defocus detector",
    "rgb": "RGB detector",
    "fusion": "fusion detector",
    "uniform": "uniform attribution",
}
MODEL_MARKERS = {"defocus": "o", "rgb": "s", "fusion": "D"}
TICKS = (0, 0.25, 0.5, 0.75, 1)  # of a share or a probability
MAP_COLORS = "viridis"  # normalised defocus maps
SIGMA_COLORS = "magma"  # blur in px

STYLE = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same figure on every machine
    "figure.dpi": 140,
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "image.interpolation": "nearest",
}


def figure(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the style of the book, and leave nothing behind in pyplot."""

    @functools.wraps(draw)
    def styled(*args, **kwargs) -> Figure:
        with plt.rc_context(STYLE):
            drawn = draw(*args, **kwargs)
        plt.close(drawn)
        return drawn

    return styled


def show_image(ax: Axes, image: np.ndarray, title: str = "", **options) -> AxesImage:
    """Show an image or a map without ticks."""
    shown = ax.imshow(image, **options)
    ax.set(xticks=[], yticks=[], title=title)
    sns.despine(ax=ax, left=True, bottom=True)
    return shown


def show_photograph(
    ax: Axes, images: np.ndarray | None, row: int, size: tuple[int, ...], title: str = ""
) -> None:
    """Show image ``row``, or say where a bundle has none: a grey plane of ``size`` (H, W)."""
    if images is not None:
        show_image(ax, images[row], title)
        return
    show_image(ax, np.full((*size, 3), 0.85), title)
    ax.text(
        *(0.5, 0.5, "left out\nof the bundle"),
        transform=ax.transAxes,
        ha="center",
        va="center",
        fontsize="small",
    )


def row_label(ax: Axes, text: str, room: int = 26) -> None:
    """Name a row of images at its first one, with at most ``room`` letters a line.

    A long id, and that of a frame, is broken before its manipulation; what is still too long loses
    its beginning.
    """
    lines = text.rsplit("/", 1) if text.count("/") > 1 or len(text) > room else [text]
    shortened = (
        line if len(line) <= room else "\N{HORIZONTAL ELLIPSIS}" + line[1 - room :]
        for line in lines
    )
    ax.set_ylabel("/\n".join(shortened), rotation=90, labelpad=6)


def manipulation_colors(names: Iterable[str]) -> dict[str, str]:
    """A colour for each manipulation: the same in every figure for those we know, then whatever is
    left."""
    names = list(dict.fromkeys(names))
    chosen: dict[str, str] = {}
    for name in names:
        if (color := MANIPULATION_COLORS.get(name)) and color not in chosen.values():
            chosen[name] = color
    left = itertools.cycle([color for color in PALETTE if color not in chosen.values()] or PALETTE)
    return {name: chosen.get(name) or next(left) for name in names}


def fakes_in(table: pd.DataFrame) -> list[str]:
    """The manipulations of a table of images, in order of appearance."""
    return [name for name in table["manipulation"].unique() if name != "real"]


def outline(ax: Axes, region: np.ndarray, color: str = PALETTE[3]) -> None:
    """Draw the border of a ``(H, W)`` bool region, if it has one."""
    if region.any() and not region.all():
        ax.contour(region.astype(float), levels=[0.5], colors=[color], linewidths=1)


def legend_below(fig: Figure, axes: Iterable[Axes]) -> None:
    """One legend for all panels, below them: a label that several panels share occurs once."""
    handles: dict[str, Artist] = {}
    for ax in axes:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    columns = min(4, len(handles))
    fig.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)


def symmetric_limit(values: np.ndarray) -> tuple[float, int]:
    """The 99.5th percentile of the absolute values as ``limit * 10**exponent``; ``(1, 0)`` if all
    are 0."""
    size = np.abs(values)
    limit = float(np.percentile(size, 99.5)) or float(size.max())
    if limit == 0:
        return 1.0, 0
    exponent = int(np.floor(np.log10(limit)))
    return limit / 10.0**exponent, exponent
