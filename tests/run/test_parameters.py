"""What a notebook declares, and what a profile or the command line may set."""

from pathlib import Path

import pytest

from defocus_lib.run import parameters
from defocus_lib.run.notebook import read_notebook
from defocus_lib.run.parameters import ParameterError
from tests.sources import PARAMETERS, write


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "page.py", PARAMETERS)


def test_declared_parameters(source: Path) -> None:
    found = parameters.declared_parameters(read_notebook(source), "page")
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
        parameters.declared_parameters(read_notebook(source), "page")


def test_a_notebook_without_parameters_is_refused(source: Path) -> None:
    source.write_text("# %%\nx = 1\n", encoding="utf-8")
    with pytest.raises(ParameterError, match="page: no cell is tagged 'parameters'"):
        parameters.declared_parameters(read_notebook(source), "page")


DECLARED = {"profile": "demo", "threshold": 0.1, "steps": 3, "quick": False}


def test_given_parameters_replace_defaults() -> None:
    found = parameters.check_parameters("page", DECLARED, {"threshold": 1, "quick": True})
    assert found == {"profile": "demo", "threshold": 1.0, "steps": 3, "quick": True}
    assert type(found["threshold"]) is float
    assert (
        parameters.check_parameters("page", DECLARED, {"threshold": "1e-3"})["threshold"] == 0.001
    )


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (
            {"treshold": 0.2},
            "page: unknown parameter 'treshold'; did you mean 'threshold'. There are profile, "
            "threshold, steps, quick",
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
        parameters.check_parameters("page", DECLARED, given)


def test_settings_are_yaml_values() -> None:
    text = "05_mask.threshold=0.2 05_mask.quick=true 07_tsne.title='two words'"
    assert parameters.parse_settings(text) == {
        "05_mask": {"threshold": 0.2, "quick": True},
        "07_tsne": {"title": "two words"},
    }
    assert parameters.parse_settings("") == {}


@pytest.mark.parametrize(
    "text",
    ["threshold=0.2", "05_mask.threshold", "05_mask threshold 0.2", "05_mask.threshold=[", "'"],
)
def test_an_unreadable_setting_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="cannot read"):
        parameters.parse_settings(text)


def test_profiles(tmp_path: Path) -> None:
    write(tmp_path / "demo.yaml", "# nothing set\n")
    write(tmp_path / "smoke.yaml", "01_data:\n  scenes: 4\n02_map:\n")
    write(tmp_path / "broken.yaml", "- a list\n")
    assert parameters.read_profile(tmp_path, "demo") == {}
    assert parameters.read_profile(tmp_path, "smoke") == {"01_data": {"scenes": 4}, "02_map": {}}
    with pytest.raises(
        ParameterError, match=r"unknown profile 'nope'; there are broken, demo, smoke"
    ):
        parameters.read_profile(tmp_path, "nope")
    with pytest.raises(ParameterError, match=r"broken\.yaml: a mapping"):
        parameters.read_profile(tmp_path, "broken")
