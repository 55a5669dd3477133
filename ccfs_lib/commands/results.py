"""The commands that only look: results, doctor."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Results:
    """Print the measured results of runs; nothing is written but what --out names."""

    run: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """such as cifar10-jpeg-ipc250; default all"""
    out: Path | None = None
    """a .csv for all rows of the runs that are evidence, one per seed"""

    def __call__(self) -> None:
        """Print one line per arm: mean, sd, 95 % t interval, seeds."""
        from ccfs_lib import results
        from ccfs_lib.runtime import paths

        if self.out is not None:
            out = self.out.expanduser()
            paths.writable(out, "out")
        roots = dict.fromkeys((paths.results(), paths.own_results()))
        if self.run:
            tables = [results.load(paths.filed(run), run) for run in self.run]
            print(*map(_lines, tables), sep="\n")
        else:
            tables = [results.load(root) for root in roots if _there(root, roots)]
            print(*map(_lines, tables), sep="\n\nRuns of your own:\n\n")
        print("\nTest accuracy in percent, 95 % t intervals from three seeds on")
        if self.out is not None:
            print(results.gather(paths.results(), out))


def _there(root: Path, roots) -> bool:
    """Whether to read a folder of results; the first has to be there."""
    return root.is_dir() or root == next(iter(roots))


def _lines(rows) -> str:
    """Format a line per arm of a table of `results.load`."""
    return "\n".join(
        _line(run, arm, part) for (run, arm), part in rows.groupby(["run", "cell"])
    )


def _line(run: str, arm: str, rows) -> str:
    from ccfs_lib.statistics import summary

    s, best = summary(rows["last"]), summary(rows["best"])
    spread = "" if math.isnan(s.half) else f"± {s.half:4.2f} "
    spread += f"(sd {s.sd:4.2f})" if s.n > 1 else ""
    seeds = "seed" if s.n == 1 else "seeds"
    return (
        f"{run:24} {arm:22} last {s.mean:5.2f} {spread:18} best {best.mean:5.2f}  "
        f"{s.n} {seeds}"
    )


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has and what would run on it."""

    def __call__(self) -> None:
        """Print versions, device, and the folders of cache, results and data."""
        import torch

        from ccfs_lib import results
        from ccfs_lib.runtime import paths

        for name, value in results.provenance(
            "cuda" if torch.cuda.is_available() else "cpu"
        ).items():
            print(f"{name:12} {value}")
        print(f"{'cache':12} {paths.cache()}")
        print(f"{'results':12} {paths.results()}")
        print(f"{'CCFS_DATA':12} {os.environ.get('CCFS_DATA', 'not set')}")
