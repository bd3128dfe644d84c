import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from defocus_lib import DefocusMaps, defocus_maps
from defocus_lib.analysis import map_accuracy
from defocus_lib.data import manifest
from defocus_lib.data.photographs import load_disparity, load_photograph
from defocus_lib.maps.presets import PRESETS
from defocus_lib.scenes.rendered import photograph
from tests.reference import optics as literal
from tests.reference.defocus import maps as literal_maps


def rng(seed=0):
    return np.random.default_rng(seed)


# Step edges


@pytest.mark.parametrize("sigma", [0.75, 2, 5])
def test_a_step_is_the_error_function(sigma):
    step = map_accuracy.step_edge(sigma, 0, rng(), size=65, contrast=0.6)
    assert step.dtype == np.float32
    np.testing.assert_allclose(step, literal.step(sigma, 65, contrast=0.6), atol=1e-6)


def test_a_step_is_a_sharp_one_blurred():
    sharp = 0.5 + 0.3 * np.sign(np.arange(129 * 21) - 64 * 21 - 10)  # 21 samples per pixel
    blurred = ndimage.gaussian_filter1d(sharp, 2 * 21, mode="nearest")[10::21]
    np.testing.assert_allclose(map_accuracy.step_edge(2.0, 0, rng())[0, 64], blurred, atol=1e-3)


def test_the_noise_of_a_step_is_white_and_the_same_in_all_channels():
    noise = map_accuracy.step_edge(2, 0.02, rng()) - map_accuracy.step_edge(2, 0, rng())
    assert noise.std() == pytest.approx(0.02, rel=0.03)
    np.testing.assert_array_equal(noise[0], noise[1])
    assert abs(np.corrcoef(noise[0, :, 1:].ravel(), noise[0, :, :-1].ravel())[0, 1]) < 0.03


def test_the_table_reads_steps_as_the_presets_do():
    table = map_accuracy.step_edge_table([1.0, 3.0], noise=0.0, size=65)
    assert table.index.tolist() == [1.0, 3.0] and table.columns.tolist() == list(PRESETS)
    np.testing.assert_allclose(table["physical"], [1, 3], atol=0.1)
    for preset in ("released", "published"):
        for sigma, read in table[preset].items():
            edges, sparse, _ = literal_maps(map_accuracy.step_edge(sigma, 0, rng(), 65), preset)
            assert read == pytest.approx(np.median(sparse[edges]), abs=1e-3)
        # Kernels of radius 5 cut the Gaussians off: great blur reads too small.
        assert table.loc[3.0, preset] < 2.7


def test_the_table_is_the_same_for_the_same_seed():
    first, again, other = (
        map_accuracy.step_edge_table([2.0], noise=0.02, seed=seed, size=65) for seed in (1, 1, 2)
    )
    assert first.equals(again) and not first.equals(other)
    assert abs(first.loc[2.0, "physical"] - 2) < 0.35


# Maps


def test_errors_by_hand():
    estimate = np.array([[1.0, 2.0, -1.0], [9.0, 4.0, 99.0]])
    sigma = np.array([[1.5, 2.0, 0.5], [5.0, 4.5, 0.0]])
    known = np.array([[True, True, True], [True, True, False]])
    # Clipped to [0, 6], the estimate is off by 0.5, 0, 0.5, 1 and 0.5.
    errors = map_accuracy.map_errors(estimate, sigma, known)
    assert errors["error (px)"] == pytest.approx(0.5)
    assert errors["Spearman"] == pytest.approx(1.0)
    assert map_accuracy.map_errors(estimate, sigma, known, cap=3.0)["error (px)"] == pytest.approx(
        (0.5 + 0 + 0.5 + 2 + 1.5) / 5
    )


def test_rank_correlation_is_that_of_the_ranks():
    estimate, sigma = rng(1).random((2, 12, 12)) * 5
    ranks = [stats.rankdata(values.ravel()) for values in (estimate, sigma)]
    errors = map_accuracy.map_errors(estimate, sigma, np.ones((12, 12), dtype=bool))
    assert errors["Spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_the_table_of_scores_has_each_estimator():
    # Two bars, one sharp and one blurred: px are nearer to the truth than maps of the authors.
    bars = [literal.step(sigma, 64) for sigma in (1.0, 3.0)]
    image = np.concatenate([bars[0], bars[1][:, :, ::-1]], axis=2)
    sigma = np.repeat([1.0, 3.0], 64) * np.ones((64, 1))
    known = np.zeros((64, 128), dtype=bool)
    known[:, 24:40] = known[:, 88:104] = True
    bars_only = {"bars": (np.rint(255 * np.moveaxis(image, 0, 2)).astype(np.uint8), sigma, known)}
    table = map_accuracy.score_table(bars_only)
    assert table.index.tolist() == [*map_accuracy.ESTIMATORS, map_accuracy.CONSTANT]
    error = table["error (px)"]
    assert error["constant mean"] == pytest.approx(1.0)
    assert (
        error[["physical", "physical, guided"]].max() < 0.2 and error["physical, closed form"] < 0.6
    )
    assert error[["released", "published"]].min() > 0.6


def test_a_constant_map_has_no_rank_correlation():
    sigma = rng().random((4, 4))
    errors = map_accuracy.map_errors(np.full((4, 4), 0.5), sigma, np.ones((4, 4), bool))
    assert np.isnan(errors["Spearman"]) and errors["error (px)"] == pytest.approx(
        np.abs(sigma - 0.5).mean()
    )


def test_readings_of_steps_are_those_of_the_maps():
    table = map_accuracy.step_reading_table([1.0, 3.0], [0.0, 0.02], seed=3, size=65).set_index(
        ["noise", "sigma", "estimator"]
    )
    assert len(table) == 4 * len(map_accuracy.ESTIMATORS)
    maps = defocus_maps(map_accuracy.step_edge(3.0, 0.02, rng(3), 65)[None], "physical", "guided")
    read = maps.sparse[maps.valid].numpy()
    row = table.loc[(0.02, 3.0, "physical, guided")]
    assert row["low"] <= row["median"] <= row["high"]
    np.testing.assert_allclose(
        row[["low", "median", "high"]].astype(float), np.percentile(read, [10, 50, 90]), rtol=1e-6
    )
    assert row["measured (%)"] == pytest.approx(100 * maps.valid.sum() / maps.edges.sum())
    assert row["dense error"] == pytest.approx(float((maps.dense - 3).abs().mean()), rel=1e-5)


# The protocol of the motorcycle, and scenes


def test_each_pixel_is_blurred_by_its_own_sigma():
    image, sigmas = rng().random((24, 20, 3)), rng(1).uniform(0.3, 2.0, (2, 24, 20))
    expected = literal.blur_each_pixel(image, sigmas)
    np.testing.assert_allclose(map_accuracy.blur_each_pixel(image, sigmas), expected, atol=1e-12)
    even = map_accuracy.blur_each_pixel(image, np.full((1, 24, 20), 1.3))[0]
    np.testing.assert_allclose(even, ndimage.gaussian_filter(image, (1.3, 1.3, 0)), atol=1e-12)


def test_the_motorcycle_is_that_of_the_literal_protocol():
    entry = manifest.load_manifest().photograph("motorcycle")
    picture, disparity = load_photograph(entry), load_disparity(entry)
    scenes = map_accuracy.motorcycle_protocol(picture, disparity, 80)
    expected = literal.motorcycle(picture, disparity, 80)
    assert tuple(scenes) == literal.FOCAL_PLANES
    for index, (image, sigma, known) in enumerate(scenes.values()):
        np.testing.assert_array_equal(image, expected.images[index])
        np.testing.assert_allclose(sigma, expected.sigmas[index])
        np.testing.assert_array_equal(known, expected.known)
    assert sigma.min() >= 0.3 and sigma.max() <= 4.5


@pytest.fixture(scope="module")
def textures():
    listed = manifest.load_manifest()
    return {name: load_photograph(listed.photograph(name)) for name in ("brick", "grass", "coins")}


@pytest.fixture(scope="module")
def rendered(textures):
    return map_accuracy.controlled_scenes(list(textures.values()), 2, 64, seed=1)


def test_controlled_scenes_are_those_of_the_embedded_data_set(textures, rendered):
    exposed = photograph(list(textures.values()), (1, 1), 64)
    image, sigma, known = rendered["scene 1"]
    np.testing.assert_array_equal(image, exposed.images["real"])
    np.testing.assert_array_equal(sigma, exposed.sigma)
    assert known.all() and list(rendered) == ["scene 0", "scene 1"]


def test_noise_is_white_and_the_same_for_the_same_seed(rendered):
    grey = {
        "flat": (np.full((64, 64, 3), 128, np.uint8), np.ones((64, 64)), np.ones((64, 64), bool))
    }
    first, again, other = (map_accuracy.with_noise(grey, 0.03, seed)["flat"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any() and first[1] is grey["flat"][1]
    assert (first[0] / 255).std() == pytest.approx(0.03, rel=0.05)


# Scores


def one_map(edges, sparse, valid, dense):
    return DefocusMaps(
        *(torch.from_numpy(np.asarray(part))[None, None] for part in (edges, sparse, valid, dense))
    )


def test_scores_by_hand():
    sigma, known = np.full((12, 12), 2.0), np.ones((12, 12), bool)
    sigma[5:7, 5:7], known[0, 0] = 3.0, False
    dense = np.full((12, 12), 2.5)
    dense[5:7, 5:7], dense[0, 0] = 7.0, 99.0  # clipped to 6: off by 3
    edges, valid, sparse = np.zeros((3, 12, 12))
    edges[5, :4], valid[5, :3], sparse[5, :3] = 1, 1, [2.0, 3.0, 1.5]
    scores = map_accuracy.score(one_map(edges > 0, sparse, valid > 0, dense), sigma, known)
    assert scores["inside"] == pytest.approx(3.0) and scores["outer 5 px"] == pytest.approx(0.5)
    assert scores["error (px)"] == scores["bias (px)"] == pytest.approx((139 * 0.5 + 4 * 3) / 143)
    assert scores["spread (px)"] == pytest.approx(
        np.sqrt((139 * 0.25 + 4 * 9) / 143 - scores["bias (px)"] ** 2)
    )
    assert scores["Spearman"] == pytest.approx(1.0) and scores["measured (%)"] == 75.0
    assert scores["edges (%)"] == pytest.approx(100 * 4 / 144)
    assert scores["at edges (px)"] == pytest.approx(1.5 / 3) and scores[
        "bias at edges"
    ] == pytest.approx(0.5 / 3)


def test_without_edges_nothing_is_said_about_them():
    nothing = np.zeros((12, 12))
    scores = map_accuracy.score(
        one_map(nothing > 0, nothing, nothing > 0, nothing), nothing + 1.0, nothing == 0
    )
    assert np.isnan(
        [scores[name] for name in ("at edges (px)", "bias at edges", "measured (%)", "Spearman")]
    ).all()
    assert scores["error (px)"] == 1.0


def test_the_table_of_scores_is_the_mean_over_scenes(rendered):
    table = map_accuracy.score_table(rendered, {"alone": ("physical", None)})
    assert table.index.tolist() == ["alone", map_accuracy.CONSTANT]
    each = [
        map_accuracy.score(defocus_maps(map_accuracy.as_batch(image)), *truth)
        for image, *truth in rendered.values()
    ]
    for name in each[0]:
        assert table.loc["alone", name] == pytest.approx(np.mean([one[name] for one in each]))
    flat = [np.abs(sigma - sigma.mean()).mean() for _, sigma, _ in rendered.values()]
    assert table.loc["constant mean", "error (px)"] == pytest.approx(np.mean(flat))


def test_profiles_of_the_border_are_means_over_frames(rendered):
    profiles = map_accuracy.border_profiles(rendered, {"alone": ("physical", None)}, reach=3)
    assert profiles.index.tolist() == [0, 1, 2, 3]
    off = [
        np.abs(defocus_maps(map_accuracy.as_batch(image)).dense[0, 0].numpy().clip(0, 6) - sigma)
        for image, sigma, _ in rendered.values()
    ]
    outermost = np.concatenate([np.r_[one[0], one[-1], one[1:-1, 0], one[1:-1, -1]] for one in off])
    assert profiles.loc[0, "alone"] == pytest.approx(outermost.mean())


# Claims


def test_claims_rest_on_one_number_per_scene(rendered):
    physical, released = map_accuracy.claims(rendered)
    errors = map_accuracy.scene_scores(rendered)["error (px)"]
    gain = errors - map_accuracy.constant_errors(rendered)
    assert physical.value == pytest.approx(gain.mean()) and physical.groups == 2
    assert physical.low <= physical.value <= physical.high and physical.relation == "below"
    ranks = map_accuracy.scene_scores(rendered, "released")["Spearman"]
    assert released.value == pytest.approx(ranks.mean()) and released.claimed == (-0.2, 0.2)
    assert {physical.verdict, released.verdict} == {"not enough data"}, "two scenes are too few"
