"""One function a figure. They take arrays and tables, return a matplotlib ``Figure`` and save nothing.

Each public function is wrapped by :func:`figure`, which sets the style for that figure only and closes it, so that a
notebook shows what the cell returns once.
"""

from __future__ import annotations

import functools
import itertools
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

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
MODEL_COLORS = {"defocus": PALETTE[2], "rgb": PALETTE[4], "fusion": PALETTE[0], "uniform": PALETTE[7]}
MODEL_NAMES = {
    "defocus": "defocus detector",
    "rgb": "RGB detector",
    "fusion": "fusion detector",
    "uniform": "uniform attribution",
}
MODEL_MARKERS = {"defocus": "o", "rgb": "s", "fusion": "D"}
SCORES = {"val_auc": ("AUC", "-"), "val_accuracy": ("accuracy", ":")}  # on validation: their names and lines
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


def row_label(ax: Axes, text: str, room: int = 26) -> None:
    """Name a row of images at its first one, with at most ``room`` letters a line.

    A long id, and that of a frame, is broken before its manipulation; what is still too long loses its beginning.
    """
    lines = text.rsplit("/", 1) if text.count("/") > 1 or len(text) > room else [text]
    shortened = (line if len(line) <= room else "\N{HORIZONTAL ELLIPSIS}" + line[1 - room :] for line in lines)
    ax.set_ylabel("/\n".join(shortened), rotation=90, labelpad=6)


def manipulation_colors(names: Iterable[str]) -> dict[str, str]:
    """A colour for each manipulation: the same in every figure for those we know, then whatever is left."""
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


@figure
def mask_triptychs(
    images: np.ndarray, fake: np.ndarray, real: np.ndarray, masks: np.ndarray, regions: np.ndarray, names: Sequence[str]
) -> Figure:
    """Manipulated image, its map, the real map, and the mask between them with its count: one row a pair.

    Parameters
    ----------
    images : (K, H, W, 3) uint8
    fake, real : (K, H, W), normalised maps in [0, 1]
    masks, regions : (K, H, W) bool
        Active pixels; manipulated pixels, drawn as an outline.
    names : K str
        Row labels.
    """
    rows, pixels = len(fake), fake[0].size
    fig, axes = plt.subplots(rows, 4, figsize=(WIDTH, 1.9 * rows + 0.9), squeeze=False)
    for ax, title in zip(
        axes[0], ("manipulated image", "its map", "map of the real image", "binary mask"), strict=True
    ):
        ax.set_title(title)
    for row, name in enumerate(names):
        show_image(axes[row, 0], images[row], axes[row, 0].get_title())
        for ax, values in zip(axes[row, 1:3], (fake, real), strict=True):
            shown = show_image(ax, values[row], ax.get_title(), cmap=MAP_COLORS, vmin=0, vmax=1)
        show_image(axes[row, 3], masks[row], axes[row, 3].get_title(), cmap="gray", vmin=0, vmax=1)
        for ax in axes[row, [0, 3]]:
            outline(ax, regions[row])
        count = int(masks[row].sum())
        axes[row, 3].set_xlabel(f"{count:,} px ({100 * count / pixels:.1f} %)")
        row_label(axes[row, 0], name)
    bar = fig.colorbar(shown, ax=axes[:, 1:3], location="bottom", shrink=0.6, aspect=40, pad=0.01)
    bar.set_label("normalised defocus map")
    return fig


@figure
def mask_sweep(
    ours: pd.DataFrame,
    published: pd.DataFrame,
    counterpart: Mapping[str, str],
    source: str,
    intervals: tuple[pd.DataFrame, pd.DataFrame] | None = None,
) -> Figure:
    """Share of active pixels over the threshold, ours and the published one.

    Parameters
    ----------
    ours, published : DataFrame
        One row a threshold, one column a manipulation, in percent of the image.
    counterpart : mapping of str to str
        Manipulation -> the published column drawn in its colour. Others have none. Where a manipulation is its own
        counterpart, the data are the same and the legend does not call them other data.
    source : str
        Name of the published data, for the legend.
    intervals : (DataFrame, DataFrame), optional
        Lower and upper bounds of ``ours``, drawn as a band.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.8))
    lines, other_lines = [], []
    for name, color in manipulation_colors(ours.columns).items():
        lines += ax.plot(ours.index, ours[name], "o-", color=color, markersize=4, label=name)
        if intervals is not None:
            ax.fill_between(ours.index, *(side[name] for side in intervals), color=color, alpha=0.15, linewidth=0)
        if (other := counterpart.get(name)) in published:
            look = {"color": color, "linewidth": 1.2, "alpha": 0.9}
            other_lines += ax.plot(published.index, published[other], "--", **look, label=other)
    ax.set(xscale="log", xlabel="threshold on |fake - real| (normalised map)", ylabel="mean active pixels (% of image)")
    ax.set_ylim(bottom=0)
    ax.invert_xaxis()  # from strict to lenient, as the published table is ordered
    fig.legend(handles=lines, title="this run", alignment="left", loc="outside right upper")
    if other_lines:
        same = any(name == other for name, other in counterpart.items())
        title = textwrap.fill(f"{'published' if same else 'other data'}: {source}", 20)
        fig.legend(handles=other_lines, title=title, alignment="left", loc="outside right lower")
    return fig


@figure
def variance_pairs(
    images: np.ndarray, real: np.ndarray, fake: np.ndarray, regions: np.ndarray, names: Sequence[str]
) -> Figure:
    """Heatmaps of local variance, real and manipulated on one scale: one row a pair.

    Parameters
    ----------
    images : (K, H, W, 3) uint8
        The manipulated images.
    real, fake : (K, H, W)
        Local variance, in squared units of the normalised map.
    regions : (K, H, W) bool
        Manipulated pixels, drawn as an outline.
    names : K str
        Row labels.
    """
    rows = len(real)
    fig, axes = plt.subplots(rows, 3, figsize=(WIDTH * 0.86, 2.05 * rows + 0.3), squeeze=False)
    for row, name in enumerate(names):
        top = max(real[row].max(), fake[row].max()) or 1.0
        titles = (
            ("manipulated image", "variance of the real map", "of the manipulated map") if row == 0 else ("", "", "")
        )
        show_image(axes[row, 0], images[row], titles[0])
        outline(axes[row, 0], regions[row])
        for ax, values, title in zip(axes[row, 1:], (real[row], fake[row]), titles[1:], strict=True):
            shown = show_image(ax, values, title, cmap="hot", vmin=0, vmax=top)
            ax.set_xlabel(f"mean {values.mean():.4f}")
        fig.colorbar(shown, ax=axes[row, 1:], shrink=0.85, aspect=14, label="local variance")
        row_label(axes[row, 0], name)
    return fig


def _largest_gap(real: np.ndarray, fake: np.ndarray) -> tuple[float, float, float]:
    """Where the two empirical distribution functions lie furthest apart: position and both heights."""
    at = np.sort(np.concatenate([real, fake]))
    heights = [np.searchsorted(np.sort(values), at, side="right") / len(values) for values in (real, fake)]
    widest = np.argmax(np.abs(heights[0] - heights[1]))
    return at[widest], heights[0][widest], heights[1][widest]


@figure
def variance_distributions(long: pd.DataFrame, tests: pd.DataFrame, unit: str = "image") -> Figure:
    """Distribution of the mean local variance of each image: histogram above, empirical distribution function below.

    Real and manipulated images may differ in number: both are shown as shares of their own kind.

    Parameters
    ----------
    long : DataFrame
        As :func:`variance.long_table` returns it.
    tests : DataFrame
        As :func:`variance.comparison_table` returns it; D and p stand in the panels.
    unit : str
        What a row of ``long`` is, for the labels; "video" if it holds the means of videos.
    """
    names = list(tests.index)
    fig, axes = plt.subplots(
        2, len(names), figsize=(WIDTH, 3.9), sharex=True, sharey="row", squeeze=False, height_ratios=[1, 1.3]
    )
    bins = np.histogram_bin_edges(long["variance"], bins=16)
    for (top, bottom), name in zip(axes.T, names, strict=True):
        rows = long[long["manipulation"] == name]
        shared = {
            "x": "variance",
            "hue": "kind",
            "palette": KIND_COLORS,
            "hue_order": ["real", "fake"],
            "legend": False,
        }
        share = {"stat": "percent", "common_norm": False}
        sns.histplot(rows, ax=top, bins=bins, element="step", fill=True, alpha=0.25, **share, **shared)
        sns.ecdfplot(rows, ax=bottom, **shared)
        x, low, high = _largest_gap(
            *(rows.loc[rows["kind"] == kind, "variance"].to_numpy() for kind in ("real", "fake"))
        )
        bottom.vlines(x, low, high, color="black", linewidth=1.2)
        test = tests.loc[name]
        gap = ", " if len(names) < 4 else "\n"
        bottom.set_title(f"KS D = {test['KS D']:.2f}{gap}p = {test['KS p']:.2g}", fontsize=8)
        top.set(title=name, xlabel="", ylabel=f"{unit}s (%)")
        bottom.set(xlabel="", ylabel=f"share of {unit}s\nat or below")
        bottom.locator_params(axis="x", nbins=4 if len(names) < 5 else 3)
    fig.supxlabel(f"mean local variance of the {unit} (squared units of the normalised map)", fontsize=9)
    axes[1, 0].set_ylim(0, 1.03)
    handles = [Line2D([], [], color=color, label=KIND_NAMES[kind]) for kind, color in KIND_COLORS.items()]
    fig.legend(handles=handles, loc="outside upper right", ncols=2)
    return fig


@figure
def effect_intervals(table: pd.DataFrame, unit: str = "") -> Figure:
    """Effect sizes with their intervals: one panel an effect, one row a manipulation; dotted where there is no effect.

    Parameters
    ----------
    table : DataFrame
        As :func:`effects.effect_table` returns it.
    unit : str
        Of the Wasserstein distance, for its label.
    """
    effects, names = table["effect"].unique().tolist(), table["manipulation"].unique().tolist()
    size = (WIDTH, max(1.8, 1.1 + 0.26 * len(names)))
    fig, axes = plt.subplots(1, len(effects), figsize=size, sharey=True, squeeze=False)
    for ax, effect in zip(axes[0], effects, strict=True):
        rows = table[table["effect"] == effect].set_index("manipulation")
        for place, (name, color) in enumerate(manipulation_colors(names).items()):
            ax.hlines(place, rows.loc[name, "low"], rows.loc[name, "high"], color=color, linewidth=1.6)
            ax.plot(rows.loc[name, "value"], place, "o", color=color, markersize=5)
        ax.axvline(0, color="0.6", linewidth=1, linestyle=":", zorder=0)
        ax.set_xlabel(f"{effect}\n({unit})" if effect == "Wasserstein" and unit else f"{effect}\n(no unit)")
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3), useMathText=True)
        ax.locator_params(axis="x", nbins=5)
        ax.margins(x=0.08)
    axes[0, 0].set(ylabel="manipulation", yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    return fig


TEST_NAMES = {"naive KS p": "KS, naive", "KS p": "KS, by group", "paired p": "paired, by group"}


@figure
def false_alarm_rates(tables: Mapping[str, pd.DataFrame], level: float = 0.05) -> Figure:
    """False alarms of each test over the correlation of images of a group; one panel a table.

    Parameters
    ----------
    tables : mapping of a title to DataFrame
        As :func:`variance.false_alarms` returns it.
    level : float
        Nominal share of false alarms, dotted.
    """
    fig, axes = plt.subplots(1, len(tables), figsize=(WIDTH, 3.0), sharey=True, squeeze=False)
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        ax.axhline(level, color="0.4", linewidth=1, linestyle=":", label=f"nominal, {level:.0%}", zorder=0)
        for name, color, marker in zip(table, (PALETTE[1], PALETTE[0], PALETTE[2]), "^so", strict=True):
            ax.plot(table.index, table[name], marker + "-", color=color, markersize=4, label=TEST_NAMES[name])
        ax.set(xlabel="correlation of images of a group", title=title, ylim=(-0.02, 1))
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    axes[0, 0].set_ylabel("false alarms")
    _legend_below(fig, axes[0, :1])
    return fig


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
            look = {"s": 14, "marker": KIND_MARKERS[kind], "color": KIND_COLORS[kind], "alpha": 0.7, "linewidths": 0}
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
    drawn = seeds.groupby(level=["manipulation", "features"], sort=False)["kNN accuracy"].agg(["mean", "min", "max"])
    looks = {"trained": (MODEL_COLORS["defocus"], -0.18), "untrained": (PALETTE[7], 0.18)}
    fig, ax = plt.subplots(figsize=(WIDTH, 1.3 + 0.5 * len(names)))
    for kind, (color, above) in looks.items():
        if kind in votes.index.unique("features"):
            place = np.arange(len(names)) + above
            one, many = (table.xs(kind, level="features").loc[names] for table in (votes, drawn))
            ax.hlines(place - 0.07, one["low"], one["high"], color=color)
            ax.plot(one["kNN accuracy"], place - 0.07, "o", color=color, markersize=5, label=f"{kind}: features")
            ax.hlines(place + 0.07, many["min"], many["max"], color=color, linewidth=1)
            hollow = {"color": color, "markerfacecolor": "white", "markersize": 4.5}
            ax.plot(many["mean"], place + 0.07, "D", **hollow, label=f"{kind}: t-SNE")
    ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":", zorder=0)
    known = [name.strip() for name in learned.split(",")]
    labels = [f"{name}\n(learned)" if name in known else name for name in names]
    ax.set(ylabel="manipulation", yticks=range(len(names)), yticklabels=labels, ylim=(len(names) - 0.5, -0.5))
    ax.set_xlabel("kNN accuracy: share of images for which their neighbours vote right (dotted: one half)")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def symmetric_limit(values: np.ndarray) -> tuple[float, int]:
    """The 99.5th percentile of the absolute values as ``limit * 10**exponent``; ``(1, 0)`` if all are 0."""
    size = np.abs(values)
    limit = float(np.percentile(size, 99.5)) or float(size.max())
    if limit == 0:
        return 1.0, 0
    exponent = int(np.floor(np.log10(limit)))
    return limit / 10.0**exponent, exponent


@figure
def shapley_views(
    images: np.ndarray, rgb: np.ndarray, defocus: np.ndarray, regions: np.ndarray, names: Sequence[str]
) -> Figure:
    """Original | Shapley values of the RGB detector | of the defocus detector: one row an image.

    Each image and model has its own symmetric scale, cut at the 99.5th percentile of the absolute values. The sum is
    the share of the detector's answer that these pixels explain.

    Parameters
    ----------
    images : (K, H, W, 3) uint8
    rgb, defocus : (K, H, W)
        Shapley values in logits.
    regions : (K, H, W) bool
        Manipulated pixels, drawn as an outline.
    names : K str
        Row labels.
    """
    rows = len(images)
    fig, axes = plt.subplots(rows, 3, figsize=(WIDTH, 2.2 * rows + 0.2), squeeze=False)
    titles = ("original", "RGB Shapley values", "defocus Shapley values")
    for row, name in enumerate(names):
        show_image(axes[row, 0], images[row], titles[0] if row == 0 else "")
        outline(axes[row, 0], regions[row])
        row_label(axes[row, 0], name)
        for ax, values, title in zip(axes[row, 1:], (rgb[row], defocus[row]), titles[1:], strict=True):
            limit, exponent = symmetric_limit(values)
            scaled = values / 10.0**exponent
            shown = show_image(ax, scaled, title if row == 0 else "", cmap="seismic", vmin=-limit, vmax=limit)
            outline(ax, regions[row], color="black")
            ax.set_xlabel(f"sum {values.sum():+.2f} logits")
            bar = fig.colorbar(shown, ax=ax, shrink=0.85, aspect=14, extend="both")
            bar.set_label(f"$10^{{{exponent}}}$ logits per pixel")
    return fig


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
        ax.bar(centres - 0.22 * step, weights["difference"], 0.42 * step, color=PALETTE[7], label="|fake - real|")
        ax.bar(centres + 0.22 * step, weights[model], 0.42 * step, color=color, label=f"|Shapley|, {name}")
        ax.stairs(weights["uniform"], edges, color="black", linewidth=1, linestyle=":", label="uniform attribution")
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
    mean = {"errorbar": "sd", "dodge": 0.8 * (1 - 1 / len(models)), "linestyle": "none", "legend": False}
    sns.pointplot(**shared, ax=ax, marker="D", markersize=4, capsize=0.06, err_kws={"linewidth": 1.6}, **mean)
    ax.set(xlabel="manipulation", ylabel="alignment score (overlap, no unit)", ylim=(0, 1))
    handles = [Line2D([], [], color=MODEL_COLORS[name], label=MODEL_NAMES[name], linewidth=2) for name in models]
    fig.legend(
        handles=handles, loc="outside upper center", ncols=3, title="dots: pairs; diamond and bar: mean and spread"
    )
    return fig


@figure
def localisation_bars(table: pd.DataFrame) -> Figure:
    """Precision and recall of the mask against the manipulated region, and the precision of a random mask.

    Parameters
    ----------
    table : DataFrame
        As :func:`mask.localisation_table` returns it.
    """
    fig, ax = plt.subplots(figsize=(WIDTH * (0.75 if len(table) < 5 else 1), 3.0))
    long = table.reset_index().melt("manipulation", ["precision", "recall"], var_name="measure")
    sns.barplot(long, x="manipulation", y="value", hue="measure", palette=[PALETTE[0], PALETTE[1]], ax=ax, gap=0.1)
    places = np.arange(len(table))
    ax.hlines(
        table["by chance"], places - 0.42, places + 0.42, color="black", linestyle=":", label="precision by chance"
    )
    ax.set(xlabel="manipulation", ylabel="mean over the pairs", ylim=(0, 1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(title="", loc="upper left", bbox_to_anchor=(1.01, 1))
    return fig


@figure
def scene_gallery(
    images: np.ndarray, regions: np.ndarray, sigma: np.ndarray, scenes: Sequence[str], names: Sequence[str]
) -> Figure:
    """One row a scene: the true blur, the real photograph, and its twins with the manipulated region outlined.

    Parameters
    ----------
    images : (S, K, H, W, 3) uint8
    regions : (S, K, H, W) bool
    sigma : (S, H, W), in px
    scenes, names : S and K str
        Row labels; column titles.
    """
    rows, columns = images.shape[:2]
    fig, axes = plt.subplots(rows, columns + 1, figsize=(WIDTH, WIDTH / (columns + 1) * rows + 0.9), squeeze=False)
    for row in range(rows):
        shown = show_image(
            axes[row, 0],
            sigma[row],
            "true blur" if row == 0 else "",
            cmap=SIGMA_COLORS,
            vmin=0,
            vmax=np.ceil(sigma.max()),
        )
        row_label(axes[row, 0], scenes[row])
        for column, name in enumerate(names):
            show_image(axes[row, column + 1], images[row, column], name if row == 0 else "")
            outline(axes[row, column + 1], regions[row, column], color="white")
    fig.colorbar(shown, ax=axes, location="bottom", shrink=0.4, aspect=40, pad=0.01).set_label("sigma (px)")
    return fig


@figure
def image_gallery(
    images: Sequence[Sequence[np.ndarray | None]], row_names: Sequence[str], column_names: Sequence[str]
) -> Figure:
    """A grid of images: one row a group, one column the real image or a manipulation.

    Parameters
    ----------
    images : R rows of C (H, W, 3) uint8, or one (R, C, H, W, 3) array
        None leaves the place blank.
    row_names, column_names : R and C str
    """
    rows, columns = len(row_names), len(column_names)
    side = min(WIDTH / columns, 2.4)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, side * rows + 0.3), squeeze=False)
    for ax, name in zip(axes[0], column_names, strict=True):
        ax.set_title(name)
    for row, name, places in zip(images, row_names, axes, strict=True):
        for ax, image in zip(places, row, strict=True):
            if image is None:
                ax.set(xticks=[], yticks=[], facecolor="none", box_aspect=1)
                sns.despine(ax=ax, left=True, bottom=True)
            else:
                show_image(ax, image, ax.get_title())
        row_label(places[0], name, room=int(13 * side))
    return fig


@figure
def preview(images: np.ndarray, maps: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Photograph and map side by side, with what the image is and what the detector says.

    Parameters
    ----------
    images : (N, H, W, 3) uint8
    maps : (N, H, W), normalised maps in [0, 1]
    labels : (N,)
        1 = fake.
    probabilities : (N,)
        Of being fake, in [0, 1].
    """
    pairs = min(2, len(images))
    rows = -(-len(images) // pairs)
    fig, axes = plt.subplots(rows, 2 * pairs, figsize=(1.9 * 2 * pairs, 2.15 * rows), squeeze=False)
    places = axes.reshape(-1, 2)
    for ax in places[len(images) :].flat:
        ax.set_visible(False)
    for (left, right), image, values, label, probability in zip(
        places, images, maps, labels, probabilities, strict=False
    ):
        show_image(left, image)
        show_image(right, values, cmap=MAP_COLORS, vmin=0, vmax=1)
        left.set_title(f"{'fake' if label else 'real'}, p(fake) = {probability:.2f}", loc="left")
    return fig


@figure
def lens_curves(distance: np.ndarray, sigmas: Mapping[str, np.ndarray]) -> Figure:
    """Blur against distance for several lenses: ``distance`` (D,) in m, each curve (D,) in px."""
    fig, ax = plt.subplots(figsize=(WIDTH * 0.7, 2.6))
    for (name, sigma), color, dash in zip(sigmas.items(), PALETTE, ("-", "--", ":", "-."), strict=False):
        ax.plot(distance, sigma, dash, color=color, label=name)
    ax.set(xlabel="distance (m)", ylabel="sigma (px)", ylim=(0, None))
    ax.legend()
    return fig


@figure
def map_stages(image: np.ndarray, stages: Mapping[str, np.ndarray], sigma: np.ndarray | None = None) -> Figure:
    """The stages of one map, beside the truth if it is known.

    Parameters
    ----------
    image : (H, W, 3) uint8
    stages : mapping with ``edges`` (H, W) bool, ``sparse`` (H, W) px, ``valid`` (H, W) bool, ``dense`` (H, W) px
    sigma : (H, W), optional
        True blur in px.
    """
    known = {"dense": stages["dense"]} | ({} if sigma is None else {"true blur": sigma})
    top = float(np.ceil(max(np.percentile(stages["dense"], 99), 0.5 if sigma is None else sigma.max())))
    fig, axes = plt.subplots(2, 3, figsize=(WIDTH, 5.6))
    show_image(axes[0, 0], image, "photograph")
    # Fewer edge pixels than ink: drawn dark on white.
    show_image(axes[0, 1], stages["edges"], "edges", cmap="gray_r", vmin=0, vmax=1)
    invalid = stages["edges"] & ~stages["valid"]
    show_image(axes[0, 2], invalid, "edges without a measurement", cmap="gray_r", vmin=0, vmax=1)
    options = {"cmap": SIGMA_COLORS, "vmin": 0, "vmax": top}
    _show_sparse(axes[1, 0], stages["sparse"], stages["valid"], **options)
    for ax, (title, values) in zip(axes[1, 1:], known.items(), strict=False):
        shown = show_image(ax, values, title, **options)
    if sigma is None:
        axes[1, 2].set_axis_off()
        bar = fig.colorbar(shown, ax=axes[1, 2], location="left", shrink=0.8, aspect=20)
    else:
        bar = fig.colorbar(shown, ax=axes[1], location="bottom", shrink=0.5, aspect=40, pad=0.02)
    bar.set_label("sigma (px)")
    return fig


def _show_sparse(ax: Axes, sparse: np.ndarray, valid: np.ndarray, **options) -> None:
    """Coloured dots on dark ground, each about as large as its pixel, and large enough to be seen."""
    show_image(ax, np.full(valid.shape, 0.12), "sparse", cmap="gray", vmin=0, vmax=1)
    rows, columns = np.nonzero(valid)
    points = 72 * WIDTH / 3.3 / valid.shape[1]  # the side of a pixel
    ax.scatter(columns, rows, c=sparse[valid], s=max(1.0, points**2), marker="s", linewidths=0, **options)


@figure
def step_edge_readings(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Median sigma read at blurred steps against the true one; one panel a noise level, one line a preset."""
    fig, axes = plt.subplots(1, len(tables), figsize=(WIDTH, 3), sharey=True, squeeze=False)
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        for name, color, marker in zip(table, PALETTE, "os^P", strict=False):
            ax.plot(table.index, table[name], marker + "-", color=color, markersize=4, label=name)
        ax.set(xlabel="true sigma (px)", title=title, xlim=(0, None), ylim=(-0.2, None))
    axes[0, 0].set_ylabel("median sigma read (px)")
    axes[0, 0].legend(title="preset")
    return fig


@figure
def focal_planes(scenes: Mapping[str, tuple[np.ndarray, np.ndarray]], estimates: Mapping[str, np.ndarray]) -> Figure:
    """One column a focal plane: photograph, true sigma, estimated sigma.

    Parameters
    ----------
    scenes : mapping of a title to (image (H, W, 3) uint8, sigma (H, W) px)
    estimates : mapping of the same titles to (H, W) px
    """
    fig, axes = plt.subplots(3, len(scenes), figsize=(WIDTH, WIDTH / len(scenes) * 3 + 0.6), squeeze=False)
    top = float(np.ceil(max(sigma.max() for _, sigma in scenes.values())))
    for column, (title, (image, sigma)) in zip(axes.T, scenes.items(), strict=True):
        show_image(column[0], image, title)
        show_image(column[1], sigma, cmap=SIGMA_COLORS, vmin=0, vmax=top)
        shown = show_image(column[2], estimates[title], cmap=SIGMA_COLORS, vmin=0, vmax=top)
    for ax, text in zip(axes[:, 0], ("photograph", "true blur", "estimate"), strict=True):
        row_label(ax, text)
    fig.colorbar(shown, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.01).set_label("sigma (px)")
    return fig


@figure
def training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Loss, and AUC and accuracy on validation, of each detector by epoch.

    Parameters
    ----------
    histories : mapping of a detector to a table
        With epoch (from 0), and any of train_loss, val_loss, val_auc, val_accuracy; what is NaN or lacking is left out.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.6))
    shown = [score for score in SCORES if any(score in history for history in histories.values())] or ["val_auc"]
    for name, history in histories.items():
        color = MODEL_COLORS.get(name, PALETTE[3])
        _draw_history(left, history, "train_loss", color, "-", f"{name}, training")
        _draw_history(left, history, "val_loss", color, "--", f"{name}, validation")
        for score in shown:
            said, line = SCORES[score]
            _draw_history(right, history, score, color, line, name if len(shown) == 1 else f"{name}, {said}")
    left.set(xlabel="epoch", ylabel="cross-entropy (nats)")
    lowest = min([0.5, *(line.get_ydata().min() for line in right.lines)])
    right.set(xlabel="epoch", ylabel=f"validation {SCORES[shown[0]][0]}" if len(shown) == 1 else "score on validation")
    right.set_ylim(lowest - 0.05, 1.01)
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        if ax.lines:
            ax.legend()
    return fig


def _draw_history(ax: Axes, history: pd.DataFrame, column: str, color: str, line: str, label: str) -> None:
    if column in history and history[column].notna().any():
        known = history.dropna(subset=[column])
        ax.plot(known["epoch"] + 1, known[column], line, marker="o", color=color, markersize=3, label=label)


@figure
def roc_curves(predictions: Mapping[str, pd.DataFrame]) -> Figure:
    """Receiver operating characteristic of each detector; one line a manipulation.

    Parameters
    ----------
    predictions : mapping of a detector to a table with manipulation, label, probability
    """
    fig, axes = plt.subplots(1, len(predictions), figsize=_panels(len(predictions)), sharey=True, squeeze=False)
    for ax, (model, table) in zip(axes[0], predictions.items(), strict=True):
        ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        for name, color in manipulation_colors(fakes_in(table)).items():
            both = table[table["manipulation"].isin(["real", name])]
            false, true, _ = roc_curve(both["label"], both["probability"])
            ax.plot(false, true, color=color, label=name)
        title = MODEL_NAMES.get(model, model)
        ax.set(xlabel="false positive rate", title=title, xlim=(0, 1), ylim=(0, 1), box_aspect=1)
        ax.set(xticks=TICKS, yticks=TICKS)
    axes[0, 0].set_ylabel("true positive rate")
    _legend_below(fig, axes[0])
    return fig


def _panels(number: int) -> tuple[float, float]:
    """Size of a figure with about square panels in a row, their labels, and a legend of two rows below."""
    width = WIDTH * (0.55 if number == 1 else 1)
    return width, width / number + 0.9


def _legend_below(fig: Figure, axes: Iterable[Axes]) -> None:
    handles = {}
    for ax in axes:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles)))


@figure
def reliability(predictions: Mapping[str, pd.DataFrame], bins: int = 10) -> Figure:
    """Share of fakes against the mean predicted probability, above the histogram of the predictions.

    On the diagonal a detector means what it says. As for the metrics, each manipulation is taken with all real images:
    how high its line lies also depends on how many images there are of either kind.

    Parameters
    ----------
    predictions : mapping of a detector to a table with manipulation, label, probability
    bins : int
        Of equal width on [0, 1].
    """
    width, height = _panels(len(predictions))
    fig, axes = plt.subplots(
        2,
        len(predictions),
        figsize=(width, height + 1.0),
        sharex=True,
        sharey="row",
        squeeze=False,
        height_ratios=[3, 1],
    )
    for (top, bottom), (model, table) in zip(axes.T, predictions.items(), strict=True):
        top.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        for name, color in manipulation_colors(fakes_in(table)).items():
            both = table[table["manipulation"].isin(["real", name])]
            share, mean = calibration_curve(both["label"], both["probability"], n_bins=bins)
            top.plot(mean, share, "o-", color=color, markersize=4, label=name)
        top.set(title=MODEL_NAMES.get(model, model), xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        top.set(xticks=TICKS, yticks=TICKS)
        for kind, rows in table.groupby(np.where(table["label"] == 1, "fake", "real")):
            weights = np.full(len(rows), 100 / len(rows))
            look = {"histtype": "stepfilled", "alpha": 0.35, "color": KIND_COLORS[kind], "label": KIND_NAMES[kind]}
            bottom.hist(rows["probability"], bins=bins, range=(0, 1), weights=weights, **look)
        bottom.set(xlabel="probability of being fake")
    axes[0, 0].set_ylabel("share of fakes")
    axes[1, 0].set_ylabel("images (%)")
    _legend_below(fig, axes.flat)
    return fig


@figure
def auc_intervals(metrics: pd.DataFrame, level: str = "frame") -> Figure:
    """AUC with its interval; one row a manipulation, one mark a detector.

    Parameters
    ----------
    metrics : DataFrame
        As :func:`metrics.evaluate` returns it, with a column ``detector``.
    level : {"frame", "video"}
    """
    rows = metrics[(metrics["metric"] == "auc") & (metrics["level"] == level)]
    names, models = rows["manipulation"].unique().tolist(), rows["detector"].unique().tolist()
    fig, ax = plt.subplots(figsize=(WIDTH * 0.8, max(1.7, 0.8 + 0.14 * len(names) * (1 + len(models)))))
    for number, model in enumerate(models):
        table = rows[rows["detector"] == model]
        place = table["manipulation"].map(names.index) + 0.24 * (number - (len(models) - 1) / 2)
        color, marker = MODEL_COLORS.get(model, PALETTE[3]), MODEL_MARKERS.get(model, "v")
        ax.hlines(place, table["low"], table["high"], color=color)
        ax.plot(table["value"], place, marker, color=color, markersize=5, label=MODEL_NAMES.get(model, model))
    ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":")
    lowest = np.nanmin(rows[["value", "low"]], initial=0.4)
    ax.set(xlabel="AUC with 95 % interval (dotted: chance)", xlim=(lowest - 0.03, 1.01))
    ax.set(ylabel="manipulation", yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


@figure
def completeness(sums: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Sum of the Shapley values of each image against what they should add up to; one panel a detector.

    Parameters
    ----------
    sums : mapping of a detector to (sum of the values (N,), completeness gap (N,)), in logits
    """
    fig, axes = plt.subplots(1, len(sums), figsize=(WIDTH, 3.2), squeeze=False)
    for ax, (model, (total, gap)) in zip(axes[0], sums.items(), strict=True):
        ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
        ax.scatter(total + gap, total, s=10, color=MODEL_COLORS[model], alpha=0.7, linewidths=0)
        ax.set(xlabel="f(x) - E f(background) (logits)", title=MODEL_NAMES.get(model, model))
    axes[0, 0].set_ylabel("sum of the values (logits)")
    return fig


@figure
def evidence_chain(
    images: np.ndarray, dmaps: np.ndarray, shaps: np.ndarray, regions: np.ndarray, names: Sequence[str]
) -> Figure:
    """Photograph, defocus map, Shapley values: one row an image, one scale for all values.

    Parameters
    ----------
    images : (K, H, W, 3) uint8
    dmaps : (K, H, W), normalised maps in [0, 1]
    shaps : (K, H, W)
        Shapley values of the defocus detector in logits.
    regions : (K, H, W) bool
        Manipulated pixels, drawn as an outline.
    names : K str
        Row labels.
    """
    fig, axes = plt.subplots(len(images), 3, figsize=(WIDTH, 2.35 * len(images) + 0.5), squeeze=False)
    limit, exponent = symmetric_limit(shaps)
    for row, name in enumerate(names):
        show_image(axes[row, 0], images[row], "photograph" if row == 0 else "")
        dense = show_image(axes[row, 1], dmaps[row], "defocus map" if row == 0 else "", cmap=MAP_COLORS, vmin=0, vmax=1)
        options = {"cmap": "seismic", "vmin": -limit, "vmax": limit}
        values = show_image(axes[row, 2], shaps[row] / 10.0**exponent, "Shapley values" if row == 0 else "", **options)
        row_label(axes[row, 0], name)
        for ax, color in zip(axes[row], ("white", "white", "black"), strict=True):
            outline(ax, regions[row], color=color)
    below = {"location": "bottom", "shrink": 0.8, "aspect": 25, "pad": 0.02}
    fig.colorbar(dense, ax=axes[:, 1], **below).set_label("blur, normalised")
    fig.colorbar(values, ax=axes[:, 2], extend="both", **below).set_label(f"$10^{{{exponent}}}$ logits per pixel")
    return fig


@figure
def time_bars(milliseconds: pd.Series, highlighted: Iterable[str] = ()) -> Figure:
    """Milliseconds an image of each contestant, on a logarithmic axis; those of ours are ``highlighted``."""
    fig, ax = plt.subplots(figsize=(WIDTH, 0.6 + 0.28 * len(milliseconds)), layout="constrained")
    colors = [PALETTE[0] if name in set(highlighted) else PALETTE[7] for name in milliseconds.index]
    bars = ax.barh(milliseconds.index.astype(str), milliseconds, color=colors)
    ax.bar_label(bars, fmt="%.3g", padding=3)
    ax.set(xscale="log", xlabel="time an image (ms)", xlim=(milliseconds.min() / 2, milliseconds.max() * 2))
    ax.invert_yaxis()
    return fig


@figure
def error_against_time(table: pd.DataFrame) -> Figure:
    """Relative error of Shapley values over seconds an image: ``table`` has both, by contestant."""
    fig, ax = plt.subplots(figsize=(WIDTH, 2.8), layout="constrained")
    for (name, row), marker, color in zip(
        table.iterrows(), "sov^DPX", PALETTE[1:2] + PALETTE[:1] + PALETTE[2:], strict=False
    ):
        ax.plot(row["seconds_per_image"], row["relative_error"], marker, color=color, markersize=8, label=str(name))
    low, high = table["seconds_per_image"].min(), table["seconds_per_image"].max()
    ax.set(xscale="log", xlim=(low / 2, high * 2), ylim=(0, 1.1 * table["relative_error"].max()))
    ax.set(xlabel="time an image (s)", ylabel="relative error")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
