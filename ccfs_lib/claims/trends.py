"""Claims that are no comparison of two arms in one run: means, courses and sweeps.

Each becomes one again: what a claim speaks of is computed within a seed, from several
runs or from the phases of one, and then paired by seed like everything else. A claim
over IPC or beta needs runs that are equal in all else.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas

from ccfs_lib.claims.compare import CCFS

Pair = tuple[pandas.DataFrame, pandas.DataFrame]


class Trend(NamedTuple):
    """How a claim is tested: over which setting ("" = phases), by what."""

    over: str
    pairs: Callable[[pandas.DataFrame], list[Pair]]  # of rows under equal settings
    needs: str  # what is missing where there are no pairs
    # "At most so much, somewhere": one pair has to show it, not all of them.
    most: bool = False


def _values(rows: pandas.DataFrame, arm: str, column: str = "last") -> pandas.Series:
    """Return one number per seed of an arm."""
    measured = rows.loc[(rows["cell"] == arm) & rows[column].notna(), ["seed", column]]
    return measured.set_index("seed")[column].astype(float)


def _levels(rows: pandas.DataFrame, column: str, arms: Iterable[str]) -> list:
    """List values of a setting at which every one of the arms was measured."""
    measured = [set(rows.loc[rows["cell"] == arm, column]) for arm in arms]
    return sorted(set.intersection(*measured))


SIZES = ("images", "wanted")  # of a set, in every row of results


def _table(
    rows: pandas.DataFrame, series: pandas.Series, *arms: str, **settings
) -> pandas.DataFrame:
    """Build rows whose accuracy was computed within a seed from the sets of `arms`.

    Sizes are those of the sets together. `levels` are the values of the setting that
    the numbers come from, where there are several.
    """
    part = rows[rows["cell"].isin(arms)]
    first = part.iloc[0].to_dict() | settings
    there = [name for name in SIZES if name in part]
    sizes = part.groupby("seed")[there].sum(min_count=1)
    lines = [
        first | sizes.loc[seed].to_dict() | {"seed": seed, "last": value}
        for seed, value in series.items()
    ]
    return pandas.DataFrame(lines, columns=[*first])


def _each(left: str, right: str, over: str, rows: pandas.DataFrame) -> list[Pair]:
    """List pairs of: one arm is higher at every value; none below two values."""
    result = []
    levels = _levels(rows, over, (left, right))
    for level in levels if len(levels) > 1 else []:
        part = rows[rows[over] == level]
        both = [(a, _values(part, a)) for a in (left, right)]
        result.append(tuple(_table(part, values, a) for a, values in both))
    return result


def _mean(left: str, right: str, rows: pandas.DataFrame) -> list[Pair]:
    """List one pair of means over the IPC settings; none below two of them."""
    levels = _levels(rows, "ipc", (left, right))
    if len(levels) < 2:
        return []
    return [tuple(_over(rows, arm, "ipc", levels).mean for arm in (left, right))]


class _Over(NamedTuple):
    mean: pandas.DataFrame
    spread: pandas.DataFrame
    values: pandas.DataFrame  # seeds x levels


def _over(rows: pandas.DataFrame, arm: str, over: str, levels: list) -> _Over:
    """Compute an arm's mean and standard deviation over a setting, within a seed."""
    parts = [_values(rows[rows[over] == level], arm) for level in levels]
    wide = pandas.concat(parts, axis=1, keys=levels).dropna()
    part = rows[rows[over].isin(levels)]
    settings = {over: np.nan, "levels": tuple(levels)}
    both = wide.mean(axis=1), wide.std(axis=1)
    return _Over(*(_table(part, s, arm, **settings) for s in both), wide)


def _steady(calm: str, other: str, rows: pandas.DataFrame) -> list[Pair]:
    """List one pair of standard deviations over beta; none below three windows."""
    levels = _levels(rows, "beta", (calm, other))
    if len(levels) < 3:
        return []
    return [tuple(_over(rows, arm, "beta", levels).spread for arm in (other, calm))]


def _grows(arms: tuple[str, ...], base: str, rows: pandas.DataFrame) -> list[Pair]:
    """List one pair: slopes of the mean gain of `arms` per doubled IPC, and zeros.

    None below three IPC settings.
    """
    levels = _levels(rows, "ipc", (*arms, base))
    if len(levels) < 3:
        return []
    values = [_over(rows, arm, "ipc", levels).values for arm in arms]
    gain = sum(values) / len(values) - _over(rows, base, "ipc", levels).values
    gain = gain.dropna()
    x = np.log2(np.array(levels, float))
    slopes = pandas.Series(
        [np.polyfit(x, line, 1)[0] for line in gain.to_numpy(float)], gain.index
    )
    settings = {"ipc": np.nan, "levels": tuple(levels)}
    both = (slopes, arms), (slopes * 0, (base,))
    return [tuple(_table(rows, s, *names, **settings) for s, names in both)]


def _rises(names: tuple[str, ...], rows: pandas.DataFrame) -> list[Pair]:
    """List pairs of: figures of CCFS rise from every phase (right) to the next (left).

    A lowest difficulty of 0 in every seed of two phases is left out: of counts and
    C-scores 0 is the least, so neither phase can have picked an easier image.
    """
    result = []
    for name in names:
        series = []
        while (column := f"phases.{len(series) + 1}.{name}") in rows:
            series.append(_values(rows, CCFS, column))
        series = [s for s in series if len(s)]  # other runs may have more phases
        for earlier, later in pairwise(series):
            if name == "low" and not (earlier.any() or later.any()):
                continue
            result.append(tuple(_table(rows, s, CCFS) for s in (later, earlier)))
    return result


def _harder(rows: pandas.DataFrame) -> list[Pair]:
    """List pairs of: a higher IPC picks harder images, phase by phase."""
    result = []
    levels = _levels(rows, "ipc", (CCFS,))
    for low, high in pairwise(levels):
        by_ipc = [rows[rows["ipc"] == level] for level in (high, low)]
        phase = 1
        while (column := f"phases.{phase}.mean") in rows:
            pair = [_values(part, CCFS, column) for part in by_ipc]
            if all(len(s) for s in pair):
                parts = zip(by_ipc, pair, strict=True)
                settings = {"levels": tuple(levels), "ipc": np.nan}
                result.append(tuple(_table(p, s, CCFS, **settings) for p, s in parts))
            phase += 1
    return result


def _networks(rows: pandas.DataFrame) -> list[Pair]:
    """List pairs of: CCFS over CDA, its initial images, on every network."""
    if "distillation.method" not in rows:
        return []
    cda = rows[rows["distillation.method"] == "cda"]
    # The filters' network is the default, and defaults are not filed.
    return _each(CCFS, "distilled", LEARNER, cda.fillna({LEARNER: ""}))


LEARNER = "evaluation_network"
PHASES, TWO = "figures of two phases of CCFS", "two IPC settings"
TRENDS = {
    "two-shot-mean": Trend("ipc", partial(_mean, "two-shot", "selmatch"), TWO),
    "reverse-mean": Trend("ipc", partial(_mean, "reverse", "selmatch"), TWO),
    "two-shot-max": Trend(
        "ipc", partial(_each, "two-shot", "selmatch", "ipc"), TWO, True
    ),
    "reverse-max": Trend(
        "ipc", partial(_each, "reverse", "selmatch", "ipc"), TWO, True
    ),
    "variants-gain-grows": Trend(
        "ipc",
        partial(_grows, ("two-shot", "reverse"), "selmatch"),
        "three IPC settings",
    ),
    "reverse-every-beta": Trend(
        "beta", partial(_each, "reverse", "selmatch", "beta"), "two windows"
    ),
    "reverse-stable-beta": Trend(
        "beta", partial(_steady, "reverse", "selmatch"), "three windows"
    ),
    "filter-train-accuracy-rises": Trend("", partial(_rises, ("train",)), PHASES),
    "filter-test-accuracy-rises": Trend("", partial(_rises, ("test",)), PHASES),
    "difficulty-mean-rises": Trend("", partial(_rises, ("mean",)), PHASES),
    "difficulty-bounds-rise": Trend("", partial(_rises, ("low", "high")), PHASES),
    "ccfs-over-cda-on-five-networks": Trend(
        LEARNER, _networks, "CCFS and its distilled images on two networks"
    ),
    "higher-ipc-harder": Trend("ipc", _harder, "CCFS at two IPC settings"),
}
