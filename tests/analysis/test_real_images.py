"""The tables and claims of results that were measured by hand."""

import pandas as pd
import pytest

from defocus_lib.analysis import real_images
from defocus_lib.run.artifacts import project_root

RESULTS = project_root() / "benchmarks" / "results"


def row(method, value, low, high, of_map="", normalisation="", less=""):
    about = {"data": "tiny", "manipulation": "fake", "method": method, "map": of_map}
    numbers = {"value": value, "low": low, "high": high, "images": 60, "groups": 30}
    return {
        **about,
        "normalisation": normalisation,
        "less": less,
        **numbers,
        "size": 32,
        "seeds": 3,
    }


@pytest.fixture
def measured(tmp_path):
    by_map, rgb = ("physical", "min-max"), "rgb, from scratch"
    rows = [
        row(rgb, 0.9, 0.85, 0.95),
        row("contrast", 0.4, 0.35, 0.45, "learned", "px"),
        row("defocus, from scratch", 0.7, 0.6, 0.8, *by_map),
        row("defocus, from scratch", -0.2, -0.3, -0.1, *by_map, less=rgb),
        row("facts about the files", 0.52, 0.48, 0.56),
    ]
    path = tmp_path / "real_data.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return real_images.read_results(path)


def test_methods_come_in_the_order_of_what_they_read(measured):
    rows = real_images.methods(measured)
    assert rows["source"].tolist() == ["files", "map", "map", "photograph"]
    assert rows["title"].tolist() == [
        "facts about the files, no pixel",
        "contrast of blur (learned, px)",
        "defocus, from scratch (physical)",
        "RGB, from scratch",
    ]
    assert set(rows["on"]) == {"tiny"}


def test_data_with_several_manipulations_name_them(measured):
    other = measured.assign(manipulation="other")
    rows = real_images.methods(pd.concat([measured, other], ignore_index=True))
    assert set(rows["on"]) == {"tiny, fake", "tiny, other"}


def test_auc_is_text_with_its_interval(measured):
    table = real_images.auc_shown(measured)
    text = table.loc[("photograph", "RGB, from scratch"), "tiny"]
    assert text.replace("\N{NO-BREAK SPACE}", " ") == "0.90 [0.85, 0.95]"
    assert len(table) == 4


def test_differences_and_the_contrast_become_claims(measured):
    contrast, difference = real_images.claims(measured)
    assert contrast.compared_with == 0.5 and contrast.verdict == "not supported"
    assert difference.verdict == "not supported" and difference.seeds == 3
    assert "tiny, fake" in difference.statement and "over RGB" in difference.statement


def test_focal_stacks_are_shown_by_name():
    row = {"name": "boards/macro", "photographs": 7, "preset": "learned", "patches": 40.0}
    shares = {"ranked (%)": 95.24, "straight (%)": 90.0}
    blur = {"in focus (px)": 0.8, "out of focus (px)": 4.25}
    table = real_images.lenses_shown(pd.DataFrame([row | shares | blur]))
    assert table.loc[("macro, 7 photographs", "learned")].tolist() == [
        *("40", "95", "90", "0.80", "4.25")
    ]


@pytest.mark.parametrize("name", ["real_data", "real_lenses"])
def test_the_results_of_the_page_are_whole(name):
    table = real_images.read_results(RESULTS / f"{name}.csv")
    assert len(table) and table["commit"].ne("").all()
