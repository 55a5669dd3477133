"""The one training loop: filters, teachers and evaluation models alike.

Loss is either cross-entropy or knowledge distillation from a teacher that sees exactly
the augmented batch. Nothing in a step waits for the device: losses are summed there
and read when it has them, and the test split is only run in epochs that are reported.
A training is a generator of its steps, so that several can share one device.
"""

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ccfs_lib.data import ImageSet
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime import memory
from ccfs_lib.runtime.checkpoint import Checkpoint, pack, unpack
from ccfs_lib.runtime.device import cast, later, place, sent, settle
from ccfs_lib.runtime.engines import Graph
from ccfs_lib.runtime.engines import engine as _engine
from ccfs_lib.runtime.progress import progress
from ccfs_lib.runtime.queue import WAIT, Steps, drain
from ccfs_lib.runtime.queue import here as queue_here
from ccfs_lib.step import Step


@dataclass(frozen=True)
class Fit:
    """A finished training. Accuracies in percent; nan where no test set was given."""

    network: nn.Module
    last: float  # after the last epoch
    best: float  # best of the last part of the epochs (`Recipe.tail`), the authors'
    losses: list[float] = field(repr=False)  # mean training loss of each epoch
    curve: dict[int, float] = field(repr=False)  # epoch (0-based) -> test accuracy
    images: int  # images passed forward and backward
    seconds: float


def fit(
    network: nn.Module,
    train: ImageSet,
    recipe: Recipe,
    *,
    seed: int,
    teacher: nn.Module | None = None,
    test: ImageSet | None = None,
    watch: Callable[[Tensor, Tensor], None] | None = None,
    checkpoint: Checkpoint | None = None,
    device: str | torch.device = "cpu",
    label: str = "train",
    engine: str = "auto",
    make: Callable[..., Step] = Step,
) -> Fit:
    """Train `network` on `train` by `recipe`, in place.

    `seed` fixes order and augmentation (the weights are the caller's). `teacher` is
    needed for ``loss="kd"``. `watch(indices, logits)` sees every batch's training
    predictions, so that forgetting events cost no extra pass. With `checkpoint` a
    killed training continues at its last epoch boundary, with the same bits on a CPU;
    `watch` then needs ``state()`` and ``restore(tensors)``. `engine`: how the steps
    run, a name of `engines.ENGINES`; `make`: the kind of step. Raises InputError for a
    recipe that cannot run, for an empty set and for a batch that does not fit into
    memory, FloatingPointError for a loss that is not finite, TimeUp at the
    checkpoint's deadline.
    """
    if recipe.loss == "kd" and teacher is None:
        raise InputError("teacher is None, but loss='kd' needs a teacher network")
    for name, images in (("train", train), ("test", test)):
        if images is not None and not len(images):
            raise InputError(f"{name} holds no images, but at least one is needed")
    start = _remember(network, watch) if queue_here() else None

    def steps():
        """Begin with the weights that were given; `drain` may call this twice."""
        if start is not None:
            start()
        return training(
            network,
            train,
            recipe,
            seed=seed,
            teacher=teacher,
            test=test,
            watch=watch,
            checkpoint=checkpoint,
            device=device,
            label=label,
            engine=engine,
            make=make,
        )

    deadline = None if checkpoint is None else checkpoint.deadline
    return drain(steps, device=device, label=label, deadline=deadline)


def training(
    network: nn.Module,
    train: ImageSet,
    recipe: Recipe,
    *,
    seed: int,
    teacher: nn.Module | None = None,
    test: ImageSet | None = None,
    watch: Callable[[Tensor, Tensor], None] | None = None,
    checkpoint: Checkpoint | None = None,
    device: str | torch.device = "cpu",
    label: str = "train",
    engine: str = "auto",
    make: Callable[..., Step] = Step,
) -> Generator[bool | None, None, Fit]:
    """Train as `fit` does, a step at each ``next``: a job of `runtime.queue`.

    Nothing waits for the device but where WAIT is yielded, before a checkpoint and at
    the end. Losses and hits are read when the device has them; so a loss that is not
    finite ends a training on a CPU in its epoch, on a GPU some steps later.
    """
    network = place(network, device)
    if teacher is not None:
        teacher = place(teacher, device).eval()
    generator = torch.Generator(device).manual_seed(seed)
    images, labels = train.images.to(device), train.labels.to(device)
    step = make(network, images, labels, recipe, generator, teacher, watch)
    join = _lone(network, images, recipe.batch_size)  # before anything is compiled
    run = _engine(step, engine)
    tests = None
    if test is not None:
        tests = Tests(network, test, device, recipe.precision, run is not step)
    parts = network, step.optimiser, generator, watch
    course, spent = _resume(checkpoint, parts, Course(recipe, label, train, test))
    settle(device)
    start = time.perf_counter() - spent
    begun = len(course.losses)
    todo = range(begun, recipe.epochs)
    bar = progress(todo, label, "epoch", initial=begun, total=recipe.epochs)
    for epoch in bar:
        total = yield from _epoch(epoch, step, run, join)
        tested = tests is not None and recipe.tests_at(epoch)
        course.add(epoch, total, (yield from tests()) if tested else None)
        course.read(bar)
        last = epoch + 1 == recipe.epochs
        if checkpoint is not None and not last and checkpoint.due():
            yield WAIT
            course.read(bar, wait=True)
            seconds = time.perf_counter() - start
            figures = {"losses": course.losses, "curve": course.curve}
            figures["seconds"] = seconds
            checkpoint.step(lambda f=figures: (pack(*parts), f), label)
    yield WAIT
    course.read(bar, wait=True)
    if checkpoint is not None:
        checkpoint.clear()
    return course.fit(network.eval(), time.perf_counter() - start)


def _remember(network: nn.Module, watch) -> Callable[[], None]:
    """Return a function that puts the network and what `watch` counted back."""
    before = copy.deepcopy(network.state_dict())
    counts = copy.deepcopy(watch.state()) if hasattr(watch, "state") else None

    def put_back():
        """Load the weights, and what was counted."""
        network.load_state_dict(before)
        if counts is not None:
            watch.restore(counts)

    return put_back


class Course:
    """What a training's epochs gave, read when the device has computed it."""

    def __init__(self, recipe: Recipe, label: str, train: ImageSet, test):
        self.recipe, self.label = recipe, label
        self.images, self.tests = len(train), 0 if test is None else len(test)
        self.losses: list[float] = []
        self.curve: dict[int, float] = {}
        self.unread: deque = deque()

    def add(self, epoch: int, total: Tensor, hits: Tensor | None) -> None:
        """Note an epoch's sum of losses and its hits on the test split, scalars."""
        values = [v if v is None else later(v) for v in (total, hits)]
        event = torch.cuda.current_stream().record_event() if total.is_cuda else None
        self.unread.append((epoch, *values, event))

    def read(self, bar, wait: bool = False) -> None:
        """Read the epochs that the device has finished; with `wait`, all of them.

        Raises FloatingPointError for the first loss that is not finite.
        """
        while self.unread:
            epoch, total, hits, event = self.unread[0]
            if event is not None and not event.query():
                if not wait:
                    return
                event.synchronize()
            self.unread.popleft()
            self.losses.append(total.item() / self.images)
            _finite(self.losses, self.recipe, self.label)
            if hits is not None:
                self.curve[epoch] = 100 * (hits.item() / self.tests)
                loss = f"{self.losses[-1]:.3f}"
                bar.set_postfix(test=f"{self.curve[epoch]:.1f}", loss=loss)

    def fit(self, network: nn.Module, seconds: float) -> Fit:
        """Return the finished training."""
        last = self.curve.get(self.recipe.epochs - 1, math.nan)
        best = max(self.curve.values(), default=math.nan)
        passed = self.recipe.epochs * self.images
        return Fit(network, last, best, self.losses, self.curve, passed, seconds)


class Tests:
    """The test split on the device; called, it counts what the network gets right.

    graph: replay the sweep as CUDA graphs.
    """

    def __init__(self, network, test: ImageSet, device, precision: str, graph: bool):
        self.network, self.precision = network, precision
        # Moved once, not for every test.
        self.images, self.labels = test.images.to(device), test.labels.to(device)
        self.hits = torch.zeros((), dtype=torch.int64, device=device)
        self.todo = torch.arange(len(test), device=device).split(_chunk(device))
        self.run = self._count
        if graph and self.hits.is_cuda:
            self.run = Graph(self._count, len(self.todo[0]), self.hits.device)

    def __call__(self) -> Generator[None, None, Tensor]:
        """Count, a chunk at each ``next``; return a scalar on the device."""
        self.network.eval()
        self.hits.zero_()
        for chunk in self.todo:
            self.run(chunk)
            yield
        return self.hits.clone()

    @torch.no_grad()
    def _count(self, chunk: Tensor) -> None:
        x = self.images[chunk].float().div_(255)
        with cast(x.device, self.precision):
            logits = self.network(x.contiguous(memory_format=torch.channels_last))
        self.hits += (logits.float().argmax(1) == self.labels[chunk]).sum()


def _resume(checkpoint: Checkpoint | None, parts, course: Course):
    """Restore the parts and the course from the checkpoint; return it and seconds."""
    if checkpoint is None or not (saved := checkpoint.load()):
        return course, 0.0
    tensors, figures = saved
    unpack(tensors, *parts)
    course.curve = {int(epoch): value for epoch, value in figures["curve"].items()}
    course.losses = figures["losses"]
    return course, figures["seconds"]


def _lone(network: nn.Module, images: Tensor, size: int) -> bool:
    """Check whether the last batch has one image, of which the network learns nothing.

    Batch norm has no variance of a single value: at 1x1 pixels PyTorch refuses it.
    """
    if len(images) <= size or len(images) % size != 1:
        return False
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        return False
    shapes = []
    hooks = [
        m.register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape))
        for m in norms
    ]
    try:  # the evaluation mode changes nothing in the network
        with torch.inference_mode():
            network.eval()(images[:1].float().div(255))
    finally:
        for hook in hooks:
            hook.remove()
    return any(shape[2:].numel() == 1 for shape in shapes)


def _epoch(epoch: int, step: Step, run: Callable[[Tensor], None], join: bool):
    """Pass over the training set once, in a fresh order; return the sum of losses.

    join: the last image goes into the batch before, as it cannot be a batch.
    """
    step.begin(epoch)
    count, device = len(step.labels), step.labels.device
    order = torch.randperm(count, generator=step.generator, device=device)
    batches = list(order.split(step.recipe.batch_size))
    if join:
        batches[-2:] = [torch.cat(batches[-2:])]
    for batch in batches:
        if not memory.fits(run, batch):
            raise memory.OutOfMemory(memory.advice(step))
        yield
    return step.total.clone()


def _finite(losses: list[float], recipe: Recipe, label: str) -> None:
    if not math.isfinite(losses[-1]):
        raise FloatingPointError(
            f"{label}: the loss is {losses[-1]} in epoch {len(losses)}; a "
            f"smaller lr than {recipe.lr:g} usually helps ({recipe})"
        )


def _chunk(device: str | torch.device) -> int:
    # On a CPU small chunks stay in its cache: twice the speed of chunks of 512.
    return 64 if torch.device(device).type == "cpu" else 1024


def predict(
    network: nn.Module,
    images: Tensor,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
) -> Tensor:
    """Compute logits, float (N, C) on the CPU, of plain uint8 images (N, 3, H, W).

    Raises InputError for anything but a uint8 tensor of four dimensions.
    """
    tensor = isinstance(images, Tensor)
    if not tensor or images.dim() != 4 or images.dtype != torch.uint8:
        held = f"{images.dtype} {tuple(images.shape)}" if tensor else ""
        raise InputError(
            f"images is {held or type(images).__name__}, but must be a uint8 tensor "
            "(N, C, H, W), such as those of an ImageSet"
        )
    given = network, images, device, precision
    return drain(lambda: predicting(*given), device=device, label="predict")


@torch.inference_mode()
def predicting(network: nn.Module, images: Tensor, device, precision: str) -> Steps:
    """Predict as `predict` does, a chunk at each ``next``: a job of a queue."""
    network = place(network, device).eval()
    out = []
    for chunk in images.split(_chunk(device)):
        x = sent(chunk, device).float().div_(255)
        with cast(device, precision):
            out.append(network(x.contiguous(memory_format=torch.channels_last)))
        yield
    yield WAIT
    return torch.cat(out).float().cpu()


def accuracy(
    network: nn.Module,
    data: ImageSet,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
) -> float:
    """Measure top-1 accuracy in percent."""
    logits = predict(network, data.images, device, precision)
    return 100 * (logits.argmax(1) == data.labels).double().mean().item()
