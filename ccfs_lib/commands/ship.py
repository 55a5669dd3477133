"""Put a finished run's artefacts beside the code, so that others need not train.

Weights, recovered images, filters' answers and test accuracies of a run are a few
megabytes; the images of the data set are not among them.
"""

import shutil
from pathlib import Path

import torch
from torch import Tensor

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Experiment, Motivation
from ccfs_lib.pipeline import Pipeline, Section3Pipeline
from ccfs_lib.runtime import paths
from ccfs_lib.store import Artefact, Store

PER_IMAGE = ("predictions", "events")  # one per training image


class Shipping(Store):
    """A store that computes nothing and copies whatever is asked of it.

    root: what is read; to: where it is copied. leave: tensors whose names begin so are
    not copied. shipped: read, too, but not copied.
    """

    def __init__(
        self, root: Path, to: Path, leave: str = "", shipped: Path | None = None
    ):
        super().__init__(root, shipped)
        self.target, self.leave = Store(to), leave
        self.kept: set[Path] = set()

    def get(self, kind, recipe, compute) -> Artefact:
        """Read from the cache and copy; InputError where it was never computed."""
        artefact = super().get(kind, recipe, lambda: _missing(kind))
        if self.shipped and (self.shipped / kind / artefact.path.name).is_dir():
            return artefact
        tensors = {
            name: narrow(value) if name in PER_IMAGE else value
            for name, value in artefact.tensors.items()
            if not (self.leave and name.startswith(self.leave))
        }
        copy = self.target.get(kind, recipe, lambda: (tensors, artefact.meta))
        self.kept.add(copy.path)
        return artefact


def narrow(values: Tensor) -> Tensor:
    """Store whole numbers in as few bytes as hold them all; readers widen them."""
    for kind in (torch.uint8, torch.int16):
        bounds = torch.iinfo(kind)
        if bounds.min <= values.min() and values.max() <= bounds.max:
            return values.to(kind)
    return values


def _missing(kind: str):
    raise InputError(
        f"a stage ({kind}) has not been computed; run the sweep first, with "
        "--again where its rows are filed"
    )


def adopt(runs: list[str]) -> list[Path]:
    """Move results of a user's runs to those that are evidence; list their folders.

    What is evidence already stays.
    """
    moved = []
    for run in runs:
        here, there = paths.own_results() / run, paths.results() / run
        if here.is_dir() and not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(here, there)
            moved.append(there)
    return moved


def ship(
    experiment: Experiment,
    arms: tuple[str, ...],
    to: Path | None = None,
    start_only: bool = False,
) -> set[Path]:
    """Copy all that the arms of an experiment were made of to data/artefacts.

    to: another folder of the same layout. start_only: of these, the teacher, scores
    counted in trainings and CCFS's distilled images, with which another machine adds
    rows that compare with those measured. Returns the folders of the artefacts. Raises
    InputError if one of them has not been computed.
    """
    store = Shipping(paths.cache(), to or paths.shipped())
    pipeline = Pipeline(experiment, store)
    _ = pipeline.difficulty
    if start_only:
        _ = pipeline.teacher, pipeline.distilled(experiment.distilled)
        return store.kept
    for arm in arms:
        for seed in range(experiment.seeds):
            pipeline.evaluate(arm, seed)
    return store.kept


def ship_matches(motivation: Motivation) -> set[Path]:
    """Copy the distilled sets that chapter 12 shows; its accuracies are results.

    Result and errors as for `ship`.
    """
    store = Shipping(paths.cache(), paths.shipped())
    pipeline = Section3Pipeline(motivation, store)
    for arm in ("selmatch", "reverse"):
        for seed in range(motivation.experiment.seeds):
            pipeline.alone_or_beside(arm, seed)
    return store.kept
