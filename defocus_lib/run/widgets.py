"""*Try it*: controls that redraw a figure in JupyterLab."""

from __future__ import annotations

import io
from collections.abc import Callable

import ipywidgets
from matplotlib.figure import Figure


def explore(draw: Callable[..., Figure], **controls: ipywidgets.ValueWidget) -> ipywidgets.VBox:
    """Controls above the figure that ``draw`` makes of their values, redrawn on every change.

    ``draw`` takes the values by the names of the controls. The figure is an image widget, because
    ``ipywidgets.interact`` captures output, which can stall a notebook that runs without a browser.
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
