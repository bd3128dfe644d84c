"""How the map of an image becomes the input of a detector.

Jeon & Woo (2025) stretch each map to [0, 1] by its own extremes, which loses its unit. Sigma over
a fixed number of px keeps it. Either may have a second channel, which says what a map leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from defocus_lib.maps.estimate import DefocusMaps, normalize_per_sample
from defocus_lib.maps.presets import NETWORK, PRESETS

if TYPE_CHECKING:
    from defocus_lib.maps.cache import MapCache

MIN_MAX, PX = "min-max", "px"
SCALE = 8.0
"""Sigma in px that becomes 1 in "px". No preset reads more than 6 px, so that nothing is clipped;
in inputs of one byte per value a step is 0.03 px, below the error of any preset."""
SECOND = {
    "": "",
    "validity": "the pixels at which blur was measured",
    "uncertainty": "its standard deviation in the same unit",
    "edges": "its edges",
}


@dataclass(frozen=True)
class Normalisation:
    """The ``unit`` of a map, "min-max" or "px", and what the second channel is, if there is one."""

    unit: str = MIN_MAX
    second: str = ""
    """A name in :data:`SECOND`: validity and edges are 0 or 1; "" for a map alone."""

    @property
    def channels(self) -> int:
        """Of its map: 1 or 2."""
        return 1 + bool(self.second)

    @property
    def title(self) -> str:
        """In words, after "maps"."""
        unit = "min-max normalised each to [0, 1]"
        if self.unit == PX:
            unit = f"in px, {SCALE:g} px as 1"
        return f"{unit}, with {SECOND[self.second]}" if self.second else unit

    def fits(self, preset: str) -> bool:
        """Whether maps of the preset have the second channel."""
        known = PRESETS.get(preset)
        return not (self.second == "uncertainty" and known and known.propagation != NETWORK)

    def check(self, preset: str) -> None:
        """Raise ValueError if maps of the preset lack the second channel."""
        if not self.fits(preset):
            raise ValueError(
                f"normalisation {self.unit}+uncertainty: maps of preset {preset!r} come without "
                "uncertainty; preset 'learned', or another normalisation, wanted"
            )


NORMALISATIONS = {
    "+".join(filter(None, (unit, second))): Normalisation(unit, second)
    for unit in (MIN_MAX, PX)
    for second in SECOND
}


def normalisation_named(name: str) -> Normalisation:
    """The normalisation of that name; ValueError with the known names if there is none."""
    if name not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise ValueError(f"unknown normalisation {name!r}; one of {known} wanted")
    return NORMALISATIONS[name]


def of_header(header: dict) -> str:
    """The normalisation that the header of weights names, "" where no map is read; min-max in
    older files, which describe it in a sentence or not at all."""
    name = str(header.get("normalisation", MIN_MAX))
    return MIN_MAX if " " in name else name


def normalised(planes: torch.Tensor, name: str) -> torch.Tensor:
    """Maps as a detector reads them.

    Parameters
    ----------
    planes : (N, K, H, W) float32
        Sigma in px, then the second channel if there is one: an uncertainty in px, or 0 and 1.
    name : str
        A name in :data:`NORMALISATIONS`.

    Returns
    -------
    (N, K, H, W) float32 in [0, 1]
        A constant map becomes zero by min-max, and so does its uncertainty. An uncertainty above
        the range of its map, or above the scale, becomes 1.

    Raises ValueError if there are more or fewer channels, or a value is not finite.
    """
    chosen = normalisation_named(name)
    if planes.ndim != 4 or planes.shape[1] != chosen.channels:
        raise ValueError(
            f"planes has shape {tuple(planes.shape)}; (N, {chosen.channels}, H, W) wanted by {name}"
        )
    sigma, second = planes[:, :1], planes[:, 1:]
    if not torch.isfinite(planes).all():
        raise ValueError("maps holds NaN or infinity")
    if chosen.unit == MIN_MAX:
        first = normalize_per_sample(sigma)
        span = sigma.amax((2, 3), keepdim=True) - sigma.amin((2, 3), keepdim=True)
    else:
        first, span = (sigma / SCALE).clamp(0, 1), torch.full_like(sigma[..., :1, :1], SCALE)
    if chosen.second == "uncertainty":
        second = torch.where(span > 0, second / span, torch.zeros_like(second)).clamp(0, 1)
    return torch.cat([first, second], dim=1)


def planes_of(maps: DefocusMaps, name: str) -> np.ndarray:
    """What :func:`normalised` takes, of maps that were just computed: ``(N, K, H, W)`` float32.

    Raises ValueError if the second channel is an uncertainty that the maps do not have.
    """
    second = normalisation_named(name).second
    if not second:
        return maps.dense.cpu().numpy()
    if second == "uncertainty" and maps.uncertainty is None:
        raise ValueError(f"normalisation {name}: these maps come without uncertainty")
    planes: dict[str, Any] = {
        "validity": maps.valid,
        "edges": maps.edges,
        "uncertainty": maps.uncertainty,
    }
    return torch.cat([maps.dense, planes[second].float()], dim=1).cpu().numpy()


def stored_planes(
    cache: MapCache, records: pd.DataFrame, dense: np.ndarray, edges: np.ndarray, name: str
) -> np.ndarray:
    """What :func:`normalised` takes, of the maps of a cache: ``(N, K, H, W)`` float32.

    ``dense`` and ``edges`` (N, H, W) are those of the ``records``, as the cache returns them.
    Raises as the cache does, which says where a preset has no uncertainty.
    """
    second = normalisation_named(name).second
    if not second:
        return dense[:, None]
    plane = edges if second == "edges" else getattr(cache, second)(records)
    return np.stack([dense, plane.astype(np.float32)], axis=1)
