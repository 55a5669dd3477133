"""The effect of one choice: the difference between its two settings, in words.

Chapter 13 measures the choices that the paper leaves open. Every effect is the authors'
setting minus the alternative: above zero, the authors' setting is the better one.
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
from ccfs_lib.report.arms import SHOWN, shown
from ccfs_lib.report.charts import Line, intervals
from ccfs_lib.report.text import (
    DASH,
    UNTESTED,
    Text,
    count,
    few,
    interval,
    signed,
    table,
)
from ccfs_lib.statistics import (
    Difference,
    difference,
    minimum_detectable,
    seeds_needed,
)

MOST = 999  # seeds that anybody would train
# What a verdict on "the left side is higher" says about the choice.
MOVES = {HOLDS: "raises accuracy", FAILS: "lowers accuracy", OPEN: OPEN}


@dataclass(frozen=True)
class Effect:
    """Last accuracies of both settings, percent, by seed, and the choice's name."""

    name: str  # in tables and charts: the authors' setting minus the alternative
    subject: str  # as the subject of a sentence
    left: Sequence[float]
    right: Sequence[float]

    @cached_property
    def difference(self) -> Difference:
        """Left minus right, points, paired by seed."""
        return difference(self.left, self.right, paired=True)

    @property
    def detectable(self) -> float:
        """The smallest true difference, points, detectable with 80 % power."""
        return minimum_detectable(self.left, self.right, paired=True)

    @property
    def none(self) -> bool:
        """Whether both settings gave equal accuracies in every seed."""
        return bool(np.array_equal(self.left, self.right))


def effect(
    name: str,
    subject: str,
    left: pandas.DataFrame,
    right: pandas.DataFrame,
    apart: Iterable[str] = (),
) -> Effect:
    """Return the effect of a choice, from the rows of both settings (`results.load`).

    apart: settings in which the two may differ, with the nested ones dotted; all others
    have to be equal. Raises InputError where they are not, where a seed stands twice on
    a side, and where no seed stands on both.
    """
    for side, rows in (("left", left), ("right", right)):
        once(rows, f"{name}, {side}")
    # `contradiction` must not see the settings that differ on purpose.
    shared = [rows.drop(columns=[*apart], errors="ignore") for rows in (left, right)]
    if differ := contradiction(*shared):
        raise InputError(f"{name}: the two sides also differ in {differ}")
    pair = by_seed(left, right)
    if not pair[0]:
        raise InputError(f"{name}: the two sides have no seed in common")
    return Effect(name, subject, *pair)


def word(e: Effect) -> str:
    """Name the effect: higher, lower, too close to call, equal, or not tested."""
    if few(e.difference):
        return UNTESTED
    return "equal" if e.none else SHOWN[verdict(e.difference)][1]


def sentence(e: Effect) -> str:
    """Describe the effect of a choice on accuracy in one or two sentences."""
    d = e.difference
    if few(d):
        return f"{e.subject}: **{UNTESTED}** ({_alone(e)})."
    if e.none:
        return f"{e.subject} has no effect here: accuracies are equal in every seed."
    numbers = f"{interval(d)}; {count(d.n_a, 'seed')}, {PAIRED}"
    text = f"{e.subject}: **{MOVES[verdict(d)]}** ({numbers})."
    if verdict(d) != OPEN or not e.detectable > 0:
        return text
    return (
        f"{text} The smallest true difference detectable with 80 % power is about "
        f"{e.detectable:.1f} points."
    )


def _alone(e: Effect) -> str:
    """Describe an effect of few seeds, of which equal accuracies may be a chance."""
    if not e.none:
        return f"{interval(e.difference)}; {PAIRED}"
    seeds = "the only seed" if len(e.left) == 1 else "both seeds"
    return f"accuracies are equal in {seeds}; so few have no interval"


def needed(left: Sequence[float], right: Sequence[float], points: float) -> str:
    """Say how many seeds would detect a true difference of `points`: 41 seeds.

    left, right: percent of the same seeds, by whose spread `seeds_needed` plans. In
    plain spaces, as exercises print it.
    """
    if not (seeds := seeds_needed(left, right, points, most=MOST)):
        known = len(left)
        return f"not known: no spread over {known} seed{'s' * (known > 1)}"
    return f"more than {MOST} seeds" if seeds > MOST else f"{seeds} seeds"


def forest(effects: Sequence[Effect], printed: dict[str, float]):
    """Draw every effect with its interval and seeds; printed: the paper's numbers.

    Those have no interval, since the paper gives the spread of one selection only.
    """
    lines = []
    for e in effects:
        d, each = e.difference, np.subtract(e.left, e.right)
        colour = SHOWN[verdict(d)][0]
        aside = shown(d) if few(d) else f"{signed(d.mean)}, {word(e)}"
        lines.append(Line(e.name, d.mean, d.half, each, colour, aside))
    for name, points in printed.items():
        lines.append(Line(name, points, math.nan, (), "purple", signed(points)))
    label = f"difference in test accuracy (points, {PAIRED})"
    return intervals(lines, label, {"no difference": 0.0})


def ledger(effects: Sequence[Effect]) -> Text:
    """Tabulate the effects: difference, interval, detectable difference, verdict."""
    body = []
    for e in effects:
        d = e.difference
        ends = [signed(d.mean + s * d.half) for s in (-1, 1)]
        inside = DASH if few(d) else f"[{', '.join(ends)}]"
        least = DASH if e.none or few(d) else f"{e.detectable:.1f}"
        body.append([e.name, signed(d.mean), inside, least, d.n_a, word(e)])
    head = ["authors' setting \N{MINUS SIGN} alternative", "points", "95 % interval"]
    head += ["detectable from", "seeds", "verdict"]
    caption = (
        f"Effect of each choice on test accuracy after the last epoch, {PAIRED}. "
        "Detectable from: the smallest true difference found with 80 % power."
    )
    return table(caption, head, body)
