"""Chapter 12, second half: the order of the two steps (Figure 2, Table 10).

Rows are those of `pipeline.Section3Pipeline.measure`; all comparisons are paired by
seed, also those of means over several IPC and of spreads over several windows.
"""

from collections.abc import Sequence

import numpy as np
import pandas
from matplotlib.transforms import ScaledTranslation

from ccfs_lib import paper
from ccfs_lib.arms import BY_NAME
from ccfs_lib.arms import TITLES as NAMES
from ccfs_lib.claims.arms import FIGURES
from ccfs_lib.claims.compare import FAILS, HOLDS, values, verdict
from ccfs_lib.experiment import Motivation
from ccfs_lib.experiment.section3 import ARMS
from ccfs_lib.pipeline import Section3Pipeline, measured_rows
from ccfs_lib.report.ablation import matched
from ccfs_lib.report.arms import contrasts, fullness
from ccfs_lib.report.style import PALETTE, canvas, drawn, legend
from ccfs_lib.report.text import (
    MINUS,
    Text,
    count,
    decided,
    fill,
    finding,
    interval,
    listed,
    plain,
    plus_minus,
    signed,
    table,
)
from ccfs_lib.statistics import FEW, Difference, difference, summary

ASIDE = 6  # points from one arm's marks to the next, at the same IPC or beta
# Both steps from SelMatch to "reverse", and their sum.
PAIRS = (("two-shot", "selmatch"), ("reverse", "two-shot"), ("reverse", "selmatch"))


def measure(
    stages: Section3Pipeline, runs: Sequence[Motivation], arms: Sequence[str] = ARMS
) -> pandas.DataFrame:
    """Measure the arms in every run; rows of the results, one per seed.

    Columns of `results.load`, `ipc` and `beta` among them. Finished cells are read.
    """
    read = []
    for motivation in runs:
        pipeline = Section3Pipeline(motivation, stages.store, stages.device)
        for arm in arms:
            pipeline.measure(arm)
        rows = measured_rows(motivation)
        read.append(rows[rows["cell"].isin(arms)])
    return pandas.concat(read, ignore_index=True)


def ranking(rows: pandas.DataFrame, column: str = "ipc") -> Text:
    """Tabulate the arms at every IPC, or beta: mean, interval, images."""
    levels, arms = _levels(rows, column), _arms(rows)
    body = []
    for arm in arms:
        line = [NAMES[arm]]
        for level in levels:
            part = rows[rows[column] == level]
            filled = fullness(part, [arm])[arm]
            aside = f" ({fill(filled)})" * (filled < 1)
            line.append(f"{plus_minus(values(part, arm))}{aside}")
        body.append(line)
    where = "at every IPC" if column == "ipc" else "over the start of the window"
    caption = (
        f"Test accuracy {where} in percent, last epoch, mean ± half of the 95 % t "
        "interval; in brackets the set size in percent of the budget, where a class "
        "has a shortfall."
    )
    return table(caption, ["", *(_named(column, v) for v in levels)], body)


@drawn
def curves(rows: pandas.DataFrame, column: str, xlabel: str):
    """Draw accuracy of every arm over IPC or beta: Figure 2(a), Figure 2(b)."""
    figure, ax = canvas(3.2)
    levels = _levels(rows, column)
    arms = _arms(rows)
    for i, arm in enumerate(arms):
        seeds = [values(rows[rows[column] == level], arm) for level in levels]
        shift = ASIDE * (i - (len(arms) - 1) / 2)
        _bars(ax, levels, seeds, arm, shift)
    seen = rows["last"].astype(float)
    margin = 0.4 * max(seen.max() - seen.min(), 2)
    ax.set_ylim(max(0, seen.min() - margin), min(100, seen.max() + margin))
    ax.set(xlabel=xlabel, ylabel="test accuracy (%)")
    # Not by the marks, whose shift is no distance on the axis.
    ax.set_xlim(levels[0] - 0.05, levels[-1] + 0.05)
    if column == "ipc":  # doubled from step to step
        ax.set_xscale("log")
        ax.minorticks_off()
        ax.set_xlim(levels[0] / 1.2, levels[-1] * 1.2)
    ax.set_xticks(levels, [f"{level:g}" for level in levels])
    ax.grid(axis="y")
    legend(ax)
    return figure


def _bars(ax, x: Sequence[float], seeds: Sequence, arm: str, shift: float) -> None:
    """Draw an arm's means, bars of their 95 % intervals, and a dash per seed.

    Bars, since bands of several arms would cover each other. shift: to the right, in
    points of the picture; the numbers behind the figure are not shifted.
    """
    means = [summary(values) for values in seeds]
    aside = ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
    style = {"color": PALETTE[BY_NAME[arm].colour], "transform": ax.transData + aside}
    ax.plot(x, [m.mean for m in means], "o-", ms=5, lw=1.4, label=NAMES[arm], **style)
    style["label"] = f"_{NAMES[arm]}"
    for place, m, each in zip(x, means, seeds, strict=True):
        # Cut at 0 and 100: t intervals of few seeds know no bounds.
        ends = np.clip([m.mean - m.half, m.mean + m.half], 0, 100)
        wide = {"lw": 4, "alpha": 0.3, "solid_capstyle": "butt", "gid": "interval"}
        if len(each) >= FEW:
            ax.plot([place] * 2, ends, **wide, **style)
        ax.plot([place] * len(each), each, "_", ms=6, mew=1.2, gid="seed", **style)


def gaps(rows: pandas.DataFrame, column: str, pairs=PAIRS):
    """Draw the differences at every IPC or beta, paired by seed; ticks are seeds."""
    by_name = {}
    for level in _levels(rows, column):
        for left, right in pairs:
            name = f"{_named(column, level)}: {NAMES[left]} {MINUS} {NAMES[right]}"
            by_name[name] = matched(rows[rows[column] == level], left, right)
    return contrasts(by_name)


def gain(rows: pandas.DataFrame, left: str, right: str, column: str) -> Difference:
    """Compute the mean difference over all IPC or betas: within a seed, then paired."""
    pairs = list(_each(rows, column, left, right).values())
    return difference(*np.mean(pairs, axis=0), paired=True)


def steadiness(rows: pandas.DataFrame) -> Difference:
    """Compute how much more SelMatch's accuracy spreads over beta than "reverse".

    The standard deviation over the windows, within a seed; then paired, in points.
    """
    pairs = list(_each(rows, "beta", "selmatch", "reverse").values())
    return difference(*np.std(pairs, axis=0, ddof=1), paired=True)


def answer(rows: pandas.DataFrame, over: pandas.DataFrame) -> Text:
    """Return the finding: whether the order matters, how much, and how surely.

    rows: of `measure` over IPC; over: the same over beta.
    """
    whole = gain(rows, "reverse", "selmatch", "ipc")
    word = verdict(whole)
    both = "Selecting what a model misclassifies, on distilled images, in place of the "
    both += "window"
    text = {
        HOLDS: f"{both} raises the accuracy here",
        FAILS: f"{both} lowers the accuracy here",
    }.get(word, f"{both} has an effect that is {decided(whole)} here")
    what = "what a model misclassifies in place of the window", "distilling first"
    gains = [(pair, gain(rows, *pair, "ipc")) for pair in PAIRS[:2]]
    steps = [
        f"{step}, {NAMES[left]} {MINUS} {NAMES[right]}: {interval(d)}, {decided(d)}"
        f"{_apart(rows, left, right)}"
        for step, ((left, right), d) in zip(what, gains, strict=True)
    ]
    windows = _each(over, "beta", "reverse", "selmatch")
    clear = [
        _named("beta", beta)
        for beta, pair in windows.items()
        if verdict(difference(*pair, paired=True)) == HOLDS
    ]
    first, final = (float(rows[k].astype(float).mean()) for k in ("first", "final"))
    sizes = _levels(rows, "ipc")
    where, means = f"at {_named('ipc', sizes[0])}", ""
    if len(sizes) > 1:
        where = f"mean over {count(len(sizes), 'IPC setting')}"
        means = ", as means over IPC"
    _, printed = FIGURES["fig2"]  # the paper's data set and IPC
    tables = [
        f"{_named('ipc', n)}: {interval(difference(*pair, paired=True))}"
        f"{_part(rows, n, 'ccfs-mtt')}"
        for n, pair in _each(rows, "ipc", "ccfs-mtt", "selmatch").items()
    ]
    return finding(
        f"{text}: reverse {MINUS} SelMatch, {where}, is {interval(whole)}.",
        f"The two steps{means}: {'; '.join(steps)}. The paper has "
        f"{_printed('two-shot-mean')} for two-shot over SelMatch and "
        f"{_printed('reverse-mean')} for reverse, on CIFAR-100: means over "
        f"{_named('ipc', min(printed))} to {max(printed)}, each setting with its best "
        "alpha and beta.",
        f"Over the windows, at {_named('ipc', _levels(over, 'ipc')[0])}, reverse is "
        f"clearly ahead at {len(clear)} of {len(windows)}"
        + (f" ({listed(clear)})" if clear else "")
        + "."
        + (_calm(over) if len(windows) > 1 else ""),
        f"CCFS on MTT {MINUS} SelMatch (Table 10). " + "; ".join(tables) + ".",
        _short(rows),
        f"Matching changed the loss from {plain(first, 2)} to {plain(final, 2)}, "
        "means of the first and of the last tenth of the iterations over the rows of "
        "this chapter.",
    )


def _apart(rows: pandas.DataFrame, left: str, right: str) -> str:
    """Say the difference at each IPC, as a mean may hide opposite ones; "" of one."""
    each = _each(rows, "ipc", left, right)
    means = [
        f"{_named('ipc', n)} {signed(difference(*pair, paired=True).mean)}"
        for n, pair in each.items()
    ]
    return f" ({listed(means)})" * (len(each) > 1)


def _calm(over: pandas.DataFrame) -> str:
    """Say whether reverse depends less on the start of the window."""
    calm = steadiness(over)
    return (
        " Reverse depends less on the start of the window: "
        f"**{decided(calm)}** (standard deviation of SelMatch's accuracy over the "
        f"windows minus that of reverse: {interval(calm)})."
    )


def _part(rows: pandas.DataFrame, ipc: int, arm: str) -> str:
    """Say which part of its budget a set holds, where that is not all of it."""
    part = fullness(rows[rows["ipc"] == ipc], [arm])[arm]
    return f" (set {fill(part)} full)" * (part < 1)


def _short(rows: pandas.DataFrame) -> str:
    """Say which of the compared sets have a shortfall, at the IPC where it is largest.

    The differences have it in them, and a smaller set is no advantage.
    """
    levels = _levels(rows, "ipc")
    least = {
        arm: min(fullness(rows[rows["ipc"] == n], [arm])[arm] for n in levels)
        for arm in _arms(rows)
    }
    short = [f"{NAMES[a]} {fill(part)}" for a, part in least.items() if part < 1]
    if not short:
        return ""
    return (
        f"Not all sets are full; at the IPC where each lacks most: {listed(short)} of "
        "the budget."
    )


def _printed(claim: str) -> str:
    """Return the paper's difference of a claim, signed."""
    known = paper.claims().set_index("id").paper_difference
    return signed(float(known[claim]))


def _each(rows: pandas.DataFrame, column: str, left: str, right: str) -> dict:
    """Return every IPC, or beta, -> accuracies of two arms by common seed."""
    levels = _levels(rows, column)
    return {n: matched(rows[rows[column] == n], left, right) for n in levels}


def _levels(rows: pandas.DataFrame, column: str) -> list:
    return sorted(set(rows[column].astype(float)))


def _arms(rows: pandas.DataFrame) -> list[str]:
    return [arm for arm in ARMS if (rows["cell"] == arm).any()]


def _named(column: str, value: float) -> str:
    return f"{'IPC' if column == 'ipc' else column} {value:g}"
