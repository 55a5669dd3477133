"""Comparisons of arms: pairs by seed, verdicts, and what is refused."""

import math
import subprocess
import sys

import numpy as np
import pandas
import pytest
from scipy import stats

from ccfs_lib.claims import compare as comparing
from ccfs_lib.claims.compare import (
    ALPHA0,
    NAMES,
    VERDICTS,
    compare,
    contradiction,
    detectable,
    level,
    matched,
    printed_as,
    verdict,
)
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import CONTROLS, FURTHER, STRATEGIES, preset
from ccfs_lib.report.text import bracketed
from ccfs_lib.statistics import Difference

OURS, OTHER = [60.0, 62.0, 61.0], [59.0, 60.8, 60.1]


def rows_of(settings=None, **cells) -> pandas.DataFrame:
    """Rows as `results.load` gives them: cell -> last accuracies of seeds 0, 1, ..."""
    rows = [
        {"cell": arm, "seed": seed, "last": last, **(settings or {}).get(arm, {})}
        for arm, values in cells.items()
        for seed, last in enumerate(values)
    ]
    return pandas.DataFrame(rows, dtype=object)


def test_every_arm_has_a_name():
    assert set(NAMES) == {*STRATEGIES, *CONTROLS, *FURTHER, ALPHA0}
    assert len(set(NAMES.values())) == len(NAMES)


def test_comparisons_are_the_paired_t_test():
    rows = rows_of(random=OTHER, distilled=OURS)
    d = compare(rows, "distilled", "random")
    oracle = stats.ttest_rel(OURS, OTHER)
    low, high = oracle.confidence_interval(0.95)
    assert d.p == pytest.approx(oracle.pvalue)
    assert d.mean - d.half == pytest.approx(low)
    assert d.mean + d.half == pytest.approx(high)
    back = compare(rows, "random", "distilled")
    assert (back.mean, back.half) == pytest.approx((-d.mean, d.half))
    assert verdict(d) == "holds" and verdict(back) == "does not hold"


def test_seeds_are_matched_by_number_not_by_place():
    rows = rows_of(random=OTHER, distilled=OURS)
    shuffled = rows.sample(frac=1, random_state=3)
    assert matched(shuffled, "distilled", "random") == (OURS, OTHER)
    # A seed without its counterpart is left out, whichever side has it.
    part = rows.drop([1])  # seed 1 of "random"
    assert matched(part, "distilled", "random") == ([60.0, 61.0], [59.0, 60.1])
    assert compare(part, "random", "distilled").n_a == 2


def test_one_common_seed_has_no_interval():
    rows = rows_of(random=OTHER, distilled=[70.0])
    d = compare(rows, "distilled", "random")
    assert d.mean == 11 and math.isnan(d.half) and verdict(d) == VERDICTS[2]
    assert math.isnan(detectable(rows, "distilled", "random"))


def test_two_seeds_are_no_verdict_whatever_their_spread():
    rows = rows_of(random=[89.0, 90.0], distilled=[91.0, 92.0])
    d = compare(rows, "distilled", "random")
    assert (d.mean, d.half) == (2, 0) and verdict(d) == VERDICTS[2]
    assert bracketed(d) == "+2.0"


def test_other_contents_of_a_file_are_another_setting():
    rows = rows_of(random=OTHER)
    one, other = (rows.assign(**{"given.score": name}) for name in ("a1", "b2"))
    assert contradiction(one, one) == contradiction(one, rows) == ""
    assert contradiction(one, other) == "the file of score (of 2 contents)"
    sets = [rows.assign(**{"given.selected_from": name}) for name in ("a1", "b2")]
    assert contradiction(*sets) == ""  # each arm has a set of its own


def test_detectable_is_what_the_test_detects():
    """Simulate: pairs whose differences spread as ours do, shifted by the answer."""
    rows = rows_of(random=OTHER, distilled=OURS)
    shift = detectable(rows, "distilled", "random")
    spread = np.std(np.subtract(OURS, OTHER), ddof=1)
    draws = np.random.default_rng(6).normal(shift, spread, (20000, 3))
    found = np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05)
    assert found == pytest.approx(0.8, abs=0.01)


def test_level_is_for_rounding_only():
    a, b = [0.1, 0.2, 0.3], [0.3, 0.1, 0.2]
    d = compare(rows_of(x=a, y=b), "x", "y")
    assert level(d) and level(Difference(0.0, 1.0, 3, 3, 1.0))
    assert not level(Difference(1e-6, 1.0, 3, 3, 1.0))


@pytest.mark.parametrize(
    ("settings", "differ"),
    [
        ({"x": {"recipe.epochs": 30}, "y": {"recipe.epochs": 60}}, "recipe.epochs"),
        ({"x": {"train": "aa"}, "y": {"train": "bb"}}, "train"),
        ({"x": {"alpha": 0.2}, "y": {}}, "alpha (0.2, absent)"),
        (
            {"x": {"sources.network": "aa"}, "y": {"sources.network": "bb"}},
            "sources.network (aa, bb)",
        ),
        ({"x": {"teacher_last": 84.6}, "y": {"teacher_last": 84.7}}, "teacher_last"),
    ],
)
def test_arms_of_other_settings_are_not_compared(settings, differ):
    rows = rows_of(settings, x=OURS, y=OTHER)
    with pytest.raises(InputError) as caught:
        compare(rows, "x", "y")
    assert str(caught.value).startswith(f"'x' and 'y' differ in {differ}")


def test_what_makes_an_arm_may_differ():
    own = {"coarse": "classified", "fine": "hard", "seeds": 3, "arm": "x"}
    settings = {"x": {**own, "alpha": 0.2}, "y": {"seeds": 5, "alpha": 0.2}}
    assert compare(rows_of(settings, x=OURS, y=OTHER), "x", "y").n_a == 3


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (rows_of(x=OURS), "'y' has no rows"),
        (rows_of(y=OURS), "'x' has no rows"),
        (pandas.concat([rows_of(x=OURS, y=OTHER)] * 2), "'x' has seed 0 twice"),
        (rows_of(x=[1.0, 2.0], y=[3.0]).iloc[[1, 2]], "have no seed in common"),
    ],
)
def test_what_cannot_be_compared_is_named(rows, said):
    with pytest.raises(InputError, match=said):
        compare(rows, "x", "y")


def test_needs_no_torch():
    code = "import ccfs_lib.claims.compare, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_paper_prints_nothing_for_a_part_of_a_data_set():
    whole = {"dataset": "cifar100", "classes": math.nan}
    assert printed_as(whole) == "cifar100"
    assert printed_as({"dataset": "cifar100"}) == "cifar100"
    assert printed_as(whole | {"classes": 20.0}) == ""
    assert printed_as(whole | {"image_size": 16}) == ""
    assert preset("cifar100", ipc=50).printed_as == "cifar100"
    assert preset("cifar100", ipc=50, classes=20).printed_as == ""


def test_a_column_of_another_arm_is_no_difference():
    rows = rows_of(random=[50, 51])
    beside = rows.assign(beta=float("nan"))  # an arm of that run has a beta
    assert contradiction(beside, rows) == contradiction(rows, beside) == ""
    assert contradiction(rows.assign(beta=0.4), rows).startswith("beta (0.4, absent")


def test_teachers_and_sizes_are_compared_over_their_common_seeds():
    def of(gains):
        rows = [{"cell": "a", "seed": n, "last": 60 + g} for n, g in gains.items()]
        rows += [{"cell": "b", "seed": n, "last": 60.0} for n in gains]
        return compare(pandas.DataFrame(rows), "a", "b")

    first, second = of({0: 1.0, 1: 2.0, 2: 3.0}), of({1: 4.0, 2: 4.0, 3: 9.0})
    assert first.by_seed == ((0, 1.0), (1, 2.0), (2, 3.0))
    d = comparing.change(second, first)
    assert (d.mean, d.n_a) == (1.5, 2)  # of seeds 1 and 2
    three = comparing.over_teachers([first, second, second])
    assert three.mean == pytest.approx((2 + 3 + 4 * 4) / 6)
    assert math.isnan(three.half)  # of two seeds
    apart = of({7: 5.0, 8: 6.0, 9: 7.0})
    for d in (comparing.change(apart, first), comparing.over_teachers([first, apart])):
        assert d.mean == 4.0 and math.isnan(d.half)
