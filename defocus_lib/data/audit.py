"""Whether a data set on disk is what the manifest says: everything is read, and what is wrong is listed by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from defocus_lib.data.index import PROBLEM, build_index, records_of
from defocus_lib.data.manifest import Dataset, Files, Folders, Union
from defocus_lib.data.records import (
    counts,
    duplicates,
    leakage,
    missing_fakes,
    missing_pairs,
    one_sided_splits,
)

LINE = re.compile(r"\\?([0-9a-fA-F]{64}) [ *](.+)")
SHOWN = 20  # lines of a list; JSON has all


@dataclass(frozen=True)
class Report:
    """What :func:`verify` found.

    Attributes
    ----------
    name, title, root : str
    images, groups : int
        That can be read and are in a split.
    counts : DataFrame
        Manipulation by split.
    problems : dict of str to DataFrame
        What is wrong, one row a fault; empty tables where nothing is.
    foreign : list of str
        Paths of what is no image. That is no problem.
    has_checksums : bool
        Whether the manifest names a list of checksums to compare with.
    """

    name: str
    title: str
    root: str
    images: int
    groups: int
    counts: pd.DataFrame
    problems: dict[str, pd.DataFrame]
    foreign: list[str]
    has_checksums: bool

    @property
    def ok(self) -> bool:
        return all(table.empty for table in self.problems.values())

    def as_json(self) -> dict:
        """All of it, in plain types."""
        keys = ("name", "title", "root", "images", "groups", "ok", "foreign", "has_checksums")
        said = {key: getattr(self, key) for key in keys}
        problems = {key: table.to_dict(orient="records") for key, table in self.problems.items()}
        return said | {"counts": self.counts.to_dict(orient="index"), "problems": problems}

    def text(self) -> str:
        """For reading: the counts, then what is wrong; unreadable files are all named, of other lists the first."""
        lines = [f"{self.title} in {self.root}", "", self.counts.to_string(), ""]
        used = f"{_counted(self.images, 'image', 'images')}, {_counted(self.groups, 'group', 'groups')}"
        lines.append(f"{used} (a real image or video with its fakes, or one without)")
        foreign = _counted(len(self.foreign), "file that is no image", "files that are no images")
        lines.append(f"{foreign}{_first(self.foreign)}")
        for key, table in self.problems.items():
            lines.append(_counted(len(table), *HEADINGS[key]))
            lines += _lines(table, None if key == "unreadable" else SHOWN)
        lines += [] if self.has_checksums else ["(the manifest names no list of checksums)"]
        return "\n".join(
            [*lines, "", "nothing is wrong" if self.ok else "not all is well: see above"]
        )


HEADINGS = {  # of one, of any other number
    "unreadable": ("image that can't be read", "images that can't be read"),
    "odd": (
        "file or folder that is left out, or lacks something",
        "files and folders that are left out, or lack something",
    ),
    "duplicates": (
        "image whose content occurs more than once",
        "images whose content occurs more than once",
    ),
    "missing_pairs": (
        "manipulated image without its real counterpart",
        "manipulated images without their real counterpart",
    ),
    "missing_fakes": (
        "frame of a real video that its manipulated video lacks",
        "frames of real videos that their manipulated videos lack",
    ),
    "one_sided": (
        "split without real or without fake images",
        "splits without real or without fake images",
    ),
    "leakage": ("pair of splits that shares identities", "pairs of splits that share identities"),
    "checksums": (
        "difference from the list of checksums",
        "differences from the list of checksums",
    ),
}


def _counted(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _first(names: list[str]) -> str:
    return f": {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""


def _lines(table: pd.DataFrame, limit: int | None) -> Iterator[str]:
    """The rows of a table as indented text."""
    if table.empty:
        return
    shown = table.head(limit) if limit else table
    if list(table.columns) == PROBLEM:
        yield from (f"    {path}: {reason}" for path, reason in shown.itertuples(index=False))
    else:
        yield from (f"    {line}" for line in shown.to_string(index=False).splitlines())
    if len(shown) < len(table):
        yield f"    and {len(table) - len(shown):,} more (--json lists all)"


def verify(
    dataset: Dataset, n_workers: int = -1, progress: bool = False, keep: bool = False
) -> Report:
    """Walk a data set and read every image that the manifest selects; a stored index is not used.

    Parameters
    ----------
    n_workers : int
        Threads that read; -1 takes every core.
    progress : bool
        Show a bar.
    keep : bool
        Store what was found as the index that everything else reads.

    Raises
    ------
    FileNotFoundError
        If there is no root, no image where the layout looks for them, or no file of checksums.
    ValueError
        If the data set has no files, or a list that the manifest names can't be understood.
    """
    # All unreadable images are to be named, also where the first would stop a run.
    lenient = dataset.model_copy(update={"on_unreadable": "skip"})
    index = (
        records_of(lenient, None, True, n_workers, progress)
        if keep
        else build_index(lenient, n_workers, progress)
    )
    records = index.records
    problems = {
        "unreadable": index.unreadable,
        "odd": index.odd,
        "duplicates": duplicates(records).drop(columns="digest"),
        "missing_pairs": _missing(dataset, records)[["id", "path", "split"]],
        "missing_fakes": missing_fakes(records),
        "one_sided": pd.DataFrame({"split": _one_sided(records)}, dtype="str"),
        "leakage": leakage(records),
        "checksums": check(
            dataset, records, index.unreadable["path"].tolist(), n_workers, progress
        ),
    }
    return Report(
        name=dataset.name,
        title=dataset.title,
        root=str(dataset.folder()),
        images=len(records),
        groups=int(records["group"].nunique()),
        counts=counts(records),
        problems=problems,
        foreign=sorted(index.foreign),
        has_checksums=any(part.checksums for part in _parts(dataset)),
    )


def _parts(dataset: Dataset) -> tuple[Files, ...]:
    return dataset.parts if isinstance(dataset, Union) else (dataset,)


def _one_sided(records: pd.DataFrame) -> list[str]:
    """Splits that lack a class. A data set of one class, such as COCO, is half of a union and lacks nothing."""
    return one_sided_splits(records) if records["label"].nunique() == 2 else []


def _missing(dataset: Dataset, records: pd.DataFrame) -> pd.DataFrame:
    if isinstance(dataset, Folders) and dataset.options.pairs == "by_name":  # all may lack theirs
        return records[(records["label"] == 1) & (records["pair"] == "")]
    return missing_pairs(records)


def check(
    dataset: Dataset,
    records: pd.DataFrame,
    unreadable: list[str],
    n_workers: int = -1,
    progress: bool = False,
) -> pd.DataFrame:
    """Compare files with the list of checksums that the manifest names: path and reason of each difference.

    Every file of the list is looked at, whether it is an image or not; every image must be in the list.
    """
    found = []
    for part in _parts(dataset):
        if part.checksums:
            found += _check_part(part, dataset.folder(), records, unreadable, n_workers, progress)
    return pd.DataFrame(found, columns=PROBLEM, dtype="str")


def _check_part(
    part: Files,
    start: Path,
    records: pd.DataFrame,
    unreadable: list[str],
    n_workers: int,
    progress: bool,
) -> list[tuple[str, str]]:
    prefix = part.folder().relative_to(start).as_posix().removeprefix(".")
    prefix += "/" if prefix else ""
    wanted = {
        f"{prefix}{path}": digest
        for path, digest in read_checksums(part.file(part.checksums, "checksums"))
    }
    known = {path: digest for path, digest in zip(records["path"], records["digest"], strict=True)}
    images = [path for path in (*known, *unreadable) if path.startswith(prefix)]
    known |= _digests(start, [path for path in wanted if path not in known], n_workers, progress)
    return [
        *((path, "not in the list of checksums") for path in images if path not in wanted),
        *(
            (path, "in the list of checksums, not on disk")
            for path in wanted
            if known[path] is None
        ),
        *(
            (path, f"SHA-256 is {known[path]}, not {wanted[path]}")
            for path in wanted
            if _differs(known, wanted, path)
        ),
    ]


def _differs(known: dict[str, str | None], wanted: dict[str, str], path: str) -> bool:
    return known[path] is not None and known[path] != wanted[path]


def _digests(root: Path, paths: list[str], n_workers: int, progress: bool) -> dict[str, str | None]:
    """SHA-256 of files that are no records; None where there is no such file."""
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    found = Parallel(n_jobs=n_workers, prefer="threads", return_as="generator")(
        delayed(_digest_of)(root / path) for path in paths
    )
    bar = tqdm(
        found, total=len(paths), desc="checksums", unit="file", disable=not progress or not paths
    )
    return dict(zip(paths, bar, strict=True))


def _digest_of(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_checksums(path: Path) -> Iterator[tuple[str, str]]:
    """Paths, with forward slashes and without a leading ``./``, and digests of a file as ``sha256sum`` writes it.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If a line is another one; the message has its number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file of checksums at {path}")
    for number, line in enumerate(
        path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1
    ):
        line = line.rstrip("\r")
        match = LINE.fullmatch(line)
        if match is None and line.strip():
            raise ValueError(
                f"{path}, line {number}: {line[:80]!r} found; '<SHA-256>  <path>' wanted"
            )
        if match is not None:
            yield _unescaped(line, match[2]), match[1].lower()


def _unescaped(line: str, name: str) -> str:
    """sha256sum starts a line with a backslash if the name has one, or a line break."""
    if line.startswith("\\"):
        name = re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), name)
    return str(PurePosixPath(name))
