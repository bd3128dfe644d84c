import numpy as np
import pandas as pd

from defocus_lib.figures import shapley, speed


def test_completeness_has_one_panel_per_detector_and_one_point_per_image():
    table = pd.DataFrame(
        {
            "detector": ["defocus", "defocus", "rgb"],
            "sum": [1.0, -2.0, 0.5],
            "explained": [1.5, -2.0, 0.0],
        }
    )
    left, right = shapley.completeness(table).axes
    assert (left.get_title(), right.get_title()) == ("defocus detector", "RGB detector")
    np.testing.assert_array_equal(left.collections[0].get_offsets(), [[1.5, 1], [-2, -2]])
    np.testing.assert_array_equal(right.collections[0].get_offsets(), [[0, 0.5]])


def test_times_and_errors_are_drawn_by_name():
    table = pd.DataFrame(
        {"seconds_per_image": [70.0, 2.0], "relative_error": [0.2, 0.1]}, index=["shap", "ours"]
    )
    (bars,) = speed.time_bars(table["seconds_per_image"], ["ours"]).axes
    assert [bar.get_width() for bar in bars.patches] == [70, 2]
    assert bars.patches[0].get_facecolor() != bars.patches[1].get_facecolor()
    (marks,) = speed.error_against_time(table).axes
    named = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in marks.lines}
    assert named == {"shap": (70, 0.2), "ours": (2, 0.1)}
