"""Controls of detectors on defocus maps: no blur, shuffled labels, an illumination change.

A detector that tells images whose illumination alone was changed from the originals reacts to more
than blur.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from defocus_lib.data.records import REAL
from defocus_lib.detect.control_inputs import ILLUMINATION, INPUTS, WITHOUT_BLUR, title_of
from defocus_lib.detect.normalisation import MIN_MAX, PX
from defocus_lib.stats.auc import Predictions, differences, predictions_of
from defocus_lib.stats.claims import Claim

MARGIN = 0.05  # an AUC this close to 0.5 counts as chance
ESTIMATE = ["value", "low", "high"]


def predictions_by_title(
    predictions: pd.DataFrame, training_manipulation: str
) -> dict[str, Predictions]:
    """Test predictions of each input on the manipulation that it learned, by title.

    In the order of :data:`INPUTS`, then those on an illumination change. ``predictions`` are those
    of :func:`defocus_lib.detect.sweep.train_and_test`.
    """
    by_title = {}
    for learned in (training_manipulation, ILLUMINATION):
        trained = predictions[predictions["training_manipulation"] == learned]
        tested = trained[trained["manipulation"].isin([REAL, learned])]
        for name in INPUTS:
            rows = tested[tested["input"] == name]
            if len(rows) and name != "fusion":
                by_title[title_of(name, learned)] = predictions_of(rows)
    return by_title


def with_names(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions of a sweep with a column ``map``: what a detector was given, as :func:`given`."""
    names = predictions[["input", "normalisation"]].drop_duplicates()
    pairs = zip(names["input"], names["normalisation"], strict=True)
    names = names.assign(map=[given(*pair) for pair in pairs])
    return predictions.merge(names, how="left", on=["input", "normalisation"])


def given(input_name: str, normalisation: str) -> str:
    """What a detector was given: the normalisation of a map alone, or the title of an input."""
    return f"map, {normalisation}" if input_name == "defocus" else INPUTS[input_name].title


def comparisons(names: Iterable[str], edges: str) -> list[tuple[str, str]]:
    """Pairs of which gains are shown: each map in px with that by min-max, and each map with the
    ``edges`` alone. ``names`` as :func:`given` gives them."""
    maps = [name for name in names if name.startswith("map, ")]
    min_max, px = given("defocus", MIN_MAX), given("defocus", PX)
    first = [(name, min_max) for name in maps if name.startswith(px) and min_max in maps]
    return first + [(name, edges) for name in maps]


def normalisation_claims(
    predictions: Mapping[str, Predictions], resamples: pd.DataFrame, detector: str, **counts: Any
) -> list[Claim]:
    """Gains of the map in px over min-max, and of the map in px with edges over edges alone.

    ``predictions`` are named ``given|manipulation`` by :func:`detector_by_map.by_map`, their
    ``resamples`` are of :func:`auc.resampled`; ``counts`` are those of :func:`claims`. A pair that
    was not tried has no claim.
    """
    px, edges = given("defocus", PX), INPUTS["edges"].title
    pairs = {
        "map in px over min-max": (px, given("defocus", MIN_MAX)),
        "map in px and edges over edges": (given("defocus", f"{PX}+edges"), edges),
    }
    made = []
    for title, (name, other) in pairs.items():
        for key in predictions:
            of, manipulation = key.split("|", 1)
            if of != name or f"{other}|{manipulation}" not in predictions:
                continue
            row = differences(predictions, resamples, key, [f"{other}|{manipulation}"]).iloc[0]
            statement = f"Gain in AUC on {manipulation} of a {detector} detector: {title}"
            value, low, high = map(float, row[ESTIMATE])
            made.append(Claim(statement, value, low, high, **counts))
    return made


def claims(auc: pd.DataFrame, gains: pd.DataFrame, **counts: Any) -> list[Claim]:
    """The claims of the page of controls.

    ``auc`` is the summary of :func:`predictions_by_title`; ``gains`` the AUC of the defocus map
    minus that of each of :data:`WITHOUT_BLUR`, by title; ``counts`` the unit, groups, seeds and
    epochs of a :class:`Claim`.
    """
    chance: dict[str, Any] = {"compared_with": 0.5, "style": ".2f", **counts}
    within = {**chance, "relation": "within", "margin": MARGIN}

    def claim(statement: str, row: pd.Series, **options: Any) -> Claim:
        value, low, high = map(float, row[ESTIMATE])
        return Claim(statement, value, low, high, **options)

    detector, shuffled = "AUC of small defocus-map detectors", INPUTS["shuffled"].title
    without_blur = [INPUTS[name].title for name in WITHOUT_BLUR]
    changed = title_of("defocus", ILLUMINATION)
    return [
        claim(f"{detector} exceeds chance", auc.loc[INPUTS["defocus"].title], **chance),
        *(
            claim(f"Gain in {detector} over the control: {title}", gains.loc[title], **counts)
            for title in without_blur
        ),
        claim(f"{detector} with {shuffled} is chance", auc.loc[shuffled], **within),
        claim(f"{detector} on an illumination change is chance", auc.loc[changed], **within),
    ]
