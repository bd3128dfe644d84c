import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from defocus_lib.detect import linear
from defocus_lib.detect.in_memory import Examples


def examples(images, seed, gap=40):
    """Noise of one byte per value; a cell of the fakes is brighter."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], images // 2).astype(np.float32)
    values = rng.integers(60, 120, (images, 2, 4, 4))
    values[labels == 1, 1, 2, 3] += gap
    return Examples((values.astype(np.uint8),), (np.arange(images),), labels)


def test_a_cell_that_differs_is_found():
    train, val, test = (examples(n, seed) for n, seed in ((200, 0), (60, 1), (100, 2)))
    found = linear.logits(train, val, test)
    assert found.shape == (100,) and found.dtype == np.float64
    of_the_cell = roc_auc_score(test.labels, test.parts[0][:, 1, 2, 3])  # the best there is
    assert of_the_cell - 0.1 < roc_auc_score(test.labels, found) <= of_the_cell + 0.01
    np.testing.assert_array_equal(found, linear.logits(train, val, test))


def test_nothing_is_found_where_nothing_is():
    found = linear.logits(*(examples(n, seed, 0) for n, seed in ((200, 0), (60, 1), (400, 2))))
    assert abs(roc_auc_score(examples(400, 2, 0).labels, found) - 0.5) < 0.1


def test_one_class():
    one, both = examples(40, 0), examples(40, 1)
    fakes = Examples(one.parts, (one.rows[0][1::2],), one.labels[1::2])
    assert np.isfinite(linear.logits(both, fakes, both)).all(), "validation may hold one"
    with pytest.raises(ValueError, match="class"):
        linear.logits(fakes, both, both)
