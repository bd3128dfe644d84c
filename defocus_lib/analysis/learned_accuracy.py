"""Accuracy and calibration of the learned map: its seeds, its uncertainty, its failures.

No image here was trained on: the photographs are those of the test scenes, or the motorcycle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from scipy.stats import norm

from defocus_lib.analysis.map_accuracy import (
    BIAS,
    CAP,
    ERROR,
    SPEARMAN,
    Estimators,
    KnownScene,
    Scenes,
    as_batch,
    controlled_scenes,
    map_errors,
    mean_claim,
    scene_scores,
    score_table,
    step_edge,
)
from defocus_lib.maps import learned
from defocus_lib.maps.estimate import defocus_maps
from defocus_lib.scenes import optics, simulated
from defocus_lib.stats.claims import Claim

LEVELS = (0.5, 0.8, 0.9, 0.95)  # nominal shares of the truth in an interval
COVERAGE = "in 90 % intervals (%)"
SHARP = 0.3  # px: what counts as sharp on a pixel grid, as for the motorcycle
PRESETS: Estimators = {name: (name, None) for name in ("physical", "learned")}


def unseen_scenes(
    photographs: Sequence[np.ndarray],
    count: int,
    seed: int,
    psf: str = "",
    size: int = simulated.SIDE,
) -> dict[str, KnownScene]:
    """Scenes simulated as for the training, from photographs (h, w, 3) uint8 that it did not see.

    ``psf`` is "gaussian" or "disc" for the same scenes through this point-spread function; "" draws
    one for each.
    """
    luma = [simulated.source(photograph) for photograph in photographs]
    scenes = {}
    for number in range(count):
        exposed = simulated.expose(luma, np.random.default_rng([seed, number]), size, psf)
        scenes[f"scene {number}"] = _scene(exposed.grey, exposed.sigma.astype(float))
    return scenes


def _scene(grey: np.ndarray, sigma: np.ndarray) -> KnownScene:
    return np.repeat(grey[..., None], 3, axis=2), sigma, np.ones(grey.shape, dtype=bool)


def learned_by(image: np.ndarray, seed: int = learned.SEEDS[0]) -> tuple[np.ndarray, np.ndarray]:
    """Sigma and uncertainty (H, W) px of an image (H, W, 3) uint8, by the weights of one seed."""
    sigma, uncertainty = learned.estimate(as_batch(image), learned.packaged(seed))
    return sigma.clamp(max=CAP)[0, 0].numpy(), uncertainty[0, 0].numpy()


def seed_table(groups: Mapping[str, Scenes], seeds: Sequence[int] = learned.SEEDS) -> pd.DataFrame:
    """Mean error (px) and rank correlation of each training run on groups of scenes, by seed."""

    def mean_errors(scenes: Scenes, seed: int) -> pd.Series:
        errors = [
            map_errors(learned_by(image, seed)[0], sigma, known)
            for image, sigma, known in scenes.values()
        ]
        return pd.DataFrame(errors).mean()

    columns = {
        group: pd.DataFrame({seed: mean_errors(scenes, seed) for seed in seeds}).T
        for group, scenes in groups.items()
    }
    return pd.concat(columns, axis=1).rename_axis("seed")


def step_table(
    sigmas: Sequence[float], seeds: Sequence[int] = learned.SEEDS, size: int = 129
) -> pd.DataFrame:
    """Median sigma (px) that each training run reads at the edge pixels of steps without noise.

    One row per true sigma, one column per seed.
    """
    rows = {}
    for sigma in sigmas:
        planes = step_edge(sigma, 0.0, np.random.default_rng(0), size)
        image = np.rint(255 * planes.transpose(1, 2, 0)).astype(np.uint8)
        edges = defocus_maps(as_batch(image), "physical").edges[0, 0].numpy()
        rows[sigma] = {seed: float(np.median(learned_by(image, seed)[0][edges])) for seed in seeds}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("true sigma (px)")


def scene_coverage(scenes: Scenes, levels: Sequence[float] = LEVELS) -> pd.DataFrame:
    """Share (%) of the known pixels of each scene whose truth lies in intervals of ``learned``.

    The intervals are those of a normal distribution. One row per scene, one column per nominal
    level in %.
    """
    rows = []
    for scene in scenes.values():
        error, uncertainty = _errors(*scene)
        within = {level: error / uncertainty <= norm.ppf((1 + level) / 2) for level in levels}
        rows.append({100 * level: 100 * float(held.mean()) for level, held in within.items()})
    return pd.DataFrame(rows)


def coverage_table(groups: Mapping[str, Scenes], levels: Sequence[float] = LEVELS) -> pd.DataFrame:
    """Mean of :func:`scene_coverage` over the scenes of each group: one row per group."""
    rows = {group: scene_coverage(scenes, levels).mean() for group, scenes in groups.items()}
    return pd.DataFrame(rows).T.rename_axis("images").rename_axis("nominal (%)", axis=1)


def _errors(
    image: np.ndarray, sigma: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Absolute error and uncertainty of the known pixels by the preset ``learned``: (K,) px."""
    maps = defocus_maps(as_batch(image), "learned")
    assert maps.uncertainty is not None  # this preset has one
    error = np.abs(maps.dense[0, 0].numpy() - sigma)
    return error[known], maps.uncertainty[0, 0].numpy()[known]


def surest_first(scenes: Scenes, shares: Sequence[float]) -> pd.DataFrame:
    """Mean absolute error (px) of the pixels of lowest uncertainty, and of those of lowest error.

    One row per share of the pixels of all scenes; columns "by uncertainty", "by the error itself".
    """
    pixels = [_errors(*scene) for scene in scenes.values()]
    error, uncertainty = (np.concatenate(values) for values in zip(*pixels, strict=True))
    ordered = {
        "by uncertainty": error[np.argsort(uncertainty, kind="stable")],
        "by the error itself": np.sort(error),
    }
    kept = {share: round(share * len(error)) for share in shares}
    columns = {
        name: {share: float(errors[:count].mean()) for share, count in kept.items()}
        for name, errors in ordered.items()
    }
    return pd.DataFrame(columns).rename_axis("share kept")


def psf_table(photographs: Sequence[np.ndarray], count: int, seed: int) -> pd.DataFrame:
    """Error, rank correlation and bias on the same scenes through a Gaussian and through a disc.

    Index (estimator, point spread).
    """
    tables = {
        psf: score_table(unseen_scenes(photographs, count, seed, psf), PRESETS).loc[list(PRESETS)]
        for psf in optics.PSFS
    }
    table = pd.concat(tables, names=["point spread"]).swaplevel()
    return table[[ERROR, SPEARMAN, BIAS]]


def by_photograph(
    photographs: Mapping[str, np.ndarray], count: int, size: int, seed: int
) -> pd.DataFrame:
    """Scores of the learned map on scenes through the thin lens that show one photograph alone.

    One row per photograph: error (px), rank correlation, bias (px), share of the truth in 90 %
    intervals (%).
    """
    rows = {}
    for name, pixels in photographs.items():
        # Twice, since a scene's splice, which does not count here, comes from another photograph.
        scenes = controlled_scenes([pixels, pixels], count, size, seed)
        rows[name] = scene_scores(scenes, "learned")[[ERROR, SPEARMAN, BIAS]].mean()
        rows[name][COVERAGE] = scene_coverage(scenes, [0.9]).mean().item()
    return pd.DataFrame(rows).T.rename_axis("photograph")


def blind_spots(photograph: np.ndarray, size: int = 128) -> dict[str, KnownScene]:
    """Images that may mislead: no detail, patterns without edges, and motion blur.

    ``photograph`` is (h, w, 3) uint8, at least three times ``size`` high and wide.
    """
    sharp = simulated.shrunk(photograph)[:size, :size] / 255
    columns = np.arange(size)
    flat = np.where(columns < size / 2, sharp, 0.4 + 0.2 * columns / size)
    greys = {"flat on the right": optics.blur(flat, 2.5)}
    for length in (8, 16):
        wave = 0.5 + 0.4 * np.sin(2 * np.pi * columns / length)
        greys[f"waves of {length} px, sharp"] = np.tile(wave, (size, 1))
    greys["moved by 9 px, in focus"] = ndimage.uniform_filter1d(sharp, 9, axis=1, mode="reflect")
    scenes = {}
    for name, grey in greys.items():
        sigma = np.full(grey.shape, 2.5 if name == "flat on the right" else SHARP)
        scenes[name] = _scene(np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8), sigma)
    return scenes


def fitted(photograph: np.ndarray, side: int) -> np.ndarray:
    """A photograph (h, w, 3) uint8 with its longer side averaged to ``side`` px."""
    scale = side / max(photograph.shape[:2])
    width, height = (round(length * scale) for length in photograph.shape[1::-1])
    return np.asarray(Image.fromarray(photograph).resize((width, height), Image.Resampling.BOX))


def cards(seeds: Sequence[int] = learned.SEEDS) -> pd.DataFrame:
    """Training and validation figures on the cards of the packaged weights: one row per seed."""
    rows = {}
    for seed in seeds:
        card = learned.card(seed)
        training = {name: card[name] for name in ("steps", "scenes", "parameters")}
        rows[seed] = training | card["validation"]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("seed")


def claims(scenes: Scenes, seed: int = 0) -> list[Claim]:
    """Claims over simulated scenes: `learned` is more accurate than `physical`, and calibrated."""
    error = {name: scene_scores(scenes, name)[ERROR] for name in PRESETS}
    ordered = [
        surest_first({name: scene}, [0.5, 1.0])["by uncertainty"] for name, scene in scenes.items()
    ]
    less_error = error["learned"] - error["physical"]
    coverage = scene_coverage(scenes, [0.9])[90.0] / 100
    surest = [errors[0.5] - errors[1.0] for errors in ordered]
    below: dict[str, Any] = {"unit": "simulated scene", "seed": seed, "relation": "below"}
    nominal = below | {"relation": "within", "compared_with": 0.9, "margin": 0.05, "style": ".1%"}
    return [
        mean_claim("Error of `learned` less that of `physical` (px)", less_error, **below),
        mean_claim("Coverage of the 90 % intervals of `learned`", coverage, **nominal),
        mean_claim("Error of the surest half of the pixels less that of all (px)", surest, **below),
    ]
