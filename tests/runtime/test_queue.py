"""One launching queue: each training has the bits it has alone, whatever happens."""

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby

import pytest
import torch

from ccfs_lib import networks
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime import queue
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.runtime.device import arithmetic, is_portable
from ccfs_lib.runtime.queue import WAIT, Queue, drain, ranked
from ccfs_lib.scores import Forgetting
from ccfs_lib.train import fit

RECIPE = Recipe(epochs=3, batch_size=32, warmup_epochs=1, augment="crop", pad=1)


@pytest.fixture(scope="module")
def some(digits):
    """150 digits: four full batches and a short one."""
    return digits[0].subset(torch.arange(0, 1350, 9))


def together(most, work, seeds):
    """Run work(seed) in a thread each, all in one queue; results or errors."""
    with Queue(most), ThreadPoolExecutor(len(seeds)) as pool:
        jobs = [pool.submit(work, seed) for seed in seeds]
        return [job.exception() or job.result() for job in jobs]


def trainer(some, digits, teacher, **options):
    """A function of a seed that trains: Fit, forgetting events."""

    def train(seed, checkpoint=None):
        network = networks.build("convnet-8-8", 10, 8, seed=seed)
        events = Forgetting(some.labels)
        how = {"teacher": teacher, "test": digits[1], "watch": events, **options}
        return fit(
            network, some, RECIPE, seed=seed, checkpoint=checkpoint, **how
        ), events

    return train


def same(a, b) -> bool:
    (one, seen), (two, too) = a, b
    states = [
        {**done.network.state_dict(), **events.state()}
        for done, events in ((one, seen), (two, too))
    ]
    equal = all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    return equal and (one.losses, one.curve) == (two.losses, two.curve)


@pytest.fixture(scope="module")
def alone(some, digits, digits_teacher):
    """Four trainings, one after the other."""
    train = trainer(some, digits, digits_teacher)
    return [train(seed) for seed in range(4)]


def test_each_has_the_bits_it_has_alone(some, digits, digits_teacher, alone):
    train = trainer(some, digits, digits_teacher)
    for got, wanted in zip(together(3, train, range(4)), alone, strict=True):
        assert same(got, wanted)
    assert not same(alone[0], alone[1])


def counter(log, name, steps, result=None):
    """A job of so many steps that logs each."""

    def make():
        for _ in range(steps):
            log.append(name)
            yield
        return result

    return make


def test_two_jobs_take_turns():
    log, gate = [], threading.Event()

    def work(name):
        def make():
            while not gate.is_set():  # until both are there
                yield
            yield from counter(log, name, 40)()
            return name

        return drain(make)

    with Queue(2) as q, ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(work, name) for name in "ab"]
        while len(q.running) < 2:
            time.sleep(0.001)
        gate.set()
        assert [job.result() for job in jobs] == ["a", "b"]
    turns = [(name, len(list(of))) for name, of in groupby(log)]
    assert len(turns) >= 18 and {n for _, n in turns[1:-2]} == {queue.TURN}


def test_the_lowest_rank_is_next():
    log, gate = [], threading.Event()

    def hold():
        while not gate.is_set():
            yield

    def work(rank):
        with ranked(rank):
            return drain(counter(log, rank, 3))

    ranks = [5, 1, 3, 1]
    with Queue(1) as q, ThreadPoolExecutor(5) as pool:
        pool.submit(drain, hold)
        while not q.running:
            time.sleep(0.001)
        jobs = [pool.submit(work, rank) for rank in ranks]
        while len(q.waiting) < len(ranks):
            time.sleep(0.001)
        gate.set()
        for job in jobs:
            job.result()
    assert [rank for rank, _ in groupby(log)] == [1, 3, 5]


def test_a_loss_that_is_not_finite_ends_its_own_training_alone(
    some, digits, digits_teacher, alone
):
    train = trainer(some, digits, digits_teacher)

    def work(seed):
        if seed != 1:
            return train(seed)
        network = networks.build("convnet-8-8", 10, 8, seed=seed)
        torch.nn.init.constant_(network.head.weight, float("nan"))
        return fit(network, some, RECIPE, seed=1, teacher=digits_teacher)

    done = together(3, work, range(3))
    assert isinstance(done[1], FloatingPointError) and "in epoch 1" in str(done[1])
    assert same(done[0], alone[0]) and same(done[2], alone[2])


class Crowded(torch.nn.Module):
    """A network that finds no memory while more than `most` jobs run."""

    def __init__(self, network, most):
        super().__init__()
        self.network, self.most, self.calls = network, most, 0
        self.head = network.head

    def forward(self, x):
        self.calls += 1
        if len(Queue.current.running) > self.most and self.calls > 3 and len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory (a test)")
        return self.network(x)


def test_out_of_memory_is_one_training_fewer_and_nothing_lost(
    some, digits, digits_teacher, alone
):
    def work(seed):
        network = networks.build("convnet-8-8", 10, 8, seed=seed)
        events = Forgetting(some.labels)
        how = {"teacher": digits_teacher, "test": digits[1], "watch": events}
        done = fit(Crowded(network, 2), some, RECIPE, seed=seed, **how)
        return replace(done, network=network), events  # without the wrapper

    with pytest.warns(UserWarning, match="memory ran out with 3 .* from now on 2"):
        done = together(3, work, range(4))
    for got, wanted in zip(done, alone, strict=True):
        assert same(got, wanted)


def test_out_of_memory_alone_is_told_with_the_size_that_fits(some, digits_teacher):
    def work(seed):
        network = networks.build("convnet-8-8", 10, 8, seed=seed)
        how = {"seed": seed, "teacher": digits_teacher}
        return fit(Crowded(network, 0), some, RECIPE, **how)

    (error,) = together(2, work, [0])
    assert isinstance(error, InputError) and "batch_size is 32" in str(error)
    assert "take" in str(error)


class Late(Checkpoint):
    """A checkpoint whose deadline is always past: one epoch, and it stops."""

    def _is_late(self, now):
        return True


def test_a_deadline_leaves_checkpoints_and_begins_nothing(
    some, digits, digits_teacher, alone, tmp_path
):
    train = trainer(some, digits, digits_teacher)

    def work(seed):
        return train(seed, Late(tmp_path / str(seed), "k"))

    for _ in range(RECIPE.epochs - 1):  # three trainings, two at once
        assert all(isinstance(r, TimeUp) for r in together(2, work, range(3)))
    for got, wanted in zip(together(2, work, range(3)), alone, strict=False):
        assert same(got, wanted)
    with Queue(1), pytest.raises(TimeUp, match="job: time is up"):
        drain(lambda: pytest.fail("begun"), deadline=time.monotonic())


def test_leaving_the_queue_stops_what_runs(some, digits, digits_teacher, tmp_path):
    """An interruption: waiting threads end, and checkpoints are at hand."""

    def forever():
        while True:
            yield

    pool = ThreadPoolExecutor(3)
    with pytest.raises(KeyboardInterrupt), Queue(2) as q:
        jobs = [pool.submit(drain, forever) for _ in range(3)]
        while len(q.running) + len(q.waiting) < 3:
            time.sleep(0.001)
        raise KeyboardInterrupt
    assert all(isinstance(job.exception(5), CancelledError) for job in jobs)
    assert Queue.current is None
    assert drain(counter([], "here", 3, "result")) == "result"  # without a queue


def test_an_interrupted_training_goes_on_at_its_checkpoint(
    some, digits, digits_teacher, alone, tmp_path
):
    train = trainer(some, digits, digits_teacher)
    folder, pool = tmp_path / "c", ThreadPoolExecutor(1)
    with Queue(1):
        job = pool.submit(train, 0, Checkpoint(folder, "k", every=0))
        while not (folder / "last.safetensors").exists():
            time.sleep(0.001)
    stopped = job.exception()
    assert stopped is None or isinstance(stopped, CancelledError)
    assert same(train(0, Checkpoint(folder, "k", every=0)), alone[0])


def test_an_error_of_a_job_is_its_own():
    def broken():
        yield
        raise ValueError("mine")

    log = []
    errors = together(2, lambda n: drain(broken if n else counter(log, n, 9)), [0, 1])
    assert errors[0] is None and len(log) == 9
    assert str(errors[1]) == "mine"


def test_a_job_that_cannot_be_made_is_its_own_error_too():
    errors = together(1, lambda n: drain(lambda: 1 / n), [0])
    assert isinstance(errors[0], ZeroDivisionError)


def test_steps_run_with_the_arithmetic_of_whoever_submits():
    def make():
        seen = is_portable(), torch.backends.mkldnn.enabled
        yield WAIT
        return seen

    def work(portable):
        with arithmetic(portable):
            return drain(make)

    with Queue(2):
        assert work(True) == (True, False)
        assert work(False) == (False, True)


class Event:
    """A CUDA event of a device that finishes steps when it is told to."""

    clock = 0

    def __init__(self, at):
        self.at = at

    def query(self):
        return Event.clock >= self.at


def test_a_job_runs_ahead_of_its_device_but_not_far():
    """With events in place of CUDA's: 48 steps ahead, and none beyond WAIT."""
    log, Event.clock = [], 0

    def make():
        for i in range(100):
            log.append(i)
            yield WAIT if i == 59 else None

    job = queue.Job(make, "cpu", "job")
    job.start()
    step = job._step

    def enqueue():
        step()
        job.events.append(Event(len(log)))

    job._step = enqueue
    while job.turn():
        pass
    assert len(log) == queue.AHEAD
    Event.clock = 20
    while job.turn():
        pass
    assert len(log) == 60  # it waits for the whole of what it enqueued
    Event.clock = 59
    assert not job.turn()
    Event.clock = 60
    assert job.turn() and len(log) == 64
