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
    """Embeddings (N, 2) of a feature space by title, each with its separation scores.

    ``scores`` is the :func:`embedding.separation_table` of these pictures; ``name`` is what the
    legend calls the manipulated images.
    """
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    size = (WIDTH, 3.4 * rows) if columns > 1 else (WIDTH * 0.7, 3.9)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for ax in axes.flat[len(pictures) :]:
        ax.set_visible(False)
    for ax, (title, points) in zip(axes.flat, pictures.items(), strict=False):
        for kind, label, chosen in (("real", "real", ~fake), ("fake", name, fake)):
            look = {"marker": KIND_MARKERS[kind], "color": KIND_COLORS[kind], "label": label}
            ax.scatter(*points[chosen].T, s=14, alpha=0.7, linewidths=0, **look)
        score = scores.loc[title]
        numbers = f"silhouette {score['silhouette']:+.2f}, kNN accuracy {score['kNN accuracy']:.2f}"
        ax.set(title=f"{title}\n{numbers}", xticks=[], yticks=[])
        ax.set(xlabel="first axis (no unit)", ylabel="second axis (no unit)")
        ax.set_aspect("equal", adjustable="datalim")
    axes[0, 0].legend(loc="best", handletextpad=0.2)
    return fig


@figure
def knn_against_untrained(
    accuracies: pd.DataFrame, seeds: pd.DataFrame, training_manipulations: str = ""
) -> Figure:
    """kNN accuracy of features, with its interval, and of their t-SNE, one row per manipulation.

    ``accuracies`` is what :func:`embedding.knn_by_manipulation` returns for ``trained`` and, where
    there are some, ``untrained`` features; of ``seeds``, what :func:`embedding.over_seeds` returns
    for them, mean and extremes are drawn. ``training_manipulations``, separated by commas, are
    marked.
    """
    names = accuracies.index.unique("manipulation").tolist()
    rows = seeds.groupby(level=["manipulation", "features"], sort=False)["kNN accuracy"]
    pictures = rows.agg(["mean", "min", "max"])
    looks = {"trained": (MODEL_COLORS["defocus"], -0.18), "untrained": (PALETTE[7], 0.18)}
    fig, ax = plt.subplots(figsize=(WIDTH, 1.3 + 0.5 * len(names)))
    for kind, (color, above) in looks.items():
        if kind in accuracies.index.unique("features"):
            features, embedded = (
                table.xs(kind, level="features").loc[names] for table in (accuracies, pictures)
            )
            place = np.arange(len(names)) + above - 0.07
            ax.hlines(place, features["low"], features["high"], color=color)
            label = f"{kind}: features"
            ax.plot(features["kNN accuracy"], place, "o", color=color, markersize=5, label=label)
            place = place + 0.14
            ax.hlines(place, embedded["min"], embedded["max"], color=color, linewidth=1)
            hollow = {"color": color, "markerfacecolor": "white", "markersize": 4.5}
            ax.plot(embedded["mean"], place, "D", **hollow, label=f"{kind}: t-SNE")
    ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":", zorder=0)
    training = [name.strip() for name in training_manipulations.split(",")]
    labels = [f"{name}\n(trained on)" if name in training else name for name in names]
    ax.set(ylabel="manipulation", yticks=range(len(names)), yticklabels=labels)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="kNN accuracy (share of images; dotted: one half)")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
