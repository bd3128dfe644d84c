"""The book as a task graph: which notebook needs what, what it leaves, and what is up to date (doit decides).

python -m doit                                          the demo book
python -m doit profile=smoke                            the same, in miniature
python -m doit set="05_binary_mask.threshold=0.2"       with one parameter changed; several are separated by spaces
python -m doit notebook:02_defocus_map                  one notebook, after those that it needs
python -m doit list --all                               what there is to do
"""

import ast
import filecmp
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from doit import get_var
from doit.exceptions import InvalidDodoFile, TaskFailed
from doit.tools import config_changed
from import_deps import ModuleSet, PyModule

from defocus_lib import execution

# ---------------------------------------------------------------------------------------------------------------------
# What each notebook reads and writes in artifacts/<profile>/. Their order follows from this table.

SHAPLEY = [f"shapley/{name}.npz" for name in ("real", "resynthesis", "splice", "reenactment", "texture")]
DETECTORS = ["detector_defocus.safetensors", "detector_rgb.safetensors"]
SCENES = ["records.csv", "scenes.npz"]
FRONT_PAGE = "overview.png"

NOTEBOOKS = {
    # name                (reads, writes)
    "01_data": ([], SCENES),
    "02_defocus_map": (SCENES, ["maps.npz"]),
    "03_train_detector": ([*SCENES, "maps.npz"], [*DETECTORS, "metrics.csv", "predictions.csv", "features.npz"]),
    "04_save_shapley": ([*SCENES, "maps.npz", *DETECTORS], SHAPLEY),
    "05_binary_mask": (SHAPLEY, []),
    "06_local_variance": (SHAPLEY, []),
    "07_tsne": (["features.npz", *SHAPLEY], []),
    "08_shapley_view": (SHAPLEY, [FRONT_PAGE]),
    "09_alignment_score": (SHAPLEY, []),
}
# The last page tells how long the others took, so it reads the record of each run.
NOTEBOOKS["status"] = ([f"runs/{name}.json" for name in NOTEBOOKS], [])

# ---------------------------------------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "notebooks"
PROFILE = get_var("profile", "demo")
ARTIFACTS = ROOT / "artifacts" / PROFILE
BOOK = Path(get_var("book", ROOT / "book")).resolve()
HTML = BOOK / "_build" / "html"
RENDERED = BOOK / "_build" / "profile.txt"  # whose numbers the pages show: every profile renders into the same place


def parameters() -> dict[str, dict[str, object]]:
    """What this run passes to each notebook. All of it is checked here, before anything executes."""
    profile = execution.read_profile(SOURCES / "profiles", PROFILE)
    changes = execution.parse_settings(get_var("set", ""))
    for name in [*profile, *changes]:
        if name not in NOTEBOOKS:
            raise execution.ParameterError(f"unknown notebook {name!r}; there are {', '.join(NOTEBOOKS)}")
    given = {name: {"profile": PROFILE, **profile.get(name, {}), **changes.get(name, {})} for name in NOTEBOOKS}
    for name, values in given.items():
        declared = execution.declared_parameters(execution.read_notebook(SOURCES / f"{name}.py"), name)
        execution.check_parameters(name, declared, values)
    return given


try:
    PARAMETERS = parameters()
except (execution.ParameterError, FileNotFoundError) as error:
    raise InvalidDodoFile(error) from None
ARTIFACTS.mkdir(parents=True, exist_ok=True)

DOIT_CONFIG = {
    "default_tasks": ["notebook", "html"],  # the group first: its members run in the order of the table
    "dep_file": str(ARTIFACTS / ".doit.db"),  # one for each profile: they do not disturb one another
    "backend": "sqlite3",
    "verbosity": 2,
}


def library_files(source: Path) -> list[Path]:
    """The modules of the library that ``source`` imports, and those that they import, with the file that one reads."""
    modules = ModuleSet(sorted((ROOT / "defocus_lib").glob("*.py")))
    found: set[str] = set()
    ahead = modules.get_imports(PyModule(source), return_fqn=True)
    while ahead:
        name = ahead.pop()
        found.add(name)
        ahead |= (modules.mod_imports(name) | lazy_imports(modules.by_name[name].path)) - found
    manifest = [ROOT / "data_manifest.yaml"] if "defocus_lib.manifest" in found else []
    return [*sorted(modules.by_name[name].path for name in found), *manifest]


def lazy_imports(module: Path) -> set[str]:
    """The modules behind the names that the package loads on first use (``submod_attrs`` of lazy_loader)."""
    if module.name != "__init__.py":
        return set()
    words = (node for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))) if isinstance(node, ast.keyword))
    return {
        f"defocus_lib.{name}" for word in words if word.arg == "submod_attrs" for name in ast.literal_eval(word.value)
    }


def executed(name: str) -> Path:
    return ARTIFACTS / "notebooks" / f"{name}.ipynb"


def pages() -> dict[Path, Path]:
    """What the book takes over from a run, and as what."""
    copies = {executed(name): BOOK / "executed" / f"{name}.ipynb" for name in NOTEBOOKS}
    return copies | {ARTIFACTS / FRONT_PAGE: BOOK / "executed" / FRONT_PAGE}


def task_notebook() -> Iterator[dict]:
    """run a notebook"""
    for number, (name, (reads, writes)) in enumerate(NOTEBOOKS.items(), start=1):
        source = SOURCES / f"{name}.py"
        context = {"parameters": PARAMETERS[name]}
        if name == "status":
            context["commit"] = execution.commit(ROOT)
        yield {
            "name": name,
            "title": lambda task, number=number: f"[{number}/{len(NOTEBOOKS)}] {task.name}",
            "file_dep": [source, *library_files(source), *(ARTIFACTS / read for read in reads)],
            "targets": [executed(name), ARTIFACTS / "runs" / f"{name}.json", *(ARTIFACTS / write for write in writes)],
            "uptodate": [config_changed(context)],
            "actions": [(run, [source, [ARTIFACTS / write for write in writes]])],
            "io": {"capture": False},  # progress bars go straight to the terminal
        }


def run(source: Path, promised: list[Path]) -> TaskFailed | None:
    """Execute one notebook; what it promised must be there afterwards."""
    try:
        execution.run_notebook(source, ARTIFACTS, PARAMETERS[source.stem], ROOT)
    except execution.NotebookFailed as failure:
        return TaskFailed(str(failure))
    missing = [path.name for path in promised if not path.exists()]
    return TaskFailed(f"{source.stem} ended without writing {', '.join(missing)}") if missing else None


def task_pages() -> dict:
    """copy the executed notebooks into the book"""
    return {
        "file_dep": list(pages()),
        "targets": list(pages().values()),
        "uptodate": [lambda: all(map(same_file, pages().items()))],  # another profile may have been there meanwhile
        "actions": [copy_pages],
    }


def same_file(pair: tuple[Path, Path]) -> bool:
    return all(path.exists() for path in pair) and filecmp.cmp(*pair, shallow=False)


def copy_pages() -> None:
    """Replace the folder: a notebook that has been renamed must not linger in it."""
    shutil.rmtree(BOOK / "executed", ignore_errors=True)
    (BOOK / "executed").mkdir(parents=True)
    for source, target in pages().items():
        shutil.copyfile(source, target)


def task_html() -> dict:
    """render the book; any warning is a failure"""
    made = {"_build", "executed"}
    prose = [path for path in BOOK.rglob("*") if path.is_file() and path.relative_to(BOOK).parts[0] not in made]
    config = ROOT / "_config.yml"
    build = ["build", BOOK, "--path-output", BOOK, "--config", config, "--all", "-W", "-n", "--keep-going", "--quiet"]
    return {
        "file_dep": [config, *prose, *pages().values()],
        "targets": [HTML / "index.html"],
        "uptodate": [lambda: RENDERED.exists() and RENDERED.read_text() == PROFILE],
        # From nothing: Sphinx repeats no warning about a page that it has read before, so a second build would pass.
        "actions": [
            (shutil.rmtree, [BOOK / "_build", True]),
            [str(Path(sys.executable).with_name("jupyter-book")), *map(str, build)],
            lambda: RENDERED.write_text(PROFILE) and None,
        ],
        "io": {"capture": False},
    }
