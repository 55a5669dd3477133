"""A table of the paper as printed, and beside it the columns of our runs.

A column of ours is one group of rows under equal settings, but for the setting that the
table itself varies. Only runs on photographs of the paper's data sets come here: the
digits are a tutorial, and the paper has nothing to put beside them.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import findings
import pandas
from pages import ROOT

from ccfs_lib import table1
from ccfs_lib.arms import CCFS
from ccfs_lib.claims import compare
from ccfs_lib.claims.trends import LEARNER
from ccfs_lib.experiment import presets
from ccfs_lib.report import forest
from ccfs_lib.report.text import DASH, count, plus_minus

DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "tiny-imagenet": "Tiny-ImageNet",
}
NOT = "not measured"
HALF = "mean ± half of the 95\N{NO-BREAK SPACE}% t interval over seeds"
LAST = f"Ours: test accuracy after the last epoch, {HALF}"
BEST = f"{LAST}; the paper's: the best epoch, by the authors' code."
# Of Table 1: SelMatch's evaluation, whose rows seem to be copied, has the last epoch.
PRINTED = (
    f"{LAST}; the paper's: ± as printed (in the authors' code the standard deviation "
    "of five evaluations of one selection); the best epoch for CCFS, by that code; the "
    "last one for rows taken from SelMatch."
)


@dataclass(frozen=True)
class Column:
    """What one group of our rows has for the rows of a table."""

    rows: pandas.DataFrame
    cells: dict[str, pandas.DataFrame]  # of the table's rows, those that are measured
    printed: frozenset = field(default=frozenset(), kw_only=True)  # the paper's rows

    @property
    def head(self) -> str:
        """The column's head, after "ours"."""
        return self.size

    @property
    def size(self) -> str:
        """IPC, and what is smaller than the paper's: "IPC 100, 16 px"."""
        first = self.rows.iloc[0]
        parts = ["JPEG"] * str(first.get("dataset")).endswith("-jpeg")
        for name, unit in (("classes", "classes"), ("image_size", "px")):
            parts += [f"{first[name]:.0f} {unit}"] if first.get(name, 0) > 0 else []
        return ", ".join([f"IPC {first.ipc:.0f}", *parts])

    @property
    def network(self) -> str:
        """The network that learns, as the field writes it."""
        return forest.network(str(self.rows.iloc[0].get("network")))

    @property
    def teacher(self) -> str:
        """Which teacher it has, of several of one recipe: ", teacher 2"."""
        return forest.teacher(self.rows.iloc[0])

    @property
    def files(self) -> list[tuple[str, str]]:
        """(run, cell) of every results file that the column shows."""
        used = [(r, c) for rows in self.cells.values() for r, c in _files(rows)]
        return list(dict.fromkeys(used))

    def legend(self) -> str:
        """Describe in one line what the column is of."""
        first = self.rows.iloc[0]
        seeds = max(rows.seed.nunique() for rows in self.cells.values())
        network = f"{first.get('network')}, {first.scale} scale, {count(seeds, 'seed')}"
        run = min(self.rows.run.unique(), key=len)  # the others name their setting, too
        name = f"{self.head}, {self.network}{self.teacher}"
        return f"- *{name}*: {first.dataset}, {network}; `{run}`"

    def __str__(self) -> str:
        """Describe in a few words what it is of."""
        data = str(self.rows.dataset.iloc[0]).removesuffix("-jpeg")
        name = DATASETS.get(data, data)
        return f"{name}, {self.size}, {self.network}{self.teacher}"

    def share(self, noun: str) -> str:
        """Say how many of the paper's rows it has, and what it is of."""
        if not self.printed:
            return str(self)
        here = len(self.printed & set(self.cells))
        return f"{here} of {len(self.printed)} {noun} ({self})"

    def value(self, row: str) -> str:
        """Format a row's last accuracy: mean and half of its interval."""
        rows = self.cells.get(row)
        return DASH if rows is None else plus_minus([float(v) for v in rows["last"]])


@dataclass
class Item:
    """A table or figure of the paper, and what stands beside it."""

    name: str  # "Table 1"
    title: str
    shows: str
    body: str = ""  # MyST: tables
    columns: list[Column] = field(default_factory=list)  # ours, in the body
    chapters: tuple[str, ...] = ()  # stems of notebooks
    commands: list[str] = field(default_factory=list)  # for the paper's own cells
    where: str = ""  # MyST: counterparts that are no chapters
    dataset: str = ""  # the one that it is about
    kind: str = ""  # what ours is, where it is no column
    size: str = ""  # IPC of a figure that shows one set
    noun: str = "rows"  # what the rows of the paper's table are

    @property
    def anchor(self) -> str:
        """The label of its section."""
        return "paper-" + self.name.lower().replace(" ", "-")


def _files(rows: pandas.DataFrame) -> list[tuple[str, str]]:
    name = "file" if "file" in rows else "cell"  # that of the method, `items.worked`
    return list(rows[["run", name]].drop_duplicates().itertuples(index=False))


def of(rows: pandas.DataFrame, dataset: str, any_learner=False) -> pandas.DataFrame:
    """Select our rows of a data set of the paper, JPEG or not.

    any_learner: also of networks that learn from sets which others selected. Without
    rows of held-out images, which are no test split.
    """
    selection = rows[rows["dataset"].astype(str).str.removesuffix("-jpeg") == dataset]
    if "holdout" in selection:
        selection = selection[~(selection["holdout"].astype(float) > 0)]
    if any_learner or LEARNER not in selection:
        return selection
    return selection[selection[LEARNER].fillna("") == ""]


def groups(rows: pandas.DataFrame, apart=()) -> Iterator[pandas.DataFrame]:
    """Yield rows under equal settings but for those `apart`.

    The paper's scale first, then by IPC and run.
    """
    if rows.empty:
        return
    columns = compare.settings(rows, apart)
    families = [
        family for _, family in rows.groupby(columns or "run", dropna=False, sort=False)
    ]

    def order(family: pandas.DataFrame) -> tuple:
        first = family.iloc[0]
        return first.get("scale") != "paper", first.ipc, family.run.min()

    yield from sorted(families, key=order)


def columns(
    rows: pandas.DataFrame, arms: dict[str, dict], apart=(), least=2, also=()
) -> list[Column]:
    """Build our columns for a table: groups that have at least `least` of its rows.

    arms: per row of the table, what ours has to be: column -> allowed values, best
    first. also: cells that count towards `least` without being shown.
    """
    result = []
    wanted = {*also, *(cell for arm in arms.values() for cell in arm["cell"])}
    for family in groups(rows[rows["cell"].isin(wanted)], apart):
        cells = {name: pick(family, arm) for name, arm in arms.items()}
        cells = {name: part for name, part in cells.items() if len(part)}
        if cells and len(cells) + len(set(also) & set(family["cell"])) >= least:
            result.append(Column(family, cells))
    return result


def pick(rows: pandas.DataFrame, arm: dict[str, tuple]) -> pandas.DataFrame:
    """Select the rows of an arm; none where a column or a value is missing."""
    for column, values in arm.items():
        present = [v for v in values if column in rows and (rows[column] == v).any()]
        rows = rows[rows[column] == present[0]] if present else rows.iloc[:0]
    return rows


def ccfs(column: str, *values) -> dict[str, tuple]:
    """Describe the arm CCFS where one setting has one of these values."""
    return {"cell": (CCFS,), column: values}


def heads(columns: list[Column]) -> list[str]:
    """Return the heads of our columns; network and teacher tell equal ones apart."""
    result = [f"ours, {column.head}" for column in columns]
    for more in ([f", {c.network}" for c in columns], [c.teacher for c in columns]):
        if len(set(result)) < len(result):
            result = [head + name for head, name in zip(result, more, strict=True)]
    return result


def table(
    caption: str,
    label: str,
    printed: pandas.DataFrame,
    columns: list[Column],
    first: str,
) -> str:
    """Write one table: the paper's columns, then ours; MyST, with legend and remark.

    printed: the paper's cells as text, one row per row of the table. Rows that only
    ours have come last.
    """
    extra = dict.fromkeys(r for c in columns for r in c.cells if r not in printed.index)
    titles = [*map(str, printed.columns), *heads(columns)]
    lines = [f"| {first} | {' | '.join(titles)} |", "|:--|" + "--:|" * len(titles)]
    for row in [*printed.index, *extra]:
        printed_cells = (
            printed.loc[row] if row in printed.index else [DASH] * printed.shape[1]
        )
        values = [column.value(row) for column in columns]
        lines.append(f"| {row} | {' | '.join([*printed_cells, *values])} |")
    parts = [findings.captioned(caption, label, lines)]
    if columns:
        parts.append("\n".join(column.legend() for column in columns) + "\n")
    missing = [row for row in printed.index if not any(row in c.cells for c in columns)]
    if len(missing) == len(printed):
        parts.append(f"Ours: {NOT}.\n")
    elif missing:
        parts.append(f"Of these, not in our columns: {'; '.join(missing)}.\n")
    return "\n".join(parts)


def pivot(frame: pandas.DataFrame, row: pandas.Series):
    """Format the paper's accuracies: a row per value of `row`, a column per IPC.

    frame: of one data set; row: the names of these lines and of the table's others,
    which have no number there.
    """
    text = frame.accuracy.map("{:.1f}".format)
    if "std" in frame:
        text += frame["std"].map(lambda s: "" if math.isnan(s) else f" ± {s:.1f}")
    full = frame.ipc == presets.CLASS_SIZE[frame.dataset.iloc[0]]
    heads = frame.ipc.map("IPC {}".format).where(~full, "all")
    wide = pandas.DataFrame({"row": row.loc[frame.index], "head": heads, "text": text})
    wide = wide.pivot(index="row", columns="head", values="text")
    return wide.reindex(index=row.unique(), columns=heads.unique()).fillna(DASH)


def commands(columns: list[Column], root: Path = ROOT) -> list[str]:
    """List the commands that measured what the columns show, from their files.

    Without rows and arms that a command names but of which the run has no results.
    """
    lines = []
    for run, cell in dict.fromkeys(file for c in columns for file in c.files):
        path = root / "data" / "results" / run / f"{cell}.json"
        command = json.loads(path.read_text("utf-8"))["provenance"]["command"] or ""
        cells = {file.stem for file in path.parent.glob("*.json")}
        lines.append(_filed(command, cells))
    return [command for command in dict.fromkeys(lines) if command.startswith("ccfs ")]


def _filed(command: str, cells: set[str]) -> str:
    """Cut the names after --rows and --arms to those that have one of these cells."""

    def filed(name: str) -> bool:
        row = table1.BY_NAME.get(name)
        # A function has another name there, other images by SRe2L another run.
        elsewhere = ":" in name or (row and row.method != "cda")
        return bool(elsewhere or any(_cells(name) & {c, _plain(c)} for c in cells))

    def cut(found: re.Match) -> str:
        kept = list(filter(filed, found[2].split()))
        return f"{found[1]} {' '.join(kept)}" if kept else found[0]

    return re.sub(r"(--(?:rows|arms))((?: +(?!-)\S+)+)", cut, command)


def _plain(cell: str) -> str:
    """Return a cell of Table 1 without its options: dsa-10-teacher is dsa's."""
    names = [name for name in table1.BY_NAME if cell.startswith(f"{name}-")]
    return max(names, key=len, default=cell)


def _cells(name: str) -> set[str]:
    """List the cells under which a row or an arm of a command may be filed."""
    row = table1.BY_NAME.get(name)
    return {name, f"{name}-teacher"} | {arm for _, arm in (row.arms if row else ())}
