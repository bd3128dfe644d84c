"""What a detector is given for a picture is what it was given in training, to the byte; and what is
said of a picture is what can be said."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.special import expit

from defocus_lib.analysis import inspection_report
from defocus_lib.analysis.inspection import (
    Inspection,
    Inspector,
    blur_numbers,
    eight_statistics,
    facts,
)
from defocus_lib.analysis.inspection_settings import Settings
from defocus_lib.data.equalise import Equalise
from defocus_lib.data.images import Reader, decode_image, read_image
from defocus_lib.detect import training_images
from defocus_lib.detect.experiment import Setup
from defocus_lib.detect.inputs import Inputs
from defocus_lib.detect.model import Detector, save_detector
from defocus_lib.detect.normalisation import NORMALISATIONS
from defocus_lib.detect.plan import Plan
from defocus_lib.maps.cache import MapCache
from defocus_lib.maps.estimate import defocus_maps

SIZE = 48
PRESETS = ("released", "published", "physical", "learned")


@pytest.fixture(scope="module")
def root(tmp_path_factory, photograph):
    """A JPEG of 110 x 90 px that its camera noted to be turned, and a white PNG."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.moveaxis(photograph("coffee", 160), 0, 2)[20:110, 30:140]
    turned = Image.Exif()
    turned[0x0112] = 8
    picture = Image.fromarray((255 * pixels).round().astype(np.uint8))
    picture.save(folder / "turned.jpg", quality=88, exif=turned)
    Image.new("RGB", (70, 50), "white").save(folder / "white.png")
    return folder


def records(root):
    names = ["turned.jpg", "white.png"]
    digests = [hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names]
    return pd.DataFrame({"path": names, "digest": digests, "label": [0, 1], "split": "train"})


def saved(folder, setup, more):
    """Weights as an experiment saves them, without its training."""
    detector = setup.first("test_resnet", setup.input_size)
    training = setup.about_training(setup.inputs("train"))
    about = setup.about() | training | {"threshold": 0.4} | more
    return save_detector(folder / "detector.safetensors", detector, about)


def setup_of(
    root,
    folder,
    reads="defocus",
    preset="physical",
    fit="crop",
    size=SIZE,
    how="",
    equalise=None,
    normalisation="",
):
    reader = Reader(root, size, fit, equalise=equalise)
    cache = MapCache(folder, preset, how, size, fit, reader.label)
    setup = Setup(records(root), reads, reader, cache, Plan(), "test_resnet", 32)
    return replace(setup, normalisation=normalisation)


CASES = [
    *((preset, fit, "defocus", "", "") for preset in PRESETS for fit in ("crop", "stretch")),
    ("physical", "crop", "rgb", "", ""),
    ("learned", "stretch", "fusion", "", ""),
    ("physical", "crop", "fusion", "guided", ""),
    *(("learned", "crop", "defocus", "", name) for name in NORMALISATIONS),
    ("released", "stretch", "fusion", "", "px+validity"),
]


@pytest.mark.parametrize(("preset", "fit", "reads", "how", "name"), CASES)
def test_the_input_is_that_of_the_training_to_the_byte(
    root, tmp_path, preset, fit, reads, how, name
):
    setup = setup_of(root, tmp_path / "maps", reads, preset, fit, how=how, normalisation=name)
    trained = Inputs(setup.records, reads, setup.reader, setup.cache, name or "min-max")
    inspector = Inspector.of(Settings(saved(tmp_path, setup, {"data": "mine"})))
    for row, path in enumerate(setup.records["path"]):
        decoded = decode_image((root / path).read_bytes(), path)
        pixels = inspector.prepare(decoded)
        found = inspector.detector_input(pixels, inspector.maps(pixels))
        assert torch.equal(found, trained[row][0]), path
        assert torch.equal(found, setup.inputs("train")[row][0]), path
    assert decode_image((root / "turned.jpg").read_bytes(), "").shape == (110, 90, 3)


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_images_are_equalised_as_in_training(root, tmp_path, fit):
    alike = Equalise(size=64, quality=40)
    setup = setup_of(root, tmp_path / "maps", "fusion", fit=fit, equalise=alike)
    path = saved(tmp_path, setup, {"data": "mine"})
    inspector = Inspector.of(Settings(path, n_samples=0))
    content = (root / "turned.jpg").read_bytes()
    found = inspector.inspect(content, "turned.jpg")
    inputs = inspector.detector_input(found.pixels, inspector.maps(found.pixels))
    assert torch.equal(inputs, setup.inputs("train")[0][0]) and not found.outside
    plain = saved(tmp_path, setup_of(root, tmp_path / "other", "fusion", fit=fit), {"data": "m"})
    assert not np.array_equal(
        Inspector.of(Settings(plain, n_samples=0)).inspect(content, "").pixels, found.pixels
    ), "or this test shows nothing"
    assert "64q40" in inspection_report.about_weights(inspector)["detector"]


@pytest.mark.slow
def test_images_as_stored_are_read_as_stored(root, tmp_path):
    setup = setup_of(root, tmp_path / "maps", size=0, fit="stretch")
    inspector = Inspector.of(Settings(saved(tmp_path, setup, {"data": "mine"})))
    content = (root / "turned.jpg").read_bytes()
    found = inspector.inspect(content, "turned.jpg")
    assert found.sigma.shape == (110, 90)
    trained = setup.inputs("train")[0][0]
    assert torch.equal(
        inspector.detector_input(found.pixels, inspector.maps(found.pixels)), trained
    )


@pytest.fixture(scope="module")
def weights(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    auc = {"splice": {"auc": 0.81, "low": 0.74, "high": 0.88, "images": 40.0}}
    more = {"data": "mine", "rendered": False, "training_manipulation": "splice", "test": auc}
    return saved(folder, setup_of(root, folder / "maps"), more)


@pytest.mark.slow
def test_the_verdict_is_that_of_the_detector(root, tmp_path, weights):
    inspector = Inspector.of(Settings(weights, n_samples=8))
    found = inspector.inspect((root / "turned.jpg").read_bytes(), "turned.jpg")
    verdict, detector = found.verdict, inspector.detector.cpu()
    inputs = setup_of(root, tmp_path).inputs("train")[0][0]
    with torch.no_grad():
        logit = float(detector(inputs[None]))
    assert verdict.logit == pytest.approx(logit, abs=1e-4)
    assert verdict.probability == pytest.approx(float(expit(logit)), abs=1e-4)
    assert verdict.threshold == 0.4
    assert verdict.decision == ("manipulated" if verdict.probability >= 0.4 else "real")
    assert not found.withheld and not found.outside, "it is a training image"
    # Completeness, against the mean real input.
    mean = training_images.background_of(inspector.header["background"], (SIZE, SIZE))
    with torch.no_grad():
        explained = logit - float(detector(mean))
    error = verdict.completeness_error
    assert verdict.shapley.shape == (SIZE, SIZE)
    assert verdict.shapley.sum() + error == pytest.approx(explained, abs=1e-4)
    quick = Inspector.of(Settings(weights, n_samples=0))
    assert quick.inspect((root / "turned.jpg").read_bytes(), "t").verdict.shapley is None


def test_the_decision_follows_the_stored_threshold(root, weights, tmp_path):
    content = (root / "turned.jpg").read_bytes()
    found = Inspector.of(Settings(weights, n_samples=0)).inspect(content, "t").verdict
    for threshold, decision in ((found.probability, "manipulated"), (0.999999, "real")):
        setup = setup_of(root, tmp_path / "maps")
        path = saved(tmp_path, setup, {"data": "mine", "threshold": threshold})
        again = Inspector.of(Settings(path, n_samples=0)).inspect(content, "t").verdict
        assert (again.probability, again.decision) == (found.probability, decision)


def test_an_empty_map_gets_no_verdict(root, weights):
    found = Inspector.of(Settings(weights)).inspect((root / "white.png").read_bytes(), "white.png")
    assert found.verdict is None and "could not be measured" in found.withheld
    numbers = blur_numbers(found)
    assert numbers["median"] is None and numbers["contrast"] is None
    assert numbers["edges_percent"] == numbers["measured_edges_percent"] == 0
    assert "nothing could be measured" in inspection_report.text(found)


@pytest.mark.parametrize("reads", ["edges", "permuted-blur", "shuffled"])
def test_weights_of_a_control_give_no_verdict(root, tmp_path, reads):
    path = saved(tmp_path, setup_of(root, tmp_path / "maps", reads), {"data": "mine"})
    found = Inspector.of(Settings(path)).inspect((root / "turned.jpg").read_bytes(), "turned.jpg")
    assert found.verdict is None and f"a control ({reads})" in found.withheld


@pytest.mark.parametrize("header", [{"data": "scenes"}, {"data": "mine", "rendered": True}])
def test_weights_of_rendered_scenes_give_no_verdict_on_a_photograph(root, tmp_path, header):
    path = saved(tmp_path, setup_of(root, tmp_path / "maps"), header)
    content = (root / "turned.jpg").read_bytes()
    found = Inspector.of(Settings(path)).inspect(content, "turned.jpg")
    assert found.verdict is None and "rendered scenes" in found.withheld
    # The picture is read as without weights.
    alone = Inspector.of(Settings()).inspect(content, "turned.jpg")
    assert found.sigma.shape == (110, 90) and np.array_equal(found.sigma, alone.sigma)
    about = inspection_report.about_weights(Inspector.of(Settings(path)))
    assert "rendered scenes, no photographs" in about["trained on"]
    of_scene = Inspector.of(Settings(path, rendered=True, n_samples=0)).inspect(content, "a scene")
    assert of_scene.verdict is not None and of_scene.sigma.shape == (SIZE, SIZE)


def test_what_the_answer_is_worth(root, weights):
    inspector = Inspector.of(Settings(weights, n_samples=0))
    about = inspection_report.about_weights(inspector)
    assert about["test AUC (95 % interval)"].replace("\xa0", " ") == "splice 0.81 [0.74, 0.88]"
    assert (
        "mine (pictures on disk); manipulations: splice; 2 training images" in about["trained on"]
    )
    assert "0.400" in about["threshold"] and "maps" not in about
    large = Image.open(root / "turned.jpg").resize((800, 600))
    large.save(root.parent / "large.bmp")
    found = inspector.inspect((root.parent / "large.bmp").read_bytes(), "large.bmp")
    outside = {row["statistic"]: row["value"] for row in found.outside}
    assert outside["format of the file"] == "BMP" and outside["width of the file (px)"] == 800
    assert "width of the file (px): 800 (training images: 70" in inspection_report.text(found)


def test_files_that_give_the_label_away_are_named(root, tmp_path):
    setup = setup_of(root, tmp_path / "maps")
    for auc in (0.0, 0.97):
        path = saved(tmp_path, setup, {"data": "mine", "file_facts_auc": auc})
        about = inspection_report.about_weights(Inspector.of(Settings(path)))
        assert ("0.97" in about.get("caution", "")) == (auc > 0)


@pytest.mark.slow
def test_a_released_file_states_nothing(root, tmp_path):
    detector = Detector("test_resnet", "defocus")
    torch.save(detector.state_dict(), tmp_path / "defocus_x.pth")
    settings = Settings(tmp_path / "defocus_x.pth", backbone="test_resnet", n_samples=2)
    inspector = Inspector.of(settings)
    found = inspector.inspect((root / "turned.jpg").read_bytes(), "turned.jpg")
    assert found.sigma.shape == (299, 299) and inspector.preset == "released"
    assert found.verdict.decision == "" and found.verdict.threshold is None
    assert found.verdict.shapley is not None and not found.comparison
    about = inspection_report.about_weights(inspector)
    for name in ("trained on", "test AUC (95 % interval)", "threshold"):
        assert about[name].startswith("not stated in the file"), name
    assert "no decision" in inspection_report.verdict_line(found)


def test_without_weights_the_map_is_that_of_learned(root):
    inspector = Inspector.of(Settings(longest_side=64))
    found = inspector.inspect((root / "turned.jpg").read_bytes(), "turned.jpg")
    assert found.stored == (90, 110) and found.sigma.shape == (64, 52)
    maps = defocus_maps(read_image(root / "turned.jpg", 64), "learned")
    np.testing.assert_allclose(found.sigma, maps.dense[0, 0], atol=0.003)
    assert found.uncertainty is not None and not found.withheld and found.verdict is None
    assert "1 px of the map is 1.7 px of the file" in inspection_report.size_line(found)


def test_blur_in_numbers():
    sigma = np.ones((4, 4), np.float32)
    sigma[1:3, 1:3] = 3
    uncertainty = np.full((4, 4), 0.6, np.float32)
    uncertainty[0] = 0.4
    edges = np.zeros((4, 4), bool)
    edges[0, :2] = edges[3, :2] = True
    pixels = np.zeros((4, 4, 3), np.uint8)
    made = Inspection("a", "PNG", (4, 4), pixels, sigma, uncertainty, edges, edges)
    numbers = blur_numbers(made)
    # Measured: the first row (0.4 px), and the centre (0.6 is less than a quarter of 3).
    assert numbers["measured_percent"] == 100 * 8 / 16
    assert numbers["measured_edges_percent"] == 50 and numbers["edges_percent"] == 25
    assert (numbers["low"], numbers["median"], numbers["high"]) == (1, 2, 3)
    assert numbers["contrast"] == pytest.approx(2.0)
    assert "+2.00 px" in inspection_report.text(made)
    eight = eight_statistics(made)
    assert eight["contrast"] == pytest.approx(2.0) and eight["mean"] == pytest.approx(1.5)
    assert eight["contrast_at_edges"] == 0  # no edge in the centre
    assert set(eight_statistics(replace(made, sigma=0 * sigma)).values()) == {None}


@pytest.fixture
def tidy(root, tmp_path):
    (tmp_path / "cut.jpg").write_bytes((root / "turned.jpg").read_bytes()[:900])
    Image.new("RGB", (3, 3)).save(tmp_path / "tiny.png")
    (tmp_path / "no.png").write_text("no picture")
    return [root / "turned.jpg", *sorted(tmp_path.iterdir()), root / "white.png"]


def test_what_can_not_be_read_is_named_and_stops_nothing(tidy, capsys):
    result = inspection_report.collect(Inspector.of(Settings(longest_side=64)), tidy)
    assert [row["file"] for row in result.pictures] == [str(tidy[0]), str(tidy[-1])]
    reasons = dict(zip(("cut.jpg", "no.png", "tiny.png"), result.unreadable, strict=True))
    assert all(f"{name}: " in reason for name, reason in reasons.items())
    assert "damaged" in reasons["cut.jpg"] and "3 x 3 px" in reasons["tiny.png"]
    printed = capsys.readouterr()
    assert printed.out.count("turned.jpg") == 1 and printed.err.count("not read: ") == 3
    assert json.loads(json.dumps(result.document(), allow_nan=False)) == result.document()


def test_what_the_answer_is_worth_is_printed_once_before_the_answers(root, weights, capsys):
    paths = [root / "turned.jpg", root / "white.png"]
    inspection_report.collect(Inspector.of(Settings(weights, n_samples=0)), paths)
    printed = capsys.readouterr().out.replace("\xa0", " ")
    worth = printed.index("splice 0.81 [0.74, 0.88]")
    assert worth < printed.index(str(paths[0])) and printed.count("splice 0.81") == 1


def test_the_table_has_one_row_per_picture(root, weights, tmp_path):
    inspector = Inspector.of(Settings(weights, n_samples=0))
    paths = [root / "turned.jpg", root / "white.png"]
    result = inspection_report.collect(inspector, paths, tell=False)
    (tmp_path / "a.csv").write_text(result.csv())
    table = pd.read_csv(tmp_path / "a.csv").set_index("file")
    first = facts(inspector.inspect(paths[0].read_bytes(), str(paths[0])), inspector)
    row = table.loc[str(paths[0])]
    assert row["verdict_probability"] == pytest.approx(first["verdict"]["probability"])
    assert row["blur_median"] == pytest.approx(first["blur"]["median"])
    assert np.isnan(table.loc[str(paths[1]), "verdict_probability"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "sharp"}, "unknown preset 'sharp'"),
        ({"preset": "learned"}, "weights are for maps of preset 'physical'; 'learned' given"),
        ({"longest_side": -1}, "longest_side is -1; 0 or more wanted"),
        ({"reads": "rgb"}, "weights are for reads 'defocus'; 'rgb' given"),
    ],
)
def test_settings_that_do_not_fit_are_refused(weights, settings, message):
    with pytest.raises(ValueError, match=message):
        Inspector.of(Settings(weights, **settings))


def test_a_panorama_stays_large_enough_for_its_map(tmp_path):
    Image.new("RGB", (1500, 40), "white").save(tmp_path / "wide.png")
    inspector = Inspector.of(Settings(longest_side=100))
    found = inspector.inspect((tmp_path / "wide.png").read_bytes(), "wide.png")
    assert found.sigma.shape == (32, 1200)
    assert Inspector.of(Settings(longest_side=0)).inspect(
        (tmp_path / "wide.png").read_bytes(), "wide.png"
    ).sigma.shape == (40, 1500)


def test_an_interrupted_folder_keeps_what_was_inspected(root):
    inspector, paths = Inspector.of(Settings(longest_side=64)), [root / "turned.jpg"] * 4

    def draw(inspection, number):
        if number == 2:
            raise KeyboardInterrupt
        return str(number)

    result = inspection_report.collect(inspector, paths, draw, tell=False)
    assert result.interrupted and result.sections == ["0", "1"] and len(result.pictures) == 2
