import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.special import ndtr

from defocus_lib.data import manifest
from defocus_lib.data.images import Reader
from defocus_lib.data.photographs import load_disparity, load_photograph
from defocus_lib.data.records import COLUMNS
from defocus_lib.run import artifacts
from defocus_lib.scenes import optics, rendered

NAMES = tuple(rendered.MANIPULATIONS)
SIZE = 128
WHITE = [np.random.default_rng(i).integers(0, 256, (512, 512, 3), dtype=np.uint8) for i in (8, 9)]


@pytest.fixture(scope="module")
def textures():
    listed = manifest.load_manifest()
    return {s: [load_photograph(p) for p in listed.photographs_of(s)] for s in rendered.SPLITS}


@pytest.fixture(scope="module")
def scenes(textures):
    return [rendered.photograph(textures["test"], (7, index), SIZE, NAMES) for index in range(4)]


def same(first, second):
    return first.images.keys() == second.images.keys() and all(
        np.array_equal(first.images[name], second.images[name])
        and np.array_equal(first.regions[name], second.regions[name])
        for name in first.images
    )


# Determinism


def test_same_seed_same_bytes(textures, scenes):
    again = rendered.photograph(textures["test"], (7, 2), SIZE, NAMES)
    assert same(again, scenes[2]) and np.array_equal(again.sigma, scenes[2].sigma)
    assert not np.array_equal(scenes[1].images["real"], scenes[2].images["real"])


@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_depend_on_which_others_are_made(textures, scenes, name):
    alone = rendered.photograph(textures["test"], (7, 1), SIZE, [name])
    for kind in ("real", name):
        np.testing.assert_array_equal(alone.images[kind], scenes[1].images[kind])
        np.testing.assert_array_equal(alone.regions[kind], scenes[1].regions[kind])


def test_a_scene_does_not_depend_on_how_many_there_are(textures):
    small, large = (
        rendered.photograph_all(
            rendered.records(counts, "splice", NAMES), textures, seed=3, size=48, n_workers=2
        )
        for counts in ({"train": 1, "val": 1, "test": 1}, {"train": 3, "val": 0, "test": 2})
    )
    for name in ("train-00000/real", "train-00000/splice", "test-00000/real", "test-00000/texture"):
        images = [made["images"][made["ids"].tolist().index(name)] for made in (small, large)]
        np.testing.assert_array_equal(*images)
    np.testing.assert_array_equal(small["sigma"][0], large["sigma"][0])


def test_the_whole_table_is_made_in_its_order(textures):
    table = rendered.records({"train": 1, "val": 1, "test": 1}, "resynthesis", NAMES)
    made = rendered.photograph_all(table, textures, seed=5, size=48, n_workers=1)
    assert made["ids"].tolist() == table["id"].tolist()
    assert made["images"].shape == (9, 48, 48, 3) and made["images"].dtype == np.uint8
    assert made["regions"].shape == (9, 48, 48) and made["regions"].dtype == bool
    assert made["scenes"].tolist() == ["train-00000", "val-00000", "test-00000"]
    assert made["sigma"].shape == (3, 48, 48) and made["sigma"].dtype == np.float32
    np.testing.assert_array_equal(made["regions"].any((1, 2)), table["label"] == 1)
    assert made["region_sigma"].shape == (9,) and made["region_sigma"].dtype == np.float32
    alone = rendered.photograph(textures["test"], (5, 2, 0), 48, NAMES)
    for row, name in zip(table.index[table["split"] == "test"], ("real", *NAMES), strict=True):
        np.testing.assert_array_equal(made["images"][row], alone.images[name])
        assert made["region_sigma"][row] == pytest.approx(alone.region_sigma[name])


# The table


def test_records_by_hand():
    table = rendered.records({"train": 2, "val": 0, "test": 1}, "splice", ("splice", "texture"))
    assert table.columns.tolist() == COLUMNS[: len(table.columns)]
    assert table[["id", "pair", "group", "split", "label", "manipulation"]].to_numpy().tolist() == [
        ["train-00000/real", "train-00000/real", "train-00000", "train", 0, "real"],
        ["train-00000/splice", "train-00000/real", "train-00000", "train", 1, "splice"],
        ["train-00001/real", "train-00001/real", "train-00001", "train", 0, "real"],
        ["train-00001/splice", "train-00001/real", "train-00001", "train", 1, "splice"],
        ["test-00000/real", "test-00000/real", "test-00000", "test", 0, "real"],
        ["test-00000/splice", "test-00000/real", "test-00000", "test", 1, "splice"],
        ["test-00000/texture", "test-00000/real", "test-00000", "test", 1, "texture"],
    ]
    assert (table["video"] == table["group"]).all()


def test_stored_images_are_read_as_they_were_made_and_no_others(textures, tmp_path):
    table = rendered.records({"train": 1, "val": 0, "test": 1}, "splice", ("splice",))
    made = rendered.photograph_all(table, textures, seed=5, size=48, n_workers=1)
    stored = rendered.store_images(tmp_path, table, made["files"], 48)
    assert stored.columns.tolist() == list(COLUMNS)
    np.testing.assert_array_equal(Reader(tmp_path).stack(stored), made["images"])
    (tmp_path / stored["path"][0]).write_bytes((tmp_path / stored["path"][1]).read_bytes())
    with pytest.raises(ValueError, match=r"train-00000/real\.jpg"):
        Reader(tmp_path, 48).stack(stored)


def test_truth_is_found_by_name_and_is_absent_where_the_data_have_none(textures, tmp_path):
    table = rendered.records({"train": 0, "val": 0, "test": 2}, "splice", ("splice", "texture"))
    made = rendered.photograph_all(table, textures, seed=5, size=48, n_workers=1)
    del made["images"], made["files"]
    folder = artifacts.Folder.create(
        "p", tmp_path, artifacts.About("scenes", has=("regions", "depth"))
    )
    artifacts.write_arrays(tmp_path / rendered.TRUTH, made, {})
    np.testing.assert_array_equal(rendered.true_sigma(folder, "test-00001"), made["sigma"][1])
    ids = ["test-00001/texture", "test-00000/real"]
    np.testing.assert_array_equal(rendered.true_regions(folder, ids, 48), made["regions"][[5, 0]])
    altered, real = rendered.true_maps(folder, ids)
    np.testing.assert_array_equal(real, made["sigma"][0])
    region = made["regions"][5]
    np.testing.assert_array_equal(altered[~region], made["sigma"][1][~region])
    assert (altered[region] == made["region_sigma"][5]).all() and altered.dtype == np.float32
    artifacts.write_arrays(tmp_path / rendered.TRUTH, made | {"sigma": made["sigma"] + 1}, {})
    np.testing.assert_array_equal(
        rendered.true_maps(folder, ids[1:])[0], made["sigma"][0] + 1
    )  # not what it once was
    plain = artifacts.Folder.create("p", tmp_path, artifacts.About("own", has=("pairs",)))
    assert rendered.true_sigma(plain, "test-00001") is None
    assert not rendered.true_regions(plain, ids, 32).any() and rendered.true_regions(
        plain, ids, 32
    ).shape == (2, 32, 32)


@pytest.mark.parametrize("names", [("faceswap", NAMES), ("splice", ("splice", "faceswap"))])
def test_unknown_manipulations_are_refused(names):
    with pytest.raises(
        ValueError, match="unknown manipulation 'faceswap'; one of resynthesis, splice"
    ):
        rendered.records({"train": 1, "val": 1, "test": 1}, *names)


def test_one_photograph_is_too_few(textures):
    with pytest.raises(ValueError, match="1 photographs; at least 2 wanted"):
        rendered.photograph(textures["test"][:1], (0,))


def test_no_photograph_is_in_two_splits(textures):
    contents = [photograph.tobytes() for split in rendered.SPLITS for photograph in textures[split]]
    assert len(set(contents)) == len(contents)
    assert all(len(textures[split]) >= 2 for split in rendered.SPLITS)


# The photograph and its truth


@pytest.mark.parametrize("size", [32, 64, 128])
def test_true_sigma_is_the_lens_formula(textures, monkeypatch, size):
    seen = []

    class Spy(optics.ThinLens):
        def sigma(self, distance):
            seen.append((self, float(distance)))
            return super().sigma(distance)

    monkeypatch.setattr(optics, "ThinLens", Spy)
    scene = rendered.compose(textures["test"], np.random.default_rng(11), size)

    def expected(lens, d):
        diameter = lens.focal_length**2 / lens.f_number / (lens.focus_distance - lens.focal_length)
        in_px = diameter * abs(d - lens.focus_distance) / d / (36 / size) / 4
        return (in_px**2 + (0.4 * size / 128) ** 2) ** 0.5

    sigmas = [expected(*pair) for pair in seen]
    assert len({(lens.f_number, lens.focus_distance) for lens, _ in seen}) == 1, (
        "one lens per scene"
    )
    assert [d for _, d in seen] == sorted((d for _, d in seen), reverse=True), (
        "from the farthest to the nearest"
    )
    assert np.abs(np.subtract.outer(np.unique(scene.sigma), sigmas)).min(1).max() < 1e-9
    np.testing.assert_allclose(scene.sigma[scene.subject], sigmas[-1])
    assert scene.subject_sigma == pytest.approx(sigmas[-1]) and scene.subject.mean() > 0.05


def blur_of(grey, inside, noise=0.0):
    """Blur in px of white noise: its variance over its mean squared gradient, per axis."""
    dy, dx = np.gradient(grey)
    # White sensor noise adds its variance to the image, and half of it to the squared difference
    # along each axis.
    return np.sqrt((grey[inside].var() - noise**2) / ((dy**2 + dx**2)[inside].mean() - noise**2))


def test_surfaces_are_as_blurred_as_the_truth_says():
    checked = 0
    for seed in range(12):
        scene = rendered.compose(WHITE, np.random.default_rng(seed), SIZE)
        for sigma in np.unique(scene.sigma[scene.sigma > 1.5]):
            inner = ndimage.distance_transform_edt(scene.sigma == sigma) > 2 * scene.sigma.max()
            if inner.sum() > 1500:
                checked += 1
                assert blur_of(scene.image.mean(2), inner, scene.noise / 3**0.5) == pytest.approx(
                    sigma, rel=0.25
                )
    assert checked >= 5


def test_manipulated_images_differ_from_the_real_one_in_the_region_alone(scenes):
    for stored in scenes:
        for name in NAMES:
            differs = (stored.images[name] != stored.images["real"]).any(2)
            region = stored.regions[name]
            # JPEG mixes colours within blocks of 16 px, and decoders smooth over one px more; the
            # mask is feathered.
            touched = ndimage.binary_dilation(region, iterations=6)
            blocks = touched.reshape(SIZE // 16, 16, SIZE // 16, 16).any((1, 3))
            reach = ndimage.binary_dilation(
                np.kron(blocks, np.ones((16, 16))) > 0, np.ones((3, 3)), iterations=2
            )
            assert not differs[~reach].any()
            assert differs[region].mean() > 0.5
            assert differs[region].mean() > 3 * differs[~touched].mean() or name == "texture"
        assert not stored.regions["real"].any()


def test_all_manipulations_share_one_region_inside_the_subject(textures, scenes):
    for index, stored in enumerate(scenes):
        scene = rendered.compose(textures["test"], np.random.default_rng([7, index, 0]), SIZE)
        region = stored.regions[NAMES[0]]
        assert all(np.array_equal(stored.regions[name], region) for name in NAMES)
        assert region.any() and not region[~scene.subject].any()
        assert 0.15 < region.sum() / scene.subject.sum() < 0.95
        np.testing.assert_allclose(stored.sigma, scene.sigma, rtol=1e-6)


def test_the_stored_image_is_close_to_the_scene(textures, scenes):
    scene = rendered.compose(textures["test"], np.random.default_rng([7, 0, 0]), SIZE)
    error = np.abs(scenes[0].images["real"] / 255 - scene.image)
    assert 0 < error.mean() < 0.02


def test_jpeg_of_higher_quality_is_closer():
    image = np.random.default_rng(0).random((32, 32, 3))
    errors = [
        np.abs(rendered.jpeg(image, quality) / 255 - image).mean() for quality in (20, 60, 95)
    ]
    assert errors[0] > errors[1] > errors[2]


# Each manipulation does what its name says


def scene_of(image, sigma=1.0, noise=0.01):
    """A scene of this image, its subject a disc in the middle; and the region, a smaller one."""
    size = image.shape[0]
    y, x = np.indices((size, size)) - (size - 1) / 2
    subject, region = (np.hypot(y, x) < radius * size for radius in (0.4, 0.3))
    return rendered.Scene(
        image, np.full((size, size), sigma), subject, sigma, noise
    ), region.astype(float)


def noise_scene(sigma, size=SIZE):
    rng = np.random.default_rng(0)
    blurred = ndimage.gaussian_filter(rng.normal(size=(size, size, 3)), (sigma, sigma, 0))
    return scene_of(0.5 + 0.12 * blurred / blurred.std(), sigma)


def power(image, low, high):
    """Power of a square grey image between two frequencies, in cycles a px."""
    spectrum = np.abs(np.fft.fft2(image - image.mean())) ** 2
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(len(image))] * 2))
    return spectrum[(frequency >= low) & (frequency < high)].mean()


@pytest.mark.parametrize("seed", range(4))
def test_resynthesis_keeps_coarse_detail_and_loses_fine(seed):
    scene, region = noise_scene(0.5)
    altered = rendered.resynthesis(scene, WHITE, region, np.random.default_rng(seed)).image
    before, after = scene.image.mean(2), altered.mean(2)
    assert power(after, 0.25, 0.5) < 0.05 * power(before, 0.25, 0.5)
    assert power(after, 0.01, 0.05) > 0.6 * power(before, 0.01, 0.05)


def test_resynthesis_lowers_high_frequencies_in_stored_images(scenes):
    for stored in scenes:
        core = ndimage.binary_erosion(stored.regions["resynthesis"], iterations=2)
        real, fake = (
            ndimage.laplace(stored.images[name].mean(2))[core].var()
            for name in ("real", "resynthesis")
        )
        assert fake < 0.8 * real


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sigma", [0.5, 3.5])
def test_splice_matches_colour_and_differs_in_blur(sigma, seed):
    scene, region = noise_scene(sigma)
    scene.image[..., 0] *= 0.6
    altered = rendered.splice(scene, WHITE, region, np.random.default_rng(seed)).image
    inside = region > 0.5
    np.testing.assert_allclose(altered[inside].mean(0), scene.image[inside].mean(0), atol=0.01)
    np.testing.assert_allclose(altered[inside].std(0), scene.image[inside].std(0), rtol=0.1)
    blur = blur_of(altered.mean(2), inside)
    assert blur > sigma + 0.75 if sigma < 1.5 else blur < sigma - 0.75
    assert abs(np.corrcoef(altered.mean(2)[inside], scene.image.mean(2)[inside])[0, 1]) < 0.3


@pytest.mark.parametrize("seed", range(4))
def test_reenactment_moves_content_smoothly_by_a_few_px(seed):
    # On ramps of brightness, what a pixel has become says where it came from.
    y, x = np.indices((SIZE, SIZE)) / SIZE
    scene, region = scene_of(np.stack([y, x, 0 * x], axis=2))
    altered = rendered.reenactment(scene, WHITE, region, np.random.default_rng(seed)).image
    shift = SIZE * (altered - scene.image)[..., :2]
    moved = np.abs(shift[region > 0]).max()
    assert 0.4 < moved <= 0.04 * SIZE + 1e-6
    assert not np.abs(shift[region == 0]).max() > 1e-9
    inner = ndimage.binary_erosion(region > 0, iterations=2)
    assert max(np.abs(np.gradient(shift[..., k])).max(0)[inner].max() for k in (0, 1)) < 0.5


def test_reenactment_keeps_the_statistics_of_the_region(scenes):
    for stored in scenes:
        core = ndimage.binary_erosion(stored.regions["reenactment"], iterations=3)
        real, fake = (stored.images[name][core].astype(float) for name in ("real", "reenactment"))
        np.testing.assert_allclose(fake.mean(0), real.mean(0), atol=12)
        np.testing.assert_allclose(fake.std(0), real.std(0), rtol=0.25)
        assert np.abs(fake - real).mean() > 1


@pytest.mark.parametrize("seed", range(4))
def test_texture_smooths_and_leaves_a_grid_of_four_px(seed):
    rng = np.random.default_rng(seed)
    scene, region = scene_of(0.5 + rng.normal(0, 0.01, (SIZE, SIZE, 3)))
    altered = rendered.rerender(scene, WHITE, region, rng).image
    spectrum = np.abs(np.fft.fft2(altered.mean(2) - altered.mean())) / SIZE**2
    # cos(x) cos(y) is four lines of a quarter of the amplitude each, at (+-1/4, +-1/4) cycles a px.
    lines = spectrum[np.ix_([SIZE // 4, -SIZE // 4], [SIZE // 4, -SIZE // 4])] * 4
    assert ((lines > 0.004) & (lines < 0.016)).all()
    y, x = np.indices((SIZE, SIZE)) * np.pi / 2
    rest = altered - lines.mean() * (np.cos(x) * np.cos(y))[..., None]
    assert rest.std() < 0.5 * scene.image.std()


# The blur that each manipulation leaves in its region


@pytest.mark.parametrize("seed", range(4))
def test_a_warp_adds_the_variance_of_linear_interpolation(seed):
    """Mixing neighbours keeps a ramp and lifts a parabola by the variance of the mixture."""
    x = np.indices((SIZE, SIZE))[1] / SIZE
    scene, region = scene_of(np.stack([x**2, x, x], axis=2), sigma=2.0)
    altered = rendered.reenactment(scene, WHITE, region, np.random.default_rng(seed))
    lifted = SIZE**2 * (altered.image[..., 0] - altered.image[..., 1] ** 2)[region > 0.5].mean()
    assert lifted == pytest.approx(altered.sigma**2 - 2.0**2, rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_decoding_adds_the_variance_of_the_pixels_it_came_from(seed):
    scene, region = noise_scene(2.0)
    altered = rendered.resynthesis(scene, WHITE, region, np.random.default_rng(seed))
    side = np.sqrt(12 * (altered.sigma**2 - 2.0**2))  # px that one decoded pixel covers
    small = round(SIZE / side)
    assert 0.2 * SIZE - 1 < small < 0.35 * SIZE + 1
    stored = Image.fromarray(np.rint(scene.image * 255).astype(np.uint8)).resize(
        (small, small), Image.Resampling.BOX
    )
    decoded = np.asarray(stored.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) / 255
    np.testing.assert_array_equal(altered.image, decoded)


@pytest.mark.parametrize("small", [26, 30, 37, 45])
def test_enlarging_keeps_second_moments_so_the_box_is_all_there_is(small):
    """The change of a parabola is the second moment of the whole chain; a box has p^2/12."""
    x = np.tile(np.arange(SIZE, dtype=np.float32) - SIZE / 2, (SIZE, 1))

    def decoded(values):
        shrunk = Image.fromarray(values).resize((small, small), Image.Resampling.BOX)
        return np.asarray(shrunk.resize((SIZE, SIZE), Image.Resampling.BICUBIC))

    moment = (
        decoded(x**2) - x**2 - 2 * x * (decoded(x) - x)
    )  # about the pixel itself, not about a shifted one
    assert moment[32:-32, 32:-32].mean() == pytest.approx((SIZE / small) ** 2 / 12, rel=0.05)


@pytest.mark.parametrize("sigma", [0.4, 1.2, 3.0])
def test_a_splice_is_as_blurred_as_it_states(sigma):
    for seed in range(4):
        scene, region = noise_scene(sigma)
        altered = rendered.splice(scene, WHITE, region, np.random.default_rng(seed))
        measured = blur_of(altered.image.mean(2), region > 0.5, scene.noise / 3**0.5)
        assert (
            measured == pytest.approx(altered.sigma, rel=0.25) or altered.sigma < 1
        )  # no pixel grid shows less
        assert abs(altered.sigma - sigma) >= 1


def test_texture_leaves_edges_as_wide_as_they_were():
    x = np.arange(SIZE) - SIZE / 2
    step = 0.5 + 0.6 * (ndtr(x / 1.5) - 0.5)
    scene, region = scene_of(np.repeat(np.tile(step, (SIZE, 1))[..., None], 3, 2), 1.5)
    altered = rendered.rerender(scene, WHITE, region, np.random.default_rng(0))

    def width(image):
        slope = np.diff(image[:, 40:-40].mean((0, 2)))  # the faint grid averages out over its rows
        return slope.sum() / slope.max() / np.sqrt(2 * np.pi)

    assert width(altered.image) == pytest.approx(width(scene.image), rel=0.05)
    assert altered.sigma == 1.5


def test_true_blur_changes_in_the_region_alone_and_as_each_manipulation_says(scenes):
    for stored in scenes:
        subject = stored.region_sigma["real"]
        assert (stored.sigma[stored.regions["splice"]] == np.float32(subject)).all()
        assert stored.region_sigma["resynthesis"] > np.hypot(
            subject, 0.8
        )  # a fifth to a third of the side
        assert stored.region_sigma["reenactment"] == pytest.approx(np.hypot(subject, 6**-0.5))
        assert stored.region_sigma["texture"] == subject
        assert stored.region_sigma["splice"] >= 0.4


# The motorcycle


def test_the_motorcycle_has_the_depth_that_was_measured():
    entry = manifest.load_manifest().photograph("motorcycle")
    photo, disparity = load_photograph(entry), load_disparity(entry)
    lens = optics.ThinLens(85, 0.6, 2700, 36 / 100)
    image, sigma, known = rendered.motorcycle(photo, disparity, lens, 100)
    assert image.shape == (100, 100, 3) and image.dtype == np.uint8
    assert sigma.shape == known.shape == (100, 100) and 0.5 < known.mean() < 1
    left = (photo.shape[1] - photo.shape[0]) // 2
    step = photo.shape[0] / 100
    for row, column in ((10, 20), (50, 50), (90, 30)):
        measured = disparity[int((row + 0.5) * step), left + int((column + 0.5) * step)]
        assert known[row, column] == np.isfinite(measured)
        if known[row, column]:
            distance = 193.001 * 994.978 / (measured + 31.086)
            assert sigma[row, column] == pytest.approx(float(lens.sigma(distance)), rel=1e-5)
    assert np.isfinite(sigma).all()
    # The photograph comes out sharp where the lens is focused, blurred elsewhere.
    square = photo[:, left : left + photo.shape[0]].mean(2)
    square = ndimage.zoom(ndimage.gaussian_filter(square, step / 2), 100 / len(square), order=1)
    kept = [
        ndimage.laplace(image.mean(2))[part].std() / ndimage.laplace(square)[part].std()
        for part in (sigma < 0.3, sigma > np.quantile(sigma, 0.9))
    ]
    assert kept[0] > 2 * kept[1]


def test_a_scene_smaller_than_a_map_needs_is_refused(textures):
    with pytest.raises(ValueError, match="size is 31 px; at least 32 wanted"):
        rendered.photograph(textures["train"], (0,), size=31)
