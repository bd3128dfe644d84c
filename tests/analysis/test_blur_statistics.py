"""The eight statistics of maps small enough to compute by hand, and where their regions lie."""

import numpy as np
import pandas as pd
import pytest

from defocus_lib.analysis.blur_statistics import (
    EDGES,
    IN_UNCERTAINTIES,
    STATISTICS,
    KnownRegions,
    Part,
    blur_statistics,
    measure,
)
from defocus_lib.analysis.contrast import contrast
from defocus_lib.maps.estimate import normalize_per_sample
from defocus_lib.run import artifacts
from defocus_lib.scenes import rendered

SIGMA = np.array([[1.0, 3.0], [5.0, 8.0]])
UPPER = np.array([[True, True], [False, False]])
KINDS = ("real", "splice", "texture")


class Made:
    """Maps of noise, each that of its id; their uncertainty rises with sigma."""

    preset = "made"

    def __init__(self, shape=(12, 9)):
        self.shape = shape

    def stack(self, records):
        seeds = [np.random.default_rng([ord(letter) for letter in name]) for name in records["id"]]
        sigma = np.stack([rng.random(self.shape) + 0.5 for rng in seeds]).astype(np.float32)
        return sigma, sigma > 1.2

    def uncertainty(self, records):
        return self.stack(records)[0] / 5


def made_records(groups=4):
    rows = [
        (f"{group}/{kind}", f"g{group}", kind, int(kind != "real"), f"{group}/real")
        for group in range(groups)
        for kind in KINDS
    ]
    columns = ["id", "group", "manipulation", "label", "pair"]
    return pd.DataFrame(rows, columns=columns)


def test_the_eight_by_hand():
    edges = np.array([[True, False], [True, True]])
    values = blur_statistics(SIGMA[None], edges[None], UPPER)
    by_hand = {
        "mean": 17 / 4,
        "spread": np.std([1, 3, 5, 8]),
        "sharpest_tenth": 1 + 0.3 * 2,  # at 0.3 of the way from the first to the second value
        "blurriest_tenth": 5 + 0.7 * 3,
        # Differences along rows and columns: (2, 4), (2, 5), (3, 4), (3, 5).
        "gradient": np.mean(np.hypot([2, 2, 3, 3], [4, 5, 4, 5])),
        "contrast": 2 - 6.5,
        "contrast_at_edges": 1 - 6.5,
        "contrast_of_spread": 1 - 1.5,
        EDGES: 1 / 2 - 1,
    }
    assert list(values) == list(by_hand)
    for name, value in by_hand.items():
        assert values[name] == pytest.approx([value]), name


def test_the_contrast_is_that_of_one_map_and_needs_edges_on_both_sides_for_edges():
    sigma = np.random.default_rng(0).random((3, 8, 8)) + 1e4  # squares of such maps nearly cancel
    regions = np.random.default_rng(1).random((3, 8, 8)) < 0.4
    edges = regions.copy()
    values = blur_statistics(sigma, edges, regions)
    expected = [contrast(*each).difference for each in zip(sigma, regions, strict=True)]
    np.testing.assert_allclose(values["contrast"], expected, atol=1e-9)
    spreads = [m[r].std() - m[~r].std() for m, r in zip(sigma, regions, strict=True)]
    np.testing.assert_allclose(values["contrast_of_spread"], spreads, atol=1e-6)
    assert (values["contrast_at_edges"] == 0).all()


@pytest.mark.parametrize(
    ("sigma", "region", "message"),
    [
        (SIGMA, np.ones((2, 2), bool), "surroundings of map 0 has no pixel"),
        (SIGMA, np.zeros((2, 2), bool), "region of map 0 has no pixel"),
        (SIGMA * np.nan, UPPER, "NaN"),
    ],
)
def test_what_has_no_statistics_is_named(sigma, region, message):
    with pytest.raises(ValueError, match=message):
        blur_statistics(sigma[None], UPPER[None], region)


def test_normalised_rows_are_the_statistics_of_normalised_maps():
    records, maps, part = made_records(), Made(), Part("ellipse", 0.6)
    table = measure(records, maps, part)
    sigma, edges = maps.stack(records)
    normal = normalize_per_sample(sigma[:, None])[:, 0].numpy()
    expected = blur_statistics(normal, edges, part(records, sigma.shape[1:]))
    rows = table[table["scale"] == "min-max"]
    assert rows["id"].tolist() == records["id"].tolist()
    for name in (*STATISTICS, EDGES):
        np.testing.assert_allclose(rows[name], expected[name], atol=1e-6)
    assert table[IN_UNCERTAINTIES].isna().all()


def test_a_constant_map_has_no_contrast_on_either_scale():
    maps = Made()
    maps.stack = lambda rows: (np.full((len(rows), 6, 6), 2.0, np.float32),) * 2
    table = measure(made_records(1), maps, Part())
    assert (table["contrast"] == 0).all() and not table.filter(like="mean").isna().any(axis=None)
    assert table.groupby("scale")["mean"].first().to_dict() == {"px": 2.0, "min-max": 0.0}


def test_uncertainties_are_those_of_single_maps_and_known_in_px_only(monkeypatch):
    records, maps = made_records(), Made()
    table = measure(records, maps, Part(), uncertain=True)
    of_image, (sigma, _) = table[table["scale"] == "px"], maps.stack(records)
    region, errors = Part()(records, sigma.shape[1:]), maps.uncertainty(records)
    expected = [contrast(s, region, u).in_uncertainties for s, u in zip(sigma, errors, strict=True)]
    np.testing.assert_allclose(of_image[IN_UNCERTAINTIES], expected)
    assert table.loc[table["scale"] == "min-max", IN_UNCERTAINTIES].isna().all()
    monkeypatch.setattr("defocus_lib.analysis.blur_statistics.CHUNK", 5)
    pd.testing.assert_frame_equal(
        measure(records, maps, Part(), True).sort_values(["scale", "id"], ignore_index=True),
        table.sort_values(["scale", "id"], ignore_index=True),
    )


def test_known_regions_are_the_masks_and_real_images_have_those_of_their_manipulations(tmp_path):
    records = made_records(2)
    planes = np.zeros((6, 4, 4), bool)
    planes[1, 0, 0] = planes[2, 0, 1] = planes[4, 2, 2] = planes[5, 2, 2] = True
    truth = {"ids": records["id"].to_numpy(dtype=str), "regions": planes}
    about = artifacts.About("scenes", has=("pairs", "regions"))
    folder = artifacts.Folder.create("p", tmp_path, about)
    artifacts.write_arrays(tmp_path / rendered.TRUTH, truth, {})
    region = KnownRegions.of(folder, records, 4)
    found = region(records.iloc[[3, 0, 1]], (4, 4))
    assert [np.argwhere(each).tolist() for each in found] == [[[2, 2]], [[0, 0], [0, 1]], [[0, 0]]]
    with pytest.raises(ValueError, match="1/real: no manipulated image"):
        KnownRegions.of(folder, records.iloc[:4], 4)


def test_a_part_states_its_form_and_share():
    assert Part("ellipse", 0.6).title == "central ellipse, 60 % of each side"
    for wrong in (("circle", 0.5), ("ellipse", 1.0), ("rectangle", 0.0)):
        with pytest.raises(ValueError, match="wanted"):
            Part(*wrong)
