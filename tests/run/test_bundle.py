"""A run as one file: what goes in, what comes out, and what is refused."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from defocus_lib.explain import attribution_set, sample, shards
from defocus_lib.run.artifacts import Folder, write_json
from defocus_lib.run.bundle import opened, source, verify, write
from defocus_lib.run.bundle.description import NOTE_PICTURES, SHOWS_IMAGES, pages_of
from defocus_lib.run.bundle.outputs import clean_table
from defocus_lib.run.bundle.source import Refused
from defocus_lib.run.parameters import ParameterError
from defocus_lib.stats.claims import Claim
from tests import artefacts
from tests.sources import write as write_text

PAGES = ["01_data", *opened.RUN_AGAIN]
PAGE = f"""\
# %% [markdown]
# # A page
#
# Prose of this checkout.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
threshold: float = 0.1

# %%
1 + 1

# %% tags=["{SHOWS_IMAGES}"] mystnb={{"image": {{"alt": "A photograph."}}}}
picture()

# %%
curve()
"""


def png(value: int) -> str:
    buffer = io.BytesIO()
    plt.imsave(buffer, np.full((4, 4, 3), value, dtype=np.uint8))
    return base64.b64encode(buffer.getvalue()).decode()


TABLE = pd.DataFrame({"a": [1.5]})._repr_html_()
STYLED = pd.DataFrame({"a": [1.5]}).style.highlight_max(color="red").to_html()


def executed(root: Path, page: str) -> nbformat.NotebookNode:
    """The page as a run leaves it: a table, a picture of the data, a curve, an injected cell."""
    notebook = verify.own_notebook(root, page, artefacts_about())
    injected = nbformat.v4.new_code_cell(
        "# Set for this run\nprofile = 'smoke'\nartifacts = '/home/somebody'"
    )
    injected.metadata["tags"] = ["injected-parameters"]
    notebook.cells.insert(2, injected)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [{}, {}, {"text/html": TABLE, "text/plain": "a"}, {"image/png": png(9)}]
    for count, (cell, data) in enumerate(zip(code, [*shown, {"image/png": png(3)}], strict=True)):
        cell.execution_count = count + 1
        cell.outputs = [nbformat.v4.new_output("display_data", data=data)] if data else []
    glued = {"scrapbook": {"name": "n", "mime_prefix": "application/papermill.record/"}}
    number = {"application/papermill.record/text/plain": "2"}
    code[2].outputs.append(nbformat.v4.new_output("display_data", data=number, metadata=glued))
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
    return notebook


def artefacts_about():
    from defocus_lib.run.artifacts import About

    return About(dataset="scenes", title="controlled scenes", has=("pairs", "regions", "depth"))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A checkout with six pages of a few lines."""
    root = tmp_path_factory.mktemp("checkout")
    write_text(root / "data_manifest.yaml", "photographs: []\n")
    toc = "".join(f"      - file: executed/{page}\n" for page in PAGES)
    write_text(root / "book" / "_toc.yml", toc)
    for page in PAGES:
        write_text(root / "notebooks" / f"{page}.py", PAGE)
    return root


@pytest.fixture(scope="module")
def run(project, tmp_path_factory) -> Folder:
    """A finished run of that checkout, with Shapley values of twelve scenes."""
    folder = artefacts.build(tmp_path_factory.mktemp("run") / "smoke", size=24)
    Folder.create("smoke", folder.path, replace(artefacts_about(), root="/home/somebody/faces"))
    write_text(folder.path / "this_run.md", "**These pages show the run `smoke`.** 76 images.\n")
    write_text(folder.path / "images" / "photo.png", "not to be passed on")
    write_text(folder.path / "stages" / "02_defocus_map.csv", "stage,seconds\nmaps,1\n")
    (folder.path / "overview.png").write_bytes(base64.b64decode(png(1)))
    pd.DataFrame({"id": ["a"]}).to_parquet(folder.path / "records.parquet")
    claim = Claim("Maps of splice vary less (Cliff's delta)", -0.2, -0.3, -0.1, 30)
    for page in PAGES:
        text = nbformat.writes(executed(project, page)) + "\n"
        write_text(folder.path / "notebooks" / f"{page}.ipynb", text)
        parameters = {"profile": "smoke", "artifacts": "/home/somebody", "threshold": 0.1}
        record = {"notebook": page, "seconds": 1.0, "peak_mb": 2.0, "parameters": parameters}
        write_json(folder.path / "runs" / f"{page}.json", record)
        write_json(folder.path / "claims" / f"{page}.json", [vars(claim)])
    return folder


def make(
    run: Folder, project: Path, path: Path, images: int | None = None, pictures: bool = True
) -> Path:
    stored = run.path / "shapley" if images != 0 else None
    if images or not pictures:
        target = path.parent / "sample"
        stored = sample.write_sample(run.path / "shapley", target, images, pictures).parent
    described = write.describe(run, project, images, pictures)
    files = dict(write.contents(run, described, pages_of(project), stored))
    return write.write_bundle(path, described, files, "CC0")


@pytest.fixture(scope="module")
def bundle(run, project, tmp_path_factory) -> Path:
    return make(run, project, tmp_path_factory.mktemp("bundles") / "smoke.zip")


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


# --------------------------------------------------------------------------------------------------
# There and back


def test_a_bundle_holds_the_run_and_nothing_of_this_machine(bundle: Path) -> None:
    names = names_in(bundle)
    assert {"records.parquet", "features.npz", "overview.png", "stages/02_defocus_map.csv"} < {
        *names
    }
    assert sum(name.startswith("shapley/") for name in names) == 5 * 3 + 1  # 12 scenes by 5
    assert not [name for name in names if name.startswith("images/")]
    with zipfile.ZipFile(bundle) as archive:
        everything = b"".join(archive.read(name) for name in names)
    assert b"somebody" not in everything


def test_the_same_run_gives_the_same_bytes(bundle: Path, run, project, tmp_path: Path) -> None:
    assert make(run, project, tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_the_checksums_are_those_of_sha256sum(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        lines = archive.read("checksums.sha256").decode().splitlines()
        for line in lines:
            sha, name = line.split("  ")
            assert hashlib.sha256(archive.read(name)).hexdigest() == sha
        assert len(lines) == len(archive.namelist()) - 1


def test_the_crate_is_an_ro_crate(bundle: Path) -> None:
    """The rules of RO-Crate 1.1 that a machine can check."""
    with zipfile.ZipFile(bundle) as archive:
        crate, names = json.loads(archive.read("ro-crate-metadata.json")), archive.namelist()
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    assert crate["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    graph = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(graph) == len(crate["@graph"])
    head, root = graph["ro-crate-metadata.json"], graph["./"]
    assert head["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert head["about"] == {"@id": "./"} and root["@type"] == "Dataset"
    assert (
        root["name"] and root["description"] and re.match(r"\d{4}-\d\d-\d\d", root["datePublished"])
    )
    parts = {part["@id"] for part in root["hasPart"]}
    assert parts == {*names} - {"checksums.sha256", "ro-crate-metadata.json"}
    for part in parts:
        assert graph[part]["@type"] == "File" and int(graph[part]["contentSize"]) == sizes[part]
    references = re.findall(r'\{"@id": "([^"]+)"\}', json.dumps(crate))
    assert {name for name in references if "://" not in name} <= {*graph}


def test_an_opened_bundle_is_the_run_again(bundle: Path, run, project, tmp_path: Path) -> None:
    target = opened.unpack(verify.verify(bundle, project), tmp_path / "bundle-smoke")
    for name in ("shapley/index.parquet", "features.npz", "runs/01_data.json"):
        original = (run.path / name).read_bytes()
        assert name == "runs/01_data.json" or (target / name).read_bytes() == original
    folder = Folder.open("smoke", target)
    assert artefacts.load(folder, "splice").images.shape == (12, 24, 24, 3)
    page = nbformat.read(target / "notebooks" / "05_binary_mask.ipynb", 4)
    assert page.cells[4].outputs[0].data["image/png"] == png(9)
    assert page.cells[3].outputs[1].metadata.scrapbook.name == "n"
    assert "Nothing was computed here." in (target / "this_run.md").read_text()
    assert "Maps of splice vary less" in (target / "claims.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle-smoke"]


def test_a_bundle_is_opened_again_and_nothing_else_is_replaced(bundle, project, tmp_path) -> None:
    checked = verify.verify(bundle, project)
    for _ in range(2):
        opened.unpack(checked, tmp_path / "bundle-smoke")
    own = write_text(tmp_path / "bundle-mine" / "notes.txt", "mine")
    with pytest.raises(Refused, match="bundle-mine is there and no bundle"):
        opened.unpack(checked, own.parent)
    assert own.read_text() == "mine"


def test_the_unpacked_folder_is_as_good_as_the_zip(bundle: Path, project, tmp_path: Path) -> None:
    shutil.unpack_archive(bundle, tmp_path / "smoke")
    checked = verify.verify(tmp_path / "smoke", project)
    assert checked.description.name == "smoke"
    (tmp_path / "smoke" / "evil.csv").symlink_to("/etc/passwd")
    with pytest.raises(Refused, match=r"smoke: 'evil\.csv' is a link or a device"):
        verify.verify(tmp_path / "smoke", project)
    (tmp_path / "smoke" / "evil.csv").unlink()
    os.mkfifo(tmp_path / "smoke" / "pipe.csv")
    with pytest.raises(Refused, match=r"'pipe\.csv' is a link or a device"):
        verify.verify(tmp_path / "smoke", project)


def test_prose_is_that_of_the_checkout(bundle: Path, project, tmp_path: Path) -> None:
    checkout = Path(shutil.copytree(project, tmp_path / "checkout"))
    source = checkout / "notebooks" / "05_binary_mask.py"
    source.write_text(PAGE.replace("Prose of", "Newer prose of"))
    page = verify.verify(bundle, checkout).pages["05_binary_mask"]
    assert "Newer prose" in page.cells[0].source and page.cells[4].outputs
    source.write_text(PAGE.replace("1 + 1", "1 + 2"))
    with pytest.raises(Refused, match=r"05_binary_mask.ipynb: it was run from other code .*cell 4"):
        verify.verify(bundle, checkout)


# --------------------------------------------------------------------------------------------------
# Without pictures, and a sample


@pytest.fixture(scope="module")
def blind(run, project, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("blind") / "smoke-no-images.zip"
    return make(run, project, path, pictures=False)


def test_without_pictures_there_is_none_and_a_note_in_its_place(blind: Path, run) -> None:
    with zipfile.ZipFile(blind) as archive:
        assert "overview.png" not in archive.namelist()
        page = nbformat.reads(archive.read("notebooks/05_binary_mask.ipynb").decode(), 4)
        shard = archive.read("shapley/splice/shard-00001.npz")
    assert page.cells[4].outputs[0].data == {"text/plain": NOTE_PICTURES}
    assert page.cells[5].outputs[0].data["image/png"] == png(3)  # a curve shows nobody
    with np.load(io.BytesIO(shard)) as arrays:
        assert "images" not in arrays.files
        original = shards.read_shard(run.path / "shapley" / "splice" / "shard-00001.npz")[0]
        np.testing.assert_array_equal(arrays["dmaps"], original["dmaps"])


def test_without_pictures_the_pages_say_so(blind: Path, project, tmp_path: Path) -> None:
    target = opened.unpack(verify.verify(blind, project), tmp_path / "bundle")
    page = nbformat.read(target / "notebooks" / "05_binary_mask.ipynb", 4)
    assert page.cells[4].outputs[0].data["text/plain"] == NOTE_PICTURES
    assert "alt" not in json.dumps(page.cells[4].metadata)
    assert NOTE_PICTURES in (target / "this_run.md").read_text()
    assert (target / "overview.png").read_bytes().startswith(b"\x89PNG")
    assert shards.damaged(target / "shapley") == []
    fakes = attribution_set.open_set(Folder.open("smoke", target), "splice")
    assert fakes.take([0, 1]).images is None and fakes.take([0]).dmaps.shape == (1, 24, 24)


def test_a_sample_keeps_pairs_whole(run, project, tmp_path: Path) -> None:
    path = make(run, project, tmp_path / "sample.zip", images=3)
    target = opened.unpack(verify.verify(path, project), tmp_path / "bundle")
    real, fakes = attribution_set.open_sets(Folder.open("smoke", target))
    scenes = [f"test-{scene:05d}/real" for scene in (0, 6, 11)]  # evenly over twelve
    assert real.ids.tolist() == scenes
    assert all(fake.paired_real(real, "ids").ids.tolist() == scenes for fake in fakes.values())
    assert len(fakes) == 4
    assert "at most 3 images of each set" in (target / "this_run.md").read_text()


def test_a_sample_without_pairs_is_drawn_from_each_set() -> None:
    index = pd.DataFrame(
        {"id": list("abcdef"), "pair": list("abc") + [""] * 3, "label": [0] * 3 + [1] * 3}
    ).assign(manipulation=["real"] * 3 + ["splice"] * 3)
    assert sample.chosen_ids(index, 2) == {"a", "c", "d", "f"}
    with pytest.raises(ValueError, match="images is 0"):
        sample.chosen_ids(index, 0)


def test_a_bundle_without_shapley_values_renders_and_runs_nothing(run, project, tmp_path) -> None:
    path = make(run, project, tmp_path / "none.zip", images=0)
    checked = verify.verify(path, project)
    assert not [name for name in checked.checksums if name.startswith("shapley/")]
    with pytest.raises(ParameterError, match="05 to 09 cannot run again"):
        opened.run_again(checked.description, {"05_binary_mask": {"threshold": 0.2}})


def test_what_can_run_again(bundle: Path, project) -> None:
    described = verify.verify(bundle, project).description
    given = opened.run_again(described, {"05_binary_mask": {"threshold": 0.2}})
    assert given["05_binary_mask"] == {"profile": "smoke", "threshold": 0.2}
    assert given["06_local_variance"] == {"profile": "smoke", "threshold": 0.1}
    with pytest.raises(
        ParameterError, match="'03_train_detector' cannot run again: of a bundle, 05_"
    ):
        opened.run_again(described, {"03_train_detector": {"seed": 1}})


def test_the_lab_has_our_notebooks_with_the_parameters_of_the_bundle(bundle, project, tmp_path):
    target = opened.unpack(verify.verify(bundle, project), tmp_path / "bundle-smoke")
    page = nbformat.read(opened.write_lab(target, project) / "05_binary_mask.ipynb", 4)
    names: dict = {}
    exec(page.cells[1].source + "\n" + page.cells[2].source, names)
    assert names["profile"] == "smoke" and Path(names["artifacts"]) == target.resolve()


# --------------------------------------------------------------------------------------------------
# Damaged, foreign, hostile


class Parts(dict):
    """The files of a bundle, to be changed and written again with checksums that fit."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            super().__init__({name: archive.read(name) for name in archive.namelist()})

    def edit(self, name: str, change: Callable[[dict], object]) -> None:
        content = json.loads(self[name])
        change(content)
        self[name] = json.dumps(content).encode()

    def cell(self, number: int, change: Callable[[dict], object]) -> None:
        self.edit("notebooks/05_binary_mask.ipynb", lambda page: change(page["cells"][number]))

    def write(self, path: Path, with_checksums: bool = True) -> Path:
        if with_checksums:
            others = {name: self[name] for name in sorted(self) if name != "checksums.sha256"}
            self["checksums.sha256"] = "".join(
                f"{hashlib.sha256(content).hexdigest()}  {name}\n"
                for name, content in others.items()
            ).encode()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.items():
                archive.writestr(name, content)
        return path


@pytest.fixture
def parts(bundle: Path) -> Parts:
    return Parts(bundle)


def refused(path: Path, project: Path) -> str:
    """The message; nothing may have been written."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(Refused) as error:
        verify.verify(path, project)
    assert sorted(path.parent.rglob("*")) == before
    message = str(error.value)
    assert message.startswith(f"{path.name}: ") and "\n" not in message
    return message


def test_parts_written_again_are_a_bundle(parts: Parts, project, tmp_path: Path) -> None:
    assert verify.verify(parts.write(tmp_path / "b.zip"), project)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../evil.csv", "climbs out of the bundle"),
        ("stages/../../evil.csv", "climbs out of the bundle"),
        ("/etc/evil.csv", "is an absolute path"),
        ("C:/evil.csv", "is an absolute path"),
        ("c:evil.csv", "is an absolute path"),
        ("stages\\..\\evil.csv", "is no plain path"),
        ("stages//evil.csv", "is no plain path"),
        ("stages/evil.csv.", "is no plain path"),
        (" evil.csv", "is no plain path"),
        ("stages/", "is no plain path"),
        ("run.py", "is code or a pickle"),
        ("claims/x.PKL", "is code or a pickle"),
        ("page.html", "is code or a pickle"),
        ("detector.pth", "is code or a pickle"),
        ("evil.exe", "is code or a pickle"),
        ("notes.txt", "is no file of a bundle"),
        (".doit.db", "is no plain path"),
        ("evil\x00.csv", "is no file of a bundle"),
        ("lab/05_binary_mask.ipynb", "is no file of a bundle"),
        ("Records.parquet", "are one file on some systems"),
        ("claims/99_other.json", "belongs to no page"),
    ],
)
def test_a_foreign_name_is_refused(parts: Parts, project, tmp_path: Path, name, fault) -> None:
    parts[name] = b"[]"
    if name == "Records.parquet":
        parts[name] = parts["records.parquet"]
    assert fault in refused(parts.write(tmp_path / "b.zip"), project)


def entry_of(name: str, **changes) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    for key, value in changes.items():
        setattr(entry, key, value)
    return entry


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO])
def test_a_link_or_device_is_refused(bundle: Path, project, tmp_path: Path, kind: int) -> None:
    path = Path(shutil.copy(bundle, tmp_path / "b.zip"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry_of("evil.csv", external_attr=(kind | 0o777) << 16), "/etc/passwd")
    assert "'evil.csv' is a link or a device" in refused(path, project)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_occurs_twice_is_refused(bundle: Path, project, tmp_path: Path) -> None:
    path = Path(shutil.copy(bundle, tmp_path / "b.zip"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("records.parquet", b"other")
    assert "two files named 'records.parquet'" in refused(path, project)


def test_a_bomb_is_refused_unread(bundle: Path, project, tmp_path: Path, monkeypatch) -> None:
    path = Path(shutil.copy(bundle, tmp_path / "b.zip"))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.csv", bytes(4 * 2**20))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was read"))
    assert "'bomb.csv' is a bomb: it unpacks to 4,194,304 bytes" in refused(path, project)


@pytest.mark.parametrize(
    ("limit", "value", "fault"),
    [
        ("MAX_FILES", 10, "files; at most 10 are allowed"),
        ("MAX_TEXT", 100, "bytes; at most 100 are allowed"),
        ("MAX_FILE", 100, "bytes; at most 100 are allowed"),
        ("MAX_TOTAL", 1000, "bytes; at most 1,000 are allowed"),
    ],
)
def test_the_limits_hold(bundle, project, tmp_path, monkeypatch, limit, value, fault) -> None:
    monkeypatch.setattr(source, limit, value)
    assert fault in refused(Path(shutil.copy(bundle, tmp_path / "b.zip")), project)


def test_a_bomb_of_arrays_is_refused(parts: Parts, project, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, features=np.zeros((300, 2**16), dtype=np.float32))
    parts["features.npz"] = buffer.getvalue()
    assert "features.npz is a bomb" in refused(parts.write(tmp_path / "b.zip"), project)


def test_a_pickle_among_arrays_is_refused(parts: Parts, project, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, ids=np.array([{"a": 1}], dtype=object))
    parts["features.npz"] = buffer.getvalue()
    assert "features.npz: ids.npy is a pickle" in refused(parts.write(tmp_path / "b.zip"), project)


@pytest.mark.parametrize("cut", [0, 10, 0.5, -10])
def test_a_zip_that_is_cut_off_is_refused(bundle: Path, project, tmp_path: Path, cut) -> None:
    content = bundle.read_bytes()
    at = int(cut * len(content)) if isinstance(cut, float) else cut
    path = tmp_path / "b.zip"
    path.write_bytes(content[:at])
    assert "no zip file, or one that is cut off" in refused(path, project)
    assert "there is no such file" in refused(tmp_path / "none.zip", project)


def test_a_flipped_byte_is_noticed(bundle: Path, project, tmp_path: Path) -> None:
    content = bytearray(bundle.read_bytes())
    with zipfile.ZipFile(bundle) as archive:
        offset = archive.getinfo("features.npz").header_offset
    content[offset + 500] ^= 1
    path = tmp_path / "b.zip"
    path.write_bytes(content)
    assert "features.npz is damaged" in refused(path, project)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda p: p.update({"records.parquet": p["records.parquet"] + b"x"}), "its checksum is"),
        (lambda p: p.update({"stages/x.csv": b"a"}), "stages/x.csv has no checksum"),
        (lambda p: p.pop("records.parquet"), "records.parquet is missing"),
        (lambda p: p.pop("checksums.sha256"), "checksums.sha256 is missing: no bundle"),
        (lambda p: p.pop("bundle.json"), "bundle.json is missing: no bundle"),
        (lambda p: p.update({"checksums.sha256": b"x  y\n"}), "'x  y' is no checksum and name"),
        (lambda p: p.update({"checksums.sha256": b"\xff\n"}), "checksums.sha256 is no text"),
    ],
)
def test_a_wrong_list_of_files_is_refused(parts, project, tmp_path, change, fault) -> None:
    change(parts)
    assert fault in refused(parts.write(tmp_path / "b.zip", with_checksums=False), project)


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        (
            "bundle.json",
            lambda d: d.update(format=2),
            "format 2, and this checkout reads up to 1: u",
        ),
        ("bundle.json", lambda d: d.update(format=0), "a bundle of the unknown format 0"),
        ("bundle.json", lambda d: d.update(more=1), "bundle.json: more: Extra inputs"),
        ("bundle.json", lambda d: d.pop("commit"), "bundle.json: commit: Field required"),
        ("bundle.json", lambda d: d.update(name="../x"), "bundle.json: name: String should match"),
        ("bundle.json", lambda d: d.update(pictures="yes"), "bundle.json: pictures: Input should"),
        ("bundle.json", lambda d: d.update(pictures=False), "overview.png is a picture"),
        ("bundle.json", lambda d: d.update(images_per_set=0), "there are Shapley values"),
        ("bundle.json", lambda d: d.update(summary="{{ 7 * 7 }}"), "bundle.json holds text with m"),
        ("bundle.json", lambda d: d.update(summary="<b onclick=x>"), "bundle.json holds text with"),
        ("bundle.json", lambda d: d["parameters"].pop("07_tsne"), "no parameters of 07_tsne"),
        ("provenance.json", lambda d: d.update(profile="demo"), "does not describe the data"),
        (
            "provenance.json",
            lambda d: d["data"].update(file_facts_auc="<b>"),
            "an AUC that is no number",
        ),
        (
            "provenance.json",
            lambda d: d["data"].update(root="/etc"),
            "provenance.json names a folder",
        ),
        (
            "provenance.json",
            lambda d: d["data"].update(title="`{x}`"),
            "provenance.json holds text",
        ),
        (
            "runs/01_data.json",
            lambda d: d.update(more=1),
            "runs/01_data.json is no record of a run",
        ),
        ("claims/07_tsne.json", lambda d: d[0].update(more=1), "07_tsne.json holds no claims"),
        ("claims/07_tsne.json", lambda d: d[0].update(value="x"), "a claim without numbers"),
        ("claims/07_tsne.json", lambda d: d[0].update(style=">99999999"), "claim in the format"),
        (
            "claims/07_tsne.json",
            lambda d: d[0].update(statement="{download}`/etc/passwd`"),
            "markup",
        ),
        (
            "claims/07_tsne.json",
            lambda d: d[0].update(statement="a\n\n[x](javascript:1)"),
            "markup",
        ),
    ],
)
def test_a_foreign_record_is_refused(parts, project, tmp_path, name, change, fault) -> None:
    parts.edit(name, change)
    assert fault in refused(parts.write(tmp_path / "b.zip"), project)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("records.parquet", b"PAR1 no", "records.parquet is no table"),
        ("features.npz", b"PK no", "features.npz is no file of arrays"),
        ("detector_rgb.safetensors", b"\x80\x04 a pickle of weights", "holds no weights"),
        ("overview.png", b"<svg onload='x'/>", "overview.png holds a picture that is no whole PNG"),
        ("maps.json", b"{", "maps.json is no JSON"),
        ("maps.json", b"[" * 100_000, "maps.json is no JSON"),
        ("metrics.csv", b"\xff\xfe", "metrics.csv is no text"),
        ("notebooks/07_tsne.ipynb", b"{}", "07_tsne.ipynb is no notebook"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    parts, project, tmp_path, name, content, fault
) -> None:
    parts[name] = content
    assert fault in refused(parts.write(tmp_path / "b.zip"), project)


def shows(**data: object) -> Callable[[dict], None]:
    """A change of a cell: its output shows these types of content."""
    output = {"output_type": "display_data", "metadata": {}, "data": data}
    return lambda cell: cell.update(outputs=[output])


def html(text: str) -> Callable[[dict], None]:
    return shows(**{"text/html": text})


HUGE = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\2\0\0\0" + b"\0" * 4
)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (html("<script>alert(1)</script>"), "HTML with <script>"),
        (html("<table><tr><td onclick='x()'>1</td></tr></table>"), "the attribute 'onclick'"),
        (html("<iframe src='https://example.org'></iframe>"), "HTML with <iframe>"),
        (html("<a href='javascript:alert(1)'>x</a>"), "HTML with <a>"),
        (html("<img src=x onerror=alert(1)>"), "HTML with <img>"),
        (html("<svg><script>1</script></svg>"), "HTML with <svg>"),
        (html("<style>@import 'https://example.org/x.css';</style>"), "a style that no table"),
        (html("<style>#T_0 {background: url(https://example.org)}</style>"), "a style that no"),
        (html("<style>body {display: none}</style>"), "a style that no table"),
        (html("<div style='background:url(//example.org)'>x</div>"), "a style that no table"),
        (html("<!--[if IE]><script>1</script><![endif]-->"), "HTML with a comment"),
        (html("<!DOCTYPE html>"), "HTML with a declaration"),
        (html("<?php ?>"), "HTML with a declaration"),
        (shows(**{"application/javascript": "alert(1)"}), "type 'application/javascript'"),
        (shows(**{"image/svg+xml": "<svg onload='x'/>"}), "type 'image/svg+xml'"),
        (shows(**{"text/latex": r"\href{javascript:1}{x}"}), "type 'text/latex'"),
        (shows(**{"application/vnd.jupyter.widget-view+json": {}}), "widget-view+json'"),
        (shows(**{"text/markdown": "{{ cycler }}"}), "text with markup"),
        (shows(**{"text/markdown": "<script>1</script>"}), "text with markup"),
        (shows(**{"image/png": "PHN2Zy8+"}), "a picture that is no whole PNG"),
        (shows(**{"image/png": "no base 64!"}), "a picture that is not base 64"),
        (shows(**{"image/png": base64.b64encode(HUGE).decode()}), "a picture"),
        (
            lambda cell: cell["outputs"][0].update(metadata={"scrapbook": {"name": "<b>"}}),
            "a glued value named '<b>'",
        ),
        (
            lambda cell: cell.update(
                outputs=[{"output_type": "error", "ename": "a", "evalue": "b", "traceback": []}]
            ),
            "an output of type 'error'",
        ),
        (lambda cell: cell.update(source="import os"), "it was run from other code"),
        (lambda cell: cell.update(cell_type="raw", outputs=None), "is no notebook"),
    ],
)
def test_a_hostile_output_is_refused(parts, project, tmp_path, change, fault) -> None:
    parts.cell(3, change)
    message = refused(parts.write(tmp_path / "b.zip"), project)
    assert fault in message and "notebooks/05_binary_mask.ipynb" in message


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("profile = __import__('os').getcwd()", "more than plain values"),
        ("other = 1", "a parameters cell with 'other = 1'"),
        ("import os", "a parameters cell with 'import os'"),
        ("profile = (", "that is no Python"),
    ],
)
def test_a_parameters_cell_that_does_more_is_refused(parts, project, tmp_path, code, fault) -> None:
    parts.cell(2, lambda cell: cell.update(source=code))
    assert fault in refused(parts.write(tmp_path / "b.zip"), project)


def test_prose_metadata_and_settings_of_a_bundle_are_not_used(parts, project, tmp_path) -> None:
    """Else Markdown could hold directives, and metadata make the book execute the page."""
    parts.cell(0, lambda cell: cell.update(source="```{include} /etc/passwd\n```\n{{ 7 * 7 }}"))
    parts.cell(4, lambda cell: cell["metadata"].update(mystnb={"figure": {"caption": "<b>"}}))
    force = {"mystnb": {"execution_mode": "force"}}
    parts.edit("notebooks/05_binary_mask.ipynb", lambda page: page["metadata"].update(force))
    page = verify.verify(parts.write(tmp_path / "b.zip"), project).pages["05_binary_mask"]
    assert page.cells[0].source == "# A page\n\nProse of this checkout."
    assert "mystnb" not in page.metadata and "caption" not in json.dumps(page.cells[4].metadata)


def test_pictures_that_a_bundle_without_pictures_smuggles_in_are_not_shown(
    blind: Path, project, tmp_path: Path
) -> None:
    parts = Parts(blind)
    parts.cell(4, shows(**{"image/png": png(5)}))
    page = verify.verify(parts.write(tmp_path / "b.zip"), project).pages["05_binary_mask"]
    assert page.cells[4].outputs[0].data == {"text/plain": NOTE_PICTURES}


@pytest.mark.parametrize("table", [TABLE, STYLED])
def test_tables_of_pandas_stay_as_they_are(table: str) -> None:
    before, after = (BeautifulSoup(text, "html.parser") for text in (table, clean_table(table)))
    assert [element.attrs for element in after.find_all()] == [
        element.attrs for element in before.find_all()
    ]
    assert after.get_text() == before.get_text()
    assert clean_table("<td>a &lt; b &amp; c</td>") == "<td>a &lt; b &amp; c</td>"
    # What a browser would complete to an element is text.
    assert "<img" not in clean_table("<td>1</td><img src=x onerror=alert(1) ")
