"""The ledger: each claim of the paper against every measured run that can test it.

A run is all rows of results under equal settings. A claim is tested in each run that
holds every arm it names, and nowhere else, so that what was not measured cannot hold.
"Holds" is said of that run, its data set and its scale; how far they are from the
paper's is in the columns beside it. Differences are those of `ccfs_lib.claims.compare`.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas

from ccfs_lib import paper
from ccfs_lib.claims import arms, compare
from ccfs_lib.claims.compare import CCFS, FAILS, HOLDS, OPEN
from ccfs_lib.claims.trends import LEARNER, TRENDS
from ccfs_lib.statistics import Difference, difference, minimum_detectable

UNTESTED = "not tested here"
Pair = tuple[pandas.DataFrame, pandas.DataFrame]


class Line(NamedTuple):
    """One line of the ledger. Points unless said otherwise; nan where there is none."""

    claim: str  # id in arms.csv
    verdict: str  # one of compare.VERDICTS, or UNTESTED
    run: str = ""
    dataset: str = ""
    part: str = ""  # of it, where it is not whole: "20 classes, 32 pixels"
    ipc: float = math.nan
    scale: str = ""
    network: str = ""
    seeds: int = 0  # pairs of the difference
    paper: float = math.nan  # its difference in this very cell; untested: the claim's
    difference: float = math.nan  # left minus right, of the closest arms
    half: float = math.nan  # of its 95 % interval
    detectable: float = math.nan  # the true difference that shows four times in five
    missing: str = ""  # why it is not tested


def ledger(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Test every claim in every run that can; one line where none can.

    rows: those of `results.load`, of all runs together. Columns are those of `Line`,
    lines in the order of data/paper/arms.csv. Raises InputError as `weigh`.
    """
    lines = [
        line for claim in paper.claims().itertuples() for line in weigh(claim, rows)
    ]
    return pandas.DataFrame(lines, columns=Line._fields)


def weigh(claim, rows: pandas.DataFrame) -> list[Line]:
    """Test one claim: a line per run that holds all its arms, or one that says why not.

    claim: a row of `paper.claims()`; rows: as for `ledger`. Against several rivals a
    claim holds where all are clearly beaten, and does not where one is clearly ahead;
    the line shows the closest. A maximum holds where one is beaten by an interval that
    is wider for their number, and the line shows that. Raises InputError where rows of
    one run hold a seed of an arm twice, equal or not: which one counts is not for an
    average to settle.
    """
    if claim.id in arms.BEYOND:
        return [_untested(claim, f"the claim {arms.BEYOND[claim.id]}")]
    lines, lacking = [], None
    for run in _runs(claim, rows):
        own, also, missing = _pairs(claim, run)
        if not missing:
            lines.append(_line(claim, own, also))
        elif lacking is None or len(missing) < len(lacking):
            lacking = missing  # the run that is nearest to a test says what it lacks
    if lines:
        return lines
    if lacking is None:
        return [_untested(claim, "no rows of its data set and IPC")]
    return [_untested(claim, f"no rows of {', '.join(lacking)}")]


def _untested(claim, why: str) -> Line:
    return Line(claim.id, UNTESTED, paper=claim.paper_difference, missing=why)


def _runs(claim, rows: pandas.DataFrame) -> Iterator[pandas.DataFrame]:
    """Rows under equal settings, but for those in which the claim's own arms differ."""
    if claim.id in arms.OWN_CELL:
        dataset, ipc = arms.cell(claim)
        if not {"dataset", "ipc"} <= set(rows):
            return
        here = rows["dataset"].astype(str).str.removesuffix("-jpeg") == dataset
        rows = rows[here & (rows["ipc"] == ipc)]
    if claim.id in TRENDS and not TRENDS[claim.id].over:
        # An ablation shares its teacher and images with the preset's own run, whose
        # name says no more than data and IPC: it is no further witness.
        own = rows["run"].str.fullmatch(r".*-ipc\d+")
        rows = rows[own] if own.any() else rows
    if LEARNER in rows and LEARNER not in arms.apart(claim):
        # Nor is another network that learns from the very same sets.
        rows = rows[rows[LEARNER].fillna("") == ""]
    columns = compare.settings(rows, arms.apart(claim))
    # Not the name of the run: a folder may hold two settings, two folders the same one.
    for _, run in rows.groupby(columns or "run", dropna=False, sort=False):
        yield run


def _pairs(claim, run: pandas.DataFrame) -> tuple[list[Pair], list[Pair], list[str]]:
    """Rows to compare (left, right): the claim's sides, what it says also, the missing.

    The missing are names of arms; where there are any, the pairs are not to be used.
    """
    if claim.tested_by == "alpha":
        return _alphas(claim, run)
    if claim.id in TRENDS:
        trend = TRENDS[claim.id]
        there = not trend.over or trend.over in run
        own = trend.pairs(run) if there else []
        shared = own and all(compare.by_seed(*pair)[0] for pair in own)
        return own, [], [] if shared else [trend.needs]
    left, right = arms.sides(claim)
    further = arms.ALSO.get(claim.id, [])
    names = list(dict.fromkeys([*left, *right, *(n for pair in further for n in pair)]))
    found = {name: _pick(run, arms.rows_of(claim, name)) for name in names}
    missing = [name for name, rows in found.items() if rows.empty]
    own = [(found[one], found[other]) for one in left for other in right]
    also = [(found[one], found[other]) for one, other in further]
    if not missing and not all(compare.by_seed(*pair)[0] for pair in own + also):
        missing = ["one seed with all arms"]
    return own, also, missing


def _alphas(claim, run: pandas.DataFrame) -> tuple[list[Pair], list[Pair], list[str]]:
    """Figure 5: the best portion of those named, against the best of all others.

    The best are chosen by the very means that are compared, which favours neither side.
    """
    named = [float(name.removeprefix("alpha-")) for name in arms.sides(claim)[0]]
    own = run[run["cell"] == CCFS] if "alpha" in run else run.iloc[:0].assign(alpha=0)
    best = []
    for side in (own[own["alpha"].isin(named)], own[~own["alpha"].isin(named)]):
        if side["alpha"].nunique() < 2:  # one portion cannot speak for a range of them
            return [], [], ["two portions from 0.2 to 0.4 and two outside"]
        means = side["last"].astype(float).groupby(side["alpha"]).mean()
        best.append(_pick(side, {"alpha": (means.idxmax(),)}))
    shared = compare.by_seed(*best)[0]
    return [tuple(best)], [], [] if shared else ["one seed with all arms"]


def _pick(rows: pandas.DataFrame, arm: dict[str, tuple]) -> pandas.DataFrame:
    """The rows of an arm, a seed each once; none where a column or value is missing."""
    for column, values in arm.items():
        there = [v for v in values if column in rows and (rows[column] == v).any()]
        rows = rows[rows[column] == there[0]] if there else rows.iloc[:0]
    files = sorted({*(rows["run"] + "/" + rows["cell"])})
    compare.once(rows, " and ".join(f"{name}.json" for name in files))
    return rows


def _line(claim, own: list[Pair], also: list[Pair]) -> Line:
    seeds = [compare.by_seed(*pair) for pair in own + also]
    most = claim.id in TRENDS and TRENDS[claim.id].most
    level = 1 - 0.05 / len(own) if most else 0.95
    found = [difference(*pair, paired=True, level=level) for pair in seeds]
    # Of the claim's own sides: what it says besides decides, and is not the number.
    i = (max if most else min)(range(len(own)), key=lambda i: found[i].mean)
    first = own[i][0].iloc[0]
    where = {k: str(first.get(k, "")) for k in ("run", "dataset", "scale", "network")}
    if isinstance(learner := first.get(LEARNER), str) and learner:
        where["network"] = f"{learner}, filters {where['network']}"
    where["part"] = ", ".join(
        f"{first[name]:.0f} {unit}"
        for name, unit in (("classes", "classes"), ("image_size", "pixels"))
        if first.get(name, 0) > 0  # absent or nan: whole
    )
    ipc = float(first.get("ipc", math.nan))
    theirs = compare.printed_as(first).removesuffix("-jpeg")
    return Line(
        claim.id,
        _verdict(claim, found),
        **where,
        ipc=ipc,
        seeds=found[i].n_a,
        paper=arms.printed(claim, theirs, ipc),
        difference=found[i].mean,
        half=found[i].half,
        detectable=minimum_detectable(*seeds[i], paired=True),
    )


def _verdict(claim, found: list[Difference]) -> str:
    if margin := arms.MARGINS.get(claim.id):
        (d,) = found
        if abs(d.mean) + d.half <= margin:  # nan, of a single seed, is neither
            return HOLDS
        return FAILS if abs(d.mean) - d.half > margin else OPEN
    # "All are beaten" needs no correction for their number. "One is ahead" would: of
    # five equal rivals one comes out ahead by chance more often than once in forty.
    words = {compare.verdict(d) for d in found}
    if claim.id in TRENDS and TRENDS[claim.id].most:
        return HOLDS if HOLDS in words else FAILS if words == {FAILS} else OPEN
    return FAILS if FAILS in words else OPEN if OPEN in words else HOLDS
