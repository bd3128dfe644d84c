"""Controls of detectors on defocus maps: no blur, shuffled labels, an illumination change.

A detector that tells images whose illumination alone was changed from the originals reacts to more
than blur.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from defocus_lib.data.records import REAL
from defocus_lib.detect.control_inputs import ILLUMINATION, INPUTS, WITHOUT_BLUR, title_of
from defocus_lib.stats.auc import Predictions, predictions_of
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
