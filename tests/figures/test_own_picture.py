import numpy as np
import pytest

from defocus_lib.analysis.inspection import Inspection, Verdict
from defocus_lib.figures import own_picture


@pytest.mark.parametrize("certain", [False, True])
@pytest.mark.parametrize("judged", [False, True])
def test_planes_have_a_panel_each_and_a_bar_in_their_unit(certain, judged):
    rng = np.random.default_rng(0)
    sigma, values = rng.random((30, 40)), rng.normal(size=(30, 40))
    verdict = Verdict(0.5, 0.0, 0.5, "manipulated", values, 0.0) if judged else None
    pixels, edges = np.zeros((30, 40, 3), np.uint8), np.eye(30, 40, dtype=bool)
    uncertainty = sigma + 1 if certain else None
    made = Inspection("a", "PNG", (40, 30), pixels, sigma, uncertainty, edges, edges, verdict)
    fig = own_picture.picture_planes(made)
    titles = [ax.get_title() for ax in fig.axes if ax.get_images()]
    expected = ["picture", "blur", *["uncertainty"] * certain, *["Shapley values"] * judged]
    assert titles == expected
    units = [ax.get_xlabel() for ax in fig.axes if ax.get_xlabel()]
    assert units == ["px", *["px"] * certain, *["logits"] * judged]
    if judged:
        low, high = fig.axes[len(titles) - 1].get_images()[0].get_clim()
        assert low == -high, "values are on a symmetric scale"
