"""Distribution matching: DM (Zhao and Bilen, WACV 2023).

A random network, fresh in every iteration, embeds real and synthetic images; the mean
embedding of each class should be the same. No network is ever trained.
"""

import torch
from torch import Tensor

from ccfs_lib import networks
from ccfs_lib.data import ImageSet, channel_stats
from ccfs_lib.distill.dsa_augment import Draws, Strengths, apply, draw
from ccfs_lib.distill.pixels import Distilled, Learner, Space, finished, learn, seeded
from ccfs_lib.errors import InputError
from ccfs_lib.experiment.condense import Distribution
from ccfs_lib.runtime.checkpoint import Checkpoint


def distill(
    begin: ImageSet,
    train: ImageSet,
    network: str,
    recipe: Distribution,
    *,
    normalisation: tuple | None = None,
    seed: int = 0,
    keep: tuple[int, ...] = (),
    device: str | torch.device = "cpu",
    checkpoint: Checkpoint | None = None,
) -> Distilled:
    """Distil the images of `begin`, which keep their classes, to match `train`.

    network: a name of `networks.build` ("convnet-in" in the paper); normalisation:
    (mean, std), default the channel statistics of `train`; the rest as in
    `mtt.distill`. Source: DM Eq. 6. Raises InputError where the sets do not match.
    """
    check(begin, train)
    mean, std = normalisation or channel_stats(train)

    def fresh(number: int) -> networks.Network:
        shape = train.num_classes, train.image_size
        made = networks.build(network, *shape, mean=mean, std=std, seed=number)
        return made.to(device).train()

    space = Space(fresh(0).normalize)
    values = {"pixels": space.normalised(begin.images)}
    learner = Learner(values, {"pixels": recipe.lr_img}, {"pixels": recipe.momentum})
    labels = begin.labels.to(values["pixels"].device)

    def one(iteration: int) -> float:
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
        return apart.item()

    losses = learn(
        learner, recipe.iterations, one, keep=keep, checkpoint=checkpoint, label="DM"
    )
    return finished(begin, learner, space, losses, "dm")


def means(
    network: networks.Network, x: Tensor, labels: Tensor, draws: Draws | None
) -> Tensor:
    """Mean embedding of each class, (C, D), of normalised images (N, 3, H, W).

    All classes at once: batch norm would take away just what tells one from another.
    """
    if draws is not None:
        x = apply(x, of_class(draws, labels))
    normalize = network.normalize
    seen = network.features(x * normalize.std + normalize.mean)
    classes = network.head.out_features
    total = seen.new_zeros(classes, seen.shape[1]).index_add(0, labels, seen)
    return total / labels.bincount(minlength=classes)[:, None]


def real_batch(train: ImageSet, per_class: int, generator) -> Tensor:
    """Indices of random images, up to `per_class` of each class, class by class."""
    parts = []
    for c in range(train.num_classes):
        members = (train.labels == c).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=generator)
        parts.append(members[order[:per_class]])
    return torch.cat(parts)


def class_draws(train: ImageSet, dsa: Strengths | None, generator) -> Draws | None:
    """One draw for each class."""
    size = train.image_size
    return dsa and draw(train.num_classes, size, size, dsa, generator)


def of_class(draws: Draws, labels: Tensor) -> Draws:
    """The draw of each image's class: siamese within it."""
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
