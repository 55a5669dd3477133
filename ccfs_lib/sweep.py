"""A grid of arms and seeds as one resumable command.

Cells are independent and stages are kept, so a killed sweep continues where it was:
whatever it had trained is read, not trained again.
"""

import time
from concurrent.futures import Executor
from pathlib import Path

from ccfs_lib.arms import CONTROLS, STRATEGIES, parse
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
    experiment: Experiment,
    arms: tuple[str, ...] = STRATEGIES + CONTROLS,
    *,
    workers: int = 0,
    command: str | None = None,
    time_limit: float | None = None,
    threads: bool | None = None,
) -> list[Path]:
    """Measure every arm with every seed; write one results file per arm.

    arms: strategies ("simple-misclassified", ...) and controls ("random", "distilled",
    "random-hard", "ccfs-hard"). workers: trainings at once; 0 means one per core, or
    six on a GPU. threads: of one process, whose trainings share a queue, instead of
    processes; None means on a GPU.
    time_limit: seconds, after which TimeUp is raised at the next epoch boundary.
    Returns the paths of the results; a row is filed as soon as its cell is complete.
    Raises InputError for an unknown arm or a negative number of workers.
    """
    from ccfs_lib.pipeline import Pipeline

    for arm in arms:
        parse(arm, experiment)
    worker_count(workers, False)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    pipeline = Pipeline(experiment, deadline=deadline)
    if threads is None:
        threads = is_shared(pipeline.device)
    most = max((parse(arm).distilled(experiment) for arm in arms), default=0)
    with executor(worker_count(workers, threads), threads) as pool:
        # What every cell needs comes first: workers would only wait for each other.
        _prepare(pool, pipeline, most, arms)
        return _measured(pool, pipeline, (experiment, deadline), _cell, arms, command)


def match(
    motivation: Motivation,
    arms: tuple[str, ...] = ARMS,
    *,
    workers: int = 0,
    command: str | None = None,
    time_limit: float | None = None,
) -> list[Path]:
    """Measure arms x seeds of a run of Section 3; one results file per arm.

    arms: of `motivation.ARMS`. Workers, limit, results and errors as for `sweep`; an
    expert and a cell are one worker's work each.
    """
    from ccfs_lib.pipeline.section3 import Section3Pipeline, known

    for arm in arms:
        known(arm)
    worker_count(workers, False)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    pipeline = Section3Pipeline(motivation, deadline=deadline)
    shared = motivation, deadline
    threads = is_shared(pipeline.device)
    with executor(worker_count(workers, threads), threads) as pool:
        _ = pipeline.train, pipeline.test, pipeline.difficulty  # as in `_prepare`
        pipeline.check(arms)
        pipeline.window()  # one that leaves its class is refused before anything trains
        if "ccfs-mtt" in arms:
            _ = pipeline.ranking  # so is a missing file
        experts = [(_expert, number) for number in range(motivation.experts)]
        run_all(pool, shared, experts, "experts", "expert")
        return _measured(pool, pipeline, shared, _match, arms, command)


def _prepare(pool: Executor, pipeline, per_class: int, arms) -> None:
    """Compute teacher, scores and recovered images into the store, for all cells."""
    _ = pipeline.train, pipeline.test  # decoded once, not by every worker
    pipeline.check(arms)
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
    tasks = [(_recover, per_class, n) for n in pipeline.recover.batches(per_class)]
    run_all(pool, shared, tasks, "recover", "batch")


def _measured(pool: Executor, pipeline, shared, cell, arms, command) -> list[Path]:
    """Give every cell to the pool; file its row as soon as it is there."""
    seeds = range(pipeline.experiment.seeds)
    tasks = [(cell, arm, seed) for arm in arms for seed in seeds]
    paths = {}
    for _, arm, seed in completed(pool, shared, tasks, "sweep", "cell"):
        paths[arm] = pipeline.measure(arm, command, [seed])
    return [paths[arm] for arm in dict.fromkeys(arms)]


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
