import numpy as np
import pandas as pd
import pytest

from defocus_lib.analysis import edge_density
from defocus_lib.analysis.variance import local_variance
from defocus_lib.data import collection
from defocus_lib.maps.estimate import normalize_per_sample
from defocus_lib.run import artifacts
from tests import runs


def clustered(rng, effect, through_density, groups=150):
    """Images of groups: density differs by kind; variance depends on both."""
    codes, fake = np.repeat(np.arange(groups), 2), np.tile([False, True], groups)
    density = rng.normal(size=2 * groups) + fake
    of_group = np.repeat(rng.normal(size=groups), 2)
    noise = of_group + rng.normal(size=2 * groups)
    return 10 + effect * fake + through_density * density + noise, density, fake, codes


def test_regression_removes_the_effect_of_density():
    images = clustered(np.random.default_rng(0), effect=0.0, through_density=2.0)
    effects = edge_density.density_adjusted(*images)
    assert effects["alone"][1] > 0
    assert effects["adjusted"][1] < 0 < effects["adjusted"][2]
    assert effects["density"][1] > 0
    images = clustered(np.random.default_rng(1), effect=1.0, through_density=0.0)
    assert edge_density.density_adjusted(*images)["adjusted"][0] == pytest.approx(0.1, abs=0.03)


def test_its_intervals_cover_a_known_effect():
    rng, covered = np.random.default_rng(2), 0
    for _ in range(200):
        variance, *rest = clustered(rng, effect=1.0, through_density=0.5, groups=40)
        _, low, high = edge_density.density_adjusted(variance, *rest)["adjusted"]
        covered += low <= 1.0 / variance.mean() <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_what_can_not_be_regressed_is_refused():
    with pytest.raises(ValueError, match="differ in length"):
        edge_density.density_adjusted([1.0], [1.0, 2.0], [True], ["a"])
    with pytest.raises(ValueError, match="both kinds, 3 wanted"):
        edge_density.density_adjusted([1.0, 2.0], [1.0, 2.0], [True, False], ["a", "b"])


def test_measures_the_maps_of_the_records_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(edge_density, "CHUNK", 4)
    path = runs.prepare(tmp_path)
    cache, run = runs.cache_of(path), collection.load(artifacts.Folder.open("tiny", path / "run"))
    rows = run.records.iloc[3:13]
    table = edge_density.measure(rows, cache, window=7)
    assert table["group"].tolist() == rows["group"].tolist()
    one = cache.load(rows["digest"].iat[5])
    assert table["density"].iat[5] == one.edges.mean()
    literal = local_variance(normalize_per_sample(one.dense[None, None])[:, 0].numpy(), 7).mean()
    assert table["variance"].iat[5] == pytest.approx(literal, rel=1e-6)


def test_each_manipulation_is_compared_with_the_real_images():
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {"group": np.arange(90) % 30, "manipulation": np.repeat(["real", "a", "b"], 30)}
    )
    table = table.assign(
        label=(table["manipulation"] != "real").astype(int), density=rng.normal(size=90)
    )
    shift = (table["manipulation"] == "b") * 1.0
    effects = edge_density.effect_table(
        table.assign(variance=10 + shift + 0.2 * rng.normal(size=90))
    )
    assert effects.index.tolist() == ["a", "b"]
    assert effects.loc["a", ("alone", "low")] < 0 < effects.loc["a", ("alone", "high")]
    assert effects.loc["b", ("adjusted", "value")] == pytest.approx(0.1, abs=0.02)


def test_the_claim_is_about_the_adjusted_effect():
    parts = pd.MultiIndex.from_product([("alone", "adjusted"), ("value", "low", "high")])
    table = pd.DataFrame([[0.1, 0.05, 0.2, 0.0, -0.1, 0.1]], index=["splice"], columns=parts)
    claim = edge_density.claim(table, "splice", 40, "scene")
    assert (claim.low, claim.value, claim.high) == (-0.1, 0.0, 0.1)
    assert claim.verdict == "undecided"
