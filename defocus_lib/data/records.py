"""The one table that everything else reads: one row an image.

Its columns, and what can be asked of it. Nothing here looks at a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from defocus_lib.data.splits import SPLITS, cut

COLUMNS = [
    "id", "path", "label", "manipulation", "video", "frame", "group", "split", "pair", "source", "digest", "width",
    "height",
]  # fmt: skip
REAL = "real"


def counts(records: pd.DataFrame) -> pd.DataFrame:
    """Number of images, manipulation by split; in the order of the records, real first."""
    table = pd.crosstab(records["manipulation"], records["split"])
    names = records.sort_values("label", kind="stable")["manipulation"].unique()
    table = table.reindex(index=names, columns=list(SPLITS), fill_value=0)
    return table.rename_axis(index="manipulation", columns="split")


def has_pairs(records: pd.DataFrame) -> bool:
    """Whether any manipulated image has a real counterpart."""
    return bool(((records["label"] == 1) & (records["pair"] != "")).any())


def choose(records: pd.DataFrame, manipulations: Sequence[str]) -> pd.DataFrame:
    """The real images and those of the named manipulations.

    Raises
    ------
    ValueError
        If a manipulation is not there, or none is named; the message names those that are.
    """
    there = records.loc[records["label"] == 1, "manipulation"].unique().tolist()
    unknown = [name for name in manipulations if name not in there]
    if unknown or not len(manipulations):
        found = f"no image of manipulation {unknown[0]!r}" if unknown else "no manipulation named"
        raise ValueError(f"{found}; there are: {', '.join(there) or 'none'}")
    return records[records["manipulation"].isin([REAL, *manipulations])].reset_index(drop=True)


def sample(records: pd.DataFrame, groups: int, seed: int) -> pd.DataFrame:
    """The records of at most ``groups`` groups a split, drawn by ``seed`` from the sorted names; in their order.

    Where real and manipulated images are in groups of their own, both are drawn, in proportion.

    Raises
    ------
    ValueError
        If ``groups`` is less than 1.
    """
    if groups < 1:
        raise ValueError(f"groups is {groups}; 1 or more wanted")
    chosen = pd.Series(False, index=records.index)
    for number, split in enumerate(SPLITS):
        rows = records[records["split"] == split]
        names = _draw(rows, groups, np.random.default_rng([seed, number]))
        chosen |= (records["split"] == split) & records["group"].isin(names)
    return with_valid_pairs(records[chosen].reset_index(drop=True))


def _draw(rows: pd.DataFrame, groups: int, rng: np.random.Generator) -> list[str]:
    labels = rows.groupby("group")["label"].agg(
        ["min", "max"]
    )  # sorted by name; (0, 1) has real and manipulated
    kinds = [kind.index.tolist() for _, kind in labels.groupby(["min", "max"])]
    sizes = [len(kind) for kind in kinds]
    quotas = cut(min(groups, sum(sizes)), sizes) if kinds else []
    return [
        name
        for kind, quota in zip(kinds, quotas, strict=True)
        for name in rng.permutation(kind)[:quota]
    ]


def missing_pairs(records: pd.DataFrame) -> pd.DataFrame:
    """The manipulated images without their real counterpart: rows of ``records``.

    One should be there if the image names a source video, or if others of its manipulation have theirs.
    """
    fakes = records[records["label"] == 1]
    paired = fakes.loc[fakes["pair"] != "", "manipulation"].unique()
    return fakes[
        (fakes["pair"] == "") & ((fakes["source"] != "") | fakes["manipulation"].isin(paired))
    ]


def missing_fakes(records: pd.DataFrame) -> pd.DataFrame:
    """Frames of a real video that one of its manipulated videos lacks: id of the real frame, manipulation, video.

    A target of which a manipulation has no video at all is not among them.
    """
    real, fakes = (
        records[records["label"] == 0],
        records[(records["label"] == 1) & (records["frame"] != "")],
    )
    found = []
    for (manipulation, video), rows in fakes.groupby(["manipulation", "video"], sort=True):
        twin = real[real["group"] == rows["group"].iat[0]]
        lacking = twin.loc[~twin["frame"].isin(rows["frame"]), "id"]
        found += [(name, manipulation, video) for name in lacking]
    return pd.DataFrame(found, columns=["id", "manipulation", "video"], dtype="str")


def one_sided_splits(records: pd.DataFrame, splits: Sequence[str] = SPLITS) -> list[str]:
    """What is missing where a split has no real or no fake image: such as ``val has no real image``."""
    found = set(zip(records["split"], records["label"], strict=True))
    kinds = list(enumerate(("real", "fake")))
    return [
        f"{split} has no {name} image"
        for split in splits
        for label, name in kinds
        if (split, label) not in found
    ]


def with_valid_pairs(records: pd.DataFrame) -> pd.DataFrame:
    """The records, where a pair whose real image is not among them is no pair."""
    return records.assign(pair=records["pair"].where(records["pair"].isin(set(records["id"])), ""))


def duplicates(records: pd.DataFrame) -> pd.DataFrame:
    """The images whose content occurs more than once, byte for byte.

    Returns
    -------
    DataFrame
        One row an image, the same content together: digest, id, path, split; across_splits and across_labels, whether
        copies are in several splits, or called real here and manipulated there.
    """
    twice = records[records["digest"].duplicated(keep=False)]
    same = twice.groupby("digest", sort=False)
    across = {f"across_{key}s": same[key].transform("nunique") > 1 for key in ("split", "label")}
    table = twice[["digest", "id", "path", "split"]].assign(**across)
    return table.iloc[same.ngroup().argsort(kind="stable")].reset_index(drop=True)


def leakage(records: pd.DataFrame) -> pd.DataFrame:
    """The identities that two splits share. A fake shows two: its target and its source.

    Returns
    -------
    DataFrame
        One row a pair of splits that share any: split, other_split; identities, the number that they share;
        fake_videos and fake_images, the fakes of both splits that show one of these.
    """
    fakes = records[records["label"] == 1]
    shown = {
        name: set(rows["group"]) | set(rows["source"]) - {""}
        for name, rows in records.groupby("split")
    }
    found = []
    for one, other in combinations([name for name in SPLITS if name in shown], 2):
        shared = shown[one] & shown[other]
        concerned = fakes[fakes["split"].isin([one, other])]
        concerned = concerned[concerned["group"].isin(shared) | concerned["source"].isin(shared)]
        videos = len(concerned[["manipulation", "video"]].drop_duplicates())
        found += [(one, other, len(shared), videos, len(concerned))] if shared else []
    return pd.DataFrame(
        found, columns=["split", "other_split", "identities", "fake_videos", "fake_images"]
    )
