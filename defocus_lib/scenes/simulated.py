"""Photographs with known blur, as many as wanted: what the learned estimator is trained on.

A scene is a stack of textured surfaces, or a collage of many small ones. Each has a depth of its own that may vary
continuously, and so a blur for each pixel; nearer ones hide farther ones. It is exposed in linear light through a
Gaussian or a uniform disc, whose sigma is in both cases the standard deviation along one axis, and then goes through a
camera: resize, tone curve, noise, sharpening, JPEG.
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

SIDE = 160  # px, of what is learned from
SIGMAS = (0.2, 6.0)  # px, blur before resizing
OVERSAMPLING = 3  # shapes are drawn so much larger and averaged, so that their outlines are as sharp as pixels allow
DISCS = 0.25  # share of scenes whose points become discs; the others' become Gaussians, as everywhere in the book
# Shares of scenes: surfaces behind one another through a lens, the same blurred by a program, and many small things at
# depths of their own, by a program too.
KINDS = {"lens": 0.5, "program": 0.25, "collage": 0.25}
DETAIL = 0.015  # mean step from pixel to pixel of a texture that tells something about blur


@dataclass(frozen=True)
class Exposure:
    """A photograph and its truth.

    Attributes
    ----------
    grey : (H, W) uint8
        Luma as a file stores it.
    sigma : (H, W) float32
        Blur in px of the surface seen at each pixel.
    """

    grey: np.ndarray
    sigma: np.ndarray


@dataclass(frozen=True)
class Camera:
    """What happens between the lens and the file.

    Attributes
    ----------
    factor : float
        By which the picture is resized.
    curve : float
        Stored values are light to the power of its inverse; 1 blurs stored values, as a program does.
    noise : float
        Standard deviation in white, as a share of the range.
    sharpening : float
        What is added of the difference from a smoothed picture.
    quality : int
        Of JPEG; 0 for none.
    """

    factor: float = 1.0
    curve: float = 1.0
    noise: float = 0.0
    sharpening: float = 0.0
    quality: int = 0


def camera(rng: np.random.Generator) -> Camera:
    """Draw a camera. Six in ten only round to 8 bits, with little noise: what nothing hides is to be read well."""
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
    """Compose a scene and take its photograph.

    Parameters
    ----------
    photographs : sequence of (h, w) uint8
        Luma of what textures are cut from, see :func:`source`.
    size : int
        Side in px.
    psf : {"", "gaussian", "disc"}
        The point-spread function; "" draws one. All else is the same for each.
    """
    taken_by = camera(rng)
    rendered = round(size / taken_by.factor)
    drawn_psf = "disc" if rng.random() < DISCS else "gaussian"
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    seen = (photographs, rng, rendered, taken_by.curve, psf or drawn_psf)
    light, sigma = _collage(*seen) if kind == "collage" else _stack(*seen, by_lens=kind == "lens")
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
    """Light and blur ``(size, size)`` of many small things, each at its own depth."""
    outlines = leaves(rng, 3, 60)
    sharp = _toned(collage(photographs, rng, size, outlines), rng) ** curve
    sigma = leaf_blurs(rng, size, outlines)
    return gathered(sharp, sigma, psf), sigma


def flattened(textures: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
    """``(H, W)`` light of surfaces over one another, all of them in focus."""
    sharp = np.zeros_like(textures[0])
    for one, mask in zip(textures, masks, strict=True):
        sharp = sharp + mask * (one - sharp)
    return sharp


def gathered(sharp: np.ndarray, sigma: np.ndarray, psf: str = "gaussian") -> np.ndarray:
    """``(H, W)`` light as a program computes it from a sharp picture and its depth: each pixel from the blur by its own
    sigma, nothing hidden by the blur of what is nearer."""
    return np.clip(optics.blur_field(sharp[None], sigma, psf)[0], 0, 1)


def source(photograph: np.ndarray) -> np.ndarray:
    """Luma ``(h, w)`` uint8 of a photograph (H, W, 3) uint8, as sharp as pixels can be: :func:`shrunk`, then
    :func:`crisp`."""
    return crisp(shrunk(photograph))


def shrunk(photograph: np.ndarray) -> np.ndarray:
    """Luma ``(h, w)`` uint8 of a photograph (H, W, 3) uint8, averaged to a third of its side, a large one further.

    What lens and file have softened lies within a pixel afterwards.
    """
    factor = max(3, min(photograph.shape[:2]) // 300)
    height, width = (length // factor for length in photograph.shape[:2])
    luma = Image.fromarray(np.rint(photograph @ np.array(LUMA)).astype(np.uint8))
    return np.asarray(luma.resize((width, height), Image.Resampling.BOX))


def crisp(grey: np.ndarray, most: float = 4.0) -> np.ndarray:
    """A picture (h, w) uint8 whose fine detail is as strong as that of the world, where it is weaker.

    Amplitudes of natural scenes fall like one over the frequency (Field 1987). What falls faster has been softened by a
    lens, a sensor or a resize, and an estimator would learn not to count so much blur. Each ring of frequencies is
    raised to that law, as the coarser half of them states it, and at most ``most`` times.
    """
    waves, frequency = dctn(grey / 255, norm="ortho"), optics.frequencies(grey.shape)
    rings = np.arange(1, 17) / 32  # cycles a px
    ring = np.digitize(frequency, rings)
    energy = np.bincount(ring.ravel(), (waves * frequency).ravel() ** 2) / np.bincount(ring.ravel())
    level = np.sqrt(energy)
    gain = np.clip(level[1:8].mean() / np.maximum(level, 1e-9), 1, most)
    gain[0] = 1  # the mean, and what is coarser than 32 px
    centres = np.append(0, rings) + 1 / 64
    raised = idctn(waves * np.interp(frequency, centres, gain), norm="ortho")
    return np.rint(255 * np.clip(raised, 0, 1)).astype(np.uint8)


def texture(photographs: Sequence[np.ndarray], rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size)`` float32 in [0, 1]: a piece of a photograph, drawn shapes, both, or a collage."""
    kind = rng.choice(["photograph", "shapes", "both", "collage"], p=[0.2, 0.3, 0.3, 0.2])
    if kind == "collage":
        return _toned(collage(photographs, rng, size, leaves(rng, 3, 120)), rng)
    fine = shapes(rng, size) if kind == "shapes" else piece(photographs, rng, size)
    if kind == "both":
        fine = fine + rng.uniform(0.3, 3) * shapes(rng, size)
    return _toned(fine, rng)


def _toned(fine: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``(H, W)`` float32 in [0, 1]: detail at a brightness and a contrast, half of the time with soft shading.

    Light and rounded bodies make soft transitions that no lens has blurred. Without shading an estimator would take
    every soft transition for blur.
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
    """``(size, size)`` float32: shapes of one grey each, and on each the texture of a photograph, strong, weak or none.

    So are pictures of things that people make: smooth parts, and others full of detail, side by side.
    """
    count = len(outlines)
    contrast = np.exp(rng.uniform(np.log(0.05), np.log(1.5), count + 1)) * (
        rng.random(count + 1) > 0.2
    )
    detail = piece(photographs, rng, size)
    detail = (detail - detail.mean()) / (detail.std() + 1e-3)
    greys = rng.random(count + 1)
    return _drawn(outlines, greys[1:], greys[0], size) + 0.2 * detail * _drawn(
        outlines, contrast[1:], contrast[0], size
    )


def shading(rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size)`` float32 of mean 0 and deviation 1: smooth noise, coarse waves stronger than fine ones.

    The finest are some 8 px long.
    """
    falloff = rng.uniform(1, 2)
    total = np.zeros((size, size), np.float32)
    for knots in (3, 5, 9, 17, max(18, size // 5)):
        noise = Image.fromarray(rng.normal(0, 1, (knots, knots)).astype(np.float32))
        total += knots**-falloff * np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC))
    return (total - total.mean()) / total.std()


def piece(photographs: Sequence[np.ndarray], rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size)`` float32 in [0, 1]: a square of a photograph, turned and mirrored, shrunk further at random.

    Where the photograph is too small, it is continued by its mirror image. A square without detail is drawn again.
    """
    for _ in range(6):
        source = photographs[rng.integers(len(photographs))]
        side = round(size * rng.uniform(1, 2.5))
        square = _cut(source, side, rng)
        filtered = Image.fromarray(square).resize((size, size), rng.choice(_AVERAGING))
        found = np.asarray(filtered, dtype=np.float32) / 255
        if np.abs(np.diff(found)).mean() > DETAIL:
            break
    found = np.rot90(found, rng.integers(4))
    return found[:, ::-1] if rng.random() < 0.5 else found


_AVERAGING = [Image.Resampling.BOX, Image.Resampling.LANCZOS, Image.Resampling.LANCZOS]


def _cut(source: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    short = [max(0, side - length) for length in source.shape]
    if any(short):
        source = np.pad(source, [(0, more) for more in short], mode="symmetric")
    top, left = (int(rng.integers(0, length - side + 1)) for length in source.shape)
    return source[top : top + side, left : left + side]


def shapes(rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size)`` float32 in [0, 1]: :func:`leaves` of one grey each, as sharp as pixels can be."""
    outlines = leaves(rng, 4, 250)
    return _drawn(outlines, rng.random(len(outlines)), rng.random(), size)


def leaves(rng: np.random.Generator, fewest: int, most: int) -> list[np.ndarray]:
    """Outlines ``(corners, 2)`` in units of the side, the nearest last: shapes of all sizes, and a few long bars.

    Sizes follow a power law, which gives the statistics of natural pictures (dead leaves, Lee et al. 2001).
    """
    count = round(np.exp(rng.uniform(np.log(fewest), np.log(most))))
    smallest = rng.uniform(0.1, 1) / np.sqrt(count)  # a few large ones, or many small ones
    radii = (
        np.sort(np.minimum(smallest / np.sqrt(np.maximum(rng.random(count), 1e-4)), 1))[::-1] / 2
    )
    drawn = polygons(rng, rng.random((count, 2)), radii)
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.4 else 0):
        drawn.insert(
            int(rng.integers(len(drawn) + 1)),
            _bar(*rng.uniform(-0.2, 1.2, (2, 2)), rng.uniform(0.01, 0.09)),
        )
    if rng.random() < 0.3:
        drawn.insert(0, half_plane(rng))
    return drawn


def half_plane(rng: np.random.Generator) -> np.ndarray:
    """``(4, 2)``: one side of a straight line through the unit square, half of the time along an axis of the grid."""
    angle = rng.integers(4) * np.pi / 2 if rng.random() < 0.5 else rng.uniform(0, 2 * np.pi)
    along, aside = (
        np.array([np.cos(angle), np.sin(angle)]),
        np.array([-np.sin(angle), np.cos(angle)]),
    )
    point = rng.uniform(0.2, 0.8, 2)
    return np.stack(
        [
            point - 2 * along,
            point + 2 * along,
            point + 2 * along + 2 * aside,
            point - 2 * along + 2 * aside,
        ]
    )


def polygons(
    rng: np.random.Generator, centres: np.ndarray, radii: np.ndarray, narrowest: float = 0.1
) -> list[np.ndarray]:
    """Outlines with three corners to many, the latter nearly round, some of them narrow: ``(corners, 2)`` each.

    Parameters
    ----------
    centres : (N, 2) float
        In any unit.
    radii : (N,) float
        In the same unit.
    narrowest : float
        The least ratio of their sides.
    """
    most, count = 12, len(radii)
    angles = np.sort(rng.uniform(0, 2 * np.pi, (count, most)), axis=1)
    round_ones = rng.random(count) < 0.3
    angles[round_ones] = np.arange(most) * (2 * np.pi / most)
    unevenness = np.where(round_ones, 0, 0.4)[:, None] * rng.uniform(-1, 1, (count, most))
    corners = (1 + unevenness)[..., None] * np.stack([np.cos(angles), np.sin(angles)], 2)
    corners[..., 1] *= rng.uniform(narrowest, 1, (count, 1))
    turn = rng.uniform(0, np.pi, count)
    turned = np.stack(
        [np.stack([np.cos(turn), -np.sin(turn)], 1), np.stack([np.sin(turn), np.cos(turn)], 1)], 1
    )
    outlines = centres[:, None] + radii[:, None, None] * np.einsum("nij,nkj->nki", turned, corners)
    kept = np.where(round_ones, most, rng.integers(3, 8, count))
    return [outline[:number] for outline, number in zip(outlines, kept, strict=True)]


def _drawn(
    outlines: Sequence[np.ndarray],
    values: Sequence[float],
    ground: float,
    size: int,
    finer: int = OVERSAMPLING,
) -> np.ndarray:
    """Polygons in units of the side, one over the other: ``(size, size)`` float32, each pixel averaged over its
    ``finer`` x ``finer`` parts."""
    image = Image.new("F", (size * finer, size * finer), float(ground))
    draw = ImageDraw.Draw(image)
    for outline, value in zip(outlines, values, strict=True):
        draw.polygon((size * finer * outline).ravel().tolist(), fill=float(value))
    return np.asarray(image.reduce(finer), dtype=np.float32)


def outline(rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size)`` float32 in [0, 1]: where an object is. A patch, some bars, or many small pieces."""
    kind = rng.choice(["patch", "bars", "pieces"], p=[0.7, 0.15, 0.15])
    count = {"patch": 1, "bars": int(rng.integers(1, 5)), "pieces": int(rng.integers(2, 9))}[kind]
    if kind == "bars":
        outlines = [
            _bar(*rng.uniform(-0.2, 1.2, (2, 2)), rng.uniform(2, 14) / size) for _ in range(count)
        ]
    else:
        radii = rng.uniform(0.25, 0.6, 1) if kind == "patch" else rng.uniform(0.05, 0.2, count)
        outlines = polygons(
            rng, rng.uniform(0.1, 0.9, (count, 2)), radii, 0.5 if kind == "patch" else 0.1
        )
    return _drawn(outlines, [1.0] * count, 0.0, size)


def _bar(start: np.ndarray, end: np.ndarray, width: float) -> np.ndarray:
    along = (end - start) / max(float(np.hypot(*(end - start))), 1e-6)
    aside = np.array([-along[1], along[0]]) * width / 2
    return np.stack([start - aside, end - aside, end + aside, start + aside])


def blurs(rng: np.random.Generator, size: int, layers: int) -> list[np.ndarray]:
    """``layers`` times ``(size, size)`` float32: blur in px of each surface, farthest first.

    Blur is proportional to the distance from the plane of focus, here in any unit and with a sign: surfaces may pass
    through focus. Half of them are flat, the others tilted or curved.
    """
    in_focus = _focused(rng)
    depths = np.sort(rng.uniform(-1.2, 1.2, layers))
    return [in_focus(depth + _relief(rng, size)) for depth in depths]


def leaf_blurs(rng: np.random.Generator, size: int, outlines: Sequence[np.ndarray]) -> np.ndarray:
    """``(size, size)`` float32: blur in px of a collage, each thing on the ground or at a depth of its own."""
    count = len(outlines)
    away = (
        rng.uniform(0.1, 0.6) * rng.normal(size=count) * (rng.random(count) < rng.uniform(0.3, 1))
    )
    depth = rng.uniform(-0.6, 0.6) + _relief(rng, size) + _drawn(outlines, away, 0.0, size, finer=1)
    return _focused(rng)(depth)


def _focused(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Draw a plane of focus and the range of blur: a function from depth to blur in px, float32."""
    largest, smallest = rng.uniform(1.5, SIGMAS[1]), rng.uniform(SIGMAS[0], 0.5)
    focus = rng.uniform(-1, 1)
    return lambda depth: np.clip(largest * np.abs(depth - focus), smallest, largest).astype(
        np.float32
    )


def _relief(rng: np.random.Generator, size: int) -> np.ndarray | float:
    kind = rng.choice(["flat", "tilted", "curved"], p=[0.5, 0.35, 0.15])
    if kind == "flat":
        return np.zeros((size, size), np.float32)
    strength = rng.uniform(0.1, 1.2)
    if kind == "tilted":
        y, x = np.indices((size, size), np.float32) / size - 0.5
        angle = rng.uniform(0, 2 * np.pi)
        return strength * (np.cos(angle) * x + np.sin(angle) * y)
    knots = rng.normal(0, 0.4, [int(rng.integers(3, 7))] * 2).astype(np.float32)
    return strength * np.asarray(
        Image.fromarray(knots).resize((size, size), Image.Resampling.BICUBIC)
    )


def develop(light: np.ndarray, taken_by: Camera, rng: np.random.Generator) -> np.ndarray:
    """From light ``(H, W)`` to a stored picture, uint8: tone curve, contrast, noise, sharpening, JPEG."""
    grey = np.clip(light, 0, 1) ** (1 / taken_by.curve)
    low, high = np.percentile(grey, [1, 99])
    spread = rng.uniform(0.35, 1.0)  # from dull to full contrast
    grey = (grey - (low + high) / 2) / max(high - low, 0.1) * spread + rng.uniform(
        spread / 2, 1 - spread / 2
    )
    grey = grey + rng.normal(0, 1, grey.shape) * taken_by.noise * np.sqrt(
        rng.uniform(0.3, 1) + np.clip(grey, 0, 1)
    )
    if taken_by.sharpening:
        grey = grey + taken_by.sharpening * (
            grey - ndimage.gaussian_filter(grey, rng.uniform(0.6, 1.5))
        )
    stored = np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return _as_jpeg(stored, taken_by.quality) if taken_by.quality else stored


def _as_jpeg(grey: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _resized(plane: np.ndarray, size: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """By a filter drawn at random, or, without a generator, by the nearest pixel."""
    ways = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]
    way = rng.choice(ways) if rng else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize((size, size), way))
