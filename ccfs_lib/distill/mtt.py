"""Trajectory matching: MTT (Cazenavette et al., CVPR 2022), with DATM's options.

An expert went from `start` to `target` on all real images. Train from `start` on the
synthetic images instead, N steps of gradient descent, and ask how far from `target` one
arrives: ||theta_N - target||^2 / ||start - target||^2. The images, the step size and
soft labels learn to bring that down.

A graph through all N steps would hold N networks' activations. Here only the weights of
each step are kept; going back, each step is computed again and differentiated by
itself. From theta' = theta - lr g(theta, x, y) and v = d loss / d theta' follow

    d/d theta = v - lr dg/dtheta' v,   d/dx = -lr dg/dx' v,   d/d lr = -g . v.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ccfs_lib.data import ImageSet, concat
from ccfs_lib.distill.buffer import Buffer, Later
from ccfs_lib.distill.dsa_augment import Draws, apply, draw
from ccfs_lib.distill.experts import plain
from ccfs_lib.distill.functional import Flat
from ccfs_lib.distill.initial import soft_labels
from ccfs_lib.distill.pixels import Distilled, Learner, finished, learn, seeded
from ccfs_lib.experiment import Matching
from ccfs_lib.runtime import forbidden
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.runtime.queue import WAIT, Steps
from ccfs_lib.runtime.queue import finished as ended
from ccfs_lib.store import Store


class Inner(NamedTuple):
    """One inner step: which images, and how they are augmented (None: not at all)."""

    index: Tensor  # int (B,)
    draws: Draws | None


class Slopes(NamedTuple):
    """The matching loss and its derivatives by images, targets and step size."""

    loss: Tensor
    images: Tensor  # (N, 3, H, W)
    targets: Tensor  # (N, C)
    lr: Tensor


@dataclass(frozen=True)
class Matched(Distilled):
    """A distilled set and what was learned beside it."""

    label_logits: Tensor | None = field(repr=False)  # soft labels (N, C), or None
    lr: float  # learned step size


def matching(
    flat: Flat,
    start: Tensor,
    target: Tensor,
    images: Tensor,
    targets: Tensor,
    lr: Tensor,
    plan: list[Inner],
    recompute: bool = True,
) -> Slopes:
    """Compute the matching loss after the planned steps, and its derivatives.

    start, target: weights (P,); images: normalised (N, 3, H, W); targets: probabilities
    (N, C); lr: scalar. Memory: one step's activations, and P numbers for each step;
    without `recompute` every step's, for a little less time. Source: MTT Eq. 2; the
    sum above, which is exact.
    """
    given = flat, start, target, images, targets, lr, plan, recompute
    return ended(unrolled(*given))


def unrolled(flat, start, target, images, targets, lr, plan, recompute=True) -> Steps:
    """Match as `matching` does, an inner step at each ``next``."""
    theta, steps = start, []
    for inner in plan:
        if recompute:
            steps.append(theta)
            x = _view(images[inner.index], inner.draws)
            slope, _ = flat.descent(theta, x, targets[inner.index])
        else:
            steps.append(_pulled(flat, theta, images, targets, inner))
            slope = steps[-1][-1].detach()
        theta = theta - lr * slope
        yield
    apart = (target - start).square().sum()
    gap = theta - target
    along = 2 * gap / apart
    for_images, for_targets = torch.zeros_like(images), torch.zeros_like(targets)
    for_lr = torch.zeros_like(lr)
    for inner in reversed(plan):
        kept = steps.pop()
        if recompute:
            kept = _pulled(flat, kept, images, targets, inner)
        x, seen, leaves, slope = kept
        curve, for_seen, for_y = torch.autograd.grad(slope, leaves, along)
        (for_x,) = torch.autograd.grad(seen, x, for_seen)
        for_images.index_add_(0, inner.index, for_x * -lr)
        for_targets.index_add_(0, inner.index, for_y * -lr)
        for_lr -= slope.detach() @ along
        along = along - lr * curve
        yield
    return Slopes(gap.square().sum() / apart, for_images, for_targets, for_lr)


def _pulled(flat: Flat, theta: Tensor, images: Tensor, targets: Tensor, inner: Inner):
    """Return one step's images, their view, the slope's graph leaves, the slope."""
    x = images[inner.index].requires_grad_(True)
    seen = _view(x, inner.draws)
    return x, seen, *flat.pull(theta, seen, targets[inner.index])


def _view(images: Tensor, draws: Draws | None) -> Tensor:
    return images.clone() if draws is None else apply(images, draws)


def plan(
    count: int, size: int, recipe: Matching, generator, device="cpu"
) -> list[Inner]:
    """Draw the inner steps of one iteration on `count` images of a side in pixels.

    Batches go through a random order of all images, then through another one; the
    last batch of an order may be shorter, as in the public code.
    """
    batch, steps = recipe.batch_syn or count, []
    while len(steps) < recipe.syn_steps:
        steps += torch.randperm(count, generator=generator).split(batch)
    views = [
        recipe.dsa and draw(len(index), size, size, recipe.dsa, generator)
        for index in steps[: recipe.syn_steps]
    ]
    return [Inner(i.to(device), v) for i, v in zip(steps, views, strict=False)]


def distill(
    begin: ImageSet,
    buffer: Buffer,
    recipe: Matching,
    *,
    real: ImageSet | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    recompute: bool = True,
    checkpoint: Checkpoint | None = None,
) -> Matched:
    """Distil the images of `begin`, which keep their classes.

    `real` images take part in the inner steps but stay as they are: SelMatch's partial
    update. recompute: as in `matching`. With `checkpoint` a killed run continues, with
    the same bits on a CPU. Raises InputError where the buffer's trajectories are too
    short, FloatingPointError where the loss is not finite.
    """
    buffer.reaches(recipe.last_epoch).fits(begin)
    whole = begin if real is None or not len(real) else concat(begin, real)
    flat, count = Flat(buffer.network(0), device), len(begin)
    images = flat.normalised(whole.images)
    labels = F.one_hot(whole.labels, whole.num_classes).to(images)
    values = {"pixels": images[:count].clone()}
    values["lr"] = torch.tensor(recipe.lr_init, device=images.device)
    rates = {"pixels": recipe.lr_img, "lr": recipe.lr_lr, "labels": recipe.lr_label}
    momenta = dict.fromkeys(rates, recipe.momentum) | {"labels": recipe.label_momentum}
    if recipe.labels == "soft":
        values["labels"] = soft_labels(begin, buffer, device).to(images)
    learner = Learner(values, rates, momenta)

    def one(iteration: int) -> Steps:
        """Match one piece of an expert's trajectory; return the loss."""
        generator = seeded(seed, iteration)
        images[:count] = values["pixels"]
        if "labels" in values:
            labels[:count] = values["labels"].softmax(1)
        ends = _ends(buffer, recipe, iteration, generator, flat.start)
        steps = plan(len(images), images.shape[2], recipe, generator, device)
        given = images, labels, values["lr"], steps, recompute
        slopes = yield from unrolled(flat, *ends, *given)
        yield WAIT
        loss = slopes.loss.item()
        if recipe.skip_above is None or loss <= recipe.skip_above:
            learner.step(_by_name(slopes, values, count))
        return loss

    losses = learn(
        learner, recipe.iterations, one, checkpoint=checkpoint, label="match"
    )
    logits = values["labels"].cpu() if "labels" in values else None
    done = finished(begin, learner, flat, losses, "mtt")
    return Matched(**vars(done), label_logits=logits, lr=values["lr"].item())


def _by_name(slopes: Slopes, values: dict[str, Tensor], count: int) -> dict:
    """Return slopes of what learns: the first `count` images, labels as logits."""
    result = {"pixels": slopes.images[:count], "lr": slopes.lr}
    if "labels" in values:
        p, s = values["labels"].softmax(1), slopes.targets[:count]
        result["labels"] = p * (s - (p * s).sum(1, keepdim=True))
    return result


def _ends(buffer: Buffer, recipe: Matching, iteration: int, generator, like: Tensor):
    """Draw start and target (P,) of one iteration: a random expert and epoch."""
    starts = recipe.starts(iteration)
    expert = torch.randint(len(buffer.trajectories), (), generator=generator).item()
    epoch = torch.randint(starts.start, starts.stop, (), generator=generator).item()
    return tuple(
        buffer.state(expert, e, like) for e in (epoch, epoch + recipe.expert_epochs)
    )


def matched(
    store: Store,
    begin: ImageSet,
    buffer: Buffer | Later,
    recipe: Matching,
    *,
    real: ImageSet | None = None,
    seed: int = 0,
    deadline: float | None = None,
    **how,
) -> Matched:
    """Run `distill`, or read what the store has of it.

    deadline: `time.monotonic()` at which to stop (TimeUp; the same call continues).
    how: device and recompute, which do not name the result. Errors as there.
    """
    key = {
        "begin": begin.fingerprint,
        "real": real.fingerprint if real is not None and len(real) else None,
        "experts": buffer.identity | {"count": buffer.count},
        "recipe": plain(recipe),
        "seed": seed,
        "keep": [],  # once sets of other iterations could be asked for, too
    }

    def compute():
        """Distil, resumable; return the tensors and figures of `_packed`."""
        forbidden.check(f"a match of seed {seed}")
        place = Checkpoint.beside(store, key, deadline)
        settings = {"real": real, "seed": seed, "checkpoint": place}
        return _packed(distill(begin, buffer.read(), recipe, **settings, **how))

    artefact = store.get("match", key, compute)
    return _unpacked(begin, artefact.tensors, artefact.meta)


def _packed(done: Matched) -> tuple[dict, dict]:
    tensors = {"images": done.images.images, "pixels": done.pixels}
    if done.label_logits is not None:
        tensors["labels"] = done.label_logits
    return tensors, {"losses": done.losses, "lr": done.lr}


def _unpacked(begin: ImageSet, tensors: dict[str, Tensor], meta) -> Matched:
    return Matched(
        images=ImageSet("mtt", tensors["images"], begin.labels, begin.classes),
        pixels=tensors["pixels"],
        losses=meta["losses"],
        label_logits=tensors.get("labels"),
        lr=meta["lr"],
    )
