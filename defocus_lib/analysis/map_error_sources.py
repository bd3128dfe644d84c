"""What the preset ``physical`` owes to each of its steps, and what changes its maps: tables over known blur."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy import ndimage

from defocus_lib.analysis.map_accuracy import (
    CAP,
    KnownScene,
    as_batch,
    mean_scores,
    score,
    score_table,
    with_noise,
)
from defocus_lib.maps.estimate import DefocusMaps, defocus_maps
from defocus_lib.maps.kernels import filters
from defocus_lib.maps.presets import NETWORK, PRESETS
from defocus_lib.maps.propagation import normalized_gaussian
from defocus_lib.scenes.rendered import jpeg

# Bounds set for the map of the preset `physical` on the motorcycle: at most this error (px), at least this correlation.
BOUNDS = {"error (px)": 0.60, "Spearman": 0.75}
PHYSICAL = PRESETS["physical"]
# What the preset `physical` does beyond reading one width an edge, each switched off alone.
SWITCHED_OFF = {
    "the finest scale only": replace(PHYSICAL, max_error=math.inf),
    "no faint edges": replace(PHYSICAL, lowest_threshold=1.0),
    "sharp and blurred edges count alike": replace(PHYSICAL, weigh_by_width=False),
    "bent edges count alike": replace(PHYSICAL, weigh_by_shape=False),
}
# None of it.
PLAIN = replace(
    PHYSICAL, max_error=math.inf, lowest_threshold=1.0, weigh_by_width=False, weigh_by_shape=False
)


def ratio_maps(image: np.ndarray, scales: tuple[float, float] = (1.0, 1.5)) -> DefocusMaps:
    """Maps read from the ratio of two scales (Zhuo & Sim 2011), with kernels that are wide enough.

    The edges are those of :data:`PLAIN`, unmeasurable ones are left out, the rest count alike.

    Parameters
    ----------
    image : (H, W, 3) uint8
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


def ablation_table(groups: Mapping[str, Mapping[object, KnownScene]]) -> pd.DataFrame:
    """Error and correlation of the preset `physical` with each of its steps switched off, and with all of them.

    Parameters
    ----------
    groups : mapping of a name to scenes

    Returns
    -------
    DataFrame
        One row a variant, the whole preset first; for each group its error (px) and correlation.
    """
    presets = {"physical": PHYSICAL} | SWITCHED_OFF | {"the width alone": PLAIN}
    variants = {
        name: lambda image, preset=preset: defocus_maps(as_batch(image), preset)
        for name, preset in presets.items()
    }
    variants["the ratio of two scales alone"] = ratio_maps
    columns = {
        group: pd.DataFrame(
            {name: mean_scores(of, maps_of)[list(BOUNDS)] for name, maps_of in variants.items()}
        ).T
        for group, of in groups.items()
    }
    return pd.concat(columns, axis=1).rename_axis("variant")


def near_depth_borders(sigma: np.ndarray, jump: float = 0.5, reach: float = 12.0) -> np.ndarray:
    """(H, W) bool: pixels at most ``reach`` px from where the true blur jumps by ``jump`` px from pixel to pixel."""
    steps = ndimage.maximum_filter(sigma, 3) - ndimage.minimum_filter(sigma, 3) >= jump
    return ndimage.distance_transform_edt(~steps) <= reach if steps.any() else steps


def parts_of_error(known_scenes: Mapping[object, KnownScene]) -> pd.DataFrame:
    """What is left of the error if the blur at the edges were the true one, near depth borders and elsewhere.

    Returns
    -------
    DataFrame
        Rows: the map of the preset `physical`; that of the true sigma at the same edges, weighted by their width.
        Columns: mean absolute error (px) everywhere, near depth borders, elsewhere, and the share (%) of pixels near.
    """
    rows = []
    for image, sigma, known in known_scenes.values():
        maps = defocus_maps(as_batch(image), PHYSICAL)
        near = near_depth_borders(sigma)
        for name, dense in {
            "physical": maps.dense[0, 0].numpy(),
            "true blur at the edges": _from_truth(maps, sigma),
        }.items():
            error = np.abs(np.clip(dense, 0, CAP) - sigma)
            parts = {
                "error (px)": known,
                "near depth borders": known & near,
                "elsewhere": known & ~near,
            }
            means = {
                part: float(error[where].mean()) if where.any() else math.nan
                for part, where in parts.items()
            }
            rows.append({"map": name, **means, "near (%)": 100 * float(near[known].mean())})
    return pd.DataFrame(rows).groupby("map", sort=False).mean()


def _from_truth(maps: DefocusMaps, sigma: np.ndarray) -> np.ndarray:
    valid, second = maps.valid[0, 0].numpy(), PHYSICAL.scales[1]
    weights = (valid * np.hypot(sigma, second)).astype(np.float32)
    return normalized_gaussian((valid * sigma).astype(np.float32), weights)


def jpeg_table(known_scenes: Mapping[object, KnownScene], qualities: Sequence[int]) -> pd.DataFrame:
    """:func:`score_table` of the presets on the scenes stored as JPEG of each quality; column quality."""
    return _over(
        "quality",
        {
            quality: {
                name: (jpeg(image / 255, quality), *truth)
                for name, (image, *truth) in known_scenes.items()
            }
            for quality in qualities
        },
    )


def resize_table(
    known_scenes: Mapping[object, KnownScene], factors: Sequence[float]
) -> pd.DataFrame:
    """:func:`score_table` of the presets on the scenes resized by each factor, and the true sigma with them.

    Errors and biases are in px of the resized image; column factor.
    """
    return _over(
        "factor",
        {
            factor: {name: resized(scene, factor) for name, scene in known_scenes.items()}
            for factor in factors
        },
    )


def noise_table(
    known_scenes: Mapping[object, KnownScene], noises: Sequence[float], seed: int = 0
) -> pd.DataFrame:
    """:func:`score_table` of the presets on the scenes with white noise of each standard deviation; column noise."""
    return _over("noise", {noise: with_noise(known_scenes, noise, seed) for noise in noises})


def resized(scene: KnownScene, factor: float) -> KnownScene:
    """A scene with its side times ``factor``, averaged or interpolated; its sigma grows with it."""
    image, sigma, known = scene
    size = tuple(round(side * factor) for side in image.shape[1::-1])
    larger = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    depth, measured = (
        np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.NEAREST))
        for plane in (sigma, known)
    )
    return larger, depth * factor, measured > 0


def _over(what: str, cases: Mapping[float, Mapping[object, KnownScene]]) -> pd.DataFrame:
    quick = {name: (name, None) for name in PRESETS}
    tables = {case: score_table(known_scenes, quick) for case, known_scenes in cases.items()}
    return pd.concat(tables, names=[what]).reset_index()


def range_table(known_scenes: Mapping[object, KnownScene]) -> pd.DataFrame:
    """Mean scores of each preset that looks at edges, with images scaled to [-1, 1] and to [0, 1] first, and the share
    of edges (%)."""
    ranges = {"[-1, 1]": (-1.0, 1.0), "[0, 1]": (0.0, 1.0)}
    rows = {}
    for name, preset in PRESETS.items():
        if preset.propagation == NETWORK:
            continue
        for title, limits in ranges.items():
            chosen = replace(preset, input_range=limits)
            maps = [defocus_maps(as_batch(image), chosen) for image, *_ in known_scenes.values()]
            scores = [
                score(one, *truth)
                for one, (_, *truth) in zip(maps, known_scenes.values(), strict=True)
            ]
            edges = 100 * float(np.mean([one.edges.float().mean() for one in maps]))
            rows[name, title] = {"edges (%)": edges, **pd.DataFrame(scores).mean()}
    return pd.DataFrame(rows).T.rename_axis(["preset", "input range"])


def noise_sentence(errors: pd.Series, tolerance: float = 0.5) -> str:
    """Up to which noise the readings at steps stay right.

    Parameters
    ----------
    errors : Series
        Largest error of a reading (px) by noise level, ascending.
    """
    fine = (errors <= tolerance).cummin()
    if fine.all():
        return f"None of its medians is off by more than {tolerance:g} px, up to the strongest noise tried."
    if not fine.any():
        return (
            f"Even in the cleanest of these images a median is off by more than {tolerance:g} px."
        )
    cleanest = errors.index[fine][-1]
    return f"Up to a noise of {cleanest:g} no median is off by more than {tolerance:g} px; beyond it, some are."


def bounds_sentence(error: float, spearman: float) -> str:
    """Whether a map keeps within :data:`BOUNDS`, as a sentence."""
    most, least = BOUNDS["error (px)"], BOUNDS["Spearman"]
    wanted = f"an error of at most {most:.2f} px and a rank correlation of at least {least:.2f}"
    met = [error <= most, spearman >= least]
    if all(met):
        return f"Both bounds set for this preset, {wanted}, are kept."
    if not any(met):
        return f"Neither of the bounds set for this preset, {wanted}, is kept."
    kept, missed = ("error", "correlation") if met[0] else ("correlation", "error")
    return f"Of the bounds set for this preset, {wanted}, that on the {kept} is kept and that on the {missed} is missed."


def verdict(motorcycle: pd.DataFrame, scene_scores: pd.DataFrame) -> str:
    """What the map is good for, from two tables of :func:`score_table`, as a sentence."""
    tables = {"the motorcycle": motorcycle, "the controlled scenes": scene_scores}
    better = [
        name
        for name, t in tables.items()
        if t.loc["physical", "error (px)"] < t.loc["constant mean", "error (px)"]
    ]
    ordered = [name for name, table in tables.items() if table.loc["physical", "Spearman"] >= 0.5]
    if len(better) == len(ordered) == 2:
        return "The map measures blur on both: nearer to the truth than a map of the mean, and mostly in the right order."
    if len(ordered) == 2:
        return "The map tells more from less blur on both, but its values are no nearer to the truth than a constant."
    if not better and not ordered:
        return (
            "The map is no better than a constant, and does not tell more from less blur reliably."
        )
    said = " and ".join(dict.fromkeys(better + ordered))
    return f"The map measures blur on {said}, but not by every measure and everywhere."


def reference_sentence(scores: pd.DataFrame, chance: float = 0.2) -> str:
    """How the maps of the two presets of the reference rank blur: a table of :func:`score_table` as a sentence."""
    ranks = scores.loc[["released", "published"], "Spearman"]
    if (ranks > chance).all():
        return "The maps of the reference rank blur in about the right order."
    if (ranks > chance).any():
        return f"Of the maps of the reference, those of {ranks.idxmax()} alone rank blur in about the right order."
    worse = "at chance" if (ranks.abs() <= chance).all() else "at chance or against the truth"
    return (
        f"The maps of the reference rank blur {worse}: zeros stand for all that was not measured, so they show where "
        "edges are dense."
    )


def depth_border_sentence(parts: pd.DataFrame) -> str:
    """Where the error comes from: a table of :func:`parts_of_error` as a sentence."""
    left = parts.loc["true blur at the edges", "error (px)"] / parts.loc["physical", "error (px)"]
    larger = "spreading what was read" if left > 0.5 else "reading the edges"
    return f"With the true blur at the same edges, {left:.0%} of it would be left: the larger part comes from {larger}."


def own_blur_sentence(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Whether two groups of photographs differ in the blur they bring along (:func:`known_blur.own_blur_table`)."""
    brought = [float(table["mean of the map (px)"].mean()) for table in (first, second)]
    if brought[1] > 1.25 * brought[0]:
        return "The second group brings more blur of its own along, which the truth of a scene does not count."
    if brought[0] > 1.25 * brought[1]:
        return "The first group brings more blur of its own along, which the truth of a scene does not count."
    return "Both groups bring about the same blur of their own along, which the truth of a scene does not count."


def border_sentence(scores: pd.DataFrame) -> str:
    """Whether the frame of the map of `physical` is worse than the rest (:func:`score_table`), as a sentence."""
    outer, inside = scores.loc["physical", ["outer 5 px", "inside"]]
    if outer > 1.1 * inside:
        return "So the frame is the worse part of the map: an edge there has neighbours on one side only."
    if inside > 1.1 * outer:
        return "So the frame is no worse than the rest."
    return "So the frame is about as good as the rest."


def ablation_sentence(table: pd.DataFrame) -> str:
    """Which single step is worth most, and which cost something, from a table of :func:`ablation_table`."""
    error = table.xs("error (px)", axis=1, level=1)
    costs = error.loc[list(SWITCHED_OFF)] - error.loc["physical"]
    best = costs.mean(axis=1).idxmax()
    said = f"Of the single steps, the one whose absence is called “{best}” is worth most, in error over all columns."
    mixed = [
        name
        for name in costs.index
        if costs.loc[name].min() < -0.005 and costs.loc[name].max() > 0.005
    ]
    if mixed:
        said += f" Not all of them help everywhere: there are columns with a smaller error for “{'”, “'.join(mixed)}”."
    return said
