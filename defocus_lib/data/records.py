"""The table of records, one row per image, and what can be asked of it. No file is opened."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from defocus_lib.data.splits import SPLITS, cut
from defocus_lib.data.tree import REAL

COLUMNS = [
    *("id", "path", "label", "manipulation", "video", "frame", "group", "split", "pair", "source"),
    *("digest", "width", "height"),
]


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

    Raises ValueError, which names those that exist, if one does not exist or none is named.
    """
    known = records.loc[records["label"] == 1, "manipulation"].unique().tolist()
    unknown = [name for name in manipulations if name not in known]
    if unknown or not len(manipulations):
        fault = f"no image of manipulation {unknown[0]!r}" if unknown else "no manipulation named"
        raise ValueError(f"{fault}; there are: {', '.join(known) or 'none'}")
    return records[records["manipulation"].isin([REAL, *manipulations])].reset_index(drop=True)


def sample(records: pd.DataFrame, groups: int, seed: int) -> pd.DataFrame:
    """The records of at most ``groups`` groups of each split, drawn by ``seed``, in their order.

    Groups are drawn from sorted names. Where real and manipulated images are in groups of their
    own, both kinds are drawn, in proportion. Raises ValueError if ``groups`` is less than 1.
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
    # One row per group, by name; labels from 0 to 1 are a group with real and manipulated images.
    labels = rows.groupby("group")["label"].agg(["min", "max"])
    kinds = [kind.index.tolist() for _, kind in labels.groupby(["min", "max"])]
    sizes = [len(kind) for kind in kinds]
    quotas = cut(min(groups, sum(sizes)), sizes) if kinds else []
    drawn: list[str] = []
    for kind, quota in zip(kinds, quotas, strict=True):
        drawn += rng.permutation(kind)[:quota].tolist()
    return drawn


def missing_pairs(records: pd.DataFrame) -> pd.DataFrame:
    """The manipulated images without their real counterpart: rows of ``records``.

    A counterpart should exist if the image names a source video, or if others of its manipulation
    have theirs.
    """
    fakes = records[records["label"] == 1]
    paired = fakes.loc[fakes["pair"] != "", "manipulation"].unique()
    expected = (fakes["source"] != "") | fakes["manipulation"].isin(paired)
    return fakes[(fakes["pair"] == "") & expected]


def missing_fakes(records: pd.DataFrame) -> pd.DataFrame:
    """Frames of a real video that a manipulated video of it lacks.

    One row per frame: id of the real one, manipulation, manipulated video. A target of which a
    manipulation has no video at all is not among them.
    """
    real = records[records["label"] == 0]
    fakes = records[(records["label"] == 1) & (records["frame"] != "")]
    rows = []
    for (manipulation, video), frames in fakes.groupby(["manipulation", "video"], sort=True):
        target = real[real["group"] == frames["group"].iat[0]]
        lacking = target.loc[~target["frame"].isin(frames["frame"]), "id"]
        rows += [(name, manipulation, video) for name in lacking]
    return pd.DataFrame(rows, columns=["id", "manipulation", "video"], dtype="str")


def one_sided_splits(records: pd.DataFrame, splits: Sequence[str] = SPLITS) -> list[str]:
    """The splits that lack a class, such as ``val has no real image``."""
    present = set(zip(records["split"], records["label"], strict=True))
    return [
        f"{split} has no {name} image"
        for split in splits
        for label, name in enumerate(("real", "fake"))
        if (split, label) not in present
    ]


def with_valid_pairs(records: pd.DataFrame) -> pd.DataFrame:
    """The records, with ``pair`` emptied where the real image is not among them."""
    return records.assign(pair=records["pair"].where(records["pair"].isin(set(records["id"])), ""))


def equals_pair(images: pd.DataFrame) -> pd.Series:
    """Whether each image is a manipulated one whose pixels are those of its real image.

    ``images`` has the columns of records and ``pixels``, a checksum. So it is where only the sound
    of a video was forged.
    """
    of_pair = images["pair"].map(images.set_index("id")["pixels"])
    return (images["label"] == 1) & (images["pixels"] == of_pair)


def identities_known(records: pd.DataFrame) -> bool:
    """Whether the names of any image tell whom it shows: those that name a source do."""
    return bool((records["source"] != "").any())


def resolve_copies(records: pd.DataFrame, on_duplicates: str, name: str) -> pd.DataFrame:
    """The records of the data set ``name``, none of whose contents is in two splits.

    With ``on_duplicates`` "skip", training images that are in the validation or test split too are
    left out, and validation images that are in the test split. Raises ValueError, which names the
    first two, if there are any and it is "stop".
    """
    rank = records["split"].map({split: number for number, split in enumerate(SPLITS)})
    extra = rank < rank.groupby(records["digest"]).transform("max")
    if not extra.any():
        return records
    if on_duplicates == "stop":
        copies = records[records["digest"] == records.loc[extra, "digest"].iloc[0]]
        by_split = copies.loc[rank[copies.index].sort_values(kind="stable").index]
        first, second = by_split.drop_duplicates("split").iloc[:2].itertuples()
        raise ValueError(
            f"data set {name!r}: {first.path} ({first.split}) and {second.path} ({second.split}) "
            f"are the same file; images that are in a later split too: {int(extra.sum()):,}. "
            f"`python -m defocus_lib data verify {name}` lists all; `on_duplicates: skip` in the "
            "manifest leaves them out of training and validation"
        )
    return with_valid_pairs(records[~extra].reset_index(drop=True))


def duplicates(records: pd.DataFrame) -> pd.DataFrame:
    """The images whose content occurs more than once, byte for byte, sorted by content.

    Columns: digest, id, path, split; across_splits and across_labels say whether copies are in
    several splits, or real here and manipulated there.
    """
    repeated = records[records["digest"].duplicated(keep=False)]
    copies = repeated.groupby("digest", sort=False)
    across = {f"across_{key}s": copies[key].transform("nunique") > 1 for key in ("split", "label")}
    table = repeated[["digest", "id", "path", "split"]].assign(**across)
    return table.iloc[copies.ngroup().argsort(kind="stable")].reset_index(drop=True)


def leakage(records: pd.DataFrame) -> pd.DataFrame:
    """The identities that two splits share. A fake shows two: its target and its source.

    One row per pair of splits that share any: split, other_split; identities, their number;
    fake_videos and fake_images, the fakes of both splits that show one of them.
    """
    if (records["source"] != "").any():
        # A real video of DeepFakeDetection is called <actor>__<scene>.
        records = records.assign(group=records["group"].str.partition("__")[0])
    fakes = records[records["label"] == 1]
    identities = {
        split: set(rows["group"]) | set(rows["source"]) - {""}
        for split, rows in records.groupby("split")
    }
    rows = []
    for pair in combinations([split for split in SPLITS if split in identities], 2):
        shared = identities[pair[0]] & identities[pair[1]]
        shown = fakes["group"].isin(shared) | fakes["source"].isin(shared)
        leaked = fakes[fakes["split"].isin(pair) & shown]
        videos = len(leaked[["manipulation", "video"]].drop_duplicates())
        rows += [(*pair, len(shared), videos, len(leaked))] if shared else []
    columns = ["split", "other_split", "identities", "fake_videos", "fake_images"]
    return pd.DataFrame(rows, columns=columns)
