"""Differences in digits: the side of zero is seen, and no digit too many."""

import math

import pytest

from ccfs_lib.claims.written import decimals, written
from ccfs_lib.report.text import bracketed, interval
from ccfs_lib.statistics import Difference

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("unit", "numbers", "text"),
    [
        ("points", (1.46, 0.0013, 2.92), "+1.5 [+0.001, +2.9]"),
        ("points", (1.46, -0.04, 2.92), f"+1.5 [{MINUS}0.04, +2.9]"),
        ("points", (1.46, 0.06, 2.92), "+1.5 [+0.1, +2.9]"),
        ("points", (0.0, 0.0, 0.0), "0.0 [0.0, 0.0]"),
        ("points", (0.5, 1e-15, 1.0), "+0.5 [0.0, +1.0]"),
        ("points", (2.0, -math.inf, math.inf), "+2.0, without an interval"),
        ("score", (0.0017, -0.0021, 0.0056), f"+0.0017 [{MINUS}0.0021, +0.0056]"),
        ("score", (1.2618, 1.1122, 1.4114), "+1.3 [+1.1, +1.4]"),
        ("score", (0.0667, -0.2202, 0.3535), f"+0.07 [{MINUS}0.22, +0.35]"),
        ("score", (3.6, -3.6168, 10.8168), f"+3.6 [{MINUS}3.6, +10.8]"),
    ],
)
def test_a_difference_has_the_digits_that_it_needs(unit, numbers, text):
    assert written(unit, *numbers) == text


def test_difficulties_have_two_digits_and_at_least_one_decimal():
    assert decimals("score", 0.0, 0.0) == decimals("score", 99.0) == 1
    assert (
        decimals("score", 0.5, -0.01, math.inf) == 2 and decimals("points", 0.01) == 1
    )


def test_reports_write_ends_as_claims_do():
    """Beside "above zero" no interval may begin with 0.0."""
    d = Difference(1.5, 1.499, 3, 3, 0.05)
    assert bracketed(d) == "+1.5 [+0.001, +3.0]"
    assert interval(d).endswith("[+0.001, +3.0]")
    assert bracketed(d._replace(mean=0.0, half=0.0)) == "0.0 [0.0, 0.0]"
