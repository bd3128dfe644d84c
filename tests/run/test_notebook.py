"""One notebook: execution, equal bytes, failure, sections that are left out."""

from pathlib import Path

import nbformat
import pytest

from defocus_lib.run import artifacts
from defocus_lib.run import notebook as execution
from defocus_lib.run.notebook import NotebookFailed
from defocus_lib.run.parameters import ParameterError
from defocus_lib.run.provenance import read_runs
from tests.sources import PARAMETERS, write

# Everything that differs from run to run by itself: bars, widgets, addresses, random ids, a split
# standard output.
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


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "page.py", PARAMETERS)


def test_a_source_is_read_with_ids_that_depend_on_the_position_only(source: Path) -> None:
    first, second = execution.read_notebook(source), execution.read_notebook(source)
    assert [cell.id for cell in first.cells] == ["cell-000", "cell-001"]
    assert first == second
    assert first.metadata.kernelspec.name == "python3"


@pytest.mark.slow
def test_two_runs_leave_the_same_bytes(source: Path, tmp_path: Path) -> None:
    source.write_text(PARAMETERS + RESTLESS, encoding="utf-8")
    given = {"profile": "smoke", "threshold": 0.25, "steps": 3}
    folders = [tmp_path / "one", tmp_path / "x{x} [2] 50% #3 Жук"]
    runs = [execution.run_notebook(source, folder, given, tmp_path) for folder in folders]
    one, two = (folder / "notebooks" / "page.ipynb" for folder in folders)
    assert one.read_bytes() == two.read_bytes()

    notebook = nbformat.read(one, as_version=4)
    nbformat.validate(notebook)
    text = one.read_text(encoding="utf-8")
    assert not {
        word
        for word in ("papermill", "widget-view", '"stderr"', "0x", "it/s", str(tmp_path))
        if word in text
    }
    # What this run changed stands right below the declared defaults; steps is its default, so it is
    # not repeated.
    assert notebook.cells[1].source.startswith('profile: str = "demo"')
    assert notebook.cells[2].source.splitlines()[1:] == ['profile = "smoke"', "threshold = 0.25"]
    assert [output.text for output in notebook.cells[3].outputs] == ["first\nsecond 0.25 3\n"]

    assert runs[0].parameters == {"profile": "smoke", "threshold": 0.25, "steps": 3, "quick": False}
    assert runs[0].seconds > 0.35  # it sleeps that long
    assert runs[0].peak_mb > 256  # it holds that much
    assert read_runs(tmp_path / "one") == runs[:1]
    assert read_runs(tmp_path / "one", without="page") == []


@pytest.mark.slow
def test_a_failing_cell_is_told_briefly_and_counts_as_nothing(source: Path, tmp_path: Path) -> None:
    deep = "def down(n):\n    return down(n - 1) if n else {}['missing key']\n\ndown(40)\n"
    source.write_text(
        PARAMETERS + "\n# %%\n# the culprit\n" + deep + "\n# %%\nprint('never')\n", encoding="utf-8"
    )
    with pytest.raises(NotebookFailed) as failure:
        execution.run_notebook(source, tmp_path / "run", {}, tmp_path)
    message = str(failure.value)
    kept = tmp_path / "run" / "failed" / "page.ipynb"
    assert message == f"page failed: KeyError: 'missing key' (cell In [2] of {kept})"
    traceback = failure.value.traceback
    assert "\x1b" not in traceback and traceback.splitlines()[-1] == "KeyError: 'missing key'"
    assert len(traceback.splitlines()) < 30
    assert (
        not (tmp_path / "run" / "notebooks").exists() and not (tmp_path / "run" / "runs").exists()
    )
    assert kept.exists()


@pytest.mark.slow
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


@pytest.mark.parametrize(("groups", "left_out"), [(0, False), (2, True), (3, False), (40, False)])
def test_a_section_that_needs_more_test_groups_says_how_many(tmp_path, groups, left_out) -> None:
    source = write(
        tmp_path / "page.py",
        SECTIONS.replace('tags=["needs-pairs"]', 'tags=["needs-3-test-groups"]'),
    )
    notebook = execution.read_notebook(source)
    assert execution.least_test_groups(notebook) == [(3, "Pairs")]
    about = artifacts.About(title="few", unit="video", test_groups=groups)
    left = execution.leave_out_sections(notebook, about).cells
    notes = [cell.source for cell in left if "Left out" in cell.source]
    said = "*Left out: this needs 3 test videos of each class, and the data (few) have 2.*"
    assert notes == ([f"## Pairs\n\n{said}"] if left_out else [])


@pytest.mark.parametrize(
    ("need", "unit", "has", "note"),
    [
        ("videos", "video", (), ""),
        ("videos", "image", (), "videos of several frames, and the data (own images) have none"),
        ("transfer", "video", ("transfer",), ""),
        ("transfer", "video", (), "more than one manipulation, and the data (own images) have one"),
    ],
)
def test_sections_on_videos_and_on_transfer_need_them(tmp_path, need, unit, has, note) -> None:
    text = SECTIONS.replace('tags=["needs-pairs"]', f'tags=["needs-{need}"]')
    notebook = execution.read_notebook(write(tmp_path / "page.py", text))
    about = artifacts.About(unit=unit, has=("regions", *has))
    left = execution.leave_out_sections(notebook, about).cells
    notes = [cell.source for cell in left if "Left out" in cell.source]
    assert notes == ([f"## Pairs\n\n*Left out: this needs {note}.*"] if note else [])


def test_the_page_of_maps_shows_no_table_of_claims_where_no_blur_is_known() -> None:
    source = Path(__file__).parents[2] / "notebooks" / "02_defocus_map.py"
    for has, tables in ((("depth",), 1), ((), 0)):
        page = execution.leave_out_sections(
            execution.read_notebook(source), artifacts.About(has=has)
        )
        assert sum("claims.table(" in cell.source for cell in page.cells) == tables


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
    nbformat.write(nbformat.v4.new_notebook(cells=left), tmp_path / "page.ipynb")
    needs = "pairs of a real and a manipulated image, and the data (own images) have none"
    assert execution.left_out_of(tmp_path / "page.ipynb") == [
        f"'Title': Left out: this needs {needs}"
    ]
