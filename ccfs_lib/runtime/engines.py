"""Ways to run a training step: plainly, compiled, or as a CUDA graph.

A small network's step is a few hundred short kernels, and on a fast GPU Python cannot
launch them as quickly as they end. A graph records the launches of one step (augment,
student, teacher, loss, update) and replays them with one call.
"""

import gc
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ccfs_lib.errors import InputError
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.halves import halve

if TYPE_CHECKING:
    from ccfs_lib.step import Step

ENGINES = ("auto", "plain", "graph", "cast", "compile")
# Compiled forms of one network's code: student and teacher, batch sizes, precisions.
FORMS = 64


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python from collecting garbage: a graph in it must not end in a capture.

    That is an error of CUDA; since 2.9 PyTorch does not collect before a capture.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class Graph:
    """A function of a batch of indices as CUDA graphs, one for each size of batch.

    So a training has two: for its full batches and for a shorter last one. call: the
    function; full: the size of full batches; generator: what it draws from, if it
    draws; before: called before a capture.
    """

    # The first full batches run plainly: they create momentum, workspaces and cuDNN
    # plans, which a graph may not. A shorter one needs plans of its own only.
    WARM = 3
    # Other threads train on their own streams meanwhile; only captures take turns.
    lock = threading.Lock()

    def __init__(
        self,
        call: Callable[[Tensor], None],
        full: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        before: Callable[[], None] = lambda: None,
    ):
        self.call, self.full, self.device = call, full, device
        self.generator, self.before = generator, before
        self.seen: Counter[int] = Counter()
        self.graphs: dict[int, tuple] = {}  # size -> (what replays, its indices)

    def __call__(self, batch: Tensor) -> None:
        size = len(batch)
        if size not in self.graphs:
            if self.seen[size] < (self.WARM if size == self.full else 1):
                self.seen[size] += 1
                return self.call(batch)
            self.graphs[size] = self._capture(size)
        graph, static = self.graphs[size]
        static.copy_(batch)
        return graph.replay()

    def _capture(self, size: int) -> tuple:
        static = torch.zeros(size, dtype=torch.int64, device=self.device)
        graph = torch.cuda.CUDAGraph()
        if self.generator is not None:
            # Every replay then draws on from where the generator stands.
            graph.register_generator_state(self.generator)
        stream = torch.cuda.current_stream()
        mode = {"stream": stream, "capture_error_mode": "thread_local"}
        with self.lock, uncollected():
            stream.synchronize()
            self.before()
            with torch.cuda.graph(graph, **mode):
                self.call(static)
        return graph, static


def graph_of(step: "Step") -> Graph:
    """Return a training step as graphs."""

    def before():
        """Make the optimiser capturable, and drop its gradients."""
        # torch captures no SGD without this flag; the fused one never asks the host.
        step.optimiser.param_groups[0]["capturable"] = True
        step.optimiser.zero_grad(set_to_none=True)

    return Graph(step, _full(step), step.labels.device, step.generator, before)


def compiled(step: "Step") -> None:
    """Compile the step's student and teacher for full batches.

    What is compiled serves all trainings of the same shape: the compiler takes weights
    as arguments, and keeps its kernels in our cache, for other processes. A shorter
    batch, one a epoch, is not worth a form of its own.
    """
    kernels = paths.cache() / "compiled" / torch.backends.cpu.get_cpu_capability()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kernels))
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, FORMS)
    full = _full(step)

    def chosen(network):
        """Return network(x), compiled for full batches alone."""
        fused = torch.compile(network, dynamic=False)
        return lambda x: (fused if len(x) == full else network)(x)

    step.forward = chosen(step.network)
    step.answer = step.teacher and chosen(step.teacher)


def _full(step: "Step") -> int:
    return min(step.recipe.batch_size, len(step.labels))


def engine(step: "Step", name: str = "auto"):
    """Return the step as a function of a batch of indices, run in the way named.

    "plain"; "graph" (CUDA only); "cast" (bfloat16 weights by one copy, see `halves`)
    and "compile" (torch.compile of student and teacher), on CUDA inside a graph;
    "auto": what $CCFS_ENGINE says, else a graph on CUDA and plain elsewhere. On a CPU
    a compiled step is slower than a plain one. Raises InputError for another name and
    for a graph without CUDA.
    """
    cuda = step.labels.is_cuda
    if name == "auto":
        name = os.environ.get("CCFS_ENGINE", name)
    if name not in ENGINES or (name == "graph" and not cuda):
        known = ", ".join(n for n in ENGINES if cuda or n != "graph")
        raise InputError(f"engine is {name!r}, but must be one of {known} here")
    if name == "compile":
        compiled(step)
    if name == "cast":
        halve(step)
    graph = cuda and name != "plain"
    return graph_of(step) if graph else step
