import pandas as pd
import pytest

from defocus_lib.explain import capacity

ONE = capacity.Measured(
    map_seconds=0.002,
    shapley_seconds=5,
    cores=2,
    gflop=30,
    samples=50,
    shard_bytes=1e6,
    map_bytes=4e5,
    index_bytes=100,
)
PRICES = capacity.Prices(gpu_tflops=100, gpu_hour=2, core_hour=0.05, terabyte_month=20)


def test_a_plan_by_hand():
    table = capacity.plan(3_600_000, ONE, PRICES)
    assert table["amount"].to_dict() == pytest.approx(
        {
            "shards": 14_063,  # 3.6e6 / 256 = 14,062.5
            "Shapley values, maps and photographs in shards": 3.6,
            "maps on disk": 1.44,
            "index": 0.00036,
            "defocus maps, on CPUs": 2,
            "Shapley values, on CPUs": 2 * 5 * 2 * 1000,
            "Shapley values, on GPUs instead": 3.6e6 * 2 * 50 * 30e9 / 100e12 / 3600,
        }
    )
    cost = table["cost (USD)"]
    assert cost["maps on disk"] == pytest.approx(28.8) and cost[
        "defocus maps, on CPUs"
    ] == pytest.approx(0.1)
    assert cost["Shapley values, on GPUs instead"] == pytest.approx(60) and cost.isna().sum() == 1


def test_all_but_whole_files_grows_with_the_images():
    small, large = (
        capacity.plan(images, ONE, PRICES)["amount"].drop("shards") for images in (1_000, 10_000)
    )
    assert (large / small).tolist() == pytest.approx([10] * 6)


@pytest.mark.parametrize(("images", "shard"), [(0, 256), (10, 0)])
def test_an_empty_plan_is_refused(images, shard):
    with pytest.raises(ValueError, match="at least 1 wanted"):
        capacity.plan(images, ONE, PRICES, shard)


@pytest.mark.parametrize(
    ("errors", "times", "alike", "said"),
    [
        (
            (0.3, 0.2, 0.1),
            (1, 40, 10),
            0.9995,
            ("0.200 instead of 0.300) is fast, at 40.0", "reaches the aim of 30", "as was aimed"),
        ),
        (
            (0.3, 0.4, 0.1),
            (1, 40, 10),
            0.9,
            ("0.100 instead of 0.300) is slow, at 10.0", "misses the aim", "where 0.999 was"),
        ),
        (
            (0.3, 0.4, 0.5),
            (1, 40, 10),
            0.9995,
            ("No setting of ours comes nearer", "whose error is 0.300"),
        ),
    ],
)
def test_the_numbers_choose_the_verdict(errors, times, alike, said):
    columns = {"relative_error": errors, "times_faster_than_shap": times}
    table = pd.DataFrame(columns, index=["shap, 200 random samples", "fast", "slow"])
    words = capacity.verdict(table, alike)
    assert all(part in words for part in said), words
