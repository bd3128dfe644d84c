"""What the book found, in a few lines for its front page: each written by the notebook that measured it."""

from __future__ import annotations

import json
import math
from pathlib import Path

from defocus_lib.store import Folder, write_beside, write_json

ROOT = "findings"
PAGE = "findings.md"


def save(folder: Folder, page: str, text: str, value: float, low: float, high: float, style: str = ".2f") -> Path:
    """Keep one finding of a run.

    Parameters
    ----------
    folder : Folder
    page : str
        Name of the notebook that measured it; a page has one finding.
    text : str
        A sentence of Markdown with ``{number}`` where the value and its interval go.
    value, low, high : float
        The number, and its 95 % interval.
    style : str
        Format of the three numbers.

    Raises
    ------
    ValueError
        If the text has no place for the number.
    """
    if "{number}" not in text:
        raise ValueError(f"text is {text!r}; a sentence with {{number}} wanted")
    numbers = {"value": float(value), "low": float(low), "high": float(high)}
    finding = {"page": page, "text": text, **numbers, "style": style}
    return write_json(folder.path / ROOT / f"{page}.json", finding)


def compose(folder: Folder) -> Path:
    """Write the findings of a run as a list, in the order of their pages, each with a link to its page."""
    lines = [
        _line(json.loads(path.read_text(encoding="utf-8"))) for path in sorted((folder.path / ROOT).glob("*.json"))
    ]
    text = "\n".join(lines or ["- Nothing was measured in this run."]) + "\n"
    return write_beside(folder.path / PAGE, lambda path: path.write_text(text, encoding="utf-8"))


def _line(finding: dict) -> str:
    value, low, high = (format(finding[name], finding["style"]) for name in ("value", "low", "high"))
    interval = "" if math.isnan(finding["low"]) else f" [{low}, {high}]"  # a single group has none
    number = f"**{value}**{interval}".replace(" ", "\N{NO-BREAK SPACE}")
    return f"- {finding['text'].format(number=number)} {{doc}}`executed/{finding['page']}`"
