"""The ledger: each claim of the paper, tested in every run that has its arms.

A run is all rows of results under equal settings. A claim is tested in each run that
has every arm it names, and in no other. "Holds" is about that run, its data set and its
scale, which stand in further columns. Differences are those of
`ccfs_lib.claims.compare`; `ccfs_lib.claims.evidence` combines the lines of a claim.
"""

import math
from typing import NamedTuple

import pandas

from ccfs_lib import paper
from ccfs_lib.claims import arms, compare
from ccfs_lib.claims.compare import FAILS, HOLDS, OPEN
from ccfs_lib.claims.evidence import UNTESTED, set_sizes, where
from ccfs_lib.claims.pairs import Pairs, pairs_of, runs, sampled
from ccfs_lib.claims.trends import TRENDS
from ccfs_lib.claims.written import written
from ccfs_lib.errors import InputError
from ccfs_lib.experiment.budget import ENOUGH
from ccfs_lib.experiment.presets import matched
from ccfs_lib.statistics import (
    Difference,
    Extreme,
    difference,
    extreme,
    false_discovery,
    minimum_detectable,
    one_sided,
    seeds_needed,
)
from ccfs_lib.table1 import BY_NAME, without_budget

Seeds = tuple[list[float], list[float]]  # one number per seed on either side
SAME = "the same two values in every seed, which is no test"
BUDGET = "choices.budget"  # minutes of a core, where not the preset's


class Line(NamedTuple):
    """One line of the ledger. In points, or as noted; nan where there is none."""

    claim: str  # id in claims.csv
    verdict: str  # one of compare.VERDICTS, or UNTESTED
    size: str = ""  # one of compare.SIZES, for claims with a number
    run: str = ""
    dataset: str = ""
    part: str = ""  # of it, where it is not whole: "20 classes, 32 pixels"
    ipc: float = math.nan
    alpha: float = math.nan
    score: str = ""  # by which the images were selected
    levels: tuple = ()  # values of the setting that it was tested over
    class_size: float = math.nan  # training images of the smallest class
    scale: str = ""
    network: str = ""
    source: str = ""  # the teacher or experts; evidence is independent where it differs
    counts: bool = False  # whether it is evidence: digits only show the method
    seeds: int = 0  # pairs of the difference
    made: float = math.nan  # images in the left set, mean over seeds
    made_right: float = math.nan
    wanted: float = math.nan
    wanted_right: float = math.nan
    paper: float = math.nan  # its difference in this very cell; untested: the claim's
    near: float = math.nan  # else the one at the nearest IPC of the data set
    near_ipc: int = 0
    difference: float = math.nan  # left minus right, of the closest arms
    low: float = math.nan  # of its own 95 % interval; of a maximum: of `extreme`
    high: float = math.nan
    detectable: float = math.nan  # the smallest true difference found with 80 % power
    needed: int = 0  # seeds that find the paper's difference; 0: not known
    p: float = math.nan  # two-sided, of what the verdict is about
    adjusted: float = math.nan  # the same, at a false discovery rate over all lines
    note: str = ""  # what the number alone does not say
    missing: str = ""  # why it is not tested


def ledger(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Test every claim in every run that can; one line where none can.

    rows: those of `results.load`, of all runs together. Columns are those of `Line`,
    lines in the order of data/paper/claims.csv. Raises InputError as `weigh`.
    """
    rows = rows.astype(object)  # a block for each type of column would be slow to cut
    rows = methods(rows)
    lines = [
        line for claim in paper.claims().itertuples() for line in weigh(claim, rows)
    ]
    table = pandas.DataFrame(lines, columns=Line._fields)
    # Tests that are no evidence are not part of the family.
    table["adjusted"] = false_discovery(table["p"].where(table["counts"]))
    return table


def methods(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Call rows of Table 1 by their method, whatever budget they had: dsa-10 is dsa.

    Of a method's files in a run, the one that got the most work stands for it; of
    equal ones the preset's.
    """
    if BUDGET not in rows:
        return rows
    names = [
        cell if minutes != minutes else without_budget(cell, minutes)
        for cell, minutes in zip(rows["cell"], rows[BUDGET], strict=True)
    ]
    share = rows["share"] if "share" in rows else pandas.Series(math.nan, rows.index)
    share = pandas.to_numeric(share).fillna(1.0)  # no method of Table 1: all of it
    files = rows[["run", "cell"]].assign(method=names, work=share)
    files = files.assign(usual=rows[BUDGET].isna()).reset_index(drop=True)
    files = files.sort_values(["work", "usual"], ascending=False, kind="stable")
    taken = files.groupby(["run", "method"])["cell"].transform("first")
    kept = (files["cell"] == taken).sort_index()
    return rows.assign(cell=names)[kept.values]


def weigh(claim, rows: pandas.DataFrame) -> list[Line]:
    """Test one claim: a line per run that holds all its arms, or one that says why not.

    claim: a row of `paper.claims()`; rows: as for `ledger`. Against several rivals a
    claim holds where all are clearly beaten, and does not where one is clearly ahead
    by an interval that is widened for their number; the line shows the closest. A
    maximum is the other way round (`statistics.extreme`). Values that are the same in
    every seed are no sample: such a part is not tested, nor is a run without another.
    Raises InputError where rows of one run hold a seed of an arm twice, equal or not.
    """
    if claim.id in arms.BEYOND:
        return [_untested(claim, f"the claim {arms.BEYOND[claim.id]}")]
    lines, lacking, same = [], None, False
    for run in runs(claim, _usual_window(claim, rows)):
        pairs, also, missing = pairs_of(claim, run)
        if not missing:
            (pairs, one), (also, other) = sampled(pairs), sampled(also)
            if not pairs:
                same = True
                continue
            line = _line(claim, pairs, also, one + other)
            lines.append(line._replace(note=line.note or _beside(claim, run)))
        elif lacking is None or len(missing) < len(lacking):
            lacking = missing  # the run that is nearest to a test says what it lacks
    if lines:
        return lines
    if same:
        return [_untested(claim, SAME)]
    if lacking is None:
        return [_untested(claim, "no rows of its data set and IPC")]
    return [_untested(claim, f"no rows of {', '.join(lacking)}")]


def _usual_window(claim, rows: pandas.DataFrame) -> pandas.DataFrame:
    """Of Section 3, leave out runs with another start than the preset's, where it is.

    The paper compares each setting at its best start; elsewhere SelMatch is weaker, and
    only claims over the start are about it.
    """
    over = TRENDS[claim.id].over if claim.id in TRENDS else ""
    if claim.tested_by not in arms.SECTION_3 or over == "beta":
        return rows
    if "beta" not in rows or rows.empty:
        return rows

    def usual(row) -> bool:
        """Whether a row has the start of its preset, or no window."""
        try:
            beta = matched(row["dataset"], row["scale"], row["ipc"]).get("beta")
        except InputError:  # a cell that SelMatch's scripts do not have
            return True
        return pandas.isna(row["beta"]) or beta is None or row["beta"] == beta

    kept = rows.apply(usual, axis=1)
    return rows[kept | ~kept.groupby(rows["dataset"]).transform("any")]


def _untested(claim, why: str) -> Line:
    return Line(claim.id, UNTESTED, paper=claim.paper_difference, missing=why)


def _line(claim, pairs: Pairs, also: Pairs, fixed: list[float]) -> Line:
    """Test a claim by its parts. fixed: differences of parts that are no test."""
    seeds, further = _seeds(pairs), _seeds(also)
    shown = extreme(seeds)
    decides = _decides(claim, seeds, further) if also else shown
    pair, rows = seeds[shown.row][shown.column], pairs[shown.row][shown.column]
    low, high = shown.low, shown.high
    if len(pairs) == 1:  # the interval of the pair that is shown, and of no other
        _, low, high = _ends(difference(*pair, paired=True))
    place = where(claim, pairs, rows)
    printed, near, at = _printed(claim, rows[0].iloc[0], place)
    number = next(
        (v for v in (printed, near) if not math.isnan(v)), claim.paper_difference
    )
    # "By so much" comes from the sentence: a cell's number alone is no claim to a size.
    number = math.nan if math.isnan(claim.paper_difference) else number
    level = 1 - 0.05 / len(pairs)
    answer, work = _fair(_verdict(claim, decides), [*pairs, *also])
    if answer == HOLDS and min(fixed, default=1.0) <= 0:
        answer = OPEN  # no test of a part, and no reason to say that it holds
    parts = len(fixed) + sum(len(row) for row in [*seeds, *further])
    notes = work, _note(claim, shown, decides, seeds, further), _fixed(fixed, parts)
    return Line(
        claim.id,
        answer,
        compare.size(low, high, number),
        **place,
        **set_sizes(rows),
        seeds=len(pair[0]),
        paper=printed,
        near=near,
        near_ipc=at,
        difference=shown.mean,
        low=low,
        high=high,
        detectable=minimum_detectable(*pair, paired=True, level=level),
        needed=0 if math.isnan(number) else seeds_needed(*pair, number, level=level),
        p=_p(claim, decides, pair),
        note=work if answer == OPEN and work else "; ".join(filter(None, notes)),
    )


def _printed(claim, first: pandas.Series, place: dict) -> tuple[float, float, int]:
    """Return the paper's difference in a row's cell; else the nearest one, its IPC."""
    own = compare.printed_as(first).removesuffix("-jpeg")
    if not math.isnan(printed := arms.printed(claim, own, place["ipc"])):
        return printed, math.nan, 0
    near = arms.nearest(claim, place["dataset"].removesuffix("-jpeg"), place["ipc"])
    return printed, *near


def _seeds(pairs: Pairs) -> list[list[Seeds]]:
    return [[compare.by_seed(*pair) for pair in row] for row in pairs]


def _decides(claim, seeds: list[list[Seeds]], further: list[list[Seeds]]) -> Extreme:
    """Return what decides: all parts of the sentence, not only the number shown."""
    every = extreme([one + more for one, more in zip(seeds, further, strict=True)])
    if claim.tested_by != "alpha":
        return every
    named = extreme(seeds)  # what is ours alone may withhold a "holds", and no more
    return every._replace(high=named.high, below=named.below)


def _verdict(claim, d: Extreme) -> str:
    """Return one of compare.VERDICTS, of a margin where there is one, else of the sign.

    "Higher" is strict: an interval that ends at zero, as where every seed has the very
    same two figures, refutes it.
    """
    if claim.id in arms.MARGINS:
        low, high = arms.MARGINS[claim.id]
        if low <= d.low and d.high <= high:
            return HOLDS
        return FAILS if d.high < low or d.low > high else OPEN
    return HOLDS if d.low > 0 else FAILS if d.high <= 0 else OPEN


def _fair(verdict: str, pairs: Pairs) -> tuple[str, str]:
    """Withhold a verdict that a method loses which got too little of its own work.

    Returns the verdict, and a note on a loser without all of its work; on either side
    where there is none. Rows of Table 1 file `share`, their part of the image passes
    of full settings, published or ours; below `budget.ENOUGH` a row shows what little
    work gives, not what its method can do.
    """
    sides = {HOLDS: (1,), FAILS: (0,)}.get(verdict, (0, 1))
    both = [pair[side] for row in pairs for pair in row for side in sides]
    rows = [rows for rows in both if "share" in rows]
    least = {str(r["cell"].iloc[0]): pandas.to_numeric(r["share"]).min() for r in rows}
    if few := sorted(cell for cell, share in least.items() if share < ENOUGH):
        names = ", ".join(map(_title, few))
        return OPEN, f"{names}: less than a tenth of the work of full settings"
    part = [f"{_title(c)}: {100 * s:.0f} %" for c, s in sorted(least.items()) if s < 1]
    return verdict, f"of the work of full settings, {', '.join(part)}" if part else ""


def _title(cell: str) -> str:
    """Return the title of Table 1's row that is filed in this cell, else the cell."""
    row = BY_NAME.get(cell.removesuffix("-teacher"))
    return row.title if row else cell


def _p(claim, d: Extreme, pair: Seeds) -> float:
    """Compute the two-sided p value of the question that `_verdict` answers.

    nan where figures without any spread answer it: they are no test. Of a margin: both
    "inside" and "outside" are tested, and the clearer of the two counts.
    """
    if not math.isfinite(d.low) and not math.isfinite(d.high):
        return math.nan  # of too few seeds
    if claim.id not in arms.MARGINS:
        p = min(d.above, d.below, 0.5)
        return 2 * p if p > 0 and d.high != 0 else math.nan
    low, high = arms.MARGINS[claim.id]
    over_low, under_low = one_sided(*pair, low) if math.isfinite(low) else (0.0, 1.0)
    over_high, under_high = one_sided(*pair, high)
    p = min(max(over_low, under_high), under_low, over_high, 0.5)
    return 2 * p if p > 0 else math.nan


def _note(claim, shown: Extreme, decides: Extreme, seeds, further) -> str:
    """Say what decides, where it is not the interval that the line shows."""
    if claim.id == "full-data-gap":
        return "the interval does not include the variation over teachers"
    if claim.id in arms.MARGINS:
        return ""
    if decides.high == 0:
        return "two of the compared values are equal in every seed"
    every = [pair for row in [*seeds, *further] for pair in row]
    parts = [difference(*pair, paired=True) for pair in every]
    answer = _verdict(claim, decides)
    own = min(parts, key=lambda d: abs(d.mean - decides.mean))
    if abs(decides.mean - shown.mean) > 1e-9:
        if claim.tested_by == "alpha":
            shown = written(claim.unit, *decides[:3])
            return f"with alpha 0, which the paper does not show, {shown}"
        if compare.verdict(own) == answer:
            part = written(claim.unit, *_ends(own))
            return f"the verdict is that of its smallest part, {part}"
    own = compare.verdict(own)
    if own == answer or len(seeds) > 1:  # of a maximum the line shows what decides
        return ""
    if own == FAILS:
        return f"not clear after a correction for its {len(parts)} parts"
    end = 2 if answer == FAILS else 1  # of the interval: the high one, or the low one
    least = min(map(_ends, parts), key=lambda ends: ends[end])
    return f"another of its {len(parts)} parts decides, {written(claim.unit, *least)}"


def _fixed(fixed: list[float], parts: int) -> str:
    """Say how many parts of a claim are no test, and if they are not above zero."""
    if not fixed:
        return ""
    verb = "has" if len(fixed) == 1 else "have"
    below = sum(d <= 0 for d in fixed)
    text = f"{len(fixed)} of its {parts} parts {verb} {SAME}"
    return text + f" ({below} of them not above zero)" * bool(below)


def _ends(d: Difference) -> tuple[float, float, float]:
    """Return mean and both ends of an interval; few seeds have them at infinity."""
    half = math.inf if compare.few(d) else d.half
    return d.mean, d.mean - half, d.mean + half


def _beside(claim, run: pandas.DataFrame) -> str:
    """Say so where the distilled images that CCFS beats are below random images too."""
    cells = [run[run["cell"] == name] for name in ("distilled", "random")]
    if claim.id != "ccfs-over-base-distillation" or any(rows.empty for rows in cells):
        return ""
    if any(rows["seed"].duplicated().any() for rows in cells):
        return ""
    pair = compare.by_seed(*cells)
    if not pair[0]:
        return ""
    d = difference(*pair, paired=True)
    if compare.verdict(d) != FAILS:
        return ""
    return (
        f"here the distilled images alone are {-d.mean:.1f} points below random images "
        "with the same teacher, so the size says little"
    )
