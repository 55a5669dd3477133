"""One choice, two ways of making it: their difference with its interval, in words.

Chapter 13 asks of everything that the paper leaves open how many points it is worth.
Every effect has the authors' way on its left and the other way on its right, so that
all of them read alike: above zero, the authors' way is the higher one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas

from ccfs_lib.claims.compare import (
    FAILS,
    HOLDS,
    OPEN,
    PAIRED,
    by_seed,
    contradiction,
    once,
    verdict,
)
from ccfs_lib.errors import InputError
from ccfs_lib.report.arms import SHOWN
from ccfs_lib.report.charts import Line, intervals
from ccfs_lib.report.text import DASH, Text, count, interval, signed, table
from ccfs_lib.statistics import Difference, difference, minimum_detectable

# What a verdict on "the left side is higher" says of the choice itself.
MOVES = {HOLDS: "raises accuracy", FAILS: "lowers accuracy", OPEN: OPEN}


@dataclass(frozen=True)
class Effect:
    """Last accuracies of both ways, percent, by seed, and what the choice is called."""

    name: str  # in tables and charts: the authors' way minus the other
    subject: str  # as the subject of a sentence
    left: Sequence[float]
    right: Sequence[float]

    @cached_property
    def difference(self) -> Difference:
        """Left minus right, points, paired by seed."""
        return difference(self.left, self.right, paired=True)

    @property
    def detectable(self) -> float:
        """The true difference, points, that would show four times in five."""
        return minimum_detectable(self.left, self.right, paired=True)

    @property
    def none(self) -> bool:
        """Whether every seed gave the same twice: nothing was changed by the choice."""
        return bool(np.array_equal(self.left, self.right))


def effect(
    name: str,
    subject: str,
    left: pandas.DataFrame,
    right: pandas.DataFrame,
    apart: Iterable[str] = (),
) -> Effect:
    """Return the effect of a choice, from the rows of both ways (`results.load`).

    apart: settings in which the two may differ, with the nested ones dotted; all others
    have to be equal. Raises InputError where they are not, where a seed stands twice on
    a side, and where no seed stands on both.
    """
    for side, rows in (("left", left), ("right", right)):
        once(rows, f"{name}, {side}")
    # What differs on purpose is taken out of the sight of `contradiction`.
    shared = [rows.drop(columns=[*apart], errors="ignore") for rows in (left, right)]
    if differ := contradiction(*shared):
        raise InputError(f"{name}: the two sides also differ in {differ}")
    pair = by_seed(left, right)
    if not pair[0]:
        raise InputError(f"{name}: the two sides have no seed in common")
    return Effect(name, subject, *pair)


def word(e: Effect) -> str:
    """Name the effect: higher, lower, too close to call, or the same both ways."""
    return "the same" if e.none else SHOWN[verdict(e.difference)][1]


def sentence(e: Effect) -> str:
    """Say in one or two sentences what a choice does to accuracy here."""
    d = e.difference
    if e.none:
        return f"{e.subject} changes nothing here: equal accuracies in every seed."
    numbers = f"{interval(d)}; {count(d.n_a, 'seed')}, {PAIRED}"
    text = f"{e.subject}: **{MOVES[verdict(d)]}** ({numbers})."
    if verdict(d) != OPEN or not e.detectable > 0:
        return text
    return (
        f"{text} A true difference of about {e.detectable:.1f} points would have shown "
        "four times in five."
    )


def forest(effects: Sequence[Effect], printed: dict[str, float]):
    """Draw every effect with its interval and seeds; printed: the paper's numbers.

    Those have no interval, since the paper gives the spread of one selection only.
    """
    lines = []
    for e in effects:
        d, each = e.difference, np.subtract(e.left, e.right)
        colour = SHOWN[verdict(d)][0]
        aside = f"{signed(d.mean)}, {word(e)}"
        lines.append(Line(e.name, d.mean, d.half, each, colour, aside))
    for name, points in printed.items():
        lines.append(Line(name, points, math.nan, (), "purple", signed(points)))
    label = f"difference in test accuracy (points, {PAIRED})"
    return intervals(lines, label, {"no difference": 0.0})


def ledger(effects: Sequence[Effect]) -> Text:
    """Tabulate the effects: difference, interval, what would have shown, verdict."""
    body = []
    for e in effects:
        d = e.difference
        ends = [signed(d.mean + s * d.half) for s in (-1, 1)]
        inside = DASH if math.isnan(d.half) else f"[{', '.join(ends)}]"
        least = DASH if e.none or math.isnan(d.half) else f"{e.detectable:.1f}"
        body.append([e.name, signed(d.mean), inside, least, d.n_a, word(e)])
    head = ["the authors' way, and the other", "points", "95 % interval"]
    head += ["would show", "seeds", "verdict"]
    caption = (
        f"What each choice is worth in test accuracy after the last epoch, {PAIRED}. "
        "Would show: the true difference that these seeds detect four times in five."
    )
    return table(caption, head, body)
