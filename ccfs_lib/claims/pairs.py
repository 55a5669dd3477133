"""Which rows a claim compares: runs under equal settings, and the pairs within one."""

import math
from collections.abc import Iterator

import numpy as np
import pandas

from ccfs_lib.claims import arms, compare
from ccfs_lib.claims.compare import CCFS
from ccfs_lib.claims.evidence import source
from ccfs_lib.claims.trends import LEARNER, TRENDS, Pair

Pairs = list[list[Pair]]  # as `statistics.extreme` has them: one row has to hold


def runs(claim, rows: pandas.DataFrame) -> Iterator[pandas.DataFrame]:
    """Yield rows under equal settings, but for those in which the claim's arms differ.

    claim: a row of `paper.claims()`; rows: those of `results.load`, of all runs.
    """
    if claim.id in arms.OWN_CELL:
        dataset, ipc = arms.cell(claim)
        if not {"dataset", "ipc"} <= set(rows):
            return
        here = rows["dataset"].astype(str).str.removesuffix("-jpeg") == dataset
        rows = rows[here & (rows["ipc"] == ipc)]
    if claim.id in TRENDS and not TRENDS[claim.id].over:
        rows = rows[_of_the_method(rows)]
    if claim.tested_by == arms.COURSES and "alpha" in rows:
        rows = rows[rows["alpha"] != 0]  # the paper's figure has no such set
    if LEARNER in rows and LEARNER not in arms.apart(claim):
        # Another network that learns from the very same sets tests another claim.
        rows = rows[rows[LEARNER].fillna("") == ""]
    columns = compare.settings(rows, arms.apart(claim))
    # Not the name of the run: a folder may hold two settings, two folders the same one.
    for _, run in rows.groupby(columns or "run", dropna=False, sort=False):
        yield run


def _of_the_method(rows: pandas.DataFrame) -> pandas.Series:
    """Leave out ablations: they change the method that a claim is about.

    Of data that have a preset's run, whose name says no more than data and IPC, that
    one counts. Of others, such as the full-size run, each teacher's run at each IPC
    that has distilled images and the most arms: an ablation has CCFS alone.
    """
    preset_run = rows["run"].str.fullmatch(r".*-ipc\d+")
    if "train" not in rows or "alpha" not in rows:
        return preset_run if preset_run.any() else preset_run | True
    beside = preset_run.groupby(rows["train"].fillna("")).transform("any")
    others, most = ~beside & (rows["alpha"] != 0), {}
    for name, run in rows[others].groupby("run"):
        first, number = run.iloc[0], run["cell"].nunique()
        place = source(first), first.get("ipc")
        if number > most.get(place, (0, ""))[0]:
            most[place] = number, name
    return preset_run | (others & rows["run"].isin([n for _, n in most.values()]))


def sampled(pairs: Pairs) -> tuple[Pairs, list[float]]:
    """Leave out pairs that have the same two values in every seed: they are no sample.

    Returns the others, without empty rows, and the differences of those left out. As
    with the first selection of alpha 0, of which no filter is a part. Portions against
    portions stay as they are, since their rows must be of one length.
    """
    if len(pairs) > 1 and len(pairs[0]) > 1:
        return pairs, []
    rows = [[(pair, compare.by_seed(*pair)) for pair in row] for row in pairs]
    kept = [[pair for pair, seeds in row if not _same(*seeds)] for row in rows]
    fixed = [a[0] - b[0] for row in rows for _, (a, b) in row if _same(a, b)]
    return [row for row in kept if row], fixed


def _same(left: list[float], right: list[float]) -> bool:
    return len(left) > 1 and len({*zip(left, right, strict=True)}) == 1


def pairs_of(claim, run: pandas.DataFrame) -> tuple[Pairs, Pairs, list[str]]:
    """List rows to compare (left, right): main sides, further ones, missing arms.

    run: rows of one run, of `runs`. The further sides have as many rows as the main
    ones, or none. The missing are names of arms; where there are any, the pairs are not
    to be used.
    """
    if claim.tested_by == "alpha":
        return _alphas(claim, run)
    if claim.id in TRENDS:
        trend = TRENDS[claim.id]
        there = not trend.over or trend.over in run
        main = trend.pairs(run) if there else []
        shared = main and all(compare.by_seed(*pair)[0] for pair in main)
        pairs = [[pair] for pair in main] if trend.most else [main]
        return pairs, [], [] if shared else [trend.needs]
    left, right = arms.sides(claim)
    further = arms.ALSO.get(claim.id, [])
    names = list(dict.fromkeys([*left, *right, *(n for pair in further for n in pair)]))
    by_arm = {name: _arm(claim, run, name) for name in names}
    missing = [name for name, rows in by_arm.items() if rows.empty]
    main = [(by_arm[one], by_arm[other]) for one in left for other in right]
    also = [(by_arm[one], by_arm[other]) for one, other in further]
    if not missing and not all(compare.by_seed(*pair)[0] for pair in main + also):
        missing = ["one seed with all arms"]
    return [main], [also] if also else [], missing


def _arm(claim, run: pandas.DataFrame, name: str) -> pandas.DataFrame:
    """Return the rows of an arm; those of all data have their teacher's accuracy."""
    rows = _pick(run, arms.rows_of(claim, name))
    if name != arms.FULL:
        return rows
    if "teacher_last" not in rows:
        return rows.iloc[:0]
    rows = rows[rows["teacher_last"].notna()]
    return rows.assign(last=rows["teacher_last"], images=math.nan)


def _alphas(claim, run: pandas.DataFrame) -> tuple[Pairs, Pairs, list[str]]:
    """List the pairs of Figure 5: each portion named, against all others it has.

    The best of the first is above the best of the others where one of them is above all
    others. Whichever side has more values has more chances, and `extreme` pays for it.
    What is ours alone, alpha 0, has to be beaten too, but contradicts nobody.
    """
    named = [float(name.removeprefix("alpha-")) for name in arms.sides(claim)[0]]
    ccfs = run[run["cell"] == CCFS] if "alpha" in run else run.iloc[:0].assign(alpha=0)
    parts = {a: _pick(ccfs, {"alpha": (a,)}) for a in sorted(set(ccfs["alpha"]))}
    left = [rows for a, rows in parts.items() if a in named]
    ours = [rows for a, rows in parts.items() if a in arms.OURS]
    right = [rows for a, rows in parts.items() if a not in [*named, *arms.OURS]]
    if min(len(left), len(right)) < 2:  # one portion cannot speak for a range of them
        return [], [], ["two portions from 0.2 to 0.4 and two outside, besides 0"]
    pairs, also = ([[(a, b) for b in side] for a in left] for side in (right, ours))
    shared = [compare.by_seed(*pair)[0] for row in pairs + also for pair in row]
    missing = [] if all(shared) else ["one seed with all arms"]
    return pairs, also if ours else [], missing


def _pick(rows: pandas.DataFrame, arm: dict[str, tuple]) -> pandas.DataFrame:
    """Return the rows of an arm, each seed once; none where a column or value lacks."""
    keep = np.ones(len(rows), bool)
    for column, values in arm.items():  # masks: frames of a hundred columns are slow
        there = rows[column].to_numpy() if column in rows else np.array([])
        masks = (keep & (there == value) for value in values if len(there))
        keep = next((mask for mask in masks if mask.any()), None)
        if keep is None:
            return rows.iloc[:0]
    rows = rows[keep]
    if rows["seed"].duplicated().any():
        files = sorted({*(rows["run"] + "/" + rows["cell"])})
        compare.once(rows, " and ".join(f"{name}.json" for name in files))
    return rows
