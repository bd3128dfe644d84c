import base64
import io

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from defocus_lib.analysis.inspection import Inspection, Inspector, Verdict, facts
from defocus_lib.analysis.inspection_report import Result
from defocus_lib.analysis.inspection_settings import Settings
from defocus_lib.figures import report

NAME = "a & <b>.jpg"


@pytest.fixture(scope="module")
def inspection():
    rng = np.random.default_rng(0)
    sigma = np.linspace(0, 4, 40 * 50, dtype=np.float32).reshape(40, 50)
    edges = rng.random((40, 50)) < 0.2
    verdict = Verdict(0.8, 1.4, 0.5, "manipulated", rng.normal(size=(40, 50)), 0.01)
    comparison = [
        {"statistic": "width (px)", "value": 50.0, "low": 60.0, "high": 70.0, "outside": True}
    ]
    pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    planes = (pixels, sigma, sigma / 10 + 0.1, edges, edges)
    return Inspection(NAME, "JPEG", (50, 40), *planes, verdict, "", comparison)


def parsed(*inspections, unreadable=(), weights=None):
    inspector = Inspector.of(Settings())
    result = Result(
        weights or {},
        [facts(inspection, inspector) for inspection in inspections],
        [report.section(inspection, number) for number, inspection in enumerate(inspections)],
        list(unreadable),
    )
    html = report.page(result)
    return html, BeautifulSoup(html, "html.parser")


def test_the_report_needs_nothing_else(inspection):
    html, page = parsed(inspection, inspection, unreadable=["b.png: empty"], weights={"x": "y"})
    assert not page.find_all(["script", "link", "iframe"])
    assert all(image["src"].startswith("data:image/") for image in page.find_all("img"))
    assert "http" not in html
    links = [link["href"] for link in page.find_all("a")]
    assert links == ["#picture-0", "#picture-1"] and page.select("#picture-1")


def test_pictures_have_their_text_and_maps_their_bar(inspection):
    _, page = parsed(inspection)
    images = page.find_all("img")
    assert len(images) == 4 and all(NAME in image["alt"] for image in images)
    bars = page.find_all(attrs={"role": "img"})
    assert len(bars) == 3 and bars[0]["aria-label"] == "Colour bar from 0 to 4 px"
    assert "4 px" in page.select(".ticks")[0].get_text()
    assert page.html["lang"] == "en" and page.title.get_text() == "Blur of one picture"


def test_the_colours_of_a_map_are_those_of_its_bar(inspection):
    _, page = parsed(inspection)
    encoded = page.find_all("img")[1]["src"].partition("base64,")[2]
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert image.size == (50, 40)
    bar = page.find_all(attrs={"role": "img"})[0]["style"]
    pixels = np.asarray(image.convert("RGB"))
    corners = [f"#{bytes(pixels[at]).hex()}" for at in ((0, 0), (39, 49))]
    assert bar.index(corners[0]) < bar.index(corners[1])


def test_words_of_the_report(inspection):
    _, page = parsed(inspection, unreadable=["b.png: empty"], weights={"trained on": "c"})
    text = page.get_text(" ")
    assert "Probability of manipulation 0.800; decision: manipulated (threshold 0.500)" in text
    assert "outside of the training images in one statistic" in text
    assert "60 to 70" in text and page.select("td.out")
    assert "b.png: empty" in text and "trained on" in text


def test_a_light_and_a_dark_screen_have_their_colours(inspection):
    html, _ = parsed(inspection)
    light, dark = html.split("@media (prefers-color-scheme: dark)")
    assert "--ink: #1d2126" in light and "--ink: #e6e9ed" in dark
    assert "color-scheme: light dark" in light


def test_a_large_picture_is_reduced():
    wide = np.zeros((100, 2 * report.SHOWN), np.float32)
    image = report._coloured(wide, "magma", 0, 1, "")
    content = base64.b64decode(image.split('"')[1].partition("base64,")[2])
    assert Image.open(io.BytesIO(content)).size == (report.SHOWN, 50)
