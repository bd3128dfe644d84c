"""Figures of the same detector on each kind of map, and of the maps themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defocus_lib.analysis.detector_by_map import INTERVAL, TRUE
from defocus_lib.analysis.map_accuracy import ERROR
from defocus_lib.figures.style import PALETTE, SIGMA_COLORS, WIDTH, figure, row_label, show_image

OTHER_LOOK: dict[str, Any] = {"markersize": 5, "color": PALETTE[7], "marker": "v"}
# A map is known by its colour and by its marker.
MAP_LOOKS: dict[str, dict[str, Any]] = {
    "released": {"color": PALETTE[0], "marker": "o"},
    "published": {"color": PALETTE[1], "marker": "s"},
    "physical": {"color": PALETTE[2], "marker": "^"},
    "learned": {"color": PALETTE[4], "marker": "D"},
    TRUE: {"color": "black", "marker": "*", "markersize": 9},
}


@figure
def auc_against_error(table: pd.DataFrame, errors: pd.DataFrame | None = None) -> Figure:
    """AUC with its interval over the error of the map: a panel per manipulation, a marker per map.

    From :func:`detector_by_map.auc_table` and :func:`detector_by_map.error_table`; the truth has no
    error and lies at 0. Without errors the maps stand side by side.
    """
    panels = list(table.groupby("manipulation", sort=False))
    size = (0.8 + max(1.75 * len(panels), 2.6), 2.7)
    fig, axes = plt.subplots(1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, (name, rows) in zip(axes[0], panels, strict=True):
        for place, row in enumerate(rows.to_dict("records")):
            _marker(ax, row, _position(row["map"], place, errors))
        ax.axhline(0.5, color="0.6", linewidth=1, linestyle=":")
        ax.set(title=name, ylabel="AUC (95 % interval)" if ax is axes[0, 0] else "")
        if errors is None:
            ax.set(xticks=range(len(rows)), xlabel="map", xlim=(-0.5, len(rows) - 0.5))
            ax.set_xticklabels(rows["map"], rotation=40, ha="right", rotation_mode="anchor")
        else:
            ax.set(xlabel="error of the map (px)")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return fig


def _position(name: str, place: int, errors: pd.DataFrame | None) -> Sequence[float]:
    """Value, low and high of a map on the horizontal axis."""
    if errors is None:
        return [place] * 3
    return [0.0] * 3 if name == TRUE else errors.loc[name, ERROR].tolist()


def _marker(ax: Axes, row: Mapping[str, Any], position: Sequence[float]) -> None:
    bars = [
        [[max(0, value - low)], [max(0, high - value)]]
        for value, low, high in (position, [row[name] for name in INTERVAL])
    ]
    look = OTHER_LOOK | MAP_LOOKS.get(row["map"], {})
    options = {"elinewidth": 1.3, "linestyle": "none", "label": row["map"]}
    ax.errorbar(position[0], row["value"], xerr=bars[0], yerr=bars[1], **options, **look)


@figure
def maps_of_pair(
    images: np.ndarray, maps: Mapping[str, np.ndarray], names: Sequence[str]
) -> Figure:
    """A real image, a manipulated one below it, and their maps of several kinds on one scale.

    ``images`` (2, H, W, 3) uint8; ``maps`` (2, H, W) in px by title; ``names`` of the two rows.
    """
    fig, axes = plt.subplots(2, 1 + len(maps), figsize=(WIDTH * 1.15, 3.1), squeeze=False)
    top = max(1.0, *(float(values.max()) for values in maps.values()))
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        show_image(axes[row, 0], image)
        row_label(axes[row, 0], name)
        for ax, values in zip(axes[row, 1:], maps.values(), strict=True):
            shown = show_image(ax, values[row], cmap=SIGMA_COLORS, vmin=0, vmax=top)
    for ax, title in zip(axes[0], ["photograph", *maps], strict=True):
        ax.set_title(title)
    fig.colorbar(shown, ax=axes, label="sigma (px)", shrink=0.7)
    return fig
