# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train the detectors
#
# **You will see** detectors learn to tell real from manipulated, one from defocus maps and one from photographs, and how
# well each does on test images.\
# **Reads** the images and their records (notebook 01), and their maps (notebook 02).\
# **Writes** `detector_<input>.safetensors`, `metrics.csv`, `predictions.csv` (one row an image), `features.npz`, and below
# `training/` logs, previews and checkpoints.
#
# All are the same `timm` backbone with one logit. They learn one manipulation; the test asks about all. With 0 epochs
# nothing is trained: weights that are there, the authors' released ones among them, are evaluated.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
inputs: str = "defocus, rgb"
backbone: str = "resnet10t"
defocus_epochs: int = 10
rgb_epochs: int = 6
fusion_epochs: int = 6
defocus_input_size: int = 64
rgb_input_size: int = 0
fusion_input_size: int = 0
defocus_weights: str = ""
rgb_weights: str = ""
fusion_weights: str = ""
batch_size: int = 64
learning_rate: float = 0.002
schedule: str = "one_cycle"
precision: str = "auto"
monitor: str = "val_auc"
horizontal_flip: bool = True
residual_scale: float = 1.0
patience: int = 0
n_workers: int = 0
resume: bool = False
n_bootstrap: int = 1000
seed: int = 42

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Image, Markdown
from myst_nb import glue

from defocus_lib.data import collection
from defocus_lib.detect import experiment, training
from defocus_lib.figures import detection as figures
from defocus_lib.maps.cache import load_maps
from defocus_lib.run import profiling, provenance
from defocus_lib.run.artifacts import Folder, project_root, write_arrays, write_beside
from defocus_lib.stats import classification

folder = Folder.open(profile, artifacts)
run = collection.load(folder)
cache, _ = load_maps(folder, run.reader)
models = experiment.parse_inputs(inputs)

# %% [markdown]
# ## Training
#
# The defocus detector reads the min-max normalised map, the RGB detector the photograph, a fusion detector both. Inputs
# are averaged down to a side where one is given; 0 leaves them as they are. Binary cross-entropy, Adam; images are
# mirrored at random where `horizontal_flip` says so. With `residual_scale = 0.1` an Xception ends with gradients that are easier to explain
# ({doc}`speed` says at what price). The best epoch on validation is kept, and the threshold chosen there; the test split chooses nothing.

# %% tags=["remove-output"]
epochs = {"defocus": defocus_epochs, "rgb": rgb_epochs, "fusion": fusion_epochs}
input_sizes = {
    "defocus": defocus_input_size,
    "rgb": rgb_input_size,
    "fusion": fusion_input_size,
}
weights = {"defocus": defocus_weights, "rgb": rgb_weights, "fusion": fusion_weights}
stages, outcomes = {model: profiling.Stages() for model in models}, {}
for model in models:
    saved = folder.path / f"detector_{model}.safetensors"
    plan = training.Plan(
        epochs[model],
        batch_size,
        learning_rate,
        schedule,
        precision,
        seed,
        monitor,
        patience,
        horizontal_flip,
        n_workers,
        residual_scale=residual_scale,
    )
    outcomes[model] = experiment.run(
        run.records,
        model,
        run.reader,
        cache,
        plan,
        backbone,
        input_sizes[model],
        weights=None if plan.epochs else Path(weights[model] or saved),
        folder=folder.path / "training" / model,
        resume=resume,
        draw=figures.preview,
        stages=stages[model],
    )
    about = {
        "data": run.about.dataset,
        "learned": run.trained_on,
        "commit": provenance.commit(project_root()),
    }
    experiment.save(saved, outcomes[model], about)

# %% tags=["remove-input"]
histories = {
    model: outcome.history
    for model, outcome in outcomes.items()
    if outcome.history is not None
}

# %% mystnb={"figure": {"caption": "Loss, and AUC and accuracy on validation, by epoch. A validation loss that parts from the training loss is a detector that learns the training images by heart.", "name": "fig-training"}, "image": {"alt": "Two panels over the epochs: training and validation loss of the detectors, and their AUC and accuracy on validation."}}
figures.training_curves(histories) if histories else Markdown(
    "Nothing was trained in this run."
)

# %% mystnb={"figure": {"caption": "Four validation images after the last epoch, each beside its map, with what the defocus detector makes of them. Such a picture is written after every epoch.", "name": "fig-preview"}, "image": {"alt": "Photographs side by side with their defocus maps, each with its label and predicted probability."}}
previews = sorted((folder.path / "training" / "defocus" / "previews").glob("*.png"))
Image(previews[-1]) if previews and "defocus" in histories else Markdown(
    "It was not trained in this run."
)

# %% [markdown]
# ## On test images
#
# Each row compares the images of one manipulation with all real test images. Intervals (95 %) resample the
# {glue:text}`train_unit`: all images of it, real and manipulated, stay together. Accuracy, precision, recall and F1 are at
# the threshold that was best on validation. AP is the average precision, EER the equal error rate, and *calibration* the
# calibration error; of the last two, less is better.

# %%
test = {model: outcome.test for model, outcome in outcomes.items()}
measured = pd.concat(
    [
        classification.evaluate(
            table, outcomes[model].threshold, n_bootstrap, seed
        ).assign(detector=model)
        for model, table in test.items()
    ],
    ignore_index=True,
)
classification.wide(measured, "frame", ("auc", "average_precision", "eer"))

# %%
classification.wide(
    measured, "frame", ("accuracy", "balanced_accuracy", "calibration_error")
)

# %%
classification.wide(measured, "frame", ("precision", "recall", "f1"))

# %%
classification.wide(measured, "frame", ("tn", "fp", "fn", "tp"), intervals=False)

# %% [markdown]
# The same by video, whose probability is the mean of its frames'. Where every image stands alone, it is the same twice.

# %%
classification.wide(measured, "video", ("auc", "eer", "balanced_accuracy"))

# %% mystnb={"figure": {"caption": "AUC of the detectors on each manipulation. They were trained on one; the others show what carries over. An interval that crosses the dotted line is compatible with guessing.", "name": "fig-auc"}, "image": {"alt": "For each manipulation one point a detector with horizontal error bars, on an axis of AUC with a dotted line at one half."}}
figures.auc_intervals(measured)

# %% mystnb={"figure": {"caption": "The same as curves: how many manipulated images are found for a given rate of false alarms. The diagonal is guessing.", "name": "fig-roc"}, "image": {"alt": "Square panels, one a detector, with one curve of true positive rate over false positive rate for each manipulation."}}
figures.roc_curves(test)

# %% mystnb={"figure": {"caption": "Is a probability of 0.8 right eight times in ten? Share of manipulated images against the predicted probability, over all test images; below, how often each probability is predicted. On the diagonal the probabilities mean what they say. The manipulations that the detector never saw count here too.", "name": "fig-reliability"}, "image": {"alt": "One panel a detector: points of the share of manipulated images over predicted probability with a diagonal, and a histogram of the predictions."}}
figures.reliability(test)

# %% tags=["remove-input"]
trained_on = run.trained_on.split(", ")[0]
cell = measured[measured["level"] == "frame"].set_index(
    ["detector", "manipulation", "metric"]
)
for model in ("defocus", "rgb"):
    row = cell.loc[(model, trained_on, "auc")]
    glue(
        f"train_{model}_auc",
        f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]",
        display=False,
    )
    glue(
        f"train_{model}_accuracy",
        float(cell.loc[(model, trained_on, "balanced_accuracy"), "value"]),
        display=False,
    )
    glue(
        f"train_{model}_calibration",
        float(cell.loc[(model, trained_on, "calibration_error"), "value"]),
        display=False,
    )
    others = classification.carries_over(
        measured[measured["detector"] == model], trained_on
    )
    glue(f"train_{model}_others", others, display=False)
glue("train_on", trained_on, display=False)
glue("train_unit", run.about.unit, display=False)
glue("train_units", f"{run.about.unit}s", display=False)
by_defocus = measured[measured["detector"] == "defocus"]
verdict = (
    classification.aim_verdict(by_defocus, trained_on)
    if run.about.dataset == "scenes"
    else "No aim was set for it here."
)
glue("train_verdict", verdict, display=False)
glue(
    "train_test_groups",
    int(run.records.query("split == 'test'")["group"].nunique()),
    display=False,
)

# %% [markdown]
# On {glue:text}`train_on`, which they learned, over {glue:text}`train_test_groups` {glue:text}`train_units`, the defocus
# detector reaches an AUC of {glue:text}`train_defocus_auc` and the RGB detector {glue:text}`train_rgb_auc` (95 %
# intervals). Balanced accuracy is {glue:text}`train_defocus_accuracy:.2f` and {glue:text}`train_rgb_accuracy:.2f`, the
# calibration error {glue:text}`train_defocus_calibration:.2f` and {glue:text}`train_rgb_calibration:.2f`.
# {glue:text}`train_verdict`
#
# Manipulations that they never saw: for the defocus detector, {glue:text}`train_defocus_others`; for the RGB detector,
# {glue:text}`train_rgb_others`.
#
# For orientation, from other budgets: an Xception on FaceForensics++ has a published accuracy of 99.26 % (AUC 99.2) on raw
# video and 86.86 % (AUC 89.3) at strong compression, trained and tested on the same manipulations (PMC11042011, table 2).

# %% [markdown]
# ## What is kept for the analyses
#
# A row an image in `predictions.csv`, all metrics in `metrics.csv`, and the pooled features of the defocus detector, which
# notebook 07 embeds, beside those of the same backbone before training. How long each stage took, and how much memory, is on the {doc}`status page <status>`.

# %% tags=["remove-output"]
predictions = experiment.side_by_side(test)
profiling.save(folder.path / "stages" / "03_train_detector.csv", stages)
for name, table in {"predictions": predictions, "metrics": measured}.items():
    write_beside(
        folder.path / f"{name}.csv",
        lambda path, table=table: table.to_csv(path, index=False),
    )
kept = run.records.set_index("id").loc[test["defocus"]["id"]].reset_index()
arrays = {
    f"{name}s": kept[name].to_numpy(dtype=str)
    for name in ("id", "group", "manipulation")
}
arrays["features"] = outcomes["defocus"].features
arrays["features_untrained"] = experiment.untrained_features(
    outcomes["defocus"], kept, run.reader, cache, plan
)
learned = experiment.what_was_learned(outcomes["defocus"], run.trained_on)
about = {
    "profile": profile,
    "backbone": outcomes["defocus"].detector.backbone,
    "learned": learned,
}
write_arrays(folder.path / "features.npz", arrays, meta=about).name
