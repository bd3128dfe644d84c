"""The claims of every page, collected for the front page of the book."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from defocus_lib.run.artifacts import Folder, write_beside, write_json
from defocus_lib.stats import claims
from defocus_lib.stats.claims import Claim

ROOT = "claims"
PAGE = "claims.md"


def save(folder: Folder, page: str, rows: Iterable[Claim]) -> Path:
    """Keep the claims of the notebook ``page``."""
    return write_json(folder.path / ROOT / f"{page}.json", [asdict(claim) for claim in rows])


def compose(folder: Folder) -> Path:
    """Write the claims of all pages as one Markdown table, in the order of the pages, each with a
    link to its page."""
    lines = [
        f"| {name} {{doc}}`⇢ <executed/{path.stem}>` | {' | '.join(row)} |"
        for path in sorted((folder.path / ROOT).glob("*.json"))
        for name, *row in claims.table(_read(path)).reset_index().itertuples(index=False)
    ]
    head = "| claim | estimate [95 % CI] | compared with | n | verdict |\n|---|---|---|---|---|"
    text = "\n".join([head, *lines] if lines else ["No page of this run makes a claim."]) + "\n"
    return write_beside(folder.path / PAGE, lambda path: path.write_text(text, encoding="utf-8"))


def _read(path: Path) -> list[Claim]:
    return [Claim(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
