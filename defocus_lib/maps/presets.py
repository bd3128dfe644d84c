"""The named settings of a defocus map, and what each is for."""

from __future__ import annotations

from dataclasses import dataclass

PROPAGATIONS = ("gaussian", "guided", "closed_form")
NETWORK = "network"  # instead of a propagation: the network's map is dense from the start


@dataclass(frozen=True)
class Preset:
    """How a map is computed. The fields from `max_error` on matter only if it is not `literal`."""

    input_range: tuple[float, float]
    """Range that images in [0, 1] are scaled to first."""
    scales: tuple[float, ...]
    """Standard deviations of the Gaussian derivatives in px, ascending: the two whose ratio is
    read, or three of which one is read at each edge pixel."""
    canny_sigma: float
    """Smoothing before edge detection in px; 0 to take the ridges of the two finest scales."""
    max_sigma: float
    """Estimates are capped here, in px."""
    propagation: str
    """One of :data:`PROPAGATIONS`, unless the caller chooses another, or :data:`NETWORK`."""
    literal: bool
    """Compute as Jeon & Woo (2025): kernels of radius 5, zero padding, unread blur counts as 0."""
    max_error: float = 0.25
    """Largest standard deviation of an estimate in px that noise may cause at the scale read."""
    lowest_threshold: float = 0.4
    """Edges are sought down to this share of scikit-image's threshold, where noise allows."""
    weigh_by_width: bool = True
    """Count an edge in proportion to its width, because blurred surfaces carry fewer edges."""
    weigh_by_shape: bool = True
    """Count an edge less if it is not straight, or its pixel not on the ridge."""

    def method(self, propagation: str | None = None) -> str:
        """What makes the map dense; ValueError if this preset cannot be made dense that way."""
        known = (NETWORK,) if self.propagation == NETWORK else PROPAGATIONS
        method = self.propagation if propagation is None else propagation
        if method not in known:
            by = " by a preset of a network" if NETWORK in known else ""
            raise ValueError(
                f"unknown propagation {method!r}; one of {', '.join(known)} wanted{by}"
            )
        return method


PRESETS = {
    # What the released code of Jeon & Woo (2025) computes, and so what their weights expect.
    "released": Preset((-1.0, 1.0), (1.5, 2.0), 1.5, 5.0, "guided", literal=True),
    # What the maps published with that code were computed with.
    "published": Preset((-1.0, 1.0), (2.0, 2.5), 1.5, 5.0, "guided", literal=True),
    # Ours: closest to known blur. Doubled scales, from the finest that a pixel grid carries to one
    # for strong noise.
    "physical": Preset((0.0, 1.0), (0.7, 1.4, 2.8), 0.0, 6.0, "gaussian", literal=False),
    # A network that was trained on simulated blur; its edges are those of `physical`.
    "learned": Preset((0.0, 1.0), (0.7, 1.4, 2.8), 0.0, 6.0, NETWORK, literal=False),
}


def preset_named(name: str | Preset) -> Preset:
    """The preset of that name, or itself; ValueError with the known names if there is none."""
    if isinstance(name, Preset):
        return name
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; one of {', '.join(PRESETS)} wanted")
    return PRESETS[name]
