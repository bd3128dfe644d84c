import hashlib
import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from skimage import data
from timm.data import ImageNetInfo

from defocus_lib.detect import pretrained
from defocus_lib.detect.inputs import KINDS
from defocus_lib.detect.model import Detector, load_detector, save_detector
from defocus_lib.detect.pretrained import FROM_SCRATCH, Scaling, backbone_network, packaged_file

LITE = "tf_efficientnet_lite0"
TINY = "test_resnet"


def squared(picture, size=224):
    """An (H, W, 3) uint8 picture as (1, 3, size, size) in [0, 1]."""
    image = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def packaged():
    network, scaling = backbone_network(LITE, "packaged")
    return network.eval(), scaling


@pytest.mark.slow
@pytest.mark.parametrize(
    ("picture", "seen", "least"),
    [(data.coffee, "espresso", 0.85), (data.chelsea, "Egyptian cat", 0.7)],
)
def test_what_the_packaged_network_sees(packaged, picture, seen, least):
    network, scaling = packaged
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in scaling[:2])
    with torch.no_grad():
        shares = network((squared(picture()) - mean) / std).softmax(1)[0]
    best = int(shares.argmax())
    assert ImageNetInfo().index_to_description(best) == seen and shares[best] > least


def test_the_scaling_is_that_of_the_weights(packaged):
    # Those of Google have 0.5 and 0.5; most of timm have the moments of ImageNet.
    assert packaged[1] == Scaling((0.5,) * 3, (0.5,) * 3, maps=True)
    assert backbone_network(TINY)[1] == FROM_SCRATCH


@pytest.fixture
def backbone_file(tmp_path):
    """The weights of a network of random weights, and their file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        weights = timm.create_model(TINY, num_classes=7).state_dict()
    torch.save({"state_dict": {f"module.{n}": v for n, v in weights.items()}}, tmp_path / "b.pth")
    return weights, tmp_path / "b.pth"


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_has_all_but_the_last_layer(tmp_path, backbone_file, suffix):
    weights, path = backbone_file
    if suffix == "safetensors":
        path = tmp_path / "b.safetensors"
        save_file(weights, path)
    detector = Detector(TINY, "rgb", pretrained=str(path))
    loaded = detector.classifier.state_dict()
    head = {"fc.weight", "fc.bias"}
    assert all(torch.equal(loaded[name], weights[name]) for name in weights.keys() - head)
    assert loaded["fc.weight"].shape == (1, weights["fc.weight"].shape[1])
    assert detector.pretrained == path.name


def test_a_new_last_layer_begins_small(tmp_path):
    # With one output, timm draws the last layer of its EfficientNets from -1 to 1.
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "e.pth")
    head = Detector("test_efficientnet", "rgb", pretrained=str(tmp_path / "e.pth")).classifier
    weight = head.get_classifier().weight
    assert weight.shape[0] == 1 and weight.abs().max() <= weight.shape[1] ** -0.5


@pytest.mark.slow
def test_photographs_and_maps_are_scaled_by_hand(backbone_file):
    config = timm.create_model(TINY).default_cfg
    mean, std = (torch.tensor(config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    inputs = torch.rand(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    photographs, maps = inputs.split([3, 1], dim=1)
    scaled = [(each - mean) / std for each in (photographs, torch.cat([maps] * 3, dim=1))]
    with torch.no_grad():
        for reads, given, expected in zip(
            ("rgb", "defocus"), (photographs, maps), scaled, strict=True
        ):
            model = Detector(TINY, reads, pretrained=str(backbone_file[1])).eval()
            torch.testing.assert_close(model(given), model.classifier(expected))
        model = Detector(TINY, "fusion", pretrained=str(backbone_file[1])).eval()
        branches = (model.rgb_branch, model.defocus_branch)
        first, second = (
            branch.forward_features(each) for branch, each in zip(branches, scaled, strict=True)
        )
        torch.testing.assert_close(model(inputs), model.head((first * second).mean((2, 3))))
    learned = backbone_file[0]["conv1.0.weight"]
    assert all(torch.equal(branch.conv1[0].weight, learned) for branch in branches)


@pytest.mark.slow
def test_a_repeated_map_meets_the_first_layer_that_timm_makes_for_one_channel(backbone_file):
    # timm sums the kernels of the three channels.
    with torch.random.fork_rng(devices=[]):
        overlay = {"file": str(backbone_file[1]), "num_classes": 7}
        one = timm.create_model(
            TINY, pretrained=True, in_chans=1, num_classes=0, pretrained_cfg_overlay=overlay
        ).eval()
    three = backbone_network(TINY, str(backbone_file[1]), 0)[0].eval()
    maps = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(one(maps), three(maps.expand(-1, 3, -1, -1)))


@pytest.mark.slow
def test_a_weight_file_rebuilds_the_scaling_without_the_first_weights(tmp_path, backbone_file):
    model = Detector(TINY, "fusion", pretrained=str(backbone_file[1])).eval()
    path = save_detector(tmp_path / "ours.safetensors", model, {})
    backbone_file[1].unlink()
    loaded, header = load_detector(path)
    inputs = torch.rand(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(inputs), model(inputs))
    config = timm.create_model(TINY).default_cfg
    expected = {"mean": list(config["mean"]), "std": list(config["std"]), "maps": True}
    assert (
        header["input_scaling"] == expected and header["pretrained"] == loaded.pretrained == "b.pth"
    )


def test_a_weight_file_of_before_is_from_scratch(tmp_path):
    model = Detector(TINY, "rgb", seed=1).eval()
    path = save_detector(tmp_path / "new.safetensors", model, {})
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["defocus_lib"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del header["input_scaling"], header["pretrained"]
    save_file(weights, tmp_path / "old.safetensors", {"defocus_lib": json.dumps(header)})
    old, _ = load_detector(tmp_path / "old.safetensors")
    inputs = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(old(inputs), model.classifier(inputs * 2 - 1))
    assert old.pretrained == "" and old.scaling == FROM_SCRATCH


def test_the_packaged_file_is_compared_with_its_digest(monkeypatch):
    path = packaged_file(LITE)
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem.rpartition("-")[2])
    changed = pretrained.PACKAGES[LITE]._replace(sha256="0" * 64)
    monkeypatch.setitem(pretrained.PACKAGES, LITE, changed)
    with pytest.raises(ValueError, match=f"{path.name}: SHA-256 is 57934424.*; 0000.* wanted"):
        packaged_file(LITE)


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    missing = pretrained.PACKAGES[LITE]._replace(name="no_such_package")
    monkeypatch.setitem(pretrained.PACKAGES, LITE, missing)
    with pytest.raises(FileNotFoundError, match="package no_such_package is not installed"):
        packaged_file(LITE)


def test_without_a_network_one_sentence_names_the_way_out(monkeypatch):
    def no_network(*_, **__):
        raise RuntimeError("Max retries exceeded\nwith url")

    monkeypatch.setattr(pretrained.timm, "create_model", no_network)
    with pytest.raises(ConnectionError) as error:
        backbone_network("resnet18", "timm")
    assert str(error.value) == (
        "pretrained is 'timm', and its hub gave no weights of 'resnet18' (RuntimeError); "
        "a network, or in the place of 'timm' the path of a file of these weights, wanted"
    )


def detector_file(folder):
    return save_detector(folder / "d.safetensors", Detector(TINY, "rgb"), {})


def other_backbone(folder):
    torch.save(timm.create_model("test_efficientnet").state_dict(), folder / "e.pth")
    return folder / "e.pth"


@pytest.mark.parametrize(
    ("backbone", "given", "error", "message"),
    [
        (TINY, "packaged", ValueError, "no packaged weights of backbone 'test_resnet'; one of tf_"),
        (TINY, "none.pth", FileNotFoundError, "no pretrained weights at none.pth; 'timm', 'pack"),
        (TINY, detector_file, ValueError, "a detector of this project, not a backbone; training"),
        (TINY, other_backbone, ValueError, "no weights of backbone 'test_resnet': .* missing"),
    ],
)
def test_what_is_no_weights_of_the_backbone_is_refused(tmp_path, backbone, given, error, message):
    value = given if isinstance(given, str) else str(given(tmp_path))
    with pytest.raises(error, match=message):
        Detector(backbone, "rgb", pretrained=value)


def test_tensors_in_another_order_are_refused(tmp_path):
    weights = timm.create_model(TINY).state_dict()
    turned = dict(reversed(weights.items()))
    with pytest.raises(ValueError, match="tensors are not in the order of the"):
        pretrained.in_order(TINY, turned, tmp_path / "w.pth")


def test_words_say_how_inputs_are_scaled():
    moments = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), maps=True)
    words = "mean 0.485, 0.456, 0.406 and standard deviation 0.229, 0.224, 0.225"
    assert KINDS["rgb"].scaling(given=moments) == f"photographs with {words} per channel"
    assert KINDS["defocus"].scaling(given=moments).endswith(f"repeated to 3 channels, with {words}")
    assert KINDS["rgb"].scaling() == (
        "photographs with mean 0.5 and standard deviation 0.5 per channel"
    )
