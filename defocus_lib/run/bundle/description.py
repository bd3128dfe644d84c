"""What a bundle is: a finished run as one zip that anyone can verify, render and explore.

It holds what the book needs to be rendered without computing anything: records, tables, features,
Shapley values, weights, executed notebooks. ``bundle.json`` says what made it,
``checksums.sha256`` can be read by ``sha256sum -c``, and ``ro-crate-metadata.json`` describes all
of it as an RO-Crate 1.1 (https://w3id.org/ro/crate/1.1).
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 1
DESCRIPTION, CHECKSUMS, CRATE = "bundle.json", "checksums.sha256", "ro-crate-metadata.json"
SHOWS_IMAGES = "shows-images"  # the tag of a cell that draws pictures or maps pixel by pixel
INJECTED = "injected-parameters"  # the tag of the cell that papermill adds
SHAPLEY = "shapley"
OVERVIEW = "overview.png"
SUMMARY = "this_run.md"

_NAME = r"[\w][\w .+()-]*"
KINDS = {
    r"provenance\.json": ("What the images of the run are.", "application/json"),
    rf"{_NAME}\.parquet": ("A table of the run.", "application/vnd.apache.parquet"),
    rf"(stages/)?{_NAME}\.csv": ("A table of the run.", "text/csv"),
    r"maps\.json": ("How the defocus maps were made.", "application/json"),
    r"features\.npz": ("Features of the defocus detector.", "application/x-npz"),
    r"detector_\w+\.safetensors": (
        "Weights of a detector; the card is in the header.",
        "application/octet-stream",
    ),
    r"overview\.png": ("The figure of the front page.", "image/png"),
    rf"claims/{_NAME}\.json": ("The claims of a page.", "application/json"),
    rf"runs/{_NAME}\.json": ("Time, memory and parameters of a page.", "application/json"),
    rf"notebooks/{_NAME}\.ipynb": ("An executed notebook.", "application/x-ipynb+json"),
    rf"shapley/(index\.parquet|{_NAME}/shard-\d{{5}}\.npz)": (
        "Maps and Shapley values of images, or their index.",
        "application/x-npz",
    ),
}
"""What a bundle may hold: pattern of the path -> description and media type."""

NOTE_PICTURES = "Left out of this bundle: figures of pictures and of maps."
NOTE_NO_SHAPLEY = "Left out of this bundle: the Shapley values, so that 05 to 09 cannot run again."
NOTE_SAMPLE = "Of the Shapley values this bundle holds those of at most {0} images of each set."


class Description(BaseModel):
    """``bundle.json``: what a bundle holds, and what made it.

    Attributes
    ----------
    name : str
        The run is opened as ``artifacts/bundle-<name>``.
    summary : str
        The paragraph of the front page that says which run this is.
    images_per_set : int, optional
        At most so many images of each set have Shapley values here; None for all.
    pictures : bool
        Whether photographs, and figures that show pictures or maps, are there.
    parameters : dict
        Those in force, by notebook.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: int
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    profile: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    dataset: str
    summary: str
    library: str
    commit: str
    date: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    images_per_set: int | None
    pictures: bool
    parameters: dict[str, dict[str, int | float | str | bool]]
    versions: dict[str, str]

    @property
    def left_out(self) -> list[str]:
        """One sentence for each thing that the run has and the bundle has not."""
        sample = NOTE_NO_SHAPLEY if self.images_per_set == 0 else NOTE_SAMPLE
        notes = [] if self.images_per_set is None else [sample.format(self.images_per_set)]
        return [*notes, *([] if self.pictures else [NOTE_PICTURES])]


def kind_of(path: str) -> tuple[str, str]:
    """Description and media type of a file, ("", "") for one that no bundle holds."""
    return next((kind for form, kind in KINDS.items() if re.fullmatch(form, path)), ("", ""))


PAGES = re.compile(r"file: executed/(\w+)$", re.MULTILINE)


def pages_of(root: Path) -> list[str]:
    """The notebooks that the book of the checkout ``root`` shows, in its order."""
    return PAGES.findall((root / "book" / "_toc.yml").read_text(encoding="utf-8"))
