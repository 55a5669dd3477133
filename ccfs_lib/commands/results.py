"""The commands that only look: results, doctor."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ccfs_lib.experiment.datasets import KNOWN, SCORE_FILES, score_file
from ccfs_lib.runtime import paths


@dataclass(frozen=True)
class Results:
    """Print the measured results of runs; nothing is written but what --out names."""

    run: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """such as cifar10-16px-ipc100; default all"""
    out: Path | None = None
    """a .csv for all rows of the runs that are evidence, one per seed"""

    def __call__(self) -> None:
        """Print one line per arm: mean, sd, 95 % t interval, seeds."""
        from ccfs_lib import results

        if self.out is not None:
            out = paths.expanded(self.out)
            paths.writable(out, "out")
        roots = dict.fromkeys((paths.results(), paths.own_results()))
        if self.run:
            tables = [results.load(_root(run), run) for run in self.run]
            print(*map(_lines, tables), sep="\n")
        else:
            tables = [results.load(root) for root in roots if _there(root, roots)]
            print(*map(_lines, tables), sep="\n\nRuns of your own:\n\n")
        print("\nTest accuracy in percent, 95 % t intervals from three seeds on")
        if self.out is not None:
            print(results.gather(paths.results(), out))


def _root(run: str) -> Path:
    """Find the folder that a run is filed in; for an unknown one that of the others."""
    root = paths.filed(run)
    return root if (root / run).is_dir() else paths.results()


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
        f"{s.n} {seeds}{_short(rows)}"
    )


def _short(rows) -> str:
    """Say how large sets are that are smaller than wanted: classes may lack images."""
    if not {"images", "wanted"} <= set(rows):
        return ""
    part = rows[["images", "wanted"]].dropna()
    share = part["images"].sum() / max(part["wanted"].sum(), 1)
    return f", {100 * share:.1f} % of the images wanted" if 0 < share < 1 else ""


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has, which data it finds, and what would run on it."""

    def __call__(self) -> None:
        """Print versions, device, memory, folders, data sets and what would run."""
        import torch

        from ccfs_lib import results

        on_gpu = torch.cuda.is_available()
        facts = results.provenance("cuda" if on_gpu else "cpu")
        facts |= {"GPU": _gpu(on_gpu), "memory": _memory()}
        facts |= {"cache": paths.cache(), "results": paths.results()}
        if paths.own_results() != paths.results():
            facts["own results"] = paths.own_results()
        facts["CCFS_DATA"] = os.environ.get("CCFS_DATA", "not set")
        for name, value in facts.items():
            print(f"{name:14} {value}")
        for name in KNOWN:
            print(f"{name:14} {_found(name)}")
        scale = "--scale paper and laptop" if on_gpu else "--scale laptop"
        print(f"{'would run':14} digits anywhere; {scale} on the data sets found")


def _gpu(on_gpu: bool) -> str:
    import torch

    if not on_gpu:
        return "none: what is made for one is refused without --anyway"
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB"


def _memory() -> str:
    import torch

    from ccfs_lib.runtime.memory import free_bytes

    return f"{free_bytes(torch.device('cpu')) / 2**30:.1f} GiB free"


def _found(name: str) -> str:
    """Say whether a data set and its published scores are there, or what is wrong."""
    from ccfs_lib.data import catalogue, cifar
    from ccfs_lib.errors import InputError

    if name == "digits":
        return "here, with scikit-learn"
    if not (root := os.environ.get("CCFS_DATA")):
        return "not looked for: CCFS_DATA is not set"
    root = paths.expanded(root)
    name = "cifar100" if name == catalogue.COARSE else name  # the same files
    try:
        official = name in ("cifar10", "cifar100") and cifar.folder(name, root).is_dir()
        if not official and catalogue.present(name, root, "train") is None:
            return f"not in {root}"
    except InputError as error:
        return f"cannot be read: {error}"
    if name not in SCORE_FILES:
        return "found; its scores are counted in trainings"
    kinds = "published-forgetting", "published-cscore"
    there = [kind for kind in kinds if score_file(kind, name).exists()]
    return f"found; scores: {', '.join(there) or 'no published ones'}"
