"""Whether a data set on disk is what the manifest says: what is wrong is listed by name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from defocus_lib.data import shortcuts
from defocus_lib.data.dataset import Dataset, Files
from defocus_lib.data.file_facts import NAMES
from defocus_lib.data.images import in_threads
from defocus_lib.data.index import PROBLEM, Index, build_index, load_index
from defocus_lib.data.records import (
    counts,
    duplicates,
    identities_known,
    leakage,
    missing_fakes,
    missing_pairs,
    one_sided_splits,
    resolve_copies,
)
from defocus_lib.data.tree import Problem
from defocus_lib.stats.bootstrap import NO_BREAK

LINE = re.compile(r"\\?([0-9a-fA-F]{64}) [ *](.+)")
UNKNOWN_IDENTITIES = "identities not known: no name tells whom an image shows"
REMEDY = "`equalise` in the manifest resizes and compresses all images alike; see the page Data."
SHOWN = 20  # lines of a list; JSON has all
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
    "identical": (
        "manipulated image that equals its real image",
        "manipulated images that equal their real images",
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
    "shortcuts": (
        "manipulation whose files give the label away",
        "manipulations whose files give the label away",
    ),
    "checksums": (
        "difference from the list of checksums",
        "differences from the list of checksums",
    ),
}


@dataclass(frozen=True)
class Report:
    """What :func:`verify` found.

    ``images`` and ``groups`` count what can be read and is in a split, ``counts`` images by
    manipulation and split. ``problems`` has a table for each key of :data:`HEADINGS`, with one row
    per fault. No problems are ``foreign``, paths of what is no image; ``unused``, images without a
    use by folder and reason, and their number ``unused_by_reason``; ``short``, videos with fewer
    frames than the manifest asks for; ``absent``, manipulations that the layout knows and nobody
    asked for by name.

    ``shortcuts`` is the table of :func:`defocus_lib.data.shortcuts.file_shortcuts`. Where
    ``identities_known`` is false, nothing says whom an image shows, and no leak of identities can
    be found. ``enlarged`` is the number of images that ``equalise`` makes larger. ``copies`` are
    images whose content occurs more than once where the manifest says ``on_duplicates: skip``, and
    ``copies_left_out`` those of them that this leaves out of training and validation; copies that
    are real here and manipulated there are a fault all the same.
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
    unused: pd.DataFrame
    unused_by_reason: dict[str, int]
    short: pd.DataFrame
    absent: list[str]
    shortcuts: pd.DataFrame
    identities_known: bool
    enlarged: int = 0
    copies: int = 0
    copies_left_out: int = 0

    @property
    def ok(self) -> bool:
        return all(table.empty for table in self.problems.values())

    def as_json(self) -> dict:
        """All of it, in plain types."""
        keys = [
            *("name", "title", "root", "images", "groups", "ok", "foreign", "has_checksums"),
            *(
                "unused_by_reason",
                "absent",
                "identities_known",
                "enlarged",
                "copies",
                "copies_left_out",
            ),
        ]
        problems = {key: table.to_dict(orient="records") for key, table in self.problems.items()}
        return {key: getattr(self, key) for key in keys} | {
            "counts": self.counts.to_dict(orient="index"),
            "problems": problems,
            "unused": self.unused.to_dict(orient="records"),
            "short": self.short.to_dict(orient="records"),
            "shortcuts": json.loads(self.shortcuts.to_json(orient="records")),  # null, not NaN
        }

    def text(self) -> str:
        """The counts, then what is wrong; of long lists the first rows, except unreadable files."""
        images = _counted(self.images, "image", "images")
        groups = _counted(self.groups, "group", "groups")
        foreign = _counted(len(self.foreign), "file that is no image", "files that are no images")
        names = f": {', '.join(self.foreign[:5])}" if self.foreign else ""
        lines = [
            *(f"{self.title} in {self.root}", "", self.counts.to_string(), ""),
            f"{images}, {groups} (a real image or video with its fakes, or one without)",
            f"{foreign}{names}{', ...' if len(self.foreign) > 5 else ''}",
            *self._facts(),
        ]
        for key, table in self.problems.items():
            if key == "leakage" and table.empty and not self.identities_known:
                lines.append(UNKNOWN_IDENTITIES)
                continue
            if key == "duplicates" and self.copies:
                lines.append(self._copies())
            else:
                lines.append(_counted(len(table), *HEADINGS[key]))
            lines += _rows(table, len(table) if key == "unreadable" else SHOWN)
        lines += self._shortcut_lines()
        lines += [] if self.has_checksums else ["(the manifest names no list of checksums)"]
        verdict = "nothing is wrong" if self.ok else "not all is well: see above"
        return "\n".join([*lines, "", verdict])

    def _copies(self) -> str:
        """What becomes of copies where the manifest says to skip them."""
        return (
            f"{_counted(self.copies, *HEADINGS['duplicates'])}; `on_duplicates: skip` leaves "
            f"{self.copies_left_out:,} of them out, because a later split has them too; real here "
            f"and manipulated there: {len(self.problems['duplicates']):,}"
        )

    def _facts(self) -> Iterator[str]:
        """Manipulations that are not there, images that are not used by reason, short videos."""
        if self.absent:
            yield f"not there, and not named in the manifest: {', '.join(self.absent)}"
        images = sum(self.unused_by_reason.values())
        yield _counted(images, "image that is not used", "images that are not used")
        yield from (f"    {reason}: {n:,}" for reason, n in self.unused_by_reason.items())
        if len(self.short):
            videos = _counted(len(self.short), "video has", "videos have")
            least = self.short["frames"].min()
            yield f"{videos} fewer than {self.short['asked'].max()} frames, at least {least}"

    def _shortcut_lines(self) -> Iterator[str]:
        """What facts about the files alone tell about each manipulation, and the remedy."""
        for name, row in shortcuts.described(self.shortcuts).iterrows():
            texts = (text.replace(NO_BREAK, " ") for text in row.iloc[:-2])
            verdict, auc, stored, fact, of_fact, in_real, in_fake = texts
            title = f"{name} told from real by facts about the files alone"
            if not stored:
                yield f"{title}: {verdict}, {auc}"
                continue
            yield f"{title}:"
            yield f"    AUC {auc}, without bytes per pixel {stored}"
            typical = f" ({in_real} in real files, {in_fake} in fake ones)" if of_fact else ""
            yield f"    most telling fact: {fact} {of_fact}".rstrip() + typical
            yield f"    gives the label away: {verdict}"
        if self.enlarged:
            images = _counted(self.enlarged, "image is", "images are")
            yield f"{images} smaller than `equalise` says: enlarging adds blur"
        if len(self.problems["shortcuts"]):
            yield REMEDY


def _counted(number: int, singular: str, plural: str) -> str:
    return f"{number:,} {singular if number == 1 else plural}"


def _rows(table: pd.DataFrame, limit: int) -> Iterator[str]:
    """The first rows of a table as indented text."""
    if table.empty:
        return
    shown = table.head(limit)
    if list(table.columns) == PROBLEM:
        yield from (f"    {path}: {reason}" for path, reason in shown.itertuples(index=False))
    else:
        yield from (f"    {line}" for line in shown.to_string(index=False).splitlines())
    if len(shown) < len(table):
        yield f"    and {len(table) - len(shown):,} more (--json lists all)"


def verify(
    dataset: Dataset, n_workers: int = -1, progress: bool = False, keep: bool = False
) -> Report:
    """Walk a data set, read every image that the manifest selects, and list what is wrong.

    A stored index is not used; ``keep`` stores the walk as the index that everything else loads.
    Raises FileNotFoundError if there is no root, no image where the layout looks for them, or no
    file of checksums; ValueError if the data set has no files, or a list is unreadable.
    """
    # All unreadable images are to be named, also where the first would stop a run.
    lenient = dataset.model_copy(update={"on_unreadable": "skip"})
    if keep:
        index = load_index(lenient, refresh=True, n_workers=n_workers, progress=progress)
    else:
        index = build_index(lenient, n_workers, progress)
    records = index.records
    table = shortcuts.file_shortcuts(records, index.facts)
    skipped = dataset.on_duplicates == "skip"  # type: ignore[attr-defined]
    kept = resolve_copies(records, "skip", dataset.name)
    return Report(
        name=dataset.name,
        title=dataset.title,
        root=str(dataset.folder()),
        images=len(records),
        groups=int(records["group"].nunique()),
        counts=counts(records),
        problems=_problems(dataset, index)
        | {"shortcuts": _flagged(table)}
        | {"checksums": _compare_checksums(dataset, index, n_workers, progress)},
        foreign=sorted(index.foreign),
        has_checksums=any(part.checksums for part in dataset.parts),
        unused=index.unused,
        unused_by_reason=index.unused_by_reason().to_dict(),
        short=index.short,
        absent=index.absent,
        shortcuts=table,
        identities_known=identities_known(records),
        enlarged=dataset.equalise.enlarged(records) if dataset.equalise else 0,  # type: ignore[attr-defined]
        copies=len(duplicates(records)) if skipped else 0,
        copies_left_out=len(records) - len(kept) if skipped else 0,
    )


def _flagged(table: pd.DataFrame) -> pd.DataFrame:
    """The manipulations whose files give the label away, and by which fact most."""
    flagged = table[shortcuts.gives_away(table)].reset_index(drop=True)
    named = flagged["fact"].map(NAMES).fillna("none")
    table = flagged[["manipulation", "auc"]].assign(fact=named, fact_auc=flagged["fact_auc"])
    return table.round(3)


def _problems(dataset: Dataset, index: Index) -> dict[str, pd.DataFrame]:
    records = index.records
    copies = duplicates(records).drop(columns="digest")
    if dataset.on_duplicates == "skip":  # type: ignore[attr-defined]
        copies = copies[copies["across_labels"]]
    lonely = missing_pairs(records)
    if all(part.expects_pairs for part in dataset.parts):
        lonely = records[(records["label"] == 1) & (records["pair"] == "")]
    lonely = lonely[~lonely["id"].isin(index.identical["id"])]
    # A data set of one class, such as COCO, is half of a union and lacks nothing.
    one_sided = one_sided_splits(records) if records["label"].nunique() == 2 else []
    return {
        "unreadable": index.unreadable,
        "odd": index.odd,
        "duplicates": copies,
        "identical": index.identical[["id", "path", "split"]],
        "missing_pairs": lonely[["id", "path", "split"]],
        "missing_fakes": missing_fakes(records),
        "one_sided": pd.DataFrame({"split": one_sided}, dtype="str"),
        "leakage": leakage(records),
    }


def _compare_checksums(
    dataset: Dataset, index: Index, n_workers: int, progress: bool
) -> pd.DataFrame:
    """Path and reason of each difference from the lists of checksums that the manifest names.

    Every file of a list is looked at, image or not; every image must be in the list.
    """
    differences: list[Problem] = []
    for part in dataset.parts:
        if part.checksums:
            title = "checksums" if progress else ""
            differences += _compare_part(part, dataset.folder(), index, n_workers, title)
    return pd.DataFrame(differences, columns=PROBLEM, dtype="str")


def _compare_part(
    part: Files, root: Path, index: Index, n_workers: int, title: str
) -> Iterator[Problem]:
    below = part.folder().relative_to(root).as_posix()
    prefix = "" if below == "." else f"{below}/"
    listed = {
        f"{prefix}{path}": sha256
        for path, sha256 in read_checksums(part.file(str(part.checksums), "checksums"))
    }
    actual = dict(zip(index.records["path"], index.records["digest"], strict=True))
    for path in (*actual, *index.unreadable["path"]):
        if path.startswith(prefix) and path not in listed:
            yield path, "not in the list of checksums"
    others = [path for path in listed if path not in actual]
    digests = in_threads(_sha256, [root / path for path in others], n_workers, title)
    actual |= dict(zip(others, digests, strict=True))
    yield from (
        (path, "in the list of checksums, not on disk") for path in listed if actual[path] is None
    )
    for path, sha256 in listed.items():
        if actual[path] not in (None, sha256):
            yield path, f"SHA-256 is {actual[path]}, not {sha256}"


def _sha256(path: Path) -> str | None:
    """The digest of a file of any size, None if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_checksums(path: Path) -> Iterator[tuple[str, str]]:
    """Paths, without a leading ``./``, and digests of a file as ``sha256sum`` writes it.

    Raises FileNotFoundError if there is none; ValueError, with its number, for another line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file of checksums at {path}")
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r")
        match = LINE.fullmatch(line)
        if match:
            yield _unescaped(line, match[2]), match[1].lower()
        elif line.strip():
            raise ValueError(
                f"{path}, line {number}: {line[:80]!r} found; '<SHA-256>  <path>' wanted"
            )


def _unescaped(line: str, name: str) -> str:
    """sha256sum starts a line with a backslash if the name has one, or a line break."""
    if line.startswith("\\"):
        name = re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), name)
    return str(PurePosixPath(name))
