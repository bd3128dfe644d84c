"""How good is a map? Images whose blur is known, and the error of each preset on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtr
from scipy.stats import spearmanr

from defocus_lib.defocus import PRESETS, DefocusMaps, defocus_maps

# Every way to make a map that the book compares: preset and propagation.
ESTIMATORS = {name: (name, preset.propagation) for name, preset in PRESETS.items()} | {
    "physical, guided": ("physical", "guided"),
    "physical, closed form": ("physical", "closed_form"),
}


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
        rows[sigma] = {name: _median_at_edges(defocus_maps(image, name), PRESETS[name].literal) for name in PRESETS}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("true sigma (px)")


def _median_at_edges(maps: DefocusMaps, literal: bool) -> float:
    read = maps.sparse[maps.edges if literal else maps.valid]
    return float(read.median()) if len(read) else float("nan")


def map_errors(estimate: np.ndarray, sigma: np.ndarray, known: np.ndarray, cap: float = 6.0) -> dict[str, float]:
    """Mean absolute error (px) and Spearman correlation of a dense map with the true sigma, over the known pixels.

    Parameters
    ----------
    estimate, sigma : (H, W) float, in px
        The estimate is clipped to [0, ``cap``] first.
    known : (H, W) bool
    """
    estimate, sigma = np.clip(estimate, 0, cap)[known], sigma[known]
    return {
        "error (px)": float(np.abs(estimate - sigma).mean()),
        "Spearman": float(spearmanr(estimate, sigma).statistic),
    }


def against_truth(estimate: np.ndarray, sigma: np.ndarray | None) -> str:
    """:func:`map_errors` of one map as a sentence; where the true sigma is not known, that."""
    if sigma is None:
        return "What the true blur is, nobody knows here; the next sections measure the method where it is known."
    found = map_errors(estimate, sigma, np.ones_like(sigma, dtype=bool))
    return (
        f"The dense map is off by {found['error (px)']:.2f} px on average, and its rank correlation with the truth is "
        f"{found['Spearman']:.2f}."
    )


def estimator_table(scenes: Mapping[object, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """Errors of each estimator on scenes with known blur, and of a map that is the true mean everywhere.

    Parameters
    ----------
    scenes : mapping of a name to (image (H, W, 3) uint8, sigma (H, W) px, known (H, W) bool)

    Returns
    -------
    DataFrame
        Columns estimator, scene, error (px), Spearman.
    """
    rows = []
    for scene, (image, sigma, known) in scenes.items():
        batch = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        for name, (preset, propagation) in ESTIMATORS.items():
            dense = defocus_maps(batch, preset, propagation).dense[0, 0].numpy()
            rows.append({"estimator": name, "scene": scene, **map_errors(dense, sigma, known)})
        flat = float(np.abs(sigma[known] - sigma[known].mean()).mean())
        rows.append({"estimator": "constant mean", "scene": scene, "error (px)": flat, "Spearman": float("nan")})
    return pd.DataFrame(rows)
