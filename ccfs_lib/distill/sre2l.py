"""SRe2L: squeeze, recover, relabel (Yin et al., 2023); CDA is its crop schedule.

Images are recovered from a teacher alone: pixels are moved until the teacher calls them
their class and its batch-norm layers see the statistics they remember. No real image
is touched. CDA (Yin and Shen, 2023) begins with the whole image and lets the random
crop shrink, an easy-to-hard curriculum too.
"""

import copy
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torchvision.io import decode_jpeg, encode_jpeg

from ccfs_lib.augment import crop_boxes, matrices, resample
from ccfs_lib.data import ImageSet
from ccfs_lib.distill.batchnorm import BatchNormLoss
from ccfs_lib.experiment import Distillation
from ccfs_lib.runtime import memory
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.runtime.device import place, settle
from ccfs_lib.runtime.engines import Graph
from ccfs_lib.runtime.progress import progress
from ccfs_lib.runtime.queue import WAIT, Steps, drain

ADAM = ("step", "exp_avg", "exp_avg_sq")  # what it remembers of the pixels

# View, viewed pixels, the teacher's logits: a scalar loss beside SRe2L's.
Extra = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]


def batches(num_classes: int, per_class: int, batch_size: int) -> tuple[Tensor, ...]:
    """Return target labels of every batch: image id by image id over the classes.

    Each batch is as mixed as it can be, since batch-norm statistics are those of a
    mixture; and fewer images per class are simply the first batches of more.
    """
    return torch.arange(num_classes).repeat(per_class).split(batch_size)


def recover(
    teacher: nn.Module,
    classes: tuple[str, ...],
    image_size: int,
    per_class: int,
    recipe: Distillation,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> ImageSet:
    """Recover `per_class` images of every class from the teacher.

    teacher: a network of `ccfs_lib.networks` with batch norm, taking [0, 1] images.
    Returns a uint8 ImageSet ordered by class. Source: SRe2L Eq. 2-4, CDA Section 3.
    Raises InputError for a teacher without batch norm.
    """
    todo = batches(len(classes), per_class, recipe.batch_size)
    done = [
        recover_batch(teacher, targets, image_size, recipe, seed, number, device)
        for number, targets in enumerate(progress(todo, "recover", "batch"))
    ]
    return assemble(done, todo, classes, f"{recipe.method} x{per_class}")


def assemble(images, targets, classes: tuple[str, ...], name: str) -> ImageSet:
    """Put recovered batches, and their targets from `batches`, in order of class."""
    targets = torch.cat(list(targets))
    order = targets.argsort(stable=True)
    return ImageSet(name, torch.cat(list(images))[order], targets[order], classes)


def recover_batch(
    teacher: nn.Module,
    targets: Tensor,
    size: int,
    recipe: Distillation,
    seed: int,
    number: int,
    device: str | torch.device = "cpu",
    checkpoint: Checkpoint | None = None,
) -> Tensor:
    """Optimise one batch of images, uint8 (B, 3, size, size) on the CPU.

    targets: int (B,), the batch `number` of `batches`. It depends on seed and number
    alone, so a run continues at any batch with the same images. checkpoint: keeps the
    batch between iterations, and stops it in time with TimeUp.
    """
    teacher = place(teacher, device).eval()
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    pixels = torch.randn(len(targets), 3, size, size, generator=generator).to(device)
    return descend(teacher, pixels, targets, recipe, generator, checkpoint=checkpoint)


def descend(
    teacher: nn.Module,
    pixels: Tensor,
    targets: Tensor,
    recipe: Distillation,
    generator: torch.Generator,
    extra: Extra | None = None,
    checkpoint: Checkpoint | None = None,
) -> Tensor:
    """Move pixels until the teacher calls them their targets; uint8 as `recover_batch`.

    teacher: in evaluation mode, on the device of `pixels`, which are normalised, float
    (B, 3, S, S), and stay as they are. extra(view, x, logits): a loss on top, of the
    step's view, the viewed pixels and the teacher's logits of them; see `cudd`.
    checkpoint: as for `recover_batch`. Several threads' descents run side by side where
    a `runtime.queue` is open.
    """
    drawn = generator.get_state()

    def steps():
        """Begin with the generator as it was; `drain` may call this twice."""
        generator.set_state(drawn)
        return descent(teacher, pixels, targets, recipe, generator, extra, checkpoint)

    deadline = None if checkpoint is None else checkpoint.deadline
    return drain(steps, device=pixels.device, label="recover", deadline=deadline)


def descent(
    teacher: nn.Module,
    pixels: Tensor,
    targets: Tensor,
    recipe: Distillation,
    generator: torch.Generator,
    extra: Extra | None = None,
    checkpoint: Checkpoint | None = None,
) -> Steps:
    """Descend as `descend` does, an iteration at each ``next``: a job of a queue."""
    teacher = copy.deepcopy(teacher)  # its hooks would see what others ask of it
    targets = targets.to(pixels.device)
    with _borrowed(teacher, recipe.first_bn) as bn_loss:
        kind = Planned if pixels.is_cuda and extra is None else Descent
        work = kind(teacher, bn_loss, pixels, targets, recipe, generator, extra)
        start = work.resume(checkpoint)
        settle(pixels.device)
        for i in range(start, recipe.iterations):
            if not memory.fits(work.iterate, i):
                raise memory.OutOfMemory(
                    f"recovery_batch is {len(targets)}, and memory ran out: take fewer"
                )
            yield
            last = i + 1 == recipe.iterations
            if checkpoint is not None and not last and checkpoint.due():
                yield WAIT
                checkpoint.step(partial(work.state, i + 1), "recover")
        yield WAIT
        images = work.images(recipe.save)
    if checkpoint is not None:
        checkpoint.clear()
    return images


class Descent:
    """A batch of pixels on its way, iteration by iteration; arguments as `descend`."""

    def __init__(
        self, teacher, bn_loss, pixels, targets, recipe, generator, extra=None
    ):
        self.body, self.bn_loss, self.targets = teacher.body, bn_loss, targets
        self.mean = teacher.normalize.mean.view(3, 1, 1)
        self.std = teacher.normalize.std.view(3, 1, 1)
        # Pixels live in the normalised space, where Adam's steps are alike per channel.
        self.pixels = pixels.clone().requires_grad_(True)
        self.recipe, self.generator, self.extra = recipe, generator, extra
        self.begin()

    def begin(self) -> None:
        """Make the optimiser and what draws its views."""
        r = self.recipe
        # Fused: its square root is the processor's, correctly rounded. `torch.sqrt` is
        # MKL's, which rounds otherwise on the processors of another maker.
        self.optimiser = torch.optim.Adam(
            [self.pixels], r.lr, betas=r.betas, fused=True
        )
        self.schedule = CosineAnnealingLR(self.optimiser, r.iterations)
        self.views = views(r, self.pixels.shape[2], self.generator, 0)

    def iterate(self, i: int) -> None:
        """Do iteration i, the next one."""
        self.move(next(self.views))
        self.schedule.step()

    def move(self, view: Callable[[Tensor], Tensor]) -> None:
        """Take one step of the optimiser on this view of the pixels."""
        x = view(self.pixels).contiguous(memory_format=torch.channels_last)
        logits = self.body(x)
        loss = F.cross_entropy(logits, self.targets)
        loss = loss + self.recipe.bn_weight * self.bn_loss.read()
        if self.extra is not None:
            loss = loss + self.extra(view, x, logits)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            self.pixels.clamp_(-self.mean / self.std, (1 - self.mean) / self.std)

    def images(self, form: str) -> Tensor:
        """Return the images as they come back from a file, uint8 on the CPU."""
        images = (self.pixels.detach() * self.std + self.mean).clamp(0, 1)
        return as_saved((images * 255).round().to(torch.uint8).cpu(), form)

    # -- a checkpoint: tensors and figures -------------------------------------------

    def state(self, done: int) -> tuple[dict, dict]:
        """Collect what the iterations after the first `done` depend on."""
        adam = self.optimiser.state[self.pixels]
        tensors = {"pixels": self.pixels, "generator": self.generator.get_state()}
        figures = {"done": done, "kind": type(self).__name__} | self.rates_left()
        return tensors | {name: adam[name] for name in ADAM}, figures

    def rates_left(self) -> dict:
        """Say where the schedule stands: its rates follow one from the other."""
        state = self.schedule.state_dict()
        kept = {name: state[name] for name in ("last_epoch", "_step_count", "_last_lr")}
        return {"schedule": kept, "lr": self.optimiser.param_groups[0]["lr"]}

    def resume(self, checkpoint: Checkpoint | None) -> int:
        """Restore what a checkpoint holds; return the number of iterations done."""
        if checkpoint is None or not (saved := checkpoint.load()):
            return 0
        tensors, figures = saved
        # One without a kind was written before there were two.
        if figures.get("kind", "Descent") != type(self).__name__:  # of another device
            return 0
        with torch.no_grad():
            self.pixels.copy_(tensors["pixels"])
        step = tensors["step"].to(self.pixels.device)
        moments = (torch.empty_like(self.pixels).copy_(tensors[n]) for n in ADAM[1:])
        values = step, *(moment.detach() for moment in moments)
        self.optimiser.state[self.pixels] = dict(zip(ADAM, values, strict=True))
        self.generator.set_state(tensors["generator"])
        self.go_on(figures)
        return figures["done"]

    def go_on(self, figures: dict) -> None:
        """Put the schedule and the views where `rates_left` left them."""
        self.schedule.load_state_dict(figures["schedule"])
        self.optimiser.param_groups[0]["lr"] = figures["lr"]
        size = self.pixels.shape[2]
        self.views = views(self.recipe, size, self.generator, figures["done"])


class Planned(Descent):
    """A descent whose draws and rates lie on the device: an iteration is one graph.

    The draws are those of `Descent`. Crop, flip and roll are two matrix products, also
    where `Descent` leaves one out, and Adam reads its rate from the device: equal up to
    rounding.
    """

    def begin(self) -> None:
        """Draw all views; put them, and the rates, on the device."""
        r, device, size = self.recipe, self.pixels.device, self.pixels.shape[2]
        drawn = zip(*draws(r, size, self.generator), strict=True)
        _, boxes, flips, rolls = drawn
        self.boxes, self.flips = (
            torch.cat(boxes).to(device),
            torch.cat(flips).to(device),
        )
        self.rolls = torch.tensor(rolls, device=device)
        falls = [
            (1 + math.cos(math.pi * i / r.iterations)) / 2 for i in range(r.iterations)
        ]
        self.rates = torch.tensor([r.lr * fall for fall in falls], device=device)
        self.rate = torch.tensor(r.lr, device=device)
        self.line = torch.arange(size, device=device)
        cuda = {"capturable": True, "fused": True} if self.pixels.is_cuda else {}
        self.optimiser = torch.optim.Adam([self.pixels], self.rate, r.betas, **cuda)
        self.todo = torch.arange(r.iterations, device=device)
        self.run = self.planned
        if self.pixels.is_cuda and os.environ.get("CCFS_ENGINE") != "plain":
            clear = partial(self.optimiser.zero_grad, set_to_none=True)
            self.run = Graph(self.planned, 1, device, before=clear)

    def iterate(self, i: int) -> None:
        """Do iteration i."""
        self.run(self.todo[i : i + 1])

    def planned(self, index: Tensor) -> None:
        """Do the iteration whose number lies on the device, int (1,)."""
        self.rate.copy_(self.rates[index][0])
        self.move(partial(self.view, index))

    def view(self, index: Tensor, pixels: Tensor) -> Tensor:
        """Crop, flip and roll the pixels as iteration `index` does."""
        size, (down, right) = pixels.shape[2], self.rolls[index][0]
        rows, columns = matrices(self.boxes[index], self.flips[index], size, pixels)
        # Rows of a product are rolled by rolling those of its left factor.
        rows = rows[:, (self.line - down) % size].unsqueeze(1)
        columns = columns[:, (self.line - right) % size].unsqueeze(1)
        return rows @ (pixels @ columns.transpose(2, 3))

    def rates_left(self) -> dict:
        """Say nothing: all rates are known."""
        return {}

    def go_on(self, figures: dict) -> None:
        """Do nothing: all views are drawn."""


@contextmanager
def frozen(network: nn.Module) -> Iterator[nn.Module]:
    """Lend the network without weight gradients; given back even on Ctrl-C."""
    trained = [p for p in network.parameters() if p.requires_grad]
    network.requires_grad_(False)
    try:
        yield network
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _borrowed(teacher: nn.Module, first: float) -> Iterator[BatchNormLoss]:
    """Watch the batch-norm layers of the frozen teacher."""
    bn_loss = BatchNormLoss(teacher, first)
    try:
        with frozen(teacher):
            yield bn_loss
    finally:
        bn_loss.close()


def as_saved(images: Tensor, form: str) -> Tensor:
    """Return images as they come back from a file, uint8 (N, 3, H, W).

    "jpeg": quality 75 with halved chroma, Pillow's default, in which the authors keep
    theirs; "png": unchanged.
    """
    if form == "png":
        return images
    files = (encode_jpeg(image, quality=75) for image in images)
    return torch.stack([decode_jpeg(file) for file in files])


def draws(
    recipe: Distillation, size: int, generator: torch.Generator, start: int = 0
) -> Iterator[tuple[float, Tensor, Tensor, list[int]]]:
    """Draw smallest area, box (1, 4), flip (1,) and roll of iterations from `start`.

    The generator stands where the `start` iterations before left it.
    """
    for iteration in range(start, recipe.iterations):
        smallest = recipe.crop_at(iteration)
        box = crop_boxes(1, size, size, (smallest, 1.0), generator)
        flip = (torch.rand(1, generator=generator) < 0.5) & recipe.flip
        least = -recipe.roll if recipe.roll_back else 0
        roll = torch.randint(least, recipe.roll + 1, (2,), generator=generator).tolist()
        yield smallest, box, flip, roll


def views(
    recipe: Distillation, size: int, generator: torch.Generator, start: int = 0
) -> Iterator:
    """Yield one differentiable view (crop, flip, roll) per iteration, of the batch."""
    for smallest, box, flip, roll in draws(recipe, size, generator, start):

        def view(pixels, box=box, flip=flip, roll=roll, crop=smallest < 1):
            """Crop, flip and roll pixels (B, 3, S, S) as drawn."""
            n, device = len(pixels), pixels.device
            if crop:
                boxes, flips = box.expand(n, 4).to(device), flip.expand(n).to(device)
                pixels = resample(pixels, boxes, flips, size)
            elif flip:
                pixels = pixels.flip(3)
            return pixels.roll(roll, (2, 3))

        yield view
