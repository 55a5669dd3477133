"""The one training loop: filters, teachers and evaluation models alike.

Loss is either cross-entropy or knowledge distillation from a teacher that sees exactly
the augmented batch. Nothing in a step waits for the device: losses are summed there
and read once an epoch, and the test split is only run in epochs that are reported.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ccfs_lib.data import ImageSet
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime import memory
from ccfs_lib.runtime.checkpoint import Checkpoint, pack, unpack
from ccfs_lib.runtime.device import cast, own_stream, place
from ccfs_lib.runtime.engines import engine as _engine
from ccfs_lib.runtime.progress import progress
from ccfs_lib.step import Step


@dataclass(frozen=True)
class Fit:
    """A finished training. Accuracies in percent; nan where no test set was given."""

    network: nn.Module
    last: float  # after the last epoch
    best: float  # best of the last part of the epochs (`Recipe.tail`), the paper's
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
    recipe that cannot run and for a batch that does not fit into memory,
    FloatingPointError for a loss that is not finite, TimeUp at the checkpoint's
    deadline.
    """
    if recipe.loss == "kd" and teacher is None:
        raise InputError("teacher is None, but loss='kd' needs a teacher network")
    with own_stream(device):
        network = place(network, device)
        if teacher is not None:
            teacher = place(teacher, device).eval()
        generator = torch.Generator(device).manual_seed(seed)
        images, labels = train.images.to(device), train.labels.to(device)
        if test is not None:  # moved once, not for every test
            test = replace(test, images=test.images.to(device))
        step = make(network, images, labels, recipe, generator, teacher, watch)
        run = _engine(step, engine)
        parts = network, step.optimiser, generator, watch
        losses, curve, spent = _resume(checkpoint, parts)
        start = time.perf_counter() - spent
        todo = range(len(losses), recipe.epochs)
        bar = progress(todo, label, "epoch", initial=len(losses), total=recipe.epochs)
        for epoch in bar:
            losses.append(_epoch(epoch, step, run))
            _finite(losses, recipe, label)
            if test is not None and recipe.tests_at(epoch):
                curve[epoch] = accuracy(network, test, device, recipe.precision)
                bar.set_postfix(test=f"{curve[epoch]:.1f}", loss=f"{losses[-1]:.3f}")
            if checkpoint is not None and epoch + 1 < recipe.epochs:
                seconds = time.perf_counter() - start
                figures = {"losses": losses, "curve": curve, "seconds": seconds}
                checkpoint.step(lambda f=figures: (pack(*parts), f), label)
        if checkpoint is not None:
            checkpoint.clear()
        last = curve.get(recipe.epochs - 1, math.nan)
        best = max(curve.values(), default=math.nan)
        passed, seconds = recipe.epochs * len(train), time.perf_counter() - start
        return Fit(network.eval(), last, best, losses, curve, passed, seconds)


def _resume(checkpoint: Checkpoint | None, parts) -> tuple[list, dict, float]:
    """Restore the parts from the checkpoint; return losses, test curve and seconds."""
    if checkpoint is None or not (saved := checkpoint.load()):
        return [], {}, 0.0
    tensors, figures = saved
    unpack(tensors, *parts)
    curve = {int(epoch): value for epoch, value in figures["curve"].items()}
    return figures["losses"], curve, figures["seconds"]


def _epoch(epoch: int, step: Step, run: Callable[[Tensor], None]) -> float:
    """Pass over the training set once, in a fresh order; return the mean loss."""
    step.begin(epoch)
    count, device = len(step.labels), step.labels.device
    order = torch.randperm(count, generator=step.generator, device=device)
    short = False
    try:
        for batch in order.split(step.recipe.batch_size):
            run(batch)
    except RuntimeError as error:
        if not (short := memory.ran_out(error)):
            raise
    if short:  # only here: until the except clause ends, the step's tensors live on
        raise InputError(memory.advice(step))
    return step.total.item() / count  # the only wait for the device


def _finite(losses: list[float], recipe: Recipe, label: str) -> None:
    if not math.isfinite(losses[-1]):
        raise FloatingPointError(
            f"{label}: the loss is {losses[-1]} in epoch {len(losses)}; a "
            f"smaller lr than {recipe.lr:g} usually helps ({recipe})"
        )


@torch.inference_mode()
def predict(
    network: nn.Module,
    images: Tensor,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
) -> Tensor:
    """Compute logits, float (N, C) on the CPU, of plain uint8 images (N, 3, H, W)."""
    # On a CPU small chunks stay in its cache: twice the speed of chunks of 512.
    batch_size = 64 if torch.device(device).type == "cpu" else 1024
    network = place(network, device).eval()
    out = []
    for chunk in images.split(batch_size):
        x = chunk.to(device).float().div_(255)
        with cast(device, precision):
            out.append(network(x.contiguous(memory_format=torch.channels_last)))
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
