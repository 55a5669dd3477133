"""The arms that each claim of the paper compares, as rows of results.

data/paper/claims.csv names arms in the paper's words, "misclassified-simple" or "J3".
This module maps them to rows of results, and lists claim by claim what a sentence
states beyond its two sides. `ccfs_lib.claims.ledger` tests them.
"""

import math
from collections.abc import Sequence

from ccfs_lib import paper
from ccfs_lib.claims.compare import CCFS
from ccfs_lib.claims.trends import TRENDS
from ccfs_lib.errors import InputError

# True of one cell by their wording: a rank among published numbers, a turn at high IPC.
OWN_CELL = {"sota-cifar10", "sota-cifar100", "sota-tiny-imagenet"}
OWN_CELL |= {"distillation-behind-random", "full-data-gap"}
# Experiments with experts and without a teacher.
SECTION_3 = {"fig2", "table10"}
# Claims about something else than which of two accuracies in one run is higher.
BEYOND = {
    "ccfs-over-sre2l-on-five-networks": "needs images by SRe2L beside those by CDA",
}
# What the sentence says besides left over right: it does not hold without these.
ALSO = {
    "curricula-one-to-three": [("J3", "J2"), ("J2", "J1")],
    "score-forgetting-best": [("score-forgetting", "score-logits")],
    "score-logits-worst": [("score-cscore", "score-logits")],
    "variants-order": [("selmatch-two-shot", "selmatch")],
}
# "Only marginally": from so many points below zero to so many above. The paper names no
# bound. Ours is ten times the largest change that it calls marginal (0.1), and coarse:
# of the six steps that Table 5 calls a rise, four are smaller (0.2, 0.5, 0.7, 0.9).
MARGINS = {"curricula-after-three": (-1.0, 1.0)}
# "Within 0.3 points of": the sentence's bound, and no harm in being above.
MARGINS |= {"full-data-gap": (-math.inf, 0.3)}
# Portions in which Figure 5 is not contradicted: it shows no set without distilled
# images, so alpha 0 is our reading of where the axis ends.
OURS = (0.0,)
# Tables that print the accuracy of an arm, and the column that names it there.
TABLES = {
    "scores": (4, "score"),
    "curricula": (5, "curricula"),
    "table1": (1, "method"),
    "table10": (10, "method"),
}
STRATEGY_TABLES = (11, 12, 13)
# Claims about filters and the difficulty of what they select, from phase to phase; all
# others are about the accuracy that a final set gives.
COURSES = "fig4"
# Data sets and IPC of what the paper draws, or prints without a table of ours.
FIGURES = {
    "fig2": ("cifar100", (25, 50, 100, 150)),
    COURSES: ("tiny-imagenet", (50,)),
    COURSES + "b": ("tiny-imagenet", (50, 100)),
    "table2": ("tiny-imagenet", (100,)),
}
# Rows of an arm: column -> allowed values, the first that is there. Images that
# the user gives (`distilled_from`) are neither CDA's nor SRe2L's.
RECOVERED = {"distilled_from": ("",)}
FULL = "full"
ARMS = {
    "ccfs": {"cell": (CCFS,), "distillation.method": ("cda",), **RECOVERED},
    "cda": {"cell": ("distilled",), "distillation.method": ("cda",), **RECOVERED},
    "sre2l": {"cell": ("distilled",), "distillation.method": ("sre2l",), **RECOVERED},
    # SelMatch's protocol, as the paper's; else hard labels by CCFS's own recipe.
    "random": {"cell": ("random-selmatch", "random-hard")},
    # Its accuracy is that of the run's teacher: the paper's full-data numbers are those
    # of its teachers, not of a training under the student's recipe.
    FULL: {"cell": (CCFS,), "distillation.method": ("cda",), **RECOVERED},
    "score-forgetting": {
        "cell": (CCFS,),
        "score": ("published-forgetting", "forgetting"),
    },
    "score-cscore": {"cell": (CCFS,), "score": ("published-cscore",)},
    "score-logits": {"cell": (CCFS,), "score": ("logits",)},
    "selmatch-two-shot": {"cell": ("two-shot",)},
    "selmatch-reverse": {"cell": ("reverse",)},
}


def sides(claim) -> tuple[list[str], list[str]]:
    """Return the paper's names of the arms on both sides, the higher one left.

    claim: a row of `paper.claims()`, as for all functions here.
    """
    return tuple(side.split("@")[0].split("|") for side in (claim.left, claim.right))


def cell(claim) -> tuple[str, int]:
    """Return data set and IPC of the selected set in a claim, for those of OWN_CELL."""
    side = claim.right if claim.left.startswith("full") else claim.left
    dataset, ipc = side.split("@")[1].rsplit("-", 1)
    return dataset, int(ipc)


def cells(claim) -> set[tuple[str, int]]:
    """List data sets and IPC of which the paper says it; empty for Figure 5."""
    if claim.id in OWN_CELL:
        return {cell(claim)}
    figure = claim.tested_by + "b" * claim.place.endswith("Figure 4(b)")
    if figure in FIGURES:
        dataset, every = FIGURES[figure]
        return {(dataset, ipc) for ipc in every}
    if claim.tested_by == "strategies":
        numbers = (3,) if claim.place.endswith("Table 3") else STRATEGY_TABLES
    else:
        numbers = [TABLES[claim.tested_by][0]] if claim.tested_by in TABLES else []
    return _cells(numbers)


def _cells(numbers: Sequence[int]) -> set[tuple[str, int]]:
    """List data sets and IPC of the paper's tables with these numbers."""
    tables = [paper.table(number) for number in numbers]
    # The full data sets have a row in Table 1, but are no cell of it.
    parts = [t[t["method"] != "full"] if "method" in t else t for t in tables]
    return {(row.dataset, int(row.ipc)) for t in parts for row in t.itertuples()}


def learners(claim) -> set[str]:
    """List the networks of which the paper says it, where they are more than one."""
    return {*paper.table(2).network} if claim.tested_by == "table2" else set()


def rows_of(claim, name: str) -> dict[str, tuple]:
    """Return which rows are a claim's arm `name`: column -> values, best first.

    Methods without an arm of ours are cells of the same name ("selmatch", "glister"),
    and count as measured once there are rows of such a cell.
    """
    if claim.tested_by == "strategies":
        coarse, fine = name.split("-")
        return {"cell": (f"{fine}-{coarse}",)}
    if claim.tested_by == "curricula":
        return {"cell": (CCFS,), "curricula": (int(name.removeprefix("J")),)}
    return ARMS.get(name, {"cell": (name,)})


def apart(claim) -> set[str]:
    """List settings in which the claim's arms differ; all others have to be equal."""
    if claim.tested_by == "alpha":  # Figure 5 names its rivals "other"
        return {"alpha"}
    if claim.id in TRENDS:
        return {TRENDS[claim.id].over}
    allowed: dict[str, set] = {}
    for name in [name for side in sides(claim) for name in side]:
        for column, values in rows_of(claim, name).items():
            allowed.setdefault(column.split(".")[0], set()).add(values)
    return {setting for setting, values in allowed.items() if len(values) > 1}


def printed(claim, dataset: str, ipc: float) -> float:
    """Return the paper's difference in another cell, points: left minus best rival.

    nan where it prints none there; claims.csv has the one of the claim's cell.
    """
    if FULL in sides(claim)[0]:  # its two sides stand at two IPC
        return claim.paper_difference if (dataset, ipc) == cell(claim) else math.nan
    left, right = ([_value(claim, n, dataset, ipc) for n in s] for s in sides(claim))
    left, right = ([v for v in side if v is not None] for side in (left, right))
    return min(left) - max(right) if left and right else math.nan


def nearest(claim, dataset: str, ipc: float) -> tuple[float, int]:
    """Return the paper's difference at the nearest IPC of a data set, and that IPC.

    Nearest by ratio. (nan, 0) where the paper has no such cell, or `ipc` is nan.
    """
    # Arms of strategies have numbers in more cells than a claim on them may speak of.
    strategies = claim.tested_by == "strategies"
    where = _cells(STRATEGY_TABLES) if strategies else cells(claim)
    every = {i: printed(claim, dataset, i) for name, i in where if name == dataset}
    known = {i: value for i, value in every.items() if not math.isnan(value)}
    if not known or math.isnan(ipc):
        return math.nan, 0
    at = min(known, key=lambda i: abs(math.log(i / ipc)))
    return known[at], at


def _value(claim, name: str, dataset: str, ipc: float) -> float | None:
    if claim.tested_by == "strategies":
        (arm,) = rows_of(claim, name)["cell"]
        return paper.arm(arm, dataset, ipc)
    if claim.tested_by not in TABLES:
        return None
    number, column = TABLES[claim.tested_by]
    wanted = int(name[1:]) if column == "curricula" else name.removeprefix("score-")
    try:
        return paper.value(number, **{column: wanted, "dataset": dataset, "ipc": ipc})
    except InputError:
        return None
