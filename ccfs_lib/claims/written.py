"""Differences and their intervals in digits: as many as they need, and no more."""

import math

ZERO = 1e-9  # less is a zero, but for the rounding of sums


def written(unit: str, mean: float, low: float, high: float) -> str:
    """Write a difference with its interval: "+6.1 [+3.5, +8.7]".

    unit: of the claim.
    """
    digits = decimals(unit, mean, low, high)
    if not math.isfinite(low + high):
        return f"{signed(mean, digits)}, without an interval"
    return f"{signed(mean, digits)} {ends(low, high, digits)}"


def ends(low: float, high: float, digits: int = 1) -> str:
    """Write the ends of an interval, [+3.5, +8.7].

    One near zero has as many digits as show its side: it stands beside a verdict.
    """
    low, high = (signed(end, max(digits, first_digit(end))) for end in (low, high))
    return f"[{low}, {high}]"


def decimals(unit: str, *values: float) -> int:
    """Count decimals: one of points; of difficulties the largest gets two digits."""
    largest = max(abs(value) for value in values if math.isfinite(value))
    if unit != "score" or largest < ZERO:
        return 1
    return max(1, 1 - math.floor(math.log10(largest)))


def first_digit(value: float) -> int:
    """Return the fewest decimals in which a number does not look like zero."""
    if abs(value) < ZERO:
        return 0
    digits = 0
    while round(value, digits) == 0:
        digits += 1
    return digits


def signed(value: float, digits: int = 1) -> str:
    """Return a number with its sign, a true minus; a rounded zero has none."""
    text = f"{value:+.{digits}f}"
    # "+0.0" and "-0.0" would claim a direction that the digits do not show.
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")
