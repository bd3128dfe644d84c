"""What saved Shapley values say beside their picture: how much lies in the manipulated region, and do they add up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.explain.attribution_set import AttributionSet


def region_share(attributions: ArrayLike, regions: ArrayLike) -> np.ndarray:
    """Share of each attribution's absolute weight that lies inside the manipulated region.

    Unlike the score it asks about places. A uniform attribution has the share of the image that the region covers.

    Parameters
    ----------
    attributions : (N, H, W) array_like
    regions : (N, H, W) bool array_like

    Returns
    -------
    (N,) float64 array in [0, 1]; NaN for an attribution that is 0 everywhere, and where no region is known (none of
    its pixels is set).

    Raises
    ------
    ValueError
        If the shapes differ, or a stack is empty or holds NaN.
    """
    weights = np.abs(check_maps("attributions", attributions).astype(np.float64))
    regions = check_maps("regions", regions).astype(bool)
    check_same_shape(attributions=weights, regions=regions)
    total, inside = weights.sum(axis=(1, 2)), (weights * regions).sum(axis=(1, 2))
    defined = (total > 0) & regions.any(axis=(1, 2))
    return np.divide(inside, total, out=np.full(len(total), np.nan), where=defined)


def share_table(parts: Iterable[tuple[Mapping[str, ArrayLike], ArrayLike]]) -> pd.DataFrame:
    """:func:`region_share` of each model, and of a uniform attribution, a part of the images at a time.

    Parameters
    ----------
    parts : iterable of (mapping of str to (N, H, W), (N, H, W) bool)
        Model -> attributions, and the manipulated regions.

    Returns
    -------
    DataFrame
        One row an image; one column a model, and ``uniform``, the share of the image that the region covers. NaN where
        no region is known.
    """
    rows = [
        {model: region_share(values, regions) for model, values in models.items()}
        | {"uniform": region_share(np.ones(np.shape(regions)), regions)}
        for models, regions in parts
    ]
    return pd.concat(map(pd.DataFrame, rows), ignore_index=True)


def region_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Means of :func:`share_table`: one row a manipulation."""
    return pd.DataFrame({name: table.mean() for name, table in tables.items()}).T.rename_axis(
        "manipulation"
    )


def completeness(sums: ArrayLike, gaps: ArrayLike) -> dict[str, float]:
    """Do the values of an image sum to what they explain?

    Parameters
    ----------
    sums : (N,) array_like
        Sum of the Shapley values of each image, in logits.
    gaps : (N,) array_like
        ``f(x) - E f(background)`` minus that sum, in logits.

    Returns
    -------
    dict
        Medians over the images, in logits: ``|gap|``, and ``|explained|``, the size of ``f(x) - E f(background)``.

    Raises
    ------
    ValueError
        If the lengths differ, or an array is empty or holds NaN.
    """
    sums, gaps = check_maps("sums", sums, ndim=1), check_maps("gaps", gaps, ndim=1)
    check_same_shape(sums=sums, gaps=gaps)
    return {
        "|gap|": float(np.median(np.abs(gaps))),
        "|explained|": float(np.median(np.abs(sums + gaps))),
    }


def sums_and_errors(parts: Iterable[AttributionSet]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What :func:`completeness_table` wants to know of a set, read a part at a time.

    Returns
    -------
    dict
        Model -> (sum of the Shapley values of each image, its gap), each ``(N,)`` float64, in logits.
    """
    sums: dict[str, list[np.ndarray]] = {"defocus": [], "rgb": []}
    gaps: dict[str, list[np.ndarray]] = {"defocus": [], "rgb": []}
    for part in parts:
        for model in sums:
            sums[model].append(getattr(part, f"{model}_shaps").sum((1, 2), dtype=np.float64))
            gaps[model].append(getattr(part, f"{model}_completeness_errors").astype(np.float64))
    return {model: (np.concatenate(sums[model]), np.concatenate(gaps[model])) for model in sums}


def completeness_table(
    sets: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
) -> pd.DataFrame:
    """:func:`completeness` of several sets and models.

    Parameters
    ----------
    sets : mapping of str to mapping of str to ((N,), (N,))
        Manipulation -> model -> (sums, gaps).

    Returns
    -------
    DataFrame
        One row a manipulation; two columns a model, in logits.
    """
    rows = {
        name: {
            (model, key): value
            for model, (sums, gaps) in models.items()
            for key, value in completeness(sums, gaps).items()
        }
        for name, models in sets.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.set_axis(
        pd.MultiIndex.from_tuples(table.columns, names=["model", "median, logits"]), axis=1
    )


def all_images(
    sets: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The sums and gaps of :func:`completeness_table` of all manipulations together, by model."""
    parts = list(sets.values())
    return {
        model: (
            np.concatenate([part[model][0] for part in parts]),
            np.concatenate([part[model][1] for part in parts]),
        )
        for model in parts[0]
    }
