import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from defocus_lib.detect import model as detectors
from defocus_lib.detect.inputs import KINDS
from defocus_lib.detect.model import Detector, load_detector, save_detector

BACKBONE = "test_resnet"
SCRATCH = {
    "pretrained": "",
    "input_scaling": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "maps": False},
}


@pytest.fixture(params=["defocus", "rgb", "fusion"])
def reads(request):
    return request.param


def inputs_for(reads, number=3, input_size=48):
    return torch.rand(
        number,
        KINDS[reads].channels(),
        input_size,
        input_size,
        generator=torch.Generator().manual_seed(0),
    )


def make(reads="defocus", seed=0, input_size=0):
    return Detector(BACKBONE, reads, input_size, seed).eval()


def test_one_logit_an_input_and_features_before_the_last_layer(reads):
    model, inputs = make(reads), inputs_for(reads)
    with torch.no_grad():
        logits, features = model.logits_and_features(inputs)
        torch.testing.assert_close(model(inputs), logits)
        last = model.head if reads == "fusion" else model.classifier.get_classifier()
        assert logits.shape == (3, 1) and features.shape == (3, last.in_features)
        torch.testing.assert_close(last(features), logits)


def test_a_map_is_repeated_and_a_photograph_scaled():
    with torch.no_grad():
        model, inputs = make("defocus"), inputs_for("defocus")
        torch.testing.assert_close(model(inputs), model.classifier(torch.cat([inputs] * 3, dim=1)))
        model, inputs = make("rgb"), inputs_for("rgb")
        torch.testing.assert_close(model(inputs), model.classifier((inputs - 0.5) / 0.5))


def test_both_are_read_each_by_its_branch_and_their_feature_maps_multiplied():
    model, inputs = make("fusion"), inputs_for("fusion")
    with torch.no_grad():
        of_photographs = model.rgb_branch.forward_features((inputs[:, :3] - 0.5) / 0.5)
        of_maps = model.defocus_branch.forward_features(torch.cat([inputs[:, 3:]] * 3, dim=1))
        pooled = (of_photographs * of_maps).mean((2, 3))
        weights, bias = model.head.weight, model.head.bias
        torch.testing.assert_close(model(inputs), pooled @ weights.T + bias)


def test_the_branches_differ_and_every_weight_of_them_learns():
    model = make("fusion").train()
    first = [branch.conv1[0].weight for branch in (model.rgb_branch, model.defocus_branch)]
    assert not torch.equal(*first)
    model(inputs_for("fusion")).sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


def test_the_weights_of_one_input_are_called_as_before():
    # Files of earlier versions hold these names.
    for reads in ("defocus", "rgb"):
        assert {name.split(".")[0] for name in make(reads).state_dict()} == {"classifier"}


def test_pixels_are_read_in_single_precision_also_under_autocast(reads):
    model, inputs = make(reads), inputs_for(reads)
    firsts = [branch.conv1[0] for branch in model.children() if hasattr(branch, "conv1")]
    seen = []
    for first in firsts:
        first.register_forward_hook(lambda module, given, read: seen.append((given[0], read)))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(inputs)
    assert len(seen) == len(firsts) == (2 if reads == "fusion" else 1)
    for first, (given, read) in zip(firsts, seen, strict=True):
        assert read.dtype == torch.float32
        torch.testing.assert_close(
            read, F.conv2d(given, first.weight, first.bias, first.stride, first.padding)
        )


def test_the_other_layers_follow_autocast():
    model = make("rgb")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert model.classifier.forward_features(inputs_for("rgb")).dtype == torch.bfloat16


@pytest.mark.slow
def test_residual_scale_is_that_of_every_branch_of_xception():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        plain = timm.create_model("legacy_xception", num_classes=1).state_dict()
    default, scaled = (
        Detector("legacy_xception", "rgb", 0, 3, scale).classifier.state_dict()
        for scale in (1.0, 0.1)
    )
    assert all(torch.equal(value, default[name]) for name, value in plain.items())
    differ = {name for name, value in plain.items() if not torch.equal(value, scaled[name])}
    # The normalisation of the second or third separable convolution ends its branch.
    expected = {1: "1.rep.4", 2: "2.rep.5", 3: "3.rep.5", 12: "12.rep.5"} | {
        n: f"{n}.rep.8" for n in range(4, 12)
    }
    assert differ == {f"block{name}.weight" for name in expected.values()}
    assert all(
        (plain[name] == 1).all() and torch.allclose(scaled[name], torch.tensor(0.1))
        for name in differ
    )


def test_residual_scale_of_another_backbone_is_refused():
    with pytest.raises(
        ValueError, match=r"residual_scale is 0.1 for test_resnet; legacy_xception, or a scale of 1"
    ):
        Detector(BACKBONE, "rgb", residual_scale=0.1)


def test_inputs_are_averaged_down_first(reads):
    inputs = inputs_for(reads, input_size=64)
    averaged = F.avg_pool2d(inputs, 2)
    with torch.no_grad():
        torch.testing.assert_close(make(reads, input_size=32)(inputs), make(reads)(averaged))


def test_same_seed_same_weights(reads, generators_left_alone):
    with generators_left_alone():
        first, again, other = make(reads, seed=1), make(reads, seed=1), make(reads, seed=2)
    weights = [
        torch.cat([p.flatten() for p in model.parameters()]) for model in (first, again, other)
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((BACKBONE, "depth"), "unknown input 'depth'; one of defocus, rgb, fusion, edges"),
        (
            ("resnet_of_mine", "rgb"),
            "unknown backbone 'resnet_of_mine'; a timm model wanted .similar: .*resnet",
        ),
        (
            ("zzz", "rgb"),
            "unknown backbone 'zzz'; a timm model wanted .similar: see timm.list_models",
        ),
    ],
)
def test_unknown_names_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Detector(*arguments)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (1, 32, 32), (2, 1, 32)])
def test_inputs_of_another_shape_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"inputs has shape .*; \(B, 1, H, W\) wanted by a detector on defocus"
    ):
        make("defocus")(torch.zeros(shape))


# Files


def test_round_trip_of_each_kind(reads, tmp_path):
    model, inputs = make(reads, seed=5, input_size=32), inputs_for(reads)
    found, header = load_detector(save_detector(tmp_path / "any.safetensors", model, {}))
    of_map = "" if reads == "rgb" else "min-max"
    assert header == HEADER | SCRATCH | {"reads": reads, "normalisation": of_map}
    with torch.no_grad():
        assert torch.equal(found(inputs), model(inputs))


def test_a_file_of_an_earlier_version_is_read(tmp_path):
    model = make("rgb", seed=3, input_size=32)
    path = save_detector(tmp_path / "detector.safetensors", model, {})
    rewrite(path, {"backbone": BACKBONE, "reads": "rgb", "side": 32, "learned": "splice"})
    found, header = load_detector(path, input_size=32)
    assert found.input_size == 32 and header == HEADER | {"training_manipulation": "splice"}
    with torch.no_grad():
        assert torch.equal(found(inputs_for("rgb")), model(inputs_for("rgb")))


@pytest.fixture
def saved(tmp_path):
    model = make("rgb", seed=3, input_size=32)
    return model, save_detector(
        tmp_path / "detector.safetensors", model, {"preset": "physical", "epoch": 4}
    )


def test_round_trip(saved):
    model, path = saved
    found, header = load_detector(path, reads="rgb", preset="physical", backbone=BACKBONE)
    assert header == {
        "preset": "physical",
        "epoch": 4,
        "backbone": BACKBONE,
        "reads": "rgb",
        "input_size": 32,
        **SCRATCH,
        "normalisation": "",
    }
    assert not found.training and found.input_size == 32
    inputs = inputs_for("rgb")
    with torch.no_grad():
        assert torch.equal(found(inputs), model(inputs))


def test_same_weights_same_bytes_whatever_their_memory_layout(saved, tmp_path):
    model, path = saved
    about = {"epoch": 4, "preset": "physical"}
    again = save_detector(
        tmp_path / "again.safetensors", model.to(memory_format=torch.channels_last), about
    )
    assert again.read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "again.safetensors",
        "detector.safetensors",
    ]


def test_loading_leaves_the_callers_generators_alone(saved, generators_left_alone):
    with generators_left_alone():
        load_detector(saved[1])


def test_weights_for_something_else_are_refused(saved):
    with pytest.raises(
        ValueError, match=r"detector.safetensors: weights are for reads 'rgb'; 'defocus' wanted"
    ):
        load_detector(saved[1], reads="defocus")
    with pytest.raises(ValueError, match="weights are for manipulation None; 'splice' wanted"):
        load_detector(saved[1], manipulation="splice")


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no weights at .*none.safetensors: train with epochs"
    ):
        load_detector(tmp_path / "none.safetensors")


def rewrite(path, header, change=lambda weights: weights):
    """The file at ``path`` with its weights changed, and another JSON header (none if None)."""
    text = (
        None
        if header is None
        else {detectors.HEADER: header if isinstance(header, str) else json.dumps(header)}
    )
    save_file(change(load_file(path)), path, text)


FIRST = "classifier.conv1.0.weight"


HEADER = {"backbone": BACKBONE, "reads": "rgb", "input_size": 32, "normalisation": ""}
BROKEN = {
    "a text file": lambda path: path.write_text("not weights\n" * 9),
    "an empty file": lambda path: path.write_bytes(b""),
    "a truncated file": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "a truncated header": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "a pickle": lambda path: torch.save({"weights": torch.zeros(3)}, path),
    "foreign safetensors": lambda path: rewrite(path, None),
    "a header without a backbone": lambda path: rewrite(path, {"reads": "rgb", "input_size": 0}),
    "a header that is no JSON": lambda path: rewrite(path, "{"),
    "a header that is a list": lambda path: rewrite(path, [1, 2]),
    "an unknown backbone": lambda path: rewrite(path, HEADER | {"backbone": "nonet"}),
    "another backbone": lambda path: rewrite(path, HEADER | {"backbone": "test_vit"}),
    "a missing weight": lambda path: rewrite(
        path, HEADER, lambda w: {k: v for k, v in w.items() if k != FIRST}
    ),
    "a weight of another shape": lambda path: rewrite(
        path, HEADER, lambda w: w | {FIRST: w[FIRST][:1].contiguous()}
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_wrong_files_give_one_clear_error(saved, broken):
    path = saved[1]
    broken(path)
    with pytest.raises(ValueError, match=r"detector.safetensors: (not readable as a|no) detector"):
        load_detector(path)
