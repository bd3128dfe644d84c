import numpy as np
import pytest
from scipy import ndimage, stats

from defocus_lib import defocus, known_blur
from tests.reference import optics as literal
from tests.reference.defocus import maps as literal_maps


def rng(seed=0):
    return np.random.default_rng(seed)


# Step edges


@pytest.mark.parametrize("sigma", [0.75, 2, 5])
def test_a_step_is_the_error_function(sigma):
    found = known_blur.step_edge(sigma, 0, rng(), size=65, contrast=0.6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, literal.step(sigma, 65, contrast=0.6), atol=1e-6)


def test_a_step_is_a_sharp_one_blurred():
    sharp = 0.5 + 0.3 * np.sign(np.arange(129 * 21) - 64 * 21 - 10)  # 21 samples a pixel
    blurred = ndimage.gaussian_filter1d(sharp, 2 * 21, mode="nearest")[10::21]
    np.testing.assert_allclose(known_blur.step_edge(2.0, 0, rng())[0, 64], blurred, atol=1e-3)


def test_the_noise_of_a_step_is_white_and_the_same_in_all_channels():
    noise = known_blur.step_edge(2, 0.02, rng()) - known_blur.step_edge(2, 0, rng())
    assert noise.std() == pytest.approx(0.02, rel=0.03)
    np.testing.assert_array_equal(noise[0], noise[1])
    assert abs(np.corrcoef(noise[0, :, 1:].ravel(), noise[0, :, :-1].ravel())[0, 1]) < 0.03


def test_the_table_reads_steps_as_the_presets_do():
    table = known_blur.step_edge_table([1.0, 3.0], noise=0.0)
    assert table.index.tolist() == [1.0, 3.0] and table.columns.tolist() == list(defocus.PRESETS)
    np.testing.assert_allclose(table["physical"], [1, 3], atol=0.1)
    for preset in ("released", "published"):
        for sigma, read in table[preset].items():
            edges, sparse, _ = literal_maps(known_blur.step_edge(sigma, 0, rng()), preset)
            assert read == pytest.approx(np.median(sparse[edges]), abs=1e-3)
        # Kernels of radius 5 cut the Gaussians off: great blur reads too small.
        assert table.loc[3.0, preset] < 2.7


def test_the_table_is_the_same_for_the_same_seed():
    first, again, other = (known_blur.step_edge_table([2.0], noise=0.02, seed=seed) for seed in (1, 1, 2))
    assert first.equals(again) and not first.equals(other)
    assert abs(first.loc[2.0, "physical"] - 2) < 0.35


# Maps


def test_errors_by_hand():
    estimate = np.array([[1.0, 2.0, -1.0], [9.0, 4.0, 99.0]])
    sigma = np.array([[1.5, 2.0, 0.5], [5.0, 4.5, 0.0]])
    known = np.array([[True, True, True], [True, True, False]])
    # Clipped to [0, 6], the estimate is off by 0.5, 0, 0.5, 1 and 0.5.
    found = known_blur.map_errors(estimate, sigma, known)
    assert found["error (px)"] == pytest.approx(0.5)
    assert found["Spearman"] == pytest.approx(1.0)
    assert known_blur.map_errors(estimate, sigma, known, cap=3.0)["error (px)"] == pytest.approx(
        (0.5 + 0 + 0.5 + 2 + 1.5) / 5
    )


def test_rank_correlation_is_that_of_the_ranks():
    estimate, sigma = rng(1).random((2, 12, 12)) * 5
    ranks = [stats.rankdata(values.ravel()) for values in (estimate, sigma)]
    found = known_blur.map_errors(estimate, sigma, np.ones((12, 12), dtype=bool))
    assert found["Spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_the_table_of_estimators_has_each_on_each_scene():
    # Two bars, one sharp and one blurred: an estimator in px is nearer to the truth than the reference's maps.
    bars = [literal.step(sigma, 64) for sigma in (1.0, 3.0)]
    image = np.concatenate([bars[0], bars[1][:, :, ::-1]], axis=2)
    sigma = np.repeat([1.0, 3.0], 64) * np.ones((64, 1))
    known = np.zeros((64, 128), dtype=bool)
    known[:, 24:40] = known[:, 88:104] = True
    scenes = {"bars": (np.rint(255 * np.moveaxis(image, 0, 2)).astype(np.uint8), sigma, known)}
    table = known_blur.estimator_table(scenes)
    assert table.columns.tolist() == ["estimator", "scene", "error (px)", "Spearman"]
    assert table["estimator"].tolist() == [*known_blur.ESTIMATORS, "constant mean"]
    error = table.set_index("estimator")["error (px)"]
    assert error["constant mean"] == pytest.approx(1.0)
    assert error[["physical", "physical, guided"]].max() < 0.2 and error["physical, closed form"] < 0.6
    assert error[["released", "published"]].min() > 0.6
