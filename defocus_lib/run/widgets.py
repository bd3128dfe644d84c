"""*Try it*: controls that redraw a figure in JupyterLab."""

from __future__ import annotations

import io
from collections.abc import Callable

import ipywidgets
from matplotlib.figure import Figure


def explore(draw: Callable[..., Figure], **controls: ipywidgets.ValueWidget) -> ipywidgets.VBox:
    """Controls above the figure that ``draw`` makes of their values, drawn again whenever one of
    them changes.

    The figure is an image widget. ``ipywidgets.interact`` would capture output instead, and the
    messages this takes can stall a notebook that runs without a browser.

    Parameters
    ----------
    draw : callable
        Takes the values by the controls' names and returns a figure.
    **controls : ValueWidget
        Sliders and menus; one without a description is called by its name.
    """
    picture = ipywidgets.Image(format="png")

    def redraw(_change: object = None) -> None:
        buffer = io.BytesIO()
        draw(**{name: control.value for name, control in controls.items()}).savefig(
            buffer, format="png"
        )
        picture.value = buffer.getvalue()

    for name, control in controls.items():
        control.description = control.description or name
        if control.has_trait("continuous_update"):
            control.continuous_update = False
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([*controls.values(), picture])
