import numpy as np
import pytest

from defocus_lib import embedding
from defocus_lib.shapley_set import groups_of
from tests.reference import embedding as literal


@pytest.fixture(scope="module")
def clouds():
    """Features of 16 scenes, real and manipulated, the manipulated ones shifted."""
    rng = np.random.default_rng(7)
    base = rng.normal(size=(16, 10))
    features = np.concatenate([base, base + rng.normal(0.1, 0.3, size=base.shape) + 1.0]).astype(np.float32)
    return features, np.repeat([False, True], 16), np.tile([f"test-{i:05d}" for i in range(16)], 2)


def test_tsne_is_repeatable_and_depends_on_the_seed_or_perplexity(clouds):
    features = clouds[0]
    first = embedding.tsne(features, 5)
    assert first.shape == (32, 2) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, embedding.tsne(features, 5))
    assert not np.allclose(first, embedding.tsne(features, 10))


def test_pca_tsne_caps_the_components(clouds):
    edges = np.random.default_rng(0).random((12, 6, 6)) > 0.7
    picture = embedding.pca_tsne(edges, components=100, perplexity=4)
    assert picture.shape == (12, 2)
    np.testing.assert_array_equal(picture, embedding.pca_tsne(edges, components=12, perplexity=4))


def test_pca_keeps_the_distances_that_tsne_sees(clouds):
    """All components keep all distances, so far-apart groups of edge maps stay apart."""
    rng = np.random.default_rng(1)
    left, right = np.zeros((2, 10, 8, 8), dtype=bool)
    left[:, :, :4], right[:, :, 4:] = rng.random((10, 8, 4)) > 0.3, rng.random((10, 8, 4)) > 0.3
    picture = embedding.pca_tsne(np.concatenate([left, right]), perplexity=5)
    labels = np.repeat([False, True], 10)
    assert embedding.separation(picture, labels, np.tile(np.arange(10), 2))["silhouette"] > 0.4


def test_umap_is_repeatable(clouds):
    features = clouds[0]
    first = embedding.umap(features, 6, seed=3)
    assert first.shape == (32, 2) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, embedding.umap(features, 6, seed=3))
    assert not np.array_equal(first, embedding.umap(features, 6, seed=4))


def test_silhouette_agrees_with_the_literal_one(clouds):
    features, fake, scenes = clouds
    found = embedding.separation(features[:, :2], fake, scenes)
    assert found["silhouette"] == pytest.approx(literal.silhouette(features[:, :2].tolist(), fake.tolist()), abs=1e-6)


def test_vote_agrees_with_leaving_one_scene_out(clouds):
    features, fake, scenes = (part[np.r_[0:5, 16:21]] for part in clouds)
    found = embedding.separation(features, fake, scenes, neighbors=3)  # five scenes: five folds of one scene
    expected = literal.vote_accuracy(features.tolist(), fake.tolist(), scenes.tolist(), 3)
    assert found["kNN accuracy"] == pytest.approx(expected)


def test_the_twin_of_an_image_does_not_vote():
    """Twins lie together, far from all others: with their votes accuracy would be 0, without them it is perfect."""
    places = np.array([0.0, 100, 200, 300])
    offset = np.array([[0.0, 0.0], [0.0, 1.0]])
    points = np.concatenate([np.c_[places, np.zeros(4)] * [0.01, 1] + 10 * side for side in offset])
    found = embedding.separation(points, np.repeat([False, True], 4), np.tile(["a", "b", "c", "d"], 2), neighbors=3)
    assert found["kNN accuracy"] == 1


def test_separation_of_two_clear_groups_and_of_one_cloud():
    rng = np.random.default_rng(0)
    fake, scenes = np.repeat([False, True], 40), np.tile(np.arange(40), 2)
    apart = rng.normal(size=(80, 2)) + 20 * fake[:, None]
    mixed = rng.normal(size=(80, 2))
    table = embedding.separation_table({"apart": apart, "mixed": mixed}, fake, scenes)
    assert table.loc["apart", "silhouette"] > 0.8 and table.loc["apart", "kNN accuracy"] == 1
    assert abs(table.loc["mixed", "silhouette"]) < 0.1 and 0.25 < table.loc["mixed", "kNN accuracy"] < 0.75


def test_groups_are_those_of_the_pair_or_of_the_image_itself():
    ids = ["800/0000/real", "800_840/0000/Deepfakes", "840_800/0007/Deepfakes", "lonely/fake"]
    pairs = ["800/0000/real", "800/0000/real", "", ""]
    assert groups_of(ids, pairs).tolist() == ["800", "800", "840_800", "lonely"]
    assert groups_of(["test-1/real", "test-1/splice"]).tolist() == ["test-1", "test-1"]


def test_a_pair_that_is_longer_than_every_id_is_not_cut_off():
    assert groups_of(["a/fake"], ["a-much-longer-name/0000/real"]).tolist() == ["a-much-longer-name"]


def test_a_smaller_choice_takes_every_group_before_a_second_frame():
    ids = [f"{video}/{frame}/{name}" for name in ("real", "fake") for video in "abc" for frame in range(3)]
    names = np.array([name.split("/")[2] for name in ids])
    arrays = {
        "ids": np.array(ids),
        "groups": groups_of(ids),
        "manipulations": names,
        "features": np.arange(18.0),
    }
    chosen = embedding.at_most(4, arrays)
    expected = [f"{frame}/{name}" for name in ("real", "fake") for frame in ("a/0", "a/1", "b/0", "c/0")]
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
def test_frames_of_one_video_do_not_vote_on_each_other(videos):
    """Each video is a tight cloud of its own, of which the fakes are a part: only its own frames could tell."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"{video:03d}" for video in range(videos)], 24)
    fake = np.tile(np.repeat([False, True], 12), videos)
    # Within a video real and fake lie apart, in a direction that the next video turns round.
    turned = np.repeat(np.resize([1, -1], videos), 24)
    points = np.c_[1000.0 * np.repeat(np.arange(videos), 24), 10.0 * fake * turned] + rng.normal(size=(24 * videos, 2))
    assert embedding.separation(points, fake, groups)["kNN accuracy"] < 0.7
    assert embedding.separation(points, fake, np.arange(len(points)))["kNN accuracy"] == 1


def test_a_group_may_hold_one_kind_only():
    """Pictures without counterparts, unequal in number; the votes come from whatever the other folds hold."""
    points = np.r_[np.zeros((3, 2)), np.ones((9, 2))] + np.random.default_rng(0).normal(0, 0.01, (12, 2))
    fake = np.repeat([False, True], [3, 9])
    two = embedding.separation(points, fake, np.where(fake, "b", "a"))
    assert two["kNN accuracy"] == 0 and two["silhouette"] > 0.9
    assert embedding.separation(points, fake, np.arange(12), neighbors=3)["kNN accuracy"] > 0.7


def test_separation_by_manipulation_is_the_same_as_one_at_a_time(clouds):
    features, fake, groups = clouds
    names = np.where(fake, "splice", "real")
    table = embedding.separation_by_manipulation(features, names, groups, ["splice"], perplexity=5)
    for score, value in embedding.separation(features, fake, groups).items():
        assert table.loc["splice", ("features", score)] == value


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
        (lambda x: embedding.pca_tsne(np.zeros((5, 4, 4), bool)), "are all equal"),
        (lambda x: embedding.pca_tsne(np.zeros((5, 4))), r"edges has shape \(5, 4\)"),
        (lambda x: embedding.pca_tsne(np.zeros((5, 4, 4)), components=1), "components is 1"),
        (lambda x: embedding.separation(x, np.zeros(32), np.arange(32)), "fake is False for every image"),
        (lambda x: embedding.separation(x, np.arange(32) % 2, np.zeros(32)), "groups has 1 group"),
        (lambda x: embedding.separation(x, np.zeros(31), np.arange(32)), "lengths 32, 31 and 32"),
        (lambda x: embedding.real_and("splice", ["real"], ["a"]), "has no 'splice'; found real"),
        (lambda x: embedding.real_and("splice", ["real", "splice"], ["a"]), r"manipulations \(2,\), groups \(1,\)"),
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
    assert embedding.tsne(np.random.default_rng(0).random((6, 3)), *embedding.fitting_perplexities((40,), 6)).shape == (
        6,
        2,
    )
