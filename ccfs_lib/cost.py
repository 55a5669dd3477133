"""What an experiment costs before it runs: image passes, and time on this machine.

The unit is one forward image: a hard-label step costs 3 (forward, and backward twice
that), a distillation step 4 (the teacher looks too), a recovery iteration 2 (no weight
gradients).
"""

import time
from dataclasses import dataclass
from functools import cache

import torch

from ccfs_lib import networks
from ccfs_lib.experiment import Experiment
from ccfs_lib.facts import KNOWN
from ccfs_lib.select import quotas


@dataclass(frozen=True)
class Size:
    """What a data set's size decides: images of both splits, classes, pixels a side."""

    train: int
    test: int
    classes: int
    side: int


def size(experiment: Experiment) -> Size:
    """The size of an experiment's data, of those classes and pixels that it asks for.

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

    @property
    def work(self) -> int:
        """Forward images."""
        return self.passes * self.forwards


def stages(experiment: Experiment, data: Size | None = None) -> list[Stage]:
    """The stages of one seed of CCFS (Algorithm 1, one evaluation), in order.

    The first two are shared by all seeds. data: needed where `size` does not know it,
    and then KeyError is raised without it.
    """
    e, data = experiment, data or size(experiment)
    step = 4 if e.recipe.loss == "kd" else 3
    teacher, own, last = e.teacher_network, e.network, e.evaluation_network or e.network
    made = e.distilled * data.classes * e.distillation.iterations
    todo = [
        Stage("teacher", data.train * e.teacher.epochs, 3, teacher),
        Stage("recovery", made, 2, teacher),
    ]
    count = e.distilled * data.classes
    for phase, quota in enumerate(quotas(e.real, e.curricula) if e.real else [], 1):
        todo.append(Stage(f"filter {phase}", count * e.recipe.epochs, step, own))
        todo.append(Stage(f"selection {phase}", data.train if count else 0, 1, own))
        count += quota * data.classes
    todo.append(Stage("evaluation", count * e.recipe.epochs, step, last))
    tested = sum(e.recipe.tests_at(epoch) for epoch in range(e.recipe.epochs))
    return [*todo, Stage("tests", data.test * tested, 1, last)]


def seconds(
    experiment: Experiment, device: str = "cpu", data: Size | None = None
) -> dict[str, float]:
    """Estimated seconds of each stage on this device, from a timed forward pass.

    An estimate of the order: it knows neither augmentation nor a busy machine, and on a
    CPU one core. data: as for `stages`.
    """
    side, todo = (data or size(experiment)).side, stages(experiment, data)
    rates = {name: _rate(name, side, device) for name in {s.network for s in todo}}
    return {s.name: s.work / rates[s.network] for s in todo}


@cache
def _rate(name: str, size: int, device: str, budget: float = 0.5) -> float:
    """Forward images per second, after one warm-up batch; of one core, on a CPU."""
    cpu, threads = device == "cpu", torch.get_num_threads()
    network = networks.build(name, 10, size, seed=0).to(device).eval()
    network = network.to(memory_format=torch.channels_last)
    # A CPU likes a batch that stays in its cache, a GPU one that fills it; trainings
    # come near that with smaller batches, for their steps are graphs.
    batch = torch.rand(32 if cpu else 512, 3, size, size, device=device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    # Seconds of this thread alone: on a shared machine a wall clock measures the
    # neighbours. A sweep's trainings have a thread each, too.
    clock, fastest = (time.thread_time if cpu else time.perf_counter), float("inf")
    torch.set_num_threads(1 if cpu else threads)
    try:
        with torch.inference_mode():
            network(batch).sum().item()
            end = time.perf_counter() + budget
            while time.perf_counter() < end or fastest == float("inf"):
                start = clock()
                network(batch).sum().item()  # waits for the device
                fastest = min(fastest, clock() - start)
    finally:
        torch.set_num_threads(threads)
    return len(batch) / max(fastest, 1e-9)


def told(amount: float) -> str:
    """Seconds in words: "40 s", "12 min", "3.5 h", "2 days"."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if amount < limit:
            digits = 1 if name == "h" and amount < 36_000 else 0
            return f"{amount / unit:.{digits}f} {name}"
    return f"{amount / 86_400:.0f} days"
