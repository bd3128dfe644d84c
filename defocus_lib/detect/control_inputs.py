"""Inputs that keep everything of a defocus map but the blur, and a change of the image that leaves the blur alone.

A map is drawn from edges, so a detector on maps also sees where the edges are. If the same detector, with the same
budget, does as well on the edges alone, then it does not rely on the blur.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from defocus_lib.data.images import as_planes
from defocus_lib.maps.density import SPREAD, edge_density
from defocus_lib.maps.estimate import defocus_maps, normalize_per_sample
from defocus_lib.maps.propagation import normalized_gaussian

ILLUMINATION = "illumination change"


@dataclass(frozen=True)
class Batch:
    """What the input of a detector is made from.

    Attributes
    ----------
    images : (N, H, W, 3) uint8, optional
        None for an input that is made from maps alone.
    dense : (N, H, W) float32
        Their defocus maps, in px.
    edges : (N, H, W) bool
    digests : (N,) str
        SHA-256 of each image: seeds what is random about it.
    preset : str
        Of the maps.
    uncertainty : (N, H, W) float32, optional
        One standard deviation of the error of the maps, in px, where the preset tells it and the input wants it.
    """

    images: np.ndarray | None
    dense: np.ndarray
    edges: np.ndarray
    digests: np.ndarray
    preset: str = "physical"
    uncertainty: np.ndarray | None = None


@dataclass(frozen=True)
class Input:
    """One kind of input.

    Attributes
    ----------
    title : str
        For a reader.
    reads : {"defocus", "rgb", "fusion"}
        The kind of detector: how many channels it has.
    inputs : callable
        Of a :class:`Batch`, to ``(N, C, H, W)`` float32 in [0, 1].
    shuffled : bool
        Whether the labels to learn from are dealt out at random.
    uncertain : bool
        Whether it reads the uncertainty of the map.
    from_maps : bool
        Whether maps and edges are all that it is made from: the images need not be read then.
    """

    title: str
    reads: str
    inputs: Callable[[Batch], torch.Tensor]
    shuffled: bool = False
    uncertain: bool = False
    from_maps: bool = False


def _map(batch: Batch) -> torch.Tensor:
    return normalize_per_sample(torch.from_numpy(batch.dense)[:, None])


def _photograph(batch: Batch) -> torch.Tensor:
    return torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255


def _both(batch: Batch) -> torch.Tensor:
    return torch.cat([_photograph(batch), _map(batch)], dim=1)


def _map_and_uncertainty(batch: Batch) -> torch.Tensor:
    """Both in units of the map's range, so that the error keeps its size beside what is measured; at most 1."""
    dense, error = (
        torch.from_numpy(values)[:, None] for values in (batch.dense, batch.uncertainty)
    )
    span = dense.amax((2, 3), keepdim=True) - dense.amin((2, 3), keepdim=True)
    share = torch.where(span > 0, error / span, torch.zeros_like(error)).clamp(0, 1)
    return torch.cat([_map(batch), share, share], dim=1)


def _edges(batch: Batch) -> torch.Tensor:
    return torch.from_numpy(batch.edges)[:, None].float()


def _edge_density(batch: Batch) -> torch.Tensor:
    return normalize_per_sample(torch.from_numpy(edge_density(batch.edges))[:, None])


def _permuted_blur(batch: Batch) -> torch.Tensor:
    dense = [
        _permuted_map(image, digest, batch.preset)
        for image, digest in zip(batch.images, batch.digests, strict=True)
    ]
    return normalize_per_sample(torch.from_numpy(np.stack(dense))[:, None])


def _permuted_map(image: np.ndarray, digest: str, preset: str) -> np.ndarray:
    """The map of an image, ``(H, W)``, when the readings at its edges are dealt out among these edges at random."""
    maps = defocus_maps(as_planes(image)[None], preset)
    sparse, valid = maps.sparse[0, 0].numpy(), maps.valid[0, 0].numpy()
    dealt = np.zeros_like(sparse)
    dealt[valid] = generator(digest).permutation(sparse[valid])
    return normalized_gaussian(dealt, valid.astype(np.float32), SPREAD * min(sparse.shape))


def generator(digest: str, *more: int) -> np.random.Generator:
    """The random numbers of one image: they depend on its content alone."""
    return np.random.default_rng([int(digest[:15], 16), *more])


INPUTS = {
    "defocus": Input("defocus map", "defocus", _map, from_maps=True),
    "rgb": Input("photograph", "rgb", _photograph),
    "fusion": Input("photograph and map", "fusion", _both),
    "map and uncertainty": Input(
        "defocus map and its uncertainty",
        "rgb",
        _map_and_uncertainty,
        uncertain=True,
        from_maps=True,
    ),
    "edges": Input("edges only", "defocus", _edges, from_maps=True),
    "edge density": Input("edge density", "defocus", _edge_density, from_maps=True),
    "permuted blur": Input("blur readings permuted among edges", "defocus", _permuted_blur),
    "shuffled": Input("labels shuffled", "defocus", _map, shuffled=True, from_maps=True),
}
WITHOUT_BLUR = ("edges", "edge density", "permuted blur")
"""The controls that keep the edges of the map and lose its blur."""


def change_illumination(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Darken a soft spot of the image, as a shadow does. Every pixel keeps its blur.

    Parameters
    ----------
    image : (H, W, 3) uint8

    Returns
    -------
    (H, W, 3) uint8
        Darker by a quarter to a half in the middle of the spot. Nothing gets brighter, so nothing is clipped; the spot
        is so wide that its rim makes no edge.
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
    twins = real.assign(
        id=real["id"] + f"/{ILLUMINATION}", manipulation=ILLUMINATION, label=1, pair=real["id"]
    )
    return pd.concat([real, twins], ignore_index=True)


def title_of(control: str, training_manipulation: str) -> str:
    """What a detector reads, for a reader; and what it learns, where that is an illumination change."""
    return (
        f"{INPUTS[control].title}, {ILLUMINATION}"
        if training_manipulation == ILLUMINATION
        else INPUTS[control].title
    )
