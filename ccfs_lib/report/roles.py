"""Chapter 17: the two roles of distilled images, in the filters and in the set.

Four sets of one size, of one teacher and seed: filters have learnt the distilled images
beside the selected ones or only the latter, and the final set has the distilled images
or random real ones in their place. CCFS has them in both roles. Each role is measured
twice, with and without the other, and both times count.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas

from ccfs_lib.claims.compare import CCFS, OPEN, PAIRED, contradiction, once, verdict
from ccfs_lib.claims.evidence import SHOWN_ONLY, load
from ccfs_lib.errors import InputError
from ccfs_lib.report import forest
from ccfs_lib.report.charts import Line
from ccfs_lib.report.text import (
    Text,
    bracketed,
    count,
    interval,
    listed,
    plain,
    table,
)
from ccfs_lib.runtime import paths
from ccfs_lib.statistics import Difference, difference

# Where distilled images are: in both, in the filters, in the set, in neither.
ARMS = (CCFS, "ccfs-filters", "ccfs-set", "ccfs-neither")
TITLES = {"filter": "in the filters", "set": "in the final set"}
INKS = {"filter": "sky", "set": "orange"}
# A role, and whether the other one is there, too: the signs of ARMS.
EFFECTS = {
    ("filter", True): (1, 0, -1, 0),
    ("filter", False): (0, 1, 0, -1),
    ("set", True): (1, -1, 0, 0),
    ("set", False): (0, 0, 1, -1),
}


@dataclass(frozen=True)
class Roles:
    """Accuracies of the four sets of a run, and what either role is worth in it."""

    name: str  # data, IPC, network and teacher
    dataset: str
    accuracy: dict[str, list[float]]  # of each of ARMS, percent, by seed
    own: bool = False  # a run of the user's, which is no evidence of the book

    def _of(self, signs: Sequence[float]) -> Difference:
        parts = zip(signs, (self.accuracy[arm] for arm in ARMS), strict=True)
        total = sum(sign * np.asarray(values) for sign, values in parts)
        return difference(total, [0.0] * len(total), paired=True)

    @property
    def filter(self) -> Difference:
        """Points by which they raise it as images that filters learn."""
        return self._of((0.5, 0.5, -0.5, -0.5))

    @property
    def set(self) -> Difference:
        """Points by which they raise it in the set, against random images there."""
        return self._of((0.5, -0.5, 0.5, -0.5))

    def effect(self, role: str, other: bool) -> Difference:
        """Points that one role of TITLES is worth, beside the other one or alone."""
        return self._of(EFFECTS[role, other])

    @property
    def together(self) -> Difference:
        """Points that either role is worth more where they have the other one, too."""
        return self._of((1.0, -1.0, -1.0, 1.0))


def measured() -> list[Roles]:
    """Read all results files, the book's and the user's: `decompose` of them."""
    found, own = decompose(load(paths.results())), paths.own_results()
    if own != paths.results() and own.is_dir():
        found += decompose(load(own), own=True)
    return found


def decompose(rows: pandas.DataFrame, own: bool = False) -> list[Roles]:
    """List the runs that have all four sets, digits last.

    rows: of `results.load`; own: whether they are the user's. Raises InputError where
    the sets of a run differ in a setting.
    """
    if not len(rows):
        return []
    runs = rows[rows["cell"].isin(ARMS)].groupby("run")
    found = {
        name: _roles(run, own) for name, run in runs if set(run["cell"]) == {*ARMS}
    }
    names = Counter(r.name for r in found.values())  # alpha or J may differ
    found = [
        replace(r, name=f"{r.name}, {name}") if names[r.name] > 1 else r
        for name, r in found.items()
    ]
    return sorted(found, key=lambda r: (r.dataset in SHOWN_ONLY, r.name))


def _roles(run: pandas.DataFrame, own: bool) -> Roles:
    parts = {arm: run[run["cell"] == arm] for arm in ARMS}
    for arm, part in parts.items():
        once(part, repr(arm))
    for one, other in combinations(ARMS, 2):
        if differ := contradiction(parts[one], parts[other]):
            raise InputError(f"{one!r} and {other!r} differ in {differ}")
    seeds = sorted(set.intersection(*(set(part["seed"]) for part in parts.values())))
    accuracy = {
        arm: [float(v) for v in part.set_index("seed").loc[seeds, "last"]]
        for arm, part in parts.items()
    }
    first = run.iloc[0]
    name = forest.named(first) + " (your run)" * own
    return Roles(name, str(first["dataset"]), accuracy, own)


def ledger(roles: Sequence[Roles]) -> Text:
    """Tabulate the accuracies of the four sets, and what the roles are worth."""
    if not roles:
        return Text("No run of this book has all four sets.")
    body = [
        [
            f"{r.name}, {count(r.set.n_a, 'seed')}",
            *(bracketed(d) for d in (r.filter, r.set, r.together)),
            *(plain(np.mean(r.accuracy[arm])) for arm in ARMS),
        ]
        for r in roles
    ]
    sets = ["CCFS", "filters", "set", "none"]
    head = ["run", *TITLES.values(), "together", *sets]
    caption = (
        "All runs of this book with four sets. What distilled images are worth in "
        f"either role, points with their 95 % t interval, {PAIRED}: the mean of with "
        "and without the other role; together: how much more it is with than without. "
        "Then the sets, named by where distilled images are (CCFS: in both; none: in "
        "neither): test accuracy after the last epoch, percent, mean over these seeds "
        "with the same teacher."
    )
    return table(caption, head, body)


def _seeds(roles: Sequence[Roles]) -> str:
    return listed(sorted({count(len(r.accuracy[CCFS]), "seed") for r in roles}))


def apart(roles: Sequence[Roles]) -> Text:
    """Tabulate what each role is worth with the other one and without it."""
    if not roles:
        return Text("")
    body = [[r.name, *(bracketed(r.effect(*case)) for case in EFFECTS)] for r in roles]
    head = ["run"]
    head += [
        f"{TITLES[role]}, {'with' if other else 'without'} the other"
        for role, other in EFFECTS
    ]
    caption = (
        "All runs of this book with four sets. What distilled images are worth in one "
        "role, beside the other role and without it: points with their 95 % t "
        f"interval, {PAIRED}, {_seeds(roles)} with the same teacher. Their mean, in "
        "the table above, can have a narrower interval than both, where the seeds of "
        "one offset those of the other."
    )
    return table(caption, head, body)


def draw(roles: Sequence[Roles]):
    """Draw what distilled images are worth in either role; None of no run."""
    if not roles:
        return None
    groups = {}
    for r in roles:
        worth = {role: getattr(r, role) for role in TITLES}
        groups[r.name] = [
            Line(TITLES[role], d.mean, d.half, (), INKS[role], bracketed(d))
            for role, d in worth.items()
        ]
    return forest.grouped(groups, f"{forest.LABEL} (points, {PAIRED})")


def answer(roles: Sequence[Roles]) -> str:
    """Say what distilled images are worth in either role; "" of no photographs."""
    shown = [r for r in roles if not r.own and r.dataset not in SHOWN_ONLY]
    each = [
        f"{r.name}: {TITLES['filter']} {interval(r.filter)}, {TITLES['set']} "
        f"{interval(r.set)}{_together(r)} ({count(r.set.n_a, 'seed')})"
        for r in shown
    ]
    return (
        f"Distilled images in either role, against none {TITLES['filter']} and random "
        f"images {TITLES['set']}, each the mean of its effects with and without the "
        f"other: {'; '.join(each)}."
        if each
        else ""
    )


def _together(r: Roles) -> str:
    """Say whether a role is worth more with the other one, where that is clear."""
    if verdict(r.together) == OPEN:
        return ""
    return f", each of them {interval(r.together)} more where the other is, too"
