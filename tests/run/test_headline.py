from defocus_lib.run import artifacts, headline
from defocus_lib.stats.claims import Claim


def test_claims_are_listed_in_the_order_of_their_pages_with_verdict_and_link(tmp_path):
    folder = artifacts.Folder.create("tiny", tmp_path)
    assert headline.compose(folder).read_text().startswith("No page")
    headline.save(folder, "12_generalisation", [Claim("carries over", 0.51, 0.4, 0.61, 75)])
    headline.save(folder, "06_local_variance", [Claim("differs", 0.1, -0.05, 0.25, 75)])
    head, rule, first, second = headline.compose(folder).read_text().splitlines()
    assert head.count("|") == rule.count("|") == first.count("|") == 7
    first = first.replace("\N{NO-BREAK SPACE}", " ")
    assert first == (
        "| differs | +0.10 [-0.05, +0.25] | > 0 | 75 scenes | undecided "
        "| {doc}`06 <executed/06_local_variance>` |"
    )
    assert "carries over" in second
    headline.save(folder, "12_generalisation", [Claim("now", 0.6, float("nan"), float("nan"), 1)])
    assert "| not enough data |" in headline.compose(folder).read_text().splitlines()[3]


def test_files_that_give_the_label_away_are_told_beside_every_claim(tmp_path):
    about = artifacts.About(file_facts_auc=0.987)
    folder = artifacts.Folder.create("tiny", tmp_path, about)
    headline.save(folder, "06_local_variance", [Claim("differs", 0.1, 0.05, 0.2, 75)])
    headline.save(folder, "07_tsne", [Claim("groups", 0.1, 0.05, 0.2, 75)])
    headline.save(folder, "15_real_images", [Claim("differs", 0.1, 0.05, 0.2, 75)])
    head, rule, *rows, _, below = headline.compose(folder).read_text().splitlines()
    assert len(rows) == 3 and head.count("|") == rule.count("|") == rows[0].count("|") == 8
    marked = "| supported | the files give the label away (AUC 0.99) |"
    assert [marked in row for row in rows] == [True, True, False], "the last is about other data"
    assert below.startswith("**The files of these data give the label away.**")
    artifacts.Folder.create("tiny", tmp_path, artifacts.About())
    assert "give the label away" not in headline.compose(folder).read_text()


def test_no_statement_breaks_the_table(tmp_path):
    folder = artifacts.Folder.create("tiny", tmp_path)
    headline.save(folder, "06_local_variance", [Claim("|d| < D", 0.1, 0.05, 0.2, 75)])
    row = headline.compose(folder).read_text().splitlines()[2]
    assert row.startswith(r"| \|d\| &lt; D | ")


def test_a_page_that_claims_nothing_is_not_listed(tmp_path):
    folder = artifacts.Folder.create("tiny", tmp_path)
    headline.save(folder, "05_binary_mask", [])
    assert headline.compose(folder).read_text().startswith("No page")
    headline.save(folder, "06_local_variance", [Claim("differs", 0.1, 0.05, 0.2, 75)])
    assert "executed/05" not in headline.compose(folder).read_text()
