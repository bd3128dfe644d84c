"""The figures of page 13 draw, are labelled, leave pyplot alone, and survive values of 0."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from defocus_lib.analysis import alignment, faithfulness, sanity_checks
from defocus_lib.figures import faithfulness as figures
from tests.analysis.test_faithfulness import explainer_of
from tests.analysis.test_sanity_checks import Deep

plt.switch_backend("agg")


@pytest.fixture(scope="module")
def explainer():
    return explainer_of(Deep().eval().requires_grad_(False), side=16)


def both(table):
    return {"defocus": table, "rgb": table}


def errors(explainer):
    table = faithfulness.error_table(explainer, (2, 8), 16)
    parts = [table.assign(detector=name) for name in ("defocus", "rgb")]
    return figures.sampling_errors(faithfulness.error_summary(pd.concat(parts)), 8)


def seeds(explainer):
    first, second = (explainer.values(2, seed=seed).values[0] for seed in (1, 2))
    return figures.two_seeds(first, second, 0.5, "test-00000/splice, defocus, 2 samples")


def nothing(explainer):
    return figures.two_seeds(np.zeros((8, 8)), np.zeros((8, 8)), np.nan)


def cascade(explainer):
    repeats = faithfulness.repeat_table(explainer, 2, "stratified")
    return figures.randomisation_curves(
        both(sanity_checks.randomisation(explainer, 2)), both(repeats)
    )


def removal(explainer):
    return figures.removal_curves(
        both(sanity_checks.removal_table(explainer, explainer.values(2).values, 4, 4))
    )


def baselines(explainer):
    rng = np.random.default_rng(0)
    fake, real, own, untrained = rng.random((4, 6, 8, 8))
    weights = {"defocus": (own, untrained), "rgb": (untrained, own)}
    table = alignment.baseline_scores(fake, real, weights, list("abcdef"), bins=4)
    return figures.baseline_differences(alignment.compare_with_baselines(table, n_bootstrap=50))


def one_group(explainer):
    rng = np.random.default_rng(0)
    maps = rng.random((4, 1, 8, 8))
    table = alignment.baseline_scores(maps[0], maps[1], {"rgb": (maps[2], maps[3])}, ["a"], bins=4)
    return figures.baseline_differences(alignment.compare_with_baselines(table, n_bootstrap=50))


DRAWN = {
    errors: 6,
    seeds: 3,
    nothing: 3,
    cascade: 2,
    removal: 4,
    baselines: 3,
    one_group: 3,
}  # and their panels


@pytest.mark.parametrize("draw", DRAWN)
def test_draws_and_is_labelled(draw, explainer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = draw(explainer)
        FigureCanvasAgg(fig).draw()
    assert not plt.get_fignums()
    panels = [ax for ax in fig.axes if ax.get_label() != "<colorbar>"]
    assert len(panels) == DRAWN[draw]
    labels = [ax.get_xlabel() for ax in panels] + (
        [fig._supxlabel.get_text()] if fig._supxlabel else []
    )
    assert any(labels) and any(ax.get_ylabel() for ax in panels)


def test_the_same_arguments_draw_the_same_figure(explainer):
    pixels = []
    for _ in range(2):
        canvas = FigureCanvasAgg(seeds(explainer))
        canvas.draw()
        pixels.append(bytes(canvas.buffer_rgba()))
    assert pixels[0] == pixels[1]


def test_baselines_stand_on_their_rows(explainer):
    """A mark for each baseline and detector, at the difference that the table has."""
    fig = baselines(explainer)
    marks = [line for line in fig.axes[0].lines if line.get_marker() not in ("", "None", None)]
    assert [len(line.get_xdata()) for line in marks] == [4, 4]
    assert [round(y) for y in marks[0].get_ydata()] == [0, 1, 2, 3]
