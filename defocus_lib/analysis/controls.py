"""Is it defocus? The verdict on detectors that read the edges of a map without its blur.

If a detector tells images whose illumination was changed, and nothing else, from the originals, it reacts to more than
blur.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from defocus_lib.data.records import REAL
from defocus_lib.detect.control_inputs import ILLUMINATION, INPUTS, title_of
from defocus_lib.stats.auc import Predictions, predictions_of


def answers_by_title(trials: pd.DataFrame, training_manipulation: str) -> dict[str, Predictions]:
    """The answers of the controls, in the order of :data:`INPUTS`, then those on an illumination change.

    Parameters
    ----------
    trials : DataFrame
        As :func:`defocus_lib.detect.sweep.run` returns them.
    training_manipulation : str
        The manipulation that the controls learned.
    """
    found = {}
    for learned in (training_manipulation, ILLUMINATION):
        for control in INPUTS:
            rows = trials[
                (trials["input"] == control) & (trials["training_manipulation"] == learned)
            ]
            if len(rows) and control != "fusion":
                tested = rows[rows["manipulation"].isin([REAL, learned])]
                found[title_of(control, learned)] = predictions_of(tested)
    return found


def verdict(
    auc: Mapping[str, tuple[float, float]], ahead: Mapping[str, tuple[float, float]]
) -> str:
    """What the controls say, in words that the intervals choose.

    Parameters
    ----------
    auc : mapping of str to (low, high)
        95 % intervals of the AUC of ``defocus``, ``shuffled``, and of ``relit`` (the defocus map on images whose light
        alone was changed).
    ahead : mapping of str to (low, high)
        Intervals of the AUC of ``defocus`` minus that of each of :data:`WITHOUT_BLUR`.

    Returns
    -------
    str
        A paragraph.
    """
    if not _within(0.5, auc["shuffled"]):
        return (
            "A detector that learned shuffled labels should guess, and its interval leaves 0.5 out. Something other "
            "than the labels leads from training to test, or chance struck: the other numbers prove nothing."
        )
    if auc["defocus"][0] <= 0.5:
        return (
            "The detector on defocus maps can't be told from guessing here, so there is no signal to explain. What the "
            "controls reach says nothing about defocus."
        )
    return f"{_beyond_edges(ahead)} {_only_blur(auc['relit'])}"


def _within(value: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= value <= interval[1]


def _beyond_edges(ahead: Mapping[str, tuple[float, float]]) -> str:
    titles = {name: INPUTS[name].title for name in ahead}
    beaten = [titles[name] for name, (low, _) in ahead.items() if low > 0]
    better = [titles[name] for name, (_, high) in ahead.items() if high < 0]
    level = [title for title in titles.values() if title not in (*beaten, *better)]
    if len(beaten) == len(ahead):
        return (
            f"The map carries more than its edges: on it the same detector beats {_listed(beaten)}, each by more than "
            "the intervals leave open. What it adds to them is the blur that was read there."
        )
    if better:
        return (
            f"The map adds nothing to its edges: on {_listed(better)} the same detector does better, so what the map "
            "shows of manipulation can be had without its blur."
        )
    also = f", though it beats {_listed(beaten)}" if beaten else ""
    return (
        f"The map can't be shown to carry more than its edges: {_listed(level)} do about as well within the intervals"
        f"{also}. Blur may help, but this comparison does not prove it."
    )


def _only_blur(relit: tuple[float, float]) -> str:
    if _within(0.5, relit):
        return "A illumination change that leaves all blur as it was goes unnoticed on the map, as it should."
    if relit[0] > 0.5:
        return (
            "But an illumination change that leaves all blur as it was is noticed on the map too: which edges are found "
            "depends on contrast, so the map also reports what has nothing to do with focus."
        )
    return "On an illumination change the detector is wrong more often than chance would be, for which there is no good reason."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
