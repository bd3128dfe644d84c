"""The images of one run: which they are, how they are read, and where their maps lie.

Notebook 01 writes the table of records, notebook 02 fills the cache of maps. From then on scenes and data sets on disk
are the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from defocus_lib.data.images import Reader
from defocus_lib.data.manifest import Dataset
from defocus_lib.data.records import has_pairs, one_sided_splits
from defocus_lib.run.artifacts import About, Folder, write_beside

RECORDS = "records.parquet"
SWEEP_RECORDS = "sweep_records.parquet"
SUMMARY = "this_run.md"


@dataclass(frozen=True)
class Collection:
    """The images of a run.

    Attributes
    ----------
    records : DataFrame
        One row an image; columns as :data:`defocus_lib.data.records.COLUMNS`.
    reader : Reader
        Reads the image of a record at the size of the run.
    about : About
        What they are.
    """

    records: pd.DataFrame
    reader: Reader
    about: About

    @property
    def manipulations(self) -> list[str]:
        """The manipulations of the test images, in the order of the records."""
        test = self.records.query("split == 'test' and label == 1")
        return test["manipulation"].drop_duplicates().tolist()

    @property
    def trained_on(self) -> str:
        """The manipulation (or manipulations) of the training images."""
        train = self.records.query("split == 'train' and label == 1")
        return ", ".join(train["manipulation"].drop_duplicates())


def save(folder: Folder, records: pd.DataFrame) -> Path:
    """Write the table of records of a run."""
    return write_beside(folder.path / RECORDS, lambda path: records.to_parquet(path, index=False))


def save_sweep_records(folder: Folder, records: pd.DataFrame) -> Path:
    """Write the records of notebook 11, which learns every manipulation: training images show all of them."""
    return write_beside(
        folder.path / SWEEP_RECORDS, lambda path: records.to_parquet(path, index=False)
    )


def load_sweep_records(folder: Folder) -> pd.DataFrame:
    """The records that :func:`save_sweep_records` wrote.

    Raises
    ------
    MissingArtifact
        If notebook 01 has not.
    """
    return pd.read_parquet(folder.require(SWEEP_RECORDS, made_by="01_data"))


def load(folder: Folder) -> Collection:
    """The images of a run that notebook 01 has begun.

    Raises
    ------
    MissingArtifact
        If it has not.
    """
    records = pd.read_parquet(folder.require(RECORDS, made_by="01_data"))
    about = folder.about
    root = Path(about.root) if about.root else folder.path
    return Collection(records, Reader(root, about.size, about.fit, about.max_pixels), about)


def for_training_on(records: pd.DataFrame, manipulation: str) -> pd.DataFrame:
    """The records without the training and validation images of other manipulations: those test what carries over.

    Raises
    ------
    ValueError
        If no training image shows the manipulation.
    """
    test, known = records["split"] == "test", records["manipulation"].isin(["real", manipulation])
    if manipulation not in set(records.loc[~test, "manipulation"]):
        there = ", ".join(records.loc[records["label"] == 1, "manipulation"].unique()) or "none"
        raise ValueError(
            f"train_on is {manipulation!r}; a manipulation with training images wanted, found: {there}"
        )
    return records[test | known].reset_index(drop=True)


def spread(records: pd.DataFrame, images: int) -> pd.DataFrame:
    """At most ``images`` records, from as many groups as possible: the first of each group, then the second of each."""
    turn = records.groupby("group", sort=False).cumcount()
    return records.loc[turn.sort_values(kind="stable").index[:images].sort_values()]


def to_explain(records: pd.DataFrame, images: int) -> pd.DataFrame:
    """The test images to explain: of each manipulation ``images``, and the real ones that they are compared with.

    Real images of which there is a version by every manipulation come first. Where images have no counterparts, as many
    real ones are taken.
    """
    test = records[records["split"] == "test"]
    real, fakes = test[test["label"] == 0], test[test["label"] == 1]
    paired = fakes[fakes["pair"].isin(real["id"])]
    if paired.empty:
        kinds = [spread(rows, images) for _, rows in fakes.groupby("manipulation", sort=False)]
        return pd.concat([spread(real, images), *kinds])
    versions = paired.groupby("pair")["manipulation"].transform("nunique")
    parts = []
    for _, rows in paired.groupby("manipulation", sort=False):
        whole = versions[rows.index] == fakes["manipulation"].nunique()
        first = spread(rows[whole], images)
        parts.append(pd.concat([first, spread(rows[~whole], images - len(first))]))
    return pd.concat([real[real["id"].isin(pd.concat(parts)["pair"])], *parts])


def write_summary(folder: Folder) -> Path:
    """One paragraph of Markdown for the front page: whose numbers the book shows."""
    run = load(folder)
    records, about = run.records, run.about
    of = "" if about.unit == "image" else f" of {records['group'].nunique():,} {about.unit}s"
    text = (
        f"**These pages show the run `{folder.profile}`: {about.title}.** {len(records):,} images{of}; manipulations: "
        f"{', '.join(run.manipulations)}; the detectors learned {run.trained_on}.\n"
    )
    return write_beside(folder.path / SUMMARY, lambda path: path.write_text(text, encoding="utf-8"))


def about(entry: Dataset, records: pd.DataFrame, size: int) -> About:
    """What the images of a data set on disk are, at a side of ``size`` px.

    Raises
    ------
    ValueError
        If some manipulations have pairs among the test images and others have none, or a split lacks a class.
    """
    if missing := one_sided_splits(records):
        raise ValueError(
            f"{entry.name}: {'; '.join(missing)}; real and fake images wanted in every split"
        )
    has = ("pairs",) if _tested_in_pairs(entry, records) else ()
    pictures = "image" if records["group"].is_unique else "picture"
    unit = "video" if (records["frame"] != "").any() else pictures
    root, pixels = str(entry.folder()), int(entry.max_megapixels * 1_000_000)
    return About(entry.name, entry.title, unit, has, root, size, entry.fit, pixels)


def _tested_in_pairs(entry: Dataset, records: pd.DataFrame) -> bool:
    test = records[records["split"] == "test"]
    fakes = test[test["label"] == 1]
    paired = fakes["pair"].isin(test["id"]).groupby(fakes["manipulation"], sort=False).any()
    if paired.any() and not paired.all():
        raise ValueError(
            f"{entry.name}: {', '.join(paired.index[~paired])} has no pair of a real and a fake image in the test"
            " split, but other manipulations do; leave it out of `manipulations`, or choose another split"
        )
    return bool(paired.all())


def real_test_groups(records: pd.DataFrame) -> int:
    """The number of groups among the real test images."""
    return records.query("split == 'test' and label == 0")["group"].nunique()


def gallery(
    records: pd.DataFrame, reader: Reader, first: int, rows: int = 3
) -> tuple[list[list[np.ndarray | None]], list[str], list[str]]:
    """Test images to look at: one real image a row, and beside it a manipulated version of each kind.

    Returns
    -------
    images : rows of columns of (H, W, 3) uint8, or None where a version is missing
    row_names, column_names : list of str
    """
    test = records[records["split"] == "test"]
    real = test[test["label"] == 0].drop_duplicates("group").iloc[first : first + rows]
    kinds = {
        name: fakes for name, fakes in test[test["label"] == 1].groupby("manipulation", sort=False)
    }
    images: list[list[np.ndarray | None]] = []
    for number, row in enumerate(real.itertuples(), start=first):
        versions = [
            fakes[fakes["pair"] == row.id]
            if has_pairs(records)
            else fakes.iloc[number : number + 1]
            for fakes in kinds.values()
        ]
        images.append(
            [reader(row), *(reader(found.iloc[0]) if len(found) else None for found in versions)]
        )
    return images, real["group"].tolist(), ["real", *kinds]
