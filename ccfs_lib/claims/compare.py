"""Comparison of a run's arms: their names, pairs by seed, and the verdict.

The front page, chapters 5 and 6 and the ledger of claims all compare through here.
Every comparison is a paired t test over seeds. A seed is a block: it fixes the initial
weights and the order of the images in every training of every arm, and the six
strategies share its first filter. Accuracies of one seed are therefore correlated, and
Welch's test, which assumes independence, is too wide or too narrow. A paired test needs
no such assumption: each seed gives one difference. It has fewer degrees of freedom:
three pairs have 2 (critical value 4.30) where Welch may have 4 (2.78), so its interval
is the wider one where little is shared, as between a strategy and random images. It is
used there too, because a test must not be chosen by its result.

The seeds of a run share teacher and distilled images: an interval does not cover the
variation over teachers. Teachers share their seeds, which fix the random images: see
`over_teachers`.
"""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from ccfs_lib.arms import CCFS as CCFS
from ccfs_lib.arms import SECTION3, TITLES
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Experiment, Recipe
from ccfs_lib.experiment.datasets import KNOWN
from ccfs_lib.statistics import (
    FEW,
    Difference,
    crossed,
    difference,
    minimum_detectable,
)

if TYPE_CHECKING:
    import pandas

BySeed = Sequence[tuple[int, float]]
# CCFS of another run, that with alpha 0 and all else equal: `claims.ladder` adds it.
ALPHA0 = "ccfs-alpha0"
# Titles of the arms, in the order of the tables.
NAMES = {name: title for name, title in TITLES.items() if name not in SECTION3}
NAMES[ALPHA0] = "CCFS without distilled images (alpha 0)"
HOLDS, FAILS, OPEN = VERDICTS = ("holds", "does not hold", "too close to call")
# An interval of a difference against the number that the paper prints for it.
SIZES = ("consistent", "smaller", "larger", "opposite")
PAIRED = "paired by seed"  # named beside the intervals, wherever they are shown
# What arms must share to be compared. The strategy is the arm, and seeds are paired.
SETTINGS = {f.name for f in fields(Experiment)} - {"seeds", "data_root"}
SETTINGS = SETTINGS - {"coarse", "fine"} | {"train", "test", "teacher_last"}
# Settings whose files are hashed; those of sets differ from arm to arm.
FILES = ("score", "ccfs_score", "teacher_from")
# Of runs of Section 3.
SETTINGS |= {"beta", "start", "matcher", "experts", "expert", "matching"}


def few(d: Difference) -> bool:
    """Return whether a difference has no interval, for its number of seeds."""
    return math.isnan(d.half) or min(d.n_a, d.n_b) < FEW


def verdict(d: Difference) -> str:
    """Return one of VERDICTS for "left is higher": does the interval exclude zero?

    An interval that touches zero, and fewer seeds than FEW, stay open.
    """
    if few(d) or abs(d.mean) <= d.half:
        return OPEN
    return HOLDS if d.mean > 0 else FAILS


def size(low: float, high: float, printed: float) -> str:
    """Return one of SIZES for an interval and a printed difference, or "" without.

    Consistent: the printed number is inside, which a wide interval easily achieves.
    Opposite: all of the interval is on the other side of zero. Smaller: nearer to zero
    than what is printed, if not beyond it.
    """
    if math.isnan(printed) or not math.isfinite(high - low):
        return ""
    if printed < 0:
        low, high, printed = -high, -low, -printed
    if low <= printed <= high:
        return "consistent"
    if high < 0:
        return "opposite"
    return "larger" if low > printed else "smaller"


def level(d: Difference) -> bool:
    """Return whether two means are equal, but for the rounding of their sums."""
    return abs(d.mean) < 1e-9


def values(rows: "pandas.DataFrame", arm: str, column: str = "last") -> list[float]:
    """Return one number per seed of an arm, in the order of the rows (and seeds).

    rows: a table of `results.load`. column: "last" or "best" (percent), "images", ...
    """
    return [float(v) for v in rows.loc[rows["cell"] == arm, column]]


def matched(
    rows: "pandas.DataFrame", left: str, right: str
) -> tuple[list[float], list[float]]:
    """Return last accuracies of two arms, percent, of their common seeds, by seed.

    A seed that only one of them has is left out: it has nothing to be compared with.
    Raises InputError for an arm without rows, arms without a common seed, a seed that
    an arm has twice, or settings that differ between the two.
    """
    one, other = (rows[rows["cell"] == arm] for arm in (left, right))
    for arm, part in ((left, one), (right, other)):
        if part.empty:
            raise InputError(f"{arm!r} has no rows; measure it first")
        once(part, repr(arm))
    # The one arm that a setting makes.
    apart = ("alpha",) if (left == ALPHA0) != (right == ALPHA0) else ()
    if differ := contradiction(one, other, apart):
        raise InputError(f"{left!r} and {right!r} differ in {differ}")
    if not (pairs := by_seed(one, other))[0]:
        raise InputError(f"{left!r} and {right!r} have no seed in common")
    return pairs


def once(rows: "pandas.DataFrame", name: str) -> None:
    """Raise InputError if rows hold a seed twice: which of them counts is not known."""
    twice = rows[rows["seed"].duplicated(keep=False)]
    if len(twice):
        same = twice[twice["seed"] == twice["seed"].iloc[0]]
        accuracies = " and ".join(f"{value:.2f}" for value in same["last"])
        seed = same["seed"].iloc[0]
        raise InputError(f"{name} has seed {seed} twice, with {accuracies}")


def by_seed(
    one: "pandas.DataFrame", other: "pandas.DataFrame"
) -> tuple[list[float], list[float]]:
    """Return last accuracies of two sets of rows, percent, by common seed."""
    one, other = (
        part[["seed", "last"]].set_index("seed")["last"].astype(float)
        for part in (one, other)
    )
    common = sorted(set(one.index) & set(other.index))
    return list(one[common]), list(other[common])


def common(rows: "pandas.DataFrame", *arms: str) -> "pandas.DataFrame":
    """Keep the rows of the seeds that all arms have; none where one is missing."""
    each = [set(rows.loc[rows["cell"] == arm, "seed"]) for arm in arms]
    return rows[rows["seed"].isin(set.intersection(*each))]


def contradiction(
    one: "pandas.DataFrame", other: "pandas.DataFrame", apart: Sequence[str] = ()
) -> str:
    """Return the first setting that differs, as "recipe.epochs (30, 60)", or ''.

    apart: settings that may differ.
    """
    for column in settings(one, apart):
        # Another arm of a run may have brought the column, with no value for this one.
        sides = (p[column] if column in p else [None] * len(p) for p in (one, other))
        values = [None if v is None or v != v else str(v) for s in sides for v in s]
        distinct = set(values) - {None}
        # A new option is filed only where it is not at its default: absent differs.
        gaps = {v is None for v in values}
        if len(distinct) > 1 or len(gaps) > 1:
            distinct |= {"absent"} if True in gaps else set()
            return f"{column} ({', '.join(sorted(distinct))})"
    for name in [n for n in FILES if n not in apart]:  # an arm may do without one
        found = {v for p in (one, other) for v in p.get(f"given.{name}", ()) if v == v}
        if len(found - {None}) > 1:
            return f"the file of {name} (of {len(found)} contents)"
    return ""


def settings(rows: "pandas.DataFrame", apart: Sequence[str] = ()) -> list[str]:
    """List columns of `rows` that hold settings, nested ones too, except `apart`."""
    shared = SETTINGS - set(apart)
    # "sources.network" is the text of a network of the user's.
    return [c for c in rows if c.removeprefix("sources.").split(".")[0] in shared]


def printed_as(row) -> str:
    """Return the data set whose numbers the paper prints; "" for a part of one.

    row: of a table of `results.load`; its settings are absent or nan at their default.
    """
    part = [row.get(name) for name in ("classes", "image_size")]
    if any(value is not None and value > 0 for value in part):
        return ""
    return str(row.get("dataset", ""))


def compare(rows: "pandas.DataFrame", left: str, right: str) -> Difference:
    """Compute the last accuracy of one arm minus another's, points, paired by seed.

    rows: those of one run, from `results.load`. Raises InputError as `matched`.
    """
    pair = matched(rows, left, right)
    seeds = sorted(set(common(rows, left, right)["seed"]))
    points = map(float, np.subtract(*pair))
    by_seed = tuple(zip(map(int, seeds), points, strict=True))
    return difference(*pair, paired=True)._replace(by_seed=by_seed)


def change(a: Difference, b: Difference) -> Difference:
    """Compare two differences of `compare`, a - b, points, paired by seed.

    Without a common seed there is no interval.
    """
    return paired(a.by_seed, b.by_seed) or difference([a.mean], [b.mean], paired=True)


def paired(here: BySeed, there: BySeed) -> Difference | None:
    """Compare values by seed, here - there; None without a common seed."""
    here, there = dict(here), dict(there)
    seeds = sorted({*here} & {*there})
    pair = [here[seed] for seed in seeds], [there[seed] for seed in seeds]
    return difference(*pair, paired=True) if seeds else None


def over_teachers(runs: Sequence[Difference]) -> Difference:
    """Average differences of `compare` over teachers, equal in all else: `crossed`.

    Only the seeds that all teachers have count; without one there is no interval.
    """
    each = [dict(d.by_seed) for d in runs]
    if seeds := sorted(set.intersection(*map(set, each))):
        return crossed([[found[seed] for seed in seeds] for found in each])
    return crossed([[d.mean] for d in runs])


def between(runs: Sequence[Difference]) -> Difference:
    """Average the differences of several settings: each mean is one value, points.

    The t interval is over these means; it has a half width from three on, as
    `difference` of seeds. Of teachers of one setting: `over_teachers`.
    """
    means = [d.mean for d in runs]
    over = difference(means, [0.0] * len(means), paired=True)
    return over if len(means) >= FEW else over._replace(half=math.nan, p=math.nan)


def pooled(runs: Sequence[Difference]) -> Difference:
    """Return the first difference with the mean of all, as one value for `between`.

    runs: equal in all but the teacher. Two teachers of one setting must not count as
    two settings.
    """
    mean = math.fsum(d.mean for d in runs) / len(runs)
    return runs[0]._replace(mean=mean, by_seed=())


def batch_size(row, by: str = "") -> int | None:
    """Return the batch size in which the set of a row was learned; None: not known.

    row: of `results.load`. by: the size that decides, "images" (that the set has) or
    "wanted" (that was asked for); "" is the row's own `batch_size_by`, which is filed
    only where it is not "images".
    """
    names = ("epochs", "batch_rule", "batch_size")
    recipe = {name: row.get(f"recipe.{name}") for name in names}
    by = by or ("wanted" if row.get("batch_size_by") == "wanted" else "images")
    known, images = KNOWN.get(row.get("dataset")), row.get(by)
    if known is None or any(v is None or v != v for v in (*recipe.values(), images)):
        return None
    part = row.get("classes")
    classes = part if part and part == part else known.classes
    full = round(known.train * classes / known.classes)
    return Recipe(**recipe).for_size(int(images), full).batch_size


def batch_sizes(rows: "pandas.DataFrame", arm: str) -> dict[int, int]:
    """Return seed -> batch size in which an arm's sets were learned, where known."""
    part = rows[rows["cell"] == arm]
    sizes = {int(row["seed"]): batch_size(row) for _, row in part.iterrows()}
    return {seed: size for seed, size in sizes.items() if size is not None}


def unequal_steps(rows: "pandas.DataFrame", left: str, right: str) -> str:
    """Say in how many seeds two arms had different batch sizes; "" if in none.

    The batch follows the number of images, so a few that are missing may halve it.
    """
    sizes = {arm: batch_sizes(rows, arm) for arm in (left, right)}
    both = sorted({*sizes[left]} & {*sizes[right]})
    apart = [seed for seed in both if sizes[left][seed] != sizes[right][seed]]
    if not apart:
        return ""
    less, more = sorted((left, right), key=lambda arm: sizes[arm][apart[0]])
    small, large = sizes[less][apart[0]], sizes[more][apart[0]]
    name = "CCFS" if less == CCFS else NAMES.get(less, less)
    return (
        f"In {len(apart)} of {len(both)} seeds {name} was trained in batches of "
        f"{small}, not {large}, so for about {large / small:g} times as many steps, "
        f"since its set has {_missing(rows, less, apart)}."
    )


def _missing(rows: "pandas.DataFrame", arm: str, seeds: Sequence[int]) -> str:
    """Say by how many images an arm's sets are short in these seeds."""
    part = rows[(rows["cell"] == arm) & rows["seed"].isin(seeds)]
    short = (part["wanted"] - part["images"]).astype(float)
    if short.isna().any() or not (short > 0).all():
        return "fewer images"
    *first, last = (f"{n:.0f}" for n in short)
    numbers = " and ".join([", ".join(first), last] if first else [last])
    return f"{numbers} of {part['wanted'].iloc[0]:,.0f} images too few"


def equal_steps(rows: "pandas.DataFrame", left: str, right: str) -> Difference | None:
    """Compare two arms in the seeds in which their batch sizes are equal.

    None where that are all seeds, or none.
    """
    sizes = [batch_sizes(rows, arm) for arm in (left, right)]
    both = {*sizes[0]} & {*sizes[1]}
    equal = [seed for seed in both if sizes[0][seed] == sizes[1][seed]]
    if not 0 < len(equal) < len(both):
        return None
    return compare(rows[rows["seed"].isin(equal)], left, right)


def detectable(rows: "pandas.DataFrame", left: str, right: str) -> float:
    """Compute the smallest true difference, points, that `compare` finds (80 % power).

    Raises InputError as `matched`.
    """
    return minimum_detectable(*matched(rows, left, right), paired=True)
