import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

from defocus_lib import DefocusMaps
from defocus_lib.analysis import learned_accuracy
from defocus_lib.analysis.map_accuracy import map_errors, scene_scores
from defocus_lib.data import manifest
from defocus_lib.data.photographs import load_photograph
from defocus_lib.maps import learned


@pytest.fixture(scope="module")
def photographs():
    listed = manifest.load_manifest()
    return [load_photograph(listed.photograph(name)) for name in ("chelsea", "flower")]


def known(sigma):
    """A grey image whose true sigma is given."""
    return np.full((*sigma.shape, 3), 128, np.uint8), sigma, np.ones(sigma.shape, bool)


def fixed_maps(monkeypatch, dense, uncertainty):
    """Let every image have these maps."""
    planes = [
        torch.from_numpy(np.asarray(part, np.float32))[None, None] for part in (dense, uncertainty)
    ]
    edges = torch.zeros_like(planes[0], dtype=torch.bool)
    maps = DefocusMaps(edges, planes[0] * 0, edges, *planes)
    monkeypatch.setattr(learned_accuracy, "defocus_maps", lambda *_: maps)


# Scenes


def test_unseen_scenes_are_grey_pictures_of_known_blur(photographs):
    scenes = learned_accuracy.unseen_scenes(photographs, 2, seed=3, size=48)
    assert list(scenes) == ["scene 0", "scene 1"]
    for image, sigma, where in scenes.values():
        assert (
            image.shape == (48, 48, 3)
            and image.dtype == np.uint8
            and np.ptp(image, axis=2).max() == 0
        )
        assert sigma.shape == (48, 48) and sigma.min() > 0 and where.all()
    again = learned_accuracy.unseen_scenes(photographs, 2, seed=3, size=48)
    np.testing.assert_array_equal(scenes["scene 1"][0], again["scene 1"][0])


def test_blind_spots_are_what_they_are_called():
    photograph = (
        np.random.default_rng(0)
        .integers(0, 256, (25, 25, 3), dtype=np.uint8)
        .repeat(12, 0)
        .repeat(12, 1)
    )
    cases = learned_accuracy.blind_spots(photograph, 96)
    flat, *waves, moved = (cases[name][0][..., 0].astype(float) for name in cases)
    assert np.abs(np.diff(flat[:, 60:])).max() <= 2 < np.abs(np.diff(flat[:, :40])).max()
    for wave, length in zip(waves, (8, 16), strict=True):
        spectrum = np.abs(np.fft.rfft(wave[0] - wave[0].mean()))
        assert spectrum.argmax() == 96 / length and spectrum.max() > 20 * np.median(spectrum)
    down, across = (np.abs(np.diff(moved, axis=axis)).mean() for axis in (0, 1))
    assert down > 1.2 * across, "moved sideways: detail is left from row to row"
    assert all(np.ptp(sigma) == 0 for _, sigma, _ in cases.values())


@pytest.mark.parametrize("shape", [(100, 200, 3), (200, 100, 3)])
def test_a_fitted_photograph_keeps_its_proportions(shape):
    small = learned_accuracy.fitted(np.full(shape, 7, np.uint8), 50)
    assert small.shape == (shape[0] // 4, shape[1] // 4, 3) and (small == 7).all()


# Tables


@pytest.mark.slow
def test_the_table_of_seeds_has_the_mean_over_scenes(photographs):
    scenes = learned_accuracy.unseen_scenes(photographs, 2, seed=0, size=48)
    table = learned_accuracy.seed_table({"simulated": scenes})
    assert table.index.tolist() == list(learned.SEEDS)
    errors = [
        map_errors(learned_accuracy.learned_by(image)[0], *truth)
        for image, *truth in scenes.values()
    ]
    assert table["simulated"].iloc[0].to_dict() == pytest.approx(
        pd.DataFrame(errors).mean().to_dict()
    )


def test_steps_are_read_in_order():
    table = learned_accuracy.step_table([1.0, 4.0], seeds=(0,), size=65)
    assert table.index.tolist() == [1.0, 4.0] and table.columns.tolist() == [0]
    assert table.loc[4.0, 0] > table.loc[1.0, 0] + 1


def test_coverage_of_normal_errors_is_nominal(monkeypatch):
    rng = np.random.default_rng(0)
    uncertainty = rng.uniform(0.2, 1, (200, 200))
    fixed_maps(monkeypatch, np.full((200, 200), 3.0), uncertainty)
    table = learned_accuracy.coverage_table(
        {"right": {"one": known(3 + rng.normal(0, uncertainty))}}, (0.5, 0.9)
    )
    assert table.loc["right"].to_numpy() == pytest.approx([50, 90], abs=1)
    assert table.columns.tolist() == [50, 90]


def test_coverage_counts_known_pixels_only(monkeypatch):
    fixed_maps(monkeypatch, np.zeros((4, 4)), np.ones((4, 4)))
    image, sigma, where = known(np.zeros((4, 4)))
    sigma[0], where[0] = 9.0, False
    table = learned_accuracy.coverage_table({"some": {"one": (image, sigma, where)}}, (0.9,))
    assert table.loc["some", 90] == 100


def test_the_surest_come_first(monkeypatch):
    fixed_maps(monkeypatch, np.zeros((1, 4)), [[0.4, 0.1, 0.3, 0.2]])
    table = learned_accuracy.surest_first(
        {"one": known(np.array([[4.0, 2.0, 1.0, 3.0]]))}, [0.25, 0.5, 1.0]
    )
    assert table["by uncertainty"].tolist() == [2.0, 2.5, 2.5]
    assert table["by the error itself"].tolist() == [1.0, 1.5, 2.5]


@pytest.mark.slow
def test_point_spreads_are_compared_on_the_same_scenes(photographs):
    table = learned_accuracy.psf_table(photographs, 2, seed=0)
    assert set(table.index) == {
        (one, psf) for one in ("physical", "learned") for psf in ("gaussian", "disc")
    }
    assert (
        table.loc[("learned", "disc"), "error (px)"]
        != table.loc[("learned", "gaussian"), "error (px)"]
    )


def test_a_photograph_that_was_soft_itself_is_read_as_blurred():
    sharp = (
        np.random.default_rng(0)
        .integers(0, 256, (60, 60, 1), dtype=np.uint8)
        .repeat(5, 0)
        .repeat(5, 1)
    )
    soft = ndimage.gaussian_filter(sharp.astype(float), (3, 3, 0)).astype(np.uint8)
    pictures = {"sharp": np.repeat(sharp, 3, axis=2), "soft": np.repeat(soft, 3, axis=2)}
    table = learned_accuracy.by_photograph(pictures, 3, 96, seed=0)
    assert table.loc["soft", "bias (px)"] > table.loc["sharp", "bias (px)"] + 0.5
    assert (
        table.loc["soft", learned_accuracy.COVERAGE] < table.loc["sharp", learned_accuracy.COVERAGE]
    )


def test_cards_are_those_of_the_package():
    table = learned_accuracy.cards()
    assert table.index.tolist() == list(learned.SEEDS)
    assert table["steps"].iloc[0] == learned.card()["steps"]


# Claims


def test_claims_rest_on_one_number_per_scene(photographs):
    scenes = learned_accuracy.unseen_scenes(photographs, 2, seed=0, size=48)
    nearer, calibrated, ordered = learned_accuracy.claims(scenes)
    errors = {name: scene_scores(scenes, name)["error (px)"] for name in ("learned", "physical")}
    assert nearer.value == pytest.approx((errors["learned"] - errors["physical"]).mean())
    assert calibrated.value == pytest.approx(
        learned_accuracy.coverage_table({"all": scenes}, [0.9]).loc["all", 90] / 100
    )
    assert calibrated.claimed == pytest.approx((0.85, 0.95))
    surest = [
        learned_accuracy.surest_first({"one": scene}, [0.5, 1.0]) for scene in scenes.values()
    ]
    expected = np.mean([table["by uncertainty"].diff().iloc[1] for table in surest])
    assert ordered.value == pytest.approx(-expected)
    assert {claim.groups for claim in (nearer, calibrated, ordered)} == {2}
