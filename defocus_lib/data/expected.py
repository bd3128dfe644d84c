"""The records that a data set will have, made up from what its manifest entry states.

For plans that are made before the data are there: counts, splits and pairs are as expected, paths
and digests are not those of any file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pandas as pd

from defocus_lib.data.dataset import Dataset, Files
from defocus_lib.data.layouts import Cifake, Coco, DiffusionDB, FaceForensics, records_of
from defocus_lib.data.records import COLUMNS, with_valid_pairs
from defocus_lib.data.splits import OfficialSplit, SequentialSplit
from defocus_lib.data.tree import REAL, Picture, image_id


def expected_records(dataset: Dataset) -> pd.DataFrame:
    """Records of the images that the manifest leads us to expect, with empty digests.

    The lists of an official split lie with the data: until then its shares are taken to be 7 : 1 :
    2. Raises ValueError if the entry states no number of images.
    """
    parts = [_records_of(part) for part in dataset.parts]
    return with_valid_pairs(pd.concat(parts, ignore_index=True))


def _records_of(part: Files) -> pd.DataFrame:
    pictures = PICTURES.get(type(part))
    if pictures is None or (
        part.published is None and not hasattr(getattr(part, "options", None), "limit")
    ):
        raise ValueError(
            f"data set {part.name!r}: {part.where()}, and its entry in the manifest does not say "
            "how many images there are; the data, or its key `published`, wanted"
        )
    table = records_of(list(pictures(part)))
    split = SequentialSplit() if isinstance(part.split, OfficialSplit) else part.split
    splits = split.assign(table, lambda path: part.file(path, "split.lists"))
    return table.assign(split=splits, digest="", width=0, height=0)[COLUMNS]


def _faceforensics(part: FaceForensics) -> Iterator[Picture]:
    """Each video, and a manipulated version of it by each manipulation."""
    videos = [f"{number:03d}" for number in range(part.published or 0)]
    frames = [f"{number:04d}" for number in range(part.options.frames)]
    for kind, video, frame in product((REAL, *part.options.wanted), videos, frames):
        name = video if kind == REAL else f"{video}_source"
        source = "" if kind == REAL else "source"
        path, pair = f"{kind}/{name}/{frame}.png", image_id(video, frame, REAL)
        yield Picture(path, kind, name, frame, video, pair, source)


def _cifake(part: Cifake) -> Iterator[Picture]:
    """As many real as generated images, one in six for the test."""
    for kind, number in product((REAL, "fake"), range(part.published or 0)):
        split = "test" if number % 6 == 0 else "train"
        yield Picture(f"{split}/{kind}/{number}.png", kind, f"{split}:{kind}:{number}")


def _one_kind(kind: str) -> Callable[[Coco | DiffusionDB], Iterator[Picture]]:
    def pictures(part: Coco | DiffusionDB) -> Iterator[Picture]:
        for number in range(min(part.options.limit, part.published or part.options.limit)):
            yield Picture(f"{part.name}/{number}.png", kind, f"{part.name}:{number}")

    return pictures


PICTURES: dict[type, Callable] = {
    FaceForensics: _faceforensics,
    Cifake: _cifake,
    Coco: _one_kind(REAL),
    DiffusionDB: _one_kind("diffusiondb"),
}
