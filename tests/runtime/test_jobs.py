"""What works beside trainings is a job of the queue too: same bits, nothing lost.

And whoever measures opens the queue: chapters, `match`, Table 1. A CPU plays the GPU.
"""

import json
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from conftest import small

from ccfs_lib import networks, sweep, table1
from ccfs_lib.distill import dm, dsa, experts, mtt
from ccfs_lib.distill.buffer import Buffer
from ccfs_lib.distill.functional import Flat
from ccfs_lib.errors import TimeUp
from ccfs_lib.experiment import ExpertRecipe, Matching, Strengths, motivation
from ccfs_lib.pipeline import Pipeline, Section3Pipeline
from ccfs_lib.pipeline.measure import measured_rows
from ccfs_lib.runtime import queue, workers
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.runtime.queue import Job, Queue, drain, ranked
from ccfs_lib.train import predict

EXPERT = ExpertRecipe(epochs=3, lr=0.05, batch_size=32, dsa=Strengths())
MATCH = Matching(iterations=3, syn_steps=3, max_start_epoch=1, expert_epochs=1)
KINDS = ("expert", "mtt", "dm", "dsa", "predict")


@pytest.fixture(scope="module")
def do(digits):
    """A function of a kind of work and a seed: its tensors and figures."""
    train = digits[0].subset(torch.arange(0, 1350, 9))
    order = torch.cat([(train.labels == c).nonzero()[:2, 0] for c in range(10)])
    begin = train.subset(order)
    identity = experts.described("convnet-4-6", train, EXPERT)
    flat = Flat(Buffer((), identity, None).network(0))
    states = experts.trajectory(flat, flat.start, train, EXPERT, 0)[0]
    made = Buffer((states,), identity, None)

    def expert(seed, _):
        return experts.trajectory(flat, flat.start, train, EXPERT, seed)

    def matched(seed, kept):
        done = mtt.distill(begin, made, MATCH, seed=seed, checkpoint=kept)
        return done.pixels, done.losses

    def condensed(module, recipe):
        def run(seed, kept):
            how = {"seed": seed, "checkpoint": kept}
            done = module.distill(begin, train, "convnet-in", recipe, **how)
            return done.pixels, done.losses

        return run

    def asked(seed, _):
        network = networks.build("convnet-8", 10, 8, seed=seed)
        return predict(network, train.images), []

    few = {"iterations": 2, "batch_real": 4}
    gradients = dsa.Gradients(outer=2, inner=1, **few)
    works = expert, matched, condensed(dm, dm.Distribution(**few))
    works += condensed(dsa, gradients), asked
    return lambda kind, seed, kept=None: works[KINDS.index(kind)](seed, kept)


def together(work, most=3, count=3):
    """Run work(seed) in a thread each, in one queue that begins when all are there."""
    with Queue(0) as q, ThreadPoolExecutor(count) as pool:
        jobs = [pool.submit(work, seed) for seed in range(count)]
        while len(q.waiting) < count:
            time.sleep(0.001)
        q.most = most
        return [job.exception() or job.result() for job in jobs]


def same(a, b) -> bool:
    return torch.equal(a[0], b[0]) and a[1] == b[1]


@pytest.fixture
def seen(monkeypatch):
    """A list of how many jobs were running, step by step."""
    step, counts = Job._step, []

    def counted(self):
        counts.append(len(Queue.current.running))
        return step(self)

    monkeypatch.setattr(Job, "_step", counted)
    return counts


@pytest.mark.parametrize("kind", KINDS)
def test_each_has_the_bits_it_has_alone(do, kind, seen):
    alone = [do(kind, seed) for seed in range(3)]
    assert not seen
    assert all(map(same, together(lambda seed: do(kind, seed)), alone))
    assert not same(alone[0], alone[1]) and max(seen) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_out_of_memory_begins_again_with_the_same_bits(do, kind, monkeypatch):
    alone, step, failed = [do(kind, seed) for seed in range(3)], Job._step, []

    def short(self):
        step(self)
        if len(Queue.current.running) > 2 and not failed and not self.over:
            failed.append(self)
            raise torch.OutOfMemoryError("CUDA out of memory (a test)")

    monkeypatch.setattr(Job, "_step", short)
    with pytest.warns(UserWarning, match="memory ran out with 3 .* from now on 2"):
        done = together(lambda seed: do(kind, seed))
    assert failed and all(map(same, done, alone))


def test_a_loss_that_is_not_finite_ends_its_own_work_alone(do, monkeypatch):
    alone, draw = [do("dm", seed) for seed in range(3)], dm.class_draws
    hurt = torch.Generator().manual_seed(1_000_003).initial_seed()

    def broken(train, views, generator):
        draws = draw(train, views, generator)
        if draws is not None and generator.initial_seed() == hurt:
            draws.brightness.fill_(float("nan"))
        return draws

    monkeypatch.setattr(dm, "class_draws", broken)
    done = together(lambda seed: do("dm", seed))
    assert isinstance(done[1], FloatingPointError) and "iteration 1" in str(done[1])
    assert same(done[0], alone[0]) and same(done[2], alone[2])


class Late(Checkpoint):
    def _is_late(self, now):
        return True


@pytest.mark.parametrize("kind", ["mtt", "dm", "dsa"])
def test_a_time_limit_leaves_checkpoints(do, kind, tmp_path):
    alone = [do(kind, seed) for seed in range(2)]

    def late(seed):
        return do(kind, seed, Late(tmp_path / str(seed), "k"))

    stops = 2 if kind == "mtt" else 1  # one iteration fewer than there are
    for _ in range(stops):
        assert all(isinstance(r, TimeUp) for r in together(late, 1, 2))
    assert all(map(same, together(late, 1, 2), alone))


def test_work_within_a_job_is_done_by_it():
    """The launching thread cannot wait for itself."""

    def inner():
        yield
        return threading.current_thread()

    def outer():
        yield
        return drain(inner)

    with Queue(1) as q:
        assert drain(outer) is q.thread


def test_a_cell_begins_nothing_when_its_queue_is_closed():
    """Ctrl-C: what selects at that moment must not train on in its own thread."""
    with Queue(1) as q:
        pass

    def work():
        with ranked(0, q):
            drain(lambda: pytest.fail("begun"))

    with ThreadPoolExecutor(1) as pool:
        assert isinstance(pool.submit(work).exception(5), CancelledError)
    assert queue.here() is None


# -- who opens the queue ---------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch):
    """A CPU whose trainings share a queue, as a GPU's do."""
    monkeypatch.setattr(workers, "SHARED", {"cpu"})


def filed(paths):
    return {p.stem: sorted(map(str, json.loads(p.read_text())["rows"])) for p in paths}


def at(house, monkeypatch, name):
    monkeypatch.setenv("CCFS_CACHE", str(house / name / "cache"))
    monkeypatch.setenv("CCFS_RESULTS", str(house / name / "results"))


def test_a_chapter_measures_its_seeds_side_by_side(house, monkeypatch, gpu, seen):
    e = small(seeds=2, epochs=1, curricula=1, score="forgetting", score_runs=2)
    arms = "random", "ccfs-hard"
    rows = []
    for shared in ({"cuda"}, {"cpu"}):
        monkeypatch.setattr(workers, "SHARED", shared)
        at(house, monkeypatch, str(shared))
        stages = Pipeline(e)
        rows.append(filed(map(stages.measure, arms)))
        assert bool(seen) == (shared == {"cpu"})
        assert len(measured_rows(e)) == 4
    assert rows[0] == rows[1] and max(seen) > 1 and Queue.current is None


def test_an_interrupted_chapter_goes_on(house, monkeypatch, gpu):
    """As in a kernel, which lives on: nothing trains when the cell has ended."""
    e, step, steps = small(seeds=3), Job._step, []

    def stop(self):
        steps.append(self.label)
        step(self)

    def interrupted(jobs):
        while not steps:
            pass
        raise KeyboardInterrupt

    stages, usual = Pipeline(e), workers.as_completed
    assert stages.teacher.last > 0
    monkeypatch.setattr(Job, "_step", stop)
    monkeypatch.setattr(workers, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stages.measure("random")
    count = len(steps)
    assert Queue.current is None
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]
    monkeypatch.setattr(workers, "as_completed", usual)
    stages.measure("random")
    assert len(steps) > count and len(measured_rows(e)) == 3


def test_one_limit_stops_all_and_each_leaves_a_checkpoint(house, gpu, monkeypatch):
    e = small(seeds=3, epochs=3)
    assert Pipeline(e).teacher.last > 0
    monkeypatch.setattr(Checkpoint, "_is_late", lambda *_: True)
    with pytest.raises(TimeUp):
        Pipeline(e, deadline=1e18).measure("random")
    assert len(list((house / "cache/checkpoints").glob("*/last.safetensors"))) == 3


def test_match_shares_a_queue_and_measures_what_processes_do(
    house, monkeypatch, gpu, seen
):
    made = motivation(ipc=4, alpha=0.5, beta=0.4, curricula=2, epochs=2, seeds=2)
    e = replace(made.experiment, score_runs=1)
    e = replace(e, teacher=replace(e.teacher, epochs=2))
    expert = ExpertRecipe(epochs=4, lr=0.05, batch_size=128, dsa=None)
    cut = Matching(iterations=3, syn_steps=2, max_start_epoch=2, batch_syn=16)
    run = replace(made, experiment=e, experts=2, expert=expert, matching=cut)
    at(house, monkeypatch, "alone")
    stages, arms = Section3Pipeline(run), ("selmatch", "reverse")
    monkeypatch.setattr(workers, "SHARED", set())
    alone = filed(map(stages.measure, arms))
    assert not seen
    monkeypatch.setattr(workers, "SHARED", {"cpu"})
    at(house, monkeypatch, "queue")
    assert filed(sweep.match(run, arms, workers=2)) == alone
    assert max(seen) == 2


def test_table_1_shares_a_queue(house, monkeypatch, gpu, seen):
    from ccfs_lib.experiment import condense

    for name, recipe in condense.DIGITS.items():
        cut = replace(recipe, iterations=1, batch_real=8)
        monkeypatch.setitem(condense.DIGITS, name, cut)
    e, rows = small(seeds=2), ("random", "dm")
    at(house, monkeypatch, "queue")
    made = filed(table1.run(e, rows, workers=2)[0])
    assert len(made) == 4 and max(seen) == 2
    at(house, monkeypatch, "alone")
    monkeypatch.setattr(workers, "SHARED", set())
    monkeypatch.setattr(table1, "executor", lambda *_: workers.executor(1, True))
    assert filed(table1.run(e, rows)[0]) == made


@pytest.mark.parametrize(
    ("asked", "count", "expected"),
    [("", 1, 8), ("", 3, 2), ("", 20, 1), ("1", 1, 1), ("4", 1, 4), ("4", 4, 2)],
)
def test_workers_divide_the_cores_and_no_more_than_asked(
    monkeypatch, asked, count, expected
):
    monkeypatch.setattr(workers.os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert workers._threads(count) == expected
