"""Ways to run a training step: plainly, compiled, or as a CUDA graph.

A small network's step is a few hundred short kernels, and on a fast GPU Python cannot
launch them as quickly as they end. A graph records the launches of one step (augment,
student, teacher, loss, update) and replays them with one call.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ccfs_lib.errors import InputError

if TYPE_CHECKING:
    from ccfs_lib.step import Step

ENGINES = ("auto", "plain", "graph", "compile")


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
        with self.lock:
            stream.synchronize()
            self.before()
            with torch.cuda.graph(
                graph, stream=stream, capture_error_mode="thread_local"
            ):
                self.call(static)
        return graph, static


def graph_of(step: "Step") -> Graph:
    """Return a training step as graphs."""

    def before():
        # torch captures no SGD without this flag; the fused one never asks the host.
        step.optimiser.param_groups[0]["capturable"] = True
        step.optimiser.zero_grad(set_to_none=True)

    full = min(step.recipe.batch_size, len(step.labels))
    return Graph(step, full, step.labels.device, step.generator, before)


def engine(step: "Step", name: str = "auto"):
    """Return the step as a function of a batch of indices, run in the way named.

    "plain"; "graph" (CUDA only); "compile" (torch.compile of the student, on CUDA
    inside a graph); "auto": what $CCFS_ENGINE says, else a graph on CUDA and plain
    elsewhere. Raises InputError for another name and for a graph without CUDA.
    """
    cuda = step.labels.is_cuda
    if name == "auto":
        name = os.environ.get("CCFS_ENGINE", name)
    if name not in ENGINES or (name == "graph" and not cuda):
        known = ", ".join(n for n in ENGINES if cuda or n != "graph")
        raise InputError(f"engine is {name!r}, but must be one of {known} here")
    if name == "compile":
        step.forward = torch.compile(step.network)
    graph = cuda and name != "plain"
    return graph_of(step) if graph else step
