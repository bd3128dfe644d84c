"""AUC of scores with a known answer: by scikit-learn, by hand, and without a leak between folds."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from defocus_lib.analysis import contrast_detector as detector
from defocus_lib.analysis.blur_statistics import EDGES, IN_UNCERTAINTIES, STATISTICS, Part, measure
from defocus_lib.analysis.contrast_detector import (
    CONTRAST,
    EIGHT,
    FEWER_EDGES,
    TWO_SIDED,
    UNCERTAIN,
)
from tests.analysis.test_blur_statistics import KINDS, Made, made_records

COLUMNS = [*STATISTICS, IN_UNCERTAINTIES, EDGES]


@pytest.fixture
def measured():
    """Noise for statistics, in which the contrast of a splice is raised by one."""
    records, rng = made_records(20), np.random.default_rng(3)
    tables = []
    for scale in ("px", "min-max"):
        values = pd.DataFrame(rng.normal(size=(len(records), len(COLUMNS))), columns=COLUMNS)
        tables.append(pd.concat([records.assign(scale=scale), values], axis=1))
    table = pd.concat(tables, ignore_index=True)
    table.loc[table["manipulation"] == "splice", "contrast"] += 1
    return table


def test_auc_is_that_of_scikit_learn_and_its_sign_is_not_chosen(measured):
    rows = detector.of_kind(measured, "splice")
    scores = detector.scores(rows, "px", [], all_of_them=True)
    assert list(scores) == [CONTRAST, UNCERTAIN, TWO_SIDED, FEWER_EDGES]
    np.testing.assert_array_equal(scores[TWO_SIDED], np.abs(scores[CONTRAST]))
    opposite = measured.assign(contrast=-measured["contrast"])
    for table, sign in ((measured, 1), (opposite, -1)):
        compared = detector.compare(
            {"made": table}, "splice", n_bootstrap=50, every_score_of="made"
        )
        auc = detector.auc_table({"splice": compared}).set_index(detector.KEYS)["value"]
        expected = roc_auc_score(rows["label"], sign * rows["contrast"])
        assert auc["made", "px", CONTRAST] == pytest.approx(expected)
        assert auc["made", "px", FEWER_EDGES] == pytest.approx(
            roc_auc_score(rows["label"], -rows[EDGES])
        )
    assert expected < 0.4


def test_no_group_is_in_training_and_test_rows(measured):
    rows = detector.of_kind(measured, "splice")
    splits = detector.splits_of(rows, 5)
    assert len(splits) == 5
    tested = np.concatenate([test for _, test in splits])
    assert sorted(tested) == list(range(len(rows)))
    for train, test in splits:
        assert not set(rows["group"].iloc[train]) & set(rows["group"].iloc[test])
        assert set(rows["label"].iloc[train]) == {0, 1}


def test_folds_hold_both_classes_where_groups_are_of_one_class():
    rows = pd.DataFrame({"label": [0] * 40 + [1] * 3, "group": np.arange(43).astype(str)})
    splits = detector.splits_of(rows, 5)
    assert len(splits) == 3  # as many as the rarer class has groups
    assert all(rows["label"].iloc[test].sum() == 1 for _, test in splits)
    assert detector.splits_of(rows.iloc[:41]) == []
    assert detector.splits_of(rows.iloc[:40]) == []


def test_predictions_are_those_of_models_that_did_not_see_the_group(measured):
    rows = detector.of_kind(measured, "splice")
    splits = detector.splits_of(rows, 4)
    validated = detector.cross_validated(rows, splits)
    train, test = splits[1]
    values, labels = rows[list(STATISTICS)].to_numpy(), rows["label"].to_numpy()
    scaler = StandardScaler().fit(values[train])
    model = LogisticRegression().fit(scaler.transform(values[train]), labels[train])
    expected = model.decision_function(scaler.transform(values[test]))
    np.testing.assert_allclose(validated.logits[test], expected)
    np.testing.assert_allclose(validated.coefficients.iloc[1], model.coef_[0])
    # A model that had seen what it predicts would tell labels that say nothing.
    chance = rows.assign(label=np.random.default_rng(0).permutation(labels))
    score = roc_auc_score(chance["label"], detector.cross_validated(chance, splits).logits)
    assert score < 0.65


def test_nothing_depends_on_the_order_of_the_rows(measured):
    shuffled = measured.sample(frac=1, random_state=1)
    tables = [
        detector.auc_table({"splice": detector.compare({"made": table}, "splice", 3, 40, seed=2)})
        for table in (measured, shuffled)
    ]
    pd.testing.assert_frame_equal(*tables)
    assert tables[0]["score"].tolist() == [CONTRAST, EIGHT] * 2


def test_a_difference_is_that_of_two_auc_on_the_same_resamples(measured):
    compared = detector.compare({"made": measured}, "splice", n_bootstrap=60)
    own, other = ("made", "px", CONTRAST), ("made", "min-max", CONTRAST)
    value, low, high = detector.Comparison.difference(compared, own, other)
    table = detector.auc_table({"splice": compared}).set_index(detector.KEYS)["value"]
    assert low < value < high and value == pytest.approx(table[own] - table[other])
    assert compared.difference(own, own) == (0, 0, 0) and compared.groups == 20


def test_pairs_are_compared_by_hand():
    table = made_records(2).assign(scale="px", contrast=[1.0, 3.0, 0.5, 2.0, 2.5, 2.0])
    found = detector.paired_differences({"made": table}, n_bootstrap=50).set_index("manipulation")
    assert found.loc["splice", ["value", "blurrier", "pairs"]].tolist() == [1.25, 1.0, 2]
    assert found.loc["splice", "spread"] == pytest.approx(0.75)
    assert found.loc["texture", ["value", "blurrier"]].tolist() == [-0.25, 0.0]
    alone = table[table["id"] != "1/real"]
    assert detector.paired_differences({"made": alone}, 50)["pairs"].tolist() == [1, 1]
    shown = detector.paired_shown(found.reset_index())
    assert shown.index.tolist() == ["made, px", "made, blurrier"]
    assert shown.loc["made, blurrier"].tolist() == ["100%", "0%"]


def test_central_parts_have_the_contrast_of_their_part():
    records, maps = made_records(3), Made()
    parts = [Part("rectangle", 0.5), Part("ellipse", 0.8)]
    contrasts = detector.part_contrasts(records, maps, parts)
    for part in parts:
        table = measure(records, maps, part)
        expected = table.loc[table["scale"] == "px", "contrast"]
        np.testing.assert_allclose(contrasts[part.title], expected, atol=1e-6)
    found = detector.sensitivity(contrasts, parts)
    rows = contrasts[contrasts["manipulation"].isin(["real", "texture"])]
    expected = roc_auc_score(rows["label"], rows[parts[1].title])
    assert found.iloc[-1].tolist() == ["ellipse", 0.8, "texture", expected]
    compared = detector.compare_part(contrasts, parts[1], "made", "texture", n_bootstrap=20)
    assert detector.auc_table({"texture": compared})["value"].tolist() == [expected]


def test_claims_hold_the_contrast_against_chance_and_px_against_min_max(measured):
    compared = {
        kind: detector.compare({"made": measured}, kind, n_bootstrap=60) for kind in KINDS[1:]
    }
    above = detector.claims(compared, "made", "known region (an oracle)", "scene")
    assert [claim.compared_with for claim in above] == [0.5, 0.5]
    assert above[0].verdict == "supported" and above[0].groups == 20
    assert "known region (an oracle), `made`: AUC on splice" in above[0].statement
    gains = detector.difference_claims({"splice": compared["splice"]}, "made", "centre", "scene")
    assert [claim.statement.rsplit(", ", 1)[1] for claim in gains] == [
        "px less min-max normalised",
        "eight statistics less contrast alone",
    ]


def test_coefficients_name_the_statistic_that_separates(measured):
    table = detector.coefficients(measured, KINDS[1:], folds=4)
    splice = table[table["manipulation"] == "splice"].set_index("statistic")
    assert splice["mean"].idxmax() == "contrast" and splice.loc["contrast", "lowest"] > 0
    assert (table["lowest"] <= table["mean"]).all() and (table["mean"] <= table["highest"]).all()
    assert len(table) == 2 * len(STATISTICS)


def test_a_table_for_a_page_names_only_what_differs(measured):
    compared = {"splice": detector.compare({"made": measured}, "splice", n_bootstrap=20)}
    table = detector.auc_table(compared)
    assert detector.auc_shown(table).index.tolist() == [
        "px, contrast", "px, eight statistics", "min-max, contrast", "min-max, eight statistics",
    ]  # fmt: skip
    assert detector.auc_shown(table[table["score"] == EIGHT]).index.tolist() == ["px", "min-max"]
    assert detector.auc_shown(table.head(1)).index.tolist() == ["made"]
