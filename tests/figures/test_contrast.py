"""The figures of the contrast of blur: what stands where, and in which unit."""

import numpy as np
import pandas as pd

from defocus_lib.analysis.blur_statistics import STATISTICS
from defocus_lib.analysis.contrast_detector import KEYS
from defocus_lib.figures import contrast as figures

KINDS = ("splice", "texture")


def test_the_number_below_a_map_is_its_contrast():
    maps = np.zeros((2, 8, 8))
    regions = np.zeros((2, 8, 8), bool)
    regions[:, 2:6, 2:6] = True
    maps[1][regions[1]] = 1.5
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    fig = figures.regions_on_maps(pictures, {"learned": maps}, regions, ["real", "splice"])
    assert [ax.get_xlabel() for ax in fig.axes[:4]] == ["", "+0.00 px", "", "+1.50 px"]
    assert all(ax.collections for ax in fig.axes[:4])  # the outline of the region


def test_real_images_stand_at_the_top_of_the_distributions_and_normalised_maps_are_left_out():
    rows = [
        (kind, scale, value + 100 * (scale != "px"))
        for kind in (*KINDS, "real")
        for scale in ("px", "min-max")
        for value in range(4)
    ]
    table = pd.DataFrame(rows, columns=["manipulation", "scale", "contrast"])
    fig = figures.distributions({"physical": table, "learned": table})
    assert [ax.get_title() for ax in fig.axes] == ["physical", "learned"]
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["real", *KINDS]
    assert fig.axes[0].get_xlim()[1] < 10 and "(px)" in fig.get_supxlabel()


def test_each_map_has_a_marker_for_px_and_one_for_min_max():
    table = pd.DataFrame(
        [
            (preset, scale, "contrast", kind, value, value - 0.1, value + 0.1)
            for kind in KINDS
            for preset, value in (("released", 0.5), ("learned", 0.8))
            for scale in ("px", "min-max")
        ],
        columns=[*KEYS, "manipulation", "value", "low", "high"],
    )
    fig = figures.auc_by_preset(table)
    assert [ax.get_title() for ax in fig.axes] == list(KINDS)
    places = [
        line.get_xdata() for line in fig.axes[0].lines if line.get_label() in ("px", "min-max")
    ]
    np.testing.assert_allclose(places, [[0.5, 0.8]] * 2)
    names = [text.get_text() for text in fig.legends[0].get_texts()]
    assert names == ["px", "min-max"]


def test_the_known_region_is_a_line_where_there_is_one():
    rows = [
        (form, share, "splice", 0.7) for form in ("rectangle", "ellipse") for share in (0.4, 0.6)
    ]
    table = pd.DataFrame(rows, columns=["form", "share", "manipulation", "AUC"])
    (ax,) = figures.share_sensitivity(table, {"splice": 0.9}).axes
    assert [line.get_label() for line in ax.lines[:3]] == [
        "central rectangle", "central ellipse", "known region",
    ]  # fmt: skip
    assert ax.lines[0].get_xdata().tolist() == [40, 60] and "%" in ax.get_xlabel()
    assert "known region" not in [
        line.get_label() for line in figures.share_sensitivity(table).axes[0].lines
    ]


def test_every_statistic_has_its_row():
    table = pd.DataFrame(
        [("splice", name, place, place - 1, place + 1) for place, name in enumerate(STATISTICS)],
        columns=["manipulation", "statistic", "mean", "lowest", "highest"],
    ).sample(frac=1, random_state=0)
    (ax,) = figures.model_coefficients(table).axes
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [name.replace("_", " ") for name in STATISTICS]
    assert ax.lines[0].get_xdata().tolist() == list(range(len(STATISTICS)))
