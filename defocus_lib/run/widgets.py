"""*Try it*: controls that redraw a figure in JupyterLab, and a field that takes a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from html import escape

import ipywidgets
from matplotlib.figure import Figure

PRE = '<pre style="word-break: normal">'  # JupyterLab breaks lines within words


def explore(draw: Callable[..., Figure], **controls: ipywidgets.ValueWidget) -> ipywidgets.VBox:
    """Controls above the figure that ``draw`` makes of their values, redrawn on every change.

    ``draw`` takes the values by the names of the controls. The figure is an image widget, because
    ``ipywidgets.interact`` captures output, which can stall a notebook that runs without a browser.
    """
    picture = ipywidgets.Image(format="png")

    def redraw(_change: object = None) -> None:
        picture.value = _png(draw(**{name: control.value for name, control in controls.items()}))

    for name, control in controls.items():
        control.description = control.description or name
        if control.has_trait("continuous_update"):
            control.continuous_update = False
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([*controls.values(), picture])


def upload(answer: Callable[[bytes, str], tuple[Figure, str]]) -> ipywidgets.VBox:
    """A field that takes a picture file, above the figure and the words that answer it.

    ``answer`` takes the content and the name of the file; what it raises as ValueError is shown.
    Nothing is stored.
    """
    field = ipywidgets.FileUpload(accept="image/*", multiple=False, description="Picture")
    picture, words = ipywidgets.Image(format="png"), ipywidgets.HTML()
    picture.layout.display = "none"

    def show(_change: object) -> None:
        for file in field.value:
            words.value = f"<p>Reading {escape(file['name'])} ...</p>"
            try:
                drawn, text = answer(bytes(file["content"]), file["name"])
            except ValueError as error:
                picture.layout.display, words.value = "none", f"<p>{escape(str(error))}</p>"
            else:
                picture.value, picture.layout.display = _png(drawn), ""
                words.value = f"{PRE}{escape(text)}</pre>"

    field.observe(show, "value")
    return ipywidgets.VBox([field, picture, words])


def _png(drawn: Figure) -> bytes:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png")
    return buffer.getvalue()
