"""The verdict on a claim over all its tests: which are independent, and which count.

A claim holds only if it holds in every run that tests it. Where some runs are too close
to call the verdict says so; where runs contradict each other it is mixed. Runs are
independent evidence only where another teacher was trained (in Section 3: other
experts). IPC settings and ablations reuse teacher, distilled images and counted scores,
so they are not independent evidence. Runs of one data set also share its published
difficulty scores.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas

from ccfs_lib import results
from ccfs_lib.claims import arms
from ccfs_lib.claims.compare import CCFS, FAILS, HOLDS
from ccfs_lib.claims.trends import LEARNER, TRENDS, Pair
from ccfs_lib.experiment import SMALLEST_CLASS

UNTESTED = "not tested here"
MIXED = "mixed"  # for in some runs, against in others
# Where the others are too close to call.
HOLDS_IN_SOME, FAILS_IN_SOME = "holds in some", "fails in some"
# Data that illustrate the method: no evidence for or against the paper's claims.
SHOWN_ONLY = {"digits"}
# The settings that determine a teacher or a set of experts.
SOURCE = ("train", "test", "teacher_network", "teacher", "teacher_seed")
SOURCE += ("matcher", "experts", "expert")


class Badge(NamedTuple):
    """The verdict on a claim over all tests that count, and their numbers."""

    claim: str
    verdict: str  # one of `summed`, or UNTESTED
    runs: int = 0
    sources: int = 0  # independent ones among them
    shown_only: int = 0  # lines that are no evidence


def load(folder: str | Path) -> pandas.DataFrame:
    """Read all results (`results.load`), of each run the rows of one teacher.

    A run whose arms two machines measured has two teachers, and what one of them taught
    is not compared with what the other did. Kept is the teacher of CCFS's rows, or of
    the first. Rows that name no teacher stay.
    """
    rows = results.load(folder)
    if "teacher_last" not in rows:
        return rows
    known = rows[rows["teacher_last"].notna()]
    # CCFS's first, then in the order of the table.
    known = known.sort_values("cell", key=lambda cell: cell != CCFS, kind="stable")
    kept = rows["run"].map(known.groupby("run")["teacher_last"].first())
    return rows[rows["teacher_last"].isna() | (rows["teacher_last"] == kept)]


def source(row) -> str:
    """Return an identifier of a run's data and teacher, equal where they are shared.

    row: of `results.load`. The digest of the training data's fingerprint and of every
    setting of teacher and experts.
    """
    names = [n for n in row.index if n.split(".")[0] in SOURCE and _there(row[n])]
    settings = {name: str(row[name]) for name in sorted(names)}
    settings = settings or {"dataset": str(row.get("dataset", ""))}
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]


def _there(value) -> bool:
    return value is not None and value == value and value != ""


def badge(claim: str, lines: pandas.DataFrame) -> Badge:
    """Sum up the lines of one claim, of `ledger.ledger`; digits never decide."""
    lines = lines[lines["verdict"] != UNTESTED]
    counted = lines[lines["counts"].astype(bool)]
    aside = len(lines) - len(counted)
    if counted.empty:
        return Badge(claim, UNTESTED, shown_only=aside)
    word = summed(counted["verdict"])
    return Badge(claim, word, len(counted), counted["source"].nunique(), aside)


def summed(verdicts: Iterable[str]) -> str:
    """Return one word for the verdicts of several tests, at least one.

    One of `compare.VERDICTS` where all say it, else HOLDS_IN_SOME, FAILS_IN_SOME or
    MIXED.
    """
    words = set(verdicts)
    if len(words) == 1:
        return words.pop()
    if {HOLDS, FAILS} <= words:
        return MIXED
    return HOLDS_IN_SOME if HOLDS in words else FAILS_IN_SOME


def covered(claim, lines: pandas.DataFrame) -> tuple[int, int]:
    """Count the paper's cells (data set, IPC) that were measured, and all of them.

    claim: a row of `paper.claims()`; lines: those of it in `ledger.ledger`. The network
    is ours in all of them. A part of a data set, and digits, are no cell of the paper.
    """
    cells, measured = arms.cells(claim), set()
    over_ipc = claim.id in TRENDS and TRENDS[claim.id].over == "ipc"
    for line in lines[lines["verdict"] != UNTESTED].itertuples():
        every = line.levels if over_ipc else (line.ipc,)
        if not line.part:
            measured |= {(line.dataset.removesuffix("-jpeg"), ipc) for ipc in every}
    return len(cells & measured), len(cells)


def learners(claim, lines: pandas.DataFrame) -> tuple[int, int]:
    """Count the paper's evaluation networks that were measured, and all of them.

    claim and lines: as for `covered`. Both are 0 for claims of one network.
    """
    known = arms.learners(claim)
    measured = {name for levels in lines["levels"] for name in levels}
    return len(known & measured), len(known)


def where(claim, pairs: Sequence[Sequence[Pair]], rows: Pair) -> dict:
    """Say where a line comes from, as entries of `ledger.Line`.

    claim: a row of `paper.claims()`; pairs: all of the claim's sides; rows: the pair
    whose difference is shown.
    """
    first = rows[0].iloc[0]
    place = {k: str(first.get(k, "")) for k in ("run", "dataset", "scale", "network")}
    if isinstance(learner := first.get(LEARNER), str) and learner:
        place["network"] = f"{learner}, filters {place['network']}"
    place["part"] = ", ".join(
        f"{first[name]:.0f} {unit}"
        for name, unit in (("classes", "classes"), ("image_size", "pixels"))
        if first.get(name, 0) > 0  # absent or nan: whole
    )
    return place | {
        "ipc": float(first.get("ipc", math.nan)),
        "alpha": float(first.get("alpha", math.nan)),
        "score": str(first.get("score", "")),
        "levels": _levels(claim, pairs),
        "class_size": float(SMALLEST_CLASS.get(place["dataset"], math.nan)),
        "source": source(first),
        "counts": place["dataset"] not in SHOWN_ONLY,
    }


def _levels(claim, pairs: Sequence[Sequence[Pair]]) -> tuple:
    """List values of the setting that a claim is tested over; () for other claims."""
    over, levels = TRENDS[claim.id].over if claim.id in TRENDS else "", set()
    for first in (pair[0].iloc[0] for row in pairs for pair in row if over):
        several = first.get("levels")
        value = first[over] or first["network"]  # "": the filters' network
        levels |= {*several} if isinstance(several, tuple) else {value}
    return tuple(sorted(levels))


def set_sizes(rows: Pair) -> dict:
    """Count the images of both sets and those that were wanted, means over seeds."""
    left, right = ({n: _mean(part, n) for n in ("images", "wanted")} for part in rows)
    return {
        "made": left["images"],
        "made_right": right["images"],
        "wanted": left["wanted"],
        "wanted_right": right["wanted"],
    }


def _mean(rows: pandas.DataFrame, name: str) -> float:
    if name not in rows:
        return math.nan
    return float(pandas.to_numeric(rows[name]).mean())
