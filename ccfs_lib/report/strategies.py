"""Chapter 6: six ways to choose, coarse by fine (Tables 3, 11, 12 and 13)."""

import numpy as np
import pandas

from ccfs_lib.experiment import STRATEGIES, Experiment
from ccfs_lib.report import arms, printed
from ccfs_lib.report.arms import CCFS, NAMES, compare, values
from ccfs_lib.report.charts import matrices
from ccfs_lib.report.style import PALETTE, canvas, drawn
from ccfs_lib.report.text import (
    MINUS,
    SPACE,
    VERDICTS,
    Text,
    count,
    finding,
    percent,
    plus_minus,
    signed,
    told,
    verdict,
)
from ccfs_lib.statistics import summary

COARSE, FINE = ("misclassified", "classified"), ("simple", "random", "hard")
ORDER = [f"{fine}-{coarse}" for coarse in COARSE for fine in FINE]
OTHERS = tuple(
    (CCFS, arm, f"CCFS {MINUS} {NAMES[arm]}") for arm in ORDER if arm != CCFS
)


def grid(rows: pandas.DataFrame, experiment: Experiment):
    """Accuracy by coarse and fine stage, as printed in Table 3; the paper's below."""
    found = {arm: summary(values(rows, arm)) for arm in STRATEGIES}
    shape = len(COARSE), len(FINE)
    means = np.array([found[arm].mean for arm in ORDER]).reshape(shape)
    halves = np.array([found[arm].half for arm in ORDER]).reshape(shape)
    said = [printed.arm(experiment, arm) for arm in ORDER]
    title = "here: test accuracy (%), last epoch, mean and 95 % interval"
    shown = {title: means}
    if all(value is not None for value in said):
        shown["paper: ResNet-18, its own scale, best epoch"] = np.reshape(said, shape)
    fines = ("simplest", "random", "hardest")
    return matrices(shown, COARSE, fines, {title: halves})


def differences(rows: pandas.DataFrame):
    """CCFS minus each other strategy, paired by seed."""
    return arms.differences(rows, OTHERS, paired=True)


def tastes(stages, seed: int = 0) -> dict[str, np.ndarray]:
    """Difficulty of what each strategy picked in all phases of one seed."""
    picked = {}
    for arm in ORDER:
        parts = [record.difficulty for record in stages.phases(seed, arm)]
        picked[arm] = np.concatenate([np.empty(0), *parts])
    return picked


@drawn
def taste_chart(picked: dict[str, np.ndarray]):
    """Difficulty of the picked: range thin, middle half thick, mean as a dot."""
    figure, ax = canvas(0.7 + 0.5 * len(picked))
    for y, (arm, found) in enumerate(picked.items()):
        colour = PALETTE["blue" if arm.endswith("misclassified") else "orange"]
        if len(found):
            low, high = np.percentile(found, [25, 75])
            ax.plot([found.min(), found.max()], [y, y], color=colour, lw=1.5)
            style = {"alpha": 0.4, "solid_capstyle": "butt"}
            ax.plot([low, high], [y, y], color=colour, lw=9, **style)
            ax.plot([found.mean()], [y], "o", color=colour, ms=8)
        style = {
            "transform": ax.get_yaxis_transform(),
            "va": "center",
            "fontsize": 10.5,
        }
        ax.text(0, y - 0.42, NAMES[arm], **style)
        ax.text(1, y - 0.42, count(len(found), "image"), ha="right", **style)
    ax.set(xlabel="difficulty (higher = harder)", yticks=[])
    ax.set_ylim(len(picked) - 0.55, -0.75)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    return figure


@drawn
def filled(rows: pandas.DataFrame):
    """Images that each strategy delivered, percent of those wanted, by seed."""
    figure, ax = canvas(0.9 + 0.34 * len(ORDER))
    for y, arm in enumerate(ORDER):
        parts = np.array(values(rows, arm, "images")) / values(rows, arm, "wanted")
        full = parts.min() == 1
        colour = PALETTE["grey" if full else "orange"]
        ax.barh(y, 100 * parts.mean(), 0.62, color=colour, alpha=0.55, lw=0)
        ax.plot(100 * parts, [y] * len(parts), "|", color=colour, ms=12, mew=1.6)
    ax.set_yticks(
        range(len(ORDER)), [NAMES[arm].removeprefix("CCFS: ") for arm in ORDER]
    )
    ax.set(xlabel="images delivered (% of those wanted)", xlim=(0, 102))
    ax.set_ylim(len(ORDER) - 0.4, -0.6)
    ax.grid(axis="x")
    return figure


def answer(rows: pandas.DataFrame, experiment: Experiment) -> Text:
    """Finding: whether "simplest of the misclassified" beats the other five."""
    found = {arm: compare(rows, CCFS, arm, paired=True) for _, arm, _ in OTHERS}
    words = [verdict(d) for d in found.values()]
    tally = ", ".join(f"{word} for {words.count(word)}" for word in VERDICTS)
    best = max(ORDER, key=lambda arm: summary(values(rows, arm)).mean)
    closest = min(found, key=lambda arm: found[arm].mean)
    d, place = found[closest], 1 + sum(d.mean < 0 for d in found.values())
    lead = "smallest lead" if d.mean > 0 else "largest deficit"
    return finding(
        f"{NAMES[best][0].upper()}{NAMES[best][1:]} has the highest mean, "
        f"{plus_minus(values(rows, best))}{SPACE}%."
        + f" CCFS's own strategy is number {place} of {len(ORDER)}."
        * (best != CCFS),
        f"The paper's claim that it beats each of the other five: {tally}.",
        f"Its {lead} is to {NAMES[closest]}: {told(d)}.",
        _short(rows),
        _paper(experiment),
    )


def _short(rows) -> str:
    made = {
        arm: sum(values(rows, arm, "images")) / sum(values(rows, arm, "wanted"))
        for arm in ORDER
    }
    least = min(made, key=made.get)
    if made[least] == 1:
        return "Every strategy made all the images that were wanted."
    return (
        f"The comparison is not quite fair: {NAMES[least]} made only "
        f"{percent(100 * made[least], 0)} of the images wanted, the fullest set "
        f"{percent(100 * max(made.values()), 0)}."
    )


def _paper(experiment) -> str:
    said = {arm: printed.arm(experiment, arm) for arm in ORDER}
    if None in said.values():
        return ""
    second = max((arm for arm in ORDER if arm != CCFS), key=said.get)
    return (
        f"In the paper's table CCFS's strategy leads the next, {NAMES[second]}, by "
        f"{signed(said[CCFS] - said[second])} points."
    )
