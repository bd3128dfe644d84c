"""The figures of detectors by map: places, labels, and one scale."""

import numpy as np
import pandas as pd

from defocus_lib.analysis.detector_by_map import INTERVAL, TRUE
from defocus_lib.analysis.map_accuracy import ERROR, SPEARMAN
from defocus_lib.figures import detector_by_map as figures

KINDS = ("splice", "texture")


def auc_table(*maps):
    rows = [(name, kind, 0.7, 0.6, 0.8) for name in maps for kind in KINDS]
    return pd.DataFrame(rows, columns=["map", "manipulation", *INTERVAL])


def errors_of(**errors):
    columns = pd.MultiIndex.from_product([(ERROR, SPEARMAN), INTERVAL])
    rows = [[e, e - 0.1, e + 0.1, 0.5, 0.4, 0.6] for e in errors.values()]
    return pd.DataFrame(rows, index=list(errors), columns=columns)


def test_markers_stand_at_the_error_of_their_map_and_the_truth_at_none():
    table = auc_table("physical", "learned", TRUE)
    fig = figures.auc_against_error(table, errors_of(physical=0.6, learned=0.3))
    assert [ax.get_title() for ax in fig.axes] == list(KINDS)
    places = [line.get_xdata().tolist() for line in fig.axes[0].lines if line.get_marker() in "^D*"]
    assert places == [[0.6], [0.3], [0.0]]
    assert "px" in fig.axes[0].get_xlabel() and "AUC" in fig.axes[0].get_ylabel()
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["physical", "learned", TRUE]


def test_without_errors_maps_stand_side_by_side_under_their_names():
    (ax, _) = figures.auc_against_error(auc_table("physical", "learned")).axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["physical", "learned"]


def test_maps_of_a_pair_share_one_scale():
    maps = {"physical": np.ones((2, 8, 8)), TRUE: np.full((2, 8, 8), 3.0)}
    fig = figures.maps_of_pair(np.zeros((2, 8, 8, 3), np.uint8), maps, ["real", "splice"])
    assert {
        ax.images[0].get_clim() for ax in fig.axes[:6] if ax.images[0].get_array().ndim == 2
    } == {(0, 3)}
    assert [fig.axes[row].get_ylabel() for row in (0, 3)] == ["real", "splice"]
