"""The whole book in miniature: the smoke profile, run and rendered by the real graph, then read
page by page."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

from defocus_lib.run.bundle import opened, verify
from defocus_lib.run.bundle.description import NOTE_PICTURES, SHOWS_IMAGES
from tests.pages import ROOT, copy_book

ARTIFACTS = ROOT / "artifacts" / "smoke"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium or Chrome on this machine to open the book in"
)

pytestmark = pytest.mark.slow

# What makes a browser fetch something when it opens a page: element -> attribute.
SOURCES = ("script", "img", "iframe", "source", "video", "audio", "embed")
FETCHED = dict.fromkeys(SOURCES, "src") | {"object": "data", "link": "href"}
FETCHED_LINKS = {
    "stylesheet",
    "icon",
    "shortcut",
    "preload",
    "prefetch",
    "modulepreload",
    "preconnect",
    "dns-prefetch",
    "manifest",
}


def doit(book: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "doit", "profile=smoke", f"book={book}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Built:
    """The rendered book, and how the first and an unchanged second build went."""

    html: Path
    first: subprocess.CompletedProcess
    second: subprocess.CompletedProcess


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    book = copy_book(tmp_path_factory.mktemp("smoke"))
    return Built(book / "_build" / "html", first=doit(book), second=doit(book))


@pytest.fixture(scope="session")
def pages(built: Built) -> dict[str, BeautifulSoup]:
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    names = [
        contents["root"],
        *(chapter["file"] for part in contents["parts"] for chapter in part["chapters"]),
    ]
    return {
        name: BeautifulSoup(
            (built.html / f"{name}.html").read_text(encoding="utf-8"), "html.parser"
        )
        for name in names
    }


@pytest.fixture(scope="session")
def notebooks(built: Built) -> dict[str, nbformat.NotebookNode]:
    return {
        path.stem: nbformat.read(path, as_version=4)
        for path in sorted(ARTIFACTS.glob("notebooks/*.ipynb"))
    }


def test_the_smoke_book_builds_without_a_warning(built: Built) -> None:
    assert built.first.returncode == 0, built.first.stdout[-3000:] + built.first.stderr[-3000:]
    assert "WARNING" not in built.first.stdout + built.first.stderr
    assert (built.html / "index.html").exists()


def test_a_second_build_does_nothing(built: Built) -> None:
    assert built.second.returncode == 0
    assert [line for line in built.second.stdout.splitlines() if line.startswith(". ")] == []


def test_every_notebook_ran_to_its_end(notebooks: dict[str, nbformat.NotebookNode]) -> None:
    sources = {path.stem for path in (ROOT / "notebooks").glob("*.py")} - {
        "01_data_on_disk"
    }  # it stands for 01_data
    assert set(notebooks) == sources
    for name, notebook in notebooks.items():
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output.output_type == "error"], name
        counts = [
            cell.execution_count
            for cell in notebook.cells
            if cell.cell_type == "code" and cell.source
        ]
        assert counts == list(range(1, len(counts) + 1)), name


def test_every_notebook_shows_the_figures_and_glues_the_values_that_it_names(
    notebooks: dict[str, nbformat.NotebookNode],
) -> None:
    for name, notebook in notebooks.items():
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        shown = [cell.metadata["mystnb"] for cell in notebook.cells if "mystnb" in cell.metadata]
        assert sum("image/png" in output.get("data", {}) for output in outputs) == len(shown), name
        for cell in shown:
            assert cell["figure"]["caption"].endswith(".") and cell["image"]["alt"], name
        tags = [output.metadata.get("scrapbook", {}) for output in outputs if "metadata" in output]
        glued = [tag["name"] for tag in tags if "name" in tag]
        prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        wanted = {part.split("`")[0].split(":")[0] for part in prose.split("{glue:text}`")[1:]}
        assert len(glued) == len(set(glued)) and set(glued) == wanted, name
        assert name != "10_known_blur" or all(value.startswith("known_") for value in glued)


def test_the_analyses_print_nothing(built: Built) -> None:
    """What a notebook prints is shown while it runs, after its name."""
    names = tuple(f"{path.stem}: " for path in (ROOT / "notebooks").glob("0[5-9]_*.py"))
    said = (built.first.stdout + built.first.stderr).splitlines()
    assert [line for line in said if line.startswith((*names, "10_known_blur: "))] == []


def test_every_notebook_stays_within_the_promised_memory(
    notebooks: dict[str, nbformat.NotebookNode],
) -> None:
    runs = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(ARTIFACTS.glob("runs/*.json"))
    ]
    assert [run["notebook"] for run in runs] == list(notebooks)
    assert min(run["peak_mb"] for run in runs) > 50 and max(run["peak_mb"] for run in runs) < 4096


def test_every_number_in_prose_is_there(pages: dict[str, BeautifulSoup]) -> None:
    """A glued value that is missing leaves its role in the page; a glued string must not show its
    quotes."""
    for name, page in pages.items():
        prose = page.find("article").get_text()
        assert "{glue:" not in prose and "{eval" not in prose, name
        for glued in page.select("p .pasted-text, p .pasted-inline"):
            assert glued.get_text()[:1] not in "'\"", f"{name}: {glued}"


def test_every_picture_says_what_it_shows(pages: dict[str, BeautifulSoup]) -> None:
    for name, page in pages.items():
        for picture in page.select("article img"):
            assert picture.get("alt", "").strip() and "_images/" not in picture["alt"], (
                f"{name}: {picture['src']}"
            )


# --------------------------------------------------------------------------------------------------
# The book opens from disk, without the network.


def external(html: str) -> Iterator[str]:
    """The addresses outside the book that a browser fetches by itself when it opens ``html``."""
    for element in BeautifulSoup(html, "html.parser").find_all(list(FETCHED)):
        address = element.get(FETCHED[element.name], "")
        loads = element.name != "link" or FETCHED_LINKS & set(element.get("rel", []))
        if loads and urlsplit(address).netloc:
            yield address


def test_the_static_check_can_fail() -> None:
    assert list(
        external('<script src="https://cdn.example/x.js"></script><a href="https://example.org">')
    ) == ["https://cdn.example/x.js"]
    assert list(
        external(
            '<link rel="stylesheet" href="//fonts.example/f.css"><link rel="next" href="https://x.y">'
        )
    ) == ["//fonts.example/f.css"]
    assert list(external('<img src="_images/a.png"><img src="data:image/png;base64,AAAA">')) == []


def test_no_page_names_anything_to_fetch_elsewhere(built: Built) -> None:
    found = {
        path.name: list(external(path.read_text(encoding="utf-8")))
        for path in built.html.rglob("*.html")
    }
    assert {name: addresses for name, addresses in found.items() if addresses} == {}


def test_no_style_sheet_names_anything_to_fetch_elsewhere(built: Built) -> None:
    for path in built.html.rglob("*.css"):
        text = path.read_text(encoding="utf-8").replace('"', "").replace("'", "")
        assert not [
            word
            for word in ("url(http", "url(//", "@import http", "@import url(http")
            if word in text
        ], path


def open_in_browser(page: Path, folder: Path) -> tuple[str, list[str]]:
    """Open ``page`` in headless Chromium: the document after its scripts have run, and every
    address it asked for.

    Chromium's own requests (updates, time) have no initiator; those of a page, and of the frames in
    it, have one.
    """
    log = folder / "net.json"
    quiet = "no-first-run disable-background-networking disable-component-update disable-sync"
    switches = f"headless no-sandbox disable-gpu {quiet} virtual-time-budget=30000 dump-dom".split()
    files = [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    command = [CHROMIUM, *(f"--{switch}" for switch in switches), *files, page.as_uri()]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True
    )
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    parameters = [event["params"] for event in events if isinstance(event.get("params"), dict)]
    return done.stdout, sorted(
        {
            p["url"]
            for p in parameters
            if "url" in p and p.get("initiator", "not an origin") != "not an origin"
        }
    )


def in_frames(addresses: list[str], path: Path) -> Path:
    """A page that opens all ``addresses`` at once."""
    path.write_text(
        "".join(f'<iframe src="{address}"></iframe>' for address in addresses), encoding="utf-8"
    )
    return path


@needs_chromium
def test_the_browser_check_can_fail(tmp_path: Path) -> None:
    inner = tmp_path / "inner.html"
    inner.write_text(
        '<img src="http://127.0.0.1:9/x.png"><script>fetch("http://127.0.0.1:9/y")</script>',
        encoding="utf-8",
    )
    _, asked = open_in_browser(in_frames([inner.as_uri()], tmp_path / "outer.html"), tmp_path)
    assert asked == ["http://127.0.0.1:9/x.png", "http://127.0.0.1:9/y"]


@needs_chromium
def test_no_page_asks_the_network_for_anything(
    built: Built, pages: dict[str, BeautifulSoup], tmp_path: Path
) -> None:
    everything = [(built.html / f"{name}.html").as_uri() for name in [*pages, "search", "genindex"]]
    _, asked = open_in_browser(in_frames(everything, tmp_path / "all.html"), tmp_path)
    assert asked == []


@needs_chromium
def test_mathematics_and_icons_are_drawn(
    built: Built, pages: dict[str, BeautifulSoup], tmp_path: Path
) -> None:
    document, _ = open_in_browser(built.html / "method.html", tmp_path)
    page = BeautifulSoup(document, "html.parser")
    formulas = len(pages["method"].select(".math"))
    assert formulas > 10
    assert len(page.select(".math mjx-container")) >= formulas
    assert not page.select("mjx-merror, [data-mjx-error]")
    drawn = page.select("svg.svg-inline--fa path[d]")
    assert drawn and not page.select("i.fa-solid, i.fas, i.fa-brands")


# --------------------------------------------------------------------------------------------------
# The run as a bundle without pictures, rendered elsewhere with one page run again.


@dataclass(frozen=True)
class Rendered:
    """An opened bundle and its book."""

    folder: Path
    html: Path
    done: subprocess.CompletedProcess
    untouched: bool


@pytest.fixture(scope="session")
def bundled(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    path = tmp_path_factory.mktemp("bundle") / "smoke.zip"
    command = [sys.executable, "-m", "defocus_lib", "bundle", "make", "smoke", "--no-images"]
    subprocess.run([*command, f"--output={path}"], cwd=ROOT, check=True, capture_output=True)
    folder = opened.unpack(verify.verify(path, ROOT), path.with_name("bundle-smoke"))
    book = copy_book(path.parent)
    before = {page: page.read_bytes() for page in ARTIFACTS.rglob("*.ipynb")}
    done = doit(book, f"bundle={folder}", "set=05_binary_mask.threshold=0.2")
    untouched = before == {page: page.read_bytes() for page in ARTIFACTS.rglob("*.ipynb")}
    return Rendered(folder, book / "_build" / "html", done, untouched)


def test_a_bundle_is_rendered_and_one_page_runs_again(bundled: Rendered) -> None:
    said = bundled.done.stdout + bundled.done.stderr
    assert bundled.done.returncode == 0 and "WARNING" not in said, said[-3000:]
    runs = {path.stem: json.loads(path.read_text()) for path in bundled.folder.glob("runs/*.json")}
    assert runs["05_binary_mask"]["parameters"]["threshold"] == 0.2
    original = json.loads((ARTIFACTS / "runs" / "06_local_variance.json").read_text())
    assert runs["06_local_variance"]["seconds"] == original["seconds"]
    front = (bundled.html / "intro.html").read_text(encoding="utf-8")
    assert "Run again here: 05_binary_mask (threshold = 0.2)." in front and NOTE_PICTURES in front
    assert bundled.untouched


def test_a_bundle_without_pictures_shows_none(bundled: Rendered) -> None:
    for path in bundled.folder.glob("notebooks/*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        if path.stem == "05_binary_mask":  # run again, on maps without photographs
            assert any("image/png" in str(cell.get("outputs", "")) for cell in cells)
            continue
        tagged = [cell for cell in cells if SHOWS_IMAGES in cell.metadata.get("tags", [])]
        assert "image/" not in str([cell.outputs for cell in tagged]), path
        html = (bundled.html / "executed" / f"{path.stem}.html").read_text(encoding="utf-8")
        assert not tagged or NOTE_PICTURES in html, path


# --------------------------------------------------------------------------------------------------


def test_a_warning_fails_the_build_every_time(built: Built, tmp_path: Path) -> None:
    """Sphinx warns about a page once and remembers it as read: the second attempt must fail like
    the first. One page shows it."""
    book = copy_book(tmp_path)
    (book / "_toc.yml").write_text("format: jb-book\nroot: intro\n", encoding="utf-8")
    (book / "intro.md").write_text("# A\n\n{doc}`a page that does not exist`\n", encoding="utf-8")
    for _ in range(2):
        done = doit(book, "html")
        assert done.returncode != 0
        said = done.stdout + done.stderr
        assert "unknown document: 'a page that does not exist'" in said
        assert said.count("WARNING: ") == 1
