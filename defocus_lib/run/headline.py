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
BY_HAND = ("15_real_images",)  # its claims are about other data than those of the run
NO_CLAIM = "No page of this run makes a claim."
EXPLAINED = (
    "**The files of these data give the label away.** Their format, size, compression or metadata "
    "alone tell real from fake, so no claim of this run shows what defocus can do. "
    "{doc}`Data <executed/01_data>` names the facts and a remedy."
)


def save(folder: Folder, page: str, page_claims: Iterable[Claim]) -> Path:
    """Keep the claims of the notebook ``page``."""
    return write_json(folder.path / ROOT / f"{page}.json", [asdict(each) for each in page_claims])


def compose(folder: Folder) -> Path:
    """Write the claims of all pages as one Markdown table, in their order, each with a link.

    What is wrong with the data of the run stands beside every claim about them, and is explained
    below the table.
    """
    lines, caution = [], folder.about.caution
    for path in sorted((folder.path / ROOT).glob("*.json")):
        page_claims = [Claim(**each) for each in json.loads(path.read_text(encoding="utf-8"))]
        link = f"{{doc}}`{path.stem.partition('_')[0]} <executed/{path.stem}>`"
        table = claims.table(page_claims).reset_index()
        if caution:
            table[claims.CAUTION] = "" if path.stem in BY_HAND else caution
        rows = table.itertuples(index=False)
        lines += ["| " + " | ".join([*map(_escaped, row), link]) + " |" for row in rows]
    columns = [*claims.COLUMNS, *([claims.CAUTION] if caution else []), "page"]
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    below = ["", EXPLAINED] if caution else []
    text = "\n".join([*head, *lines, *below] if lines else [NO_CLAIM]) + "\n"
    return write_beside(folder.path / PAGE, lambda path: path.write_text(text, encoding="utf-8"))


def _escaped(cell: str) -> str:
    """Text that can't end a cell or open HTML."""
    return cell.replace("|", r"\|").replace("<", "&lt;")
