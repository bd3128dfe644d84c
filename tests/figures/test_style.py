"""Every figure draws, is labelled, leaves pyplot alone, and survives maps that show nothing."""

import itertools
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.contour import ContourSet
from matplotlib.text import Text
from sklearn.metrics import roc_auc_score

from defocus_lib.analysis import alignment, mask, paper_values, variance
from defocus_lib.analysis.embedding import separation_table
from defocus_lib.figures.alignment import alignment_bars, alignment_scores
from defocus_lib.figures.data import image_gallery, scene_gallery
from defocus_lib.figures.defocus_map import map_stages
from defocus_lib.figures.detection import (
    auc_intervals,
    preview,
    reliability,
    roc_curves,
    training_curves,
)
from defocus_lib.figures.embedding import embeddings, knn_against_untrained
from defocus_lib.figures.mask import localisation_bars, mask_sweep, mask_triptychs
from defocus_lib.figures.shapley import evidence_chain, shapley_views
from defocus_lib.figures.style import manipulation_colors, row_label
from defocus_lib.figures.variance import (
    _largest_gap,
    effect_intervals,
    false_alarm_rates,
    variance_distributions,
    variance_pairs,
)
from defocus_lib.stats import classification
from defocus_lib.stats.effects import EFFECTS

NAMES = ["splice", "texture"]
FACEFORENSICS = ["Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures", "another"]
plt.switch_backend("agg")


def scene(seed, constant=False, pairs=2, size=12):
    """Images, fake and real maps, attributions and regions of some pairs; all constant if asked."""
    rng = np.random.default_rng(seed)
    shape = (2, pairs, size, size)
    fake, real = (np.zeros(shape) if constant else rng.random(shape)).astype(np.float32)
    shaps = (
        np.zeros_like(fake) if constant else rng.normal(size=fake.shape).astype(np.float32) * 1e-4
    )
    regions = np.zeros(fake.shape, dtype=bool)
    if not constant:
        regions[:, size // 4 : 2 * size // 3, size // 3 : 3 * size // 4] = True
    return np.full((pairs, size, size, 3), 128, dtype=np.uint8), fake, real, shaps, regions


def triptychs(data):
    images, fake, real, _, regions = data
    return mask_triptychs(
        images, fake, real, mask.active_mask(fake, real), regions, names_for(data)
    )


def names_for(data):
    return NAMES if len(data[0]) == 2 else FACEFORENSICS[: len(data[0])]


def sweep(data):
    _, fake, real, _, _ = data
    nowhere = np.zeros(np.shape(fake), bool)
    tables = dict.fromkeys(names_for(data), mask.pair_table([(fake, real, nowhere)]))
    groups = dict.fromkeys(names_for(data), np.arange(len(fake)))
    ours, *_ = mask.threshold_sweep(tables, groups, n_bootstrap=9)
    counterpart = paper_values.counterpart(names_for(data))
    return mask_sweep(ours, paper_values.threshold_sweep(), counterpart, paper_values.SOURCE)


def localisation(data):
    _, fake, real, _, regions = data
    table = mask.localisation(mask.active_mask(fake, real), regions)
    return localisation_bars(mask.localisation_table(dict.fromkeys(names_for(data), table)))


def heatmaps(data):
    images, fake, real, _, regions = data
    heat = [variance.local_variance(maps) for maps in (real, fake)]
    return variance_pairs(images, *heat, regions, names_for(data))


def distributions(data):
    _, fake, real, _, _ = data
    means = dict.fromkeys(
        names_for(data), (variance.mean_variance(real), variance.mean_variance(fake))
    )
    groups = dict.fromkeys(means, 2 * (np.arange(len(real)),))
    tests = variance.comparison_table(means, groups)
    return variance_distributions(variance.long_table(means, groups), tests)


def gallery(data):
    names = names_for(data)
    rows = [[data[0][0], *data[0]], [data[0][0], *data[0][1:], None]]
    return image_gallery(rows, ["800", "000000000139"], ["real", *names])


def scenes(data):
    images, _, real, _, regions = data
    return scene_gallery(images[None], regions[None], real[:1], ["test-00000"], names_for(data))


def previews(data):
    images, fake, _, _, _ = data
    half = np.linspace(0, 1, len(images))
    return preview(images, fake, half > 0.5, half)


def chain(data):
    images, fake, _, shaps, regions = data
    return evidence_chain(
        images, fake, shaps, regions, [f"800_840/0000/{name}" for name in names_for(data)]
    )


def predictions(names, n=30):
    """Of some videos, for two detectors."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [
            (f"{i}/{name}", str(i), str(i), name, int(name != "real"))
            for name in ("real", *names)
            for i in range(n)
        ],
        columns=["id", "video", "group", "manipulation", "label"],
    )
    scores = {
        "defocus": 0.3 * table["label"] + 0.7 * rng.random(len(table)),
        "fusion": rng.random(len(table)),
    }
    return {name: table.assign(probability=values) for name, values in scores.items()}


def measured(names):
    parts = [
        classification.evaluate(p, 0.5, n_bootstrap=9).assign(detector=d)
        for d, p in predictions(names).items()
    ]
    return pd.concat(parts)


def roc(data):
    return roc_curves(predictions(names_for(data)))


def calibration(data):
    return reliability(predictions(names_for(data)))


def intervals(data):
    return auc_intervals(measured(names_for(data)))


def stages(data, sigma=None):
    image, dense = data[0][0], data[1][0]
    edges = dense > 0.5
    valid = edges & (dense > 0.6)
    return map_stages(
        image, {"edges": edges, "valid": valid, "sparse": dense * valid, "dense": dense}, sigma
    )


def pictures(data):
    points = np.concatenate([data[1][:2, 0, :2], data[2][:2, 0, :2], data[2][:1, 1, :2]])
    fake = np.arange(len(points)) < len(points) // 2
    shown = {f"perplexity {p}": points for p in (5, 10, 20)}
    return embeddings(shown, fake, separation_table(shown, fake, np.arange(len(points))), "splice")


def shapley(data):
    images, _, _, shaps, regions = data
    return shapley_views(images, shaps, shaps, regions, names_for(data))


def histograms(data):
    _, fake, real, shaps, _ = data
    return alignment.pair_histograms(fake, real, {"defocus": shaps, "rgb": shaps})


def bars(data):
    by_name = histograms(data)
    scores = (
        alignment.alignment_table(by_name, np.arange(len(data[1])))
        .query("pair == 0")
        .set_index("model")
    )
    weights = {name: histogram.weights[0] for name, histogram in by_name.items()}
    return alignment_bars(by_name["difference"].edges, weights, scores, "test-00000/splice")


def scores(data):
    table = alignment.alignment_table(histograms(data), np.arange(len(data[1])))
    return alignment_scores(pd.concat(table.assign(manipulation=name) for name in names_for(data)))


ROWS = [triptychs, heatmaps, shapley, chain, scenes, gallery, previews, stages]  # of images
PANELS = [sweep, localisation, distributions, pictures, scores, roc, calibration, intervals]
DRAW = [*ROWS, *PANELS, bars]
PLOTS = [
    sweep,
    localisation,
    pictures,
    bars,
    scores,
    roc,
    intervals,
]  # with scales on their axes, not images


def render(fig):
    """Draw for good: a figure that pyplot has closed has a canvas that draws nothing."""
    FigureCanvasAgg(fig).draw()


@pytest.mark.parametrize("draw", DRAW)
def test_draws_maps_that_show_nothing_and_leaves_nothing_in_pyplot(draw):
    before = plt.rcParams.copy()
    render(draw(scene(0, constant=True)))
    assert not plt.get_fignums() and plt.rcParams == before


def not_shown(fig):
    """Texts of axes that are switched off, and labels of ticks beyond the ends of their axis."""
    for ax in fig.axes:
        if not ax.axison or not ax.get_visible():
            yield from ax.findobj(Text)
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = axis.get_major_ticks() + axis.get_minor_ticks()
            for tick in ticks:
                if not low <= tick.get_loc() <= high:
                    yield from (tick.label1, tick.label2)


def overlapping(fig):
    """Pairs of texts that are drawn over each other, and texts that reach out of the figure."""
    render(fig)
    hidden = set(map(id, not_shown(fig)))
    texts = [text for text in fig.findobj(Text) if text.get_visible() and text.get_text().strip()]
    shown = [
        (text.get_text(), text.get_window_extent()) for text in texts if id(text) not in hidden
    ]
    pairs = [
        (a, b)
        for (a, box), (b, other) in itertools.combinations(shown, 2)
        if box.padded(-2).overlaps(other)
    ]
    width, height = fig.bbox.size
    out = [
        text
        for text, box in shown
        if min(box.x0, box.y0) < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]
    return pairs + out


@pytest.mark.parametrize(
    ("draw", "pairs"), [*((draw, 1) for draw in ROWS), *((draw, 6) for draw in [*ROWS, *PANELS])]
)
def test_any_number_of_manipulations_fits_without_regions(draw, pairs):
    """Regions are all unknown; any warning is an error, and no text may cover another one."""
    images, fake, real, shaps, regions = scene(3, pairs=pairs, size=32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = draw((images, fake, real, shaps, np.zeros_like(regions)))
        assert overlapping(fig) == []
    assert not any(isinstance(part, ContourSet) for ax in fig.axes for part in ax.get_children())


@pytest.mark.parametrize("size", [32, 299])
@pytest.mark.parametrize("draw", [heatmaps, stages])
def test_images_of_any_size_fit(draw, size):
    assert overlapping(draw(scene(4, pairs=1, size=size))) == []


@pytest.mark.parametrize("draw", PLOTS)
def test_axes_are_labelled(draw):
    for ax in draw(scene(1)).axes:
        if ax.get_visible():
            shared = ax.get_shared_y_axes().get_siblings(ax)
            assert ax.get_xlabel() and any(sibling.get_ylabel() for sibling in shared), (
                ax.get_title()
            )


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
    assert (
        "variance of the image" in fig.get_supxlabel() and fig.axes[0].get_ylabel() == "images (%)"
    )


def test_distributions_of_unequal_numbers_are_shares_of_their_own_kind():
    rng = np.random.default_rng(0)
    means = {"fake": (rng.normal(size=400), rng.normal(size=25))}
    groups = {"fake": (np.arange(400), np.arange(400, 425))}
    tests = variance.comparison_table(means, groups, paired=False)
    fig = variance_distributions(variance.long_table(means, groups), tests, unit="video")
    heights = [step.get_paths()[0].vertices[:, 1].max() for step in fig.axes[0].collections]
    assert all(10 < height < 100 for height in heights)  # percent of 400 and of 25, not counts
    assert fig.axes[0].get_ylabel() == "videos (%)" and "of the video" in fig.get_supxlabel()
    assert f"{tests.loc['fake', 'KS D']:.2f}" in fig.axes[1].get_title()


def test_triptych_shows_the_count_of_its_mask():
    data = scene(2)
    count = int(mask.active_mask(data[1], data[2])[0].sum())
    assert any(ax.get_xlabel().startswith(f"{count:,} px") for ax in triptychs(data).axes)


def test_published_curves_are_dashed_and_marked():
    fig = sweep(scene(1))
    dashed = [line for line in fig.axes[0].lines if line.get_linestyle() == "--"]
    assert len(dashed) == len(NAMES)
    np.testing.assert_allclose(dashed[0].get_ydata(), paper_values.threshold_sweep()["FaceSwap"])
    assert any(
        legend.get_title().get_text().startswith("FaceForensics++") for legend in fig.legends
    )
    assert fig.axes[0].get_xscale() == "log"


def test_the_bands_of_the_sweep_are_the_intervals():
    ours = paper_values.threshold_sweep()[["FaceSwap"]]
    fig = mask_sweep(ours, pd.DataFrame(), {}, "", (ours - 5, ours + 7))
    band = fig.axes[0].collections[0].get_paths()[0].vertices
    assert (
        band[:, 1].min() == ours["FaceSwap"].min() - 5
        and band[:, 1].max() == ours["FaceSwap"].max() + 7
    )


@pytest.mark.parametrize("names", [["splice"], FACEFORENSICS])
def test_effects_have_their_intervals(names):
    rows = [
        (name, effect, 0.1, 0.05, np.nan if effect == "KS D" else 0.4)
        for name in names
        for effect in EFFECTS
    ]
    table = pd.DataFrame(rows, columns=["manipulation", "effect", "value", "low", "high"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = effect_intervals(table, "squared units of the map")
        assert overlapping(fig) == []
    assert [ax.get_xlabel().split("\n")[0] for ax in fig.axes] == list(EFFECTS)
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == names
    bars = [part.get_segments()[0] for part in fig.axes[1].collections]
    assert len(bars) == len(names) and all(bar[:, 0].tolist() == [0.05, 0.4] for bar in bars)


def test_false_alarms_are_drawn_over_the_correlation():
    tables = {title: variance.false_alarms((0.0, 0.5), simulations=3) for title in ("one", "other")}
    fig = false_alarm_rates(tables)
    assert overlapping(fig) == [] and [ax.get_title() for ax in fig.axes] == ["one", "other"]
    lines = {line.get_label(): line for line in fig.axes[1].lines}
    np.testing.assert_array_equal(
        lines["paired, by group"].get_ydata(), tables["other"]["paired p"]
    )
    assert lines["nominal, 5%"].get_ydata()[0] == 0.05


def test_the_legend_of_the_published_curves_names_their_source():
    ours = 100 * paper_values.threshold_sweep()[["FaceSwap", "Deepfakes"]] / paper_values.PIXELS
    fig = mask_sweep(ours, ours / 2, paper_values.counterpart(ours.columns), paper_values.SOURCE)
    titles = [legend.get_title().get_text().replace("\n", " ") for legend in fig.legends]
    assert titles == ["this run", paper_values.SOURCE]
    assert [[text.get_text() for text in legend.texts] for legend in fig.legends] == [
        ["FaceSwap", "Deepfakes"]
    ] * 2
    solid, dashed = (
        [line for line in fig.axes[0].lines if line.get_linestyle() == style]
        for style in ("-", "--")
    )
    assert [line.get_color() for line in solid] == [line.get_color() for line in dashed]
    np.testing.assert_allclose(dashed[1].get_ydata(), ours["Deepfakes"] / 2)


def test_without_a_counterpart_there_is_one_legend():
    pairs = [(*np.random.default_rng(0).random((2, 1, 8, 8)), np.zeros((1, 8, 8), bool))]
    ours, *_ = mask.threshold_sweep({"fake": mask.pair_table(pairs)}, {"fake": ["a"]})
    fig = mask_sweep(ours, paper_values.threshold_sweep(), {}, paper_values.SOURCE)
    assert len(fig.legends) == len(fig.axes[0].lines) == 1
    assert len(mask_sweep(ours, pd.DataFrame(), {}, "").legends) == 1


def test_manipulations_have_colours_of_their_own():
    colors = manipulation_colors(["x", "Deepfakes", "y", "NeuralTextures", "x"])
    assert (
        list(colors) == ["x", "Deepfakes", "y", "NeuralTextures"] and len(set(colors.values())) == 4
    )
    assert colors["Deepfakes"] == manipulation_colors(["Deepfakes"])["Deepfakes"]
    assert len(manipulation_colors([str(i) for i in range(14)])) == 14


def test_a_gallery_shows_what_is_there_where_it_belongs():
    images = np.random.default_rng(0).integers(0, 255, (2, 2, 8, 8, 3), dtype=np.uint8)
    fig = image_gallery(
        [[images[0, 0], None], list(images[1])], ["800", "801"], ["real", "Deepfakes"]
    )
    places = np.array(fig.axes).reshape(2, 2)
    assert [[len(ax.images) for ax in row] for row in places] == [[1, 0], [1, 1]]
    np.testing.assert_array_equal(places[1, 1].images[0].get_array(), images[1, 1])
    assert [ax.get_title() for ax in places[0]] == ["real", "Deepfakes"]
    assert [ax.get_ylabel() for ax in places[:, 0]] == ["800", "801"]
    image_gallery(images, ["800", "801"], ["real", "Deepfakes"])  # one array will do


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("test-00000/reenactment", "test-00000/reenactment"),
        ("800_840/0000/Deepfakes", "800_840/0000/\nDeepfakes"),
        ("abcdefghijklmnopqrstuvwxyz0123/fake", "…fghijklmnopqrstuvwxyz0123/\nfake"),
        ("abcdefghijklmnopqrstuvwxyz0123", "…fghijklmnopqrstuvwxyz0123"),
    ],
)
def test_long_row_labels_are_broken_before_the_manipulation(text, shown):
    _, ax = plt.subplots()
    row_label(ax, text)
    plt.close()
    assert ax.get_ylabel() == shown


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_preview_says_what_each_image_is_and_what_was_thought_of_it(number):
    images, fake, _, _, _ = scene(5, pairs=number)
    fig = preview(images, fake, np.arange(number) % 2, np.full(number, 0.834))
    titles = [ax.get_title(loc="left") for ax in fig.axes if ax.get_visible()]
    assert titles[::2] == [
        f"{kind}, p(fake) = 0.83" for kind in ("real", "fake", "real", "fake")[:number]
    ]
    shown = [ax.images[0].get_array() for ax in fig.axes if ax.get_visible()]
    assert len(shown) == 2 * number
    np.testing.assert_array_equal(shown[2 * number - 2], images[-1])
    np.testing.assert_array_equal(shown[2 * number - 1], fake[-1])


def test_stages_show_the_truth_only_if_it_is_known():
    data = scene(6)
    titles = [{ax.get_title() for ax in stages(data, sigma).axes} for sigma in (None, data[2][0])]
    assert titles[1] - titles[0] == {"true blur"} and "dense" in titles[0]


def test_roc_curves_are_those_of_the_probabilities():
    shown = predictions(["Deepfakes", "fake"])
    fig = roc_curves(shown)
    for ax, table in zip(fig.axes, shown.values(), strict=True):
        lines = {line.get_label(): line for line in ax.lines}
        for name in ("Deepfakes", "fake"):
            both = table[table["manipulation"].isin(["real", name])]
            area = np.trapezoid(lines[name].get_ydata(), lines[name].get_xdata())
            assert area == pytest.approx(roc_auc_score(both["label"], both["probability"]))


def test_reliability_by_hand():
    rows = [
        ("real", 0, 0.1),
        ("real", 0, 0.3),
        ("real", 0, 0.7),
        ("x", 1, 0.3),
        ("x", 1, 0.9),
        ("x", 1, 0.9),
    ]
    table = pd.DataFrame(rows, columns=["manipulation", "label", "probability"])
    fig = reliability({"defocus": table}, bins=2)
    line = next(line for line in fig.axes[0].lines if line.get_label() == "x")
    np.testing.assert_allclose(line.get_xdata(), [0.7 / 3, 2.5 / 3])
    np.testing.assert_allclose(line.get_ydata(), [1 / 3, 2 / 3])
    tops = [patch.get_path().vertices[:, 1].max() for patch in fig.axes[1].patches]
    np.testing.assert_allclose(sorted(tops), [200 / 3, 200 / 3])


@pytest.mark.parametrize("level", classification.LEVELS)
def test_auc_intervals_are_those_of_the_table(level):
    table = measured(["Deepfakes", "fake"])
    table.loc[table["level"] == "video", "value"] /= 2  # so that the levels differ
    fig = auc_intervals(table, level)
    rows = table[
        (table["metric"] == "auc") & (table["level"] == level) & (table["detector"] == "fusion")
    ]
    marks = next(line for line in fig.axes[0].lines if line.get_label() == "fusion detector")
    np.testing.assert_allclose(marks.get_xdata(), rows["value"])
    spans = [path.vertices[:, 0] for path in fig.axes[0].collections[1].get_paths()]
    np.testing.assert_allclose(spans, rows[["low", "high"]])


def test_a_training_that_lacks_epochs_and_columns_is_still_drawn():
    whole = pd.DataFrame(
        {
            "epoch": range(4),
            "train_loss": [4.0, 3, 2, 1],
            "val_loss": 2.0,
            "val_auc": [0.3, 0.6, 0.7, 0.8],
        }
    )
    gappy = (
        whole.assign(val_auc=[0.5, np.nan, np.nan, 0.9], val_accuracy=0.5)
        .drop(columns="train_loss")
        .iloc[[0, 1, 3]]
    )
    fig = training_curves({"defocus": whole, "other": gappy})
    left, right = ({line.get_label(): line for line in ax.lines} for ax in fig.axes)
    assert set(left) == {"defocus, training", "defocus, validation", "other, validation"}
    assert set(right) == {"defocus, AUC", "other, AUC", "other, accuracy"}
    assert right["other, AUC"].get_xdata().tolist() == [1, 4] and right[
        "other, AUC"
    ].get_ydata().tolist() == [0.5, 0.9]
    assert fig.axes[1].get_ylim()[0] < 0.3
    alone = training_curves({"rgb": whole})
    assert alone.axes[1].get_ylabel() == "validation AUC"
    assert [len(ax.lines) for ax in training_curves({}).axes] == [0, 0]


def test_heatmaps_of_a_pair_share_one_scale():
    shown = [
        ax.images[0]
        for ax in heatmaps(scene(1)).axes
        if ax.images and ax.images[0].get_cmap().name == "hot"
    ]
    assert len(shown) == 4 and shown[0].get_clim() == shown[1].get_clim()


@pytest.mark.parametrize("constant", [False, True])
def test_shapley_limits_are_symmetric(constant):
    maps = [
        image
        for ax in shapley(scene(1, constant)).axes
        for image in ax.images
        if image.get_cmap().name == "seismic"
    ]
    assert len(maps) == 4 and all(-image.get_clim()[0] == image.get_clim()[1] > 0 for image in maps)


def test_the_marked_gap_is_the_ks_distance():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 30))
    _, low, high = _largest_gap(real, fake)
    assert abs(high - low) == pytest.approx(variance.compare(real, fake)["KS D"])


def against_untrained(names, kinds=("trained", "untrained")):
    """Tables with the index of :mod:`defocus_lib.analysis.embedding`, and values that lie apart."""
    rows = [
        (name, kind)
        for name in names
        for kind in (*kinds, "difference")[: 3 if len(kinds) == 2 else 1]
    ]
    index = pd.MultiIndex.from_tuples(rows, names=["manipulation", "features"])
    value = np.linspace(0.4, 0.9, len(rows))
    accuracies = pd.DataFrame(
        {"kNN accuracy": value, "low": value - 0.05, "high": value + 0.05}, index=index
    )
    seeds = {
        seed: accuracies[["kNN accuracy"]].drop("difference", level="features", errors="ignore")
        for seed in (1, 2)
    }
    return accuracies, pd.concat(
        {seed: table + seed / 50 for seed, table in seeds.items()}, names=["seed"]
    )


@pytest.mark.parametrize("names", [["splice"], FACEFORENSICS])
@pytest.mark.parametrize("kinds", [("trained",), ("trained", "untrained")])
def test_accuracies_drawn_are_those_of_the_tables(names, kinds):
    accuracies, seeds = against_untrained(names, kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = knn_against_untrained(accuracies, seeds, names[-1])
        assert overlapping(fig) == []
    lines = {line.get_label(): line.get_xdata() for line in fig.axes[0].lines}
    for kind in kinds:
        expected = accuracies.xs(kind, level="features")["kNN accuracy"]
        np.testing.assert_allclose(lines[f"{kind}: features"], expected)
        np.testing.assert_allclose(lines[f"{kind}: t-SNE"], expected + 0.03)
    labels = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert labels == [*names[:-1], f"{names[-1]}\n(trained on)"]


def test_every_picture_carries_its_score():
    fig = pictures(scene(1))
    assert all(
        "silhouette" in ax.get_title() and "kNN" in ax.get_title()
        for ax in fig.axes
        if ax.get_visible()
    )
