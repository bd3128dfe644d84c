import numpy as np
import pytest
from scipy.optimize import approx_fprime, brentq
from scipy.stats import entropy

from defocus_lib.analysis import tsne


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 8)) + np.repeat([0, 3], 30)[:, None]


def divergence(points, joint):
    """Kullback-Leibler divergence, from the definition."""
    near = 1 / (1 + ((points[:, None] - points[None]) ** 2).sum(2))
    np.fill_diagonal(near, 0)
    return float(entropy(joint.ravel(), near.ravel()))


def test_affinities_are_those_of_gaussians_of_the_perplexity(features):
    conditional = np.zeros((60, 60))
    for row, others in ((row, np.arange(60) != row) for row in range(60)):
        squares = ((features[others] - features[row]) ** 2).sum(1)

        def weights(width, squares=squares):
            return np.exp(-squares / (2 * width**2))

        width = brentq(lambda width: np.exp(entropy(weights(width))) - 7, 0.3, 100, xtol=1e-12)
        conditional[row, others] = weights(width) / weights(width).sum()
    joint = (conditional + conditional.T) / 120
    np.testing.assert_allclose(tsne.affinities(features, 7), joint, atol=1e-9)


def test_the_gradient_is_that_of_the_divergence(features):
    joint, points = tsne.affinities(features, 7), np.random.default_rng(1).normal(size=(60, 2))
    numerical = approx_fprime(points.ravel(), lambda x: divergence(x.reshape(60, 2), joint), 1e-7)
    found = tsne.gradient(points, joint).ravel()
    np.testing.assert_allclose(found, numerical, atol=1e-5 * np.abs(found).max())


def test_the_layout_is_as_good_as_that_of_scikit_learn(features):
    from sklearn.manifold import TSNE

    start = 1e-4 * np.random.default_rng(2).standard_normal((60, 2))
    joint = tsne.affinities(features, 7)
    reference = TSNE(perplexity=7, init=start.astype(np.float32), method="exact")
    theirs = divergence(reference.fit_transform(features).astype(float), joint)
    assert (
        divergence(tsne.layout(joint, start), joint) < 1.1 * theirs < 0.5 * divergence(start, joint)
    )
