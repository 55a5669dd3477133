"""Chapter 5: the measured arms. How much is the selection, and how much the teacher?

Everything here is read from results files; nothing is trained.
"""

import math
from collections.abc import Sequence

import pandas

from ccfs_lib import paths, results
from ccfs_lib.experiment import Experiment
from ccfs_lib.report import printed
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
    verdict,
)
from ccfs_lib.statistics import Difference, difference, minimum_detectable, summary

CCFS = "simple-misclassified"
NAMES = {
    "simple-misclassified": "CCFS: simplest misclassified",
    "random-misclassified": "random misclassified",
    "hard-misclassified": "hardest misclassified",
    "simple-classified": "simplest classified",
    "random-classified": "random classified",
    "hard-classified": "hardest classified",
    "random": "random real images",
    "distilled": "distilled images only",
    "ccfs-hard": "CCFS, hard labels",
    "random-hard": "random, hard labels",
}
# What each comparison isolates: selection, real images, teacher.
PAIRS = (
    (CCFS, "random", f"CCFS {MINUS} random, with teacher"),
    ("ccfs-hard", "random-hard", f"CCFS {MINUS} random, hard labels"),
    (CCFS, "distilled", f"CCFS {MINUS} distilled only"),
    (CCFS, "ccfs-hard", f"CCFS: teacher {MINUS} hard labels"),
    ("random", "random-hard", f"random: teacher {MINUS} hard labels"),
)
COLOURS = {CCFS: "blue", "ccfs-hard": "sky", "distilled": "orange"}


def read(experiment: Experiment, arms: Sequence[str]) -> pandas.DataFrame:
    """The measured rows of these arms, one per seed, from the run's results files."""
    rows = results.load(paths.results(), experiment.run)
    return rows[rows["cell"].isin(arms)]


def values(rows: pandas.DataFrame, arm: str, column: str = "last") -> list[float]:
    """One number per seed of an arm, in the order of the seeds."""
    return [float(v) for v in rows.loc[rows["cell"] == arm, column]]


def lines(rows: pandas.DataFrame, arms: Sequence[str], experiment) -> list[Line]:
    """Mean, interval and seeds of every arm, for `intervals`."""
    made = []
    for arm in arms:
        last, best = summary(values(rows, arm)), summary(values(rows, arm, "best"))
        said = printed.arm(experiment, arm)
        aside = plus_minus(last) + (f" (paper: {said:.1f})" if said is not None else "")
        colour = COLOURS.get(arm, "green")
        points = values(rows, arm)
        made.append(
            Line(NAMES[arm], last.mean, last.half, points, colour, aside, best.mean)
        )
    return made


def dots(rows: pandas.DataFrame, arms: Sequence[str], experiment: Experiment):
    """Test accuracy of every arm: seeds, mean and interval, beside the teacher's."""
    ceiling = {"teacher": float(rows["teacher_last"].iloc[0])}
    made = lines(rows, arms, experiment)
    return intervals(made, "test accuracy (%)", ceiling, "best epochs, mean", 100)


def ranking(
    rows: pandas.DataFrame, arms: Sequence[str], experiment: Experiment
) -> Text:
    """Table of the arms, highest mean first: accuracies, seeds, images, the paper's."""
    said = {arm: printed.arm(experiment, arm) for arm in arms}
    body = []
    for arm in sorted(arms, key=lambda arm: -summary(values(rows, arm)).mean):
        got, wanted = (values(rows, arm, c) for c in ("images", "wanted"))
        seeds = " ".join(f"{v:.1f}" for v in values(rows, arm))
        filled = percent(100 * sum(got) / sum(wanted), 0)
        means = (plus_minus(values(rows, arm, column)) for column in ("last", "best"))
        body.append([NAMES[arm], *means, seeds, filled])
        if any(v is not None for v in said.values()):
            body[-1].append(DASH if said[arm] is None else f"{said[arm]:.1f}")
    head = ["training set", "last (%)", "best (%)", "last, by seed", "images made"]
    caption = (
        "Test accuracy, mean ± half of the 95 % t interval. Images made: percent of "
        "those wanted."
    )
    if len(body[0]) > len(head):
        head.append("paper")
        caption += " Paper: ResNet-18 at its own scale, best epoch."
    return table(caption, head, body)


def compare(rows, left: str, right: str, paired: bool = False) -> Difference:
    """Last accuracy of one arm minus another's, points; Welch's test unless paired."""
    return difference(values(rows, left), values(rows, right), paired)


def differences(rows: pandas.DataFrame, pairs=PAIRS, paired: bool = False):
    """Differences between arms with their 95 % intervals, and the verdict of each."""
    made = []
    for left, right, name in pairs:
        d = compare(rows, left, right, paired)
        word = verdict(d)
        colour = dict(zip(VERDICT_WORDS, ("blue", "orange", "grey"), strict=True))[word]
        aside = f"{signed(d.mean)}, {VERDICT_WORDS[word]}"
        made.append(Line(name, d.mean, d.half, (), colour, aside))
    return intervals(
        made, "difference in test accuracy (points)", {"no difference": 0.0}
    )


VERDICT_WORDS = {
    "holds": "higher",
    "does not hold": "lower",
    "too close to call": "too close to call",
}


def answer(rows: pandas.DataFrame, experiment: Experiment) -> Text:
    """Finding: does the selection beat chance, and what does the teacher add?"""
    d = compare(rows, CCFS, "random")
    return finding(
        "That CCFS beats random real images trained with the same teacher: "
        f"**{verdict(d)}** ({told(d)}; {count(min(d.n_a, d.n_b), 'seed')} each).",
        _blind(rows, d),
        _shares(rows, experiment),
        _filled(rows),
        f"Reporting the best epoch instead of the last would add {signed(_gap(rows))} "
        "points to CCFS.",
    )


def _blind(rows, d: Difference) -> str:
    if verdict(d) != "too close to call" or math.isnan(d.half):
        return ""
    least = minimum_detectable(values(rows, CCFS), values(rows, "random"))
    return (
        "With seeds as many and as spread as these, a true difference would have to be "
        f"about {least:.1f} points to show four times in five."
    )


def _shares(rows, experiment) -> str:
    """The paper's comparison taken apart: the teacher's part, and the selection's."""
    total, teacher, selection = (
        compare(rows, *pair).mean
        for pair in ((CCFS, "random-hard"), ("random", "random-hard"), (CCFS, "random"))
    )
    said = [printed.arm(experiment, arm) for arm in (CCFS, "random-hard")]
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


def _filled(rows) -> str:
    got, wanted = (sum(values(rows, CCFS, c)) for c in ("images", "wanted"))
    if got == wanted:
        return ""
    return (
        f"CCFS made only {percent(100 * got / wanted, 0)} of the images wanted, "
        "because classes ran out of candidates; the random set is always full."
    )


def _gap(rows) -> float:
    best, last = (summary(values(rows, CCFS, c)).mean for c in ("best", "last"))
    return best - last
