"""A small artefact folder made without training: what notebooks 05 to 09 read, in a second.

Images are crops of photographs that ship with scikit-image. The maps are smoothed gradients and
the Shapley values seeded noise: they have the shapes and ranges of the real ones, and mean
nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage import color, data, draw, transform

from defocus_lib.explain import attribution_set, shards
from defocus_lib.explain.attribution_set import AttributionSet
from defocus_lib.run import artifacts

MANIPULATIONS = ("resynthesis", "splice", "reenactment", "texture")


def photographs() -> list[np.ndarray]:
    """Photographs as ``(H, W, 3)`` float in [0, 1]."""
    return [
        np.asarray(load() / 255.0)
        for load in (data.astronaut, data.coffee, data.chelsea, data.rocket)
    ]


def crop(photograph: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of the photograph, its sides at most halved, as ``(size, size, 3)``."""
    top, left = (rng.integers(0, side - 2 * size + 1) for side in photograph.shape[:2])
    return transform.resize(
        photograph[top : top + 2 * size, left : left + 2 * size], (size, size), anti_aliasing=True
    )


def elliptic_region(size: int, rng: np.random.Generator) -> np.ndarray:
    """An ellipse near the middle, ``(size, size)`` bool."""
    region = np.zeros((size, size), dtype=bool)
    centre = rng.uniform(0.4, 0.6, 2) * size
    region[draw.ellipse(*centre, *(rng.uniform(0.15, 0.28, 2) * size), shape=region.shape)] = True
    return region


def manipulate(name: str, image: np.ndarray, donor: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The image with its region changed, roughly as the manipulation of that name does."""
    changed = {
        "resynthesis": lambda: transform.resize(
            transform.rescale(image, 0.4, channel_axis=2), image.shape
        ),
        "splice": lambda: ndimage.gaussian_filter(donor, (1, 1, 0)),
        "reenactment": lambda: np.roll(image, (2, 3), axis=(0, 1)),
        "texture": lambda: (
            ndimage.median_filter(image, (3, 3, 1))
            + 0.03 * (np.indices(image.shape)[:2].sum(0) % 2)
        ),
    }[name]()
    return np.clip(np.where(region[..., None], changed, image), 0, 1)


def stand_in_map(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges ``(H, W)`` bool and a normalised map ``(H, W)`` float32 of an image."""
    gradient = ndimage.gaussian_gradient_magnitude(color.rgb2gray(image), 1.0)
    smooth = ndimage.gaussian_filter(np.sqrt(gradient), 3)
    dense = (smooth - smooth.min()) / (np.ptp(smooth) or 1.0)
    return gradient > np.quantile(gradient, 0.85), dense.astype(np.float32)


def images_with_values(
    ids: list[str], images: np.ndarray, regions: np.ndarray, meta: dict, seed: int
) -> AttributionSet:
    """A set of these images, ``(N, H, W, 3)`` float in [0, 1]."""
    rng = np.random.default_rng(seed)
    edges, dmaps = (np.stack(parts) for parts in zip(*map(stand_in_map, images), strict=True))
    noise = rng.normal(size=(2, *dmaps.shape)) * 1e-3
    shaps = [
        ndimage.gaussian_filter(part * (0.2 + dmaps), (0, 1, 1)).astype(np.float32)
        for part in noise
    ]
    return AttributionSet(
        ids=np.array(ids),
        pairs=np.array([name.split("/")[0] + "/real" for name in ids]),
        images=(255 * images).round().astype(np.uint8),
        edges=edges,
        regions=regions,
        dmaps=dmaps,
        defocus_shaps=shaps[0],
        rgb_shaps=shaps[1],
        defocus_completeness_errors=rng.normal(size=len(ids)).astype(np.float32) * 1e-3,
        rgb_completeness_errors=rng.normal(size=len(ids)).astype(np.float32) * 1e-3,
        meta=meta,
    )


def save_shards(
    root: Path, sets: dict[str, AttributionSet], images: int, storage: str = "float32"
) -> Path:
    """Write the sets as shards of so many images, and their index."""
    files = {}
    for name, values in sets.items():
        for number, first in enumerate(range(0, len(values), images)):
            rows = np.arange(first, min(first + images, len(values)))
            path = values.take(rows).save(shards.shard_path(root, name, number), storage)
            files[name, number] = shards.checksum(path)
    return shards.write_index(root, files)


def load(folder: artifacts.Folder, name: str) -> AttributionSet:
    """A whole set of the folder."""
    stored = attribution_set.open_set(folder, name)
    return stored.take(np.arange(len(stored)))


def build(
    path: Path, profile: str = "smoke", scenes: int = 12, size: int = 48, seed: int = 0
) -> artifacts.Folder:
    """Write ``provenance.json``, all sets and ``features.npz``. Same arguments, same bytes."""
    rng = np.random.default_rng(seed)
    folder = artifacts.Folder.create(profile, path)
    shelf = photographs()
    real = np.stack([crop(shelf[i % len(shelf)], size, rng) for i in range(scenes)])
    donors = np.stack([crop(shelf[(i + 1) % len(shelf)], size, rng) for i in range(scenes)])
    regions = np.stack([elliptic_region(size, rng) for _ in range(scenes)])
    meta = {"profile": profile, "manipulations": list(MANIPULATIONS), "seed": seed}
    sets = {}
    for number, name in enumerate(("real", *MANIPULATIONS)):
        triples = zip(real, donors, regions, strict=True)
        images = (
            real if name == "real" else np.stack([manipulate(name, *triple) for triple in triples])
        )
        where = np.zeros_like(regions) if name == "real" else regions
        ids = [f"test-{scene:05d}/{name}" for scene in range(scenes)]
        sets[name] = images_with_values(
            ids, images, where, meta | {"manipulation": name}, seed + number
        )
    save_shards(folder.path / shards.ROOT, sets, images=5)
    pooled = {
        name: transform.resize(part.dmaps, (scenes, 8, 8)).reshape(scenes, -1)
        for name, part in sets.items()
    }
    pooled = np.concatenate(list(pooled.values())).astype(np.float32)
    arrays = {
        "ids": np.concatenate([part.ids for part in sets.values()]),
        "groups": np.concatenate([part.groups for part in sets.values()]),
        "manipulations": np.repeat(list(sets), scenes),
        "features": pooled,
        "features_untrained": pooled @ rng.normal(size=(pooled.shape[1], 16)).astype(np.float32),
    }
    artifacts.write_arrays(
        folder.path / "features.npz",
        arrays,
        {"profile": profile, "training_manipulation": MANIPULATIONS[0]},
    )
    return folder
