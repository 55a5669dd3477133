"""Chapter 6: the six selection strategies (Tables 3, 11, 12 and 13)."""

import numpy as np
import pandas

from ccfs_lib import paper
from ccfs_lib.claims.compare import (
    CCFS,
    FAILS,
    HOLDS,
    NAMES,
    VERDICTS,
    compare,
    level,
    values,
    verdict,
)
from ccfs_lib.experiment import Experiment
from ccfs_lib.report import arms
from ccfs_lib.report.charts import drawn_as, matrices
from ccfs_lib.report.style import PALETTE, canvas, drawn
from ccfs_lib.report.text import (
    MINUS,
    SPACE,
    UNTESTED,
    Text,
    capital,
    count,
    few,
    fill,
    finding,
    interval,
    listed,
    percent,
    plus_minus,
    signed,
)
from ccfs_lib.statistics import Difference, summary

# Rows and columns as Table 3 prints them, and the arms read along its rows.
COARSE, FINE = ("misclassified", "classified"), ("simple", "random", "hard")
ORDER = [f"{fine}-{coarse}" for coarse in COARSE for fine in FINE]
OTHERS = tuple(
    (CCFS, arm, f"CCFS {MINUS} {NAMES[arm]}") for arm in ORDER if arm != CCFS
)


def grid(rows: pandas.DataFrame, experiment: Experiment):
    """Draw accuracy by coarse and fine stage, as in Table 3; the paper's below.

    rows: those of `arms.read`, with all six strategies. The paper's matrix has a colour
    scale of its own, since its accuracies are a ResNet-18's.
    """
    # Each cell with an interval; whether two of them differ is for `differences`.
    summaries = [summary(values(rows, arm)) for arm in ORDER]
    shape = len(COARSE), len(FINE)
    means = np.reshape([s.mean for s in summaries], shape)
    halves = np.reshape([s.half for s in summaries], shape)
    printed = [paper.arm(arm, experiment.printed_as, experiment.ipc) for arm in ORDER]
    title = f"here: last epoch (%), {drawn_as([values(rows, a) for a in ORDER])}"
    shown = {title: means}
    # Tables 11 to 13 have all six of a cell or none.
    if all(value is not None for value in printed):
        shown["paper: ResNet-18, best epoch"] = np.reshape(printed, shape)
    fines = ("simplest", "random", "hardest")
    return matrices(shown, COARSE, fines, {title: halves})


def differences(rows: pandas.DataFrame):
    """Draw CCFS minus each other strategy, points: the claim of Section 5.4.

    rows: those of `arms.read`, with all six strategies.
    """
    return arms.differences(rows, OTHERS)


def tastes(stages, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the difficulty of the images that each strategy selected: arm -> (n,).

    stages: the chapter's Pipeline; its filters are read from the store, not trained.
    """
    picked = {}
    for arm in ORDER:
        parts = [record.difficulty for record in stages.phases(seed, arm)]
        # An empty start: without real images (alpha 1) there is no phase to join.
        picked[arm] = np.concatenate([np.empty(0), *parts])
    return picked


@drawn
def taste_chart(picked: dict[str, np.ndarray]):
    """Draw the difficulty of the selected: range thin, middle half thick, mean a dot.

    picked: that of `tastes`. Blue is misclassified, orange classified.
    """
    figure, ax = canvas(0.7 + 0.5 * len(picked))
    for y, (arm, difficulty) in enumerate(picked.items()):
        colour = PALETTE["blue" if arm.endswith("misclassified") else "orange"]
        if len(difficulty):  # a strategy may have no candidate at all
            # Quartiles and not the standard deviation: counts of events are skewed.
            low, high = np.percentile(difficulty, [25, 75])
            ax.plot([difficulty.min(), difficulty.max()], [y, y], color=colour, lw=1.5)
            style = {"alpha": 0.4, "solid_capstyle": "butt"}
            ax.plot([low, high], [y, y], color=colour, lw=9, **style)
            ax.plot([difficulty.mean()], [y], "o", color=colour, ms=8)
        style = {
            "transform": ax.get_yaxis_transform(),
            "va": "center",
            "fontsize": 10.5,
        }
        ax.text(0, y - 0.42, NAMES[arm], **style)
        ax.text(1, y - 0.42, count(len(difficulty), "image"), ha="right", **style)
    # Names stand above their lines, as in `charts.intervals`: phones are narrow.
    ax.set(xlabel="difficulty (higher = harder)", yticks=[])
    ax.set_ylim(len(picked) - 0.55, -0.75)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    return figure


@drawn
def filled(rows: pandas.DataFrame):
    """Draw the set size of each strategy, percent of the budget, by seed.

    A class with too few candidates keeps its shortfall (as in the released code), so
    sets may differ in size; strategies with a shortfall are orange.
    """
    figure, ax = canvas(0.9 + 0.34 * len(ORDER))
    for y, arm in enumerate(ORDER):
        parts = np.array(values(rows, arm, "images")) / values(rows, arm, "wanted")
        full = parts.min() == 1  # one short seed is enough to be marked
        colour = PALETTE["grey" if full else "orange"]
        ax.barh(y, 100 * parts.mean(), 0.62, color=colour, alpha=0.55, lw=0)
        ax.plot(100 * parts, [y] * len(parts), "|", color=colour, ms=12, mew=1.6)
    ax.set_yticks(
        range(len(ORDER)), [NAMES[arm].removeprefix("CCFS: ") for arm in ORDER]
    )
    # From 0: these are lengths of bars. A little beyond 100, or its tick is cut.
    ax.set(xlabel="set size (% of the budget)", xlim=(0, 102))
    ax.set_ylim(len(ORDER) - 0.4, -0.6)
    ax.grid(axis="x")
    return figure


def answer(rows: pandas.DataFrame, experiment: Experiment) -> Text:
    """Return the finding: does "simplest of the misclassified" beat the other five?

    rows: those of `arms.read`, with all six strategies.
    """
    gaps = {arm: compare(rows, CCFS, arm) for _, arm, _ in OTHERS}
    return finding(
        _top(rows, gaps),
        f"CCFS has a higher accuracy than each of the other five: {_tally(gaps)}.",
        _closest(gaps),
        _short(rows),
        _paper(experiment),
    )


def _tally(gaps: dict[str, Difference]) -> str:
    """Count the verdicts on CCFS minus each of the others."""
    if all(map(level, gaps.values())):
        return "no, all six means are equal"
    if all(map(few, gaps.values())):
        seeds = count(max(d.n_a for d in gaps.values()), "seed")
        return f"{UNTESTED}, since so few seeds ({seeds}) have no interval"
    words = [verdict(d) for d in gaps.values()]
    # Counted, and not summed up in one word: "the best of six" holds if all five do.
    return ", ".join(f"{word} for {words.count(word)}" for word in VERDICTS)


def _top(rows, gaps: dict[str, Difference]) -> str:
    """Say which mean is highest, and the place of CCFS; equal means share theirs."""
    means = {arm: summary(values(rows, arm)) for arm in ORDER}
    # Ties are common where accuracy moves in steps of one test image (digits: 0.2 %).
    most = max(s.mean for s in means.values())
    best = [arm for arm in ORDER if most - means[arm].mean < 1e-9]
    names = capital(listed([NAMES[arm] for arm in best]))
    if len(best) > 1:
        text = f"{names} share the highest mean accuracy, {percent(most)}."
    else:
        best_mean = f"{plus_minus(means[best[0]])}{SPACE}%"
        text = f"{names} has the highest mean accuracy, {best_mean}."
    if CCFS in best:
        return text
    place = 1 + sum(d.mean < 0 and not level(d) for d in gaps.values())
    return f"{text} The strategy of CCFS has rank {place} of {len(ORDER)}."


def _closest(gaps: dict[str, Difference]) -> str:
    """Name the rival that CCFS leads least or trails most, if the interval allows.

    A mean that is higher by less than its interval is no lead, and "too close to call"
    is not "equal": only equal means are called so.
    """
    arm = min(gaps, key=lambda arm: gaps[arm].mean)
    d, name = gaps[arm], NAMES[arm]
    if level(d):
        same = "has exactly the same mean accuracy as CCFS"
        return f"{capital(name)} {same}: {interval(d)}."
    if (word := verdict(d)) == HOLDS:
        return f"The smallest lead of CCFS is over {name}, and clear: {interval(d)}."
    if word == FAILS:
        return f"The largest deficit of CCFS is to {name}, and clear: {interval(d)}."
    side = "above" if d.mean > 0 else "below"
    rival = "closest" if d.mean > 0 else "strongest"
    how = UNTESTED if few(d) else "too close to call"
    return (
        f"The mean of CCFS is {side} that of its {rival} rival, {name}, but {how}: "
        f"{interval(d)}."
    )


def _short(rows) -> str:
    """Say whether all sets are full, as a fair comparison needs."""
    parts = arms.fullness(rows, ORDER)
    least = min(parts, key=parts.get)
    if parts[least] == 1:
        return "All six sets are full."
    return (
        f"The sets differ in size: {NAMES[least]} holds {fill(parts[least])} of its "
        f"budget, the largest set {fill(max(parts.values()))}."
    )


def _paper(experiment) -> str:
    where = experiment.printed_as, experiment.ipc
    # Its margin is of one selection, trained five times; ours of as many selections.
    printed = {arm: paper.arm(arm, *where) for arm in ORDER}
    if None in printed.values():
        return ""
    second = max((arm for arm in ORDER if arm != CCFS), key=printed.get)
    return (
        f"In the paper's table CCFS leads the next best, {NAMES[second]}, by "
        f"{signed(printed[CCFS] - printed[second])} points."
    )
