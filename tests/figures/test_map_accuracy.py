"""The figures of known blur draw, are labelled, and leave pyplot alone."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from defocus_lib.analysis import map_accuracy
from defocus_lib.figures import map_accuracy as figures

plt.switch_backend("agg")


def steps():
    return figures.step_readings(map_accuracy.step_reading_table([1.0, 3.0], [0.0, 0.05], size=33))


def maps():
    image, sigma = np.zeros((32, 32, 3), np.uint8), np.linspace(0.3, 4, 1024).reshape(32, 32)
    return figures.error_maps({"focus at 12 px": (image, sigma, sigma > 1, sigma[::-1])})


def borders():
    columns = {name: np.linspace(1, 0.5, 6) for name in map_accuracy.ESTIMATORS}
    return figures.border_profiles(pd.DataFrame(columns))


def influences():
    names = ["released", "published", "physical", "constant mean"]
    rows = [(x, name, 1.0, 0.3) for x in (0.5, 1.0, 2.0) for name in names]
    factor = pd.DataFrame(rows, columns=["factor", "estimator", "error (px)", "Spearman"])
    return figures.influences(
        {"JPEG quality": factor.rename(columns={"factor": "quality"}), "resized by": factor}
    )


def uncertainty():
    coverage = pd.DataFrame({50.0: [48, 60], 90.0: [88, 70]}, index=["motorcycle", "simulated"])
    kept = pd.DataFrame(
        {"by uncertainty": [0.1, 0.3], "by the error itself": [0.0, 0.3]}, index=[0.5, 1.0]
    )
    return figures.uncertainty_check(coverage, kept)


def rows():
    tall, wide = np.zeros((64, 32, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)
    return figures.map_rows(
        {
            name: (image, {"estimate": np.ones(image.shape[:2])})
            for name, image in (("tall", tall), ("wide", wide))
        }
    )


@pytest.mark.parametrize("draw", [steps, maps, borders, influences, uncertainty, rows])
def test_figures_draw_and_are_labelled(draw):
    before = plt.rcParams.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = draw()
        FigureCanvasAgg(fig).draw()
    assert not plt.get_fignums() and plt.rcParams == before
    labels = " ".join(ax.get_xlabel() + ax.get_ylabel() for ax in fig.axes)
    assert "px" in labels


def test_the_error_map_is_white_where_nothing_is_known():
    shown = maps().axes[3].images[0].get_array()
    assert (
        np.isnan(np.asarray(shown, float)[0]).all()
        and np.isfinite(np.asarray(shown, float)[-1]).all()
    )


def test_the_first_row_of_maps_has_the_titles():
    assert [ax.get_title() for ax in rows().axes[:4]] == ["photograph", "estimate", "", ""]
