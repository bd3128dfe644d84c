"""Contrast of blur as a detector without training, beside a model of eight statistics.

The sign is fixed beforehand: a manipulated region is claimed to be blurrier than its surroundings,
compared with real images. An AUC below 0.5 means the opposite, and is not turned around.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from defocus_lib.analysis.blur_statistics import (
    CHUNK,
    EDGES,
    IN_UNCERTAINTIES,
    SCALES,
    STATISTICS,
    Part,
)
from defocus_lib.data.records import REAL
from defocus_lib.detect.control_inputs import Maps
from defocus_lib.stats import auc
from defocus_lib.stats.auc import Predictions
from defocus_lib.stats.bootstrap import bootstrap_mean, formatted_rows
from defocus_lib.stats.claims import Claim

CONTRAST, UNCERTAIN = "contrast", "contrast in uncertainties"
TWO_SIDED, FEWER_EDGES = "contrast, either sign", "fewer edges in the region"
EIGHT = "eight statistics"
FOLDS = 5
KEYS = ["preset", "scale", "score"]
INTERVAL = ["value", "low", "high"]


class Validated(NamedTuple):
    """A model that predicted each image without having seen its group."""

    logits: np.ndarray
    """``(N,)`` float64, in the order of the images."""
    coefficients: pd.DataFrame
    """One row per fold, one column per statistic: log odds per standard deviation."""


Splits = Sequence[tuple[np.ndarray, np.ndarray]]
"""Training and test rows of each fold."""


def of_kind(measured: pd.DataFrame, manipulation: str, scale: str = "px") -> pd.DataFrame:
    """The rows of one scale of the real images and of those of one manipulation, sorted by id.

    ``measured`` is what :func:`defocus_lib.analysis.blur_statistics.measure` returns.
    """
    is_kind = measured["manipulation"].isin([REAL, manipulation])
    chosen = measured[is_kind & (measured["scale"] == scale)]
    return chosen.sort_values("id", ignore_index=True)


def splits_of(rows: pd.DataFrame, folds: int = FOLDS) -> Splits:
    """Folds of the rows of :func:`of_kind`, such that no group is in training and test rows.

    At most ``folds``, fewer if a class has fewer groups, none if it has fewer than two. Classes are
    spread as evenly as groups allow.
    """
    least = int(rows.groupby("label")["group"].nunique().min())
    if rows["label"].nunique() < 2 or least < 2:
        return []
    splitter = StratifiedGroupKFold(min(folds, least))
    return list(splitter.split(rows, rows["label"], rows["group"]))


def cross_validated(rows: pd.DataFrame, splits: Splits) -> Validated:
    """Logistic regression of the eight :data:`STATISTICS`, cross-validated by group.

    ``rows`` are of :func:`of_kind`, ``splits`` of :func:`splits_of`. Statistics are standardised by
    the training rows of a fold; the penalty is the default of scikit-learn (L2, C = 1).
    """
    values, labels = rows[list(STATISTICS)].to_numpy(), rows["label"].to_numpy()
    logits, coefficients = np.empty(len(rows)), []
    for train, test in splits:
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(values[train], labels[train])
        logits[test] = model.decision_function(values[test])
        coefficients.append(model[-1].coef_[0])
    return Validated(logits, pd.DataFrame(coefficients, columns=list(STATISTICS)))


def coefficients(
    measured: pd.DataFrame, manipulations: Iterable[str], folds: int = FOLDS
) -> pd.DataFrame:
    """Coefficients of the model of each manipulation on maps in px, over the folds.

    Columns manipulation, statistic; mean, lowest, highest: log odds per standard deviation.
    """
    parts = []
    for manipulation in manipulations:
        rows = of_kind(measured, manipulation)
        by_fold = cross_validated(rows, splits_of(rows, folds)).coefficients
        table = by_fold.agg(["mean", "min", "max"]).T.rename_axis("statistic").reset_index()
        parts.append(table.rename(columns={"min": "lowest", "max": "highest"}))
        parts[-1].insert(0, "manipulation", manipulation)
    return pd.concat(parts, ignore_index=True)


def scores(
    rows: pd.DataFrame, scale: str, splits: Splits, all_of_them: bool = False
) -> dict[str, np.ndarray]:
    """Scores of the rows of :func:`of_kind` by name, (N,) each: higher = rather manipulated.

    The contrast, and the eight statistics where there are ``splits``. In px there are also, if
    ``all_of_them`` are asked for, the contrast in uncertainties (where they are known), its
    absolute value, and a control without blur.
    """
    named = {CONTRAST: rows["contrast"].to_numpy()}
    if scale == "px" and all_of_them:
        if rows[IN_UNCERTAINTIES].notna().all():
            named[UNCERTAIN] = rows[IN_UNCERTAINTIES].to_numpy()
        named[TWO_SIDED] = rows["contrast"].abs().to_numpy()
        named[FEWER_EDGES] = -rows[EDGES].to_numpy()
    if splits:
        named[EIGHT] = cross_validated(rows, splits).logits
    return named


class Comparison(NamedTuple):
    """Scores of the images of one manipulation and of real ones, and resamples of their AUC.

    Both are named ``preset|scale|score``.
    """

    predictions: dict[str, Predictions]
    resamples: pd.DataFrame

    def difference(self, first: Sequence[str], second: Sequence[str]) -> tuple[float, float, float]:
        """AUC of one (preset, scale, score) less that of another: value, low, high."""
        name, other = "|".join(first), "|".join(second)
        row = auc.differences(self.predictions, self.resamples, name, [other]).iloc[0]
        return float(row["value"]), float(row["low"]), float(row["high"])

    @property
    def groups(self) -> int:
        """How many were resampled."""
        return len(np.unique(next(iter(self.predictions.values())).groups))


def predicted(
    measured: Mapping[str, pd.DataFrame],
    manipulation: str,
    folds: int = FOLDS,
    every_score_of: str = "",
) -> dict[str, Predictions]:
    """The scores of the images of one manipulation and of real ones: ``preset|scale|score``.

    ``measured`` has, by preset, what :func:`defocus_lib.analysis.blur_statistics.measure` returns
    for the same records. All :func:`scores` are those of the preset ``every_score_of``.
    """
    predictions, splits = {}, splits_of(of_kind(next(iter(measured.values())), manipulation), folds)
    for preset, table in measured.items():
        for scale in SCALES:
            rows = of_kind(table, manipulation, scale)
            labels, groups = rows["label"].to_numpy(), rows["group"].to_numpy(dtype=str)
            for name, values in scores(rows, scale, splits, preset == every_score_of).items():
                key = f"{preset}|{scale}|{name}"
                predictions[key] = Predictions(labels, groups, values[None])
    return predictions


def compare(
    measured: Mapping[str, pd.DataFrame],
    manipulation: str,
    folds: int = FOLDS,
    n_bootstrap: int = 2000,
    seed: int = 0,
    every_score_of: str = "",
) -> Comparison:
    """What is :func:`predicted`, and its AUC in resamples of the groups that all scores share."""
    predictions = predicted(measured, manipulation, folds, every_score_of)
    return Comparison(predictions, auc.resampled(predictions, n_bootstrap, seed))


def auc_table(compared: Mapping[str, Comparison]) -> pd.DataFrame:
    """AUC with its 95 % interval by group: columns preset, scale, score, manipulation, value, low,
    high. ``compared`` has a :class:`Comparison` by manipulation."""
    parts = []
    for manipulation, each in compared.items():
        summary = auc.summary(each.predictions, each.resamples)[INTERVAL]
        keys = pd.DataFrame([name.split("|") for name in summary.index], columns=KEYS)
        parts.append(pd.concat([keys, summary.reset_index(drop=True)], axis=1))
        parts[-1].insert(3, "manipulation", manipulation)
    return pd.concat(parts, ignore_index=True)


def auc_shown(table: pd.DataFrame) -> pd.DataFrame:
    """An :func:`auc_table` as text for a page: one column per manipulation.

    Rows are named by preset, scale and score, without those that are the same in all rows.
    """
    varied = [key for key in KEYS if table[key].nunique() > 1] or KEYS[:1]
    return _wide(table[varied].agg(", ".join, axis=1), table, formatted_rows(table))


def paired_differences(
    measured: Mapping[str, pd.DataFrame], n_bootstrap: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Contrast in px of a manipulated image less that of its real image, by preset, manipulation.

    Columns preset, manipulation; value, low, high of the mean, with its interval by group; spread
    (standard deviation); blurrier (share of the pairs in which the manipulated one has the larger
    contrast); pairs. Images without their real image are left out.
    """
    rows = []
    for preset, table in measured.items():
        in_px = table[table["scale"] == "px"].set_index("id")
        fakes = in_px[(in_px["label"] == 1) & in_px["pair"].isin(in_px.index)]
        change = fakes["contrast"] - in_px["contrast"].reindex(fakes["pair"]).to_numpy()
        for manipulation, of_kind in change.groupby(fakes["manipulation"], sort=False):
            groups = fakes.loc[of_kind.index, "group"]
            mean = bootstrap_mean(of_kind.to_numpy(), groups, n_bootstrap, seed)
            spread, larger = float(of_kind.std(ddof=0)), float((of_kind > 0).mean())
            rows.append((preset, manipulation, *mean.scalars, spread, larger, len(of_kind)))
    names = ["preset", "manipulation", *INTERVAL, "spread", "blurrier", "pairs"]
    return pd.DataFrame(rows, columns=names)


def paired_shown(differences: pd.DataFrame) -> pd.DataFrame:
    """:func:`paired_differences` as text: two rows per preset, one column per manipulation."""
    shown = {
        "px": formatted_rows(differences),
        "blurrier": differences["blurrier"].map("{:.0%}".format),
    }
    both = pd.concat([differences] * len(shown), ignore_index=True)
    names = [f"{preset}, {what}" for what in shown for preset in differences["preset"]]
    wide = _wide(pd.Series(names), both, pd.concat(shown.values(), ignore_index=True))
    presets = differences["preset"].unique()
    return wide.loc[[f"{preset}, {what}" for preset in presets for what in shown]]


def _wide(names: pd.Series, table: pd.DataFrame, cells: pd.Series) -> pd.DataFrame:
    """One cell per row of the table, by name and manipulation, both in their order."""
    long = table.assign(name=names, cell=cells)
    wide = long.pivot(index="name", columns="manipulation", values="cell")
    rows, columns = (long[key].unique() for key in ("name", "manipulation"))
    return wide.loc[rows, columns].rename_axis(index=None, columns=None)


def part_contrasts(records: pd.DataFrame, maps: Maps, parts: Sequence[Part]) -> pd.DataFrame:
    """Contrast in px of each image for several central parts, in columns named by their titles.

    ``maps`` are the source of the maps. Before them stand manipulation, label and group.
    """
    contrasts = []
    for first in range(0, len(records), CHUNK):
        rows = records.iloc[first : first + CHUNK]
        sigma, _ = maps.stack(rows)
        inside = [part(rows, sigma.shape[1:]) for part in parts]  # type: ignore[arg-type]
        weights = np.stack([part / part.sum() - ~part / (~part).sum() for part in inside])
        contrasts.append(np.einsum("nhw,phw->np", sigma, weights))
    about = records[["manipulation", "label", "group"]].reset_index(drop=True)
    columns = [part.title for part in parts]
    return pd.concat([about, pd.DataFrame(np.concatenate(contrasts), columns=columns)], axis=1)


def sensitivity(contrasts: pd.DataFrame, parts: Sequence[Part]) -> pd.DataFrame:
    """AUC of :func:`part_contrasts`: columns form, share, manipulation, AUC."""
    table = []
    for manipulation in contrasts.loc[contrasts["label"] == 1, "manipulation"].unique():
        rows = contrasts[contrasts["manipulation"].isin([REAL, manipulation])]
        for part in parts:
            area = float(roc_auc_score(rows["label"], rows[part.title]))
            table.append((part.form, part.share, manipulation, area))
    return pd.DataFrame(table, columns=["form", "share", "manipulation", "AUC"])


def compare_part(
    contrasts: pd.DataFrame, part: Part, preset: str, manipulation: str, **resampling: int
) -> Comparison:
    """A :class:`Comparison` of one column of :func:`part_contrasts`.

    ``resampling`` are ``n_bootstrap`` and ``seed``.
    """
    rows = contrasts[contrasts["manipulation"].isin([REAL, manipulation])]
    groups = rows["group"].to_numpy(dtype=str)
    values = rows[part.title].to_numpy()[None]
    predictions = {f"{preset}|px|{CONTRAST}": Predictions(rows["label"].to_numpy(), groups, values)}
    return Comparison(predictions, auc.resampled(predictions, **resampling))


def claims(compared: Mapping[str, Comparison], preset: str, region: str, unit: str) -> list[Claim]:
    """That the contrast in px exceeds chance, for each manipulation; nothing was trained."""
    made = []
    for manipulation, each in compared.items():
        summary = auc.summary(each.predictions, each.resamples)
        value, low, high = map(float, summary.loc[f"{preset}|px|{CONTRAST}", INTERVAL])
        what = f"Contrast of blur without training, {region}, `{preset}`: AUC on {manipulation}"
        made.append(Claim(what, value, low, high, each.groups, 0.5, unit=unit, style=".2f"))
    return made


def difference_claims(
    compared: Mapping[str, Comparison], preset: str, region: str, unit: str
) -> list[Claim]:
    """That px exceed min-max, and the eight statistics (where there are any) the contrast alone."""
    own = (preset, "px", CONTRAST)
    gains = {
        "px less min-max normalised": (own, (preset, "min-max", CONTRAST)),
        "eight statistics less contrast alone": ((preset, "px", EIGHT), own),
    }
    return [
        Claim(
            f"Contrast of blur, {region}, `{preset}`: AUC on {manipulation}, {name}",
            *each.difference(first, second),
            each.groups,
            unit=unit,
        )
        for name, (first, second) in gains.items()
        for manipulation, each in compared.items()
        if "|".join(first) in each.predictions
    ]
