"""The command `match`: SelMatch, its two variants and CCFS on MTT's images."""

import shlex
import sys
import time
from dataclasses import dataclass

from ccfs_lib.commands.options import grid
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import KNOWN, Motivation, motivation
from ccfs_lib.experiment.section3 import ARMS
from ccfs_lib.runtime.portable import settle

OWN = (
    "arms",
    "workers",
    "time_limit",
    "anyway",
    "dry_run",
    "ship",
)  # not of the run itself


@dataclass(frozen=True)
class Match:
    """Measure SelMatch, its two variants and CCFS on MTT's images; resumable.

    Section 3, Figure 2 and Table 10 of the paper. Several values of ipc, alpha or beta
    make a grid. Anything left out is the preset's, printed before it starts.
    """

    dataset: str = "digits"
    """digits, cifar10, cifar100, cifar10-jpeg, tiny-imagenet, or a path to images"""
    data_root: str = ""
    """folder that holds the data set; default $CCFS_DATA"""
    scale: str = ""
    """digits, laptop or paper (SelMatch's own cells); default by data set"""
    classes: int | None = None
    """only the first classes of the data set; 0 = all"""
    image_size: int | None = None
    """shrink images to so many pixels a side; 0 = as they are"""
    ipc: tuple[int, ...] = ()
    """images per class"""
    alpha: tuple[float, ...] = ()
    """distilled part of them, above 0 to 1"""
    beta: tuple[float, ...] = ()
    """where the window begins in a class, 0 (at the hardest image) to 1"""
    start: str | None = None
    """beta is a fraction of the class, or of the IPC as in the released code"""
    score: str | None = None
    """forgetting, published-forgetting, published-cscore, or a file"""
    network: str | None = None
    """of evaluations, and of the models that select"""
    matcher: str | None = None
    """network of the experts and of the inner steps"""
    experts: int | None = None
    """trajectories"""
    expert_epochs: int | None = None
    """their epochs"""
    iterations: int | None = None
    """of matching"""
    syn_steps: int | None = None
    """inner steps of an iteration"""
    batch_syn: int | None = None
    """images of an inner step; 0 = all"""
    max_start_epoch: int | None = None
    """matching starts at an expert's epoch below this"""
    lr_img: float | None = None
    """learning rate of the images"""
    epochs: int | None = None
    """of evaluations, and of the models that select"""
    curricula: int | None = None
    """phases of CCFS"""
    seeds: int | None = None
    """repetitions of matching, selection and evaluation; they share the experts"""
    portable: bool | None = None
    """the CPU, and bits that other machines repeat; the preset of digits is"""
    arms: tuple[str, ...] = ARMS
    """selmatch, two-shot, reverse, ccfs-mtt"""
    workers: int = 0
    """trainings at once; 0 = one per core, or five on a GPU"""
    time_limit: float | None = None
    """seconds after which to stop, with exit code 75; the same command continues"""
    anyway: bool = False
    """run the paper's scale without a GPU"""
    dry_run: bool = False
    """print settings and cost in image passes; train nothing"""
    ship: bool = False
    """copy the distilled sets of finished runs to data/artefacts; train nothing"""

    def runs(self) -> list[Motivation]:
        """The runs of the grid; raises InputError for the first that cannot be."""
        for arm in self.arms:
            if arm not in ARMS:
                raise InputError(
                    f"arms holds {arm!r}, but must be among {', '.join(ARMS)}"
                )
        own = {k: v for k, v in vars(self).items() if k not in OWN}
        made = list(dict.fromkeys(motivation(**point) for point in grid(own)))
        settle(any(m.experiment.portable for m in made))
        return made

    def __call__(self) -> None:
        """Run and print the table."""
        runs = self.runs()
        tell(runs)
        if self.dry_run:
            return
        if self.ship:
            from ccfs_lib.commands.ship import ship_matches

            count = len(set().union(*map(ship_matches, runs)))
            print(f"{count} artefacts are in data/artefacts")
            return
        if runs[0].experiment.scale == "paper" and not self.anyway:
            import torch

            if not torch.cuda.is_available():
                raise InputError(
                    "scale is 'paper', made for a GPU, and there is none: --scale "
                    "laptop runs here, --anyway runs the paper's nonetheless"
                )
        from ccfs_lib.commands.run import Results
        from ccfs_lib.sweep import match

        begun, left = time.monotonic(), self.time_limit
        for made in runs:
            if self.time_limit is not None:
                left = max(0.0, self.time_limit - (time.monotonic() - begun))
            command = shlex.join(["ccfs", *sys.argv[1:]])
            options = {"workers": self.workers, "command": command, "time_limit": left}
            match(made, self.arms, **options)
        Results(tuple(made.run for made in runs))()


def tell(runs: list[Motivation]) -> None:
    """Print all settings of the first run, its cost, and all names."""
    first = runs[0]
    table = first.table()
    if known := KNOWN.get(first.experiment.dataset):
        counts = first.passes(known.train, first.experiment.classes or known.classes)
        table += [(f"passes, {name}", f"{n:,}") for name, n in counts.items()]
    width = max(len(name) for name, _ in table)
    for name, value in table:
        print(f"{name:{width}}  {value}")
    print("Results are filed as", *(made.run for made in runs), sep="\n  ")
