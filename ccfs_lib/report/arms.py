"""Chapter 5: the measured arms. How much is the selection, and how much the teacher?

Everything here is read from results files; nothing is trained.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas

from ccfs_lib import cost, paper, results
from ccfs_lib.arms import BY_NAME
from ccfs_lib.claims import ladder
from ccfs_lib.claims.compare import (
    ALPHA0,
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
from ccfs_lib.experiment import KNOWN, Experiment
from ccfs_lib.report.charts import Line, intervals
from ccfs_lib.report.text import (
    DASH,
    MINUS,
    Text,
    count,
    fill,
    finding,
    interval,
    listed,
    percent,
    plus_minus,
    signed,
    table,
)
from ccfs_lib.runtime import paths
from ccfs_lib.statistics import Difference, difference, summary

# What each comparison isolates: the selection (twice, since a teacher's answers might
# stand in for it; and alone, without any distilled image), the real images, and the
# teacher (on two sets, since what it adds might depend on the images). The paper's,
# CCFS with a teacher minus random without one, is not among them: it changes two things
# at once.
PAIRS = (
    (CCFS, "random", f"CCFS {MINUS} random, with teacher"),
    ("ccfs-hard", "random-hard", f"CCFS {MINUS} random, hard labels"),
    (ALPHA0, "random", f"alpha 0 {MINUS} random, with teacher"),
    (CCFS, "distilled", f"CCFS {MINUS} distilled only"),
    (CCFS, "ccfs-hard", f"CCFS: teacher {MINUS} hard labels"),
    ("random", "random-hard", f"random: teacher {MINUS} hard labels"),
)
# How a verdict on "left is higher" looks in a chart: its colour, and what it is called.
SHOWN = {HOLDS: ("blue", "higher"), FAILS: ("orange", "lower"), OPEN: ("grey", OPEN)}


def read(experiment: Experiment, arms: Sequence[str]) -> pandas.DataFrame:
    """Read the measured rows of these arms, one per seed, from the results files.

    With CCFS and "random" among them also CCFS without distilled images, ALPHA0, where
    another run has measured it. Raises InputError where the run has no results.
    """
    rows = results.load(paths.results(), experiment.run)
    # A run's folder may hold other arms, measured by another chapter or by a sweep.
    rows = rows[rows["cell"].isin(arms)]
    if not {CCFS, "random"} <= set(arms) or not experiment.distilled:
        return rows
    try:
        none = results.load(paths.results(), replace(experiment, alpha=0.0).run)
    except ValueError:  # not measured, or no such run: no real images to fill with
        return rows
    return ladder.without(none, rows)


def lines(
    rows: pandas.DataFrame, arms: Sequence[str], experiment: Experiment
) -> list[Line]:
    """List mean, interval and seeds of every arm, percent, for `charts.intervals`.

    rows: those of `read`. The interval is that of the last epochs; the best epochs,
    which are what the paper reports and the test split chose, are an open mark only.
    """
    result = []
    for arm in arms:
        points = values(rows, arm)
        last, best = summary(points), summary(values(rows, arm, "best"))
        printed = paper.arm(arm, experiment.printed_as, experiment.ipc)
        aside = plus_minus(last) + (
            f" (paper: {printed:.1f})" if printed is not None else ""
        )
        colour = BY_NAME[arm].colour
        result.append(
            Line(NAMES[arm], last.mean, last.half, points, colour, aside, best.mean)
        )
    return result


def dots(rows: pandas.DataFrame, arms: Sequence[str], experiment: Experiment):
    """Draw the test accuracy of every arm: seeds, mean, interval; teacher dashed.

    Table 1 as a picture, for the arms that were measured. Whether two arms differ is
    not to be read off it: intervals may overlap where the difference is clear, since
    seeds are paired. That is what `differences` shows.
    """
    # What the students learn from: how far there is to go on all of the data.
    ceiling = {"teacher": float(rows["teacher_last"].iloc[0])}
    accuracies = lines(rows, arms, experiment)
    return intervals(accuracies, "test accuracy (%)", ceiling, "best epochs, mean", 100)


def ranking(
    rows: pandas.DataFrame, arms: Sequence[str], experiment: Experiment
) -> Text:
    """Tabulate the arms, highest mean first: accuracies, seeds, images, paper."""
    theirs = {
        arm: paper.arm(arm, experiment.printed_as, experiment.ipc) for arm in arms
    }
    printed = any(value is not None for value in theirs.values())
    body = []
    for arm in sorted(arms, key=lambda arm: -summary(values(rows, arm)).mean):
        got, wanted = (values(rows, arm, c) for c in ("images", "wanted"))
        # Three numbers tell more than their interval, and let a reader check it.
        seeds = " ".join(f"{v:.1f}" for v in values(rows, arm))
        # A smaller set is a handicap that its accuracy does not mention.
        part = fill(sum(got) / sum(wanted))
        means = (plus_minus(values(rows, arm, column)) for column in ("last", "best"))
        body.append([NAMES[arm], *means, seeds, part])
        # Only where it has some: a column of dashes would suggest that it should.
        if printed:
            body[-1].append(DASH if theirs[arm] is None else f"{theirs[arm]:.1f}")
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
    """Draw differences between arms with their 95 % intervals and verdicts.

    pairs: (left, right, name). Points, left minus right; a tick is one seed's
    difference, so that the pairing can be seen. Pairs of which the run has one arm, or
    none, are left out.
    """
    here = set(rows["cell"])
    both = [pair for pair in pairs if here.issuperset(pair[:2])]
    return contrasts({name: matched(rows, left, right) for left, right, name in both})


def contrasts(pairs: dict[str, tuple], zero: str = "no difference"):
    """Draw differences of pairs by seed: mean, interval, single seeds, verdict.

    pairs: name -> (left, right), percent of the same seeds. zero: what 0 is called.
    """
    result = []
    for name, pair in pairs.items():
        d, by_seed = difference(*pair, paired=True), np.subtract(*pair)
        colour, word = SHOWN[verdict(d)]
        aside = f"{signed(d.mean)}, {word}"
        result.append(Line(name, d.mean, d.half, by_seed, colour, aside))
    # Zero is the question, so it is drawn; the test is named where its result is read.
    label = f"difference in test accuracy (points, {PAIRED})"
    return intervals(result, label, {zero: 0.0})


def answer(rows: pandas.DataFrame, experiment: Experiment) -> Text:
    """Return the finding: does selection beat chance, what does the teacher add?

    rows: those of `read`, with CCFS, "random" and "random-hard" among the arms.
    """
    d = compare(rows, CCFS, "random")
    return finding(
        "That CCFS beats random real images trained with the same teacher: "
        f"**{verdict(d)}** ({interval(d)}; {count(d.n_a, 'seed')}, {PAIRED}).",
        _blind(rows, d),
        _shares(rows, experiment),
        _filled(rows),
        _batches(rows, experiment),
        _teacher(rows, experiment),
        f"Reporting the best epoch instead of the last would add {signed(_gap(rows))} "
        "points to CCFS.",
    )


def _blind(rows, d: Difference) -> str:
    """Say how large a difference would have shown: "too close" is not "none"."""
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
    """Split the paper's comparison into the teacher's part and the selection's.

    Table 1 sets CCFS, taught by a teacher, against random images without one; the two
    parts add up to that distance, because each changes one thing only.
    """
    total, teacher, selection = (
        compare(rows, *pair).mean
        for pair in ((CCFS, "random-hard"), ("random", "random-hard"), (CCFS, "random"))
    )
    where = experiment.printed_as, experiment.ipc
    printed = [paper.arm(arm, *where) for arm in (CCFS, "random-hard")]
    theirs = (
        ""
        if None in printed
        else f" The paper prints {signed(printed[0] - printed[1])} for it, with a "
        "ResNet-18, and does not take it apart."
    )
    return (
        "The paper compares CCFS, which learns from a teacher, with random images "
        f"under hard labels: {signed(total)} points here, of which {signed(teacher)} "
        f"come with the teacher and {signed(selection)} with the selection.{theirs}"
    )


def fullness(rows: pandas.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Return the part of the wanted images that each set holds, all seeds, 0 to 1."""
    return {
        name: sum(values(rows, name, "images")) / sum(values(rows, name, "wanted"))
        for name in names
    }


def _filled(rows) -> str:
    # Not a flaw of the run: neither Algorithm 1 nor the code refills a short class.
    if (part := fullness(rows, [CCFS])[CCFS]) == 1:
        return ""
    return (
        f"CCFS made only {fill(part)} of the images wanted, "
        "because classes ran out of candidates; the random set is always full."
    )


def _batches(rows, experiment: Experiment) -> str:
    """Whether seeds of CCFS were learnt in other batches than the rest of them."""
    if experiment.dataset not in KNOWN or experiment.batch_size_by == "wanted":
        return ""
    full, own = cost.size(experiment).train, rows[rows["cell"] == CCFS]
    of = {
        int(row.seed): experiment.recipe.for_size(int(row.images), full).batch_size
        for row in own.itertuples()
    }
    if len(set(of.values())) == 1:
        return ""
    told = [f"{batch} for seed {seed}" for seed, batch in of.items()]
    return (
        "The batch size goes by the images made, and a few of them decided: "
        f"{listed(told)} of CCFS. Half the batch is twice the steps."
    )


def _teacher(rows, experiment: Experiment) -> str:
    """The teacher beside the paper's, which is its row "Full Dataset"."""
    printed = paper.full(experiment.printed_as)
    if printed is None or experiment.scale != "paper":
        return ""
    own = float(rows["teacher_last"].iloc[0])
    return (
        f"The one teacher here answers {percent(own, 2)} of the test images right, the "
        f"paper's {percent(printed)}."
    )


def _gap(rows) -> float:
    """Return the points that reporting the best epoch, as the paper, adds to CCFS."""
    best, last = (summary(values(rows, CCFS, c)).mean for c in ("best", "last"))
    return best - last
