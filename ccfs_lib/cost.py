"""What an experiment costs before it runs: image passes, and time on this machine.

The unit is one forward image: a hard-label step costs 3 (forward, and backward twice
that), a distillation step 4 (the teacher looks too), a recovery iteration 2 (no weight
gradients).
"""

import time
from dataclasses import dataclass

import torch

from ccfs_lib import networks
from ccfs_lib.experiment import Experiment
from ccfs_lib.select import quotas

# Training images, test images, classes, side in pixels.
SETS = {
    "digits": (1352, 445, 10, 8),
    "cifar10": (50_000, 10_000, 10, 32),
    "cifar10-jpeg": (50_000, 10_000, 10, 32),
    "cifar100": (50_000, 10_000, 100, 32),
    "tiny-imagenet": (100_000, 10_000, 200, 64),
}


@dataclass(frozen=True)
class Stage:
    """One stage of one seed: `passes` images, each worth `forwards` forward images."""

    name: str
    passes: int
    forwards: int
    teacher: bool = False  # runs the teacher's network, once for all seeds

    @property
    def work(self) -> int:
        """Forward images."""
        return self.passes * self.forwards


def stages(experiment: Experiment) -> list[Stage]:
    """The stages of one seed of CCFS (Algorithm 1, one evaluation), in order.

    Raises KeyError for a data set of the user's own, whose size is not known here.
    """
    e = experiment
    images, tests, classes, _ = SETS[e.dataset]
    step = 4 if e.recipe.loss == "kd" else 3
    made = e.distilled * classes * e.distillation.iterations
    todo = [
        Stage("teacher", images * e.teacher.epochs, 3, teacher=True),
        Stage("recovery", made, 2, teacher=True),
    ]
    size = e.distilled * classes
    for phase, quota in enumerate(quotas(e.real, e.curricula) if e.real else [], 1):
        todo.append(Stage(f"filter {phase}", size * e.recipe.epochs, step))
        todo.append(Stage(f"selection {phase}", images, 1))
        size += quota * classes
    todo.append(Stage("evaluation", size * e.recipe.epochs, step))
    tested = sum(e.recipe.tests_at(epoch) for epoch in range(e.recipe.epochs))
    return [*todo, Stage("tests", tests * tested, 1)]


def seconds(experiment: Experiment, device: str = "cpu") -> dict[str, float]:
    """Estimated seconds of each stage on this device, from a timed forward pass.

    An estimate of the order: it knows neither augmentation nor a busy machine.
    """
    e = experiment
    size = SETS[e.dataset][3]
    rates = {name: _rate(name, size, device) for name in {e.network, e.teacher_network}}
    return {
        s.name: s.work / rates[e.teacher_network if s.teacher else e.network]
        for s in stages(e)
    }


def _rate(name: str, size: int, device: str, budget: float = 0.5) -> float:
    """Forward images per second, after one warm-up batch."""
    network = networks.build(name, 10, size, seed=0).to(device).eval()
    network = network.to(memory_format=torch.channels_last)
    batch = torch.rand(32, 3, size, size, device=device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        network(batch).sum().item()
        fastest, end = float("inf"), time.perf_counter() + budget
        while (start := time.perf_counter()) < end:
            network(batch).sum().item()  # waits for the device
            fastest = min(fastest, time.perf_counter() - start)
    # The fastest batch: on a shared machine the mean measures the neighbours.
    return len(batch) / fastest


def told(amount: float) -> str:
    """Seconds in words: "40 s", "12 min", "3.5 h", "2 days"."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if amount < limit:
            digits = 1 if name == "h" and amount < 36_000 else 0
            return f"{amount / unit:.{digits}f} {name}"
    return f"{amount / 86_400:.0f} days"
