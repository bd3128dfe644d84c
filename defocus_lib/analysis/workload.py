"""What a run of the book computes, counted before anything is: image passes, maps, files.

Each page is counted by the functions that its notebook calls, on the records of the run or on those
that are expected. What one of these passes takes is measured in :mod:`defocus_lib.analysis.rates`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from defocus_lib import precision
from defocus_lib.analysis import detector_by_map, faithfulness, sanity_checks
from defocus_lib.analysis.faithfulness import Explainer
from defocus_lib.data import collection
from defocus_lib.data.records import choose, sample
from defocus_lib.data.splits import SPLITS
from defocus_lib.detect import experiment, sweep
from defocus_lib.detect.control_inputs import ILLUMINATION, INPUTS
from defocus_lib.detect.inputs import KEPT, KINDS
from defocus_lib.detect.plan import Plan
from defocus_lib.maps.presets import PRESETS
from defocus_lib.run import cluster
from defocus_lib.run.artifacts import Folder
from defocus_lib.scenes import rendered
from defocus_lib.scenes.corruptions import CORRUPTIONS

Parameters = Mapping[str, Mapping[str, Any]]
"""All parameters in force, by notebook."""
STORED = ("physical", "learned")  # the maps that pages 06b and 14 keep in the cache
EXPLAINED = ("defocus", "rgb")  # the detectors whose Shapley values notebook 04 saves


@dataclass(frozen=True)
class Operation:
    """One thing that is done per image; what decides how long it takes.

    ``kind`` is a key of :data:`defocus_lib.analysis.rates.MEASURED`: a pass ("training",
    "prediction", "gradient"), "map", or what is read and written ("input", "index", "scene",
    "shapley file", "weights"). ``size`` is the side of the images in px, ``input_size`` the one
    that a detector averages them to (0: none). ``alone`` is true where each process has one thread.
    """

    kind: str
    size: int
    backbone: str = ""
    reads: str = ""
    input_size: int = 0
    batch_size: int = 1
    precision: str = ""
    preset: str = ""
    propagation: str = ""
    storage: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Work:
    """``images`` equal operations of a notebook.

    Those that have one thread each are done by so many ``processes`` at a time, all others by all
    cores together. Not ``kept`` is what stays in memory.
    """

    notebook: str
    stage: str
    operation: Operation
    images: int
    processes: int = 1
    kept: bool = True


@dataclass(frozen=True)
class Images:
    """The images of a run: those of most pages, those of the sweeps, and their side in px."""

    records: pd.DataFrame
    sweep_records: pd.DataFrame
    size: int
    rendered: bool = False
    indexed: int = 0

    @property
    def learned(self) -> str:
        """The manipulation of the training images, which need not be the one that was asked for."""
        is_learned = (self.records["split"] != "test") & (self.records["label"] == 1)
        return str(self.records.loc[is_learned, "manipulation"].iloc[0])


def images_of(folder: Folder) -> Images:
    """The images of a run that has begun; raises MissingArtifact before notebook 01 has run."""
    run = collection.load(folder)
    records = collection.load_sweep_records(folder)
    scenes = run.about.dataset == "scenes"
    return Images(run.records, records, run.about.size, scenes, len(records))


def chosen_images(
    own: Mapping[str, Any], index: pd.DataFrame | None, absent: Sequence[str] = ()
) -> Images:
    """The images that notebook 01 will choose with its parameters ``own``.

    ``index`` are the records of the data set, found or expected; None for rendered scenes.
    ``absent`` are manipulations that may be asked for and not be there.
    """
    names = [name.strip() for name in own["manipulations"].split(",")]
    learned = own["training_manipulation"]
    if index is None:
        scenes = {split: own[f"{split}_scenes"] for split in rendered.SPLITS}
        records = rendered.records(scenes, learned, names, own["sweep_scenes"])
    else:
        records, learned = collection.choose_present(index, names, learned, absent)
        records = sample(records, own["groups"], own["seed"]) if own["groups"] else records
    chosen = collection.for_training_on(records, learned)
    indexed = 0 if index is None else len(index)
    return Images(chosen, records, own["size"], index is None, indexed)


def of_run(parameters: Parameters, images: Images) -> list[Work]:
    """What each notebook of ``parameters`` computes, in their order."""
    pages = [PAGES[name](parameters, images) for name in parameters if name in PAGES]
    return [work for page in pages for work in page if work.images]


# ------------------------------------------------------------------------------------------------
# Pages that make image passes.


def _data(_: Parameters, images: Images) -> Iterator[Work]:
    if images.rendered:
        scene = Operation("scene", images.size)
        yield Work("01_data", "scenes", scene, len(images.sweep_records))
    else:
        yield Work("01_data", "index", Operation("index", images.size), images.indexed)


def _map(images: Images, preset: str, propagation: str = "") -> Operation:
    return Operation("map", images.size, preset=preset, propagation=propagation)


def _maps_of_run(parameters: Parameters, images: Images) -> Operation:
    own = parameters["02_defocus_map"]
    return _map(images, own["preset"], own["propagation"])


def _maps(parameters: Parameters, images: Images) -> Iterator[Work]:
    operation = _maps_of_run(parameters, images)
    yield Work("02_defocus_map", "maps", operation, images.records["path"].nunique())


def _detector(parameters: Parameters, images: Images, reads: str) -> dict[str, Any]:
    """What an operation has of a detector of notebook 03."""
    own = parameters["03_train_detector"]
    size = own[f"{reads}_input_size"]
    about = {"backbone": own["backbone"], "reads": reads, "size": images.size, "input_size": size}
    return about | {"batch_size": own["batch_size"]}


def _plan(own: Mapping[str, Any], epochs: int) -> Plan:
    return Plan(epochs=epochs, batch_size=own["batch_size"], precision=own["precision"])


def _training(parameters: Parameters, images: Images) -> Iterator[Work]:
    own, splits = parameters["03_train_detector"], images.records["split"].value_counts()
    evaluated = int(splits["val"] + splits["test"])
    for reads in experiment.parse_inputs(own["inputs"]):
        plan = _plan(own, own[f"{reads}_epochs"])
        detector = _detector(parameters, images, reads) | {"precision": plan.precision}
        trained, validated = (plan.epochs * int(splits[split]) for split in ("train", "val"))
        # The features of the untrained network on the test images are compared on page 07.
        predicted = evaluated + (int(splits["test"]) if reads == "defocus" else 0)
        preset = _preset(parameters, reads)
        reading = Operation("input", images.size, reads=reads, preset=preset, alone=True)
        stage = f"training, {reads}"
        page = "03_train_detector"
        loaders = precision.loaders(own["n_workers"], precision.here())
        read = [
            images_read(int(splits[split]), plan.epochs, images.size, reads, loaders)
            for split in ("train", "val")
        ]
        yield Work(page, stage, Operation("training", **detector), trained)
        yield Work(page, stage, Operation("prediction", **detector), validated)
        yield Work(page, stage, _evaluation(parameters, images, reads), predicted)
        yield Work(page, stage, reading, sum(read) + predicted, max(1, loaders))
        yield Work(page, stage, Operation("weights", **detector), int(plan.epochs > 0))


def _yardstick(parameters: Parameters, images: Images) -> Iterator[Work]:
    """Passes of whole networks: training after the first blocks, as that page does, takes less."""
    page, of_page_03 = "03b_yardstick", parameters["03_train_detector"]
    own = parameters[page]
    splits = _sampled(own, images.records)["split"].value_counts()
    plan = _plan(own, own["epochs"])
    about = {"size": own["input_size"], "batch_size": own["batch_size"], "alone": True}
    about |= {"precision": plan.precision}
    tuned = about | {"backbone": own["backbone"]}
    for reads in ("rgb", "defocus"):
        yield Work(
            page, "features", Operation("prediction", reads=reads, **tuned), int(splits.sum())
        )
    trained = plan.epochs * int(splits["train"])
    for reads in ("rgb", "defocus", "fusion"):
        yield Work(page, "last stages", Operation("training", reads=reads, **tuned), trained)
    if "fusion" not in of_page_03["inputs"]:
        scratch = about | {"size": own["fusion_input_size"], "backbone": of_page_03["backbone"]}
        trained = own["fusion_epochs"] * int(splits["train"])
        yield Work(page, "fusion", Operation("training", reads="fusion", **scratch), trained)


def images_read(number: int, epochs: int, size: int, reads: str, loaders: int) -> int:
    """How many images are decoded in so many epochs: those that are kept count once."""
    kind = KINDS[reads]
    room = KEPT // (size**2 * (3 * kind.photograph + 4 * kind.map))
    kept = 0 if loaders else min(number, room)
    return (kept if epochs else 0) + epochs * (number - kept)


def _evaluation(parameters: Parameters, images: Images, reads: str) -> Operation:
    """A prediction outside of training."""
    trained_in = parameters["03_train_detector"]["precision"]
    kind = precision.for_prediction(trained_in, precision.here())
    about = _detector(parameters, images, reads) | {"precision": str(kind).split(".")[-1]}
    return Operation("prediction", **about)


def _preset(parameters: Parameters, reads: str) -> str:
    return parameters["02_defocus_map"]["preset"] if KINDS[reads].map else ""


def _explained(parameters: Parameters, images: Images) -> pd.DataFrame:
    return collection.to_explain(images.records, parameters["04_save_shapley"]["images"])


def _gradient(parameters: Parameters, images: Images, reads: str) -> Operation:
    own = parameters["04_save_shapley"]
    name = precision.for_gradients(own["precision"], precision.here())
    about = _detector(parameters, images, reads) | {"batch_size": own["batch_size"]}
    return Operation("gradient", **about | {"precision": name})


def _shapley(parameters: Parameters, images: Images) -> Iterator[Work]:
    own, chosen = parameters["04_save_shapley"], len(_explained(parameters, images))
    page = "04_save_shapley"
    for reads in EXPLAINED:
        gradient = _gradient(parameters, images, reads)
        yield Work(page, "Shapley values", gradient, chosen * own["n_samples"])
    kept = Operation("shapley file", images.size, storage=own["storage"])
    yield Work(page, "Shapley values", kept, chosen)


def _sampled(own: Mapping[str, Any], records: pd.DataFrame) -> pd.DataFrame:
    return sample(records, own["groups"], own["seed"]) if own["groups"] else records


def _sweep(
    page: str, own: Mapping[str, Any], parts: Sequence[tuple[sweep.Sweep, Sequence[sweep.Run]]]
) -> Iterator[Work]:
    """The passes of small detectors that read inputs which are averaged already."""
    passes: Counter = Counter()
    for common, runs in parts:
        for run in set(runs):
            rows = {
                name: len(common.records_of(name, run.training_manipulation)) for name in SPLITS
            }
            reads, epochs = INPUTS[run.input].reads, common.plan.epochs
            passes["training", reads] += epochs * rows["train"]
            passes["prediction", reads] += epochs * rows["val"] + rows["test"]
    workers = own["n_workers"] or precision.cores()  # 0: one process for each core
    plan = _plan(own, own["epochs"])
    about = {"size": own["input_size"], "backbone": own["backbone"], "alone": True}
    about |= {"batch_size": own["batch_size"], "precision": plan.precision}
    for (kind, reads), images in passes.items():
        yield Work(page, "small detectors", Operation(kind, reads=reads, **about), images, workers)


def _contrast(parameters: Parameters, images: Images) -> Iterator[Work]:
    page, of_run = "06b_contrast_of_blur", parameters["02_defocus_map"]["preset"]
    own = parameters[page]
    test = len(_contrasted(own, images))
    for preset in PRESETS:
        kept = preset in (*STORED, of_run)
        has_maps = preset == of_run  # notebook 02 made them
        yield Work(page, f"maps, {preset}", _map(images, preset), test * (not has_maps), kept=kept)


def _contrasted(own: Mapping[str, Any], images: Images) -> pd.DataFrame:
    """The test images of page 06b."""
    return _sampled(own, images.records[images.records["split"] == "test"])


def _common(own: Mapping[str, Any], records: pd.DataFrame) -> sweep.Sweep:
    nothing: Any = None  # neither images nor maps are read
    plan = _plan(own, own["epochs"])
    return sweep.Sweep(records, nothing, nothing, own["backbone"], own["input_size"], plan)


def _controls(parameters: Parameters, images: Images) -> Iterator[Work]:
    page = "11_controls"
    own = parameters[page]
    chosen = _sampled(own, sweep.complete(images.sweep_records))
    runs = [
        *sweep.control_runs(images.learned, range(own["seeds"])),
        *sweep.transfer_runs(sweep.training_manipulations(chosen), 0),
    ]
    common = _common(own, chosen)
    preset = parameters["02_defocus_map"]["preset"]
    of_map = [sweep.Run("defocus", images.learned, seed) for seed in range(own["seeds"])]
    others = sweep.normalisation_runs(common, own["networks"], of_map, preset)
    yield from _sweep(page, own, [(common, runs), *others])
    cached = chosen["path"].isin(images.records["path"])
    once = {(run.input, run.training_manipulation) for run in runs}
    again = [
        common.records_of(split, manipulation)
        for split in SPLITS
        for name, manipulation in once
        if name == "permuted blur" or (name == "defocus" and manipulation == ILLUMINATION)
    ]
    new = sum(int((rows["manipulation"] == ILLUMINATION).sum() or len(rows)) for rows in again)
    operation = _maps_of_run(parameters, images)
    yield Work(page, "maps", operation, int((~cached).sum()))
    yield Work(page, "maps of changed images", operation, new, kept=False)


def _better_maps(parameters: Parameters, images: Images) -> Iterator[Work]:
    page = "14_better_maps"
    own = parameters[page]
    chosen = _sampled(own, sweep.complete(images.sweep_records))
    common = _common(own, chosen)
    names = [*detector_by_map.PRESETS, *([detector_by_map.TRUE] if images.rendered else [])]
    sources: dict[str, Any] = dict.fromkeys(names)
    parts = detector_by_map.trainings(common, sources, range(own["seeds"]), ["learned"])
    yield from _sweep(page, own, parts)
    cached = parameters["02_defocus_map"]["preset"]
    contrasted = _contrasted(parameters["06b_contrast_of_blur"], images)["path"]
    for preset in detector_by_map.PRESETS:
        # Page 06b keeps its maps, too.
        earlier = contrasted if preset in STORED else []
        done = images.records["path"] if preset == cached else earlier
        missing = int((~common.records["path"].isin(done)).sum())
        kept = preset in STORED
        yield Work(page, f"maps, {preset}", _map(images, preset), missing, kept=kept)


def _generalisation(parameters: Parameters, images: Images) -> Iterator[Work]:
    page = "12_generalisation"
    own = parameters[page]
    test = choose(images.records[images.records["split"] == "test"], [images.learned])
    # The first level of each is the image as it is stored, which is tested once.
    levels = 1 + sum(len(corruption.levels) - 1 for corruption in CORRUPTIONS.values())
    corrupted = levels * len(_sampled(own, test))
    operation = _maps_of_run(parameters, images)
    yield Work(page, "maps of corrupted images", operation, corrupted, kept=False)
    for reads in EXPLAINED:
        operation = _evaluation(parameters, images, reads)
        yield Work(page, "corrupted images", operation, corrupted)


class _Tally(Counter):
    """A counter that copies of a detector share."""

    def __deepcopy__(self, _: object) -> _Tally:
        return self


class _Counting(nn.Module):
    """A detector that tallies the images of its passes by kind."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(1, 1) for _ in range(layers)))
        self.tally = _Tally()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.tally["gradient" if inputs.requires_grad else "prediction"] += len(inputs)
        return self.layers(inputs.mean((2, 3)))


SMALL = 32  # px, side of the images on which passes are counted


def _counting(images: int, background: int, layers: int = 1) -> Explainer:
    """An explainer of noise whose detector counts, and has so many layers to randomise."""
    rng = np.random.default_rng(0)
    inputs, base = (
        torch.from_numpy(rng.random((number, 1, SMALL, SMALL), dtype=np.float32))
        for number in (images, background)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Explainer(_Counting(layers), inputs, base)


def _trust_passes(own: Mapping[str, Any], saved: Mapping[str, Any]) -> Counter:
    """Passes of page 13 for one detector, without those of untrained networks.

    The page's own functions run on small images of noise, by a detector that counts.
    """
    few = _counting(own["images"], saved["background"], own["randomised_parts"])
    every = _counting(max(own["images"], own["removal_images"]), own["removal_backgrounds"])
    counts = faithfulness.parse_counts(own["counts"])
    with cluster.one_thread():
        faithfulness.error_table(few, counts, own["reference"], own["repetitions"])
        faithfulness.repeat_table(few, saved["n_samples"], saved["method"])
        sanity_checks.randomisation(few, own["randomised_samples"], own["randomised_parts"])
        values = every.inputs.mean(1).numpy()
        sanity_checks.removal_table(every, values, own["removal_steps"], side=8)
    return cast(_Counting, few.detector).tally + cast(_Counting, every.detector).tally


def _trust(parameters: Parameters, images: Images) -> Iterator[Work]:
    page = "13_trust_in_shapley"
    own, saved = parameters[page], parameters["04_save_shapley"]
    fakes = _explained(parameters, images).query("label == 1")["manipulation"].value_counts()
    untrained = int(fakes.clip(upper=own["pairs"]).sum()) * own["untrained_samples"]
    passes = _trust_passes(own, saved)
    for reads in EXPLAINED:
        gradient = _gradient(parameters, images, reads)
        yield Work(page, "explained again", gradient, passes["gradient"] + untrained)
        operation = _evaluation(parameters, images, reads)
        yield Work(page, "blocks replaced", operation, passes["prediction"])


PAGES: dict[str, Callable[[Parameters, Images], Iterator[Work]]] = {
    "01_data": _data,
    "02_defocus_map": _maps,
    "03_train_detector": _training,
    "03b_yardstick": _yardstick,
    "04_save_shapley": _shapley,
    "06b_contrast_of_blur": _contrast,
    "11_controls": _controls,
    "12_generalisation": _generalisation,
    "13_trust_in_shapley": _trust,
    "14_better_maps": _better_maps,
}
