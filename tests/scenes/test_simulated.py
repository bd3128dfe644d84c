import numpy as np
import pytest
from scipy import ndimage
from scipy.fft import dctn, idctn

from defocus_lib.data import manifest
from defocus_lib.data.photographs import load_photograph
from defocus_lib.scenes import simulated


@pytest.fixture(scope="module")
def photographs():
    listed = manifest.load_manifest()
    return [
        simulated.source(load_photograph(listed.photograph(name))) for name in ("gravel", "coffee")
    ]


def exposures(photographs, count=24, **more):
    return [
        simulated.expose(photographs, np.random.default_rng([3, number]), 64, **more)
        for number in range(count)
    ]


def test_a_photograph_is_shrunk_to_the_mean_of_its_luma():
    photograph = np.zeros((6, 9, 3), np.uint8)
    photograph[:3, :3] = [[[90, 0, 0]] * 3, [[0, 90, 0]] * 3, [[0, 0, 90]] * 3]
    luma = simulated.shrunk(photograph)
    # 26.9, 52.8 and 10.3, each rounded: 27, 53, 10
    assert luma.shape == (2, 3) and luma.dtype == np.uint8
    assert luma[0, 0] == 30 and not luma[1:].any()


def test_a_large_photograph_is_shrunk_further():
    assert simulated.shrunk(np.zeros((1411, 1411, 3), np.uint8)).shape == (352, 352)
    assert simulated.shrunk(np.zeros((300, 451, 3), np.uint8)).shape == (100, 150)


def test_the_same_numbers_give_the_same_photograph(photographs):
    for first, again in zip(exposures(photographs, 4), exposures(photographs, 4), strict=True):
        np.testing.assert_array_equal(first.grey, again.grey)
        np.testing.assert_array_equal(first.sigma, again.sigma)


def test_what_is_exposed(photographs):
    made = exposures(photographs)
    assert all(exposure.grey.shape == exposure.sigma.shape == (64, 64) for exposure in made)
    assert all(
        exposure.grey.dtype == np.uint8 and exposure.sigma.dtype == np.float32 for exposure in made
    )
    low, high = (
        min(exposure.sigma.min() for exposure in made),
        max(exposure.sigma.max() for exposure in made),
    )
    assert 0 < low < 0.6 and 3 < high <= 1.1 * simulated.SIGMAS[1]
    assert any(np.unique(exposure.sigma).size > 500 for exposure in made), (
        "some depths vary continuously"
    )
    assert any(np.abs(np.diff(exposure.sigma)).max() > 1 for exposure in made), (
        "some jump where one surface hides another"
    )


def test_blurrier_scenes_have_weaker_gradients(photographs):
    made = exposures(photographs, 60)
    slopes = [
        ndimage.gaussian_gradient_magnitude(exposure.grey.astype(float), 1).max()
        / np.ptp(exposure.grey)
        for exposure in made
    ]
    assert np.corrcoef(slopes, [exposure.sigma.min() for exposure in made])[0, 1] < -0.3


def test_the_point_spread_changes_the_picture_and_not_the_truth(photographs):
    gaussian, disc, drawn = (exposures(photographs, 8, psf=psf) for psf in ("gaussian", "disc", ""))
    for smooth, flat, either in zip(gaussian, disc, drawn, strict=True):
        np.testing.assert_array_equal(smooth.sigma, flat.sigma)
        assert (smooth.grey != flat.grey).any()
        assert (either.grey == smooth.grey).all() or (either.grey == flat.grey).all()


def test_shapes_have_outlines_as_sharp_as_pixels():
    # A step between two greys that averaging over a pixel has met takes at most one pixel between
    # them.
    square = simulated._drawn(
        [np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])], [1.0], 0.0, 48
    )
    row = square[24]
    assert (
        set(row[:11]) == {0.0}
        and set(row[14:34]) == {1.0}
        and np.count_nonzero((row > 0) & (row < 1)) <= 2
    )


def test_each_leaf_has_one_grey_where_its_texture_is_left_out(photographs, monkeypatch):
    outline = [np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])]
    monkeypatch.setattr(
        simulated, "piece", lambda _photographs, _rng, size: np.zeros((size, size), np.float32)
    )
    made = simulated.collage(photographs, np.random.default_rng(3), 32, outline)
    inside = made[9:23, 9:23]
    assert np.ptp(inside) == 0 and np.ptp(made[:7]) == 0 and inside[0, 0] != made[0, 0]


def test_a_texture_is_as_strong_on_each_leaf_as_its_contrast(photographs):
    # Of 20 % of all leaves nothing but their grey is seen, on the others between a twentieth and
    # one and a half.
    rng, strengths = np.random.default_rng(0), []
    everything = [np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * 1.1]
    for _ in range(60):
        strengths.append(simulated.collage(photographs, rng, 48, everything).std() / 0.2)
    assert 0.08 < np.mean(np.array(strengths) < 1e-6) < 0.35
    assert (
        min(strength for strength in strengths if strength > 1e-6) > 0.04 and max(strengths) < 1.6
    )


def test_what_lies_on_the_ground_shares_its_blur_and_the_rest_has_its_own():
    outline = [np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])]
    fields = [
        simulated.leaf_blurs(np.random.default_rng(number), 32, outline) for number in range(60)
    ]
    assert min(field.min() for field in fields) >= simulated.SIGMAS[0]
    assert max(field.max() for field in fields) <= simulated.SIGMAS[1]
    apart = [
        abs(field[16, 7] - field[16, 9]) > 0.05 for field in fields
    ]  # on both sides of the outline
    assert 0.2 < np.mean(apart) < 0.8


def test_half_of_the_half_planes_run_along_the_grid():
    half_planes = [simulated.half_plane(np.random.default_rng(number)) for number in range(200)]
    straight = [np.abs(corners[1] - corners[0]).min() < 1e-9 for corners in half_planes]
    assert 0.4 < np.mean(straight) < 0.6
    drawn = simulated._drawn(half_planes[:1], [1.0], 0.0, 32)
    assert 0 < drawn.mean() < 1


def test_shading_is_soft():
    fields = [simulated.shading(np.random.default_rng(number), 64) for number in range(10)]
    for field in fields:
        assert field.mean() == pytest.approx(0, abs=1e-4) and field.std() == pytest.approx(
            1, abs=1e-3
        )
    noise = np.random.default_rng(0).normal(size=(64, 64))
    assert np.abs(np.diff(fields, axis=2)).mean() < 0.4 * np.abs(np.diff(noise)).mean()


@pytest.mark.parametrize("number", range(6))
def test_blur_stays_in_its_range_and_falls_with_the_distance_from_focus(number):
    fields = simulated.blurs(np.random.default_rng(number), 48, 4)
    assert len(fields) == 4 and all(field.shape == (48, 48) for field in fields)
    assert min(field.min() for field in fields) >= simulated.SIGMAS[0]
    assert max(field.max() for field in fields) <= simulated.SIGMAS[1]


def test_development_keeps_a_picture_a_picture():
    ramp = np.tile(np.linspace(0, 1, 64), (64, 1))
    for number in range(20):
        rng = np.random.default_rng(number)
        stored = simulated.develop(ramp, simulated.camera(rng), rng)
        assert stored.dtype == np.uint8 and stored.shape == ramp.shape
        assert np.corrcoef(stored.mean(0), ramp[0])[0, 1] > 0.95


def test_six_in_ten_cameras_only_round():
    drawn = [simulated.camera(np.random.default_rng(number)) for number in range(400)]
    plain = [
        camera == simulated.Camera(noise=camera.noise) and camera.noise <= 0.01 for camera in drawn
    ]
    assert 0.55 < np.mean(plain) < 0.7  # some of the others leave everything out by chance
    assert (
        {bool(camera.quality) for camera in drawn}
        == {bool(camera.sharpening) for camera in drawn}
        == {True, False}
    )
    assert (
        min(camera.factor for camera in drawn) < 0.7
        and max(camera.noise for camera in drawn) > 0.02
    )


def test_what_a_lens_has_softened_is_made_as_sharp_as_the_world():
    rng, side = np.random.default_rng(0), 192
    frequency = np.maximum(np.hypot(*np.indices((side, side))), 1)
    world = idctn(rng.normal(size=(side, side)) / frequency, norm="ortho")
    world = np.clip(0.5 + 0.12 * world / world.std(), 0, 1)
    kept, softened = (
        np.rint(255 * of).astype(np.uint8) for of in (world, ndimage.gaussian_filter(world, 0.5))
    )

    def fine(picture):  # deviation of what is finer than 4 px
        waves = dctn(picture / 255, norm="ortho")
        return np.sqrt(np.mean(waves[(frequency > side / 2) & (frequency < side)] ** 2))

    assert fine(softened) < 0.7 * fine(kept)
    assert fine(simulated.crisp(softened)) == pytest.approx(fine(kept), rel=0.15)
    assert np.abs(simulated.crisp(kept).astype(int) - kept).mean() < 1.5, "what is sharp stays"
    assert (simulated.crisp(np.full((64, 64), 90, np.uint8)) == 90).all()


def test_a_program_takes_each_pixel_from_the_blur_by_its_own_sigma():
    rng = np.random.default_rng(1)
    ground, above = (
        ndimage.gaussian_filter(rng.random((48, 48)), 1).astype(np.float32) for _ in range(2)
    )
    mask = np.zeros((48, 48), np.float32)
    mask[:, 20:] = 1
    sigma = np.where(mask > 0, np.float32(2.4), np.float32(0.9))
    seen = simulated.flattened([ground, above], [np.ones_like(mask), mask])
    np.testing.assert_allclose(seen, np.where(mask > 0, above, ground), atol=1e-6)
    blurred = simulated.gathered(seen, sigma)
    expected = np.where(
        mask > 0, ndimage.gaussian_filter(seen, 2.4), ndimage.gaussian_filter(seen, 0.9)
    )
    np.testing.assert_allclose(blurred, expected, atol=2e-3)
