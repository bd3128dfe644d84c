import pytest

from defocus_lib.stats.claims import Claim, table

NAN = float("nan")


def claim(low, high, **changes):
    return Claim("it is so", (low + high) / 2, low, high, **{"groups": 75, **changes})


@pytest.mark.parametrize(
    ("low", "high", "changes", "verdict"),
    [
        (0.01, 0.2, {}, "supported"),
        (-0.2, -0.01, {}, "not supported"),
        (-0.2, 0.0, {}, "not supported"),
        (0.0, 0.2, {}, "undecided"),
        (-0.1, 0.2, {}, "undecided"),
        (0.3, 0.4, {"compared_with": 0.5, "relation": "below"}, "supported"),
        (0.5, 0.6, {"compared_with": 0.5, "relation": "below"}, "not supported"),
        (0.4, 0.6, {"compared_with": 0.5, "relation": "below"}, "undecided"),
        (0.46, 0.54, {"compared_with": 0.5, "relation": "within", "margin": 0.05}, "supported"),
        (0.40, 0.52, {"compared_with": 0.5, "relation": "within", "margin": 0.05}, "undecided"),
        (0.56, 0.70, {"compared_with": 0.5, "relation": "within", "margin": 0.05}, "not supported"),
        (0.01, 0.2, {"groups": 19}, "not enough data"),
        (0.01, 0.2, {"seeds": 2}, "not enough data"),
        (0.01, 0.2, {"epochs": 4}, "not enough data"),
        (0.01, 0.2, {"groups": 20, "seeds": 3, "epochs": 5}, "supported"),
        (NAN, NAN, {}, "not enough data"),
    ],
)
def test_the_verdict_follows_the_interval_and_the_counts(low, high, changes, verdict):
    assert claim(low, high, **changes).verdict == verdict


def test_turning_the_question_round_turns_the_verdict_round():
    for low, high in ((0.1, 0.3), (-0.3, -0.1), (-0.1, 0.1)):
        above = claim(low, high).verdict
        below = claim(-high, -low, relation="below").verdict
        assert above == below


def test_an_interval_over_one_seed_is_not_shown():
    rows = table([claim(0.1, 0.2, seeds=1), claim(0.1, 0.2, seeds=3, unit="video")])
    cells = [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in rows["estimate [95 % CI]"]]
    assert cells == ["+0.15", "+0.15 [+0.10, +0.20]"]
    assert [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in rows["n"]] == [
        "75 scenes, 1 seed",
        "75 videos, 3 seeds",
    ]
    assert rows["verdict"].tolist() == ["not enough data", "supported"]


def test_what_it_is_compared_with_is_shown_with_the_relation():
    rows = table(
        [
            claim(0.1, 0.2, compared_with=0.5, relation="below", style=".1f"),
            claim(0.4, 0.6, compared_with=0.5, relation="within", margin=0.1, style=".1f"),
            claim(0.1, 0.2, compared_with=0.1, style=".1%"),
        ]
    )
    cells = [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in rows["compared with"]]
    assert cells == ["< 0.5", "0.4 to 0.6", "> 10%"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"relation": "near"}, "relation is 'near'"), ({"relation": "within"}, "margin is 0")],
)
def test_an_impossible_claim_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        claim(0.1, 0.2, **changes)


def test_a_caution_stands_beside_every_verdict():
    pages = [claim(0.1, 0.2), claim(-0.2, -0.1)]
    plain, marked = table(pages), table(pages, "the files give the label away (AUC 1.00)")
    assert marked["caution"].tolist() == ["the files give the label away (AUC 1.00)"] * 2
    assert marked.drop(columns="caution").equals(plain) and "caution" not in plain


def test_a_page_without_a_claim_has_an_empty_table():
    assert table([]).empty and table([]).index.name == "claim"
