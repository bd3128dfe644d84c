"""Transfer of detectors to other manipulations, and their robustness to image corruptions.

Each manipulation is compared with the real images, frame by frame and, with the mean over its
frames, video by video.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
import torch

from defocus_lib.data.images import Reader, as_planes
from defocus_lib.data.records import REAL
from defocus_lib.detect.control_inputs import INPUTS, generator
from defocus_lib.detect.inputs import as_input
from defocus_lib.detect.model import Detector
from defocus_lib.detect.normalisation import planes_of
from defocus_lib.detect.training import predict
from defocus_lib.maps.cache import MapCache, maps_as_cached
from defocus_lib.maps.estimate import DefocusMaps
from defocus_lib.scenes.corruptions import CORRUPTIONS, Corruption
from defocus_lib.stats import auc
from defocus_lib.stats.auc import Predictions
from defocus_lib.stats.bootstrap import CONFIDENCE, formatted_rows
from defocus_lib.stats.claims import Claim

CHUNK = 64  # images of full size in memory
LEVELS = ("frame", "video")
IDENTITY = ["id", "video", "group", "manipulation", "label"]
CELL = ["input", "training_manipulation", "test_manipulation"]
ESTIMATE = ["value", "low", "high"]


def at_level(predictions: pd.DataFrame, level: str) -> pd.DataFrame:
    """Predictions per frame as they are, or per video: the mean logit of its frames.

    One row per id and seed, with the columns video, group, manipulation, label and logit. Raises
    ValueError if the level is neither "frame" nor "video".
    """
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}; {' or '.join(LEVELS)} wanted")
    if level == "frame":
        return predictions
    keys = ["video", "manipulation", "group", "label", "seed"]
    videos = predictions.groupby(keys, sort=False)["logit"].mean().reset_index()
    return videos.assign(id=videos["video"] + "/" + videos["manipulation"])


def _by_cell(predictions: pd.DataFrame, level: str) -> dict[tuple[str, str, str], Predictions]:
    """Predictions by :data:`CELL`: those on the real images and on one manipulation at a time."""
    cells = {}
    for (name, learned), rows in predictions.groupby(CELL[:2], sort=False):
        table = at_level(rows, level)
        for tested in rows.loc[rows["label"] == 1, "manipulation"].unique():
            both = table[table["manipulation"].isin([REAL, tested])]
            cells[name, learned, tested] = auc.predictions_of(both)
    return cells


def matrix(
    predictions: pd.DataFrame, level: str = "frame", n_bootstrap: int = 2000, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """AUC of each detector on each manipulation, and its mean over those that it did not learn.

    ``predictions`` are those of :func:`defocus_lib.detect.sweep.train_and_test`, of inputs that
    learned every manipulation. The first table has the columns of :data:`CELL`, value, low and high
    (95 %, by group). The second has one row per input: value, low and high of the mean off the
    diagonal; none if there is a single manipulation.
    """
    by_cell = _by_cell(predictions, level)
    by_name = {"|".join(cell): entry for cell, entry in by_cell.items()}
    resamples = auc.resampled(by_name, n_bootstrap, seed)
    cells = pd.DataFrame(by_cell.keys(), columns=CELL)
    cells[ESTIMATE] = auc.summary(by_name, resamples)[ESTIMATE].to_numpy()
    means, tails = {}, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    unseen = cells[cells["training_manipulation"] != cells["test_manipulation"]]
    for name, rows in unseen.groupby("input", sort=False):
        means_of_draws = resamples[rows[CELL].agg("|".join, axis=1)].mean(axis=1)
        means[name] = (rows["value"].mean(), *means_of_draws.quantile(tails))
    return cells, pd.DataFrame.from_dict(means, orient="index", columns=ESTIMATE)


def claims(cells: pd.DataFrame, means: pd.DataFrame, groups: int, unit: str) -> list[Claim]:
    """Per input: detectors tell manipulations that they did not learn from real images.

    Both tables are those of :func:`matrix`. With a single manipulation, the claims are about that
    one.
    """
    if means.empty:
        means, learned = cells.set_index("input")[ESTIMATE], "the manipulation that they learned"
    else:
        learned = "manipulations that they did not learn"
    in_order = means.loc[[name for name in INPUTS if name in means.index]]
    return [
        Claim(
            f"AUC of small detectors on {learned} exceeds chance (input: {INPUTS[name].title})",
            value,
            low,
            high,
            groups,
            compared_with=0.5,
            unit=unit,
            seeds=1,
            style=".2f",
        )
        for name, value, low, high in in_order.itertuples(name=None)
    ]


def corrupted(
    records: pd.DataFrame, reader: Reader, cache: MapCache, corruption: Corruption, level: float
) -> tuple[np.ndarray, DefocusMaps]:
    """Corrupted images ``(N, H, W, 3)`` uint8, and their new maps.

    The noise of an image is drawn by its digest. The cache only names the preset and propagation of
    the maps.
    """
    stored = zip(reader.stack(records), records["digest"], strict=True)
    images = np.stack([corruption(image, level, generator(digest, 1)) for image, digest in stored])
    planes = np.stack([as_planes(image) for image in images])
    return images, maps_as_cached(planes, cache.preset, cache.propagation, n_workers=-1)


def corrupted_predictions(
    records: pd.DataFrame,
    reader: Reader,
    cache: MapCache,
    detectors: Mapping[str, Detector],
    corruption: Corruption,
    level: float,
) -> pd.DataFrame:
    """Predictions of detectors for images after a corruption, whose maps are computed anew.

    One row per image and detector: id, video, group, manipulation, label, seed (0), detector,
    logit.
    """
    logits: dict[str, list[np.ndarray]] = {name: [] for name in detectors}
    for first in range(0, len(records), CHUNK):
        rows = records.iloc[first : first + CHUNK]
        images, maps = corrupted(rows, reader, cache, corruption, level)
        for name, detector in detectors.items():
            how = detector.normalisation
            pairs = zip(images, planes_of(maps, how), strict=True)
            inputs = torch.stack([as_input(detector.reads, *pair, how) for pair in pairs])
            logits[name].append(predict(detector, inputs)[0].double().numpy())
    identity = records[IDENTITY].reset_index(drop=True).assign(seed=0)
    by_detector = [
        identity.assign(detector=name, logit=np.concatenate(parts))
        for name, parts in logits.items()
    ]
    return pd.concat(by_detector, ignore_index=True)


def robustness(
    records: pd.DataFrame,
    reader: Reader,
    cache: MapCache,
    detectors: Mapping[str, Detector],
    corruptions: Mapping[str, Corruption] = CORRUPTIONS,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """AUC of detectors at each level of each corruption, by frame and by video.

    ``records`` are real test images and those of one manipulation. Columns: level, value, low,
    high, change, change_high, change_low (the AUC minus that of the stored images, with its
    interval over the same resamples), corruption, detector, by ("frame" or "video").
    """

    def predictions(corruption: Corruption, level: float) -> pd.DataFrame:
        return corrupted_predictions(records, reader, cache, detectors, corruption, level)

    first, curves = next(iter(corruptions.values())), []
    stored = predictions(first, first.levels[0])
    for name, corruption in corruptions.items():
        # The first level of each is the image as it is stored.
        unchanged, *levels = corruption.levels
        by_level = {unchanged: stored} | {level: predictions(corruption, level) for level in levels}
        for by, detector in product(LEVELS, detectors):
            entries = {
                f"{level:g}": auc.predictions_of(at_level(table[table["detector"] == detector], by))
                for level, table in by_level.items()
            }
            curve = _curve(entries, n_bootstrap, seed)
            curves.append(curve.assign(corruption=name, detector=detector, by=by))
    return pd.concat(curves, ignore_index=True)


def _curve(entries: Mapping[str, Predictions], n_bootstrap: int, seed: int) -> pd.DataFrame:
    resamples = auc.resampled(entries, n_bootstrap, seed)
    stored = next(iter(entries))
    change = -auc.differences(entries, resamples, stored, entries)
    change.columns = pd.Index(["change", "change_high", "change_low"])
    curve = pd.concat([auc.summary(entries, resamples)[ESTIMATE], change], axis=1)
    return curve.reset_index(names="level").astype({"level": float})


def matrix_table(cells: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """The cells of :func:`matrix` as text: one row per input and training manipulation."""
    cells = cells.assign(text=formatted_rows(cells), input=cells["input"].map(titles))
    names = cells["test_manipulation"].unique()
    table = cells.pivot(index=CELL[:2], columns=CELL[2], values="text")
    order = [row for row in product(titles.values(), names) if row in table.index]
    table = table.reindex(index=order, columns=names).rename_axis(["input", "trained on"])
    return table.rename_axis("tested on", axis=1)


def curve_table(curves: pd.DataFrame, by: str) -> pd.DataFrame:
    """The curves of :func:`robustness` as text: one row per corruption and level."""
    rows = curves[curves["by"] == by]
    rows = rows.assign(text=formatted_rows(rows), level=rows["level"].map("{:g}".format))
    keys = ["corruption", "level"]
    table = rows.pivot(index=keys, columns="detector", values="text")
    return table.reindex(pd.MultiIndex.from_frame(rows[keys].drop_duplicates()))


def first_drops(curves: pd.DataFrame, by: str = "frame") -> pd.DataFrame:
    """The weakest level of each corruption at which the AUC falls, as text.

    The AUC falls where the interval of its change lies below zero.
    One row per corruption, one column per detector; "none" where no level is.
    """
    rows = curves[curves["by"] == by]
    keys = [rows["corruption"], rows["detector"]]
    levels = rows["level"].map("{:g}".format).where(rows["change_high"] < 0)
    return levels.groupby(keys, sort=False).first().unstack(sort=False).fillna("none")
