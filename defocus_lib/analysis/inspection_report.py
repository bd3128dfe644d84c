"""What an inspection reports: words for a terminal and a page, numbers for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from defocus_lib.analysis.inspection import (
    MEASURED,
    MEASURED_SHARE,
    Inspection,
    Inspector,
    blur_numbers,
    facts,
    flat,
    inspect_all,
)
from defocus_lib.maps.cache import version
from defocus_lib.maps.presets import PRESETS
from defocus_lib.run.terminal import say
from defocus_lib.stats.bootstrap import formatted

SHOWN = 100  # pictures with their planes in a report, which would be too large for a browser


@dataclass(frozen=True)
class Result:
    """Many inspections: what is kept of them once their planes are gone."""

    weights: dict[str, str]
    """See :func:`about_weights`."""
    pictures: list[dict]
    """See :func:`facts`."""
    sections: list[str]
    """Of a report: those of the first :data:`SHOWN` pictures."""
    unreadable: list[str]
    """Why other files could not be read."""
    interrupted: bool = False
    """Whether files are left that were not looked at."""

    def document(self) -> dict:
        """All numbers, for JSON."""
        return {
            "weights": self.weights,
            "pictures": self.pictures,
            "unreadable": self.unreadable,
        }

    def csv(self) -> str:
        """One row per picture."""
        return pd.DataFrame([flat(picture) for picture in self.pictures]).to_csv(index=False)


def collect(
    inspector: Inspector,
    paths: Sequence[Path],
    draw: Callable[[Inspection, int], str] | None = None,
    tell: bool = True,
) -> Result:
    """Inspect picture files one after another.

    ``draw`` makes the part of a report on one picture, with its number. ``tell`` prints what the
    answers of the weights are worth, then each result as it comes, at length for a few pictures,
    and shows a progress bar for several. Ctrl-C ends it; what was inspected so far is kept.
    """
    pictures: list[dict] = []
    sections: list[str] = []
    unreadable: list[str] = []
    describe = text if len(paths) <= AT_LENGTH else short_line
    interrupted, about = False, about_weights(inspector)
    try:
        if tell and about:
            say(_listed(about), sys.stdout)
        for outcome in inspect_all(inspector, paths, tell):
            if isinstance(outcome, str):
                unreadable.append(outcome)
                say(f"not read: {outcome}")
                continue
            if tell:
                say(describe(outcome), sys.stdout)
            if draw and len(pictures) < SHOWN:
                sections.append(draw(outcome, len(pictures)))
            pictures.append(facts(outcome, inspector))
    except KeyboardInterrupt:
        interrupted = True
        say(f"Interrupted after {len(pictures) + len(unreadable)} of {len(paths)} files.")
    return Result(about, pictures, sections, unreadable, interrupted)


AT_LENGTH = 3  # pictures, of more each gets one line


def blur_lines(inspection: Inspection) -> dict[str, str]:
    """Blur of a picture in words: what was measured -> the value with its unit."""
    numbers = blur_numbers(inspection)
    lines = {}
    if numbers["median"] is None:
        lines["blur"] = "nothing could be measured"
    else:
        low, middle, high = (f"{numbers[name]:.2f}" for name in ("low", "median", "high"))
        lines["blur"] = f"{middle} px (median of what was measured; 80 % lie in {low} to {high} px)"
    if numbers["uncertainty"] is not None:
        lines["uncertainty"] = f"{numbers['uncertainty']:.2f} px (median)"
        lines["measured"] = (
            f"{numbers['measured_percent']:.0f} % of the pixels, "
            f"{numbers['measured_edges_percent']:.0f} % of the edge pixels "
            f"(uncertainty of at most {MEASURED:g} px, or {100 * MEASURED_SHARE:.0f} % of the blur)"
        )
    else:
        lines["uncertainty"] = "not estimated by this preset"
        lines["measured"] = f"{numbers['measured_edges_percent']:.0f} % of the edge pixels"
    lines["edges"] = f"{numbers['edges_percent']:.1f} % of the pixels"
    if numbers["contrast"] is not None:
        lines["centre against border"] = _contrast_words(numbers)
    return lines


def _contrast_words(numbers: dict) -> str:
    means = f"{numbers['centre']:.2f} px against {numbers['border']:.2f} px"
    if numbers["contrast_uncertainty"] is None:
        return f"{means}: {numbers['contrast']:+.2f} px"
    return (
        f"{means}: {numbers['contrast']:+.2f} px, "
        f"{abs(numbers['contrast_in_uncertainties']):.1f} times its uncertainty of "
        f"{numbers['contrast_uncertainty']:.2f} px"
    )


def size_line(inspection: Inspection) -> str:
    """Format and size of the file, and how the picture was brought to that of the map."""
    stored, used = inspection.stored, inspection.sigma.shape[::-1]
    line = f"{inspection.format}, {stored[0]} x {stored[1]} px"
    if stored == used:
        return line
    factor = max(stored) / max(used)
    scale = f"; 1 px of the map is {factor:.1f} px of the file" if factor > 1 else ""
    return f"{line}, read at {used[0]} x {used[1]} px{scale}"


def verdict_line(inspection: Inspection) -> str:
    """Probability and decision in words, or why there is none; "" without weights."""
    verdict = inspection.verdict
    if verdict is None:
        return inspection.withheld
    line = f"probability of manipulation {verdict.probability:.3f}"
    if verdict.threshold is None:
        return f"{line}; no decision, because the weights state no threshold"
    return f"{line}; decision: {verdict.decision} (threshold {verdict.threshold:.3f})"


def outside_line(row: dict) -> str:
    """One statistic in which a picture lies outside of the training images, in words."""
    if "low" not in row:
        return f"{row['statistic']}: {row['value']} (training images: {row['training']})"
    return f"{row['statistic']}: {row['value']:.3g} (training images: {range_of(row)})"


def range_of(row: dict) -> str:
    """The range of a statistic over the training images, or their formats."""
    return row["training"] if "low" not in row else f"{row['low']:.3g} to {row['high']:.3g}"


def lines_of(inspection: Inspection) -> dict[str, str]:
    """An inspection in words: what -> the value with its unit."""
    lines = {"file": size_line(inspection), **blur_lines(inspection)}
    if answer := verdict_line(inspection):
        lines["verdict"] = answer
    if inspection.outside:
        lines["outside"] = "; ".join(map(outside_line, inspection.outside))
    return lines


def comparison_table(inspection: Inspection) -> pd.DataFrame:
    """The picture beside the training images, for a page: one row per statistic."""
    rows = [
        (
            row["statistic"],
            row["value"] if isinstance(row["value"], str) else f"{row['value']:.3g}",
            range_of(row),
            "outside" if row["outside"] else "inside",
        )
        for row in inspection.comparison
    ]
    columns = ["statistic", "picture", "98 % of the training images", ""]
    return pd.DataFrame(rows, columns=columns).set_index("statistic")


def text(inspection: Inspection) -> str:
    """An inspection as lines for a terminal."""
    return f"{inspection.name}\n{_listed(lines_of(inspection))}"


def _listed(lines: dict[str, str]) -> str:
    return "\n".join(f"    {name:25} {line}" for name, line in lines.items())


def short_line(inspection: Inspection) -> str:
    """An inspection as one line for a terminal."""
    numbers, verdict = blur_numbers(inspection), inspection.verdict
    parts = ["nothing could be measured"]
    if numbers["median"] is not None:
        parts = [f"blur {numbers['median']:.2f} px", f"centre {numbers['contrast']:+.2f} px"]
    if verdict is not None:
        parts.append(f"probability {verdict.probability:.3f} {verdict.decision}".rstrip())
    elif inspection.withheld:
        parts.append("no verdict")
    if inspection.outside:
        parts.append(f"outside of the training images in {len(inspection.outside)} statistics")
    return f"{inspection.name}: {'; '.join(parts)}"


def about_weights(inspector: Inspector) -> dict[str, str]:
    """What the answers of the weights are worth, as far as their header tells: name -> words."""
    header, weights = inspector.header, inspector.settings.weights
    if weights is None:
        return {}
    reads = f"{header['reads']}, {header['backbone']}"
    method = ""
    if header.get("preset"):
        method = f", maps of preset {header['preset']} ({inspector.normalisation})"
    reader = inspector.reader
    size = f"{reader.size} x {reader.size} px ({reader.fit})" if reader.size else "any size"
    if reader.label:
        size += f", equalised to {reader.label}"
    lines = {
        "weights": f"{weights.name}: {header['kind']}",
        "detector": f"{reads}{method}; pictures of {size}",
        "trained on": _training_words(inspector),
        "test AUC (95 % interval)": _auc_words(header),
        **_caution(header),
        "threshold": _threshold_words(header),
        "Shapley values": "against the mean real training input"
        if "background" in header
        else f"against a uniform input, because the mean real training input is {NOT_STATED}",
    }
    if (preset := header.get("preset")) and PRESETS[preset].literal:
        lines["maps"] = "as the authors compute them: strong blur reads as weak, so px are nominal"
    stated = header.get("map_version")
    if stated and stated != version(header["preset"]):
        lines["maps"] = "trained on maps of another version of this method: numbers may differ"
    return lines


NOT_STATED = "not stated in the file"


def _training_words(inspector: Inspector) -> str:
    header = inspector.header
    if "data" not in header:
        return f"{NOT_STATED}: nothing tells how far its answers carry"
    kind = "rendered scenes, no photographs" if inspector.is_rendered else "pictures on disk"
    manipulations = header.get("training_manipulation") or "not stated"
    words = f"{header['data']} ({kind}); manipulations: {manipulations}"
    described = header.get("training_images")
    return f"{words}; {described['images']:,} training images" if described else words


def _auc_words(header: dict) -> str:
    test = header.get("test") or header.get("evaluated on", {}).get("test")
    if not test:
        return NOT_STATED
    return "; ".join(
        f"{name} {formatted(row['auc'], row.get('low', np.nan), row.get('high', np.nan))}"
        for name, row in test.items()
    )


def _caution(header: dict) -> dict[str, str]:
    """What speaks against the AUC, if anything does."""
    if not header.get("file_facts_auc"):
        return {}
    words = (
        "the files of its training data give the label away: facts about them alone, without "
        f"pixels, reach an AUC of {header['file_facts_auc']:.2f}"
    )
    return {"caution": words}


def _threshold_words(header: dict) -> str:
    if "threshold" not in header:
        return f"{NOT_STATED}: no decision is given"
    return f"{header['threshold']:.3f}, chosen on validation images"
