"""What a detector was trained on, as numbers that travel in the header of its weights.

A detector says nothing about a picture unlike those that it learned from. So the header holds the
range of simple statistics over the training images, of the file and of the blur at its edges, and
:func:`compare` says where a picture lies outside of them. It also holds the mean input of real
training images, coarse enough to show nobody, as what a picture is explained against.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from defocus_lib.data.images import Reader, as_planes, format_of, read_bytes
from defocus_lib.detect.inputs import Inputs
from defocus_lib.maps.estimate import SMALLEST_SIDE, defocus_maps

SAMPLE = 200  # training images that are described: the tails of more are known better, at a price
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
RANGE = (0.01, 0.99)  # outside of these quantiles a picture lies outside of the training images
MEAN_SIDE = 16  # px, of the mean input
STATISTICS = {
    "width": "width of the file (px)",
    "height": "height of the file (px)",
    "bytes_per_pixel": "size of the file (bytes per px)",
    "edges": "share of edge pixels (%)",
    "blur_10": "blur at edges, 10th percentile (px)",
    "blur_50": "blur at edges, median (px)",
    "blur_90": "blur at edges, 90th percentile (px)",
}


def statistics(content: bytes, decoded: np.ndarray, used: np.ndarray) -> dict[str, float | str]:
    """The format of a picture file and its :data:`STATISTICS`.

    ``decoded`` are its pixels as stored, ``used`` those that a detector or its map is made of, each
    (H, W, 3) uint8. Edges and blur are those of the preset ``physical``, whatever maps the detector
    reads. Without a measurable edge there are none of blur; without 32 px on each side there are
    none of edges either.
    """
    height, width = decoded.shape[:2]
    of_file = {
        "format": format_of(content),
        "width": float(width),
        "height": float(height),
        "bytes_per_pixel": len(content) / (width * height),
    }
    return of_file | (edge_statistics(used) if min(used.shape[:2]) >= SMALLEST_SIDE else {})


def edge_statistics(pixels: np.ndarray) -> dict[str, float]:
    """Edges and blur of ``pixels`` (H, W, 3) uint8, see :func:`statistics`."""
    maps = defocus_maps(as_planes(pixels)[None], "physical")
    blur = maps.sparse[maps.valid].numpy()
    share = {"edges": 100 * float(maps.edges.numpy().mean())}
    if blur.size == 0:
        return share
    return share | {f"blur_{q}": float(np.percentile(blur, q)) for q in (10, 50, 90)}


def describe(records: pd.DataFrame, reader: Reader, seed: int) -> dict:
    """Formats (name -> share) and quantiles of the statistics of at most :data:`SAMPLE` images.

    ``records`` have the columns ``path`` and ``label``; the sample is drawn by ``seed``. Plain
    values: ``images`` (how many there are), ``described``, ``formats``, ``levels`` (those of
    :data:`QUANTILES`), ``quantiles`` (name -> values).
    """
    rows = np.random.default_rng(seed).permutation(len(records))[:SAMPLE]
    paths = [Path(reader.root) / path for path in records["path"].iloc[np.sort(rows)]]
    table = []
    for path in paths:
        content = read_bytes(path)
        decoded = reader.decode(content, str(path))
        table.append(statistics(content, decoded, reader.prepare(decoded)))
    formats = Counter(str(row["format"]) for row in table)
    return {
        "images": len(records),
        "described": len(table),
        "formats": {name: count / len(table) for name, count in sorted(formats.items())},
        "levels": list(QUANTILES),
        "quantiles": _quantiles(table),
    }


def _quantiles(table: Sequence[Mapping[str, float | str]]) -> dict[str, list[float]]:
    values = {name: [float(row[name]) for row in table if name in row] for name in STATISTICS}
    return {
        # Values that occur: of few images none lies outside of their own range.
        name: np.quantile(column, QUANTILES, method="inverted_cdf").round(6).tolist()
        for name, column in values.items()
        if column
    }


def compare(picture: Mapping[str, float | str], training: Mapping) -> list[dict]:
    """Statistics of a picture beside those of the training images.

    ``training`` is what :func:`describe` returned. One row for each statistic that both have:
    statistic, value, low and high (:data:`RANGE` of the training images), and whether the value
    lies outside. The format is outside if no described image has it.
    """
    formats = training["formats"]
    format_row = {
        "statistic": "format of the file",
        "value": picture["format"],
        "training": ", ".join(f"{name} {100 * share:.0f} %" for name, share in formats.items()),
        "outside": picture["format"] not in formats,
    }
    rows: list[dict] = [format_row]
    for name, title in STATISTICS.items():
        if name in picture and name in training["quantiles"]:
            low, high = np.interp(RANGE, training["levels"], training["quantiles"][name])
            value = float(picture[name])
            outside = not low - 1e-6 <= value <= high + 1e-6  # of rounding in the header
            spread = {"low": float(low), "high": float(high), "outside": outside}
            rows.append({"statistic": title, "value": value} | spread)
    return rows


def mean_input(inputs: Inputs, labels: np.ndarray, seed: int) -> list:
    """Mean of at most :data:`SAMPLE` real training inputs, in blocks: ``(C, 16, 16)`` in [0, 255].

    Nested lists of integers. ``labels`` (N,) are those of the ``inputs``.
    """
    real = np.flatnonzero(labels == 0)
    rows = np.sort(np.random.default_rng(seed).permutation(real)[:SAMPLE])
    blocks = [F.adaptive_avg_pool2d(inputs[int(row)][0], MEAN_SIDE) for row in rows]
    mean = torch.stack(blocks).double().mean(0)
    return (255 * mean).round().int().tolist()


def background_of(mean: list, size: tuple[int, int]) -> torch.Tensor:
    """The mean input of :func:`mean_input` as one background ``(1, C, H, W)`` in [0, 1]."""
    blocks = torch.tensor(mean, dtype=torch.float32)[None] / 255
    return F.interpolate(blocks, size=size, mode="bilinear", align_corners=False)
