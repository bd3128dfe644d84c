"""Accuracy of the maps on photographs by real lenses: ``python -m benchmarks.real_lenses FOLDER``.

Searches FOLDER and the folders in it. A folder of five or more photographs whose names end in a
number is a focal stack, in the order of these. One with a table ``disc_to_sigma.csv`` (columns
``radius`` and ``sigma`` in px) holds photographs with measured blur, each beside a map of disc
radii of the same name (``.npy`` or ``.mat`` with one matrix; not a number where unknown). Writes
one row per preset and stack or photograph to ``benchmarks/results/real_lenses.csv``. No photograph
is kept.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.io import loadmat

from benchmarks import machine
from defocus_lib.analysis import real_lenses
from defocus_lib.data.images import SUFFIXES, read_image
from defocus_lib.data.tree import natural
from defocus_lib.maps.estimate import DefocusMaps, defocus_maps
from defocus_lib.run.artifacts import project_root
from defocus_lib.run.provenance import commit

RESULTS = Path(__file__).parent / "results" / "real_lenses.csv"
PRESETS = ("released", "published", "physical", "learned")
TABLE, FEWEST = "disc_to_sigma.csv", 5


def pictures(folder: Path) -> list[Path]:
    """The picture files of a folder whose names end in a number, in natural order."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    numbered = (file for file in files if file.stem[-1].isdigit())
    return sorted(numbered, key=lambda file: natural(file.name))


def maps_of(file: Path, longest_side: int, preset: str) -> tuple[np.ndarray, DefocusMaps]:
    """A photograph (H, W, 3) uint8, reduced, and its maps."""
    planes = torch.from_numpy(read_image(file, longest_side))
    pixels = (255 * planes[0]).round().byte().permute(1, 2, 0).numpy()
    return pixels, defocus_maps(planes, preset)


def stack_rows(folder: Path, longest_side: int, patch: int) -> Iterator[dict]:
    """The summary of a focal stack, for each preset."""
    for preset in PRESETS:
        read = [maps_of(file, longest_side, preset) for file in pictures(folder)]
        photographs = [pixels for pixels, _ in read]
        sigma = [maps.dense[0, 0].numpy() for _, maps in read]
        table = real_lenses.patches(photographs, sigma, patch)
        of_stack = real_lenses.stack_summary(table)
        yield {"preset": preset, "photographs": len(read), **of_stack}


def measured_rows(folder: Path) -> Iterator[dict]:
    """The scores of each photograph with measured blur, for each preset."""
    table = pd.read_csv(folder / TABLE).sort_values("radius")
    for file in pictures(folder):
        radius = radii(file)
        truth = np.interp(radius, table["radius"], table["sigma"])
        for preset in PRESETS:
            _, maps = maps_of(file, 0, preset)
            spread = None if maps.uncertainty is None else maps.uncertainty[0, 0].numpy()
            dense = maps.dense[0, 0].numpy()
            if dense.shape != radius.shape:
                raise SystemExit(
                    f"{file}: {dense.shape} px, its map {radius.shape}; one size wanted"
                )
            scores = real_lenses.measured_scores(dense, truth, spread)
            yield {"photograph": file.name, "preset": preset, "photographs": 1, **scores}


def radii(photograph: Path) -> np.ndarray:
    """The measured disc radius (H, W) in px beside a photograph."""
    array, matrix = photograph.with_suffix(".npy"), photograph.with_suffix(".mat")
    if array.exists():
        return np.load(array, allow_pickle=False).astype(float)
    if not matrix.exists():
        raise SystemExit(f"{photograph}: neither {array.name} nor {matrix.name} beside it")
    matrices = [value for value in loadmat(matrix).values() if np.ndim(value) == 2]
    if len(matrices) != 1:
        raise SystemExit(f"{matrix}: {len(matrices)} matrices; one, of radii in px, wanted")
    return matrices[0].astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--longest-side", type=int, default=1024, help="of a focal stack, in px")
    parser.add_argument("--patch", type=int, default=32, help="height and width of a patch in px")
    given = parser.parse_args()
    rows: list[dict] = []
    for folder in sorted({path.parent for path in given.folder.rglob("*")} | {given.folder}):
        name = folder.relative_to(given.folder.parent).as_posix()
        found = iter(())
        if (folder / TABLE).exists():
            found = measured_rows(folder)
        elif len(pictures(folder)) >= FEWEST:
            found = stack_rows(folder, given.longest_side, given.patch)
        for row in found:
            rows.append({"name": name, **row, "longest side (px)": given.longest_side})
            print(pd.Series(row).to_string(), end="\n\n", flush=True)
    if not rows:
        raise SystemExit(
            f"{given.folder}: no focal stack of {FEWEST} photographs, and no {TABLE}, found"
        )
    table = pd.DataFrame(rows).round(4).assign(commit=commit(project_root()))
    table.to_csv(RESULTS, index=False)
    machine.note("real_lenses")


if __name__ == "__main__":
    main()
