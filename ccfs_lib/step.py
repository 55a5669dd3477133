"""One training step, and the ways to run it: plainly, compiled, or as a CUDA graph.

A small network's step is a few hundred short kernels, and on a fast GPU Python cannot
launch them as quickly as they end. A graph records the launches of one step (augment,
student, teacher, loss, update) and replays them with one call. Nothing in a step waits
for the device, so all ways do the same arithmetic in the same order.
"""

import os
import threading
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ccfs_lib.augment import augment
from ccfs_lib.errors import InputError
from ccfs_lib.recipes import Recipe

ENGINES = ("auto", "plain", "graph", "compile")


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of logits (N, C) softened by T, mean over images."""
    soft = F.log_softmax(student / temperature, 1)
    target = F.log_softmax(teacher / temperature, 1)
    kl = F.kl_div(soft, target, reduction="batchmean", log_target=True)
    return kl * temperature**2


def cast(device: str | torch.device, precision: str):
    """Autocast to bfloat16 where the recipe asks; weights and losses stay float32."""
    return torch.autocast(
        torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"
    )


@contextmanager
def own_stream(device: str | torch.device):
    """A CUDA stream for one training; nothing on a CPU.

    Trainings in several threads overlap on streams of their own, and only such a
    stream, never the default one, can be captured as a graph.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    outer, own = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    own.wait_stream(outer)
    with torch.cuda.stream(own):
        yield
    outer.wait_stream(own)


def place(network: nn.Module, device: str | torch.device) -> nn.Module:
    """The network on its device, in channels-last memory."""
    # On a CPU a ResNet's last stage is no slower contiguous, and a teacher's batch norm
    # could be folded: too little of a step, measured in turn, for a second layout.
    return network.to(device, memory_format=torch.channels_last)


class Step:
    """A training's moving parts; calling it with indices (B,) trains on that batch.

    images uint8 (N, 3, H, W) and labels (N,) lie on the networks' device, as does
    `generator`, so that no draw of a step has to be copied there. `watch(indices,
    logits)` sees every batch. `total` sums loss times batch size on the device.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        recipe: Recipe,
        generator: torch.Generator,
        teacher: nn.Module | None = None,
        watch=None,
    ):
        self.network, self.teacher, self.watch = network, teacher, watch
        self.forward = network  # what is called; a compiled one shares the weights
        self.images, self.labels = images, labels
        self.recipe, self.generator = recipe, generator
        self.total = torch.zeros((), device=images.device)
        self.optimiser = torch.optim.SGD(
            network.parameters(),
            # A graph reads its rate from the device; elsewhere a float is exact.
            torch.tensor(recipe.lr, device=images.device)
            if images.is_cuda
            else recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,  # on every parameter, as the authors do
            nesterov=recipe.nesterov,
            fused=True,
        )

    def begin(self, epoch: int) -> None:
        """Set the epoch's learning rate, training mode, and the sum of losses to 0."""
        group, lr = self.optimiser.param_groups[0], self.recipe.lr_at(epoch)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
        self.network.train()
        self.total.zero_()

    def loss(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss, and logits (B, C), of float images x (B, 3, H, W) in [0, 1]."""
        x = x.contiguous(memory_format=torch.channels_last)
        with cast(x.device, self.recipe.precision):
            logits = self.forward(x)
        if self.recipe.loss == "hard":
            return F.cross_entropy(logits.float(), labels), logits
        with torch.no_grad(), cast(x.device, self.recipe.precision):
            soft = self.teacher(x)
        return kd_loss(logits.float(), soft.float(), self.recipe.temperature), logits

    def view(self, batch: Tensor) -> Tensor:
        """Augmented float images (B, 3, H, W) in [0, 1] of the indices (B,)."""
        return augment(self.images[batch], self.recipe, self.generator)

    def __call__(self, batch: Tensor) -> None:
        loss, logits = self.loss(self.view(batch), self.labels[batch])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.total += loss.detach() * len(batch)
        if self.watch is not None:
            self.watch(batch, logits.detach())


class Graph:
    """A step as a CUDA graph: full batches are replayed, a shorter last one is not."""

    # The first steps run plainly: they create momentum, workspaces and cuDNN plans,
    # which a graph may not.
    WARM = 3
    # Other threads train on their own streams meanwhile; only captures take turns.
    lock = threading.Lock()

    def __init__(self, step: Step):
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
        # torch refuses SGD in a capture unless told; the fused one never asks the host.
        self.step.optimiser.param_groups[0]["capturable"] = True
        stream = torch.cuda.current_stream()
        with self.lock:
            stream.synchronize()
            self.step.optimiser.zero_grad(set_to_none=True)
            with torch.cuda.graph(
                self.graph, stream=stream, capture_error_mode="thread_local"
            ):
                self.step(self.batch)


def engine(step: Step, name: str = "auto"):
    """The step as a function of a batch of indices, run in the way named.

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
