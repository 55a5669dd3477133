"""The ledger of claims: what holds, what is open, and above all what was not tested."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from scipy import stats

from ccfs_lib import paper, results
from ccfs_lib.claims import arms
from ccfs_lib.claims.ledger import Line, ledger, methods, weigh
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import STRATEGIES

CLAIMS = {claim.id: claim for claim in paper.claims().itertuples()}
HIGH, LOW = [62.0, 63.2, 64.0], [60.0, 61.1, 62.0]  # clearly apart when paired
NEAR = [62.5, 61.0, 60.8]  # not to be told from LOW
CCFS = "simple-misclassified"
BASE = {
    "dataset": "cifar10-jpeg",
    "ipc": 500,
    "scale": "laptop",
    "network": "convnet",
    "alpha": 0.2,
    "curricula": 3,
    "score": "published-forgetting",
    "distillation.method": "cda",
    "distilled_from": "",
    "recipe.epochs": 60,
}


def arm(cell, last, run="r", **settings) -> list[dict]:
    """Rows of one cell as `results.load` gives them, seeds 0, 1, ..."""
    own = BASE | {"run": run, "cell": cell} | settings
    return [own | {"seed": i, "last": v, "best": v + 1} for i, v in enumerate(last)]


def of(claim, *arms) -> list[Line]:
    rows = pandas.DataFrame(list(itertools.chain(*arms)), dtype=object)
    return weigh(CLAIMS[claim], rows)


def one(claim, *arms) -> Line:
    (line,) = of(claim, *arms)
    return line


def test_a_row_with_little_of_its_published_work_loses_no_claim():
    """Row "cudd" of Table 1 under a budget says what little work gives."""
    at = {"dataset": "cifar100", "ipc": 50}
    ours, cudd = arm(CCFS, HIGH, **at), arm("cudd", LOW, **at)
    assert one("sota-cifar100", ours, cudd).verdict == "holds"
    title = "CUDD (ours, small images)"
    for share, word in ((0.05, "too close to call"), (0.1, "holds")):
        line = one("sota-cifar100", ours, arm("cudd", LOW, share=share, **at))
        assert line.verdict == word
        assert (f"{title}: less than a tenth" in line.note) == (share < 0.1)
        assert (f"full settings, {title}: 10 %" in line.note) == (share == 0.1)
    # It may win all the same.
    line = one("sota-cifar100", ours, arm("cudd", [70.0, 71, 72], share=0.01, **at))
    assert line.verdict == "does not hold" and "tenth" not in line.note
    # Where nobody is ahead, either side's share belongs to the line.
    line = one("sota-cifar100", ours, arm("cudd", HIGH[::-1], share=0.38, **at))
    assert line.verdict == "too close to call"
    assert f"full settings, {title}: 38 %" in line.note


def test_a_row_is_its_methods_whatever_budget_it_had():
    at = {"dataset": "cifar100", "ipc": 50}
    some = {"choices.budget": 10.0, "share": 0.4, **at}
    rows = [*arm(CCFS, HIGH, **at), *arm("cudd-10", LOW, **some)]
    rows += arm("dsa-10-teacher", LOW, **some)

    def tested(*more):
        every = pandas.DataFrame([*rows, *itertools.chain(*more)], dtype=object)
        lines = ledger(every)
        return lines[lines["claim"] == "sota-cifar100"].iloc[0]

    assert tested().verdict == "holds"
    names = set(methods(pandas.DataFrame(rows))["cell"])
    assert names == {CCFS, "cudd", "dsa-teacher"}
    # Of several files of a method, the one with the most work stands for it.
    high, low = [70.0, 71, 72], {**at, "share": 0.02}
    assert tested(arm("cudd", high, **at)).verdict == "does not hold"
    assert tested(arm("cudd", high, **low)).verdict == "holds"
    more = {"choices.budget": 30.0, "share": 0.9, **at}
    assert tested(arm("cudd-30", high, **more)).verdict == "does not hold"
    few = tested(arm("cudd-30", high[:2], **more))  # its seeds, and no others'
    assert few.seeds == 2 and few.difference < 0
    # Two files with one seed of a method are still a mistake.
    with pytest.raises(InputError, match="twice"):
        tested(arm(CCFS, HIGH, **at))


# -- one rival -------------------------------------------------------------------------

SIMPLE = "simple-over-hard-misclassified"


@pytest.mark.parametrize(
    ("ours", "word"),
    [
        (HIGH, "holds"),
        (NEAR, "too close to call"),
        ([40.0, 41.1, 42.1], "does not hold"),
    ],
)
def test_a_line_has_the_paired_difference(ours, word):
    line = one(SIMPLE, arm(CCFS, ours), arm("hard-misclassified", LOW))
    assert line.verdict == word and line.missing == ""
    low, high = stats.ttest_rel(ours, LOW).confidence_interval(0.95)
    assert (line.low, line.high) == pytest.approx((low, high))
    assert line.p == pytest.approx(stats.ttest_rel(ours, LOW).pvalue)
    half = (high - low) / 2
    assert line.detectable > half  # 80 % power asks for more than significance
    told = line.run, line.dataset, line.ipc, line.scale, line.network, line.seeds
    assert told == ("r", "cifar10-jpeg", 500, "laptop", "convnet", 3)


def test_the_papers_value_is_that_of_the_same_cell():
    rivals = arm("hard-misclassified", LOW)
    gap = paper.value(11, coarse="misclassified", fine="simple", ipc=500)
    gap -= paper.value(11, coarse="misclassified", fine="hard", ipc=500)
    assert one(SIMPLE, arm(CCFS, HIGH), rivals).paper == pytest.approx(gap)
    other = {"dataset": "digits", "ipc": 20}
    line = one(
        SIMPLE, arm(CCFS, HIGH, **other), arm("hard-misclassified", LOW, **other)
    )
    assert math.isnan(line.paper) and line.verdict == "holds"


def test_else_the_papers_value_at_the_nearest_ipc_of_the_data_set_is_named():
    rivals = arm("hard-misclassified", LOW, ipc=600)
    line = one(SIMPLE, arm(CCFS, HIGH, ipc=600), rivals)
    gap = paper.value(11, coarse="misclassified", fine="simple", ipc=500)
    gap -= paper.value(11, coarse="misclassified", fine="hard", ipc=500)
    assert math.isnan(line.paper) and line.near_ipc == 500
    assert line.near == pytest.approx(gap)
    hard = "misclassified-over-classified-hard"  # speaks of Table 3 alone
    line = one(hard, arm("hard-misclassified", HIGH), arm("hard-classified", LOW))
    assert line.paper == pytest.approx(91.6 - 90.5)  # Table 11, IPC 500
    digits = {"dataset": "digits", "ipc": 20}  # of which the paper has no cell
    rivals = arm("hard-misclassified", LOW, **digits)
    line = one(SIMPLE, arm(CCFS, HIGH, **digits), rivals)
    assert math.isnan(line.near) and line.near_ipc == 0


def test_a_line_shows_the_interval_of_its_own_pair_and_says_what_decides():
    six = "six-arms-simple-misclassified-best"
    below = dict.fromkeys((n for n in STRATEGIES if n != CCFS), (9, 9, 9.1))
    below |= {"hard-classified": (2, 2.1, 2.2), "random-classified": (0, 3, 6)}
    last = {
        n: [h - x for h, x in zip(HIGH, by, strict=True)] for n, by in below.items()
    }
    shown, rivals = (
        last["hard-classified"],
        [arm(n, values) for n, values in last.items()],
    )
    line = one(six, arm(CCFS, HIGH), *rivals)
    pair = stats.ttest_rel(HIGH, shown).confidence_interval(0.95)
    assert (line.low, line.high) == pytest.approx((pair.low, pair.high))
    assert line.low > 0 and line.verdict == "too close to call"
    assert line.note.startswith("another of its 5 parts decides, +")


def test_distilled_images_below_random_ones_are_no_strong_rival():
    arms = arm(CCFS, HIGH), arm("distilled", LOW)
    base = "ccfs-over-base-distillation"
    assert one(base, *arms).note == ""
    assert one(base, *arms, arm("random", NEAR)).note == ""  # not to be told apart
    line = one(base, *arms, arm("random", HIGH))
    assert line.verdict == "holds" and "points below random images" in line.note


def test_a_single_seed_is_open():
    line = one(SIMPLE, arm(CCFS, [70.0]), arm("hard-misclassified", LOW))
    assert line.verdict == "too close to call" and line.seeds == 1
    assert math.isinf(line.low) and math.isnan(line.detectable) and line.size == ""


def test_two_seeds_are_open_however_alike():
    line = one(SIMPLE, arm(CCFS, [70.0, 71.0]), arm("hard-misclassified", [60.0, 61.0]))
    assert line.verdict == "too close to call" and line.seeds == 2
    assert math.isinf(line.low) and math.isinf(line.high)


# -- missing rows ----------------------------------------------------------------------


def test_missing_arms_are_never_a_verdict():
    line = one(SIMPLE, arm(CCFS, HIGH))
    assert line.verdict == "not tested here"
    assert line.missing == "no rows of misclassified-hard"
    assert line.paper == CLAIMS[SIMPLE].paper_difference
    assert (line.run, line.seeds) == ("", 0) and math.isnan(line.difference)


def test_five_of_six_strategies_are_not_six():
    arms = [arm(name, LOW) for name in STRATEGIES if name != CCFS]
    six = "six-arms-simple-misclassified-best"
    assert one(six, arm(CCFS, HIGH), *arms).verdict == "holds"
    for gone in range(5):
        line = one(six, arm(CCFS, HIGH), *arms[:gone], *arms[gone + 1 :])
        assert line.verdict == "not tested here"
    line = one(six, arm(CCFS, HIGH), arm("hard-classified", NEAR), *arms[:3], *arms[4:])
    assert STRATEGIES[4] == "hard-classified"  # the arm that was left out above
    assert line.verdict == "too close to call"
    assert line.difference == pytest.approx(sum(HIGH) / 3 - sum(NEAR) / 3)
    ahead = arm("hard-classified", [70.0, 71.2, 72.0])
    line = one(six, arm(CCFS, HIGH), ahead, *arms[:3], *arms[4:])
    assert line.verdict == "does not hold" and line.difference < 0


def test_no_seed_in_common_is_no_test():
    rival = arm("hard-misclassified", LOW)
    late = [row | {"seed": row["seed"] + 3} for row in rival]
    line = one(SIMPLE, arm(CCFS, HIGH), late)
    assert line.verdict == "not tested here" and "one seed" in line.missing


def test_other_settings_are_another_run():
    rival = arm("hard-misclassified", LOW, **{"recipe.epochs": 30})
    line = one(SIMPLE, arm(CCFS, HIGH), rival)
    assert line.verdict == "not tested here"
    # With a rival of its own each run is tested, and nothing is mixed.
    second = arm(CCFS, NEAR, run="s", **{"recipe.epochs": 30})
    lines = of(SIMPLE, arm(CCFS, HIGH), arm("hard-misclassified", LOW), rival, second)
    assert [line.verdict for line in lines] == ["holds", "too close to call"]


def test_an_empty_ledger_tests_nothing():
    rows = pandas.DataFrame(arm("no-such-arm", LOW), dtype=object)
    for table in (rows, rows[["run", "cell", "seed", "last"]], rows.iloc[:0]):
        found = ledger(table)
        assert list(found.claim) == list(CLAIMS)
        assert set(found.verdict) == {"not tested here"}
        assert (found.missing != "").all() and found.difference.isna().all()


@pytest.mark.parametrize("claim", sorted(arms.BEYOND))
def test_claims_beyond_rows_stay_untested(claim):
    left, right = arms.sides(CLAIMS[claim])
    found = [arm(n, HIGH) for n in left] + [arm(n, LOW) for n in right]
    assert one(claim, *found).verdict == "not tested here"


# -- duplicates ------------------------------------------------------------------------


@pytest.mark.parametrize("again", [LOW, NEAR], ids=["duplicate", "contradictory"])
def test_a_seed_twice_is_an_error_that_names_the_files(again):
    arms = arm(CCFS, HIGH), arm("hard-misclassified", LOW)
    twice = arm("hard-misclassified", again, run="copy")
    with pytest.raises(InputError) as caught:
        of(SIMPLE, *arms, twice)
    said = str(caught.value)
    assert "copy/hard-misclassified.json and r/hard-misclassified.json" in said
    assert f"seed 0 twice, with {LOW[0]:.2f} and {again[0]:.2f}" in said


# -- settings that are compared --------------------------------------------------------


def test_curricula_need_every_step():
    rising = "curricula-one-to-three"
    arms = [arm(CCFS, v, curricula=j) for j, v in ((1, LOW), (3, HIGH))]
    assert one(rising, *arms).missing == "no rows of J2"
    middle = [61.0, 62.1, 63.0]
    line = one(rising, *arms, arm(CCFS, middle, curricula=2))
    assert line.verdict == "holds"
    assert line.difference == pytest.approx(sum(HIGH) / 3 - sum(LOW) / 3)  # J3 - J1
    # Three above one, but two above three: the rise is not there.
    line = one(rising, *arms, arm(CCFS, [70.0, 71.2, 72.0], curricula=2))
    assert line.verdict == "does not hold" and line.difference > 0


@pytest.mark.parametrize(
    ("four", "word"),
    [
        ([60.1, 61.2, 62.1], "holds"),
        (HIGH, "does not hold"),
        ([v - 2 for v in LOW], "does not hold"),
        (NEAR, "too close to call"),
        ([60.1], "too close to call"),
    ],
)
def test_marginal_means_near_zero_not_above(four, word):
    arms = arm(CCFS, LOW, curricula=3), arm(CCFS, four, curricula=4)
    assert one("curricula-after-three", *arms).verdict == word


def test_scores_are_told_apart_by_their_setting():
    best, worst = "score-forgetting-best", "score-logits-worst"
    arms = [arm(CCFS, HIGH), arm(CCFS, LOW, score="published-cscore")]
    assert one(best, *arms).missing == "no rows of score-logits"
    arms.append(arm(CCFS, [50.0, 51.2, 52.0], score="logits"))
    assert one(best, *arms).verdict == one(worst, *arms).verdict == "holds"
    arms[2] = arm(CCFS, [61.0, 62.1, 63.0], score="logits")
    assert one(best, *arms).verdict == "holds"
    assert one(worst, *arms).verdict == "does not hold"  # the C-score is below


def test_alphas_compare_the_best_of_both_sides():
    small = "alpha-best-small"
    near = [60.1, 61.0, 62.1]
    some = (0.2, LOW), (0.4, HIGH), (0.6, LOW), (0.8, near)
    arms = [arm(CCFS, v, alpha=a) for a, v in some]
    # A single portion on a side is not the best of several.
    for few in (arms[1:], arms[:3], arms[1:2]):
        assert one(small, *few).verdict == "not tested here"
    line = one(small, *arms)
    assert line.difference == pytest.approx(sum(HIGH) / 3 - sum(near) / 3)
    far = [[r | {"last": r["last"] - 8} for r in part] for part in arms[2:]]
    assert one(small, *arms[:2], *far).verdict == "holds"
    ahead = arm(CCFS, [70.0, 71.2, 72.0], alpha=1.0)
    line = one(small, *arms, ahead)
    assert line.verdict == "does not hold" and line.high < 0


def test_alpha_0_withholds_and_does_not_contradict():
    small = "alpha-best-small"
    some = (0.2, LOW), (0.4, HIGH), (0.6, [50, 51.0, 52]), (0.8, [50, 51.2, 52])
    arms = [arm(CCFS, v, alpha=a) for a, v in some]
    assert one(small, *arms).verdict == "holds"
    none = arm(CCFS, [80.0, 81.2, 82.0], alpha=0.0)
    line = one(small, *arms, none)
    assert line.verdict == "too close to call" and line.difference > 0
    assert "alpha 0, which the paper does not show, \N{MINUS SIGN}18.0" in line.note
    # It is no second portion outside, either.
    assert one(small, *arms[:3], none).verdict == "not tested here"


def test_a_line_names_the_part_of_the_data_that_it_is_about():
    base = "ccfs-over-base-distillation"
    both = {"classes": 20, "image_size": 32}
    for part, told in ((both, "20 classes, 32 pixels"), ({}, "")):
        line = one(base, arm(CCFS, HIGH, **part), arm("distilled", LOW, **part))
        assert line.part == told


def test_another_learner_of_the_same_sets_is_no_further_witness():
    base = "ccfs-over-base-distillation"
    arms = [arm(CCFS, HIGH), arm("distilled", LOW)]
    on = {"evaluation_network": "resnet18", "run": "on-resnet18"}
    arms += [arm(CCFS, LOW, **on), arm("distilled", HIGH, **on)]
    assert one(base, *arms).verdict == "holds"  # and no second line


def test_table_1_compares_its_own_recipes():
    base = "ccfs-over-base-distillation"
    line = one(base, arm(CCFS, HIGH), arm("distilled", LOW))
    assert line.verdict == "holds"
    assert line.paper == pytest.approx(8.1)  # CIFAR-10 at 500
    sre2l = {"distillation.method": "sre2l"}
    line = one(base, arm(CCFS, HIGH, **sre2l), arm("distilled", LOW, **sre2l))
    assert line.verdict == "not tested here"  # these are not CDA's images
    own = {"distilled_from": "my-images"}
    line = one(base, arm(CCFS, HIGH, **own), arm("distilled", LOW, **own))
    assert line.verdict == "not tested here"


def test_claims_of_one_cell_are_tested_there_only():
    behind = "distillation-behind-random"
    for ipc, word in ((1500, "holds"), (500, "not tested here")):
        rows = arm("random-hard", HIGH, ipc=ipc), arm("distilled", LOW, ipc=ipc)
        assert one(behind, *rows).verdict == word
    assert arms.cell(CLAIMS[behind]) == ("cifar10", 1500)


@pytest.mark.parametrize(
    ("teacher", "word", "size"),
    [
        (63.1, "too close to call", "consistent"),
        (60.0, "holds", "opposite"),  # above the teacher is within 0.3 points of it
        (68.0, "does not hold", "larger"),
    ],
)
def test_a_gap_to_all_data_is_that_to_the_teacher(teacher, word, size):
    cell = {"dataset": "tiny-imagenet", "ipc": 100, "teacher_last": teacher}
    few = [63.0, 63.2, 62.8]
    line = one("full-data-gap", arm(CCFS, few, **cell))
    assert (line.verdict, line.size) == (word, size)
    assert line.difference == pytest.approx(teacher - 63) and line.paper == 0.3
    low, high = stats.ttest_1samp(teacher - np.array(few), 0).confidence_interval()
    assert (line.low, line.high) == pytest.approx((low, high))
    # Training on all images under the student's recipe is another thing.
    whole = arm("full-hard", [90.0, 90.1, 90.2], **cell)
    assert one("full-data-gap", arm(CCFS, few, **cell), whole) == line
    untold = {"dataset": "tiny-imagenet", "ipc": 100}
    assert one("full-data-gap", arm(CCFS, few, **untold)).verdict == "not tested here"
    assert one("full-data-gap", arm(CCFS, few, teacher_last=63)).verdict == (
        "not tested here"
    )


def test_a_margin_has_a_p_value_on_either_side():
    arms = arm(CCFS, LOW, curricula=3), arm(CCFS, [60.1, 61.2, 62.2], curricula=4)
    line = one("curricula-after-three", *arms)
    gap = np.subtract([60.1, 61.2, 62.2], LOW)
    inside = [stats.ttest_1samp(gap, m, alternative=side).pvalue
              for m, side in ((-1, "greater"), (1, "less"))]  # fmt: skip
    assert line.verdict == "holds" and line.p == pytest.approx(2 * max(inside))
    beyond = one("curricula-after-three", arms[0], arm(CCFS, HIGH, curricula=4))
    over = stats.ttest_1samp(np.subtract(HIGH, LOW), 1, alternative="greater").pvalue
    assert beyond.verdict == "does not hold" and beyond.p == pytest.approx(2 * over)


def test_one_rival_of_five_has_to_be_ahead_by_more():
    six = "six-arms-simple-misclassified-best"
    rivals = [
        arm(name, LOW) for name in STRATEGIES if name not in (CCFS, "hard-classified")
    ]
    ahead = [v + s for v, s in zip(HIGH, (1.0, 1.3, 1.7), strict=True)]
    p = stats.ttest_rel(ahead, HIGH).pvalue
    assert 0.01 < p < 0.05  # clear alone, and one of five at 5 %
    line = one(six, arm(CCFS, HIGH), arm("hard-classified", ahead), *rivals)
    assert line.verdict == "too close to call" and line.difference < 0
    assert line.p == pytest.approx(5 * p)
    alone = one("ccfs-over-base-distillation", arm(CCFS, HIGH), arm("distilled", ahead))
    assert alone.verdict == "does not hold"


def test_equal_figures_refute_a_strict_order():
    line = one(SIMPLE, arm(CCFS, HIGH), arm("hard-misclassified", HIGH))
    assert line.verdict == "does not hold" and math.isnan(line.p)
    line = one(SIMPLE, arm(CCFS, HIGH[:1]), arm("hard-misclassified", HIGH[:1]))
    assert line.verdict == "too close to call"  # one seed proves nothing
    line = one(SIMPLE, arm(CCFS, [62.0] * 3), arm("hard-misclassified", [60.0] * 3))
    assert line.verdict == "not tested here"  # nor does a number without any spread


def test_a_method_of_others_counts_once_it_is_filed():
    sota = "sota-cifar10"
    assert one(sota, arm(CCFS, HIGH)).missing == "no rows of selmatch"
    line = one(sota, arm(CCFS, HIGH), arm("selmatch", LOW))
    assert line.verdict == "holds" and line.paper == pytest.approx(6.6)


# -- the ledger of claims itself -------------------------------------------------------


def test_every_claim_is_known_and_its_numbers_are_the_ledgers():
    assert set(arms.BEYOND) | arms.OWN_CELL | set(arms.ALSO) <= set(CLAIMS)
    for claim in CLAIMS.values():
        apart = {*arms.BEYOND, *arms.TRENDS, "full-data-gap"}  # of two IPC
        if "@" not in claim.left or claim.id in apart:
            continue
        place = claim.left.split("@")[1].rsplit("-", 1)
        if len(place) == 2 and place[1].isdigit():
            gap = arms.printed(claim, place[0], int(place[1]))
            assert gap == pytest.approx(claim.paper_difference), claim.id


def test_arms_that_are_compared_may_differ_in_nothing_else():
    differ = {name: arms.apart(claim) - {"cell"} for name, claim in CLAIMS.items()}
    assert differ["score-logits-worst"] == {"score"}
    assert differ["curricula-after-three"] == {"curricula"}
    assert differ["alpha-best-small"] == {"alpha"}
    assert differ["ccfs-over-base-distillation"] == set()
    assert differ["six-arms-simple-misclassified-best"] == set()


def test_results_files_make_a_ledger(tmp_path):
    for name, last in ((CCFS, HIGH), ("random-misclassified", LOW)):
        rows = [{"seed": i, "last": v, "best": v} for i, v in enumerate(last)]
        config = {"dataset": "digits", "ipc": 20, "scale": "digits", "arm": name}
        where = {"config": config, "rows": rows, "provenance": {}}
        results.write(tmp_path, "digits-ipc20", name, **where)
    found = ledger(results.load(tmp_path))
    (line,) = found[found.verdict != "not tested here"].itertuples()
    assert (line.claim, line.verdict) == ("simple-over-random-misclassified", "holds")
    assert len(found) == len(CLAIMS) == 35


def test_names_of_sides():
    claim = SimpleNamespace(left="a|b@cifar10-500", right="c-d", tested_by="strategies")
    assert arms.sides(claim) == (["a", "b"], ["c-d"])
    assert arms.rows_of(claim, "misclassified-hard") == {
        "cell": ("hard-misclassified",)
    }


def test_a_single_seed_of_a_rival_leaves_the_claim_open_and_is_said():
    six = "six-arms-simple-misclassified-best"
    closest = [h - x for h, x in zip(HIGH, (1, 1.1, 1.2), strict=True)]
    for name in ("hard-misclassified", "hard-classified"):  # whichever comes first
        last = {n: LOW for n in STRATEGIES if n != CCFS}
        last |= {"random-classified": closest, name: LOW[:1]}
        line = one(six, arm(CCFS, HIGH), *(arm(n, v) for n, v in last.items()))
        assert line.verdict == "too close to call" and line.low > 0
        assert line.note == "another of its 5 parts decides, +2.0, without an interval"


def test_distilled_and_random_images_without_a_common_seed_are_not_compared():
    base = "ccfs-over-base-distillation"
    other = [row | {"seed": row["seed"] + 10} for row in arm("random", HIGH)]
    assert one(base, arm(CCFS, HIGH), arm("distilled", LOW), other).note == ""


def test_section_3_counts_at_the_presets_start_of_the_window():
    """At another start SelMatch is weaker, and the paper has each at its best."""
    at = {"dataset": "cifar100", "scale": "laptop", "beta": 0.8}
    rows = []
    for ipc in (25, 50):
        for beta, last in ((0.8, LOW), (0.2, [20.0, 21.0, 22.0])):
            own = at | {"ipc": ipc, "beta": beta, "run": f"{ipc}-{beta}"}
            rows += [arm("reverse", HIGH, **own), arm("selmatch", last, **own)]
    line = one("reverse-mean", *rows)
    assert line.difference == pytest.approx(np.mean(np.subtract(HIGH, LOW)))
    every = of("reverse-every-beta", *rows)
    assert len(every) == 2  # over the start itself: of each IPC
