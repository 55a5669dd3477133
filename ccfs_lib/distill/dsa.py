"""Gradient matching: DC and DSA (Zhao and Bilen, ICLR and ICML 2021).

Synthetic images of a class should pull a network's weights where real ones pull them;
between matches the network learns on the synthetic images, so that the pulls of a whole
training are matched, from a fresh network in each iteration.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ccfs_lib.data import ImageSet
from ccfs_lib.distill import dm
from ccfs_lib.distill.dsa_augment import apply, augment
from ccfs_lib.distill.functional import Flat
from ccfs_lib.distill.pixels import (
    Distilled,
    Learner,
    finished,
    learn,
    network_maker,
    seeded,
)
from ccfs_lib.errors import InputError
from ccfs_lib.experiment.condense import Gradients
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.runtime.queue import WAIT, Steps


def distill(
    begin: ImageSet,
    train: ImageSet,
    network: str,
    recipe: Gradients,
    *,
    normalisation: tuple | nn.Module | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    checkpoint: Checkpoint | None = None,
) -> Distilled:
    """Distil the images of `begin`, which keep their classes, to pull as `train` does.

    Arguments and errors as in `dm.distill`; `network` must be without batch norm, for
    classes are matched one by one, and their batch statistics are not a mixed batch's.
    Source: DSA Eq. 3 to 5.
    """
    dm.check(begin, train)
    make = network_maker(network, train, normalisation)

    def fresh(number: int) -> Flat:
        """Build the network of a seed, its weights one vector (P,)."""
        return Flat(make(number), device)

    space = fresh(0)
    if any(isinstance(layer, nn.BatchNorm2d) for layer in space.body.modules()):
        raise InputError(
            f"network is {network!r}, but gradients are matched class by class and "
            "batch norm needs mixed batches: take 'convnet-in'"
        )
    values = {"pixels": space.normalised(begin.images)}
    learner = Learner(values, {"pixels": recipe.lr_img}, {"pixels": recipe.momentum})
    labels = begin.labels.to(values["pixels"].device)

    def one(iteration: int) -> Steps:
        """Move the pixels `recipe.outer` times; return the mean distance."""
        generator = seeded(seed, iteration)
        flat = fresh(seed * 1_000_003 + iteration)
        theta, total = flat.start, 0.0
        for outer in range(recipe.outer):
            slope, loss = yield from _match(
                flat, theta, values["pixels"], labels, train, recipe, generator
            )
            learner.step({"pixels": slope})
            total += loss
            if outer + 1 < recipe.outer:
                theta = yield from _train(
                    flat, theta, values["pixels"], labels, recipe, generator
                )
        return total / recipe.outer

    losses = learn(learner, recipe.iterations, one, checkpoint=checkpoint, label="DSA")
    return finished(begin, learner, space, losses, "dsa")


def distance(flat: Flat, one: Tensor, other: Tensor) -> Tensor:
    """Sum over layers and their outputs of 1 - cosine, of two gradients (P,).

    Each output's weights are one vector; biases, and the scales and shifts of norms,
    do not count: so the released code.
    """
    total, there = one.new_zeros(()), flat.weights(other)
    for name, part in flat.weights(one).items():
        if part.dim() > 1:
            a, b = part.flatten(1), there[name].flatten(1)
            cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)
            total = total + (1 - cosine).sum()
    return total


def _match(flat, theta, pixels, labels, train, recipe, generator) -> Steps:
    """Compute d distance / d pixels, summed over classes, and the mean distance."""
    draws = dm.class_draws(train, recipe.dsa, generator)
    batch = dm.real_batch(train, recipe.batch_real, generator)
    slopes, distances = torch.zeros_like(pixels), []
    for c in range(train.num_classes):
        index = (labels == c).nonzero()[:, 0]
        real = flat.normalised(train.images[batch[train.labels[batch] == c]])
        x, leaf = pixels[index].requires_grad_(True), theta.clone().requires_grad_(True)
        views = [x, real]
        if draws is not None:
            views = [
                apply(view, dm.of_class(draws, labels.new_full((len(view),), c)))
                for view in views
            ]
        target, _ = flat.descent(theta, views[1], labels.new_full((len(real),), c))
        loss = flat.loss(leaf, views[0], labels[index], twice=True)
        (pull,) = torch.autograd.grad(loss, leaf, create_graph=True)
        apart = distance(flat, pull, target)
        slopes[index] = torch.autograd.grad(apart, x)[0]
        distances.append(apart.detach())
        yield
    yield WAIT
    return slopes, sum(d.item() for d in distances) / train.num_classes


def _train(flat, theta, pixels, labels, recipe, generator) -> Steps:
    """Train the network on the synthetic images, `recipe.inner` epochs: steps."""
    # Here one operation for a mixed batch, with numbers for each image.
    views = recipe.dsa and replace(recipe.dsa, choice="batch", siamese=False)
    for _ in range(recipe.inner):
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for batch in order.split(recipe.batch_net):
            x = pixels[batch]
            x = x if views is None else augment(x, views, generator)
            slope, _ = flat.descent(theta, x, labels[batch])
            theta = theta - recipe.lr_net * slope
            yield
    return theta
