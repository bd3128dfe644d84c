"""AUC of one small detector on the maps of each preset and on the true blur.

The error of a map is measured on real test images, whose true blur is known; the AUC of its
detector on the same images and the manipulated images paired with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from defocus_lib.analysis.map_accuracy import ERROR, SPEARMAN, map_errors
from defocus_lib.data.records import REAL
from defocus_lib.detect import sweep
from defocus_lib.detect.control_inputs import Maps
from defocus_lib.detect.sweep import Run, Sweep
from defocus_lib.run.artifacts import Folder
from defocus_lib.scenes.rendered import true_maps, true_regions
from defocus_lib.stats import auc
from defocus_lib.stats.auc import Predictions
from defocus_lib.stats.bootstrap import NO_BREAK, Estimate, bootstrap_mean, formatted_rows
from defocus_lib.stats.claims import Claim

if TYPE_CHECKING:
    from distributed import Client

PRESETS = ("released", "published", "physical", "learned")
TRUE = "true sigma"
ONE_SEED = ("released", "published")  # no claim rests on them
UNCERTAIN = "+uncertainty"  # of normalisations that only some presets can feed
WITH_UNCERTAINTY = "{} with its uncertainty"
INTERVAL = ("value", "low", "high")


@dataclass(frozen=True)
class TrueMaps:
    """The true blur of the images of a run in the place of a cache of maps."""

    folder: Folder
    preset: str = TRUE

    def stack(self, records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """True sigma (N, H, W) float32 in px of the records; and no edges, (N, H, W) bool."""
        dense = true_maps(self.folder, records["id"].tolist())
        return dense, np.zeros(dense.shape, dtype=bool)


def run(
    common: Sweep,
    sources: Mapping[str, Maps],
    seeds: Sequence[int],
    uncertain: Sequence[str] = (),
    client: Client | None = None,
    folder: Path | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train the same detectors on each kind of map and manipulation, and predict its test images.

    ``common`` holds everything but the maps, which ``sources`` has by preset. The maps of the
    presets ``uncertain`` are read a second time with their uncertainty, for the first manipulation.
    Those of :data:`ONE_SEED` are read with the first of the ``seeds`` alone. ``client``,
    ``folder``, ``progress`` and the table are those of :func:`sweep.train_and_test`; the table has
    a further column ``map``: the preset, and whether its uncertainty was read.
    """
    parts = trainings(common, sources, seeds, uncertain)
    predictions = sweep.train_and_test(parts, client, folder, progress)
    preset = predictions["preset"]
    both = predictions["normalisation"].str.endswith(UNCERTAIN)
    return predictions.assign(map=preset.mask(both, preset.map(WITH_UNCERTAINTY.format)))


def trainings(
    common: Sweep, sources: Mapping[str, Maps], seeds: Sequence[int], uncertain: Sequence[str] = ()
) -> list[tuple[Sweep, list[Run]]]:
    """The detectors that :func:`run` trains: their runs, by manipulation and kind of map."""
    parts = []
    for number, manipulation in enumerate(sweep.training_manipulations(common.records)):
        records = common.records[common.records["manipulation"].isin([REAL, manipulation])]
        for preset, source in sources.items():
            chosen = seeds[:1] if preset in ONE_SEED else seeds
            runs = [Run("defocus", manipulation, seed) for seed in chosen]
            alone = replace(common, records=records, cache=source)
            parts.append((alone, runs))
            if preset in uncertain and number == 0:
                both = common.normalisation + UNCERTAIN
                parts.append((replace(alone, normalisation=both), runs))
    return parts


def by_map(
    table: pd.DataFrame, maps: Iterable[str], manipulations: Iterable[str]
) -> dict[str, Predictions]:
    """Predictions that :func:`run` returns, named ``map|manipulation``, in the order given."""
    parts = dict(iter(table.groupby(["map", "training_manipulation"])))
    return {
        f"{name}|{manipulation}": auc.predictions_of(parts[name, manipulation])
        for name, manipulation in product(maps, manipulations)
    }


def auc_table(predictions: Mapping[str, Predictions], resamples: pd.DataFrame) -> pd.DataFrame:
    """AUC by map and manipulation, columns of these names and those of :func:`auc.summary`.

    ``predictions`` are named by :func:`by_map`; their ``resamples`` are of :func:`auc.resampled`.
    """
    table = auc.summary(predictions, resamples)
    names = [str(name).split("|", 1) for name in table.index]
    keys = pd.DataFrame(names, columns=["map", "manipulation"])
    return pd.concat([keys, table.reset_index(drop=True)], axis=1)


def gains(
    predictions: Mapping[str, Predictions], resamples: pd.DataFrame, name: str, other: str
) -> pd.DataFrame:
    """AUC on the map ``name`` minus that on another: value, low, high per manipulation."""
    rows = {}
    for key in predictions:
        name_of_map, manipulation = key.split("|", 1)
        if name_of_map == name:
            others = [f"{other}|{manipulation}"]
            rows[manipulation] = auc.differences(predictions, resamples, key, others).iloc[0]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("manipulation")


def gain_claims(gain: pd.DataFrame, statement: str, **counts) -> list[Claim]:
    """A claim per manipulation of :func:`gains`, whose name replaces ``{}`` in the statement.

    ``counts`` are the groups, seeds and epochs of :class:`Claim`, and its unit.
    """
    return [
        Claim(statement.format(name), value, low, high, **counts)
        for name, value, low, high in gain[list(INTERVAL)].itertuples()
    ]


def errors_of_images(
    records: pd.DataFrame, sources: Mapping[str, Maps], truth: TrueMaps
) -> pd.DataFrame:
    """Error of each map and image against its true blur: columns error (px), Spearman, map, group.

    The rank correlation of a constant map is 0.
    """
    sigma, _ = truth.stack(records)
    known, parts = np.ones(sigma.shape[1:], dtype=bool), []
    for name, source in sources.items():
        dense, _ = source.stack(records)
        errors = pd.DataFrame(
            [map_errors(*maps, known) for maps in zip(dense, sigma, strict=True)]
        ).fillna({SPEARMAN: 0.0})
        parts.append(errors.assign(map=name, group=records["group"].to_numpy()))
    return pd.concat(parts, ignore_index=True)


def error_table(images: pd.DataFrame, n_bootstrap: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Mean of :func:`errors_of_images` with its interval by group: one row per map.

    Columns ``(error (px) or Spearman; value, low or high)``.
    """
    columns = pd.MultiIndex.from_product([(ERROR, SPEARMAN), INTERVAL])
    rows = {}
    for name, errors in images.groupby("map", sort=False):
        mean = bootstrap_mean(errors[[ERROR, SPEARMAN]], errors["group"], n_bootstrap, seed)
        rows[name] = np.stack([mean.value, mean.low, mean.high], axis=1).ravel()
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("map")


def error_difference(
    images: pd.DataFrame, name: str, other: str, n_bootstrap: int = 2000, seed: int = 0
) -> Estimate:
    """Error (px) of the map ``name`` less that of another on the same images."""
    errors, others = (images[images["map"] == each] for each in (name, other))
    differences = errors[ERROR].to_numpy() - others[ERROR].to_numpy()
    return bootstrap_mean(differences, errors["group"], n_bootstrap, seed)


def region_changes(
    records: pd.DataFrame, sources: Mapping[str, Maps], folder: Folder
) -> pd.DataFrame:
    """Change of each map by a manipulation, from the paired real image, over the region: px.

    Of the records, manipulated images whose paired real image is among them count; their
    manipulated pixels must be known in the ``folder``. Columns map, manipulation; mean and spread
    (standard deviation) over the images.
    """
    by_id, rows = records.set_index("id", drop=False), []
    paired = records[(records["label"] == 1) & records["pair"].isin(records["id"])]
    for (name, source), (manipulation, fakes) in product(
        sources.items(), paired.groupby("manipulation", sort=False)
    ):
        after, before = (source.stack(each)[0] for each in (fakes, by_id.loc[fakes["pair"]]))
        regions = true_regions(folder, fakes["id"].tolist(), after.shape[-1])
        change = ((after - before) * regions).sum((1, 2)) / np.maximum(regions.sum((1, 2)), 1)
        rows.append((name, manipulation, float(change.mean()), float(change.std())))
    return pd.DataFrame(rows, columns=["map", "manipulation", "mean", "spread"])


def accuracy_correlation(table: pd.DataFrame, errors: pd.Series) -> pd.Series:
    """Rank correlation over the maps of AUC with the negative error, per manipulation.

    ``table`` is an :func:`auc_table`; ``errors`` are in px by map, and maps without one do not
    count. 0 where all AUC are equal.
    """
    wide = table.pivot(index="manipulation", columns="map", values="value")
    wide = wide.loc[table["manipulation"].unique(), errors.index]
    return wide.T.rank().corrwith(-errors.rank()).fillna(0.0)


def auc_shown(table: pd.DataFrame) -> pd.DataFrame:
    """AUC with its interval as text for a page: one row per map, one column per manipulation."""
    return _wide(table, formatted_rows(table))


def errors_shown(errors: pd.DataFrame) -> pd.DataFrame:
    """An :func:`error_table` as text for a page."""
    return pd.DataFrame({name: formatted_rows(errors[name]) for name in (ERROR, SPEARMAN)})


def gains_shown(differences: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Several :func:`gains`, each by its name, as text for a page: one row per manipulation."""
    return pd.DataFrame({name: formatted_rows(gain, "+.2f") for name, gain in differences.items()})


def changes_shown(changes: pd.DataFrame) -> pd.DataFrame:
    """:func:`region_changes` as text: one row per map, mean and spread (px) in each cell."""
    numbers = zip(changes["mean"], changes["spread"], strict=True)
    cells = [f"{mean:+.2f}{NO_BREAK}±{NO_BREAK}{spread:.2f}" for mean, spread in numbers]
    return _wide(changes, pd.Series(cells, changes.index))


def _wide(table: pd.DataFrame, cells: pd.Series) -> pd.DataFrame:
    """One cell per row of the table, by map and manipulation, both in its order."""
    wide = table.assign(cell=cells).pivot(index="map", columns="manipulation", values="cell")
    return wide.loc[table["map"].unique(), table["manipulation"].unique()]
