"""Gradient matching: DC and DSA (Zhao and Bilen, ICLR and ICML 2021).

Synthetic images of a class should pull a network's weights where real ones pull them;
between matches the network learns on the synthetic images, so that the pulls of a whole
training are matched, from a fresh network in each iteration.
"""

import torch
from torch import Tensor, nn

from ccfs_lib import networks
from ccfs_lib.data import ImageSet, channel_stats
from ccfs_lib.distill import dm
from ccfs_lib.distill.dsa_augment import apply, augment
from ccfs_lib.distill.functional import Flat
from ccfs_lib.distill.pixels import Distilled, Learner, finished, learn, seeded
from ccfs_lib.errors import InputError
from ccfs_lib.experiment.condense import Gradients
from ccfs_lib.runtime.checkpoint import Checkpoint


def distill(
    begin: ImageSet,
    train: ImageSet,
    network: str,
    recipe: Gradients,
    *,
    normalisation: tuple | None = None,
    seed: int = 0,
    keep: tuple[int, ...] = (),
    device: str | torch.device = "cpu",
    checkpoint: Checkpoint | None = None,
) -> Distilled:
    """Distil the images of `begin`, which keep their classes, to pull as `train` does.

    Arguments and errors as in `dm.distill`; `network` must be without batch norm, for
    classes are matched one by one, and their batch statistics are not a mixed batch's.
    Source: DSA Eq. 3 to 5.
    """
    dm.check(begin, train)
    mean, std = normalisation or channel_stats(train)

    def fresh(number: int) -> Flat:
        shape = train.num_classes, train.image_size
        made = networks.build(network, *shape, mean=mean, std=std, seed=number)
        return Flat(made, device)

    space = fresh(0)
    if any(isinstance(layer, nn.BatchNorm2d) for layer in space.body.modules()):
        raise InputError(
            f"network is {network!r}, but gradients are matched class by class and "
            "batch norm needs mixed batches: take 'convnet-in'"
        )
    values = {"pixels": space.normalised(begin.images)}
    learner = Learner(values, {"pixels": recipe.lr_img}, {"pixels": recipe.momentum})
    labels = begin.labels.to(values["pixels"].device)

    def one(iteration: int) -> float:
        generator = seeded(seed, iteration)
        flat = fresh(seed * 1_000_003 + iteration)
        theta, total = flat.start, 0.0
        for outer in range(recipe.outer):
            slope, loss = _match(
                flat, theta, values["pixels"], labels, train, recipe, generator
            )
            learner.step({"pixels": slope})
            total += loss
            if outer + 1 < recipe.outer:
                theta = _train(flat, theta, values["pixels"], labels, recipe, generator)
        return total / recipe.outer

    losses = learn(
        learner, recipe.iterations, one, keep=keep, checkpoint=checkpoint, label="DSA"
    )
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


def _match(flat, theta, pixels, labels, train, recipe, generator):
    """d distance / d pixels, summed over the classes, and the mean distance."""
    draws = dm.class_draws(train, recipe.dsa, generator)
    batch = dm.real_batch(train, recipe.batch_real, generator)
    slopes, total = torch.zeros_like(pixels), 0.0
    for c in range(train.num_classes):
        own = (labels == c).nonzero()[:, 0]
        real = flat.normalised(train.images[batch[train.labels[batch] == c]])
        x, leaf = pixels[own].requires_grad_(True), theta.clone().requires_grad_(True)
        views = [x, real]
        if draws is not None:
            views = [
                apply(view, dm.of_class(draws, labels.new_full((len(view),), c)))
                for view in views
            ]
        target, _ = flat.descent(theta, views[1], labels.new_full((len(real),), c))
        loss = flat.loss(leaf, views[0], labels[own], twice=True)
        (pull,) = torch.autograd.grad(loss, leaf, create_graph=True)
        apart = distance(flat, pull, target)
        slopes[own] = torch.autograd.grad(apart, x)[0]
        total += apart.item()
    return slopes, total / train.num_classes


def _train(flat, theta, pixels, labels, recipe, generator) -> Tensor:
    """The network's own steps on the synthetic images, one epoch each."""
    for _ in range(recipe.inner):
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for batch in order.split(recipe.batch_net):
            x = pixels[batch]
            x = augment(x, recipe.dsa, generator) if recipe.dsa is not None else x
            slope, _ = flat.descent(theta, x, labels[batch])
            theta = theta - recipe.lr_net * slope
    return theta
