"""Figures of notebook 14: what a detector is worth on each kind of map, and the maps themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defocus_lib.analysis.detector_by_map import ERROR, TRUE
from defocus_lib.figures.style import PALETTE, SIGMA_COLORS, WIDTH, figure, row_label, show_image

# Colour and marker: a map is known by either.
MAP_LOOKS = {
    "released": {"color": PALETTE[0], "marker": "o"},
    "published": {"color": PALETTE[1], "marker": "s"},
    "physical": {"color": PALETTE[2], "marker": "^"},
    "learned": {"color": PALETTE[4], "marker": "D"},
    TRUE: {"color": "black", "marker": "*", "markersize": 9},
}


@figure
def auc_against_error(table: pd.DataFrame, errors: pd.DataFrame | None = None) -> Figure:
    """AUC with its interval over the error of the map, one panel a manipulation, one marker a map.

    Parameters
    ----------
    table : DataFrame
        As :func:`better_maps.auc_table` returns it.
    errors : DataFrame, optional
        As :func:`better_maps.error_table` returns it; the truth has none, and lies at 0. Without it the maps stand side
        by side.
    """
    panels = list(table.groupby("manipulation", sort=False))
    size = (0.8 + max(1.75 * len(panels), 2.6), 2.7)
    fig, axes = plt.subplots(1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, (name, rows) in zip(axes[0], panels, strict=True):
        for place, row in enumerate(rows.to_dict("records")):
            _marker(ax, row, _place(row["map"], place, errors))
        ax.axhline(0.5, color="0.6", linewidth=1, linestyle=":")
        ax.set(title=name, ylabel="AUC (95 % interval)" if ax is axes[0, 0] else "")
        if errors is None:
            ax.set(xticks=range(len(rows)), xlabel="map", xlim=(-0.5, len(rows) - 0.5))
            ax.set_xticklabels(rows["map"], rotation=40, ha="right", rotation_mode="anchor")
        else:
            ax.set(xlabel="error of the map (px)")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return fig


def _place(name: str, place: int, errors: pd.DataFrame | None) -> tuple[float, float, float]:
    """Where a map stands on the axis: value, low, high."""
    if errors is None:
        return place, place, place
    return (0.0, 0.0, 0.0) if name == TRUE else tuple(errors.loc[name, ERROR])


def _marker(ax: Axes, row: Mapping[str, float], place: tuple[float, float, float]) -> None:
    look = {"markersize": 5, "color": PALETTE[7], "marker": "v", **MAP_LOOKS.get(row["map"], {})}
    across, up = ([[max(0, v - low)], [max(0, high - v)]] for v, low, high in (place, _bounds(row)))
    ax.errorbar(
        place[0],
        row["value"],
        up,
        across,
        elinewidth=1.3,
        linestyle="none",
        label=row["map"],
        **look,
    )


def _bounds(row: Mapping[str, float]) -> tuple[float, float, float]:
    return row["value"], row["low"], row["high"]


@figure
def maps_of_pair(
    images: np.ndarray, maps: Mapping[str, np.ndarray], names: Sequence[str]
) -> Figure:
    """A real image and a manipulated one below it, and their maps of several kinds, all on one scale.

    Parameters
    ----------
    images : (2, H, W, 3) uint8
    maps : mapping of a title to (2, H, W) float, in px
    names : sequence of 2 str
    """
    fig, axes = plt.subplots(2, 1 + len(maps), figsize=(WIDTH * 1.15, 3.1), squeeze=False)
    top = max(1.0, *(float(values.max()) for values in maps.values()))
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        show_image(axes[row, 0], image, "" if row else "photograph")
        row_label(axes[row, 0], name)
        for ax, (title, values) in zip(axes[row, 1:], maps.items(), strict=True):
            shown = show_image(
                ax, values[row], "" if row else title, cmap=SIGMA_COLORS, vmin=0, vmax=top
            )
    fig.colorbar(shown, ax=axes, label="sigma (px)", shrink=0.7)
    return fig
