"""Does a better defocus map make a better detector? One small detector, one budget, maps of every preset and the truth.

The error of a map is measured on real test images, whose true blur is known; what its detector is worth on the same
images and their manipulated twins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from defocus_lib.analysis.map_accuracy import map_errors
from defocus_lib.data.records import REAL
from defocus_lib.detect import sweep
from defocus_lib.detect.sweep import Maps, Run, Sweep
from defocus_lib.run.artifacts import Folder
from defocus_lib.scenes.rendered import true_maps, true_regions
from defocus_lib.stats import auc
from defocus_lib.stats.auc import Predictions
from defocus_lib.stats.bootstrap import bootstrap_mean, formatted_rows
from defocus_lib.stats.effects import listed

if TYPE_CHECKING:
    from distributed import Client

PRESETS = ("released", "published", "physical", "learned")
TRUE = "true sigma"
SURE = "map and uncertainty"  # a control that only some presets can feed
WITH_UNCERTAINTY = "{} with its uncertainty"
ERROR, SPEARMAN = "error (px)", "Spearman"


@dataclass(frozen=True)
class TrueMaps:
    """The true blur of the images of a run, where a cache of maps is wanted. Nothing is detected, so no edges are."""

    folder: Folder
    preset: str = TRUE

    def stack(self, records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """True sigma ``(N, H, W)`` float32 in px of the images of the records; and no edges ``(N, H, W)`` bool."""
        dense = true_maps(self.folder, records["id"].tolist())
        return dense, np.zeros(dense.shape, dtype=bool)


def run(
    series: Sweep,
    sources: Mapping[str, Maps],
    seeds: Sequence[int],
    uncertain: Sequence[str] = (),
    client: Client | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train the same detectors on each kind of map, one manipulation at a time, and ask them about that one.

    Parameters
    ----------
    series : Sweep
        Everything but the maps.
    sources : mapping of str to Maps
        By preset.
    seeds : sequence of int
    uncertain : sequence of str
        Presets whose maps are read a second time with their uncertainty.
    client, progress
        See :func:`defocus_lib.detect.sweep.run`.

    Returns
    -------
    DataFrame
        As :meth:`defocus_lib.detect.sweep.Sweep.predictions`, and the column map: the preset, and whether uncertainty was read.
    """
    wanted = []
    for name in sweep.training_manipulations(series.records):
        records = series.records[series.records["manipulation"].isin([REAL, name])]
        for preset, source in sources.items():
            controls = ("defocus", SURE) if preset in uncertain else ("defocus",)
            some = [Run(control, name, seed) for control in controls for seed in seeds]
            wanted.append((replace(series, records=records, cache=source), some))
    answers = sweep.run_all(wanted, client, progress)
    sure = answers["input"] == SURE
    return answers.assign(
        map=answers["preset"].where(~sure, answers["preset"].map(WITH_UNCERTAINTY.format))
    )


def by_map(
    answers: pd.DataFrame, maps: Iterable[str], manipulations: Iterable[str]
) -> dict[str, Predictions]:
    """The answers that :func:`run` returns, by map and manipulation, named ``map|manipulation``, in the order given."""
    found = {key: rows for key, rows in answers.groupby(["map", "training_manipulation"])}
    return {
        f"{one}|{name}": auc.predictions_of(found[one, name])
        for one, name in product(maps, manipulations)
    }


def auc_table(answers: Mapping[str, Predictions], draws: pd.DataFrame) -> pd.DataFrame:
    """AUC of each map and manipulation: columns map, manipulation, value, low, high, seeds, lowest, highest.

    Parameters
    ----------
    answers : mapping
        As :func:`by_map` names them.
    draws : DataFrame
        As :func:`defocus_lib.stats.auc.resampled` makes them of these answers.
    """
    return _named(auc.summary(answers, draws))


def gains(
    answers: Mapping[str, Predictions], draws: pd.DataFrame, one: str, other: str
) -> pd.DataFrame:
    """AUC on one map minus that on another: one row a manipulation; value, low, high (95 %)."""
    names = [name.partition("|")[2] for name in answers if name.startswith(f"{one}|")]
    rows = {
        name: auc.differences(answers, draws, f"{one}|{name}", [f"{other}|{name}"]).iloc[0]
        for name in names
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("manipulation")


def _named(table: pd.DataFrame) -> pd.DataFrame:
    names = pd.DataFrame(
        [name.split("|", 1) for name in table.index], columns=["map", "manipulation"]
    )
    return pd.concat([names, table.reset_index(drop=True)], axis=1)


def errors_of_images(
    records: pd.DataFrame, sources: Mapping[str, Maps], truth: TrueMaps
) -> pd.DataFrame:
    """How far the map of each image is from its true blur: one row a map and image; map, group, error (px), Spearman.

    The rank correlation of a constant map is 0: it orders nothing.
    """
    sigma, _ = truth.stack(records)
    known, rows = np.ones(sigma.shape[1:], dtype=bool), []
    for name, source in sources.items():
        dense, _ = source.stack(records)
        found = pd.DataFrame(
            [map_errors(one, true, known) for one, true in zip(dense, sigma, strict=True)]
        )
        rows.append(
            found.fillna({SPEARMAN: 0.0}).assign(map=name, group=records["group"].to_numpy())
        )
    return pd.concat(rows, ignore_index=True)


def error_table(images: pd.DataFrame, n_bootstrap: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Mean error of each map with its interval by group: index map; columns ``(error (px) or Spearman, value ...)``.

    Parameters
    ----------
    images : DataFrame
        As :func:`errors_of_images` returns them.
    """
    rows = {}
    for name, found in images.groupby("map", sort=False):
        mean = bootstrap_mean(found[[ERROR, SPEARMAN]], found["group"], n_bootstrap, seed)
        rows[name] = {
            (column, part): getattr(mean, part)[number]
            for number, column in enumerate((ERROR, SPEARMAN))
            for part in _PARTS
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("map")


_PARTS = ("value", "low", "high")


def nearer(
    images: pd.DataFrame, one: str, other: str, n_bootstrap: int = 2000, seed: int = 0
) -> tuple[float, ...]:
    """By how many px the error of one map is below that of another on the same images: value, low, high."""
    ours, theirs = (images[images["map"] == name] for name in (one, other))
    differences = theirs[ERROR].to_numpy() - ours[ERROR].to_numpy()
    return bootstrap_mean(differences, ours["group"], n_bootstrap, seed).scalars


def region_changes(
    records: pd.DataFrame, sources: Mapping[str, Maps], folder: Folder
) -> pd.DataFrame:
    """What each map makes of a manipulation: its mean over the region less that of the same pixels in the real image.

    Parameters
    ----------
    records : DataFrame
        Manipulated images with pairs, and the real images that they are made of; others do not count.
    sources : mapping of str to Maps
    folder : Folder
        Of a run whose manipulated pixels are known.

    Returns
    -------
    DataFrame
        map, manipulation, and of the change (px) over the images: mean, spread (standard deviation).
    """
    by_id, rows = records.set_index("id", drop=False), []
    paired = records[(records["label"] == 1) & records["pair"].isin(records["id"])]
    for (name, source), (manipulation, fakes) in product(
        sources.items(), paired.groupby("manipulation", sort=False)
    ):
        after, before = (source.stack(some)[0] for some in (fakes, by_id.loc[fakes["pair"]]))
        regions = true_regions(folder, fakes["id"].tolist(), after.shape[-1])
        change = ((after - before) * regions).sum((1, 2)) / np.maximum(regions.sum((1, 2)), 1)
        rows.append((name, manipulation, float(change.mean()), float(change.std())))
    return pd.DataFrame(rows, columns=["map", "manipulation", "mean", "spread"])


def order(table: pd.DataFrame, errors: pd.Series) -> pd.Series:
    """Rank correlation of AUC with accuracy (the error, its sign turned) over the maps: one number a manipulation.

    Parameters
    ----------
    table : DataFrame
        As :func:`auc_table` returns it; maps without an error do not count.
    errors : Series
        px, by map.
    """
    wide = table.pivot(index="manipulation", columns="map", values="value")
    wide = wide.loc[table["manipulation"].unique(), errors.index]
    return wide.T.rank().corrwith(-errors.rank()).fillna(0.0)  # where all are equal, nothing rises


def auc_shown(table: pd.DataFrame) -> pd.DataFrame:
    """AUC with its interval as text for a page: one row a map, one column a manipulation."""
    cells = table.assign(AUC=formatted_rows(table))
    wide = cells.pivot(index="map", columns="manipulation", values="AUC")
    return wide.loc[table["map"].unique(), table["manipulation"].unique()]


def errors_shown(errors: pd.DataFrame) -> pd.DataFrame:
    """An :func:`error_table` as text for a page."""
    return pd.DataFrame({name: formatted_rows(errors[name]) for name in (ERROR, SPEARMAN)})


def gains_shown(differences: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Differences as :func:`gains` returns them, each by its name, as text for a page: one row a manipulation."""
    return pd.DataFrame(
        {
            name: pd.Series({key: _signed(row) for key, row in table.iterrows()})
            for name, table in differences.items()
        }
    ).rename_axis("manipulation")


def changes_shown(changes: pd.DataFrame) -> pd.DataFrame:
    """:func:`region_changes` as text for a page: one row a map, mean and spread in px in each cell."""
    cells = [
        f"{row['mean']:+.2f} \N{PLUS-MINUS SIGN} {row['spread']:.2f}"
        for _, row in changes.iterrows()
    ]
    text = changes.assign(cell=[cell.replace(" ", "\N{NO-BREAK SPACE}") for cell in cells])
    wide = text.pivot(index="map", columns="manipulation", values="cell")
    return wide.loc[changes["map"].unique(), changes["manipulation"].unique()]


def _signed(row: pd.Series) -> str:
    return f"{row['value']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]".replace(
        " ", "\N{NO-BREAK SPACE}"
    )


def verdict(
    table: pd.DataFrame,
    gain: pd.DataFrame,
    better: tuple[float, ...] | None,
    ranks: pd.Series | None,
) -> str:
    """Does the better map make the better detector? In words that the numbers choose.

    Parameters
    ----------
    table : DataFrame
        As :func:`auc_table` returns it, with the maps ``learned`` and ``physical``.
    gain : DataFrame
        AUC on ``learned`` minus that on ``physical``, as :func:`gains` returns it.
    better : (value, low, high), optional
        By how many px the error of ``learned`` is below that of ``physical``; None where the truth is not known.
    ranks : Series, optional
        As :func:`order` returns it; None where the truth is not known.
    """
    seen = _seen(table, "learned")[gain.index] | _seen(table, "physical")[gain.index]
    up, down = seen & (gain["low"] > 0), seen & (gain["high"] < 0)
    parts = {
        "does better on it for {}": up,
        "does worse on it for {}": down,
        "does about as well on either, within the intervals, for {}": seen & ~up & ~down,
        "can't be told from guessing on either for {}": ~seen,
    }
    ahead = f"the same detector {_said(parts)}"
    if better is None:
        return f"How far a map is from the truth, nobody knows here. On the learned map, beside the physical one, {ahead}."
    if better[1] <= 0:
        said = (
            "can't be shown to be nearer to the truth than"
            if better[2] >= 0
            else "is farther from the truth than"
        )
        return (
            f"The learned map {said} the physical one, so these two do not answer the question. On the learned map, "
            f"beside the physical one, {ahead}. {_in_order(ranks)}"
        )
    answer = "Yes" if up.any() and up[seen].all() else "In part" if up.any() else "No"
    return f"{answer}. The learned map is nearer to the truth than the physical one; {ahead}. {_in_order(ranks)}"


def _seen(table: pd.DataFrame, name: str) -> pd.Series:
    """Whether a detector on this map can be told from guessing: one bool a manipulation."""
    rows = table[table["map"] == name].set_index("manipulation")
    return rows["low"] > 0.5


def _said(parts: Mapping[str, pd.Series], between: str = "; ") -> str:
    """The sentences that hold of some manipulation, with those that they hold of."""
    return between.join(
        text.format(listed(chosen.index, chosen)) for text, chosen in parts.items() if chosen.any()
    )


def _in_order(ranks: pd.Series) -> str:
    """Over all presets, not only two of them."""
    parts = {
        "it rises at every step for {}": ranks > 0.999,
        "it mostly rises for {}": (ranks > 0) & (ranks <= 0.999),
        "it does not rise for {}": ranks <= 0,
    }
    return f"AUC over all presets, from the least to the most accurate map: {_said(parts)}."


def ceiling(table: pd.DataFrame, left: pd.DataFrame) -> str:
    """What the true blur would give: where it leaves room above ``learned``, and where it has nothing to tell.

    Parameters
    ----------
    table : DataFrame
        As :func:`auc_table` returns it, with the maps ``learned`` and :data:`TRUE`.
    left : DataFrame
        AUC on the truth minus that on ``learned``, as :func:`gains` returns it.
    """
    told, found = (_seen(table, name)[left.index] for name in (TRUE, "learned"))
    parts = {
        "The true blur does better still for {}: a better map than the learned one would help.": told
        & (left["low"] > 0),
        "The true blur does no better than the learned map, within the intervals, for {}.": told
        & (left["low"] <= 0)
        & (left["high"] >= 0),
        "The learned map does better than the true blur for {}: it also shows something else than blur.": told
        & (left["high"] < 0),
        "The true blur says nothing of {}, so what the learned map shows of it is not defocus.": ~told
        & found,
        "The true blur says nothing of {}, and neither does the learned map.": ~told & ~found,
    }
    return _said(parts, " ")


def stands_out(changes: pd.DataFrame, manipulation: str) -> str:
    """On which of two maps a manipulation stands out more, beside what it varies from image to image.

    Parameters
    ----------
    changes : DataFrame
        As :func:`region_changes` returns it, with the maps ``learned`` and ``physical``.
    manipulation : str
    """
    rows = (
        changes[changes["manipulation"] == manipulation]
        .set_index("map")
        .loc[["learned", "physical"]]
    )
    share = (rows["mean"].abs() / rows["spread"].clip(lower=1e-9)).round(1)
    told = [
        f"{row['mean']:+.2f} px on the {name} map, with a spread of {row['spread']:.2f} px"
        for name, row in rows.iterrows()
    ]
    end = (
        f"beside its spread it stands out more on the {share.idxmax()} map"
        if share.nunique() > 1
        else "beside its spread it stands out on both alike"
    )
    return f"The change that {manipulation} makes in its region is {', and '.join(told)}: {end}."


def second_channel(gain: pd.DataFrame) -> str:
    """Whether uncertainty helps the detector; ``gain`` is AUC with it minus without, as :func:`gains` returns it."""
    up, down = gain["low"] > 0, gain["high"] < 0
    parts = {
        "it helps for {}": up,
        "it harms for {}": down,
        "it makes no difference that the intervals could show for {}": ~up & ~down,
    }
    return f"The uncertainty as a second channel: {_said(parts)}."
