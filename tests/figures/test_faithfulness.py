"""The figures of trust draw, are labelled, leave pyplot alone, and survive values that are all 0."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from defocus_lib.analysis import alignment_baselines, faithfulness, sanity_checks
from defocus_lib.figures import faithfulness as figures
from tests.analysis.test_faithfulness import ask
from tests.analysis.test_sanity_checks import Deep

plt.switch_backend("agg")


@pytest.fixture(scope="module")
def question():
    return ask(Deep().eval().requires_grad_(False), side=16)


def both(table):
    return {"defocus": table, "rgb": table}


def errors(question):
    table = faithfulness.error_table(question, (2, 8), 16)
    parts = [table.assign(detector=name) for name in ("defocus", "rgb")]
    return figures.sampling_errors(faithfulness.error_summary(pd.concat(parts)), 8)


def seeds(question):
    first, second = (question.values(2, seed=seed).values[0] for seed in (1, 2))
    return figures.two_draws(first, second, 0.5, "test-00000/splice, defocus, 2 draws")


def nothing(question):
    return figures.two_draws(np.zeros((8, 8)), np.zeros((8, 8)), np.nan)


def cascade(question):
    repeats = faithfulness.repeat_table(question, 2, "stratified")
    return figures.randomisation_curves(
        both(sanity_checks.randomisation(question, 2)), both(repeats)
    )


def removal(question):
    return figures.removal_curves(
        both(sanity_checks.removal_table(question, question.values(2).values, 4, 4))
    )


def nulls(question):
    rng = np.random.default_rng(0)
    fake, real, own, untrained = rng.random((4, 6, 8, 8))
    weights = {"defocus": (own, untrained), "rgb": (untrained, own)}
    table = alignment_baselines.null_scores(fake, real, weights, list("abcdef"), bins=4)
    return figures.null_differences(alignment_baselines.against_nulls(table, 50))


def one_group(question):
    rng = np.random.default_rng(0)
    maps = rng.random((4, 1, 8, 8))
    table = alignment_baselines.null_scores(
        maps[0], maps[1], {"rgb": (maps[2], maps[3])}, ["a"], bins=4
    )
    return figures.null_differences(alignment_baselines.against_nulls(table, 50))


DRAWN = {
    errors: 6,
    seeds: 3,
    nothing: 3,
    cascade: 2,
    removal: 4,
    nulls: 3,
    one_group: 3,
}  # and their panels


@pytest.mark.parametrize("draw", DRAWN)
def test_draws_and_is_labelled(draw, question):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = draw(question)
        FigureCanvasAgg(fig).draw()
    assert not plt.get_fignums()
    panels = [ax for ax in fig.axes if ax.get_label() != "<colorbar>"]
    assert len(panels) == DRAWN[draw]
    labels = [ax.get_xlabel() for ax in panels] + (
        [fig._supxlabel.get_text()] if fig._supxlabel else []
    )
    assert any(labels) and any(ax.get_ylabel() for ax in panels)


def test_the_same_arguments_draw_the_same_figure(question):
    pixels = []
    for _ in range(2):
        canvas = FigureCanvasAgg(seeds(question))
        canvas.draw()
        pixels.append(bytes(canvas.buffer_rgba()))
    assert pixels[0] == pixels[1]


def test_nulls_stand_on_their_rows(question):
    """A mark for each null and detector, at the difference that the table has."""
    fig = nulls(question)
    marks = [line for line in fig.axes[0].lines if line.get_marker() not in ("", "None", None)]
    assert [len(line.get_xdata()) for line in marks] == [4, 4]
    assert [round(y) for y in marks[0].get_ydata()] == [0, 1, 2, 3]
