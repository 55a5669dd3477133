"""Ways to run a training step: plainly, compiled, or as a CUDA graph.

A small network's step is a few hundred short kernels, and on a fast GPU Python cannot
launch them as quickly as they end. A graph records the launches of one step (augment,
student, teacher, loss, update) and replays them with one call.
"""

import os
import threading
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ccfs_lib.errors import InputError

if TYPE_CHECKING:
    from ccfs_lib.step import Step

ENGINES = ("auto", "plain", "graph", "compile")


class Graph:
    """A step as a CUDA graph: full batches are replayed, a shorter last one is not."""

    # The first steps run plainly: they create momentum, workspaces and cuDNN plans,
    # which a graph may not.
    WARM = 3
    # Other threads train on their own streams meanwhile; only captures take turns.
    lock = threading.Lock()

    def __init__(self, step: "Step"):
        self.step, self.seen, self.graph = step, 0, None
        size = min(step.recipe.batch_size, len(step.labels))
        self.batch = torch.zeros(size, dtype=torch.int64, device=step.labels.device)

    def __call__(self, batch: Tensor) -> None:
        if len(batch) != len(self.batch) or self.seen < self.WARM:
            self.seen += 1
            return self.step(batch)
        if self.graph is None:
            self._capture()
        self.batch.copy_(batch)
        return self.graph.replay()

    def _capture(self) -> None:
        self.graph = torch.cuda.CUDAGraph()
        # Every replay then draws on from where the generator stands.
        self.graph.register_generator_state(self.step.generator)
        # torch captures no SGD without this flag; the fused one never asks the host.
        self.step.optimiser.param_groups[0]["capturable"] = True
        stream = torch.cuda.current_stream()
        with self.lock:
            stream.synchronize()
            self.step.optimiser.zero_grad(set_to_none=True)
            with torch.cuda.graph(
                self.graph, stream=stream, capture_error_mode="thread_local"
            ):
                self.step(self.batch)


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
    return Graph(step) if graph else step
