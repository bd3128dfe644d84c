"""What is counted before a run, against what the notebooks' functions really compute."""

from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from defocus_lib.analysis import faithfulness, sanity_checks, workload
from defocus_lib.analysis.faithfulness import Explainer
from defocus_lib.data.expected import expected_records
from defocus_lib.data.manifest import load_manifest
from defocus_lib.detect.model import Detector
from defocus_lib.run import cluster
from defocus_lib.run.profile import in_force

ROOT = Path(__file__).resolve().parents[2]
PROFILES = sorted(path.stem for path in (ROOT / "notebooks" / "profiles").glob("*.yaml"))


@pytest.fixture
def without_page_13(monkeypatch):
    """Its functions take seconds; their passes are a test of their own."""
    monkeypatch.setattr(workload, "_trust_passes", lambda *_: Counter(gradient=1, prediction=1))


def images_of(parameters: dict) -> workload.Images:
    own = parameters["01_data"]
    if own.get("dataset", "scenes") == "scenes":
        return workload.chosen_images(own, None)
    entry = load_manifest().dataset(own["dataset"])
    return workload.chosen_images(own, expected_records(entry.model_copy(update={"published": 40})))


def passes(works: list, page: str, kind: str) -> int:
    return sum(w.images for w in works if w.notebook == page and w.operation.kind == kind)


@contextmanager
def counted_passes():
    """A tally of the images that go through any detector, with and without gradient."""
    tally = Counter()

    def count(module, inputs):
        if isinstance(module, Detector):
            tally["gradient" if inputs[0].requires_grad else "prediction"] += len(inputs[0])

    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        yield tally
    finally:
        handle.remove()


@pytest.mark.parametrize("profile", ["demo", "ffpp-smoke"])
def test_a_profile_is_counted_by_hand(profile, without_page_13):
    parameters = in_force(ROOT, profile)
    images = images_of(parameters)
    works = workload.of_run(parameters, images)
    assert all(work.images > 0 for work in works)
    splits = images.records["split"].value_counts()
    own = parameters["03_train_detector"]
    names = own["inputs"].split(", ")
    epochs = sum(own[f"{name}_epochs"] for name in names)
    assert passes(works, "03_train_detector", "training") == epochs * splits["train"]
    predicted = epochs * splits["val"] + len(names) * (splits["val"] + splits["test"])
    assert passes(works, "03_train_detector", "prediction") == predicted + splits["test"]
    assert passes(works, "02_defocus_map", "map") == len(images.records)


@pytest.mark.slow
def test_a_run_without_the_manipulation_that_it_asks_for_is_counted(without_page_13):
    parameters = in_force(ROOT, "ffpp-smoke")
    entry = load_manifest().dataset("faceforensics").model_copy(update={"published": 40})
    records = expected_records(entry)
    own = parameters["01_data"]
    whole = workload.chosen_images(own | {"manipulations": "FaceSwap"}, records, ["Deepfakes"])
    alone = records[records["manipulation"].isin(["real", "FaceSwap"])]
    absent = [name for name in own["manipulations"].split(", ") if name != "FaceSwap"]
    images = workload.chosen_images(own, alone.reset_index(drop=True), absent)
    assert images.learned == whole.learned == "FaceSwap"
    works = workload.of_run(parameters, images)
    for kind in ("map", "training", "gradient"):
        for page in workload.PAGES:
            expected = passes(workload.of_run(parameters, whole), page, kind)
            assert passes(works, page, kind) == expected


def test_the_demo_trains_as_often_as_it_was_measured_to(without_page_13):
    """272,000, as counted in a real run of 34 detectors on 800 images for ten epochs, less two of
    photographs with an illumination change, and three seeds of another normalisation."""
    parameters = in_force(ROOT, "demo")
    own = {
        "groups": 400, "seeds": 3, "backbone": "test_resnet", "input_size": 64, "epochs": 10,
        "batch_size": 64, "precision": "32-true", "n_workers": 2, "seed": 0,
        "networks": "px, px+uncertainty",
    }  # fmt: skip
    scenes = {"train_scenes": 800, "val_scenes": 100, "test_scenes": 150, "sweep_scenes": 400}
    parameters["01_data"] |= scenes
    parameters["11_controls"] |= own
    works = workload.of_run(parameters, images_of(parameters))
    assert passes(works, "11_controls", "training") == (34 - 2 + 3) * 8_000


@pytest.mark.slow
def test_passes_of_the_page_on_trust_are_those_of_its_functions():
    own = {
        "images": 2, "counts": "2, 5", "reference": 7, "repetitions": 2,
        "randomised_samples": 3, "randomised_parts": 4, "removal_images": 3,
        "removal_steps": 4, "removal_backgrounds": 2,
    }  # fmt: skip
    saved = {"background": 3, "n_samples": 4, "method": "stratified"}
    rng = np.random.default_rng(1)
    inputs, base = (torch.from_numpy(rng.random((n, 1, 32, 32), np.float32)) for n in (3, 3))
    every = Explainer(Detector("test_resnet", "defocus"), inputs, base)
    few = every.take(slice(2))
    with counted_passes() as tally, cluster.one_thread():
        faithfulness.error_table(few, (2, 5), 7, repetitions=2)
        faithfulness.repeat_table(few, 4, "stratified")
        sanity_checks.randomisation(few, 3, 4)
        fewer = Explainer(every.detector, every.inputs, base[:2])
        sanity_checks.removal_table(fewer, inputs.mean(1).numpy(), 4, 8)
    assert workload._trust_passes(own, saved) == tally
    assert tally["gradient"] >= 2 * (7 + 2 * 3 * (2 + 5) + 2 * 4 + 3 * 5)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_whose_images_are_stated_is_counted(profile, without_page_13):
    parameters = in_force(ROOT, profile)
    if parameters["01_data"].get("dataset") == "folders":
        pytest.skip("nothing is stated of a folder of pictures")
    if parameters["01_data"].get("dataset") == "coco_diffusiondb":
        table = pd.concat(
            expected_records(
                part.model_copy(update={"options": part.options.model_copy(update={"limit": 50})})
            )
            for part in load_manifest().dataset("coco_diffusiondb").parts
        )
        images = workload.chosen_images(parameters["01_data"], table)
    else:
        images = images_of(parameters)
    pages = {work.notebook for work in workload.of_run(parameters, images)}
    assert pages == set(workload.PAGES)
