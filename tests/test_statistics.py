"""Intervals and tests against published values, scipy and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from ccfs_lib.errors import InputError
from ccfs_lib.statistics import (
    crossed,
    difference,
    extreme,
    false_discovery,
    minimum_detectable,
    one_sided,
    seeds_needed,
    summary,
)

# Student (1908): extra hours of sleep of the same ten patients under two drugs.
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def of_unit_spread(n):
    x = np.linspace(-1, 1, n)
    return list(x / x.std(ddof=1))


def test_summary_of_three_seeds_by_hand():
    # mean 41, deviations -1, 0, 1: sd 1; t(0.975, 2) = 4.303 in every printed table.
    n, mean, sd, half = summary([40.0, 41.0, 42.0])
    assert (n, mean, sd) == (3, 41.0, 1.0)
    assert half == pytest.approx(4.303 / math.sqrt(3), rel=2e-4)


def test_summary_against_scipy():
    values = np.random.default_rng(0).normal(50, 2, 7)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    result = summary(values, level=0.9)
    assert result.mean - result.half == pytest.approx(low)
    assert result.mean + result.half == pytest.approx(high)


def test_t_interval_covers_where_the_bootstrap_does_not():
    """3 seeds, 4,000 experiments: the t interval keeps 95 %, percentiles about 75 %."""
    rng = np.random.default_rng(8)
    samples = rng.normal(60.0, 1.5, (4000, 3))
    results = [summary(sample) for sample in samples]
    hits = [abs(result.mean - 60.0) <= result.half for result in results]
    assert 0.94 <= np.mean(hits) <= 0.96
    draws = rng.integers(0, 3, (1000, 3))
    means = samples[:1000, draws].mean(axis=-1)
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    assert 0.70 <= np.mean((low <= 60.0) & (high >= 60.0)) <= 0.80


def test_one_seed_has_no_spread():
    n, mean, sd, half = summary([43.5])
    assert (n, mean) == (1, 43.5) and math.isnan(sd) and math.isnan(half)
    for a, b in (([1.0], [2.0, 3.0]), ([2.0, 3.0], [1.0]), ([1.0], [2.0])):
        result = difference(a, b)
        assert result.mean == np.mean(a) - np.mean(b)
        assert math.isnan(result.half) and math.isnan(result.p)
        assert math.isnan(minimum_detectable(a, b))
    assert math.isnan(difference([1.0], [2.0], paired=True).half)


def test_two_seeds_have_no_interval_worth_showing():
    two = summary([43.0, 44.0])
    assert two.n == 2 and two.sd > 0 and math.isnan(two.half)
    assert summary([43.0, 44.0, 45.0]).half > 0


def test_equal_values_have_zero_spread_and_no_p():
    values = [43.1, 43.1, 43.1]  # their mean in floating point is not exactly 43.1
    assert summary(values)[2:] == (0.0, 0.0)
    for paired in (False, True):
        result = difference(values, [41.0] * 3, paired=paired)
        assert result.mean == pytest.approx(2.1) and result.half == 0.0
        assert math.isnan(result.p)
    assert minimum_detectable(values, values) == 0.0


def test_welch_against_published_values():
    # R's t.test(extra ~ group, data = sleep): p 0.07939, interval -3.3655 .. 0.2055.
    result = difference(DRUG_1, DRUG_2)
    assert result.p == pytest.approx(0.07939, abs=5e-6)
    assert result.mean - result.half == pytest.approx(-3.3654832, abs=1e-6)
    assert result.mean + result.half == pytest.approx(0.2054832, abs=1e-6)


def test_paired_against_published_values():
    # The same with paired = TRUE: p 0.002833, interval -2.4599 .. -0.7001.
    result = difference(DRUG_1, DRUG_2, paired=True)
    assert result.p == pytest.approx(0.002833, abs=5e-7)
    assert result.mean - result.half == pytest.approx(-2.4598858, abs=1e-6)
    assert result.mean + result.half == pytest.approx(-0.7001142, abs=1e-6)


def test_unequal_numbers_and_spreads_against_scipy():
    rng = np.random.default_rng(3)
    a, b = rng.normal(60, 0.3, 3), rng.normal(59, 2.0, 10)
    oracle = stats.ttest_ind(a, b, equal_var=False)
    low, high = oracle.confidence_interval(0.99)
    result = difference(a, b, level=0.99)
    assert (result.n_a, result.n_b) == (3, 10)
    assert result.p == pytest.approx(oracle.pvalue)
    assert result.mean - result.half == pytest.approx(low)
    assert result.mean + result.half == pytest.approx(high)
    swapped = difference(b, a, level=0.99)
    assert swapped.mean == -result.mean and swapped.p == pytest.approx(result.p)


@pytest.mark.parametrize(
    ("n", "power", "effect"),
    [(20, 0.8689528, 1.0), (64, 0.8014596, 0.5)],  # R's power.t.test, sd 1; Cohen's d
)
def test_minimum_detectable_against_published_power(n, power, effect):
    x = of_unit_spread(n)
    assert minimum_detectable(x, x, power) == pytest.approx(effect, abs=2e-5)


def test_minimum_detectable_against_scipy_where_it_has_a_value():
    x = of_unit_spread(5)
    shift = minimum_detectable(x, x, 0.7) / math.sqrt(2 / 5)
    critical = stats.t.ppf(0.975, 8)
    power = stats.nct.sf(critical, 8, shift) + stats.nct.cdf(-critical, 8, shift)
    assert power == pytest.approx(0.7, abs=1e-4)


def test_over_teachers_and_seeds_the_wider_interval_counts():
    rng = np.random.default_rng(2)
    table = (
        rng.normal(size=(3, 1)) + 5 * rng.normal(size=(4,)) + rng.normal(size=(3, 4))
    )
    found = crossed(table)
    seeds = summary(table.mean(0))
    assert found[:4] == pytest.approx((table.mean(), seeds.half, 3, 3))
    assert found.p == pytest.approx(stats.ttest_1samp(table.mean(0), 0).pvalue)
    assert crossed(table.T)[:2] == pytest.approx(found[:2])
    assert math.isnan(crossed(table[:2]).half) and math.isnan(crossed(table[:, :2]).p)


@pytest.mark.parametrize("teachers", [0.0, 1.0])
@pytest.mark.parametrize("seeds", [0.0, 1.0])
def test_an_interval_over_teachers_and_seeds_covers_whichever_varies(teachers, seeds):
    """Simulate; over the teachers' means alone it would be 84 % where seeds vary."""
    rng = np.random.default_rng(3)
    inside = {"crossed": 0, "teachers": 0}
    for _ in range(3000):
        table = teachers * rng.normal(size=(3, 1)) + seeds * rng.normal(size=3)
        table = table + rng.normal(size=(3, 3))
        both = {"crossed": crossed(table), "teachers": summary(table.mean(1))}
        for name, d in both.items():
            inside[name] += abs(d.mean) <= d.half
    assert inside["crossed"] >= 0.95 * 3000
    if seeds > teachers:
        assert inside["teachers"] < 0.88 * 3000


def test_minimum_detectable_is_detected_that_often():
    """Simulate the difference found for 3 against 3 seeds."""
    a = of_unit_spread(3)
    shift = minimum_detectable(a, a)
    rng = np.random.default_rng(5)
    x, y = rng.normal(shift, 1, (4000, 3)), rng.normal(0, 1, (4000, 3))
    # With the 4 degrees of freedom that the formula takes (the pooled test has them)
    # the power is the nominal 80 %. Welch estimates them from each sample, mostly
    # fewer, which costs 10 points: the number in the docstring.
    exact = np.mean(stats.ttest_ind(x, y, axis=1).pvalue < 0.05)
    welch = np.mean([difference(u, v).p < 0.05 for u, v in zip(x, y, strict=True)])
    assert exact == pytest.approx(0.8, abs=0.02)
    assert welch == pytest.approx(0.70, abs=0.02)


def test_paired_minimum_detectable_against_scipy():
    base = np.random.default_rng(4).normal(60, 5, 20)  # what a pair shares: no matter
    shift = minimum_detectable(base + of_unit_spread(20), base, 0.7, paired=True)
    shift, critical = shift * math.sqrt(20), stats.t.ppf(0.975, 19)
    power = stats.nct.sf(critical, 19, shift) + stats.nct.cdf(-critical, 19, shift)
    assert power == pytest.approx(0.7, abs=1e-4)
    with pytest.raises(InputError, match="pairs need equal numbers"):
        minimum_detectable([1.0, 2.0], [1.0], paired=True)


def test_minimum_detectable_with_hardly_any_freedom():
    # About one degree of freedom: scipy's nct is nan around the answer.
    few = minimum_detectable([1.0, 2.0], [1.0, 1.001])
    assert 5 < few < 15 and minimum_detectable([1.0, 2.0], [1.0, 1.001], 0.99) > few
    assert minimum_detectable([10.0, 20.0], [10.0, 10.01]) == pytest.approx(10 * few)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: summary([]), "values is"),
        (lambda: summary([1.0, math.nan]), "values is"),
        (lambda: summary([1.0, math.inf]), "values is"),
        (lambda: summary([[1.0, 2.0]]), "values is"),
        (lambda: summary(["high"]), "values is"),
        (lambda: summary([1.0, 2.0], level=95), "level is 95"),
        (lambda: difference([1.0, 2.0], [None]), "b is"),
        (lambda: difference([1.0, 2.0], [1.0], paired=True), "a and b have 2 and 1"),
        (lambda: difference([1.0, 2.0], [1.0, 2.0], level=0), "level is 0"),
        (lambda: minimum_detectable([], [1.0]), "a is"),
        (lambda: minimum_detectable([1.0, 2.0], [1.0, 2.0], 0.05), "power is"),
        (lambda: minimum_detectable([1.0, 2.0], [1.0, 2.0], 1), "power is 1"),
    ],
)
def test_bad_input_is_named_in_one_sentence(call, named):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(named) and "\n" not in str(caught.value)


# -- several differences at once -------------------------------------------------------


def test_one_sided_against_scipy():
    for shift in (0.0, -1.0, 0.7):
        moved = np.array(DRUG_1) - shift
        for p, side in zip(
            one_sided(DRUG_1, DRUG_2, shift), ("greater", "less"), strict=True
        ):
            oracle = stats.ttest_rel(moved, DRUG_2, alternative=side)
            assert p == pytest.approx(oracle.pvalue)
    assert one_sided([1.0], [0.0]) == (1.0, 1.0)  # a single pair says nothing
    assert one_sided([1.0, 2.0], [0.0, 1.0]) == (0.0, 1.0)  # without spread: the sample
    assert one_sided([1.0, 2.0], [1.0, 2.0]) == (1.0, 1.0)


def test_one_pair_is_the_paired_test():
    d, e = difference(DRUG_1, DRUG_2, paired=True), extreme([[(DRUG_1, DRUG_2)]])
    assert (e.mean, e.low, e.high) == pytest.approx(
        (d.mean, d.mean - d.half, d.mean + d.half)
    )
    assert 2 * min(e.above, e.below) == pytest.approx(d.p)


def equal_arms(rng, arms: int, shared: float = 1.0):
    """Accuracies of equal arms on three seeds; `shared` is common to a seed."""
    return rng.normal(60, shared, 3) + rng.normal(0, 1, (arms, 3))


def rates(draw, times: int = 1500) -> tuple[float, float, float]:
    """How often equal arms come out above, below, and uncorrected as "one is below"."""
    found = [draw() for _ in range(times)]
    naive = [
        any(d.mean < -d.half for d in (difference(*p, paired=True) for p in row))
        for (row, *_) in found
    ]
    ends = [extreme(pairs) for pairs in found]
    above, below = ([e.low > 0 for e in ends], [e.high < 0 for e in ends])
    return np.mean(above), np.mean(below), np.mean(naive)


def test_one_rival_ahead_is_corrected_for_their_number():
    """Five rivals, all equal: one is clearly ahead in 2.5 % of the runs at most."""
    rng = np.random.default_rng(10)

    def draw():
        ours, *rivals = equal_arms(rng, 6)
        return [[(ours, rival) for rival in rivals]]

    above, below, naive = rates(draw)
    assert naive > 0.06  # what the plain interval of every rival did
    assert below <= 0.035 and above <= 0.01  # 1500 draws: 2.5 % has a sd of 0.4 %


def test_somewhere_ahead_is_corrected_for_the_settings():
    """Four settings, both arms equal in each: one is ahead by chance at some."""
    rng = np.random.default_rng(11)

    def draw():
        return [[tuple(equal_arms(rng, 2))] for _ in range(4)]

    above, below, _ = rates(draw)
    assert 0.015 <= above <= 0.035 and below <= 0.01


def test_best_of_unequal_numbers_favours_neither_side():
    """Two portions against three, all equal; the naive rule took the best of each."""
    rng = np.random.default_rng(12)
    ahead = 0

    def draw():
        nonlocal ahead
        arms = equal_arms(rng, 5)
        one, other = (max(side, key=np.mean) for side in (arms[:2], arms[2:]))
        ahead += np.mean(other) > np.mean(one)
        return [[(a, b) for b in arms[2:]] for a in arms[:2]]

    above, below, _ = rates(draw)
    assert above <= 0.035 and below <= 0.035
    assert 0.55 < ahead / 1500 < 0.65  # three have more chances than two


def test_the_interval_of_the_extreme_covers_it():
    """True differences that are not equal: best of three rows of two, known to be 1."""
    rng, true = np.random.default_rng(13), np.array([[0, 3], [1, 1.5], [-2, 4]])
    held = []
    for _ in range(600):
        pairs = [[(rng.normal(t, 1, 3), np.zeros(3)) for t in row] for row in true]
        e = extreme(pairs)
        held.append(e.low <= 1 <= e.high)
    assert np.mean(held) >= 0.94


def test_single_seeds_leave_an_extreme_open():
    one, clear = ([61.0], [60.0]), ([61.0, 62.0, 63.1], [50.0, 51.0, 52.0])
    assert extreme([[one]])[1:3] == (-math.inf, math.inf)
    both = extreme([[one, clear]])
    assert both.low == -math.inf and both.above == 1
    assert extreme([[one], [clear]]).low > 0  # somewhere: one is enough


def test_false_discoveries_are_controlled_where_arms_are_shared():
    """40 arms against one control, 10 truly better: 5 % of what is found is false."""
    rng, shares, found = np.random.default_rng(14), [], 0
    for _ in range(1000):
        control = rng.normal(0, 1, 3)
        arms = rng.normal(0, 1, (40, 3)) + np.where(np.arange(40) < 10, 25, 0)[:, None]
        p = stats.ttest_rel(arms, np.tile(control, (40, 1)), axis=1).pvalue
        kept = false_discovery(p) <= 0.05
        found += kept[:10].sum()
        shares.append(kept[10:].sum() / max(kept.sum(), 1))
    assert np.mean(shares) <= 0.05 and found > 9000


def test_what_is_no_test_is_not_in_the_family():
    adjusted = false_discovery([0.01, math.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04]) and math.isnan(adjusted[1])
    assert np.isnan(false_discovery([math.nan])).all()


def test_seeds_needed_are_those_that_detect():
    a, b = np.array(DRUG_1), np.array(DRUG_2)
    spread = np.std(a - b, ddof=1)
    n = seeds_needed(a, b, 1.0)
    # R: power.t.test(delta = 1, sd = spread, power = 0.8, type = "paired").
    power = [stats.nct.sf(stats.t.ppf(0.975, m - 1), m - 1, math.sqrt(m) / spread)
             for m in (n - 1, n)]  # fmt: skip
    assert power[0] < 0.8 <= power[1]
    assert seeds_needed(a, b, 1e-6) == 1000  # more than the 999 that are tried
    assert seeds_needed(a, a, 1.0) == seeds_needed([1.0], [0.0], 1.0) == 0
