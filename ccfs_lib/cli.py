"""The command line: sweep, select, export, results, doctor; errors are sentences."""

import os
import shlex
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import CONTROLS, STRATEGIES, Experiment, preset


@dataclass(frozen=True)
class Choice:
    """What to run. Anything left out is the preset's, printed before it starts."""

    dataset: str = "digits"
    """digits, cifar10, cifar100, cifar10-jpeg, tiny-imagenet, or a path to images"""
    data_root: str = ""
    """folder that holds the data set; default $CCFS_DATA"""
    scale: str = ""
    """digits, laptop or paper; default by data set"""
    reading: str = "paper"
    """at the paper's scale: paper (tables, notebooks) or released (scripts)"""
    ipc: int | None = None
    """images per class"""
    alpha: float | None = None
    """distilled part of them, 0 to 1"""
    curricula: int | None = None
    """phases (J)"""
    score: str | None = None
    """forgetting, logits, published-forgetting, published-cscore, or a file"""
    network: str | None = None
    """convnet, convnet-32-64-128, resnet18, ..."""
    distilled_from: str | None = None
    """folder of distilled images (newNNN/...) to use instead of recovering some"""
    epochs: int | None = None
    """epochs of each filter and evaluation"""
    seeds: int | None = None
    """repetitions of filters, selection and evaluation"""
    teacher_correct: bool | None = None
    """choose only among images that the teacher gets right (authors' code)"""

    def experiment(self) -> Experiment:
        """The preset with these changes; raises InputError."""
        return preset(**{k: v for k, v in vars(self).items() if v is not None})


@dataclass(frozen=True)
class Sweep:
    """Measure arms x seeds; resumable, and cells run side by side."""

    choice: tyro.conf.OmitArgPrefixes[Choice] = field(default_factory=Choice)
    arms: tuple[str, ...] = STRATEGIES + CONTROLS
    """strategies (fine-coarse) and controls"""
    workers: int = 0
    """processes; 0 = one per core"""
    time_limit: float | None = None
    """seconds after which to stop at an epoch boundary, with exit code 75"""
    anyway: bool = False
    """run the paper's scale without a GPU"""

    def __call__(self) -> None:
        """Run and print the table."""
        for arm in self.arms:
            if arm not in STRATEGIES + CONTROLS:
                known = ", ".join(STRATEGIES + CONTROLS)
                raise InputError(f"arms holds {arm!r}, but must be among {known}")
        experiment = self.choice.experiment()
        _print(experiment)
        _afford(experiment, self.anyway)
        from ccfs_lib.sweep import sweep

        command = shlex.join(["ccfs", *sys.argv[1:]])
        sweep(
            experiment,
            self.arms,
            workers=self.workers,
            command=command,
            time_limit=self.time_limit,
        )
        Results(experiment.run)()


@dataclass(frozen=True)
class Select:
    """Run the curriculum of one seed and write the chosen indices."""

    out: Path
    """a .json in the authors' layout: ipc, alpha, idx_selected"""
    choice: tyro.conf.OmitArgPrefixes[Choice] = field(default_factory=Choice)
    seed: int = 0

    def __call__(self) -> None:
        """Select, print each phase, write."""
        experiment = self.choice.experiment()
        _print(experiment)
        from ccfs_lib.curriculum import selected
        from ccfs_lib.exchange import write_indices
        from ccfs_lib.pipeline import Pipeline

        records = []
        for record in Pipeline(experiment).phases(self.seed):
            short = sum(record.shortfall.values())
            print(
                f"phase {record.phase}: filter {record.train_accuracy:.1f} % train, "
                f"{record.filter.test_accuracy:.1f} % test; chose "
                f"{len(record.chosen)} of {record.pool.sum()} candidates, {short} short"
            )
            records.append(record)
        write_indices(self.out, experiment.ipc, experiment.alpha, selected(records))
        print(f"wrote {self.out}")


@dataclass(frozen=True)
class Export:
    """Write an arm's final set: images as a folder or as Hugging Face parquet."""

    out: Path
    """a folder (SRe2L's layout), or a file ending in .parquet"""
    choice: tyro.conf.OmitArgPrefixes[Choice] = field(default_factory=Choice)
    arm: str = STRATEGIES[0]
    """a strategy (fine-coarse), distilled, or random"""
    seed: int = 0
    form: Literal["png", "jpeg"] = "png"
    """of a folder's files; jpeg is lossy, as the authors publish"""

    def __call__(self) -> None:
        """Build the set and write it."""
        experiment = self.choice.experiment()
        from ccfs_lib import exchange
        from ccfs_lib.pipeline import Pipeline

        made = Pipeline(experiment).synthetic(self.arm, self.seed)
        if self.out.suffix == ".parquet":
            exchange.write_parquet(made, self.out)
        else:
            exchange.write_folder(made, self.out, self.form)
        print(f"wrote {len(made)} images to {self.out}")


@dataclass(frozen=True)
class Ship:
    """Copy what finished arms were made of to data/artefacts, to be committed."""

    choice: tyro.conf.OmitArgPrefixes[Choice] = field(default_factory=Choice)
    arms: tuple[str, ...] = STRATEGIES + CONTROLS
    """strategies (fine-coarse) and controls"""

    def __call__(self) -> None:
        """Copy and count."""
        experiment = self.choice.experiment()
        from ccfs_lib.ship import ship

        print(f"{ship(experiment, self.arms)} artefacts are in data/artefacts")


@dataclass(frozen=True)
class Results:
    """Print the measured results of a run, and gather all into results.csv."""

    run: Annotated[str | None, tyro.conf.Positional] = None
    """such as cifar10-jpeg-ipc250; default all"""

    def __call__(self) -> None:
        """Print one line per arm: mean, sd, 95 % t interval, seeds."""
        from ccfs_lib import paths, results
        from ccfs_lib.statistics import summary

        table = results.load(paths.results(), self.run)
        for (run, arm), rows in table.groupby(["run", "cell"]):
            s, best = summary(rows["last"]), summary(rows["best"])
            print(
                f"{run:24} {arm:22} last {s.mean:5.2f} ± {s.half:4.2f} (sd {s.sd:4.2f})"
                f"  best {best.mean:5.2f}  {s.n} seeds"
            )
        print("\nTest accuracy in percent with 95 % t intervals; every row is in")
        print(results.gather(paths.results()))


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has and what would run on it."""

    def __call__(self) -> None:
        """Print versions, device, data and cache folders."""
        import torch

        from ccfs_lib import paths, results

        for name, value in results.provenance(
            "cuda" if torch.cuda.is_available() else "cpu"
        ).items():
            print(f"{name:12} {value}")
        print(f"{'cache':12} {paths.cache()}")
        print(f"{'CCFS_DATA':12} {os.environ.get('CCFS_DATA', 'not set')}")


def _afford(experiment: Experiment, anyway: bool) -> None:
    """Refuse the paper's scale without a GPU, saying what it would take."""
    if experiment.scale != "paper" or anyway:
        return
    import torch

    from ccfs_lib import cost

    if torch.cuda.is_available():
        return
    other = preset(experiment.dataset, "laptop", ipc=experiment.ipc)
    here, there = (
        cost.told(sum(cost.seconds(e).values())) for e in (experiment, other)
    )
    raise InputError(
        f"scale is 'paper', made for a GPU, and there is none: here, one seed would "
        f"take about {here}; --scale laptop takes {there}, --anyway runs it nonetheless"
    )


def _print(experiment: Experiment) -> None:
    width = max(len(name) for name, _ in experiment.table())
    for name, value in experiment.table():
        print(f"{name:{width}}  {value}")


def main() -> None:
    """Entry point of `ccfs`; exit code 2 and one sentence for what a user can mend."""
    command = tyro.cli(Sweep | Select | Export | Ship | Results | Doctor, prog="ccfs")
    try:
        command()
    except TimeUp as stop:
        print(f"ccfs: {stop}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)  # 75: run me again
    except (InputError, FloatingPointError, OSError) as error:
        print(f"ccfs: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("ccfs: stopped; the same command continues where it was", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
