"""Accuracy of a map on photographs by real lenses: focal stacks, and measured blur.

In a focal stack the focus moves through one scene. The blur of each part of the scene then falls
and rises again: after Pentland (1987) in proportion to the distance of the focus from that part, as
long as the steps of the focus are small against the distance of the scene.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.stats import norm, spearmanr

from defocus_lib.analysis.map_accuracy import BIAS, ERROR, SPEARMAN
from defocus_lib.scenes.optics import LUMA

TEXTURED = 4.0  # times more gradient energy in focus than in the blurriest photograph of the stack
FAINTEST = 0.25  # share of the patches that are left out because they have the least texture
RANKED = 0.8  # least rank correlation of blur with distance from focus that counts as ranked
STRAIGHT = 0.9  # least coefficient of determination of the fitted V that counts as one
LEVELS = (0.5, 0.8, 0.9)


def patches(
    photographs: Sequence[np.ndarray], sigma: Sequence[np.ndarray], size: int = 32
) -> pd.DataFrame:
    """How the blur of each textured patch of a focal stack follows the distance from focus.

    Parameters
    ----------
    photographs : F of (H, W, 3) uint8
        Taken from one place, their focus moved in equal steps, in this order; at least 5.
    sigma : F of (H, W) float
        Their maps in px.
    size : int
        Height and width of a patch in px.

    Returns
    -------
    DataFrame
        One row per textured patch: row, column (of patches), focus (number of the photograph in
        which its gradients are strongest, interpolated; the map has no part in it), least and most
        (median blur in px in its sharpest and blurriest photograph), rank (Spearman correlation of
        the median blur with the distance from focus), straightness (coefficient of determination of
        the V that fits the median blur best).

    Raises ValueError if there are fewer than five photographs, or their sizes differ.
    """
    shapes = {np.shape(plane)[:2] for plane in (*photographs, *sigma)}
    if len(photographs) < 5 or len(photographs) != len(sigma) or len(shapes) != 1:
        raise ValueError(
            f"{len(photographs)} photographs and {len(sigma)} maps of sizes {sorted(shapes)}; "
            "5 or more of one size, and as many maps, wanted"
        )
    energy = np.stack(
        [_of_patches(_gradient_energy(image), size, np.mean) for image in photographs]
    )
    blur = np.stack([_of_patches(plane, size, np.median) for plane in sigma])
    strongest = energy.max(0)
    kept = strongest >= np.quantile(strongest, FAINTEST)
    kept &= strongest >= TEXTURED * energy.min(0)
    places = np.argwhere(kept)
    rows = [
        {"row": row, "column": column, **_followed(energy[:, row, column], blur[:, row, column])}
        for row, column in places.tolist()
    ]
    columns = ["row", "column", "focus", "least", "most", "rank", "straightness"]
    return pd.DataFrame(rows, columns=columns)


def stack_summary(table: pd.DataFrame) -> pd.Series:
    """Number of the patches of a stack, and the shares (%) that are ranked, and straight."""
    return pd.Series(
        {
            "patches": len(table),
            "ranked (%)": 100 * (table["rank"] >= RANKED).mean(),
            "straight (%)": 100 * (table["straightness"] >= STRAIGHT).mean(),
            "median rank": table["rank"].median(),
            "in focus (px)": table["least"].median(),
            "out of focus (px)": table["most"].median(),
        }
    )


def _gradient_energy(image: np.ndarray) -> np.ndarray:
    grey = image @ np.array(LUMA)
    gradients = [ndimage.gaussian_filter(grey, 1, order) for order in ((0, 1), (1, 0))]
    return gradients[0] ** 2 + gradients[1] ** 2


def _of_patches(plane: np.ndarray, size: int, statistic) -> np.ndarray:
    """A statistic of each whole patch of a plane (H, W): (H // size, W // size)."""
    rows, columns = (length // size for length in plane.shape)
    cut = plane[: rows * size, : columns * size].reshape(rows, size, columns, size)
    return statistic(cut, axis=(1, 3))


def _followed(energy: np.ndarray, blur: np.ndarray) -> dict[str, float]:
    """Focus, extremes, rank correlation and straightness of one patch, from (F,) each."""
    numbers, focus = np.arange(len(blur)), _peak(np.log(energy))
    distance = np.abs(numbers - focus)
    varies = np.ptp(blur) > 0
    rank = float(spearmanr(distance, blur).statistic) if varies else 0.0
    straightness = _straightness(blur) if varies else 0.0
    extremes = {"least": float(blur.min()), "most": float(blur.max())}
    return {"focus": focus} | extremes | {"rank": rank, "straightness": straightness}


def _peak(values: np.ndarray) -> float:
    """Position of the largest value, interpolated by a parabola through its neighbours."""
    top = int(values.argmax())
    if not 0 < top < len(values) - 1:
        return float(top)
    before, here, after = values[top - 1 : top + 2]
    bend = before - 2 * here + after
    return float(top + (before - after) / (2 * bend)) if bend < 0 else float(top)


def _straightness(blur: np.ndarray) -> float:
    """Coefficient of determination of the best ``slope |number - focus| + rest``."""
    numbers = np.arange(len(blur))
    total, best = ((blur - blur.mean()) ** 2).sum(), np.inf
    for focus in np.arange(-1, len(blur) + 0.01, 0.1):
        design = np.stack([np.abs(numbers - focus), np.ones(len(blur))], 1)
        fitted = design @ np.linalg.lstsq(design, blur, rcond=None)[0]
        best = min(best, float(((blur - fitted) ** 2).sum()))
    return 1 - best / total


def measured_scores(
    sigma: np.ndarray, truth: np.ndarray, uncertainty: np.ndarray | None = None
) -> dict[str, float]:
    """Scores of a map against measured blur, over the pixels where the truth is finite.

    All are (H, W) px. The estimate is clipped to the range of the truth. Mean absolute error, rank
    correlation, bias; with an uncertainty also the shares (%) of the truth in intervals of 50, 80
    and 90 %, and the rank correlation of the uncertainty with the error.
    """
    known = np.isfinite(truth)
    truth, estimate = truth[known], sigma[known]
    difference = np.clip(estimate, truth.min(), truth.max()) - truth
    scores = {
        ERROR: float(np.abs(difference).mean()),
        SPEARMAN: float(spearmanr(estimate, truth).statistic),
        BIAS: float(difference.mean()),
    }
    if uncertainty is None:
        return scores
    spread, error = uncertainty[known], np.abs(estimate - truth)
    for level in LEVELS:
        within = error <= norm.ppf((1 + level) / 2) * spread
        scores[f"in {100 * level:.0f} % intervals (%)"] = 100 * float(within.mean())
    scores["Spearman of uncertainty with error"] = float(spearmanr(spread, error).statistic)
    return scores
