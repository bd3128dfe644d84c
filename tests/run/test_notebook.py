"""One notebook: parameters, execution, equal bytes, failure. The graph of all of them: what runs again, and when."""

import importlib.util
import json
import platform
import shutil
import subprocess
from pathlib import Path

import nbformat
import numpy
import pytest
from doit import doit_cmd
from doit.cmd_base import ModuleTaskLoader
from doit.exceptions import InvalidDodoFile

from defocus_lib.explain import shards
from defocus_lib.run import artifacts
from defocus_lib.run import notebook as execution
from defocus_lib.run.notebook import NotebookFailed, ParameterError

ROOT = Path(__file__).resolve().parents[2]

PARAMETERS = """\
# %% [markdown]
# # A page

# %% tags=["parameters"]
profile: str = "demo"  # which run
threshold: float = 0.1
steps: int = 3
quick: bool = False
"""

# Everything that differs from run to run by itself: bars, widgets, addresses, random ids, a split standard output.
RESTLESS = """
# %%
import sys, time
import ipywidgets, numpy, pandas
from tqdm.auto import tqdm

held = numpy.ones(2**25)
for _ in tqdm(range(3)):
    time.sleep(0.05)
print("first")
print("a warning", file=sys.stderr)
time.sleep(0.2)
print(f"\\r{time.time()} redrawn\\rdone")
print("second", threshold, steps)

# %%
pandas.DataFrame({"a": [1.5]}).style.format("{:.1f}")

# %%
object()

# %% tags=["remove-output"]
ipywidgets.interact(lambda x: print("moved", x), x=(0, 3));
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "page.py", PARAMETERS)


def test_a_source_is_read_with_ids_that_depend_on_the_position_only(source: Path) -> None:
    first, second = execution.read_notebook(source), execution.read_notebook(source)
    assert [cell.id for cell in first.cells] == ["cell-000", "cell-001"]
    assert first == second
    assert first.metadata.kernelspec.name == "python3"


def test_declared_parameters(source: Path) -> None:
    found = execution.declared_parameters(execution.read_notebook(source), "page")
    assert found == {"profile": "demo", "threshold": 0.1, "steps": 3, "quick": False}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("names: list = []", "names: list"),
        ("plain = 1", "plain = 1"),
        ("size: int", "size: int"),
        ("size: int = steps * 2", "a plain value wanted"),
        ("size: int = 0.5", "'size' is 0.5 .float.; int wanted"),
        ("size: float = True", "'size' is True .bool.; float wanted"),
        ("import os", "import os"),
    ],
)
def test_a_parameters_cell_holds_plain_typed_values_only(
    source: Path, line: str, complaint: str
) -> None:
    source.write_text(PARAMETERS + line, encoding="utf-8")
    with pytest.raises(ParameterError, match=f"page: .*{complaint}"):
        execution.declared_parameters(execution.read_notebook(source), "page")


def test_a_notebook_without_parameters_is_refused(source: Path) -> None:
    source.write_text("# %%\nx = 1\n", encoding="utf-8")
    with pytest.raises(ParameterError, match="page: no cell is tagged 'parameters'"):
        execution.declared_parameters(execution.read_notebook(source), "page")


DECLARED = {"profile": "demo", "threshold": 0.1, "steps": 3, "quick": False}


def test_given_parameters_replace_defaults() -> None:
    found = execution.check_parameters("page", DECLARED, {"threshold": 1, "quick": True})
    assert found == {"profile": "demo", "threshold": 1.0, "steps": 3, "quick": True}
    assert type(found["threshold"]) is float
    assert execution.check_parameters("page", DECLARED, {"threshold": "1e-3"})["threshold"] == 0.001


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (
            {"treshold": 0.2},
            "page: unknown parameter 'treshold'; it has profile, threshold, steps, quick",
        ),
        ({"threshold": "0.2"}, "page: parameter 'threshold' is '0.2' .str.; float wanted"),
        ({"threshold": True}, "page: parameter 'threshold' is True .bool.; float wanted"),
        ({"steps": True}, "page: parameter 'steps' is True .bool.; int wanted"),
        ({"steps": 2.0}, "page: parameter 'steps' is 2.0 .float.; int wanted"),
        ({"quick": 1}, "page: parameter 'quick' is 1 .int.; bool wanted"),
        ({"profile": None}, "page: parameter 'profile' is None .NoneType.; str wanted"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(given: dict, complaint: str) -> None:
    with pytest.raises(ParameterError, match=complaint):
        execution.check_parameters("page", DECLARED, given)


def test_settings_are_yaml_values() -> None:
    text = "05_mask.threshold=0.2 05_mask.quick=true 07_tsne.title='two words'"
    assert execution.parse_settings(text) == {
        "05_mask": {"threshold": 0.2, "quick": True},
        "07_tsne": {"title": "two words"},
    }
    assert execution.parse_settings("") == {}


@pytest.mark.parametrize(
    "text",
    ["threshold=0.2", "05_mask.threshold", "05_mask threshold 0.2", "05_mask.threshold=[", "'"],
)
def test_an_unreadable_setting_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="cannot read"):
        execution.parse_settings(text)


def test_profiles(tmp_path: Path) -> None:
    write(tmp_path / "demo.yaml", "# nothing set\n")
    write(tmp_path / "smoke.yaml", "01_data:\n  scenes: 4\n02_map:\n")
    write(tmp_path / "broken.yaml", "- a list\n")
    assert execution.read_profile(tmp_path, "demo") == {}
    assert execution.read_profile(tmp_path, "smoke") == {"01_data": {"scenes": 4}, "02_map": {}}
    with pytest.raises(
        ParameterError, match=r"unknown profile 'nope'; there are broken, demo, smoke"
    ):
        execution.read_profile(tmp_path, "nope")
    with pytest.raises(ParameterError, match=r"broken\.yaml: a mapping"):
        execution.read_profile(tmp_path, "broken")


def test_two_runs_leave_the_same_bytes(source: Path, tmp_path: Path) -> None:
    source.write_text(PARAMETERS + RESTLESS, encoding="utf-8")
    given = {"profile": "smoke", "threshold": 0.25, "steps": 3}
    runs = [
        execution.run_notebook(source, tmp_path / folder, given, tmp_path)
        for folder in ("one", "two")
    ]
    one, two = (tmp_path / folder / "notebooks" / "page.ipynb" for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()

    notebook = nbformat.read(one, as_version=4)
    nbformat.validate(notebook)
    text = one.read_text(encoding="utf-8")
    assert not {
        word
        for word in ("papermill", "widget-view", '"stderr"', "0x", "it/s", str(tmp_path))
        if word in text
    }
    # What this run changed stands right below the declared defaults; steps is its default, so it is not repeated.
    assert notebook.cells[1].source.startswith('profile: str = "demo"')
    assert notebook.cells[2].source.splitlines()[1:] == ['profile = "smoke"', "threshold = 0.25"]
    assert [output.text for output in notebook.cells[3].outputs] == ["first\nsecond 0.25 3\n"]

    assert runs[0].parameters == {"profile": "smoke", "threshold": 0.25, "steps": 3, "quick": False}
    assert runs[0].seconds > 0.35  # it sleeps that long
    assert runs[0].peak_mb > 256  # it holds that much
    assert execution.read_runs(tmp_path / "one") == runs[:1]
    assert execution.read_runs(tmp_path / "one", without="page") == []


def test_a_failing_cell_is_told_briefly_and_counts_as_nothing(source: Path, tmp_path: Path) -> None:
    deep = "def down(n):\n    return down(n - 1) if n else {}['missing key']\n\ndown(40)\n"
    source.write_text(
        PARAMETERS + "\n# %%\n# the culprit\n" + deep + "\n# %%\nprint('never')\n", encoding="utf-8"
    )
    with pytest.raises(NotebookFailed) as failure:
        execution.run_notebook(source, tmp_path / "run", {}, tmp_path)
    message = str(failure.value)
    assert message.startswith("page: cell In [2] failed; it begins with: # the culprit")
    assert "KeyError: 'missing key'" in message
    assert "\x1b" not in message and len(message.splitlines()) < 30
    assert (
        not (tmp_path / "run" / "notebooks").exists() and not (tmp_path / "run" / "runs").exists()
    )
    assert (tmp_path / "run" / "failed" / "page.ipynb").exists()


def test_a_dead_kernel_is_told(source: Path, tmp_path: Path) -> None:
    source.write_text(PARAMETERS + "\n# %%\nimport os\n\nos._exit(1)\n", encoding="utf-8")
    with pytest.raises(NotebookFailed, match="page: the kernel died"):
        execution.run_notebook(source, tmp_path / "run", {}, tmp_path)


def test_a_wrong_parameter_stops_before_anything_executes(source: Path, tmp_path: Path) -> None:
    source.write_text(PARAMETERS + "\n# %%\nopen('trace', 'w').close()\n", encoding="utf-8")
    with pytest.raises(ParameterError, match="unknown parameter 'nope'"):
        execution.run_notebook(source, tmp_path / "run", {"nope": 1}, tmp_path)
    assert not (tmp_path / "trace").exists()


SECTIONS = """\
# %% [markdown]
# # Title

# %% tags=["parameters"]
profile: str = "demo"

# %% [markdown] tags=["needs-pairs"]
# ## Pairs
# More of it.

# %%
pairs = 1

# %% [markdown] tags=["needs-regions"]
# ### Regions below pairs

# %%
regions = 1

# %% [markdown]
# ## Other

# %%
other = 1
"""


@pytest.mark.parametrize(
    ("has", "code", "notes"),
    [
        (("pairs", "regions"), ["pairs = 1", "regions = 1", "other = 1"], []),
        (("pairs",), ["pairs = 1", "other = 1"], ["### Regions below pairs"]),
        (("regions",), ["other = 1"], ["## Pairs"]),
    ],
)
def test_a_section_that_needs_what_the_data_lack_is_left_out_and_says_so(
    tmp_path, has, code, notes
) -> None:
    notebook = execution.read_notebook(write(tmp_path / "page.py", SECTIONS))
    artifacts.Folder.create("demo", tmp_path / "run", artifacts.About(title="two folders", has=has))
    left = execution.leave_out(notebook, tmp_path / "run").cells
    assert [cell.source for cell in left if cell.cell_type == "code"][1:] == code
    said = [cell.source.splitlines() for cell in left if "Left out" in cell.source]
    assert [lines[0] for lines in said] == notes
    assert all(
        "the data (two folders) have none" in lines[-1] and "More of it." not in lines
        for lines in said
    )
    assert execution.leave_out(notebook, tmp_path / "nothing known").cells == notebook.cells


def test_a_whole_notebook_can_be_left_out_but_for_its_opening_and_parameters(tmp_path) -> None:
    source = SECTIONS.replace(
        "[markdown]\n# # Title", '[markdown] tags=["needs-pairs"]\n# # Title\n#\n# What it is.'
    )
    artifacts.Folder.create("demo", tmp_path / "run", artifacts.About(has=()))
    left = execution.leave_out(
        execution.read_notebook(write(tmp_path / "page.py", source)), tmp_path / "run"
    ).cells
    assert len(left) == 2 and "What it is." in left[0].source and "Left out" in left[0].source
    assert left[1].metadata["tags"] == ["parameters"]


def test_the_commit_is_told_with_its_changes(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert execution.commit(tmp_path) == "not a git checkout"
    git("init", "--quiet")
    file = write(tmp_path / "file", "one")
    git("add", "file")
    git("commit", "--quiet", "--message=one")
    head = git("rev-parse", "HEAD")[:10]
    assert execution.commit(tmp_path) == head
    file.write_text("two")
    assert execution.commit(tmp_path) == f"{head}-dirty"


def test_what_the_status_page_tells() -> None:
    assert execution.package_versions(["numpy"]) == {"numpy": numpy.__version__}
    machine = execution.machine()
    assert int(machine["cores"]) >= 1 and machine["memory"].endswith(" GiB")
    assert platform.node() not in machine.values()


# ---------------------------------------------------------------------------------------------------------------------
# The graph, with doit itself, on a small project: real dodo.py, notebooks of a few lines, and an execution that only
# leaves the promised files. Kernels are started above; here the question is which notebooks run.

LIBRARY = {
    "__init__": 'import lazy_loader\nlazy_loader.attach(__name__, submod_attrs={"defocus": ["defocus_maps"]})\n',
    "defocus": "from defocus_lib.maps.propagation import spread\n",
    "propagation": "import numpy\n",
    "manifest": "",
    "mask": "",
    "store": "",
}
IMPORTS = {
    "01_data": "from defocus_lib import manifest",
    "02_defocus_map": "from defocus_lib import defocus_maps",
    "05_binary_mask": "import defocus_lib.analysis.mask as m",
}


def load_dodo(root: Path, **settings: str) -> dict:
    """The names of ``root/dodo.py``, loaded as doit would after ``doit key=value ...``."""
    doit_cmd.reset_vars()
    for key, value in settings.items():
        doit_cmd.set_var(key, value)
    spec = importlib.util.spec_from_file_location("dodo_under_test", root / "dodo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


class Project:
    """A copy of ``dodo.py`` with its own small notebooks and library; ``run`` tells which notebooks were executed."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.report = root, root / "report.txt"
        self.log, self.broken, self.forgetful = [], "", ""
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
        monkeypatch.setattr(execution, "run_notebook", self.execute)
        monkeypatch.setattr(
            shards, "damaged", lambda root: []
        )  # there are none: its index is a text

    def execute(self, source: Path, folder: Path, parameters: dict, root: Path, name: str) -> None:
        if name == self.broken:
            raise NotebookFailed(f"{name}: cell In [3] failed")
        self.log.append(name)
        reads, writes = self.table[name]
        content = json.dumps([name, parameters, [(folder / read).read_text() for read in reads]])
        for path in [
            "notebooks/{}.ipynb",
            "runs/{}.json",
            *(writes if name != self.forgetful else []),
        ]:
            write(folder / path.format(name), content)

    def run(self, *tasks: str, **settings: str) -> list[str]:
        self.log.clear()
        namespace = load_dodo(self.root, **settings)
        command = ["run", "--output-file", str(self.report), *(tasks or ("notebook", "pages"))]
        self.code = doit_cmd.DoitMain(ModuleTaskLoader(namespace)).run(command)
        return list(self.log)

    def touch(self, path: str) -> None:
        (self.root / path).write_text((self.root / path).read_text() + "# changed\n")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def test_all_run_in_order_once(project: Project) -> None:
    assert project.run() == [*sorted(name for name in project.table if name != "status"), "status"]
    assert project.run() == []
    for name in project.table:
        assert (project.root / "book" / "executed" / f"{name}.ipynb").exists()


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
    assert project.run(set="05_binary_mask.threshold=0.2") == ["05_binary_mask", "status"]
    assert project.run(set="05_binary_mask.threshold=0.2") == []
    assert project.run() == ["05_binary_mask", "status"]
    assert project.run(set="01_data.steps=5")[:4] == [
        "01_data",
        "02_defocus_map",
        "03_train_detector",
        "04_save_shapley",
    ]


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("notebooks/07_tsne.py", "07_tsne"),
        ("defocus_lib/analysis/mask.py", "05_binary_mask"),
        ("defocus_lib/maps/presets.py", "02_defocus_map"),
        ("defocus_lib/maps/propagation.py", "02_defocus_map"),
        ("data_manifest.yaml", "01_data"),
    ],
)
def test_a_changed_file_runs_who_uses_it_and_nobody_whose_input_stays_the_same(
    project: Project, path: str, first: str
) -> None:
    project.run()
    project.touch(path)
    assert project.run() == [first]
    project.touch("defocus_lib/run/artifacts.py")
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
    page = project.root / "book" / "executed" / "01_data.ipynb"
    assert '"profile": "demo"' in page.read_text()
    assert project.run(profile="smoke") == everything
    assert '"profile": "smoke"' in page.read_text()
    assert project.run() == []
    assert '"profile": "demo"' in page.read_text()


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
    with pytest.raises(InvalidDodoFile, match=complaint):
        project.run(**settings)
    assert not project.log and not (project.root / "artifacts").exists()


def test_a_profile_is_checked_like_a_setting(project: Project) -> None:
    write(project.root / "notebooks" / "profiles" / "demo.yaml", "04_save_shapley: {treshold: 1}\n")
    with pytest.raises(InvalidDodoFile, match="04_save_shapley: unknown parameter 'treshold'"):
        project.run()
