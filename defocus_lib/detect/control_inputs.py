"""Control inputs that keep the edges of a defocus map without its blur, and an illumination change.

A map is computed at edges, so a detector on maps also sees where the edges are. If the same
detector, with the same budget, reaches the same AUC on the edges only, then the blur adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from defocus_lib.data.images import Reader, as_planes
from defocus_lib.detect.normalisation import MIN_MAX, normalised, planes_of, stored_planes
from defocus_lib.maps.cache import maps_as_cached
from defocus_lib.maps.density import SPREAD, edge_density
from defocus_lib.maps.estimate import DefocusMaps, defocus_maps, normalize_per_sample
from defocus_lib.maps.propagation import normalized_gaussian

ILLUMINATION = "illumination change"


class Maps(Protocol):
    """Source of the maps of images, such as :class:`defocus_lib.maps.cache.MapCache`."""

    @property
    def preset(self) -> str: ...

    def stack(self, records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Dense maps ``(N, H, W)`` float32 in px, and their edges ``(N, H, W)`` bool."""


@dataclass(frozen=True)
class Batch:
    """What inputs are computed from, each read when an input first needs it.

    Records of :data:`ILLUMINATION` name the stored image, which is changed and mapped here.
    """

    records: pd.DataFrame
    reader: Reader
    cache: Maps

    @cached_property
    def digests(self) -> np.ndarray:
        """SHA-256 ``(N,)`` of the stored images, from which their random numbers are seeded."""
        return self.records["digest"].to_numpy(dtype=str)

    @cached_property
    def images(self) -> np.ndarray:
        """``(N, H, W, 3)`` uint8."""
        images = self.reader.stack(self.records)
        for row in self._changed:
            images[row] = change_illumination(images[row], generator(self.digests[row]))
        return images

    @cached_property
    def maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Dense maps ``(N, H, W)`` float32 in px, and their edges ``(N, H, W)`` bool."""
        dense, edges = self.cache.stack(self.records)
        for row, maps in self._computed.items():
            dense[row], edges[row] = maps.dense[0, 0].numpy(), maps.edges[0, 0].numpy()
        return dense, edges

    def planes_by(self, normalisation: str) -> np.ndarray:
        """The maps and their second channel, not normalised yet: ``(N, K, H, W)`` float32."""
        # Only a cache on disk has what some normalisations put into the second channel.
        cache: Any = self.cache
        planes = stored_planes(cache, self.records, *self.maps, normalisation)
        for row, maps in self._computed.items():
            planes[row] = planes_of(maps, normalisation)[0]
        return planes

    @cached_property
    def _computed(self) -> dict[int, DefocusMaps]:
        """The maps of the changed images, by row."""
        preset, propagation = self.cache.preset, getattr(self.cache, "propagation", "")
        return {
            row: maps_as_cached(as_planes(self.images[row])[None], preset, propagation)
            for row in self._changed
        }

    @property
    def _changed(self) -> np.ndarray:
        return np.flatnonzero(self.records["manipulation"] == ILLUMINATION)


# (N, C, H, W) float32 in [0, 1]; what has no defocus map takes no notice of its normalisation.
Part = Callable[[Batch, str], torch.Tensor]


@dataclass(frozen=True)
class Input:
    """One kind of input, ``(N, C, H, W)`` float32 in [0, 1]: the channels of its ``parts``.

    ``reads`` is the kind of detector, "defocus", "rgb" or "fusion", which fixes ``C`` with the
    normalisation of the map. If ``shuffled``, the labels to learn from are permuted.
    """

    title: str
    reads: str
    parts: tuple[Part, ...]
    shuffled: bool = False

    @property
    def has_map(self) -> bool:
        """Whether a normalisation applies to it."""
        return _map in self.parts

    def inputs(self, batch: Batch, normalisation: str = MIN_MAX) -> torch.Tensor:
        """The input of each image of a batch, at full size."""
        return torch.cat([part(batch, normalisation) for part in self.parts], dim=1)


def _map(batch: Batch, normalisation: str) -> torch.Tensor:
    return normalised(torch.from_numpy(batch.planes_by(normalisation)), normalisation)


def _photograph(batch: Batch, _: str) -> torch.Tensor:
    return torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255


def _edges(batch: Batch, _: str) -> torch.Tensor:
    return torch.from_numpy(batch.maps[1])[:, None].float()


def _edge_density(batch: Batch, _: str) -> torch.Tensor:
    return normalize_per_sample(torch.from_numpy(edge_density(batch.maps[1]))[:, None])


def _permuted_blur(batch: Batch, _: str) -> torch.Tensor:
    pairs = zip(batch.images, batch.digests, strict=True)
    dense = [_permuted_map(image, digest, batch.cache.preset) for image, digest in pairs]
    return normalize_per_sample(torch.from_numpy(np.stack(dense))[:, None])


def _permuted_map(image: np.ndarray, digest: str, preset: str) -> np.ndarray:
    """The map ``(H, W)`` of an image whose blur readings are permuted among its edges."""
    maps = defocus_maps(as_planes(image)[None], preset)
    sparse, valid = maps.sparse[0, 0].numpy(), maps.valid[0, 0].numpy()
    permuted = np.zeros_like(sparse)
    permuted[valid] = generator(digest).permutation(sparse[valid])
    return normalized_gaussian(permuted, valid.astype(np.float32), SPREAD * min(sparse.shape))


def generator(digest: str, *more: int) -> np.random.Generator:
    """A random generator of one image, seeded by its content (and ``more``) alone."""
    return np.random.default_rng([int(digest[:15], 16), *more])


INPUTS = {
    "defocus": Input("defocus map", "defocus", (_map,)),
    "rgb": Input("photograph", "rgb", (_photograph,)),
    "fusion": Input("photograph and map", "fusion", (_photograph, _map)),
    "edges": Input("edges only", "defocus", (_edges,)),
    "edge density": Input("edge density", "defocus", (_edge_density,)),
    "permuted blur": Input("blur readings permuted among edges", "defocus", (_permuted_blur,)),
    "shuffled": Input("labels shuffled", "defocus", (_map,), shuffled=True),
}
WITHOUT_BLUR = ("edges", "edge density", "permuted blur")
"""The inputs that keep the edges of the map and lose its blur."""


def change_illumination(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Darken a smooth spot of an ``(H, W, 3)`` uint8 image. Every pixel keeps its blur.

    The middle of the spot is darker by a quarter to a half. No pixel gets brighter, so none is
    clipped; the spot is so wide that its rim gives no edge.
    """
    height, width = image.shape[:2]
    y, x = np.indices((height, width))
    middle, spread = rng.uniform(0.3, 0.7, 2), rng.uniform(0.12, 0.2) * min(height, width)
    squared = ((y - middle[0] * height) ** 2 + (x - middle[1] * width) ** 2) / spread**2
    light = 1 - rng.uniform(0.25, 0.5) * np.exp(-squared / 2)
    return np.rint(image * light[..., None]).astype(np.uint8)


def with_illumination_change(records: pd.DataFrame) -> pd.DataFrame:
    """The real images, and each of them again as manipulated by :func:`change_illumination`."""
    real = records[records["label"] == 0]
    changed = real.assign(
        id=real["id"] + f"/{ILLUMINATION}", manipulation=ILLUMINATION, label=1, pair=real["id"]
    )
    return pd.concat([real, changed], ignore_index=True)


def title_of(input_name: str, training_manipulation: str) -> str:
    """Title of an input, and of the training manipulation where that is an illumination change."""
    title = INPUTS[input_name].title
    return f"{title}, {ILLUMINATION}" if training_manipulation == ILLUMINATION else title
