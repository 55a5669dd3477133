"""What an experiment costs before it runs: image passes, and time on this machine.

The unit is one forward image: a hard-label step costs 3 (forward, and backward twice
that), a distillation step 4 (the teacher looks too), a recovery iteration 2 (no weight
gradients).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from ccfs_lib import networks
from ccfs_lib.data import ImageSet
from ccfs_lib.experiment import KNOWN, Experiment, Motivation, Recipe
from ccfs_lib.runtime.device import cast, own_stream, place
from ccfs_lib.runtime.engines import Graph, engine
from ccfs_lib.select import quotas
from ccfs_lib.step import Step


@dataclass(frozen=True)
class Size:
    """What a data set's size decides: images of both splits, classes, pixels a side."""

    train: int
    test: int
    classes: int
    side: int

    @classmethod
    def of(cls, train: ImageSet, test: ImageSet) -> "Size":
        """Measure a data set by its two splits."""
        return cls(len(train), len(test), train.num_classes, train.image_size)


def size(experiment: Experiment) -> Size:
    """Return the size of an experiment's data: the classes and pixels that it asks for.

    Raises KeyError for a data set of the user's own, whose size is not known here.
    """
    e, known = experiment, KNOWN[experiment.dataset]
    classes = e.classes or known.classes
    train, test = (
        round(n * classes / known.classes) for n in (known.train, known.test)
    )
    return Size(train, test, classes, e.image_size or known.size)


@dataclass(frozen=True)
class Stage:
    """One stage of one seed: `passes` images, each worth `forwards` forward images."""

    name: str
    passes: int
    forwards: int
    network: str  # through which they pass
    precision: str = "fp32"  # in which

    @property
    def work(self) -> int:
        """Forward images."""
        return self.passes * self.forwards


def stages(experiment: Experiment, data: Size | None = None) -> list[Stage]:
    """List the stages of one seed of CCFS (Algorithm 1, one evaluation), in order.

    The first two are shared by all seeds. data: needed where `size` does not know it,
    and then KeyError is raised without it.
    """
    e, data = experiment, data or size(experiment)
    filtering, step = (
        4 if loss == "kd" else 3
        for loss in (e.filter_loss or e.recipe.loss, e.recipe.loss)
    )
    teacher, student = e.teacher_network, e.network
    last, how = e.evaluation_network or student, e.recipe.precision
    seen = data.train * e.teacher.epochs
    recovered = e.distilled * data.classes * e.distillation.iterations
    todo = [
        Stage("teacher", seen, 3, teacher, e.teacher.precision),
        Stage("recovery", recovered, 2, teacher),
    ]
    count = e.distilled * data.classes
    for phase, quota in enumerate(quotas(e.real, e.curricula) if e.real else [], 1):
        passes, seen = count * e.recipe.epochs, data.train if count else 0
        todo.append(Stage(f"filter {phase}", passes, filtering, student, how))
        todo.append(Stage(f"selection {phase}", seen, 1, student, how))
        count += quota * data.classes
    todo.append(Stage("evaluation", count * e.recipe.epochs, step, last, how))
    tested = sum(e.recipe.tests_at(epoch) for epoch in range(e.recipe.epochs))
    return [*todo, Stage("tests", data.test * tested, 1, last, how)]


def matching(motivation: Motivation, data: Size) -> list[Stage]:
    """List the stages of one seed of a run of Section 3, in order; experts together.

    A way back through an inner step costs about three times as much as the step.
    """
    m, e = motivation, motivation.experiment
    total, real = e.ipc * data.classes, e.real * data.classes
    steps = m.matching.iterations * m.matching.syn_steps
    batch = min(m.matching.batch_syn or total, total)
    # Filters see half of the real images on average.
    seen = m.evaluation.epochs * (total - real // 2)
    counting = e.teacher.epochs * data.train if e.score == "forgetting" else 0
    return [
        Stage("scores", len(e.squeeze_seeds) * counting, 3, e.teacher_network),
        Stage("experts", m.experts * m.expert.epochs * data.train, 3, m.matcher),
        Stage("matching", steps * batch, 12, m.matcher),
        Stage("filter", seen, 3, e.network),
        Stage("evaluation", m.evaluation.epochs * total, 3, e.network),
    ]


def seconds(
    experiment: Experiment, device: str = "cpu", data: Size | None = None
) -> dict[str, float]:
    """Estimate seconds of each stage on this device, from a timed training step.

    An estimate of the order: it knows nothing of a busy machine, and on a CPU of one
    core. data: as for `stages`.
    """
    return timed(stages(experiment, data), (data or size(experiment)).side, device)


def timed(todo: list[Stage], side: int, device: str = "cpu") -> dict[str, float]:
    """Estimate seconds of each of these stages on images of `side` pixels."""
    # What only looks is timed apart: a backward pass is dearer than two forward ones.
    kinds = {s.name: (s.network, s.forwards > 1, s.precision) for s in todo}
    rates = {
        kind: rate(kind[0], side, device, *kind[1:]) for kind in set(kinds.values())
    }
    return {s.name: s.work / rates[kinds[s.name]] for s in todo}


@cache
def rate(
    name: str,
    size: int,
    device: str,
    training: bool = True,
    precision: str = "fp32",
) -> float:
    """Measure forward images per second, after a warm-up; of one core, on a CPU.

    training: of a distillation step as `fit` makes it, each image worth four; else of
    a forward pass.
    """
    cpu, threads = device == "cpu", torch.get_num_threads()
    # Seconds of this thread alone: on a shared machine a wall clock measures the
    # neighbours. A sweep's trainings have a thread each, too.
    clock, fastest = (time.thread_time if cpu else time.perf_counter), float("inf")
    torch.set_num_threads(1 if cpu else threads)
    try:
        with own_stream(device):
            work, once = (_step if training else _forward)(
                name, size, device, precision
            )
            end = time.perf_counter() + 0.5
            while time.perf_counter() < end or fastest == float("inf"):
                start = clock()
                once()
                fastest = min(fastest, clock() - start)
    finally:
        torch.set_num_threads(threads)
    return work / max(fastest, 1e-9)


def _step(
    name: str, size: int, device: str, precision: str = "fp32"
) -> tuple[int, Callable[[], None]]:
    """Make a warmed-up distillation step, and count the forward images it is worth."""
    student, teacher = (
        place(networks.build(name, 10, size, seed=seed), device) for seed in (0, 1)
    )
    count = 64
    if device == "cpu":  # of a large network as much as takes a second
        macs = networks.count(student, size).macs
        count = min(count, max(8, int(1e10 / macs)))
    batch = torch.arange(count, device=device)
    shape = len(batch), 3, size, size
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    recipe = Recipe(epochs=1, batch_size=len(batch), precision=precision)
    draw = torch.Generator(device).manual_seed(0)
    step = Step(student, images, batch % 10, recipe, draw, teacher.eval())
    step.begin(0)
    run = engine(step)

    def once():
        """Run the step and wait for the device."""
        run(batch)
        step.total.item()  # waits for the device

    for _ in range(1 if device == "cpu" else 1 + Graph.WARM):
        once()
    return 4 * len(batch), once


def _forward(
    name: str, size: int, device: str, precision: str = "fp32"
) -> tuple[int, Callable[[], None]]:
    """Make a warmed-up forward pass; return it and its number of images."""
    network = place(networks.build(name, 10, size, seed=0), device).eval()
    # A CPU likes a batch that stays in its cache, a GPU one that fills it.
    batch = torch.rand(32 if device == "cpu" else 512, 3, size, size, device=device)
    batch = batch.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def once():
        """Run the pass and wait for the device."""
        with cast(device, precision):
            logits = network(batch)
        logits.sum().item()  # waits for the device

    once()
    return len(batch), once


def duration(amount: float) -> str:
    """Format seconds in words: "40 s", "12 min", "3.5 h", "2 days"."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if amount < limit:
            digits = 1 if name == "h" and amount < 36_000 else 0
            return f"{amount / unit:.{digits}f} {name}"
    return f"{amount / 86_400:.0f} days"
