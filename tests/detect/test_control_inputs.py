from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

from defocus_lib.analysis import map_accuracy
from defocus_lib.data.images import as_planes
from defocus_lib.detect.control_inputs import (
    INPUTS,
    change_illumination,
    generator,
    with_illumination_change,
)
from defocus_lib.maps.estimate import defocus_maps

DIGESTS = np.array(["a0" * 32, "0b" * 32])


@pytest.fixture(scope="module")
def batch(photograph):
    planes = np.stack([photograph(name, 96) for name in ("coffee", "chelsea")])
    computed = defocus_maps(planes)
    maps = computed.dense[:, 0].numpy(), computed.edges[:, 0].numpy()
    return SimpleNamespace(
        planes_by=lambda _: maps[0][:, None],
        images=np.rint(255 * planes.transpose(0, 2, 3, 1)).astype(np.uint8),
        maps=maps,
        digests=DIGESTS,
        cache=SimpleNamespace(preset="physical"),
    )


def test_every_input_has_the_shape_and_range_that_its_detector_reads(batch):
    channels = {"defocus": 1, "rgb": 3, "fusion": 4}
    for kind in INPUTS.values():
        inputs = kind.inputs(batch)
        assert inputs.shape == (2, channels[kind.reads], 96, 96)
        assert inputs.dtype == torch.float32
        assert 0 <= inputs.min() <= inputs.max() <= 1


def test_permuted_blur_keeps_edges_and_readings_and_loses_their_order(batch):
    maps = defocus_maps(as_planes(batch.images[0])[None])
    dense, again = (INPUTS["permuted blur"].inputs(batch)[0, 0].numpy() for _ in range(2))
    assert np.array_equal(dense, again), "the digest of the image seeds the permutation"
    true = INPUTS["defocus"].inputs(batch)[0, 0].numpy()
    assert np.abs(np.corrcoef(dense.ravel(), true.ravel())[0, 1]) < 0.7
    # Literal: readings permuted by the same generator, then G(v)/G(1) over the edges.
    valid = maps.valid[0, 0].numpy()
    values = np.zeros(valid.shape)
    values[valid] = generator(DIGESTS[0]).permutation(maps.sparse[0, 0].numpy()[valid])
    spread = {"sigma": 0.04 * 96, "mode": "constant", "truncate": 12}
    weights = ndimage.gaussian_filter(valid.astype(float), **spread)
    literal = ndimage.gaussian_filter(values, **spread) / weights
    literal = (literal - literal.min()) / np.ptp(literal)
    near_edges = ndimage.distance_transform_edt(~valid) < 4
    assert np.abs(literal - dense)[near_edges].max() < 0.1


def test_an_illumination_change_leaves_the_blur_of_an_edge_unchanged():
    """A step of known blur, read through a shadow that changes the grey by up to a half."""
    step = map_accuracy.step_edge(2.0, 0.0, np.random.default_rng(0))
    image = np.rint(255 * step.transpose(1, 2, 0)).astype(np.uint8)
    changed = change_illumination(image, np.random.default_rng(5))
    assert (changed <= image).all()
    assert 0.5 <= (changed / image).min() < 0.75
    maps = [defocus_maps(as_planes(pixels)[None]) for pixels in (image, changed)]
    before, after = (each.sparse[each.valid].median().item() for each in maps)
    assert after == pytest.approx(before, abs=0.05)
    grey = change_illumination(np.full((96, 96, 3), 128, np.uint8), np.random.default_rng(0))
    assert not defocus_maps(as_planes(grey)[None]).edges.any(), "the rim gives no edge"


def test_changed_images_are_paired_with_their_originals():
    table = pd.DataFrame(
        {"id": list("abc"), "manipulation": ["real", "x", "real"], "label": [0, 1, 0], "pair": ""}
    )
    changed = with_illumination_change(table)
    assert changed["label"].tolist() == [0, 0, 1, 1]
    assert changed["pair"].tolist() == ["", "", "a", "c"]
    assert changed["id"].is_unique
