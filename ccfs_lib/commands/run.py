"""The commands that train for long: sweep, match, squeeze.

All are resumable, stop by a time limit, and say beforehand what they would cost.
"""

import math
import os
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from ccfs_lib.arms import CONTROLS, SECTION3, STRATEGIES, parse
from ccfs_lib.commands.options import Choice, Section3
from ccfs_lib.commands.results import Results
from ccfs_lib.errors import InputError
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.workers import worker_count

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
    verbose: bool = False
    """print every setting first, not only one line"""
    download: bool = False
    """fetch a data set that is not there from its official address"""

    def begin(self, runs: list) -> None:
        """Say what is run, and allow downloads where they are asked for.

        Raises InputError where the cache cannot be written: all would be trained again
        by every worker, and lost.
        """
        paths.writable(paths.cache(), "cache", folder=True)
        if self.download:
            os.environ["CCFS_DOWNLOAD"] = "1"  # workers read it, too
        print_settings(runs, self.verbose)


def check(arms: tuple[str, ...], limit: float | None, workers: int = 0) -> None:
    """Raise InputError for no arms, a limit that is no time, and workers below zero."""
    worker_count(workers, False)
    if not arms:
        raise InputError("arms is empty, but must name at least one")
    if limit is not None and not 0 <= limit < math.inf:
        raise InputError(f"time_limit is {limit}, but must be 0 or more seconds")


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
    again: bool = False
    """compute also what is filed in the results already"""

    def __call__(self) -> None:
        """Run and print the table."""
        check(self.arms, self.time_limit, self.workers)
        experiments = self.choice.experiments()
        for arm in self.arms:
            parse(arm, experiments[0])
        self.begin(experiments)
        if self.dry_run:  # before `afford`: whoever asks for the price may have it
            from ccfs_lib.commands.forecast import forecast
            from ccfs_lib.commands.suggest import suggestions

            lines = forecast(experiments, self.arms, again=self.again)
            print_forecast(experiments, lines)
            for sentence in suggestions(lines, self.arms):
                print(sentence)
            return
        afford(experiments, self.anyway)
        # Only now: torch takes seconds, and a mistake is reported without it.
        from ccfs_lib.sweep import sweep

        options = {"workers": self.workers, "command": command(), "again": self.again}
        sweep(experiments, self.arms, time_limit=self.time_limit, **options)
        Results(tuple(e.run for e in experiments))()


@dataclass(frozen=True)
class Match(Long):
    """Measure SelMatch, its two variants and CCFS on MTT's images; resumable.

    Section 3, Figure 2 and Table 10 of the paper. Several values of ipc, alpha,
    curricula or beta make a grid.
    """

    choice: tyro.conf.OmitArgPrefixes[Section3] = field(default_factory=Section3)
    arms: tuple[str, ...] = SECTION3
    """selmatch, two-shot, reverse, ccfs-mtt"""
    workers: int = 0
    """trainings at once; 0 = one per core, or six on a GPU"""
    again: bool = False
    """compute also what is filed in the results already"""
    ship: bool = False
    """copy the distilled sets of finished runs to data/artefacts; train nothing"""

    def runs(self) -> list:
        """List the runs of the grid; raises InputError for the first that cannot be."""
        check(self.arms, self.time_limit, self.workers)
        for arm in self.arms:
            if arm not in SECTION3:
                raise InputError(
                    f"arms holds {arm!r}, but must be among {', '.join(SECTION3)}"
                )
        return self.choice.experiments()

    def __call__(self) -> None:
        """Run and print the table."""
        runs = self.runs()
        self.begin(runs)
        if self.dry_run:
            from ccfs_lib.commands.forecast import forecast_matching

            lines = forecast_matching(runs, self.arms, self.again)
            return print_forecast(runs, lines)
        if self.ship:
            from ccfs_lib.commands.ship import adopt, ship_matches

            count = len(set().union(*map(ship_matches, runs)))
            print(f"{count} artefacts are in data/artefacts")
            for folder in adopt([run.run for run in runs]):
                print(f"its results are evidence now: {folder}")
            return
        afford([run.experiment for run in runs], self.anyway)
        from ccfs_lib.sweep import match

        options = {"workers": self.workers, "command": command(), "again": self.again}
        match(runs, self.arms, time_limit=self.time_limit, **options)
        Results(tuple(run.run for run in runs))()


@dataclass(frozen=True)
class Squeeze(Long):
    """Train the teacher alone; resumable, and sweeps find it."""

    out: Path | None = None
    """folder for its weights: float16 safetensors in pieces below 15 MB"""

    def __call__(self) -> None:
        """Train, print its accuracy, write."""
        check(("teacher",), self.time_limit)
        experiment, out = self.choice.experiment(), self.out
        if out is not None:
            out = paths.expanded(out)
            paths.writable(out, "out", folder=True)
        self.begin([experiment])
        if self.dry_run:
            from ccfs_lib.commands.forecast import forecast_teacher

            return print_forecast([experiment], forecast_teacher(experiment))
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
        if out is not None:
            card = {"key": teacher.key, "network": network, **shown}
            card |= {
                "data": pipeline.train.name,
                "classes": pipeline.train.classes,
                "normalisation": pipeline.normalisation,
            }
            files = weights.write(teacher.network.state_dict(), out, card)
            print(f"wrote {len(files)} files to {out}")


def print_settings(runs: list, verbose: bool = False) -> None:
    """Print what is run in one line, or every setting; of a grid those of the first."""
    if not verbose:
        print(*map(one_line, runs), sep="\n")
        return
    table = runs[0].table()
    width = max(len(name) for name, _ in table)
    for name, value in table:
        print(f"{name:{width}}  {value}")
    if len(runs) > 1:
        print("So the first of a grid:", *(run.run for run in runs), sep="\n  ")


def one_line(run) -> str:
    """Say in one line what a run is, as the pages of the book do at their top."""
    e = getattr(run, "experiment", run)
    words = [f"only the first {e.classes} classes"] * bool(e.classes)
    words += [f"shrunk to {e.image_size} pixels"] * bool(e.image_size)
    words += [f"IPC {e.ipc}", f"alpha {e.alpha:g}"]
    recipe = e.recipe
    if run is e:
        words += [f"J = {e.curricula}"]
    else:
        words += [f"beta {run.beta:g}"]
        recipe = run.evaluation
    words += [f"network {e.network}", f"{recipe.epochs} epochs"]
    words += [f"{e.seeds} seed{'s' * (e.seeds > 1)}"]
    return f"{run.run}: {os.path.basename(e.dataset)}, {', '.join(words)}"


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
