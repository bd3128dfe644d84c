import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from defocus_lib.data.images import Reader, UnreadableImage
from defocus_lib.detect import inputs
from defocus_lib.detect.control_inputs import INPUTS, Batch
from defocus_lib.detect.inputs import Inputs, as_input
from defocus_lib.maps import estimate
from defocus_lib.maps.cache import MapCache
from tests import trees

SIZE = 48


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return trees.folders(tmp_path_factory.mktemp("pictures"), clips=4, size=SIZE)


@pytest.fixture(scope="module")
def records(root):
    """Eight images, real and fake in turn, under an index that starts elsewhere."""
    paths = [
        root / kind / f"photo-{index:03d}.png" for index in range(4) for kind in ("real", "fake")
    ]
    table = pd.DataFrame(
        {"path": [path.relative_to(root).as_posix() for path in paths], "label": [0, 1] * 4}
    )
    return table.assign(
        digest=[hashlib.sha256(p.read_bytes()).hexdigest() for p in paths]
    ).set_index(np.arange(8) + 5)


@pytest.fixture(scope="module")
def reader(root):
    return Reader(root, SIZE)


def stand_in(images, *_):
    """Maps that need no compiled code: the grey levels of images ``(N, 3, H, W)``."""
    dense = torch.as_tensor(images).mean(1, keepdim=True)
    edges = dense > dense.mean()
    return estimate.DefocusMaps(edges, dense * edges, edges, dense)


@pytest.fixture(scope="module")
def cache(tmp_path_factory, records, reader):
    made = MapCache(tmp_path_factory.mktemp("maps"), "physical", "", SIZE, "stretch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "defocus_maps", stand_in)
        made.fill(records, reader, n_workers=1)
    return made


@pytest.fixture(scope="module")
def wanted(root, records):
    """Photographs ``(8, 3, H, W)`` and maps ``(8, 1, H, W)`` in [0, 1], the long way round."""
    photographs = np.stack(
        [np.moveaxis(np.asarray(Image.open(root / path)), 2, 0) for path in records["path"]]
    )
    photographs = photographs.astype(np.float32) / 255
    dense = stand_in(photographs).dense.half().float().numpy()  # as it is stored
    low, high = dense.min((1, 2, 3), keepdims=True), dense.max((1, 2, 3), keepdims=True)
    assert (high > low).all()
    return photographs, (dense - low) / (high - low)


def inputs_of(wanted, reads):
    photographs, maps = wanted
    return {"defocus": maps, "rgb": photographs, "fusion": np.concatenate([photographs, maps], 1)}[
        reads
    ]


@pytest.mark.parametrize(("reads", "channels"), [("defocus", 1), ("rgb", 3), ("fusion", 4)])
def test_inputs_and_labels(records, reader, cache, wanted, reads, channels):
    dataset = Inputs(records, reads, reader, cache)
    assert len(dataset) == 8
    for index, (values, label) in enumerate(dataset[row] for row in range(8)):
        assert (
            values.shape == (channels, SIZE, SIZE) and values.dtype == label.dtype == torch.float32
        )
        assert label.shape == () and label == index % 2
        np.testing.assert_allclose(values, inputs_of(wanted, reads)[index], atol=1e-6)
    everything = torch.stack([dataset[row][0] for row in range(8)])
    assert everything.min() >= 0 and everything.max() <= 1


def test_the_order_is_that_of_the_rows(records, reader, wanted):
    turned = Inputs(records.iloc[::-1], "rgb", reader)
    np.testing.assert_array_equal(turned[0][0], wanted[0][7])
    assert [float(turned[row][1]) for row in range(8)] == [1, 0] * 4


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_worker_processes_read_the_same(records, reader, cache, wanted, start):
    dataset = pickle.loads(pickle.dumps(Inputs(records, "fusion", reader, cache)))
    values, labels = zip(
        *DataLoader(dataset, 3, num_workers=2, multiprocessing_context=start), strict=True
    )
    np.testing.assert_allclose(torch.cat(values), inputs_of(wanted, "fusion"), atol=1e-6)
    assert torch.cat(labels).tolist() == [0, 1] * 4


@pytest.mark.parametrize("kept", [0, 3, 8])
def test_an_image_is_read_once_while_there_is_room(records, reader, monkeypatch, kept):
    of_one = 3 * SIZE**2
    monkeypatch.setattr(inputs, "KEPT", kept * of_one + of_one // 2)
    read = []
    dataset = Inputs(records, "rgb", lambda row: read.append(row.path) or reader(row))
    first, second = ([dataset[row][0] for row in range(8)] for _ in range(2))
    assert read == [*records["path"], *records["path"][kept:]]
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_process_of_a_loader_keeps_nothing(records, reader, monkeypatch):
    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: object())
    dataset = Inputs(records, "rgb", reader)
    assert dataset[0][0].any() and not dataset._kept


def test_a_constant_map_is_zero():
    assert not as_input("defocus", None, np.full((1, SIZE, SIZE), 2.5, np.float32)).any()


def test_the_fingerprint_tells_images_labels_and_their_reading_apart(records, reader, cache):
    def fingerprint(rows=records, reads="fusion", maps=cache, normalisation="min-max"):
        return Inputs(rows, reads, reader, maps, normalisation).fingerprint

    changes = [
        fingerprint(records.assign(label=1 - records["label"])),
        fingerprint(records.iloc[:-1]),
        fingerprint(reads="rgb"),
        fingerprint(maps=replace(cache, preset="released")),
        fingerprint(normalisation="px"),
    ]
    assert len({fingerprint(), *changes}) == 6
    assert fingerprint() == fingerprint(records.assign(path="elsewhere.png"))


@pytest.mark.slow
def test_the_processes_of_a_loader_compute_the_maps_that_are_missing(records, reader, tmp_path):
    filled, empty = (
        MapCache(tmp_path / name, "physical", "", SIZE, "stretch") for name in ("filled", "empty")
    )
    filled.fill(records, reader, n_workers=1)
    lacking = Inputs(records, "defocus", reader, empty)
    found = torch.cat([batch for batch, _ in DataLoader(lacking, 2, num_workers=2)])
    assert torch.equal(
        found, torch.stack([x for x, _ in Inputs(records, "defocus", reader, filled)])
    )
    files = [
        {path.relative_to(cache.folder): path.read_bytes() for path in cache.folder.rglob("*.*")}
        for cache in (filled, empty)
    ]
    assert files[0] == files[1] and len(files[0]) == len(records)


def test_what_is_wrong_with_an_image_reaches_the_caller(records, reader):
    gone = Inputs(records.assign(path="none.png"), "rgb", reader)
    with pytest.raises(UnreadableImage, match=r"none\.png: can't be opened"):
        list(DataLoader(gone, num_workers=1))


def test_arguments_are_checked(records, reader, cache):
    with pytest.raises(ValueError, match="unknown input 'map'; one of defocus, rgb, fusion, edges"):
        Inputs(records, "map", reader, cache)
    for reads in ("defocus", "fusion"):
        with pytest.raises(
            ValueError, match=f"a detector that reads {reads} needs a cache of maps"
        ):
            Inputs(records, reads, reader)
        with pytest.raises(
            ValueError,
            match="the reader gives images of size 32, fit stretch; the maps are of size 48",
        ):
            Inputs(records, reads, Reader(reader.root, 32), cache)
    for reads in ("rgb", "edges"):
        with pytest.raises(ValueError, match=f"normalisation px for input {reads}: it is that of"):
            Inputs(records, reads, reader, cache, "px")
    with pytest.raises(ValueError, match="'physical' come without uncertainty; preset 'learned'"):
        Inputs(records, "defocus", reader, cache, "px+uncertainty")


def test_maps_in_px_with_their_edges(records, reader, cache):
    """Literally: grey levels as sigma, over 8 px; edges where a pixel is above the mean."""
    photographs = np.stack([np.moveaxis(reader.stack(records), 3, 1)])[0].astype(np.float32) / 255
    dense = photographs.mean(1)
    made = Inputs(records, "fusion", reader, cache, "px+edges")
    for row in range(8):
        values = made[row][0]
        assert values.shape == (5, SIZE, SIZE)
        np.testing.assert_allclose(values[3], dense[row] / 8, atol=1e-4)
        grey = torch.from_numpy(photographs[row : row + 1]).mean(1)
        assert torch.equal(values[4], (grey > grey.mean())[0].float())


@pytest.mark.slow
@pytest.mark.parametrize("reads", ["edges", "edge-density", "permuted-blur"])
def test_controls_are_those_of_the_sweeps(root, records, reader, tmp_path, reads):
    cache = MapCache(tmp_path, "physical", "", SIZE, "stretch")
    made = Inputs(records, reads, reader, cache)
    table = records.assign(manipulation=np.where(records["label"] == 0, "real", "fake"))
    cache.fill(table, reader, n_workers=1)
    (part,) = INPUTS[reads.replace("-", " ")].parts
    expected = part(Batch(table, reader, cache), "min-max")
    for row, (planes, label) in enumerate(made[row] for row in range(len(made))):
        assert torch.allclose(planes, expected[row], atol=1e-6) and label == row % 2
    assert made.fingerprint != Inputs(records, "defocus", reader, cache).fingerprint
