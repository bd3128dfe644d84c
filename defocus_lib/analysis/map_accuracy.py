"""Error of each map preset on images of known blur: steps, the motorcycle, rendered scenes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from PIL import Image
from scipy import ndimage
from scipy.special import ndtr
from scipy.stats import spearmanr

from defocus_lib.maps.estimate import DefocusMaps, defocus_maps
from defocus_lib.maps.presets import PRESETS, Preset
from defocus_lib.scenes import optics, rendered
from defocus_lib.stats.bootstrap import bootstrap_mean
from defocus_lib.stats.claims import Claim

Estimators = Mapping[str, tuple[str | Preset, str | None]]
"""name -> preset, and propagation (None: that of the preset)"""
KnownScene = tuple[np.ndarray, np.ndarray, np.ndarray]
"""image (H, W, 3) uint8, true sigma (H, W) in px, and where that is known (H, W) bool"""
Scenes = Mapping[Any, KnownScene]

ESTIMATORS: Estimators = {name: (name, preset.propagation) for name, preset in PRESETS.items()} | {
    "physical, guided": ("physical", "guided"),
    "physical, closed form": ("physical", "closed_form"),
}
CONSTANT = "constant mean"  # a map that is the true mean everywhere
FOCAL_PLANES = (12.0, 20.0, 30.0, 40.0, 55.0)  # px, disparities on which the motorcycle is focused
CAP = 6.0  # px: estimates are clipped to it before they are compared
BORDER = 5  # px: the frame in which a filter meets what lies outside the image
ERROR, SPEARMAN, BIAS = "error (px)", "Spearman", "bias (px)"


def as_batch(image: np.ndarray) -> torch.Tensor:
    """An image (H, W, 3) uint8 as a batch (1, 3, H, W), float32 in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


# Images whose blur is known


def step_edge(
    sigma: float, noise: float, rng: np.random.Generator, size: int = 129, contrast: float = 0.6
) -> np.ndarray:
    """A vertical step between two greys around 0.5, blurred by ``sigma`` px, with white noise.

    (3, size, size) float32 in [0, 1], three equal channels; ``noise`` is a standard deviation.
    """
    position = np.arange(size) - (size - 1) / 2
    profile = 0.5 + contrast * (ndtr(position / sigma) - 0.5)
    grey = np.tile(profile, (size, 1)) + rng.normal(0, noise, (size, size))
    return np.repeat(np.clip(grey, 0, 1)[None], 3, axis=0).astype(np.float32)


def blur_each_pixel(image: np.ndarray, sigmas: np.ndarray, spacing: float = 0.1) -> np.ndarray:
    """Take each pixel from the Gaussian blur of its own sigma: defocus without occlusion.

    ``image`` (H, W, 3) and ``sigmas`` (F, H, W) in px to (F, H, W, 3). The image is blurred at
    multiples of ``spacing`` px; values between two of them are interpolated linearly.
    """
    levels = sigmas / spacing
    result = np.zeros((*sigmas.shape, image.shape[2]))
    for level in range(math.floor(levels.min()), math.ceil(levels.max()) + 1):
        share = np.clip(1 - np.abs(levels - level), 0, 1)
        result += share[..., None] * optics.blur(image, level * spacing)
    return result


def motorcycle_protocol(
    image: np.ndarray,
    disparity: np.ndarray,
    size: int = 299,
    planes: Sequence[float] = FOCAL_PLANES,
) -> dict[float, KnownScene]:
    """The motorcycle with measured depth, focused on each of some disparities: a scene per plane.

    The blur at disparity ``d`` is ``clip(0.12 |d - plane|, 0.3, 4.5)`` px, without occlusion;
    stored in 8 bits. ``image`` (h, w, 3) uint8 and ``disparity`` (h, w) px are cut to the centre
    square and resized to ``size`` px. Where the disparity is NaN, that of the nearest pixel is
    taken and the blur counts as unknown.
    """
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square, depth = (array[top : top + side, left : left + side] for array in (image, disparity))
    sharp = np.asarray(
        Image.fromarray(square).resize((size, size), Image.Resampling.LANCZOS), dtype=float
    )
    depth = np.asarray(Image.fromarray(depth).resize((size, size), Image.Resampling.NEAREST))
    known = np.isfinite(depth)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    depth = depth[tuple(nearest)]
    sigmas = np.stack([np.clip(0.12 * np.abs(depth - plane), 0.3, 4.5) for plane in planes])
    images = np.rint(blur_each_pixel(sharp, sigmas)).astype(np.uint8)
    return {
        plane: (blurred, sigma, known)
        for plane, blurred, sigma in zip(planes, images, sigmas, strict=True)
    }


def controlled_scenes(
    photographs: Sequence[np.ndarray], count: int, size: int, seed: int
) -> dict[str, KnownScene]:
    """Flat objects through a thin lens with occlusion, noise, JPEG: :func:`rendered.photograph`."""
    scenes = {}
    for index in range(count):
        exposed = rendered.photograph(photographs, (seed, index), size)
        known = np.ones(exposed.sigma.shape, dtype=bool)
        scenes[f"scene {index}"] = (exposed.images["real"], exposed.sigma.astype(float), known)
    return scenes


def with_noise(scenes: Scenes, noise: float, seed: int = 0) -> dict[Any, KnownScene]:
    """The scenes with white noise in each channel; its deviation is a share of the range."""
    rng = np.random.default_rng(seed)

    def noisy(image: np.ndarray) -> np.ndarray:
        values = image + rng.normal(0, 255 * noise, image.shape)
        return np.rint(np.clip(values, 0, 255)).astype(np.uint8)

    return {name: (noisy(image), sigma, known) for name, (image, sigma, known) in scenes.items()}


# What is read at steps


def step_edge_table(
    sigmas: Sequence[float], noise: float, seed: int = 0, size: int = 129
) -> pd.DataFrame:
    """Median sigma (px) read by each preset at the edge pixels of a step; one row per true sigma.

    Where a preset is literal, edge pixels that cannot be measured count as 0, as in the authors'
    code. NaN where no edge was found.
    """
    rows = {}
    for sigma in sigmas:
        image = step_edge(sigma, noise, np.random.default_rng(seed), size)[None]
        readings = {name: _readings(defocus_maps(image, name), name) for name in PRESETS}
        rows[sigma] = {name: float(values.median()) for name, values in readings.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("true sigma (px)")


def step_reading_table(
    sigmas: Sequence[float], noises: Sequence[float], seed: int = 0, size: int = 129
) -> pd.DataFrame:
    """Blur that each estimator reads at blurred steps, and the error of its dense map.

    One row per noise, sigma and estimator: median, low and high (10th and 90th percentile, px) at
    the edge pixels that count (as in :func:`step_edge_table`); mean absolute error of the dense map
    (px); share of edge pixels that could be measured (%). NaN where no edge was found.
    """
    rows = []
    for noise in noises:
        for sigma in sigmas:
            image = step_edge(sigma, noise, np.random.default_rng(seed), size)[None]
            for name, given in ESTIMATORS.items():
                reading = _step_reading(defocus_maps(image, *given), sigma, name)
                rows.append({"noise": noise, "sigma": sigma, "estimator": name, **reading})
    return pd.DataFrame(rows)


def _readings(maps: DefocusMaps, estimator: str) -> torch.Tensor:
    literal = estimator in PRESETS and PRESETS[estimator].literal
    return maps.sparse[maps.edges if literal else maps.valid]


def _step_reading(maps: DefocusMaps, sigma: float, estimator: str) -> dict[str, float]:
    values = _readings(maps, estimator).numpy()
    low, median, high = np.quantile(values, [0.1, 0.5, 0.9]) if values.size else [math.nan] * 3
    error = float((maps.dense.clamp(0, CAP) - sigma).abs().mean())
    return {
        "median": median,
        "low": low,
        "high": high,
        "measured (%)": _percent(int(maps.valid.sum()), int(maps.edges.sum())),
        "dense error": error if values.size else math.nan,
    }


# Scores of maps


def map_errors(
    estimate: np.ndarray, sigma: np.ndarray, known: np.ndarray, cap: float = CAP
) -> dict[str, float]:
    """Mean absolute error (px) and Spearman correlation of a dense map, over the known pixels.

    All are (H, W), the first two in px; ``estimate`` is clipped to [0, ``cap``] first. The
    correlation is NaN where one of the two is constant.
    """
    estimate, sigma = np.clip(estimate, 0, cap)[known], sigma[known]
    return {
        ERROR: float(np.abs(estimate - sigma).mean()),
        SPEARMAN: _rank_correlation(estimate, sigma),
    }


def score(maps: DefocusMaps, sigma: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """Errors of the maps of one image over its known pixels; truth (H, W) as :data:`KnownScene`.

    Of the dense map: :func:`map_errors`; bias and spread, the mean and standard deviation of
    estimate less truth (px); mean absolute error in the outer :data:`BORDER` px and inside. At the
    edges that could be measured: mean absolute error and bias (px), and their share of all edges
    (%). Edges: their share of all pixels (%).
    """
    edges, sparse, valid, dense = (part[0, 0].numpy() for part in maps[:4])
    difference = np.clip(dense, 0, CAP) - sigma
    outer, measured = _distance_from_border(sigma.shape) < BORDER, valid & known
    return {
        **map_errors(dense, sigma, known),
        BIAS: float(difference[known].mean()),
        "spread (px)": float(difference[known].std()),
        "outer 5 px": _mean(np.abs(difference[known & outer])),
        "inside": _mean(np.abs(difference[known & ~outer])),
        "at edges (px)": _mean(np.abs(sparse - sigma)[measured]),
        "bias at edges": _mean((sparse - sigma)[measured]),
        "measured (%)": _percent(int(valid.sum()), int(edges.sum())),
        "edges (%)": _percent(int(edges.sum()), edges.size),
    }


def scene_scores(
    scenes: Scenes, preset: str | Preset = "physical", propagation: str | None = None
) -> pd.DataFrame:
    """:func:`score` of one estimator on each scene: one row per scene."""
    rows = [
        score(defocus_maps(as_batch(image), preset, propagation), *truth)
        for image, *truth in scenes.values()
    ]
    return pd.DataFrame(rows)


def constant_errors(scenes: Scenes) -> pd.Series:
    """Mean absolute error (px) on each scene of a map that is the true mean everywhere."""
    truths = [sigma[known] for _, sigma, known in scenes.values()]
    return pd.Series([float(np.abs(sigma - sigma.mean()).mean()) for sigma in truths])


def score_table(scenes: Scenes, estimators: Estimators = ESTIMATORS) -> pd.DataFrame:
    """Mean of :func:`score` over scenes: one row per estimator, and one of :data:`CONSTANT`."""
    rows = {name: scene_scores(scenes, *given).mean() for name, given in estimators.items()}
    rows[CONSTANT] = pd.Series({ERROR: constant_errors(scenes).mean(), BIAS: 0.0})
    return pd.DataFrame(rows).T.rename_axis("estimator")


def border_profiles(
    scenes: Scenes, estimators: Estimators = ESTIMATORS, reach: int = 20
) -> pd.DataFrame:
    """Mean absolute error (px) by distance from the border, in px: one column per estimator."""
    columns = {}
    for name, given in estimators.items():
        parts = []
        for image, sigma, known in scenes.values():
            dense = np.clip(defocus_maps(as_batch(image), *given).dense[0, 0].numpy(), 0, CAP)
            distance, error = _distance_from_border(sigma.shape), np.abs(dense - sigma)
            parts.append(pd.DataFrame({"distance": distance[known], "error": error[known]}))
        pixels = pd.concat(parts).query("distance <= @reach")
        columns[name] = pixels.groupby("distance")["error"].mean()
    return pd.DataFrame(columns)


def mean_claim(
    statement: str, values: ArrayLike, *, unit: str = "rendered scene", seed: int = 0, **options
) -> Claim:
    """A claim about the mean of one number per scene; ``options`` are those of :class:`Claim`."""
    groups = np.arange(np.size(values))
    mean = bootstrap_mean(values, groups, seed=seed)
    return Claim(statement, *mean.scalars, len(groups), unit=unit, **options)


def claims(scenes: Scenes, seed: int = 0) -> list[Claim]:
    """Claims over rendered scenes: `physical` measures blur, `released` does not rank it."""
    error = scene_scores(scenes, "physical")[ERROR] - constant_errors(scenes)
    rank = scene_scores(scenes, "released")[SPEARMAN].fillna(0)
    below: dict[str, Any] = {"seed": seed, "relation": "below"}
    around_0 = below | {"relation": "within", "margin": 0.2}
    return [
        mean_claim("Error of `physical` less that of a constant map (px)", error, **below),
        mean_claim("Rank correlation of `released` with the true blur", rank, **around_0),
    ]


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(spearmanr(first, second).statistic)


def _distance_from_border(shape: tuple[int, ...]) -> np.ndarray:
    """Whole px; 0 in the outermost pixels."""
    y, x = np.indices(shape)
    return np.minimum(np.minimum(y, shape[0] - 1 - y), np.minimum(x, shape[1] - 1 - x))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else math.nan
