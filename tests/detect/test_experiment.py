import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from PIL import Image
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from defocus_lib.commands import app
from defocus_lib.data.images import Reader
from defocus_lib.data.index import load_index
from defocus_lib.data.manifest import load_manifest
from defocus_lib.detect import experiment
from defocus_lib.detect.experiment import Setup, run, write
from defocus_lib.detect.inputs import KINDS
from defocus_lib.detect.model import Detector, load_detector
from defocus_lib.detect.plan import Request
from defocus_lib.detect.training import HISTORY, Plan, predict
from defocus_lib.figures import detection
from defocus_lib.maps.cache import MapCache
from defocus_lib.maps.estimate import defocus_maps, normalize_per_sample
from defocus_lib.run.profiling import Stages
from defocus_lib.stats import classification
from tests import trees

SIZE = 40
QUICK = Plan(epochs=2, batch_size=8, learning_rate=3e-3, accelerator="cpu")
SPLIT = {"train": 6, "val": 3, "test": 4}


def picture(rng, fake):
    """Bars on a bright ground, blurred where it is fake."""
    bars = np.repeat(rng.integers(0, 2, SIZE // 4), 4) * 60.0 + 180
    pixels = np.repeat(bars[None], SIZE, axis=0)
    if fake:
        pixels = np.stack([np.convolve(row, np.ones(7) / 7, mode="same") for row in pixels])
    return np.repeat(
        (pixels + rng.normal(0, 1, pixels.shape)).clip(0, 255).astype(np.uint8)[..., None],
        3,
        axis=2,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def records(root):
    """Two frames per video: 13 real videos and their fakes, as the table of records has them."""
    rows, rng = [], np.random.default_rng(0)
    splits = [split for split, number in SPLIT.items() for _ in range(number)]
    for video, split in enumerate(splits):
        for label, name in enumerate(("real", "Deepfakes")):
            for frame in ("0000", "0001"):
                folder = f"{video:03d}" + "_900" * label
                path = root / name / folder / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture(rng, label)).save(path)
                row = {
                    "id": f"{folder}/{frame}/{name}",
                    "path": path.relative_to(root).as_posix(),
                    "label": label,
                }
                row |= {
                    "manipulation": name,
                    "video": folder,
                    "frame": frame,
                    "group": f"{video:03d}",
                    "split": split,
                }
                row |= {"pair": f"{video:03d}/{frame}/real", "source": "900" * label}
                row |= {
                    "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "width": SIZE,
                    "height": SIZE,
                }
                rows.append(row)
    # In an order that is not that of the splits.
    return pd.DataFrame(rows).sample(frac=1, random_state=0).reset_index(drop=True)


@pytest.fixture(scope="module")
def reader(root):
    return Reader(root, SIZE)


@pytest.fixture(scope="module")
def cache(tmp_path_factory, records, reader):
    cache = MapCache(tmp_path_factory.mktemp("maps"), "released", "", SIZE, "stretch")
    cache.fill(records, reader, n_workers=1)
    return cache


def go(records, reader, cache, reads="defocus", plan=QUICK, weights=None, **more):
    fields = {name: more.pop(name) for name in ("backbone", "input_size") if name in more}
    setup = {"backbone": "test_resnet", "input_size": 0, "weights": weights} | fields
    return run(Setup(records, reads, reader, cache, plan, **setup), progress=False, **more)


@pytest.fixture(scope="module")
def trained(records, reader, cache):
    stages = Stages()
    return go(records, reader, cache, stages=stages), stages


def inputs_by_hand(records, root, reads):
    images = np.stack([np.asarray(Image.open(root / path)) for path in records["path"]])
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    dense = defocus_maps(images, "released").dense.half().float()  # as a cache keeps them
    maps = normalize_per_sample(dense)
    return {"defocus": maps, "rgb": images, "fusion": torch.cat([images, maps], dim=1)}[reads]


@pytest.mark.slow
def test_what_is_predicted_for_whom(trained, records, root):
    outcome, _ = trained
    columns = [
        "id",
        "video",
        "frame",
        "group",
        "manipulation",
        "label",
        "split",
        "logit",
        "probability",
    ]
    assert outcome.predictions.columns.tolist() == columns
    expected = pd.concat(
        [records[records["split"] == split] for split in ("val", "test")]
    ).reset_index(drop=True)
    pd.testing.assert_frame_equal(outcome.predictions[columns[:-2]], expected[columns[:-2]])
    logits, features = predict(outcome.detector, inputs_by_hand(expected, root, "defocus"))
    assert outcome.predictions["logit"].to_numpy() == pytest.approx(logits.numpy(), abs=1e-5)
    assert outcome.predictions["probability"].to_numpy() == pytest.approx(
        expit(logits.numpy()), abs=1e-6
    )
    test = (expected["split"] == "test").to_numpy()
    np.testing.assert_allclose(outcome.features, features.numpy()[test], atol=1e-5)
    assert outcome.test["id"].tolist() == expected["id"][test].tolist()


@pytest.mark.slow
def test_the_untrained_backbone_is_where_training_starts(trained, records, root):
    outcome, test = trained[0], trained[0].test
    kept = records.set_index("id").loc[test["id"]].reset_index()
    found = experiment.untrained_features(outcome, progress=False)
    first = Detector("test_resnet", "defocus", 0, QUICK.seed)
    _, features = predict(first, inputs_by_hand(kept, root, "defocus"))
    assert found.shape == outcome.features.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, features.numpy(), atol=1e-5)
    assert not np.allclose(found, outcome.features, atol=1e-3)


@pytest.mark.slow
def test_the_training_manipulation_is_that_of_this_run_or_of_the_weights(trained):
    outcome = trained[0]
    assert outcome.training_manipulation("Deepfakes") == "Deepfakes"
    read = replace(outcome, history=None, about={"weights": {"training_manipulation": "FaceSwap"}})
    assert read.training_manipulation("Deepfakes") == "FaceSwap"
    assert replace(outcome, history=None, about={}).training_manipulation("Deepfakes") == ""


@pytest.mark.slow
def test_the_threshold_is_chosen_on_validation(trained):
    outcome, _ = trained
    val = outcome.predictions.query("split == 'val'")
    assert outcome.threshold == classification.choose_threshold(val["label"], val["probability"])
    changed = outcome.predictions.assign(probability=0.5)
    assert outcome.threshold != classification.choose_threshold(
        changed["label"], changed["probability"]
    )


@pytest.mark.slow
def test_what_is_known_about_it(trained, records):
    outcome, stages = trained
    about, val = outcome.about, outcome.predictions.query("split == 'val'")
    assert (about["preset"], about["propagation"], about["size"], about["fit"]) == (
        "released",
        "guided",
        40,
        "stretch",
    )
    assert about["normalisation"] == "min-max" and "weights" not in about
    assert about["scaling"] == KINDS["defocus"].scaling()
    assert about["plan"]["learning_rate"] == 3e-3
    assert about["epoch"] == outcome.history["val_accuracy"].idxmax()
    # Of the weights that were kept: training measured the same.
    best = outcome.history.loc[about["epoch"]]
    found = {f"val_{name}": value for name, value in about["validation"].items()}
    assert found == pytest.approx(best[list(found)].to_dict(), abs=1e-5)
    assert json.loads(json.dumps(about)) == about
    assert outcome.history.columns.tolist() == HISTORY and len(outcome.history) == 2
    assert not outcome.detector.training and len(val) == 12
    table = stages.table().set_index("stage")
    assert table["images"].to_dict() == {"training": 2 * 24, "prediction": 12 + 16}


@pytest.mark.slow
def test_the_callers_generators_are_left_alone(records, reader, cache, generators_left_alone):
    with generators_left_alone():
        go(records, reader, cache, plan=replace(QUICK, epochs=1))


@pytest.mark.slow
@pytest.mark.parametrize("reads", ["rgb", "fusion"])
def test_other_inputs(records, reader, cache, root, reads):
    outcome = go(
        records,
        reader,
        None if reads == "rgb" else cache,
        reads,
        replace(QUICK, epochs=1),
        input_size=32,
    )
    logits, _ = predict(
        outcome.detector,
        inputs_by_hand(outcome.predictions.merge(records[["id", "path"]]), root, reads),
    )
    assert outcome.predictions["logit"].to_numpy() == pytest.approx(logits.numpy(), abs=1e-4)
    assert outcome.detector.input_size == 32
    assert outcome.about["preset"] == ("" if reads == "rgb" else "released")


# Files


@pytest.fixture
def written(trained, tmp_path):
    outcome, stages = trained
    measured = classification.evaluate(outcome.test, outcome.threshold, n_bootstrap=20)
    write(tmp_path, outcome, measured, stages, {"data": "faceforensics", "commit": "abc"})
    return tmp_path, measured


@pytest.mark.slow
def test_what_is_written(trained, written):
    outcome, (folder, measured) = trained[0], written
    names = {path.name for path in folder.iterdir()}
    assert names == {"detector.safetensors", "metrics.csv", "predictions.csv", "stages.csv"}
    pd.testing.assert_frame_equal(pd.read_csv(folder / "metrics.csv"), measured)
    table = pd.read_csv(
        folder / "predictions.csv", dtype={"video": str, "frame": str, "group": str}
    )
    pd.testing.assert_frame_equal(table, outcome.test)
    assert pd.read_csv(folder / "stages.csv")["stage"].tolist() == ["training", "prediction"]
    _, header = load_detector(
        folder / "detector.safetensors", data="faceforensics", commit="abc", preset="released"
    )
    assert (
        header["validation"] == outcome.about["validation"]
        and header["threshold"] == outcome.threshold
    )


@pytest.mark.slow
def test_written_weights_evaluate_to_the_same(trained, written, records, reader, cache):
    path, plan = written[0] / "detector.safetensors", replace(QUICK, epochs=0)
    again = go(
        records.query("split != 'train'"),
        reader,
        cache,
        plan=plan,
        backbone="",
        input_size=None,
        weights=path,
    )
    pd.testing.assert_frame_equal(again.predictions, trained[0].predictions)
    assert again.history is None and again.threshold == trained[0].threshold
    origin = {"file": "detector.safetensors", "kind": "a detector of this project", "commit": "abc"}
    origin |= {
        name: trained[0].about[name]
        for name in ("preset", "normalisation", "scaling", "epoch", "plan")
    }
    about = load_detector(written[0] / "detector.safetensors")[1]
    of_training = ("data", "training_manipulation", "test", "training_images", "background")
    origin |= {"pretrained": ""}
    origin |= {name: about[name] for name in of_training if name in about}
    assert origin.keys() >= {"test", "training_images", "background"}
    assert again.about["weights"] == origin and "plan" not in again.about
    assert again.about["validation"] == trained[0].about["validation"]


@pytest.mark.slow
def test_training_may_start_from_weights(trained, written, records, reader, cache):
    plan = replace(QUICK, epochs=1, learning_rate=1e-12)
    path = written[0] / "detector.safetensors"
    outcome = go(records, reader, cache, plan=plan, backbone="", input_size=None, weights=path)
    before, after = (
        model.classifier.get_classifier().weight.detach()
        for model in (trained[0].detector, outcome.detector)
    )
    torch.testing.assert_close(before, after)


@pytest.mark.slow
def test_weights_for_other_maps_are_refused(written, records, reader, cache, tmp_path):
    path, plan = written[0] / "detector.safetensors", replace(QUICK, epochs=0)
    with pytest.raises(ValueError, match="weights are for preset 'released'; 'physical' wanted"):
        go(records, reader, replace(cache, preset="physical"), plan=plan, weights=path)
    with pytest.raises(
        ValueError, match="weights are for maps of propagation 'guided'; 'gaussian' given"
    ):
        go(records, reader, replace(cache, propagation="gaussian"), plan=plan, weights=path)
    # The same maps by another name.
    go(records, reader, replace(cache, propagation="guided"), plan=plan, weights=path)


@pytest.mark.slow
def test_nothing_to_train_and_nothing_to_evaluate_is_refused(records, reader, cache):
    with pytest.raises(ValueError, match="epochs is 0 and no weights are named"):
        go(records, reader, cache, plan=replace(QUICK, epochs=0))


@pytest.mark.slow
def test_defocus_without_maps_is_refused(records, reader):
    with pytest.raises(ValueError, match="a detector that reads defocus needs a cache of maps"):
        go(records, reader, None)


LACKING = {
    "no fake in test": (
        "not (split == 'test' and label == 1)",
        "test has no fake image: real and fake images wanted in",
    ),
    "no val": ("split != 'val'", "val has no real image; val has no fake image: "),
    "no real in train": ("not (split == 'train' and label == 0)", "train has no real image"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("kept", "message"), LACKING.values(), ids=LACKING)
def test_a_split_without_real_or_fake_images_is_refused(records, reader, cache, kept, message):
    with pytest.raises(ValueError, match=message):
        go(records.query(kept), reader, cache)


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_data_only(records, reader, cache, tmp_path, capsys):
    plan = replace(QUICK, epochs=1)
    first = go(records, reader, cache, plan=plan, folder=tmp_path)
    again = go(records, reader, cache, plan=plan, folder=tmp_path)
    pd.testing.assert_frame_equal(again.predictions, first.predictions)
    swapped = records.assign(
        label=records["label"].where(records["split"] == "test", 1 - records["label"])
    )
    other = go(swapped, reader, cache, plan=plan, folder=tmp_path)
    assert first.history.attrs["earlier"] == other.history.attrs["earlier"] == 0
    assert again.history.attrs["earlier"] == 1
    assert "last.ckpt was made with other data: training begins" in capsys.readouterr().err


@pytest.mark.slow
def test_weights_that_became_nan_name_an_image(records, reader, cache):
    with pytest.raises(
        ValueError, match=r".*/(real|Deepfakes): the detector's logit is no finite number"
    ):
        go(records, reader, cache, plan=replace(QUICK, epochs=1, learning_rate=1e30))


# Previews


@pytest.mark.slow
def test_previews_show_the_same_two_real_and_two_fake_images_after_each_epoch(
    records, reader, cache, tmp_path
):
    shown = []

    def watched(*arguments):
        shown.append(arguments)
        return detection.preview(*arguments)

    val = records[records["split"] == "val"]
    outcome = go(records, reader, cache, folder=tmp_path, draw=watched)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert names == ["previews/defocus-epoch-000.png", "previews/defocus-epoch-001.png"]
    assert all(Image.open(tmp_path / name).size > (300, 200) for name in names)
    (images, maps, labels, first), (same, _, _, second) = shown
    assert (
        labels.tolist() == [0, 0, 1, 1]
        and (images == same).all()
        and not np.allclose(first, second)
    )
    chosen = val.set_index("id").loc[
        ["006/0000/real", "007/0000/real", "006_900/0000/Deepfakes", "007_900/0000/Deepfakes"]
    ]
    np.testing.assert_array_equal(images, reader.stack(chosen))
    np.testing.assert_array_equal(maps, inputs_by_hand(chosen, reader.root, "defocus")[:, 0])
    if outcome.about["epoch"] == 1:
        expected = outcome.predictions.set_index("id").loc[chosen.index, "probability"]
        np.testing.assert_allclose(second, expected, atol=1e-5)


@pytest.mark.slow
def test_a_run_with_a_folder_draws_previews_and_deletes_those_of_another(
    records, reader, cache, tmp_path
):
    (tmp_path / "previews").mkdir()
    for name in ("defocus-epoch-007.png", "rgb-epoch-000.png"):
        (tmp_path / "previews" / name).write_bytes(b"old")
    go(
        records,
        reader,
        cache,
        plan=replace(QUICK, epochs=1),
        folder=tmp_path,
        draw=detection.preview,
    )
    names = {"defocus-epoch-000.png", "rgb-epoch-000.png"}
    assert {path.name for path in (tmp_path / "previews").iterdir()} == names
    go(
        records,
        reader,
        cache,
        plan=replace(QUICK, epochs=2),
        folder=tmp_path,
        draw=detection.preview,
    )
    assert {path.name for path in (tmp_path / "previews").iterdir()} == names | {
        "defocus-epoch-001.png"
    }


@pytest.mark.slow
def test_previews_of_a_detector_on_photographs_compute_their_few_maps(records, reader, tmp_path):
    cache = MapCache(tmp_path / "maps", "released", "", SIZE, "stretch")
    plan = replace(QUICK, epochs=1)
    go(records, reader, cache, "rgb", plan, folder=tmp_path, draw=detection.preview)
    assert len([path for path in (tmp_path / "maps").rglob("*") if path.is_file()]) == 4
    assert (tmp_path / "previews" / "rgb-epoch-000.png").is_file()


# The command line


def make_project(folder):
    """A folder with a manifest, whose data set is a small FaceForensics++ tree."""
    trees.faceforensics(
        folder / "faces", videos=10, frames=2, size=48, manipulations=("Deepfakes", "FaceSwap")
    )
    entry = {
        "name": "clips",
        "title": "Clips",
        "access": "none",
        "licence": "none",
        "layout": "faceforensics",
    }
    entry |= {
        "root": "faces",
        "options": {"compression": "c23", "manipulations": ["Deepfakes", "FaceSwap"]},
    }
    content = yaml.safe_load(
        (Path(__file__).parents[2] / "data_manifest.yaml").read_text(encoding="utf-8")
    )
    content["datasets"] = [*content["datasets"][:1], entry]
    (folder / "data_manifest.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def command(project, monkeypatch):
    """Run ``python -m defocus_lib train`` in the project, without the start of another Python."""
    monkeypatch.chdir(project)
    common = [
        "train",
        "--dataset",
        "clips",
        "--fake-type",
        "Deepfakes",
        "--size",
        "48",
        "--n-bootstrap",
        "20",
    ]

    def call(*more):
        options = ["--batch-size", "8", "--accelerator", "cpu", "--authors", "--pretrained", ""]
        return CliRunner().invoke(app, [*common, *options, *map(str, more)])

    return call


TRAIN = ("--backbone", "test_resnet", "--epochs", 2)
TABLES = {
    "metrics.csv",
    "predictions.csv",
    "stages.csv",
    "history.csv",
    "logs/version_0/metrics.csv",
}
WRITTEN = {"detector.safetensors", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} | TABLES


PLANS = {
    "book": (
        [],
        Request("clips", preset="physical", normalisation="px"),
        Plan(10, 64, 5e-4, "one_cycle", "auto", monitor="val_auc", horizontal_flip=True),
    ),
    "authors": (["--authors"], Request("clips", pretrained="timm"), Plan()),
    "mixed": (
        ["--authors", "--schedule", "one_cycle", "--horizontal-flip", "--preset", "learned"],
        Request("clips", preset="learned", pretrained="timm"),
        Plan(schedule="one_cycle", horizontal_flip=True),
    ),
    # Neither has a map whose unit could be kept; weights say what they read.
    "photograph": (
        ["--input", "rgb", "--monitor", "val_accuracy", "--no-horizontal-flip"],
        Request("clips", reads="rgb", preset="physical"),
        Plan(10, 64, 5e-4, "one_cycle", "auto"),
    ),
    "weights": (
        ["--weights", "some.pth", "--monitor", "val_accuracy", "--no-horizontal-flip"],
        Request("clips", preset="physical", weights=Path("some.pth")),
        Plan(10, 64, 5e-4, "one_cycle", "auto"),
    ),
    "previews": (
        ["--previews", "--no-horizontal-flip", "--monitor", "val_accuracy"],
        Request("clips", preset="physical", normalisation="px", previews=True),
        Plan(10, 64, 5e-4, "one_cycle", "auto"),
    ),
}


@pytest.mark.parametrize(("words", "request_", "plan"), PLANS.values(), ids=PLANS)
def test_the_command_line_has_the_settings_of_the_book_or_of_the_authors(
    monkeypatch, words, request_, plan
):
    given = []

    def perform(*arguments):
        given.extend(arguments)
        raise ValueError("seen")

    monkeypatch.setattr(experiment, "perform", perform)
    done = CliRunner().invoke(app, ["train", "--dataset", "clips", *words])
    assert "error: seen" in done.stderr, done.output
    assert given[:2] == [request_, replace(plan, n_workers=given[1].n_workers)]
    assert given[2] == (detection.preview if request_.previews else None)


@pytest.mark.slow
def test_train_writes_what_it_promises(command, project):
    done = command(*TRAIN)
    assert done.exit_code == 0, done.output
    folder = project / "artifacts" / "train" / "clips-Deepfakes-defocus-released-48px-test_resnet"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == WRITTEN
    _, header = load_detector(
        folder / "detector.safetensors",
        data="clips",
        training_manipulation="Deepfakes",
        preset="released",
    )
    assert (header["backbone"], header["reads"], header["input_size"]) == (
        "test_resnet",
        "defocus",
        0,
    )
    assert header.keys() >= {"commit", "propagation", "validation", "threshold", "map_version"}
    assert header["rendered"] is False and header["training_images"]["images"] == 28
    assert header["training_images"]["formats"] == {"PNG": 1.0}
    predictions = pd.read_csv(folder / "predictions.csv", dtype={"video": str})
    # 10 videos, split 7:1:2 in order; 2 frames each.
    assert (
        sorted(predictions["video"].unique()) == ["008", "008_009", "009", "009_008"]
        and len(predictions) == 8
    )
    measured = pd.read_csv(folder / "metrics.csv").set_index(["level", "metric"])
    auc = roc_auc_score(predictions["label"], predictions["probability"])
    assert measured.loc[("frame", "auc"), "value"] == pytest.approx(auc)
    assert header["test"]["Deepfakes"]["auc"] == pytest.approx(auc)
    stages = pd.read_csv(folder / "stages.csv").set_index("stage")
    assert stages["images"].to_dict() == {
        "index": 60,
        "maps": 40,
        "training": 56,
        "prediction": 12,
        "metrics": 8,
    }
    assert (
        re.search(rf"^AUC +{auc:.3f} \[", done.stdout, re.MULTILINE | re.IGNORECASE)
        and str(folder) in done.stdout
    )
    assert "chosen on validation" in done.stdout and "Epoch" not in done.stdout
    before, *epochs = [line for line in done.stderr.splitlines() if line.strip()]
    assert re.fullmatch(r"About .* on this machine.*\.", before)
    assert [line.split(":")[0] for line in epochs] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert "\r" not in done.stderr and not (folder / "previews").exists()


@pytest.mark.slow
def test_a_control_is_trained_and_its_weights_say_so(command, project, tmp_path):
    done = command(*TRAIN, "--input", "edges", "--output", tmp_path / "edges")
    assert done.exit_code == 0 and "edges detector on Deepfakes" in done.stdout, done.output
    weights = tmp_path / "edges" / "detector.safetensors"
    _, header = load_detector(weights, reads="edges", preset="released")
    assert "edges only min-max normalised" in header["scaling"]
    again = ("--epochs", 0, "--weights", weights, "--output", tmp_path / "again")
    done = command("--input", "edges", *again)
    assert done.exit_code == 0, done.output
    tables = [pd.read_csv(tmp_path / name / "predictions.csv") for name in ("edges", "again")]
    assert np.allclose(*(table["probability"] for table in tables), atol=1e-6)
    done = command("--input", "defocus", *again)
    assert done.exit_code == 2 and "weights are for reads 'edges'; 'defocus' wanted" in done.stderr


def report_of(videos):
    """A report on twelve test images in so many videos of each class."""
    rows = [(f"{n}", f"{n % videos}/{k}", k) for k in (0, 1) for n in range(6)]
    test = pd.DataFrame(rows, columns=["frame", "video", "label"])
    test["manipulation"] = np.where(test["label"] == 0, "real", "swap")
    test["id"] = test["video"] + test["frame"] + test["manipulation"]
    probability = np.random.default_rng(0).random(12)
    test = test.assign(group=test["video"], split="test", probability=probability, logit=0.0)
    measured = classification.evaluate(test, 0.5, 20)
    setup = Setup(test, "rgb", None, None, QUICK, "test_resnet")
    outcome = experiment.Outcome(setup, None, None, test, np.zeros((12, 2)), 0.5, {})
    return experiment.Report(Path(), outcome, measured, pd.DataFrame(), 0)


def test_videos_have_a_column_where_there_are_any_and_numbers_three_decimals():
    with_videos, without = report_of(2).text(), report_of(6).text()
    heads = [re.search(r"intervals:\n\n(.*)\n", text)[1].split() for text in (with_videos, without)]
    assert heads == [["frame", "video"], []]
    measured = report_of(6).measured.query("level == 'frame' and metric == 'auc'")
    assert f"AUC {measured['value'].item():.3f} [" in re.sub(" +", " ", without)


def test_shuffled_labels_are_those_to_learn_from_alone(records, reader, cache):
    setup = Setup(records, "shuffled", reader, cache, QUICK, "test_resnet")
    labels = {split: setup.inputs(split)._labels for split in ("train", "val", "test")}
    for split, given in labels.items():
        true = setup.rows(split)["label"].to_numpy()
        assert sorted(given) == sorted(true) and (given == true).all() == (split == "test")
    again = replace(setup, plan=replace(QUICK, seed=1)).inputs("train")._labels
    assert (again != labels["train"]).any()


def test_copies_in_two_splits_stop_the_training(tmp_path, monkeypatch):
    project = make_project(tmp_path)
    faces = project / "faces/original_sequences/youtube/c23/v1faces"
    shutil.copy(faces / "000/0000.png", faces / "009/0001.png")
    monkeypatch.chdir(project)
    words = ["train", "--dataset", "clips", "--size", "48", "--epochs", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and "000/0000.png (train) and " in done.stderr, done.output
    assert "009/0001.png (test) are the same file" in done.stderr
    assert "`on_duplicates: skip` in the manifest leaves them out" in done.stderr


@pytest.mark.slow
def test_files_that_give_the_label_away_are_told_and_written_down(tmp_path, monkeypatch):
    project = make_project(tmp_path)
    for path in (project / "faces/original_sequences").rglob("*.png"):
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    monkeypatch.chdir(project)
    words = ["train", "--dataset", "clips", "--size", "48", "--input", "rgb", "--output", "here"]
    words += ["--epochs", "1", "--backbone", "test_resnet", "--n-bootstrap", "20"]
    done = CliRunner().invoke(app, [*words, "--accelerator", "cpu"])
    assert done.exit_code == 0, done.output
    assert "CAUTION: the files give the label away." in done.stdout
    _, header = load_detector(project / "here" / "detector.safetensors")
    assert header["file_facts_auc"] == 1.0 and header["equalise"] == {}


@pytest.mark.slow
def test_maps_that_a_loader_computed_give_the_same_weights(command, project, tmp_path):
    """All but the first, which compiles the kernels, are computed as images are loaded."""
    written = []
    for n_workers, preset in ((1, "physical"), (0, "physical")):
        output = tmp_path / f"{preset}-{n_workers}"
        maps = project / "artifacts" / ".maps" / preset
        assert not maps.exists() or n_workers == 0
        done = command(*TRAIN, "--preset", preset, "--n-workers", n_workers, "--output", output)
        assert done.exit_code == 0, done.output
        written.append((output / "predictions.csv").read_bytes())
        stages = pd.read_csv(output / "stages.csv", index_col="stage")
        assert stages.loc["maps", "images"] == (1 if n_workers else 40)
    assert written[0] == written[1]


@pytest.mark.slow
def test_released_weights_are_evaluated_and_say_what_they_expect(command, project, tmp_path):
    model = timm.create_model("test_resnet", num_classes=1)
    state = {f"module.classifier.{name}": value for name, value in model.state_dict().items()}
    torch.save(
        {"epoch": 7, "model_state_dict": state, "best_val_acc": 0.75}, tmp_path / "released.pth"
    )
    done = command(
        "--epochs", 0, "--backbone", "test_resnet", "--weights", tmp_path / "released.pth"
    )
    assert done.exit_code == 0, done.output
    assert (
        "a released checkpoint (epoch 7, best_val_acc 0.75, preset released). They expect maps"
        in done.stdout
    )
    folder = project / "artifacts" / "evaluate" / "clips-Deepfakes-defocus-released-48px-released"
    names = {"detector.safetensors", "metrics.csv", "predictions.csv", "stages.csv"}
    _, header = load_detector(folder / "detector.safetensors")
    assert (
        "training_manipulation" not in header
        and header["evaluated on"]["training_manipulation"] == "Deepfakes"
    )  # the file does not say
    assert {path.name for path in folder.iterdir()} == names
    again = command(
        "--epochs", 0, "--weights", folder / "detector.safetensors", "--output", tmp_path / "again"
    )
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (
        folder / "predictions.csv"
    ).read_bytes()


@pytest.mark.slow
def test_fewer_videos_may_be_asked_for(command, tmp_path):
    done = command("--backbone", "test_resnet", "--epochs", 1, "--groups", 1, "--output", tmp_path)
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(tmp_path / "predictions.csv")) == 4


FAULTS = {
    "data set": (
        ["--dataset", "none"],
        "no data set 'none' in the manifest; it lists scenes, clips",
    ),
    "fake type": (
        ["--fake-type", "None"],
        "no image of manipulation 'None'; there are: Deepfakes, FaceSwap",
    ),
    "backbone": (["--backbone", "nonet"], "unknown backbone 'nonet'"),
    "missing weights": (["--epochs", "0", "--weights", "none.pth"], "no weights at none.pth"),
    "no weights": (["--epochs", "0"], "epochs is 0 and no weights are named"),
    "wrong weights": (
        ["--epochs", "0", "--weights", "data_manifest.yaml"],
        "data_manifest.yaml: not readable as weights",
    ),
    "epochs": (["--epochs", "-1"], "epochs is -1"),
    "precision": (["--backbone", "test_resnet", "--precision", "none"], "'none'"),
    "manifest": (["--manifest", "none.yaml"], "no manifest at none.yaml"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "message"), FAULTS.values(), ids=FAULTS)
def test_faults_are_one_line_on_standard_error(command, arguments, message):
    done = command(*arguments)
    assert done.exit_code == 2 and done.stdout == ""
    told = [line for line in re.split(r"[\r\n]", done.stderr) if line.startswith("error: ")]
    assert len(told) == 1 and message in told[0] and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("indexed", [False, True], ids=["before the index", "after the index"])
def test_an_unreadable_image_stops_the_run_with_its_path(command, tmp_path, monkeypatch, indexed):
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    if indexed:
        entry = load_manifest(tmp_path / "data_manifest.yaml").dataset("clips")
        load_index(entry)
    trees.truncate(
        tmp_path
        / "faces"
        / "manipulated_sequences"
        / "Deepfakes"
        / "c23"
        / "v1faces"
        / "000_001"
        / "0001.png"
    )
    done = command("--input", "rgb", *TRAIN)
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.exit_code == 2 and len(told) == 1 and "000_001/0001.png" in told[0]
    assert ("changed since it was indexed" in told[0]) == indexed and "Traceback" not in done.stderr


def test_the_detectors_of_a_book():
    assert experiment.parse_inputs("rgb,defocus") == ["rgb", "defocus"]
    assert experiment.parse_inputs("defocus, rgb, fusion") == ["defocus", "rgb", "fusion"]
    for text in ("defocus", "defocus, rgb, depth", "", "rgb, rgb"):
        with pytest.raises(ValueError, match="'defocus, rgb' or 'defocus, rgb, fusion' wanted"):
            experiment.parse_inputs(text)


def test_predictions_side_by_side():
    row = dict.fromkeys(experiment.IDENTITY, "a") | {"label": 1}
    tables = {
        reads: pd.DataFrame([row | {"logit": n, "probability": n / 2}])
        for reads, n in (("rgb", 1), ("x", 0))
    }
    (found,) = experiment.side_by_side(tables).to_dict("records")
    assert found == row | {
        "rgb_logit": 1,
        "rgb_probability": 0.5,
        "x_logit": 0,
        "x_probability": 0.0,
    }
