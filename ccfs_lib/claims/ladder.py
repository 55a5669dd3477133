"""CCFS taken apart: what each of its steps is worth, teacher by teacher.

From a random set to CCFS there are two steps: choosing the real images (alpha 0, which
holds no distilled image) and putting distilled images among them. The paper has neither
of the two differences. They need two runs, as alpha is a setting and not an arm.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas

from ccfs_lib import paper
from ccfs_lib.claims import compare
from ccfs_lib.claims.compare import ALPHA0, CCFS
from ccfs_lib.claims.evidence import SHOWN_ONLY, source
from ccfs_lib.claims.trends import LEARNER
from ccfs_lib.statistics import Difference


class Contrast(NamedTuple):
    """Two arms, the one that should be higher first, and what their difference is."""

    left: str
    right: str
    name: str


# What made a set: in this the sets that one learner is given may differ.
MADE = ("alpha", "selected_from", "distilled_from")
MAKERS = ["maker", "begun", "alpha"]  # what tells frames of one learner apart
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
    difference: Difference  # left minus right, points, paired by seed
    printed: float | None  # the paper's difference in this very cell, points


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


def runs(rows: pandas.DataFrame) -> list[pandas.DataFrame]:
    """List the run of every independent teacher that has the most arms, largest first.

    rows: of all runs. Of runs that share a teacher, one is evidence. Left out: digits,
    and networks that learn from sets which other networks selected (`sets`).
    """
    return _independent(_own(rows), lambda run: source(run.iloc[0]))


def dependent(rows: pandas.DataFrame) -> list[pandas.DataFrame]:
    """List the runs that `runs` leaves out since it has another of their teacher."""
    own = _own(rows)
    counted = {run["run"].iloc[0] for run in runs(rows)}
    every = _independent(own, lambda run: run["run"].iloc[0])
    return [run for run in every if run["run"].iloc[0] not in counted]


def _own(rows: pandas.DataFrame) -> list[pandas.DataFrame]:
    """List each run whose networks learn sets of their own."""
    if "dataset" not in rows:  # nothing measured
        return []
    rows = rows[rows["cell"].isin(_cells())]
    rows = rows[_column(rows, LEARNER, "") == ""]
    return [without(rows, run) for _, run in rows.groupby("run")]


def elsewhere(rows: pandas.DataFrame) -> list[pandas.DataFrame]:
    """List, as `runs` does, what networks learn from sets that others selected.

    One for each learner of a network's sets of a data set: with the learner's own
    teacher where there is one, since the makers' teacher took part in the sets.
    """
    frames = sets(rows)
    away = [f for f in frames if f["maker"].iloc[0] != f["learner"].iloc[0]]
    away.sort(key=lambda f: taught_by(f.iloc[0]) != f["learner"].iloc[0])
    names = [n for n in ("train", "maker", "learner") if all(n in f for f in away)]
    return _independent(away, lambda f: tuple(f[names].iloc[0]))


def taught_by(row: pandas.Series) -> str:
    """Return the network of the learner's teacher, of a row of `sets`."""
    known = [row.get(name) for name in ("evaluation_teacher", "teacher_network")]
    return next((n for n in known if isinstance(n, str) and n), row["learner"])


def teacher(row: pandas.Series) -> int:
    """Return the seed of a run's teacher; 0, the first, where a row has none."""
    seed = row.get("teacher_seed", 0)
    return int(seed) if seed > 0 else 0  # nan: an older file


def _independent(frames, key) -> list[pandas.DataFrame]:
    """Keep, of frames with equal keys, the one with the most arms; digits never."""
    best: dict = {}
    for run in frames:
        digits = run["dataset"].isin(SHOWN_ONLY).any()
        if digits or not {CCFS, "random"} <= set(run["cell"]):
            continue
        name = key(run)
        if name not in best or run["cell"].nunique() > best[name]["cell"].nunique():
            best[name] = run
    return sorted(best.values(), key=lambda run: _order(run.iloc[0]))


def sets(
    rows: pandas.DataFrame, others: pandas.DataFrame | None = None
) -> list[pandas.DataFrame]:
    """List random images, CCFS and ALPHA0 of each learner and each selecting network.

    rows: of all runs; others: further runs, which may have selected the sets that
    those learn. A frame has these cells, the last one where it was measured,
    under settings that are equal but for MADE. Its CCFS may be what another run chose,
    the arm "selected" with `selected_from` of that run's name; there is a frame for
    each alpha that has random images beside it. Further columns: learner; maker, the
    network that selected; origin, the run that selected; begun, the name of the folder
    of distilled images that its curriculum began with, "" for those of its own teacher;
    filter, the test accuracy of its first filter (percent).
    """
    if not {"dataset", "alpha", "network"} <= set(rows):
        return []
    rows = _marked(rows[rows["cell"].isin([CCFS, "random", "selected"])], others)
    columns = compare.settings(rows, MADE)
    groups = (
        rows.groupby(columns, dropna=False, sort=False) if columns else [("", rows)]
    )
    frames = []
    for _, group in groups:
        random = group[group["cell"] == "random"]
        chosen = group[group["cell"] != "random"].assign(cell=CCFS)
        beside = chosen[(chosen["alpha"] > 0) & chosen["alpha"].isin(random["alpha"])]
        beside = beside.sort_values("alpha", kind="stable")
        for (maker, begun, alpha), part in beside.groupby(MAKERS, sort=False):
            # Without any distilled image it does not matter whose they would be.
            none = (chosen["alpha"] == 0) & (chosen["maker"] == maker)
            none = chosen[none].assign(cell=ALPHA0)
            same = random[random["alpha"] == alpha].drop_duplicates("seed")
            whole = pandas.concat([part, same.assign(maker=maker), none])
            whole = whole.assign(begun=begun).drop(columns=[*MADE[1:]], errors="ignore")
            frames.append(whole.reset_index(drop=True))
    return frames


def _marked(rows: pandas.DataFrame, others) -> pandas.DataFrame:
    """Add learner, maker, begun and so on; drop sets that no run here has made."""
    makers = rows if others is None else pandas.concat([others, rows])
    first = _column(makers, "phases.1.test", math.nan).astype(float)
    given = _leaf(rows, "selected_from")
    origin = given.where(given != "", rows["run"])
    other = _column(rows, LEARNER, "")
    rows = rows.copy().assign(  # a copy in one piece: more columns cost nothing
        learner=other.where(other != "", rows["network"]),
        maker=origin.map(makers.drop_duplicates("run").set_index("run")["network"]),
        origin=origin,
        begun=_leaf(rows, "distilled_from").where(given == "", ""),
        filter=origin.map(first.groupby(makers["run"]).mean()),
    )
    return rows[rows["maker"].notna()]


def _leaf(rows: pandas.DataFrame, name: str) -> pandas.Series:
    """Return the last name of a column of paths, "" where there is none."""
    return _column(rows, name, "").str.rstrip("/").str.rpartition("/")[2]


def _column(rows: pandas.DataFrame, name: str, default) -> pandas.Series:
    """Return a column, `default` where it or a value is absent."""
    absent = pandas.Series(default, rows.index, dtype=object)
    return rows[name].where(rows[name].notna(), default) if name in rows else absent


def _cells() -> set[str]:
    return {arm for step in STEPS for arm in step[:2]} | {"random-hard", CCFS}


def _order(row: pandas.Series) -> tuple:
    """Sort the paper's scale first, whole data sets, then networks and teachers."""
    whole = bool(compare.printed_as(row))
    place = row.get("scale") != "paper", not whole, str(row["dataset"])
    return *place, str(row.get("network")), teacher(row), row["run"]


def measured(run: pandas.DataFrame, steps=STEPS) -> Iterator[Measured]:
    """Yield the steps of which a run has both arms."""
    first = run.iloc[0]
    where = compare.printed_as(first), first.get("ipc")
    for step in steps:
        if {step.left, step.right} <= set(run["cell"]):
            values = [paper.arm(arm, *where) for arm in (step.left, step.right)]
            printed = None if None in values else values[0] - values[1]
            d = compare.compare(run, step.left, step.right)
            yield Measured(step, first, d, printed)
