"""A grid of arms and seeds as one resumable command.

Cells are independent and stages are kept, so a killed sweep continues where it was:
whatever it had trained is read, not trained again.
"""

import time
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from itertools import product
from pathlib import Path

from ccfs_lib.arms import CONTROLS, STRATEGIES, parse
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.experiment import Experiment, Motivation
from ccfs_lib.experiment.section3 import ARMS
from ccfs_lib.runtime.workers import (
    completed,
    executor,
    is_shared,
    run_all,
    worker_count,
)


def sweep(
    experiments: Experiment | Sequence[Experiment],
    arms: tuple[str, ...] = STRATEGIES + CONTROLS,
    *,
    workers: int = 0,
    command: str | None = None,
    time_limit: float | None = None,
    threads: bool | None = None,
    again: bool = False,
) -> list[Path]:
    """Measure every arm with every seed; write one results file per arm.

    Of several experiments, what their cells share is computed first, then all cells
    in one queue: no worker waits for the last cell of an experiment. Rows that are
    filed already, measured with equal settings, files and images, are not computed
    again, but for a portable run; a Notice names them.

    arms: strategies ("simple-misclassified", ...) and controls ("random", "distilled",
    "random-hard", "ccfs-hard"). workers: trainings at once; 0 means one per core, or
    six on a GPU. threads: of one process, whose trainings share a queue, instead of
    processes; None means on a GPU.
    time_limit: seconds, after which TimeUp is raised at the next epoch boundary.
    again: rows that are filed are computed, too, and replaced.
    Returns the paths of the results; a row is filed as soon as its cell is complete.
    Raises InputError for an unknown arm, for what is no Experiment, or a negative
    number of workers.
    """
    several = _several(experiments, Experiment, "experiments")
    for e, arm in product(several, arms):
        parse(arm, e)
    deadline = _deadline(time_limit)
    pipelines = [_pipeline(e, deadline) for e in several]
    how = {"workers": workers, "threads": threads, "command": command, "again": again}
    return _queue(pipelines, arms, _Sweep, **how)


def match(
    motivations: Motivation | Sequence[Motivation],
    arms: tuple[str, ...] = ARMS,
    *,
    workers: int = 0,
    command: str | None = None,
    time_limit: float | None = None,
    again: bool = False,
) -> list[Path]:
    """Measure arms x seeds of runs of Section 3; one results file per run and arm.

    arms: of `experiment.section3.ARMS`. Workers, limit, what is filed, results and
    errors as for `sweep`; an expert and a cell are one worker's work each.
    """
    from ccfs_lib.pipeline.section3 import known

    several = _several(motivations, Motivation, "motivations")
    for arm in arms:
        known(arm)
    deadline = _deadline(time_limit)
    pipelines = [_pipeline(m, deadline) for m in several]
    how = {"workers": workers, "command": command, "again": again}
    return _queue(pipelines, arms, _Match, **how)


def _several(given, kind: type, name: str) -> list:
    several = [given] if isinstance(given, kind) else list(dict.fromkeys(given))
    if odd := [one for one in several if not isinstance(one, kind)]:
        raise InputError(f"{name} holds {odd[0]!r}, but must hold {kind.__name__}s")
    return several


def _deadline(limit: float | None) -> float | None:
    return None if limit is None else time.monotonic() + limit


def _settings(pipeline) -> Experiment | Motivation:
    return getattr(pipeline, "motivation", pipeline.experiment)


def _pipeline(settings: Experiment | Motivation, deadline: float | None):
    from ccfs_lib.pipeline import Pipeline, Section3Pipeline

    # Linux's monotonic clock is one for all processes, so a deadline can travel.
    kind = Pipeline if isinstance(settings, Experiment) else Section3Pipeline
    return kind(settings, deadline=deadline)


def _queue(
    pipelines, arms, work, *, workers: int, command, again: bool, threads=None
) -> list[Path]:
    """Measure the arms of all pipelines, their cells in one queue; return the paths.

    work: _Sweep or _Match.
    """
    from ccfs_lib.pipeline.measure import results_path

    worker_count(workers, False)
    for pipeline in pipelines:
        pipeline.trainings.share(pipelines[0].trainings)
        _ = pipeline.train, pipeline.test  # decoded once, not by every worker
        pipeline.check(arms)
    runs = [f"{_settings(p).run}, " if len(pipelines) > 1 else "" for p in pipelines]
    named = zip(pipelines, runs, strict=True)
    todo = [_unfiled(p, arms, work, again, run) for p, run in named]
    cells = {p: some for p, some in zip(pipelines, todo, strict=True) if some}
    if cells:
        if threads is None:
            threads = is_shared(pipelines[0].device)
        left = {p: list(dict.fromkeys(a for a, _ in some)) for p, some in cells.items()}
        with executor(worker_count(workers, threads), threads) as pool:
            for pipeline, names in left.items():
                work.refuse(pipeline, names)
            # What every cell needs comes first: workers would wait for each other.
            for pipeline, names in left.items():
                work.prepare(pool, pipeline, names)
            _measured(pool, cells, command, again)
    paths = (results_path(_settings(p), arm) for p, arm in product(pipelines, arms))
    return list(dict.fromkeys(paths))


def _unfiled(pipeline, arms, work, again: bool, run: str) -> list[tuple[str, int]]:
    """List the cells, (arm, seed), whose rows are not filed; a Notice names others.

    work: as for `_queue`. run: what the Notice begins with.
    """
    seeds, cells = range(pipeline.experiment.seeds), []
    for arm in dict.fromkeys(arms):
        known = set() if again else pipeline.filed(arm)
        cells += [(arm, seed) for seed in seeds if seed not in known]
        if known:
            warnings.warn(
                f"{run}{arm}: {len(known)} of {len(seeds)} rows are filed"
                f"{work.other_teacher(pipeline, arm)} and not computed again (--again "
                "does)",
                Notice,
                stacklevel=3,
            )
    return cells


class _Sweep:
    """What a sweep refuses, computes for all cells, and computes for one."""

    @staticmethod
    def other_teacher(pipeline, arm: str) -> str:
        """Say which teacher an arm is filed with, where it is not the one here."""
        return pipeline.other_teacher(arm)

    @staticmethod
    def refuse(pipeline, arms: list[str]) -> None:
        """Read scores from a file: a missing one is refused before any training."""
        if pipeline.experiment.score != "forgetting":
            _ = pipeline.difficulty

    @staticmethod
    def prepare(pool: Executor, pipeline, arms: list[str]) -> None:
        """Compute teacher, scores and recovered images into the store."""
        per_class = max(parse(arm).distilled(pipeline.experiment) for arm in arms)
        shared = pipeline.experiment, pipeline.trainings.deadline
        # Only a selection asks for scores; all else needs the teacher alone.
        selects = any(parse(arm).needs_phases for arm in arms)
        seeds = pipeline.squeeze.seeds if selects else pipeline.squeeze.seeds[:1]
        missing = [(_squeeze, n) for n in seeds if not pipeline.squeeze.has(n)]
        # Bits do not depend on who trains, for a portable experiment; for others they
        # may depend on the number of threads, as they do from machine to machine.
        if len(missing) > 1:
            run_all(pool, shared, missing, "squeeze", "training")
        # One alone is trained here, by all cores.
        _ = pipeline.teacher, pipeline.evaluator, selects and pipeline.difficulty
        pipeline.recover.compare(per_class)
        tasks = [(_recover, per_class, n) for n in pipeline.recover.batches(per_class)]
        run_all(pool, shared, tasks, "recover", "batch")


class _Match:
    """The same of a run of Section 3."""

    @staticmethod
    def other_teacher(pipeline, arm: str) -> str:
        """Say nothing: Section 3 has no teacher."""
        return ""

    @staticmethod
    def refuse(pipeline, arms: list[str]) -> None:
        """Compute the window, which may leave its class, and read a file of scores."""
        pipeline.window()
        if "ccfs-mtt" in arms:
            _ = pipeline.ranking

    @staticmethod
    def prepare(pool: Executor, pipeline, arms: list[str]) -> None:
        """Train the experts into the store."""
        shared = pipeline.motivation, pipeline.trainings.deadline
        experts = [(_expert, number) for number in range(pipeline.motivation.experts)]
        run_all(pool, shared, experts, "experts", "expert")


def _measured(pool: Executor, cells: dict, command, again: bool) -> None:
    """Give every cell to the pool; file its row as soon as it is there.

    cells: pipeline -> arms and seeds.
    """
    whose, tasks = {}, []
    for pipeline, some in cells.items():
        settings = _settings(pipeline)
        whose[settings] = pipeline
        deadline = pipeline.trainings.deadline
        tasks += [(_cell, settings, deadline, arm, seed) for arm, seed in some]
    for (_, settings, _, arm, seed), _ in completed(pool, (), tasks, "sweep", "cell"):
        whose[settings].measure(arm, command, [seed], again)


def _cell(
    settings: Experiment | Motivation, deadline: float | None, arm: str, seed: int
) -> None:
    """Compute one cell into the store, where `measure` finds its stages."""
    _pipeline(settings, deadline).evaluate(arm, seed)


def _squeeze(experiment: Experiment, deadline: float | None, seed: int) -> None:
    """Train one network on all data; seed 0 is the teacher."""
    _pipeline(experiment, deadline).squeeze.run(seed)


def _recover(
    experiment: Experiment, deadline: float | None, per_class: int, number: int
) -> None:
    """Recover one batch of images into the store."""
    _pipeline(experiment, deadline).recover.batch(per_class, number)


def _expert(motivation: Motivation, deadline: float | None, number: int) -> None:
    """Train one expert into the store."""
    _pipeline(motivation, deadline).experts(range(number, number + 1))
