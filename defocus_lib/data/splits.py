"""Which split an image is in: decided by names and seeds alone, over all images of the data set.

An image that cannot be read therefore moves no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate, product
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from defocus_lib.data.entry import Entry, Seed, Text
from defocus_lib.data.tree import natural

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val", "test")


def cut(number: int, shares: Sequence[float]) -> list[int]:
    """The sizes of consecutive parts of ``number`` items by shares, the borders rounded down.

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


def cut_all(number: int, shares: Sequence[float]) -> list[int]:
    """:func:`cut`, but no part with a share is empty if ``number`` allows: the largest gives.

    Examples
    --------
    >>> [cut_all(number, (7, 1, 2)) for number in (3, 6, 10)]
    [[1, 1, 1], [3, 1, 2], [7, 1, 2]]
    """
    sizes = cut(number, shares)
    needed = [place for place, share in enumerate(shares) if share > 0]
    for place in needed if number >= len(needed) else []:
        if not sizes[place]:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[place] = 1
    return sizes


def _in_order(names: Sequence[str], sizes: Sequence[int]) -> dict[str, str]:
    """The split of each name: the first ones train, then val, then test."""
    split_of_row = [s for s, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]
    return dict(zip(names, split_of_row, strict=True))


def _complete(
    split_of: Mapping[str, str], classes: Mapping[str, set[int]], splits: Sequence[str]
) -> dict[str, str]:
    """``split_of`` with groups moved where one of ``splits`` lacks a class that has groups enough.

    ``classes`` are the labels in each group. A group comes from the split that has most of its
    class, the last one there first, and leaves no class behind without a group.
    """
    moved = dict(split_of)

    def groups(split: str, label: int) -> list[str]:
        return [group for group in moved if moved[group] == split and label in classes[group]]

    for label, split in product(sorted(set().union(*classes.values())), splits):
        if groups(split, label):
            continue
        sources = sorted(splits, key=lambda source: len(groups(source, label)), reverse=True)
        spare = (
            group
            for source in sources
            for group in reversed(groups(source, label))
            if all(len(groups(source, each)) > 1 for each in classes[group])
        )
        if (group := next(spare, None)) is not None:
            moved[group] = split
    return moved


def _proportions(shares: tuple[float, float, float]) -> tuple[float, float, float]:
    if not sum(shares) > 0:
        raise ValueError("three numbers that are not all zero wanted, for train, val and test")
    return shares


Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Shares = Annotated[tuple[Share, Share, Share], AfterValidator(_proportions)]


class Split(Entry):
    """How a data set is split."""

    @property
    def description(self) -> str:
        """A few words for tables."""
        raise NotImplementedError

    def assign(self, table: pd.DataFrame, locate: Callable[[str], Path]) -> pd.Series:
        """The split of each row of a table of :func:`defocus_lib.data.layouts.list_pictures`.

        "" stands for none. ``locate`` turns a path of the entry into one on disk.
        """
        raise NotImplementedError


class SequentialSplit(Split):
    """Sorted videos cut by shares, each manipulation apart, as in the authors' code.

    Numbers in names count as numbers. Three videos are enough for a part of each.
    """

    scheme: Literal["sequential"] = "sequential"
    shares: Shares = (7, 1, 2)

    @property
    def description(self) -> str:
        return f"sequential: sorted videos, cut {_ratio(self.shares)}, each manipulation apart"

    def assign(self, table: pd.DataFrame, locate: Callable[[str], Path]) -> pd.Series:
        videos = table.groupby("manipulation", sort=False)["video"]

        def split_of(of: pd.Series) -> pd.Series:
            names = sorted(set(of), key=natural)
            return of.map(_in_order(names, cut_all(len(names), self.shares)))

        return videos.transform(split_of)


class OfficialSplit(Split):
    """The published lists of id pairs: ``{train,val,test}.json`` in the folder ``lists``."""

    scheme: Literal["official"]
    lists: Text

    @property
    def description(self) -> str:
        return "official: the published lists of id pairs"

    def assign(self, table: pd.DataFrame, locate: Callable[[str], Path]) -> pd.Series:
        """Raises FileNotFoundError if a list is missing, ValueError if it is unusable."""
        return table["video"].map(_read_lists(locate(self.lists))).fillna("")


class RandomSplit(Split):
    """Groups, each a real image with its fakes, in an order drawn by ``seed``, cut by shares.

    Where that leaves a split without a class that has a group for each, groups are moved.
    """

    scheme: Literal["random"] = "random"
    shares: Shares = (7, 1, 2)
    seed: Seed = 42

    @property
    def description(self) -> str:
        return f"random: {_ratio(self.shares)} by group, seed {self.seed}"

    def assign(self, table: pd.DataFrame, locate: Callable[[str], Path]) -> pd.Series:
        # Groups with and without a real image are cut apart, so that each split has both.
        with_real = set(table.loc[table["label"] == 0, "group"])
        split_of: dict[str, str] = {}
        groups = sorted(set(table["group"]), key=self._rank)
        for has_real in (True, False):
            kind = [group for group in groups if (group in with_real) == has_real]
            split_of |= _in_order(kind, cut(len(kind), self.shares))
        labels = table.groupby("group")["label"].agg(set).to_dict()
        needed = [split for split, share in zip(SPLITS, self.shares, strict=True) if share > 0]
        return table["group"].map(_complete(split_of, labels, needed))

    def _rank(self, group: str) -> str:
        # A hash, not a permutation: other groups that come or go do not move this one.
        return hashlib.sha256(f"{self.seed}/{group}".encode()).hexdigest()


class GivenSplit(Split):
    """Training and test images lie in folders; a share of the training images is for validation."""

    scheme: Literal["folders"] = "folders"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: Seed = 42

    @property
    def description(self) -> str:
        return (
            f"as its folders say; {self.validation:.0%} of train is validation, stratified, "
            f"seed {self.seed}"
        )

    def assign(self, table: pd.DataFrame, locate: Callable[[str], Path]) -> pd.Series:
        """Raises ValueError if there are too few training images of a class."""
        from sklearn.model_selection import train_test_split

        splits = table["path"].str.partition("/")[0]
        train = table.index[splits == "train"].to_numpy()
        labels = table.loc[train, "label"]
        number = ceil(len(train) * self.validation)
        if labels.value_counts().min() < 2:
            raise ValueError(
                f"train holds {len(train)} images, {labels.value_counts().min()} of the rarer "
                "kind; 2 of each wanted, one for training and one for validation"
            )
        number = min(max(number, 2), len(train) - 2)  # at least one of each kind on both sides
        _, held_out = train_test_split(
            train, test_size=number, stratify=labels, random_state=self.seed
        )
        splits[held_out] = "val"
        names = {str(row): {label} for row, label in labels.items()}
        split_of = _complete({name: splits[int(name)] for name in names}, names, ("train", "val"))
        splits[train] = [split_of[str(row)] for row in train]
        return splits


def _ratio(shares: tuple[float, ...]) -> str:
    return ":".join(f"{share:g}" for share in shares)


def _read_lists(folder: Path) -> dict[str, str]:
    """Video -> split. A pair of ids a, b stands for the real videos a, b and the fakes a_b, b_a."""
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
        lists = ", ".join(f"{split}.json" for split in SPLITS)
        raise FileNotFoundError(f"no list {path}; the official split wants {lists}")
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON ({error})") from error
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        names = [name for name in pair if isinstance(name, str)] if isinstance(pair, list) else []
        if not len(names) == len(pair) == 2:
            raise ValueError(
                f'{path}: {pair!r} found; a list of pairs of ids such as [["071", "054"]] wanted'
            )
    return pairs
