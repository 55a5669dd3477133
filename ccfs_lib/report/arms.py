"""Chapter 5: the measured arms. How much is the selection, and how much the teacher?

Everything here is read from results files; nothing is trained.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas

from ccfs_lib import paper, results
from ccfs_lib.arms import BY_NAME
from ccfs_lib.claims.compare import (
    CCFS,
    FAILS,
    HOLDS,
    NAMES,
    OPEN,
    PAIRED,
    compare,
    detectable,
    matched,
    values,
    verdict,
)
from ccfs_lib.experiment import Experiment
from ccfs_lib.report.charts import Line, intervals
from ccfs_lib.report.text import (
    DASH,
    MINUS,
    Text,
    count,
    finding,
    percent,
    plus_minus,
    signed,
    table,
    told,
)
from ccfs_lib.runtime import paths
from ccfs_lib.statistics import Difference, difference, summary

# What each comparison isolates: the selection (twice, since a teacher's answers might
# stand in for it), the real images, and the teacher (on two sets, since what it adds
# might depend on the images). The paper's own, CCFS with a teacher minus random without
# one, is not among them: it changes two things at once.
PAIRS = (
    (CCFS, "random", f"CCFS {MINUS} random, with teacher"),
    ("ccfs-hard", "random-hard", f"CCFS {MINUS} random, hard labels"),
    (CCFS, "distilled", f"CCFS {MINUS} distilled only"),
    (CCFS, "ccfs-hard", f"CCFS: teacher {MINUS} hard labels"),
    ("random", "random-hard", f"random: teacher {MINUS} hard labels"),
)
# How a verdict on "left is higher" looks in a chart: its colour, and what it is called.
SHOWN = {HOLDS: ("blue", "higher"), FAILS: ("orange", "lower"), OPEN: ("grey", OPEN)}


def read(experiment: Experiment, arms: Sequence[str]) -> pandas.DataFrame:
    """The measured rows of these arms, one per seed, from the run's results files.

    Raises InputError where the run has no results.
    """
    rows = results.load(paths.results(), experiment.run)
    # A run's folder may hold other arms, measured by another chapter or by a sweep.
    return rows[rows["cell"].isin(arms)]


def lines(
    rows: pandas.DataFrame, arms: Sequence[str], experiment: Experiment
) -> list[Line]:
    """Mean, interval and seeds of every arm, percent, for `charts.intervals`.

    rows: those of `read`. The interval is that of the last epochs; the best epochs,
    which are what the paper reports and the test split chose, are an open mark only.
    """
    made = []
    for arm in arms:
        points = values(rows, arm)
        last, best = summary(points), summary(values(rows, arm, "best"))
        said = paper.arm(arm, experiment.printed_as, experiment.ipc)
        aside = plus_minus(last) + (f" (paper: {said:.1f})" if said is not None else "")
        colour = BY_NAME[arm].colour
        made.append(
            Line(NAMES[arm], last.mean, last.half, points, colour, aside, best.mean)
        )
    return made


def dots(rows: pandas.DataFrame, arms: Sequence[str], experiment: Experiment):
    """Test accuracy of every arm, percent: seeds, mean, interval; teacher dashed.

    Table 1 as a picture, for the arms that were measured. Whether two arms differ is
    not to be read off it: intervals may overlap where the difference is clear, since
    seeds are paired. That is what `differences` shows.
    """
    # What the students learn from: how far there is to go on all of the data.
    ceiling = {"teacher": float(rows["teacher_last"].iloc[0])}
    made = lines(rows, arms, experiment)
    return intervals(made, "test accuracy (%)", ceiling, "best epochs, mean", 100)


def ranking(
    rows: pandas.DataFrame, arms: Sequence[str], experiment: Experiment
) -> Text:
    """Table of the arms, highest mean first: accuracies, seeds, images, the paper's."""
    said = {arm: paper.arm(arm, experiment.printed_as, experiment.ipc) for arm in arms}
    printed = any(value is not None for value in said.values())
    body = []
    for arm in sorted(arms, key=lambda arm: -summary(values(rows, arm)).mean):
        got, wanted = (values(rows, arm, c) for c in ("images", "wanted"))
        # Three numbers tell more than their interval, and let a reader check it.
        seeds = " ".join(f"{v:.1f}" for v in values(rows, arm))
        # A smaller set is a handicap that its accuracy does not mention.
        filled = percent(100 * sum(got) / sum(wanted), 0)
        means = (plus_minus(values(rows, arm, column)) for column in ("last", "best"))
        body.append([NAMES[arm], *means, seeds, filled])
        # Only where it has some: a column of dashes would suggest that it should.
        if printed:
            body[-1].append(DASH if said[arm] is None else f"{said[arm]:.1f}")
    head = ["training set", "last (%)", "best (%)", "last, by seed", "images made"]
    caption = (
        "Test accuracy, mean ± half of the 95 % t interval. Images made: percent of "
        "those wanted."
    )
    if printed:
        head.append("paper")
        caption += " Paper: ResNet-18 at its own scale, best epoch."
    return table(caption, head, body)


def differences(rows: pandas.DataFrame, pairs: Sequence[tuple] = PAIRS):
    """Differences between arms with their 95 % intervals, and the verdict of each.

    pairs: (left, right, name). Points, left minus right; a tick is one seed's own
    difference, so that the pairing can be seen.
    """
    return contrasts({name: matched(rows, left, right) for left, right, name in pairs})


def contrasts(pairs: dict[str, tuple], zero: str = "no difference"):
    """Differences of pairs by seed: mean, interval, single seeds, and the verdict.

    pairs: name -> (left, right), percent of the same seeds. zero: what 0 is called.
    """
    made = []
    for name, pair in pairs.items():
        d, by_seed = difference(*pair, paired=True), np.subtract(*pair)
        colour, word = SHOWN[verdict(d)]
        aside = f"{signed(d.mean)}, {word}"
        made.append(Line(name, d.mean, d.half, by_seed, colour, aside))
    # Zero is the question, so it is drawn; the test is named where its result is read.
    label = f"difference in test accuracy (points, {PAIRED})"
    return intervals(made, label, {zero: 0.0})


def answer(rows: pandas.DataFrame, experiment: Experiment) -> Text:
    """Finding: does the selection beat chance, and what does the teacher add?

    rows: those of `read`, with CCFS, "random" and "random-hard" among the arms.
    """
    d = compare(rows, CCFS, "random")
    return finding(
        "That CCFS beats random real images trained with the same teacher: "
        f"**{verdict(d)}** ({told(d)}; {count(d.n_a, 'seed')}, {PAIRED}).",
        _blind(rows, d),
        _shares(rows, experiment),
        _filled(rows),
        f"Reporting the best epoch instead of the last would add {signed(_gap(rows))} "
        "points to CCFS.",
    )


def _blind(rows, d: Difference) -> str:
    """Too close to call is not "no difference": how large a one would have shown."""
    if verdict(d) != OPEN or math.isnan(d.half) or d.half == 0:
        return ""
    # Of the observed spread, and not of the observed difference: power worked out from
    # the difference itself would only say again that it was not significant.
    least = detectable(rows, CCFS, "random")
    return (
        "With seeds as many and as spread as these, a true difference would have to be "
        f"about {least:.1f} points to show four times in five."
    )


def _shares(rows, experiment) -> str:
    """The paper's comparison taken apart: the teacher's part, and the selection's.

    Table 1 sets CCFS, taught by a teacher, against random images without one; the two
    parts add up to that distance, because each changes one thing only.
    """
    total, teacher, selection = (
        compare(rows, *pair).mean
        for pair in ((CCFS, "random-hard"), ("random", "random-hard"), (CCFS, "random"))
    )
    where = experiment.printed_as, experiment.ipc
    said = [paper.arm(arm, *where) for arm in (CCFS, "random-hard")]
    theirs = (
        ""
        if None in said
        else f" The paper prints {signed(said[0] - said[1])} for it, with a ResNet-18, "
        "and does not take it apart."
    )
    return (
        "The paper compares CCFS, which learns from a teacher, with random images "
        f"under hard labels: {signed(total)} points here, of which {signed(teacher)} "
        f"come with the teacher and {signed(selection)} with the selection.{theirs}"
    )


def fullness(rows: pandas.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Part of the wanted images that each set holds, over all seeds, 0 to 1."""
    return {
        name: sum(values(rows, name, "images")) / sum(values(rows, name, "wanted"))
        for name in names
    }


def _filled(rows) -> str:
    # Not a flaw of the run: neither Algorithm 1 nor the code refills a short class.
    if (made := fullness(rows, [CCFS])[CCFS]) == 1:
        return ""
    return (
        f"CCFS made only {percent(100 * made, 0)} of the images wanted, "
        "because classes ran out of candidates; the random set is always full."
    )


def _gap(rows) -> float:
    """Points that the paper's habit of reporting the best epoch adds to CCFS."""
    best, last = (summary(values(rows, CCFS, c)).mean for c in ("best", "last"))
    return best - last
