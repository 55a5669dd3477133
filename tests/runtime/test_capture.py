"""What a CUDA graph replays asks the host for nothing: seen on a CPU, op by op.

A copy from or to the host ends a capture with an error. There is no capture without a
GPU, but every operator of a step passes through a dispatch mode.
"""

import copy
import gc
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ccfs_lib import networks
from ccfs_lib.distill import sre2l
from ccfs_lib.experiment import Distillation, Recipe, Strengths
from ccfs_lib.experiment.recipes import LateRecipe
from ccfs_lib.runtime import memory
from ccfs_lib.runtime.device import own_stream
from ccfs_lib.runtime.engines import Graph, graph_of
from ccfs_lib.runtime.halves import halve
from ccfs_lib.scores import Forgetting
from ccfs_lib.selmatch import CombinedStep, DsaStep
from ccfs_lib.step import Step
from ccfs_lib.train import Tests as Sweep

HOST = {"_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "unique_dim"}
RECIPE = Recipe(epochs=1, batch_size=32, warmup_epochs=0)


class Host(TorchDispatchMode):
    """Notes each operator that waits for the device, or copies from the host."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        masks = list(args[1]) if name.startswith("index") else []
        if name in HOST or any(getattr(i, "dtype", 0) == torch.bool for i in masks):
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


def asked(call, *arguments) -> list[str]:
    with Host() as host:
        call(*arguments)
    return host.seen


def test_what_asks_the_host_is_seen():
    x = torch.arange(4.0)
    assert asked(lambda: torch.tensor([1, 2])) == ["lift_fresh"]
    assert asked(lambda: x[x > 1]) == ["index"]
    assert asked(lambda: x.sum().item()) == ["_local_scalar_dense"]
    assert asked(lambda: (x * 2).clamp(0, 1)[torch.arange(2)]) == []


def cast_at_once(step):
    halve(step)
    return step


def steps(digits, teacher, device="cpu"):
    """Name -> a step of every kind that trainings have."""
    some = digits[0].subset(range(0, 1350, 9))
    images, labels = some.images.to(device), some.labels.to(device)

    def new(recipe=RECIPE, make=Step, **how):
        network = networks.build("convnet-8-16", 10, 8, seed=0).to(device)
        watch = Forgetting(labels)
        draw = torch.Generator(device).manual_seed(0)
        teach = teacher if recipe.loss == "kd" else None
        given = network, images, labels, recipe, draw, teach, watch
        return make(*given, **how)

    hard = replace(RECIPE, loss="hard", augment="crop", pad=1)
    pixels = torch.randn(20, 3, 8, 8)
    targets = torch.rand(150, 10).softmax(1)
    both = {"distilled": 20, "strengths": Strengths()}
    yield "kd", new()
    yield "bf16", new(replace(RECIPE, precision="bf16"))
    yield "cast", cast_at_once(new(replace(RECIPE, precision="bf16")))
    yield "hard", new(hard)
    yield "late", new(LateRecipe(1, optimiser="adamw", mix="cutmix"))
    yield "SelMatch", new(hard, partial(CombinedStep, pixels=pixels, **both))
    yield "DATM", new(hard, partial(CombinedStep, targets=targets, **both))
    yield "dsa", new(hard, DsaStep)


def test_no_kind_of_step_asks_the_host(digits, digits_teacher):
    found = {}
    for name, step in steps(digits, digits_teacher):
        step.begin(0)
        batch = torch.arange(32)
        step(batch)  # momentum is made in the first step
        found[name] = asked(step, batch)
    assert len(found) == 8 and not any(found.values()), found


def test_a_test_sweep_asks_the_host_for_nothing(digits):
    network = networks.build("convnet-8-16", 10, 8, seed=0).eval()
    tests = Sweep(network, digits[1], "cpu", "fp32", graph=False)
    assert asked(tests._count, tests.todo[0]) == []


@pytest.mark.parametrize("method", ["cda", "sre2l"])
def test_an_iteration_of_a_recovery_asks_the_host_for_nothing(digits_teacher, method):
    recipe = Distillation(iterations=4, crop_min=0.3, roll=2, method=method)
    teacher, draw = digits_teacher.eval(), torch.Generator().manual_seed(0)
    with sre2l._borrowed(teacher, recipe.first_bn) as bn_loss:
        given = teacher, bn_loss, torch.randn(20, 3, 8, 8), torch.arange(20) % 10
        work = sre2l.Planned(*given, recipe, draw)
        work.iterate(0)
        work.optimiser.step = lambda: None  # a CPU's asks; CUDA's is fused and does not
        assert asked(work.planned, work.todo[1:2]) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_every_kind_of_step_is_captured(digits, digits_teacher):
    teacher = copy.deepcopy(digits_teacher).cuda()
    for _, step in steps(digits, teacher, "cuda"):
        step.begin(0)
        with own_stream("cuda"):
            run = graph_of(step)
            for first in range(0, 96, 16):  # three plainly, three as a graph
                run(torch.arange(first, first + 32, device="cuda"))
            torch.cuda.current_stream().synchronize()
        assert run.graphs and step.total.isfinite()


# -- the order of a capture, with recorders in place of CUDA's -------------------------


@pytest.fixture
def cuda(monkeypatch):
    """A list of what is asked of CUDA, in order."""
    done = []
    stream = SimpleNamespace(synchronize=lambda: done.append("synchronize"))

    @contextmanager
    def graph(_, **mode):
        done.append(("begin", mode["stream"] is stream, mode["capture_error_mode"]))
        try:
            yield
        finally:
            done.append("end")

    def new():
        register = lambda generator: done.append(("register", generator))  # noqa: E731
        replay = lambda: done.append("replay")  # noqa: E731
        return SimpleNamespace(register_generator_state=register, replay=replay)

    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", new)
    return done


def test_a_capture_is_prepared_and_undisturbed(cuda):
    """Generator first, then the stream is idle; no garbage; other threads go on."""
    draw, here = torch.Generator(), torch.device("cpu")

    def call(batch):
        cuda.append(("call", len(batch), gc.isenabled()))

    run = Graph(call, 4, here, draw, before=lambda: cuda.append("before"))
    for _ in range(run.WARM + 2):
        run(torch.arange(4))
    warm = [("call", 4, True)] * run.WARM
    capture = [("register", draw), "synchronize", "before"]
    capture += [("begin", True, "thread_local"), ("call", 4, False), "end"]
    assert cuda == [*warm, *capture, "replay", "replay"]
    assert gc.isenabled()


def test_a_capture_that_fails_leaves_collection_on_and_can_be_told(cuda):
    def short(_):
        raise torch.OutOfMemoryError("CUDA out of memory (a test)")

    run = Graph(short, 4, torch.device("cpu"))
    run.seen[4] = run.WARM
    assert not memory.fits(run, torch.arange(4))
    assert gc.isenabled() and not run.graphs and not run.lock.locked()
