"""Saved Shapley values: their share inside the manipulated region, and their completeness."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.explain.attribution_set import AttributionSet
from defocus_lib.explain.shards import ERRORS
from defocus_lib.stats.bootstrap import N_BOOTSTRAP, Estimate, bootstrap_ratio

DETECTORS = ("defocus", "rgb")
SHARE_ARRAYS = ("defocus_shaps", "rgb_shaps", "regions")
COMPLETENESS_ARRAYS = (*SHARE_ARRAYS[:2], *ERRORS)


def region_share(attributions: ArrayLike, regions: ArrayLike) -> np.ndarray:
    """Share of each attribution's absolute weight that lies inside the manipulated region: (N,).

    A uniform attribution has the share of the image that the region covers. NaN for an attribution
    that is 0 everywhere, and where no region is known (none of its pixels is set). Both arrays are
    (N, H, W); raises ValueError if their shapes differ, or one is empty or holds NaN.
    """
    weights = np.abs(check_maps("attributions", attributions).astype(np.float64))
    regions = check_maps("regions", regions).astype(bool)
    check_same_shape(attributions=weights, regions=regions)
    total, inside = weights.sum(axis=(1, 2)), (weights * regions).sum(axis=(1, 2))
    defined = (total > 0) & regions.any(axis=(1, 2))
    return np.divide(inside, total, out=np.full(len(total), np.nan), where=defined)


def share_table(parts: Iterable[AttributionSet]) -> pd.DataFrame:
    """:func:`region_share` of each detector and of a uniform attribution, one row per image.

    Columns: ``group``, ``defocus``, ``rgb``, ``uniform``. The parts hold SHARE_ARRAYS.
    """
    return pd.concat(map(_shares, parts), ignore_index=True)


def _shares(part: AttributionSet) -> pd.DataFrame:
    arrays = part.arrays()
    regions = arrays["regions"]
    values = {detector: arrays[f"{detector}_shaps"] for detector in DETECTORS}
    values["uniform"] = np.ones(regions.shape)
    shares = {name: region_share(maps, regions) for name, maps in values.items()}
    return pd.DataFrame({"group": part.groups, **shares})


def completeness_table(parts: Iterable[AttributionSet]) -> pd.DataFrame:
    """Do the values of an image sum to what they explain? One row per image and detector.

    Columns: ``detector``, ``group``, and in logits ``sum`` (of the Shapley values), ``error``
    (``f(x) - E f(background)`` minus that sum) and ``explained`` (``f(x) - E f(background)``). The
    parts hold COMPLETENESS_ARRAYS.
    """
    tables = (_completeness(part, detector) for part in parts for detector in DETECTORS)
    return pd.concat(tables, ignore_index=True)


def _completeness(part: AttributionSet, detector: str) -> pd.DataFrame:
    arrays = part.arrays()
    total = arrays[f"{detector}_shaps"].sum((1, 2), dtype=np.float64)
    error = arrays[f"{detector}_completeness_errors"].astype(np.float64)
    columns = {"group": part.groups, "sum": total, "error": error, "explained": total + error}
    return pd.DataFrame({"detector": detector, **columns})


def error_share(table: pd.DataFrame, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0) -> Estimate:
    """Completeness error of all images together, as a share of what they explain; 0 is complete.

    ``table`` has the columns ``group``, ``error`` and ``explained`` of :func:`completeness_table`.
    Raises ValueError if it is empty or holds NaN.
    """
    error, explained = (
        np.abs(check_maps(name, table[name], ndim=1)) for name in ("error", "explained")
    )
    return bootstrap_ratio(error, explained, table["group"], n_bootstrap, seed)
