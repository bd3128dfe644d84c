"""Simulated photographs of known blur, on which the learned estimator is trained.

A scene is a stack of textured surfaces, or a collage of many small ones. Each has a depth of its
own that may vary continuously, and so a blur for each pixel; nearer ones hide farther ones. It is
exposed in linear light through a Gaussian or a uniform disc, whose sigma is in both cases the
standard deviation per axis. A camera then resizes it and applies tone curve, noise, sharpening
and JPEG.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.fft import dctn, idctn

from defocus_lib.scenes import optics
from defocus_lib.scenes.optics import LUMA

SIDE = 160  # px, of a training scene
SIGMAS = (0.2, 6.0)  # px, blur before resizing
# Shapes are drawn so much larger and averaged: their outlines are as sharp as pixels allow.
OVERSAMPLING = 3
DISCS = (
    0.25  # share of scenes blurred by a disc; the others by a Gaussian, as in the rest of the book
)
# Shares of scenes: surfaces behind one another through a lens, the same blurred by a program, and
# many small objects at depths of their own, by a program too.
KINDS = {"lens": 0.5, "program": 0.25, "collage": 0.25}
DETAIL = 0.015  # mean difference of neighbouring pixels of a texture on which blur can be seen


@dataclass(frozen=True)
class Exposure:
    """A photograph and its truth."""

    grey: np.ndarray
    """(H, W) uint8, luma as a file stores it."""
    sigma: np.ndarray
    """(H, W) float32, blur in px of the surface seen at each pixel."""


@dataclass(frozen=True)
class Camera:
    """The processing between the lens and the file."""

    factor: float = 1.0
    """By which the photograph is resized."""
    curve: float = 1.0
    """Stored values are light to the power of its inverse; 1 blurs stored values."""
    noise: float = 0.0
    """Standard deviation in white, as a share of the range."""
    sharpening: float = 0.0
    """Share that is added of the difference from a smoothed photograph."""
    quality: int = 0
    """Of JPEG; 0 for none."""


def camera(rng: np.random.Generator) -> Camera:
    """A random camera. Six in ten only round to 8 bits, with little noise, so blur is plain."""
    noise = rng.random() ** 3
    if rng.random() < 0.6:
        return Camera(noise=0.01 * noise)
    return Camera(
        factor=float(rng.uniform(0.6, 1.1)) if rng.random() < 0.5 else 1.0,
        curve=float(rng.choice([1.0, 1.8, 2.2, 2.4])),
        noise=0.03 * noise,
        sharpening=float(rng.uniform(0.2, 0.8)) if rng.random() < 0.25 else 0.0,
        quality=int(rng.integers(50, 100)) if rng.random() < 0.6 else 0,
    )


def expose(
    photographs: Sequence[np.ndarray], rng: np.random.Generator, size: int = SIDE, psf: str = ""
) -> Exposure:
    """Compose a scene and take its photograph, `size` px wide and high.

    Textures are cut from `photographs`, (h, w) uint8 luma each, see :func:`source`. `psf` is the
    point-spread function, "gaussian" or "disc", or "" to draw one; all else is the same for each.
    """
    taken_by = camera(rng)
    rendered = round(size / taken_by.factor)
    drawn_psf = "disc" if rng.random() < DISCS else "gaussian"
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    scene = (photographs, rng, rendered, taken_by.curve, psf or drawn_psf)
    light, sigma = _collage(*scene) if kind == "collage" else _stack(*scene, kind == "lens")
    if rendered != size:
        light, sigma = _resized(light, size, rng), taken_by.factor * _resized(sigma, size)
    return Exposure(develop(light, taken_by, rng), sigma)


def _stack(
    photographs: Sequence[np.ndarray],
    rng: np.random.Generator,
    size: int,
    curve: float,
    psf: str,
    by_lens: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Light and blur ``(size, size)`` of up to four surfaces behind one another."""
    layers = int(rng.integers(1, 5))
    textures = [texture(photographs, rng, size) ** curve for _ in range(layers)]
    masks = [np.ones((size, size), np.float32), *(outline(rng, size) for _ in range(layers - 1))]
    sigmas = blurs(rng, size, layers)
    sigma = optics.visible_sigma(masks, sigmas).astype(np.float32)
    if by_lens:
        return optics.render_fields(textures, masks, sigmas, psf), sigma
    return gathered(flattened(textures, masks), sigma, psf), sigma


def _collage(
    photographs: Sequence[np.ndarray], rng: np.random.Generator, size: int, curve: float, psf: str
) -> tuple[np.ndarray, np.ndarray]:
    """Light and blur ``(size, size)`` of many small objects, each at its own depth."""
    outlines = leaves(rng, 3, 60)
    sharp = _toned(collage(photographs, rng, size, outlines), rng) ** curve
    sigma = leaf_blurs(rng, size, outlines)
    return gathered(sharp, sigma, psf), sigma


def flattened(textures: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
    """``(H, W)`` light of surfaces over one another, all of them in focus."""
    sharp = np.zeros_like(textures[0])
    for texture, mask in zip(textures, masks, strict=True):
        sharp = sharp + mask * (texture - sharp)
    return sharp


def gathered(sharp: np.ndarray, sigma: np.ndarray, psf: str = "gaussian") -> np.ndarray:
    """``(H, W)`` light as a program computes it from a sharp image and its depth.

    Each pixel is blurred by its own sigma; the blur of nearer surfaces hides nothing.
    """
    return np.clip(optics.blur_field(sharp[None], sigma, psf)[0], 0, 1)


def source(photograph: np.ndarray) -> np.ndarray:
    """``(h, w)`` uint8 luma of a photograph (H, W, 3) uint8, :func:`shrunk`, then :func:`crisp`."""
    return crisp(shrunk(photograph))


def shrunk(photograph: np.ndarray) -> np.ndarray:
    """``(h, w)`` uint8 luma of a photograph (H, W, 3) uint8, averaged to a third or less.

    The blur of its lens and file is within a pixel afterwards.
    """
    factor = max(3, min(photograph.shape[:2]) // 300)
    height, width = (length // factor for length in photograph.shape[:2])
    luma = Image.fromarray(np.rint(photograph @ np.array(LUMA)).astype(np.uint8))
    return np.asarray(luma.resize((width, height), Image.Resampling.BOX))


def crisp(grey: np.ndarray, most: float = 4.0) -> np.ndarray:
    """``(h, w)`` uint8 image whose fine detail is raised to that of natural scenes, if weaker.

    Their amplitudes fall like one over the frequency (Field 1987). Those that fall faster have
    been softened by a lens, a sensor or a resize, and an estimator would learn to disregard that
    blur. Each ring of frequencies is raised to that law, fitted to the coarser half, and at most
    `most` times.
    """
    waves, frequency = dctn(grey / 255, norm="ortho"), optics.frequencies(grey.shape)
    rings = np.arange(1, 17) / 32  # cycles per px
    ring = np.digitize(frequency, rings)
    energy = np.bincount(ring.ravel(), (waves * frequency).ravel() ** 2) / np.bincount(ring.ravel())
    level = np.sqrt(energy)
    gain = np.clip(level[1:8].mean() / np.maximum(level, 1e-9), 1, most)
    gain[0] = 1  # the mean, and detail coarser than 32 px
    centres = np.append(0, rings) + 1 / 64
    raised = idctn(waves * np.interp(frequency, centres, gain), norm="ortho")
    return np.rint(255 * np.clip(raised, 0, 1)).astype(np.uint8)


def texture(photographs: Sequence[np.ndarray], rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size)`` float32 in [0, 1]: part of a photograph, shapes, both, or a collage."""
    kind = rng.choice(["photograph", "shapes", "both", "collage"], p=[0.2, 0.3, 0.3, 0.2])
    if kind == "collage":
        return _toned(collage(photographs, rng, size, leaves(rng, 3, 120)), rng)
    fine = shapes(rng, size) if kind == "shapes" else piece(photographs, rng, size)
    if kind == "both":
        fine = fine + rng.uniform(0.3, 3) * shapes(rng, size)
    return _toned(fine, rng)


def _toned(fine: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``(H, W)`` float32 in [0, 1]: detail of random tone, every other with soft shading.

    Light and rounded bodies make soft transitions that no lens has blurred. Without shading an
    estimator would take every soft transition for blur.
    """
    fine = (fine - fine.mean()) / (fine.std() + 1e-3)
    strength = 0.25 * np.exp(rng.uniform(np.log(0.4), 0))
    soft = rng.uniform(0, 0.2) * shading(rng, len(fine)) if rng.random() < 0.5 else 0.0
    return np.clip(rng.uniform(0.3, 0.7) + strength * fine + soft, 0, 1).astype(np.float32)


def collage(
    photographs: Sequence[np.ndarray],
    rng: np.random.Generator,
    size: int,
    outlines: Sequence[np.ndarray],
) -> np.ndarray:
    """``(size, size)`` float32: shapes of one grey each, with a strong, weak or no texture.

    Photographs of manufactured objects have smooth and detailed parts side by side, too.
    """
    count = len(outlines) + 1
    contrast = np.exp(rng.uniform(np.log(0.05), np.log(1.5), count)) * (rng.random(count) > 0.2)
    detail = piece(photographs, rng, size)
    detail = (detail - detail.mean()) / (detail.std() + 1e-3)
    greys = rng.random(count)
    strength = _drawn(outlines, contrast[1:], contrast[0], size)
    return _drawn(outlines, greys[1:], greys[0], size) + 0.2 * detail * strength


def shading(rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size)`` float32 smooth noise of mean 0 and deviation 1, strongest in coarse waves.

    The finest are some 8 px long.
    """
    falloff = rng.uniform(1, 2)
    total = np.zeros((size, size), np.float32)
    for knots in (3, 5, 9, 17, max(18, size // 5)):
        noise = Image.fromarray(rng.normal(0, 1, (knots, knots)).astype(np.float32))
        total += knots**-falloff * np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC))
    return (total - total.mean()) / total.std()


def piece(photographs: Sequence[np.ndarray], rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size)`` float32 in [0, 1]: a square of a photograph, turned, flipped and shrunk.

    Where the photograph is too small, it is reflected. A square without detail is drawn again.
    """
    for _ in range(6):
        source = photographs[int(rng.integers(len(photographs)))]
        side = round(size * rng.uniform(1, 2.5))
        square = Image.fromarray(_cut(source, side, rng))
        resized = square.resize((size, size), rng.choice(_AVERAGING))
        detail = np.asarray(resized, dtype=np.float32) / 255
        if np.abs(np.diff(detail)).mean() > DETAIL:
            break
    detail = np.rot90(detail, int(rng.integers(4)))
    return detail[:, ::-1] if rng.random() < 0.5 else detail


_AVERAGING = [Image.Resampling.BOX, Image.Resampling.LANCZOS, Image.Resampling.LANCZOS]


def _cut(source: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    missing = [max(0, side - length) for length in source.shape]
    if any(missing):
        source = np.pad(source, [(0, count) for count in missing], mode="symmetric")
    top, left = (int(rng.integers(0, length - side + 1)) for length in source.shape)
    return source[top : top + side, left : left + side]


def shapes(rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size)`` float32 in [0, 1]: :func:`leaves` of one grey each, not blurred."""
    outlines = leaves(rng, 4, 250)
    return _drawn(outlines, rng.random(len(outlines)), rng.random(), size)


def leaves(rng: np.random.Generator, fewest: int, most: int) -> list[np.ndarray]:
    """Outlines ``(corners, 2)`` in units of the side, nearest last: shapes and a few bars.

    Sizes follow a power law, which gives the statistics of natural images (dead leaves, Lee et al.
    2001).
    """
    count = round(np.exp(rng.uniform(np.log(fewest), np.log(most))))
    smallest = rng.uniform(0.1, 1) / np.sqrt(count)  # a few large ones, or many small ones
    sizes = np.minimum(smallest / np.sqrt(np.maximum(rng.random(count), 1e-4)), 1)
    radii = np.sort(sizes)[::-1] / 2
    outlines = polygons(rng, rng.random((count, 2)), radii)
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.4 else 0):
        place = int(rng.integers(len(outlines) + 1))
        start, end = rng.uniform(-0.2, 1.2, (2, 2))
        outlines.insert(place, _bar(start, end, rng.uniform(0.01, 0.09)))
    if rng.random() < 0.3:
        outlines.insert(0, half_plane(rng))
    return outlines


def half_plane(rng: np.random.Generator) -> np.ndarray:
    """``(4, 2)`` outline of a half plane that cuts the unit square, every other along an axis."""
    angle = rng.integers(4) * np.pi / 2 if rng.random() < 0.5 else rng.uniform(0, 2 * np.pi)
    along = 2 * np.array([np.cos(angle), np.sin(angle)])
    aside = 2 * np.array([-np.sin(angle), np.cos(angle)])
    point = rng.uniform(0.2, 0.8, 2)
    return np.stack([point - along, point + along, point + along + aside, point - along + aside])


def polygons(
    rng: np.random.Generator, centres: np.ndarray, radii: np.ndarray, narrowest: float = 0.1
) -> list[np.ndarray]:
    """Outlines ``(corners, 2)``, from triangles to nearly round ones, some of them narrow.

    `centres` (N, 2) and `radii` (N,) have one unit; `narrowest` is the least ratio of two sides.
    """
    most, count = 12, len(radii)
    angles = np.sort(rng.uniform(0, 2 * np.pi, (count, most)), axis=1)
    round_ones = rng.random(count) < 0.3
    angles[round_ones] = np.arange(most) * (2 * np.pi / most)
    unevenness = np.where(round_ones, 0, 0.4)[:, None] * rng.uniform(-1, 1, (count, most))
    corners = (1 + unevenness)[..., None] * np.stack([np.cos(angles), np.sin(angles)], 2)
    corners[..., 1] *= rng.uniform(narrowest, 1, (count, 1))
    turn = rng.uniform(0, np.pi, count)
    cos, sin = np.cos(turn), np.sin(turn)
    rotations = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    turned = np.einsum("nij,nkj->nki", rotations, corners)
    outlines = centres[:, None] + radii[:, None, None] * turned
    kept = np.where(round_ones, most, rng.integers(3, 8, count))
    return [outline[:number] for outline, number in zip(outlines, kept, strict=True)]


def _drawn(
    outlines: Sequence[np.ndarray],
    values: Sequence[float] | np.ndarray,
    ground: float,
    size: int,
    finer: int = OVERSAMPLING,
) -> np.ndarray:
    """``(size, size)`` float32 of polygons in units of the side, one over the other.

    Each pixel is averaged over its ``finer`` x ``finer`` parts.
    """
    image = Image.new("F", (size * finer, size * finer), float(ground))
    draw = ImageDraw.Draw(image)
    for outline, value in zip(outlines, values, strict=True):
        draw.polygon((size * finer * outline).ravel().tolist(), fill=float(value))
    return np.asarray(image.reduce(finer), dtype=np.float32)


def outline(rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size)`` float32 mask of an object: a patch, some bars, or many small pieces."""
    kind = rng.choice(["patch", "bars", "pieces"], p=[0.7, 0.15, 0.15])
    count = {"patch": 1, "bars": int(rng.integers(1, 5)), "pieces": int(rng.integers(2, 9))}[kind]
    if kind == "bars":
        ends = ((rng.uniform(-0.2, 1.2, (2, 2)), rng.uniform(2, 14) / size) for _ in range(count))
        outlines = [_bar(start, end, width) for (start, end), width in ends]
    else:
        radii = rng.uniform(0.25, 0.6, 1) if kind == "patch" else rng.uniform(0.05, 0.2, count)
        narrowest = 0.5 if kind == "patch" else 0.1
        outlines = polygons(rng, rng.uniform(0.1, 0.9, (count, 2)), radii, narrowest)
    return _drawn(outlines, [1.0] * count, 0.0, size)


def _bar(start: np.ndarray, end: np.ndarray, width: float) -> np.ndarray:
    along = (end - start) / max(float(np.hypot(*(end - start))), 1e-6)
    aside = np.array([-along[1], along[0]]) * width / 2
    return np.stack([start - aside, end - aside, end + aside, start + aside])


def blurs(rng: np.random.Generator, size: int, layers: int) -> list[np.ndarray]:
    """Blur in px of each of ``layers`` surfaces, farthest first: ``(size, size)`` float32 each.

    Blur is proportional to the distance from the plane of focus, here in any unit and with a sign:
    surfaces may pass through focus. Half of them are flat, the others tilted or curved.
    """
    in_focus = _focused(rng)
    depths = np.sort(rng.uniform(-1.2, 1.2, layers))
    return [in_focus(depth + _relief(rng, size)) for depth in depths]


def leaf_blurs(rng: np.random.Generator, size: int, outlines: Sequence[np.ndarray]) -> np.ndarray:
    """``(size, size)`` float32 blur in px of a collage: ground, and objects at other depths."""
    count = len(outlines)
    offsets = rng.uniform(0.1, 0.6) * rng.normal(size=count)
    away = offsets * (rng.random(count) < rng.uniform(0.3, 1))
    depth = rng.uniform(-0.6, 0.6) + _relief(rng, size) + _drawn(outlines, away, 0.0, size, finer=1)
    return _focused(rng)(depth)


def _focused(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """The function from depth to blur in px of a random plane of focus and range of blur."""
    largest, smallest = rng.uniform(1.5, SIGMAS[1]), rng.uniform(SIGMAS[0], 0.5)
    focus = rng.uniform(-1, 1)

    def blur(depth: np.ndarray) -> np.ndarray:
        return np.clip(largest * np.abs(depth - focus), smallest, largest).astype(np.float32)

    return blur


def _relief(rng: np.random.Generator, size: int) -> np.ndarray | float:
    kind = rng.choice(["flat", "tilted", "curved"], p=[0.5, 0.35, 0.15])
    if kind == "flat":
        return np.zeros((size, size), np.float32)
    strength = rng.uniform(0.1, 1.2)
    if kind == "tilted":
        y, x = np.indices((size, size), np.float32) / size - 0.5
        angle = rng.uniform(0, 2 * np.pi)
        return strength * (np.cos(angle) * x + np.sin(angle) * y)
    knots = Image.fromarray(rng.normal(0, 0.4, [int(rng.integers(3, 7))] * 2).astype(np.float32))
    return strength * np.asarray(knots.resize((size, size), Image.Resampling.BICUBIC))


def develop(light: np.ndarray, taken_by: Camera, rng: np.random.Generator) -> np.ndarray:
    """``(H, W)`` uint8 image of light: tone curve, contrast, noise, sharpening, JPEG."""
    grey = np.clip(light, 0, 1) ** (1 / taken_by.curve)
    low, high = np.percentile(grey, [1, 99])
    spread = rng.uniform(0.35, 1.0)  # from dull to full contrast
    centred = (grey - (low + high) / 2) / max(high - low, 0.1) * spread
    grey = centred + rng.uniform(spread / 2, 1 - spread / 2)
    noise = rng.normal(0, 1, grey.shape) * taken_by.noise
    grey = grey + noise * np.sqrt(rng.uniform(0.3, 1) + np.clip(grey, 0, 1))
    if taken_by.sharpening:
        smoothed = ndimage.gaussian_filter(grey, rng.uniform(0.6, 1.5))
        grey = grey + taken_by.sharpening * (grey - smoothed)
    stored = np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return _as_jpeg(stored, taken_by.quality) if taken_by.quality else stored


def _as_jpeg(grey: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _resized(plane: np.ndarray, size: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Resized by a filter drawn at random, or, without a generator, by the nearest pixel."""
    filters = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]
    resample = rng.choice(filters) if rng else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize((size, size), resample))
