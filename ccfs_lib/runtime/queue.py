"""One launching queue: trainings side by side on a device, all launched by one thread.

A job is a generator. Each ``next`` enqueues one step on the device and waits for
nothing; it yields WAIT where it goes on only when all that it enqueued is finished. So
a training alone is its generator run to the end, and several at once are one loop that
goes round over their generators. Threads that launch take turns for the interpreter; a
program with one launching thread overlapped trainings more than one with a thread for
each (an H100, November 2026). This module itself has only run on a CPU so far.
"""

import gc
import heapq
import itertools
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

from ccfs_lib.errors import Notice, TimeUp
from ccfs_lib.runtime import memory
from ccfs_lib.runtime.device import arithmetic, is_portable, own_stream

WAIT = True  # what a job yields to be continued when its device work is finished
AHEAD = 48  # steps of one job that the device has not finished, at most
TURN = 4  # steps that a job enqueues before it is the next job's turn
PAUSE = 0.0005  # seconds to sleep when every job is far enough ahead

Steps = Generator[bool | None, None, Any]
_here = threading.local()


def drain(
    make: Callable[[], Steps],
    *,
    device: str | torch.device = "cpu",
    label: str = "job",
    deadline: float | None = None,
):
    """Run the generator that `make` returns to its end; return what it returns.

    In the open `Queue` if there is one, side by side with what other threads drain;
    else here, and here too where a job itself asks. make: may be called again, when
    memory ran out beside other jobs, and has to begin anew then. deadline:
    `time.monotonic()` from which a waiting job is not begun. Raises what the generator
    raises, and TimeUp for the deadline.
    """
    if torch.device(device).type == "cpu":
        memory.keep_freed()
    queue = here()
    if queue is not None:
        return queue.submit(Job(make, device, label, deadline)).result()
    if Queue.current is not None and Queue.current.thread is threading.current_thread():
        return finished(make())  # on the stream of the job that asks
    try:
        with own_stream(device):
            return finished(make())
    finally:
        memory.release()


def here() -> "Queue | None":
    """Return the queue that takes this thread's jobs: its cell's, else the open one.

    A cell keeps its queue also when that is closed: what an interruption left running
    may begin nothing further. None in the launching thread, which cannot wait for
    itself.
    """
    queue = getattr(_here, "queue", None) or Queue.current
    launches = queue is not None and queue.thread is threading.current_thread()
    return None if launches else queue


def finished(steps: Steps):
    """Run a generator to its end, and return what it returns."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


@contextmanager
def ranked(rank: int, queue: "Queue | None" = None):
    """Give this thread's jobs a rank, lower ones are taken first, and a queue."""
    before = getattr(_here, "rank", 0), getattr(_here, "queue", None)
    _here.rank, _here.queue = rank, queue
    try:
        yield
    finally:
        _here.rank, _here.queue = before


class Job:
    """A generator in the queue: its stream, its events, its result."""

    def __init__(self, make: Callable[[], Steps], device, label: str, deadline=None):
        self.make, self.label, self.deadline = make, label, deadline
        self.device = torch.device(device)
        self.rank, self.portable = getattr(_here, "rank", 0), is_portable()
        self.future: Future = Future()
        self.steps = self.stream = self.error = self.value = None
        self.events: deque = deque()  # of steps that the device may not have finished
        self.waiting = self.over = False

    def start(self) -> None:
        """Make the generator and its stream; anew, if it has run before."""
        self.error, self.waiting, self.over = None, False, False
        with self._caught():
            self.steps = self.make()
            if self.device.type == "cuda":
                self.stream = torch.cuda.Stream(self.device)
                self.stream.wait_stream(torch.cuda.default_stream(self.device))

    def turn(self) -> bool:
        """Enqueue some steps; return False if the device has enough of this job."""
        for count in range(TURN):
            with self._caught():
                if self.over or not self._is_ready():
                    return count > 0
                self._step()
        return True

    def _is_ready(self) -> bool:
        while self.events and self.events[0].query():
            self.events.popleft()
        return len(self.events) < (1 if self.waiting else AHEAD)

    def _step(self) -> None:
        with ExitStack() as stack:
            # A thread's state, so it is set for each step: jobs take turns in a thread.
            stack.enter_context(arithmetic(self.portable))
            if self.stream is not None:
                stack.enter_context(torch.cuda.stream(self.stream))
            try:
                self.waiting = bool(next(self.steps))
            except StopIteration as end:
                self.value, self.over = end.value, True
            if self.stream is not None:
                self.events.append(self.stream.record_event())

    @contextmanager
    def _caught(self):
        """Make an error this job's own, and its end."""
        try:
            yield
        except BaseException as error:
            self.error, self.over = error, True

    def _wait(self) -> None:
        """Wait for the device to finish what the job has enqueued."""
        if self.stream is not None:
            self.stream.synchronize()

    def ran_out(self) -> bool:
        """Check whether the job ended because memory ran out."""
        return self.error is not None and memory.ran_out(self.error)

    def drop(self) -> None:
        """Free what the generator holds: graphs, weights, memory of the device.

        Not before the device is done with it: others may get that memory.
        """
        with suppress(RuntimeError):
            self._wait()
        self.steps = self.error = None
        self.events.clear()

    def finish(self) -> None:
        """Hand the result, or the error, to whoever waits for it.

        The result is complete: whoever reads it does so on another stream.
        """
        with self._caught():
            self._wait()
        error, value = self.error, self.value
        self.drop()
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class Queue:
    """Jobs side by side, at most `most` at once, launched by one thread of its own.

    Inside ``with Queue(6):`` every `drain`, of any thread, runs here; the jobs of the
    lowest rank first, of equal ranks the first that came. A job that runs out of memory
    beside others begins again with one job fewer side by side; an error, such as a loss
    that is not finite, ends its own job alone. Leaving the block ends what still runs.
    """

    current: "Queue | None" = None

    def __init__(self, most: int):
        self.most, self.running, self.waiting = most, [], []
        self.count, self.closed = itertools.count(), False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._launch, daemon=True)

    def __enter__(self) -> "Queue":
        if Queue.current is not None:
            raise RuntimeError("a queue is open already")
        Queue.current, self.interval = self, sys.getswitchinterval()
        # The launcher gets the interpreter back sooner from threads that select.
        sys.setswitchinterval(min(self.interval, 0.001))
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.close()
        Queue.current = None
        sys.setswitchinterval(self.interval)

    def close(self) -> None:
        """Take no more jobs and end those that run: who waits gets CancelledError."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self.thread.join()

    def submit(self, job: Job) -> Future:
        """Take a job in; its future has the result."""
        with self.changed:
            if self.closed:
                raise CancelledError(f"{job.label}: the queue is closed")
            self._wait(job, next(self.count))
            self.changed.notify_all()
        return job.future

    def _wait(self, job: Job, number: int) -> None:
        job.number = number
        heapq.heappush(self.waiting, (job.rank, number, job))

    def _launch(self) -> None:
        """Go round over the jobs until the queue is closed: the launching thread."""
        try:
            while self._admit():
                moved = [self._turn(job) for job in list(self.running)]
                if not any(moved):
                    time.sleep(PAUSE)
        finally:
            self._cancel()

    def _admit(self) -> bool:
        """Fill the free places by rank; wait while there is nothing; False: closed."""
        with self.changed:
            while not (self.running or self.waiting or self.closed):
                self.changed.wait()
            while not self.closed and self.waiting and len(self.running) < self.most:
                job = heapq.heappop(self.waiting)[2]
                if job.deadline is not None and time.monotonic() >= job.deadline:
                    stop = f"{job.label}: time is up; the same command continues here"
                    job.future.set_exception(TimeUp(stop))
                    continue
                job.start()
                self.running.append(job)
            return not self.closed

    def _turn(self, job: Job) -> bool:
        moved = job.turn()
        if job.over:  # at once: what it frees may be what the next one lacks
            self._settle(job)
        return moved

    def _settle(self, job: Job) -> None:
        """Finish a job that is over, or begin it again if it lacked memory."""
        self.running.remove(job)
        if not (self.running and job.ran_out()):
            return job.finish()
        self.most = len(self.running)
        job.drop()
        gc.collect()  # a traceback is a circle, and holds the step's tensors
        if job.device.type == "cuda":
            torch.cuda.empty_cache()
        with self.changed:
            self._wait(job, job.number)
        warnings.warn(
            f"{job.label}: memory ran out with {self.most + 1} trainings side by side; "
            f"from now on {self.most}, and this one begins again",
            Notice,
            stacklevel=2,
        )

    def _cancel(self) -> None:
        with self.changed:
            self.closed = True
            left = self.running + [job for *_, job in self.waiting]
            self.running, self.waiting = [], []
        for job in left:
            job.drop()
            job.future.set_exception(CancelledError(f"{job.label}: was stopped"))
