"""Figures of t-SNE and UMAP (page 07)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from defocus_lib.figures.style import (
    KIND_COLORS,
    KIND_MARKERS,
    MODEL_COLORS,
    PALETTE,
    WIDTH,
    figure,
)


@figure
def embeddings(
    pictures: Mapping[str, np.ndarray],
    fake: np.ndarray,
    scores: pd.DataFrame,
    name: str = "manipulated",
    columns: int = 2,
) -> Figure:
    """Two-dimensional pictures of a feature space, each with its separation scores in the title.

    Parameters
    ----------
    pictures : mapping of str to (N, 2)
        Title -> embedding.
    fake : (N,) bool
    scores : DataFrame
        As :func:`embedding.separation_table` returns it for these pictures.
    name : str
        What the manipulated images are called in the legend.
    """
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    size = (WIDTH, 3.4 * rows) if columns > 1 else (WIDTH * 0.7, 3.9)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for ax in axes.flat[len(pictures) :]:
        ax.set_visible(False)
    for ax, (title, points) in zip(axes.flat, pictures.items(), strict=False):
        for kind, chosen in (("real", ~fake), ("fake", fake)):
            look = {
                "s": 14,
                "marker": KIND_MARKERS[kind],
                "color": KIND_COLORS[kind],
                "alpha": 0.7,
                "linewidths": 0,
            }
            ax.scatter(*points[chosen].T, label=name if kind == "fake" else kind, **look)
        score = scores.loc[title]
        numbers = f"silhouette {score['silhouette']:+.2f}, kNN accuracy {score['kNN accuracy']:.2f}"
        ax.set(
            title=f"{title}\n{numbers}",
            xticks=[],
            yticks=[],
            xlabel="first axis (no unit)",
            ylabel="second axis (no unit)",
        )
        ax.set_aspect("equal", adjustable="datalim")
    axes[0, 0].legend(loc="best", handletextpad=0.2)
    return fig


@figure
def votes_against_untrained(votes: pd.DataFrame, seeds: pd.DataFrame, learned: str = "") -> Figure:
    """kNN accuracy of the features, with its interval, and of their t-SNE pictures; one row a manipulation.

    Parameters
    ----------
    votes : DataFrame
        As :func:`embedding.votes_by_manipulation` returns it for ``trained`` and, where there are some, ``untrained``.
    seeds : DataFrame
        As :func:`embedding.over_seeds` returns it for the same features; the mean and the extreme seeds are drawn.
    learned : str
        What the detector was trained on, to be marked; names separated by commas.
    """
    names = votes.index.unique("manipulation").tolist()
    drawn = seeds.groupby(level=["manipulation", "features"], sort=False)["kNN accuracy"].agg(
        ["mean", "min", "max"]
    )
    looks = {"trained": (MODEL_COLORS["defocus"], -0.18), "untrained": (PALETTE[7], 0.18)}
    fig, ax = plt.subplots(figsize=(WIDTH, 1.3 + 0.5 * len(names)))
    for kind, (color, above) in looks.items():
        if kind in votes.index.unique("features"):
            place = np.arange(len(names)) + above
            one, many = (table.xs(kind, level="features").loc[names] for table in (votes, drawn))
            ax.hlines(place - 0.07, one["low"], one["high"], color=color)
            ax.plot(
                one["kNN accuracy"],
                place - 0.07,
                "o",
                color=color,
                markersize=5,
                label=f"{kind}: features",
            )
            ax.hlines(place + 0.07, many["min"], many["max"], color=color, linewidth=1)
            hollow = {"color": color, "markerfacecolor": "white", "markersize": 4.5}
            ax.plot(many["mean"], place + 0.07, "D", **hollow, label=f"{kind}: t-SNE")
    ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":", zorder=0)
    known = [name.strip() for name in learned.split(",")]
    labels = [f"{name}\n(learned)" if name in known else name for name in names]
    ax.set(
        ylabel="manipulation",
        yticks=range(len(names)),
        yticklabels=labels,
        ylim=(len(names) - 0.5, -0.5),
    )
    ax.set_xlabel(
        "kNN accuracy: share of images for which their neighbours vote right (dotted: one half)"
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
