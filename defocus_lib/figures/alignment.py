"""Figures of the alignment score (page 09)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from defocus_lib.figures.style import MODEL_COLORS, MODEL_NAMES, PALETTE, WIDTH, figure


@figure
def alignment_bars(
    edges: np.ndarray, weights: Mapping[str, np.ndarray], scores: pd.DataFrame, title: str = ""
) -> Figure:
    """The histograms of one pair: where the maps differ, and where each model looks.

    Parameters
    ----------
    edges : (bins + 1,)
    weights : mapping of str to (bins,)
        ``"difference"``, the models, and ``"uniform"``.
    scores : DataFrame
        Index model, columns ``score`` and ``KL``.
    title : str
        Names the pair.
    """
    models = [name for name in weights if name not in ("difference", "uniform")]
    fig, axes = plt.subplots(1, len(models), figsize=(WIDTH, 3.3), sharey=True, squeeze=False)
    centres, step = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    handles = {}
    for ax, model in zip(axes[0], models, strict=True):
        name, color = MODEL_NAMES.get(model, model), MODEL_COLORS.get(model, PALETTE[3])
        ax.bar(
            centres - 0.22 * step,
            weights["difference"],
            0.42 * step,
            color=PALETTE[7],
            label="|fake - real|",
        )
        ax.bar(
            centres + 0.22 * step,
            weights[model],
            0.42 * step,
            color=color,
            label=f"|Shapley|, {name}",
        )
        ax.stairs(
            weights["uniform"],
            edges,
            color="black",
            linewidth=1,
            linestyle=":",
            label="uniform attribution",
        )
        score = scores.loc[model]
        ax.set(title=f"{name}: score {score['score']:.3f}, KL {score['KL']:.3f}")
        ax.set(xlabel="value of the manipulated map (no unit)", xlim=(0, 1))
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    axes[0, 0].set_ylabel("share of the weight in the bin")
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    fig.suptitle(title, fontsize=9)
    return fig


@figure
def alignment_scores(table: pd.DataFrame) -> Figure:
    """Distribution of the alignment score over the pairs, for each manipulation and model.

    Parameters
    ----------
    table : DataFrame
        Columns ``manipulation``, ``model``, ``score``; one row a pair and model.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.4))
    models = [name for name in MODEL_COLORS if name in set(table["model"])]
    shared = {
        "data": table,
        "x": "manipulation",
        "y": "score",
        "hue": "model",
        "hue_order": models,
        "palette": MODEL_COLORS,
    }
    sns.stripplot(**shared, ax=ax, dodge=True, size=2.5, alpha=0.45, jitter=0.12, legend=False)
    mean = {
        "errorbar": "sd",
        "dodge": 0.8 * (1 - 1 / len(models)),
        "linestyle": "none",
        "legend": False,
    }
    sns.pointplot(
        **shared, ax=ax, marker="D", markersize=4, capsize=0.06, err_kws={"linewidth": 1.6}, **mean
    )
    ax.set(xlabel="manipulation", ylabel="alignment score (overlap, no unit)", ylim=(0, 1))
    handles = [
        Line2D([], [], color=MODEL_COLORS[name], label=MODEL_NAMES[name], linewidth=2)
        for name in models
    ]
    fig.legend(
        handles=handles,
        loc="outside upper center",
        ncols=3,
        title="dots: pairs; diamond and bar: mean and spread",
    )
    return fig
