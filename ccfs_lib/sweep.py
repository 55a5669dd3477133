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
    from ccfs_lib.pipeline import Pipeline
    from ccfs_lib.pipeline.measure import results_path

    one = isinstance(experiments, Experiment)
    several = [experiments] if one else list(dict.fromkeys(experiments))
    if odd := [e for e in several if not isinstance(e, Experiment)]:
        raise InputError(f"experiments holds {odd[0]!r}, but must hold Experiments")
    for e, arm in product(several, arms):
        parse(arm, e)
    worker_count(workers, False)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    pipelines = [Pipeline(e, deadline=deadline) for e in several]
    for pipeline in pipelines:
        pipeline.trainings.share(pipelines[0].trainings)
        _ = pipeline.train, pipeline.test  # decoded once, not by every worker
        pipeline.check(arms)
    names = [f"{e.run}, " if len(several) > 1 else "" for e in several]
    known = [_unfiled(p, arms, again, n) for p, n in zip(pipelines, names, strict=True)]
    cells = {p: some for p, some in zip(pipelines, known, strict=True) if some}
    if cells:
        if threads is None:
            threads = is_shared(pipelines[0].device)
        with executor(worker_count(workers, threads), threads) as pool:
            # What every cell needs comes first: workers would wait for each other.
            for pipeline, some in cells.items():
                _prepare(pool, pipeline, list(dict.fromkeys(arm for arm, _ in some)))
            _measured(pool, _cell, cells, command, again)
    paths = (results_path(e, arm) for e, arm in product(several, arms))
    return list(dict.fromkeys(paths))


def match(
    motivation: Motivation,
    arms: tuple[str, ...] = ARMS,
    *,
    workers: int = 0,
    command: str | None = None,
    time_limit: float | None = None,
    again: bool = False,
) -> list[Path]:
    """Measure arms x seeds of a run of Section 3; one results file per arm.

    arms: of `motivation.ARMS`. Workers, limit, what is filed, results and errors as for
    `sweep`; an expert and a cell are one worker's work each.
    """
    from ccfs_lib.pipeline.measure import results_path
    from ccfs_lib.pipeline.section3 import Section3Pipeline, known

    for arm in arms:
        known(arm)
    worker_count(workers, False)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    pipeline = Section3Pipeline(motivation, deadline=deadline)
    threads = is_shared(pipeline.device)
    _ = pipeline.train, pipeline.test  # as in `sweep`
    pipeline.check(arms)
    if cells := _unfiled(pipeline, arms, again):
        with executor(worker_count(workers, threads), threads) as pool:
            pipeline.window()  # one that leaves its class is refused before training
            if any(arm == "ccfs-mtt" for arm, _ in cells):
                _ = pipeline.ranking  # so is a missing file
            experts = [(_expert, number) for number in range(motivation.experts)]
            run_all(pool, (motivation, deadline), experts, "experts", "expert")
            _measured(pool, _match, {pipeline: cells}, command, again)
    return [results_path(motivation, arm) for arm in dict.fromkeys(arms)]


def _unfiled(pipeline, arms, again: bool, run: str = "") -> list[tuple[str, int]]:
    """List the cells, (arm, seed), whose rows are not filed; a Notice names others.

    run: what the Notice begins with.
    """
    seeds, cells = range(pipeline.experiment.seeds), []
    for arm in dict.fromkeys(arms):
        known = set() if again else pipeline.filed(arm)
        cells += [(arm, seed) for seed in seeds if seed not in known]
        if known:
            warnings.warn(
                f"{run}{arm}: {len(known)} of {len(seeds)} rows are filed and not "
                "computed again (--again does)",
                Notice,
                stacklevel=3,
            )
    return cells


def _prepare(pool: Executor, pipeline, arms: list[str]) -> None:
    """Compute teacher, scores and recovered images into the store, for all cells."""
    per_class = max(parse(arm).distilled(pipeline.experiment) for arm in arms)
    if pipeline.experiment.score != "forgetting":
        _ = pipeline.difficulty  # a missing file is refused before anything is trained
    shared = pipeline.experiment, pipeline.trainings.deadline
    # Only a selection asks for scores; all else needs the teacher alone.
    selects = any(parse(arm).needs_phases for arm in arms)
    seeds = pipeline.squeeze.seeds if selects else pipeline.squeeze.seeds[:1]
    missing = [(_squeeze, n) for n in seeds if not pipeline.squeeze.has(n)]
    # Bits do not depend on who trains, for a portable experiment; for others they may
    # depend on the number of threads, as they do from machine to machine.
    if len(missing) > 1:
        run_all(pool, shared, missing, "squeeze", "training")
    # One alone is trained here, by all cores.
    _ = pipeline.teacher, pipeline.evaluator, selects and pipeline.difficulty
    pipeline.recover.compare(per_class)
    tasks = [(_recover, per_class, n) for n in pipeline.recover.batches(per_class)]
    run_all(pool, shared, tasks, "recover", "batch")


def _measured(pool: Executor, compute, cells: dict, command, again: bool) -> None:
    """Give every cell to the pool; file its row as soon as it is there.

    cells: pipeline -> arms and seeds.
    """
    whose, tasks = {}, []
    for pipeline, some in cells.items():
        settings = getattr(pipeline, "motivation", pipeline.experiment)
        whose[settings] = pipeline
        deadline = pipeline.trainings.deadline
        tasks += [(compute, settings, deadline, arm, seed) for arm, seed in some]
    for _, settings, _, arm, seed in completed(pool, (), tasks, "sweep", "cell"):
        whose[settings].measure(arm, command, [seed], again)


def _squeeze(experiment: Experiment, deadline: float | None, seed: int) -> None:
    """Train one network on all data; seed 0 is the teacher."""
    from ccfs_lib.pipeline import Pipeline

    Pipeline(experiment, deadline=deadline).squeeze.run(seed)


def _recover(
    experiment: Experiment, deadline: float | None, per_class: int, number: int
) -> None:
    """Recover one batch of images into the store."""
    from ccfs_lib.pipeline import Pipeline

    # Linux's monotonic clock is one for all processes, so a deadline can travel.
    Pipeline(experiment, deadline=deadline).recover.batch(per_class, number)


def _cell(experiment: Experiment, deadline: float | None, arm: str, seed: int) -> None:
    """Compute one cell; its stages stay in the store, where `measure` finds them."""
    from ccfs_lib.pipeline import Pipeline

    Pipeline(experiment, deadline=deadline).evaluate(arm, seed)


def _expert(motivation: Motivation, deadline: float | None, number: int) -> None:
    """Train one expert into the store."""
    from ccfs_lib.pipeline.section3 import Section3Pipeline

    Section3Pipeline(motivation, deadline=deadline).experts(range(number, number + 1))


def _match(motivation: Motivation, deadline: float | None, arm: str, seed: int) -> None:
    """Compute one cell of Section 3."""
    from ccfs_lib.pipeline.section3 import Section3Pipeline

    Section3Pipeline(motivation, deadline=deadline).evaluate(arm, seed)
