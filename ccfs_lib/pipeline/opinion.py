"""What a teacher predicts on images: its opinion, kept as any stage is.

A chapter, and a row of results, then needs no weights where the opinions are shipped.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ccfs_lib.data import ImageSet
from ccfs_lib.runtime.device import arithmetic
from ccfs_lib.train import predict

MOST = 2000  # images of each kind that the teacher is asked about


@dataclass(frozen=True)
class Opinion:
    """The teacher's predictions on a set of images, one value per image."""

    confidence: np.ndarray  # percent, of the image's true class
    right: np.ndarray  # bool, whether that class is its answer
    entropy: np.ndarray  # bits


def some(data: ImageSet, most: int = MOST) -> ImageSet:
    """Return at most `most` random images (always the same), mixed over the classes.

    Mixed, because batch-norm statistics of a batch of one class are far from those of
    all classes, whatever the images are like.
    """
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return data.subset(order[:most])


def opinion(network, data: ImageSet, device="cpu") -> Opinion:
    """Compute confidence (percent, true class), agreement and entropy (bits) per image.

    network: answers uint8 images as (N, C) logits. Doubles: a trained teacher's doubt
    is often below what 1 minus a float32 can hold.
    """
    logs = predict(network, data.images, device).double().log_softmax(1)
    confidence = logs.gather(1, data.labels[:, None])[:, 0].exp()
    entropy = -(logs.exp() * logs).sum(1) / np.log(2)
    right = logs.argmax(1) == data.labels
    return Opinion(100 * confidence.numpy(), right.numpy(), entropy.numpy())


def kept_opinion(stages, data: ImageSet, teacher=None) -> Opinion:
    """Compute a teacher's predictions on these images, once.

    stages: a Pipeline; teacher: default its own.
    """
    teacher = teacher or stages.teacher

    def compute():
        """Ask the teacher; return the fields of `Opinion` as tensors (N,)."""
        with arithmetic(stages.experiment.portable):
            found = opinion(teacher.network, data, stages.device)
        return {k: torch.from_numpy(v) for k, v in vars(found).items()}, meta(teacher)

    key = key_of(stages, teacher) | {"images": data.fingerprint}
    kept = stages.store.get("opinion", key, compute).tensors
    return Opinion(**{name: values.numpy() for name, values in kept.items()})


def key_of(stages, teacher) -> dict:
    """Return what a teacher's outputs depend on, as for the explorer's map."""
    key = {"teacher": teacher.key, "portable": stages.experiment.portable}
    return key | stages.trainings.arithmetic


def meta(teacher) -> dict:
    """Say whether the weights are those that were trained, or were converted."""
    return {"weights": teacher.mark or "as trained"}
