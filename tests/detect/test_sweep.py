from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from defocus_lib.data import collection
from defocus_lib.data.images import as_planes
from defocus_lib.detect import sweep
from defocus_lib.detect.control_inputs import ILLUMINATION, INPUTS, change_illumination
from defocus_lib.detect.sweep import Run, Sweep
from defocus_lib.detect.training import Plan
from defocus_lib.maps.estimate import defocus_maps, normalize_per_sample
from defocus_lib.run import artifacts, cluster
from defocus_lib.scenes import rendered
from tests import runs


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    path = runs.prepare(tmp_path_factory.mktemp("trials"))
    run = collection.load(artifacts.Folder.open("tiny", path / "run"))
    plan = Plan(
        epochs=2, batch_size=16, learning_rate=0.003, monitor="val_accuracy", horizontal_flip=True
    )
    return Sweep(run.records, run.reader, runs.cache_of(path), "test_resnet", 32, plan)


def test_the_wanted_trials_are_each_wanted_once():
    both = [*sweep.for_controls("x", (0, 1)), *sweep.for_matrix(("x", "y"), 0)]
    assert len(sweep.for_controls("x", (0, 1))) == 2 * 8
    assert Run("fusion", "y", 0) in both
    assert len(set(both)) == 16 + 4, "map and photograph on x are shared"
    assert "map and uncertainty" not in {trial.input for trial in both}, "most presets tell none"


def test_answers_about_every_test_image_and_the_same_again(few, generators_left_alone):
    trial, threads = Run("defocus", "Deepfakes", 3), torch.get_num_threads()
    with generators_left_alone():
        answers = few.answer(trial)
    assert torch.get_num_threads() == threads
    test = few.records.query("split == 'test'")
    assert answers["id"].tolist() == test["id"].tolist()
    assert np.isfinite(answers["logit"]).all()
    pd.testing.assert_frame_equal(answers, few.answer(trial), check_exact=True)
    other = few.answer(replace(trial, seed=4))
    assert (answers["logit"] != other["logit"]).any()
    together = few.predictions("defocus", "Deepfakes", [3, 4])
    pd.testing.assert_frame_equal(
        together, pd.concat([answers, other], ignore_index=True), check_exact=True
    )
    assert set(together["preset"]) == {"physical"}


def test_a_cluster_gives_the_same_answers(few):
    wanted = [
        Run("edges", "Deepfakes", 0),
        Run("rgb", "FaceSwap", 0),
        Run("edges", "Deepfakes", 0),
    ]
    alone = sweep.run(few, wanted)
    assert len(alone) == 2 * (few.records["split"] == "test").sum()
    with cluster.workers(2) as client:
        pd.testing.assert_frame_equal(alone, sweep.run(few, wanted, client), check_exact=True)


class Flat:
    """Maps of nothing, and how sure that is."""

    preset = "flat"

    def stack(self, records):
        return np.zeros((len(records), 40, 40), np.float32), np.zeros((len(records), 40, 40), bool)

    def uncertainty(self, records):
        return np.ones((len(records), 40, 40), np.float32)


def test_maps_may_come_from_elsewhere(few):
    other = replace(few, cache=Flat())
    trial = Run("defocus", "Deepfakes", 0)
    answers = sweep.run_all([(other, [trial]), (few, [trial, replace(trial, seed=1)])])
    assert answers.drop_duplicates(["preset", "seed"])[["preset", "seed"]].to_numpy().tolist() == [
        ["flat", 0],
        ["physical", 0],
        ["physical", 1],
    ]
    assert answers.query("preset == 'flat'")["logit"].nunique() == 1, "one input, one answer"
    alone = sweep.run(few, [replace(trial, seed=1), trial])
    pd.testing.assert_frame_equal(
        answers.query("preset == 'physical'").reset_index(drop=True), alone, check_exact=True
    )


def test_uncertainty_is_asked_for_where_it_is_read(few):
    rows = few.records.head(2)
    batch = sweep.batch_of(rows, few.reader, Flat(), uncertain=True)
    assert batch.uncertainty.shape == (2, 40, 40)
    assert replace(few, cache=Flat()).inputs("map and uncertainty", rows).shape == (2, 3, 32, 32)
    assert sweep.batch_of(rows, few.reader, few.cache).uncertainty is None


def test_what_is_made_from_maps_leaves_the_images_unread(few):
    class Shut:
        def stack(self, records):
            raise OSError("nobody should look")

    rows = few.records.query("label == 0").head(2)
    shut = replace(few, reader=Shut())
    for name, control in INPUTS.items():
        series = replace(shut, cache=Flat()) if control.uncertain else shut
        if control.from_maps:
            open_eyes = replace(series, reader=few.reader).inputs(name, rows)
            torch.testing.assert_close(series.inputs(name, rows), open_eyes, rtol=0, atol=0)
        else:
            with pytest.raises(OSError, match="nobody"):
                series.inputs(name, rows)
    with pytest.raises(OSError, match="nobody"):
        shut.inputs("defocus", rows.assign(manipulation=ILLUMINATION))


def test_inputs_are_averaged_maps_in_the_order_of_the_records(few, monkeypatch):
    monkeypatch.setattr(sweep, "CHUNK", 3)
    rows = few.records.head(7)
    maps = normalize_per_sample(torch.from_numpy(few.cache.stack(rows)[0])[:, None])
    side = replace(few, input_size=20).inputs("defocus", rows)
    np.testing.assert_allclose(side, maps.reshape(7, 1, 20, 2, 20, 2).mean((3, 5)), atol=1e-6)


def test_relit_images_get_maps_of_their_own(few):
    rows = few.records.query("label == 0").head(1)
    twin = rows.assign(manipulation=ILLUMINATION)
    batch = sweep.batch_of(pd.concat([rows, twin]), few.reader, few.cache)
    digest = rows["digest"].iat[0]
    assert np.array_equal(
        batch.images[1], change_illumination(batch.images[0], sweep.generator(digest))
    )
    assert np.array_equal(batch.dense[0], few.cache.load(digest).dense)
    assert np.array_equal(
        batch.dense[1], defocus_maps(as_planes(batch.images[1])[None]).dense[0, 0].numpy()
    )


def test_shuffled_labels_keep_their_number_and_lose_their_order(few):
    rows = few.records.query("split == 'train'")
    true, dealt = sweep._labels(rows, False, 0), sweep._labels(rows, True, 0)
    assert true.tolist() == rows["label"].tolist()
    assert dealt.sum() == true.sum()
    assert (dealt != true).any()


def test_a_manipulation_without_training_images_is_named(few):
    with pytest.raises(ValueError, match="no training image of 'morphing'"):
        few.answer(Run("rgb", "morphing", 0))


def test_groups_with_some_manipulations_only_are_left_out():
    table = rendered.records(
        {"train": 4, "val": 2, "test": 1}, "splice", ("splice", "texture"), by_all=1
    )
    kept = sweep.complete(table)
    assert kept["group"].unique().tolist() == ["train-00000", "val-00000", "test-00000"]
    one = table[table["manipulation"] != "texture"]
    assert sweep.complete(one)["id"].tolist() == one["id"].tolist(), "all of one"
    apart = table.assign(group=table["id"])
    assert sweep.complete(apart)["id"].tolist() == apart["id"].tolist(), "no group has all"
    alone = pd.concat([table, table.head(1).assign(group="train-x", id="x")])
    assert "x" in sweep.complete(alone)["id"].tolist(), "a group of real images shows none"
