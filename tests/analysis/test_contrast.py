import numpy as np
import pytest

from defocus_lib.analysis.contrast import centre, contrast, ellipse

SIGMA = np.array([[1.0, 3.0], [5.0, 8.0]])
UPPER = np.array([[True, True], [False, False]])


def test_means_by_hand():
    found = contrast(SIGMA, UPPER)
    assert found == (2.0, 6.5, -4.5, None, None)
    left = contrast(SIGMA, UPPER, surroundings=np.array([[False, False], [True, False]]))
    assert left.surroundings == 5.0 and left.difference == -3.0


def test_certain_pixels_count_more_and_errors_of_a_region_do_not_average_out():
    # Weights of 1 and 1/4 above, equal ones below.
    found = contrast(SIGMA, UPPER, np.array([[1.0, 2.0], [0.5, 0.5]]))
    assert found.region == pytest.approx((1 * 1 + 3 / 4) / (5 / 4))
    of_region, of_rest = (1 * 1 + 2 / 4) / (5 / 4), 0.5
    assert found.uncertainty == pytest.approx(np.hypot(of_region, of_rest))
    assert found.in_uncertainties == pytest.approx(found.difference / found.uncertainty)


def test_the_centre_is_half_of_each_side():
    inside = centre((8, 6))
    assert inside.sum() == 4 * 4 and inside[2:6, 1:5].all()
    assert centre((4, 4), 1.0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SIGMA, np.zeros((2, 2))), "region has no pixel"),
        ((SIGMA, np.ones((2, 2))), "surroundings has no pixel"),
        ((SIGMA, np.ones((3, 2))), "one shape wanted"),
        ((SIGMA, UPPER, np.zeros((2, 2))), "uncertainty has minimum 0; above 0 wanted"),
        ((SIGMA * np.nan, UPPER), "NaN"),
    ],
)
def test_what_has_no_contrast_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        contrast(*arguments)


def test_an_ellipse_touches_the_middles_of_its_sides_and_no_corner():
    inside = ellipse((8, 8), 1.0)
    assert inside[0, 3:5].all() and inside[3:5, 0].all() and not inside[0, 0]
    assert ellipse((400, 200), 0.5).mean() == pytest.approx(np.pi / 4 * 0.5**2, abs=1e-3)
    np.testing.assert_array_equal(inside, inside[::-1, ::-1])
