"""The report of an inspection: one HTML page that needs nothing else, to look at.

Pictures are data URIs. Words and colour bars are HTML, so that they follow a dark or a light
screen.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import PurePath

import matplotlib as mpl
import numpy as np
from PIL import Image

from defocus_lib.analysis import inspection_report as words
from defocus_lib.analysis.inspection import Inspection
from defocus_lib.analysis.inspection_report import Result
from defocus_lib.figures.style import SIGMA_COLORS

SHOWN = 640  # px: the longest side of a picture in the report
COARSE = 160  # px: pictures of at most this side are enlarged pixel by pixel
QUALITY = 88  # of the photographs, as JPEG
VALUES_COLORS = "RdBu_r"  # Shapley values
UNCERTAINTY_COLORS = "cividis"
QUIETLY = 99.5  # percentile of a plane that its colours end at: single pixels do not set the scale

STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #5b6570; --line: #d8dde3;
  --paper: #ffffff; --card: #f6f8fa; --mark: #8a4b00; --markpaper: #fff3e0; --accent: #1f5fa8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #a3adb8; --line: #3a424c;
  --paper: #14181d; --card: #1c2229; --mark: #ffc680; --markpaper: #3a2a12; --accent: #8ab8f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.5rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; color: var(--soft); font-weight: 600; }
p { margin: .4rem 0; max-width: 46rem; }
figcaption { margin-top: .3rem; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
article { border: 1px solid var(--line); border-radius: 10px; background: var(--card);
  padding: 1.1rem 1.3rem 1.3rem; margin: 1.2rem 0; }
article h2 { margin: 0; overflow-wrap: anywhere; }
.planes { display: grid; gap: 1.1rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr));
  margin: 1rem 0 .4rem; align-items: start; }
figure { margin: 0; }
figure img { width: 100%; height: auto; display: block; border-radius: 4px;
  outline: 1px solid var(--line); }
figure img.coarse { image-rendering: pixelated; }
.bar { height: .7rem; border-radius: 2px; margin-top: .5rem; }
.ticks { display: flex; justify-content: space-between; font-size: .8rem;
  font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-size: .9rem; width: 100%; }
.scroll { overflow-x: auto; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; font-variant-numeric: tabular-nums; }
th { font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 400; color: var(--soft); }
thead th { color: var(--soft); }
.name { overflow-wrap: anywhere; white-space: normal; min-width: 14rem; }
a { color: var(--accent); }
.verdict { font-size: 1.1rem; font-weight: 600; margin: .8rem 0 .2rem; }
.note { border-left: 4px solid var(--mark); background: var(--markpaper); padding: .5rem .9rem;
  margin: .8rem 0; max-width: 52rem; }
.out { color: var(--mark); font-weight: 600; }
"""

HOW_TO_READ = """
The map shows how much each place is blurred: the standard deviation of a Gaussian blur, in px of
the picture as it was read. Dark is sharp. Places far from any edge are filled in from others, so
read the map together with its uncertainty. The centre is the middle half of each side; it is
compared with the border by means that count uncertain pixels less. A difference of blur is no proof
of manipulation: every photograph with depth has one.
"""


def page(result: Result) -> str:
    """The whole report of an inspection as one HTML document."""
    number = len(result.pictures)
    title = "Blur of one picture" if number == 1 else f"Blur of {number:,} pictures"
    body = [f"<h1>{title}</h1>", f'<p class="soft">{escape(HOW_TO_READ.strip())}</p>']
    if result.weights:
        body += ["<h2>What an answer of these weights is worth</h2>", _pairs(result.weights)]
    if number > 1:
        rows = [summary_row(picture) for picture in result.pictures]
        body += ["<h2>Overview</h2>", _overview(rows, len(result.sections))]
    if result.unreadable:
        items = "".join(f"<li>{escape(line)}</li>" for line in result.unreadable)
        body.append(f'<h2>Not read</h2><div class="note"><ul>{items}</ul></div>')
    return _document(title, "\n".join([*body, *result.sections]))


def _document(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def summary_row(picture: Mapping) -> dict[str, str]:
    """One picture in the overview of a report, from its facts."""
    blur, verdict = picture["blur"], picture["verdict"]
    row = {
        "picture": picture["file"],
        "blur (px)": _number(blur["median"], ".2f"),
        "centre - border (px)": _number(blur["contrast"], "+.2f"),
    }
    if blur["uncertainty"] is not None:
        row["its uncertainty (px)"] = _number(blur["contrast_uncertainty"], ".2f")
    if verdict or picture["withheld"]:
        row["probability"] = _number(verdict["probability"] if verdict else None, ".3f")
        row["decision"] = (verdict["decision"] or "none") if verdict else "no verdict"
        row["outside in"] = f"{len(picture['outside'])} of {len(picture['comparison'])}"
    return row


def _number(value: float | None, style: str) -> str:
    return "-" if value is None else f"{value:{style}}"


def _overview(table: Sequence[Mapping[str, str]], shown: int) -> str:
    columns = list(table[0])
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    rows = []
    for number, row in enumerate(table):
        first = escape(row["picture"])
        name = f'<a href="#picture-{number}">{first}</a>' if number < shown else first
        cells = "".join(f"<td>{escape(row[key])}</td>" for key in columns[1:])
        rows.append(f'<tr><th class="name">{name}</th>{cells}</tr>')
    note = ""
    if shown < len(table):
        note = f'<p class="soft">The first {shown} pictures are shown below.</p>'
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{note}"
    )


def _pairs(lines: Mapping[str, str]) -> str:
    rows = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in lines.items())
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def section(inspection: Inspection, number: int) -> str:
    """The part of a report on one picture; ``number`` is its place in the overview."""
    parts = [
        f'<article id="picture-{number}">',
        f"<h2>{escape(PurePath(inspection.name).name)}</h2>",
        f'<p class="soft">{escape(words.size_line(inspection))}</p>',
        _verdict(inspection),
        f'<div class="planes">{"".join(_figures(inspection))}</div>',
        "<h3>Blur</h3>",
        _pairs(words.blur_lines(inspection)),
        _comparison(inspection),
        "</article>",
    ]
    return "\n".join(part for part in parts if part)


def _verdict(inspection: Inspection) -> str:
    if inspection.withheld:
        return f'<div class="note">{escape(inspection.withheld)}</div>'
    if inspection.verdict is None:
        return ""
    line = words.verdict_line(inspection)
    html = f'<p class="verdict">{escape(line[0].upper() + line[1:])}</p>'
    if inspection.outside:
        count = len(inspection.outside)
        what = "one statistic" if count == 1 else f"{count} statistics"
        html += (
            f'<div class="note">This picture lies outside of the training images in {what}, '
            "listed below. What the test AUC says does not hold for it.</div>"
        )
    return html


def _comparison(inspection: Inspection) -> str:
    if not inspection.comparison:
        return ""
    rows = []
    for name, value, spread, where in words.comparison_table(inspection).itertuples(name=None):
        mark = f'<td class="{"out" if where == "outside" else ""}">{where}</td>'
        rows.append(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td><td>{escape(spread)}</td>{mark}</tr>"
        )
    head = "<th></th><th>this picture</th><th>98 % of the training images</th><th></th>"
    return (
        "<h3>Beside the images that the detector was trained on</h3>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _figures(inspection: Inspection) -> list[str]:
    """The photograph and its planes, each with a colour bar and its caption."""
    name = inspection.name
    figures = [
        _figure(_photograph(inspection.pixels, f"The picture {name}"), "", "The picture as read."),
        _px_figure(
            *(inspection.sigma, SIGMA_COLORS, f"Blur map of {name}, dark is sharp"),
            "Blur: standard deviation in px.",
        ),
    ]
    if inspection.uncertainty is not None:
        alt = f"Uncertainty of the blur map of {name}, dark is certain"
        caption = "Uncertainty of the blur: standard deviation of its error in px."
        figures.append(_px_figure(inspection.uncertainty, UNCERTAINTY_COLORS, alt, caption))
    if inspection.verdict is not None and inspection.verdict.shapley is not None:
        figures.append(_shapley(name, inspection.verdict.shapley))
    return figures


def _px_figure(plane: np.ndarray, colors: str, alt: str, caption: str) -> str:
    """A plane in px whose colours begin at 0."""
    top = max(0.5, float(np.percentile(plane, QUIETLY)))
    image = _coloured(plane, colors, 0, top, f"{alt}; 0 to {top:.2g} px")
    return _figure(image, _bar(colors, "0", f"{top / 2:.2g}", f"{top:.2g} px"), caption)


def _shapley(name: str, values: np.ndarray) -> str:
    limit = float(np.percentile(np.abs(values), QUIETLY)) or 1e-12
    alt = f"Shapley values of {name}: red pixels speak for manipulation, blue ones against it"
    return _figure(
        _coloured(values, VALUES_COLORS, -limit, limit, alt),
        _bar(VALUES_COLORS, f"{-limit:.2g}", "0", f"{limit:.2g} logits"),
        f"Shapley values: red speaks for manipulation; their sum is {values.sum():+.2f} logits.",
    )


def _figure(image: str, bar: str, caption: str) -> str:
    return f"<figure>{image}{bar}<figcaption>{escape(caption)}</figcaption></figure>"


def _bar(colors: str, low: str, middle: str, high: str) -> str:
    stops = ", ".join(mpl.colors.to_hex(mpl.colormaps[colors](x)) for x in np.linspace(0, 1, 12))
    return (
        f'<div class="bar" role="img" aria-label="Colour bar from {low} to {high}" '
        f'style="background: linear-gradient(to right, {stops})"></div>'
        f'<div class="ticks"><span>{low}</span><span>{middle}</span><span>{high}</span></div>'
    )


def _photograph(pixels: np.ndarray, alt: str) -> str:
    return _image(_small(Image.fromarray(pixels)), alt, "JPEG", quality=QUALITY)


def _coloured(plane: np.ndarray, colors: str, low: float, high: float, alt: str) -> str:
    """A plane as a PNG with a palette of 256 colours."""
    levels = np.clip((plane - low) / (high - low), 0, 1)
    image = _small(Image.fromarray((255 * levels).round().astype(np.uint8)))
    palette = (255 * mpl.colormaps[colors](np.arange(256))[:, :3]).round().astype(np.uint8)
    image.putpalette(palette.tobytes())
    return _image(image, alt, "PNG", optimize=True)


def _small(image: Image.Image) -> Image.Image:
    """The image with no side above :data:`SHOWN`."""
    factor = SHOWN / max(image.size)
    if factor >= 1:
        return image
    size = tuple(max(1, round(side * factor)) for side in image.size)
    return image.resize(size, Image.Resampling.BILINEAR)  # type: ignore[arg-type]


def _image(image: Image.Image, alt: str, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    uri = f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    coarse = ' class="coarse"' if max(image.size) <= COARSE else ""
    return f'<img src="{uri}" alt="{escape(alt)}"{coarse}>'
