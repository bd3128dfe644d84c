"""The figure of the page Status: what made what, from what, in how long."""

from __future__ import annotations

import re
from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from defocus_lib.figures.style import PALETTE, WIDTH, figure

MADE, READ = PALETTE[0], PALETTE[1]


def files_of_all(graph: Mapping[str, Mapping[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
    """The ``graph`` with one name, ``claims/*.json``, for a file that every notebook has."""
    pattern = re.compile(r"^(claims|runs|stages)/.*(\.\w+)$")
    return {
        notebook: {
            role: list(dict.fromkeys(pattern.sub(r"\1/*\2", name) for name in names))
            for role, names in files.items()
        }
        for notebook, files in graph.items()
    }


@figure
def provenance(
    graph: Mapping[str, Mapping[str, list[str]]], seconds: Mapping[str, float]
) -> Figure:
    """One column per notebook, one row per file: who wrote it (dot) and who reads it (circle).

    ``graph`` has the files that each notebook ``reads`` and ``writes``; bars above are the
    ``seconds`` that it took, in minutes.
    """
    graph = files_of_all(graph)
    notebooks = list(graph)
    made = [name for files in graph.values() for name in files["writes"]]
    rows = {name: row for row, name in enumerate(dict.fromkeys(made))}
    fig, (bars, ax) = plt.subplots(
        2, 1, sharex=True, height_ratios=(1, 4), figsize=(WIDTH, 2.4 + 0.2 * len(rows))
    )
    bars.bar(range(len(notebooks)), [seconds.get(name, 0) / 60 for name in notebooks], color="0.6")
    bars.set(ylabel="time (min)")
    for name, row in rows.items():
        columns = [
            column
            for column, files in enumerate(graph.values())
            if name in [*files["reads"], *files["writes"]]
        ]
        ax.hlines(row, min(columns), max(columns), color="0.8", linewidth=1)
    for role, color, filled in (("writes", MADE, MADE), ("reads", READ, "white")):
        points = [
            (column, rows[name])
            for column, files in enumerate(graph.values())
            for name in files[role]
            if name in rows
        ]
        label = {"writes": "written by", "reads": "read by"}[role]
        ax.plot(*zip(*points, strict=True), "o", color=color, markerfacecolor=filled, label=label)
    ax.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
    ax.set_xticks(range(len(notebooks)), notebooks, rotation=60, ha="right")
    ax.grid(axis="x", color="0.93")
    ax.legend(loc="lower left", frameon=True)
    return fig
