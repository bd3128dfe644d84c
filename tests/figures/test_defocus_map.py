import numpy as np
import pandas as pd
import pytest

from defocus_lib.figures import defocus_map


@pytest.mark.parametrize("count", [2, 4, 7])
def test_every_preset_has_a_line_of_its_own(count):
    names = [f"preset {number}" for number in range(count)]
    table = pd.DataFrame(np.ones((3, count)), index=[1.0, 2.0, 3.0], columns=names)
    panels = defocus_map.step_edge_readings({"noise 0": table, "noise 0.02": table}).axes
    assert [ax.get_title() for ax in panels] == ["noise 0", "noise 0.02"]
    for ax in panels:
        looks = {(line.get_color(), line.get_marker()) for line in ax.get_lines()[1:]}
        assert len(looks) == count and ax.get_xlabel() == "true sigma (px)"
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == names


def test_focal_planes_share_the_scale_of_the_true_blur():
    image, sigma = np.zeros((32, 40, 3), np.uint8), np.full((32, 40), 2.5)
    scenes = {"1 m": (image, sigma), "2 m": (image, sigma / 2)}
    fig = defocus_map.focal_planes(scenes, {title: sigma for title in scenes})
    maps = [ax.get_images()[0] for ax in fig.axes[2:6]]
    assert {drawn.get_clim() for drawn in maps} == {(0.0, 3.0)}
    assert fig.axes[-1].get_xlabel() == "sigma (px)"


@pytest.mark.parametrize("known", [False, True])
def test_stages_show_the_truth_where_it_is_known(known):
    edges = np.eye(32, dtype=bool)
    dense = np.full((32, 32), 1.5)
    stages = {"edges": edges, "valid": edges, "sparse": dense * edges, "dense": dense}
    fig = defocus_map.map_stages(
        np.zeros((32, 32, 3), np.uint8), stages, dense + 1 if known else None
    )
    titles = [ax.get_title() for ax in fig.axes]
    assert ("true blur" in titles) == known and "dense" in titles
