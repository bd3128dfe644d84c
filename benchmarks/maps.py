"""Time of a defocus map, and that of a literal implementation: ``python -m benchmarks.maps``.

One run, contestants in turn, medians. The literal one is the authors' code, in torch:
scikit-image's Canny, four 11x11 convolutions, a guided filter of box means. It runs with one
thread and with two; the faster counts. The floor is the compiled sweeps alone, on planes that lie
ready.
"""

from functools import lru_cache
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from PIL import Image
from skimage.feature import canny as skimage_canny
from torch.nn import functional as F

from benchmarks import machine
from defocus_lib.data import manifest
from defocus_lib.data.photographs import load_photograph
from defocus_lib.maps.edges import SKIMAGE_THRESHOLD, canny
from defocus_lib.maps.estimate import defocus_maps
from defocus_lib.maps.kernels import filters
from defocus_lib.maps.presets import PRESETS
from defocus_lib.maps.ratio import RADIUS

RESULTS = Path(__file__).parent / "results" / "maps.csv"
SIZE, ROUNDS, WORKERS = 299, 9, (1, 2)


def photographs() -> np.ndarray:
    """The packaged photographs, their left squares: (B, 3, 299, 299) float32 in [0, 1]."""
    planes = []
    for entry in manifest.load_manifest().photographs:
        pixels = load_photograph(entry)
        side = min(pixels.shape[:2])
        square = Image.fromarray(pixels[:side, :side]).resize((SIZE, SIZE), Image.Resampling.BOX)
        planes.append(np.moveaxis(np.asarray(square, dtype=np.float32) / 255, 2, 0))
    return np.stack(planes)


@lru_cache
def kernels(scale: float) -> torch.Tensor:
    """The two 11x11 derivatives of a Gaussian: (2, 1, 1, 11, 11) float32."""
    y, x = torch.meshgrid(*[torch.arange(-5.0, 6.0)] * 2, indexing="ij")
    gaussian = torch.exp(-(x**2 + y**2) / (2 * scale**2)) / (2 * torch.pi * scale**4)
    return torch.stack([-x * gaussian, -y * gaussian])[:, None, None]


def literal_batch(images: np.ndarray, scales: tuple[float, float], threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for image in images:
        literal(image, scales)
    torch.set_num_threads(before)


def literal(image: np.ndarray, scales: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Edges and dense map of one image as Jeon & Woo (2025) compute them."""
    grey = (torch.from_numpy(image) * 2 - 1).mean(0)[None, None]
    edges = skimage_canny(grey[0, 0].clamp(0, 1).numpy(), sigma=1.5)
    fine, coarse = (
        torch.hypot(*(F.conv2d(grey, kernel, padding=5) for kernel in kernels(scale)))
        for scale in scales
    )
    ratio = fine / (coarse + 1e-8) * torch.from_numpy(edges)
    variance = (ratio**2 * scales[0] ** 2 - scales[1] ** 2) / (1 - ratio**2 + 1e-8)
    sparse = variance.clamp(min=0).sqrt().nan_to_num(nan=0.0).clamp(max=5)
    return edges, guided(grey, sparse)[0, 0].numpy()


def guided(guide: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    def mean(maps: torch.Tensor) -> torch.Tensor:
        rows = F.avg_pool2d(maps, (1, 15), stride=1, padding=(0, 7), count_include_pad=False)
        return F.avg_pool2d(rows, (15, 1), stride=1, padding=(7, 0), count_include_pad=False)

    guide_mean, value_mean = mean(guide), mean(values)
    slope = (mean(guide * values) - guide_mean * value_mean) / (
        mean(guide**2) - guide_mean**2 + 1e-2
    )
    return mean(slope) * guide + mean(value_mean - slope * guide_mean)


def floor(grey: np.ndarray, six: np.ndarray, scales: tuple[float, float]) -> None:
    """Canny, the gradients of two scales and the six box means of a guided filter, alone."""
    canny(grey, 1.5, SKIMAGE_THRESHOLD / 2, SKIMAGE_THRESHOLD)
    around = filters.padded(grey, RADIUS, False)
    for scale in scales:
        filters.gradient_energy(around, RADIUS, scale, RADIUS)
    filters.box_means(six, 7)


def medians(contestants: dict, rounds: int = ROUNDS) -> dict:
    """Median seconds of each, in turn, after one round that doesn't count."""
    seconds = {key: [] for key in contestants}
    for _ in range(rounds + 1):
        for key, run in contestants.items():
            start = perf_counter()
            run()
            seconds[key].append(perf_counter() - start)
    return {key: float(np.median(times[1:])) for key, times in seconds.items()}


def agreement(images: np.ndarray, preset: str) -> dict:
    """Whether the edges are scikit-image's, and the largest difference of the dense maps, px."""
    maps = defocus_maps(images, preset)
    edges, dense = zip(*(literal(image, PRESETS[preset].scales) for image in images), strict=True)
    return {
        "edges_identical": bool((maps.edges[:, 0].numpy() == np.stack(edges)).all()),
        "largest_dense_difference": float(np.abs(maps.dense[:, 0].numpy() - np.stack(dense)).max()),
    }


def main() -> None:
    images = photographs()
    greys = np.clip((images * 2 - 1).mean(1), 0, 1)
    six = greys[:6].copy()
    references = [name for name, preset in PRESETS.items() if preset.literal]
    scales = PRESETS["published"].scales
    contestants = {
        ("literal, torch", "published", threads): lambda t=threads: literal_batch(images, scales, t)
        for threads in WORKERS
    }
    contestants |= {
        ("floor", "published", 1): lambda: [floor(grey, six, scales) for grey in greys],
    }
    for preset in PRESETS:
        for n_workers in WORKERS:
            contestants["defocus_maps", preset, n_workers] = lambda p=preset, w=n_workers: (
                defocus_maps(images, p, n_workers=w)
            )
    seconds = medians(contestants)
    agreements = {preset: agreement(images, preset) for preset in references}
    # The faster one: on a busy machine that may be the one with a single thread.
    base = min(time for (what, *_), time in seconds.items() if what == "literal, torch")
    bare = seconds["floor", "published", 1]
    rows = [
        {
            "what": what,
            "preset": preset,
            "n_workers": n_workers,
            "ms_per_image": round(1e3 * time / len(images), 3),
            "times_faster_than_literal": round(base / time, 2),
            "times_the_floor": round(time / bare, 2),
            **(agreements.get(preset, {}) if what == "defocus_maps" else {}),
        }
        for (what, preset, n_workers), time in seconds.items()
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(RESULTS, index=False)
    machine.note("maps")
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
