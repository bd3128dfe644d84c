import numpy as np
import pytest
from scipy.stats import median_abs_deviation
from skimage.metrics import peak_signal_noise_ratio

from defocus_lib.scenes import corruptions
from defocus_lib.scenes.corruptions import CORRUPTIONS


@pytest.fixture(scope="module")
def image(photograph):
    return np.rint(255 * photograph("coffee", 128).transpose(1, 2, 0)).astype(np.uint8)


def test_each_corruption_is_what_it_says():
    table = corruptions.verification()
    assert table["off"].abs().max() < 0.04
    assert len(table) == sum(len(one.levels) - 1 for one in CORRUPTIONS.values())


@pytest.mark.parametrize(
    ("name", "inner", "change"),
    [
        ("JPEG", "_stored", lambda quality: quality - 15),
        ("resize", "smaller", lambda factor: 1.3 * factor),
        ("blur", "blurred", lambda sigma: 1.3 * sigma),
        ("noise", "noisy", lambda deviation: 0.7 * deviation),
    ],
)
def test_a_corruption_that_is_something_else_is_found_out(name, inner, change, monkeypatch):
    true, one = getattr(corruptions, inner), CORRUPTIONS[name]
    monkeypatch.setattr(
        corruptions, inner, lambda image, level, *rng: true(image, change(level), *rng)
    )
    level = one.levels[2]
    assert abs(one.measure(level, np.random.default_rng(0)) / level - 1) > 0.1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_levels_differ_more_and_the_first_one_does_nothing(name, image):
    one = CORRUPTIONS[name]
    results = [one(image, level, np.random.default_rng(0)) for level in one.levels]
    assert np.array_equal(results[0], image)
    assert all(out.shape == image.shape and out.dtype == np.uint8 for out in results)
    ratios = [peak_signal_noise_ratio(image, out) for out in results[1:]]
    assert ratios == sorted(ratios, reverse=True)


def test_noise_is_seen_by_an_estimator_of_another_kind(image):
    flat = np.full_like(image, 120)
    noise = (
        np.diff(corruptions.noisy(flat, 0.03, np.random.default_rng(0)).astype(float), axis=1) / 255
    )
    assert median_abs_deviation(noise, axis=None, scale="normal") / np.sqrt(2) == pytest.approx(
        0.03, rel=0.06
    )


def test_the_same_generator_gives_the_same_noise(image):
    one, other = (corruptions.noisy(image, 0.03, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one, other)
