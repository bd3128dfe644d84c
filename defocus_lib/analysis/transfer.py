"""What carries over: to manipulations that were not learned, and to pictures changed by JPEG, resizing, blur or noise.

Each manipulation is compared with the real images, frame by frame and, with the mean over its frames, video by video.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
import torch

from defocus_lib.data.images import Reader
from defocus_lib.data.records import REAL
from defocus_lib.detect.control_inputs import generator
from defocus_lib.detect.inputs import as_input
from defocus_lib.detect.model import Detector
from defocus_lib.detect.training import predict
from defocus_lib.maps.cache import MapCache
from defocus_lib.maps.estimate import defocus_maps
from defocus_lib.scenes.corruptions import CORRUPTIONS, Corruption
from defocus_lib.stats import auc
from defocus_lib.stats.auc import Predictions
from defocus_lib.stats.bootstrap import CONFIDENCE, formatted, formatted_rows
from defocus_lib.stats.claims import Claim

CHUNK = 64  # images of full size in memory
LEVELS = ("frame", "video")


def at_level(predictions: pd.DataFrame, level: str) -> pd.DataFrame:
    """Predictions by frame as they are, or by video: the mean logit of the frames of a video and manipulation.

    Parameters
    ----------
    predictions : DataFrame
        id, video, group, manipulation, label, seed, logit.
    level : {"frame", "video"}
    """
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}; {' or '.join(LEVELS)} wanted")
    if level == "frame":
        return predictions
    keys = ["video", "manipulation", "group", "label", "seed"]
    videos = predictions.groupby(keys, sort=False)["logit"].mean().reset_index()
    return videos.assign(id=videos["video"] + "/" + videos["manipulation"])


def matrix_answers(
    trials: pd.DataFrame, level: str = "frame"
) -> dict[tuple[str, str, str], Predictions]:
    """Predictions by (control, trained on, tested on); real images are compared with one manipulation at a time.

    Parameters
    ----------
    trials : DataFrame
        As :func:`defocus_lib.detect.sweep.run` returns them, of inputs that learned every manipulation.
    level : {"frame", "video"}
    """
    found = {}
    for (control, trained), rows in trials.groupby(["input", "training_manipulation"], sort=False):
        table = at_level(rows, level)
        for tested in rows.loc[rows["label"] == 1, "manipulation"].unique():
            chosen = table[table["manipulation"].isin([REAL, tested])]
            found[control, trained, tested] = auc.predictions_of(chosen)
    return found


def matrix(
    trials: pd.DataFrame, level: str = "frame", n_bootstrap: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """AUC of each detector on each manipulation, and the mean over those that it did not learn.

    Returns
    -------
    DataFrame
        control, training_manipulation, test_manipulation, value, low, high (95 %, by group). One row a control has ``test_manipulation`` "others"
        and ``training_manipulation`` "each": the mean off the diagonal, where there is more than one manipulation.
    """
    answers = {"|".join(key): one for key, one in matrix_answers(trials, level).items()}
    draws = auc.resampled(answers, n_bootstrap, seed)
    cells = auc.summary(answers, draws)
    names = [name.split("|") for name in cells.index]
    table = cells.reset_index(drop=True)[["value", "low", "high"]]
    table = pd.concat(
        [
            pd.DataFrame(names, columns=["input", "training_manipulation", "test_manipulation"]),
            table,
        ],
        axis=1,
    )
    means = []
    for control, rows in table[
        table["training_manipulation"] != table["test_manipulation"]
    ].groupby("input", sort=False):
        off = draws[
            [
                "|".join(row)
                for row in rows[["input", "training_manipulation", "test_manipulation"]].to_numpy()
            ]
        ].mean(axis=1)
        bounds = off.quantile([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
        means.append((control, "each", "others", rows["value"].mean(), *bounds))
    # Without any, an empty table would turn the numbers into objects.
    return (
        pd.concat([table, pd.DataFrame(means, columns=table.columns)], ignore_index=True)
        if means
        else table
    )


def corrupted_answers(
    records: pd.DataFrame,
    reader: Reader,
    cache: MapCache,
    detectors: Mapping[str, Detector],
    corruption: Corruption,
    level: float,
) -> pd.DataFrame:
    """What detectors say about images after a corruption. Their maps are computed anew from the corrupted images.

    Parameters
    ----------
    records : DataFrame
        Test images; the noise of each is drawn by its digest.
    reader : Reader
    cache : MapCache
        Its preset and propagation make the maps.
    detectors : mapping of {"defocus", "rgb", "fusion"} to Detector
    corruption : Corruption
    level : float
        One of its levels.

    Returns
    -------
    DataFrame
        One row an image and detector: id, video, group, manipulation, label, seed (0), detector, logit.
    """
    logits: dict[str, list[np.ndarray]] = {name: [] for name in detectors}
    for first in range(0, len(records), CHUNK):
        images, dense = damaged(
            records.iloc[first : first + CHUNK], reader, cache, corruption, level
        )
        for name, detector in detectors.items():
            inputs = torch.stack(
                [as_input(detector.reads, *one) for one in zip(images, dense, strict=True)]
            )
            logits[name].append(predict(detector, inputs)[0].double().numpy())
    about = (
        records[["id", "video", "group", "manipulation", "label"]]
        .reset_index(drop=True)
        .assign(seed=0)
    )
    return pd.concat(
        [
            about.assign(detector=name, logit=np.concatenate(parts))
            for name, parts in logits.items()
        ],
        ignore_index=True,
    )


def damaged(
    records: pd.DataFrame, reader: Reader, cache: MapCache, corruption: Corruption, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Images after a corruption, ``(N, H, W, 3)`` uint8, and the maps of what is left, ``(N, H, W)`` float32 in px."""
    stored = zip(reader.stack(records), records["digest"], strict=True)
    images = np.stack([corruption(image, level, generator(digest, 1)) for image, digest in stored])
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    maps = defocus_maps(planes, cache.preset, cache.propagation or None, n_workers=-1)
    return images, maps.dense[:, 0].numpy()


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

    Parameters
    ----------
    records : DataFrame
        Real test images and those of one manipulation.

    Returns
    -------
    DataFrame
        corruption, level, detector, by ("frame" or "video"), value, low, high, and change, change_low, change_high: the
        AUC minus that of the stored images, with its interval over the same resamples.
    """
    tables = []
    for name, corruption in corruptions.items():
        found = {
            level: corrupted_answers(records, reader, cache, detectors, corruption, level)
            for level in corruption.levels
        }
        for by, detector in product(LEVELS, detectors):
            rows = {
                k: at_level(table[table["detector"] == detector], by) for k, table in found.items()
            }
            tables.append(
                _curve(rows, n_bootstrap, seed).assign(corruption=name, detector=detector, by=by)
            )
    return pd.concat(tables, ignore_index=True)


def _curve(found: Mapping[float, pd.DataFrame], n_bootstrap: int, seed: int) -> pd.DataFrame:
    answers = {level: auc.predictions_of(table) for level, table in found.items()}
    draws = auc.resampled(answers, n_bootstrap, seed)
    change = auc.differences(answers, draws, next(iter(answers)), answers) * -1
    change = change.rename(columns={"value": "change", "low": "change_high", "high": "change_low"})
    return pd.concat(
        [auc.summary(answers, draws)[["value", "low", "high"]], change], axis=1
    ).reset_index(names="level")


def wide(matrix: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """The cells of :func:`matrix` with their intervals, as text: one row an input and manipulation learned."""
    cells = matrix[matrix["training_manipulation"] != "each"]
    cells = cells.assign(cell=formatted_rows(cells), input=cells["input"].map(titles))
    names = cells["test_manipulation"].unique()
    table = cells.pivot(
        index=["input", "training_manipulation"], columns="test_manipulation", values="cell"
    )
    order = [
        (title, name) for title in titles.values() for name in names if (title, name) in table.index
    ]
    return (
        table.reindex(index=order, columns=names)
        .rename_axis(["input", "trained on"])
        .rename_axis("tested on", axis=1)
    )


def wide_curves(curves: pd.DataFrame, by: str) -> pd.DataFrame:
    """The curves of :func:`robustness` with their intervals, as text for a page: one row a level."""
    rows = curves[curves["by"] == by]
    rows = rows.assign(AUC=formatted_rows(rows), level=rows["level"].map("{:g}".format))
    table = rows.pivot(index=["corruption", "level"], columns="detector", values="AUC")
    return table.reindex(
        rows[["corruption", "level"]].drop_duplicates().itertuples(index=False, name=None)
    )


def carries_over(matrix: pd.DataFrame, control: str) -> str:
    """What the mean off the diagonal says of one input, in words that its interval chooses."""
    rows = matrix[(matrix["input"] == control) & (matrix["training_manipulation"] == "each")]
    if rows.empty:
        return "With one manipulation there is none to carry over to."
    row = rows.iloc[0]
    side = (
        "better than guessing"
        if row["low"] > 0.5
        else "worse than guessing"
        if row["high"] < 0.5
        else "like guessing"
    )
    return f"{formatted(row['value'], row['low'], row['high'])}, {side}"


def breaks_at(curves: pd.DataFrame, detector: str, by: str = "frame") -> str:
    """The weakest level of each corruption at which a detector is surely worse than on the images as stored."""
    rows = curves[(curves["detector"] == detector) & (curves["by"] == by)]
    said = []
    for name, levels in rows.groupby("corruption", sort=False):
        worse = levels[levels["change_high"] < 0]
        said.append(
            f"{name} from {worse['level'].iat[0]:g} on" if len(worse) else f"{name} nowhere"
        )
    return ", ".join(said)


def claim(matrix: pd.DataFrame, control: str, groups: int, unit: str) -> Claim:
    """That a detector tells manipulations that it did not learn from real images, on average; with a single
    manipulation, that it tells the one that it learned."""
    rows = matrix[matrix["input"] == control]
    others = rows[rows["training_manipulation"] == "each"]
    row = (rows if others.empty else others).iloc[0]
    learned = (
        "the manipulation that it learned"
        if others.empty
        else "manipulations that it did not learn"
    )
    return Claim(
        f"AUC of a small defocus-map detector on {learned} exceeds chance",
        float(row["value"]),
        float(row["low"]),
        float(row["high"]),
        groups,
        compared_with=0.5,
        unit=unit,
        seeds=1,
        style=".2f",
    )
