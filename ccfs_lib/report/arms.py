"""Chapter 5: the measured arms. How much is the selection, and how much the teacher?

Everything here is read from results files; nothing is trained.
"""

import math
from collections.abc import Sequence

import pandas

from ccfs_lib import paper, paths, results
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Experiment
from ccfs_lib.report.charts import Line, intervals
from ccfs_lib.report.text import (
    Text,
    count,
    finding,
    percent,
    plain,
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
# What each comparison isolates: (left, right, in words).
PAIRS = (
    (CCFS, "random", "selection: CCFS − random"),
    ("ccfs-hard", "random-hard", "selection, hard labels"),
    (CCFS, "distilled", "real images: CCFS − distilled"),
    (CCFS, "ccfs-hard", "teacher: CCFS, soft − hard"),
    ("random", "random-hard", "teacher: random, soft − hard"),
)
COLOURS = {CCFS: "blue", "ccfs-hard": "sky", "distilled": "orange"}


def read(experiment: Experiment, arms: Sequence[str]) -> pandas.DataFrame:
    """The measured rows of these arms, one per seed, from the run's results files."""
    rows = results.load(paths.results(), experiment.run)
    return rows[rows["cell"].isin(arms)]


def values(rows: pandas.DataFrame, arm: str, column: str = "last") -> list[float]:
    """One number per seed of an arm, in the order of the seeds."""
    return [float(v) for v in rows.loc[rows["cell"] == arm, column]]


def printed(experiment: Experiment, arm: str) -> float | None:
    """The paper's accuracy for an arm in the same data set and IPC, percent, or None.

    The paper's random rows are trained with hard labels; it has no random images with
    the teacher, and no CCFS without.
    """
    where = {"dataset": experiment.dataset.removesuffix("-jpeg"), "ipc": experiment.ipc}
    rows = {CCFS: "ccfs", "distilled": "cda", "random-hard": "random"}
    try:
        if arm in rows:
            return paper.value(1, method=rows[arm], **where)
        fine, coarse = arm.split("-")
        number = {"cifar10": 11, "cifar100": 12, "tiny-imagenet": 13}[where["dataset"]]
        return paper.value(number, coarse=coarse, fine=fine, **where)
    except (InputError, KeyError, ValueError):
        return None


def lines(rows: pandas.DataFrame, arms: Sequence[str], experiment) -> list[Line]:
    """Mean, interval and seeds of every arm, for `intervals`."""
    made = []
    for arm in arms:
        last, best = summary(values(rows, arm)), summary(values(rows, arm, "best"))
        said = printed(experiment, arm)
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
    return intervals(made, "test accuracy (%)", ceiling, "mean of the best epochs")


def ranking(
    rows: pandas.DataFrame, arms: Sequence[str], experiment: Experiment
) -> Text:
    """Table of the arms, highest mean first: accuracies, seeds, images, the paper's."""
    said = {arm: printed(experiment, arm) for arm in arms}
    body = []
    for arm in sorted(arms, key=lambda arm: -summary(values(rows, arm)).mean):
        got, wanted = (values(rows, arm, c) for c in ("images", "wanted"))
        seeds = " ".join(f"{v:.1f}" for v in values(rows, arm))
        filled = percent(100 * sum(got) / sum(wanted), 0)
        means = (plus_minus(values(rows, arm, column)) for column in ("last", "best"))
        body.append([NAMES[arm], *means, seeds, filled])
        if any(v is not None for v in said.values()):
            body[-1].append("–" if said[arm] is None else f"{said[arm]:.1f}")
    head = ["training set", "last (%)", "best (%)", "last, by seed", "images made"]
    caption = (
        "Test accuracy, mean ± half of the 95 % t interval; images of those wanted."
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
        aside = f"{signed(d.mean)}: {VERDICT_WORDS[word]}"
        made.append(Line(name, d.mean, d.half, (), colour, aside))
    return intervals(
        made, "difference in test accuracy (points)", {"no difference": 0.0}
    )


VERDICT_WORDS = {
    "holds": "left is higher",
    "does not hold": "left is lower",
    "too close to call": "too close to call",
}


def answer(rows: pandas.DataFrame, experiment: Experiment) -> Text:
    """Finding: does the selection beat chance, and what does the teacher add?"""
    d = compare(rows, CCFS, "random")
    teacher = compare(rows, "random", "random-hard")
    seeds = f"{d.n_a} seeds" if d.n_a == d.n_b else f"{d.n_a} and {d.n_b} seeds"
    return finding(
        "That CCFS beats random real images trained with the same teacher: "
        f"**{verdict(d)}** ({told(d)}, {seeds}).",
        _blind(rows, d),
        f"The teacher alone moves random images by {told(teacher)}.",
        _best(rows),
        _filled(rows),
        _beside(rows, experiment),
    )


def _blind(rows, d: Difference) -> str:
    if verdict(d) != "too close to call":
        return ""
    least = minimum_detectable(values(rows, CCFS), values(rows, "random"))
    if math.isnan(least):
        return "A single seed cannot tell."
    return (
        "With seeds as many and as spread as these, a true difference would have to be "
        f"about {least:.1f} points to be seen four times in five."
    )


def _best(rows) -> str:
    gap = summary(values(rows, CCFS, "best")).mean - summary(values(rows, CCFS)).mean
    return f"Reporting the best epoch instead of the last adds {signed(gap)} to CCFS."


def _filled(rows) -> str:
    got, wanted = (sum(values(rows, CCFS, c)) for c in ("images", "wanted"))
    if got == wanted:
        return ""
    seeds = len(values(rows, CCFS))
    return (
        f"CCFS had {count(round(got / seeds), 'image')} of {round(wanted / seeds):,} "
        "wanted on average, because classes ran out of candidates; the random set is "
        "always full."
    )


def _beside(rows, experiment) -> str:
    ours, theirs = (
        [f(CCFS), f("random-hard")]
        for f in (
            lambda arm: summary(values(rows, arm)).mean,
            lambda arm: printed(experiment, arm),
        )
    )
    if None in theirs:
        return ""
    return (
        "The paper's own comparison, CCFS with a teacher against random images without, "
        f"is {signed(theirs[0] - theirs[1])} points with a ResNet-18 and "
        f"{plain(ours[0] - ours[1])} here."
    )
