"""Shapley values of the images of a run, for each of its detectors, ready to be saved."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from defocus_lib import scenes
from defocus_lib.dataset import Inputs
from defocus_lib.defocus import normalize_per_sample
from defocus_lib.detector import Detector
from defocus_lib.images import Reader
from defocus_lib.maps import MapCache
from defocus_lib.shapley import Attributions, shapley_values
from defocus_lib.store import Folder, ShapleySet


def stack_inputs(records: pd.DataFrame, reads: str, reader: Reader, cache: MapCache) -> torch.Tensor:
    """What a detector reads of each record: ``(N, C, H, W)`` float32 in [0, 1]."""
    dataset = Inputs(records, reads, reader, cache)
    return torch.stack([dataset[row][0] for row in range(len(dataset))])


def explain(
    detectors: Mapping[str, Detector],
    records: pd.DataFrame,
    background: pd.DataFrame,
    reader: Reader,
    cache: MapCache,
    precision: str = "float32",
    **options,
) -> dict[str, Attributions]:
    """:func:`defocus_lib.shapley.shapley_values` of the images ``records``, for each detector.

    Parameters
    ----------
    detectors : mapping of what it reads to a detector
    records, background : DataFrame
        Images to explain, and those that they are compared with.
    precision : {"float32", "bfloat16"}
    **options
        Of :func:`defocus_lib.shapley.shapley_values`.
    """
    return {
        reads: shapley_values(
            detector,
            stack_inputs(records, reads, reader, cache),
            stack_inputs(background, reads, reader, cache),
            precision=getattr(torch, precision),
            progress=True,
            **options,
        )
        for reads, detector in detectors.items()
    }


def as_set(
    folder: Folder,
    records: pd.DataFrame,
    reader: Reader,
    cache: MapCache,
    explained: Mapping[str, Attributions],
    meta: dict,
) -> ShapleySet:
    """The images ``records`` with their maps, regions and Shapley values."""
    dense, edges = cache.stack(records)
    return ShapleySet(
        ids=records["id"].to_numpy(dtype=str),
        pairs=records["pair"].to_numpy(dtype=str),
        images=reader.stack(records),
        edges=edges,
        regions=scenes.true_regions(folder, records["id"].tolist(), dense.shape[-1]),
        dmaps=normalize_per_sample(torch.from_numpy(dense)[:, None])[:, 0].numpy().astype(np.float32),
        defocus_shaps=explained["defocus"].values,
        rgb_shaps=explained["rgb"].values,
        defocus_gaps=explained["defocus"].gaps,
        rgb_gaps=explained["rgb"].gaps,
        meta=meta,
    )
