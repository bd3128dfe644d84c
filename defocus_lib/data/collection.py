"""The images of a run: which they are, how they are read, and which are explained and shown.

Notebook 01 writes the table of records. From then on scenes and data sets on disk are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from defocus_lib.data.equalise import Equalise
from defocus_lib.data.images import Reader
from defocus_lib.data.manifest import Files, Union
from defocus_lib.data.records import REAL, choose, has_pairs, one_sided_splits
from defocus_lib.run.artifacts import About, Folder, write_beside

RECORDS = "records.parquet"
SWEEP_RECORDS = "sweep_records.parquet"
SUMMARY = "this_run.md"


@dataclass(frozen=True)
class Collection:
    """The images of a run: a table of records, what reads them, and what they are."""

    records: pd.DataFrame
    reader: Reader
    about: About

    @property
    def manipulations(self) -> list[str]:
        """The manipulations of the test images, in the order of the records."""
        test = self.records.query("split == 'test' and label == 1")
        return test["manipulation"].drop_duplicates().tolist()

    @property
    def training_manipulation(self) -> str:
        """The manipulation of the training images; several are joined by commas."""
        train = self.records.query("split == 'train' and label == 1")
        return ", ".join(train["manipulation"].drop_duplicates())


def save(folder: Folder, records: pd.DataFrame) -> Path:
    """Write the table of records of a run."""
    return _write(folder, RECORDS, records)


def save_sweep_records(folder: Folder, records: pd.DataFrame) -> Path:
    """Write the records of the training sweeps, whose training images show every manipulation."""
    return _write(folder, SWEEP_RECORDS, records)


def _write(folder: Folder, name: str, records: pd.DataFrame) -> Path:
    return write_beside(folder.path / name, lambda path: records.to_parquet(path, index=False))


def load_sweep_records(folder: Folder) -> pd.DataFrame:
    """The records of the training sweeps; raises MissingArtifact before notebook 01 has run."""
    return pd.read_parquet(folder.require(SWEEP_RECORDS, made_by="01_data"))


def load(folder: Folder) -> Collection:
    """The images of a run; raises MissingArtifact before notebook 01 has run."""
    records = pd.read_parquet(folder.require(RECORDS, made_by="01_data"))
    about = folder.about
    root = Path(about.root) if about.root else folder.path
    equalise = Equalise(**about.equalise) if about.equalise else None
    reader = Reader(root, about.size, about.fit, about.max_pixels, equalise)
    return Collection(records, reader, about)


def reader_of(entry: Files | Union, size: int) -> Reader:
    """What reads the images of a data set on disk, at ``size`` x ``size`` px."""
    return Reader(entry.folder(), size, entry.fit, entry.max_pixels, entry.equalise)


def choose_present(
    records: pd.DataFrame, manipulations: Sequence[str], training: str, absent: Sequence[str]
) -> tuple[pd.DataFrame, str]:
    """The records of :func:`defocus_lib.data.records.choose`, and the training manipulation.

    A manipulation of ``absent``, as :class:`defocus_lib.data.index.Index` lists them, is left out
    instead of refused. If ``training`` is one of them, the first that is there takes its place.
    """
    there = [name for name in manipulations if name not in absent]
    chosen = choose(records, there)
    return chosen, there[0] if training in absent else training


def for_training_on(records: pd.DataFrame, manipulation: str) -> pd.DataFrame:
    """The records without the training and validation images of other manipulations.

    Their test images stay: they show what transfers. Raises ValueError if no training or validation
    image shows the manipulation.
    """
    test = records["split"] == "test"
    if manipulation not in set(records.loc[~test, "manipulation"]):
        known = ", ".join(records.loc[records["label"] == 1, "manipulation"].unique()) or "none"
        raise ValueError(
            f"training_manipulation is {manipulation!r}; one with training images wanted, "
            f"found: {known}"
        )
    kept = test | records["manipulation"].isin([REAL, manipulation])
    return records[kept].reset_index(drop=True)


def spread(records: pd.DataFrame, images: int) -> pd.DataFrame:
    """At most ``images`` records from as many groups as possible, in their order.

    The first of each group comes before the second of any.
    """
    turn = records.groupby("group", sort=False).cumcount()
    return records.loc[turn.sort_values(kind="stable").index[:images].sort_values()]


def to_explain(records: pd.DataFrame, images: int) -> pd.DataFrame:
    """The test images to explain: ``images`` of each manipulation, and their real counterparts.

    Real images of which every manipulation has a version come first. Where images have no
    counterparts, as many real ones are taken.
    """
    test = records[records["split"] == "test"]
    real, fakes = test[test["label"] == 0], test[test["label"] == 1]
    paired = fakes[fakes["pair"].isin(real["id"])]
    if paired.empty:
        kinds = [spread(rows, images) for _, rows in fakes.groupby("manipulation", sort=False)]
        return pd.concat([spread(real, images), *kinds])
    n_versions = paired.groupby("pair")["manipulation"].transform("nunique")
    chosen = []
    for _, rows in paired.groupby("manipulation", sort=False):
        complete = n_versions[rows.index] == fakes["manipulation"].nunique()
        first = spread(rows[complete], images)
        chosen.append(pd.concat([first, spread(rows[~complete], images - len(first))]))
    return pd.concat([real[real["id"].isin(pd.concat(chosen)["pair"])], *chosen])


def write_summary(folder: Folder) -> Path:
    """Write one paragraph of Markdown for the front page: which run the book shows."""
    run = load(folder)
    about = run.about
    text = (
        f"**These pages show the run `{folder.profile}`: {about.title}.** "
        f"{counted(run.records, about.unit)}; manipulations: {', '.join(run.manipulations)}; "
        f"training manipulation: {run.training_manipulation}.\n"
    )
    text += f"\n**Caution: {about.caution}.**\n" if about.caution else ""
    return write_beside(folder.path / SUMMARY, lambda path: path.write_text(text, encoding="utf-8"))


def counted(records: pd.DataFrame, unit: str) -> str:
    """How many images there are, and of what: videos are counted as files, and by their groups."""
    images, groups = f"{len(records):,} images", f"{records['group'].nunique():,}"
    if unit == "video":
        videos = len(records[["manipulation", "video"]].drop_duplicates())
        about_groups = "a real video with its fakes, or one without"
        return f"{images} of {videos:,} videos in {groups} groups ({about_groups})"
    return images if unit == "image" else f"{images} of {groups} {unit}s"


def about(
    entry: Files | Union, records: pd.DataFrame, size: int, file_facts_auc: float = 0.0
) -> About:
    """What the images of a data set on disk are, at ``size`` x ``size`` px.

    ``file_facts_auc`` is that of :func:`defocus_lib.data.shortcuts.giveaway_auc`.
    Raises ValueError if some manipulations have pairs among the test images and others have none,
    or a split lacks a class.
    """
    if missing := one_sided_splits(records):
        groups = records.groupby("label")["group"].nunique()
        held = f"{groups.get(0, 0)} real and {groups.get(1, 0)} fake {unit_of(records)}s"
        raise ValueError(
            f"{entry.name}: {'; '.join(missing)}; found {held}, wanted at least 3 of each, one for "
            "every split, or lists of a split that give each some"
        )
    has = {
        "pairs": _tested_in_pairs(entry.name, records),
        "transfer": records.loc[records["label"] == 1, "manipulation"].nunique() > 1,
    }
    return About(
        dataset=entry.name,
        title=entry.title,
        unit=unit_of(records),
        has=tuple(name for name, there in has.items() if there),
        root=str(entry.folder()),
        size=size,
        fit=entry.fit,
        max_pixels=entry.max_pixels,
        equalise=entry.equalise.model_dump() if entry.equalise else {},
        file_facts_auc=file_facts_auc,
        test_groups=test_groups(records),
    )


def unit_of(records: pd.DataFrame) -> str:
    """What a group is: a video, a picture with its versions, or an image."""
    if (records["frame"] != "").any():
        return "video"
    return "image" if records["group"].is_unique else "picture"


def test_groups(records: pd.DataFrame) -> int:
    """The number of groups among the test images of the class, or manipulation, with the fewest."""
    test = records[records["split"] == "test"]
    return int(test.groupby("manipulation")["group"].nunique().min())


def _tested_in_pairs(name: str, records: pd.DataFrame) -> bool:
    test = records[records["split"] == "test"]
    fakes = test[test["label"] == 1]
    paired = fakes["pair"].isin(test["id"]).groupby(fakes["manipulation"], sort=False).any()
    if paired.any() and not paired.all():
        raise ValueError(
            f"{name}: {', '.join(paired.index[~paired])} has no pair of a real and a fake image in "
            "the test split, but other manipulations do; leave it out of `manipulations`, or "
            "choose another split"
        )
    return bool(paired.all())


def real_test_groups(records: pd.DataFrame) -> int:
    """The number of groups among the real test images."""
    return records.query("split == 'test' and label == 0")["group"].nunique()


def gallery(
    records: pd.DataFrame, reader: Reader, first: int, rows: int = 3
) -> tuple[list[list[np.ndarray | None]], list[str], list[str]]:
    """Test images to look at: in each row a real image and a version by each manipulation.

    Returns rows of (H, W, 3) uint8, None where a version is missing; names of rows; of columns.
    """
    test = records[records["split"] == "test"]
    real = test[test["label"] == 0].drop_duplicates("group").iloc[first : first + rows]
    fakes = dict(list(test[test["label"] == 1].groupby("manipulation", sort=False)))
    paired = has_pairs(records)
    images: list[list[np.ndarray | None]] = []
    for number, row in enumerate(real.itertuples(), start=first):
        versions = [
            kind[kind["pair"] == row.id] if paired else kind.iloc[number : number + 1]
            for kind in fakes.values()
        ]
        shown = [reader(version.iloc[0]) if len(version) else None for version in versions]
        images.append([reader(row), *shown])
    return images, real["group"].tolist(), [REAL, *fakes]
