import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

from defocus_lib.analysis import controls, map_accuracy
from defocus_lib.data.images import as_planes
from defocus_lib.detect.control_inputs import (
    INPUTS,
    WITHOUT_BLUR,
    Batch,
    _permuted_blur,
    change_illumination,
    generator,
    with_illumination_change,
)
from defocus_lib.maps.estimate import defocus_maps


@pytest.fixture(scope="module")
def batch(photograph):
    planes = np.stack([photograph(name, 96) for name in ("coffee", "chelsea")])
    maps = defocus_maps(planes)
    images = np.rint(255 * planes.transpose(0, 2, 3, 1)).astype(np.uint8)
    dense, edges = maps.dense[:, 0].numpy(), maps.edges[:, 0].numpy()
    return Batch(
        images, dense, edges, np.array(["a0" * 32, "0b" * 32]), uncertainty=0.2 * dense + 0.1
    )


def test_every_input_has_the_shape_and_range_that_its_detector_reads(batch):
    channels = {"defocus": 1, "rgb": 3, "fusion": 4}
    for control in INPUTS.values():
        inputs = control.inputs(batch)
        assert inputs.shape == (2, channels[control.reads], 96, 96)
        assert inputs.dtype == torch.float32
        assert 0 <= inputs.min() <= inputs.max() <= 1


def test_uncertainty_keeps_its_size_beside_the_map():
    dense = np.zeros((2, 32, 32), np.float32)
    dense[0, :16], dense[0, 16:] = 1, 5
    error = np.full_like(dense, 0.5)
    error[0, 0, 0] = 9
    digests = np.array(["a0" * 32, "0b" * 32])
    inputs = INPUTS["map and uncertainty"].inputs(
        Batch(np.zeros((2, 32, 32, 3), np.uint8), dense, dense > 0, digests, "learned", error)
    )
    assert inputs[0, 0, 31, 0] == 1 and inputs[0, 0, 0, 0] == 0, "the map, from 1 to 5 px"
    assert inputs[0, 1, 20, 20] == 0.125, "half a px of four"
    assert inputs[0, 1, 0, 0] == 1, "not more"
    assert torch.equal(inputs[:, 1], inputs[:, 2])
    assert not inputs[1].any(), "a constant map has no range"


def test_permuted_blur_keeps_the_edges_and_readings_and_loses_their_order(batch):
    maps = defocus_maps(as_planes(batch.images[0])[None])
    dense = _permuted_blur(batch)[0, 0].numpy()
    assert np.array_equal(dense, _permuted_blur(batch)[0, 0].numpy()), (
        "the same image, the same numbers"
    )
    true = INPUTS["defocus"].inputs(batch)[0, 0].numpy()
    assert np.abs(np.corrcoef(dense.ravel(), true.ravel())[0, 1]) < 0.7
    # Literal: values dealt out by the same generator, then G(v)/G(1) over the edges.
    valid = maps.valid[0, 0].numpy()
    values = np.zeros(valid.shape)
    values[valid] = generator(batch.digests[0]).permutation(maps.sparse[0, 0].numpy()[valid])
    spread = {"sigma": 0.04 * 96, "mode": "constant", "truncate": 12}
    wide = ndimage.gaussian_filter(values, **spread) / ndimage.gaussian_filter(
        valid.astype(float), **spread
    )
    wide = (wide - wide.min()) / np.ptp(wide)
    assert np.abs(wide - dense)[ndimage.distance_transform_edt(~valid) < 4].max() < 0.1


def test_a_change_of_light_leaves_the_blur_of_an_edge_as_it_was():
    """A step of known blur, read through a shadow that changes the grey by up to a half."""
    step = map_accuracy.step_edge(2.0, 0.0, np.random.default_rng(0))
    image = np.rint(255 * step.transpose(1, 2, 0)).astype(np.uint8)
    relit = change_illumination(image, np.random.default_rng(5))
    assert (relit <= image).all()
    assert 0.5 <= (relit / image).min() < 0.75
    readings = [defocus_maps(as_planes(one)[None]) for one in (image, relit)]
    read = [maps.sparse[maps.valid].median().item() for maps in readings]
    assert read[1] == pytest.approx(read[0], abs=0.05)
    flat = np.full((96, 96, 3), 128, np.uint8)
    assert not defocus_maps(
        as_planes(change_illumination(flat, np.random.default_rng(0)))[None]
    ).edges.any(), "no rim"


def test_relit_twins_stand_beside_their_originals():
    table = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "manipulation": ["real", "x", "real"],
            "label": [0, 1, 0],
            "pair": "",
        }
    )
    twins = with_illumination_change(table)
    assert twins["label"].tolist() == [0, 0, 1, 1]
    assert twins["pair"].tolist() == ["", "", "a", "c"]
    assert twins["id"].is_unique


CHANCE, GOOD = (0.45, 0.55), (0.8, 0.9)
AHEAD, LEVEL, BEHIND = (0.1, 0.2), (-0.05, 0.05), (-0.2, -0.1)


def ahead(*intervals):
    return dict(zip(WITHOUT_BLUR, intervals, strict=True))


@pytest.mark.parametrize(
    ("auc", "differences", "said", "not_said"),
    [
        ((GOOD, CHANCE, CHANCE), (AHEAD, AHEAD, AHEAD), ["carries more than its edges", "goes unnoticed"], ["But"]),
        ((GOOD, CHANCE, GOOD), (AHEAD, AHEAD, AHEAD), ["carries more than its edges", "is noticed on the map too"], []),
        ((GOOD, CHANCE, CHANCE), (LEVEL, AHEAD, LEVEL), ["can't be shown", "though it beats edge density"], []),
        ((GOOD, CHANCE, CHANCE), (LEVEL, LEVEL, LEVEL), ["can't be shown"], ["though"]),
        ((GOOD, CHANCE, CHANCE), (BEHIND, AHEAD, LEVEL), ["adds nothing to its edges: on edges only"], ["carries"]),
        ((CHANCE, CHANCE, CHANCE), (AHEAD, AHEAD, AHEAD), ["no signal to explain"], ["edges"]),
        ((GOOD, GOOD, CHANCE), (AHEAD, AHEAD, AHEAD), ["prove nothing"], ["carries"]),
        ((GOOD, CHANCE, (0.3, 0.4)), (AHEAD, AHEAD, AHEAD), ["more often than chance"], ["unnoticed"]),
    ],
)  # fmt: skip
def test_the_numbers_choose_the_words(auc, differences, said, not_said):
    words = controls.verdict(
        dict(zip(("defocus", "shuffled", "relit"), auc, strict=True)), ahead(*differences)
    )
    assert all(part in words for part in said)
    assert not any(part in words for part in not_said)
