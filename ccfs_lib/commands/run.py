"""The commands that train for long, `sweep` and `squeeze`, and what they print.

Both are resumable, stop by a time limit, and say beforehand what they would cost.
"""

import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from ccfs_lib.arms import CONTROLS, STRATEGIES, parse
from ccfs_lib.commands.options import Choice
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Experiment, preset

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


@dataclass(frozen=True)
class Sweep(Long):
    """Measure arms x seeds, of one experiment or a grid; resumable."""

    arms: tuple[str, ...] = STRATEGIES + CONTROLS
    """strategies (fine-coarse) and controls"""
    workers: int = 0
    """trainings at once; 0 = one per core, or five on a GPU"""

    def __call__(self) -> None:
        """Run and print the table."""
        experiments = self.choice.experiments()
        for arm in self.arms:
            parse(arm, experiments[0])
        print_settings(experiments)
        if self.dry_run:  # before `_afford`: whoever asks for the price may have it
            return _forecast(experiments, self.arms)
        _afford(experiments, self.anyway)
        # Only now: torch takes seconds, and a mistake is told without it.
        from ccfs_lib.sweep import sweep

        # The limit is the command's, not a point's: each gets what is left of it.
        begun, left = time.monotonic(), self.time_limit
        for experiment in experiments:
            if self.time_limit is not None:
                left = max(0.0, self.time_limit - (time.monotonic() - begun))
            sweep(
                experiment,
                self.arms,
                workers=self.workers,
                command=shlex.join(["ccfs", *sys.argv[1:]]),
                time_limit=left,
            )
        Results(tuple(e.run for e in experiments))()


@dataclass(frozen=True)
class Squeeze(Long):
    """Train the teacher alone; resumable, and sweeps find it."""

    out: Path | None = None
    """folder for its weights: float16 safetensors in pieces below 15 MB"""

    def __call__(self) -> None:
        """Train, print its accuracy, write."""
        experiment = self.choice.experiment()
        print_settings([experiment])
        if self.dry_run:
            return _forecast([experiment], ())
        _afford([experiment], self.anyway)
        from ccfs_lib.pipeline import Pipeline
        from ccfs_lib.runtime import weights

        limit = self.time_limit
        deadline = None if limit is None else time.monotonic() + limit
        stages = Pipeline(experiment, deadline=deadline)
        teacher, network = stages.teacher, experiment.teacher_network
        shown = {"last": teacher.last, "best": teacher.best}
        shown["train"] = teacher.train_accuracy
        told = ", ".join(f"{name} {value:.2f} %" for name, value in shown.items())
        print(f"teacher {teacher.key}: {told}")
        if self.out is not None:
            card = {"key": teacher.key, "network": network, **shown}
            card |= {"data": stages.train.name, "normalisation": stages.normalisation}
            files = weights.write(teacher.network.state_dict(), self.out, card)
            print(f"wrote {len(files)} files to {self.out}")


@dataclass(frozen=True)
class Results:
    """Print the measured results of runs, and gather all into results.csv."""

    run: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """such as cifar10-jpeg-ipc250; default all"""

    def __call__(self) -> None:
        """Print one line per arm: mean, sd, 95 % t interval, seeds."""
        from ccfs_lib import results
        from ccfs_lib.runtime import paths
        from ccfs_lib.statistics import summary

        root = paths.results()
        tables = [results.load(root, run) for run in self.run or (None,)]
        for (run, arm), rows in (
            part for t in tables for part in t.groupby(["run", "cell"])
        ):
            s, best = summary(rows["last"]), summary(rows["best"])
            print(
                f"{run:24} {arm:22} last {s.mean:5.2f} ± {s.half:4.2f} (sd {s.sd:4.2f})"
                f"  best {best.mean:5.2f}  {s.n} seeds"
            )
        print("\nTest accuracy in percent with 95 % t intervals; every row is in")
        print(results.gather(root))


def print_settings(experiments: list[Experiment]) -> None:
    """All settings of the first, and the names under which all are filed."""
    table = experiments[0].table()
    width = max(len(name) for name, _ in table)
    for name, value in table:
        print(f"{name:{width}}  {value}")
    if len(experiments) > 1:
        print("So the first of a grid:", *(e.run for e in experiments), sep="\n  ")


def _forecast(experiments: list[Experiment], arms: tuple[str, ...]) -> None:
    from ccfs_lib.commands.forecast import forecast, told
    from ccfs_lib.runtime.device import device

    where = {device(e.portable) for e in experiments}
    print(told(forecast(experiments, arms), " and ".join(sorted(where))))


def _afford(experiments: list[Experiment], anyway: bool) -> None:
    """Refuse the paper's scale without a GPU, saying what it would take."""
    # Only this scale: the others are meant for a CPU, and say so by their price.
    todo = [e for e in experiments if e.scale == "paper"]
    if not todo or anyway:
        return
    import torch

    from ccfs_lib import cost

    if torch.cuda.is_available() and not any(e.portable for e in todo):
        return
    changes = {"ipc": todo[0].ipc, "classes": todo[0].classes}
    other = preset(todo[0].dataset, "laptop", **changes)
    here, there = (cost.told(sum(cost.seconds(e).values())) for e in (todo[0], other))
    raise InputError(
        f"scale is 'paper', made for a GPU, and there is none: here, one seed would "
        f"take about {here}; --scale laptop takes {there}, --anyway runs it nonetheless"
    )
