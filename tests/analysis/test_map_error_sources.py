import jupytext
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from defocus_lib import defocus_maps
from defocus_lib.analysis import map_accuracy, map_error_sources
from defocus_lib.data import manifest
from defocus_lib.maps import presets
from defocus_lib.run import artifacts, notebook
from tests import artefacts
from tests.reference import optics as literal

ROOT = artifacts.project_root(artifacts.Path(__file__).parent)


@pytest.fixture(scope="module")
def motorcycle():
    entry = manifest.load_manifest().photograph("motorcycle")
    picture, disparity = manifest.load_photograph(entry), manifest.load_disparity(entry)
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
                ndimage.gaussian_filter(grey, s, order=order, mode="horizontal_flip")
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
    whole = vars(map_error_sources.PHYSICAL)
    for variant in map_error_sources.SWITCHED_OFF.values():
        assert sum(value != whole[name] for name, value in vars(variant).items()) == 1
    everything = {
        name: value
        for variant in map_error_sources.SWITCHED_OFF.values()
        for name, value in vars(variant).items()
        if value != whole[name]
    }
    assert vars(map_error_sources.PLAIN) == whole | everything


def test_the_ablation_has_the_whole_preset_first_and_beats_its_start(motorcycle):
    table = map_error_sources.ablation_table({"motorcycle": motorcycle})
    assert table.index[0] == "physical" and table.columns.tolist() == [
        ("motorcycle", name) for name in map_error_sources.BOUNDS
    ]
    scores = map_accuracy.score_table(motorcycle, {"physical": ("physical", None)})
    found = table.xs("motorcycle", axis=1)
    assert found.loc["physical"].tolist() == pytest.approx(
        scores.loc["physical", list(map_error_sources.BOUNDS)].tolist()
    )
    assert (
        found.loc["physical", "error (px)"]
        < found.loc["the ratio of two scales alone", "error (px)"] - 0.05
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
    one = {"plane": motorcycle[12.0]}
    row = map_error_sources.parts_of_error(one).loc["physical"]
    share = row["near (%)"] / 100
    assert row["error (px)"] == pytest.approx(
        share * row["near depth borders"] + (1 - share) * row["elsewhere"]
    )


# What changes a map


def test_jpeg_and_resizing_at_their_mildest_change_little(motorcycle):
    plain = map_accuracy.score_table(motorcycle, {"physical": ("physical", None)}).loc["physical"]
    stored = map_error_sources.jpeg_table(motorcycle, [30, 100]).set_index(["quality", "estimator"])
    assert stored.loc[(100, "physical"), "error (px)"] == pytest.approx(
        plain["error (px)"], abs=0.1
    )
    assert stored.loc[(30, "physical"), "error (px)"] > plain["error (px)"]
    scaled = map_error_sources.resize_table(motorcycle, [1.0]).set_index(["factor", "estimator"])
    assert scaled.loc[(1.0, "physical"), "error (px)"] == pytest.approx(plain["error (px)"])


def test_noise_makes_maps_worse(motorcycle):
    table = map_error_sources.noise_table(motorcycle, [0.0, 0.1]).set_index(["noise", "estimator"])
    plain = map_accuracy.score_table(motorcycle, {"physical": ("physical", None)}).loc["physical"]
    assert table.loc[(0.0, "physical"), "error (px)"] == pytest.approx(plain["error (px)"])
    assert table.loc[(0.1, "physical"), "error (px)"] > plain["error (px)"]


def test_a_resized_scene_has_the_blur_of_the_resized_image():
    image, sigma, known = map_error_sources.resized(step_scene(2.0), 1.5)
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


# Sentences


def scores(ours, constant, rank, **more):
    rows = {
        "physical": {"error (px)": ours, "Spearman": rank, **more},
        "constant mean": {"error (px)": constant},
    }
    return pd.DataFrame(rows).T


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ((0.5, 1.0, 0.8), (0.2, 0.3, 0.6), "measures blur on both"),
        ((0.5, 1.0, 0.8), (0.4, 0.3, 0.6), "no nearer to the truth than a constant"),
        ((1.5, 1.0, 0.1), (0.4, 0.3, 0.2), "no better than a constant"),
        ((0.5, 1.0, 0.8), (0.4, 0.3, 0.1), "measures blur on the motorcycle, but"),
    ],
)
def test_the_verdict_follows_the_numbers(first, second, said):
    assert said in map_error_sources.verdict(scores(*first), scores(*second))


@pytest.mark.parametrize(
    ("error", "spearman", "said"),
    [
        (0.6, 0.75, "Both bounds"),
        (0.61, 0.74, "Neither"),
        (0.5, 0.7, "that on the error is kept and that on the correlation is missed"),
        (0.7, 0.8, "that on the correlation is kept and that on the error is missed"),
    ],
)
def test_bounds_are_kept_or_missed(error, spearman, said):
    assert said in map_error_sources.bounds_sentence(error, spearman)


def test_sentences_on_noise():
    errors = pd.Series([0.1, 0.2, 0.9], index=[0.0, 0.02, 0.05])
    assert "Up to a noise of 0.02" in map_error_sources.noise_sentence(errors)
    assert map_error_sources.noise_sentence(errors[:2]).startswith("None")
    assert map_error_sources.noise_sentence(errors + 1).startswith("Even")


def test_sentences_on_parts_borders_and_own_blur():
    parts = pd.DataFrame({"error (px)": [1.0, 0.7]}, index=["physical", "true blur at the edges"])
    assert "70% of it" in map_error_sources.depth_border_sentence(parts)
    assert "spreading" in map_error_sources.depth_border_sentence(parts)
    assert "reading the edges" in map_error_sources.depth_border_sentence(
        parts.assign(**{"error (px)": [1.0, 0.3]})
    )
    for outer, said in ((1.2, "worse part"), (1.0, "about as good"), (0.8, "no worse")):
        assert said in map_error_sources.border_sentence(
            scores(1, 1, 1, **{"outer 5 px": outer, "inside": 1.0})
        )
    low, high = (pd.DataFrame({"mean of the map (px)": [value]}) for value in (0.5, 1.0))
    assert "second group brings more" in map_error_sources.own_blur_sentence(low, high)
    assert "first group brings more" in map_error_sources.own_blur_sentence(high, low)
    assert "about the same" in map_error_sources.own_blur_sentence(low, low)


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        ((-0.1, 0.1), "at chance: zeros"),
        ((-0.4, 0.1), "at chance or against the truth"),
        ((0.4, 0.5), "in about the right order"),
        ((0.4, 0.1), "those of released alone"),
    ],
)
def test_how_the_reference_ranks_blur(ranks, said):
    table = pd.DataFrame({"Spearman": ranks}, index=["released", "published"])
    assert said in map_error_sources.reference_sentence(table)


def test_the_sentence_on_the_ablation():
    names = ["physical", *map_error_sources.SWITCHED_OFF]
    table = pd.DataFrame({("a", "error (px)"): 0.5, ("b", "error (px)"): 0.5}, index=names)
    table.loc["no faint edges"] = [0.9, 0.6]
    assert map_error_sources.ablation_sentence(table).endswith(
        "“no faint edges” is worth most, in error over all columns."
    )
    table.loc["bent edges count alike"] = [0.6, 0.4]
    assert map_error_sources.ablation_sentence(table).endswith(
        "smaller error for “bent edges count alike”."
    )


# The notebook


def test_the_notebook_runs_in_miniature(tmp_path):
    folder = artefacts.build(tmp_path / "run").path
    small = {
        "size": 64,
        "planes": 2,
        "scenes": 2,
        "scene_size": 48,
        "simulated": 2,
        "step_size": 33,
        "noises": "0",
    }
    parameters = {"profile": "smoke", "artifacts": str(folder)} | small
    notebook.run_notebook(ROOT / "notebooks" / "10_known_blur.py", folder, parameters, ROOT)
    done = jupytext.read(folder / "notebooks" / "10_known_blur.ipynb")
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 9
    assert not [output.text for output in outputs if output.output_type == "stream"]
    glued = [
        output.metadata["scrapbook"]["name"]
        for output in outputs
        if "scrapbook" in output.get("metadata", {})
    ]
    prose = "".join(cell.source for cell in done.cells if cell.cell_type == "markdown")
    assert {part.split("`")[0].split(":")[0] for part in prose.split("{glue:text}`")[1:]} == set(
        glued
    )
    assert len(glued) == len(set(glued)) and all(name.startswith("known_") for name in glued)
    shown = [cell.metadata["mystnb"] for cell in done.cells if "mystnb" in cell.metadata]
    assert len(shown) == 9 and all(
        cell["figure"]["caption"].endswith(".") and cell["image"]["alt"] for cell in shown
    )
