"""Focal stacks and photographs with measured blur."""

import numpy as np
import pytest
from scipy import ndimage

from defocus_lib.analysis import real_lenses


@pytest.fixture(scope="module")
def stack():
    """A wall of noise whose left half is in focus in photograph 2, its right half in 4.5."""
    wall = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 128)), 1)
    wall = 128 + 60 * wall / wall.std()
    focus = np.where(np.arange(128) < 64, 2.0, 4.5)[None].repeat(64, 0)
    sigmas = [0.4 + 0.5 * np.abs(number - focus) for number in range(8)]
    photographs = []
    for sigma in sigmas:
        left, right = (ndimage.gaussian_filter(wall, float(s)) for s in sigma[0, [0, -1]])
        grey = np.where(focus == 2, left, right).clip(0, 255).astype(np.uint8)
        photographs.append(np.repeat(grey[..., None], 3, axis=2))
    return photographs, sigmas


def test_true_blur_is_ranked_and_straight_everywhere(stack):
    table = real_lenses.patches(*stack, size=16)
    assert len(table) > 16  # the least textured quarter is left out
    np.testing.assert_allclose(table.loc[table["column"] < 3, "focus"], 2, atol=0.4)
    np.testing.assert_allclose(table.loc[table["column"] > 4, "focus"], 4.5, atol=0.4)
    np.testing.assert_allclose(table["straightness"], 1, atol=1e-2)
    summary = real_lenses.stack_summary(table)
    assert summary["ranked (%)"] == summary["straight (%)"] == 100


def test_blur_that_falls_again_out_of_focus_is_neither(stack):
    photographs, sigmas = stack
    table = real_lenses.patches(photographs, [np.minimum(s, 2.4 - s) for s in sigmas], size=16)
    assert (table["rank"] < 0.8).all() and (table["straightness"] < 0.9).all()


def test_a_constant_map_ranks_nothing(stack):
    photographs, sigmas = stack
    table = real_lenses.patches(photographs, [np.ones_like(s) for s in sigmas], size=16)
    assert (table[["rank", "straightness"]] == 0).all(axis=None)


def test_too_few_photographs_are_refused(stack):
    photographs, sigmas = stack
    with pytest.raises(ValueError, match=r"4 photographs and 4 maps .* 5 or more of one size"):
        real_lenses.patches(photographs[:4], sigmas[:4])


def test_scores_of_measured_blur_by_hand():
    truth = np.array([[1.0, 2.0], [3.0, np.nan]])
    scores = real_lenses.measured_scores(
        np.array([[0.0, 2.5], [2.0, 9.0]]), truth, np.array([[2.0, 0.5], [0.5, 1.0]])
    )
    # 0 is clipped to the least truth, 1; the pixel without truth counts nowhere.
    assert scores["error (px)"] == pytest.approx((0 + 0.5 + 1) / 3)
    assert scores["bias (px)"] == pytest.approx((0 + 0.5 - 1) / 3)
    assert scores["Spearman"] == pytest.approx(0.5)
    # Half widths are 0.67, 1.28 and 1.64 standard deviations; errors 0.5, 1 and 2 of them.
    assert scores["in 50 % intervals (%)"] == pytest.approx(100 / 3)
    assert scores["in 80 % intervals (%)"] == pytest.approx(200 / 3)
    assert scores["in 90 % intervals (%)"] == pytest.approx(200 / 3)
