"""The book as a task graph (doit): what each notebook needs and leaves, and what is up to date.

python -m doit                                      the demo book
python -m doit profile=smoke                        the same, in miniature
python -m doit set="05_binary_mask.threshold=0.2"   with a parameter changed (or several)
python -m doit notebook:02_defocus_map              one notebook, after those that it needs
python -m doit bundle=artifacts/bundle-smoke         an opened bundle (defocus_lib bundle open)
python -m doit artifacts=/elsewhere book=/elsewhere what is made goes there
python -m doit jobs=1                               one notebook at a time, with all cores
python -m doit list --all                           what there is to do

What goes wrong ends in one sentence; VERBOSE=1 in the environment adds the traceback.
"""

from defocus_lib.run.interrupts import end_at_once, is_verbose

if __name__ == "dodo":  # as doit names it
    end_at_once()  # what follows is imported for a second

import filecmp
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TextIO

import psutil
from doit import Globals, control, doit_cmd, get_var
from doit.action import CmdAction
from doit.dependency import MD5Checker, get_file_md5
from doit.exceptions import TaskFailed
from doit.reporter import ConsoleReporter
from doit.task import Task
from doit.tools import config_changed
from filelock import FileLock, Timeout
from import_deps import ModuleSet, PyModule
from joblib import cpu_count

from defocus_lib.data.manifest import load_manifest
from defocus_lib.run.artifacts import code_digest, write_json
from defocus_lib.run.kernel import Forks
from defocus_lib.run.notebook import (
    LEFT_OUT,
    NotebookFailed,
    kernel_environment,
    least_test_groups,
    read_notebook,
    run_notebook,
)
from defocus_lib.run.parameters import (
    ParameterError,
    check_parameters,
    declared_parameters,
    nearest,
    parse_settings,
    read_profile,
)
from defocus_lib.run.provenance import commit
from defocus_lib.run.terminal import say

VERBOSE = is_verbose()
ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "notebooks"
LIBRARY = ROOT / "defocus_lib"
# doit takes any name, and a mistyped one would run the demo.
VARIABLES = ("profile", "set", "jobs", "bundle", "artifacts", "book")
for variable in doit_cmd._CMDLINE_VARS or ():
    if variable not in VARIABLES:
        raise SystemExit(f"ERROR: unknown variable {variable!r}{nearest(variable, VARIABLES)}")
BUNDLE = get_var("bundle", "")
if BUNDLE:
    from defocus_lib.run.bundle.opened import RUN_AGAIN, front_page, opened, run_again
try:
    OPENED = opened(Path(BUNDLE)) if BUNDLE else None
except ValueError as error:
    raise SystemExit(f"ERROR: {error}") from None
PROFILE = OPENED.profile if OPENED else get_var("profile", "demo")
ARTIFACTS = Path(BUNDLE or get_var("artifacts", ROOT / "artifacts" / PROFILE)).resolve()
PROSE = Path(get_var("book", ROOT / "book")).resolve()
PAGES = ARTIFACTS / "book"  # the prose, and what this run puts into it
# Each run is rendered into a folder of its own, the demo into the usual one of Jupyter Book.
USUAL = get_var("book", "") or ARTIFACTS == ROOT / "artifacts" / "demo"
BUILD = (PROSE if USUAL else PAGES) / "_build"

# Notebooks side by side, each with its share of the cores. Two gigabytes hold any of them.
GIB_FOR_TWO = 6
ENOUGH = cpu_count() > 1 and psutil.virtual_memory().total / 2**30 >= GIB_FOR_TWO


def stop(error: Exception) -> SystemExit:
    """The end of a run that cannot begin: one sentence and exit code 1."""
    if VERBOSE:
        raise error
    return SystemExit(f"ERROR: {error}")


def jobs() -> int:
    """How many notebooks run side by side: as given, else two where cores and memory allow."""
    given = str(get_var("jobs", 2 if ENOUGH else 1))
    if not given.isdecimal() or int(given) < 1:
        raise ParameterError(f"jobs is {given!r}; 1 or more notebooks side by side wanted")
    return int(given)


def given_parameters() -> dict[str, dict[str, object]]:
    """What the profile (or the bundle) and ``set`` say, by notebook."""
    changes = parse_settings(get_var("set", ""))
    if OPENED:
        return run_again(OPENED, changes)
    profile = read_profile(SOURCES / "profiles", PROFILE)
    return {
        name: {**profile.get(name, {}), **changes.get(name, {})} for name in {**profile, **changes}
    }


try:
    JOBS = jobs()
    THREADS = max(1, cpu_count() // JOBS)  # of a notebook
    GIVEN = given_parameters()
    DATASET = str(GIVEN.get("01_data", {}).get("dataset", "scenes"))
    ENTRY = None if DATASET == "scenes" else load_manifest().dataset(DATASET)
    if ENTRY:
        ENTRY.folder()  # a root that is not set or not there is said now
except (ParameterError, FileNotFoundError, KeyError, ValueError) as error:
    raise stop(error) from None

# --------------------------------------------------------------------------------------------------
# What each notebook reads and writes in artifacts/<profile>/. Their order follows from this table.


def source(name: str) -> Path:
    """The file of a notebook. The first one has two: scenes are rendered, all other data sets lie
    on disk."""
    return SOURCES / ("01_data_on_disk.py" if name == "01_data" and ENTRY else f"{name}.py")


def declared(name: str) -> dict[str, object]:
    return declared_parameters(read_notebook(source(name)), name)


SHAPLEY = ["shapley/index.parquet"]  # it names every shard, with its checksum
DETECTORS = ["detector_defocus.safetensors", "detector_rgb.safetensors"]
DATA = ["records.parquet", *([] if ENTRY else ["truth.npz"])]
SWEEP = "sweep.parquet"
MAPS = "maps.json"
FRONT_PAGE = ["overview.png", "this_run.md", "claims.md"]

NOTEBOOKS = {
    # name                (reads, writes)
    "01_data": ([], [*DATA, "sweep_records.parquet", "this_run.md"]),
    "02_defocus_map": (
        DATA,
        [MAPS, "stages/02_defocus_map.csv", "claims/02_defocus_map.json"],
    ),
    "03_train_detector": (
        [*DATA, MAPS],
        [
            *DETECTORS,
            "metrics.csv",
            "predictions.csv",
            "features.npz",
            "stages/03_train_detector.csv",
            "claims/03_train_detector.json",
        ],
    ),
    "03b_yardstick": (
        [*DATA, MAPS, *DETECTORS, "predictions.csv", "stages/03_train_detector.csv"],
        ["yardstick.csv", "claims/03b_yardstick.json"],
    ),
    "04_save_shapley": (
        [*DATA, MAPS, *DETECTORS],
        [*SHAPLEY, "stages/04_save_shapley.csv", "claims/04_save_shapley.json"],
    ),
    "05_binary_mask": (SHAPLEY, ["claims/05_binary_mask.json"]),
    "06_local_variance": (SHAPLEY, ["claims/06_local_variance.json"]),
    "06b_contrast_of_blur": ([*DATA, MAPS], ["claims/06b_contrast_of_blur.json"]),
    "07_tsne": (["features.npz", *SHAPLEY], ["claims/07_tsne.json"]),
    "08_shapley_view": (SHAPLEY, ["overview.png", "claims/08_shapley_view.json"]),
    "09_alignment_score": (SHAPLEY, ["claims/09_alignment_score.json"]),
    "10_known_blur": (DATA[:1], ["claims/10_known_blur.json"]),
    "11_controls": ([*DATA, "sweep_records.parquet", MAPS], [SWEEP, "claims/11_controls.json"]),
    "12_generalisation": (
        [*DATA, MAPS, *DETECTORS, SWEEP],
        ["robustness.csv", "claims/12_generalisation.json"],
    ),
    "13_trust_in_shapley": (
        [*DATA, MAPS, *DETECTORS, *SHAPLEY],
        ["trust.csv", "claims/13_trust_in_shapley.json"],
    ),
    "14_better_maps": (
        [*DATA, "sweep_records.parquet"],
        ["better_maps.parquet", "claims/14_better_maps.json"],
    ),
    "15_real_images": (DATA[:1], ["claims/15_real_images.json"]),
    "own_picture": ([*DATA[:1], *DETECTORS[:1]], []),
    "speed": ([], []),
}
# Measured by hand: `make bench`.
BENCHMARKS = sorted((ROOT / "benchmarks" / "results").glob("*.csv"))
# The last page shows how long the others took and collects their claims.
RECORDS = [
    write
    for _, writes in NOTEBOOKS.values()
    for write in writes
    if write.startswith(("stages/", "claims/"))
]
# The page Speed shows where the time of the others went.
NOTEBOOKS["speed"] = ([f"runs/{name}.json" for name in NOTEBOOKS if name != "speed"], [])
NOTEBOOKS["status"] = ([*RECORDS, *(f"runs/{name}.json" for name in NOTEBOOKS)], ["claims.md"])

# --------------------------------------------------------------------------------------------------


def parameters() -> dict[str, dict[str, object]]:
    """The parameters of each notebook in this run, checked before anything executes."""
    for name in GIVEN:
        if name not in NOTEBOOKS:
            raise ParameterError(f"unknown notebook {name!r}; there are {', '.join(NOTEBOOKS)}")
    where = {"artifacts": str(ARTIFACTS)} if BUNDLE or get_var("artifacts", "") else {}
    given = {name: {"profile": PROFILE, **where, **GIVEN.get(name, {})} for name in NOTEBOOKS}
    for name, values in given.items():
        check_parameters(name, declared(name), values)
    return given


try:
    PARAMETERS = parameters()
except ParameterError as error:
    raise stop(error) from None
if pattern := [letter for letter in "*?[" if letter in str(PAGES)]:
    # Jupyter Book looks for the pages by patterns, and would find none at the end of the run.
    raise stop(ValueError(f"{PAGES}: a folder without {pattern[0]} in its name wanted"))
FORKS = Forks(kernel_environment(THREADS))
ARTIFACTS.mkdir(parents=True, exist_ok=True)
DATABASE = ARTIFACTS / ".doit.db"  # one for each profile: they do not disturb one another


def check_database() -> None:
    """Stop if the table of what is up to date is damaged, as a full disk leaves it."""
    try:
        with closing(sqlite3.connect(DATABASE)) as database:
            (answer,) = database.execute("pragma quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        answer = error
    if answer != "ok":
        advice = "delete it, and every notebook runs again"
        raise stop(ValueError(f"{DATABASE} is damaged ({answer}): {advice}"))


check_database()


class CodeChecker(MD5Checker):
    """A module of the library has changed if its code has: comments and docstrings run nothing
    again."""

    def check_modified(self, file_path: str, file_stat: os.stat_result, state: tuple) -> bool:
        timestamp, _, digest = state
        return file_stat.st_mtime != timestamp and digest != content_digest(file_path)

    def get_state(self, dep: str, current_state: tuple | None) -> tuple | None:
        state = super().get_state(dep, current_state)
        return state and (*state[:2], content_digest(dep))


def content_digest(path: str) -> str:
    """What a file is compared by: the code of a module, the bytes of any other file."""
    is_code = path.endswith(".py") and Path(path).is_relative_to(LIBRARY)
    return code_digest(Path(path)) if is_code else get_file_md5(path)


# Of the notebooks that could begin, these do first: others wait for them, or they take long.
FIRST = [
    *("02_defocus_map", "03_train_detector", "11_controls", "14_better_maps", "04_save_shapley"),
    *("03b_yardstick", "13_trust_in_shapley"),
]
ORDER = [f"notebook:{name}" for name in [*(FIRST if JOBS > 1 else []), *NOTEBOOKS]]


class Dispatcher(control.TaskDispatcher.__mro__[-2]):  # doit's own, where ours is set already
    """Takes what is ready in our order. That of doit is the order of a set, which is chance."""

    def _update_waiting(self, processed: control.ExecNode | None) -> None:
        super()._update_waiting(processed)
        self.ready = deque(sorted(self.ready, key=lambda node: rank(node.task.name)))


def rank(task: str) -> int:
    return ORDER.index(task) if task in ORDER else len(ORDER)


control.TaskDispatcher = Dispatcher  # doit has no setting for it


class Reporter(ConsoleReporter):
    """Lines above the progress bars; keeps other runs out, and what is done even after a kill."""

    def __init__(self, outstream: TextIO, options: dict[str, object]) -> None:
        super().__init__(outstream, options)
        self.lock = FileLock(ARTIFACTS / ".lock")
        self.started: dict[str, float] = {}
        self.handlers: dict[int, object] = {}

    def initialize(self, tasks: dict[str, Task], selected_tasks: list[str]) -> None:
        """Called before the first task runs."""
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            raise stop(
                RuntimeError(f"another run is at work in {ARTIFACTS}: let it end first")
            ) from None
        both = (signal.SIGINT, signal.SIGTERM)
        self.handlers = {number: signal.signal(number, interrupted) for number in both}

    def write(self, text: str) -> None:
        say(text.rstrip("\n"), self.outstream)

    def execute_task(self, task: Task) -> None:
        self.started[task.name] = time.monotonic()
        super().execute_task(task)

    def add_success(self, task: Task) -> None:
        """doit writes its table at the end, which a run that is killed does not reach."""
        backend = Globals.dep_manager.backend
        backend.dump()
        backend.__init__(backend.name, backend.codec)  # because dump closes it
        if task.actions:
            minutes, seconds = divmod(round(time.monotonic() - self.started[task.name]), 60)
            self.write(f"   {task.title()}: done in {minutes} min {seconds} s")

    def _write_failure(self, result: dict, write_exception: bool = True) -> None:
        failure = result["exception"]
        cause = "".join(failure.traceback).splitlines()[-1:]  # of an error that nobody expected
        self.write(failure.get_msg() if VERBOSE else ": ".join([failure.message, *cause]))

    def complete_run(self) -> None:
        """Each failure has been told when it came."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.lock.release()


def interrupted(number: int, _frame: object) -> None:
    """Ctrl-C: end the kernels and the rendering, and say what comes next."""
    below = psutil.Process().children(recursive=True)
    for process in below:
        process.terminate()
    for process in psutil.wait_procs(below, timeout=1)[1]:
        process.kill()
    say("Interrupted. The next run goes on from here.")
    raise SystemExit(128 + number)


DOIT_CONFIG = {
    "default_tasks": [
        "notebook",
        "html",
    ],  # the group first: its members run in the order of the table
    "dep_file": str(DATABASE),
    "backend": "sqlite3",
    "verbosity": 2,
    "check_file_uptodate": CodeChecker,
    "reporter": Reporter,
    # In threads: each only waits for its kernel, and Ctrl-C reaches the main thread at once.
    "num_process": JOBS,
    "par_type": "thread",
}


@cache
def library() -> ModuleSet:
    return ModuleSet(sorted(LIBRARY.rglob("*.py")))


@cache
def imports_of(module: str) -> set[str]:
    return library().mod_imports(module)


def library_files(notebook: Path) -> list[Path]:
    """The modules of the library that a notebook imports, and those that they import, with the
    files that two read."""
    found: set[str] = set()
    ahead = library().get_imports(PyModule(notebook), return_fqn=True)
    while ahead:
        name = ahead.pop()
        found.add(name)
        ahead |= imports_of(name) - found
    read = [path for name, paths in READ_BY.items() if name in found for path in paths]
    return [*sorted(library().by_name[name].path for name in found), *read]


READ_BY = {
    "defocus_lib.data.manifest": [ROOT / "data_manifest.yaml"],
    "defocus_lib.maps.learned": sorted((LIBRARY / "maps" / "weights").glob("*")),
}


def executed(name: str) -> Path:
    return ARTIFACTS / "notebooks" / f"{name}.ipynb"


def pages() -> dict[Path, Path]:
    """The sources of the rendered book, from the prose and from the run, and where they go."""
    made = {"_build", "executed"}
    prose = [path for path in PROSE.rglob("*") if path.is_file()]
    named = {path: path.relative_to(PROSE) for path in prose}
    copies = {path: PAGES / name for path, name in named.items() if name.parts[0] not in made}
    copies |= {executed(name): PAGES / "executed" / f"{name}.ipynb" for name in NOTEBOOKS}
    return copies | {ARTIFACTS / name: PAGES / "executed" / name for name in FRONT_PAGE}


FEW = 200  # images up to which a plan would take longer than it is worth
LONG = 15  # minutes from which a run on data on disk is announced


def task_plan() -> Iterator[dict]:
    """say what a run on data on disk will take, before it begins"""
    if ENTRY:
        yield {
            "name": PROFILE,
            "uptodate": [config_changed({"parameters": PARAMETERS, "data": ENTRY.fingerprint()})],
            "actions": [check_least],
        }


def check_least() -> TaskFailed | None:
    """Before an image is read: fail if there are too few for any page, and say which pages or
    sections will be left out, and what the rest will take."""
    from defocus_lib.data import collection, records  # pandas, which only this case needs
    from defocus_lib.data.index import list_index

    own = check_parameters("01_data", declared("01_data"), PARAMETERS["01_data"])
    try:
        index = list_index(ENTRY)
        names = [name.strip() for name in own["manipulations"].split(",")]
        listed, learned = collection.choose_present(
            index.records, names, own["training_manipulation"], index.absent
        )
        if own["groups"]:
            listed = records.sample(listed, own["groups"], own["seed"])
        chosen = collection.for_training_on(listed, learned)
        about = collection.about(ENTRY, chosen, own["size"])
    except (ValueError, FileNotFoundError) as error:
        return TaskFailed(f"01_data: {error}")
    for name in NOTEBOOKS:
        for least, section in least_test_groups(read_notebook(source(name))):
            if about.test_groups < least:
                needs = f"needs {least} test {about.unit}s of each class, found {about.test_groups}"
                say(f"{name}: {section!r} is left out; it {needs}")
    if len(chosen) > FEW:
        say_plan()
    return None


def say_plan() -> None:
    """In a process of its own: a plan that fails stops nothing."""
    settings = ["--set", get_var("set", ""), "--above", str(LONG)]
    subprocess.run([sys.executable, "-m", "defocus_lib", "plan", PROFILE, *settings], check=False)


def task_notebook() -> Iterator[dict]:
    """run a notebook"""
    if OPENED:
        yield from bundled_notebooks()
        return
    for number, (name, (reads, writes)) in enumerate(NOTEBOOKS.items(), start=1):
        context: dict[str, object] = {
            "parameters": {k: v for k, v in PARAMETERS[name].items() if k not in HOW}
        }
        if name == "status":
            context["commit"] = commit(ROOT)
        if name == "01_data" and ENTRY:
            context["data set"] = ENTRY.fingerprint()
        yield {
            "name": name,
            "title": lambda task, number=number: f"[{number}/{len(NOTEBOOKS)}] {task.name}",
            "file_dep": [
                source(name),
                *library_files(source(name)),
                *(ARTIFACTS / read for read in reads),
                *(BENCHMARKS if name in ("speed", "15_real_images") else []),
            ],
            "targets": [
                executed(name),
                ARTIFACTS / "runs" / f"{name}.json",
                *(ARTIFACTS / write for write in writes),
            ],
            "task_dep": ["plan"] if name == "01_data" else [],
            "uptodate": [config_changed(context), *CHECKS.get(name, [])],
            "actions": [(run, [name, [ARTIFACTS / write for write in writes]])],
            "io": {"capture": False},  # progress bars go straight to the terminal
        }


def bundled_notebooks() -> Iterator[dict]:
    """Of a bundle, only a notebook with a changed parameter runs."""
    for name in RUN_AGAIN:
        writes = [ARTIFACTS / write for write in NOTEBOOKS[name][1]]
        yield {
            "name": name,
            "targets": [executed(name), *writes],
            "uptodate": [name not in parse_settings(get_var("set", ""))],
            "actions": [(run, [name, writes])],
            "io": {"capture": False},
        }


if OPENED:

    def task_front_page() -> dict:
        """say on the front page which bundle the book shows"""
        changes = parse_settings(get_var("set", ""))
        return {
            "file_dep": [executed(name) for name in RUN_AGAIN],
            "targets": [ARTIFACTS / name for name in ("this_run.md", "claims.md")],
            "uptodate": [config_changed({"set": changes})],
            "actions": [(front_page, [ARTIFACTS, OPENED, changes])],
        }


# Parameters of how, not of what: the same comes out of one process and of a
# cluster.
HOW = ("n_workers", "scheduler")


def index_is_older() -> bool:
    """Whether the records were made after the index of their data set (``data index`` may have
    walked it again)."""
    if not ENTRY:
        return True
    from defocus_lib.data.index import (
        index_files,  # pandas takes a second, which only this case needs
    )

    made = ARTIFACTS / "records.parquet"
    walked = [path.stat().st_mtime for path in index_files(ENTRY) if path.exists()]
    return made.exists() and max(walked, default=0.0) <= made.stat().st_mtime


def shards_are_whole() -> bool:
    """Whether no shard has been lost or changed since it was written. The notebook names those that
    it makes again."""
    root = ARTIFACTS / "shapley"
    if not (root / "index.parquet").exists():
        return False
    from defocus_lib.explain.shards import damaged

    return not damaged(root)


CHECKS = {"01_data": [index_is_older], "04_save_shapley": [shards_are_whole]}


def run(name: str, promised: list[Path]) -> TaskFailed | None:
    """Execute one notebook; what it promised must be there afterwards."""
    claims = [path for path in promised if path.parent.name == "claims"]
    for path in claims:
        path.unlink(missing_ok=True)
    if name == "status":
        graph = {key: {"reads": reads, "writes": made} for key, (reads, made) in NOTEBOOKS.items()}
        write_json(ARTIFACTS / "graph.json", graph)
    try:
        # All others wait for the first one, so it has every core.
        threads = cpu_count() if name == "01_data" else THREADS
        run_notebook(source(name), ARTIFACTS, PARAMETERS[name], ROOT, name, threads, FORKS)
    except NotebookFailed as failure:
        return TaskFailed(f"{failure}\n{failure.traceback}" if VERBOSE else str(failure))
    for path in claims:  # a section that is left out for want of data claims nothing
        if not path.exists() and LEFT_OUT in executed(name).read_text(encoding="utf-8"):
            write_json(path, [])
    missing = [path.name for path in promised if not path.exists()]
    return TaskFailed(f"{name} ended without writing {', '.join(missing)}") if missing else None


def task_pages() -> dict:
    """put the prose and the executed notebooks together"""
    return {
        "file_dep": list(pages()),
        "targets": list(pages().values()),
        "uptodate": [lambda: all(map(same_file, pages().items()))],
        "actions": [copy_pages],
    }


def same_file(pair: tuple[Path, Path]) -> bool:
    return all(path.exists() for path in pair) and filecmp.cmp(*pair, shallow=False)


def copy_pages() -> None:
    """Replace the folder: a page that has been renamed must not linger in it."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for source, target in pages().items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def task_html() -> dict:
    """render the book; any warning is a failure"""
    config = ROOT / "_config.yml"
    program = Path(sys.executable).with_name("jupyter-book")
    where = ["--path-output", BUILD.parent, "--config", config]
    how = ["--all", "-W", "-n", "--keep-going", "--quiet"]
    build = list(map(str, [program, "build", PAGES, *where, *how]))
    return {
        "file_dep": [config, *pages().values()],
        "targets": [BUILD / "html" / "index.html"],
        # From nothing: Sphinx repeats no warning about a page that it has read before, so a second
        # build would pass.
        "actions": [
            (shutil.rmtree, [BUILD, True]),
            # Ctrl-C is for this process, which ends the rendering.
            CmdAction(build, shell=False, start_new_session=True),
        ],
        "io": {"capture": False},
    }
