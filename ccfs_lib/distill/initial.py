"""What trajectory matching begins with: real images, and DATM's choices of them.

DATM (Guo et al., ICLR 2024) starts from images that an expert already gets right, and
gives each the experts' mean logits as a label that learns.
"""

import numpy as np
import torch
from torch import Tensor

from ccfs_lib.data import ImageSet
from ccfs_lib.distill.buffer import Buffer
from ccfs_lib.distill.functional import Flat
from ccfs_lib.distill.pixels import seeded
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Matching


def initial(
    train: ImageSet,
    per_class: int,
    buffer: Buffer | None,
    recipe: Matching,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """Draw indices of the images to begin with, int64, by class: random real ones.

    ``init="correct"``: of those that the first expert of the buffer gets right at its
    end; else it is not read. Raises InputError for a class with too few.
    """
    random, labels = np.random.default_rng(seed), train.labels.numpy()
    fits = np.ones(len(labels), bool)
    if recipe.init == "correct":
        fits = (opinions(train, buffer, 1, device)[0].argmax(1) == train.labels).numpy()
    chosen = []
    for c in range(train.num_classes):
        members = np.flatnonzero(fits & (labels == c))
        if len(members) < per_class:
            raise InputError(
                f"per_class is {per_class}, but class {c} has {len(members)} images "
                f"to begin with (init={recipe.init!r})"
            )
        chosen.append(random.permutation(members)[:per_class])
    return np.concatenate(chosen)


@torch.inference_mode()
def opinions(images: ImageSet, buffer: Buffer, experts: int, device="cpu") -> Tensor:
    """Compute logits (experts, N, C) of the first experts, at their end, for images.

    Batch norm sees mixed batches of 256, for its running averages are not kept.
    """
    flat = Flat(buffer.network(0), device)
    order = torch.randperm(len(images), generator=seeded(0, 0))
    x = flat.normalised(images.images)
    out = torch.empty(experts, len(images), images.num_classes)
    for expert in range(experts):
        theta = buffer.state(expert, -1, flat.start)
        for batch in order.split(256):
            out[expert, batch] = flat.logits(theta, x[batch]).cpu()
    return out


def soft_labels(images: ImageSet, buffer: Buffer, device="cpu") -> Tensor:
    """Compute initial logits (N, C): the mean over experts that get the image right.

    Where none does, the mean over all (ours; the public code would fail). DATM Section
    3.3; its code, too, leaves the logits as they are.
    """
    logits = opinions(images, buffer, len(buffer.trajectories), device)
    right = (logits.argmax(2) == images.labels).unsqueeze(2)
    right = right | ~right.any(0, keepdim=True)
    return (logits * right).sum(0) / right.sum(0)
