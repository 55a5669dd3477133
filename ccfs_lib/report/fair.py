"""Chapter 14: scores that soft labels and augmentation do not inflate.

The scores are those of `ccfs_lib.metrics`, one per seed, from last epochs, and the same
recipe is on both sides of every difference. `report.price` computes the cost of sets.
"""

import numpy as np
import pandas

from ccfs_lib import metrics
from ccfs_lib.arms import BY_NAME
from ccfs_lib.claims.compare import CCFS, NAMES, compare
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.report.arms import filled, nothing
from ccfs_lib.report.charts import Line, intervals
from ccfs_lib.report.price import price
from ccfs_lib.report.text import (
    Text,
    bracketed,
    capital,
    count,
    decided,
    finding,
    interval,
    listed,
    means,
    plus_minus,
    table,
)
from ccfs_lib.statistics import summary

# A set, and its arms without the teacher and without augmentation.
SETS = {
    CCFS: ("ccfs-hard", "ccfs-plain"),
    "distilled": ("distilled-hard", "distilled-plain"),
    "random": ("random-hard", "random-plain"),
}
FULL = "full-hard"
ARMS = (*SETS, *(arm for pair in SETS.values() for arm in pair), FULL)
SCORES = ("HLR", "IOR", "IOR, not augmented", "LRS", "ARS")
Scored = dict[str, dict[str, list[float]]]


def scores(rows: pandas.DataFrame) -> Scored:
    """Compute set -> score -> one value per seed that all of ARMS have; fractions.

    rows: of ARMS, from `arms.read`. Raises KeyError for an arm without rows.
    """
    wide = rows.pivot(index="seed", columns="cell", values="last").astype(float) / 100
    wide = wide[list(ARMS)].dropna()
    by_set: Scored = {}
    for arm, (hard, plain) in SETS.items():
        by_score: dict[str, list[float]] = {name: [] for name in SCORES}
        for _, last in wide.iterrows():
            hlr = metrics.hlr(last[FULL], last[hard])
            ior = metrics.ior(last[arm], last["random"])
            bare = metrics.ior(last[plain], last["random-plain"])
            values = hlr, ior, bare, metrics.lrs(ior, hlr), metrics.ars(ior, bare)
            for name, value in zip(SCORES, values, strict=True):
                by_score[name].append(float(value))
        by_set[arm] = by_score
    return by_set


def ranking(by_set: Scored) -> Text:
    """Tabulate the sets by score: means over seeds, with intervals where they have."""
    body = []
    for arm, by_score in by_set.items():
        points = [plus_minus(100 * np.array(by_score[name])) for name in SCORES[:3]]
        scored = [plus_minus(by_score[name], 3) for name in SCORES[3:]]
        body.append([NAMES[arm], *points, *scored])
    seeds = len(by_set[CCFS][SCORES[0]])
    head = ["set", "HLR (points)", "IOR (points)", "IOR, not augmented", "LRS", "ARS"]
    caption = (
        f"{capital(means(seeds))}. HLR: lower is better; all others: higher. IOR "
        "of the random set is zero by definition."
    )
    return table(caption, head, body)


def dots(by_set: Scored):
    """Draw LRS and ARS of every set: seeds, mean, interval."""
    lines = [
        Line.of(f"{name}, {NAMES[arm]}", by_score[name], BY_NAME[arm].colour, 3)
        for name in SCORES[3:]
        for arm, by_score in by_set.items()
    ]
    # The score of a set that equals random images and loses nothing without labels.
    return intervals(
        lines,
        "score (0 to 1)",
        {"score of a zero difference": metrics.normalised(0)},
        most=1,
    )


def answer(rows: pandas.DataFrame, by_set: Scored, stages: Pipeline) -> Text:
    """Return the finding: three fair comparisons, both rankings, and the cost."""
    lines = []
    for left, right, how in (
        (CCFS, "random", "with the same teacher"),
        ("ccfs-hard", "random-hard", "with hard labels on both sides"),
        ("ccfs-plain", "random-plain", "without augmentation on both sides"),
    ):
        d = compare(rows, left, right)
        lines.append(
            f"CCFS is better than random images {how}: **{decided(d)}** "
            f"({interval(d)})."
        )
    ranked = [
        f"By {name}, highest first: {_order(by_set, name)}." for name in SCORES[3:]
    ]
    making = price(stages)[CCFS]["making"]
    whole = 3 * len(stages.train) * stages.experiment.recipe.epochs
    return finding(
        *lines,
        nothing(stages.experiment),
        f"The teacher changes the accuracy by {_changes(rows, 0)}; augmentation by "
        f"{_changes(rows, 1)}.",
        filled(rows),
        *ranked,
        f"Making the CCFS set costs as many forward passes as {making / whole:.2f} "
        f"trainings on all {count(len(stages.train), 'image')} by the same recipe with "
        f"hard labels{_published(stages)}; a random draw costs none.",
    )


def _changes(rows: pandas.DataFrame, place: int) -> str:
    """Say what the arms lose without it: the teacher, 0, or augmentation, 1."""
    return listed(
        [
            f"{bracketed(compare(rows, arm, without[place]))} points ({NAMES[arm]})"
            for arm, without in SETS.items()
        ]
    )


def _published(stages) -> str:
    """Say that a published score cost its authors passes that nobody counts here."""
    published = stages.experiment.score.startswith("published-")
    return ", not counting its published scores" * published


def _order(by_set: Scored, name: str) -> str:
    """List the names of the sets and their mean scores, highest first."""
    ranked = sorted(by_set, key=lambda arm: -summary(by_set[arm][name]).mean)
    return listed([f"{NAMES[a]} ({plus_minus(by_set[a][name], 3)})" for a in ranked])
