"""How good is a map? Images whose blur is known, and the error of each preset on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy import ndimage
from scipy.special import ndtr
from scipy.stats import spearmanr

from defocus_lib.maps.estimate import DefocusMaps, defocus_maps
from defocus_lib.maps.presets import PRESETS
from defocus_lib.scenes import optics, rendered

# Every way to make a map that the book compares: preset and propagation.
ESTIMATORS = {name: (name, preset.propagation) for name, preset in PRESETS.items()} | {
    "physical, guided": ("physical", "guided"),
    "physical, closed form": ("physical", "closed_form"),
}
# Disparities (px) on which the motorcycle is focused.
FOCAL_PLANES = (12.0, 20.0, 30.0, 40.0, 55.0)
CAP = 6.0  # px: estimates are clipped to it before they are compared
BORDER = 5  # px: the frame in which a filter meets what lies outside the image

KnownScene = tuple[np.ndarray, np.ndarray, np.ndarray]
"""image (H, W, 3) uint8, true sigma (H, W) in px, and where that is known (H, W) bool"""


def step_edge(
    sigma: float, noise: float, rng: np.random.Generator, size: int = 129, contrast: float = 0.6
) -> np.ndarray:
    """A vertical step between two greys around 0.5, blurred by ``sigma`` px; ``noise`` is the deviation of white noise.

    Returns
    -------
    (3, size, size) float32 in [0, 1], three equal channels
    """
    position = np.arange(size) - (size - 1) / 2
    profile = 0.5 + contrast * (ndtr(position / sigma) - 0.5)
    grey = np.tile(profile, (size, 1)) + rng.normal(0, noise, (size, size))
    return np.repeat(np.clip(grey, 0, 1)[None], 3, axis=0).astype(np.float32)


def step_edge_table(sigmas: Sequence[float], noise: float, seed: int = 0) -> pd.DataFrame:
    """Median sigma that each preset reads at the edge pixels of a blurred step.

    What a preset writes into its sparse map counts, also where that is a 0 which stands for "not measurable": so the
    presets of the reference are read as they are used.

    Returns
    -------
    DataFrame
        One row a true sigma (px), one column a preset, px; NaN where no edge was found.
    """
    rows = {}
    for sigma in sigmas:
        image = step_edge(sigma, noise, np.random.default_rng(seed))[None]
        rows[sigma] = {
            name: _median_at_edges(defocus_maps(image, name), PRESETS[name].literal)
            for name in PRESETS
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("true sigma (px)")


def _median_at_edges(maps: DefocusMaps, literal: bool) -> float:
    read = maps.sparse[maps.edges if literal else maps.valid]
    return float(read.median()) if len(read) else float("nan")


def map_errors(
    estimate: np.ndarray, sigma: np.ndarray, known: np.ndarray, cap: float = CAP
) -> dict[str, float]:
    """Mean absolute error (px) and Spearman correlation of a dense map with the true sigma, over the known pixels.

    The correlation is NaN where one of the two is constant.

    Parameters
    ----------
    estimate, sigma : (H, W) float, in px
        The estimate is clipped to [0, ``cap``] first.
    known : (H, W) bool
    """
    estimate, sigma = np.clip(estimate, 0, cap)[known], sigma[known]
    return {
        "error (px)": float(np.abs(estimate - sigma).mean()),
        "Spearman": _rank_correlation(estimate, sigma),
    }


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)


def against_truth(estimate: np.ndarray, sigma: np.ndarray | None) -> str:
    """:func:`map_errors` of one map as a sentence; where the true sigma is not known, that."""
    if sigma is None:
        return "What the true blur is, nobody knows here; the next sections measure the method where it is known."
    found = map_errors(estimate, sigma, np.ones_like(sigma, dtype=bool))
    return (
        f"The dense map is off by {found['error (px)']:.2f} px on average, and its rank correlation with the truth is "
        f"{found['Spearman']:.2f}."
    )


def estimator_table(known_scenes: Mapping[object, KnownScene]) -> pd.DataFrame:
    """Errors of each estimator on scenes with known blur, and of a map that is the true mean everywhere.

    Parameters
    ----------
    known_scenes : mapping of a name to a scene

    Returns
    -------
    DataFrame
        Columns estimator, scene, error (px), Spearman.
    """
    rows = []
    for scene, (image, sigma, known) in known_scenes.items():
        batch = as_batch(image)
        for name, (preset, propagation) in ESTIMATORS.items():
            dense = defocus_maps(batch, preset, propagation).dense[0, 0].numpy()
            rows.append({"estimator": name, "scene": scene, **map_errors(dense, sigma, known)})
        flat = float(np.abs(sigma[known] - sigma[known].mean()).mean())
        rows.append(
            {
                "estimator": "constant mean",
                "scene": scene,
                "error (px)": flat,
                "Spearman": float("nan"),
            }
        )
    return pd.DataFrame(rows)


def as_batch(image: np.ndarray) -> torch.Tensor:
    """An image (H, W, 3) uint8 as a batch of one, float32 in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def step_reading_table(
    sigmas: Sequence[float], noises: Sequence[float], seed: int = 0, size: int = 129
) -> pd.DataFrame:
    """What each estimator reads at the edge pixels of blurred steps, and how far its dense map is off.

    Returns
    -------
    DataFrame
        One row for each noise, sigma and estimator: median and the 10th and 90th percentile at the edge pixels that
        count (as in :func:`step_edge_table`) and the mean absolute error of the dense map, in px; the share (%) of edge
        pixels that could be measured. NaN where no edge was found.
    """
    rows = []
    for noise in noises:
        for sigma in sigmas:
            image = step_edge(sigma, noise, np.random.default_rng(seed), size)[None]
            for name, (preset, propagation) in ESTIMATORS.items():
                maps = defocus_maps(image, preset, propagation)
                rows.append(
                    {
                        "noise": noise,
                        "sigma": sigma,
                        "estimator": name,
                        **_step_reading(maps, sigma, preset),
                    }
                )
    return pd.DataFrame(rows)


def _step_reading(maps: DefocusMaps, sigma: float, preset: str) -> dict[str, float]:
    read = maps.sparse[maps.edges if PRESETS[preset].literal else maps.valid].numpy()
    low, median, high = np.quantile(read, [0.1, 0.5, 0.9]) if read.size else [math.nan] * 3
    return {
        "median": median,
        "low": low,
        "high": high,
        "measured (%)": _percent(int(maps.valid.sum()), int(maps.edges.sum())),
        "dense error": float((maps.dense.clamp(0, CAP) - sigma).abs().mean())
        if read.size
        else math.nan,
    }


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else math.nan


def blur_each_pixel(image: np.ndarray, sigmas: np.ndarray, spacing: float = 0.1) -> np.ndarray:
    """Take each pixel from the Gaussian blur of its own sigma: defocus without occlusion.

    Parameters
    ----------
    image : (H, W, 3) float
    sigmas : (F, H, W) float, in px
    spacing : float
        The image is blurred at multiples of this many px; what lies between two of them is mixed from both.

    Returns
    -------
    (F, H, W, 3) float, in units of the image
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
    """The motorcycle with measured depth, focused on each of some disparities: images to compare figures on.

    The blur at disparity ``d`` is ``clip(0.12 |d - plane|, 0.3, 4.5)`` px, without occlusion; stored in 8 bits.

    Parameters
    ----------
    image : (h, w, 3) uint8
    disparity : (h, w) float
        In px; NaN where unknown: there that of the nearest pixel is taken, and nothing counts as known.
    size : int
        Side in px of the centre square after resizing.

    Returns
    -------
    dict
        A scene for each plane.
    """
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square, depth = (array[top : top + side, left : left + side] for array in (image, disparity))
    sharp = np.asarray(
        Image.fromarray(square).resize((size, size), Image.Resampling.LANCZOS), dtype=float
    )
    depth = np.asarray(Image.fromarray(depth).resize((size, size), Image.Resampling.NEAREST))
    known = np.isfinite(depth)
    depth = depth[
        tuple(ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True))
    ]
    sigmas = np.stack([np.clip(0.12 * np.abs(depth - plane), 0.3, 4.5) for plane in planes])
    images = np.rint(blur_each_pixel(sharp, sigmas)).astype(np.uint8)
    return {
        plane: (image, sigma, known)
        for plane, image, sigma in zip(planes, images, sigmas, strict=True)
    }


def controlled_scenes(
    photographs: Sequence[np.ndarray], count: int, size: int, seed: int
) -> dict[str, KnownScene]:
    """Scenes of flat objects through a thin lens, with occlusion, sensor noise and JPEG (:func:`scenes.photograph`)."""
    twins = {
        f"scene {index}": rendered.photograph(photographs, (seed, index), size)
        for index in range(count)
    }
    return {
        name: (twin.images["real"], twin.sigma.astype(float), np.ones(twin.sigma.shape, dtype=bool))
        for name, twin in twins.items()
    }


def with_noise(
    known_scenes: Mapping[object, KnownScene], noise: float, seed: int
) -> dict[object, KnownScene]:
    """The scenes with white noise in each channel, of standard deviation ``noise`` as a share of the range."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            np.rint(np.clip(image + rng.normal(0, 255 * noise, image.shape), 0, 255)).astype(
                np.uint8
            ),
            *truth,
        )
        for name, (image, *truth) in known_scenes.items()
    }


def own_blur_table(
    photographs: Mapping[str, np.ndarray], size: int, seed: int, squares: int = 6
) -> pd.DataFrame:
    """What the preset `physical` reads in photographs that nothing has blurred: their own blur, and soft shading.

    Parameters
    ----------
    photographs : mapping of a name to (h, w, 3) uint8
    size : int
        Side in px of the squares cut from them, as for a scene.

    Returns
    -------
    DataFrame
        One row a photograph: median at its edges and mean of the dense map, px, each the mean over the squares.
    """
    rows = {}
    for name, pixels in photographs.items():
        rng = np.random.default_rng(seed)
        cut = [
            np.rint(255 * rendered.texture([pixels], rng, size)).astype(np.uint8)
            for _ in range(squares)
        ]
        maps = [defocus_maps(as_batch(square)) for square in cut]
        read = [float(one.sparse[one.valid].median()) for one in maps if one.valid.any()]
        rows[name] = {
            "median at edges (px)": _mean(np.array(read)),
            "mean of the map (px)": float(np.mean([one.dense.mean() for one in maps])),
        }
    return pd.DataFrame(rows).T.rename_axis("photograph")


def score(maps: DefocusMaps, sigma: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """How far the maps of one image are from the truth.

    Parameters
    ----------
    maps : DefocusMaps
        Of one image.
    sigma : (H, W) float, in px
    known : (H, W) bool

    Returns
    -------
    dict
        Of the dense map: mean absolute error, bias (mean of estimate less truth) and spread (standard deviation of it)
        in px, rank correlation, and the mean absolute error in the outer :data:`BORDER` px and inside. At the edges
        that could be measured: error and bias in px; and their share (%) of all edges.
    """
    edges, sparse, valid, dense = (part[0, 0].numpy() for part in maps[:4])
    difference = np.clip(dense, 0, CAP) - sigma
    outer, read = _outer(sigma.shape) & known, valid & known
    return {
        **map_errors(dense, sigma, known),
        "bias (px)": float(difference[known].mean()),
        "spread (px)": float(difference[known].std()),
        "outer 5 px": _mean(np.abs(difference[outer])),
        "inside": _mean(np.abs(difference[known & ~outer])),
        "at edges (px)": _mean(np.abs(sparse - sigma)[read]),
        "bias at edges": _mean((sparse - sigma)[read]),
        "measured (%)": _percent(int(valid.sum()), int(edges.sum())),
    }


def _outer(shape: tuple[int, ...]) -> np.ndarray:
    inner = np.zeros(shape, dtype=bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = True
    return ~inner


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def score_table(
    known_scenes: Mapping[object, KnownScene], estimators: Mapping[str, tuple] = ESTIMATORS
) -> pd.DataFrame:
    """Mean of :func:`score` over scenes: one row an estimator, and one for a map that is the true mean everywhere.

    Parameters
    ----------
    known_scenes : mapping of a name to a scene
    estimators : mapping of a name to (preset, propagation)
    """
    rows = {
        name: mean_scores(known_scenes, lambda image, how=how: defocus_maps(as_batch(image), *how))
        for name, how in estimators.items()
    }
    flat = [
        np.abs(sigma[known] - sigma[known].mean()).mean()
        for _, sigma, known in known_scenes.values()
    ]
    rows["constant mean"] = pd.Series({"error (px)": float(np.mean(flat)), "bias (px)": 0.0})
    return pd.DataFrame(rows).T.rename_axis("estimator")


def mean_scores(
    known_scenes: Mapping[object, KnownScene], maps_of: Callable[[np.ndarray], DefocusMaps]
) -> pd.Series:
    """Mean of :func:`score` over scenes, of the maps that ``maps_of`` makes of an image (H, W, 3) uint8."""
    return pd.DataFrame(
        [score(maps_of(image), *truth) for image, *truth in known_scenes.values()]
    ).mean()


def border_profiles(
    known_scenes: Mapping[object, KnownScene],
    estimators: Mapping[str, tuple] = ESTIMATORS,
    reach: int = 20,
) -> pd.DataFrame:
    """Mean absolute error (px) at each distance from the border up to ``reach`` px: one column an estimator."""
    columns = {}
    for name, how in estimators.items():
        parts = []
        for image, sigma, known in known_scenes.values():
            dense = np.clip(defocus_maps(as_batch(image), *how).dense[0, 0].numpy(), 0, CAP)
            away = _distance_from_border(sigma.shape)
            parts.append(
                pd.DataFrame({"distance": away[known], "error": np.abs(dense - sigma)[known]})
            )
        columns[name] = (
            pd.concat(parts).query("distance <= @reach").groupby("distance")["error"].mean()
        )
    return pd.DataFrame(columns)


def _distance_from_border(shape: tuple[int, ...]) -> np.ndarray:
    """Whole px; 0 in the outermost pixels."""
    y, x = np.indices(shape)
    return np.minimum(np.minimum(y, shape[0] - 1 - y), np.minimum(x, shape[1] - 1 - x))
