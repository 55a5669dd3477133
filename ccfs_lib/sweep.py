"""A grid of arms and seeds as one resumable command.

Cells are independent and stages are kept, so a killed sweep continues where it was:
whatever it had trained is read, not trained again. On a CPU, one process per core with
one thread each beats one process with all threads: small networks do not fill them. A
GPU is shared by threads of one process, each training on a CUDA stream of its own:
processes would take turns on it, where streams overlap.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import (
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import CONTROLS, STRATEGIES, Experiment
from ccfs_lib.progress import progress

TOGETHER = 5  # trainings at once on one GPU


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
    from ccfs_lib.pipeline import Pipeline, known_arm

    for arm in arms:
        known_arm(arm)
    if workers < 0:
        raise InputError(f"workers is {workers}, but must be 0 (one per core) or more")
    deadline = None if time_limit is None else time.monotonic() + time_limit
    stages = Pipeline(experiment, deadline=deadline)
    if threads is None:
        threads = stages.device == "cuda"
    workers = workers or (TOGETHER if threads else os.cpu_count() or 1)
    most = experiment.ipc if "distilled" in arms else experiment.distilled
    with _crew(workers, threads) as pool:
        # What every cell needs comes first: workers would only wait for each other.
        _shared(pool, stages, most)
        return _measured(pool, stages, arms, command)


@contextmanager
def _crew(workers: int, threads: bool) -> Iterator[Executor]:
    """Threads of this process, or processes on a leash; both stop when told to."""
    if threads:
        with ThreadPoolExecutor(workers) as pool:
            try:
                yield pool
            except KeyboardInterrupt:
                print("stopped; the same command continues here", file=sys.stderr)
                os._exit(130)  # threads cannot be stopped; checkpoints are at hand
        return
    context = get_context("spawn")  # a forked torch may hang in its thread pool
    leash, ours = context.Pipe(duplex=False)
    start = (os.cpu_count() or 1) // workers, leash
    with ProcessPoolExecutor(workers, context, _start, start) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise ChildProcessError(
                "a worker process died, perhaps for lack of memory; the same command "
                "continues where it was, and fewer workers need less"
            ) from None
        except KeyboardInterrupt:
            ours.close()  # the pool itself would first finish every cell it holds
            raise


def _shared(pool: Executor, stages, per_class: int) -> None:
    """Teacher, scores and recovered images: kept in the store for all cells."""
    if stages.experiment.score != "forgetting":
        _ = stages.difficulty  # a missing file is told before anything is trained
    _ = stages.train, stages.test  # decoded once, not by every worker
    missing = [(_squeeze, n) for n in stages.squeezes if not stages.squeezed(n)]
    # Bits do not depend on who trains, for a portable experiment; for others they may
    # depend on the number of threads, as they do from machine to machine.
    if len(missing) > 1:
        _all(pool, stages, missing, "squeeze", "training")
    _ = stages.teacher, stages.difficulty  # one alone is trained here, by all cores
    tasks = [(_recover, per_class, n) for n in stages.recovery(per_class)]
    _all(pool, stages, tasks, "recover", "batch")


def _all(pool: Executor, stages, tasks, label: str, unit: str) -> None:
    for _ in _done(pool, stages, tasks, label, unit):
        pass


def _measured(pool: Executor, stages, arms, command) -> list[Path]:
    """Give every cell to the pool; write an arm's results when its last is done."""
    seeds = range(stages.experiment.seeds)
    tasks = [(_cell, arm, seed) for arm in arms for seed in seeds]
    left, paths = dict.fromkeys(arms, len(seeds)), []
    for _, arm, _ in _done(pool, stages, tasks, "sweep", "cell"):
        left[arm] -= 1
        if not left[arm]:
            paths.append(stages.measure(arm, command))
    return paths


def _done(pool: Executor, stages, tasks, label: str, unit: str) -> Iterator:
    """Run the tasks, (function, arguments...), and yield each when it is done."""
    how = stages.experiment, stages.deadline
    jobs = {pool.submit(task[0], *how, *task[1:]): task for task in tasks}
    for job in progress(as_completed(jobs), label, unit, total=len(jobs)):
        if job.exception() is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        job.result()
        yield jobs[job]


def _start(threads: int, leash: Connection) -> None:
    import torch
    from tqdm import tqdm

    torch.set_num_threads(max(1, threads))
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which _exit would leak
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent decides
    threading.Thread(target=_follow, args=(leash,), daemon=True).start()


def _follow(leash: Connection) -> None:
    """End this worker with its parent, even a killed one: the pool would wait on."""
    with suppress(EOFError, OSError):
        leash.recv()
    os._exit(1)


def _squeeze(experiment: Experiment, deadline: float | None, seed: int) -> None:
    """Train one network on all data; seed 0 is the teacher."""
    from ccfs_lib.pipeline import Pipeline

    Pipeline(experiment, deadline=deadline).squeeze(seed)


def _recover(
    experiment: Experiment, deadline: float | None, per_class: int, number: int
) -> None:
    """Recover one batch of images into the store."""
    from ccfs_lib.pipeline import Pipeline

    # Linux's monotonic clock is one for all processes, so a deadline can travel.
    Pipeline(experiment, deadline=deadline).recovered(per_class, number)


def _cell(experiment: Experiment, deadline: float | None, arm: str, seed: int) -> None:
    """Compute one cell; its stages stay in the store, where `measure` finds them."""
    from ccfs_lib.pipeline import Pipeline

    Pipeline(experiment, deadline=deadline).evaluate(arm, seed)
