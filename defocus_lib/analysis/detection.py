"""Claims about the detectors of a run: accuracy on the training manipulation, and carry-over to
manipulations that were not trained on (page 03)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from defocus_lib.data.records import REAL
from defocus_lib.detect.model import Detector
from defocus_lib.detect.pretrained import UNKNOWN
from defocus_lib.stats.auc import weighted_auc
from defocus_lib.stats.bootstrap import Estimate, bootstrap
from defocus_lib.stats.claims import Claim

AIM = 0.85  # AUC on the training manipulation that the project set itself before training
CHANCE = 0.5


def auc_difference(
    first: pd.DataFrame, second: pd.DataFrame, manipulation: str, n_bootstrap: int, seed: int
) -> Estimate:
    """AUC of one detector minus that of another on one manipulation, paired over shared resamples.

    Both tables have one row per test image, the same in the same order: id, group, manipulation,
    label, probability. Raises ValueError if their images differ.
    """
    if first["id"].tolist() != second["id"].tolist():
        raise ValueError("the detectors predicted different images; the same in one order wanted")
    rows = first["manipulation"].isin([REAL, manipulation]).to_numpy()
    labels, groups = first.loc[rows, "label"].to_numpy(), first.loc[rows, "group"].to_numpy()
    first_auc, second_auc = (
        weighted_auc(labels, table.loc[rows, "probability"].to_numpy()) for table in (first, second)
    )
    return bootstrap(
        lambda weights: first_auc(weights) - second_auc(weights), labels, groups, n_bootstrap, seed
    )


def auc_claims(
    measured: pd.DataFrame, training_manipulations: Sequence[str], unit: str, epochs: int | None
) -> list[Claim]:
    """That this detector exceeds :data:`AIM` on its training manipulation, and chance elsewhere.

    ``measured`` holds the rows of one detector from
    :func:`defocus_lib.stats.classification.evaluate`; ``epochs`` is None where nothing was trained.
    Claims on training manipulations come first.
    """
    rows = measured[(measured["metric"] == "auc") & (measured["level"] == "frame")]
    is_training = rows["manipulation"].isin(training_manipulations)
    claims = []
    for row in pd.concat([rows[is_training], rows[~is_training]]).itertuples():
        trained = row.manipulation in training_manipulations
        statement = (
            f"AUC of this defocus detector on {row.manipulation}, its training manipulation"
            if trained
            else f"AUC of this defocus detector on {row.manipulation}, absent from training"
        )
        claims.append(
            Claim(
                statement,
                row.value,
                row.low,
                row.high,
                int(row.groups),
                compared_with=AIM if trained else CHANCE,
                unit=unit,
                epochs=epochs,
                style=".2f",
            )
        )
    return claims


def start_of(detector: Detector) -> str:
    """Where the weights of a detector began, in words for a claim."""
    words = {"": "from scratch", UNKNOWN: "weights as released"}
    return words.get(detector.pretrained, f"pretrained, {detector.pretrained}")


def difference_claim(
    tables: tuple[pd.DataFrame, pd.DataFrame],
    starts: tuple[str, str],
    manipulation: str,
    unit: str,
    epochs: int | None,
    n_bootstrap: int,
    seed: int,
) -> Claim:
    """That this defocus detector has a higher AUC than this RGB detector.

    ``tables`` are their predictions, ``starts`` where their weights began, see :func:`start_of`.
    """
    difference = auc_difference(*tables, manipulation, n_bootstrap, seed)
    rows = tables[0]["manipulation"].isin([REAL, manipulation])
    groups = int(tables[0].loc[rows, "group"].nunique())
    statement = (
        f"AUC of this defocus detector ({starts[0]}) minus that of this RGB detector "
        f"({starts[1]}) on {manipulation}"
    )
    return Claim(statement, *difference.scalars, groups, unit=unit, epochs=epochs)
