"""Shards to pass on: a sample of the images of a run, or all of them, with or without pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from defocus_lib.explain import shards
from defocus_lib.explain.shards import ARRAYS, OPTIONAL, SCALES
from defocus_lib.run.artifacts import read_arrays, write_arrays


def chosen_ids(index: pd.DataFrame, images: int) -> set[str]:
    """The ids of at most ``images`` images of each set, spread evenly over the run.

    Pairs stay whole: the real images that have a version in every set come first, and with each its
    versions. Where images have no pairs, each set is thinned by itself. ``index`` is that of
    :func:`defocus_lib.explain.shards.read_index`. Raises ValueError if ``images`` is less than 1.
    """
    if images < 1:
        raise ValueError(f"images is {images}; 1 or more wanted")
    real, fakes = index[index["label"] == 0], index[index["label"] == 1]
    n_sets = fakes["manipulation"].nunique()
    versions = fakes.groupby("pair")["manipulation"].nunique()
    complete = real["id"][real["id"].isin(versions.index[versions == n_sets])]
    if not len(complete):
        sets = index.groupby("manipulation")["id"]
        return {name for _, ids in sets for name in _spread(ids, images)}
    kept = _spread(complete, images)
    paired = fakes[fakes["pair"].isin(kept)].groupby("manipulation").head(images)
    return {*kept, *paired["id"]}


def _spread(ids: pd.Series, images: int) -> list[str]:
    rows = np.unique(np.linspace(0, len(ids) - 1, min(images, len(ids))).round().astype(int))
    return ids.iloc[rows].tolist()


def write_sample(root: Path, target: Path, images: int | None, with_pictures: bool) -> Path:
    """Write shards of the sample of ``root``, or of all images for None, to ``target``: its index.

    A shard is held in memory at a time. Raises ValueError without shards, or if one is
    damaged.
    """
    index = shards.read_index(root)
    if not len(index):
        raise ValueError(f"{root}: no shards of Shapley values with an index")
    ids = set(index["id"]) if images is None else chosen_ids(index, images)
    files: dict[tuple[str, int], str] = {}
    for name, rows in index[index["id"].isin(ids)].groupby("manipulation", sort=False):
        for number, (shard, part) in enumerate(rows.groupby("shard", sort=False)):
            source = shards.shard_path(root, str(name), int(shard))
            if shards.checksum(source) != part["checksum"].iloc[0]:
                raise ValueError(f"{source}: its checksum is not the one in the index")
            path = shards.shard_path(target, str(name), number)
            _copy_rows(source, path, part["row"].to_numpy(), with_pictures)
            files[str(name), number] = shards.checksum(path)
    return shards.write_index(target, files)


def _copy_rows(source: Path, target: Path, rows: np.ndarray, with_pictures: bool) -> None:
    """Copy arrays as they are stored, so that no value is rounded twice."""
    optional = {*SCALES.values(), *OPTIONAL}
    arrays, meta = read_arrays(source, set(ARRAYS) - set(OPTIONAL), optional)
    left_out = () if with_pictures else OPTIONAL
    kept = {name: array[rows] for name, array in arrays.items() if name not in left_out}
    write_arrays(target, kept | {"contents": shards.content_digests(kept)}, meta)
