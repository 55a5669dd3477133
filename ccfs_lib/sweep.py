"""A grid of arms and seeds as one resumable command.

Cells are independent and stages are kept, so a killed sweep continues where it was:
whatever it had trained is read, not trained again. On a CPU, one process per core with
one thread each beats one process with all threads: small networks do not fill them.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from ccfs_lib.experiment import CONTROLS, STRATEGIES, Experiment
from ccfs_lib.progress import progress


def sweep(
    experiment: Experiment,
    arms: tuple[str, ...] = STRATEGIES + CONTROLS,
    *,
    workers: int = 0,
    command: str | None = None,
    time_limit: float | None = None,
) -> list[Path]:
    """Measure every arm with every seed; write one results file per arm.

    arms: strategies ("simple-misclassified", ...) and controls ("random", "distilled",
    "random-hard", "ccfs-hard"). workers: processes; 0 means one per core, or one with a
    GPU. Returns the paths of the results, each written as soon as its arm is complete.
    time_limit: seconds, after which TimeUp is raised at the next epoch boundary.
    """
    import torch

    from ccfs_lib.pipeline import Pipeline

    deadline = None if time_limit is None else time.monotonic() + time_limit
    stages = Pipeline(experiment, deadline=deadline)
    # What every cell needs, with all threads: workers would wait for each other.
    most = experiment.ipc if "distilled" in arms else experiment.distilled
    _ = stages.difficulty, stages.distilled(most)
    cores = os.cpu_count() or 1
    workers = workers or (1 if torch.cuda.is_available() else cores)
    left = dict.fromkeys(arms, experiment.seeds)
    paths = []
    context = get_context("spawn")  # a forked torch may hang in its thread pool
    with ProcessPoolExecutor(workers, context, _start, (cores // workers,)) as pool:
        cells = [(arm, seed) for arm in arms for seed in range(experiment.seeds)]
        jobs = {pool.submit(_cell, experiment, *cell, deadline): cell for cell in cells}
        for job in progress(as_completed(jobs), "sweep", "cell", total=len(jobs)):
            if job.exception() is not None:
                pool.shutdown(wait=True, cancel_futures=True)
            job.result()
            arm, _ = jobs[job]
            left[arm] -= 1
            if not left[arm]:
                paths.append(stages.measure(arm, command))
    return paths


def _start(threads: int) -> None:
    import torch

    torch.set_num_threads(max(1, threads))


def _cell(experiment: Experiment, arm: str, seed: int, deadline: float | None) -> None:
    """Compute one cell; its stages stay in the store, where `measure` finds them."""
    from ccfs_lib.pipeline import Pipeline

    # Linux's monotonic clock is one for all processes, so a deadline can travel.
    Pipeline(experiment, deadline=deadline).evaluate(arm, seed)
