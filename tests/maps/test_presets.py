from dataclasses import replace

import numpy as np
import pytest

from defocus_lib import defocus_maps
from defocus_lib.maps.presets import NETWORK, PRESETS, PROPAGATIONS, preset_named

GREY = np.full((1, 3, 32, 32), 0.5, dtype=np.float32)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_makes_sense(name):
    preset = preset_named(name)
    assert preset_named(preset) is preset is PRESETS[name]
    assert list(preset.scales) == sorted(preset.scales) and preset.scales[0] > 0
    assert len(preset.scales) == (2 if preset.literal else 3)
    assert (preset.canny_sigma > 0) == preset.literal
    assert preset.propagation in (*PROPAGATIONS, NETWORK)
    assert preset.method() == preset.propagation


def test_the_presets_of_jeon_and_woo_differ_in_their_scales_alone():
    released, published = PRESETS["released"], PRESETS["published"]
    assert replace(released, scales=published.scales) == published != released


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=f"'sharp'; one of {', '.join(PRESETS)} wanted"):
        defocus_maps(GREY, "sharp")
    with pytest.raises(
        ValueError, match="unknown propagation 'magic'; one of gaussian, guided, closed_form wanted"
    ):
        defocus_maps(GREY, propagation="magic")
