"""The embedded data set: scenes of known depth, photographed through one thin lens.

A controlled experiment with known truth, not deepfakes. A scene is a backdrop and a few
overlapping shapes, each textured with a packaged photograph and each at its own distance; the
nearest shape is the subject. The camera renders it, adds sensor noise and stores it as JPEG. In a
manipulated image a region of the subject is manipulated before storage, and all else is the
paired real image.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image
from scipy import ndimage
from skimage.restoration import denoise_tv_chambolle
from tqdm.auto import tqdm

from defocus_lib.run.artifacts import Folder, read_arrays, write_beside
from defocus_lib.scenes import optics

SPLITS = ("train", "val", "test")
TRUTH = "truth.npz"
SMALLEST_SIDE = 32  # px, the smallest that a defocus map is computed of
SENSOR_WIDTH = 36.0  # mm, full frame
# No lens and no pixel grid is sharper than this, in px at 128 px.
SHARPEST = 0.4


@dataclass(frozen=True)
class Scene:
    """A photograph before storage, with its truth."""

    image: np.ndarray
    """(H, W, 3) float in [0, 1], rendered, with sensor noise."""
    sigma: np.ndarray
    """(H, W) float, true blur in px of the surface seen at each pixel."""
    subject: np.ndarray
    """(H, W) bool, pixels of the nearest object."""
    subject_sigma: float
    """Blur of the subject in px."""
    noise: float
    """Standard deviation of the sensor noise."""


@dataclass(frozen=True)
class StoredScene:
    """One scene as stored, real and manipulated; the keys are "real" and the manipulations."""

    images: dict[str, np.ndarray]
    """(H, W, 3) uint8 each."""
    files: dict[str, bytes]
    """The JPEG file of each."""
    regions: dict[str, np.ndarray]
    """(H, W) bool each, the manipulated pixels; none in "real"."""
    sigma: np.ndarray
    """(H, W) float32, true blur of the real image in px."""
    region_sigma: dict[str, float]
    """True blur in px of the manipulated pixels; of "real" that of the subject, where they lie."""


class Manipulated(NamedTuple):
    """A manipulated photograph, of which the region is cut out later."""

    image: np.ndarray
    """(H, W, 3) float in [0, 1]."""
    sigma: float
    """True blur of the region in px: one number, because the subject's is one."""


def records(
    counts: dict[str, int],
    training_manipulation: str,
    manipulations: Sequence[str],
    by_all: int = 0,
) -> pd.DataFrame:
    """The table of images: every scene real and by `training_manipulation`, test scenes by all.

    `counts` holds the number of scenes of each split. The first `by_all` training and validation
    scenes, too, are manipulated by all. Returns the columns of
    :data:`defocus_lib.data.records.COLUMNS` without those of the stored file; video and group are
    the scene. ValueError if a manipulation is unknown.
    """
    unknown = {training_manipulation, *manipulations} - MANIPULATIONS.keys()
    if unknown:
        known = ", ".join(MANIPULATIONS)
        raise ValueError(f"unknown manipulation {min(unknown)!r}; one of {known} wanted")
    rows = []
    for split in SPLITS:
        for index in range(counts[split]):
            scene = f"{split}-{index:05d}"
            always = () if split == "test" else (training_manipulation,)
            others = manipulations if split == "test" or index < by_all else ()
            for name in dict.fromkeys(("real", *always, *others)):  # each once
                rows.append(_record(scene, split, name))
    return pd.DataFrame(rows)


def _record(scene: str, split: str, manipulation: str) -> dict[str, object]:
    return {
        "id": f"{scene}/{manipulation}",
        "path": f"images/{scene}/{manipulation}.jpg",
        "label": int(manipulation != "real"),
        "manipulation": manipulation,
        "video": scene,
        "frame": "",
        "group": scene,
        "split": split,
        "pair": f"{scene}/real",
        "source": "",
    }


def store_images(
    root: Path, table: pd.DataFrame, files: Sequence[bytes], size: int
) -> pd.DataFrame:
    """Write the JPEG files of images of `size` px at the paths of the records `table`.

    Returns the records with the SHA-256 of each file, its width and height: from then on they are
    read like any other data set.
    """
    for path, content in zip(table["path"], files, strict=True):
        write_beside(root / path, partial(Path.write_bytes, data=content))
    digests = [hashlib.sha256(content).hexdigest() for content in files]
    return table.assign(digest=digests, width=size, height=size)


def photograph(
    photographs: Sequence[np.ndarray],
    seed: Sequence[int],
    size: int = 128,
    manipulations: Sequence[str] = (),
) -> StoredScene:
    """Compose a scene of `size` px, photograph it, and manipulate the photograph.

    The same arguments give the same bytes. Textures come from at least two `photographs`, (h, w, 3)
    uint8 each; the seed is any number of integers, such as run, split and index; manipulations are
    names from :data:`MANIPULATIONS`. ValueError if there are too few photographs, or pixels.
    """
    if len(photographs) < 2:
        given = f"{len(photographs)} photographs"
        raise ValueError(f"{given}; at least 2 wanted, so that a splice can come from another one")
    if size < SMALLEST_SIDE:
        raise ValueError(f"size is {size} px; at least {SMALLEST_SIDE} wanted")
    # Each step draws from its own stream: an image does not depend on which others are made.
    scene = compose(photographs, np.random.default_rng([*seed, 0]), size)
    quality = int(np.random.default_rng([*seed, 1]).integers(80, 96))
    files = {"real": as_jpeg(scene.image, quality)}
    regions = {"real": np.zeros(scene.subject.shape, dtype=bool)}
    blurs = {"real": scene.subject_sigma}
    region = choose_region(scene.subject, np.random.default_rng([*seed, 2]))
    for name in manipulations:
        rng = np.random.default_rng([*seed, 3, list(MANIPULATIONS).index(name)])
        altered, blurs[name] = MANIPULATIONS[name](scene, photographs, region, rng)
        mixed = scene.image + region[..., None] * (altered - scene.image)
        files[name], regions[name] = as_jpeg(mixed, quality), region >= 0.5
    images = {name: from_jpeg(file) for name, file in files.items()}
    return StoredScene(images, files, regions, scene.sigma.astype(np.float32), blurs)


def photograph_all(
    table: pd.DataFrame,
    photographs: Mapping[str, Sequence[np.ndarray]],
    seed: int,
    size: int,
    n_workers: int = -1,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """The images of a table of :func:`records`, and their truth, in the order of the table.

    A scene depends on `seed`, split and index alone, not on how many there are. `photographs` are
    the textures of each split, (h, w, 3) uint8; `n_workers` threads, -1 for every core.

    Returns ``ids`` (M,) str, ``images`` (M, H, W, 3) uint8, ``files`` (M,) of bytes, ``regions``
    (M, H, W) bool and ``region_sigma`` (M,) float32 in px, as of :class:`StoredScene`; ``scenes``
    (S,) str and their true ``sigma`` (S, H, W) float32 in px.
    """
    groups = list(table.groupby("group", sort=False))
    jobs = (
        delayed(photograph)(
            photographs[rows["split"].iat[0]],
            (seed, SPLITS.index(rows["split"].iat[0]), int(scene.split("-")[1])),
            size,
            [name for name in rows["manipulation"] if name != "real"],
        )
        for scene, rows in groups
    )
    results = Parallel(n_jobs=n_workers, prefer="threads", return_as="generator")(jobs)
    options = {"desc": "photographing", "unit": "scene", "disable": not progress}
    stored = list(tqdm(results, total=len(groups), **options))
    images = [
        (scene, name)
        for scene, (_, rows) in zip(stored, groups, strict=True)
        for name in rows["manipulation"]
    ]
    region_sigma = [scene.region_sigma[name] for scene, name in images]
    return {
        "ids": np.concatenate([rows["id"].to_numpy(dtype=str) for _, rows in groups]),
        "images": np.stack([scene.images[name] for scene, name in images]),
        "files": np.array([scene.files[name] for scene, name in images], dtype=object),
        "regions": np.stack([scene.regions[name] for scene, name in images]),
        "region_sigma": np.array(region_sigma, dtype=np.float32),
        "scenes": np.array([scene for scene, _ in groups]),
        "sigma": np.stack([scene.sigma for scene in stored]),
    }


def true_sigma(folder: Folder, scene: str) -> np.ndarray | None:
    """(H, W) true blur of a scene in px; None where the data of the run have none."""
    if "depth" not in folder.about.has:
        return None
    truth, _ = read_arrays(folder.require(TRUTH, made_by="01_data"), {"scenes", "sigma"})
    return truth["sigma"][truth["scenes"] == scene][0]


def true_maps(folder: Folder, ids: Sequence[str]) -> np.ndarray:
    """(N, H, W) float32 true blur of images, real or manipulated, in px.

    That of a manipulated image is the blur of its scene, and within the region the one that the
    manipulation left there. Pixels in the soft rim of a region belong to it if they are
    manipulated by half or more. MissingArtifact if the data of the run have no truth.
    """
    path = folder.require(TRUTH, made_by="01_data")
    truth = _truth(path, path.stat().st_mtime_ns)
    rows = _rows_of(truth["ids"], ids)
    scenes = _rows_of(truth["scenes"], [name.split("/")[0] for name in ids])
    inside = truth["region_sigma"][rows][:, None, None]
    return np.where(truth["regions"][rows], inside, truth["sigma"][scenes])


def true_regions(folder: Folder, ids: Sequence[str], size: int) -> np.ndarray:
    """(N, size, size) bool manipulated pixels of images; none where the data have none."""
    if "regions" not in folder.about.has:
        return np.zeros((len(ids), size, size), dtype=bool)
    truth, _ = read_arrays(folder.require(TRUTH, made_by="01_data"), {"ids", "regions"})
    return truth["regions"][_rows_of(truth["ids"], ids)]


def _rows_of(names: np.ndarray, wanted: Sequence[str]) -> list[int]:
    row = {name: index for index, name in enumerate(names.tolist())}
    return [row[name] for name in wanted]


@lru_cache(maxsize=1)
def _truth(path: Path, _changed: int) -> dict[str, np.ndarray]:
    """Read once, however many batches are asked for."""
    return read_arrays(path, {"ids", "regions", "region_sigma", "scenes", "sigma"})[0]


def compose(photographs: Sequence[np.ndarray], rng: np.random.Generator, size: int) -> Scene:
    """Lay out a scene, focus near the subject, and expose it."""
    objects = int(rng.integers(2, 5))
    distances = np.sort(rng.uniform(1300, 4000, objects))[::-1]
    backdrop = rng.uniform(4500, 9000)
    lens = optics.ThinLens(
        focal_length=85,
        f_number=rng.uniform(1.4, 2.8),
        focus_distance=distances[-1] * rng.uniform(0.8, 1.25),
        pixel_pitch=SENSOR_WIDTH / size,
    )
    colours = [texture(photographs, rng, size) for _ in range(objects + 1)]
    masks = [np.ones((size, size))]
    masks += [blob(rng, size, radius=rng.uniform(0.14, 0.3)) for _ in range(objects - 1)]
    masks += [blob(rng, size, radius=rng.uniform(0.24, 0.32), spread=0.1)]
    sigmas = [float(np.hypot(lens.sigma(d), SHARPEST * size / 128)) for d in (backdrop, *distances)]
    noise = rng.uniform(0.002, 0.012)
    image = optics.render(colours, masks, sigmas) + rng.normal(0, noise, (size, size, 3))
    sigma = optics.visible_sigma(masks, sigmas)
    return Scene(np.clip(image, 0, 1), sigma, masks[-1] >= 0.5, sigmas[-1], noise)


def texture(photographs: Sequence[np.ndarray], rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size, 3)`` float: a square of one photograph, turned, its contrast and tint varied.

    Photographs are shrunk by two or more where they are large enough, so that their own blur is not
    taken for sharp. A square without detail (sky) does not show blur; another is drawn.
    """
    for _ in range(8):
        source = photographs[int(rng.integers(len(photographs)))]
        short = min(source.shape[:2])
        side = int(rng.integers(min(2 * size, short), short + 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in source.shape[:2])
        crop = Image.fromarray(source[top : top + side, left : left + side])
        shrunk = crop.resize((size, size), Image.Resampling.BOX)
        square = np.asarray(shrunk, dtype=float) / 255
        if ndimage.gaussian_gradient_magnitude(square.mean(2), 1).mean() > 0.02:
            break
    square = np.rot90(square, int(rng.integers(4))).copy()
    if rng.random() < 0.5:
        square = square[:, ::-1]
    centre = square.mean((0, 1))
    contrasted = (square - centre) * rng.uniform(0.9, 1.4)
    return np.clip(contrasted + centre * rng.uniform(0.7, 1.3, 3), 0, 1)


def blob(rng: np.random.Generator, size: int, radius: float, spread: float = 0.38) -> np.ndarray:
    """``(size, size)`` mask of a smooth random shape; radius and range are shares of the size."""
    centre = size * (0.5 + rng.uniform(-spread, spread, 2))
    y, x = np.indices((size, size))
    angle = np.arctan2(y - centre[0], x - centre[1])
    outline = np.ones_like(angle)
    for order in (2, 3, 5):
        amplitude = rng.uniform(-0.2, 0.2) / order * 2
        outline += amplitude * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return np.clip(radius * size * outline - np.hypot(y - centre[0], x - centre[1]) + 0.5, 0, 1)


def choose_region(subject: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``(H, W)`` mask of the part of the subject to manipulate: inside its outline, feathered."""
    depth = ndimage.distance_transform_edt(subject)
    inset = rng.uniform(0.1, 0.3) * depth.max()
    feather = max(1.0, subject.shape[0] / 128)
    return ndimage.gaussian_filter((depth > inset).astype(float), feather) * subject


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """``(H, W, 3)`` float in [0, 1], stored as JPEG and read again as uint8."""
    return from_jpeg(as_jpeg(image, quality))


def as_jpeg(image: np.ndarray, quality: int) -> bytes:
    """The JPEG file of an image ``(H, W, 3)`` float in [0, 1]."""
    buffer, pixels = io.BytesIO(), np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def from_jpeg(file: bytes) -> np.ndarray:
    """The image ``(H, W, 3)`` uint8 of a JPEG file."""
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def resynthesis(
    scene: Scene, _photographs: Sequence[np.ndarray], _region: np.ndarray, rng: np.random.Generator
) -> Manipulated:
    """Decode the region from a low resolution, as generators of fixed size do (Deepfakes).

    A generator of 64 px fills a face of 180 to 320 px: a factor of 0.2 to 0.35. An average over p
    px has a variance of p^2/12. The bicubic kernel (Keys 1981) has a second moment of zero, so
    enlarging adds nothing to that. (It overshoots, so an edge looks wider than this standard
    deviation says.)
    """
    size = scene.image.shape[0]
    small = max(8, round(size * rng.uniform(0.2, 0.35)))
    stored = Image.fromarray(np.rint(scene.image * 255).astype(np.uint8))
    encoded = stored.resize((small, small), Image.Resampling.BOX)
    decoded = encoded.resize((size, size), Image.Resampling.BICUBIC)
    sigma = float(np.hypot(scene.subject_sigma, size / small / 12**0.5))
    return Manipulated(np.asarray(decoded, dtype=float) / 255, sigma)


def splice(
    scene: Scene, photographs: Sequence[np.ndarray], region: np.ndarray, rng: np.random.Generator
) -> Manipulated:
    """Paste another photograph, matched in colour, blurred as if at another depth (FaceSwap)."""
    size = scene.image.shape[0]
    step = rng.uniform(1, 2) * size / 128
    sharp = scene.subject_sigma < 1.5 * size / 128
    sigma = max(scene.subject_sigma + (step if sharp else -step), SHARPEST * size / 128)
    pasted = optics.blur(texture(photographs, rng, size), sigma)
    inside = region > 0.5
    old, new = scene.image[inside], pasted[inside]
    pasted = (pasted - new.mean(0)) / (new.std(0) + 1e-6) * old.std(0) + old.mean(0)
    return Manipulated(np.clip(pasted + rng.normal(0, scene.noise, pasted.shape), 0, 1), sigma)


def reenactment(
    scene: Scene, _photographs: Sequence[np.ndarray], region: np.ndarray, rng: np.random.Generator
) -> Manipulated:
    """Warp the region smoothly and resample it, as a change of expression does (Face2Face).

    The blur moves with the pixels, and stays the subject's. Linear interpolation at a fraction t
    of a px mixes two neighbours, with a variance of t (1 - t); its mean over all fractions, 1/6
    px^2, is added. The warp stretches by less than 1 % on average, which is left out.
    """
    size = scene.image.shape[0]
    field = ndimage.gaussian_filter(rng.normal(size=(2, size, size)), (0, size / 12, size / 12))
    shift = field / np.abs(field).max() * rng.uniform(0.02, 0.04) * size * region
    position = np.indices((size, size)) + shift
    channels = scene.image.transpose(2, 0, 1)
    warped = [
        ndimage.map_coordinates(channel, position, order=1, mode="reflect") for channel in channels
    ]
    return Manipulated(np.stack(warped, 2), float(np.hypot(scene.subject_sigma, 6**-0.5)))


def rerender(
    scene: Scene, _photographs: Sequence[np.ndarray], _region: np.ndarray, rng: np.random.Generator
) -> Manipulated:
    """Smooth the detail and leave the grid of a learned upsampler, as NeuralTextures does.

    The blur stays the subject's: lowering total variation takes faint detail away and leaves
    edges as wide as they were, which no lens does.
    """
    size = scene.image.shape[0]
    smooth = denoise_tv_chambolle(scene.image, weight=rng.uniform(0.02, 0.05), channel_axis=2)
    y, x = np.indices((size, size))
    grid = np.cos(2 * np.pi * x / 4) * np.cos(2 * np.pi * y / 4)
    image = np.clip(smooth + rng.uniform(0.005, 0.015) * grid[..., None], 0, 1)
    return Manipulated(image, scene.subject_sigma)


Manipulation = Callable[[Scene, Sequence[np.ndarray], np.ndarray, np.random.Generator], Manipulated]
MANIPULATIONS: dict[str, Manipulation] = {
    "resynthesis": resynthesis,
    "splice": splice,
    "reenactment": reenactment,
    "texture": rerender,
}


def motorcycle(
    image: np.ndarray, disparity: np.ndarray, lens: optics.ThinLens, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The Middlebury motorcycle through a lens, with its measured depth (Scharstein et al. 2014).

    From the photograph (h, w, 3) uint8 and its disparity (h, w) in px, NaN where unknown: the
    centre square as image (size, size, 3) uint8, true sigma (size, size) in px, and the mask
    (size, size) of pixels whose depth was measured; others take that of the nearest one. The
    lens's pixel pitch is that of the resized image.
    """
    square, disparity = (_centre_square(array) for array in (image, disparity))
    shrunk = Image.fromarray(square).resize((size, size), Image.Resampling.LANCZOS)
    sharp = np.asarray(shrunk, dtype=float) / 255
    rows = ((np.arange(size) + 0.5) * len(disparity) / size).astype(int)
    disparity = disparity[np.ix_(rows, rows)]
    known = np.isfinite(disparity)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    distance = motorcycle_distance(disparity[tuple(nearest)])
    sigma = lens.sigma(distance)
    image = np.rint(optics.render_depth(sharp, sigma, distance) * 255).astype(np.uint8)
    return image, sigma, known


def motorcycle_distance(disparity: np.ndarray | float) -> np.ndarray:
    """Distance in mm of a disparity in px, by the calibration of the packaged pair."""
    return 193.001 * 994.978 / (np.asarray(disparity, dtype=float) + 31.086)


def _centre_square(array: np.ndarray) -> np.ndarray:
    side = min(array.shape[:2])
    top, left = ((length - side) // 2 for length in array.shape[:2])
    return array[top : top + side, left : left + side]
