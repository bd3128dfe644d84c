"""Edge density of an image, and what is left of a difference in local variance when it is taken out.

A map is read at edges, so it may differ between two images because they have other edges. Density then explains the
difference, and blur need not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from defocus_lib.analysis.variance import WINDOW, mean_variance
from defocus_lib.maps.cache import MapCache
from defocus_lib.maps.estimate import normalize_per_sample

CHUNK = 256  # maps in memory


def measure(records: pd.DataFrame, cache: MapCache, window: int = WINDOW) -> pd.DataFrame:
    """Mean local variance of the normalised map of each image, and its share of edge pixels.

    Parameters
    ----------
    records : DataFrame
    cache : MapCache
        Holds their maps.
    window : int
        Side in px, see :func:`defocus_lib.analysis.variance.local_variance`.

    Returns
    -------
    DataFrame
        The columns group, manipulation and label of the records, with variance and density.
    """
    rows = []
    for first in range(0, len(records), CHUNK):
        dense, edges = cache.stack(records.iloc[first : first + CHUNK], n_workers=-1)
        maps = normalize_per_sample(torch.from_numpy(dense)[:, None])[:, 0].numpy()
        rows.append(
            pd.DataFrame({"variance": mean_variance(maps, window), "density": edges.mean((1, 2))})
        )
    about = records[["group", "manipulation", "label"]].reset_index(drop=True)
    return pd.concat([about, pd.concat(rows, ignore_index=True)], axis=1)


def density_adjusted(
    variance: ArrayLike, density: ArrayLike, fake: ArrayLike, groups: ArrayLike
) -> dict[str, tuple[float, float, float]]:
    """Does the mean local variance of manipulated images differ when edge density is taken out?

    Ordinary least squares on ``fake``, without and with the share of edge pixels beside it; intervals by a covariance
    that is robust to groups (statsmodels, ``cov_type="cluster"``), with a t distribution.

    Parameters
    ----------
    variance, density : (N,) float array_like
        Mean local variance, and share of edge pixels, of each image.
    fake : (N,) bool array_like
    groups : (N,) array_like
        What was sampled independently.

    Returns
    -------
    dict
        ``alone`` and ``adjusted``: the effect of ``fake`` in units of the variance's mean, low and high of its 95 %
        interval. ``density``: the same for the effect of one standard deviation of density, adjusted for ``fake``.

    Raises
    ------
    ValueError
        If the lengths differ, a class is missing, or there are fewer than 3 groups.
    """
    variance, density, fake, groups = map(np.asarray, (variance, density, fake, groups))
    if not len(variance) == len(density) == len(fake) == len(groups):
        raise ValueError(
            "variance, density, fake and groups differ in length; one number an image wanted"
        )
    codes = np.unique(groups, return_inverse=True)[1]
    if fake.all() or not fake.any() or codes.max() < 2:
        raise ValueError(
            f"{int(fake.sum())} of {len(fake)} images fake, {codes.max() + 1} groups; both kinds, 3 wanted"
        )
    import statsmodels.api as sm

    spread = density.std() or 1.0
    columns = {"fake": fake.astype(float), "density": (density - density.mean()) / spread}
    effects = {}
    for name, chosen in (("alone", ["fake"]), ("adjusted", ["fake", "density"])):
        design = sm.add_constant(pd.DataFrame({key: columns[key] for key in chosen}))
        fitted = sm.OLS(variance / variance.mean(), design).fit(
            cov_type="cluster", cov_kwds={"groups": codes}, use_t=True
        )
        effects[name] = (fitted.params["fake"], *fitted.conf_int().loc["fake"])
        if "density" in chosen:
            effects["density"] = (fitted.params["density"], *fitted.conf_int().loc["density"])
    return {name: tuple(map(float, values)) for name, values in effects.items()}


def effect_table(measured: pd.DataFrame) -> pd.DataFrame:
    """:func:`density_adjusted` of each manipulation against all real images.

    Parameters
    ----------
    measured : DataFrame
        As :func:`measure` returns it.

    Returns
    -------
    DataFrame
        One row a manipulation; columns ``(alone, adjusted or density, value, low or high)``.
    """
    rows = {}
    for name in measured.loc[measured["label"] == 1, "manipulation"].unique():
        both = measured[(measured["label"] == 0) | (measured["manipulation"] == name)]
        found = density_adjusted(
            both["variance"], both["density"], both["label"] == 1, both["group"]
        )
        parts = ("value", "low", "high")
        rows[name] = {
            (kind, part): v
            for kind, row in found.items()
            for part, v in zip(parts, row, strict=True)
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("manipulation")


def effect_sentence(table: pd.DataFrame) -> str:
    """For which manipulations the interval excludes no effect, before and after density is taken out."""
    clear = {
        kind: (table[kind, "low"] > 0) | (table[kind, "high"] < 0) for kind in ("alone", "adjusted")
    }
    lost, gained = clear["alone"] & ~clear["adjusted"], clear["adjusted"] & ~clear["alone"]
    said = [
        f"The interval leaves out zero for {clear['alone'].sum()} of {len(table)} manipulations as it is, and for "
        f"{clear['adjusted'].sum()} with edge density taken out."
    ]
    if lost.any():
        said.append(f"What disappears was edges: {', '.join(table.index[lost])}.")
    if gained.any():
        said.append(f"Density had hidden what appears: {', '.join(table.index[gained])}.")
    if not (lost.any() or gained.any()):
        said.append(
            "Density decides nothing here."
            if clear["alone"].any()
            else "There was nothing to explain."
        )
    return " ".join(said)
