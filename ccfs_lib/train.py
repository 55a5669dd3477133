"""The one training loop: filters, teachers and evaluation models alike.

Loss is either cross-entropy or knowledge distillation from a teacher that sees exactly
the augmented batch. Nothing in a step waits for the device: losses are summed there
and read once an epoch, and the test split is only run in epochs that are reported.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ccfs_lib.augment import augment
from ccfs_lib.checkpoint import Checkpoint, pack, unpack
from ccfs_lib.data import ImageSet
from ccfs_lib.errors import InputError
from ccfs_lib.progress import progress
from ccfs_lib.recipes import Recipe


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


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of logits (N, C) softened by T, mean over images."""
    soft = F.log_softmax(student / temperature, 1)
    target = F.log_softmax(teacher / temperature, 1)
    kl = F.kl_div(soft, target, reduction="batchmean", log_target=True)
    return kl * temperature**2


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
) -> Fit:
    """Train `network` on `train` by `recipe`, in place.

    `seed` fixes order and augmentation (the weights are the caller's). `teacher` is
    needed for ``loss="kd"``. `watch(indices, logits)` sees every batch's training
    predictions, so that forgetting events cost no extra pass. With `checkpoint` a
    killed training continues at its last epoch boundary, with the same bits on a CPU;
    `watch` then needs ``state()`` and ``restore(tensors)``. Raises InputError for a
    recipe that cannot run, FloatingPointError for a loss that is not finite, TimeUp at
    the checkpoint's deadline.
    """
    if recipe.loss == "kd" and teacher is None:
        raise InputError("teacher is None, but loss='kd' needs a teacher network")
    network = network.to(device, memory_format=torch.channels_last)
    if teacher is not None:
        teacher = teacher.to(device, memory_format=torch.channels_last).eval()
    images, labels = train.images.to(device), train.labels.to(device)
    optimiser = _sgd(network, recipe)
    # On the device, so that no draw of a step has to be copied there.
    generator = torch.Generator(device).manual_seed(seed)
    losses, curve, spent = [], {}, 0.0
    parts = network, optimiser, generator, watch
    if checkpoint is not None and (found := checkpoint.load()):
        unpack(found[0], *parts)
        losses, spent = found[1]["losses"], found[1]["seconds"]
        curve = {int(epoch): value for epoch, value in found[1]["curve"].items()}
    start = time.perf_counter() - spent
    todo = range(len(losses), recipe.epochs)
    bar = progress(todo, label, "epoch", initial=len(losses), total=recipe.epochs)
    for epoch in bar:
        loss = _epoch(epoch, images, labels, recipe, teacher, *parts)
        losses.append(loss)
        _finite(losses, recipe, label)
        if test is not None and recipe.tests_at(epoch):
            curve[epoch] = accuracy(network, test, device, recipe.precision)
            bar.set_postfix(test=f"{curve[epoch]:.1f}", loss=f"{loss:.3f}")
        if checkpoint is not None and epoch + 1 < recipe.epochs:
            seconds = time.perf_counter() - start
            figures = {"losses": losses, "curve": curve, "seconds": seconds}
            checkpoint.step(lambda f=figures: (pack(*parts), f), label)
    if checkpoint is not None:
        checkpoint.clear()
    seconds = time.perf_counter() - start
    last = curve.get(recipe.epochs - 1, math.nan)
    best = max(curve.values(), default=math.nan)
    passed = recipe.epochs * len(train)
    return Fit(network.eval(), last, best, losses, curve, passed, seconds)


def _sgd(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    return torch.optim.SGD(
        network.parameters(),
        recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,  # on every parameter, as the authors do
        nesterov=recipe.nesterov,
        fused=True,
    )


def _epoch(
    epoch, images, labels, recipe, teacher, network, optimiser, generator, watch
) -> float:
    """One pass over the training set; returns the mean loss."""
    for group in optimiser.param_groups:
        group["lr"] = recipe.lr_at(epoch)
    network.train()
    total = torch.zeros((), device=images.device)
    order = torch.randperm(len(labels), generator=generator, device=images.device)
    for batch in order.split(recipe.batch_size):
        x = augment(images[batch], recipe, generator)
        with _cast(x.device, recipe.precision):
            logits = network(x.contiguous(memory_format=torch.channels_last))
        loss = _loss(logits.float(), labels[batch], x, teacher, recipe)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        total += loss.detach() * len(batch)
        if watch is not None:
            watch(batch, logits.detach())
    return total.item() / len(labels)


def _loss(logits, labels, x, teacher, recipe: Recipe) -> Tensor:
    if recipe.loss == "hard":
        return F.cross_entropy(logits, labels)
    with torch.no_grad(), _cast(x.device, recipe.precision):
        soft = teacher(x.contiguous(memory_format=torch.channels_last))
    return kd_loss(logits, soft.float(), recipe.temperature)


def _cast(device: str | torch.device, precision: str):
    """Autocast to bfloat16 where the recipe asks; weights and losses stay float32."""
    return torch.autocast(
        torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"
    )


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
    """Logits float (N, C), on the CPU, of uint8 images (N, 3, H, W), not augmented."""
    # On a CPU small chunks stay in its cache: twice the speed of chunks of 512.
    batch_size = 64 if torch.device(device).type == "cpu" else 1024
    network = network.to(device, memory_format=torch.channels_last).eval()
    out = []
    for chunk in images.split(batch_size):
        x = chunk.to(device).float().div_(255)
        with _cast(device, precision):
            out.append(network(x.contiguous(memory_format=torch.channels_last)))
    return torch.cat(out).float().cpu()


def accuracy(
    network: nn.Module,
    data: ImageSet,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
) -> float:
    """Top-1 accuracy in percent."""
    logits = predict(network, data.images, device, precision)
    return 100 * (logits.argmax(1) == data.labels).double().mean().item()
