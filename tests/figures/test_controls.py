import numpy as np
import pandas as pd

from defocus_lib.detect.control_inputs import WITHOUT_BLUR
from defocus_lib.figures import controls as figures


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_inputs_stand_beside_their_photograph():
    image = np.zeros((8, 8, 3), np.uint8)
    fig = figures.control_inputs(image, {name: np.full((8, 8), 0.5) for name in WITHOUT_BLUR})
    assert [ax.get_title() for ax in fig.axes] == [
        "photograph",
        "edges",
        "edge density",
        "permuted blur",
    ]


def test_controls_have_a_dot_and_a_bar_each_and_a_tick_a_seed():
    table = pd.DataFrame(
        {"value": [0.8, 0.5], "low": [0.7, 0.4], "high": [0.9, 0.6]}, index=["map", "edges"]
    )
    seeds = {"map": np.array([0.75, 0.85]), "edges": np.array([0.5, 0.5])}
    (ax,) = figures.control_auc(table, seeds, "map").axes
    assert labels(ax.yaxis) == ["map", "edges"]
    bars = [segment[:, 0].tolist() for one in ax.collections for segment in one.get_segments()]
    assert bars == [[0.7, 0.9], [0.4, 0.6]]
    assert [line.get_xdata().tolist() for line in ax.lines if line.get_marker() == "|"] == [
        [0.75, 0.85],
        [0.5, 0.5],
    ]


def test_effects_are_in_per_cent():
    columns = pd.MultiIndex.from_product([("alone", "adjusted"), ("value", "low", "high")])
    table = pd.DataFrame([[0.1, 0.05, 0.15, 0.0, -0.1, 0.1]], index=["splice"], columns=columns)
    (ax,) = figures.density_effects(table).axes
    assert [line.get_xdata().tolist() for line in ax.lines[:2]] == [[10.0], [0.0]]
    assert "%" in ax.get_xlabel()


def test_the_matrix_has_what_was_learned_in_its_rows():
    rows = [
        ("rgb", "a", "a", 0.9),
        ("rgb", "a", "b", 0.6),
        ("rgb", "b", "a", 0.4),
        ("rgb", "b", "b", 0.8),
    ]
    matrix = pd.DataFrame(
        rows, columns=["input", "training_manipulation", "test_manipulation", "value"]
    )
    (ax,) = figures.transfer_matrix(matrix, {"rgb": "photograph"}).axes
    assert [text.get_text() for text in ax.texts] == ["0.90", "0.60", "0.40", "0.80"]
    assert (labels(ax.yaxis), ax.get_ylabel(), ax.get_xlabel()) == (
        ["a", "b"],
        "trained on",
        "tested on",
    )


def test_levels_stand_side_by_side_under_their_names():
    rows = [
        ("blur", s, d, "frame", 0.9 - s / 10, 0.8, 0.95)
        for s in (0, 1, 4)
        for d in ("defocus", "rgb")
    ]
    curves = pd.DataFrame(
        rows, columns=["corruption", "level", "detector", "by", "value", "low", "high"]
    )
    fig = figures.robustness_curves(curves, {"blur": "sigma (px)"})
    assert labels(fig.axes[0].xaxis) == ["0", "1", "4"]
    assert len(fig.axes[0].lines) == 3, "two detectors and chance"
    assert len(fig.legends[0].get_texts()) == 2


def test_corrupted_maps_share_one_scale():
    fig = figures.corrupted_pair(
        np.zeros((2, 6, 6, 3), np.uint8), np.ones((2, 6, 6)) * 3, ["real", "x"], "blur 2"
    )
    maps = [ax.images[0] for ax in fig.axes[2:4]]
    assert {image.get_clim() for image in maps} == {(0, 3)}
    assert fig.get_suptitle() == "blur 2"
