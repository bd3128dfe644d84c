"""The manifest: what it refuses and with which message, photographs, and where data sets lie."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defocus_lib.data import manifest as m
from defocus_lib.data import photographs
from defocus_lib.data.dataset import Files
from defocus_lib.data.layouts import LAYOUTS
from defocus_lib.run.artifacts import project_root

PHOTOGRAPH = """\
  - name: {name}
    package: skimage
    path: data/rocket.jpg
    title: A rocket
    author: somebody
    licence: CC0-1.0
    sha256: "{sha256}"
    split: {split}
"""
SHA256 = "0" * 64


def write(folder: Path, photographs: str, datasets: str = "datasets: []\n") -> Path:
    path = folder / "manifest.yaml"
    path.write_text(f"version: 1\nphotographs:\n{photographs}{datasets}", encoding="utf-8")
    return path


def one(name: str = "rocket", sha256: str = SHA256, split: str = "train") -> str:
    return PHOTOGRAPH.format(name=name, sha256=sha256, split=split)


@pytest.fixture(scope="module")
def manifest() -> m.Manifest:
    return m.load_manifest()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that puts a file into an importable package, and returns its manifest entry."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def entry(
        file: str, content: bytes, sha256: str | None = None, **others
    ) -> photographs.Photograph:
        (folder / file).write_bytes(content)
        fields = {
            "name": "hand",
            "title": "t",
            "author": "a",
            "licence": "l",
            "split": "train",
        } | others
        return photographs.Photograph(
            package="pictures",
            path=file,
            sha256=sha256 or hashlib.sha256(content).hexdigest(),
            **fields,
        )

    return entry


def encoded(pixels: np.ndarray, tmp_path: Path) -> bytes:
    Image.fromarray(pixels).save(tmp_path / "encoded.png")
    return (tmp_path / "encoded.png").read_bytes()


def test_small_manifest_loads(tmp_path):
    loaded = m.load_manifest(write(tmp_path, one()))
    assert loaded.photograph("rocket").split == "train"
    with pytest.raises(ValueError, match="frozen"):
        loaded.photographs[0].split = "test"


@pytest.mark.parametrize(
    ("wrong", "line", "message"),
    [
        (
            one().replace("author:", "auhtor:"),
            7,
            r"photographs\[0\]\.auhtor: unknown key; allowed are name, .*author",
        ),
        (one().replace("    author: somebody\n", ""), 3, r"photographs\[0\]\.author: is missing"),
        (
            one(split="tset"),
            10,
            r"photographs\[0\]\.split: .*'train', 'val', 'test' or 'depth'.*'tset'",
        ),
        (one(sha256="abc"), 9, r"photographs\[0\]\.sha256: .*\^\[0-9a-f\]\{64\}\$.*'abc'"),
        (
            one().replace("data/rocket.jpg", "../secret"),
            5,
            r"photographs\[0\]\.path: a path below its folder wanted",
        ),
        (
            one(split="depth"),
            3,
            r"photographs\[0\]: a photograph of split 'depth', and no other, wants a disparity",
        ),
        (
            one() + one(sha256="1" * 64),
            11,
            r"photographs\[1\]\.name: name 'rocket' is that of entry 0 too",
        ),
        (
            one() + one(name="again", split="test"),
            17,
            r"photographs\[1\]\.sha256: .* is that of entry 0 too",
        ),
        (one() + "    split: val\n", 11, r'found duplicate key "split" with value "val" .*"train"'),
        (
            one(split="depth") + "    disparity: {path: d.npz, arry: a}\n",
            11,
            r"disparity\.arry: unknown key; allowed are path, array, sha256, note",
        ),
        ("  []\n", 2, r"photographs: is empty; at least one"),
        ("  - 5\n", 3, r"photographs\[0\]: .*found 5"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path, wrong, line, message):
    with pytest.raises(ValueError, match=rf"(?m)^manifest\.yaml, line {line}: .*{message}"):
        m.load_manifest(write(tmp_path, wrong))


def test_every_fault_is_reported_at_once(tmp_path):
    wrong = one(split="tset").replace("author:", "auhtor:")
    with pytest.raises(ValueError) as caught:
        m.load_manifest(write(tmp_path, wrong))
    assert [
        re.match(r"manifest\.yaml, line (\d+)", line)[1] for line in str(caught.value).splitlines()
    ] == ["3", "10", "7"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty; keys version, photographs, datasets wanted"),
        ("a: [1, 2", "not readable YAML.*line 1"),
        ("- 1\n", "line 1: top level: "),
        ("{}", "line 1: version: is missing"),
        ("? [a, b]\n: 1\n", r"line 1: \('a', 'b'\): Keys should be strings"),
        ("version: !other 1", "not readable YAML: .*tag '!other'.*line 1"),
        ("a: \0", "not readable YAML"),
    ],
)
def test_what_is_not_a_manifest_is_refused(tmp_path, content, message):
    path = tmp_path / "manifest.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"(?s)manifest\.yaml.*{message}"):
        m.load_manifest(path)


def mutated(text: str, seed: int) -> str:
    """``text`` with one line removed, repeated, moved, indented otherwise, or changed."""
    rng = np.random.default_rng(seed)
    lines = text.splitlines()
    row, other = rng.integers(len(lines), size=2)
    line, place = lines[row], int(rng.integers(len(lines[row])))
    character = "x:-#{}[]'\"&*!|>%@` \t0~"[rng.integers(21)]
    replacements = (
        [],
        [line, line],
        [lines[other]],
        [" " * int(rng.integers(8)) + line.strip()],
        [line[:place] + line[place + 1 :]],
        [line[:place] + character + line[place:]],
        [f"{line.split(':')[0]}: {{a: 1}}"],
    )
    lines[row : row + 1] = replacements[rng.integers(len(replacements))]
    return "\n".join(lines)


def test_a_mutated_manifest_loads_or_is_refused_with_its_line(tmp_path):
    path = write(tmp_path, one(), DATASET + "    layout: folders\n" + UNION.replace(", other", ""))
    original, n_refused = path.read_text(), 0
    named = re.compile(r"manifest\.yaml(, line \d+: | is not readable YAML: .*line \d+)", re.DOTALL)
    for seed in range(120):
        path.write_text(mutated(original, seed))
        try:
            m.load_manifest(path)
        except ValueError as error:
            n_refused += 1
            assert named.match(str(error))
    assert 60 < n_refused < 120


def test_missing_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no manifest at .*nowhere\.yaml"):
        m.load_manifest(tmp_path / "nowhere.yaml")


def test_unknown_names(manifest):
    with pytest.raises(
        ValueError, match=r"split 'tset' is unknown; train, val, test, depth wanted"
    ):
        manifest.photographs_of("tset")
    with pytest.raises(KeyError, match=r"no photograph 'dog'.*rocket.*motorcycle"):
        manifest.photograph("dog")


def test_grey_becomes_three_equal_channels(package, tmp_path):
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    loaded = photographs.load_photograph(package("grey.png", encoded(grey, tmp_path)))
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, np.stack([grey] * 3, axis=-1))


def test_colour_is_read_as_it_is(package, tmp_path):
    colour = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(
        photographs.load_photograph(package("colour.png", encoded(colour, tmp_path))), colour
    )


def test_changed_file_is_refused(package, tmp_path):
    content = encoded(np.zeros((2, 2), np.uint8), tmp_path)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(
        ValueError, match=rf"'hand': pictures/a\.png has SHA-256 {found}; {SHA256} wanted"
    ):
        photographs.load_photograph(package("a.png", content, sha256=SHA256))


def test_missing_file_and_missing_package_are_named(package):
    entry = package("a.png", b"")
    with pytest.raises(FileNotFoundError, match=r"'hand': package pictures has no file b\.png"):
        photographs.load_photograph(entry.model_copy(update={"path": "b.png"}))
    with pytest.raises(FileNotFoundError, match="'hand': package no_such_package is not installed"):
        photographs.load_photograph(entry.model_copy(update={"package": "no_such_package"}))


def test_what_is_not_an_8_bit_image_is_refused(package, tmp_path):
    with pytest.raises(ValueError, match=r"'hand': a\.png is no readable image"):
        photographs.load_photograph(package("a.png", b"not an image"))
    whole = encoded(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), tmp_path)
    with pytest.raises(ValueError, match=r"'hand': cut\.png is no readable image"):
        photographs.load_photograph(package("cut.png", whole[:-2000]))
    with pytest.raises(ValueError, match=r"'hand': mode I;16 found; 8-bit grey or RGB wanted"):
        photographs.load_photograph(
            package("deep.png", encoded(np.zeros((2, 2), np.uint16), tmp_path))
        )


def with_disparity(package, tmp_path: Path, array: str, **arrays) -> photographs.Photograph:
    np.savez(tmp_path / "pictures" / "d.npz", **arrays)
    sha256 = hashlib.sha256((tmp_path / "pictures" / "d.npz").read_bytes()).hexdigest()
    disparity = photographs.Disparity(path="d.npz", array=array, sha256=sha256)
    return package("a.png", b"", split="depth", disparity=disparity)


def test_unknown_disparity_is_nan(package, tmp_path):
    entry = with_disparity(package, tmp_path, "a", a=np.array([[1.5, np.inf], [np.nan, -np.inf]]))
    loaded = photographs.load_disparity(entry)
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, np.array([[1.5, np.nan], [np.nan, np.nan]], np.float32))


@pytest.mark.parametrize("array", ["b", "flat"])
def test_wrong_disparity_array_is_refused(package, tmp_path, array):
    entry = with_disparity(package, tmp_path, array, a=np.zeros((2, 2)), flat=np.zeros(4))
    with pytest.raises(
        ValueError, match=rf"d\.npz holds .*'a': \(2, 2\).*; a two-dimensional '{array}' wanted"
    ):
        photographs.load_disparity(entry)


def test_photograph_without_disparity(manifest):
    with pytest.raises(ValueError, match="'rocket' has no disparity"):
        photographs.load_disparity(manifest.photograph("rocket"))


@pytest.mark.parametrize(
    "photograph", m.load_manifest().photographs, ids=lambda photograph: photograph.name
)
def test_every_listed_photograph_loads(photograph):
    loaded = photographs.load_photograph(photograph)
    assert loaded.dtype == np.uint8
    assert loaded.ndim == 3 and loaded.shape[2] == 3
    assert loaded.std() > 1, "a photograph, not a constant"


def test_hashes_are_those_that_scikit_image_publishes(manifest):
    from skimage.data._registry import registry

    listed = [p for p in manifest.photographs if p.package == "skimage"]
    assert {p.path: p.sha256 for p in listed} == {p.path: registry[p.path] for p in listed}


def test_motorcycle_disparity(manifest):
    from skimage.data import stereo_motorcycle

    left, _, disparity = stereo_motorcycle()
    motorcycle = manifest.photograph("motorcycle")
    np.testing.assert_array_equal(photographs.load_photograph(motorcycle), left)
    loaded = photographs.load_disparity(motorcycle)
    np.testing.assert_array_equal(np.isnan(loaded), ~np.isfinite(disparity))
    np.testing.assert_array_equal(loaded[~np.isnan(loaded)], disparity[np.isfinite(disparity)])


def test_no_photograph_is_in_two_splits(manifest):
    splits = {split: manifest.photographs_of(split) for split in ("train", "val", "test", "depth")}
    assert all(splits.values())
    files = [(p.package, p.path) for part in splits.values() for p in part]
    pixels = [
        hashlib.sha256(photographs.load_photograph(p).tobytes()).hexdigest()
        for p in manifest.photographs
    ]
    assert len(files) == len(set(files)) == len(set(pixels)) == len(manifest.photographs)


def test_citations_are_in_the_bibliography(manifest):
    bibliography = (project_root() / "book" / "references.bib").read_text(encoding="utf-8")
    keys = set(re.findall(r"^@\w+\{([^,\s]+),", bibliography, flags=re.MULTILINE))
    cited = {dataset.citation for dataset in manifest.datasets if dataset.citation}
    assert cited and cited <= keys


def test_every_layout_has_a_data_set(manifest):
    on_disk = [dataset for dataset in manifest.datasets if isinstance(dataset, Files)]
    assert {type(dataset) for dataset in on_disk} == set(LAYOUTS)
    published = [dataset for dataset in on_disk if dataset.name != "folders"]
    assert len(published) >= 4 and all(d.homepage and d.citation for d in published)
    assert all(d.split_description and d.where() for d in manifest.datasets)
    assert {"scenes", "coco_diffusiondb"} <= {dataset.name for dataset in manifest.datasets}


def test_defaults_are_those_of_the_paper(tmp_path, monkeypatch):
    for name in ("FFPP_COMPRESSION", "FFPP_FACES"):
        monkeypatch.delenv(name, raising=False)
    for dataset in (
        m.load_manifest().dataset("faceforensics"),
        dataset_of(tmp_path, "layout: faceforensics"),
    ):
        options = dataset.options
        assert (options.compression, options.faces, options.frames) == ("raw", "v1faces", 32)
        assert options.manipulations is None and options.wanted == (
            "Deepfakes",
            "Face2Face",
            "FaceShifter",
            "FaceSwap",
            "NeuralTextures",
        )
        assert (dataset.split.scheme, dataset.split.shares) == ("sequential", (7, 1, 2))
        assert (dataset.on_unreadable, dataset.max_megapixels, dataset.fit) == (
            "stop",
            64,
            "stretch",
        )


def test_compression_and_faces_need_no_edit(monkeypatch):
    monkeypatch.setenv("FFPP_COMPRESSION", "c40")
    monkeypatch.setenv("FFPP_FACES", "my faces")
    options = m.load_manifest().dataset("faceforensics").options
    assert (options.compression, options.faces) == ("c40", "my faces")
    monkeypatch.setenv("FFPP_COMPRESSION", "c41")
    with pytest.raises(
        ValueError,
        match=r"options\.compression: Input should be 'raw', 'c23' or 'c40'; found 'c41'",
    ):
        m.load_manifest()


DATASET = """\
datasets:
  - name: mine
    title: Mine
    access: mine
    licence: mine
    root: pictures
"""


def dataset_of(folder: Path, *lines: str, root: str = "pictures") -> m.Dataset:
    """The data set of a manifest with these lines, the first of which is line 17."""
    text = DATASET.replace("pictures", root) + "".join(f"    {line}\n" for line in lines)
    return m.load_manifest(write(folder, one(), text)).dataset("mine")


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        (
            ["layout: face"],
            17,
            r"datasets\[0\]\.layout: unknown; allowed are scenes, faceforensics, .*found 'face'",
        ),
        (
            ["fit: crop"],
            12,
            r"datasets\[0\]\.layout: is missing; allowed are scenes, faceforensics",
        ),
        (
            ["layout: coco", "status: described"],
            18,
            r"\.status: unknown key; allowed are name, .*root, .*split, options",
        ),
        (
            ["layout: cifake", "options: {}"],
            18,
            r"\.options: unknown key; allowed are name, .*checksums, published, split$",
        ),
        (["layout: scenes"], 16, r"\.root: unknown key; allowed are name, title, .*layout, note$"),
        (
            ["layout: coco", "options:", "  limits: 3"],
            19,
            r"\.options\.limits: unknown key; allowed are limit, seed",
        ),
        (
            ["layout: coco", "options:", "  limit: 0"],
            19,
            r"\.options\.limit: .*greater than or equal to 1; found 0",
        ),
        (
            ["layout: faceforensics", "options: {compression: c24}"],
            18,
            r"\.compression: .*'raw', 'c23' or 'c40'; .*'c24'",
        ),
        (
            ["layout: faceforensics", "options: {faces: ../x}"],
            18,
            r"options\.faces: a path below its folder wanted",
        ),
        (
            [
                "layout: faceforensics",
                "options:",
                "  manipulations:",
                "    - Deepfakes",
                "    - Face3Face",
            ],
            21,
            r"\.options\.manipulations\[1\]: .*'Face2Face', .*found 'Face3Face'",
        ),
        (
            ["layout: faceforensics", "options: {manipulations: []}"],
            18,
            r"\.manipulations: at least one name, and none",
        ),
        (
            ["layout: faceforensics", "split: {scheme: random}"],
            18,
            r"split\.scheme: unknown; allowed are sequential, off",
        ),
        (
            ["layout: faceforensics", "split: {lists: x}"],
            18,
            r"split\.scheme: is missing; allowed are sequential, offi",
        ),
        (
            ["layout: faceforensics", "split: {scheme: official}"],
            18,
            r"datasets\[0\]\.split\.lists: is missing",
        ),
        (
            ["layout: faceforensics", "split:", "  scheme: sequential", "  seed: 4"],
            20,
            r"datasets\[0\]\.split\.seed: unknown key; allowed are scheme, shares",
        ),
        (["layout: coco", "split: {shares: [7, 3]}"], 18, r"split\.shares\[2\]: is missing"),
        (
            ["layout: coco", "split: {shares: [0, 0, 0]}"],
            18,
            r"split\.shares: three numbers that are not all zero",
        ),
        (
            ["layout: cifake", "split: {validation: 1}"],
            18,
            r"split\.validation: .*less than 1; found 1",
        ),
        (
            ["layout: folders", "options: {subfolder: videos}"],
            18,
            r"subfolder: .*'none', 'video', 'manipulation' or",
        ),
        (
            ["layout: coco", "on_unreadable: ignore"],
            18,
            r"on_unreadable: .*'stop' or 'skip'; found 'ignore'",
        ),
        (["layout: coco", "max_megapixels: -1"], 18, r"max_megapixels: .*greater than 0; found -1"),
        (
            ["layout: coco", "fit: ${NOT_SET}"],
            18,
            r"fit: .*'stretch' or 'crop'.*: variable NOT_SET is not set",
        ),
        (
            ["layout: faceforensics", "options:", "  faces: ${NOT_SET}"],
            19,
            r"options\.faces: variable NOT_SET is not set; set it, or write \$\{NOT_SET:-default\}",
        ),
    ],
)
def test_a_fault_in_a_data_set_is_named_with_its_line(tmp_path, monkeypatch, lines, line, message):
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ValueError, match=rf"(?m)^manifest\.yaml, line {line}: .*{message}"):
        dataset_of(tmp_path, *lines)


UNION = """\
  - name: both
    title: Both
    access: a
    licence: l
    layout: union
    options:
      parts: [mine, other]
"""


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (
            ("other]", "another]"),
            24,
            r"options\.parts\[1\]: no data set on disk is called 'another'; there are mine, oth",
        ),
        (
            ("other]", "both]"),
            24,
            r"datasets\[1\]\.options\.parts\[1\]: no data set on disk is called 'both'",
        ),
        (("other]", "mine]"), 24, r"options\.parts: at least one name, and none twice, wanted"),
        (("parts", "part"), 24, r"options\.part: unknown key; allowed are parts"),
        (
            ("name: both", "name: mine"),
            18,
            r"datasets\[1\]\.name: name 'mine' is that of entry 0 too",
        ),
    ],
)
def test_a_fault_in_a_union(tmp_path, change, line, message):
    text = DATASET + "    layout: coco\n" + UNION.replace(*change)
    text += "  - {name: other, title: t, access: a, licence: l, layout: diffusiondb, root: o}\n"
    with pytest.raises(ValueError, match=rf"(?m)^manifest\.yaml, line {line}: .*{message}"):
        m.load_manifest(write(tmp_path, one(), text))


def test_a_union_knows_its_parts(tmp_path):
    text = DATASET + "    layout: coco\n    max_megapixels: 9\n" + UNION
    text += (
        "  - {name: other, title: t, access: a, licence: l, layout: diffusiondb, root: below/o}\n"
    )
    both = m.load_manifest(write(tmp_path, one(), text)).dataset("both")
    assert [(part.name, part.layout) for part in both.parts] == [
        ("mine", "coco"),
        ("other", "diffusiondb"),
    ]
    assert (
        both.max_pixels == 64_000_000
        and "mine random" in both.split_description
        and "no such folder" in both.where()
    )
    with pytest.raises(FileNotFoundError, match=r"data set 'mine': no folder .*pictures"):
        both.folder()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "below" / "o").mkdir(parents=True)
    assert both.folder() == tmp_path


def test_a_root_is_relative_to_the_manifest(tmp_path, monkeypatch):
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert dataset_of(tmp_path / "data", "layout: coco").folder() == tmp_path / "data" / "pictures"
    loaded = m.load_manifest("data/manifest.yaml")
    monkeypatch.chdir("/")
    assert loaded.dataset("mine").folder() == tmp_path / "data" / "pictures"


def test_home_and_variables_in_a_root(tmp_path, monkeypatch):
    (tmp_path / "home" / "set").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert dataset_of(tmp_path, "layout: coco", root="~/set").folder() == tmp_path / "home" / "set"
    monkeypatch.setenv("SOME_ROOT", "~/set")
    assert (
        dataset_of(tmp_path, "layout: coco", root="${SOME_ROOT}").folder()
        == tmp_path / "home" / "set"
    )
    monkeypatch.setenv("SOME_ROOT", str(tmp_path))
    inside = dataset_of(tmp_path, "layout: coco", root="${SOME_ROOT}/${OTHER:-home}/set")
    assert inside.folder() == tmp_path / "home" / "set" == Path(inside.where())


def test_a_variable_may_be_set_after_loading(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_ROOT", "")  # as good as not set
    dataset = dataset_of(tmp_path, "layout: coco", root="${SOME_ROOT}")
    assert dataset.where() == "SOME_ROOT is not set"
    with pytest.raises(
        FileNotFoundError,
        match=r"'mine': variable SOME_ROOT, .*root.* not set; `export SOME_ROOT=/path`",
    ):
        dataset.folder()
    monkeypatch.setenv("SOME_ROOT", str(tmp_path))
    assert dataset.folder() == tmp_path and dataset.where() == str(tmp_path)


def test_defaults_of_variables(tmp_path, monkeypatch):
    lines = ["layout: diffusiondb", "options:", "  limit: ${LIMIT:-7}", "note: ${NOTE:-}${UNKNOWN}"]
    monkeypatch.delenv("LIMIT", raising=False)
    dataset = dataset_of(tmp_path, *lines)
    assert dataset.options.limit == 7 and dataset.note == "${UNKNOWN}"
    monkeypatch.setenv("LIMIT", "12")
    assert dataset_of(tmp_path, *lines).options.limit == 12
    monkeypatch.setenv("LIMIT", "many")
    with pytest.raises(
        ValueError, match=r"line 19: .*options\.limit: .*valid integer.*found 'many'"
    ):
        dataset_of(tmp_path, *lines)


def test_a_root_that_is_not_there(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=rf"'mine': no folder {tmp_path}/nowhere .*root in the manifest is nowhere",
    ):
        dataset_of(tmp_path, "layout: coco", root="nowhere").folder()


def test_fingerprint_tells_what_records_follow_from(tmp_path, monkeypatch):
    (tmp_path / "pictures" / "lists").mkdir(parents=True)
    monkeypatch.setenv("SOME_ROOT", "pictures")
    base = "layout: faceforensics"
    official = [base, "split: {scheme: official, lists: lists}"]
    prints = {
        "base": dataset_of(tmp_path, base).fingerprint(),
        "frames": dataset_of(tmp_path, base, "options: {frames: 4}").fingerprint(),
        "split": dataset_of(
            tmp_path, base, "split: {scheme: sequential, shares: [6, 2, 2]}"
        ).fingerprint(),
        "unreadable": dataset_of(tmp_path, base, "on_unreadable: skip").fingerprint(),
        "root": dataset_of(tmp_path, base, root="pictured").fingerprint(),
        "official": dataset_of(tmp_path, *official).fingerprint(),
    }
    (tmp_path / "pictures" / "lists" / "train.json").write_text(json.dumps([["000", "001"]]))
    prints["lists"] = dataset_of(tmp_path, *official).fingerprint()
    assert len(set(prints.values())) == len(prints)
    assert dataset_of(tmp_path, base, root="${SOME_ROOT}").fingerprint() == prints["base"]
    assert all(
        dataset.fingerprint() for dataset in m.load_manifest().datasets
    )  # roots that are not set are no fault


def test_unknown_data_set(manifest):
    with pytest.raises(
        KeyError,
        match=r"no data set 'ffpp' in the manifest; it lists scenes, faceforensics, .*folders",
    ):
        manifest.dataset("ffpp")


def test_scenes_have_no_folder(manifest):
    with pytest.raises(ValueError, match="'scenes' is rendered in the run"):
        manifest.dataset("scenes").folder()


def test_table_has_one_row_a_photograph(manifest):
    table = photographs.photograph_table(manifest.photographs)
    assert table["name"].tolist() == [p.name for p in manifest.photographs]
    assert {"licence", "author", "sha256", "split"} <= set(table.columns)
