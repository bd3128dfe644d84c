import numpy as np
import pytest
from scipy import ndimage

from defocus_lib.scenes import optics
from tests.reference import optics as literal

LENS = optics.ThinLens(focal_length=50, f_number=2, focus_distance=2050, pixel_pitch=0.01)


# The lens


def test_the_circle_of_confusion_by_hand():
    # Aperture 25 mm, magnification 50 / 2000: 25 * 0.025 * 2050 / 4100 = 0.3125 mm at 4100 mm;
    # sigma is 31.25 px / 4.
    assert float(LENS.circle_of_confusion(4100)) == pytest.approx(0.3125)
    assert float(LENS.sigma(4100)) == pytest.approx(7.8125)
    assert float(LENS.circle_of_confusion(1025)) == pytest.approx(0.625)


def test_the_circle_is_that_of_the_rays():
    # The image of a point lies at v = f u / (u - f); the cone behind the aperture is cut by the
    # sensor.
    def image_distance(u):
        return LENS.focal_length * u / (u - LENS.focal_length)

    u, sensor = np.array([700.0, 1500, 2050, 3000, 9000]), image_distance(LENS.focus_distance)
    aperture = LENS.focal_length / LENS.f_number
    expected = aperture * np.abs(sensor - image_distance(u)) / image_distance(u)
    np.testing.assert_allclose(LENS.circle_of_confusion(u), expected, atol=1e-12)


def test_sigma_is_that_of_a_uniform_disc():
    diameter = float(LENS.circle_of_confusion(4100)) / LENS.pixel_pitch
    x, y = np.meshgrid(*[np.linspace(-diameter, diameter, 1001)] * 2)
    inside = x[np.hypot(x, y) <= diameter / 2]
    assert float(LENS.sigma(4100)) == pytest.approx(inside.std(), rel=0.01)


def test_blur_is_zero_in_focus_and_grows_away_from_it():
    assert float(LENS.sigma(2050)) == 0
    assert (np.diff(LENS.sigma(np.linspace(2050, 20000, 50))) > 0).all()
    assert (np.diff(LENS.sigma(np.linspace(300, 2050, 50))) < 0).all()
    assert float(LENS.sigma(1e12)) == pytest.approx(25 * 0.025 / 0.04)


def test_blur_is_linear_in_inverse_distance():
    inverse = np.linspace(1 / 9000, 1 / 2100, 20)
    np.testing.assert_allclose(np.diff(LENS.sigma(1 / inverse), n=2), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"focal_length": 0}, "focal_length is 0; a positive"),
        ({"f_number": -2}, "f_number is -2"),
        ({"pixel_pitch": float("nan")}, "pixel_pitch is nan"),
        ({"focus_distance": 50}, "focus_distance is 50 mm; more than the focal length 50 mm"),
    ],
)
def test_impossible_lenses_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        optics.ThinLens(**{**vars(LENS), **change})


@pytest.mark.parametrize("distance", [0, [100, -1], float("nan")])
def test_impossible_distances_are_refused(distance):
    with pytest.raises(ValueError, match="distance holds values that are not positive"):
        LENS.sigma(distance)


# The renderer


def half(size=64):
    """A near layer on the left half of the plane, and all of the plane behind it."""
    near = np.zeros((size, size))
    near[:, : size // 2] = 1
    return [np.ones((size, size)), near]


def flat(*colours, size=64):
    return [np.broadcast_to(np.array(c, dtype=float), (size, size, 3)) for c in colours]


RED, GREEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def test_one_layer_is_a_plain_blur():
    image = np.random.default_rng(0).random((40, 50, 3))
    rendered = optics.render([image], [np.ones((40, 50))], [1.7])
    expected = np.stack([ndimage.gaussian_filter(image[..., c], 1.7) for c in range(3)], axis=2)
    np.testing.assert_allclose(rendered, expected, atol=1e-12)
    np.testing.assert_array_equal(optics.render([image], [np.ones((40, 50))], [0.0]), image)


def test_a_scene_of_one_colour_keeps_it_whatever_the_blur():
    rng = np.random.default_rng(1)
    masks = [
        np.ones((48, 48)),
        *(ndimage.gaussian_filter(rng.normal(size=(3, 48, 48)), (0, 5, 5)) > 0).astype(float),
    ]
    rendered = optics.render(flat(*[(0.2, 0.5, 0.7)] * 4, size=48), masks, [3.0, 0.0, 2.0, 1.0])
    np.testing.assert_allclose(
        rendered, np.broadcast_to([0.2, 0.5, 0.7], rendered.shape), atol=1e-12
    )


def test_cut_outs_that_meet_leave_no_dark_seam():
    left, right = half()[1], 1 - half()[1]
    rendered = optics.render(flat(RED, RED), [right, left], [2.0, 3.0])
    np.testing.assert_allclose(rendered, np.broadcast_to(RED, rendered.shape), atol=1e-6)


def test_a_blurred_near_layer_spreads_over_a_sharp_far_one():
    rendered = optics.render(flat(GREEN, RED), half(), [0.0, 3.0])
    red = rendered[32, :, 0]
    expected = ndimage.gaussian_filter1d(half()[1][32], 3.0)
    np.testing.assert_allclose(red, expected, atol=1e-12)
    assert 0.2 < red[33] < 0.5 and red[38] > 0.005, (
        "red light falls to the right of the near layer's outline"
    )
    np.testing.assert_allclose(rendered.sum(2), 1)


def test_a_blurred_far_layer_does_not_spread_over_a_sharp_near_one():
    far = np.random.default_rng(2).random((64, 64, 3))
    far[..., 0] = 0
    rendered = optics.render([far, flat(RED)[0]], half(), [3.0, 0.0])
    np.testing.assert_array_equal(rendered[:, :32], np.broadcast_to(RED, (64, 32, 3)))
    # Nor does the near layer's sharp outline blur; the far one is blurred as if it went on behind.
    np.testing.assert_allclose(rendered[:, 32:], optics.blur(far, 3.0)[:, 32:], atol=1e-12)


def test_the_order_of_layers_decides_what_hides_what():
    left, right = half()[1], np.ones((64, 64))
    assert optics.render(flat(RED, GREEN), [right, left], [0, 0])[0, 0].tolist() == list(GREEN)
    assert optics.render(flat(GREEN, RED), [left, right], [0, 0])[0, 0].tolist() == list(RED)


def test_a_blurred_layer_keeps_its_light():
    spot = np.zeros((64, 64))
    spot[30:34, 28:36] = 1
    rendered = optics.render(flat((0.0, 0.0, 0.0), RED), [np.ones((64, 64)), spot], [0.0, 3.0])
    assert rendered[..., 0].sum() == pytest.approx(spot.sum()) and rendered[..., 0].max() < 0.7


def test_visible_sigma_is_that_of_the_nearest_layer():
    near = half()[1].copy()
    near[:, 32] = 0.4  # less than half covered: the far layer is seen
    seen = optics.visible_sigma([np.ones((64, 64)), near], [3.0, 1.0])
    assert (seen[:, :32] == 1).all() and (seen[:, 32:] == 3).all()


def test_layers_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="2 colours, 1 masks, 2 sigmas"):
        optics.render(flat(RED, GREEN), [np.ones((64, 64))], [1.0, 2.0])
    with pytest.raises(ValueError, match="0 colours"):
        optics.render([], [], [])


# Blur by depth


def test_one_depth_is_one_blur():
    image = np.random.default_rng(3).random((40, 40, 3))
    rendered = optics.render_depth(image, np.full((40, 40), 1.5), np.full((40, 40), 900.0))
    np.testing.assert_allclose(rendered, optics.blur(image, 1.5), atol=1e-9)


def test_a_near_object_hides_by_depth_as_by_layers():
    masks = half()
    colours = np.where(masks[1][..., None] > 0, *flat(RED, GREEN))
    sigma, distance = np.where(masks[1] > 0, 3.0, 0.0), np.where(masks[1] > 0, 500.0, 2000.0)
    rendered = optics.render_depth(colours, sigma, distance)
    assert rendered[32, 35, 0] > 0.1, "the near one's blur spreads over the sharp far one"
    rendered = optics.render_depth(colours, 3.0 - sigma, distance)
    np.testing.assert_allclose(rendered[:, :32], np.broadcast_to(RED, (64, 32, 3)), atol=1e-9)


def test_away_from_outlines_each_pixel_has_the_blur_of_its_own_sigma():
    image = np.random.default_rng(4).random((48, 96, 3))
    sigma = np.where(np.arange(96) < 48, 1.0, 2.0) * np.ones((48, 1))
    rendered = optics.render_depth(image, sigma, 1000 * sigma)
    expected = literal.blur_each_pixel(image, sigma[None])[0]
    inner = np.abs(np.arange(96) - 47.5) > 10
    np.testing.assert_allclose(rendered[:, inner], expected[:, inner], atol=1e-3)


def test_a_slope_in_depth_is_blurred_more_and_more():
    image = np.random.default_rng(5).random((64, 96, 3))
    sigma = np.linspace(0.5, 4, 96) * np.ones((64, 1))
    rendered = optics.render_depth(image, sigma, 1000 + 1000 * sigma)
    detail = [
        rendered[:, part].std()
        for part in (slice(0, 24), slice(24, 48), slice(48, 72), slice(72, 96))
    ]
    assert (np.diff(detail) < 0).all() and detail[0] > 2 * detail[-1]


def test_the_literal_blur_is_a_weighted_mean_of_the_neighbours():
    image = np.random.default_rng(6).random((41, 41, 3))
    sigma = np.full((1, 41, 41), 1.0)
    sigma[0, 20, 20] = 2.03  # between two of the levels that are blurred
    y, x = np.mgrid[-20:21, -20:21]
    gaussian = np.exp(-(x**2 + y**2) / (2 * 2.03**2))
    expected = (image * (gaussian / gaussian.sum())[..., None]).sum((0, 1))
    np.testing.assert_allclose(
        literal.blur_each_pixel(image, sigma)[0, 20, 20], expected, atol=1e-3
    )


@pytest.mark.parametrize("psf", optics.PSFS)
@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_a_point_spreads_with_the_sigma_that_was_asked_for(psf, sigma):
    point = np.zeros((1, 65, 65))
    point[0, 32, 32] = 1
    spread = optics.blur_field(point, np.full((65, 65), sigma), psf)[0]
    offset = np.arange(65) - 32
    assert spread.sum() == pytest.approx(1)
    assert (spread.sum(0) * offset**2).sum() == pytest.approx(sigma**2, rel=0.02)


def test_a_disc_is_flat_within_its_radius_and_nothing_beyond():
    point = np.zeros((1, 65, 65))
    point[0, 32, 32] = 1
    spread = optics.blur_field(point, np.full((65, 65), 5.0), "disc")[0]
    y, x = np.indices(spread.shape) - 32
    distance, height = np.hypot(y, x), 1 / (np.pi * 10**2)  # radius: twice sigma
    np.testing.assert_allclose(spread[distance < 7], height, rtol=0.15)
    np.testing.assert_allclose(spread[distance > 13], 0, atol=0.1 * height)


def test_gaussian_field_of_one_sigma_is_the_gaussian_filter():
    plane = np.random.default_rng(0).random((1, 40, 48))
    blurred = optics.blur_field(plane, np.full((40, 48), 2.0))[0]
    np.testing.assert_allclose(
        blurred, ndimage.gaussian_filter(plane[0], 2.0, truncate=8), atol=1e-5
    )


def test_each_pixel_of_a_field_has_the_blur_of_its_own_sigma():
    plane = np.random.default_rng(0).random((1, 48, 48))
    sigma = np.linspace(0.5, 3, 48)[None].repeat(48, 0)
    blurred = optics.blur_field(plane, sigma, ratio=1.01)[0]
    for column in (0, 20, 47):
        alone = optics.blur_field(plane, np.full_like(sigma, sigma[0, column]))[0]
        np.testing.assert_allclose(blurred[:, column], alone[:, column], atol=1e-4)


def test_coarser_steps_of_blur_change_little():
    plane = np.random.default_rng(1).random((1, 64, 64))
    sigma = np.linspace(0.5, 4, 64)[None].repeat(64, 0)
    fine, coarse = (optics.blur_field(plane, sigma, ratio=ratio) for ratio in (1.01, 1.25))
    assert np.abs(fine - coarse).max() < 0.02 and np.abs(fine - coarse).mean() < 0.002


def test_blur_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="sigma goes down to 0 px; positive values wanted"):
        optics.blur_field(np.zeros((1, 32, 32)), np.zeros((32, 32)))


def test_unknown_psf_is_refused():
    with pytest.raises(ValueError, match="unknown psf 'box'; one of gaussian, disc wanted"):
        optics.blur_field(np.zeros((1, 32, 32)), np.ones((32, 32)), "box")


def test_surfaces_of_constant_blur_render_as_layers_do():
    rng = np.random.default_rng(2)
    textures = [ndimage.gaussian_filter(rng.random((48, 48)), 1) for _ in range(2)]
    mask = np.zeros((48, 48))
    mask[12:36, 10:30] = 1
    masks, sigmas = [np.ones((48, 48)), mask], [2.0, 1.0]
    blurred = optics.render_fields(textures, masks, [np.full((48, 48), sigma) for sigma in sigmas])
    layers = optics.render([np.repeat(t[..., None], 3, 2) for t in textures], masks, sigmas)[..., 0]
    np.testing.assert_allclose(blurred, layers, atol=2e-3)
