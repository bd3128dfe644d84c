import pytest

from defocus_lib import findings, store


def test_findings_are_listed_in_the_order_of_their_pages_with_interval_and_link(tmp_path):
    folder = store.Folder.create("tiny", tmp_path)
    assert findings.compose(folder).read_text().startswith("- Nothing was measured")
    findings.save(folder, "12_generalisation", "Mean AUC {number}.", 0.512, 0.4, 0.61)
    findings.save(folder, "06_local_variance", "Ahead by {number}.", 0.1, -0.05, 0.25, style="+.2f")
    lines = findings.compose(folder).read_text().splitlines()
    assert lines[0].replace("\u00a0", " ") == "- Ahead by **+0.10** [-0.05, +0.25]. {doc}`executed/06_local_variance`"
    assert "**0.51**" in lines[1]
    findings.save(folder, "12_generalisation", "Now {number}.", 0.6, float("nan"), float("nan"))
    assert "Now **0.60**. {doc}" in findings.compose(folder).read_text()
    assert len(findings.compose(folder).read_text().splitlines()) == 2


def test_a_finding_without_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a sentence with \{number\} wanted"):
        findings.save(store.Folder.create("tiny", tmp_path), "x", "All is well.", 1, 1, 1)
