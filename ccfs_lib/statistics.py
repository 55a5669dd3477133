"""Mean, spread and difference of accuracies over a few seeds, one or many at once.

Student's t and not the bootstrap: with 3 seeds the percentile bootstrap's 95 % interval
covers the true mean in about 75 % of the cases, and so does 1.96 sd/sqrt(n) with the
population sd; the t interval covers 95 % (tests/test_statistics.py simulates both). The
price is normality, which an accuracy averaged over thousands of images meets well.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ccfs_lib.errors import InputError

# Of two seeds t is 12.7: the interval says nothing, and a chart of it nothing else.
FEW = 3


class Summary(NamedTuple):
    """mean +- half is the t interval; sd is the sample's (n - 1). Unit of the input."""

    n: int
    mean: float
    sd: float
    half: float


class Difference(NamedTuple):
    """mean(a) - mean(b) +- half, and the two-sided p value of "no difference".

    by_seed: the differences that the mean is of, where they are known by seed.
    """

    mean: float
    half: float
    n_a: int
    n_b: int
    p: float
    by_seed: tuple[tuple[int, float], ...] = ()


class Extreme(NamedTuple):
    """The best of some rows of differences, where a row is as good as its worst entry.

    mean, low, high: its point estimate and interval; above, below: one-sided p values
    of "it is above zero" and "below"; row, column: which pair the mean is.
    """

    mean: float
    low: float
    high: float
    above: float
    below: float
    row: int
    column: int


def summary(values: Sequence[float], level: float = 0.95) -> Summary:
    """Summarise one value per seed, (n,), with a Student t interval.

    One seed has no spread, sd is nan; fewer than FEW have no interval worth showing,
    half is nan. Raises InputError for no values, values
    that are not finite, or a level outside 0..1.
    """
    x = _sample(values, "values")
    _inside(level, "level")
    sd = _sd(x)
    wide = _t(level, len(x) - 1) * sd / math.sqrt(len(x))
    half = wide if len(x) >= FEW else math.nan
    return Summary(len(x), float(x.mean()), sd, half)


def difference(
    a: Sequence[float], b: Sequence[float], paired: bool = False, level: float = 0.95
) -> Difference:
    """Compare two sets of seeds, (n_a,) and (n_b,), by Welch's or the paired t test.

    Welch (1947) assumes neither equal variances nor equal numbers, but independent
    samples; within a pair, values may depend on each other in any way. Arms of one run
    are paired by seed (`ccfs_lib.claims.compare` says why), two groups of images are
    not. With one seed on a side (one pair) half and p are nan; without any spread half
    is 0 and p nan. Raises InputError as `summary`, and for pairs of unequal length.
    """
    x, y = _sample(a, "a"), _sample(b, "b")
    _inside(level, "level")
    error, df = _paired(x, y) if paired else _welch(x, y)
    mean = float((x - y).mean() if paired else x.mean() - y.mean())
    return _tested(mean, error, df, (len(x), len(y)), level)


def guessed(share: float, classes: int, images: int) -> bool:
    """Tell whether a share of right answers, 0 to 1, is about what guessing gives.

    That is less than a tenth of the way from chance to certainty, or within three
    standard errors of few images.
    """
    chance = 1 / classes
    error = math.sqrt(chance * (1 - chance) / images)
    return share < chance + max(0.1 * (1 - chance), 3 * error)


def crossed(values: Sequence[Sequence[float]], level: float = 0.95) -> Difference:
    """Average differences, (T, S), that T teachers have with the same S seeds.

    Teachers and seeds both vary, and a seed may act on all teachers alike, as it does
    through random images: the spread of the teachers' means does not show that. half
    and p are of the wider of two t intervals, over the teachers' means and over the
    seeds' means: up to about five of each it covers the true mean in 95 % of the cases
    or more, whichever of the two varies (simulated in the tests; with ten of each, 91 %
    where both vary alike). n: T. nan for fewer than FEW of either.
    Raises InputError as `summary`.
    """
    table = np.array([_sample(row, "values") for row in values], dtype=float)
    both = (table.mean(1), table.mean(0))
    over = [difference(x, np.zeros(len(x)), paired=True, level=level) for x in both]
    if min(table.shape) < FEW:
        return over[0]._replace(half=math.nan, p=math.nan)
    wider = max(over, key=lambda d: d.half)
    return wider._replace(n_a=len(table), n_b=len(table))


Pairs = tuple[Sequence[float], Sequence[float]]


def one_sided(
    a: Sequence[float], b: Sequence[float], shift: float = 0.0
) -> tuple[float, float]:
    """Compute p values of paired tests for "a - b is above shift" and "is below shift".

    Without any spread the sample itself answers: 0 where it says so, else 1. A single
    pair says nothing: both are 1. Raises InputError as `difference`.
    """
    x, y = _sample(a, "a"), _sample(b, "b")
    error, df = _paired(x, y)
    mean = float((x - y).mean()) - shift
    if math.isnan(error):
        return 1.0, 1.0
    if error == 0:
        return float(not mean > 0), float(not mean < 0)
    from scipy.special import stdtr

    above = float(stdtr(df, -mean / error))
    return above, 1 - above


def extreme(pairs: Sequence[Sequence[Pairs]], level: float = 0.95) -> Extreme:
    """Estimate the largest, over rows, of the smallest true difference of a row.

    pairs: rows of (a, b), all paired. One row of k: "a beats all k". k rows of one: "a
    beats b somewhere". Alternatives times rivals: "the best of these beats the best of
    those". The interval holds with `level`, whichever pair turns out to be the extreme,
    and each end is wrong in half of the rest at most. "All of the row are above" is
    wrong only if its smallest is not, so the low end needs no correction for the number
    of columns; "one is below" may be wrong at each, so the high end has Bonferroni's.
    For rows it is the other way round. Fewer seeds than FEW have infinite ends. Raises
    InputError as `difference`.
    """
    rows, columns = len(pairs), len(pairs[0])
    low, high, mean, above, below = (np.empty((rows, columns)) for _ in range(5))
    for i, row in enumerate(pairs):
        for j, pair in enumerate(row):
            d = difference(*pair, paired=True, level=1 - (1 - level) / rows)
            mean[i, j] = d.mean
            low[i, j] = d.mean - d.half if d.n_a >= FEW else -math.inf
            d = difference(*pair, paired=True, level=1 - (1 - level) / columns)
            high[i, j] = d.mean + d.half if d.n_a >= FEW else math.inf
            above[i, j], below[i, j] = one_sided(*pair)
    i = int(mean.min(1).argmax())
    return Extreme(
        float(mean.min(1).max()),
        float(low.min(1).max()),
        float(high.max(0).min()),
        min(1.0, float(rows * above.max(1).min())),
        min(1.0, float(columns * below.max(0).min())),
        i,
        int(mean[i].argmin()),
    )


def seeds_needed(
    a: Sequence[float],
    b: Sequence[float],
    effect: float,
    power: float = 0.8,
    level: float = 0.95,
    most: int = 999,
) -> int:
    """Count the seeds whose paired test detects a true difference of `effect`.

    Detect as in `minimum_detectable`: with the observed spread and probability `power`.
    0 where there is no spread to plan with, `most` + 1 where `most` do not suffice.
    Raises InputError as `difference`, and for a power outside 0.05..1.
    """
    x, y = _sample(a, "a"), _sample(b, "b")
    _inside(power, "power", low=0.05)
    error, df = _paired(x, y)
    if not error > 0 or effect == 0:
        return 0
    sd, low, high = error * math.sqrt(df + 1), 2, most + 1
    while low < high:  # power grows with n: bisection
        n = (low + high) // 2
        attained = _power(abs(effect) * math.sqrt(n) / sd, n - 1, level)
        low, high = (low, n) if attained >= power else (n + 1, high)
    return low


def false_discovery(p: Sequence[float], dependent: bool = False) -> np.ndarray:
    """Adjust p values, (n,), for their number; nan stays nan and counts for nothing.

    Benjamini and Hochberg (1995): of the tests whose adjusted p is at most q, a share
    of q at most is expected to be false alarms. Tests need not be independent, as long
    as they depend on each other positively, as differences to one arm do. dependent:
    however they depend on each other, by Benjamini and Yekutieli (2001).
    """
    from scipy.stats import false_discovery_control

    p = np.asarray(p, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    if (known := ~np.isnan(p)).any():
        adjusted[known] = false_discovery_control(
            p[known], method="by" if dependent else "bh"
        )
    return adjusted


def minimum_detectable(
    a: Sequence[float],
    b: Sequence[float],
    power: float = 0.8,
    paired: bool = False,
    level: float = 0.95,
) -> float:
    """Find the smallest true difference that as many seeds of this spread detect.

    Detect: the two-sided test of `difference` rejects with probability `power`, by
    the noncentral t distribution with the observed spread taken as the true one. A
    guide, not a promise: three seeds know their spread badly, and for 3 against 3
    Welch's own estimate of the freedom makes 70 % of the nominal 80 % (simulated in the
    tests). With one seed on a side: nan. Raises InputError as `difference`, and for a
    power outside 0.05..1.
    """
    x, y = _sample(a, "a"), _sample(b, "b")
    _inside(power, "power", low=0.05)  # less than 5 % is "detected" without any effect
    error, df = _paired(x, y) if paired else _welch(x, y)
    if not error > 0:
        return error  # no spread: any difference shows; nan: none can
    from scipy.optimize import brentq

    def excess(shift: float) -> float:
        """Compute the power above the wanted one, for a difference in errors."""
        return _power(shift, df, level) - power

    high = 4.0
    while excess(high) < 0:
        high *= 2
    return float(brentq(excess, 0, high)) * error


def _power(shift: float, df: float, level: float) -> float:
    """Compute P(|T| > critical), T noncentral t, as a mean over the chi-square in it.

    The chi-square is its denominator's. scipy's nct returns nan for the few degrees of
    freedom we have.
    """
    from scipy.special import ndtr

    bar = _t(level, df) * _denominators(df)
    return float(np.mean(ndtr(shift - bar) + ndtr(-shift - bar)))


@lru_cache(64)
def _denominators(df: float) -> np.ndarray:
    from scipy.stats import chi2

    middles = (np.arange(4000) + 0.5) / 4000
    return np.sqrt(chi2.ppf(middles, df) / df)


def _sample(values, name: str) -> np.ndarray:
    try:
        x = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        x = None
    if x is None or x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
        raise InputError(
            f"{name} is {values!r}; it must be a non-empty list of finite numbers"
        )
    return x


def _inside(value: float, name: str, low: float = 0) -> None:
    if not low < value < 1:
        raise InputError(f"{name} is {value!r}; it must lie between {low} and 1")


def _sd(x: np.ndarray) -> float:
    # Equal values: exactly 0, where rounding of the mean would leave some 1e-15.
    if len(x) == 1:
        return math.nan
    return 0.0 if np.ptp(x) == 0 else float(x.std(ddof=1))


@lru_cache(1024)
def _t(level: float, df: float) -> float:
    """Return the two-sided critical value; nan without df, whatever the spread."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, df))


def _paired(x: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """Return the standard error of the mean difference within pairs, and its df."""
    if len(x) != len(y):
        raise InputError(
            f"a and b have {len(x)} and {len(y)} values; pairs need equal numbers"
        )
    return _sd(x - y) / math.sqrt(len(x)), len(x) - 1


def _welch(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the standard error of the difference, and Welch-Satterthwaite df."""
    u, v = _sd(x) ** 2 / len(x), _sd(y) ** 2 / len(y)
    if u + v == 0:
        return 0.0, 1.0  # any df: the half width is 0
    # A lone value (nan spread) makes both nan, and with them the interval.
    n, m = (max(len(z) - 1, 1) for z in (x, y))
    return math.sqrt(u + v), (u + v) ** 2 / (u**2 / n + v**2 / m)


def _tested(mean: float, error: float, df: float, seeds: tuple, level: float):
    """Return a difference with its interval, and p unless there is no spread."""
    p = math.nan
    if error > 0:
        from scipy.special import stdtr

        p = float(2 * stdtr(df, -abs(mean) / error))
    return Difference(mean, _t(level, df) * error, *seeds, p)
