"""A grid as data: its variants, its cells, and the stages that cells share.

A variant is one experiment, a cell is one arm of it with one seed. Torch is not
imported here: on a cluster, Snakemake reads the plan again at the start of every job.
"""

import json
import os
import sys
import threading
from collections.abc import Iterable
from dataclasses import asdict, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from ccfs_lib.arms import CONTROLS, FURTHER, STRATEGIES, parse
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import (
    SMALLEST_CLASS,
    STRICT,
    Count,
    Experiment,
    preset,
)
from ccfs_lib.experiment.recipes import no_booleans
from ccfs_lib.runtime.progress import progress
from ccfs_lib.store import key

# What makes a stage the same for two experiments, so that they compute it once.
SHARED = {
    "squeeze": ("data", "teacher"),
    "recover": ("data", "teacher", "images"),
    "filter": ("data", "teacher", "images", "filter"),
}

PATHS = ("dataset", "data_root", "distilled_from", "selected_from", "score")

Axes = dict[str, Annotated[list[Any], Field(min_length=1)]]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]


def _listed(value):
    return [value] if isinstance(value, dict) else value


@dataclass(frozen=True, config=STRICT)
class Grid:
    """A grid description; workflow/README.md shows one."""

    grid: Name
    base: dict[str, Any] = Field(default_factory=dict)  # settings of every variant
    # One dict of lists, whose product gives the variants, or several, joined.
    axes: Annotated[list[Axes], BeforeValidator(_listed)] = Field(
        default_factory=lambda: [{}]
    )
    arms: Annotated[
        tuple[Literal[STRATEGIES + CONTROLS + FURTHER], ...], Field(min_length=1)
    ] = STRATEGIES + CONTROLS
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    each: Literal["arm", "seed"] = "seed"  # cells of a process: seconds or hours long
    recovery: Count = 1  # processes that share the recovery of images
    gpu: Annotated[int, Field(ge=0)] = 0  # what a job asks Snakemake or Slurm for
    chapters: tuple[Name, ...] = ()  # notebooks executed for every variant, on demand

    _no_booleans = model_validator(mode="before")(no_booleans)

    @cached_property
    def settings(self) -> dict[str, dict]:
        """Settings of every variant, under the name that its results are filed by."""
        settings_of: dict[str, dict] = {}
        for axes in self.axes:
            for values in product(*axes.values()):
                point = self.base | dict(zip(axes, values, strict=True))
                variant = experiment(point)
                twin = settings_of.setdefault(variant.run, point)
                if experiment(twin) != variant:  # axes may meet, not collide
                    raise InputError(
                        f"grid: {encoded(twin)} and {encoded(point)} would both be "
                        f"filed under {variant.run}; measure them in two grids, each "
                        "with a $CCFS_RESULTS of its own"
                    )
        return settings_of

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """The experiment of every variant."""
        some = self.settings.items()
        return {run: experiment({**point, "seeds": self.seeds}) for run, point in some}

    @property
    def rows(self) -> list[str]:
        """The file of every cell, below the grid's folder."""
        cells = product(self.settings, self.arms, range(self.seeds))
        return [f"cells/{run}/{arm}/{seed}.json" for run, arm, seed in cells]

    @cached_property
    def encoded(self) -> str:
        """Encode this description as a word of a command line, for the jobs."""
        return encoded({f.name: getattr(self, f.name) for f in fields(self)})

    def parameters(self, run: str) -> str:
        """Encode a variant as the parameters of a notebook, in YAML."""
        return encoded(complete({**self.settings[run], "seeds": self.seeds}))

    def needs(self, run: str, arm: str, seeds: Iterable[int]) -> list[str]:
        """List the shared stages to finish before cells, which would wait for locks."""
        e = self.experiments[run]
        row = parse(arm)
        if not row.needs_phases:
            return self.images(run, row.distilled(e))
        files, strategy = self.start(run), f"{e.fine}-{e.coarse}"
        if e.real:
            files += [f"filter/{self.name('filter', run)}/{n}.json" for n in seeds]
        alike = row.in_filters and row.strategy is None  # the same filters
        if alike and strategy in self.arms:
            files += [f"cells/{run}/{strategy}/{n}.json" for n in seeds]
        return files

    def start(self, run: str) -> list[str]:
        """List what a variant's first filter needs: images, and runs for the scores."""
        images = self.images(run, self.experiments[run].distilled)
        return list(dict.fromkeys(images + self.teachers(run)))

    def teachers(self, run: str) -> list[str]:
        """List trainings on all data: the teacher, and those that count forgetting."""
        e, name = self.experiments[run], self.name("squeeze", run)
        return [f"squeeze/{name}/{seed}.json" for seed in e.squeeze_seeds]

    def images(self, run: str, count: int) -> list[str]:
        """List recovered images, `count` of a class; of none, the teacher."""
        if self.experiments[run].distilled_from or not count:
            return self.teachers(run)[:1]
        folder, parts = f"recover/{self.name('recover', run)}", self.recovery
        return [f"{folder}/{count}/{part}-{parts}.json" for part in range(parts)]

    def name(self, stage: str, run: str) -> str:
        """Name a shared stage of a variant by what it depends on.

        So its file is never out of date, and a grid may grow without a job repeated.
        """
        e = self.experiments[run]
        count = {"distilled": e.distilled} if stage == "filter" else {}
        return key(e.part(*SHARED[stage]) | count)[:8]

    def owner(self, stage: str, name: str) -> str:
        """Find some variant that has the shared stage of this name."""
        return next(run for run in self.experiments if self.name(stage, run) == name)


def read(config: dict) -> Grid:
    """Check a grid description; raises InputError, a sentence for the first mistake."""
    try:
        grid = Grid(**config)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InputError(
            f"grid: {name} is {first['input']!r}: {first['msg']}"
        ) from None
    for e in grid.experiments.values():  # all are checked now, before anything starts
        for name in PATHS:
            path = os.path.expanduser(value := getattr(e, name))
            if value in SMALLEST_CLASS or os.path.isabs(path):
                continue
            if os.path.exists(path):
                raise InputError(
                    f"grid: {name} is {value!r}, but jobs run in another folder: give "
                    "the whole path"
                )
    return grid


def experiment(settings: dict) -> Experiment:
    """Return a preset with these settings: fields of Experiment, epochs and reading.

    What a recipe, a dict, leaves out stays the preset's. Raises InputError as `preset`.
    """
    return preset(**settings)


def complete(settings: dict) -> dict:
    """Complete settings with whole recipes, as `preset` and a notebook take them."""
    nested = {k: v for k, v in settings.items() if isinstance(v, dict)}
    if not nested:
        return settings
    plain = asdict(preset(**{k: v for k, v in settings.items() if k not in nested}))
    return settings | {k: plain.get(k, {}) | v for k, v in nested.items()}


def encoded(settings: dict) -> str:
    """Encode settings as one word, the same for equal settings."""
    return json.dumps(settings, sort_keys=True)


class Watch(threading.Thread):
    """Show in the background how many of these files there are, until all are.

    A bar on a terminal; elsewhere a line whenever there are more. What `stop` finds new
    is said too.
    """

    def __init__(self, rows: list[Path]):
        super().__init__(daemon=True)
        self.rows, self.over = rows, threading.Event()

    def run(self) -> None:
        """Look every second, and a last time when told to stop."""
        seen, over = self.count(), False
        with progress(None, "grid", "cell", total=len(self.rows), initial=seen) as bar:
            while seen < len(self.rows) and not over:
                over = self.over.wait(1)
                done = self.count()
                if bar.disable and done > seen:
                    said = f"{done} of {len(self.rows)} cells"
                    print(said, file=sys.stderr, flush=True)
                bar.update(done - seen)
                seen = done

    def count(self) -> int:
        """Count the files that are there."""
        return len([row for row in self.rows if row.exists()])

    def stop(self) -> None:
        """Count a last time and end."""
        self.over.set()
        if self.is_alive():
            self.join()
