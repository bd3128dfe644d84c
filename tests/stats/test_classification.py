import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk
from torchmetrics.functional.classification import binary_calibration_error

from defocus_lib.stats import classification
from defocus_lib.stats.auc import weighted_auc
from defocus_lib.stats.bootstrap import bootstrap


def table(real, **fakes):
    """Predictions of single pictures p0, p1, ... and their fakes, with their probabilities."""
    rows = [
        (f"p{i}/{name}", f"p{i}", f"p{i}", name, int(name != "real"), value)
        for name, values in {"real": real, **fakes}.items()
        for i, value in enumerate(values)
    ]
    return pd.DataFrame(
        rows, columns=["id", "video", "group", "manipulation", "label", "probability"]
    )


def clips(rng, videos=12, frames=4, spread=0.2, shift=0.15):
    """Predictions of videos with several frames, alike within a video."""
    rows = []
    for name, label in (("real", 0), ("Deepfakes", 1)):
        for video in range(videos):
            level = rng.normal(0.4 + shift * label, spread)
            for frame in range(frames):
                folder = f"{video:03d}" if name == "real" else f"{video:03d}_{video + 1:03d}"
                value = np.clip(level + rng.normal(0, 0.05), 0, 1)
                rows.append(
                    (f"{folder}/{frame}/{name}", folder, f"{video:03d}", name, label, value)
                )
    return pd.DataFrame(
        rows, columns=["id", "video", "group", "manipulation", "label", "probability"]
    )


def values(measured, manipulation="splice", level="frame"):
    rows = measured[(measured["manipulation"] == manipulation) & (measured["level"] == level)]
    return rows.set_index("metric")["value"].to_dict()


def random_images(rng, n=300):
    labels = rng.integers(0, 2, n)
    return labels, np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0.01, 0.99), 2)


def test_every_metric_by_hand():
    # Sorted, fakes in capitals: .8 F, .6 r = .6 F, .4 r, .3 F, .1 r. Of nine pairs, fake wins 6 (3
    # + 2 + 1), ties 1.
    measured = values(
        classification.evaluate(table([0.1, 0.4, 0.6], splice=[0.3, 0.6, 0.8]), 0.5, n_bootstrap=20)
    )
    assert measured["auc"] == pytest.approx(6.5 / 9)
    # Precision when the 1st, 2nd, 3rd fake is found: 1, 2/3 (the tied real comes along), 3/5.
    assert measured["average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    # The curve goes (0, 1/3), (1/3, 2/3): false alarms meet misses at (1/3, 2/3), where the
    # threshold is 0.6.
    assert measured["eer"] == pytest.approx(1 / 3) and measured["eer_threshold"] == pytest.approx(
        0.6
    )
    assert [measured[name] for name in ("tn", "fp", "fn", "tp")] == [2, 1, 1, 2]
    for name in ("accuracy", "balanced_accuracy", "precision", "recall", "f1"):
        assert measured[name] == pytest.approx(2 / 3), name
    # Each in a bin of its own but for the two at 0.6, of which one is fake: .1 + .4 + 2 * .1 + .7 +
    # .2.
    assert measured["calibration_error"] == pytest.approx(1.6 / 6)


def test_ratios_with_unequal_classes_by_hand():
    measured = classification.measure(
        np.array([0, 0, 0, 0, 1, 1]), np.array([0.9, 0.2, 0.1, 0.3, 0.7, 0.2]), 0.5
    )
    assert [measured[name] for name in ("tn", "fp", "fn", "tp")] == [3, 1, 1, 1]
    expected = {
        "accuracy": 4 / 6,
        "balanced_accuracy": (3 / 4 + 1 / 2) / 2,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
    }
    assert {name: measured[name] for name in expected} == pytest.approx(expected)


def test_equal_error_between_two_points_by_hand():
    # From (0, 1/2) at 0.8 to (1/3, 1) at 0.4 the curve crosses the anti-diagonal at 3/5 of the way.
    measured = classification.measure(
        np.array([1, 1, 0, 0, 0]), np.array([0.8, 0.4, 0.4, 0.2, 0.1]), 0.5
    )
    assert measured["eer"] == pytest.approx(0.2) and measured["eer_threshold"] == pytest.approx(
        0.8 - 0.6 * 0.4
    )


def test_nothing_called_fake_and_all_alike():
    measured = classification.measure(np.array([0, 1, 1]), np.array([0.3, 0.3, 0.3]), 0.5)
    assert (
        measured["precision"],
        measured["f1"],
        measured["recall"],
        measured["balanced_accuracy"],
    ) == (
        0,
        0,
        0,
        0.5,
    )
    assert (measured["auc"], measured["eer"], measured["eer_threshold"]) == (0.5, 0.5, 0.3)


def test_a_probability_at_the_threshold_is_called_fake():
    assert classification.measure(np.array([0, 1]), np.array([0.2, 0.5]), 0.5)["tp"] == 1


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_scikit_learn(weighted):
    rng = np.random.default_rng(0)
    labels, probabilities = random_images(rng)
    weights = rng.integers(0, 4, len(labels)) if weighted else None
    measured, called = (
        classification.measure(labels, probabilities, 0.47, weights),
        probabilities >= 0.47,
    )
    with_weights = {"sample_weight": weights}
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        labels, called, average="binary", **with_weights
    )
    expected = {
        "auc": sk.roc_auc_score(labels, probabilities, **with_weights),
        "average_precision": sk.average_precision_score(labels, probabilities, **with_weights),
        "accuracy": sk.accuracy_score(labels, called, **with_weights),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, called, **with_weights),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }
    assert {name: measured[name] for name in expected} == pytest.approx(expected)
    assert tuple(measured) == classification.METRICS


def test_weights_are_the_same_as_repeated_rows():
    rng = np.random.default_rng(1)
    labels, probabilities = random_images(rng, 120)
    times = rng.integers(0, 4, len(labels))
    rows = np.repeat(np.arange(len(labels)), times)
    repeated = classification.measure(labels[rows], probabilities[rows], 0.5)
    assert classification.measure(labels, probabilities, 0.5, times.astype(float)) == pytest.approx(
        repeated, abs=1e-12
    )


def test_calibration_error_agrees_with_torchmetrics():
    rng = np.random.default_rng(2)
    for power in (0.3, 1, 3):  # crowded at one end, even, crowded at the other
        probabilities, labels = rng.random(500) ** power, rng.integers(0, 2, 500)
        expected = binary_calibration_error(
            torch.tensor(probabilities), torch.tensor(labels), n_bins=15, norm="l1"
        )
        assert classification.calibration_error(
            labels, probabilities, np.ones(500)
        ) == pytest.approx(float(expected), abs=1e-9)


def test_a_certain_and_right_detector_is_calibrated():
    assert classification.calibration_error(np.array([0, 1]), np.array([0.0, 1.0]), np.ones(2)) == 0
    assert classification.calibration_error(np.array([0, 1]), np.array([1.0, 0.0]), np.ones(2)) == 1


def test_equal_error_is_where_the_two_rates_meet():
    rng = np.random.default_rng(3)
    labels, probabilities = rng.integers(0, 2, 4000), rng.random(4000)
    probabilities = (probabilities + labels * rng.random(4000)) / 2
    measured = classification.measure(labels, probabilities, 0.5)
    called = probabilities >= measured["eer_threshold"]
    rates = called[labels == 0].mean(), 1 - called[labels == 1].mean()
    assert rates == pytest.approx([measured["eer"]] * 2, abs=1e-3)  # one image is 1/2000


def test_videos_by_hand():
    predictions = clips(np.random.default_rng(4), videos=2, frames=2).assign(
        probability=[0.1, 0.3, 0.2, 0.6, 0.9, 0.5, 0.0, 0.1]
    )
    videos = classification.by_video(predictions)
    assert videos["video"].tolist() == ["000", "001", "000_001", "001_002"]
    assert videos["probability"].tolist() == pytest.approx([0.2, 0.4, 0.7, 0.05])
    assert videos["frames"].tolist() == [2] * 4 and videos["group"].tolist() == ["000", "001"] * 2
    measured = classification.evaluate(predictions, 0.45, n_bootstrap=20)
    assert values(measured, "Deepfakes", "video")["auc"] == 0.5  # of the four pairs two are won
    assert [values(measured, "Deepfakes", "video")[name] for name in classification.COUNTS] == [
        2,
        0,
        1,
        1,
    ]
    assert [values(measured, "Deepfakes", "frame")[name] for name in classification.COUNTS] == [
        3,
        1,
        2,
        2,
    ]
    counted = measured.groupby("level")[["images", "groups"]].first()
    assert counted.loc["frame"].tolist() == [8, 2] and counted.loc["video"].tolist() == [4, 2]


def test_a_video_is_the_mean_of_its_frames_and_not_their_median():
    predictions = clips(np.random.default_rng(4), videos=1, frames=3).assign(
        probability=[0.1, 0.2, 0.9, 0.9, 0.9, 0.0]
    )
    assert classification.by_video(predictions)["probability"].tolist() == pytest.approx([0.4, 0.6])


def test_videos_of_one_folder_name_are_kept_apart_by_manipulation():
    predictions = clips(np.random.default_rng(4), videos=2, frames=2)
    swapped = (
        predictions[predictions["label"] == 1]
        .replace("Deepfakes", "FaceSwap")
        .assign(probability=0.25)
    )
    videos = classification.by_video(pd.concat([predictions, swapped]))
    assert len(videos) == 6 and videos.query("manipulation == 'FaceSwap'")[
        "probability"
    ].tolist() == [0.25, 0.25]


def test_each_manipulation_is_compared_with_all_real_images():
    predictions = table([0.1, 0.1, 0.8], splice=[0.5, 0.5], texture=[0.05, 0.05, 0.05])
    measured = classification.evaluate(
        predictions.sample(frac=1, random_state=0), 0.5, n_bootstrap=20
    )
    assert (
        values(measured, "splice")["auc"] == pytest.approx(2 / 3)
        and values(measured, "texture")["auc"] == 0
    )
    assert measured.groupby("manipulation")["images"].first().to_dict() == {
        "splice": 5,
        "texture": 6,
    }


def test_pictures_that_are_videos_of_their_own_give_the_same_twice():
    measured = classification.evaluate(
        table([0.1, 0.6, 0.3], splice=[0.5, 0.2, 0.7]), 0.5, n_bootstrap=20
    )
    frame, video = (
        measured[measured["level"] == level].drop(columns="level").reset_index(drop=True)
        for level in classification.LEVELS
    )
    pd.testing.assert_frame_equal(frame, video)
    # Shifted groups stop the shortcut from being the only way that leads here.
    again = classification._evaluate_one(
        classification.by_video(table([0.1, 0.6, 0.3], splice=[0.5, 0.2, 0.7])),
        "splice",
        0.5,
        20,
        0,
    )
    assert frame["low"].tolist() == again["low"].tolist()


def literal_interval(labels, probabilities, groups, n_bootstrap, seed):
    """AUC of groups drawn with replacement, over all couples of a fake and a real row; each kind of
    group apart."""
    rng = np.random.default_rng(seed)
    kinds, rows_of = {}, {group: np.flatnonzero(groups == group) for group in sorted(set(groups))}
    for group, rows in rows_of.items():
        kinds.setdefault(tuple(sorted(set(labels[rows]))), []).append(group)
    areas = []
    for _ in range(n_bootstrap):
        chosen = np.concatenate([rng.choice(kind, len(kind)) for kind in kinds.values()])
        rows = np.concatenate([rows_of[group] for group in chosen])
        real, fake = (probabilities[rows][labels[rows] == kind] for kind in (0, 1))
        difference = fake[:, None] - real
        areas.append(((difference > 0) + (difference == 0) / 2).mean())
    return np.quantile(areas, [0.025, 0.975])


@pytest.mark.parametrize("kinds", ["paired", "apart", "mixed"])
def test_intervals_agree_with_rows_drawn_one_by_one(kinds):
    predictions = clips(np.random.default_rng(5), videos=20)
    if kinds == "apart":
        predictions["group"] = predictions["video"]
    if kinds == "mixed":
        predictions = predictions[
            ~predictions["video"].isin(["000", "001", "002", "005_006", "006_007"])
        ]
    labels, probabilities, groups = (
        predictions[name].to_numpy() for name in ("label", "probability", "group")
    )
    estimate = bootstrap(weighted_auc(labels, probabilities), labels, groups, 800)
    expected = literal_interval(labels, probabilities, groups.astype(str), 800, seed=1)
    # Two quantiles of 800 random draws: their standard error is about a twelfth of the width.
    np.testing.assert_allclose(
        [estimate.low, estimate.high], expected, atol=0.25 * np.ptp(expected)
    )


def test_a_kind_with_one_group_is_in_every_resample():
    labels, groups = np.array([0, 0, 0, 1]), np.array(["a", "b", "c", "only"])
    seen = []
    bootstrap(lambda weights: seen.append(weights) or 0.0, labels, groups, n_bootstrap=50)
    assert {weights[3] for weights in seen} == {1} and all(
        weights[:3].sum() == 3 for weights in seen
    )
    assert len({tuple(weights) for weights in seen}) > 5


def test_a_single_group_has_no_interval():
    predictions = table([0.1, 0.6, 0.3], splice=[0.5, 0.2, 0.7]).assign(group="one")
    measured = classification.evaluate(predictions, 0.5, n_bootstrap=20)
    assert measured["value"].notna().all() and measured[["low", "high"]].isna().all(axis=None)
    assert classification.wide(measured, "frame").loc["splice", "AUC"] == "0.67"


def test_the_interval_of_frames_that_resemble_each_other_covers_the_truth():
    """80 data sets of 30 videos of 6 frames; real, fake and target video have effects of their
    own."""
    rng = np.random.default_rng(6)
    truth = stats.norm.cdf(1 / np.sqrt(2 * (0.8**2 + 0.6**2 + 0.5**2)))
    labels, groups = np.repeat([0, 1], 180), np.tile(np.repeat(np.arange(30), 6), 2)
    covered = {"videos": 0, "frames": 0}
    for seed in range(80):
        shared = np.tile(np.repeat(rng.normal(0, 0.6, 30), 6), 2)
        own = np.repeat(rng.normal(0, 0.8, 60), 6)
        scores = labels + shared + own + rng.normal(0, 0.5, 360)
        for name, unit in (("videos", groups), ("frames", np.arange(360))):
            estimate = bootstrap(
                weighted_auc(labels, scores), labels, unit, n_bootstrap=150, seed=seed
            )
            covered[name] += estimate.low <= truth <= estimate.high
    # Of 80 intervals that cover in 93 % of the cases, fewer than 67 do once in 500 runs.
    assert covered["videos"] >= 67 and covered["frames"] < 60


def test_resampling_videos_is_wider_than_resampling_frames():
    predictions = clips(np.random.default_rng(7), videos=20, frames=8)
    by_group = classification.evaluate(predictions, 0.5, n_bootstrap=100)
    by_frame = classification.evaluate(
        predictions.assign(group=predictions["id"], video=predictions["id"]), 0.5, n_bootstrap=100
    )
    widths = [
        measured.query("level == 'frame'").set_index("metric").eval("high - low")
        for measured in (by_group, by_frame)
    ]
    assert (widths[0] > 1.5 * widths[1])[["auc", "accuracy", "eer"]].all()


def test_same_seed_same_table():
    predictions = clips(np.random.default_rng(8))
    first, again, other = (
        classification.evaluate(predictions, 0.5, n_bootstrap=40, seed=seed) for seed in (1, 1, 2)
    )
    assert (
        first.equals(again)
        and not first["low"].equals(other["low"])
        and first["value"].equals(other["value"])
    )


def test_the_order_of_the_rows_changes_nothing():
    predictions = clips(np.random.default_rng(9))
    first, other = (
        classification.evaluate(rows, 0.5, 40)
        for rows in (predictions, predictions.sample(frac=1, random_state=1))
    )
    pd.testing.assert_frame_equal(first, other)


@pytest.mark.parametrize("seed", range(3))
def test_the_chosen_threshold_beats_every_other(seed):
    labels, probabilities = random_images(np.random.default_rng(seed), 60)
    chosen = classification.choose_threshold(labels, probabilities)
    scores = [
        sk.balanced_accuracy_score(labels, probabilities >= cut)
        for cut in (chosen, *np.linspace(0, 1, 201))
    ]
    assert scores[0] == pytest.approx(max(scores))
    assert chosen not in probabilities


def test_the_threshold_lies_in_the_gap_and_near_one_half():
    assert classification.choose_threshold([0, 0, 1, 1], [0.1, 0.3, 0.9, 1.0]) == pytest.approx(0.6)
    # From 0.15 on and from 0.8 on, three of the four are right; 0.8 is the nearer one to 0.5.
    assert classification.choose_threshold([0, 1, 0, 1], [0.1, 0.2, 0.7, 0.9]) == pytest.approx(0.8)
    assert classification.choose_threshold([0, 1], [0.4, 0.4]) == 0.4


def test_text_for_a_page():
    first = classification.evaluate(clips(np.random.default_rng(10)), 0.5, n_bootstrap=40).assign(
        detector="defocus"
    )
    both = pd.concat([first, first.assign(detector="rgb")])
    text = classification.wide(both, "video", ("f1", "auc", "tp"))
    assert list(text.columns) == ["F1", "AUC", "TP"]
    assert text.index.tolist() == [("defocus", "Deepfakes"), ("rgb", "Deepfakes")]
    row = first.query("level == 'video'").set_index("metric")
    low, high = row.loc["auc", ["low", "high"]]
    text = text.map(lambda cell: cell.replace("\N{NO-BREAK SPACE}", " "))
    assert text.iloc[0]["AUC"] == f"{row.loc['auc', 'value']:.2f} [{low:.2f}, {high:.2f}]"
    assert text.iloc[0]["TP"].split(" [")[0] == str(int(row.loc["tp", "value"]))
    bare = classification.wide(both, "video", ("auc",), intervals=False)
    assert bare.iloc[0]["AUC"] == f"{row.loc['auc', 'value']:.2f}"
    assert classification.wide(first.drop(columns="detector"), "frame").index.tolist() == [
        "Deepfakes"
    ]


def test_text_keeps_the_order_of_the_table():
    measured = classification.evaluate(
        table([0.1, 0.2], zoom=[0.5, 0.6], alter=[0.1, 0.6]), 0.5, n_bootstrap=10
    )
    assert classification.wide(measured, "frame").index.tolist() == ["zoom", "alter"]


def predicted(**changes):
    return table([0.1, 0.6], splice=[0.5, 0.2]).assign(**changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: classification.evaluate(predicted().drop(columns="group"), 0.5),
            "predictions lacks group; found id, video",
        ),
        (
            lambda: classification.evaluate(predicted(id="p0/real"), 0.5),
            "p0/real: is there more than once",
        ),
        (
            lambda: classification.evaluate(predicted(probability=[0.1, 1.5, 0, 0]), 0.5),
            "p1/real: probability is 1.5",
        ),
        (
            lambda: classification.evaluate(predicted(probability=[0.1, np.nan, 0, 0]), 0.5),
            "p1/real: probability is nan",
        ),
        (
            lambda: classification.evaluate(predicted(label=[0, 0, 0, 1]), 0.5),
            "p0/splice: label is 0 for 'splice'",
        ),
        (
            lambda: classification.evaluate(predicted().query("label == 1"), 0.5),
            "predictions has splice only",
        ),
        (
            lambda: classification.evaluate(predicted().query("label == 0"), 0.5),
            "predictions has real only",
        ),
        (lambda: classification.by_video(predicted(video="one")), "one / real have several groups"),
        (lambda: classification.choose_threshold([1, 1], [0.5, 0.6]), "labels are all 1"),
        (lambda: classification.choose_threshold([], []), "labels are all missing"),
        (
            lambda: classification.wide(classification.evaluate(predicted(), 0.5, 9), "clip"),
            "level is 'clip'",
        ),
        (
            lambda: classification.wide(
                classification.evaluate(predicted(), 0.5, 9), "frame", ["AUC"]
            ),
            "metrics names AUC; known are",
        ),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
