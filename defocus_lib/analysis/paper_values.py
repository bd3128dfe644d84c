"""Figures that the reference published, to stand beside ours. They are of FaceForensics++; our scenes are other data.

Source: Jeon & Woo, *Seeing Through the Blur*, CIKM '25 (doi 10.1145/3746252.3761260, arXiv 2509.23289) and the
notebooks released with its code. Maps of 299x299 pixels, min-max normalised per image.
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
"""Manipulation of our scenes -> the one of FaceForensics++ that it is modelled on."""

OTHER_DATA = f"other data: {SOURCE}"
OWN_RUN = "the authors' own run on FaceForensics++"

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
    """Active pixels at threshold 0.1 over 1,000 pairs: one row a manipulation, columns as :func:`mask.count_table`."""
    table = pd.DataFrame.from_dict(
        _COUNTS, orient="index", columns=["average", "max", "min", "median"]
    )
    table["share %"] = 100 * table["average"] / PIXELS
    return table.rename_axis("manipulation")


def threshold_sweep() -> pd.DataFrame:
    """Mean active pixels (second published table, a larger sample): one row a threshold, one column a manipulation."""
    table = pd.DataFrame.from_dict(_SWEEP, orient="index", columns=list(_COUNTS))
    return table.rename_axis(index="threshold", columns="manipulation")


def local_variance() -> pd.DataFrame:
    """Mean local variance of Deepfakes, 6,400 real and 6,400 fake frames of 200 videos each, and its KS test.

    The test took frames of one video as independent, so its p-value is far too small: see :mod:`defocus_lib.analysis.variance`.
    """
    row = {
        "images": 6400,
        "videos": 200,
        "real": 0.003661,
        "fake": 0.003561,
        "KS D": 0.0527,
        "KS p": 3.9e-8,
    }
    return pd.DataFrame([row], index=pd.Index(["Deepfakes"], name="manipulation"))


def counterpart(names: Iterable[str]) -> dict[str, str]:
    """Each manipulation -> the published one to compare it with; those that have none are left out.

    A manipulation of FaceForensics++ is its own counterpart.
    """
    published = {name: name for name in _COUNTS} | COUNTERPART
    return {name: published[name] for name in names if name in published}


def relation(names: Iterable[str]) -> str:
    """What the published figures are to a run with these manipulations, for prose; "" if none has a counterpart."""
    found = counterpart(names)
    if not found:
        return ""
    return OWN_RUN if all(name == other for name, other in found.items()) else OTHER_DATA


def beside(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Our table, and below it the published rows of the counterparts, in the same order and marked by their relation.

    Parameters
    ----------
    ours : DataFrame
        Index manipulation, of our scenes or of FaceForensics++.
    theirs : DataFrame
        Index manipulation of FaceForensics++, with the same columns.

    Returns
    -------
    DataFrame
        Index ``(data, manipulation)``; ours alone if nothing was published for its manipulations.

    Raises
    ------
    ValueError
        If the columns differ.
    """
    if list(ours.columns) != list(theirs.columns):
        raise ValueError(
            f"columns {list(ours.columns)} and {list(theirs.columns)} differ; the same columns wanted"
        )
    rows = [other for other in counterpart(ours.index).values() if other in theirs.index]
    tables = {"this run": ours} | ({relation(ours.index): theirs.loc[rows]} if rows else {})
    return pd.concat(tables, names=["data", "manipulation"])
