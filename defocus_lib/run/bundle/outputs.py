"""Content that others made: what of it a page may show.

A bundle may come from anybody. Of its notebooks only the outputs are used, and of these only what
our own notebooks make: PNG pictures, text without markup, and tables of pandas. Code is compared
and shown, prose is that of this checkout.
"""

from __future__ import annotations

import ast
import base64
import binascii
import html
import io
import re
from collections.abc import Mapping
from html.parser import HTMLParser

from nbformat import NotebookNode
from PIL import Image

from defocus_lib.run.bundle.description import INJECTED
from defocus_lib.run.bundle.source import Refused

MAX_PIXELS = 50_000_000  # of a picture on a page
TAGS = {"div", "style", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "p", "br"}
ATTRIBUTES = {
    *("id", "class", "scope", "border", "colspan", "rowspan", "type", "style", "scoped"),
    *("align", "halign", "valign"),
}
_SELECTOR = r"\s*(?:#T_|\.dataframe\b)[\w\s#.:>()-]*"
_DECLARATIONS = r"[^{}<>@\\]*"
SHEET = re.compile(rf"(?:{_SELECTOR}(?:,{_SELECTOR})*\{{{_DECLARATIONS}\}})*\s*")
STYLE = re.compile(_DECLARATIONS)
FETCHES = re.compile(r"url\s*\(|expression\s*\(|image\s*\(|image-set|/\*", re.IGNORECASE)
MARKUP = re.compile(r"[{}<>\[\]$\\~]|```|:::|https?:|^[%+(]", re.MULTILINE)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
GLUED = "application/papermill.record/"


def check_prose(text: str) -> None:
    """Raise :class:`Refused` if ``text`` is more than plain text with emphasis, once rendered."""
    if markup := MARKUP.search(text) or CONTROL.search(text):
        raise Refused(f"text with markup ({markup[0]!r}); plain text wanted")


class _Table(HTMLParser):
    """Writes a table anew, element by element, so that a browser reads what was checked here.

    Raises :class:`Refused` on what a table of pandas does not have.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            raise Refused(f"HTML with <{tag}>; only tables are shown")
        for name, value in attrs:
            if name not in ATTRIBUTES:
                raise Refused(f"HTML with the attribute {name!r}; only tables are shown")
            if name == "style":
                _check_style(value or "", STYLE)
        written = "".join(f' {name}="{html.escape(value or "")}"' for name, value in attrs)
        self.parts.append(f"<{tag}{written}>")

    def handle_endtag(self, tag: str) -> None:
        if tag not in TAGS:
            raise Refused(f"HTML with </{tag}>; only tables are shown")
        self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            _check_style(data, SHEET)
        self.parts.append(data if self.cdata_elem else html.escape(data, quote=False))

    def handle_comment(self, data: str) -> None:
        raise Refused("HTML with a comment; only tables are shown")

    def handle_decl(self, decl: str) -> None:
        raise Refused("HTML with a declaration; only tables are shown")

    def handle_pi(self, data: str) -> None:
        self.handle_decl(data)

    def unknown_decl(self, data: str) -> None:
        self.handle_decl(data)


def _check_style(style: str, form: re.Pattern[str]) -> None:
    if not form.fullmatch(style) or FETCHES.search(style):
        raise Refused("HTML with a style that no table of pandas has")


def clean_table(text: str) -> str:
    """The HTML of tables as pandas writes them, and nothing else.

    Raises :class:`Refused` if ``text`` holds another element, attribute or style.
    """
    parser = _Table()
    parser.feed(text)
    parser.close()
    return "".join(parser.parts)


def check_picture(encoded: str) -> None:
    """Raise :class:`Refused` if ``encoded`` is no whole PNG of a bounded size, in base 64."""
    try:
        content = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"a picture that is not base 64 ({error})") from None
    check_png(content)


def check_png(content: bytes) -> None:
    """Raise :class:`Refused` if ``content`` is no whole PNG of at most MAX_PIXELS."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise Refused(f"a picture of {width} x {height} px; {MAX_PIXELS:,} px are allowed")
            picture.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"a picture that is no whole PNG ({error})") from None


def _clean(mime: str, content: object) -> str:
    """What a page may show of one output; raises :class:`Refused`."""
    match mime.removeprefix(GLUED), content:
        case "text/plain", str():  # shown as it is
            return content
        case "text/markdown", str():
            check_prose(content)
            return content
        case "text/html", str():
            return clean_table(content)
        case "image/png", str():
            check_picture(content)
            return content
    raise Refused(f"an output of type {mime!r}; text, tables and PNG pictures are shown")


def clean_output(output: NotebookNode) -> NotebookNode:
    """The output with nothing but what a page may show of it.

    Raises :class:`Refused` if it is an error, or of a kind that our notebooks do not make.
    """
    kind = output.get("output_type")
    if kind == "stream" and isinstance(output.get("text"), str):
        return NotebookNode(output_type="stream", name="stdout", text=output["text"])
    if kind not in ("display_data", "execute_result"):
        raise Refused(f"an output of type {kind!r}; text, tables and PNG pictures are shown")
    data = {str(mime): _clean(str(mime), content) for mime, content in output["data"].items()}
    count = {"execution_count": output.get("execution_count")} if kind == "execute_result" else {}
    metadata = NotebookNode(_glue_name(output.get("metadata", {})))
    return NotebookNode(output_type=kind, data=NotebookNode(data), metadata=metadata, **count)


def _glue_name(metadata: Mapping) -> dict:
    """The name under which a value is glued into the prose, and nothing else."""
    glued = metadata.get("scrapbook")
    if not glued:
        return {}
    name, prefix = glued.get("name"), glued.get("mime_prefix", "")
    if not re.fullmatch(r"\w+", str(name)) or prefix not in ("", GLUED):
        raise Refused(f"a glued value named {name!r}; letters, digits and _ wanted")
    return {"scrapbook": NotebookNode(name=name, mime_prefix=prefix)}


def check_injected(source: str, declared: Mapping[str, object]) -> None:
    """Raise :class:`Refused` if a cell does more than to set ``declared`` parameters to values."""
    try:
        for line in ast.parse(source).body:
            match line:
                case ast.Assign([ast.Name(name)], value) if name in declared:
                    ast.literal_eval(value)
                case _:
                    raise Refused(f"a parameters cell with {ast.unparse(line)!r}")
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise Refused(f"a parameters cell that is no Python ({error})") from None
    except ValueError as error:
        raise (
            error
            if isinstance(error, Refused)
            else Refused(f"a parameters cell with more than plain values ({error})")
        ) from None


def adopt_outputs(
    own: NotebookNode, theirs: NotebookNode, declared: Mapping[str, object]
) -> NotebookNode:
    """``own``, the notebook of this checkout, with the checked outputs of ``theirs``.

    Raises :class:`Refused` if their code is not ours, or an output is not to be shown.
    """
    cells = list(own.cells)
    injected = [n for n, cell in enumerate(theirs.cells) if INJECTED in _tags(cell)]
    for place in injected[:1]:
        check_injected(theirs.cells[place].source, declared)
        cell = NotebookNode(
            cell_type="code",
            id="",
            source=theirs.cells[place].source,
            metadata=NotebookNode(tags=[INJECTED]),
            outputs=[],
            execution_count=None,
        )
        cells.insert(place, cell)
    _check_same_code(cells, theirs.cells)
    for cell, other in zip(cells, theirs.cells, strict=True):
        if cell.cell_type != "code":
            continue
        try:
            cell.outputs = [clean_output(output) for output in other.outputs]
        except Refused as error:
            raise Refused(f"cell In [{other.execution_count}] has {error}") from None
        cell.execution_count = other.execution_count if cell.source else None
    return NotebookNode({**own, "cells": cells})


def _check_same_code(cells: list[NotebookNode], theirs: list[NotebookNode]) -> None:
    kinds = [(cell.cell_type, cell.cell_type == "code" and cell.source) for cell in cells]
    others = [(cell.cell_type, cell.cell_type == "code" and cell.source) for cell in theirs]
    if kinds != others:
        pairs = enumerate(zip(kinds, others, strict=False))
        first = next(
            (n for n, (kind, other) in pairs if kind != other), min(map(len, (kinds, others)))
        )
        raise Refused(f"it was run from other code than this checkout has (cell {first + 1})")


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])
