import numpy as np
import pandas as pd
import pytest
from scipy import stats

from defocus_lib.analysis import embedding
from defocus_lib.explain.attribution_set import groups_of
from tests.reference import embedding as literal


@pytest.fixture(scope="module")
def clouds():
    """Features of 16 scenes, real and manipulated, the manipulated ones shifted."""
    rng = np.random.default_rng(7)
    base = rng.normal(size=(16, 10))
    features = np.concatenate([base, base + rng.normal(0.1, 0.3, size=base.shape) + 1.0]).astype(
        np.float32
    )
    return features, np.repeat([False, True], 16), np.tile([f"test-{i:05d}" for i in range(16)], 2)


def test_tsne_is_repeatable_and_depends_on_the_seed_or_perplexity(clouds):
    features = clouds[0]
    first = embedding.tsne(features, 5)
    assert first.shape == (32, 2) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, embedding.tsne(features, 5))
    assert not np.allclose(first, embedding.tsne(features, 10))


def test_a_seed_hardly_moves_the_principal_components_but_scatters_a_random_start(
    clouds, monkeypatch
):
    from sklearn.manifold import TSNE

    begun = []
    monkeypatch.setattr(
        TSNE,
        "_tsne",
        lambda self, *args, X_embedded, **more: begun.append(X_embedded) or X_embedded,
    )
    for start in ("pca", "random"):
        for seed in (0, 1):
            embedding.tsne(clouds[0], 5, seed, start)
    np.testing.assert_allclose(begun[0], begun[1], atol=1e-3 * np.abs(begun[0]).max())
    assert np.abs(np.corrcoef(begun[2].T, begun[3].T)[:2, 2:]).max() < 0.8


def test_edge_components_are_capped():
    edges = np.random.default_rng(0).random((12, 6, 6)) > 0.7
    reduced = embedding.edge_components(edges, components=100)
    assert reduced.shape == (12, 11)
    np.testing.assert_array_equal(reduced, embedding.edge_components(edges, components=11))


def test_edge_components_keep_the_distances():
    """All components hold all the variance: distances are those between the flattened maps."""
    edges = np.random.default_rng(0).random((12, 6, 6)) > 0.7
    reduced, flat = embedding.edge_components(edges), edges.reshape(12, -1).astype(float)
    distances = [np.linalg.norm(part[:, None] - part[None], axis=2) for part in (reduced, flat)]
    np.testing.assert_allclose(*distances, atol=1e-5)


def test_pca_keeps_the_distances_that_tsne_sees():
    """All components keep all distances, so far-apart groups of edge maps stay apart."""
    rng = np.random.default_rng(1)
    left, right = np.zeros((2, 10, 8, 8), dtype=bool)
    left[:, :, :4], right[:, :, 4:] = rng.random((10, 8, 4)) > 0.3, rng.random((10, 8, 4)) > 0.3
    picture = embedding.tsne(embedding.edge_components(np.concatenate([left, right])), perplexity=5)
    labels = np.repeat([False, True], 10)
    assert embedding.separation(picture, labels, np.tile(np.arange(10), 2))["silhouette"] > 0.4


@pytest.mark.slow
def test_umap_is_repeatable(clouds):
    features = clouds[0]
    first = embedding.umap(features, 6, seed=3)
    assert first.shape == (32, 2) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, embedding.umap(features, 6, seed=3))
    assert not np.array_equal(first, embedding.umap(features, 6, seed=4))


def test_silhouette_agrees_with_the_literal_one(clouds):
    features, fake, scenes = clouds
    found = embedding.separation(features[:, :2], fake, scenes)
    assert found["silhouette"] == pytest.approx(
        literal.silhouette(features[:, :2].tolist(), fake.tolist()), abs=1e-6
    )


def test_knn_accuracy_agrees_with_leaving_one_scene_out(clouds):
    features, fake, scenes = (part[np.r_[0:5, 16:21]] for part in clouds)
    found = embedding.separation(
        features, fake, scenes, neighbors=3
    )  # five scenes: five folds of one scene
    expected = literal.knn_accuracy(features.tolist(), fake.tolist(), scenes.tolist(), 3)
    assert found["kNN accuracy"] == pytest.approx(expected)


def test_the_paired_image_is_no_neighbour():
    """Pairs lie together, far from all others: counting them, accuracy would be 0; without, 1."""
    places = np.array([0.0, 100, 200, 300])
    offset = np.array([[0.0, 0.0], [0.0, 1.0]])
    points = np.concatenate([np.c_[places, np.zeros(4)] * [0.01, 1] + 10 * side for side in offset])
    found = embedding.separation(
        points, np.repeat([False, True], 4), np.tile(["a", "b", "c", "d"], 2), neighbors=3
    )
    assert found["kNN accuracy"] == 1


def test_separation_of_two_clear_groups_and_of_one_cloud():
    rng = np.random.default_rng(0)
    fake, scenes = np.repeat([False, True], 40), np.tile(np.arange(40), 2)
    apart = rng.normal(size=(80, 2)) + 20 * fake[:, None]
    mixed = rng.normal(size=(80, 2))
    table = embedding.separation_table({"apart": apart, "mixed": mixed}, fake, scenes)
    assert table.loc["apart", "silhouette"] > 0.8 and table.loc["apart", "kNN accuracy"] == 1
    assert (
        abs(table.loc["mixed", "silhouette"]) < 0.1
        and 0.25 < table.loc["mixed", "kNN accuracy"] < 0.75
    )


def test_groups_are_those_of_the_pair_or_of_the_image_itself():
    ids = ["800/0000/real", "800_840/0000/Deepfakes", "840_800/0007/Deepfakes", "lonely/fake"]
    pairs = ["800/0000/real", "800/0000/real", "", ""]
    assert groups_of(ids, pairs).tolist() == ["800", "800", "840_800", "lonely"]
    assert groups_of(["test-1/real", "test-1/splice"]).tolist() == ["test-1", "test-1"]


def test_a_pair_that_is_longer_than_every_id_is_not_cut_off():
    assert groups_of(["a/fake"], ["a-much-longer-name/0000/real"]).tolist() == [
        "a-much-longer-name"
    ]


def test_a_smaller_choice_takes_every_group_before_a_second_frame():
    ids = [
        f"{video}/{frame}/{name}"
        for name in ("real", "fake")
        for video in "abc"
        for frame in range(3)
    ]
    names = np.array([name.split("/")[2] for name in ids])
    arrays = {
        "ids": np.array(ids),
        "groups": groups_of(ids),
        "manipulations": names,
        "features": np.arange(18.0),
    }
    chosen = embedding.at_most(4, arrays)
    expected = [
        f"{frame}/{name}" for name in ("real", "fake") for frame in ("a/0", "a/1", "b/0", "c/0")
    ]
    assert chosen["ids"].tolist() == expected
    assert [ids[int(row)] for row in chosen["features"]] == expected
    assert embedding.at_most(100, arrays)["ids"].tolist() == ids


def test_real_and_one_manipulation():
    ids = ["test-1/real", "test-1/splice", "test-1/texture", "test-2/real", "test-2/splice"]
    names = [name.split("/")[1] for name in ids]
    rows, fake, groups = embedding.real_and("splice", names, groups_of(ids))
    assert rows.tolist() == [0, 1, 3, 4] and fake.tolist() == [False, True, False, True]
    assert groups.tolist() == ["test-1", "test-1", "test-2", "test-2"]


@pytest.mark.parametrize("videos", [2, 3, 7])
def test_frames_of_one_video_are_no_neighbours(videos):
    """Each video is a tight cloud of its own with its fakes: only its own frames could tell."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"{video:03d}" for video in range(videos)], 24)
    fake = np.tile(np.repeat([False, True], 12), videos)
    # Within a video real and fake lie apart, in a direction that the next video turns round.
    turned = np.repeat(np.resize([1, -1], videos), 24)
    points = np.c_[1000.0 * np.repeat(np.arange(videos), 24), 10.0 * fake * turned] + rng.normal(
        size=(24 * videos, 2)
    )
    assert embedding.separation(points, fake, groups)["kNN accuracy"] < 0.7
    assert embedding.separation(points, fake, np.arange(len(points)))["kNN accuracy"] == 1


def test_a_group_may_hold_one_kind_only():
    """Pictures without pairs, unequal in number: neighbours are what the other folds hold."""
    points = np.r_[np.zeros((3, 2)), np.ones((9, 2))] + np.random.default_rng(0).normal(
        0, 0.01, (12, 2)
    )
    fake = np.repeat([False, True], [3, 9])
    two = embedding.separation(points, fake, np.where(fake, "b", "a"))
    assert two["kNN accuracy"] == 0 and two["silhouette"] > 0.9
    assert embedding.separation(points, fake, np.arange(12), neighbors=3)["kNN accuracy"] > 0.7


def test_trustworthiness_and_continuity_agree_with_the_definition():
    rng = np.random.default_rng(4)
    space = rng.normal(size=(14, 5))
    picture = space[:, :2] + rng.normal(0, 0.5, (14, 2))
    found = embedding.preservation(space, picture, neighbors=3)
    assert found["trustworthiness"] == pytest.approx(
        literal.trustworthiness(space.tolist(), picture.tolist(), 3)
    )
    assert found["continuity"] == pytest.approx(
        literal.trustworthiness(picture.tolist(), space.tolist(), 3)
    )
    assert found["trustworthiness"] != pytest.approx(found["continuity"])


def test_a_picture_that_folds_is_not_trustworthy_and_one_that_tears_is_not_continuous():
    """A line, folded: distant points meet, no neighbour is lost. A ring, cut open: the reverse."""
    line, ring = np.arange(40.0), np.linspace(0, 2 * np.pi, 40, endpoint=False)
    folded = embedding.preservation(
        np.c_[line, 0 * line], np.c_[np.abs(line - 19.3), 0 * line], neighbors=3
    )
    assert folded["trustworthiness"] < 0.8 and folded["continuity"] > 0.95
    cut = embedding.preservation(
        np.c_[np.cos(ring), np.sin(ring)], np.c_[line, 0 * line], neighbors=3
    )
    assert cut["trustworthiness"] > 0.99 and cut["continuity"] < 0.98


def test_a_picture_that_is_the_space_itself_keeps_all_neighbours(clouds):
    assert embedding.preservation(clouds[0], clouds[0]) == {"trustworthiness": 1, "continuity": 1}
    assert embedding.preservation(clouds[0][:3], -clouds[0][:3]) == {
        "trustworthiness": 1,
        "continuity": 1,
    }  # 1 nearest


def kinds_of(fake, name="splice"):
    return np.where(fake, name, "real")


def test_knn_by_manipulation_are_those_of_one_at_a_time(clouds):
    features, fake, groups = clouds
    table = embedding.knn_by_manipulation(
        {"trained": features}, kinds_of(fake), groups, ["splice"], n_bootstrap=20
    )
    assert table.index.tolist() == [("splice", "trained")]
    for score, value in embedding.separation(features, fake, groups).items():
        assert table.loc[("splice", "trained"), score] == pytest.approx(value)


def test_the_interval_of_the_accuracy_is_that_of_a_mean_over_groups():
    """Each group has a real and a fake image: the accuracy is a mean of independent ones."""
    rng = np.random.default_rng(0)
    fake, groups = np.repeat([False, True], 150), np.tile(np.arange(150).astype(str), 2)
    strong, weak = (rng.normal(size=(300, 2)) + shift * fake[:, None] for shift in (1.5, 0.5))
    spaces = {"trained": strong, "untrained": weak}
    table = embedding.knn_by_manipulation(
        spaces, kinds_of(fake), groups, ["splice"], n_bootstrap=2000
    ).loc["splice"]
    right = {
        kind: embedding.knn_correct(points, fake, groups) * 1.0 for kind, points in spaces.items()
    }
    right["difference"] = right["trained"] - right["untrained"]
    for kind, values in right.items():
        by_group = values.reshape(2, 150).mean(0)
        expected = stats.norm.interval(0.95, by_group.mean(), stats.sem(by_group))
        assert table.loc[kind, "kNN accuracy"] == pytest.approx(values.mean())
        np.testing.assert_allclose(
            table.loc[kind, ["low", "high"]].astype(float), expected, atol=0.012
        )
    assert table.loc["difference", "low"] > 0


def test_features_compared_with_themselves_show_no_difference(clouds):
    features, fake, groups = clouds
    spaces = {"trained": features, "untrained": features.copy()}
    table = embedding.knn_by_manipulation(
        spaces, kinds_of(fake), groups, ["splice"], n_bootstrap=50
    )
    difference = table.loc[("splice", "difference")]
    assert difference[["kNN accuracy", "low", "high"]].tolist() == [0, 0, 0]
    assert difference["groups"] == 16


@pytest.mark.slow
def test_no_interval_of_the_difference_excludes_zero_too_often():
    """Two backbones that know nothing: about one interval of 95 % in twenty misses zero."""
    rng, missed = np.random.default_rng(1), 0
    fake, groups = np.repeat([False, True], 40), np.tile(np.arange(40), 2)
    for _ in range(40):
        spaces = {"trained": rng.normal(size=(80, 3)), "untrained": rng.normal(size=(80, 3))}
        row = embedding.knn_by_manipulation(
            spaces, kinds_of(fake), groups, ["splice"], n_bootstrap=100
        ).iloc[-1]
        missed += row["low"] > 0 or row["high"] < 0
    assert missed <= stats.binom.ppf(0.999, 40, 0.06)


def test_over_seeds_each_row_is_one_picture(clouds):
    features, fake, groups = clouds
    spaces = {"trained": features, "untrained": features[:, :3]}
    table = embedding.over_seeds(spaces, kinds_of(fake), groups, ["splice"], 5, [3, 4])
    assert table.index.tolist() == [("splice", kind, seed) for kind in spaces for seed in (3, 4)]
    picture = embedding.tsne(features[:, :3], 5, 4, "random")
    expected = embedding.separation(picture, fake, groups) | embedding.preservation(
        features[:, :3], picture
    )
    assert table.loc[("splice", "untrained", 4)].to_dict() == pytest.approx(expected)
    assert (
        table.loc[("splice", "trained", 3)].tolist() != table.loc[("splice", "trained", 4)].tolist()
    )


def test_ranges_are_mean_and_extremes():
    index = pd.MultiIndex.from_product(
        [["splice"], ["trained"], range(3)], names=["manipulation", "features", "seed"]
    )
    scores = pd.DataFrame({"kNN accuracy": [0.5, 0.9, 0.7], "silhouette": -0.0001}, index)
    text = embedding.ranges(scores).loc[("splice", "trained")]
    assert text["kNN accuracy"] == "0.70\u00a0[0.50,\u00a00.90]"
    assert text["silhouette"] == "0.000\u00a0[0.000,\u00a00.000]"


def test_the_mean_over_seeds_has_a_t_interval():
    scores = [0.9, 0.92, 0.97]
    test = stats.ttest_1samp(scores, 0).confidence_interval()
    assert embedding.mean_over_seeds(scores) == pytest.approx((np.mean(scores), *test))
    value, low, high = embedding.mean_over_seeds([0.9])
    assert value == 0.9 and np.isnan(low) and np.isnan(high)


def test_one_real_and_one_fake_group_give_no_interval():
    points = np.r_[np.zeros((3, 2)), np.ones((9, 2))] + np.random.default_rng(0).normal(
        0, 0.01, (12, 2)
    )
    fake = np.repeat([False, True], [3, 9])
    spaces = {"trained": points, "untrained": points}
    table = embedding.knn_by_manipulation(
        spaces, kinds_of(fake), np.where(fake, "b", "a"), ["splice"], n_bootstrap=20
    )
    assert table[["low", "high"]].isna().all(axis=None)


def test_perplexities_from_text():
    assert embedding.parse_perplexities("5, 10,20 40.5") == (5, 10, 20, 40.5)
    for text in ("", "5, many", "5, -1", "nan", "inf"):
        with pytest.raises(ValueError, match="perplexities is"):
            embedding.parse_perplexities(text)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: embedding.tsne(x, 32), "perplexity is 32; .* number of images, 32"),
        (lambda x: embedding.tsne(x, 0), "perplexity is 0"),
        (lambda x: embedding.tsne(np.ones((8, 3)), 2), "features of the 8 images are all equal"),
        (lambda x: embedding.tsne(x[:2], 1), r"features has shape \(2, 10\); at least 4"),
        (lambda x: embedding.tsne(np.full((5, 4), np.nan), 2), "features holds 20 NaN"),
        (lambda x: embedding.umap(x, 32), "neighbors is 32"),
        (lambda x: embedding.umap(x, 1), "neighbors is 1"),
        (lambda x: embedding.edge_components(np.zeros((5, 4, 4), bool)), "are all equal"),
        (lambda x: embedding.edge_components(np.zeros((5, 4))), r"edges has shape \(5, 4\)"),
        (lambda x: embedding.edge_components(np.zeros((5, 4, 4)), components=1), "components is 1"),
        (lambda x: embedding.preservation(x, x[:5]), "lengths 32 and 5"),
        (lambda x: embedding.preservation(x[:2], x[:2]), "lengths 2 and 2"),
        (lambda x: embedding.over_seeds({}, [], [], [], 5, []), "seeds is empty"),
        (
            lambda x: embedding.separation(x, np.zeros(32), np.arange(32)),
            "fake is False for every image",
        ),
        (lambda x: embedding.separation(x, np.arange(32) % 2, np.zeros(32)), "groups has 1 group"),
        (lambda x: embedding.separation(x, np.zeros(31), np.arange(32)), "lengths 32, 31 and 32"),
        (lambda x: embedding.real_and("splice", ["real"], ["a"]), "has no 'splice'; found real"),
        (
            lambda x: embedding.real_and("splice", ["real", "splice"], ["a"]),
            r"manipulations \(2,\), groups \(1,\)",
        ),
        (lambda x: groups_of(["a/real"], ["a/real", ""]), r"ids \(1,\), pairs \(2,\)"),
    ],
)
def test_bad_input_names_the_argument(clouds, call, message):
    with pytest.raises(ValueError, match=message):
        call(clouds[0])


def test_perplexities_that_do_not_fit_are_left_out():
    assert embedding.fitting_perplexities((5, 10, 20), 11) == (5, 10)
    assert embedding.fitting_perplexities((5, 10, 20), 10) == (5,)
    assert embedding.fitting_perplexities((20,), 12) == (4.0,)
    assert embedding.tsne(
        np.random.default_rng(0).random((6, 3)), *embedding.fitting_perplexities((40,), 6)
    ).shape == (
        6,
        2,
    )
