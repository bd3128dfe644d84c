import numpy as np
import pandas as pd
import pytest
import torch

from defocus_lib.detect.normalisation import (
    NORMALISATIONS,
    SCALE,
    normalisation_named,
    normalised,
    of_header,
    planes_of,
    stored_planes,
)
from defocus_lib.maps.estimate import DefocusMaps
from defocus_lib.maps.presets import PRESETS

DENSE = torch.tensor([[[[1.0, 3.0], [5.0, 9.0]]], [[[2.0, 2.0], [2.0, 2.0]]]])
BY_HAND = {
    "min-max": [[0, 0.25], [0.5, 1]],
    "px": [[0.125, 0.375], [0.625, 1]],  # 9 px lie above the scale of 8
}
ERROR = torch.tensor([[[[0.0, 2.0], [4.0, 16.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
ERROR_BY_HAND = {
    "min-max": [[0, 0.25], [0.5, 1]],  # the range of the map is 8 px, as the scale is
    "px": [[0, 0.25], [0.5, 1]],
}
MASK = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])


@pytest.mark.parametrize("unit", BY_HAND)
def test_a_map_by_hand(unit):
    found = normalised(DENSE, unit)
    assert found[0, 0].tolist() == BY_HAND[unit]
    constant = {"min-max": 0.0, "px": 0.25}[unit]
    assert found[1].unique().tolist() == [constant], "min-max loses the blur of a constant map"


@pytest.mark.parametrize("unit", BY_HAND)
@pytest.mark.parametrize("second", ["validity", "edges"])
def test_a_mask_stays_as_it_is(unit, second):
    found = normalised(torch.cat([DENSE, MASK], 1), f"{unit}+{second}")
    assert torch.equal(found[:, 1:], MASK) and found[0, 0].tolist() == BY_HAND[unit]


@pytest.mark.parametrize("unit", BY_HAND)
def test_an_uncertainty_has_the_unit_of_its_map(unit):
    found = normalised(torch.cat([DENSE, ERROR], 1), f"{unit}+uncertainty")
    assert found[0, 1].tolist() == ERROR_BY_HAND[unit]
    constant = {"min-max": 0.0, "px": 0.125}[unit]
    assert found[1, 1].unique().tolist() == [constant], "a constant map has no range"


def test_no_preset_is_clipped():
    assert max(preset.max_sigma for preset in PRESETS.values()) <= SCALE


def test_what_is_computed_and_what_is_stored_give_the_same_planes():
    maps = DefocusMaps(MASK == 0, DENSE * MASK, MASK > 0, DENSE, ERROR)

    class Stored:
        def validity(self, records):
            return maps.valid[records["row"], 0].numpy()

        def uncertainty(self, records):
            return maps.uncertainty[records["row"], 0].numpy()

    records = pd.DataFrame({"row": [0, 1]})
    dense, edges = maps.dense[:, 0].numpy(), maps.edges[:, 0].numpy()
    seen = {
        name: planes_of(maps, name).tobytes()
        for name in NORMALISATIONS
        if np.array_equal(
            planes_of(maps, name), stored_planes(Stored(), records, dense, edges, name)
        )
    }
    assert len(seen) == len(NORMALISATIONS) and len(set(seen.values())) == 4


def test_the_header_of_weights_names_it():
    assert [of_header({"normalisation": name}) for name in NORMALISATIONS] == list(NORMALISATIONS)
    assert of_header({"normalisation": ""}) == "", "no map is read"
    sentence = "maps min-max normalised each to [0, 1] and repeated to 3 channels"
    assert of_header({}) == of_header({"normalisation": sentence}) == "min-max"


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="unknown normalisation 'pixels'; one of min-max, min-max"):
        normalisation_named("pixels")
    with pytest.raises(
        ValueError, match=r"shape \(2, 1, 2, 2\); \(N, 2, H, W\) wanted by px\+edges"
    ):
        normalised(DENSE, "px+edges")
    with pytest.raises(ValueError, match="NaN or infinity"):
        normalised(DENSE * float("nan"), "px")
    maps = DefocusMaps(MASK > 0, DENSE, MASK > 0, DENSE)
    with pytest.raises(ValueError, match="these maps come without uncertainty"):
        planes_of(maps, "px+uncertainty")
    with pytest.raises(ValueError, match="'physical' come without uncertainty"):
        normalisation_named("min-max+uncertainty").check("physical")
    normalisation_named("min-max+uncertainty").check("learned")
