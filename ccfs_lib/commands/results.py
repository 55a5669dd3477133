"""The commands that only look: results, doctor."""

import os
from dataclasses import dataclass
from typing import Annotated

import tyro


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
