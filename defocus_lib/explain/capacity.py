"""What measured times say: in words, and for many images in shards, storage, hours and money."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

MODELS = 2  # the defocus detector and the RGB detector are both explained


@dataclass(frozen=True)
class Measured:
    """What one image takes.

    Attributes
    ----------
    map_seconds : float
        One core, for its defocus map.
    shapley_seconds : float
        The measured machine, for the Shapley values of one model.
    cores : int
        Of that machine.
    gflop : float
        One gradient of one model, forward and backward.
    samples : int
        Gradients an image and model.
    shard_bytes, map_bytes, index_bytes : float
        On disk.
    """

    map_seconds: float
    shapley_seconds: float
    cores: int
    gflop: float
    samples: int
    shard_bytes: float
    map_bytes: float
    index_bytes: float


@dataclass(frozen=True)
class Prices:
    """What is assumed, not measured.

    Attributes
    ----------
    gpu_tflops : float
        What a GPU really sustains in half precision, in 10^12 operations a second.
    gpu_hour, core_hour, terabyte_month : float
        In US dollars.
    """

    gpu_tflops: float
    gpu_hour: float
    core_hour: float
    terabyte_month: float


AIM, ALIKE = 30, 0.999


def verdict(table: pd.DataFrame, alike: float) -> str:
    """Say how the Shapley values of this library compare with those of shap.

    Parameters
    ----------
    table : DataFrame
        By contestant, shap's name beginning with ``shap``: ``times_faster_than_shap``, ``relative_error``.
    alike : float
        The lowest correlation of values in half precision with those in single precision.
    """
    shap = table[table.index.str.startswith("shap")].iloc[0]
    ours = table[~table.index.str.startswith("shap")]
    nearer = ours[ours["relative_error"] < shap["relative_error"]]
    if nearer.empty:
        first = f"No setting of ours comes nearer to the integral than shap, whose error is {shap['relative_error']:.3f}."
    else:
        best = nearer.loc[nearer["times_faster_than_shap"].idxmax()]
        times, errors = (
            best["times_faster_than_shap"],
            (best["relative_error"], shap["relative_error"]),
        )
        first = (
            f"The fastest setting that comes nearer to the integral than shap (error {errors[0]:.3f} instead of "
            f"{errors[1]:.3f}) is {best.name}, at {times:.1f} times less time. "
            f"This {'reaches' if times >= AIM else 'misses'} the aim of {AIM} times at a smaller error."
        )
    kept = "as was aimed for" if alike >= ALIKE else f"where {ALIKE} was aimed for"
    return f"{first} Values in half precision correlate with those in single precision by at least {alike:.4f}, {kept}."


def plan(images: int, one: Measured, prices: Prices, shard_images: int = 256) -> pd.DataFrame:
    """What a run over ``images`` takes.

    Returns
    -------
    DataFrame
        One row a quantity: ``amount``, ``unit``, ``cost (USD)`` (NaN where it has none of its own).

    Raises
    ------
    ValueError
        If ``images`` or ``shard_images`` is below 1.
    """
    if images < 1 or shard_images < 1:
        raise ValueError(f"images is {images}, shard_images {shard_images}; at least 1 wanted")
    terabytes = {
        "Shapley values, maps and photographs in shards": one.shard_bytes * images / 1e12,
        "maps on disk": one.map_bytes * images / 1e12,
        "index": one.index_bytes * images / 1e12,
    }
    core_hours = {
        "defocus maps, on CPUs": one.map_seconds * images / 3600,
        "Shapley values, on CPUs": MODELS * one.shapley_seconds * one.cores * images / 3600,
    }
    gpu_hours = MODELS * one.samples * one.gflop * images / (prices.gpu_tflops * 1000) / 3600
    rows = [("shards", math.ceil(images / shard_images), "files", float("nan"))]
    rows += [
        (name, value, "TB, a month", value * prices.terabyte_month)
        for name, value in terabytes.items()
    ]
    rows += [
        (name, value, "core hours", value * prices.core_hour) for name, value in core_hours.items()
    ]
    rows += [
        ("Shapley values, on GPUs instead", gpu_hours, "GPU hours", gpu_hours * prices.gpu_hour)
    ]
    return pd.DataFrame(rows, columns=["what", "amount", "unit", "cost (USD)"]).set_index("what")
