import numpy as np
import pytest

from defocus_lib.maps.density import edge_density


def test_edge_density_is_the_gaussian_mean_of_the_edges():
    edges = np.zeros((1, 41, 41), bool)
    edges[0, 20, 23] = True
    density, spread = edge_density(edges)[0], 0.04 * 41
    expected = np.exp(-9 / (2 * spread**2)) / (2 * np.pi * spread**2)
    assert density[20, 20] == pytest.approx(expected, rel=0.05)
    assert density.sum() == pytest.approx(1, abs=1e-3)
