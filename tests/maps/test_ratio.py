import numpy as np
import pytest
from scipy import ndimage

from defocus_lib import defocus_maps
from defocus_lib.maps.presets import PRESETS
from tests.reference import defocus as literal
from tests.reference import optics as literal_optics

LITERAL = [name for name, preset in PRESETS.items() if preset.literal]


def stretch(values):
    return (values - values.min()) / (np.ptp(values) or 1)


@pytest.mark.parametrize("preset", LITERAL)
@pytest.mark.parametrize("name", ["chelsea", "retina", "motorcycle"])
def test_literal_presets_are_those_of_jeon_and_woo(photograph, name, preset):
    image = photograph(name, 299)
    edges, sparse, dense = literal.maps(image, preset)
    maps = [part[0, 0].numpy() for part in defocus_maps(image[None], preset)[:4]]
    np.testing.assert_array_equal(maps[0], edges)
    assert np.abs(maps[1] - sparse).mean() < 1e-4
    assert np.abs(maps[3] - dense).mean() < 1e-4
    assert np.abs(stretch(maps[3]) - stretch(dense)).mean() < 0.002


@pytest.mark.parametrize("preset", LITERAL)
def test_literal_presets_are_literal_at_odd_sizes_and_borders(photograph, preset):
    image = photograph("coffee", 160)[:, 41:76, 30:77]
    edges, _, dense = literal.maps(image, preset)
    assert edges.shape == (35, 47) and edges.any()
    np.testing.assert_allclose(defocus_maps(image[None], preset).dense[0, 0], dense, atol=1e-4)


def test_the_literal_correlation_is_scipys():
    rng = np.random.default_rng(0)
    image, kernel = rng.random((13, 17)), rng.random((5, 5))
    expected = ndimage.correlate(image, kernel, mode="constant")
    np.testing.assert_allclose(literal.correlate(image, kernel), expected, atol=1e-12)


def test_literal_presets_find_no_edge_in_the_darker_half():
    step = literal_optics.step(1.0, 64, contrast=0.4)
    for preset in (*LITERAL, "physical"):
        bright, dark = (defocus_maps(step[None] + shift, preset) for shift in (0.25, -0.25))
        assert bright.edges.any()
        assert dark.edges.any() == (preset == "physical")
