"""Figures of the alignment score (page 09)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from defocus_lib.figures.style import (
    MODEL_COLORS,
    MODEL_NAMES,
    PALETTE,
    WIDTH,
    figure,
    legend_below,
)


@figure
def alignment_bars(
    edges: np.ndarray, weights: Mapping[str, np.ndarray], scores: pd.DataFrame, title: str = ""
) -> Figure:
    """The histograms of one pair: where the maps differ, and where each model looks.

    ``edges`` (bins + 1,) are the borders of the bins; ``weights`` (bins,) those of
    ``"difference"``, the models, and ``"uniform"``; ``scores`` has the index model and the columns
    ``score`` and ``KL``.
    """
    models = [name for name in weights if name not in ("difference", "uniform")]
    fig, axes = plt.subplots(1, len(models), figsize=(WIDTH, 3.3), sharey=True, squeeze=False)
    centres, step = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    uniform = {"color": "black", "linewidth": 1, "linestyle": ":", "label": "uniform attribution"}
    for ax, model in zip(axes[0], models, strict=True):
        name = MODEL_NAMES.get(model, model)
        bars = {
            "difference": (-0.22, PALETTE[7], "|fake - real|"),
            model: (0.22, MODEL_COLORS.get(model, PALETTE[3]), f"|Shapley|, {name}"),
        }
        for kind, (shift, color, label) in bars.items():
            ax.bar(centres + shift * step, weights[kind], 0.42 * step, color=color, label=label)
        ax.stairs(weights["uniform"], edges, **uniform)
        score = scores.loc[model]
        ax.set(title=f"{name}: score {score['score']:.3f}, KL {score['KL']:.3f}")
        ax.set(xlabel="value of the manipulated map (no unit)", xlim=(0, 1))
    axes[0, 0].set_ylabel("share of the weight in the bin")
    legend_below(fig, axes[0])
    fig.suptitle(title, fontsize=9)
    return fig


@figure
def alignment_scores(table: pd.DataFrame) -> Figure:
    """Distribution of the alignment score over the pairs, for each manipulation and model.

    ``table`` has one row per pair and model, with columns ``manipulation``, ``model``, ``score``.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.4))
    models = [name for name in MODEL_COLORS if name in set(table["model"])]
    shared = {"data": table, "x": "manipulation", "y": "score", "ax": ax, "legend": False}
    shared |= {"hue": "model", "hue_order": models, "palette": MODEL_COLORS}
    sns.stripplot(**shared, dodge=True, size=2.5, alpha=0.45, jitter=0.12)
    mean = {"errorbar": "sd", "dodge": 0.8 * (1 - 1 / len(models)), "linestyle": "none"}
    bars = {"marker": "D", "markersize": 4, "capsize": 0.06, "err_kws": {"linewidth": 1.6}}
    sns.pointplot(**shared, **mean, **bars)
    ax.set(xlabel="manipulation", ylabel="alignment score (overlap, no unit)", ylim=(0, 1))
    handles = [
        Line2D([], [], color=MODEL_COLORS[name], label=MODEL_NAMES[name], linewidth=2)
        for name in models
    ]
    title = "dots: pairs; diamond and bar: mean and standard deviation"
    fig.legend(handles=handles, loc="outside upper center", ncols=3, title=title)
    return fig
