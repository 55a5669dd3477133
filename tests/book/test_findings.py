"""The front page: its words are the chapters' words, and what it cannot say it says."""

import math
import re
import sys
from importlib import import_module
from pathlib import Path

import pandas
import pytest

from ccfs_lib import paper, report, results
from ccfs_lib.claims import compare
from ccfs_lib.claims.ledger import Line, ledger
from ccfs_lib.experiment import preset

ROOT = Path(__file__).resolve().parents[2]
OURS, OTHER = [60.0, 62.0, 61.0], [59.0, 60.8, 60.1]  # apart in pairs, not by Welch
CCFS = "simple-misclassified"


def page(name):
    sys.path.insert(0, str(ROOT / "book"))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(ROOT / "book"))


@pytest.fixture(scope="module")
def findings():
    return page("findings")


@pytest.fixture(scope="module")
def verdicts():
    return page("verdicts")


def measure(folder, arm, last, run="digits-ipc20", **config):
    rows = [
        {"seed": i, "last": v, "best": v, "images": 200, "wanted": 200}
        for i, v in enumerate(last)
    ]
    config = {"dataset": "cifar10", "ipc": 20, "alpha": 0.2, **config}
    config["teacher_last"] = 98.0
    config |= {"train": config["dataset"], "scale": "laptop", "network": "convnet"}
    results.write(folder, run, arm, config=config, rows=rows, provenance={})


def test_page_and_chapter_say_the_same(findings, tmp_path):
    for arm, last in ((CCFS, OURS), ("random", OTHER), ("random-hard", OTHER)):
        measure(tmp_path, arm, last)
    page = findings.write_up(tmp_path, {"digits-ipc20": {}})
    rows = results.load(tmp_path)
    chapter = repr(report.arms.answer(rows, preset())).replace("\xa0", " ")
    d = compare.compare(rows, CCFS, "random")
    said = report.text.interval(d).replace("\xa0", " ")
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


def test_a_readers_run_stands_apart_and_moves_no_verdict(findings, verdicts, tmp_path):
    known, own = tmp_path / "results", tmp_path / "results-own"
    for arm, last in ((CCFS, OURS), ("random-misclassified", OTHER)):
        measure(known, arm, last)
    runs = {"digits-ipc20": {"title": "Ours"}, "mine-ipc5": {"title": "Mine"}}
    before = findings.write_up(known, runs), verdicts.short(known)
    for arm, last in ((CCFS, OTHER), ("random-misclassified", OURS)):
        measure(own, arm, last, run="mine-ipc5")
        measure(own, arm, last, run="undeclared")
    text = findings.write_up(known, runs, own)
    assert text.startswith(before[0].rstrip()) and verdicts.short(known) == before[1]
    added = text.removeprefix(before[0].rstrip())
    assert "### Mine" in added and findings.OWN in added and "undeclared" not in text


def test_other_runs_are_folded(findings, tmp_path):
    measure(tmp_path, CCFS, OURS)
    measure(tmp_path, "random-misclassified", OTHER)
    measure(tmp_path, CCFS, OTHER, run="digits-ipc20-j1", curricula=1)
    page = findings.write_up(tmp_path, {"digits-ipc20": {"title": "Own"}})
    first, rest = page.split("::::{dropdown} 1\xa0more run")
    assert "### Own" in first and "digits-ipc20-j1" not in first
    name = "CIFAR-10, IPC 20, ConvNet; J = 1"
    assert f"| {name} | CCFS: simplest misclassified | 60.0" in rest


def test_a_run_is_named_for_readers_and_no_name_is_there_twice(findings, tmp_path):
    wanted = {"batch_size_by": "wanted", "ipc": 50, "curricula": 3}
    measure(tmp_path, CCFS, OURS, run="full-91cdbe", ipc=50)
    for arm in (CCFS, "random", "distilled"):
        measure(tmp_path, arm, OURS, run="base", **wanted)
    theirs = wanted | {"selected_from": "data/selected/base", "distilled_from": "x/y"}
    measure(tmp_path, "selected", OURS, run="a-640810", **theirs)
    one = {"selected_from": "s/base/simple-misclassified-seed0.json", "ipc": 50}
    measure(tmp_path, "selected", OURS, run="b-640810", **one)
    measure(tmp_path, CCFS, OURS, run="c-1", **wanted, distilled_from="d/images")
    for run in ("e-1", "e-2"):
        measure(tmp_path, CCFS, OURS, run=run, **wanted, alpha=0.0)
    rows = results.load(tmp_path)
    place = "CIFAR-10, IPC 50, ConvNet"
    made = "batch size by images made"
    assert findings.labels(rows, rows) == {
        "full-91cdbe": f"{place}; {made}",
        "base": place,
        "a-640810": f"{place}; set of ConvNet",
        "b-640810": f"{place}; {made}; set of ConvNet, seed 0 for all",
        "c-1": f"{place}; distilled images of `images`",
        "e-1": f"{place}; alpha 0 (`e-1`)",
        "e-2": f"{place}; alpha 0 (`e-2`)",
    }


def test_a_row_of_table_1_under_a_budget_has_its_title(findings, tmp_path):
    for cell, config in (
        ("mtt-10-teacher", {"choices": {"budget": 10.0}}),
        ("mtt-10", {"choices": {"budget": 10.0}}),
        ("random", {}),
    ):
        measure(tmp_path, cell, OURS, **config)
    text = findings.arms("digits-ipc20", results.load(tmp_path))
    assert "| MTT (10 minutes a set) |" in text
    assert "| MTT, with the teacher (10 minutes a set) |" in text


def test_digits_have_no_badge_and_say_why(findings, tmp_path):
    for arm, last in ((CCFS, OURS), ("random", OTHER)):
        measure(tmp_path, arm, last, dataset="digits")
    page = findings.write_up(tmp_path, {"digits-ipc20": {}})
    assert ".verdict" not in page and "- *holds*: **CCFS beats random" in page
    assert "Digits show the method, and are no evidence." in page


@pytest.mark.parametrize(("final", "hardly"), [(0.97, True), (0.8, False)])
def test_a_matching_that_hardly_moved_is_called_so(findings, final, hardly):
    rows = pandas.DataFrame({"first": [1.0, 1.0], "final": [final, final]})
    text = findings.matched(rows)
    assert f"from 1.00 to {final:.2f}" in text and ("hardly" in text) == hardly
    assert text.startswith("MTT's matching loss")
    assert findings.matched(rows.assign(first=math.nan)) == ""


def test_a_badge_needs_every_test_that_counts(verdicts, tmp_path):
    rival = "random-misclassified"
    for arm, last in ((CCFS, OURS), (rival, OTHER)):
        measure(tmp_path, arm, last)
    text = verdicts.short(tmp_path)
    assert "Of the 35 claims" in text and "1 are tested here on photographs" in text
    few = "1 with one test only; none tested in a cell (data set, IPC) of the paper"
    held = f"Hold in every test: 1 ({few})."
    assert held in text and "in others" not in text
    assert held in verdicts.counted(tmp_path)
    (line,) = [line for line in text.splitlines() if line.startswith("- ")]
    sentence = paper.claims().set_index("id").tested["simple-over-random-misclassified"]
    assert line.startswith(f"- [holds]{{.verdict .yes}} {sentence} *(1\xa0test: 1 for;")
    assert "1\xa0teacher, 0 of the paper's 10\xa0cells; on CIFAR-10" in line
    assert "in the paper's cell" not in line
    assert "1 for; the paper's number is inside the interval; 1" in line
    # Another teacher leaves it open. The same at another IPC is one teacher.
    other = {"run": "cifar10-ipc500", "ipc": 500, "teacher_network": "resnet18"}
    measure(tmp_path, CCFS, OURS, **other)
    measure(tmp_path, rival, [*reversed(OURS)], **other)
    (line,) = [s for s in verdicts.short(tmp_path).splitlines() if s.startswith("- ")]
    assert line.startswith("- [holds in 1 of 2]{.verdict .open}")
    assert "in the paper's cell CIFAR-10, IPC 500, here with ConvNet, teacher " in line
    assert "2\xa0tests: 1 for, 1 too close;" in line and "2\xa0teachers" in line
    assert "1 of the paper's 10\xa0cells" in line
    again = {"run": "cifar10-ipc40", "ipc": 40}
    for arm, last in ((CCFS, OURS), (rival, OTHER)):
        measure(tmp_path, arm, last, **again)
    (line,) = [s for s in verdicts.short(tmp_path).splitlines() if s.startswith("- ")]
    assert "[holds in 2 of 3]" in line
    assert "3\xa0tests: 2 for, 1 too close;" in line and "2\xa0teachers" in line
    assert verdicts.short(tmp_path / "absent") == verdicts.NOTHING


def test_claims_that_are_open_in_every_test_are_listed_last(verdicts, tmp_path):
    measure(tmp_path, CCFS, OURS)
    measure(tmp_path, "random-misclassified", OTHER)
    measure(tmp_path, "simple-classified", [61.0, 60.0, 62.5])
    clear, unclear = verdicts.short(tmp_path).split("Too close to call in every test:")
    assert "- [holds]{.verdict .yes}" in clear and "close]" not in clear
    lines = [line for line in unclear.splitlines() if line.startswith("- ")]
    assert lines and all("[too close to call]" in line for line in lines)


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.05002, "0.05002"),
        (0.04998, "0.04998"),
        (0.0511, "0.051"),
        (1e-5, "below 0.001"),
    ],
)
def test_a_corrected_p_shows_on_which_side_of_5_percent_it_is(verdicts, p, text):
    assert page("tested")._p(p) == text


def test_claims_are_counted_by_what_their_tests_say_together(verdicts):
    words = ["holds", "holds", "fails in some", "not tested here"]
    assert verdicts._sums(words, " (1 after)") == (
        "Hold in every test: 2 (1 after); contradicted in some, too close to call in "
        "the others: 1"
    )
    assert verdicts._sums(["mixed"], " (1 after)").startswith("Hold in some, contra")


def test_digits_never_decide_a_badge(verdicts, tmp_path):
    rival = "random-misclassified"
    for arm, last in ((CCFS, OURS), (rival, OTHER)):
        measure(tmp_path, arm, last, dataset="digits")
    text = verdicts.short(tmp_path)
    assert "0 are tested here on photographs" in text and ".verdict" not in text
    assert "Tested on digits only, which is no evidence: 1." in text
    page = verdicts.claims(tmp_path)
    assert "On digits, which show the method and are no evidence:\n\n- *holds*," in page
    assert "corrected p" not in page
    measure(tmp_path, CCFS, OTHER, run="b")
    measure(tmp_path, rival, OURS, run="b")
    (line,) = [s for s in verdicts.short(tmp_path).splitlines() if s.startswith("- ")]
    assert line.startswith("- [does not hold]{.verdict .no}")


def test_the_short_text_ends_with_the_controls_that_the_paper_lacks(verdicts, tmp_path):
    measure(tmp_path, CCFS, OURS, run="c-ipc20")
    measure(tmp_path, "random", OTHER, run="c-ipc20")
    measure(tmp_path, CCFS, OURS, run="c-ipc40", ipc=40)
    measure(tmp_path, "random", OURS, run="c-ipc40", ipc=40)
    for arm in (CCFS, "random"):  # an ablation changes CCFS, and digits never count
        measure(tmp_path, arm, OTHER, run="c-ipc20-j1", curricula=1)
        measure(tmp_path, arm, OURS, run="digits-ipc20", dataset="digits")
    *_, own = verdicts.short(tmp_path).strip().splitlines()
    assert own.startswith("- [holds in 1 of 2]{.verdict .open} CCFS beats random real ")
    assert f"{verdicts.CONTROLS}:" in verdicts.short(tmp_path)
    assert own.endswith(
        "same teacher. *(2\xa0tests: 1 for, 1 too close; 1\xa0teacher)*"
    )
    for arm in (CCFS, "random"):
        on = {"evaluation_network": "resnet18", "distillation": {"method": "cda"}}
        measure(tmp_path, arm, OURS, run="c-ipc20-on-resnet18", **on)
    measure(tmp_path, CCFS, [70.0, 72.1, 71.0], run="c-ipc20-alpha0", alpha=0.0)
    *_, other, alone, none = verdicts.short(tmp_path).strip().splitlines()
    assert "[too close to call]" in other and "no part in the selection" in other
    assert none.startswith("- [does not hold]{.verdict .no} CCFS with its distilled")
    assert alone.startswith("- [holds]{.verdict .yes} Selection alone (alpha 0) beats")


def test_every_claim_is_there_with_the_tests_of_it(verdicts, tmp_path):
    measure(tmp_path, CCFS, OURS)
    measure(tmp_path, "random-misclassified", OTHER)
    text = verdicts.claims(tmp_path)
    assert text.startswith("1 of the paper's 35 claims are tested here on photographs")
    tested, rest = text.split("## Not tested here")
    known = paper.claims().set_index("id").claim
    claim = known["simple-over-random-misclassified"]
    assert f"**{claim}**" in tested and claim not in rest
    assert all(other in rest for other in known if other != claim)
    (row,) = [line for line in tested.splitlines() if "CIFAR-10, IPC 20" in line]
    d = compare.compare(results.load(tmp_path), CCFS, "random-misclassified")
    said = f"+{d.mean:.1f} [+{d.mean - d.half:.1f}, +{d.mean + d.half:.1f}]"
    assert row.startswith(
        "- [holds]{.verdict .yes} CIFAR-10, IPC 20 (0.4 % of a class): "
    )
    assert f"{said}; detectable difference " in row and "corrected p " in row
    assert "Size consistent with the paper's +0.9 on CIFAR-10, IPC 250." in row
    assert "3\xa0seeds, sets of 200 of 200 images" in row
    assert "1\xa0teacher, 0 of the paper's 10\xa0cells" in tested


def test_the_table_of_claims_stays_narrow(verdicts):
    """Without the claims' names: no wider than one column a data set was (31)."""
    found = ledger(results.load(ROOT / "data" / "results"))
    lines = verdicts.overview(found).splitlines()
    rows = [line.split("|")[2:-1] for line in lines if line.startswith("| ")]
    seen = [
        [re.sub(r"\[(.*?)\]\{.*?\}", r"\1", c).strip() for c in row] for row in rows
    ]
    assert (
        len(seen) == 36 and sum(max(map(len, c)) for c in zip(*seen, strict=True)) <= 33
    )


def test_claims_without_results_are_not_tested(verdicts, tmp_path):
    measure(tmp_path, CCFS, OURS)
    text = verdicts.claims(tmp_path)
    assert text.startswith("0 of the paper's 35 claims are tested here on photographs")
    assert text.count("\n- ") == 35
    assert verdicts.claims(tmp_path / "absent").startswith("No claim is tested: root")
    measure(tmp_path, "random-misclassified", OTHER)
    measure(tmp_path, "random-misclassified", OTHER, run="copy")
    assert "has seed 0 twice" in verdicts.claims(tmp_path)


def test_the_tests_are_counted_by_what_they_are_about(verdicts, tmp_path):
    for arm, last in ((CCFS, OURS), ("random-misclassified", OTHER)):
        measure(tmp_path, arm, last, run="cifar10-ipc20")
    text = verdicts.short(tmp_path)
    said = (
        "1 of the 1 tests are of the accuracy that a final set gives, and 1 of these "
    )
    said += "are clear after the correction (1 with CIFAR-10, ConvNet). The other 0 are"
    assert said in text and said in verdicts.claims(tmp_path)
    assert "with 1\xa0different teacher." in text and "experts" not in text
    assert "No test is of a run with the preset `paper`." in text
    train = [{f"phases.{j}.train": 30.0 * j + s / 9 for j in (1, 2)} for s in range(3)]
    full = ledger(
        pandas.DataFrame(
            [
                {"run": "full", "cell": CCFS, "seed": i, "last": 60.0, "ipc": 50}
                | {"dataset": "cifar100", "scale": "paper", "network": "resnet18"}
                | figures
                for i, figures in enumerate(train)
            ]
        )
    )
    text = verdicts._split(pandas.DataFrame({"run": []}), full)
    assert text.startswith("0 of the 1 tests are of the accuracy")
    assert "1\xa0test with the preset `paper` (the paper's networks and sizes" in text
    assert (
        "none of them of the accuracy of a final set: *The accuracy of the filter"
        in (text)
    )


def test_sets_of_experts_are_named_where_they_are_counted(verdicts):
    lines = {"two-shot-mean": "a", "curricula-one-to-three": "b", "ccfs-best": "c"}
    found = pandas.DataFrame({"claim": [*lines], "source": [*lines.values()]})
    said = "2\xa0different teachers and 1\xa0set of experts"
    assert verdicts._teachers(found) == f", with {said}"
    assert verdicts._teachers(found[:0]) == ""


def test_a_teacher_has_one_name_on_every_page(findings, verdicts, tmp_path):
    for seed in (0, 1):
        more = {"teacher_seed": seed} if seed else {}
        for arm, last in ((CCFS, OURS), ("random-misclassified", OTHER)):
            measure(tmp_path, arm, last, run=f"a-{seed}", **more)
    rows = results.load(tmp_path)
    names = findings.labels(rows, rows)
    assert names["a-0"] == "CIFAR-10, IPC 20, ConvNet"
    assert names["a-1"] == "CIFAR-10, IPC 20, ConvNet, teacher 2"
    text = verdicts.claims(tmp_path)
    assert (
        "- CIFAR-10, ConvNet, teacher 2: 98.00\xa0% of the test images right." in text
    )
    assert "*laptop scale, ConvNet, teacher 2, 3\xa0seeds" in text
    assert "teacher A" not in text and "teacher 1" not in text
    # Alone in its cell it is still not the first.
    alone = rows[rows["run"] == "a-1"]
    assert findings.labels(alone, alone) == {"a-1": names["a-1"]}
    # Two recipes of a teacher that data, network and number do not tell apart.
    for arm, last in ((CCFS, OURS), ("random-misclassified", OTHER)):
        measure(tmp_path, arm, last, run="b", teacher={"epochs": 9})
    text = verdicts.claims(tmp_path)
    assert text.count("*laptop scale, ConvNet, teacher of 98.00\xa0%, 3\xa0seeds") == 2


def test_a_line_names_alpha_0_and_the_unit_of_difficulty():
    tested = page("tested")
    known = {claim.id: claim for claim in paper.claims().itertuples()}
    line = Line("higher-ipc-harder", "holds", dataset="cifar10", part="16 pixels")
    line = line._replace(ipc=20.0, scale="laptop", network="convnet", seeds=3)
    line = line._replace(difference=0.0234, low=0.0173, high=0.0288, detectable=0.0002)
    score = line._replace(score="published-forgetting", alpha=0.2)
    text = tested.write(known[line.claim], score, "*holds*,", {})
    assert "IPC 20: +0.023 [+0.017, +0.029] forgetting events an image; det" in text
    assert "detectable difference 0.0002" in text
    text = tested.write(known[line.claim], line._replace(alpha=0.0, score="x"), "", {})
    assert (
        "CIFAR-10 (16 px), IPC 20, alpha 0: +0.023 [+0.017, +0.029] of the sc" in text
    )
