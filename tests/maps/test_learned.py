import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import ndimage

from defocus_lib import defocus_maps
from defocus_lib.analysis import map_accuracy
from defocus_lib.data.images import Reader
from defocus_lib.maps import learned
from defocus_lib.maps.cache import MapCache, version
from defocus_lib.maps.presets import PRESETS


@pytest.fixture(scope="module")
def photographs(photograph):
    return np.stack(
        [photograph(name, 160)[:, 10:113, 20:121] for name in ("chelsea", "flower", "motorcycle")]
    )


def step(sigma, size=96):
    return map_accuracy.step_edge(sigma, 0.0, np.random.default_rng(0), size)[None]


# The network


def test_what_the_network_is_given_are_gradients_of_gaussian_smoothing():
    grey = ndimage.gaussian_filter(np.random.default_rng(0).random((48, 48)), 1.5)
    network = learned.Estimator()
    energies = network._energies(torch.from_numpy(grey)[None, None].float())[0]
    for scale, energy in zip(learned.SCALES, energies, strict=True):
        smooth = ndimage.gaussian_filter(
            grey, scale, mode="mirror", truncate=math.ceil(3 * scale) / scale
        )
        gy, gx = (np.gradient(smooth, axis=axis) for axis in (0, 1))
        expected = np.log(gy**2 + gx**2 + learned.FAINT) / 4 + 2
        np.testing.assert_allclose(energy[8:-8, 8:-8], expected[8:-8, 8:-8], atol=1e-3)


def test_contrast_only_adds_to_the_energies():
    grey = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    network = learned.Estimator()
    full, half = (network._energies(plane)[..., 12:-12] for plane in (grey, grey / 2))
    np.testing.assert_allclose(full - half, math.log(4) / 4, atol=0.01)


def test_batch_normalisation_within_the_convolutions_changes_nothing():
    torch.manual_seed(0)
    network = learned.Estimator()
    network(torch.rand(4, 1, 64, 64))  # statistics that are not those of the start
    network.eval()
    grey = torch.rand(1, 1, 48, 64)
    with torch.no_grad():
        before = network(grey)
        for after, expected in zip(learned.fused(network)(grey), before, strict=True):
            torch.testing.assert_close(after, expected, atol=1e-4, rtol=1e-4)


def test_the_packaged_weights_keep_their_bounds():
    for seed in learned.SEEDS:
        card, path = learned.card(seed), learned.WEIGHTS / f"estimator-{seed}.safetensors"
        network = learned.load_estimator(path)[0]
        assert path.stat().st_size <= 2_000_000
        assert sum(part.numel() for part in network.parameters()) == card["parameters"] <= 1_000_000
        assert card["seed"] == seed and card["steps"] == learned.card()["steps"], (
            "seeds differ by nothing else"
        )
        names = {"chelsea", "china", "flower", "motorcycle"}
        assert not names & {*card["photographs"]["train"], *card["photographs"]["val"]}
    assert len({learned.card(seed)["sha256"] for seed in learned.SEEDS}) == len(learned.SEEDS)


# The map


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (64, 32), (75, 101)])
def test_any_size(photographs, shape):
    image = photographs[:1, :, : shape[0], : shape[1]]
    maps = defocus_maps(image, "learned")
    assert [part.dtype for part in maps] == [
        torch.bool,
        torch.float32,
        torch.bool,
        torch.float32,
        torch.float32,
    ]
    assert all(part.shape == (1, 1, *shape) and torch.isfinite(part).all() for part in maps)
    assert (
        maps.dense.min() >= 0
        and maps.dense.max() <= PRESETS["learned"].max_sigma
        and maps.uncertainty.min() > 0
    )


def test_too_small_an_image_is_refused():
    with pytest.raises(ValueError, match="images are 31x40 px; at least 32x32 wanted"):
        defocus_maps(np.zeros((1, 3, 31, 40), np.float32), "learned")


def test_a_propagation_is_refused(photographs):
    with pytest.raises(
        ValueError,
        match="unknown propagation 'guided'; one of network wanted by a preset of a network",
    ):
        defocus_maps(photographs[:1], "learned", "guided")


def test_edges_are_those_of_the_physical_preset_and_read_in_the_dense_map(photographs):
    maps, physical = (defocus_maps(photographs, preset) for preset in ("learned", "physical"))
    assert torch.equal(maps.edges, physical.edges) and torch.equal(maps.valid, maps.edges)
    assert torch.equal(maps.sparse, maps.dense * maps.edges)
    assert physical.uncertainty is None


def test_an_image_does_not_depend_on_its_batch(photographs):
    together, turned = (
        defocus_maps(batch.copy(), "learned") for batch in (photographs, photographs[::-1])
    )
    for row in range(len(photographs)):
        alone = defocus_maps(photographs[row : row + 1], "learned")
        for single, in_batch, in_turned in zip(alone, together, turned, strict=True):
            assert torch.equal(single[0], in_batch[row]) and torch.equal(
                single[0], in_turned[2 - row]
            )


def test_the_callers_random_state_and_images_are_untouched(photographs):
    before, images = torch.random.get_rng_state(), torch.from_numpy(photographs.copy())
    defocus_maps(images, "learned")
    assert torch.equal(before, torch.random.get_rng_state()) and torch.equal(
        images, torch.from_numpy(photographs)
    )


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 3.0, 4.0, 5.0])
def test_a_step_reads_as_its_blur(sigma):
    maps = defocus_maps(step(sigma), "learned")
    assert float(maps.sparse[maps.edges].median()) == pytest.approx(sigma, abs=0.5)


def test_a_blurred_photograph_reads_as_blurrier(photographs):
    blurred = ndimage.gaussian_filter(photographs, (0, 0, 2.5, 2.5))
    sharp, soft = (
        defocus_maps(batch, "learned").dense.mean((1, 2, 3)) for batch in (photographs, blurred)
    )
    assert (soft > sharp + 0.5).all()


def test_nothing_to_read_is_uncertain():
    flat = defocus_maps(np.full((1, 3, 64, 64), 0.5, np.float32), "learned")
    assert (
        flat.uncertainty.median()
        > 1.5 * defocus_maps(step(1.0, 64), "learned").uncertainty[..., 28:36].median()
    )


# Files


def test_weights_come_back_as_they_were_saved(tmp_path):
    torch.manual_seed(1)
    network = learned.Estimator().eval()
    network.calibration.fill_(1.5)
    path = learned.save_estimator(tmp_path / "weights.safetensors", network, {"seed": 1})
    again, card = learned.load_estimator(path)
    assert card["seed"] == 1 and not again.training and float(again.calibration) == 1.5
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    first = path.read_bytes()
    assert learned.save_estimator(path, network, {"seed": 1}).read_bytes() == first


def test_changed_weights_are_refused(tmp_path):
    path = learned.save_estimator(tmp_path / "weights.safetensors", learned.Estimator(), {})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"weights.safetensors: its SHA-256 is \w+; \w+ wanted, as its card says"
    ):
        learned.load_estimator(path)


def test_weights_of_something_else_are_refused(tmp_path):
    path = learned.save_estimator(tmp_path / "weights.safetensors", learned.Estimator(), {})
    save_file({"other": torch.zeros(3)}, path)
    learned.write_json(
        path.with_suffix(".json"),
        {"sha256": learned.hashlib.sha256(path.read_bytes()).hexdigest()},
    )
    with pytest.raises(ValueError, match="no weights of an estimator"):
        learned.load_estimator(path)


def test_without_a_card_weights_are_not_read(tmp_path):
    path = learned.save_estimator(tmp_path / "weights.safetensors", learned.Estimator(), {})
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError):
        learned.load_estimator(path)


# The cache of maps


def test_the_cache_keeps_the_uncertainty(tmp_path, cached_images):
    root, records = cached_images
    cache = MapCache(tmp_path, "learned", "", 48, "stretch")
    reader = Reader(root, 48, "stretch")
    assert cache.fill(records, reader)["computed"] == len(records)
    dense, _ = cache.stack(records)
    expected = defocus_maps(
        torch.from_numpy(reader.stack(records)).permute(0, 3, 1, 2) / 255, "learned"
    )
    # The cache is filled on one thread; sums over several round otherwise. Halves have 11 bits.
    close = {"atol": 1e-4, "rtol": 2**-11}
    np.testing.assert_allclose(dense, expected.dense[:, 0], **close)
    np.testing.assert_allclose(cache.uncertainty(records), expected.uncertainty[:, 0], **close)
    assert version("learned").endswith(learned.card()["sha256"][:12])


def test_other_presets_estimate_no_uncertainty(tmp_path, cached_images):
    with pytest.raises(ValueError, match="maps of preset 'physical' come without uncertainty"):
        MapCache(tmp_path, "physical", "", 48, "stretch").uncertainty(cached_images[1])


@pytest.fixture
def cached_images(tmp_path, photographs):
    import pandas as pd
    from PIL import Image

    rows = []
    for number, image in enumerate(photographs):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.rint(255 * image[:, :48, :48]).astype(np.uint8).transpose(1, 2, 0)).save(
            path
        )
        rows.append((path.name, learned.hashlib.sha256(path.read_bytes()).hexdigest()))
    return tmp_path, pd.DataFrame(rows, columns=["path", "digest"])


# On a card; here the processor stands in


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float16, 0.01)], ids=str
)
def test_a_pass_of_many_images_gives_the_maps_of_one_at_a_time(
    photographs, monkeypatch, dtype, tolerance
):
    """Within the tolerance that `estimate` states."""
    images = torch.from_numpy(photographs)
    single, sizes = learned.estimate(images), []
    network = learned.packaged()
    counted = lambda grey: sizes.append(len(grey)) or network(grey)  # noqa: E731
    monkeypatch.setattr(learned, "packaged_on", lambda _: _Callable(network, counted))
    monkeypatch.setattr(learned, "_pass", lambda _: (2, dtype))
    many = learned.estimate(images)
    assert sizes == [2, 1]
    for found, expected in zip(many, single, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


class _Callable:
    """A network whose calls are seen."""

    def __init__(self, network, call):
        self.calibration, self.call = network.calibration, call

    def __call__(self, grey):
        return self.call(grey)


def test_a_card_takes_float16_if_it_is_faster_there(monkeypatch):
    images = torch.zeros(1, 3, 299, 299, device="meta")
    for kind, dtype in {"bfloat16": torch.float16, "float32": torch.float32}.items():
        monkeypatch.setattr(learned, "fastest", lambda _, kind=kind: kind)
        assert learned._pass(images) == (64, dtype)
    assert learned._pass(torch.zeros(1, 3, 299, 299)) == (1, torch.float32)


def test_the_network_of_the_processor_stays_there():
    copy = learned.packaged_on("meta")
    assert next(copy.parameters()).device.type == "meta"
    assert learned.packaged_on("cpu") is learned.packaged()
    assert next(learned.packaged().parameters()).device.type == "cpu"
