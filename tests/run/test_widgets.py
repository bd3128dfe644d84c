"""Controls that redraw: a changed value must change the picture, through the arguments of the
drawing function."""

import ipywidgets
from matplotlib.figure import Figure

from defocus_lib.run.widgets import explore


def test_each_change_draws_again_with_the_values_of_all_controls():
    calls = []

    def draw(width, name):
        calls.append((width, name))
        return Figure(figsize=(width, 1))

    slider, menu = ipywidgets.IntSlider(2, 1, 5), ipywidgets.Dropdown(options=["a", "b"])
    box = explore(draw, width=slider, name=menu)
    picture = box.children[-1]
    before = bytes(picture.value)
    slider.value = 4
    menu.value = "b"

    assert calls == [(2, "a"), (4, "a"), (4, "b")]
    assert before.startswith(b"\x89PNG") and bytes(picture.value) != before
    assert [control.description for control in box.children[:-1]] == ["width", "name"]
    assert slider.continuous_update is False
