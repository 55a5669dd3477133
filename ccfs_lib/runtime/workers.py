"""Workers for many small trainings at once: processes on a CPU, one queue on a GPU.

On a CPU, one process per core with one thread each beats one process with all threads:
small networks do not fill them. A GPU is shared by the trainings of one process, each
on a CUDA stream of its own, launched by one thread (`runtime.queue`): processes would
take turns on it, where streams overlap.
"""

import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import (
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import current_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path

from ccfs_lib.errors import InputError, plainly
from ccfs_lib.runtime.progress import progress

# Devices that the trainings of one process share: there a cell is a thread.
SHARED = {"cuda"}
# Trainings side by side on one GPU: of ResNet-18 on an H100, three do nearly as much in
# all as six, and ten no more (data/speed/h100.csv).
TOGETHER = 6
# Cells at work for each training: while one selects, others have work for the device.
CELLS = 4


def worker_count(workers: int, threads: bool) -> int:
    """Return the number of workers; 0 means one per core, or six on a GPU.

    Raises InputError for a negative number, or one that no machine has cores for.
    """
    if not 0 <= workers <= 1000:
        raise InputError(f"workers is {workers}, but must be 0 (one per core) to 1000")
    return workers or (TOGETHER if threads else os.cpu_count() or 1)


def is_shared(device: str) -> bool:
    """Check whether trainings on this device share a process and a queue."""
    return device.partition(":")[0] in SHARED


@contextmanager
def executor(workers: int, threads: bool) -> Iterator[Executor]:
    """Open a pool: threads of this process, or processes that end with it.

    threads: cells are threads, whose trainings run in one queue, `workers` at once.
    """
    if threads:
        from ccfs_lib.runtime.queue import Queue  # torch: not for processes that wait

        with Queue(workers) as queue, Cells(CELLS * workers, queue) as pool:
            try:
                yield pool
            except BaseException:
                # No thread can be stopped, but each ends where it waits for a training.
                queue.close()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return
    if getattr(current_process(), "_inheriting", False):
        os._exit(1)  # a script without a main guard, imported by a worker: see `_why`
    context = _Spawn()  # a forked torch may hang in its thread pool
    worker_end, parent_end = context.Pipe(duplex=False)
    start = _threads(workers), worker_end
    with ProcessPoolExecutor(workers, context, _start, start) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise ChildProcessError(_why()) from None
        except KeyboardInterrupt:
            parent_end.close()  # the pool itself would first finish every cell it holds
            raise


class _Worker(SpawnProcess):
    """A process that Ctrl-C does not reach while it imports what it works with."""

    def start(self) -> None:
        """Start it with SIGINT blocked, which it inherits until `_start`."""
        with _undisturbed():
            super().start()


class _Spawn(SpawnContext):
    Process = _Worker


@contextmanager
def _undisturbed() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _threads(workers: int) -> int:
    """Divide the cores among the workers; OMP_NUM_THREADS, if set, is the most.

    Of two commands on one machine, each with threads for all cores, threads would wait
    for each other in loops that take the cores from those that work.
    """
    share = max(1, (os.cpu_count() or 1) // workers)
    most = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(most)) if most.isdecimal() and int(most) else share


class Cells(ThreadPoolExecutor):
    """Threads whose trainings are ranked by when they were submitted."""

    def __init__(self, workers: int, queue):
        super().__init__(workers)
        self.queue, self.count = queue, itertools.count()

    def submit(self, function, *arguments):
        """Run function(*arguments) in a thread, before what is submitted later."""
        from ccfs_lib.runtime.queue import ranked

        def cell(rank: int):
            """Call the function with this rank."""
            with ranked(rank, self.queue):
                return function(*arguments)

        return super().submit(cell, next(self.count))


def beside(function, arguments, device: str) -> Iterator[tuple]:
    """Yield each argument and function(argument), as they are done.

    On a GPU side by side: a thread each, whose trainings share a queue. On a CPU, and
    where a queue is open already, one after the other. The first error ends all.
    """
    from ccfs_lib.runtime.queue import Queue

    todo = list(arguments)
    if len(todo) < 2 or not is_shared(device) or Queue.current is not None:
        for argument in todo:
            yield argument, function(argument)
        return
    with executor(TOGETHER, True) as pool:
        jobs = {pool.submit(function, argument): argument for argument in todo}
        for job in as_completed(jobs):
            if job.exception() is not None:  # a limit: the others stop by it, too
                pool.shutdown(wait=True, cancel_futures=True)
            yield jobs[job], job.result()


def _why() -> str:
    """Say why workers died: each imports the script that started them."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script == "<stdin>":
        return (
            "worker processes import the script that started them, which they cannot "
            "read from standard input: save it as a file, or ask for one worker"
        )
    with suppress(OSError, TypeError):
        if "__main__" not in Path(script).read_text("utf-8", "replace"):
            return (
                f"worker processes import {script}, which would start workers again: "
                "put what it runs under `if __name__ == '__main__':`"
            )
    return (
        "a worker process died, perhaps for lack of memory; the same command continues "
        "where it was, and fewer workers need less"
    )


def run_all(pool: Executor, shared: tuple, tasks: list, label: str, unit: str) -> None:
    """Run the tasks as `completed` does, for what they leave in the store."""
    for _ in completed(pool, shared, tasks, label, unit):
        pass


def completed(
    pool: Executor, shared: tuple, tasks: list, label: str, unit: str
) -> Iterator[tuple]:
    """Run the tasks, (function, arguments...); yield each and its result, when done.

    shared: the first arguments of all functions. label, unit: of the progress bar. The
    first error ends all, when those that have begun are finished.
    """
    jobs = {pool.submit(task[0], *shared, *task[1:]): task for task in tasks}
    for job in progress(as_completed(jobs), label, unit, total=len(jobs)):
        if job.exception() is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        yield jobs[job], job.result()


def _start(threads: int, leash: Connection) -> None:
    import torch
    from tqdm import tqdm

    torch.set_num_threads(threads)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which _exit would leak
    plainly()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent decides
    if hasattr(signal, "pthread_sigmask"):  # blocked until here
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_follow, args=(leash,), daemon=True).start()


def _follow(leash: Connection) -> None:
    """End this worker with its parent, even a killed one: the pool would wait on."""
    with suppress(EOFError, OSError):
        leash.recv()
    os._exit(1)
