"""Whether the files give the label away: a model that reads facts about files, not their pixels.

A detector that is trained where real images are JPEG and fake ones PNG, or where they differ in
size, may learn just that (shortcut learning, Geirhos et al. 2020). A small random forest on the
facts of :mod:`defocus_lib.data.file_facts` alone, cross-validated by group, shows how far such
facts lead.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from defocus_lib.data.file_facts import NAMES
from defocus_lib.stats.auc import weighted_auc
from defocus_lib.stats.bootstrap import bootstrap, formatted

BOUND, LEAST_LOW = 0.75, 0.6
"""Facts give the label away from this AUC on, if the low end of its interval is above the second.
"""
BOUND_OF_BYTES, LEAST_LOW_OF_BYTES = 0.9, 0.8
"""The same with bytes per pixel, which depend on the picture too: a manipulation that smooths an
image makes its file smaller, though both were stored alike."""
BYTES = "bytes_per_pixel"
BY_CHANCE = 2.6
"""Standard errors of an AUC of 0.5 that an AUC must be above 0.5: one in 200 is by chance."""
LEAST_GROUPS = 5
"""Groups of each class below which nothing is said: even a perfect AUC may be chance."""
DIGESTS = ("tables", "profile")  # of which a reader sees 8 digits
ALMOST = 0.01
"""Of facts whose AUC are so near to the highest, one that a person can read is named."""
IMAGES = 4000  # of each comparison; more change an AUC by less than 0.01
FOLDS, TREES = 5, 40
N_BOOTSTRAP = 500
COLUMNS = [
    *("manipulation", "images", "groups", "by_chance"),
    *("auc", "low", "high", "stored_auc", "stored_low", "stored_high"),
    *("fact", "fact_auc", "fact_low", "fact_high", "in_real", "in_fake"),
]


def file_shortcuts(records: pd.DataFrame, facts: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """How well facts about the files alone tell each manipulation from the real images.

    Parameters
    ----------
    records, facts : DataFrame
        Of one :class:`defocus_lib.data.index.Index`, row by row.
    seed : int
        Of the images that are drawn where there are many, of the folds and of the forest.

    Returns
    -------
    DataFrame
        One row per manipulation: images; groups; by_chance, the AUC that chance alone hardly
        reaches; auc [low, high] of all facts, stored_auc [stored_low, stored_high] of those without
        bytes per pixel; the fact that tells most by itself (almost most, where that is a digest),
        with its AUC, and what is typical in real and fake files: the median of a number, the most
        frequent text. NaN, and no fact, where a class has fewer than :data:`LEAST_GROUPS` groups;
        0.5 where the files do not differ.
    """
    real = records["label"] == 0
    rows = []
    for name in records.loc[~real, "manipulation"].unique():
        chosen = records[real | (records["manipulation"] == name)]
        drawn = _draw(chosen, seed)
        rows.append((name, *_compare(drawn, facts.loc[drawn.index], seed)))
    return pd.DataFrame(rows, columns=COLUMNS)


def gives_away(table: pd.DataFrame) -> pd.Series:
    """For each row of :func:`file_shortcuts`, whether its files give the label away."""
    stored = (table["stored_auc"] >= BOUND) & (table["stored_low"] > LEAST_LOW)
    by_bytes = (table["auc"] >= BOUND_OF_BYTES) & (table["low"] > LEAST_LOW_OF_BYTES)
    beyond_chance = table[["auc", "stored_auc"]].gt(table["by_chance"], axis="index")
    return stored & beyond_chance["stored_auc"] | by_bytes & beyond_chance["auc"]


def giveaway_auc(table: pd.DataFrame) -> float:
    """The highest AUC of the manipulations whose files give the label away; 0 if none do."""
    flagged = table.loc[gives_away(table), ["auc", "stored_auc"]]
    return float(flagged.max().max()) if len(flagged) else 0.0


def described(table: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`file_shortcuts` for readers: AUC as text, facts by their names."""

    def texts(name: str) -> list[str]:
        prefix = name.removesuffix("auc")
        return list(map(formatted, table[name], table[f"{prefix}low"], table[f"{prefix}high"]))

    telling = table["fact_low"] > 0.5
    text = {
        "gives the label away": np.where(gives_away(table), "yes", "no"),
        "AUC of all facts": texts("auc"),
        "without bytes per pixel": texts("stored_auc"),
        "most telling fact": table["fact"].map(NAMES).where(telling, "none"),
        "its AUC": texts("fact_auc"),
        "in real files": table["in_real"],
        "in fake files": table["in_fake"],
    }
    shown = table[["manipulation"]].assign(**text, images=table["images"], groups=table["groups"])
    shown.loc[~telling, ["its AUC", "in real files", "in fake files"]] = ""
    shown.loc[table["auc"].isna(), list(text)] = ["not known", "too few images", *[""] * 5]
    return shown.set_index("manipulation")


def _draw(records: pd.DataFrame, seed: int) -> pd.DataFrame:
    """At most :data:`IMAGES` records, half of each class, from as many groups as possible."""
    shuffled = records.sample(frac=1, random_state=seed)
    turn = shuffled.groupby(["label", "group"]).cumcount()
    by_turn = shuffled.loc[turn.sort_values(kind="stable").index]
    return by_turn.groupby("label").head(IMAGES // 2).sort_index()


def _compare(records: pd.DataFrame, facts: pd.DataFrame, seed: int) -> tuple:
    """A row of :func:`file_shortcuts` without the name."""
    labels, groups = records["label"].to_numpy(), records["group"].to_numpy(dtype=str)
    sizes = [len(np.unique(groups[labels == kind])) for kind in (0, 1)]
    about = len(labels), len(np.unique(groups)), _by_chance(*sizes)
    nothing = (np.nan,) * 3
    if min(sizes) < LEAST_GROUPS:
        return *about, *nothing, *nothing, "", *nothing, "", ""
    numbers = as_numbers(facts)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    parts = list(folds.split(labels, labels, groups))
    options = {"class_weight": "balanced", "random_state": seed}
    tree = DecisionTreeClassifier(max_leaf_nodes=8, **options)
    forest = RandomForestClassifier(TREES, min_samples_leaf=2, **options)

    def scores(model: ClassifierMixin, names: list[str]) -> np.ndarray:
        if not names:
            return np.zeros(len(labels))
        values = numbers[names].to_numpy()
        return cross_val_predict(model, values, labels, cv=parts, method="predict_proba")[:, 1]

    def interval(values: np.ndarray) -> tuple[float, float, float]:
        statistic = weighted_auc(labels, values)
        return bootstrap(statistic, labels, groups, N_BOOTSTRAP, seed).scalars

    stored = [name for name in numbers if name != BYTES]
    alone = {name: scores(tree, [name]) for name in numbers}
    most = _most_telling({name: float(roc_auc_score(labels, alone[name])) for name in alone})
    together = [interval(scores(forest, names)) for names in (list(numbers), stored)]
    if not most:
        return *about, *together[0], *together[1], "", *nothing, "", ""
    typical = [_typical(facts.loc[labels == kind, most]) for kind in (0, 1)]
    return *about, *together[0], *together[1], most, *interval(alone[most]), *typical


def _most_telling(aucs: dict[str, float]) -> str:
    """The fact with the highest AUC, or another that is almost as high and no digest; "" of none.

    >>> _most_telling({"tables": 0.96, "quality": 0.955, "width": 0.94})
    'quality'
    """
    near = [name for name in aucs if aucs[name] >= max(aucs.values()) - ALMOST]
    return max(near, key=lambda name: (name not in DIGESTS, aucs[name]), default="")


def _typical(values: pd.Series) -> str:
    if values.dtype.kind in "iuf":
        return "none" if values.isna().all() else f"{values.median():.4g}"
    return str(values.mode().iloc[0]) or "none"


def _by_chance(real: int, fake: int) -> float:
    """The AUC that is so many standard errors above 0.5, by the variance of Mann & Whitney."""
    variance = (real + fake + 1) / (12 * real * fake) if real and fake else np.inf
    return 0.5 + BY_CHANCE * float(np.sqrt(variance))


def as_numbers(facts: pd.DataFrame) -> pd.DataFrame:
    """The facts that differ between files, as float64 for trees.

    Texts are numbered by how frequent they are. Those that occur once share a number, because they
    can't tell other files anything. A missing number is -1.
    """
    varying = [name for name in facts if facts[name].nunique(dropna=False) > 1]
    columns = {
        name: _numbered(facts[name])
        if facts[name].dtype.kind not in "biuf"
        else facts[name].fillna(-1).astype(np.float64)
        for name in varying
    }
    return pd.DataFrame(columns, index=facts.index)


def _numbered(texts: pd.Series) -> pd.Series:
    counts = texts.value_counts()
    # Equally frequent ones by name: the order of rows, real images first, would tell the label.
    order = sorted(counts.index[counts > 1], key=lambda text: (-counts[text], text))
    numbers = {text: float(number) for number, text in enumerate(order)}
    return texts.map(numbers).fillna(float(len(order)))
