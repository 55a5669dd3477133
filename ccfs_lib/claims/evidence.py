"""What the lines of a claim say together: which are independent, and which count.

A claim is said to hold only if every run that tests it says so; where runs differ it is
mixed. Runs are independent evidence only where another teacher was trained (in Section
3: other experts): IPC settings and ablations that share one have its distilled images,
and scores counted with it, in common. Even then runs of one data set share what others
have published of it, its difficulty scores above all.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas

from ccfs_lib.claims import arms
from ccfs_lib.claims.trends import LEARNER, TRENDS, Pair
from ccfs_lib.experiment import SMALLEST_CLASS

UNTESTED = "not tested here"
MIXED = "mixed"
# Data that show how the method works, in seconds: nothing follows for the paper's.
SHOWN_ONLY = {"digits"}
# What a teacher or a set of experts is made of, but for its seed, which never changes.
SOURCE = ("train", "test", "teacher_network", "teacher", "matcher", "experts", "expert")


class Badge(NamedTuple):
    """All that counts of a claim's lines, in one word and how many say what."""

    claim: str
    verdict: str  # one of compare.VERDICTS, MIXED or UNTESTED
    runs: int = 0
    sources: int = 0  # independent ones among them
    shown_only: int = 0  # lines that are no evidence


def source(row) -> str:
    """Name what a run's evidence comes from: equal names share data and teacher.

    row: of `results.load`. The digest of the training data's fingerprint and of every
    setting of teacher and experts.
    """
    names = [n for n in row.index if n.split(".")[0] in SOURCE and _there(row[n])]
    told = {name: str(row[name]) for name in sorted(names)}
    told = told or {"dataset": str(row.get("dataset", ""))}
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def _there(value) -> bool:
    return value is not None and value == value and value != ""


def badge(claim: str, lines: pandas.DataFrame) -> Badge:
    """Sum up the lines of one claim, of `ledger.ledger`; digits never decide."""
    lines = lines[lines["verdict"] != UNTESTED]
    own = lines[lines["counts"].astype(bool)]
    aside = len(lines) - len(own)
    if own.empty:
        return Badge(claim, UNTESTED, shown_only=aside)
    words = set(own["verdict"])
    word = words.pop() if len(words) == 1 else MIXED
    return Badge(claim, word, len(own), own["source"].nunique(), aside)


def covered(claim, lines: pandas.DataFrame) -> tuple[int, int]:
    """How many of the paper's cells (data set, IPC) were measured, and how many it has.

    claim: a row of `paper.claims()`; lines: its own, of `ledger.ledger`. The network is
    ours in all of them. A part of a data set, and digits, are no cell of the paper.
    """
    cells, found = arms.cells(claim), set()
    over_ipc = claim.id in TRENDS and TRENDS[claim.id].over == "ipc"
    for line in lines[lines["verdict"] != UNTESTED].itertuples():
        every = line.levels if over_ipc else (line.ipc,)
        if not line.part:
            found |= {(line.dataset.removesuffix("-jpeg"), ipc) for ipc in every}
    return len(cells & found), len(cells)


def learners(claim, lines: pandas.DataFrame) -> tuple[int, int]:
    """How many of the paper's evaluation networks were measured, and how many it has.

    claim and lines: as for `covered`. Both are 0 for claims of one network.
    """
    known = arms.learners(claim)
    found = {name for levels in lines["levels"] for name in levels}
    return len(known & found), len(known)


def where(claim, own: Sequence[Sequence[Pair]], rows: Pair) -> dict:
    """Say where a line comes from, as entries of `ledger.Line`.

    claim: a row of `paper.claims()`; own: all pairs of the claim's sides; rows: the
    pair whose difference is shown.
    """
    first = rows[0].iloc[0]
    told = {k: str(first.get(k, "")) for k in ("run", "dataset", "scale", "network")}
    if isinstance(learner := first.get(LEARNER), str) and learner:
        told["network"] = f"{learner}, filters {told['network']}"
    told["part"] = ", ".join(
        f"{first[name]:.0f} {unit}"
        for name, unit in (("classes", "classes"), ("image_size", "pixels"))
        if first.get(name, 0) > 0  # absent or nan: whole
    )
    return told | {
        "ipc": float(first.get("ipc", math.nan)),
        "levels": _levels(claim, own),
        "class_size": float(SMALLEST_CLASS.get(told["dataset"], math.nan)),
        "source": source(first),
        "counts": told["dataset"] not in SHOWN_ONLY,
    }


def _levels(claim, own: Sequence[Sequence[Pair]]) -> tuple:
    """Values of the setting that a claim is tested over; () for other claims."""
    over, found = TRENDS[claim.id].over if claim.id in TRENDS else "", set()
    for first in (pair[0].iloc[0] for row in own for pair in row if over):
        several = first.get("levels")
        value = first[over] or first["network"]  # "": the filters' own learner
        found |= {*several} if isinstance(several, tuple) else {value}
    return tuple(sorted(found))


def made(rows: Pair) -> dict:
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
