import numpy as np
import pytest
from scipy.stats import median_abs_deviation
from skimage.metrics import peak_signal_noise_ratio

from defocus_lib.scenes import corruptions
from defocus_lib.scenes.corruptions import CORRUPTIONS


@pytest.fixture(scope="module")
def image(photograph):
    return np.rint(255 * photograph("coffee", 128).transpose(1, 2, 0)).astype(np.uint8)


def test_each_level_is_measured_as_it_is_defined():
    table = corruptions.verification()
    assert table["relative error"].abs().max() < 0.04
    assert len(table) == sum(len(corruption.levels) - 1 for corruption in CORRUPTIONS.values())


@pytest.mark.parametrize(
    ("name", "inner", "change"),
    [
        ("JPEG", "_encoded", lambda quality: quality - 15),
        ("resize", "resized", lambda factor: 1.3 * factor),
        ("blur", "blurred", lambda sigma: 1.3 * sigma),
        ("noise", "noisy", lambda deviation: 0.7 * deviation),
    ],
)
def test_a_wrong_corruption_is_detected(name, inner, change, monkeypatch):
    true, corruption = getattr(corruptions, inner), CORRUPTIONS[name]
    monkeypatch.setattr(
        corruptions, inner, lambda image, level, *rng: true(image, change(level), *rng)
    )
    level = corruption.levels[2]
    assert abs(corruption.measure(level, np.random.default_rng(0)) / level - 1) > 0.1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_levels_differ_more_and_the_first_one_does_nothing(name, image):
    corruption = CORRUPTIONS[name]
    results = [corruption(image, level, np.random.default_rng(0)) for level in corruption.levels]
    assert np.array_equal(results[0], image)
    assert all(out.shape == image.shape and out.dtype == np.uint8 for out in results)
    ratios = [peak_signal_noise_ratio(image, out) for out in results[1:]]
    assert ratios == sorted(ratios, reverse=True)


def test_noise_agrees_with_another_estimator(image):
    noisy = corruptions.noisy(np.full_like(image, 120), 0.03, np.random.default_rng(0))
    differences = np.diff(noisy.astype(float), axis=1) / 255
    deviation = median_abs_deviation(differences, axis=None, scale="normal") / np.sqrt(2)
    assert deviation == pytest.approx(0.03, rel=0.06)


def test_the_same_generator_gives_the_same_noise(image):
    first, second = (corruptions.noisy(image, 0.03, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)
