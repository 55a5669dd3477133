"""The command that measures Table 1, and its price beforehand."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from ccfs_lib.commands.options import command_options, declared, grid
from ccfs_lib.commands.run import Long, afford, check, command
from ccfs_lib.errors import InputError
from ccfs_lib.experiment.settings import checked
from ccfs_lib.table1 import (
    BY_NAME,
    PANELS,
    Choices,
    panels_of,
    parse,
    parse_all,
)

Open = command_options(
    "Open",
    "What the paper leaves open about its rows.",
    lambda **given: checked("", Choices, **given),
    [*declared(Choices)],
)
ROWS = f"{', '.join(BY_NAME)}; a function of yours: module:function"


@dataclass(frozen=True)
class Table1(Long):
    """Measure every row of the paper's Table 1 under both protocols; resumable.

    A row is filed as soon as it is measured; one that lacks what it needs is one
    sentence, and the others go on.
    """

    rows: Annotated[tuple[str, ...], tyro.conf.arg(help=ROWS)] = tuple(BY_NAME)
    panels: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            help="published: each row's own protocol; teacher: the same for all"
        ),
    ] = PANELS
    open: tyro.conf.OmitArgPrefixes[Open] = field(default_factory=Open)
    workers: int = 0
    """trainings at once; 0 = one per core, or six on a GPU"""
    again: bool = False
    """compute also what is filed in the results already"""

    def __call__(self) -> None:
        """Run and print the two panels."""
        if not self.rows:
            raise InputError("rows is empty, but must name at least one")
        check(self.rows, self.time_limit, self.workers)
        experiment, choices = self.choice.experiment(), self.choices()
        parse_all(self.rows)
        panels = panels_of(self.panels)
        self.begin([experiment])
        if self.dry_run:
            from ccfs_lib.commands.table1_price import price

            return print(price(experiment, self.rows, choices, panels, self.again))
        afford([experiment], self.anyway)
        from ccfs_lib import report, table1

        how = {"workers": self.workers, "time_limit": self.time_limit}
        how |= {"again": self.again, "panels": panels}
        _, failed = table1.run(experiment, self.rows, choices, command=command(), **how)
        shown = [name for name in self.rows if parse(name).name not in failed]
        if not shown:
            raise InputError("every row was left out, so there is nothing to show")
        print(report.table1.plain(experiment, shown, choices, panels))

    def choices(self) -> Choices:
        """Return what was asked for of `table1.Choices`."""
        (given,) = grid(vars(self.open), self.open.grids)
        return self.open.make(**given)
