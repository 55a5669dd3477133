"""CCFS taken apart: what each of its steps is worth, teacher by teacher.

From a random set to CCFS there are two steps: choosing the real images (alpha 0, which
holds no distilled image) and putting distilled images among them. The paper has neither
of the two differences. They need two runs, as alpha is a setting and not an arm.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pandas

from ccfs_lib import paper
from ccfs_lib.claims import compare
from ccfs_lib.claims.compare import ALPHA0, CCFS
from ccfs_lib.claims.evidence import SHOWN_ONLY, source
from ccfs_lib.claims.trends import LEARNER
from ccfs_lib.statistics import Difference, difference


class Contrast(NamedTuple):
    """Two arms, the one that should be higher first, and what their difference is."""

    left: str
    right: str
    name: str


STEPS = (
    Contrast(CCFS, "random", "CCFS minus random images, same teacher"),
    Contrast(ALPHA0, "random", "Selection alone: alpha 0 minus random"),
    Contrast(CCFS, ALPHA0, "Distilled images: CCFS minus alpha 0"),
    Contrast(CCFS, "distilled", "CCFS minus distilled images only"),
    Contrast(CCFS, "random-misclassified", "Simplest minus random misclassified"),
    Contrast(CCFS, "hard-misclassified", "Simplest minus hardest misclassified"),
)


class Measured(NamedTuple):
    """A step in one run."""

    step: Contrast
    run: pandas.Series  # a row of the run, for its settings
    seeds: tuple[list[float], list[float]]  # percent, by seed
    printed: float | None  # the paper's difference in this very cell, points

    @property
    def difference(self) -> Difference:
        """Left minus right, points, paired by seed."""
        return difference(*self.seeds, paired=True)


def without(rows: pandas.DataFrame, run: pandas.DataFrame) -> pandas.DataFrame:
    """Return a run's rows with those of CCFS at alpha 0, whose cell is then ALPHA0.

    rows: of all runs (`results.load`); run: those of one. Unchanged where nobody has
    measured it, or where CCFS has no distilled images to begin with.
    """
    own = run[run["cell"] == CCFS]
    if own.empty or "alpha" not in own or (own["alpha"] == 0).any():
        return run
    none = rows[(rows["cell"] == CCFS) & (rows["alpha"] == 0)]
    for _, other in none.groupby("run"):
        if not compare.contradiction(own, other, ("alpha",)):
            return pandas.concat([run, other.assign(cell=ALPHA0)], ignore_index=True)
    return run


def runs(rows: pandas.DataFrame, learner: bool = False) -> list[pandas.DataFrame]:
    """List the run of every independent teacher that has the most arms, largest first.

    rows: of all runs. Of runs that share a teacher, one is evidence. learner: of the
    networks that learn from sets which other networks selected, in place of the
    selecting ones. Digits are left out.
    """
    if "dataset" not in rows:  # nothing measured
        return []
    rows = rows[~rows["dataset"].isin(SHOWN_ONLY) & rows["cell"].isin(_cells())]
    other = rows.get(LEARNER, pandas.Series("", rows.index)).fillna("") != ""
    best: dict[tuple, pandas.DataFrame] = {}
    for _, run in rows[other == learner].groupby("run"):
        if not {CCFS, "random"} <= set(run["cell"]):
            continue
        run = without(rows[other == learner], run)
        key = source(run.iloc[0]), str(run.iloc[0].get(LEARNER))
        if key not in best or run["cell"].nunique() > best[key]["cell"].nunique():
            best[key] = run
    return sorted(best.values(), key=lambda run: _order(run.iloc[0]))


def _cells() -> set[str]:
    return {arm for step in STEPS for arm in step[:2]} | {"random-hard", CCFS}


def _order(row: pandas.Series) -> tuple:
    whole = bool(compare.printed_as(row))
    return row.get("scale") != "paper", not whole, str(row["dataset"]), row["run"]


def measured(run: pandas.DataFrame, steps=STEPS) -> Iterator[Measured]:
    """Yield the steps of which a run has both arms."""
    first = run.iloc[0]
    where = compare.printed_as(first), first.get("ipc")
    for step in steps:
        if {step.left, step.right} <= set(run["cell"]):
            values = [paper.arm(arm, *where) for arm in (step.left, step.right)]
            printed = None if None in values else values[0] - values[1]
            seeds = compare.matched(run, step.left, step.right)
            yield Measured(step, first, seeds, printed)
