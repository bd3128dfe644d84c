import multiprocessing
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from defocus_lib.data import collection
from defocus_lib.data.images import as_planes
from defocus_lib.detect import sweep, training
from defocus_lib.detect.control_inputs import (
    ILLUMINATION,
    INPUTS,
    Batch,
    change_illumination,
    generator,
)
from defocus_lib.detect.model import Detector
from defocus_lib.detect.plan import Plan
from defocus_lib.detect.sweep import Run, Sweep
from defocus_lib.maps.cache import maps_as_cached
from defocus_lib.run import artifacts, cluster, kept
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
    assert len(sweep.control_runs("x", (0, 1))) == 2 * 7 + 1
    assert Run("fusion", "y", 0) in both
    assert len(set(both)) == 15 + 4, "map and photograph on x are shared"


@pytest.mark.slow
def test_predictions_for_every_test_image_are_reproducible(few, generators_left_alone, two_threads):
    with generators_left_alone():
        third = sweep.train_and_test([(few, [Run("defocus", "Deepfakes", 3)])])
    assert torch.get_num_threads() == two_threads
    test = few.records.query("split == 'test'")
    assert third["id"].tolist() == test["id"].tolist()
    assert np.isfinite(third["logit"]).all()
    both = sweep.train_and_test([(few, [Run("defocus", "Deepfakes", seed) for seed in (3, 4)])])
    pd.testing.assert_frame_equal(both.head(len(third)), third, check_exact=True)
    assert (both["logit"].tail(len(third)).to_numpy() != third["logit"].to_numpy()).any()
    assert set(both["preset"]) == {"physical"}


@pytest.mark.slow
def test_a_detector_is_the_one_that_fit_trains_on_the_same_inputs(few):
    """Independent of the store and the loop in memory: Lightning on inputs made in one go."""
    found = sweep.train_and_test([(few, [Run("fusion", "Deepfakes", 5)])])["logit"]
    inputs = {}
    for split in ("train", "val", "test"):
        rows = few.records_of(split, "Deepfakes")
        full = INPUTS["fusion"].inputs(Batch(rows, few.reader, few.cache))
        small = (255 * F.interpolate(full, size=32, mode="area")).round() / 255
        inputs[split] = TensorDataset(small, torch.tensor(rows["label"].to_numpy(np.float32)))
    detector = Detector("test_resnet", "fusion", seed=5)
    training.fit(
        detector, inputs["train"], inputs["val"], replace(few.plan, seed=5), progress=False
    )
    expected = training.predict(detector, inputs["test"])[0].numpy()
    np.testing.assert_allclose(found, expected, atol=0.01 * np.ptp(expected))


def test_nothing_stays_in_the_folder_of_the_inputs(few, tmp_path, monkeypatch):
    seen = []

    def fails(job):
        seen.extend(path.parent.parent for path in job.files)
        raise RuntimeError("killed")

    monkeypatch.setattr(sweep, "_test_logits", fails)
    with pytest.raises(RuntimeError, match="killed"):
        sweep.train_and_test([(few, [Run("rgb", "Deepfakes", 0)])], folder=tmp_path)
    assert seen == [tmp_path] and not list(tmp_path.iterdir())


def train_two_and_die(few, runs, folder):
    """In a process of its own."""
    train, trained = sweep._train, []

    def dies(job):
        if len(trained) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        trained.append(job)
        return train(job)

    sweep._train = dies
    sweep.train_and_test([(few, runs)], folder=folder)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_with_the_detectors_that_are_missing(few, tmp_path, monkeypatch):
    runs = [Run(name, "Deepfakes", seed) for name in ("defocus", "shuffled") for seed in (0, 1)]
    whole = sweep.train_and_test([(few, runs)])
    folder = tmp_path / ".sweep"
    process = multiprocessing.get_context("spawn").Process(
        target=train_two_and_die, args=(few, runs, folder)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and len(list(folder.glob("*.npy"))) == 2

    train, trained = sweep._train, []
    monkeypatch.setattr(sweep, "_train", lambda job: (trained.append(job), train(job))[1])
    again = sweep.train_and_test([(few, runs)], folder=folder)
    assert len(trained) == 2 and not folder.exists()
    pd.testing.assert_frame_equal(again, whole, check_exact=True)


def test_a_result_is_that_of_its_inputs_labels_plan_and_code(few, tmp_path, monkeypatch):
    numbers = iter(range(100))
    size = (few.records["split"] == "test").sum()
    monkeypatch.setattr(sweep, "_train", lambda job: np.full(size, float(next(numbers))))

    def trained(few, *runs):
        """The numbers of the trainings."""
        return sorted(set(sweep.train_and_test([(few, list(runs))], folder=tmp_path)["logit"]))

    # The results stay where they are, as those of a sweep that does not end.
    monkeypatch.setattr(kept, "shutil", SimpleNamespace(rmtree=lambda *a, **b: None))
    run = Run("defocus", "Deepfakes", 0)
    assert trained(few, run) == trained(few, run) == [0]
    assert trained(few, replace(run, seed=1), run) == [0, 1]
    assert trained(few, replace(run, input="shuffled")) == [2], "other labels"
    assert trained(replace(few, cache=Flat()), run) == [3], "other inputs"
    assert trained(replace(few, plan=replace(few.plan, epochs=3)), run) == [4]
    assert trained(replace(few, backbone="test_efficientnet"), run) == [5]
    monkeypatch.setattr(sweep, "_code", lambda: ["other"])
    assert trained(few, run) == [6]


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


def test_the_second_channel_of_a_map(few):
    rows = few.records.head(2)
    uncertain = INPUTS["defocus"].inputs(Batch(rows, few.reader, Flat()), "px+uncertainty")
    assert uncertain.shape == (2, 2, 40, 40) and (uncertain[:, 1] == 1 / 8).all()
    both = INPUTS["fusion"].inputs(Batch(rows, few.reader, few.cache), "px+edges")
    edges = INPUTS["edges"].inputs(Batch(rows, few.reader, few.cache))
    assert both.shape == (2, 5, 40, 40) and torch.equal(both[:, 4:], edges) and edges.any()
    with pytest.raises(ValueError, match="'physical' come without uncertainty"):
        replace(few, normalisation="min-max+uncertainty")


@pytest.mark.parametrize("name", ["px+edges", "px+validity"])
def test_an_image_of_another_illumination_has_its_own_second_channel(few, name):
    rows = few.records.query("label == 0").head(1)
    changed = rows.assign(manipulation=ILLUMINATION)
    batch = Batch(changed, few.reader, few.cache)
    computed = maps_as_cached(as_planes(batch.images[0])[None], "physical")
    found = INPUTS["defocus"].inputs(batch, name)
    second = computed.edges if name == "px+edges" else computed.valid
    assert torch.equal(found[0, 1], second[0, 0].float())
    assert torch.equal(found[0, 0], computed.dense[0, 0] / 8)


def test_runs_for_each_normalisation_that_the_preset_has(few):
    runs = [Run("defocus", "Deepfakes", 0)]
    made = sweep.normalisation_runs(few, "px, px+uncertainty,px+edges, px", runs)
    assert [each.normalisation for each, _ in made] == ["px", "px+edges"]
    made = sweep.normalisation_runs(replace(few, cache=Flat()), "px+uncertainty", runs)
    assert [(each.normalisation, of) for each, of in made] == [("px+uncertainty", runs)]
    with pytest.raises(ValueError, match="unknown normalisation 'inches'"):
        sweep.normalisation_runs(few, "inches", runs)


def test_a_linear_detector_in_a_sweep(few):
    """Literally: standardised cell means of the maps, and the logistic regression of sklearn."""
    linear = replace(few, backbone="linear", input_size=8)
    found = sweep.train_and_test([(linear, [Run("defocus", "Deepfakes", seed) for seed in (0, 1)])])
    first, second = (rows["logit"].to_numpy() for _, rows in found.groupby("seed"))
    np.testing.assert_array_equal(first, second)
    cells, labels = {}, {}
    for split in ("train", "val", "test"):
        rows = few.records_of(split, "Deepfakes")
        maps = INPUTS["defocus"].inputs(Batch(rows, few.reader, few.cache))
        cells[split] = (255 * F.adaptive_avg_pool2d(maps, 8)).round().flatten(1).numpy() / 255
        labels[split] = rows["label"].to_numpy()
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300)).fit(
            cells["train"], labels["train"]
        )
        for strength in (1e-4, 1e-3, 1e-2, 1e-1)
    ]
    scores = [model.decision_function(cells["test"]) for model in models]
    assert min(np.abs(first - values).max() for values in scores) < 1e-3


@pytest.mark.slow
def test_normalisations_side_by_side(few):
    """One sweep of two normalisations gives what each gives alone."""
    runs, px = [Run("defocus", "Deepfakes", 0)], replace(few, normalisation="px+edges")
    table = sweep.train_and_test([(few, runs), (px, runs)])
    assert table["normalisation"].unique().tolist() == ["min-max", "px+edges"]
    alone = sweep.train_and_test([(px, runs)])
    rows = table[table["normalisation"] == "px+edges"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, alone, check_exact=True)


def test_inputs_made_from_maps_leave_the_images_unread(few):
    class Closed:
        def stack(self, records):
            raise OSError("images were read")

    rows = few.records.query("label == 0").head(2)
    for name, kind in INPUTS.items():
        cache = few.cache
        if name in ("rgb", "fusion", "permuted blur"):
            with pytest.raises(OSError, match="images were read"):
                kind.inputs(Batch(rows, Closed(), cache))
        else:
            expected = kind.inputs(Batch(rows, few.reader, cache))
            found = kind.inputs(Batch(rows, Closed(), cache))
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
    changed = rows.assign(manipulation=ILLUMINATION)
    with pytest.raises(OSError, match="images were read"):
        INPUTS["defocus"].inputs(Batch(changed, Closed(), few.cache))


def test_images_of_another_illumination_get_maps_of_their_own(few):
    rows = few.records.query("label == 0").head(1)
    both = pd.concat([rows, rows.assign(manipulation=ILLUMINATION)])
    batch, digest = Batch(both, few.reader, few.cache), rows["digest"].iat[0]
    dense, _ = batch.maps
    changed = change_illumination(batch.images[0], generator(digest))
    assert np.array_equal(batch.images[1], changed)
    assert np.array_equal(dense[0], few.cache.load(digest).dense)
    alone = maps_as_cached(as_planes(changed)[None], "physical")
    assert np.array_equal(dense[1], alone.dense[0, 0].numpy())


def test_shuffled_labels_keep_their_number_and_lose_their_order(few):
    rows = few.records.query("split == 'train'")
    true, shuffled = sweep._labels(rows, False, 0), sweep._labels(rows, True, 0)
    assert true.dtype == np.float32 and true.tolist() == rows["label"].tolist()
    assert shuffled.sum() == true.sum()
    assert (shuffled != true).any()


def test_a_manipulation_without_training_images_is_named(few):
    with pytest.raises(ValueError, match="no training image of 'morphing'"):
        sweep.train_and_test([(few, [Run("rgb", "morphing", 0)])])


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
