"""One picture: its blur, what a detector says of it, and what that is worth.

Whatever weights need to know of a picture's preparation is in their header, so that the input of
the detector is that of its training to the byte (:class:`defocus_lib.detect.inputs.Inputs`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit
from tqdm.auto import tqdm

from defocus_lib.analysis.blur_statistics import STATISTICS, blur_statistics
from defocus_lib.analysis.contrast import centre, contrast
from defocus_lib.analysis.inspection_settings import Settings
from defocus_lib.data.equalise import Equalise
from defocus_lib.data.images import MAX_PIXELS, Reader, as_planes, format_of, read_bytes, reduced
from defocus_lib.detect import training_images
from defocus_lib.detect.checkpoints import open_weights
from defocus_lib.detect.inputs import KINDS, as_input
from defocus_lib.detect.model import Detector
from defocus_lib.detect.normalisation import planes_of
from defocus_lib.explain.expected_gradients import Compute, shapley_values
from defocus_lib.maps.cache import maps_as_cached
from defocus_lib.maps.estimate import SMALLEST_SIDE, DefocusMaps
from defocus_lib.maps.presets import preset_named
from defocus_lib.precision import fastest, here

PRESET = "learned"  # of the map where weights name none
# Blur of a pixel counts as measured up to this uncertainty: in px, or as a share of the blur.
MEASURED, MEASURED_SHARE = 0.5, 0.25
AUTHORS_SIZE = 299  # px, of Jeon & Woo (2025), whose files say nothing of it


class Verdict(NamedTuple):
    """What a detector says of a picture."""

    probability: float
    """Of being manipulated."""
    logit: float
    threshold: float | None
    """Probability from which a picture is called manipulated; None if the weights state none."""
    decision: str
    """"manipulated", "real", or "" without a threshold."""
    shapley: np.ndarray | None = None
    """(H, W) in logits."""
    completeness_error: float | None = None
    """In logits."""


@dataclass(frozen=True)
class Inspection:
    """One picture and what could be read from it. Planes are those of the map, (H, W)."""

    name: str
    format: str
    stored: tuple[int, int]
    """Width and height of the file, upright, in px."""
    pixels: np.ndarray
    """(H, W, 3) uint8, as the map was computed from it."""
    sigma: np.ndarray
    """Float32, in px of ``pixels``."""
    uncertainty: np.ndarray | None
    edges: np.ndarray
    valid: np.ndarray
    """Bool, edges at which blur could be measured."""
    verdict: Verdict | None = None
    withheld: str = ""
    """Why there is no verdict, although there are weights."""
    comparison: list[dict] = field(default_factory=list)
    """Of the picture with the training images, see :func:`training_images.compare`."""

    @property
    def measured(self) -> np.ndarray:
        """``(H, W)`` bool: an uncertainty of at most :data:`MEASURED`, or :data:`MEASURED_SHARE` of
        the blur; where uncertainties are unknown, ``valid``."""
        if self.uncertainty is None:
            return self.valid
        return self.uncertainty <= np.maximum(MEASURED, MEASURED_SHARE * self.sigma)

    @property
    def outside(self) -> list[dict]:
        """The statistics in which the picture lies outside of the training images."""
        return [row for row in self.comparison if row["outside"]]


@dataclass(frozen=True)
class Inspector:
    """Reads pictures by the settings, and by the header of the weights where there are any."""

    settings: Settings
    detector: Detector | None = None
    header: dict = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Inspector:
        """Open the weights of the settings. Raises as :func:`open_weights`; ValueError if a preset
        is unknown, or is not that of the weights."""
        if settings.preset:
            preset_named(settings.preset)
        if settings.weights is None:
            return cls(settings)
        detector, header = open_weights(settings.weights, settings.reads, settings.backbone)
        own = header.get("preset", "")
        if own and settings.preset not in ("", own):
            raise ValueError(
                f"{settings.weights}: weights are for maps of preset {own!r}; "
                f"{settings.preset!r} given"
            )
        return cls(settings, detector, header)

    @property
    def preset(self) -> str:
        """Of the map: that of the weights, if their detector reads the picture."""
        own = self.header.get("preset") if self.judges else ""
        return own or self.settings.preset or PRESET

    @property
    def normalisation(self) -> str:
        """Of the map that the detector reads; "" where there is no detector, or it reads none."""
        reads_map = self.detector is not None and self.detector.kind.map
        return self.detector.normalisation if reads_map else ""  # type: ignore[union-attr]

    @property
    def judges(self) -> bool:
        """Whether there is a detector for the pictures: one that learned from rendered scenes is
        none for a photograph, which is then read as without weights."""
        return self.detector is not None and (self.settings.rendered or not self.is_rendered)

    @property
    def reader(self) -> Reader:
        """What brings pictures into the shape of the training images, by the header."""
        header = self.header
        return Reader(
            Path(),
            header.get("size", AUTHORS_SIZE),
            header.get("fit", "stretch"),
            header.get("max_pixels", MAX_PIXELS),
            Equalise(**header["equalise"]) if header.get("equalise") else None,
        )

    @property
    def is_rendered(self) -> bool:
        """Whether the weights were trained on rendered scenes, by their header."""
        return bool(self.header.get("rendered", self.header.get("data") == "scenes"))

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """Decoded ``pixels`` (H, W, 3) uint8 in the size that the map is computed from."""
        if not self.judges:
            longest = self.settings.longest_side
            # A panorama stays large enough for its map.
            least = math.ceil(SMALLEST_SIDE * max(pixels.shape[:2]) / min(pixels.shape[:2]))
            return reduced(pixels, longest and max(longest, least))
        return self.reader.prepare(pixels)

    def maps(self, pixels: np.ndarray) -> DefocusMaps:
        """The maps of prepared pixels, rounded as those that detectors are trained on."""
        of_weights = self.preset == self.header.get("preset")
        propagation = self.header.get("propagation", "") if of_weights else ""
        return maps_as_cached(as_planes(pixels)[None], self.preset, propagation)

    def detector_input(self, pixels: np.ndarray, maps: DefocusMaps) -> torch.Tensor:
        """``(C, H, W)`` float32, equal to that of the training for a picture of these pixels."""
        assert self.detector is not None
        name = self.detector.normalisation
        return as_input(self.detector.reads, pixels, planes_of(maps, name)[0], name)

    def inspect(self, content: bytes, name: str) -> Inspection:
        """Inspect the picture file ``content``; raises UnreadableImage, or ValueError if it is too
        small."""
        decoded = self.reader.decode(content, name)
        height, width = decoded.shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            raise ValueError(f"{name}: {width} x {height} px; {SMALLEST_SIDE} px a side wanted")
        pixels = self.prepare(decoded)
        maps = self.maps(pixels)
        inspection = Inspection(
            name,
            format_of(content),
            (width, height),
            pixels,
            sigma=_plane(maps.dense),
            uncertainty=None if maps.uncertainty is None else _plane(maps.uncertainty),
            edges=_plane(maps.edges),
            valid=_plane(maps.valid),
        )
        if self.detector is None:
            return inspection
        withheld = self._reason_against(inspection)
        verdict = None if withheld else self._judge(self.detector_input(pixels, maps))
        comparison = []
        if described := self.header.get("training_images"):
            used = self.reader.prepare(decoded)
            of_picture = training_images.statistics(content, decoded, used)
            comparison = training_images.compare(of_picture, described)
        return replace(inspection, verdict=verdict, withheld=withheld, comparison=comparison)

    def _reason_against(self, inspection: Inspection) -> str:
        """Why the detector must say nothing of a picture; "" if nothing speaks against it."""
        if not self.judges:
            return (
                "No verdict: these weights were trained on rendered scenes. What distinguishes "
                "manipulated images of such scenes is no evidence in a photograph. The map does "
                "not depend on the weights."
            )
        kind = KINDS[self.header["reads"]]
        if kind.control or kind.shuffled:
            return (
                f"No verdict: these weights are those of a control ({self.header['reads']}), "
                "which is trained for comparison with a detector, not for pictures."
            )
        if not inspection.valid.any() and kind.map:
            return (
                "No verdict: blur could not be measured at any edge of this picture. Its map is "
                "empty, so that a detector on the map has nothing to judge."
            )
        return ""

    def _judge(self, inputs: torch.Tensor) -> Verdict:
        """The verdict on one input ``(C, H, W)``, with its Shapley map if that is asked for."""
        device = here()
        detector, batch = self.detector.to(device), inputs[None].to(device)  # type: ignore[union-attr]
        with torch.inference_mode():
            logit = float(detector(batch).float())
        probability, threshold = float(expit(logit)), self.header.get("threshold")
        decision = ""
        if threshold is not None:
            decision = "manipulated" if probability >= threshold else "real"
        verdict = Verdict(probability, logit, threshold, decision)
        if self.settings.n_samples == 0:
            return verdict
        background = self.background(inputs).to(device)
        compute = Compute(precision=getattr(torch, fastest(device)))
        samples = self.settings.n_samples
        values = shapley_values(detector, batch, background, samples, compute=compute)
        error = float(values.completeness_errors[0])
        return verdict._replace(shapley=values.values[0], completeness_error=error)

    def background(self, inputs: torch.Tensor) -> torch.Tensor:
        """What an input is explained against: the mean real training input, or, where the weights
        hold none, a uniform one of the same mean. ``(1, C, H, W)``."""
        mean = self.header.get("background")
        if mean is not None:
            return training_images.background_of(mean, tuple(inputs.shape[1:]))  # type: ignore[arg-type]
        return inputs.mean((1, 2), keepdim=True).expand_as(inputs)[None].contiguous()


def _plane(maps: torch.Tensor) -> np.ndarray:
    return maps[0, 0].numpy()


def inspect_all(
    inspector: Inspector, paths: Sequence[Path], progress: bool = False
) -> Iterator[Inspection | str]:
    """The inspection of each picture file, or why it cannot be read, in their order."""
    # None: only on a terminal.
    hidden = None if progress and len(paths) > 1 else True
    for path in tqdm(paths, desc="inspecting", unit="picture", disable=hidden):
        try:
            yield inspector.inspect(read_bytes(path), str(path))
        except ValueError as error:  # UnreadableImage is one; others name no file
            yield str(error) if str(path) in str(error) else f"{path}: {error}"


def blur_numbers(inspection: Inspection) -> dict[str, float | None]:
    """Blur of a picture as numbers: ``low``, ``median`` and ``high``, the 10th, 50th and 90th
    percentile in px over the measured pixels; shares in %; the contrast of the centre with the
    border in px. None where there is nothing to measure."""
    edges, measured, uncertainty = inspection.edges, inspection.measured, inspection.uncertainty
    levels = {"low": 10, "median": 50, "high": 90}
    values: list[float | None] = [None] * len(levels)
    if measured.any():
        percentiles = np.percentile(inspection.sigma[measured], list(levels.values()))
        values = [float(value) for value in percentiles]
    at_edges = 100 * float(measured[edges].mean()) if edges.any() else 0.0
    parts = contrast(inspection.sigma, central_part(inspection.sigma), uncertainty)
    is_empty = not inspection.sigma.any()
    return {
        **dict(zip(levels, values, strict=True)),
        "uncertainty": None if uncertainty is None else float(np.median(uncertainty)),
        "edges_percent": 100 * float(edges.mean()),
        "measured_edges_percent": at_edges,
        "measured_percent": None if uncertainty is None else 100 * float(measured.mean()),
        "centre": None if is_empty else parts.region,
        "border": None if is_empty else parts.surroundings,
        "contrast": None if is_empty else parts.difference,
        "contrast_uncertainty": None if is_empty else parts.uncertainty,
        "contrast_in_uncertainties": None if is_empty else parts.in_uncertainties,
    }


def central_part(sigma: np.ndarray) -> np.ndarray:
    """The region of a picture of which nothing is known, ``(H, W)`` bool: its middle half."""
    return centre(sigma.shape)  # type: ignore[arg-type]


def eight_statistics(inspection: Inspection) -> dict[str, float | None]:
    """The :data:`defocus_lib.analysis.blur_statistics.STATISTICS` of a picture, whose region is its
    centre; None where there is nothing to measure. Every pixel counts alike in them."""
    sigma, edges = inspection.sigma, inspection.edges
    if not sigma.any():
        return dict.fromkeys(STATISTICS)
    values = blur_statistics(sigma[None], edges[None], central_part(sigma))
    return {name: float(values[name][0]) for name in STATISTICS}


def facts(inspection: Inspection, inspector: Inspector) -> dict:
    """An inspection as plain values, for JSON; planes are left out."""
    height, width = inspection.sigma.shape
    verdict = inspection.verdict
    return {
        "file": inspection.name,
        "format": inspection.format,
        "width": inspection.stored[0],
        "height": inspection.stored[1],
        "map": {"preset": inspector.preset, "width": width, "height": height},
        "blur": blur_numbers(inspection),
        "statistics": eight_statistics(inspection),
        "verdict": None
        if verdict is None
        else {name: value for name, value in verdict._asdict().items() if name != "shapley"},
        "withheld": inspection.withheld,
        "outside": [row["statistic"] for row in inspection.outside],
        "comparison": inspection.comparison,
    }


def flat(values: dict) -> dict[str, object]:
    """The :func:`facts` of a picture as one row of a table."""
    row: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            row |= {f"{name}_{key}": item for key, item in value.items()}
        elif name == "outside":
            row[name] = "; ".join(value)
        elif name not in ("comparison", "verdict"):
            row[name] = value
    return row
