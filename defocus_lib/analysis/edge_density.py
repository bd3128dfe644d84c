"""Difference in local variance between real and manipulated images of equal edge density.

A map is computed at edges, so two maps may differ because their images have other edges. Density
then explains the difference, and blur need not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from defocus_lib.analysis.variance import WINDOW, mean_variance
from defocus_lib.maps.cache import MapCache
from defocus_lib.maps.estimate import normalize_per_sample
from defocus_lib.stats.claims import Claim

CHUNK = 256  # maps in memory
ESTIMATE = ["value", "low", "high"]


def measure(records: pd.DataFrame, cache: MapCache, window: int = WINDOW) -> pd.DataFrame:
    """Mean local variance of the normalised map of each image, and its share of edge pixels.

    The window is a side in px, see :func:`defocus_lib.analysis.variance.local_variance`. Columns:
    group, manipulation and label of the records, variance, density.
    """
    parts = []
    for first in range(0, len(records), CHUNK):
        dense, edges = cache.stack(records.iloc[first : first + CHUNK], n_workers=-1)
        maps = normalize_per_sample(torch.from_numpy(dense)[:, None])[:, 0].numpy()
        measured = {"variance": mean_variance(maps, window), "density": edges.mean((1, 2))}
        parts.append(pd.DataFrame(measured))
    images = records[["group", "manipulation", "label"]].reset_index(drop=True)
    return pd.concat([images, pd.concat(parts, ignore_index=True)], axis=1)


def density_adjusted(
    variance: ArrayLike, density: ArrayLike, fake: ArrayLike, groups: ArrayLike
) -> dict[str, tuple[float, ...]]:
    """Effect of manipulation on mean local variance, with and without edge density held constant.

    Ordinary least squares of the mean local ``variance`` (N,) on ``fake`` (N,) bool, without and
    with the share of edge pixels, ``density`` (N,), as covariate. Intervals (95 %) are by a
    covariance that is robust to ``groups`` (N,) (statsmodels, ``cov_type="cluster"``), with a t
    distribution.

    Returns value, low and high of three effects in units of the mean of ``variance``: ``alone`` and
    ``adjusted`` of ``fake``, and ``density``, of one standard deviation of density at equal
    ``fake``. Raises ValueError if lengths differ, a class is missing, or there are fewer than 3
    groups.
    """
    variance, density, fake, groups = map(np.asarray, (variance, density, fake, groups))
    if not len(variance) == len(density) == len(fake) == len(groups):
        raise ValueError(
            "variance, density, fake and groups differ in length; one number per image wanted"
        )
    codes, names = pd.factorize(groups, sort=True)
    if fake.all() or not fake.any() or len(names) < 3:
        raise ValueError(
            f"{fake.sum()} of {len(fake)} images fake, {len(names)} groups; both kinds, 3 wanted"
        )
    import statsmodels.api as sm

    spread = density.std() or 1.0
    columns = {"fake": fake.astype(float), "density": (density - density.mean()) / spread}
    design = sm.add_constant(pd.DataFrame(columns))

    def effects(*covariates: str) -> pd.DataFrame:
        ols = sm.OLS(variance / variance.mean(), design[["const", *covariates]])
        fitted = ols.fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
        return pd.concat([fitted.params, fitted.conf_int()], axis=1)

    alone, both = effects("fake"), effects("fake", "density")
    rows = {
        "alone": alone.loc["fake"],
        "adjusted": both.loc["fake"],
        "density": both.loc["density"],
    }
    return {name: tuple(map(float, row)) for name, row in rows.items()}


def effect_table(measured: pd.DataFrame) -> pd.DataFrame:
    """:func:`density_adjusted` of each manipulation against all real images.

    ``measured`` is the table that :func:`measure` returns.
    One row per manipulation; columns ``(alone, adjusted or density, value, low or high)``.
    """
    rows = {}
    for name in measured.loc[measured["label"] == 1, "manipulation"].unique():
        both = measured[(measured["label"] == 0) | (measured["manipulation"] == name)]
        effects = density_adjusted(
            both["variance"], both["density"], both["label"] == 1, both["group"]
        )
        rows[name] = pd.DataFrame(effects, index=ESTIMATE).unstack()
    return pd.DataFrame(rows).T.rename_axis("manipulation")


def claim(effects: pd.DataFrame, manipulation: str, groups: int, unit: str) -> Claim:
    """The local variance of a manipulation exceeds that of real images of equal edge density."""
    value, low, high = map(float, effects.loc[manipulation, "adjusted"])
    return Claim(
        f"Local variance of {manipulation} exceeds that of real images, adjusted for edge density"
        " (difference as a share of the mean)",
        value,
        low,
        high,
        groups,
        unit=unit,
        style="+.3f",
    )
