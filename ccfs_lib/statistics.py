"""Mean, spread and difference of accuracies over a few seeds.

Student's t and not the bootstrap: with 3 seeds the percentile bootstrap's 95 % interval
covers the true mean in about 75 % of the cases, and so does 1.96 sd/sqrt(n) with the
population sd; the t interval covers 95 % (tests/test_statistics.py simulates both). The
price is normality, which an accuracy averaged over thousands of images meets well.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ccfs_lib.errors import InputError


class Summary(NamedTuple):
    """mean +- half is the t interval; sd is the sample's (n - 1). Unit of the input."""

    n: int
    mean: float
    sd: float
    half: float


class Difference(NamedTuple):
    """mean(a) - mean(b) +- half, and the two-sided p value of "no difference"."""

    mean: float
    half: float
    n_a: int
    n_b: int
    p: float


def summary(values: Sequence[float], level: float = 0.95) -> Summary:
    """Summarise one value per seed, (n,), with a Student t interval.

    One seed has no spread: sd and half are nan. Raises InputError for no values, values
    that are not finite, or a level outside 0..1.
    """
    x = _sample(values, "values")
    _inside(level, "level")
    sd = _sd(x)
    half = _t(level, len(x) - 1) * sd / math.sqrt(len(x))
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
    half, p = _t(level, df) * error, math.nan
    if error > 0:
        from scipy.stats import t

        p = float(2 * t.sf(abs(mean) / error, df))
    return Difference(mean, half, len(x), len(y), p)


def minimum_detectable(
    a: Sequence[float], b: Sequence[float], power: float = 0.8, paired: bool = False
) -> float:
    """Smallest true difference that seeds as many and as spread as these would detect.

    Detect: the two-sided 5 % test of `difference` rejects with probability `power`, by
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
    from scipy.special import ndtr
    from scipy.stats import chi2

    # P(|T| > critical), T noncentral t, as the mean over the chi-square in its
    # denominator: scipy's nct returns nan for the few degrees of freedom we have.
    middles = (np.arange(4000) + 0.5) / 4000
    bar = _t(0.95, df) * np.sqrt(chi2.ppf(middles, df) / df)

    def lack(shift: float) -> float:
        return float(np.mean(ndtr(shift - bar) + ndtr(-shift - bar))) - power

    high = 4.0
    while lack(high) < 0:
        high *= 2
    return float(brentq(lack, 0, high)) * error


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


def _t(level: float, df: float) -> float:
    """Two-sided critical value; nan without degrees of freedom, whatever the spread."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, df))


def _paired(x: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """Standard error of the mean difference within pairs, and degrees of freedom."""
    if len(x) != len(y):
        raise InputError(
            f"a and b have {len(x)} and {len(y)} values; pairs need equal numbers"
        )
    return _sd(x - y) / math.sqrt(len(x)), len(x) - 1


def _welch(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Standard error of the difference, and Welch-Satterthwaite degrees of freedom."""
    u, v = _sd(x) ** 2 / len(x), _sd(y) ** 2 / len(y)
    if u + v == 0:
        return 0.0, 1.0  # any df: the half width is 0
    # A lone value (nan spread) makes both nan, and with them the interval.
    df = (u + v) ** 2 / (u**2 / max(len(x) - 1, 1) + v**2 / max(len(y) - 1, 1))
    return math.sqrt(u + v), df
