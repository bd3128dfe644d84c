"""Which split an image is in: decided by names and seeds alone, over all images that were found.

One that can't be read moves no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import pandas as pd

from defocus_lib.data.manifest import Files, GivenSplit, OfficialSplit, RandomSplit

SPLITS = ("train", "val", "test")


def assign_splits(dataset: Files, table: pd.DataFrame) -> pd.Series:
    """The split of every row, as the manifest wants it; "" if it is in none.

    Parameters
    ----------
    table : DataFrame
        The images as :func:`defocus_lib.data.layouts.list_pictures` gives them.

    Raises
    ------
    FileNotFoundError
        If a list of the official split is not there.
    ValueError
        If it is no such list, or two lists have the same video.
    """
    split = dataset.split
    if isinstance(split, OfficialSplit):
        listed = _official(dataset.file(split.lists, "split.lists"))
        return table["video"].map(listed).fillna("")
    if isinstance(split, GivenSplit):
        return _given(table, split)
    if isinstance(split, RandomSplit):
        return table["group"].map(_random(table, split))
    parts = []
    for _, rows in table.groupby("manipulation", sort=False):
        parts.append(rows["video"].map(_in_order(sorted(set(rows["video"])), split.shares)))
    return pd.concat(parts).reindex(table.index)


def cut(number: int, shares: Sequence[float]) -> list[int]:
    """``number`` things in parts of these shares, the borders rounded down.

    Examples
    --------
    >>> cut(1000, (7, 1, 2))
    [700, 100, 200]
    >>> cut(12, (0.7, 0.1, 0.2))
    [8, 1, 3]
    """
    exact = [Fraction(str(share)) for share in shares]
    borders = [int(number * part / sum(exact)) for part in accumulate(exact)]
    return [after - before for before, after in zip([0, *borders], borders, strict=False)]


def _in_order(names: Sequence[str], shares: Sequence[float]) -> dict[str, str]:
    train, val, test = cut(len(names), shares)
    return dict(zip(names, ["train"] * train + ["val"] * val + ["test"] * test, strict=True))


def _random(table: pd.DataFrame, split: RandomSplit) -> dict[str, str]:
    """The split of every group. Groups with and without a real image are cut apart, so that each split has both."""
    with_real = set(table.loc[table["label"] == 0, "group"])
    groups = sorted(set(table["group"]), key=lambda group: _lot(split.seed, group))
    kinds = (
        [group for group in groups if group in with_real],
        [group for group in groups if group not in with_real],
    )
    return {group: name for kind in kinds for group, name in _in_order(kind, split.shares).items()}


def _lot(seed: int, name: str) -> str:
    """A number drawn for a name: nothing but the two decide, whatever else there is."""
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _given(table: pd.DataFrame, split: GivenSplit) -> pd.Series:
    from sklearn.model_selection import train_test_split

    splits = table["path"].str.partition("/")[0]
    train = table.index[splits == "train"].to_numpy()
    fewest = table.loc[train, "label"].value_counts().min()
    if (
        fewest < 2
        or round(len(train) * split.validation) < 2
        or round(len(train) * (1 - split.validation)) < 2
    ):
        raise ValueError(
            f"train holds {len(train)} images, {fewest} of the rarer kind; too few to take {split.validation:g} of them"
            " for validation, real and fake"
        )
    _, held_out = train_test_split(
        train,
        test_size=split.validation,
        stratify=table.loc[train, "label"],
        random_state=split.seed,
    )
    splits[held_out] = "val"
    return splits


def _official(folder: Path) -> dict[str, str]:
    """Video folder -> split: for a pair of ids a, b in a list, the real videos a and b and the fakes a_b and b_a."""
    listed: dict[str, str] = {}
    for split in SPLITS:
        for first, second in _read_pairs(folder / f"{split}.json"):
            for video in (first, second, f"{first}_{second}", f"{second}_{first}"):
                if listed.setdefault(video, split) != split:
                    raise ValueError(
                        f"{folder}: {video} is in the lists of {listed[video]} and of {split}"
                    )
    return listed


def _read_pairs(path: Path) -> list[list[str]]:
    if not path.is_file():
        raise FileNotFoundError(
            f"no list {path}; the official split wants {', '.join(f'{s}.json' for s in SPLITS)}"
        )
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON ({error})") from error
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(name, str) for name in pair)
        ):
            raise ValueError(
                f'{path}: {pair!r} found; a list of pairs of ids such as [["071", "054"]] wanted'
            )
    return pairs
