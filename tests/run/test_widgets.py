"""Controls that redraw: a changed value must change the picture, through the arguments of the
drawing function."""

from datetime import UTC, datetime

import ipywidgets
from matplotlib.figure import Figure

from defocus_lib.run.widgets import explore, upload

DAY = datetime(2026, 1, 1, tzinfo=UTC)


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


def test_an_uploaded_file_is_answered_by_a_figure_and_words():
    def answer(content, name):
        shown_meanwhile.append(words.value)
        if not content:
            raise ValueError(f"{name}: the file is <empty>")
        return Figure(figsize=(len(content), 1)), f"{name} & {len(content)} bytes"

    shown_meanwhile: list[str] = []
    field, picture, words = upload(answer).children
    file = {"name": "a.png", "type": "image/png", "size": 3, "last_modified": DAY}
    assert picture.layout.display == "none" and not words.value
    field.value = ({**file, "content": memoryview(b"abc")},)
    assert bytes(picture.value).startswith(b"\x89PNG") and picture.layout.display == ""
    assert words.value.startswith("<pre ") and ">a.png &amp; 3 bytes</pre>" in words.value
    assert shown_meanwhile == ["<p>Reading a.png ...</p>"]
    field.value = ({**file, "content": memoryview(b"")},)
    assert picture.layout.display == "none" and "is &lt;empty&gt;" in words.value
