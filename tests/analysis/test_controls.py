import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from defocus_lib.analysis import controls
from defocus_lib.detect.control_inputs import ILLUMINATION, INPUTS, WITHOUT_BLUR, title_of
from defocus_lib.stats import auc
from defocus_lib.stats.auc import Predictions

CHANCE, GOOD = (0.5, 0.47, 0.53), (0.85, 0.8, 0.9)
COUNTS = {"groups": 40, "seeds": 3, "epochs": 10}


def rows(**estimates):
    """Estimates by title of the input."""
    named = {title: estimates[name] for name, title in titles().items() if name in estimates}
    return pd.DataFrame.from_dict(named, orient="index", columns=controls.ESTIMATE)


def titles():
    return {name.replace(" ", "_"): kind.title for name, kind in INPUTS.items()} | {
        "changed": title_of("defocus", ILLUMINATION)
    }


GAINS = rows(edges=(0.2, 0.1, 0.3), edge_density=(0.0, -0.1, 0.1), permuted_blur=(-0.2, -0.3, -0.1))


def verdicts(gains=GAINS, **estimates):
    summary = rows(**{"defocus": GOOD, "shuffled": CHANCE, "changed": CHANCE} | estimates)
    return [claim.verdict for claim in controls.claims(summary, gains, **COUNTS)]


def test_each_interval_gives_the_verdict_of_its_claim():
    gains = ["supported", "undecided", "not supported"]
    assert verdicts() == ["supported", *gains, "supported", "supported"]
    assert verdicts(defocus=CHANCE)[0] == "undecided"
    assert verdicts(shuffled=GOOD, changed=(0.35, 0.3, 0.4))[4:] == ["not supported"] * 2
    assert verdicts(changed=(0.52, 0.46, 0.58))[5] == "undecided", "the margin is 0.05"


def test_claims_name_their_input():
    statements = [claim.statement for claim in controls.claims(*_tables(), **COUNTS)]
    assert all(
        INPUTS[name].title in statement
        for name, statement in zip(WITHOUT_BLUR, statements[1:4], strict=True)
    )


def _tables():
    return rows(defocus=GOOD, shuffled=CHANCE, changed=CHANCE), GAINS


def test_each_input_is_tested_on_the_manipulation_that_it_learned():
    runs = [("defocus", "x"), ("rgb", "x"), ("fusion", "x"), ("defocus", ILLUMINATION)]
    images = pd.DataFrame({"id": list("abcd"), "group": list("mnmn"), "label": [0, 0, 1, 1]})
    table = pd.concat(
        [
            images.assign(
                input=name,
                training_manipulation=learned,
                manipulation=["real", "real", learned, other],
                seed=seed,
                logit=np.arange(4.0) * [1, 1, 1, -1],
            )
            for name, learned in runs
            for seed in (0, 1)
            for other in ["y"]
        ]
    )
    by_title = controls.predictions_by_title(table, "x")
    assert list(by_title) == ["defocus map", "photograph", f"defocus map, {ILLUMINATION}"]
    for predictions in by_title.values():
        assert predictions.scores.shape == (2, 3), "two seeds; the image of y is left out"
        assert predictions.by_seed().tolist() == pytest.approx([1, 1])


def test_what_a_detector_was_given_has_a_name():
    table = pd.DataFrame(
        {
            "input": ["defocus", "edges", "defocus", "shuffled"],
            "normalisation": ["px", "px", "min-max", "min-max"],
        }
    )
    *named, other = controls.with_names(table)["map"].tolist()
    assert named == ["map, px", "edges only", "map, min-max"] and other not in named
    pairs = controls.comparisons(named, "edges only")
    assert pairs == [
        ("map, px", "map, min-max"),
        ("map, px", "edges only"),
        ("map, min-max", "edges only"),
    ]
    assert controls.comparisons(["map, px", "photograph"], "edges only")[0][1] == "edges only"


def test_claims_on_what_a_detector_was_given():
    rng, labels = np.random.default_rng(0), np.tile([0, 1], 50)
    groups, noise = np.repeat([f"{number:02d}" for number in range(50)], 2), rng.normal(size=100)
    gaps = {"map, px|x": 4, "map, min-max|x": 1, "edges only|x": 1, "map, px|y": 4}
    entries = {
        name: Predictions(labels, groups, (noise + gap * labels)[None])
        for name, gap in gaps.items()
    }
    resamples = auc.resampled(entries, 200)
    (claim,) = controls.normalisation_claims(entries, resamples, "linear", groups=50)
    by_hand = roc_auc_score(labels, noise + 4 * labels) - roc_auc_score(labels, noise + labels)
    assert claim.value == pytest.approx(by_hand) and claim.low > 0
    assert claim.statement.startswith("Gain in AUC on x of a linear detector: map in px over min-")
