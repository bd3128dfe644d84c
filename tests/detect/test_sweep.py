from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from defocus_lib.data import collection
from defocus_lib.data.images import as_planes
from defocus_lib.detect import sweep
from defocus_lib.detect.control_inputs import (
    ILLUMINATION,
    INPUTS,
    Batch,
    change_illumination,
    generator,
)
from defocus_lib.detect.sweep import Run, Sweep
from defocus_lib.detect.training import Plan
from defocus_lib.maps.estimate import defocus_maps, normalize_per_sample
from defocus_lib.run import artifacts, cluster
from defocus_lib.scenes import rendered
from tests import runs


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    path = runs.prepare(tmp_path_factory.mktemp("sweep"))
    run = collection.load(artifacts.Folder.open("tiny", path / "run"))
    plan = Plan(
        epochs=2, batch_size=16, learning_rate=0.003, monitor="val_accuracy", horizontal_flip=True
    )
    return Sweep(run.records, run.reader, runs.cache_of(path), "test_resnet", 32, plan)


def test_runs_are_each_wanted_once():
    both = [*sweep.control_runs("x", (0, 1)), *sweep.transfer_runs(("x", "y"), 0)]
    assert len(sweep.control_runs("x", (0, 1))) == 2 * 8
    assert Run("fusion", "y", 0) in both
    assert len(set(both)) == 16 + 4, "map and photograph on x are shared"
    assert "map and uncertainty" not in {run.input for run in both}, "most presets have none"


@pytest.mark.slow
def test_predictions_for_every_test_image_are_reproducible(few, generators_left_alone, two_threads):
    with generators_left_alone():
        third = few.predictions("defocus", "Deepfakes", [3])
    assert torch.get_num_threads() == two_threads
    test = few.records.query("split == 'test'")
    assert third["id"].tolist() == test["id"].tolist()
    assert np.isfinite(third["logit"]).all()
    both = few.predictions("defocus", "Deepfakes", [3, 4])
    pd.testing.assert_frame_equal(both.head(len(third)), third, check_exact=True)
    assert (both["logit"].tail(len(third)).to_numpy() != third["logit"].to_numpy()).any()
    assert set(both["preset"]) == {"physical"}


@pytest.mark.slow
def test_a_cluster_gives_the_same_predictions(few):
    edges, photograph = Run("edges", "Deepfakes", 0), Run("rgb", "FaceSwap", 0)
    wanted = [(few, [edges, photograph, edges])]
    alone = sweep.train_and_test(wanted)
    assert len(alone) == 2 * (few.records["split"] == "test").sum()
    with cluster.workers(2) as client:
        on_cluster = sweep.train_and_test(wanted, client)
    pd.testing.assert_frame_equal(alone, on_cluster, check_exact=True)


class Flat:
    """Constant maps, and their uncertainty."""

    preset = "flat"

    def stack(self, records):
        return np.zeros((len(records), 40, 40), np.float32), np.zeros((len(records), 40, 40), bool)

    def uncertainty(self, records):
        return np.ones((len(records), 40, 40), np.float32)


@pytest.mark.slow
def test_maps_may_come_from_another_source(few):
    flat, runs = replace(few, cache=Flat()), [Run("defocus", "Deepfakes", s) for s in (0, 1)]
    predictions = sweep.train_and_test([(flat, runs[:1]), (few, runs)])
    order = predictions.drop_duplicates(["preset", "seed"])[["preset", "seed"]].to_numpy().tolist()
    assert order == [["flat", 0], ["physical", 0], ["physical", 1]]
    by_preset = dict(tuple(predictions.groupby("preset")))
    assert by_preset["flat"]["logit"].nunique() == 1, "equal inputs, equal logits"
    alone = sweep.train_and_test([(few, runs[::-1])])
    pd.testing.assert_frame_equal(
        by_preset["physical"].reset_index(drop=True), alone, check_exact=True
    )


def test_uncertainty_is_read_where_it_is_an_input(few):
    rows = few.records.head(2)
    assert Batch(rows, few.reader, Flat()).uncertainty.shape == (2, 40, 40)
    assert replace(few, cache=Flat()).inputs("map and uncertainty", rows).shape == (2, 3, 32, 32)


def test_inputs_made_from_maps_leave_the_images_unread(few):
    class Closed:
        def stack(self, records):
            raise OSError("images were read")

    rows = few.records.query("label == 0").head(2)
    for name in INPUTS:
        opened = replace(few, cache=Flat()) if name == "map and uncertainty" else few
        closed = replace(opened, reader=Closed())
        if name in ("rgb", "fusion", "permuted blur"):
            with pytest.raises(OSError, match="images were read"):
                closed.inputs(name, rows)
        else:
            expected = opened.inputs(name, rows)
            torch.testing.assert_close(closed.inputs(name, rows), expected, rtol=0, atol=0)
    with pytest.raises(OSError, match="images were read"):
        replace(few, reader=Closed()).inputs("defocus", rows.assign(manipulation=ILLUMINATION))


def test_inputs_are_averaged_maps_in_the_order_of_the_records(few, monkeypatch):
    monkeypatch.setattr(sweep, "CHUNK", 3)
    rows = few.records.head(7)
    maps = normalize_per_sample(torch.from_numpy(few.cache.stack(rows)[0])[:, None])
    side = replace(few, input_size=20).inputs("defocus", rows)
    np.testing.assert_allclose(side, maps.reshape(7, 1, 20, 2, 20, 2).mean((3, 5)), atol=1e-6)


def test_images_of_another_illumination_get_maps_of_their_own(few):
    rows = few.records.query("label == 0").head(1)
    both = pd.concat([rows, rows.assign(manipulation=ILLUMINATION)])
    batch, digest = Batch(both, few.reader, few.cache), rows["digest"].iat[0]
    dense, _ = batch.maps
    changed = change_illumination(batch.images[0], generator(digest))
    assert np.array_equal(batch.images[1], changed)
    assert np.array_equal(dense[0], few.cache.load(digest).dense)
    assert np.array_equal(dense[1], defocus_maps(as_planes(changed)[None]).dense[0, 0].numpy())


def test_shuffled_labels_keep_their_number_and_lose_their_order(few):
    rows = few.records.query("split == 'train'")
    true, shuffled = sweep._labels(rows, False, 0), sweep._labels(rows, True, 0)
    assert true.tolist() == rows["label"].tolist()
    assert shuffled.sum() == true.sum()
    assert (shuffled != true).any()


def test_a_manipulation_without_training_images_is_named(few):
    with pytest.raises(ValueError, match="no training image of 'morphing'"):
        few.predictions("rgb", "morphing", [0])


def test_groups_with_some_manipulations_only_are_left_out():
    table = rendered.records(
        {"train": 4, "val": 2, "test": 1}, "splice", ("splice", "texture"), by_all=1
    )
    kept = sweep.complete(table)
    assert kept["group"].unique().tolist() == ["train-00000", "val-00000", "test-00000"]
    single = table[table["manipulation"] != "texture"]
    assert sweep.complete(single)["id"].tolist() == single["id"].tolist(), "one manipulation"
    apart = table.assign(group=table["id"])
    assert sweep.complete(apart)["id"].tolist() == apart["id"].tolist(), "no group has all"
    alone = pd.concat([table, table.head(1).assign(group="train-x", id="x")])
    assert "x" in sweep.complete(alone)["id"].tolist(), "a group of real images shows none"
