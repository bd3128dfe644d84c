"""A set of images with their defocus maps and Shapley values, in memory: what every analysis reads.

Images are matched by key, never by position. The functions at the end take sets in memory as well as those on disk
(:class:`defocus_lib.explain.stored_set.StoredSet`): both know ``ids`` and ``pairs``, and ``take`` images by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from defocus_lib.checks import check_same_shape


@dataclass(frozen=True)
class ShapleySet:
    """The maps and Shapley values of ``N`` images that share a manipulation (or are real).

    Arrays that the reader was not asked for are ``None``.

    Attributes
    ----------
    ids : (N,) str
        One id an image, ``<scene>/<manipulation>``.
    pairs : (N,) str
        The id of the real image that each one is compared with; a real image names itself.
    images : (N, H, W, 3) uint8
    edges, regions : (N, H, W) bool
        Edge pixels of the map, and the pixels that were manipulated (none in a real image).
    dmaps : (N, H, W) float32
        Dense defocus maps, min-max normalised per image to [0, 1].
    defocus_shaps, rgb_shaps : (N, H, W) float32
        Shapley values in logits; those of the RGB detector are summed over the channels.
    defocus_gaps, rgb_gaps : (N,) float32
        Completeness gap in logits: ``f(x) - E f(background)`` minus the sum of the values; NaN where nobody knows.
    meta : dict
        Profile, manipulation, seed, parameters and versions.
    """

    ids: np.ndarray
    pairs: np.ndarray
    images: np.ndarray | None = None
    edges: np.ndarray | None = None
    regions: np.ndarray | None = None
    dmaps: np.ndarray | None = None
    defocus_shaps: np.ndarray | None = None
    rgb_shaps: np.ndarray | None = None
    defocus_gaps: np.ndarray | None = None
    rgb_gaps: np.ndarray | None = None
    meta: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        there = {
            name: getattr(self, name) for name in SET_ARRAYS if getattr(self, name) is not None
        }
        size = next(
            (there[name].shape[1:3] for name in (*MAP_ARRAYS, "images") if name in there), ()
        )
        wanted = {name: (len(self.ids), *size) for name in MAP_ARRAYS} | {
            "images": (len(self.ids), *size, 3)
        }
        wanted |= {name: (len(self.ids),) for name in SET_ARRAYS if name not in wanted}
        for name, shape in wanted.items():
            if name in there and there[name].shape != shape:
                raise ValueError(f"{name} has shape {there[name].shape}; {shape} wanted")
        for name in FLOAT_MAPS:
            if name in there and not np.isfinite(there[name]).all():
                raise ValueError(f"{name} holds NaN or infinity")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def groups(self) -> np.ndarray:
        """The group of each image, see :func:`groups_of`."""
        return groups_of(self.ids, self.pairs)

    def take(self, rows: ArrayLike, *names: str) -> ShapleySet:
        """The images at ``rows``, in that order, with the arrays ``names``, or with all."""
        kept = {
            name: getattr(self, name) for name in SET_ARRAYS if not names or name in (*KEYS, *names)
        }
        return ShapleySet(
            **{name: None if v is None else v[rows] for name, v in kept.items()}, meta=self.meta
        )


KEYS = ("ids", "pairs")
FLOAT_MAPS = ("dmaps", "defocus_shaps", "rgb_shaps")
MAP_ARRAYS = ("dmaps", "edges", "regions", "defocus_shaps", "rgb_shaps")
SET_ARRAYS = tuple(f.name for f in fields(ShapleySet) if f.name != "meta")


class Images(Protocol):
    """What a set in memory and one on disk have in common."""

    ids: np.ndarray
    pairs: np.ndarray

    def __len__(self) -> int: ...

    def take(self, rows: ArrayLike, *names: str) -> ShapleySet: ...


def groups_of(ids: ArrayLike, pairs: ArrayLike | None = None) -> np.ndarray:
    """The group of each image: what must not be taken apart, since its images resemble each other.

    It is the text before the first ``/`` of the image's pair, or of its own id where it has none.

    Parameters
    ----------
    ids : (N,) str array_like
        ``<video>/<frame>/<manipulation>``, or ``<name>/<manipulation>`` for scenes and single pictures.
    pairs : (N,) str array_like, optional
        Id of the real image that each belongs to; "" for none. A fake video ``800_840`` is of the group ``800``.

    Returns
    -------
    (N,) str array

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    ids = np.asarray(ids, dtype=str)
    pairs = ids if pairs is None else np.asarray(pairs, dtype=str)
    check_same_shape(ids=ids, pairs=pairs)
    return np.strings.partition(np.where(pairs == "", ids, pairs), "/")[0]


def paired(fake: Images, real: Images, *names: str) -> ShapleySet:
    """The real images that ``fake`` is compared with, row by row: matched by key, never by position.

    Parameters
    ----------
    fake, real : sets
    *names : str
        Arrays to take; all if none is named.

    Raises
    ------
    ValueError
        If a fake has no real counterpart; the message names it.
    """
    row = {name: index for index, name in enumerate(real.ids.tolist())}
    missing = [
        f"{name} (needs {pair})"
        for name, pair in zip(fake.ids, fake.pairs, strict=True)
        if pair not in row
    ]
    if missing:
        raise ValueError(
            f"{len(missing)} manipulated image(s) without their real counterpart: {', '.join(missing[:5])}"
        )
    return real.take(np.array([row[pair] for pair in fake.pairs.tolist()], dtype=int), *names)


def concatenate(sets: Iterable[ShapleySet]) -> ShapleySet:
    """The images of several sets, one set after the other, with the ``meta`` of the first.

    Raises
    ------
    ValueError
        If there is no set, their images differ in size, or one lacks an array that another has.
    """
    parts = list(sets)
    if not parts:
        raise ValueError("no set of images; at least one set wanted")
    arrays = {}
    for name in SET_ARRAYS:
        values = [getattr(part, name) for part in parts]
        sizes = sorted({str(None if array is None else array.shape[1:]) for array in values})
        if len(sizes) != 1:
            raise ValueError(f"{name} of these sets has sizes {', '.join(sizes)}; one size wanted")
        arrays[name] = None if values[0] is None else np.concatenate(values)
    return ShapleySet(**arrays, meta=parts[0].meta)


def complete_pairs(sets: Mapping[str, Images]) -> list[str]:
    """The ids of the real images that every set has a version of, in the order of the first set.

    Raises
    ------
    ValueError
        If there is none.
    """
    everywhere = set.intersection(*(set(values.pairs.tolist()) for values in sets.values())) - {""}
    found = [
        name
        for name in dict.fromkeys(next(iter(sets.values())).pairs.tolist())
        if name in everywhere
    ]
    if not found:
        raise ValueError(f"no real image has a version in every set of {', '.join(sets)}")
    return found


def versions(sets: Mapping[str, Images], pair: str) -> ShapleySet:
    """The image of every set that belongs to the real image ``pair``, one after the other: examples for a figure.

    Raises
    ------
    ValueError
        If a set has none.
    """
    for name, values in sets.items():
        if pair not in values.pairs:
            raise ValueError(f"set {name!r} has no image of pair {pair!r}")
    return concatenate(
        values.take(np.flatnonzero(values.pairs == pair)[:1]) for values in sets.values()
    )


def firsts(sets: Mapping[str, Images]) -> ShapleySet:
    """The first image of every set, one after the other: examples where images have no counterparts."""
    return concatenate(values.take(np.array([0])) for values in sets.values())
