"""Inputs in files, compared with those made image by image."""

import numpy as np
import pandas as pd
import pytest
import torch

from defocus_lib.data import collection
from defocus_lib.detect import stored_inputs
from defocus_lib.detect.control_inputs import INPUTS, with_illumination_change
from defocus_lib.detect.stored_inputs import Source, Wanted, averaged, store
from defocus_lib.run import artifacts, cluster
from tests import runs

(MAP,), (PHOTOGRAPH,), (EDGES,) = (INPUTS[name].parts for name in ("defocus", "rgb", "edges"))


class Counting:
    """Images of one pixel value each, and how often each was read."""

    def __init__(self):
        self.read = []

    def stack(self, records):
        self.read += records["id"].tolist()
        return np.stack([np.full((8, 8, 3), value, np.uint8) for value in records["value"]])


class Ramp:
    """Maps that rise from the top left pixel on, and which were read."""

    preset = "ramp"

    def __init__(self):
        self.read = []

    def stack(self, records):
        self.read += records["id"].tolist()
        dense = np.stack([np.arange(64, dtype=np.float32).reshape(8, 8)] * len(records))
        return dense, dense > 31


def images(*values):
    ids = [f"image {value}" for value in values]
    return pd.DataFrame({"id": ids, "value": values, "digest": "", "manipulation": "real"})


def test_each_image_is_read_once_for_all_that_need_it(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_inputs, "CHUNK", 2)
    source = Source(Counting(), Ramp(), 4)
    wanted = [
        Wanted(source, MAP, images(1, 2, 3)),
        Wanted(source, PHOTOGRAPH, images(5, 3)),
        Wanted(source, MAP, images(3, 2, 7)),
        Wanted(source, EDGES, images(7, 1)),
    ]
    stored = store(wanted, tmp_path)
    assert sorted(source.reader.read) == ["image 3", "image 5"]
    assert sorted(source.cache.read) == [f"image {value}" for value in (1, 2, 3, 7)]
    assert set(stored) == {(source, part) for part in (MAP, PHOTOGRAPH, EDGES)}

    file = stored[source, PHOTOGRAPH]
    array = np.load(file.path)
    assert array.dtype == np.uint8 and array.shape == (2, 3, 4, 4)
    rows = file.rows(images(3, 5, 3))
    assert array[rows].mean((1, 2, 3)).tolist() == [3, 5, 3]

    ramp = np.arange(64).reshape(4, 2, 4, 2).mean((1, 3)) / 63
    maps = np.load(stored[source, MAP].path)
    assert maps.shape == (4, 1, 4, 4)
    assert np.abs(maps[:, 0] - 255 * ramp).max() < 0.501
    edges = np.load(stored[source, EDGES].path)[:, 0]
    below = np.where(np.arange(4) < 2, 0, 255)[:, None]
    np.testing.assert_array_equal(edges, np.broadcast_to(below, (2, 4, 4)))


def test_an_input_is_rounded_to_the_nearest_of_256_values():
    values = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    small = averaged(values, 4)
    exact = values.reshape(2, 1, 4, 3, 4, 3).mean((3, 5))
    assert small.dtype == torch.uint8
    assert (small / 255 - exact).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.slow
def test_workers_store_the_same_bytes_as_one_process(tmp_path):
    path = runs.prepare(tmp_path)
    run = collection.load(artifacts.Folder.open("tiny", path / "run"))
    source = Source(run.reader, runs.cache_of(path), 20)
    changed = with_illumination_change(run.records.head(9))
    parts = [part for name in ("fusion", "permuted blur") for part in INPUTS[name].parts]
    wanted = [Wanted(source, part, changed) for part in parts]

    def contents(folder, client=None):
        folder.mkdir()
        stored = store(wanted, folder, client)
        return [stored[each.key].path.read_bytes() for each in wanted]

    alone = contents(tmp_path / "alone")
    with cluster.workers(2) as client:
        assert contents(tmp_path / "cluster", client) == alone
