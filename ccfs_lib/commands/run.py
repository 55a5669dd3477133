"""The commands that train for long: sweep, match, squeeze.

All are resumable, stop by a time limit, and say beforehand what they would cost.
"""

import math
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from ccfs_lib.arms import CONTROLS, SECTION3, STRATEGIES, parse
from ccfs_lib.commands.options import Choice, Section3
from ccfs_lib.commands.results import Results
from ccfs_lib.errors import InputError

Shared = tyro.conf.OmitArgPrefixes[Choice]


@dataclass(frozen=True)
class Long:
    """Options of what may train for hours."""

    choice: Shared = field(default_factory=Choice)
    time_limit: float | None = None
    """seconds after which to stop at an epoch boundary, with exit code 75"""
    anyway: bool = False
    """run the paper's scale without a GPU"""
    dry_run: bool = False
    """print what would be computed and about how long it takes; train nothing"""


def each(runs: list, limit: float | None, one: Callable) -> None:
    """Call one(run, seconds left of the limit) for every run, then print results."""
    # The limit is the command's, not a run's: each gets what is left of it.
    begun, left = time.monotonic(), limit
    for run in runs:
        if limit is not None:
            left = max(0.0, limit - (time.monotonic() - begun))
        one(run, left)
    Results(tuple(run.run for run in runs))()


def check(arms: tuple[str, ...], limit: float | None) -> None:
    """Raise InputError for no arms, and for a limit that is no time."""
    if not arms:
        raise InputError("arms is empty, but must name at least one")
    if limit is not None and not 0 <= limit < math.inf:
        raise InputError(f"time_limit is {limit}, but must be 0 or more seconds")


def writable(out: Path) -> None:
    """Raise InputError where nothing can be written at `out`, before the work."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise InputError(
            f"out is '{out}', but nothing can be written there: {error.strerror}"
        ) from None


def command() -> str:
    """Return the command line as it was typed, to be filed with the results."""
    return shlex.join(["ccfs", *sys.argv[1:]])


@dataclass(frozen=True)
class Sweep(Long):
    """Measure arms x seeds, of one experiment or a grid; resumable."""

    arms: tuple[str, ...] = STRATEGIES + CONTROLS
    """strategies (fine-coarse) and controls"""
    workers: int = 0
    """trainings at once; 0 = one per core, or six on a GPU"""

    def __call__(self) -> None:
        """Run and print the table."""
        check(self.arms, self.time_limit)
        experiments = self.choice.experiments()
        for arm in self.arms:
            parse(arm, experiments[0])
        print_settings(experiments)
        if self.dry_run:  # before `afford`: whoever asks for the price may have it
            from ccfs_lib.commands.forecast import forecast

            return print_forecast(experiments, forecast(experiments, self.arms))
        afford(experiments, self.anyway)
        # Only now: torch takes seconds, and a mistake is reported without it.
        from ccfs_lib.sweep import sweep

        options = {"workers": self.workers, "command": command()}
        each(
            experiments,
            self.time_limit,
            lambda e, left: sweep(e, self.arms, time_limit=left, **options),
        )


@dataclass(frozen=True)
class Match(Long):
    """Measure SelMatch, its two variants and CCFS on MTT's images; resumable.

    Section 3, Figure 2 and Table 10 of the paper. Several values of ipc, alpha or beta
    make a grid.
    """

    choice: tyro.conf.OmitArgPrefixes[Section3] = field(default_factory=Section3)
    arms: tuple[str, ...] = SECTION3
    """selmatch, two-shot, reverse, ccfs-mtt"""
    workers: int = 0
    """trainings at once; 0 = one per core, or six on a GPU"""
    ship: bool = False
    """copy the distilled sets of finished runs to data/artefacts; train nothing"""

    def runs(self) -> list:
        """List the runs of the grid; raises InputError for the first that cannot be."""
        check(self.arms, self.time_limit)
        for arm in self.arms:
            if arm not in SECTION3:
                raise InputError(
                    f"arms holds {arm!r}, but must be among {', '.join(SECTION3)}"
                )
        return self.choice.experiments()

    def __call__(self) -> None:
        """Run and print the table."""
        runs = self.runs()
        print_settings(runs)
        if self.dry_run:
            from ccfs_lib.commands.forecast import forecast_matching

            return print_forecast(runs, forecast_matching(runs, self.arms))
        if self.ship:
            from ccfs_lib.commands.ship import ship_matches

            count = len(set().union(*map(ship_matches, runs)))
            print(f"{count} artefacts are in data/artefacts")
            return
        afford([run.experiment for run in runs], self.anyway)
        from ccfs_lib.sweep import match

        options = {"workers": self.workers, "command": command()}
        each(
            runs,
            self.time_limit,
            lambda run, left: match(run, self.arms, time_limit=left, **options),
        )


@dataclass(frozen=True)
class Squeeze(Long):
    """Train the teacher alone; resumable, and sweeps find it."""

    out: Path | None = None
    """folder for its weights: float16 safetensors in pieces below 15 MB"""

    def __call__(self) -> None:
        """Train, print its accuracy, write."""
        check(("teacher",), self.time_limit)
        experiment = self.choice.experiment()
        if self.out is not None:
            writable(self.out)
        print_settings([experiment])
        if self.dry_run:
            from ccfs_lib.commands.forecast import forecast

            return print_forecast([experiment], forecast([experiment], ()))
        afford([experiment], self.anyway)
        from ccfs_lib.pipeline import Pipeline
        from ccfs_lib.runtime import weights

        limit = self.time_limit
        deadline = None if limit is None else time.monotonic() + limit
        pipeline = Pipeline(experiment, deadline=deadline)
        teacher, network = pipeline.teacher, experiment.teacher_network
        shown = {"last": teacher.last, "best": teacher.best}
        shown["train"] = teacher.train_accuracy
        figures = ", ".join(f"{name} {value:.2f} %" for name, value in shown.items())
        print(f"teacher {teacher.key}: {figures}")
        if self.out is not None:
            card = {"key": teacher.key, "network": network, **shown}
            card |= {
                "data": pipeline.train.name,
                "normalisation": pipeline.normalisation,
            }
            files = weights.write(teacher.network.state_dict(), self.out, card)
            print(f"wrote {len(files)} files to {self.out}")


def print_settings(runs: list) -> None:
    """Print all settings of the first, and the names under which all are filed."""
    table = runs[0].table()
    width = max(len(name) for name, _ in table)
    for name, value in table:
        print(f"{name:{width}}  {value}")
    if len(runs) > 1:
        print("So the first of a grid:", *(run.run for run in runs), sep="\n  ")


def print_forecast(runs: list, lines: dict) -> None:
    """Print what would be computed, and about how long it takes here."""
    from ccfs_lib.commands.forecast import text
    from ccfs_lib.runtime.device import device

    portable = [getattr(run, "experiment", run).portable for run in runs]
    print(text(lines, " and ".join(sorted({device(p) for p in portable}))))


def afford(experiments: list, anyway: bool) -> None:
    """Refuse the paper's scale without a GPU, saying what it would take."""
    # Only this scale: the others are meant for a CPU, and say so by their price.
    todo = [e for e in experiments if e.scale == "paper"]
    if not todo or anyway:
        return
    import torch

    from ccfs_lib import cost
    from ccfs_lib.experiment import preset

    if torch.cuda.is_available() and not any(e.portable for e in todo):
        return
    changes = {"ipc": todo[0].ipc, "classes": todo[0].classes}
    other = preset(todo[0].dataset, "laptop", **changes)
    cost_here, cost_there = (
        cost.duration(sum(cost.seconds(e).values())) for e in (todo[0], other)
    )
    raise InputError(
        f"scale is 'paper', made for a GPU, and there is none: here, one seed would "
        f"take about {cost_here}; --scale laptop takes {cost_there}, --anyway runs it "
        "nonetheless"
    )
