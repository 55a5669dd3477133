"""Chapter 5: the measured arms, and what selection and teacher each contribute.

Everything here is read from results files; nothing is trained.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas

from ccfs_lib import paper
from ccfs_lib.arms import BY_NAME, filed_as
from ccfs_lib.claims import ladder
from ccfs_lib.claims.compare import (
    ALPHA0,
    CCFS,
    FAILS,
    HOLDS,
    NAMES,
    OPEN,
    PAIRED,
    batch_sizes,
    common,
    compare,
    detectable,
    matched,
    values,
    verdict,
)
from ccfs_lib.experiment import Experiment
from ccfs_lib.pipeline import measured_rows
from ccfs_lib.report.charts import Line, intervals
from ccfs_lib.report.text import (
    DASH,
    MINUS,
    Text,
    bracketed,
    count,
    decided,
    few,
    fill,
    finding,
    interval,
    listed,
    means,
    percent,
    plus_minus,
    signed,
    table,
    untested,
)
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

    A rule of the user's is in them by its own name, module:function, as it was given.
    With CCFS and "random" among them also CCFS without distilled images, ALPHA0, where
    another run has measured it. Raises InputError where the run has no results.
    """
    rows = measured_rows(experiment)
    # A run's folder may hold other arms, measured by another chapter or by a sweep.
    names = {filed_as(arm): arm for arm in arms}
    rows = rows[rows["cell"].isin(names)]
    rows = rows.assign(cell=rows["cell"].map(names))
    # Of alpha 1 there is no selection that alpha 0 could show alone.
    mixed = experiment.distilled and experiment.real
    if not {CCFS, "random"} <= set(arms) or not mixed:
        return rows
    try:
        none = measured_rows(replace(experiment, alpha=0.0))
    except ValueError:  # not measured, or no such run: no real images to fill with
        return rows
    return ladder.without(none, rows)


def lines(
    rows: pandas.DataFrame, arms: Sequence[str], experiment: Experiment
) -> list[Line]:
    """List mean, interval and seeds of every arm, percent, for `charts.intervals`.

    rows: those of `read`. The interval is that of the last epochs; the best epochs,
    which the authors' code reports and the test split chose, are an open mark only.
    """
    result = []
    for arm in arms:
        points = values(rows, arm)
        last, best = summary(points), summary(values(rows, arm, "best"))
        printed = paper.arm(arm, experiment.printed_as, experiment.ipc)
        aside = plus_minus(last) + (
            f" (paper: {printed:.1f})" if printed is not None else ""
        )
        colour = BY_NAME[arm].colour if arm in BY_NAME else "purple"  # the user's rule
        title = NAMES.get(arm, arm)
        result.append(
            Line(title, last.mean, last.half, points, colour, aside, best.mean)
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
        # Every seed, so that a reader can compute the interval again.
        seeds = " ".join(f"{v:.1f}" for v in values(rows, arm))
        # A smaller set is a disadvantage that its accuracy does not show.
        part = fill(sum(got) / sum(wanted))
        both = (plus_minus(values(rows, arm, column)) for column in ("last", "best"))
        body.append([NAMES.get(arm, arm), *both, seeds, part])
        # Only where it has some: a column of dashes would suggest that it should.
        if printed:
            body[-1].append(DASH if theirs[arm] is None else f"{theirs[arm]:.1f}")
    head = ["training set", "last (%)", "best (%)", "last, by seed", "set size"]
    caption = (
        f"Test accuracy, {means(rows['seed'].nunique())}. Set size: percent of the "
        "budget."
    )
    if printed:
        head.append("paper")
        caption += (
            " Paper: as printed, of a ResNet-18; CCFS by its best epoch, random by "
            "another training."
        )
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
        colour = SHOWN[verdict(d)][0]
        result.append(Line(name, d.mean, d.half, by_seed, colour, shown(d)))
    # Zero is the question, so it is drawn; the test is named where its result is read.
    label = f"difference in test accuracy (points, {PAIRED})"
    return intervals(result, label, {zero: 0.0})


def shown(d: Difference) -> str:
    """Return a difference and what a chart calls it, or that it is not tested."""
    if few(d):
        return f"{signed(d.mean)} ({untested(d.n_a)})"
    return f"{signed(d.mean)}, {SHOWN[verdict(d)][1]}"


def answer(rows: pandas.DataFrame, experiment: Experiment) -> Text:
    """Return the finding: does selection beat a random draw, what adds the teacher?

    rows: those of `read`, with CCFS and "random" among the arms.
    """
    d = compare(rows, CCFS, "random")
    return finding(
        "CCFS has a higher accuracy than random real images with the same teacher: "
        f"**{decided(d)}** ({interval(d)}; {count(d.n_a, 'seed')}, {PAIRED}).",
        nothing(experiment),
        _blind(rows, d),
        _shares(rows, experiment),
        filled(rows),
        _batches(rows),
        _teacher(rows, experiment),
        f"Reporting the best epoch in place of the last adds {signed(_gap(rows))} "
        "points to CCFS.",
    )


def nothing(experiment: Experiment) -> str:
    """Say that nothing is selected (alpha 1); "" where something is."""
    if experiment.real:
        return ""
    return (
        f"Alpha is {experiment.alpha:g}: nothing is selected, so the set called CCFS "
        "is the distilled images alone."
    )


def _blind(rows, d: Difference) -> str:
    """State the power of an open test: "too close to call" is not "no difference"."""
    if decided(d) != OPEN or d.half == 0:
        return ""
    # Of the observed spread, and not of the observed difference: power worked out from
    # the difference itself would only say again that it was not significant.
    least = detectable(rows, CCFS, "random")
    return (
        "With this many seeds and this spread, the smallest true difference "
        f"detectable with 80 % power is about {least:.1f} points."
    )


def _shares(rows, experiment) -> str:
    """Split the paper's comparison into the teacher's part and the set's.

    Table 1 sets CCFS, taught by a teacher, against random images without one. Here both
    have CCFS's recipe, so each part changes one thing only, and they add up. The
    paper's random row has SelMatch's training, made for hard labels.
    """
    if "random-hard" not in set(rows["cell"]):
        return ""
    ends = CCFS, "random-hard"
    total, teacher, chosen = (
        bracketed(compare(rows, *pair))
        for pair in (ends, ("random", "random-hard"), (CCFS, "random"))
    )
    ours = [summary(values(rows, arm)).mean for arm in ends]
    printed = [paper.arm(arm, experiment.printed_as, experiment.ipc) for arm in ends]
    theirs = (
        ""
        if None in printed
        else f" The paper's is {signed(printed[0] - printed[1])}, from "
        f"{printed[0]:.1f} and {printed[1]:.1f}, with a ResNet-18 and another training "
        f"of the random images; ours is from {ours[0]:.1f} and {ours[1]:.1f}. The "
        "trainings differ, so agreement of the two would confirm neither."
    )
    return (
        "The paper compares CCFS, trained with a teacher, with random images trained "
        f"with hard labels. With CCFS's recipe for both, that difference is {total} "
        f"points here: {teacher} from the teacher and {chosen} from the set."
        f"{_alone(rows)}{theirs}"
    )


def _alone(rows) -> str:
    """Say what selection alone is worth, and CCFS in the same seeds if it has more."""
    if ALPHA0 not in set(rows["cell"]):
        return ""
    shared = common(rows, CCFS, ALPHA0, "random")
    if shared.empty:
        return ""
    d, whole = (compare(shared, arm, "random") for arm in (ALPHA0, CCFS))
    part = f"selection alone (alpha 0) is {bracketed(d)}."
    if compare(rows, CCFS, "random").n_a == whole.n_a:
        return f" Of the latter, {part}"
    which = f"In the {count(whole.n_a, 'seed')} that alpha 0 has too"
    return f" {which}, the latter is {bracketed(whole)}; {part}"


def fullness(rows: pandas.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Return the size of each set as a part of its budget, all seeds, 0 to 1."""
    return {
        name: sum(values(rows, name, "images")) / sum(values(rows, name, "wanted"))
        for name in names
    }


def filled(rows: pandas.DataFrame) -> str:
    """Say which part of its budget the CCFS set holds, where that is not all of it."""
    # Not a flaw of the run: neither Algorithm 1 nor the code refills a short class.
    if (part := fullness(rows, [CCFS])[CCFS]) == 1:
        return ""
    return (
        f"The CCFS set holds {fill(part)} of its budget, because some classes had "
        "too few candidates; the random set is always full."
    )


def _batches(rows) -> str:
    """Say whether the seeds of CCFS were trained with different batch sizes."""
    of = batch_sizes(rows, CCFS)
    if len(set(of.values())) < 2:
        return ""
    sizes = [f"{batch} for seed {seed}" for seed, batch in of.items()]
    printed = batch_sizes(rows.assign(**{"recipe.batch_rule": "paper"}), CCFS)
    table = {*printed.values()}
    told = f" By the paper's Table 8 all would have {min(table)}." * (len(table) == 1)
    return (
        "By the rule of this run the batch size depends on the size of the set, and "
        f"the sets of CCFS lie on both sides of a threshold: {listed(sizes)}. Half the "
        f"batch size means twice as many steps.{told}"
    )


def _teacher(rows, experiment: Experiment) -> str:
    """Compare the teacher with the paper's, its row "Full Dataset"."""
    printed = paper.full(experiment.printed_as)
    if printed is None or experiment.scale != "paper":
        return ""
    own = float(rows["teacher_last"].iloc[0])
    return (
        f"The teacher of this run has a test accuracy of {percent(own, 2)}, the "
        f"paper's {percent(printed)}."
    )


def _gap(rows) -> float:
    """Return the points that the best epoch, as in the authors' code, adds to CCFS."""
    best, last = (summary(values(rows, CCFS, c)).mean for c in ("best", "last"))
    return best - last
