import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from defocus_lib import defocus_maps
from defocus_lib.analysis import map_accuracy, map_error_sources
from defocus_lib.data import manifest
from defocus_lib.data.photographs import load_disparity, load_photograph
from defocus_lib.maps import presets
from defocus_lib.run import artifacts
from tests.reference import optics as literal

ROOT = artifacts.project_root(artifacts.Path(__file__).parent)


@pytest.fixture(scope="module")
def motorcycle():
    entry = manifest.load_manifest().photograph("motorcycle")
    picture, disparity = load_photograph(entry), load_disparity(entry)
    return map_accuracy.motorcycle_protocol(picture, disparity, 160, (12.0, 40.0))


def step_scene(sigma, size=96):
    image = np.moveaxis(literal.step(sigma, size, 20), 0, 2)
    return (
        np.rint(255 * image).astype(np.uint8),
        np.full((size, size), sigma),
        np.ones((size, size), bool),
    )


# The steps of the preset


def test_the_ratio_of_two_scales_reads_a_step():
    for sigma in (1.0, 2.0, 3.0):
        maps = map_error_sources.ratio_maps(step_scene(sigma)[0])
        assert float(maps.sparse[maps.valid].median()) == pytest.approx(sigma, abs=0.2)
        assert not maps.sparse[~maps.valid].any() and (maps.edges | ~maps.valid).all()


def test_the_ratio_is_that_of_scipys_gradients():
    image = step_scene(2.0)[0]
    grey = image.mean(2) / 255
    fine, coarse = (
        np.hypot(
            *(
                ndimage.gaussian_filter(grey, s, order=order, mode="mirror")
                for order in ((0, 1), (1, 0))
            )
        )
        for s in (1.0, 1.5)
    )
    maps = map_error_sources.ratio_maps(image)
    valid = maps.valid[0, 0].numpy()
    squared = (fine[valid] / coarse[valid]) ** 2
    expected = np.sqrt((squared * 1.0 - 2.25) / (1 - squared))
    np.testing.assert_allclose(maps.sparse[0, 0].numpy()[valid], np.minimum(expected, 6), rtol=0.02)


def test_each_variant_switches_off_one_step():
    whole, *single, plain = map(vars, map_error_sources.ABLATIONS.values())
    changed = [
        {name: value for name, value in variant.items() if value != whole[name]}
        for variant in single
    ]
    assert all(len(step) == 1 for step in changed)
    assert plain == whole | {name: value for step in changed for name, value in step.items()}


def test_the_ablation_has_the_whole_preset_first_and_beats_its_start(motorcycle):
    table = map_error_sources.ablation_table({"motorcycle": motorcycle})
    assert table.index[0] == "physical" and table.columns.tolist() == [
        ("motorcycle", name) for name in ("error (px)", "Spearman")
    ]
    scores = map_accuracy.score_table(motorcycle, {"physical": ("physical", None)})
    variants = table.xs("motorcycle", axis=1)
    assert variants.loc["physical"].tolist() == pytest.approx(
        scores.loc["physical", ["error (px)", "Spearman"]].tolist()
    )
    assert (
        variants.loc["physical", "error (px)"]
        < variants.loc["the ratio of two scales alone", "error (px)"] - 0.05
    )


def test_strong_noise_is_what_coarser_scales_are_for(motorcycle):
    noisy = map_accuracy.with_noise(motorcycle, 0.03, seed=0)
    error = map_error_sources.ablation_table({"noisy": noisy})["noisy", "error (px)"]
    assert error["physical"] < 0.8 * error["the finest scale only"]


# What is left


def test_pixels_near_a_jump_of_blur_by_hand():
    sigma = np.ones((9, 40))
    sigma[:, 20:] = 1.6
    near = map_error_sources.near_depth_borders(sigma, jump=0.5, reach=3)
    assert np.flatnonzero(near.all(0)).tolist() == list(range(16, 24)) and not near[:, :16].any()
    assert not map_error_sources.near_depth_borders(sigma, jump=0.7).any()


def test_true_blur_at_the_edges_of_an_even_scene_leaves_no_error():
    parts = map_error_sources.parts_of_error({"step": step_scene(2.0)})
    assert parts.loc["true blur at the edges", "error (px)"] == pytest.approx(0, abs=1e-4)
    assert parts.loc["physical", "near (%)"] == 0 and np.isnan(
        parts.loc["physical", "near depth borders"]
    )
    assert parts.loc["physical", "elsewhere"] == parts.loc["physical", "error (px)"]


def test_parts_of_the_error_add_up(motorcycle):
    plane = {"plane": motorcycle[12.0]}
    row = map_error_sources.parts_of_error(plane).loc["physical"]
    share = row["near (%)"] / 100
    assert row["error (px)"] == pytest.approx(
        share * row["near depth borders"] + (1 - share) * row["elsewhere"]
    )


# What changes a map


@pytest.mark.slow
def test_jpeg_and_resizing_at_their_mildest_change_little(motorcycle):
    plain = map_accuracy.score_table(motorcycle, {"physical": ("physical", None)}).loc["physical"]
    stored = map_error_sources.table_by_level(
        "quality", {q: map_error_sources.compressed(motorcycle, q) for q in (30, 100)}
    ).set_index(["quality", "estimator"])
    assert stored.loc[(100, "physical"), "error (px)"] == pytest.approx(
        plain["error (px)"], abs=0.1
    )
    assert stored.loc[(30, "physical"), "error (px)"] > plain["error (px)"]
    scaled = map_error_sources.table_by_level(
        "factor", {1.0: map_error_sources.resized(motorcycle, 1.0)}
    ).set_index(["factor", "estimator"])
    assert scaled.loc[(1.0, "physical"), "error (px)"] == pytest.approx(plain["error (px)"])


@pytest.mark.slow
def test_noise_makes_maps_worse(motorcycle):
    table = map_error_sources.table_by_level(
        "noise", {n: map_accuracy.with_noise(motorcycle, n) for n in (0.0, 0.1)}
    ).set_index(["noise", "estimator"])
    plain = map_accuracy.score_table(motorcycle, {"physical": ("physical", None)}).loc["physical"]
    assert table.loc[(0.0, "physical"), "error (px)"] == pytest.approx(plain["error (px)"])
    assert table.loc[(0.1, "physical"), "error (px)"] > plain["error (px)"]


def test_a_resized_scene_has_the_blur_of_the_resized_image():
    image, sigma, known = map_error_sources.resized({"step": step_scene(2.0)}, 1.5)["step"]
    assert (
        image.shape == (144, 144, 3)
        and sigma.shape == known.shape == (144, 144)
        and known.dtype == bool
    )
    assert (sigma == 3.0).all()
    maps = defocus_maps(map_accuracy.as_batch(image))
    assert float(maps.sparse[maps.valid].median()) == pytest.approx(3.0, abs=0.15)
    expected = np.asarray(
        Image.fromarray(step_scene(2.0)[0]).resize((144, 144), Image.Resampling.BICUBIC)
    )
    np.testing.assert_array_equal(image, expected)


def test_the_input_range_of_each_preset_is_among_those_compared(motorcycle):
    table = map_error_sources.range_table(motorcycle)
    assert (
        table.loc[("released", "[-1, 1]"), "edges (%)"]
        < table.loc[("released", "[0, 1]"), "edges (%)"]
    )
    assert "learned" not in table.index
    for name in table.index.unique(0):
        preset = presets.PRESETS[name]
        own = "[-1, 1]" if preset.input_range[0] else "[0, 1]"
        plain = map_accuracy.score_table(motorcycle, {name: (name, None)}).loc[name]
        assert table.loc[(name, own), "error (px)"] == pytest.approx(plain["error (px)"])


def test_photographs_that_were_blurred_bring_more_blur_along():
    textures = {"coins": load_photograph(manifest.load_manifest().photograph("coins"))}
    soft = {
        "soft": np.rint(ndimage.gaussian_filter(textures["coins"].astype(float), (6, 6, 0))).astype(
            np.uint8
        )
    }
    table = map_error_sources.own_blur_table(
        {"coins": textures["coins"], **soft}, 64, seed=0, squares=2
    )
    assert (table.loc["soft"] > table.loc["coins"] + 0.3).all()


def test_the_claim_is_the_share_of_the_error_that_the_true_blur_leaves(motorcycle):
    (claim,) = map_error_sources.claims(motorcycle)
    errors = map_error_sources.parts_of_error(motorcycle)["error (px)"]
    share = errors["true blur at the edges"] / errors["physical"]
    assert claim.value == pytest.approx(share) and claim.low <= share <= claim.high
    assert claim.groups == 2 and claim.compared_with == 0.5


# The notebook
