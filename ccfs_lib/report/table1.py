"""Chapter 16: Table 1, every row, as published and under the same teacher for all.

Rows are read from results files (`ccfs_lib.table1` measures them); what a set costs is
counted from its settings, and the minutes are those that the store remembers.
"""

import json
import math
from collections.abc import Sequence

import pandas
from matplotlib.ticker import Locator, LogLocator, MaxNLocator, NullFormatter

from ccfs_lib import cost, paper
from ccfs_lib.claims.compare import by_seed
from ccfs_lib.cost import Stage
from ccfs_lib.experiment import Experiment, datasets
from ccfs_lib.pipeline.measure import measured_rows
from ccfs_lib.pipeline.table1 import Table1Pipeline
from ccfs_lib.pipeline.work import Work, work
from ccfs_lib.report.arms import SHOWN
from ccfs_lib.report.charts import Line, beside, intervals
from ccfs_lib.report.style import PALETTE, canvas, drawn, legend
from ccfs_lib.report.text import (
    DASH,
    MINUS,
    SPACE,
    Text,
    listed,
    means,
    percent,
    plus_minus,
    table,
    verdict,
)
from ccfs_lib.statistics import Difference, difference
from ccfs_lib.store import RECORD, Missing, ReadOnlyStore
from ccfs_lib.table1 import (
    DEFAULT,
    PANELS,
    SHARED,
    Choices,
    Panel,
    Row,
    cells,
    parse,
)

OWN = ("self-evolved", "cudd")  # rows with settings of ours, not of a publication
GREY = '<span style="color:#6B747C">{}</span>'
COLOURS = {"real": "green", "distilled": "orange", "both": "blue", "all": "grey"}
FAMILIES = {"real": "real images", "distilled": "distilled", "both": "both"}


class Clock(ReadOnlyStore):
    """A store that computes nothing, and sums the seconds of what it reads."""

    def __init__(self, store):
        super().__init__(store.root, store.shipped)
        self.seconds: dict[str, float] = {}

    def get(self, kind, recipe, compute):
        """Read an artefact; Missing where there is none."""
        artefact = super().get(kind, recipe, compute)
        record = json.loads((artefact.path / RECORD).read_text())
        self.seconds[artefact.key] = record["seconds"]
        return artefact


class Read:
    """What was measured of Table 1: rows of results by row and protocol.

    names: rows, in the order of the table; those without results are left out, as are
    seeds that the experiment does not ask for. panels: only these are read.
    """

    def __init__(
        self,
        experiment: Experiment,
        names: Sequence[str],
        choices: Choices = DEFAULT,
        panels: Sequence[Panel] = PANELS,
    ):
        self.panels = panels
        self.table = Table1Pipeline(experiment, choices)
        self.found: dict[tuple[str, str], pandas.DataFrame] = {}
        self.rows: list[Row] = []
        for row in map(parse, names):
            for protocol, cell in cells(row, choices, panels).items():
                part = _load(self.table.stages(row).experiment, cell)
                if len(part):
                    self.found[row.name, protocol] = part
                    self.rows += [row] if row not in self.rows else []
        self.work = {row.name: self._work(row) for row in self.rows}

    def _work(self, row: Row) -> Work:
        """Return the work of a row: as it was filed, or counted from the settings."""
        filed = next(part for (name, _), part in self.found.items() if name == row.name)
        if "passes" not in filed or filed["passes"].isna().any():
            return work(self.table, row)
        passes, share = int(filed["passes"].iloc[0]), float(filed["share"].iloc[0])
        return Work([Stage("set", passes, 0, "")], round(passes / max(share, 1e-9)))

    def panel(self, shared: bool) -> dict[str, pandas.DataFrame]:
        """Return row -> its results: as published, or under the same teacher.

        That is CCFS's, or the first row's, as in `claims.evidence.load`: what another
        machine's teacher taught is left out. Empty where that panel is not asked for.
        """
        chosen = {}
        if not self.asks(shared):
            return chosen
        for row in self.rows:
            wanted = SHARED if shared else row.protocol
            if (row.name, wanted) in self.found and not (shared and row.after):
                chosen[row.name] = self.found[row.name, wanted]
        if not shared:
            return chosen
        teachers = {name: teacher_of(rows) for name, rows in chosen.items()}
        one = teachers.get("ccfs", next(iter(teachers.values()), None))
        return {n: rows for n, rows in chosen.items() if teachers[n] == one}

    def asks(self, shared: bool) -> bool:
        """Whether the panel with the same teacher for all, or the other, is read."""
        return PANELS[shared] in self.panels

    def other_teacher(self) -> list[str]:
        """List the rows that the shared panel leaves out for their teacher."""
        there = [name for name, protocol in self.found if protocol == SHARED]
        kept = self.panel(True)
        return [n for n in there if n not in kept and not self.row(n).after]

    def row(self, name: str) -> Row:
        """Return the row of a name."""
        return next(row for row in self.rows if row.name == name)

    def grey(self, name: str) -> bool:
        """Whether a row got too little of the published work to speak for a method."""
        return not self.work[name].enough

    def spent(self, name: str, shared: bool) -> Work:
        """Return the work of a row's set in a panel; the oracle has a set in each."""
        if shared and name == "oracle-window":
            return work(self.table, self.row(name), SHARED)
        return self.work[name]

    def minutes(self, row: Row) -> str:
        """Return how long the set of the first seed took here, from the store.

        With what it begins from, such as a teacher or experts.
        """
        clock = Clock(self.table.store)
        timed = Table1Pipeline(self.table.experiment, self.table.choices, clock)
        try:
            timed.built(row, 0)
            if "experts" in row.needs:  # a kept match does not read them
                _ = timed.section3(row.name).buffer
        except (Missing, KeyError):
            return DASH
        spent = sum(clock.seconds.values())
        return f"{spent:.0f} s" if spent < 600 else cost.duration(spent)


def _load(experiment: Experiment, cell: str) -> pandas.DataFrame:
    try:
        rows = measured_rows(experiment)
    except ValueError:  # nothing of this run yet
        return pandas.DataFrame()
    return rows[rows["cell"] == cell]


def teacher_of(rows: pandas.DataFrame) -> str:
    """Tell teachers of one recipe apart: on another machine it is another one."""
    return str(rows["teacher_last"].iloc[0]) if "teacher_last" in rows else ""


def printed(row: Row, experiment: Experiment) -> float | None:
    """Return what the paper prints for a row at this data set and IPC, or None.

    Of images that were shrunk it is the number at their full size: `_theirs` says so.
    """
    dataset = "" if experiment.classes else experiment.dataset.removesuffix("-jpeg")
    if row.name == "full":
        return paper.full(dataset) if dataset else None
    try:
        return paper.value(1, method=row.name, dataset=dataset, ipc=experiment.ipc)
    except ValueError:
        return None


HEAD = ["row", "accuracy", "at best epoch", "{theirs}", "seeds", "images"]
HEAD += ["passes (M)", "share", "here", "MB"]


def panel(read: Read, shared: bool = False) -> Text:
    """Tabulate one panel: as published, or with the same teacher for all."""
    if not read.asks(shared):
        return Text(f"Left out here: this page has the panel {read.panels[0]!r} only.")
    body = [
        [GREY.format(cell) for cell in line] if grey else line
        for grey, line in _body(read, shared)
    ]
    rows = read.panel(shared)
    seeds = max(map(len, rows.values()), default=0)
    after = any(read.row(name).after for name in rows)
    how = (
        "The same teacher for all: every set under CCFS's distillation."
        if shared
        else "As published: each row by the protocol that its printed number comes "
        f"from.{' The last row is a recipe published after the paper.' * after}"
    )
    caption = (
        f"{how} Test accuracy after the last epoch, percent, {means(seeds)}; "
        "at best epoch: the mean of the best, which the test split chooses. "
        "Passes: millions of images through a network to build one set"
        f"{_each_window(read, shared)}; share: of the work with the published "
        f"settings, none where nothing is built{_ours(read, shared)}; "
        "here: wall time on this machine, other work beside it included; MB: size of "
        f"the set{_kept(read, shared)}.{_limit(read, shared)} "
        "Difficulty scores that others published are free here. Grey: less "
        f"than a tenth of the published work. {DASH}: no epoch before the last was "
        "better or tested, not printed, or not known."
    )
    return table(caption, _head(read), body)


def _each_window(read: Read, shared: bool) -> str:
    """Say that an oracle's seeds and held-out images are not counted."""
    there = "oracle-window" in read.panel(shared)
    return " (of the oracle: each window learned once)" * there


def _ours(read: Read, shared: bool) -> str:
    """Say of which rows the settings are our own, so that their share is of ours."""
    names = [
        read.row(n).title.partition(" (")[0] for n in OWN if n in read.panel(shared)
    ]
    return f"; {listed(names)}: of our own settings" * bool(names)


def _kept(read: Read, shared: bool) -> str:
    """Say what becomes of learned pixels and labels where the teacher gives answers."""
    rows = map(read.row, read.panel(shared))
    learned = [r for r in rows if "budget" in r.options and r.protocol != SHARED]
    said = ", its learned pixels rounded to bytes and without labels of its own"
    return said * bool(shared and learned)


def _limit(read: Read, shared: bool) -> str:
    """Say how many minutes the distillation of a set may take, if they are given."""
    minutes = read.table.choices.budget
    limited = any("budget" in read.row(n).options for n in read.panel(shared))
    if minutes is None or not limited:
        return ""
    some = f"{minutes:g}{SPACE}minute{'s' * (minutes != 1)}"
    return (
        f" The distillation of a set may take {some} of a core; what it begins from, "
        "such as experts, comes on top."
    )


def _head(read: Read) -> list[str]:
    theirs = _theirs(read.table.experiment)
    return [h.format(theirs=theirs) for h in HEAD]


def _body(read: Read, shared: bool) -> list[tuple[bool, list[str]]]:
    """List the lines of a panel, and whether each had too little work to count."""
    body, chosen = [], read.panel(shared).items()
    for name, rows in sorted(chosen, key=lambda item: read.row(item[0]).after):
        if read.row(name).after:
            blank = [""] * (len(HEAD) - 1)
            body.append((False, ["*after the paper*", *blank]))
        body += [(read.grey(name), line) for line in _lines(read, name, rows, shared)]
    return body


def _theirs(experiment: Experiment) -> str:
    """Return the name of the paper's column: with its image size, if ours differs."""
    known = datasets.KNOWN.get(experiment.dataset)
    return f"paper, {known.size} px" if experiment.image_size and known else "paper"


def _lines(
    read: Read, name: str, rows: pandas.DataFrame, shared: bool
) -> list[list[str]]:
    """Return a row's line, and one of the window that held-out images choose.

    The paper's number stands where its protocol is that of the panel.
    """
    theirs = None
    if not shared or read.row(name).protocol == SHARED:
        theirs = printed(read.row(name), read.table.experiment)
    lines = [_line(read, name, rows, theirs, shared)]
    if name == "oracle-window" and "held_last" in rows:
        held = rows.assign(last=rows["held_last"], best=rows["held_best"])
        title = "chosen on held-out training images"
        line = _line(read, name, held, None, shared, title)
        lines.append(line)
    return lines


def _line(
    read: Read,
    name: str,
    rows: pandas.DataFrame,
    theirs: float | None,
    shared: bool,
    title: str = "",
) -> list[str]:
    row = read.row(name)
    last, best = rows["last"].astype(float), rows["best"].astype(float)
    return [
        title or row.title,
        plus_minus(list(last)),
        DASH if best.equals(last) else f"{best.mean():.1f}",
        DASH if theirs is None else f"{theirs:.1f}",
        str(len(rows)),
        f"{rows['images'].astype(float).mean():,.0f}",
        *_cost(read, row, rows, shared),
    ]


def _cost(read: Read, row: Row, rows: pandas.DataFrame, shared: bool) -> list[str]:
    spent = read.spent(row.name, shared)
    if row.function:  # what a user's function did, nobody counted
        passes, share = DASH, DASH
    else:
        passes = _millions(spent.passes)
        share = _percent(100 * spent.share) if spent.published else "none"
        if shared and row.name == "oracle-window":  # nobody published that
            share = DASH
    took = read.minutes(row) if spent.stages or row.function else DASH
    side = read.table.train.image_size
    sizes = rows["images"].astype(float) * 3 * side**2
    if "bytes" in rows and not shared:
        sizes = rows["bytes"].astype(float).fillna(sizes)
    return [passes, share, took, f"{sizes.mean() / 1e6:,.2f}"]


def _millions(passes: float) -> str:
    """Format a number in millions with two digits that say something."""
    millions = passes / 1e6
    return f"{millions:,.2f}" if millions >= 0.1 or not passes else f"{millions:.2g}"


def _percent(value: float) -> str:
    """Format a percentage with two digits that say something."""
    return percent(value, 0 if value >= 10 else 1 if value >= 1 else 3)


def plain(
    experiment: Experiment,
    names: Sequence[str],
    choices: Choices,
    panels: Sequence[Panel] = PANELS,
) -> str:
    """Return the panels as text for a terminal, in the columns of `panel`.

    A star is what is grey there.
    """
    read, lines = Read(experiment, names, choices, panels), []
    starred = False
    for shared, title in ((False, "as published"), (True, "the same teacher for all")):
        if not read.asks(shared):
            continue
        body = _body(read, shared)
        starred |= any(grey for grey, _ in body)
        # Without the marks of Markdown's italics.
        rows = [[line[0].strip("*") + " *" * grey, *line[1:]] for grey, line in body]
        lines += ["", f"{title}, {experiment.network}", *_aligned([_head(read), *rows])]
    note = "* less than a tenth of the published work; "
    seeds = max((len(rows) for rows in read.found.values()), default=0)
    lines.append(
        f"\n{note * starred}percent after the last epoch, {means(seeds)}; "
        "passes: millions of images through a network to build one set; here: its wall "
        "time on this machine"
    )
    return "\n".join(lines)


def _aligned(rows: list[list[str]]) -> list[str]:
    """Set cells in columns, the first to the left, the others to the right."""
    width = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, width, strict=True))
        ).rstrip()
        for row in rows
    ]


@drawn
def scatter(read: Read):
    """Draw accuracy under the same teacher over the passes that a set costs.

    Random images, which cost nothing, are a dashed line; open marks have less than a
    tenth of the published work. Names stand at the right, in the order of accuracy.
    """
    figure, ax = canvas(4.8)
    marks, named = [], set()
    for name, rows in read.panel(True).items():
        row, spent = read.row(name), read.spent(name, True)
        mean = float(rows["last"].astype(float).mean())
        if name == "random":
            ax.axhline(
                mean, color=PALETTE["grey"], ls=(0, (4, 3)), lw=1.2, label="random"
            )
        if not spent.passes or row.family not in FAMILIES:
            continue
        colour, family = PALETTE[COLOURS[row.family]], FAMILIES[row.family]
        fill = "none" if read.grey(name) else colour
        ax.plot(
            [spent.passes], [mean], "o", ms=8, mec=colour, mfc=fill, label=f"_{name}"
        )
        if family not in named:
            ax.plot([], [], "o", color=colour, label=family)
            named.add(family)
        marks.append((mean, spent.passes, row.title.partition(" (")[0]))
    ax.set(
        xscale="log",
        xlabel="image passes to build one set (millions)",
        ylabel="test accuracy (%)",
    )
    ax.xaxis.set_major_formatter(lambda passes, _: f"{passes / 1e6:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.margins(x=0.06, y=0.12)
    ax.set_xlim(ends := ax.get_xlim())
    ax.xaxis.set_major_locator(ticks(*ends))
    ax.grid()
    beside(ax, marks)
    legend(ax, columns=4)
    return figure


def ticks(low: float, high: float) -> Locator:
    """Choose the ticks of a logarithmic axis: the fewest that are two or more."""
    for subs in ((1, 3), (1, 2, 5), range(1, 10)):
        locator = LogLocator(subs=[float(sub) for sub in subs])
        if sum(low <= tick <= high for tick in locator.tick_values(low, high)) > 1:
            return locator
    return MaxNLocator(4)


def gains(read: Read):
    """Draw what each row gains over random images, both under the same teacher."""
    panel = read.panel(True)
    if "random" not in panel:
        return Text("The random row is not measured with this teacher.")
    lines = []
    for name, rows in panel.items():
        if name in ("random", "full") or not by_seed(rows, panel["random"])[0]:
            continue
        d, row = apart(rows, panel["random"]), read.row(name)
        both = zip(*by_seed(rows, panel["random"]), strict=True)
        points = [one - other for one, other in both]
        colour = "grey" if read.grey(name) else COLOURS[row.family]
        aside = "" if math.isnan(d.half) else SHOWN[verdict(d)][1]
        title = f"{row.title} {MINUS} random"
        lines.append(Line(title, d.mean, d.half, points, colour, aside))
    return intervals(lines, "difference (points)", {"as random": 0.0})


def apart(left: pandas.DataFrame, right: pandas.DataFrame) -> Difference:
    """Compute left minus right, points, paired by the seeds that both have."""
    return difference(*by_seed(left, right), paired=True)
