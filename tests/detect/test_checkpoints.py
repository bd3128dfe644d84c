import json
import os
import re
from collections import OrderedDict

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from defocus_lib.detect.checkpoints import open_weights, read_weights
from defocus_lib.detect.model import Detector, save_detector
from defocus_lib.detect.normalisation import NORMALISATIONS, normalisation_named


def used(backbone):
    """A ``timm`` model with one output and statistics that are not those of a new one."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = timm.create_model(backbone, pretrained=False, num_classes=1)
        with torch.no_grad():
            model.bn1.running_mean.uniform_(-0.1, 0.1)
            model.fc.weight.normal_()
        return model.eval()


@pytest.fixture(scope="module")
def resnet():
    return used("test_resnet")


@pytest.fixture(scope="module")
def xception():
    return used("legacy_xception")


@pytest.fixture(scope="module")
def maps():
    return torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def photographs():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def prefixed(weights, prefix):
    return OrderedDict((prefix + name, value) for name, value in weights.items())


def wrapped(weights, **more):
    # A step of Adam that leaves the weights as they are: its state is part of such files.
    parameter = torch.nn.Parameter(torch.ones(3))
    adam = torch.optim.Adam([parameter])
    parameter.sum().backward()
    adam.step()
    state = {
        "epoch": 8,
        "model_state_dict": weights,
        "optimizer_state_dict": adam.state_dict(),
        "best_val_acc": 0.93,
    }
    return state | more


def old(weights):
    """As files of 2017 hold an Xception: 1x1 kernels as matrices, another head, no counts."""
    kept = {
        name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")
    }
    return {
        name.replace("fc.", "last_linear."): value[:, :, 0, 0] if "pointwise" in name else value
        for name, value in kept.items()
    }


SHAPES = {
    "bare": lambda weights: weights,
    "wrapped": wrapped,
    "of DataParallel": lambda weights: prefixed(weights, "module."),
    "wrapped, of DataParallel": lambda weights: wrapped(prefixed(weights, "module.")),
}
PREFIXES = {"classifier.": "", "module.classifier.": "module.", "classifier.module.": "module."}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_rgb_files_in_every_shape(resnet, photographs, tmp_path, shape):
    torch.save(shape(resnet.state_dict()), tmp_path / "rgb.pth")
    detector, about = read_weights(tmp_path / "rgb.pth", "rgb", "physical", "test_resnet")
    with torch.no_grad():
        torch.testing.assert_close(
            detector(photographs), resnet((photographs - 0.5) / 0.5), rtol=0, atol=0
        )
    assert not detector.training
    assert about["preset"] == about["normalisation"] == ""
    assert "mean 0.5 and standard deviation 0.5" in about["scaling"]


@pytest.mark.parametrize("wrap", [dict, wrapped], ids=["bare", "wrapped"])
@pytest.mark.parametrize("prefix", ["classifier.", "module.classifier.", "classifier.module."])
def test_defocus_files_in_every_shape(resnet, maps, tmp_path, prefix, wrap):
    path = tmp_path / "defocus.pth"
    torch.save(wrap(prefixed(resnet.state_dict(), prefix)), path)
    detector, about = read_weights(path, "defocus", "released", "test_resnet")
    with torch.no_grad():
        torch.testing.assert_close(detector(maps), resnet(maps.repeat(1, 3, 1, 1)), rtol=0, atol=0)
    assert (about["backbone"], about["reads"]) == ("test_resnet", "defocus")
    assert about["input_size"] == 0
    assert about["preset"] == "released" and about["normalisation"] == "min-max"
    expected = (
        ("a released checkpoint", 8, 0.93)
        if wrap is wrapped
        else ("a released state dict", None, None)
    )
    assert (about["kind"], about.get("epoch"), about.get("best_val_acc")) == expected


LIGHTNING = {"pytorch-lightning_version": "2.5", "epoch": 3, "global_step": 40, "loops": {}}
OTHERS = {
    "Lightning": lambda weights: LIGHTNING | {"state_dict": prefixed(weights, "model.")},
    "Lightning, with a loss": lambda weights: (
        LIGHTNING
        | {"state_dict": prefixed(weights, "net.") | {"loss_fn.pos_weight": torch.ones(1)}}
    ),
    "timm": lambda weights: {"model": weights, "arch": "test_resnet", "epoch": 3},
    "a benchmark": lambda weights: prefixed(weights, "backbone."),
    "compiled": lambda weights: {"net": {"state_dict": prefixed(weights, "_orig_mod.backbone.")}},
}


@pytest.mark.parametrize("shape", OTHERS.values(), ids=OTHERS)
def test_files_of_others_are_unwrapped(resnet, photographs, tmp_path, shape):
    torch.save(shape(resnet.state_dict()), tmp_path / "w.ckpt")
    detector, about = read_weights(tmp_path / "w.ckpt", "rgb", "", "test_resnet")
    with torch.no_grad():
        expected = resnet((photographs - 0.5) / 0.5)
        torch.testing.assert_close(detector(photographs), expected, rtol=0, atol=0)
    assert about.get("epoch") in (3, None) and about["kind"].startswith("a ")


def test_what_stays_after_unwrapping_is_named(resnet, tmp_path):
    weights = prefixed(resnet.state_dict(), "model.") | {"head2.weight": torch.ones(1)}
    torch.save({"state_dict": weights}, tmp_path / "w.ckpt")
    with pytest.raises(ValueError, match=r"w.ckpt: no weights of backbone .*unexpected"):
        read_weights(tmp_path / "w.ckpt", "rgb", "", "test_resnet")


def test_a_backbone_and_a_head_of_their_own_are_refused_with_advice(resnet, tmp_path):
    weights = {
        f"head.{name[3:]}" if name.startswith("fc.") else f"backbone.{name}": value
        for name, value in resnet.state_dict().items()
    }
    torch.save({"state_dict": prefixed(weights, "model.")}, tmp_path / "w.ckpt")
    with pytest.raises(ValueError) as refused:
        read_weights(tmp_path / "w.ckpt", "rgb", "", "test_resnet")
    advice = (
        "Behind 'backbone.' the names are those of the backbone: a state dict without this prefix, "
        "and head.weight, head.bias named as the last layer, fc.weight, fc.bias wanted"
    )
    assert str(refused.value).endswith(advice)
    with pytest.raises(ValueError) as refused:
        read_weights(tmp_path / "w.ckpt", "rgb", "", "test_efficientnet")
    assert "Behind" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("format", [True, False], ids=["zip", "before torch 1.6"])
def test_old_xception_files(xception, maps, tmp_path, format):
    weights = prefixed(old(xception.state_dict()), "classifier.")
    assert weights["classifier.block1.rep.0.pointwise.weight"].ndim == 2, (
        "or this test shows nothing"
    )
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=format)
    detector, about = read_weights(tmp_path / "old.pth", "defocus", "released")
    assert about["backbone"] == "legacy_xception", "the default of a released file"
    with torch.no_grad():
        torch.testing.assert_close(
            detector(maps), xception(maps.repeat(1, 3, 1, 1)), rtol=0, atol=0
        )


@pytest.mark.parametrize(
    "accuracy", [np.float64(0.5), np.float32(0.5), torch.tensor(0.5)], ids=["f64", "f32", "torch"]
)
def test_an_accuracy_of_another_library_is_read(tmp_path, accuracy):
    torch.save(wrapped(small().state_dict(), best_val_acc=accuracy), tmp_path / "a.pth")
    _, about = read_weights(tmp_path / "a.pth", "rgb", "", "test_resnet")
    assert about["best_val_acc"] == 0.5 and type(about["best_val_acc"]) is float


def test_the_side_is_that_of_the_reference_unless_given(tmp_path):
    torch.save(small().state_dict(), tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.pth", "rgb", "", "test_resnet")[0].input_size == 0
    assert (
        read_weights(tmp_path / "a.pth", "rgb", "", "test_resnet", input_size=48)[0].input_size
        == 48
    )


def test_a_backbone_whose_last_layer_is_called_classifier_is_no_defocus_detector(tmp_path):
    model = timm.create_model("test_efficientnet", num_classes=1)
    assert "classifier.weight" in model.state_dict()
    torch.save(model.state_dict(), tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.pth", "rgb", "", "test_efficientnet")[1]["reads"] == "rgb"
    torch.save(prefixed(model.state_dict(), "classifier."), tmp_path / "a.pth")
    assert (
        read_weights(tmp_path / "a.pth", "defocus", "released", "test_efficientnet")[1]["reads"]
        == "defocus"
    )


# Refusals


def small(outputs=1):
    with torch.random.fork_rng():
        return timm.create_model("test_resnet", pretrained=False, num_classes=outputs)


def damaged(name, change):
    weights = small().state_dict()
    return weights | {name: change(weights[name])}


def defocus_weights():
    return prefixed(small().state_dict(), "classifier.")


BAD = {
    "a defocus file for RGB": (
        defocus_weights,
        {},
        r"on defocus .its keys begin with .*; one on rgb wanted",
    ),
    "another preset": (
        defocus_weights,
        {"reads": "defocus", "preset": "physical"},
        "released weights read maps of preset 'released'; maps of preset 'physical' given",
    ),
    "fusion": (defocus_weights, {"reads": "fusion"}, "A fusion detector is read from safetensors"),
    "another backbone": (
        lambda: small().state_dict(),
        {"backbone": "test_efficientnet"},
        r"no weights of backbone 'test_efficientnet': \d+ missing \(conv_stem.weight, .*\); "
        r"\d+ unexpected \(conv1",
    ),
    "another shape": (
        lambda: damaged("bn1.weight", lambda value: value[:5]),
        {},
        r"1 of another shape \(bn1.weight \(5,\) for \(\d+,\)\)",
    ),
    "no number": (
        lambda: damaged("bn1.weight", lambda value: value * np.nan),
        {},
        r"1 not finite \(bn1.weight\)",
    ),
    "two outputs": (
        lambda: small(2).state_dict(),
        {},
        "a classifier with 2 outputs; a detector with one logit wanted",
    ),
    "a tensor": (lambda: torch.zeros(3), {}, "holds a Tensor of no weights; a state dict wanted"),
    "nothing": (dict, {}, "holds a dict of no weights"),
    "other things": (
        lambda: {"epoch": 3},
        {},
        "entry 'epoch' is a int; a state dict of tensors wanted",
    ),
    "a wrapped list": (lambda: {"model_state_dict": [1]}, {}, "holds a list of no weights"),
    "an unknown input": (
        dict,
        {"reads": "depth"},
        "unknown input 'depth'; one of defocus, rgb, fusion, edges",
    ),
}


@pytest.mark.parametrize(("content", "asked", "message"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused(tmp_path, content, asked, message):
    torch.save(content(), tmp_path / "w.pth")
    asked = {"reads": "rgb", "preset": "released", "backbone": "test_resnet"} | asked
    with pytest.raises(ValueError, match=message) as error:
        read_weights(tmp_path / "w.pth", **asked)
    assert "unknown input" in message or str(error.value).startswith(str(tmp_path / "w.pth"))


def test_the_authors_file_name_tells_what_is_read(tmp_path):
    bare, weights = small().state_dict(), defocus_weights()
    torch.save(bare, tmp_path / "rgb_legacy_xception_Deepfakes.pth")
    with pytest.raises(
        ValueError, match=r"on rgb .its name begins with 'rgb_'.; one on defocus wanted"
    ):
        read_weights(
            tmp_path / "rgb_legacy_xception_Deepfakes.pth", "defocus", "released", "test_resnet"
        )
    for name, content in (("defocus_gt_a.pth", bare), ("defocus_gt_b.pth", weights)):
        torch.save(content, tmp_path / name)
        _, about = read_weights(tmp_path / name, "defocus", "released", "test_resnet")
        assert (about["reads"], about["kind"]) == ("defocus", "a released state dict")
        with pytest.raises(
            ValueError, match=r"on defocus .its name begins with 'defocus_'.; one on rgb wanted"
        ):
            read_weights(tmp_path / name, "rgb", "", "test_resnet")


def test_an_unwrapped_defocus_file_is_read_and_said_to_be_a_guess(maps, tmp_path):
    model = small().eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    detector, about = read_weights(tmp_path / "w.pth", "defocus", "released", "test_resnet")
    with torch.no_grad():
        torch.testing.assert_close(detector(maps), model(maps.repeat(1, 3, 1, 1)), rtol=0, atol=0)
    assert "taken for the latter" in about["kind"]


def test_what_is_no_number_is_not_told(tmp_path):
    torch.save(wrapped(small().state_dict(), best_val_acc=None, epoch=[1, 2]), tmp_path / "a.pth")
    _, about = read_weights(tmp_path / "a.pth", "rgb", "", "test_resnet")
    assert "epoch" not in about and "best_val_acc" not in about


class Malice:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize(
    "hidden", [lambda evil: evil, lambda evil: wrapped(small().state_dict(), epoch=evil)]
)
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, hidden):
    mark = tmp_path / "executed"
    torch.save(hidden(Malice(mark)), tmp_path / "evil.pth")
    with pytest.raises(
        ValueError, match=r"evil.pth: refused, .* it names (posix|nt).system, and"
    ) as error:
        read_weights(tmp_path / "evil.pth", "rgb", "", "test_resnet")
    assert not mark.exists() and "weights_only" not in str(error.value)
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert mark.exists(), "the file is not malicious, so this test shows nothing"


FILES = {
    "text": b"not weights\n" * 9,
    "empty": b"",
    "short": b"PK\x03\x04",
    "pickle": b"\x80\x02}q\x00.",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_is_no_file_of_weights_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: not readable as [^0-9]*$"):
        read_weights(tmp_path / name, "rgb", "")


def test_a_truncated_file_is_refused(tmp_path):
    torch.save(small().state_dict(), tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"w.pth: not readable as weights"):
        read_weights(tmp_path / "w.pth", "rgb", "")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no weights at .*none.pth; a file that is there wanted"
    ):
        read_weights(tmp_path / "none.pth", "rgb", "released")


# Our own files


def test_released_weights_read_min_max_maps(resnet, tmp_path):
    path = tmp_path / "defocus.pth"
    torch.save(prefixed(resnet.state_dict(), "classifier."), path)
    assert read_weights(path, "defocus", "released", "test_resnet", 0, "min-max")[1]
    with pytest.raises(ValueError, match="released weights read min-max normalised maps; px given"):
        read_weights(path, "defocus", "released", "test_resnet", 0, "px")


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_the_normalisation_is_that_of_the_file(tmp_path, name):
    detector = Detector("test_resnet", "fusion", 32, normalisation=name).eval()
    path = save_detector(tmp_path / "own.safetensors", detector, {"preset": "learned"})
    again, about = read_weights(path, "fusion", "learned")
    assert again.normalisation == about["normalisation"] == name
    assert normalisation_named(name).title in about["scaling"]
    inputs = torch.rand(2, 3 + normalisation_named(name).channels, 40, 40)
    with torch.no_grad():
        assert torch.equal(again(inputs), detector(inputs))
    other = "px" if name == "min-max" else "min-max"
    with pytest.raises(ValueError, match=f"weights are for normalisation {re.escape(repr(name))}"):
        read_weights(path, "fusion", "learned", normalisation=other)


@pytest.mark.parametrize("entry", [{}, {"normalisation": "maps min-max normalised each to [0, 1]"}])
def test_older_files_are_min_max(tmp_path, entry):
    detector = Detector("test_resnet", "defocus")
    about = {"backbone": "test_resnet", "reads": "defocus", "input_size": 0, "preset": "physical"}
    text = {"defocus_lib": json.dumps(about | entry)}
    save_file(detector.state_dict(), tmp_path / "old.safetensors", text)
    found, header = read_weights(tmp_path / "old.safetensors", "defocus", "physical")
    assert found.normalisation == header["normalisation"] == "min-max" and found.channels == 1
    save_file(
        detector.state_dict(),
        tmp_path / "new.safetensors",
        {"defocus_lib": json.dumps(about | {"normalisation": "inches"})},
    )
    with pytest.raises(ValueError, match="unknown normalisation 'inches'"):
        read_weights(tmp_path / "new.safetensors", "defocus", "physical")


@pytest.fixture
def own(tmp_path):
    detector = Detector("test_resnet", "defocus", input_size=32, seed=1).eval()
    return detector, save_detector(
        tmp_path / "own.safetensors", detector, {"preset": "physical", "commit": "abc"}
    )


def test_own_files_say_what_they_are(own, maps):
    model, path = own
    detector, about = read_weights(path, "defocus", "physical")
    with torch.no_grad():
        assert torch.equal(detector(maps), model(maps))
    assert (about["backbone"], about["input_size"], about["commit"]) == ("test_resnet", 32, "abc")
    assert about["kind"] == "a detector of this project" and about["normalisation"] == "min-max"
    renamed = path.rename(path.with_suffix(".weights"))
    assert read_weights(renamed, "defocus", "physical")[1] == about


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"reads": "rgb"}, "weights are for reads 'defocus'; 'rgb' wanted"),
        ({"preset": "released"}, "weights are for preset 'physical'; 'released' wanted"),
        (
            {"backbone": "legacy_xception"},
            "weights are for backbone 'test_resnet'; 'legacy_xception' wanted",
        ),
        ({"input_size": 0}, "weights are for input_size 32; 0 wanted"),
    ],
)
def test_own_files_for_something_else_are_refused(own, asked, message):
    with pytest.raises(ValueError, match=message):
        read_weights(own[1], **({"reads": "defocus", "preset": "physical"} | asked))


def test_the_preset_does_not_matter_to_a_detector_on_photographs(tmp_path):
    path = save_detector(
        tmp_path / "rgb.safetensors", Detector("test_resnet", "rgb"), {"preset": "physical"}
    )
    assert read_weights(path, "rgb", "released")[1]["preset"] == ""


def test_reading_leaves_the_callers_generators_alone(tmp_path, generators_left_alone):
    torch.save(small().state_dict(), tmp_path / "w.pth")
    with generators_left_alone():
        read_weights(tmp_path / "w.pth", "rgb", "", "test_resnet")


def test_a_file_tells_itself_what_it_reads(own, tmp_path):
    assert open_weights(own[1])[1]["reads"] == "defocus"
    with pytest.raises(ValueError, match="weights are for reads 'defocus'; 'rgb' given"):
        open_weights(own[1], "rgb")
    torch.save(defocus_weights(), tmp_path / "w.pth")
    _, about = open_weights(tmp_path / "w.pth", backbone="test_resnet")
    assert about["reads"] == "defocus" and about["preset"] == "released"
    torch.save(small().state_dict(), tmp_path / "bare.pth")
    with pytest.raises(ValueError, match=r"bare.pth: nothing tells .* --input defocus or rgb"):
        open_weights(tmp_path / "bare.pth", backbone="test_resnet")
    assert open_weights(tmp_path / "bare.pth", "rgb", "test_resnet")[1]["reads"] == "rgb"
    with pytest.raises(FileNotFoundError, match="no weights at"):
        open_weights(tmp_path / "none.pth")
