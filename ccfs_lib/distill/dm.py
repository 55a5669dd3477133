"""Distribution matching: DM (Zhao and Bilen, WACV 2023).

A random network, fresh in every iteration, embeds real and synthetic images; the mean
embedding of each class should be the same. No network is ever trained.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ccfs_lib import networks
from ccfs_lib.data import ImageSet
from ccfs_lib.distill.dsa_augment import Draws, Strengths, apply, draw
from ccfs_lib.distill.pixels import (
    Distilled,
    Learner,
    Space,
    finished,
    learn,
    network_maker,
    seeded,
)
from ccfs_lib.errors import InputError
from ccfs_lib.experiment.condense import Distribution
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.runtime.queue import WAIT, Steps


def distill(
    begin: ImageSet,
    train: ImageSet,
    network: str,
    recipe: Distribution,
    *,
    normalisation: tuple | nn.Module | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    checkpoint: Checkpoint | None = None,
) -> Distilled:
    """Distil the images of `begin`, which keep their classes, to match `train`.

    network: a name of `networks.build` ("convnet-in" in the paper); normalisation:
    (mean, std) or a `zca.Whiten`, default the channel statistics of `train`; the rest
    as in `mtt.distill`. Source: DM Eq. 6. Raises InputError where sets do not match.
    """
    check(begin, train)
    fresh = network_maker(network, train, normalisation, device)
    space = Space(fresh(0).normalize)
    values = {"pixels": space.normalised(begin.images)}
    learner = Learner(values, {"pixels": recipe.lr_img}, {"pixels": recipe.momentum})
    labels = begin.labels.to(values["pixels"].device)

    def one(iteration: int) -> Steps:
        """Move the pixels once; return the squared distance of the mean features."""
        generator = seeded(seed, iteration)
        embed = fresh(seed * 1_000_003 + iteration)
        batch = real_batch(train, recipe.batch_real, generator)
        draws = class_draws(train, recipe.dsa, generator)
        real, pixels = space.normalised(train.images[batch]), values["pixels"].detach()
        pixels = pixels.requires_grad_(True)
        with torch.no_grad():
            there = means(embed, real, train.labels[batch].to(labels.device), draws)
        apart = (means(embed, pixels, labels, draws) - there).square().sum()
        learner.step({"pixels": torch.autograd.grad(apart, pixels)[0]})
        yield WAIT
        return apart.item()

    losses = learn(learner, recipe.iterations, one, checkpoint=checkpoint, label="DM")
    return finished(begin, learner, space, losses, "dm")


def means(
    network: networks.Network, x: Tensor, labels: Tensor, draws: Draws | None
) -> Tensor:
    """Compute the mean embedding of each class, (C, D), of normalised (N, 3, H, W).

    All classes at once: batch norm would take away just what tells one from another.
    """
    if draws is not None:
        x = apply(x, of_class(draws, labels))
    seen = network.features(network.normalize.inverse(x))
    classes = network.head.out_features
    total = seen.new_zeros(classes, seen.shape[1]).index_add(0, labels, seen)
    return total / labels.bincount(minlength=classes)[:, None]


def real_batch(train: ImageSet, per_class: int, generator) -> Tensor:
    """Draw indices of random images, up to `per_class` of each class, by class."""
    parts = []
    for c in range(train.num_classes):
        members = (train.labels == c).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=generator)
        parts.append(members[order[:per_class]])
    return torch.cat(parts)


def class_draws(train: ImageSet, dsa: Strengths | None, generator) -> Draws | None:
    """Draw one operation and its numbers for each class: the code goes by class."""
    size = train.image_size
    if dsa is None:
        return None
    each = replace(dsa, choice="image", siamese=False)  # here an "image" is a class
    return draw(train.num_classes, size, size, each, generator)


def of_class(draws: Draws, labels: Tensor) -> Draws:
    """Return the random draw of each image's class: siamese within it."""
    return Draws(*(part.to(labels.device)[labels] for part in draws))


def check(begin: ImageSet, train: ImageSet) -> None:
    """Raise InputError unless both sets have the same classes and size, none empty."""
    if begin.classes != train.classes or begin.image_size != train.image_size:
        raise InputError(
            f"begin has {begin.num_classes} classes at {begin.image_size} px, but must "
            f"have those of '{train.name}', {train.num_classes} at {train.image_size}"
        )
    if not all(begin.class_sizes):
        raise InputError(f"begin has no image of class {begin.class_sizes.index(0)}")
