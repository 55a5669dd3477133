"""Table 1: fifteen systems, and one after the paper, a row each; no torch here.

A row is a set and the protocol that its printed number comes from. Each is measured
under that protocol ("as published") and under the teacher of CCFS ("the same teacher
for all"), the comparison that the paper lacks. `pipeline.table1` builds the sets.
"""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass

from ccfs_lib.arms import BY_NAME as ARMS
from ccfs_lib.arms import CCFS
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import STRICT, Experiment, Positive, checked
from ccfs_lib.experiment.settings import Setting
from ccfs_lib.runtime import plugins
from ccfs_lib.runtime.workers import completed, executor, is_shared, worker_count

SHARED = "teacher"  # of the second panel
Panel = Literal["published", "teacher"]
PANELS: tuple[Panel, ...] = ("published", "teacher")
# What leaves a row out with a sentence; another error is a mistake of ours.
FAILED = (InputError, FloatingPointError, OSError)


@dataclass(frozen=True)
class Row:
    """A row of ROWS."""

    name: str  # as in data/paper/table01.csv
    title: str
    family: Literal["real", "distilled", "both", "all"]  # images of its set
    # selmatch: hard labels (soft ones where a method has its own), SelMatch's
    # evaluation. teacher: distillation by CCFS's teacher and recipe. squeeze: the
    # teacher's training. bps: the teacher, and the recipe of BPS (`recipes.BPS`).
    protocol: Literal["selmatch", "teacher", "squeeze", "bps"]
    # What other rows need, too, and is computed first: squeeze (teacher, counted
    # scores), recover (images by CDA), experts.
    needs: tuple[str, ...] = ()
    # An arm of `arms.ARMS` that is this row, by protocol: its results are the row's,
    # in the run of this method of recovery.
    arms: tuple[tuple[str, str], ...] = ()
    method: str = "cda"
    options: tuple[str, ...] = ()  # fields of Choices that change its set
    after: bool = False  # after the paper: below the line
    function: str = ""  # the user's own: module:function


ROWS = (
    Row(
        *("random", "Random", "real", "selmatch"),
        arms=(("selmatch", "random-selmatch"), ("teacher", "random")),
    ),
    Row(
        *("forgetting", "Forgetting", "real", "selmatch", ("squeeze",)),
        options=("never_learned",),
    ),
    Row("glister", "Glister", "real", "selmatch", options=("glister_update",)),
    Row("oracle-window", "Oracle window", "real", "selmatch", ("squeeze",)),
    Row(
        *("self-evolved", "Self-evolved selection", "real", "selmatch", ("squeeze",)),
        options=("evolved_size", "evolved_beta"),
    ),
    Row("dsa", "DSA", "distilled", "selmatch", options=("budget",)),
    Row("dm", "DM", "distilled", "selmatch", options=("budget",)),
    Row("mtt", "MTT", "distilled", "selmatch", ("experts",), options=("budget",)),
    Row(
        *("sre2l", "SRe2L", "distilled", "teacher", ("squeeze",)),
        arms=(("teacher", "distilled"),),
        method="sre2l",
    ),
    Row("datm", "DATM", "distilled", "selmatch", ("experts",), options=("budget",)),
    Row(
        *("selmatch", "SelMatch", "both", "selmatch", ("squeeze", "experts")),
        options=("budget",),
    ),
    Row(
        *("cda", "CDA", "distilled", "teacher", ("squeeze", "recover")),
        arms=(("teacher", "distilled"),),
    ),
    # Its own code is for ImageNet-1K: ours on small images, see `experiment.cudd`.
    Row(
        *("cudd", "CUDD (ours, small images)", "distilled", "teacher", ("squeeze",)),
        options=("budget",),
    ),
    Row(
        *("ccfs", "CCFS", "both", "teacher", ("squeeze", "recover")),
        arms=(("teacher", CCFS),),
    ),
    Row("full", "Full data", "all", "squeeze", ("squeeze",)),
    Row("random-bps", "Random, BPS's recipe", "real", "bps", ("squeeze",), after=True),
)
BY_NAME = {row.name: row for row in ROWS}


@checked_dataclass(frozen=True, config=STRICT)
class Choices:
    """What the paper leaves open about its rows, and how much work a set may cost."""

    # None: on digits the scale's numbers, on a GPU the published ones, else 30 min.
    budget: Annotated[
        Positive | None,
        Setting("minutes of a core that the distillation of one set may take"),
    ] = None
    # Toneva et al.: infinity. DeepCore counts their zero events: "easiest".
    never_learned: Annotated[
        Literal["hardest", "easiest"],
        Setting("Forgetting: what an image counts for that no run learned"),
    ] = "hardest"
    # DeepCore's call never updates: "frozen" (`glister.UPDATES`).
    glister_update: Annotated[
        Literal["mean", "sum", "frozen"],
        Setting("Glister: how chosen images move its gradients: mean, sum, frozen"),
    ] = "mean"
    # The paper has no word on both. Ours: as many as CCFS has distilled images, and
    # SelMatch's beta.
    evolved_size: Annotated[
        int,
        Field(ge=0),
        Setting("self-evolved: images per class of its window; 0 = alpha x IPC"),
    ] = 0
    evolved_beta: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None,
        Setting("self-evolved: where its window begins; default SelMatch's beta"),
    ] = None

    def suffix(self, row: Row) -> str:
        """What the names of a row's results end in: its options, where not default."""
        usual = {f.name: f.default for f in fields(Choices)}
        values = [getattr(self, n) for n in row.options if getattr(self, n) != usual[n]]
        return "".join(f"-{v:g}" if isinstance(v, float) else f"-{v}" for v in values)


DEFAULT = Choices()


def without_budget(cell: str, minutes: float) -> str:
    """Name a cell that has a budget's minutes in its name as if it had none.

    Of ``mtt-10-teacher``, with 10 minutes, it is ``mtt-teacher``.
    """
    end = f"-{minutes:g}"
    return cell.removesuffix(end).replace(f"{end}-", "-")


def parse(name: str) -> Row:
    """Find the row of a name, or make one of a user's function.

    name: of ROWS, ``module:function``, or ``title:module.function``. The function takes
    training images, IPC and seed, and returns indices of real images, or an ImageSet of
    distilled ones. Raises InputError for another name, a title that the results of
    other rows have, and a module that is not there.
    """
    if name in BY_NAME:
        return BY_NAME[name]
    asked = name
    title, _, rest = name.partition(":")
    if not plugins.named(name):
        if plugins.named(rest.replace(".", ":")):  # then only its title is wrong
            _check_letters(title)
        raise InputError(
            f"rows has {name!r}, but must be among {', '.join(BY_NAME)}, or a function "
            "of yours, module:function"
        )
    if "." in rest:  # title:module.function
        module, _, function = rest.rpartition(".")
        name = f"{module}:{function}"
    else:
        title = name.replace(":", ".")
    _check_title(title)
    plugins.check(name, "rows", asked)
    return Row(title, title, "real", "selmatch", function=name)


def _check_title(title: str) -> None:
    """Raise InputError for a title of a user's that cannot name results files."""
    filed = {cell for row in ROWS for cell in cells(row).values()}
    taken = {*BY_NAME, *ARMS, *(row.title for row in ROWS)} | filed
    # Some file systems do not tell a from A.
    if title.casefold() in {name.casefold() for name in taken}:
        raise InputError(
            f"rows has {title!r} as the title of a function of yours, but other rows "
            "or their results have that name: take another title"
        )
    _check_letters(title)


def _check_letters(title: str) -> None:
    if not re.fullmatch(r"[\w.]+", title, re.ASCII):
        raise InputError(
            f"rows has {title!r}, but it names a file: begin with a title of the "
            "letters a to z, digits and _, as in title:module.function"
        )


def parse_all(names: Iterable[str]) -> list[Row]:
    """Find the rows of these names as `parse` does; the same row twice counts once.

    Raises InputError as `parse`, and for two functions of one title.
    """
    found: dict[str, Row] = {}
    for row in map(parse, names):
        name = row.name.casefold()  # some file systems do not tell a from A
        if found.setdefault(name, row) != row:
            both = f"{found[name].function} and {row.function}"
            raise InputError(
                f"rows has two functions titled {row.name!r}, {both}, but each needs a "
                "title of its own, title:module.function"
            )
    return list(found.values())


def cells(
    row: Row, choices: Choices = DEFAULT, panels: Sequence[Panel] = PANELS
) -> dict[str, str]:
    """List the row's protocols, its own first, and the cell that each is filed in.

    What is an arm, too, is filed as the arm; else ``dsa`` and ``dsa-teacher``. panels:
    only the protocols that stand in one of them. Raises InputError where none does.
    """
    end, arms = choices.suffix(row), dict(row.arms)
    named = {row.protocol: row.name + end}
    if not row.after and row.protocol != SHARED:
        named[SHARED] = f"{row.name}{end}-teacher"
    stands = {"published": row.protocol, SHARED: SHARED}
    kept = {stands[panel] for panel in panels}
    asked = {p: cell for p, cell in (named | arms).items() if p in kept}
    if not asked:
        raise InputError(
            f"rows has {row.name!r}, which is not in the panel {panels[0]!r}"
        )
    return asked


def run(
    experiment: Experiment,
    rows: tuple[str, ...] = tuple(BY_NAME),
    choices: Choices = DEFAULT,
    *,
    panels: Sequence[Panel] = PANELS,
    workers: int = 0,
    command: str | None = None,
    time_limit: float | None = None,
    say=print,
    again: bool = False,
) -> tuple[list[Path], dict[str, str]]:
    """Measure rows x protocols x seeds; resumable, each seed filed when it is done.

    panels: "published", "teacher" or both: the protocols of these panels only.
    Returns the paths of the results, and row -> one sentence for every row that lacks
    what it needs: it is left out, and `say` is told at once. workers, time_limit,
    TimeUp, again and what is filed: as for `sweep.sweep`. Raises InputError as
    `parse_all`.
    """
    asked = parse_all(rows)
    worker_count(workers, False)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    table = _table(experiment, choices, deadline)
    job = _Run(table, asked, panels, command, say, again)
    job.check()
    tasks = job.tasks()
    if not tasks:
        return list(job.paths), job.failed
    threads = is_shared(table.device)
    with executor(worker_count(workers, threads), threads) as pool:
        # Own functions first: a wrong answer is told before anything trains.
        own = {row.name: row for _, row, *_ in tasks if row.function}
        job.work(pool, [(_built, row) for row in own.values()])
        tasks = [task for task in tasks if task[1].name not in job.failed]
        names = {row.name for _, row, *_ in tasks}
        left = [row for row in job.rows() if row.name in names]
        if left:
            job.work(pool, [(_share, *task) for task in table.shared(left)])
        job.work(pool, _windows(table, tasks))
    return list(job.paths), job.failed


@dataclass
class _Run:
    """The state of a run: its results files, and the rows that failed."""

    table: object
    chosen: list[Row]
    panels: Sequence[Panel]
    command: str | None
    say: object
    again: bool = False
    paths: dict[Path, None] = field(default_factory=dict)  # a set that keeps its order
    failed: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """List the rows that have not failed."""
        return [row for row in self.chosen if row.name not in self.failed]

    def check(self) -> None:
        """Ask every row for what can be known before anything trains."""
        _ = self.table.train, self.table.test  # decoded once, not by every worker
        for row in self.chosen:
            try:
                self.cells(row)
                self.table.check(row)
            except FAILED as error:
                self.fail(row, str(error))

    def cells(self, row: Row) -> dict[str, str]:
        """List what is asked for of a row, protocol -> cell."""
        return cells(row, self.table.choices, self.panels)

    def fail(self, row: Row, sentence: str) -> None:
        """Leave a row out, and say so once."""
        if row.name not in self.failed:
            self.failed[row.name] = sentence
            self.say(f"{row.title} is left out: {sentence}")

    def tasks(self) -> list[tuple]:
        """List all cells with each seed that is not filed, row by row."""
        t, tasks = self.table, []
        seeds = range(t.experiment.seeds)
        for row in self.rows():
            for protocol, known in self.filed(row).items():
                tasks += [(_cell, row, protocol, n) for n in seeds if n not in known]
                if known:
                    self.say(
                        f"{row.name} {protocol}: {len(known)} of {len(seeds)} rows are "
                        f"filed{t.other_teacher(row, protocol)} and not computed again "
                        "(--again does)"
                    )
                if len(known) == len(seeds):
                    self.paths[t.path(row, protocol)] = None
        return tasks

    def filed(self, row: Row) -> dict[str, set[int]]:
        """List the seeds of each protocol that are filed; {} where the row fails."""
        t = self.table
        try:
            return {
                p: set() if self.again else t.filed(row, p) for p in self.cells(row)
            }
        except FAILED as error:
            self.fail(row, str(error))
            return {}

    def work(self, pool, tasks: list[tuple]) -> None:
        """Run tasks; file every seed of a cell as soon as it is there."""
        t = self.table
        shared = t.experiment, t.choices, t.trainings.deadline
        try:
            done = completed(pool, shared, tasks, "table1", "cell")
            for (function, *what), sentence in done:
                if function is _cell:
                    self.file(*what, sentence)
                elif function is _built and sentence:
                    self.fail(*what, sentence)
        except BaseException:  # Ctrl-C, or what cannot be filed: the rest never begins
            pool.shutdown(wait=False, cancel_futures=True)
            raise

    def file(self, row: Row, protocol: str, seed: int, sentence: str) -> None:
        """File one row of results; with a sentence, leave its row out by `fail`.

        So is a row whose results cannot be written.
        """
        if sentence:
            return self.fail(row, sentence)
        t, how = self.table, (self.command, [seed], self.again)
        if sentence := _sentence(t.measure, row, protocol, *how):
            return self.fail(row, sentence)
        self.paths[t.path(row, protocol)] = None


def _table(experiment, choices, deadline):
    from ccfs_lib.pipeline.table1 import Table1Pipeline

    return Table1Pipeline(experiment, choices, deadline=deadline)


def _share(experiment, choices, deadline, stage: str, *which: int) -> str:
    """Compute what several rows need into the store; a row that fails tells why."""
    return _sentence(_table(experiment, choices, deadline).share, stage, *which)


def _built(experiment, choices, deadline, row: Row) -> str:
    """Build the first set of a user's function; "", or a sentence why there is none."""
    return _sentence(_table(experiment, choices, deadline).built, row, 0)


def _windows(table, tasks: list[tuple]) -> list[tuple]:
    """Put the oracle's rows last, and before them each training on a window.

    A row asks for the windows of all seeds; asked for first, it would wait for others.
    """
    from ccfs_lib.pipeline.oracle import Oracle

    rows = [task for task in tasks if task[1].name == "oracle-window"]
    windows = [
        (_window, protocol, *training)
        for protocol in dict.fromkeys(protocol for _, _, protocol, _ in rows)
        for training in Oracle(table, protocol).trainings()
    ]
    return [task for task in tasks if task not in rows] + windows + rows


def _window(experiment, choices, deadline, protocol: str, beta, seed) -> str:
    """Train on a window of the oracle; its row tells what it lacks."""
    from ccfs_lib.pipeline.oracle import Oracle

    oracle = Oracle(_table(experiment, choices, deadline), protocol)
    return _sentence(oracle.trained, beta, seed)


def _cell(experiment, choices, deadline, row: Row, protocol: str, seed: int) -> str:
    """Compute one number; return "", or the sentence that says why there is none."""
    table = _table(experiment, choices, deadline)
    return _sentence(table.evaluate, row, protocol, seed)


def _sentence(compute, *what) -> str:
    try:
        compute(*what)
    except FAILED as error:
        return str(error)
    return ""


def panels_of(names: Iterable[str]) -> tuple[Panel, ...]:
    """Check names of panels; raises InputError for another name, or none."""
    names = tuple(names)
    wrong = [name for name in names if name not in PANELS]
    if wrong or not names:
        what = f"has {wrong[0]!r}" if wrong else "is empty"
        raise InputError(
            f"panels {what}, but must name {', '.join(PANELS)}, or the two with a "
            "space between"
        )
    return names


def chosen(chapter: dict) -> tuple[tuple[str, ...], Choices, tuple[Panel, ...]]:
    """Validate the chapter's own parameters: rows, choices and panels; no torch yet.

    chapter: of `experiment.from_notebook`, with `rows` and `panels` (spaces between;
    empty: all) and the fields of `Choices`.
    """
    names = chapter.get("rows", "")
    if not isinstance(names, str):
        raise InputError(f"rows is {names!r}, but must be names with spaces between")
    names = tuple(names.split()) or tuple(BY_NAME)
    parse_all(names)
    panels = chapter.get("panels", "")
    if not isinstance(panels, str):
        raise InputError(f"panels is {panels!r}, but must be {' or '.join(PANELS)}")
    given = {f.name: chapter[f.name] for f in fields(Choices) if f.name in chapter}
    choices = checked("", Choices, **given)
    return names, choices, panels_of(panels.split() or PANELS)
