"""The order of the notebooks, and what runs again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from doit import doit_cmd
from doit.cmd_base import ModuleTaskLoader
from filelock import FileLock

from defocus_lib.explain import shards
from defocus_lib.run import notebook as execution
from defocus_lib.run.notebook import NotebookFailed
from tests.pages import ROOT, load_dodo
from tests.sources import PARAMETERS, write

# --------------------------------------------------------------------------------------------------
# The graph, with doit itself, on a small project: real dodo.py, notebooks of a few lines, and an
# execution that only leaves the promised files. Kernels are started above; here the question is
# which notebooks run.

LIBRARY = {
    "__init__": "",
    **{f"{floor}/__init__": "" for floor in ("maps", "data", "analysis", "figures", "run")},
    "maps/presets": "from defocus_lib.maps import propagation\n",
    "maps/propagation": '"""Spread."""\n\n\ndef spread(x):\n    """Blur."""\n    return x\n',
    "data/manifest": "import numpy\n",
    "analysis/mask": "from defocus_lib.run import artifacts\n",
    "figures/mask": "from defocus_lib.figures import style\nLABEL = 'threshold'\n",
    "figures/style": "WIDTH = 7\n",
    "run/artifacts": "import json\n",
}
IMPORTS = {
    "01_data": "from defocus_lib.data import manifest",
    "02_defocus_map": "from defocus_lib.maps.presets import defocus_maps",
    "05_binary_mask": "from defocus_lib.analysis import mask\n"
    "from defocus_lib.figures import mask as figures",
}


class Project:
    """A copy of ``dodo.py`` with its own small notebooks and library; ``run`` tells which notebooks
    were executed."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.report = root, root / "report.txt"
        self.log, self.note = [], ""
        self.broken = self.forgetful = self.claimless = self.killed = ""
        self.table = load_dodo(ROOT, profile="smoke")["NOTEBOOKS"]
        shutil.copy(ROOT / "dodo.py", root)
        write(root / "data_manifest.yaml", "photographs: []\n")
        for name, text in LIBRARY.items():
            write(root / "defocus_lib" / f"{name}.py", text)
        for name in self.table:
            more = "n_workers: int = 1\n" if name == "04_save_shapley" else ""
            write(
                root / "notebooks" / f"{name}.py",
                f"{PARAMETERS}{more}\n# %%\n{IMPORTS.get(name, '')}\n",
            )
        for profile in ("demo", "smoke"):
            write(root / "notebooks" / "profiles" / f"{profile}.yaml", "")
        self.replace_execution = partial(monkeypatch.setattr, execution, "run_notebook")
        self.replace_execution(self.execute)
        monkeypatch.setattr(
            shards, "damaged", lambda root: []
        )  # there are none: its index is a text

    def execute(
        self, source: Path, folder: Path, parameters: dict, root: Path, name: str, *how: object
    ) -> None:
        if name == self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        if name == self.broken:
            raise NotebookFailed(f"{name}: cell In [3] failed")
        self.log.append(name)
        reads, writes = self.table[name]
        inputs = [(folder / read).read_text() for read in reads]
        content = json.dumps([name, parameters, inputs, self.note])
        made = [] if name == self.forgetful else writes
        if name == self.claimless:
            made = [path for path in made if not path.startswith("claims/")]
        for path in ["notebooks/{}.ipynb", "runs/{}.json", *made]:
            write(folder / path.format(name), content)

    def run(self, *tasks: str, **settings: str) -> list[str]:
        self.log.clear()
        namespace = load_dodo(self.root, **{"jobs": "1", **settings})
        command = ["run", "--output-file", str(self.report), *(tasks or ("notebook", "pages"))]
        self.code = doit_cmd.DoitMain(ModuleTaskLoader(namespace)).run(command)
        return list(self.log)

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def test_all_run_in_order_once(project: Project) -> None:
    assert project.run() == [*sorted(name for name in project.table if name != "status"), "status"]
    assert project.run() == []
    for name in project.table:
        assert (
            project.root / "artifacts" / "demo" / "book" / "executed" / f"{name}.ipynb"
        ).exists()


def test_a_notebook_runs_after_those_that_it_needs(project: Project) -> None:
    assert project.run("notebook:05_binary_mask") == [
        "01_data",
        "02_defocus_map",
        "03_train_detector",
        "04_save_shapley",
        "05_binary_mask",
    ]


def test_a_changed_parameter_runs_what_depends_on_it(project: Project) -> None:
    project.run()
    assert project.run(set="05_binary_mask.threshold=0.2") == ["05_binary_mask", "speed", "status"]
    assert project.run(set="05_binary_mask.threshold=0.2") == []
    assert project.run() == ["05_binary_mask", "speed", "status"]
    again = project.run(set="01_data.steps=5")
    assert again[:3] == ["01_data", "02_defocus_map", "03_train_detector"]
    assert "04_save_shapley" in again  # beside page 03b, which needs page 03 too


@pytest.mark.parametrize(
    ("path", "old", "new", "first"),
    [
        ("notebooks/07_tsne.py", "# # A page", "# # Another page", "07_tsne"),
        (
            "defocus_lib/analysis/mask.py",
            "import artifacts",
            "import artifacts as a",
            "05_binary_mask",
        ),
        ("defocus_lib/figures/mask.py", "'threshold'", "'threshold (px)'", "05_binary_mask"),
        ("defocus_lib/figures/style.py", "7", "8", "05_binary_mask"),
        ("defocus_lib/maps/presets.py", "propagation", "propagation as p", "02_defocus_map"),
        ("defocus_lib/maps/propagation.py", "return x", "return x + 0", "02_defocus_map"),
        ("data_manifest.yaml", "[]", "[ ]", "01_data"),
    ],
)
def test_a_changed_file_runs_the_page_that_uses_it_and_no_page_whose_input_stays_the_same(
    project: Project, path: str, old: str, new: str, first: str
) -> None:
    project.run()
    project.edit(path, old, new)
    assert project.run() == [first]
    assert project.run() == []


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("defocus_lib/maps/propagation.py", "Spread.", "Spread into the plane."),
        ("defocus_lib/maps/propagation.py", "Blur.", "Another docstring, much longer."),
        ("defocus_lib/maps/propagation.py", "return x", "# a reason\n    return x  # more"),
        ("defocus_lib/maps/propagation.py", "def spread(x)", "def spread(\n    x,\n)"),
        ("defocus_lib/figures/mask.py", "LABEL =", "# of the axis\n\nLABEL ="),
    ],
)
def test_a_changed_comment_docstring_or_line_break_runs_nothing(
    project: Project, path: str, old: str, new: str
) -> None:
    project.run()
    project.edit(path, old, new)
    assert project.run() == []


def test_a_lost_artefact_is_made_again(project: Project) -> None:
    project.run()
    (project.root / "artifacts/demo/shapley/index.parquet").unlink()
    assert project.run() == ["04_save_shapley"]


def test_a_damaged_shard_is_made_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.run()
    monkeypatch.setattr(shards, "damaged", lambda root: [root / "real" / "shard-00000.npz"])
    assert project.run() == ["04_save_shapley"]


def test_the_number_of_workers_is_no_reason_to_run_again(project: Project) -> None:
    project.run()
    assert project.run(set="04_save_shapley.n_workers=2") == []


def test_profiles_do_not_disturb_one_another(project: Project) -> None:
    everything = project.run()
    assert project.run(profile="smoke") == everything
    assert project.run() == []
    for profile in ("demo", "smoke"):
        page = project.root / "artifacts" / profile / "book" / "executed" / "01_data.ipynb"
        assert f'"profile": "{profile}"' in page.read_text()


def test_a_failure_stops_the_run_and_is_not_forgotten(project: Project) -> None:
    project.broken = "03_train_detector"
    assert project.run() == ["01_data", "02_defocus_map"]
    assert project.code == 1
    assert "03_train_detector: cell In [3] failed" in project.report.read_text()
    project.broken = ""
    assert project.run()[0] == "03_train_detector"


def test_a_notebook_that_does_not_write_what_it_promises_fails(project: Project) -> None:
    project.forgetful = "02_defocus_map"
    assert project.run() == ["01_data", "02_defocus_map"]
    assert project.code == 1
    assert "02_defocus_map ended without writing maps.json" in project.report.read_text()


def test_a_page_without_its_claims_fails_unless_a_section_was_left_out(project: Project) -> None:
    project.run()
    project.claimless, claims = "05_binary_mask", project.root / "artifacts/demo/claims"
    assert project.run(set="05_binary_mask.threshold=0.2") == ["05_binary_mask"]
    assert project.code == 1
    assert "ended without writing 05_binary_mask.json" in project.report.read_text()
    project.note = "*Left out: this needs pairs of a real and a manipulated image.*"
    project.run(set="05_binary_mask.threshold=0.3")
    assert project.code == 0 and json.loads((claims / "05_binary_mask.json").read_text()) == []


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"profile": "nope"}, "unknown profile 'nope'; there are demo, smoke"),
        ({"set": "5_mask.threshold=1"}, "unknown notebook '5_mask'; there are 01_data, 02_"),
        ({"set": "09_alignment_score.nope=1"}, "09_alignment_score: unknown parameter 'nope'"),
        ({"set": "09_alignment_score.steps=x"}, "09_alignment_score: parameter 'steps' is 'x'"),
        ({"set": "nonsense"}, "cannot read 'nonsense'"),
    ],
)
def test_wrong_settings_stop_before_anything_executes(
    project: Project, settings: dict, complaint: str
) -> None:
    with pytest.raises(SystemExit, match=complaint):
        project.run(**settings)
    assert not project.log and not (project.root / "artifacts").exists()


def test_a_profile_is_checked_like_a_setting(project: Project) -> None:
    write(project.root / "notebooks" / "profiles" / "demo.yaml", "04_save_shapley: {treshold: 1}\n")
    with pytest.raises(SystemExit, match="04_save_shapley: unknown parameter 'treshold'"):
        project.run()


# --------------------------------------------------------------------------------------------------
# What ends a run: a second one, a damaged table, Ctrl-C, a kill.


def test_two_notebooks_run_side_by_side(project: Project) -> None:
    """The second one waits for the first: one after another, they would wait for ever."""
    both = threading.Barrier(2, timeout=20)
    execute = project.execute

    def meet(source: Path, *more: object) -> None:
        if more[3] in ("02_defocus_map", "14_better_maps"):
            both.wait()
        execute(source, *more)

    project.replace_execution(meet)
    assert sorted(project.run(jobs="2")) == sorted(project.table)
    assert project.code == 0 and project.log[-1] == "status"


def test_what_others_wait_for_begins_first(project: Project) -> None:
    started = []
    execute = project.execute

    def note(source: Path, *more: object) -> None:
        started.append(more[3])
        execute(source, *more)

    project.replace_execution(note)
    project.run(jobs="2")
    order = [
        name for name in started if name in ("02_defocus_map", "14_better_maps", "10_known_blur")
    ]
    assert order[-1] == "10_known_blur"


def test_the_threads_of_a_notebook_are_its_share_of_the_cores(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, object] = {}
    execute = project.execute

    def note(source: Path, *more: object) -> None:
        threads[str(more[3])] = more[4]
        execute(source, *more)

    project.replace_execution(note)
    monkeypatch.setattr("joblib.cpu_count", lambda: 6)
    project.run(jobs="2")
    assert threads.pop("01_data") == 6  # all others wait for it
    assert set(threads.values()) == {3}


@pytest.mark.parametrize("jobs", ["0", "two"])
def test_a_wrong_number_of_jobs_is_refused(project: Project, jobs: str) -> None:
    with pytest.raises(SystemExit, match=f"jobs is '{jobs}'; 1 or more"):
        project.run(jobs=jobs)


def test_a_mistyped_variable_runs_nothing(project: Project) -> None:
    message = r"unknown variable 'profil'; did you mean 'profile'\? There are profile, set,"
    with pytest.raises(SystemExit, match=message):
        project.run(profil="smoke")
    assert not project.log


def test_a_second_run_of_a_profile_is_refused(project: Project) -> None:
    project.run("notebook:01_data")
    with FileLock(project.root / "artifacts" / "demo" / ".lock"):
        with pytest.raises(SystemExit, match=r"another run is at work in .*demo: let it end first"):
            project.run()
        assert not project.log
        assert project.run("notebook:01_data", profile="smoke") == ["01_data"]
    assert "02_defocus_map" in project.run()


@pytest.mark.parametrize("size", [10, 5000, 9000])
def test_a_truncated_table_is_refused(project: Project, size: int) -> None:
    project.run()
    table = project.root / "artifacts" / "demo" / ".doit.db"
    assert table.stat().st_size > size
    table.write_bytes(table.read_bytes()[:size])
    with pytest.raises(SystemExit, match=r"\.doit\.db is damaged \(.*\): delete it, and every"):
        project.run()


def test_a_killed_run_keeps_what_was_done(project: Project) -> None:
    """doit alone would write its table at the end."""
    child = os.fork() if hasattr(os, "fork") else pytest.skip("no fork on this system")
    if child == 0:
        project.killed = "03_train_detector"
        project.run()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert project.run()[0] == "03_train_detector"


SLOW = """
# %%
import os, time
from pathlib import Path

Path(profile + ".pid").write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_kernel(project: Project, number: int) -> None:
    shutil.rmtree(project.root / "defocus_lib")  # the real one runs
    write(project.root / "notebooks" / "01_data.py", PARAMETERS + SLOW)
    command = [
        sys.executable,
        "-m",
        "doit",
        "-f",
        str(project.root / "dodo.py"),
        "notebook:01_data",
    ]
    run = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    mark = project.root / "demo.pid"
    while not (mark.exists() and mark.read_text()):
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.1)
    kernel = psutil.Process(int(mark.read_text()))
    run.send_signal(number)
    _, errors = run.communicate(timeout=60)
    kernel.wait(timeout=30)
    if number == signal.SIGINT:
        assert run.returncode == 130
        assert errors.splitlines()[-1] == "Interrupted. The next run goes on from here."
        assert "Traceback" not in errors


@pytest.mark.parametrize("name", ["x{x}", "50% #1", "Жук", "two words"])
def test_a_folder_may_have_any_name(tmp_path, monkeypatch, name: str) -> None:
    (tmp_path / name).mkdir()
    project = Project(tmp_path / name, monkeypatch)
    assert project.run("notebook:01_data") == ["01_data"] and project.code == 0


@pytest.mark.parametrize("name", ["a[1]", "what?", "all*"])
def test_a_folder_that_jupyter_book_reads_as_a_pattern_is_refused(
    tmp_path, monkeypatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(SystemExit, match=r"a folder without [\[?*] in its name wanted"):
        Project(tmp_path / name, monkeypatch).run()


def test_the_rendered_book_of_the_demo_alone_is_in_the_folder_of_the_prose(tmp_path) -> None:
    for profile, place in (("demo", "book"), ("smoke", "artifacts/smoke/book")):
        assert load_dodo(ROOT, profile=profile)["BUILD"] == ROOT / place / "_build"
    elsewhere = load_dodo(ROOT, artifacts=str(tmp_path))
    assert elsewhere["BUILD"] == tmp_path / "book" / "_build"


# --------------------------------------------------------------------------------------------------
# The least data, before an image is read.


def least_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pictures: dict[str, int], pairs: str
) -> object:
    """What the check before a run on so many pictures returns; none of them can be decoded."""
    for kind, number in pictures.items():
        for name in range(number):
            write(folder / kind / f"{name if pairs == 'by_name' else kind[0] + str(name)}.png", "")
    monkeypatch.setenv("FOLDERS_ROOT", str(folder))
    monkeypatch.setenv("FOLDERS_PAIRS", pairs)
    return load_dodo(ROOT, profile="folders", artifacts=str(folder / "run"))["check_least"]()


CONTRAST = "06b_contrast_of_blur"


@pytest.mark.parametrize(
    ("pictures", "pairs", "left_out"),
    [
        ({"real": 3, "fake": 3}, "none", [CONTRAST, "07_tsne", "11_controls"]),
        ({"real": 8, "fake": 6}, "none", [CONTRAST, "11_controls"]),
        ({"real": 6, "fake": 6}, "by_name", [CONTRAST, "11_controls"]),
        ({"real": 15, "fake": 15}, "none", []),
    ],
)
def test_what_small_data_leave_out_is_said_before_an_image_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    pictures: dict[str, int],
    pairs: str,
    left_out: list[str],
) -> None:
    assert least_of(tmp_path, monkeypatch, pictures, pairs) is None
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == left_out
    assert all("is left out; it needs" in line and "of each class, found" in line for line in lines)


def test_data_that_are_too_few_for_any_page_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = least_of(tmp_path, monkeypatch, {"real": 5, "fake": 2}, "none")
    message = str(failure.get_msg())
    assert "01_data: folders: val has no fake image; found 5 real and 2 fake images" in message
    assert "at least 3 of each, one for every split" in message
