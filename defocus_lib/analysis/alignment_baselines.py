"""What the alignment score of a detector must exceed to speak for it, and whether it does.

The uniform attribution of :mod:`defocus_lib.analysis.alignment` is the weakest null. Three others keep more of what a real
attribution is. *Permuted*: the same weights on other pixels of the image. *Untrained*: the attribution of the same
network with random weights (Adebayo et al. 2018, arXiv 1810.03292). *Mismatched*: the attribution of the image, scored
against the difference of another pair. Each can be asked with the bin of the background left out, since that bin alone
may lift every score.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from defocus_lib.analysis.alignment import BINS, EPS, Histograms, overlap, pair_histograms
from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.stats.bootstrap import bootstrap

NULLS = {
    "uniform": "the uniform attribution",
    "permuted": "permuted pixels",
    "untrained": "untrained weights",
    "mismatched": "mismatched pairs",
}
LEFT_OUT = {
    "none": "all bins",
    "lowest": "without the lowest bin",
    "fullest": "without the fullest bin",
}
"""Which bin is left out: that of the lowest values, or the one that holds the most pixels of each image."""


def permuted(attributions: ArrayLike, seed: int = 0) -> np.ndarray:
    """The pixels of each attribution in random order: the same weights, anywhere in the image.

    Parameters
    ----------
    attributions : (N, H, W) array_like
    seed : int

    Returns
    -------
    (N, H, W) array
    """
    values = check_maps("attributions", attributions)
    flat = np.random.default_rng(seed).permuted(values.reshape(len(values), -1), axis=1)
    return flat.reshape(values.shape)


def without_bin(by_name: Mapping[str, Histograms], which: str) -> dict[str, Histograms]:
    """Histograms without one bin, the rest scaled to sum to 1 again.

    Parameters
    ----------
    by_name : mapping
        As :func:`pair_histograms` returns it; ``"uniform"`` counts the pixels.
    which : {"none", "lowest", "fullest"}
        ``lowest``: the bin of the lowest values of the map. ``fullest``: the bin with the most pixels, for each pair.

    Raises
    ------
    ValueError
        If ``which`` is unknown.
    """
    if which not in LEFT_OUT:
        raise ValueError(f"left out is {which!r}; one of {', '.join(LEFT_OUT)} wanted")
    pixels = by_name["uniform"].weights
    kept = np.ones(pixels.shape)
    if which != "none":
        kept[np.arange(len(pixels)), 0 if which == "lowest" else pixels.argmax(axis=1)] = 0
    scaled = {}
    for name, histogram in by_name.items():
        weights = histogram.weights * kept
        scaled[name] = Histograms(
            histogram.edges, weights / (weights.sum(axis=1, keepdims=True) + EPS)
        )
    return scaled


def mismatched(attribution: ArrayLike, difference: ArrayLike, groups: ArrayLike) -> np.ndarray:
    """Mean overlap of each attribution with the differences of all pairs of other groups.

    Parameters
    ----------
    attribution, difference : (N, bins) array_like
        Histograms, row by row of the same pair.
    groups : (N,) str array_like
        Pairs of one group, such as frames of one video, are no mismatch.

    Returns
    -------
    (N,) float64 array in [0, 1]; NaN where there is no other group.

    Raises
    ------
    ValueError
        If the shapes differ, or a histogram holds NaN.
    """
    attribution = check_maps("attribution", attribution, ndim=2)
    difference = check_maps("difference", difference, ndim=2)
    check_same_shape(attribution=attribution, difference=difference)
    other = np.not_equal.outer(np.asarray(groups, dtype=str), np.asarray(groups, dtype=str))
    each = np.stack([np.minimum(row, difference).sum(axis=1) for row in attribution])
    return np.divide(
        (each * other).sum(1), other.sum(1), out=np.full(len(each), np.nan), where=other.any(1)
    )


def null_scores(
    fake: ArrayLike,
    real: ArrayLike,
    attributions: Mapping[str, tuple[ArrayLike, ArrayLike]],
    groups: ArrayLike,
    bins: int = BINS,
    seed: int = 0,
) -> pd.DataFrame:
    """Score of every pair and model beside the scores of its nulls, with all bins and with one left out.

    Parameters
    ----------
    fake, real : (N, H, W) array_like
        Normalised maps in [0, 1]; row ``i`` of ``real`` is the counterpart of row ``i`` of ``fake``.
    attributions : mapping of str to ((N, H, W), (N, H, W))
        Model -> its Shapley values for the manipulated images, and those of the same network with random weights.
    groups : (N,) str array_like
    bins, seed : int

    Returns
    -------
    DataFrame
        One row a pair, model and choice of bins: ``pair``, ``group``, ``model``, ``left out`` (a key of
        :data:`LEFT_OUT`), ``pixels left out`` (their share), ``score``, and a column for each of :data:`NULLS`.

    Raises
    ------
    ValueError
        As :func:`histograms`.
    """
    parts = []
    for model, (own, untrained) in attributions.items():
        weights = {"own": own, "permuted": permuted(own, seed), "untrained": untrained}
        whole = pair_histograms(fake, real, weights, bins)
        for which in LEFT_OUT:
            kept = without_bin(whole, which)
            left = 1 - np.minimum(whole["uniform"].weights, kept["uniform"].weights).sum(axis=1)
            about = {"model": model, "left out": which, "pixels left out": left}
            parts.append(_scores_of_one(kept, groups).assign(**about))
    return pd.concat(parts, ignore_index=True)


def _scores_of_one(by_name: Mapping[str, Histograms], groups: ArrayLike) -> pd.DataFrame:
    difference = by_name["difference"].weights
    scores = {
        name: overlap(by_name[name].weights, difference)
        for name in ("own", "uniform", "permuted", "untrained")
    }
    scores["mismatched"] = mismatched(by_name["own"].weights, difference, groups)
    pair = {"pair": np.arange(len(difference)), "group": np.asarray(groups, dtype=str)}
    return pd.DataFrame(pair | scores).rename(columns={"own": "score"})


def against_nulls(table: pd.DataFrame, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """How far the mean score lies above that of each null, with a 95 % interval over the groups.

    Parameters
    ----------
    table : DataFrame
        As :func:`null_scores` returns it; those of several manipulations may be concatenated.
    n_bootstrap, seed : int

    Returns
    -------
    DataFrame
        One row a model, choice of bins and null: ``model``, ``left out``, ``null``, mean ``score`` and mean ``null
        score``, their ``difference`` with ``low`` and ``high`` (see :func:`defocus_lib.stats.bootstrap.bootstrap`), the mean
        share of the ``pixels left out``, ``pairs`` and ``groups``. With a single group the difference from the
        mismatched pairs is NaN, and so are the intervals.
    """
    rows = []
    for (which, model), part in table.groupby(["left out", "model"], sort=False):
        differences = part["score"].to_numpy()[:, None] - part[list(NULLS)].to_numpy()
        found = bootstrap(
            lambda weights, values=differences: weights @ values / weights.sum(),
            np.ones(len(part), int),
            part["group"].to_numpy(),
            n_bootstrap,
            seed,
        )
        rows += [
            {
                "model": model,
                "left out": which,
                "null": null,
                "score": part["score"].mean(),
                "null score": part[null].mean(),
                "difference": differences[:, number].mean(),
                "low": found.low[number],
                "high": found.high[number],
                "pixels left out": part["pixels left out"].mean(),
                "pairs": len(part),
                "groups": part["group"].nunique(),
            }
            for number, null in enumerate(NULLS)
        ]
    return pd.DataFrame(rows)


def by_manipulation(
    tables: Mapping[str, pd.DataFrame], n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """:func:`against_nulls` for each manipulation by itself, with all bins, and a column ``manipulation``."""
    parts = {
        name: against_nulls(table[table["left out"] == "none"], n_bootstrap, seed)
        for name, table in tables.items()
    }
    return pd.concat(part.assign(manipulation=name) for name, part in parts.items())


def wide(compared: pd.DataFrame, rows: tuple[str, ...] = ("left out", "model")) -> pd.DataFrame:
    """The differences and their intervals as text, to be read: one column a null.

    Parameters
    ----------
    compared : DataFrame
        As :func:`against_nulls` or :func:`by_manipulation` returns it.
    rows : tuple of str
        Columns that make a row.
    """
    table = compared.replace({"left out": LEFT_OUT})
    # Spaces that do not break: a value and its interval stay on one line.
    texts = [
        f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]".replace(
            " ", "\N{NO-BREAK SPACE}"
        )
        for row in table.itertuples()
    ]
    text = table.assign(text=texts).pivot(index=list(rows), columns="null", values="text")[
        list(NULLS)
    ]
    return text.rename_axis(columns=None).reindex(
        pd.MultiIndex.from_frame(table[list(rows)].drop_duplicates())
    )


def null_sentence(compared: pd.DataFrame, model: str, which: str = "none") -> str:
    """Say which nulls the score of a model exceeds, cannot be told from, or lies below; those that have an interval.

    Parameters
    ----------
    compared : DataFrame
        As :func:`against_nulls` returns it.
    model, which : str
        The model, and the bins that are left out.
    """
    rows = compared[(compared["model"] == model) & (compared["left out"] == which)].dropna(
        subset=["low", "high"]
    )
    if rows.empty:
        return "has no interval, for lack of groups"
    words = rows["null"].map(NULLS)
    above, below = words[rows["low"] > 0].tolist(), words[rows["high"] < 0].tolist()
    between = words[~((rows["low"] > 0) | (rows["high"] < 0))].tolist()
    said = [
        f"{verb} {_listed(names)}"
        for verb, names in (
            ("lies above", above),
            ("cannot be told from", between),
            ("lies below", below),
        )
        if names
    ]
    return _listed(said)


def _listed(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``; nothing for no names."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def bins_sentence(compared: pd.DataFrame, model: str) -> str:
    """Say what leaving a bin out changes; arguments as :func:`null_sentence`."""
    whole = null_sentence(compared, model)
    said = {which: null_sentence(compared, model, which) for which in LEFT_OUT if which != "none"}
    changed = [f"{LEFT_OUT[which]} it {text}" for which, text in said.items() if text != whole]
    return _listed(changed) or "leaving a bin out changes none of this"


def nulls_verdict(compared: pd.DataFrame, model: str) -> str:
    """One sentence: does the score speak for the detector, and does that hang on a bin?

    Parameters
    ----------
    compared : DataFrame
        As :func:`against_nulls` returns it.
    model : str
    """
    rows = compared[compared["model"] == model].dropna(subset=["low", "high"])
    beaten = (rows["low"] > 0).groupby(rows["left out"]).all()
    if rows.empty:
        return "With so few groups the score says nothing about this detector."
    if beaten.all():
        return "So the score speaks for this detector, with whatever bin left out."
    if beaten["none"]:
        return "It speaks for the detector only while all bins are counted: one bin carries it."
    return "A score that a null reaches does not speak for this detector."
