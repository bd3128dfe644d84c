"""What the error of the preset ``physical`` is made of: its steps, its edges, its input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy import ndimage

from defocus_lib.analysis.map_accuracy import (
    CAP,
    ERROR,
    SPEARMAN,
    Estimators,
    KnownScene,
    Scenes,
    as_batch,
    score,
    score_table,
)
from defocus_lib.maps.estimate import DefocusMaps, defocus_maps
from defocus_lib.maps.kernels import filters
from defocus_lib.maps.presets import NETWORK, PRESETS
from defocus_lib.maps.propagation import normalized_gaussian
from defocus_lib.scenes import rendered
from defocus_lib.stats.bootstrap import bootstrap_ratio
from defocus_lib.stats.claims import Claim

PHYSICAL = PRESETS["physical"]
PLAIN = replace(
    PHYSICAL, max_error=math.inf, lowest_threshold=1.0, weigh_by_width=False, weigh_by_shape=False
)
# Each step of `physical` beyond the width of an edge at one scale switched off; last, all of them.
ABLATIONS = {
    "physical": PHYSICAL,
    "the finest scale only": replace(PHYSICAL, max_error=math.inf),
    "no faint edges": replace(PHYSICAL, lowest_threshold=1.0),
    "sharp and blurred edges count alike": replace(PHYSICAL, weigh_by_width=False),
    "curved edges count alike": replace(PHYSICAL, weigh_by_shape=False),
    "the width alone": PLAIN,
}
RATIO = "the ratio of two scales alone"
FROM_TRUTH = "true blur at the edges"


def ratio_maps(image: np.ndarray, scales: tuple[float, float] = (1.0, 1.5)) -> DefocusMaps:
    """Maps of an image (H, W, 3) uint8 from the ratio of two scales (Zhuo & Sim 2011).

    The edges are those of :data:`PLAIN`, the kernels wide enough. Edges that cannot be measured
    are left out; the rest count alike.
    """
    batch = as_batch(image)
    edges = defocus_maps(batch, PLAIN).edges
    margin = math.ceil(4 * scales[1])
    around = filters.padded(batch[0].mean(0).numpy(), margin, True)
    fine, coarse = (
        filters.gradient_energy(around, margin, scale, math.ceil(4 * scale)) for scale in scales
    )
    squared = torch.from_numpy(fine / np.maximum(coarse, 1e-12))[None, None]
    valid = edges & (squared > 1) & (squared < (scales[1] / scales[0]) ** 2)
    variance = (squared * scales[0] ** 2 - scales[1] ** 2) / (1 - squared)
    sparse = torch.where(valid, variance.clamp(min=0).sqrt().clamp(max=CAP), 0)
    dense = normalized_gaussian(sparse[0, 0].numpy(), valid[0, 0].numpy().astype(np.float32))
    return DefocusMaps(edges, sparse, valid, torch.from_numpy(dense)[None, None])


def ablation_table(groups: Mapping[str, Scenes]) -> pd.DataFrame:
    """Error (px) and rank correlation of each of the :data:`ABLATIONS`, and of :func:`ratio_maps`.

    One row per variant, the whole preset first; two columns per group of scenes.
    """
    variants: Estimators = {name: (preset, None) for name, preset in ABLATIONS.items()}
    columns = {}
    for group, scenes in groups.items():
        table = score_table(scenes, variants).loc[list(variants)]
        ratio = [score(ratio_maps(image), *truth) for image, *truth in scenes.values()]
        table.loc[RATIO] = pd.DataFrame(ratio).mean()
        columns[group] = table[[ERROR, SPEARMAN]]
    return pd.concat(columns, axis=1).rename_axis("variant")


def near_depth_borders(sigma: np.ndarray, jump: float = 0.5, reach: float = 12.0) -> np.ndarray:
    """(H, W) bool: pixels within ``reach`` px of a jump of the true blur by ``jump`` px."""
    jumps = ndimage.maximum_filter(sigma, 3) - ndimage.minimum_filter(sigma, 3) >= jump
    return ndimage.distance_transform_edt(~jumps) <= reach if jumps.any() else jumps


def scene_parts(scenes: Scenes) -> pd.DataFrame:
    """Errors of `physical`, and of the true sigma spread from the same edges, on each scene.

    The true sigma is weighted by the width of its edge, as `physical` weights its readings. Index
    (scene, map); columns: mean absolute error (px) everywhere, near depth borders and elsewhere;
    share of pixels near (%).
    """
    rows = {}
    for name, (image, sigma, known) in scenes.items():
        maps = defocus_maps(as_batch(image), PHYSICAL)
        near = near_depth_borders(sigma)
        planes = {"physical": maps.dense[0, 0].numpy(), FROM_TRUTH: _from_truth(maps, sigma)}
        for title, dense in planes.items():
            error = np.abs(np.clip(dense, 0, CAP) - sigma)
            rows[name, title] = {
                ERROR: float(error[known].mean()),
                "near depth borders": _mean_where(error, known & near),
                "elsewhere": _mean_where(error, known & ~near),
                "near (%)": 100 * float(near[known].mean()),
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["scene", "map"])


def parts_of_error(scenes: Scenes) -> pd.DataFrame:
    """Mean of :func:`scene_parts` over scenes: one row per map."""
    return scene_parts(scenes).groupby("map", sort=False).mean()


def _from_truth(maps: DefocusMaps, sigma: np.ndarray) -> np.ndarray:
    valid, second = maps.valid[0, 0].numpy(), PHYSICAL.scales[1]
    weights = (valid * np.hypot(sigma, second)).astype(np.float32)
    return normalized_gaussian((valid * sigma).astype(np.float32), weights)


def _mean_where(values: np.ndarray, where: np.ndarray) -> float:
    return float(values[where].mean()) if where.any() else math.nan


def own_blur_table(
    photographs: Mapping[str, np.ndarray], size: int, seed: int, squares: int = 6
) -> pd.DataFrame:
    """Blur that `physical` reads in unprocessed photographs: their own, and soft shading.

    ``photographs`` are (h, w, 3) uint8; squares of ``size`` px are cut from each, as for a scene.
    One row per photograph: median at its edges and mean of the dense map (px), each the mean over
    the squares.
    """
    rows = {}
    for name, pixels in photographs.items():
        rng = np.random.default_rng(seed)
        textures = [rendered.texture([pixels], rng, size) for _ in range(squares)]
        images = [np.rint(255 * texture).astype(np.uint8) for texture in textures]
        maps = [defocus_maps(as_batch(image)) for image in images]
        medians = [float(each.sparse[each.valid].median()) for each in maps if each.valid.any()]
        rows[name] = {
            "median at edges (px)": float(np.mean(medians)) if medians else math.nan,
            "mean of the map (px)": float(np.mean([each.dense.mean() for each in maps])),
        }
    return pd.DataFrame(rows).T.rename_axis("photograph")


def compressed(scenes: Scenes, quality: int) -> dict[Any, KnownScene]:
    """The scenes stored as JPEG of this quality."""
    return {
        name: (rendered.jpeg(image / 255, quality), sigma, known)
        for name, (image, sigma, known) in scenes.items()
    }


def resized(scenes: Scenes, factor: float) -> dict[Any, KnownScene]:
    """The scenes with their sides and their sigma times ``factor``."""
    return {name: _resized(scene, factor) for name, scene in scenes.items()}


def _resized(scene: KnownScene, factor: float) -> KnownScene:
    image, sigma, known = scene
    width, height = (round(side * factor) for side in image.shape[1::-1])

    def scaled(values: np.ndarray, how: Image.Resampling) -> np.ndarray:
        return np.asarray(Image.fromarray(values).resize((width, height), how))

    sigma = scaled(sigma.astype(np.float32), Image.Resampling.NEAREST) * factor
    known = scaled(known.astype(np.float32), Image.Resampling.NEAREST) > 0
    return scaled(image, Image.Resampling.BICUBIC), sigma, known


def table_by_level(level_name: str, levels: Mapping[float, Scenes]) -> pd.DataFrame:
    """:func:`score_table` of the presets on the scenes of each level, such as a JPEG quality.

    Columns: ``level_name``, estimator, scores. Errors and biases are in px of the images as they
    are.
    """
    presets: Estimators = {name: (name, None) for name in PRESETS}
    tables = {level: score_table(scenes, presets) for level, scenes in levels.items()}
    return pd.concat(tables, names=[level_name]).reset_index()


def range_table(scenes: Scenes) -> pd.DataFrame:
    """:func:`score_table` of the presets that read edges, for images in [-1, 1] and in [0, 1].

    Index (preset, input range).
    """
    ranges = {"[-1, 1]": (-1.0, 1.0), "[0, 1]": (0.0, 1.0)}
    tables = {}
    for name, preset in PRESETS.items():
        if preset.propagation != NETWORK:
            variants: Estimators = {
                title: (replace(preset, input_range=limits), None)
                for title, limits in ranges.items()
            }
            tables[name] = score_table(scenes, variants).loc[list(ranges)]
    return pd.concat(tables, names=["preset", "input range"])


def claims(scenes: Scenes, seed: int = 0) -> list[Claim]:
    """Claim over rendered scenes: most of the error of `physical` comes from spreading."""
    errors = scene_parts(scenes)[ERROR].unstack("map")
    remaining, whole = errors[FROM_TRUTH], errors["physical"]
    share = bootstrap_ratio(remaining, whole, np.arange(len(errors)), seed=seed)
    statement = "Share of the error of `physical` that comes from spreading alone"
    options: dict[str, Any] = {"compared_with": 0.5, "unit": "rendered scene", "style": ".0%"}
    return [Claim(statement, *share.scalars, len(errors), **options)]
