import numpy as np
import pytest
import torch
from scipy import ndimage

from defocus_lib import DefocusMaps, defocus_maps, normalize_per_sample
from defocus_lib.analysis.map_accuracy import map_errors
from defocus_lib.data import manifest
from defocus_lib.data.photographs import load_disparity, load_photograph
from defocus_lib.maps.presets import NETWORK, PRESETS, PROPAGATIONS
from defocus_lib.scenes import optics
from tests.reference import optics as literal_optics

# tests/maps/test_learned.py has the others
BY_EDGES = [name for name, preset in PRESETS.items() if preset.propagation != NETWORK]
SIGMAS = (0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)


def numpy(maps):
    return DefocusMaps(*(part.numpy()[:, 0] for part in maps[:4]))


# The contract of every preset


@pytest.mark.parametrize("propagation", PROPAGATIONS)
@pytest.mark.parametrize("preset", BY_EDGES)
@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (64, 32)])
def test_any_size(photograph, shape, preset, propagation):
    image = photograph("coffee", 160)[:, 50 : 50 + shape[0], 60 : 60 + shape[1]]
    maps = defocus_maps(image[None], preset, propagation)
    assert [part.dtype for part in maps[:4]] == 2 * [torch.bool, torch.float32]
    assert all(part.shape == (1, 1, *shape) for part in maps[:4])
    edges, sparse, valid, dense, _ = numpy(maps)
    assert edges.any() and np.isfinite(dense).all() and np.isfinite(sparse).all()
    assert not sparse[~edges].any() and not valid[~edges].any() and sparse.min() >= 0
    assert sparse.max() <= PRESETS[preset].max_sigma


@pytest.mark.parametrize("propagation", PROPAGATIONS)
@pytest.mark.parametrize("preset", BY_EDGES)
def test_an_image_does_not_depend_on_its_batch(photograph, preset, propagation):
    images = np.stack(
        [photograph(name, 160)[:, 40:104, 40:104] for name in ("coffee", "chelsea", "brick")]
    )
    together, others_last = (
        defocus_maps(batch.copy(), preset, propagation) for batch in (images, images[::-1])
    )
    for row, image in enumerate(images):
        alone = defocus_maps(image[None], preset, propagation)
        batches = zip(alone[:4], together[:4], others_last[:4], strict=True)
        for single, in_batch, in_reversed_batch in batches:
            assert torch.equal(single[0], in_batch[row])
            assert torch.equal(single[0], in_reversed_batch[2 - row])


@pytest.mark.parametrize("preset", BY_EDGES)
def test_an_image_does_not_depend_on_the_number_of_workers(photograph, preset):
    images = np.stack(
        [photograph(name, 160) for name in ("coffee", "chelsea", "brick", "flower", "motorcycle")]
    )
    expected = defocus_maps(images, preset)
    for n_workers in (2, -1):
        maps = defocus_maps(images, preset, n_workers=n_workers)
        for part, expected_part in zip(maps[:4], expected[:4], strict=True):
            assert torch.equal(part, expected_part)


def test_arrays_and_tensors_of_any_float_type_and_layout_agree(photograph):
    image = photograph("flower", 96)[None]
    tensor = torch.from_numpy(image)
    expected = defocus_maps(tensor)
    for same in (
        image,
        image.astype(np.float64),
        tensor.double(),
        tensor.to(memory_format=torch.channels_last),
    ):
        for part, expected_part in zip(defocus_maps(same)[:4], expected[:4], strict=True):
            assert torch.equal(part, expected_part)
    tracked = tensor.clone().requires_grad_(True)
    assert not defocus_maps(tracked).dense.requires_grad
    assert torch.equal(tensor, torch.from_numpy(image)), "the caller's images are untouched"


@pytest.mark.parametrize("value", [0.0, 0.3333, 1.0])
@pytest.mark.parametrize("preset", BY_EDGES)
@pytest.mark.parametrize("propagation", PROPAGATIONS)
def test_a_constant_image_gives_an_empty_map(value, preset, propagation):
    maps = defocus_maps(torch.full((1, 3, 33, 40), value), preset, propagation)
    assert not any(part.any() for part in maps[:4])
    assert not normalize_per_sample(maps.dense).any()


# The physical preset, against known blur


@pytest.mark.parametrize("kind", ["white", "grey", "ramp", "faint noise"])
def test_the_network_guesses_nothing_where_no_edge_can_be_measured(kind, photograph):
    rng = np.random.default_rng(0)
    planes = {
        "white": np.ones((64, 80)),
        "grey": np.full((64, 80), 0.4),
        "ramp": np.tile(np.linspace(0.4, 0.5, 80), (64, 1)),
        "faint noise": 0.5 + rng.normal(0, 0.004, (64, 80)),
    }
    image = np.tile(planes[kind].astype(np.float32).clip(0, 1), (3, 1, 1))
    assert not defocus_maps(image[None], "physical").valid.any(), "or this test shows nothing"
    other = photograph("coffee", 160)[:, :64, :80]
    maps = defocus_maps(np.stack([image, other]), "learned")
    assert not maps.valid[0].any() and not maps.dense[0].any() and not maps.sparse[0].any()
    assert (maps.uncertainty[0] == PRESETS["learned"].max_sigma).all()
    alone = defocus_maps(other[None], "learned")
    assert maps.valid[1].any() and torch.equal(maps.dense[1], alone.dense[0])
    assert torch.equal(maps.uncertainty[1], alone.uncertainty[0])


@pytest.mark.parametrize("angle", [0, 45, 90, 200])
@pytest.mark.parametrize(("noise", "bound"), [(0.0, 0.1), (0.02, 0.4)])
def test_step_edges_read_their_blur(angle, noise, bound):
    # Sides of 96 and 97 px: the edge runs between pixel centres, and through them.
    for size, contrast in ((80, 0.4), (81, 0.4), (80, 0.9)):
        for sigma in SIGMAS:
            image = literal_optics.step(sigma, size, angle, contrast)
            image = image + np.random.default_rng(angle).normal(0, noise, image.shape[1:])
            maps = defocus_maps(np.clip(image, 0, 1)[None])
            read = maps.sparse[maps.valid]
            assert len(read) >= 0.9 * size
            assert abs(float(read.median()) - sigma) <= bound, (sigma, size, contrast)


def test_step_edges_of_8_bit_colour_read_their_blur():
    tint = np.array([1.0, 0.7, 0.4]).reshape(3, 1, 1)
    for sigma in SIGMAS:
        image = np.rint(255 * literal_optics.step(sigma, 80, 30, 0.8) * tint) / 255
        maps = defocus_maps(image[None])
        assert float(maps.sparse[maps.valid].median()) == pytest.approx(sigma, abs=0.1)


def test_the_same_blur_is_read_at_every_edge_pixel():
    maps = numpy(defocus_maps(literal_optics.step(2.0, 96, 30)[None]))
    inner = (slice(None), slice(12, -12), slice(12, -12))  # a reflected border folds a slanted edge
    assert np.ptp(maps.sparse[inner][maps.valid[inner]]) < 0.05
    np.testing.assert_allclose(maps.dense[inner], 2.0, atol=0.05)


def test_two_edges_of_different_blur_are_told_apart():
    left, right = literal_optics.step(1.0, 64), literal_optics.step(3.0, 64)
    maps = numpy(defocus_maps(np.concatenate([left, right[:, :, ::-1]], axis=2)[None]))
    assert np.median(maps.sparse[0, :, :64][maps.valid[0, :, :64]]) == pytest.approx(1, abs=0.1)
    assert np.median(maps.sparse[0, :, 64:][maps.valid[0, :, 64:]]) == pytest.approx(3, abs=0.1)
    np.testing.assert_allclose(maps.dense[0, :, [31, 95]].mean(1), [1, 3], atol=0.1)


def test_unmeasurable_is_kept_apart_from_sharp(photograph):
    hard = np.full((1, 3, 64, 64), 0.2, dtype=np.float32)
    hard[..., 32:] = 0.8  # no blur at all: below what two scales can tell
    for preset in BY_EDGES:
        maps = numpy(defocus_maps(hard, preset))
        assert maps.edges.any() and not maps.valid.any() and not maps.sparse.any()
    maps = numpy(defocus_maps(photograph("chelsea", 160)[None]))
    assert (maps.edges & ~maps.valid).any(), "texture gives edges that no single step explains"
    np.testing.assert_array_equal(maps.sparse > 0, maps.valid)


@pytest.fixture(scope="module")
def motorcycle():
    entry = manifest.load_manifest().photograph("motorcycle")
    return literal_optics.motorcycle(load_photograph(entry), load_disparity(entry))


def mean_errors(images, sigmas, known, propagation=None):
    """Mean absolute error in px and Spearman correlation, each the mean over the focal planes."""
    dense = numpy(
        defocus_maps(np.moveaxis(images / np.float32(255), 3, 1), propagation=propagation)
    ).dense
    errors = [map_errors(d, sigma, known) for d, sigma in zip(dense, sigmas, strict=True)]
    return np.mean([list(e.values()) for e in errors], axis=0)


@pytest.mark.slow
def test_motorcycle_by_the_protocol(motorcycle):
    error, spearman = mean_errors(motorcycle.images, motorcycle.sigmas, motorcycle.known)
    assert error <= 0.6 and spearman >= 0.75


@pytest.mark.slow
def test_motorcycle_through_the_renderer_with_occlusion(motorcycle):
    scene = motorcycle
    images = [
        optics.render_depth(scene.sharp / 255, sigma, -scene.disparity) for sigma in scene.sigmas
    ]
    images = np.rint(255 * np.stack(images)).astype(np.uint8)
    assert np.abs(images.astype(float) - scene.images).mean() > 1, "occlusion makes a difference"
    error, spearman = mean_errors(images, scene.sigmas, scene.known)
    assert error < 0.75 and spearman >= 0.6


@pytest.mark.slow
def test_closed_form_comes_as_close_to_known_blur(motorcycle):
    part = (slice(2, 4), slice(80, 208), slice(80, 208))
    images, sigmas, known = (
        motorcycle.images[part],
        motorcycle.sigmas[part],
        motorcycle.known[part[1:]],
    )
    gaussian, closed = (
        mean_errors(images, sigmas, known, name) for name in ("gaussian", "closed_form")
    )
    assert closed[0] < gaussian[0] + 0.1 and closed[1] > gaussian[1] - 0.1


# Metamorphic: what must follow when the image is changed in a known way


MOVES = {
    "flipped": lambda a: a[..., ::-1],
    "upside down": lambda a: a[..., ::-1, :],
    "turned": lambda a: np.rot90(a, axes=(-2, -1)),
    "transposed": lambda a: a.swapaxes(-2, -1),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
@pytest.mark.parametrize("preset", BY_EDGES)
def test_a_moved_image_gives_the_moved_map(photograph, move, preset):
    image = photograph("chelsea", 160)[:, :, :121]
    before, after = (
        numpy(defocus_maps(image[None], preset)),
        numpy(defocus_maps(move(image)[None].copy(), preset)),
    )
    inner = (slice(None), slice(8, -8), slice(8, -8))
    differing = move(before.edges)[inner] != after.edges[inner]
    assert differing.mean() < 1e-3
    assert np.abs(move(before.dense)[inner] - after.dense[inner]).mean() < 1e-3


def test_contrast_does_not_change_sigma(photograph):
    image = photograph("chelsea", 160)
    full = numpy(defocus_maps(image[None]))
    for contrast in (0.8, 0.5):
        flat = numpy(defocus_maps((0.5 + contrast * (image - 0.5))[None]))
        both = full.valid & flat.valid
        assert both.sum() > 0.9 * flat.valid.sum() > 500
        np.testing.assert_allclose(full.sparse[both], flat.sparse[both], atol=2e-3)


def test_more_blur_reads_larger(photograph):
    image = photograph("motorcycle", 160)
    read = []
    for sigma in (1, 1.5, 2, 3):
        maps = numpy(defocus_maps(ndimage.gaussian_filter(image, (0, sigma, sigma))[None]))
        read.append((np.median(maps.sparse[maps.valid]), maps.dense.mean()))
    assert (np.diff(read, axis=0) > 0.2).all()


# Normalisation and bad input


def test_normalisation_by_hand():
    maps = torch.tensor([[1.0, 2.0], [3.0, 5.0]]).expand(2, 1, 2, 2).clone()
    maps[1] = 7.0
    expected = torch.tensor([[[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]]])[:, None]
    assert torch.equal(normalize_per_sample(maps), expected)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (torch.zeros(2, 8, 8), r"maps has shape \(2, 8, 8\); \(B, 1, H, W\) wanted"),
        (torch.zeros(2, 3, 8, 8), r"maps has shape \(2, 3, 8, 8\)"),
        (torch.full((1, 1, 8, 8), float("nan")), "maps holds NaN"),
    ],
)
def test_normalisation_refuses(maps, message):
    with pytest.raises(ValueError, match=message):
        normalize_per_sample(maps)


GOOD = np.full((1, 3, 32, 32), 0.5, dtype=np.float32)


def with_value(value):
    images = GOOD.copy()
    images[0, 1, 5, 5] = value
    return images


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (GOOD.tolist(), TypeError, "images is a list"),
        (
            (255 * GOOD).astype(np.uint8),
            TypeError,
            "images has dtype uint8; .*divide 8-bit values by 255",
        ),
        (torch.zeros(1, 3, 32, 32, dtype=torch.int64), TypeError, "dtype torch.int64"),
        (GOOD[0], ValueError, r"images has shape \(3, 32, 32\)"),
        (GOOD.transpose(0, 2, 3, 1), ValueError, r"images has shape \(1, 32, 32, 3\)"),
        (GOOD[:, :1], ValueError, r"images has shape \(1, 1, 32, 32\)"),
        (GOOD[:0], ValueError, "B of at least 1 wanted"),
        (GOOD[..., :31], ValueError, "images are 32x31 px; at least 32x32 wanted"),
        (with_value(np.nan), ValueError, "images holds NaN or infinity"),
        (with_value(np.inf), ValueError, "images holds NaN or infinity"),
        (with_value(-0.1), ValueError, r"images ranges from -0.1 to 0.5; \[0, 1\] wanted"),
        (255 * GOOD, ValueError, "images ranges from 127.5 to 127.5"),
    ],
)
def test_bad_images_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        defocus_maps(images)
