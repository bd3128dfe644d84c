"""Values that Jeon & Woo (2025) report for FaceForensics++, to stand beside those of a run.

Source: Jeon & Woo, *Seeing Through the Blur*, CIKM '25 (doi 10.1145/3746252.3761260, arXiv
2509.23289) and the notebooks released with its code. Maps of 299x299 pixels, min-max normalised per
image.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

SOURCE = "FaceForensics++ (Jeon & Woo 2025)"
PIXELS = 299 * 299

COUNTERPART = {
    "resynthesis": "Deepfakes",
    "splice": "FaceSwap",
    "reenactment": "Face2Face",
    "texture": "NeuralTextures",
}
"""Manipulation of the rendered scenes -> the one of FaceForensics++ that it is modelled on."""

_COUNTS = {
    "Deepfakes": (8949.28, 76472, 16, 8092.0),
    "FaceSwap": (6797.20, 75550, 0, 5547.0),
    "Face2Face": (7946.27, 75015, 0, 7043.5),
    "NeuralTextures": (6923.42, 29912, 0, 5474.5),
}

_SWEEP = {
    0.1: (8692.76, 6238.70, 5997.75, 4979.90),
    0.05: (19119.33, 14920.06, 15649.32, 12866.83),
    0.01: (35035.40, 30453.13, 36112.82, 34555.31),
    0.005: (38838.15, 34642.58, 41756.60, 43417.04),
    0.001: (44466.18, 41010.18, 49515.82, 56388.70),
    0.0005: (46005.39, 42872.41, 51415.07, 59364.08),
    0.0001: (48329.58, 46045.66, 54094.95, 63076.58),
}


def mask_counts() -> pd.DataFrame:
    """Active pixels at threshold 0.1 over 1,000 pairs, columns as :func:`mask.count_table`."""
    columns = ["average", "max", "min", "median"]
    table = pd.DataFrame.from_dict(_COUNTS, orient="index", columns=columns)
    table["share %"] = 100 * table["average"] / PIXELS
    return table.rename_axis("manipulation")


def threshold_sweep() -> pd.DataFrame:
    """Mean active pixels of a larger sample: one row per threshold, one column per manipulation."""
    table = pd.DataFrame.from_dict(_SWEEP, orient="index", columns=list(_COUNTS))
    return table.rename_axis(index="threshold", columns="manipulation")


def local_variance() -> pd.DataFrame:
    """Mean local variance of Deepfakes and its KS test: 6,400 frames of 200 videos of each kind.

    The test took frames of one video as independent, so its p-value is far too small (see
    :mod:`defocus_lib.analysis.variance`).
    """
    row = {"images": 6400, "videos": 200, "real": 0.003661, "fake": 0.003561}
    row |= {"KS D": 0.0527, "KS p": 3.9e-8}
    return pd.DataFrame([row], index=pd.Index(["Deepfakes"], name="manipulation"))


def counterpart(names: Iterable[str]) -> dict[str, str]:
    """Manipulation -> the one of FaceForensics++ to compare it with (itself, if it is one of them).

    Those without a counterpart are left out.
    """
    known = {name: name for name in _COUNTS} | COUNTERPART
    return {name: known[name] for name in names if name in known}


def beside(table: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """A table of this run, and below it the reported rows of the counterparts, in the same order.

    Both have the index manipulation and the same columns (else ValueError); the result has the
    index (data, manipulation).
    """
    if list(table.columns) != list(reported.columns):
        raise ValueError(
            f"columns {list(table.columns)} and {list(reported.columns)} differ; "
            "the same columns wanted"
        )
    rows = [name for name in counterpart(table.index).values() if name in reported.index]
    parts = {"this run": table} | ({SOURCE: reported.loc[rows]} if rows else {})
    return pd.concat(parts, names=["data", "manipulation"])
