"""Chapter 14: what a set is worth by scores that soft labels cannot lift.

The scores are those of `ccfs_lib.metrics`, one per seed, from last epochs, and the same
recipe is on both sides of every difference. `report.price` has what the sets cost.
"""

import numpy as np
import pandas

from ccfs_lib import metrics
from ccfs_lib.arms import BY_NAME
from ccfs_lib.claims.compare import CCFS, NAMES, compare, verdict
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.report.charts import Line, intervals
from ccfs_lib.report.price import price
from ccfs_lib.report.text import Text, count, finding, listed, plus_minus, table, told
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
    """Set -> score -> one value per seed that all of ARMS have; fractions, not percent.

    rows: of ARMS, from `arms.read`. Raises KeyError for an arm without rows.
    """
    wide = rows.pivot(index="seed", columns="cell", values="last").astype(float) / 100
    wide = wide[list(ARMS)].dropna()
    found: Scored = {}
    for arm, (hard, plain) in SETS.items():
        own: dict[str, list[float]] = {name: [] for name in SCORES}
        for _, last in wide.iterrows():
            hlr = metrics.hlr(last[FULL], last[hard])
            ior = metrics.ior(last[arm], last["random"])
            bare = metrics.ior(last[plain], last["random-plain"])
            values = hlr, ior, bare, metrics.lrs(ior, hlr), metrics.ars(ior, bare)
            for name, value in zip(SCORES, values, strict=True):
                own[name].append(float(value))
        found[arm] = own
    return found


def ranking(found: Scored) -> Text:
    """Table of the sets by score: mean ± half of the 95 % t interval over seeds."""
    body = []
    for arm, own in found.items():
        points = [plus_minus(100 * np.array(own[name])) for name in SCORES[:3]]
        scored = [plus_minus(own[name], 3) for name in SCORES[3:]]
        body.append([NAMES[arm], *points, *scored])
    head = ["set", "HLR (points)", "IOR (points)", "IOR, not augmented", "LRS", "ARS"]
    caption = (
        "Mean ± half of the 95 % t interval. HLR: lower is better; all others: higher. "
        "IOR of the random set is zero by definition."
    )
    return table(caption, head, body)


def dots(found: Scored):
    """LRS and ARS of every set: seeds, mean, interval."""
    made = []
    for name in SCORES[3:]:
        for arm, own in found.items():
            s, colour = summary(own[name]), BY_NAME[arm].colour
            label, aside = f"{name}, {NAMES[arm]}", plus_minus(s, 3)
            made.append(Line(label, s.mean, s.half, own[name], colour, aside))
    # What the scores give a set that is as good as random and loses nothing.
    return intervals(
        made,
        "score (0 to 1)",
        {"as random, and nothing lost": metrics.normalised(0)},
        most=1,
    )


def answer(rows: pandas.DataFrame, found: Scored, stages: Pipeline) -> Text:
    """Finding: three fair comparisons, both rankings, and the price."""
    lines = []
    for left, right, how in (
        (CCFS, "random", "with the same teacher"),
        ("ccfs-hard", "random-hard", "with hard labels on both sides"),
        ("ccfs-plain", "random-plain", "without augmentation on both sides"),
    ):
        d = compare(rows, left, right)
        lines.append(f"CCFS over random images {how}: **{verdict(d)}** ({told(d)}).")
    ranked = [
        f"By {name}, highest first: {_order(found, name)}." for name in SCORES[3:]
    ]
    making = price(stages)[CCFS]["making"]
    whole = 3 * len(stages.train) * stages.experiment.recipe.epochs
    return finding(
        *lines,
        *ranked,
        f"To make the CCFS set takes as many forward images as {making / whole:.2f} "
        f"trainings on all {count(len(stages.train), 'image')} by the same recipe with "
        "hard labels; to draw the random one takes none.",
    )


def _order(found: Scored, name: str) -> str:
    """Names of the sets and their mean scores, highest first."""
    ranked = sorted(found, key=lambda arm: -summary(found[arm][name]).mean)
    return listed([f"{NAMES[a]} ({plus_minus(found[a][name], 3)})" for a in ranked])
