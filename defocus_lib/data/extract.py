"""From videos to face crops: a folder of PNG for each video, named by the index of the frame.

The crops of a video are made elsewhere and their folder renamed, so that it is whole or not there.
A record of each video, in the folder ``extraction`` below the root, has the squares, which serve
its fakes, too, and says what need not be done again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from defocus_lib.data import faces, videos
from defocus_lib.data.dataset import Dataset, digest
from defocus_lib.data.layouts import Extraction
from defocus_lib.data.videos import Clip, UnreadableVideo
from defocus_lib.run import cluster
from defocus_lib.run.artifacts import write_beside, write_json

if TYPE_CHECKING:
    import pandas as pd

RECORDS, UNFINISHED = "extraction", "unfinished"  # below the root, and below that
STEP = 5  # frames; between those that are used, the face is followed from one to the next of these
ENDED = "the video ends before it"
DIED = "the process that decoded it died"
SHOWN = 20  # videos that failed, on the terminal; the report has all
Place = Callable[[str, np.ndarray], faces.Square]  # of a frame, by its name and its pixels


@dataclass
class Record:
    """What became of a video.

    ``squares`` has left, top and side of each crop in px, ``faults`` why a frame has none, by name
    of the frame. ``size`` is that of the frames, width and height. ``problem`` is why there are no
    crops at all, or not all.
    """

    video: str
    crops: str
    bytes: int = 0
    settings: dict = field(default_factory=dict)
    size: list[int] = field(default_factory=list)
    squares: dict[str, list[int]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Task:
    """What holds for all videos.

    ``videos`` and ``root`` are the folders that the paths of videos and of crops start from;
    ``fresh`` does again what is there.
    """

    videos: Path
    root: Path
    how: Extraction
    frames: int
    fresh: bool

    def settings(self) -> dict:
        """All that the crops follow from, besides the video."""
        how = self.how.model_dump(mode="json", include={"take", "margin"})
        return {**how, "frames": self.frames, "detector": faces.DETECTOR}


class Job(NamedTuple):
    """A video, and the fakes that were made from it, which are cropped by its squares."""

    task: Task
    clip: Clip
    fakes: list[Clip]


@dataclass(frozen=True)
class Report:
    """What became of all videos: ``table`` has one row per video, and lies at ``path``, too."""

    table: pd.DataFrame
    path: Path

    @property
    def ok(self) -> bool:
        return bool((self.table["problem"] == "").all())

    def text(self) -> str:
        """The counts, then the first of the videos that failed, then where the rest is."""
        failed = self.table[self.table["problem"] != ""]
        lines = [f"{row.video}: {row.problem}" for row in failed.head(SHOWN).itertuples()]
        lines += [f"and {len(failed) - SHOWN:,} more"] if len(failed) > SHOWN else []
        lines.append(
            f"videos: {len(self.table):,}; crops: {self.table['crops'].sum():,}; "
            f"frames without one: {self.table['left_out'].sum():,}; failed videos: {len(failed):,}"
        )
        return "\n".join([*lines, f"{self.path}: one row per video"])


def extract(
    dataset: Dataset, n_workers: int = -1, progress: bool = False, fresh: bool = False
) -> Report:
    """Crop the faces out of the videos of a data set, into the folders that its layout reads.

    ``n_workers`` are processes, -1 for one per core. A video that is done is not done again, unless
    ``fresh``. Raises FileNotFoundError if there are no videos where the layout looks for them;
    ValueError if the layout knows no videos, or if another process is at work on them.
    """
    chosen = videos.with_videos(dataset)
    root = chosen.folder(make=bool(chosen.extract.videos))
    source = chosen.file(chosen.extract.videos, "extract.videos")
    clips = videos.clips_of(chosen, source)
    task = Task(source, root, chosen.extract, videos.frames_of(chosen), fresh)
    with _alone(root):
        jobs, orphans = _jobs(clips, task)
        total = progress * (len(clips) - len(orphans))
        records = [*orphans, *_performed(jobs, n_workers, total)]
        shutil.rmtree(root / RECORDS / UNFINISHED, ignore_errors=True)
        table = _table(sorted(records, key=lambda record: record.video))
        path = root / RECORDS / f"{chosen.name}.csv"
        write_beside(path, lambda beside: table.to_csv(beside, index=False))
    return Report(table, path)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    (root / RECORDS).mkdir(exist_ok=True)
    try:
        with FileLock(root / RECORDS / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise ValueError(f"{root}: another process extracts its faces; wait for it") from error


def _jobs(clips: list[Clip], task: Task) -> tuple[list[Job], list[Record]]:
    """Each video with its fakes, and a record of the fakes whose target is not there."""
    fakes: dict[str, list[Clip]] = {clip.crops: [] for clip in clips if not clip.target}
    orphans = []
    for clip in clips:
        if clip.target in fakes:
            fakes[clip.target].append(clip)
        elif clip.target:
            problem = f"no video of its target, whose faces would be in {clip.target}"
            orphans.append(Record(clip.video, clip.crops, problem=problem))
    jobs = [Job(task, clip, fakes[clip.crops]) for clip in clips if not clip.target]
    return jobs, orphans


def _performed(jobs: list[Job], n_workers: int, total: int) -> Iterator[Record]:
    """The records of all jobs as they end; with a bar, if there is a ``total`` of videos."""
    from tqdm.auto import tqdm

    hidden = None if total else True  # None: only on a terminal
    with tqdm(total=total, desc="extracting faces", unit="video", disable=hidden) as bar:
        for records in _in_processes(jobs, n_workers):
            bar.update(len(records))
            yield from records


def _in_processes(jobs: list[Job], n_workers: int) -> Iterator[list[Record]]:
    """The records of each job. A file on which a decoder crashes ends its process, and joblib then
    ends all others: what they were at work on is done one by one, and then the rest."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left = {job.clip.crops: job for job in jobs}
    while left:
        in_processes = Parallel(n_jobs=n_workers, return_as="generator_unordered")
        try:
            for records in in_processes(delayed(perform)(job) for job in list(left.values())):
                del left[records[0].crops]
                yield records
        except TerminatedWorkerError:
            begun = [job for job in left.values() if _is_begun(job)]
            if not begun:  # they died of something else than a file
                raise
            for job in begun:
                del left[job.clip.crops]
                yield _one_by_one(job)


def _is_begun(job: Job) -> bool:
    unfinished = job.task.root / RECORDS / UNFINISHED
    return any((unfinished / clip.crops).exists() for clip in (job.clip, *job.fakes))


def _one_by_one(job: Job) -> list[Record]:
    """As :func:`perform`, in a process that may end with a video."""
    target = _apart(job.task, job.clip, None)
    return [target, *(_apart(job.task, fake, target) for fake in job.fakes)]


def _apart(task: Task, clip: Clip, target: Record | None) -> Record:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:  # one job would run in this process if there were one worker
        (record,) = Parallel(n_jobs=2)([delayed(_crop)(task, clip, target)])
    except TerminatedWorkerError:
        return Record(clip.video, clip.crops, problem=DIED)
    return record


def perform(job: Job) -> list[Record]:
    """Crop a video by its faces, and its fakes by its squares; what is there whole is kept."""
    target = _crop(job.task, job.clip, None)
    return [target, *(_crop(job.task, fake, target) for fake in job.fakes)]


def _crop(task: Task, clip: Clip, target: Record | None) -> Record:
    path = task.videos / clip.video
    length = path.stat().st_size if path.exists() else 0
    settings = task.settings() | ({"target": digest(target.squares)} if target else {})
    record = Record(clip.video, clip.crops, length, settings)
    stored = task.root / RECORDS / f"{clip.crops}.json"
    unfinished = task.root / RECORDS / UNFINISHED / clip.crops
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    # Processes of a run that was killed go on for a while.
    with FileLock(f"{unfinished}.lock"):
        if (task.root / clip.crops).exists() and not stored.exists():
            record.problem = f"{clip.crops} exists already and was not made here; move it away"
            return record
        kept = None if task.fresh else _kept(stored, record, task.root)
        return kept or _make(task, record, target, stored, unfinished)


def _kept(stored: Path, record: Record, root: Path) -> Record | None:
    """The record of a video that is done already, in the same way; else None."""
    try:
        old = Record(**json.loads(stored.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    same = (old.bytes, old.settings, old.problem) == (record.bytes, record.settings, "")
    whole = all((root / old.crops / f"{name}.png").is_file() for name in old.squares)
    return old if same and whole else None


def _make(
    task: Task, record: Record, target: Record | None, stored: Path, unfinished: Path
) -> Record:
    """Write the crops and the record of a video."""
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        with cluster.one_thread():
            _write_crops(task, record, target, unfinished)
    except UnreadableVideo as error:
        record.problem = str(error)
    if not (record.squares or record.problem):
        record.problem = "no crop: " + "; ".join(sorted(set(record.faults.values())))
    # In this order: whenever the process is killed, a folder that is there is that of its record.
    shutil.rmtree(task.root / record.crops, ignore_errors=True)
    write_json(stored, asdict(record))
    if record.squares:
        (task.root / record.crops).parent.mkdir(parents=True, exist_ok=True)
        unfinished.rename(task.root / record.crops)
    return record


def _write_crops(task: Task, record: Record, target: Record | None, folder: Path) -> None:
    """Write a PNG of each frame that has a square, and note those that have none."""
    path = task.videos / record.video
    if target is None:
        length, record.problem = (0, "") if task.how.take == "first" else videos.frames_in(path)
        indices = videos.chosen_frames(task.how.take, task.frames, length)
        place: Place = faces.Follower(task.how.margin)
    else:
        indices, place = [*map(int, target.squares)], _given(target)
    between = range(0, indices[-1], STEP) if target is None else ()
    faults = dict.fromkeys(map(_name, indices), ENDED)
    for index, pixels in videos.read_frames(path, sorted({*indices, *between})):
        name = _name(index)
        record.size, record.faults = [pixels.shape[1], pixels.shape[0]], faults
        try:
            square = place(name, pixels)
        except faces.NoFace as error:
            faults |= {name: str(error)} if name in faults else {}
        else:
            if faults.pop(name, None):
                Image.fromarray(square.cut(pixels)).save(folder / f"{name}.png")
                record.squares[name] = list(square)
    record.faults = faults


def _name(index: int) -> str:
    """Names of one length: they sort as numbers do."""
    return f"{index:06d}"


def _given(target: Record) -> Place:
    """The squares of the target, for frames of its size."""
    if not target.squares:
        raise UnreadableVideo("its target has no crops")

    def place(name: str, pixels: np.ndarray) -> faces.Square:
        size = [pixels.shape[1], pixels.shape[0]]
        if size != target.size:
            both = "a frame of {} x {} px, where its target has {} x {} px"
            raise UnreadableVideo(both.format(*size, *target.size))
        return faces.Square(*target.squares[name])

    return place


def _table(records: list[Record]) -> pd.DataFrame:
    """One row per video: its crops, the frames without one by reason, and what failed."""
    import pandas as pd

    rows = []
    for record in records:
        reasons: dict[str, list[str]] = {}
        for name, reason in sorted(record.faults.items()):
            reasons.setdefault(reason, []).append(name)
        rows.append(
            {
                "video": record.video,
                "folder": record.crops,
                "crops": len(record.squares),
                "left_out": len(record.faults),
                "frames_left_out": "; ".join(f"{why}: {' '.join(n)}" for why, n in reasons.items()),
                "problem": record.problem,
            }
        )
    return pd.DataFrame(rows)
