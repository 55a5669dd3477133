"""The page of what is measured and what is not: rows of the planned commands.

book/planned.yaml lists what the book wants measured, as commands that anybody can run.
Which of their rows are filed is read from data/results, so a line changes by itself.
"""

import math
import shlex
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import findings
import tyro
import yaml
from pages import ROOT

from ccfs_lib import results, table1
from ccfs_lib.arms import parse
from ccfs_lib.cli import COMMANDS
from ccfs_lib.commands.run import Match, Sweep
from ccfs_lib.commands.table1 import Table1
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import table1 as recipes
from ccfs_lib.report.text import count

FIELDS = {"about", "minutes", "commands"}


@dataclass(frozen=True)
class Plan:
    """Some measurements that belong together, and how many of their rows there are."""

    about: str
    commands: tuple[str, ...]  # those of which rows are missing
    minutes: float  # of a core, for a row
    wanted: frozenset  # run, cell and seed of every row
    missing: frozenset  # of these; without rows that an earlier line counts

    @property
    def hours(self) -> float:
        """Hours of a core for the rows that are missing."""
        return len(self.missing) * self.minutes / 60


def read(root: Path = ROOT) -> list[Plan]:
    """Read book/planned.yaml, and count the rows; raises InputError for a mistake."""
    entries = yaml.safe_load((root / "book" / "planned.yaml").read_text("utf-8"))
    try:
        rows = results.load(root / "data" / "results")
        known = set(zip(rows["run"], rows["cell"], rows["seed"], strict=True))
    except InputError:  # nothing measured yet
        known = set()
    plans = []
    with chdir(root):  # paths in commands are the project's
        for entry in entries:
            plans.append(_plan(entry, known))
            known |= plans[-1].missing
    return plans


def _plan(entry: dict, known: set) -> Plan:
    if odd := set(entry) ^ FIELDS:
        raise InputError(f"book/planned.yaml: {sorted(odd)[0]} is missing or unknown")
    left, wanted = [], set()
    for line in entry["commands"]:
        line = line if isinstance(line, dict) else {"run": "", "command": line}
        rows = cells(line["command"], line["run"])
        left += [line["command"]] * bool(rows - known)
        wanted |= rows
    missing = frozenset(wanted - known)
    about, minutes = entry["about"], entry["minutes"]
    return Plan(about, tuple(left), minutes, frozenset(wanted), missing)


def cells(command: str, run: str = "") -> set[tuple[str, str, int]]:
    """List the rows that a command files: run, cell and seed.

    run: its results' folder, if the command's files are not here, such as images that
    it begins with. Raises InputError for what files no rows, or has a fault.
    """
    try:
        asked = tyro.cli(COMMANDS, args=shlex.split(command)[1:])
    except SystemExit:
        asked = None
    if not isinstance(asked, Sweep | Match | Table1):
        raise InputError(f"book/planned.yaml: {command!r} files no rows")
    if isinstance(asked, Table1):
        return _rows(asked)
    if run:
        seeds = asked.choice.seeds or 0
        return {(run, arm, seed) for arm in asked.arms for seed in range(seeds)}
    if isinstance(asked, Match):
        runs = asked.runs()
    else:
        runs = asked.choice.experiments()
        for arm in asked.arms:
            parse(arm)
    return {
        (run.run, arm, seed)
        for run in runs
        for arm in asked.arms
        for seed in range(getattr(run, "experiment", run).seeds)
    }


def _rows(asked: Table1) -> set[tuple[str, str, int]]:
    e, choices, found = asked.choice.experiment(), asked.choices(), set()
    for row in map(table1.parse, asked.rows):
        run = recipes.sre2l(e).run if row.method == "sre2l" else e.run
        names = table1.cells(row, choices, asked.panels).values()
        found |= {(run, cell, seed) for cell in names for seed in range(e.seeds)}
    return found


def write_up(root: Path = ROOT) -> str:
    """Write a table of what is planned, and the commands that are left (MyST)."""
    plans = read(root)
    lines = ["| measurement | rows | left |", "|:--|--:|--:|"]
    for plan in plans:
        there = f"{len(plan.wanted) - len(plan.missing)} of {len(plan.wanted)}"
        lines.append(f"| {plan.about} | {there} | {_left(plan)} |")
    caption = (
        "Measurements that are planned or begun: rows that are filed or in a line "
        "above, of those wanted, and what the others take, in hours of one CPU core."
    )
    rows = sum(len(p.missing) for p in plans)
    total = math.ceil(sum(p.hours for p in plans))
    parts = [
        f"{count(rows, 'row')} {'is' if rows == 1 else 'are'} missing, about "
        f"{count(total, 'hour')} of a core.",
        "",
        findings.captioned(caption, "tab-planned", lines),
    ]
    for plan in filter(lambda plan: plan.commands, plans):
        body = "\n".join(plan.commands)
        parts += [f"::::{{dropdown}} {plan.about}\n```bash\n{body}\n```\n::::", ""]
    return "\n".join(parts)


def _left(plan: Plan) -> str:
    return f"{plan.hours:.1f} h" if plan.missing else "\N{EN DASH}"
