"""The front page: its words are the chapters' words, and what it cannot say it says."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from ccfs_lib import paper, report, results
from ccfs_lib.claims import compare
from ccfs_lib.experiment import preset

ROOT = Path(__file__).resolve().parents[2]
OURS, OTHER = [60.0, 62.0, 61.0], [59.0, 60.8, 60.1]  # apart in pairs, not by Welch
CCFS = "simple-misclassified"


@pytest.fixture(scope="module")
def findings():
    sys.path.insert(0, str(ROOT / "book"))
    try:
        return import_module("findings")
    finally:
        sys.path.remove(str(ROOT / "book"))


def measure(folder, arm, last, run="digits-ipc20", **config):
    rows = [
        {"seed": i, "last": v, "best": v, "images": 200, "wanted": 200}
        for i, v in enumerate(last)
    ]
    config = {"dataset": "digits", "ipc": 20, "teacher_last": 98.0, **config}
    results.write(folder, run, arm, config=config, rows=rows, provenance={})


def test_page_and_chapter_say_the_same(findings, tmp_path):
    for arm, last in ((CCFS, OURS), ("random", OTHER), ("random-hard", OTHER)):
        measure(tmp_path, arm, last)
    page = findings.write_up(tmp_path, {"digits-ipc20": {}})
    rows = results.load(tmp_path)
    chapter = repr(report.arms.answer(rows, preset())).replace("\xa0", " ")
    d = compare.compare(rows, CCFS, "random")
    said = report.text.told(d).replace("\xa0", " ")
    assert said in page and said in chapter
    assert "[holds]{.verdict .yes}" in page and "**holds**" in chapter
    assert compare.PAIRED in page and compare.PAIRED in chapter
    assert all(f"| {compare.NAMES[arm]} |" in page for arm in set(rows["cell"]))


def test_arms_of_different_settings_have_a_reason_and_no_number(findings, tmp_path):
    measure(tmp_path, CCFS, OURS, curricula=3)
    measure(tmp_path, "random", OTHER, curricula=2)
    measure(tmp_path, "distilled", [40.0, 41.0, 42.5], curricula=3)
    page = findings.write_up(tmp_path, {"digits-ipc20": {}})
    assert "not compared, because 'simple-misclassified' and 'random' differ in" in page
    assert "curricula (2, 3)" in page
    assert "Orderings tested, paired by seed: 1. Hold: 1." in page


def test_other_runs_are_folded_and_the_short_text_counts(findings, tmp_path):
    measure(tmp_path, CCFS, OURS)
    measure(tmp_path, "random-misclassified", OTHER)
    measure(tmp_path, CCFS, OTHER, run="digits-ipc20-j1", curricula=1)
    page = findings.write_up(tmp_path, {"digits-ipc20": {"title": "Own"}})
    first, rest = page.split("::::{dropdown} 1\xa0more run")
    assert "### Own" in first and "digits-ipc20-j1" not in first
    assert "| digits-ipc20-j1 | CCFS: simplest misclassified | 60.0" in rest
    short = findings.short(tmp_path)
    # One claim has both its arms; the phases' has no second J beside it.
    assert "Of the 35 claims" in short and "1 are tested here" in short
    assert "Hold in every run that tests them: 1; in some: 0" in short
    assert short.count("[holds]{.verdict .yes}") == 1 and "(1 of 1\xa0run)" in short
    assert "does not compare" not in short
    assert findings.short(tmp_path / "absent") == findings.NOTHING


def test_the_short_text_ends_with_the_control_that_the_paper_lacks(findings, tmp_path):
    measure(tmp_path, CCFS, OURS)
    measure(tmp_path, "random", OTHER)
    measure(tmp_path, CCFS, OURS, run="digits-ipc40", ipc=40)
    measure(tmp_path, "random", OURS, run="digits-ipc40", ipc=40)
    for arm in (CCFS, "random"):  # an ablation is no further witness
        measure(tmp_path, arm, OTHER, run="digits-ipc20-j1", curricula=1)
    *_, own = findings.short(tmp_path).strip().splitlines()
    assert own.startswith("- [holds]{.verdict .yes} CCFS beats random real images")
    assert own.endswith("same teacher. *(1 of 2\xa0runs; 1 too close)*")
    for arm in (CCFS, "random"):
        on = {"evaluation_network": "resnet18", "distillation": {"method": "cda"}}
        measure(tmp_path, arm, OURS, run="digits-ipc20-on-resnet18", **on)
    *_, own, other = findings.short(tmp_path).strip().splitlines()
    assert own.endswith("same teacher. *(1 of 2\xa0runs; 1 too close)*")
    assert "[too close to call]" in other and "no part in choosing" in other


def test_every_claim_is_there_with_the_runs_that_test_it(findings, tmp_path):
    measure(tmp_path, CCFS, OURS)
    measure(tmp_path, "random-misclassified", OTHER)
    text = findings.claims(tmp_path)
    assert text.startswith("1 of the paper's 35 claims are tested here.")
    tested, rest = text.split("## Not tested here")
    known = paper.claims().set_index("id").claim
    claim = known["simple-over-random-misclassified"]
    assert f"**{claim}**" in tested and claim not in rest
    assert all(other in rest for other in known if other != claim)
    (row,) = [line for line in tested.splitlines() if "digits, IPC 20" in line]
    assert row.startswith("- [holds]{.verdict .yes}") and "3 seeds" in row
    d = compare.compare(results.load(tmp_path), CCFS, "random-misclassified")
    assert f": +{d.mean:.1f} ± {d.half:.1f}, would show from " in row


def test_claims_without_results_are_not_tested(findings, tmp_path):
    measure(tmp_path, CCFS, OURS)
    text = findings.claims(tmp_path)
    assert text.startswith("0 of the paper's 35 claims are tested here.")
    assert text.count("\n- ") == 35
    assert findings.claims(tmp_path / "absent").startswith("No claim is tested: root")
    measure(tmp_path, "random-misclassified", OTHER)
    measure(tmp_path, "random-misclassified", OTHER, run="copy")
    assert "has seed 0 twice" in findings.claims(tmp_path)
