"""Every figure draws, is labelled, leaves pyplot alone, and survives maps that show nothing."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from defocus_lib import alignment, figures, mask, published, variance
from defocus_lib.embedding import separation_table

NAMES = ["splice", "texture"]
plt.switch_backend("agg")


def scene(seed, constant=False):
    """Images, fake and real maps, attributions and regions of two pairs; all constant if asked."""
    rng = np.random.default_rng(seed)
    fake, real = (np.zeros((2, 2, 12, 12)) if constant else rng.random((2, 2, 12, 12))).astype(np.float32)
    shaps = np.zeros_like(fake) if constant else rng.normal(size=fake.shape).astype(np.float32) * 1e-4
    regions = np.zeros(fake.shape, dtype=bool)
    if not constant:
        regions[:, 3:8, 4:9] = True
    return np.full((2, 12, 12, 3), 128, dtype=np.uint8), fake, real, shaps, regions


def triptychs(data):
    images, fake, real, _, regions = data
    return figures.mask_triptychs(images, fake, real, mask.active_mask(fake, real), regions, NAMES)


def sweep(data):
    _, fake, real, _, _ = data
    ours = mask.threshold_sweep({name: (fake, real) for name in NAMES})
    return figures.mask_sweep(ours, published.threshold_sweep(), published.COUNTERPART, published.SOURCE)


def localisation(data):
    _, fake, real, _, regions = data
    table = mask.localisation(mask.active_mask(fake, real), regions)
    return figures.localisation_bars(mask.localisation_table(dict.fromkeys(NAMES, table)))


def heatmaps(data):
    images, fake, real, _, regions = data
    return figures.variance_pairs(images, variance.local_variance(real), variance.local_variance(fake), regions, NAMES)


def distributions(data):
    _, fake, real, _, _ = data
    means = dict.fromkeys(NAMES, (variance.mean_variance(real), variance.mean_variance(fake)))
    return figures.variance_distributions(variance.long_table(means), variance.comparison_table(means))


def pictures(data):
    points = np.concatenate([data[1][:, 0, :2], data[2][:, 0, :2]])
    fake = np.array([True, True, False, False])
    shown = {f"perplexity {p}": points for p in (5, 10, 20)}
    return figures.embeddings(shown, fake, separation_table(shown, fake, ["a", "b", "a", "b"]), "splice")


def shapley(data):
    images, _, _, shaps, regions = data
    return figures.shapley_views(images, shaps, shaps, regions, NAMES)


def histograms(data):
    _, fake, real, shaps, _ = data
    return alignment.pair_histograms(fake, real, {"defocus": shaps, "rgb": shaps})


def bars(data):
    by_name = histograms(data)
    scores = alignment.alignment_table(by_name).query("pair == 0").set_index("model")
    weights = {name: histogram.weights[0] for name, histogram in by_name.items()}
    return figures.alignment_bars(by_name["difference"].edges, weights, scores, "test-00000/splice")


def scores(data):
    table = alignment.alignment_table(histograms(data))
    return figures.alignment_scores(pd.concat(table.assign(manipulation=name) for name in NAMES))


DRAW = [triptychs, sweep, localisation, heatmaps, distributions, pictures, shapley, bars, scores]
PLOTS = [sweep, localisation, pictures, bars, scores]  # with scales on their axes, not images


@pytest.mark.parametrize("constant", [False, True], ids=["random", "constant"])
@pytest.mark.parametrize("draw", DRAW)
def test_draws_and_leaves_nothing_in_pyplot(draw, constant):
    before = plt.rcParams.copy()
    fig = draw(scene(0, constant))
    fig.canvas.draw()
    assert not plt.get_fignums() and plt.rcParams == before


@pytest.mark.parametrize("draw", PLOTS)
def test_axes_are_labelled(draw):
    for ax in draw(scene(1)).axes:
        if ax.get_visible():
            shared = ax.get_shared_y_axes().get_siblings(ax)
            assert ax.get_xlabel() and any(sibling.get_ylabel() for sibling in shared), ax.get_title()


def test_images_are_named_and_maps_have_a_scale():
    for draw, label in (
        (triptychs, "normalised defocus map"),
        (heatmaps, "local variance"),
        (shapley, "logits per pixel"),
    ):
        fig = draw(scene(1))
        texts = " ".join(ax.get_ylabel() + ax.get_xlabel() for ax in fig.axes)
        assert label in texts and all(name in texts for name in NAMES)


def test_distributions_are_labelled():
    fig = distributions(scene(1))
    assert "variance" in fig.get_supxlabel() and fig.axes[0].get_ylabel() == "images"


def test_triptych_shows_the_count_of_its_mask():
    data = scene(2)
    count = int(mask.active_mask(data[1], data[2])[0].sum())
    assert any(ax.get_xlabel().startswith(f"{count:,} px") for ax in triptychs(data).axes)


def test_published_curves_are_dashed_and_marked():
    fig = sweep(scene(1))
    dashed = [line for line in fig.axes[0].lines if line.get_linestyle() == "--"]
    assert len(dashed) == len(NAMES)
    np.testing.assert_allclose(dashed[0].get_ydata(), published.threshold_sweep()["FaceSwap"])
    assert any(legend.get_title().get_text().startswith("other data") for legend in fig.legends)
    assert fig.axes[0].get_xscale() == "log"


def test_heatmaps_of_a_pair_share_one_scale():
    shown = [ax.images[0] for ax in heatmaps(scene(1)).axes if ax.images and ax.images[0].get_cmap().name == "hot"]
    assert len(shown) == 4 and shown[0].get_clim() == shown[1].get_clim()


@pytest.mark.parametrize("constant", [False, True])
def test_shapley_limits_are_symmetric(constant):
    maps = [
        image for ax in shapley(scene(1, constant)).axes for image in ax.images if image.get_cmap().name == "seismic"
    ]
    assert len(maps) == 4 and all(-image.get_clim()[0] == image.get_clim()[1] > 0 for image in maps)


def test_the_marked_gap_is_the_ks_distance():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 30))
    _, low, high = figures._largest_gap(real, fake)
    assert abs(high - low) == pytest.approx(variance.compare(real, fake)["KS D"])


def test_every_picture_carries_its_score():
    fig = pictures(scene(1))
    assert all("silhouette" in ax.get_title() and "kNN" in ax.get_title() for ax in fig.axes if ax.get_visible())
