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
from ccfs_lib.runtime.workers import crew, done, every, size


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
    five on a GPU. threads: of one process instead of processes; None means on a GPU.
    time_limit: seconds, after which TimeUp is raised at the next epoch boundary.
    Returns the paths of the results, each written as soon as its arm is complete.
    Raises InputError for an unknown arm or a negative number of workers.
    """
    from ccfs_lib.pipeline import Pipeline

    for arm in arms:
        parse(arm, experiment)
    size(workers, False)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    stages = Pipeline(experiment, deadline=deadline)
    if threads is None:
        threads = stages.device == "cuda"
    most = max([experiment.distilled, *(parse(a).distilled(experiment) for a in arms)])
    with crew(size(workers, threads), threads) as pool:
        # What every cell needs comes first: workers would only wait for each other.
        _shared(pool, stages, most)
        return _measured(pool, stages, (experiment, deadline), _cell, arms, command)


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
    size(workers, False)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    stages = Section3Pipeline(motivation, deadline=deadline)
    how = motivation, deadline
    threads = stages.device == "cuda"
    with crew(size(workers, threads), threads) as pool:
        _ = stages.train, stages.test, stages.difficulty  # as in `_shared`
        stages.window()  # one that leaves its class is told before anything trains
        experts = [(_expert, number) for number in range(motivation.experts)]
        every(pool, how, experts, "experts", "expert")
        return _measured(pool, stages, how, _match, arms, command)


def _shared(pool: Executor, stages, per_class: int) -> None:
    """Teacher, scores and recovered images: kept in the store for all cells."""
    if stages.experiment.score != "forgetting":
        _ = stages.difficulty  # a missing file is told before anything is trained
    _ = stages.train, stages.test  # decoded once, not by every worker
    how = stages.experiment, stages.trainings.deadline
    missing = [(_squeeze, n) for n in stages.squeeze.seeds if not stages.squeeze.has(n)]
    # Bits do not depend on who trains, for a portable experiment; for others they may
    # depend on the number of threads, as they do from machine to machine.
    if len(missing) > 1:
        every(pool, how, missing, "squeeze", "training")
    # One alone is trained here, by all cores.
    _ = stages.teacher, stages.evaluator, stages.difficulty
    tasks = [(_recover, per_class, n) for n in stages.recover.batches(per_class)]
    every(pool, how, tasks, "recover", "batch")


def _measured(pool: Executor, stages, how, cell, arms, command) -> list[Path]:
    """Give every cell to the pool; write an arm's results when its last is done."""
    seeds = range(stages.experiment.seeds)
    tasks = [(cell, arm, seed) for arm in arms for seed in seeds]
    left, paths = dict.fromkeys(arms, len(seeds)), []
    for _, arm, _ in done(pool, how, tasks, "sweep", "cell"):
        left[arm] -= 1
        if not left[arm]:
            paths.append(stages.measure(arm, command))
    return paths


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
