"""Rows of results and the files that they are written to, for both pipelines."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ccfs_lib import results
from ccfs_lib.data import ImageSet, files
from ccfs_lib.runtime import paths, plugins
from ccfs_lib.runtime.progress import progress
from ccfs_lib.runtime.workers import beside
from ccfs_lib.store import Artefact

if TYPE_CHECKING:
    import pandas

# Settings that may name a user's function, whose text then belongs to the results. Of
# data it does not: their fingerprints are there.
NAMES = ("network", "teacher_network", "evaluation_network", "matcher", "score")
# What a row's file says of the teacher is a result, and no setting.
TAUGHT = ("teacher_last", "teacher_best", "teacher_train", "evaluator_last")
EVALUATION = 999  # training seeds are 1000 * seed + phase; this "phase" is the test


def row(seed: int, done: Artefact, synthetic: ImageSet, wanted: int) -> dict:
    """Describe a training on a final set: seed, last, best (%), images, wanted."""
    measured = {k: done.meta[k] for k in ("last", "best")}
    return {"seed": seed, **measured, "images": len(synthetic), "wanted": wanted}


def check(pipeline, settings, arm: str = "") -> None:
    """Raise InputError where results of the run cannot be filed.

    Its folder may not be writable, or hold results of another data set of this name.
    Arguments as for `measure`. arm: whose file is no reason, where it has all rows. To
    be asked before anything is trained.
    """
    root, e = paths.filed(settings.run), pipeline.experiment
    if not arm or results.count(root, settings.run, _cell(arm)) < e.seeds:
        paths.writable(root / settings.run, "results", folder=True)
    results.check_images(root, settings.run, _fingerprints(pipeline.trainings))


def measure(
    pipeline,
    settings,
    arm: str,
    config: dict,
    command: str | None,
    seeds: Sequence[int] | None = None,
) -> Path:
    """Evaluate an arm and file a row for each seed as soon as it is known.

    Rows that are there, of equal settings and images, are left as they are, but for a
    portable run: that is cheap, and has to repeat. On a GPU the seeds run side by side,
    as those of a sweep do. Returns the path of the results.

    pipeline: has `evaluate`, `experiment`, `trainings`. settings: what names the run
    and is filed (an Experiment, a Motivation). config: what is filed besides. seeds:
    default all of the experiment.
    """
    e, t = pipeline.experiment, pipeline.trainings
    config = _whole(pipeline, settings, arm, config)
    place = _place(settings, arm)
    results.check_images(*place[:2], _fingerprints(t))
    known = set() if e.portable else results.seeds(*place, config)
    todo = [seed for seed in seeds or range(e.seeds) if seed not in known]
    done = beside(lambda seed: pipeline.evaluate(arm, seed), todo, t.device)
    for _, measured in progress(done, arm, "seed", total=len(todo)):
        results.write(
            *place,
            config=config,
            rows=[measured],
            provenance=results.provenance(t.device, command),
        )
    return place[0] / settings.run / f"{place[2]}.json"


def filed(
    pipeline, settings, arm: str, config: dict, seeds: Sequence[int] | None = None
) -> Path | None:
    """Find rows of all seeds that were measured under these settings and images.

    Whatever teacher they had: who has the rows, but neither the teacher nor what was
    trained under it, needs no training to show them. Arguments as for `measure`; config
    without the teacher's figures. None where a row is missing, and for portable runs,
    which are always repeated.
    """
    e, place = pipeline.experiment, _place(settings, arm)
    wanted = set(seeds or range(e.seeds))
    config = _whole(pipeline, settings, arm, config)
    if e.portable or not wanted <= results.seeds(*place, config, TAUGHT):
        return None
    return place[0] / place[1] / f"{place[2]}.json"


def _whole(pipeline, settings, arm: str, config: dict) -> dict:
    """Complete the configuration of a cell: settings, images, the user's files."""
    seeds = pipeline.experiment.seeds
    config = settings.hashed() | {"arm": arm, "seeds": seeds} | config
    config |= _fingerprints(pipeline.trainings) | given(pipeline, settings)
    sources = plugins.sources((k, config[k]) for k in NAMES if k in config)
    return config | ({"sources": sources} if sources else {})


def _place(settings, arm: str) -> tuple[Path, str, str]:
    return paths.filed(settings.run), settings.run, _cell(arm)


def _cell(arm: str) -> str:
    return arm.replace(":", ".")  # a rule of the user's, as a file's name


def measured_rows(settings) -> "pandas.DataFrame":
    """Read the measured rows of a run, of the seeds that it asks for.

    settings: as for `measure`. Its file may hold more seeds: a quick look has few.
    Raises InputError where the run has no results.
    """
    rows = results.load(paths.filed(settings.run), settings.run)
    seeds = getattr(settings, "experiment", settings).seeds
    return rows[rows["seed"] < seeds].reset_index(drop=True)


def given(pipeline, settings) -> dict:
    """Hash the user's files that decide over a result: the same path may change.

    Distilled images, a selection, scores and weights; {} where none is named.
    """
    e = pipeline.experiment
    if settings is not e:  # Section 3 takes scores alone
        return {}
    hashes = {
        name: files.digest(getattr(e, name))
        for name in ("distilled_from", "selected_from", "teacher_from")
        if getattr(e, name)
    }
    # An arm that asks for no score may be measured without the file.
    if e.score.endswith((".npy", ".npz")) and Path(e.score).is_file():
        hashes["score"] = files.digest(e.score)
    return {"given": hashes} if hashes else {}


def _fingerprints(trainings) -> dict[str, str]:
    splits = {"train": trainings.train, "test": trainings.test}
    return {name: split.fingerprint for name, split in splits.items()}
