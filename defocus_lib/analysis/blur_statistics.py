"""Eight statistics of a map of blur, and the regions that they compare with their surroundings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from defocus_lib.analysis.contrast import centre, contrast, ellipse
from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.detect.control_inputs import Maps
from defocus_lib.run.artifacts import Folder
from defocus_lib.scenes.rendered import true_regions

STATISTICS = {
    "mean": "mean of sigma over the image",
    "spread": "standard deviation of sigma over the image",
    "sharpest_tenth": "10 % of the pixels have at most this sigma",
    "blurriest_tenth": "10 % of the pixels have at least this sigma",
    "gradient": "mean magnitude of the gradient of sigma, per px",
    "contrast": "mean of sigma in the region less that in its surroundings",
    "contrast_at_edges": "the same over edge pixels; 0 if either part has none",
    "contrast_of_spread": "standard deviation in the region less that in its surroundings",
}
"""The eight statistics and what each is, in px or in shares of the range of a min-max map."""
IN_UNCERTAINTIES = "contrast_in_uncertainties"
EDGES = "contrast_of_edges"  # share of edge pixels in the region less that in its surroundings
SCALES = ("px", "min-max")
LEVELS = ("mean", "sharpest_tenth", "blurriest_tenth")  # the statistics that shift with the map
FORMS = {"rectangle": centre, "ellipse": ellipse}
CHUNK = 32  # maps in memory


class Region(Protocol):
    """Where blur is compared with its surroundings."""

    def __call__(self, records: pd.DataFrame, shape: tuple[int, int]) -> np.ndarray:
        """Bool ``(N, H, W)`` of the images of ``records``, or ``(H, W)`` of all alike."""


@dataclass(frozen=True)
class Part:
    """The central part of every image. ValueError if the form is unknown, or the share not in
    ]0, 1[."""

    form: str = "rectangle"
    """A key of :data:`FORMS`."""
    share: float = 0.5
    """Of height and width."""

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form is {self.form!r}; one of {', '.join(FORMS)} wanted")
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}; more than 0 and less than 1 wanted")

    @property
    def title(self) -> str:
        """What a reader calls it."""
        return f"central {self.form}, {100 * self.share:.0f} % of each side"

    def __call__(self, _: pd.DataFrame, shape: tuple[int, int]) -> np.ndarray:
        """Bool (H, W)."""
        return FORMS[self.form](shape, self.share)


@dataclass(frozen=True)
class KnownRegions:
    """The manipulated pixels, ``(H, W)`` bool by id; a real image has those of its manipulations.

    No detector of a picture has them: they are an oracle.
    """

    planes: Mapping[str, np.ndarray]
    title = "known region"

    @classmethod
    def of(cls, folder: Folder, records: pd.DataFrame, size: int) -> KnownRegions:
        """The regions of rendered scenes, which know what was manipulated.

        Raises ValueError if a real image has no manipulated counterpart among the records.
        """
        fakes = records[records["label"] == 1]
        planes = dict(
            zip(fakes["id"], true_regions(folder, fakes["id"].tolist(), size), strict=True)
        )
        for pair, ids in fakes[fakes["pair"] != ""].groupby("pair")["id"]:
            planes[str(pair)] = np.any([planes[name] for name in ids], axis=0)
        if lacking := [name for name in records["id"] if name not in planes]:
            raise ValueError(f"{lacking[0]}: no manipulated image of it; its region is not known")
        return cls(planes)

    def __call__(self, records: pd.DataFrame, _: tuple[int, int]) -> np.ndarray:
        """Bool (N, H, W)."""
        return np.stack([self.planes[name] for name in records["id"]])


def blur_statistics(
    sigma: np.ndarray, edges: np.ndarray, region: np.ndarray
) -> dict[str, np.ndarray]:
    """The eight :data:`STATISTICS` of each map, ``(N,)`` float64 by name, and :data:`EDGES`.

    ``sigma`` (N, H, W) in px, or in [0, 1] if stretched; ``edges`` (N, H, W) bool; ``region``
    (N, H, W) or (H, W) bool. Every pixel of a part counts alike. Raises ValueError if shapes
    differ, a value is not finite, or a region or its surroundings have no pixel.
    """
    sigma, edges = check_maps("sigma", sigma).astype(np.float64), np.asarray(edges, bool)
    region = np.broadcast_to(np.asarray(region, bool), sigma.shape)
    check_same_shape(sigma=sigma, edges=edges)
    flat, inside, at_edges = (plane.reshape(len(sigma), -1) for plane in (sigma, region, edges))
    for name, part in (("region", inside), ("surroundings", ~inside)):
        if not part.any(1).all():
            raise ValueError(f"{name} of map {int(part.any(1).argmin())} has no pixel")
    tenth, last = np.quantile(flat, (0.1, 0.9), axis=1)
    centred = flat - flat.mean(1, keepdims=True)  # or the squares of a sharp map would cancel
    (mean, square), (mean_outside, square_outside) = (
        [_mean(values, part) for values in (centred, centred**2)] for part in (inside, ~inside)
    )
    at_edges_inside, at_edges_outside = (
        _mean(centred, part & at_edges) for part in (inside, ~inside)
    )
    values = (
        flat.mean(1),
        flat.std(1),
        tenth,
        last,
        np.hypot(*np.gradient(sigma, axis=(1, 2))).mean((1, 2)),
        mean - mean_outside,
        np.nan_to_num(at_edges_inside - at_edges_outside),
        _root(square - mean**2) - _root(square_outside - mean_outside**2),
    )
    shares = [_mean(at_edges.astype(np.float64), part) for part in (inside, ~inside)]
    return dict(zip(STATISTICS, values, strict=True)) | {EDGES: shares[0] - shares[1]}


def _mean(values: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Mean of (N, P) values over a part (N, P) bool; NaN where the part is empty."""
    with np.errstate(invalid="ignore"):
        return (values * part).sum(1) / part.sum(1)


def _root(variance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.clip(variance, 0, None))


def stretched(values: pd.DataFrame, low: np.ndarray, high: np.ndarray) -> pd.DataFrame:
    """The :data:`STATISTICS` of min-max normalised maps, from those of maps in px.

    ``low`` and ``high`` (N,) are the smallest and the largest sigma of each map. Each statistic is
    divided by their distance; levels, not differences, lose ``low`` first. A constant map has
    zeros, as :func:`defocus_lib.maps.estimate.normalize_per_sample` makes it.
    """
    levels = values.assign(**{name: values[name] - low for name in LEVELS})
    names, span = list(STATISTICS), np.where(high > low, high - low, 1.0)
    return values.assign(**{name: levels[name] / span for name in names})


def measure(
    records: pd.DataFrame, maps: Maps, region: Region, uncertain: bool = False
) -> pd.DataFrame:
    """The :func:`blur_statistics` of the map of each image, in px and min-max normalised.

    Parameters
    ----------
    records : DataFrame
        Records as of :mod:`defocus_lib.data.records`.
    maps : Maps
        Their source, by one preset.
    region : Region
        Such as :class:`Part` or :class:`KnownRegions`.
    uncertain : bool
        Whether the maps have an uncertainty (``maps.uncertainty(records)``, in px), which
        :data:`IN_UNCERTAINTIES` needs; it is NaN without.

    Returns
    -------
    DataFrame
        One row per image and scale: id, group, manipulation, label and pair of the records,
        ``scale`` ("px" or "min-max"), the statistics, :data:`IN_UNCERTAINTIES`, :data:`EDGES`.
    """
    parts = []
    for first in range(0, len(records), CHUNK):
        rows = records.iloc[first : first + CHUNK]
        sigma, edges = maps.stack(rows)
        inside = region(rows, sigma.shape[1:])  # type: ignore[arg-type]
        about = rows[["id", "group", "manipulation", "label", "pair"]].reset_index(drop=True)
        in_px = about.assign(**blur_statistics(sigma, edges, inside))
        low, high = (extreme(sigma, (1, 2)).astype(np.float64) for extreme in (np.min, np.max))
        errors = maps.uncertainty(rows) if uncertain else None  # type: ignore[attr-defined]
        known = np.nan if errors is None else in_uncertainties(sigma, errors, inside)
        parts.append(in_px.assign(scale="px", **{IN_UNCERTAINTIES: known}))
        normalised = stretched(in_px, low, high)
        parts.append(normalised.assign(scale="min-max", **{IN_UNCERTAINTIES: np.nan}))
    return pd.concat(parts, ignore_index=True)


def in_uncertainties(
    sigma: np.ndarray, uncertainty: np.ndarray, region: np.ndarray
) -> list[float | None]:
    """The :func:`defocus_lib.analysis.contrast.contrast` of each map in units of its uncertainty.

    ``sigma`` and ``uncertainty`` (N, H, W) in px; ``region`` (N, H, W) or (H, W) bool.
    """
    planes = zip(sigma, np.broadcast_to(region, sigma.shape), uncertainty, strict=True)
    return [contrast(*of_image).in_uncertainties for of_image in planes]
