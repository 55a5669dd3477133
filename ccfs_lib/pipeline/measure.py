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
NAMES = ("network", "teacher_network", "evaluation_network", "evaluation_teacher")
NAMES += ("matcher", "score", "ccfs_score")
# Of a configuration, what is known only when a teacher is trained.
TEACHERS = ("teacher_last", "teacher_best", "teacher_train", "evaluator_last")
# Work that a budget in minutes bought, at the rate of the machine: Table 1's rows.
WORK = ("passes", "share")
CHOSEN = ("judged_by",)  # how many seeds choose the oracle's window
# Training seeds are 1000 * seed + phase, and this "phase" is the test. A teacher's seed
# is its own number: of one network, it begins with the weights of seed 0's phase.
EVALUATION = 999


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
    again: bool = False,
) -> Path:
    """Evaluate an arm and file a row for each seed as soon as it is known.

    Rows that are there, of equal settings and images, are left as they are, but for a
    portable run: that is cheap, and has to repeat. On a GPU the seeds run side by side,
    as those of a sweep do. Returns the path of the results.

    pipeline: has `evaluate`, `experiment`, `trainings`. settings: what names the run
    and is filed (an Experiment, a Motivation). config: what is filed besides. seeds:
    default all of the experiment. again: rows that are there are replaced.
    """
    e, t = pipeline.experiment, pipeline.trainings
    config = _config(pipeline, settings, arm) | config
    place = paths.filed(settings.run), settings.run, _cell(arm)
    results.check_images(*place[:2], _fingerprints(t))
    same = results.seeds(*place, config)
    known = set() if again or e.portable else same
    todo = [seed for seed in seeds or range(e.seeds) if seed not in known]
    if todo:
        # Another machine trained their teacher, to other bits, or did other work in as
        # many minutes, or more seeds choose a window: no file mixes the two, and none
        # has fewer seeds than the one it replaces.
        aside = TEACHERS + WORK + CHOSEN
        others = results.seeds(*place, config, aside=aside) - same
        todo += sorted(others - set(todo))
    done = beside(lambda seed: pipeline.evaluate(arm, seed), todo, t.device)
    done = (row for _, row in progress(done, arm, "seed", total=len(todo)))
    # What replaces a file is written whole, at once; else a row as soon as it is known.
    parts = [list(done)] if todo and others else ([row] for row in done)
    for rows in parts:
        provenance = results.provenance(t.device, command)
        results.write(*place, config=config, rows=rows, provenance=provenance)
    return results_path(settings, arm)


def filed(pipeline, settings, arm: str, config: dict) -> set[int]:
    """List the seeds of the experiment whose rows are filed; nothing is trained.

    They were measured with equal settings, files and images. The teacher's accuracies,
    which follow from these, are not compared. Of a portable run none is: it is cheap,
    and has to repeat. Arguments as for `measure`.
    """
    if pipeline.experiment.portable:
        return set()
    place = paths.filed(settings.run), settings.run, _cell(arm)
    config = _config(pipeline, settings, arm) | config
    known = results.seeds(*place, config, aside=TEACHERS)
    return known & set(range(pipeline.experiment.seeds))


def with_more_work(pipeline, settings, arm: str, config: dict) -> set[int]:
    """List the seeds of the experiment, where all are filed after more passes than now.

    A slower machine, which does less in the minutes of a budget, does not replace them.
    Arguments as for `measure`; set() where one is missing, or nothing else is equal.
    """
    place = paths.filed(settings.run), settings.run, _cell(arm)
    passes = results.setting(*place, "passes") or 0
    config = _config(pipeline, settings, arm) | config
    known = results.seeds(*place, config, aside=TEACHERS + WORK)
    every = set(range(pipeline.experiment.seeds))
    return every if passes > config["passes"] and known >= every else set()


def other_teacher(pipeline, settings, arm: str) -> str:
    """Say with which teacher an arm's rows are filed, where it is not the one here.

    "" where it is, or where no teacher is trained here yet: nothing is trained for it.
    pipeline: a `Pipeline`; settings and arm as for `measure`.
    """
    if pipeline.experiment.teacher_from or not pipeline.squeeze.has():
        return ""
    place = paths.filed(settings.run), settings.run, _cell(arm)
    there, here = results.setting(*place, TEACHERS[0]), pipeline.teacher.last
    if there in (None, here):
        return ""
    return f" with another teacher ({there:.2f} %; the one here has {here:.2f} %)"


def results_path(settings, arm: str) -> Path:
    """Return the file of an arm's rows, there or not."""
    return paths.filed(settings.run) / settings.run / f"{_cell(arm)}.json"


def _config(pipeline, settings, arm: str) -> dict:
    """List what the rows of an arm depend on: settings, files and images."""
    e, t = pipeline.experiment, pipeline.trainings
    config = settings.hashed() | {"arm": arm, "seeds": e.seeds}
    config |= _fingerprints(t) | given(pipeline, settings)
    sources = plugins.sources((k, config[k]) for k in NAMES if k in config)
    return config | ({"sources": sources} if sources else {})


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
    e, hashes, scores = pipeline.experiment, {}, {"score": pipeline.experiment.score}
    if settings is e:
        hashes = {
            name: files.digest(getattr(e, name))
            for name in ("distilled_from", "selected_from", "teacher_from")
            if getattr(e, name)
        }
    else:  # Section 3 takes scores alone
        scores["ccfs_score"] = settings.ccfs_score
    for name, score in scores.items():
        # An arm that asks for no score may be measured without the file.
        if score.endswith((".npy", ".npz")) and Path(score).is_file():
            hashes[name] = files.digest(score)
    return {"given": hashes} if hashes else {}


def _fingerprints(trainings) -> dict[str, str]:
    splits = {"train": trainings.train, "test": trainings.test}
    return {name: split.fingerprint for name, split in splits.items()}
